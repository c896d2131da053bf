/* os.c - threads, clocks, atomics, files for POSIX. */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/vfs.h>
#elif defined(__APPLE__) || defined(__FreeBSD__) || defined(__OpenBSD__) || defined(__DragonFly__)
#include <sys/mount.h>
#include <sys/param.h>
#endif

/* ---- Locks ---- */

#ifdef JOBQ_DEBUG
static __thread const struct jobq__mutex *jobq__os_mine; /* the one that this thread holds */
#endif

JOBQ__INTERNAL int jobq__os_mutex_init(struct jobq__mutex *mu) {
    memset(mu, 0, sizeof *mu);
    return pthread_mutex_init(&mu->raw, NULL) ? JOBQ_NO_MEMORY : JOBQ_OK;
}

JOBQ__INTERNAL void jobq__os_mutex_patient(struct jobq__mutex *mu) {
#ifdef JOBQ_DEBUG
    mu->patient = true;
#else
    (void)mu;
#endif
}

JOBQ__INTERNAL void jobq__os_mutex_fini(struct jobq__mutex *mu) {
    pthread_mutex_destroy(&mu->raw);
}

static void jobq__os_now_held(struct jobq__mutex *mu) {
#ifdef JOBQ_DEBUG
    mu->holder = pthread_self();
    mu->held = 1;
    jobq__os_mine = mu;
#else
    (void)mu;
#endif
}

static void jobq__os_not_held(struct jobq__mutex *mu) {
    jobq__assert(jobq__os_held(mu));
#ifdef JOBQ_DEBUG
    mu->held = 0;
    jobq__os_mine = NULL;
#else
    (void)mu;
#endif
}

JOBQ__INTERNAL void jobq__os_lock(struct jobq__mutex *mu) {
    jobq__assert(jobq__os_may_call_out());
    pthread_mutex_lock(&mu->raw);
    jobq__os_now_held(mu);
}

JOBQ__INTERNAL void jobq__os_unlock(struct jobq__mutex *mu) {
    jobq__os_not_held(mu);
    pthread_mutex_unlock(&mu->raw);
}

JOBQ__INTERNAL bool jobq__os_held(const struct jobq__mutex *mu) {
#ifdef JOBQ_DEBUG
    return mu->held && pthread_equal(mu->holder, pthread_self());
#else
    (void)mu;
    return true;
#endif
}

JOBQ__INTERNAL bool jobq__os_may_call_out(void) {
#ifdef JOBQ_DEBUG
    return !jobq__os_mine;
#else
    return true;
#endif
}

JOBQ__INTERNAL bool jobq__os_may_block(void) {
#ifdef JOBQ_DEBUG
    return !jobq__os_mine || jobq__os_mine->patient;
#else
    return true;
#endif
}

static __thread struct jobq__os_call *jobq__os_calls;

JOBQ__INTERNAL void jobq__os_call_begin(struct jobq__os_call *call, const void *owner) {
    jobq__assert(jobq__os_may_call_out());
    call->owner = owner;
    call->outer = jobq__os_calls;
    jobq__os_calls = call;
}

JOBQ__INTERNAL void jobq__os_call_end(const struct jobq__os_call *call) {
    jobq__assert(jobq__os_calls == call);
    jobq__os_calls = call->outer;
}

JOBQ__INTERNAL bool jobq__os_in_call(const void *owner) {
    const struct jobq__os_call *call = jobq__os_calls;
    while (call && owner && call->owner != owner) call = call->outer;
    return call != NULL;
}

JOBQ__INTERNAL int jobq__os_cond_init(struct jobq__cond *cond, enum jobq__os_time time) {
    pthread_condattr_t attr;
    int failed;
    if (pthread_condattr_init(&attr)) return JOBQ_NO_MEMORY;
    pthread_condattr_setclock(&attr, time == JOBQ__OS_MONO ? CLOCK_MONOTONIC : CLOCK_REALTIME);
    cond->time = time;
    failed = pthread_cond_init(&cond->raw, &attr);
    pthread_condattr_destroy(&attr);
    return failed ? JOBQ_NO_MEMORY : JOBQ_OK;
}

JOBQ__INTERNAL void jobq__os_cond_fini(struct jobq__cond *cond) {
    pthread_cond_destroy(&cond->raw);
}

JOBQ__INTERNAL void jobq__os_wait(struct jobq__cond *cond, struct jobq__mutex *mu) {
    jobq__os_not_held(mu);
    pthread_cond_wait(&cond->raw, &mu->raw);
    jobq__os_now_held(mu);
}

JOBQ__INTERNAL bool jobq__os_wait_until(struct jobq__cond *cond, struct jobq__mutex *mu,
                                        int64_t at_us) {
    struct timespec at;
    int64_t seconds = at_us / 1000000;
    int failed;
    /* Some systems refuse far futures; waking once in 30 years does no harm. */
    if (seconds > 4000000000) seconds = 4000000000;
    if (at_us < 0) seconds = 0;
    at.tv_sec = (time_t)seconds;
    at.tv_nsec = at_us < 0 ? 0 : (long)(at_us % 1000000) * 1000;
    jobq__os_not_held(mu);
    failed = pthread_cond_timedwait(&cond->raw, &mu->raw, &at);
    jobq__os_now_held(mu);
    return failed != ETIMEDOUT;
}

JOBQ__INTERNAL void jobq__os_signal(struct jobq__cond *cond) {
    pthread_cond_signal(&cond->raw);
}

JOBQ__INTERNAL void jobq__os_broadcast(struct jobq__cond *cond) {
    pthread_cond_broadcast(&cond->raw);
}

/* ---- Threads ---- */

struct jobq__os_start {
    void (*body)(void *);
    void *arg;
};

static void *jobq__os_thread_main(void *arg) {
    struct jobq__os_start start = *(struct jobq__os_start *)arg;
    jobq__mem_free(arg);
    start.body(start.arg);
    return NULL;
}

/* Some systems want whole pages; none has larger ones than these. */
static int jobq__os_set_stack(pthread_attr_t *attr, size_t stack_bytes) {
    const size_t page = 65536;
    if (!stack_bytes) return 0;
    if (stack_bytes > SIZE_MAX - page) return EINVAL;
    return pthread_attr_setstacksize(attr, (stack_bytes + page - 1) / page * page);
}

JOBQ__INTERNAL int jobq__os_thread_start(jobq__thread *thread, size_t stack_bytes,
                                         void (*body)(void *), void *arg) {
    struct jobq__os_start *start = jobq__mem_new(sizeof *start);
    pthread_attr_t attr;
    int failed = start ? pthread_attr_init(&attr) : ENOMEM;
    if (!failed) {
        start->body = body;
        start->arg = arg;
        failed = jobq__os_set_stack(&attr, stack_bytes);
        if (!failed) failed = pthread_create(thread, &attr, jobq__os_thread_main, start);
        pthread_attr_destroy(&attr);
    }
    if (failed) jobq__mem_free(start);
    return failed ? JOBQ_NO_MEMORY : JOBQ_OK;
}

JOBQ__INTERNAL void jobq__os_thread_join(jobq__thread thread) {
    pthread_join(thread, NULL);
}

JOBQ__INTERNAL jobq__thread jobq__os_thread_self(void) {
    return pthread_self();
}

JOBQ__INTERNAL void jobq__os_yield(void) {
    sched_yield();
}

static __thread void *jobq__os_at;

JOBQ__INTERNAL void *jobq__os_thread_is_at(void *what) {
    void *before = jobq__os_at;
    jobq__os_at = what;
    return before;
}

JOBQ__INTERNAL bool jobq__os_thread_same(jobq__thread a, jobq__thread b) {
    return pthread_equal(a, b) != 0;
}

/* ---- Clocks ---- */

static int64_t jobq__os_time_us(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

JOBQ__INTERNAL int64_t jobq__os_time_wall_us(void) {
    return jobq__os_time_us(CLOCK_REALTIME);
}

JOBQ__INTERNAL int64_t jobq__os_time_mono_us(void) {
    return jobq__os_time_us(CLOCK_MONOTONIC);
}

/* ---- Files and processes ---- */

JOBQ__INTERNAL enum jobq__os_kind jobq__os_stat(const char *path, struct jobq__os_id *id) {
    struct stat st;
    if (stat(path, &st)) return errno == ENOENT ? JOBQ__OS_MISSING : JOBQ__OS_ERROR;
    id->device = (uint64_t)st.st_dev;
    id->file = (uint64_t)st.st_ino;
    return S_ISREG(st.st_mode) ? JOBQ__OS_FILE : JOBQ__OS_OTHER;
}

JOBQ__INTERNAL bool jobq__os_remote(const char *path) {
#if defined(__linux__)
    /* f_type, from the kernel's magic.h and the file systems' own sources. FUSE may be local, but
     * nobody can tell; virtiofs and sshfs say the same. */
    static const uint32_t remote[] = {
        0x6969 /* NFS */, 0x517B /* SMB */, 0xFF534D42 /* CIFS */, 0xFE534D42 /* SMB 2 */,
        0x564C /* NCP */, 0x73757245 /* Coda */, 0x5346414F /* AFS */, 0x6B414653 /* kAFS */,
        0x01021997 /* 9p */, 0x65735546 /* FUSE */, 0x00C36400 /* Ceph */, 0x01161970 /* GFS 2 */,
        0x7461636F /* OCFS 2 */, 0x0BD00BD0 /* Lustre */, 0x47504653 /* GPFS */,
        0x19830326 /* BeeGFS */, 0x20030528 /* OrangeFS */, 0x786F4256 /* VirtualBox */,
        0xBACBACBC /* VMware */, 0x7C7C6673 /* Parallels */};
    struct statfs st;
    size_t i;
    if (statfs(path, &st)) return false;
    for (i = 0; i < JOBQ__COUNT(remote); i++)
        if ((uint32_t)st.f_type == remote[i]) return true;
    return false;
#elif defined(MNT_LOCAL)
    struct statfs st;
    return statfs(path, &st) == 0 && !(st.f_flags & MNT_LOCAL);
#else
    (void)path;
    return false;
#endif
}

static int jobq__os_open_code(void) {
    if (errno == EROFS || errno == EACCES || errno == EPERM) return JOBQ_READ_ONLY;
    if (errno == ENOSPC || errno == EDQUOT) return JOBQ_FULL;
    return JOBQ_CANT_OPEN;
}

JOBQ__INTERNAL int jobq__os_create(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return errno == EEXIST ? JOBQ_OK : jobq__os_open_code();
    close(fd);
    return JOBQ_OK;
}

JOBQ__INTERNAL char *jobq__os_real_path(const char *path, const char *suffix) {
    char *real = realpath(path, NULL), *result = NULL;
    size_t length, more = strlen(suffix);
    if (!real) return NULL;
    length = strlen(real);
    result = jobq__mem_new(length + more + 1);
    if (result) {
        memcpy(result, real, length);
        memcpy(result + length, suffix, more);
    }
    free(real);
    return result;
}

/* Real zeros: a store into a hole of a mapped file kills the process when the disk is full. */
static int jobq__os_fill(int fd, off_t from, size_t size) {
    static const char zeros[512];
    while (from < (off_t)size) {
        size_t part = JOBQ__MIN(sizeof zeros, size - (size_t)from);
        ssize_t written = pwrite(fd, zeros, part, from);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return errno == EIO ? JOBQ_IO : JOBQ_FULL;
        from += written;
    }
    return JOBQ_OK;
}

static int jobq__os_page_lock(int fd, size_t size) {
    struct stat st;
    if (flock(fd, LOCK_EX | LOCK_NB)) return errno == EWOULDBLOCK ? JOBQ_LOCKED : JOBQ_IO;
    /* Only the owner may change the size: another mapping would die of a shrunken file. */
    if (fstat(fd, &st)) return JOBQ_IO;
    return st.st_size < (off_t)size ? jobq__os_fill(fd, st.st_size, size) : JOBQ_OK;
}

JOBQ__INTERNAL int jobq__os_page_open(const char *path, size_t size, bool exclusive, int *fd,
                                      void **page) {
    struct stat st;
    int rc = JOBQ_OK;
    *page = NULL;
    *fd = open(path, (exclusive ? O_RDWR | O_CREAT : O_RDONLY) | O_CLOEXEC, 0600);
    if (*fd < 0) return jobq__os_open_code();
    if (exclusive) rc = jobq__os_page_lock(*fd, size);
    if (fstat(*fd, &st) == 0 && st.st_size >= (off_t)size) {
        int protection = exclusive && rc == JOBQ_OK ? PROT_READ | PROT_WRITE : PROT_READ;
        *page = mmap(NULL, size, protection, MAP_SHARED, *fd, 0);
        if (*page == MAP_FAILED) *page = NULL;
    }
    if (!*page && rc == JOBQ_OK) rc = JOBQ_IO;
    if (rc != JOBQ_OK) {
        close(*fd);
        *fd = -1;
    }
    return rc;
}

JOBQ__INTERNAL void jobq__os_page_unlock(int fd) {
    flock(fd, LOCK_UN);
}

JOBQ__INTERNAL void jobq__os_page_close(int fd, void *page, size_t size) {
    if (page) munmap(page, size);
    if (fd >= 0) close(fd);
}

/* Allocates the bytes between the two sizes. An errno, or 0. */
static int jobq__os_extend(int fd, off_t from, off_t to) {
#ifdef __APPLE__
    fstore_t store = {F_ALLOCATEALL, F_PEOFPOSMODE, 0, to - from, 0};
    if (fcntl(fd, F_PREALLOCATE, &store) == -1 || ftruncate(fd, to)) return errno;
    return 0;
#else
    int failed;
    do failed = posix_fallocate(fd, from, to - from);
    while (failed == EINTR);
    return failed;
#endif
}

JOBQ__INTERNAL int jobq__os_allocate(int fd, int64_t size) {
    struct stat st;
    int failed = 0;
    if (fstat(fd, &st)) return JOBQ_IO;
    if (st.st_size > (off_t)size) failed = ftruncate(fd, (off_t)size) ? errno : 0;
    else if (st.st_size < (off_t)size) failed = jobq__os_extend(fd, st.st_size, (off_t)size);
    if (!failed) return JOBQ_OK;
    /* It may have got a part of it. */
    if (st.st_size < (off_t)size && ftruncate(fd, st.st_size)) return JOBQ_IO;
    return failed == ENOSPC || failed == EDQUOT ? JOBQ_FULL : JOBQ_IO;
}

JOBQ__INTERNAL int64_t jobq__os_size(int fd) {
    struct stat st;
    return fstat(fd, &st) ? 0 : (int64_t)st.st_size;
}

JOBQ__INTERNAL int64_t jobq__os_free_bytes(int fd) {
    struct statvfs st;
    if (fstatvfs(fd, &st) || st.f_frsize > INT32_MAX) return INT64_MAX;
    if (st.f_bavail > (uint64_t)INT64_MAX / st.f_frsize) return INT64_MAX;
    return (int64_t)(st.f_bavail * st.f_frsize);
}

JOBQ__INTERNAL bool jobq__os_names(const char *path, int fd) {
    struct stat named, open;
    if (stat(path, &named) || fstat(fd, &open)) return false;
    return named.st_ino == open.st_ino && named.st_dev == open.st_dev;
}

JOBQ__INTERNAL int jobq__os_pid(void) {
    return (int)getpid();
}

JOBQ__INTERNAL void jobq__os_boot_id(char *text, size_t capacity) {
    ssize_t size = 0;
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        size = read(fd, text, capacity - 1);
        close(fd);
    }
    text[size > 0 ? size : 0] = 0;
    text[strcspn(text, "\n")] = 0;
}

static struct jobq__mutex jobq__os_global = {.raw = PTHREAD_MUTEX_INITIALIZER};

JOBQ__INTERNAL void jobq__os_global_lock(void) {
    jobq__os_lock(&jobq__os_global);
}

JOBQ__INTERNAL void jobq__os_global_unlock(void) {
    jobq__os_unlock(&jobq__os_global);
}

JOBQ__INTERNAL void jobq__os_hooks(void (*in_child)(void), void (*at_exit)(void)) {
    static int done;
    if (done) return;
    done = 1;
    pthread_atfork(jobq__os_global_lock, jobq__os_global_unlock, in_child);
    atexit(at_exit);
}
