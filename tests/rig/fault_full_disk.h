/* fault_full_disk.h - the story of the full disks: what fault/full_disk.c and fault/full_tmpfs.c
 * share.
 *
 * Jobs are enqueued until the disk has no more room; then all of them have to come
 * to their end, each once, as the handler counts them. */
#ifndef JOBQ_FAULT_FULL_DISK_H
#define JOBQ_FAULT_FULL_DISK_H

#include "helpers.h"

enum { KIB = 1024, SMALLEST = 384 * KIB, LARGEST = 4096 * KIB, JOBS_MAX = 100000,
       LARGEST_PAYLOAD = 1024 * KIB, LARGEST_RESULT = 1024 * KIB };

/* What the jobs came to, by id: the model of this test. */
struct story {
    jobq *q;
    jobq *client;       /* enqueues every other job, if the queue is shared, */
    bool alone;         /* or all of them, and the owner does nothing meanwhile */
    jobq_clock *clock;
    const char *path;
    uint64_t random;
    bool shared;
    bool steps;         /* the clock is set while all is drained */
    int workers;        /* JOBQ_NONE: step mode */
    size_t result_size; /* of the jobs that have a result */
    size_t payload_max; /* they are of any size up to this */
    int page_size;      /* of the file; 0: 4 KiB, of which a reserve has fewer */
    gate *gate;         /* where the handlers stand first, or NULL */
    bool tx;            /* their handlers ask for the job's transaction */
    bool at_once;       /* all jobs are scheduled, for times that have passed when all is drained */
    bool fails;         /* all jobs are tried twice and fail for good, with long messages */
    int accepted, refused;
    int64_t last_id;
    unsigned char *ends; /* how often the job with that id has come to its end */
};

/* One in ten fails for good, one in ten is tried again once; the others are done, one in ten with a
 * result. Or all of them fail. */
static inline jobq_outcome work(jobq_run *run, void *ctx) {
    struct story *s = (struct story *)ctx;
    int64_t id = jobq_run_id(run);
    static const char result[LARGEST_RESULT] = "a result";
    bool first = jobq_run_attempt(run) == 1;
    sqlite3 *db;
    if (s->gate) gate_pass(s->gate);
    if (s->tx && jobq_run_db(run, &db, NULL) != JOBQ_OK) return jobq_snooze(run, JOBQ_SECOND);
    if (s->fails && first) return jobq_retry(run, "%0240d", (int)id);
    if (id % 10 == 3 && first) return jobq_retry(run, "not yet");
    s->ends[id]++; /* of its own job, which runs once at a time */
    if (s->fails) return jobq_fail(run, "%0240d", (int)id);
    if (id % 10 == 7) return jobq_fail(run, "never: %d", (int)id);
    return id % 10 == 5 ? jobq_done(run, result, s->result_size) : JOBQ_DONE;
}

static inline bool story_open(struct story *s) {
    /* Many small transactions, on a machine that may be busy: nothing waits for real time. */
    jobq_options options = {.workers = s->workers, .durability = JOBQ_RELAXED, .clock = s->clock,
                            .stall_ms = JOBQ_HOUR,
                            .page_size = s->page_size ? s->page_size : 4096, .shared = s->shared};
    WORKS(jobq_open(s->path, &options, &s->q, &err));
    if (!s->q) return false;
    options.role = JOBQ_CLIENT;
    if (s->shared) WORKS(jobq_open(s->path, &options, &s->client, &err));
    WORKS(jobq_register(s->q, &(jobq_kind){.name = "work", .run = work, .ctx = s}, &err));
    return true;
}

static inline bool story_begin_with(struct story *s, int workers, uint64_t seed, int page_size,
                                    bool shared) {
    memset(s, 0, sizeof *s);
    s->shared = shared;
    s->page_size = page_size;
    s->workers = workers;
    s->result_size = 200;
    s->payload_max = 2048;
    s->path = test_path("full.db");
    s->random = seed;
    s->clock = jobq_clock_artificial(T0);
    s->ends = (unsigned char *)calloc(JOBS_MAX + 1, 1);
    if (!s->ends) test_give_up("no memory");
    return story_open(s);
}

static inline bool story_begin(struct story *s, int workers, uint64_t seed) {
    return story_begin_with(s, workers, seed, 0, false);
}

static inline void story_close(struct story *s) {
    if (s->client) CHECK_CODE(jobq_close(&s->client), JOBQ_OK);
    if (s->q) CHECK_CODE(jobq_close(&s->q), JOBQ_OK);
}

static inline void story_end(struct story *s) {
    story_close(s);
    jobq_clock_free(s->clock);
    free(s->ends);
}

static inline int put_one(struct story *s) {
    static const char payload[LARGEST_PAYLOAD];
    jobq_job job = {.kind = "work", .payload = payload};
    jobq *q = s->q;
    int64_t id = 0;
    int rc;
    job.size = 1 + (size_t)(test_random(&s->random) % (s->payload_max - 1));
    job.priority = (int)(test_random(&s->random) % 3);
    if (s->at_once) job.run_at_ms = T0 + 1 + (int64_t)(test_random(&s->random) % JOBQ_SECOND);
    if (s->client && (s->alone || s->accepted % 2)) q = s->client;
    rc = jobq_enqueue(q, &job, &id, NULL);
    if (rc == JOBQ_OK) s->accepted++;
    else s->refused++;
    if (rc == JOBQ_OK) CHECK(id > s->last_id && id <= JOBS_MAX);
    if (id) s->last_id = id;
    return rc;
}

static inline void fill_some(struct story *s, int most) {
    int rc = JOBQ_OK;
    for (int i = 0; i < most && rc == JOBQ_OK; i++) rc = put_one(s);
    if (rc != JOBQ_OK) CHECK_CODE(rc, JOBQ_FULL);
}

static inline void fill(struct story *s) {
    int rc;
    fill_some(s, JOBS_MAX / 2);
    CHECK(s->refused > 0);
    /* It may take a smaller one still, but nothing else may come of it. */
    for (int i = 0; i < 10; i++) {
        rc = put_one(s);
        if (rc != JOBQ_OK) CHECK_CODE(rc, JOBQ_FULL);
    }
}

static inline void set_clock(struct story *s, int64_t by_ms) {
    if (s->steps) jobq_clock_set(s->clock, jobq_clock_now(s->clock) + by_ms);
}

/* Runs everything; the disk has been full since before. */
static inline bool drain_all(struct story *s) {
    jobq_counts c = {0};
    set_clock(s, JOBQ_DAY);
    if (s->at_once) jobq_clock_advance(s->clock, JOBQ_SECOND);
    for (int i = 0; i < 3; i++) {
        if (s->workers == JOBQ_NONE
            && !CHECK_CODE(jobq_run_until_idle(s->q, NULL, NULL), JOBQ_OK))
            return false;
        if (s->workers != JOBQ_NONE && !CHECK_CODE(jobq_start(s->q, NULL), JOBQ_OK)) return false;
        if (!CHECK_CODE(jobq_advance(s->q, JOBQ_MINUTE, NULL, NULL), JOBQ_OK)) return false;
    }
    set_clock(s, -JOBQ_DAY);
    CHECK_CODE(jobq_count(s->q, &c, NULL), JOBQ_OK);
    return CHECK_INT(c.ready + c.scheduled + c.parked + c.running, 0);
}

/* Every accepted job has come to its end, once. */
static inline void check_ends(const struct story *s) {
    int ended = 0, twice = 0;
    for (int i = 0; i <= JOBS_MAX; i++) {
        if (s->ends[i]) ended++;
        if (s->ends[i] > 1) twice++;
    }
    CHECK_INT(ended, s->accepted);
    CHECK_INT(twice, 0);
}

/* From full to empty, and to work again. The space comes back by give(); NULL: it does not. */
static inline bool full_life(struct story *s, void (*give)(void *arg), void *arg) {
    bool drained = drain_all(s);
    check_ends(s);
    if (give) give(arg);
    if (give) CHECK_CODE(put_one(s), JOBQ_OK);
    if (drained) drained = drain_all(s);
    CHECK_INT(stats_of(s->q).failed_code, JOBQ_OK);
    story_close(s);
    if (!story_open(s)) return false;
    check_ends(s);
    return drained && drain_all(s);
}

/* The sizes of a sweep: all from 384 KiB to 4 MiB, by steps that effort makes smaller. */
static inline int64_t next_size(int64_t size) {
    return size + (int64_t)(LARGEST - SMALLEST) / test_effort(16) / 512 * 512 + 512;
}

#endif
