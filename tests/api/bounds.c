/* bounds.c - what is claimed ahead is bounded, and nothing waits because of it.
 *
 * The pool claims jobs before a worker is free, so that workers need not wait for commits. However
 * many jobs stand in the table and however large they are, that window stays small, for it is all
 * memory; what a caller was refused is not in it; and no outcome waits for the jobs in it. */
#include "helpers.h"

#include "amalgamation/limits.h"

/* Claimed: a ring, and a batch out of order. */
enum { WORKERS = 8, CLAIMED_MAX = JOBQ__RING + JOBQ__BATCH };

#define POOL ((jobq_options){.workers = WORKERS, .durability = JOBQ_RELAXED})

static bool open_with_gate(fixture *f, gate *g, jobq_options options) {
    gate_init(g);
    if (!fixture_open(f, options)) return false;
    handle(f->q, "k", stand_at_gate, g);
    start(f->q);
    return true;
}

/* Goal (G8): the ring does not grow with the backlog, nor with the number of commits. Method: all
 * workers stand at a gate while many batches are stored, the later ones more urgent. */
TEST(ring_is_bounded_by_count) {
    enum { BATCHES = 20, BATCH = 300 };
    static jobq_job jobs[BATCH];
    fixture f;
    gate g;
    REQUIRE(open_with_gate(&f, &g, POOL));
    for (int b = 0; b < BATCHES; b++) {
        for (int i = 0; i < BATCH; i++) jobs[i] = (jobq_job){.kind = "k", .priority = -(b % 3)};
        WORKS(jobq_enqueue_many(f.q, jobs, BATCH, NULL, &err));
        CHECK(stats_of(f.q).claimed <= CLAIMED_MAX);
        if (b == 0) gate_await(&g, WORKERS);
    }
    CHECK_INT(stats_of(f.q).running, WORKERS);
    CHECK(stats_of(f.q).claimed > 0);
    CHECK_CODE(jobq_stop(f.q, JOBQ_NONE, NULL), JOBQ_TIMEOUT);
    CHECK_INT(stats_of(f.q).claimed, 0);
    gate_open(&g);
    fixture_close(&f);
    gate_free(&g);
}

/* Goal (G8): big payloads are not claimed ahead beyond 64 KiB and one job. Method: the same, with
 * payloads of 60 KiB. */
TEST(ring_is_bounded_by_bytes) {
    enum { BIG = 60 * 1024 };
    static char bytes[BIG];
    fixture f;
    gate g;
    REQUIRE(open_with_gate(&f, &g, POOL));
    for (int i = 0; i < 4 * WORKERS; i++) {
        put_job(f.q, (jobq_job){.kind = "k", .payload = bytes, .size = BIG});
        if (i == WORKERS - 1) gate_await(&g, WORKERS);
    }
    CHECK(stats_of(f.q).claimed <= 2);
    gate_open(&g);
    fixture_close(&f);
    gate_free(&g);
}

/* Goal: what a caller was refused does not run, and is not told, though its rows were claimed as
 * they were stored. Method: a batch whose last row needs one name more than a file may hold. */
TEST(refused_batch_does_not_run) {
    static char names[JOBQ_NAMES_MAX][16];
    static jobq_job jobs[JOBQ_NAMES_MAX];
    event_log *events = event_log_new();
    jobq_options options = POOL;
    jobq_error told = {.code = JOBQ_OK};
    fixture f;
    int64_t id;
    gate g;
    int n = 0;
    options.on_event = log_event;
    options.ctx = events;
    REQUIRE(open_with_gate(&f, &g, options));
    gate_open(&g);
    id = put(f.q, "k"); /* the names "k" and "default" */
    for (; n < JOBQ_NAMES_MAX - 2; n++) {
        snprintf(names[n], sizeof names[n], "name %d", n);
        jobs[n].kind = names[n];
    }
    WORKS(jobq_enqueue_many(f.q, jobs, (size_t)n, NULL, &err));
    CHECK_INT(finish(f.q, id).state, JOBQ_STATE_DONE);
    jobs[0].kind = jobs[1].kind = "k";
    jobs[2].kind = "one too many";
    CHECK_CODE(jobq_enqueue_many(f.q, jobs, 3, NULL, &told), JOBQ_FULL);
    if (!CHECK(strstr(told.text, f.path) && strstr(told.text, "one too many")))
        test_note("%s", told.text);
    CHECK_INT(finish(f.q, put(f.q, "k")).state, JOBQ_STATE_DONE);
    WORKS(jobq_stop(f.q, JOBQ_NEVER, &err));
    CHECK_INT(g.entered, 2);
    CHECK_INT(stats_of(f.q).started, 2);
    CHECK_INT(stats_of(f.q).lost_outcomes, 0);
    CHECK_INT(events->n, n + 2 * 3); /* new, started, done */
    fixture_close(&f);
    gate_free(&g);
    event_log_free(events);
}

/* Goal: no outcome waits for a job that takes its time. Method: one worker has claimed a quick job
 * and one that stands at a gate; the outcome of the first comes to the disk meanwhile. Again and
 * again, after pauses in which every thread has gone to sleep. */
TEST(outcome_does_not_wait_for_the_next_job) {
    for (int round = 0; round < 5 && test_failures() == 0; round++) {
        jobq_job jobs[2] = {{.kind = "quick"}, {.kind = "k"}};
        jobq_stored results[2];
        fixture f;
        gate g;
        REQUIRE(open_with_gate(&f, &g, (jobq_options){.workers = 1}));
        handle(f.q, "quick", do_nothing, NULL);
        finish(f.q, put(f.q, "quick"));
        test_pause_ms(10);
        WORKS(jobq_enqueue_many(f.q, jobs, 2, results, &err));
        gate_await(&g, 1);
        /* Not by jobq_wait, which would wake the scheduler. */
        UNTIL(state_of(f.q, results[0].id) == JOBQ_STATE_DONE);
        CHECK_INT(state_of(f.q, results[1].id), JOBQ_STATE_RUNNING);
        gate_open(&g);
        fixture_remove(&f);
        gate_free(&g);
    }
}

static jobq_outcome note_log(jobq_run *run, void *ctx) {
    *(int64_t *)ctx = stats_of(jobq_run_handle(run)).wal_pages;
    return JOBQ_DONE;
}

/* Goal: a claim does not write a large payload again. Method: the log before, and in the handler,
 * for each priority's way to stand in the row. */
TEST(claim_leaves_the_payload_alone) {
    static char bytes[1024 * 1024];
    int64_t before, in_handler = 0;
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .wal_pages = 100000}));
    handle(f.q, "k", note_log, &in_handler);
    for (int priority = -1; priority <= 2; priority++) {
        put_job(f.q, (jobq_job){.kind = "k", .payload = bytes, .size = sizeof bytes,
                                .priority = priority});
        before = stats_of(f.q).wal_pages;
        CHECK(before > 250);
        CHECK_INT(drain(f.q), 1);
        CHECK(in_handler - before < 20);
    }
    fixture_close(&f);
}

/* Goal: a log of 4 MB is as many pages as make that, from the first one on. Method: pages of each
 * kind, with a reserve and without; the log before its first checkpoint. */
TEST(log_is_bounded_by_bytes) {
    static const int sizes[] = {512, 2048, 65536};
    static char bytes[16 * 1024];
    for (int i = 0; i < 6; i++) {
        jobq_options options = {.workers = JOBQ_NONE, .page_size = sizes[i / 2]};
        int64_t longest = 0;
        fixture f;
        options.reserve_bytes = i % 2 ? JOBQ_NONE : 0;
        REQUIRE(fixture_open(&f, options));
        while (!stats_of(f.q).checkpoints && longest < 16 * 1024 * 1024) {
            longest = stats_of(f.q).wal_pages * sizes[i / 2];
            put_job(f.q, (jobq_job){.kind = "k", .payload = bytes, .size = sizeof bytes});
        }
        CHECK(longest > 3500 * 1024);
        if (!CHECK(longest < 4500 * 1024)) test_note("pages of %d bytes", sizes[i / 2]);
        fixture_remove(&f);
    }
}

TEST_MAIN(ring_is_bounded_by_count, ring_is_bounded_by_bytes, refused_batch_does_not_run,
          outcome_does_not_wait_for_the_next_job,
          claim_leaves_the_payload_alone, log_is_bounded_by_bytes)
