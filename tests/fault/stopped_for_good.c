/* stopped_for_good.c - a queue that has stopped for good says so to everybody, and gives one
 * reason.
 *
 * When the disk fails in such a way that nobody can know what is on it, the queue latches: nothing
 * is written any more. fault/commit_fails.c shows that every later call is refused; here are those
 * who wait already, and what comes after the first reason. */
#include "fault_vfs.h"
#include "helpers.h"

#include <sched.h>

#define POOL ((jobq_options){.workers = 2, .shared = true, .busy_ms = 5})
#define SHARED_STEP ((jobq_options){.workers = JOBQ_NONE, .shared = true, .busy_ms = 5})

/* The disk dies under an enqueue, whose COMMIT then neither holds nor can be scrubbed. */
static void break_queue(jobq *q) {
    fault_plan(FAULT_WAL_SYNC, "X", SQLITE_IOERR_FSYNC);
    FAILS(JOBQ_UNKNOWN, jobq_enqueue(q, &(jobq_job){.kind = "k"}, NULL, &err));
    fault_off();
    CHECK_INT(stats_of(q).failed_code, JOBQ_IO);
}

/* ---- Who waits ---- */

/* Goal: who waits for a job hears that it will not end. Method: threads wait under a clock that
 * stands, so nothing but the latch can wake them; the disk dies while the job stands at a gate. */
TEST(waiters_hear_of_it) {
    enum { WAITERS = 4 };
    struct job_waiter waiters[WAITERS];
    jobq_options options = POOL;
    fixture f;
    int64_t id;
    gate g;
    gate_init(&g);
    fault_begin();
    options.stall_ms = JOBQ_HOUR; /* by which they would give up */
    REQUIRE(fixture_open(&f, options));
    handle(f.q, "k", stand_at_gate, &g);
    start(f.q);
    id = put(f.q, "k");
    gate_await(&g, 1);
    start_job_waiters(waiters, WAITERS, f.q, id);
    break_queue(f.q);
    UNTIL(jobq_wakes(f.q) == 0);
    if (test_failures()) _exit(1);
    for (int i = 0; i < WAITERS; i++) {
        pthread_join(waiters[i].thread, NULL);
        CHECK_CODE(waiters[i].code, JOBQ_IO);
    }
    gate_open(&g);
    fixture_close(&f);
    gate_free(&g);
}

/* ---- What comes after ---- */

/* Goal: the first reason stays, for it is the one to be repaired, and names the file. Method: after
 * the disk has failed a read finds the file damaged. */
TEST(first_reason_stays) {
    jobq_error told = {.code = JOBQ_OK};
    fixture f;
    int64_t id;
    int code;
    fault_begin();
    REQUIRE(fixture_open(&f, SHARED_STEP));
    id = put(f.q, "k");
    break_queue(f.q);
    fault_plan(FAULT_WAL_READ, "x*", SQLITE_CORRUPT);
    code = jobq_get(f.q, id, &(jobq_info){.id = 0}, NULL);
    CHECK(fault_hits(FAULT_WAL_READ) > 0);
    CHECK_CODE(code, JOBQ_CORRUPT);
    fault_off();
    CHECK_INT(stats_of(f.q).failed_code, JOBQ_IO);
    CHECK_CODE(jobq_enqueue(f.q, &(jobq_job){.kind = "k"}, NULL, &told), JOBQ_IO);
    if (!CHECK(strstr(told.text, f.path))) test_note("%s", told.text);
    fixture_close(&f);
}

/* The record names the file, SQLite's words and code, and the way out. */
static void tells_why(const char *call, const jobq_error *told, const char *path, int sqlite_code,
                      const char *way_out) {
    CHECK_INT(told->sqlite_code, sqlite_code);
    if (!CHECK(strstr(told->text, path) && strstr(told->text, sqlite3_errstr(sqlite_code))
               && strstr(told->text, way_out)))
        test_note("%s: %s", call, told->text);
}

#define TELLS_WHY(wanted, call, sqlite_code, way_out) \
    do { \
        jobq_error err; \
        memset(&err, 0, sizeof err); \
        CHECK_CODE((call), wanted); \
        tells_why(#call, &err, f.path, sqlite_code, way_out); \
    } while (0)

static void stop_the_queue(jobq_run *run) {
    jobq *q = jobq_run_handle(run);
    fault_plan(FAULT_WAL_SYNC, "X", SQLITE_IOERR_FSYNC);
    FAILS(JOBQ_UNKNOWN, jobq_enqueue(q, &(jobq_job){.kind = "k"}, NULL, &err));
    fault_off();
}

static jobq_outcome stop_and_be_done(jobq_run *run, void *ctx) {
    jobq_error *told = (jobq_error *)ctx;
    sqlite3 *db = NULL;
    stop_the_queue(run);
    CHECK_CODE(jobq_checkpoint(run, "x", 1, told), JOBQ_IO);
    CHECK_CODE(jobq_run_db(run, &db, told + 1), JOBQ_IO);
    return JOBQ_DONE;
}

/* Goal: whoever asks is told why the queue has stopped: the first call, whose own outcome is not
 * known, and every one after it. Method: the sync of a COMMIT fails, and after that the write that
 * was to make it certain; each call that writes, waits or starts, in step mode. */
TEST(every_call_tells_the_reason) {
    static const char way_out[] = "open it again";
    int64_t writes, id;
    fixture f;
    fault_begin();
    REQUIRE(fixture_open(&f, SHARED_STEP));
    put(f.q, "k");
    fault_off();
    id = put(f.q, "k");
    writes = fault_calls(FAULT_WAL_WRITE);
    CHECK(writes > 0);
    fault_off();
    fault_plan(FAULT_WAL_SYNC, "x", SQLITE_IOERR_FSYNC);
    fault_nth(FAULT_WAL_WRITE, writes + 1, "x*", SQLITE_IOERR_WRITE);
    TELLS_WHY(JOBQ_UNKNOWN, jobq_enqueue(f.q, &(jobq_job){.kind = "k"}, NULL, &err),
              SQLITE_IOERR_FSYNC, "may have happened");
    CHECK(fault_hits(FAULT_WAL_WRITE) > 0);
    fault_off();
    for (int again = 0; again < 2; again++) {
        TELLS_WHY(JOBQ_IO, jobq_enqueue(f.q, &(jobq_job){.kind = "k"}, NULL, &err),
                  SQLITE_IOERR_FSYNC, way_out);
        TELLS_WHY(JOBQ_IO, jobq_register(f.q, &(jobq_kind){.name = "k", .run = do_nothing}, &err),
                  SQLITE_IOERR_FSYNC, way_out);
        TELLS_WHY(JOBQ_IO, jobq_cancel(f.q, id, &err), SQLITE_IOERR_FSYNC, way_out);
        TELLS_WHY(JOBQ_IO, jobq_flush(f.q, &err), SQLITE_IOERR_FSYNC, way_out);
        TELLS_WHY(JOBQ_IO, jobq_step(f.q, NULL, &err), SQLITE_IOERR_FSYNC, way_out);
        TELLS_WHY(JOBQ_IO, jobq_advance(f.q, 5, NULL, &err), SQLITE_IOERR_FSYNC, way_out);
        TELLS_WHY(JOBQ_IO, jobq_wait(f.q, id, JOBQ_NEVER, NULL, &err), SQLITE_IOERR_FSYNC, way_out);
    }
    fixture_remove(&f);
}

/* Goal: a handler is told as well, and so is who stops the queue with outcomes that cannot be
 * written. Method: the disk dies while a job runs. */
TEST(handlers_and_stop_tell_the_reason) {
    jobq_error told[2];
    fixture f;
    memset(told, 0, sizeof told);
    fault_begin();
    REQUIRE(fixture_open(&f, SHARED_STEP));
    handle(f.q, "k", stop_and_be_done, told);
    put(f.q, "k");
    TELLS_WHY(JOBQ_IO, jobq_step(f.q, NULL, &err), SQLITE_IOERR_FSYNC, "open it again");
    for (int i = 0; i < 2; i++)
        tells_why("handler", &told[i], f.path, SQLITE_IOERR_FSYNC, "open it again");
    TELLS_WHY(JOBQ_IO, jobq_stop(f.q, 0, &err), SQLITE_IOERR_FSYNC, "1 outcome");
    TELLS_WHY(JOBQ_IO, jobq_stop(f.q, 0, &err), SQLITE_IOERR_FSYNC, "it runs again");
    CHECK_CODE(jobq_close(&f.q), JOBQ_IO);
    jobq_clock_free(f.clock);
    test_remove(f.path);
}

/* Goal: damage that a mere look has found stops the queue, and is told to every later call as to
 * the first. */
TEST(every_call_tells_the_damage) {
    fixture f;
    int64_t id;
    fault_begin();
    REQUIRE(fixture_open(&f, SHARED_STEP));
    id = put(f.q, "k");
    fault_plan(FAULT_WAL_READ, "x*", SQLITE_CORRUPT);
    TELLS_WHY(JOBQ_CORRUPT, jobq_get(f.q, id, &(jobq_info){.id = 0}, &err), SQLITE_CORRUPT,
              "restore a copy");
    fault_off();
    CHECK_INT(stats_of(f.q).failed_code, JOBQ_CORRUPT);
    for (int again = 0; again < 2; again++) {
        TELLS_WHY(JOBQ_CORRUPT, jobq_enqueue(f.q, &(jobq_job){.kind = "k"}, NULL, &err),
                  SQLITE_CORRUPT, "restore a copy");
        TELLS_WHY(JOBQ_CORRUPT, jobq_run_until_idle(f.q, NULL, &err), SQLITE_CORRUPT,
                  "restore a copy");
    }
    fixture_remove(&f);
}

TEST_MAIN(waiters_hear_of_it, first_reason_stays,
          every_call_tells_the_reason, handlers_and_stop_tell_the_reason,
          every_call_tells_the_damage)
