/* audit_rules.c - what has to hold in the tables, rule by rule, and what puts it right. */
#include "audit.h"

#include <stdlib.h>

/* Design note.
 *
 * The order is part of it (audit.h): indexes before rows, for a change of a row follows them; names
 * before the claims row, which counts them; the columns of a row before what stands beside it, for
 * that depends on its state; keys from both sides, and last what the side of the row says is
 * there.
 *
 * A rule is SQL over the aliases of its part: j a row, f that of a failed one, x what is beside it,
 * k a key, p a payload, n a name, c the claims row. What a mend may do: a job that it cannot place
 * anywhere else waits for its time, in lane 0: it is promoted from there as any other, to where it
 * belongs. One whose payload is lost ends as failed, for it would run without; its state and its
 * side have to be right by then. What else cannot be told apart from a loss is left. */

#define JOBQ__OUT(column, min, max) \
    "typeof(" column ") <> 'integer' OR " column " NOT BETWEEN " min " AND " max
#define JOBQ__BELOW(column, min) "typeof(" column ") <> 'integer' OR " column " < " min
#define JOBQ__IDS "4611686018427387903"
#define JOBQ__NAMES JOBQ__STRING(JOBQ__NAME_ID_MAX)
#define JOBQ__WALLS JOBQ__STRING(JOBQ__WALL_MAX)
/* What later versions write here is theirs: those say so by a schema of their own. */
#define JOBQ__OURS \
    "(SELECT value FROM jobq_meta WHERE key = 'schema') IS " JOBQ__STRING(JOBQ__SCHEMA_VERSION)
#define JOBQ__UNUSED(column, from, mend) \
    {column, "is of no use in this version", JOBQ__OURS " AND " from "." column " IS NOT NULL", \
     NULL, mend, "there is none"}
#define JOBQ__ENDED "j.state IN (2, 3, 4)"
#define JOBQ__SET_ROW(what) "UPDATE jobq_row SET " what " WHERE id = ?1"
#define JOBQ__SET_EXTRA(what) "UPDATE jobq_extra SET " what " WHERE job = ?1"
#define JOBQ__SET_CLAIMS(what) "UPDATE jobq_claims SET " what " WHERE one = ?1"
#define JOBQ__SET_NAME(what) "UPDATE OR IGNORE jobq_name SET " what " WHERE id = ?1"

typedef char jobq__audit_last_id[JOBQ__ID_MAX == INT64_C(4611686018427387903) ? 1 : -1];
typedef char jobq__audit_payload[JOBQ_PAYLOAD_MAX == 67108864 ? 1 : -1];
typedef char jobq__audit_side[JOBQ__SIDE_ALL == 15 ? 1 : -1];

/* ---- Indexes ---- */

#define JOBQ__ANEW "the index is made anew"

static const struct jobq__audit_rule jobq__audit_live_rules[] = {
    {"the index jobq_live", "has an entry that its row has not",
     "NOT EXISTS(SELECT 1 FROM jobq_row NOT INDEXED WHERE id = i.id AND state = 0"
     " AND lane IS i.lane AND ord IS i.ord AND run_at IS i.run_at)",
     NULL, "REINDEX jobq_live", JOBQ__ANEW},
};

static const struct jobq__audit_rule jobq__audit_finished_rules[] = {
    {"the index jobq_finished", "has an entry that its row has not",
     "NOT EXISTS(SELECT 1 FROM jobq_row NOT INDEXED WHERE id = i.id AND prune_at IS i.prune_at)",
     NULL, "REINDEX jobq_finished", JOBQ__ANEW},
};

static const struct jobq__audit_rule jobq__audit_index_of_names_rules[] = {
    {"the index of names", "has an entry that its row has not",
     "NOT EXISTS(SELECT 1 FROM jobq_name NOT INDEXED WHERE id = i.id AND what IS i.what"
     " AND scope IS i.scope AND name IS i.name)",
     NULL, "REINDEX jobq_name", JOBQ__ANEW},
};

/* ---- What there is one of ---- */

#define JOBQ__HAS_NOT(key) "NOT EXISTS(SELECT 1 FROM jobq_meta WHERE key = '" key "')"

static const struct jobq__audit_rule jobq__audit_single_rules[] = {
    {"the claims row", "is missing", "NOT EXISTS(SELECT 1 FROM jobq_claims WHERE one < "
     JOBQ__TEXT_PAIRS ")", NULL,
     "INSERT INTO jobq_claims(one, last_id, counted, offset_ms, wall_at, next_name)"
     " SELECT 1, coalesce(max(id), 0), 0, 0, 0, 2 FROM jobq_row WHERE id BETWEEN 1 AND "
     JOBQ__IDS, "there is one"},
    {"jobq_meta.syncs", "is missing", JOBQ__HAS_NOT("syncs"), NULL,
     "INSERT INTO jobq_meta VALUES('syncs', 0)", "there is one"},
    {"jobq_meta.epoch", "is missing", JOBQ__HAS_NOT("epoch"), NULL,
     "INSERT INTO jobq_meta VALUES('epoch', 0)", "there is one"},
    {"jobq_meta.reads_from", "is missing", JOBQ__HAS_NOT("reads_from"), NULL,
     "INSERT INTO jobq_meta VALUES('reads_from', 2)", "there is one"},
    {"jobq_meta.writes_from", "is missing", JOBQ__HAS_NOT("writes_from"), NULL,
     "INSERT INTO jobq_meta VALUES('writes_from', 2)", "there is one"},
    {"the name of the lane of suspects", "is missing",
     "NOT EXISTS(SELECT 1 FROM jobq_name WHERE id = 1)",
     "DELETE FROM jobq_name WHERE what = 0 AND scope = 0 AND name = ''",
     "INSERT OR IGNORE INTO jobq_name VALUES(1, 0, 0, '')", "there is one"},
};

/* m: a row of jobq_meta. Other keys are a later version's. */
static const struct jobq__audit_rule jobq__audit_meta_rules[] = {
    {"value", "is no number", "m.key IN ('syncs', 'epoch', 'reads_from', 'writes_from')"
     " AND typeof(m.value) <> 'integer'", NULL,
     "UPDATE jobq_meta SET value = iif(key IN ('syncs', 'epoch'), 0, 2) WHERE key = ?1",
     "it is that of a new file"},
};

/* ---- Names ---- */

static const struct jobq__audit_rule jobq__audit_name_rules[] = {
    {"the index of names", "has no entry for it",
     "NOT EXISTS(SELECT 1 FROM jobq_name i INDEXED BY sqlite_autoindex_jobq_name_1"
     " WHERE i.what IS n.what AND i.scope IS n.scope AND i.name IS n.name AND i.id = n.id)",
     NULL, "REINDEX jobq_name", JOBQ__ANEW},
    {"id", "is none that jobq gives", "n.id NOT BETWEEN 1 AND " JOBQ__NAMES, NULL,
     "DELETE FROM jobq_name WHERE id = ?1", "no job can have it, and it goes"},
    {"what", "is none", JOBQ__OUT("n.what", "0", "iif(" JOBQ__OURS ", 2, 6)"), NULL,
     JOBQ__SET_NAME("what = 0"), "it serves as a kind and as a queue"},
    /* Whoever looks for the name finds none, and makes a second one. */
    {"scope", "is of no use in this version", JOBQ__OURS " AND n.scope IS NOT 0 AND NOT"
     " (n.scope IS n.id AND n.what IS 0 AND n.name IS " JOBQ__TEXT_LOST("n.id") ")",
     JOBQ__SET_NAME("scope = 0"),
     JOBQ__SET_NAME("what = 0, scope = id, name = " JOBQ__TEXT_LOST("id")) " AND scope IS NOT 0",
     "it is 0; if another has this name, it is called by its number"},
    {"name", "is none",
     "n.id > 1 AND (typeof(n.name) <> 'text' OR length(CAST(n.name AS BLOB)) NOT BETWEEN 1 AND 192"
     " OR instr(n.name, char(0)))", NULL, JOBQ__SET_NAME("name = " JOBQ__TEXT_LOST("id")),
     "it is called by its number"},
};

/* ---- The claims row ---- */

/* Where it stands; a walk of its own, for what is in it is found by that. */
static const struct jobq__audit_rule jobq__audit_place_rules[] = {
    {"the row", "stands twice", "c.one <> 1 AND EXISTS(SELECT 1 FROM jobq_claims WHERE one = 1)",
     NULL, "DELETE FROM jobq_claims WHERE one = ?1", "the other one stays"},
    {"one", "is not 1", "c.one <> 1", NULL, JOBQ__SET_CLAIMS("one = 1"), "it is"},
};

static const struct jobq__audit_rule jobq__audit_claims_rules[] = {
    {"last_id", "is no id", JOBQ__OUT("c.last_id", "0", JOBQ__IDS), NULL,
     JOBQ__SET_CLAIMS("last_id = (SELECT coalesce(max(id), 0) FROM jobq_row WHERE id BETWEEN 1"
                      " AND " JOBQ__IDS ")"), "it is the highest that there is"},
    {"counted", "is no id", JOBQ__OUT("c.counted", "0", JOBQ__IDS),
     NULL, JOBQ__SET_CLAIMS("counted = 0"), "jobs are counted anew"},
    {"wall_at", "is no time", JOBQ__OUT("c.wall_at", "0", JOBQ__WALLS), NULL,
     JOBQ__SET_CLAIMS("wall_at = 0"), "it is not known"},
    {"offset_ms", "is no time, or before all time",
     JOBQ__OUT("c.offset_ms", "-c.wall_at", JOBQ__WALLS), NULL,
     JOBQ__SET_CLAIMS("offset_ms = 0"), "the queue's own time is that of the wall"},
    {"next_name", "is no number for a new name",
     "typeof(c.next_name) <> 'integer' OR c.next_name NOT BETWEEN 2 AND 1 + " JOBQ__NAMES
     " OR c.next_name <= (SELECT max(id) FROM jobq_name WHERE id <= " JOBQ__NAMES ")", NULL,
     JOBQ__SET_CLAIMS("next_name = (SELECT 1 + max(1, coalesce(max(id), 1)) FROM jobq_name WHERE"
                      " id <= " JOBQ__NAMES ")"), "it is above all that were given"},
    {"ids", "is no list of those who are claimed, each once", NULL, NULL, NULL,
     "it names those who are"},
    {"open", "is no list of gates that there are", NULL, NULL, NULL, "it names those"},
    {"open", "does not name a gate that lets jobs pass, and jobs wait there", NULL, NULL, NULL,
     "it names it"},
};
enum { JOBQ__AUDIT_IDS = 5, JOBQ__AUDIT_OPEN = 6, JOBQ__AUDIT_FORGOTTEN = 7 };

static int jobq__audit_true(jobq__store *db, const char *text, int64_t id, bool *answer) {
    sqlite3_stmt *s;
    bool row = false;
    int rc = jobq__db_query(db, text, &s);
    if (s) sqlite3_bind_int64(s, 1, id);
    if (rc == JOBQ_OK) rc = jobq__db_next(db, s, &row);
    *answer = row && sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    return rc;
}

/* One of the two lists of the claims row, as it is; *size: of what can be read. */
static int jobq__audit_list(jobq__store *db, bool open, void **list, size_t *size, bool *odd) {
    sqlite3_stmt *s;
    bool row = false;
    int rc = jobq__db_query(db, open ? "SELECT open FROM jobq_claims WHERE one < " JOBQ__TEXT_PAIRS
                                       " ORDER BY one LIMIT 1"
                                     : "SELECT ids FROM jobq_claims WHERE one < " JOBQ__TEXT_PAIRS
                                       " ORDER BY one LIMIT 1", &s);
    *list = NULL;
    *size = 0;
    *odd = false;
    if (rc == JOBQ_OK) rc = jobq__db_next(db, s, &row);
    if (row && sqlite3_column_type(s, 0) == SQLITE_BLOB) {
        const void *bytes = sqlite3_column_blob(s, 0);
        *size = (size_t)sqlite3_column_bytes(s, 0);
        *list = jobq__mem_copy(bytes ? bytes : "", bytes ? *size : 0);
        if (!*list || (!bytes && *size)) rc = JOBQ_NO_MEMORY;
        if (rc == JOBQ_NO_MEMORY) db->sqlite_code = SQLITE_NOMEM;
    } else if (row) {
        *odd = sqlite3_column_type(s, 0) != SQLITE_NULL;
    }
    sqlite3_finalize(s);
    return rc;
}

/* One that may stand in the list. */
static int jobq__audit_member(jobq__store *db, bool open, int64_t id, bool *member) {
    *member = false;
    if (open && id >= -JOBQ__NAME_ID_MAX && id < JOBQ__LANE_OWN_TIME)
        return jobq__audit_true(db, "SELECT count(*) FROM jobq_name WHERE id = -?1", id, member);
    if (open) return JOBQ_OK;
    return jobq__audit_true(db, "SELECT count(*) FROM jobq_row WHERE id = ?1 AND state = 1", id,
                            member);
}

static bool jobq__audit_named(const int64_t *ids, size_t count, int64_t id) {
    while (count > 0 && ids[count - 1] != id) count--;
    return count > 0;
}

/* The list without what may not stand there; *odd: there was some of that. */
static int jobq__audit_sound(jobq__store *db, bool open, int64_t **ids, size_t *count, bool *odd) {
    size_t most = open ? JOBQ__OPEN_MAX : JOBQ__CLAIMS_MAX, seen = 0, size, at = 0;
    unsigned char *list;
    int64_t id = 0;
    int rc = jobq__audit_list(db, open, (void **)&list, &size, odd);
    *ids = NULL;
    *count = 0;
    if (rc == JOBQ_OK) *ids = jobq__mem_resize(NULL, JOBQ__MIN(size, most) + 1, sizeof **ids);
    if (rc == JOBQ_OK && !*ids) {
        db->sqlite_code = SQLITE_NOMEM;
        rc = JOBQ_NO_MEMORY;
    }
    while (rc == JOBQ_OK && at < size) {
        size_t used = jobq__store_unpack(list + at, size - at, &id);
        bool member = false;
        *odd = *odd || !used || seen == most;
        if (!used || seen++ == most) break;
        at += used;
        rc = jobq__audit_member(db, open, id, &member);
        member = member && !jobq__audit_named(*ids, *count, id);
        if (member) (*ids)[(*count)++] = id;
        else *odd = true;
    }
    jobq__mem_free(list);
    return rc;
}

/* Adds the gates that are missing there, as far as there is room; *ids has some. */
static int jobq__audit_forgotten(struct jobq__audit_known *known, jobq__store *db, int64_t **ids,
                                 size_t *count) {
    int64_t *more;
    size_t i;
    int rc = JOBQ_OK;
    for (i = 0; rc == JOBQ_OK && i < known->gates_count; i++) {
        int32_t lane = known->gates[i];
        bool waits = false;
        if (*count == JOBQ__OPEN_MAX) break;
        if (!jobq__audit_named(*ids, *count, lane))
            rc = jobq__audit_true(db, "SELECT count(*) FROM (SELECT 1 FROM jobq_row WHERE state = 0"
                                  " AND lane = ?1 LIMIT 1)", lane, &waits);
        if (!waits) continue;
        more = jobq__mem_resize(*ids, *count + 1, sizeof *more);
        if (more) *ids = more;
        if (more) (*ids)[(*count)++] = lane;
        else rc = JOBQ_NO_MEMORY;
    }
    if (rc == JOBQ_NO_MEMORY) db->sqlite_code = SQLITE_NOMEM;
    return rc;
}

static int jobq__audit_ask_claims(struct jobq__audit_known *known, jobq__store *db, sqlite3_stmt *s,
                                  uint64_t *broken) {
    int list, rc = JOBQ_OK;
    (void)s;
    for (list = 0; list < 2 && rc == JOBQ_OK; list++) {
        int64_t *ids;
        size_t count, sound;
        bool odd;
        rc = jobq__audit_sound(db, list == 1, &ids, &count, &odd);
        if (odd) *broken |= UINT64_C(1) << (list ? JOBQ__AUDIT_OPEN : JOBQ__AUDIT_IDS);
        sound = count;
        if (rc == JOBQ_OK && list) rc = jobq__audit_forgotten(known, db, &ids, &count);
        if (count > sound) *broken |= UINT64_C(1) << JOBQ__AUDIT_FORGOTTEN;
        jobq__mem_free(ids);
    }
    return rc;
}

static int jobq__audit_put_claims(struct jobq__audit_known *known, jobq__store *db, int rule,
                                  int64_t key, const struct jobq__mend *with) {
    bool odd, open = rule != JOBQ__AUDIT_IDS;
    int64_t *ids, previous = 0;
    unsigned char *list;
    size_t count, size = 0, i;
    sqlite3_stmt *s = NULL;
    int rc = jobq__audit_sound(db, open, &ids, &count, &odd);
    (void)key;
    (void)with;
    if (rc == JOBQ_OK && rule == JOBQ__AUDIT_FORGOTTEN)
        rc = jobq__audit_forgotten(known, db, &ids, &count);
    list = jobq__mem_new(count * JOBQ__PACK_MAX);
    if (rc == JOBQ_OK && !list) {
        db->sqlite_code = SQLITE_NOMEM;
        rc = JOBQ_NO_MEMORY;
    }
    for (i = 0; rc == JOBQ_OK && i < count; previous = ids[i++])
        size += jobq__store_pack(list + size, previous, ids[i]);
    if (rc == JOBQ_OK)
        rc = jobq__db_query(db, open ? "UPDATE jobq_claims SET open = ?1 WHERE one = 1"
                                     : "UPDATE jobq_claims SET ids = ?1 WHERE one = 1", &s);
    if (s && size) sqlite3_bind_blob64(s, 1, list, size, SQLITE_STATIC);
    if (rc == JOBQ_OK) rc = jobq__db_step(db, s);
    sqlite3_finalize(s);
    jobq__mem_free(list);
    jobq__mem_free(ids);
    return rc;
}

/* ---- Who is claimed ---- */

static int jobq__audit_by_id(const void *a, const void *b) {
    int64_t one = *(const int64_t *)a, other = *(const int64_t *)b;
    return (one > other) - (one < other);
}

static int jobq__audit_read_claims(struct jobq__audit_known *known, jobq__store *db) {
    void *list;
    size_t size, at = 0;
    int64_t id = 0;
    int rc = jobq__store_claims_get(db, &list, &size);
    int64_t *ids = rc == JOBQ_OK ? jobq__mem_resize(known->ids, size + 1, sizeof *ids) : NULL;
    if (rc == JOBQ_OK && !ids) {
        db->sqlite_code = SQLITE_NOMEM;
        rc = JOBQ_NO_MEMORY;
    }
    if (ids) known->ids = ids;
    known->ids_count = 0;
    while (rc == JOBQ_OK && at < size) {
        rc = jobq__store_claims_next(db, list, size, &at, &id);
        if (rc == JOBQ_OK) known->ids[known->ids_count++] = id;
    }
    jobq__mem_free(list);
    if (rc == JOBQ_OK)
        qsort(known->ids, known->ids_count, sizeof *known->ids, jobq__audit_by_id);
    return rc;
}

/* *read: the ids that the claims row names are known. What is wrong with that row itself its own
 * part tells. */
static int jobq__audit_claims(struct jobq__audit_known *known, jobq__store *db, bool *read) {
    int rc = known->asked ? JOBQ_OK : jobq__audit_read_claims(known, db);
    if (!known->asked) known->read = rc == JOBQ_OK;
    if (rc == JOBQ_CORRUPT) rc = JOBQ_OK;
    known->asked = rc == JOBQ_OK;
    *read = rc == JOBQ_OK && known->read;
    return rc;
}

static bool jobq__audit_claimed(const struct jobq__audit_known *known, int64_t id) {
    return known->ids_count && bsearch(&id, known->ids, known->ids_count, sizeof id,
                                       jobq__audit_by_id);
}

/* ---- The columns of a row ---- */

/* As one lane predicate says it (tx_place.c), as far as it can be told without the clock and the
 * handlers: scheduled, with the suspects, in its queue, or before the gate of its kind. */
#define JOBQ__PLACED \
    "(j.lane IN (-1, 0) OR (j.lane = 1 AND j.crashes > 0) OR (j.lane > 1 AND j.lane = j.queue" \
    " AND j.crashes = 0) OR (j.lane < -1 AND j.lane = -j.kind))"
/* Of a job without a run nobody reads those (sql.h). */
#define JOBQ__HAS_RUN "(attempt > 1 OR crashes > 0 OR delay_ms > 0)"
/* A number that was never given, so that a new name cannot come to have it: the last one, as long
 * as it has no name (the rows of one walk have it together), or the next. The name is given with
 * what stands beside the row. */
#define JOBQ__NUMBER_GIVE(id) \
    "UPDATE jobq_claims SET next_name = next_name + 1 WHERE one = 1 AND next_name <= " JOBQ__NAMES \
    " AND next_name - 1 IN (SELECT id FROM jobq_name)", \
    JOBQ__SET_ROW(id " = (SELECT next_name - 1 FROM jobq_claims WHERE one = 1)") \
    " AND EXISTS(SELECT 1 FROM jobq_claims WHERE one = 1 AND next_name > 2" \
    " AND next_name - 1 NOT IN (SELECT id FROM jobq_name))"
#define JOBQ__AUDIT_WAITS "it waits for its time, and takes its place from there"

static const struct jobq__audit_rule jobq__audit_row_rules[] = {
    {"the index jobq_live", "has no entry for it",
     "j.state = 0 AND NOT EXISTS(SELECT 1 FROM jobq_row i INDEXED BY jobq_live WHERE i.state = 0"
     " AND i.lane IS j.lane AND i.ord IS j.ord AND i.run_at IS j.run_at AND i.id = j.id)",
     NULL, "REINDEX jobq_live", JOBQ__ANEW},
    {"the index jobq_finished", "has no entry for it",
     "j.prune_at IS NOT NULL AND NOT EXISTS(SELECT 1 FROM jobq_row i INDEXED BY jobq_finished"
     " WHERE i.prune_at IS NOT NULL AND i.prune_at IS j.prune_at AND i.id = j.id)",
     NULL, "REINDEX jobq_finished", JOBQ__ANEW},
    {"id", "is none that jobq gives", "j.id NOT BETWEEN 1 AND " JOBQ__IDS, NULL, NULL,
     NULL},
    {"side", "is none", JOBQ__OUT("j.side", "0", "15"), NULL,
     JOBQ__SET_ROW("side = EXISTS(SELECT 1 FROM jobq_extra WHERE job = ?1) | 2 * EXISTS(SELECT 1"
                   " FROM jobq_extra WHERE job = ?1 AND key IS NOT NULL)"
                   " | 8 * (typeof(payload) = 'integer')"), "it says what there is"},
    {"state", "is none", JOBQ__OUT("j.state", "0", "4"), NULL,
     JOBQ__SET_ROW("state = iif(finished_at IS NULL, 0, 3), lane = 0, ord = 0"),
     "it waits for its time or, if it has an end, is kept among the failed ones"},
    {"kind", "is the number of none", JOBQ__OUT("j.kind", "2", JOBQ__NAMES),
     JOBQ__NUMBER_GIVE("kind"), "it is one of its own, which no other kind has"},
    {"queue", "is the number of none", JOBQ__OUT("j.queue", "2", JOBQ__NAMES),
     JOBQ__NUMBER_GIVE("queue"), "it is one of its own, which no other queue has"},
    {"run_at", "is no time", JOBQ__BELOW("j.run_at", "0"), NULL, JOBQ__SET_ROW("run_at = ?5"),
     "it is due"},
    {"priority", "is none", JOBQ__OUT("j.priority", "-2147483648", "2147483647"), NULL,
     JOBQ__SET_ROW("priority = 0"), "it is 0"},
    {"attempt", "is none", JOBQ__OUT("j.attempt", "1", "2147483647"), NULL,
     JOBQ__SET_ROW("attempt = 1"), "it is 1"},
    {"runs", "is no number of runs of such a job",
     JOBQ__OUT("j.runs", "(j.state = 1)", "2147483647 - (j.state = 0)")
     " OR (j.runs = 0 AND " JOBQ__HAS_RUN ")", NULL,
     JOBQ__SET_ROW("runs = (state = 1 OR " JOBQ__HAS_RUN ")"), "they are as few as can be"},
    {"crashes", "is none", JOBQ__OUT("j.crashes", "0", "2147483647"), NULL,
     JOBQ__SET_ROW("crashes = 0"), "there were none"},
    {"delay_ms", "is no time", JOBQ__BELOW("j.delay_ms", "0"), NULL,
     JOBQ__SET_ROW("delay_ms = 0"), "there was none"},
    {"created_at", "is no time",
     "j.created_at IS NOT NULL AND (" JOBQ__BELOW("j.created_at", "0") ")", NULL,
     JOBQ__SET_ROW("created_at = NULL"), "it is the time at which it is due"},
    {"finished_at", "is missing, and prune_at too, so that nobody knows how it ended",
     "j.state IN (2, 4) AND j.finished_at IS NULL AND j.prune_at IS NULL", NULL,
     JOBQ__SET_ROW("state = 3"), "it is kept among the failed ones"},
    {"finished_at", "does not go with its state",
     "iif(" JOBQ__ENDED ", " JOBQ__BELOW("j.finished_at", "0") ", j.finished_at IS NOT NULL)", NULL,
     JOBQ__SET_ROW("finished_at = iif(state IN (2, 3, 4), ?5, NULL)"),
     "it is now, or none if it has not ended"},
    {"prune_at", "does not go with its state",
     "iif(" JOBQ__ENDED ", " JOBQ__BELOW("j.prune_at", "0") ", j.prune_at IS NOT NULL)", NULL,
     JOBQ__SET_ROW("prune_at = CASE WHEN state = 3 THEN ?7 WHEN state IN (2, 4) THEN ?6 END"),
     "it is kept as long as others, or as long as it takes if it has not ended"},
    {"lane", "is none where such a job can be",
     "iif(j.state = 0, typeof(j.lane) <> 'integer' OR NOT " JOBQ__PLACED ","
     " j.lane IS NOT NULL AND (" JOBQ__OUT("j.lane", "-" JOBQ__NAMES, JOBQ__NAMES) "))", NULL,
     JOBQ__SET_ROW("lane = iif(state = 0, 0, NULL), ord = 0"), JOBQ__AUDIT_WAITS},
    {"ord", "is not its place",
     JOBQ__OUT("j.ord", "-2147483648", "2147483647")
     " OR (j.state = 0 AND j.ord <> iif(j.lane > 0, j.priority, 0))", NULL,
     JOBQ__SET_ROW("lane = iif(state = 0, -(lane = -1), lane), ord = 0"), JOBQ__AUDIT_WAITS},
    {"state", "is that of a claimed job, which jobq_claims does not name", NULL, NULL, NULL,
     "it is given back, and not charged with a crash"},
};
enum { JOBQ__AUDIT_NOBODYS = 19 };

static int jobq__audit_ask_row(struct jobq__audit_known *known, jobq__store *db, sqlite3_stmt *s,
                               uint64_t *broken) {
    bool read;
    int rc;
    if (!sqlite3_column_int(s, 2)) return JOBQ_OK;
    rc = jobq__audit_claims(known, db, &read);
    if (rc == JOBQ_OK && read && !jobq__audit_claimed(known, sqlite3_column_int64(s, 0)))
        *broken |= UINT64_C(1) << JOBQ__AUDIT_NOBODYS;
    return rc;
}

/* As after a crash: a wish to cancel it is fulfilled. */
static int jobq__audit_put_row(struct jobq__audit_known *known, jobq__store *db, int rule,
                               int64_t key, const struct jobq__mend *with) {
    sqlite3_stmt *s = NULL;
    bool read;
    int rc = jobq__audit_claims(known, db, &read);
    (void)rule;
    if (rc != JOBQ_OK || !read || jobq__audit_claimed(known, key)) return rc;
    rc = jobq__db_query(db, "UPDATE jobq_row SET state = iif(side & 4, 4, 0), lane = 0, ord = 0,"
                        " side = side & ~4, finished_at = iif(side & 4, ?2, NULL),"
                        " prune_at = iif(side & 4, ?3, NULL) WHERE id = ?1 AND state = 1", &s);
    if (rc != JOBQ_OK) return rc;
    sqlite3_bind_int64(s, 1, key);
    sqlite3_bind_int64(s, 2, with->now_ms);
    sqlite3_bind_int64(s, 3, with->prune_done_ms);
    rc = jobq__db_step(db, s);
    sqlite3_finalize(s);
    return rc;
}

/* ---- What is lost ---- */

#define JOBQ__SAYS(bit) "j.side BETWEEN 0 AND 15 AND j.side & " bit
#define JOBQ__APART "EXISTS(SELECT 1 FROM jobq_payload WHERE job = j.id)"
#define JOBQ__PAYLOAD_LOST \
    JOBQ__SAYS("8") " AND typeof(j.payload) NOT IN ('blob', 'null') AND NOT " JOBQ__APART

static const struct jobq__audit_rule jobq__audit_lost_rules[] = {
    {"payload", "stands apart, and is missing there", NULL, NULL, NULL,
     "its job has none and, if it had not ended, is kept among the failed ones"},
};

static int jobq__audit_ask_lost(struct jobq__audit_known *known, jobq__store *db, sqlite3_stmt *s,
                                uint64_t *broken) {
    (void)known;
    (void)db;
    if (sqlite3_column_int(s, 2)) *broken |= 1;
    return JOBQ_OK;
}

/* At once, for others may come upon the job before the walk is over: who waits ends as by its last
 * attempt. It must not run without what it was given. */
static int jobq__audit_put_lost(struct jobq__audit_known *known, jobq__store *db, int rule,
                                int64_t key, const struct jobq__mend *with) {
    static const char *const texts[] = {
        "INSERT OR IGNORE INTO jobq_extra(job) SELECT id FROM jobq_row WHERE id = ?1"
        " AND state = 0",
        "UPDATE jobq_extra SET error = 'its payload was lost, and jobq_check has ended it'"
        " WHERE job = (SELECT id FROM jobq_row WHERE id = ?1 AND state = 0)",
        "UPDATE OR REPLACE jobq_key SET held = 0 WHERE job = ?1 AND held = 1 AND (kind, key) ="
        " (SELECT j.kind, x.key FROM jobq_row j JOIN jobq_extra x ON x.job = j.id WHERE j.id = ?1"
        " AND j.state = 0)",
        "INSERT OR IGNORE INTO jobq_failed SELECT ?3, id FROM jobq_row WHERE id = ?1"
        " AND state = 0",
        "UPDATE jobq_row SET side = (side & ~8) | (state = 0), payload = NULL,"
        " finished_at = iif(state = 0, ?2, finished_at), prune_at = iif(state = 0, ?3, prune_at),"
        " state = iif(state = 0, 3, state) WHERE id = ?1 AND state <> 1",
    };
    int rc = JOBQ_OK;
    size_t i;
    (void)known;
    (void)rule;
    for (i = 0; i < JOBQ__COUNT(texts) && rc == JOBQ_OK; i++) {
        sqlite3_stmt *s;
        rc = jobq__db_query(db, texts[i], &s);
        if (rc != JOBQ_OK) break;
        sqlite3_bind_int64(s, 1, key);
        sqlite3_bind_int64(s, 2, with->now_ms);
        sqlite3_bind_int64(s, 3, with->prune_failed_ms);
        rc = jobq__db_step(db, s);
        sqlite3_finalize(s);
    }
    return rc;
}

/* ---- What stands beside a row ---- */

#define JOBQ__NO_JOB(job) "NOT EXISTS(SELECT 1 FROM jobq_row WHERE id = " job ")"

static const struct jobq__audit_rule jobq__audit_failed_rules[] = {
    {"the row", "is not that of a failed job", "NOT EXISTS(SELECT 1 FROM jobq_row"
     " WHERE id = f.job AND state = 3 AND prune_at IS f.at)", NULL,
     "DELETE FROM jobq_failed WHERE at = ?1 AND job = ?2", "it goes"},
};

#define JOBQ__UNUSED_BESIDE(column) JOBQ__UNUSED(column, "x", JOBQ__SET_EXTRA(column " = NULL"))

static const struct jobq__audit_rule jobq__audit_extra_rules[] = {
    {"the row", "has no job", JOBQ__NO_JOB("x.job"), NULL, "DELETE FROM jobq_extra WHERE job = ?1",
     "it goes"},
    {"key", "is none", "x.key IS NOT NULL AND (typeof(x.key) <> 'text'"
     " OR length(CAST(x.key AS BLOB)) NOT BETWEEN 1 AND 384 OR instr(x.key, char(0)))", NULL,
     JOBQ__SET_EXTRA("key = NULL"), "its job has none, unless jobq_key knows it"},
    {"error", "is no message", "x.error IS NOT NULL AND (typeof(x.error) <> 'text'"
     " OR length(CAST(x.error AS BLOB)) > 765 OR instr(x.error, char(0)))", NULL,
     JOBQ__SET_EXTRA("error = NULL"), "there is none"},
    {"result", "is no blob", "x.result IS NOT NULL AND typeof(x.result) <> 'blob'", NULL,
     JOBQ__SET_EXTRA("result = CAST(result AS BLOB)"), "it becomes one"},
    {"saved", "is no blob", "x.saved IS NOT NULL AND typeof(x.saved) <> 'blob'", NULL,
     JOBQ__SET_EXTRA("saved = CAST(saved AS BLOB)"), "it becomes one"},
    JOBQ__UNUSED_BESIDE("tags"),
    JOBQ__UNUSED_BESIDE("trace"),
    JOBQ__UNUSED_BESIDE("attempts_max"),
    JOBQ__UNUSED_BESIDE("on_failed"),
    JOBQ__UNUSED_BESIDE("needs"),
    JOBQ__UNUSED_BESIDE("expires_at"),
    JOBQ__UNUSED_BESIDE("cause"),
    JOBQ__UNUSED_BESIDE("schedule"),
    JOBQ__UNUSED_BESIDE("nominal_at"),
    {"the row", "is not said to be there by the side of its job",
     "EXISTS(SELECT 1 FROM jobq_row j WHERE j.id = x.job"
     " AND NOT (j.side & 1 AND (x.key IS NULL OR j.side & 2)))", NULL,
     "UPDATE jobq_row SET side = side | iif((SELECT key FROM jobq_extra WHERE job = ?1) IS NULL,"
     " 1, 3) WHERE id = ?1", "it is"},
};

/* k and who else has this key held, rightly. */
#define JOBQ__LIVE "(SELECT j.state < 2 FROM jobq_row j WHERE j.id = k.job)"
#define JOBQ__SET_KEY(what) what " WHERE kind = ?1 AND key = ?2 AND held = ?3 AND job = ?4"
#define JOBQ__OTHER(kind, key, job) \
    "EXISTS(SELECT 1 FROM jobq_key o JOIN jobq_row r ON r.id = o.job" \
    " JOIN jobq_extra y ON y.job = o.job WHERE o.kind = " kind " AND o.key = " key \
    " AND o.held = 1 AND r.state < 2 AND r.kind IS o.kind AND y.key IS o.key AND " job ")"
#define JOBQ__EARLIER \
    JOBQ__OTHER("k.kind", "k.key", "o.job <> k.job AND (o.job < k.job OR k.held IS NOT 1)")

static const struct jobq__audit_rule jobq__audit_key_rules[] = {
    {"the row", "has no job", JOBQ__NO_JOB("k.job"), NULL, JOBQ__SET_KEY("DELETE FROM jobq_key"),
     "it goes"},
    {"the row", "is not that of its job's kind and key",
     "EXISTS(SELECT 1 FROM jobq_row j LEFT JOIN jobq_extra x ON x.job = j.id WHERE j.id = k.job"
     " AND (j.kind IS NOT k.kind OR (x.key IS NOT k.key AND (x.key IS NOT NULL"
     " OR NOT j.side & 2))))", NULL, JOBQ__SET_KEY("DELETE FROM jobq_key"), "it goes"},
    {"key", "is not beside its job", "EXISTS(SELECT 1 FROM jobq_row j LEFT JOIN jobq_extra x"
     " ON x.job = j.id WHERE j.id = k.job AND j.side & 2 AND x.key IS NULL)",
     "INSERT OR IGNORE INTO jobq_extra(job) VALUES(?4)",
     "UPDATE jobq_extra SET key = ?2 WHERE job = ?4", "it is"},
    {"held", "says that two have the same key",
     "k.held IS NOT 0 AND " JOBQ__LIVE " AND " JOBQ__EARLIER,
     "UPDATE jobq_extra SET key = NULL WHERE job = ?4", JOBQ__SET_KEY("DELETE FROM jobq_key"),
     "the earlier job keeps it, this one stays without"},
    {"held", "does not go with the state of its job",
     JOBQ__LIVE " IS NOT NULL AND k.held IS NOT " JOBQ__LIVE
     " AND NOT (" JOBQ__LIVE " AND " JOBQ__EARLIER ")", NULL,
     JOBQ__SET_KEY("UPDATE OR REPLACE jobq_key SET held = (SELECT state < 2 FROM jobq_row"
                   " WHERE id = ?4)"), "it does"},
    {"held", "is free, though its job has not ended and another has the key",
     "k.held IS 0 AND " JOBQ__LIVE " AND " JOBQ__EARLIER,
     "UPDATE jobq_extra SET key = NULL WHERE job = ?4", JOBQ__SET_KEY("DELETE FROM jobq_key"),
     "the other job keeps it, this one stays without"},
    JOBQ__UNUSED("until", "k", JOBQ__SET_KEY("UPDATE jobq_key SET until = NULL")),
};

/* x, whose key is not in jobq_key. */
#define JOBQ__KEYLESS(and) \
    "x.key IS NOT NULL AND EXISTS(SELECT 1 FROM jobq_row j WHERE j.id = x.job AND j.side & 2" \
    " AND NOT EXISTS(SELECT 1 FROM jobq_key WHERE kind = j.kind AND key = x.key" \
    " AND held IN (0, 1) AND job = x.job) AND " and \
    " (j.state < 2 AND " JOBQ__OTHER("j.kind", "x.key", "o.job <> x.job") "))"

static const struct jobq__audit_rule jobq__audit_keyed_rules[] = {
    {"key", "is not in jobq_key", JOBQ__KEYLESS("NOT"), NULL,
     "INSERT OR IGNORE INTO jobq_key(kind, key, held, job) SELECT j.kind, x.key, j.state < 2, j.id"
     " FROM jobq_row j JOIN jobq_extra x ON x.job = j.id WHERE j.id = ?1", "it is"},
    {"key", "is not in jobq_key, and another job has it", JOBQ__KEYLESS(""), NULL,
     JOBQ__SET_EXTRA("key = NULL"), "the other job keeps it, this one stays without"},
};

static const struct jobq__audit_rule jobq__audit_payload_rules[] = {
    {"the row", "has no job", JOBQ__NO_JOB("p.job"), NULL,
     "DELETE FROM jobq_payload WHERE job = ?1", "it goes"},
    {"the row", "is not said to be there by the side of its job",
     "EXISTS(SELECT 1 FROM jobq_row j WHERE j.id = p.job AND NOT j.side & 8"
     " AND typeof(j.payload) IN ('integer', 'null'))", NULL,
     JOBQ__SET_ROW("side = side | 8, payload = (SELECT length(data) FROM jobq_payload"
                   " WHERE job = ?1)"), "it is"},
    {"the row", "is a second payload of its job",
     "EXISTS(SELECT 1 FROM jobq_row j WHERE j.id = p.job AND NOT j.side & 8"
     " AND typeof(j.payload) NOT IN ('integer', 'null'))", NULL,
     "DELETE FROM jobq_payload WHERE job = ?1", "the one in the row stays"},
};

/* ---- What a row says of what stands beside it ---- */

#define JOBQ__NAME_GIVE(id) \
    "UPDATE jobq_claims SET next_name = max(next_name, 1 + (SELECT " id " FROM jobq_row" \
    " WHERE id = ?1)) WHERE one = 1", \
    JOBQ__TEXT_NAME_LOST(id, "j.id = ?1"), "it is called by its number"

#define JOBQ__NAMED_AS_NO(id, what) \
    "EXISTS(SELECT 1 FROM jobq_name WHERE id = j." id " AND what NOT IN (0, " what "))"
#define JOBQ__NAME_SERVES(number, what) \
    "UPDATE jobq_name SET what = 0, name = iif(EXISTS(SELECT 1 FROM jobq_name o" \
    " WHERE o.what IN (0, " what ") AND o.scope = 0 AND o.name = jobq_name.name), " \
    JOBQ__TEXT_LOST("id") ", name) WHERE id = (SELECT " number " FROM jobq_row WHERE id = ?1)"

static const struct jobq__audit_rule jobq__audit_beside_rules[] = {
    {"side", "wants one cancelled that does not run", JOBQ__SAYS("4") " AND j.state <> 1", NULL,
     JOBQ__SET_ROW("side = side & ~4"), "it does not"},
    {"side", "says that it has a key", JOBQ__SAYS("2") " AND NOT EXISTS(SELECT 1"
     " FROM jobq_extra"
     " WHERE job = j.id AND key IS NOT NULL)", NULL, JOBQ__SET_ROW("side = side & ~2"),
     "it has none"},
    {"side", "says that its payload stands apart, and there is none, nor the number of its bytes",
     JOBQ__SAYS("8") " AND typeof(j.payload) IN ('blob', 'null') AND NOT " JOBQ__APART, NULL,
     JOBQ__SET_ROW("side = side & ~8"), "it does not"},
    {"payload", "is not the number of bytes of the one apart",
     JOBQ__SAYS("8") " AND " JOBQ__APART " AND (typeof(j.payload) = 'null' OR (typeof(j.payload)"
     " = 'integer' AND j.payload NOT BETWEEN 1 AND 67108864))", NULL,
     JOBQ__SET_ROW("payload = (SELECT length(data) FROM jobq_payload WHERE job = ?1)"), "it is"},
    {"payload", "is another one than that which stands apart",
     JOBQ__SAYS("8") " AND EXISTS(SELECT 1 FROM jobq_payload p WHERE p.job = j.id"
     " AND iif(typeof(j.payload) = 'integer', j.payload BETWEEN 1 AND 67108864"
     " AND (typeof(p.data) <> 'blob' OR length(p.data) <> j.payload), j.payload IS NOT NULL))",
     NULL, NULL, NULL},
    {"payload", "is none",
     "j.side BETWEEN 0 AND 15 AND NOT j.side & 8 AND j.payload IS NOT NULL"
     " AND (typeof(j.payload) <> 'blob'"
     " OR length(j.payload) > 67108864)", NULL, NULL, NULL},
    {"the row", "is of a failed job, and not in jobq_failed", "j.state = 3 AND j.prune_at IS NOT"
     " NULL AND NOT EXISTS(SELECT 1 FROM jobq_failed WHERE at = j.prune_at AND job = j.id)", NULL,
     "INSERT OR IGNORE INTO jobq_failed SELECT prune_at, id FROM jobq_row WHERE id = ?1", "it is"},
    {"kind", "has no name", JOBQ__TEXT_IS_LOST("kind"), JOBQ__NAME_GIVE("kind")},
    {"queue", "has no name", JOBQ__TEXT_IS_LOST("queue"), JOBQ__NAME_GIVE("queue")},
    {"kind", "has the name of something else", JOBQ__NAMED_AS_NO("kind", "2"), NULL,
     JOBQ__NAME_SERVES("kind", "2"), "it is a kind's, too, unless another kind has it"},
    {"queue", "has the name of something else", JOBQ__NAMED_AS_NO("queue", "1"), NULL,
     JOBQ__NAME_SERVES("queue", "1"), "it is a queue's, too, unless another queue has it"},
    JOBQ__UNUSED("grp", "j", JOBQ__SET_ROW("grp = NULL")),
};

/* ---- What this version does not write ---- */

/* job: which key is a job's id, or -1. */
#define JOBQ__UNUSED_TABLE(table, keys, match, count, job) \
    {table, table, "", keys, match, count, job, (const struct jobq__audit_rule[]){ \
     {"the row", "is nobody's: this version writes none here", JOBQ__OURS, NULL, \
      "DELETE FROM " table " WHERE " match, "it goes"}}, 1, "0", NULL, NULL, false, \
     JOBQ__LOOK_ROWS}
#define JOBQ__UNUSED_1(table, a, job) JOBQ__UNUSED_TABLE(table, a, a " = ?1", 1, job)
#define JOBQ__UNUSED_2(table, keys, job) \
    JOBQ__UNUSED_TABLE(table, keys, "(" keys ") = (?1, ?2)", 2, job)
#define JOBQ__UNUSED_3(table, keys, job) \
    JOBQ__UNUSED_TABLE(table, keys, "(" keys ") = (?1, ?2, ?3)", 3, job)
#define JOBQ__UNUSED_4(table, keys, job) \
    JOBQ__UNUSED_TABLE(table, keys, "(" keys ") = (?1, ?2, ?3, ?4)", 4, job)

/* ---- Counters ---- */

static const struct jobq__audit_rule jobq__audit_pair_rules[] = {
    {"a counter", "stands where none belongs", "c.one < " JOBQ__TEXT_PAIRS " AND coalesce(c.ready,"
     " c.scheduled, c.blocked, c.claimed, c.retrying, c.done, c.failed, c.cancelled) IS NOT NULL",
     NULL, JOBQ__SET_CLAIMS("ready = NULL, scheduled = NULL, blocked = NULL, claimed = NULL,"
     " retrying = NULL, done = NULL, failed = NULL, cancelled = NULL"), "there is none"},
    {"one of ids to next_name", "stands beside counters", "c.one >= " JOBQ__TEXT_PAIRS
     " AND coalesce(c.ids, c.last_id, c.open, c.counted, c.offset_ms, c.wall_at, c.next_name)"
     " IS NOT NULL", NULL, JOBQ__SET_CLAIMS("ids = NULL, last_id = NULL, open = NULL,"
     " counted = NULL, offset_ms = NULL, wall_at = NULL, next_name = NULL"), "there is none"},
};

static const struct jobq__audit_rule jobq__audit_count_rules[] = {
    {NULL, NULL, NULL, NULL, NULL, "jobs are counted anew"},
};

/* ---- The walk ---- */

#define JOBQ__RULES(name) jobq__audit_##name##_rules, (int)JOBQ__COUNT(jobq__audit_##name##_rules)
#define JOBQ__ONE(key) key, key " = ?1", 1
#define JOBQ__LIVE_KEYS "i.lane, i.ord, i.run_at, i.id"
#define JOBQ__KEY_KEYS "k.kind, k.key, k.held, k.job"

static const struct jobq__audit_part jobq__audit_parts[] = {
    {"the file", NULL, NULL, NULL, NULL, 0, -1, NULL, 0, NULL, NULL, NULL, false, JOBQ__LOOK_FILE},
    {"jobq_row", "jobq_row i INDEXED BY jobq_live", "AND i.state = 0", JOBQ__LIVE_KEYS,
     "(" JOBQ__LIVE_KEYS ") IS (?1, ?2, ?3, ?4)", 4, -1, JOBQ__RULES(live), "0", NULL, NULL,
     false, JOBQ__LOOK_ROWS},
    {"jobq_row", "jobq_row i INDEXED BY jobq_finished", "AND i.prune_at IS NOT NULL",
     "i.prune_at, i.id", "(i.prune_at, i.id) IS (?1, ?2)", 2, -1, JOBQ__RULES(finished), "0", NULL,
     NULL, false, JOBQ__LOOK_ROWS},
    {"jobq_name", "jobq_name i INDEXED BY sqlite_autoindex_jobq_name_1", "",
     "i.what, i.scope, i.name, i.id", "(i.what, i.scope, i.name, i.id) IS (?1, ?2, ?3, ?4)", 4, -1,
     JOBQ__RULES(index_of_names), "0", NULL, NULL, false, JOBQ__LOOK_ROWS},
    {"jobq", "(SELECT 1 AS one) o", "", JOBQ__ONE("o.one"), -1, JOBQ__RULES(single), "0", NULL,
     NULL, true, JOBQ__LOOK_ROWS},
    {"jobq_meta", "jobq_meta m", "", JOBQ__ONE("m.key"), -1, JOBQ__RULES(meta), "0", NULL, NULL,
     false, JOBQ__LOOK_ROWS},
    {"jobq_name", "jobq_name n", "", JOBQ__ONE("n.id"), -1, JOBQ__RULES(name), "0", NULL, NULL,
     false, JOBQ__LOOK_ROWS},
    {"jobq_claims", "jobq_claims c", " AND c.one < " JOBQ__TEXT_PAIRS, JOBQ__ONE("c.one"), -1,
     JOBQ__RULES(place), "0", NULL, NULL, true, JOBQ__LOOK_ROWS},
    {"jobq_claims", "jobq_claims c", " AND c.one < " JOBQ__TEXT_PAIRS, JOBQ__ONE("c.one"), -1,
     JOBQ__RULES(claims), "0", jobq__audit_ask_claims, jobq__audit_put_claims, true,
     JOBQ__LOOK_ROWS},
    {"jobq_row", "jobq_row j", "", JOBQ__ONE("j.id"), 0, JOBQ__RULES(row), "j.state = 1",
     jobq__audit_ask_row, jobq__audit_put_row, true, JOBQ__LOOK_ROWS},
    {"jobq_row", "jobq_row j", "", JOBQ__ONE("j.id"), 0, JOBQ__RULES(lost),
     "iif(" JOBQ__PAYLOAD_LOST ",1,0)", jobq__audit_ask_lost, jobq__audit_put_lost, true,
     JOBQ__LOOK_ROWS},
    {"jobq_failed", "jobq_failed f", "", "f.at, f.job", "(f.at, f.job) = (?1, ?2)", 2, -1,
     JOBQ__RULES(failed), "0", NULL, NULL, false, JOBQ__LOOK_ROWS},
    {"jobq_extra", "jobq_extra x", "", JOBQ__ONE("x.job"), 0, JOBQ__RULES(extra), "0", NULL, NULL,
     false, JOBQ__LOOK_ROWS},
    {"jobq_key", "jobq_key k", "", JOBQ__KEY_KEYS, "(" JOBQ__KEY_KEYS ") = (?1, ?2, ?3, ?4)", 4, 3,
     JOBQ__RULES(key), "0", NULL, NULL, false, JOBQ__LOOK_ROWS},
    {"jobq_extra", "jobq_extra x", "", JOBQ__ONE("x.job"), 0, JOBQ__RULES(keyed), "0", NULL, NULL,
     false, JOBQ__LOOK_ROWS},
    {"jobq_payload", "jobq_payload p", "", JOBQ__ONE("p.job"), 0, JOBQ__RULES(payload), "0", NULL,
     NULL, false, JOBQ__LOOK_ROWS},
    {"jobq_row", "jobq_row j", "", JOBQ__ONE("j.id"), 0, JOBQ__RULES(beside), "0", NULL, NULL,
     false, JOBQ__LOOK_ROWS},
    JOBQ__UNUSED_3("jobq_rule", "what, name, layer", -1),
    JOBQ__UNUSED_2("jobq_gate", "what, id", -1),
    JOBQ__UNUSED_2("jobq_pass", "job, gate", 0),
    JOBQ__UNUSED_3("jobq_alarm", "at, what, id", -1),
    JOBQ__UNUSED_1("jobq_kind", "id", -1),
    JOBQ__UNUSED_4("jobq_figure", "span, at, queue, kind", -1),
    JOBQ__UNUSED_1("jobq_command", "id", -1),
    JOBQ__UNUSED_1("jobq_schedule", "id", -1),
    JOBQ__UNUSED_2("jobq_fired", "schedule, nominal", -1),
    JOBQ__UNUSED_2("jobq_after", "parent, child", -1),
    JOBQ__UNUSED_1("jobq_batch", "job", 0),
    JOBQ__UNUSED_2("jobq_signal", "event, serial", -1),
    JOBQ__UNUSED_2("jobq_await", "job, event", 0),
    JOBQ__UNUSED_2("jobq_step", "job, name", 0),
    JOBQ__UNUSED_2("jobq_note", "job, seq", 0),
    JOBQ__UNUSED_2("jobq_import", "source, id", -1),
    {"jobq_claims", "jobq_claims c", "", JOBQ__ONE("c.one"), -1, JOBQ__RULES(pair), "0", NULL,
     NULL, false, JOBQ__LOOK_ROWS},
    {"jobq_claims", NULL, NULL, NULL, NULL, 0, -1, JOBQ__RULES(count), NULL, NULL, NULL, true,
     JOBQ__LOOK_COUNTERS},
};

JOBQ__INTERNAL const struct jobq__audit_part *jobq__audit_part(int i) {
    return i < (int)JOBQ__COUNT(jobq__audit_parts) ? &jobq__audit_parts[i] : NULL;
}
