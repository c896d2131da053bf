/* corners.c - rare meetings of calls, files and moments, each of which is easily got wrong.
 *
 * Where the defect was a hang the watchdog is the failure: nothing here measures time. The
 * handlers stand at gates (helpers.h), so who comes first is the test's choice. */
#include "helpers.h"

#include <sched.h>

enum { WORKERS = 4, ROUNDS = 60, BIG = 100 * 1000, PARKED = 4000, CROWD = 20, PAGE = 4096 };

static jobq *open_queue(jobq_options options) {
    return open_queue_at(test_path("q.db"), options);
}

/* ---- Start, stop and close ---- */

static void *run_until_closed(void *arg) {
    jobq *q = (jobq *)arg;
    int64_t ran = 0;
    int code = jobq_run_until_idle(q, &ran, NULL);
    CHECK(code == JOBQ_OK || code == JOBQ_CLOSED);
    CHECK_INT(ran, 1);
    return NULL;
}

/* Goal: in step mode a close from another thread ends run_until_idle after the job in hand.
 * Method: the first of many jobs stands at a gate until other calls are told that the queue
 * is being closed. */
TEST(close_ends_a_run_until_idle) {
    pthread_t runner, closer;
    gate g;
    jobq_stats stats;
    jobq *q = open_queue(STEP);
    REQUIRE(q != NULL);
    gate_init(&g);
    handle(q, "k", stand_at_gate, &g);
    put_many(q, &(jobq_job){.kind = "k"}, CROWD);
    runner = thread_start(run_until_closed, q);
    gate_await(&g, 1);
    closer = thread_start(close_in_thread, q);
    while (jobq_stat(q, &stats, NULL) == JOBQ_OK) sched_yield();
    gate_open(&g);
    pthread_join(runner, NULL);
    pthread_join(closer, NULL);
    gate_free(&g);
    q = open_queue(STEP);
    REQUIRE(q != NULL);
    CHECK_INT(count_all(q).done, 1);
    CHECK_INT(total(q), CROWD);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

static jobq_outcome stand_in_transaction(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    WORKS(jobq_run_db(run, &db, &err));
    gate_pass((gate *)ctx);
    return JOBQ_DONE;
}

/* Goal: a stop that is not to wait does not wait for a job's transaction either, and the pool
 * starts again once the late handler has returned. Method: the handler stands in its
 * transaction until stop has returned, other writers would wait a day for it; another job runs
 * after the start. The worker may need a moment from the job's end to its own. */
TEST(stop_without_grace_leaves_a_transaction_alone) {
    jobq *q = open_queue((jobq_options){.workers = 2, .busy_ms = JOBQ_DAY});
    int64_t id;
    int code;
    gate g;
    REQUIRE(q != NULL);
    gate_init(&g);
    handle(q, "late", stand_in_transaction, &g);
    handle(q, "k", do_nothing, NULL);
    start(q);
    id = put(q, "late");
    gate_await(&g, 1);
    FAILS(JOBQ_TIMEOUT, jobq_stop(q, JOBQ_NONE, &err));
    FAILS(JOBQ_BUSY, jobq_start(q, &err));
    gate_open(&g);
    CHECK_INT(finish(q, id).state, JOBQ_STATE_DONE);
    while ((code = jobq_start(q, NULL)) == JOBQ_BUSY) sched_yield();
    CHECK_CODE(code, JOBQ_OK);
    CHECK_INT(finish(q, put(q, "k")).state, JOBQ_STATE_DONE);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    gate_free(&g);
}

/* Goal: jobq_advance returns on a pool that was not started, although jobs are due that nobody
 * runs. Method: a job falls due, another commit follows, advance again; a start then runs
 * both. A stall would take longer than the watchdog's patience. */
TEST(advance_of_a_pool_that_was_not_started) {
    int64_t first, second;
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 2, .stall_ms = JOBQ_HOUR}));
    handle(f.q, "k", do_nothing, NULL);
    first = put_job(f.q, (jobq_job){.kind = "k", .delay_ms = 100});
    advance(f.q, 200);
    second = put(f.q, "k");
    advance(f.q, 200);
    CHECK_INT(fixture_elapsed(&f), 400);
    start(f.q);
    CHECK_INT(finish(f.q, first).state, JOBQ_STATE_DONE);
    CHECK_INT(finish(f.q, second).state, JOBQ_STATE_DONE);
    fixture_close(&f);
}

/* ---- Names and ids ---- */

struct undone {
    bool release; /* the savepoint, too */
    const char *kinds[4]; /* stored in this order: the first is taken back */
    int64_t ids[4];
};

static jobq_outcome take_back_and_go_on(jobq_run *run, void *ctx) {
    struct undone *u = (struct undone *)ctx;
    jobq *q = jobq_run_handle(run);
    sqlite3 *db = NULL;
    WORKS(jobq_run_db(run, &db, &err));
    CHECK_INT(sqlite3_exec(db, "SAVEPOINT mine", NULL, NULL, NULL), SQLITE_OK);
    for (int i = 0; i < 4 && u->kinds[i]; i++) {
        jobq_job job = {.kind = u->kinds[i], .queue = "fresh", .key = i < 2 ? "same" : NULL};
        WORKS(jobq_enqueue(q, &job, &u->ids[i], &err));
        if (i == 0) CHECK_INT(sqlite3_exec(db, "ROLLBACK TO mine", NULL, NULL, NULL), SQLITE_OK);
        if (i == 0 && u->release) sqlite3_exec(db, "RELEASE mine", NULL, NULL, NULL);
    }
    return JOBQ_DONE;
}

static void check_taken_back(struct undone u, const char *path) {
    bool memory = strcmp(path, ":memory:") == 0;
    jobq_options options = STEP;
    jobq *q = NULL;
    WORKS(jobq_open(path, &options, &q, &err));
    REQUIRE(q != NULL);
    handle(q, "parent", take_back_and_go_on, &u);
    put(q, "parent");
    CHECK_INT(drain(q), 1);
    for (int reopened = 0; reopened < (memory ? 1 : 2); reopened++) {
        for (int i = 1; i < 4 && u.kinds[i]; i++) {
            CHECK_STR(look(q, u.ids[i]).kind, u.kinds[i]);
            CHECK_STR(look(q, u.ids[i]).queue, "fresh");
        }
        CHECK_CODE(stats_of(q).failed_code, JOBQ_OK);
        if (memory || reopened) continue;
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
        WORKS(jobq_open(path, &options, &q, &err));
        REQUIRE(q != NULL);
    }
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: each job keeps the kind and the queue that it was stored with, also when names that were
 * new in the same transaction were taken back with a savepoint before. Method: the taken name once
 * more, another that gets its number, and both. */
TEST(savepoint_of_a_handler_and_more_jobs) {
    static const struct undone cases[] = {{.kinds = {"ghost", "ghost"}},
                                          {.kinds = {"ghost", "other"}},
                                          {.kinds = {"ghost", "other", "ghost", "other"}}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int release = 0; release < 2; release++) {
            struct undone u = cases[i];
            char name[16];
            snprintf(name, sizeof name, "%d-%d.db", (int)i, release);
            u.release = release;
            check_taken_back(u, test_path(name));
            check_taken_back(u, ":memory:");
        }
}

static jobq_outcome enqueue_and_take_back(jobq_run *run, void *ctx) {
    jobq_job ghost = {.kind = "ghost", .queue = "ghosts"};
    jobq *q = jobq_run_handle(run);
    sqlite3 *db = NULL;
    (void)ctx;
    WORKS(jobq_run_db(run, &db, &err));
    CHECK_INT(sqlite3_exec(db, "SAVEPOINT mine", NULL, NULL, NULL), SQLITE_OK);
    WORKS(jobq_enqueue(q, &ghost, NULL, &err));
    CHECK_INT(sqlite3_exec(db, "ROLLBACK TO mine; RELEASE mine", NULL, NULL, NULL), SQLITE_OK);
    return JOBQ_DONE;
}

/* Goal: names that went away with a handler's own savepoint are forgotten: no later name is
 * taken for one of them. Method: a job with a new kind and queue is taken back; another kind
 * that is new then gets the free number, and must wait for a handler of its own. The queue
 * still reads the same after it was opened again. */
TEST(savepoint_of_a_handler_leaves_no_name) {
    fixture f;
    trace *ghosts = trace_new(NULL), *others = trace_new(NULL);
    int64_t other, queued;
    REQUIRE(fixture_open(&f, STEP));
    handle(f.q, "parent", enqueue_and_take_back, NULL);
    put(f.q, "parent");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(total(f.q), 1);
    other = put(f.q, "other");
    handle(f.q, "ghost", record, ghosts);
    CHECK_INT(drain(f.q), 0);
    CHECK(look(f.q, other).parked);
    queued = put_job(f.q, (jobq_job){.kind = "parent", .queue = "ghosts", .delay_ms = 5});
    REQUIRE(fixture_reopen(&f));
    CHECK_CODE(stats_of(f.q).failed_code, JOBQ_OK);
    handle(f.q, "ghost", record, ghosts);
    handle(f.q, "other", record, others);
    CHECK_STR(look(f.q, other).kind, "other");
    CHECK_STR(look(f.q, queued).queue, "ghosts");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(trace_count(ghosts), 0);
    CHECK_INT(trace_count(others), 1);
    fixture_close(&f);
    trace_free(ghosts);
    trace_free(others);
}

/* Goal: the same the other way round. Method: the handler was registered before the other name
 * came. */
TEST(savepoint_of_a_handler_and_a_handler_after_it) {
    trace *ghosts = trace_new(NULL);
    fixture f;
    int64_t other;
    REQUIRE(fixture_open(&f, STEP));
    handle(f.q, "parent", enqueue_and_take_back, NULL);
    put(f.q, "parent");
    CHECK_INT(drain(f.q), 1);
    handle(f.q, "ghost", record, ghosts);
    other = put(f.q, "other");
    CHECK_INT(drain(f.q), 0);
    CHECK(look(f.q, other).parked);
    CHECK_INT(trace_count(ghosts), 0);
    put(f.q, "ghost");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(trace_count(ghosts), 1);
    fixture_close(&f);
    trace_free(ghosts);
}

/* Goal: the id of a deleted job is not given again, even if the owner never knew of the job.
 * Method: a client stores jobs, the owner deletes the last one, another client and then the
 * owner store one. */
TEST(id_of_a_deleted_client_job_is_not_used_again) {
    jobq_options client = {.role = JOBQ_CLIENT, .shared = true};
    jobq *q = open_queue((jobq_options){.workers = JOBQ_NONE, .shared = true}), *c;
    int64_t last = 0, next;
    REQUIRE(q != NULL);
    c = open_queue(client);
    REQUIRE(c != NULL);
    for (int i = 0; i < 3; i++) last = put(c, "k");
    CHECK_CODE(jobq_close(&c), JOBQ_OK);
    WORKS(jobq_delete(q, last, &err));
    c = open_queue(client);
    REQUIRE(c != NULL);
    next = put(c, "k");
    CHECK(next > last);
    CHECK(put(q, "k") > next);
    CHECK_CODE(jobq_close(&c), JOBQ_OK);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: nor by a client that was open all the time. Method: two clients take turns, and the owner
 * runs each job and drops it before the next is stored. */
TEST(id_of_a_job_that_is_gone_is_not_used_again_by_a_client) {
    jobq_options client = {.role = JOBQ_CLIENT, .shared = true};
    jobq *q = open_queue((jobq_options){.workers = JOBQ_NONE, .shared = true,
                                        .keep_done_ms = JOBQ_NONE});
    jobq *clients[2];
    int64_t last = 0;
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    for (int i = 0; i < 2; i++) REQUIRE((clients[i] = open_queue(client)) != NULL);
    for (int i = 0; i < 6; i++) {
        int64_t id = put(clients[i % 2], "k");
        CHECK(id > last);
        last = id;
        WORKS(jobq_notify(q, &err));
        CHECK_INT(drain(q), 1);
        CHECK_INT(total(q), 0);
    }
    for (int i = 0; i < 2; i++) CHECK_CODE(jobq_close(&clients[i]), JOBQ_OK);
    CHECK(put(q, "k") > last);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* ---- Who runs when ---- */

/* Where workers wait for each other. */
struct barrier {
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    int come, wanted;
};

static jobq_outcome wait_for_each_other(jobq_run *run, void *ctx) {
    struct barrier *b = (struct barrier *)ctx;
    (void)run;
    pthread_mutex_lock(&b->mutex);
    b->come++;
    pthread_cond_broadcast(&b->changed);
    while (b->come < b->wanted) pthread_cond_wait(&b->changed, &b->mutex);
    pthread_mutex_unlock(&b->mutex);
    return JOBQ_DONE;
}

static bool all_have_come(struct barrier *b) {
    bool all;
    pthread_mutex_lock(&b->mutex);
    all = b->come >= b->wanted;
    pthread_mutex_unlock(&b->mutex);
    return all;
}

static void let_all_go(struct barrier *b) {
    pthread_mutex_lock(&b->mutex);
    b->wanted = 0;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->mutex);
}

/* Goal: jobs that are too big to be claimed ahead together still all run at once. Method: one
 * 100 KB job for each worker, stored together after the workers had become idle; each waits
 * until all have started. Several rounds. */
TEST(big_jobs_wake_idle_workers) {
    static char payload[BIG];
    struct barrier b = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};
    jobq_job jobs[WORKERS];
    jobq_stored results[WORKERS];
    jobq *q = open_queue((jobq_options){.workers = WORKERS, .durability = JOBQ_RELAXED});
    REQUIRE(q != NULL);
    handle(q, "big", wait_for_each_other, &b);
    handle(q, "small", do_nothing, NULL);
    start(q);
    for (int i = 0; i < WORKERS; i++)
        jobs[i] = (jobq_job){.kind = "big", .payload = payload, .size = sizeof payload};
    for (int round = 0; round < TEST_SCALED(ROUNDS) && test_failures() == 0; round++) {
        pthread_mutex_lock(&b.mutex);
        b.wanted += WORKERS;
        pthread_mutex_unlock(&b.mutex);
        CHECK_INT(finish(q, put(q, "small")).state, JOBQ_STATE_DONE);
        WORKS(jobq_enqueue_many(q, jobs, WORKERS, results, &err));
        /* Only this call: any other could wake the workers itself. */
        UNTIL(all_have_come(&b));
        if (test_failures()) let_all_go(&b);
        for (int i = 0; i < WORKERS; i++)
            CHECK_INT(finish(q, results[i].id).state, JOBQ_STATE_DONE);
    }
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* The holder's gate, and where the sleeper tells that it is awake. */
struct sleepers {
    gate holder, awake;
};

static jobq_outcome hold_transaction(jobq_run *run, void *ctx) {
    return stand_in_transaction(run, &((struct sleepers *)ctx)->holder);
}

static jobq_outcome sleep_meanwhile(jobq_run *run, void *ctx) {
    struct sleepers *s = (struct sleepers *)ctx;
    gate_await(&s->holder, 1);
    CHECK(!jobq_run_sleep(run, 50));
    gate_pass(&s->awake);
    return JOBQ_DONE;
}

/* Its outcome is to be committed while the transaction is held. */
static jobq_outcome return_meanwhile(jobq_run *run, void *ctx) {
    (void)run;
    gate_await(&((struct sleepers *)ctx)->holder, 1);
    return JOBQ_DONE;
}

/* Goal: time goes on while a handler holds its transaction: another one's sleep ends, and so
 * does a jobq_wait. Method: the system's clock, because its waker is what was stuck; the holder
 * returns only after the sleeper is awake and the wait is over. No bound on how long it takes. */
TEST(time_goes_on_beside_a_transaction) {
    struct sleepers s;
    jobq_job jobs[] = {{.kind = "hold"}, {.kind = "sleep"}, {.kind = "return"}};
    jobq_stored results[3];
    jobq *q = open_queue((jobq_options){.workers = WORKERS, .busy_ms = JOBQ_DAY});
    REQUIRE(q != NULL);
    gate_init(&s.holder);
    gate_init(&s.awake);
    gate_open(&s.awake);
    handle(q, "hold", hold_transaction, &s);
    handle(q, "sleep", sleep_meanwhile, &s);
    handle(q, "return", return_meanwhile, &s);
    start(q);
    WORKS(jobq_enqueue_many(q, jobs, 3, results, &err));
    gate_await(&s.holder, 1);
    FAILS(JOBQ_TIMEOUT, jobq_wait(q, results[0].id, 50, NULL, &err));
    gate_await(&s.awake, 1);
    gate_open(&s.holder);
    for (int i = 0; i < 3; i++) CHECK_INT(finish(q, results[i].id).state, JOBQ_STATE_DONE);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    gate_free(&s.awake);
    gate_free(&s.holder);
}

struct family {
    trace *order;
    int64_t child;
};

static jobq_outcome bear_an_urgent_child(jobq_run *run, void *ctx) {
    struct family *family = (struct family *)ctx;
    jobq_job child = {.kind = "k", .priority = -5};
    sqlite3 *db = NULL;
    WORKS(jobq_run_db(run, &db, &err));
    WORKS(jobq_enqueue(jobq_run_handle(run), &child, &family->child, &err));
    return record(run, family->order);
}

/* Goal: an urgent job that a handler enqueues in its transaction starts before what was claimed
 * ahead. Method: one worker, a crowd before and behind the parent, all stored before the start;
 * the order in which they ran. */
TEST(urgent_child_is_next) {
    struct family family = {trace_new(NULL), 0};
    trace *order = family.order;
    int64_t parent;
    jobq *q = open_queue((jobq_options){.workers = 1, .durability = JOBQ_RELAXED});
    REQUIRE(q != NULL);
    handle(q, "parent", bear_an_urgent_child, &family);
    handle(q, "k", record, order);
    put_many(q, &(jobq_job){.kind = "k"}, CROWD);
    parent = put(q, "parent");
    put_many(q, &(jobq_job){.kind = "k"}, CROWD);
    start(q);
    CHECK_INT(finish(q, put_job(q, (jobq_job){.kind = "k", .priority = 5})).state,
              JOBQ_STATE_DONE);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    REQUIRE_INT(order->n, 2 * CROWD + 3);
    CHECK_INT(order->rows[CROWD].id, parent);
    CHECK_INT(order->rows[CROWD + 1].id, family.child);
    trace_free(order);
}

/* A writer that comes between two slices of a registration. Used by the registering thread, but
 * for over. */
struct intruder {
    jobq *q;
    sqlite3 *db;
    pthread_t registering;
    int64_t parked; /* what the registration had not come to when the lock was taken; else 0 */
    int64_t told;   /* atomic: events */
    bool over;      /* atomic */
};

static int64_t count_parked(sqlite3 *db) {
    sqlite3_stmt *stmt = NULL;
    int64_t n = 0;
    CHECK_INT(sqlite3_prepare_v2(db, "SELECT count(*) FROM jobq_row WHERE lane < 0", -1, &stmt,
                                 NULL), SQLITE_OK);
    if (CHECK_INT(sqlite3_step(stmt), SQLITE_ROW)) n = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return n;
}

/* Takes the write lock and keeps it, if some slices are committed but not the last. */
static void come_between(struct intruder *intruder) {
    CHECK_INT(sqlite3_exec(intruder->db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    intruder->parked = count_parked(intruder->db);
    if (intruder->parked > 0 && intruder->parked < PARKED) {
        __atomic_store_n(&intruder->over, true, __ATOMIC_SEQ_CST);
        return;
    }
    intruder->parked = 0;
    CHECK_INT(sqlite3_exec(intruder->db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
}

/* What the registering thread tells, it tells after a commit of its own. */
static void tell_intruder(const jobq_event *event, void *ctx) {
    struct intruder *intruder = (struct intruder *)ctx;
    (void)event;
    if (intruder->db && pthread_equal(pthread_self(), intruder->registering)
        && !intruder->parked)
        come_between(intruder);
    __atomic_add_fetch(&intruder->told, 1, __ATOMIC_SEQ_CST);
}

/* Gives the registering thread events to tell: jobs that are stored with its commits. One at a
 * time, or it would go on telling for ever. */
static void *store_meanwhile(void *arg) {
    struct intruder *intruder = (struct intruder *)arg;
    jobq_job job = {.kind = "later", .delay_ms = JOBQ_DAY};
    while (!__atomic_load_n(&intruder->over, __ATOMIC_SEQ_CST)) {
        int64_t told = __atomic_load_n(&intruder->told, __ATOMIC_SEQ_CST);
        int code = jobq_enqueue(intruder->q, &job, NULL, NULL);
        CHECK(code == JOBQ_OK || code == JOBQ_BUSY);
        while (code == JOBQ_OK && __atomic_load_n(&intruder->told, __ATOMIC_SEQ_CST) == told
               && !__atomic_load_n(&intruder->over, __ATOMIC_SEQ_CST))
            sched_yield();
    }
    return NULL;
}

/* Goal: a registration that meets another writer after its first slice of parked jobs does not
 * lose the rest. Method: another thread's jobs are stored in the same transactions, so that an
 * event is told between two slices; there another connection takes the write lock and keeps it
 * until jobq_register has returned. Then all jobs run. If no event came the test says so. */
TEST(busy_between_slices_of_a_registration) {
    struct intruder intruder = {.registering = pthread_self()};
    pthread_t thread;
    jobq *q = open_queue((jobq_options){.workers = JOBQ_NONE, .busy_ms = 50, .shared = true,
                                        .durability = JOBQ_RELAXED, .on_event = tell_intruder,
                                        .ctx = &intruder});
    REQUIRE(q != NULL);
    put_many(q, &(jobq_job){.kind = "k"}, PARKED);
    handle(q, "other", do_nothing, NULL);
    CHECK_INT(drain(q), 0);
    REQUIRE_INT(count_all(q).parked, PARKED);
    intruder.q = q;
    intruder.db = sql_open(test_path("q.db"));
    thread = thread_start(store_meanwhile, &intruder);
    handle(q, "k", do_nothing, NULL);
    __atomic_store_n(&intruder.over, true, __ATOMIC_SEQ_CST);
    sqlite3_exec(intruder.db, "ROLLBACK", NULL, NULL, NULL);
    pthread_join(thread, NULL);
    if (!intruder.parked) test_skip("no event came between the slices");
    sqlite3_close(intruder.db);
    intruder.db = NULL;
    CHECK_INT(drain(q), PARKED);
    CHECK_INT(count_all(q).done, PARKED);
    CHECK_INT(count_all(q).parked, 0);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* ---- Cancel ---- */

/* Goal: a cancelled job leaves no wake. Method: the only job is scheduled and then cancelled. */
TEST(cancel_of_the_only_scheduled_job_leaves_no_wake) {
    fixture f;
    int64_t id, at_ms = 0;
    REQUIRE(fixture_open(&f, STEP));
    handle(f.q, "k", do_nothing, NULL);
    id = put_job(f.q, (jobq_job){.kind = "k", .delay_ms = 5000});
    CHECK_INT(jobq_wakes(f.q), 1);
    WORKS(jobq_cancel(f.q, id, &err));
    CHECK_INT(jobq_wakes(f.q), 0);
    WORKS(jobq_next_deadline(f.q, &at_ms, &err));
    CHECK_INT(at_ms, JOBQ_NEVER);
    FAILS(JOBQ_NOT_FOUND, jobq_advance_to_next(f.q, &err));
    fixture_close(&f);
}

static jobq_outcome cancel_itself_and_retry(jobq_run *run, void *ctx) {
    (void)ctx;
    WORKS(jobq_cancel(jobq_run_handle(run), jobq_run_id(run), &err));
    CHECK(jobq_should_stop(run));
    return jobq_retry(run, "not today");
}

/* Goal: a cancelled run that returns JOBQ_RETRY ends as cancelled even if no attempt was left.
 * Method: one attempt, cancelled by its own handler. */
TEST(cancel_of_the_last_attempt) {
    fixture f;
    int64_t id;
    REQUIRE(fixture_open_job(&f, (jobq_kind){.run = cancel_itself_and_retry,
                                             .attempts_max = 1}, &id));
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_CANCELLED);
    CHECK_INT(stats_of(f.q).cancelled, 1);
    CHECK_INT(stats_of(f.q).failed, 0);
    fixture_close(&f);
}

/* ---- Files ---- */

/* Goal: a client of a damaged file is told so and does not crash. Method: its log is folded into
 * the file by a close; owner and client open it; all pages but the first few are overwritten. */
TEST(client_of_a_damaged_file) {
    jobq_options step = {.workers = JOBQ_NONE, .shared = true};
    unsigned char junk[PAGE];
    const char *path = test_path("q.db");
    FILE *file;
    struct stat st;
    jobq_counts counts;
    jobq *q = open_queue(step), *c;
    REQUIRE(q != NULL);
    put_many(q, &(jobq_job){.kind = "k", .payload = "thirty bytes of some payload..", .size = 30},
             2000);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    q = open_queue(step);
    REQUIRE(q != NULL);
    c = open_queue((jobq_options){.role = JOBQ_CLIENT, .shared = true});
    REQUIRE(c != NULL);
    memset(junk, 0xff, sizeof junk);
    REQUIRE_INT(stat(path, &st), 0);
    REQUIRE(st.st_size > 20 * PAGE);
    file = fopen(path, "r+b");
    REQUIRE(file != NULL);
    CHECK_INT(fseek(file, 10 * PAGE, SEEK_SET), 0);
    for (long at = 10 * PAGE; at < (long)st.st_size; at += PAGE)
        CHECK_INT(fwrite(junk, sizeof junk, 1, file), 1);
    fclose(file);
    FAILS(JOBQ_CORRUPT, jobq_count(c, &counts, &err));
    FAILS_SOMEHOW(jobq_enqueue(c, &(jobq_job){.kind = "k"}, NULL, &err));
    CHECK_CODE(jobq_close(&c), JOBQ_OK);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* A file's bytes; the caller frees them. */
struct bytes {
    char *at;
    size_t size;
};

static struct bytes read_file(const char *path) {
    struct bytes bytes = {NULL, 0};
    struct stat st;
    FILE *file = fopen(path, "rb");
    if (!CHECK(file != NULL)) return bytes;
    if (CHECK_INT(fstat(fileno(file), &st), 0)) bytes.size = (size_t)st.st_size;
    bytes.at = (char *)malloc(bytes.size + 1);
    if (!bytes.at) test_give_up("no memory");
    CHECK_INT(fread(bytes.at, 1, bytes.size, file), bytes.size);
    fclose(file);
    return bytes;
}

static void expect_unchanged(const char *path, struct bytes before) {
    struct bytes after = read_file(path);
    if (CHECK_INT(after.size, before.size)) CHECK_MEM(after.at, before.at, before.size);
    free(after.at);
    free(before.at);
}

struct stranger {
    const char *path;
    int ready[2], go_on[2];
};

/* Another application: writes into its log, waits, and writes once more. */
static void be_a_stranger(void *arg) {
    struct stranger *s = (struct stranger *)arg;
    sqlite3 *db = sql_open(s->path);
    CHECK_INT(sqlite3_exec(db, "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;"
                           " CREATE TABLE theirs(x); INSERT INTO theirs VALUES(1)",
                           NULL, NULL, NULL),
              SQLITE_OK);
    pipe_say(s->ready);
    pipe_hear(s->go_on);
    CHECK_INT(sqlite3_exec(db, "INSERT INTO theirs VALUES(2)", NULL, NULL, NULL), SQLITE_OK);
    CHECK_INT(sqlite3_close(db), SQLITE_OK);
}

/* Goal: an open that fails because the file is somebody else's writes neither to it nor to its
 * log. Method: another process has the file open with a log; both are compared byte for byte, and
 * that process goes on. */
TEST(foreign_file_and_its_log_stay_as_they_are) {
    const char *path = test_path("q.db"), *log_path = test_path("q.db-wal");
    struct stranger s = {.path = path};
    struct bytes db, wal;
    jobq *q = NULL;
    pid_t pid;
    pipe_make(s.ready);
    pipe_make(s.go_on);
    pid = test_spawn(be_a_stranger, &s);
    pipe_hear(s.ready);
    db = read_file(path);
    wal = read_file(log_path);
    CHECK(wal.size > 0);
    FAILS(JOBQ_FOREIGN, jobq_open(path, NULL, &q, &err));
    CHECK(q == NULL);
    expect_unchanged(path, db);
    expect_unchanged(log_path, wal);
    pipe_say(s.go_on);
    CHECK_INT(test_wait(pid), 0);
    pipe_free(s.ready);
    pipe_free(s.go_on);
    CHECK_INT(sql_int(path, "SELECT sum(x) FROM theirs"), 3);
}

/* ---- A caller that tells events has an end ---- */

struct teller {
    jobq *q;
    pthread_t caller;
    int32_t left; /* the caller's call has returned; under the mutex */
    pthread_mutex_t mutex;
};

static bool teller_left(struct teller *t) {
    bool left;
    pthread_mutex_lock(&t->mutex);
    left = t->left;
    pthread_mutex_unlock(&t->mutex);
    return left;
}

/* On the caller's thread an event ends only when the next is there already, or its caller waits for
 * us and adds none. */
static void tell_slowly(const jobq_event *event, void *ctx) {
    struct teller *t = (struct teller *)ctx;
    int64_t before = stats_of(t->q).enqueued;
    (void)event;
    if (!pthread_equal(pthread_self(), t->caller)) return;
    for (int i = 0; i < 50 && stats_of(t->q).enqueued == before; i++) test_pause_ms(1);
}

static void *enqueue_until_left(void *arg) {
    struct teller *t = (struct teller *)arg;
    while (!teller_left(t)) put(t->q, "k");
    return NULL;
}

/* Goal: who tells events comes to an end, however many others add. Method: an event of the caller
 * lasts until another thread has added one; the caller's call has to return all the same. */
TEST(telling_events_ends) {
    struct teller t = {NULL, pthread_self(), 0, PTHREAD_MUTEX_INITIALIZER};
    jobq_options options = {.workers = JOBQ_NONE, .on_event = tell_slowly, .ctx = &t};
    pthread_t other;
    REQUIRE_CODE(jobq_open(test_path("tell.db"), &options, &t.q, NULL), JOBQ_OK);
    other = thread_start(enqueue_until_left, &t);
    put(t.q, "k");
    pthread_mutex_lock(&t.mutex);
    t.left = 1;
    pthread_mutex_unlock(&t.mutex);
    pthread_join(other, NULL);
    t.caller = other; /* nobody is slow any more */
    CHECK_CODE(jobq_close(&t.q), JOBQ_OK);
}

TEST_MAIN(telling_events_ends,
          close_ends_a_run_until_idle, stop_without_grace_leaves_a_transaction_alone,
          advance_of_a_pool_that_was_not_started, savepoint_of_a_handler_leaves_no_name,
          savepoint_of_a_handler_and_a_handler_after_it, savepoint_of_a_handler_and_more_jobs,
          id_of_a_deleted_client_job_is_not_used_again,
          id_of_a_job_that_is_gone_is_not_used_again_by_a_client, big_jobs_wake_idle_workers,
          time_goes_on_beside_a_transaction, urgent_child_is_next,
          busy_between_slices_of_a_registration, cancel_of_the_only_scheduled_job_leaves_no_wake,
          cancel_of_the_last_attempt, client_of_a_damaged_file,
          foreign_file_and_its_log_stay_as_they_are)
