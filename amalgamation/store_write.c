/* store_write.c - what changes rows: enqueue, claim, settle, promote, recover. */
#include "store.h"

/* ---- Binding ---- */

static void jobq__store_bind_row(sqlite3_stmt *s, int at, const struct jobq__row *row) {
    bool ready = row->state == JOBQ__WAITING && row->lane > JOBQ__LANE_SCHEDULED;
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
    if (row->size)
        sqlite3_bind_blob64(s, at + 12, row->payload, row->size, SQLITE_STATIC);
    else
        sqlite3_bind_null(s, at + 12);
}

#define JOBQ__ROW_PARAMETERS 12

/* Steps and reports the rows changed. */
static int jobq__store_change(struct jobq__db *db, sqlite3_stmt *s, int *changed) {
    int rc = jobq__db_step(db, s);
    if (changed) *changed = rc == JOBQ_OK ? sqlite3_changes(db->handle) : 0;
    return rc;
}

/* ---- Transactions ---- */

JOBQ__INTERNAL int jobq__store_begin(struct jobq__db *db) {
    int rc = JOBQ_OK;
    /* There may have been no memory to end the last one. */
    if (jobq__db_in_transaction(db)) rc = jobq__db_do(db, JOBQ__SQL_ROLLBACK);
    return rc == JOBQ_OK ? jobq__db_do(db, JOBQ__SQL_BEGIN) : rc;
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

JOBQ__INTERNAL int jobq__store_sync(struct jobq__db *db) {
    return jobq__db_do(db, JOBQ__SQL_SYNC);
}

JOBQ__INTERNAL void jobq__store_rollback(struct jobq__db *db) {
    int sqlite_code = db->sqlite_code;
    if (jobq__db_in_transaction(db)) jobq__db_do(db, JOBQ__SQL_ROLLBACK);
    db->sqlite_code = sqlite_code;
}

/* ---- Names ---- */

/* The first column of a one-row statement, or fallback. */
static int jobq__store_pick(struct jobq__db *db, sqlite3_stmt *s, int64_t fallback,
                            int64_t *value) {
    bool row;
    int rc = jobq__db_next(db, s, &row);
    *value = fallback;
    if (row) {
        if (sqlite3_column_type(s, 0) != SQLITE_NULL) *value = sqlite3_column_int64(s, 0);
        jobq__db_reset(s);
    }
    return rc;
}

JOBQ__INTERNAL int jobq__store_name_find(struct jobq__db *db, const char *name, int64_t *id) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_NAME_ID);
    if (s) sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
    return jobq__store_pick(db, s, 0, id);
}

JOBQ__INTERNAL int jobq__store_name_add(struct jobq__db *db, const char *name, int64_t *id) {
    sqlite3_stmt *s;
    int64_t count;
    int rc = jobq__store_pick(db, jobq__db_get(db, JOBQ__SQL_NAME_COUNT), 0, &count);
    if (rc != JOBQ_OK) return rc;
    if (count > JOBQ_NAMES_MAX) {
        db->sqlite_code = SQLITE_OK; /* it is not the disk */
        return JOBQ_FULL;
    }
    s = jobq__db_get(db, JOBQ__SQL_NAME_ADD);
    if (s) sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
    rc = jobq__db_step(db, s);
    *id = rc == JOBQ_OK ? sqlite3_last_insert_rowid(db->handle) : 0;
    return rc;
}

JOBQ__INTERNAL int jobq__store_name_text(struct jobq__db *db, int64_t id, char *text) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_NAME_TEXT);
    bool row;
    int rc;
    if (s) sqlite3_bind_int64(s, 1, id);
    rc = jobq__db_next(db, s, &row);
    if (rc != JOBQ_OK) return rc;
    if (!row) return JOBQ_NOT_FOUND;
    jobq__err_copy_text(text, JOBQ_NAME_MAX + 1, (const char *)sqlite3_column_text(s, 0));
    jobq__db_reset(s);
    return JOBQ_OK;
}

/* ---- Enqueue ---- */

JOBQ__INTERNAL int jobq__store_max_id(struct jobq__db *db, int64_t *id) {
    return jobq__store_pick(db, jobq__db_get(db, JOBQ__SQL_MAX_ID), 0, id);
}

JOBQ__INTERNAL int jobq__store_insert(struct jobq__db *db, const struct jobq__row *rows,
                                      size_t count, bool *taken) {
    size_t i, done = 0;
    int rc = JOBQ_OK;
    *taken = false;
    while (done < count && rc == JOBQ_OK) {
        size_t part = count - done >= JOBQ__INSERT_ROWS ? JOBQ__INSERT_ROWS : 1;
        sqlite3_stmt *s = jobq__db_get(db, part > 1 ? JOBQ__SQL_INSERT_MANY : JOBQ__SQL_INSERT);
        for (i = 0; s && i < part; i++) {
            jobq__assert(jobq__state_legal(JOBQ__NEW, rows[done + i].state));
            jobq__store_bind_row(s, (int)i * JOBQ__ROW_PARAMETERS, &rows[done + i]);
        }
        rc = jobq__db_step(db, s);
        done += part;
    }
    if (rc != JOBQ_OK && (db->sqlite_code & 0xff) == SQLITE_CONSTRAINT) *taken = true;
    return rc;
}

static sqlite3_stmt *jobq__store_bind_key(struct jobq__db *db, enum jobq__sql which,
                                          int64_t kind, const char *key) {
    sqlite3_stmt *s = jobq__db_get(db, which);
    if (!s) return NULL;
    sqlite3_bind_int64(s, 1, kind);
    sqlite3_bind_text(s, 2, key, -1, SQLITE_STATIC);
    return s;
}

JOBQ__INTERNAL int jobq__store_key_find(struct jobq__db *db, int64_t kind, const char *key,
                                        int64_t *id) {
    return jobq__store_pick(db, jobq__store_bind_key(db, JOBQ__SQL_UNIQUE_FIND, kind, key), 0, id);
}

JOBQ__INTERNAL int jobq__store_key_add(struct jobq__db *db, int64_t kind, const char *key,
                                       int64_t id, bool *taken) {
    sqlite3_stmt *s = jobq__store_bind_key(db, JOBQ__SQL_UNIQUE_ADD, kind, key);
    int rc;
    if (s) sqlite3_bind_int64(s, 3, id);
    rc = jobq__db_step(db, s);
    if (rc == JOBQ_OK)
        rc = jobq__db_step(db, jobq__store_bind_key(db, JOBQ__SQL_EXTRA_KEY, id, key));
    *taken = rc != JOBQ_OK && (db->sqlite_code & 0xff) == SQLITE_CONSTRAINT;
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

JOBQ__INTERNAL int jobq__store_key_holder(struct jobq__db *db, int64_t kind, int64_t id,
                                          int64_t *holder) {
    return jobq__store_pick(db, jobq__store_bind_ids(db, JOBQ__SQL_UNIQUE_HOLDER, kind, id), 0,
                            holder);
}

JOBQ__INTERNAL int jobq__store_key_again(struct jobq__db *db, int64_t kind, int64_t id,
                                         bool *taken) {
    int rc = jobq__db_step(db, jobq__store_bind_ids(db, JOBQ__SQL_UNIQUE_AGAIN, kind, id));
    *taken = rc != JOBQ_OK && (db->sqlite_code & 0xff) == SQLITE_CONSTRAINT;
    return rc;
}

/* ---- Claim ---- */

JOBQ__INTERNAL sqlite3_stmt *jobq__store_ready(struct jobq__db *db, int64_t lane, int limit) {
    return jobq__store_bind_ids(db, JOBQ__SQL_READY, lane, limit);
}

JOBQ__INTERNAL sqlite3_stmt *jobq__store_due(struct jobq__db *db, int64_t now_ms, int limit) {
    return jobq__store_bind_ids(db, JOBQ__SQL_DUE, now_ms, limit);
}

JOBQ__INTERNAL sqlite3_stmt *jobq__store_by_id(struct jobq__db *db, int64_t id) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_ROW);
    if (s) sqlite3_bind_int64(s, 1, id);
    return s;
}

JOBQ__INTERNAL int jobq__store_next(struct jobq__db *db, sqlite3_stmt *s, struct jobq__row *row,
                                    bool *more) {
    int rc = jobq__db_next(db, s, more);
    if (!*more) return rc;
    row->id = sqlite3_column_int64(s, 0);
    row->state = sqlite3_column_int(s, 1);
    row->lane = sqlite3_column_type(s, 2) == SQLITE_NULL ? JOBQ__LANE_NONE
                                                         : sqlite3_column_int(s, 2);
    row->run_at_ms = sqlite3_column_int64(s, 3);
    row->kind = sqlite3_column_int(s, 4);
    row->queue = sqlite3_column_int(s, 5);
    row->priority = sqlite3_column_int(s, 6);
    row->attempt = sqlite3_column_int(s, 7);
    row->runs = sqlite3_column_int(s, 8);
    row->crashes = sqlite3_column_int(s, 9);
    row->delay_ms = sqlite3_column_int64(s, 10);
    row->created_at_ms = sqlite3_column_type(s, 11) == SQLITE_NULL ? row->run_at_ms
                                                                   : sqlite3_column_int64(s, 11);
    row->side = sqlite3_column_int(s, 12);
    row->payload = sqlite3_column_blob(s, 13);
    row->size = (size_t)sqlite3_column_bytes(s, 13);
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

JOBQ__INTERNAL int jobq__store_claim(struct jobq__db *db, int64_t first, int64_t last,
                                     int *changed) {
    jobq__assert(jobq__state_legal(JOBQ__WAITING, JOBQ__CLAIMED));
    return jobq__store_change(db, jobq__store_bind_ids(db, JOBQ__SQL_CLAIM, first, last),
                              changed);
}

static sqlite3_stmt *jobq__store_bind_lane(struct jobq__db *db, enum jobq__sql which, int64_t id,
                                           int64_t lane, int ord) {
    sqlite3_stmt *s = jobq__store_bind_ids(db, which, id, lane);
    if (s) sqlite3_bind_int(s, 3, ord);
    return s;
}

JOBQ__INTERNAL int jobq__store_move(struct jobq__db *db, int64_t id, int64_t lane, int ord) {
    return jobq__db_step(db, jobq__store_bind_lane(db, JOBQ__SQL_MOVE, id, lane, ord));
}

JOBQ__INTERNAL int jobq__store_give_back(struct jobq__db *db, int64_t id, int64_t lane, int ord,
                                         int *changed) {
    jobq__assert(jobq__state_legal(JOBQ__CLAIMED, JOBQ__WAITING));
    return jobq__store_change(db, jobq__store_bind_lane(db, JOBQ__SQL_GIVE_BACK, id, lane, ord),
                              changed);
}

JOBQ__INTERNAL int jobq__store_next_due(struct jobq__db *db, int64_t *at_ms) {
    return jobq__store_pick(db, jobq__db_get(db, JOBQ__SQL_NEXT_DUE), JOBQ_NEVER, at_ms);
}

JOBQ__INTERNAL int jobq__store_lane_after(struct jobq__db *db, int64_t lane, int64_t *next) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_LANE_AFTER);
    if (s) sqlite3_bind_int64(s, 1, lane);
    return jobq__store_pick(db, s, 0, next);
}

JOBQ__INTERNAL int jobq__store_claims_set(struct jobq__db *db, const void *ids, size_t size,
                                          int64_t last_id) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_CLAIMS_SET);
    if (s) {
        if (size) sqlite3_bind_blob64(s, 1, ids, size, SQLITE_STATIC);
        else sqlite3_bind_null(s, 1);
        sqlite3_bind_int64(s, 2, last_id);
    }
    return jobq__db_step(db, s);
}

/* A copy of the first column of a one-row statement. */
static int jobq__store_copy(struct jobq__db *db, sqlite3_stmt *s, void **data, size_t *size) {
    bool row;
    int rc = jobq__db_next(db, s, &row);
    *data = NULL;
    *size = 0;
    if (!row) return rc;
    if (sqlite3_column_type(s, 0) != SQLITE_NULL) {
        const void *blob = sqlite3_column_blob(s, 0);
        *size = (size_t)sqlite3_column_bytes(s, 0);
        *data = jobq__mem_copy(blob, *size);
        if (!*data) {
            db->sqlite_code = SQLITE_NOMEM;
            rc = JOBQ_NO_MEMORY;
        }
    }
    jobq__db_reset(s);
    return rc;
}

JOBQ__INTERNAL int jobq__store_claims_get(struct jobq__db *db, void **ids, size_t *size) {
    return jobq__store_copy(db, jobq__db_get(db, JOBQ__SQL_CLAIMS_GET), ids, size);
}

/* ---- Settle ---- */

JOBQ__INTERNAL int jobq__store_drop_runs(struct jobq__db *db, int64_t first, int64_t last,
                                         int runs, int *changed) {
    sqlite3_stmt *s = jobq__store_bind_ids(db, JOBQ__SQL_DROP_RUNS, first, last);
    if (s) sqlite3_bind_int(s, 3, runs);
    return jobq__store_change(db, s, changed);
}

JOBQ__INTERNAL int jobq__store_finish_runs(struct jobq__db *db, int64_t first, int64_t last,
                                           int runs, int state, int64_t now_ms,
                                           int64_t prune_at_ms, int *changed) {
    sqlite3_stmt *s = jobq__store_bind_ids(db, JOBQ__SQL_FINISH_RUNS, first, last);
    jobq__assert(jobq__state_legal(JOBQ__CLAIMED, state));
    if (s) {
        sqlite3_bind_int(s, 3, runs);
        sqlite3_bind_int(s, 4, state);
        sqlite3_bind_int64(s, 5, now_ms);
        sqlite3_bind_int64(s, 6, prune_at_ms);
    }
    return jobq__store_change(db, s, changed);
}

JOBQ__INTERNAL int jobq__store_requeue(struct jobq__db *db, const struct jobq__row *row, int ord,
                                       int *changed) {
    sqlite3_stmt *s = jobq__store_bind_ids(db, JOBQ__SQL_REQUEUE, row->id, row->runs);
    jobq__assert(jobq__state_legal(JOBQ__CLAIMED, JOBQ__WAITING));
    if (s) {
        sqlite3_bind_int64(s, 3, row->lane);
        sqlite3_bind_int(s, 4, ord);
        sqlite3_bind_int64(s, 5, row->run_at_ms);
        sqlite3_bind_int(s, 6, row->attempt);
        sqlite3_bind_int64(s, 7, row->delay_ms);
        sqlite3_bind_int(s, 8, row->crashes);
        sqlite3_bind_int(s, 9, row->side);
    }
    return jobq__store_change(db, s, changed);
}

JOBQ__INTERNAL int jobq__store_finish(struct jobq__db *db, int64_t id, int from, int runs,
                                      int state, int64_t now_ms, int64_t prune_at_ms, int side,
                                      int *changed) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_END);
    jobq__assert(jobq__state_legal(from, state));
    if (s) {
        sqlite3_bind_int64(s, 1, id);
        sqlite3_bind_int(s, 2, state);
        sqlite3_bind_int64(s, 3, now_ms);
        sqlite3_bind_int64(s, 4, prune_at_ms);
        sqlite3_bind_int(s, 5, side);
        sqlite3_bind_int(s, 6, from);
        sqlite3_bind_int(s, 7, runs);
    }
    return jobq__store_change(db, s, changed);
}

JOBQ__INTERNAL int jobq__store_revive(struct jobq__db *db, int64_t id, int64_t lane, int ord,
                                      int64_t run_at_ms) {
    sqlite3_stmt *s = jobq__store_bind_lane(db, JOBQ__SQL_REVIVE, id, lane, ord);
    if (s) sqlite3_bind_int64(s, 4, run_at_ms);
    return jobq__db_step(db, s);
}

JOBQ__INTERNAL int jobq__store_forgive(struct jobq__db *db, int64_t id, int side) {
    return jobq__db_step(db, jobq__store_bind_ids(db, JOBQ__SQL_FORGIVE, id, side));
}

JOBQ__INTERNAL int jobq__store_key_drop(struct jobq__db *db, int64_t kind, int64_t id, int side) {
    if (!(side & JOBQ__SIDE_KEY)) return JOBQ_OK;
    return jobq__db_step(db, jobq__store_bind_ids(db, JOBQ__SQL_UNIQUE_DROP, kind, id));
}

static int jobq__store_step_id(struct jobq__db *db, enum jobq__sql which, int64_t id) {
    sqlite3_stmt *s = jobq__db_get(db, which);
    if (s) sqlite3_bind_int64(s, 1, id);
    return jobq__db_step(db, s);
}

JOBQ__INTERNAL int jobq__store_drop(struct jobq__db *db, int64_t kind, int64_t id, int side) {
    int rc = jobq__store_key_drop(db, kind, id, side);
    if (rc == JOBQ_OK && side) rc = jobq__store_step_id(db, JOBQ__SQL_EXTRA_DROP, id);
    if (rc == JOBQ_OK) rc = jobq__store_step_id(db, JOBQ__SQL_DROP, id);
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
            sqlite3_bind_text(s, 2, data, (int)size, SQLITE_STATIC);
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
    if (s) sqlite3_bind_int64(s, 1, id);
    return jobq__store_copy(db, s, data, size);
}

/* ---- Housekeeping ---- */

static int jobq__store_prune_walk(struct jobq__db *db, enum jobq__sql which, int64_t a,
                                  int64_t b, int *count, int64_t *last_id) {
    struct {
        int64_t id;
        int side;
    } rows[JOBQ__PRUNE_ROWS];
    sqlite3_stmt *s = jobq__store_bind_ids(db, which, a, b);
    int n = 0, i, rc;
    bool more;
    while ((rc = jobq__db_next(db, s, &more)) == JOBQ_OK && more && n < JOBQ__PRUNE_ROWS) {
        rows[n].id = sqlite3_column_int64(s, 0);
        rows[n++].side = sqlite3_column_int(s, 1);
    }
    if (s) jobq__db_reset(s);
    /* A key went when its job ended. */
    for (i = 0; i < n && rc == JOBQ_OK; i++) {
        rc = jobq__store_drop(db, 0, rows[i].id, rows[i].side & ~JOBQ__SIDE_KEY);
        *last_id = JOBQ__MAX(*last_id, rows[i].id);
    }
    *count += n;
    return rc;
}

JOBQ__INTERNAL int jobq__store_prune(struct jobq__db *db, int64_t now_ms, int64_t keep_max,
                                     int limit, int *count, int64_t *last_id) {
    int rc;
    *count = 0;
    rc = jobq__store_prune_walk(db, JOBQ__SQL_PRUNE_DUE, now_ms, limit, count, last_id);
    if (rc == JOBQ_OK && keep_max != INT64_MAX && *count < limit)
        rc = jobq__store_prune_walk(db, JOBQ__SQL_PRUNE_OVER, limit - *count, keep_max, count,
                                    last_id);
    return rc;
}

JOBQ__INTERNAL int jobq__store_prune_done(struct jobq__db *db, int limit, int *count,
                                          int64_t *last_id) {
    *count = 0;
    return jobq__store_prune_walk(db, JOBQ__SQL_PRUNE_DONE, JOBQ_NEVER, limit, count, last_id);
}

JOBQ__INTERNAL int jobq__store_prune_next(struct jobq__db *db, int64_t *at_ms) {
    return jobq__store_pick(db, jobq__db_get(db, JOBQ__SQL_PRUNE_NEXT), JOBQ_NEVER, at_ms);
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
