/* fault_vfs.h - a disk that can be made to fail: a SQLite VFS over the disk in memory.
 *
 * fault_begin() makes it the default of this process and empty, so that every connection opened
 * from then on, jobq's too, goes through it; a test calls it first. All calls pass until told:
 *
 *   fault_plan(FAULT_WAL_SYNC, "x.x", SQLITE_IOERR_FSYNC)
 *       Of the next syncs of a log the first and the third fail, all others pass. In a plan x
 *       fails and . passes; a * behind the last letter repeats it for ever: "..x*" lets two pass
 *       and fails all that come after. X is an x with which the disk dies: every call that
 *       changes a file fails from then on, with the same code. A kind is a call on a kind of file;
 *       FAULT_ANY counts all calls.
 *   fault_nth(FAULT_ANY, 1000, "x", code)
 *       The same, but 999 calls pass before the plan begins.
 *   fault_nth_of(FAULT_IO, 1000, "x")
 *       The same for all calls that can fail in this way, each with the code that fits it; only
 *       those are counted.
 *   fault_space(bytes, path)
 *       The disk holds no more than this, the real file beside the database at path (path-jobq)
 *       counted in; what would need more gets SQLITE_FULL. 0: no limit.
 *   fault_quota(true)
 *       It is this user's quota that is full then, which SQLite takes for an I/O error.
 *   fault_take_space()
 *       Somebody else takes what is free at this moment, for good.
 *   fault_wal_limit(bytes)
 *       A log that would grow beyond it gets SQLITE_FULL. 0: no limit.
 *   fault_off()
 *       All calls pass again, the counters begin at 0.
 *
 *   fault_calls(what), fault_hits(what)   so many calls, so many of them failed
 *   fault_await(what, n)                  waits until so many have failed; the watchdog limits it
 *   fault_wal_size()                      of the log that is open
 *   fault_shrunk()                        commits by which a database became smaller, ever
 *   fault_handles()                       files that are open, those of copies too
 *   fault_copy(from, to)                  what a process that is killed now leaves behind: the
 *                                         database and its log as they stand, under another name
 *   fault_copy_slots(from, to)            and what it says of the jobs that ran (the -jobq file)
 *   fault_hash(path)                      of the database and its log: equal files, equal hash
 *   fault_remove(path)                    the database, its log and all that is beside it
 *
 *   fault_log_begin(&log, path)           from now on whatever is done to that database and its
 *   fault_log_end(&log)                   log is written down, for fault_power.h to replay
 *   fault_log_now(&log)                   how much is written down so far
 *   fault_log_watch(&log, watch, arg)     watch is called before each operation, under the disk's
 *                                         lock, to look at what else a crash would leave behind
 *   fault_lie(true)                       syncs are not: they return OK and are not written down
 *   fault_forget(true)                    a sync that fails loses what it should have written, as
 *                                         some systems do: it can be read, but no later sync will
 *                                         bring it to the disk
 *   fault_taken(true)                     another connection writes: whoever wants to begin a
 *                                         transaction that writes is told SQLITE_BUSY
 *   fault_beside()                        how small the real file beside the database was when,
 *                                         since then, somebody wanted that
 *
 * A call that fails changes nothing. Any thread. */
#ifndef JOBQ_FAULT_VFS_H
#define JOBQ_FAULT_VFS_H

#include "fault_disk.h"

enum fault_what {
    FAULT_OPEN,
    FAULT_READ, /* of a database or a journal */
    FAULT_DB_WRITE,
    FAULT_DB_SYNC,
    FAULT_WAL_WRITE,
    FAULT_WAL_SYNC,
    FAULT_TRUNCATE,
    FAULT_DELETE,
    FAULT_SIZE,
    FAULT_ACCESS,
    FAULT_LOCK,     /* of the file; to let go of a lock always works */
    FAULT_SHM_MAP,
    FAULT_SHM_LOCK,
    FAULT_WAL_READ,
    FAULT_ANY,
    FAULT_KINDS
};

/* Ways to fail, and what SQLite is told then: 0 if such a call does not fail in this way. */
enum fault_class {
    FAULT_IO,
    FAULT_FULL,
    FAULT_BUSY,  /* locks */
    FAULT_SHORT, /* a read of a log finds less than there is */
    FAULT_HOLE,  /* so does a read of a database, which SQLite takes for zeros */
    FAULT_SYNC,
    FAULT_CLASSES
};

static const char *const fault_class_names[] = {"I/O error", "full", "busy", "short read", "hole",
                                                "sync"};

static const int fault_fitting[FAULT_CLASSES][FAULT_ANY] = {
    {SQLITE_CANTOPEN, SQLITE_IOERR_READ, SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC,
     SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC, SQLITE_IOERR_TRUNCATE, SQLITE_IOERR_DELETE,
     SQLITE_IOERR_FSTAT, SQLITE_IOERR_ACCESS, SQLITE_IOERR_LOCK, SQLITE_IOERR_SHMMAP,
     SQLITE_IOERR_SHMLOCK, SQLITE_IOERR_READ},
    {0, 0, SQLITE_FULL, 0, SQLITE_FULL, 0, 0, 0, 0, 0, 0, SQLITE_IOERR_SHMSIZE, 0, 0},
    {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, SQLITE_BUSY, 0, SQLITE_BUSY, 0},
    {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, SQLITE_IOERR_SHORT_READ},
    {0, SQLITE_IOERR_SHORT_READ, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    {0, 0, 0, SQLITE_IOERR_FSYNC, 0, SQLITE_IOERR_FSYNC, 0, 0, 0, 0, 0, 0, 0, 0}};

/* ---- The log: what was done to the files of one database ---- */

enum fault_op_kind { FAULT_OP_CREATE, FAULT_OP_WRITE, FAULT_OP_TRUNCATE, FAULT_OP_SYNC,
                     FAULT_OP_FORGET, FAULT_OP_DELETE };

struct fault_op {
    enum fault_op_kind kind;
    int serial;           /* of the file */
    int ending;           /* of its name: 0 the database, 1 its log, 2 its journal */
    bool dir_sync;        /* DELETE: is the folder synced, too? */
    int flags;            /* SYNC: as SQLite asks for it */
    int64_t at, size;
    unsigned char *data;  /* WRITE, and CREATE: what the file held when the log began */
};

struct fault_log {
    char path[DISK_NAME];
    struct fault_op *ops;
    int count, capacity;
    int base; /* so many CREATEs at the front stand for the files as they were, all synced */
    void (*watch)(void *arg, int now); /* called before each operation; so many are there */
    void *arg;
};

static struct {
    sqlite3_vfs *real, vfs; /* written once, before threads */
    pthread_mutex_t mutex;  /* guards what follows, and the disk */
    pthread_cond_t failed;
    const char *plans[FAULT_KINDS];
    int64_t skip[FAULT_KINDS];
    int codes[FAULT_KINDS];
    const int *fitting; /* of FAULT_ANY: a code for each kind, in place of the one code */
    int64_t calls[FAULT_KINDS], hits[FAULT_KINDS];
    int dead; /* the code, once the disk has died */
    int64_t wal_limit, space, least_beside;
    char beside[DISK_NAME + 8];
    struct fault_log *log;
    bool lie, forget, taken, quota;
    int64_t shrunk;
} fault = {.mutex = PTHREAD_MUTEX_INITIALIZER, .failed = PTHREAD_COND_INITIALIZER};

static const char *const fault_endings[] = {"", "-wal", "-journal"};

/* -1: not a file of the database that is logged. */
static inline int fault_log_ending(const struct fault_log *log, const char *name) {
    size_t length = log ? strlen(log->path) : 0;
    if (!log || strncmp(name, log->path, length) != 0) return -1;
    for (int i = 0; i < 3; i++)
        if (strcmp(name + length, fault_endings[i]) == 0) return i;
    return -1;
}

static inline struct fault_op *fault_log_add(struct fault_log *log, enum fault_op_kind kind,
                                             const struct disk_file *file) {
    struct fault_op *op;
    int ending = fault_log_ending(log, file->name);
    if (ending < 0) return NULL;
    if (log->watch) log->watch(log->arg, log->count);
    if (log->count == log->capacity) {
        log->capacity = log->capacity ? log->capacity * 2 : 256;
        log->ops = (struct fault_op *)realloc(log->ops,
                                              (size_t)log->capacity * sizeof *log->ops);
        if (!log->ops) test_give_up("no memory");
    }
    op = &log->ops[log->count++];
    memset(op, 0, sizeof *op);
    op->kind = kind;
    op->serial = file->serial;
    op->ending = ending;
    return op;
}

static inline void fault_log_data(struct fault_op *op, const void *from, int64_t size,
                                  int64_t at) {
    if (!op) return;
    op->at = at;
    op->size = size;
    op->data = (unsigned char *)malloc(size > 0 ? (size_t)size : 1);
    if (!op->data) test_give_up("no memory");
    if (size > 0) memcpy(op->data, from, (size_t)size);
}

/* ---- Whether a call fails; with the mutex held ---- */

static inline void fault_hit(enum fault_what what) {
    fault.hits[what]++;
    pthread_cond_broadcast(&fault.failed);
}

/* The next letter of the plan. */
static inline char fault_letter(enum fault_what what) {
    const char *at = fault.plans[what];
    fault.calls[what]++;
    if (!at || !*at) return '.';
    if (fault.skip[what] > 0) {
        fault.skip[what]--;
        return '.';
    }
    if (at[1] != '*') fault.plans[what]++;
    return *at;
}

static inline bool fault_changes(enum fault_what what) {
    return what >= FAULT_DB_WRITE && what <= FAULT_DELETE;
}

/* SQLITE_OK, or the code with which this call fails. */
static inline int fault_strike(enum fault_what what) {
    char letter = fault_letter(what), any = '.';
    int of_any = fault.fitting ? fault.fitting[what] : fault.codes[FAULT_ANY], code = SQLITE_OK;
    if (of_any || !fault.fitting) any = fault_letter(FAULT_ANY);
    if (letter != '.') code = fault.codes[what];
    if (any != '.') code = of_any;
    if (any != '.') fault_hit(FAULT_ANY);
    if (letter == 'X' || any == 'X') fault.dead = code;
    if (fault.dead && fault_changes(what)) code = fault.fitting ? of_any : fault.dead;
    if (code) fault_hit(what);
    return code;
}

static inline enum fault_what fault_kind(const struct disk_handle *h, enum fault_what db) {
    if (h->flags & SQLITE_OPEN_WAL) return db == FAULT_DB_SYNC ? FAULT_WAL_SYNC : FAULT_WAL_WRITE;
    return db;
}

static inline int64_t fault_beside_now(void) {
    struct stat st;
    return stat(fault.beside, &st) == 0 ? (int64_t)st.st_size : 0;
}

/* What is left of the disk. The real file beside the database takes room as well. */
static inline int64_t fault_free(void) {
    int64_t left = fault.space - disk_used() - fault_beside_now();
    if (!fault.space) return INT64_MAX;
    return left > 0 ? left : 0;
}

/* True if a file may not grow like this. */
static inline bool fault_no_room(const struct disk_handle *h, int64_t end) {
    int64_t more = end - h->file->size;
    if (more <= 0) return false;
    if (fault.wal_limit && (h->flags & SQLITE_OPEN_WAL) && end > fault.wal_limit) return true;
    return more > fault_free();
}

/* ---- The methods of a file ---- */

static inline struct disk_handle *fault_handle(sqlite3_file *file) {
    return (struct disk_handle *)file;
}

static inline int fault_close(sqlite3_file *file) {
    pthread_mutex_lock(&fault.mutex);
    disk_close(fault_handle(file));
    pthread_mutex_unlock(&fault.mutex);
    return SQLITE_OK;
}

static inline int fault_read(sqlite3_file *file, void *to, int size, sqlite3_int64 at) {
    const struct disk_handle *h = fault_handle(file);
    int rc;
    pthread_mutex_lock(&fault.mutex);
    rc = fault_strike(h->flags & SQLITE_OPEN_WAL ? FAULT_WAL_READ : FAULT_READ);
    if (rc) memset(to, 0, (size_t)size);
    else rc = disk_read(h->file, to, size, at);
    pthread_mutex_unlock(&fault.mutex);
    return rc;
}

/* A frame's header stands before its page in the log; that of a commit says how many pages the
 * database has from then on. */
static inline void fault_note_frame(struct disk_file *f, const unsigned char *header) {
    uint32_t pages = (uint32_t)header[4] << 24 | (uint32_t)header[5] << 16
                   | (uint32_t)header[6] << 8 | header[7];
    if (!pages) return;
    if (pages < f->pages) fault.shrunk++;
    f->pages = pages;
}

static inline int fault_write(sqlite3_file *file, const void *from, int size, sqlite3_int64 at) {
    enum { LOG_HEADER = 32, FRAME_HEADER = 24 };
    struct disk_handle *h = fault_handle(file);
    enum fault_what what = fault_kind(h, FAULT_DB_WRITE);
    int rc;
    pthread_mutex_lock(&fault.mutex);
    rc = fault_strike(what);
    if (rc) h->os_code = EIO;
    if (!rc && fault_no_room(h, at + size)) {
        rc = fault.quota ? SQLITE_IOERR_WRITE : SQLITE_FULL;
        h->os_code = fault.quota ? EDQUOT : ENOSPC;
        fault_hit(what);
    }
    if (!rc) {
        disk_write(h->file, from, size, at);
        if ((h->flags & SQLITE_OPEN_WAL) && size == FRAME_HEADER && at >= LOG_HEADER)
            fault_note_frame(h->file, (const unsigned char *)from);
        fault_log_data(fault_log_add(fault.log, FAULT_OP_WRITE, h->file), from, size, at);
    }
    pthread_mutex_unlock(&fault.mutex);
    return rc;
}

static inline int fault_sync(sqlite3_file *file, int flags) {
    struct disk_handle *h = fault_handle(file);
    struct fault_op *op = NULL;
    int rc;
    pthread_mutex_lock(&fault.mutex);
    rc = fault_strike(fault_kind(h, FAULT_DB_SYNC));
    if (!rc && !fault.lie) op = fault_log_add(fault.log, FAULT_OP_SYNC, h->file);
    if (op) op->flags = flags;
    if (rc && fault.forget) fault_log_add(fault.log, FAULT_OP_FORGET, h->file);
    pthread_mutex_unlock(&fault.mutex);
    return rc;
}

static inline int fault_truncate(sqlite3_file *file, sqlite3_int64 size) {
    struct disk_handle *h = fault_handle(file);
    int rc;
    pthread_mutex_lock(&fault.mutex);
    rc = fault_strike(FAULT_TRUNCATE);
    if (!rc && fault_no_room(h, size)) rc = SQLITE_FULL;
    if (!rc) {
        struct fault_op *op = fault_log_add(fault.log, FAULT_OP_TRUNCATE, h->file);
        if (op) op->size = size;
        disk_set_size(h->file, size);
    }
    pthread_mutex_unlock(&fault.mutex);
    return rc;
}

static inline int fault_file_size(sqlite3_file *file, sqlite3_int64 *size) {
    int rc;
    pthread_mutex_lock(&fault.mutex);
    rc = fault_strike(FAULT_SIZE);
    *size = rc ? 0 : fault_handle(file)->file->size;
    pthread_mutex_unlock(&fault.mutex);
    return rc;
}

static inline int fault_lock(sqlite3_file *file, int level) {
    int rc;
    pthread_mutex_lock(&fault.mutex);
    rc = fault_strike(FAULT_LOCK);
    if (!rc) rc = disk_lock(fault_handle(file), level);
    pthread_mutex_unlock(&fault.mutex);
    return rc;
}

static inline int fault_unlock(sqlite3_file *file, int level) {
    pthread_mutex_lock(&fault.mutex);
    disk_unlock(fault_handle(file), level);
    pthread_mutex_unlock(&fault.mutex);
    return SQLITE_OK;
}

static inline int fault_check_lock(sqlite3_file *file, int *result) {
    pthread_mutex_lock(&fault.mutex);
    *result = fault_handle(file)->file->reserved != NULL;
    pthread_mutex_unlock(&fault.mutex);
    return SQLITE_OK;
}

static inline int fault_control(sqlite3_file *file, int what, void *arg) {
    if (what == SQLITE_FCNTL_LAST_ERRNO) *(int *)arg = fault_handle(file)->os_code;
    else if (what == SQLITE_FCNTL_HAS_MOVED)
        *(int *)arg = fault_handle(file)->file->name[0] == '\0';
    else return SQLITE_NOTFOUND;
    return SQLITE_OK;
}

/* As the VFS for POSIX says it. */
static inline int fault_sector_size(sqlite3_file *file) {
    (void)file;
    return 4096;
}

static inline int fault_traits(sqlite3_file *file) {
    (void)file;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static inline int fault_shm_map(sqlite3_file *file, int region, int size, int make,
                                void volatile **to) {
    int rc;
    if (size != DISK_REGION) return SQLITE_IOERR_SHMMAP;
    pthread_mutex_lock(&fault.mutex);
    *to = NULL;
    rc = fault_strike(FAULT_SHM_MAP);
    if (!rc) rc = disk_shm_map(fault_handle(file), region, make != 0, to);
    pthread_mutex_unlock(&fault.mutex);
    return rc;
}

static inline int fault_shm_lock(sqlite3_file *file, int at, int count, int flags) {
    int rc = SQLITE_OK;
    pthread_mutex_lock(&fault.mutex);
    if (flags & SQLITE_SHM_LOCK) rc = fault_strike(FAULT_SHM_LOCK);
    /* Of the locks of a log the first is the writer's. */
    if (!rc && fault.taken && at == 0 && (flags & SQLITE_SHM_LOCK)) {
        int64_t beside = fault_beside_now();
        if (beside < fault.least_beside) fault.least_beside = beside;
        rc = SQLITE_BUSY;
        fault_hit(FAULT_SHM_LOCK);
    }
    if (!rc) rc = disk_shm_lock(fault_handle(file), at, count, flags);
    pthread_mutex_unlock(&fault.mutex);
    return rc;
}

static inline void fault_shm_barrier(sqlite3_file *file) {
    (void)file;
    pthread_mutex_lock(&fault.mutex);
    pthread_mutex_unlock(&fault.mutex);
}

static inline int fault_shm_unmap(sqlite3_file *file, int remove) {
    (void)remove;
    pthread_mutex_lock(&fault.mutex);
    disk_shm_unmap(fault_handle(file));
    pthread_mutex_unlock(&fault.mutex);
    return SQLITE_OK;
}

/* Version 2: without memory maps, which would go past xRead. */
static const sqlite3_io_methods fault_methods = {
    2, fault_close, fault_read, fault_write, fault_truncate, fault_sync, fault_file_size,
    fault_lock, fault_unlock, fault_check_lock, fault_control, fault_sector_size, fault_traits,
    fault_shm_map, fault_shm_lock, fault_shm_barrier, fault_shm_unmap, NULL, NULL};

/* ---- The methods of the VFS ---- */

/* The file of that name, made if it may be; NULL if there is none. */
static inline struct disk_file *fault_reach(const char *name, int flags) {
    struct disk_file *f = name ? disk_find(name) : disk_make("");
    bool real = (flags & SQLITE_OPEN_MAIN_DB) && name && disk_is_real(name);
    if (f || (!real && !(flags & SQLITE_OPEN_CREATE))) return f;
    f = disk_make(name);
    if ((flags & SQLITE_OPEN_MAIN_DB) && name) disk_make_real(name);
    fault_log_add(fault.log, FAULT_OP_CREATE, f);
    return f;
}

static inline int fault_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                             int *out_flags) {
    struct disk_handle *h = fault_handle(file);
    struct disk_file *f = NULL;
    int rc;
    (void)vfs;
    memset(h, 0, sizeof *h);
    pthread_mutex_lock(&fault.mutex);
    rc = fault_strike(FAULT_OPEN);
    if (!rc) f = fault_reach(name, flags);
    if (!rc && !f) rc = SQLITE_CANTOPEN;
    if (!rc) disk_open(h, f, flags);
    pthread_mutex_unlock(&fault.mutex);
    if (!rc) h->base.pMethods = &fault_methods;
    if (!rc && out_flags) *out_flags = flags;
    return rc;
}

static inline int fault_delete(sqlite3_vfs *vfs, const char *name, int dir_sync) {
    struct disk_file *f;
    int rc;
    (void)vfs;
    pthread_mutex_lock(&fault.mutex);
    rc = fault_strike(FAULT_DELETE);
    f = disk_find(name);
    if (!rc && !f) rc = SQLITE_IOERR_DELETE_NOENT;
    if (!rc) {
        struct fault_op *op = fault_log_add(fault.log, FAULT_OP_DELETE, f);
        if (op) op->dir_sync = dir_sync != 0;
        disk_unlink(f);
    }
    pthread_mutex_unlock(&fault.mutex);
    return rc;
}

static inline int fault_access(sqlite3_vfs *vfs, const char *name, int flags, int *result) {
    const struct disk_file *f;
    int rc;
    (void)vfs;
    pthread_mutex_lock(&fault.mutex);
    rc = fault_strike(FAULT_ACCESS);
    f = disk_find(name);
    *result = !rc && f && (flags != SQLITE_ACCESS_EXISTS || f->size > 0);
    pthread_mutex_unlock(&fault.mutex);
    return rc;
}

/* Where locks are refused by nobody, there is nobody to wait for. */
static inline int fault_sleep(sqlite3_vfs *vfs, int microseconds) {
    bool wait;
    (void)vfs;
    pthread_mutex_lock(&fault.mutex);
    wait = fault.fitting != fault_fitting[FAULT_BUSY] && !fault.taken;
    pthread_mutex_unlock(&fault.mutex);
    return wait ? fault.real->xSleep(fault.real, microseconds) : microseconds;
}

/* ---- For tests ---- */

static inline void fault_off(void) {
    pthread_mutex_lock(&fault.mutex);
    for (int i = 0; i < FAULT_KINDS; i++) {
        fault.plans[i] = NULL;
        fault.calls[i] = fault.hits[i] = 0;
    }
    fault.fitting = NULL;
    fault.dead = 0;
    fault.wal_limit = fault.space = 0;
    fault.lie = fault.forget = fault.taken = fault.quota = false;
    pthread_mutex_unlock(&fault.mutex);
}

static inline void fault_begin(void) {
    fault_off();
    pthread_mutex_lock(&fault.mutex);
    disk_forget_closed();
    pthread_mutex_unlock(&fault.mutex);
    if (fault.real) return;
    fault.real = sqlite3_vfs_find(NULL);
    fault.vfs = *fault.real;
    fault.vfs.zName = "fault";
    fault.vfs.pNext = NULL;
    fault.vfs.szOsFile = (int)sizeof(struct disk_handle);
    fault.vfs.xOpen = fault_open;
    fault.vfs.xDelete = fault_delete;
    fault.vfs.xAccess = fault_access;
    fault.vfs.xSleep = fault_sleep;
    CHECK_INT(sqlite3_vfs_register(&fault.vfs, 1), SQLITE_OK);
}

static inline void fault_nth(enum fault_what what, int64_t n, const char *plan, int code) {
    pthread_mutex_lock(&fault.mutex);
    fault.plans[what] = plan;
    fault.skip[what] = n - 1;
    fault.codes[what] = code;
    if (what == FAULT_ANY) fault.fitting = NULL;
    pthread_mutex_unlock(&fault.mutex);
}

static inline void fault_nth_of(enum fault_class how, int64_t n, const char *plan) {
    fault_nth(FAULT_ANY, n, plan, SQLITE_OK);
    pthread_mutex_lock(&fault.mutex);
    fault.fitting = fault_fitting[how];
    pthread_mutex_unlock(&fault.mutex);
}

static inline void fault_plan(enum fault_what what, const char *plan, int code) {
    fault_nth(what, 1, plan, code);
}

static inline void fault_wal_limit(int64_t bytes) {
    pthread_mutex_lock(&fault.mutex);
    fault.wal_limit = bytes;
    pthread_mutex_unlock(&fault.mutex);
}

static inline void fault_space(int64_t bytes, const char *path) {
    pthread_mutex_lock(&fault.mutex);
    fault.space = bytes;
    snprintf(fault.beside, sizeof fault.beside, "%s-jobq", path);
    pthread_mutex_unlock(&fault.mutex);
}

static inline void fault_quota(bool quota) {
    pthread_mutex_lock(&fault.mutex);
    fault.quota = quota;
    pthread_mutex_unlock(&fault.mutex);
}

static inline void fault_take_space(void) {
    pthread_mutex_lock(&fault.mutex);
    if (fault.space) fault.space -= fault_free();
    pthread_mutex_unlock(&fault.mutex);
}

static inline void fault_taken(bool taken) {
    pthread_mutex_lock(&fault.mutex);
    fault.taken = taken;
    fault.least_beside = INT64_MAX;
    pthread_mutex_unlock(&fault.mutex);
}

static inline int64_t fault_beside(void) {
    int64_t least;
    pthread_mutex_lock(&fault.mutex);
    least = fault.least_beside;
    pthread_mutex_unlock(&fault.mutex);
    return least;
}

static inline void fault_lie(bool lie) {
    pthread_mutex_lock(&fault.mutex);
    fault.lie = lie;
    pthread_mutex_unlock(&fault.mutex);
}

static inline void fault_forget(bool forget) {
    pthread_mutex_lock(&fault.mutex);
    fault.forget = forget;
    pthread_mutex_unlock(&fault.mutex);
}

static inline int64_t fault_calls(enum fault_what what) {
    int64_t n;
    pthread_mutex_lock(&fault.mutex);
    n = fault.calls[what];
    pthread_mutex_unlock(&fault.mutex);
    return n;
}

static inline int64_t fault_hits(enum fault_what what) {
    int64_t n;
    pthread_mutex_lock(&fault.mutex);
    n = fault.hits[what];
    pthread_mutex_unlock(&fault.mutex);
    return n;
}

static inline void fault_await(enum fault_what what, int64_t n) {
    pthread_mutex_lock(&fault.mutex);
    while (fault.hits[what] < n) pthread_cond_wait(&fault.failed, &fault.mutex);
    pthread_mutex_unlock(&fault.mutex);
}

/* ---- Looking at and copying files ---- */

static inline bool fault_ends(const char *name, const char *ending) {
    size_t a = strlen(name), b = strlen(ending);
    return a >= b && strcmp(name + a - b, ending) == 0;
}

static inline int64_t fault_wal_size(void) {
    const struct disk_file *f;
    int64_t size = 0;
    pthread_mutex_lock(&fault.mutex);
    for (f = disk.files; f && size == 0; f = f->next)
        if (f->handles > 0 && fault_ends(f->name, "-wal")) size = f->size;
    pthread_mutex_unlock(&fault.mutex);
    return size;
}

static inline int64_t fault_shrunk(void) {
    int64_t shrunk;
    pthread_mutex_lock(&fault.mutex);
    shrunk = fault.shrunk;
    pthread_mutex_unlock(&fault.mutex);
    return shrunk;
}

static inline int fault_handles(void) {
    int count = 0;
    pthread_mutex_lock(&fault.mutex);
    for (const struct disk_file *f = disk.files; f; f = f->next) count += f->handles;
    pthread_mutex_unlock(&fault.mutex);
    return count;
}

static inline void fault_copy(const char *from, const char *to) {
    char a[DISK_NAME], b[DISK_NAME];
    pthread_mutex_lock(&fault.mutex);
    for (int i = 0; i < 3; i++) {
        const struct disk_file *f;
        snprintf(a, sizeof a, "%s%s", from, fault_endings[i]);
        snprintf(b, sizeof b, "%s%s", to, fault_endings[i]);
        f = disk_find(a);
        if (f) disk_replace(b, f->data, f->size);
    }
    disk_make_real(to);
    pthread_mutex_unlock(&fault.mutex);
}

/* Bytes, not the lock: another descriptor of the file may be closed, the lock is flock's. */
static inline void fault_copy_slots(const char *from, const char *to) {
    char name[DISK_NAME], block[4096];
    FILE *in, *out;
    size_t size;
    snprintf(name, sizeof name, "%s-jobq", from);
    in = fopen(name, "rb");
    snprintf(name, sizeof name, "%s-jobq", to);
    out = fopen(name, "wb");
    if (!in || !out) test_give_up(name);
    while ((size = fread(block, 1, sizeof block, in)) > 0)
        if (fwrite(block, 1, size, out) != size) test_give_up(name);
    fclose(in);
    if (fclose(out) != 0) test_give_up(name);
}

/* FNV-1a, after Fowler, Noll and Vo, by words. */
static inline uint64_t fault_hash(const char *path) {
    uint64_t hash = 14695981039346656037u, word;
    char name[DISK_NAME];
    pthread_mutex_lock(&fault.mutex);
    for (int i = 0; i < 3; i++) {
        const struct disk_file *f;
        snprintf(name, sizeof name, "%s%s", path, fault_endings[i]);
        f = disk_find(name);
        for (int64_t k = 0; f && k < f->size; k += 8) {
            word = 0;
            memcpy(&word, f->data + k, f->size - k < 8 ? (size_t)(f->size - k) : 8);
            hash = (hash ^ word) * 1099511628211u;
        }
        hash = (hash ^ (f ? (uint64_t)f->size + 1 : 0)) * 1099511628211u;
    }
    pthread_mutex_unlock(&fault.mutex);
    return hash;
}

/* Of the disk in memory only. */
static inline void fault_clear(const char *path) {
    char name[DISK_NAME];
    pthread_mutex_lock(&fault.mutex);
    for (int i = 0; i < 3; i++) {
        struct disk_file *f;
        snprintf(name, sizeof name, "%s%s", path, fault_endings[i]);
        f = disk_find(name);
        if (f) disk_unlink(f);
    }
    pthread_mutex_unlock(&fault.mutex);
}

static inline void fault_remove(const char *path) {
    char name[DISK_NAME];
    fault_clear(path);
    unlink(path);
    snprintf(name, sizeof name, "%s-jobq", path);
    unlink(name);
}

/* ---- The log ---- */

static inline void fault_log_begin(struct fault_log *log, const char *path) {
    char name[DISK_NAME];
    memset(log, 0, sizeof *log);
    snprintf(log->path, sizeof log->path, "%s", path);
    pthread_mutex_lock(&fault.mutex);
    for (int i = 0; i < 3; i++) {
        const struct disk_file *f;
        snprintf(name, sizeof name, "%s%s", path, fault_endings[i]);
        f = disk_find(name);
        if (f) fault_log_data(fault_log_add(log, FAULT_OP_CREATE, f), f->data, f->size, 0);
    }
    log->base = log->count;
    fault.log = log;
    pthread_mutex_unlock(&fault.mutex);
}

static inline void fault_log_watch(struct fault_log *log, void (*watch)(void *arg, int now),
                                   void *arg) {
    pthread_mutex_lock(&fault.mutex);
    log->watch = watch;
    log->arg = arg;
    pthread_mutex_unlock(&fault.mutex);
}

static inline int fault_log_now(const struct fault_log *log) {
    int now;
    pthread_mutex_lock(&fault.mutex);
    now = log->count;
    pthread_mutex_unlock(&fault.mutex);
    return now;
}

static inline void fault_log_end(struct fault_log *log) {
    pthread_mutex_lock(&fault.mutex);
    if (fault.log == log) fault.log = NULL;
    pthread_mutex_unlock(&fault.mutex);
}

static inline void fault_log_free(struct fault_log *log) {
    fault_log_end(log);
    for (int i = 0; i < log->count; i++) free(log->ops[i].data);
    free(log->ops);
    memset(log, 0, sizeof *log);
}

#endif
