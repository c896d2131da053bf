/* reserve.c - the least reserve is enough for the widest transaction that ends one job.
 *
 * Promised by limits.h: on a full disk, where a transaction settles one job, what is kept back
 * holds its pages in the log, and those by which the database then grows (JOBQ__RESERVE_MIN,
 * JOBQ__RESERVE_MIN_PAGES). Each touches as many trees as it can: the job has a key, a message or a
 * result and a payload that stands apart, it is kept, tried again or goes, another one is promoted
 * and claimed in the same transaction, and all stands in trees of several levels, where whatever is
 * put in comes somewhere in the middle.
 *
 * Pages of 4096 bytes: 16 of them; larger ones: 13; smaller ones are more, and fewer bytes. */
#include "helpers.h"
#include "unit.h"

static struct {
    int page_size;
    int64_t pages, bytes; /* of the log, and of the database, before the transaction */
    int64_t widest;       /* bytes that one took in both */
    uint64_t random;
} seen;

static void look_at_commit(jobq *q) {
    int64_t pages = stats_of(q).wal_pages, bytes = jobq__store_bytes(&q->writer);
    int64_t took = (pages - seen.pages) * (seen.page_size + 24) + bytes - seen.bytes;
    seen.widest = JOBQ__MAX(seen.widest, took);
    seen.pages = pages;
    seen.bytes = bytes;
}

static jobq_outcome end_widely(jobq_run *run, void *ctx) {
    char text[766];
    (void)ctx;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    /* The commit that has claimed it. */
    look_at_commit(jobq_run_handle(run));
    switch (jobq_run_id(run) % 5) {
    case 0: return jobq_fail(run, "%s", text);
    case 1: return jobq_done(run, text, 700);
    case 2: return jobq_run_attempt(run) == 1 ? jobq_retry(run, "%s", text) : JOBQ_FAIL;
    default: return JOBQ_DONE;
    }
}

static void put_widely(jobq *q, int n) {
    static const char payload[2 * 8192];
    char key[JOBQ_KEY_MAX + 1];
    jobq_job job = {.kind = n % 3 ? "kept" : "gone", .key = key, .payload = payload};
    memset(key, 'k', JOBQ_KEY_MAX);
    key[JOBQ_KEY_MAX] = '\0';
    snprintf(key, 9, "%08x", (unsigned)test_random(&seen.random));
    key[8] = 'k';
    job.size = 1 + (size_t)test_random(&seen.random)
                       % (size_t)(2 * JOBQ__MIN(seen.page_size, 8192) - 1);
    job.priority = (int)(test_random(&seen.random) % 1000);
    if (n % 2) job.delay_ms = JOBQ_SECOND + (int64_t)(test_random(&seen.random) % 2000000);
    WORKS(jobq_enqueue(q, &job, NULL, &err));
}

/* Goal: for pages of every size no transaction that ends a job takes more than the least reserve,
 * and none of them but a part of it. Method: step by step through some thousand jobs. */
TEST(least_reserve_holds_the_widest_settle) {
    for (seen.page_size = 512; seen.page_size <= 65536; seen.page_size *= 2) {
        int64_t least = JOBQ__MAX(JOBQ__RESERVE_MIN,
                                  JOBQ__RESERVE_MIN_PAGES * (int64_t)seen.page_size);
        jobq_options options = {.workers = JOBQ_NONE, .durability = JOBQ_RELAXED,
                                .wal_pages = 1000000, .reserve_bytes = JOBQ_NONE};
        jobq_kind gone = {.name = "gone", .run = end_widely, .keep_done_ms = JOBQ_NONE};
        fixture f;
        options.page_size = seen.page_size;
        REQUIRE(fixture_open(&f, options));
        handle(f.q, "kept", end_widely, NULL);
        WORKS(jobq_register(f.q, &gone, &err));
        seen.random = 7;
        for (int n = 0; n < 2000; n++) put_widely(f.q, n);
        seen.widest = 0;
        for (int n = 0; n < 2000; n++) {
            seen.pages = stats_of(f.q).wal_pages;
            seen.bytes = jobq__store_bytes(&f.q->writer);
            jobq_clock_advance(f.clock, JOBQ_SECOND);
            WORKS(jobq_step(f.q, NULL, &err));
            look_at_commit(f.q);
        }
        CHECK_INT(stats_of(f.q).checkpoints, 0);
        if (!CHECK(seen.widest <= least) || !CHECK(seen.widest > least / 4))
            test_note("pages of %d bytes: %" PRId64 " of %" PRId64, seen.page_size, seen.widest,
                      least);
        fixture_remove(&f);
    }
}

/* Goal: however little is asked for, there is as much as a transaction takes. */
TEST(reserve_is_never_less) {
    jobq_options options = {.workers = JOBQ_NONE, .reserve_bytes = JOBQ__RESERVE_MIN};
    for (options.page_size = 2048; options.page_size <= 65536; options.page_size *= 2) {
        fixture f;
        REQUIRE(fixture_open(&f, options));
        CHECK(f.q->owner.reserved >= JOBQ__RESERVE_MIN);
        CHECK(f.q->owner.reserved >= JOBQ__RESERVE_MIN_PAGES * (int64_t)options.page_size);
        fixture_remove(&f);
    }
}

TEST_MAIN(least_reserve_holds_the_widest_settle, reserve_is_never_less)
