/* audit_count.c - what the counters say against what their rows come to. */
#include "audit.h"

/* Design note.
 *
 * All rows that are counted are read, once, in the snapshot in which the counters are, and added up
 * by queue and kind: there are few of those pairs, and many rows. Where a row itself is not as it
 * should be nothing is told here: it is told where it stands, and nobody can count it.
 *
 * jobq_check calls it, as a part of its walk (audit.c). */

struct jobq__sums {
    struct jobq__count *pairs;  /* by queue and kind */
    size_t count, capacity;
    jobq__audit_differs *differs;
    void *ctx;
};

static const char *const jobq__sums_names[JOBQ__COUNTS] = {
    "ready", "scheduled", "blocked", "claimed", "done", "failed", "cancelled", "retrying"};

/* Where that pair stands, or would stand; *there: it does. */
static size_t jobq__sums_find(const struct jobq__sums *sums, int64_t queue, int64_t kind,
                              bool *there) {
    size_t low = 0, high = sums->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct jobq__count *pair = &sums->pairs[middle];
        if (pair->queue < queue || (pair->queue == queue && pair->kind < kind)) low = middle + 1;
        else high = middle;
    }
    *there = low < sums->count && sums->pairs[low].queue == queue
          && sums->pairs[low].kind == kind;
    return low;
}

/* NULL: no memory. */
static struct jobq__count *jobq__sums_of(struct jobq__sums *sums, const struct jobq__row *row) {
    bool there;
    size_t at = jobq__sums_find(sums, row->queue, row->kind, &there);
    if (there) return &sums->pairs[at];
    if (sums->count == sums->capacity) {
        size_t capacity = JOBQ__MAX(sums->capacity * 2, 16);
        void *pairs = jobq__mem_resize(sums->pairs, capacity, sizeof *sums->pairs);
        if (!pairs) return NULL;
        sums->pairs = pairs;
        sums->capacity = capacity;
    }
    memmove(&sums->pairs[at + 1], &sums->pairs[at], (sums->count - at) * sizeof *sums->pairs);
    sums->count++;
    memset(&sums->pairs[at], 0, sizeof *sums->pairs);
    sums->pairs[at].queue = row->queue;
    sums->pairs[at].kind = row->kind;
    return &sums->pairs[at];
}

static int jobq__sums_read(struct jobq__sums *sums, jobq__store *db, int64_t upto) {
    struct jobq__row row;
    jobq__walk *walk = jobq__store_uncounted(db, 0, upto);
    bool more;
    int rc;
    row.id = 0;
    while ((rc = jobq__store_next_uncounted(db, walk, &row, &more)) == JOBQ_OK && more) {
        struct jobq__count *pair = jobq__sums_of(sums, &row);
        if (!pair) {
            db->sqlite_code = SQLITE_NOMEM;
            rc = JOBQ_NO_MEMORY;
            break;
        }
        jobq__store_count_row(&row, pair->by);
    }
    jobq__store_end(walk);
    return rc;
}

static bool jobq__sums_tell(const struct jobq__sums *sums, int64_t queue, int64_t kind,
                            int counter, int64_t is, int64_t jobs) {
    return is == jobs
        || sums->differs(sums->ctx, queue, kind, jobq__sums_names[counter], is, jobs);
}

/* A row of counters that s stands on. What is in the sums is 0 from then on. */
static bool jobq__sums_compare(struct jobq__sums *sums, sqlite3_stmt *s) {
    int64_t queue = sqlite3_column_int64(s, 0), kind = sqlite3_column_int64(s, 1);
    bool there, goes_on = true;
    size_t at = jobq__sums_find(sums, queue, kind, &there);
    int i;
    for (i = 0; i < JOBQ__COUNTS && goes_on; i++) {
        int64_t jobs = there ? sums->pairs[at].by[i] : 0;
        bool number = sqlite3_column_type(s, 2 + i) == SQLITE_INTEGER;
        goes_on = jobq__sums_tell(sums, queue, kind, i,
                                  number ? sqlite3_column_int64(s, 2 + i) : -1, jobs);
        if (there) sums->pairs[at].by[i] = 0;
    }
    return goes_on;
}

static int jobq__sums_counters(struct jobq__sums *sums, jobq__store *db) {
    bool row = false;
    size_t at;
    int i;
    sqlite3_stmt *s;
    int rc = jobq__db_query(db, "SELECT one >> 32, one & 4294967295, ready, scheduled, blocked,"
                            " claimed, done, failed, cancelled, retrying FROM jobq_claims"
                            " WHERE one >= " JOBQ__TEXT_PAIRS, &s);
    do {
        if (rc == JOBQ_OK) rc = jobq__db_next(db, s, &row);
    } while (rc == JOBQ_OK && row && jobq__sums_compare(sums, s));
    sqlite3_finalize(s);
    for (at = 0; at < sums->count && rc == JOBQ_OK && !row; at++)
        for (i = 0; i < JOBQ__COUNTS; i++)
            if (!jobq__sums_tell(sums, sums->pairs[at].queue, sums->pairs[at].kind, i, 0,
                                 sums->pairs[at].by[i])) break;
    return rc;
}

/* The first statement is in the middle of its row until the end, so all of them see one moment. */
JOBQ__INTERNAL int jobq__audit_counts(jobq__store *db, jobq__audit_differs *differs, void *ctx) {
    struct jobq__sums sums = {NULL, 0, 0, differs, ctx};
    sqlite3_stmt *s;
    bool row = false;
    int rc = jobq__db_query(db, "SELECT counted FROM " JOBQ__TEXT_CLAIMS, &s);
    if (rc == JOBQ_OK) rc = jobq__db_next(db, s, &row);
    if (row && sqlite3_column_type(s, 0) == SQLITE_INTEGER) {
        rc = jobq__sums_read(&sums, db, sqlite3_column_int64(s, 0));
        if (rc == JOBQ_OK) rc = jobq__sums_counters(&sums, db);
        else if (rc == JOBQ_CORRUPT) rc = JOBQ_OK;
    }
    sqlite3_finalize(s);
    jobq__mem_free(sums.pairs);
    return rc;
}
