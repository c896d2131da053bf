/* migrate.c - a file of an older schema becomes one of this version. */
#include "migrate.h"

/* Design note.
 *
 * Called when an owner opens its file, before anybody else of the process reads it. One transaction
 * on the writer, at FULL whatever the options say: whoever opens the file later, after a kill or a
 * power cut at whatever moment, finds schema 1 whole or schema 2 whole. Before COMMIT the tables
 * are compared with those of a new file, as at every open.
 *
 * No job is written anew. The table of jobs gets another name, which is what keeps an older jobq
 * out that has the file open: each of its statements fails when it is planned, whole. A column that
 * is new and NULL wants no byte in a row, so SQLite's ALTER TABLE adds one by changing the text of
 * the table; the same is done here to all texts at once, in the way that SQLite's documentation
 * gives for changes of a text that leave what is stored as it is. That is so for
 *
 *   jobq_job       now jobq_row, with grp at its end; payloads stay in their rows
 *   jobq_extra     with columns at its end
 *   jobq_claims    the same, and its one row is then written with what has to be in them
 *   jobq_live      the rows of schema 1 that have a lane are exactly those with state 0, so that
 *                  the index holds what the new condition wants
 *   jobq_finished  is as it was, of a table that has another name
 *
 * What is copied: names (into (what, scope, name), what 0: serves as kind and as queue), unique
 * keys, from jobq_extra the keys of jobs that have ended, and the ids of failed ones. All jobs are
 * read, from end to end, because 0.1.0 could store jobs of a kind or a queue whose name it lost:
 * such a number gets the name that it is called by (store.h); and twice those that have ended, for
 * who failed.
 *
 * Foreign keys of the application's that refer to the table of jobs refer to it still, for RENAME
 * is SQLite's. Its views and triggers are left alone: to look at each of them, as RENAME would,
 * fails if one of them is broken or uses a function that is not there yet.
 *
 * A million jobs take 0.4 s and 54 pages of log. What grows with the file are keys and failed jobs:
 * 2 us and 54 bytes of log for each key, and 68 bytes of memory if its job has ended, to sort; 0.5
 * us and 17 bytes for each job that failed (tests/unit/migrate.c). */

static const struct jobq__object jobq__migrate_schema_1[] = {
    {"jobq_meta", "CREATE TABLE jobq_meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID"},
    {"jobq_name", "CREATE TABLE jobq_name(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)"},
    {"jobq_job",
     "CREATE TABLE jobq_job(id INTEGER PRIMARY KEY, state INT NOT NULL, lane INT,"
     " ord INT NOT NULL, run_at INT NOT NULL, kind INT NOT NULL, queue INT NOT NULL,"
     " priority INT NOT NULL, attempt INT NOT NULL, runs INT NOT NULL, crashes INT NOT NULL,"
     " delay_ms INT NOT NULL, created_at INT, side INT NOT NULL, finished_at INT,"
     " prune_at INT, payload BLOB)"},
    {"jobq_live",
     "CREATE INDEX jobq_live ON jobq_job(lane, ord, run_at, id) WHERE lane IS NOT NULL"},
    {"jobq_finished",
     "CREATE INDEX jobq_finished ON jobq_job(prune_at) WHERE prune_at IS NOT NULL"},
    {"jobq_extra",
     "CREATE TABLE jobq_extra(job INTEGER PRIMARY KEY, key TEXT, error TEXT, result BLOB,"
     " saved BLOB)"},
    {"jobq_unique",
     "CREATE TABLE jobq_unique(kind INT NOT NULL, key TEXT NOT NULL, job INT NOT NULL,"
     " PRIMARY KEY(kind, key)) WITHOUT ROWID"},
    {"jobq_claims",
     "CREATE TABLE jobq_claims(one INTEGER PRIMARY KEY, ids BLOB, last_id INT NOT NULL)"},
};

/* ---- What it takes ---- */

/* Pages that are written whatever the file holds: those of new tables, in a file that can shrink
 * what has stood where a table now begins, what points to that, and what lists pages. And bytes of
 * the texts of all objects, of an entry beside its text, and of a page of the log beside the page.
 * All with room to spare; a test compares. */
enum {
    JOBQ__MIGRATE_PAGES = 96, JOBQ__MIGRATE_TEXT = 16 * 1024, JOBQ__MIGRATE_ENTRY = 24,
    JOBQ__MIGRATE_FRAME = 24
};

/* Bytes of entries with such a text; a page more for one so long that SQLite may not keep it with
 * the others. */
#define JOBQ__MIGRATE_TEXTS(column) \
    "SELECT coalesce(sum(?1 + length(CAST(" column " AS BLOB))" \
    " + iif(length(CAST(" column " AS BLOB)) > ?2 / 6, ?2, 0)), 0) FROM "

static int jobq__migrate_bytes(struct jobq__db *db, const char *text, int64_t page_size,
                               int64_t *bytes) {
    sqlite3_stmt *s;
    bool row = false;
    int rc = jobq__db_query(db, text, &s);
    if (rc == JOBQ_OK) sqlite3_bind_int64(s, 1, JOBQ__MIGRATE_ENTRY);
    if (rc == JOBQ_OK) sqlite3_bind_int64(s, 2, page_size);
    if (rc == JOBQ_OK) rc = jobq__db_next(db, s, &row);
    *bytes = row ? sqlite3_column_int64(s, 0) : 0;
    sqlite3_finalize(s);
    return rc;
}

/* Where entries come in any order, a page may be little more than half full. */
static int64_t jobq__migrate_pages(int64_t bytes, int64_t page_size) {
    return bytes / (page_size * 9 / 16) + 1;
}

/* A page that is written takes its room in the log, and if it is a new one in the file, too. What
 * is dropped is written as well, where SQLite overwrites what is deleted. What the log holds now is
 * copied with the rest. */
static int jobq__migrate_needs(struct jobq__db *db, int64_t *needs) {
    int64_t size = 0, pages = 0, names = 0, lost = 0, keys = 0, held = 0, failed = 0, made, gone;
    int rc = jobq__db_number(db, "PRAGMA page_size", 0, &size);
    if (rc == JOBQ_OK) rc = jobq__db_number(db, "PRAGMA page_count", 0, &pages);
    if (rc == JOBQ_OK)
        rc = jobq__migrate_bytes(db, JOBQ__MIGRATE_TEXTS("name") "jobq_name", size, &names);
    if (rc == JOBQ_OK)
        rc = jobq__migrate_bytes(db, "SELECT 2 * ?1 * (count(DISTINCT kind)"
                                 " + count(DISTINCT queue)) FROM jobq_job WHERE ("
                                 JOBQ__TEXT_IS_LOST("kind") ") OR ("
                                 JOBQ__TEXT_IS_LOST("queue") ")", size, &lost);
    if (rc == JOBQ_OK)
        rc = jobq__migrate_bytes(db, JOBQ__MIGRATE_TEXTS("key") "jobq_unique", size, &held);
    if (rc == JOBQ_OK)
        rc = jobq__migrate_bytes(db, JOBQ__MIGRATE_TEXTS("key") "jobq_extra"
                                 " WHERE key IS NOT NULL", size, &keys);
    if (rc == JOBQ_OK)
        rc = jobq__migrate_bytes(db, "SELECT ?1 * count(*) FROM jobq_job"
                                 " WHERE prune_at IS NOT NULL AND state = 3", size, &failed);
    if (rc != JOBQ_OK) return rc;
    /* A name stands in its table and in the index of that; one that was lost is short. */
    made = jobq__migrate_pages(JOBQ__MIGRATE_TEXT + 2 * (names + lost) + keys + failed, size)
         + JOBQ__MIGRATE_PAGES;
    gone = jobq__migrate_pages(2 * names + held, size);
    *needs = jobq__max(pages * size - jobq__db_file_size(db), 0) + made * size
           + (made + gone) * (size + JOBQ__MIGRATE_FRAME);
    return rc;
}

/* ---- Looking ---- */

/* *old: it is of schema 1, whole. */
static int jobq__migrate_is_old(struct jobq__db *db, jobq_migrate how, bool *old,
                                jobq_error *err) {
    int64_t version = 0;
    int rc = jobq__schema_version(db, &version, err);
    *old = rc == JOBQ_OK && version == 1;
    if (!*old) return rc;
    if (how == JOBQ_MIGRATE_NEVER)
        return jobq__err_set(err, JOBQ_BAD_STATE, "%.200s has schema 1, and this jobq, %s, works"
                             " with schema %d; .migrate = JOBQ_MIGRATE_NEVER forbids to make one of"
                             " the other: open it with JOBQ_MIGRATE_AUTO, or by jobq 0.1",
                             jobq__db_path(db), JOBQ_VERSION, JOBQ__SCHEMA_VERSION);
    return jobq__schema_compare(db, jobq__migrate_schema_1, JOBQ__COUNT(jobq__migrate_schema_1),
                                false, err);
}

JOBQ__INTERNAL int jobq__migrate_look(struct jobq__db *db, jobq_migrate how, int64_t *bytes,
                                      jobq_error *err) {
    bool old;
    int rc = jobq__migrate_is_old(db, how, &old, err);
    *bytes = 0;
    if (rc != JOBQ_OK || !old) return rc;
    return jobq__migrate_needs(db, bytes) == JOBQ_OK ? rc : jobq__db_fail(db, err);
}

/* ---- The steps ---- */

/* Texts of tables may be written, and RENAME looks at nothing but what is renamed. */
static void jobq__migrate_may_alter(struct jobq__db *db, bool may) {
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, !may, (int *)NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_WRITABLE_SCHEMA, may, (int *)NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, may, (int *)NULL);
    if (!may) jobq__db_harden(db, true);
}

/* Where foreign keys hold, RENAME leads those of other tables to the new name; the old name of the
 * names is taken by their new table. */
static int jobq__migrate_rename(struct jobq__db *db) {
    int rc = jobq__db_exec(db, "ALTER TABLE jobq_name RENAME TO jobq_name_of_1");
    if (rc != JOBQ_OK) return rc;
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_ENABLE_FKEY, 1, (int *)NULL);
    rc = jobq__db_exec(db, "ALTER TABLE jobq_job RENAME TO jobq_row");
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_ENABLE_FKEY, 0, (int *)NULL);
    return rc;
}

/* The object is there, with this text. */
static int jobq__migrate_object(struct jobq__db *db, const struct jobq__object *object) {
    sqlite3_stmt *s;
    int64_t before = jobq__db_changes(db);
    int rc = jobq__db_query(db, "UPDATE sqlite_master SET sql = ?2 WHERE name = ?1", &s);
    if (rc == JOBQ_OK && (sqlite3_bind_text(s, 1, object->name, -1, SQLITE_STATIC)
                          || sqlite3_bind_text(s, 2, object->text, -1, SQLITE_STATIC)))
        rc = JOBQ_NO_MEMORY;
    if (rc == JOBQ_OK) rc = jobq__db_step(db, s);
    sqlite3_finalize(s);
    if (rc != JOBQ_OK || jobq__db_changes(db) != before) return rc;
    return jobq__db_exec(db, object->text);
}

/* And SQLite reads them anew. */
static int jobq__migrate_objects(struct jobq__db *db) {
    size_t count, i;
    const struct jobq__object *objects = jobq__schema_objects(&count);
    int rc = JOBQ_OK;
    for (i = 0; i < count && rc == JOBQ_OK; i++) rc = jobq__migrate_object(db, &objects[i]);
    return rc == JOBQ_OK ? jobq__db_exec(db, "PRAGMA writable_schema=RESET") : rc;
}

/* What fails ends the whole transaction, so no statement needs a journal of its own (OR FAIL, and
 * a table is emptied before it goes): that would be memory for all that it changes. */
static int jobq__migrate_rows(struct jobq__db *db) {
    return jobq__db_exec(db,
        "INSERT OR FAIL INTO jobq_name(id, what, scope, name)"
        " SELECT id, 0, 0, name FROM jobq_name_of_1;"
        "DROP TABLE jobq_name_of_1;"
        JOBQ__TEXT_NAME_LOST("kind", JOBQ__TEXT_IS_LOST("kind")) ";"
        JOBQ__TEXT_NAME_LOST("queue", JOBQ__TEXT_IS_LOST("queue")) ";"
        "INSERT OR FAIL INTO jobq_key(kind, key, held, job)"
        " SELECT kind, key, 1, job FROM jobq_unique;"
        "DELETE FROM jobq_unique; DROP TABLE jobq_unique;"
        "INSERT OR FAIL INTO jobq_key(kind, key, held, job) SELECT j.kind, x.key, 0, j.id"
        " FROM jobq_extra x CROSS JOIN jobq_row j ON j.id = x.job"
        " WHERE x.key IS NOT NULL AND j.state > 1 AND j.side & 2 ORDER BY 1, 2, 4;"
        "INSERT OR FAIL INTO jobq_failed(at, job) SELECT prune_at, id FROM jobq_row"
        " WHERE state = 3 AND prune_at IS NOT NULL ORDER BY prune_at, id;"
        "UPDATE jobq_claims SET open = NULL, counted = 0, offset_ms = 0, wall_at = 0,"
        " next_name = (SELECT 1 + coalesce(max(id), 1) FROM jobq_name);"
        "DELETE FROM jobq_meta WHERE key = 'lost';"
        "INSERT OR REPLACE INTO jobq_meta VALUES('schema', 2), ('reads_from', 2),"
        " ('writes_from', 2), ('epoch', 0)");
}

static int jobq__migrate_steps(struct jobq__db *db, jobq_error *err) {
    int rc = jobq__migrate_rename(db);
    if (rc == JOBQ_OK) rc = jobq__migrate_objects(db);
    if (rc == JOBQ_OK) rc = jobq__migrate_rows(db);
    /* These rows were copied from tables that had the same conditions. */
    if (rc != JOBQ_OK && (db->sqlite_code & 0xff) == SQLITE_CONSTRAINT)
        jobq__db_fault(db, "jobq_name or jobq_unique", 0, "a row", "is none that this table holds");
    if (rc != JOBQ_OK) return jobq__db_fail(db, err);
    return jobq__schema_check(db, err);
}

JOBQ__INTERNAL int jobq__migrate(struct jobq__db *db, jobq_error *err) {
    bool old, all;
    int rc = jobq__schema_wal(db, err);
    if (rc != JOBQ_OK) return rc;
    if (jobq__db_do(db, JOBQ__SQL_BEGIN) != JOBQ_OK) return jobq__db_fail(db, err);
    /* Others could write until now. */
    rc = jobq__migrate_is_old(db, JOBQ_MIGRATE_AUTO, &old, err);
    jobq__migrate_may_alter(db, true);
    if (rc == JOBQ_OK && old) rc = jobq__migrate_steps(db, err);
    jobq__migrate_may_alter(db, false);
    if (rc == JOBQ_OK && jobq__db_do(db, JOBQ__SQL_COMMIT) != JOBQ_OK) rc = jobq__db_fail(db, err);
    if (rc != JOBQ_OK && jobq__db_in_transaction(db)) jobq__db_do(db, JOBQ__SQL_ROLLBACK);
    if (rc != JOBQ_OK) return rc;
    return jobq__db_checkpoint(db, true, &all) == JOBQ_OK ? rc : jobq__db_fail(db, err);
}
