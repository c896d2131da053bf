/* cut_pool.c - power cuts and kills while threads enqueue and a pool works.
 *
 * Promised: as in fault/cut_jobs.c, whoever shared a commit with whom. What one call has stored is
 * there as a whole or not at all, and what was committed later is never there without what was
 * committed before.
 *
 * The order of the commits is that of the events. The acts of this story (fault_story.h) are
 * therefore events; an act began when the call or the run behind it did so, and was acknowledged
 * when the event came, when the call returned, or when jobq_wait told, whichever was first. That
 * is less than a story in step mode knows, so only states and rows are compared. Nothing depends on
 * which thread comes first; each run of the test is another story. */
#include "fault_judge.h"

#include <sched.h>

enum { THREADS = 4, ATTEMPTS = 2, IDS = STORY_JOBS + 8 };

static struct story story; /* large */

/* What only the threads know of a job, by its id. */
static struct known {
    pthread_mutex_t mutex; /* guards this, and the story while the pool runs */
    /* Positions of the log: */
    int from[IDS], stored[IDS];  /* a call that enqueues it begins, and has returned */
    int began[ATTEMPTS][IDS];    /* a run of it begins */
    int ended[IDS];              /* jobq_wait has told */
    bool joined[IDS];            /* the next event is of the same commit */
    int act_of_new[IDS];
} known = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* The holder of the baton is in here while the others line up. */
static gate line;

static int now(void) {
    return fault_log_now(&story.log);
}

static void know(int *what, int64_t id, int position) {
    pthread_mutex_lock(&known.mutex);
    if (CHECK(id > 0 && id < IDS) && what[id] == 0) what[id] = position;
    pthread_mutex_unlock(&known.mutex);
}

/* ---- Events are acts ---- */

static void tell_event(const jobq_event *event) {
    struct story_job *job = story_find(&story, event->id);
    struct told *told = &job->told[job->count++];
    bool money = strcmp(event->kind, "money") == 0;
    if (job->count == STORY_TOLD) test_give_up("too much happens to one job");
    memset(told, 0, sizeof *told);
    told->act = story.act_count;
    told->info.id = event->id;
    told->info.state = event->to;
    snprintf(told->info.kind, sizeof told->info.kind, "%s", event->kind);
    told->there = event->to == JOBQ_STATE_PENDING || strcmp(event->kind, "brief") != 0;
    job->effects += event->to == JOBQ_STATE_DONE && money;
    told->effects = job->effects;
}

static void on_event(const jobq_event *event, void *ctx) {
    struct story_act *act;
    int64_t id = event->id;
    (void)ctx;
    if (event->to == JOBQ_STATE_RUNNING) return;
    pthread_mutex_lock(&known.mutex);
    if (event->from == JOBQ_STATE_NONE) story_new(&story, id, 0);
    tell_event(event);
    act = story_act(&story, event->from == JOBQ_STATE_NONE ? "new" : "settled");
    act->from = event->from == JOBQ_STATE_NONE ? 0 : known.began[event->attempt - 1][id];
    if (event->from == JOBQ_STATE_NONE) known.act_of_new[id] = story.act_count - 1;
    else if (known.ended[id] && known.ended[id] < act->to) act->to = known.ended[id];
    pthread_mutex_unlock(&known.mutex);
}

/* What was not known yet when a job's first event came. */
static void finish_acts(void) {
    for (int i = 0; i < story.job_count; i++) {
        int64_t id = story.jobs[i].id;
        struct story_act *act = &story.acts[known.act_of_new[id]];
        act->from = known.from[id];
        if (known.stored[id] && known.stored[id] < act->to) act->to = known.stored[id];
        act->joined = known.joined[id];
    }
}

/* ---- Handlers ---- */

/* The first run of money holds the baton until everybody stands in line. That they then form one
 * group is likely; nothing depends on it. */
static void hold_the_baton(jobq_run *run) {
    sqlite3 *db;
    WORKS(jobq_run_db(run, &db, &err));
    gate_open(&line);
    for (int i = 0; i < 200; i++) sched_yield();
}

static void store_child(jobq_run *run, int from) {
    int64_t id = 0;
    WORKS(jobq_enqueue(jobq_run_handle(run), &(jobq_job){.kind = "plain"}, &id, &err));
    know(known.from, id, from);
    pthread_mutex_lock(&known.mutex);
    known.joined[id] = true;
    pthread_mutex_unlock(&known.mutex);
}

static jobq_outcome work(jobq_run *run, void *ctx) {
    int64_t id = jobq_run_id(run);
    int from = now();
    (void)ctx;
    if (!CHECK(jobq_run_attempt(run) <= ATTEMPTS)) return JOBQ_FAIL;
    know(known.began[jobq_run_attempt(run) - 1], id, from);
    if (id == 1) hold_the_baton(run);
    if (id % 5 == 0 && jobq_run_attempt(run) == 1) return jobq_retry(run, "once more");
    if (strcmp(jobq_run_kind(run), "money") != 0) return JOBQ_DONE;
    story_write_row(run);
    if (id % 2 == 0) store_child(run, from);
    return JOBQ_DONE;
}

/* ---- Producers ---- */

static int64_t produce_one(const char *kind) {
    int from = now();
    int64_t id = 0;
    WORKS(jobq_enqueue(story.q, &(jobq_job){.kind = kind}, &id, &err));
    know(known.stored, id, now());
    know(known.from, id, from);
    return id;
}

static void produce_many(void) {
    jobq_job jobs[3] = {{.kind = "plain"}, {.kind = "money"}, {.kind = "brief"}};
    jobq_stored results[3];
    int from = now(), to;
    WORKS(jobq_enqueue_many(story.q, jobs, 3, results, &err));
    to = now();
    for (int i = 0; i < 3; i++) {
        know(known.stored, results[i].id, to);
        know(known.from, results[i].id, from);
        pthread_mutex_lock(&known.mutex);
        known.joined[results[i].id] = i < 2;
        pthread_mutex_unlock(&known.mutex);
    }
}

static void *produce(void *arg) {
    int64_t id;
    (void)arg;
    gate_pass(&line);
    id = produce_one("plain");
    produce_many();
    if (id % 5 != 0) {
        WORKS(jobq_wait(story.q, id, JOBQ_NEVER, NULL, &err));
        know(known.ended, id, now());
    }
    produce_one("money");
    return NULL;
}

/* ---- The story ---- */

static bool begin(jobq_durability durability) {
    fault_begin();
    memset(&known.from, 0, sizeof known - offsetof(struct known, from));
    story_init(&story, "pool", durability, test_seed() + 1 + (uint64_t)durability);
    story.loose = true;
    story_make(&story);
    story.options.workers = 2;
    story.options.on_event = on_event;
    story_log(&story);
    WORKS(jobq_open(story.path, &story.options, &story.q, &err));
    for (int i = 0; story.q && i < 3; i++) handle_kind(story.q, story_kind(i, work, NULL));
    return story.q != NULL;
}

static void tell(void) {
    pthread_t threads[THREADS];
    jobq_stats stats;
    gate_init(&line);
    CHECK_INT(produce_one("money"), 1);
    start(story.q);
    for (int i = 0; i < THREADS; i++)
        threads[i] = thread_start(produce, NULL);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    advance(story.q, JOBQ_MINUTE);
    stats = stats_of(story.q);
    test_note("%d jobs stored and settled by %d commits", story.job_count, (int)stats.commits);
    CHECK_INT(stats.done, stats.enqueued);
    story_close(&story);
    finish_acts();
    gate_free(&line);
}

static struct tally crash_pool(jobq_durability durability) {
    struct tally tally;
    memset(&tally, 0, sizeof tally);
    if (!begin(durability)) return tally;
    tell();
    story.options.workers = JOBQ_NONE;
    story.options.on_event = NULL;
    judge_story(&story, &tally);
    story_free(&story);
    judge_checks(&tally);
    return tally;
}

/* Goal: nothing that any thread was told is lost. Method: four threads, one group of commits after
 * the other, jobs with transactions, retries, waiters; crashed at every boundary. */
TEST(durable_pool) {
    struct tally t = crash_pool(JOBQ_DURABLE);
    CHECK(t.images > 100);
    test_figure("power cut beside a pool, DURABLE", "0 lost, ghosts, double effects, corrupt",
                "%" PRId64 " images, %" PRId64 " of them kills; %" PRId64 " lost, %" PRId64
                " ghosts or torn, %" PRId64 " doubled, %" PRId64 " corrupt; %" PRId64 "/s",
                t.images, t.kills, t.lost, t.ghosts + t.torn, t.twice, t.corrupt + t.shut,
                judge_per_second(&t));
}

/* Goal: what is lost is the end of what was told, in the order of the commits. Method: as above. */
TEST(relaxed_pool) {
    struct tally t = crash_pool(JOBQ_RELAXED);
    CHECK(t.shorter > 0);
    test_figure("power cut beside a pool, RELAXED", "0 corrupt, the loss is a suffix",
                "%" PRId64 " images, %" PRId64 " of them kills; %" PRId64 " corrupt, %" PRId64
                " not a suffix; %" PRId64 " lack up to %d acts; %" PRId64 "/s", t.images, t.kills,
                t.corrupt + t.shut, t.torn + t.ghosts + t.twice, t.shorter, t.deepest,
                judge_per_second(&t));
}

TEST_MAIN(durable_pool, relaxed_pool)
