/* late_results.c - a result that comes too late is counted and never applied.
 *
 * Every settle is fenced: it asks whether the row is still claimed by this very run, and looks at
 * how many rows it has changed. With one owner per file nobody should ever change a row of a job
 * that runs, so here another hand does it: a connection of its own takes the row away, settles it
 * or claims it again while the handler runs. Whatever the handler then returns, the row has to stay
 * as that hand left it, no event may tell of an end, and the queue counts one lost outcome. */
#include "helpers.h"

#include <sched.h>

#define SHARED_STEP \
    ((jobq_options){.workers = JOBQ_NONE, .shared = true, .durability = JOBQ_RELAXED})

/* What the other hand does to the row of a job. */
enum { CLAIMS_AGAIN, GIVES_BACK, SETTLES, DELETES, HANDS };
static const char *const hands[HANDS] = {
    "UPDATE jobq_row SET runs = runs + 1 WHERE id = %lld",
    "UPDATE jobq_row SET state = 0, lane = queue WHERE id = %lld",
    "UPDATE jobq_row SET state = 4, finished_at = 7, prune_at = 9000000000000000 WHERE id = %lld",
    "DELETE FROM jobq_row WHERE id = %lld",
};

static void interfere(const char *path, int hand, int64_t id) {
    char sql[256];
    snprintf(sql, sizeof sql, hands[hand], (long long)id);
    sql_run(path, sql);
}

/* The row of a job, with what a settle would change. */
static void picture(const char *path, int64_t id, char *text, size_t size) {
    char sql[256];
    snprintf(sql, sizeof sql,
             "SELECT state || ',' || runs || ',' || attempt || ',' || run_at || ',' || quote(lane)"
             " || ',' || quote(finished_at) FROM jobq_row WHERE id = %lld", (long long)id);
    sql_text(path, sql, text, size);
}

/* ---- One job ---- */

struct late {
    const char *path;
    int hand;
    jobq_outcome outcome;
    char left[256]; /* the row as the other hand left it */
};

static jobq_outcome be_late(jobq_run *run, void *ctx) {
    struct late *late = (struct late *)ctx;
    interfere(late->path, late->hand, jobq_run_id(run));
    picture(late->path, jobq_run_id(run), late->left, sizeof late->left);
    if (late->outcome == JOBQ_DONE) return jobq_done(run, "result", 6);
    if (late->outcome == JOBQ_FAIL) return jobq_fail(run, "no luck");
    if (late->outcome == JOBQ_RETRY) return jobq_retry(run, "not yet");
    if (late->outcome == JOBQ_SNOOZE) return jobq_snooze(run, JOBQ_SECOND);
    return late->outcome;
}

static void check_late_result(fixture *f, const struct late *late, const char *kind) {
    int64_t id = put(f->q, kind), lost = stats_of(f->q).lost_outcomes;
    event_log *events = (event_log *)f->options.ctx;
    jobq_event told[8];
    char now[256], sql[128];
    jobq_stats s;
    WORKS(jobq_step(f->q, NULL, &err));
    picture(f->path, id, now, sizeof now);
    CHECK_STR(now, late->left);
    s = stats_of(f->q);
    CHECK_INT(s.lost_outcomes, lost + 1);
    CHECK_INT(s.done + s.failed + s.cancelled + s.retried, 0);
    CHECK_INT(events_of(events, id, told, 8), 2);
    CHECK_INT(told[1].to, JOBQ_STATE_RUNNING); /* new, started, and no more */
    snprintf(sql, sizeof sql, "DELETE FROM jobq_row WHERE id = %lld", (long long)id);
    sql_run(f->path, sql);
}

/* Goal: no outcome is written over a row that is no longer this run's. Method: each outcome, each
 * hand; jobs that are kept and jobs that are not. */
TEST(late_result_is_not_applied) {
    static const jobq_outcome outcomes[] = {JOBQ_DONE, JOBQ_RETRY, JOBQ_FAIL, JOBQ_RESCHEDULE,
                                            JOBQ_SNOOZE, JOBQ_CANCELLED};
    enum { OUTCOMES = sizeof outcomes / sizeof outcomes[0] };
    jobq_options options = SHARED_STEP;
    struct late late;
    fixture f;
    options.on_event = log_event;
    options.ctx = event_log_new();
    REQUIRE(fixture_open(&f, options));
    handle_kind(f.q, (jobq_kind){.name = "kept", .run = be_late, .ctx = &late});
    handle_kind(f.q, (jobq_kind){.name = "dropped", .run = be_late, .ctx = &late,
                                 .keep_done_ms = JOBQ_NONE, .keep_failed_ms = JOBQ_NONE});
    for (int n = 0; n < HANDS * OUTCOMES; n++) {
        int before = test_failures();
        late = (struct late){.path = f.path, .hand = n / OUTCOMES,
                             .outcome = outcomes[n % OUTCOMES]};
        check_late_result(&f, &late, "kept");
        check_late_result(&f, &late, "dropped");
        if (test_failures() > before)
            test_note("%s, hand %d", jobq_outcome_name(late.outcome), late.hand);
    }
    REQUIRE(fixture_reopen(&f));
    CHECK_INT(sql_int(f.path, "SELECT count(*) FROM jobq_row"), 0);
    fixture_close(&f);
    event_log_free((event_log *)options.ctx);
}

/* ---- Neighbours, which are settled together ---- */

enum { JOBS = 4 };

static void check_late_neighbour(int hand, int which, int64_t keep_ms) {
    jobq_job jobs[JOBS] = {{.kind = "k"}, {.kind = "k"}, {.kind = "k"}, {.kind = "k"}};
    jobq_stored results[JOBS];
    char sql[128];
    jobq_stats s;
    fixture f;
    gate g;
    gate_init(&g);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBS, .shared = true, .busy_ms = 5}));
    handle_kind(f.q, (jobq_kind){.name = "k", .run = stand_at_gate, .ctx = &g,
                                 .keep_done_ms = keep_ms});
    start(f.q);
    WORKS(jobq_enqueue_many(f.q, jobs, JOBS, results, &err));
    snprintf(sql, sizeof sql, hands[hand], (long long)results[which].id);
    settle_together(&f, &g, JOBS, sql);
    for (int i = 0; i < JOBS; i++)
        if (i != which) jobq_wait(f.q, results[i].id, JOBQ_NEVER, NULL, NULL);
    WORKS(jobq_stop(f.q, JOBQ_NEVER, &err));
    s = stats_of(f.q);
    CHECK_INT(s.done, JOBS - 1);
    CHECK_INT(s.lost_outcomes, 1);
    snprintf(sql, sizeof sql, "SELECT count(*) FROM jobq_row WHERE id = %lld AND state <> 2",
             (long long)results[which].id);
    CHECK_INT(sql_int(f.path, sql), hand != DELETES);
    fixture_remove(&f);
    gate_free(&g);
}

/* Goal: one late result among neighbours is found out, and harms none of them. Method: four jobs
 * with consecutive ids are settled together; each hand takes the first, or one in the middle. (But
 * for what is given back: a pool may run that again, and rightly.) */
TEST(late_result_among_neighbours) {
    for (int hand = 0; hand < HANDS; hand++) {
        if (hand == GIVES_BACK) continue;
        check_late_neighbour(hand, 0, 0);
        check_late_neighbour(hand, 2, JOBQ_NONE);
    }
}

static jobq_outcome save_late(jobq_run *run, void *ctx) {
    struct late *late = (struct late *)ctx;
    jobq_error told = {.code = JOBQ_OK};
    WORKS(jobq_checkpoint(run, "before", 6, &err));
    interfere(late->path, late->hand, jobq_run_id(run));
    picture(late->path, jobq_run_id(run), late->left, sizeof late->left);
    CHECK_CODE(jobq_checkpoint(run, "after", 5, &told), JOBQ_NOT_FOUND);
    CHECK(strstr(told.text, "is over") && strstr(told.text, "nothing was saved"));
    return JOBQ_DONE;
}

/* Goal: a checkpoint of a run that is over is refused, and nothing of it is stored. Method: each
 * hand, between two checkpoints. */
TEST(late_checkpoint_is_refused) {
    jobq_options options = SHARED_STEP;
    struct late late;
    fixture f;
    options.on_event = log_event;
    options.ctx = event_log_new();
    REQUIRE(fixture_open(&f, options));
    handle(f.q, "k", save_late, &late);
    late.path = f.path;
    for (late.hand = 0; late.hand < HANDS; late.hand++) {
        check_late_result(&f, &late, "k");
        CHECK_INT(sql_int(f.path, "SELECT count(*) FROM jobq_extra WHERE saved = CAST('after' AS"
                          " BLOB)"), 0);
    }
    fixture_close(&f);
    event_log_free((event_log *)options.ctx);
}

TEST_MAIN(late_result_is_not_applied, late_checkpoint_is_refused, late_result_among_neighbours)
