/* shrink.c - a file that was large once becomes small again, some time after, and no other. */
#include "helpers.h"

#define LARGE (1 << 20)

static int64_t bytes_of(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : -1;
}

static void put_large(jobq *q, int count) {
    void *payload = calloc(1, LARGE);
    jobq_job job = {0};
    job.kind = "k";
    job.payload = payload;
    job.size = LARGE;
    while (payload && count-- > 0) WORKS(jobq_enqueue(q, &job, NULL, &err));
    free(payload);
}

static jobq_outcome works(jobq_run *run, void *ctx) {
    (void)run;
    (void)ctx;
    return JOBQ_DONE;
}

/* Opens with a handler; done jobs go at once. */
static bool open_here(fixture *f, jobq_options options) {
    options.workers = JOBQ_NONE;
    options.keep_done_ms = JOBQ_NONE;
    options.durability = JOBQ_RELAXED;
    if (!fixture_open(f, options)) return false;
    handle(f->q, "k", works, NULL);
    return true;
}

/* Housekeeping waits for the end of an advance. */
static void pass_minutes(jobq *q, int minutes) {
    while (minutes-- > 0) WORKS(jobq_advance(q, JOBQ_MINUTE, NULL, &err));
}

/* Goal: the disk that a burst took is given back. Method: 24 MiB of jobs, done at once; some
 * minutes later the file has what its rows need and a little more, and nothing is lost. */
TEST(burst_is_given_back) {
    fixture f;
    jobq_counts counts;
    jobq_job later = {0};
    if (!open_here(&f, (jobq_options){0})) return;
    later.kind = "k";
    later.delay_ms = JOBQ_DAY;
    put_large(f.q, 24);
    put_job(f.q, later);
    WORKS(jobq_run_until_idle(f.q, NULL, &err));
    WORKS(jobq_advance(f.q, 30 * JOBQ_SECOND, NULL, &err));
    pass_minutes(f.q, 5);
    CHECK(bytes_of(f.path) < 1024 * 1024);
    WORKS(jobq_count(f.q, &counts, &err));
    CHECK_INT(counts.scheduled, 1);
    fixture_close(&f);
    check_sound(f.path);
}

/* Goal: so is what a few have left, however that adds up. Method: three jobs, each ended by a
 * commit of its own, of which the last is just enough; the looks that opening begins with are
 * over. */
TEST(few_are_given_back) {
    static const char payload[200 * 1000] = "x";
    fixture f;
    int64_t large;
    if (!open_here(&f, (jobq_options){0})) return;
    pass_minutes(f.q, 5);
    for (int i = 0; i < 3; i++)
        put_job(f.q, (jobq_job){.kind = "k", .payload = payload, .size = i < 2 ? 200000 : 130000});
    WORKS(jobq_run_until_idle(f.q, NULL, &err));
    WORKS(jobq_advance(f.q, 30 * JOBQ_SECOND, NULL, &err));
    large = sql_int(f.path, "PRAGMA page_count");
    pass_minutes(f.q, 5);
    CHECK(sql_int(f.path, "PRAGMA page_count") < large - 100);
    fixture_close(&f);
}

/* Goal: who closes before that leaves it to the next owner, even one that only waits. */
TEST(next_owner_gives_back) {
    fixture f;
    if (!open_here(&f, (jobq_options){0})) return;
    put_large(f.q, 24);
    WORKS(jobq_run_until_idle(f.q, NULL, &err));
    if (!fixture_reopen(&f)) return;
    CHECK(bytes_of(f.path) > 20 * LARGE);
    pass_minutes(f.q, 5);
    CHECK(bytes_of(f.path) < 1024 * 1024);
    fixture_close(&f);
    check_sound(f.path);
}

/* A file of so many MiB, almost all of them free, opened by its next owner. */
static bool reopen_empty(fixture *f, int mib) {
    if (!open_here(f, (jobq_options){0})) return false;
    put_large(f->q, mib);
    WORKS(jobq_run_until_idle(f->q, NULL, &err));
    if (!fixture_reopen(f)) return false;
    handle(f->q, "k", works, NULL);
    return CHECK(bytes_of(f->path) >= mib * LARGE);
}

/* Goal: a step takes a short while, however much there is to give back, and the next ones go on
 * with it. Method: 16 MiB; the log is copied after each commit. */
TEST(step_gives_back_a_slice) {
    fixture f;
    int64_t size, steps = 0;
    if (!reopen_empty(&f, 16)) return;
    jobq_clock_advance(f.clock, 2 * JOBQ_MINUTE);
    WORKS(jobq_step(f.q, NULL, &err));
    CHECK(sql_int(f.path, "PRAGMA freelist_count") * sql_int(f.path, "PRAGMA page_size")
          > 12 * LARGE);
    while (steps++ < 1000 && sql_int(f.path, "PRAGMA freelist_count") > 256)
        WORKS(jobq_step(f.q, NULL, &err));
    CHECK(steps > 2);
    fixture_close(&f);
    size = bytes_of(f.path);
    if (!CHECK(size < LARGE)) test_note("%" PRId64 " bytes", size);
}

/* Goal: housekeeping has an end in a file that shrinks no more. Method: somebody else makes it anew
 * as such a file, beside the queue that has made it. */
TEST(file_that_was_made_anew) {
    fixture f;
    if (!open_here(&f, (jobq_options){.shared = true})) return;
    put_large(f.q, 16);
    sql_run(f.path, "PRAGMA auto_vacuum = NONE; VACUUM");
    WORKS(jobq_run_until_idle(f.q, NULL, &err));
    pass_minutes(f.q, 5);
    CHECK(bytes_of(f.path) > 15 * LARGE);
    fixture_close(&f);
    check_sound(f.path);
}

static void be_steady(int64_t reserve_bytes) {
    fixture f;
    int64_t full = 0;
    int round;
    if (!open_here(&f, (jobq_options){.wal_pages = 200, .reserve_bytes = reserve_bytes})) return;
    for (round = 0; round < 10; round++) {
        put_large(f.q, 8);
        if (round == 0) full = bytes_of(f.path);
        CHECK(bytes_of(f.path) >= full);
        WORKS(jobq_run_until_idle(f.q, NULL, &err));
        WORKS(jobq_advance(f.q, 30 * JOBQ_SECOND, NULL, &err));
        CHECK(bytes_of(f.path) >= full);
    }
    CHECK(bytes_of(f.path) >= full);
    CHECK(bytes_of(f.path) < 2 * full);
    pass_minutes(f.q, 5);
    CHECK(bytes_of(f.path) < 1024 * 1024);
    fixture_remove(&f);
}

/* Goal: a queue that needs its pages again and again keeps them. Method: ten rounds of 8 MiB, one
 * each half minute: no commit but those of the jobs, and the file keeps its size. With and without
 * a reserve. */
TEST(steady_queue_keeps_its_pages) {
    be_steady(0);
    be_steady(JOBQ_NONE);
}

/* Goal: free pages of a file that another program has made are not ours to move, whether it can
 * be shrunk or not. */
TEST(joined_file_is_left_alone) {
    static const char *const makes[] = {
        "CREATE TABLE theirs(a)", "PRAGMA auto_vacuum = INCREMENTAL; CREATE TABLE theirs(a)"};
    for (size_t i = 0; i < 2; i++) {
        const char *path = test_path("q.db");
        sqlite3 *db = NULL;
        fixture f;
        CHECK_INT(sqlite3_open(path, &db), SQLITE_OK);
        CHECK_INT(sqlite3_exec(db, makes[i], NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(db);
        if (!open_here(&f, (jobq_options){.join = true})) return;
        put_large(f.q, 8);
        WORKS(jobq_run_until_idle(f.q, NULL, &err));
        pass_minutes(f.q, 5);
        if (!fixture_reopen(&f)) return;
        CHECK(bytes_of(f.path) > 8 * LARGE);
        fixture_remove(&f);
    }
}

/* Goal: when there is nothing to give back, nobody looks. Method: an hour that begins after the
 * file has been cut off: not one commit. */
TEST(small_file_is_not_looked_at) {
    fixture f;
    jobq_stats before, after;
    if (!open_here(&f, (jobq_options){0})) return;
    put_large(f.q, 24);
    WORKS(jobq_run_until_idle(f.q, NULL, &err));
    pass_minutes(f.q, 10);
    /* An advance commits by itself; more time is not more commits. */
    WORKS(jobq_stat(f.q, &before, &err));
    WORKS(jobq_advance(f.q, JOBQ_MINUTE, NULL, &err));
    WORKS(jobq_stat(f.q, &after, &err));
    int64_t each = after.commits - before.commits;
    WORKS(jobq_advance(f.q, JOBQ_HOUR, NULL, &err));
    WORKS(jobq_stat(f.q, &before, &err));
    CHECK_INT(before.commits - after.commits, each);
    fixture_close(&f);
}

/* Goal: a file has the pages that were asked for when it was made, and keeps them; the log's length
 * in bytes stays about the same. Method: each size, made and opened again with another wish. */
TEST(pages_are_as_asked_for) {
    static const int sizes[] = {0, 512, 1024, 4096, 65536};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        sqlite3 *db = NULL;
        sqlite3_stmt *s = NULL;
        fixture f;
        if (!open_here(&f, (jobq_options){.page_size = sizes[i]})) return;
        f.options.page_size = 8192;
        put_large(f.q, 1);
        if (!fixture_reopen(&f)) return;
        CHECK_INT(sqlite3_open(f.path, &db), SQLITE_OK);
        if (CHECK_INT(sqlite3_prepare_v2(db, "PRAGMA page_size", -1, &s, NULL), SQLITE_OK)
            && CHECK_INT(sqlite3_step(s), SQLITE_ROW))
            CHECK_INT(sqlite3_column_int(s, 0), sizes[i] ? sizes[i] : 2048);
        sqlite3_finalize(s);
        sqlite3_close(db);
        CHECK(bytes_of(test_path("q.db-jobq")) < 5 << 20);
        fixture_remove(&f);
    }
}

TEST_MAIN(pages_are_as_asked_for,
          burst_is_given_back, few_are_given_back, next_owner_gives_back,
          step_gives_back_a_slice,
          steady_queue_keeps_its_pages,
          file_that_was_made_anew, joined_file_is_left_alone, small_file_is_not_looked_at)
