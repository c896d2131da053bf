/* fork.c - a child that is forked in whatever state of the queue can do nothing with it.
 *
 * Promised: in a child every call says JOBQ_FORKED, at once, whatever the parent's threads were
 * about when it forked, and so does jobq_open of a file that was open then, for SQLite believes in
 * the child to have the parent's locks; the child touches no file, holds no lock, and the parent
 * goes on as if nothing had been. Broken on purpose: children are forked in every state of a queue
 * and in every callback, try every function that takes a queue or a run, open the file anew, and
 * live on while the parent closes and another process takes the queue over. Counted: sums of the
 * files before and after, runs of each job. */
#include "crash.h"

enum { FILES = 3 };

/* ---- The handle in a child ---- */

struct heir {
    jobq *q;
    jobq_run *run; /* whose handler forked, or NULL */
    int64_t id;
    const char *path; /* NULL: in memory */
};

static void try_opening(const char *path) {
    for (int role = JOBQ_OWNER; role <= JOBQ_CLIENT; role++) {
        jobq_options options = {.role = (jobq_role)role, .workers = JOBQ_NONE, .shared = true};
        jobq_error told = {.code = 0};
        jobq *q = NULL;
        CHECK_CODE(jobq_open(path, &options, &q, &told), JOBQ_FORKED);
        CHECK(q == NULL);
        CHECK(strstr(told.text, path) != NULL && strstr(told.text, "exec") != NULL);
    }
}

static void try_writing(jobq *q, int64_t id) {
    jobq_job job = {.kind = "k"};
    jobq_kind kind = {.name = "new", .run = do_nothing};
    jobq_stored result = {.id = 7, .how = JOBQ_KEPT};
    FAILS(JOBQ_FORKED, jobq_register(q, &kind, &err));
    FAILS(JOBQ_FORKED, jobq_enqueue(q, &job, &id, &err));
    FAILS(JOBQ_FORKED, jobq_enqueue_many(q, &job, 1, &result, &err));
    CHECK(result.how == 0 && result.id == 0);
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

/* In the child of a handler. What it says with its outcome nobody will hear. */
static void try_running(jobq_run *run, int64_t id) {
    sqlite3 *db = (sqlite3 *)run;
    size_t size = 77;
    FAILS(JOBQ_FORKED, jobq_run_db(run, &db, &err));
    CHECK(db == NULL);
    FAILS(JOBQ_FORKED, jobq_checkpoint(run, "x", 1, &err));
    CHECK(jobq_run_checkpoint(run, &size) == NULL);
    CHECK_INT(size, 0);
    CHECK(jobq_should_stop(run));
    CHECK(jobq_run_sleep(run, JOBQ_DAY));
    CHECK_INT(jobq_run_id(run), id);
    CHECK_STR(jobq_run_kind(run), "k");
    CHECK_INT(jobq_retry(run, "not heard"), JOBQ_RETRY);
}

static void try_everything(void *arg) {
    struct heir *heir = (struct heir *)arg;
    jobq *q = heir->q;
    is_child = true;
    try_writing(q, heir->id);
    try_reading(q, heir->id);
    try_moving(q);
    if (heir->run) try_running(heir->run, heir->id);
    if (heir->path) try_opening(heir->path);
    CHECK_CODE(jobq_close(&q), JOBQ_FORKED);
    CHECK(q == NULL);
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

/* ---- States of a queue ---- */

/* One queue, and the child that was forked in one of its states and lives on. */
static struct {
    const char *path;
    jobq *q;
    int64_t id;
    pid_t child;
    int tried[2], leave[2];
    gate gate;
    uint64_t *sums; /* shared: of the database, its log and its lock file */
} scene;

/* In a child, because closing a file drops the locks that its process has on it. */
static void sum_files(void *arg) {
    static const char *const endings[FILES] = {"", "-wal", "-jobq"};
    char name[1024];
    (void)arg;
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "%s%s", scene.path, endings[i]);
        scene.sums[i] = sum_file(name);
    }
}

static void try_and_stay(void *arg) {
    try_everything(arg);
    pipe_say(scene.tried);
    pipe_hear(scene.leave);
}

/* To be called in the state, by any thread; nobody else may write meanwhile. */
static void fork_here(jobq_run *run) {
    struct heir heir = {scene.q, run, scene.id, scene.path};
    uint64_t before[FILES];
    CHECK_INT(test_fork(sum_files, NULL), 0);
    memcpy(before, scene.sums, sizeof before);
    scene.child = test_spawn(try_and_stay, &heir);
    pipe_hear(scene.tried);
    CHECK_INT(test_fork(sum_files, NULL), 0);
    for (int i = 0; i < FILES; i++) CHECK(scene.sums[i] == before[i]);
}

static jobq_outcome fork_in_handler(jobq_run *run, void *ctx) {
    (void)ctx;
    fork_here(run);
    return JOBQ_DONE;
}

static jobq_outcome fork_in_transaction(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    (void)ctx;
    WORKS(jobq_run_db(run, &db, &err));
    CHECK_INT(sqlite3_exec(db, "CREATE TABLE mine(n); INSERT INTO mine VALUES(1)", NULL, NULL,
                           NULL), SQLITE_OK);
    fork_here(run);
    return JOBQ_DONE;
}

/* The run waits, so that nothing is written before the callback returns. */
static void fork_at_start(const jobq_event *event, void *ctx) {
    (void)ctx;
    if (event->to != JOBQ_STATE_RUNNING || scene.child) return;
    fork_here(NULL);
    gate_open(&scene.gate);
}

static void fork_at_wake(void *ctx) {
    (void)ctx;
    if (scene.q && !scene.child) fork_here(NULL);
}

static void open_scene(jobq_options options, jobq_handler run) {
    options.durability = JOBQ_RELAXED;
    options.join = true;
    WORKS(jobq_open(scene.path, &options, &scene.q, &err));
    if (!scene.q) return;
    handle(scene.q, "k", run, &scene.gate);
    scene.id = put(scene.q, "k");
}

#define POOL ((jobq_options){.workers = 1})
static void be_open(void) {
    open_scene(POOL, do_nothing);
    fork_here(NULL);
    start(scene.q);
}

static void be_idle(void) {
    open_scene(POOL, do_nothing);
    start(scene.q);
    finish(scene.q, scene.id);
    fork_here(NULL);
}

static void be_in_handler(void) {
    open_scene(POOL, fork_in_handler);
    start(scene.q);
}

static void be_beside_handler(void) {
    open_scene(POOL, stand_at_gate);
    start(scene.q);
    gate_await(&scene.gate, 1);
    fork_here(NULL);
    gate_open(&scene.gate);
}

static void be_in_transaction(void) {
    open_scene(POOL, fork_in_transaction);
    start(scene.q);
}

static void be_in_event(void) {
    open_scene((jobq_options){.workers = 1, .on_event = fork_at_start}, stand_at_gate);
    start(scene.q);
}

static void be_in_wake(void) {
    open_scene((jobq_options){.workers = JOBQ_NONE, .on_wake = fork_at_wake}, do_nothing);
    drain(scene.q);
}

static void be_stepping(void) {
    open_scene(STEP, fork_in_handler);
    drain(scene.q);
}

static void be_stepping_in_transaction(void) {
    open_scene(STEP, fork_in_transaction);
    drain(scene.q);
}

static void be_stopping(void) {
    open_scene(POOL, stand_at_gate);
    start(scene.q);
    gate_await(&scene.gate, 1);
    CHECK_CODE(jobq_stop(scene.q, JOBQ_NONE, NULL), JOBQ_TIMEOUT);
    fork_here(NULL);
    gate_open(&scene.gate);
}

static void be_stopped(void) {
    open_scene(POOL, do_nothing);
    start(scene.q);
    finish(scene.q, scene.id);
    WORKS(jobq_stop(scene.q, JOBQ_NEVER, &err));
    fork_here(NULL);
    start(scene.q);
}

static const struct {
    const char *name;
    void (*enter)(void); /* opens, forks in the state, and sees to it that the job will be done */
    bool steps;          /* done already: nobody could wait for it */
} states[] = {
    {"open", be_open, false},
    {"idle", be_idle, false},
    {"in a handler", be_in_handler, false},
    {"beside a handler", be_beside_handler, false},
    {"in a job's transaction", be_in_transaction, false},
    {"in on_event", be_in_event, false},
    {"in on_wake", be_in_wake, true},
    {"stepping", be_stepping, true},
    {"stepping, in a transaction", be_stepping_in_transaction, true},
    {"stopping", be_stopping, false},
    {"stopped", be_stopped, false},
};
enum { STATES = sizeof states / sizeof states[0] };

/* Owns after the parent, while the child lives. */
static void take_over(void *arg) {
    jobq *q = open_pool(scene.path, JOBQ_NONE);
    (void)arg;
    REQUIRE(q != NULL);
    run_one_and_close(&q);
    check_sound(scene.path);
}

static void play_state(int which) {
    char name[32];
    snprintf(name, sizeof name, "state-%d.db", which);
    scene.path = test_path(name);
    scene.q = NULL;
    scene.child = 0;
    pipe_make(scene.tried);
    pipe_make(scene.leave);
    gate_init(&scene.gate);
    states[which].enter();
    if (!states[which].steps) CHECK_INT(finish(scene.q, scene.id).state, JOBQ_STATE_DONE);
    CHECK_INT(look(scene.q, scene.id).runs, 1);
    CHECK_INT(look(scene.q, scene.id).crashes, 0);
    CHECK_CODE(jobq_close(&scene.q), JOBQ_OK);
    CHECK_INT(test_fork(take_over, NULL), 0);
    REQUIRE(scene.child > 0);
    pipe_say(scene.leave);
    CHECK_INT(test_wait(scene.child), 0);
    gate_free(&scene.gate);
    pipe_free(scene.tried);
    pipe_free(scene.leave);
}

/* Goal: in a child, forked in any state, every call says JOBQ_FORKED and changes no file; the
 * parent goes on, and when it has closed another process owns the queue although the child lives.
 * Method: a state after the other; sums of the files before and after what the child tries. */
TEST(children_of_every_state) {
    scene.sums = (uint64_t *)share(FILES * sizeof *scene.sums);
    for (int i = 0; i < STATES; i++) {
        int before = test_failures();
        play_state(i);
        if (test_failures() > before) test_note("forked %s", states[i].name);
    }
    munmap(scene.sums, FILES * sizeof *scene.sums);
    test_figure("forked child", "JOBQ_FORKED, no lock held, files untouched",
                "%d states of a queue", (int)STATES);
}

/* Goal: the same for a client's handle and for a queue in memory. Method: the same calls. */
TEST(children_of_clients_and_of_memory) {
    jobq_options options = {.workers = JOBQ_NONE, .shared = true};
    const char *path = test_path("q.db");
    struct heir heir = {NULL, NULL, 1, NULL};
    WORKS(jobq_open(path, &options, &heir.q, &err));
    CHECK_CODE(jobq_close(&heir.q), JOBQ_OK);
    for (int i = 0; i < 2; i++) {
        options.role = i == 0 ? JOBQ_CLIENT : JOBQ_OWNER;
        heir.path = i == 0 ? path : NULL;
        WORKS(jobq_open(i == 0 ? path : ":memory:", &options, &heir.q, &err));
        REQUIRE(heir.q != NULL);
        CHECK_INT(test_fork(try_everything, &heir), 0);
        CHECK_INT(total(heir.q), 0);
        CHECK_CODE(jobq_close(&heir.q), JOBQ_OK);
    }
}

static void inherit_from_both(void *arg) {
    try_opening((const char *)arg);
    try_opening(test_path("own.db"));
}

/* Opens a queue of its own, and is refused the parent's by each of its names; the child that it
 * forks is refused both. */
static void own_another(void *arg) {
    jobq *q;
    try_opening((const char *)arg);
    FAILS(JOBQ_FORKED, jobq_open(test_path("link.db"), &STEP, &q, &err));
    q = open_queue_at(test_path("own.db"), STEP);
    REQUIRE(q != NULL);
    CHECK_INT(test_fork(inherit_from_both, arg), 0);
    run_one_and_close(&q);
    try_opening((const char *)arg);
}

/* Goal: a forked child may own a queue of its own, but not the parent's; once that is closed, it
 * may own that too. Method: children of a process whose queue is open and at rest, so that no
 * thread of it is inside SQLite, and of one that has closed it. */
TEST(child_may_own_another_queue) {
    const char *path = test_path("q.db");
    jobq *q = open_pool(path, 2);
    REQUIRE(q != NULL);
    REQUIRE_INT(symlink("q.db", test_path("link.db")), 0);
    handle(q, "k", do_nothing, NULL);
    start(q);
    WORKS(jobq_stop(q, JOBQ_NEVER, &err));
    CHECK_INT(test_fork(own_another, (void *)(uintptr_t)path), 0);
    start(q);
    CHECK_INT(finish(q, put(q, "k")).state, JOBQ_STATE_DONE);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    check_sound(path);
    scene.path = path;
    CHECK_INT(test_fork(take_over, NULL), 0);
    q = open_pool(path, 2);
    CHECK_INT(total(q), 2);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Inside SQLite, which has its lists and its memory locked, until it is told to go on. */
static void *stand_in_sqlite(void *arg) {
    sqlite3_mutex *lists = sqlite3_mutex_alloc(SQLITE_MUTEX_STATIC_MAIN);
    sqlite3_mutex *memory = sqlite3_mutex_alloc(SQLITE_MUTEX_STATIC_MEM);
    sqlite3_mutex_enter(lists);
    sqlite3_mutex_enter(memory);
    gate_pass((gate *)arg);
    sqlite3_mutex_leave(memory);
    sqlite3_mutex_leave(lists);
    return NULL;
}

static void open_in_time(void *arg) {
    jobq *q;
    alarm(60); /* SQLite would never return */
    try_opening((const char *)arg);
    FAILS(JOBQ_FORKED, jobq_open(test_path("link.db"), &STEP, &q, &err));
}

/* Goal: a child is refused what its parent had open even if another thread of that was inside
 * SQLite at the fork, where nobody will ever let go of what it had locked. Method: a thread locks
 * SQLite's mutexes, and the process forks; by both names of the file. */
TEST(child_is_refused_without_a_look_at_sqlite) {
    const char *path = test_path("q.db");
    jobq *q = open_queue_at(path, STEP);
    pthread_t thread;
    pid_t child;
    gate g;
    REQUIRE(q != NULL);
    REQUIRE_INT(symlink("q.db", test_path("link.db")), 0);
    gate_init(&g);
    thread = thread_start(stand_in_sqlite, &g);
    gate_await(&g, 1);
    child = test_spawn(open_in_time, (void *)(uintptr_t)path);
    gate_open(&g);
    pthread_join(thread, NULL);
    CHECK_INT(test_wait(child), 0);
    close_queue(&q);
    gate_free(&g);
}

TEST_MAIN(children_of_every_state, children_of_clients_and_of_memory, child_may_own_another_queue,
          child_is_refused_without_a_look_at_sqlite)
