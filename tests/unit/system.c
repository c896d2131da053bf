/* system.c - what the system cannot do, or has more of than is believed.
 *
 * Calls that hardly ever fail: nobody would notice for years what happens then. jobq.c is part of
 * this program, so its calls are answered here. Also the one list inside whose bound no queue
 * reaches on purpose. */
#include "helpers.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#ifdef __linux__
#include <sys/mount.h>
#include <sys/syscall.h>
#endif

static struct {
    bool no_fork_hook, no_exit_hook, no_clock, sticky, no_descriptor, old_kernel;
    uint64_t blocks, block_bytes;
    size_t least_stack;
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

static int answer_setstacksize(pthread_attr_t *attr, size_t bytes) {
    return bytes < answers.least_stack ? EINVAL : pthread_attr_setstacksize(attr, bytes);
}

/* In a directory for everybody, of a file that somebody else has made. */
static int answer_open(const char *path, int flags, mode_t mode) {
    if (answers.sticky && (flags & O_CREAT) && access(path, F_OK) == 0) errno = EACCES;
    else if (answers.no_descriptor && strstr(path, "mountinfo")) errno = EMFILE;
    else return open(path, flags, mode);
    return -1;
}

#ifdef __linux__
static bool own_mounts(void) {
    return syscall(SYS_unshare, 0x00020000 /* CLONE_NEWNS */) == 0
        && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

/* The one that jobq.c makes by its number: statx. */
static long answer_syscall(long number, int dir, const char *path, int flags, int mask, void *st) {
    if (!answers.old_kernel) return syscall(number, dir, path, flags, mask, st);
    errno = ENOSYS;
    return -1;
}
#define syscall answer_syscall
#endif

#define open(path, flags, mode) answer_open(path, flags, mode)
#define pthread_attr_setstacksize answer_setstacksize
#define pthread_atfork answer_atfork
#define atexit answer_atexit
#define clock_gettime answer_gettime
#define fstatvfs answer_statvfs
#endif
#define UNIT_INCLUDES_JOBQ_C
#include "unit.h"
#undef open
#undef pthread_attr_setstacksize
#undef pthread_atfork
#undef atexit
#undef clock_gettime
#undef fstatvfs

/* Says so if the modules are not part of this program. */
static bool can_answer(void) {
#ifdef JOBQ_MODULES
    test_skip("the modules are not part of this program");
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

static void *read_both_clocks(void *arg) {
    int64_t *now_us = (int64_t *)arg;
    now_us[0] = jobq__os_time_wall_us();
    now_us[1] = jobq__os_time_mono_us();
    return NULL;
}

/* Goal: a clock that cannot be read stands still; it is not 1970, not even to a thread that has
 * never read it. Method: both clocks, here and in a new thread, then a job stored meanwhile. */
TEST(clock_that_fails_stands_still) {
    int64_t wall_us, mono_us, now_ms, id, told_us[2] = {0, 0};
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
    pthread_join(thread_start(read_both_clocks, told_us), NULL);
    CHECK(told_us[0] > 0 && told_us[0] <= wall_us);
    CHECK(told_us[1] > 0 && told_us[1] <= mono_us);
    id = put(q, "k");
    answers.no_clock = false;
    now_ms = jobq_clock_now(NULL);
    info = look(q, id);
    CHECK(info.created_at_ms >= wall_us / 1000 && info.created_at_ms <= now_ms);
    CHECK(jobq__os_time_mono_us() >= mono_us);
    close_queue(&q);
}

/* Goal: where the system takes no stacks as small as were asked for a pool has larger ones; where
 * it takes none at all that is told, and not that memory is short. Method: systems that want more
 * and more. */
TEST(larger_stacks_than_asked_for) {
    jobq_options options = {.workers = 1, .stack_bytes = 256 * 1024};
    jobq *q = NULL;
    jobq_error told = {.code = 0};
    if (!can_answer()) return;
    WORKS(jobq_open(":memory:", &options, &q, &err));
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    for (answers.least_stack = 1; answers.least_stack < 16 << 20; answers.least_stack *= 4) {
        start(q);
        finish(q, put(q, "k"));
        WORKS(jobq_stop(q, JOBQ_NEVER, &err));
    }
    answers.least_stack = SIZE_MAX;
    CHECK_CODE(jobq_start(q, &told), JOBQ_IO);
    CHECK(strstr(told.text, ".stack_bytes") && !strstr(told.text, "smaller"));
    answers.least_stack = 0;
    start(q);
    finish(q, put(q, "k"));
    close_queue(&q);
}

/* Goal: a lock file that is there is opened and not made: in a sticky directory a system may refuse
 * to make what another user has made. Method: a system that does, with and without the file. */
TEST(lock_file_in_a_sticky_directory) {
    if (!can_answer()) return;
    answers.sticky = true;
    for (int again = 0; again < 2; again++) {
        jobq *q = NULL;
        WORKS(jobq_open(test_path("q.db"), NULL, &q, &err));
        REQUIRE(q != NULL);
        close_queue(&q);
    }
    answers.sticky = false;
}

/* Goal: where the kernel does not tell whether a file is mounted by itself, who has no descriptor
 * to look does not open it unseen. Method: the system has none for that; then it has. */
TEST(cannot_look_for_mounts) {
#ifdef __linux__
    jobq_error told = {.code = 0};
    jobq *q = NULL;
    if (!can_answer()) return;
    WORKS(jobq_open(test_path("q.db"), NULL, &q, &err));
    close_queue(&q);
    answers.old_kernel = answers.no_descriptor = true;
    CHECK_CODE(jobq_open(test_path("q.db"), NULL, &q, &told), JOBQ_CANT_OPEN);
    CHECK_INT(told.os_code, EMFILE);
    CHECK(strstr(told.text, test_path("q.db")) != NULL);
    WORKS(jobq_open(test_path("q.db"), &(jobq_options){.linked = true}, &q, &err));
    close_queue(&q);
    answers.no_descriptor = false;
    WORKS(jobq_open(test_path("q.db"), NULL, &q, &err));
    close_queue(&q);
    answers.old_kernel = false;
#else
    test_skip("only Linux tells of mounts");
#endif
}

#if defined(__linux__) && !defined(JOBQ_MODULES)
/* In mounts of its own, which end with it. */
static void open_what_is_mounted(void *arg) {
    const char *path = test_path("in side\\q.db"), *from = test_path("outside.db");
    jobq_error told = {.code = 0};
    jobq *q = NULL;
    FILE *file = fopen(path, "a");
    (void)arg;
    if (!file) test_give_up(path);
    fclose(file);
    WORKS(jobq_open(from, NULL, &q, &err));
    close_queue(&q);
    if (!own_mounts() || mount(from, path, "", MS_BIND, NULL) != 0) {
        test_skip("may not mount");
        return;
    }
    answers.old_kernel = true;
    CHECK_CODE(jobq_open(path, NULL, &q, &told), JOBQ_LINKED);
    if (!CHECK(strstr(told.text, "mounted by itself") != NULL)) test_note("%s", told.text);
}
#endif

/* Goal: then the list of mounts tells, whatever bytes the name holds. Needs the right to mount. */
TEST(list_of_mounts_tells) {
#if defined(__linux__) && !defined(JOBQ_MODULES)
    CHECK_INT(test_fork(open_what_is_mounted, NULL), 0);
#else
    if (can_answer()) test_skip("only Linux tells of mounts");
#endif
}

/* Goal: more workers may be woken by one group than there are: who sleeps again meanwhile. The list
 * of those to be woken keeps its bound, and nobody is forgotten. Method: one who sleeps again. */
TEST(list_of_wakes_is_bounded) {
#ifndef JOBQ_MODULES
    static jobq q;
    static struct jobq__worker worker;
    static struct {
        struct jobq__wakes wakes;
        void *beyond[16];
    } all;
    jobq__list_init(&q.pool.crew.idle);
    worker.run.q = &q;
    REQUIRE_CODE(jobq__os_mutex_init(&q.pool.mu), JOBQ_OK);
    REQUIRE_CODE(jobq__os_cond_init(&worker.cond, JOBQ__OS_MONO), JOBQ_OK);
    for (int i = 0; i < JOBQ_WORKERS_MAX + 8; i++) {
        worker.state = JOBQ__WORKER_IDLE;
        jobq__list_append(&q.pool.crew.idle, &worker.link);
        jobq__os_lock(&q.pool.mu);
        jobq__wake_workers(&q, 1, &all.wakes);
        jobq__os_unlock(&q.pool.mu);
        CHECK(worker.state == JOBQ__WORKER_WOKEN);
        REQUIRE_INT(all.wakes.count, i < JOBQ_WORKERS_MAX ? i + 1 : JOBQ_WORKERS_MAX);
    }
    for (int i = 0; i < 16; i++) CHECK(all.beyond[i] == NULL);
    jobq__os_cond_fini(&worker.cond);
    jobq__os_mutex_fini(&q.pool.mu);
#else
    can_answer();
#endif
}

TEST_MAIN(hooks_are_needed, large_disk_is_large, clock_that_fails_stands_still,
          larger_stacks_than_asked_for, lock_file_in_a_sticky_directory, cannot_look_for_mounts,
          list_of_mounts_tells, list_of_wakes_is_bounded)
