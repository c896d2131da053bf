/* slices.c - no transaction does more than a slice, however many jobs wait for the same thing. */
#include "meter.h"

enum {
#ifdef JOBQ_SMALL
    MANY = 1000, /* in slices of two or three */
#else
    MANY = 20000,
#endif
    SLICE = 256,     /* jobs that a transaction moves by itself */
    PAGES = 40,      /* of 2 KiB, that it writes for them: they stand beside each other */
    BESIDE = 16      /* rows and pages besides: names, claims, counts */
};

static bool open_metered(fixture *f) {
    return fixture_open(f, (jobq_options){.workers = JOBQ_NONE, .durability = JOBQ_RELAXED,
                                          .page_size = 2048, .on_connect = meter_watch});
}

static void sql(const fixture *f, const char *text) {
    sqlite3 *db = NULL;
    CHECK_INT(sqlite3_open(f->path, &db), SQLITE_OK);
    CHECK_INT(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* Goal: who waits for a handler is let go slice by slice, when it is registered. Method: 20,000
 * jobs, stored before. */
TEST(parked_before_one_gate) {
    fixture f;
    REQUIRE(open_metered(&f));
    put_many(f.q, &(jobq_job){.kind = "late"}, MANY);
    meter_begin();
    handle(f.q, "late", do_nothing, NULL);
    meter_end("parked", SLICE + BESIDE, PAGES);
    CHECK_INT(count_all(f.q).parked, 0);
    CHECK_INT(count_all(f.q).ready, MANY);
    fixture_close(&f);
}

/* Goal: jobs that stand ready, and whose handler is not there any more, are parked slice by slice.
 * Method: 20,000 of them, and the queue is opened again. */
TEST(ready_without_a_handler) {
    fixture f;
    REQUIRE(open_metered(&f));
    handle(f.q, "k", do_nothing, NULL);
    put_many(f.q, &(jobq_job){.kind = "k"}, MANY);
    REQUIRE(fixture_reopen(&f));
    meter_begin();
    CHECK_INT(drain(f.q), 0);
    meter_end("no handler", SLICE + BESIDE, PAGES);
    CHECK_INT(count_all(f.q).parked, MANY);
    fixture_close(&f);
}

/* Goal: the same of jobs that are due at the same moment. Method: 20,000, which nobody runs. */
TEST(due_at_once) {
    fixture f;
    REQUIRE(open_metered(&f));
    put_many(f.q, &(jobq_job){.kind = "k", .delay_ms = JOBQ_SECOND}, MANY);
    meter_begin();
    advance(f.q, JOBQ_SECOND);
    meter_end("due", SLICE + BESIDE, PAGES);
    CHECK_INT(count_all(f.q).parked, MANY);
    fixture_close(&f);
}

/* Goal: the same of jobs that crashed too often, as they are found. Method: SQL says so of 20,000;
 * each ends with a message beside it, and among the failed ones: three rows. */
TEST(crashed_too_often) {
    fixture f;
    REQUIRE(open_metered(&f));
    handle(f.q, "k", do_nothing, NULL);
    put_many(f.q, &(jobq_job){.kind = "k"}, MANY);
    close_whatever(&f.q);
    sql(&f, "UPDATE jobq_row SET lane = 1, runs = 3, crashes = 3");
    REQUIRE_INT(jobq_open(f.path, &f.options, &f.q, NULL), JOBQ_OK);
    handle(f.q, "k", do_nothing, NULL);
    meter_begin();
    CHECK_INT(drain(f.q), 0);
    meter_end("crashed", 3 * SLICE + BESIDE, 2 * PAGES);
    CHECK_INT(count_all(f.q).failed, MANY);
    fixture_close(&f);
}

/* Goal: a kind for which nobody waits costs no page when it is registered. Method: the name is
 * known already. */
TEST(nobody_waits) {
    fixture f;
    REQUIRE(open_metered(&f));
    handle(f.q, "k", do_nothing, NULL);
    put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    REQUIRE(fixture_reopen(&f));
    CHECK_INT(drain(f.q), 0);
    meter_begin();
    handle(f.q, "k", do_nothing, NULL);
    meter_turn();
    CHECK_INT(meter.written, 0);
    CHECK_INT(meter.most_rows, 0);
    fixture_close(&f);
}

TEST_MAIN(parked_before_one_gate, ready_without_a_handler, due_at_once, crashed_too_often,
          nobody_waits)
