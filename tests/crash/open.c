/* open.c - kill -9 while a queue is made, opened, recovered or closed.
 *
 * Promised: whenever the process that opens a queue is killed, the next one opens it as if nothing
 * had been: no job is lost, those that ran when the last owner died are charged once for that,
 * however many recoveries were killed in between, and nobody else is charged. A queue that was
 * killed while it was made is made by the next one.
 *
 * Broken on purpose, in two ways. At every step: SQLite's system calls that change a file are
 * counted, and a life is killed before the first of them, before the second, and so on, until one
 * gets through open and close. At any time: the parent kills a life that has said that it opens,
 * after a short spin, which also meets what happens in mapped memory and in the lock file.
 *
 * Counted: kills, crashes charged to each job after them. */
#include "crash_lives.h"

enum {
    GOOD = 40,
    SWEEPS = 2,
    STEPS_MIN = 20,      /* fewer, and the system calls are not counted */
    SPINS = 60,          /* files, for kills at any time */
    KILLS_OF_A_FILE = 6, /* at most, before somebody looks */
    DRAIN_EVERY = 8,     /* files looked at, one is drained */
    USE_EVERY = 4        /* files made, one is worked with */
};

static const jobq_kind kinds[] = {
    {.name = "good", .run = run_good},
    {.name = "hold", .run = run_hold},
    {.name = "last", .run = run_last},
};

/* ---- Counting steps ---- */

static struct {
    int64_t steps, fatal; /* the step before which this process dies, 0 = none */
    sqlite3_syscall_ptr real[8];
} count;

static void step(void) {
    if (++count.steps == count.fatal) die_kill();
}

enum { OPEN, CLOSE, WRITE, PWRITE, PWRITE64, TRUNCATE, UNLINK, MAP };

static int step_open(const char *path, int flags, int mode) {
    step();
    return ((int (*)(const char *, int, int))count.real[OPEN])(path, flags, mode);
}

static int step_close(int fd) {
    step();
    return ((int (*)(int))count.real[CLOSE])(fd);
}

static ssize_t step_write(int fd, const void *from, size_t size) {
    step();
    return ((ssize_t(*)(int, const void *, size_t))count.real[WRITE])(fd, from, size);
}

static ssize_t step_pwrite(int fd, const void *from, size_t size, off_t at) {
    step();
    return ((ssize_t(*)(int, const void *, size_t, off_t))count.real[PWRITE])(fd, from, size, at);
}

static ssize_t step_pwrite64(int fd, const void *from, size_t size, int64_t at) {
    step();
    return ((ssize_t(*)(int, const void *, size_t, int64_t))count.real[PWRITE64])(fd, from, size,
                                                                                 at);
}

static int step_truncate(int fd, off_t size) {
    step();
    return ((int (*)(int, off_t))count.real[TRUNCATE])(fd, size);
}

static int step_unlink(const char *path) {
    step();
    return ((int (*)(const char *))count.real[UNLINK])(path);
}

static void *step_map(void *at, size_t size, int protection, int flags, int fd, off_t from) {
    step();
    return ((void *(*)(void *, size_t, int, int, int, off_t))count.real[MAP])(at, size, protection,
                                                                              flags, fd, from);
}

/* From now on every such call of this process is a step. A SQLite may lack some of them. */
static void count_steps(int64_t fatal) {
    static const struct {
        const char *name;
        sqlite3_syscall_ptr ours;
    } calls[] = {
        {"open", (sqlite3_syscall_ptr)step_open},
        {"close", (sqlite3_syscall_ptr)step_close},
        {"write", (sqlite3_syscall_ptr)step_write},
        {"pwrite", (sqlite3_syscall_ptr)step_pwrite},
        {"pwrite64", (sqlite3_syscall_ptr)step_pwrite64},
        {"ftruncate", (sqlite3_syscall_ptr)step_truncate},
        {"unlink", (sqlite3_syscall_ptr)step_unlink},
        {"mmap", (sqlite3_syscall_ptr)step_map},
    };
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        count.real[i] = vfs->xGetSystemCall(vfs, calls[i].name);
        if (count.real[i]) vfs->xSetSystemCall(vfs, calls[i].name, calls[i].ours);
    }
    count.fatal = fatal;
}

/* ---- Copies of a file that a dead owner left behind ---- */

static void copy_file(const char *from, const char *to) {
    char block[4096];
    FILE *in = fopen(from, "rb"), *out;
    size_t size;
    unlink(to);
    if (!in) return;
    out = fopen(to, "wb");
    if (!out) test_give_up(to);
    while ((size = fread(block, 1, sizeof block, in)) > 0)
        if (fwrite(block, 1, size, out) != size) test_give_up(to);
    fclose(in);
    if (fclose(out) != 0) test_give_up(to);
}

static void copy_queue(const char *from, const char *to) {
    char a[1024], b[1024];
    for (int i = 0; i < ENDINGS; i++) {
        snprintf(a, sizeof a, "%s%s", from, endings[i]);
        snprintf(b, sizeof b, "%s%s", to, endings[i]);
        copy_file(a, b);
    }
}

/* Three holders and the one that killed the process have been started; the good ones have not. */
static const char *leave_a_wreck(void) {
    begin(HOLDERS + 1, kinds, sizeof kinds / sizeof kinds[0]);
    add("hold", -2, HOLDERS);
    add("last", -1, 1);
    add("good", 0, GOOD);
    fill_queue();
    CHECK(died(live_through(run_all, NULL)));
    copy_queue(play.path, test_path("wreck.db"));
    play.cured = true;
    return test_path("wreck.db");
}

static void check_wreck(bool drained) {
    for (int n = 0; n < play.jobs && test_failures() < COMPLAINTS_MAX; n++) {
        CHECK_INT(stage->infos[n].state, drained ? JOBQ_STATE_DONE : JOBQ_STATE_PENDING);
        CHECK_INT(stage->infos[n].crashes, n <= HOLDERS);
        CHECK_INT(stage->infos[n].attempt, 1);
    }
}

static void check_file(void *arg) {
    (void)arg;
    check_sound(play.path);
}

static void look_at_wreck(int64_t turn) {
    look_at_all();
    check_wreck(false);
    if (turn % DRAIN_EVERY) return;
    CHECK_INT(live_until_well(), 0);
    look_at_all();
    check_wreck(true);
    CHECK_INT(test_fork(check_file, NULL), 0);
}

/* ---- Kills at every step ---- */

/* Without .join: a queue that is half made must not be taken for somebody else's file. */
static void open_and_close(void *arg) {
    jobq_options options = {.workers = JOBQ_NONE, .shared = true, .durability = JOBQ_RELAXED};
    jobq *q = NULL;
    be_a_child();
    count_steps(*(const int64_t *)arg);
    WORKS(jobq_open(play.path, &options, &q, &err));
    REQUIRE(q != NULL);
    handle(q, "good", run_good, NULL);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* False if the life got through. */
static bool kill_at(int64_t fatal) {
    int status = test_fork(open_and_close, &fatal);
    if (was_killed(status)) return true;
    CHECK_INT(status, 0);
    return false;
}

static struct {
    int64_t steps, kills;
} swept;

static void sweep(const char *wreck, uint64_t *random) {
    int64_t fatal = 0;
    bool killed = true;
    while (killed && test_failures() == 0) {
        copy_queue(wreck, play.path);
        killed = kill_at(++fatal);
        swept.kills += killed;
        if (test_random(random) % 2)
            swept.kills += kill_at(1 + (int64_t)(test_random(random) % (uint64_t)fatal));
        look_at_wreck(fatal);
    }
    swept.steps = fatal - 1;
}

/* Goal: recovery can be killed at any step, and again at any step, and charges once. Method: a
 * wreck, copied afresh for every step; every other time two lives are killed. */
TEST(recovery_is_killed_at_every_step) {
    const char *wreck = leave_a_wreck();
    uint64_t random = test_seed();
    int64_t sweeps = test_effort(SWEEPS);
    test_note("TEST_SEED=%" PRIu64, test_seed());
    memset(&swept, 0, sizeof swept);
    for (int64_t i = 0; i < sweeps && test_failures() == 0; i++) sweep(wreck, &random);
    CHECK(swept.steps > STEPS_MIN);
    test_figure("kill -9 in recovery", "0 lost, charged once",
                "%" PRId64 " kills, before each of %" PRId64 " steps of open and close: 0 lost,"
                " %d charged once", swept.kills, swept.steps, HOLDERS + 1);
    end();
}

static void work(jobq *q) {
    handle(q, "k", do_nothing, NULL);
    put(q, "k");
    CHECK_INT(drain(q), 1);
}

static void use(void *arg) {
    jobq_options options = {.workers = JOBQ_NONE, .durability = JOBQ_RELAXED};
    bool thoroughly = *(const int64_t *)arg % USE_EVERY == 0;
    jobq *q = NULL;
    be_a_child();
    WORKS(jobq_open(play.path, &options, &q, &err));
    REQUIRE(q != NULL);
    CHECK_INT(total(q), 0);
    if (thoroughly) work(q);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    if (thoroughly) check_sound(play.path);
}

/* Goal: a queue that was killed while it was made is made by the next process. Method: a new name
 * for every step. */
TEST(creation_is_killed_at_every_step) {
    int64_t fatal = 0;
    bool killed = true;
    begin(1, NULL, 0);
    while (killed && test_failures() == 0) {
        char name[32];
        snprintf(name, sizeof name, "new-%d.db", (int)++fatal);
        play.path = test_path(name);
        killed = kill_at(fatal);
        CHECK_INT(test_fork(use, &fatal), 0);
    }
    CHECK(fatal > STEPS_MIN);
    test_figure("kill -9 in creation", "the next open works",
                "killed before each of %" PRId64 " steps of open and close", fatal - 1);
    end();
}

/* ---- Kills at any time ---- */

static void open_when_told(void *arg) {
    int64_t none = 0;
    (void)arg;
    pipe_say(play.started);
    open_and_close(&none);
    pipe_say(play.go);
}

/* Returns whether the life was still inside. The limit of the spin follows what it meets. */
static bool kill_sometime(uint64_t *random, uint64_t *limit) {
    pid_t pid = test_spawn(open_when_told, NULL);
    int status;
    pipe_hear(play.started);
    spin_below(random, *limit);
    kill(pid, SIGKILL);
    status = test_wait(pid);
    if (!was_killed(status)) CHECK_INT(status, 0);
    *limit = was_killed(status) ? *limit + *limit / 16 : *limit - *limit / 8;
    return was_killed(status);
}

/* Goal: the same at any time. Method: several kills in a row on each copy of a wreck. */
TEST(recovery_is_killed_at_any_time) {
    const char *wreck = leave_a_wreck();
    uint64_t random = test_seed(), limit = 1000000;
    int64_t kills = 0, lives = 0, files = test_effort(SPINS);
    test_note("TEST_SEED=%" PRIu64, test_seed());
    for (int64_t i = 0; i < files && test_failures() == 0; i++) {
        int turns = 1 + (int)(test_random(&random) % KILLS_OF_A_FILE);
        copy_queue(wreck, play.path);
        for (; turns > 0; turns--, lives++) kills += kill_sometime(&random, &limit);
        look_at_wreck(i);
    }
    CHECK(kills > 0);
    test_figure("kill -9 at any time of open", "0 lost, charged once",
                "%" PRId64 " kills in %" PRId64 " opens: 0 lost, %d charged once",
                kills, lives, HOLDERS + 1);
    end();
}

TEST_MAIN(recovery_is_killed_at_every_step, creation_is_killed_at_every_step,
          recovery_is_killed_at_any_time)
