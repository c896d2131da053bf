/* threads.c - many threads, one queue, no order.
 *
 * Promised: every call returns one of the codes that it may, the events of a job follow each
 * other, no job runs twice at once or before its time, the books balance at the end, and there is
 * an end. None of it depends on how long anything takes. Made for the thread sanitizer. */
#include "stress.h"

enum {
    THREADS = 6,
    STORM_OPS = 24000, /* of all threads together */
    STORM_MS = 4000,   /* or after so long */
    IDS_MAX = 1 << 18,
    MANY_MAX = 12,
    KEYS = 16,
    CLOCK_JOBS = 1200 /* of each thread */
};

/* ---- The storm ---- */

static struct storm {
    jobq *q;
    int64_t end_ms;
    int ops, stored, deleted; /* atomic counters */
    int newest;               /* the highest id that anybody was given; atomic */
    int in_callback;          /* atomic */
    int running[IDS_MAX];     /* atomic: must never be 2 */
    int starts[IDS_MAX];      /* atomic */
    jobq_state last[IDS_MAX]; /* by events; only callbacks write it, one at a time */
} storm;

static void stored(int64_t id) {
    int newest = read_of(&storm.newest);
    add_to(&storm.stored, 1);
    CHECK(id > 0 && id < IDS_MAX);
    while (id > newest &&
           !__atomic_compare_exchange_n(&storm.newest, &newest, (int)id, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED))
        continue;
}

/* The events of one job follow each other; its start may be told or not. */
static void check_event(const jobq_event *event, void *ctx) {
    jobq_state last;
    (void)ctx;
    CHECK_INT(add_to(&storm.in_callback, 1), 1);
    if (CHECK(event->id > 0 && event->id < IDS_MAX)) {
        last = storm.last[event->id];
        if (last == JOBQ_STATE_PENDING && event->from == JOBQ_STATE_RUNNING) last = event->from;
        CHECK_INT(event->from, last);
        storm.last[event->id] = event->to;
    }
    add_to(&storm.in_callback, -1);
}

static jobq_outcome enqueue_child(jobq_run *run) {
    jobq_job job = {.kind = "mix"};
    int64_t id = 0;
    int code = jobq_enqueue(jobq_run_handle(run), &job, &id, NULL);
    if (code == JOBQ_OK) stored(id);
    CHECK_CODE(code, JOBQ_OK);
    return JOBQ_DONE;
}

static jobq_outcome run_mix(jobq_run *run, void *ctx) {
    int64_t id = jobq_run_id(run);
    jobq_outcome outcome;
    int starts;
    (void)ctx;
    if (!CHECK(id > 0 && id < IDS_MAX)) return JOBQ_FAIL;
    CHECK_INT(add_to(&storm.running[id], 1), 1);
    starts = add_to(&storm.starts[id], 1);
    outcome = drawn_outcome(run, starts, enqueue_child);
    add_to(&storm.running[id], -1);
    return outcome;
}

static void storm_enqueue(uint64_t *random) {
    char key[32];
    jobq_job job = drawn_job(random, KEYS, key, sizeof key);
    int64_t id = 0;
    jobq_error err = {.code = 0};
    int code;
    job.conflict = JOBQ_REFUSE;
    code = jobq_enqueue(storm.q, &job, &id, &err);
    if (code == JOBQ_OK) stored(id);
    if (code == JOBQ_EXISTS) CHECK(job.key && err.id > 0);
    else CHECK_CODE(code, JOBQ_OK);
}

static void storm_enqueue_many(uint64_t *random) {
    char keys[MANY_MAX][32];
    jobq_job jobs[MANY_MAX];
    jobq_stored results[MANY_MAX];
    size_t count = 1 + (size_t)(test_random(random) % MANY_MAX);
    for (size_t i = 0; i < count; i++)
        jobs[i] = drawn_job(random, KEYS, keys[i], sizeof keys[i]);
    if (!CHECK_CODE(jobq_enqueue_many(storm.q, jobs, count, results, NULL), JOBQ_OK)) return;
    for (size_t i = 0; i < count; i++) {
        if (results[i].how == JOBQ_NEW) stored(results[i].id);
        else CHECK_INT(results[i].how, JOBQ_KEPT);
    }
}

static bool one_of(int code, int a, int b, int c) {
    return CHECK(code == JOBQ_OK || code == a || code == b || code == c);
}

/* Changes a job that may be in any state, or be gone. */
static void storm_change(uint64_t *random, int64_t id) {
    int code;
    switch (test_random(random) % 3) {
    case 0:
        one_of(jobq_cancel(storm.q, id, NULL), JOBQ_NOT_FOUND, JOBQ_BAD_STATE, JOBQ_OK);
        break;
    case 1:
        code = jobq_retry_now(storm.q, id, NULL);
        one_of(code, JOBQ_NOT_FOUND, JOBQ_BAD_STATE, JOBQ_EXISTS);
        break;
    default:
        code = jobq_delete(storm.q, id, NULL);
        if (code == JOBQ_OK) add_to(&storm.deleted, 1);
        one_of(code, JOBQ_NOT_FOUND, JOBQ_BUSY, JOBQ_OK);
    }
}

static void storm_look(uint64_t *random, int64_t id) {
    static const jobq_state states[] = {JOBQ_STATE_NONE, JOBQ_STATE_PENDING, JOBQ_STATE_RUNNING,
                                        JOBQ_STATE_FAILED};
    jobq_filter filter = {.rows_max = 200, .state = states[test_random(random) % 4]};
    jobq_cursor cursor = {.done = false};
    jobq_info infos[8];
    jobq_stats stats;
    size_t count = 0;
    switch (test_random(random) % 4) {
    case 0: one_of(jobq_get(storm.q, id, infos, NULL), JOBQ_NOT_FOUND, JOBQ_OK, JOBQ_OK); break;
    case 1:
        CHECK_CODE(jobq_list(storm.q, &filter, &cursor, infos, 8, &count, NULL), JOBQ_OK);
        CHECK(count <= 8);
        break;
    case 2:
        one_of(jobq_wait(storm.q, id, (int64_t)(test_random(random) % 3), infos, NULL),
               JOBQ_TIMEOUT, JOBQ_NOT_FOUND, JOBQ_OK);
        break;
    default:
        CHECK_CODE(jobq_stat(storm.q, &stats, NULL), JOBQ_OK);
        CHECK_INT(stats.failed_code, JOBQ_OK);
    }
}

static void storm_stop_or_start(uint64_t *random) {
    static const int64_t graces[] = {JOBQ_NONE, 1, 0, JOBQ_NEVER};
    if (test_random(random) % 3 > 0) {
        one_of(jobq_start(storm.q, NULL), JOBQ_BUSY, JOBQ_OK, JOBQ_OK);
    } else {
        int64_t grace = graces[test_random(random) % 4];
        one_of(jobq_stop(storm.q, grace, NULL), JOBQ_TIMEOUT, JOBQ_OK, JOBQ_OK);
    }
}

static void *rage(void *arg) {
    uint64_t random = (uint64_t)(uintptr_t)arg;
    while (add_to(&storm.ops, 1) < TEST_SCALED(STORM_OPS) && test_real_ms() < storm.end_ms) {
        int64_t id = 1 + (int64_t)(test_random(&random) % (uint64_t)(read_of(&storm.newest) + 1));
        if (test_random(&random) % 4 == 0) id = read_of(&storm.newest);
        if (id < 1) id = 1;
        switch (test_random(&random) % 16) {
        case 0: case 1: case 2: case 3: storm_enqueue(&random); break;
        case 4: storm_enqueue_many(&random); break;
        case 5: case 6: case 7: case 8: storm_change(&random, id); break;
        case 9: storm_stop_or_start(&random); break;
        case 10: CHECK_CODE(jobq_flush(storm.q, NULL), JOBQ_OK); break;
        case 11: CHECK_CODE(jobq_notify(storm.q, NULL), JOBQ_OK); break;
        default: storm_look(&random, id);
        }
    }
    return NULL;
}

/* Waits for every job that is left, and returns how many there are. */
static int64_t storm_drain(void) {
    jobq_filter filter = {.state = JOBQ_STATE_NONE};
    jobq_cursor cursor = {.done = false};
    static jobq_info infos[64];
    int64_t left = 0;
    while (!cursor.done) {
        size_t count = 0;
        WORKS(jobq_list(storm.q, &filter, &cursor, infos, 64, &count, &err));
        if (test_failures() > 0) break;
        for (size_t i = 0; i < count; i++) {
            jobq_info info = finish(storm.q, infos[i].id);
            CHECK(info.state >= JOBQ_STATE_DONE);
            CHECK_INT(info.runs, read_of(&storm.starts[info.id]));
        }
        left += (int64_t)count;
    }
    return left;
}

static void storm_check_books(void) {
    jobq_counts c;
    int64_t left, children;
    /* Jobs that run while the list is walked may still enqueue: again until nothing came. */
    do {
        children = read_of(&storm.stored);
        left = storm_drain();
    } while (children != read_of(&storm.stored) && test_failures() == 0);
    WORKS(jobq_stop(storm.q, JOBQ_NEVER, &err));
    c = count_all(storm.q);
    CHECK_INT(c.ready + c.scheduled + c.parked + c.running, 0);
    CHECK_INT(c.done + c.failed + c.cancelled, storm.stored - storm.deleted);
    CHECK_INT(left, storm.stored - storm.deleted);
    CHECK_INT(stats_of(storm.q).enqueued, storm.stored);
    CHECK(storm.stored > 0);
}

static void storm_once(uint64_t seed, const char *path) {
    jobq_kind kind = {.name = "mix", .run = run_mix, .attempts_max = 3};
    jobq_options options = {.workers = 3, .durability = JOBQ_RELAXED, .on_event = check_event};
    pthread_t threads[THREADS];
    memset(&storm, 0, sizeof storm);
    kind.backoff_min_ms = 1;
    kind.backoff_max_ms = 3;
    WORKS(jobq_open(path, &options, &storm.q, &err));
    REQUIRE(storm.q != NULL);
    handle_kind(storm.q, kind);
    start(storm.q);
    storm.end_ms = test_real_ms() + STORM_MS;
    for (int i = 0; i < THREADS; i++)
        threads[i] = thread_start(rage, (void *)(uintptr_t)(seed + (uint64_t)i));
    join_all(threads, THREADS);
    WORKS(jobq_stop(storm.q, JOBQ_NEVER, &err));
    start(storm.q);
    storm_check_books();
    CHECK_CODE(jobq_close(&storm.q), JOBQ_OK);
    check_sound(path);
}

/* Goal: any calls from any threads in any order leave every job accounted for: what was
 * enqueued is terminal or was deleted. Method: six threads draw calls, handlers draw
 * outcomes; then start, wait for all, and count. */
TEST(storm_of_calls) {
    uint64_t seed = test_seed();
    test_note("TEST_SEED=%" PRIu64, seed);
    for (int64_t round = test_effort(1); round > 0 && test_failures() == 0; round--) {
        const char *path = test_path("storm.db");
        unlink(path);
        storm_once(seed, path);
        seed += THREADS;
    }
}

/* ---- A clock that somebody moves ---- */

static struct travel {
    jobq *q;
    jobq_clock *clock;
    int stop_waiting, stop_moving; /* atomic flags */
    int newest, early, starts;     /* atomic */
} travel;

/* Never before its time; some sleep, some fail at first. */
static jobq_outcome run_on_time(jobq_run *run, void *ctx) {
    jobq_info info;
    int64_t id = jobq_run_id(run);
    (void)ctx;
    add_to(&travel.starts, 1);
    if (!CHECK_CODE(jobq_get(jobq_run_handle(run), id, &info, NULL), JOBQ_OK)) return JOBQ_FAIL;
    if (jobq_clock_now(travel.clock) < info.run_at_ms) add_to(&travel.early, 1);
    if (id % 50 == 0) CHECK(!jobq_run_sleep(run, 7));
    if (id % 9 == 0 && jobq_run_attempt(run) == 1) return jobq_retry(run, "once more");
    return JOBQ_DONE;
}

static void *enqueue_delayed(void *arg) {
    uint64_t random = (uint64_t)(uintptr_t)arg;
    for (int n = TEST_SCALED(CLOCK_JOBS); n > 0; n--) {
        jobq_job job = {.kind = "k", .delay_ms = (int64_t)(test_random(&random) % 200)};
        int64_t id = 0;
        if (!CHECK_CODE(jobq_enqueue(travel.q, &job, &id, NULL), JOBQ_OK)) break;
        __atomic_store_n(&travel.newest, (int)id, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void *wait_by_the_clock(void *arg) {
    uint64_t random = test_seed();
    (void)arg;
    while (!read_of(&travel.stop_waiting)) {
        int64_t id = read_of(&travel.newest);
        if (id > 0)
            one_of(jobq_wait(travel.q, id, (int64_t)(test_random(&random) % 50), NULL, NULL),
                   JOBQ_TIMEOUT, JOBQ_OK, JOBQ_OK);
    }
    return NULL;
}

static void *move_the_clock(void *arg) {
    uint64_t random = test_seed();
    (void)arg;
    while (!read_of(&travel.stop_moving)) {
        int64_t duration_ms = 1 + (int64_t)(test_random(&random) % 40);
        if (!CHECK_CODE(jobq_advance(travel.q, duration_ms, NULL, NULL), JOBQ_OK)) break;
    }
    return NULL;
}

static void travel_with_threads(void) {
    pthread_t producers[2], mover = thread_start(move_the_clock, NULL);
    pthread_t waiter = thread_start(wait_by_the_clock, NULL);
    for (uint64_t i = 0; i < 2; i++)
        producers[i] = thread_start(enqueue_delayed, (void *)(uintptr_t)(test_seed() + i));
    join_all(producers, 2);
    __atomic_store_n(&travel.stop_waiting, 1, __ATOMIC_RELAXED);
    pthread_join(waiter, NULL); /* the mover still moves, so its wait ends */
    __atomic_store_n(&travel.stop_moving, 1, __ATOMIC_RELAXED);
    pthread_join(mover, NULL);
}

static void travel_once(const char *path) {
    jobq_kind kind = {.name = "k", .run = run_on_time, .backoff_min_ms = 20};
    jobq_options options = {.workers = 3, .durability = JOBQ_RELAXED, .stall_ms = 60000};
    int64_t jobs = 2 * (int64_t)TEST_SCALED(CLOCK_JOBS);
    memset(&travel, 0, sizeof travel);
    travel.clock = jobq_clock_artificial(T0);
    REQUIRE(travel.clock != NULL);
    options.clock = travel.clock;
    options.keep_done_ms = 10000 * JOBQ_DAY; /* the mover may come far */
    WORKS(jobq_open(path, &options, &travel.q, &err));
    REQUIRE(travel.q != NULL);
    handle_kind(travel.q, kind);
    start(travel.q);
    travel_with_threads();
    while (count_all(travel.q).done < jobs && test_failures() == 0) advance(travel.q, 20);
    CHECK_INT(count_all(travel.q).done, jobs);
    CHECK_INT(travel.early, 0);
    CHECK(travel.starts >= jobs);
    CHECK_CODE(jobq_close(&travel.q), JOBQ_OK);
    jobq_clock_free(travel.clock);
    check_sound(path);
}

/* Goal: a clock that one thread advances while a pool runs, two threads enqueue and one
 * waits: no job starts before its time, none is lost, nothing hangs. Method: delays and
 * waits by that clock; then on until all are done. */
TEST(clock_moved_under_a_running_pool) {
    for (int64_t round = test_effort(1); round > 0 && test_failures() == 0; round--) {
        const char *path = test_path("clock.db");
        unlink(path);
        travel_once(path);
    }
}

TEST_MAIN(storm_of_calls, clock_moved_under_a_running_pool)
