/* durations.c - a delay, a backoff, a snooze last as long as they say, wherever the wall clock is
 * set meanwhile, or while nobody had the queue open; points in time follow the wall. The clocks are
 * artificial here; unit/clock_steps.c sets the system's. */
#include "helpers.h"

/* ---- Steps while the queue is open ---- */

/* How a job comes to wait for a duration. */
enum { BY_DELAY, BY_BACKOFF, BY_SNOOZE, BY_RESCHEDULE, BY_BARE_SNOOZE, WAYS };

struct waits {
    jobq_clock *clock;
    int way;
    int64_t for_ms, ran_ms; /* when it ran last, by what has passed */
    int64_t passed_ms;      /* the test counts that */
    int runs;
};

static jobq_outcome wait_once(jobq_run *run, void *ctx) {
    struct waits *w = (struct waits *)ctx;
    w->ran_ms = w->passed_ms;
    if (w->runs++ || w->way == BY_DELAY) return JOBQ_DONE;
    switch (w->way) {
    case BY_BACKOFF: return JOBQ_RETRY;
    case BY_SNOOZE: return jobq_snooze(run, w->for_ms);
    case BY_RESCHEDULE: return jobq_reschedule_in(run, w->for_ms);
    default: return JOBQ_SNOOZE;
    }
}

static void handle_waits(jobq *q, struct waits *w) {
    handle_kind(q, (jobq_kind){.name = "k", .run = wait_once, .ctx = w,
                               .backoff_min_ms = w->for_ms, .backoff_max_ms = w->for_ms,
                               .jitter_percent = JOBQ_NONE});
}

/* A job that waits from now on; it has run, but for a delay. */
static int64_t put_waiting(jobq *q, struct waits *w) {
    int64_t id;
    if (w->way == BY_DELAY) return put_in(q, w->for_ms);
    id = put(q, "k");
    CHECK_INT(drain(q), 1);
    return id;
}

/* Lets so much time pass, in small pieces, each of which the queue sees. */
static void pass(jobq *q, struct waits *w, int64_t ms) {
    while (ms > 0) {
        int64_t piece_ms = ms < 500 ? ms : 500;
        w->passed_ms += piece_ms;
        advance(q, piece_ms);
        ms -= piece_ms;
    }
}

/* Its run_at_ms is when the wall will show it, if nobody sets that. */
static void check_due_in(const fixture *f, int64_t id, int64_t ms) {
    jobq_info info = look(f->q, id);
    int64_t at_ms = 0;
    CHECK_INT(info.run_at_ms, jobq_clock_now(f->clock) + ms);
    CHECK(info.scheduled);
    CHECK_INT(count_all(f->q).scheduled, 1);
    CHECK_INT(jobq_wakes(f->q), 1);
    WORKS(jobq_next_deadline(f->q, &at_ms, &err));
    CHECK_INT(at_ms, info.run_at_ms);
}

/* The wall is set by these, one after the other, while 10 s pass. */
static void play_steps(int way, const int64_t *steps_ms, int count) {
    struct waits w = {NULL, way, 10000, -1, 0, 0};
    int64_t left_ms = w.for_ms, id;
    fixture f;
    REQUIRE(fixture_open(&f, STEP));
    w.clock = f.clock;
    handle_waits(f.q, &w);
    id = put_waiting(f.q, &w);
    w.ran_ms = -1;
    for (int i = 0; i < count; i++) {
        jobq_clock_set(f.clock, jobq_clock_now(f.clock) + steps_ms[i]);
        check_due_in(&f, id, left_ms);
        CHECK_INT(drain(f.q), 0);
        pass(f.q, &w, 1000);
        left_ms -= 1000;
        check_due_in(&f, id, left_ms);
    }
    pass(f.q, &w, left_ms - 1);
    CHECK_INT(w.ran_ms, -1);
    pass(f.q, &w, 1);
    CHECK_INT(w.ran_ms, w.for_ms);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
    /* What ended is told by the wall, too. */
    CHECK_INT(look(f.q, id).run_at_ms, jobq_clock_now(f.clock));
    CHECK_INT(look(f.q, id).created_at_ms, T0);
    fixture_remove(&f);
}

/* Goal: no step of the wall makes a duration longer or shorter: back, forth, back and forth, forth
 * and back, to 1970. Method: each way to wait for 10 s, the wall set before a second of them
 * passes; one that follows the wall would be late or early by hours. */
TEST(steps_change_no_duration) {
    static const int64_t steps_ms[][3] = {
        {-JOBQ_HOUR, 0, 0}, {JOBQ_HOUR, 0, 0}, {-JOBQ_HOUR, JOBQ_HOUR, 0},
        {JOBQ_HOUR, -JOBQ_HOUR, 0}, {-T0 + 5000, T0, -1}, {-1, 3, -2}, {-7000, -7000, 9000},
        {400 * JOBQ_DAY, -T0, T0}};
    for (int way = 0; way < WAYS; way++)
        for (size_t i = 0; i < sizeof steps_ms / sizeof steps_ms[0]; i++)
            play_steps(way, steps_ms[i], 3);
}

static jobq_outcome set_and_retry(jobq_run *run, void *ctx) {
    jobq_clock *clock = (jobq_clock *)ctx;
    if (jobq_run_attempt(run) > 1) return JOBQ_DONE;
    jobq_snooze(run, JOBQ_MINUTE); /* which is not what it returns */
    jobq_clock_set(clock, jobq_clock_now(clock) - JOBQ_DAY);
    return JOBQ_RETRY;
}

static jobq_outcome snooze_and_set(jobq_run *run, void *ctx) {
    jobq_clock *clock = (jobq_clock *)ctx;
    jobq_outcome outcome = jobq_snooze(run, 10000);
    if (jobq_run_info(run)->runs > 1) return JOBQ_DONE;
    jobq_clock_set(clock, jobq_clock_now(clock) - JOBQ_DAY);
    jobq_clock_advance(clock, 1000);
    return outcome;
}

/* Goal: the same where a handler sets the wall, before it fails, and after it has said for how long
 * it will snooze. */
TEST(a_handler_that_steps_waits_no_longer) {
    for (int snoozes = 0; snoozes < 2; snoozes++) {
        fixture f;
        int64_t id;
        REQUIRE(fixture_open(&f, STEP));
        handle_kind(f.q, (jobq_kind){.name = "k", .run = snoozes ? snooze_and_set : set_and_retry,
                                     .ctx = f.clock, .backoff_min_ms = 9000,
                                     .backoff_max_ms = 9000, .jitter_percent = JOBQ_NONE});
        id = put(f.q, "k");
        CHECK_INT(drain(f.q), 1);
        advance(f.q, 8999);
        CHECK_INT(look(f.q, id).runs, 1);
        advance(f.q, 1);
        CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
        fixture_remove(&f);
    }
}

/* Goal: a pool that sleeps is woken when the time has passed, too. */
TEST(a_pool_waits_no_longer) {
    fixture f;
    int64_t id;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 2}));
    handle(f.q, "k", do_nothing, NULL);
    start(f.q);
    id = put_in(f.q, 10000);
    advance(f.q, 1);
    jobq_clock_set(f.clock, T0 - JOBQ_HOUR);
    CHECK_INT(advance(f.q, 9998), 0);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_PENDING);
    CHECK_INT(advance(f.q, 1), 1);
    CHECK_INT(finish(f.q, id).state, JOBQ_STATE_DONE);
    fixture_close(&f);
}

/* Goal: a point in time is one of the wall, beside durations: neither hides the other. Method: one
 * of each, the earlier of which changes with each step. */
TEST(points_in_time_follow_the_wall) {
    fixture f;
    trace *t;
    int64_t at, in;
    REQUIRE(fixture_open(&f, STEP));
    t = trace_new(f.clock);
    handle(f.q, "k", record, t);
    at = put_job(f.q, (jobq_job){.kind = "k", .run_at_ms = T0 + 2 * JOBQ_HOUR});
    in = put_in(f.q, JOBQ_HOUR);
    CHECK_INT(drain(f.q), 0);
    CHECK_INT(jobq_wakes(f.q), 1);
    jobq_clock_set(f.clock, T0 + 2 * JOBQ_HOUR - 1);
    CHECK_INT(drain(f.q), 0);
    CHECK_INT(advance(f.q, 1), 1);
    REQUIRE_INT(trace_count(t), 1);
    CHECK_INT(t->rows[0].id, at);
    jobq_clock_set(f.clock, T0 - JOBQ_DAY);
    at = put_job(f.q, (jobq_job){.kind = "k", .run_at_ms = T0});
    CHECK_INT(advance(f.q, JOBQ_HOUR - 1), 1);
    REQUIRE_INT(trace_count(t), 2);
    CHECK_INT(t->rows[1].id, in);
    CHECK_INT(t->rows[1].now_ms, T0 - JOBQ_DAY + JOBQ_HOUR - 1);
    CHECK_INT(advance(f.q, JOBQ_DAY), 1);
    REQUIRE_INT(trace_count(t), 3);
    CHECK_INT(t->rows[2].id, at);
    CHECK_INT(t->rows[2].now_ms, T0);
    fixture_close(&f);
    trace_free(t);
}

/* Goal: what becomes due at one moment starts by run time and number, whichever of the two it
 * waited for, and as the wall shows it. Method: both mixed, more than one transaction makes ready,
 * with the wall as it was and set back before. */
TEST(both_start_in_order) {
    enum { JOBS = 900 };
    for (int back = 0; back < 2; back++) {
        fixture f;
        trace *t;
        REQUIRE(fixture_open(&f, STEP));
        t = trace_new(f.clock);
        handle(f.q, "k", record, t);
        if (back) {
            put_in(f.q, JOBQ_DAY);
            jobq_clock_set(f.clock, T0 - JOBQ_HOUR);
        }
        for (int i = 0; i < JOBS; i++) {
            int64_t ms = 1000 + (i * 7919) % 350;
            int64_t now_ms = jobq_clock_now(f.clock);
            if (i % 3 != 1) put_in(f.q, ms);
            else put_job(f.q, (jobq_job){.kind = "k", .run_at_ms = now_ms + ms});
        }
        jobq_clock_advance(f.clock, 2000);
        CHECK_INT(drain(f.q), JOBS);
        REQUIRE_INT(trace_count(t), JOBS);
        for (int i = 1; i < JOBS; i++) {
            int64_t a = (t->rows[i - 1].id - 1 - back) * 7919 % 350;
            int64_t b = (t->rows[i].id - 1 - back) * 7919 % 350;
            CHECK(a < b || (a == b && t->rows[i - 1].id < t->rows[i].id));
        }
        fixture_remove(&f);
        trace_free(t);
    }
}

/* Goal: what waits for a duration can be made due, ended and deleted as ever, and what is told of
 * it is by the wall. Method: after a step. */
TEST(what_waits_can_be_changed) {
    fixture f;
    int64_t a, b, c, d;
    jobq_cursor cursor = {.done = false};
    jobq_info infos[8];
    size_t count = 0;
    REQUIRE(fixture_open(&f, STEP));
    a = put_in(f.q, JOBQ_HOUR);
    b = put_in(f.q, JOBQ_HOUR);
    c = put_in(f.q, JOBQ_HOUR);
    d = put_in(f.q, JOBQ_HOUR);
    jobq_clock_set(f.clock, T0 - JOBQ_DAY);
    handle(f.q, "k", do_nothing, NULL);
    WORKS(jobq_list(f.q, &(jobq_filter){.state = JOBQ_STATE_PENDING}, &cursor, infos, 8, &count,
                    &err));
    CHECK_INT(count, 4);
    CHECK_INT(infos[0].run_at_ms, T0 - JOBQ_DAY + JOBQ_HOUR);
    CHECK_INT(infos[0].created_at_ms, T0);
    CHECK(infos[0].scheduled && !infos[0].parked);
    WORKS(jobq_cancel(f.q, a, &err));
    CHECK_INT(look(f.q, a).run_at_ms, T0 - JOBQ_DAY + JOBQ_HOUR);
    CHECK_INT(look(f.q, a).created_at_ms, T0);
    WORKS(jobq_delete(f.q, b, &err));
    WORKS(jobq_retry_now(f.q, c, &err));
    FAILS(JOBQ_BAD_STATE, jobq_retry_now(f.q, c, &err));
    CHECK_INT(look(f.q, c).run_at_ms, T0 - JOBQ_DAY);
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(count_all(f.q).scheduled, 1);
    CHECK_INT(look(f.q, d).run_at_ms, T0 - JOBQ_DAY + JOBQ_HOUR);
    jobq_clock_advance(f.clock, JOBQ_HOUR);
    FAILS(JOBQ_BAD_STATE, jobq_retry_now(f.q, d, &err)); /* its time has come */
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(jobq_wakes(f.q), 0);
    fixture_close(&f);
}

/* ---- Steps while nobody looks ---- */

/* Closes, sets the wall, opens; what may be due is looked at. */
static void reopen_at(fixture *f, struct waits *w, int64_t wall_ms) {
    close_whatever(&f->q);
    jobq_clock_free(f->clock);
    f->clock = f->options.clock = jobq_clock_artificial(wall_ms);
    REQUIRE_CODE(jobq_open(f->path, &f->options, &f->q, NULL), JOBQ_OK);
    handle_waits(f->q, w);
    CHECK_INT(drain(f->q), 0);
}

/* Goal: the wall is set back while the queue is closed, or the machine boots in 1970: a duration
 * takes no longer than its own length from then on, and exactly that if nothing had passed. When
 * the wall is set right nothing is early. Method: each way to wait for 10 s. */
TEST(closed_while_the_wall_is_set_back) {
    static const int64_t walls_ms[] = {T0 - JOBQ_HOUR, T0 - 1, 0, 5000};
    for (int i = 0; i < 4 * WAYS; i++) {
        struct waits w = {NULL, i % WAYS, 10000, -1, 0, 0};
        fixture f;
        int64_t id;
        REQUIRE(fixture_open(&f, STEP));
        handle_waits(f.q, &w);
        id = put_waiting(f.q, &w);
        w.ran_ms = -1;
        reopen_at(&f, &w, walls_ms[i / WAYS]);
        check_due_in(&f, id, w.for_ms);
        pass(f.q, &w, 4000);
        jobq_clock_set(f.clock, T0 + 5000); /* the network has told the time */
        check_due_in(&f, id, w.for_ms - 4000);
        pass(f.q, &w, w.for_ms - 4001);
        CHECK_INT(w.ran_ms, -1);
        pass(f.q, &w, 1);
        CHECK_INT(w.ran_ms, w.for_ms);
        fixture_remove(&f);
    }
}

/* Goal: a step that was seen is known to the next process, and the next, whatever they find: what
 * they do not see themselves is told by the wall. Method: an hour back, then closed for a while; a
 * queue that opens once a minute for a moment, as a tool does; and one that was in 1970 and comes
 * back in the right year. */
TEST(what_was_seen_is_remembered) {
    struct waits w = {NULL, BY_DELAY, 10 * JOBQ_MINUTE, -1, 0, 0};
    fixture f;
    int64_t id;
    REQUIRE(fixture_open(&f, STEP));
    handle_waits(f.q, &w);
    id = put_waiting(f.q, &w);
    jobq_clock_set(f.clock, T0 - JOBQ_HOUR);
    pass(f.q, &w, 1000);
    put(f.q, "nobody"); /* any transaction */
    for (int i = 1; i < 9; i++) {
        reopen_at(&f, &w, T0 - JOBQ_HOUR + 1000 + i * JOBQ_MINUTE);
        check_due_in(&f, id, w.for_ms - 1000 - i * JOBQ_MINUTE);
    }
    pass(f.q, &w, w.for_ms - 1000 - 8 * JOBQ_MINUTE - 1);
    CHECK_INT(w.runs, 0);
    pass(f.q, &w, 1);
    CHECK_INT(w.runs, 1);
    fixture_remove(&f);
    REQUIRE(fixture_open(&f, STEP));
    handle_waits(f.q, &w);
    id = put_waiting(f.q, &w);
    reopen_at(&f, &w, 0);
    check_due_in(&f, id, w.for_ms);
    pass(f.q, &w, 1000);
    put(f.q, "nobody");
    reopen_at(&f, &w, T0 + 5000);
    check_due_in(&f, id, w.for_ms - 5000);
    fixture_close(&f);
}

/* Goal: what the wall showed is known by the last commit that had to do with it, not only by the
 * newest job. Method: a job of an hour ago fails; the queue is closed, and the wall set back to
 * half an hour before that. */
TEST(last_commit_tells_the_time) {
    struct waits w = {NULL, BY_BACKOFF, 10000, -1, 0, 0};
    fixture f;
    int64_t id;
    REQUIRE(fixture_open(&f, STEP));
    handle_waits(f.q, &w);
    id = put_in(f.q, JOBQ_HOUR);
    advance(f.q, JOBQ_HOUR);
    CHECK_INT(w.runs, 1);
    reopen_at(&f, &w, T0 + JOBQ_HOUR / 2);
    check_due_in(&f, id, w.for_ms);
    fixture_close(&f);
}

/* ---- What it costs ---- */

static int64_t file_number(const fixture *f, const char *sql) {
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    int64_t number = -1;
    CHECK_INT(sqlite3_open_v2(f->path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    CHECK_INT(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    if (CHECK_INT(sqlite3_step(s), SQLITE_ROW)) number = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return number;
}

/* Goal: a step costs one row, whatever waits; without one nothing is written for it. Method: 5,000
 * jobs; the pages that one transaction adds to the log, and what stands in the rows. */
TEST(a_step_costs_one_row) {
    static const char *const sum = "SELECT sum(run_at) FROM jobq_row WHERE lane = -1";
    int64_t pages, stored;
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .wal_pages = 100000}));
    put_many(f.q, &(jobq_job){.kind = "k", .delay_ms = JOBQ_HOUR}, 5000);
    CHECK_INT(drain(f.q), 0);
    stored = file_number(&f, sum);
    CHECK_INT(stored, 5000 * (T0 + JOBQ_HOUR));
    pages = stats_of(f.q).wal_pages;
    CHECK_INT(drain(f.q), 0);
    CHECK_INT(stats_of(f.q).wal_pages, pages); /* nothing to write */
    jobq_clock_set(f.clock, T0 - JOBQ_DAY);
    CHECK_INT(drain(f.q), 0);
    CHECK_INT(stats_of(f.q).wal_pages, pages + 1);
    CHECK_INT(file_number(&f, "SELECT offset_ms FROM jobq_claims"), JOBQ_DAY);
    CHECK_INT(file_number(&f, "SELECT wall_at FROM jobq_claims"), T0 - JOBQ_DAY);
    CHECK_INT(file_number(&f, sum), stored);
    CHECK_INT(file_number(&f, "SELECT min(run_at_ms) FROM jobq_jobs"), T0 - JOBQ_DAY + JOBQ_HOUR);
    CHECK_INT(file_number(&f, "SELECT count(*) FROM jobq_jobs WHERE waits_for = 'time'"), 5000);
    CHECK_INT(drain(f.q), 0);
    CHECK_INT(stats_of(f.q).wal_pages, pages + 1);
    stored = file_number(&f, "SELECT last_id FROM jobq_claims");
    put(f.q, "k");
    CHECK_INT(file_number(&f, "SELECT last_id FROM jobq_claims"), stored);
    advance(f.q, JOBQ_HOUR - 1);
    CHECK_INT(count_all(f.q).scheduled, 5000);
    advance(f.q, 1); /* nobody handles them */
    CHECK_INT(count_all(f.q).parked, 5001);
    fixture_close(&f);
}

/* Goal: a step that the owner has written down holds for jobs that are in the file already, whoever
 * stored them, and for delays that come later. Method: a client's job has a higher id than the
 * owner knows; the wall goes back; a transaction that stores nothing says so in the claims row. */
TEST(a_step_is_later_than_what_clients_stored) {
    jobq_options options = {.workers = JOBQ_NONE, .shared = true};
    jobq_job far_off = {.kind = "k", .run_at_ms = T0 + 365 * JOBQ_DAY};
    int64_t first, other, later;
    jobq *client = NULL;
    fixture f;
    REQUIRE(fixture_open(&f, options));
    options = (jobq_options){.role = JOBQ_CLIENT, .shared = true, .clock = f.clock};
    WORKS(jobq_enqueue(f.q, &(jobq_job){.kind = "k", .delay_ms = JOBQ_HOUR}, &first, &err));
    WORKS(jobq_enqueue(f.q, &far_off, &other, &err));
    WORKS(jobq_open(f.path, &options, &client, &err));
    REQUIRE(client != NULL);
    WORKS(jobq_enqueue(client, &far_off, NULL, &err));
    jobq_clock_set(f.clock, T0 - 2 * JOBQ_HOUR);
    WORKS(jobq_cancel(f.q, other, &err));
    WORKS(jobq_enqueue(client, &(jobq_job){.kind = "k", .delay_ms = JOBQ_HOUR}, &later, &err));
    CHECK_CODE(jobq_close(&client), JOBQ_OK);
    CHECK_INT(look(f.q, first).run_at_ms, T0 - JOBQ_HOUR);
    CHECK_INT(look(f.q, later).run_at_ms, T0 - JOBQ_HOUR);
    close_queue(&f.q);
    REQUIRE_CODE(jobq_open(f.path, &f.options, &f.q, NULL), JOBQ_OK);
    CHECK_INT(look(f.q, first).run_at_ms, T0 - JOBQ_HOUR);
    CHECK_INT(look(f.q, later).run_at_ms, T0 - JOBQ_HOUR);
    fixture_close(&f);
}

/* Goal: a wall that was set back and has gone on since for longer than that was not set right: what
 * is stored by a client, and what waits at the next open, takes as long as it says. Method: an hour
 * back, and then three hours in which nothing is written. */
TEST(a_wall_that_goes_on_was_not_set_right) {
    jobq_options options = {.workers = JOBQ_NONE, .shared = true};
    int64_t first, later;
    jobq *client = NULL;
    fixture f;
    REQUIRE(fixture_open(&f, options));
    options = (jobq_options){.role = JOBQ_CLIENT, .shared = true, .clock = f.clock};
    WORKS(jobq_enqueue(f.q, &(jobq_job){.kind = "k", .delay_ms = JOBQ_DAY}, &first, &err));
    jobq_clock_set(f.clock, T0 - JOBQ_HOUR);
    CHECK_INT(drain(f.q), 0);
    advance(f.q, 3 * JOBQ_HOUR);
    WORKS(jobq_open(f.path, &options, &client, &err));
    REQUIRE(client != NULL);
    WORKS(jobq_enqueue(client, &(jobq_job){.kind = "k", .delay_ms = JOBQ_DAY}, &later, &err));
    CHECK_CODE(jobq_close(&client), JOBQ_OK);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(look(f.q, first).run_at_ms, T0 - JOBQ_HOUR + JOBQ_DAY);
        CHECK_INT(look(f.q, later).run_at_ms, T0 + 2 * JOBQ_HOUR + JOBQ_DAY);
        close_queue(&f.q);
        REQUIRE_CODE(jobq_open(f.path, &f.options, &f.q, NULL), JOBQ_OK);
    }
    fixture_close(&f);
}

TEST_MAIN(steps_change_no_duration, a_handler_that_steps_waits_no_longer, a_pool_waits_no_longer,
          points_in_time_follow_the_wall, both_start_in_order, what_waits_can_be_changed,
          closed_while_the_wall_is_set_back, what_was_seen_is_remembered,
          last_commit_tells_the_time, a_step_costs_one_row,
          a_step_is_later_than_what_clients_stored,
          a_wall_that_goes_on_was_not_set_right)
