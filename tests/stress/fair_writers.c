/* fair_writers.c - many writers get equal shares of one file, and nobody waits long.
 *
 * Promised: whoever wants to write is served in the order of coming, by groups, so that no thread
 * starves, none is told JOBQ_BUSY by the others of its own process, and the pool, which writes as
 * well, takes nothing from them. Broken on purpose by serving who came last. Counted for each
 * thread: its commits and its longest wait.
 *
 * The goal is a share of at least one half (slowest by fastest) and a wait of at most 250 ms, on a
 * machine that has nothing else to do. Beside other programs any thread may be kept from running
 * for a while: so the writers go on, up to ten times as long, until the shares are what they should
 * be, which an unfair queue never comes to; and of the wait only ten times the goal is checked. */
#include "stress.h"

#include <limits.h>

enum {
    WRITERS = 8,
    FAIR_MS = 1000,
    FAIR_MS_MIN = 300, /* in slow builds */
    ROUNDS_MAX = 10,
    WAIT_GOAL_MS = 250,
    SHARE_GOAL_PERCENT = 50,
    ROWS_EVERY = 16    /* of so many jobs one has a transaction of its own */
};

struct writer {
    pthread_t thread;
    jobq *q;
    const char *kind;
    gate *begin;
    int *end;            /* atomic */
    int commits;         /* atomic */
    int64_t busy, wait_us;
};

static int64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void *write_on(void *arg) {
    struct writer *w = (struct writer *)arg;
    jobq_job job = {.kind = w->kind};
    gate_pass(w->begin);
    while (!read_of(w->end)) {
        int64_t began_us = now_us(), wait_us;
        int code = jobq_enqueue(w->q, &job, NULL, NULL);
        wait_us = now_us() - began_us;
        if (wait_us > w->wait_us) w->wait_us = wait_us;
        if (code == JOBQ_BUSY) w->busy++;
        if (!CHECK_CODE(code, JOBQ_OK)) break;
        add_to(&w->commits, 1);
    }
    return NULL;
}

/* Now and then a job writes by its own transaction, for which everybody has to wait. */
static jobq_outcome write_now_and_then(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    (void)ctx;
    if (jobq_run_id(run) % ROWS_EVERY) return JOBQ_DONE;
    if (!CHECK_CODE(jobq_run_db(run, &db, NULL), JOBQ_OK)) return JOBQ_FAIL;
    CHECK_INT(sqlite3_exec(db, "CREATE TABLE IF NOT EXISTS mine(x);"
                               "INSERT INTO mine VALUES(1)", NULL, NULL, NULL), SQLITE_OK);
    return JOBQ_DONE;
}

struct shares {
    int percent, wait_ms, commits, busy, rounds;
};

static struct shares add_up(struct writer *writers) {
    struct shares s = {0, 0, 0, 0, 0};
    int least = INT_MAX, most = 0;
    for (int i = 0; i < WRITERS; i++) {
        int commits = read_of(&writers[i].commits);
        if (commits < least) least = commits;
        if (commits > most) most = commits;
        s.commits += commits;
    }
    s.percent = most ? (int)((int64_t)least * 100 / most) : 0;
    return s;
}

static void check_shares(const char *what, struct shares s) {
    CHECK_INT(s.busy, 0);
    CHECK(s.commits > 0);
    CHECK(s.percent >= SHARE_GOAL_PERCENT);
    CHECK(s.wait_ms <= 10 * WAIT_GOAL_MS * JOBQ_TEST_SCALE);
    test_note("%s: %d commits, the slowest has %d %% of the fastest after %d rounds, the longest"
              " wait was %d ms", what, s.commits, s.percent, s.rounds, s.wait_ms);
}

/* Lets them write, until the shares are fair. */
static struct shares run_writers(struct writer *writers) {
    int64_t span_ms = test_effort(FAIR_MS);
    struct shares s;
    int rounds = 0, *end = writers[0].end;
    for (int i = 0; i < WRITERS; i++) writers[i].thread = thread_start(write_on, &writers[i]);
    gate_await(writers[0].begin, WRITERS);
    gate_open(writers[0].begin);
    do {
        test_pause_ms(span_ms > FAIR_MS_MIN ? span_ms : FAIR_MS_MIN);
        s = add_up(writers);
    } while (++rounds < ROUNDS_MAX && s.percent < SHARE_GOAL_PERCENT);
    set_to(end, 1);
    for (int i = 0; i < WRITERS; i++) {
        int wait_ms;
        pthread_join(writers[i].thread, NULL);
        wait_ms = (int)(writers[i].wait_us / 1000);
        if (wait_ms > s.wait_ms) s.wait_ms = wait_ms;
        s.busy += (int)writers[i].busy;
    }
    s.rounds = rounds;
    s.commits = add_up(writers).commits;
    return s;
}

/* Eight threads enqueue for a while; kind names a job that the pool runs, or nobody. */
static struct shares share(const char *name, jobq_durability durability, const char *kind) {
    jobq_options options = {.workers = 2, .durability = durability};
    struct writer writers[WRITERS];
    struct shares shares = {0, 0, 0, 0, 0};
    int end = 0;
    gate begin;
    jobq *q = NULL;
    WORKS(jobq_open(test_path(name), &options, &q, &err));
    if (!q) return shares;
    gate_init(&begin);
    handle(q, "run", write_now_and_then, NULL);
    start(q);
    for (int i = 0; i < WRITERS; i++)
        writers[i] = (struct writer){.q = q, .kind = kind, .begin = &begin, .end = &end};
    shares = run_writers(writers);
    CHECK_INT(stats_of(q).enqueued, shares.commits);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    gate_free(&begin);
    check_shares(name, shares);
    return shares;
}

/* Goal: equal shares, short waits, no JOBQ_BUSY, at both durabilities and beside a pool that
 * settles, claims and has transactions of its jobs. Method: eight threads enqueue one by one. */
TEST(writers_share_fairly) {
    struct shares relaxed = share("relaxed", JOBQ_RELAXED, "later");
    struct shares durable = share("durable", JOBQ_DURABLE, "later");
    struct shares pool = share("pool", JOBQ_DURABLE, "run");
    test_figure("fair writers", "min/max >= 0.5, max wait <= 250 ms, 0 BUSY",
                "%d writers: min/max %d %% relaxed, %d %% durable, %d %% beside a pool; longest"
                " wait %d, %d, %d ms; %d BUSY", WRITERS, relaxed.percent, durable.percent,
                pool.percent, relaxed.wait_ms, durable.wait_ms, pool.wait_ms,
                relaxed.busy + durable.busy + pool.busy);
}

TEST_MAIN(writers_share_fairly)
