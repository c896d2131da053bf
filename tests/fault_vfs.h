/* fault_vfs.h - a disk that can be made to fail: a SQLite VFS over the default one.
 *
 * fault_begin() makes it the default of this process, so that every connection opened from then
 * on, jobq's too, goes through it; a test calls it first. All calls pass until a plan is set:
 *
 *   fault_plan(FAULT_WAL_SYNC, "x.x", SQLITE_IOERR_FSYNC)
 *       Of the next syncs of a log the first and the third fail, all others pass. In a plan x
 *       fails and . passes; a * behind the last letter repeats it for ever: "..x*" lets two pass
 *       and fails all that come after. X is an x with which the disk dies: every write and sync
 *       of any file fails from then on, with the same code.
 *   fault_wal_limit(bytes)
 *       A log that would grow beyond it gets SQLITE_FULL, as on a full disk. 0: no limit.
 *   fault_off()
 *       All calls pass again, the counters begin at 0.
 *
 *   fault_calls(what), fault_hits(what)   so many calls, so many of them failed
 *   fault_await(what, n)                  waits until so many have failed; the watchdog limits it
 *   fault_wal_size()                      of the log that is open
 *   fault_copy(to)                        what a process that is killed now leaves behind: the
 *                                         database that is open and its log, as they stand in the
 *                                         files, under another name. Nobody may write meanwhile.
 *
 * A write that fails writes nothing. No sync reaches the disk: tests cut no power. Any thread. */
#ifndef JOBQ_FAULT_VFS_H
#define JOBQ_FAULT_VFS_H

#include "test.h"

#include <sqlite3.h>

enum fault_what {
    FAULT_OPEN,
    FAULT_READ,
    FAULT_DB_WRITE,
    FAULT_DB_SYNC,
    FAULT_WAL_WRITE,
    FAULT_WAL_SYNC,
    FAULT_KINDS
};

/* An open file; the one of the VFS below stands right behind it. */
struct fault_file {
    sqlite3_file base;
    struct fault_file *next; /* all that are open; fault.mutex */
    int flags;               /* as it was opened */
};

static struct {
    sqlite3_vfs *real, vfs; /* written once, before threads */
    pthread_mutex_t mutex;  /* guards what follows */
    pthread_cond_t failed;
    struct fault_file *files;
    const char *plans[FAULT_KINDS];
    int codes[FAULT_KINDS];
    int64_t calls[FAULT_KINDS], hits[FAULT_KINDS];
    int dead; /* the code, once the disk has died */
    int64_t wal_limit;
} fault = {NULL, {0}, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, {NULL}, {0}, {0},
           {0}, 0, 0};

/* ---- Whether a call fails ---- */

static inline void fault_hit(enum fault_what what) {
    fault.hits[what]++;
    pthread_cond_broadcast(&fault.failed);
}

/* The next letter of the plan. */
static inline char fault_letter(enum fault_what what) {
    const char *at = fault.plans[what];
    if (!at || !*at) return '.';
    if (at[1] != '*') fault.plans[what]++;
    return *at;
}

/* SQLITE_OK, or the code with which this call fails. */
static inline int fault_strike(enum fault_what what) {
    int code = SQLITE_OK;
    char letter;
    pthread_mutex_lock(&fault.mutex);
    fault.calls[what]++;
    letter = fault_letter(what);
    if (letter == 'x' || letter == 'X') code = fault.codes[what];
    if (letter == 'X') fault.dead = code;
    if (fault.dead && what > FAULT_READ) code = fault.dead;
    if (code) fault_hit(what);
    pthread_mutex_unlock(&fault.mutex);
    return code;
}

/* ---- One file ---- */

static inline sqlite3_file *fault_real(sqlite3_file *file) {
    return (sqlite3_file *)((struct fault_file *)file + 1);
}

static inline bool fault_is(sqlite3_file *file, int flag) {
    return (((struct fault_file *)file)->flags & flag) != 0;
}

static inline int fault_close(sqlite3_file *file) {
    struct fault_file **at = &fault.files;
    pthread_mutex_lock(&fault.mutex);
    while (*at != (struct fault_file *)file) at = &(*at)->next;
    *at = (*at)->next;
    pthread_mutex_unlock(&fault.mutex);
    return fault_real(file)->pMethods->xClose(fault_real(file));
}

static inline int fault_read(sqlite3_file *file, void *to, int size, sqlite3_int64 at) {
    int rc = fault_strike(FAULT_READ);
    return rc ? rc : fault_real(file)->pMethods->xRead(fault_real(file), to, size, at);
}

static inline bool fault_beyond(sqlite3_int64 end) {
    bool beyond;
    pthread_mutex_lock(&fault.mutex);
    beyond = fault.wal_limit && end > fault.wal_limit;
    if (beyond) fault_hit(FAULT_WAL_WRITE);
    pthread_mutex_unlock(&fault.mutex);
    return beyond;
}

static inline int fault_write(sqlite3_file *file, const void *from, int size, sqlite3_int64 at) {
    int rc = SQLITE_OK;
    if (fault_is(file, SQLITE_OPEN_WAL)) rc = fault_strike(FAULT_WAL_WRITE);
    else if (fault_is(file, SQLITE_OPEN_MAIN_DB)) rc = fault_strike(FAULT_DB_WRITE);
    if (!rc && fault_is(file, SQLITE_OPEN_WAL) && fault_beyond(at + size)) rc = SQLITE_FULL;
    return rc ? rc : fault_real(file)->pMethods->xWrite(fault_real(file), from, size, at);
}

static inline int fault_sync(sqlite3_file *file, int flags) {
    (void)flags;
    if (fault_is(file, SQLITE_OPEN_WAL)) return fault_strike(FAULT_WAL_SYNC);
    if (fault_is(file, SQLITE_OPEN_MAIN_DB)) return fault_strike(FAULT_DB_SYNC);
    return SQLITE_OK;
}

static inline int fault_truncate(sqlite3_file *file, sqlite3_int64 size) {
    return fault_real(file)->pMethods->xTruncate(fault_real(file), size);
}

static inline int fault_file_size(sqlite3_file *file, sqlite3_int64 *size) {
    return fault_real(file)->pMethods->xFileSize(fault_real(file), size);
}

static inline int fault_lock(sqlite3_file *file, int level) {
    return fault_real(file)->pMethods->xLock(fault_real(file), level);
}

static inline int fault_unlock(sqlite3_file *file, int level) {
    return fault_real(file)->pMethods->xUnlock(fault_real(file), level);
}

static inline int fault_check_lock(sqlite3_file *file, int *result) {
    return fault_real(file)->pMethods->xCheckReservedLock(fault_real(file), result);
}

static inline int fault_control(sqlite3_file *file, int what, void *arg) {
    return fault_real(file)->pMethods->xFileControl(fault_real(file), what, arg);
}

static inline int fault_sector_size(sqlite3_file *file) {
    return fault_real(file)->pMethods->xSectorSize(fault_real(file));
}

static inline int fault_traits(sqlite3_file *file) {
    return fault_real(file)->pMethods->xDeviceCharacteristics(fault_real(file));
}

static inline int fault_shm_map(sqlite3_file *file, int at, int size, int grow,
                                void volatile **to) {
    return fault_real(file)->pMethods->xShmMap(fault_real(file), at, size, grow, to);
}

static inline int fault_shm_lock(sqlite3_file *file, int at, int count, int flags) {
    return fault_real(file)->pMethods->xShmLock(fault_real(file), at, count, flags);
}

static inline void fault_shm_barrier(sqlite3_file *file) {
    fault_real(file)->pMethods->xShmBarrier(fault_real(file));
}

static inline int fault_shm_unmap(sqlite3_file *file, int remove) {
    return fault_real(file)->pMethods->xShmUnmap(fault_real(file), remove);
}

/* Version 2: without memory maps, which would go past xRead. */
static const sqlite3_io_methods fault_methods = {
    2, fault_close, fault_read, fault_write, fault_truncate, fault_sync, fault_file_size,
    fault_lock, fault_unlock, fault_check_lock, fault_control, fault_sector_size, fault_traits,
    fault_shm_map, fault_shm_lock, fault_shm_barrier, fault_shm_unmap, NULL, NULL};

static inline int fault_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                             int *out_flags) {
    struct fault_file *f = (struct fault_file *)file;
    int rc = fault_strike(FAULT_OPEN);
    (void)vfs;
    memset(f, 0, sizeof *f);
    if (!rc) rc = fault.real->xOpen(fault.real, name, fault_real(file), flags, out_flags);
    if (rc) return rc;
    f->base.pMethods = &fault_methods;
    f->flags = flags;
    pthread_mutex_lock(&fault.mutex);
    f->next = fault.files;
    fault.files = f;
    pthread_mutex_unlock(&fault.mutex);
    return SQLITE_OK;
}

/* ---- For tests ---- */

static inline void fault_off(void) {
    pthread_mutex_lock(&fault.mutex);
    for (int i = 0; i < FAULT_KINDS; i++) {
        fault.plans[i] = NULL;
        fault.calls[i] = fault.hits[i] = 0;
    }
    fault.dead = 0;
    fault.wal_limit = 0;
    pthread_mutex_unlock(&fault.mutex);
}

static inline void fault_begin(void) {
    fault_off();
    if (fault.real) return;
    fault.real = sqlite3_vfs_find(NULL);
    fault.vfs = *fault.real;
    fault.vfs.zName = "fault";
    fault.vfs.pNext = NULL;
    fault.vfs.szOsFile = (int)sizeof(struct fault_file) + fault.real->szOsFile;
    fault.vfs.xOpen = fault_open;
    CHECK_INT(sqlite3_vfs_register(&fault.vfs, 1), SQLITE_OK);
}

static inline void fault_plan(enum fault_what what, const char *plan, int code) {
    pthread_mutex_lock(&fault.mutex);
    fault.plans[what] = plan;
    fault.codes[what] = code;
    pthread_mutex_unlock(&fault.mutex);
}

static inline void fault_wal_limit(int64_t bytes) {
    pthread_mutex_lock(&fault.mutex);
    fault.wal_limit = bytes;
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

/* An open file of this kind. With fault.mutex held. */
static inline sqlite3_file *fault_find(int flag) {
    struct fault_file *f = fault.files;
    while (f && !(f->flags & flag)) f = f->next;
    return f ? fault_real(&f->base) : NULL;
}

static inline int64_t fault_wal_size(void) {
    sqlite3_file *wal;
    sqlite3_int64 size = 0;
    pthread_mutex_lock(&fault.mutex);
    wal = fault_find(SQLITE_OPEN_WAL);
    if (wal) wal->pMethods->xFileSize(wal, &size);
    pthread_mutex_unlock(&fault.mutex);
    return size;
}

/* Reads through SQLite's own descriptor: closing another one would drop its locks. */
static inline void fault_copy_one(sqlite3_file *from, const char *to) {
    char block[4096];
    sqlite3_int64 size = 0, at = 0;
    FILE *out = fopen(to, "wb");
    if (!out) test_give_up(to);
    if (from) from->pMethods->xFileSize(from, &size);
    while (at < size) {
        int part = size - at < 4096 ? (int)(size - at) : 4096;
        CHECK_INT(from->pMethods->xRead(from, block, part, at), SQLITE_OK);
        if (fwrite(block, 1, (size_t)part, out) != (size_t)part) test_give_up(to);
        at += part;
    }
    if (fclose(out) != 0) test_give_up(to);
}

static inline void fault_copy(const char *to) {
    char wal[1024];
    snprintf(wal, sizeof wal, "%s-wal", to);
    pthread_mutex_lock(&fault.mutex);
    fault_copy_one(fault_find(SQLITE_OPEN_MAIN_DB), to);
    fault_copy_one(fault_find(SQLITE_OPEN_WAL), wal);
    pthread_mutex_unlock(&fault.mutex);
}

#endif
