/* fault_full.c - full disks of every size: what was accepted is finished, what was not is refused
 * with JOBQ_FULL, and when there is space again new work is accepted, without a restart.
 *
 * The disk is the one in memory; it holds so many bytes, the log, its shared memory and jobq's own
 * reserve in the lock file counted in. It becomes full in two ways: the queue itself fills it, or
 * somebody else takes all that is free at some moment (then a size is drawn, and the moment). A
 * third part does the same on a file system of the operating system (tmpfs), where it can. */
#include "fault_vfs.h"
#include "helpers.h"

#include <sys/statvfs.h>

#ifdef __linux__
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#endif

enum { KIB = 1024, SMALLEST = 256 * KIB, LARGEST = 4096 * KIB, JOBS_MAX = 40000 };

/* jobq asks the operating system for its reserve and for what is free: here the disk in memory
 * answers, because these stand before the system's own. */
int posix_fallocate(int fd, off_t at, off_t size) {
    bool room;
    pthread_mutex_lock(&fault.mutex);
    room = size <= fault_free();
    pthread_mutex_unlock(&fault.mutex);
    if (!room) return ENOSPC;
    return ftruncate(fd, at + size) ? errno : 0;
}

int fstatvfs(int fd, struct statvfs *st) {
    (void)fd;
    memset(st, 0, sizeof *st);
    st->f_frsize = 1;
    pthread_mutex_lock(&fault.mutex);
    st->f_bavail = (fsblkcnt_t)fault_free();
    pthread_mutex_unlock(&fault.mutex);
    return 0;
}

/* What the jobs came to, by id: the model of this test. */
struct story {
    jobq *q;
    jobq_clock *clock;
    const char *path;
    uint64_t random;
    int accepted, refused;
    int64_t last_id;
    unsigned char *ends; /* how often the job with that id has come to its end */
};

/* One in ten fails for good, one in ten is tried again once; the others are done, some with a
 * result. */
static jobq_outcome work(jobq_run *run, void *ctx) {
    struct story *s = (struct story *)ctx;
    int64_t id = jobq_run_id(run);
    static const char result[200] = "a result";
    if (id % 10 == 3 && jobq_run_attempt(run) == 1) return jobq_retry(run, "not yet");
    s->ends[id]++;
    if (id % 10 == 7) return jobq_fail(run, "never: %d", (int)id);
    return id % 10 == 5 ? jobq_done(run, result, sizeof result) : JOBQ_DONE;
}

static bool story_open(struct story *s) {
    jobq_options options = {.workers = JOBQ_NONE, .durability = JOBQ_RELAXED, .clock = s->clock};
    WORKS(jobq_open(s->path, &options, &s->q, &err));
    if (!s->q) return false;
    WORKS(jobq_register(s->q, &(jobq_kind){.name = "work", .run = work, .ctx = s}, &err));
    return true;
}

static bool story_begin(struct story *s, uint64_t seed) {
    memset(s, 0, sizeof *s);
    s->path = test_path("full.db");
    s->random = seed;
    s->clock = jobq_clock_artificial(T0);
    s->ends = (unsigned char *)calloc(JOBS_MAX + 1, 1);
    if (!s->ends) test_give_up("no memory");
    return story_open(s);
}

static void story_end(struct story *s) {
    if (s->q) CHECK_CODE(jobq_close(&s->q), JOBQ_OK);
    jobq_clock_free(s->clock);
    free(s->ends);
}

/* Enqueues one job, of up to 2 KiB. */
static int put_one(struct story *s) {
    static char payload[2048];
    jobq_job job = {.kind = "work", .payload = payload};
    int64_t id = 0;
    int rc;
    job.size = (size_t)(test_random(&s->random) % sizeof payload);
    job.priority = (int)(test_random(&s->random) % 3);
    rc = jobq_enqueue(s->q, &job, &id, NULL);
    if (rc == JOBQ_OK) s->accepted++;
    else s->refused++;
    if (rc == JOBQ_OK) CHECK(id > s->last_id && id <= JOBS_MAX);
    if (id) s->last_id = id;
    return rc;
}

static void fill_some(struct story *s, int most) {
    int rc = JOBQ_OK;
    for (int i = 0; i < most && rc == JOBQ_OK; i++) rc = put_one(s);
    if (rc != JOBQ_OK) CHECK_CODE(rc, JOBQ_FULL);
}

static void fill(struct story *s) {
    int rc;
    fill_some(s, JOBS_MAX / 2);
    CHECK(s->refused > 0);
    /* It may take a smaller one still, but nothing else may come of it. */
    for (int i = 0; i < 10; i++) {
        rc = put_one(s);
        if (rc != JOBQ_OK) CHECK_CODE(rc, JOBQ_FULL);
    }
}

/* Runs everything; the disk has been full since before. */
static bool drain_all(struct story *s) {
    jobq_counts c = {0};
    for (int i = 0; i < 3; i++) {
        if (!CHECK_CODE(jobq_run_until_idle(s->q, NULL, NULL), JOBQ_OK)) return false;
        if (!CHECK_CODE(jobq_advance(s->q, JOBQ_MINUTE, NULL, NULL), JOBQ_OK)) return false;
    }
    CHECK_CODE(jobq_count(s->q, &c, NULL), JOBQ_OK);
    return CHECK_INT(c.ready + c.scheduled + c.parked + c.running, 0);
}

/* Every accepted job has come to its end, once. */
static void check_ends(const struct story *s) {
    int ended = 0, twice = 0;
    for (int i = 0; i <= JOBS_MAX; i++) {
        if (s->ends[i]) ended++;
        if (s->ends[i] > 1) twice++;
    }
    CHECK_INT(ended, s->accepted);
    CHECK_INT(twice, 0);
}

static void check_sound(const char *path) {
    char text[64];
    sql_text(path, "PRAGMA integrity_check", text, sizeof text);
    CHECK_STR(text, "ok");
}

/* From full to empty, and to work again. The space comes back by give(); NULL: it does not. */
static bool full_life(struct story *s, void (*give)(void *arg), void *arg) {
    bool drained = drain_all(s);
    check_ends(s);
    if (give) give(arg);
    if (give) CHECK_CODE(put_one(s), JOBQ_OK);
    if (drained) drained = drain_all(s);
    CHECK_INT(stats_of(s->q).failed_code, JOBQ_OK);
    CHECK_CODE(jobq_close(&s->q), JOBQ_OK);
    if (!story_open(s)) return false;
    check_ends(s);
    return drained && drain_all(s);
}

/* ---- The disk in memory ---- */

static void give_space(void *arg) {
    fault_space(8 * LARGEST, ((struct story *)arg)->path);
}

/* The sizes of a sweep: all from 256 KiB to 4 MiB, by steps that effort makes smaller. */
static int64_t next_size(int64_t size) {
    return size + (int64_t)(LARGEST - SMALLEST) / test_effort(16) / 512 * 512 + 512;
}

static void one_size(int64_t size, bool stolen, uint64_t seed) {
    struct story s;
    int before = test_failures();
    fault_begin();
    fault_space(size, test_path("full.db"));
    if (!story_begin(&s, seed)) return;
    if (stolen) {
        fill_some(&s, (int)(test_random(&s.random) % (uint64_t)(size / 2000)));
        /* Once the queue has met the full disk itself its reserve is given up already. */
        if (s.refused == 0) fault_take_space();
    } else {
        fill(&s);
    }
    full_life(&s, give_space, &s);
    story_end(&s);
    check_sound(s.path);
    fault_remove(s.path);
    if (test_failures() > before)
        test_note("%d KiB, TEST_SEED=%" PRIu64 ": %d accepted, %d refused", (int)(size / KIB), seed,
                  s.accepted, s.refused);
}

/* Goal: a queue that has filled its disk drains to empty. Method: every size. */
TEST(own_work_fills_the_disk) {
    uint64_t seed = test_seed();
    int sizes = 0;
    for (int64_t size = SMALLEST; size <= LARGEST && !test_failures(); size = next_size(size)) {
        one_size(size, false, seed + (uint64_t)size);
        sizes++;
    }
    test_figure("R9 disk-full", "drains to 0, takes work again", "%d sizes from 256 KiB to 4 MiB,"
                " filled by the queue", sizes);
}

/* Goal: the same when somebody else takes what is free. Method: every size, at a random moment. */
TEST(others_fill_the_disk) {
    uint64_t seed = test_seed();
    int sizes = 0;
    for (int64_t size = SMALLEST; size <= LARGEST && !test_failures(); size = next_size(size)) {
        one_size(size, true, seed + (uint64_t)size);
        sizes++;
    }
    test_figure("R9 disk-full", "drains to 0, takes work again", "%d sizes from 256 KiB to 4 MiB,"
                " space taken by others", sizes);
}

TEST_MAIN(own_work_fills_the_disk, others_fill_the_disk)
