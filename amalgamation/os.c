/* os.c - threads, clocks, atomics, files for POSIX. */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>
#if defined(__GLIBC__) && (__GLIBC__ > 2 || (__GLIBC__ == 2 && __GLIBC_MINOR__ >= 32))
#include <sys/single_threaded.h>
#define JOBQ__OS_KNOWS_THREADS 1
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/vfs.h>
#elif defined(__APPLE__) || defined(__FreeBSD__) || defined(__OpenBSD__) || defined(__DragonFly__)
#include <sys/mount.h>
#include <sys/param.h>
#include <sys/sysctl.h>
#endif

/* No system that runs this was started before: 2020 in seconds. */
#define JOBQ__OS_CLOCK_IS_SET 1577836800

/* ---- Locks ---- */

#ifdef JOBQ_DEBUG
static __thread const struct jobq__mutex *jobq__os_mine; /* the one that this thread holds */
#endif

JOBQ__INTERNAL int jobq__os_mutex_init(struct jobq__mutex *mu) {
    memset(mu, 0, sizeof *mu);
    mu->made = !pthread_mutex_init(&mu->raw, NULL);
    return mu->made ? JOBQ_OK : JOBQ_NO_MEMORY;
}

JOBQ__INTERNAL void jobq__os_mutex_patient(struct jobq__mutex *mu) {
#ifdef JOBQ_DEBUG
    mu->patient = true;
#else
    (void)mu;
#endif
}

JOBQ__INTERNAL void jobq__os_mutex_fini(struct jobq__mutex *mu) {
    if (mu->made) pthread_mutex_destroy(&mu->raw);
    mu->made = false;
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
static __thread const sigset_t *jobq__os_mask; /* of a deaf thread: that of who started it */

static void jobq__os_deafen(sigset_t *before) {
    static const int own[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};
    sigset_t set;
    size_t i;
    sigfillset(&set);
    for (i = 0; i < JOBQ__COUNT(own); i++) sigdelset(&set, own[i]);
    pthread_sigmask(SIG_BLOCK, &set, before);
}

JOBQ__INTERNAL void jobq__os_call_begin(struct jobq__os_call *call, const void *owner,
                                        const char *name) {
    jobq__assert(jobq__os_may_call_out());
    call->owner = owner;
    call->name = name;
    call->outer = jobq__os_calls;
    jobq__os_calls = call;
    if (jobq__os_mask && !call->outer) pthread_sigmask(SIG_SETMASK, jobq__os_mask, NULL);
}

JOBQ__INTERNAL void jobq__os_call_end(const struct jobq__os_call *call) {
    jobq__assert(jobq__os_calls == call);
    jobq__os_calls = call->outer;
    if (jobq__os_mask && !call->outer) jobq__os_deafen(NULL);
}

JOBQ__INTERNAL bool jobq__os_in_call(const void *owner) {
    const struct jobq__os_call *call = jobq__os_calls;
    while (call && call->owner != owner) call = call->outer;
    return call != NULL;
}

static __thread int jobq__os_transactions;

JOBQ__INTERNAL void jobq__os_transaction(int by) {
    jobq__os_transactions += by;
}

JOBQ__INTERNAL bool jobq__os_awaited(void) {
    return jobq__os_calls || jobq__os_transactions > 0;
}

JOBQ__INTERNAL const char *jobq__os_call_name(void) {
    return jobq__os_calls ? jobq__os_calls->name : NULL;
}

JOBQ__INTERNAL int jobq__os_cond_init(struct jobq__cond *cond, enum jobq__os_time time) {
    pthread_condattr_t attr;
    int failed;
    cond->made = false;
    if (pthread_condattr_init(&attr)) return JOBQ_NO_MEMORY;
    pthread_condattr_setclock(&attr, time == JOBQ__OS_MONO ? CLOCK_MONOTONIC : CLOCK_REALTIME);
    cond->time = time;
    failed = pthread_cond_init(&cond->raw, &attr);
    pthread_condattr_destroy(&attr);
    cond->made = !failed;
    return failed ? JOBQ_NO_MEMORY : JOBQ_OK;
}

JOBQ__INTERNAL void jobq__os_cond_fini(struct jobq__cond *cond) {
    if (cond->made) pthread_cond_destroy(&cond->raw);
    cond->made = false;
}

JOBQ__INTERNAL void jobq__os_wait(struct jobq__cond *cond, struct jobq__mutex *mu) {
    jobq__os_not_held(mu);
    pthread_cond_wait(&cond->raw, &mu->raw);
    jobq__os_now_held(mu);
}

/* Some systems refuse far futures, and a time_t of 32 bits ends in 2038. Who waits for something
 * later than this is woken then, finds it too early and waits again. */
#define JOBQ__OS_SECONDS_MAX (sizeof(time_t) < 8 ? (int64_t)INT32_MAX : INT64_C(4000000000))

JOBQ__INTERNAL bool jobq__os_wait_until(struct jobq__cond *cond, struct jobq__mutex *mu,
                                        int64_t at_us) {
    struct timespec at;
    int failed;
    at_us = JOBQ__MAX(JOBQ__MIN(at_us, JOBQ__OS_SECONDS_MAX * 1000000), 0);
    at.tv_sec = (time_t)(at_us / 1000000);
    at.tv_nsec = (long)(at_us % 1000000) * 1000;
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
    struct jobq__os_thread what;
    sigset_t mask;
};

static void *jobq__os_thread_main(void *arg) {
    struct jobq__os_start start = *(struct jobq__os_start *)arg;
    jobq__mem_free(arg);
    /* Who cancels a thread of ours would take along what it holds. Some systems cannot. */
#ifdef PTHREAD_CANCEL_DISABLE
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
#endif
    if (start.what.deaf) jobq__os_mask = &start.mask;
    start.what.body(start.what.arg);
    return NULL;
}

static int jobq__os_thread_try(jobq__thread *thread, size_t stack_bytes,
                               struct jobq__os_start *start) {
    pthread_attr_t attr;
    int failed = pthread_attr_init(&attr);
    if (failed) return failed;
    if (stack_bytes) failed = pthread_attr_setstacksize(&attr, stack_bytes);
    if (!failed) failed = pthread_create(thread, &attr, jobq__os_thread_main, start);
    pthread_attr_destroy(&attr);
    return failed;
}

/* Systems differ in how small a stack they take, and what thread-local data in it they count: where
 * one is refused, a larger one is tried. Some want whole pages; none has larger ones than these. */
static int jobq__os_thread_with(jobq__thread *thread, size_t stack_bytes,
                                struct jobq__os_start *start) {
    const size_t page = 65536, most = (size_t)64 << 20;
    int failed;
    if (stack_bytes > SIZE_MAX / 2) return EINVAL;
    stack_bytes = (stack_bytes + page - 1) / page * page;
    failed = jobq__os_thread_try(thread, stack_bytes, start);
    while (failed == EINVAL && stack_bytes && stack_bytes < most) {
        stack_bytes *= 2;
        failed = jobq__os_thread_try(thread, stack_bytes, start);
    }
    return failed;
}

JOBQ__INTERNAL int jobq__os_thread_start(jobq__thread *thread, const struct jobq__os_thread *what) {
    struct jobq__os_start *start = jobq__mem_new(sizeof *start);
    sigset_t mask;
    int failed;
    if (!start) return JOBQ_NO_MEMORY;
    start->what = *what;
    /* It begins with the mask that we have at this moment: not even its first step hears. */
    if (what->deaf) jobq__os_deafen(&start->mask);
    mask = start->mask;
    failed = jobq__os_thread_with(thread, (size_t)what->stack_bytes, start);
    if (what->deaf) pthread_sigmask(SIG_SETMASK, &mask, NULL);
    if (!failed) return JOBQ_OK;
    jobq__mem_free(start);
    return failed == EAGAIN || failed == ENOMEM ? JOBQ_NO_MEMORY : JOBQ_IO;
}

JOBQ__INTERNAL void jobq__os_thread_join(jobq__thread thread) {
    pthread_join(thread, NULL);
}

JOBQ__INTERNAL jobq__thread jobq__os_thread_self(void) {
    return pthread_self();
}

JOBQ__INTERNAL bool jobq__os_alone(void) {
#ifdef JOBQ__OS_KNOWS_THREADS
    if (__libc_single_threaded) return true;
#endif
#if defined(__linux__)
    /* A folder for each thread, besides the two names that every folder has. */
    struct stat st;
    return stat("/proc/self/task", &st) == 0 && st.st_nlink == 3;
#else
    return false;
#endif
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

JOBQ__INTERNAL void jobq__os_sleep_us(int64_t duration_us) {
    struct timespec left;
    left.tv_sec = (time_t)(duration_us / 1000000);
    left.tv_nsec = (long)(duration_us % 1000000) * 1000;
    if (duration_us > 0) nanosleep(&left, NULL);
}

JOBQ__INTERNAL bool jobq__os_thread_same(jobq__thread a, jobq__thread b) {
    return pthread_equal(a, b) != 0;
}

/* ---- Clocks ---- */

/* A clock that cannot be read stands still for this thread, and for one that has never read it
 * where another thread has read it first: to be 1970 for a moment would end nothing that waits, and
 * what is stored then would be the first of all. */
static int64_t jobq__os_time_us(clockid_t id, int64_t *last, int64_t *first) {
    struct timespec t;
    int64_t now_us;
    if (clock_gettime(id, &t)) return *last ? *last : jobq__os_load64(first);
    now_us = (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
    if (!*last) jobq__os_store64(first, now_us);
    return *last = now_us;
}

JOBQ__INTERNAL int64_t jobq__os_time_wall_us(void) {
    static __thread int64_t last_us;
    static int64_t first_us;
    return jobq__os_time_us(CLOCK_REALTIME, &last_us, &first_us);
}

JOBQ__INTERNAL int64_t jobq__os_time_mono_us(void) {
    static __thread int64_t last_us;
    static int64_t first_us;
    return jobq__os_time_us(CLOCK_MONOTONIC, &last_us, &first_us);
}

/* Linux lets CLOCK_MONOTONIC stand still meanwhile, others do not. */
#ifdef CLOCK_BOOTTIME
#define JOBQ__OS_PASSED CLOCK_BOOTTIME
#else
#define JOBQ__OS_PASSED CLOCK_MONOTONIC
#endif

JOBQ__INTERNAL int64_t jobq__os_time_passed_us(void) {
    static __thread int64_t last_us;
    static int64_t first_us;
    return jobq__os_time_us(JOBQ__OS_PASSED, &last_us, &first_us);
}

/* ---- Files and processes ---- */

/* Descriptors below 3 are standard input, output and error to every other part of the process,
 * even if they are closed: whatever is printed would go into the file. */
static int jobq__os_open(const char *path, int flags, int mode) {
    int fd, low, failed;
    do fd = open(path, flags | O_CLOEXEC, (mode_t)mode);
    while (fd < 0 && errno == EINTR);
    if (fd < 0 || fd > 2) return fd;
    low = fd;
    fd = fcntl(low, F_DUPFD_CLOEXEC, 3);
    failed = errno;
    close(low);
    errno = failed;
    return fd;
}

static struct jobq__os_id jobq__os_id(const struct stat *st) {
    struct jobq__os_id id = {(uint64_t)st->st_dev, (uint64_t)st->st_ino};
    return id;
}

JOBQ__INTERNAL int jobq__os_look(const char *path, struct jobq__os_file *file) {
    struct stat st;
    memset(file, 0, sizeof *file);
    if (lstat(path, &st)) return errno == ENOENT || errno == ENOTDIR ? 0 : errno;
    file->kind = S_ISREG(st.st_mode) ? JOBQ__OS_FILE
               : S_ISLNK(st.st_mode) ? JOBQ__OS_LINK
               : S_ISDIR(st.st_mode) ? JOBQ__OS_DIRECTORY : JOBQ__OS_OTHER;
    file->id = jobq__os_id(&st);
    file->size = (int64_t)st.st_size;
    file->names = (int64_t)st.st_nlink;
    file->mode = (int)(st.st_mode & 0777);
    file->user = (int64_t)st.st_uid;
    file->group = (int64_t)st.st_gid;
    return 0;
}

JOBQ__INTERNAL int jobq__os_may(const char *path, bool write) {
    if (!faccessat(AT_FDCWD, path, write ? R_OK | W_OK : R_OK, AT_EACCESS)) return 0;
    return errno == EACCES || errno == EPERM || errno == EROFS ? errno : 0;
}

JOBQ__INTERNAL bool jobq__os_moved(const char *path, const struct jobq__os_id *id) {
    struct jobq__os_file now;
    if (jobq__os_look(path, &now)) return false;
    return now.kind == JOBQ__OS_MISSING || !jobq__os_same_file(&now.id, id);
}

JOBQ__INTERNAL struct jobq__os_id jobq__os_id_of(int fd) {
    struct jobq__os_id none = {0, 0};
    struct stat st;
    return fstat(fd, &st) ? none : jobq__os_id(&st);
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

JOBQ__INTERNAL bool jobq__os_short_names(const char *path) {
#if defined(__linux__)
    struct statfs st;
    return statfs(path, &st) == 0 && (uint32_t)st.f_type == 0x4D44; /* msdos and vfat */
#else
    (void)path;
    return false;
#endif
}

#if defined(__linux__)
/* Looks for a line whose fifth field is path; blanks and the like stand there as \040. */
static bool jobq__os_in_mounts(int fd, const char *path) {
    char buffer[1024];
    int field = 0, digits = 0;
    unsigned value = 0;
    size_t at = 0;
    bool same = true, found = false;
    ssize_t size, i;
    while (!found && (size = read(fd, buffer, sizeof buffer)) > 0) {
        for (i = 0; i < size && !found; i++) {
            unsigned char c = (unsigned char)buffer[i];
            if (c == ' ' || c == '\n') {
                found = field == 4 && same && !path[at];
                field = c == ' ' ? field + 1 : 0;
                at = 0;
                same = true;
                continue;
            }
            if (field != 4 || !same) continue;
            if (c == '\\' && !digits) {
                digits = 3;
                value = 0;
                continue;
            }
            if (digits) {
                value = value * 8 + (unsigned)(c - '0');
                if (--digits) continue;
                c = (unsigned char)value;
            }
            same = path[at] && (unsigned char)path[at] == c;
            at += same;
        }
    }
    return found;
}

/* Asks the kernel itself; false if it does not know. Not on Android, which kills who makes a call
 * that it has not heard of. */
static bool jobq__os_tells_mount(const char *path, bool *mounted) {
#if defined(SYS_statx) && !defined(__ANDROID__)
    /* struct statx as words, and STATX_ATTR_MOUNT_ROOT: not every system's headers have them. */
    enum { ATTRIBUTES = 1, KNOWN = 7, WORDS = 32, MOUNT_ROOT = 0x2000 };
    uint64_t st[WORDS] = {0};
    if (syscall(SYS_statx, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, 0, st)) return false;
    *mounted = (st[ATTRIBUTES] & MOUNT_ROOT) != 0;
    return (st[KNOWN] & MOUNT_ROOT) != 0;
#else
    (void)path;
    (void)mounted;
    return false;
#endif
}
#endif

JOBQ__INTERNAL int jobq__os_mounted(const char *path, bool *mounted) {
#if defined(__linux__)
    int fd;
    if (jobq__os_tells_mount(path, mounted)) return 0;
    fd = jobq__os_open("/proc/self/mountinfo", O_RDONLY, 0);
    *mounted = fd >= 0 && jobq__os_in_mounts(fd, path);
    if (fd < 0) return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? errno : 0;
    close(fd);
#else
    (void)path;
    *mounted = false;
#endif
    return 0;
}

/* "dir/" and name as one text; a dir of size 0 is not there. */
static char *jobq__os_join(const char *dir, size_t size, const char *name) {
    size_t length = strlen(name);
    char *joined = jobq__mem_new(size + length + 2);
    if (!joined) return NULL;
    memcpy(joined, dir, size);
    if (size && dir[size - 1] != '/') joined[size++] = '/';
    memcpy(joined + size, name, length + 1);
    return joined;
}

/* What path leads to is what stands under its text: some paths lead elsewhere, as those through
 * /proc do. 0 or errno; what is gone by now leads nowhere. */
static int jobq__os_compare(const char *path, const char *real) {
    struct stat led, named;
    struct jobq__os_id a, b;
    if (stat(path, &led)) return errno == ENOENT ? 0 : errno;
    if (stat(real, &named)) return errno == ENOENT ? JOBQ__OS_ELSEWHERE : errno;
    a = jobq__os_id(&led);
    b = jobq__os_id(&named);
    return jobq__os_same_file(&a, &b) ? 0 : JOBQ__OS_ELSEWHERE;
}

/* The text of what stands at path; 0 or errno. */
static int jobq__os_real(const char *path, char **real) {
    struct stat st;
    int failed = 0, again = 0;
    *real = realpath(path, NULL);
    if (!*real) failed = errno;
    /* It may have been made just now; else its text is no name. */
    if (failed == ENOENT && !stat(path, &st)) {
        *real = realpath(path, NULL);
        if (!*real) again = errno;
        failed = again == ENOENT ? JOBQ__OS_ELSEWHERE : again;
    }
    if (!failed) failed = jobq__os_compare(path, *real);
    if (!failed) return 0;
    free(*real);
    *real = NULL;
    return failed;
}

/* The last part of *path is missing, or a link to what is missing: goes where the link leads, or
 * says at once what the whole means. 0 or errno. */
static int jobq__os_resolve_last(char **path, char **resolved) {
    const char *slash = strrchr(*path, '/');
    const char *name = slash ? slash + 1 : *path;
    size_t size = (size_t)(name - *path);
    char target[1024], *real, *dir;
    ssize_t length;
    int failed;
    if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return ENOENT;
    length = readlink(*path, target, sizeof target - 1);
    if (length == (ssize_t)sizeof target - 1) return ENAMETOOLONG;
    if (length >= 0) {
        target[length] = 0;
        dir = jobq__os_join(*path, target[0] == '/' ? 0 : size, target);
        if (!dir) return ENOMEM;
        jobq__mem_free(*path);
        *path = dir;
        return 0;
    }
    dir = jobq__os_join(*path, size, ".");
    if (!dir) return ENOMEM;
    failed = jobq__os_real(dir, &real);
    jobq__mem_free(dir);
    if (failed) return failed;
    *resolved = jobq__os_join(real, strlen(real), name);
    free(real);
    return *resolved ? 0 : ENOMEM;
}

JOBQ__INTERNAL int jobq__os_resolve(const char *path, char **resolved) {
    char *at = jobq__mem_copy(path, strlen(path)), *real;
    int links = 0, failed = at ? 0 : ENOMEM;
    *resolved = NULL;
    while (!failed && !*resolved) {
        failed = jobq__os_real(at, &real);
        if (!failed) {
            *resolved = jobq__mem_copy(real, strlen(real));
            free(real);
            failed = *resolved ? 0 : ENOMEM;
        } else if (failed == ENOENT) {
            failed = links++ < 40 ? jobq__os_resolve_last(&at, resolved) : ELOOP;
        }
    }
    jobq__mem_free(at);
    return failed;
}

JOBQ__INTERNAL bool jobq__os_full(int os_code) {
    return os_code == ENOSPC || os_code == EDQUOT;
}

static int jobq__os_code(int os_code) {
    if (os_code == EROFS || os_code == EACCES || os_code == EPERM) return JOBQ_READ_ONLY;
    if (jobq__os_full(os_code)) return JOBQ_FULL;
    if (os_code == ENOMEM) return JOBQ_NO_MEMORY;
    return JOBQ_CANT_OPEN;
}

JOBQ__INTERNAL int jobq__os_create(const char *path, int mode, int64_t group, bool *created,
                                   jobq_error *err) {
    int fd = jobq__os_open(path, O_RDWR | O_CREAT | O_EXCL, 0600), rc = JOBQ_OK;
    *created = fd >= 0;
    if (fd < 0 && errno == EEXIST) return JOBQ_OK;
    if (fd < 0)
        return jobq__err_os(err, jobq__os_code(errno), errno, "open", path,
                            "a queue cannot be made there");
    if (group && fchown(fd, (uid_t)-1, (gid_t)group))
        rc = jobq__err_os(err, jobq__os_code(errno), errno, "fchown", path,
                          "the process has to belong to group_id");
    else if (fchmod(fd, (mode_t)mode))
        rc = jobq__err_os(err, jobq__os_code(errno), errno, "fchmod", path, NULL);
    close(fd);
    if (rc != JOBQ_OK) unlink(path);
    return rc;
}

/* Only root may give a file away; a group may be given by who belongs to it. */
static uid_t jobq__os_new_user(const struct jobq__os_file *like) {
    return geteuid() == 0 ? (uid_t)like->user : (uid_t)-1;
}

JOBQ__INTERNAL void jobq__os_match_owner(const char *path, const struct jobq__os_file *like) {
    uid_t user = jobq__os_new_user(like);
    struct jobq__os_file file;
    if (jobq__os_look(path, &file) || file.kind != JOBQ__OS_FILE) return;
    if (file.group == like->group && (file.user == like->user || user == (uid_t)-1)) return;
    if (lchown(path, user, (gid_t)like->group)) return;
}

/* The mode for a file that has stayed with another group than the one that like is of: to that one
 * its members are others, and so our group's are to like. */
static int jobq__os_mode_of_others(int mode) {
    return (mode & 0707) | (mode & 07) << 3;
}

JOBQ__INTERNAL void jobq__os_match(int fd, const struct jobq__os_file *like) {
    uid_t user = jobq__os_new_user(like);
    int mode = like->mode | 0600; /* never less than we need to come in again */
    struct stat st;
    if (fstat(fd, &st)) return;
    if (st.st_gid != (gid_t)like->group || (user != (uid_t)-1 && st.st_uid != user))
        if (fchown(fd, user, (gid_t)like->group)) mode = jobq__os_mode_of_others(mode);
    if ((int)(st.st_mode & 0777) != mode && fchmod(fd, (mode_t)mode)) return;
}

/* True if the system would kill the process (SIGXFSZ) for a file of this size. */
static bool jobq__os_forbidden(int64_t size) {
    struct rlimit limit;
    return !getrlimit(RLIMIT_FSIZE, &limit) && limit.rlim_cur != RLIM_INFINITY
        && (uint64_t)size > (uint64_t)limit.rlim_cur;
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

/* A pipe in its place must not keep us waiting, nor a link lead us to another file. */
JOBQ__INTERNAL int jobq__os_page_open(const char *path, bool make, int *opened, jobq_error *err) {
    int flags = O_NOFOLLOW | O_NONBLOCK;
    int fd = jobq__os_open(path, flags | O_RDWR, 0600), failed, rc = JOBQ_OK;
    struct stat st;
    /* In a directory for everybody a system may refuse this of a file that is there. */
    if (fd < 0 && make && errno == ENOENT) fd = jobq__os_open(path, flags | O_RDWR | O_CREAT, 0600);
    /* A client that may not write there can read all the same. */
    if (fd < 0 && !make) fd = jobq__os_open(path, flags | O_RDONLY, 0);
    failed = errno;
    if (fd < 0)
        rc = jobq__err_os(err, jobq__os_code(failed), failed, "open", path,
                          failed == ELOOP ? "the lock file may not be a link; remove it"
                          : make ? "the lock file has to be there for reading and writing"
                          : jobq__os_code(failed) == JOBQ_READ_ONLY ? JOBQ__ERR_RIGHTS : NULL);
    else if (fstat(fd, &st) || !S_ISREG(st.st_mode))
        rc = jobq__err_set(err, JOBQ_NOT_A_FILE, "the lock file %.250s is not a regular file;"
                           " remove it", path);
    if (rc != JOBQ_OK && fd >= 0) close(fd);
    *opened = rc == JOBQ_OK ? fd : -1;
    return rc;
}

JOBQ__INTERNAL int jobq__os_page_lock(int fd, const char *path, size_t size, jobq_error *err) {
    struct stat st;
    int rc = JOBQ_OK;
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        if (errno == EWOULDBLOCK) return JOBQ_LOCKED;
        return jobq__err_os(err, JOBQ_IO, errno, "flock", path, NULL);
    }
    /* Only the owner may change the size: another mapping would die of a shrunken file. */
    if (fstat(fd, &st)) return jobq__err_os(err, JOBQ_IO, errno, "fstat", path, NULL);
    if (st.st_size < (off_t)size && jobq__os_forbidden((int64_t)size))
        return jobq__err_os(err, JOBQ_IO, EFBIG, "write", path, "see RLIMIT_FSIZE");
    if (st.st_size < (off_t)size) rc = jobq__os_fill(fd, st.st_size, size);
    return rc == JOBQ_OK ? rc : jobq__err_os(err, rc, errno, "write", path, NULL);
}

JOBQ__INTERNAL int jobq__os_page_map(int fd, const char *path, size_t size, bool writable,
                                     void **page, jobq_error *err) {
    int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    struct stat st;
    void *at;
    if (fstat(fd, &st)) return jobq__err_os(err, JOBQ_IO, errno, "fstat", path, NULL);
    if (st.st_size < (off_t)size)
        return jobq__err_set(err, JOBQ_IO, "the lock file %.250s is too short", path);
    at = mmap(*page, size, protection, MAP_SHARED | (*page ? MAP_FIXED : 0), fd, 0);
    if (at == MAP_FAILED) return jobq__err_os(err, JOBQ_IO, errno, "mmap", path, NULL);
    *page = at;
    return JOBQ_OK;
}

JOBQ__INTERNAL void *jobq__os_page_blank(size_t size, void *at) {
    int protection = at ? PROT_READ | PROT_WRITE : PROT_READ;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0);
    void *page = mmap(at, size, protection, flags, -1, 0);
    return page == MAP_FAILED ? NULL : page;
}

JOBQ__INTERNAL int64_t jobq__os_read_at(int fd, int64_t at, void *data, size_t size) {
    size_t done = 0;
    while (done < size) {
        ssize_t part = pread(fd, (char *)data + done, size - done, (off_t)at + (off_t)done);
        if (part < 0 && errno == EINTR) continue;
        if (part < 0) return -1;
        if (!part) break;
        done += (size_t)part;
    }
    return (int64_t)done;
}

JOBQ__INTERNAL void jobq__os_write_at(int fd, size_t at, const void *data, size_t size) {
    ssize_t written = pwrite(fd, data, size, (off_t)at);
    (void)written;
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
    if (fstat(fd, &st) || (st.st_size < (off_t)size && jobq__os_forbidden(size))) return JOBQ_IO;
    if (st.st_size > (off_t)size) failed = ftruncate(fd, (off_t)size) ? errno : 0;
    else if (st.st_size < (off_t)size) failed = jobq__os_extend(fd, st.st_size, (off_t)size);
    if (!failed) return JOBQ_OK;
    /* It may have got a part of it. */
    if (st.st_size < (off_t)size && ftruncate(fd, st.st_size)) return JOBQ_IO;
    return jobq__os_full(failed) ? JOBQ_FULL : JOBQ_IO;
}

JOBQ__INTERNAL int64_t jobq__os_size(int fd) {
    struct stat st;
    return fstat(fd, &st) ? 0 : (int64_t)st.st_size;
}

JOBQ__INTERNAL int64_t jobq__os_free_bytes(int fd) {
    struct statvfs st;
    uint64_t blocks, size;
    if (fstatvfs(fd, &st)) return INT64_MAX;
    blocks = st.f_bavail;
    size = st.f_frsize;
    if (size && blocks > (uint64_t)INT64_MAX / size) return INT64_MAX;
    return (int64_t)(blocks * size);
}

JOBQ__INTERNAL int jobq__os_pid(void) {
    return (int)getpid();
}

/* When the system was started, by its own clock; in seconds, 0 if it cannot be told. */
static int64_t jobq__os_boot_at(void) {
#if defined(CLOCK_BOOTTIME)
    struct timespec wall, up;
    if (clock_gettime(CLOCK_REALTIME, &wall) || clock_gettime(CLOCK_BOOTTIME, &up)) return 0;
    return (int64_t)wall.tv_sec - (int64_t)up.tv_sec;
#elif defined(KERN_BOOTTIME)
    int name[2] = {CTL_KERN, KERN_BOOTTIME};
    struct timeval at;
    size_t size = sizeof at;
    return sysctl(name, 2, &at, &size, NULL, 0) ? 0 : (int64_t)at.tv_sec;
#else
    return 0;
#endif
}

/* A device without a clock of its own may begin at the same time with every boot, in whatever year,
 * until somebody has set it right; and only then is a time the boot's own. */
static bool jobq__os_clock_is_right(void) {
#if defined(__linux__)
    struct timex t;
    int state;
    memset(&t, 0, sizeof t);
    state = adjtimex(&t);
    return state >= 0 && state != TIME_ERROR;
#else
    return true;
#endif
}

#define JOBQ__OS_BOOT_AT "booted at " /* where there is no id of the boot */

JOBQ__INTERNAL void jobq__os_boot_id(char *text, size_t capacity) {
    ssize_t size = 0;
    int64_t at;
    int fd = jobq__os_open("/proc/sys/kernel/random/boot_id", O_RDONLY, 0);
    if (fd >= 0) {
        size = read(fd, text, capacity - 1);
        close(fd);
    }
    text[size > 0 ? size : 0] = 0;
    text[strcspn(text, "\n")] = 0;
    if (*text) return;
    at = jobq__os_boot_at();
    if (at > JOBQ__OS_CLOCK_IS_SET && jobq__os_clock_is_right())
        snprintf(text, capacity, JOBQ__OS_BOOT_AT "%lld", (long long)at);
}

static int64_t jobq__os_booted(const char *text, size_t capacity) {
    size_t size = strlen(JOBQ__OS_BOOT_AT);
    int64_t at = 0;
    if (strncmp(text, JOBQ__OS_BOOT_AT, size) != 0) return 0;
    for (; size < capacity && text[size] >= '0' && text[size] <= '9' && at < INT64_MAX / 16; size++)
        at = at * 10 + (text[size] - '0');
    return at;
}

JOBQ__INTERNAL bool jobq__os_same_boot(const char *a, const char *b, size_t capacity) {
    int64_t at = jobq__os_booted(a, capacity), other = jobq__os_booted(b, capacity);
    /* Two clocks are read one after the other. */
    if (at && other) return at - other <= 1 && other - at <= 1;
    return *a && strncmp(a, b, capacity) == 0;
}

static struct jobq__mutex jobq__os_global = {.raw = PTHREAD_MUTEX_INITIALIZER};

JOBQ__INTERNAL void jobq__os_global_lock(void) {
    jobq__os_lock(&jobq__os_global);
}

JOBQ__INTERNAL void jobq__os_global_unlock(void) {
    jobq__os_unlock(&jobq__os_global);
}

static struct jobq__cond jobq__os_called = {.raw = PTHREAD_COND_INITIALIZER};

JOBQ__INTERNAL void jobq__os_global_wait(void) {
    jobq__os_wait(&jobq__os_called, &jobq__os_global);
}

JOBQ__INTERNAL void jobq__os_global_call(void) {
    jobq__os_global_lock();
    jobq__os_broadcast(&jobq__os_called);
    jobq__os_global_unlock();
}

JOBQ__INTERNAL int jobq__os_hooks(void (*in_child)(void), void (*at_exit)(void)) {
    static bool forks, exits;
    if (!forks) forks = !pthread_atfork(jobq__os_global_lock, jobq__os_global_unlock, in_child);
    if (forks && !exits) exits = !atexit(at_exit);
    return forks && exits ? JOBQ_OK : JOBQ_NO_MEMORY;
}
