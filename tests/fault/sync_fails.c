/* sync_fails.c - ghosts: work that was reported as not done and is found after a power cut.
 *
 * A COMMIT whose sync fails has left its frames in the log. The call returns an error, the row
 * cannot be seen, and yet a power cut or a kill may bring it back. What is promised: whatever a
 * call has said holds in every image that a disk may show at any later moment. Each sync of the
 * story fails, once, twice, for good, or with the disk; then the power is cut at boundaries between
 * two operations, with what was not synced damaged in each of five ways, and every deed that was
 * over by then is looked for by plain SQLite, in the image as it is found. Boundaries right after
 * a call that did not return OK are always among them.
 *
 * The same on systems where a sync that failed has lost what it should have written. */
#include "fault_power.h"
#include "fault_sweep.h"

/* As stored in jobq_row.state. */
enum { WAITING, CLAIMED, DONE, FAILED, CANCELLED };

static struct {
    int64_t runs, syncs, images, boundaries, unknown;
} sum;

/* ---- One image ---- */

struct image {
    int present[STORY_NUMBERS], state[STORY_NUMBERS], notes[STORY_JOBS];
};

static sqlite3_stmt *ask(sqlite3 *db, const char *sql) {
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK) return NULL;
    return statement;
}

/* A file that has no tables yet is a good file. */
static void read_image(const char *path, struct image *image) {
    sqlite3 *db = sql_open(path);
    sqlite3_stmt *s = ask(db, "PRAGMA integrity_check");
    memset(image, 0, sizeof *image);
    if (CHECK(s && sqlite3_step(s) == SQLITE_ROW))
        CHECK_STR((const char *)sqlite3_column_text(s, 0), "ok");
    sqlite3_finalize(s);
    s = ask(db, "SELECT iif(side & 8, (SELECT data FROM jobq_payload WHERE job = id), payload),"
                " state FROM jobq_row");
    while (s && sqlite3_step(s) == SQLITE_ROW) {
        int n = -1;
        if (sqlite3_column_bytes(s, 0) >= (int)sizeof n)
            memcpy(&n, sqlite3_column_blob(s, 0), sizeof n);
        if (!CHECK(n >= 0 && n < STORY_NUMBERS)) continue;
        image->present[n]++;
        image->state[n] = sqlite3_column_int(s, 1);
    }
    sqlite3_finalize(s);
    s = ask(db, "SELECT n FROM note");
    while (s && sqlite3_step(s) == SQLITE_ROW) {
        int n = sqlite3_column_int(s, 0);
        if (CHECK(n >= 0 && n < STORY_JOBS)) image->notes[n]++;
    }
    sqlite3_finalize(s);
    sqlite3_close(db);
}

/* What is known of a deed when so much of the log was written: it may not have begun yet. */
static enum story_fate fate_at(const struct story *s, const struct story_deed *deed, int at) {
    if (deed->at > at) return STORY_MAYBE;
    return story_fate(s, deed, (struct story_end){at, true});
}

static void check_job(const struct story *s, const struct image *image, int n, int at) {
    const struct story_job *job = &s->jobs[n];
    enum story_fate stored = fate_at(s, &job->stored, at);
    enum story_fate deleted = fate_at(s, &job->deleted, at);
    enum story_fate cancelled = fate_at(s, &job->cancelled, at);
    enum story_fate revived = fate_at(s, &job->revived, at);
    if (n == STORY_BRIEF) deleted = STORY_MAYBE;
    if (stored == STORY_NO || deleted == STORY_YES) CHECK_INT(image->present[n], 0);
    else if (stored == STORY_YES && deleted == STORY_NO) CHECK_INT(image->present[n], 1);
    else CHECK(image->present[n] <= 1);
    if (image->present[n]) {
        if (cancelled == STORY_YES) CHECK_INT(image->state[n], CANCELLED);
        if (cancelled == STORY_NO) CHECK(image->state[n] != CANCELLED);
        if (revived == STORY_YES) CHECK(image->state[n] != FAILED);
        if (revived == STORY_NO && job->revived.at && job->had_failed)
            CHECK(image->state[n] == FAILED || s->options.durability == JOBQ_RELAXED);
    }
    CHECK_INT(image->notes[n], story_is_tx(n) && image->present[n] && image->state[n] == DONE);
    CHECK_INT(image->present[STORY_CHILD + n], image->notes[n]);
}

/* ---- One cut ---- */

static void check_boundary(const struct story *s, const struct fault_cut *cut, int at,
                           uint64_t *seed) {
    const char *path = test_path("image.db");
    uint64_t seen[FAULT_DAMAGES];
    struct image image;
    for (int damage = 0; damage < FAULT_DAMAGES; damage++) {
        int before = test_failures(), k = 0;
        fault_cut_image(cut, (enum fault_damage)damage, seed, path);
        seen[damage] = fault_hash(path);
        sum.images++;
        while (seen[k] != seen[damage]) k++;
        if (k < damage) continue;
        read_image(path, &image);
        for (int n = 0; n < STORY_JOBS; n++) check_job(s, &image, n, at);
        if (test_failures() > before)
            test_note("cut at %d of %d, %s", at, s->log->count, fault_damage_names[damage]);
        if (test_failures() > before) break;
    }
    fault_remove(path);
    sum.boundaries++;
}

/* True right after a call that did not return OK. */
static bool is_telling(const struct story *s, int at) {
    bool telling = s->saved.at == at && s->saved.fate != STORY_YES;
    for (int n = 0; n < STORY_JOBS; n++) {
        const struct story_job *job = &s->jobs[n];
        telling |= job->stored.at == at && job->stored.fate != STORY_YES;
        telling |= job->cancelled.at == at && job->cancelled.fate != STORY_YES;
        telling |= job->deleted.at == at && job->deleted.fate != STORY_YES;
        telling |= job->revived.at == at && job->revived.fate != STORY_YES;
    }
    return telling;
}

/* Of the other boundaries so many in all, about. */
static void check_boundaries(const struct story *s, int64_t wanted, uint64_t *seed) {
    int before = test_failures();
    struct fault_cut cut;
    if (s->opened.fate != STORY_YES) return;
    fault_cut_begin(&cut, s->log);
    for (int at = s->opened.at; at <= s->log->count && test_failures() == before; at++) {
        bool chosen = (int64_t)(test_random(seed) % (uint64_t)s->log->count) < wanted;
        fault_cut_to(&cut, at);
        if (chosen || at == s->log->count || is_telling(s, at))
            check_boundary(s, &cut, at, seed);
    }
    fault_cut_end(&cut);
}

/* ---- Every sync ---- */

struct plan {
    const char *letters;
    jobq_durability durability;
    bool forget;
};

/* True if something was forgotten while the file was made. Until it is in WAL mode SQLite writes
 * through a rollback journal and believes a sync that comes after one that failed. */
static bool forgot_in_creation(const struct story *s) {
    for (int i = 0; i < s->opened.at && i < s->log->count; i++)
        if (s->log->ops[i].kind == FAULT_OP_FORGET) return true;
    return false;
}

/* Tells the story with the fault at the n-th sync; false if it was not met. */
static bool sweep_once(const struct plan *plan, int64_t n, uint64_t *seed) {
    const char *path = test_path("q.db");
    struct fault_log log;
    struct story s;
    bool hit;
    story_begin(&s, path, plan->durability);
    fault_log_begin(&log, path);
    s.log = &log;
    fault_nth_of(FAULT_SYNC, n, plan->letters);
    fault_forget(plan->forget);
    story_tell(&s);
    hit = fault_hits(FAULT_ANY) > 0;
    sum.runs++;
    sum.syncs += fault_hits(FAULT_ANY);
    sum.unknown += s.unknown;
    fault_off();
    fault_log_end(&log);
    if (!forgot_in_creation(&s)) check_boundaries(&s, test_effort(2), seed);
    story_end(&s);
    fault_log_free(&log);
    fault_remove(path);
    return hit;
}

static void sweep(const struct plan *plan, uint64_t *seed) {
    int before = test_failures();
    int64_t n = 1;
    while (sweep_once(plan, n, seed) && test_failures() == before) n++;
    CHECK(n > 20);
    if (test_failures() > before)
        test_note("sync %" PRId64 ", plan %s, %s%s", n, plan->letters,
                  plan->durability == JOBQ_RELAXED ? "relaxed" : "durable",
                  plan->forget ? ", forgetting" : "");
}

/* Goal: nothing that was refused comes back, nothing that was acknowledged goes, and nothing
 * is found by halves. Method: every sync of the story, of the log and of the database. */
TEST(fsync_ghost) {
    static const struct plan plans[] = {
        {"x", JOBQ_DURABLE, false},  {"xx", JOBQ_DURABLE, false}, {"x.x", JOBQ_DURABLE, false},
        {"x*", JOBQ_DURABLE, false}, {"X", JOBQ_DURABLE, false},  {"x", JOBQ_DURABLE, true},
        {"xx", JOBQ_DURABLE, true},  {"x.x", JOBQ_DURABLE, true}, {"x", JOBQ_RELAXED, false},
        {"xx", JOBQ_RELAXED, false}, {"X", JOBQ_RELAXED, false}};
    uint64_t seed = test_seed();
    memset(&sum, 0, sizeof sum);
    fault_begin();
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) sweep(&plans[i], &seed);
    CHECK(sum.unknown > 0);
    test_figure("every sync fails, then a power cut", "0 ghosts",
                "%" PRId64 " syncs failed in %" PRId64 " runs, %"
                PRId64 " boundaries, %" PRId64 " images, 0 ghosts", sum.syncs, sum.runs,
                sum.boundaries, sum.images);
}

/* ---- Who stops the syncs ---- */

static int stop_syncing(sqlite3 *db, jobq_connection which, jobq_stage stage, jobq_error *err,
                        void *ctx) {
    (void)which, (void)stage, (void)err, (void)ctx;
    run_sql(db, "PRAGMA synchronous = OFF");
    return 0;
}

/* Goal: what is told as durable was synced, whatever on_connect has set. Method: it turns syncs off
 * on every connection; those of each call are counted, and those of the first checkpoint. */
TEST(hook_does_not_stop_the_syncs) {
    fixture f;
    int64_t id;
    fault_begin();
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .wal_pages = 16,
                                            .on_connect = stop_syncing}));
    handle(f.q, "k", do_nothing, NULL);
    for (int i = 0; i < 3; i++) {
        fault_off();
        id = put(f.q, "k");
        CHECK(fault_calls(FAULT_WAL_SYNC) > 0);
        fault_off();
        if (i) WORKS(jobq_cancel(f.q, id, &err));
        else CHECK_INT(drain(f.q), 1);
        CHECK(fault_calls(FAULT_WAL_SYNC) > 0);
    }
    fault_off();
    for (int i = 0; i < 100 && fault_calls(FAULT_DB_WRITE) == 0; i++) put(f.q, "k");
    CHECK(fault_calls(FAULT_DB_WRITE) > 0);
    CHECK(fault_calls(FAULT_DB_SYNC) > 0);
    fixture_close(&f);
}

TEST_MAIN(fsync_ghost, hook_does_not_stop_the_syncs)
