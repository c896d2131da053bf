/* audit.c - what has to hold in the tables: looked at in slices, and put right. */
#include "audit.h"

#include <float.h>
#include <stdio.h>

/* A row that breaks rules. */
struct jobq__found {
    sqlite3_value *key[JOBQ__AUDIT_KEYS]; /* none: text says it all */
    uint64_t broken, mended;
    bool reached;               /* its job may be changed; else it runs */
    bool unread;                /* SQLite cannot read it */
    char text[160];
};

struct jobq__audit {
    int part;                   /* that is walked */
    bool begun, over;           /* somewhere in it; behind its end */
    sqlite3_value *at[JOBQ__AUDIT_KEYS]; /* the last row that was looked at */
    struct jobq__found found[JOBQ__AUDIT_FOUND];
    const struct jobq__audit_part *of; /* whose rows these are */
    int count;
    int told, rule;             /* the next line */
    struct jobq__audit_known known;
    bool undone, recounts;
};

/* ---- Beginning and end ---- */

JOBQ__INTERNAL int jobq__audit_begin(struct jobq__audit **audit, int32_t *gates, size_t count) {
    *audit = jobq__mem_new(sizeof **audit);
    if (!*audit) {
        jobq__mem_free(gates);
        return JOBQ_NO_MEMORY;
    }
    (*audit)->known.gates = gates;
    (*audit)->known.gates_count = count;
    return JOBQ_OK;
}

static void jobq__audit_free(sqlite3_value **key) {
    int i;
    for (i = 0; i < JOBQ__AUDIT_KEYS; i++) {
        sqlite3_value_free(key[i]);
        key[i] = NULL;
    }
}

static void jobq__audit_forget(struct jobq__audit *audit) {
    int i;
    for (i = 0; i < audit->count; i++) jobq__audit_free(audit->found[i].key);
    audit->count = audit->told = audit->rule = 0;
    audit->known.asked = audit->undone = audit->recounts = false;
}

JOBQ__INTERNAL void jobq__audit_end(struct jobq__audit *audit) {
    if (!audit) return;
    jobq__audit_forget(audit);
    jobq__audit_free(audit->at);
    jobq__mem_free(audit->known.gates);
    jobq__mem_free(audit->known.ids);
    jobq__mem_free(audit);
}

/* ---- Texts ---- */

/* Appends, as far as there is room. */
JOBQ_PRINTF(4, 5)
static void jobq__audit_add(char *text, size_t size, size_t *at, const char *format, ...) {
    va_list args;
    int length;
    va_start(args, format);
    length = *at < size ? vsnprintf(text + *at, size - *at, format, args) : 0;
    va_end(args);
    *at = JOBQ__MIN(*at + (size_t)JOBQ__MAX(length, 0), size);
}

static int jobq__audit_no_memory(jobq__store *db) {
    db->sqlite_code = SQLITE_NOMEM;
    return JOBQ_NO_MEMORY;
}

/* Selects of rows of the part: their keys, which rules each breaks, what tells more. */
static int jobq__audit_query(const struct jobq__audit *audit, jobq__store *db, const char *rows,
                             sqlite3_stmt **s) {
    const struct jobq__audit_part *part = audit->of;
    size_t size = 256 + strlen(rows), at = 0;
    char *text;
    int i, rc;
    *s = NULL;
    for (i = 0; i < part->count; i++)
        if (part->rules[i].broken) size += strlen(part->rules[i].broken) + 32;
    text = jobq__mem_new(size);
    if (!text) return jobq__audit_no_memory(db);
    jobq__audit_add(text, size, &at, "SELECT %s, 0", part->keys);
    for (i = 0; i < part->count; i++)
        if (part->rules[i].broken)
            jobq__audit_add(text, size, &at, "+iif(%s,%ld,0)", part->rules[i].broken, 1L << i);
    jobq__audit_add(text, size, &at, ",%s FROM %s WHERE %s %s", part->tells, part->from, rows,
                    part->where);
    jobq__assert(at < size);
    rc = jobq__db_query(db, text, s);
    jobq__mem_free(text);
    return rc;
}

/* Where a tree is out of order the first condition alone does not keep a walk from going back. */
static int jobq__audit_query_slice(const struct jobq__audit *audit, jobq__store *db,
                                   sqlite3_stmt **s) {
    static const char *const marks[] = {"?1", "?1, ?2", "?1, ?2, ?3", "?1, ?2, ?3, ?4"};
    const struct jobq__audit_part *part = audit->of;
    const char *after = marks[part->key_count - 1];
    char rows[256];
    size_t at = 0;
    int i, rc;
    jobq__audit_add(rows, sizeof rows, &at, "(%s) > (%s) AND (+%s) > (%s)", part->keys, after,
                    part->keys, after);
    jobq__assert(at < sizeof rows);
    rc = jobq__audit_query(audit, db, rows, s);
    for (i = 0; *s && i < part->key_count; i++) {
        if (audit->begun) sqlite3_bind_value(*s, i + 1, audit->at[i]);
        else sqlite3_bind_double(*s, i + 1, -DBL_MAX);
    }
    return rc;
}

/* ---- Looking ---- */

static int jobq__audit_keep(jobq__store *db, sqlite3_stmt *s, int count, sqlite3_value **key) {
    int i;
    jobq__audit_free(key);
    for (i = 0; i < count; i++) {
        key[i] = sqlite3_value_dup(sqlite3_column_value(s, i));
        if (!key[i]) return jobq__audit_no_memory(db);
    }
    return JOBQ_OK;
}

static struct jobq__found *jobq__audit_new(struct jobq__audit *audit) {
    struct jobq__found *found = &audit->found[audit->count++];
    memset(found, 0, sizeof *found);
    return found;
}

static void jobq__audit_unreadable(struct jobq__audit *audit, jobq__store *db) {
    struct jobq__found *found = jobq__audit_new(audit);
    found->unread = true;
    snprintf(found->text, sizeof found->text, "%s: it cannot be read to its end (SQLite: %.100s)",
             audit->of->table, sqlite3_errmsg(db->handle));
}

/* The row that s stands on. */
static int jobq__audit_row(struct jobq__audit *audit, jobq__store *db, sqlite3_stmt *s) {
    const struct jobq__audit_part *part = audit->of;
    uint64_t broken = (uint64_t)sqlite3_column_int64(s, part->key_count);
    int rc = jobq__audit_keep(db, s, part->key_count, audit->at);
    if (rc == JOBQ_OK && part->ask) rc = part->ask(&audit->known, db, s, &broken);
    if (rc != JOBQ_OK || !broken) return rc;
    jobq__audit_new(audit)->broken = broken;
    return jobq__audit_keep(db, s, part->key_count, audit->found[audit->count - 1].key);
}

static int jobq__audit_slice(struct jobq__audit *audit, jobq__store *db) {
    sqlite3_stmt *s;
    bool row = false;
    int rows = 0, rc = jobq__audit_query_slice(audit, db, &s);
    audit->begun = true;
    while (rc == JOBQ_OK && rows < JOBQ__AUDIT_ROWS && audit->count < JOBQ__AUDIT_FOUND - 1) {
        rc = jobq__db_next(db, s, &row);
        if (rc != JOBQ_OK || !row) break;
        rows++;
        rc = jobq__audit_row(audit, db, s);
    }
    audit->over = rc == JOBQ_OK && !row;
    if (rc == JOBQ_CORRUPT) {
        jobq__audit_unreadable(audit, db);
        audit->over = true;
        rc = JOBQ_OK;
    }
    sqlite3_finalize(s);
    audit->known.asked = false;
    return rc;
}

/* Another fault; rule: the part's first one puts it right. False: no more of them are told. */
JOBQ_PRINTF(3, 4)
static bool jobq__audit_tell(struct jobq__audit *audit, bool rule, const char *format, ...) {
    struct jobq__found *found;
    va_list args;
    if (audit->count == JOBQ__AUDIT_FOUND - 1) return false;
    found = jobq__audit_new(audit);
    found->broken = rule;
    va_start(args, format);
    vsnprintf(found->text, sizeof found->text, format, args);
    va_end(args);
    return true;
}

/* One line of quick_check's; what the rules tell better is left to them. */
static bool jobq__audit_file_line(struct jobq__audit *audit, const char *line) {
    char *at;
    if (!line || strcmp(line, "ok") == 0 || strncmp(line, "NULL value in jobq_", 19) == 0)
        return true;
    if (!jobq__audit_tell(audit, false, "the file: %s", line)) return false;
    for (at = audit->found[audit->count - 1].text; *at; at++)
        if (*at == '\n') *at = ' ';
    return true;
}

static int jobq__audit_file(struct jobq__audit *audit, jobq__store *db) {
    sqlite3_stmt *s;
    bool row = false;
    int rc = jobq__db_query(db, "PRAGMA quick_check(31)", &s);
    do {
        if (rc == JOBQ_OK) rc = jobq__db_next(db, s, &row);
    } while (rc == JOBQ_OK && row
             && jobq__audit_file_line(audit, (const char *)sqlite3_column_text(s, 0)));
    sqlite3_finalize(s);
    return rc;
}

static bool jobq__audit_counter(void *ctx, int64_t queue, int64_t kind, const char *counter,
                                int64_t is, int64_t jobs) {
    return jobq__audit_tell(ctx, true, "jobq_claims, queue %lld, kind %lld: %s is %lld, and there"
                            " are %lld", (long long)queue, (long long)kind, counter,
                            (long long)is, (long long)jobs);
}

static int jobq__audit_at_once(struct jobq__audit *audit, jobq__store *db) {
    int rc = audit->of->look == JOBQ__LOOK_FILE
        ? jobq__audit_file(audit, db) : jobq__audit_counts(db, jobq__audit_counter, audit);
    if (rc == JOBQ_CORRUPT) {
        jobq__audit_unreadable(audit, db);
        rc = JOBQ_OK;
    }
    audit->over = true;
    return rc;
}

JOBQ__INTERNAL int jobq__audit_look(struct jobq__audit *audit, jobq__store *db, bool *over) {
    jobq__audit_forget(audit);
    if (audit->over) {
        audit->part++;
        audit->begun = audit->over = false;
    }
    audit->of = jobq__audit_part(audit->part);
    *over = !audit->of;
    if (*over) return JOBQ_OK;
    return audit->of->look ? jobq__audit_at_once(audit, db) : jobq__audit_slice(audit, db);
}

JOBQ__INTERNAL bool jobq__audit_faulty(const struct jobq__audit *audit) {
    return audit->count > 0;
}

/* ---- Mending ---- */

static void jobq__audit_bind(sqlite3_stmt *s, const struct jobq__found *found,
                             const struct jobq__mend *with) {
    int i;
    for (i = 0; i < JOBQ__AUDIT_KEYS && found->key[i]; i++)
        sqlite3_bind_value(s, i + 1, found->key[i]);
    sqlite3_bind_int64(s, 5, with->now_ms);
    sqlite3_bind_int64(s, 6, with->prune_done_ms);
    sqlite3_bind_int64(s, 7, with->prune_failed_ms);
}

static int jobq__audit_do(jobq__store *db, const char *text, const struct jobq__found *found,
                          const struct jobq__mend *with) {
    sqlite3_stmt *s;
    int rc = text ? jobq__db_query(db, text, &s) : JOBQ_OK;
    if (!text || rc != JOBQ_OK) return rc;
    jobq__audit_bind(s, found, with);
    rc = jobq__db_step(db, s);
    sqlite3_finalize(s);
    return rc;
}

/* Which rules the row breaks by now, if it is there; s asks for one row. */
static int jobq__audit_again(struct jobq__audit *audit, jobq__store *db, sqlite3_stmt *s,
                             const struct jobq__found *found, uint64_t *broken, bool *there) {
    const struct jobq__audit_part *part = audit->of;
    bool row;
    int i, rc;
    *broken = 0;
    audit->known.asked = false;
    for (i = 0; i < part->key_count; i++) sqlite3_bind_value(s, i + 1, found->key[i]);
    rc = jobq__db_next(db, s, &row);
    if (row) *broken = (uint64_t)sqlite3_column_int64(s, part->key_count);
    if (row && part->ask) rc = part->ask(&audit->known, db, s, broken);
    audit->known.asked = false;
    *there = row;
    jobq__db_reset(s);
    return rc;
}

static int jobq__audit_put_right(struct jobq__audit *audit, jobq__store *db,
                                 struct jobq__found *found, int i, const struct jobq__mend *with) {
    const struct jobq__audit_rule *rule = &audit->of->rules[i];
    int rc;
    if (!rule->broken && audit->of->put)
        return audit->of->put(&audit->known, db, i, sqlite3_value_int64(found->key[0]), with);
    rc = jobq__audit_do(db, rule->first, found, with);
    return rc == JOBQ_OK ? jobq__audit_do(db, rule->mend, found, with) : rc;
}

/* Each rule in turn: what one of them leaves the next one sees. */
static int jobq__audit_mend_row(struct jobq__audit *audit, jobq__store *db, sqlite3_stmt *s,
                                struct jobq__found *found, const struct jobq__mend *with) {
    uint64_t broken, tried = 0;
    bool there;
    int i, rc = jobq__audit_again(audit, db, s, found, &broken, &there);
    for (i = 0; i < audit->of->count && rc == JOBQ_OK; i++) {
        uint64_t bit = UINT64_C(1) << i;
        if (!(broken & bit) || !audit->of->rules[i].does) continue;
        tried |= bit;
        rc = jobq__audit_put_right(audit, db, found, i, with);
        if (rc == JOBQ_OK) rc = jobq__audit_again(audit, db, s, found, &broken, &there);
    }
    /* What else was wrong with a row that went has gone with it. */
    if (tried && !there) found->broken = tried;
    found->mended = (found->broken | tried) & ~broken;
    found->broken |= broken;
    return rc;
}

static int jobq__audit_mend_rows(struct jobq__audit *audit, jobq__store *db,
                                 const struct jobq__mend *with) {
    int job = audit->of->job, i;
    sqlite3_stmt *s;
    int rc = jobq__audit_query(audit, db, audit->of->match, &s);
    for (i = 0; s && i < audit->count && rc == JOBQ_OK; i++) {
        struct jobq__found *found = &audit->found[i];
        if (!found->key[0]) continue;
        if (job >= 0 && sqlite3_value_type(found->key[job]) == SQLITE_INTEGER)
            rc = with->reach(with->ctx, sqlite3_value_int64(found->key[job]));
        found->reached = rc != JOBQ_BUSY;
        if (rc == JOBQ_OK) rc = jobq__audit_mend_row(audit, db, s, found, with);
        else if (rc == JOBQ_BUSY) rc = JOBQ_OK;
    }
    sqlite3_finalize(s);
    return rc;
}

/* What was told at once is not asked again: that would read all of the file, and counters that are
 * wrong do not become right. */
JOBQ__INTERNAL int jobq__audit_mend(struct jobq__audit *audit, jobq__store *db,
                                    const struct jobq__mend *with) {
    int i, rc = audit->of->look ? JOBQ_OK : jobq__audit_mend_rows(audit, db, with);
    for (i = 0; i < audit->count && rc == JOBQ_OK; i++) {
        struct jobq__found *found = &audit->found[i];
        if (audit->of->look) found->mended = found->broken;
        if (found->mended && audit->of->recounts) audit->recounts = true;
    }
    return rc;
}

JOBQ__INTERNAL bool jobq__audit_recounts(const struct jobq__audit *audit) {
    return audit->recounts;
}

JOBQ__INTERNAL void jobq__audit_undone(struct jobq__audit *audit) {
    int i;
    for (i = 0; i < audit->count; i++) audit->found[i].mended = 0;
    audit->undone = true;
}

/* ---- Telling ---- */

/* What becomes of it. */
static void jobq__audit_fate(const struct jobq__audit *audit, const struct jobq__found *found,
                             const struct jobq__audit_rule *rule, bool mended, bool repair,
                             char *text, size_t size, size_t at) {
    const char *does = rule ? rule->does : NULL;
    if (mended) jobq__audit_add(text, size, &at, "; repaired: %s", does ? does : "with the rest");
    else if (!does) jobq__audit_add(text, size, &at, "; no repair%s", found->unread ? ": restore"
                                    " a copy, or what sqlite3's .recover saves of it" : "");
    else if (!repair) jobq__audit_add(text, size, &at, "; a repair: %s", does);
    else if (!audit->undone && !found->reached)
        jobq__audit_add(text, size, &at, "; left, for its job runs");
    else jobq__audit_add(text, size, &at, "; left: the repair came to nothing");
}

static void jobq__audit_say(const struct jobq__audit *audit, const struct jobq__found *found,
                            int i, bool repair, char *text, size_t size) {
    const struct jobq__audit_part *part = audit->of;
    const struct jobq__audit_rule *rule = &part->rules[i];
    sqlite3_value *key = found->key[part->job >= 0 ? part->job : part->key_count - 1];
    size_t at = 0;
    jobq__audit_add(text, size, &at, "%s, row %lld: %s %s", part->table,
                    (long long)sqlite3_value_int64(key), rule->column, rule->wrong);
    jobq__audit_fate(audit, found, rule, found->mended >> i & 1, repair, text, size, at);
}

JOBQ__INTERNAL bool jobq__audit_line(struct jobq__audit *audit, bool repair, char *text,
                                     size_t size) {
    for (; audit->told < audit->count; audit->told++, audit->rule = 0) {
        const struct jobq__found *found = &audit->found[audit->told];
        size_t at = 0;
        if (!found->key[0]) {
            jobq__audit_add(text, size, &at, "%s", found->text);
            jobq__audit_fate(audit, found, found->broken ? audit->of->rules : NULL,
                             found->mended, repair, text, size, at);
            audit->told++;
            return true;
        }
        for (; audit->rule < audit->of->count; audit->rule++) {
            if (!((found->broken | found->mended) >> audit->rule & 1)) continue;
            jobq__audit_say(audit, found, audit->rule++, repair, text, size);
            return true;
        }
    }
    return false;
}
