/* schema_1.h - files of schema 1, as 0.1.0 left them (fixtures/): to be put somewhere, to be
 * compared with what becomes of them, and what has to hold in a file of schema 2.
 *
 *     schema_1_make("q.db", SCHEMA_1_TEXT)       the file stands at that path
 *     char *before = told(path, TOLD_WHOLE)      every job with all that it carries, and all names,
 *     CHECK_STR(after, before)                   whichever schema the file has
 *     check_schema_2(path)                       what jobq relies on
 *
 * With TOLD_CALM a job that is claimed looks as if it were not, so that what an open gives back
 * compares equal with what it was given. */
#ifndef JOBQ_TEST_SCHEMA_1_H
#define JOBQ_TEST_SCHEMA_1_H

#include "helpers.h"

/* SCHEMA_1_FILE: pages of 512 bytes, UTF-16, an application's tables, a log that was not copied,
 * and a lock file with slots of another boot. */
enum schema_1 { SCHEMA_1_TEXT, SCHEMA_1_FILE, SCHEMA_1_KINDS };
enum { SCHEMA_1_JOBS = 22 }; /* in both */

/* ---- Where the fixtures are, and what was built for them ---- */

/* Below the tree that the program was built in. */
static inline const char *in_tree(const char *name) {
    static char path[1200];
    const char *build = getenv("JOBQ_BUILD");
    if (build) snprintf(path, sizeof path, "%s/../../%s", build, name);
    else snprintf(path, sizeof path, "%s", name);
    return path;
}

/* The whole file with a zero behind it; NULL if it is not there. */
static inline char *bytes_of(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    char *bytes = NULL;
    size_t have = 0, room = 0, n = 1;
    *size = 0;
    if (!file) return NULL;
    while (n > 0) {
        if (room - have < 65536) bytes = (char *)realloc(bytes, room += 1 << 20);
        if (!bytes) test_give_up("no memory");
        n = fread(bytes + have, 1, room - have - 1, file);
        have += n;
    }
    fclose(file);
    bytes[have] = '\0';
    *size = have;
    return bytes;
}

static inline char *fixture_bytes(const char *name, size_t *size) {
    char where[128];
    char *bytes;
    snprintf(where, sizeof where, "tests/fixtures/%s", name);
    bytes = bytes_of(in_tree(where), size);
    if (!bytes) test_give_up(where);
    return bytes;
}

/* ---- Making one ---- */

static inline void put_bytes(const char *path, const char *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file) != 0) test_give_up(path);
}

static const char *const schema_1_endings[] = {"", "-wal", "-jobq"};

static inline void schema_1_text(const char *path) {
    size_t size;
    char *text = fixture_bytes("schema_1.sql", &size);
    sqlite3 *db = sql_open(path);
    if (!CHECK_INT(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK))
        test_note("%s", sqlite3_errmsg(db));
    sqlite3_close(db);
    free(text);
}

static inline void schema_1_file(const char *path) {
    char name[600];
    for (size_t i = 0; i < sizeof schema_1_endings / sizeof schema_1_endings[0]; i++) {
        size_t size;
        char *bytes;
        snprintf(name, sizeof name, "schema_1_joined.db%s", schema_1_endings[i]);
        bytes = fixture_bytes(name, &size);
        snprintf(name, sizeof name, "%s%s", path, schema_1_endings[i]);
        put_bytes(name, bytes, size);
        free(bytes);
    }
}

static inline void schema_1_make(const char *path, enum schema_1 kind) {
    if (kind == SCHEMA_1_TEXT) schema_1_text(path);
    else schema_1_file(path);
}

/* ---- What a file tells, in words that both schemas have ---- */

enum told_how { TOLD_CALM, TOLD_WHOLE };

#define TOLD_CALM_COLUMNS \
    "SELECT j.id, iif(j.state = 1, 0, j.state), coalesce(k.name, 'lost:' || j.kind)," \
    " coalesce(q.name, 'lost:' || j.queue), j.priority, j.attempt, j.crashes, j.delay_ms," \
    " coalesce(j.created_at, j.run_at), j.run_at, j.finished_at, j.prune_at, x.key, x.error," \
    " hex(x.result), hex(x.saved), "
#define TOLD_WHOLE_COLUMNS "j.state, j.lane, j.ord, j.kind, j.queue, j.runs, j.side, j.created_at, "
#define TOLD_NAMES \
    " LEFT JOIN jobq_name k ON k.id = j.kind LEFT JOIN jobq_name q ON q.id = j.queue" \
    " LEFT JOIN jobq_extra x ON x.job = j.id"

#define TOLD_1 \
    "hex(j.payload), u.job IS NOT NULL FROM jobq_job j" TOLD_NAMES \
    " LEFT JOIN jobq_unique u ON u.kind = j.kind AND u.key = x.key AND u.job = j.id ORDER BY 1"
#define TOLD_2 \
    "hex(iif(j.side & 8, p.data, j.payload)), u.job IS NOT NULL FROM jobq_row j" TOLD_NAMES \
    " LEFT JOIN jobq_payload p ON p.job = j.id LEFT JOIN jobq_key u" \
    " ON u.kind = j.kind AND u.key = x.key AND u.held = 1 AND u.job = j.id ORDER BY 1"

/* Numbers whose names 0.1.0 has lost get one. */
#define TOLD_LOST(id) \
    " SELECT " id ", 'lost:' || " id " FROM jobq_job WHERE " id \
    " NOT IN (SELECT id FROM jobq_name)"

struct told_text {
    char *text;
    size_t size, room;
};

JOBQ_PRINTF(2, 3)
static inline void told_add(struct told_text *to, const char *format, ...) {
    va_list args;
    int n;
    if (to->room - to->size < (1 << 16)) to->text = (char *)realloc(to->text, to->room += 1 << 17);
    if (!to->text) test_give_up("no memory");
    va_start(args, format);
    n = vsnprintf(to->text + to->size, to->room - to->size, format, args);
    va_end(args);
    if (n > 0) to->size += (size_t)n < to->room - to->size ? (size_t)n : 0;
}

static inline void told_rows(struct told_text *to, sqlite3 *db, const char *sql) {
    sqlite3_stmt *s = NULL;
    if (!CHECK_INT(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK))
        test_note("%s: %s", sql, sqlite3_errmsg(db));
    while (s && sqlite3_step(s) == SQLITE_ROW) {
        for (int i = 0; i < sqlite3_column_count(s); i++) {
            const char *text = (const char *)sqlite3_column_text(s, i);
            told_add(to, "%s|", text ? text : "-");
        }
        told_add(to, "\n");
    }
    CHECK_INT(sqlite3_finalize(s), SQLITE_OK);
}

#define SCHEMA_OF "SELECT value FROM jobq_meta WHERE key = 'schema'"

static inline int64_t schema_of(const char *path) {
    return sql_int(path, SCHEMA_OF);
}

/* To be freed. */
static inline char *told_by(sqlite3 *db, bool second, enum told_how how) {
    struct told_text to = {NULL, 0, 0};
    told_add(&to, "%s", "");
    told_rows(&to, db, how == TOLD_CALM ? second ? TOLD_CALM_COLUMNS TOLD_2
                                                 : TOLD_CALM_COLUMNS TOLD_1
                     : second ? TOLD_CALM_COLUMNS TOLD_WHOLE_COLUMNS TOLD_2
                              : TOLD_CALM_COLUMNS TOLD_WHOLE_COLUMNS TOLD_1);
    if (how == TOLD_WHOLE) {
        told_rows(&to, db, second ? "SELECT id, name FROM jobq_name ORDER BY id"
                                  : "SELECT id, name FROM jobq_name UNION" TOLD_LOST("kind")
                                    " UNION" TOLD_LOST("queue") " ORDER BY id");
        told_rows(&to, db, "SELECT one, hex(ids), last_id FROM jobq_claims");
    }
    return to.text;
}

static inline char *told(const char *path, enum told_how how) {
    sqlite3 *db = sql_open(path);
    char *text = told_by(db, schema_of(path) == 2, how);
    sqlite3_close(db);
    return text;
}

/* What is the application's. To be freed. */
static inline char *told_of_others(const char *path) {
    sqlite3 *db = sql_open(path);
    struct told_text to = {NULL, 0, 0};
    told_add(&to, "%s", "");
    told_rows(&to, db, "SELECT type, name, tbl_name, replace(replace(sql, '\"jobq_row\"',"
              " 'jobq_job'), 'jobq_row', 'jobq_job') FROM sqlite_master"
              " WHERE name NOT LIKE 'jobq%' AND tbl_name NOT LIKE 'jobq%' ORDER BY name");
    if (sql_int(path, "SELECT count(*) FROM sqlite_master WHERE name = 'note'")) {
        told_rows(&to, db, "SELECT * FROM note");
        told_rows(&to, db, "SELECT * FROM line ORDER BY 1, 2");
        told_rows(&to, db, "SELECT * FROM job_of ORDER BY 1, 2");
        told_rows(&to, db, "SELECT * FROM notes ORDER BY 1, 2");
    }
    sqlite3_close(db);
    return to.text;
}

/* ---- What has to hold in schema 2 ---- */

/* Each finds nothing. */
static const char *const schema_2_wrong[] = {
    "SELECT id FROM jobq_row WHERE state NOT BETWEEN 0 AND 4 OR typeof(state) <> 'integer'",
    "SELECT id FROM jobq_row WHERE state = 0 AND typeof(lane) <> 'integer'",
    "SELECT id FROM jobq_row WHERE state = 0 AND lane > 1 AND lane <> queue",
    "SELECT id FROM jobq_row WHERE state = 0 AND lane < -1 AND lane <> -kind",
    "SELECT id FROM jobq_row WHERE state = 0 AND lane = 1 AND crashes = 0",
    "SELECT id FROM jobq_row WHERE state = 0 AND lane = 0 AND ord <> 0",
    "SELECT id FROM jobq_row WHERE state = 0 AND lane > 0 AND ord <> priority",
    "SELECT id FROM jobq_row WHERE (state > 1) <> (finished_at IS NOT NULL)",
    "SELECT id FROM jobq_row WHERE state < 2 AND prune_at IS NOT NULL",
    "SELECT id, prune_at FROM jobq_row WHERE state = 3 EXCEPT SELECT job, at FROM jobq_failed",
    "SELECT job, at FROM jobq_failed EXCEPT SELECT id, prune_at FROM jobq_row WHERE state = 3",
    "SELECT id FROM jobq_row WHERE attempt < 1 OR runs < 0 OR crashes < 0 OR delay_ms < 0",
    "SELECT id FROM jobq_row WHERE kind < 2 OR queue < 2",
    "SELECT id FROM jobq_row WHERE kind NOT IN (SELECT id FROM jobq_name)"
    " OR queue NOT IN (SELECT id FROM jobq_name)",
    "SELECT id FROM jobq_row WHERE (side & 1) <> (id IN (SELECT job FROM jobq_extra))",
    "SELECT job FROM jobq_extra WHERE job NOT IN (SELECT id FROM jobq_row)",
    "SELECT id FROM jobq_row j WHERE (side & 2 <> 0) <> EXISTS"
    " (SELECT 1 FROM jobq_extra WHERE job = j.id AND key IS NOT NULL)",
    "SELECT id FROM jobq_row j JOIN jobq_extra x ON x.job = j.id WHERE x.key IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM jobq_key u WHERE u.kind = j.kind AND u.key = x.key"
    " AND u.job = j.id AND u.held = (j.state < 2))",
    "SELECT u.job FROM jobq_key u LEFT JOIN jobq_extra x ON x.job = u.job WHERE x.key IS NOT u.key",
    "SELECT job FROM jobq_key GROUP BY job HAVING count(*) > 1",
    "SELECT kind FROM jobq_key WHERE held = 1 GROUP BY kind, key HAVING count(*) > 1",
    "SELECT id FROM jobq_row WHERE (side & 8 <> 0) <> (id IN (SELECT job FROM jobq_payload))",
    "SELECT id FROM jobq_row JOIN jobq_payload ON job = id WHERE payload <> length(data)",
    "SELECT one FROM jobq_claims WHERE one < 1 OR one BETWEEN 2 AND (2 << 32) + 1 OR last_id < 0",
    "SELECT one FROM jobq_claims WHERE next_name <= (SELECT max(id) FROM jobq_name)"
    " OR next_name <= (SELECT max(max(kind), max(queue)) FROM jobq_row)",
    "SELECT one FROM jobq_claims WHERE (one = 1) <> (counted IS NOT NULL AND offset_ms IS NOT NULL"
    " AND wall_at IS NOT NULL) OR (one = 1) = (ready IS NOT NULL)",
    "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM jobq_claims WHERE one = 1)",
    "SELECT id FROM jobq_name WHERE what NOT BETWEEN 0 AND 6 OR scope IS NULL OR name IS NULL",
    "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM jobq_name WHERE id = 1 AND name = '')",
    "SELECT 1 WHERE (SELECT group_concat(key || value) FROM (SELECT * FROM jobq_meta"
    " WHERE key <> 'syncs' ORDER BY key)) <> 'epoch0,reads_from2,schema2,writes_from2'",
};

static inline void check_rows_of_schema_2(sqlite3 *db) {
    for (size_t i = 0; i < sizeof schema_2_wrong / sizeof schema_2_wrong[0]; i++) {
        struct told_text to = {NULL, 0, 0};
        told_add(&to, "%s", "");
        told_rows(&to, db, schema_2_wrong[i]);
        if (!CHECK_STR(to.text, "")) test_note("%s", schema_2_wrong[i]);
        free(to.text);
    }
}

static inline void check_schema_2(const char *path) {
    sqlite3 *db = sql_open(path);
    check_sound(path);
    check_rows_of_schema_2(db);
    sqlite3_close(db);
}

#endif
