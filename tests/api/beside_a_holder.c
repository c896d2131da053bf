/* beside_a_holder.c - every call that may wait, beside somebody who keeps the file.
 *
 * Promised by the comments in jobq.h: what writes waits for busy_ms and is JOBQ_BUSY then; what
 * looks does not wait, but in memory, where a job's transaction has the only connection; what has a
 * time of its own keeps to that; everything else just returns. The holder is another connection, or
 * a handler in its transaction, in a file or in memory. It lets go when all have been called: who
 * waits for it hangs, however slow the machine is. */
#include "helpers.h"

enum holder { CONNECTION, JOB, JOB_IN_MEMORY, HOLDERS };

static const char *const holders[] = {"a connection", "a job", "a job in memory"};

enum { SOON_MS = 20, NOT_THERE = 1 };

static const int64_t busy_limits[] = {JOBQ_NONE, SOON_MS, JOBQ_DAY};

struct place {
    enum holder holder;
    int64_t busy_ms;
    jobq *q, *client;     /* in memory there is no client */
    sqlite3 *db;          /* the other connection */
    gate held, begun, ask, asked;
    int64_t later;        /* a job that is due in an hour */
};

/* ---- The calls ---- */

static const jobq_job one = {.kind = "other"};

static int call_enqueue(struct place *p, jobq_error *err) {
    return jobq_enqueue(p->q, &one, NULL, err);
}

static int call_enqueue_many(struct place *p, jobq_error *err) {
    return jobq_enqueue_many(p->q, &one, 1, NULL, err);
}

static int call_flush(struct place *p, jobq_error *err) {
    return jobq_flush(p->q, err);
}

static int call_cancel(struct place *p, jobq_error *err) {
    return jobq_cancel(p->q, p->later, err);
}

static int call_retry_now(struct place *p, jobq_error *err) {
    return jobq_retry_now(p->q, p->later, err);
}

static int call_delete(struct place *p, jobq_error *err) {
    return jobq_delete(p->q, p->later, err);
}

static int call_register(struct place *p, jobq_error *err) {
    return jobq_register(p->q, &(jobq_kind){.name = "new", .run = do_nothing}, err);
}

static int call_get(struct place *p, jobq_error *err) {
    jobq_info info;
    return jobq_get(p->q, p->later, &info, err);
}

static int call_get_payload(struct place *p, jobq_error *err) {
    return jobq_get_payload(p->q, p->later, NULL, 0, NULL, err);
}

static int call_get_result(struct place *p, jobq_error *err) {
    return jobq_get_result(p->q, p->later, NULL, 0, NULL, err);
}

static int call_list(struct place *p, jobq_error *err) {
    jobq_cursor cursor = {.done = false};
    jobq_info info;
    size_t count;
    return jobq_list(p->q, NULL, &cursor, &info, 1, &count, err);
}

static int call_count(struct place *p, jobq_error *err) {
    jobq_counts counts;
    return jobq_count(p->q, &counts, err);
}

static int call_stat(struct place *p, jobq_error *err) {
    jobq_stats stats;
    return jobq_stat(p->q, &stats, err);
}

static int call_wakes(struct place *p, jobq_error *err) {
    (void)err;
    return jobq_wakes(p->q) > 0 ? JOBQ_OK : JOBQ_IO;
}

static int call_notify(struct place *p, jobq_error *err) {
    return jobq_notify(p->q, err);
}

static int call_next_deadline(struct place *p, jobq_error *err) {
    int64_t at_ms;
    return jobq_next_deadline(p->q, &at_ms, err);
}

static int call_start(struct place *p, jobq_error *err) {
    return jobq_start(p->q, err);
}

static int call_wait(struct place *p, jobq_error *err) {
    return jobq_wait(p->q, p->later, SOON_MS, NULL, err);
}

static int call_wait_no_time(struct place *p, jobq_error *err) {
    return jobq_wait(p->q, p->later, 0, NULL, err);
}

static int call_wait_none(struct place *p, jobq_error *err) {
    return jobq_wait(p->q, p->later, JOBQ_NONE, NULL, err);
}

static int call_stop(struct place *p, jobq_error *err) {
    return jobq_stop(p->q, SOON_MS, err);
}

static int call_stop_none(struct place *p, jobq_error *err) {
    return jobq_stop(p->q, JOBQ_NONE, err);
}

static int call_client_enqueue(struct place *p, jobq_error *err) {
    return p->client ? jobq_enqueue(p->client, &one, NULL, err) : NOT_THERE;
}

static int call_client_get(struct place *p, jobq_error *err) {
    jobq_info info;
    return p->client ? jobq_get(p->client, p->later, &info, err) : NOT_THERE;
}

static int call_client_close(struct place *p, jobq_error *err) {
    (void)err;
    return p->client ? jobq_close(&p->client) : NOT_THERE;
}

/* What each of them returns, by holder. A handler runs in each of these places. */
#define WRITES {JOBQ_BUSY, JOBQ_BUSY, JOBQ_BUSY}
#define LOOKS {JOBQ_OK, JOBQ_OK, JOBQ_BUSY}
#define RETURNS {JOBQ_OK, JOBQ_OK, JOBQ_OK}
#define OWN_TIME {JOBQ_TIMEOUT, JOBQ_TIMEOUT, JOBQ_TIMEOUT}

static const struct call {
    const char *name;
    int (*call)(struct place *p, jobq_error *err);
    int codes[HOLDERS];
} calls[] = {
    {"enqueue", call_enqueue, WRITES},
    {"enqueue_many", call_enqueue_many, WRITES},
    {"flush", call_flush, WRITES},
    {"cancel", call_cancel, WRITES},
    {"retry_now", call_retry_now, WRITES},
    {"delete", call_delete, WRITES},
    {"register", call_register, WRITES},
    {"a client's enqueue", call_client_enqueue, {JOBQ_BUSY, JOBQ_BUSY, NOT_THERE}},
    {"get", call_get, LOOKS},
    {"get_payload", call_get_payload, LOOKS},
    {"get_result", call_get_result, LOOKS},
    {"list", call_list, LOOKS},
    {"count", call_count, LOOKS},
    {"a client's get", call_client_get, {JOBQ_OK, JOBQ_OK, NOT_THERE}},
    {"a client's close", call_client_close, {JOBQ_OK, JOBQ_OK, NOT_THERE}},
    {"stat", call_stat, RETURNS},
    {"wakes", call_wakes, RETURNS},
    {"notify", call_notify, RETURNS},
    {"next_deadline", call_next_deadline, RETURNS},
    {"start, when started", call_start, RETURNS},
    {"wait", call_wait, OWN_TIME},
    {"wait, 0", call_wait_no_time, OWN_TIME},
    {"wait, JOBQ_NONE", call_wait_none, OWN_TIME},
    {"stop, JOBQ_NONE", call_stop_none, OWN_TIME},
    {"stop", call_stop, OWN_TIME},
    {"start, while stopping", call_start, {JOBQ_BUSY, JOBQ_BUSY, JOBQ_BUSY}}};

/* A start does not wait for anybody. */
static bool waits_for_busy_ms(const struct call *c) {
    return c->call != call_start;
}

static void check_took(const struct place *p, const char *name, int code, int64_t took_ms) {
    int64_t least_ms = p->busy_ms == SOON_MS && code == JOBQ_BUSY ? SOON_MS - 1 : 0;
    if (!CHECK(took_ms >= least_ms))
        test_note("%s beside %s took %d ms", name, holders[p->holder], (int)took_ms);
}

static void call_all(struct place *p) {
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        const struct call *c = &calls[i];
        int wanted = c->codes[p->holder], code;
        jobq_error err = {.code = JOBQ_OK};
        int64_t took_ms;
        bool waits = wanted == JOBQ_BUSY && waits_for_busy_ms(c);
        if (waits && p->busy_ms == JOBQ_DAY) continue;
        took_ms = -test_real_ms();
        code = c->call(p, &err);
        took_ms += test_real_ms();
        if (!CHECK_CODE(code, wanted))
            test_note("%s beside %s, busy_ms %" PRId64 ": %s", c->name, holders[p->holder],
                      p->busy_ms, err.text);
        if (waits) check_took(p, c->name, code, took_ms);
    }
}

/* ---- The handlers ---- */

static jobq_outcome hold(jobq_run *run, void *ctx) {
    struct place *p = (struct place *)ctx;
    sqlite3 *db = NULL;
    if (p->holder != CONNECTION) WORKS(jobq_run_db(run, &db, &err));
    gate_pass(&p->held);
    return JOBQ_DONE;
}

/* Calls that only a handler has, in another handler. */
static jobq_outcome ask(jobq_run *run, void *ctx) {
    struct place *p = (struct place *)ctx;
    sqlite3 *db = NULL;
    int64_t took_ms;
    gate_pass(&p->begun);
    gate_pass(&p->ask);
    if (p->busy_ms != JOBQ_DAY) {
        took_ms = -test_real_ms();
        FAILS(JOBQ_BUSY, jobq_run_db(run, &db, &err));
        check_took(p, "run_db", JOBQ_BUSY, took_ms + test_real_ms());
        took_ms = -test_real_ms();
        FAILS(JOBQ_BUSY, jobq_checkpoint(run, "x", 1, &err));
        check_took(p, "checkpoint", JOBQ_BUSY, took_ms + test_real_ms());
    }
    CHECK(jobq_run_info(run) != NULL); /* has no key, so nothing is read */
    CHECK(jobq_run_checkpoint(run, NULL) == NULL);
    CHECK(!jobq_run_sleep(run, 1));
    gate_pass(&p->asked);
    return JOBQ_DONE;
}

/* ---- The places ---- */

static bool place_open(struct place *p, enum holder holder, int64_t busy_ms) {
    const char *path = holder == JOB_IN_MEMORY ? ":memory:" : test_path("q.db");
    jobq_options options = {.workers = 2, .shared = true, .durability = JOBQ_RELAXED,
                            .busy_ms = busy_ms};
    memset(p, 0, sizeof *p);
    p->holder = holder;
    p->busy_ms = busy_ms;
    gate_init(&p->held);
    gate_init(&p->begun);
    gate_init(&p->ask);
    gate_init(&p->asked);
    gate_open(&p->begun);
    gate_open(&p->asked);
    WORKS(jobq_open(path, &options, &p->q, &err));
    if (!p->q) return false;
    options.role = JOBQ_CLIENT;
    options.workers = 0;
    if (holder != JOB_IN_MEMORY) WORKS(jobq_open(path, &options, &p->client, &err));
    handle(p->q, "ask", ask, p);
    handle(p->q, "hold", hold, p);
    p->later = put_job(p->q, (jobq_job){.kind = "hold", .delay_ms = JOBQ_HOUR});
    put(p->q, "ask");
    start(p->q);
    gate_await(&p->begun, 1);
    put(p->q, "hold");
    gate_await(&p->held, 1);
    if (holder != CONNECTION) return true;
    p->db = sql_open(path);
    return CHECK_INT(sqlite3_exec(p->db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
}

static void let_go(struct place *p) {
    if (p->db) CHECK_INT(sqlite3_exec(p->db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(p->db);
    gate_open(&p->held);
}

static void place_close(struct place *p) {
    static const char *const endings[] = {"", "-wal", "-shm", "-jobq"};
    close_queue(&p->q);
    gate_free(&p->held);
    gate_free(&p->begun);
    gate_free(&p->ask);
    gate_free(&p->asked);
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s%s", test_path("q.db"), endings[i]);
        unlink(path);
    }
}

/* Goal: each call keeps to the time that its comment says. Method: all of them beside each holder,
 * with no time, a short and a long one; those that would wait for the long one are left out. What
 * was refused has not happened. */
TEST(each_call_keeps_to_its_time) {
    for (int holder = 0; holder < HOLDERS; holder++) {
        for (size_t i = 0; i < sizeof busy_limits / sizeof busy_limits[0]; i++) {
            struct place p;
            REQUIRE(place_open(&p, (enum holder)holder, busy_limits[i]));
            gate_open(&p.ask);
            gate_await(&p.asked, 1);
            call_all(&p);
            let_go(&p);
            WORKS(jobq_stop(p.q, JOBQ_NEVER, &err));
            CHECK_INT(state_of(p.q, p.later), JOBQ_STATE_PENDING);
            CHECK(look(p.q, p.later).scheduled);
            CHECK_INT(total(p.q), 3);
            place_close(&p);
        }
    }
}

/* Goal: so do the calls that let a queue go on, in step mode. Method: beside another connection;
 * the job that runs for the first of them runs for none of the others. */
TEST(steps_keep_to_busy_ms) {
    for (int i = 0; i < 2; i++) {
        int64_t took_ms[4], ran = 0;
        int step_ran = 0;
        sqlite3 *db;
        fixture f;
        REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .shared = true,
                                                .busy_ms = busy_limits[i]}));
        handle(f.q, "k", do_nothing, NULL);
        put(f.q, "k");
        db = sql_open(f.path);
        CHECK_INT(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
        for (int n = 0; n < 4; n++) {
            took_ms[n] = -test_real_ms();
            if (n == 0) FAILS(JOBQ_BUSY, jobq_step(f.q, &step_ran, &err));
            if (n == 1) FAILS(JOBQ_BUSY, jobq_run_until_idle(f.q, &ran, &err));
            if (n == 2) FAILS(JOBQ_BUSY, jobq_advance(f.q, 1, NULL, &err));
            if (n == 3) FAILS(JOBQ_BUSY, jobq_advance_to_next(f.q, &err));
            took_ms[n] += test_real_ms();
            CHECK(busy_limits[i] == JOBQ_NONE || took_ms[n] >= busy_limits[i] - 1);
        }
        CHECK_INT(step_ran + ran, 0);
        CHECK_INT(fixture_elapsed(&f), 0);
        CHECK_INT(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(db);
        CHECK_INT(drain(f.q), 1);
        fixture_remove(&f);
    }
}

/* Goal: with a pool jobq_advance keeps to stall_ms, whoever has the file. Method: busy_ms is a day;
 * beside a connection a job is due, which nobody can claim. */
TEST(advance_keeps_to_stall_ms) {
    for (int memory = 0; memory < 2; memory++) {
        jobq_options options = {.workers = 1, .shared = true, .busy_ms = JOBQ_DAY,
                                .stall_ms = SOON_MS};
        sqlite3 *db = NULL;
        int64_t took_ms;
        gate g;
        jobq *q = NULL;
        gate_init(&g);
        options.clock = jobq_clock_artificial(T0);
        WORKS(jobq_open(memory ? ":memory:" : test_path("q.db"), &options, &q, &err));
        REQUIRE(q != NULL);
        handle(q, "hold", hold_the_writer, &g);
        start(q);
        if (memory) {
            put(q, "hold");
            gate_await(&g, 1);
        } else {
            put_job(q, (jobq_job){.kind = "hold", .delay_ms = 1});
            db = sql_open(test_path("q.db"));
            CHECK_INT(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
        }
        took_ms = -test_real_ms();
        FAILS(JOBQ_STALLED, jobq_advance(q, 10, NULL, &err));
        CHECK(took_ms + test_real_ms() >= SOON_MS - 1);
        if (db) CHECK_INT(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(db);
        gate_open(&g);
        close_queue(&q);
        jobq_clock_free(options.clock);
        gate_free(&g);
    }
}

TEST_MAIN(each_call_keeps_to_its_time, steps_keep_to_busy_ms, advance_keeps_to_stall_ms)
