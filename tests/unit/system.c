/* system.c - what the system cannot do, or has more of than is believed.
 *
 * Calls that hardly ever fail: nobody would notice for years what happens then. jobq.c is part of
 * this program, so its calls are answered here. Also the one list inside whose bound no queue
 * reaches on purpose. */
#include "helpers.h"

#include <sys/statvfs.h>

static struct {
    bool no_fork_hook, no_exit_hook, no_clock;
    uint64_t blocks, block_bytes;
} answers;

#ifndef JOBQ_MODULES
static int answer_atfork(void (*before)(void), void (*parent)(void), void (*child)(void)) {
    return answers.no_fork_hook ? ENOMEM : pthread_atfork(before, parent, child);
}

static int answer_atexit(void (*at_exit)(void)) {
    return answers.no_exit_hook ? 1 : atexit(at_exit);
}

static int answer_gettime(clockid_t id, struct timespec *at) {
    if (!answers.no_clock) return clock_gettime(id, at);
    errno = EOVERFLOW;
    return -1;
}

static int answer_statvfs(int fd, struct statvfs *st) {
    (void)fd;
    memset(st, 0, sizeof *st);
    st->f_bavail = (fsblkcnt_t)answers.blocks;
    st->f_frsize = (unsigned long)answers.block_bytes;
    return 0;
}

#define pthread_atfork answer_atfork
#define atexit answer_atexit
#define clock_gettime answer_gettime
#define fstatvfs answer_statvfs
#endif
#define UNIT_INCLUDES_JOBQ_C
#include "unit.h"
#undef pthread_atfork
#undef atexit
#undef clock_gettime
#undef fstatvfs

/* Says so if the modules are not part of this program. */
static bool can_answer(void) {
#ifdef JOBQ_MODULES
    test_note("the modules are not part of this program: skipped");
    return false;
#else
    return true;
#endif
}

/* Goal: a process that could not tell its children and its end from others opens nothing. Method:
 * either hook cannot be had; then both can. The first open of the process decides. */
TEST(hooks_are_needed) {
    if (!can_answer()) return;
    for (int missing = 0; missing < 2; missing++) {
        jobq *q = NULL;
        answers.no_fork_hook = missing == 0;
        answers.no_exit_hook = missing == 1;
        FAILS(JOBQ_NO_MEMORY, jobq_open(test_path("q.db"), NULL, &q, &err));
        CHECK(q == NULL);
    }
    answers.no_fork_hook = answers.no_exit_hook = false;
    for (int again = 0; again < 2; again++) {
        jobq *q = NULL;
        WORKS(jobq_open(test_path("q.db"), NULL, &q, &err));
        REQUIRE(q != NULL);
        close_queue(&q);
    }
}

/* Goal: what is free is told in 64 bits, and never as less because there is more. */
TEST(large_disk_is_large) {
    static const struct {
        uint64_t blocks, block_bytes;
        int64_t bytes;
    } disks[] = {{3, 512, 1536},
                 {UINT32_MAX, 4096, INT64_C(4096) * UINT32_MAX},
                 {UINT64_C(1) << 40, 4096, INT64_C(1) << 52},
                 {UINT64_C(1) << 52, 65536, INT64_MAX},
                 {UINT64_MAX, 1, INT64_MAX}, {UINT64_MAX, 4096, INT64_MAX}, {0, 4096, 0}};
    if (!can_answer()) return;
    for (size_t i = 0; i < sizeof disks / sizeof disks[0]; i++) {
        answers.blocks = disks[i].blocks;
        answers.block_bytes = disks[i].block_bytes;
        CHECK_INT(jobq__os_free_bytes(0), disks[i].bytes);
    }
}

/* Goal: a clock that cannot be read stands still; it is not 1970. Method: both clocks, then a job
 * stored meanwhile. */
TEST(clock_that_fails_stands_still) {
    int64_t wall_us, mono_us, now_ms, id;
    jobq_info info;
    jobq *q;
    if (!can_answer()) return;
    answers.blocks = 1 << 30;
    answers.block_bytes = 4096;
    q = open_pool(test_path("q.db"), JOBQ_NONE);
    REQUIRE(q != NULL);
    wall_us = jobq__os_time_wall_us();
    mono_us = jobq__os_time_mono_us();
    answers.no_clock = true;
    CHECK_INT(jobq__os_time_wall_us(), wall_us);
    CHECK_INT(jobq__os_time_mono_us(), mono_us);
    CHECK_INT(jobq__os_time_wall_us(), wall_us);
    id = put(q, "k");
    answers.no_clock = false;
    now_ms = jobq_clock_now(NULL);
    info = look(q, id);
    CHECK(info.created_at_ms >= wall_us / 1000 && info.created_at_ms <= now_ms);
    CHECK(jobq__os_time_mono_us() >= mono_us);
    close_queue(&q);
}

/* Goal: more workers may be woken by one group than there are: who sleeps again meanwhile. The list
 * of those to be woken keeps its bound, and nobody is forgotten. Method: one who sleeps again. */
TEST(list_of_wakes_is_bounded) {
#ifndef JOBQ_MODULES
    static struct jobq__pool pool;
    static struct jobq__worker worker;
    static struct {
        struct jobq__wakes wakes;
        void *beyond[16];
    } all;
    jobq__list_init(&pool.idle);
    REQUIRE_CODE(jobq__os_cond_init(&worker.cond, JOBQ__OS_MONO), JOBQ_OK);
    for (int i = 0; i < JOBQ_WORKERS_MAX + 8; i++) {
        worker.idle = true;
        worker.woken = false;
        jobq__list_append(&pool.idle, &worker.link);
        jobq__tx_wake_workers(&pool, 1, &all.wakes);
        CHECK(worker.woken && !worker.idle);
        REQUIRE_INT(all.wakes.count, i < JOBQ_WORKERS_MAX ? i + 1 : JOBQ_WORKERS_MAX);
    }
    for (int i = 0; i < 16; i++) CHECK(all.beyond[i] == NULL);
    jobq__os_cond_fini(&worker.cond);
#else
    can_answer();
#endif
}

TEST_MAIN(hooks_are_needed, large_disk_is_large, clock_that_fails_stands_still,
          list_of_wakes_is_bounded)
