/* foreign.c - the disk fails, or takes long, while another connection writes.
 *
 * A call that another connection keeps from the file waits for it wherever it is: also when its
 * group has failed and is to be repeated, and the other one was quicker. And who only looks waits
 * for nobody who writes, nor for a sync. See also api/foreign.c. */
#include "fault_vfs.h"
#include "helpers.h"

#include <limits.h>

/* Goal: a lock that is refused once, anywhere on the way of a commit that fails and is repeated, is
 * asked for again, and the call succeeds. Method: for every n the n-th lock is refused while the
 * first write of the log fails. */
TEST(refused_lock_is_asked_for_again) {
    int n = 0, stored = 0, refused = 0;
    bool hit;
    fixture f;
    fault_begin();
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .busy_ms = JOBQ_MINUTE,
                                            .shared = true}));
    put(f.q, "k");
    stored++;
    do {
        fault_off();
        fault_plan(FAULT_WAL_WRITE, "x", SQLITE_IOERR_WRITE);
        fault_nth(FAULT_SHM_LOCK, ++n, "x", SQLITE_BUSY);
        stored += put(f.q, "k") > 0;
        hit = fault_hits(FAULT_SHM_LOCK) > 0;
        refused += hit;
        CHECK_INT(fault_hits(FAULT_WAL_WRITE), 1);
    } while (hit && test_failures() == 0);
    fault_off();
    CHECK(refused >= 4); /* BEGIN thrice, at least: the group, the scrub, the repetition */
    CHECK_INT(stored, n + 1);
    CHECK_INT(total(f.q), stored);
    fixture_close(&f);
}

/* Goal: SQLite's other word for a file that others have, said when it gave up to find a place to
 * read by, is no error of the disk: it is JOBQ_BUSY, and the queue goes on. Method: each lock is
 * refused with that word; each way of looking, and of writing. */
TEST(locks_that_give_up_are_busy) {
    jobq_cursor cursor = {.done = false};
    jobq_info info;
    jobq_counts counts;
    size_t count;
    fixture f;
    fault_begin();
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .busy_ms = 1}));
    handle(f.q, "k", do_nothing, NULL);
    put(f.q, "k");
    fault_plan(FAULT_SHM_LOCK, "x*", SQLITE_PROTOCOL);
    FAILS(JOBQ_BUSY, jobq_enqueue(f.q, &(jobq_job){.kind = "k"}, NULL, &err));
    FAILS(JOBQ_BUSY, jobq_step(f.q, NULL, &err));
    FAILS(JOBQ_BUSY, jobq_cancel(f.q, 1, &err));
    FAILS(JOBQ_BUSY, jobq_get(f.q, 1, &info, &err));
    FAILS(JOBQ_BUSY, jobq_list(f.q, NULL, &cursor, &info, 1, &count, &err));
    FAILS(JOBQ_BUSY, jobq_count(f.q, &counts, &err));
    fault_off();
    CHECK_INT(stats_of(f.q).failed_code, JOBQ_OK);
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(count_all(f.q).done, 1);
    fixture_close(&f);
}

/* Goal: a listing that fails half way has told nothing, and the same cursor tells all of it.
 * Method: more rows than one look reads; each of its looks is refused in turn. */
TEST(listing_that_fails_begins_anew) {
    enum { JOBS = 600 };
    static const jobq_job job = {.kind = "k"};
    static jobq_info infos[JOBS];
    int looks = 0;
    bool hit;
    fixture f;
    fault_begin();
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .durability = JOBQ_RELAXED}));
    put_many(f.q, &job, JOBS);
    do {
        jobq_cursor cursor = {.done = false};
        size_t count = 9;
        int rc;
        fault_off();
        fault_nth(FAULT_SHM_LOCK, ++looks, "x", SQLITE_PROTOCOL);
        rc = jobq_list(f.q, NULL, &cursor, infos, JOBS, &count, NULL);
        hit = fault_hits(FAULT_SHM_LOCK) > 0;
        CHECK_CODE(rc, hit ? JOBQ_BUSY : JOBQ_OK);
        CHECK_INT(count, hit ? 0 : JOBS);
        fault_off();
        WORKS(jobq_list(f.q, NULL, &cursor, infos, JOBS, &count, &err));
        CHECK_INT(count, hit ? JOBS : 0);
        for (int i = 0; i < JOBS; i++)
            if (!CHECK_INT(infos[i].id, i + 1)) break;
    } while (hit && test_failures() == 0);
    CHECK(looks > 2);
    fixture_close(&f);
}

/* ---- Many callers, a disk that fails, a connection that comes between ---- */

enum { CALLERS = 4, CALLS = 40 };

struct crowd {
    jobq *q;
    const char *path;
    int stored, end; /* atomic */
};

static int stored_by(struct crowd *c) {
    return __atomic_load_n(&c->stored, __ATOMIC_SEQ_CST);
}

static void *store_some(void *arg) {
    struct crowd *c = (struct crowd *)arg;
    for (int i = TEST_SCALED(CALLS); i > 0; i--)
        if (put(c->q, "k") > 0) __atomic_add_fetch(&c->stored, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static void *come_between(void *arg) {
    struct crowd *c = (struct crowd *)arg;
    sqlite3 *db = sql_open(c->path);
    sqlite3_busy_timeout(db, 0);
    while (!__atomic_load_n(&c->end, __ATOMIC_SEQ_CST)) {
        if (sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK) {
            test_pause_ms(1);
            sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
        }
        test_pause_ms(1);
    }
    sqlite3_close(db);
    return NULL;
}

/* Goal: of groups that fail and are repeated beside a connection that takes the file whenever it
 * can, every call is stored, once. Method: every now and then one write of the log fails. */
TEST(groups_are_repeated_beside_another_writer) {
    struct crowd c = {NULL, test_path("q.db"), 0, 0};
    pthread_t callers[CALLERS], other;
    int calls = CALLERS * TEST_SCALED(CALLS);
    fixture f;
    fault_begin();
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 2, .busy_ms = JOBQ_DAY, .shared = true}));
    c.q = f.q;
    handle(f.q, "k", do_nothing, NULL);
    start(f.q);
    if (pthread_create(&other, NULL, come_between, &c) != 0) test_give_up("thread");
    for (int i = 0; i < CALLERS; i++)
        if (pthread_create(&callers[i], NULL, store_some, &c) != 0) test_give_up("thread");
    for (int next = 0, hits = 0; stored_by(&c) < calls && test_failures() == 0;) {
        /* What a fault has hit is repeated by the time that so many more are stored. */
        if (stored_by(&c) >= next && fault_hits(FAULT_WAL_WRITE) == hits) {
            fault_plan(FAULT_WAL_WRITE, "x", SQLITE_IOERR_WRITE);
            hits++;
            next = INT_MAX;
        } else if (next == INT_MAX && fault_hits(FAULT_WAL_WRITE) == hits) {
            next = stored_by(&c) + 2 * CALLERS;
        }
        test_pause_ms(1);
    }
    fault_off();
    __atomic_store_n(&c.end, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < CALLERS; i++) pthread_join(callers[i], NULL);
    pthread_join(other, NULL);
    WORKS(jobq_stop(f.q, JOBQ_NEVER, &err));
    CHECK_INT(c.stored, calls);
    CHECK_INT(total(f.q), calls);
    fixture_close(&f);
}

/* ---- A checkpoint that takes long ---- */

struct slow {
    jobq *q;
    pthread_cond_t changed;  /* with the disk's lock, which guards what follows */
    int64_t writes;          /* of the database, when the test began */
    bool copying, go_on;
    int end; /* atomic */
};

/* Only a checkpoint writes to the database. The disk's lock is free meanwhile. */
static void stand_in_a_checkpoint(void *arg, int now) {
    struct slow *s = (struct slow *)arg;
    (void)now;
    if (fault.calls[FAULT_DB_WRITE] <= s->writes) return;
    s->copying = true;
    pthread_cond_broadcast(&s->changed);
    while (!s->go_on) pthread_cond_wait(&s->changed, &fault.mutex);
}

static void *store_until_the_end(void *arg) {
    struct slow *s = (struct slow *)arg;
    while (!__atomic_load_n(&s->end, __ATOMIC_SEQ_CST)) put(s->q, "later");
    return NULL;
}

/* Goal: who looks into the queue does not wait for a checkpoint, however long its writes and syncs
 * take. Method: the first write of a checkpoint does not return until the test has looked in every
 * way there is. */
TEST(a_look_waits_for_no_checkpoint) {
    struct slow s = {.q = NULL};
    struct fault_log log;
    pthread_t thread;
    jobq_cursor cursor = {0};
    jobq_info info;
    size_t count;
    int64_t id;
    fixture f;
    fault_begin();
    pthread_cond_init(&s.changed, NULL);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1, .wal_pages = 16,
                                            .durability = JOBQ_RELAXED}));
    s.q = f.q;
    start(f.q);
    id = put(f.q, "later");
    fault_log_begin(&log, test_path("q.db"));
    pthread_mutex_lock(&fault.mutex);
    s.writes = fault.calls[FAULT_DB_WRITE];
    pthread_mutex_unlock(&fault.mutex);
    fault_log_watch(&log, stand_in_a_checkpoint, &s);
    if (pthread_create(&thread, NULL, store_until_the_end, &s) != 0) test_give_up("thread");
    pthread_mutex_lock(&fault.mutex);
    while (!s.copying) pthread_cond_wait(&s.changed, &fault.mutex);
    pthread_mutex_unlock(&fault.mutex);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_PENDING);
    WORKS(jobq_get_payload(f.q, id, NULL, 0, NULL, &err));
    WORKS(jobq_list(f.q, NULL, &cursor, &info, 1, &count, &err));
    CHECK(total(f.q) > 1);
    FAILS(JOBQ_TIMEOUT, jobq_wait(f.q, id, 0, NULL, &err));
    pthread_mutex_lock(&fault.mutex);
    s.go_on = true;
    pthread_cond_broadcast(&s.changed);
    pthread_mutex_unlock(&fault.mutex);
    __atomic_store_n(&s.end, 1, __ATOMIC_SEQ_CST);
    pthread_join(thread, NULL);
    fault_log_end(&log);
    fixture_close(&f);
    fault_log_free(&log);
    pthread_cond_destroy(&s.changed);
}

TEST_MAIN(refused_lock_is_asked_for_again, locks_that_give_up_are_busy,
          listing_that_fails_begins_anew, groups_are_repeated_beside_another_writer,
          a_look_waits_for_no_checkpoint)
