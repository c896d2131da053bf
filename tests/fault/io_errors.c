/* io_errors.c - every I/O call of a queue's life fails, once and for good, in every way in which
 * such a call can fail, until a run of the story meets no fault.
 *
 * What is promised stands at the head of fault_sweep.h. It is looked for in the file as it stands,
 * in the copy that a kill before the close would leave, and after a power cut there and at the end,
 * with what was not synced damaged in each of five ways. What a run leaves behind of memory, open
 * files and descriptors is counted, too.
 *
 * An effort of 1 takes every n where an error passes, samples of the rest, and does not look
 * everywhere; TEST_EFFORT=20 takes every n of everything and looks everywhere. */
#include "fault_power.h"
#include "fault_sweep.h"

#include <fcntl.h>

/* ---- What is left behind ---- */

struct base {
    int64_t memory;
    int descriptors;
};

static struct base base_now(void) {
    struct base base = {sqlite3_memory_used(), 0};
    for (int fd = 0; fd < 256; fd++) base.descriptors += fcntl(fd, F_GETFD) >= 0;
    return base;
}

static void check_base(const struct base *before) {
    struct base now = base_now();
    CHECK_INT(fault_handles(), 0);
    CHECK_INT(now.memory, before->memory);
    CHECK_INT(now.descriptors, before->descriptors);
}

/* ---- Looking everywhere ---- */

/* What all sweeps of a test have done. */
static struct {
    int64_t runs, faults, files, unknown, stopped;
    int64_t calls; /* of the last story: those that could have failed */
} sum;

/* Twelve places can be looked at after a run. */
static bool is_chosen(uint64_t *seed) {
    return (int64_t)(test_random(seed) % 12) < test_effort(2);
}

static void copy_for_a_kill(struct story *s) {
    fault_copy(s->path, test_path("killed.db"));
    fault_copy_slots(s->path, test_path("killed.db"));
}

/* What a power cut may leave when so much of the log was written. */
static void check_images(const struct story *s, int at, uint64_t *seed) {
    const char *image = test_path("image.db");
    uint64_t seen[FAULT_DAMAGES];
    int count = 0, before = test_failures();
    struct fault_cut cut;
    fault_cut_begin(&cut, s->log);
    fault_cut_to(&cut, at);
    for (int damage = 0; damage < FAULT_DAMAGES; damage++) {
        int k = 0;
        if (!is_chosen(seed)) continue;
        fault_cut_image(&cut, (enum fault_damage)damage, seed, image);
        seen[count] = fault_hash(image);
        while (seen[k] != seen[count]) k++;
        if (k == count) {
            story_check(s, image, (struct story_end){at, true}, NULL);
            count++;
        }
        if (test_failures() > before) test_note("power cut, %s", fault_damage_names[damage]);
        if (test_failures() > before) break;
    }
    sum.files += count;
    fault_remove(image);
    fault_cut_end(&cut);
}

/* passing: the fault came once, so nothing may have run twice. */
static void check_all(const struct story *s, bool passing, uint64_t *seed) {
    const char *killed = test_path("killed.db");
    int before = test_failures();
    struct story again;
    if (s->closing) check_images(s, s->closing, seed);
    check_images(s, s->log->count, seed);
    fault_log_end(s->log);
    if (s->closing && is_chosen(seed)) {
        story_check(s, killed, (struct story_end){s->closing, false}, NULL);
        sum.files++;
        if (test_failures() > before) test_note("copy that a kill leaves, or before");
    }
    fault_remove(killed);
    story_check(s, s->path, STORY_NOW, &again);
    if (passing && s->stopped == JOBQ_OK) story_check_runs(s, &again);
    sum.files++;
}

/* ---- One sweep ---- */

struct sweep {
    enum fault_class how;
    const char *plan;
    jobq_durability durability;
    int64_t runs;                    /* with an effort of 1; the rest is left out */
    void (*begin)(struct story *s);  /* or NULL */
    void (*tell)(struct story *s);
};

/* Tells the story with the fault at the n-th call; false if it was not met. */
static bool sweep_once(const struct sweep *w, int64_t n, uint64_t *seed) {
    const char *path = test_path("q.db");
    bool hit, passing = strcmp(w->plan, "x") == 0 && !w->begin;
    struct fault_log log;
    struct story s;
    story_begin(&s, path, w->durability);
    if (w->begin) w->begin(&s);
    fault_log_begin(&log, path);
    s.log = &log;
    s.at_end = copy_for_a_kill;
    s.looks_damaged = w->how == FAULT_HOLE;
    fault_nth_of(w->how, n, w->plan);
    w->tell(&s);
    hit = fault_hits(FAULT_ANY) > 0;
    sum.calls = fault_calls(FAULT_ANY);
    sum.runs += hit;
    sum.faults += fault_hits(FAULT_ANY);
    sum.unknown += s.unknown;
    sum.stopped += s.stopped != JOBQ_OK;
    fault_off();
    /* From a database that had holes when it was read SQLite may make one that has damage. */
    if (w->how != FAULT_HOLE) check_all(&s, passing, seed);
    story_end(&s);
    fault_log_free(&log);
    fault_remove(path);
    fault_remove(test_path("killed.db"));
    return hit;
}

/* Every n, or so many of them as the effort allows, up to the first run that meets no fault. */
static void sweep(const struct sweep *w) {
    uint64_t seed = test_seed();
    int before = test_failures();
    struct base base;
    int64_t n, step;
    CHECK(!sweep_once(w, INT64_MAX, &seed));
    base = base_now();
    step = sum.calls / test_effort(w->runs) + 1;
    if (test_effort(w->runs) > sum.calls) step = 1;
    n = 1 + (int64_t)(test_random(&seed) % (uint64_t)step);
    while (sweep_once(w, n, &seed)) {
        check_base(&base);
        if (test_failures() > before) break;
        n += step;
    }
    check_base(&base);
    CHECK(sum.calls >= 20); /* the story makes such calls */
    if (test_failures() > before)
        test_note("call %" PRId64 ", %s, plan %s, %s", n, fault_class_names[w->how], w->plan,
                  w->durability == JOBQ_RELAXED ? "relaxed" : "durable");
}

static void sweep_all(const struct sweep *rows, size_t count, const char *figure) {
    memset(&sum, 0, sizeof sum);
    fault_off();
    for (size_t i = 0; i < count; i++) sweep(&rows[i]);
    CHECK(sum.unknown > 0 && sum.stopped > 0);
    test_figure(figure, "0 wrong", "%" PRId64 " runs with %" PRId64 " faults, %" PRId64
                " files looked at, 0 wrong, 0 leaks", sum.runs, sum.faults, sum.files);
}

/* Goal: at whatever call the disk fails, in whatever way, once or for good, or dies, what was
 * said is what is found. Method: the story from a file that is not there yet to its second close,
 * again for every call. Where SQLite takes holes for zeros it is only seen that nothing crashes,
 * hangs or leaks. */
TEST(ioerr_sweep) {
    static const struct sweep rows[] = {
        {FAULT_IO, "x", JOBQ_DURABLE, 2000, NULL, story_tell},
        {FAULT_IO, "x*", JOBQ_DURABLE, 60, NULL, story_tell},
        {FAULT_IO, "X", JOBQ_DURABLE, 60, NULL, story_tell},
        {FAULT_FULL, "x", JOBQ_DURABLE, 60, NULL, story_tell},
        {FAULT_FULL, "x*", JOBQ_DURABLE, 60, NULL, story_tell},
        {FAULT_BUSY, "x", JOBQ_DURABLE, 60, NULL, story_tell},
        {FAULT_BUSY, "x*", JOBQ_DURABLE, 60, NULL, story_tell},
        {FAULT_SHORT, "x", JOBQ_DURABLE, 40, NULL, story_tell},
        {FAULT_SHORT, "x*", JOBQ_DURABLE, 40, NULL, story_tell},
        {FAULT_HOLE, "x", JOBQ_DURABLE, 60, NULL, story_tell},
        {FAULT_HOLE, "x*", JOBQ_DURABLE, 60, NULL, story_tell},
        {FAULT_IO, "x", JOBQ_RELAXED, 60, NULL, story_tell},
        {FAULT_IO, "x*", JOBQ_RELAXED, 60, NULL, story_tell},
        {FAULT_IO, "X", JOBQ_RELAXED, 60, NULL, story_tell}};
    fault_begin();
    sweep_all(rows, sizeof rows / sizeof rows[0], "every I/O call fails");
}

/* ---- Recovery ---- */

/* What a killed process has left, with what had been told by then. */
static struct story dead;

static void die_here(struct story *s, int n) {
    if (n != STORY_PLAIN || dead.path) return;
    fault_copy(s->path, test_path("dead.db"));
    fault_copy_slots(s->path, test_path("dead.db"));
    dead = *s;
    dead.path = test_path("dead.db");
}

/* A pool is killed in the middle: jobs are done, handed in, running, claimed and waiting. */
static void prepare_the_dead(jobq_durability durability) {
    struct story s;
    memset(&dead, 0, sizeof dead);
    fault_begin();
    story_begin(&s, test_path("first.db"), durability);
    s.options.workers = 1;
    s.at_run = die_here;
    if (CHECK(story_open(&s))) {
        story_register(&s);
        story_put_first(&s, false);
        story_cancel(&s);
        story_delete(&s);
        start(s.q);
        CHECK_INT(finish(s.q, s.jobs[STORY_BIG].id).state, JOBQ_STATE_DONE);
        story_close(&s);
    }
    CHECK(dead.path != NULL);
    story_end(&s);
    fault_remove(s.path);
}

static void begin_with_the_dead(struct story *s) {
    fault_copy(dead.path, s->path);
    fault_copy_slots(dead.path, s->path);
    memcpy(s->jobs, dead.jobs, sizeof s->jobs);
    s->saved = dead.saved;
    s->blamed = STORY_PLAIN;
}

static void tell_recovery(struct story *s) {
    if (!story_open(s)) return;
    story_register(s);
    story_idle(s);
    story_look(s);
    story_retry_now(s);
    story_advance(s, 2 * JOBQ_MINUTE);
    if (s->at_end) s->at_end(s);
    s->closing = story_now(s);
    story_close(s);
}

/* Goal: the same for the recovery of what a kill has left. Method: the file and the slots of a
 * pool that died in the middle; every call from the open on. */
TEST(ioerr_in_recovery) {
    static const struct sweep rows[] = {
        {FAULT_IO, "x", JOBQ_DURABLE, 100, begin_with_the_dead, tell_recovery},
        {FAULT_IO, "x*", JOBQ_DURABLE, 50, begin_with_the_dead, tell_recovery},
        {FAULT_IO, "X", JOBQ_DURABLE, 50, begin_with_the_dead, tell_recovery},
        {FAULT_FULL, "x", JOBQ_DURABLE, 50, begin_with_the_dead, tell_recovery},
        {FAULT_FULL, "x*", JOBQ_DURABLE, 50, begin_with_the_dead, tell_recovery},
        {FAULT_BUSY, "x", JOBQ_DURABLE, 50, begin_with_the_dead, tell_recovery},
        {FAULT_BUSY, "x*", JOBQ_DURABLE, 50, begin_with_the_dead, tell_recovery},
        {FAULT_IO, "x", JOBQ_RELAXED, 50, begin_with_the_dead, tell_recovery},
        {FAULT_IO, "X", JOBQ_RELAXED, 50, begin_with_the_dead, tell_recovery}};
    prepare_the_dead(JOBQ_DURABLE);
    sweep_all(rows, sizeof rows / sizeof rows[0], "every I/O call fails, in recovery");
    fault_remove(dead.path);
}

TEST_MAIN(ioerr_sweep, ioerr_in_recovery)
