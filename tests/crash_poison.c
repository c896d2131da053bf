/* crash_poison.c - what a job that kills its process can do: lose its own three chances.
 *
 * Each test plays lives of one queue. A life is a forked child that opens the file,
 * registers every kind below, starts the pool and acts; it ends by itself or is ended by a
 * handler. What has to outlive it stands in shared memory (stage). Between lives a further
 * child looks at the file without registering anything. Handlers meet through pipes, never
 * through time. The parent never opens the file and has no threads. */
#include "helpers.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { JOBS_MAX = 80, LIVES_MAX = 12, HOLDERS = 3, BESIDE = 5 };

/* Sanitizers: do not wait at _exit for threads, and judge leaks only in the parent. */
const char *__tsan_default_options(void);
int __lsan_is_turned_off(void);
static bool is_child;

const char *__tsan_default_options(void) {
    return "atexit_sleep_ms=0";
}

int __lsan_is_turned_off(void) {
    return is_child;
}

/* Shared by all processes of a test. Jobs are known by their place in the setup. */
static struct stage {
    int starts[JOBS_MAX]; /* counted by the handlers themselves */
    int total_starts;
    int suspects_now, suspects_max;
    int64_t ids[JOBS_MAX];
    jobq_info infos[JOBS_MAX]; /* written by look_at_all() */
    int64_t effects;           /* written by count_effects() */
} * stage;

/* Set by a test before it forks. */
static struct {
    const char *path;
    int workers, jobs;
    int64_t busy_ms;
    jobq_job job[JOBS_MAX];
    void (*die)(void); /* how a poison ends its process */
    bool cured;        /* poisons and holders behave */
    int barrier;       /* suspects: the start that ends the process, 0 = none */
    int started[2], never[2], go[2], good_ran[2]; /* pipes */
} play;

static int64_t numbers[JOBS_MAX]; /* the payload of job n is n */

/* ---- Ways to die ---- */

static void die_abort(void) {
    abort();
}

static void die_segv(void) {
    raise(SIGSEGV);
}

static void die_exit(void) {
    _exit(7);
}

static void die_kill(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static void (*const ways[])(void) = {die_abort, die_segv, die_exit, die_kill};
enum { WAYS = sizeof ways / sizeof ways[0] };

/* ---- Handlers ---- */

static void hear(int ends[2], int times) {
    while (times-- > 0) pipe_hear(ends);
}

static int count_start(const jobq_run *run) {
    size_t size = 0;
    const void *payload = jobq_run_payload(run, &size);
    int64_t n = -1;
    if (CHECK_INT(size, sizeof n)) memcpy(&n, payload, sizeof n);
    if (!CHECK(n >= 0 && n < JOBS_MAX)) return 0;
    __atomic_add_fetch(&stage->total_starts, 1, __ATOMIC_SEQ_CST);
    return __atomic_add_fetch(&stage->starts[n], 1, __ATOMIC_SEQ_CST);
}

static jobq_outcome run_good(jobq_run *run, void *ctx) {
    (void)ctx;
    count_start(run);
    pipe_say(play.good_ran);
    return JOBQ_DONE;
}

static jobq_outcome run_poison(jobq_run *run, void *ctx) {
    (void)ctx;
    count_start(run);
    if (!play.cured) play.die();
    return JOBQ_DONE;
}

/* Says that it has started and stays until the process ends. */
static jobq_outcome run_hold(jobq_run *run, void *ctx) {
    (void)ctx;
    count_start(run);
    pipe_say(play.started);
    if (!play.cured) pipe_hear(play.never);
    return JOBQ_DONE;
}

/* Waits until all holders run, and dies beside them. */
static jobq_outcome run_last(jobq_run *run, void *ctx) {
    (void)ctx;
    count_start(run);
    if (play.cured) return JOBQ_DONE;
    hear(play.started, HOLDERS);
    play.die();
    return JOBQ_DONE;
}

/* First life: the start that fills the barrier ends the process. Later: stays until some
 * good jobs have run beside it, unless another suspect is there, which is the failure. */
static jobq_outcome run_suspect(jobq_run *run, void *ctx) {
    int now, max;
    (void)ctx;
    count_start(run);
    if (play.barrier > 0) {
        if (__atomic_load_n(&stage->total_starts, __ATOMIC_SEQ_CST) == play.barrier) die_kill();
        pipe_hear(play.never);
    }
    now = __atomic_add_fetch(&stage->suspects_now, 1, __ATOMIC_SEQ_CST);
    max = __atomic_load_n(&stage->suspects_max, __ATOMIC_SEQ_CST);
    if (now > max) __atomic_store_n(&stage->suspects_max, now, __ATOMIC_SEQ_CST);
    if (now == 1) hear(play.good_ran, BESIDE);
    __atomic_sub_fetch(&stage->suspects_now, 1, __ATOMIC_SEQ_CST);
    return JOBQ_DONE;
}

static jobq_outcome run_leave(jobq_run *run, void *ctx) {
    (void)ctx;
    count_start(run);
    if (play.cured) return JOBQ_DONE;
    hear(play.started, HOLDERS);
    jobq_mark_exit();
    _exit(test_failures() > 0);
}

/* Returns done when it is told to, while somebody else holds the database. */
static jobq_outcome run_first(jobq_run *run, void *ctx) {
    (void)ctx;
    count_start(run);
    pipe_say(play.started);
    if (!play.cured) pipe_hear(play.go);
    return JOBQ_DONE;
}

/* Gets one step further in each life and saves it before it dies. */
static jobq_outcome run_steps(jobq_run *run, void *ctx) {
    int steps = 0, start = count_start(run);
    size_t size = 0;
    const void *saved = jobq_run_checkpoint(run, &size);
    (void)ctx;
    if (saved && CHECK_INT(size, sizeof steps)) memcpy(&steps, saved, sizeof steps);
    CHECK_INT(steps, start - 1);
    CHECK_INT(jobq_run_crashes(run), start > 1 ? 1 : 0);
    if (play.cured) return JOBQ_DONE;
    CHECK_CODE(jobq_checkpoint(run, &start, sizeof start, NULL), JOBQ_OK);
    die_kill();
    return JOBQ_DONE;
}

static jobq_outcome run_mortal(jobq_run *run, void *ctx) {
    (void)ctx;
    count_start(run);
    if (__atomic_load_n(&stage->total_starts, __ATOMIC_SEQ_CST) % 7 == 0) die_kill();
    return JOBQ_DONE;
}

/* Writes a row through its transaction, and then dies with it. */
static jobq_outcome run_writer(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    (void)ctx;
    count_start(run);
    if (!CHECK_CODE(jobq_run_db(run, &db, NULL), JOBQ_OK)) return JOBQ_FAIL;
    CHECK_INT(sqlite3_exec(db, "INSERT INTO effect VALUES(1)", NULL, NULL, NULL), SQLITE_OK);
    if (!play.cured) play.die();
    return JOBQ_DONE;
}

static const jobq_kind kinds[] = {
    {.name = "good", .run = run_good},
    {.name = "poison", .run = run_poison},
    {.name = "poison1", .run = run_poison, .crashes_max = 1},
    {.name = "poison5", .run = run_poison, .crashes_max = 5},
    {.name = "hold", .run = run_hold},
    {.name = "last", .run = run_last},
    {.name = "suspect", .run = run_suspect},
    {.name = "leave", .run = run_leave},
    {.name = "first", .run = run_first},
    {.name = "steps", .run = run_steps},
    {.name = "mortal", .run = run_mortal, .crashes_max = JOBQ_UNLIMITED},
    {.name = "writer", .run = run_writer},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

/* ---- Lives ---- */

static void be_a_child(void) {
    static const int signals[] = {SIGABRT, SIGSEGV};
    struct rlimit none = {0, 0};
    is_child = true;
    setrlimit(RLIMIT_CORE, &none);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) signal(signals[i], SIG_DFL);
}

static jobq *open_queue(int workers) {
    jobq_options options = {.workers = workers, .join = true, .shared = true};
    jobq_error err = {0, 0, ""};
    jobq *q = NULL;
    options.busy_ms = play.busy_ms;
    if (!CHECK_CODE(jobq_open(play.path, &options, &q, &err), JOBQ_OK))
        test_note("open: %s", err.text);
    return q;
}

static jobq *start_queue(void) {
    jobq *q;
    be_a_child();
    q = open_queue(play.workers);
    if (!q) return NULL;
    for (size_t i = 0; i < KINDS; i++) CHECK_CODE(jobq_register(q, &kinds[i], NULL), JOBQ_OK);
    CHECK_CODE(jobq_start(q, NULL), JOBQ_OK);
    return q;
}

/* The usual life: runs what there is and closes. */
static void run_all(void *arg) {
    jobq *q = start_queue();
    (void)arg;
    REQUIRE(q != NULL);
    for (int n = 0; n < play.jobs; n++)
        CHECK_CODE(jobq_wait(q, stage->ids[n], JOBQ_NEVER, NULL, NULL), JOBQ_OK);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

static void fill(void *arg) {
    jobq_result results[JOBS_MAX];
    jobq *q;
    (void)arg;
    be_a_child();
    q = open_queue(JOBQ_NONE);
    REQUIRE(q != NULL);
    CHECK_CODE(jobq_enqueue_many(q, play.job, (size_t)play.jobs, results, NULL), JOBQ_OK);
    for (int n = 0; n < play.jobs; n++) stage->ids[n] = results[n].id;
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Opens the file, so that a dead life is recovered, and writes down every job. */
static void read_infos(void *arg) {
    jobq *q;
    (void)arg;
    be_a_child();
    q = open_queue(JOBQ_NONE);
    REQUIRE(q != NULL);
    for (int n = 0; n < play.jobs; n++)
        CHECK_CODE(jobq_get(q, stage->ids[n], &stage->infos[n], NULL), JOBQ_OK);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

static void look_at_all(void) {
    memset(stage->infos, 0, sizeof stage->infos);
    CHECK_INT(test_fork(read_infos, NULL), 0);
}

/* ---- Setup ---- */

static void add(const char *kind, int priority, int times) {
    while (times-- > 0) {
        int n = play.jobs++;
        numbers[n] = n;
        play.job[n] = (jobq_job){.kind = kind, .priority = priority};
        play.job[n].payload = &numbers[n];
        play.job[n].size = sizeof numbers[n];
    }
}

/* A new play on a new file. */
static void begin(int workers) {
    static int plays;
    char name[32];
    void *map;
    memset(&play, 0, sizeof play);
    snprintf(name, sizeof name, "play-%d.db", ++plays);
    play.path = test_path(name);
    play.workers = workers;
    play.die = die_kill;
    pipe_make(play.started);
    pipe_make(play.never);
    pipe_make(play.go);
    pipe_make(play.good_ran);
    map = mmap(NULL, sizeof *stage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) test_give_up("mmap");
    stage = (struct stage *)map;
}

static void end(void) {
    pipe_free(play.started);
    pipe_free(play.never);
    pipe_free(play.go);
    pipe_free(play.good_ran);
    munmap(stage, sizeof *stage);
    stage = NULL;
}

static bool died(int status) {
    return !WIFEXITED(status) || WEXITSTATUS(status) == 7;
}

/* Plays lives until one ends well; returns how many did not. */
static int live_until_well(void) {
    int deaths = 0;
    for (; deaths < LIVES_MAX; deaths++) {
        int status = test_fork(run_all, NULL);
        if (died(status)) continue;
        CHECK_INT(status, 0);
        break;
    }
    CHECK(deaths < LIVES_MAX);
    return deaths;
}

/* Checks that jobs from..to-1 wait, were started as often as they say, and were charged
 * this many crashes and no attempt. */
static void check_waiting(int from, int to, int crashes) {
    for (int n = from; n < to; n++) {
        CHECK_INT(stage->infos[n].state, JOBQ_STATE_PENDING);
        CHECK_INT(stage->infos[n].crashes, crashes);
        CHECK_INT(stage->infos[n].attempt, 1);
        CHECK_INT(stage->infos[n].runs, stage->starts[n]);
    }
}

static void check_done(int from, int to, int crashes_max) {
    for (int n = from; n < to; n++) {
        CHECK_INT(stage->infos[n].state, JOBQ_STATE_DONE);
        CHECK(stage->starts[n] >= 1);
        CHECK(stage->infos[n].crashes <= crashes_max);
    }
}

static void check_failed(int n, int crashes) {
    const jobq_info *info = &stage->infos[n];
    CHECK_INT(info->state, JOBQ_STATE_FAILED);
    CHECK_INT(info->crashes, crashes);
    CHECK_INT(info->attempt, 1);
    CHECK(strstr(info->error, "crash") != NULL);
    CHECK(info->finished_at_ms > 0);
}

/* ---- Poison ---- */

static void poison_alone(void (*die)(void)) {
    begin(1);
    play.die = die;
    add("poison", -1, 1);
    add("good", 0, 6);
    CHECK_INT(test_fork(fill, NULL), 0);
    for (int deaths = 1; deaths <= 2; deaths++) {
        CHECK(died(test_fork(run_all, NULL)));
        look_at_all();
        check_waiting(0, 1, deaths);
    }
    CHECK_INT(live_until_well(), 1);
    look_at_all();
    check_failed(0, 3);
    CHECK_INT(stage->starts[0], 3);
    check_done(1, play.jobs, 0);
    end();
}

/* Goal: each death of the process costs the job one crash and no attempt, after three it
 * has failed, was started three times, and the jobs behind it have run. Method: a poison
 * on one worker, dying by abort, SIGSEGV, _exit and SIGKILL. */
TEST(poison_fails_after_three_deaths) {
    for (size_t i = 0; i < WAYS; i++) poison_alone(ways[i]);
}

/* Goal: crashes_max is the kind's, also if a process that does not know the kind has
 * opened the queue in between. Method: limits 1 and 5, a look after each death. */
TEST(crashes_max_belongs_to_the_kind) {
    begin(1);
    add("poison1", -1, 1);
    add("poison5", 0, 1);
    CHECK_INT(test_fork(fill, NULL), 0);
    for (int deaths = 0; deaths < 6; deaths++) {
        CHECK(died(test_fork(run_all, NULL)));
        look_at_all();
    }
    CHECK_INT(live_until_well(), 0);
    look_at_all();
    check_failed(0, 1);
    check_failed(1, 5);
    CHECK_INT(stage->starts[0], 1);
    CHECK_INT(stage->starts[1], 5);
    end();
}

/* Goal: two poisons and many good jobs on four workers: both fail after at most three
 * starts, every good job is done. Method: lives until one ends well. */
TEST(two_poisons_among_many) {
    begin(4);
    add("good", 0, 10);
    add("poison", 0, 1);
    add("good", 0, 20);
    add("poison", 0, 1);
    add("good", 0, 30);
    CHECK_INT(test_fork(fill, NULL), 0);
    CHECK(live_until_well() <= 6);
    look_at_all();
    check_failed(10, 3);
    check_failed(31, 3);
    CHECK(stage->starts[10] <= 3 && stage->starts[31] <= 3);
    check_done(0, 10, 2);
    check_done(11, 31, 2);
    check_done(32, play.jobs, 2);
    end();
}

static void revive(void *arg) {
    jobq *q;
    (void)arg;
    be_a_child();
    q = open_queue(JOBQ_NONE);
    REQUIRE(q != NULL);
    CHECK_CODE(jobq_retry_now(q, stage->ids[0], NULL), JOBQ_OK);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: a job that has failed by crashing can be revived in one call. Method: three
 * deaths, jobq_retry_now by a process without handlers, then a cured handler. */
TEST(retry_now_revives_the_crashed) {
    begin(2);
    add("poison", 0, 1);
    CHECK_INT(test_fork(fill, NULL), 0);
    CHECK_INT(live_until_well(), 3);
    look_at_all();
    check_failed(0, 3);
    CHECK_INT(test_fork(revive, NULL), 0);
    look_at_all();
    check_waiting(0, 1, 0);
    play.cured = true;
    CHECK_INT(live_until_well(), 0);
    look_at_all();
    check_done(0, 1, 0);
    CHECK_INT(stage->starts[0], 4);
    end();
}

/* ---- Neighbours ---- */

static void charged_are_the_started(void (*die)(void)) {
    begin(HOLDERS + 1);
    play.die = die;
    add("hold", -2, HOLDERS);
    add("last", -1, 1);
    add("good", 0, 40);
    CHECK_INT(test_fork(fill, NULL), 0);
    CHECK(died(test_fork(run_all, NULL)));
    look_at_all();
    check_waiting(0, HOLDERS + 1, 1);
    check_waiting(HOLDERS + 1, play.jobs, 0);
    for (int n = 0; n < play.jobs; n++) CHECK_INT(stage->starts[n], n <= HOLDERS);
    play.cured = true;
    CHECK_INT(live_until_well(), 0);
    look_at_all();
    check_done(0, HOLDERS + 1, 1);
    check_done(HOLDERS + 1, play.jobs, 0);
    end();
}

/* Goal: only jobs that were started are charged for a death, not those that were claimed
 * beside them. Method: three holders and the killer occupy the four workers while forty
 * more jobs are due; in the next life all of them run. */
TEST(only_the_started_are_charged) {
    for (size_t i = 0; i < WAYS; i++) charged_are_the_started(ways[i]);
}

/* Goal: suspects never run two at a time, and normal jobs run beside them. Method: four
 * jobs die together; in the next life each stays until five good jobs have run. */
TEST(suspects_never_meet) {
    begin(4);
    add("suspect", -1, 4);
    add("good", 0, 40);
    CHECK_INT(test_fork(fill, NULL), 0);
    play.barrier = 4;
    CHECK(died(test_fork(run_all, NULL)));
    look_at_all();
    check_waiting(0, 4, 1);
    check_waiting(4, play.jobs, 0);
    play.barrier = 0;
    CHECK_INT(live_until_well(), 0);
    CHECK_INT(stage->suspects_max, 1);
    look_at_all();
    check_done(0, 4, 1);
    check_done(4, play.jobs, 0);
    end();
}

/* Goal: a queue whose process dies again and again runs everything in the end. Method: the
 * pool dies at every seventh start; jobs may crash without limit. */
TEST(dying_midway_goes_on) {
    begin(2);
    add("mortal", 0, 30);
    CHECK_INT(test_fork(fill, NULL), 0);
    CHECK(live_until_well() >= 4);
    look_at_all();
    check_done(0, play.jobs, LIVES_MAX);
    end();
}

/* ---- Ends on purpose ---- */

static void check_nobody_charged(void) {
    look_at_all();
    check_waiting(0, play.jobs, 0);
    play.cured = true;
    CHECK_INT(live_until_well(), 0);
    look_at_all();
    check_done(0, play.jobs, 0);
}

/* Goal: after jobq_mark_exit the end of the process charges nobody. Method: a handler
 * calls it and then _exit, beside three that run. */
TEST(mark_exit_charges_nobody) {
    begin(HOLDERS + 1);
    add("hold", -2, HOLDERS);
    add("leave", -1, 1);
    add("good", 0, 10);
    CHECK_INT(test_fork(fill, NULL), 0);
    CHECK_INT(test_fork(run_all, NULL), 0);
    CHECK_INT(stage->total_starts, HOLDERS + 1);
    check_nobody_charged();
    end();
}

/* Between the mark and the end the only worker goes on to its next job. */
static void mark_and_linger(void *arg) {
    struct pollfd second = {.fd = play.started[0], .events = POLLIN};
    jobq *q = start_queue();
    (void)arg;
    REQUIRE(q != NULL);
    pipe_hear(play.started);
    jobq_mark_exit();
    pipe_say(play.go);
    poll(&second, 1, 1000); /* it is as well if nothing starts any more */
    if (test_failures() > 0) _exit(1);
    die_kill();
}

/* Goal: a job that starts after jobq_mark_exit, before the process has ended, is not charged
 * either. Method: one worker; mark while the first job runs, let it return, die when the
 * second has started. */
TEST(mark_exit_holds_for_later_starts) {
    begin(1);
    add("first", -2, 1);
    add("hold", -1, 1);
    CHECK_INT(test_fork(fill, NULL), 0);
    CHECK(died(test_fork(mark_and_linger, NULL)));
    look_at_all();
    CHECK_INT(stage->infos[0].crashes, 0);
    check_waiting(1, 2, 0);
    play.cured = true;
    CHECK_INT(live_until_well(), 0);
    look_at_all();
    check_done(0, play.jobs, 0);
    end();
}

/* The handle stays reachable, as that of a program would that leaves by exit. */
static jobq *left_open;

static void exit_beside_handlers(void *arg) {
    (void)arg;
    left_open = start_queue();
    REQUIRE(left_open != NULL);
    hear(play.started, HOLDERS);
    exit(test_failures() > 0);
}

/* Goal: exit() while handlers run charges nobody. Method: the main thread of a life calls
 * it when three handlers have started. */
TEST(exit_charges_nobody) {
    begin(HOLDERS);
    add("hold", -2, HOLDERS);
    add("good", 0, 10);
    CHECK_INT(test_fork(fill, NULL), 0);
    CHECK_INT(test_fork(exit_beside_handlers, NULL), 0);
    CHECK_INT(stage->total_starts, HOLDERS);
    check_nobody_charged();
    end();
}

static void stop_and_die(void *arg) {
    jobq *q = start_queue();
    (void)arg;
    REQUIRE(q != NULL);
    hear(play.started, HOLDERS);
    CHECK_CODE(jobq_stop(q, JOBQ_NONE, NULL), JOBQ_TIMEOUT);
    if (test_failures() > 0) _exit(1);
    play.die();
}

/* Goal: handlers that outlive the grace of a stop are not charged when the process ends,
 * however it does. Method: stop without grace beside three handlers, then die. */
TEST(expired_stop_charges_nobody) {
    for (size_t i = 0; i < WAYS; i++) {
        begin(HOLDERS);
        play.die = ways[i];
        add("hold", -2, HOLDERS);
        add("good", 0, 10);
        CHECK_INT(test_fork(fill, NULL), 0);
        CHECK(died(test_fork(stop_and_die, NULL)));
        CHECK_INT(stage->total_starts, HOLDERS);
        check_nobody_charged();
        end();
    }
}

/* ---- Outcomes and effects ---- */

/* Holds the database while the first job returns, so that its outcome cannot commit; the
 * start of the second on the only worker shows that the first has returned. */
static void die_before_commit(void *arg) {
    struct pollfd second = {.fd = play.started[0], .events = POLLIN};
    jobq *q = start_queue();
    sqlite3 *db;
    (void)arg;
    REQUIRE(q != NULL);
    pipe_hear(play.started);
    db = sql_open(play.path);
    CHECK_INT(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    pipe_say(play.go);
    if (poll(&second, 1, 3000) != 1)
        test_note("the worker waited for its commit; only the first job is told about");
    if (test_failures() > 0) _exit(1);
    die_kill();
}

/* Goal: a job that has finished but whose outcome is not committed is run again and not
 * charged. Method: another connection keeps the outcome from the disk until the death. */
TEST(finished_but_not_committed_is_not_charged) {
    begin(1);
    play.busy_ms = 300;
    add("first", -2, 1);
    add("hold", -1, 1);
    add("good", 0, 5);
    CHECK_INT(test_fork(fill, NULL), 0);
    CHECK(died(test_fork(die_before_commit, NULL)));
    look_at_all();
    CHECK_INT(stage->starts[0], 1);
    CHECK_INT(stage->infos[0].state, JOBQ_STATE_PENDING);
    CHECK_INT(stage->infos[0].crashes, 0);
    CHECK_INT(stage->infos[0].attempt, 1);
    check_waiting(1, 2, stage->starts[1]);
    check_waiting(2, play.jobs, 0);
    play.cured = true;
    CHECK_INT(live_until_well(), 0);
    look_at_all();
    check_done(0, 1, 0);
    check_done(1, 2, 1);
    check_done(2, play.jobs, 0);
    end();
}

/* Goal: a checkpoint forgives the crashes and is found again. Method: a handler that saves
 * its step and dies, six times, which is more than the three chances. */
TEST(checkpoint_forgives_crashes) {
    begin(1);
    add("steps", 0, 1);
    CHECK_INT(test_fork(fill, NULL), 0);
    for (int life = 0; life < 6; life++) {
        CHECK(died(test_fork(run_all, NULL)));
        look_at_all();
        check_waiting(0, 1, 1);
    }
    play.cured = true;
    CHECK_INT(live_until_well(), 0);
    look_at_all();
    check_done(0, 1, 1);
    CHECK_INT(stage->starts[0], 7);
    end();
}

static void make_table(void *arg) {
    (void)arg;
    be_a_child();
    sql_run(play.path, "CREATE TABLE effect(n)");
}

static void count_effects(void *arg) {
    (void)arg;
    be_a_child();
    stage->effects = sql_int(play.path, "SELECT count(*) FROM effect");
}

/* Goal: what a job wrote through its transaction dies with it. Method: two deaths after
 * the insert in each way, then a run that ends well: one row. */
TEST(effects_of_the_dead_vanish) {
    for (size_t i = 0; i < WAYS; i++) {
        begin(2);
        play.die = ways[i];
        add("writer", 0, 1);
        CHECK_INT(test_fork(fill, NULL), 0);
        CHECK_INT(test_fork(make_table, NULL), 0);
        for (int deaths = 1; deaths <= 2; deaths++) {
            CHECK(died(test_fork(run_all, NULL)));
            look_at_all();
            check_waiting(0, 1, deaths);
            CHECK_INT(test_fork(count_effects, NULL), 0);
            CHECK_INT(stage->effects, 0);
        }
        play.cured = true;
        CHECK_INT(live_until_well(), 0);
        CHECK_INT(test_fork(count_effects, NULL), 0);
        CHECK_INT(stage->effects, 1);
        end();
    }
}

TEST_MAIN(poison_fails_after_three_deaths, crashes_max_belongs_to_the_kind, two_poisons_among_many,
          retry_now_revives_the_crashed, only_the_started_are_charged, suspects_never_meet,
          dying_midway_goes_on, mark_exit_charges_nobody,
          mark_exit_holds_for_later_starts, exit_charges_nobody,
          expired_stop_charges_nobody, finished_but_not_committed_is_not_charged,
          checkpoint_forgives_crashes, effects_of_the_dead_vanish)
