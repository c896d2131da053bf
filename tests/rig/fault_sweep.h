/* fault_sweep.h - a story of a queue's life, told while calls fail, and what has to be found after.
 *
 * What is promised: a call that returned OK has happened, one that returned an error has not and
 * never will, and JOBQ_UNKNOWN may be either (G2); every job that was stored comes to its end (G3),
 * and what its transaction wrote is there if and only if it is done (G5).
 *
 * The story: open a new file, register, enqueue (one, many, with keys), step, run until idle, jobs
 * with a transaction and a child, retries, a checkpoint of a handler, cancel, retry_now, delete,
 * flush, looking inside, pruning, the log's checkpoints, close, open again and close. It goes on
 * whatever is returned, and writes down what each call came to. A job is known by its number,
 * which is its payload.
 *
 *     story_begin(&s, test_path("q.db"), JOBQ_DURABLE);
 *     fault_nth_of(FAULT_IO, 17, "x");
 *     story_tell(&s);
 *     fault_off();
 *     story_check(&s, path, STORY_NOW, NULL);       path: that file, or what a crash left of it
 *     story_end(&s);
 *
 * story_check opens the file on a disk that works, lets everything run, and compares. */
#ifndef JOBQ_FAULT_SWEEP_H
#define JOBQ_FAULT_SWEEP_H

#include "fault_vfs.h"
#include "helpers.h"

#include <limits.h>

/* The jobs, by number. */
enum {
    STORY_PLAIN, STORY_KEY, STORY_SAME_KEY, STORY_MANY, STORY_MANY_TX, STORY_MANY_LATER,
    STORY_MANY_SAME_KEY = STORY_MANY_LATER + 6, STORY_TX, STORY_RETRY, STORY_CANCEL, STORY_FAIL,
    STORY_DELETE, STORY_SAVE, STORY_BRIEF, STORY_PARKED, STORY_BIG, STORY_LAST, STORY_EXTRA,
    STORY_JOBS,
    STORY_CHILD = 32, /* plus the number of the parent */
    STORY_NUMBERS = STORY_CHILD + STORY_JOBS,
    STORY_BIG_SIZE = 9000
};

/* Did it happen? */
enum story_fate { STORY_NO, STORY_YES, STORY_MAYBE };

/* What a call came to, and how much was on the disk's log when it had returned. */
struct story_deed {
    enum story_fate fate;
    int at;
};

struct story_job {
    int64_t id;
    struct story_deed stored, cancelled, deleted, revived;
    bool had_failed; /* seen, before it was to be revived */
    int runs;
};

/* What is looked at afterwards: the files as they were when so much of the disk's log was written,
 * as they stood (or as a kill left them) or after a power cut. */
struct story_end {
    int at;
    bool power_cut;
};

#define STORY_NOW ((struct story_end){INT_MAX, false})

struct story {
    const char *path;
    jobq_options options;
    jobq *q;
    struct fault_log *log; /* or NULL */
    int steps;             /* counted where there is no log */
    struct story_job jobs[STORY_JOBS];
    struct story_deed opened; /* the first open that worked */
    struct story_deed saved;  /* the checkpoint of STORY_SAVE */
    const struct story *before; /* in a check: what had been told; else NULL */
    struct story_end end;    /* in a check: what it is looking at */
    bool may_succeed;        /* STORY_FAIL does not fail any more */
    bool may_lose_result;    /* without memory for its result STORY_RETRY runs once more */
    int flush_from, flush_to; /* what was written when the flush began, and when it was over */
    int closing;             /* so much of it was written when the first close began */
    int stopped;             /* the latched code, if there ever was one */
    int unknown;             /* calls that returned JOBQ_UNKNOWN */
    bool looks_damaged;      /* reads may find nothing, so a call may speak of damage */
    int64_t (*strikes)(void); /* so many faults by now; NULL: those of the disk */
    int blamed;              /* a job that a kill may have made a suspect, or -1 */
    void (*at_run)(struct story *s, int n); /* called when a handler begins, or NULL */
    void (*at_end)(struct story *s); /* called before the first close, or NULL */
};

static inline bool story_is_tx(int n) {
    return n == STORY_TX || n == STORY_MANY_TX;
}

/* What has to be found of a deed. After a power cut a RELAXED queue may have lost what was done
 * since the last flush. */
static inline enum story_fate story_fate(const struct story *s, const struct story_deed *deed,
                                         struct story_end end) {
    bool flushed = deed->at <= s->flush_from && s->flush_to <= end.at;
    bool lost = end.power_cut && s->options.durability == JOBQ_RELAXED && !flushed;
    if (deed->fate == STORY_YES && (lost || deed->at > end.at)) return STORY_MAYBE;
    return deed->fate;
}

/* ---- What calls return ---- */

/* Adds to a number of the story; handlers of a pool tell it, too. */
static inline int story_count(int *number) {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    int now;
    pthread_mutex_lock(&mutex);
    now = ++*number;
    pthread_mutex_unlock(&mutex);
    return now;
}

/* A call on a disk that fails may say so in some ways; it must not blame something else. */
static inline void story_code(struct story *s, int code, const jobq_error *err, const char *what) {
    switch (code) {
    case JOBQ_OK: return;
    case JOBQ_IO: case JOBQ_FULL: case JOBQ_BUSY: case JOBQ_CANT_OPEN: case JOBQ_NO_MEMORY: break;
    case JOBQ_UNKNOWN: story_count(&s->unknown); break;
    case JOBQ_CORRUPT: case JOBQ_NOT_A_DB: case JOBQ_FOREIGN:
        if (s->looks_damaged) break; /* fall through */
    default: test_failed(__FILE__, __LINE__, "%s returned %s", what, jobq_code_name(code));
    }
    if (!CHECK_INT(err->code, code)) test_note("%s", what);
    CHECK(memchr(err->text, '\0', sizeof err->text) && strchr(err->text, ' '));
}

/* Where we are: in the disk's log, or without one by counting. */
static inline int story_now(struct story *s) {
    return s->log ? fault_log_now(s->log) : story_count(&s->steps);
}

static inline struct story_deed story_deed(struct story *s, int code) {
    struct story_deed deed = {STORY_NO, 0};
    if (code == JOBQ_OK) deed.fate = STORY_YES;
    if (code == JOBQ_UNKNOWN) deed.fate = STORY_MAYBE;
    deed.at = story_now(s);
    return deed;
}

/* ---- Handlers ---- */

static inline int story_number(jobq_run *run) {
    size_t size = 0;
    int n = -1;
    const void *payload = jobq_run_payload(run, &size);
    if (CHECK(size >= sizeof n)) memcpy(&n, payload, sizeof n);
    return CHECK(n >= 0 && n < STORY_NUMBERS) ? n : STORY_PLAIN;
}

/* Its row, its child, and nothing if one of them cannot be had. */
static inline jobq_outcome story_run_tx(jobq_run *run, struct story *s, int n) {
    int child = STORY_CHILD + n, code;
    jobq_error err = {.code = 0};
    sqlite3 *db = NULL;
    char sql[96];
    code = jobq_run_db(run, &db, &err);
    story_code(s, code, &err, "run_db");
    if (code != JOBQ_OK) return jobq_snooze(run, 1000);
    snprintf(sql, sizeof sql, "CREATE TABLE IF NOT EXISTS note(n); INSERT INTO note VALUES(%d)", n);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) return jobq_retry(run, "no row");
    code = jobq_enqueue(jobq_run_handle(run), &(jobq_job){.kind = "plain", .payload = &child,
                        .size = sizeof child}, NULL, &err);
    story_code(s, code, &err, "enqueue of a child");
    return code == JOBQ_OK ? JOBQ_DONE : jobq_retry(run, "no child");
}

static inline int64_t story_strikes(const struct story *s) {
    return s->strikes ? s->strikes() : fault_hits(FAULT_ANY);
}

/* What was saved has to be found, what was not must not. A read that fails says so. */
static inline void story_look_for_saved(jobq_run *run, const struct story *s) {
    enum story_fate before = STORY_NO;
    int64_t strikes = story_strikes(s);
    size_t size = 77;
    bool found = jobq_run_checkpoint(run, &size) != NULL;
    if (s->before) before = story_fate(s->before, &s->before->saved, s->end);
    if (!found && size == SIZE_MAX) {
        CHECK(story_strikes(s) > strikes);
        return;
    }
    CHECK_INT(size, found ? 5 : 0);
    if (found) CHECK(before != STORY_NO || s->saved.fate != STORY_NO);
    else if (story_strikes(s) == strikes) CHECK(before != STORY_YES && s->saved.fate != STORY_YES);
}

/* Saves in its first attempt. */
static inline jobq_outcome story_run_save(jobq_run *run, struct story *s) {
    jobq_error err = {.code = 0};
    int code;
    story_look_for_saved(run, s);
    if (jobq_run_attempt(run) > 1) return JOBQ_DONE;
    code = jobq_checkpoint(run, "saved", 5, &err);
    story_code(s, code, &err, "checkpoint");
    if (s->saved.fate == STORY_NO) s->saved = story_deed(s, code);
    return jobq_retry(run, "later");
}

static inline jobq_outcome story_run(jobq_run *run, void *ctx) {
    struct story *s = (struct story *)ctx;
    int n = story_number(run);
    if (n < STORY_JOBS) s->jobs[n].runs++;
    if (s->at_run) s->at_run(s, n);
    switch (n) {
    case STORY_TX: case STORY_MANY_TX: return story_run_tx(run, s, n);
    case STORY_SAVE: return story_run_save(run, s);
    case STORY_FAIL: return s->may_succeed ? JOBQ_DONE : jobq_fail(run, "never");
    case STORY_RETRY:
        return jobq_run_attempt(run) == 1 ? jobq_retry(run, "later") : jobq_done(run, "result", 6);
    default: return JOBQ_DONE;
    }
}

/* ---- The steps of the story ---- */

/* The bytes of its head that say so: without the log nothing of what is promised holds. */
static inline bool story_is_wal(const char *path) {
    const struct disk_file *f;
    bool is_wal;
    pthread_mutex_lock(&fault.mutex);
    f = disk_find(path);
    is_wal = f && f->size > 19 && f->data[18] == 2 && f->data[19] == 2;
    pthread_mutex_unlock(&fault.mutex);
    return is_wal;
}

static inline bool story_open(struct story *s) {
    for (int i = 0; i < 2 && !s->q; i++) {
        jobq_error err = {.code = 0};
        int code = jobq_open(s->path, &s->options, &s->q, &err);
        story_code(s, code, &err, "open");
        CHECK_INT(s->q != NULL, code == JOBQ_OK);
        /* After a power cut in a checkpoint the head may still have to come out of the log. */
        if (code == JOBQ_OK && !s->before) CHECK(story_is_wal(s->path));
        if (s->opened.fate != STORY_YES) s->opened = story_deed(s, code);
    }
    return s->q != NULL;
}

static inline void story_register(struct story *s) {
    static const char *const names[] = {"plain", "brief", "late"};
    for (int i = 0; i < 2 + (s->before != NULL); i++) {
        jobq_kind kind = {.name = names[i], .run = story_run, .ctx = s, .jitter_percent = JOBQ_NONE,
                          .keep_done_ms = i == 1 ? JOBQ_SECOND : 0};
        jobq_error err = {.code = 0};
        int code = jobq_register(s->q, &kind, &err);
        story_code(s, code, &err, "register");
        if (s->before) CHECK_CODE(code, JOBQ_OK);
    }
}

/* A second job with the key of one that was stored is told so; in any other case it is new. */
static inline void story_put(struct story *s, int n, jobq_job job, int same) {
    jobq_error err = {.code = 0};
    unsigned char payload[STORY_BIG_SIZE];
    int64_t id = 77;
    int code;
    memset(payload, n, sizeof payload);
    memcpy(payload, &n, sizeof n);
    job.payload = payload;
    job.size = n == STORY_BIG ? sizeof payload : sizeof n;
    if (!job.kind) job.kind = "plain";
    job.conflict = JOBQ_REFUSE;
    code = jobq_enqueue(s->q, &job, &id, &err);
    if (code == JOBQ_EXISTS && CHECK(same >= 0)) {
        CHECK_INT(s->jobs[same].stored.fate, STORY_YES);
        CHECK_INT(err.id, s->jobs[same].id);
        return;
    }
    story_code(s, code, &err, "enqueue");
    CHECK_INT(id != 0, code == JOBQ_OK);
    if (code == JOBQ_OK && same >= 0) CHECK(s->jobs[same].stored.fate != STORY_YES);
    s->jobs[n].id = id;
    s->jobs[n].stored = story_deed(s, code);
}

static inline void story_put_many(struct story *s) {
    enum { FIRST = STORY_MANY, COUNT = STORY_MANY_SAME_KEY - STORY_MANY + 1 };
    int numbers[COUNT], code;
    jobq_job jobs[COUNT];
    jobq_stored results[COUNT];
    jobq_error err = {.code = 0};
    memset(jobs, 0, sizeof jobs);
    for (int i = 0; i < COUNT; i++) {
        numbers[i] = FIRST + i;
        jobs[i].kind = "plain";
        jobs[i].queue = i == 0 ? "other" : NULL;
        jobs[i].payload = &numbers[i];
        jobs[i].size = sizeof numbers[i];
        jobs[i].delay_ms = FIRST + i == STORY_MANY_LATER ? JOBQ_SECOND : 0;
        jobs[i].key = FIRST + i == STORY_MANY_SAME_KEY ? "key" : NULL;
    }
    code = jobq_enqueue_many(s->q, jobs, COUNT, results, &err);
    story_code(s, code, &err, "enqueue_many");
    for (int i = 0; i < COUNT; i++) {
        CHECK_INT(results[i].id != 0, code == JOBQ_OK);
        if (code == JOBQ_OK && results[i].how == JOBQ_KEPT) continue;
        s->jobs[FIRST + i].id = results[i].id;
        s->jobs[FIRST + i].stored = story_deed(s, code);
    }
}

static inline void story_step(struct story *s) {
    jobq_error err = {.code = 0};
    story_code(s, jobq_step(s->q, NULL, &err), &err, "step");
}

static inline void story_idle(struct story *s) {
    jobq_error err = {.code = 0};
    story_code(s, jobq_run_until_idle(s->q, NULL, &err), &err, "run_until_idle");
}

static inline void story_advance(struct story *s, int64_t ms) {
    jobq_error err = {.code = 0};
    story_code(s, jobq_advance(s->q, ms, NULL, &err), &err, "advance");
}

/* What was stored for certain has to be found by those who look; the numbers have to agree. */
static inline void story_look(struct story *s) {
    jobq_error err = {.code = 0};
    jobq_info info, infos[4];
    jobq_counts c;
    jobq_cursor cursor;
    size_t count = 0, listed = 0;
    char result[8];
    int code = jobq_count(s->q, &c, &err);
    int64_t counted = c.ready + c.scheduled + c.parked + c.running + c.done + c.failed
                    + c.cancelled;
    bool whole = code == JOBQ_OK;
    story_code(s, code, &err, "count");
    memset(&cursor, 0, sizeof cursor);
    while (!cursor.done && code == JOBQ_OK) {
        code = jobq_list(s->q, NULL, &cursor, infos, 4, &count, &err);
        story_code(s, code, &err, "list");
        listed += count;
    }
    if (whole && code == JOBQ_OK) CHECK_INT(listed, counted);
    for (int n = 0; n < STORY_JOBS; n++) {
        int found = -1;
        if (s->jobs[n].stored.fate != STORY_YES || s->jobs[n].deleted.fate == STORY_YES
            || n == STORY_BRIEF) continue;
        code = jobq_get(s->q, s->jobs[n].id, &info, &err);
        story_code(s, code, &err, "get");
        if (code == JOBQ_OK) s->jobs[n].had_failed = info.state == JOBQ_STATE_FAILED;
        code = jobq_get_payload(s->q, s->jobs[n].id, &found, sizeof found, NULL, &err);
        story_code(s, code, &err, "get_payload");
        if (code == JOBQ_OK) CHECK_INT(found, n);
    }
    if (s->jobs[STORY_RETRY].stored.fate != STORY_YES) return;
    code = jobq_get_result(s->q, s->jobs[STORY_RETRY].id, result, sizeof result, &count, &err);
    story_code(s, code, &err, "get_result");
    if (code == JOBQ_OK && count) CHECK_MEM(result, "result", 6);
}

/* Asks for a change of a job that was stored, and keeps what came of it. */
static inline void story_ask(struct story *s, const struct story_job *job,
                             int (*call)(jobq *q, int64_t id, jobq_error *err), const char *name,
                             struct story_deed *deed) {
    jobq_error err = {.code = 0};
    int code;
    if (job->stored.fate != STORY_YES) return;
    code = call(s->q, job->id, &err);
    story_code(s, code, &err, name);
    *deed = story_deed(s, code);
}

static inline void story_cancel(struct story *s) {
    struct story_job *job = &s->jobs[STORY_CANCEL];
    story_ask(s, job, jobq_cancel, "cancel", &job->cancelled);
}

static inline void story_delete(struct story *s) {
    struct story_job *job = &s->jobs[STORY_DELETE];
    story_ask(s, job, jobq_delete, "delete", &job->deleted);
}

static inline void story_retry_now(struct story *s) {
    struct story_job *job = &s->jobs[STORY_FAIL];
    jobq_error err = {.code = 0};
    int code;
    s->may_succeed = true;
    if (job->stored.fate != STORY_YES) return;
    code = jobq_retry_now(s->q, job->id, &err);
    /* It may not have run yet. */
    if (code == JOBQ_BAD_STATE) CHECK(!job->had_failed);
    else story_code(s, code, &err, "retry_now");
    job->revived = story_deed(s, code);
}

static inline void story_flush(struct story *s) {
    jobq_error err = {.code = 0};
    int before = story_now(s);
    int code = jobq_flush(s->q, &err);
    story_code(s, code, &err, "flush");
    if (code != JOBQ_OK) return;
    s->flush_from = before;
    s->flush_to = story_now(s);
}

static inline void story_close(struct story *s) {
    int failed = stats_of(s->q).failed_code, code;
    if (failed != JOBQ_OK) s->stopped = failed;
    /* What it could not write it says, and that is so only where something goes wrong. */
    code = jobq_close(&s->q);
    if (code != JOBQ_OK) CHECK(failed != JOBQ_OK || story_strikes(s) > 0);
    CHECK(s->q == NULL);
}

/* ---- The story ---- */

static inline void story_begin(struct story *s, const char *path, jobq_durability durability) {
    memset(s, 0, sizeof *s);
    s->path = path;
    s->blamed = -1;
    s->options.workers = JOBQ_NONE;
    s->options.join = true;
    s->options.shared = true;
    s->options.busy_ms = JOBQ_NONE;
    s->options.wal_pages = 16;
    s->options.page_size = durability == JOBQ_DURABLE ? 1024 : 4096;
    s->options.durability = durability;
    s->options.clock = jobq_clock_artificial(T0);
    if (!s->options.clock) test_give_up("no memory");
}

static inline void story_put_first(struct story *s, bool step) {
    story_put(s, STORY_KEY, (jobq_job){.key = "key", .delay_ms = 100}, -1);
    story_put(s, STORY_PLAIN, (jobq_job){.priority = 1}, -1);
    story_put(s, STORY_SAME_KEY, (jobq_job){.key = "key"}, STORY_KEY);
    story_put_many(s);
    if (step) story_step(s);
    story_put(s, STORY_TX, (jobq_job){.queue = NULL}, -1);
    story_put(s, STORY_RETRY, (jobq_job){.queue = "other"}, -1);
    story_put(s, STORY_CANCEL, (jobq_job){.delay_ms = 2 * JOBQ_HOUR}, -1);
    story_put(s, STORY_FAIL, (jobq_job){.key = "failing"}, -1);
    story_put(s, STORY_DELETE, (jobq_job){.delay_ms = 2 * JOBQ_HOUR, .key = "gone"}, -1);
    story_put(s, STORY_SAVE, (jobq_job){.priority = -1}, -1);
    story_put(s, STORY_BRIEF, (jobq_job){.kind = "brief"}, -1);
    story_put(s, STORY_PARKED, (jobq_job){.kind = "late"}, -1);
    story_put(s, STORY_BIG, (jobq_job){.priority = 2}, -1);
}

static inline void story_tell(struct story *s) {
    if (!story_open(s)) return;
    story_register(s);
    story_put_first(s, true);
    story_cancel(s);
    story_delete(s);
    story_idle(s);
    story_look(s);
    story_retry_now(s);
    story_flush(s);
    story_advance(s, 2 * JOBQ_MINUTE);
    story_put(s, STORY_LAST, (jobq_job){.queue = "another"}, -1);
    story_idle(s);
    if (s->at_end) s->at_end(s);
    s->closing = story_now(s);
    story_close(s);
    if (!story_open(s)) return;
    story_register(s);
    story_idle(s);
    story_close(s);
}

static inline void story_end(struct story *s) {
    jobq_clock_free(s->options.clock);
    s->options.clock = NULL;
}

/* ---- Afterwards ---- */


static inline void story_check_present(const struct story *s, const struct story *after, int n,
                                       int present, struct story_end end) {
    const struct story_job *job = &s->jobs[n];
    enum story_fate stored = story_fate(s, &job->stored, end);
    enum story_fate deleted = story_fate(s, &job->deleted, end);
    /* What is kept for a second is gone by now; whether it ran is another question. */
    if (n == STORY_BRIEF) deleted = STORY_MAYBE;
    if (stored == STORY_NO || deleted == STORY_YES) CHECK_INT(present, 0);
    else if (stored == STORY_YES && deleted == STORY_NO) CHECK_INT(present, 1);
    else CHECK(present <= 1);
    if (stored == STORY_NO) CHECK_INT(job->runs + after->jobs[n].runs, 0);
    if (stored == STORY_YES && n == STORY_BRIEF) CHECK(job->runs + after->jobs[n].runs > 0);
}

static inline void story_check_state(const struct story *s, int n, jobq_state state,
                                     struct story_end end) {
    const struct story_job *job = &s->jobs[n];
    enum story_fate cancelled = story_fate(s, &job->cancelled, end);
    enum story_fate revived = story_fate(s, &job->revived, end);
    bool may_be_done = cancelled != STORY_YES, may_have_failed = false;
    if (n == STORY_FAIL) {
        may_have_failed = revived != STORY_YES;
        may_be_done = revived != STORY_NO || !job->had_failed
                   || (end.power_cut && s->options.durability == JOBQ_RELAXED);
    }
    if (state == JOBQ_STATE_DONE) CHECK(may_be_done);
    else if (state == JOBQ_STATE_FAILED) CHECK(may_have_failed);
    else if (CHECK_INT(state, JOBQ_STATE_CANCELLED)) CHECK(cancelled != STORY_NO);
}

/* Counts the jobs of each number and checks their states. */
static inline void story_check_jobs(const struct story *s, jobq *q, struct story_end end,
                                    int *present) {
    jobq_info infos[2 * STORY_NUMBERS];
    jobq_cursor cursor;
    size_t count = 0;
    memset(&cursor, 0, sizeof cursor);
    WORKS(jobq_list(q, NULL, &cursor, infos, 2 * STORY_NUMBERS, &count, &err));
    CHECK(cursor.done);
    for (size_t i = 0; i < count; i++) {
        int n = -1;
        WORKS(jobq_get_payload(q, infos[i].id, &n, sizeof n, NULL, &err));
        if (!CHECK(n >= 0 && n < STORY_NUMBERS)) continue;
        present[n]++;
        if (n < STORY_JOBS) story_check_state(s, n, infos[i].state, end);
        else CHECK_INT(infos[i].state, JOBQ_STATE_DONE);
        CHECK(infos[i].crashes <= (n == s->blamed));
    }
}

/* The file is sound, and each transaction's effects are there as often as its completion. */
static inline void story_check_notes(const char *path, const int *present) {
    sqlite3 *db = sql_open(path);
    sqlite3_stmt *statement = NULL;
    int notes[STORY_JOBS] = {0};
    if (CHECK_INT(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &statement, NULL), 0)
        && CHECK_INT(sqlite3_step(statement), SQLITE_ROW))
        CHECK_STR((const char *)sqlite3_column_text(statement, 0), "ok");
    sqlite3_finalize(statement);
    statement = NULL;
    if (sqlite3_prepare_v2(db, "SELECT n FROM note", -1, &statement, NULL) == SQLITE_OK)
        while (sqlite3_step(statement) == SQLITE_ROW) {
            int n = sqlite3_column_int(statement, 0);
            if (CHECK(n >= 0 && n < STORY_JOBS)) notes[n]++;
        }
    sqlite3_finalize(statement);
    sqlite3_close(db);
    for (int n = 0; n < STORY_JOBS; n++) {
        CHECK_INT(notes[n], story_is_tx(n) ? present[n] : 0);
        CHECK_INT(present[STORY_CHILD + n], notes[n]);
    }
}

/* Opens what is at path, which may be a copy, as the next owner would; lets it come to rest, and
 * compares it with what was told. again (or NULL) gets the runs that this took. */
static inline void story_check(const struct story *s, const char *path, struct story_end end,
                               struct story *again) {
    int present[STORY_NUMBERS] = {0};
    struct story after;
    story_begin(&after, path, JOBQ_RELAXED);
    after.before = s;
    after.end = end;
    after.may_succeed = true;
    jobq_clock_advance(after.options.clock, 3 * JOBQ_HOUR);
    if (CHECK(story_open(&after))) {
        story_register(&after);
        drain(after.q);
        advance(after.q, JOBQ_HOUR);
        story_check_jobs(s, after.q, end, present);
        story_close(&after);
        CHECK_CODE(after.stopped, JOBQ_OK);
        story_check_notes(path, present);
        for (int n = 0; n < STORY_JOBS; n++) story_check_present(s, &after, n, present[n], end);
    }
    story_end(&after);
    if (again) *again = after;
}

/* A passing error costs no run: what was returned was kept. (A job whose transaction could not be
 * committed does run again.) */
static inline void story_check_runs(const struct story *s, const struct story *again) {
    for (int n = 0; n < STORY_JOBS; n++) {
        const struct story_job *job = &s->jobs[n];
        int runs = job->runs + again->jobs[n].runs, wanted = 1;
        if (story_is_tx(n) || job->stored.fate == STORY_MAYBE) continue;
        if (n == STORY_RETRY && s->may_lose_result) continue;
        if (job->stored.fate == STORY_NO || job->deleted.fate == STORY_YES
            || job->cancelled.fate == STORY_YES) wanted = 0;
        if (wanted && (n == STORY_RETRY || n == STORY_SAVE)) wanted = 2;
        if (wanted && n == STORY_FAIL && job->revived.fate == STORY_YES) wanted = 2;
        if (!CHECK_INT(runs, wanted)) test_note("job %d", n);
    }
}

#endif
