/* tx_order.c - where a job stands: before which gate, in which lane, and in what order. */
#include "door.h"

/* Design note.
 *
 * jobq__tx_due_lane is the one predicate for what may start: where a row waits whose time has come.
 * That is before the first gate of a fixed order that it may not pass (-kind: no handler), or ready
 * in a line: that of the suspects, if it crashed before, else its queue's. The gate of a line never
 * moves a row: who waits for it waits in the line, and a claim takes as many as there is room for
 * (tx_claim.c).
 *
 * The rest keeps I2 and I3 of tx.h: who makes a row ready says so here (tx_ready), and who puts one
 * back where it stood (tx_fills). A job holds places of all its gates from its claim (tx_claimed)
 * until it is settled, given back, or dropped (tx_let). */

/* ---- Places: lanes, order, the ring's window ---- */

JOBQ__INTERNAL bool jobq__tx_handled(const struct jobq__tx *tx, int64_t kind) {
    const struct jobq__kind *known = jobq__registry_kind(&tx->q->names, kind);
    return known && !jobq__gate_is_shut(&known->gate);
}

JOBQ__INTERNAL int32_t jobq__tx_lane(struct jobq__tx *tx, const struct jobq__row *row) {
    if (row->run_at_ms > tx->now_ms || row->run_at_ms == JOBQ_NEVER) return JOBQ__LANE_SCHEDULED;
    return jobq__tx_due_lane(tx, row);
}

JOBQ__INTERNAL int32_t jobq__tx_due_lane(struct jobq__tx *tx, const struct jobq__row *row) {
    if (!tx->blind && !jobq__tx_handled(tx, row->kind)) return -row->kind;
    return row->crashes > 0 ? JOBQ__LANE_SUSPECT : row->queue;
}

JOBQ__INTERNAL void jobq__tx_scheduled(struct jobq__tx *tx, int64_t at_ms) {
    tx->next_due_ms = JOBQ__MIN(tx->next_due_ms, at_ms);
}

JOBQ__INTERNAL struct jobq__lane *jobq__tx_line(const struct jobq__tx *tx, int64_t lane) {
    if (lane == JOBQ__LANE_SUSPECT) return tx->q->suspects;
    return jobq__registry_lane(&tx->q->names, lane);
}

static void jobq__tx_fill_line(struct jobq__tx *tx, struct jobq__lane *lane) {
    if (!lane) tx->q->look_lanes = true; /* its name is not known here */
    else if (jobq__list_empty(&lane->ready)) jobq__list_append(&tx->q->ready, &lane->ready);
}

JOBQ__INTERNAL void jobq__tx_fills(struct jobq__tx *tx, int64_t lane) {
    if (lane > JOBQ__LANE_SCHEDULED) jobq__tx_fill_line(tx, jobq__tx_line(tx, lane));
}

JOBQ__INTERNAL bool jobq__tx_before_tail(struct jobq__tx *tx, struct jobq__lane *lane,
                                         const struct jobq__row *row) {
    jobq *q = tx->q;
    struct jobq__entry *last;
    bool before;
    if (lane->last_claimed && jobq__ring_compare(row, lane->last_claimed) < 0) return true;
    jobq__os_lock(&q->pool.mu);
    last = jobq__ring_last(lane);
    before = last && jobq__ring_compare(row, &last->row) < 0;
    jobq__os_unlock(&q->pool.mu);
    return before;
}

JOBQ__INTERNAL void jobq__tx_hold(struct jobq__entry *entry) {
    jobq__gate_enter(&entry->kind->gate);
    jobq__gate_enter(&entry->lane->gate);
}

JOBQ__INTERNAL void jobq__tx_let(struct jobq__entry *entry) {
    jobq__gate_leave(&entry->kind->gate);
    jobq__gate_leave(&entry->lane->gate);
}

JOBQ__INTERNAL void jobq__tx_gone(struct jobq__entry *entry, bool gone) {
    if (entry->gone == gone) return;
    entry->gone = gone;
    if (gone) jobq__tx_let(entry);
    else jobq__tx_hold(entry);
}

JOBQ__INTERNAL void jobq__tx_claimed(struct jobq__tx *tx, struct jobq__entry *entry) {
    entry->serial = ++tx->serial;
    jobq__list_append(&tx->claimed, &entry->link);
    jobq__tx_note_last(entry);
    tx->claims_changed = true;
    tx->room--;
    tx->over--;
    tx->bytes -= (int64_t)entry->row.size;
    jobq__tx_hold(entry);
}

JOBQ__INTERNAL int jobq__tx_unclaim(struct jobq__tx *tx, struct jobq__entry *entry) {
    struct jobq__edge edge;
    jobq__door_begin(&edge, &entry->row, JOBQ__WAITING);
    edge.entry = entry;
    edge.back = true;
    edge.now.runs--;
    return jobq__door_pass(tx, &edge);
}

JOBQ__INTERNAL void jobq__tx_take_out(struct jobq__tx *tx, struct jobq__entry *entry) {
    jobq *q = tx->q;
    jobq__assert(jobq__os_held(&q->pool.mu));
    jobq__ring_remove(&q->pool.ring, entry);
    jobq__list_append(&tx->taken, &entry->link);
    jobq__tx_gone(entry, true);
}

/* A job that this very transaction has claimed is not to be run after all. */
JOBQ__INTERNAL void jobq__tx_drop(struct jobq__tx *tx, struct jobq__entry *entry) {
    struct jobq__link *link;
    jobq__list_remove(&entry->link);
    jobq__list_append(&tx->dropped, &entry->link);
    tx->room++;
    tx->over++;
    tx->bytes += (int64_t)entry->row.size;
    jobq__tx_gone(entry, true);
    entry->lane->last_claimed = NULL;
    for (link = tx->claimed.next; link != &tx->claimed; link = link->next)
        if (JOBQ__LINKED(link)->lane == entry->lane) jobq__tx_note_last(JOBQ__LINKED(link));
}

/* Keeps I2 when the ring may not grow: everything of the lane that sorts after row goes back to
 * the table, and the next claim takes the lane in order again. */
static int jobq__tx_narrow(struct jobq__tx *tx, struct jobq__lane *lane,
                           const struct jobq__row *row) {
    jobq *q = tx->q;
    struct jobq__link *link, *next, *first = tx->taken.prev;
    int rc = JOBQ_OK;
    jobq__os_lock(&q->pool.mu);
    for (link = lane->ring.prev; link != &lane->ring; link = next) {
        next = link->prev;
        if (jobq__ring_compare(row, &JOBQ__LINKED(link)->row) >= 0) break;
        jobq__tx_take_out(tx, JOBQ__LINKED(link));
        tx->room++;
        tx->over++;
    }
    jobq__os_unlock(&q->pool.mu);
    for (link = first->next; link != &tx->taken && rc == JOBQ_OK; link = link->next)
        rc = jobq__tx_unclaim(tx, JOBQ__LINKED(link));
    for (link = tx->claimed.next; link != &tx->claimed && rc == JOBQ_OK; link = next) {
        struct jobq__entry *entry = JOBQ__LINKED(link);
        next = link->next;
        if (entry->lane != lane || jobq__ring_compare(row, &entry->row) >= 0) continue;
        rc = jobq__tx_unclaim(tx, entry);
        jobq__tx_drop(tx, entry);
    }
    return rc;
}

JOBQ__INTERNAL int jobq__tx_stray(struct jobq__tx *tx, int64_t id) {
    return jobq__store_damaged(tx->db, JOBQ__DAMAGE_ROW, id);
}

/* Claims one row that is ready, in or out of turn. */
JOBQ__INTERNAL int jobq__tx_claim_row(struct jobq__tx *tx, struct jobq__lane *lane, int64_t id) {
    jobq *q = tx->q;
    jobq__walk *walk = jobq__store_by_id(tx->db, id);
    struct jobq__entry *entry = NULL;
    struct jobq__row row;
    bool more = false;
    int rc;
    rc = jobq__store_next(tx->db, walk, &row, &more);
    if (rc == JOBQ_OK && more)
        rc = jobq__tx_entry(tx, &row, jobq__registry_kind(&q->names, row.kind), lane, &entry);
    if (walk) jobq__store_end(walk);
    if (rc != JOBQ_OK) return rc;
    rc = more ? jobq__door_claim(tx, id, id) : jobq__tx_stray(tx, id);
    if (rc != JOBQ_OK) {
        if (entry) jobq__tx_recycle(q, entry);
        return rc;
    }
    entry->row.runs++;
    entry->row.state = JOBQ__CLAIMED;
    jobq__tx_claimed(tx, entry);
    return JOBQ_OK;
}

JOBQ__INTERNAL bool jobq__tx_can_wait(const struct jobq__tx *tx, int rc) {
    return rc == JOBQ_NO_MEMORY && jobq__store_in_transaction(tx->db);
}

/* I2 for a row that has just become ready, unless the ring is larger than what a full disk lets a
 * transaction give back. */
static bool jobq__tx_in_order(struct jobq__tx *tx, struct jobq__lane *lane,
                              const struct jobq__row *row) {
    jobq *q = tx->q;
    if (lane->unordered || q->disk.level != JOBQ__DISK_ROOMY || jobq__os_load(&q->failed))
        return true;
    return !jobq__tx_before_tail(tx, lane, row);
}

JOBQ__INTERNAL int jobq__tx_ready(struct jobq__tx *tx, const struct jobq__row *row) {
    struct jobq__lane *lane = jobq__tx_line(tx, row->lane);
    int rc;
    tx->ready = true;
    jobq__tx_fill_line(tx, lane);
    if (!lane) return JOBQ_OK;
    if (!tx->ordered || lane->unordered || !jobq__tx_before_tail(tx, lane, row)) {
        jobq__assert(jobq__tx_in_order(tx, lane, row));
        return JOBQ_OK;
    }
    if (tx->may_claim && tx->over > 0) {
        rc = jobq__tx_claim_row(tx, lane, row->id);
        if (!jobq__tx_can_wait(tx, rc)) return rc;
    }
    rc = jobq__tx_narrow(tx, lane, row);
    jobq__assert(rc != JOBQ_OK || jobq__tx_in_order(tx, lane, row));
    return rc;
}
