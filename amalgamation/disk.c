/* disk.c - the disk under the queue: the reserve, full-disk mode, files that moved. */
#include "disk.h"

/* ---- The reserve ---- */

/* As much as the log may hold, and a little for what else has to be written; on a small disk one
 * sixteenth of what is free. */
static int64_t jobq__disk_wanted(const jobq *q) {
    int64_t most = q->options.wal_pages * q->disk.page_size + 2 * JOBQ__RESERVE_SLACK;
    int64_t share = jobq__owner_disk_free(&q->owner) / JOBQ__RESERVE_SHARE;
    int64_t wanted = JOBQ__MAX(q->owner.reserved, share);
    return JOBQ__MIN(most, JOBQ__MAX(wanted, JOBQ__RESERVE_MIN));
}

/* Between transactions of a full disk: sets aside what is there, before somebody else takes it. */
static void jobq__disk_hold(jobq *q) {
    int64_t free = jobq__owner_disk_free(&q->owner) / q->disk.page_size * q->disk.page_size;
    jobq__owner_reserve(&q->owner, JOBQ__MIN(q->disk.wanted, free));
    q->disk.held = q->owner.reserved;
}

JOBQ__INTERNAL void jobq__disk_arm(jobq *q) {
    struct jobq__disk *disk = &q->disk;
    int rc;
    if (q->memory) return;
    disk->log_known = jobq__os_stat(q->log_path, &disk->log) == JOBQ__OS_FILE;
    if (q->client) return;
    /* 0 if there was no memory to ask. */
    disk->page_size = jobq__store_page_size(&q->writer);
    if (disk->page_size < 512) disk->page_size = 4096;
    if (q->options.reserve_bytes == JOBQ_NONE) {
        jobq__owner_reserve(&q->owner, 0);
        return;
    }
    disk->wanted = q->options.reserve_bytes ? q->options.reserve_bytes : jobq__disk_wanted(q);
    rc = jobq__owner_reserve(&q->owner, disk->wanted);
    if (rc == JOBQ_FULL) {
        disk->level = JOBQ__MAX(disk->level, JOBQ__DISK_TIGHT);
        jobq__disk_hold(q);
    } else if (rc == JOBQ_OK) {
        disk->level = JOBQ__DISK_ROOMY;
    } else {
        /* A file system that cannot set bytes aside: then there is no reserve, and no promise. */
        disk->wanted = 0;
    }
    q->wal_next = jobq__disk_log_pages(q);
}

JOBQ__INTERNAL void jobq__disk_begin(jobq *q) {
    if (q->disk.level != JOBQ__DISK_ROOMY) jobq__owner_reserve(&q->owner, 0);
}

JOBQ__INTERNAL bool jobq__disk_full(jobq *q) {
    struct jobq__disk *disk = &q->disk;
    if (q->memory || q->client || disk->level == JOBQ__DISK_SINGLE) return false;
    if (disk->level++ == JOBQ__DISK_ROOMY) disk->held = q->owner.reserved;
    jobq__owner_reserve(&q->owner, 0);
    return true;
}

/* Back to normal, if the reserve can be had with something to spare. */
static bool jobq__disk_recover(jobq *q) {
    struct jobq__disk *disk = &q->disk;
    if (disk->level == JOBQ__DISK_ROOMY) return true;
    if (jobq__owner_reserve(&q->owner, disk->wanted + disk->wanted / 2) != JOBQ_OK) {
        jobq__owner_reserve(&q->owner, 0);
        return false;
    }
    jobq__owner_reserve(&q->owner, disk->wanted);
    disk->level = JOBQ__DISK_ROOMY;
    return true;
}

JOBQ__INTERNAL void jobq__disk_end(jobq *q) {
    if (!jobq__disk_recover(q)) jobq__disk_hold(q);
}

/* A payload has to fit into the log once more when its job ends. */
static bool jobq__disk_reserve_for(jobq *q, int64_t largest) {
    int64_t need = jobq__add(largest, 2 * JOBQ__RESERVE_SLACK);
    if (need <= q->owner.reserved) return true;
    if (jobq__owner_reserve(&q->owner, need) != JOBQ_OK) return false;
    q->disk.wanted = JOBQ__MAX(q->disk.wanted, need);
    return true;
}

/* The log takes what is added, the database grows by that when the log is copied, and by what
 * was added since the last time. */
static bool jobq__disk_room_for(const jobq *q, int64_t adds) {
    int64_t reserve = q->owner.reserved - JOBQ__RESERVE_SLACK;
    int64_t need = jobq__add(q->disk.grown, 3 * adds) - reserve;
    return jobq__add(q->disk.grown, adds) <= reserve
        || need <= jobq__owner_disk_free(&q->owner);
}

JOBQ__INTERNAL int jobq__disk_admit(jobq *q, int64_t adds, int64_t largest, jobq_error *err) {
    struct jobq__disk *disk = &q->disk;
    if (!jobq__disk_recover(q)) {
        if (disk->spare >= jobq__add(disk->wanted, 2 * adds)) {
            disk->spare -= 2 * adds;
            return JOBQ_OK;
        }
        return jobq__err_set(err, JOBQ_FULL, "the disk is full; jobs that are in the queue go on");
    }
    if (!disk->wanted) return JOBQ_OK;
    if (!jobq__disk_reserve_for(q, largest) || !jobq__disk_room_for(q, adds))
        return jobq__err_set(err, JOBQ_FULL, "the disk has no room for %lld bytes more",
                             (long long)adds);
    disk->grown += adds;
    return JOBQ_OK;
}

JOBQ__INTERNAL void jobq__disk_copied(jobq *q, bool all) {
    if (all) q->disk.grown = 0;
    q->disk.spare = q->disk.level == JOBQ__DISK_ROOMY ? 0 : jobq__store_free_bytes(&q->writer);
}

/* ---- What a level does ---- */

JOBQ__INTERNAL int jobq__disk_batch(const jobq *q) {
    if (q->disk.level == JOBQ__DISK_ROOMY) return JOBQ__BATCH;
    if (q->disk.level == JOBQ__DISK_SINGLE) return 1;
    return (int)JOBQ__MAX(JOBQ__MIN(q->disk.held / JOBQ__TIGHT_BYTES, JOBQ__TIGHT_BATCH), 1);
}

JOBQ__INTERNAL bool jobq__disk_keeps_done(const jobq *q) {
    const struct jobq__disk *disk = &q->disk;
    return disk->level == JOBQ__DISK_ROOMY || disk->spare >= disk->wanted
        || (disk->level == JOBQ__DISK_TIGHT && disk->held >= disk->wanted);
}

JOBQ__INTERNAL int64_t jobq__disk_log_pages(const jobq *q) {
    int64_t pages;
    if (!q->disk.wanted) return q->options.wal_pages;
    pages = (q->disk.wanted - JOBQ__RESERVE_SLACK) / q->disk.page_size;
    return JOBQ__MIN(q->options.wal_pages, JOBQ__MAX(pages, 1));
}

/* ---- Moved files ---- */

JOBQ__INTERNAL int jobq__disk_look(jobq *q, int64_t now_us) {
    struct jobq__disk *disk = &q->disk;
    struct jobq__os_id log;
    if (q->memory || now_us < disk->looked_us + JOBQ__LOOK_US) return JOBQ_OK;
    disk->looked_us = now_us;
    if (jobq__db_moved(&q->writer) || jobq__owner_moved(&q->owner)) return JOBQ_MOVED;
    if (!disk->log_known) return JOBQ_OK;
    if (jobq__os_stat(q->log_path, &log) != JOBQ__OS_FILE) return JOBQ_MOVED;
    return log.file == disk->log.file && log.device == disk->log.device ? JOBQ_OK : JOBQ_MOVED;
}
