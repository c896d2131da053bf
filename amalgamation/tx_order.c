/* tx_order.c - where a job stands: its lane, its order, and new jobs put in their place. */
#include "tx.h"

/* ---- Places: lanes, order, the ring's window ---- */

JOBQ__INTERNAL bool jobq__tx_handled(struct jobq__tx *tx, int64_t kind) {
    jobq *q = tx->q;
    const struct jobq__name *name = jobq__registry_by_id(&q->names, kind);
    return name && jobq__os_load(&name->handled);
}

JOBQ__INTERNAL int32_t jobq__tx_lane(struct jobq__tx *tx, const struct jobq__row *row) {
    if (row->run_at_ms > tx->now_ms || row->run_at_ms == JOBQ_NEVER) return JOBQ__LANE_SCHEDULED;
    return jobq__tx_due_lane(tx, row);
}

JOBQ__INTERNAL int32_t jobq__tx_due_lane(struct jobq__tx *tx, const struct jobq__row *row) {
    jobq *q = tx->q;
    /* A client does not know who handles what; the owner parks when it finds out. */
    if (!q->client && !jobq__tx_handled(tx, row->kind)) return -row->kind;
    return row->crashes > 0 ? JOBQ__LANE_SUSPECT : row->queue;
}

JOBQ__INTERNAL void jobq__tx_scheduled(struct jobq__tx *tx, int64_t at_ms) {
    tx->next_due_ms = JOBQ__MIN(tx->next_due_ms, at_ms);
}

JOBQ__INTERNAL struct jobq__name *jobq__tx_lane_name(struct jobq__tx *tx, int64_t lane) {
    jobq *q = tx->q;
    if (lane == JOBQ__LANE_SUSPECT) return q->suspects;
    return jobq__registry_by_id(&q->names, lane);
}

/* True if row sorts before a job of its lane that is claimed already and has not started. */
static bool jobq__tx_before_tail(struct jobq__tx *tx, struct jobq__name *lane,
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

JOBQ__INTERNAL void jobq__tx_claimed(struct jobq__tx *tx, struct jobq__entry *entry) {
    jobq *q = tx->q;
    entry->serial = ++tx->serial;
    jobq__list_append(&tx->claimed, &entry->link);
    jobq__tx_note_last(entry);
    tx->claims_changed = true;
    tx->room--;
    tx->over--;
    tx->bytes -= (int64_t)entry->row.size;
    if (entry->lane == q->suspects) tx->suspects++;
}

JOBQ__INTERNAL int jobq__tx_unclaim(struct jobq__tx *tx, struct jobq__entry *entry) {
    jobq *q = tx->q;
    struct jobq__row row = entry->row;
    int changed, rc;
    row.lane = row.crashes > 0 ? JOBQ__LANE_SUSPECT : row.queue;
    rc = jobq__store_give_back(tx->db, row.id, row.lane, row.priority, &changed);
    if (rc != JOBQ_OK) return rc;
    /* Not changed: somebody else has taken the row away, and it is no longer ours to give. */
    tx->claims_changed = true;
    if (jobq__list_empty(&entry->lane->ready))
        jobq__list_append(&q->ready, &entry->lane->ready);
    return rc;
}

JOBQ__INTERNAL void jobq__tx_take_out(struct jobq__tx *tx, struct jobq__entry *entry) {
    jobq *q = tx->q;
    jobq__assert(jobq__os_held(&q->pool.mu));
    jobq__ring_remove(&q->pool.ring, entry);
    jobq__list_append(&tx->taken, &entry->link);
    entry->gone = true;
}

/* A job that this very transaction has claimed is not to be run after all. */
JOBQ__INTERNAL void jobq__tx_drop(struct jobq__tx *tx, struct jobq__entry *entry) {
    jobq *q = tx->q;
    struct jobq__link *link;
    jobq__list_remove(&entry->link);
    jobq__list_append(&tx->dropped, &entry->link);
    tx->room++;
    tx->over++;
    tx->bytes += (int64_t)entry->row.size;
    if (entry->lane == q->suspects) tx->suspects--;
    entry->lane->last_claimed = NULL;
    for (link = tx->claimed.next; link != &tx->claimed; link = link->next)
        if (JOBQ__LINKED(link)->lane == entry->lane) jobq__tx_note_last(JOBQ__LINKED(link));
}

/* Keeps I2 when the ring may not grow: everything of the lane that sorts after row goes back to
 * the table, and the next claim takes the lane in order again. */
static int jobq__tx_narrow(struct jobq__tx *tx, struct jobq__name *lane,
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
    return jobq__db_fault(tx->db, "jobq_job", id, "the row", "is not where an index says");
}

/* Claims one row that is ready, in or out of turn. */
JOBQ__INTERNAL int jobq__tx_claim_row(struct jobq__tx *tx, struct jobq__name *lane, int64_t id) {
    jobq *q = tx->q;
    jobq__walk *walk = jobq__store_by_id(tx->db, id);
    struct jobq__entry *entry = NULL;
    struct jobq__row row;
    bool more = false;
    int changed, rc;
    rc = jobq__store_next(tx->db, walk, &row, &more);
    if (rc == JOBQ_OK && more)
        entry = jobq__tx_entry(tx, &row, jobq__registry_by_id(&q->names, row.kind), lane);
    if (walk) jobq__store_end(walk);
    if (rc != JOBQ_OK) return rc;
    if (!entry && more) return JOBQ_NO_MEMORY;
    rc = more ? jobq__store_claim(tx->db, id, id, &changed) : JOBQ_OK;
    if (rc == JOBQ_OK && (!more || changed != 1)) rc = jobq__tx_stray(tx, id);
    if (rc != JOBQ_OK) {
        if (entry) jobq__tx_recycle(q, entry);
        return rc;
    }
    entry->row.runs++;
    jobq__tx_claimed(tx, entry);
    return JOBQ_OK;
}

JOBQ__INTERNAL bool jobq__tx_can_wait(const struct jobq__tx *tx, int rc) {
    return rc == JOBQ_NO_MEMORY && jobq__db_in_transaction(tx->db);
}

/* I2 for a row that has just become ready, unless the ring is larger than what a full disk lets a
 * transaction give back. */
static bool jobq__tx_in_order(struct jobq__tx *tx, struct jobq__name *lane,
                              const struct jobq__row *row) {
    jobq *q = tx->q;
    if (lane == q->suspects || q->disk.level != JOBQ__DISK_ROOMY || jobq__os_load(&q->failed))
        return true;
    return !jobq__tx_before_tail(tx, lane, row);
}

JOBQ__INTERNAL int jobq__tx_ready(struct jobq__tx *tx, const struct jobq__row *row) {
    jobq *q = tx->q;
    struct jobq__name *lane = jobq__tx_lane_name(tx, row->lane);
    int rc;
    tx->ready = true;
    if (!lane) {
        q->look_lanes = true;
        return JOBQ_OK;
    }
    if (jobq__list_empty(&lane->ready)) jobq__list_append(&q->ready, &lane->ready);
    if (!tx->ordered || lane == q->suspects || !jobq__tx_before_tail(tx, lane, row)) {
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

/* ---- Store ---- */

JOBQ__INTERNAL int jobq__tx_new_name(struct jobq__tx *tx, const char *text, int64_t *id) {
    int rc;
    if (tx->new_count == tx->new_capacity) {
        size_t capacity = tx->new_capacity ? tx->new_capacity * 2 : 4;
        void *names = jobq__mem_resize(tx->new_names, capacity, sizeof *tx->new_names);
        if (!names) return JOBQ_NO_MEMORY;
        tx->new_names = names;
        tx->new_capacity = capacity;
    }
    rc = *id ? jobq__store_name_put(tx->db, *id, text) : jobq__store_name_add(tx->db, text, id);
    if (rc != JOBQ_OK) return rc;
    tx->new_names[tx->new_count].id = *id;
    jobq__err_copy_text(tx->new_names[tx->new_count++].text, JOBQ_NAME_MAX + 1, text);
    return JOBQ_OK;
}

static int jobq__tx_refuse_name(struct jobq__tx *tx, const char *text, int rc, jobq_error *err) {
    jobq *q = tx->q;
    if (rc == JOBQ_BAD_NAME)
        jobq__err_set(err, rc, "the name %s is not UTF-8; this file keeps its texts as UTF-16, and"
                      " other bytes would come back", text);
    else if (rc == JOBQ_FULL && jobq__db_code(tx->db->sqlite_code) != rc)
        jobq__err_set(err, rc, "%.200s holds %d names of kinds and queues already, and has"
                      " no room for %.64s; use those again, or another file", q->files.path,
                      JOBQ_NAMES_MAX, text);
    return rc;
}

JOBQ__INTERNAL int jobq__tx_resolve(struct jobq__tx *tx, const char *text, int32_t *id,
                                    struct jobq__name **name, jobq_error *err) {
    jobq *q = tx->q;
    int64_t found;
    size_t i;
    int rc;
    *name = jobq__registry_by_text(&q->names, text);
    *id = *name ? (int32_t)(*name)->id : 0;
    if (*name) return JOBQ_OK;
    for (i = 0; i < tx->new_count; i++)
        if (strcmp(tx->new_names[i].text, text) == 0) {
            *id = (int32_t)tx->new_names[i].id;
            return JOBQ_OK;
        }
    rc = jobq__store_name_find(tx->db, text, &found);
    if (rc != JOBQ_OK) return jobq__tx_refuse_name(tx, text, rc, err);
    if (found) *name = jobq__registry_add(&q->names, found, text);
    else rc = jobq__tx_new_name(tx, text, &found);
    if (*name && strcmp((*name)->text, text) != 0)
        rc = jobq__db_fault(tx->db, "jobq_name", found, "name", "is not what its index says");
    *id = (int32_t)found;
    return jobq__tx_refuse_name(tx, text, rc, err);
}

JOBQ__INTERNAL int jobq__tx_flush(struct jobq__tx *tx) {
    bool taken = false;
    int rc = JOBQ_OK;
    if (tx->rows_count)
        rc = jobq__store_insert(tx->db, tx->rows, (size_t)tx->rows_count, &taken);
    tx->rows_count = 0;
    return taken ? JOBQ__AGAIN : rc;
}

/* A job that would be claimed by this very transaction is stored as claimed: no index entry is
 * written only to be removed. */
static bool jobq__tx_at_once(struct jobq__tx *tx, const struct jobq__row *row,
                             struct jobq__name *kind, struct jobq__name *lane) {
    jobq *q = tx->q;
    if (!tx->may_claim || !kind || !lane || lane == q->suspects) return false;
    if (tx->room > 0 && tx->bytes > 0 && jobq__list_empty(&lane->ready) && !q->look_lanes)
        return true;
    return tx->over > 0 && jobq__tx_before_tail(tx, lane, row);
}

JOBQ__INTERNAL int jobq__tx_add(struct jobq__tx *tx, struct jobq__row *row, struct jobq__name *kind,
                                struct jobq__name *queue) {
    struct jobq__entry *entry = NULL;
    bool ready;
    int rc = JOBQ_OK;
    row->id = ++tx->last_id;
    row->attempt = 1;
    row->created_at_ms = tx->now_ms;
    row->lane = jobq__tx_lane(tx, row);
    ready = row->lane > 0;
    if (ready && jobq__tx_at_once(tx, row, kind, queue)) {
        entry = jobq__tx_entry(tx, row, kind, queue);
        if (entry) {
            row->state = entry->row.state = JOBQ__CLAIMED;
            row->lane = entry->row.lane = JOBQ__LANE_NONE;
            row->runs = entry->row.runs = 1;
            jobq__tx_claimed(tx, entry);
        }
    }
    tx->rows[tx->rows_count++] = *row;
    if (tx->rows_count == JOBQ__INSERT_ROWS) rc = jobq__tx_flush(tx);
    if (row->lane == JOBQ__LANE_SCHEDULED) jobq__tx_scheduled(tx, row->run_at_ms);
    if (rc == JOBQ_OK && ready && !entry) {
        /* Out of order: the row must stand in the table before tx_ready sees to it. */
        if (tx->ordered && queue && jobq__tx_before_tail(tx, queue, row)) rc = jobq__tx_flush(tx);
        if (rc == JOBQ_OK) rc = jobq__tx_ready(tx, row);
    }
    tx->ready = tx->ready || entry;
    tx->add.enqueued++;
    return rc;
}
