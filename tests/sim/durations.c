/* durations.c - a random walk over steps of the wall: each duration ends when its own length has
 * passed, to the millisecond, and each point in time when the wall shows it.
 *
 * Promised by jobq.h ("Time"): no step of the wall, back or forth, ends a duration or delays it,
 * whoever stored it, while the queue is open, and across opens as far as the wall tells what has
 * passed; run_at_ms is when the wall will show that it is over. What the header excepts is not
 * played: the owner has seen a step before a client stores something, and before it is closed. */
#include "helpers.h"

enum { JOBS = 2000 };

struct due {
    bool by_wall;
    int64_t at_ms; /* by the wall, or by what has passed; -1: it waits for nothing any more */
    int rounds;    /* so often it will wait again */
};

static struct {
    fixture f;
    uint64_t random;
    int64_t passed_ms, last_id, runs, steps;
    struct due jobs[JOBS];
} walk;

static int64_t below(int64_t limit) {
    return (int64_t)(test_random(&walk.random) % (uint64_t)limit);
}

static int64_t shown(const struct due *job) {
    return job->by_wall ? jobq_clock_now(walk.f.clock) : walk.passed_ms;
}

static void waits_for(struct due *job, int64_t ms) {
    job->by_wall = false;
    job->at_ms = walk.passed_ms + ms;
}

static jobq_outcome wait_on(jobq_run *run, void *ctx) {
    struct due *job = &walk.jobs[jobq_run_id(run)];
    int64_t ms = 1 + below(5000);
    (void)ctx;
    walk.runs++;
    if (job->by_wall) CHECK(shown(job) >= job->at_ms);
    else CHECK_INT(shown(job), job->at_ms);
    job->at_ms = -1;
    if (job->rounds-- <= 0) return JOBQ_DONE;
    switch (below(5)) {
    case 0: waits_for(job, ms); return jobq_snooze(run, ms);
    case 1: waits_for(job, ms); return jobq_reschedule_in(run, ms);
    case 2: waits_for(job, JOBQ_SECOND); return JOBQ_SNOOZE;
    case 3: waits_for(job, JOBQ_SECOND); return jobq_retry(run, "not yet");
    default:
        job->by_wall = true;
        job->at_ms = shown(job) + ms;
        return jobq_reschedule_at(run, job->at_ms);
    }
}

static void handle_it(void) {
    handle_kind(walk.f.q, (jobq_kind){.name = "k", .run = wait_on, .jitter_percent = JOBQ_NONE,
                                      .attempts_max = JOBQ_UNLIMITED,
                                      .backoff_min_ms = JOBQ_SECOND,
                                      .backoff_max_ms = JOBQ_SECOND});
}

/* All that is due runs, of clients too; what waits says until when. */
static void run_what_is_due(void) {
    WORKS(jobq_notify(walk.f.q, &err));
    WORKS(jobq_run_until_idle(walk.f.q, NULL, &err));
    for (int64_t id = 1; id <= walk.last_id; id++) {
        struct due *job = &walk.jobs[id];
        if (job->at_ms < 0) continue;
        CHECK(job->at_ms > shown(job));
        if (below(8) == 0)
            CHECK_INT(look(walk.f.q, id).run_at_ms,
                      jobq_clock_now(walk.f.clock) + job->at_ms - shown(job));
    }
}

static void store(jobq *q) {
    jobq_job job = {.kind = "k"};
    int64_t id, ms = 1 + below(20000);
    struct due due = {.by_wall = below(3) == 0, .rounds = (int)below(4)};
    due.at_ms = shown(&due) + ms;
    if (due.by_wall) job.run_at_ms = due.at_ms;
    else job.delay_ms = ms;
    if (walk.last_id == JOBS - 1) return;
    WORKS(jobq_enqueue(q, &job, &id, &err));
    walk.jobs[walk.last_id = id] = due;
}

static void store_by_a_client(void) {
    jobq_options options = {.role = JOBQ_CLIENT, .shared = true, .clock = walk.f.clock};
    jobq *client = NULL;
    run_what_is_due();
    if (!CHECK_CODE(jobq_open(walk.f.path, &options, &client, NULL), JOBQ_OK)) return;
    store(client);
    CHECK_CODE(jobq_close(&client), JOBQ_OK);
}

/* The next moment until then at which a duration ends. */
static int64_t next_end(int64_t end_ms) {
    for (int64_t id = 1; id <= walk.last_id; id++) {
        const struct due *job = &walk.jobs[id];
        if (!job->by_wall && job->at_ms > walk.passed_ms && job->at_ms < end_ms)
            end_ms = job->at_ms;
    }
    return end_ms;
}

static void move_to(int64_t ms) {
    jobq_clock_advance(walk.f.clock, ms - walk.passed_ms);
    walk.passed_ms = ms;
}

static void pass(int64_t ms) {
    int64_t end_ms = walk.passed_ms + ms;
    while (walk.passed_ms < end_ms && !test_failures()) {
        move_to(next_end(end_ms));
        run_what_is_due();
    }
}

static void step(void) {
    int64_t by_ms = (below(100000) - 50000) * (below(6) ? 1 : 10000);
    int64_t at_ms = jobq_clock_now(walk.f.clock) + by_ms;
    jobq_clock_set(walk.f.clock, at_ms < 0 ? 0 : at_ms);
    walk.steps++;
    if (below(2)) run_what_is_due();
}

static void close_and_open(void) {
    run_what_is_due();
    close_queue(&walk.f.q);
    if (below(2)) move_to(next_end(walk.passed_ms + below(5000)));
    REQUIRE_CODE(jobq_open(walk.f.path, &walk.f.options, &walk.f.q, NULL), JOBQ_OK);
    handle_it();
    run_what_is_due();
}

static void change(void) {
    int64_t id = 1 + below(walk.last_id + 1);
    struct due *job = &walk.jobs[id];
    if (id > walk.last_id || job->at_ms < 0) return;
    if (below(2)) {
        WORKS(jobq_cancel(walk.f.q, id, &err));
        job->at_ms = -1;
    } else if (job->at_ms > shown(job)) { /* else it is due already */
        WORKS(jobq_retry_now(walk.f.q, id, &err));
        *job = (struct due){.by_wall = true, .at_ms = 0, .rounds = job->rounds};
        run_what_is_due();
    }
}

static void walk_on(int calls) {
    while (calls-- > 0 && !test_failures()) {
        switch (below(9)) {
        case 0: case 1: store(walk.f.q); break;
        case 2: case 3: case 4: pass(1 + below(below(3) ? 300 : 8000)); break;
        case 5: step(); break;
        case 6: if (below(3) == 0) close_and_open(); break;
        case 7: store_by_a_client(); break;
        default: change(); break;
        }
    }
}

/* Goal: see above. Method: seeds, each a queue of its own. */
TEST(steps_and_clients) {
    int64_t walks = test_effort(20), runs = 0, steps = 0;
    for (int64_t i = 0; i <= walks && !test_failures(); i++) {
        jobq_options options = {.workers = JOBQ_NONE, .shared = true, .poll_ms = JOBQ_NONE,
                                .durability = JOBQ_RELAXED};
        memset(&walk, 0, sizeof walk);
        walk.random = test_seed() + (uint64_t)i;
        if (below(2)) options.keep_done_ms = JOBQ_NONE;
        REQUIRE(fixture_open(&walk.f, options));
        handle_it();
        walk_on(400);
        if (test_failures()) test_note("walk %" PRId64, i);
        runs += walk.runs;
        steps += walk.steps;
        fixture_remove(&walk.f);
    }
    CHECK(runs > 0 && steps > 0);
    test_figure("durations and points in time, over steps of the wall", "0 off",
                "%" PRId64 " runs, %" PRId64 " steps, %d off", runs, steps, test_failures());
}

TEST_MAIN(steps_and_clients)
