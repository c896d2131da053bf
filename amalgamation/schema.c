/* schema.c - tables, identity, version. */
#include "schema.h"

/* Design note.
 *
 * Identity and version stand in jobq_meta, never in user_version, because the file may be the
 * application's. The text of every object is compared with what is written here: a table of
 * another shape, or a trigger on one of ours, is somebody else's and is refused. Why the row looks
 * as it does: sql.h. What the numbers in it mean: stored.h.
 *
 * A file of schema 1 is made one of schema 2 without writing its jobs anew (migrate.c): columns are
 * added to jobq_row, jobq_extra and jobq_claims at the end only, and jobq_live keeps its own.
 * jobq_job and jobq_unique were tables of schema 1: no table is called so again, and a statement of
 * an older jobq fails whole.
 *
 * Which is the oldest schema whose jobq may still look into the file stands in jobq_meta
 * (reads_from), and whose may write to it (writes_from), which every owner and client may want to.
 * So a newer schema that only adds objects may say that this jobq may use the file: then ours are
 * there as ever, and the others are left alone.
 *
 * What each is for; the order is that of their making, and where each commit writes the pages stand
 * close to each other, because SQLite finds pages of the log by their numbers.
 *
 *   jobq_meta      the schema; the oldest ones whose jobq may read the file, and write to it; what
 *                  a flush changes
 *   jobq_claims    a row, .one is 1, of the whole queue: who is claimed, the highest ids given,
 *                  the queue's own time (.offset_ms, .wall_at), gates that opened and whose rows
 *                  were not all moved yet (.open); and a row for each queue and kind, .one is
 *                  queue * 2^32 + kind, with how many of its jobs up to claims.counted are in which
 *                  state. Every claim and every end changes both, and they stand on one page
 *   jobq_row       the jobs
 *   jobq_name      names to numbers, by what they name; a number is never given twice
 *   jobq_extra     what few jobs have, a row for each of those
 *   jobq_key       unique keys, of jobs that have ended too
 *   jobq_payload   payloads too large to be moved about with their row
 *   jobq_failed    failed jobs that are kept, by the time until which they are (prune_at)
 *
 * Not used yet, but made, so that the file changes once:
 *
 *   jobq_row       .grp: the name of its group
 *   jobq_extra     .tags and .trace of who enqueued; .attempts_max, .on_failed of the one job;
 *                  .needs: conditions; .expires_at; .cause: the job that enqueued it; .schedule and
 *                  .nominal_at: what fired it
 *   jobq_key       .until: when it is free, whatever its job does; .held is 0 or 1 so far, and gets
 *                  a number more for each other way in which a key keeps others out
 *   jobq_rule      limits, rates, weights and pauses, as declared and as overridden
 *   jobq_gate      what outlives the process of a limit: tokens, who holds a strict one
 *   jobq_pass      further gates that a job has to pass
 *   jobq_alarm     times that are no job's run_at
 *   jobq_kind      what programs without the handlers have to know of a kind
 *   jobq_figure    what happened, by minute and hour
 *   jobq_command   what other processes ask of the owner
 *   jobq_schedule  cron
 *   jobq_fired     which nominal times of a schedule have been fired
 *   jobq_after     which job waits for which
 *   jobq_batch     how many of those have ended
 *   jobq_signal    events that came
 *   jobq_await     jobs that wait for one, and what they got
 *   jobq_step      results of steps that are not run again
 *   jobq_note      progress, log lines, attempts, and who did what by hand
 *   jobq_import    jobs that came from another file, by that file's identity and their ids there
 *
 * The views but jobq_tally are for whoever reads the file with SQL; jobq.h says what is in them.
 * Their columns stay, and new ones come at the end. A payload is told by its size only. Which of
 * the claimed rows run only the owner's memory knows, so none is called running. jobq itself does
 * not use them. */

/* Each connection keeps what is parsed of a view, about 72 bytes for each name and operator: so
 * they build on one another. */
#define JOBQ__VIEW_NAME(name, id) "coalesce(" name ", " JOBQ__TEXT_LOST(id) ")"
#define JOBQ__VIEW_COUNTS(of) \
    " SELECT " JOBQ__VIEW_NAME("n.name", "c." of) " AS " of ", sum(ready) AS ready," \
    " sum(scheduled) AS scheduled, sum(blocked) AS blocked, sum(claimed) AS claimed," \
    " sum(done) AS done, sum(failed) AS failed, sum(cancelled) AS cancelled" \
    " FROM jobq_tally c LEFT JOIN jobq_name n ON n.id = c." of " GROUP BY c." of

static const struct jobq__object jobq__schema_list[] = {
    {"jobq_meta", "CREATE TABLE jobq_meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID"},
    {"jobq_claims",
     "CREATE TABLE jobq_claims(one INTEGER PRIMARY KEY, ids BLOB, last_id INT, open BLOB,"
     " counted INT, offset_ms INT, wall_at INT, next_name INT, ready INT, scheduled INT,"
     " blocked INT, claimed INT, retrying INT, done INT, failed INT, cancelled INT)"},
    {"jobq_row",
     "CREATE TABLE \"jobq_row\"(id INTEGER PRIMARY KEY, state INT NOT NULL, lane INT,"
     " ord INT NOT NULL, run_at INT NOT NULL, kind INT NOT NULL, queue INT NOT NULL,"
     " priority INT NOT NULL, attempt INT NOT NULL, runs INT NOT NULL, crashes INT NOT NULL,"
     " delay_ms INT NOT NULL, created_at INT, side INT NOT NULL, finished_at INT,"
     " prune_at INT, payload BLOB, grp INT)"},
    {"jobq_name",
     "CREATE TABLE jobq_name(id INTEGER PRIMARY KEY, what INT NOT NULL, scope INT NOT NULL,"
     " name TEXT NOT NULL, UNIQUE(what, scope, name))"},
    {"jobq_extra",
     "CREATE TABLE jobq_extra(job INTEGER PRIMARY KEY, key TEXT, error TEXT, result BLOB,"
     " saved BLOB, tags TEXT, trace TEXT, attempts_max INT, on_failed INT, needs INT,"
     " expires_at INT, cause INT, schedule INT, nominal_at INT)"},
    {"jobq_key",
     "CREATE TABLE jobq_key(kind INT, key TEXT, held INT, job INT, until INT,"
     " PRIMARY KEY(kind, key, held, job)) WITHOUT ROWID"},
    {"jobq_payload", "CREATE TABLE jobq_payload(job INTEGER PRIMARY KEY, data BLOB NOT NULL)"},
    {"jobq_live",
     "CREATE INDEX jobq_live ON jobq_row(lane, ord, run_at, id) WHERE state = 0"},
    {"jobq_finished",
     "CREATE INDEX jobq_finished ON jobq_row(prune_at) WHERE prune_at IS NOT NULL"},
    {"jobq_failed",
     "CREATE TABLE jobq_failed(at INT, job INT, PRIMARY KEY(at, job)) WITHOUT ROWID"},
    {"jobq_rule",
     "CREATE TABLE jobq_rule(what INT, name TEXT, layer INT, running_max INT, rate INT,"
     " rate_ms INT, burst INT, weight INT, reserved INT, job_order INT, ageing_ms INT, strict INT,"
     " paused INT, by TEXT, set_at INT, until INT, PRIMARY KEY(what, name, layer))"
     " WITHOUT ROWID"},
    {"jobq_gate",
     "CREATE TABLE jobq_gate(what INT, id INT, tokens INT, at INT, holder INT,"
     " PRIMARY KEY(what, id)) WITHOUT ROWID"},
    {"jobq_pass",
     "CREATE TABLE jobq_pass(job INT, gate INT, PRIMARY KEY(job, gate)) WITHOUT ROWID"},
    {"jobq_alarm",
     "CREATE TABLE jobq_alarm(at INT, what INT, id INT, PRIMARY KEY(at, what, id)) WITHOUT ROWID"},
    {"jobq_kind",
     "CREATE TABLE jobq_kind(id INTEGER PRIMARY KEY, fields TEXT, fields_version INT, secret INT,"
     " queue INT, on_failed INT)"},
    {"jobq_figure",
     "CREATE TABLE jobq_figure(span INT, at INT, queue INT, kind INT, enqueued INT, done INT,"
     " failed INT, retried INT, cancelled INT, crashed INT, wait_ms INT, run_ms INT, wait_le BLOB,"
     " run_le BLOB, PRIMARY KEY(span, at, queue, kind)) WITHOUT ROWID"},
    {"jobq_command",
     "CREATE TABLE jobq_command(id INTEGER PRIMARY KEY, epoch INT, verb INT, job INT,"
     " argument BLOB, by TEXT, at INT, answer INT, reply BLOB, answered_at INT)"},
    {"jobq_schedule",
     "CREATE TABLE jobq_schedule(id INTEGER PRIMARY KEY, cron TEXT, zone TEXT, owner_set TEXT,"
     " kind INT, queue INT, priority INT, grp INT, key TEXT, payload BLOB, tags TEXT, missed INT,"
     " overlap INT, missed_max INT, missed_within_ms INT, jitter_ms INT, start_at INT, end_at INT,"
     " anchor_at INT, next_at INT, last_at INT, last_job INT, paused INT, by TEXT, until INT,"
     " needs INT, attempts_max INT, on_failed INT, trace TEXT, expires_in_ms INT, unique_how INT,"
     " unique_ms INT, conflict INT)"},
    {"jobq_fired",
     "CREATE TABLE jobq_fired(schedule INT, nominal INT, job INT, PRIMARY KEY(schedule, nominal))"
     " WITHOUT ROWID"},
    {"jobq_after",
     "CREATE TABLE jobq_after(parent INT, child INT, policy INT, PRIMARY KEY(parent, child))"
     " WITHOUT ROWID"},
    {"jobq_batch",
     "CREATE TABLE jobq_batch(job INTEGER PRIMARY KEY, parents INT, ended INT, failed INT)"},
    {"jobq_signal",
     "CREATE TABLE jobq_signal(event INT, serial INT, at INT, until INT, data BLOB,"
     " PRIMARY KEY(event, serial)) WITHOUT ROWID"},
    {"jobq_await",
     "CREATE TABLE jobq_await(job INT, event INT, taken INT, until INT, data BLOB,"
     " PRIMARY KEY(job, event)) WITHOUT ROWID"},
    {"jobq_step",
     "CREATE TABLE jobq_step(job INT, name TEXT, data BLOB, PRIMARY KEY(job, name)) WITHOUT ROWID"},
    {"jobq_note",
     "CREATE TABLE jobq_note(job INT, seq INT, at INT, type INT, attempt INT, level INT,"
     " outcome INT, worker INT, wait_ms INT, run_ms INT, text TEXT, done INT, total INT, by TEXT,"
     " PRIMARY KEY(job, seq))"
     " WITHOUT ROWID"},
    {"jobq_import",
     "CREATE TABLE jobq_import(source TEXT, id INT, job INT, PRIMARY KEY(source, id))"
     " WITHOUT ROWID"},
    {"jobq_jobs",
     "CREATE VIEW jobq_jobs AS SELECT j.id, " JOBQ__VIEW_NAME("k.name", "kind") " AS kind, "
     JOBQ__VIEW_NAME("q.name", "queue") " AS queue, CASE state WHEN 0 THEN 'pending' WHEN 1 THEN"
     " 'claimed' WHEN 2 THEN 'done' WHEN 3 THEN 'failed' WHEN 4 THEN 'cancelled' END AS state,"
     " iif(state, NULL, CASE WHEN lane > 1 THEN 'turn' WHEN lane = 1 THEN 'suspects'"
     " WHEN lane >= -1 THEN 'time' ELSE 'handler' END) AS waits_for, priority, attempt, runs,"
     " crashes, coalesce(created_at, run_at) AS created_at_ms, iif(state = 0 AND lane = -1,"
     " run_at - (SELECT offset_ms FROM jobq_claims WHERE one = 1), run_at) AS run_at_ms,"
     " finished_at AS finished_at_ms, prune_at AS kept_until_ms, g.name AS job_group,"
     " x.key AS job_key, error, coalesce(iif(side & 8, payload, length(payload)), 0)"
     " AS payload_size, coalesce(length(result), 0) AS result_size FROM jobq_row j"
     " LEFT JOIN jobq_name k ON k.id = kind LEFT JOIN jobq_name q ON q.id = queue"
     " LEFT JOIN jobq_name g ON g.id = grp LEFT JOIN jobq_extra x ON job = j.id AND side & 3"},
    {"jobq_dead",
     "CREATE VIEW jobq_dead AS SELECT j.* FROM jobq_failed f CROSS JOIN jobq_jobs j"
     " ON j.id = f.job"},
    /* What the counters know, and the jobs that they do not know yet. */
    {"jobq_tally",
     "CREATE VIEW jobq_tally AS SELECT one >> 32 AS queue, one & 4294967295 AS kind, ready,"
     " scheduled, blocked, claimed, done, failed, cancelled FROM jobq_claims"
     " WHERE one >= " JOBQ__TEXT_PAIRS " UNION ALL SELECT queue, kind, state = 0 AND lane > 0,"
     " state = 0 AND lane IN (-1, 0), state = 0 AND lane < -1, state = 1, state = 2, state = 3,"
     " state = 4 FROM jobq_row WHERE id > (SELECT counted FROM " JOBQ__TEXT_CLAIMS ")"},
    {"jobq_queues", "CREATE VIEW jobq_queues AS" JOBQ__VIEW_COUNTS("queue")},
    {"jobq_kinds", "CREATE VIEW jobq_kinds AS" JOBQ__VIEW_COUNTS("kind")},
    {"jobq_rules",
     "CREATE VIEW jobq_rules AS SELECT CASE what WHEN 1 THEN 'queue' WHEN 2 THEN 'kind'"
     " WHEN 3 THEN 'group' END AS what, name, CASE layer WHEN 1 THEN 'declared'"
     " WHEN 2 THEN 'overridden' END AS layer, running_max, rate, rate_ms, burst, weight, reserved,"
     " job_order, ageing_ms, strict, paused, by AS set_by, set_at AS set_at_ms,"
     " until AS until_ms FROM jobq_rule"},
};

/* Name 1 is the lane of the suspects, so no queue can have its id. */
#define JOBQ__SCHEMA_ROWS \
    "INSERT INTO jobq_meta VALUES('schema', 2), ('reads_from', 2), ('writes_from', 2)," \
    " ('syncs', 0), ('epoch', 0);" \
    "INSERT INTO jobq_name VALUES(1, 0, 0, '');" \
    "INSERT INTO jobq_claims(one, last_id, counted, offset_ms, wall_at, next_name)" \
    " VALUES(1, 0, 0, 0, 0, 2)"

static int jobq__schema_create(struct jobq__db *db) {
    size_t i;
    int rc = JOBQ_OK;
    for (i = 0; i < JOBQ__COUNT(jobq__schema_list) && rc == JOBQ_OK; i++)
        rc = jobq__db_exec(db, jobq__schema_list[i].text);
    if (rc == JOBQ_OK) rc = jobq__db_exec(db, JOBQ__SCHEMA_ROWS);
    return rc;
}

JOBQ__INTERNAL const struct jobq__object *jobq__schema_objects(size_t *count) {
    *count = JOBQ__COUNT(jobq__schema_list);
    return jobq__schema_list;
}

static const char *jobq__schema_text(const struct jobq__object *objects, size_t count,
                                     const char *name) {
    size_t i;
    for (i = 0; name && i < count; i++)
        if (strcmp(objects[i].name, name) == 0) return objects[i].text;
    return NULL;
}

/* Fewer of ours were found than there are. */
static int jobq__schema_missing(struct jobq__db *db, const struct jobq__object *objects,
                                size_t count, jobq_error *err) {
    int64_t there = 1;
    int rc = JOBQ_OK;
    size_t i;
    for (i = 0; i < count && rc == JOBQ_OK && there; i++) {
        char text[128];
        sqlite3_snprintf(sizeof text, text, "SELECT count(*) FROM sqlite_master WHERE name = '%s'",
                         objects[i].name);
        rc = jobq__db_number(db, text, 0, &there);
    }
    if (rc != JOBQ_OK) return jobq__db_fail(db, err);
    return jobq__err_set(err, JOBQ_FOREIGN, "%s is missing in %.250s, where other tables of jobq's"
                         " are; restore a copy of the file, or use another one",
                         objects[i - 1].name, jobq__db_path(db));
}

JOBQ__INTERNAL int jobq__schema_compare(struct jobq__db *db, const struct jobq__object *objects,
                                        size_t count, bool more, jobq_error *err) {
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
        const char *ours = jobq__schema_text(objects, count, name);
        rc = jobq__db_read(db, statement);
        if (rc != JOBQ_OK) break;
        if (!ours && more && type && strcmp(type, "trigger") != 0) continue;
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
    if (rc == JOBQ_OK && found != count)
        rc = jobq__schema_missing(db, objects, count, err);
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

static int jobq__schema_look(struct jobq__db *db, int64_t *ours, int64_t *objects,
                             jobq_error *err) {
    int rc = jobq__db_number(db, "SELECT count(*) FROM sqlite_master", 0, objects);
    if (rc == JOBQ_OK)
        rc = jobq__db_number(db, "SELECT count(*) FROM sqlite_master WHERE name = 'jobq_meta'"
                             " AND type = 'table'", 0, ours);
    return rc == JOBQ_OK ? rc : jobq__db_fail(db, err);
}

/* One row of jobq_meta, or -1. */
static int jobq__schema_meta(struct jobq__db *db, const char *ask, int64_t *value,
                             jobq_error *err) {
    int rc = jobq__db_number(db, ask, -1, value);
    if (rc == JOBQ_CORRUPT && (db->sqlite_code & 0xff) == SQLITE_ERROR)
        return jobq__err_set(err, JOBQ_FOREIGN, "the table jobq_meta in %.250s is not as jobq"
                             " makes it; drop it if it is yours, or use another file",
                             jobq__db_path(db));
    return rc == JOBQ_OK ? rc : jobq__db_fail(db, err);
}

/* A newer schema may well look different, unless it says that we may write to it. */
static int jobq__schema_newer(struct jobq__db *db, int64_t version, jobq_error *err) {
    int64_t writes_from;
    int rc = jobq__schema_meta(db, "SELECT value FROM jobq_meta WHERE key = 'writes_from'",
                               &writes_from, err);
    if (rc != JOBQ_OK || (writes_from >= 1 && writes_from <= JOBQ__SCHEMA_VERSION)) return rc;
    return jobq__err_set(err, JOBQ_NEWER, "%.250s has schema %lld, which wants a jobq that knows"
                         " schema %lld, and this one, %s, knows %d; use a newer jobq",
                         jobq__db_path(db), (long long)version,
                         (long long)(writes_from < 1 ? version : writes_from), JOBQ_VERSION,
                         JOBQ__SCHEMA_VERSION);
}

JOBQ__INTERNAL int jobq__schema_version(struct jobq__db *db, int64_t *version, jobq_error *err) {
    int64_t ours, objects;
    int rc = jobq__schema_look(db, &ours, &objects, err);
    *version = 0;
    if (rc != JOBQ_OK || !ours) return rc;
    rc = jobq__schema_meta(db, "SELECT value FROM jobq_meta WHERE key = 'schema'", version, err);
    if (rc != JOBQ_OK) return rc;
    if (*version > JOBQ__SCHEMA_VERSION) rc = jobq__schema_newer(db, *version, err);
    else if (*version < 1)
        rc = jobq__err_set(err, JOBQ_FOREIGN, "the table jobq_meta in %.250s does not name a"
                           " schema; drop it if it is yours, or use another file",
                           jobq__db_path(db));
    return rc == JOBQ_OK ? jobq__schema_pages(db, err) : rc;
}

/* The tables are ours, as this version makes them; version: what the file says. */
static int jobq__schema_fits(struct jobq__db *db, int64_t version, jobq_error *err) {
    if (version < JOBQ__SCHEMA_VERSION)
        return jobq__err_set(err, JOBQ_BAD_STATE, "%.250s has schema %lld, of an older jobq, and"
                             " this one, %s, works with schema %d; open it once as its owner"
                             " (JOBQ_OWNER), which makes one of the other", jobq__db_path(db),
                             (long long)version, JOBQ_VERSION, JOBQ__SCHEMA_VERSION);
    return jobq__schema_compare(db, jobq__schema_list, JOBQ__COUNT(jobq__schema_list),
                                version > JOBQ__SCHEMA_VERSION, err);
}

JOBQ__INTERNAL int jobq__schema_check(struct jobq__db *db, jobq_error *err) {
    int64_t version;
    int rc = jobq__schema_version(db, &version, err);
    if (rc != JOBQ_OK) return rc;
    if (!version)
        return jobq__err_set(err, JOBQ_NOT_FOUND, "there is no queue in %.250s; its owner makes one"
                             " (with .join beside other tables)", jobq__db_path(db));
    return jobq__schema_fits(db, version, err);
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
    int64_t version, ours, objects, pages;
    int rc = jobq__schema_version(db, &version, err);
    if (rc == JOBQ_OK && version) {
        rc = jobq__schema_fits(db, version, err);
        return rc == JOBQ_OK ? jobq__schema_wal(db, err) : rc;
    }
    if (rc == JOBQ_OK) rc = jobq__schema_look(db, &ours, &objects, err);
    if (rc != JOBQ_OK) return rc;
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
