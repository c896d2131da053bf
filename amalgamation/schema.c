/* schema.c - tables, identity, version. */
#include "schema.h"

/* Design note.
 *
 * Identity and version stand in jobq_meta, never in user_version, because the file may be the
 * application's. The text of every object is compared with what is written here: a table of
 * another shape, or a trigger on one of ours, is somebody else's and is refused. Why the row looks
 * as it does: sql.h. */

static const struct {
    const char *name, *text;
} jobq__schema_objects[] = {
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

/* Name 1 is the lane of the suspects, so no queue can have its id. */
#define JOBQ__SCHEMA_ROWS \
    "INSERT INTO jobq_meta VALUES('schema', 1), ('syncs', 0), ('lost', 0);" \
    "INSERT INTO jobq_name(id, name) VALUES(1, '');" \
    "INSERT INTO jobq_claims VALUES(1, NULL, 0)"

static int jobq__schema_create(struct jobq__db *db) {
    size_t i;
    int rc = JOBQ_OK;
    for (i = 0; i < JOBQ__COUNT(jobq__schema_objects) && rc == JOBQ_OK; i++)
        rc = jobq__db_exec(db, jobq__schema_objects[i].text);
    if (rc == JOBQ_OK) rc = jobq__db_exec(db, JOBQ__SCHEMA_ROWS);
    return rc;
}

static const char *jobq__schema_text(const char *name) {
    size_t i;
    for (i = 0; i < JOBQ__COUNT(jobq__schema_objects); i++)
        if (strcmp(jobq__schema_objects[i].name, name) == 0) return jobq__schema_objects[i].text;
    return NULL;
}

/* Every object of the file that bears our name must be one of ours, whole. */
static int jobq__schema_compare(struct jobq__db *db, jobq_error *err) {
    sqlite3_stmt *statement;
    size_t found = 0;
    bool row;
    int rc = jobq__db_query(db, "SELECT name, sql, type FROM sqlite_master WHERE sql IS NOT NULL"
                            " AND (name LIKE 'jobq\\_%' ESCAPE '\\' OR tbl_name LIKE 'jobq\\_%'"
                            " ESCAPE '\\')", &statement);
    while (rc == JOBQ_OK && (rc = jobq__db_next(db, statement, &row)) == JOBQ_OK && row) {
        const char *name = (const char *)sqlite3_column_text(statement, 0);
        const char *text = (const char *)sqlite3_column_text(statement, 1);
        const char *type = (const char *)sqlite3_column_text(statement, 2);
        const char *ours = name ? jobq__schema_text(name) : NULL;
        rc = jobq__db_read(db, statement);
        if (rc != JOBQ_OK) break;
        if (!ours || !text || strcmp(ours, text) != 0) {
            rc = jobq__err_set(err, JOBQ_FOREIGN, "the %s %.64s in %.200s is not as jobq makes it:"
                               " names that begin with jobq_, and triggers on its tables, are"
                               " jobq's; drop it if it is yours, or use another file",
                               type ? type : "object", name ? name : "?", jobq__db_path(db));
            break;
        }
        found++;
    }
    sqlite3_finalize(statement);
    if (rc == JOBQ_OK && found != JOBQ__COUNT(jobq__schema_objects))
        rc = jobq__err_set(err, JOBQ_FOREIGN, "some of jobq's tables are missing in %.250s;"
                           " restore a copy of the file, or use another one", jobq__db_path(db));
    else if (rc != JOBQ_OK && rc != JOBQ_FOREIGN)
        rc = jobq__db_fail(db, err);
    return rc;
}

/* SQLite believes what the header says of them until it needs one. */
static int jobq__schema_pages(struct jobq__db *db, jobq_error *err) {
    int64_t pages = 0, free = 0;
    int rc = jobq__db_number(db, "PRAGMA page_count", 0, &pages);
    if (rc == JOBQ_OK) rc = jobq__db_number(db, "PRAGMA freelist_count", 0, &free);
    if (rc == JOBQ_OK && (free < 0 || free >= JOBQ__MAX(pages, 1)))
        jobq__db_fault(db, "(header)", 0, "the number of free pages", "is not that of this file");
    else if (rc == JOBQ_OK)
        return rc;
    return jobq__db_fail(db, err);
}

/* Reads the version first: a newer schema may well look different. */
static int jobq__schema_version(struct jobq__db *db, jobq_error *err) {
    int64_t version;
    int rc = jobq__db_number(db, "SELECT value FROM jobq_meta WHERE key = 'schema'", -1, &version);
    if (rc == JOBQ_CORRUPT && (db->sqlite_code & 0xff) == SQLITE_ERROR)
        return jobq__err_set(err, JOBQ_FOREIGN, "the table jobq_meta in %.250s is not as jobq"
                             " makes it; drop it if it is yours, or use another file",
                             jobq__db_path(db));
    if (rc != JOBQ_OK) return jobq__db_fail(db, err);
    if (version > JOBQ__SCHEMA_VERSION)
        return jobq__err_set(err, JOBQ_NEWER, "%.250s has schema %lld, and this jobq, %s, knows"
                             " %d; use a newer jobq", jobq__db_path(db), (long long)version,
                             JOBQ_VERSION, JOBQ__SCHEMA_VERSION);
    if (version < 1)
        return jobq__err_set(err, JOBQ_FOREIGN, "the table jobq_meta in %.250s does not name a"
                             " schema; drop it if it is yours, or use another file",
                             jobq__db_path(db));
    rc = jobq__schema_pages(db, err);
    return rc == JOBQ_OK ? jobq__schema_compare(db, err) : rc;
}

static int jobq__schema_look(struct jobq__db *db, int64_t *ours, int64_t *objects,
                             jobq_error *err) {
    int rc = jobq__db_number(db, "SELECT count(*) FROM sqlite_master", 0, objects);
    if (rc == JOBQ_OK)
        rc = jobq__db_number(db, "SELECT count(*) FROM sqlite_master WHERE name = 'jobq_meta'"
                             " AND type = 'table'", 0, ours);
    return rc == JOBQ_OK ? rc : jobq__db_fail(db, err);
}

JOBQ__INTERNAL int jobq__schema_check(struct jobq__db *db, jobq_error *err) {
    int64_t ours, objects;
    int rc = jobq__schema_look(db, &ours, &objects, err);
    if (rc != JOBQ_OK) return rc;
    if (!ours)
        return jobq__err_set(err, JOBQ_NOT_FOUND, "there is no queue in %.250s; its owner makes one"
                             " (with .join beside other tables)", jobq__db_path(db));
    return jobq__schema_version(db, err);
}

/* Only in a file that jobq made, or that is empty, before its first table. All of it or nothing: a
 * file that has some of it is not empty any more. If it fails, the connection is closed. */
static int jobq__schema_settings(struct jobq__db *db, int page_size) {
    char text[160];
    sqlite3_snprintf(sizeof text, text, "PRAGMA page_size=%d; BEGIN;"
                     " PRAGMA auto_vacuum=INCREMENTAL; PRAGMA application_id=%d; COMMIT",
                     page_size, JOBQ__APPLICATION_ID);
    return jobq__db_exec(db, text);
}

JOBQ__INTERNAL int jobq__schema_wal(struct jobq__db *db, jobq_error *err) {
    sqlite3_stmt *statement;
    bool row = false, wal = false;
    int rc = jobq__db_query(db, "PRAGMA journal_mode=WAL", &statement);
    if (rc == JOBQ_OK) rc = jobq__db_next(db, statement, &row);
    if (row) {
        const char *mode = (const char *)sqlite3_column_text(statement, 0);
        wal = mode && strcmp(mode, jobq__db_in_memory(db) ? "memory" : "wal") == 0;
        rc = jobq__db_read(db, statement);
        /* It has answered, but only the next step commits: that may fail still. */
        if (rc == JOBQ_OK) rc = jobq__db_next(db, statement, &row);
    }
    sqlite3_finalize(statement);
    if (rc != JOBQ_OK) return jobq__db_fail(db, err);
    if (!wal) return jobq__err_set(err, JOBQ_BAD_SQLITE, "SQLite cannot put %.250s into WAL mode:"
                                   " the VFS that the application chose has no shared memory",
                                   jobq__db_path(db));
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__schema_ready(struct jobq__db *db, int page_size, bool made,
                                      bool join, jobq_error *err) {
    int64_t ours, objects, pages;
    int rc = jobq__schema_look(db, &ours, &objects, err);
    if (rc != JOBQ_OK) return rc;
    if (ours) {
        rc = jobq__schema_version(db, err);
        return rc == JOBQ_OK ? jobq__schema_wal(db, err) : rc;
    }
    if (objects && !join)
        return jobq__err_set(err, JOBQ_FOREIGN,
                             "%.250s holds tables of another application; .join = true makes the"
                             " queue beside them", jobq__db_path(db));
    rc = jobq__db_number(db, "PRAGMA page_count", 0, &pages);
    if (rc == JOBQ_OK && (made || !pages)) rc = jobq__schema_settings(db, page_size);
    if (rc != JOBQ_OK) return jobq__db_fail(db, err);
    rc = jobq__schema_wal(db, err);
    if (rc != JOBQ_OK) return rc;
    rc = jobq__db_do(db, JOBQ__SQL_BEGIN);
    if (rc == JOBQ_OK) rc = jobq__schema_create(db);
    if (rc == JOBQ_OK) rc = jobq__db_do(db, JOBQ__SQL_COMMIT);
    if (rc != JOBQ_OK) {
        bool taken = db->sqlite_code == SQLITE_ERROR; /* "already exists": jobq_* of another */
        rc = jobq__db_fail(db, err);
        if (jobq__db_in_transaction(db)) jobq__db_do(db, JOBQ__SQL_ROLLBACK);
        if (taken) rc = jobq__err_set(err, JOBQ_FOREIGN, "a table named jobq_* is in the way"
                                   " in %.250s; rename it, or use another file", jobq__db_path(db));
    }
    return rc;
}

/* ---- Statistics ---- */

/* *gone: there were some of our tables. Their names all stand within these bounds. */
static int jobq__schema_delete(struct jobq__db *db, const char *table, bool *gone) {
    char text[128];
    int64_t there, before = jobq__db_changes(db);
    int rc;
    sqlite3_snprintf(sizeof text, text, "SELECT 1 FROM main.sqlite_master WHERE name = '%s'",
                     table);
    rc = jobq__db_number(db, text, 0, &there);
    if (rc != JOBQ_OK || !there) return rc;
    sqlite3_snprintf(sizeof text, text, "DELETE FROM main.%s WHERE tbl BETWEEN 'jobq_'"
                     " AND 'jobq_z'", table);
    rc = jobq__db_exec(db, text);
    *gone = *gone || jobq__db_changes(db) != before;
    return rc;
}

/* A queue is short at one moment and long at the next, so what ANALYZE says of it is wrong soon;
 * and of a short one SQLite believes that a range of ids needs no end, and walks to the end of the
 * table for each job. A change of the schema, that of a view which is gone again, has the other
 * connections read anew what is left; undone changes have this one do so. */
JOBQ__INTERNAL int jobq__schema_unlearn(struct jobq__db *db) {
    bool gone = false;
    int rc;
    if (!db->planned) return JOBQ_OK;
    rc = jobq__schema_delete(db, "sqlite_stat1", &gone);
    if (rc == JOBQ_OK) rc = jobq__schema_delete(db, "sqlite_stat4", &gone);
    if (rc != JOBQ_OK) return rc;
    /* If it is, the next transaction looks again: this one may be undone. */
    db->planned = gone;
    if (!gone) return rc;
    rc = jobq__db_exec(db, "CREATE VIEW main.jobq_anew AS SELECT 1");
    /* A build without views reads it when it opens the file again. */
    if (rc != JOBQ_OK) return jobq__db_disturbed(db) ? JOBQ_OK : rc;
    return jobq__db_exec(db, "DROP VIEW main.jobq_anew; SAVEPOINT jobq_part;"
                             " ROLLBACK TO jobq_part; RELEASE jobq_part");
}
