/* migrate.c - the migration of schema 1 from inside: what is there afterwards, and what it takes.
 *
 * A million jobs of 40 bytes (SQLite 3.40, pages of 4096 bytes; seconds of the processor):
 *   without keys, none has ended      0.4 s, 54 pages of log (0.2 MB), 6 MB of memory
 *   a key each                        2.1 s, 54 MB of log, the file grows by 29 MB
 *   a key each, all ended and kept    3.0 s, 46 MB of log, by 26 MB; 68 MB of memory, to sort
 *   without keys, all failed          1.2 s, 17 MB of log, by 17 MB; 6 MB of memory */
#include "schema_1.h"
#include "unit.h"

/* ---- One connection, as an owner has it ---- */

struct opened {
    struct jobq__db db;
    int64_t needs;
};

static bool look_at(struct opened *o, const char *path) {
    struct jobq__store_options options;
    jobq_error err = {.code = 0};
    char vfs[64];
    memset(o, 0, sizeof *o);
    memset(&options, 0, sizeof options);
    if (!CHECK_CODE(jobq__db_vfs_name(false, vfs, sizeof vfs, &err), JOBQ_OK)
        || !CHECK_CODE(jobq__db_open(&o->db, path, vfs, JOBQ__STORE_WRITER, &options, &err),
                       JOBQ_OK))
        return false;
    if (!CHECK_CODE(jobq__migrate_look(&o->db, JOBQ_MIGRATE_AUTO, &o->needs, &err), JOBQ_OK)) {
        test_note("%s", err.text);
        jobq__db_close(&o->db);
        return false;
    }
    return true;
}

static int64_t number(struct jobq__db *db, const char *sql) {
    int64_t value = 0;
    CHECK_CODE(jobq__db_number(db, sql, -1, &value), JOBQ_OK);
    return value;
}

/* What it took: bytes of the log, and by how much the file grew. */
static int64_t migrate(struct opened *o) {
    jobq_error err = {.code = 0};
    int64_t size = jobq__db_file_size(&o->db), page_size = number(&o->db, "PRAGMA page_size");
    if (!CHECK_CODE(jobq__migrate(&o->db, &err), JOBQ_OK)) test_note("%s", err.text);
    return o->db.wal_pages * (page_size + 24) + jobq__db_file_size(&o->db) - size;
}

static void migrate_at(const char *path) {
    struct opened o;
    if (!look_at(&o, path)) return;
    CHECK(o.needs > 0);
    CHECK(migrate(&o) <= o.needs);
    jobq__db_close(&o.db);
}

/* ---- What is there ---- */

/* Goal: every job keeps all that it carries, every name its number, and what is the application's
 * is as it was; the file is what a new one is. Method: both fixtures, row by row. */
TEST(keeps_every_row) {
    for (int kind = 0; kind < SCHEMA_1_KINDS; kind++) {
        const char *path = test_path(kind ? "file.db" : "text.db");
        char *before, *others, *after;
        schema_1_make(path, (enum schema_1)kind);
        CHECK_INT(sql_int(path, "SELECT count(*) FROM jobq_job"), SCHEMA_1_JOBS);
        before = told(path, TOLD_WHOLE);
        others = told_of_others(path);
        migrate_at(path);
        CHECK_INT(schema_of(path), 2);
        after = told(path, TOLD_WHOLE);
        CHECK_STR(after, before);
        free(after);
        after = told_of_others(path);
        CHECK_STR(after, others);
        check_schema_2(path);
        free(before);
        free(others);
        free(after);
    }
}

/* Goal: the fixtures hold what they are there for. Method: each sort of job is looked for. */
TEST(fixtures_hold_every_sort) {
    static const char *const sorts[] = {
        "state = 0 AND lane > 1", "state = 0 AND lane = 1", "state = 0 AND lane = 0",
        "state = 0 AND lane < 0", "state = 0 AND lane = 0 AND runs > 0",
        "state = 1 AND crashes = 0", "state = 1 AND crashes > 0",
        "state = 2", "state = 3", "state = 4",
        "length(payload) > 4096 AND state = 0", "kind NOT IN (SELECT id FROM jobq_name)",
        "queue NOT IN (SELECT id FROM jobq_name)", "kind = queue",
        "id IN (SELECT job FROM jobq_unique)",
        "id IN (SELECT job FROM jobq_extra WHERE key IS NOT NULL) AND state > 1",
        "id IN (SELECT job FROM jobq_extra WHERE error IS NOT NULL)",
        "id IN (SELECT job FROM jobq_extra WHERE result IS NOT NULL)",
        "id IN (SELECT job FROM jobq_extra WHERE saved IS NOT NULL)",
    };
    for (int kind = 0; kind < SCHEMA_1_KINDS; kind++) {
        const char *path = test_path(kind ? "file.db" : "text.db");
        schema_1_make(path, (enum schema_1)kind);
        for (size_t i = 0; i < sizeof sorts / sizeof sorts[0]; i++) {
            char sql[256];
            snprintf(sql, sizeof sql, "SELECT count(*) FROM jobq_job WHERE %s", sorts[i]);
            if (!CHECK(sql_int(path, sql) > 0)) test_note("%s: %s", path, sql);
        }
        CHECK_INT(sql_int(path, "PRAGMA page_size"), kind ? 512 : 4096);
    }
}

/* ---- What it takes ---- */

#define SERIES(n) \
    "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < " n ") "

/* Jobs and names by the thousand, added to a fixture. */
static const char *const shapes[] = {
    SERIES("3000") "INSERT INTO jobq_job SELECT i, 0, 4, 0, i, 2, 4, 0, 1, 0, 0, 0, NULL, 0, NULL,"
    " NULL, zeroblob(i % 900) FROM n;",
    SERIES("3000") "INSERT INTO jobq_name SELECT i, hex(zeroblob(15)) || (i * 7919 % 100003)"
    " FROM n;",
    SERIES("3000") "INSERT INTO jobq_job SELECT i, 0, 4, 0, i, 2, 4, 0, 1, 0, 0, 0, NULL, 3, NULL,"
    " NULL, NULL FROM n; INSERT INTO jobq_extra(job, key) SELECT id, 'key ' || (id * 7919 % 100003)"
    " FROM jobq_job WHERE id > 99;"
    " INSERT INTO jobq_unique SELECT 2, key, job FROM jobq_extra WHERE job > 99;",
    SERIES("3000") "INSERT INTO jobq_job SELECT i, 2, NULL, 2, i, 2, 4, 0, 1, 1, 0, 0, NULL, 3, i,"
    " 9999, NULL FROM n; INSERT INTO jobq_extra(job, key, result) SELECT id, hex(zeroblob(55)) ||"
    " (id * 7919 % 100003), 'r' FROM jobq_job WHERE id > 99;",
    SERIES("3000") "INSERT INTO jobq_job SELECT i, 0, 0, 0, i, i, i * 7919 % 100003, 0, 1, 0, 0,"
    " 0, NULL, 0, NULL, NULL, NULL FROM n;",
    SERIES("3000") "INSERT INTO jobq_job SELECT i, 3 - i % 2, NULL, 2, i, 2, 4, 0, 1, 1, 0, 0,"
    " NULL, 0, i, i * 7919 % 100003, NULL FROM n;",
};

/* Goal: what is said to be needed is enough, and not out of all proportion. Method: jobs, names,
 * lost names, keys, long keys and ended jobs by the thousand, in both fixtures, with and without
 * what deletes thoroughly. */
TEST(needs_are_enough) {
    for (size_t i = 0; i < 2 * sizeof shapes / sizeof shapes[0]; i++) {
        for (int kind = 0; kind < SCHEMA_1_KINDS; kind++) {
            char name[32];
            const char *path;
            struct opened o;
            int64_t took;
            snprintf(name, sizeof name, "%d.%d.db", (int)i, kind);
            path = test_path(name);
            schema_1_make(path, (enum schema_1)kind);
            sql_run(path, shapes[i / 2]);
            if (!look_at(&o, path)) continue;
            CHECK_CODE(jobq__db_exec(&o.db, i % 2 ? "PRAGMA secure_delete = 1"
                                                  : "PRAGMA secure_delete = 0"), JOBQ_OK);
            took = migrate(&o);
            if (!CHECK(took <= o.needs) || !CHECK(o.needs <= 6 * took + (1 << 20)))
                test_note("shape %d of %s took %" PRId64 " and needed %" PRId64, (int)i / 2, path,
                          took, o.needs);
            jobq__db_close(&o.db);
            check_schema_2(path);
        }
    }
}

/* Goal: jobs are not written anew. Method: jobs with 8 MB of payloads, and a log of far less. */
TEST(jobs_are_not_written) {
    const char *path = test_path("q.db");
    struct opened o;
    schema_1_make(path, SCHEMA_1_TEXT);
    sql_run(path, SERIES("2099") "INSERT INTO jobq_job SELECT i, 0, 4, 0, i, 2, 4, 0, 1, 0, 0, 0,"
            " NULL, 0, NULL, NULL, zeroblob(4000) FROM n;");
    if (!look_at(&o, path)) return;
    CHECK(migrate(&o) < (1 << 20));
    CHECK(o.needs < (1 << 20));
    jobq__db_close(&o.db);
    CHECK_INT(sql_int(path, "SELECT sum(length(payload)) > 8000000 FROM jobq_row"), 1);
}

/* Goal: the connection is as hard as before. */
TEST(connection_stays_hard) {
    static const struct {
        int what, wanted;
    } settings[] = {{SQLITE_DBCONFIG_DEFENSIVE, 1},      {SQLITE_DBCONFIG_WRITABLE_SCHEMA, 0},
                    {SQLITE_DBCONFIG_ENABLE_FKEY, 0},    {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
                    {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0}, {SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, 0}};
    const char *path = test_path("q.db");
    struct opened o;
    schema_1_make(path, SCHEMA_1_TEXT);
    if (!look_at(&o, path)) return;
    migrate(&o);
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        int value = -1;
        sqlite3_db_config(o.db.handle, settings[i].what, -1, &value);
        CHECK_INT(value, settings[i].wanted);
    }
    jobq__db_close(&o.db);
}

TEST_MAIN(keeps_every_row, fixtures_hold_every_sort, needs_are_enough, jobs_are_not_written,
          connection_stays_hard)
