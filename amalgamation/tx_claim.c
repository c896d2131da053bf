/* tx_claim.c - what fills the ring: promote, park, claim, and the claims row. */
#include "tx.h"

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

JOBQ__INTERNAL int jobq__tx_give_back(jobq *q) {
    struct jobq__link *link, *first = q->tx.taken.prev;
    int room = jobq__disk_batch(q, INT32_MAX);
    int rc = JOBQ_OK;
    jobq__os_lock(&q->pool.mu);
    for (link = q->claimed.next; link != &q->claimed && room > 0; link = link->next) {
        struct jobq__entry *entry = JOBQ__CLAIMED_ENTRY(link);
        if (!entry->in_ring) continue;
        room--;
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
        if (rc == JOBQ_OK && changed != (int)(to - from + 1)) rc = jobq__tx_stray(q, from);
        if (rc != JOBQ_OK) return rc;
    }
    for (link = first; link != &q->tx.claimed; link = link->next) {
        JOBQ__LINKED(link)->row.runs++;
        JOBQ__LINKED(link)->row.state = JOBQ__CLAIMED;
    }
    return JOBQ_OK;
}

/* Rows that a walk meets and that are to be moved when it is over. One walk at a time: the rows are
 * not on the stack, which is the caller's and may be small. */
static int jobq__tx_set_aside(jobq *q, const struct jobq__row *row) {
    struct jobq__tx *tx = &q->tx;
    if (tx->aside_count == tx->aside_capacity) {
        size_t capacity = tx->aside_capacity ? tx->aside_capacity * 2 : 8;
        void *aside = jobq__mem_resize(tx->aside, capacity, sizeof *tx->aside);
        if (!aside) return JOBQ_NO_MEMORY;
        tx->aside = aside;
        tx->aside_capacity = capacity;
    }
    tx->aside[tx->aside_count] = *row;
    tx->aside[tx->aside_count++].payload = NULL;
    return JOBQ_OK;
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
    if (!jobq__tx_handled(q, row->kind)) {
        int rc = jobq__tx_know(q, row->kind);
        return rc == JOBQ_OK ? jobq__store_move(q->tx.db, row->id, -row->kind, 0) : rc;
    }
    /* The crash itself was counted when it was found out. */
    return jobq__tx_end(q, row, JOBQ__FAILED, text, JOBQ_CRASHED);
}

/* Claims up to limit rows of a lane; *moved counts what was parked or failed. */
static int jobq__tx_claim_lane(jobq *q, struct jobq__name *lane, int limit, int *claimed,
                               int *moved) {
    struct jobq__link *before = q->tx.claimed.prev;
    jobq__walk *walk = jobq__store_ready(q->tx.db, lane->id, limit);
    struct jobq__row row;
    bool more = true, out_of_room = false;
    size_t i;
    int rc = JOBQ_OK;
    q->tx.aside_count = 0;
    *claimed = *moved = 0;
    while (*claimed + *moved < limit && !out_of_room) {
        struct jobq__entry *entry;
        rc = jobq__store_next(q->tx.db, walk, &row, &more);
        if (rc != JOBQ_OK || !more) break;
        if (jobq__tx_unfit(q, &row)) {
            rc = jobq__tx_set_aside(q, &row);
            if (rc != JOBQ_OK) break;
            ++*moved;
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
    for (i = 0; i < q->tx.aside_count && rc == JOBQ_OK; i++)
        rc = jobq__tx_park_or_fail(q, &q->tx.aside[i]);
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

static int jobq__tx_move(jobq *q, struct jobq__row *row, int32_t lane) {
    int rc = lane ? jobq__tx_know(q, lane < 0 ? -lane : lane) : JOBQ_OK;
    row->lane = lane;
    if (rc == JOBQ_OK)
        rc = jobq__store_move(q->tx.db, row->id, row->lane, row->lane > 0 ? row->priority : 0);
    if (rc == JOBQ_OK && row->lane > 0) rc = jobq__tx_ready(q, row);
    return rc;
}

/* Reads up to a batch of rows, on a full disk a small one; *more: there may be others. */
static int jobq__tx_walk(jobq *q, jobq__walk *walk, bool *more) {
    struct jobq__row row;
    int batch = jobq__disk_batch(q, JOBQ__BATCH), rc = JOBQ_OK;
    q->tx.aside_count = 0;
    *more = true;
    while (rc == JOBQ_OK && batch-- > 0) {
        rc = jobq__store_next(q->tx.db, walk, &row, more);
        if (rc != JOBQ_OK || !*more) break;
        rc = jobq__tx_set_aside(q, &row);
    }
    if (walk) jobq__store_end(walk);
    return rc;
}

/* Due rows become ready; if all of them fit into the ring and nothing stands before them they are
 * claimed from where they are, without the write in between. */
static int jobq__tx_promote(jobq *q) {
    bool more, fits;
    size_t i;
    int rc;
    if (q->tx.next_due_ms == JOBQ_NEVER || q->tx.next_due_ms > q->tx.now_ms) return JOBQ_OK;
    rc = jobq__tx_walk(q, jobq__store_due(q->tx.db, q->tx.now_ms, JOBQ__BATCH), &more);
    fits = q->tx.room > 0 && q->tx.aside_count <= (size_t)q->tx.room;
    for (i = 0; i < q->tx.aside_count && rc == JOBQ_OK; i++) {
        struct jobq__row *row = &q->tx.aside[i];
        struct jobq__name *lane = jobq__registry_by_id(&q->names, row->queue);
        bool direct = fits && q->tx.bytes > 0 && lane && jobq__list_empty(&lane->ready)
                   && !q->look_lanes && !row->crashes && jobq__tx_handled(q, row->kind);
        rc = direct ? jobq__tx_claim_row(q, lane, row->id) : JOBQ_NO_MEMORY;
        if (jobq__tx_can_wait(q, rc)) rc = jobq__tx_move(q, row, jobq__tx_lane(q, row));
    }
    q->tx.due_stale = true;
    /* Or else it would be due for ever. */
    if (rc != JOBQ_OK || q->tx.aside_count) return rc;
    rc = jobq__store_next_due(q->tx.db, &q->tx.next_due_ms);
    if (rc == JOBQ_OK && q->tx.next_due_ms <= q->tx.now_ms && q->tx.next_due_ms != JOBQ_NEVER)
        rc = jobq__db_fault(q->tx.db, "jobq_job", 0, "the index jobq_live", "is out of order");
    return rc;
}

JOBQ__INTERNAL int jobq__tx_unpark(jobq *q, int32_t kind, bool *more) {
    size_t i;
    int rc = jobq__tx_walk(q, jobq__store_ready(q->tx.db, -kind, JOBQ__BATCH), more);
    /* Their time has come, even if the clock was set back since they were parked. */
    for (i = 0; i < q->tx.aside_count && rc == JOBQ_OK; i++) {
        struct jobq__row *row = &q->tx.aside[i];
        rc = jobq__tx_move(q, row, row->crashes > 0 ? JOBQ__LANE_SUSPECT : row->queue);
    }
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
    int64_t lane = JOBQ__LANE_SCHEDULED;
    bool again = false;
    int rc;
    for (;;) {
        struct jobq__name *name;
        rc = jobq__store_lane_after(q->tx.db, lane, &lane);
        if (rc == JOBQ_OK && lane > 0) rc = jobq__tx_know(q, lane);
        if (rc != JOBQ_OK || lane <= 0) break;
        name = jobq__tx_lane_name(q, lane);
        /* One whose name was lost is a lane when the new one is committed. */
        if (!name) again = true;
        else if (jobq__list_empty(&name->ready)) jobq__list_append(&q->ready, &name->ready);
    }
    if (rc == JOBQ_OK) rc = jobq__store_all_due(q->tx.db);
    if (rc == JOBQ_OK) rc = jobq__store_next_due(q->tx.db, &q->tx.next_due_ms);
    if (rc == JOBQ_OK) q->look_lanes = again;
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
    if (rc == JOBQ_OK) rc = jobq__tx_know_claimed(q);
    if (rc == JOBQ_OK && tx->claims_changed) rc = jobq__tx_touch(q);
    if (rc == JOBQ_OK) rc = jobq__event_reserve(&q->events, tx->changes_count);
    return rc;
}
