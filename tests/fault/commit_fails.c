/* commit_fails.c - commits on a disk that is full, fails or is held by somebody else: what a call
 * returned is what has happened, no outcome is lost, and nothing that was refused comes back. */
#include "fault_vfs.h"
#include "helpers.h"

#include <sched.h>

#define SHARED_STEP ((jobq_options){.workers = JOBQ_NONE, .shared = true, .busy_ms = 5})
#define PATIENT_POOL ((jobq_options){.workers = 2, .shared = true})
#define POOL ((jobq_options){.workers = 2, .shared = true, .busy_ms = 5})

/* ---- Looking at what is left ---- */

static void check_file(const char *path) {
    char text[64];
    sql_text(path, "PRAGMA integrity_check", text, sizeof text);
    CHECK_STR(text, "ok");
}

/* Opens the file as the next owner would, long after, lets all jobs run, and returns how many there
 * are; all of them must come to be done. */
static int64_t survivors(const char *path) {
    jobq_options options = SHARED_STEP;
    jobq_counts c;
    jobq *q = NULL;
    memset(&c, 0, sizeof c);
    options.clock = jobq_clock_artificial(T0 + JOBQ_HOUR);
    options.join = true;
    WORKS(jobq_open(path, &options, &q, &err));
    if (q) {
        handle(q, "k", do_nothing, NULL);
        drain(q);
        advance(q, JOBQ_HOUR);
        c = count_all(q);
        CHECK_INT(c.ready + c.scheduled + c.parked + c.running + c.failed + c.cancelled, 0);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
        check_file(path);
    }
    jobq_clock_free(options.clock);
    return c.done;
}

/* Opens the fixture on a disk that works, with kind "k" and one job, so that the log has begun. */
static bool begin(fixture *f, jobq_options options, jobq_handler run, void *ctx) {
    fault_begin();
    options.join = true;
    sql_run(test_path("q.db"), "CREATE TABLE IF NOT EXISTS note(n INTEGER, text TEXT)");
    if (!fixture_open(f, options)) return false;
    handle(f->q, "k", run, ctx);
    return true;
}

static int64_t notes(const char *path) {
    return sql_int(path, "SELECT count(*) FROM note");
}

static int put_code(jobq *q, const char *key) {
    return jobq_enqueue(q, &(jobq_job){.kind = "k", .key = key}, NULL, NULL);
}

/* ---- A full disk ---- */

/* Goal: new work is refused and nothing of it stays. Method: enqueue while every write of the log
 * gets SQLITE_FULL, then with space. */
TEST(full_disk_refuses_new_work) {
    fixture f;
    int64_t id = 77;
    REQUIRE(begin(&f, SHARED_STEP, do_nothing, NULL));
    put(f.q, "k");
    fault_plan(FAULT_WAL_WRITE, "x*", SQLITE_FULL);
    FAILS(JOBQ_FULL, jobq_enqueue(f.q, &(jobq_job){.kind = "k"}, &id, &err));
    CHECK_INT(id, 0);
    CHECK_INT(total(f.q), 1);
    fault_off();
    CHECK_INT(total(f.q), 1);
    put(f.q, "k");
    CHECK_INT(drain(f.q), 2);
    CHECK_INT(stats_of(f.q).failed_code, JOBQ_OK);
    REQUIRE(fixture_reopen(&f));
    CHECK_INT(total(f.q), 2);
    fixture_close(&f);
}

/* Goal: a full disk stops nobody because another connection comes in between. Method: an owner and
 * a client that do not wait; the disk is full at COMMIT, and from each lock on some are refused,
 * also those by which it is made sure that nothing of the commit stays. */
TEST(full_disk_while_others_write) {
    fixture f;
    jobq_options options = {.role = JOBQ_CLIENT, .shared = true, .busy_ms = JOBQ_NONE};
    jobq *client = NULL, *who;
    int refused = 0;
    REQUIRE(begin(&f, (jobq_options){.workers = JOBQ_NONE, .shared = true, .busy_ms = JOBQ_NONE},
                  do_nothing, NULL));
    put(f.q, "k");
    WORKS(jobq_open(f.path, &options, &client, &err));
    REQUIRE(client != NULL);
    for (int i = 0; i < 40; i++) {
        int rc;
        who = i % 2 ? client : f.q;
        fault_plan(FAULT_WAL_WRITE, "x", SQLITE_FULL);
        fault_nth(FAULT_SHM_LOCK, i / 2 + 1, "xxx", SQLITE_BUSY);
        rc = put_code(who, NULL);
        if (rc == JOBQ_FULL) refused++;
        else if (rc != JOBQ_OK) CHECK_CODE(rc, JOBQ_BUSY); /* it did not begin */
        fault_off();
        CHECK_CODE(put_code(who, NULL), JOBQ_OK);
        CHECK_INT(stats_of(who).failed_code, JOBQ_OK);
    }
    CHECK(refused > 0);
    CHECK_CODE(jobq_close(&client), JOBQ_OK);
    fixture_close(&f);
}

/* Goal: neither a key, a name nor a part of a batch is left behind. Method: all of them new while
 * the disk is full; then the same calls again. */
TEST(full_disk_leaves_no_key_and_no_name) {
    fixture f;
    jobq_job jobs[3] = {{.kind = "k", .key = "one"}, {.kind = "new"}, {.kind = "k", .queue = "q"}};
    jobq_stored results[3];
    jobq_error told = {.code = JOBQ_OK};
    REQUIRE(begin(&f, SHARED_STEP, do_nothing, NULL));
    put(f.q, "k");
    fault_plan(FAULT_WAL_WRITE, "x*", SQLITE_FULL);
    FAILS(JOBQ_FULL, jobq_enqueue_many(f.q, jobs, 3, results, &err));
    CHECK_CODE(jobq_enqueue(f.q, &jobs[0], NULL, &told), JOBQ_FULL);
    if (!CHECK(strstr(told.text, f.path))) test_note("%s", told.text);
    FAILS(JOBQ_FULL, jobq_register(f.q, &(jobq_kind){.name = "new", .run = do_nothing}, &err));
    CHECK_INT(results[0].id + results[1].id + results[2].id, 0);
    fault_off();
    WORKS(jobq_enqueue_many(f.q, jobs, 3, results, &err));
    for (int i = 0; i < 3; i++) CHECK_INT(results[i].how, JOBQ_NEW);
    handle(f.q, "new", do_nothing, NULL);
    CHECK_INT(drain(f.q), 4);
    CHECK_INT(total(f.q), 4);
    fixture_close(&f);
}

/* A handler that fills the disk, or breaks it, and returns an outcome. */
struct breaker {
    enum fault_what what;
    const char *plan; /* NULL: nothing breaks */
    int code;
    jobq_outcome outcome;
    int runs;
};

static jobq_outcome break_disk(jobq_run *run, void *ctx) {
    struct breaker *b = (struct breaker *)ctx;
    b->runs++;
    if (b->plan) fault_plan(b->what, b->plan, b->code);
    if (b->outcome == JOBQ_RETRY || b->outcome == JOBQ_FAIL) jobq_retry(run, "no luck");
    return b->outcome;
}

/* Goal: what a job has come to while the disk is full is settled when there is space, and it does
 * not run again. Method: the handler fills the disk; each outcome; two steps fail, one settles. */
TEST(outcome_waits_for_space) {
    static const struct {
        jobq_outcome outcome;
        jobq_state state;
        int attempt;
    } rows[] = {{JOBQ_DONE, JOBQ_STATE_DONE, 1}, {JOBQ_FAIL, JOBQ_STATE_FAILED, 1},
                {JOBQ_RETRY, JOBQ_STATE_PENDING, 2}, {JOBQ_CANCELLED, JOBQ_STATE_CANCELLED, 1},
                {JOBQ_RESCHEDULE, JOBQ_STATE_PENDING, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct breaker b = {FAULT_WAL_WRITE, "x*", SQLITE_FULL, rows[i].outcome, 0};
        fixture f;
        jobq_info info;
        int64_t id;
        int ran = 7;
        REQUIRE(begin(&f, SHARED_STEP, break_disk, &b));
        id = put(f.q, "k");
        FAILS(JOBQ_FULL, jobq_step(f.q, &ran, &err));
        CHECK_INT(ran, 1);
        FAILS(JOBQ_FULL, jobq_step(f.q, &ran, &err));
        CHECK_INT(ran, 0);
        fault_off();
        b.plan = NULL;
        CHECK_INT(drain(f.q), 0);
        info = look(f.q, id);
        CHECK_INT(info.state, rows[i].state);
        CHECK_INT(info.attempt, rows[i].attempt);
        CHECK_INT(b.runs, info.runs);
        CHECK_INT(stats_of(f.q).lost_outcomes, 0);
        REQUIRE(fixture_reopen(&f));
        CHECK_INT(state_of(f.q, id), rows[i].state);
        fixture_remove(&f);
    }
}

struct crowd {
    jobq *q;
    gate *gate;
    struct breaker breaker;
    pthread_mutex_t mutex;
};

static jobq_outcome gate_and_count(jobq_run *run, void *ctx) {
    struct crowd *c = (struct crowd *)ctx;
    (void)run;
    pthread_mutex_lock(&c->mutex);
    c->breaker.runs++;
    pthread_mutex_unlock(&c->mutex);
    gate_pass(c->gate);
    return JOBQ_DONE;
}

static void crowd_open(struct crowd *c, gate *g) {
    memset(c, 0, sizeof *c);
    gate_init(g);
    pthread_mutex_init(&c->mutex, NULL);
    c->gate = g;
}

static void crowd_close(struct crowd *c) {
    gate_free(c->gate);
    pthread_mutex_destroy(&c->mutex);
}

/* Goal: the same with threads: the pool tries again by itself. Method: two jobs stand at a gate,
 * the disk fills, enqueue is refused, the jobs finish, a commit fails, then there is space. */
TEST(pool_settles_when_space_returns) {
    fixture f;
    gate g;
    struct crowd c;
    int64_t ids[2];
    crowd_open(&c, &g);
    REQUIRE(begin(&f, PATIENT_POOL, gate_and_count, &c));
    for (int i = 0; i < 2; i++) ids[i] = put(f.q, "k");
    start(f.q);
    gate_await(&g, 2);
    fault_plan(FAULT_WAL_WRITE, "x*", SQLITE_FULL);
    FAILS(JOBQ_FULL, jobq_enqueue(f.q, &(jobq_job){.kind = "k"}, NULL, &err));
    gate_open(&g);
    fault_await(FAULT_WAL_WRITE, fault_hits(FAULT_WAL_WRITE) + 2);
    FAILS(JOBQ_FULL, jobq_enqueue(f.q, &(jobq_job){.kind = "k"}, NULL, &err));
    fault_off();
    for (int i = 0; i < 2; i++) CHECK_INT(finish(f.q, ids[i]).state, JOBQ_STATE_DONE);
    CHECK_INT(c.breaker.runs, 2);
    CHECK_INT(total(f.q), 2);
    CHECK_INT(finish(f.q, put(f.q, "k")).state, JOBQ_STATE_DONE);
    fixture_close(&f);
    crowd_close(&c);
}

/* Goal (G8): finishing work succeeds on a full disk, for the log can be used again from its
 * beginning. Method: no log may grow; the job is settled while that lasts. */
TEST(full_disk_still_settles) {
    fixture f;
    int64_t id;
    REQUIRE(begin(&f, SHARED_STEP, do_nothing, NULL));
    for (int i = 0; i < 50; i++) put(f.q, "k");
    id = put(f.q, "k");
    WORKS(jobq_step(f.q, NULL, &err));
    fault_wal_limit(fault_wal_size());
    for (int i = 0; i < 60 && state_of(f.q, id) != JOBQ_STATE_DONE; i++)
        jobq_run_until_idle(f.q, NULL, NULL);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
    CHECK_INT(count_all(f.q).done, 51);
    fixture_close(&f);
}

struct producer {
    jobq *q;
    gate *lined_up;
    pthread_t thread;
    size_t size, count; /* bytes of each payload, jobs of the batch */
    int code;
};

static void *produce(void *arg) {
    struct producer *p = (struct producer *)arg;
    jobq_job jobs[8];
    void *payload = calloc(1, p->size);
    if (!payload) test_give_up("no memory");
    memset(jobs, 0, sizeof jobs);
    for (size_t i = 0; i < p->count; i++) {
        jobs[i].kind = "k";
        jobs[i].payload = payload;
        jobs[i].size = p->size;
    }
    gate_pass(p->lined_up);
    p->code = jobq_enqueue_many(p->q, jobs, p->count, NULL, NULL);
    free(payload);
    return NULL;
}

enum { HERD = 8 };

/* A pool whose only job holds the writer at a gate, and threads that are to queue behind it. */
struct herd {
    fixture f;
    gate held, lined_up;
    struct producer producers[HERD];
    int64_t id; /* of the job that holds */
};

static bool herd_open(struct herd *h) {
    gate_init(&h->held);
    gate_init(&h->lined_up);
    h->lined_up.open = true; /* it only counts */
    fault_begin();
    if (!fixture_open(&h->f, (jobq_options){.workers = 2})) return false;
    handle(h->f.q, "hold", hold_the_writer, &h->held);
    h->id = put(h->f.q, "hold");
    start(h->f.q);
    gate_await(&h->held, 1);
    for (int i = 0; i < HERD; i++) {
        struct producer p = {h->f.q, &h->lined_up, pthread_self(), 100, 1, 0};
        h->producers[i] = p;
    }
    return true;
}

/* Lets them line up and go. That they form one group is likely; nothing may depend on it. */
static void herd_go(struct herd *h) {
    for (int i = 0; i < HERD; i++)
        h->producers[i].thread = thread_start(produce, &h->producers[i]);
    gate_await(&h->lined_up, HERD);
    for (int i = 0; i < 200; i++) sched_yield();
    gate_open(&h->held);
    for (int i = 0; i < HERD; i++) pthread_join(h->producers[i].thread, NULL);
}

static void herd_close(struct herd *h) {
    fixture_remove(&h->f);
    gate_free(&h->held);
    gate_free(&h->lined_up);
}

/* Goal: in a group of several callers the one that the disk cannot take is refused and the others
 * get through. Method: threads queue behind a job's transaction, one with a payload beyond the
 * log's limit: too big at COMMIT, or so big that SQLite writes before. */
TEST(one_request_too_big_for_the_disk) {
    for (size_t batch = 1; batch <= 5; batch += 4) {
        struct herd h;
        REQUIRE(herd_open(&h));
        h.producers[3].size = 1000 * 1000;
        h.producers[3].count = batch;
        fault_wal_limit(fault_wal_size() + 512 * 1024);
        herd_go(&h);
        for (int i = 0; i < HERD; i++)
            CHECK_CODE(h.producers[i].code, i == 3 ? JOBQ_FULL : JOBQ_OK);
        CHECK_INT(finish(h.f.q, h.id).state, JOBQ_STATE_DONE);
        CHECK_INT(total(h.f.q), HERD);
        herd_close(&h);
    }
}

/* Goal: jobq_flush has synced when it says so, even if its first commit was lost. Method: RELAXED;
 * the flush's first write fails once, and the syncs of the log are counted. */
TEST(flush_syncs_when_it_is_repeated) {
    static const int codes[] = {SQLITE_FULL, SQLITE_IOERR_WRITE};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        jobq_options options = SHARED_STEP;
        fixture f;
        options.durability = JOBQ_RELAXED;
        REQUIRE(begin(&f, options, do_nothing, NULL));
        put(f.q, "k");
        fault_off();
        put(f.q, "k");
        CHECK_INT(fault_calls(FAULT_WAL_SYNC), 0);
        WORKS(jobq_flush(f.q, &err));
        CHECK(fault_calls(FAULT_WAL_SYNC) > 0);
        put(f.q, "k");
        fault_off();
        fault_plan(FAULT_WAL_WRITE, "x", codes[i]);
        if (jobq_flush(f.q, NULL) == JOBQ_OK) CHECK(fault_calls(FAULT_WAL_SYNC) > 0);
        CHECK_INT(fault_hits(FAULT_WAL_WRITE), 1);
        fixture_remove(&f);
    }
}

/* ---- An error at COMMIT ---- */

/* Goal: that memory is out at COMMIT, and at what makes certain that nothing of it comes back, does
 * not stop the queue, unless that lasts. Method: so many writes of the log have none, and then
 * all. */
TEST(no_memory_at_commit) {
    fixture f;
    REQUIRE(begin(&f, SHARED_STEP, do_nothing, NULL));
    put(f.q, "k");
    fault_plan(FAULT_WAL_WRITE, "xxxxxxxx", SQLITE_IOERR_NOMEM);
    put(f.q, "k");
    CHECK_INT(fault_hits(FAULT_WAL_WRITE), 8);
    CHECK_INT(stats_of(f.q).failed_code, JOBQ_OK);
    fault_plan(FAULT_WAL_WRITE, "x*", SQLITE_IOERR_NOMEM);
    FAILS(JOBQ_UNKNOWN, jobq_enqueue(f.q, &(jobq_job){.kind = "k"}, NULL, &err));
    CHECK_INT(stats_of(f.q).failed_code, JOBQ_IO);
    fault_off();
    CHECK_CODE(jobq_close(&f.q), JOBQ_OK);
    jobq_clock_free(f.clock);
    CHECK_INT(survivors(f.path), 2);
    test_remove(f.path);
}

/* Goal: an I/O error at COMMIT is OK, IO or UNKNOWN, and each of them is true: now, in the file
 * that is left, and in what a kill at that moment would leave. Method: plans that fail the sync of
 * the commit, of the scrub and of the second try; one job more is counted. */
TEST(sync_fails_at_commit) {
    static const struct {
        const char *plan;
        int code;
        int64_t least, most; /* jobs found later */
    } rows[] = {{"x", JOBQ_OK, 1, 1},         {"x.x", JOBQ_IO, 0, 0},
                {"xx", JOBQ_UNKNOWN, 0, 1},   {"x.xx", JOBQ_UNKNOWN, 0, 1},
                {"X", JOBQ_UNKNOWN, 0, 1},    {"x.X", JOBQ_UNKNOWN, 0, 1}};
    int64_t seen = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *copy = test_path("copy.db");
        fixture f;
        int64_t id = 77, left, copied;
        int code;
        REQUIRE(begin(&f, SHARED_STEP, do_nothing, NULL));
        put(f.q, "k");
        fault_plan(FAULT_WAL_SYNC, rows[i].plan, SQLITE_IOERR_FSYNC);
        code = jobq_enqueue(f.q, &(jobq_job){.kind = "k"}, &id, NULL);
        CHECK_CODE(code, rows[i].code);
        CHECK_INT(id != 0, code == JOBQ_OK);
        CHECK_INT(stats_of(f.q).failed_code, code == JOBQ_UNKNOWN ? JOBQ_IO : JOBQ_OK);
        fault_copy(f.path, copy);
        fault_off();
        if (code != JOBQ_UNKNOWN) CHECK_INT(total(f.q), 1 + rows[i].most);
        CHECK_CODE(jobq_close(&f.q), JOBQ_OK);
        jobq_clock_free(f.clock);
        left = survivors(f.path) - 1;
        copied = survivors(copy) - 1;
        if (!CHECK(left >= rows[i].least && left <= rows[i].most)) test_note("%s", rows[i].plan);
        if (!CHECK(copied >= rows[i].least && copied <= rows[i].most))
            test_note("%s", rows[i].plan);
        if (code == JOBQ_UNKNOWN) seen += copied;
        test_remove(f.path);
        fault_remove(copy);
    }
    CHECK(seen > 0); /* else UNKNOWN would be a needless word */
}

/* What every writing call gives once the queue has stopped. */
static void check_stopped(fixture *f, int64_t id, int64_t failed_id) {
    jobq_job job = {.kind = "k"};
    int64_t ran = 7;
    int one = 7;
    FAILS(JOBQ_IO, jobq_enqueue(f->q, &job, NULL, &err));
    FAILS(JOBQ_IO, jobq_enqueue_many(f->q, &job, 1, NULL, &err));
    FAILS(JOBQ_IO, jobq_cancel(f->q, id, &err));
    FAILS(JOBQ_IO, jobq_retry_now(f->q, failed_id, &err));
    FAILS(JOBQ_IO, jobq_delete(f->q, id, &err));
    FAILS(JOBQ_IO, jobq_flush(f->q, &err));
    FAILS(JOBQ_IO, jobq_register(f->q, &(jobq_kind){.name = "l", .run = do_nothing}, &err));
    FAILS(JOBQ_IO, jobq_step(f->q, &one, &err));
    CHECK_INT(one, 0);
    FAILS(JOBQ_IO, jobq_run_until_idle(f->q, &ran, &err));
    CHECK_INT(ran, 0);
    FAILS(JOBQ_IO, jobq_advance(f->q, JOBQ_DAY, NULL, &err));
    CHECK_INT(stats_of(f->q).failed_code, JOBQ_IO);
}

/* Goal: after UNKNOWN the queue has stopped for good: one reason, nothing runs, nothing is written,
 * looking and closing work, and the next open goes on. Method: the disk dies at a sync and comes
 * back; then every writing call, while the log's writes are counted. */
TEST(unknown_stops_the_queue) {
    struct breaker b = {FAULT_WAL_SYNC, NULL, 0, JOBQ_FAIL, 0};
    fixture f;
    int64_t id, failed_id;
    REQUIRE(begin(&f, SHARED_STEP, break_disk, &b));
    failed_id = put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    id = put(f.q, "k");
    fault_plan(FAULT_WAL_SYNC, "X", SQLITE_IOERR_FSYNC);
    FAILS(JOBQ_UNKNOWN, jobq_enqueue(f.q, &(jobq_job){.kind = "k"}, NULL, &err));
    fault_off();
    check_stopped(&f, id, failed_id);
    CHECK_INT(b.runs, 1);
    CHECK_INT(fault_calls(FAULT_WAL_WRITE), 0);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_PENDING);
    CHECK_INT(state_of(f.q, failed_id), JOBQ_STATE_FAILED);
    REQUIRE(fixture_reopen(&f));
    CHECK_INT(stats_of(f.q).failed_code, JOBQ_OK);
    handle(f.q, "k", do_nothing, NULL);
    CHECK(drain(f.q) >= 1);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
    WORKS(jobq_retry_now(f.q, failed_id, &err));
    fixture_close(&f);
}

/* Goal: a pool that has stopped for good claims nothing more, lets handlers return, and can be
 * stopped and closed; the next owner finds every job and blames none. Method: one job stands at a
 * gate, another is scheduled; the disk dies under an enqueue. */
TEST(unknown_stops_the_pool) {
    fixture f;
    gate g;
    struct crowd c;
    jobq_info info;
    int64_t running, later;
    crowd_open(&c, &g);
    REQUIRE(begin(&f, POOL, gate_and_count, &c));
    later = put_job(f.q, (jobq_job){.kind = "k", .delay_ms = 1000});
    running = put(f.q, "k");
    start(f.q);
    gate_await(&g, 1);
    fault_plan(FAULT_WAL_SYNC, "X", SQLITE_IOERR_FSYNC);
    FAILS(JOBQ_UNKNOWN, jobq_enqueue(f.q, &(jobq_job){.kind = "k"}, NULL, &err));
    fault_off();
    FAILS(JOBQ_IO, jobq_enqueue(f.q, &(jobq_job){.kind = "k"}, NULL, &err));
    CHECK_INT(stats_of(f.q).failed_code, JOBQ_IO);
    gate_open(&g);
    jobq_clock_advance(f.clock, JOBQ_HOUR);
    WORKS(jobq_notify(f.q, &err));
    FAILS(JOBQ_IO, jobq_stop(f.q, JOBQ_NEVER, &err)); /* it has an outcome that it cannot write */
    CHECK_INT(c.breaker.runs, 1);
    REQUIRE(fixture_reopen(&f));
    info = look(f.q, running);
    CHECK_INT(info.state, JOBQ_STATE_PENDING);
    CHECK_INT(info.attempt, 1);
    CHECK_INT(info.crashes, 0);
    handle(f.q, "k", do_nothing, NULL);
    start(f.q);
    CHECK_INT(finish(f.q, running).state, JOBQ_STATE_DONE);
    CHECK_INT(finish(f.q, later).state, JOBQ_STATE_DONE);
    fixture_close(&f);
    crowd_close(&c);
}

static int64_t processor_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Goal: a pool that has stopped for good rests, with outcomes that it cannot write, jobs in the
 * ring and in the table, and one that is due. Method: the disk dies under an enqueue, or under the
 * pool before; then processor time, commits and calls of the disk while nothing happens. */
TEST(stopped_pool_is_idle) {
    fixture f;
    gate g;
    struct crowd c;
    int64_t calls, commits, used_us;
    int looks = 0;
    crowd_open(&c, &g);
    REQUIRE(begin(&f, POOL, gate_and_count, &c));
    put_job(f.q, (jobq_job){.kind = "k", .delay_ms = 1000});
    for (int i = 0; i < 20; i++) put(f.q, "k");
    start(f.q);
    gate_await(&g, 2);
    fault_plan(FAULT_WAL_SYNC, "X", SQLITE_IOERR_FSYNC);
    FAILS_SOMEHOW(jobq_enqueue(f.q, &(jobq_job){.kind = "k"}, NULL, &err));
    CHECK_INT(stats_of(f.q).failed_code, JOBQ_IO);
    jobq_clock_advance(f.clock, JOBQ_HOUR);
    WORKS(jobq_notify(f.q, &err));
    gate_open(&g);
    while (stats_of(f.q).running > 0) sched_yield();
    /* On a busy machine a thread may have its last calls still before it. */
    do {
        calls = fault_calls(FAULT_ANY);
        test_pause_ms(20);
    } while (fault_calls(FAULT_ANY) != calls && ++looks < 100);
    commits = stats_of(f.q).commits;
    used_us = processor_us();
    test_pause_ms(100);
    CHECK(processor_us() - used_us < 50000);
    CHECK_INT(fault_calls(FAULT_ANY), calls);
    CHECK_INT(stats_of(f.q).commits, commits);
    CHECK_INT(c.breaker.runs, 2);
    fixture_close(&f);
    crowd_close(&c);
}

/* Goal: when one caller of a group is told UNKNOWN, the queue has stopped for the others too: they
 * are not written after it. Method: threads queue behind a job's transaction; its sync passes, then
 * that of the group fails, and that of the first store alone with its scrub; all others would
 * pass. */
TEST(unknown_stops_the_rest_of_the_group) {
    for (int round = 0; round < 5; round++) {
        struct herd h;
        int unknown = 0;
        REQUIRE(herd_open(&h));
        fault_plan(FAULT_WAL_SYNC, ".x.xx", SQLITE_IOERR_FSYNC);
        herd_go(&h);
        for (int i = 0; i < HERD; i++) {
            int code = h.producers[i].code;
            if (code == JOBQ_UNKNOWN) unknown++;
            else if (!CHECK_CODE(code, JOBQ_IO)) break;
        }
        CHECK(unknown > 0);
        CHECK_INT(stats_of(h.f.q).failed_code, JOBQ_IO);
        herd_close(&h);
    }
}

/* Goal: an I/O error of the commit that settles an outcome loses nothing as long as the scrub
 * works. Method: the handler breaks the next sync; one step is enough, or the next one. */
TEST(sync_fails_when_an_outcome_is_settled) {
    static const char *const plans[] = {"x", "x.x"};
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        struct breaker b = {FAULT_WAL_SYNC, plans[i], SQLITE_IOERR_FSYNC, JOBQ_DONE, 0};
        fixture f;
        int64_t id;
        int ran = 0;
        REQUIRE(begin(&f, SHARED_STEP, break_disk, &b));
        id = put(f.q, "k");
        jobq_step(f.q, &ran, NULL);
        CHECK_INT(ran, 1);
        b.plan = NULL;
        if (!CHECK_INT(stats_of(f.q).failed_code, JOBQ_OK)) test_note("plan %s", plans[i]);
        else CHECK_INT(drain(f.q), 0);
        if (!CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE)) test_note("plan %s", plans[i]);
        CHECK_INT(b.runs, 1);
        fixture_remove(&f);
    }
}

/* ---- Somebody else writes ---- */

static void run_on(sqlite3 *db, const char *sql) {
    if (!CHECK_INT(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK))
        test_note("%s: %s", sql, sqlite3_errmsg(db));
}

/* Goal: enqueue gives up after busy_ms and has not happened; a step says so and runs nothing.
 * Method: a foreign connection holds BEGIN IMMEDIATE. */
TEST(foreign_writer_makes_busy) {
    struct breaker b = {FAULT_OPEN, NULL, 0, JOBQ_DONE, 0};
    fixture f;
    sqlite3 *foreign;
    int64_t id = 77;
    int ran = 7;
    REQUIRE(begin(&f, SHARED_STEP, break_disk, &b));
    put(f.q, "k");
    foreign = sql_open(f.path);
    run_on(foreign, "BEGIN IMMEDIATE; INSERT INTO note VALUES(1, 'x')");
    FAILS(JOBQ_BUSY, jobq_enqueue(f.q, &(jobq_job){.kind = "k"}, &id, &err));
    CHECK_INT(id, 0);
    FAILS(JOBQ_BUSY, jobq_enqueue_many(f.q, &(jobq_job){.kind = "k"}, 1, NULL, &err));
    FAILS(JOBQ_BUSY, jobq_step(f.q, &ran, &err));
    CHECK_INT(ran, 0);
    CHECK_INT(b.runs, 0);
    run_on(foreign, "COMMIT");
    CHECK_INT(total(f.q), 1);
    CHECK_INT(drain(f.q), 1);
    put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(total(f.q), 2);
    CHECK_INT(notes(f.path), 1);
    sqlite3_close(foreign);
    fixture_close(&f);
}

static jobq_outcome let_foreign_in(jobq_run *run, void *ctx) {
    (void)run;
    run_on((sqlite3 *)ctx, "BEGIN IMMEDIATE");
    return JOBQ_DONE;
}

/* Goal: a step whose outcome meets a foreign writer returns BUSY and keeps it. Method: the writer
 * comes while the handler runs; steps fail, and the first one after it has gone settles. */
TEST(step_keeps_an_outcome_while_busy) {
    fixture f;
    sqlite3 *foreign;
    int64_t id;
    int ran = 7;
    REQUIRE(begin(&f, SHARED_STEP, do_nothing, NULL));
    foreign = sql_open(f.path);
    handle(f.q, "f", let_foreign_in, foreign);
    id = put(f.q, "f");
    FAILS(JOBQ_BUSY, jobq_step(f.q, &ran, &err));
    CHECK_INT(ran, 1);
    FAILS(JOBQ_BUSY, jobq_step(f.q, &ran, &err));
    CHECK_INT(ran, 0);
    run_on(foreign, "ROLLBACK");
    WORKS(jobq_step(f.q, &ran, &err));
    CHECK_INT(ran, 0);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
    CHECK_INT(look(f.q, id).runs, 1);
    CHECK_INT(stats_of(f.q).lost_outcomes, 0);
    sqlite3_close(foreign);
    fixture_close(&f);
}

/* Goal: with threads no job is failed, lost or run twice by a foreign writer. Method: jobs stand at
 * a gate, the writer comes, they return, enqueue is busy, the writer goes. */
TEST(pool_keeps_outcomes_while_busy) {
    enum { JOBS = 6 };
    fixture f;
    gate g;
    struct crowd c;
    sqlite3 *foreign;
    int64_t ids[JOBS];
    crowd_open(&c, &g);
    REQUIRE(begin(&f, POOL, gate_and_count, &c));
    foreign = sql_open(f.path);
    for (int i = 0; i < JOBS; i++) ids[i] = put(f.q, "k");
    start(f.q);
    gate_await(&g, 2);
    run_on(foreign, "BEGIN IMMEDIATE");
    gate_open(&g);
    for (int i = 0; i < 3; i++)
        FAILS(JOBQ_BUSY, jobq_enqueue(f.q, &(jobq_job){.kind = "k"}, NULL, &err));
    run_on(foreign, "ROLLBACK");
    for (int i = 0; i < JOBS; i++) {
        jobq_info info = finish(f.q, ids[i]);
        CHECK_INT(info.state, JOBQ_STATE_DONE);
        CHECK_INT(look(f.q, ids[i]).runs, 1);
    }
    CHECK_INT(c.breaker.runs, JOBS);
    CHECK_INT(total(f.q), JOBS);
    CHECK_INT(stats_of(f.q).failed_code, JOBQ_OK);
    sqlite3_close(foreign);
    fixture_close(&f);
    crowd_close(&c);
}

static jobq_outcome want_the_writer(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    FAILS(JOBQ_BUSY, jobq_run_db(run, &db, &err));
    CHECK(db == NULL);
    run_on((sqlite3 *)ctx, "ROLLBACK");
    WORKS(jobq_run_db(run, &db, &err));
    CHECK(db && sqlite3_exec(db, "INSERT INTO note VALUES(1, 'x')", 0, 0, 0) == SQLITE_OK);
    return JOBQ_DONE;
}

static jobq_outcome begin_foreign_then_want(jobq_run *run, void *ctx) {
    run_on((sqlite3 *)ctx, "BEGIN IMMEDIATE");
    return want_the_writer(run, ctx);
}

/* Goal: jobq_run_db that meets a foreign writer did not begin and may be asked again. Method: the
 * writer goes between two calls of one handler. */
TEST(job_transaction_meets_a_foreign_writer) {
    fixture f;
    sqlite3 *foreign;
    int64_t id;
    REQUIRE(begin(&f, SHARED_STEP, do_nothing, NULL));
    foreign = sql_open(f.path);
    handle(f.q, "f", begin_foreign_then_want, foreign);
    id = put(f.q, "f");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
    CHECK_INT(notes(f.path), 1);
    sqlite3_close(foreign);
    fixture_close(&f);
}

/* ---- The job's transaction ---- */

static jobq_outcome write_and_break(jobq_run *run, void *ctx) {
    struct breaker *b = (struct breaker *)ctx;
    sqlite3 *db = NULL;
    b->runs++;
    WORKS(jobq_run_db(run, &db, &err));
    if (!CHECK(db != NULL)) return JOBQ_FAIL;
    run_on(db, "INSERT INTO note VALUES(1, 'a'), (2, 'b')");
    CHECK_CODE(put_code(jobq_run_handle(run), NULL), JOBQ_OK);
    if (b->plan) fault_plan(b->what, b->plan, b->code);
    return JOBQ_DONE;
}

/* Goal: when its COMMIT fails, what the handler wrote and enqueued is gone, the job runs again,
 * with a message but no attempt charged, and the next run works; meanwhile it stays in the list of
 * what is claimed, which an assertion in tx.c sees to. Method: the disk is full, or fails once, at
 * the COMMIT; also what a kill right after would leave. */
TEST(job_transaction_cannot_be_committed) {
    static const struct breaker rows[] = {
        {FAULT_WAL_WRITE, "x", SQLITE_FULL, JOBQ_DONE, 0},
        {FAULT_WAL_WRITE, "..x", SQLITE_FULL, JOBQ_DONE, 0},
        {FAULT_WAL_WRITE, "x", SQLITE_IOERR_WRITE, JOBQ_DONE, 0},
        {FAULT_WAL_SYNC, "x", SQLITE_IOERR_FSYNC, JOBQ_DONE, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct breaker b = rows[i];
        const char *copy = test_path("copy.db");
        fixture f;
        jobq_info info;
        int64_t id;
        REQUIRE(begin(&f, SHARED_STEP, do_nothing, NULL));
        handle_kind(f.q, (jobq_kind){.name = "w", .run = write_and_break, .ctx = &b});
        id = put(f.q, "w");
        WORKS(jobq_step(f.q, NULL, &err));
        info = look(f.q, id);
        CHECK_INT(info.state, JOBQ_STATE_PENDING);
        CHECK_INT(info.attempt, 1);
        CHECK(strstr(info.error, "transaction could not be committed") != NULL);
        if (!CHECK(strstr(info.error, sqlite3_errstr(b.code)) != NULL))
            test_note("%s", info.error);
        CHECK_INT(notes(f.path), 0);
        CHECK_INT(total(f.q), 1);
        fault_copy(f.path, copy);
        CHECK_INT(notes(copy), 0);
        CHECK_INT(sql_int(copy, "SELECT count(*) FROM jobq_row"), 1);
        b.plan = NULL;
        advance(f.q, JOBQ_MINUTE);
        CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
        CHECK_INT(b.runs, 2);
        CHECK_INT(notes(f.path), 2);
        CHECK_INT(total(f.q), 2);
        fixture_remove(&f);
        fault_remove(copy);
    }
}

/* Goal: if the scrub fails too the queue stops, and effects and completion are found together or
 * not at all. Method: the disk dies at the COMMIT's sync; the file that is left and a copy of what
 * a kill would leave. */
TEST(job_transaction_on_a_dying_disk) {
    static const char *const plans[] = {"X", "xx"};
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        struct breaker b = {FAULT_WAL_SYNC, plans[i], SQLITE_IOERR_FSYNC, JOBQ_DONE, 0};
        const char *files[2];
        fixture f;
        REQUIRE(begin(&f, SHARED_STEP, do_nothing, NULL));
        handle(f.q, "w", write_and_break, &b);
        put(f.q, "w");
        FAILS(JOBQ_IO, jobq_step(f.q, NULL, &err));
        CHECK_INT(stats_of(f.q).failed_code, JOBQ_IO);
        files[0] = f.path;
        files[1] = test_path("copy.db");
        fault_copy(f.path, files[1]);
        fault_off();
        CHECK_CODE(jobq_close(&f.q), JOBQ_IO); /* the outcome of a job that has run */
        jobq_clock_free(f.clock);
        for (int k = 0; k < 2; k++) {
            int64_t done = sql_int(files[k], "SELECT count(*) FROM jobq_row WHERE state = 2");
            CHECK_INT(notes(files[k]), 2 * done);
            CHECK_INT(sql_int(files[k], "SELECT count(*) FROM jobq_row"), 1 + done);
            check_file(files[k]);
            test_remove(files[k]);
        }
    }
}

/* ---- Checkpoints ---- */

struct attached {
    int blind_from; /* so many reads of the log later nobody can look what has happened */
    bool once;      /* and then he can again */
    int started;
    int64_t done;
    int64_t child;
};

static int attach_another(sqlite3 *db, jobq_connection which, jobq_stage stage, jobq_error *err,
                          void *ctx) {
    char text[4200];
    (void)err;
    (void)ctx;
    if (which != JOBQ_CONNECTION_JOB || stage != JOBQ_STAGE_SETUP) return 0;
    snprintf(text, sizeof text, "ATTACH '%s' AS other", test_path("other.db"));
    return sqlite3_exec(db, text, NULL, NULL, NULL);
}

/* The queue's own file is committed first, and then the other cannot be. */
static jobq_outcome write_to_both(jobq_run *run, void *ctx) {
    struct attached *a = ctx;
    sqlite3 *db = NULL;
    a->started++;
    WORKS(jobq_run_db(run, &db, &err));
    if (!db) return JOBQ_FAIL;
    run_on(db, "INSERT INTO note VALUES(1, 'both')");
    run_on(db, "INSERT INTO other.own VALUES(1)");
    if (!a->child) WORKS(jobq_enqueue(jobq_run_handle(run), &(jobq_job){.kind = "child"},
                                      &a->child, &err));
    fault_plan(FAULT_DB_WRITE, "x*", SQLITE_FULL);
    if (a->blind_from)
        fault_nth(FAULT_WAL_READ, a->blind_from, a->once ? "x" : "x*", SQLITE_IOERR_READ);
    return JOBQ_DONE;
}

static void count_done(const jobq_event *event, void *ctx) {
    struct attached *a = ctx;
    if (event->to == JOBQ_STATE_DONE) a->done++;
}

/* Goal: a COMMIT that fails after the queue's own file was committed has happened: no job runs once
 * more, and its end is told. Method: the job's connection has another database, whose disk is full;
 * in step mode and by a pool. */
TEST(other_database_cannot_be_committed) {
    for (int pool = 0; pool < 2; pool++) {
        struct attached a = {0};
        fixture f;
        int64_t id;
        if (!begin(&f, (jobq_options){.workers = pool ? 1 : JOBQ_NONE, .on_event = count_done,
                                      .ctx = &a, .on_connect = attach_another},
                   write_to_both, &a))
            return;
        handle(f.q, "child", do_nothing, NULL);
        sql_run(test_path("other.db"), "CREATE TABLE own(a)");
        id = put(f.q, "k");
        if (pool) WORKS(jobq_start(f.q, &err));
        if (pool) WORKS(jobq_wait(f.q, id, JOBQ_MINUTE, NULL, &err));
        else WORKS(jobq_step(f.q, NULL, &err));
        fault_off();
        if (pool) WORKS(jobq_wait(f.q, a.child, JOBQ_MINUTE, NULL, &err));
        else drain(f.q);
        CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
        CHECK_INT(state_of(f.q, a.child), JOBQ_STATE_DONE);
        CHECK_INT(a.started, 1);
        CHECK_INT(stats_of(f.q).done, 2);
        CHECK_INT(stats_of(f.q).lost_outcomes, 0);
        fixture_close(&f);
        CHECK_INT(a.done, 2);
        CHECK_INT(notes(test_path("q.db")), 1);
        fault_remove(test_path("q.db"));
        fault_remove(test_path("other.db"));
    }
}

/* Goal: and if it cannot be seen whether it has, the queue stops: the job might run twice. The next
 * owner can see it. Method: the log cannot be read at one moment, or from then on, which is moved
 * over the end of the job. */
TEST(other_database_fails_and_nobody_can_look) {
    int stopped = 0;
    for (int n = 2; n <= 25; n++) {
        struct attached a = {.blind_from = n / 2, .once = n % 2};
        fixture f;
        int64_t id;
        REQUIRE(begin(&f, (jobq_options){.workers = JOBQ_NONE, .on_connect = attach_another},
                      write_to_both, &a));
        sql_run(test_path("other.db"), "CREATE TABLE own(a)");
        id = put(f.q, "k");
        jobq_step(f.q, NULL, NULL);
        fault_off();
        if (stats_of(f.q).failed_code == JOBQ_IO) {
            stopped++;
            CHECK_CODE(jobq_close(&f.q), JOBQ_IO);
            WORKS(jobq_open(f.path, &f.options, &f.q, &err));
            REQUIRE(f.q != NULL);
            handle(f.q, "k", write_to_both, &a);
            CHECK_INT(drain(f.q), 0);
            CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
        }
        CHECK_INT(a.started, 1);
        CHECK_INT(stats_of(f.q).lost_outcomes, 0);
        fixture_remove(&f);
        fault_remove(test_path("other.db"));
    }
    CHECK(stopped > 0);
}

struct takers {
    int commits, others;
};

/* Commits by itself, with jobs that were given back for its own, and then nobody can look. */
static jobq_outcome commit_and_blind(jobq_run *run, void *ctx) {
    struct takers *t = ctx;
    sqlite3 *db = NULL;
    if (t->commits++) return JOBQ_DONE;
    WORKS(jobq_run_db(run, &db, &err));
    sqlite3_set_authorizer(db, NULL, NULL);
    sqlite3_commit_hook(db, NULL, NULL);
    WORKS(jobq_enqueue(jobq_run_handle(run), &(jobq_job){.kind = "k", .priority = -5}, NULL, &err));
    run_on(db, "INSERT INTO note VALUES(1, 'own'); COMMIT");
    fault_plan(FAULT_WAL_READ, "x*", SQLITE_IOERR_READ);
    return JOBQ_DONE;
}

static jobq_outcome count_other(jobq_run *run, void *ctx) {
    (void)run;
    ((struct takers *)ctx)->others++;
    return JOBQ_DONE;
}

/* Goal: nothing starts when a handler has committed by itself and it cannot be seen what: it might
 * run twice. Method: the log cannot be read; the next owner can. */
TEST(commit_of_a_handlers_own_cannot_be_seen) {
    struct takers t = {0};
    fixture f;
    int64_t id;
    REQUIRE(begin(&f, (jobq_options){.workers = 1}, count_other, &t));
    handle(f.q, "own", commit_and_blind, &t);
    id = put_job(f.q, (jobq_job){.kind = "own", .priority = -9});
    for (int i = 0; i < 5; i++) put(f.q, "k");
    start(f.q);
    UNTIL(stats_of(f.q).failed_code == JOBQ_IO);
    fault_off();
    FAILS(JOBQ_IO, jobq_wait(f.q, id, 0, NULL, &err));
    CHECK_CODE(jobq_close(&f.q), JOBQ_IO);
    CHECK_INT(t.others, 0);
    CHECK_INT(notes(f.path), 1);
    f.options.workers = JOBQ_NONE;
    WORKS(jobq_open(f.path, &f.options, &f.q, &err));
    REQUIRE(f.q != NULL);
    handle(f.q, "k", count_other, &t);
    handle(f.q, "own", commit_and_blind, &t);
    CHECK_INT(drain(f.q), 7);
    CHECK_INT(t.others, 6);
    fixture_close(&f);
}

/* Goal: a checkpoint that fails does no harm, neither while the queue runs nor at close. Method:
 * the database itself can be neither written nor synced; jobs go through the log all the same. */
TEST(checkpoint_fails) {
    static const struct {
        enum fault_what what;
        int code;
    } rows[] = {{FAULT_DB_WRITE, SQLITE_FULL}, {FAULT_DB_WRITE, SQLITE_IOERR_WRITE},
                {FAULT_DB_SYNC, SQLITE_IOERR_FSYNC}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        jobq_options options = SHARED_STEP;
        fixture f;
        options.wal_pages = 16;
        REQUIRE(begin(&f, options, do_nothing, NULL));
        fault_off();
        fault_plan(rows[i].what, "x*", rows[i].code);
        for (int k = 0; k < 30; k++) {
            put(f.q, "k");
            CHECK_INT(drain(f.q), 1);
        }
        CHECK(fault_hits(rows[i].what) > 0);
        CHECK_INT(stats_of(f.q).failed_code, JOBQ_OK);
        CHECK_CODE(jobq_close(&f.q), JOBQ_OK);
        fault_off();
        jobq_clock_free(f.clock);
        CHECK_INT(survivors(f.path), 30);
        fault_remove(f.path);
    }
}

TEST_MAIN(full_disk_refuses_new_work, full_disk_while_others_write,
          full_disk_leaves_no_key_and_no_name, outcome_waits_for_space,
          pool_settles_when_space_returns, full_disk_still_settles,
          one_request_too_big_for_the_disk, flush_syncs_when_it_is_repeated, no_memory_at_commit,
          sync_fails_at_commit, unknown_stops_the_queue, unknown_stops_the_pool,
          stopped_pool_is_idle, unknown_stops_the_rest_of_the_group,
          sync_fails_when_an_outcome_is_settled, foreign_writer_makes_busy,
          step_keeps_an_outcome_while_busy, pool_keeps_outcomes_while_busy,
          job_transaction_meets_a_foreign_writer, job_transaction_cannot_be_committed,
          job_transaction_on_a_dying_disk, other_database_cannot_be_committed,
          other_database_fails_and_nobody_can_look, commit_of_a_handlers_own_cannot_be_seen,
          checkpoint_fails)
