/* tx_order.c - the order of what starts: ready rows sort after what is claimed. */
#include "tx_order.h"

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

JOBQ__INTERNAL void jobq__tx_withdraw_entry(struct jobq__tx *tx, struct jobq__entry *entry) {
    jobq *q = tx->q;
    jobq__assert(jobq__os_held(&q->pool.mu));
    jobq__ring_remove(&q->pool.ring, entry);
    jobq__list_append(&tx->withdrawn, &entry->link);
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
    struct jobq__link *link, *next, *first = tx->withdrawn.prev;
    int rc = JOBQ_OK;
    jobq__os_lock(&q->pool.mu);
    for (link = lane->ring.prev; link != &lane->ring; link = next) {
        next = link->prev;
        if (jobq__ring_compare(row, &JOBQ__LINKED(link)->row) >= 0) break;
        jobq__tx_withdraw_entry(tx, JOBQ__LINKED(link));
        tx->room++;
        tx->over++;
    }
    jobq__os_unlock(&q->pool.mu);
    for (link = first->next; link != &tx->withdrawn && rc == JOBQ_OK; link = link->next)
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
    rc = more ? jobq__door_claim(tx, entry, 1) : jobq__tx_stray(tx, id);
    if (rc != JOBQ_OK) {
        if (entry) jobq__tx_recycle(q, entry);
        return rc;
    }
    jobq__tx_claimed(tx, entry);
    return JOBQ_OK;
}

JOBQ__INTERNAL bool jobq__tx_can_wait(const struct jobq__tx *tx, int rc) {
    return rc == JOBQ_NO_MEMORY && jobq__store_in_transaction(tx->db);
}

/* I2 for a row that has just become ready, unless all of the ring is to go back. */
static bool jobq__tx_in_order(struct jobq__tx *tx, struct jobq__lane *lane,
                              const struct jobq__row *row) {
    jobq *q = tx->q;
    bool behind;
    if (lane->unordered || jobq__os_load(&q->failed)) return true;
    jobq__os_lock(&q->pool.mu);
    behind = q->pool.ring.behind;
    jobq__os_unlock(&q->pool.mu);
    return behind || !jobq__tx_before_tail(tx, lane, row);
}

JOBQ__INTERNAL int jobq__tx_ready(struct jobq__tx *tx, struct jobq__lane *lane,
                                  const struct jobq__row *row) {
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

JOBQ__INTERNAL int jobq__tx_wait(struct jobq__tx *tx, struct jobq__edge *edge) {
    int rc;
    jobq__assert(edge->now.state == JOBQ__WAITING);
    rc = jobq__door_pass(tx, edge);
    if (rc != JOBQ_OK || !edge->ready) return rc;
    return jobq__tx_ready(tx, jobq__tx_line(tx, edge->now.lane), &edge->now);
}

JOBQ__INTERNAL struct jobq__entry *jobq__tx_withdraw(struct jobq__tx *tx, int64_t id,
                                                      bool *withdrawn) {
    jobq *q = tx->q;
    struct jobq__link *link;
    *withdrawn = false;
    for (link = q->claimed.next; link != &q->claimed; link = link->next) {
        struct jobq__entry *entry = JOBQ__CLAIMED_ENTRY(link);
        if (entry->row.id != id || entry->gone) continue;
        jobq__os_lock(&q->pool.mu);
        if (entry->in_ring) {
            jobq__tx_withdraw_entry(tx, entry);
            tx->claims_changed = *withdrawn = true;
        }
        jobq__os_unlock(&q->pool.mu);
        return entry;
    }
    for (link = tx->claimed.next; link != &tx->claimed; link = link->next) {
        struct jobq__entry *entry = JOBQ__LINKED(link);
        if (entry->row.id != id) continue;
        jobq__tx_drop(tx, entry);
        *withdrawn = true;
        return entry;
    }
    return NULL;
}

JOBQ__INTERNAL int jobq__tx_give_back(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__link *link, *first = tx->withdrawn.prev;
    int room = jobq__disk_batch(q, INT32_MAX);
    int rc = JOBQ_OK;
    jobq__os_lock(&q->pool.mu);
    /* The last ones first: a full disk may have room for some only, and those that stay in the ring
     * sort before the table (I2). */
    for (; room > 0 && q->pool.ring.count; room--)
        jobq__tx_withdraw_entry(tx, jobq__ring_end(&q->pool.ring));
    jobq__os_unlock(&q->pool.mu);
    for (link = first->next; link != &tx->withdrawn && rc == JOBQ_OK; link = link->next)
        rc = jobq__tx_unclaim(tx, JOBQ__LINKED(link));
    return rc;
}

JOBQ__INTERNAL int jobq__tx_check_undone(struct jobq__tx *tx) {
    struct jobq__link *link;
    int rc = jobq__tx_check_names(tx);
    if (rc != JOBQ_OK) return rc;
    tx->loose.mark = tx->loose.count;
    for (link = tx->withdrawn.next; link != &tx->withdrawn; link = link->next) {
        /* Changes nothing where the row waits already. */
        rc = jobq__tx_unclaim(tx, JOBQ__LINKED(link));
        if (rc != JOBQ_OK) return rc;
    }
    /* Those were counted the first time. */
    tx->shifts.count = 0;
    tx->loose.count = tx->loose.mark;
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__tx_check_withdrawn(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__link *link, *next;
    for (link = tx->withdrawn.next; link != &tx->withdrawn; link = next) {
        struct jobq__entry *entry = JOBQ__LINKED(link);
        struct jobq__row row;
        int rc = jobq__store_row(&q->writer, entry->row.id, &row);
        next = link->next;
        if (rc != JOBQ_OK && rc != JOBQ_NOT_FOUND) return rc;
        if (rc == JOBQ_OK && row.state == JOBQ__CLAIMED && row.runs == entry->row.runs) continue;
        jobq__assert(entry->lane != q->suspects);
        jobq__list_remove(link);
        jobq__list_append(&tx->dropped, link);
    }
    return JOBQ_OK;
}
