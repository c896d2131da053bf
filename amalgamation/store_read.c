/* store_read.c - what reads rows: get, list, count. */
#include "store.h"

/* Design note.
 *
 * Runs on the reader's connection (in a memory database on the writer's), one call one walk, and
 * every statement is reset before the call returns. A listing by state walks the index that holds
 * that state; its cursor is the index's key, so rows that come and go meanwhile are neither
 * repeated nor do they displace others. Failed rows are listed from jobq_failed, so that the many
 * that are done do not stand between. Claimed rows stand in no index: they are listed from the
 * claims row. Those of a key are found by jobq_key, whose rows of held and of free keys are merged:
 * by their ids a job has the same place whether it ends meanwhile or not.
 *
 * Who asks for one queue's waiting rows gets first its ready ones, which stand together, then from
 * the rest of the index those that wait for a time or before a gate, where all queues stand
 * mixed. A lane that is another queue's, or before the gate of another kind, is left with its first
 * row. */

/* JOBQ__TEXT_INFO */
enum { JOBQ__INFO_ID, JOBQ__INFO_STATE, JOBQ__INFO_LANE, JOBQ__INFO_PRIORITY, JOBQ__INFO_ATTEMPT,
       JOBQ__INFO_RUNS, JOBQ__INFO_CRASHES, JOBQ__INFO_SIDE, JOBQ__INFO_CREATED,
       JOBQ__INFO_RUN_AT, JOBQ__INFO_FINISHED, JOBQ__INFO_PAYLOAD, JOBQ__INFO_KIND,
       JOBQ__INFO_QUEUE, JOBQ__INFO_KEY, JOBQ__INFO_ERROR, JOBQ__INFO_RESULT, JOBQ__INFO_PRUNE_AT,
       JOBQ__INFO_ORD, JOBQ__INFO_END };

#define JOBQ__NUMBER_IN(name, min, max, null) {name, min, max, JOBQ__HOLDS_NUMBER, null}
#define JOBQ__TEXT_IN(name, min, max, null) {name, min, max, JOBQ__HOLDS_TEXT, null}

static const struct jobq__column jobq__store_info_list[] = {
    JOBQ__NUMBER_IN("id", 1, JOBQ__ID_MAX, false),
    JOBQ__NUMBER_IN("state", JOBQ__WAITING, JOBQ__CANCELLED, false),
    JOBQ__NUMBER_IN("lane", -JOBQ__NAME_ID_MAX, JOBQ__NAME_ID_MAX, true),
    JOBQ__NUMBER_IN("priority", INT32_MIN, INT32_MAX, false),
    JOBQ__NUMBER_IN("attempt", 1, INT32_MAX, false),
    JOBQ__NUMBER_IN("runs", 0, INT32_MAX, false),
    JOBQ__NUMBER_IN("crashes", 0, INT32_MAX, false),
    JOBQ__NUMBER_IN("side", 0, JOBQ__SIDE_ALL, false),
    JOBQ__NUMBER_IN("created_at", 0, JOBQ_NEVER, true),
    JOBQ__NUMBER_IN("run_at", 0, JOBQ_NEVER, false),
    JOBQ__NUMBER_IN("finished_at", 0, JOBQ_NEVER, true),
    JOBQ__NUMBER_IN("payload", 0, JOBQ_PAYLOAD_MAX, true),
    /* In a file of UTF-16 a byte that is no UTF-8 comes back as three. */
    JOBQ__TEXT_IN("the name of its kind", 1, 3 * JOBQ_NAME_MAX, false),
    JOBQ__TEXT_IN("the name of its queue", 1, 3 * JOBQ_NAME_MAX, false),
    JOBQ__TEXT_IN("key", 1, 3 * JOBQ_KEY_MAX, true),
    JOBQ__TEXT_IN("error", 0, 3 * JOBQ_TEXT_MAX, true),
    JOBQ__NUMBER_IN("result", 0, JOBQ_PAYLOAD_MAX, true),
    JOBQ__NUMBER_IN("prune_at", 0, JOBQ_NEVER, true),
    JOBQ__NUMBER_IN("ord", INT32_MIN, INT32_MAX, false),
};
static const struct jobq__columns jobq__store_info_columns =
    JOBQ__COLUMNS("jobq_row", jobq__store_info_list, JOBQ__INFO_ID);

static void jobq__store_column_text(sqlite3_stmt *s, int column, char *to, size_t capacity) {
    const char *text = (const char *)sqlite3_column_text(s, column);
    jobq__err_copy_text(to, capacity, text ? text : "");
}

/* The time at which a row of that lane is due, by the wall as it goes now. */
static int64_t jobq__store_run_at(const struct jobq__look *look, int64_t lane, int64_t at_ms) {
    return lane == JOBQ__LANE_OWN_TIME ? jobq__own_on_wall(look->now, at_ms) : at_ms;
}

/* What the columns of a row say together; NULL, or which of them cannot be true. */
static const char *jobq__store_info_wrong(const int64_t *at) {
    int64_t state = at[JOBQ__INFO_STATE];
    bool ended = jobq__state_terminal((int)state);
    bool waits = state == JOBQ__WAITING;
    if (waits && at[JOBQ__INFO_LANE] == JOBQ__NULL) return "lane";
    if (waits && at[JOBQ__INFO_ORD]
        && jobq__stored_stand(at[JOBQ__INFO_LANE]) == JOBQ__STANDS_TILL_DUE) return "ord";
    if (ended != (at[JOBQ__INFO_FINISHED] != JOBQ__NULL)) return "finished_at";
    if (ended != (at[JOBQ__INFO_PRUNE_AT] != JOBQ__NULL)) return "prune_at";
    return state == JOBQ__CLAIMED && at[JOBQ__INFO_RUNS] < 1 ? "runs" : NULL;
}

/* Asked while s stands on the row, so of the same moment. A handler in memory looks from within its
 * own transaction, but a job's transaction claims nothing. */
static int jobq__store_claimed_by(struct jobq__db *db, sqlite3_stmt *s, int64_t id) {
    int rc = jobq__store_claims_have(db, id);
    if (rc != JOBQ_OK) jobq__db_reset(s);
    return rc;
}

/* What jobq_failed or jobq_key says of a job is not so: it is not kept as a failed one until then,
 * or is of another kind, or has another key. */
static int jobq__store_not_so(struct jobq__db *db, sqlite3_stmt *s) {
    bool key = s == db->statements[JOBQ__SQL_INFO_KEY];
    int64_t job = sqlite3_column_int64(s, JOBQ__INFO_END);
    jobq__db_reset(s);
    return jobq__db_fault(db, key ? "jobq_key" : "jobq_failed", job, "the row",
                          key ? "is not that of its job's kind and key"
                              : "is not that of a failed job");
}

/* Of the row that s stands on. */
static int jobq__store_info_row(struct jobq__db *db, sqlite3_stmt *s, int64_t *at) {
    const char *wrong;
    int rc;
    if (sqlite3_column_type(s, JOBQ__INFO_ID) == SQLITE_NULL) return jobq__store_not_so(db, s);
    rc = jobq__column_read(db, s, &jobq__store_info_columns, at);
    if (rc != JOBQ_OK) return rc;
    wrong = jobq__store_info_wrong(at);
    if (wrong) {
        jobq__db_reset(s);
        return jobq__db_fault(db, "jobq_row", at[JOBQ__INFO_ID], wrong,
                              "does not agree with the rest");
    }
    if (at[JOBQ__INFO_STATE] != JOBQ__CLAIMED) return JOBQ_OK;
    return jobq__store_claimed_by(db, s, at[JOBQ__INFO_ID]);
}

/* Steps and reads the row's numbers; the texts are read from s. */
static int jobq__store_next_info(struct jobq__db *db, sqlite3_stmt *s, int64_t *at, bool *row) {
    int rc = jobq__db_next(db, s, row);
    if (rc == JOBQ_OK && *row) rc = jobq__store_info_row(db, s, at);
    *row = *row && rc == JOBQ_OK;
    return rc;
}

static int64_t jobq__store_or(int64_t value, int64_t otherwise) {
    return value == JOBQ__NULL ? otherwise : value;
}

static void jobq__store_read_info(const struct jobq__look *look, sqlite3_stmt *s,
                                  const int64_t *at, jobq_info *info) {
    int state = (int)at[JOBQ__INFO_STATE];
    int64_t lane = state == JOBQ__WAITING ? at[JOBQ__INFO_LANE] : JOBQ__LANE_NONE;
    memset(info, 0, sizeof *info);
    info->id = at[JOBQ__INFO_ID];
    info->state = jobq__state_public(state, state == JOBQ__CLAIMED
                                                && look->runs(look->ctx, info->id));
    info->parked = jobq__stored_stand(lane) == JOBQ__STANDS_AT_GATE;
    info->priority = (int)at[JOBQ__INFO_PRIORITY];
    info->attempt = (int)at[JOBQ__INFO_ATTEMPT];
    info->runs = (int)at[JOBQ__INFO_RUNS];
    info->crashes = (int)at[JOBQ__INFO_CRASHES];
    info->run_at_ms = jobq__store_run_at(look, lane, at[JOBQ__INFO_RUN_AT]);
    info->created_at_ms = jobq__store_or(at[JOBQ__INFO_CREATED], at[JOBQ__INFO_RUN_AT]);
    info->scheduled = jobq__stored_stand(lane) == JOBQ__STANDS_TILL_DUE
                   && info->run_at_ms > look->now.wall_ms;
    info->finished_at_ms = jobq__store_or(at[JOBQ__INFO_FINISHED], 0);
    info->payload_size = (size_t)jobq__store_or(at[JOBQ__INFO_PAYLOAD], 0);
    jobq__store_column_text(s, JOBQ__INFO_KIND, info->kind, sizeof info->kind);
    jobq__store_column_text(s, JOBQ__INFO_QUEUE, info->queue, sizeof info->queue);
    jobq__store_column_text(s, JOBQ__INFO_KEY, info->key, sizeof info->key);
    jobq__store_column_text(s, JOBQ__INFO_ERROR, info->error, sizeof info->error);
    info->result_size = (size_t)jobq__store_or(at[JOBQ__INFO_RESULT], 0);
    /* A claim that has not started is not a run yet. */
    if (state == JOBQ__CLAIMED && info->state == JOBQ_STATE_PENDING) info->runs--;
}

JOBQ__INTERNAL int jobq__store_info(const struct jobq__look *look, int64_t id, jobq_info *info,
                                    bool *claimed) {
    sqlite3_stmt *s = jobq__db_get(look->db, JOBQ__SQL_INFO);
    int64_t at[JOBQ__INFO_END];
    bool row;
    int rc;
    if (s) sqlite3_bind_int64(s, 1, id);
    rc = jobq__store_next_info(look->db, s, at, &row);
    if (rc != JOBQ_OK) return rc;
    *claimed = false;
    if (!row) return JOBQ_NOT_FOUND;
    jobq__store_read_info(look, s, at, info);
    *claimed = at[JOBQ__INFO_STATE] == JOBQ__CLAIMED && info->state == JOBQ_STATE_PENDING;
    jobq__db_reset(s);
    return JOBQ_OK;
}

static bool jobq__store_matches(const jobq_filter *filter, const jobq_info *info) {
    if (filter->state != JOBQ_STATE_NONE && filter->state != info->state) return false;
    if (filter->kind && strcmp(filter->kind, info->kind) != 0) return false;
    return !filter->queue || strcmp(filter->queue, info->queue) == 0;
}

/* One listing call: where its matches go and how many rows it may still look at. */
struct jobq__store_listing {
    const struct jobq__look *look;
    const jobq_filter *filter;
    jobq_cursor *cursor;
    jobq_info *infos;
    size_t capacity, count;
    int64_t budget;
};

enum { JOBQ__LIST_START, JOBQ__LIST_IDS, JOBQ__LIST_LIVE, JOBQ__LIST_CLAIMS,
       JOBQ__LIST_FINISHED, JOBQ__LIST_FAILED, JOBQ__LIST_KEY, JOBQ__LIST_READY, JOBQ__LIST_END };

static bool jobq__store_list_by_end(const jobq_cursor *cursor) {
    return cursor->stage == JOBQ__LIST_FINISHED || cursor->stage == JOBQ__LIST_FAILED;
}

static bool jobq__store_list_by_lane(const jobq_cursor *cursor) {
    return cursor->stage == JOBQ__LIST_LIVE || cursor->stage == JOBQ__LIST_READY;
}

/* NULL: any. Returns s, or NULL with db->sqlite_code set: in a file of UTF-16 it wants memory. */
static sqlite3_stmt *jobq__store_bind_name(struct jobq__db *db, sqlite3_stmt *s, int at,
                                           const char *name) {
    int code;
    if (!s) return NULL;
    code = name ? sqlite3_bind_text(s, at, name, -1, SQLITE_STATIC) : sqlite3_bind_null(s, at);
    if (code == SQLITE_OK) return s;
    db->sqlite_code = SQLITE_NOMEM;
    return NULL;
}

static sqlite3_stmt *jobq__store_list_walk(struct jobq__store_listing *list) {
    static const enum jobq__sql walks[] = {
        [JOBQ__LIST_IDS] = JOBQ__SQL_INFO_AFTER,
        [JOBQ__LIST_LIVE] = JOBQ__SQL_INFO_LIVE,
        [JOBQ__LIST_FINISHED] = JOBQ__SQL_INFO_FINISHED,
        [JOBQ__LIST_FAILED] = JOBQ__SQL_INFO_FAILED,
        [JOBQ__LIST_KEY] = JOBQ__SQL_INFO_KEY,
        [JOBQ__LIST_READY] = JOBQ__SQL_INFO_LIVE,
    };
    const int64_t *after = list->cursor->after;
    const jobq_filter *filter = list->filter;
    struct jobq__db *db = list->look->db;
    sqlite3_stmt *s = jobq__db_get(db, walks[list->cursor->stage]);
    if (!s) return NULL;
    sqlite3_bind_int64(s, 1, after[0]);
    sqlite3_bind_int64(s, 2, list->budget);
    if (jobq__store_list_by_end(list->cursor)) sqlite3_bind_int64(s, 3, after[1]);
    if (jobq__store_list_by_lane(list->cursor)) {
        sqlite3_bind_int64(s, 3, after[1]);
        sqlite3_bind_int64(s, 4, after[2]);
        sqlite3_bind_int64(s, 5, after[3]);
    }
    if (list->cursor->stage == JOBQ__LIST_KEY) {
        sqlite3_bind_int64(s, 5, jobq__store_lost_id(filter->kind));
        s = jobq__store_bind_name(db, s, 3, filter->kind);
        s = jobq__store_bind_name(db, s, 4, filter->key);
    }
    return s;
}

/* Moves the cursor to the row; it must be beyond, or a listing would never end. */
static int jobq__store_list_move(struct jobq__store_listing *list, const int64_t *at) {
    static const int ids[] = {JOBQ__INFO_ID}, finished[] = {JOBQ__INFO_PRUNE_AT, JOBQ__INFO_ID};
    static const int live[] = {JOBQ__INFO_LANE, JOBQ__INFO_ORD, JOBQ__INFO_RUN_AT, JOBQ__INFO_ID};
    bool by_end = jobq__store_list_by_end(list->cursor);
    bool by_lane = jobq__store_list_by_lane(list->cursor);
    const int *key = by_lane ? live : by_end ? finished : ids;
    int i, count = by_lane ? 4 : by_end ? 2 : 1;
    bool beyond = false, before = false;
    for (i = 0; i < count; i++) {
        int64_t *after = &list->cursor->after[i];
        beyond = beyond || (!before && at[key[i]] > *after);
        before = before || (!beyond && at[key[i]] < *after);
        *after = at[key[i]];
    }
    if (beyond) return JOBQ_OK;
    return jobq__db_fault(list->look->db, "jobq_row", at[JOBQ__INFO_ID], "the row",
                          "does not stand in order");
}

static void jobq__store_list_row(struct jobq__store_listing *list, sqlite3_stmt *s,
                                 const int64_t *at) {
    jobq_info *info = &list->infos[list->count];
    jobq__store_read_info(list->look, s, at, info);
    if (jobq__store_matches(list->filter, info)) list->count++;
    list->budget--;
}

/* ---- Lanes ---- */

static void jobq__store_list_behind(jobq_cursor *cursor, int64_t lane) {
    cursor->after[0] = lane;
    cursor->after[1] = cursor->after[2] = cursor->after[3] = INT64_MAX;
}

/* A lane of ready rows is one queue's, and one before a gate one kind's: what all of the row's lane
 * have to be called and are not, or NULL. */
static const char *jobq__store_list_other(const struct jobq__store_listing *list, int64_t lane,
                                          const jobq_info *info) {
    bool ready = lane > JOBQ__LANE_SUSPECT;
    const char *wanted = ready ? list->filter->queue : list->filter->kind;
    if (!jobq__store_list_by_lane(list->cursor) || !wanted) return NULL;
    if (!ready && lane >= JOBQ__LANE_OWN_TIME) return NULL;
    return strcmp(wanted, ready ? info->queue : info->kind) != 0 ? wanted : NULL;
}

static const struct jobq__column jobq__store_called_list[] = {
    JOBQ__NUMBER_IN("id", -JOBQ__NAME_ID_MAX, JOBQ__NAME_ID_MAX, true)};
static const struct jobq__columns jobq__store_called_columns =
    JOBQ__COLUMNS("jobq_name", jobq__store_called_list, -1);

/* Moves the cursor from a lane to before the next one that is called so; if there is none, beyond
 * all that are of a queue, or of a kind. */
static int jobq__store_list_jump(struct jobq__store_listing *list, int64_t lane,
                                 const char *name) {
    struct jobq__db *db = list->look->db;
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_LANE_CALLED);
    int64_t lost = jobq__store_lost_id(name), next;
    bool ready = lane > JOBQ__LANE_SUSPECT, row;
    int rc;
    if (s) {
        sqlite3_bind_int(s, 1, ready ? JOBQ__NAME_QUEUE : JOBQ__NAME_KIND);
        if (lost) sqlite3_bind_int64(s, 3, ready ? lost : -lost);
        else sqlite3_bind_null(s, 3);
        sqlite3_bind_int64(s, 4, lane);
        s = jobq__store_bind_name(db, s, 2, name);
    }
    rc = jobq__column_one(db, s, &jobq__store_called_columns, &next, &row);
    if (rc != JOBQ_OK) return rc;
    next = jobq__store_or(next, JOBQ__NAME_ID_MAX + (int64_t)1);
    if (!ready) next = JOBQ__MIN(next, JOBQ__LANE_OWN_TIME);
    jobq__store_list_behind(list->cursor, next - 1);
    return JOBQ_OK;
}

/* Ready rows, which were listed before. */
static bool jobq__store_list_over(const struct jobq__store_listing *list, const int64_t *at) {
    return list->filter->queue && list->cursor->stage == JOBQ__LIST_LIVE
        && at[JOBQ__INFO_LANE] > JOBQ__LANE_SCHEDULED;
}

/* Walks one index; *end when it has no more rows. Returns before that where a lane is left. */
static int jobq__store_list_index(struct jobq__store_listing *list, bool *end) {
    sqlite3_stmt *s = jobq__store_list_walk(list);
    const jobq_info *info;
    const char *other;
    int64_t at[JOBQ__INFO_END];
    bool row = true;
    int rc = JOBQ_OK;
    while (list->count < list->capacity && list->budget > 0) {
        rc = jobq__store_next_info(list->look->db, s, at, &row);
        row = row && !jobq__store_list_over(list, at);
        if (rc == JOBQ_OK && row) rc = jobq__store_list_move(list, at);
        if (rc != JOBQ_OK || !row) break;
        info = &list->infos[list->count];
        jobq__store_list_row(list, s, at);
        other = jobq__store_list_other(list, at[JOBQ__INFO_LANE], info);
        if (!other) continue;
        rc = jobq__store_list_jump(list, at[JOBQ__INFO_LANE], other);
        break;
    }
    *end = !row;
    jobq__db_reset(s);
    return rc;
}

/* Claimed rows, in the order of the claims row, above the id that the cursor names. */
static int jobq__store_list_claims(struct jobq__store_listing *list, bool *end) {
    sqlite3_stmt *s = jobq__db_get(list->look->db, JOBQ__SQL_INFO);
    int64_t last = list->cursor->after[0];
    int rc = s ? JOBQ_OK : jobq__db_code(list->look->db->sqlite_code);
    *end = false;
    while (rc == JOBQ_OK && !*end && list->count < list->capacity && list->budget > 0) {
        void *ids = NULL;
        size_t size, at = 0;
        int64_t id = 0, next = INT64_MAX, info[JOBQ__INFO_END];
        bool row;
        /* The smallest claimed id above the last one: the set changes between calls. */
        rc = jobq__store_claims_get(list->look->db, &ids, &size);
        while (rc == JOBQ_OK && at < size) {
            rc = jobq__store_claims_next(list->look->db, ids, size, &at, &id);
            if (id > last && id < next) next = id;
        }
        jobq__mem_free(ids);
        *end = next == INT64_MAX;
        if (rc != JOBQ_OK || *end) break;
        list->cursor->after[0] = last = next;
        sqlite3_bind_int64(s, 1, next);
        rc = jobq__store_next_info(list->look->db, s, info, &row);
        if (rc == JOBQ_OK && row) jobq__store_list_row(list, s, info);
        jobq__db_reset(s);
    }
    return rc;
}

static void jobq__store_list_stage(jobq_cursor *cursor, int stage) {
    int i;
    cursor->stage = stage;
    for (i = 0; i < 4; i++) cursor->after[i] = stage == JOBQ__LIST_LIVE ? INT64_MIN : 0;
    if (jobq__store_list_by_end(cursor)) cursor->after[0] = INT64_MIN;
    if (stage == JOBQ__LIST_READY) jobq__store_list_behind(cursor, JOBQ__LANE_SCHEDULED);
    cursor->done = stage == JOBQ__LIST_END;
}

static int jobq__store_list_next_stage(const jobq_filter *filter, int stage) {
    jobq_state state = filter->state;
    switch (stage) {
    case JOBQ__LIST_START:
        if (filter->key) return JOBQ__LIST_KEY;
        if (state == JOBQ_STATE_NONE) return JOBQ__LIST_IDS;
        if (state == JOBQ_STATE_PENDING)
            return filter->queue ? JOBQ__LIST_READY : JOBQ__LIST_LIVE;
        if (state == JOBQ_STATE_RUNNING) return JOBQ__LIST_CLAIMS;
        return state == JOBQ_STATE_FAILED ? JOBQ__LIST_FAILED : JOBQ__LIST_FINISHED;
    case JOBQ__LIST_READY: return JOBQ__LIST_LIVE;
    case JOBQ__LIST_LIVE: return JOBQ__LIST_CLAIMS;
    default: return JOBQ__LIST_END;
    }
}

static const struct jobq__column jobq__store_any_list[] = {JOBQ__NUMBER_IN("any", 0, 1, false)};
static const struct jobq__columns jobq__store_any_columns =
    JOBQ__COLUMNS("jobq_claims", jobq__store_any_list, -1);

/* A name that the file has lost is called by its number, which no name says. */
static bool jobq__store_may_be_lost(const char *name) {
    return name && strncmp(name, "lost:", 5) == 0;
}

/* *any: false if no such job is there, as the counters say, and the few jobs that are not counted
 * yet: then there is nothing to walk for. In a transaction they may be behind. */
static int jobq__store_list_any(const struct jobq__store_listing *list, bool *any) {
    static const int sets[] = {[JOBQ_STATE_NONE] = 31, [JOBQ_STATE_PENDING] = 3,
                               [JOBQ_STATE_RUNNING] = 2, [JOBQ_STATE_DONE] = 4,
                               [JOBQ_STATE_FAILED] = 8, [JOBQ_STATE_CANCELLED] = 16};
    const jobq_filter *filter = list->filter;
    struct jobq__db *db = list->look->db;
    int64_t answer = 1;
    sqlite3_stmt *s;
    bool row;
    int rc;
    *any = true;
    if ((!filter->kind && !filter->queue) || filter->key || jobq__db_in_transaction(db)
        || jobq__store_may_be_lost(filter->kind) || jobq__store_may_be_lost(filter->queue))
        return JOBQ_OK;
    s = jobq__db_get(db, JOBQ__SQL_INFO_ANY);
    if (s) {
        sqlite3_bind_int(s, 3, sets[filter->state]);
        sqlite3_bind_int64(s, 4, 2 * JOBQ__UNCOUNTED_MAX);
        s = jobq__store_bind_name(db, s, 1, filter->kind);
        s = jobq__store_bind_name(db, s, 2, filter->queue);
    }
    rc = jobq__column_one(db, s, &jobq__store_any_columns, &answer, &row);
    *any = rc == JOBQ_OK && (!row || answer);
    return rc;
}

JOBQ__INTERNAL bool jobq__store_cursor_valid(const jobq_cursor *cursor,
                                             const jobq_filter *filter) {
    if (cursor->stage == JOBQ__LIST_START || cursor->stage == JOBQ__LIST_END)
        return cursor->done == (cursor->stage == JOBQ__LIST_END);
    return cursor->stage > JOBQ__LIST_START && cursor->stage < JOBQ__LIST_END && !cursor->done
        && (cursor->stage == JOBQ__LIST_KEY) == (filter->key != NULL);
}

JOBQ__INTERNAL int jobq__store_list(const struct jobq__look *look, const jobq_filter *filter,
                                    jobq_cursor *cursor, jobq_info *infos, size_t capacity,
                                    size_t *count) {
    struct jobq__store_listing list = {look, filter, cursor, infos, capacity, 0, 0};
    int rc = JOBQ_OK;
    list.budget = filter->rows_max;
    while (rc == JOBQ_OK && !cursor->done && list.count < capacity && list.budget > 0) {
        bool end = cursor->stage == JOBQ__LIST_START, any = true;
        if (end) rc = jobq__store_list_any(&list, &any);
        if (rc != JOBQ_OK) break;
        if (!any) jobq__store_list_stage(cursor, JOBQ__LIST_END);
        if (!any) break;
        if (cursor->stage == JOBQ__LIST_CLAIMS) rc = jobq__store_list_claims(&list, &end);
        else if (!end) rc = jobq__store_list_index(&list, &end);
        if (end)
            jobq__store_list_stage(cursor,
                                   jobq__store_list_next_stage(filter, cursor->stage));
    }
    *count = list.count;
    return rc;
}

/* JOBQ__SQL_PAYLOAD, of a row that has the bytes, and of one that has their number. */
static const struct jobq__column jobq__store_inline_list[] = {
    JOBQ__NUMBER_IN("id", 1, JOBQ__ID_MAX, false),
    JOBQ__NUMBER_IN("payload", 1, JOBQ_PAYLOAD_MAX, true),
    {"payload", 0, JOBQ_PAYLOAD_MAX, JOBQ__HOLDS_BLOB, true}};
static const struct jobq__columns jobq__store_inline_columns =
    JOBQ__COLUMNS("jobq_row", jobq__store_inline_list, 0);

static const struct jobq__column jobq__store_apart_list[] = {
    JOBQ__NUMBER_IN("id", 1, JOBQ__ID_MAX, false),
    JOBQ__NUMBER_IN("payload", 1, JOBQ_PAYLOAD_MAX, true),
    {"data", 0, JOBQ_PAYLOAD_MAX, JOBQ__HOLDS_BLOB, true}};
static const struct jobq__columns jobq__store_apart_columns =
    JOBQ__COLUMNS("jobq_payload", jobq__store_apart_list, 0);

static const struct jobq__column jobq__store_result_list[] = {
    JOBQ__NUMBER_IN("job", 1, JOBQ__ID_MAX, false),
    JOBQ__NUMBER_IN("payload", 1, JOBQ_PAYLOAD_MAX, true),
    {"result", 0, JOBQ_PAYLOAD_MAX, JOBQ__HOLDS_BLOB, true}};
static const struct jobq__columns jobq__store_result_columns =
    JOBQ__COLUMNS("jobq_extra", jobq__store_result_list, 0);

/* Reads what s stands on; *size: of the blob, which is whole. */
static int jobq__store_read_blob(struct jobq__db *db, sqlite3_stmt *s, bool result,
                                 size_t *size) {
    int64_t at[3];
    const struct jobq__columns *what = &jobq__store_result_columns;
    int rc = jobq__column_part(db, s, &jobq__store_inline_columns, 0, 2, at);
    if (rc != JOBQ_OK) return rc;
    if (!result)
        what = at[1] == JOBQ__NULL ? &jobq__store_inline_columns : &jobq__store_apart_columns;
    rc = jobq__column_part(db, s, what, 2, 3, at);
    if (rc == JOBQ_OK && at[1] != JOBQ__NULL && at[1] != at[2]) {
        jobq__db_reset(s);
        rc = jobq__store_payload_wrong(db, at[0], at[2] != JOBQ__NULL);
    }
    *size = rc == JOBQ_OK ? (size_t)jobq__store_or(at[2], 0) : 0;
    return rc;
}

JOBQ__INTERNAL int jobq__store_blob(const struct jobq__look *look, int64_t id, bool result,
                                    void *buffer, size_t capacity, size_t *size) {
    sqlite3_stmt *s = jobq__db_get(look->db, result ? JOBQ__SQL_RESULT : JOBQ__SQL_PAYLOAD);
    const void *blob;
    bool row;
    int rc;
    *size = 0;
    if (s) sqlite3_bind_int64(s, 1, id);
    rc = jobq__db_next(look->db, s, &row);
    if (rc != JOBQ_OK) return rc;
    if (!row) return JOBQ_NOT_FOUND;
    rc = jobq__store_read_blob(look->db, s, result, size);
    if (rc != JOBQ_OK) return rc;
    blob = sqlite3_column_blob(s, 2);
    rc = jobq__db_read(look->db, s);
    if (rc != JOBQ_OK) return rc;
    if (blob && capacity) memcpy(buffer, blob, JOBQ__MIN(capacity, *size));
    jobq__db_reset(s);
    return JOBQ_OK;
}
