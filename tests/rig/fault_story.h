/* fault_story.h - a story: calls on a queue in step mode, and what was told after each of them.
 *
 * A story is a row of acts. An act is what one commit changed and somebody was told of. It began
 * at one position of the disk's log and was acknowledged at a later one. After act k each job is
 * as it was told then: whatever jobq_list said of it, and how many rows its runs have left.
 *
 * That is the whole model. What is found after a crash has to be the state after some act, not an
 * earlier one than was acknowledged and not a later one than had begun. Lost jobs, ghosts, half
 * batches, effects without a completion: there is no such act then. fault_judge.h asks.
 *
 *     story_open(&s);              begins the log, unless the story has begun it before
 *     story_enqueue(&s, ...);      each verb is one call and the acts that it makes
 *     story_step(&s, STORY_RETRY); the next run does this
 *     story_any(&s);               a verb by the seed
 *     story_close(&s);             ends the log
 *
 * A job's rows stand in the table effect, which the first of them makes: a run that writes there
 * does so in the job's transaction and is then done, so a job has one row if such a run of it is
 * done, else none. Payloads and checkpoints follow from a number, the tag, so that they can be told
 * again.
 *
 * The seed also decides what the file's pages are, whether SQLite's cache is so small that it
 * writes in the middle of a transaction, and whether the queue is shared: then clients enqueue,
 * too. The clock is set now and then, by half an hour and right again.
 *
 * What the slots of the process said at each position is kept as well (story_watch). */
#ifndef JOBQ_FAULT_STORY_H
#define JOBQ_FAULT_STORY_H

#include "fault_power.h"
#include "helpers.h"

enum { STORY_ACTS = 250, STORY_JOBS = 200, STORY_TOLD = 24, STORY_PAGE = 4096, STORY_BIG = 9000 };

/* What a run does. */
enum story_plan {
    STORY_DONE,
    STORY_RESULT,     /* done, with a result */
    STORY_RETRY,
    STORY_FAIL,
    STORY_SNOOZE,
    STORY_RESCHEDULE,
    STORY_QUIT,       /* is cancelled while it runs, and retries */
    STORY_SAVE,       /* saves a checkpoint, and retries */
    STORY_STORE,      /* enqueues by a commit of its own, and is done */
    STORY_EFFECT,     /* writes a row, and is done */
    STORY_CHILDREN,   /* writes a row, enqueues two jobs with it, and is done */
    STORY_KEEPS,      /* writes a row, enqueues a job with it, and runs again at a time */
    STORY_UNDONE,     /* writes a row, enqueues a job with it, and retries: neither is kept */
    STORY_SPOILED,    /* ends the job's transaction itself, which makes it a retry */
    STORY_PLANS,
    STORY_ANY
};

/* What was told of a job, from this act on. */
struct told {
    int act; /* -1: before the story */
    bool there;
    bool wished;     /* it runs, and is to be cancelled: what the next open finds */
    bool pruned;     /* some time later: finished, and its time was over */
    jobq_info info;  /* if it is there */
    int effects;     /* rows */
    int saved;       /* the tag of its checkpoint, or 0 */
};

struct story_job {
    int64_t id;
    int tag;
    int effects, saved; /* to be told next */
    struct told told[STORY_TOLD];
    int count;
};

struct story_act {
    const char *verb;
    int from, to; /* positions of the log */
    bool flush;
    bool joined;  /* the next act is of the same commit */
};

/* The slots as they stood from a position on, and who ran then. */
struct story_slots {
    int at;
    int64_t running;
    bool recovering; /* running ran in the process before, and its death is being dealt with */
    char page[STORY_PAGE];
    size_t size;
};

struct story {
    const char *name, *path;
    uint64_t seed, random;
    jobq_options options;
    jobq_clock *clock;
    jobq *q;
    struct fault_log log;
    bool logged, loose; /* loose: only the states of the jobs and their rows are known */
    int until;          /* the last position to crash at; 0: the end of the log */
    int from;           /* where the act that is under way began */
    int64_t running;    /* the job that would be blamed for a death now */
    bool recovering;    /* it ran in the process before */
    enum story_plan plan;
    int tags, expired;
    int64_t wrong_ms;   /* so much the clock was set ahead, or behind */
    int clients, steps; /* jobs of clients; times that the clock was set */
    struct story_act acts[STORY_ACTS];
    int act_count;
    struct story_job jobs[STORY_JOBS];
    int job_count;
    struct story_slots *slots;
    int slot_count;
    jobq_info list[STORY_JOBS];
    size_t list_count;
};

static const char *const story_kinds[] = {"plain", "brief", "money"};
static const char *const story_keys[] = {"alpha", "beta"};

/* ---- Tags ---- */

/* Most payloads are small; each eighth needs pages of its own. */
static inline size_t story_size(int tag) {
    return tag % 8 == 7 ? (size_t)(3000 + tag * 131 % 6000) : (size_t)(tag * 7 % 90);
}

static inline const void *story_bytes(int tag, char *to) {
    for (size_t i = 0; i < story_size(tag); i++) to[i] = (char)(tag * 31 + (int)i * 7);
    return story_size(tag) ? to : NULL;
}

/* ---- Slots ---- */

static inline void story_slots_read(const char *path, struct story_slots *slots) {
    char name[DISK_NAME + 8];
    FILE *file;
    snprintf(name, sizeof name, "%s-jobq", path);
    file = fopen(name, "rb");
    slots->size = file ? fread(slots->page, 1, sizeof slots->page, file) : 0;
    if (file) fclose(file);
}

/* Notes the slots if they, or who is to be blamed by them, have changed. The log calls it before
 * each operation. */
static inline void story_watch(void *arg, int at) {
    struct story *s = (struct story *)arg;
    struct story_slots *now, *last;
    s->slots = (struct story_slots *)realloc(s->slots, (size_t)(s->slot_count + 1)
                                                           * sizeof *s->slots);
    if (!s->slots) test_give_up("no memory");
    now = &s->slots[s->slot_count];
    last = s->slot_count ? now - 1 : NULL;
    story_slots_read(s->path, now);
    now->at = at;
    now->running = s->running;
    now->recovering = s->recovering;
    if (last && last->running == now->running && last->recovering == now->recovering
        && last->size == now->size
        && memcmp(last->page, now->page, now->size) == 0) return;
    s->slot_count++;
}

/* ---- What was told ---- */

static inline struct story_job *story_find(struct story *s, int64_t id) {
    for (int i = 0; i < s->job_count; i++)
        if (s->jobs[i].id == id) return &s->jobs[i];
    return NULL;
}

/* A call has returned this id for a new job. */
static inline void story_new(struct story *s, int64_t id, int tag) {
    struct story_job *job = &s->jobs[s->job_count];
    if (s->job_count == STORY_JOBS) test_give_up("the story has too many jobs");
    CHECK(s->job_count == 0 || id > job[-1].id);
    memset(job, 0, sizeof *job);
    job->id = id;
    job->tag = tag;
    s->job_count++;
}

static inline bool story_terminal(const jobq_info *info) {
    return info->state >= JOBQ_STATE_DONE;
}

static inline bool story_same_info(const jobq_info *a, const jobq_info *b) {
    return a->state == b->state && a->parked == b->parked && a->priority == b->priority
        && a->attempt == b->attempt && a->runs == b->runs && a->crashes == b->crashes
        && a->created_at_ms == b->created_at_ms && a->run_at_ms == b->run_at_ms
        && a->finished_at_ms == b->finished_at_ms && a->payload_size == b->payload_size
        && a->result_size == b->result_size && strcmp(a->kind, b->kind) == 0
        && strcmp(a->queue, b->queue) == 0 && strcmp(a->key, b->key) == 0
        && strcmp(a->error, b->error) == 0;
}

/* True if there is something new to be told of the job; info is NULL if it is not there. */
static inline bool story_tell(struct story *s, struct story_job *job, const jobq_info *info) {
    struct told *last = job->count ? &job->told[job->count - 1] : NULL, *next;
    if (last && last->there && !info && last->info.state >= JOBQ_STATE_DONE && s->expired)
        last->pruned = true;
    if (last && last->pruned && !info) return false;
    if (last && last->there == (info != NULL) && last->effects == job->effects
        && last->saved == job->saved && (!info || story_same_info(&last->info, info)))
        return false;
    if (job->count == STORY_TOLD) test_give_up("too much happens to one job");
    next = &job->told[job->count++];
    memset(next, 0, sizeof *next);
    next->act = s->act_count;
    next->there = info != NULL;
    if (info) next->info = *info;
    next->effects = job->effects;
    next->saved = job->saved;
    return true;
}

static inline struct story_act *story_act(struct story *s, const char *verb) {
    struct story_act *act = &s->acts[s->act_count++];
    if (s->act_count == STORY_ACTS) test_give_up("the story has too many acts");
    memset(act, 0, sizeof *act);
    act->verb = verb;
    act->from = s->from;
    act->to = s->from = fault_log_now(&s->log);
    return act;
}

static inline size_t story_list(jobq *q, jobq_info *list, size_t capacity) {
    jobq_cursor cursor = {.done = false};
    size_t count = 0, n = 0;
    for (; !cursor.done && count < capacity; count += n)
        if (!CHECK_CODE(jobq_list(q, NULL, &cursor, list + count, capacity - count, &n, NULL),
                        JOBQ_OK)) break;
    CHECK(cursor.done);
    return count;
}

/* What was told of a job, or would have been before it was claimed: a crash gives it back. */
static inline const jobq_info *story_listed(struct story *s, int64_t id) {
    for (size_t i = 0; i < s->list_count; i++) {
        jobq_info *info = &s->list[i];
        if (info->id != id) continue;
        if (id == s->running && CHECK_INT(info->state, JOBQ_STATE_RUNNING)) {
            info->state = JOBQ_STATE_PENDING;
            info->runs--;
        }
        return info;
    }
    return NULL;
}

/* Looks at all jobs; what has changed since the last look is one act. */
static inline void story_look(struct story *s, const char *verb) {
    bool changed = false;
    s->list_count = story_list(s->q, s->list, STORY_JOBS);
    for (size_t i = 0; i < s->list_count; i++)
        if (!CHECK(story_find(s, s->list[i].id) != NULL))
            test_note("%s, %s: job %" PRId64 " appeared", s->name, verb, s->list[i].id);
    for (int i = 0; i < s->job_count; i++)
        changed = story_tell(s, &s->jobs[i], story_listed(s, s->jobs[i].id)) || changed;
    if (changed) story_act(s, verb);
    s->from = fault_log_now(&s->log);
}

/* The job that runs has saved a checkpoint, which also forgives its crashes. */
static inline void story_saved(struct story *s, struct story_job *job, int tag) {
    struct told *last = &job->told[job->count - 1], *next = &job->told[job->count++];
    if (job->count == STORY_TOLD) test_give_up("too much happens to one job");
    *next = *last;
    next->act = s->act_count;
    next->info.crashes = 0;
    next->saved = job->saved = tag;
    story_act(s, "checkpoint");
}

/* The job that runs is to be cancelled: whatever becomes of the process, it does not run again. */
static inline void story_wished(struct story *s, struct story_job *job) {
    struct told *last = &job->told[job->count - 1], *next = &job->told[job->count++];
    if (job->count == STORY_TOLD) test_give_up("too much happens to one job");
    *next = *last;
    next->act = s->act_count;
    next->info.state = JOBQ_STATE_CANCELLED;
    next->info.runs++;
    next->wished = true;
    story_act(s, "cancel in a handler");
}

/* ---- Handlers ---- */

static inline uint64_t story_random(struct story *s, uint64_t n) {
    return test_random(&s->random) % n;
}

static inline int64_t story_put(struct story *s, jobq *q, jobq_job job) {
    char bytes[STORY_BIG];
    jobq_error err = {.code = 0};
    int64_t id = 0;
    int tag = ++s->tags, rc;
    job.payload = story_bytes(tag, bytes);
    job.size = story_size(tag);
    job.conflict = JOBQ_REFUSE;
    rc = jobq_enqueue(q, &job, &id, &err);
    if (rc == JOBQ_OK) story_new(s, id, tag);
    else CHECK_CODE(rc, job.key ? JOBQ_EXISTS : JOBQ_OK);
    return rc == JOBQ_OK ? id : err.id;
}

static inline void story_write_row(jobq_run *run) {
    char sql[128];
    sqlite3 *db = NULL;
    WORKS(jobq_run_db(run, &db, &err));
    snprintf(sql, sizeof sql, "CREATE TABLE IF NOT EXISTS effect(job INTEGER NOT NULL);"
             " INSERT INTO effect VALUES(%" PRId64 ")", jobq_run_id(run));
    CHECK_INT(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
}

/* What is enqueued here and rolled back later was told to nobody. */
static inline void story_enqueue_in_vain(jobq_run *run) {
    WORKS(jobq_enqueue(jobq_run_handle(run), &(jobq_job){.kind = "plain"}, NULL, &err));
}

static inline jobq_outcome story_in_transaction(struct story *s, jobq_run *run,
                                                struct story_job *job) {
    sqlite3 *db;
    story_write_row(run);
    switch (s->plan) {
    case STORY_CHILDREN:
        story_put(s, s->q, (jobq_job){.kind = "plain"});
        story_put(s, s->q, (jobq_job){.kind = "money", .delay_ms = JOBQ_MINUTE});
        break;
    case STORY_KEEPS:
        story_put(s, s->q, (jobq_job){.kind = "plain"});
        job->effects++;
        job->saved = 0;
        return jobq_keep_writes(run, jobq_reschedule_in(run, 2 * JOBQ_MINUTE));
    case STORY_UNDONE:
        story_enqueue_in_vain(run);
        return jobq_retry(run, "undone");
    case STORY_SPOILED:
        story_enqueue_in_vain(run);
        WORKS(jobq_run_db(run, &db, &err));
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
        return JOBQ_DONE;
    default: break;
    }
    job->effects++;
    return JOBQ_DONE;
}

static inline jobq_outcome story_do(struct story *s, jobq_run *run, struct story_job *job) {
    char bytes[STORY_BIG];
    int tag = s->tags + 1;
    switch (s->plan) {
    case STORY_RESULT: return jobq_done(run, story_bytes(tag, bytes), story_size(tag));
    case STORY_RETRY: return jobq_retry(run, "not this time, tag %d", job->tag);
    case STORY_FAIL: return jobq_fail(run, "never");
    case STORY_SNOOZE: return jobq_snooze(run, JOBQ_MINUTE);
    case STORY_RESCHEDULE:
        job->saved = 0;
        return jobq_reschedule_in(run, 2 * JOBQ_MINUTE);
    case STORY_QUIT:
        WORKS(jobq_cancel(s->q, job->id, &err));
        story_wished(s, job);
        return JOBQ_RETRY;
    case STORY_SAVE:
        s->tags++;
        WORKS(jobq_checkpoint(run, story_bytes(tag, bytes), story_size(tag), &err));
        story_saved(s, job, tag);
        return jobq_retry(run, "saved");
    case STORY_STORE:
        story_put(s, s->q, (jobq_job){.kind = "plain", .priority = 5});
        story_look(s, "enqueue in a handler");
        return JOBQ_DONE;
    case STORY_EFFECT: case STORY_CHILDREN: case STORY_KEEPS: case STORY_UNDONE:
    case STORY_SPOILED:
        return story_in_transaction(s, run, job);
    default: return JOBQ_DONE;
    }
}

/* ctx is the story. */
static inline jobq_outcome story_handle(jobq_run *run, void *ctx) {
    struct story *s = (struct story *)ctx;
    enum story_plan plan = s->plan;
    struct story_job *job;
    jobq_outcome outcome;
    s->running = jobq_run_id(run);
    story_look(s, "what came before a run");
    story_watch(s, s->from);
    job = story_find(s, s->running);
    if (!CHECK(job != NULL)) return JOBQ_FAIL;
    if (plan == STORY_ANY) s->plan = (enum story_plan)story_random(s, STORY_PLANS);
    if (s->plan == STORY_DONE && strcmp(jobq_run_kind(run), "money") == 0)
        s->plan = STORY_EFFECT;
    outcome = story_do(s, run, job);
    s->plan = plan;
    s->running = 0;
    return outcome;
}

/* ---- Verbs ---- */

static inline jobq_job story_some_kind(struct story *s) {
    static const char *const queues[] = {NULL, "slow", "quick"};
    jobq_job job = {0};
    job.kind = story_kinds[story_random(s, 3)];
    job.queue = queues[story_random(s, 3)];
    if (story_random(s, 4) == 0) job.key = story_keys[story_random(s, 2)];
    if (story_random(s, 4) == 0) job.delay_ms = 1 + (int64_t)story_random(s, JOBQ_MINUTE);
    return job;
}

static inline jobq_kind story_kind(int which, jobq_handler run, void *ctx) {
    jobq_kind kind = {0};
    kind.name = story_kinds[which];
    kind.run = run;
    kind.ctx = ctx;
    kind.jitter_percent = JOBQ_NONE;
    if (which == 1) kind.keep_done_ms = kind.keep_failed_ms = JOBQ_NONE;
    return kind;
}

static inline void story_log(struct story *s) {
    fault_log_begin(&s->log, s->path);
    fault_log_watch(&s->log, story_watch, s);
    story_watch(s, s->log.count);
    s->from = s->log.count;
    s->logged = true;
}

static inline int story_connect(sqlite3 *db, jobq_connection which, jobq_stage stage,
                                jobq_error *e, void *ctx) {
    (void)which;
    (void)e;
    (void)ctx;
    if (stage != JOBQ_STAGE_SETUP) return JOBQ_OK;
    return sqlite3_exec(db, "PRAGMA cache_size = 10", NULL, NULL, NULL) ? JOBQ_IO : JOBQ_OK;
}

static inline void story_vary(struct story *s) {
    static const int page_sizes[] = {0, 1024, 4096};
    s->options.page_size = page_sizes[s->seed % 3];
    if (s->seed % 2) s->options.on_connect = story_connect;
    s->options.shared = s->seed / 2 % 2;
}

/* Makes the file that a story begins with. */
static inline void story_make(struct story *s) {
    jobq *q = NULL;
    WORKS(jobq_open(s->path, &s->options, &q, &err));
    for (int i = 0; i < 3; i++) handle_kind(q, story_kind(i, story_handle, s));
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

static inline void story_init(struct story *s, const char *name, jobq_durability durability,
                              uint64_t seed) {
    memset(s, 0, sizeof *s);
    s->name = name;
    s->path = test_path("story.db");
    s->seed = s->random = seed;
    s->plan = STORY_ANY;
    s->clock = jobq_clock_artificial(T0);
    s->options.durability = durability;
    s->options.workers = JOBQ_NONE;
    s->options.wal_pages = 16;
    s->options.clock = s->clock;
    story_vary(s);
}

static inline bool story_open(struct story *s) {
    jobq_error err = {.code = 0};
    if (!s->logged) story_log(s);
    if (!CHECK_CODE(jobq_open(s->path, &s->options, &s->q, &err), JOBQ_OK)) {
        test_note("%s: %s", s->name, err.text);
        return false;
    }
    s->running = 0;
    s->recovering = false;
    story_look(s, "recovery");
    for (int i = 0; i < 3; i++) handle_kind(s->q, story_kind(i, story_handle, s));
    story_look(s, "register");
    return true;
}

static inline void story_reopen(struct story *s) {
    CHECK_CODE(jobq_close(&s->q), JOBQ_OK);
    story_open(s);
}

static inline void story_close(struct story *s) {
    CHECK_CODE(jobq_close(&s->q), JOBQ_OK);
    story_watch(s, s->log.count);
    fault_log_end(&s->log);
}

static inline void story_free(struct story *s) {
    fault_log_free(&s->log);
    fault_remove(s->path);
    jobq_clock_free(s->clock);
    free(s->slots);
    s->slots = NULL;
}

static inline void story_enqueue(struct story *s, jobq_job job) {
    story_put(s, s->q, job);
    story_look(s, "enqueue");
}

/* Another connection enqueues, if the queue is shared, and the owner goes on beside it. */
static inline void story_client(struct story *s) {
    jobq_options options = s->options;
    jobq *client = NULL;
    if (!options.shared) return;
    options.role = JOBQ_CLIENT;
    WORKS(jobq_open(s->path, &options, &client, &err));
    if (client) story_put(s, client, story_some_kind(s));
    CHECK_CODE(jobq_close(&client), JOBQ_OK);
    story_look(s, "a client enqueues");
    s->clients++;
}

/* The row in the middle has a key; if it is taken, only that row is kept out. */
static inline void story_enqueue_many(struct story *s, int count) {
    static char bytes[16][STORY_BIG];
    jobq_job jobs[16];
    jobq_stored results[16];
    int first = s->tags + 1;
    memset(jobs, 0, sizeof jobs);
    for (int i = 0; i < count; i++) {
        jobs[i].kind = story_kinds[i % 3];
        jobs[i].priority = i % 3 - 1;
        jobs[i].payload = story_bytes(first + i, bytes[i]);
        jobs[i].size = story_size(first + i);
    }
    jobs[count / 2].key = story_keys[0];
    s->tags += count;
    WORKS(jobq_enqueue_many(s->q, jobs, (size_t)count, results, &err));
    for (int i = 0; i < count; i++)
        if (results[i].how == JOBQ_NEW) story_new(s, results[i].id, first + i);
    story_look(s, "enqueue_many");
}

/* The last row cannot be stored, so none is. */
static inline void story_refused(struct story *s) {
    jobq_job jobs[3] = {{.kind = "plain"}, {.kind = "money"}, {.kind = ""}};
    CHECK_CODE(jobq_enqueue_many(s->q, jobs, 3, NULL, NULL), JOBQ_BAD_NAME);
    story_look(s, "enqueue_many, refused");
}

static inline void story_step(struct story *s, enum story_plan plan) {
    s->plan = plan;
    WORKS(jobq_step(s->q, NULL, &err));
    s->plan = STORY_ANY;
    story_look(s, "step");
}

static inline void story_idle(struct story *s, enum story_plan plan) {
    s->plan = plan;
    WORKS(jobq_run_until_idle(s->q, NULL, &err));
    s->plan = STORY_ANY;
    story_look(s, "run_until_idle");
}

static inline void story_advance(struct story *s, int64_t ms) {
    if (ms >= JOBQ_DAY) s->expired = true;
    jobq_clock_advance(s->clock, ms);
}

static inline void story_set_clock(struct story *s) {
    int64_t by_ms = story_random(s, 2) ? JOBQ_HOUR / 2 : -JOBQ_HOUR / 2;
    if (s->wrong_ms) by_ms = -s->wrong_ms;
    s->wrong_ms += by_ms;
    jobq_clock_set(s->clock, jobq_clock_now(s->clock) + by_ms);
    s->steps++;
}

static inline void story_flush(struct story *s) {
    WORKS(jobq_flush(s->q, &err));
    story_act(s, "flush")->flush = true;
}

/* Whatever these return, it is what has happened: the look afterwards is compared. */
static inline void story_change(struct story *s, const char *verb, int64_t id) {
    int rc = strcmp(verb, "cancel") == 0 ? jobq_cancel(s->q, id, NULL)
           : strcmp(verb, "retry") == 0 ? jobq_retry_now(s->q, id, NULL)
                                        : jobq_delete(s->q, id, NULL);
    struct story_job *job = story_find(s, id);
    int acts = s->act_count;
    if (job && rc == JOBQ_OK && strcmp(verb, "retry") == 0) job->saved = 0;
    CHECK(rc == JOBQ_OK || rc == JOBQ_NOT_FOUND || rc == JOBQ_BAD_STATE || rc == JOBQ_EXISTS);
    story_look(s, verb);
    CHECK(rc == JOBQ_OK || s->act_count == acts);
}

/* ---- By the seed ---- */

static inline int64_t story_some_job(struct story *s) {
    return s->job_count ? s->jobs[story_random(s, (uint64_t)s->job_count)].id : 1;
}

static inline void story_any(struct story *s) {
    static const char *const changes[] = {"cancel", "retry", "delete"};
    uint64_t verb = story_random(s, s->options.shared ? 29 : 25);
    if (verb >= 25) story_client(s);
    else if (verb >= 24) story_set_clock(s);
    else if (verb < 5) story_enqueue(s, story_some_kind(s));
    else if (verb < 8) story_enqueue_many(s, 2 + (int)story_random(s, 11));
    else if (verb < 15) story_step(s, STORY_ANY);
    else if (verb < 16) story_idle(s, STORY_ANY);
    else if (verb < 19) story_change(s, changes[story_random(s, 3)], story_some_job(s));
    else if (verb < 21) story_advance(s, 1 + (int64_t)story_random(s, 5 * JOBQ_MINUTE));
    else if (verb < 22) story_flush(s);
    else if (story_random(s, 4) > 0) story_step(s, STORY_EFFECT);
    else if (story_random(s, 2) == 0) story_reopen(s);
    else story_advance(s, 25 * JOBQ_HOUR);
}

#endif
