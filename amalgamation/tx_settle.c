/* tx_settle.c - what becomes of a job: outcomes are written, jobs end. */
#include "tx.h"

/* ---- Settle ---- */

/* How long a job that ended so is kept. */
static int64_t jobq__tx_keep(const jobq *q, const struct jobq__entry *entry) {
    const jobq_kind *spec = &entry->kind->spec;
    if (entry->verdict.state == JOBQ__FAILED) return spec->keep_failed_ms;
    return jobq__disk_saves_room(q) ? JOBQ_NONE : spec->keep_done_ms;
}

/* What a job has to say for itself is stored, unless every byte is needed. */
static int jobq__tx_store_extra(jobq *q, int64_t id, enum jobq__extra what, const void *data,
                                size_t size) {
    if (jobq__disk_saves_room(q)) return JOBQ_OK;
    q->tx.grows = jobq__add(q->tx.grows, (int64_t)size);
    return jobq__store_extra(q->tx.db, id, what, data, size);
}

static int64_t jobq__tx_prune_at(jobq *q, int64_t keep_ms) {
    int64_t at_ms = jobq__add(q->tx.now_ms, keep_ms);
    if (q->options.keep_max != JOBQ_UNLIMITED)
        q->tx.prune_at_ms = JOBQ__MIN(q->tx.prune_at_ms,
                                      jobq__add(q->tx.now_ms, JOBQ__PRUNE_PAUSE_MS));
    q->tx.prune_at_ms = JOBQ__MIN(q->tx.prune_at_ms, at_ms);
    return at_ms;
}

static void jobq__tx_count(jobq *q, const struct jobq__verdict *verdict) {
    jobq_stats *add = &q->tx.add;
    if (verdict->state == JOBQ__DONE) add->done++;
    else if (verdict->state == JOBQ__FAILED) add->failed++;
    else if (verdict->state == JOBQ__CANCELLED) add->cancelled++;
    else if (verdict->outcome == JOBQ_RETRY) add->retried++;
}

/* The fence held or not: the entry is dealt with either way. */
static int jobq__tx_settled(jobq *q, struct jobq__entry *entry, bool applied) {
    jobq_event event;
    entry->gone = true;
    q->tx.claims_changed = true;
    q->tx.frees += (int64_t)entry->row.size + JOBQ__ROW_BYTES;
    if (entry->lane == q->suspects) q->tx.released++;
    if (!applied) {
        entry->verdict.outcome = JOBQ_OUTCOME_NONE;
        q->tx.add.lost_outcomes++;
        return JOBQ_OK;
    }
    jobq__tx_count(q, &entry->verdict);
    if (!q->events.call) return JOBQ_OK;
    event.now_ms = q->tx.now_ms;
    event.id = entry->row.id;
    event.from = JOBQ_STATE_RUNNING;
    event.to = jobq__state_public(entry->verdict.state, false);
    event.attempt = entry->row.attempt;
    event.outcome = entry->verdict.outcome;
    event.wait_ms = entry->wait_ms;
    event.run_ms = entry->run_ms;
    return jobq__tx_change(q, &event, &entry->row, entry->key, jobq__tx_text(entry));
}

static int jobq__tx_requeue(jobq *q, struct jobq__entry *entry, int *changed) {
    const struct jobq__verdict *verdict = &entry->verdict;
    const char *text = jobq__tx_text(entry);
    struct jobq__row row = entry->row;
    int rc;
    row.state = JOBQ__WAITING;
    row.run_at_ms = verdict->run_at_ms;
    row.attempt = verdict->attempt;
    row.delay_ms = verdict->delay_ms;
    row.crashes = verdict->crashes;
    row.side = text ? JOBQ__SIDE_EXTRA : 0;
    row.lane = verdict->due ? jobq__tx_due_lane(q, &row) : jobq__tx_lane(q, &row);
    rc = jobq__store_requeue(q->tx.db, &row, row.lane > 0 ? row.priority : 0, changed);
    if (rc != JOBQ_OK || !*changed) return rc;
    if (text) rc = jobq__tx_store_extra(q, row.id, JOBQ__EXTRA_ERROR, text, strlen(text));
    if (rc == JOBQ_OK && verdict->outcome == JOBQ_RESCHEDULE)
        rc = jobq__store_unsave(q->tx.db, row.id, entry->row.side);
    if (rc != JOBQ_OK) return rc;
    if (row.lane == JOBQ__LANE_SCHEDULED) jobq__tx_scheduled(q, row.run_at_ms);
    else if (row.lane > 0) rc = jobq__tx_ready(q, &row);
    return rc;
}

static int jobq__tx_finish(jobq *q, struct jobq__entry *entry, int *changed) {
    struct jobq__db *db = q->tx.db;
    const struct jobq__verdict *verdict = &entry->verdict;
    const struct jobq__row *row = &entry->row;
    const struct jobq__said *said = entry->said;
    int64_t keep_ms = jobq__tx_keep(q, entry);
    int rc;
    if (keep_ms == JOBQ_NONE) {
        rc = jobq__store_drop_runs(db, row->id, row->id, row->runs, changed);
        if (rc == JOBQ_OK && *changed && row->side)
            rc = jobq__store_drop_side(db, row->kind, row->id, row->side);
        return rc;
    }
    rc = jobq__store_finish(db, row->id, JOBQ__CLAIMED, row->runs, verdict->state, q->tx.now_ms,
                            jobq__tx_prune_at(q, keep_ms), said ? JOBQ__SIDE_EXTRA : 0, changed);
    if (rc != JOBQ_OK || !*changed) return rc;
    if (said && said->text)
        rc = jobq__tx_store_extra(q, row->id, JOBQ__EXTRA_ERROR, said->text, strlen(said->text));
    if (rc == JOBQ_OK && said && said->result)
        rc = jobq__tx_store_extra(q, row->id, JOBQ__EXTRA_RESULT, said->result,
                                  said->result_size);
    if (rc == JOBQ_OK) rc = jobq__store_key_drop(db, row->kind, row->id, row->side);
    return rc;
}

/* Somebody asked for the job to be cancelled: done stands, and so does failed for good. */
static void jobq__tx_heed_cancel(struct jobq__entry *entry) {
    if (!jobq__os_load(&entry->cancel) || entry->verdict.outcome == JOBQ_DONE
        || entry->verdict.outcome == JOBQ_FAIL) return;
    entry->verdict.state = JOBQ__CANCELLED;
    entry->verdict.outcome = JOBQ_CANCELLED;
}

static int jobq__tx_settle_one(jobq *q, struct jobq__entry *entry) {
    int changed = 0;
    int rc = entry->verdict.state == JOBQ__WAITING ? jobq__tx_requeue(q, entry, &changed)
                                                   : jobq__tx_finish(q, entry, &changed);
    return rc == JOBQ_OK ? jobq__tx_settled(q, entry, changed == 1) : rc;
}

/* True if the row needs nothing but one statement that can serve its neighbours as well. */
static bool jobq__tx_plain(const struct jobq__entry *entry) {
    return entry->verdict.state != JOBQ__WAITING && !entry->row.side && !entry->said
        && !jobq__os_load(&entry->cancel);
}

static size_t jobq__tx_run_length(jobq *q, size_t first, size_t count) {
    const struct jobq__entry *a = q->tx.order[first];
    size_t length = 1;
    if (q->tx.single_rows || !jobq__tx_plain(a)) return 1;
    while (first + length < count) {
        const struct jobq__entry *b = q->tx.order[first + length];
        if (b->row.id != a->row.id + (int64_t)length || b->row.runs != a->row.runs
            || !jobq__tx_plain(b) || b->verdict.state != a->verdict.state
            || jobq__tx_keep(q, b) != jobq__tx_keep(q, a)) break;
        length++;
    }
    return length;
}

static int jobq__tx_settle_run(jobq *q, size_t first, size_t length) {
    struct jobq__entry **order = &q->tx.order[first];
    const struct jobq__row *a = &order[0]->row;
    int64_t last = a->id + (int64_t)length - 1, keep_ms = jobq__tx_keep(q, order[0]);
    int changed, rc;
    size_t i;
    if (keep_ms == JOBQ_NONE)
        rc = jobq__store_drop_runs(q->tx.db, a->id, last, a->runs, &changed);
    else
        rc = jobq__store_finish_runs(q->tx.db, a->id, last, a->runs, order[0]->verdict.state,
                                     q->tx.now_ms, jobq__tx_prune_at(q, keep_ms), &changed);
    if (rc != JOBQ_OK) return rc;
    if (changed != (int)length) {
        /* One of them is no longer ours; which one is found row by row, from the beginning. */
        q->tx.single_rows = true;
        return JOBQ__AGAIN;
    }
    for (i = 0; i < length && rc == JOBQ_OK; i++) rc = jobq__tx_settled(q, order[i], true);
    return rc;
}

/* By id; insertion sort, because what is handed in is nearly sorted. */
static int jobq__tx_sort(jobq *q, size_t *count) {
    struct jobq__tx *tx = &q->tx;
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

JOBQ__INTERNAL int jobq__tx_settle(jobq *q) {
    size_t count = 0, i, length;
    int rc = jobq__tx_sort(q, &count);
    for (i = 0; i < count && rc == JOBQ_OK; i++) jobq__tx_heed_cancel(q->tx.order[i]);
    for (i = 0; i < count && rc == JOBQ_OK; i += length) {
        length = jobq__tx_run_length(q, i, count);
        rc = length > 1 ? jobq__tx_settle_run(q, i, length)
                        : jobq__tx_settle_one(q, q->tx.order[i]);
    }
    return rc;
}

/* ---- The end of a job that nobody runs ---- */

JOBQ__INTERNAL void jobq__tx_leaves(jobq *q, const struct jobq__row *row) {
    /* It may be a client's, above all ids that we know. */
    q->tx.last_id = JOBQ__MAX(q->tx.last_id, row->id);
    q->tx.frees += (int64_t)row->size + JOBQ__ROW_BYTES;
    if (row->state == JOBQ__WAITING && row->lane == JOBQ__LANE_SCHEDULED) q->tx.due_stale = true;
}

JOBQ__INTERNAL int jobq__tx_end(jobq *q, const struct jobq__row *row, int state, const char *text,
                                jobq_outcome outcome) {
    const struct jobq__name *kind = jobq__registry_by_id(&q->names, row->kind);
    bool handled = kind && jobq__os_load(&kind->handled);
    int64_t keep_ms = state == JOBQ__FAILED
        ? (handled ? kind->spec.keep_failed_ms : q->options.keep_failed_ms)
        : jobq__disk_saves_room(q) ? JOBQ_NONE
        : (handled ? kind->spec.keep_done_ms : q->options.keep_done_ms);
    struct jobq__db *db = q->tx.db;
    char key[JOBQ_KEY_MAX + 1];
    jobq_event event;
    int changed = 1, rc = jobq__tx_key(q, row, key);
    if (rc != JOBQ_OK) return rc;
    memset(&event, 0, sizeof event);
    jobq__tx_leaves(q, row);
    if (keep_ms == JOBQ_NONE) {
        /* The highest row may go: the claims row remembers the id. */
        q->tx.claims_changed = true;
        rc = jobq__store_drop(db, row->kind, row->id, row->side);
    } else {
        rc = jobq__store_finish(db, row->id, row->state, row->runs, state, q->tx.now_ms,
                                jobq__tx_prune_at(q, keep_ms), text ? JOBQ__SIDE_EXTRA : 0,
                                &changed);
        if (rc == JOBQ_OK && !changed)
            rc = jobq__tx_stray(q, row->id);
        if (rc == JOBQ_OK) rc = jobq__store_key_drop(db, row->kind, row->id, row->side);
        if (rc == JOBQ_OK && text)
            rc = jobq__tx_store_extra(q, row->id, JOBQ__EXTRA_ERROR, text, strlen(text));
    }
    if (rc != JOBQ_OK) return rc;
    if (state == JOBQ__FAILED) q->tx.add.failed++;
    if (state == JOBQ__CANCELLED) q->tx.add.cancelled++;
    event.now_ms = q->tx.now_ms;
    event.id = row->id;
    event.from = jobq__state_public(row->state, true);
    event.to = jobq__state_public(state, false);
    event.attempt = row->attempt;
    event.outcome = outcome;
    return jobq__tx_change(q, &event, row, key, text);
}
