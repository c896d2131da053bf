/* fault_disk.h - a disk in memory: files with the locks and the shared memory that SQLite wants.
 *
 * Only what a file is lives here; fault_vfs.h makes a SQLite VFS of it and adds the faults.
 * Nothing here locks: who calls holds fault.mutex, but for the contents of shared memory, which
 * SQLite guards by its own locks.
 *
 * For each database an empty file stands under its name in the real file system too, because jobq
 * looks whether it exists and locks a real file beside it. Logs and shared memory have none.
 *
 * Invariants: a name belongs to one file at most; a deleted file lives on without a name as long
 * as somebody has it open; serial numbers are never used twice, so a file that is deleted and made
 * again is another one. */
#ifndef JOBQ_FAULT_DISK_H
#define JOBQ_FAULT_DISK_H

#include "test.h"

#include <sqlite3.h>

enum { DISK_REGION = 32768, DISK_REGIONS = 64, DISK_NAME = 512 };

struct disk_file {
    struct disk_file *next;
    char name[DISK_NAME]; /* empty: deleted, or never had one */
    int serial, handles;
    unsigned char *data;
    int64_t size, capacity;
    uint32_t pages; /* a log: of the database, by its last commit */
    /* The locks of a rollback journal's world; WAL mode needs them at open and close. */
    int shared;
    const void *reserved, *pending, *exclusive;
    /* Shared memory: gone when the last handle lets go of it, as after a crash. */
    void *regions[DISK_REGIONS];
    int mappers;
    int shm_shared[SQLITE_SHM_NLOCK];
    const void *shm_exclusive[SQLITE_SHM_NLOCK];
};

/* An open file. */
struct disk_handle {
    sqlite3_file base;
    struct disk_file *file;
    int flags; /* as it was opened */
    int level; /* of its lock */
    int os_code; /* of the last write that failed */
    bool mapped;
    unsigned shm_shared, shm_exclusive; /* bits: the locks that it holds */
};

static struct {
    struct disk_file *files;
    int serial;
} disk = {NULL, 0};

/* ---- Files ---- */

static inline struct disk_file *disk_find(const char *name) {
    struct disk_file *f = disk.files;
    while (f && strcmp(f->name, name) != 0) f = f->next;
    return f;
}

static inline bool disk_is_real(const char *name) {
    struct stat st;
    return stat(name, &st) == 0;
}

static inline struct disk_file *disk_make(const char *name) {
    struct disk_file *f = (struct disk_file *)calloc(1, sizeof *f);
    if (!f || strlen(name) >= sizeof f->name) test_give_up(name);
    snprintf(f->name, sizeof f->name, "%s", name);
    f->serial = ++disk.serial;
    f->next = disk.files;
    disk.files = f;
    return f;
}

static inline void disk_free(struct disk_file *f) {
    struct disk_file **at = &disk.files;
    while (*at != f) at = &(*at)->next;
    *at = f->next;
    for (int i = 0; i < DISK_REGIONS; i++) free(f->regions[i]);
    free(f->data);
    free(f);
}

/* The name is free again; whoever has the file open keeps it. */
static inline void disk_unlink(struct disk_file *f) {
    f->name[0] = '\0';
    if (f->handles == 0) disk_free(f);
}

static inline void disk_forget_closed(void) {
    struct disk_file *f = disk.files, *next;
    for (; f; f = next) {
        next = f->next;
        if (f->handles == 0) disk_free(f);
    }
}

static inline void disk_set_size(struct disk_file *f, int64_t size) {
    if (size > f->capacity) {
        int64_t capacity = f->capacity ? f->capacity : 4096;
        while (capacity < size) capacity *= 2;
        f->data = (unsigned char *)realloc(f->data, (size_t)capacity);
        if (!f->data) test_give_up("no memory");
        f->capacity = capacity;
    }
    if (size > f->size) memset(f->data + f->size, 0, (size_t)(size - f->size));
    f->size = size;
}

static inline void disk_write(struct disk_file *f, const void *from, int64_t size, int64_t at) {
    if (size == 0) return;
    if (at + size > f->size) disk_set_size(f, at + size);
    memcpy(f->data + at, from, (size_t)size);
}

/* A read beyond the end gives zeros and says so. */
static inline int disk_read(const struct disk_file *f, void *to, int size, int64_t at) {
    int64_t there = f->size > at ? f->size - at : 0;
    if (there > size) there = size;
    if (there > 0) memcpy(to, f->data + at, (size_t)there);
    if (there == size) return SQLITE_OK;
    memset((char *)to + there, 0, (size_t)(size - there));
    return SQLITE_IOERR_SHORT_READ;
}

/* Bytes of all files, those that are deleted but open too, with their shared memory. */
static inline int64_t disk_used(void) {
    int64_t used = 0;
    for (const struct disk_file *f = disk.files; f; f = f->next) {
        used += f->size;
        for (int i = 0; i < DISK_REGIONS && f->regions[i]; i++) used += DISK_REGION;
    }
    return used;
}

/* A copy under another name, whatever stood there; a database gets its real placeholder. */
static inline struct disk_file *disk_replace(const char *name, const void *data, int64_t size) {
    struct disk_file *f = disk_find(name);
    if (f) disk_unlink(f);
    f = disk_make(name);
    disk_set_size(f, size);
    if (size > 0) memcpy(f->data, data, (size_t)size);
    return f;
}

static inline void disk_make_real(const char *name) {
    FILE *file = disk_is_real(name) ? NULL : fopen(name, "wb");
    if (file) fclose(file);
}

/* ---- The file's lock ---- */

static inline bool disk_others_have(const void *owner, const struct disk_handle *h) {
    return owner && owner != (const void *)h;
}

static inline int disk_lock(struct disk_handle *h, int level) {
    struct disk_file *f = h->file;
    if (h->level >= level) return SQLITE_OK;
    if (disk_others_have(f->exclusive, h)) return SQLITE_BUSY;
    if (level == SQLITE_LOCK_SHARED) {
        if (disk_others_have(f->pending, h)) return SQLITE_BUSY;
        f->shared++;
    } else if (disk_others_have(f->reserved, h) || disk_others_have(f->pending, h)) {
        return SQLITE_BUSY;
    } else if (level == SQLITE_LOCK_RESERVED) {
        f->reserved = h;
    } else {
        f->pending = h;
        if (f->shared > 1) {
            h->level = SQLITE_LOCK_PENDING;
            return SQLITE_BUSY;
        }
        f->exclusive = h;
    }
    h->level = level;
    return SQLITE_OK;
}

static inline void disk_unlock(struct disk_handle *h, int level) {
    struct disk_file *f = h->file;
    if (h->level <= level) return;
    if (f->reserved == (const void *)h) f->reserved = NULL;
    if (f->pending == (const void *)h) f->pending = NULL;
    if (f->exclusive == (const void *)h) f->exclusive = NULL;
    if (level == SQLITE_LOCK_NONE) f->shared--;
    h->level = level;
}

/* ---- Shared memory ---- */

static inline int disk_shm_map(struct disk_handle *h, int region, bool make, void volatile **to) {
    struct disk_file *f = h->file;
    *to = NULL;
    if (region >= DISK_REGIONS) return SQLITE_IOERR_SHMMAP;
    if (!h->mapped) f->mappers++;
    h->mapped = true;
    if (!f->regions[region] && make) f->regions[region] = calloc(1, DISK_REGION);
    *to = f->regions[region];
    return SQLITE_OK;
}

static inline bool disk_shm_can(const struct disk_handle *h, int at, bool exclusive) {
    const struct disk_file *f = h->file;
    unsigned bit = 1u << at;
    if (f->shm_exclusive[at] && f->shm_exclusive[at] != (const void *)h) return false;
    return !exclusive || f->shm_shared[at] == ((h->shm_shared & bit) ? 1 : 0);
}

static inline void disk_shm_change(struct disk_handle *h, int at, int flags) {
    struct disk_file *f = h->file;
    unsigned bit = 1u << at;
    if (flags == (SQLITE_SHM_LOCK | SQLITE_SHM_SHARED)) {
        if (!(h->shm_shared & bit)) f->shm_shared[at]++;
        h->shm_shared |= bit;
    } else if (flags == (SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE)) {
        f->shm_exclusive[at] = h;
        h->shm_exclusive |= bit;
    } else {
        if (h->shm_shared & bit) f->shm_shared[at]--;
        if (h->shm_exclusive & bit) f->shm_exclusive[at] = NULL;
        h->shm_shared &= ~bit;
        h->shm_exclusive &= ~bit;
    }
}

static inline int disk_shm_lock(struct disk_handle *h, int at, int count, int flags) {
    for (int i = at; i < at + count; i++)
        if ((flags & SQLITE_SHM_LOCK) && !disk_shm_can(h, i, (flags & SQLITE_SHM_EXCLUSIVE) != 0))
            return SQLITE_BUSY;
    for (int i = at; i < at + count; i++) disk_shm_change(h, i, flags);
    return SQLITE_OK;
}

static inline void disk_shm_unmap(struct disk_handle *h) {
    struct disk_file *f = h->file;
    if (!h->mapped) return;
    h->mapped = false;
    for (int i = 0; i < SQLITE_SHM_NLOCK; i++) disk_shm_change(h, i, SQLITE_SHM_UNLOCK);
    if (--f->mappers > 0) return;
    for (int i = 0; i < DISK_REGIONS; i++) {
        free(f->regions[i]);
        f->regions[i] = NULL;
    }
}

/* ---- Handles ---- */

static inline void disk_open(struct disk_handle *h, struct disk_file *f, int flags) {
    memset(h, 0, sizeof *h);
    h->file = f;
    h->flags = flags;
    f->handles++;
}

static inline void disk_close(struct disk_handle *h) {
    struct disk_file *f = h->file;
    disk_shm_unmap(h);
    disk_unlock(h, SQLITE_LOCK_NONE);
    f->handles--;
    if (f->handles == 0 && f->name[0] == '\0') disk_free(f);
}

#endif
