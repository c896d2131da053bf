/* baton.c - the baton: one holder at a time, in the order of coming, and the steps of a request.
 *
 * Promised by the head of baton.h: who waits too long is gone without a trace, wherever in the line
 * it stood; time passes for who waits only while others have the file; a request is not touched
 * once its thread was let go. */
#include "line.h"

static const struct {
    int from, to;
    const char *why;
} edges[] = {
    {JOBQ__REQUEST_NEW, JOBQ__REQUEST_LEAD, "the baton was free"},
    {JOBQ__REQUEST_NEW, JOBQ__REQUEST_WAITING, "stands in line"},
    {JOBQ__REQUEST_NEW, JOBQ__REQUEST_GONE, "no memory for a bed"},
    {JOBQ__REQUEST_WAITING, JOBQ__REQUEST_LEAD, "is handed the baton"},
    {JOBQ__REQUEST_WAITING, JOBQ__REQUEST_TAKEN, "is in a group"},
    {JOBQ__REQUEST_WAITING, JOBQ__REQUEST_GONE, "its time is over"},
    {JOBQ__REQUEST_LEAD, JOBQ__REQUEST_WAITING, "leads its own group"},
    {JOBQ__REQUEST_TAKEN, JOBQ__REQUEST_DONE, "is decided"},
    {JOBQ__REQUEST_TAKEN, JOBQ__REQUEST_WAITING, "is tried again when the file is free"},
};

static const char *edge(int from, int to) {
    for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++)
        if (edges[i].from == from && edges[i].to == to) return edges[i].why;
    return NULL;
}

/* Goal: the documented steps of a request are legal and all others are not. Method: every pair,
 * numbers that are no state included. */
TEST(every_pair_of_states) {
    for (int from = -2; from <= JOBQ__REQUEST_GONE + 2; from++) {
        for (int to = -2; to <= JOBQ__REQUEST_GONE + 2; to++) {
            const char *why = edge(from, to);
            if (!CHECK(jobq__baton_legal(from, to) == (why != NULL)))
                test_note("from %d to %d: %s", from, to, why ? why : "not documented");
        }
    }
}

static void *ask_in_job(void *arg) {
    jobq *q = (jobq *)arg;
    int64_t left_us = 1000;
    CHECK(jobq__baton_by_job(q));
    CHECK(!jobq__baton_in_job(q));
    CHECK(!jobq__baton_try(q));
    CHECK_CODE(jobq__baton_hold_within(q, 1000), JOBQ_BUSY);
    CHECK_CODE(jobq__baton_hold(q, &left_us), JOBQ_BUSY);
    CHECK_INT(left_us, 0);
    return NULL;
}

/* Goal: the baton is one, lies free when nobody has it, and its holder is known as a job's only
 * when it says so, and to its own thread only. Method: take it twice, give it back, take it
 * again. */
TEST(one_baton) {
    pthread_t thread;
    jobq *q;
    REQUIRE(place_open());
    q = place.f.q;
    CHECK(jobq__baton_try(q));
    CHECK(!jobq__baton_try(q));
    CHECK(!jobq__baton_by_job(q) && !jobq__baton_in_job(q));
    jobq__baton_set_job(q, true);
    CHECK(jobq__baton_by_job(q) && jobq__baton_in_job(q));
    thread = thread_start(ask_in_job, q);
    pthread_join(thread, NULL);
    CHECK_INT(in_line(q), 0);
    jobq__baton_release(q);
    CHECK(!jobq__baton_by_job(q) && !jobq__baton_in_job(q));
    CHECK_CODE(jobq__baton_hold_within(q, 0), JOBQ_OK);
    CHECK(!jobq__baton_by_job(q));
    jobq__baton_release(q);
    fixture_close(&place.f);
}

/* Goal: who has waited long enough leaves the line whole, wherever it stood: nothing of it is
 * written, and who came before and after is served. Method: the first, the middle and the last of
 * three wait for a moment only; a fourth comes when it is gone. */
TEST(who_leaves_the_line_leaves_it_whole) {
    enum { LINE = 3 };
    for (int hasty = 0; hasty < LINE; hasty++) {
        struct order line[LINE + 1];
        REQUIRE(place_open());
        REQUIRE(jobq__baton_try(place.f.q));
        for (int i = 0; i < LINE; i++) {
            prepare(&line[i], i);
            if (i == hasty) line[i].wait_us = 200000;
            line[i].thread = thread_start(give, &line[i]);
            while (in_line(place.f.q) < i + 1
                   && (i < hasty || !__atomic_load_n(&line[hasty].returned, __ATOMIC_SEQ_CST)))
                sched_yield();
        }
        pthread_join(line[hasty].thread, NULL);
        CHECK_CODE(line[hasty].request.rc, JOBQ_BUSY);
        CHECK_CODE(line[hasty].err.code, JOBQ_BUSY);
        while (in_line(place.f.q) < LINE - 1) sched_yield();
        start_order(&line[LINE], LINE);
        jobq__baton_release(place.f.q);
        for (int i = 0; i <= LINE; i++) {
            if (i != hasty) pthread_join(line[i].thread, NULL);
            CHECK_INT(line[i].written, i != hasty);
            CHECK_INT(rows_of(i), i == hasty ? 0 : 2);
        }
        CHECK_INT(in_line(place.f.q), 0);
        fixture_remove(&place.f);
    }
}

static void *hold_and_note(void *arg) {
    struct order *o = (struct order *)arg;
    o->request.rc = jobq__baton_hold_within(o->q, o->wait_us);
    place.order[place.count++] = o->number;
    jobq__baton_release(o->q);
    return NULL;
}

/* Goal: who wants the baton for itself stands in the same line, and divides it into groups. Method:
 * two requests, one holder, two requests; the holder comes between two transactions. */
TEST(a_holder_divides_the_line) {
    enum { LINE = 5, HOLDER = 2 };
    struct order line[LINE];
    REQUIRE(place_open());
    REQUIRE(jobq__baton_try(place.f.q));
    for (int i = 0; i < LINE; i++) {
        prepare(&line[i], i);
        stand_in_line(&line[i], i == HOLDER ? hold_and_note : give);
    }
    serve(line, LINE);
    for (int i = 0; i < LINE; i++) {
        CHECK_CODE(line[i].request.rc, JOBQ_OK);
        CHECK_INT(place.order[i], i);
    }
    CHECK_INT(place.commits, 2);
    fixture_close(&place.f);
}

/* ---- Whose time it is ---- */

static void *give_by_busy_ms(void *arg) {
    struct order *o = (struct order *)arg;
    jobq__commit_request(o->q, &o->request);
    __atomic_store_n(&o->returned, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static void start_by_busy_ms(struct order *o, int number) {
    prepare(o, number);
    o->thread = thread_start(give_by_busy_ms, o);
    while (in_line(o->q) < 1 && !__atomic_load_n(&o->returned, __ATOMIC_SEQ_CST)) sched_yield();
}

/* Goal: who waits by busy_ms waits for commits of its own process without a limit, and by its limit
 * for a job's transaction, also if that comes while it waits. Method: busy_ms = JOBQ_NONE, and the
 * baton in our hand: first as anybody's, who lays it down; then as a job's. */
TEST(no_time_passes_behind_our_own_commits) {
    struct order o;
    jobq *q;
    REQUIRE(place_open());
    q = place.f.q;
    q->baton.busy_us = 0;
    REQUIRE(jobq__baton_try(q));
    start_by_busy_ms(&o, 1);
    test_pause_ms(20); /* it may leave the line at any moment, and shall not */
    CHECK_INT(in_line(q), 1);
    jobq__baton_release(q);
    pthread_join(o.thread, NULL);
    CHECK_CODE(o.request.rc, JOBQ_OK);
    CHECK_INT(rows_of(1), 2);
    REQUIRE(jobq__baton_try(q));
    start_by_busy_ms(&o, 2);
    jobq__baton_set_job(q, true);
    pthread_join(o.thread, NULL);
    CHECK_CODE(o.request.rc, JOBQ_BUSY);
    CHECK(strstr(o.err.text, "job's transaction") != NULL);
    start_by_busy_ms(&o, 3);
    pthread_join(o.thread, NULL);
    CHECK_CODE(o.request.rc, JOBQ_BUSY);
    CHECK_INT(in_line(q), 0);
    jobq__baton_release(q);
    CHECK_INT(rows_of(2) + rows_of(3), 0);
    fixture_close(&place.f);
}

static int64_t others_had(jobq *q) {
    int64_t had_us;
    jobq__os_lock(&q->baton.mu);
    had_us = jobq__turn_others_had(q, jobq__clock_mono_us());
    jobq__os_unlock(&q->baton.mu);
    return had_us;
}

static void *hold_by_busy_ms(void *arg) {
    struct order *o = (struct order *)arg;
    o->request.rc = jobq__baton_hold(o->q, &o->wait_us);
    if (o->request.rc == JOBQ_OK) jobq__baton_release(o->q);
    return NULL;
}

/* Goal: what others have had the file adds up, from one of them to the next, stands still when the
 * baton is laid down, and is taken from the time of who waits. Method: two transactions of jobs,
 * and one who waits for the third. */
TEST(time_of_others_adds_up) {
    enum { SPELL_US = 5000 };
    struct order o;
    int64_t had_us;
    jobq *q;
    REQUIRE(place_open());
    q = place.f.q;
    CHECK_INT(others_had(q), 0);
    for (int i = 1; i <= 2; i++) {
        REQUIRE(jobq__baton_try(q));
        jobq__baton_set_job(q, true);
        jobq__os_sleep_us(SPELL_US);
        jobq__baton_release(q);
        CHECK(others_had(q) >= i * SPELL_US);
    }
    had_us = others_had(q);
    jobq__os_sleep_us(SPELL_US);
    CHECK_INT(others_had(q), had_us);
    REQUIRE(jobq__baton_try(q));
    CHECK_INT(others_had(q), had_us);
    prepare(&o, 1);
    o.wait_us = INT64_C(3600000000);
    o.thread = thread_start(hold_by_busy_ms, &o);
    while (in_line(q) < 1) sched_yield();
    jobq__baton_set_job(q, true);
    jobq__os_sleep_us(SPELL_US);
    jobq__baton_release(q);
    pthread_join(o.thread, NULL);
    CHECK_CODE(o.request.rc, JOBQ_OK);
    CHECK(o.wait_us <= INT64_C(3600000000) - SPELL_US);
    CHECK_INT(INT64_C(3600000000) - o.wait_us, others_had(q) - had_us);
    fixture_close(&place.f);
}

/* ---- Who was let go ---- */

/* A thread that takes the baton for itself, and writes over its stack as soon as it has it. */
struct gone {
    jobq *q;
    struct jobq__bed decoy;
    int has_it, handed_on; /* atomic */
};

static void overwrite_stack(struct gone *g) {
    struct jobq__bed *volatile stack[1024];
    for (int i = 0; i < 1024; i++) stack[i] = &g->decoy;
    __atomic_store_n(&g->has_it, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&g->handed_on, __ATOMIC_SEQ_CST)) sched_yield();
    CHECK(stack[0] == &g->decoy);
}

/* Well below what is written over. */
static void take_baton(struct gone *g) {
    volatile char above[256];
    above[0] = 0;
    CHECK_CODE(jobq__baton_hold_within(g->q, INT64_MAX / 4), JOBQ_OK);
    CHECK(!above[0]);
}

static void *hold_and_vanish(void *arg) {
    struct gone *g = (struct gone *)arg;
    take_baton(g);
    overwrite_stack(g);
    jobq__baton_release(g->q);
    return NULL;
}

/* One that opened this bed for another request may come late: who sleeps there looks again. */
static void *open_late(void *arg) {
    struct gone *g = (struct gone *)arg;
    struct jobq__bed *bed = g->q->baton.beds;
    while (!__atomic_load_n(&g->has_it, __ATOMIC_SEQ_CST)) {
        jobq__os_lock(&bed->mu);
        bed->woken = true;
        jobq__os_unlock(&bed->mu);
        jobq__os_signal(&bed->cond);
        sched_yield();
    }
    return NULL;
}

/* Goal: a request lies on the stack of its thread, which looks at it without a lock; so who hands
 * the baton on does not touch the request once that says so. Method: somebody wakes the thread all
 * the time, so it has the baton at once, and the place of its request holds another bed's
 * address. */
TEST(who_has_the_baton_may_vanish) {
    struct gone g;
    pthread_t holder, waker;
    REQUIRE(place_open());
    memset(&g, 0, sizeof g);
    g.q = place.f.q;
    REQUIRE_INT(jobq__os_mutex_init(&g.decoy.mu), 0);
    REQUIRE_INT(jobq__os_cond_init(&g.decoy.cond, JOBQ__OS_MONO), 0);
    for (int i = 0; i < 20; i++) {
        REQUIRE(jobq__baton_try(g.q));
        g.has_it = g.handed_on = 0;
        holder = thread_start(hold_and_vanish, &g);
        while (!in_line(g.q)) sched_yield();
        waker = thread_start(open_late, &g);
        jobq__baton_release(g.q);
        __atomic_store_n(&g.handed_on, 1, __ATOMIC_SEQ_CST);
        pthread_join(waker, NULL);
        pthread_join(holder, NULL);
    }
    CHECK(!g.decoy.woken);
    jobq__os_cond_fini(&g.decoy.cond);
    jobq__os_mutex_fini(&g.decoy.mu);
    fixture_close(&place.f);
}

TEST_MAIN(every_pair_of_states, one_baton, who_leaves_the_line_leaves_it_whole,
          a_holder_divides_the_line, no_time_passes_behind_our_own_commits, time_of_others_adds_up,
          who_has_the_baton_may_vanish)
