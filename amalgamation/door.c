/* door.c - the one way from state to state: a job takes every edge here. */
#include "door.h"

JOBQ__INTERNAL void jobq__door_begin(struct jobq__edge *edge, const struct jobq__row *was,
                                     int state) {
    memset(edge, 0, sizeof *edge);
    edge->was = was;
    edge->now = *was;
    edge->now.state = state;
    edge->attempt = was->attempt;
}

JOBQ__INTERNAL void jobq__door_outcome(struct jobq__edge *edge, struct jobq__entry *entry) {
    const struct jobq__verdict *verdict = &entry->verdict;
    const struct jobq__said *said = entry->said;
    jobq__door_begin(edge, &entry->row, verdict->state);
    edge->entry = entry;
    edge->text = said ? said->text : NULL;
    edge->result = said ? said->result : NULL;
    edge->result_size = said ? said->result_size : 0;
    edge->tells = true;
    edge->outcome = verdict->outcome;
    edge->wait_ms = entry->wait_ms;
    edge->run_ms = entry->run_ms;
}

static bool jobq__door_legal(int from, int to) {
    /* Whoever runs has to end first. */
    if (to == JOBQ__GONE) return from != JOBQ__NEW;
    return jobq__state_legal(from, to);
}

/* ---- What goes with an edge ---- */

/* What a job has to say for itself is stored, unless every byte is needed. */
static int jobq__door_extra(struct jobq__tx *tx, int64_t id, enum jobq__extra what,
                            const void *data, size_t size) {
    if (jobq__disk_saves_room(tx->q)) return JOBQ_OK;
    tx->grows = jobq__add(tx->grows, (int64_t)size);
    return jobq__store_extra(tx->db, id, what, data, size);
}

static int jobq__door_text(struct jobq__tx *tx, const struct jobq__edge *edge) {
    if (!edge->text) return JOBQ_OK;
    return jobq__door_extra(tx, edge->was->id, JOBQ__EXTRA_ERROR, edge->text, strlen(edge->text));
}

static int64_t jobq__door_prune_at(struct jobq__tx *tx, int64_t keep_ms) {
    int64_t at_ms = jobq__add(tx->now_ms, keep_ms);
    if (tx->q->options.keep_max != JOBQ_UNLIMITED)
        tx->prune_at_ms = jobq__min(tx->prune_at_ms, jobq__add(tx->now_ms, JOBQ__PRUNE_PAUSE_MS));
    tx->prune_at_ms = JOBQ__MIN(tx->prune_at_ms, at_ms);
    return at_ms;
}

static void jobq__door_count(struct jobq__tx *tx, int to, jobq_outcome outcome) {
    jobq_stats *add = &tx->add;
    if (to == JOBQ__DONE) add->done++;
    else if (to == JOBQ__FAILED) add->failed++;
    else if (to == JOBQ__CANCELLED) add->cancelled++;
    else if (outcome == JOBQ_RETRY) add->retried++;
    else if (outcome == JOBQ_CRASHED) add->crashed++;
}

/* The row goes from where it stands: its id stays known (it may be a client's, above all that we
 * know), and it may have been the next one due. */
static void jobq__door_leave(struct jobq__tx *tx, const struct jobq__row *was, int to) {
    tx->last_id = JOBQ__MAX(tx->last_id, was->id);
    if (to != JOBQ__WAITING) tx->frees += (int64_t)was->size + JOBQ__ROW_BYTES;
    if (was->state == JOBQ__WAITING && was->lane == JOBQ__LANE_SCHEDULED)
        tx->due_stale[JOBQ__DUE_BY_WALL] = true;
    if (was->state == JOBQ__WAITING && was->lane == JOBQ__LANE_OWN_TIME)
        tx->due_stale[JOBQ__DUE_BY_OWN] = true;
    /* Of the highest row, too: the claims row remembers the id. */
    if (was->state == JOBQ__CLAIMED || to == JOBQ__GONE) tx->claims_changed = true;
}

/* An entry's claim is over, whether the fence held or not. */
static void jobq__door_release(struct jobq__tx *tx, struct jobq__entry *entry) {
    if (!entry || entry->gone) return;
    tx->claims_changed = true;
    jobq__tx_gone(entry, true);
}

/* What is given back is not ours any more, if somebody else has taken the row away. */
static int jobq__door_lost(struct jobq__tx *tx, const struct jobq__edge *edge) {
    if (!edge->entry) return jobq__tx_stray(tx, edge->was->id);
    if (edge->back) return JOBQ_OK;
    edge->entry->verdict.outcome = JOBQ_OUTCOME_NONE;
    tx->add.lost_outcomes++;
    return JOBQ_OK;
}

static int jobq__door_tell(struct jobq__tx *tx, const struct jobq__edge *edge, const char *key) {
    jobq_event event;
    /* Who waits for a job that ran here hears of it by its entry. */
    if (!edge->tells || (edge->entry && !tx->q->events.call)) return JOBQ_OK;
    memset(&event, 0, sizeof event);
    event.now_ms = tx->now_ms;
    event.id = edge->was->id;
    event.from = jobq__state_public(edge->was->state, true);
    event.to = jobq__state_public(edge->now.state, false);
    event.attempt = edge->attempt;
    event.outcome = edge->outcome;
    event.wait_ms = edge->wait_ms;
    event.run_ms = edge->run_ms;
    return jobq__tx_change(tx, &event, edge->was, key, edge->text);
}

/* ---- The three ends of an edge ---- */

/* It waits: in its lane, in order. */
static int jobq__door_place(struct jobq__tx *tx, struct jobq__edge *edge, int *changed) {
    struct jobq__row *now = &edge->now;
    int rc;
    jobq__tx_set_lane(tx, now, edge->back || edge->due);
    now->side = edge->text ? JOBQ__SIDE_EXTRA : 0;
    rc = jobq__store_place(tx->db, now, edge->was->state, edge->was->runs, changed);
    if (rc != JOBQ_OK || !*changed) return rc;
    rc = jobq__door_text(tx, edge);
    if (rc == JOBQ_OK && edge->new_round)
        rc = jobq__store_unsave(tx->db, now->id, edge->was->side);
    if (rc != JOBQ_OK) return rc;
    if (edge->back) jobq__tx_fills(tx, now->lane);
    else if (now->lane > JOBQ__LANE_SCHEDULED) edge->ready = true;
    else jobq__tx_scheduled(tx, now);
    return rc;
}

/* It has ended and is kept for a time; its key is free. */
static int jobq__door_keep(struct jobq__tx *tx, struct jobq__edge *edge, int *changed) {
    const struct jobq__row *was = edge->was;
    int side = edge->text || edge->result ? JOBQ__SIDE_EXTRA : 0;
    int64_t prune_at_ms = jobq__door_prune_at(tx, edge->keep_ms);
    int rc = jobq__store_finish(tx->db, was, edge->now.state, tx->now_ms, prune_at_ms, side,
                                changed);
    if (rc != JOBQ_OK || !*changed) return rc;
    if (edge->now.state == JOBQ__FAILED)
        rc = jobq__store_failed_add(tx->db, prune_at_ms, was->id);
    if (rc == JOBQ_OK && was->state == JOBQ__WAITING && was->lane == JOBQ__LANE_OWN_TIME
        && jobq__tx_offset(tx))
        rc = jobq__store_on_wall(tx->db, was->id, jobq__tx_wall_of(tx, was));
    if (rc == JOBQ_OK) rc = jobq__door_text(tx, edge);
    if (rc == JOBQ_OK && edge->result)
        rc = jobq__door_extra(tx, was->id, JOBQ__EXTRA_RESULT, edge->result, edge->result_size);
    if (rc == JOBQ_OK) rc = jobq__store_key_free(tx->db, was->kind, was->id, was->side);
    return rc;
}

/* It is gone, with all that stands beside it. */
static int jobq__door_drop(struct jobq__tx *tx, const struct jobq__row *was, int *changed) {
    int rc = jobq__store_drop(tx->db, was, changed);
    if (rc == JOBQ_OK && *changed && was->side)
        rc = jobq__store_drop_side(tx->db, was->kind, was->id, was->side);
    return rc;
}

JOBQ__INTERNAL int jobq__door_pass(struct jobq__tx *tx, struct jobq__edge *edge) {
    const struct jobq__row *was = edge->was;
    struct jobq__entry *entry = edge->entry;
    char key[JOBQ_KEY_MAX + 1] = "";
    int to = edge->now.state, changed = 0, rc = JOBQ_OK;
    bool ends = jobq__state_terminal(to);
    jobq__assert(jobq__door_legal(was->state, to));
    jobq__assert(!entry || (was->state == JOBQ__CLAIMED && entry->row.id == was->id));
    if (edge->tells && !entry) rc = jobq__tx_key(tx, was, key);
    if (rc == JOBQ_OK && was->state == JOBQ__FAILED) rc = jobq__store_failed_drop(tx->db, was->id);
    if (rc != JOBQ_OK) return rc;
    if (to == JOBQ__WAITING) rc = jobq__door_place(tx, edge, &changed);
    else if (ends && edge->keep_ms != JOBQ_NONE) rc = jobq__door_keep(tx, edge, &changed);
    else rc = jobq__door_drop(tx, was, &changed);
    if (rc != JOBQ_OK) return rc;
    jobq__door_release(tx, entry);
    if (changed != 1) return jobq__door_lost(tx, edge);
    if (ends && edge->keep_ms == JOBQ_NONE) to = JOBQ__GONE;
    jobq__door_leave(tx, was, to);
    jobq__tx_shift(tx, was, was->state, &edge->now, to);
    jobq__door_count(tx, edge->now.state, edge->outcome);
    return jobq__door_tell(tx, edge, entry ? entry->key : key);
}

/* ---- Many at a time ---- */

JOBQ__INTERNAL int jobq__door_run(struct jobq__tx *tx, struct jobq__entry **entries, size_t count,
                                  int64_t keep_ms, bool *all) {
    const struct jobq__row *first = &entries[0]->row;
    int64_t last = first->id + (int64_t)count - 1;
    int state = entries[0]->verdict.state, changed, rc;
    bool gone = keep_ms == JOBQ_NONE, failed = state == JOBQ__FAILED && !gone;
    int64_t prune_at_ms = 0;
    size_t i;
    jobq__assert(jobq__door_legal(JOBQ__CLAIMED, state) && jobq__state_terminal(state));
    if (!gone) prune_at_ms = jobq__door_prune_at(tx, keep_ms);
    if (gone) rc = jobq__store_drop_runs(tx->db, first->id, last, first->runs, &changed);
    else rc = jobq__store_finish_runs(tx->db, first->id, last, first->runs, state, tx->now_ms,
                                      prune_at_ms, &changed);
    *all = rc == JOBQ_OK && changed == (int)count;
    for (i = 0; i < count && rc == JOBQ_OK && *all; i++) {
        struct jobq__entry *entry = entries[i];
        struct jobq__edge edge;
        jobq__door_release(tx, entry);
        jobq__door_leave(tx, &entry->row, gone ? JOBQ__GONE : state);
        jobq__tx_shift(tx, &entry->row, JOBQ__CLAIMED, &entry->row, gone ? JOBQ__GONE : state);
        jobq__door_count(tx, state, entry->verdict.outcome);
        if (failed) rc = jobq__store_failed_add(tx->db, prune_at_ms, entry->row.id);
        if (rc != JOBQ_OK || !tx->q->events.call) continue;
        jobq__door_outcome(&edge, entry);
        rc = jobq__door_tell(tx, &edge, entry->key);
    }
    return rc;
}

JOBQ__INTERNAL int jobq__door_flush(struct jobq__tx *tx) {
    bool taken = false;
    int rc = JOBQ_OK;
    if (tx->rows_count)
        rc = jobq__store_insert(tx->db, tx->rows, (size_t)tx->rows_count, &taken);
    tx->rows_count = 0;
    return taken ? JOBQ__AGAIN : rc;
}

JOBQ__INTERNAL int jobq__door_new(struct jobq__tx *tx, const struct jobq__row *row) {
    jobq__assert(jobq__door_legal(JOBQ__NEW, row->state));
    jobq__tx_shift(tx, row, JOBQ__NEW, row, row->state);
    tx->new_jobs++;
    tx->rows[tx->rows_count++] = *row;
    tx->add.enqueued++;
    return tx->rows_count == JOBQ__INSERT_ROWS ? jobq__door_flush(tx) : JOBQ_OK;
}

JOBQ__INTERNAL int jobq__door_claim(struct jobq__tx *tx, struct jobq__entry *first, int count) {
    struct jobq__entry *entry = first;
    int64_t id = first->row.id;
    int changed, i, rc;
    jobq__assert(jobq__door_legal(JOBQ__WAITING, JOBQ__CLAIMED));
    rc = jobq__store_claim(tx->db, id, id + count - 1, &changed);
    if (rc == JOBQ_OK && changed != count) rc = jobq__tx_stray(tx, id);
    for (i = 0; i < count && rc == JOBQ_OK; i++, entry = JOBQ__LINKED(entry->link.next)) {
        jobq__assert(entry->row.id == id + i);
        jobq__tx_shift(tx, &entry->row, JOBQ__WAITING, &entry->row, JOBQ__CLAIMED);
        entry->row.runs++;
        entry->row.state = JOBQ__CLAIMED;
        entry->row.lane = JOBQ__LANE_NONE;
    }
    return rc;
}

/* ---- Those that have ended ---- */

static void jobq__door_pruned(void *ctx, const struct jobq__row *row) {
    jobq__tx_shift(ctx, row, row->state, row, JOBQ__GONE);
}

static struct jobq__prune jobq__door_pruning(struct jobq__tx *tx) {
    struct jobq__prune prune = {0, tx->last_id, jobq__door_pruned, tx};
    tx->claims_changed = true; /* it also remembers the highest id */
    return prune;
}

/* How many ended ones are more than the options keep. The counters tell it, if all is written that
 * this transaction has to add to them. */
static int jobq__door_over(struct jobq__tx *tx, int64_t *over) {
    int64_t ended = 0;
    int rc = jobq__tx_count_write(tx);
    if (rc == JOBQ_OK) rc = jobq__store_ended(tx->db, &ended);
    *over = ended - tx->q->options.keep_max;
    return rc;
}

JOBQ__INTERNAL int jobq__door_prune(struct jobq__tx *tx, int limit, int *count) {
    struct jobq__prune prune = jobq__door_pruning(tx);
    int64_t over = 0;
    int rc = jobq__store_prune(tx->db, tx->now_ms, limit, &prune);
    if (rc == JOBQ_OK && tx->q->options.keep_max != JOBQ_UNLIMITED && prune.count < limit)
        rc = jobq__door_over(tx, &over);
    if (rc == JOBQ_OK && over > 0)
        rc = jobq__store_prune_oldest(tx->db, (int)JOBQ__MIN(limit - prune.count, over), &prune);
    tx->last_id = prune.last_id;
    *count = prune.count;
    return rc;
}

JOBQ__INTERNAL int jobq__door_prune_done(struct jobq__tx *tx, int limit, int *count) {
    struct jobq__prune prune = jobq__door_pruning(tx);
    int rc = jobq__store_prune_done(tx->db, limit, &prune);
    tx->last_id = prune.last_id;
    *count = prune.count;
    return rc;
}
