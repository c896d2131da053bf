/* large_payloads.c - payloads that stand apart from their row: written once, at enqueue, whole for
 * whoever reads them, and gone with their job. */
#include "helpers.h"

enum { MIB = 1024 * 1024, PAGE = 2048, QUARTER = PAGE / 4, ATTEMPTS = 3 };

#define STEP_BY_STEP ((jobq_options){.workers = JOBQ_NONE, .durability = JOBQ_RELAXED, \
                                     .page_size = PAGE, .wal_pages = 100000})

static unsigned char bytes[MIB];

/* Bytes that tell of which size they are, and where each stands. */
static unsigned char byte_at(size_t i, size_t size) {
    return (unsigned char)(i * 31 + i / 251 + size);
}

static jobq_job job_of(const char *kind, size_t size) {
    for (size_t i = 0; i < size; i++) bytes[i] = byte_at(i, size);
    return (jobq_job){.kind = kind, .payload = size ? bytes : NULL, .size = size};
}

static void check_whole(const unsigned char *payload, size_t size) {
    size_t i = 0;
    while (i < size && payload[i] == byte_at(i, size)) i++;
    CHECK_INT(i, size);
}

/* Fails its first attempts as often as ctx says. */
static jobq_outcome look_at_payload(jobq_run *run, void *ctx) {
    int *fails = (int *)ctx;
    size_t size;
    const unsigned char *payload = jobq_run_payload(run, &size);
    check_whole(payload, size);
    CHECK_INT(payload[size], 0);
    if (fails && *fails > 0) {
        --*fails;
        return jobq_retry(run, "not yet");
    }
    return jobq_done(run, "seen", 4);
}

/* ---- Written once ---- */

/* Pages in the log, which nobody copies. */
static int64_t pages_logged(const char *path) {
    char log[1024];
    struct stat st;
    snprintf(log, sizeof log, "%s-wal", path);
    return stat(log, &st) == 0 ? (int64_t)st.st_size / (PAGE + 24) : 0;
}

/* What a job goes through between its enqueue and its end. */
enum way { READY, DUE, DUE_WITH_OTHERS, PARKED, RETRIED, DEAD, CANCELLED, WAYS };

static int64_t put_large(fixture *f, enum way way, const char *queue) {
    bool later = way == DUE || way == DUE_WITH_OTHERS;
    jobq_job job = job_of("k", MIB);
    int64_t id, before;
    job.queue = queue;
    job.delay_ms = later ? JOBQ_HOUR : 0;
    if (way == DUE_WITH_OTHERS)
        put_job(f->q, (jobq_job){.kind = "k", .text = "", .queue = queue, .delay_ms = JOBQ_HOUR});
    before = pages_logged(f->path);
    id = put_job(f->q, job);
    CHECK(pages_logged(f->path) - before >= MIB / PAGE);
    CHECK(pages_logged(f->path) - before < MIB / PAGE + 30);
    return id;
}

static void go_the_way(fixture *f, enum way way, int64_t id, int *fails) {
    switch (way) {
    case PARKED:
        REQUIRE(fixture_reopen(f)); /* the log is gone with the close */
        CHECK_INT(drain(f->q), 0);
        CHECK(look(f->q, id).parked);
        handle(f->q, "k", look_at_payload, fails);
        break;
    case RETRIED: *fails = ATTEMPTS - 1; break;
    case DEAD: *fails = ATTEMPTS; break;
    case CANCELLED:
        WORKS(jobq_cancel(f->q, id, &err));
        WORKS(jobq_retry_now(f->q, id, &err));
        break;
    default: break;
    }
    drain(f->q);
    advance(f->q, 3 * JOBQ_HOUR);
    if (way == DEAD) {
        CHECK_INT(state_of(f->q, id), JOBQ_STATE_FAILED);
        WORKS(jobq_retry_now(f->q, id, &err));
        drain(f->q);
    }
}

/* Goal: whatever becomes of a job, its payload is not written again: not by a claim, a promotion,
 * parking and release, a retry, the dead letter box and the way out of it, or the end that is kept
 * (E2). Method: 1 MiB is 512 pages; all that happens after the enqueue writes fewer, by far; in a
 * queue with a small number and in one with a large one. */
TEST(pages_are_written_once) {
    for (int n = 0; n < 2 * WAYS; n++) {
        enum way way = (enum way)(n / 2);
        int64_t id, before;
        int fails = 0;
        fixture f;
        REQUIRE(fixture_open(&f, STEP_BY_STEP));
        handle_kind(f.q, (jobq_kind){.name = "k", .run = look_at_payload, .ctx = &fails,
                                     .attempts_max = ATTEMPTS});
        for (int i = 0; n % 2 && i < 130; i++) {
            char name[16];
            snprintf(name, sizeof name, "queue %d", i);
            put_job(f.q, (jobq_job){.kind = "k", .text = "", .queue = name});
        }
        drain(f.q);
        id = put_large(&f, way, n % 2 ? "queue 129" : "default");
        before = way == PARKED ? 0 : pages_logged(f.path);
        go_the_way(&f, way, id, &fails);
        CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
        if (!CHECK(pages_logged(f.path) - before < MIB / PAGE / 4))
            test_note("way %d, %" PRId64 " pages", way, pages_logged(f.path) - before);
        fixture_remove(&f);
    }
}

static jobq_outcome end_process(jobq_run *run, void *ctx) {
    (void)run, (void)ctx;
    _exit(0);
}

static void die_with_it(void *arg) {
    fixture *f = (fixture *)arg;
    REQUIRE(fixture_open(f, STEP_BY_STEP));
    handle(f->q, "k", end_process, NULL);
    put_job(f->q, job_of("k", MIB));
    jobq_step(f->q, NULL, NULL);
}

/* Goal: the same for a job in whose hands the process died. Method: a child; the next owner finds
 * its log, gives the job back, and runs it. */
TEST(recovery_leaves_them_alone) {
    int64_t before;
    fixture f = {.path = test_path("q.db")};
    CHECK_INT(test_fork(die_with_it, &f), 0);
    before = pages_logged(f.path);
    CHECK(before >= MIB / PAGE);
    REQUIRE(fixture_open(&f, STEP_BY_STEP));
    handle(f.q, "k", look_at_payload, NULL);
    CHECK_INT(look(f.q, 1).crashes, 1);
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(state_of(f.q, 1), JOBQ_STATE_DONE);
    CHECK(pages_logged(f.path) - before < MIB / PAGE / 4);
    fixture_close(&f);
}

/* ---- Whole ---- */

/* Goal: a payload is the same to whoever reads it, wherever it stands: above a quarter of a page it
 * stands apart, and not below. Method: sizes about that border and beyond; looked at before, in the
 * handler, after it, and in the table. */
TEST(whole_on_both_sides_of_the_border) {
    static const size_t sizes[] = {0, 1, 128, 129, QUARTER - 1, QUARTER, QUARTER + 1, PAGE,
                                   10 * PAGE, MIB};
    enum { SIZES = sizeof sizes / sizeof sizes[0] };
    static unsigned char read[MIB];
    int64_t ids[SIZES];
    fixture f;
    REQUIRE(fixture_open(&f, STEP_BY_STEP));
    handle(f.q, "k", look_at_payload, NULL);
    for (int i = 0; i < SIZES; i++) ids[i] = put_job(f.q, job_of("k", sizes[i]));
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < SIZES; i++) {
            char sql[120];
            size_t size = 0;
            CHECK_INT(look(f.q, ids[i]).payload_size, sizes[i]);
            WORKS(jobq_get_payload(f.q, ids[i], read, sizeof read, &size, &err));
            CHECK_INT(size, sizes[i]);
            check_whole(read, size);
            snprintf(sql, sizeof sql, "SELECT count(*) FROM jobq_payload WHERE job = %d",
                     (int)ids[i]);
            CHECK_INT(sql_int(f.path, sql), sizes[i] > QUARTER);
        }
        if (!round) CHECK_INT(drain(f.q), SIZES);
    }
    CHECK_INT(count_all(f.q).done, SIZES);
    fixture_close(&f);
}

/* Goal: the same when many are stored by one call, with keys and without, and run by threads.
 * Method: small and large ones by turns, more than one statement inserts at a time. */
TEST(whole_in_company) {
    enum { JOBS = 40 };
    jobq_job jobs[JOBS];
    jobq_stored stored[JOBS];
    char keys[JOBS][16];
    jobq *q = open_pool(test_path("q.db"), 3);
    REQUIRE(q != NULL);
    handle(q, "k", look_at_payload, NULL);
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = job_of("k", i % 3 ? 20000 : 0); /* they share the bytes */
        snprintf(keys[i], sizeof keys[i], "key %d", i);
        if (i % 5 == 0) jobs[i].key = keys[i];
    }
    WORKS(jobq_enqueue_many(q, jobs, JOBS, stored, &err));
    start(q);
    for (int i = 0; i < JOBS; i++) CHECK_INT(finish(q, stored[i].id).state, JOBQ_STATE_DONE);
    close_queue(&q);
    CHECK_INT(sql_int(test_path("q.db"), "SELECT count(*) FROM jobq_payload"), 26);
    check_sound(test_path("q.db"));
}

/* Goal: who only looks is told of a payload that is missing, too. Method: it is taken away by hand,
 * and no job runs. */
TEST(missing_is_told_to_who_looks) {
    static char read[16];
    int64_t id;
    size_t size;
    jobq_error told = {.code = JOBQ_OK};
    fixture f;
    REQUIRE(fixture_open(&f, STEP_BY_STEP));
    id = put_job(f.q, job_of("k", MIB));
    sql_run(f.path, "DELETE FROM jobq_payload");
    CHECK_CODE(jobq_get_payload(f.q, id, read, sizeof read, &size, &told), JOBQ_CORRUPT);
    CHECK(strstr(told.text, "jobq_payload, row 1: the row is missing") != NULL);
    fixture_close(&f);
}

/* ---- Gone ---- */

static int64_t payloads_in(const fixture *f) {
    return sql_int(f->path, "SELECT count(*) FROM jobq_payload");
}

static jobq_outcome store_and_fail(jobq_run *run, void *ctx) {
    jobq_job child = job_of("child", MIB);
    sqlite3 *db;
    (void)ctx;
    CHECK_CODE(jobq_run_db(run, &db, NULL), JOBQ_OK);
    CHECK_CODE(jobq_enqueue(jobq_run_handle(run), &child, NULL, NULL), JOBQ_OK);
    return jobq_fail(run, "so the child is not stored either");
}

/* Goal: no payload outlives its job. Method: jobs that are not kept, that are kept for a while,
 * that are deleted before they run and after, and that were never committed. */
TEST(gone_with_their_jobs) {
    int64_t kept, deleted;
    fixture f;
    REQUIRE(fixture_open(&f, STEP_BY_STEP));
    handle(f.q, "kept", look_at_payload, NULL);
    handle_kind(f.q, (jobq_kind){.name = "gone", .run = look_at_payload,
                                 .keep_done_ms = JOBQ_NONE});
    put_job(f.q, job_of("gone", MIB));
    kept = put_job(f.q, job_of("kept", MIB));
    deleted = put_job(f.q, job_of("later", MIB));
    CHECK_INT(payloads_in(&f), 3);
    CHECK_INT(drain(f.q), 2);
    CHECK_INT(payloads_in(&f), 2);
    WORKS(jobq_delete(f.q, deleted, &err));
    CHECK_INT(payloads_in(&f), 1);
    CHECK_INT(look(f.q, kept).payload_size, MIB);
    advance(f.q, 3 * JOBQ_DAY);
    CHECK_INT(payloads_in(&f), 0);
    kept = put_job(f.q, job_of("kept", MIB));
    CHECK_INT(drain(f.q), 1);
    WORKS(jobq_delete(f.q, kept, &err));
    CHECK_INT(payloads_in(&f), 0);
    handle(f.q, "parent", store_and_fail, NULL);
    put(f.q, "parent");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(payloads_in(&f), 0);
    fixture_close(&f);
}

TEST_MAIN(pages_are_written_once, recovery_leaves_them_alone, whole_on_both_sides_of_the_border,
          whole_in_company, missing_is_told_to_who_looks, gone_with_their_jobs)
