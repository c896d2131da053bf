/* callback_dies.c - callbacks that kill their process: it goes on all the same.
 *
 * Promised: a job whose own callback kills the process (the one that computes its delay, the event
 * that it starts) is found out like one whose handler does, by its three chances, and the innocent
 * jobs beside it are done in the end. An event of something that is committed can kill a process
 * once: it is not told again, so every life gets further than the one before. Broken on purpose:
 * the callbacks end the process in each way. Counted: deaths, starts, chances lost. */
#include "crash_lives.h"

enum { NEIGHBOURS = 30 };

/* ---- The delay ---- */

static int64_t deadly_backoff(int attempt, int64_t id, void *ctx) {
    (void)attempt;
    (void)id;
    (void)ctx;
    play.die();
    return 1;
}

/* Fails; at its first start not before three stand beside it. */
static jobq_outcome run_failing(jobq_run *run, void *ctx) {
    (void)ctx;
    if (count_start(run) == 1) hear(play.started, HOLDERS);
    return jobq_retry(run, "for the sake of its delay");
}

/* Stays until the process ends, if this is the first life. */
static jobq_outcome run_neighbour(jobq_run *run, void *ctx) {
    (void)ctx;
    count_start(run);
    if (jobq_run_crashes(run) > 0) return JOBQ_DONE;
    pipe_say(play.started);
    pipe_hear(play.never);
    return JOBQ_DONE;
}

/* In case that another thread tells of its start: there is nothing like being there. */
static jobq_outcome run_told(jobq_run *run, void *ctx) {
    (void)ctx;
    count_start(run);
    pipe_hear(play.never);
    return JOBQ_DONE;
}

/* The one with the deadly event comes last: a life may register it when the others stand. */
static const jobq_kind kinds[] = {
    {.name = "good", .run = run_good},
    {.name = "poison", .run = run_poison},
    {.name = "failing", .run = run_failing, .backoff = deadly_backoff},
    {.name = "neighbour", .run = run_neighbour},
    {.name = "told", .run = run_told},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static void begin_with(void (*die)(void), void (*on_event)(const jobq_event *event, void *ctx)) {
    begin(HOLDERS + 1, kinds, KINDS);
    play.die = die;
    play.on_event = on_event;
}

/* Three neighbours, the guilty one, and good jobs behind them. */
static void cast_beside(const char *guilty) {
    add("neighbour", 0, HOLDERS);
    add(guilty, 0, 1);
    add("good", 0, NEIGHBOURS);
    fill_queue();
}

static void check_found_out(void) {
    look_at_all();
    check_failed(HOLDERS, 3);
    check_done(0, HOLDERS, 1);
    check_done(HOLDERS + 1, play.jobs, 1);
}

/* Goal: a job whose backoff function kills the process has failed after three starts, and the jobs
 * beside it are done with one chance lost. Method: three neighbours stand in the first life. */
TEST(backoff_that_kills_is_found_out) {
    for (size_t i = 0; i < WAYS; i++) {
        begin_with(ways[i], NULL);
        cast_beside("failing");
        CHECK_INT(live_until_well(), 3);
        CHECK_INT(stage->starts[HOLDERS], 3);
        check_found_out();
        end();
    }
}

/* ---- The event of a start ---- */

static void die_at_start(const jobq_event *event, void *ctx) {
    (void)ctx;
    if (event->to == JOBQ_STATE_RUNNING && event->id == stage->ids[HOLDERS]) play.die();
}

/* Lets the guilty one come, by its kind, when three stand. */
static void meet_the_start(void *arg) {
    jobq *q;
    (void)arg;
    play.kinds_count = KINDS - 1;
    q = start_queue();
    REQUIRE(q != NULL);
    hear(play.started, HOLDERS);
    handle_kind(q, kinds[KINDS - 1]);
    pipe_hear(play.never);
}

/* Goal: a job whose start cannot be told without killing the process has failed after three such
 * starts, and the jobs beside it are done. Method: an on_event that dies at that job's start. */
TEST(start_event_that_kills_is_found_out) {
    for (size_t i = 0; i < WAYS; i++) {
        begin_with(ways[i], die_at_start);
        cast_beside("told");
        CHECK(died(live_through(meet_the_start, NULL)));
        look_at_all();
        for (int n = 0; n <= HOLDERS; n++) CHECK_INT(stage->infos[n].crashes, 1);
        CHECK_INT(live_until_well(), 2);
        check_found_out();
        end();
    }
}

/* ---- Events of what is committed ---- */

static void die_at_done(const jobq_event *event, void *ctx) {
    (void)ctx;
    if (event->to == JOBQ_STATE_DONE && event->id == stage->ids[NEIGHBOURS / 2]) play.die();
}

/* Goal: an event of a job that is done kills one life only, and the job has run once. Method: an
 * on_event that dies at that event whenever it is told. */
TEST(done_event_that_kills_is_told_once) {
    for (size_t i = 0; i < WAYS; i++) {
        begin_with(ways[i], die_at_done);
        add("good", 0, NEIGHBOURS);
        fill_queue();
        CHECK_INT(live_until_well(), 1);
        look_at_all();
        check_done(0, play.jobs, 1);
        CHECK_INT(stage->starts[NEIGHBOURS / 2], 1);
        CHECK_INT(stage->infos[NEIGHBOURS / 2].crashes, 0);
        end();
    }
}

static void die_at_crash(const jobq_event *event, void *ctx) {
    (void)ctx;
    if (event->outcome == JOBQ_CRASHED && event->to == JOBQ_STATE_PENDING) play.die();
}

/* Goal: that the news of a crash kills the next process does not count as another crash, and the
 * one after that goes on. Method: a poison, and an on_event that dies at each crash it hears of. */
TEST(crash_event_that_kills_is_told_once) {
    for (size_t i = 0; i < WAYS; i++) {
        begin_with(ways[i], die_at_crash);
        add("poison", -1, 1);
        add("good", 0, NEIGHBOURS);
        play.workers = 1;
        fill_queue();
        CHECK_INT(live_until_well(), 6);
        look_at_all();
        check_failed(0, 3);
        CHECK_INT(stage->starts[0], 3);
        check_done(1, play.jobs, 0);
        end();
    }
}

TEST_MAIN(backoff_that_kills_is_found_out, start_event_that_kills_is_found_out,
          done_event_that_kills_is_told_once, crash_event_that_kills_is_told_once)
