/* tx.c - what one transaction does: settle, store, promote, claim. */
#include "tx.h"

#define JOBQ__LINKED(pointer) JOBQ__CONTAINER(pointer, struct jobq__entry, link)
#define JOBQ__CLAIMED_ENTRY(pointer) JOBQ__CONTAINER(pointer, struct jobq__entry, claimed)

/* ---- Entries: recycled under the baton, so the hot path does not allocate ---- */

static struct jobq__entry *jobq__tx_entry(jobq *q, const struct jobq__row *row,
                                          struct jobq__name *kind, struct jobq__name *lane) {
    struct jobq__link *spare = jobq__list_pop(&q->spare);
    struct jobq__entry *entry = spare ? JOBQ__LINKED(spare) : NULL;
    size_t capacity = (row->size + 31) / 32 * 32;
    if (entry) q->spare_count--;
    if (entry && entry->capacity < row->size) {
        jobq__mem_free(entry);
        entry = NULL;
    }
    if (!entry) {
        entry = jobq__mem_new(sizeof *entry + capacity);
        if (!entry) return NULL;
        entry->capacity = capacity;
    }
    entry->row = *row;
    entry->row.payload = entry->payload;
    if (row->size) memcpy(entry->payload, row->payload, row->size);
    entry->kind = kind;
    entry->lane = lane;
    entry->cancel = 0;
    entry->in_ring = entry->gone = false;
    jobq__list_init(&entry->link);
    jobq__list_init(&entry->claimed);
    return entry;
}

JOBQ__INTERNAL void jobq__tx_forget_said(struct jobq__entry *entry) {
    if (!entry->said) return;
    jobq__mem_free(entry->said->text);
    jobq__mem_free(entry->said->result);
    jobq__mem_free(entry->said);
    entry->said = NULL;
}

static const char *jobq__tx_text(const struct jobq__entry *entry) {
    return entry->said ? entry->said->text : NULL;
}

/* How long a job that ended so is kept. */
static int64_t jobq__tx_keep(const struct jobq__entry *entry) {
    const jobq_kind *spec = &entry->kind->spec;
    return entry->verdict.state == JOBQ__FAILED ? spec->keep_failed_ms : spec->keep_done_ms;
}

static void jobq__tx_recycle(jobq *q, struct jobq__entry *entry) {
    jobq__list_remove(&entry->link);
    jobq__list_remove(&entry->claimed);
    jobq__tx_forget_said(entry);
    if (entry->capacity > JOBQ__ENTRY_KEEP || q->spare_count >= JOBQ__RING + JOBQ__BATCH) {
        jobq__mem_free(entry);
        return;
    }
    q->spare_count++;
    jobq__list_insert(q->spare.next, &entry->link);
}

static void jobq__tx_recycle_all(jobq *q, struct jobq__link *list) {
    while (!jobq__list_empty(list)) jobq__tx_recycle(q, JOBQ__LINKED(list->next));
}

/* ---- Life of a transaction ---- */

JOBQ__INTERNAL void jobq__tx_init(jobq *q) {
    struct jobq__tx *tx = &q->tx;
    jobq__list_init(&tx->settled);
    jobq__list_init(&tx->claimed);
    jobq__list_init(&tx->taken);
    jobq__list_init(&tx->dropped);
    jobq__list_init(&q->claimed);
    jobq__list_init(&q->spare);
    jobq__list_init(&q->ready);
    jobq__list_init(&q->parked);
    tx->db = &q->writer;
}

JOBQ__INTERNAL void jobq__tx_fini(jobq *q) {
    struct jobq__tx *tx = &q->tx;
    jobq__tx_recycle_all(q, &tx->settled);
    jobq__tx_recycle_all(q, &q->pool.handed);
    while (!jobq__list_empty(&q->claimed)) {
        struct jobq__entry *entry = JOBQ__CLAIMED_ENTRY(q->claimed.next);
        if (entry->in_ring) jobq__ring_remove(&q->pool.ring, entry);
        jobq__tx_recycle(q, entry);
    }
    while (!jobq__list_empty(&q->spare)) jobq__mem_free(JOBQ__LINKED(jobq__list_pop(&q->spare)));
    jobq__mem_free(tx->changes);
    jobq__mem_free(tx->new_names);
    jobq__mem_free(tx->order);
    jobq__mem_free(tx->pack);
}

/* How many jobs the ring should hold: what the pool starts while two commits go by, and a little
 * more. A measured rate must not steer a queue in step mode: there it is one. */
static int jobq__tx_target(const jobq *q) {
    const struct jobq__pool *pool = &q->pool;
    int64_t window_ns = (JOBQ__RING_WINDOW_US + 2 * pool->commit_us) * 1000;
    int64_t jobs = window_ns / JOBQ__MAX(pool->job_ns, 1) * pool->worker_count;
    if (q->step_mode) return 1;
    return (int)JOBQ__MIN(JOBQ__MAX(jobs, 2 * (int64_t)pool->worker_count), JOBQ__RING);
}

JOBQ__INTERNAL void jobq__tx_open(jobq *q, struct jobq__db *db, bool outcomes) {
    struct jobq__pool *pool = &q->pool;
    q->tx.db = db;
    q->tx.single_rows = false;
    jobq__assert(jobq__list_empty(&q->tx.settled));
    if (outcomes) {
        jobq__os_lock(&pool->mu);
        jobq__list_move_all(&q->tx.settled, &pool->handed);
        pool->handed_count = 0;
        jobq__os_unlock(&pool->mu);
    }
    /* After that, so that no outcome is from the future. */
    q->tx.now_ms = jobq__clock_now_ms(q->clock);
}

static void jobq__tx_snapshot(jobq *q) {
    struct jobq__tx *tx = &q->tx;
    struct jobq__pool *pool = &q->pool;
    int target;
    jobq__os_lock(&pool->mu);
    if (pool->look) q->look_lanes = true;
    pool->look = false;
    target = jobq__tx_target(q);
    tx->ordered = pool->claiming && !jobq__os_load(&q->failed);
    tx->may_claim = tx->ordered && tx->db == &q->writer;
    tx->room = JOBQ__MIN(target - pool->ring.count, JOBQ__BATCH);
    tx->over = target + JOBQ__BATCH - pool->ring.count;
    tx->bytes = JOBQ__RING_BYTES - pool->ring.bytes;
    jobq__os_unlock(&pool->mu);
}

/* I1 between transactions: who is claimed is in the claims row; to be gone is for one of them. */
static bool jobq__tx_all_claimed(const jobq *q) {
    const struct jobq__link *link;
    for (link = q->claimed.next; link != &q->claimed; link = link->next)
        if (JOBQ__CONTAINER(link, const struct jobq__entry, claimed)->gone) return false;
    return true;
}

JOBQ__INTERNAL void jobq__tx_reset(jobq *q) {
    struct jobq__tx *tx = &q->tx;
    struct jobq__link *link;
    jobq__tx_recycle_all(q, &tx->dropped);
    while (!jobq__list_empty(&tx->claimed)) {
        struct jobq__entry *entry = JOBQ__LINKED(tx->claimed.next);
        if (jobq__list_empty(&entry->lane->ready))
            jobq__list_append(&q->ready, &entry->lane->ready);
        entry->lane->last_claimed = NULL;
        jobq__tx_recycle(q, entry);
    }
    jobq__os_lock(&q->pool.mu);
    while (!jobq__list_empty(&tx->taken)) {
        struct jobq__entry *entry = JOBQ__LINKED(jobq__list_pop(&tx->taken));
        entry->gone = false;
        jobq__ring_put(&q->pool.ring, entry);
        q->pool.put_back = true;
    }
    jobq__os_unlock(&q->pool.mu);
    for (link = tx->settled.next; link != &tx->settled; link = link->next)
        JOBQ__LINKED(link)->gone = false;
    jobq__assert(jobq__tx_all_claimed(q));
    tx->claims_changed = tx->due_stale = tx->ready = false;
    tx->suspects = tx->released = tx->rows_count = 0;
    tx->changes_count = 0;
    tx->new_count = 0;
    tx->unparked = NULL;
    tx->starved = false;
    tx->last_id = q->last_id;
    tx->next_due_ms = q->next_due_ms;
    tx->prune_at_ms = JOBQ_NEVER;
    memset(&tx->add, 0, sizeof tx->add);
    jobq__tx_snapshot(q);
}

JOBQ__INTERNAL void jobq__tx_failed(jobq *q) {
    struct jobq__pool *pool = &q->pool;
    struct jobq__link *link;
    int count = 0;
    jobq__tx_reset(q);
    for (link = q->tx.settled.next; link != &q->tx.settled; link = link->next) count++;
    jobq__os_lock(&pool->mu);
    /* They are the oldest, so they go to the front. */
    jobq__list_move_all(&q->tx.settled, &pool->handed);
    jobq__list_move_all(&pool->handed, &q->tx.settled);
    pool->handed_count += count;
    jobq__os_unlock(&pool->mu);
}

JOBQ__INTERNAL void jobq__tx_mark(jobq *q, struct jobq__tx_mark *mark) {
    struct jobq__tx *tx = &q->tx;
    mark->serial = tx->serial;
    mark->dropped = tx->dropped.prev;
    mark->taken = tx->taken.prev;
    mark->changes = tx->changes_count;
    mark->new_names = tx->new_count;
    mark->room = tx->room;
    mark->over = tx->over;
    mark->bytes = tx->bytes;
    mark->last_id = tx->last_id;
    mark->next_due_ms = tx->next_due_ms;
    mark->prune_at_ms = tx->prune_at_ms;
    mark->suspects = tx->suspects;
    mark->released = tx->released;
    mark->add = tx->add;
}

static void jobq__tx_put_claimed(struct jobq__tx *tx, struct jobq__entry *entry) {
    struct jobq__link *place = &tx->claimed;
    while (place->prev != &tx->claimed && JOBQ__LINKED(place->prev)->serial > entry->serial)
        place = place->prev;
    jobq__list_insert(place, &entry->link);
}

/* Remembers the last job, in order, that this transaction claims of a lane. */
static void jobq__tx_note_last(struct jobq__entry *entry) {
    struct jobq__name *lane = entry->lane;
    if (!lane->last_claimed || jobq__ring_compare(lane->last_claimed, &entry->row) < 0)
        lane->last_claimed = &entry->row;
}

JOBQ__INTERNAL void jobq__tx_undo(jobq *q, const struct jobq__tx_mark *mark) {
    struct jobq__tx *tx = &q->tx;
    struct jobq__link *link;
    while (tx->dropped.prev != mark->dropped) {
        link = tx->dropped.prev;
        jobq__list_remove(link);
        jobq__tx_put_claimed(tx, JOBQ__LINKED(link));
    }
    while (!jobq__list_empty(&tx->claimed)
           && JOBQ__LINKED(tx->claimed.prev)->serial > mark->serial) {
        struct jobq__entry *entry = JOBQ__LINKED(tx->claimed.prev);
        entry->lane->last_claimed = NULL;
        jobq__tx_recycle(q, entry);
    }
    for (link = tx->claimed.next; link != &tx->claimed; link = link->next)
        jobq__tx_note_last(JOBQ__LINKED(link));
    jobq__os_lock(&q->pool.mu);
    while (tx->taken.prev != mark->taken) {
        struct jobq__entry *entry = JOBQ__LINKED(tx->taken.prev);
        jobq__list_remove(&entry->link);
        entry->gone = false;
        jobq__ring_put(&q->pool.ring, entry);
        q->pool.put_back = true;
    }
    jobq__os_unlock(&q->pool.mu);
    tx->rows_count = 0;
    tx->changes_count = mark->changes;
    tx->new_count = mark->new_names;
    tx->room = mark->room;
    tx->over = mark->over;
    tx->bytes = mark->bytes;
    tx->last_id = mark->last_id;
    tx->next_due_ms = mark->next_due_ms;
    tx->prune_at_ms = mark->prune_at_ms;
    tx->suspects = mark->suspects;
    tx->released = mark->released;
    tx->add = mark->add;
}

JOBQ__INTERNAL int jobq__tx_change(jobq *q, const jobq_event *event, int64_t kind,
                                   const char *text) {
    struct jobq__tx *tx = &q->tx;
    if (tx->changes_count == tx->changes_capacity) {
        size_t capacity = tx->changes_capacity ? tx->changes_capacity * 2 : 16;
        struct jobq__change *changes = jobq__mem_resize(tx->changes, capacity, sizeof *changes);
        if (!changes) return JOBQ_NO_MEMORY;
        tx->changes = changes;
        tx->changes_capacity = capacity;
    }
    tx->changes[tx->changes_count].event = *event;
    tx->changes[tx->changes_count].kind = kind;
    tx->changes[tx->changes_count++].text = text;
    return JOBQ_OK;
}

/* ---- Settle ---- */

static int64_t jobq__tx_prune_at(jobq *q, int64_t keep_ms) {
    int64_t at_ms = keep_ms == JOBQ_UNLIMITED ? JOBQ_NEVER : jobq__add(q->tx.now_ms, keep_ms);
    if (q->options.keep_max != JOBQ_UNLIMITED)
        q->tx.prune_at_ms = JOBQ__MIN(q->tx.prune_at_ms,
                                      jobq__add(q->tx.now_ms, JOBQ__PRUNE_PAUSE_MS));
    q->tx.prune_at_ms = JOBQ__MIN(q->tx.prune_at_ms, at_ms);
    return at_ms;
}

static void jobq__tx_count(jobq *q, const struct jobq__verdict *verdict) {
    jobq_stats *add = &q->tx.add;
    if (verdict->state == JOBQ__DONE) add->done++;
    else if (verdict->state == JOBQ__FAILED) add->failed++;
    else if (verdict->state == JOBQ__CANCELLED) add->cancelled++;
    else if (verdict->outcome == JOBQ_RETRY) add->retried++;
}

/* The fence held or not: the entry is dealt with either way. */
static int jobq__tx_settled(jobq *q, struct jobq__entry *entry, bool applied) {
    jobq_event event;
    entry->gone = true;
    q->tx.claims_changed = true;
    if (entry->lane == q->suspects) q->tx.released++;
    if (!applied) {
        entry->verdict.outcome = JOBQ_OUTCOME_NONE;
        q->tx.add.lost_outcomes++;
        return JOBQ_OK;
    }
    jobq__tx_count(q, &entry->verdict);
    if (!q->events.call) return JOBQ_OK;
    event.now_ms = q->tx.now_ms;
    event.id = entry->row.id;
    event.from = JOBQ_STATE_RUNNING;
    event.to = jobq__state_public(entry->verdict.state, false);
    event.attempt = entry->row.attempt;
    event.outcome = entry->verdict.outcome;
    event.wait_ms = entry->wait_ms;
    event.run_ms = entry->run_ms;
    return jobq__tx_change(q, &event, entry->row.kind, jobq__tx_text(entry));
}

static int jobq__tx_requeue(jobq *q, struct jobq__entry *entry, int *changed) {
    const struct jobq__verdict *verdict = &entry->verdict;
    const char *text = jobq__tx_text(entry);
    struct jobq__row row = entry->row;
    int rc;
    row.state = JOBQ__WAITING;
    row.run_at_ms = verdict->run_at_ms;
    row.attempt = verdict->attempt;
    row.delay_ms = verdict->delay_ms;
    row.crashes = verdict->crashes;
    row.side = text ? JOBQ__SIDE_EXTRA : 0;
    row.lane = jobq__tx_lane(q, &row);
    rc = jobq__store_requeue(q->tx.db, &row, row.lane > 0 ? row.priority : 0, changed);
    if (rc != JOBQ_OK || !*changed) return rc;
    if (text) rc = jobq__store_extra(q->tx.db, row.id, JOBQ__EXTRA_ERROR, text, strlen(text));
    if (rc != JOBQ_OK) return rc;
    if (row.lane == JOBQ__LANE_SCHEDULED) jobq__tx_scheduled(q, row.run_at_ms);
    else if (row.lane > 0) rc = jobq__tx_ready(q, &row);
    return rc;
}

static int jobq__tx_finish(jobq *q, struct jobq__entry *entry, int *changed) {
    struct jobq__db *db = q->tx.db;
    const struct jobq__verdict *verdict = &entry->verdict;
    const struct jobq__row *row = &entry->row;
    const struct jobq__said *said = entry->said;
    int64_t keep_ms = jobq__tx_keep(entry);
    int rc;
    if (keep_ms == JOBQ_NONE) {
        rc = jobq__store_drop_runs(db, row->id, row->id, row->runs, changed);
        if (rc == JOBQ_OK && *changed && row->side)
            rc = jobq__store_drop(db, row->kind, row->id, row->side);
        return rc;
    }
    rc = jobq__store_finish(db, row->id, JOBQ__CLAIMED, row->runs, verdict->state, q->tx.now_ms,
                            jobq__tx_prune_at(q, keep_ms), said ? JOBQ__SIDE_EXTRA : 0, changed);
    if (rc != JOBQ_OK || !*changed) return rc;
    if (said && said->text)
        rc = jobq__store_extra(db, row->id, JOBQ__EXTRA_ERROR, said->text, strlen(said->text));
    if (rc == JOBQ_OK && said && said->result)
        rc = jobq__store_extra(db, row->id, JOBQ__EXTRA_RESULT, said->result, said->result_size);
    if (rc == JOBQ_OK) rc = jobq__store_key_drop(db, row->kind, row->id, row->side);
    return rc;
}

/* Somebody asked for the job to be cancelled: done stands, and so does failed for good. */
static void jobq__tx_heed_cancel(struct jobq__entry *entry) {
    if (!jobq__os_load(&entry->cancel) || entry->verdict.outcome == JOBQ_DONE
        || entry->verdict.outcome == JOBQ_FAIL) return;
    entry->verdict.state = JOBQ__CANCELLED;
    entry->verdict.outcome = JOBQ_CANCELLED;
}

static int jobq__tx_settle_one(jobq *q, struct jobq__entry *entry) {
    int changed = 0;
    int rc = entry->verdict.state == JOBQ__WAITING ? jobq__tx_requeue(q, entry, &changed)
                                                   : jobq__tx_finish(q, entry, &changed);
    return rc == JOBQ_OK ? jobq__tx_settled(q, entry, changed == 1) : rc;
}

/* True if the row needs nothing but one statement that can serve its neighbours as well. */
static bool jobq__tx_plain(const struct jobq__entry *entry) {
    return entry->verdict.state != JOBQ__WAITING && !entry->row.side && !entry->said;
}

static size_t jobq__tx_run_length(jobq *q, size_t first, size_t count) {
    const struct jobq__entry *a = q->tx.order[first];
    size_t length = 1;
    if (q->tx.single_rows || !jobq__tx_plain(a)) return 1;
    while (first + length < count) {
        const struct jobq__entry *b = q->tx.order[first + length];
        if (b->row.id != a->row.id + (int64_t)length || b->row.runs != a->row.runs
            || !jobq__tx_plain(b) || b->verdict.state != a->verdict.state
            || jobq__tx_keep(b) != jobq__tx_keep(a)) break;
        length++;
    }
    return length;
}

static int jobq__tx_settle_run(jobq *q, size_t first, size_t length) {
    struct jobq__entry **order = &q->tx.order[first];
    const struct jobq__row *a = &order[0]->row;
    int64_t last = a->id + (int64_t)length - 1, keep_ms = jobq__tx_keep(order[0]);
    int changed, rc;
    size_t i;
    if (keep_ms == JOBQ_NONE)
        rc = jobq__store_drop_runs(q->tx.db, a->id, last, a->runs, &changed);
    else
        rc = jobq__store_finish_runs(q->tx.db, a->id, last, a->runs, order[0]->verdict.state,
                                     q->tx.now_ms, jobq__tx_prune_at(q, keep_ms), &changed);
    if (rc != JOBQ_OK) return rc;
    if (changed != (int)length) {
        /* One of them is no longer ours; which one is found row by row, from the beginning. */
        q->tx.single_rows = true;
        return JOBQ__AGAIN;
    }
    for (i = 0; i < length && rc == JOBQ_OK; i++) rc = jobq__tx_settled(q, order[i], true);
    return rc;
}

/* By id; insertion sort, because what is handed in is nearly sorted. */
static int jobq__tx_sort(jobq *q, size_t *count) {
    struct jobq__tx *tx = &q->tx;
    struct jobq__link *link;
    size_t n = 0;
    for (link = tx->settled.next; link != &tx->settled; link = link->next) {
        struct jobq__entry *entry = JOBQ__LINKED(link);
        size_t at = n++;
        if (n > tx->order_capacity) {
            size_t capacity = tx->order_capacity ? tx->order_capacity * 2 : 64;
            void *order = jobq__mem_resize(tx->order, capacity, sizeof entry);
            if (!order) return JOBQ_NO_MEMORY;
            tx->order = order;
            tx->order_capacity = capacity;
        }
        for (; at && tx->order[at - 1]->row.id > entry->row.id; at--)
            tx->order[at] = tx->order[at - 1];
        tx->order[at] = entry;
    }
    *count = n;
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__tx_settle(jobq *q) {
    size_t count = 0, i, length;
    int rc = jobq__tx_sort(q, &count);
    for (i = 0; i < count && rc == JOBQ_OK; i++) jobq__tx_heed_cancel(q->tx.order[i]);
    for (i = 0; i < count && rc == JOBQ_OK; i += length) {
        length = jobq__tx_run_length(q, i, count);
        rc = length > 1 ? jobq__tx_settle_run(q, i, length)
                        : jobq__tx_settle_one(q, q->tx.order[i]);
    }
    return rc;
}

/* ---- Places: lanes, order, the ring's window ---- */

static bool jobq__tx_handled(jobq *q, int64_t kind) {
    const struct jobq__name *name = jobq__registry_by_id(&q->names, kind);
    return name && jobq__os_load(&name->handled);
}

JOBQ__INTERNAL int32_t jobq__tx_lane(jobq *q, const struct jobq__row *row) {
    if (row->run_at_ms > q->tx.now_ms || row->run_at_ms == JOBQ_NEVER) return JOBQ__LANE_SCHEDULED;
    /* A client does not know who handles what; the owner parks when it finds out. */
    if (!q->client && !jobq__tx_handled(q, row->kind)) return -row->kind;
    return row->crashes > 0 ? JOBQ__LANE_SUSPECT : row->queue;
}

JOBQ__INTERNAL void jobq__tx_scheduled(jobq *q, int64_t at_ms) {
    q->tx.next_due_ms = JOBQ__MIN(q->tx.next_due_ms, at_ms);
}

static struct jobq__name *jobq__tx_lane_name(jobq *q, int64_t lane) {
    if (lane == JOBQ__LANE_SUSPECT) return q->suspects;
    return jobq__registry_by_id(&q->names, lane);
}

/* True if row sorts before a job of its lane that is claimed already and has not started. */
static bool jobq__tx_before_tail(jobq *q, struct jobq__name *lane, const struct jobq__row *row) {
    struct jobq__entry *last;
    bool before;
    if (lane->last_claimed && jobq__ring_compare(row, lane->last_claimed) < 0) return true;
    jobq__os_lock(&q->pool.mu);
    last = jobq__ring_last(lane);
    before = last && jobq__ring_compare(row, &last->row) < 0;
    jobq__os_unlock(&q->pool.mu);
    return before;
}

static void jobq__tx_claimed(jobq *q, struct jobq__entry *entry) {
    entry->serial = ++q->tx.serial;
    jobq__list_append(&q->tx.claimed, &entry->link);
    jobq__tx_note_last(entry);
    q->tx.claims_changed = true;
    q->tx.room--;
    q->tx.over--;
    q->tx.bytes -= (int64_t)entry->row.size;
    if (entry->lane == q->suspects) q->tx.suspects++;
}

JOBQ__INTERNAL int jobq__tx_unclaim(jobq *q, struct jobq__entry *entry) {
    struct jobq__row row = entry->row;
    int changed, rc;
    row.lane = row.crashes > 0 ? JOBQ__LANE_SUSPECT : row.queue;
    rc = jobq__store_give_back(q->tx.db, row.id, row.lane, row.priority, &changed);
    if (rc != JOBQ_OK) return rc;
    jobq__assert(changed == 1);
    q->tx.claims_changed = true;
    if (jobq__list_empty(&entry->lane->ready))
        jobq__list_append(&q->ready, &entry->lane->ready);
    return rc;
}

static void jobq__tx_take_out(jobq *q, struct jobq__entry *entry) {
    jobq__assert(jobq__os_held(&q->pool.mu));
    jobq__ring_remove(&q->pool.ring, entry);
    jobq__list_append(&q->tx.taken, &entry->link);
    entry->gone = true;
}

/* A job that this very transaction has claimed is not to be run after all. */
static void jobq__tx_drop(jobq *q, struct jobq__entry *entry) {
    struct jobq__link *link;
    jobq__list_remove(&entry->link);
    jobq__list_append(&q->tx.dropped, &entry->link);
    q->tx.room++;
    q->tx.over++;
    q->tx.bytes += (int64_t)entry->row.size;
    if (entry->lane == q->suspects) q->tx.suspects--;
    entry->lane->last_claimed = NULL;
    for (link = q->tx.claimed.next; link != &q->tx.claimed; link = link->next)
        if (JOBQ__LINKED(link)->lane == entry->lane) jobq__tx_note_last(JOBQ__LINKED(link));
}

/* Keeps I2 when the ring may not grow: everything of the lane that sorts after row goes back to
 * the table, and the next claim takes the lane in order again. */
static int jobq__tx_narrow(jobq *q, struct jobq__name *lane, const struct jobq__row *row) {
    struct jobq__link *link, *next, *first = q->tx.taken.prev;
    int rc = JOBQ_OK;
    jobq__os_lock(&q->pool.mu);
    for (link = lane->ring.prev; link != &lane->ring; link = next) {
        next = link->prev;
        if (jobq__ring_compare(row, &JOBQ__LINKED(link)->row) >= 0) break;
        jobq__tx_take_out(q, JOBQ__LINKED(link));
        q->tx.room++;
        q->tx.over++;
    }
    jobq__os_unlock(&q->pool.mu);
    for (link = first->next; link != &q->tx.taken && rc == JOBQ_OK; link = link->next)
        rc = jobq__tx_unclaim(q, JOBQ__LINKED(link));
    for (link = q->tx.claimed.next; link != &q->tx.claimed && rc == JOBQ_OK; link = next) {
        struct jobq__entry *entry = JOBQ__LINKED(link);
        next = link->next;
        if (entry->lane != lane || jobq__ring_compare(row, &entry->row) >= 0) continue;
        rc = jobq__tx_unclaim(q, entry);
        jobq__tx_drop(q, entry);
    }
    return rc;
}

/* Claims one row that is ready, in or out of turn. */
static int jobq__tx_claim_row(jobq *q, struct jobq__name *lane, int64_t id) {
    jobq__walk *walk = jobq__store_by_id(q->tx.db, id);
    struct jobq__entry *entry = NULL;
    struct jobq__row row;
    bool more = false;
    int changed, rc;
    rc = jobq__store_next(q->tx.db, walk, &row, &more);
    if (rc == JOBQ_OK && more)
        entry = jobq__tx_entry(q, &row, jobq__registry_by_id(&q->names, row.kind), lane);
    if (walk) jobq__store_end(walk);
    if (rc != JOBQ_OK) return rc;
    if (!entry) return more ? JOBQ_NO_MEMORY : JOBQ_CORRUPT;
    rc = jobq__store_claim(q->tx.db, id, id, &changed);
    if (rc == JOBQ_OK && changed != 1) rc = JOBQ_CORRUPT;
    if (rc != JOBQ_OK) {
        jobq__tx_recycle(q, entry);
        return rc;
    }
    entry->row.runs++;
    jobq__tx_claimed(q, entry);
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__tx_ready(jobq *q, const struct jobq__row *row) {
    struct jobq__name *lane = jobq__tx_lane_name(q, row->lane);
    q->tx.ready = true;
    if (!lane) {
        q->look_lanes = true;
        return JOBQ_OK;
    }
    if (jobq__list_empty(&lane->ready)) jobq__list_append(&q->ready, &lane->ready);
    if (!q->tx.ordered || lane == q->suspects || !jobq__tx_before_tail(q, lane, row))
        return JOBQ_OK;
    if (q->tx.may_claim && q->tx.over > 0) {
        int rc = jobq__tx_claim_row(q, lane, row->id);
        if (rc != JOBQ_NO_MEMORY) return rc;
    }
    return jobq__tx_narrow(q, lane, row);
}

/* ---- Store ---- */

static int jobq__tx_new_name(jobq *q, const char *text, int64_t *id) {
    struct jobq__tx *tx = &q->tx;
    int rc;
    if (tx->new_count == tx->new_capacity) {
        size_t capacity = tx->new_capacity ? tx->new_capacity * 2 : 4;
        void *names = jobq__mem_resize(tx->new_names, capacity, sizeof *tx->new_names);
        if (!names) return JOBQ_NO_MEMORY;
        tx->new_names = names;
        tx->new_capacity = capacity;
    }
    rc = jobq__store_name_add(tx->db, text, id);
    if (rc != JOBQ_OK) return rc;
    tx->new_names[tx->new_count].id = *id;
    jobq__err_copy_text(tx->new_names[tx->new_count++].text, JOBQ_NAME_MAX + 1, text);
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__tx_resolve(jobq *q, const char *text, int32_t *id,
                                    struct jobq__name **name) {
    int64_t found;
    size_t i;
    int rc;
    *name = jobq__registry_by_text(&q->names, text);
    *id = *name ? (int32_t)(*name)->id : 0;
    if (*name) return JOBQ_OK;
    for (i = 0; i < q->tx.new_count; i++)
        if (strcmp(q->tx.new_names[i].text, text) == 0) {
            *id = (int32_t)q->tx.new_names[i].id;
            return JOBQ_OK;
        }
    rc = jobq__store_name_find(q->tx.db, text, &found);
    if (rc != JOBQ_OK) return rc;
    if (found) *name = jobq__registry_add(&q->names, found, text);
    else rc = jobq__tx_new_name(q, text, &found);
    *id = (int32_t)found;
    return rc;
}

JOBQ__INTERNAL int jobq__tx_flush(jobq *q) {
    bool taken = false;
    int rc = JOBQ_OK;
    if (q->tx.rows_count)
        rc = jobq__store_insert(q->tx.db, q->tx.rows, (size_t)q->tx.rows_count, &taken);
    q->tx.rows_count = 0;
    return taken ? JOBQ__AGAIN : rc;
}

/* A job that would be claimed by this very transaction is stored as claimed: no index entry is
 * written only to be removed. */
static bool jobq__tx_at_once(jobq *q, const struct jobq__row *row, struct jobq__name *kind,
                             struct jobq__name *lane) {
    struct jobq__tx *tx = &q->tx;
    if (!tx->may_claim || !kind || !lane || lane == q->suspects) return false;
    if (tx->room > 0 && tx->bytes > 0 && jobq__list_empty(&lane->ready)) return true;
    return tx->over > 0 && jobq__tx_before_tail(q, lane, row);
}

JOBQ__INTERNAL int jobq__tx_add(jobq *q, struct jobq__row *row, struct jobq__name *kind,
                                struct jobq__name *queue) {
    struct jobq__tx *tx = &q->tx;
    struct jobq__entry *entry = NULL;
    bool ready;
    int rc = JOBQ_OK;
    row->id = ++tx->last_id;
    row->attempt = 1;
    row->created_at_ms = tx->now_ms;
    row->lane = jobq__tx_lane(q, row);
    ready = row->lane > 0;
    if (ready && jobq__tx_at_once(q, row, kind, queue)) {
        entry = jobq__tx_entry(q, row, kind, queue);
        if (entry) {
            row->state = entry->row.state = JOBQ__CLAIMED;
            row->lane = entry->row.lane = JOBQ__LANE_NONE;
            row->runs = entry->row.runs = 1;
            jobq__tx_claimed(q, entry);
        }
    }
    tx->rows[tx->rows_count++] = *row;
    if (tx->rows_count == JOBQ__INSERT_ROWS) rc = jobq__tx_flush(q);
    if (row->lane == JOBQ__LANE_SCHEDULED) jobq__tx_scheduled(q, row->run_at_ms);
    if (rc == JOBQ_OK && ready && !entry) {
        /* Out of order: the row must stand in the table before tx_ready sees to it. */
        if (tx->ordered && queue && jobq__tx_before_tail(q, queue, row)) rc = jobq__tx_flush(q);
        if (rc == JOBQ_OK) rc = jobq__tx_ready(q, row);
    }
    tx->ready = tx->ready || entry;
    tx->add.enqueued++;
    return rc;
}

/* ---- Claim ---- */

JOBQ__INTERNAL struct jobq__entry *jobq__tx_take(jobq *q, int64_t id, bool *taken) {
    struct jobq__link *link;
    *taken = false;
    for (link = q->claimed.next; link != &q->claimed; link = link->next) {
        struct jobq__entry *entry = JOBQ__CLAIMED_ENTRY(link);
        if (entry->row.id != id || entry->gone) continue;
        jobq__os_lock(&q->pool.mu);
        if (entry->in_ring) {
            jobq__tx_take_out(q, entry);
            q->tx.claims_changed = *taken = true;
            if (entry->lane == q->suspects) q->tx.released++;
        }
        jobq__os_unlock(&q->pool.mu);
        return entry;
    }
    for (link = q->tx.claimed.next; link != &q->tx.claimed; link = link->next) {
        struct jobq__entry *entry = JOBQ__LINKED(link);
        if (entry->row.id != id) continue;
        jobq__tx_drop(q, entry);
        *taken = true;
        return entry;
    }
    return NULL;
}

JOBQ__INTERNAL int jobq__tx_give_back_all(jobq *q) {
    struct jobq__link *link, *first = q->tx.taken.prev;
    int rc = JOBQ_OK;
    jobq__os_lock(&q->pool.mu);
    for (link = q->claimed.next; link != &q->claimed; link = link->next) {
        struct jobq__entry *entry = JOBQ__CLAIMED_ENTRY(link);
        if (!entry->in_ring) continue;
        jobq__tx_take_out(q, entry);
        if (entry->lane == q->suspects) q->tx.released++;
    }
    jobq__os_unlock(&q->pool.mu);
    for (link = first->next; link != &q->tx.taken && rc == JOBQ_OK; link = link->next)
        rc = jobq__tx_unclaim(q, JOBQ__LINKED(link));
    return rc;
}

/* Marks entries that stand at the end of the claimed list, from first on, by runs of ids. */
static int jobq__tx_claim_entries(jobq *q, struct jobq__link *first) {
    struct jobq__link *link = first;
    while (link != &q->tx.claimed) {
        int64_t from = JOBQ__LINKED(link)->row.id, to = from;
        int changed, rc;
        for (link = link->next; link != &q->tx.claimed; link = link->next, to++)
            if (JOBQ__LINKED(link)->row.id != to + 1) break;
        rc = jobq__store_claim(q->tx.db, from, to, &changed);
        if (rc == JOBQ_OK && changed != (int)(to - from + 1)) rc = JOBQ_CORRUPT;
        if (rc != JOBQ_OK) return rc;
    }
    for (link = first; link != &q->tx.claimed; link = link->next) {
        JOBQ__LINKED(link)->row.runs++;
        JOBQ__LINKED(link)->row.state = JOBQ__CLAIMED;
    }
    return JOBQ_OK;
}

/* Rows met on a walk that are not to be claimed; they are moved when the walk is over. */
struct jobq__tx_aside {
    struct jobq__row rows[JOBQ__BATCH];
    int count;
};

static void jobq__tx_set_aside(struct jobq__tx_aside *aside, const struct jobq__row *row) {
    aside->rows[aside->count] = *row;
    aside->rows[aside->count++].payload = NULL;
}

/* Not claimable, found at the head of a lane: no handler, or died too often. */
static bool jobq__tx_unfit(jobq *q, const struct jobq__row *row) {
    const struct jobq__name *kind = jobq__registry_by_id(&q->names, row->kind);
    if (!kind || !jobq__os_load(&kind->handled)) return true;
    return row->crashes > 0 && kind->spec.crashes_max != JOBQ_UNLIMITED
        && row->crashes >= kind->spec.crashes_max;
}

static int jobq__tx_park_or_fail(jobq *q, const struct jobq__row *row) {
    static const char text[] = "crashed: the process died while this job ran, too often";
    if (!jobq__tx_handled(q, row->kind))
        return jobq__store_move(q->tx.db, row->id, -row->kind, 0);
    q->tx.add.crashed++;
    return jobq__tx_end(q, row, JOBQ__FAILED, text, JOBQ_CRASHED);
}

/* Claims up to limit rows of a lane; *moved counts what was parked or failed. */
static int jobq__tx_claim_lane(jobq *q, struct jobq__name *lane, int limit, int *claimed,
                               int *moved) {
    struct jobq__link *before = q->tx.claimed.prev;
    struct jobq__tx_aside aside;
    jobq__walk *walk = jobq__store_ready(q->tx.db, lane->id, limit);
    struct jobq__row row;
    bool more = true, out_of_room = false;
    int rc = JOBQ_OK, i;
    aside.count = *claimed = *moved = 0;
    while (*claimed + aside.count < limit && !out_of_room) {
        struct jobq__entry *entry;
        rc = jobq__store_next(q->tx.db, walk, &row, &more);
        if (rc != JOBQ_OK || !more) break;
        if (jobq__tx_unfit(q, &row)) {
            jobq__tx_set_aside(&aside, &row);
            continue;
        }
        entry = jobq__tx_entry(q, &row, jobq__registry_by_id(&q->names, row.kind), lane);
        if (!entry) {
            q->tx.starved = true;
            break;
        }
        jobq__tx_claimed(q, entry);
        ++*claimed;
        out_of_room = q->tx.bytes <= 0;
    }
    if (walk) jobq__store_end(walk);
    if (rc == JOBQ_OK && !more) jobq__list_remove(&lane->ready);
    if (rc == JOBQ_OK) rc = jobq__tx_claim_entries(q, before->next);
    for (i = 0; i < aside.count && rc == JOBQ_OK; i++)
        rc = jobq__tx_park_or_fail(q, &aside.rows[i]);
    *moved = aside.count;
    return rc;
}

/* Suspects never meet: one is claimed at a time. */
static int jobq__tx_lane_limit(jobq *q, const struct jobq__name *lane, int limit) {
    if (lane != q->suspects) return limit;
    return q->suspects_claimed - q->tx.released + q->tx.suspects > 0 ? 0 : 1;
}

/* Fills the ring from the lanes with ready rows, each its share, the next one first next time. */
static int jobq__tx_claim(jobq *q) {
    struct jobq__tx *tx = &q->tx;
    struct jobq__link *link;
    bool progress = true;
    int rc = JOBQ_OK;
    while (progress && !tx->starved && rc == JOBQ_OK && tx->room > 0 && tx->bytes > 0) {
        int lanes = 0, share;
        progress = false;
        for (link = q->ready.next; link != &q->ready; link = link->next) lanes++;
        share = lanes ? JOBQ__MAX(tx->room / lanes, 1) : 0;
        while (lanes-- > 0 && rc == JOBQ_OK && tx->room > 0 && tx->bytes > 0) {
            struct jobq__name *lane = JOBQ__CONTAINER(q->ready.next, struct jobq__name, ready);
            int limit = jobq__tx_lane_limit(q, lane, JOBQ__MIN(share, tx->room));
            int claimed = 0, moved = 0;
            if (limit > 0) rc = jobq__tx_claim_lane(q, lane, limit, &claimed, &moved);
            progress = progress || claimed || moved;
            if (jobq__list_empty(&lane->ready)) continue;
            jobq__list_remove(&lane->ready);
            jobq__list_append(&q->ready, &lane->ready);
        }
    }
    return rc;
}

/* ---- Promote ---- */

/* Moves one row to the lane it belongs to now. */
static int jobq__tx_move(jobq *q, struct jobq__row *row) {
    int rc;
    row->lane = jobq__tx_lane(q, row);
    rc = jobq__store_move(q->tx.db, row->id, row->lane, row->lane > 0 ? row->priority : 0);
    if (rc == JOBQ_OK && row->lane > 0) rc = jobq__tx_ready(q, row);
    return rc;
}

/* Reads up to a batch of rows; *more: there may be others. */
static int jobq__tx_walk(jobq *q, jobq__walk *walk, struct jobq__tx_aside *aside, bool *more) {
    struct jobq__row row;
    int rc = JOBQ_OK;
    aside->count = 0;
    *more = true;
    while (aside->count < JOBQ__BATCH) {
        rc = jobq__store_next(q->tx.db, walk, &row, more);
        if (rc != JOBQ_OK || !*more) break;
        jobq__tx_set_aside(aside, &row);
    }
    if (walk) jobq__store_end(walk);
    return rc;
}

/* Due rows become ready; if all of them fit into the ring and nothing stands before them they are
 * claimed from where they are, without the write in between. */
static int jobq__tx_promote(jobq *q) {
    struct jobq__tx_aside aside;
    bool more, fits;
    int rc, i;
    if (q->tx.next_due_ms == JOBQ_NEVER || q->tx.next_due_ms > q->tx.now_ms) return JOBQ_OK;
    rc = jobq__tx_walk(q, jobq__store_due(q->tx.db, q->tx.now_ms, JOBQ__BATCH), &aside, &more);
    fits = aside.count <= q->tx.room;
    for (i = 0; i < aside.count && rc == JOBQ_OK; i++) {
        struct jobq__name *lane = jobq__registry_by_id(&q->names, aside.rows[i].queue);
        bool direct = fits && q->tx.bytes > 0 && lane && jobq__list_empty(&lane->ready)
                   && !aside.rows[i].crashes && jobq__tx_handled(q, aside.rows[i].kind);
        rc = direct ? jobq__tx_claim_row(q, lane, aside.rows[i].id) : JOBQ_NO_MEMORY;
        if (rc == JOBQ_NO_MEMORY) rc = jobq__tx_move(q, &aside.rows[i]);
    }
    q->tx.due_stale = true;
    return rc;
}

JOBQ__INTERNAL int jobq__tx_unpark(jobq *q, int32_t kind, bool *more) {
    struct jobq__tx_aside aside;
    int i, rc = jobq__tx_walk(q, jobq__store_ready(q->tx.db, -kind, JOBQ__BATCH), &aside, more);
    for (i = 0; i < aside.count && rc == JOBQ_OK; i++) rc = jobq__tx_move(q, &aside.rows[i]);
    return rc;
}

/* What jobq_register could not finish. */
static int jobq__tx_unpark_next(jobq *q) {
    struct jobq__name *kind;
    bool more;
    int rc;
    if (jobq__list_empty(&q->parked)) return JOBQ_OK;
    kind = JOBQ__CONTAINER(q->parked.next, struct jobq__name, parked);
    rc = jobq__tx_unpark(q, (int32_t)kind->id, &more);
    if (rc == JOBQ_OK && !more) q->tx.unparked = kind;
    return rc;
}

/* Which lanes have rows: asked of the table at open, and when others may have written. */
static int jobq__tx_look_lanes(jobq *q) {
    char text[JOBQ_NAME_MAX + 1];
    int64_t lane = JOBQ__LANE_SCHEDULED;
    int rc;
    for (;;) {
        struct jobq__name *name;
        rc = jobq__store_lane_after(q->tx.db, lane, &lane);
        if (rc != JOBQ_OK || lane <= 0) break;
        name = jobq__tx_lane_name(q, lane);
        if (!name) {
            rc = jobq__store_name_text(q->tx.db, lane, text);
            if (rc != JOBQ_OK) return rc == JOBQ_NOT_FOUND ? JOBQ_CORRUPT : rc;
            name = jobq__registry_add(&q->names, lane, text);
        }
        if (!name) return JOBQ_NO_MEMORY;
        if (jobq__list_empty(&name->ready)) jobq__list_append(&q->ready, &name->ready);
    }
    if (rc == JOBQ_OK) rc = jobq__store_next_due(q->tx.db, &q->tx.next_due_ms);
    if (rc == JOBQ_OK) q->look_lanes = false;
    return rc;
}

/* ---- The claims row ---- */

static int jobq__tx_pack(jobq *q, size_t *size, int64_t *previous, int64_t id) {
    struct jobq__tx *tx = &q->tx;
    if (*size + JOBQ__PACK_MAX > tx->pack_capacity) {
        size_t capacity = tx->pack_capacity ? tx->pack_capacity * 2 : 256;
        void *pack = jobq__mem_resize(tx->pack, capacity, 1);
        if (!pack) return JOBQ_NO_MEMORY;
        tx->pack = pack;
        tx->pack_capacity = capacity;
    }
    *size += jobq__store_pack(tx->pack + *size, *previous, id);
    *previous = id;
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__tx_touch(jobq *q) {
    struct jobq__link *link;
    size_t size = 0;
    int64_t previous = 0;
    int rc = JOBQ_OK;
    for (link = q->claimed.next; link != &q->claimed && rc == JOBQ_OK; link = link->next)
        if (!JOBQ__CLAIMED_ENTRY(link)->gone)
            rc = jobq__tx_pack(q, &size, &previous, JOBQ__CLAIMED_ENTRY(link)->row.id);
    for (link = q->tx.claimed.next; link != &q->tx.claimed && rc == JOBQ_OK; link = link->next)
        rc = jobq__tx_pack(q, &size, &previous, JOBQ__LINKED(link)->row.id);
    return rc == JOBQ_OK ? jobq__store_claims_set(q->tx.db, q->tx.pack, size, q->tx.last_id) : rc;
}

JOBQ__INTERNAL int jobq__tx_fill(jobq *q) {
    struct jobq__tx *tx = &q->tx;
    int rc = JOBQ_OK;
    /* Not while there are names that a rollback would take away. */
    if (q->look_lanes && !q->client && !tx->new_count) rc = jobq__tx_look_lanes(q);
    if (rc == JOBQ_OK && tx->may_claim) rc = jobq__tx_unpark_next(q);
    if (rc == JOBQ_OK && tx->may_claim) rc = jobq__tx_promote(q);
    if (rc == JOBQ_OK && tx->may_claim) rc = jobq__tx_claim(q);
    if (rc == JOBQ_OK && tx->due_stale) rc = jobq__store_next_due(tx->db, &tx->next_due_ms);
    if (rc == JOBQ_OK && tx->claims_changed) rc = jobq__tx_touch(q);
    if (rc == JOBQ_OK) rc = jobq__event_reserve(&q->events, tx->changes_count);
    return rc;
}

JOBQ__INTERNAL void jobq__tx_leaves(jobq *q, const struct jobq__row *row) {
    /* It may be a client's, above all ids that we know. */
    q->tx.last_id = JOBQ__MAX(q->tx.last_id, row->id);
    if (row->state == JOBQ__WAITING && row->lane == JOBQ__LANE_SCHEDULED) q->tx.due_stale = true;
}

JOBQ__INTERNAL int jobq__tx_check_names(jobq *q) {
    struct jobq__tx *tx = &q->tx;
    size_t i, kept = 0;
    for (i = 0; i < tx->new_count; i++) {
        int64_t id;
        int rc = jobq__store_name_find(tx->db, tx->new_names[i].text, &id);
        if (rc != JOBQ_OK) return rc;
        if (id == tx->new_names[i].id) tx->new_names[kept++] = tx->new_names[i];
    }
    tx->new_count = kept;
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__tx_end(jobq *q, const struct jobq__row *row, int state, const char *text,
                                jobq_outcome outcome) {
    const struct jobq__name *kind = jobq__registry_by_id(&q->names, row->kind);
    bool handled = kind && jobq__os_load(&kind->handled);
    int64_t keep_ms = state == JOBQ__FAILED
        ? (handled ? kind->spec.keep_failed_ms : q->options.keep_failed_ms)
        : (handled ? kind->spec.keep_done_ms : q->options.keep_done_ms);
    struct jobq__db *db = q->tx.db;
    jobq_event event;
    int changed = 1, rc;
    memset(&event, 0, sizeof event);
    jobq__tx_leaves(q, row);
    if (keep_ms == JOBQ_NONE) {
        /* The highest row may go: the claims row remembers the id. */
        q->tx.claims_changed = true;
        rc = jobq__store_drop(db, row->kind, row->id, row->side);
    } else {
        rc = jobq__store_finish(db, row->id, row->state, row->runs, state, q->tx.now_ms,
                                jobq__tx_prune_at(q, keep_ms), text ? JOBQ__SIDE_EXTRA : 0,
                                &changed);
        if (rc == JOBQ_OK && !changed) rc = JOBQ_CORRUPT;
        if (rc == JOBQ_OK) rc = jobq__store_key_drop(db, row->kind, row->id, row->side);
        if (rc == JOBQ_OK && text)
            rc = jobq__store_extra(db, row->id, JOBQ__EXTRA_ERROR, text, strlen(text));
    }
    if (rc != JOBQ_OK) return rc;
    if (state == JOBQ__FAILED) q->tx.add.failed++;
    if (state == JOBQ__CANCELLED) q->tx.add.cancelled++;
    event.now_ms = q->tx.now_ms;
    event.id = row->id;
    event.from = JOBQ_STATE_PENDING;
    event.to = jobq__state_public(state, false);
    event.attempt = row->attempt;
    event.outcome = outcome;
    return jobq__tx_change(q, &event, row->kind, text);
}

/* ---- After COMMIT ---- */

static void jobq__tx_add_stats(jobq_stats *to, const jobq_stats *add) {
    to->enqueued += add->enqueued;
    to->done += add->done;
    to->retried += add->retried;
    to->failed += add->failed;
    to->cancelled += add->cancelled;
    to->crashed += add->crashed;
    to->lost_outcomes += add->lost_outcomes;
    to->commits++;
}

/* True if another transaction would find something to claim, promote or move. */
static bool jobq__tx_more(const jobq *q) {
    const struct jobq__link *link;
    if (q->look_lanes || !jobq__list_empty(&q->parked)) return true;
    if (q->next_due_ms != JOBQ_NEVER && q->next_due_ms <= q->tx.now_ms) return true;
    for (link = q->ready.next; link != &q->ready; link = link->next)
        if (link != &q->suspects->ready || !q->suspects_claimed) return true;
    return false;
}

static void jobq__tx_tell(jobq *q, int64_t id, int state, int attempt, const char *text) {
    struct jobq__link *link;
    if (!jobq__state_terminal(state)) return;
    for (link = q->pool.waiters.next; link != &q->pool.waiters; link = link->next) {
        struct jobq__waiter *waiter = JOBQ__CONTAINER(link, struct jobq__waiter, link);
        if (waiter->id != id || waiter->done) continue;
        waiter->done = true;
        waiter->info.id = id;
        waiter->info.state = jobq__state_public(state, false);
        waiter->info.attempt = attempt;
        jobq__err_copy_text(waiter->info.error, sizeof waiter->info.error, text ? text : "");
        jobq__os_signal(&waiter->cond);
    }
}

static void jobq__tx_tell_waiters(jobq *q) {
    struct jobq__link *link;
    size_t i;
    if (jobq__list_empty(&q->pool.waiters)) return;
    for (link = q->tx.settled.next; link != &q->tx.settled; link = link->next) {
        const struct jobq__entry *entry = JOBQ__LINKED(link);
        if (entry->verdict.outcome != JOBQ_OUTCOME_NONE)
            jobq__tx_tell(q, entry->row.id, entry->verdict.state, entry->row.attempt,
                          jobq__tx_text(entry));
    }
    for (i = 0; i < q->tx.changes_count; i++) {
        const struct jobq__change *change = &q->tx.changes[i];
        int state = change->event.to == JOBQ_STATE_CANCELLED ? JOBQ__CANCELLED
                  : change->event.to == JOBQ_STATE_FAILED ? JOBQ__FAILED : JOBQ__WAITING;
        jobq__tx_tell(q, change->event.id, state, change->event.attempt, change->text);
    }
}

static void jobq__tx_wake_workers(struct jobq__pool *pool, int jobs, struct jobq__wakes *wakes) {
    while (jobs-- > 0 && !jobq__list_empty(&pool->idle)) {
        struct jobq__worker *worker = JOBQ__CONTAINER(pool->idle.next, struct jobq__worker, link);
        jobq__list_remove(&worker->link);
        worker->idle = false;
        worker->woken = true;
        wakes->workers[wakes->count++] = worker;
    }
}

/* Everything that the pool sees of a commit, in one go. */
static void jobq__tx_publish(jobq *q, struct jobq__wakes *wakes) {
    struct jobq__pool *pool = &q->pool;
    struct jobq__tx *tx = &q->tx;
    int64_t due_ms = pool->due.timer.at_ms;
    int jobs = 0;
    jobq__os_lock(&pool->mu);
    while (!jobq__list_empty(&tx->claimed)) {
        struct jobq__entry *entry = JOBQ__LINKED(jobq__list_pop(&tx->claimed));
        jobq__ring_put(&pool->ring, entry);
        jobs++;
    }
    jobq__tx_add_stats(&pool->stats, &tx->add);
    pool->stats.wal_pages = tx->db->wal_pages;
    pool->more = jobq__tx_more(q);
    if (!q->client && (q->next_due_ms != due_ms || !jobq__timer_pending(&pool->due.timer)))
        jobq__wheel_add(&pool->wheel, &pool->due.timer, q->next_due_ms);
    /* Several transactions may share one set of wakes. */
    wakes->loop = wakes->loop || tx->ready || q->next_due_ms < due_ms;
    wakes->scheduler = wakes->scheduler || q->next_due_ms < due_ms
                    || tx->prune_at_ms < pool->prune_at_ms;
    pool->prune_at_ms = JOBQ__MIN(pool->prune_at_ms, tx->prune_at_ms);
    jobq__tx_tell_waiters(q);
    jobq__tx_wake_workers(pool, jobs, wakes);
    pool->starved = tx->starved;
    pool->retry_us = tx->starved ? JOBQ__RETRY_MAX_US / 10 : 0;
    pool->retry_at_us = tx->starved ? jobq__clock_mono_us() + pool->retry_us : 0;
    jobq__os_unlock(&pool->mu);
}

static void jobq__tx_emit(jobq *q) {
    size_t i;
    for (i = 0; i < q->tx.changes_count; i++) {
        struct jobq__change *change = &q->tx.changes[i];
        const struct jobq__name *kind = jobq__registry_by_id(&q->names, change->kind);
        change->event.kind = kind ? kind->text : "";
        jobq__event_add(&q->events, &change->event);
    }
}

JOBQ__INTERNAL void jobq__tx_applied(jobq *q, struct jobq__wakes *wakes) {
    struct jobq__tx *tx = &q->tx;
    struct jobq__link *link;
    size_t i;
    q->last_id = tx->last_id;
    q->next_due_ms = tx->next_due_ms;
    q->suspects_claimed += tx->suspects - tx->released;
    if (tx->unparked) jobq__list_remove(&tx->unparked->parked);
    for (link = tx->claimed.next; link != &tx->claimed; link = link->next) {
        struct jobq__entry *entry = JOBQ__LINKED(link);
        jobq__list_append(&q->claimed, &entry->claimed);
        entry->lane->last_claimed = NULL;
        q->last_id = JOBQ__MAX(q->last_id, entry->row.id);
    }
    for (i = 0; i < tx->new_count; i++)
        jobq__registry_add(&q->names, tx->new_names[i].id, tx->new_names[i].text);
    /* Before the ring is filled: a worker tells of a start as soon as it finds the job there. */
    jobq__tx_emit(q);
    jobq__tx_publish(q, wakes);
    jobq__tx_recycle_all(q, &tx->settled);
    jobq__tx_recycle_all(q, &tx->taken);
    jobq__tx_recycle_all(q, &tx->dropped);
}
