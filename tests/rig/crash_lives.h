/* crash_lives.h - plays of several lives over one queue, for the tests of crash about jobs that
 * kill their process.
 *
 * A play has a file, jobs known by their place in the setup (their payload is that number), and
 * kinds, which every life registers before it starts the pool. A life that runs is run_all(); what
 * has to outlive it stands in shared memory (stage). Between lives look_at_all() has a further
 * child open the file without registering anything, so that the dead life is recovered and
 * charged, and write down what the file says of every job. Handlers meet through pipes. */
#ifndef JOBQ_TEST_CRASH_LIVES_H
#define JOBQ_TEST_CRASH_LIVES_H

#include "crash.h"

enum {
    JOBS_MAX = 400,
    LIVES_MAX = 12,
    HOLDERS = 3,
    COMPLAINTS_MAX = 10 /* of one play, so that a disaster stays readable */
};

/* Shared by all processes of a play. */
static struct stage {
    int starts[JOBS_MAX]; /* counted by the handlers themselves */
    int total_starts;
    int suspects_now, suspects_max;
    int standing, claimed; /* of the life that runs, or has died */
    bool stood[JOBS_MAX];
    int64_t ids[JOBS_MAX];
    jobq_info infos[JOBS_MAX]; /* written by look_at_all() */
    int64_t effects;           /* written by count_effects() */
} * stage;

/* Set by a test before it forks. */
static struct {
    const char *path;
    const jobq_kind *kinds;
    size_t kinds_count;
    int workers, jobs;
    int64_t busy_ms;
    bool charge_reboots;
    void (*on_event)(const jobq_event *event, void *ctx);
    jobq_job job[JOBS_MAX];
    void (*die)(void); /* how a poison ends its process */
    bool cured;        /* poisons and holders behave */
    int started[2], never[2], go[2], good_ran[2]; /* pipes */
} play;

static int64_t numbers[JOBS_MAX]; /* the payload of job n is n */

/* ---- Handlers ---- */

static inline int number_of(const jobq_run *run) {
    size_t size = 0;
    const void *payload = jobq_run_payload(run, &size);
    int64_t n = -1;
    if (CHECK_INT(size, sizeof n)) memcpy(&n, payload, sizeof n);
    return CHECK(n >= 0 && n < JOBS_MAX) ? (int)n : 0;
}

/* Which start of its job this is. */
static inline int count_start(const jobq_run *run) {
    __atomic_add_fetch(&stage->total_starts, 1, __ATOMIC_SEQ_CST);
    return __atomic_add_fetch(&stage->starts[number_of(run)], 1, __ATOMIC_SEQ_CST);
}

static inline jobq_outcome run_good(jobq_run *run, void *ctx) {
    (void)ctx;
    count_start(run);
    return JOBQ_DONE;
}

static inline jobq_outcome run_poison(jobq_run *run, void *ctx) {
    (void)ctx;
    count_start(run);
    if (!play.cured) play.die();
    return JOBQ_DONE;
}

/* Says that it has started and stays until the process ends. */
static inline jobq_outcome run_hold(jobq_run *run, void *ctx) {
    (void)ctx;
    count_start(run);
    pipe_say(play.started);
    if (!play.cured) pipe_hear(play.never);
    return JOBQ_DONE;
}

/* Waits until all holders run, and dies beside them. */
static inline jobq_outcome run_last(jobq_run *run, void *ctx) {
    (void)ctx;
    count_start(run);
    if (play.cured) return JOBQ_DONE;
    hear(play.started, HOLDERS);
    play.die();
    return JOBQ_DONE;
}

/* ---- Lives ---- */

static inline jobq *open_queue(int workers) {
    jobq_options options = {.workers = workers, .join = true, .shared = true};
    jobq *q = NULL;
    be_a_child();
    options.durability = JOBQ_RELAXED; /* without power cuts it is as good, and quicker */
    options.busy_ms = play.busy_ms;
    options.charge_reboots = play.charge_reboots;
    options.on_event = play.on_event;
    WORKS(jobq_open(play.path, &options, &q, &err));
    return q;
}

static inline jobq *start_queue(void) {
    jobq *q = open_queue(play.workers);
    if (!q) return NULL;
    for (size_t i = 0; i < play.kinds_count; i++) handle_kind(q, play.kinds[i]);
    start(q);
    return q;
}

/* The usual life: runs what there is and closes. */
static inline void run_all(void *arg) {
    jobq *q = start_queue();
    char fault[256];
    (void)arg;
    REQUIRE(q != NULL);
    for (int n = 0; n < play.jobs; n++)
        CHECK_CODE(jobq_wait(q, stage->ids[n], JOBQ_NEVER, NULL, NULL), JOBQ_OK);
    CHECK_STR(fault_of(q, fault), "");
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

static inline void fill(void *arg) {
    jobq_stored results[JOBS_MAX];
    jobq *q = open_queue(JOBQ_NONE);
    (void)arg;
    REQUIRE(q != NULL);
    WORKS(jobq_enqueue_many(q, play.job, (size_t)play.jobs, results, &err));
    for (int n = 0; n < play.jobs; n++) stage->ids[n] = results[n].id;
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

static inline void fill_queue(void) {
    CHECK_INT(test_fork(fill, NULL), 0);
}

/* Opens the file, so that a dead life is recovered, and writes down every job. */
static inline void read_infos(void *arg) {
    jobq *q = open_queue(JOBQ_NONE);
    (void)arg;
    REQUIRE(q != NULL);
    for (int n = 0; n < play.jobs; n++)
        CHECK_CODE(jobq_get(q, stage->ids[n], &stage->infos[n], NULL), JOBQ_OK);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

static inline void look_at_all(void) {
    memset(stage->infos, 0, sizeof stage->infos);
    CHECK_INT(test_fork(read_infos, NULL), 0);
}

/* ---- Setup ---- */

static inline void add(const char *kind, int priority, int times) {
    while (times-- > 0) {
        int n = play.jobs++;
        numbers[n] = n;
        play.job[n] = (jobq_job){.kind = kind, .priority = priority};
        play.job[n].payload = &numbers[n];
        play.job[n].size = sizeof numbers[n];
    }
}

/* A new play on a new file. */
static inline void begin(int workers, const jobq_kind *kinds, size_t kinds_count) {
    static int plays;
    char name[32];
    memset(&play, 0, sizeof play);
    snprintf(name, sizeof name, "play-%d.db", ++plays);
    play.path = test_path(name);
    play.kinds = kinds;
    play.kinds_count = kinds_count;
    play.workers = workers;
    play.die = die_kill;
    pipe_make(play.started);
    pipe_make(play.never);
    pipe_make(play.go);
    pipe_make(play.good_ran);
    stage = (struct stage *)share(sizeof *stage);
}

static inline void end(void) {
    remove_queue(play.path);
    pipe_free(play.started);
    pipe_free(play.never);
    pipe_free(play.go);
    pipe_free(play.good_ran);
    munmap(stage, sizeof *stage);
    stage = NULL;
}

/* ---- The course of a play ---- */

/* Plays lives until one ends well; returns how many did not. */
static inline int live_until_well(void) {
    int deaths = 0;
    for (; deaths < LIVES_MAX && test_failures() < COMPLAINTS_MAX; deaths++) {
        int status = live_through(run_all, NULL);
        if (died(status)) continue;
        CHECK_INT(status, 0);
        break;
    }
    CHECK(deaths < LIVES_MAX);
    return deaths;
}

/* What was wrong with the jobs is mended: one more life runs all of them. */
static inline void live_cured(void) {
    play.cured = true;
    CHECK_INT(live_until_well(), 0);
    look_at_all();
}

/* Checks that jobs from..to-1 wait, were started as often as they say, and were charged
 * this many crashes and no attempt. */
static inline void check_waiting(int from, int to, int crashes) {
    for (int n = from; n < to && test_failures() < COMPLAINTS_MAX; n++) {
        CHECK_INT(stage->infos[n].state, JOBQ_STATE_PENDING);
        CHECK_INT(stage->infos[n].crashes, crashes);
        CHECK_INT(stage->infos[n].attempt, 1);
        CHECK_INT(stage->infos[n].runs, stage->starts[n]);
    }
}

static inline void check_done(int from, int to, int crashes_max) {
    for (int n = from; n < to && test_failures() < COMPLAINTS_MAX; n++) {
        CHECK_INT(stage->infos[n].state, JOBQ_STATE_DONE);
        CHECK(stage->starts[n] >= 1);
        CHECK(stage->infos[n].crashes <= crashes_max);
    }
}

static inline void check_failed(int n, int crashes) {
    const jobq_info *info = &stage->infos[n];
    CHECK_INT(info->state, JOBQ_STATE_FAILED);
    CHECK_INT(info->crashes, crashes);
    CHECK_INT(info->attempt, 1);
    CHECK(strstr(info->error, "crash") != NULL);
    CHECK(info->finished_at_ms > 0);
}

#endif
