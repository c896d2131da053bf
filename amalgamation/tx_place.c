/* tx_place.c - where a job waits: before which gate, in which lane. */
#include "tx_place.h"

JOBQ__INTERNAL int jobq__tx_stray(struct jobq__tx *tx, int64_t id) {
    return jobq__store_damaged(tx->db, JOBQ__DAMAGE_ROW, id);
}

JOBQ__INTERNAL bool jobq__tx_handled(const struct jobq__tx *tx, int64_t kind) {
    const struct jobq__kind *known = jobq__registry_kind(&tx->q->names, kind);
    return known && !jobq__gate_is_shut(&known->gate);
}

JOBQ__INTERNAL bool jobq__tx_spent(const struct jobq__tx *tx, const struct jobq__row *row) {
    const jobq_kind *spec = &jobq__registry_kind(&tx->q->names, row->kind)->spec;
    return row->crashes > 0 && spec->crashes_max != JOBQ_UNLIMITED
        && row->crashes >= spec->crashes_max;
}

JOBQ__INTERNAL int32_t jobq__tx_due_lane(struct jobq__tx *tx, const struct jobq__row *row) {
    if (!tx->blind && !jobq__tx_handled(tx, row->kind)) return -row->kind;
    return row->crashes > 0 ? JOBQ__LANE_SUSPECT : row->queue;
}

JOBQ__INTERNAL int64_t jobq__tx_wall_of(const struct jobq__tx *tx, const struct jobq__row *row) {
    struct jobq__now now = {tx->now_ms, tx->mono_ms, tx->own_ms};
    if (jobq__tx_due_by(row) == JOBQ__DUE_BY_WALL) return row->run_at_ms;
    return jobq__own_on_wall(now, row->run_at_ms);
}

/* What never comes is no duration. */
JOBQ__INTERNAL void jobq__tx_set_lane(struct jobq__tx *tx, struct jobq__row *row, bool due) {
    bool waits = !due && !jobq__tx_is_due(tx, row);
    if (waits && row->lane == JOBQ__LANE_OWN_TIME && row->run_at_ms != JOBQ_NEVER) return;
    row->run_at_ms = jobq__tx_wall_of(tx, row);
    row->lane = waits ? JOBQ__LANE_SCHEDULED : jobq__tx_due_lane(tx, row);
}

JOBQ__INTERNAL void jobq__tx_scheduled(struct jobq__tx *tx, const struct jobq__row *row) {
    int64_t *at_ms = &tx->due.at_ms[jobq__tx_due_by(row)];
    if (jobq__stored_stand(row->lane) == JOBQ__STANDS_TILL_DUE)
        *at_ms = JOBQ__MIN(*at_ms, row->run_at_ms);
}

JOBQ__INTERNAL struct jobq__lane *jobq__tx_line(const struct jobq__tx *tx, int64_t lane) {
    if (lane == JOBQ__LANE_SUSPECT) return tx->q->suspects;
    return jobq__registry_lane(&tx->q->names, lane);
}

JOBQ__INTERNAL void jobq__tx_fill_line(struct jobq__tx *tx, struct jobq__lane *lane) {
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
