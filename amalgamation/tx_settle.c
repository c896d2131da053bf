/* tx_settle.c - what becomes of a job: outcomes are written, jobs end. */
#include "tx.h"

/* ---- Settle ---- */

/* How long a job that ended so is kept. */
static int64_t jobq__tx_keep(const struct jobq__tx *tx, const struct jobq__entry *entry) {
    const jobq *q = tx->q;
    const jobq_kind *spec = &entry->kind->spec;
    if (entry->verdict.state == JOBQ__FAILED) return spec->keep_failed_ms;
    return jobq__disk_saves_room(q) ? JOBQ_NONE : spec->keep_done_ms;
}

/* What a job has to say for itself is stored, unless every byte is needed. */
static int jobq__tx_store_extra(struct jobq__tx *tx, int64_t id, enum jobq__extra what,
                                const void *data, size_t size) {
    jobq *q = tx->q;
    if (jobq__disk_saves_room(q)) return JOBQ_OK;
    tx->grows = jobq__add(tx->grows, (int64_t)size);
    return jobq__store_extra(tx->db, id, what, data, size);
}

static int64_t jobq__tx_prune_at(struct jobq__tx *tx, int64_t keep_ms) {
    jobq *q = tx->q;
    int64_t at_ms = jobq__add(tx->now_ms, keep_ms);
    if (q->options.keep_max != JOBQ_UNLIMITED)
        tx->prune_at_ms = JOBQ__MIN(tx->prune_at_ms,
                                      jobq__add(tx->now_ms, JOBQ__PRUNE_PAUSE_MS));
    tx->prune_at_ms = JOBQ__MIN(tx->prune_at_ms, at_ms);
    return at_ms;
}

static void jobq__tx_count(struct jobq__tx *tx, const struct jobq__verdict *verdict) {
    jobq_stats *add = &tx->add;
    if (verdict->state == JOBQ__DONE) add->done++;
    else if (verdict->state == JOBQ__FAILED) add->failed++;
    else if (verdict->state == JOBQ__CANCELLED) add->cancelled++;
    else if (verdict->outcome == JOBQ_RETRY) add->retried++;
}

/* The fence held or not: the entry is dealt with either way. */
static int jobq__tx_settled(struct jobq__tx *tx, struct jobq__entry *entry, bool applied) {
    jobq *q = tx->q;
    jobq_event event;
    entry->gone = true;
    tx->claims_changed = true;
    tx->frees += (int64_t)entry->row.size + JOBQ__ROW_BYTES;
    if (entry->lane == q->suspects) tx->released++;
    if (!applied) {
        entry->verdict.outcome = JOBQ_OUTCOME_NONE;
        tx->add.lost_outcomes++;
        return JOBQ_OK;
    }
    jobq__tx_count(tx, &entry->verdict);
    if (!q->events.call) return JOBQ_OK;
    event.now_ms = tx->now_ms;
    event.id = entry->row.id;
    event.from = JOBQ_STATE_RUNNING;
    event.to = jobq__state_public(entry->verdict.state, false);
    event.attempt = entry->row.attempt;
    event.outcome = entry->verdict.outcome;
    event.wait_ms = entry->wait_ms;
    event.run_ms = entry->run_ms;
    return jobq__tx_change(tx, &event, &entry->row, entry->key, jobq__tx_text(entry));
}

static int jobq__tx_requeue(struct jobq__tx *tx, struct jobq__entry *entry, int *changed) {
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
    row.lane = verdict->due ? jobq__tx_due_lane(tx, &row) : jobq__tx_lane(tx, &row);
    rc = jobq__store_requeue(tx->db, &row, row.lane > 0 ? row.priority : 0, changed);
    if (rc != JOBQ_OK || !*changed) return rc;
    if (text) rc = jobq__tx_store_extra(tx, row.id, JOBQ__EXTRA_ERROR, text, strlen(text));
    if (rc == JOBQ_OK && verdict->outcome == JOBQ_RESCHEDULE)
        rc = jobq__store_unsave(tx->db, row.id, entry->row.side);
    if (rc != JOBQ_OK) return rc;
    if (row.lane == JOBQ__LANE_SCHEDULED) jobq__tx_scheduled(tx, row.run_at_ms);
    else if (row.lane > 0) rc = jobq__tx_ready(tx, &row);
    return rc;
}

static int jobq__tx_finish(struct jobq__tx *tx, struct jobq__entry *entry, int *changed) {
    struct jobq__db *db = tx->db;
    const struct jobq__verdict *verdict = &entry->verdict;
    const struct jobq__row *row = &entry->row;
    const struct jobq__said *said = entry->said;
    int64_t keep_ms = jobq__tx_keep(tx, entry);
    int rc;
    if (keep_ms == JOBQ_NONE) {
        rc = jobq__store_drop_runs(db, row->id, row->id, row->runs, changed);
        if (rc == JOBQ_OK && *changed && row->side)
            rc = jobq__store_drop_side(db, row->kind, row->id, row->side);
        return rc;
    }
    rc = jobq__store_finish(db, row->id, JOBQ__CLAIMED, row->runs, verdict->state, tx->now_ms,
                            jobq__tx_prune_at(tx, keep_ms), said ? JOBQ__SIDE_EXTRA : 0, changed);
    if (rc != JOBQ_OK || !*changed) return rc;
    if (said && said->text)
        rc = jobq__tx_store_extra(tx, row->id, JOBQ__EXTRA_ERROR, said->text, strlen(said->text));
    if (rc == JOBQ_OK && said && said->result)
        rc = jobq__tx_store_extra(tx, row->id, JOBQ__EXTRA_RESULT, said->result,
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

static int jobq__tx_settle_one(struct jobq__tx *tx, struct jobq__entry *entry) {
    int changed = 0;
    int rc = entry->verdict.state == JOBQ__WAITING ? jobq__tx_requeue(tx, entry, &changed)
                                                   : jobq__tx_finish(tx, entry, &changed);
    return rc == JOBQ_OK ? jobq__tx_settled(tx, entry, changed == 1) : rc;
}

/* True if the row needs nothing but one statement that can serve its neighbours as well. */
static bool jobq__tx_plain(const struct jobq__entry *entry) {
    return entry->verdict.state != JOBQ__WAITING && !entry->row.side && !entry->said
        && !jobq__os_load(&entry->cancel);
}

static size_t jobq__tx_run_length(struct jobq__tx *tx, size_t first, size_t count) {
    const struct jobq__entry *a = tx->order[first];
    size_t length = 1;
    if (tx->single_rows || !jobq__tx_plain(a)) return 1;
    while (first + length < count) {
        const struct jobq__entry *b = tx->order[first + length];
        if (b->row.id != a->row.id + (int64_t)length || b->row.runs != a->row.runs
            || !jobq__tx_plain(b) || b->verdict.state != a->verdict.state
            || jobq__tx_keep(tx, b) != jobq__tx_keep(tx, a)) break;
        length++;
    }
    return length;
}

static int jobq__tx_settle_run(struct jobq__tx *tx, size_t first, size_t length) {
    struct jobq__entry **order = &tx->order[first];
    const struct jobq__row *a = &order[0]->row;
    int64_t last = a->id + (int64_t)length - 1, keep_ms = jobq__tx_keep(tx, order[0]);
    int changed, rc;
    size_t i;
    if (keep_ms == JOBQ_NONE)
        rc = jobq__store_drop_runs(tx->db, a->id, last, a->runs, &changed);
    else
        rc = jobq__store_finish_runs(tx->db, a->id, last, a->runs, order[0]->verdict.state,
                                     tx->now_ms, jobq__tx_prune_at(tx, keep_ms), &changed);
    if (rc != JOBQ_OK) return rc;
    if (changed != (int)length) {
        /* One of them is no longer ours; which one is found row by row, from the beginning. */
        tx->single_rows = true;
        return JOBQ__AGAIN;
    }
    for (i = 0; i < length && rc == JOBQ_OK; i++) rc = jobq__tx_settled(tx, order[i], true);
    return rc;
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
        rc = length > 1 ? jobq__tx_settle_run(tx, i, length)
                        : jobq__tx_settle_one(tx, tx->order[i]);
    }
    return rc;
}

/* ---- The end of a job that nobody runs ---- */

JOBQ__INTERNAL void jobq__tx_leaves(struct jobq__tx *tx, const struct jobq__row *row) {
    /* It may be a client's, above all ids that we know. */
    tx->last_id = JOBQ__MAX(tx->last_id, row->id);
    tx->frees += (int64_t)row->size + JOBQ__ROW_BYTES;
    if (row->state == JOBQ__WAITING && row->lane == JOBQ__LANE_SCHEDULED) tx->due_stale = true;
}

JOBQ__INTERNAL int jobq__tx_end(struct jobq__tx *tx, const struct jobq__row *row, int state,
                                const char *text, jobq_outcome outcome) {
    jobq *q = tx->q;
    const struct jobq__name *kind = jobq__registry_by_id(&q->names, row->kind);
    bool handled = kind && jobq__os_load(&kind->handled);
    int64_t keep_ms = state == JOBQ__FAILED
        ? (handled ? kind->spec.keep_failed_ms : q->options.keep_failed_ms)
        : jobq__disk_saves_room(q) ? JOBQ_NONE
        : (handled ? kind->spec.keep_done_ms : q->options.keep_done_ms);
    struct jobq__db *db = tx->db;
    char key[JOBQ_KEY_MAX + 1];
    jobq_event event;
    int changed = 1, rc = jobq__tx_key(tx, row, key);
    if (rc != JOBQ_OK) return rc;
    memset(&event, 0, sizeof event);
    jobq__tx_leaves(tx, row);
    if (keep_ms == JOBQ_NONE) {
        /* The highest row may go: the claims row remembers the id. */
        tx->claims_changed = true;
        rc = jobq__store_drop(db, row->kind, row->id, row->side);
    } else {
        rc = jobq__store_finish(db, row->id, row->state, row->runs, state, tx->now_ms,
                                jobq__tx_prune_at(tx, keep_ms), text ? JOBQ__SIDE_EXTRA : 0,
                                &changed);
        if (rc == JOBQ_OK && !changed)
            rc = jobq__tx_stray(tx, row->id);
        if (rc == JOBQ_OK) rc = jobq__store_key_drop(db, row->kind, row->id, row->side);
        if (rc == JOBQ_OK && text)
            rc = jobq__tx_store_extra(tx, row->id, JOBQ__EXTRA_ERROR, text, strlen(text));
    }
    if (rc != JOBQ_OK) return rc;
    if (state == JOBQ__FAILED) tx->add.failed++;
    if (state == JOBQ__CANCELLED) tx->add.cancelled++;
    event.now_ms = tx->now_ms;
    event.id = row->id;
    event.from = jobq__state_public(row->state, true);
    event.to = jobq__state_public(state, false);
    event.attempt = row->attempt;
    event.outcome = outcome;
    return jobq__tx_change(tx, &event, row, key, text);
}
