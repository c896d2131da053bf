/* tx_settle.c - what becomes of a job: outcomes are written, jobs end. */
#include "tx.h"

/* Design note.
 *
 * What handlers have returned was decided on their threads (run.c: the verdict); here it is
 * written, by the transaction that has taken the outcomes, in the order of ids. Neighbours that end
 * alike and leave nothing beside their rows are one statement; everything else goes row by row.
 *
 *   - Each entry of tx->settled is settled once, and its claim is over: gone, after which nothing
 *     here touches it again. COMMIT makes it true, or the entry goes back to the outcomes.
 *   - A wish to cancel is heeded here at the latest: a job that would run again ends instead; done,
 *     and failed for good, stand.
 *   - If of neighbours one is not ours any more, all of the transaction begins again (JOBQ__AGAIN),
 *     row by row: then the fence tells which.
 *
 * tx_settle is called by commit.c, first of all that a transaction does; tx_end by tx_claim.c,
 * alter.c and recover.c. With the baton; rows are changed by the door only. */

/* ---- Settle ---- */

/* How long a job that ended so is kept. */
static int64_t jobq__tx_keep(const struct jobq__tx *tx, const struct jobq__entry *entry) {
    const jobq *q = tx->q;
    const jobq_kind *spec = &entry->kind->spec;
    if (entry->verdict.state == JOBQ__FAILED) return spec->keep_failed_ms;
    return jobq__disk_saves_room(q) ? JOBQ_NONE : spec->keep_done_ms;
}

/* Somebody asked for the job to be cancelled: done stands, and so does failed for good. */
static void jobq__tx_heed_cancel(struct jobq__entry *entry) {
    if (!jobq__os_load(&entry->cancel) || entry->verdict.outcome == JOBQ_DONE
        || entry->verdict.outcome == JOBQ_FAIL) return;
    entry->verdict.state = JOBQ__CANCELLED;
    entry->verdict.outcome = JOBQ_CANCELLED;
}

/* A duration ends as long after now as the monotonic clock says, wherever the wall is set. */
static void jobq__tx_set_time(const struct jobq__tx *tx, struct jobq__row *row,
                              const struct jobq__verdict *verdict) {
    row->run_at_ms = verdict->at_ms;
    row->lane = verdict->lasts ? JOBQ__LANE_OWN_TIME : JOBQ__LANE_SCHEDULED;
    if (!verdict->lasts || verdict->at_ms == JOBQ_NEVER) return;
    row->run_at_ms = jobq__add(tx->own_ms, jobq__sub(verdict->at_ms, tx->mono_ms));
    row->run_at_ms = JOBQ__MAX(row->run_at_ms, 0);
}

static int jobq__tx_settle_one(struct jobq__tx *tx, struct jobq__entry *entry) {
    const struct jobq__verdict *verdict = &entry->verdict;
    struct jobq__edge edge;
    jobq__assert(entry->row.state == JOBQ__CLAIMED && !entry->in_ring && !entry->gone);
    jobq__door_outcome(&edge, entry);
    edge.keep_ms = jobq__tx_keep(tx, entry);
    jobq__tx_set_time(tx, &edge.now, verdict);
    edge.now.attempt = verdict->attempt;
    edge.now.delay_ms = verdict->delay_ms;
    edge.now.crashes = verdict->crashes;
    edge.due = verdict->due;
    edge.new_round = verdict->outcome == JOBQ_RESCHEDULE;
    return verdict->state == JOBQ__WAITING ? jobq__tx_wait(tx, &edge) : jobq__door_pass(tx, &edge);
}

/* True if the row needs nothing but one statement that can serve its neighbours as well. */
static bool jobq__tx_plain(const struct jobq__entry *entry) {
    return entry->verdict.state != JOBQ__WAITING && !entry->row.side && !entry->said
        && !jobq__os_load(&entry->cancel);
}

static size_t jobq__tx_run_length(struct jobq__tx *tx, size_t first, size_t count) {
    const struct jobq__entry *a = tx->order[first];
    size_t length = 1;
    int64_t keep_ms;
    if (tx->single_rows || !jobq__tx_plain(a)) return 1;
    keep_ms = jobq__tx_keep(tx, a);
    while (first + length < count) {
        const struct jobq__entry *b = tx->order[first + length];
        if (b->row.id != a->row.id + (int64_t)length || b->row.runs != a->row.runs
            || !jobq__tx_plain(b) || b->verdict.state != a->verdict.state
            || jobq__tx_keep(tx, b) != keep_ms) break;
        length++;
    }
    return length;
}

static int jobq__tx_settle_run(struct jobq__tx *tx, size_t first, size_t length) {
    struct jobq__entry **order = &tx->order[first];
    bool all;
    int rc;
    jobq__assert(jobq__state_terminal(order[0]->verdict.state));
    jobq__assert(order[length - 1]->row.id == order[0]->row.id + (int64_t)length - 1);
    rc = jobq__door_run(tx, order, length, jobq__tx_keep(tx, order[0]), &all);
    if (rc != JOBQ_OK || all) return rc;
    /* One of them is no longer ours; which one is found row by row, from the beginning. */
    tx->single_rows = true;
    return JOBQ__AGAIN;
}

/* By id; insertion sort, because what is handed in is nearly sorted. */
static int jobq__tx_sort(struct jobq__tx *tx, size_t *count) {
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

JOBQ__INTERNAL int jobq__tx_settle(struct jobq__tx *tx) {
    size_t count = 0, i, length;
    int rc = jobq__tx_sort(tx, &count);
    for (i = 0; i < count && rc == JOBQ_OK; i++) jobq__tx_heed_cancel(tx->order[i]);
    for (i = 0; i < count && rc == JOBQ_OK; i += length) {
        length = jobq__tx_run_length(tx, i, count);
        jobq__assert(!i || tx->order[i - 1]->row.id < tx->order[i]->row.id);
        rc = length > 1 ? jobq__tx_settle_run(tx, i, length)
                        : jobq__tx_settle_one(tx, tx->order[i]);
    }
    return rc;
}

/* ---- The end of a job that nobody runs ---- */

JOBQ__INTERNAL int jobq__tx_end(struct jobq__tx *tx, const struct jobq__row *row, int state,
                                const char *text, jobq_outcome outcome) {
    const jobq *q = tx->q;
    const struct jobq__kind *kind = jobq__registry_kind(&q->names, row->kind);
    bool handled = kind && !jobq__gate_is_shut(&kind->gate);
    struct jobq__edge edge;
    jobq__assert(jobq__state_terminal(state));
    jobq__assert(row->state == JOBQ__WAITING || tx->blind);
    jobq__door_begin(&edge, row, state);
    if (state == JOBQ__FAILED)
        edge.keep_ms = handled ? kind->spec.keep_failed_ms : q->options.keep_failed_ms;
    else if (jobq__disk_saves_room(q))
        edge.keep_ms = JOBQ_NONE;
    else
        edge.keep_ms = handled ? kind->spec.keep_done_ms : q->options.keep_done_ms;
    edge.text = text;
    edge.tells = true;
    edge.outcome = outcome;
    return jobq__door_pass(tx, &edge);
}
