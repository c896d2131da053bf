/* crash_kill.c - a process that is killed at any moment loses nothing it was told is kept.
 *
 * A child opens the queue with a pool, enqueues, and reports each acknowledged id and each
 * job that an event called done through a pipe. The parent kills it with SIGKILL after a
 * number of reports and a short spin, both drawn from a seeded generator, has a fresh child
 * look at the file, and begins again. In the end the queue is drained and the books must
 * balance. The parent never opens the file itself. TEST_SEED chooses other moments. */
#define TEST_SECONDS 300
#include "helpers.h"

#include <sys/mman.h>

enum {
    IDS_MAX = 1 << 16,
    KILLS = 30,        /* for each durability */
    REPORTS_MAX = 60,  /* before a kill */
    ACKS_MAX = 400,    /* of one life, so that a slow parent does not drown */
    PAYLOAD_MAX = 300,
    BATCH_MAX = 12,
    COMPLAINTS_MAX = 5 /* of one look, so that a disaster stays readable */
};

/* What all processes write: who runs a job, how often it was started, and how often
 * something happened that must not. */
struct book {
    pid_t runner[IDS_MAX];
    int starts[IDS_MAX];
    int violations;
};

static struct book *book;

/* What the parent has been told. The children get a copy by being forked. */
static struct {
    bool acked[IDS_MAX], done[IDS_MAX];
    int64_t last;
} told;

static struct {
    const char *path;
    jobq_durability durability;
    uint64_t seed; /* of the next life */
    int out;       /* where a life writes its reports */
} plan;

/* ---- Handlers ---- */

static void violation(const char *what, int64_t id) {
    test_note("violation: %s, job %" PRId64, what, id);
    __atomic_add_fetch(&book->violations, 1, __ATOMIC_SEQ_CST);
}

static void paint(unsigned char *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) bytes[i] = (unsigned char)(i * 7 + size);
}

/* A dead process leaves its pid behind; our own pid means that the job runs twice. */
static void enter(const jobq_run *run) {
    int64_t id = jobq_run_id(run);
    unsigned char wanted[PAYLOAD_MAX];
    size_t size = 0;
    const void *payload = jobq_run_payload(run, &size);
    if (id <= 0 || id >= IDS_MAX || size > PAYLOAD_MAX) {
        violation("an id or a size that was never given", id);
        return;
    }
    if (__atomic_exchange_n(&book->runner[id], getpid(), __ATOMIC_SEQ_CST) == getpid())
        violation("two runs at the same moment", id);
    __atomic_add_fetch(&book->starts[id], 1, __ATOMIC_SEQ_CST);
    paint(wanted, size);
    if (size > 0 && memcmp(payload, wanted, size) != 0) violation("another payload", id);
}

static void leave(const jobq_run *run) {
    int64_t id = jobq_run_id(run);
    if (id > 0 && id < IDS_MAX) __atomic_store_n(&book->runner[id], 0, __ATOMIC_SEQ_CST);
}

static bool first_fails(const jobq_run *run, int64_t every) {
    return jobq_run_attempt(run) == 1 && jobq_run_id(run) % every == 0;
}

static jobq_outcome run_plain(jobq_run *run, void *ctx) {
    (void)ctx;
    enter(run);
    leave(run);
    return first_fails(run, 7) ? jobq_retry(run, "not at the first attempt") : JOBQ_DONE;
}

static bool write_effect(sqlite3 *db, int64_t id) {
    sqlite3_stmt *insert = NULL;
    bool ok = sqlite3_prepare_v2(db, "INSERT INTO effect(job) VALUES(?1)", -1, &insert, NULL) ==
              SQLITE_OK;
    ok = ok && sqlite3_bind_int64(insert, 1, id) == SQLITE_OK;
    ok = ok && sqlite3_step(insert) == SQLITE_DONE;
    sqlite3_finalize(insert);
    return ok;
}

static jobq_outcome run_effect(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    bool ok;
    (void)ctx;
    enter(run);
    ok = jobq_run_db(run, &db, NULL) == JOBQ_OK && write_effect(db, jobq_run_id(run));
    leave(run);
    if (!ok) return jobq_retry(run, "no transaction");
    return first_fails(run, 5) ? jobq_retry(run, "not at the first attempt") : JOBQ_DONE;
}

/* ---- One life ---- */

static void report(int64_t number) {
    if (plan.out < 0) return;
    while (write(plan.out, &number, sizeof number) < 0 && errno == EINTR) continue;
}

static void on_event(const jobq_event *event, void *ctx) {
    (void)ctx;
    if (event->to == JOBQ_STATE_DONE) report(-event->id);
}

static void add_kind(jobq *q, const char *name, jobq_handler run) {
    jobq_kind kind = {.name = name, .run = run, .crashes_max = JOBQ_UNLIMITED};
    kind.attempts_max = JOBQ_UNLIMITED;
    kind.backoff_min_ms = 1;
    kind.backoff_max_ms = 4;
    CHECK_CODE(jobq_register(q, &kind, NULL), JOBQ_OK);
}

static jobq *open_queue(int workers) {
    jobq_options options = {.workers = workers, .join = true, .on_event = on_event};
    jobq_error err = {0, 0, ""};
    jobq *q = NULL;
    options.durability = plan.durability;
    if (!CHECK_CODE(jobq_open(plan.path, &options, &q, &err), JOBQ_OK)) {
        test_note("open: %s", err.text);
        return NULL;
    }
    add_kind(q, "plain", run_plain);
    add_kind(q, "effect", run_effect);
    return q;
}

static jobq_job any_job(uint64_t *random, const void *payload) {
    static const char *const keys[] = {"k0", "k1", "k2", "k3"};
    jobq_job job = {.kind = test_random(random) % 2 ? "plain" : "effect", .payload = payload};
    job.size = (size_t)(test_random(random) % PAYLOAD_MAX);
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
    if (code != JOBQ_EXISTS && !CHECK_CODE(code, JOBQ_OK)) return ACKS_MAX;
    report(id);
    return 1;
}

static int enqueue_batch(jobq *q, uint64_t *random) {
    static unsigned char payloads[BATCH_MAX][PAYLOAD_MAX];
    jobq_job jobs[BATCH_MAX];
    jobq_result results[BATCH_MAX];
    size_t count = 1 + (size_t)(test_random(random) % BATCH_MAX);
    for (size_t i = 0; i < count; i++) {
        jobs[i] = any_job(random, payloads[i]);
        paint(payloads[i], jobs[i].size);
    }
    if (!CHECK_CODE(jobq_enqueue_many(q, jobs, count, results, NULL), JOBQ_OK)) return ACKS_MAX;
    for (size_t i = 0; i < count; i++) report(results[i].id);
    return (int)count;
}

/* Waits for every job that the queue has, whatever its state, and returns how many. */
static int wait_for_all(jobq *q, int64_t *ids) {
    jobq_filter filter = {.state = JOBQ_STATE_NONE};
    jobq_cursor cursor = {.done = false};
    static jobq_info infos[64];
    int found = 0;
    while (!cursor.done) {
        size_t count = 0;
        if (!CHECK_CODE(jobq_list(q, &filter, &cursor, infos, 64, &count, NULL), JOBQ_OK)) break;
        for (size_t i = 0; i < count && found < IDS_MAX; i++) ids[found++] = infos[i].id;
    }
    for (int i = 0; i < found; i++)
        if (!CHECK_CODE(jobq_wait(q, ids[i], JOBQ_NEVER, NULL, NULL), JOBQ_OK)) break;
    return found;
}

/* Never returns unless something is wrong: the parent kills it. */
static void live(void *arg) {
    static int64_t ids[IDS_MAX];
    uint64_t random = plan.seed;
    jobq *q = open_queue(2 + (int)(test_random(&random) % 3));
    int acks = 0;
    (void)arg;
    REQUIRE(q != NULL);
    REQUIRE_CODE(jobq_start(q, NULL), JOBQ_OK);
    if (test_random(&random) % 4 == 0) wait_for_all(q, ids);
    while (acks < ACKS_MAX)
        acks += test_random(&random) % 3 ? enqueue_one(q, &random) : enqueue_batch(q, &random);
    if (test_failures() > 0) return;
    for (;;) pause();
}

/* ---- The parent's side ---- */

static void note_report(int64_t number) {
    int64_t id = number < 0 ? -number : number;
    REQUIRE(id > 0 && id < IDS_MAX);
    if (number > 0) told.acked[id] = true;
    if (number < 0) told.done[id] = true;
    if (id > told.last) told.last = id;
}

static bool read_report(int in) {
    int64_t number = 0;
    char *at = (char *)&number;
    size_t have = 0;
    while (have < sizeof number) {
        ssize_t n = read(in, at + have, sizeof number - have);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        have += (size_t)n;
    }
    note_report(number);
    return true;
}

/* Moves the moment of the kill without asking the time. */
static void spin(uint64_t *random, uint64_t limit) {
    uint64_t turns = test_random(random) % limit;
    volatile uint64_t sink = 0;
    while (turns-- > 0) sink = sink + turns;
    (void)sink;
}

static void live_and_die(uint64_t *random) {
    int fds[2], status;
    int reports = 1 + (int)(test_random(random) % REPORTS_MAX);
    bool early = test_random(random) % 6 == 0; /* while it opens and recovers */
    pid_t pid;
    REQUIRE_INT(pipe(fds), 0);
    plan.out = fds[1];
    plan.seed = test_random(random);
    pid = test_spawn(live, NULL);
    plan.out = -1;
    close(fds[1]);
    if (early) reports = 0;
    while (reports > 0 && read_report(fds[0])) reports--;
    CHECK_INT(reports, 0);
    spin(random, early ? 20000000 : 1000000);
    kill(pid, SIGKILL);
    while (read_report(fds[0])) continue;
    close(fds[0]);
    status = test_wait(pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void check_integrity(void) {
    char text[256];
    sql_text(plan.path, "PRAGMA integrity_check", text, sizeof text);
    CHECK_STR(text, "ok");
}

/* Looks at the file after a kill, without running anything. */
static void inspect(void *arg) {
    jobq *q = open_queue(JOBQ_NONE);
    (void)arg;
    REQUIRE(q != NULL);
    for (int64_t id = 1; id <= told.last && test_failures() < COMPLAINTS_MAX; id++) {
        jobq_info info;
        if (!told.acked[id] && !told.done[id]) continue;
        if (!CHECK_CODE(jobq_get(q, id, &info, NULL), JOBQ_OK)) continue;
        CHECK(info.state == JOBQ_STATE_PENDING || info.state == JOBQ_STATE_DONE);
        if (told.done[id]) CHECK_INT(info.state, JOBQ_STATE_DONE);
        if (info.state == JOBQ_STATE_DONE) CHECK(info.runs >= 1);
    }
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    check_integrity();
}

static void make_table(void *arg) {
    jobq *q = open_queue(JOBQ_NONE);
    (void)arg;
    REQUIRE(q != NULL);
    REQUIRE_CODE(jobq_close(&q), JOBQ_OK);
    sql_run(plan.path, "CREATE TABLE effect(job INTEGER)");
}

/* ---- The end ---- */

/* Counts the rows of each job in the effect table; returns how many there are in all. */
static int count_effects(unsigned char *rows) {
    sqlite3 *db = sql_open(plan.path);
    sqlite3_stmt *select = NULL;
    int count = 0;
    CHECK_INT(sqlite3_prepare_v2(db, "SELECT job FROM effect", -1, &select, NULL), SQLITE_OK);
    while (sqlite3_step(select) == SQLITE_ROW) {
        int64_t id = sqlite3_column_int64(select, 0);
        count++;
        if (CHECK(id > 0 && id < IDS_MAX) && rows[id] < 255) rows[id]++;
    }
    sqlite3_finalize(select);
    sqlite3_close(db);
    return count;
}

/* Checks one drained job and returns how many effect rows it must have. */
static int check_drained(jobq *q, int64_t id) {
    jobq_info info;
    if (!CHECK_CODE(jobq_get(q, id, &info, NULL), JOBQ_OK)) return 0;
    CHECK_INT(info.state, JOBQ_STATE_DONE);
    CHECK(book->starts[id] >= 1);
    CHECK(info.runs >= 1);
    return strcmp(info.kind, "effect") == 0;
}

static void finish_all(void *arg) {
    static int64_t ids[IDS_MAX];
    static unsigned char rows[IDS_MAX], wanted[IDS_MAX], present[IDS_MAX];
    jobq *q = open_queue(3);
    int found, effects = 0;
    (void)arg;
    REQUIRE(q != NULL);
    REQUIRE_CODE(jobq_start(q, NULL), JOBQ_OK);
    found = wait_for_all(q, ids);
    for (int i = 0; i < found && test_failures() < COMPLAINTS_MAX; i++) {
        REQUIRE(ids[i] > 0 && ids[i] < IDS_MAX);
        present[ids[i]] = 1;
        wanted[ids[i]] = (unsigned char)check_drained(q, ids[i]);
        effects += wanted[ids[i]];
    }
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    CHECK_INT(count_effects(rows), effects);
    for (int64_t id = 1; id < IDS_MAX && test_failures() < COMPLAINTS_MAX; id++) {
        CHECK_INT(rows[id], wanted[id]);
        if (told.acked[id]) CHECK(present[id] == 1);
    }
    check_integrity();
}

static void run_kills(jobq_durability durability, uint64_t seed) {
    uint64_t random = seed;
    int kills = TEST_SCALED(KILLS), acked = 0;
    test_note("TEST_SEED=%" PRIu64 ", %d kills", seed, kills);
    memset(&told, 0, sizeof told);
    plan.path = test_path("kill.db");
    plan.durability = durability;
    plan.out = -1;
    REQUIRE_INT(test_fork(make_table, NULL), 0);
    for (int i = 0; i < kills && test_failures() == 0; i++) {
        live_and_die(&random);
        CHECK_INT(test_fork(inspect, NULL), 0);
    }
    CHECK_INT(test_fork(finish_all, NULL), 0);
    CHECK_INT(book->violations, 0);
    for (int id = 0; id < IDS_MAX; id++) acked += told.acked[id];
    CHECK(acked > 0);
}

static void kill_with(jobq_durability durability) {
    void *map = mmap(NULL, sizeof *book, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(map != MAP_FAILED);
    book = (struct book *)map;
    run_kills(durability, test_seed() + (uint64_t)durability);
    munmap(map, sizeof *book);
    book = NULL;
}

/* Goal: at DURABLE no acknowledged job is lost by kill, each ends done, and effects through
 * the job's transaction are there once. Method: kills at random moments, then a drain. */
TEST(killed_at_durable) {
    kill_with(JOBQ_DURABLE);
}

/* Goal: the same holds at RELAXED, which may lose only to a power cut. Method: the same. */
TEST(killed_at_relaxed) {
    kill_with(JOBQ_RELAXED);
}

TEST_MAIN(killed_at_durable, killed_at_relaxed)
