/* turn.c - whose turn it is to write: other connections, other processes. */
#include "turn.h"

#include <stdio.h>

/* ---- Others ---- */

JOBQ__INTERNAL void jobq__turn_others(jobq *q, bool have_it) {
    struct jobq__turn *turn = &q->turn;
    int64_t now_us;
    jobq__assert(jobq__os_held(&q->baton.mu));
    if (have_it == (turn->others_us != 0)) return;
    now_us = jobq__clock_mono_us();
    if (!have_it) turn->others_had_us += now_us - turn->others_us;
    turn->others_us = have_it ? now_us : 0;
}

JOBQ__INTERNAL int64_t jobq__turn_others_had(const jobq *q, int64_t now_us) {
    const struct jobq__turn *turn = &q->turn;
    jobq__assert(jobq__os_held(&q->baton.mu));
    if (!turn->others_us) return turn->others_had_us;
    return turn->others_had_us + JOBQ__MAX(now_us - turn->others_us, 0);
}

static void jobq__turn_taken(jobq *q, int sqlite_code) {
    jobq__os_store(&q->turn.taken, sqlite_code);
    jobq__os_lock(&q->baton.mu);
    jobq__turn_others(q, sqlite_code != 0);
    jobq__os_unlock(&q->baton.mu);
}

/* ---- Taking the file ---- */

/* The word is another one whenever somebody has given up a turn that we could not take. */
static void jobq__turn_ask(jobq *q) {
    struct jobq__turn *turn = &q->turn;
    int32_t asked = jobq__owner_want(&q->owner);
    if (turn->asked && turn->asked != asked && turn->missed < JOBQ__TURN_MISSED_MAX) turn->missed++;
    turn->asked = asked;
}

JOBQ__INTERNAL int jobq__turn_begin(jobq *q, jobq__store *db, bool insist) {
    struct jobq__turn *turn = &q->turn;
    int rc;
    if (turn->away_us && !insist && jobq__clock_mono_us() < turn->away_us) return JOBQ__TAKEN;
    rc = jobq__store_begin(db);
    if (rc == JOBQ_BUSY) {
        jobq__turn_taken(q, jobq__store_reason(db).sqlite_code);
        jobq__turn_ask(q);
        return JOBQ__TAKEN;
    }
    turn->asked = turn->missed = 0;
    if (jobq__os_load(&turn->taken) || turn->away_us) {
        jobq__turn_taken(q, 0);
        turn->away_us = 0;
        turn->since_us = jobq__clock_mono_us();
    }
    return rc;
}

JOBQ__INTERNAL int64_t jobq__turn_pause_max_us(const jobq *q) {
    return JOBQ__TURN_PAUSE_MAX_US >> q->turn.missed;
}

JOBQ__INTERNAL void jobq__turn_pause(const jobq *q, int64_t *pause_us, int64_t now_us,
                                     int64_t until_us) {
    *pause_us = *pause_us ? jobq__min(*pause_us * 2, jobq__turn_pause_max_us(q))
                          : JOBQ__TURN_PAUSE_US;
    jobq__os_sleep_us(JOBQ__MIN(*pause_us, until_us - now_us));
}

JOBQ__INTERNAL int jobq__turn_begin_within(jobq *q, jobq__store *db, int64_t until_us) {
    int64_t pause_us = 0, now_us;
    int rc;
    for (;;) {
        now_us = jobq__clock_mono_us();
        rc = jobq__turn_begin(q, db, now_us >= until_us);
        if (rc != JOBQ__TAKEN) return rc;
        if (now_us >= until_us) return JOBQ_BUSY;
        jobq__turn_pause(q, &pause_us, now_us, until_us);
    }
}

JOBQ__INTERNAL void jobq__turn_put_off(jobq *q) {
    struct jobq__pool *pool = &q->pool;
    int64_t at_us = jobq__clock_mono_us() + jobq__turn_pause_max_us(q);
    jobq__os_lock(&pool->mu);
    pool->work.retry_at_us = JOBQ__MAX(at_us, q->turn.away_us);
    jobq__os_unlock(&pool->mu);
    jobq__wake_scheduler(q);
}

JOBQ__INTERNAL void jobq__turn_end(jobq *q, int64_t from_us, int64_t to_us) {
    struct jobq__turn *turn = &q->turn;
    if (from_us - turn->left_us >= JOBQ__TURN_PAUSE_MAX_US) turn->since_us = from_us;
    turn->left_us = to_us;
    if (to_us - turn->since_us < JOBQ__TURN_US || !jobq__owner_wanted(&q->owner)) return;
    jobq__owner_serve(&q->owner);
    turn->away_us = to_us + JOBQ__TURN_AWAY_US;
}

JOBQ__INTERNAL int jobq__turn_busy(jobq *q, const char *did, jobq_error *err) {
    int32_t code = jobq__os_load(&q->turn.taken);
    char time[64] = "and with busy_ms = JOBQ_NONE no call waits";
    if (q->options.busy_ms)
        snprintf(time, sizeof time, "for all of the %lld ms of busy_ms",
                 (long long)q->options.busy_ms);
    if (!code)
        return jobq__err_set(err, JOBQ_BUSY, "a job's transaction (jobq_run_db) had %.200s"
                             " %s; %s", q->files.path, time, did);
    jobq__err_set(err, JOBQ_BUSY, "another connection (your own on this thread?) held"
                  " %.200s %s; %s: call again, or keep that transaction shorter", q->files.path,
                  time, did);
    if (err) err->sqlite_code = code;
    return JOBQ_BUSY;
}

JOBQ__INTERNAL int jobq__turn_shut_out(jobq *q, int rc, const char *did, jobq_error *err) {
    if (rc != JOBQ_BUSY || !err || !err->sqlite_code) return rc;
    jobq__os_store(&q->turn.taken, err->sqlite_code);
    return jobq__turn_busy(q, did, err);
}
