/* turn.c - whose turn it is to write: who gives it up, when, and for whom.
 *
 * Promised by the head of turn.h: who finds the file taken says that it waits, and looks more often
 * the more turns it has missed; who has written for long enough without a pause, and finds that
 * said, stays away for a moment, but fails no caller for it. The moments of a turn are given by
 * hand here; a clock decides only whether a time that lies far ahead has come. */
#include "helpers.h"
#include "unit.h"

enum { FAR_US = 600 * 1000000, SOON_US = 20000 };

/* One look whether the file can be had. */
static int begin(jobq *q, bool insist) {
    int rc = jobq__turn_begin(q, &q->writer, insist);
    if (rc == JOBQ_OK) jobq__store_rollback(&q->writer);
    return rc;
}

/* Goal: who stays away does not begin before the time, but for a caller that insists; whoever
 * begins after it has a new turn. Method: a time that is far ahead, and one that is over. */
TEST(who_stays_away_may_insist) {
    fixture f;
    struct jobq__turn *turn;
    REQUIRE(fixture_open(&f, STEP));
    turn = &f.q->turn;
    for (int insist = 0; insist < 2; insist++) {
        int64_t now_us = jobq__clock_mono_us();
        turn->since_us = 1;
        turn->away_us = now_us + FAR_US;
        CHECK_INT(begin(f.q, false), JOBQ__TAKEN);
        CHECK_INT(turn->since_us, 1);
        if (!insist) turn->away_us = now_us;
        CHECK_INT(begin(f.q, insist), JOBQ_OK);
        CHECK_INT(turn->away_us, 0);
        CHECK(turn->since_us >= now_us);
    }
    fixture_close(&f);
}

/* Goal: what a step does follows from the calls, not from how long they took: housekeeping that is
 * due is done, though a turn was just given up. Method: a job whose time is over, and a second that
 * is to be left to others. */
TEST(who_steps_keeps_house_in_time) {
    enum { AWAY_US = 1000000 };
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .keep_done_ms = 1000}));
    handle(f.q, "k", do_nothing, NULL);
    put(f.q, "k");
    drain(f.q);
    CHECK_INT(total(f.q), 1);
    jobq_clock_advance(f.clock, JOBQ_DAY);
    f.q->turn.away_us = jobq__clock_mono_us() + AWAY_US;
    drain(f.q);
    CHECK_INT(total(f.q), 0);
    fixture_close(&f);
}

/* Goal: a turn that has gone on for JOBQ__TURN_US is given up if somebody waits, and a pause begins
 * a new one. Method: commits of made-up times, each a little less or just enough. */
TEST(turn_is_given_up_for_who_waits) {
    static const struct {
        const char *what;
        int64_t pause_us, since_us, length_us; /* before the commit, so old is the turn, and then */
        bool wanted, given_up;
    } rows[] = {
        {"long enough", 0, JOBQ__TURN_US - 10, 10, true, true},
        {"nearly", 0, JOBQ__TURN_US - 10, 9, true, false},
        {"nobody waits", 0, 10 * JOBQ__TURN_US, 10, false, false},
        {"a short pause", JOBQ__TURN_PAUSE_MAX_US - 1, JOBQ__TURN_US, 10, true, true},
        {"a pause", JOBQ__TURN_PAUSE_MAX_US, JOBQ__TURN_US, 10, true, false},
        {"a long commit after a pause", JOBQ__TURN_PAUSE_MAX_US, 0, JOBQ__TURN_US, true, true},
    };
    fixture f;
    struct jobq__turn *turn;
    REQUIRE(fixture_open(&f, STEP));
    turn = &f.q->turn;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t from_us = FAR_US, to_us = from_us + rows[i].length_us;
        int before = test_failures();
        turn->left_us = from_us - rows[i].pause_us;
        turn->since_us = from_us - rows[i].since_us;
        turn->away_us = 0;
        jobq__owner_serve(&f.q->owner);
        if (rows[i].wanted) jobq__owner_want(&f.q->owner);
        jobq__turn_end(f.q, from_us, to_us);
        CHECK_INT(turn->away_us, rows[i].given_up ? to_us + JOBQ__TURN_AWAY_US : 0);
        CHECK_INT(turn->left_us, to_us);
        CHECK_INT(jobq__owner_wanted(&f.q->owner), rows[i].wanted && !rows[i].given_up);
        if (test_failures() > before) test_note("%s", rows[i].what);
    }
    fixture_close(&f);
}

static void *give_back_later(void *arg) {
    test_pause_ms(SOON_US / 1000);
    give_the_file_back((sqlite3 **)arg);
    return NULL;
}

/* Goal: who finds the file taken says so to the others, and waits until it is free or the time is
 * over. Method: another connection has it; for a while, and until it is asked to let go. */
TEST(taken_file_is_asked_for) {
    fixture f;
    sqlite3 *db;
    pthread_t thread;
    int64_t began_us;
    REQUIRE(fixture_open(&f, STEP));
    db = take_the_file(f.path);
    CHECK(!jobq__owner_wanted(&f.q->owner));
    CHECK_INT(begin(f.q, true), JOBQ__TAKEN);
    CHECK(jobq__owner_wanted(&f.q->owner));
    began_us = jobq__clock_mono_us();
    CHECK_CODE(jobq__turn_begin_within(f.q, &f.q->writer, began_us), JOBQ_BUSY);
    CHECK_CODE(jobq__turn_begin_within(f.q, &f.q->writer, began_us + SOON_US), JOBQ_BUSY);
    CHECK(jobq__clock_mono_us() >= began_us + SOON_US);
    CHECK(f.q->turn.taken != 0);
    f.q->turn.since_us = 1;
    thread = thread_start(give_back_later, &db);
    CHECK_CODE(jobq__turn_begin_within(f.q, &f.q->writer, began_us + FAR_US), JOBQ_OK);
    jobq__store_rollback(&f.q->writer);
    pthread_join(thread, NULL);
    CHECK_INT(f.q->turn.taken, 0);
    CHECK(f.q->turn.since_us >= began_us);
    fixture_close(&f);
}

/* Goal: who has missed turns looks more often, until he has had one; who waits for one that lasts
 * does not. Method: the file is taken while turns are given up, more of them than count; whatever
 * the word has been. */
TEST(who_misses_turns_looks_more_often) {
    static const int32_t words[] = {0, 1, 2, -1, INT32_MAX, INT32_MAX - 1, INT32_MIN, -2};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        struct jobq__turn *turn;
        fixture f;
        sqlite3 *db;
        REQUIRE(fixture_open(&f, STEP));
        turn = &f.q->turn;
        f.q->owner.page->wanted = words[i];
        db = take_the_file(f.path);
        for (int n = 0; n < JOBQ__TURN_MISSED_MAX + 3; n++) {
            int missed = n < JOBQ__TURN_MISSED_MAX ? n : JOBQ__TURN_MISSED_MAX;
            for (int again = 0; again < 2; again++) CHECK_INT(begin(f.q, false), JOBQ__TAKEN);
            CHECK(jobq__owner_wanted(&f.q->owner));
            CHECK_INT(turn->missed, missed);
            CHECK_INT(jobq__turn_pause_max_us(f.q), JOBQ__TURN_PAUSE_MAX_US >> missed);
            jobq__owner_serve(&f.q->owner);
            CHECK(!jobq__owner_wanted(&f.q->owner));
        }
        give_the_file_back(&db);
        CHECK_INT(begin(f.q, false), JOBQ_OK);
        CHECK_INT(turn->missed, 0);
        db = take_the_file(f.path);
        jobq__owner_serve(&f.q->owner);
        CHECK_INT(begin(f.q, false), JOBQ__TAKEN);
        CHECK_INT(turn->missed, 0);
        give_the_file_back(&db);
        fixture_close(&f);
    }
}

/* Goal: the sentence says who was in the way: another connection, with SQLite's code, or a job of
 * our own, without one. */
TEST(busy_says_who_was_in_the_way) {
    jobq_error own = {.code = 0}, other = {.code = 0};
    fixture f;
    REQUIRE(fixture_open(&f, STEP));
    CHECK_CODE(jobq__turn_busy(f.q, "nothing was stored", &own), JOBQ_BUSY);
    CHECK(strstr(own.text, "a job's transaction") && strstr(own.text, "nothing was stored"));
    CHECK_INT(own.sqlite_code, 0);
    f.q->turn.taken = SQLITE_BUSY;
    CHECK_CODE(jobq__turn_busy(f.q, "nothing was stored", &other), JOBQ_BUSY);
    CHECK(strstr(other.text, "another connection") && strstr(other.text, "nothing was stored"));
    CHECK_INT(other.sqlite_code, SQLITE_BUSY);
    f.q->turn.taken = 0;
    fixture_close(&f);
}

TEST_MAIN(who_stays_away_may_insist, who_steps_keeps_house_in_time, turn_is_given_up_for_who_waits,
          taken_file_is_asked_for, who_misses_turns_looks_more_often,
          busy_says_who_was_in_the_way)
