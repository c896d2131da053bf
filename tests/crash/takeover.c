/* takeover.c - the owner is killed, and another process that waits for it takes over.
 *
 * Promised: a process that tries jobq_open again and again owns the queue within a second of the
 * owner's death, recovered and ready; at most one process owns a file at any moment; no job runs
 * twice at the same moment, nothing acknowledged is lost, and rows are there once, across as many
 * owners as you like. Broken on purpose: owners are killed at random moments, with the next one
 * waiting at the door, or with several that fight for it and are killed too.
 *
 * Counted: from the kill to the word of the next owner, by a third process; acknowledgements, in
 * pipes; owners and runs, by marks in shared memory. */
#include "crash.h"

enum {
    ROUNDS = 2,        /* files */
    TAKEOVERS = 40,    /* of one file */
    TAKEOVER_MS = 1000,   /* half of them; each in ten times that, beside other programs */
    LATER = 2000,      /* jobs that stand in the file and are not due */
    WORDS_MAX = 40,    /* heard of an owner before it is killed */
    ACKS_MAX = 2000,   /* of one owner, so that a slow parent does not drown */
    RIVALS = 4,
    RIVAL_KILLS = 25,
    POLLS = -1, OWNS = -2 /* words that are not ids */
};

static struct {
    const char *path;
    int out; /* where a life tells its words */
} plan;

/* Written by children. */
static struct shared {
    int64_t owner; /* the life that owns the file */
    int opens, refused, stop;
    int effects, completions, lost, later;
} *shared;

static bool acked[IDS_MAX]; /* what the parent has been told */

static struct {
    int64_t acked, lost, effects, completions, opens, refused; /* of all files of a test */
} tally;

/* ---- Jobs ---- */

static bool write_effect(sqlite3 *db, int64_t id) {
    char sql[64];
    snprintf(sql, sizeof sql, "INSERT INTO effect VALUES(%" PRId64 ")", id);
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK;
}

static jobq_outcome run_effect(jobq_run *run, void *ctx) {
    int64_t id = jobq_run_id(run), mark = enter_book(id);
    sqlite3 *db = NULL;
    bool ok = jobq_run_db(run, &db, NULL) == JOBQ_OK && write_effect(db, id);
    (void)ctx;
    leave_book(id, mark);
    return ok ? JOBQ_DONE : jobq_retry(run, "no transaction");
}

static void add_kind(jobq *q) {
    jobq_kind kind = {.name = "effect", .run = run_effect, .crashes_max = JOBQ_UNLIMITED};
    kind.backoff_min_ms = 1;
    kind.attempts_max = JOBQ_UNLIMITED;
    handle_kind(q, kind);
}

static int try_to_own(int workers, jobq **q) {
    jobq_options options = {.workers = workers, .join = true, .durability = JOBQ_RELAXED};
    return jobq_open(plan.path, &options, q, NULL);
}

static bool enqueue_effect(jobq *q) {
    jobq_job job = {.kind = "effect"};
    int64_t id = 0;
    if (!CHECK_CODE(jobq_enqueue(q, &job, &id, NULL), JOBQ_OK)) return false;
    tell_number(plan.out, id);
    return true;
}

static void make_queue(void *arg) {
    jobq *q = NULL;
    jobq_job job = {.kind = "later", .delay_ms = JOBQ_DAY};
    (void)arg;
    is_child = true;
    REQUIRE_CODE(try_to_own(JOBQ_NONE, &q), JOBQ_OK);
    for (int i = 0; i < LATER; i++) put_job(q, job);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    sql_run(plan.path, "CREATE TABLE effect(job INTEGER)");
}

/* ---- The end of a test: everything runs, and is counted ---- */

static void count_job(jobq *q, int64_t id) {
    jobq_info info = look(q, id);
    if (info.state == JOBQ_STATE_NONE && acked[id]) shared->lost++;
    if (info.state == JOBQ_STATE_NONE) return;
    if (strcmp(info.kind, "later") == 0) {
        shared->later += info.state == JOBQ_STATE_PENDING;
        return;
    }
    CHECK_INT(info.state, JOBQ_STATE_DONE);
    shared->completions++;
}

static void finish_all(void *arg) {
    jobq *q = NULL;
    is_child = true;
    begin_life();
    REQUIRE_CODE(try_to_own(JOBQ_NONE, &q), JOBQ_OK);
    add_kind(q);
    do drain(q);
    while (count_all(q).scheduled > *(const int *)arg);
    for (int64_t id = 1; id < IDS_MAX && test_failures() == 0; id++) count_job(q, id);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    shared->effects = (int)sql_int(plan.path, "SELECT count(DISTINCT job) FROM effect");
    CHECK_INT(sql_int(plan.path, "SELECT count(*) FROM effect"), shared->effects);
    check_sound(plan.path);
}

static void begin(void) {
    plan.path = test_path("q.db");
    remove_queue(plan.path);
    shared = (struct shared *)share(sizeof *shared);
    book = (struct book *)share(sizeof *book);
    memset(acked, 0, sizeof acked);
    CHECK_INT(test_fork(make_queue, NULL), 0);
}

static void settle_accounts(void) {
    int later = LATER;
    CHECK_INT(test_fork(finish_all, &later), 0);
    CHECK_INT(shared->lost, 0);
    CHECK_INT(shared->effects, shared->completions);
    CHECK_INT(shared->later, later);
    CHECK_INT(book->violations, 0);
    for (int i = 0; i < IDS_MAX; i++) tally.acked += acked[i];
    tally.lost += shared->lost;
    tally.effects += shared->effects;
    tally.completions += shared->completions;
    tally.opens += shared->opens;
    tally.refused += shared->refused;
    munmap(shared, sizeof *shared);
    munmap(book, sizeof *book);
}

/* ---- One waits at the door ---- */

struct runner {
    pid_t pid;
    int in; /* where its words come from */
};

/* Waits for the queue, says so, says when it owns it, and works until it is killed. */
static void wait_and_own(void *arg) {
    jobq *q = NULL;
    bool said = false;
    int code;
    (void)arg;
    is_child = true;
    begin_life();
    while ((code = try_to_own(2, &q)) == JOBQ_LOCKED) {
        if (!said) tell_number(plan.out, POLLS);
        said = true;
        test_pause_ms(1);
    }
    REQUIRE_CODE(code, JOBQ_OK);
    tell_number(plan.out, OWNS);
    add_kind(q);
    start(q);
    for (int i = 0; i < ACKS_MAX; i++)
        if (!enqueue_effect(q)) return;
    for (;;) pause();
}

static struct runner send_runner(void) {
    struct runner r;
    int ends[2];
    pipe_make(ends);
    plan.out = ends[1];
    r.pid = test_spawn(wait_and_own, NULL);
    r.in = ends[0];
    close(ends[1]);
    return r;
}

/* Hears one word, and remembers it if it is an id. 0 at the end. */
static int64_t hear_word(int in) {
    int64_t number = 0;
    if (!hear_number(in, &number)) return 0;
    if (in_book(number)) acked[number] = true;
    return number;
}

static void expect_word(int in, int64_t wanted) {
    CHECK_INT(hear_word(in), wanted);
}

static void kill_runner(const struct runner *r) {
    kill(r->pid, SIGKILL);
    while (hear_word(r->in)) continue;
    close(r->in);
    CHECK(was_killed(test_wait(r->pid)));
}

/* Kills the owner and returns how long the next one needed, in ms. */
static int64_t take_over(struct runner *owner, uint64_t *random) {
    struct runner next = send_runner();
    int words = (int)(test_random(random) % WORDS_MAX);
    int64_t from;
    expect_word(next.in, POLLS);
    while (words > 0 && hear_word(owner->in)) words--;
    spin_below(random, 1000000);
    from = test_real_ms();
    kill(owner->pid, SIGKILL);
    expect_word(next.in, OWNS);
    from = test_real_ms() - from;
    kill_runner(owner);
    *owner = next;
    return from;
}

static int compare_times(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void run_relay(uint64_t *random, int64_t *times) {
    struct runner owner;
    begin();
    owner = send_runner();
    expect_word(owner.in, OWNS);
    for (int i = 0; i < TAKEOVERS && test_failures() == 0; i++) {
        times[i] = take_over(&owner, random);
        CHECK(times[i] < 10 * TAKEOVER_MS * JOBQ_TEST_SCALE);
    }
    kill_runner(&owner);
    settle_accounts();
}

/* Goal: a killed owner is followed within a second by one that was waiting, and nothing is lost or
 * done twice on the way. Method: a relay; each owner works, the next one waits, the owner dies. */
TEST(killed_owner_is_followed_at_once) {
    uint64_t random = test_seed();
    int64_t rounds = test_effort(ROUNDS), count = rounds * TAKEOVERS;
    int64_t *times = (int64_t *)calloc((size_t)count, sizeof *times);
    REQUIRE(times != NULL);
    test_note("TEST_SEED=%" PRIu64, test_seed());
    memset(&tally, 0, sizeof tally);
    for (int64_t i = 0; i < rounds && test_failures() == 0; i++)
        run_relay(&random, times + i * TAKEOVERS);
    CHECK(tally.acked > 0);
    qsort(times, (size_t)count, sizeof *times, compare_times);
    CHECK(times[count / 2] < TAKEOVER_MS * JOBQ_TEST_SCALE);
    test_figure("owners, takeover after kill -9", "< 1000 ms after kill -9",
                "%" PRId64 " takeovers, median %" PRId64 " ms, longest %" PRId64 " ms; %" PRId64
                " acknowledged, %" PRId64 " lost, %" PRId64 " effects of %" PRId64 " jobs done",
                count, times[count / 2], times[count - 1], tally.acked, tally.lost,
                tally.effects, tally.completions);
    free(times);
}

/* ---- Several fight for it ---- */

/* Somebody else's mark here means that two own the file. */
static void work_as_owner(jobq *q, uint64_t *random) {
    __atomic_store_n(&shared->owner, my_life, __ATOMIC_SEQ_CST);
    add_kind(q);
    for (int i = 1 + (int)(test_random(random) % 3); i > 0; i--) enqueue_effect(q);
    for (int i = 1 + (int)(test_random(random) % 4); i > 0; i--)
        WORKS(jobq_step(q, NULL, &err));
    if (__atomic_load_n(&shared->owner, __ATOMIC_SEQ_CST) != my_life)
        violation("two own the file", 0);
}

static void fight(void *arg) {
    uint64_t random = (uint64_t)getpid();
    (void)arg;
    is_child = true;
    begin_life();
    while (!__atomic_load_n(&shared->stop, __ATOMIC_SEQ_CST) && test_failures() == 0) {
        jobq *q = NULL;
        int code = try_to_own(JOBQ_NONE, &q);
        if (code == JOBQ_LOCKED) {
            __atomic_add_fetch(&shared->refused, 1, __ATOMIC_SEQ_CST);
            if (test_random(&random) % 4) test_pause_ms(1); /* or they keep each other from work */
            continue;
        }
        REQUIRE_CODE(code, JOBQ_OK);
        __atomic_add_fetch(&shared->opens, 1, __ATOMIC_SEQ_CST);
        work_as_owner(q, &random);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
    }
}

/* Hears something of them, and kills one, again and again. */
static void kill_rivals(uint64_t *random, pid_t *pids, int in) {
    for (int n = 0; n < RIVAL_KILLS && test_failures() == 0; n++) {
        int which = (int)(test_random(random) % RIVALS);
        int words = 1 + (int)(test_random(random) % (WORDS_MAX / 2));
        while (words > 0 && hear_word(in)) words--;
        spin_below(random, 1000000);
        kill(pids[which], SIGKILL);
        CHECK(was_killed(test_wait(pids[which])));
        pids[which] = test_spawn(fight, NULL);
    }
}

static void run_fight(uint64_t *random) {
    pid_t pids[RIVALS];
    int ends[2];
    begin();
    pipe_make(ends);
    plan.out = ends[1];
    for (int i = 0; i < RIVALS; i++) pids[i] = test_spawn(fight, NULL);
    kill_rivals(random, pids, ends[0]);
    __atomic_store_n(&shared->stop, 1, __ATOMIC_SEQ_CST);
    close(ends[1]);
    while (hear_word(ends[0])) continue;
    close(ends[0]);
    for (int i = 0; i < RIVALS; i++) CHECK_INT(test_wait(pids[i]), 0);
    settle_accounts();
}

/* Goal: of several processes that fight for a file, are killed and come again, at most one owns it
 * at any moment, and nothing is lost. Method: they open, work a little and close in a loop; one
 * after the other is killed. */
TEST(at_most_one_owns) {
    uint64_t random = test_seed();
    int64_t rounds = test_effort(ROUNDS);
    memset(&tally, 0, sizeof tally);
    for (int64_t i = 0; i < rounds && test_failures() == 0; i++) run_fight(&random);
    CHECK(tally.acked > 0);
    CHECK(tally.refused > 0);
    test_figure("owners, never two", "at most one at any moment, 0 lost",
                "%d processes, %" PRId64 " kills, %" PRId64 " times owner, %" PRId64 " times"
                " refused, never two; %" PRId64 " acknowledged, %" PRId64 " lost", RIVALS,
                rounds * RIVAL_KILLS, tally.opens, tally.refused, tally.acked, tally.lost);
}

TEST_MAIN(killed_owner_is_followed_at_once, at_most_one_owns)
