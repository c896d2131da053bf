/* check.c - what has to hold after each commit; asserted in debug builds. */
#include "check.h"
#include "tx_gates.h"

#ifdef JOBQ_DEBUG

static int jobq__check_length(const struct jobq__link *list) {
    const struct jobq__link *link;
    int length = 0;
    for (link = list->next; link != list; link = link->next) length++;
    return length;
}

/* ---- The pool ---- */

/* What a worker says of itself is what the lists and the numbers of the crew say. */
static void jobq__check_crew(const jobq *q) {
    const struct jobq__crew *crew = &q->pool.crew;
    int i, idle = 0, running = 0, sleeping = 0;
    for (i = 0; i < crew->count; i++) {
        const struct jobq__worker *worker = &crew->workers[i];
        const struct jobq_run *run = &worker->run;
        idle += worker->state == JOBQ__WORKER_IDLE;
        running += run->entry != NULL;
        sleeping += run->sleeping;
        jobq__assert((worker->state == JOBQ__WORKER_IDLE) != jobq__list_empty(&worker->link));
        jobq__assert((run->id != 0) == (run->entry != NULL));
        jobq__assert(!run->entry || worker->state == (q->step_mode ? JOBQ__WORKER_ABSENT
                                                                    : JOBQ__WORKER_AWAKE));
        jobq__assert(run->entry || !jobq__timer_pending(&run->deadline.timer));
        jobq__assert(run->entry || !run->sleeping);
    }
    jobq__assert(jobq__check_length(&crew->idle) == idle);
    jobq__assert(crew->running == running);
    jobq__assert(crew->sleeping == sleeping);
}

/* Each outcome is of a job that is claimed, and stands nowhere else. */
static void jobq__check_outcomes(const jobq *q) {
    const struct jobq__outcomes *outcomes = &q->pool.outcomes;
    const struct jobq__link *link;
    for (link = outcomes->list.next; link != &outcomes->list; link = link->next) {
        const struct jobq__entry *entry = JOBQ__CONTAINER(link, const struct jobq__entry, link);
        jobq__assert(!entry->in_ring);
        jobq__assert(!jobq__list_empty(&entry->claimed));
    }
    jobq__assert(jobq__check_length(&outcomes->list) == outcomes->count);
}

static bool jobq__check_runs(const jobq *q, const struct jobq__entry *entry) {
    const struct jobq__crew *crew = &q->pool.crew;
    int i;
    for (i = 0; i < crew->count; i++)
        if (crew->workers[i].run.entry == entry) return true;
    return false;
}

/* A job that is claimed is in the ring or with a worker, or else its outcome was handed in. A run
 * whose own transaction has settled its job goes on for a moment, and what was its entry may be
 * another's by now: so there may seem to be fewer, never more. */
static void jobq__check_places(const jobq *q) {
    const struct jobq__link *link;
    int left = 0;
    for (link = q->claimed.next; link != &q->claimed; link = link->next) {
        const struct jobq__entry *entry = JOBQ__CONTAINER(link, const struct jobq__entry, claimed);
        left += !entry->in_ring && !jobq__check_runs(q, entry);
    }
    jobq__assert(left <= q->pool.outcomes.count);
}

static void jobq__check_life(const jobq *q) {
    const struct jobq__pool *pool = &q->pool;
    int i;
    /* Its thread may be there before who starts it comes to say so. */
    jobq__assert(!pool->sched.waits || pool->sched.started || pool->life.changing);
    jobq__assert(!pool->sched.tick_on_wall || pool->sched.waits);
    jobq__assert(pool->rest.watchers >= 0);
    jobq__assert(q->step_mode || (!pool->step.active && !pool->step.halted));
    jobq__assert(!q->step_mode || pool->life.phase == JOBQ__STOPPED);
    jobq__assert(pool->life.phase != JOBQ__STOPPING || !pool->life.claiming);
    if (pool->life.phase != JOBQ__STOPPED) return;
    jobq__assert(!pool->sched.started);
    jobq__assert(!pool->life.claiming || pool->step.active);
    for (i = 0; i < pool->crew.count; i++)
        jobq__assert(pool->crew.workers[i].state == JOBQ__WORKER_ABSENT);
}

/* Told of the end, that the job has ended; and late only once, by its alarm. */
static void jobq__check_waiters(const jobq *q) {
    const struct jobq__link *link;
    for (link = q->pool.waiters.next; link != &q->pool.waiters; link = link->next) {
        const struct jobq__waiter *waiter = JOBQ__CONTAINER(link, const struct jobq__waiter, link);
        jobq__assert(!waiter->done || waiter->ended);
        jobq__assert(!waiter->late || !jobq__timer_pending(&waiter->alarm.timer));
        jobq__assert(!waiter->ended || waiter->done || waiter->serial);
    }
}

JOBQ__INTERNAL void jobq__check_pool(const jobq *q) {
    jobq__assert(jobq__os_held(&q->pool.mu));
    jobq__check_crew(q);
    jobq__check_outcomes(q);
    jobq__check_life(q);
    jobq__check_waiters(q);
}

/* ---- The file ---- */

/* I1: the claims row names whom we have claimed, in that order, and nobody else. */
static void jobq__check_claims(jobq *q) {
    const struct jobq__link *link = q->claimed.next;
    void *ids;
    size_t size, at = 0;
    int64_t id = 0;
    int rc;
    /* Where the owner before has left damage nobody has taken what is named there (.damaged). */
    if (jobq__os_load(&q->failed)) return;
    rc = jobq__store_claims_get(&q->writer, &ids, &size);
    for (; rc == JOBQ_OK && at < size; link = link->next) {
        rc = jobq__store_claims_next(&q->writer, ids, size, &at, &id);
        jobq__assert(rc != JOBQ_OK || link != &q->claimed);
        jobq__assert(rc != JOBQ_OK
                     || JOBQ__CONTAINER(link, struct jobq__entry, claimed)->row.id == id);
    }
    jobq__assert(rc != JOBQ_OK || link == &q->claimed);
    jobq__mem_free(ids);
}

/* The last jobs of some lanes of the ring: workers take from it while the file is asked. */
struct jobq__check_ring {
    struct jobq__row last[8];
    int64_t lanes[8];
    size_t count;
};

/* None of them while something may have to start before them: all of them go back to the table
 * before anybody claims (ring.behind). With pool.mu held. */
static void jobq__check_note_ring(const jobq *q, struct jobq__check_ring *ring) {
    const struct jobq__link *lanes = &q->pool.ring.lanes, *turn;
    ring->count = 0;
    if (q->pool.ring.behind) return;
    for (turn = lanes->prev; turn != lanes; turn = turn->prev) {
        const struct jobq__lane *lane = JOBQ__CONTAINER(turn, const struct jobq__lane, turn);
        if (lane->unordered) continue;
        if (ring->count == JOBQ__COUNT(ring->last)) break;
        ring->lanes[ring->count] = lane->id;
        ring->last[ring->count++] = jobq__ring_last(lane)->row;
    }
}

/* I2: what is ready in a lane's table sorts after what is in the ring. */
static void jobq__check_order(jobq *q, const struct jobq__check_ring *ring) {
    size_t i;
    for (i = 0; i < ring->count; i++) {
        jobq__walk *walk = jobq__store_walk_lane(&q->writer, ring->lanes[i], 1);
        struct jobq__row row;
        bool more;
        int rc = jobq__store_next(&q->writer, walk, &row, &more);
        if (rc == JOBQ_OK && more) jobq__assert(jobq__ring_compare(&ring->last[i], &row) < 0);
        jobq__store_end(walk);
    }
}

/* I3: a lane where ready rows stand is known. */
static void jobq__check_lanes(jobq *q) {
    int64_t lane = JOBQ__LANE_SCHEDULED;
    while (jobq__store_lane_after(&q->writer, lane, &lane) == JOBQ_OK && lane > 0) {
        const struct jobq__lane *known = jobq__registry_lane(&q->names, lane);
        jobq__assert(known && !jobq__list_empty(&known->ready));
    }
}

/* No row of the lanes for those who wait for their time is due before the time that we know: the
 * lane would not be looked at until another was. Later it may be, and then a look finds nothing. */
static void jobq__check_dues(jobq *q) {
    struct jobq__dues first;
    int by;
    if (jobq__store_next_dues(&q->writer, &first) != JOBQ_OK) return;
    for (by = 0; by < JOBQ__DUE_LANES; by++)
        jobq__assert(q->due.at_ms[by] <= first.at_ms[by]);
}

/* The list of the file is the one that we have. */
static void jobq__check_gates(jobq *q) {
    void *lanes;
    size_t size, at = 0;
    int64_t lane = 0;
    int i = 0, rc;
    rc = jobq__store_open_get(&q->writer, &lanes, &size);
    for (; rc == JOBQ_OK && at < size; i++) {
        rc = jobq__store_open_next(&q->writer, lanes, size, &at, &lane);
        jobq__assert(rc != JOBQ_OK || (i < q->gates.count && q->gates.lanes[i] == lane));
    }
    jobq__assert(rc != JOBQ_OK || i == q->gates.count);
    jobq__mem_free(lanes);
}

/* Who stands before a gate that has room is not forgotten (tx_gates.c). */
static void jobq__check_waits(jobq *q) {
    int64_t lane = -INT64_C(1) - JOBQ__NAME_ID_MAX;
    while (jobq__store_lane_after(&q->writer, lane, &lane) == JOBQ_OK
           && jobq__stored_stand(lane) == JOBQ__STANDS_AT_GATE) {
        const struct jobq__kind *kind = jobq__registry_kind(&q->names, -lane);
        jobq__assert(!kind || jobq__gate_is_shut(&kind->gate) || jobq__tx_gates_open(q, kind));
    }
}

/* The counters are what the rows come to, if they were at first. Reads all that is counted, so only
 * in a build of small sizes, whose tests store few jobs. */
static void jobq__check_counters(jobq *q, bool first) {
    int64_t pairs = 0;
    if (JOBQ__UNCOUNTED_MAX > 100 || q->miscounted) return;
    if (jobq__store_miscounted(&q->writer, &pairs) != JOBQ_OK) return;
    jobq__assert(!pairs || first);
    q->miscounted = pairs > 0;
}

/* From the first commit of another connection on the lanes need not be as we know them. A job's
 * transaction is on another one, too, but of ours. */
static bool jobq__check_alone(jobq *q, bool of_job) {
    int64_t version;
    if (jobq__store_version(&q->writer, &version) != JOBQ_OK) return false;
    if (q->checked && q->checked != version && !of_job) q->checked = -1;
    if (q->checked >= 0) q->checked = version;
    return q->checked >= 0 && !q->options.shared;
}

static void jobq__check_file(struct jobq__tx *tx, const struct jobq__check_ring *ring) {
    jobq *q = tx->q;
    struct jobq__store_failure failure;
    int64_t before;
    jobq__store_note_failure(&q->writer, &failure);
    jobq__check_claims(q);
    before = q->checked;
    if (jobq__check_alone(q, tx->of_job)) {
        jobq__check_counters(q, !before);
        if (tx->ordered) jobq__check_order(q, ring);
        if (!q->look_lanes) {
            jobq__check_lanes(q);
            jobq__check_dues(q);
            jobq__check_gates(q);
            jobq__check_waits(q);
        }
    }
    jobq__store_set_failure(&q->writer, &failure);
}

#endif

JOBQ__INTERNAL void jobq__check_commit(struct jobq__tx *tx) {
#ifdef JOBQ_DEBUG
    jobq *q = tx->q;
    struct jobq__check_ring ring;
    jobq__os_lock(&q->pool.mu);
    jobq__check_pool(q);
    jobq__check_places(q);
    jobq__check_note_ring(q, &ring);
    jobq__os_unlock(&q->pool.mu);
    /* While it is opened the claims row is the one of the owner before, and a client has none. */
    if (q->ours && !q->client) jobq__check_file(tx, &ring);
#else
    (void)tx;
#endif
}
