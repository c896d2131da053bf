/* fault_memory.c - memory runs out: the n-th allocation fails, in jobq and in SQLite, once and
 * from then on, until a run of the story meets no fault.
 *
 * What is promised stands at the head of fault_sweep.h; besides, no block is left behind, and the
 * queue works again when there is memory again, without being opened anew. Both allocators are
 * replaced: SQLite's by its configuration, jobq's by the macros of mem.c, for which jobq.c is part
 * of this program. Where the modules are linked instead, jobq's cannot be, and only SQLite's are
 * failed.
 *
 * An effort of 1 takes samples; TEST_EFFORT=100 takes every n. */
#include "fault_sweep.h"
#include "schema_1.h"

#include <fcntl.h>
#include <sched.h>

/* ---- The allocators ---- */

enum owner { JOBQ, SQLITE, OWNERS };

static struct {
    pthread_mutex_t mutex; /* guards what follows */
    int64_t calls[OWNERS], live[OWNERS], hits;
    int64_t nth[OWNERS];   /* this one fails; 0: none */
    int64_t span;          /* and those after it, so many in all */
    bool for_good;         /* and all that come after it, of both */
    bool out[OWNERS];
    sqlite3_mem_methods sqlite;
} memory = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* True if there is none for this call. */
static bool memory_strike(enum owner who) {
    bool out;
    pthread_mutex_lock(&memory.mutex);
    memory.calls[who]++;
    out = memory.out[who] || (memory.nth[who] && memory.calls[who] >= memory.nth[who]
                              && memory.calls[who] - memory.nth[who] < memory.span);
    if (out && memory.for_good) memory.out[JOBQ] = memory.out[SQLITE] = true;
    memory.hits += out;
    memory.live[who] += !out;
    pthread_mutex_unlock(&memory.mutex);
    return out;
}

static void memory_back(enum owner who) {
    pthread_mutex_lock(&memory.mutex);
    memory.live[who]--;
    pthread_mutex_unlock(&memory.mutex);
}

static inline void *memory_malloc(size_t size) {
    void *block = memory_strike(JOBQ) ? NULL : malloc(size);
    return block;
}

static inline void memory_free(void *block) {
    if (block) memory_back(JOBQ);
    free(block);
}

static inline void *memory_realloc(void *block, size_t size) {
    if (memory_strike(JOBQ)) return NULL;
    if (block) memory_back(JOBQ);
    return realloc(block, size);
}

static void *memory_sqlite_malloc(int size) {
    return memory_strike(SQLITE) ? NULL : memory.sqlite.xMalloc(size);
}

static void memory_sqlite_free(void *block) {
    memory_back(SQLITE);
    memory.sqlite.xFree(block);
}

static void *memory_sqlite_realloc(void *block, int size) {
    if (memory_strike(SQLITE)) return NULL;
    memory_back(SQLITE);
    return memory.sqlite.xRealloc(block, size);
}

#ifndef JOBQ_MODULES
#define JOBQ_MALLOC memory_malloc
#define JOBQ_REALLOC memory_realloc
#define JOBQ_FREE memory_free
#endif
#define UNIT_INCLUDES_JOBQ_C
#include "unit.h"

/* False where jobq's allocator is not ours. */
static bool memory_is_ours(void) {
#ifdef JOBQ_MODULES
    test_note("the modules are linked: their allocator cannot be replaced");
    return false;
#else
    return true;
#endif
}

/* Without SQLite's own small reserves, so that every allocation can fail. */
static void memory_begin(void) {
    static bool begun;
    sqlite3_mem_methods methods;
    if (begun) return;
    begun = true;
    CHECK_INT(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory.sqlite), SQLITE_OK);
    methods = memory.sqlite;
    methods.xMalloc = memory_sqlite_malloc;
    methods.xFree = memory_sqlite_free;
    methods.xRealloc = memory_sqlite_realloc;
    CHECK_INT(sqlite3_config(SQLITE_CONFIG_MALLOC, &methods), SQLITE_OK);
    CHECK_INT(sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0), SQLITE_OK);
}

static void memory_plan(enum owner who, int64_t nth, bool for_good) {
    pthread_mutex_lock(&memory.mutex);
    memory.calls[JOBQ] = memory.calls[SQLITE] = memory.hits = 0;
    memory.nth[JOBQ] = memory.nth[SQLITE] = 0;
    memory.nth[who] = nth;
    memory.span = 1;
    memory.for_good = for_good;
    memory.out[JOBQ] = memory.out[SQLITE] = false;
    pthread_mutex_unlock(&memory.mutex);
}

/* So many fail, from the n-th of SQLite's on. */
static void memory_lacks(int64_t nth, int64_t span) {
    memory_plan(SQLITE, nth, false);
    pthread_mutex_lock(&memory.mutex);
    memory.span = span;
    pthread_mutex_unlock(&memory.mutex);
}

/* From now on there is none for this one. */
static void memory_out(enum owner who) {
    memory_plan(who, 0, false);
    pthread_mutex_lock(&memory.mutex);
    memory.out[who] = true;
    pthread_mutex_unlock(&memory.mutex);
}

static void memory_again(void) {
    pthread_mutex_lock(&memory.mutex);
    memory.nth[JOBQ] = memory.nth[SQLITE] = 0;
    memory.out[JOBQ] = memory.out[SQLITE] = memory.for_good = false;
    pthread_mutex_unlock(&memory.mutex);
}

static int64_t memory_hits(void) {
    int64_t hits;
    pthread_mutex_lock(&memory.mutex);
    hits = memory.hits;
    pthread_mutex_unlock(&memory.mutex);
    return hits;
}

/* ---- What is left behind ---- */

struct base {
    int64_t live[OWNERS];
    int descriptors;
};

static struct base base_now(void) {
    struct base base = {{0, 0}, 0};
    for (int fd = 0; fd < 256; fd++) base.descriptors += fcntl(fd, F_GETFD) >= 0;
    pthread_mutex_lock(&memory.mutex);
    memcpy(base.live, memory.live, sizeof base.live);
    pthread_mutex_unlock(&memory.mutex);
    return base;
}

static void check_base(const struct base *before) {
    struct base now = base_now();
    CHECK_INT(fault_handles(), 0);
    CHECK_INT(now.live[JOBQ], before->live[JOBQ]);
    CHECK_INT(now.live[SQLITE], before->live[SQLITE]);
    CHECK_INT(now.descriptors, before->descriptors);
}

/* ---- One run ---- */

/* What is told, which allocations fail, and for how long. */
struct shortage {
    void (*tell)(struct story *s, const struct shortage *w, int64_t n);
    enum owner who;
    bool for_good;
    bool back;    /* there is memory again before the queue is closed, or not before the end */
    int64_t runs; /* with an effort of 1 */
};

static struct {
    int64_t runs, hits, stopped, unknown, calls;
    const struct shortage *now;
} sum;

/* The jobs of which it was told that they are new. */
static struct {
    pthread_mutex_t mutex;
    int64_t ids[4 * STORY_JOBS];
    int count;
} heard = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void hear(const jobq_event *event, void *ctx) {
    (void)ctx;
    if (event->from != JOBQ_STATE_NONE) return;
    pthread_mutex_lock(&heard.mutex);
    if (CHECK(heard.count < 4 * STORY_JOBS)) heard.ids[heard.count++] = event->id;
    pthread_mutex_unlock(&heard.mutex);
}

/* Each of them is one that was stored, or a child, which is kept; and was told of once. */
static void check_heard(const struct story *s) {
    for (int i = 0; i < heard.count; i++) {
        bool known = false;
        char sql[64];
        for (int n = 0; n < STORY_JOBS; n++) known |= s->jobs[n].id == heard.ids[i];
        for (int k = 0; k < i; k++) CHECK(heard.ids[k] != heard.ids[i]);
        snprintf(sql, sizeof sql, "SELECT count(*) FROM jobq_row WHERE id = %" PRId64,
                 heard.ids[i]);
        if (!known) CHECK_INT(sql_int(s->path, sql), 1);
    }
}

/* The n-th allocation fails; false if that was not met. */
static bool sweep_once(const struct shortage *w, int64_t n) {
    const char *path = test_path("q.db"), *killed = test_path("killed.db");
    int before = test_failures();
    struct story s, again;
    bool hit;
    sum.now = w;
    story_begin(&s, path, JOBQ_RELAXED);
    s.options.on_event = hear;
    s.may_lose_result = true;
    s.strikes = memory_hits;
    heard.count = 0;
    w->tell(&s, w, n);
    memory_again();
    hit = memory_hits() > 0;
    sum.calls = memory.calls[w->who];
    sum.runs += hit;
    sum.hits += memory_hits();
    sum.unknown += s.unknown;
    sum.stopped += s.stopped != JOBQ_OK;
    check_heard(&s);
    if (s.closing) story_check(&s, killed, (struct story_end){s.closing, false}, NULL);
    if (test_failures() > before) test_note("the copy that a kill leaves, or before");
    story_check(&s, path, STORY_NOW, &again);
    if (!w->for_good && s.stopped == JOBQ_OK && s.options.workers == JOBQ_NONE)
        story_check_runs(&s, &again);
    story_end(&s);
    fault_remove(path);
    fault_remove(killed);
    return hit;
}

/* Every n, or so many of them as the effort allows, up to the first run that meets no fault. */
static void sweep(const struct shortage *w) {
    int before = test_failures();
    uint64_t seed = test_seed();
    struct base base;
    int64_t n, step;
    CHECK(!sweep_once(w, 0)); /* what is kept from the first time on is not lost */
    base = base_now();
    step = sum.calls / test_effort(w->runs) + 1;
    if (test_effort(w->runs) > sum.calls) step = 1;
    n = 1 + (int64_t)(test_random(&seed) % (uint64_t)step);
    while (sweep_once(w, n) && test_failures() == before) {
        check_base(&base);
        n += step;
    }
    check_base(&base);
    if (test_failures() > before)
        test_note("allocation %" PRId64 " of %s, %s, %s", n, w->who == JOBQ ? "jobq" : "SQLite",
                  w->for_good ? "for good" : "once", w->back ? "back for the close" : "not back");
}

static void sweep_begin(void) {
    memory_begin();
    fault_begin();
    memset(&sum, 0, sizeof sum);
}

/* Once and for good, back before the close and not before the end. */
static void sweep_all(void (*tell)(struct story *, const struct shortage *, int64_t),
                      enum owner who, int64_t runs) {
    for (int i = 0; i < 4; i++) {
        struct shortage w = {tell, who, i / 2 == 1, i % 2 == 1, runs};
        sweep(&w);
    }
}

static void tell_figure(const char *row) {
    test_figure(row, "0 wrong", "%" PRId64 " runs with %" PRId64 " allocations failed, %" PRId64
                " queues stopped, 0 wrong, 0 leaks", sum.runs, sum.hits, sum.stopped);
}

/* ---- The story ---- */

/* The queue works again, unless it has stopped: without memory at COMMIT, and then for the scrub,
 * nobody knows what is on the disk. */
static void check_works(struct story *s) {
    int failed = stats_of(s->q).failed_code;
    if (failed != JOBQ_OK) CHECK_CODE(failed, JOBQ_IO);
    if (failed != JOBQ_OK) return;
    story_put(s, STORY_EXTRA, (jobq_job){.priority = 9}, -1);
    CHECK_INT(s->jobs[STORY_EXTRA].stored.fate, STORY_YES);
    drain(s->q);
    WORKS(jobq_flush(s->q, &err));
}

static void before_the_close(struct story *s) {
    if (sum.now->back) memory_again();
    if (sum.now->back) check_works(s);
    fault_copy(s->path, test_path("killed.db"));
}

static void tell_story(struct story *s, const struct shortage *w, int64_t n) {
    s->at_end = before_the_close;
    memory_plan(w->who, n, w->for_good);
    story_tell(s);
}

/* Goal: whatever allocation of jobq's fails, what was said is what is found, nothing is left
 * behind, and the queue works when there is memory again. Method: the story, again for every n. */
TEST(memory_runs_out_in_jobq) {
    if (!memory_is_ours()) return;
    sweep_begin();
    sweep_all(tell_story, JOBQ, 100);
    CHECK(sum.runs >= 4);
    tell_figure("every allocation fails, of jobq");
}

/* Goal: the same for SQLite's. Method: as above. */
TEST(memory_runs_out_in_sqlite) {
    sweep_begin();
    sweep_all(tell_story, SQLITE, 90);
    CHECK(sum.runs >= 4);
    tell_figure("every allocation fails, of SQLite");
}

/* The statements of the calls that are to come, prepared and used. */
static void warm_up(jobq *q) {
    enum { COUNT = 8 };
    jobq_job jobs[COUNT];
    jobq_stored results[COUNT];
    memset(jobs, 0, sizeof jobs);
    for (int i = 0; i < COUNT; i++) jobs[i].kind = "plain";
    jobs[0].key = "first";
    WORKS(jobq_enqueue_many(q, jobs, COUNT, results, &err));
    for (int i = 0; i < COUNT; i++) WORKS(jobq_delete(q, results[i].id, &err));
    heard.count = 0;
}

/* Another connection changes the schema, and fills the log so that a checkpoint is due. */
static void tell_of_a_schema(struct story *s, const struct shortage *w, int64_t n) {
    if (!CHECK(story_open(s))) return;
    story_register(s);
    warm_up(s->q);
    story_put(s, STORY_DELETE, (jobq_job){.key = "gone"}, -1);
    sql_run(s->path, "CREATE TABLE other(x); INSERT INTO other VALUES(zeroblob(100000))");
    memory_plan(w->who, n, w->for_good);
    story_delete(s);
    story_put_many(s);
    memory_again();
    check_works(s);
    story_close(s);
}

/* Goal: the same where SQLite prepares statements again inside a transaction: if it runs out
 * of memory there it may end the transaction by itself, and then go on; or there is none to end
 * it. Method: every n of two calls behind a change of the schema. */
TEST(memory_runs_out_while_the_schema_changes) {
    sweep_begin();
    sweep(&(struct shortage){tell_of_a_schema, SQLITE, false, true, 2000});
    CHECK(sum.runs > test_effort(100) / 2);
    tell_figure("every allocation fails, when the schema changes");
}

/* The n-th allocation of an open that migrates fails. False if that was not met. */
static bool migrate_without(const char *old, enum owner who, int64_t n, bool for_good) {
    const char *path = test_path("q.db");
    jobq_options options = {.workers = JOBQ_NONE, .reserve_bytes = JOBQ_NONE};
    jobq_error err = {.code = 0};
    jobq *q = NULL;
    bool hit;
    int rc;
    fault_remove(path);
    fault_copy(old, path);
    memory_plan(who, n, for_good);
    rc = jobq_open(path, &options, &q, &err);
    hit = memory_hits() > 0;
    sum.calls = memory.calls[who];
    memory_again();
    /* SQLite may do without, too. */
    if (rc != JOBQ_OK) CHECK_CODE(rc, JOBQ_NO_MEMORY);
    if (q) close_queue(&q);
    CHECK(schema_of(path) == 2 || rc != JOBQ_OK);
    WORKS(jobq_open(path, &options, &q, &err));
    CHECK_INT(total(q), SCHEMA_1_JOBS);
    close_queue(&q);
    check_schema_2(path);
    return hit;
}

/* Goal: without memory a file of schema 1 is migrated whole or not at all, nothing is left behind,
 * and with memory it goes. Method: the n-th allocation of that open fails, once or from then on. */
TEST(memory_runs_out_in_a_migration) {
    static const enum owner owners[] = {JOBQ, SQLITE};
    const char *old = test_path("old.db");
    sweep_begin();
    schema_1_text(old);
    for (int i = memory_is_ours() ? 0 : 2; i < 4 && !test_failures(); i++) {
        struct base base;
        int64_t n = 1, step;
        CHECK(!migrate_without(old, owners[i / 2], 0, i % 2 == 1));
        base = base_now();
        step = sum.calls / test_effort(200) + 1;
        while (migrate_without(old, owners[i / 2], n, i % 2 == 1) && !test_failures()) {
            check_base(&base);
            n += step;
        }
        if (test_failures()) test_note("allocation %" PRId64 " of %d", n, (int)owners[i / 2]);
        CHECK(n > (owners[i / 2] == JOBQ ? 3 : 100));
    }
}

/* ---- With threads ---- */

/* With memory again every job comes to its end by itself; without, stop and close return. */
static void tell_pool(struct story *s, const struct shortage *w, int64_t n) {
    s->options.workers = 2;
    if (!CHECK(story_open(s))) return;
    story_register(s);
    story_put(s, STORY_EXTRA, (jobq_job){.priority = 1}, -1);
    memory_plan(w->who, n, w->for_good);
    if (jobq_start(s->q, NULL) != JOBQ_OK) memory_again();
    start(s->q);
    story_put_first(s, false);
    story_cancel(s);
    story_put(s, STORY_LAST, (jobq_job){.queue = "another"}, -1);
    if (w->back) memory_again();
    if (w->back && stats_of(s->q).failed_code == JOBQ_OK) {
        static const int waited[] = {STORY_EXTRA, STORY_BIG, STORY_LAST};
        for (size_t i = 0; i < sizeof waited / sizeof waited[0]; i++)
            if (s->jobs[waited[i]].stored.fate == STORY_YES)
                CHECK_INT(finish(s->q, s->jobs[waited[i]].id).state, JOBQ_STATE_DONE);
    }
    jobq_stop(s->q, JOBQ_NEVER, NULL);
    story_close(s);
}

/* Goal: a pool does no worse: nothing wrong, nothing left, no hang. Method: a sample; the
 * watchdog is the limit. */
TEST(memory_runs_out_in_a_pool) {
    sweep_begin();
    sweep_all(tell_pool, SQLITE, 12);
    if (memory_is_ours()) sweep_all(tell_pool, JOBQ, 12);
    tell_figure("every allocation fails, beside a pool");
}

/* Goal: what cannot be claimed for want of memory is tried again now and then, not all the time,
 * and is run when there is memory. Method: scheduled jobs, each with a payload that needs a block,
 * become due; a pause in real time, in which a loop would try thousands of times. */
TEST(claiming_without_memory_is_no_loop) {
    static const char large[4096];
    fixture f;
    int64_t ids[4];
    if (!memory_is_ours()) return;
    memory_begin();
    fault_begin();
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 2}));
    handle(f.q, "k", do_nothing, NULL);
    start(f.q);
    for (int i = 0; i < 4; i++)
        ids[i] = put_job(f.q, (jobq_job){.kind = "k", .payload = large, .size = sizeof large,
                                         .delay_ms = JOBQ_SECOND});
    memory_out(JOBQ);
    jobq_clock_advance(f.clock, JOBQ_MINUTE);
    WORKS(jobq_notify(f.q, &err));
    while (memory_hits() == 0) sched_yield();
    test_pause_ms(50);
    CHECK(memory_hits() < 100);
    memory_again();
    for (int i = 0; i < 4; i++) CHECK_INT(finish(f.q, ids[i]).state, JOBQ_STATE_DONE);
    fixture_close(&f);
}

/* Goal: the same in step mode: the call returns and says why. Method: as above. */
TEST(stepping_without_memory_returns) {
    static const char large[4096];
    fixture f;
    int64_t id, ran = 7;
    if (!memory_is_ours()) return;
    memory_begin();
    fault_begin();
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE}));
    handle(f.q, "k", do_nothing, NULL);
    put(f.q, "k");
    drain(f.q);
    id = put_job(f.q, (jobq_job){.kind = "k", .payload = large, .size = sizeof large});
    memory_out(JOBQ);
    FAILS(JOBQ_NO_MEMORY, jobq_run_until_idle(f.q, &ran, &err));
    CHECK_INT(ran, 0);
    CHECK(memory_hits() < 10);
    memory_again();
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
    fixture_close(&f);
}

static jobq_outcome write_without_memory(jobq_run *run, void *ctx) {
    sqlite3 *db;
    (void)ctx;
    if (!CHECK_CODE(jobq_run_db(run, &db, NULL), JOBQ_OK)) return JOBQ_FAIL;
    CHECK_INT(sqlite3_exec(db, "INSERT INTO mine VALUES(1)", NULL, NULL, NULL), SQLITE_OK);
    memory_out(SQLITE);
    return JOBQ_FAIL;
}

/* Goal: a transaction ends although memory has run out in it: what stayed open would keep the file
 * from everybody. Method: a handler that writes, and takes all memory away before it fails; the
 * statement that takes back what it wrote is the first of its connection. */
TEST(a_transaction_ends_without_memory) {
    fixture f;
    int64_t ran;
    memory_begin();
    fault_begin();
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .keep_failed_ms = JOBQ_NONE}));
    handle(f.q, "k", write_without_memory, NULL);
    sql_run(f.path, "CREATE TABLE mine(x)");
    put(f.q, "k");
    jobq_step(f.q, NULL, NULL);
    CHECK(sqlite3_get_autocommit(f.q->job.handle));
    memory_again();
    CHECK_CODE(jobq_run_until_idle(f.q, &ran, NULL), JOBQ_OK);
    fixture_close(&f);
}

struct lack {
    int64_t nth, span;
};

static jobq_outcome write_and_lack(jobq_run *run, void *ctx) {
    const struct lack *lack = (const struct lack *)ctx;
    sqlite3 *db;
    if (!CHECK_CODE(jobq_run_db(run, &db, NULL), JOBQ_OK)) return JOBQ_FAIL;
    CHECK_INT(sqlite3_exec(db, "INSERT INTO mine VALUES(1)", NULL, NULL, NULL), SQLITE_OK);
    memory_lacks(lack->nth, lack->span);
    return JOBQ_DONE;
}

/* Goal: memory that is out for a moment where a job's transaction is committed stops no queue, and
 * the job's row is there once. Method: forty allocations fail, from each on. */
TEST(a_moment_without_memory_at_a_commit) {
    struct lack lack = {0, 40};
    bool met = true;
    memory_begin();
    for (lack.nth = 1; met && !test_failures(); lack.nth++) {
        fixture f;
        int64_t ran = 0;
        fault_begin();
        REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE}));
        handle_kind(f.q, (jobq_kind){.name = "k", .run = write_and_lack, .ctx = &lack,
                                     .backoff_min_ms = JOBQ_NONE});
        sql_run(f.path, "CREATE TABLE mine(x)");
        put(f.q, "k");
        jobq_step(f.q, NULL, NULL);
        met = memory_hits() > 0;
        memory_again();
        if (!CHECK_CODE(stats_of(f.q).failed_code, JOBQ_OK))
            test_note("from allocation %" PRId64 " on", lack.nth);
        lack.span = 0;
        CHECK_CODE(jobq_run_until_idle(f.q, &ran, NULL), JOBQ_OK);
        lack.span = 40;
        CHECK_INT(sql_int(f.path, "SELECT count(*) FROM mine"), 1);
        fixture_close(&f);
    }
    CHECK(lack.nth > 50);
}

/* Goal: an id that was given out is never given out again, whatever fails. Method: an owner that
 * finds a client's id where its own next one would be, and reads the highest without memory. */
TEST(no_id_twice_without_memory) {
    bool met = true;
    int64_t n;
    memory_begin();
    for (n = 1; met && !test_failures(); n++) {
        static const jobq_job three[3] = {{.kind = "k"}, {.kind = "k"}, {.kind = "k"}};
        int64_t taken, next = 0;
        jobq *client = NULL;
        fixture f;
        fault_begin();
        REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .shared = true,
                                                .keep_done_ms = JOBQ_NONE}));
        handle(f.q, "k", do_nothing, NULL);
        for (int i = 0; i < 3; i++) put(f.q, "k");
        drain(f.q);
        WORKS(jobq_open(f.path, &(jobq_options){.role = JOBQ_CLIENT, .shared = true}, &client,
                        &err));
        taken = put(client, "other");
        memory_lacks(n, 1);
        jobq_enqueue_many(f.q, three, 3, NULL, NULL);
        met = memory_hits() > 0;
        memory_again();
        WORKS(jobq_enqueue(f.q, &three[0], &next, &err));
        if (!CHECK(next > taken)) test_note("allocation %" PRId64, n);
        close_queue(&client);
        fixture_close(&f);
    }
    CHECK(n > 5);
}

/* ---- What the codes say ---- */

/* A queue in a file of either encoding, with a job whose texts are to be read. */
static const char *make_file(bool utf16, int64_t *id) {
    const char *path = test_path("encoded.db");
    jobq *q = NULL;
    fault_remove(path);
    sql_run(path, utf16 ? "PRAGMA encoding='UTF-16'; CREATE TABLE app(x)" : "CREATE TABLE app(x)");
    WORKS(jobq_open(path, &(jobq_options){.workers = JOBQ_NONE, .join = true}, &q, &err));
    *id = put_job(q, (jobq_job){.kind = "a kind of job", .key = "a key", .queue = "a queue"});
    close_queue(&q);
    return path;
}

static bool lacks_memory_only(int code, const jobq_error *err, int64_t n) {
    if (code == JOBQ_OK || CHECK_CODE(code, JOBQ_NO_MEMORY)) return true;
    test_note("allocation %" PRId64 ": %s", n, err->text);
    return false;
}

/* Goal: a file that cannot be opened for want of memory is not called damaged, another's, or
 * refused by its disk. Method: a sample of SQLite's allocations in jobq_open, both encodings. */
TEST(opening_without_memory_says_so) {
    jobq_options options = {.workers = JOBQ_NONE, .join = true};
    memory_begin();
    for (int utf16 = 0; utf16 < 2; utf16++) {
        int64_t id, n = 1, step;
        const char *path = make_file(utf16, &id);
        jobq_error err = {.code = 0};
        jobq *q = NULL;
        bool hit = true;
        memory_plan(SQLITE, 0, false);
        WORKS(jobq_open(path, &options, &q, &err));
        step = memory.calls[SQLITE] / test_effort(1000) + 1;
        close_queue(&q);
        for (; hit; n += step) {
            int code;
            memory_plan(SQLITE, n, false);
            code = jobq_open(path, &options, &q, &err);
            memory_again();
            hit = memory_hits() > 0;
            if (q) close_queue(&q);
            if (!lacks_memory_only(code, &err, n)) break;
        }
    }
}

/* Reads all texts of a job, in one of four ways; the last takes it away. */
static int read_texts(jobq *q, int way, int64_t id, jobq_error *err) {
    jobq_cursor cursor = {0};
    jobq_filter filter = {.rows_max = 10};
    jobq_info info;
    size_t count;
    if (way == 0) return jobq_get(q, id, &info, err);
    if (way == 3) return jobq_delete(q, id, err);
    if (way == 2) filter = (jobq_filter){.kind = "a kind of job", .key = "its key"};
    way = jobq_list(q, &filter, &cursor, &info, 1, &count, err);
    CHECK(way != JOBQ_OK || count == 1); /* what could not be asked is not missing */
    return way;
}

/* Goal: a row that cannot be read for want of memory is not called damaged, and the queue goes on.
 * Method: every allocation of SQLite's in each call that reads texts, once its statements are
 * there, both encodings. */
TEST(reading_without_memory_says_so) {
    memory_begin();
    for (int i = 0; i < 8; i++) {
        int64_t id, n = 0;
        jobq *q = open_queue_at(make_file(i % 2, &id), (jobq_options){.workers = JOBQ_NONE});
        jobq_error err = {.code = 0};
        bool good = true;
        REQUIRE(q != NULL);
        while (good && (n < 2 || memory_hits())) {
            int code;
            id = put_job(q, (jobq_job){.kind = "a kind of job", .key = "its key"});
            memory_plan(SQLITE, n++, false);
            code = read_texts(q, i / 2, id, &err);
            memory_again();
            good = lacks_memory_only(code, &err, n);
            if (i >= 6) jobq_delete(q, id, NULL);
        }
        CHECK_INT(stats_of(q).failed_code, JOBQ_OK);
        close_queue(&q);
    }
}

/* What reads texts, and binds them: from UTF-16 and to it SQLite needs memory, row by row. */
static int64_t tell_in_utf16(jobq *q, const char *name) {
    jobq_cursor cursor = {.done = false};
    jobq_filter filter = {.state = JOBQ_STATE_NONE};
    jobq_info infos[4];
    size_t count;
    int64_t id = 0;
    jobq_enqueue(q, &(jobq_job){.kind = name, .key = name, .delay_ms = JOBQ_HOUR}, &id, NULL);
    jobq_get(q, 1, infos, NULL);
    jobq_list(q, &filter, &cursor, infos, 4, &count, NULL);
    jobq_cancel(q, id ? id : 1, NULL);
    jobq_retry_now(q, id ? id : 1, NULL);
    return id;
}

static void hear_nothing(const jobq_event *event, void *ctx) {
    (void)event;
    (void)ctx;
}

/* Goal: in a file of UTF-16, too, memory that runs out is no damage, and what is stored is whole.
 * Method: each of SQLite's allocations, with events, for which who writes reads keys and names. */
TEST(memory_runs_out_in_utf16) {
    jobq_options options = {.workers = JOBQ_NONE, .join = true, .durability = JOBQ_RELAXED,
                            .on_event = hear_nothing};
    const char *path = test_path("utf16.db");
    int64_t n = 1, hits = 1;
    jobq *q = NULL;
    memory_begin();
    fault_begin();
    sql_run(path, "PRAGMA encoding = 'UTF-16'; CREATE TABLE app(x)");
    WORKS(jobq_open(path, &options, &q, &err));
    REQUIRE(q != NULL);
    put_job(q, (jobq_job){.kind = "k", .key = "key"});
    tell_in_utf16(q, "first"); /* what is prepared once is prepared */
    for (; hits && stats_of(q).failed_code == JOBQ_OK; n++) {
        char name[24];
        int64_t id;
        snprintf(name, sizeof name, "kind %d", (int)n);
        memory_plan(SQLITE, n, false);
        id = tell_in_utf16(q, name);
        hits = memory_hits();
        memory_again();
        if (id) CHECK_STR(look(q, id).key, name);
        if (id) CHECK_STR(look(q, id).kind, name);
        /* What looks at all rows after a commit (check.c) is not to grow with n. */
        if (id) jobq_delete(q, id, NULL);
    }
    if (!CHECK_CODE(stats_of(q).failed_code, JOBQ_OK)) test_note("allocation %d", (int)n - 1);
    CHECK(n > 50);
    close_whatever(&q);
}

TEST_MAIN(opening_without_memory_says_so, reading_without_memory_says_so,
          memory_runs_out_in_jobq, memory_runs_out_in_sqlite,
          memory_runs_out_while_the_schema_changes, memory_runs_out_in_a_migration,
          memory_runs_out_in_a_pool,
          claiming_without_memory_is_no_loop, stepping_without_memory_returns,
          a_transaction_ends_without_memory, a_moment_without_memory_at_a_commit,
          no_id_twice_without_memory, memory_runs_out_in_utf16)
