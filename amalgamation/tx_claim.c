/* tx_claim.c - what fills the ring: promote, park, claim, and the claims row. */
#include "tx.h"

/* ---- Claim ---- */

JOBQ__INTERNAL struct jobq__entry *jobq__tx_take(struct jobq__tx *tx, int64_t id, bool *taken) {
    jobq *q = tx->q;
    struct jobq__link *link;
    *taken = false;
    for (link = q->claimed.next; link != &q->claimed; link = link->next) {
        struct jobq__entry *entry = JOBQ__CLAIMED_ENTRY(link);
        if (entry->row.id != id || entry->gone) continue;
        jobq__os_lock(&q->pool.mu);
        if (entry->in_ring) {
            jobq__tx_take_out(tx, entry);
            tx->claims_changed = *taken = true;
            if (entry->lane == q->suspects) tx->released++;
        }
        jobq__os_unlock(&q->pool.mu);
        return entry;
    }
    for (link = tx->claimed.next; link != &tx->claimed; link = link->next) {
        struct jobq__entry *entry = JOBQ__LINKED(link);
        if (entry->row.id != id) continue;
        jobq__tx_drop(tx, entry);
        *taken = true;
        return entry;
    }
    return NULL;
}

JOBQ__INTERNAL int jobq__tx_give_back(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__link *link, *first = tx->taken.prev;
    int room = jobq__disk_batch(q, INT32_MAX);
    int rc = JOBQ_OK;
    jobq__os_lock(&q->pool.mu);
    for (link = q->claimed.next; link != &q->claimed && room > 0; link = link->next) {
        struct jobq__entry *entry = JOBQ__CLAIMED_ENTRY(link);
        if (!entry->in_ring) continue;
        room--;
        jobq__tx_take_out(tx, entry);
        if (entry->lane == q->suspects) tx->released++;
    }
    jobq__os_unlock(&q->pool.mu);
    for (link = first->next; link != &tx->taken && rc == JOBQ_OK; link = link->next)
        rc = jobq__tx_unclaim(tx, JOBQ__LINKED(link));
    return rc;
}

/* Marks entries that stand at the end of the claimed list, from first on, by runs of ids. */
static int jobq__tx_claim_entries(struct jobq__tx *tx, struct jobq__link *first) {
    struct jobq__link *link = first;
    while (link != &tx->claimed) {
        int64_t from = JOBQ__LINKED(link)->row.id, to = from;
        int changed, rc;
        for (link = link->next; link != &tx->claimed; link = link->next, to++)
            if (JOBQ__LINKED(link)->row.id != to + 1) break;
        rc = jobq__store_claim(tx->db, from, to, &changed);
        if (rc == JOBQ_OK && changed != (int)(to - from + 1)) rc = jobq__tx_stray(tx, from);
        if (rc != JOBQ_OK) return rc;
    }
    for (link = first; link != &tx->claimed; link = link->next) {
        JOBQ__LINKED(link)->row.runs++;
        JOBQ__LINKED(link)->row.state = JOBQ__CLAIMED;
    }
    return JOBQ_OK;
}

/* Rows that a walk meets and that are to be moved when it is over. One walk at a time: the rows are
 * not on the stack, which is the caller's and may be small. */
static int jobq__tx_set_aside(struct jobq__tx *tx, const struct jobq__row *row) {
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
static bool jobq__tx_unfit(struct jobq__tx *tx, const struct jobq__row *row) {
    jobq *q = tx->q;
    const struct jobq__name *kind = jobq__registry_by_id(&q->names, row->kind);
    if (!kind || !jobq__os_load(&kind->handled)) return true;
    return row->crashes > 0 && kind->spec.crashes_max != JOBQ_UNLIMITED
        && row->crashes >= kind->spec.crashes_max;
}

static int jobq__tx_park_or_fail(struct jobq__tx *tx, const struct jobq__row *row) {
    static const char text[] = "crashed: the process died while this job ran, too often";
    if (!jobq__tx_handled(tx, row->kind)) {
        int rc = jobq__tx_know(tx, row->kind);
        return rc == JOBQ_OK ? jobq__store_move(tx->db, row->id, -row->kind, 0) : rc;
    }
    /* The crash itself was counted when it was found out. */
    return jobq__tx_end(tx, row, JOBQ__FAILED, text, JOBQ_CRASHED);
}

/* Claims up to limit rows of a lane; *moved counts what was parked or failed. */
static int jobq__tx_claim_lane(struct jobq__tx *tx, struct jobq__name *lane, int limit,
                               int *claimed, int *moved) {
    jobq *q = tx->q;
    struct jobq__link *before = tx->claimed.prev;
    jobq__walk *walk = jobq__store_ready(tx->db, lane->id, limit);
    struct jobq__row row;
    bool more = true, out_of_room = false;
    size_t i;
    int rc = JOBQ_OK;
    tx->aside_count = 0;
    *claimed = *moved = 0;
    while (*claimed + *moved < limit && !out_of_room) {
        struct jobq__entry *entry;
        rc = jobq__store_next(tx->db, walk, &row, &more);
        if (rc != JOBQ_OK || !more) break;
        if (jobq__tx_unfit(tx, &row)) {
            rc = jobq__tx_set_aside(tx, &row);
            if (rc != JOBQ_OK) break;
            ++*moved;
            continue;
        }
        entry = jobq__tx_entry(tx, &row, jobq__registry_by_id(&q->names, row.kind), lane);
        if (!entry) {
            tx->starved = true;
            break;
        }
        jobq__tx_claimed(tx, entry);
        ++*claimed;
        out_of_room = tx->bytes <= 0;
    }
    if (walk) jobq__store_end(walk);
    if (rc == JOBQ_OK && !more) jobq__list_remove(&lane->ready);
    if (rc == JOBQ_OK) rc = jobq__tx_claim_entries(tx, before->next);
    for (i = 0; i < tx->aside_count && rc == JOBQ_OK; i++)
        rc = jobq__tx_park_or_fail(tx, &tx->aside[i]);
    return rc;
}

/* Suspects never meet: one is claimed at a time. */
static int jobq__tx_lane_limit(struct jobq__tx *tx, const struct jobq__name *lane, int limit) {
    jobq *q = tx->q;
    if (lane != q->suspects) return limit;
    return q->suspects_claimed - tx->released + tx->suspects > 0 ? 0 : 1;
}

/* Fills the ring from the lanes with ready rows, each its share, the next one first next time. */
static int jobq__tx_claim(struct jobq__tx *tx) {
    jobq *q = tx->q;
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
            int limit = jobq__tx_lane_limit(tx, lane, JOBQ__MIN(share, tx->room));
            int claimed = 0, moved = 0;
            if (limit > 0) rc = jobq__tx_claim_lane(tx, lane, limit, &claimed, &moved);
            progress = progress || claimed || moved;
            if (jobq__list_empty(&lane->ready)) continue;
            jobq__list_remove(&lane->ready);
            jobq__list_append(&q->ready, &lane->ready);
        }
    }
    return rc;
}

/* ---- Promote ---- */

static int jobq__tx_move(struct jobq__tx *tx, struct jobq__row *row, int32_t lane) {
    int rc = lane ? jobq__tx_know(tx, lane < 0 ? -lane : lane) : JOBQ_OK;
    row->lane = lane;
    if (rc == JOBQ_OK)
        rc = jobq__store_move(tx->db, row->id, row->lane, row->lane > 0 ? row->priority : 0);
    if (rc == JOBQ_OK && row->lane > 0) rc = jobq__tx_ready(tx, row);
    return rc;
}

/* Reads up to a batch of rows, on a full disk a small one; *more: there may be others. */
static int jobq__tx_walk(struct jobq__tx *tx, jobq__walk *walk, bool *more) {
    jobq *q = tx->q;
    struct jobq__row row;
    int batch = jobq__disk_batch(q, JOBQ__BATCH), rc = JOBQ_OK;
    tx->aside_count = 0;
    *more = true;
    while (rc == JOBQ_OK && batch-- > 0) {
        rc = jobq__store_next(tx->db, walk, &row, more);
        if (rc != JOBQ_OK || !*more) break;
        rc = jobq__tx_set_aside(tx, &row);
    }
    if (walk) jobq__store_end(walk);
    return rc;
}

/* Due rows become ready; if all of them fit into the ring and nothing stands before them they are
 * claimed from where they are, without the write in between. */
static int jobq__tx_promote(struct jobq__tx *tx) {
    jobq *q = tx->q;
    bool more, fits;
    size_t i;
    int rc;
    if (tx->next_due_ms == JOBQ_NEVER || tx->next_due_ms > tx->now_ms) return JOBQ_OK;
    rc = jobq__tx_walk(tx, jobq__store_due(tx->db, tx->now_ms, JOBQ__BATCH), &more);
    fits = tx->room > 0 && tx->aside_count <= (size_t)tx->room;
    for (i = 0; i < tx->aside_count && rc == JOBQ_OK; i++) {
        struct jobq__row *row = &tx->aside[i];
        struct jobq__name *lane = jobq__registry_by_id(&q->names, row->queue);
        bool direct = fits && tx->bytes > 0 && lane && jobq__list_empty(&lane->ready)
                   && !q->look_lanes && !row->crashes && jobq__tx_handled(tx, row->kind);
        rc = direct ? jobq__tx_claim_row(tx, lane, row->id) : JOBQ_NO_MEMORY;
        if (jobq__tx_can_wait(tx, rc)) rc = jobq__tx_move(tx, row, jobq__tx_lane(tx, row));
    }
    tx->due_stale = true;
    /* Or else it would be due for ever. */
    if (rc != JOBQ_OK || tx->aside_count) return rc;
    rc = jobq__store_next_due(tx->db, &tx->next_due_ms);
    if (rc == JOBQ_OK && tx->next_due_ms <= tx->now_ms && tx->next_due_ms != JOBQ_NEVER)
        rc = jobq__db_fault(tx->db, "jobq_job", 0, "the index jobq_live", "is out of order");
    return rc;
}

JOBQ__INTERNAL int jobq__tx_unpark(struct jobq__tx *tx, int32_t kind, bool *more) {
    size_t i;
    int rc = jobq__tx_walk(tx, jobq__store_ready(tx->db, -kind, JOBQ__BATCH), more);
    /* Their time has come, even if the clock was set back since they were parked. */
    for (i = 0; i < tx->aside_count && rc == JOBQ_OK; i++) {
        struct jobq__row *row = &tx->aside[i];
        rc = jobq__tx_move(tx, row, row->crashes > 0 ? JOBQ__LANE_SUSPECT : row->queue);
    }
    return rc;
}

/* What jobq_register could not finish. */
static int jobq__tx_unpark_next(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__name *kind;
    bool more;
    int rc;
    if (jobq__list_empty(&q->parked)) return JOBQ_OK;
    kind = JOBQ__CONTAINER(q->parked.next, struct jobq__name, parked);
    rc = jobq__tx_unpark(tx, (int32_t)kind->id, &more);
    if (rc == JOBQ_OK && !more) tx->unparked = kind;
    return rc;
}

/* Which lanes have rows: asked of the table at open, and when others may have written. */
static int jobq__tx_look_lanes(struct jobq__tx *tx) {
    jobq *q = tx->q;
    int64_t lane = JOBQ__LANE_SCHEDULED;
    bool again = false;
    int rc;
    for (;;) {
        struct jobq__name *name;
        rc = jobq__store_lane_after(tx->db, lane, &lane);
        if (rc == JOBQ_OK && lane > 0) rc = jobq__tx_know(tx, lane);
        if (rc != JOBQ_OK || lane <= 0) break;
        name = jobq__tx_lane_name(tx, lane);
        /* One whose name was lost is a lane when the new one is committed. */
        if (!name) again = true;
        else if (jobq__list_empty(&name->ready)) jobq__list_append(&q->ready, &name->ready);
    }
    if (rc == JOBQ_OK) rc = jobq__store_all_due(tx->db);
    if (rc == JOBQ_OK) rc = jobq__store_next_due(tx->db, &tx->next_due_ms);
    if (rc == JOBQ_OK) q->look_lanes = again;
    return rc;
}

/* ---- The claims row ---- */

static int jobq__tx_pack(struct jobq__tx *tx, size_t *size, int64_t *previous, int64_t id) {
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

JOBQ__INTERNAL int jobq__tx_touch(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__link *link;
    size_t size = 0;
    int64_t previous = 0;
    int rc = JOBQ_OK;
    for (link = q->claimed.next; link != &q->claimed && rc == JOBQ_OK; link = link->next)
        if (!JOBQ__CLAIMED_ENTRY(link)->gone)
            rc = jobq__tx_pack(tx, &size, &previous, JOBQ__CLAIMED_ENTRY(link)->row.id);
    for (link = tx->claimed.next; link != &tx->claimed && rc == JOBQ_OK; link = link->next)
        rc = jobq__tx_pack(tx, &size, &previous, JOBQ__LINKED(link)->row.id);
    return rc == JOBQ_OK ? jobq__store_claims_set(tx->db, tx->pack, size, tx->last_id) : rc;
}

JOBQ__INTERNAL int jobq__tx_fill(struct jobq__tx *tx) {
    jobq *q = tx->q;
    int rc = JOBQ_OK;
    /* Not while there are names that a rollback would take away. */
    if (q->look_lanes && !q->client && !tx->new_count) rc = jobq__tx_look_lanes(tx);
    if (rc == JOBQ_OK && tx->may_claim) rc = jobq__tx_unpark_next(tx);
    if (rc == JOBQ_OK && tx->may_claim) rc = jobq__tx_promote(tx);
    if (rc == JOBQ_OK && tx->may_claim) rc = jobq__tx_claim(tx);
    if (rc == JOBQ_OK && tx->due_stale) rc = jobq__store_next_due(tx->db, &tx->next_due_ms);
    if (rc == JOBQ_OK) rc = jobq__tx_know_claimed(tx);
    if (rc == JOBQ_OK && tx->claims_changed) rc = jobq__tx_touch(tx);
    if (rc == JOBQ_OK) rc = jobq__event_reserve(&q->events, tx->changes_count);
    return rc;
}
