/* store_count.c - how many jobs are where, by queue and kind. */
#include "store.h"

/* Design note.
 *
 * The counters are sums, of jobs up to claims.counted; who changes a counted job adds the change
 * in the same transaction (tx_count.c). Who asks adds what stands above that id, in one snapshot.
 * Where a hand from outside has given jobs another name, one pair has too many and another too few,
 * even fewer than none; the doctor finds that, and has all counted anew. Fewer than none of all
 * pairs together is damage. */

#define JOBQ__COUNT_IN(name, min) {name, min, JOBQ__ID_MAX, JOBQ__HOLDS_NUMBER, false}
#define JOBQ__SUM_IN(name) JOBQ__COUNT_IN(name, -JOBQ__ID_MAX)

static const struct jobq__column jobq__store_sum_list[] = {
    JOBQ__SUM_IN("ready"), JOBQ__SUM_IN("scheduled"), JOBQ__SUM_IN("blocked"),
    JOBQ__SUM_IN("claimed"), JOBQ__SUM_IN("done"), JOBQ__SUM_IN("failed"),
    JOBQ__SUM_IN("cancelled"), JOBQ__SUM_IN("retrying")};
static const struct jobq__columns jobq__store_sum_columns =
    JOBQ__COLUMNS("jobq_claims", jobq__store_sum_list, -1);

static const struct jobq__column jobq__store_counted_list[] = {
    JOBQ__COUNT_IN("counted", 0)};
static const struct jobq__columns jobq__store_counted_columns =
    JOBQ__COLUMNS("jobq_claims", jobq__store_counted_list, -1);

static const struct jobq__column jobq__store_number_list[] = {JOBQ__COUNT_IN("count", 0)};
static const struct jobq__columns jobq__store_number_columns =
    JOBQ__COLUMNS("jobq_row or jobq_claims", jobq__store_number_list, -1);

enum { JOBQ__UNCOUNTED_ID, JOBQ__UNCOUNTED_QUEUE, JOBQ__UNCOUNTED_KIND, JOBQ__UNCOUNTED_STATE,
       JOBQ__UNCOUNTED_LANE, JOBQ__UNCOUNTED_ATTEMPT, JOBQ__UNCOUNTED_END };

static const struct jobq__column jobq__store_uncounted_list[] = {
    {"id", 1, JOBQ__ID_MAX, JOBQ__HOLDS_NUMBER, false},
    {"queue", JOBQ__LANE_SUSPECT + 1, JOBQ__NAME_ID_MAX, JOBQ__HOLDS_NUMBER, false},
    {"kind", JOBQ__LANE_SUSPECT + 1, JOBQ__NAME_ID_MAX, JOBQ__HOLDS_NUMBER, false},
    {"state", JOBQ__WAITING, JOBQ__CANCELLED, JOBQ__HOLDS_NUMBER, false},
    {"lane", -(int64_t)JOBQ__NAME_ID_MAX, JOBQ__NAME_ID_MAX, JOBQ__HOLDS_NUMBER, true},
    {"attempt", 1, INT32_MAX, JOBQ__HOLDS_NUMBER, false}};
static const struct jobq__columns jobq__store_uncounted_columns =
    JOBQ__COLUMNS("jobq_row", jobq__store_uncounted_list, JOBQ__UNCOUNTED_ID);

/* JOBQ__TEXT_PAIRS is before the pair of the lowest ids that a queue and a kind can have. */
typedef char jobq__store_pairs[(INT64_C(1) + JOBQ__LANE_SUSPECT) << 32 == 8589934592 ? 1 : -1];

JOBQ__INTERNAL int jobq__store_counted(struct jobq__db *db, int64_t *id) {
    bool row;
    return jobq__column_one(db, jobq__db_get(db, JOBQ__SQL_COUNTED),
                            &jobq__store_counted_columns, id, &row);
}

JOBQ__INTERNAL int jobq__store_count_anew(struct jobq__db *db) {
    return jobq__db_exec(db, "DELETE FROM jobq_claims WHERE one >= " JOBQ__TEXT_PAIRS "; UPDATE"
                         " jobq_claims SET counted = 0 WHERE one = 1");
}

JOBQ__INTERNAL int jobq__store_count_add(struct jobq__db *db, const struct jobq__count *count) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_COUNT_ADD);
    int i;
    if (s) {
        sqlite3_bind_int(s, 1, count->queue);
        sqlite3_bind_int(s, 2, count->kind);
        for (i = 0; i < JOBQ__COUNTS; i++) sqlite3_bind_int64(s, 3 + i, count->by[i]);
    }
    return jobq__db_step(db, s);
}

JOBQ__INTERNAL jobq__walk *jobq__store_uncounted(struct jobq__db *db, int64_t after,
                                                 int64_t upto) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_UNCOUNTED);
    if (!s) return NULL;
    sqlite3_bind_int64(s, 1, after);
    sqlite3_bind_int64(s, 2, upto);
    return s;
}

JOBQ__INTERNAL int jobq__store_next_uncounted(struct jobq__db *db, jobq__walk *walk,
                                              struct jobq__row *row, bool *more) {
    const char *column = "lane", *wrong = NULL;
    int64_t at[JOBQ__UNCOUNTED_END], before = row->id;
    int rc = jobq__column_next(db, walk, &jobq__store_uncounted_columns, at, more);
    if (rc != JOBQ_OK || !*more) return rc;
    row->id = at[JOBQ__UNCOUNTED_ID];
    row->queue = (int32_t)at[JOBQ__UNCOUNTED_QUEUE];
    row->kind = (int32_t)at[JOBQ__UNCOUNTED_KIND];
    row->state = (int)at[JOBQ__UNCOUNTED_STATE];
    row->lane = at[JOBQ__UNCOUNTED_LANE] == JOBQ__NULL ? JOBQ__LANE_NONE
                                                       : (int32_t)at[JOBQ__UNCOUNTED_LANE];
    row->attempt = (int)at[JOBQ__UNCOUNTED_ATTEMPT];
    if (row->state == JOBQ__WAITING && row->lane == JOBQ__LANE_NONE)
        wrong = "does not agree with the rest";
    if (row->id <= before) {
        column = "the row";
        wrong = "does not stand in order";
    }
    if (!wrong) return rc;
    *more = false;
    jobq__db_reset(walk);
    return jobq__db_fault(db, "jobq_row", row->id, column, wrong);
}

JOBQ__INTERNAL int jobq__store_count_as(const struct jobq__row *row, int state) {
    switch (state) {
    case JOBQ__WAITING:
        switch (jobq__stored_stand(row->lane)) {
        case JOBQ__STANDS_IN_LINE: return JOBQ__COUNT_READY;
        case JOBQ__STANDS_TILL_DUE: return JOBQ__COUNT_SCHEDULED;
        default: return JOBQ__COUNT_BLOCKED;
        }
    case JOBQ__CLAIMED: return JOBQ__COUNT_CLAIMED;
    case JOBQ__DONE: return JOBQ__COUNT_DONE;
    case JOBQ__FAILED: return JOBQ__COUNT_FAILED;
    case JOBQ__CANCELLED: return JOBQ__COUNT_CANCELLED;
    default: return JOBQ__COUNT_NOTHING;
    }
}

JOBQ__INTERNAL bool jobq__store_retries(const struct jobq__row *row, int state) {
    return state == JOBQ__WAITING && row->attempt > 1;
}

JOBQ__INTERNAL void jobq__store_count_row(const struct jobq__row *row, int64_t *by) {
    int as = jobq__store_count_as(row, row->state);
    jobq__assert(as < JOBQ__COUNTS);
    if (as < JOBQ__COUNTS) by[as]++;
    by[JOBQ__COUNT_RETRYING] += jobq__store_retries(row, row->state);
}

static int jobq__store_number(struct jobq__db *db, sqlite3_stmt *s, int64_t *number) {
    bool row;
    return jobq__column_one(db, s, &jobq__store_number_columns, number, &row);
}

JOBQ__INTERNAL int jobq__store_ended(struct jobq__db *db, int64_t *count) {
    return jobq__store_number(db, jobq__db_get(db, JOBQ__SQL_ENDED), count);
}

#ifdef JOBQ_DEBUG
JOBQ__INTERNAL int jobq__store_miscounted(struct jobq__db *db, int64_t *pairs) {
    return jobq__db_number(db, "WITH counted AS (SELECT one >> 32, one & 4294967295, ready,"
        " scheduled, blocked, claimed, retrying, done, failed, cancelled FROM jobq_claims WHERE"
        " one >= " JOBQ__TEXT_PAIRS " AND (ready OR scheduled OR blocked OR claimed OR retrying"
        " OR done OR failed OR cancelled)), rows AS (SELECT queue, kind,"
        " sum(state = 0 AND lane > 0), sum(state = 0 AND lane IN (0, -1)),"
        " sum(state = 0 AND lane < -1), sum(state = 1), sum(state = 0 AND attempt > 1),"
        " sum(state = 2), sum(state = 3), sum(state = 4) FROM jobq_row"
        " WHERE id <= (SELECT counted FROM " JOBQ__TEXT_CLAIMS ") GROUP BY queue, kind)"
        " SELECT count(*) FROM"
        " (SELECT * FROM (SELECT * FROM counted EXCEPT SELECT * FROM rows) UNION ALL"
        " SELECT * FROM (SELECT * FROM rows EXCEPT SELECT * FROM counted))", 0, pairs);
}
#endif

/* ---- For who asks ---- */

static int jobq__store_sums(struct jobq__db *db, int64_t *by) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_COUNTS);
    int64_t at[JOBQ__COUNTS];
    bool row;
    int i, rc;
    while ((rc = jobq__column_next(db, s, &jobq__store_sum_columns, at, &row)) == JOBQ_OK && row)
        for (i = 0; i < JOBQ__COUNTS; i++) by[i] = jobq__add(by[i], at[i]);
    jobq__db_reset(s);
    for (i = 0; i < JOBQ__COUNTS && rc == JOBQ_OK; i++)
        if (by[i] < 0 || by[i] > JOBQ__ID_MAX)
            rc = jobq__db_fault(db, "jobq_claims", 0, jobq__store_sum_list[i].name,
                                "is no number of jobs, all in all");
    return rc;
}

static int jobq__store_add_uncounted(struct jobq__db *db, int64_t *by) {
    struct jobq__row row;
    sqlite3_stmt *s;
    int64_t counted;
    bool more;
    int rc = jobq__store_counted(db, &counted);
    if (rc != JOBQ_OK) return rc;
    row.id = counted;
    s = jobq__store_uncounted(db, counted, JOBQ__ID_MAX);
    while ((rc = jobq__store_next_uncounted(db, s, &row, &more)) == JOBQ_OK && more)
        jobq__store_count_row(&row, by);
    jobq__db_reset(s);
    return rc;
}

/* Jobs that are claimed, and of those the ones that a handler has. */
static int jobq__store_count_running(const struct jobq__look *look, int64_t *running) {
    void *ids = NULL;
    size_t size, at = 0;
    int64_t id = 0;
    int rc = jobq__store_claims_get(look->db, &ids, &size);
    while (rc == JOBQ_OK && at < size) {
        rc = jobq__store_claims_next(look->db, ids, size, &at, &id);
        if (rc == JOBQ_OK && look->runs(look->ctx, id)) ++*running;
    }
    jobq__mem_free(ids);
    return rc;
}

static int jobq__store_count_all(const struct jobq__look *look, int64_t *by, int64_t *due,
                                 int64_t *running) {
    sqlite3_stmt *s = jobq__db_get(look->db, JOBQ__SQL_COUNT_DUE);
    int rc;
    if (s) {
        sqlite3_bind_int64(s, 1, look->now.wall_ms);
        sqlite3_bind_int64(s, 2, look->now.own_ms);
    }
    rc = jobq__store_number(look->db, s, due);
    if (rc == JOBQ_OK) rc = jobq__store_sums(look->db, by);
    if (rc == JOBQ_OK) rc = jobq__store_add_uncounted(look->db, by);
    return rc == JOBQ_OK ? jobq__store_count_running(look, running) : rc;
}

JOBQ__INTERNAL int jobq__store_count(const struct jobq__look *look, jobq_counts *counts) {
    struct jobq__db *db = look->db;
    int64_t by[JOBQ__COUNTS] = {0}, due = 0, running = 0;
    bool snapshot = !jobq__db_in_transaction(db);
    int rc = snapshot ? jobq__db_do(db, JOBQ__SQL_BEGIN_READ) : JOBQ_OK, end = JOBQ_OK;
    if (rc == JOBQ_OK) rc = jobq__store_count_all(look, by, &due, &running);
    if (snapshot && jobq__db_in_transaction(db)) end = jobq__db_do(db, JOBQ__SQL_COMMIT);
    if (rc == JOBQ_OK) rc = end;
    if (rc != JOBQ_OK) return rc;
    due = JOBQ__MIN(due, by[JOBQ__COUNT_SCHEDULED]);
    running = JOBQ__MIN(running, by[JOBQ__COUNT_CLAIMED]);
    counts->scheduled = by[JOBQ__COUNT_SCHEDULED] - due;
    counts->ready = by[JOBQ__COUNT_READY] + due + by[JOBQ__COUNT_CLAIMED] - running;
    counts->parked = by[JOBQ__COUNT_BLOCKED];
    counts->running = running;
    counts->done = by[JOBQ__COUNT_DONE];
    counts->failed = by[JOBQ__COUNT_FAILED];
    counts->cancelled = by[JOBQ__COUNT_CANCELLED];
    return JOBQ_OK;
}
