/* recover.c - what the owner before left claimed goes back. */
#include "recover.h"

/* A job whose process died: given back, and blamed if it was running. */
static int jobq__recover_row(struct jobq__tx *tx, int64_t id, int *room) {
    const jobq *q = tx->q;
    enum jobq__trace trace;
    struct jobq__edge edge;
    struct jobq__row row;
    int rc = jobq__store_row(tx->db, id, &row);
    if (rc == JOBQ_NOT_FOUND || (rc == JOBQ_OK && row.state != JOBQ__CLAIMED)) return JOBQ_OK;
    if (rc != JOBQ_OK) return rc;
    if (--*room < 0) return JOBQ_OK;
    if (row.side & JOBQ__SIDE_CANCEL)
        return jobq__tx_end(tx, &row, JOBQ__CANCELLED, NULL, JOBQ_CANCELLED);
    jobq__door_begin(&edge, &row, JOBQ__WAITING);
    trace = jobq__owner_trace(&q->owner, id, row.runs);
    edge.back = trace == JOBQ__TRACE_NONE;
    edge.due = !edge.back;
    if (edge.back) edge.now.runs--;
    if (trace == JOBQ__TRACE_STARTED && (q->owner.same_boot || q->options.charge_reboots)) {
        edge.now.crashes = row.crashes < INT32_MAX ? row.crashes + 1 : row.crashes;
        edge.outcome = JOBQ_CRASHED;
        edge.tells = true;
    }
    return jobq__tx_wait(tx, &edge);
}

/* The slots say of some jobs that the owner before had them. One that is claimed still is missing
 * in the claims row, and so may others be that nobody would ever run. */
static int jobq__recover_slots(struct jobq__tx *tx) {
    jobq *q = tx->q;
    int slot, rc = JOBQ_OK;
    for (slot = 0; slot < JOBQ_WORKERS_MAX && rc == JOBQ_OK; slot++) {
        int64_t id = jobq__owner_slot(&q->owner, slot);
        struct jobq__row row;
        if (id < 1) continue;
        rc = jobq__store_row(tx->db, id, &row);
        if (rc == JOBQ_OK && row.state == JOBQ__CLAIMED) rc = jobq__store_nobodys(tx->db, id);
        else if (rc == JOBQ_NOT_FOUND) rc = JOBQ_OK;
    }
    return rc;
}

/* *more: there was no room for all of them in one transaction, which is so on a full disk only. The
 * claims row stays until the last; what was given back is known by its state. */
static int jobq__recover_rows(struct jobq__tx *tx, bool *more) {
    jobq *q = tx->q;
    void *ids = NULL;
    size_t size = 0, at = 0;
    int64_t id = 0, extra = 0, payload = 0;
    int room = jobq__disk_batch(q, INT32_MAX), rc;
    jobq__assert(tx->blind && !tx->may_claim && !q->owner.begun);
    rc = jobq__tx_gates_read(tx);
    if (rc == JOBQ_OK) rc = jobq__store_counted(tx->db, &tx->counted);
    if (rc == JOBQ_OK) rc = jobq__store_claims_get(tx->db, &ids, &size);
    while (rc == JOBQ_OK && at < size && room >= 0) {
        rc = jobq__store_claims_next(tx->db, ids, size, &at, &id);
        if (rc == JOBQ_OK) rc = jobq__recover_row(tx, id, &room);
    }
    jobq__mem_free(ids);
    *more = room < 0;
    if (rc == JOBQ_OK && !*more) rc = jobq__recover_slots(tx);
    if (rc == JOBQ_OK) rc = jobq__store_max_id(tx->db, &tx->last_id);
    /* What stands beside a job that does not exist yet would become the next one's. */
    if (rc == JOBQ_OK) rc = jobq__store_extra_max(tx->db, &extra);
    if (rc == JOBQ_OK && extra > tx->last_id)
        rc = jobq__store_damaged(tx->db, JOBQ__DAMAGE_EXTRA, extra);
    if (rc == JOBQ_OK) rc = jobq__store_payload_max(tx->db, &payload);
    if (rc == JOBQ_OK && payload > tx->last_id)
        rc = jobq__store_damaged(tx->db, JOBQ__DAMAGE_PAYLOAD, payload);
    if (rc == JOBQ_OK) rc = jobq__tx_count_write(tx);
    if (rc == JOBQ_OK && size && !*more) rc = jobq__tx_touch(tx);
    if (rc == JOBQ_OK) rc = jobq__store_next_dues(tx->db, &tx->due);
    if (rc == JOBQ_OK) rc = jobq__store_prune_next(tx->db, &tx->prune_at_ms);
    if (rc == JOBQ_OK) rc = jobq__event_reserve(&q->events, tx->changes_count);
    return rc;
}

static int jobq__recover_some(jobq *q, int64_t until_us, bool *more) {
    struct jobq__wakes wakes;
    int rc;
    memset(&wakes, 0, sizeof wakes);
    *more = false;
    jobq__tx_open(&q->tx, &q->writer, JOBQ__TX_RECOVERY);
    rc = jobq__turn_begin_within(q, &q->writer, until_us);
    if (rc == JOBQ_OK) jobq__disk_begin(q);
    if (rc == JOBQ_OK) rc = jobq__recover_rows(&q->tx, more);
    if (rc == JOBQ_OK) rc = jobq__disk_hold_back(&q->tx);
    if (rc == JOBQ_OK) rc = jobq__store_commit(&q->writer);
    if (rc == JOBQ_OK) jobq__tx_applied(&q->tx, &wakes);
    else jobq__store_rollback(&q->writer);
    return rc;
}

/* One transaction, unless the disk is full. The slots are cleared after the commit, so a recovery
 * that is itself killed finds the same evidence again. */
JOBQ__INTERNAL int jobq__recover(jobq *q, int64_t until_us, jobq_error *err) {
    bool more = false, again, all;
    int rc;
    jobq__assert(!q->client && jobq__list_empty(&q->claimed) && !q->pool.ring.count);
    do {
        rc = jobq__recover_some(q, until_us, &more);
        again = rc == JOBQ_FULL && jobq__disk_full(q);
        if (!again && (rc != JOBQ_OK || !more)) break;
        jobq__log_copy(q, until_us, true, &all);
    } while (true);
    if (rc != JOBQ_OK && jobq__store_said(&q->writer, rc))
        return jobq__store_fail(&q->writer, err);
    if (rc != JOBQ_OK)
        return jobq__err_set(err, rc, "%s: the jobs that the owner before left running"
                             " could not be given back in %.250s; open it again",
                             jobq_code_text(rc), q->files.path);
    jobq__assert(jobq__list_empty(&q->claimed));
    jobq__owner_begin(&q->owner);
    return JOBQ_OK;
}
