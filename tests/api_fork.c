/* api_fork.c - processes and ownership: forked children, dead owners, two that want to own.
 *
 * A forked child inherits the handle, the descriptors, the mapped slots and the exit
 * handlers of its parent, and must not be able to do anything with them. Where an owner has
 * to die, it is a child of the test and its own child is a grandchild. Processes meet through
 * pipes. What children have to tell stands in shared memory. */
#include "helpers.h"

#include <sys/mman.h>

enum { JOBS = 60, FORKS = 8, RACES = 20, FILES = 3 };

/* A forked child that leaves by exit() has lost the stacks of its parent's threads, so a
 * leak checker would find leaks there that are none. */
int __lsan_is_turned_off(void);
static bool is_child;

int __lsan_is_turned_off(void) {
    return is_child;
}

struct told {
    int codes[2];
    pid_t pids[2];
    char texts[2][232];
    uint64_t sums[FILES];
};

static void *share(size_t size) {
    void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) test_give_up("mmap");
    return map;
}

static jobq *open_pool(const char *path) {
    jobq_options options = {.workers = 2, .durability = JOBQ_RELAXED};
    jobq *q = NULL;
    WORKS(jobq_open(path, &options, &q, &err));
    return q;
}

static void check_sound(const char *path) {
    char text[256];
    sql_text(path, "PRAGMA integrity_check", text, sizeof text);
    CHECK_STR(text, "ok");
}

static bool names_pid(const char *text, pid_t pid) {
    char wanted[32];
    snprintf(wanted, sizeof wanted, "%ld", (long)pid);
    return strstr(text, wanted) != NULL;
}

/* ---- The handle in a child ---- */

struct heir {
    jobq *q;
    int64_t id;
};

static void try_writing(jobq *q, int64_t id) {
    jobq_job job = {.kind = "k"};
    jobq_kind kind = {.name = "new", .run = do_nothing};
    jobq_result result;
    FAILS(JOBQ_FORKED, jobq_register(q, &kind, &err));
    FAILS(JOBQ_FORKED, jobq_enqueue(q, &job, &id, &err));
    FAILS(JOBQ_FORKED, jobq_enqueue_many(q, &job, 1, &result, &err));
    FAILS(JOBQ_FORKED, jobq_flush(q, &err));
    FAILS(JOBQ_FORKED, jobq_notify(q, &err));
    FAILS(JOBQ_FORKED, jobq_cancel(q, id, &err));
    FAILS(JOBQ_FORKED, jobq_retry_now(q, id, &err));
    FAILS(JOBQ_FORKED, jobq_delete(q, id, &err));
}

static void try_reading(jobq *q, int64_t id) {
    jobq_filter filter = {.state = JOBQ_STATE_NONE};
    jobq_cursor cursor = {.done = false};
    jobq_info info;
    jobq_counts counts;
    jobq_stats stats;
    char bytes[8];
    size_t size;
    FAILS(JOBQ_FORKED, jobq_get(q, id, &info, &err));
    FAILS(JOBQ_FORKED, jobq_get_payload(q, id, bytes, sizeof bytes, &size, &err));
    FAILS(JOBQ_FORKED, jobq_get_result(q, id, bytes, sizeof bytes, &size, &err));
    FAILS(JOBQ_FORKED, jobq_list(q, &filter, &cursor, &info, 1, &size, &err));
    FAILS(JOBQ_FORKED, jobq_count(q, &counts, &err));
    FAILS(JOBQ_FORKED, jobq_stat(q, &stats, &err));
    FAILS(JOBQ_FORKED, jobq_wait(q, id, 0, &info, &err));
    FAILS(JOBQ_FORKED, jobq_wait(q, id, JOBQ_NEVER, &info, &err));
}

static void try_moving(jobq *q) {
    int64_t at = 0;
    FAILS(JOBQ_FORKED, jobq_start(q, &err));
    FAILS(JOBQ_FORKED, jobq_stop(q, 0, &err));
    FAILS(JOBQ_FORKED, jobq_step(q, NULL, &err));
    FAILS(JOBQ_FORKED, jobq_run_until_idle(q, NULL, &err));
    FAILS(JOBQ_FORKED, jobq_advance(q, 1, NULL, &err));
    FAILS(JOBQ_FORKED, jobq_advance_to_next(q, &err));
    FAILS(JOBQ_FORKED, jobq_next_deadline(q, &at, &err));
    CHECK_INT(jobq_wakes(q), 0);
}

static void try_everything(void *arg) {
    struct heir *heir = (struct heir *)arg;
    jobq *q = heir->q;
    try_writing(q, heir->id);
    try_reading(q, heir->id);
    try_moving(q);
    CHECK_CODE(jobq_close(&q), JOBQ_FORKED);
    jobq_mark_exit();
}

static uint64_t sum_file(const char *path) {
    uint64_t sum = UINT64_C(14695981039346656037);
    FILE *file = fopen(path, "rb");
    int c;
    if (!file) return 0;
    while ((c = getc(file)) != EOF) sum = (sum ^ (uint64_t)c) * UINT64_C(1099511628211);
    fclose(file);
    return sum;
}

/* In a child, because closing a file drops the locks that its process has on it. */
static void sum_files(void *arg) {
    static const char *const names[FILES] = {"q.db", "q.db-wal", "q.db-jobq"};
    struct told *told = (struct told *)arg;
    for (int i = 0; i < FILES; i++) told->sums[i] = sum_file(test_path(names[i]));
}

/* Goal: in a forked child every call says JOBQ_FORKED and changes no file. Method: a queue
 * at rest, with jobs in it; sums of its files before and after a child that tries all. */
TEST(child_gets_forked_and_touches_nothing) {
    struct told *told = (struct told *)share(sizeof *told);
    uint64_t before[FILES];
    struct heir heir;
    jobq *q = open_pool(test_path("q.db"));
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    start(q);
    finish(q, put(q, "k"));
    WORKS(jobq_stop(q, JOBQ_NEVER, &err));
    heir.q = q;
    heir.id = put(q, "k");
    CHECK_INT(test_fork(sum_files, told), 0);
    memcpy(before, told->sums, sizeof before);
    CHECK_INT(test_fork(try_everything, &heir), 0);
    CHECK_INT(test_fork(sum_files, told), 0);
    for (int i = 0; i < FILES; i++) CHECK(told->sums[i] == before[i] && told->sums[i] != 0);
    CHECK_INT(stats_of(q).enqueued, 2);
    start(q);
    CHECK_INT(finish(q, heir.id).state, JOBQ_STATE_DONE);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    check_sound(test_path("q.db"));
    munmap(told, sizeof *told);
}

/* Goal: forking while the pool works hurts neither side: the child's calls do not hang on a
 * lock that no thread will release, the parent goes on and loses nothing. Method: fork right
 * after jobs were given to the pool, again and again. */
TEST(parent_goes_on_after_forks) {
    int64_t ids[JOBS];
    jobq *q = open_pool(test_path("q.db"));
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    start(q);
    for (int n = TEST_SCALED(FORKS); n > 0; n--) {
        struct heir heir = {q, 0};
        for (int i = 0; i < JOBS; i++) ids[i] = put(q, "k");
        heir.id = ids[0];
        CHECK_INT(test_fork(try_everything, &heir), 0);
        for (int i = 0; i < JOBS; i++) {
            jobq_info info = finish(q, ids[i]);
            CHECK_INT(info.state, JOBQ_STATE_DONE);
            CHECK_INT(info.runs, 1);
        }
    }
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    check_sound(test_path("q.db"));
}

/* Opens a queue of its own, and is told that the parent's has an owner. */
static void own_another(void *arg) {
    jobq_options options = {.workers = JOBQ_NONE};
    jobq *q = NULL;
    FAILS(JOBQ_LOCKED, jobq_open((const char *)arg, &options, &q, &err));
    CHECK(q == NULL);
    WORKS(jobq_open(test_path("own.db"), &options, &q, &err));
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    put(q, "k");
    CHECK_INT(drain(q), 1);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: a forked child may own a queue of its own, but not the parent's. Method: a child of
 * a process whose queue is open and at rest, so that no thread of it is inside SQLite. */
TEST(child_may_own_another_queue) {
    const char *path = test_path("q.db");
    jobq *q = open_pool(path);
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    start(q);
    WORKS(jobq_stop(q, JOBQ_NEVER, &err));
    CHECK_INT(test_fork(own_another, (void *)(uintptr_t)path), 0);
    start(q);
    CHECK_INT(finish(q, put(q, "k")).state, JOBQ_STATE_DONE);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    check_sound(path);
}

/* ---- The owner dies ---- */

struct family {
    const char *path;
    int ready[2], ask[2], answer[2], never[2];
    int leaving; /* how the grandchild leaves: 0 _exit, 1 exit, 2 jobq_mark_exit */
};

static void family_make(struct family *f) {
    memset(f, 0, sizeof *f);
    f->path = test_path("q.db");
    pipe_make(f->ready);
    pipe_make(f->ask);
    pipe_make(f->answer);
    pipe_make(f->never);
}

static void family_free(struct family *f) {
    pipe_free(f->ready);
    pipe_free(f->ask);
    pipe_free(f->answer);
    pipe_free(f->never);
}

static void answer_and_leave(void *arg) {
    struct family *f = (struct family *)arg;
    pipe_hear(f->ask);
    pipe_say(f->answer);
}

static void own_with_child(void *arg) {
    struct family *f = (struct family *)arg;
    jobq *q = open_pool(f->path);
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    start(q);
    put(q, "k");
    test_spawn(answer_and_leave, f);
    pipe_say(f->ready);
    pipe_hear(f->never);
}

/* Goal: an owner that is killed leaves no lock behind, though a child that it forked lives
 * on. Method: kill the owner, open, and only then ask the grandchild, which answers. */
TEST(forked_child_holds_no_lock) {
    struct family f;
    jobq *q;
    pid_t owner;
    int status;
    family_make(&f);
    owner = test_spawn(own_with_child, &f);
    pipe_hear(f.ready);
    kill(owner, SIGKILL);
    status = test_wait(owner);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    q = open_pool(f.path);
    pipe_say(f.ask);
    pipe_hear(f.answer);
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    start(q);
    CHECK_INT(finish(q, put(q, "k")).state, JOBQ_STATE_DONE);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    check_sound(f.path);
    family_free(&f);
}

static void own_until_killed(void *arg) {
    struct family *f = (struct family *)arg;
    jobq_kind kind = {.name = "k", .run = do_nothing, .crashes_max = JOBQ_UNLIMITED};
    jobq *q = open_pool(f->path);
    REQUIRE(q != NULL);
    handle_kind(q, kind);
    start(q);
    pipe_say(f->ready);
    for (;;) put(q, "k");
}

/* Goal: after the owner was killed the next open works at once, and nothing runs or has
 * failed. Method: kill an owner that enqueues and runs, open, close. */
TEST(killed_owner_frees_the_queue) {
    struct family f;
    family_make(&f);
    for (int n = TEST_SCALED(FORKS); n > 0; n--) {
        pid_t owner = test_spawn(own_until_killed, &f);
        jobq *q;
        pipe_hear(f.ready);
        kill(owner, SIGKILL);
        test_wait(owner);
        q = open_pool(f.path);
        REQUIRE(q != NULL);
        CHECK_INT(count_all(q).failed, 0);
        CHECK_INT(count_all(q).running, 0);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
    }
    check_sound(f.path);
    family_free(&f);
}

static jobq_info first_job(jobq *q) {
    jobq_filter filter = {.state = JOBQ_STATE_NONE};
    jobq_cursor cursor = {.done = false};
    jobq_info info = {.state = JOBQ_STATE_NONE};
    size_t count = 0;
    WORKS(jobq_list(q, &filter, &cursor, &info, 1, &count, &err));
    CHECK_INT(count, 1);
    return info;
}

static void leave_by_request(void *arg) {
    struct family *f = (struct family *)arg;
    is_child = true;
    if (f->leaving == 1) exit(test_failures() > 0);
    if (f->leaving == 2) jobq_mark_exit();
}

static void own_a_started_job(void *arg) {
    struct family *f = (struct family *)arg;
    gate g;
    jobq *q = open_pool(f->path);
    REQUIRE(q != NULL);
    gate_init(&g);
    handle(q, "k", stand_at_gate, &g);
    put(q, "k");
    start(q);
    gate_await(&g, 1);
    CHECK_INT(test_fork(leave_by_request, f), 0);
    if (test_failures() == 0) kill(getpid(), SIGKILL);
}

/* Goal: a child that leaves by exit or calls jobq_mark_exit does not release the slots of
 * its parent, which it shares: a later death still counts. Method: such a child while a job
 * runs, then the parent dies; one crash each. */
TEST(exit_of_a_child_marks_nothing) {
    for (int leaving = 0; leaving <= 2; leaving++) {
        struct family f;
        char name[32];
        jobq_info info;
        jobq *q;
        int status;
        family_make(&f);
        snprintf(name, sizeof name, "leave-%d.db", leaving);
        f.path = test_path(name);
        f.leaving = leaving;
        status = test_fork(own_a_started_job, &f);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        q = open_pool(f.path);
        REQUIRE(q != NULL);
        info = first_job(q);
        CHECK_INT(info.state, JOBQ_STATE_PENDING);
        CHECK_INT(info.crashes, 1);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
        family_free(&f);
    }
}

/* ---- Two that want to own ---- */

struct race {
    const char *path;
    struct told *told;
    int which;
    int go[2], opened[2], again[2], leave[2];
};

/* Opens when told to, reports; a loser opens once more, now that the winner surely owns. */
static void race_to_open(void *arg) {
    struct race *race = (struct race *)arg;
    struct told *told = race->told;
    jobq_options options = {.workers = JOBQ_NONE};
    jobq_error err = {0, 0, ""};
    jobq *q = NULL;
    int me = race->which;
    pipe_hear(race->go);
    told->pids[me] = getpid();
    told->codes[me] = jobq_open(race->path, &options, &q, &err);
    pipe_say(race->opened);
    pipe_hear(race->again);
    if (!q) CHECK_CODE(jobq_open(race->path, &options, &q, &err), JOBQ_LOCKED);
    snprintf(told->texts[me], sizeof told->texts[me], "%s", err.text);
    pipe_say(race->opened);
    pipe_hear(race->leave);
    if (q) CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

static void run_race(struct race *race) {
    struct told *told = race->told;
    pid_t pids[2];
    int winner;
    for (race->which = 0; race->which < 2; race->which++)
        pids[race->which] = test_spawn(race_to_open, race);
    for (int i = 0; i < 2; i++) pipe_say(race->go);
    for (int i = 0; i < 2; i++) pipe_hear(race->opened);
    for (int i = 0; i < 2; i++) pipe_say(race->again);
    for (int i = 0; i < 2; i++) pipe_hear(race->opened);
    winner = told->codes[0] == JOBQ_OK ? 0 : 1;
    CHECK_CODE(told->codes[winner], JOBQ_OK);
    CHECK_CODE(told->codes[1 - winner], JOBQ_LOCKED);
    CHECK(names_pid(told->texts[1 - winner], told->pids[winner]));
    for (int i = 0; i < 2; i++) pipe_say(race->leave);
    for (int i = 0; i < 2; i++) CHECK_INT(test_wait(pids[i]), 0);
}

/* Goal: of two processes that open at once exactly one owns, and the other is told who.
 * Method: two children let loose together, on a file that is new and on one that is not. */
TEST(two_processes_race_to_own) {
    struct race race;
    race.told = (struct told *)share(sizeof *race.told);
    pipe_make(race.go);
    pipe_make(race.opened);
    pipe_make(race.again);
    pipe_make(race.leave);
    for (int n = TEST_SCALED(RACES); n > 0 && test_failures() == 0; n--) {
        char name[32];
        snprintf(name, sizeof name, "race-%d.db", n / 2);
        race.path = test_path(name);
        run_race(&race);
    }
    check_sound(race.path);
    pipe_free(race.go);
    pipe_free(race.opened);
    pipe_free(race.again);
    pipe_free(race.leave);
    munmap(race.told, sizeof *race.told);
}

struct rival {
    const char *path;
    pid_t owner;
    int go[2];
};

/* Expects to be refused by an owner that it is told. Runs in the owner or elsewhere. */
static void expect_locked(const char *path, pid_t owner) {
    jobq_options options = {.workers = JOBQ_NONE};
    jobq_error err = {0, 0, ""};
    jobq *q = NULL;
    CHECK_CODE(jobq_open(path, &options, &q, &err), JOBQ_LOCKED);
    CHECK(q == NULL);
    if (!CHECK(names_pid(err.text, owner))) test_note("%s", err.text);
}

static void be_a_rival(void *arg) {
    struct rival *rival = (struct rival *)arg;
    pipe_hear(rival->go);
    expect_locked(rival->path, rival->owner);
}

/* Goal: a link to the file is the same queue, in the same process and from another. Method:
 * own the file, then open it again by its name and through a symbolic link. */
TEST(a_link_is_the_same_queue) {
    const char *paths[2];
    jobq *q;
    paths[0] = test_path("q.db");
    paths[1] = test_path("link.db");
    q = open_pool(paths[0]);
    REQUIRE(q != NULL);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    REQUIRE_INT(symlink("q.db", paths[1]), 0);
    for (int i = 0; i < 2; i++) {
        struct rival rival = {.path = paths[i], .owner = getpid()};
        pid_t pid;
        pipe_make(rival.go);
        pid = test_spawn(be_a_rival, &rival);
        q = open_pool(paths[0]);
        REQUIRE(q != NULL);
        expect_locked(paths[i], getpid());
        pipe_say(rival.go);
        CHECK_INT(test_wait(pid), 0);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
        pipe_free(rival.go);
    }
    check_sound(paths[0]);
}

TEST_MAIN(child_gets_forked_and_touches_nothing, parent_goes_on_after_forks,
          child_may_own_another_queue, forked_child_holds_no_lock, killed_owner_frees_the_queue,
          exit_of_a_child_marks_nothing, two_processes_race_to_own, a_link_is_the_same_queue)
