/* fault_power.h - power cuts: what a disk may hold after the power failed at a given moment.
 *
 * A log of fault_vfs.h says what was done to the files of a database, in order. A cut goes through
 * it; at each boundary between two operations it can make images of what may be found then:
 *
 *     fault_cut_begin(&cut, &log);
 *     for (int n = log.base; n <= log.count; n++) {
 *         fault_cut_to(&cut, n);                       the first n operations were issued
 *         fault_cut_image(&cut, FAULT_SECTORS, &seed, "image.db");
 *         ... open image.db and look ...
 *     }
 *     fault_cut_end(&cut);
 *
 * What was synced is there. What was not is damaged in one of five ways, each file by itself:
 *   FAULT_DROP     none of it is there
 *   FAULT_KEEP     all of it is there, as after the death of the process alone
 *   FAULT_SECTORS  each sector of 512 bytes is there or not
 *   FAULT_SPARSE   of eight sectors about one is there
 *   FAULT_GARBAGE  each sector is there, or not, or holds noise
 * Bytes that a write did not touch stay as they were, which is what SQLite expects of a disk
 * (power-safe overwrite). A change of size, a new name and a removed name count as one sector each.
 * The first sync of a new file makes names durable: SQLite syncs the folder with it.
 *
 * The slots of the process (the -jobq file) do not outlive the power: beside an image they are all
 * zero, which is to jobq as if there were none. fault_cut_slots puts others there. */
#ifndef JOBQ_FAULT_POWER_H
#define JOBQ_FAULT_POWER_H

#include "fault_vfs.h"

#include <fcntl.h>

enum fault_damage {
    FAULT_DROP,
    FAULT_KEEP,
    FAULT_SECTORS,
    FAULT_SPARSE,
    FAULT_GARBAGE,
    FAULT_DAMAGES
};

static const char *const fault_damage_names[] = {"drop", "keep", "sectors", "sparse", "garbage"};

/* A file, from its creation to its removal. */
struct fault_past {
    int serial, ending;
    struct disk_file synced; /* its data and size only */
    int *unsynced;           /* operations since its last sync */
    int unsynced_count, unsynced_capacity;
    bool made;               /* durably */
    bool removed, removed_durably;
};

struct fault_cut {
    const struct fault_log *log;
    int now;
    struct fault_past *files; /* in the order of their creation */
    int count;
};

/* ---- Going forward ---- */

static inline struct fault_past *fault_cut_file(struct fault_cut *cut, const struct fault_op *op) {
    for (int i = 0; i < cut->count; i++)
        if (cut->files[i].serial == op->serial) return &cut->files[i];
    cut->files = (struct fault_past *)realloc(cut->files,
                                              (size_t)(cut->count + 1) * sizeof *cut->files);
    if (!cut->files) test_give_up("no memory");
    memset(&cut->files[cut->count], 0, sizeof *cut->files);
    cut->files[cut->count].serial = op->serial;
    cut->files[cut->count].ending = op->ending;
    return &cut->files[cut->count++];
}

static inline void fault_cut_wait(struct fault_past *file, int op) {
    if (file->unsynced_count == file->unsynced_capacity) {
        file->unsynced_capacity = file->unsynced_capacity ? file->unsynced_capacity * 2 : 16;
        file->unsynced = (int *)realloc(file->unsynced, (size_t)file->unsynced_capacity
                                                            * sizeof *file->unsynced);
        if (!file->unsynced) test_give_up("no memory");
    }
    file->unsynced[file->unsynced_count++] = op;
}

static inline void fault_cut_apply(struct disk_file *to, const struct fault_op *op) {
    if (op->kind == FAULT_OP_WRITE) disk_write(to, op->data, op->size, op->at);
    if (op->kind == FAULT_OP_TRUNCATE) disk_set_size(to, op->size);
}

static inline void fault_cut_sync(struct fault_cut *cut, struct fault_past *file) {
    for (int i = 0; i < file->unsynced_count; i++)
        fault_cut_apply(&file->synced, &cut->log->ops[file->unsynced[i]]);
    file->unsynced_count = 0;
    if (file->made) return;
    file->made = true;
    for (int i = 0; i < cut->count; i++)
        if (cut->files[i].removed) cut->files[i].removed_durably = true;
}

/* A sync that failed has lost the writes that it was to bring to the disk. */
static inline void fault_cut_forget(const struct fault_cut *cut, struct fault_past *file) {
    int kept = 0;
    for (int i = 0; i < file->unsynced_count; i++)
        if (cut->log->ops[file->unsynced[i]].kind != FAULT_OP_WRITE)
            file->unsynced[kept++] = file->unsynced[i];
    file->unsynced_count = kept;
}

static inline void fault_cut_one(struct fault_cut *cut, int n) {
    const struct fault_op *op = &cut->log->ops[n];
    struct fault_past *file = fault_cut_file(cut, op);
    switch (op->kind) {
    case FAULT_OP_CREATE:
        if (op->size > 0) disk_write(&file->synced, op->data, op->size, 0);
        file->made = n < cut->log->base;
        break;
    case FAULT_OP_WRITE: case FAULT_OP_TRUNCATE: fault_cut_wait(file, n); break;
    case FAULT_OP_SYNC: fault_cut_sync(cut, file); break;
    case FAULT_OP_FORGET: fault_cut_forget(cut, file); break;
    case FAULT_OP_DELETE:
        file->removed = true;
        file->removed_durably = op->dir_sync;
        break;
    }
}

static inline void fault_cut_begin(struct fault_cut *cut, const struct fault_log *log) {
    memset(cut, 0, sizeof *cut);
    cut->log = log;
}

static inline void fault_cut_to(struct fault_cut *cut, int n) {
    while (cut->now < n) fault_cut_one(cut, cut->now++);
}

static inline void fault_cut_end(struct fault_cut *cut) {
    for (int i = 0; i < cut->count; i++) {
        free(cut->files[i].synced.data);
        free(cut->files[i].unsynced);
    }
    free(cut->files);
    memset(cut, 0, sizeof *cut);
}

/* ---- Damage ---- */

/* Whether one unsynced sector, or one change of a name or size, is there. */
static inline bool fault_is_there(enum fault_damage damage, uint64_t *seed) {
    switch (damage) {
    case FAULT_DROP: return false;
    case FAULT_KEEP: return true;
    case FAULT_SPARSE: return test_random(seed) % 8 == 0;
    default: return test_random(seed) % 2 == 0;
    }
}

static inline void fault_spoil(struct disk_file *to, int64_t at, int64_t size, uint64_t *seed) {
    unsigned char noise[512];
    for (int64_t i = 0; i < size; i++) noise[i] = (unsigned char)test_random(seed);
    disk_write(to, noise, size, at);
}

static inline void fault_damage_write(struct disk_file *to, const struct fault_op *op,
                                      enum fault_damage damage, uint64_t *seed) {
    int64_t done = 0;
    while (done < op->size) {
        int64_t at = op->at + done, part = 512 - at % 512;
        if (part > op->size - done) part = op->size - done;
        if (damage == FAULT_GARBAGE && test_random(seed) % 3 == 0)
            fault_spoil(to, at, part, seed);
        else if (fault_is_there(damage, seed))
            disk_write(to, op->data + done, part, at);
        done += part;
    }
}

/* The file as it may be found. */
static inline void fault_cut_damage(const struct fault_cut *cut, const struct fault_past *file,
                                    struct disk_file *to, enum fault_damage damage,
                                    uint64_t *seed) {
    disk_set_size(to, 0);
    disk_write(to, file->synced.data, file->synced.size, 0);
    for (int i = 0; i < file->unsynced_count; i++) {
        const struct fault_op *op = &cut->log->ops[file->unsynced[i]];
        if (op->kind == FAULT_OP_WRITE && damage != FAULT_KEEP)
            fault_damage_write(to, op, damage, seed);
        else if (fault_is_there(damage, seed))
            fault_cut_apply(to, op);
    }
}

/* Which of the files that ever had this name is found under it; NULL: none. */
static inline const struct fault_past *fault_cut_found(const struct fault_cut *cut, int ending,
                                                       enum fault_damage damage, uint64_t *seed) {
    const struct fault_past *found = NULL;
    for (int i = 0; i < cut->count; i++) {
        const struct fault_past *file = &cut->files[i];
        if (file->ending != ending) continue;
        /* The database's own name is jobq's to make durable; here it always is. */
        if (ending == 0 || file->made || fault_is_there(damage, seed)) found = file;
        if (found == file && file->removed
            && (file->removed_durably || fault_is_there(damage, seed)))
            found = NULL;
    }
    return found;
}

/* Overwrites the slots beside the image, or makes them. Never shrinks nor removes the file: to make
 * it anew would cost more than all the rest of an image. */
static inline void fault_cut_slots(const char *path, const void *page, size_t size) {
    char name[DISK_NAME + 8];
    int fd;
    snprintf(name, sizeof name, "%s-jobq", path);
    fd = open(name, O_WRONLY | O_CREAT, 0600);
    if (fd < 0 || pwrite(fd, page, size, 0) != (ssize_t)size || close(fd) != 0)
        test_give_up(name);
}

static inline void fault_cut_image(const struct fault_cut *cut, enum fault_damage damage,
                                   uint64_t *seed, const char *path) {
    static const char zeros[4096];
    char name[DISK_NAME];
    fault_clear(path);
    fault_cut_slots(path, zeros, sizeof zeros);
    pthread_mutex_lock(&fault.mutex);
    for (int ending = 0; ending < 3; ending++) {
        const struct fault_past *file = fault_cut_found(cut, ending, damage, seed);
        if (!file) continue;
        snprintf(name, sizeof name, "%s%s", path, fault_endings[ending]);
        fault_cut_damage(cut, file, disk_make(name), damage, seed);
    }
    disk_make_real(path);
    pthread_mutex_unlock(&fault.mutex);
}

#endif
