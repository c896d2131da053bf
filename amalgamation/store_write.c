/* store_write.c - what changes rows: enqueue, claim, settle, promote, recover. */
#include "store.h"

/* Design note.
 *
 * Rows as statements see them: each function binds, steps and resets, and says how many rows it has
 * changed, which its caller compares with what it should be: the fence. What a change means for
 * other rows, for memory or for anybody waiting is not known here; that it is a legal one is the
 * door's to see (door.c).
 *
 *   - What is read is checked where it enters (column.h): a row with a value that jobq never writes
 *     is JOBQ_CORRUPT, and is not handed out.
 *   - No statement is left standing when a function returns but a walk's, of which there is one at
 *     a time.
 *   - A large payload stands apart (jobq_payload) and is written once, whatever becomes of its row.
 *
 * Within a transaction that the holder of the baton has begun; calls db.h and column.h only. */

/* ---- Binding ---- */

static void jobq__store_bind_row(sqlite3_stmt *s, int at, const struct jobq__row *row) {
    bool ready = jobq__stored_stand(row->lane) == JOBQ__STANDS_IN_LINE;
    sqlite3_bind_int64(s, at + 1, row->id);
    sqlite3_bind_int(s, at + 2, row->state);
    if (row->lane == JOBQ__LANE_NONE) sqlite3_bind_null(s, at + 3);
    else sqlite3_bind_int64(s, at + 3, row->lane);
    sqlite3_bind_int(s, at + 4, ready ? row->priority : 0);
    sqlite3_bind_int64(s, at + 5, row->run_at_ms);
    sqlite3_bind_int64(s, at + 6, row->kind);
    sqlite3_bind_int64(s, at + 7, row->queue);
    sqlite3_bind_int(s, at + 8, row->priority);
    sqlite3_bind_int(s, at + 9, row->runs);
    /* Most jobs are due when they are created; then the time is stored once. */
    if (row->created_at_ms == row->run_at_ms) sqlite3_bind_null(s, at + 10);
    else sqlite3_bind_int64(s, at + 10, row->created_at_ms);
    sqlite3_bind_int(s, at + 11, row->side);
    if (row->side & JOBQ__SIDE_PAYLOAD)
        sqlite3_bind_int64(s, at + 12, (int64_t)row->size);
    else if (row->size)
        sqlite3_bind_blob64(s, at + 12, row->payload, row->size, SQLITE_STATIC);
    else
        sqlite3_bind_null(s, at + 12);
}

#define JOBQ__ROW_PARAMETERS 12

/* In a file of UTF-16 this wants memory. Returns s, or NULL with db->sqlite_code set. */
static sqlite3_stmt *jobq__store_bind_text(struct jobq__db *db, sqlite3_stmt *s, int at,
                                           const char *text, int size) {
    if (!s || sqlite3_bind_text(s, at, text, size, SQLITE_STATIC) == SQLITE_OK) return s;
    db->sqlite_code = SQLITE_NOMEM;
    return NULL;
}

/* ---- What these statements read ---- */

#define JOBQ__ID {"id", 1, JOBQ__ID_MAX, JOBQ__HOLDS_NUMBER, false}
#define JOBQ__NUMBER(name, min, max) {name, min, max, JOBQ__HOLDS_NUMBER, false}

/* JOBQ__TEXT_ROW */
enum { JOBQ__AT_ID, JOBQ__AT_STATE, JOBQ__AT_RUN_AT, JOBQ__AT_KIND, JOBQ__AT_PRIORITY,
       JOBQ__AT_RUNS, JOBQ__AT_CREATED, JOBQ__AT_SIDE, JOBQ__AT_PAYLOAD, JOBQ__AT_LANE,
       JOBQ__AT_QUEUE, JOBQ__AT_ATTEMPT, JOBQ__AT_CRASHES, JOBQ__AT_DELAY, JOBQ__AT_END };

static const struct jobq__column jobq__store_row_list[] = {
    JOBQ__ID,
    JOBQ__NUMBER("state", JOBQ__WAITING, JOBQ__CANCELLED),
    JOBQ__NUMBER("run_at", 0, JOBQ_NEVER),
    JOBQ__NUMBER("kind", JOBQ__LANE_SUSPECT + 1, JOBQ__NAME_ID_MAX),
    JOBQ__NUMBER("priority", INT32_MIN, INT32_MAX),
    JOBQ__NUMBER("runs", 0, INT32_MAX),
    {"created_at", 0, JOBQ_NEVER, JOBQ__HOLDS_NUMBER, true},
    JOBQ__NUMBER("side", 0, JOBQ__SIDE_ALL),
    {"payload", 0, JOBQ_PAYLOAD_MAX, JOBQ__HOLDS_SIZE, true}, /* or the size of what is apart */
    {"lane", -JOBQ__NAME_ID_MAX, JOBQ__NAME_ID_MAX, JOBQ__HOLDS_NUMBER, true},
    JOBQ__NUMBER("queue", JOBQ__LANE_SUSPECT + 1, JOBQ__NAME_ID_MAX),
    JOBQ__NUMBER("attempt", 1, INT32_MAX),
    JOBQ__NUMBER("crashes", 0, INT32_MAX),
    JOBQ__NUMBER("delay_ms", 0, JOBQ_NEVER),
};
static const struct jobq__columns jobq__store_row_columns =
    JOBQ__COLUMNS("jobq_row", jobq__store_row_list, JOBQ__AT_ID);

static const struct jobq__column jobq__store_max_list[] = {JOBQ__NUMBER("id", 0, JOBQ__ID_MAX)};
static const struct jobq__columns jobq__store_max_columns =
    JOBQ__COLUMNS("jobq_claims or jobq_row", jobq__store_max_list, -1);

/* In a file of UTF-16 a byte that is no UTF-8 comes back as up to three. */
#define JOBQ__TEXT_UP_TO(name, max, null) {name, 1, 3 * (max), JOBQ__HOLDS_TEXT, null}

/* One more than the last id that there can be: no name is left. NULL: the row is missing. */
#define JOBQ__NEXT_NAME_IN(null) \
    {"next_name", JOBQ__LANE_SUSPECT + 1, INT64_C(1) + JOBQ__NAME_ID_MAX, JOBQ__HOLDS_NUMBER, null}

/* JOBQ__SQL_NAME_ID */
enum { JOBQ__FOUND_EXACT, JOBQ__FOUND_ANY, JOBQ__FOUND_NEXT, JOBQ__FOUND_TEXT, JOBQ__FOUND_END };
static const struct jobq__column jobq__store_found_list[] = {
    {"id", JOBQ__LANE_SUSPECT + 1, JOBQ__NAME_ID_MAX, JOBQ__HOLDS_NUMBER, true},
    {"id", JOBQ__LANE_SUSPECT + 1, JOBQ__NAME_ID_MAX, JOBQ__HOLDS_NUMBER, true},
    JOBQ__NEXT_NAME_IN(true),
    JOBQ__TEXT_UP_TO("name", JOBQ_NAME_MAX, false)};
static const struct jobq__columns jobq__store_found_columns =
    JOBQ__COLUMNS("jobq_name", jobq__store_found_list, -1);

static const struct jobq__column jobq__store_names_list[] = {JOBQ__NUMBER("count", 0, INT64_MAX)};
static const struct jobq__columns jobq__store_names_columns =
    JOBQ__COLUMNS("jobq_name", jobq__store_names_list, -1);

static const struct jobq__column jobq__store_next_name_list[] = {
    JOBQ__NEXT_NAME_IN(false)};
static const struct jobq__columns jobq__store_next_name_columns =
    JOBQ__COLUMNS("jobq_claims", jobq__store_next_name_list, -1);

static const struct jobq__column jobq__store_name_list[] = {
    JOBQ__NUMBER("id", 1, JOBQ__NAME_ID_MAX),
    JOBQ__NUMBER("what", JOBQ__NAME_ANY, JOBQ__NAME_LANE),
    JOBQ__TEXT_UP_TO("name", JOBQ_NAME_MAX, false)};
static const struct jobq__columns jobq__store_name_columns =
    JOBQ__COLUMNS("jobq_name", jobq__store_name_list, 0);

static const struct jobq__column jobq__store_payload_list[] = {
    {"data", 1, JOBQ_PAYLOAD_MAX, JOBQ__HOLDS_BLOB, false}};
static const struct jobq__columns jobq__store_payload_columns =
    JOBQ__COLUMNS("jobq_payload", jobq__store_payload_list, -1);

/* The job that holds a key has not ended. */
static const struct jobq__column jobq__store_key_list[] = {
    JOBQ__NUMBER("job", 1, JOBQ__ID_MAX),
    {"state of that job", JOBQ__WAITING, JOBQ__CLAIMED, JOBQ__HOLDS_NUMBER, true},
    {"side of that job", JOBQ__SIDE_KEY, JOBQ__SIDE_ALL, JOBQ__HOLDS_NUMBER, true},
    {"key of that job", 0, 1, JOBQ__HOLDS_NUMBER, true}};
static const struct jobq__columns jobq__store_key_columns =
    JOBQ__COLUMNS("jobq_key", jobq__store_key_list, 0);

static const struct jobq__column jobq__store_holder_list[] = {JOBQ__NUMBER("job", 1, JOBQ__ID_MAX)};
static const struct jobq__columns jobq__store_holder_columns =
    JOBQ__COLUMNS("jobq_key", jobq__store_holder_list, 0);

static const struct jobq__column jobq__store_own_key_list[] = {
    JOBQ__NUMBER("job", 1, JOBQ__ID_MAX),
    JOBQ__TEXT_UP_TO("key", JOBQ_KEY_MAX, true)};
static const struct jobq__columns jobq__store_own_key_columns =
    JOBQ__COLUMNS("jobq_extra", jobq__store_own_key_list, 0);

static const struct jobq__column jobq__store_id_list[] = {JOBQ__ID};
static const struct jobq__columns jobq__store_id_columns =
    JOBQ__COLUMNS("jobq_row", jobq__store_id_list, 0);

static const struct jobq__column jobq__store_due_list[] = {
    {"run_at", 0, JOBQ_NEVER, JOBQ__HOLDS_NUMBER, true}};
static const struct jobq__columns jobq__store_due_columns =
    JOBQ__COLUMNS("jobq_row", jobq__store_due_list, -1);

static const struct jobq__column jobq__store_lane_list[] = {
    {"lane", -JOBQ__NAME_ID_MAX, JOBQ__NAME_ID_MAX, JOBQ__HOLDS_NUMBER, true}};
static const struct jobq__columns jobq__store_lane_columns =
    JOBQ__COLUMNS("jobq_row", jobq__store_lane_list, -1);

enum { JOBQ__CLAIMS_IDS = 1, JOBQ__CLAIMS_OPEN = 3, JOBQ__CLAIMS_OFFSET = 5 };
#define JOBQ__OWN_COLUMNS \
    JOBQ__NUMBER("offset_ms", -JOBQ__WALL_MAX, JOBQ__WALL_MAX), \
    JOBQ__NUMBER("wall_at", 0, JOBQ__WALL_MAX)

static const struct jobq__column jobq__store_own_list[] = {JOBQ__OWN_COLUMNS};
static const struct jobq__columns jobq__store_own_columns =
    JOBQ__COLUMNS("jobq_claims", jobq__store_own_list, -1);

static const struct jobq__column jobq__store_claims_list[] = {
    JOBQ__NUMBER("one", 1, 1),
    {"ids", 0, JOBQ__CLAIMS_MAX * JOBQ__PACK_MAX, JOBQ__HOLDS_BLOB, true},
    JOBQ__NUMBER("last_id", 0, JOBQ__ID_MAX),
    {"open", 0, JOBQ__OPEN_MAX * JOBQ__PACK_MAX, JOBQ__HOLDS_BLOB, true},
    JOBQ__NUMBER("counted", 0, JOBQ__ID_MAX),
    JOBQ__OWN_COLUMNS,
    JOBQ__NEXT_NAME_IN(false)};
static const struct jobq__columns jobq__store_claims_columns =
    JOBQ__COLUMNS("jobq_claims", jobq__store_claims_list, -1);

static const struct jobq__column jobq__store_saved_list[] = {
    {"saved", 0, JOBQ_PAYLOAD_MAX, JOBQ__HOLDS_BLOB, true}};
static const struct jobq__columns jobq__store_saved_columns =
    JOBQ__COLUMNS("jobq_extra", jobq__store_saved_list, -1);

static const struct jobq__column jobq__store_beside_list[] = {
    {"job", 1, JOBQ__ID_MAX, JOBQ__HOLDS_NUMBER, true}};
static const struct jobq__columns jobq__store_extra_columns =
    JOBQ__COLUMNS("jobq_extra", jobq__store_beside_list, -1);
static const struct jobq__columns jobq__store_payloads_columns =
    JOBQ__COLUMNS("jobq_payload", jobq__store_beside_list, -1);

static const struct jobq__column jobq__store_prune_list[] = {
    JOBQ__ID, JOBQ__NUMBER("side", 0, JOBQ__SIDE_ALL),
    JOBQ__NUMBER("state", JOBQ__DONE, JOBQ__CANCELLED), JOBQ__NUMBER("prune_at", 0, JOBQ_NEVER),
    JOBQ__NUMBER("kind", JOBQ__LANE_SUSPECT + 1, JOBQ__NAME_ID_MAX),
    JOBQ__NUMBER("queue", JOBQ__LANE_SUSPECT + 1, JOBQ__NAME_ID_MAX)};
static const struct jobq__columns jobq__store_prune_columns =
    JOBQ__COLUMNS("jobq_row", jobq__store_prune_list, 0);

static const struct jobq__column jobq__store_prune_at_list[] = {
    {"prune_at", 0, JOBQ_NEVER, JOBQ__HOLDS_NUMBER, true}};
static const struct jobq__columns jobq__store_prune_at_columns =
    JOBQ__COLUMNS("jobq_row", jobq__store_prune_at_list, -1);

/* Steps and reports the rows changed. */
static int jobq__store_change(struct jobq__db *db, sqlite3_stmt *s, int *changed) {
    int rc = jobq__db_step(db, s);
    if (changed) *changed = rc == JOBQ_OK ? sqlite3_changes(db->handle) : 0;
    if (s && sqlite3_stmt_status(s, SQLITE_STMTSTATUS_REPREPARE, true)) db->planned = true;
    return rc;
}

/* The one row of a table that stands beside a job whose side says so. */
static int jobq__store_change_beside(struct jobq__db *db, sqlite3_stmt *s, const char *table,
                                     int64_t id) {
    int changed, rc = jobq__store_change(db, s, &changed);
    if (rc == JOBQ_OK && changed != 1)
        rc = jobq__db_fault(db, table, id, "the row", "is missing");
    return rc;
}

/* For a row that was read in this transaction: if it cannot be found again, then an index points
 * to where it is not, and whoever goes on would meet it again and again. */
static int jobq__store_change_row(struct jobq__db *db, sqlite3_stmt *s, int64_t id) {
    int changed, rc = jobq__store_change(db, s, &changed);
    if (rc == JOBQ_OK && changed != 1)
        rc = jobq__db_fault(db, "jobq_row", id, "the row", "is not where an index says");
    return rc;
}

/* ---- Transactions ---- */

JOBQ__INTERNAL int jobq__store_begin(struct jobq__db *db) {
    int rc = JOBQ_OK;
    /* What ends the transaction if memory runs out in it. */
    if (!jobq__db_get(db, JOBQ__SQL_ROLLBACK)) return jobq__db_code(db->sqlite_code);
    /* There may have been no memory to end the last one. */
    if (jobq__db_in_transaction(db)) rc = jobq__db_do(db, JOBQ__SQL_ROLLBACK);
    if (rc == JOBQ_OK) rc = jobq__db_do(db, JOBQ__SQL_BEGIN);
    if (rc != JOBQ_OK) return rc;
    db->lost = false;
    rc = jobq__schema_unlearn(db);
    if (rc != JOBQ_OK) jobq__store_rollback(db);
    return rc;
}

JOBQ__INTERNAL int jobq__store_commit(struct jobq__db *db) {
    int rc;
    if (!jobq__db_in_transaction(db)) {
        db->sqlite_code = SQLITE_ABORT_ROLLBACK;
        return jobq__db_code(db->sqlite_code);
    }
    db->may_commit = true;
    rc = jobq__db_do(db, JOBQ__SQL_COMMIT);
    db->may_commit = false;
    return rc;
}

/* COMMIT asks the rows (deferred foreign keys) and the virtual tables; jobq's own have neither. */
static bool jobq__store_refused(int sqlite_code) {
    int primary = sqlite_code & 0xff;
    return primary == SQLITE_CONSTRAINT || primary == SQLITE_ERROR || primary == SQLITE_MISMATCH
        || primary == SQLITE_TOOBIG || sqlite_code == SQLITE_CORRUPT_VTAB;
}

JOBQ__INTERNAL int jobq__store_commit_job(struct jobq__db *db, jobq_error *why) {
    int rc = jobq__store_commit(db);
    if (rc == JOBQ_OK || !jobq__store_refused(db->sqlite_code)) return rc;
    return jobq__err_set(why, JOBQ__REFUSED, "%s", sqlite3_errmsg(db->handle));
}

JOBQ__INTERNAL int jobq__store_sync(struct jobq__db *db) {
    int changed, rc = jobq__store_change(db, jobq__db_get(db, JOBQ__SQL_SYNC), &changed);
    if (rc == JOBQ_OK && changed != 1)
        rc = jobq__db_fault(db, "jobq_meta", 0, "the row syncs", "is missing");
    return rc;
}

JOBQ__INTERNAL void jobq__store_rollback(struct jobq__db *db) {
    int sqlite_code = db->sqlite_code;
    if (jobq__db_in_transaction(db)) jobq__db_do(db, JOBQ__SQL_ROLLBACK);
    db->sqlite_code = sqlite_code;
}

/* ---- Names ---- */

/* The first column of a one-row statement, or fallback; after a failure *value is as before. */
static int jobq__store_pick(struct jobq__db *db, sqlite3_stmt *s,
                            const struct jobq__columns *what, int64_t fallback, int64_t *value) {
    int64_t values[JOBQ__AT_END];
    bool row;
    int rc;
    jobq__assert(what->count <= JOBQ__AT_END && what->id < what->count);
    rc = jobq__column_one(db, s, what, values, &row);
    if (rc == JOBQ_OK) *value = row && values[0] != JOBQ__NULL ? values[0] : fallback;
    return rc;
}

JOBQ__INTERNAL int jobq__store_name_find(struct jobq__db *db, int *what, const char *name,
                                         int64_t *id) {
    sqlite3_stmt *s = jobq__store_bind_text(db, jobq__db_get(db, JOBQ__SQL_NAME_ID), 2, name, -1);
    int64_t values[JOBQ__FOUND_END], found;
    bool row, same;
    int rc;
    *id = 0;
    if (s) sqlite3_bind_int(s, 1, *what);
    rc = jobq__column_next(db, s, &jobq__store_found_columns, values, &row);
    if (rc != JOBQ_OK || !row) return rc;
    same = strcmp((const char *)sqlite3_column_text(s, JOBQ__FOUND_TEXT), name) == 0;
    jobq__db_reset(s);
    if (!same) {
        db->sqlite_code = SQLITE_OK; /* it is not the disk */
        return JOBQ_BAD_NAME;
    }
    found = values[JOBQ__FOUND_EXACT];
    if (found == JOBQ__NULL) {
        found = values[JOBQ__FOUND_ANY];
        if (found == JOBQ__NULL) return JOBQ_OK;
        *what = JOBQ__NAME_ANY;
    }
    /* Or a new name would get it, too. */
    if (found >= values[JOBQ__FOUND_NEXT])
        return jobq__db_fault(db, "jobq_name", found, "id", "was never given");
    *id = found;
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__store_name_text(struct jobq__db *db, int64_t id, int *what, char *text,
                                         bool *lost) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_NAME_TEXT);
    int64_t values[JOBQ__COUNT(jobq__store_name_list)];
    bool row;
    int rc;
    if (s) sqlite3_bind_int64(s, 1, id);
    rc = jobq__column_next(db, s, &jobq__store_name_columns, values, &row);
    *lost = !row;
    *what = JOBQ__NAME_ANY;
    if (rc != JOBQ_OK) return rc;
    if (!row) {
        sqlite3_snprintf(JOBQ_NAME_MAX + 1, text, "lost:%lld", (long long)id);
        return JOBQ_OK;
    }
    *what = (int)values[1];
    jobq__err_copy_text(text, JOBQ_NAME_MAX + 1, (const char *)sqlite3_column_text(s, 2));
    jobq__db_reset(s);
    return JOBQ_OK;
}

/* True if something else stands where a row was to be put. Not if the hook has refused: then SQLite
 * had ended the transaction by itself, and this would have been one of its own. */
static bool jobq__store_in_the_way(const struct jobq__db *db, int rc) {
    return rc != JOBQ_OK && (db->sqlite_code & 0xff) == SQLITE_CONSTRAINT
        && db->sqlite_code != SQLITE_CONSTRAINT_COMMITHOOK;
}

JOBQ__INTERNAL int jobq__store_name_put(struct jobq__db *db, int64_t id, int what,
                                        const char *name) {
    sqlite3_stmt *s = jobq__store_bind_text(db, jobq__db_get(db, JOBQ__SQL_NAME_ADD), 3, name, -1);
    int rc;
    if (s) {
        sqlite3_bind_int64(s, 1, id);
        sqlite3_bind_int(s, 2, what);
    }
    rc = jobq__db_step(db, s);
    if (jobq__store_in_the_way(db, rc))
        rc = jobq__db_fault(db, "jobq_name", id, "id or name", "is another row's, too");
    if (rc != JOBQ_OK) return rc;
    s = jobq__db_get(db, JOBQ__SQL_NAME_GIVEN);
    if (s) sqlite3_bind_int64(s, 1, id);
    return jobq__store_change_beside(db, s, "jobq_claims", 1);
}

JOBQ__INTERNAL int64_t jobq__store_lost_id(const char *name) {
    static const char lost[] = "lost:";
    const char *digit = name + sizeof lost - 1;
    int64_t id = 0;
    if (strncmp(name, lost, sizeof lost - 1) != 0 || *digit == '0') return 0;
    for (; *digit >= '0' && *digit <= '9' && id <= JOBQ__NAME_ID_MAX; digit++)
        id = 10 * id + *digit - '0';
    return !*digit && id > JOBQ__LANE_SUSPECT && id <= JOBQ__NAME_ID_MAX ? id : 0;
}

/* *id: which one a new name gets that is called as an id which was given, and has no name; or 0.
 * For all that jobs know it is theirs. */
static int jobq__store_name_of_lost(struct jobq__db *db, const char *name, int64_t next,
                                    int64_t *id) {
    char text[JOBQ_NAME_MAX + 1];
    int64_t lost = jobq__store_lost_id(name);
    bool unnamed = false;
    int what, rc = JOBQ_OK;
    if (lost && lost < next) rc = jobq__store_name_text(db, lost, &what, text, &unnamed);
    *id = unnamed ? lost : 0;
    return rc;
}

JOBQ__INTERNAL int jobq__store_name_add(struct jobq__db *db, int *what, const char *name,
                                        int64_t *id) {
    int64_t count = 0, next = 0;
    int rc = jobq__store_pick(db, jobq__db_get(db, JOBQ__SQL_NAME_COUNT),
                              &jobq__store_names_columns, 0, &count);
    if (rc == JOBQ_OK && count > JOBQ_NAMES_MAX) {
        db->sqlite_code = SQLITE_OK; /* it is not the disk */
        return JOBQ_FULL;
    }
    if (rc == JOBQ_OK)
        rc = jobq__store_pick(db, jobq__db_get(db, JOBQ__SQL_NAME_NEXT),
                              &jobq__store_next_name_columns, 0, &next);
    if (rc == JOBQ_OK && !next)
        rc = jobq__db_fault(db, "jobq_claims", 1, "the row", "is missing");
    if (rc == JOBQ_OK) rc = jobq__store_name_of_lost(db, name, next, id);
    if (rc == JOBQ_OK && *id) *what = JOBQ__NAME_ANY;
    else *id = next;
    if (rc == JOBQ_OK && *id > JOBQ__NAME_ID_MAX)
        rc = jobq__db_fault(db, "jobq_claims", 1, "next_name", "leaves no room for a new name");
    return rc == JOBQ_OK ? jobq__store_name_put(db, *id, *what, name) : rc;
}

/* ---- Enqueue ---- */

JOBQ__INTERNAL int jobq__store_max_id(struct jobq__db *db, int64_t *id) {
    return jobq__store_pick(db, jobq__db_get(db, JOBQ__SQL_MAX_ID), &jobq__store_max_columns, 0,
                            id);
}

JOBQ__INTERNAL bool jobq__store_apart(struct jobq__db *db, size_t size) {
    enum { LEAST = 512 / 4 }; /* no page is smaller */
    if (size <= LEAST) return false;
    if (!db->apart) db->apart = jobq__store_page_size(db) / 4;
    return (int64_t)size > JOBQ__MAX(db->apart, LEAST);
}

static int jobq__store_insert_payload(struct jobq__db *db, const struct jobq__row *row) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_PAYLOAD_ADD);
    if (s) {
        sqlite3_bind_int64(s, 1, row->id);
        sqlite3_bind_blob64(s, 2, row->payload, row->size, SQLITE_STATIC);
    }
    return jobq__db_step(db, s);
}

JOBQ__INTERNAL int jobq__store_insert(struct jobq__db *db, const struct jobq__row *rows,
                                      size_t count, bool *taken) {
    size_t i, done = 0;
    int rc = JOBQ_OK;
    *taken = false;
    while (done < count && rc == JOBQ_OK) {
        size_t part = count - done >= JOBQ__INSERT_ROWS ? JOBQ__INSERT_ROWS : 1;
        sqlite3_stmt *s = jobq__db_get(db, part > 1 ? JOBQ__SQL_INSERT_MANY : JOBQ__SQL_INSERT);
        for (i = 0; s && i < part && rc == JOBQ_OK; i++) {
            const struct jobq__row *row = &rows[done + i];
            jobq__store_bind_row(s, (int)i * JOBQ__ROW_PARAMETERS, row);
            /* Before its row, which never stands without. */
            if (row->side & JOBQ__SIDE_PAYLOAD) rc = jobq__store_insert_payload(db, row);
        }
        if (rc == JOBQ_OK) rc = jobq__db_step(db, s);
        done += part;
    }
    *taken = jobq__store_in_the_way(db, rc);
    return rc;
}

static sqlite3_stmt *jobq__store_bind_key(struct jobq__db *db, enum jobq__sql which,
                                          int64_t kind, const char *key) {
    sqlite3_stmt *s = jobq__db_get(db, which);
    if (!s) return NULL;
    sqlite3_bind_int64(s, 1, kind);
    return jobq__store_bind_text(db, s, 2, key, -1);
}

JOBQ__INTERNAL int jobq__store_key_find(struct jobq__db *db, int64_t kind, const char *key,
                                        int64_t *id, bool *stored) {
    int64_t values[JOBQ__COUNT(jobq__store_key_list)];
    bool row;
    int rc = jobq__column_one(db, jobq__store_bind_key(db, JOBQ__SQL_KEY_FIND, kind, key),
                              &jobq__store_key_columns, values, &row);
    *id = row ? values[0] : 0;
    *stored = row && values[1] != JOBQ__NULL;
    if (!*stored || values[3] == 1) return rc;
    return jobq__db_fault(db, "jobq_key", *id, "key", "is not that of this job");
}

JOBQ__INTERNAL int jobq__store_key_add(struct jobq__db *db, int64_t kind, const char *key,
                                       int64_t id, bool *taken) {
    sqlite3_stmt *s = jobq__store_bind_key(db, JOBQ__SQL_KEY_ADD, kind, key);
    int rc;
    if (s) sqlite3_bind_int64(s, 3, id);
    rc = jobq__db_step(db, s);
    if (rc == JOBQ_OK)
        rc = jobq__db_step(db, jobq__store_bind_key(db, JOBQ__SQL_EXTRA_KEY, id, key));
    *taken = jobq__store_in_the_way(db, rc);
    return rc;
}

static sqlite3_stmt *jobq__store_bind_ids(struct jobq__db *db, enum jobq__sql which, int64_t a,
                                          int64_t b) {
    sqlite3_stmt *s = jobq__db_get(db, which);
    if (!s) return NULL;
    sqlite3_bind_int64(s, 1, a);
    sqlite3_bind_int64(s, 2, b);
    return s;
}

JOBQ__INTERNAL int jobq__store_key_text(struct jobq__db *db, int64_t id, char *text) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_KEY_TEXT);
    int64_t values[JOBQ__COUNT(jobq__store_own_key_list)];
    bool row;
    int rc;
    text[0] = 0;
    if (s) sqlite3_bind_int64(s, 1, id);
    rc = jobq__column_next(db, s, &jobq__store_own_key_columns, values, &row);
    if (rc != JOBQ_OK || !row) return rc;
    if (values[1] != JOBQ__NULL)
        jobq__err_copy_text(text, JOBQ_KEY_MAX + 1, (const char *)sqlite3_column_text(s, 1));
    jobq__db_reset(s);
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__store_key_holder(struct jobq__db *db, int64_t kind, int64_t id,
                                          int64_t *holder) {
    return jobq__store_pick(db, jobq__store_bind_ids(db, JOBQ__SQL_KEY_HOLDER, kind, id),
                            &jobq__store_holder_columns, 0, holder);
}

JOBQ__INTERNAL int jobq__store_key_again(struct jobq__db *db, int64_t kind, int64_t id,
                                         bool *taken) {
    int64_t holder;
    int rc = jobq__store_key_holder(db, kind, id, &holder);
    *taken = rc == JOBQ_OK && holder;
    if (rc != JOBQ_OK || *taken) return rc;
    return jobq__store_change_beside(db, jobq__store_bind_ids(db, JOBQ__SQL_KEY_AGAIN, kind, id),
                                     "jobq_key", id);
}

/* ---- Claim ---- */

static sqlite3_stmt *jobq__store_walk(struct jobq__db *db, sqlite3_stmt *s, int64_t lane) {
    db->walk = s;
    db->walk_lane = lane;
    return s;
}

JOBQ__INTERNAL sqlite3_stmt *jobq__store_walk_lane(struct jobq__db *db, int64_t lane, int limit) {
    return jobq__store_walk(db, jobq__store_bind_ids(db, JOBQ__SQL_READY, lane, limit), lane);
}

/* jobq__dues */
typedef char jobq__store_due_lanes[JOBQ__LANE_SCHEDULED == -JOBQ__DUE_BY_WALL
                                   && JOBQ__LANE_OWN_TIME == -JOBQ__DUE_BY_OWN ? 1 : -1];

JOBQ__INTERNAL sqlite3_stmt *jobq__store_due(struct jobq__db *db, int by, int64_t now_ms,
                                             int limit) {
    sqlite3_stmt *s = jobq__store_bind_ids(db, JOBQ__SQL_DUE, now_ms, limit);
    if (s) sqlite3_bind_int(s, 3, -by);
    return jobq__store_walk(db, s, -by);
}

JOBQ__INTERNAL sqlite3_stmt *jobq__store_by_id(struct jobq__db *db, int64_t id) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_ROW);
    if (s) sqlite3_bind_int64(s, 1, id);
    return jobq__store_walk(db, s, JOBQ__NULL);
}

/* What the columns of a row say together; NULL, or which of them cannot be true. A row that does
 * not wait, in the walk of a lane, comes from an index that does not agree with the table: whoever
 * moves or claims such a row would find it there for ever. */
static const char *jobq__store_row_wrong(const struct jobq__row *row, int64_t walk_lane) {
    bool waits = row->state == JOBQ__WAITING;
    if (waits && row->lane == JOBQ__LANE_NONE) return "lane";
    if (waits && row->lane < JOBQ__LANE_OWN_TIME && row->lane != -row->kind) return "lane";
    if (walk_lane != JOBQ__NULL && row->lane != walk_lane) return "lane";
    if (waits ? row->runs == INT32_MAX : row->state == JOBQ__CLAIMED && row->runs < 1)
        return "runs";
    return NULL;
}

/* What is not read of a row has its usual value: it is not trusted, so it need not be checked. */
static int jobq__store_read_row(struct jobq__db *db, sqlite3_stmt *s, int64_t *at) {
    const struct jobq__columns *what = &jobq__store_row_columns;
    int rc = jobq__column_part(db, s, what, 0, JOBQ__AT_LANE, at);
    at[JOBQ__AT_LANE] = db->walk_lane;
    if (rc == JOBQ_OK && db->walk_lane == JOBQ__NULL)
        rc = jobq__column_part(db, s, what, JOBQ__AT_LANE, JOBQ__AT_QUEUE, at);
    if (rc != JOBQ_OK) return rc;
    if (at[JOBQ__AT_LANE] > JOBQ__LANE_SUSPECT && at[JOBQ__AT_STATE] == JOBQ__WAITING)
        at[JOBQ__AT_QUEUE] = at[JOBQ__AT_LANE];
    else rc = jobq__column_part(db, s, what, JOBQ__AT_QUEUE, JOBQ__AT_ATTEMPT, at);
    at[JOBQ__AT_ATTEMPT] = 1;
    at[JOBQ__AT_CRASHES] = at[JOBQ__AT_DELAY] = 0;
    if (rc != JOBQ_OK || !at[JOBQ__AT_RUNS]) return rc;
    return jobq__column_part(db, s, what, JOBQ__AT_ATTEMPT, JOBQ__AT_END, at);
}

static void jobq__store_fill_row(struct jobq__row *row, const int64_t *at) {
    row->id = at[JOBQ__AT_ID];
    row->state = (int)at[JOBQ__AT_STATE];
    row->lane = row->state == JOBQ__WAITING && at[JOBQ__AT_LANE] != JOBQ__NULL
              ? (int32_t)at[JOBQ__AT_LANE] : JOBQ__LANE_NONE;
    row->run_at_ms = at[JOBQ__AT_RUN_AT];
    row->kind = (int32_t)at[JOBQ__AT_KIND];
    row->queue = (int32_t)at[JOBQ__AT_QUEUE];
    row->priority = (int)at[JOBQ__AT_PRIORITY];
    row->attempt = (int)at[JOBQ__AT_ATTEMPT];
    row->runs = (int)at[JOBQ__AT_RUNS];
    row->crashes = (int)at[JOBQ__AT_CRASHES];
    row->delay_ms = at[JOBQ__AT_DELAY];
    row->created_at_ms = at[JOBQ__AT_CREATED] == JOBQ__NULL ? row->run_at_ms
                                                            : at[JOBQ__AT_CREATED];
    row->side = (int)at[JOBQ__AT_SIDE];
    row->size = at[JOBQ__AT_PAYLOAD] == JOBQ__NULL ? 0
              : (size_t)(at[JOBQ__AT_PAYLOAD] < 0 ? -at[JOBQ__AT_PAYLOAD] : at[JOBQ__AT_PAYLOAD]);
    row->payload = NULL;
}

/* The bytes, or their number (below 0). *wrong: it is not as the side says. */
static int jobq__store_fill_payload(struct jobq__db *db, sqlite3_stmt *s, const int64_t *at,
                                    struct jobq__row *row, const char **wrong) {
    bool apart = (row->side & JOBQ__SIDE_PAYLOAD) != 0;
    if (!row->size && !apart) return JOBQ_OK;
    if (!row->size || apart != (at[JOBQ__AT_PAYLOAD] < 0)) {
        *wrong = "payload";
        return JOBQ_OK;
    }
    if (apart) return JOBQ_OK;
    row->payload = sqlite3_column_blob(s, JOBQ__AT_PAYLOAD);
    if (row->payload) return JOBQ_OK;
    db->sqlite_code = SQLITE_NOMEM;
    return JOBQ_NO_MEMORY;
}

JOBQ__INTERNAL int jobq__store_next(struct jobq__db *db, sqlite3_stmt *s, struct jobq__row *row,
                                    bool *more) {
    int64_t at[JOBQ__AT_END];
    const char *wrong = NULL;
    int rc;
    jobq__assert(s == db->walk);
    rc = jobq__db_next(db, s, more);
    if (!*more) return rc;
    rc = jobq__store_read_row(db, s, at);
    if (rc == JOBQ_OK) {
        jobq__store_fill_row(row, at);
        wrong = jobq__store_row_wrong(row, db->walk_lane);
        if (!wrong) rc = jobq__store_fill_payload(db, s, at, row, &wrong);
        if (!wrong && rc == JOBQ_OK) return rc;
        sqlite3_reset(s);
        if (wrong)
            rc = jobq__db_fault(db, "jobq_row", row->id, wrong, "does not agree with the rest");
    }
    *more = false;
    return rc;
}

JOBQ__INTERNAL void jobq__store_end(sqlite3_stmt *walk) {
    jobq__db_reset(walk);
}

JOBQ__INTERNAL int jobq__store_row(struct jobq__db *db, int64_t id, struct jobq__row *row) {
    sqlite3_stmt *s = jobq__store_by_id(db, id);
    bool more;
    int rc;
    rc = jobq__store_next(db, s, row, &more);
    if (rc != JOBQ_OK) return rc;
    if (!more) return JOBQ_NOT_FOUND;
    row->payload = NULL;
    jobq__db_reset(s);
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__store_payload_wrong(struct jobq__db *db, int64_t id, bool there) {
    return jobq__db_fault(db, "jobq_payload", id, there ? "data" : "the row",
                          there ? "is not as long as its job says" : "is missing");
}

JOBQ__INTERNAL int jobq__store_payload(struct jobq__db *db, const struct jobq__row *row,
                                       void *buffer) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_PAYLOAD_GET);
    const void *data;
    int64_t size = 0;
    bool found;
    int rc;
    jobq__assert(row->side & JOBQ__SIDE_PAYLOAD);
    if (s) sqlite3_bind_int64(s, 1, row->id);
    rc = jobq__column_next(db, s, &jobq__store_payload_columns, &size, &found);
    if (rc != JOBQ_OK) return rc;
    if (!found || size != (int64_t)row->size) {
        jobq__db_reset(s);
        return jobq__store_payload_wrong(db, row->id, found);
    }
    data = sqlite3_column_blob(s, 0);
    if (data) memcpy(buffer, data, row->size);
    else db->sqlite_code = SQLITE_NOMEM;
    jobq__db_reset(s);
    return data ? JOBQ_OK : JOBQ_NO_MEMORY;
}

JOBQ__INTERNAL int jobq__store_claim(struct jobq__db *db, int64_t first, int64_t last,
                                     int *changed) {
    sqlite3_stmt *s = jobq__db_get(db, first == last ? JOBQ__SQL_CLAIM_ONE : JOBQ__SQL_CLAIM);
    if (s) sqlite3_bind_int64(s, 1, first);
    if (s && first != last) sqlite3_bind_int64(s, 2, last);
    return jobq__store_change(db, s, changed);
}

static sqlite3_stmt *jobq__store_bind_fence(struct jobq__db *db, enum jobq__sql which, int64_t id,
                                            int state, int runs) {
    sqlite3_stmt *s = jobq__store_bind_ids(db, which, id, state);
    if (s) sqlite3_bind_int(s, 3, runs);
    return s;
}

JOBQ__INTERNAL int jobq__store_place(struct jobq__db *db, const struct jobq__row *row, int from,
                                     int runs, int *changed) {
    bool ready = jobq__stored_stand(row->lane) == JOBQ__STANDS_IN_LINE;
    sqlite3_stmt *s = jobq__store_bind_fence(db, JOBQ__SQL_PLACE, row->id, from, runs);
    if (s) {
        sqlite3_bind_int64(s, 4, row->lane);
        sqlite3_bind_int(s, 5, ready ? row->priority : 0);
        sqlite3_bind_int64(s, 6, row->run_at_ms);
        sqlite3_bind_int(s, 7, row->attempt);
        sqlite3_bind_int(s, 8, row->runs);
        sqlite3_bind_int(s, 9, row->crashes);
        sqlite3_bind_int64(s, 10, row->delay_ms);
        sqlite3_bind_int(s, 11, row->side);
    }
    return jobq__store_change(db, s, changed);
}

JOBQ__INTERNAL int jobq__store_next_due(struct jobq__db *db, int by, int64_t *at_ms) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_NEXT_DUE);
    if (s) sqlite3_bind_int(s, 1, -by);
    return jobq__store_pick(db, s, &jobq__store_due_columns, JOBQ_NEVER, at_ms);
}

JOBQ__INTERNAL int jobq__store_next_dues(struct jobq__db *db, struct jobq__dues *due) {
    int by, rc = JOBQ_OK;
    for (by = 0; by < JOBQ__DUE_LANES && rc == JOBQ_OK; by++)
        rc = jobq__store_next_due(db, by, &due->at_ms[by]);
    return rc;
}

JOBQ__INTERNAL int jobq__store_on_wall(struct jobq__db *db, int64_t id, int64_t at_ms) {
    return jobq__store_change_row(db, jobq__store_bind_ids(db, JOBQ__SQL_ON_WALL, id, at_ms), id);
}

JOBQ__INTERNAL int jobq__store_all_due(struct jobq__db *db) {
    int64_t id;
    int rc = jobq__store_pick(db, jobq__db_get(db, JOBQ__SQL_NEVER_DUE), &jobq__store_id_columns, 0,
                              &id);
    if (rc != JOBQ_OK || !id) return rc;
    return jobq__db_fault(db, "jobq_row", id, "ord", "does not agree with the rest");
}

JOBQ__INTERNAL int jobq__store_lane_after(struct jobq__db *db, int64_t lane, int64_t *next) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_LANE_AFTER);
    int rc;
    if (s) sqlite3_bind_int64(s, 1, lane);
    rc = jobq__store_pick(db, s, &jobq__store_lane_columns, 0, next);
    if (rc == JOBQ_OK && *next && *next <= lane)
        rc = jobq__db_fault(db, "jobq_row", 0, "the index jobq_live", "is out of order");
    return rc;
}

JOBQ__INTERNAL int jobq__store_claims_set(struct jobq__db *db, const void *ids, size_t size,
                                          int64_t last_id, int64_t counted, int64_t offset_ms,
                                          int64_t wall_ms) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_CLAIMS_SET);
    if (s) {
        if (size) sqlite3_bind_blob64(s, 1, ids, size, SQLITE_STATIC);
        else sqlite3_bind_null(s, 1);
        sqlite3_bind_int64(s, 2, last_id);
        sqlite3_bind_int64(s, 3, counted);
        sqlite3_bind_int64(s, 4, JOBQ__MAX(JOBQ__MIN(offset_ms, JOBQ__WALL_MAX), -JOBQ__WALL_MAX));
        sqlite3_bind_int64(s, 5, JOBQ__MIN(wall_ms, JOBQ__WALL_MAX));
    }
    return jobq__db_step(db, s);
}

/* at: offset_ms and wall_at, whose sum was own time: that is never negative, as no wall is. */
static int jobq__store_own_sound(struct jobq__db *db, const int64_t *at) {
    if (at[0] + at[1] >= 0) return JOBQ_OK;
    return jobq__db_fault(db, "jobq_claims", 1, "offset_ms", "is before all time");
}

JOBQ__INTERNAL int jobq__store_own_time(struct jobq__db *db, int64_t *offset_ms, int64_t *wall_ms) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_OWN);
    int64_t at[JOBQ__COUNT(jobq__store_own_list)] = {0, 0};
    bool row;
    int rc = jobq__column_next(db, s, &jobq__store_own_columns, at, &row);
    jobq__db_reset(s);
    if (rc == JOBQ_OK && row) rc = jobq__store_own_sound(db, at);
    *offset_ms = rc == JOBQ_OK && row ? at[0] : 0;
    *wall_ms = rc == JOBQ_OK && row ? at[1] : 0;
    return rc;
}

/* A copy of a blob of the row that s stands on; bytes as jobq__column_read tells them. */
static int jobq__store_copy(struct jobq__db *db, sqlite3_stmt *s, int column, int64_t bytes,
                            void **data, size_t *size) {
    const void *blob = bytes > 0 ? sqlite3_column_blob(s, column) : "";
    if (bytes == JOBQ__NULL) return JOBQ_OK;
    if (blob) *data = jobq__mem_copy(blob, (size_t)bytes);
    if (*data) *size = (size_t)bytes;
    else db->sqlite_code = SQLITE_NOMEM;
    return *data ? JOBQ_OK : JOBQ_NO_MEMORY;
}

/* One of the lists of the claims row. */
static int jobq__store_claims_list_of(struct jobq__db *db, int column, void **ids, size_t *size) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_CLAIMS_GET);
    int64_t values[JOBQ__COUNT(jobq__store_claims_list)];
    bool row, second = false;
    int rc = jobq__column_next(db, s, &jobq__store_claims_columns, values, &row);
    *ids = NULL;
    *size = 0;
    if (rc == JOBQ_OK && row) rc = jobq__store_own_sound(db, &values[JOBQ__CLAIMS_OFFSET]);
    if (rc == JOBQ_OK && row) rc = jobq__store_copy(db, s, column, values[column], ids, size);
    if (rc == JOBQ_OK && row) rc = jobq__db_next(db, s, &second);
    jobq__db_reset(s);
    if (rc == JOBQ_OK && (!row || second))
        rc = jobq__db_fault(db, "jobq_claims", 1, "the row", row ? "stands twice" : "is missing");
    if (rc == JOBQ_OK) return rc;
    jobq__mem_free(*ids);
    *ids = NULL;
    *size = 0;
    return rc;
}

JOBQ__INTERNAL int jobq__store_claims_get(struct jobq__db *db, void **ids, size_t *size) {
    return jobq__store_claims_list_of(db, JOBQ__CLAIMS_IDS, ids, size);
}

JOBQ__INTERNAL int jobq__store_claims_next(struct jobq__db *db, const void *ids, size_t size,
                                           size_t *at, int64_t *id) {
    size_t used = jobq__store_unpack((const unsigned char *)ids + *at, size - *at, id);
    *at += used;
    if (used && *id >= 1 && *id <= JOBQ__ID_MAX) return JOBQ_OK;
    return jobq__db_fault(db, "jobq_claims", 1, "ids", "is no list of ids");
}

JOBQ__INTERNAL int jobq__store_open_set(struct jobq__db *db, const void *lanes, size_t size) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_OPEN_SET);
    if (s && size) sqlite3_bind_blob64(s, 1, lanes, size, SQLITE_STATIC);
    else if (s) sqlite3_bind_null(s, 1);
    return jobq__db_step(db, s);
}

JOBQ__INTERNAL int jobq__store_open_get(struct jobq__db *db, void **lanes, size_t *size) {
    return jobq__store_claims_list_of(db, JOBQ__CLAIMS_OPEN, lanes, size);
}

JOBQ__INTERNAL int jobq__store_open_next(struct jobq__db *db, const void *lanes, size_t size,
                                         size_t *at, int64_t *lane) {
    size_t used = jobq__store_unpack((const unsigned char *)lanes + *at, size - *at, lane);
    *at += used;
    if (used && *lane >= -JOBQ__NAME_ID_MAX && *lane < JOBQ__LANE_OWN_TIME) return JOBQ_OK;
    return jobq__db_fault(db, "jobq_claims", 1, "open", "is no list of gates");
}

JOBQ__INTERNAL int jobq__store_claims_have(struct jobq__db *db, int64_t id) {
    void *ids = NULL;
    size_t size, at = 0;
    int64_t other = 0;
    int rc = jobq__store_claims_get(db, &ids, &size);
    while (rc == JOBQ_OK && other != id && at < size)
        rc = jobq__store_claims_next(db, ids, size, &at, &other);
    jobq__mem_free(ids);
    return rc == JOBQ_OK && other != id ? jobq__store_nobodys(db, id) : rc;
}

JOBQ__INTERNAL int jobq__store_nobodys(struct jobq__db *db, int64_t id) {
    return jobq__db_fault(db, "jobq_row", id, "state", "is that of a claimed job, which jobq_claims"
                          " does not name");
}

/* ---- Settle ---- */

JOBQ__INTERNAL int jobq__store_drop_runs(struct jobq__db *db, int64_t first, int64_t last,
                                         int runs, int *changed) {
    sqlite3_stmt *s = jobq__store_bind_ids(db, JOBQ__SQL_DROP_RUNS, first, last);
    if (s) sqlite3_bind_int(s, 3, runs);
    return jobq__store_change(db, s, changed);
}

JOBQ__INTERNAL int jobq__store_drop(struct jobq__db *db, const struct jobq__row *was,
                                    int *changed) {
    return jobq__store_change(db, jobq__store_bind_fence(db, JOBQ__SQL_DROP_ONE, was->id,
                                                         was->state, was->runs), changed);
}

JOBQ__INTERNAL int jobq__store_finish_runs(struct jobq__db *db, int64_t first, int64_t last,
                                           int runs, int state, int64_t now_ms,
                                           int64_t prune_at_ms, int *changed) {
    sqlite3_stmt *s = jobq__store_bind_ids(db, JOBQ__SQL_FINISH_RUNS, first, last);
    if (s) {
        sqlite3_bind_int(s, 3, runs);
        sqlite3_bind_int(s, 4, state);
        sqlite3_bind_int64(s, 5, now_ms);
        sqlite3_bind_int64(s, 6, prune_at_ms);
    }
    return jobq__store_change(db, s, changed);
}

JOBQ__INTERNAL int jobq__store_finish(struct jobq__db *db, const struct jobq__row *was, int state,
                                      int64_t now_ms, int64_t prune_at_ms, int side, int *changed) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_END);
    if (s) {
        sqlite3_bind_int64(s, 1, was->id);
        sqlite3_bind_int(s, 2, state);
        sqlite3_bind_int64(s, 3, now_ms);
        sqlite3_bind_int64(s, 4, prune_at_ms);
        sqlite3_bind_int(s, 5, side);
        sqlite3_bind_int(s, 6, was->state);
        sqlite3_bind_int(s, 7, was->runs);
    }
    return jobq__store_change(db, s, changed);
}

JOBQ__INTERNAL int jobq__store_wish(struct jobq__db *db, int64_t id, int runs, int *changed) {
    return jobq__store_change(db, jobq__store_bind_ids(db, JOBQ__SQL_WISH, id, runs), changed);
}

JOBQ__INTERNAL int jobq__store_forgive(struct jobq__db *db, int64_t id, int runs, int side,
                                       int *changed) {
    sqlite3_stmt *s = jobq__store_bind_ids(db, JOBQ__SQL_FORGIVE, id, runs);
    if (s) sqlite3_bind_int(s, 3, side);
    return jobq__store_change(db, s, changed);
}

JOBQ__INTERNAL int jobq__store_key_free(struct jobq__db *db, int64_t kind, int64_t id, int side) {
    if (!(side & JOBQ__SIDE_KEY)) return JOBQ_OK;
    return jobq__store_change_beside(db, jobq__store_bind_ids(db, JOBQ__SQL_KEY_FREE, kind, id),
                                     "jobq_key", id);
}

static sqlite3_stmt *jobq__store_bind_id(struct jobq__db *db, enum jobq__sql which, int64_t id) {
    sqlite3_stmt *s = jobq__db_get(db, which);
    if (s) sqlite3_bind_int64(s, 1, id);
    return s;
}

JOBQ__INTERNAL int jobq__store_failed_add(struct jobq__db *db, int64_t prune_at_ms, int64_t id) {
    int changed, rc = jobq__store_change(db, jobq__store_bind_ids(db, JOBQ__SQL_FAILED_ADD,
                                                                  prune_at_ms, id), &changed);
    if (rc == JOBQ_OK && changed != 1)
        rc = jobq__db_fault(db, "jobq_failed", id, "the row", "is there already");
    return rc;
}

JOBQ__INTERNAL int jobq__store_failed_drop(struct jobq__db *db, int64_t id) {
    return jobq__store_change_beside(db, jobq__store_bind_id(db, JOBQ__SQL_FAILED_DROP, id),
                                     "jobq_failed", id);
}

JOBQ__INTERNAL int jobq__store_drop_side(struct jobq__db *db, int64_t kind, int64_t id, int side) {
    int rc = JOBQ_OK;
    if (side & JOBQ__SIDE_KEY)
        rc = jobq__store_change_beside(db, jobq__store_bind_ids(db, JOBQ__SQL_KEY_DROP, kind, id),
                                       "jobq_key", id);
    if (rc == JOBQ_OK && side & (JOBQ__SIDE_EXTRA | JOBQ__SIDE_KEY))
        rc = jobq__db_step(db, jobq__store_bind_id(db, JOBQ__SQL_EXTRA_DROP, id));
    if (rc == JOBQ_OK && side & JOBQ__SIDE_PAYLOAD)
        rc = jobq__store_change_beside(db, jobq__store_bind_id(db, JOBQ__SQL_PAYLOAD_DROP, id),
                                       "jobq_payload", id);
    return rc;
}

JOBQ__INTERNAL int jobq__store_extra(struct jobq__db *db, int64_t id, enum jobq__extra what,
                                     const void *data, size_t size) {
    static const enum jobq__sql which[] = {JOBQ__SQL_EXTRA_ERROR, JOBQ__SQL_EXTRA_RESULT,
                                           JOBQ__SQL_EXTRA_SAVED};
    sqlite3_stmt *s = jobq__db_get(db, which[what]);
    if (s) {
        sqlite3_bind_int64(s, 1, id);
        if (what == JOBQ__EXTRA_ERROR)
            s = jobq__store_bind_text(db, s, 2, data, (int)size);
        else if (data)
            sqlite3_bind_blob64(s, 2, data, size, SQLITE_STATIC);
        else
            sqlite3_bind_null(s, 2);
    }
    return jobq__db_step(db, s);
}

JOBQ__INTERNAL int jobq__store_unsave(struct jobq__db *db, int64_t id, int side) {
    if (!(side & JOBQ__SIDE_EXTRA)) return JOBQ_OK;
    return jobq__store_extra(db, id, JOBQ__EXTRA_SAVED, NULL, 0);
}

JOBQ__INTERNAL int jobq__store_saved(struct jobq__db *db, int64_t id, void **data, size_t *size) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_EXTRA_READ_SAVED);
    int64_t bytes;
    bool row;
    int rc;
    *data = NULL;
    *size = 0;
    if (s) sqlite3_bind_int64(s, 1, id);
    rc = jobq__column_next(db, s, &jobq__store_saved_columns, &bytes, &row);
    if (rc == JOBQ_OK && row) rc = jobq__store_copy(db, s, 0, bytes, data, size);
    jobq__db_reset(s);
    return rc;
}

JOBQ__INTERNAL int jobq__store_extra_max(struct jobq__db *db, int64_t *id) {
    return jobq__store_pick(db, jobq__db_get(db, JOBQ__SQL_EXTRA_MAX), &jobq__store_extra_columns,
                            0, id);
}

JOBQ__INTERNAL int jobq__store_payload_max(struct jobq__db *db, int64_t *id) {
    return jobq__store_pick(db, jobq__db_get(db, JOBQ__SQL_PAYLOAD_MAX),
                            &jobq__store_payloads_columns, 0, id);
}

/* ---- Housekeeping ---- */

static int jobq__store_drop_ended(struct jobq__db *db, int64_t id) {
    return jobq__store_change_row(db, jobq__store_bind_id(db, JOBQ__SQL_DROP, id), id);
}

static void jobq__store_prune_row(struct jobq__row *row, const int64_t *at) {
    memset(row, 0, sizeof *row);
    row->id = at[0];
    row->side = (int)at[1];
    row->state = (int)at[2];
    row->kind = (int32_t)at[4];
    row->queue = (int32_t)at[5];
}

static int jobq__store_prune_walk(struct jobq__db *db, sqlite3_stmt *s, int limit,
                                  struct jobq__prune *prune) {
    struct {
        int64_t id;
        int32_t kind;
        int side, state;
    } rows[JOBQ__PRUNE_ROWS];
    int64_t at[JOBQ__COUNT(jobq__store_prune_list)];
    struct jobq__row row;
    int n = 0, i, rc;
    bool more;
    limit = JOBQ__MIN(limit, JOBQ__PRUNE_ROWS);
    while ((rc = jobq__column_next(db, s, &jobq__store_prune_columns, at, &more)) == JOBQ_OK
           && more && n < limit) {
        jobq__store_prune_row(&row, at);
        prune->gone(prune->ctx, &row);
        rows[n].id = row.id;
        rows[n].kind = row.kind;
        rows[n].state = row.state;
        rows[n++].side = row.side;
    }
    jobq__db_reset(s);
    for (i = 0; i < n && rc == JOBQ_OK; i++) {
        if (rows[i].state == JOBQ__FAILED) rc = jobq__store_failed_drop(db, rows[i].id);
        if (rc == JOBQ_OK)
            rc = jobq__store_drop_side(db, rows[i].kind, rows[i].id, rows[i].side);
        if (rc == JOBQ_OK) rc = jobq__store_drop_ended(db, rows[i].id);
        prune->last_id = JOBQ__MAX(prune->last_id, rows[i].id);
    }
    prune->count += n;
    return rc;
}

JOBQ__INTERNAL int jobq__store_prune(struct jobq__db *db, int64_t now_ms, int limit,
                                     struct jobq__prune *prune) {
    return jobq__store_prune_walk(db, jobq__store_bind_ids(db, JOBQ__SQL_PRUNE_DUE, now_ms, limit),
                                  limit, prune);
}

JOBQ__INTERNAL int jobq__store_prune_oldest(struct jobq__db *db, int limit,
                                            struct jobq__prune *prune) {
    return jobq__store_prune_walk(db, jobq__store_bind_id(db, JOBQ__SQL_PRUNE_OLDEST, limit),
                                  limit, prune);
}

JOBQ__INTERNAL int jobq__store_prune_done(struct jobq__db *db, int limit,
                                          struct jobq__prune *prune) {
    return jobq__store_prune_walk(db, jobq__store_bind_ids(db, JOBQ__SQL_PRUNE_DONE, JOBQ_NEVER,
                                                           limit), limit, prune);
}

JOBQ__INTERNAL int jobq__store_prune_next(struct jobq__db *db, int64_t *at_ms) {
    return jobq__store_pick(db, jobq__db_get(db, JOBQ__SQL_PRUNE_NEXT),
                            &jobq__store_prune_at_columns, JOBQ_NEVER, at_ms);
}

JOBQ__INTERNAL int jobq__store_shrink(struct jobq__db *db, int64_t pages, int64_t until_us) {
    char text[64];
    sqlite3_snprintf(sizeof text, text, "PRAGMA incremental_vacuum(%lld)", (long long)pages);
    return jobq__db_exec_until(db, text, until_us);
}

/* ---- The claims row ---- */

JOBQ__INTERNAL size_t jobq__store_pack(unsigned char *to, int64_t previous, int64_t id) {
    uint64_t delta = (uint64_t)id - (uint64_t)previous;
    uint64_t zigzag = (delta << 1) ^ (delta >> 63 ? UINT64_MAX : 0);
    size_t size = 0;
    while (zigzag >= 0x80) {
        to[size++] = (unsigned char)(zigzag | 0x80);
        zigzag >>= 7;
    }
    to[size++] = (unsigned char)zigzag;
    return size;
}

JOBQ__INTERNAL size_t jobq__store_unpack(const unsigned char *from, size_t size, int64_t *id) {
    uint64_t zigzag = 0;
    size_t i;
    for (i = 0; i < size && i < JOBQ__PACK_MAX; i++) {
        zigzag |= (uint64_t)(from[i] & 0x7f) << (7 * i);
        if (!(from[i] & 0x80)) {
            uint64_t delta = (zigzag >> 1) ^ (zigzag & 1 ? UINT64_MAX : 0);
            *id = (int64_t)((uint64_t)*id + delta);
            return i + 1;
        }
    }
    return 0;
}
