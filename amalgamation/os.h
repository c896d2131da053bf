/* os.h - threads, clocks, atomics, files: the whole porting contract. */
#ifndef JOBQ__OS_H
#define JOBQ__OS_H

#include "err.h"
#include "mem.h"

#include <pthread.h>

/* ---- Locks. In a debug build they know their holder, and a thread may hold one at a time:
 * that rule (core.h) leaves no lock order to get wrong. ---- */

/* What is all zero was never made, and to unmake it does nothing: so a start that has failed half
 * way ends like any other. */
struct jobq__mutex {
    pthread_mutex_t raw;
    bool made;
#ifdef JOBQ_DEBUG
    pthread_t holder;
    int held;
    bool patient;
#endif
};

JOBQ__INTERNAL int jobq__os_mutex_init(struct jobq__mutex *mu);
/* Says that it may be held across a call of SQLite; all others are held for a moment only. */
JOBQ__INTERNAL void jobq__os_mutex_patient(struct jobq__mutex *mu);
JOBQ__INTERNAL void jobq__os_mutex_fini(struct jobq__mutex *mu);
JOBQ__INTERNAL void jobq__os_lock(struct jobq__mutex *mu);
JOBQ__INTERNAL void jobq__os_unlock(struct jobq__mutex *mu);
/* For assertions: true if the calling thread holds mu (always true in release). */
JOBQ__INTERNAL bool jobq__os_held(const struct jobq__mutex *mu);
/* The same: true if it may call the application, because it holds no mutex of ours; true if it may
 * call SQLite, because it holds none but a patient one. */
JOBQ__INTERNAL bool jobq__os_may_call_out(void);
JOBQ__INTERNAL bool jobq__os_may_block(void);

/* The application's callbacks that a thread is inside of, innermost first: whose each is, and its
 * name. Links lie on the thread's stack. */
struct jobq__os_call {
    const void *owner;
    const char *name;
    struct jobq__os_call *outer;
};

JOBQ__INTERNAL void jobq__os_call_begin(struct jobq__os_call *call, const void *owner,
                                        const char *name);
JOBQ__INTERNAL void jobq__os_call_end(const struct jobq__os_call *call);
/* True if the calling thread is inside one of owner's. */
JOBQ__INTERNAL bool jobq__os_in_call(const void *owner);
/* The calling thread has begun (1) or ended (-1) a job's transaction; no link, for it may begin
 * inside a callback and outlast it. */
JOBQ__INTERNAL void jobq__os_transaction(int by);
/* True if the calling thread has one, or is inside a callback of anybody's: it must not wait for
 * another's callback, which may wait for it. */
JOBQ__INTERNAL bool jobq__os_awaited(void);
/* The name of the innermost callback; NULL if there is none. */
JOBQ__INTERNAL const char *jobq__os_call_name(void);

/* A condition that waits by one of two clocks: deadlines of the wall are absolute, so that the
 * system itself re-arms them when the clock is set or the machine resumes. */
enum jobq__os_time { JOBQ__OS_MONO, JOBQ__OS_WALL };

struct jobq__cond {
    pthread_cond_t raw;
    bool made;
    enum jobq__os_time time;
};

JOBQ__INTERNAL int jobq__os_cond_init(struct jobq__cond *cond, enum jobq__os_time time);
JOBQ__INTERNAL void jobq__os_cond_fini(struct jobq__cond *cond);
JOBQ__INTERNAL void jobq__os_wait(struct jobq__cond *cond, struct jobq__mutex *mu);
/* Until at_us of the condition's clock; false once that time has come. */
JOBQ__INTERNAL bool jobq__os_wait_until(struct jobq__cond *cond, struct jobq__mutex *mu,
                                        int64_t at_us);
JOBQ__INTERNAL void jobq__os_signal(struct jobq__cond *cond);
JOBQ__INTERNAL void jobq__os_broadcast(struct jobq__cond *cond);

/* ---- Threads ---- */

typedef pthread_t jobq__thread;

/* No signal is delivered to a deaf thread, but for those that it brings on itself, so that an
 * application's handlers need not run on it. In callbacks (jobq__os_call_begin) it has the mask of
 * who started it: what is started there inherits that. */
struct jobq__os_thread {
    void (*body)(void *);
    void *arg;
    int64_t stack_bytes;        /* at least; 0: the system's default */
    bool deaf;
};

/* NO_MEMORY: the system has no room; IO: it refuses such a thread, not even with a larger stack. */
JOBQ__INTERNAL int jobq__os_thread_start(jobq__thread *thread, const struct jobq__os_thread *what);
JOBQ__INTERNAL void jobq__os_thread_join(jobq__thread thread);
JOBQ__INTERNAL jobq__thread jobq__os_thread_self(void);
JOBQ__INTERNAL bool jobq__os_thread_same(jobq__thread a, jobq__thread b);
JOBQ__INTERNAL void jobq__os_yield(void);
JOBQ__INTERNAL void jobq__os_sleep_us(int64_t duration_us);
/* True if it is certain that the process has no other thread. */
JOBQ__INTERNAL bool jobq__os_alone(void);
/* What the calling thread is at, for who asks on that thread; returns what it was at before. */
JOBQ__INTERNAL void *jobq__os_thread_is_at(void *what);

/* ---- Raw clocks; only clock.c may call them ---- */

JOBQ__INTERNAL int64_t jobq__os_time_wall_us(void);
JOBQ__INTERNAL int64_t jobq__os_time_mono_us(void);
/* The same, and it goes on while the machine is suspended, where such a clock can be had. */
JOBQ__INTERNAL int64_t jobq__os_time_passed_us(void);

/* ---- Atomics: C99 has none. Loads acquire, stores release, the rest is both. ---- */

static inline int32_t jobq__os_load(const int32_t *at) {
    return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}
static inline void jobq__os_store(int32_t *at, int32_t value) {
    __atomic_store_n(at, value, __ATOMIC_RELEASE);
}
static inline int32_t jobq__os_add(int32_t *at, int32_t value) {
    return __atomic_add_fetch(at, value, __ATOMIC_SEQ_CST);
}
static inline int32_t jobq__os_or(int32_t *at, int32_t bits) {
    return __atomic_or_fetch(at, bits, __ATOMIC_SEQ_CST);
}
/* Stores to if from stands there; true if it did. */
static inline bool jobq__os_swap(int32_t *at, int32_t from, int32_t to) {
    return __atomic_compare_exchange_n(at, &from, to, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
static inline int64_t jobq__os_load64(const int64_t *at) {
    return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}
static inline void jobq__os_store64(int64_t *at, int64_t value) {
    __atomic_store_n(at, value, __ATOMIC_RELEASE);
}
static inline void *jobq__os_load_pointer(void *const *at) {
    return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}
static inline void jobq__os_store_pointer(void **at, void *value) {
    __atomic_store_n(at, value, __ATOMIC_RELEASE);
}

/* ---- Files and processes ---- */

struct jobq__os_id {
    uint64_t device, file;
};

enum jobq__os_kind {
    JOBQ__OS_MISSING, JOBQ__OS_FILE, JOBQ__OS_LINK, JOBQ__OS_DIRECTORY, JOBQ__OS_OTHER
};

/* What stands under a name. */
struct jobq__os_file {
    enum jobq__os_kind kind;
    struct jobq__os_id id;
    int64_t size;
    int64_t names;              /* hard links to it */
    int mode;                   /* of access: 0600 and the like */
    int64_t user, group;
};

/* Looks without opening: closing a descriptor of a database file would drop SQLite's locks. A
 * link is not followed. Returns 0, or errno if it may not look; what is missing is no error. */
JOBQ__INTERNAL int jobq__os_look(const char *path, struct jobq__os_file *file);
static inline bool jobq__os_same_file(const struct jobq__os_id *a, const struct jobq__os_id *b) {
    return a->file == b->file && a->device == b->device;
}
/* True if path does not name that file any more: it is gone, or another stands there. That the
 * system does not let us look says nothing. */
JOBQ__INTERNAL bool jobq__os_moved(const char *path, const struct jobq__os_id *id);

/* True if the file lies on a network, or on something that does not say that it does not. */
JOBQ__INTERNAL bool jobq__os_remote(const char *path);
/* True if files there have a second, short name besides their own (FAT). */
JOBQ__INTERNAL bool jobq__os_short_names(const char *path);
/* Whether the file is a mount point by itself, as one that is bound to another place is. The path
 * must be a resolved one. 0, or errno if there is no descriptor to look; where neither the kernel
 * nor a list of it tells, it is none. */
JOBQ__INTERNAL int jobq__os_mounted(const char *path, bool *mounted);

/* What path means at this moment: absolute and without a link. Of the last part nothing but a name
 * need be there. 0, errno, or this: the path leads to what no text names here, as a deleted file's
 * descriptor does, and a path through the mounts of another process. */
#define JOBQ__OS_ELSEWHERE (-1)
JOBQ__INTERNAL int jobq__os_resolve(const char *path, char **resolved);

/* Makes an empty file of this mode whatever the umask, and of this group if it is not 0. *created
 * is false if one is there already. JOBQ_OK or a code. */
JOBQ__INTERNAL int jobq__os_create(const char *path, int mode, int64_t group, bool *created,
                                   jobq_error *err);
/* 0, or errno if the system lets us not read (and write) what stands at path. Asked, not tried, for
 * what jobq__os_look says. */
JOBQ__INTERNAL int jobq__os_may(const char *path, bool write);
/* Gives the file at path the owner and group of the other, as far as we may. */
JOBQ__INTERNAL void jobq__os_match_owner(const char *path, const struct jobq__os_file *like);

/* Opens a lock file, for reading and writing where that may be, or makes it. Nothing but a plain
 * file is opened, and nothing is written to it. */
JOBQ__INTERNAL int jobq__os_page_open(const char *path, bool make, int *opened, jobq_error *err);
/* Takes the lock that dies with the process, or it is JOBQ_LOCKED, and gives the file that size. */
JOBQ__INTERNAL int jobq__os_page_lock(int fd, const char *path, size_t size, jobq_error *err);
/* Maps size bytes of it, in place of *page if that is not NULL. */
JOBQ__INTERNAL int jobq__os_page_map(int fd, const char *path, size_t size, bool writable,
                                     void **page, jobq_error *err);
/* Gives an open file the mode, owner and group of the other, as far as we may. */
JOBQ__INTERNAL void jobq__os_match(int fd, const struct jobq__os_file *like);
/* A page of memory that a file may be mapped over later, to be read only; or, in place of the file
 * that is mapped at at, one to be written too. NULL if there is no memory. */
JOBQ__INTERNAL void *jobq__os_page_blank(size_t size, void *at);
/* How many bytes an open file has from at on, up to size; -1 and errno. */
JOBQ__INTERNAL int64_t jobq__os_read_at(int fd, int64_t at, void *data, size_t size);
/* Writes to an open file where it has bytes already; not at all if it may not. */
JOBQ__INTERNAL void jobq__os_write_at(int fd, size_t at, const void *data, size_t size);
/* Gives the lock up, although a forked child may hold copies of the descriptor. */
JOBQ__INTERNAL void jobq__os_page_unlock(int fd);
/* The lock goes with the last copy of the descriptor. */
JOBQ__INTERNAL void jobq__os_page_close(int fd, void *page, size_t size);

/* There is no room on the disk, or none for this user. */
JOBQ__INTERNAL bool jobq__os_full(int os_code);
/* Makes the file size bytes long, all of them allocated, so that nobody else can take them.
 * JOBQ_FULL: there is no room, and the size is as it was. JOBQ_IO: this file system cannot. */
JOBQ__INTERNAL int jobq__os_allocate(int fd, int64_t size);
JOBQ__INTERNAL int64_t jobq__os_size(int fd);
/* Bytes that are free on the file system of an open file; INT64_MAX if it does not tell. */
JOBQ__INTERNAL int64_t jobq__os_free_bytes(int fd);
/* Which file is open. */
JOBQ__INTERNAL struct jobq__os_id jobq__os_id_of(int fd);

JOBQ__INTERNAL int jobq__os_pid(void);
/* A text that changes with every boot; "" if the system tells nothing that can be trusted. */
JOBQ__INTERNAL void jobq__os_boot_id(char *text, size_t capacity);
/* True if both texts, of at most capacity bytes, are of one boot for sure. */
JOBQ__INTERNAL bool jobq__os_same_boot(const char *a, const char *b, size_t capacity);
/* A lock for the few process-wide tables. */
JOBQ__INTERNAL void jobq__os_global_lock(void);
JOBQ__INTERNAL void jobq__os_global_unlock(void);
/* With it held: waits until somebody calls, from anywhere. What is waited for has to be looked at
 * again, for it may have been another's call. */
JOBQ__INTERNAL void jobq__os_global_wait(void);
JOBQ__INTERNAL void jobq__os_global_call(void); /* without it */

/* Registers, once, what runs in a forked child and at exit(); with the global lock held. A thread
 * that forks takes that lock before, and in_child has to unlock it. JOBQ_OK or NO_MEMORY. */
JOBQ__INTERNAL int jobq__os_hooks(void (*in_child)(void), void (*at_exit)(void));

#endif
