/* store_read.c - what reads rows: get, list, count. */
#include "store.h"

/* Design note.
 *
 * Runs on the reader's connection (in a memory database on the writer's), one call one walk, and
 * every statement is reset before the call returns. A listing by state walks the index that holds
 * that state; its cursor is the index's key, so rows that come and go meanwhile are neither
 * repeated nor do they displace others. Claimed rows stand in no index: they are listed from the
 * claims row. */

JOBQ__INTERNAL int64_t jobq__store_page_size(struct jobq__db *db) {
    int64_t size;
    return jobq__db_number(db, "PRAGMA page_size", 0, &size) == JOBQ_OK ? size : 0;
}

static int64_t jobq__store_pages(struct jobq__db *db, const char *pragma) {
    int64_t pages;
    if (jobq__db_number(db, pragma, 0, &pages) != JOBQ_OK) return 0;
    return pages * jobq__store_page_size(db);
}

JOBQ__INTERNAL int64_t jobq__store_bytes(struct jobq__db *db) {
    return jobq__store_pages(db, "PRAGMA page_count");
}

JOBQ__INTERNAL int64_t jobq__store_free_bytes(struct jobq__db *db) {
    return jobq__store_pages(db, "PRAGMA freelist_count");
}

JOBQ__INTERNAL int64_t jobq__store_growth(struct jobq__db *db) {
    return jobq__store_bytes(db) - jobq__db_file_size(db);
}

static void jobq__store_column_text(sqlite3_stmt *s, int column, char *to, size_t capacity) {
    const char *text = (const char *)sqlite3_column_text(s, column);
    jobq__err_copy_text(to, capacity, text ? text : "");
}

static void jobq__store_read_info(const struct jobq__look *look, sqlite3_stmt *s,
                                  jobq_info *info) {
    int state = sqlite3_column_int(s, 1);
    int64_t lane = sqlite3_column_int64(s, 2);
    bool waiting = sqlite3_column_type(s, 2) != SQLITE_NULL;
    memset(info, 0, sizeof *info);
    info->id = sqlite3_column_int64(s, 0);
    info->state = jobq__state_public(state, state == JOBQ__CLAIMED
                                                && look->runs(look->ctx, info->id));
    info->parked = waiting && lane < 0;
    info->priority = sqlite3_column_int(s, 3);
    info->attempt = sqlite3_column_int(s, 4);
    info->runs = sqlite3_column_int(s, 5);
    info->crashes = sqlite3_column_int(s, 6);
    info->created_at_ms = sqlite3_column_int64(s, 7);
    info->run_at_ms = sqlite3_column_int64(s, 8);
    info->scheduled = waiting && lane == JOBQ__LANE_SCHEDULED && info->run_at_ms > look->now_ms;
    info->finished_at_ms = sqlite3_column_int64(s, 9);
    info->payload_size = (size_t)sqlite3_column_int64(s, 10);
    jobq__store_column_text(s, 11, info->kind, sizeof info->kind);
    jobq__store_column_text(s, 12, info->queue, sizeof info->queue);
    jobq__store_column_text(s, 13, info->key, sizeof info->key);
    jobq__store_column_text(s, 14, info->error, sizeof info->error);
    info->result_size = (size_t)sqlite3_column_int64(s, 15);
    /* A claim that has not started is not a run yet. */
    if (state == JOBQ__CLAIMED && info->state == JOBQ_STATE_PENDING) info->runs--;
}

JOBQ__INTERNAL int jobq__store_info(const struct jobq__look *look, int64_t id, jobq_info *info,
                                    bool *claimed) {
    sqlite3_stmt *s = jobq__db_get(look->db, JOBQ__SQL_INFO);
    bool row;
    int rc;
    if (s) sqlite3_bind_int64(s, 1, id);
    rc = jobq__db_next(look->db, s, &row);
    if (rc != JOBQ_OK) return rc;
    *claimed = false;
    if (!row) return JOBQ_NOT_FOUND;
    jobq__store_read_info(look, s, info);
    *claimed = sqlite3_column_int(s, 1) == JOBQ__CLAIMED && info->state == JOBQ_STATE_PENDING;
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
       JOBQ__LIST_FINISHED, JOBQ__LIST_END };

static sqlite3_stmt *jobq__store_list_walk(struct jobq__store_listing *list) {
    static const enum jobq__sql walks[] = {
        [JOBQ__LIST_IDS] = JOBQ__SQL_INFO_AFTER,
        [JOBQ__LIST_LIVE] = JOBQ__SQL_INFO_LIVE,
        [JOBQ__LIST_FINISHED] = JOBQ__SQL_INFO_FINISHED,
    };
    const int64_t *after = list->cursor->after;
    sqlite3_stmt *s = jobq__db_get(list->look->db, walks[list->cursor->stage]);
    if (!s) return NULL;
    sqlite3_bind_int64(s, 1, after[0]);
    sqlite3_bind_int64(s, 2, list->budget);
    if (list->cursor->stage == JOBQ__LIST_FINISHED) sqlite3_bind_int64(s, 3, after[1]);
    if (list->cursor->stage == JOBQ__LIST_LIVE) {
        sqlite3_bind_int64(s, 3, after[1]);
        sqlite3_bind_int64(s, 4, after[2]);
        sqlite3_bind_int64(s, 5, after[3]);
    }
    return s;
}

static void jobq__store_list_move(struct jobq__store_listing *list, sqlite3_stmt *s) {
    int64_t *after = list->cursor->after;
    switch (list->cursor->stage) {
    case JOBQ__LIST_IDS:
        after[0] = sqlite3_column_int64(s, 0);
        break;
    case JOBQ__LIST_FINISHED:
        after[0] = sqlite3_column_int64(s, 16);
        after[1] = sqlite3_column_int64(s, 0);
        break;
    default:
        after[0] = sqlite3_column_int64(s, 2);
        after[1] = sqlite3_column_int64(s, 17);
        after[2] = sqlite3_column_int64(s, 8);
        after[3] = sqlite3_column_int64(s, 0);
    }
}

static void jobq__store_list_row(struct jobq__store_listing *list, sqlite3_stmt *s) {
    jobq_info *info = &list->infos[list->count];
    jobq__store_read_info(list->look, s, info);
    if (jobq__store_matches(list->filter, info)) list->count++;
    list->budget--;
}

/* Walks one index; *end when it has no more rows. */
static int jobq__store_list_index(struct jobq__store_listing *list, bool *end) {
    sqlite3_stmt *s = jobq__store_list_walk(list);
    bool row = true;
    int rc = JOBQ_OK;
    while (list->count < list->capacity && list->budget > 0) {
        rc = jobq__db_next(list->look->db, s, &row);
        if (rc != JOBQ_OK || !row) break;
        jobq__store_list_move(list, s);
        jobq__store_list_row(list, s);
    }
    *end = !row;
    if (s) jobq__db_reset(s);
    return rc;
}

/* Claimed rows, in the order of the claims row, above the id that the cursor names. */
static int jobq__store_list_claims(struct jobq__store_listing *list, bool *end) {
    sqlite3_stmt *s = jobq__db_get(list->look->db, JOBQ__SQL_INFO);
    int64_t last = list->cursor->after[0];
    int rc = s ? JOBQ_OK : jobq__db_code(list->look->db->sqlite_code);
    *end = false;
    while (rc == JOBQ_OK && !*end && list->count < list->capacity && list->budget > 0) {
        unsigned char *ids = NULL;
        size_t size, at = 0, used;
        int64_t id = 0, next = INT64_MAX;
        bool row;
        /* The smallest claimed id above the last one: the set changes between calls. */
        rc = jobq__store_claims_get(list->look->db, (void **)&ids, &size);
        while (rc == JOBQ_OK && (used = jobq__store_unpack(ids + at, size - at, &id)) > 0) {
            at += used;
            if (id > last && id < next) next = id;
        }
        jobq__mem_free(ids);
        *end = next == INT64_MAX;
        if (rc != JOBQ_OK || *end) break;
        list->cursor->after[0] = last = next;
        sqlite3_bind_int64(s, 1, next);
        rc = jobq__db_next(list->look->db, s, &row);
        if (rc == JOBQ_OK && row) jobq__store_list_row(list, s);
        jobq__db_reset(s);
    }
    return rc;
}

static void jobq__store_list_stage(jobq_cursor *cursor, int stage) {
    int i;
    cursor->stage = stage;
    for (i = 0; i < 4; i++) cursor->after[i] = stage == JOBQ__LIST_LIVE ? INT64_MIN : 0;
    if (stage == JOBQ__LIST_FINISHED) cursor->after[0] = INT64_MIN;
    cursor->done = stage == JOBQ__LIST_END;
}

static int jobq__store_list_next_stage(jobq_state state, int stage) {
    switch (stage) {
    case JOBQ__LIST_START:
        if (state == JOBQ_STATE_NONE) return JOBQ__LIST_IDS;
        if (state == JOBQ_STATE_PENDING) return JOBQ__LIST_LIVE;
        return state == JOBQ_STATE_RUNNING ? JOBQ__LIST_CLAIMS : JOBQ__LIST_FINISHED;
    case JOBQ__LIST_LIVE: return JOBQ__LIST_CLAIMS;
    default: return JOBQ__LIST_END;
    }
}

JOBQ__INTERNAL bool jobq__store_cursor_valid(const jobq_cursor *cursor) {
    return cursor->stage >= JOBQ__LIST_START && cursor->stage <= JOBQ__LIST_END
        && cursor->done == (cursor->stage == JOBQ__LIST_END);
}

JOBQ__INTERNAL int jobq__store_list(const struct jobq__look *look, const jobq_filter *filter,
                                    jobq_cursor *cursor, jobq_info *infos, size_t capacity,
                                    size_t *count) {
    struct jobq__store_listing list = {look, filter, cursor, infos, capacity, 0, 0};
    int rc = JOBQ_OK;
    list.budget = filter->rows_max > 0 ? filter->rows_max : JOBQ__ROWS_MAX;
    while (rc == JOBQ_OK && !cursor->done && list.count < capacity && list.budget > 0) {
        bool end = cursor->stage == JOBQ__LIST_START;
        if (cursor->stage == JOBQ__LIST_CLAIMS) rc = jobq__store_list_claims(&list, &end);
        else if (!end) rc = jobq__store_list_index(&list, &end);
        if (end)
            jobq__store_list_stage(cursor,
                                   jobq__store_list_next_stage(filter->state, cursor->stage));
    }
    *count = list.count;
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
    blob = sqlite3_column_blob(s, 0);
    *size = (size_t)sqlite3_column_bytes(s, 0);
    if (blob && capacity) memcpy(buffer, blob, JOBQ__MIN(capacity, *size));
    jobq__db_reset(s);
    return JOBQ_OK;
}

static void jobq__store_count_row(const struct jobq__look *look, int64_t id, int state,
                                  int64_t lane, int64_t run_at_ms, jobq_counts *counts) {
    if (state == JOBQ__CLAIMED && look->runs(look->ctx, id)) counts->running++;
    else if (state == JOBQ__CLAIMED) counts->ready++;
    else if (state == JOBQ__DONE) counts->done++;
    else if (state == JOBQ__FAILED) counts->failed++;
    else if (state == JOBQ__CANCELLED) counts->cancelled++;
    else if (lane < 0) counts->parked++;
    else if (lane == JOBQ__LANE_SCHEDULED && run_at_ms > look->now_ms) counts->scheduled++;
    else counts->ready++;
}

JOBQ__INTERNAL int jobq__store_count(const struct jobq__look *look, int64_t *after,
                                     jobq_counts *counts, bool *done) {
    sqlite3_stmt *s = jobq__db_get(look->db, JOBQ__SQL_COUNT);
    int rows = 0, rc;
    bool row;
    if (s) {
        sqlite3_bind_int64(s, 1, *after);
        sqlite3_bind_int(s, 2, JOBQ__COUNT_ROWS);
    }
    while ((rc = jobq__db_next(look->db, s, &row)) == JOBQ_OK && row) {
        *after = sqlite3_column_int64(s, 0);
        jobq__store_count_row(look, *after, sqlite3_column_int(s, 1), sqlite3_column_int64(s, 2),
                              sqlite3_column_int64(s, 3), counts);
        rows++;
    }
    *done = rows < JOBQ__COUNT_ROWS;
    return rc;
}
