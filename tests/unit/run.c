/* run.c - one run of one job: what the handler's word comes to, and what the lock file says of it.
 *
 * Promised by the head of run.h: the verdict is a pure function of the outcome, the row, the kind
 * and the time at which the handler returned; the slot says STARTED while code of the application
 * runs, and idle after it, before anything is written. Here the entry is made by hand, so that rows
 * come with values that no test could bring about by calls. */
#include "helpers.h"
#include "unit.h"

struct stage {
    jobq *q;
    jobq_clock *clock;
    struct jobq__worker *worker;
    struct jobq__kind *kind;
    struct jobq__entry *entry;
};

/* What the handler does, and what it saw. */
static struct {
    jobq_outcome (*act)(jobq_run *run);
    jobq_outcome word;
    int64_t takes_ms, delay_ms; /* of the run, by the clock; what backoff returns */
    int runs_seen, backoff_attempt;
    int64_t backoff_id;
} play;

static bool is_marked(const struct stage *s) {
    return jobq__owner_runs(&s->q->owner, s->entry->row.id);
}

static struct stage stage;

static jobq_outcome run_play(jobq_run *run, void *ctx) {
    (void)ctx;
    play.runs_seen += is_marked(&stage);
    /* As if it had begun so much earlier: a clock that stands cannot go on beside a handler. */
    run->started_ms -= play.takes_ms;
    if (run->deadline_ms != JOBQ_NEVER) run->deadline_ms -= play.takes_ms;
    return play.act(run);
}

static int64_t ask_play(int attempt, int64_t id, void *ctx) {
    (void)ctx;
    play.runs_seen += is_marked(&stage);
    play.backoff_attempt = attempt;
    play.backoff_id = id;
    return play.delay_ms;
}

static bool stage_open(void) {
    jobq_options options = {.workers = JOBQ_NONE};
    memset(&stage, 0, sizeof stage);
    memset(&play, 0, sizeof play);
    options.clock = stage.clock = jobq_clock_artificial(T0);
    WORKS(jobq_open(":memory:", &options, &stage.q, &err));
    if (!stage.q) return false;
    handle_kind(stage.q, (jobq_kind){.name = "k", .run = run_play, .jitter_percent = JOBQ_NONE});
    stage.worker = &stage.q->pool.crew.workers[0];
    struct jobq__name *name = jobq__registry_by_text(&stage.q->names, JOBQ__NAME_KIND, "k");
    stage.kind = name ? &name->kind : NULL;
    stage.entry = (struct jobq__entry *)calloc(1, sizeof *stage.entry);
    return CHECK(stage.kind && stage.entry && stage.worker);
}

static void stage_close(void) {
    free(stage.entry);
    CHECK_CODE(jobq_close(&stage.q), JOBQ_OK);
    jobq_clock_free(stage.clock);
}

static void forget(struct jobq__said *said) {
    if (!said) return;
    jobq__mem_free(said->text);
    jobq__mem_free(said->result);
    jobq__mem_free(said);
}

/* A fresh entry for a row that was due a second ago. */
static struct jobq__entry *prepare(int attempt) {
    forget(stage.entry->said);
    memset(stage.entry, 0, sizeof *stage.entry);
    stage.entry->kind = stage.kind;
    stage.entry->row.id = 77;
    stage.entry->row.run_at_ms = T0 - JOBQ_SECOND;
    stage.entry->row.attempt = attempt;
    stage.entry->row.runs = 3;
    stage.entry->row.crashes = 2;
    stage.entry->row.delay_ms = 500;
    jobq_clock_set(stage.clock, T0);
    play.runs_seen = 0;
    play.backoff_attempt = 0;
    return stage.entry;
}

/* One run; stop: flags that are raised before the handler runs. */
static struct jobq__verdict perform(jobq_outcome (*act)(jobq_run *run), int32_t stop) {
    struct jobq__pool *pool = &stage.q->pool;
    int running = pool->crew.running;
    play.act = act;
    jobq__os_lock(&pool->mu);
    jobq__run_begin(stage.worker, stage.entry);
    CHECK_INT(pool->crew.running, running + 1);
    if (stop) jobq__wake_stop(&stage.worker->run, stop);
    jobq__os_unlock(&pool->mu);
    CHECK(!jobq__run_call(stage.worker));
    CHECK(!is_marked(&stage)); /* before anything is written */
    jobq__os_lock(&pool->mu);
    jobq__run_end(stage.worker);
    CHECK_INT(pool->crew.running, running);
    jobq__os_unlock(&pool->mu);
    return stage.entry->verdict;
}

static jobq_outcome say(jobq_run *run) {
    (void)run;
    return play.word;
}

/* As the wall goes now. */
static int64_t due_at(struct jobq__verdict v) {
    return v.lasts ? jobq__clock_on_wall(jobq__clock_read(stage.clock), v.at_ms) : v.at_ms;
}

/* A run whose handler says no more than that word. */
static struct jobq__verdict run_saying(jobq_outcome word, int32_t stop) {
    play.word = word;
    return perform(say, stop);
}

#define ACTS(name, what) \
    static jobq_outcome name(jobq_run *run) { \
        return what; \
    }
ACTS(snooze_a_day, jobq_snooze(run, JOBQ_DAY))
ACTS(snooze_no_time, jobq_snooze(run, 0))
ACTS(snooze_backwards, jobq_snooze(run, INT64_MIN))
ACTS(snooze_for_ever, jobq_snooze(run, INT64_MAX))
ACTS(reschedule_in_a_day, jobq_reschedule_in(run, JOBQ_DAY))
ACTS(reschedule_at_none, jobq_reschedule_at(run, INT64_MIN))
ACTS(reschedule_never, jobq_reschedule_at(run, JOBQ_NEVER))
ACTS(fail_with_words, jobq_fail(run, "no %s", "paper"))
ACTS(words_of_another, (jobq_fail(run, "no paper"), JOBQ_RETRY))
ACTS(done_with_result, jobq_done(run, "result", 7))
ACTS(result_of_another, (jobq_done(run, "result", 7), JOBQ_FAIL))
ACTS(result_twice, (jobq_done(run, "the first", 10), jobq_done(run, NULL, 5)))

#define NONE JOBQ_OUTCOME_NONE

/* Goal: each word of a handler comes to what the table of jobq.h says. Method: all of them, on the
 * second attempt of a row with two crashes and half a second of delay. */
TEST(each_outcome_has_its_verdict) {
    static const struct {
        jobq_outcome (*act)(jobq_run *run);
        jobq_outcome word, outcome;
        int state, attempt, crashes;
        int64_t in_ms, delay_ms; /* from now; of the row */
        bool due;
    } cases[] = {
        {say, JOBQ_DONE, JOBQ_DONE, JOBQ__DONE, 0, 2, 0, 0, false},
        {say, JOBQ_FAIL, JOBQ_FAIL, JOBQ__FAILED, 0, 2, 0, 0, false},
        {say, JOBQ_CANCELLED, JOBQ_CANCELLED, JOBQ__CANCELLED, 0, 2, 0, 0, false},
        {say, JOBQ_RETRY, JOBQ_RETRY, JOBQ__WAITING, 3, 2, 2000, 2000, false},
        {say, JOBQ_SNOOZE, JOBQ_SNOOZE, JOBQ__WAITING, 2, 2, 1000, 500, false},
        {snooze_a_day, NONE, JOBQ_SNOOZE, JOBQ__WAITING, 2, 2, JOBQ_DAY, 500, false},
        {snooze_no_time, NONE, JOBQ_SNOOZE, JOBQ__WAITING, 2, 2, 0, 500, true},
        {snooze_backwards, NONE, JOBQ_SNOOZE, JOBQ__WAITING, 2, 2, 0, 500, true},
        {snooze_for_ever, NONE, JOBQ_SNOOZE, JOBQ__WAITING, 2, 2, JOBQ_NEVER - T0, 500, false},
        {say, JOBQ_RESCHEDULE, JOBQ_RESCHEDULE, JOBQ__WAITING, 1, 0, 1000, 0, false},
        {reschedule_in_a_day, NONE, JOBQ_RESCHEDULE, JOBQ__WAITING, 1, 0, JOBQ_DAY, 0, false},
        {reschedule_at_none, NONE, JOBQ_RESCHEDULE, JOBQ__WAITING, 1, 0, -T0, 0, true},
        {reschedule_never, NONE, JOBQ_RESCHEDULE, JOBQ__WAITING, 1, 0, JOBQ_NEVER - T0, 0,
         false},
        {say, JOBQ_OUTCOME_NONE, JOBQ_RETRY, JOBQ__WAITING, 3, 2, 2000, 2000, false},
        {say, JOBQ_CRASHED, JOBQ_RETRY, JOBQ__WAITING, 3, 2, 2000, 2000, false},
        {say, (jobq_outcome)4711, JOBQ_RETRY, JOBQ__WAITING, 3, 2, 2000, 2000, false},
        {say, (jobq_outcome)-1, JOBQ_RETRY, JOBQ__WAITING, 3, 2, 2000, 2000, false},
    };
    REQUIRE(stage_open());
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int before = test_failures();
        struct jobq__verdict v;
        prepare(2);
        play.word = cases[i].word;
        v = perform(cases[i].act, 0);
        CHECK_INT(v.outcome, cases[i].outcome);
        CHECK_INT(v.state, cases[i].state);
        CHECK_INT(v.crashes, cases[i].crashes);
        if (v.state == JOBQ__WAITING) {
            CHECK_INT(v.attempt, cases[i].attempt);
            CHECK_INT(due_at(v), T0 + cases[i].in_ms);
            CHECK_INT(v.delay_ms, cases[i].delay_ms);
            CHECK_INT(v.due, cases[i].due);
        }
        CHECK_INT(play.runs_seen, 1);
        if (test_failures() > before) test_note("case %d", (int)i);
    }
    prepare(1);
    stage_close();
}

/* Goal: the slot is taken while the handler runs and while backoff does, and free in between and
 * after. Method: both look; perform() looks after the run. */
TEST(the_slot_says_what_runs) {
    REQUIRE(stage_open());
    stage.kind->spec.backoff = ask_play;
    play.delay_ms = 7;
    prepare(4);
    CHECK_INT(due_at(run_saying(JOBQ_RETRY, 0)), T0 + 7);
    CHECK_INT(play.runs_seen, 2);
    CHECK_INT(play.backoff_attempt, 4);
    CHECK_INT(play.backoff_id, 77);
    prepare(1);
    stage_close();
}

static jobq_outcome look_whether_released(jobq_run *run) {
    int state = jobq__os_load(&stage.q->owner.page->slots[stage.worker->index].state);
    CHECK_INT(state, JOBQ__SLOT_RELEASED);
    CHECK(jobq_should_stop(run));
    return JOBQ_RETRY;
}

/* Goal: a run that begins while the queue is being stopped is let go from the beginning, and its
 * RETRY is no failure: the attempt stays, and its time has come, even if the clock was set back.
 * A cancel alone is no stop. Method: both flags, and a clock that stands before the row's time. */
TEST(a_run_beside_a_stop) {
    struct jobq__verdict v;
    REQUIRE(stage_open());
    prepare(2);
    v = perform(look_whether_released, JOBQ__STOP_SHUTDOWN);
    CHECK_INT(v.outcome, JOBQ_STOPPED);
    CHECK_INT(v.state, JOBQ__WAITING);
    CHECK_INT(v.attempt, 2);
    CHECK_INT(v.crashes, 2);
    CHECK_INT(v.delay_ms, 500);
    CHECK(v.due);
    CHECK_INT(due_at(v), T0 - JOBQ_SECOND);
    prepare(2);
    jobq_clock_set(stage.clock, T0 - JOBQ_DAY);
    v = run_saying(JOBQ_RETRY, JOBQ__STOP_SHUTDOWN);
    CHECK(v.due);
    CHECK_INT(due_at(v), T0 - JOBQ_DAY);
    prepare(2);
    CHECK_INT(run_saying(JOBQ_DONE, JOBQ__STOP_SHUTDOWN).state, JOBQ__DONE);
    prepare(2);
    v = run_saying(JOBQ_RETRY, JOBQ__STOP_ASKED);
    CHECK_INT(v.outcome, JOBQ_RETRY);
    CHECK_INT(v.attempt, 3);
    prepare(1);
    stage_close();
}

/* Goal: attempts end at their bound and not before, never overflow, and begin anew after a run that
 * was healthy; a negative delay fails at once. Method: the borders. */
TEST(attempts_and_their_borders) {
    jobq_kind *spec;
    struct jobq__verdict v;
    REQUIRE(stage_open());
    spec = &stage.kind->spec;
    spec->attempts_max = 5;
    prepare(4);
    CHECK_INT(run_saying(JOBQ_RETRY, 0).attempt, 5);
    prepare(5);
    CHECK_INT(run_saying(JOBQ_RETRY, 0).state, JOBQ__FAILED);
    prepare(6); /* the bound was lowered meanwhile */
    CHECK_INT(run_saying(JOBQ_RETRY, 0).state, JOBQ__FAILED);
    prepare(5);
    play.takes_ms = JOBQ_DAY;
    v = run_saying(JOBQ_RETRY, 0);
    play.takes_ms = 0;
    CHECK_INT(v.state, JOBQ__WAITING);
    CHECK_INT(v.attempt, 2);
    spec->attempts_max = JOBQ_UNLIMITED;
    prepare(INT32_MAX);
    v = run_saying(JOBQ_RETRY, 0);
    CHECK_INT(v.state, JOBQ__WAITING);
    CHECK_INT(v.attempt, INT32_MAX);
    CHECK_INT(due_at(v), T0 + JOBQ_HOUR);
    spec->backoff = ask_play;
    play.delay_ms = -1;
    prepare(1);
    CHECK_INT(run_saying(JOBQ_RETRY, 0).state, JOBQ__FAILED);
    play.delay_ms = INT64_MAX;
    prepare(1);
    CHECK_INT(due_at(run_saying(JOBQ_RETRY, 0)), JOBQ_NEVER);
    prepare(1);
    stage_close();
}

/* ---- What is kept of what it said ---- */

static const char *text_of(const struct jobq__entry *entry) {
    return entry->said && entry->said->text ? entry->said->text : "";
}

static size_t result_of(const struct jobq__entry *entry) {
    return entry->said && entry->said->result ? entry->said->result_size : 0;
}

/* Goal: words and a result belong to the outcome that they were said with; the last word counts; a
 * result of which nothing is to be kept is dropped. Method: each; what is dropped a sanitizer would
 * miss. */
TEST(words_belong_to_their_outcome) {
    struct jobq__entry *entry;
    REQUIRE(stage_open());
    entry = prepare(1);
    perform(fail_with_words, 0);
    CHECK_STR(text_of(entry), "no paper");
    prepare(1);
    perform(words_of_another, 0);
    CHECK_STR(text_of(entry), "");
    prepare(1);
    run_saying((jobq_outcome)4711, 0);
    CHECK(strstr(text_of(entry), "no outcome") != NULL);
    prepare(1);
    perform(done_with_result, 0);
    CHECK_INT((int64_t)result_of(entry), 7);
    prepare(1);
    perform(result_of_another, 0);
    CHECK_INT((int64_t)result_of(entry), 0);
    CHECK_INT(entry->verdict.state, JOBQ__FAILED);
    prepare(1);
    perform(result_twice, 0);
    CHECK_INT((int64_t)result_of(entry), 0);
    stage.kind->spec.keep_done_ms = JOBQ_NONE;
    prepare(1);
    perform(done_with_result, 0);
    CHECK(entry->said == NULL);
    prepare(1);
    stage_close();
}

/* Goal: who retries without a word after its timeout is said to have been too slow; who was in
 * time, or says something itself, is not. Method: one millisecond on either side; no end that
 * overflows. */
TEST(a_timeout_gives_the_reason) {
    struct jobq__entry *entry;
    REQUIRE(stage_open());
    stage.kind->spec.timeout_ms = JOBQ_MINUTE;
    for (int late = -1; late <= 1; late++) {
        entry = prepare(1);
        play.takes_ms = JOBQ_MINUTE + late;
        run_saying(JOBQ_RETRY, 0);
        CHECK_INT(strstr(text_of(entry), "timeout") != NULL, late >= 0);
        CHECK_INT(entry->run_ms, JOBQ_MINUTE + late);
    }
    prepare(1);
    perform(fail_with_words, 0);
    CHECK_STR(text_of(entry), "no paper");
    play.takes_ms = 0;
    stage.kind->spec.timeout_ms = INT64_MAX - 1;
    prepare(1);
    run_saying(JOBQ_RETRY, 0);
    CHECK_STR(text_of(entry), "");
    CHECK(stage.worker->run.deadline_ms >= INT64_MAX - 1);
    CHECK_INT(stage.q->pool.crew.sleeping, 0);
    prepare(1);
    stage_close();
}

struct two_queues {
    jobq *other;
    jobq_run *run; /* whose transaction the other queue's callback begins */
    int begun;
};

static void begin_for_the_handler(const jobq_event *event, void *ctx) {
    struct two_queues *t = (struct two_queues *)ctx;
    sqlite3 *db = NULL;
    (void)event;
    if (!t->run) return;
    if (CHECK_CODE(jobq_run_db(t->run, &db, NULL), JOBQ_OK)) t->begun++;
    t->run = NULL;
}

static jobq_outcome store_in_the_other(jobq_run *run, void *ctx) {
    struct two_queues *t = (struct two_queues *)ctx;
    t->run = t->begun ? NULL : run;
    CHECK_CODE(jobq_enqueue(t->other, &(jobq_job){.kind = "k"}, NULL, NULL), JOBQ_OK);
    return JOBQ_DONE;
}

/* Goal: a job's transaction may begin inside of a callback and outlast it; what the thread is then
 * said to be inside of is so. Method: another queue's on_event begins it, on the handler's thread;
 * a second job and a close, which a callback could not call, follow. */
TEST(transaction_begins_inside_a_callback) {
    struct two_queues t = {NULL, NULL, 0};
    jobq *q = open_queue_at(test_path("q.db"), (jobq_options){.workers = JOBQ_NONE});
    t.other = open_queue_at(test_path("other.db"),
                            (jobq_options){.workers = JOBQ_NONE, .ctx = &t,
                                           .on_event = begin_for_the_handler});
    REQUIRE(q != NULL && t.other != NULL);
    handle(q, "k", store_in_the_other, &t);
    put(q, "k");
    CHECK_INT(drain(q), 1);
    CHECK_INT(t.begun, 1);
    CHECK(!jobq__os_awaited());
    put(q, "k");
    CHECK_INT(drain(q), 1);
    CHECK_INT(count_all(q).done, 2);
    close_queue(&t.other);
    close_queue(&q);
}

TEST_MAIN(transaction_begins_inside_a_callback, each_outcome_has_its_verdict,
          the_slot_says_what_runs, a_run_beside_a_stop, attempts_and_their_borders,
          words_belong_to_their_outcome, a_timeout_gives_the_reason)
