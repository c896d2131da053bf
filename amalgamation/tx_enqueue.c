/* tx_enqueue.c - new jobs: what a caller gives becomes a row, and the row gets its place. */
#include "tx.h"

#include <stdio.h>

/* Design note.
 *
 * A request to store jobs, in the caller's order, which is that of their ids. What the caller gave
 * was checked before (api_jobs.c); names become ids here, and may be new.
 *
 *   - All jobs of a call are stored, or none: the first one that fails ends it, and whoever called
 *     undoes the request (tx_undo).
 *   - An id is above all that were ever given: if one is taken nevertheless, another connection has
 *     written, and the request is tried anew (JOBQ__AGAIN).
 *   - I2 and I3 (tx_order.h) hold behind each job. One that this transaction would claim anyway is
 *     stored as claimed (tx_at_once); one that sorts before what is claimed stands in the table
 *     before tx_ready sees to it.
 *   - Rows are written in batches (door_new): payloads belong to the caller, and stay until
 *     door_flush.
 *
 * Called by commit.c as any request, with the baton, in a transaction of the queue's or a job's. */

/* ---- Their place ---- */

/* True if this very transaction would claim it, or has to for the sake of the order. */
static bool jobq__tx_at_once(struct jobq__tx *tx, struct jobq__lane *lane,
                             const struct jobq__row *row) {
    if (!tx->may_claim || !lane || lane->unordered || !jobq__tx_handled(tx, row->kind))
        return false;
    if (jobq__tx_takes_now(tx, lane)) return true;
    return tx->over > 0 && jobq__tx_before_tail(tx, lane, row);
}

/* Such a job is stored as claimed: no index entry is written only to be removed. Without memory for
 * an entry it is ready, as any other. */
static bool jobq__tx_add_claimed(struct jobq__tx *tx, struct jobq__lane *lane,
                                 struct jobq__row *row) {
    struct jobq__kind *kind = jobq__registry_kind(&tx->q->names, row->kind);
    struct jobq__entry *entry;
    jobq__assert(tx->may_claim && !tx->of_job);
    if (jobq__tx_entry(tx, row, kind, lane, &entry) != JOBQ_OK) return false;
    row->state = entry->row.state = JOBQ__CLAIMED;
    row->lane = entry->row.lane = JOBQ__LANE_NONE;
    row->runs = entry->row.runs = 1;
    jobq__tx_claimed(tx, entry);
    tx->ready = true;
    return true;
}

/* The row has kind, queue, priority, run_at_ms, side and payload, and its lane says by which clock
 * that time is (tx_set_lane); the rest, and the id, is set here. The payload must stay until
 * door_flush. */
static int jobq__tx_add(struct jobq__tx *tx, struct jobq__row *row) {
    struct jobq__lane *lane;
    bool ready, claimed;
    int rc;
    /* Before a job is accepted whose row nobody could read again. */
    if (tx->last_id >= JOBQ__ID_MAX)
        return jobq__store_damaged(tx->db, JOBQ__DAMAGE_IDS, tx->last_id);
    jobq__assert(row->lane == JOBQ__LANE_SCHEDULED || row->lane == JOBQ__LANE_OWN_TIME);
    jobq__assert(row->kind > JOBQ__LANE_SUSPECT && row->queue > JOBQ__LANE_SUSPECT);
    row->id = ++tx->last_id;
    row->attempt = 1;
    row->created_at_ms = tx->now_ms;
    if (jobq__store_apart(tx->db, row->size)) row->side |= JOBQ__SIDE_PAYLOAD;
    jobq__tx_set_lane(tx, row, false);
    ready = row->lane > JOBQ__LANE_SCHEDULED;
    lane = ready ? jobq__tx_line(tx, row->lane) : NULL;
    claimed = jobq__tx_at_once(tx, lane, row) && jobq__tx_add_claimed(tx, lane, row);
    rc = jobq__door_new(tx, row);
    jobq__tx_scheduled(tx, row);
    if (rc != JOBQ_OK || !ready || claimed) return rc;
    /* Out of order: the row must stand in the table before tx_ready sees to it. */
    if (tx->ordered && lane && jobq__tx_before_tail(tx, lane, row)) rc = jobq__door_flush(tx);
    return rc == JOBQ_OK ? jobq__tx_ready(tx, lane, row) : rc;
}

/* ---- What the caller gives ---- */

JOBQ__INTERNAL size_t jobq__tx_job_size(const jobq_job *job) {
    return job->text ? strlen(job->text) : job->size;
}

static int jobq__tx_key_new(struct jobq__tx *tx, const jobq_job *job, int64_t kind,
                                struct jobq__row *row, int64_t *existing) {
    bool taken, stored;
    int rc = jobq__store_key_find(tx->db, kind, job->key, existing, &stored);
    /* The last rows of this very call may not have been written yet. */
    if (rc == JOBQ_OK && *existing && !stored
        && (*existing > tx->last_id || *existing <= tx->last_id - tx->rows_count))
        rc = jobq__store_damaged(tx->db, JOBQ__DAMAGE_KEY, *existing);
    if (rc != JOBQ_OK || *existing) return rc;
    row->side = JOBQ__SIDE_EXTRA | JOBQ__SIDE_KEY;
    /* The id that tx_add is about to give. */
    rc = jobq__store_key_add(tx->db, kind, job->key, tx->last_id + 1, &taken);
    return taken ? JOBQ__AGAIN : rc;
}

/* And by which clock. */
static int jobq__tx_set_run_at(struct jobq__tx *tx, const jobq_job *job, struct jobq__row *row) {
    struct jobq__now now = {tx->now_ms, tx->mono_ms, tx->own_ms};
    int rc = JOBQ_OK;
    row->lane = job->delay_ms ? JOBQ__LANE_OWN_TIME : JOBQ__LANE_SCHEDULED;
    row->run_at_ms = job->run_at_ms ? job->run_at_ms : tx->now_ms;
    if (!job->delay_ms) return rc;
    rc = jobq__core_own_of_file(tx->q, tx->db, &now);
    tx->own_ms = now.own_ms;
    row->run_at_ms = jobq__add(now.own_ms, job->delay_ms);
    return rc;
}

static int jobq__tx_tell_new(struct jobq__tx *tx, const struct jobq__row *row, const char *key) {
    jobq *q = tx->q;
    jobq_event event;
    if (!q->events.call) return JOBQ_OK;
    memset(&event, 0, sizeof event);
    event.now_ms = tx->now_ms;
    event.id = row->id;
    event.to = JOBQ_STATE_PENDING;
    event.attempt = 1;
    return jobq__tx_change(tx, &event, row, key, NULL);
}

JOBQ__INTERNAL void jobq__tx_at_row(const struct jobq__enqueue *enqueue, size_t i,
                                    jobq_error *err) {
    char text[sizeof err->text];
    if (!enqueue->many) return;
    jobq__err_copy_text(text, sizeof text, err->text);
    snprintf(err->text, sizeof err->text, "row %llu: %.450s", (unsigned long long)i, text);
    jobq__err_at(err, i);
}

/* The key is taken. An earlier row of the same call is not stored either when the call fails. */
static int jobq__tx_refuse(const struct jobq__tx *tx, const jobq_job *job, int64_t first,
                             int64_t existing, jobq_error *err) {
    if (existing > first && existing <= tx->last_id)
        return jobq__err_set(err, JOBQ_EXISTS, "an earlier row of this call has the key %s",
                             job->key);
    jobq__err_set(err, JOBQ_EXISTS, "job %lld has the key %s; store this when that one has ended,"
                  " or let it do for both (JOBQ_KEEP)", (long long)existing, job->key);
    jobq__err_id(err, existing);
    return JOBQ_EXISTS;
}

/* *existing: 0, or the job that has the key; nothing is stored then. */
static int jobq__tx_enqueue_one(struct jobq__tx *tx, const jobq_job *job, int64_t *id,
                                int64_t *existing, jobq_error *err) {
    struct jobq__row row;
    int rc;
    memset(&row, 0, sizeof row);
    *existing = 0;
    rc = jobq__tx_resolve(tx, JOBQ__NAME_KIND, job->kind, &row.kind, err);
    if (rc == JOBQ_OK)
        rc = jobq__tx_resolve(tx, JOBQ__NAME_QUEUE, job->queue ? job->queue : "default",
                              &row.queue, err);
    if (rc == JOBQ_OK && job->key) rc = jobq__tx_key_new(tx, job, row.kind, &row, existing);
    if (rc != JOBQ_OK || *existing) return rc;
    row.priority = job->priority;
    rc = jobq__tx_set_run_at(tx, job, &row);
    if (rc != JOBQ_OK) return rc;
    row.payload = job->text ? job->text : job->payload;
    row.size = jobq__tx_job_size(job);
    rc = jobq__tx_add(tx, &row);
    *id = row.id;
    return rc == JOBQ_OK ? jobq__tx_tell_new(tx, &row, job->key) : rc;
}

static int jobq__tx_enqueue_row(struct jobq__tx *tx, const jobq_job *job, jobq_stored *row,
                                int64_t first, jobq_error *err) {
    int64_t id = 0, existing;
    int rc = jobq__tx_enqueue_one(tx, job, &id, &existing, err);
    if (rc != JOBQ_OK) return rc;
    if (existing && job->conflict == JOBQ_REFUSE)
        return jobq__tx_refuse(tx, job, first, existing, err);
    if (existing) tx->add.kept++;
    row->id = existing ? existing : id;
    row->how = existing ? JOBQ_KEPT : JOBQ_NEW;
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__tx_enqueue(struct jobq__tx *tx, struct jobq__request *r) {
    const struct jobq__enqueue *enqueue = r->arg;
    int64_t first = tx->last_id;
    jobq_error told;
    jobq_stored scratch;
    size_t i;
    told.code = JOBQ_OK;
    for (i = 0; i < enqueue->count; i++) {
        jobq_stored *row = enqueue->rows ? &enqueue->rows[i] : &scratch;
        int rc = jobq__tx_enqueue_row(tx, &enqueue->jobs[i], row, first, &told);
        if (rc == JOBQ_OK) continue;
        if (told.code == rc && r->err) {
            *r->err = told;
            jobq__tx_at_row(enqueue, i, r->err);
        }
        return rc;
    }
    jobq__assert(tx->last_id >= first && tx->last_id - first <= (int64_t)enqueue->count);
    return jobq__door_flush(tx);
}
