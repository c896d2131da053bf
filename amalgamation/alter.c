/* alter.c - what callers change of a job that is there: cancel, try again, delete. */
#include "alter.h"

#include <stdio.h>

static bool jobq__alter_in_list(const struct jobq__link *list, int64_t id) {
    const struct jobq__link *link = list->next;
    while (link != list && JOBQ__LINKED(link)->row.id != id) link = link->next;
    return link != list;
}

JOBQ__INTERNAL enum jobq__whereabouts jobq__alter_find(jobq *q, int64_t id) {
    struct jobq__pool *pool = &q->pool;
    bool waits, runs;
    int i;
    jobq__os_lock(&pool->mu);
    waits = jobq__ring_has(&pool->ring, id) || jobq__alter_in_list(&q->tx.withdrawn, id);
    runs = jobq__alter_in_list(&pool->outcomes.list, id) || jobq__alter_in_list(&q->tx.settled, id);
    for (i = 0; i < pool->crew.count; i++) runs = runs || pool->crew.workers[i].run.id == id;
    jobq__os_unlock(&pool->mu);
    return waits ? JOBQ__WAITS : runs ? JOBQ__RUNS : JOBQ__NOWHERE;
}

/* "job 7 of kind mail", with a job's id and, where its name can be had, its kind. */
static void jobq__alter_call(struct jobq__tx *tx, const struct jobq__row *row, char *text,
                            size_t size) {
    const char *kind = NULL;
    if (jobq__tx_know(tx, row->kind) == JOBQ_OK) kind = jobq__tx_name_text(tx, row->kind);
    snprintf(text, size, "job %lld%s%s", (long long)row->id, kind ? " of kind " : "",
             kind ? kind : "");
}

/* The job is not in a state for this call, which it is told with a way out. */
static int jobq__alter_bad_state(struct jobq__tx *tx, const struct jobq__row *row,
                                const char *way_out, jobq_error *err) {
    jobq *q = tx->q;
    char job[JOBQ_NAME_MAX + 64];
    const char *state = jobq_state_name(jobq__state_public(row->state, false));
    bool waits = row->state == JOBQ__WAITING || jobq__alter_find(q, row->id) == JOBQ__WAITS;
    if (!err) return JOBQ_BAD_STATE;
    jobq__alter_call(tx, row, job, sizeof job);
    if (jobq__stored_stand(row->lane) == JOBQ__STANDS_AT_GATE)
        return jobq__err_set(err, JOBQ_BAD_STATE, "%s is parked: no handler of its kind is"
                             " registered (jobq_register)", job);
    if (!jobq__state_terminal(row->state)) state = waits ? "due" : "running";
    return jobq__err_set(err, JOBQ_BAD_STATE, "%s is %s already%s", job, state, way_out);
}

/* Whatever is claimed is the owner's. */
static int jobq__alter_row(struct jobq__tx *tx, int64_t id, struct jobq__row *row) {
    jobq *q = tx->q;
    const struct jobq__link *link;
    int rc = jobq__store_row(tx->db, id, row);
    if (rc != JOBQ_OK || row->state != JOBQ__CLAIMED || jobq__alter_in_list(&tx->claimed, id))
        return rc;
    for (link = q->claimed.next; link != &q->claimed; link = link->next)
        if (JOBQ__CLAIMED_ENTRY(link)->row.id == id) return rc;
    return jobq__store_nobodys(tx->db, id);
}

/* Takes a claimed job that has not started out of the ring and puts it back into the table; *row is
 * what it is now. If it runs alter->running is it, and the row is not read; else NULL. */
static int jobq__alter_reach(struct jobq__tx *tx, struct jobq__alter *alter,
                             struct jobq__row *row) {
    bool withdrawn;
    struct jobq__entry *entry = jobq__tx_withdraw(tx, alter->id, &withdrawn);
    int rc;
    alter->running = NULL; /* the group may be repeated, and the job have ended since */
    if (entry && !withdrawn) {
        alter->running = entry;
        return JOBQ_OK;
    }
    if (withdrawn) {
        rc = jobq__tx_unclaim(tx, entry);
        if (rc != JOBQ_OK) return rc;
    }
    rc = jobq__alter_row(tx, alter->id, row);
    jobq__assert(rc != JOBQ_OK || row->state != JOBQ__CLAIMED);
    return rc;
}

/* The wish is written down: it outlives the process. A second one changes nothing. */
static int jobq__alter_wish(struct jobq__tx *tx, const struct jobq__entry *running) {
    int changed, rc;
    jobq__assert(running->row.state == JOBQ__CLAIMED && !running->in_ring && !running->gone);
    if (jobq__os_load(&running->cancel)) return JOBQ_OK;
    rc = jobq__store_wish(tx->db, running->row.id, running->row.runs, &changed);
    return rc == JOBQ_OK && !changed ? JOBQ_NOT_FOUND : rc;
}

JOBQ__INTERNAL int jobq__alter_cancel(struct jobq__tx *tx, struct jobq__request *r) {
    struct jobq__alter *alter = r->arg;
    struct jobq__row row;
    int rc = jobq__alter_reach(tx, alter, &row);
    if (rc != JOBQ_OK) return rc;
    if (alter->running) return jobq__alter_wish(tx, alter->running);
    if (jobq__state_terminal(row.state))
        return jobq__alter_bad_state(tx, &row, "; what has ended is not cancelled", r->err);
    return jobq__tx_end(tx, &row, JOBQ__CANCELLED, NULL, JOBQ_OUTCOME_NONE);
}

JOBQ__INTERNAL void jobq__alter_cancelled(jobq *q, struct jobq__request *r) {
    struct jobq__alter *alter = r->arg;
    int i;
    if (!alter->running) return;
    jobq__os_store(&alter->running->cancel, 1);
    jobq__os_lock(&q->pool.mu);
    for (i = 0; i < q->pool.crew.count; i++)
        if (q->pool.crew.workers[i].run.entry == alter->running)
            jobq__wake_stop(&q->pool.crew.workers[i].run, JOBQ__STOP_ASKED);
    jobq__os_unlock(&q->pool.mu);
}

/* A job that has ended gave its key away, and another has it. */
static int jobq__alter_key_gone(struct jobq__tx *tx, const struct jobq__row *row, jobq_error *err) {
    int64_t holder;
    int rc = jobq__store_key_holder(tx->db, row->kind, row->id, &holder);
    if (rc != JOBQ_OK) return rc;
    rc = jobq__err_set(err, JOBQ_EXISTS, "job %lld has this job's key now; job %lld can run again"
                       " when that one has ended", (long long)holder, (long long)row->id);
    jobq__err_id(err, holder);
    return rc;
}

/* A job that cannot be tried again now says why. */
static int jobq__alter_may_retry(struct jobq__tx *tx, const struct jobq__row *row,
                                 jobq_error *err) {
    /* Its time may have come, and nobody has looked yet. */
    bool due = jobq__stored_stand(row->lane) != JOBQ__STANDS_TILL_DUE || jobq__tx_is_due(tx, row);
    bool taken = false;
    int rc = JOBQ_OK;
    if (row->state == JOBQ__DONE)
        return jobq__alter_bad_state(tx, row, "; to do it again store another", err);
    if (row->state == JOBQ__CLAIMED || (row->state == JOBQ__WAITING && due))
        return jobq__alter_bad_state(tx, row, "", err);
    if (jobq__state_terminal(row->state) && (row->side & JOBQ__SIDE_KEY))
        rc = jobq__store_key_again(tx->db, row->kind, row->id, &taken);
    return taken ? jobq__alter_key_gone(tx, row, err) : rc;
}

JOBQ__INTERNAL int jobq__alter_retry(struct jobq__tx *tx, struct jobq__request *r) {
    const struct jobq__alter *alter = r->arg;
    struct jobq__edge edge;
    struct jobq__row row;
    int rc = jobq__alter_row(tx, alter->id, &row);
    if (rc == JOBQ_OK) rc = jobq__alter_may_retry(tx, &row, r->err);
    if (rc == JOBQ_OK && !jobq__tx_handled(tx, row.kind)) rc = jobq__tx_know(tx, row.kind);
    if (rc != JOBQ_OK) return rc;
    jobq__assert(row.state != JOBQ__CLAIMED && row.state != JOBQ__DONE);
    jobq__door_begin(&edge, &row, JOBQ__WAITING);
    edge.now.run_at_ms = tx->now_ms;
    edge.now.lane = JOBQ__LANE_SCHEDULED;
    edge.now.attempt = edge.attempt = 1;
    edge.now.crashes = 0;
    edge.now.delay_ms = 0;
    edge.new_round = edge.tells = true;
    return jobq__tx_wait(tx, &edge);
}

JOBQ__INTERNAL int jobq__alter_delete(struct jobq__tx *tx, struct jobq__request *r) {
    struct jobq__alter *alter = r->arg;
    char job[JOBQ_NAME_MAX + 64];
    struct jobq__edge edge;
    struct jobq__row row;
    int rc = jobq__alter_reach(tx, alter, &row);
    if (rc != JOBQ_OK) return rc;
    if (alter->running) {
        jobq__alter_call(tx, &alter->running->row, job, sizeof job);
        return jobq__err_set(r->err, JOBQ_BUSY, "%s is running; cancel it (jobq_cancel), and"
                             " delete it when it has ended", job);
    }
    jobq__door_begin(&edge, &row, JOBQ__GONE);
    return jobq__door_pass(tx, &edge);
}

/* Who waits for a job that is gone need not wait longer. */
JOBQ__INTERNAL void jobq__alter_deleted(jobq *q, struct jobq__request *r) {
    const struct jobq__alter *alter = r->arg;
    struct jobq__link *link;
    jobq__os_lock(&q->pool.mu);
    for (link = q->pool.waiters.next; link != &q->pool.waiters; link = link->next) {
        struct jobq__waiter *waiter = JOBQ__CONTAINER(link, struct jobq__waiter, link);
        if (waiter->id != alter->id || waiter->done || waiter->ended) continue;
        waiter->done = waiter->ended = true;
        waiter->info.state = JOBQ_STATE_NONE;
        jobq__wake_waiter(q, waiter);
    }
    jobq__os_unlock(&q->pool.mu);
}
