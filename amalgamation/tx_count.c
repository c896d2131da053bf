/* tx_count.c - how many jobs are where: what a transaction adds to the counters. */
#include "tx_count.h"

/* Design note.
 *
 * The counters say how many jobs of each queue and kind are in which state: of all jobs, that is,
 * whose id is not above claims.counted. Those above are counted when somebody asks, as they stand
 * then. So a job that is stored alone writes nothing here, and nothing when it changes, until its
 * id is counted; most are gone by then.
 *
 * The door notes each change (tx_shift); neighbours that do the same are one note. Before COMMIT
 * those of counted jobs are written (tx_count), those of others are kept in memory, as sums, after
 * it (q->uncounted). When so many jobs are not counted that who asks would have to read too much,
 * they become counted: all at once from these sums, if they are whole; else a slice at a time, by
 * reading how they stand at the end of the transaction.
 *
 * The sums are whole as long as nobody else has stored a job above claims.counted: the highest id
 * has grown by the jobs that were stored here, and by no others. They are not after a job's
 * transaction that has stored some, of which the handler may have undone a part, nor when memory
 * was out.
 *
 * Only an owner counts ids, so nobody moves claims.counted under another. A handler that commits by
 * itself, past jobq, may have changed counted rows that the counters know nothing of: the next
 * transaction begins to count anew (q->recount, tx_fill).
 *
 * Invariant, checked by the doctor: the counters are what counting the rows up to claims.counted
 * comes to. */

/* ---- Notes ---- */

static bool jobq__tx_shift_same(const struct jobq__shift *a, const struct jobq__shift *b) {
    return a->queue == b->queue && a->kind == b->kind && a->from == b->from && a->to == b->to
        && a->retries == b->retries;
}

/* Without memory for it the transaction cannot be committed: tx_count says so. */
static void jobq__tx_shift_add(struct jobq__shifts *shifts, const struct jobq__shift *shift) {
    if (shifts->count > shifts->mark
        && jobq__tx_shift_same(&shifts->list[shifts->count - 1], shift)) {
        shifts->list[shifts->count - 1].jobs++;
        return;
    }
    if (shifts->count == shifts->capacity) {
        size_t capacity = shifts->capacity ? shifts->capacity * 2 : 16;
        void *list = jobq__mem_resize(shifts->list, capacity, sizeof *shifts->list);
        if (!list) shifts->lost = true;
        if (!list) return;
        shifts->list = list;
        shifts->capacity = capacity;
    }
    shifts->list[shifts->count++] = *shift;
}

static struct jobq__shift jobq__tx_shift_of(const struct jobq__row *was, int from,
                                            const struct jobq__row *now, int to) {
    struct jobq__shift shift;
    shift.queue = now->queue;
    shift.kind = now->kind;
    shift.jobs = 1;
    shift.from = jobq__store_count_as(was, from);
    shift.to = jobq__store_count_as(now, to);
    shift.retries = jobq__store_retries(now, to) - jobq__store_retries(was, from);
    return shift;
}

JOBQ__INTERNAL void jobq__tx_shift(struct jobq__tx *tx, const struct jobq__row *was, int from,
                                   const struct jobq__row *now, int to) {
    struct jobq__shift shift;
    jobq__assert(was->id > 0 && was->id == now->id);
    if (tx->q->client) return;
    shift = jobq__tx_shift_of(was, from, now, to);
    if (shift.from == shift.to && !shift.retries) return;
    jobq__tx_shift_add(was->id > tx->counted ? &tx->loose : &tx->shifts, &shift);
}

/* ---- Sums ---- */

static void jobq__tx_count_shift(struct jobq__count *sum, const struct jobq__shift *shift) {
    if (shift->from != JOBQ__COUNT_NOTHING) sum->by[shift->from] -= shift->jobs;
    if (shift->to != JOBQ__COUNT_NOTHING) sum->by[shift->to] += shift->jobs;
    sum->by[JOBQ__COUNT_RETRYING] += shift->retries * shift->jobs;
}

/* The sum of all notes about the pair of the first one that is left; they are done then. */
static bool jobq__tx_sum_pair(struct jobq__shifts *shifts, size_t *first,
                              struct jobq__count *sum) {
    size_t i;
    while (*first < shifts->count && !shifts->list[*first].jobs) ++*first;
    if (*first == shifts->count) return false;
    memset(sum, 0, sizeof *sum);
    sum->queue = shifts->list[*first].queue;
    sum->kind = shifts->list[*first].kind;
    for (i = *first; i < shifts->count; i++) {
        struct jobq__shift *shift = &shifts->list[i];
        if (shift->queue != sum->queue || shift->kind != sum->kind) continue;
        jobq__tx_count_shift(sum, shift);
        shift->jobs = 0;
    }
    return true;
}

static int jobq__tx_sum(struct jobq__tx *tx, struct jobq__shifts *shifts) {
    struct jobq__count sum;
    size_t first = 0;
    int rc = shifts->lost ? JOBQ_NO_MEMORY : JOBQ_OK;
    while (rc == JOBQ_OK && jobq__tx_sum_pair(shifts, &first, &sum))
        rc = jobq__store_count_add(tx->db, &sum);
    shifts->count = shifts->mark = 0;
    return rc;
}

JOBQ__INTERNAL int jobq__tx_count_write(struct jobq__tx *tx) {
    return jobq__tx_sum(tx, &tx->shifts);
}

JOBQ__INTERNAL int jobq__tx_count_anew(struct jobq__tx *tx) {
    tx->shifts.count = tx->shifts.mark = tx->loose.count = tx->loose.mark = 0;
    tx->counted = 0;
    tx->q->uncounted.whole = false;
    return jobq__store_count_anew(tx->db);
}

/* Counts rows as they stand, from the first that is not counted on, a slice of them: there may be
 * far fewer than ids. */
static int jobq__tx_count_rows(struct jobq__tx *tx) {
    struct jobq__shift shift;
    struct jobq__row row;
    jobq__walk *walk;
    int rows = 0, rc;
    bool more = true;
    jobq__assert(!tx->q->client && !tx->of_job);
    walk = jobq__store_uncounted(tx->db, tx->counted, tx->last_id);
    row.id = tx->counted;
    while ((rc = jobq__store_next_uncounted(tx->db, walk, &row, &more)) == JOBQ_OK && more
           && rows < JOBQ__COUNT_SLICE) {
        shift = jobq__tx_shift_of(&row, JOBQ__NEW, &row, row.state);
        jobq__tx_shift_add(&tx->shifts, &shift);
        tx->counted = row.id;
        rows++;
    }
    jobq__store_end(walk);
    if (!more) tx->counted = tx->last_id;
    return rc;
}

/* ---- Sums of jobs that are not counted ---- */

static bool jobq__tx_whole(const struct jobq__tx *tx) {
    const jobq *q = tx->q;
    return q->uncounted.whole && !tx->loose.lost && tx->last_id == q->last_id + tx->new_jobs;
}

static int jobq__tx_count_all(struct jobq__tx *tx) {
    const struct jobq__uncounted *sums = &tx->q->uncounted;
    size_t i;
    int rc = JOBQ_OK;
    jobq__assert(!tx->q->client && !tx->of_job && tx->counted == tx->q->counted);
    for (i = 0; i < sums->count && rc == JOBQ_OK; i++)
        rc = jobq__store_count_add(tx->db, &sums->pairs[i]);
    tx->counted = tx->last_id;
    return rc == JOBQ_OK ? jobq__tx_sum(tx, &tx->loose) : rc;
}

/* The sum of that pair; NULL: no memory, or there are too many of them. */
static struct jobq__count *jobq__tx_pair(struct jobq__uncounted *sums, int32_t queue,
                                         int32_t kind) {
    size_t i;
    for (i = 0; i < sums->count; i++)
        if (sums->pairs[i].queue == queue && sums->pairs[i].kind == kind) return &sums->pairs[i];
    if (sums->count == JOBQ__COUNT_PAIRS) return NULL;
    if (!sums->pairs) sums->pairs = jobq__mem_new(JOBQ__COUNT_PAIRS * sizeof *sums->pairs);
    if (!sums->pairs) return NULL;
    memset(&sums->pairs[i], 0, sizeof sums->pairs[i]);
    sums->pairs[i].queue = queue;
    sums->pairs[i].kind = kind;
    sums->count++;
    return &sums->pairs[i];
}

static bool jobq__tx_keep_shift(struct jobq__uncounted *sums, const struct jobq__shift *shift) {
    struct jobq__count *pair = jobq__tx_pair(sums, shift->queue, shift->kind);
    if (pair) jobq__tx_count_shift(pair, shift);
    return pair != NULL;
}

JOBQ__INTERNAL void jobq__tx_count_applied(struct jobq__tx *tx, int64_t last_id) {
    jobq *q = tx->q;
    struct jobq__uncounted *sums = &q->uncounted;
    bool whole = sums->whole && !tx->loose.lost && q->last_id == last_id + tx->new_jobs
              && !(tx->of_job && tx->new_jobs);
    size_t i;
    if (tx->counted != q->counted) {
        sums->count = 0;
        whole = tx->counted == q->last_id;
    } else {
        for (i = 0; i < tx->loose.count && whole; i++)
            whole = jobq__tx_keep_shift(sums, &tx->loose.list[i]);
    }
    jobq__assert(!whole || tx->counted <= q->last_id);
    if (!whole) sums->count = 0;
    sums->whole = whole;
    q->counted = tx->counted;
}

/* ---- Before COMMIT ---- */

JOBQ__INTERNAL int jobq__tx_count(struct jobq__tx *tx) {
    int rc = JOBQ_OK;
    if (!tx->q->client && !tx->of_job && tx->last_id - tx->counted >= JOBQ__UNCOUNTED_MAX) {
        rc = jobq__tx_whole(tx) ? jobq__tx_count_all(tx) : jobq__tx_count_rows(tx);
        tx->claims_changed = true; /* that row says how far it goes */
    }
    return rc == JOBQ_OK ? jobq__tx_count_write(tx) : rc;
}

JOBQ__INTERNAL bool jobq__tx_uncounted(const jobq *q) {
    return !q->client && q->last_id - q->counted >= JOBQ__UNCOUNTED_MAX;
}
