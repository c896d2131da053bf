/* fault_judge.h - crashes a story at every boundary and asks each image whether it is allowed.
 *
 * An image is opened as the next owner would open it. What it holds has to be the state after one
 * act of the story (fault_story.h), and that act is bounded:
 *   - at DURABLE, and after a kill: nothing that was acknowledged is missing;
 *   - at RELAXED: nothing that was acknowledged before the last jobq_flush is missing;
 *   - nothing is there that had not begun.
 * One rule has an addition: a job that ran when its process was killed has one more run and one
 * more crash. After a power cut, whatever the slots say, nobody is charged a crash.
 *
 * Then the image is used: a new job gets an id that was never used, a key that is taken is refused,
 * and everything runs to the end. Each job that had not ended runs once, each that had ended never
 * again, and the rows are as many as the completions.
 *
 *     judge_story(&s, &tally);      all images, with an effort of 1 (with less one of so many
 *                                   boundaries); some of those that are new are used to the end
 *     judge_twice(&s, &tally, 20);  each twentieth is opened under a log of its own, goes on for a
 *                                   while, and is crashed at every boundary of that again
 *     judge_checks(&tally);         all counters of mistakes are zero
 *
 * Equal images are opened once; whether they are allowed is asked each time. */
#ifndef JOBQ_FAULT_JUDGE_H
#define JOBQ_FAULT_JUDGE_H

#include "fault_story.h"

/* Of images that are opened, each JUDGE_USE-th is used. */
enum { JUDGE_KNOWN = 1 << 14, JUDGE_BITS = STORY_ACTS / 8 + 1, JUDGE_NOTES = 8, JUDGE_USE = 8 };

struct tally {
    int64_t images, kills, opened, used, ms;
    int64_t lost, ghosts, torn, corrupt, twice, shut, wrong; /* mistakes */
    int64_t shorter;      /* RELAXED: acknowledged acts are missing, as they may */
    int deepest;          /* so many of them in one image */
    int stories, notes, clients, steps;
};

struct judge_known {
    uint64_t hash;
    unsigned char can[JUDGE_BITS];
};

struct judge {
    struct story *s;
    struct tally *tally;
    const char *path;
    /* The crash. */
    int n;
    enum fault_damage damage;
    bool killed;                     /* the process, not the power */
    const struct story_slots *slots; /* what they say; NULL: nothing */
    int64_t running;                 /* whom they blame */
    int lowest, highest, acknowledged; /* acts */
    /* The image. */
    jobq *q;
    sqlite3 *db;
    jobq_clock *clock;
    jobq_info list[STORY_JOBS + 8];
    const jobq_info *seen[STORY_JOBS];
    int effects[STORY_JOBS], runs[STORY_JOBS];
    unsigned char can[JUDGE_BITS]; /* the acts whose state it may be */
    int act;                       /* the first of them that is allowed */
    int64_t after, after_key;      /* jobs enqueued by the judge, and how often they ran */
    int after_runs;
    struct judge_known known[JUDGE_KNOWN];
};

static struct judge judges[2]; /* large; of a story, and of one that begins with an image of it */

/* ---- Complaints ---- */

static inline const char *judge_how(const struct judge *j) {
    return !j->killed ? fault_damage_names[j->damage] : j->running ? "killed in a run" : "killed";
}

JOBQ_PRINTF(3, 4)
static inline void judge_complain(struct judge *j, int64_t *counter, const char *format, ...) {
    char text[256];
    va_list args;
    ++*counter;
    if (j->tally->notes++ >= JUDGE_NOTES) return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    test_note("%s, seed %" PRIu64 ", cut at %d of %d, %s (during %s): %s", j->s->name, j->s->seed,
              j->n, j->s->log.count, judge_how(j),
              j->highest > 0 ? j->s->acts[j->highest - 1].verb : "nothing", text);
}

/* ---- Which acts are allowed ---- */

static inline bool judge_can(const struct judge *j, int act) {
    return j->can[act / 8] & (1 << act % 8);
}

static inline void judge_cannot(struct judge *j, int act) {
    j->can[act / 8] &= (unsigned char)~(1 << act % 8);
}

/* How many acts must, and how many may, be in an image of a crash at j->n. */
static inline void judge_bounds(struct judge *j) {
    const struct story *s = j->s;
    bool all = j->killed || s->options.durability == JOBQ_DURABLE;
    j->lowest = j->highest = j->acknowledged = 0;
    for (int i = 0; i < s->act_count; i++) {
        const struct story_act *act = &s->acts[i];
        if (act->from <= j->n) j->highest = i + 1;
        if (act->to <= j->n) j->acknowledged = i + 1;
        if (act->to <= j->n && (all || act->flush)) j->lowest = i + 1;
    }
}

/* ---- What an image holds ---- */

static inline bool judge_row(struct judge *j, const char *sql, int64_t *a, int64_t *b,
                             sqlite3_stmt **statement) {
    if (!*statement && sqlite3_prepare_v2(j->db, sql, -1, statement, NULL) != SQLITE_OK)
        return false;
    if (sqlite3_step(*statement) == SQLITE_ROW) {
        *a = sqlite3_column_int64(*statement, 0);
        *b = sqlite3_column_int64(*statement, 1);
        return true;
    }
    sqlite3_finalize(*statement);
    *statement = NULL;
    return false;
}

/* A job that was lost may have left its id to one of the judge's. */
static inline struct story_job *judge_find(const struct judge *j, int64_t id) {
    return id == j->after || id == j->after_key ? NULL : story_find(j->s, id);
}

static inline void judge_read_effects(struct judge *j) {
    sqlite3_stmt *statement = NULL;
    int64_t id, count;
    memset(j->effects, 0, sizeof j->effects);
    while (judge_row(j, "SELECT job, count(*) FROM effect GROUP BY job", &id, &count,
                     &statement)) {
        struct story_job *job = judge_find(j, id);
        if (job) j->effects[job - j->s->jobs] = (int)count;
        else judge_complain(j, &j->tally->ghosts, "a row of a job that"
                                                " was never told of, %" PRId64, id);
    }
}

static inline void judge_read_jobs(struct judge *j) {
    size_t count = story_list(j->q, j->list, sizeof j->list / sizeof j->list[0]);
    memset(j->seen, 0, sizeof j->seen);
    for (size_t i = 0; i < count; i++) {
        int64_t id = j->list[i].id;
        struct story_job *job = judge_find(j, id);
        if (job) j->seen[job - j->s->jobs] = &j->list[i];
        else if (id != j->after && id != j->after_key)
            judge_complain(j, &j->tally->ghosts, "job %" PRId64 " was never told of", id);
    }
}

/* A file that jobq has made is known as such, and can become smaller, however it was made. */
static inline void judge_settings(struct judge *j) {
    static const char *const texts[] = {"PRAGMA auto_vacuum", "PRAGMA application_id"};
    for (int i = 0; i < 2 && !j->s->options.join; i++) {
        sqlite3_stmt *statement = NULL;
        int64_t value = 0, none;
        judge_row(j, texts[i], &value, &none, &statement);
        sqlite3_finalize(statement);
        if (!value) judge_complain(j, &j->tally->torn, "%s is not set", texts[i]);
    }
}

static inline void judge_integrity(struct judge *j) {
    sqlite3_stmt *statement = NULL;
    const char *text = "it cannot be asked";
    int64_t extra = 0, broken = 0, none;
    if (sqlite3_prepare_v2(j->db, "PRAGMA integrity_check", -1, &statement, NULL) == SQLITE_OK
        && sqlite3_step(statement) == SQLITE_ROW)
        text = (const char *)sqlite3_column_text(statement, 0);
    if (strcmp(text, "ok") != 0) judge_complain(j, &j->tally->corrupt, "%.200s", text);
    sqlite3_finalize(statement);
    statement = NULL;
    judge_row(j, MISCOUNTED, &broken, &none, &statement);
    sqlite3_finalize(statement);
    statement = NULL;
    if (broken) judge_complain(j, &j->tally->wrong, "%d counters are wrong", (int)broken);
    broken = 0;
    /* What stands beside a job comes and goes with it. */
    judge_row(j, "SELECT count(*) FROM (SELECT job FROM jobq_extra UNION ALL"
              " SELECT job FROM jobq_key UNION ALL SELECT job FROM jobq_payload)"
              " WHERE job NOT IN (SELECT id FROM jobq_row)", &extra, &none, &statement);
    sqlite3_finalize(statement);
    statement = NULL;
    if (extra) judge_complain(j, &j->tally->torn, "%" PRId64 " rows belong to no job", extra);
    /* A payload that stands apart is whole, and a key is held exactly until its job ends. */
    if (!judge_row(j, "SELECT count(*) FROM jobq_row r WHERE (r.side & 8 <> 0) <> coalesce("
                   "(SELECT length(data) = r.payload FROM jobq_payload WHERE job = r.id), 0)"
                   " OR (r.side & 2 <> 0) <> coalesce((SELECT k.held = (r.state < 2)"
                   " FROM jobq_key k JOIN jobq_extra x ON x.job = k.job AND x.key = k.key"
                   " WHERE k.job = r.id AND k.kind = r.kind), 0)", &broken, &none, &statement))
        broken = -1;
    sqlite3_finalize(statement);
    if (broken)
        judge_complain(j, &j->tally->torn, "%" PRId64 " jobs are not as their side says", broken);
    judge_settings(j);
}

/* The same as jobq sees it, more of it and more slowly. */
static inline void judge_file(struct judge *j) {
    char fault[256];
    if (*fault_of(j->q, fault)) judge_complain(j, &j->tally->torn, "%s", fault);
}

/* ---- Is it the state after some act? ---- */

/* What the next owner makes of a job that ran: one run more, and a crash if it is blamed. */
static inline jobq_info judge_charged(const struct judge *j, const jobq_info *told) {
    jobq_info info = *told;
    info.runs++;
    if (j->killed) info.crashes++;
    return info;
}

/* A duration is due when it has passed, wherever the clock is set: by the wall that is up to half
 * an hour sooner or later, or twice that, when the story has set it meanwhile, and sets it after
 * the cut. Not exactly: what passed after the last commit that an image has nobody knows then. */
static inline bool judge_same_info(const struct judge *j, const jobq_info *seen,
                                   const jobq_info *told) {
    int64_t off_ms = seen->run_at_ms - told->run_at_ms;
    jobq_info moved = *told;
    if (j->s->steps && seen->state == JOBQ_STATE_PENDING
        && off_ms >= -JOBQ_HOUR && off_ms <= JOBQ_HOUR)
        moved.run_at_ms = seen->run_at_ms;
    return story_same_info(seen, &moved);
}

static inline bool judge_fits(const struct judge *j, int job, const struct told *told, int act) {
    const jobq_info *seen = j->seen[job];
    jobq_info charged;
    bool died = j->running && j->s->jobs[job].id == j->running && told && told->there
             && !story_terminal(&told->info) && !(j->slots->recovering && act > 0);
    if (j->effects[job] != (told ? told->effects : 0)) return false;
    if (!told || !told->there) return !seen;
    if (!seen) return told->pruned;
    if (j->s->loose) return seen->state == told->info.state;
    if (told->wished) {
        jobq_info wished = told->info;
        wished.finished_at_ms = seen->finished_at_ms; /* when it was opened again */
        return judge_same_info(j, seen, &wished);
    }
    if (!died) return judge_same_info(j, seen, &told->info);
    charged = judge_charged(j, &told->info);
    /* After a power cut the claim itself may be lost. */
    return judge_same_info(j, seen, &charged)
        || (!j->killed && judge_same_info(j, seen, &told->info));
}

static inline void judge_compare_job(struct judge *j, int job) {
    const struct story_job *of = &j->s->jobs[job];
    int version = -1;
    for (int act = 0; act <= j->s->act_count; act++) {
        while (version + 1 < of->count && of->told[version + 1].act < act) version++;
        if (judge_can(j, act)
            && !judge_fits(j, job, version < 0 ? NULL : &of->told[version], act))
            judge_cannot(j, act);
    }
}

/* To say what is wrong: the first job that does not look as after any of the acts that are allowed,
 * or NULL. Only for an image that is open. */
static inline const struct story_job *judge_misfit(struct judge *j, const jobq_info **seen) {
    for (int i = 0; i < j->s->job_count; i++) {
        bool fits = false;
        memset(j->can, 0xff, sizeof j->can);
        judge_compare_job(j, i);
        for (int act = j->lowest; act <= j->highest; act++) fits = fits || judge_can(j, act);
        *seen = j->seen[i];
        if (!fits) return &j->s->jobs[i];
    }
    return NULL;
}

static inline void judge_explain(struct judge *j) {
    const jobq_info *seen;
    const struct story_job *job = judge_misfit(j, &seen);
    if (!job) test_note("  each job fits some act, but no act fits all");
    else if (!seen) test_note("  job %" PRId64 " is not there", job->id);
    else test_note("  job %" PRId64 " is %s, attempt %d, runs %d, crashes %d", job->id,
                   jobq_state_name(seen->state), seen->attempt, seen->runs, seen->crashes);
}

static inline void judge_compare(struct judge *j) {
    memset(j->can, 0xff, sizeof j->can);
    for (int i = 0; i < j->s->act_count; i++)
        if (j->s->acts[i].joined) judge_cannot(j, i + 1);
    for (int i = 0; i < j->s->job_count; i++) judge_compare_job(j, i);
}

/* True if the image is allowed at this cut. */
static inline bool judge_verdict(struct judge *j) {
    int first = -1, last = -1;
    j->act = -1;
    for (int act = 0; act <= j->s->act_count; act++) {
        if (!judge_can(j, act)) continue;
        if (first < 0) first = act;
        last = act;
        if (j->act < 0 && act >= j->lowest && act <= j->highest) j->act = act;
    }
    if (j->act >= 0) {
        int missing = j->acknowledged - last;
        if (missing > 0) j->tally->shorter++;
        if (missing > j->tally->deepest) j->tally->deepest = missing;
        return true;
    }
    if (last < 0) judge_complain(j, &j->tally->torn, "it is the state after no act");
    else if (last < j->lowest)
        judge_complain(j, &j->tally->lost, "act %d is the last, %d were acknowledged: %s", last,
                       j->lowest, j->s->acts[last].verb);
    else judge_complain(j, &j->tally->ghosts, "act %d is there, %d had begun", first, j->highest);
    return false;
}

/* ---- Using it to the end ---- */

static inline const struct told *judge_told(const struct judge *j, int job, int act) {
    const struct story_job *of = &j->s->jobs[job];
    const struct told *told = NULL;
    for (int i = 0; i < of->count && of->told[i].act < act; i++) told = &of->told[i];
    return told;
}

static inline bool judge_live(const struct told *told) {
    return told && told->there && !story_terminal(&told->info);
}

static inline bool judge_has_bytes(const void *data, size_t size, int tag) {
    char bytes[STORY_BIG];
    if (size != story_size(tag)) return false;
    return size == 0 || (data && memcmp(data, story_bytes(tag, bytes), size) == 0);
}

/* Acts whose state looks the same may differ in the checkpoint. */
static inline bool judge_saved_fits(const struct judge *j, int job, const void *data, size_t size) {
    for (int act = j->lowest; act <= j->highest; act++) {
        const struct told *told = judge_told(j, job, act);
        int saved = told ? told->saved : 0;
        if (judge_can(j, act) && (saved ? judge_has_bytes(data, size, saved) : !data)) return true;
    }
    return false;
}

static inline void judge_run_known(struct judge *j, jobq_run *run, int job) {
    size_t size, saved_size;
    const void *payload = jobq_run_payload(run, &size);
    const void *saved = jobq_run_checkpoint(run, &saved_size);
    j->runs[job]++;
    if (!judge_live(judge_told(j, job, j->act)))
        judge_complain(j, &j->tally->twice, "job %" PRId64 " had ended and runs again",
                       j->s->jobs[job].id);
    if (!j->s->loose && !judge_has_bytes(payload, size, j->s->jobs[job].tag))
        judge_complain(j, &j->tally->wrong, "the payload of job %" PRId64, j->s->jobs[job].id);
    if (!j->s->loose && !judge_saved_fits(j, job, saved, saved_size))
        judge_complain(j, &j->tally->wrong, "the checkpoint of job %" PRId64, j->s->jobs[job].id);
}

/* ctx is the judge. Jobs of the kind money write their row. */
static inline jobq_outcome judge_handle(jobq_run *run, void *ctx) {
    struct judge *j = (struct judge *)ctx;
    const struct story_job *job = judge_find(j, jobq_run_id(run));
    if (job) judge_run_known(j, run, (int)(job - j->s->jobs));
    else j->after_runs++;
    if (strcmp(jobq_run_kind(run), "money") == 0) story_write_row(run);
    return JOBQ_DONE;
}

/* A new id is above all that were committed; a key is free if and only if nobody has it. */
static inline void judge_enqueue(struct judge *j) {
    int64_t holder = 0, highest = 0;
    jobq_error err = {.code = 0};
    int rc;
    for (int i = 0; i < j->s->job_count; i++) {
        const struct told *told = judge_told(j, i, j->act);
        if (told) highest = j->s->jobs[i].id;
        if (judge_live(told) && strcmp(told->info.kind, "plain") == 0
            && strcmp(told->info.key, story_keys[0]) == 0) holder = j->s->jobs[i].id;
    }
    rc = jobq_enqueue(j->q, &(jobq_job){.kind = "plain"}, &j->after, NULL);
    if (rc != JOBQ_OK || j->after <= highest)
        judge_complain(j, &j->tally->wrong, "a new job gets the id %" PRId64 ", and %s",
                       j->after, jobq_code_name(rc));
    rc = jobq_enqueue(j->q, &(jobq_job){.kind = "plain", .key = story_keys[0],
                                        .conflict = JOBQ_REFUSE}, &j->after_key, &err);
    if (holder ? rc != JOBQ_EXISTS || err.id != holder : rc != JOBQ_OK)
        judge_complain(j, &j->tally->wrong, "the key of job %" PRId64 ": %s", holder,
                       jobq_code_name(rc));
}

/* A job that had not ended has run once, and is done or, if its kind is not kept, gone. One whose
 * kind has no handler waits for one. */
static inline bool judge_ended_well(const struct judge *j, int job, const struct told *told) {
    const jobq_info *seen = j->seen[job];
    const char *kind = told->info.kind;
    if (strcmp(kind, "nobody's") == 0) return j->runs[job] == 0 && seen && seen->parked;
    if (strcmp(kind, "brief") == 0) return j->runs[job] == 1 && !seen;
    return j->runs[job] == 1 && seen && seen->state == JOBQ_STATE_DONE;
}

static inline void judge_check_end(struct judge *j) {
    for (int i = 0; i < j->s->job_count; i++) {
        const struct told *told = judge_told(j, i, j->act);
        bool live = judge_live(told);
        int rows = (told ? told->effects : 0) + (live && strcmp(told->info.kind, "money") == 0);
        if (live && !judge_ended_well(j, i, told))
            judge_complain(j, &j->tally->wrong, "job %" PRId64 " ran %d times and is %s",
                           j->s->jobs[i].id, j->runs[i], jobq_state_name(
                           j->seen[i] ? j->seen[i]->state : JOBQ_STATE_NONE));
        if (j->effects[i] != rows)
            judge_complain(j, &j->tally->twice, "job %" PRId64 " has %d rows, not %d",
                           j->s->jobs[i].id, j->effects[i], rows);
    }
    if (j->after_runs != 1 + (j->after_key != 0))
        judge_complain(j, &j->tally->wrong, "%d of the new jobs have run", j->after_runs);
}

static inline void judge_use(struct judge *j) {
    jobq_error err = {.code = 0};
    int rc;
    j->tally->used++;
    memset(j->runs, 0, sizeof j->runs);
    j->after_runs = 0;
    judge_file(j);
    judge_enqueue(j);
    for (int i = 0; i < 3; i++) handle_kind(j->q, story_kind(i, judge_handle, j));
    rc = jobq_run_until_idle(j->q, NULL, &err);
    if (rc == JOBQ_OK) rc = jobq_advance(j->q, 2 * JOBQ_HOUR, NULL, &err);
    if (rc != JOBQ_OK) judge_complain(j, &j->tally->wrong, "it does not run: %s", err.text);
    judge_read_jobs(j);
    judge_read_effects(j);
    judge_check_end(j);
    judge_integrity(j);
}

/* ---- One image ---- */

/* Four lanes side by side: images are large. */
static inline uint64_t judge_hash_bytes(uint64_t hash, const void *data, size_t size) {
    const unsigned char *at = (const unsigned char *)data;
    uint64_t lanes[4] = {hash, hash + 1, hash + 2, size}, words[4];
    for (; size > 0; at += sizeof words) {
        size_t part = size < sizeof words ? size : sizeof words;
        if (part < sizeof words) memset(words, 0, sizeof words);
        memcpy(words, at, part);
        for (int i = 0; i < 4; i++) {
            lanes[i] = (lanes[i] ^ words[i]) * UINT64_C(0x9e3779b97f4a7c15);
            lanes[i] ^= lanes[i] >> 29;
        }
        size -= part;
    }
    for (int i = 1; i < 4; i++) lanes[0] = (lanes[0] ^ lanes[i]) * UINT64_C(0xd6e8feb86659fd93);
    return lanes[0] ^ lanes[0] >> 31;
}

static inline uint64_t judge_hash(const struct judge *j) {
    char name[DISK_NAME + 8];
    uint64_t hash = 1;
    /* Slots without a run say nothing. */
    if (j->slots && (j->running || j->s->loose)) {
        hash += (uint64_t)j->killed + 2 * (uint64_t)j->slots->recovering;
        hash = judge_hash_bytes(hash, &j->running, sizeof j->running);
        hash = judge_hash_bytes(hash, j->slots->page, j->slots->size);
    }
    pthread_mutex_lock(&fault.mutex);
    for (int i = 0; i < 3; i++) {
        const struct disk_file *f;
        snprintf(name, sizeof name, "%s%s", j->path, fault_endings[i]);
        f = disk_find(name);
        hash = f ? judge_hash_bytes(hash, f->data, (size_t)f->size) : hash * 3;
    }
    pthread_mutex_unlock(&fault.mutex);
    return hash ? hash : 1;
}

/* The place of that image in the table, empty or not; an overfull table forgets. */
static inline struct judge_known *judge_place(struct judge *j, uint64_t hash) {
    for (uint64_t i = 0; i < 16; i++) {
        struct judge_known *known = &j->known[(hash + i) % JUDGE_KNOWN];
        if (known->hash == hash || known->hash == 0) return known;
    }
    memset(j->known, 0, sizeof j->known);
    return &j->known[hash % JUDGE_KNOWN];
}

static inline bool judge_open(struct judge *j) {
    jobq_options options = j->s->options;
    jobq_error err = {.code = 0};
    j->clock = jobq_clock_artificial(jobq_clock_now(j->s->clock));
    options.clock = j->clock;
    j->tally->opened++;
    j->after = j->after_key = 0;
    if (jobq_open(j->path, &options, &j->q, &err) == JOBQ_OK
        && sqlite3_open(j->path, &j->db) == SQLITE_OK) return true;
    judge_complain(j, &j->tally->shut, "%s: %s", jobq_code_name(err.code), err.text);
    jobq_close(&j->q);
    return false;
}

/* True if the image at j->path is allowed. */
static inline bool judge_image(struct judge *j) {
    uint64_t hash = judge_hash(j);
    struct judge_known *known = judge_place(j, hash);
    bool good = false;
    j->tally->images++;
    j->tally->kills += j->killed;
    if (known->hash == hash) {
        memcpy(j->can, known->can, sizeof j->can);
        return judge_verdict(j);
    }
    if (judge_open(j)) {
        judge_read_jobs(j);
        judge_read_effects(j);
        judge_integrity(j);
        judge_compare(j);
        known->hash = hash;
        memcpy(known->can, j->can, sizeof j->can);
        good = judge_verdict(j);
        if (good && j->tally->opened % JUDGE_USE == 0) judge_use(j);
        if (!good && j->tally->notes <= JUDGE_NOTES) judge_explain(j);
        sqlite3_close(j->db);
        CHECK_CODE(jobq_close(&j->q), JOBQ_OK);
    }
    jobq_clock_free(j->clock);
    return good;
}

/* ---- Crashes ---- */

/* After a power cut the slots are those of another boot. */
static inline void judge_write_slots(const char *path, const struct story_slots *slots,
                                     bool other_boot) {
    char boot[64] = "";
    struct story_slots copy = *slots;
    FILE *file = other_boot ? fopen("/proc/sys/kernel/random/boot_id", "rb") : NULL;
    size_t length = file ? fread(boot, 1, 36, file) : 0;
    if (file) fclose(file);
    for (size_t i = 0; length && i + length <= copy.size; i++)
        if (memcmp(copy.page + i, boot, length) == 0) copy.page[i] ^= 1;
    fault_cut_slots(path, copy.page, copy.size);
}

/* What the crash leaves behind. */
static inline void judge_make(struct judge *j, const struct fault_cut *cut, const char *path) {
    uint64_t seed = j->s->seed * 1000003 + (uint64_t)j->n * 8 + (uint64_t)j->damage;
    fault_cut_image(cut, j->damage, &seed, path);
    if (j->slots) judge_write_slots(path, j->slots, !j->killed);
}

/* The first of the notes that hold at the cut; *end is behind the last. */
static inline int judge_slots(const struct story *s, int n, int *end) {
    int first = 0;
    for (*end = 0; *end < s->slot_count && s->slots[*end].at <= n; ++*end)
        if (s->slots[*end].at < n) first = *end;
    return first;
}

/* The i-th crash at j->n: the damages of a power cut, and then the deaths of the process, with each
 * of the slots that it had there. Sometimes slots outlive a power cut. False if there is none. */
static inline bool judge_crash(struct judge *j, int i) {
    int end, first = judge_slots(j->s, j->n, &end);
    const struct story_slots *last = end > first ? &j->s->slots[end - 1] : NULL;
    j->killed = i >= FAULT_DAMAGES;
    if (j->killed && i - FAULT_DAMAGES >= end - first) return false;
    j->damage = j->killed ? FAULT_KEEP : (enum fault_damage)i;
    j->slots = j->killed ? &j->s->slots[first + i - FAULT_DAMAGES]
             : last && last->running && !last->recovering && (j->n + i) % 2 ? last : NULL;
    j->running = j->slots ? j->slots->running : 0;
    judge_bounds(j);
    return true;
}

/* What to do with an image that is allowed, if anything. */
typedef void (*judge_then)(struct judge *j, const struct fault_cut *cut, void *arg);

/* With little effort, or in a slow build, not every boundary: one of so many. */
static inline int judge_stride(void) {
    return (int)(16 / (test_effort(16) < 16 ? test_effort(16) : 16));
}

static inline void judge_cuts(struct judge *j, struct story *s, struct tally *tally,
                              const char *path, judge_then then, void *arg) {
    int stride = judge_stride(), first = s->log.base + (int)(s->seed % (uint64_t)stride);
    int until = s->until ? s->until : s->log.count;
    struct fault_cut cut;
    memset(j, 0, sizeof *j);
    j->s = s;
    j->tally = tally;
    j->path = path;
    fault_cut_begin(&cut, &s->log);
    for (j->n = first; j->n <= until; j->n += stride) {
        fault_cut_to(&cut, j->n);
        for (int i = 0; judge_crash(j, i); i++) {
            judge_make(j, &cut, path);
            if (judge_image(j) && then) then(j, &cut, arg);
        }
    }
    fault_cut_end(&cut);
    fault_remove(path);
}

static inline void judge_story(struct story *s, struct tally *tally) {
    int64_t start_ms = test_real_ms();
    judge_cuts(&judges[0], s, tally, test_path("image.db"), NULL, NULL);
    tally->stories++;
    tally->clients += s->clients;
    tally->steps += s->steps;
    tally->ms += test_real_ms() - start_ms;
}

/* ---- The second crash ---- */

struct judge_again {
    int each, count, runs;
    struct tally *tally;
};

/* Those that were killed in a run are few, and have the most to recover. */
static inline bool judge_is_chosen(const struct judge *j, struct judge_again *again) {
    if (j->running) return again->runs++ % (again->each / 25) == 0;
    return ++again->count % again->each == again->each / 2;
}

/* If two acts look the same, it is not known what went before the second story. */
static inline bool judge_certain(const struct judge *j) {
    int acts = 0;
    for (int act = j->lowest; act <= j->highest; act++) acts += judge_can(j, act);
    return acts == 1;
}

/* A story that begins with the image. */
static inline void judge_adopt(struct judge *j, struct story *to) {
    const struct story *from = j->s;
    story_init(to, from->name, from->options.durability, from->seed + (uint64_t)j->n);
    to->path = test_path("again.db");
    to->options = from->options;
    to->options.clock = to->clock;
    jobq_clock_set(to->clock, jobq_clock_now(from->clock));
    to->wrong_ms = from->wrong_ms;
    to->tags = from->tags;
    to->expired = from->expired;
    to->running = j->running;
    to->recovering = j->running != 0;
    for (int i = 0; i < from->job_count; i++) {
        const struct told *told = judge_told(j, i, j->act);
        struct story_job *job = &to->jobs[to->job_count];
        if (!told) continue;
        memset(job, 0, sizeof *job);
        job->id = from->jobs[i].id;
        job->tag = from->jobs[i].tag;
        job->effects = told->effects;
        job->saved = told->saved;
        job->told[job->count++] = *told;
        job->told[0].act = -1;
        to->job_count++;
    }
}

static inline void judge_go_on(struct judge *j, const struct fault_cut *cut, void *arg) {
    static struct story s;
    struct judge_again *again = (struct judge_again *)arg;
    if (!judge_certain(j) || (j->slots && !j->killed) || !judge_is_chosen(j, again)) return;
    judge_adopt(j, &s);
    judge_make(j, cut, s.path);
    if (story_open(&s)) {
        for (int i = 0; i < (again->count + again->runs) % 3; i++) story_any(&s);
        story_close(&s);
        judge_cuts(&judges[1], &s, again->tally, test_path("twice.db"), NULL, NULL);
    }
    again->tally->stories++;
    story_free(&s);
}

/* Each each-th image goes on. */
static inline void judge_twice(struct story *s, struct tally *tally, int each) {
    struct judge_again again = {each, 0, 0, tally};
    int64_t start_ms = test_real_ms();
    judge_cuts(&judges[0], s, tally, test_path("image.db"), judge_go_on, &again);
    tally->stories++;
    tally->ms += test_real_ms() - start_ms;
}

/* ---- Sums ---- */

static inline void judge_add(struct tally *to, const struct tally *tally) {
    to->images += tally->images;
    to->kills += tally->kills;
    to->opened += tally->opened;
    to->used += tally->used;
    to->ms += tally->ms;
    to->lost += tally->lost;
    to->ghosts += tally->ghosts;
    to->torn += tally->torn;
    to->corrupt += tally->corrupt;
    to->twice += tally->twice;
    to->shut += tally->shut;
    to->wrong += tally->wrong;
    to->shorter += tally->shorter;
    to->stories += tally->stories;
    to->clients += tally->clients;
    to->steps += tally->steps;
    if (tally->deepest > to->deepest) to->deepest = tally->deepest;
}

static inline int64_t judge_per_second(const struct tally *tally) {
    return tally->ms ? tally->images * 1000 / tally->ms : tally->images;
}

static inline void judge_checks(const struct tally *tally) {
    CHECK_INT(tally->lost, 0);
    CHECK_INT(tally->ghosts, 0);
    CHECK_INT(tally->torn, 0);
    CHECK_INT(tally->corrupt, 0);
    CHECK_INT(tally->twice, 0);
    CHECK_INT(tally->shut, 0);
    CHECK_INT(tally->wrong, 0);
}

#endif
