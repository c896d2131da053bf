/* repair.c - what the doctor puts right: the transaction in which it does. */
#include "repair.h"

/* Its row may be changed: nobody has it in hand. */
static int jobq__repair_reach(void *ctx, int64_t job) {
    struct jobq__tx *tx = ctx;
    bool withdrawn;
    struct jobq__entry *entry = jobq__tx_withdraw(tx, job, &withdrawn);
    if (!entry) return JOBQ_OK;
    return withdrawn ? jobq__tx_unclaim(tx, entry) : JOBQ_BUSY;
}

/* When there is something to do next. What is broken still is looked at again. */
static void jobq__repair_times(struct jobq__tx *tx) {
    int64_t *by_wall_ms = &tx->due.at_ms[JOBQ__DUE_BY_WALL], at_ms;
    if (jobq__store_next_dues(tx->db, &tx->due) != JOBQ_OK)
        *by_wall_ms = JOBQ__MIN(*by_wall_ms, tx->now_ms);
    if (jobq__store_prune_next(tx->db, &at_ms) == JOBQ_OK)
        tx->prune_at_ms = JOBQ__MIN(tx->prune_at_ms, at_ms);
}

static int64_t jobq__repair_prune_at(const struct jobq__tx *tx, int64_t keep_ms) {
    return jobq__add(tx->now_ms, JOBQ__MAX(keep_ms, 0));
}

JOBQ__INTERNAL int jobq__repair(struct jobq__tx *tx, struct jobq__request *r) {
    struct jobq__audit *audit = r->arg;
    jobq *q = tx->q;
    struct jobq__mend with;
    int rc;
    with.now_ms = tx->now_ms;
    with.prune_done_ms = jobq__repair_prune_at(tx, q->options.keep_done_ms);
    with.prune_failed_ms = jobq__repair_prune_at(tx, q->options.keep_failed_ms);
    with.reach = jobq__repair_reach;
    with.ctx = tx;
    rc = jobq__audit_mend(audit, tx->db, &with);
    if (rc == JOBQ_OK)
        rc = jobq__audit_recounts(audit) ? jobq__tx_count_anew(tx)
                                         : jobq__tx_count_write(tx);
    /* Whom it has to name is remembered, unless damage has kept that from being read. */
    if (rc == JOBQ_OK && !jobq__os_load(&q->failed)) rc = jobq__tx_touch(tx);
    if (rc == JOBQ_OK) jobq__repair_times(tx);
    return rc;
}
