/* lost_names.c - jobs whose kind or queue is a number without a name, as 0.1.0 could store them:
 * they stop nothing, they are seen, and they run when somebody handles them.
 *
 * 0.1.0 lost the name when a handler rolled back to a savepoint of its own and stored another job
 * of the same kind. The tests store jobs as ever and take the name away by SQL. */
#include "helpers.h"

#define RELAXED_STEP ((jobq_options){.workers = JOBQ_NONE, .durability = JOBQ_RELAXED})

/* Takes the name away; lost has room for what it is called from now on. */
static void lose(const char *path, const char *name, char *lost) {
    char sql[128];
    snprintf(sql, sizeof sql, "SELECT id FROM jobq_name WHERE name = '%s'", name);
    snprintf(lost, 24, "lost:%d", (int)sql_int(path, sql));
    CHECK(strcmp(lost, "lost:0") != 0);
    snprintf(sql, sizeof sql, "DELETE FROM jobq_name WHERE name = '%s'", name);
    sql_run(path, sql);
}

static bool open_step(fixture *f, event_log *log) {
    jobq_options options = RELAXED_STEP;
    if (log) {
        options.on_event = log_event;
        options.ctx = log;
    }
    return fixture_open(f, options);
}

/* Closes, loses a name, and opens again. */
static bool lose_and_reopen(fixture *f, const char *name, char *lost) {
    if (f->q) close_whatever(&f->q);
    lose(f->path, name, lost);
    WORKS(jobq_open(f->path, &f->options, &f->q, &err));
    return f->q != NULL;
}

static void check_goes_on(jobq *q) {
    CHECK_CODE(stats_of(q).failed_code, JOBQ_OK);
}

/* Checks that every event of the job names kind and queue so. */
static void check_events(event_log *log, int64_t id, const char *kind, const char *queue,
                         size_t least) {
    jobq_event rows[16];
    size_t n = log ? events_of(log, id, rows, 16) : 0;
    if (!log) return;
    CHECK(n >= least);
    for (size_t i = 0; i < n && i < 16; i++) {
        CHECK_STR(rows[i].kind, kind);
        CHECK_STR(rows[i].queue, queue);
    }
    log->n = 0;
}

/* ---- A kind ---- */

static void check_parked(jobq *q, int64_t id, const char *kind) {
    jobq_info info = look(q, id);
    jobq_error err;
    CHECK_INT(info.state, JOBQ_STATE_PENDING);
    CHECK(info.parked);
    CHECK_STR(info.kind, kind);
    CHECK_CODE(jobq_retry_now(q, id, &err), JOBQ_BAD_STATE);
    CHECK(strstr(err.text, kind) != NULL && strstr(err.text, "parked") != NULL);
}

/* So many jobs of the kind are told by a listing of all, and so many by one of those that wait. */
static void check_listed(jobq *q, const char *kind, size_t all, size_t pending) {
    for (int state = JOBQ_STATE_NONE; state <= (int)JOBQ_STATE_PENDING; state++) {
        jobq_filter filter = {.state = (jobq_state)state, .kind = kind};
        jobq_cursor cursor = {.done = false};
        jobq_info infos[8];
        size_t count = 0;
        WORKS(jobq_list(q, &filter, &cursor, infos, 8, &count, &err));
        CHECK_INT(count, state == JOBQ_STATE_NONE ? all : pending);
    }
}

/* Goal: jobs of a kind that has lost its name are parked under its number, whether they are ready
 * or become due; everything else goes on; they run, with what they have, when a handler is
 * registered for that. Method: with events and without. */
TEST(kind_is_parked_until_it_is_handled) {
    for (int told = 0; told < 2; told++) {
        event_log *log = told ? event_log_new() : NULL;
        trace *t = NULL;
        char lost[24];
        int64_t ready, later, other;
        fixture f;
        REQUIRE(open_step(&f, log));
        t = trace_new(f.clock);
        ready = put_job(f.q, (jobq_job){.kind = "child", .text = "payload", .key = "mine"});
        later = put_job(f.q, (jobq_job){.kind = "child", .delay_ms = JOBQ_HOUR});
        REQUIRE(lose_and_reopen(&f, "child", lost));
        if (log) log->n = 0;
        CHECK_STR(look(f.q, ready).kind, lost); /* who looks needs no transaction */
        check_listed(f.q, lost, 2, 2);
        handle(f.q, "other", record, t);
        other = put(f.q, "other");
        CHECK_INT(drain(f.q), 1);
        check_parked(f.q, ready, lost);
        CHECK_INT(count_all(f.q).parked, 1);
        advance(f.q, 2 * JOBQ_HOUR);
        check_parked(f.q, later, lost);
        CHECK_INT(count_all(f.q).parked, 2);
        check_listed(f.q, lost, 2, 2);
        check_goes_on(f.q);
        REQUIRE(fixture_reopen(&f));
        handle(f.q, "other", record, t);
        check_parked(f.q, ready, lost);
        CHECK_INT(put_job(f.q, (jobq_job){.kind = lost, .key = "mine"}), ready);
        handle(f.q, lost, record, t);
        CHECK_INT(drain(f.q), 2);
        CHECK_INT(trace_count(t), 3);
        CHECK_INT(t->rows[0].id, other);
        CHECK_INT(look(f.q, ready).payload_size, 7);
        CHECK_INT(state_of(f.q, ready), JOBQ_STATE_DONE);
        CHECK_INT(state_of(f.q, later), JOBQ_STATE_DONE);
        CHECK(put_job(f.q, (jobq_job){.kind = lost, .key = "mine"}) > other);
        check_events(log, ready, lost, "default", 2);
        check_goes_on(f.q);
        trace_free(t);
        fixture_remove(&f);
        if (log) event_log_free(log);
    }
}

/* Goal: a handler for what a lost kind is called gets its jobs also if it is there before anybody
 * has met one, and when later kinds have got higher numbers. */
TEST(kind_is_handled_before_it_is_met) {
    char lost[24];
    int64_t id;
    fixture f;
    REQUIRE(open_step(&f, NULL));
    id = put_job(f.q, (jobq_job){.kind = "child", .delay_ms = JOBQ_HOUR});
    for (int i = 0; i < 5; i++) put_job(f.q, (jobq_job){.kind = "k", .queue = i % 2 ? "a" : "b"});
    REQUIRE(lose_and_reopen(&f, "child", lost));
    handle(f.q, lost, do_nothing, NULL);
    CHECK_INT(drain(f.q), 0);
    advance(f.q, 2 * JOBQ_HOUR);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
    CHECK_STR(look(f.q, id).kind, lost);
    check_goes_on(f.q);
    fixture_close(&f);
}

/* Such jobs, among those of the key or among those that wait in the queue. */
static void check_these(jobq *q, jobq_filter filter, size_t wanted, int64_t first, int64_t last) {
    jobq_cursor cursor = {.done = false};
    jobq_info infos[8];
    size_t count = 0;
    filter.rows_max = 8;
    WORKS(jobq_list(q, &filter, &cursor, infos, 8, &count, &err));
    REQUIRE_INT(count, wanted);
    if (count) CHECK_INT(infos[0].id, first);
    if (count) CHECK_INT(infos[count - 1].id, last);
}

/* Goal: jobs of a key are found by what their lost kind is called, before anybody has met it and
 * afterwards; a number that has a name finds none, and where another kind is called so it is that
 * one's key, as for who stores a job. */
TEST(keys_of_a_lost_kind) {
    char lost[24], named[24], sql[100];
    jobq_filter filter = {.kind = lost, .key = "mine"};
    int64_t ended, other;
    fixture f;
    REQUIRE(open_step(&f, NULL));
    ended = put_job(f.q, (jobq_job){.kind = "child", .key = "mine"});
    WORKS(jobq_cancel(f.q, ended, &err));
    put_job(f.q, (jobq_job){.kind = "child", .key = "mine"});
    other = put_job(f.q, (jobq_job){.kind = "other", .key = "mine"});
    REQUIRE(lose_and_reopen(&f, "child", lost));
    check_these(f.q, filter, 2, ended, ended + 1);
    snprintf(named, sizeof named, "lost:%d",
             (int)sql_int(f.path, "SELECT id FROM jobq_name WHERE name = 'other'"));
    check_these(f.q, (jobq_filter){.kind = named, .key = "mine"}, 0, 0, 0);
    CHECK_INT(put_job(f.q, (jobq_job){.kind = lost, .key = "mine"}), ended + 1);
    check_these(f.q, filter, 2, ended, ended + 1);
    REQUIRE(lose_and_reopen(&f, lost, named));
    snprintf(sql, sizeof sql, "UPDATE jobq_name SET name = '%s' WHERE name = 'other'", lost);
    sql_run(f.path, sql);
    check_these(f.q, filter, 1, other, other);
    CHECK_INT(put_job(f.q, (jobq_job){.kind = lost, .key = "mine"}), other);
    check_goes_on(f.q);
    fixture_close(&f);
}

/* Goal: a page of a lost queue's, or a lost kind's, pending jobs is found at once as any other. And
 * where another queue is called so the jobs of both are. Method: a page that may look at 8 rows,
 * beside 40 others before and after. */
TEST(pages_of_lost_names) {
    const jobq_job many = {.kind = "k", .queue = "before"}, more = {.kind = "k", .queue = "after"};
    const jobq_job parked = {.kind = "nobody", .queue = "after"};
    char queue[24], kind[24], sql[100];
    int64_t mine, child, last;
    fixture f;
    REQUIRE(open_step(&f, NULL));
    handle(f.q, "k", do_nothing, NULL);
    child = put_job(f.q, (jobq_job){.kind = "child"});
    put_many(f.q, &parked, 40);
    put_many(f.q, &many, 40);
    mine = put_job(f.q, (jobq_job){.kind = "k", .queue = "slow"});
    put_many(f.q, &more, 40);
    last = put_job(f.q, (jobq_job){.kind = "k", .queue = "last"});
    lose(f.path, "slow", queue);
    REQUIRE(lose_and_reopen(&f, "child", kind));
    check_these(f.q, (jobq_filter){.state = JOBQ_STATE_PENDING, .kind = kind}, 1, child, child);
    WORKS(jobq_delete(f.q, child, &err));
    sql_run(f.path, "DELETE FROM jobq_row WHERE kind = (SELECT id FROM jobq_name"
                    " WHERE name = 'nobody')");
    check_these(f.q, (jobq_filter){.state = JOBQ_STATE_PENDING, .queue = queue}, 1, mine, mine);
    snprintf(sql, sizeof sql, "UPDATE jobq_name SET name = '%s' WHERE name = 'last'", queue);
    sql_run(f.path, sql);
    check_these(f.q, (jobq_filter){.state = JOBQ_STATE_PENDING, .queue = queue}, 2, mine, last);
    check_goes_on(f.q);
    fixture_close(&f);
}

/* ---- A queue ---- */

static jobq_outcome see_queue(jobq_run *run, void *ctx) {
    const jobq_info *info = jobq_run_info(run);
    snprintf((char *)ctx, JOBQ_NAME_MAX + 1, "%s", info ? info->queue : "?");
    return JOBQ_DONE;
}

/* Goal: jobs of a queue that has lost its name run in one that is called by its number, those that
 * are parked or become due as well. Method: with events and without. */
TEST(queue_goes_on_by_its_number) {
    for (int i = 0; i < 4; i++) {
        event_log *log = i & 1 ? event_log_new() : NULL;
        char lost[24], seen[JOBQ_NAME_MAX + 1] = "";
        int64_t ready, later;
        fixture f;
        REQUIRE(open_step(&f, log));
        if (i & 2) handle(f.q, "k", do_nothing, NULL); /* or else they are parked */
        ready = put_job(f.q, (jobq_job){.kind = "k", .queue = "slow"});
        later = put_job(f.q, (jobq_job){.kind = "k", .queue = "slow", .delay_ms = JOBQ_HOUR});
        REQUIRE(lose_and_reopen(&f, "slow", lost));
        if (log) log->n = 0;
        CHECK_STR(look(f.q, later).queue, lost);
        handle(f.q, "k", see_queue, seen);
        CHECK_INT(drain(f.q), 1);
        CHECK_STR(seen, lost);
        check_events(log, ready, "k", lost, 2);
        seen[0] = '\0';
        advance(f.q, 2 * JOBQ_HOUR);
        CHECK_STR(seen, lost);
        check_events(log, later, "k", lost, 2);
        CHECK_STR(look(f.q, later).queue, lost);
        CHECK_INT(count_all(f.q).done, 2);
        put_job(f.q, (jobq_job){.kind = "k", .queue = lost});
        CHECK_INT(drain(f.q), 1);
        CHECK_INT(sql_int(f.path, "SELECT count(DISTINCT queue) FROM jobq_row"), 1);
        check_goes_on(f.q);
        fixture_remove(&f);
        if (log) event_log_free(log);
    }
}

/* Goal: the same with real threads, of many queues at once. */
TEST(queues_go_on_in_a_pool) {
    enum { QUEUES = 20 };
    const char *path = test_path("q.db");
    jobq *q = open_pool(path, 2);
    int64_t ids[QUEUES];
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    for (int i = 0; i < QUEUES; i++) {
        char name[16];
        snprintf(name, sizeof name, "queue %d", i);
        ids[i] = put_job(q, (jobq_job){.kind = "k", .queue = name});
    }
    close_queue(&q);
    sql_run(path, "DELETE FROM jobq_name WHERE name LIKE 'queue%'");
    q = open_pool(path, 2);
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    start(q);
    for (int i = 0; i < QUEUES; i++) CHECK_INT(finish(q, ids[i]).state, JOBQ_STATE_DONE);
    check_goes_on(q);
    close_queue(&q);
}

/* ---- Numbers ---- */

/* Goal: no new name gets the number of a lost one, nor its jobs. Method: the highest
 * names are lost; those that are new come first. */
TEST(new_names_leave_the_numbers_alone) {
    char kind[24], queue[24];
    int64_t id, later, other;
    fixture f;
    REQUIRE(open_step(&f, NULL));
    id = put_job(f.q, (jobq_job){.kind = "child", .queue = "slow"});
    later = put_job(f.q, (jobq_job){.kind = "child", .queue = "slow", .delay_ms = JOBQ_HOUR});
    lose(f.path, "slow", queue);
    REQUIRE(lose_and_reopen(&f, "child", kind));
    handle(f.q, "new", do_nothing, NULL);
    handle(f.q, "newer", do_nothing, NULL);
    other = put_job(f.q, (jobq_job){.kind = "new", .queue = "fresh"});
    CHECK_INT(drain(f.q), 1);
    CHECK_STR(look(f.q, other).queue, "fresh");
    check_parked(f.q, id, kind);
    CHECK_STR(look(f.q, id).queue, queue);
    CHECK_STR(look(f.q, later).kind, kind);
    CHECK_INT(sql_int(f.path, "SELECT next_name > (SELECT max(id) FROM jobq_name)"
                              " FROM jobq_claims"), 1);
    REQUIRE(fixture_reopen(&f));
    handle(f.q, "new", do_nothing, NULL);
    handle(f.q, "newest", do_nothing, NULL);
    handle(f.q, kind, do_nothing, NULL);
    CHECK_INT(drain(f.q), 1);
    advance(f.q, 2 * JOBQ_HOUR);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
    CHECK_INT(state_of(f.q, later), JOBQ_STATE_DONE);
    CHECK_STR(look(f.q, later).queue, queue);
    CHECK_INT(sql_int(f.path, "SELECT count(*) = count(DISTINCT id) FROM jobq_name"), 1);
    check_goes_on(f.q);
    fixture_close(&f);
}

/* Goal: once a lost number was met it is a name like any other, and no other gets the number.
 * Method: it is met by who claims, or by who retries. */
TEST(number_that_was_met_is_a_name) {
    for (int retry = 0; retry < 2; retry++) {
        char lost[24], sql[96];
        int64_t id, other;
        fixture f;
        REQUIRE(open_step(&f, NULL));
        handle(f.q, "child", do_nothing, NULL);
        put(f.q, "k");
        id = put(f.q, "child"); /* ready in its queue */
        if (retry) WORKS(jobq_cancel(f.q, id, &err));
        REQUIRE(lose_and_reopen(&f, "child", lost));
        if (retry) WORKS(jobq_retry_now(f.q, id, &err));
        if (!retry) handle(f.q, "k", do_nothing, NULL);
        CHECK_INT(drain(f.q), retry ? 0 : 1);
        snprintf(sql, sizeof sql, "SELECT count(*) FROM jobq_name WHERE name = '%s'", lost);
        CHECK_INT(sql_int(f.path, sql), 1);
        REQUIRE(fixture_reopen(&f));
        other = put(f.q, "new");
        CHECK_STR(look(f.q, other).kind, "new");
        CHECK_STR(look(f.q, id).kind, lost);
        handle(f.q, lost, do_nothing, NULL);
        CHECK_INT(drain(f.q), 1);
        CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
        CHECK(look(f.q, other).parked);
        fixture_remove(&f);
    }
}

/* Goal: the same is so for the number of parked jobs, which nobody meets. */
TEST(number_of_parked_jobs) {
    char kind[24];
    int64_t id;
    fixture f;
    REQUIRE(open_step(&f, NULL));
    put_job(f.q, (jobq_job){.kind = "k", .queue = "a"});
    id = put_job(f.q, (jobq_job){.kind = "child", .queue = "a"});
    REQUIRE(lose_and_reopen(&f, "child", kind));
    handle(f.q, "new", do_nothing, NULL);
    CHECK_INT(drain(f.q), 0);
    check_parked(f.q, id, kind);
    fixture_close(&f);
}

/* Goal: a name that only looks like a lost one is a name like any other, with the next number. */
TEST(names_that_look_lost) {
    static const char *const names[] = {"lost:", "lost:0", "lost:1", "lost:007", "lost:65536",
                                        "lost:-3", "lost:9999999999999999999", "lost:7 ",
                                        "lost:60000"};
    fixture f;
    REQUIRE(open_step(&f, NULL));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        CHECK_STR(look(f.q, put(f.q, names[i])).kind, names[i]);
    CHECK_INT(sql_int(f.path, "SELECT max(id) - count(*) FROM jobq_name"), 0);
    CHECK_INT(count_all(f.q).parked, 9);
    fixture_close(&f);
}

/* ---- Every way that a job can go ---- */

static jobq_outcome die(jobq_run *run, void *ctx) {
    (void)run;
    (void)ctx;
    _exit(0);
}

/* A process that dies in a handler, with a job in its hands. */
static void die_in_handler(void *arg) {
    jobq *q = NULL;
    jobq_options options = RELAXED_STEP;
    WORKS(jobq_open((const char *)arg, &options, &q, &err));
    if (!q) return;
    put_job(q, (jobq_job){.kind = "child", .queue = "slow", .key = "mine"});
    handle(q, "child", die, NULL);
    drain(q);
}

/* Goal: a job that has killed its process is given back, blamed, and tried alone, whatever it has
 * lost. Method: its kind, its queue, or both; it is lost before who opens next tells of the crash,
 * or after. */
TEST(suspects) {
    for (int i = 0; i < 6; i++) {
        int what = 1 + i / 2;
        event_log *log = event_log_new();
        char kind[24] = "child", queue[24] = "slow";
        const char *path = test_path("q.db");
        fixture f;
        CHECK_INT(test_fork(die_in_handler, (void *)(uintptr_t)path), 0);
        if (i % 2) REQUIRE(open_step(&f, NULL));
        if (i % 2) fixture_close(&f);
        if (what & 1) lose(path, "child", kind);
        if (what & 2) lose(path, "slow", queue);
        REQUIRE(open_step(&f, log));
        CHECK_INT(look(f.q, 1).crashes, 1);
        if (what & 1) {
            CHECK_INT(drain(f.q), 0);
            check_parked(f.q, 1, kind);
        }
        handle(f.q, kind, do_nothing, NULL);
        CHECK_INT(drain(f.q), 1);
        CHECK_INT(state_of(f.q, 1), JOBQ_STATE_DONE);
        CHECK_STR(look(f.q, 1).queue, queue);
        check_events(log, 1, kind, queue, i % 2 ? 2 : 3);
        check_goes_on(f.q);
        fixture_remove(&f);
        event_log_free(log);
    }
}

/* Goal: a wish to cancel that a process has left behind is heeded at the next open, and keys are
 * let go of, whatever was lost. Method: the wish is put into the file. */
TEST(wish_of_a_dead_process) {
    for (int told = 0; told < 2; told++) {
        event_log *log = told ? event_log_new() : NULL;
        char kind[24], queue[24];
        const char *path = test_path("q.db");
        fixture f;
        CHECK_INT(test_fork(die_in_handler, (void *)(uintptr_t)path), 0);
        lose(path, "child", kind);
        lose(path, "slow", queue);
        sql_run(path, "UPDATE jobq_row SET side = side | 4");
        REQUIRE(open_step(&f, log));
        CHECK_INT(state_of(f.q, 1), JOBQ_STATE_CANCELLED);
        CHECK_STR(look(f.q, 1).kind, kind);
        CHECK_INT(put_job(f.q, (jobq_job){.kind = kind, .key = "mine"}), 2);
        check_events(log, 1, kind, queue, 1);
        check_goes_on(f.q);
        fixture_remove(&f);
        if (log) event_log_free(log);
    }
}

/* Jobs in every state, all of a kind and a queue that are lost then. */
enum { READY = 1, LATER, FAILED, GONE, DONE, JOBS = DONE };

static jobq_outcome end_by_id(jobq_run *run, void *ctx) {
    (void)ctx;
    return jobq_run_id(run) == FAILED ? jobq_fail(run, "no") : JOBQ_DONE;
}

static bool put_one_of_each(fixture *f, event_log *log, char *kind, char *queue) {
    if (!open_step(f, log)) return false;
    handle(f->q, "child", end_by_id, NULL);
    for (int i = 1; i <= JOBS; i++) {
        char key[8];
        snprintf(key, sizeof key, "key %d", i);
        put_job(f->q, (jobq_job){.kind = "child", .queue = "slow", .key = key, .priority = -i,
                                 .delay_ms = i < FAILED ? i * JOBQ_HOUR : 0});
    }
    WORKS(jobq_cancel(f->q, GONE, &err));
    CHECK_INT(drain(f->q), 2);
    close_whatever(&f->q);
    lose(f->path, "slow", queue);
    if (!lose_and_reopen(f, "child", kind)) return false;
    if (log) log->n = 0;
    return true;
}

/* Goal: calls that change a job do so, whatever it has lost, and tell of it. Method: cancel, delete
 * and retry in each state, before anybody else has met the numbers. */
TEST(calls_that_change) {
    for (int told = 0; told < 2; told++) {
        event_log *log = told ? event_log_new() : NULL;
        char kind[24], queue[24];
        fixture f;
        REQUIRE(put_one_of_each(&f, log, kind, queue));
        WORKS(jobq_retry_now(f.q, FAILED, &err));
        check_parked(f.q, FAILED, kind);
        check_events(log, FAILED, kind, queue, 1);
        WORKS(jobq_cancel(f.q, LATER, &err));
        check_events(log, LATER, kind, queue, 1);
        CHECK_INT(state_of(f.q, LATER), JOBQ_STATE_CANCELLED);
        WORKS(jobq_delete(f.q, GONE, &err));
        CHECK_INT(state_of(f.q, GONE), JOBQ_STATE_NONE);
        FAILS(JOBQ_BAD_STATE, jobq_cancel(f.q, DONE, &err));
        FAILS(JOBQ_BAD_STATE, jobq_retry_now(f.q, DONE, &err));
        CHECK_INT(put_job(f.q, (jobq_job){.kind = kind, .key = "key 1"}), READY);
        CHECK_INT(put_job(f.q, (jobq_job){.kind = kind, .key = "key 2"}), JOBS + 1);
        handle(f.q, kind, do_nothing, NULL);
        CHECK_INT(drain(f.q), 2);
        CHECK_INT(state_of(f.q, FAILED), JOBQ_STATE_DONE);
        advance(f.q, 3 * JOBQ_HOUR);
        CHECK_INT(state_of(f.q, READY), JOBQ_STATE_DONE);
        advance(f.q, 30 * JOBQ_DAY);
        CHECK_INT(total(f.q), 0); /* all of it was kept for a while, and dropped */
        CHECK_INT(sql_int(f.path, "SELECT count(*) FROM jobq_extra"), 0);
        CHECK_INT(sql_int(f.path, "SELECT count(*) FROM jobq_key"), 0);
        check_goes_on(f.q);
        fixture_remove(&f);
        if (log) event_log_free(log);
    }
}

/* Goal: a refusal names the job by what its kind is called, also when nobody has met it yet;
 * nothing is stored by it. */
TEST(refusals_name_the_job) {
    char kind[24], queue[24];
    jobq_error err;
    fixture f;
    REQUIRE(put_one_of_each(&f, NULL, kind, queue));
    CHECK_CODE(jobq_cancel(f.q, DONE, &err), JOBQ_BAD_STATE);
    if (!CHECK(strstr(err.text, kind) != NULL)) test_note("%s", err.text);
    CHECK_STR(look(f.q, put(f.q, "new")).kind, "new");
    CHECK_STR(look(f.q, DONE).kind, kind);
    fixture_close(&f);
}

/* Goal: who only looks writes nothing: a client, and the owner's reader. Method: all calls that
 * look; the file has no more names than before. */
TEST(looking_writes_nothing) {
    for (int client = 0; client < 2; client++) {
        char kind[24], queue[24];
        jobq_options options = {.workers = JOBQ_NONE, .shared = true};
        int64_t names;
        fixture f;
        REQUIRE(put_one_of_each(&f, NULL, kind, queue));
        close_whatever(&f.q);
        names = sql_int(f.path, "SELECT count(*) FROM jobq_name");
        if (client) options = (jobq_options){.role = JOBQ_CLIENT, .shared = true};
        WORKS(jobq_open(f.path, &options, &f.q, &err));
        REQUIRE(f.q != NULL);
        for (int i = 1; i <= JOBS; i++) {
            CHECK_STR(look(f.q, i).kind, kind);
            CHECK_STR(look(f.q, i).queue, queue);
        }
        check_listed(f.q, kind, JOBS, 2);
        CHECK_INT(total(f.q), JOBS);
        check_goes_on(f.q);
        CHECK_INT(sql_int(f.path, "SELECT count(*) FROM jobq_name"), names);
        fixture_remove(&f);
    }
}

TEST_MAIN(kind_is_parked_until_it_is_handled, kind_is_handled_before_it_is_met,
          keys_of_a_lost_kind, pages_of_lost_names, queue_goes_on_by_its_number,
          queues_go_on_in_a_pool, new_names_leave_the_numbers_alone,
          number_that_was_met_is_a_name, number_of_parked_jobs, names_that_look_lost, suspects,
          wish_of_a_dead_process,
          calls_that_change, refusals_name_the_job, looking_writes_nothing)
