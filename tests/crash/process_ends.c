/* process_ends.c - processes that end on purpose, and jobs that had returned: nobody is charged.
 *
 * Promised: what jobq_mark_exit, exit() or the grace of a stop has let go loses none of its crash
 * chances when the process ends, however it does; neither does a job that had returned but whose
 * outcome was not on the disk yet. All of them run again. Broken on purpose: the process ends in
 * each way beside handlers that run. Counted: crashes and starts, by the handlers themselves. */
#include "crash_lives.h"

#include <poll.h>

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

/* Calls a library that ends the process as if it were its own. */
static jobq_outcome run_quitter(jobq_run *run, void *ctx) {
    (void)ctx;
    if (count_start(run) == 1) hear(play.started, HOLDERS);
    if (!play.cured) exit(7);
    return JOBQ_DONE;
}

/* Runs a queue of its own in between. */
static jobq_outcome run_nesting(jobq_run *run, void *ctx) {
    jobq_options options = {.workers = JOBQ_NONE};
    jobq *q = NULL;
    (void)ctx;
    count_start(run);
    WORKS(jobq_open(":memory:", &options, &q, &err));
    handle(q, "inner", do_nothing, NULL);
    put(q, "inner");
    CHECK_INT(drain(q), 1);
    close_queue(&q);
    if (!play.cured) exit(7);
    return JOBQ_DONE;
}

/* The same after it was said that the process ends: by a signal's handler, on this very thread. */
static jobq_outcome run_polite(jobq_run *run, void *ctx) {
    (void)ctx;
    count_start(run);
    if (play.cured) return JOBQ_DONE;
    hear(play.started, HOLDERS);
    raise(SIGTERM);
    exit(7);
}

/* Stays at its first start, and is then a good job. */
static jobq_outcome run_patient(jobq_run *run, void *ctx) {
    (void)ctx;
    if (count_start(run) > 1) return JOBQ_DONE;
    pipe_say(play.started);
    pipe_hear(play.never);
    return JOBQ_DONE;
}

static const jobq_kind kinds[] = {
    {.name = "good", .run = run_good},
    {.name = "hold", .run = run_hold},
    {.name = "leave", .run = run_leave},
    {.name = "quitter", .run = run_quitter},
    {.name = "nesting", .run = run_nesting},
    {.name = "polite", .run = run_polite},
    {.name = "patient", .run = run_patient},
    {.name = "first", .run = run_first},
};

static void begin_with(int workers) {
    begin(workers, kinds, sizeof kinds / sizeof kinds[0]);
}

/* ---- Ends on purpose ---- */

static void check_nobody_charged(void) {
    look_at_all();
    check_waiting(0, play.jobs, 0);
    live_cured();
    check_done(0, play.jobs, 0);
}

/* Goal: after jobq_mark_exit the end of the process charges nobody. Method: a handler
 * calls it and then _exit, beside three that run. */
TEST(mark_exit_charges_nobody) {
    begin_with(HOLDERS + 1);
    add("hold", -2, HOLDERS);
    add("leave", -1, 1);
    add("good", 0, 10);
    fill_queue();
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
    begin_with(1);
    add("first", -2, 1);
    add("hold", -1, 1);
    fill_queue();
    CHECK(died(test_fork(mark_and_linger, NULL)));
    look_at_all();
    CHECK_INT(stage->infos[0].crashes, 0);
    check_waiting(1, 2, 0);
    live_cured();
    check_done(0, play.jobs, 0);
    end();
}

/* As above, but the process goes on, and says so. */
static void mark_and_stay(void *arg) {
    jobq *q = start_queue();
    (void)arg;
    REQUIRE(q != NULL);
    pipe_hear(play.started);
    jobq_mark_exit();
    WORKS(jobq_start(q, &err));
    pipe_say(play.go);
    pipe_hear(play.started);
    if (test_failures() > 0) _exit(1);
    die_kill();
}

/* Goal: jobq_start ends what jobq_mark_exit began, also of a pool that runs. Method: the same, and
 * jobq_start before the second job starts: this one is charged. */
TEST(start_of_a_running_pool_ends_the_mark) {
    begin_with(1);
    add("first", -2, 1);
    add("hold", -1, 1);
    fill_queue();
    CHECK(died(test_fork(mark_and_stay, NULL)));
    look_at_all();
    CHECK_INT(stage->infos[0].crashes, 0);
    CHECK_INT(stage->infos[1].crashes, 1);
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
    begin_with(HOLDERS);
    add("hold", -2, HOLDERS);
    add("good", 0, 10);
    fill_queue();
    CHECK_INT(test_fork(exit_beside_handlers, NULL), 0);
    CHECK_INT(stage->total_starts, HOLDERS);
    check_nobody_charged();
    end();
}

/* Goal: a handler that calls exit() is charged for it and has failed after three; who runs beside
 * it is not charged. Method: three that stand beside it, and good jobs that are done in the end. */
TEST(exit_in_a_handler_is_charged_to_it_alone) {
    begin_with(HOLDERS + 1);
    add("patient", -2, HOLDERS);
    add("quitter", -1, 1);
    add("good", 0, 10);
    fill_queue();
    for (int life = 1; life <= 3; life++) {
        CHECK(died(test_fork(run_all, NULL)));
        look_at_all();
        for (int n = 0; n < play.jobs; n++)
            CHECK_INT(stage->infos[n].crashes, n == HOLDERS ? life : 0);
    }
    CHECK_INT(live_until_well(), 0);
    look_at_all();
    check_failed(HOLDERS, 3);
    CHECK_INT(stage->starts[HOLDERS], 3);
    check_done(0, HOLDERS, 0);
    check_done(HOLDERS + 1, play.jobs, 0);
    end();
}

static void step_all(void *arg) {
    (void)arg;
    left_open = open_queue(JOBQ_NONE);
    REQUIRE(left_open != NULL);
    for (size_t i = 0; i < play.kinds_count; i++) handle_kind(left_open, play.kinds[i]);
    for (int i = 0; i < HOLDERS; i++) pipe_say(play.started);
    WORKS(jobq_run_until_idle(left_open, NULL, &err));
    close_queue(&left_open);
}

/* In step mode the handler's thread is the application's. */
static void exit_when_stepped(const char *kind) {
    begin_with(JOBQ_NONE);
    add(kind, -1, 1);
    add("good", 0, 3);
    fill_queue();
    for (int life = 1; life <= 3; life++) {
        CHECK(died(test_fork(step_all, NULL)));
        look_at_all();
        CHECK_INT(stage->infos[0].crashes, life);
    }
    CHECK_INT(test_fork(step_all, NULL), 0);
    look_at_all();
    check_failed(0, 3);
    check_done(1, play.jobs, 0);
    end();
}

/* Goal: the same in step mode, also for a handler that has run another queue's job meanwhile. */
TEST(exit_in_a_stepped_handler_is_charged) {
    exit_when_stepped("quitter");
    exit_when_stepped("nesting");
}

static void on_term(int signal_number) {
    (void)signal_number;
    jobq_mark_exit();
}

static void run_all_with_term(void *arg) {
    signal(SIGTERM, on_term);
    run_all(arg);
}

/* Goal: once jobq_mark_exit was called, also by a signal's handler on a handler's own thread,
 * exit() in a handler charges nobody. */
TEST(exit_after_mark_exit_charges_nobody) {
    begin_with(HOLDERS + 1);
    add("hold", -2, HOLDERS);
    add("polite", -1, 1);
    add("good", 0, 10);
    fill_queue();
    CHECK(died(test_fork(run_all_with_term, NULL)));
    CHECK_INT(stage->total_starts, HOLDERS + 1);
    check_nobody_charged();
    end();
}

/* A life that ends beside three handlers, in every way to die. */
static void nobody_is_charged(void (*life)(void *arg)) {
    for (size_t i = 0; i < WAYS; i++) {
        begin_with(HOLDERS);
        play.die = ways[i];
        add("hold", -2, HOLDERS);
        add("good", 0, 10);
        fill_queue();
        CHECK(died(live_through(life, NULL)));
        CHECK_INT(stage->total_starts, HOLDERS);
        check_nobody_charged();
        end();
    }
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
    nobody_is_charged(stop_and_die);
}

/* What the lock file says of the runs of three workers, which outlives the process. */
enum { SLOTS_FROM = 80, SLOT = 16 };
struct evidence {
    char of[HOLDERS][SLOT];
};

static struct evidence read_evidence(void) {
    struct evidence e;
    char name[1024];
    FILE *file;
    memset(&e, 0, sizeof e);
    snprintf(name, sizeof name, "%s-jobq", play.path);
    file = fopen(name, "rb");
    if (!CHECK(file != NULL)) return e;
    CHECK(fseek(file, SLOTS_FROM, SEEK_SET) == 0 && fread(&e, sizeof e, 1, file) == 1);
    fclose(file);
    return e;
}

/* Dies beside a close that waits for three handlers, as soon as it has said of each that it does.
 * Callers and handlers hear of the close a moment before. */
static void close_and_die(void *arg) {
    enum { ENOUGH = 20000 }; /* milliseconds; then it has not, and those who run are charged */
    struct evidence before, now;
    int changed = 0;
    jobq *q = start_queue();
    (void)arg;
    REQUIRE(q != NULL);
    hear(play.started, HOLDERS);
    before = read_evidence();
    thread_start(close_in_thread, q);
    for (int looks = 0; changed < HOLDERS && looks < ENOUGH; looks++) {
        test_pause_ms(1);
        now = read_evidence();
        changed = 0;
        for (int i = 0; i < HOLDERS; i++)
            changed += memcmp(before.of[i], now.of[i], SLOT) != 0;
    }
    play.die();
}

/* Goal: handlers for which a close waits are not charged either. */
TEST(close_charges_nobody) {
    nobody_is_charged(close_and_die);
}

/* ---- A signal beside a close ---- */

struct marker {
    pthread_mutex_t mutex;
    bool end;
};

static void *mark_until_end(void *arg) {
    struct marker *m = (struct marker *)arg;
    bool end = false;
    while (!end) {
        for (int i = 0; i < 1000; i++) jobq_mark_exit();
        pthread_mutex_lock(&m->mutex);
        end = m->end;
        pthread_mutex_unlock(&m->mutex);
    }
    return NULL;
}

/* Goal: jobq_mark_exit touches nothing that a close on another thread gives back. Method: a thread
 * marks all the time, as signals would, another opens and closes queues in files and in memory. */
TEST(mark_exit_beside_close) {
    struct marker m = {PTHREAD_MUTEX_INITIALIZER, false};
    pthread_t thread;
    thread = thread_start(mark_until_end, &m);
    for (int i = TEST_SCALED(1000); i > 0; i--) {
        jobq_options options = {.workers = JOBQ_NONE};
        jobq *q = NULL;
        CHECK_CODE(jobq_open(i % 2 ? ":memory:" : test_path("q.db"), &options, &q, NULL), JOBQ_OK);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
    }
    pthread_mutex_lock(&m.mutex);
    m.end = true;
    pthread_mutex_unlock(&m.mutex);
    pthread_join(thread, NULL);
}

/* ---- The process before ---- */

static void die_beside_handlers(void *arg) {
    jobq *q = start_queue();
    (void)arg;
    REQUIRE(q != NULL);
    hear(play.started, HOLDERS);
    if (test_failures() > 0) _exit(1);
    die_kill();
}

/* The reader is opened when the file is owned, and before the recovery. */
static int leave_at_reader(sqlite3 *db, jobq_connection which, jobq_stage stage_of, jobq_error *e,
                           void *ctx) {
    (void)db;
    (void)stage_of;
    (void)e;
    if (which != JOBQ_CONNECTION_READER) return 0;
    if (*(const bool *)ctx) exit(7);
    jobq_mark_exit();
    die_kill();
    return 0;
}

static void end_while_opening(void *arg) {
    jobq_options options = {.workers = 1, .join = true, .shared = true, .ctx = arg};
    jobq *q = NULL;
    options.on_connect = leave_at_reader;
    be_a_child();
    jobq_open(play.path, &options, &q, NULL);
    test_give_up("this process has not ended");
}

/* Goal: who ends while it opens lets go of its own runs, of which there are none, and not of those
 * by which the process before has died. Method: handlers run when their process is killed; the
 * next one ends on purpose within jobq_open, each way; they are charged all the same. */
TEST(end_while_opening_hides_no_death) {
    for (int i = 0; i < 2; i++) {
        bool by_exit = i == 1;
        int status;
        begin_with(HOLDERS);
        add("hold", 0, HOLDERS);
        fill_queue();
        CHECK(died(test_fork(die_beside_handlers, NULL)));
        status = test_fork(end_while_opening, &by_exit);
        if (by_exit) CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
        else CHECK(died(status));
        look_at_all();
        for (int n = 0; n < play.jobs; n++) CHECK_INT(stage->infos[n].crashes, 1);
        live_cured();
        end();
    }
}

enum { CLOSES, STOPS, REPAIRS, ENDS, DAMAGED_WAYS };

/* It opens the damaged file, where nothing was recovered, and leaves it. */
static void leave_the_damaged(void *arg) {
    jobq_options options = {.workers = 1, .damaged = true};
    int way = *(const int *)arg;
    jobq *q = NULL;
    be_a_child();
    WORKS(jobq_open(play.path, &options, &q, &err));
    REQUIRE(q != NULL);
    CHECK_INT(stats_of(q).failed_code, JOBQ_CORRUPT);
    if (way == STOPS) jobq_stop(q, JOBQ_NONE, NULL);
    if (way == REPAIRS) WORKS(jobq_check(q, true, NULL, NULL, NULL, &err));
    if (way == ENDS) jobq_mark_exit();
    if (way != ENDS) jobq_close(&q);
    _exit(test_failures() ? 1 : 0);
}

/* Goal: nor does who opens a damaged file to look at it, and recovers nothing. Method: as above,
 * with a row that recovery takes for damage; what it has opened is closed, stopped, repaired, or
 * ended with its process; then the damage is gone, and they are charged all the same. */
TEST(damaged_hides_no_death) {
    for (int way = 0; way < DAMAGED_WAYS; way++) {
        begin_with(HOLDERS);
        add("hold", 0, HOLDERS);
        fill_queue();
        CHECK(died(test_fork(die_beside_handlers, NULL)));
        sql_run(play.path, "INSERT INTO jobq_extra(job) VALUES(100000)");
        CHECK_INT(test_fork(leave_the_damaged, &way), 0);
        if (way == REPAIRS) CHECK_INT(sql_int(play.path, "SELECT count(*) FROM jobq_extra"), 0);
        sql_run(play.path, "DELETE FROM jobq_extra");
        look_at_all();
        for (int n = 0; n < play.jobs; n++)
            if (!CHECK_INT(stage->infos[n].crashes, 1)) test_note("way %d", way);
        live_cured();
        end();
    }
}

/* ---- Outcomes that are not on the disk ---- */

/* Holds the database while the first job returns, so that its outcome cannot commit; the
 * start of the second on the only worker shows that the first has returned. */
static void die_before_commit(void *arg) {
    struct pollfd second = {.fd = play.started[0], .events = POLLIN};
    jobq *q = start_queue();
    (void)arg;
    REQUIRE(q != NULL);
    pipe_hear(play.started);
    take_the_file(play.path);
    pipe_say(play.go);
    if (poll(&second, 1, 3000) != 1)
        test_note("the worker waited for its commit; only the first job is told about");
    if (test_failures() > 0) _exit(1);
    die_kill();
}

/* Goal: a job that has finished but whose outcome is not committed is run again and not
 * charged. Method: another connection keeps the outcome from the disk until the death. */
TEST(finished_but_not_committed_is_not_charged) {
    begin_with(1);
    play.busy_ms = 300;
    add("first", -2, 1);
    add("hold", -1, 1);
    add("good", 0, 5);
    fill_queue();
    CHECK(died(test_fork(die_before_commit, NULL)));
    look_at_all();
    CHECK_INT(stage->starts[0], 1);
    CHECK_INT(stage->infos[0].state, JOBQ_STATE_PENDING);
    CHECK_INT(stage->infos[0].crashes, 0);
    CHECK_INT(stage->infos[0].attempt, 1);
    check_waiting(1, 2, stage->starts[1]);
    check_waiting(2, play.jobs, 0);
    live_cured();
    check_done(0, 1, 0);
    check_done(1, 2, 1);
    check_done(2, play.jobs, 0);
    end();
}

/* ---- A job that had returned, and its outcome is not on the disk ---- */

/* Takes the file, so that what comes of this job cannot be written. */
static jobq_outcome run_then_blocked(jobq_run *run, void *ctx) {
    (void)run;
    take_the_file((const char *)ctx);
    return JOBQ_DONE; /* the connection lives as long as the process */
}

static void end_with_an_outcome(void *arg) {
    jobq_options options = {.workers = JOBQ_NONE, .busy_ms = JOBQ_NONE, .shared = true};
    jobq_kind kind = {.name = "k", .run = run_then_blocked};
    jobq_job job = {.kind = "k"};
    int status = 0;
    jobq *q = NULL;
    kind.ctx = arg;
    REQUIRE_CODE(jobq_open((const char *)arg, &options, &q, NULL), JOBQ_OK);
    CHECK_CODE(jobq_register(q, &kind, NULL), JOBQ_OK);
    CHECK_CODE(jobq_enqueue(q, &job, NULL, NULL), JOBQ_OK);
    CHECK_CODE(jobq_step(q, &status, NULL), JOBQ_BUSY);
    _exit(test_failures() ? 1 : 0);
}

/* Goal: a job whose handler has returned is not to blame for the death of its process, although
 * its outcome could not be written. Method: the handler itself takes the file, so the step ends
 * with BUSY and the row stays claimed; then the process ends. */
TEST(returned_job_is_not_blamed) {
    const char *path = test_path("q.db");
    jobq_options options = {.workers = JOBQ_NONE};
    jobq_info info = {0};
    jobq *q = NULL;
    int status = test_fork(end_with_an_outcome, (void *)(uintptr_t)path);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    REQUIRE_CODE(jobq_open(path, &options, &q, NULL), JOBQ_OK);
    CHECK_CODE(jobq_get(q, 1, &info, NULL), JOBQ_OK);
    CHECK_INT(info.state, JOBQ_STATE_PENDING);
    CHECK_INT(info.crashes, 0);
    CHECK_INT(info.attempt, 1);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

TEST_MAIN(returned_job_is_not_blamed, end_while_opening_hides_no_death, damaged_hides_no_death,
          mark_exit_charges_nobody, mark_exit_holds_for_later_starts,
          start_of_a_running_pool_ends_the_mark, exit_charges_nobody,
          exit_in_a_handler_is_charged_to_it_alone, exit_in_a_stepped_handler_is_charged,
          exit_after_mark_exit_charges_nobody, expired_stop_charges_nobody, close_charges_nobody,
          mark_exit_beside_close, finished_but_not_committed_is_not_charged)
