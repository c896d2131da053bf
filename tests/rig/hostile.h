/* hostile.h - a queue with one of everything, and a play that calls all there is on a file which
 * somebody has damaged.
 *
 * hostile_make writes the good file: jobs that wait, are due later, were claimed by a process that
 * died, were tried again, have keys, messages, results, checkpoints, large payloads, and the dead
 * letters. hostile_play opens such a file as owner or as client, does everything with it and
 * reports what it saw: the first code that tells of damage, its sentence, and whether listings came
 * to an end. The play itself never fails for a code; what must not happen is a crash, a listing
 * without end, or a payload that no job ever had. Who plays has an alarm set for a call that does
 * not return. */
#ifndef JOBQ_TEST_HOSTILE_H
#define JOBQ_TEST_HOSTILE_H

#include "helpers.h"

/* Ids that the good file holds at most, and that a play asks for. */
#define HOSTILE_JOBS 64
#define HOSTILE_LARGE 9000

struct hostile_seen {
    int code;             /* the first that tells of damage; JOBQ_OK: none did */
    char text[sizeof ((jobq_error *)NULL)->text];       /* its sentence */
    int latched;          /* jobq_stats.failed_code at the end; the open's code if it failed */
    int64_t ran;          /* handlers that ran */
    int64_t wrong;        /* payloads that are none of ours */
    int64_t listed;       /* rows that listings told of */
    bool endless;         /* a listing went on and on */
};

/* ---- Payloads that tell whether they are whole ---- */

static inline size_t hostile_payload(unsigned char *to, int64_t n, size_t size) {
    uint64_t state = (uint64_t)n * 977 + 5;
    size_t i;
    if (size < 24) size = 24;
    memset(to, 0, 24);
    snprintf((char *)to, 24, "%d %d", (int)n, (int)size);
    for (i = 24; i < size; i++) to[i] = (unsigned char)test_random(&state);
    return size;
}

static inline bool hostile_whole(const void *payload, size_t size) {
    static unsigned char wanted[HOSTILE_LARGE + 64];
    int n = 0, told = 0;
    char head[25] = "";
    if (size == 0) return true; /* some jobs have none */
    if (size < 24 || size > sizeof wanted) return false;
    memcpy(head, payload, 24);
    if (sscanf(head, "%d %d", &n, &told) != 2 || told != (int)size) return false;
    if (n < 0 || n > 1000000) return false;
    hostile_payload(wanted, n, size);
    return memcmp(payload, wanted, size) == 0;
}

/* ---- Handlers ---- */

static inline jobq_outcome hostile_run(jobq_run *run, void *ctx) {
    struct hostile_seen *seen = (struct hostile_seen *)ctx;
    size_t size = 0, whole = 0;
    const void *payload = jobq_run_payload(run, &whole);
    if (seen) {
        seen->ran++;
        if (!hostile_whole(payload, whole)) seen->wrong++;
    }
    jobq_run_checkpoint(run, &size);
    switch (jobq_run_id(run) % 7) {
    case 1: return jobq_retry(run, "no answer");
    case 2: return jobq_fail(run, "never");
    case 3: return jobq_snooze(run, 3 * JOBQ_HOUR);
    case 4: return jobq_done(run, "a result", 8);
    case 5:
        jobq_checkpoint(run, "halfway", 7, NULL);
        return jobq_retry(run, "once more");
    default: return JOBQ_DONE;
    }
}

static inline jobq_outcome hostile_dies(jobq_run *run, void *ctx) {
    (void)run;
    (void)ctx;
    _exit(0);
}

static inline int hostile_register(jobq *q, struct hostile_seen *seen, jobq_handler last,
                                   jobq_error *err) {
    static const char *const names[] = {"mail", "report", "resize"};
    int rc = JOBQ_OK;
    size_t i;
    for (i = 0; i < 3 && rc == JOBQ_OK; i++) {
        jobq_kind kind = {0};
        kind.name = names[i];
        kind.run = i == 2 && last ? last : hostile_run;
        kind.ctx = seen;
        kind.attempts_max = 4;
        rc = jobq_register(q, &kind, err);
    }
    return rc;
}

/* ---- The good file ---- */

static inline void hostile_fill(jobq *q, int from, int count, size_t large) {
    static unsigned char payload[HOSTILE_LARGE + 64];
    static const char *const kinds[] = {"mail", "report", "nobody's"};
    static const char *const queues[] = {"default", "slow", "urgent"};
    int i;
    for (i = from; i < from + count; i++) {
        jobq_job job = {0};
        char key[32];
        job.kind = kinds[i % 7 == 6 ? 2 : i % 2];
        job.queue = queues[i % 3];
        job.priority = i % 5 == 0 ? -i : i % 4;
        if (i % 6 == 3) job.delay_ms = (int64_t)(i + 1) * JOBQ_HOUR;
        snprintf(key, sizeof key, "key %d", i);
        if (i % 4 == 1) job.key = key;
        job.size = hostile_payload(payload, i, i % 8 == 2 ? large : 24 + (size_t)i % 90);
        job.payload = payload;
        CHECK_CODE(jobq_enqueue(q, &job, NULL, NULL), JOBQ_OK);
    }
}

struct hostile_plan {
    const char *path;
    int jobs;
    size_t large;
    bool dies; /* the process ends inside a handler: claimed rows, and a log that is not copied */
};

static inline void hostile_make_child(void *arg) {
    const struct hostile_plan *plan = (const struct hostile_plan *)arg;
    jobq_clock *clock = jobq_clock_artificial(T0);
    jobq_options options = {0};
    jobq_job last = {0};
    jobq *q = NULL;
    options.workers = JOBQ_NONE;
    options.clock = clock;
    options.durability = JOBQ_RELAXED;
    REQUIRE_CODE(jobq_open(plan->path, &options, &q, NULL), JOBQ_OK);
    CHECK_CODE(hostile_register(q, NULL, plan->dies ? hostile_dies : NULL, NULL), JOBQ_OK);
    hostile_fill(q, 0, plan->jobs / 2, plan->large);
    CHECK_CODE(jobq_run_until_idle(q, NULL, NULL), JOBQ_OK);
    CHECK_CODE(jobq_advance(q, 2 * JOBQ_SECOND, NULL, NULL), JOBQ_OK);
    hostile_fill(q, plan->jobs / 2, plan->jobs - plan->jobs / 2, plan->large);
    last.kind = "resize";
    last.queue = "urgent";
    last.priority = -1000;
    if (plan->dies) CHECK_CODE(jobq_enqueue(q, &last, NULL, NULL), JOBQ_OK);
    if (plan->dies) jobq_step(q, NULL, NULL);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    jobq_clock_free(clock);
}

/* In a child, so that the process may die with jobs in its hands. */
static inline bool hostile_make(const char *path, int jobs, size_t large, bool dies) {
    struct hostile_plan plan = {path, jobs, large, dies};
    int status = test_fork(hostile_make_child, &plan);
    return CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---- Files in memory, to be written again and again ---- */

struct hostile_file {
    unsigned char *db, *wal;
    size_t db_size, wal_size;
};

static inline unsigned char *hostile_slurp(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    unsigned char *bytes = NULL;
    *size = 0;
    if (!file) return NULL;
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    bytes = (unsigned char *)malloc(*size + 1);
    if (bytes && fread(bytes, 1, *size, file) != *size) *size = 0;
    fclose(file);
    return bytes;
}

static inline bool hostile_spill(const char *path, const void *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    bool written = file && fwrite(bytes, 1, size, file) == size;
    if (file) written = fclose(file) == 0 && written;
    return CHECK(written);
}

static inline const char *hostile_beside(const char *path, const char *ending) {
    static char beside[1024];
    snprintf(beside, sizeof beside, "%s%s", path, ending);
    return beside;
}

static inline void hostile_remove(const char *path) {
    unlink(path);
    unlink(hostile_beside(path, "-wal"));
    unlink(hostile_beside(path, "-shm"));
    unlink(hostile_beside(path, "-jobq"));
}

/* The file alone, or with the log that a process left which died. */
static inline bool hostile_write(const char *path, const struct hostile_file *file) {
    hostile_remove(path);
    if (!hostile_spill(path, file->db, file->db_size)) return false;
    return !file->wal_size || hostile_spill(hostile_beside(path, "-wal"), file->wal,
                                            file->wal_size);
}

/* A good file; page_size 0: as jobq makes it. */
static inline struct hostile_file hostile_good(int jobs, size_t large, bool dies, int page_size) {
    const char *path = test_path("good.db");
    struct hostile_file file = {NULL, NULL, 0, 0};
    char sql[96];
    sqlite3 *db = NULL;
    if (page_size && CHECK_INT(sqlite3_open(path, &db), SQLITE_OK)) {
        snprintf(sql, sizeof sql, "PRAGMA page_size=%d; PRAGMA auto_vacuum=2; VACUUM", page_size);
        CHECK_INT(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    }
    sqlite3_close(db);
    if (!hostile_make(path, jobs, large, dies)) return file;
    file.db = hostile_slurp(path, &file.db_size);
    file.wal = hostile_slurp(hostile_beside(path, "-wal"), &file.wal_size);
    hostile_remove(path);
    return file;
}

static inline void hostile_free(struct hostile_file *file) {
    free(file->db);
    free(file->wal);
}

/* ---- The play ---- */

static inline bool hostile_is_damage(int code) {
    return code == JOBQ_CORRUPT || code == JOBQ_NOT_A_DB || code == JOBQ_FOREIGN
        || code == JOBQ_NEWER;
}

static inline void hostile_note(struct hostile_seen *seen, int rc, const jobq_error *err) {
    if (seen->code != JOBQ_OK || !hostile_is_damage(rc)) return;
    seen->code = rc;
    snprintf(seen->text, sizeof seen->text, "%s", err->text);
}

#define HOSTILE_TRY(call) \
    do { \
        jobq_error err = {.code = JOBQ_OK}; \
        hostile_note(seen, (call), &err); \
    } while (0)

static inline void hostile_list(jobq *q, struct hostile_seen *seen, jobq_filter filter) {
    jobq_cursor cursor = {0};
    int calls = 0, rc = JOBQ_OK;
    while (rc == JOBQ_OK && !cursor.done) {
        jobq_info infos[8];
        jobq_error err = {.code = JOBQ_OK};
        size_t count = 0;
        rc = jobq_list(q, &filter, &cursor, infos, 8, &count, &err);
        hostile_note(seen, rc, &err);
        seen->listed += (int64_t)count;
        if (++calls <= 2000) continue;
        seen->endless = true;
        break;
    }
}

/* By keys, and one queue's, or one kind's, that wait: the last of all, for these look at rows that
 * others have their own words for. */
static inline void hostile_find(jobq *q, struct hostile_seen *seen) {
    static const char *const kinds[] = {"mail", "report", "nobody's", "lost:3"};
    static const char *const queues[] = {"slow", "another", "lost:4"};
    jobq_filter filter = {0};
    int i;
    for (i = 0; i < 40; i++) {
        char key[32];
        snprintf(key, sizeof key, "key %d", i / 2);
        filter.kind = kinds[i % 2 ? 3 * (i % 3 == 0) : i % 3];
        filter.key = key;
        hostile_list(q, seen, filter);
    }
    filter.key = NULL;
    filter.state = JOBQ_STATE_PENDING;
    for (i = 0; i < 12; i++) {
        filter.kind = i < 8 ? kinds[i / 2] : NULL;
        filter.queue = i < 8 && i % 2 ? NULL : queues[i % 3];
        hostile_list(q, seen, filter);
    }
}

static inline void hostile_look(jobq *q, struct hostile_seen *seen) {
    unsigned char buffer[256];
    jobq_counts counts;
    jobq_info info;
    int64_t id;
    int state;
    size_t size;
    for (state = JOBQ_STATE_NONE; state <= (int)JOBQ_STATE_CANCELLED; state++)
        hostile_list(q, seen, (jobq_filter){.state = (jobq_state)state});
    HOSTILE_TRY(jobq_count(q, &counts, &err));
    for (id = 0; id <= HOSTILE_JOBS; id++) {
        HOSTILE_TRY(jobq_get(q, id, &info, &err));
        HOSTILE_TRY(jobq_get_payload(q, id, buffer, sizeof buffer, &size, &err));
        HOSTILE_TRY(jobq_get_result(q, id, buffer, sizeof buffer, &size, &err));
    }
}

static inline void hostile_add(jobq *q, struct hostile_seen *seen) {
    static unsigned char payload[64];
    jobq_job job = {0};
    int i;
    job.kind = "mail";
    job.size = hostile_payload(payload, 777, 30);
    job.payload = payload;
    HOSTILE_TRY(jobq_enqueue(q, &job, NULL, &err));
    for (i = 0; i < 12; i++) {
        char key[32];
        snprintf(key, sizeof key, "key %d", i);
        job.kind = i % 2 ? "report" : "mail";
        job.key = key;
        job.queue = i % 3 == 0 ? "another" : "slow";
        HOSTILE_TRY(jobq_enqueue(q, &job, NULL, &err));
    }
}

static inline void hostile_change(jobq *q, struct hostile_seen *seen) {
    int64_t id;
    for (id = 1; id < 24; id++) {
        if (id % 3 == 0) HOSTILE_TRY(jobq_cancel(q, id, &err));
        if (id % 3 == 1) HOSTILE_TRY(jobq_retry_now(q, id, &err));
        if (id % 5 == 2) HOSTILE_TRY(jobq_delete(q, id, &err));
    }
}

/* Everything that an owner may do. Look first, or act first: what is touched first finds out. */
static inline void hostile_own(jobq *q, struct hostile_seen *seen, bool look_first) {
    jobq_stats stats;
    int64_t at_ms;
    if (look_first) hostile_look(q, seen);
    HOSTILE_TRY(hostile_register(q, seen, NULL, &err));
    hostile_add(q, seen);
    HOSTILE_TRY(jobq_run_until_idle(q, NULL, &err));
    hostile_change(q, seen);
    HOSTILE_TRY(jobq_next_deadline(q, &at_ms, &err));
    HOSTILE_TRY(jobq_advance(q, JOBQ_DAY, NULL, &err));
    HOSTILE_TRY(jobq_advance(q, 8 * JOBQ_DAY, NULL, &err));
    HOSTILE_TRY(jobq_flush(q, &err));
    if (!look_first) hostile_look(q, seen);
    hostile_find(q, seen);
    if (jobq_stat(q, &stats, NULL) == JOBQ_OK) seen->latched = stats.failed_code;
}

static inline void hostile_play(const char *path, bool client, bool look_first,
                                struct hostile_seen *seen) {
    jobq_clock *clock = jobq_clock_artificial(T0 + JOBQ_MINUTE);
    jobq_options options = {0};
    jobq_error err = {.code = JOBQ_OK};
    jobq *q = NULL;
    int rc;
    memset(seen, 0, sizeof *seen);
    options.workers = client ? 0 : JOBQ_NONE;
    options.role = client ? JOBQ_CLIENT : JOBQ_OWNER;
    options.clock = clock;
    options.shared = true;
    options.busy_ms = 50;
    options.wal_pages = 100;
    options.durability = JOBQ_RELAXED;
    rc = jobq_open(path, &options, &q, &err);
    hostile_note(seen, rc, &err);
    if (rc != JOBQ_OK) {
        seen->latched = rc;
    } else if (client) {
        hostile_add(q, seen);
        hostile_look(q, seen);
        hostile_find(q, seen);
        jobq_close(&q);
    } else {
        hostile_own(q, seen, look_first);
        jobq_close(&q);
    }
    jobq_clock_free(clock);
}

#endif
