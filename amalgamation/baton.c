/* baton.c - the baton: who may write, who waits for it, and in which order. */
#include "baton.h"

/* ---- Beds: where a thread sleeps until its request is done ---- */

static struct jobq__bed *jobq__baton_bed(jobq *q) {
    struct jobq__bed *bed = q->baton.beds;
    jobq__assert(jobq__os_held(&q->baton.mu));
    while (bed && jobq__os_load(&bed->used)) bed = bed->next;
    if (!bed) {
        bed = jobq__mem_new(sizeof *bed);
        if (!bed) return NULL;
        if (jobq__os_mutex_init(&bed->mu) || jobq__os_cond_init(&bed->cond, JOBQ__OS_MONO)) {
            jobq__os_mutex_fini(&bed->mu);
            jobq__mem_free(bed);
            return NULL;
        }
        bed->next = q->baton.beds;
        q->baton.beds = bed;
    }
    jobq__os_store(&bed->used, 1);
    return bed;
}

static void jobq__baton_bed_wake(struct jobq__bed *bed) {
    jobq__os_lock(&bed->mu);
    bed->woken = true;
    jobq__os_unlock(&bed->mu);
    jobq__os_signal(&bed->cond);
}

/* False if the time came first. */
static bool jobq__baton_bed_wait(struct jobq__bed *bed, int64_t until_us) {
    bool woken;
    jobq__os_lock(&bed->mu);
    while (!bed->woken) {
        if (until_us == INT64_MAX) jobq__os_wait(&bed->cond, &bed->mu);
        else if (!jobq__os_wait_until(&bed->cond, &bed->mu, until_us)) break;
    }
    woken = bed->woken;
    bed->woken = false;
    jobq__os_unlock(&bed->mu);
    return woken;
}

JOBQ__INTERNAL int jobq__baton_init(jobq *q) {
    q->baton.tail = &q->baton.head;
    q->baton.busy_us = q->options.busy_ms > INT64_MAX / 2000 ? INT64_MAX / 2
                                                             : q->options.busy_ms * 1000;
    return jobq__os_mutex_init(&q->baton.mu);
}

JOBQ__INTERNAL void jobq__baton_fini(jobq *q) {
    struct jobq__bed *bed, *next;
    for (bed = q->baton.beds; bed; bed = next) {
        next = bed->next;
        jobq__os_cond_fini(&bed->cond);
        jobq__os_mutex_fini(&bed->mu);
        jobq__mem_free(bed);
    }
    jobq__os_mutex_fini(&q->baton.mu);
}

/* ---- States of a request ---- */

#define JOBQ__BATON_TO(name) JOBQ__EDGE(JOBQ__REQUEST_##name)

static const unsigned jobq__baton_edges[] = {
    [JOBQ__REQUEST_NEW] = JOBQ__BATON_TO(LEAD) | JOBQ__BATON_TO(WAITING) | JOBQ__BATON_TO(GONE),
    [JOBQ__REQUEST_WAITING] = JOBQ__BATON_TO(TAKEN) | JOBQ__BATON_TO(LEAD) | JOBQ__BATON_TO(GONE),
    [JOBQ__REQUEST_TAKEN] = JOBQ__BATON_TO(DONE) | JOBQ__BATON_TO(WAITING),
    [JOBQ__REQUEST_LEAD] = JOBQ__BATON_TO(WAITING),
    [JOBQ__REQUEST_DONE] = 0,
    [JOBQ__REQUEST_GONE] = 0,
};

JOBQ__INTERNAL bool jobq__baton_legal(int from, int to) {
    return JOBQ__LEGAL(jobq__baton_edges, from, to);
}

/* The only place where a state changes. Its thread may be gone with the request at once. */
static void jobq__baton_step(struct jobq__request *r, enum jobq__request_state to) {
    jobq__assert(jobq__baton_legal(jobq__os_load(&r->state), (int)to));
    jobq__os_store(&r->state, (int32_t)to);
}

/* The same for another's thread; returns where that sleeps, if it does. */
static struct jobq__bed *jobq__baton_step_other(struct jobq__request *r,
                                                enum jobq__request_state to) {
    struct jobq__bed *bed = r->bed;
    jobq__baton_step(r, to);
    return bed;
}

/* ---- The baton ---- */

static void jobq__baton_take_locked(jobq *q, jobq__thread thread) {
    jobq__assert(jobq__os_held(&q->baton.mu));
    jobq__os_store(&q->baton.busy, 1);
    q->baton.holder = thread;
}

JOBQ__INTERNAL bool jobq__baton_try(jobq *q) {
    bool free;
    jobq__os_lock(&q->baton.mu);
    free = !q->baton.busy;
    if (free) jobq__baton_take_locked(q, jobq__os_thread_self());
    jobq__os_unlock(&q->baton.mu);
    return free;
}

/* Hands the baton to the first who waits, or lays it down; returns whom to wake. */
static struct jobq__bed *jobq__baton_hand_on(jobq *q) {
    struct jobq__request *first = q->baton.head;
    jobq__assert(jobq__os_held(&q->baton.mu));
    jobq__assert(q->baton.busy);
    q->baton.in_job = false;
    jobq__turn_others(q, false); /* whoever is next sees for himself */
    if (!first) {
        jobq__os_store(&q->baton.busy, 0);
        return NULL;
    }
    jobq__baton_take_locked(q, first->thread);
    if (first->hold) {
        q->baton.head = first->next;
        if (!q->baton.head) q->baton.tail = &q->baton.head;
    }
    return jobq__baton_step_other(first, JOBQ__REQUEST_LEAD);
}

JOBQ__INTERNAL void jobq__baton_release(jobq *q) {
    struct jobq__bed *bed;
    jobq__os_lock(&q->baton.mu);
    bed = jobq__baton_hand_on(q);
    jobq__os_unlock(&q->baton.mu);
    if (bed) jobq__baton_bed_wake(bed);
    else jobq__wake_for_baton(q);
}

JOBQ__INTERNAL void jobq__baton_set_job(jobq *q, bool in_job) {
    jobq__os_lock(&q->baton.mu);
    jobq__assert(q->baton.busy);
    q->baton.in_job = in_job;
    jobq__turn_others(q, in_job);
    jobq__os_unlock(&q->baton.mu);
}

JOBQ__INTERNAL bool jobq__baton_by_job(jobq *q) {
    bool by_job;
    jobq__os_lock(&q->baton.mu);
    by_job = q->baton.busy && q->baton.in_job;
    jobq__os_unlock(&q->baton.mu);
    return by_job;
}

JOBQ__INTERNAL bool jobq__baton_in_job(jobq *q) {
    bool in_job;
    if (!jobq__os_load(&q->baton.busy)) return false;
    jobq__os_lock(&q->baton.mu);
    in_job = q->baton.busy && q->baton.in_job
          && jobq__os_thread_same(q->baton.holder, jobq__os_thread_self());
    jobq__os_unlock(&q->baton.mu);
    return in_job;
}

/* ---- The line ---- */

static void jobq__baton_append(jobq *q, struct jobq__request *r) {
    r->next = NULL;
    if (r->sync) jobq__os_store(&q->baton.syncs, q->baton.syncs + 1);
    *q->baton.tail = r;
    q->baton.tail = &r->next;
}

JOBQ__INTERNAL bool jobq__baton_withdraw(jobq *q, struct jobq__request *r) {
    struct jobq__request **at;
    bool found = false;
    jobq__os_lock(&q->baton.mu);
    if (jobq__os_load(&r->state) == JOBQ__REQUEST_WAITING) {
        for (at = &q->baton.head; *at != r; at = &(*at)->next) {}
        *at = r->next;
        if (!r->next) q->baton.tail = at;
        if (r->sync) jobq__os_store(&q->baton.syncs, q->baton.syncs - 1);
        jobq__baton_step(r, JOBQ__REQUEST_GONE);
        found = true;
    }
    jobq__os_unlock(&q->baton.mu);
    return found;
}

/* What the clock shows by which the request waits. With baton.mu held. */
static int64_t jobq__baton_shows(const jobq *q, const struct jobq__request *r, int64_t now_us) {
    return r->counts ? jobq__turn_others_had(q, now_us) : now_us;
}

static int64_t jobq__baton_left(const jobq *q, const struct jobq__request *r, int64_t now_us) {
    int64_t left_us = r->wait_us - (jobq__baton_shows(q, r, now_us) - r->from_us);
    return JOBQ__MAX(left_us, 0);
}

static int64_t jobq__baton_until_locked(const jobq *q, const struct jobq__request *r,
                                        int64_t now_us) {
    int64_t left_us = jobq__baton_left(q, r, now_us);
    if (r->counts && !q->turn.others_us) left_us = JOBQ__MAX(left_us, JOBQ__TURN_PAUSE_MAX_US);
    return jobq__add(now_us, left_us);
}

JOBQ__INTERNAL int64_t jobq__baton_until(jobq *q, const struct jobq__request *r, int64_t now_us) {
    int64_t until_us;
    jobq__os_lock(&q->baton.mu);
    until_us = jobq__baton_until_locked(q, r, now_us);
    jobq__os_unlock(&q->baton.mu);
    return until_us;
}

JOBQ__INTERNAL int64_t jobq__baton_rest(jobq *q, const struct jobq__request *r) {
    int64_t now_us = jobq__clock_mono_us(), left_us;
    jobq__os_lock(&q->baton.mu);
    left_us = jobq__baton_left(q, r, now_us);
    jobq__os_unlock(&q->baton.mu);
    return left_us;
}

/* Sleeps until the request is done, has the baton, or was withdrawn because its time is over. */
static enum jobq__request_state jobq__baton_await(jobq *q, struct jobq__request *r,
                                                  int64_t until_us) {
    int state;
    while ((state = jobq__os_load(&r->state)) == JOBQ__REQUEST_WAITING
           || state == JOBQ__REQUEST_TAKEN) {
        int64_t limit_us = state == JOBQ__REQUEST_WAITING ? until_us : INT64_MAX, now_us;
        if (jobq__baton_bed_wait(r->bed, limit_us)) continue;
        now_us = jobq__clock_mono_us();
        until_us = jobq__baton_until(q, r, now_us);
        if (now_us >= until_us && jobq__baton_withdraw(q, r)) return JOBQ__REQUEST_GONE;
    }
    return (enum jobq__request_state)state;
}

/* Takes the baton, or a place in the line; until when that is kept. With baton.mu held. */
static int64_t jobq__baton_come(jobq *q, struct jobq__request *r) {
    bool wait = q->baton.busy != 0;
    int64_t now_us = 0, until_us = 0;
    jobq__assert(wait || !q->baton.head);
    /* Nobody asks for the time who need not wait: others have nothing while the baton is free. */
    if (wait || !r->counts) now_us = jobq__clock_mono_us();
    r->from_us = jobq__baton_shows(q, r, now_us);
    if (wait) until_us = jobq__baton_until_locked(q, r, now_us);
    if (wait) r->bed = jobq__baton_bed(q);
    if (!wait) jobq__baton_take_locked(q, r->thread);
    jobq__baton_step(r, !wait ? JOBQ__REQUEST_LEAD : r->bed ? JOBQ__REQUEST_WAITING
                                                            : JOBQ__REQUEST_GONE);
    if (wait ? r->bed != NULL : !r->hold) jobq__baton_append(q, r);
    return until_us;
}

JOBQ__INTERNAL enum jobq__request_state jobq__baton_enter(jobq *q, struct jobq__request *r) {
    enum jobq__request_state state;
    int64_t until_us;
    r->thread = jobq__os_thread_self();
    r->bed = NULL;
    r->state = JOBQ__REQUEST_NEW;
    r->rc = JOBQ_OK;
    jobq__os_lock(&q->baton.mu);
    until_us = jobq__baton_come(q, r);
    state = (enum jobq__request_state)jobq__os_load(&r->state);
    jobq__os_unlock(&q->baton.mu);
    if (state == JOBQ__REQUEST_GONE) r->rc = jobq__err_set(r->err, JOBQ_NO_MEMORY, NULL);
    if (state != JOBQ__REQUEST_WAITING) return state;
    state = jobq__baton_await(q, r, until_us);
    jobq__os_store(&r->bed->used, 0);
    if (state == JOBQ__REQUEST_GONE) r->rc = jobq__turn_busy(q, "nothing was stored", r->err);
    return state;
}

JOBQ__INTERNAL void jobq__baton_line_up(struct jobq__request *r) {
    jobq__assert(!r->hold);
    jobq__baton_step(r, JOBQ__REQUEST_WAITING);
}

JOBQ__INTERNAL int jobq__baton_hold(jobq *q, int64_t *left_us) {
    struct jobq__request request;
    memset(&request, 0, sizeof request);
    request.hold = request.counts = true;
    request.wait_us = *left_us;
    jobq__baton_enter(q, &request);
    *left_us = jobq__baton_rest(q, &request);
    return request.rc;
}

JOBQ__INTERNAL int jobq__baton_hold_within(jobq *q, int64_t wait_us) {
    struct jobq__request request;
    memset(&request, 0, sizeof request);
    request.hold = true;
    request.wait_us = wait_us;
    jobq__baton_enter(q, &request);
    return request.rc;
}

/* ---- Groups ---- */

JOBQ__INTERNAL bool jobq__baton_syncs(const jobq *q, const struct jobq__request *r) {
    return q->options.durability == JOBQ_RELAXED && r && r->sync;
}

JOBQ__INTERNAL bool jobq__baton_first_syncs(jobq *q) {
    bool sync;
    if (!jobq__os_load(&q->baton.syncs)) return false;
    jobq__os_lock(&q->baton.mu);
    sync = jobq__baton_syncs(q, q->baton.head);
    jobq__os_unlock(&q->baton.mu);
    return sync;
}

JOBQ__INTERNAL struct jobq__request *jobq__baton_collect(jobq *q, bool sync) {
    struct jobq__request *list, **end = &q->baton.head;
    int count = 0;
    jobq__os_lock(&q->baton.mu);
    list = q->baton.head;
    while (*end && !(*end)->hold && count < JOBQ__GROUP
           && (sync || !jobq__baton_syncs(q, *end))) {
        if ((*end)->sync) jobq__os_store(&q->baton.syncs, q->baton.syncs - 1);
        jobq__baton_step(*end, JOBQ__REQUEST_TAKEN);
        end = &(*end)->next;
        count++;
    }
    if (end == &q->baton.head) {
        list = NULL;
    } else {
        q->baton.head = *end;
        *end = NULL;
        if (!q->baton.head) q->baton.tail = &q->baton.head;
    }
    jobq__os_unlock(&q->baton.mu);
    return list;
}

/* What has been decided is done, the rest goes back to the front of the line. With baton.mu
 * held. */
static void jobq__baton_let_go(jobq *q, struct jobq__request *group,
                               struct jobq__sleepers *sleepers) {
    struct jobq__request *r, *after, *back = NULL, **end = &back;
    jobq__thread self = jobq__os_thread_self();
    struct jobq__bed *bed;
    for (r = group; r; r = after) {
        bool own = jobq__os_thread_same(r->thread, self), again = r->rc == JOBQ__TAKEN;
        after = r->next;
        if (again) {
            *end = r;
            end = &r->next;
            if (r->sync) jobq__os_store(&q->baton.syncs, q->baton.syncs + 1);
        }
        bed = jobq__baton_step_other(r, again ? JOBQ__REQUEST_WAITING : JOBQ__REQUEST_DONE);
        if (!own) sleepers->beds[sleepers->count++] = bed;
    }
    if (!back) return;
    *end = q->baton.head;
    if (!q->baton.head) q->baton.tail = end;
    q->baton.head = back;
}

JOBQ__INTERNAL bool jobq__baton_pass(jobq *q, struct jobq__request *group,
                                     const struct jobq__request *own,
                                     struct jobq__sleepers *sleepers) {
    struct jobq__bed *next = NULL;
    bool keep;
    sleepers->count = 0;
    jobq__os_lock(&q->baton.mu);
    jobq__baton_let_go(q, group, sleepers);
    keep = own && jobq__os_load(&own->state) != JOBQ__REQUEST_DONE;
    if (!keep) next = jobq__baton_hand_on(q);
    jobq__os_unlock(&q->baton.mu);
    sleepers->laid_down = !keep && !next;
    if (next) jobq__baton_bed_wake(next);
    return keep;
}

JOBQ__INTERNAL void jobq__baton_wake(jobq *q, const struct jobq__sleepers *sleepers) {
    int i;
    for (i = 0; i < sleepers->count; i++) jobq__baton_bed_wake(sleepers->beds[i]);
    if (sleepers->laid_down) jobq__wake_for_baton(q);
}
