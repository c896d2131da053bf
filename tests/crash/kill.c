/* kill.c - kill -9 at any moment loses nothing that was acknowledged.
 *
 * Promised: when jobq_enqueue has returned, the job survives the death of the process, ends done,
 * and never runs twice at the same moment; what it wrote and enqueued through its own transaction
 * is there if and only if it is done. At DURABLE and at RELAXED alike.
 *
 * Broken on purpose: a life enqueues from several threads while its pool runs, and tells of each
 * acknowledged id and each job that an event called done through a pipe. The parent, who never
 * opens the file, kills it after so many words and a short spin, both drawn by the seed, or while
 * it still opens. After half of the deaths a fresh process, which runs nothing, compares the file
 * with what was told; after 30 the queue is drained and compared, and a new file begins.
 *
 * Counted: deaths, acknowledged jobs, lost ones, rows written by jobs and jobs done. */
#include "crash.h"

enum {
    DEATHS = 250,         /* for each durability */
    DEATHS_OF_A_FILE = 30,
    WORDS_MAX = 60,       /* told before a kill */
    ACKS_MAX = 100,       /* of one thread, so that a slow parent does not drown */
    LOG_PAGES_MIN = 16,   /* so that deaths meet checkpoints too */
    THREADS_MAX = 3,
    PAYLOAD_MAX = 300,
    BATCH_MAX = 12,
    COMPLAINTS_MAX = 5    /* of one look, so that a disaster stays readable */
};

/* What the parent has been told. The children get a copy by being forked. */
static struct {
    bool acked[IDS_MAX], done[IDS_MAX];
    int64_t last; /* the highest id in it */
} told;

static struct {
    const char *path;
    jobq_durability durability;
    bool exclusive;
    uint64_t seed; /* of the next life */
    int out;       /* where a life tells its words */
} plan;

/* Of all files of a test; the second line is written by children. */
static struct tally {
    int deaths, acked;
    int lost, effects, completions;
} *tally;

/* ---- Handlers ---- */

static void paint(unsigned char *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) bytes[i] = (unsigned char)(i * 7 + size);
}

static void check_payload(const jobq_run *run) {
    unsigned char wanted[PAYLOAD_MAX];
    size_t size = 0;
    const void *payload = jobq_run_payload(run, &size);
    if (size > PAYLOAD_MAX) {
        violation("a size that was never given", jobq_run_id(run));
        return;
    }
    paint(wanted, size);
    if (size > 0 && memcmp(payload, wanted, size) != 0)
        violation("another payload", jobq_run_id(run));
}

static bool first_fails(const jobq_run *run, int64_t every) {
    return jobq_run_attempt(run) == 1 && jobq_run_id(run) % every == 0;
}

static jobq_outcome run_plain(jobq_run *run, void *ctx) {
    int64_t mark = enter_book(jobq_run_id(run));
    (void)ctx;
    check_payload(run);
    leave_book(jobq_run_id(run), mark);
    return first_fails(run, 7) ? jobq_retry(run, "not at the first attempt") : JOBQ_DONE;
}

/* Its payload is the id of the job that enqueued it. */
static jobq_outcome run_follower(jobq_run *run, void *ctx) {
    leave_book(jobq_run_id(run), enter_book(jobq_run_id(run)));
    (void)ctx;
    return JOBQ_DONE;
}

/* A row, and a job that follows; both only if this run comes to be done. */
static bool write_effect(jobq_run *run, sqlite3 *db) {
    sqlite3_stmt *insert = NULL;
    int64_t id = jobq_run_id(run);
    jobq_job follower = {.kind = "follower", .payload = &id, .size = sizeof id};
    bool ok = sqlite3_prepare_v2(db, "INSERT INTO effect(job) VALUES(?1)", -1, &insert, NULL) ==
              SQLITE_OK;
    ok = ok && sqlite3_bind_int64(insert, 1, id) == SQLITE_OK;
    ok = ok && sqlite3_step(insert) == SQLITE_DONE;
    sqlite3_finalize(insert);
    return ok && jobq_enqueue(jobq_run_handle(run), &follower, NULL, NULL) == JOBQ_OK;
}

static jobq_outcome run_effect(jobq_run *run, void *ctx) {
    int64_t mark = enter_book(jobq_run_id(run));
    sqlite3 *db = NULL;
    bool ok;
    (void)ctx;
    check_payload(run);
    ok = jobq_run_db(run, &db, NULL) == JOBQ_OK && write_effect(run, db);
    leave_book(jobq_run_id(run), mark);
    if (!ok) return jobq_retry(run, "no transaction");
    return first_fails(run, 5) ? jobq_retry(run, "not at the first attempt") : JOBQ_DONE;
}

/* ---- One life ---- */

static void say_done(const jobq_event *event, void *ctx) {
    (void)ctx;
    if (event->to == JOBQ_STATE_DONE && plan.out >= 0) tell_number(plan.out, -event->id);
}

static void add_kind(jobq *q, const char *name, jobq_handler run) {
    jobq_kind kind = {.name = name, .run = run, .crashes_max = JOBQ_UNLIMITED};
    kind.attempts_max = JOBQ_UNLIMITED;
    kind.backoff_min_ms = 1;
    kind.backoff_max_ms = 4;
    handle_kind(q, kind);
}

static jobq *open_queue(int workers) {
    jobq_options options = {.workers = workers, .join = true, .on_event = say_done};
    jobq *q = NULL;
    is_child = true;
    begin_life();
    options.durability = plan.durability;
    options.exclusive = plan.exclusive;
    if (plan.seed % 3 == 0) options.wal_pages = LOG_PAGES_MIN + (int)(plan.seed % 100);
    WORKS(jobq_open(plan.path, &options, &q, &err));
    if (!q) return NULL;
    add_kind(q, "plain", run_plain);
    add_kind(q, "effect", run_effect);
    add_kind(q, "follower", run_follower);
    return q;
}

static jobq_job any_job(uint64_t *random, const void *payload) {
    static const char *const keys[] = {"k0", "k1", "k2", "k3"};
    jobq_job job = {.kind = test_random(random) % 2 ? "plain" : "effect", .payload = payload};
    job.size = (size_t)(test_random(random) % PAYLOAD_MAX);
    if (!job.size) job.payload = NULL;
    job.priority = (int)(test_random(random) % 3);
    if (test_random(random) % 8 == 0) job.delay_ms = (int64_t)(test_random(random) % 5);
    if (test_random(random) % 16 == 0) job.key = keys[test_random(random) % 4];
    return job;
}

/* A job that exists already is as acknowledged as a new one. */
static int enqueue_one(jobq *q, uint64_t *random) {
    unsigned char payload[PAYLOAD_MAX] = {0};
    jobq_job job = any_job(random, payload);
    int64_t id = 0;
    int code;
    paint(payload, job.size);
    code = jobq_enqueue(q, &job, &id, NULL);
    if (!CHECK_CODE(code, JOBQ_OK)) return ACKS_MAX;
    tell_number(plan.out, id);
    return 1;
}

static int enqueue_batch(jobq *q, uint64_t *random) {
    unsigned char payloads[BATCH_MAX][PAYLOAD_MAX];
    jobq_job jobs[BATCH_MAX];
    jobq_stored results[BATCH_MAX];
    size_t count = 1 + (size_t)(test_random(random) % BATCH_MAX);
    for (size_t i = 0; i < count; i++) {
        jobs[i] = any_job(random, payloads[i]);
        paint(payloads[i], jobs[i].size);
    }
    if (!CHECK_CODE(jobq_enqueue_many(q, jobs, count, results, NULL), JOBQ_OK)) return ACKS_MAX;
    for (size_t i = 0; i < count; i++) tell_number(plan.out, results[i].id);
    return (int)count;
}

struct producer {
    jobq *q;
    uint64_t random;
};

static void *produce(void *arg) {
    struct producer *p = (struct producer *)arg;
    for (int acks = 0; acks < ACKS_MAX;)
        acks += test_random(&p->random) % 3 ? enqueue_one(p->q, &p->random)
                                            : enqueue_batch(p->q, &p->random);
    return NULL;
}

/* Does something with every job that the queue has, whatever its state. */
static void for_all_jobs(jobq *q, void (*act)(jobq *q, const jobq_info *info)) {
    jobq_filter filter = {.state = JOBQ_STATE_NONE};
    jobq_cursor cursor = {.done = false};
    jobq_info infos[64];
    while (!cursor.done && test_failures() < COMPLAINTS_MAX) {
        size_t count = 0;
        if (!CHECK_CODE(jobq_list(q, &filter, &cursor, infos, 64, &count, NULL), JOBQ_OK)) break;
        for (size_t i = 0; i < count; i++) act(q, &infos[i]);
    }
}

static void wait_for(jobq *q, const jobq_info *info) {
    finish(q, info->id);
}

/* Never returns unless something is wrong: the parent kills it. */
static void live(void *arg) {
    static struct producer producers[THREADS_MAX];
    pthread_t threads[THREADS_MAX];
    uint64_t random = plan.seed;
    jobq *q = open_queue(2 + (int)(test_random(&random) % 3));
    int count = 1 + (int)(test_random(&random) % THREADS_MAX);
    (void)arg;
    REQUIRE(q != NULL);
    start(q);
    if (test_random(&random) % 4 == 0) for_all_jobs(q, wait_for);
    for (int i = 0; i < count; i++) {
        producers[i].q = q;
        producers[i].random = test_random(&random);
        threads[i] = thread_start(produce, &producers[i]);
    }
    for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
    if (test_failures() > 0) return;
    for (;;) pause();
}

/* ---- The parent's side ---- */

static bool hear_word(int in) {
    int64_t number = 0, id;
    if (!hear_number(in, &number)) return false;
    id = number < 0 ? -number : number;
    if (!CHECK(in_book(id))) return false;
    if (number > 0 && !told.acked[id]) tally->acked++;
    if (number > 0) told.acked[id] = true;
    if (number < 0) told.done[id] = true;
    if (id > told.last) told.last = id;
    return true;
}

static void live_and_die(uint64_t *random) {
    int ends[2];
    int words = 1 + (int)(test_random(random) % WORDS_MAX);
    bool early = test_random(random) % 6 == 0; /* while it opens and recovers */
    pid_t pid;
    pipe_make(ends);
    plan.out = ends[1];
    plan.seed = test_random(random);
    pid = test_spawn(live, NULL);
    plan.out = -1;
    close(ends[1]);
    if (early) words = 0;
    while (words > 0 && hear_word(ends[0])) words--;
    CHECK_INT(words, 0);
    spin_below(random, early ? 4000000 : 500000);
    kill(pid, SIGKILL);
    while (hear_word(ends[0])) continue;
    close(ends[0]);
    CHECK(was_killed(test_wait(pid)));
    tally->deaths++;
}

/* ---- The books ---- */

/* What a look has found in the file: of each job, and how often another was made by it. */
static struct {
    unsigned char state, effect, rows, followers;
} found[IDS_MAX];
static int64_t found_last; /* the highest id in it */

static bool find(int64_t id) {
    if (!CHECK(in_book(id))) return false;
    if (id > found_last) found_last = id;
    return true;
}

static void note_job(jobq *q, const jobq_info *info) {
    int64_t maker = 0;
    if (!find(info->id)) return;
    found[info->id].state = (unsigned char)info->state;
    found[info->id].effect = strcmp(info->kind, "effect") == 0;
    if (info->state == JOBQ_STATE_DONE) CHECK(info->runs >= 1);
    if (strcmp(info->kind, "follower") != 0) return;
    WORKS(jobq_get_payload(q, info->id, &maker, sizeof maker, NULL, &err));
    if (find(maker) && found[maker].followers < 255) found[maker].followers++;
}

static void note_effects(void) {
    sqlite3 *db = sql_open(plan.path);
    sqlite3_stmt *select = NULL;
    CHECK_INT(sqlite3_prepare_v2(db, "SELECT job FROM effect", -1, &select, NULL), SQLITE_OK);
    while (sqlite3_step(select) == SQLITE_ROW) {
        int64_t id = sqlite3_column_int64(select, 0);
        if (find(id) && found[id].rows < 255) found[id].rows++;
    }
    sqlite3_finalize(select);
    sqlite3_close(db);
}

static void compare(int64_t id) {
    bool there = found[id].state != JOBQ_STATE_NONE, done = found[id].state == JOBQ_STATE_DONE;
    int wanted = done && found[id].effect;
    if (told.acked[id] && !there) tally->lost++;
    if (told.acked[id]) CHECK(there);
    if (told.done[id]) CHECK(done);
    if (there) CHECK(done || found[id].state == JOBQ_STATE_PENDING);
    if (done) CHECK(book->starts[id] >= 1);
    CHECK_INT(found[id].rows, wanted);
    CHECK_INT(found[id].followers, wanted);
}

/* Looks at the file after a death, without running anything. */
static void inspect(void *arg) {
    jobq *q = open_queue(JOBQ_NONE);
    (void)arg;
    REQUIRE(q != NULL);
    for_all_jobs(q, note_job);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    note_effects();
    found_last = found_last > told.last ? found_last : told.last;
    for (int64_t id = 1; id <= found_last && test_failures() < COMPLAINTS_MAX; id++) compare(id);
    check_sound(plan.path);
}

static void finish_all(void *arg) {
    jobq *q = open_queue(3);
    jobq_counts c;
    REQUIRE(q != NULL);
    start(q);
    do {
        for_all_jobs(q, wait_for); /* the last of them may have enqueued others */
        c = count_all(q);
    } while (c.ready + c.scheduled + c.parked + c.running > 0 && test_failures() == 0);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    inspect(arg);
    for (int64_t id = 1; id <= found_last; id++) {
        if (found[id].state != JOBQ_STATE_NONE) CHECK_INT(found[id].state, JOBQ_STATE_DONE);
        tally->effects += found[id].rows;
        tally->completions += found[id].effect && found[id].state == JOBQ_STATE_DONE;
    }
}

static void make_table(void *arg) {
    jobq *q = open_queue(JOBQ_NONE);
    (void)arg;
    REQUIRE(q != NULL);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    sql_run(plan.path, "CREATE TABLE effect(job INTEGER)");
}

/* ---- One file, and all of them ---- */

static void kill_with_one_file(uint64_t *random, int64_t deaths) {
    char name[32];
    memset(&told, 0, sizeof told);
    book = (struct book *)share(sizeof *book);
    snprintf(name, sizeof name, "kill-%d.db", tally->deaths);
    plan.path = test_path(name);
    plan.out = -1;
    REQUIRE_INT(test_fork(make_table, NULL), 0);
    for (int64_t i = 0; i < deaths && test_failures() == 0; i++) {
        live_and_die(random);
        if (test_random(random) % 2) CHECK_INT(test_fork(inspect, NULL), 0);
    }
    CHECK_INT(test_fork(finish_all, NULL), 0);
    CHECK_INT(book->violations, 0);
    if (test_failures() == 0) remove_queue(plan.path);
    munmap(book, sizeof *book);
}

static void kill_with(jobq_durability durability, const char *row) {
    uint64_t random = test_seed() + (uint64_t)durability;
    int64_t deaths = test_effort(DEATHS), begun = test_real_ms(), left;
    double seconds;
    test_note("TEST_SEED=%" PRIu64 ", %" PRId64 " kills", test_seed(), deaths);
    tally = (struct tally *)share(sizeof *tally);
    plan.durability = durability;
    while ((left = deaths - tally->deaths) > 0 && test_failures() == 0)
        kill_with_one_file(&random, left < DEATHS_OF_A_FILE ? left : DEATHS_OF_A_FILE);
    seconds = (double)(test_real_ms() - begun + 1) / 1000;
    CHECK(tally->acked > 0);
    CHECK_INT(tally->lost, 0);
    CHECK_INT(tally->effects, tally->completions);
    test_figure(row, "0 acknowledged lost, effects = completions",
                "%d kills, %d acknowledged, %d lost, %d effects of %d jobs done, %.0f kills/s",
                tally->deaths, tally->acked, tally->lost, tally->effects, tally->completions,
                tally->deaths / seconds);
    munmap(tally, sizeof *tally);
}

/* Goal: at DURABLE no acknowledged job is lost by kill, each ends done, and effects through
 * the job's transaction are there once. Method: kills at random moments, then a drain. */
TEST(killed_at_durable) {
    kill_with(JOBQ_DURABLE, "kill -9, DURABLE");
}

/* Goal: the same holds at RELAXED, which may lose only to a power cut. Method: the same. */
TEST(killed_at_relaxed) {
    kill_with(JOBQ_RELAXED, "kill -9, RELAXED");
}

/* Goal: and for an owner that has the file for itself. Method: the same. */
TEST(killed_with_the_file_for_itself) {
    plan.exclusive = true;
    kill_with(JOBQ_DURABLE, "kill -9, exclusive");
    plan.exclusive = false;
}

TEST_MAIN(killed_at_durable, killed_at_relaxed, killed_with_the_file_for_itself)
