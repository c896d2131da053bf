/* owner.c - one owner at a time: dead owners, the children they leave, and races to own.
 *
 * Promised: ownership ends with the owner, whatever children and programs it has started live on;
 * a child that leaves does not speak for its parent; of those that want to own a file one does,
 * and the others are told which. Broken on purpose: owners are killed beside children that live,
 * and several processes, and another copy of the library, want the same file at once. Counted: who
 * got it, and the process that the others were told. */
#include "crash.h"

#include <spawn.h>
#include <sys/file.h>
#include <fcntl.h>

enum { DEATHS = 8, RACES = 25, RACERS = 6 };

extern char **environ;

/* Opens after somebody else, and runs a job. */
static void check_works(const char *path) {
    jobq *q = open_pool(path, 2);
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    start(q);
    CHECK_INT(finish(q, put(q, "k")).state, JOBQ_STATE_DONE);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    check_sound(path);
}

static bool names_pid(const char *text, pid_t pid) {
    char wanted[32];
    snprintf(wanted, sizeof wanted, "%ld", (long)pid);
    return strstr(text, wanted) != NULL;
}

/* ---- The owner dies ---- */

struct family {
    const char *path;
    int ready[2], ask[2], answer[2], never[2];
    int leaving; /* how the grandchild leaves: 0 _exit, 1 exit, 2 jobq_mark_exit */
};

static void say(int ends[2], int times) {
    while (times-- > 0) pipe_say(ends);
}

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

/* Only what it says itself shows that it has let go of what it inherited. */
static void answer_and_leave(void *arg) {
    struct family *f = (struct family *)arg;
    pipe_say(f->ready);
    pipe_hear(f->ask);
    pipe_say(f->answer);
}

static void own_with_child(void *arg) {
    struct family *f = (struct family *)arg;
    jobq *q = open_pool(f->path, 2);
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    start(q);
    put(q, "k");
    test_spawn(answer_and_leave, f);
    pipe_hear(f->never);
}

/* An owner that is killed leaves no lock behind, though what it began lives on. */
static void check_lock_goes(void (*own)(void *arg)) {
    struct family f;
    pid_t owner;
    family_make(&f);
    owner = test_spawn(own, &f);
    pipe_hear(f.ready);
    kill(owner, SIGKILL);
    CHECK(was_killed(test_wait(owner)));
    check_works(f.path);
    pipe_say(f.ask);
    pipe_hear(f.answer);
    family_free(&f);
}

/* Goal: a child that the owner forked does not keep its lock. Method: kill the owner, open, and
 * only then ask the grandchild, which answers. */
TEST(forked_child_holds_no_lock) {
    check_lock_goes(own_with_child);
}

/* Starts cat, which answers what it is asked, in the way that runs no fork handlers. */
static void own_with_program(void *arg) {
    struct family *f = (struct family *)arg;
    char name[] = "cat", *words[2] = {name, NULL};
    posix_spawn_file_actions_t actions;
    jobq *q = open_pool(f->path, 2);
    pid_t pid;
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    start(q);
    put(q, "k");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, f->ask[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, f->answer[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, f->ask[1]); /* or it would never end */
    CHECK_INT(posix_spawnp(&pid, name, &actions, NULL, words, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    pipe_say(f->ask);
    pipe_hear(f->answer);
    if (test_failures() > 0) exit(1);
    pipe_say(f->ready);
    pipe_hear(f->never);
}

/* Goal: the same with a program that the owner has started. Method: the same with cat. */
TEST(started_program_holds_no_lock) {
    check_lock_goes(own_with_program);
}

static void own_until_killed(void *arg) {
    struct family *f = (struct family *)arg;
    jobq_kind kind = {.name = "k", .run = do_nothing, .crashes_max = JOBQ_UNLIMITED};
    jobq *q = open_pool(f->path, 2);
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
    for (int n = TEST_SCALED(DEATHS); n > 0; n--) {
        pid_t owner = test_spawn(own_until_killed, &f);
        jobq *q;
        pipe_hear(f.ready);
        kill(owner, SIGKILL);
        test_wait(owner);
        q = open_pool(f.path, 2);
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
    jobq *q = open_pool(f->path, 2);
    REQUIRE(q != NULL);
    start_with_one_at(&g, q, "k");
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
        CHECK(was_killed(status));
        q = open_pool(f.path, 2);
        REQUIRE(q != NULL);
        info = first_job(q);
        CHECK_INT(info.state, JOBQ_STATE_PENDING);
        CHECK_INT(info.crashes, 1);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
        family_free(&f);
    }
}

/* ---- Several that want to own ---- */

struct told {
    int codes[RACERS];
    pid_t pids[RACERS];
    char texts[RACERS][sizeof((jobq_error *)0)->text];
};

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
    jobq_options options = {.workers = JOBQ_NONE, .durability = JOBQ_RELAXED};
    jobq_error err = {.code = 0};
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
    pid_t pids[RACERS];
    int winner = 0, winners = 0;
    for (race->which = 0; race->which < RACERS; race->which++)
        pids[race->which] = test_spawn(race_to_open, race);
    say(race->go, RACERS);
    hear(race->opened, RACERS);
    say(race->again, RACERS);
    hear(race->opened, RACERS);
    for (int i = 0; i < RACERS; i++) {
        if (told->codes[i] == JOBQ_OK) winner = i, winners++;
        else CHECK_CODE(told->codes[i], JOBQ_LOCKED);
    }
    CHECK_INT(winners, 1);
    for (int i = 0; i < RACERS; i++)
        if (i != winner) CHECK(names_pid(told->texts[i], told->pids[winner]));
    say(race->leave, RACERS);
    for (int i = 0; i < RACERS; i++) CHECK_INT(test_wait(pids[i]), 0);
}

/* Goal: of several processes that open at once exactly one owns, and the others are told who.
 * Method: children let loose together, on a file that is new and on one that is not. */
TEST(one_of_many_openers_owns) {
    struct race race;
    int64_t races = test_effort(RACES);
    race.told = (struct told *)share(sizeof *race.told);
    pipe_make(race.go);
    pipe_make(race.opened);
    pipe_make(race.again);
    pipe_make(race.leave);
    race.path = test_path("race.db");
    for (int64_t n = 0; n < races && test_failures() == 0; n++) {
        if (n % 2 == 0) remove_queue(race.path);
        run_race(&race);
    }
    check_sound(race.path);
    pipe_free(race.go);
    pipe_free(race.opened);
    pipe_free(race.again);
    pipe_free(race.leave);
    munmap(race.told, sizeof *race.told);
    test_figure("owners, several at once", "exactly one owns, the others are told which",
                "%" PRId64 " races of %d processes", races, RACERS);
}

struct rival {
    const char *path;
    pid_t owner;
    int go[2];
};

/* Expects to be refused by an owner that it is told. Runs in the owner or elsewhere. */
static void expect_locked(const char *path, pid_t owner) {
    jobq_options options = {.workers = JOBQ_NONE};
    jobq_error err = {.code = 0};
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
    q = open_pool(paths[0], 2);
    REQUIRE(q != NULL);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    REQUIRE_INT(symlink("q.db", paths[1]), 0);
    for (int i = 0; i < 2; i++) {
        struct rival rival = {.path = paths[i], .owner = getpid()};
        pid_t pid;
        pipe_make(rival.go);
        pid = test_spawn(be_a_rival, &rival);
        q = open_pool(paths[0], 2);
        REQUIRE(q != NULL);
        expect_locked(paths[i], getpid());
        pipe_say(rival.go);
        CHECK_INT(test_wait(pid), 0);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
        pipe_free(rival.go);
    }
    check_sound(paths[0]);
}

static void own_it_all(void *arg) {
    struct family *f = (struct family *)arg;
    jobq_options options = {.workers = JOBQ_NONE, .exclusive = true};
    jobq *q = open_queue_at(f->path, options);
    REQUIRE(q != NULL);
    put(q, "k");
    pipe_say(f->ready);
    pipe_hear(f->never);
}

/* Goal: an owner that had the file for itself and was killed keeps nobody out: the lock went with
 * it, whatever its page says still. Method: a client knocks, again when the owner is dead. */
TEST(exclusive_owner_that_was_killed) {
    jobq_options options = {.role = JOBQ_CLIENT, .shared = true};
    struct family f;
    jobq *q = NULL;
    pid_t owner;
    family_make(&f);
    owner = test_spawn(own_it_all, &f);
    pipe_hear(f.ready);
    FAILS(JOBQ_LOCKED, jobq_open(f.path, &options, &q, &err));
    kill(owner, SIGKILL);
    CHECK(was_killed(test_wait(owner)));
    WORKS(jobq_open(f.path, &options, &q, &err));
    REQUIRE(q != NULL);
    CHECK_INT(put(q, "k"), 2);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    check_works(f.path);
    family_free(&f);
}

/* Goal: another copy of the library in this process, which shares no variable with ours, can
 * neither own the file beside us nor take our lock away by leaving. Method: what it would do to the
 * lock file: open it, lock it, close it. */
TEST(another_copy_in_this_process_is_locked_out) {
    const char *path = test_path("q.db");
    struct rival rival = {.path = path, .owner = getpid()};
    char strange[12] = "jobq-9l"; /* a mark that is not of this version, and a number */
    int32_t number = 12345;
    jobq_error told = {.code = 0};
    jobq *q;
    pid_t pid;
    int fd;
    pipe_make(rival.go);
    pid = test_spawn(be_a_rival, &rival);
    q = open_pool(path, 2);
    REQUIRE(q != NULL);
    fd = open(test_path("q.db-jobq"), O_RDWR);
    CHECK(flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK);
    close(fd);
    pipe_say(rival.go);
    CHECK_INT(test_wait(pid), 0);
    pipe_free(rival.go);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    fd = open(test_path("q.db-jobq"), O_RDWR);
    CHECK_INT(flock(fd, LOCK_EX | LOCK_NB), 0);
    /* The page names us, but this process has no handle that could be closed. */
    CHECK_CODE(jobq_open(path, NULL, &q, &told), JOBQ_LOCKED);
    if (!CHECK(strstr(told.text, "container") != NULL)) test_note("%s", told.text);
    CHECK_INT(told.id, getpid());
    memcpy(strange + 8, &number, sizeof number);
    CHECK_INT(pwrite(fd, strange, sizeof strange, 0), (int)sizeof strange);
    CHECK_CODE(jobq_open(path, NULL, &q, &told), JOBQ_LOCKED);
    CHECK_INT(told.id, 0);
    CHECK(strstr(told.text, "12345") == NULL);
    close(fd);
    check_works(path);
}

TEST_MAIN(forked_child_holds_no_lock, started_program_holds_no_lock, killed_owner_frees_the_queue,
          exit_of_a_child_marks_nothing, one_of_many_openers_owns, a_link_is_the_same_queue,
          exclusive_owner_that_was_killed, another_copy_in_this_process_is_locked_out)
