/* tx.c - a transaction's life: open, reset, mark, undo, and what COMMIT makes true. */
#include "tx.h"
#include "check.h"

/* ---- Life of a transaction ---- */

JOBQ__INTERNAL void jobq__tx_init(jobq *q) {
    struct jobq__tx *tx = &q->tx;
    tx->q = q;
    q->counted = -1; /* not read yet */
    jobq__list_init(&tx->settled);
    jobq__list_init(&tx->claimed);
    jobq__list_init(&tx->withdrawn);
    jobq__list_init(&tx->dropped);
    jobq__list_init(&q->claimed);
    jobq__list_init(&q->spare);
    jobq__list_init(&q->ready);
    jobq__list_init(&q->opened);
    tx->db = &q->writer;
}

JOBQ__INTERNAL void jobq__tx_fini(jobq *q) {
    struct jobq__tx *tx = &q->tx;
    jobq__tx_recycle_all(q, &tx->settled);
    jobq__tx_recycle_all(q, &q->pool.outcomes.list);
    while (!jobq__list_empty(&q->claimed)) {
        struct jobq__entry *entry = JOBQ__CLAIMED_ENTRY(q->claimed.next);
        if (entry->in_ring) jobq__ring_remove(&q->pool.ring, entry);
        jobq__tx_recycle(q, entry);
    }
    while (!jobq__list_empty(&q->spare)) jobq__mem_free(JOBQ__LINKED(jobq__list_pop(&q->spare)));
    jobq__tx_drop_changes(&q->tx, 0);
    jobq__mem_free(tx->changes);
    jobq__mem_free(tx->new_names);
    jobq__mem_free(tx->order);
    jobq__mem_free(tx->aside);
    jobq__mem_free(tx->pack);
    jobq__mem_free(tx->gates.lanes);
    jobq__mem_free(q->gates.lanes);
    jobq__mem_free(tx->shifts.list);
    jobq__mem_free(tx->loose.list);
    jobq__mem_free(q->uncounted.pairs);
}

/* How many jobs the ring should hold: what the pool starts while two commits go by, and a little
 * more. A measured rate must not steer a queue in step mode: there it is one. */
static int jobq__tx_target(const jobq *q) {
    const struct jobq__pool *pool = &q->pool;
    int64_t window_ns = (JOBQ__RING_WINDOW_US + 2 * pool->rates.commit_us) * 1000;
    int64_t jobs = window_ns / JOBQ__MAX(pool->rates.job_ns, 1) * pool->crew.count;
    if (q->step_mode) return 1;
    return (int)JOBQ__MIN(JOBQ__MAX(jobs, 2 * (int64_t)pool->crew.count), JOBQ__RING);
}

/* All of them, or on a full disk as many as fit into a transaction. */
static void jobq__tx_take_handed(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__pool *pool = &q->pool;
    int batch = jobq__disk_batch(q, INT32_MAX);
    jobq__assert(jobq__os_held(&pool->mu));
    if (pool->outcomes.count <= batch) {
        jobq__list_move_all(&tx->settled, &pool->outcomes.list);
        pool->outcomes.count = 0;
    } else {
        for (pool->outcomes.count -= batch; batch > 0; batch--)
            jobq__list_append(&tx->settled, jobq__list_pop(&pool->outcomes.list));
    }
}

/* A failed call of step mode may have left jobs in the ring, and a stop that found the file taken.
 * Not more of them than could all be given back at once: on a full disk a pool that stops does that
 * slice by slice. What becomes ready meanwhile may sort before what is left (ring.behind). */
static bool jobq__tx_keeps_order(const jobq *q) {
    const struct jobq__pool *pool = &q->pool;
    jobq__assert(jobq__os_held(&pool->mu));
    if (jobq__os_load(&q->failed)) return false;
    return pool->life.claiming
        || (pool->ring.count && pool->ring.count <= jobq__disk_batch(q, INT32_MAX));
}

JOBQ__INTERNAL void jobq__tx_roomy(struct jobq__tx *tx) {
    jobq *q = tx->q;
    jobq__os_lock(&q->pool.mu);
    tx->ordered = tx->ordered || jobq__tx_keeps_order(q);
    jobq__os_unlock(&q->pool.mu);
}

static void jobq__tx_snapshot(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__pool *pool = &q->pool;
    int target;
    jobq__assert(jobq__os_held(&pool->mu));
    if (pool->work.foreign) q->look_lanes = true;
    pool->work.foreign = false;
    target = jobq__tx_target(q);
    tx->ordered = jobq__tx_keeps_order(q);
    /* Whatever it does: who is to claim next knows before it is committed. */
    if (!tx->ordered && pool->ring.count && !jobq__os_load(&q->failed)) pool->ring.behind = true;
    jobq__assert(!pool->ring.behind || !pool->life.claiming);
    tx->may_claim = tx->ordered && pool->life.claiming && !tx->of_job;
    tx->room = (int)jobq__min(target - pool->ring.count, jobq__disk_batch(q, JOBQ__BATCH));
    tx->over = target + jobq__disk_batch(q, JOBQ__BATCH) - pool->ring.count;
    tx->moves = jobq__disk_batch(q, JOBQ__BATCH);
    tx->bytes = JOBQ__RING_BYTES - pool->ring.bytes;
}

/* What was taken out of the ring after that link goes back there. Workers that idle hear of it at
 * once: who has the baton next may keep it for long. */
static void jobq__tx_put_back(struct jobq__tx *tx, const struct jobq__link *last) {
    jobq *q = tx->q;
    jobq__os_lock(&q->pool.mu);
    while (tx->withdrawn.prev != last) {
        struct jobq__entry *entry = JOBQ__LINKED(tx->withdrawn.prev);
        jobq__list_remove(&entry->link);
        jobq__tx_gone(entry, false);
        jobq__ring_put(&q->pool.ring, entry);
        jobq__wake_workers(q, 1, NULL);
    }
    jobq__os_unlock(&q->pool.mu);
}

#ifdef JOBQ_DEBUG
/* Each gate holds those who are claimed and have passed it: they leave, all gates are empty, they
 * enter again. */
static void jobq__tx_check_gates(jobq *q) {
    struct jobq__link *link;
    size_t i;
    for (link = q->claimed.next; link != &q->claimed; link = link->next)
        jobq__tx_let(JOBQ__CLAIMED_ENTRY(link));
    for (i = 0; i < JOBQ__NAME_BUCKETS; i++) {
        const struct jobq__name *name = q->names.by_id[i];
        for (; name; name = name->next_id)
            jobq__assert(!name->kind.gate.held && !name->lane.gate.held);
    }
    for (link = q->claimed.next; link != &q->claimed; link = link->next)
        jobq__tx_hold(JOBQ__CLAIMED_ENTRY(link));
}
#endif

JOBQ__INTERNAL void jobq__tx_check(jobq *q) {
#ifdef JOBQ_DEBUG
    const struct jobq__link *link;
    int in_ring = 0;
    jobq__os_lock(&q->pool.mu);
    for (link = q->claimed.next; link != &q->claimed; link = link->next) {
        const struct jobq__entry *entry = JOBQ__CONTAINER(link, const struct jobq__entry, claimed);
        jobq__assert(!entry->gone);
        jobq__assert(!entry->lane->last_claimed);
        in_ring += entry->in_ring;
    }
    jobq__assert(in_ring == q->pool.ring.count);
    jobq__tx_check_gates(q);
    jobq__assert(jobq__ring_sound(&q->pool.ring));
    jobq__assert(jobq__list_empty(&q->tx.claimed) && jobq__list_empty(&q->tx.withdrawn)
                 && jobq__list_empty(&q->tx.settled) && jobq__list_empty(&q->tx.dropped));
    jobq__os_unlock(&q->pool.mu);
#else
    (void)q;
#endif
}

/* I1 between transactions: who is claimed is in the claims row; to be gone is for one of them. */
static bool jobq__tx_all_claimed(const jobq *q) {
    const struct jobq__link *link;
    for (link = q->claimed.next; link != &q->claimed; link = link->next)
        if (JOBQ__CONTAINER(link, const struct jobq__entry, claimed)->gone) return false;
    return true;
}

static void jobq__tx_clear(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__link *link;
    jobq__tx_recycle_all(q, &tx->dropped);
    while (!jobq__list_empty(&tx->claimed)) {
        struct jobq__entry *entry = JOBQ__LINKED(tx->claimed.next);
        if (jobq__list_empty(&entry->lane->ready))
            jobq__list_append(&q->ready, &entry->lane->ready);
        entry->lane->last_claimed = NULL;
        jobq__tx_gone(entry, true);
        jobq__tx_recycle(q, entry);
    }
    if (!jobq__list_empty(&tx->withdrawn)) jobq__tx_put_back(tx, &tx->withdrawn);
    for (link = tx->settled.next; link != &tx->settled; link = link->next)
        jobq__tx_gone(JOBQ__LINKED(link), false);
    jobq__assert(jobq__tx_all_claimed(q));
    tx->claims_changed = tx->touched = tx->ready = false;
    memset(tx->due_stale, 0, sizeof tx->due_stale);
    tx->rows_count = 0;
    jobq__tx_drop_changes(tx, 0);
    tx->grows = 0;
    tx->frees = 0;
    tx->new_count = 0;
    jobq__tx_gates_reset(tx);
    tx->starved = tx->recounts = false;
    tx->last_id = q->last_id;
    tx->counted = q->counted;
    tx->shifts.count = tx->shifts.mark = tx->loose.count = tx->loose.mark = 0;
    tx->shifts.lost = tx->loose.lost = false;
    tx->new_jobs = 0;
    tx->due = q->due;
    tx->prune_at_ms = JOBQ_NEVER;
    memset(&tx->add, 0, sizeof tx->add);
}

JOBQ__INTERNAL void jobq__tx_reset(struct jobq__tx *tx) {
    jobq *q = tx->q;
    jobq__tx_clear(tx);
    jobq__os_lock(&q->pool.mu);
    jobq__tx_snapshot(tx);
    jobq__os_unlock(&q->pool.mu);
}

JOBQ__INTERNAL void jobq__tx_open(struct jobq__tx *tx, jobq__store *db,
                                  enum jobq__tx_kind kind) {
    jobq *q = tx->q;
    jobq__assert(jobq__list_empty(&tx->settled));
    tx->db = db;
    tx->of_job = kind == JOBQ__TX_OF_JOB;
    tx->blind = q->client || kind == JOBQ__TX_RECOVERY;
    tx->single_rows = false;
    jobq__tx_clear(tx);
    jobq__os_lock(&q->pool.mu);
    if (kind == JOBQ__TX_OUTCOMES) jobq__tx_take_handed(tx);
    jobq__tx_snapshot(tx);
    jobq__os_unlock(&q->pool.mu);
    /* After that, so that no outcome is from the future. */
    jobq__tx_at(tx, jobq__core_now(q));
}

JOBQ__INTERNAL void jobq__tx_at(struct jobq__tx *tx, struct jobq__now now) {
    tx->now_ms = now.wall_ms;
    tx->mono_ms = now.mono_ms;
    tx->own_ms = now.own_ms;
}

JOBQ__INTERNAL void jobq__tx_failed(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__pool *pool = &q->pool;
    struct jobq__link *link;
    int count = 0;
    jobq__tx_reset(tx);
    for (link = tx->settled.next; link != &tx->settled; link = link->next) count++;
    jobq__os_lock(&pool->mu);
    /* They are the oldest, so they go to the front. */
    jobq__list_move_all(&tx->settled, &pool->outcomes.list);
    jobq__list_move_all(&pool->outcomes.list, &tx->settled);
    pool->outcomes.count += count;
    jobq__os_unlock(&pool->mu);
}

JOBQ__INTERNAL void jobq__tx_mark(struct jobq__tx *tx, struct jobq__tx_mark *mark) {
    mark->serial = tx->serial;
    mark->dropped = tx->dropped.prev;
    mark->withdrawn = tx->withdrawn.prev;
    mark->changes = tx->changes_count;
    mark->new_names = tx->new_count;
    mark->shifts = tx->shifts.mark = tx->shifts.count;
    mark->loose = tx->loose.mark = tx->loose.count;
    mark->new_jobs = tx->new_jobs;
    mark->room = tx->room;
    mark->over = tx->over;
    mark->bytes = tx->bytes;
    mark->last_id = tx->last_id;
    mark->due = tx->due;
    mark->prune_at_ms = tx->prune_at_ms;
    mark->add = tx->add;
}

static void jobq__tx_put_claimed(struct jobq__tx *tx, struct jobq__entry *entry) {
    struct jobq__link *place = &tx->claimed;
    while (place->prev != &tx->claimed && JOBQ__LINKED(place->prev)->serial > entry->serial)
        place = place->prev;
    jobq__list_insert(place, &entry->link);
}

JOBQ__INTERNAL void jobq__tx_undo(struct jobq__tx *tx, const struct jobq__tx_mark *mark) {
    jobq *q = tx->q;
    struct jobq__link *link;
    while (tx->dropped.prev != mark->dropped) {
        link = tx->dropped.prev;
        jobq__list_remove(link);
        jobq__tx_gone(JOBQ__LINKED(link), false);
        jobq__tx_put_claimed(tx, JOBQ__LINKED(link));
    }
    while (!jobq__list_empty(&tx->claimed)
           && JOBQ__LINKED(tx->claimed.prev)->serial > mark->serial) {
        struct jobq__entry *entry = JOBQ__LINKED(tx->claimed.prev);
        entry->lane->last_claimed = NULL;
        jobq__tx_gone(entry, true);
        jobq__tx_recycle(q, entry);
    }
    for (link = tx->claimed.next; link != &tx->claimed; link = link->next)
        jobq__tx_note_last(JOBQ__LINKED(link));
    if (tx->withdrawn.prev != mark->withdrawn) jobq__tx_put_back(tx, mark->withdrawn);
    tx->rows_count = 0;
    jobq__tx_drop_changes(tx, mark->changes);
    tx->new_count = mark->new_names;
    tx->shifts.count = mark->shifts;
    tx->loose.count = mark->loose;
    tx->new_jobs = mark->new_jobs;
    tx->room = mark->room;
    tx->over = mark->over;
    tx->bytes = mark->bytes;
    tx->last_id = mark->last_id;
    tx->due = mark->due;
    tx->prune_at_ms = mark->prune_at_ms;
    tx->add = mark->add;
}

/* ---- After COMMIT ---- */

static void jobq__tx_add_stats(jobq_stats *to, const jobq_stats *add) {
    to->enqueued += add->enqueued;
    to->kept += add->kept;
    to->done += add->done;
    to->retried += add->retried;
    to->failed += add->failed;
    to->cancelled += add->cancelled;
    to->crashed += add->crashed;
    to->lost_outcomes += add->lost_outcomes;
    to->commits++;
}

/* True if another transaction would find something to claim, promote or move. */
static bool jobq__tx_more(const struct jobq__tx *tx) {
    const jobq *q = tx->q;
    const struct jobq__link *link;
    if (q->look_lanes || q->gates.count || !jobq__list_empty(&q->opened)) return true;
    if (jobq__tx_uncounted(q)) return true;
    if (jobq__tx_has_come(tx, JOBQ__DUE_BY_WALL, q->due.at_ms[JOBQ__DUE_BY_WALL])
        || jobq__tx_has_come(tx, JOBQ__DUE_BY_OWN, q->due.at_ms[JOBQ__DUE_BY_OWN]))
        return true;
    for (link = q->ready.next; link != &q->ready; link = link->next)
        if (jobq__gate_room(&JOBQ__CONTAINER(link, struct jobq__lane, ready)->gate) > 0)
            return true;
    return false;
}

static bool jobq__tx_sooner(const struct jobq__dues *a, const struct jobq__dues *b) {
    return a->at_ms[JOBQ__DUE_BY_WALL] < b->at_ms[JOBQ__DUE_BY_WALL]
        || a->at_ms[JOBQ__DUE_BY_OWN] < b->at_ms[JOBQ__DUE_BY_OWN];
}

/* Everything that the pool sees of a commit, in one go. */
static void jobq__tx_publish(struct jobq__tx *tx, struct jobq__wakes *wakes) {
    jobq *q = tx->q;
    struct jobq__pool *pool = &q->pool;
    bool sooner = jobq__tx_sooner(&q->due, &pool->timers.due);
    int jobs = 0;
    jobq__os_lock(&pool->mu);
    while (!jobq__list_empty(&tx->claimed)) {
        struct jobq__entry *entry = JOBQ__LINKED(jobq__list_pop(&tx->claimed));
        jobq__ring_put(&pool->ring, entry);
        jobs++;
    }
    jobq__list_move_all(&tx->dropped, &tx->withdrawn);
    jobq__tx_add_stats(&pool->stats, &tx->add);
    pool->stats.wal_pages = jobq__store_log_pages(tx->db);
    if (!pool->ring.count) pool->ring.behind = false;
    pool->work.left = jobq__tx_more(tx);
    if (!q->client) {
        pool->timers.due = q->due;
        pool->timers.due_fired = false;
    }
    /* Several transactions may share one set of wakes. */
    wakes->loop = wakes->loop || tx->ready || sooner;
    wakes->scheduler = wakes->scheduler || sooner || tx->prune_at_ms < pool->timers.prune_at_ms;
    pool->timers.prune_at_ms = JOBQ__MIN(pool->timers.prune_at_ms, tx->prune_at_ms);
    jobq__tx_tell_waiters(tx);
    jobq__list_move_all(&tx->dropped, &tx->settled);
    jobq__wake_workers(q, jobs, wakes);
    pool->work.starved = tx->starved;
    pool->work.retry_us = tx->starved ? JOBQ__RETRY_MAX_US / 10 : 0;
    pool->work.retry_at_us = tx->starved ? jobq__clock_mono_us() + pool->work.retry_us : 0;
    jobq__os_unlock(&pool->mu);
}

/* A name that was lost is committed now: who is claimed by such a queue has it for its events. */
static void jobq__tx_name_queues(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__link *link;
    for (link = tx->claimed.next; link != &tx->claimed; link = link->next) {
        struct jobq__entry *entry = JOBQ__LINKED(link);
        if (!entry->queue) entry->queue = jobq__registry_by_id(&q->names, entry->row.queue);
    }
}

JOBQ__INTERNAL void jobq__tx_applied(struct jobq__tx *tx, struct jobq__wakes *wakes) {
    jobq *q = tx->q;
    int64_t last_id = q->last_id;
    struct jobq__link *link;
    size_t i;
    jobq__assert(!tx->shifts.count && (tx->counted >= q->counted || !tx->counted));
    q->last_id = tx->last_id;
    if (tx->recounts) q->recount = false;
    q->due = tx->due;
    if (tx->touched) q->own.stored_ms = jobq__tx_offset(tx);
    tx->prune_at_ms = jobq__min(tx->prune_at_ms, jobq__disk_freed(q, tx->frees, tx->now_ms));
    jobq__tx_gates_applied(tx);
    for (link = tx->claimed.next; link != &tx->claimed; link = link->next) {
        struct jobq__entry *entry = JOBQ__LINKED(link);
        jobq__list_append(&q->claimed, &entry->claimed);
        entry->lane->last_claimed = NULL;
        q->last_id = JOBQ__MAX(q->last_id, entry->row.id);
    }
    jobq__tx_count_applied(tx, last_id);
    for (i = 0; i < tx->new_count; i++)
        jobq__registry_add(&q->names, tx->new_names[i].id, tx->new_names[i].what,
                           tx->new_names[i].text);
    if (tx->new_count && q->events.call) jobq__tx_name_queues(tx);
    /* Before the ring is filled: a worker tells of a start as soon as it finds the job there. */
    jobq__tx_emit(tx);
    jobq__tx_publish(tx, wakes);
    jobq__tx_drop_changes(tx, 0);
    jobq__tx_recycle_all(q, &tx->dropped);
    jobq__tx_check(q);
    jobq__check_commit(tx);
}
