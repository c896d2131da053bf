/* commit.c - one transaction for a group: who leads it, and what a failure takes along. */
#include "commit.h"
#include "door.h"

/* ---- One transaction ---- */

static int jobq__commit_sqlite(struct jobq__tx *tx, struct jobq__request *r, int rc) {
    jobq *q = tx->q;
    if (rc == JOBQ_OK || !r->err || r->err->code == rc) return rc;
    if (jobq__store_said(tx->db, rc)) return jobq__store_fail(tx->db, r->err);
    return jobq__fail_say(q, rc, r->err);
}

/* Tries a request. *lost: it failed, and what it had written cannot be undone by itself. */
static int jobq__commit_write_once(struct jobq__tx *tx, struct jobq__request *r, bool *lost) {
    jobq__store *db = tx->db;
    struct jobq__tx_mark mark;
    int64_t changes = jobq__store_changes(db);
    int rc;
    jobq__tx_mark(tx, &mark);
    rc = r->atomic ? jobq__store_save(db) : JOBQ_OK;
    if (rc == JOBQ_OK) rc = r->write(tx, r);
    if (rc != JOBQ_OK && r->atomic && jobq__store_in_transaction(db)) {
        int undo = jobq__store_undo(db);
        *lost = undo != JOBQ_OK;
        if (*lost && rc == JOBQ__AGAIN) rc = undo;
    } else if (rc != JOBQ_OK)
        *lost = !jobq__store_in_transaction(db) || jobq__store_changes(db) != changes;
    if (rc != JOBQ_OK) jobq__tx_undo(tx, &mark);
    if (r->atomic && jobq__store_in_transaction(db)) jobq__store_keep(db);
    *lost = *lost || !jobq__store_in_transaction(db);
    return rc;
}

/* Writes one request; what goes wrong with it alone is undone alone. Returns an error only if the
 * whole transaction is lost. */
static int jobq__commit_write(struct jobq__tx *tx, struct jobq__request *r) {
    jobq *q = tx->q;
    int rc, tries = 0;
    bool lost = false;
    if (r->adds) {
        int level = q->disk.level;
        r->rc = jobq__disk_admit(q, r->adds, r->largest, r->err);
        if (q->disk.level != level) jobq__tx_roomy(tx);
        if (r->rc != JOBQ_OK) return JOBQ_OK;
        tx->grows = jobq__add(tx->grows, r->adds);
    }
    do {
        rc = jobq__commit_write_once(tx, r, &lost);
        if (rc != JOBQ__AGAIN) break;
        /* A client has stored jobs meanwhile: take ids above theirs. */
        rc = jobq__store_max_id(tx->db, &tx->last_id);
        q->last_id = JOBQ__MAX(q->last_id, tx->last_id);
        q->uncounted.whole = false; /* not with theirs */
        if (rc == JOBQ_OK) rc = JOBQ__AGAIN;
        lost = lost || !jobq__store_in_transaction(tx->db);
    } while (rc == JOBQ__AGAIN && !lost && tries++ < 2);
    if (rc == JOBQ__AGAIN && lost && !r->atomic) {
        /* All of it is written once more, and this so that from now on it is undone alone. */
        r->atomic = true;
        return rc;
    }
    if (rc == JOBQ__AGAIN)
        rc = jobq__store_damaged(tx->db, JOBQ__DAMAGE_ID, tx->last_id + 1);
    /* A damaged file stops the queue, whoever finds out. */
    if (rc != JOBQ_OK && (lost || rc == JOBQ_CORRUPT)) return rc;
    r->rc = jobq__commit_sqlite(tx, r, rc);
    return JOBQ_OK;
}

/* What a transaction is made of, besides outcomes and claims. */
enum jobq__commit_part { JOBQ__COMMIT_ALL, JOBQ__COMMIT_NO_STORES, JOBQ__COMMIT_ONE };

static int jobq__commit_body(struct jobq__tx *tx, struct jobq__request *list,
                             enum jobq__commit_part part) {
    jobq *q = tx->q;
    struct jobq__request *r;
    /* What others have stored may be gone again, and nothing be in the way of its id. The owner
     * sees each job before it goes. */
    int rc = q->client ? jobq__store_max_id(tx->db, &tx->last_id) : JOBQ_OK;
    if (rc == JOBQ_OK) rc = jobq__tx_settle(tx);
    for (r = list; r && rc == JOBQ_OK && part != JOBQ__COMMIT_NO_STORES; r = r->next) {
        if (r->write) rc = jobq__commit_write(tx, r);
        if (part == JOBQ__COMMIT_ONE) break;
    }
    return rc == JOBQ_OK ? jobq__tx_fill(tx) : rc;
}

/* BEGIN; sync: the transaction is to be synced although the queue is RELAXED, which SQLite has to
 * be told before. */
static int jobq__commit_begin(jobq *q, bool sync, bool insist) {
    int rc = JOBQ_OK;
    /* A job's transaction that could not be ended for want of memory would be in the way. */
    if (jobq__store_is_open(&q->job)) jobq__store_rollback(&q->job);
    if (sync) rc = jobq__store_sync_all(&q->writer, true);
    if (rc == JOBQ_OK) rc = jobq__turn_begin(q, &q->writer, insist);
    if (rc == JOBQ_OK) jobq__disk_begin(q);
    if (rc == JOBQ__TAKEN) jobq__disk_end(q);
    return rc;
}

/* From there to COMMIT, or back, with a tx that is woken or reset. *ended: the failure came at
 * COMMIT. */
static int jobq__commit_transact(struct jobq__tx *tx, struct jobq__request *list,
                                 enum jobq__commit_part part, bool *ended) {
    jobq *q = tx->q;
    int rc;
    jobq__assert(jobq__store_in_transaction(tx->db));
    *ended = false;
    rc = jobq__commit_body(tx, list, part);
    if (rc == JOBQ_OK) rc = jobq__disk_hold_back(tx);
    if (rc == JOBQ_OK) {
        jobq__event_commit(&q->events, true);
        *ended = true;
        rc = jobq__store_commit(tx->db);
    }
    if (rc != JOBQ_OK) {
        jobq__event_commit(&q->events, false);
        jobq__store_rollback(tx->db);
        q->look_lanes = true;
    }
    jobq__assert(rc != JOBQ_OK || !jobq__store_in_transaction(tx->db));
    return rc;
}

/* Both, once more; and again as long as somebody says so, which each request and the outcomes do
 * once at most. */
static int jobq__commit_attempt(struct jobq__tx *tx, struct jobq__request *list,
                                enum jobq__commit_part part, bool sync, bool *ended) {
    jobq *q = tx->q;
    int rc;
    *ended = false;
    do {
        rc = jobq__commit_begin(q, sync, true);
        if (rc != JOBQ_OK) break;
        jobq__tx_reset(tx);
        rc = jobq__commit_transact(tx, list, part, ended);
    } while (rc == JOBQ__AGAIN);
    if (sync) jobq__store_sync_all(&q->writer, false);
    return rc;
}

/* A transaction whose COMMIT failed may still be in the log, to come back after a crash. A synced
 * commit of something else takes its place. */
static int jobq__commit_scrub_once(jobq *q, void *until_us) {
    int rc = jobq__store_sync_all(&q->writer, true);
    if (rc == JOBQ_OK) rc = jobq__turn_begin_within(q, &q->writer, *(int64_t *)until_us);
    if (rc == JOBQ_OK) rc = jobq__store_sync(&q->writer);
    if (rc == JOBQ_OK) rc = jobq__store_commit(&q->writer);
    if (rc != JOBQ_OK) jobq__store_rollback(&q->writer);
    if (q->options.durability == JOBQ_RELAXED) jobq__store_sync_all(&q->writer, false);
    return rc;
}

/* What has to be known for certain. Others may have all of the memory just now; to be certain is
 * worth a wait. */
static int jobq__commit_insist(jobq *q, int (*once)(jobq *q, void *arg), void *arg) {
    int64_t pause_us = 0, now_us;
    int tries = 0, rc;
    while ((rc = once(q, arg)) == JOBQ_NO_MEMORY && ++tries < JOBQ__SCRUB_TRIES) {
        now_us = jobq__clock_mono_us();
        jobq__turn_pause(q, &pause_us, now_us, jobq__add(now_us, JOBQ__TURN_PAUSE_MAX_US));
    }
    return rc;
}

/* Others may have the file, and for longer than busy_ms allows. */
static int jobq__commit_scrub(jobq *q) {
    int64_t wait_us = JOBQ__MAX(q->baton.busy_us, JOBQ__SCRUB_US);
    int64_t until_us = jobq__add(jobq__clock_mono_us(), wait_us);
    return jobq__commit_insist(q, jobq__commit_scrub_once, &until_us);
}

/* ---- One group ---- */

static void jobq__commit_all(struct jobq__request *list, int rc, jobq *q) {
    jobq__assert(rc != JOBQ_OK && rc != JOBQ__TAKEN);
    for (; list; list = list->next) list->rc = jobq__commit_sqlite(&q->tx, list, rc);
}

static void jobq__commit_after(jobq *q, struct jobq__request *list,
                               enum jobq__commit_part part) {
    for (; list; list = list->next) {
        if (list->after && list->rc == JOBQ_OK) list->after(q, list);
        if (part == JOBQ__COMMIT_ONE) break;
    }
}

/* After a failure of db's: true if it is certain that nothing has happened, else the queue stops.
 * At COMMIT any error but BUSY may have come after the frame that commits. If on a full disk not
 * even the scrub can be written, then the transaction's first frame could not either. */
static bool jobq__commit_certain(jobq *q, const jobq__store *db, int rc, bool ended) {
    struct jobq__fault why = jobq__store_reason(db); /* before the scrub fails, too */
    int scrub;
    if (!ended || rc == JOBQ_BUSY) return true;
    jobq__owner_doubts(&q->owner, rc != JOBQ_FULL);
    scrub = jobq__commit_scrub(q);
    if (scrub == JOBQ_OK) jobq__owner_doubts(&q->owner, false);
    if (scrub == JOBQ_OK || (rc == JOBQ_FULL && scrub == JOBQ_FULL)) return true;
    jobq__fail_latch(q, JOBQ_IO, &why);
    return false;
}

static void jobq__commit_heed(struct jobq__tx *tx, int rc) {
    jobq *q = tx->q;
    struct jobq__fault why = jobq__store_reason(tx->db);
    jobq__fail_heed(q, rc, &why);
}

/* After a failure: the queue may have to stop, and nobody tries at once again. */
static void jobq__commit_failed(jobq *q, int rc) {
    struct jobq__pool *pool = &q->pool;
    jobq__tx_failed(&q->tx);
    jobq__commit_heed(&q->tx, rc);
    jobq__os_lock(&pool->mu);
    pool->work.retry_us = JOBQ__MIN(JOBQ__MAX(pool->work.retry_us * 2, JOBQ__RETRY_MIN_US),
                                    JOBQ__RETRY_MAX_US);
    pool->work.retry_at_us = jobq__clock_mono_us() + pool->work.retry_us;
    pool->work.left = true;
    jobq__os_unlock(&pool->mu);
    jobq__wake_scheduler(q);
}

static void jobq__commit_stores_alone(jobq *q, struct jobq__request *list,
                                      struct jobq__wakes *wakes) {
    bool ended;
    int rc;
    for (; list; list = list->next) {
        if (!list->write) continue;
        rc = jobq__os_load(&q->failed);
        if (rc != JOBQ_OK) {
            list->rc = jobq__commit_sqlite(&q->tx, list, rc);
            continue;
        }
        jobq__tx_open(&q->tx, &q->writer, JOBQ__TX_REQUESTS);
        rc = jobq__commit_attempt(&q->tx, list, JOBQ__COMMIT_ONE, jobq__baton_syncs(q, list),
                                  &ended);
        if (rc == JOBQ_OK) {
            jobq__tx_applied(&q->tx, wakes);
            jobq__commit_after(q, list, JOBQ__COMMIT_ONE);
            continue;
        }
        if (rc == JOBQ__TAKEN) {
            list->rc = rc;
            jobq__tx_failed(&q->tx);
            continue;
        }
        jobq__commit_heed(&q->tx, rc);
        if (!jobq__commit_certain(q, q->tx.db, rc, ended)) rc = JOBQ_UNKNOWN;
        list->rc = jobq__commit_sqlite(&q->tx, list, rc);
        jobq__tx_failed(&q->tx);
        if (rc == JOBQ_FULL && jobq__disk_full(q)) jobq__log_checkpoint(q);
    }
}

/* On a full disk: gives something up, and takes as many outcomes as then fit. False if there is
 * nothing left to give up. */
static bool jobq__commit_make_room(jobq *q) {
    if (!jobq__disk_full(q)) return false;
    jobq__tx_failed(&q->tx);
    jobq__log_copy_now(q);
    jobq__tx_open(&q->tx, &q->writer, JOBQ__TX_OUTCOMES);
    return true;
}

/* They go back to the list, and are tried when the file is free. */
static int jobq__commit_not_yet(struct jobq__request *list) {
    for (; list; list = list->next) list->rc = JOBQ__TAKEN;
    return JOBQ__TAKEN;
}

/* The stores' own trouble must not keep outcomes from the disk. */
static int jobq__commit_again(jobq *q, struct jobq__request *list, int rc, bool ended,
                              struct jobq__wakes *wakes) {
    if (rc == JOBQ__TAKEN) return jobq__commit_not_yet(list);
    if (!jobq__commit_certain(q, q->tx.db, rc, ended)) {
        jobq__commit_all(list, JOBQ_UNKNOWN, q);
        return rc;
    }
    if (rc == JOBQ_CORRUPT || rc == JOBQ_NOT_A_DB) {
        jobq__commit_all(list, rc, q);
        return rc;
    }
    do {
        if (rc == JOBQ_FULL && !jobq__commit_make_room(q)) break;
        rc = jobq__commit_attempt(&q->tx, list, JOBQ__COMMIT_NO_STORES, false, &ended);
        if (rc == JOBQ__TAKEN) return jobq__commit_not_yet(list);
        if (rc != JOBQ_OK && !jobq__commit_certain(q, q->tx.db, rc, ended)) break;
    } while (rc == JOBQ_FULL);
    if (rc != JOBQ_OK) {
        jobq__commit_all(list, rc, q);
        return rc;
    }
    jobq__tx_applied(&q->tx, wakes);
    jobq__commit_stores_alone(q, list, wakes);
    return JOBQ_OK;
}

/* A forked child may have come back from a callback. */
JOBQ__INTERNAL int jobq__commit_look(jobq *q, int64_t now_us) {
    int rc = jobq__disk_look(q, now_us);
    if (rc == JOBQ_OK && jobq__owner_forked(&q->owner)) rc = JOBQ_FORKED;
    if (rc != JOBQ_OK) jobq__fail_latch(q, rc, NULL);
    return jobq__os_load(&q->failed);
}

/* A client asks the owner each time: the next owner may be another. */
static int jobq__commit_may_write(jobq *q, int64_t now_us, jobq_error *why) {
    int rc = jobq__commit_look(q, now_us);
    if (rc != JOBQ_OK) return jobq__fail_say(q, rc, why);
    return q->client ? jobq__owner_allows(&q->owner, q->unsafe, why) : rc;
}

/* ---- Room for new work ---- */

static int jobq__commit_write_relief(struct jobq__tx *tx, struct jobq__request *r) {
    return jobq__door_prune_done(tx, jobq__disk_batch(tx->q, JOBQ__PRUNE_ROWS), r->arg);
}

/* New work was refused on a full disk: the oldest jobs that are done go, a slice of them at a time,
 * so that there is room for the next. */
static void jobq__commit_relieve(jobq *q, struct jobq__wakes *wakes) {
    struct jobq__request request;
    int count = 0, dropped = 0;
    if (!q->disk.refused) return;
    memset(&request, 0, sizeof request);
    request.write = jobq__commit_write_relief;
    request.arg = &count;
    while (dropped < JOBQ__PRUNE_ROWS && jobq__disk_presses(q)) {
        count = 0;
        jobq__commit_stores_alone(q, &request, wakes);
        jobq__log_checkpoint(q);
        if (request.rc != JOBQ_OK || !count) break;
        dropped += count;
    }
    q->disk.refused = 0;
}

/* ---- Leading ---- */

/* JOBQ__TAKEN with *list NULL: another connection has the file. */
static int jobq__commit_group(jobq *q, int64_t now_us, bool insist, struct jobq__request **list,
                              struct jobq__wakes *wakes) {
    bool ended, sync = jobq__baton_first_syncs(q);
    struct jobq__request *r;
    jobq_error why;
    int rc;
    jobq__assert(jobq__os_load(&q->baton.busy));
    rc = jobq__commit_may_write(q, now_us, &why);
    if (rc != JOBQ_OK) {
        *list = jobq__baton_collect(q, true);
        for (r = *list; r; r = r->next)
            if (r->err) *r->err = why;
        jobq__commit_all(*list, rc, q);
        return rc;
    }
    rc = jobq__commit_begin(q, sync, insist);
    if (rc == JOBQ_OK) {
        *list = jobq__baton_collect(q, sync);
        for (r = *list; r; r = r->next) r->rc = JOBQ_OK;
        jobq__tx_open(&q->tx, &q->writer, JOBQ__TX_OUTCOMES);
        rc = jobq__commit_transact(&q->tx, *list, JOBQ__COMMIT_ALL, &ended);
        if (rc == JOBQ__AGAIN)
            rc = jobq__commit_attempt(&q->tx, *list, JOBQ__COMMIT_ALL, sync, &ended);
        if (rc == JOBQ_OK) {
            jobq__tx_applied(&q->tx, wakes);
            jobq__commit_after(q, *list, JOBQ__COMMIT_ALL);
        } else {
            rc = jobq__commit_again(q, *list, rc, ended, wakes);
        }
        if (rc == JOBQ__TAKEN) jobq__tx_failed(&q->tx);
    } else if (rc != JOBQ__TAKEN) {
        *list = jobq__baton_collect(q, true);
        jobq__commit_all(*list, rc, q);
    }
    if (sync) jobq__store_sync_all(&q->writer, false);
    if (rc != JOBQ_OK && rc != JOBQ__TAKEN) jobq__commit_failed(q, rc);
    return rc;
}

static void jobq__commit_note_times(jobq *q, bool stores, int64_t from_us, int64_t to_us) {
    struct jobq__pool *pool = &q->pool;
    jobq__os_lock(&pool->mu);
    pool->rates.commit_us += (to_us - from_us - pool->rates.commit_us) / 8;
    if (stores) {
        pool->rates.stream = from_us - pool->rates.store_end_us < JOBQ__DEFER_US;
        pool->rates.store_end_us = to_us;
    }
    jobq__os_unlock(&pool->mu);
}

/* Leads one group and hands the baton on. JOBQ__TAKEN: another connection has the file, and if
 * there is a request of one's own that has to wait for it, one still has the baton. */
static int jobq__commit_lead_once(jobq *q, const struct jobq__request *own, bool insist) {
    struct jobq__request *list = NULL;
    struct jobq__sleepers sleepers;
    struct jobq__wakes wakes;
    int64_t from_us = jobq__clock_mono_us(), to_us;
    bool keep;
    int rc;
    wakes.count = 0;
    wakes.scheduler = wakes.loop = false;
    rc = jobq__commit_group(q, from_us, insist, &list, &wakes);
    if (rc == JOBQ__TAKEN && !list && own) return rc;
    if (rc == JOBQ__TAKEN) {
        jobq__turn_put_off(q);
    } else {
        to_us = jobq__clock_mono_us();
        jobq__commit_note_times(q, list != NULL, from_us, to_us);
        jobq__turn_end(q, from_us, to_us);
        if (jobq__log_mind(q)) wakes.scheduler = true;
        jobq__commit_relieve(q, &wakes);
    }
    keep = jobq__baton_pass(q, list, own, &sleepers);
    jobq__wake_perform(q, &wakes);
    jobq__baton_wake(q, &sleepers);
    return keep ? JOBQ__TAKEN : rc;
}

JOBQ__INTERNAL void jobq__commit_lead(jobq *q) {
    jobq__commit_lead_once(q, NULL, false);
}

/* ---- A request alone, and nothing else ---- */

static int jobq__commit_bare_once(jobq *q, struct jobq__request *r, bool *ended) {
    int rc = jobq__turn_begin_within(q, &q->writer, r->until_us);
    *ended = false;
    if (rc != JOBQ_OK) return rc;
    jobq__disk_begin(q);
    rc = r->write(&q->tx, r);
    if (rc == JOBQ_OK) rc = jobq__disk_hold_back(&q->tx);
    *ended = rc == JOBQ_OK;
    return rc == JOBQ_OK ? jobq__store_commit(&q->writer) : rc;
}

JOBQ__INTERNAL int jobq__commit_bare(jobq *q, struct jobq__request *r) {
    struct jobq__wakes wakes;
    bool ended;
    int rc = jobq__commit_look(q, jobq__clock_mono_us());
    if (rc != JOBQ_OK && rc != JOBQ_CORRUPT) return jobq__fail_say(q, rc, r->err);
    memset(&wakes, 0, sizeof wakes);
    if (jobq__store_is_open(&q->job)) jobq__store_rollback(&q->job);
    jobq__tx_open(&q->tx, &q->writer, JOBQ__TX_RECOVERY);
    rc = jobq__commit_bare_once(q, r, &ended);
    if (rc == JOBQ_OK) {
        q->look_lanes = wakes.scheduler = wakes.loop = true;
        jobq__tx_applied(&q->tx, &wakes);
    } else {
        if (rc == JOBQ_BUSY) jobq__turn_busy(q, "nothing was repaired", r->err);
        else jobq__store_fail(&q->writer, r->err);
        jobq__store_rollback(&q->writer);
        if (!jobq__commit_certain(q, &q->writer, rc, ended)) rc = JOBQ_UNKNOWN;
        jobq__tx_failed(&q->tx);
    }
    if (jobq__log_mind(q)) wakes.scheduler = true;
    jobq__wake_perform(q, &wakes);
    return rc;
}

/* ---- Requests ---- */

/* For who has the baton and a request in the list: leads until that is done or its time is over. */
static int jobq__commit_lead_own(jobq *q, struct jobq__request *r) {
    int64_t pause_us = 0, now_us, until_us;
    /* The same steps are to have the same history, however long they take: who leaves the file to
     * others for a moment comes again later, but in step mode nobody says when. */
    bool last = r->once && q->step_mode;
    int rc;
    jobq__baton_line_up(r);
    while ((rc = jobq__commit_lead_once(q, r, last)) == JOBQ__TAKEN && !last && !r->once) {
        now_us = jobq__clock_mono_us();
        until_us = r->until_us ? r->until_us : jobq__baton_until(q, r, now_us);
        last = now_us >= until_us;
        if (!last) jobq__turn_pause(q, &pause_us, now_us, until_us);
    }
    if (rc != JOBQ__TAKEN) return rc;
    jobq__baton_withdraw(q, r);
    r->rc = jobq__turn_busy(q, "nothing was stored", r->err);
    jobq__baton_release(q);
    return r->rc;
}

/* In a queue that serves from step mode, or is not started, callers hear their own events, also
 * those that came while another was telling. */
static void jobq__commit_events(jobq *q) {
    bool scheduler, left = false;
    if (!q->events.call) return;
    jobq__os_lock(&q->pool.mu);
    scheduler = q->pool.sched.started;
    jobq__os_unlock(&q->pool.mu);
    if (scheduler) {
        left = jobq__event_waiting(&q->events);
    } else if (jobq__core_in_callback(q) || !jobq__core_in_handler(q)) {
        left = jobq__event_deliver(&q->events, true); /* the pool may be started meanwhile */
    }
    if (left) jobq__wake_scheduler(q);
}

static int jobq__commit_ask(jobq *q, struct jobq__request *request, bool counts,
                            int64_t wait_us) {
    request->counts = counts;
    request->wait_us = wait_us;
    if (jobq__baton_enter(q, request) == JOBQ__REQUEST_LEAD) jobq__commit_lead_own(q, request);
    jobq__commit_events(q);
    return request->rc;
}

/* Callers wait for a callback that is far behind; not those who may be waited for. */
static void jobq__commit_throttle(jobq *q) {
    if (!jobq__event_crowded(&q->events) || jobq__os_awaited() || jobq__core_in_handler(q)) return;
    jobq__event_throttle(&q->events);
}

JOBQ__INTERNAL int jobq__commit_request(jobq *q, struct jobq__request *request) {
    int64_t wait_us = request->left_us ? *request->left_us : q->baton.busy_us;
    int rc = jobq__commit_ask(q, request, true, wait_us);
    if (request->left_us) *request->left_us = jobq__baton_rest(q, request);
    jobq__commit_throttle(q);
    return rc;
}

JOBQ__INTERNAL int jobq__commit_request_within(jobq *q, struct jobq__request *request,
                                               int64_t wait_us) {
    return jobq__commit_ask(q, request, false, wait_us);
}

JOBQ__INTERNAL int jobq__commit_now(jobq *q) {
    struct jobq__request request;
    memset(&request, 0, sizeof request);
    request.counts = true;
    request.wait_us = q->baton.busy_us;
    if (jobq__baton_enter(q, &request) == JOBQ__REQUEST_LEAD) {
        int rc = jobq__commit_lead_own(q, &request);
        if (request.rc == JOBQ_OK) request.rc = rc;
    }
    return request.rc;
}

/* ---- A job's transaction ---- */

/* Puts it among those that the transaction settles, or takes it out. */
static void jobq__commit_settles(struct jobq__tx *tx, struct jobq__entry *entry, bool settles) {
    jobq *q = tx->q;
    jobq__os_lock(&q->pool.mu);
    jobq__list_remove(&entry->link);
    if (settles) jobq__list_append(&tx->settled, &entry->link);
    jobq__os_unlock(&q->pool.mu);
}

/* For a job's message, which has no room for a path. */
static void jobq__commit_why(jobq *q, const jobq__store *job, int rc, jobq_error *why) {
    if (jobq__store_said(job, rc)) jobq__store_why(job, why);
    else jobq__fail_say(q, rc, why);
}

static const char jobq__commit_spoilt[] =
    "SQLite refuses jobq's own statements on the job's connection: a function that the handler"
    " registered there stands in the place of one of SQLite's; give it another name";

/* Who cannot tell what was committed starts nothing more. */
static void jobq__commit_blind(jobq *q) {
    struct jobq__fault why = jobq__store_reason(&q->writer);
    jobq__fail_latch(q, JOBQ_IO, &why);
}

struct jobq__commit_found {
    int64_t id;
    struct jobq__row row;
};

static int jobq__commit_find(jobq *q, void *arg) {
    struct jobq__commit_found *found = arg;
    return jobq__store_row(&q->writer, found->id, &found->row);
}

/* SQLite commits our file first. When another one of the connection, attached or temporary, then
 * fails, the job has ended all the same. */
static bool jobq__commit_has_ended(jobq *q, const struct jobq__entry *entry) {
    struct jobq__commit_found found;
    int rc;
    found.id = entry->row.id;
    rc = jobq__commit_insist(q, jobq__commit_find, &found);
    if (rc != JOBQ_OK && rc != JOBQ_NOT_FOUND) jobq__commit_blind(q);
    return rc == JOBQ_NOT_FOUND || (rc == JOBQ_OK && found.row.state != JOBQ__CLAIMED);
}

/* Ends a job's transaction: settles entry on its connection and commits what the handler wrote. */
static int jobq__commit_job_end(struct jobq__tx *tx, struct jobq__entry *entry,
                                struct jobq__wakes *wakes, jobq_error *why) {
    jobq *q = tx->q;
    jobq__store *job = tx->db;
    int rc = jobq__commit_look(q, jobq__clock_mono_us());
    if (rc == JOBQ_OK) rc = jobq__store_check_job(tx->db, why);
    if (rc != JOBQ_OK) return rc;
    jobq__tx_at(tx, jobq__core_now(q));
    jobq__commit_settles(tx, entry, true);
    rc = jobq__tx_settle(tx);
    if (rc == JOBQ_OK) rc = jobq__tx_fill(tx);
    if (rc == JOBQ_OK) rc = jobq__tx_check_undone(tx);
    if (rc == JOBQ_OK) rc = jobq__disk_hold_back(tx);
    if (rc != JOBQ_OK) return rc;
    jobq__event_commit(&q->events, true);
    rc = jobq__store_commit_job(tx->db, why);
    if (rc != JOBQ_OK) jobq__store_rollback(tx->db);
    if (rc == JOBQ_OK || (rc != JOBQ__REFUSED && jobq__commit_has_ended(q, entry))) {
        jobq__tx_applied(tx, wakes);
        return JOBQ_OK;
    }
    jobq__event_commit(&q->events, false);
    tx->db = &q->writer;
    if (rc != JOBQ__REFUSED) jobq__commit_certain(q, job, rc, true);
    return rc;
}

static int jobq__commit_check_withdrawn(jobq *q, void *arg) {
    (void)arg;
    return jobq__tx_check_withdrawn(&q->tx);
}

JOBQ__INTERNAL int jobq__commit_job(jobq *q, struct jobq__entry *entry, bool keep,
                                    jobq_error *why) {
    jobq__store *job = jobq__core_job(q);
    struct jobq__fault cause;
    struct jobq__wakes wakes;
    bool intact;
    int rc;
    wakes.count = 0;
    wakes.scheduler = wakes.loop = false;
    /* SQLite, or the handler, has ended it: whatever was written is not to be trusted. */
    jobq__assert(q->tx.of_job && jobq__os_load(&q->baton.busy));
    intact = jobq__guard_intact(job);
    rc = intact && jobq__store_stands(job) ? JOBQ_OK : JOBQ_MISUSE;
    if (rc == JOBQ_OK && keep) {
        rc = jobq__commit_job_end(&q->tx, entry, &wakes, why);
        if (rc != JOBQ_OK && rc != JOBQ__REFUSED) jobq__commit_why(q, job, rc, why);
    }
    if (rc == JOBQ_FULL) jobq__disk_full(q);
    if (!q->memory && jobq__guard_spoilt(job, rc))
        rc = jobq__err_set(why, JOBQ__REFUSED, "%s", jobq__commit_spoilt);
    cause = jobq__store_reason(job);
    jobq__fail_heed(q, rc, &cause);
    if (rc != JOBQ_OK || !keep) {
        /* All of it: a part could be kept by a savepoint of the handler's. */
        jobq__store_rollback(job);
        jobq__commit_settles(&q->tx, entry, false);
        /* It is still claimed, and the claims row has to go on saying so. */
        jobq__tx_gone(entry, false);
        q->look_lanes = true;
        /* The handler may have committed: rows, and what was counted of them. */
        q->recount = q->recount || !intact;
        if (!intact && jobq__commit_insist(q, jobq__commit_check_withdrawn, NULL) != JOBQ_OK)
            jobq__commit_blind(q);
        jobq__tx_failed(&q->tx);
    }
    q->tx.db = &q->writer;
    jobq__core_leave_job(q);
    jobq__turn_end(q, q->turn.begun_us, jobq__clock_mono_us());
    if (jobq__log_mind(q)) wakes.scheduler = true;
    jobq__baton_release(q);
    jobq__wake_perform(q, &wakes);
    return rc;
}

JOBQ__INTERNAL int jobq__commit_join(struct jobq__tx *tx, struct jobq__request *request) {
    jobq *q = tx->q;
    int rc;
    jobq__assert(tx->of_job && jobq__os_load(&q->baton.busy));
    request->rc = JOBQ_OK;
    request->atomic = true;
    jobq__guard_enter(tx->db);
    rc = jobq__tx_check_names(tx);
    if (rc == JOBQ_OK) rc = jobq__commit_write(tx, request);
    if (rc == JOBQ_OK) rc = request->rc;
    else if (!q->memory && jobq__guard_spoilt(tx->db, rc))
        rc = jobq__err_set(request->err, JOBQ_MISUSE, "%s", jobq__commit_spoilt);
    else
        rc = jobq__commit_sqlite(tx, request, rc);
    jobq__commit_heed(tx, rc);
    jobq__guard_leave(tx->db);
    return rc;
}
