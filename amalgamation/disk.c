/* disk.c - the disk under the queue: the reserve, full-disk mode, files that moved. */
#include "disk.h"

/* ---- The level ---- */

static const unsigned jobq__disk_edges[] = {
    [JOBQ__DISK_ROOMY] = JOBQ__EDGE(JOBQ__DISK_TIGHT),
    [JOBQ__DISK_TIGHT] = JOBQ__EDGE(JOBQ__DISK_SINGLE) | JOBQ__EDGE(JOBQ__DISK_ROOMY),
    [JOBQ__DISK_SINGLE] = JOBQ__EDGE(JOBQ__DISK_ROOMY),
};

/* The one place where it changes. */
static void jobq__disk_to(struct jobq__disk *disk, int level) {
    jobq__assert(JOBQ__LEGAL(jobq__disk_edges, disk->level, level));
    disk->level = level;
}

/* There is no room for what was to be set aside: TIGHT at least. */
static void jobq__disk_tighten(struct jobq__disk *disk) {
    if (disk->level == JOBQ__DISK_ROOMY) jobq__disk_to(disk, JOBQ__DISK_TIGHT);
}

static void jobq__disk_relax(struct jobq__disk *disk) {
    if (disk->level != JOBQ__DISK_ROOMY) jobq__disk_to(disk, JOBQ__DISK_ROOMY);
}

/* ---- The reserve ---- */

/* What is counted in bytes takes whole pages, and these may be large. */
static int64_t jobq__disk_slack(const jobq *q) {
    return JOBQ__MAX(JOBQ__RESERVE_SLACK, JOBQ__RESERVE_SLACK_PAGES * q->disk.page_size);
}

static int64_t jobq__disk_least(const jobq *q) {
    return JOBQ__MAX(JOBQ__RESERVE_MIN, JOBQ__RESERVE_MIN_PAGES * q->disk.page_size);
}

static int64_t jobq__disk_each(const jobq *q) {
    return JOBQ__MAX(JOBQ__TIGHT_BYTES, JOBQ__TIGHT_PAGES * q->disk.page_size);
}

/* Rows grow by a few bytes when their jobs fail or are tried again. */
static int64_t jobq__disk_tail(jobq *q) {
    int64_t used = jobq__store_bytes(&q->writer) - jobq__store_free_bytes(&q->writer);
    int64_t empty = JOBQ__RESERVE_EMPTY_PAGES * q->disk.page_size;
    return JOBQ__MAX(used - empty, 0) / 100 * JOBQ__RESERVE_TAIL;
}

/* As much as the options say, or as the log may hold and a little for what else has to be written;
 * on a small disk one sixteenth of what is free; not less than a transaction needs, nor than the
 * owner before us had. */
static int64_t jobq__disk_base(jobq *q) {
    int64_t log = q->options.wal_pages * q->disk.page_size + 2 * jobq__disk_slack(q);
    int64_t most = q->options.reserve_bytes ? q->options.reserve_bytes : log;
    int64_t share = jobq__owner_disk_free(&q->owner) / JOBQ__RESERVE_SHARE;
    int64_t wanted = jobq__max(JOBQ__MIN(most, share), jobq__disk_least(q));
    return jobq__max(wanted, jobq__min(jobq__owner_noted_reserve(&q->owner),
                                       jobq__add(most, 3 * q->options.payload_max)));
}

/* The tail is set aside once the disk is about to become full. */
static int64_t jobq__disk_wanted(jobq *q) {
    int64_t wanted, free;
    if (q->options.reserve_bytes) return q->disk.base;
    wanted = jobq__add(q->disk.base, jobq__disk_tail(q));
    free = jobq__add(jobq__owner_disk_free(&q->owner), q->owner.reserved);
    return free / JOBQ__RESERVE_ROOMY >= wanted ? q->disk.base : wanted;
}

/* Between transactions of a full disk: sets aside what is there, before somebody else takes it. */
static void jobq__disk_hold(jobq *q) {
    int64_t left = jobq__add(jobq__owner_disk_free(&q->owner), q->owner.reserved);
    int64_t whole = left / q->disk.page_size * q->disk.page_size;
    jobq__owner_reserve(&q->owner, JOBQ__MIN(q->disk.wanted, whole));
    q->disk.held = q->owner.reserved;
}

/* What is used again soon: that stays. */
static int64_t jobq__disk_keeps(jobq__store *db, int64_t free) {
    return jobq__max(JOBQ__SHRINK_KEEP, (jobq__store_bytes(db) - free) / JOBQ__SHRINK_PART);
}

/* The owner before us may have left more free pages than are of use. */
static void jobq__disk_look_back(jobq *q) {
    struct jobq__disk *disk = &q->disk;
    int64_t at_ms = jobq__add(jobq__clock_now_ms(q->clock), JOBQ__PRUNE_PAUSE_MS);
    disk->shrinks = jobq__store_shrinks(&q->writer);
    disk->least_free = jobq__store_free_bytes(&q->writer);
    if (!disk->shrinks || disk->least_free < 2 * jobq__disk_keeps(&q->writer, disk->least_free))
        return;
    jobq__os_lock(&q->pool.mu);
    q->pool.timers.prune_at_ms = JOBQ__MIN(q->pool.timers.prune_at_ms, at_ms);
    jobq__os_unlock(&q->pool.mu);
}

JOBQ__INTERNAL void jobq__disk_measure(jobq *q) {
    if (q->memory) return;
    /* 0 if there was no memory to ask. */
    q->disk.page_size = jobq__store_page_size(&q->writer);
    if (q->disk.page_size < 512) q->disk.page_size = JOBQ__PAGE_SIZE;
}

JOBQ__INTERNAL bool jobq__disk_lend_some(jobq *q) {
    int64_t left = q->owner.reserved;
    if (q->client || left <= 0) return false;
    jobq__disk_tighten(&q->disk);
    return jobq__owner_reserve(&q->owner, left > JOBQ__RESERVE_MIN ? left / 2 : 0) == JOBQ_OK;
}

static void jobq__disk_arm_reserve(jobq *q) {
    struct jobq__disk *disk = &q->disk;
    int rc;
    disk->base = jobq__disk_base(q);
    jobq__owner_note_reserve(&q->owner, disk->base);
    disk->wanted = jobq__disk_wanted(q);
    rc = jobq__owner_reserve(&q->owner, disk->wanted);
    if (rc == JOBQ_FULL) {
        jobq__disk_tighten(disk);
        jobq__disk_hold(q);
    } else if (rc == JOBQ_OK) {
        jobq__disk_relax(disk);
    } else {
        /* A file system that cannot set bytes aside: then there is no reserve, and no promise. */
        disk->base = disk->wanted = 0;
        jobq__owner_note_reserve(&q->owner, 0);
    }
}

JOBQ__INTERNAL void jobq__disk_arm(jobq *q) {
    if (q->memory || q->client) return;
    if (q->wal_by_default)
        q->options.wal_pages = (int)JOBQ__MAX(
            JOBQ__WAL_PAGES * JOBQ__PAGE_SIZE / q->disk.page_size, JOBQ__WAL_PAGES_MIN);
    jobq__disk_look_back(q);
    if (q->options.reserve_bytes == JOBQ_NONE) {
        jobq__owner_note_reserve(&q->owner, 0);
        jobq__owner_reserve(&q->owner, 0);
    } else {
        jobq__disk_arm_reserve(q);
    }
    q->wal_next = jobq__disk_log_pages(q);
}

JOBQ__INTERNAL void jobq__disk_begin(jobq *q) {
    if (q->disk.level == JOBQ__DISK_ROOMY) return;
    jobq__assert(jobq__store_in_transaction(&q->writer) || jobq__store_in_transaction(&q->job));
    jobq__owner_reserve(&q->owner, 0);
}

JOBQ__INTERNAL bool jobq__disk_full(jobq *q) {
    struct jobq__disk *disk = &q->disk;
    if (q->memory || q->client || disk->level == JOBQ__DISK_SINGLE) return false;
    if (disk->level == JOBQ__DISK_ROOMY) disk->held = q->owner.reserved;
    jobq__disk_to(disk, disk->level + 1);
    return true;
}

/* Back to normal, if the reserve can be had with something to spare. */
static bool jobq__disk_recover(jobq *q) {
    struct jobq__disk *disk = &q->disk;
    if (disk->level == JOBQ__DISK_ROOMY) return true;
    if (jobq__owner_reserve(&q->owner, disk->wanted + disk->wanted / 2) != JOBQ_OK) return false;
    jobq__owner_reserve(&q->owner, disk->wanted);
    jobq__disk_relax(disk);
    return true;
}

JOBQ__INTERNAL void jobq__disk_end(jobq *q) {
    if (!jobq__disk_recover(q)) jobq__disk_hold(q);
}

/* A client's: the owner copies what it writes, with its reserve and with what is still free when
 * the log has grown by that. What the owner has lent to a transaction is not a client's to take: it
 * may have been killed in that, and the next one has to finish what there is. */
static int jobq__disk_leave_room(struct jobq__tx *tx, int64_t most) {
    jobq *q = tx->q;
    int64_t noted = jobq__owner_noted_reserve(&q->owner), held = jobq__owner_held(&q->owner);
    int64_t left = jobq__add(jobq__owner_disk_free(&q->owner), JOBQ__MIN(noted, held)), adds;
    if (held < noted) {
        adds = jobq__add(jobq__disk_slack(q), 2 * tx->grows);
        if (jobq__add(jobq__add(noted, jobq__disk_tail(q)), adds) > left) return JOBQ_FULL;
    }
    if (jobq__add(most, most) <= left) return JOBQ_OK;
    most = jobq__add(jobq__store_growth(tx->db), jobq__disk_slack(q));
    return jobq__add(most, most) <= left ? JOBQ_OK : JOBQ_FULL;
}

JOBQ__INTERNAL int jobq__disk_hold_back(struct jobq__tx *tx) {
    jobq *q = tx->q;
    int64_t logged = jobq__core_log_pages(q) * q->disk.page_size;
    int64_t most = jobq__add(logged + jobq__disk_slack(q), 2 * tx->grows), growth;
    if (q->client) return jobq__disk_leave_room(tx, most);
    if (q->memory || q->options.reserve_bytes == JOBQ_NONE) return JOBQ_OK;
    /* Nobody knows what a handler writes. */
    if (q->disk.level == JOBQ__DISK_ROOMY && tx->db == &q->writer && most <= q->owner.reserved)
        return JOBQ_OK;
    growth = jobq__store_growth(tx->db);
    if (growth <= q->owner.reserved) return JOBQ_OK;
    return jobq__owner_reserve(&q->owner, growth) == JOBQ_FULL ? JOBQ_FULL : JOBQ_OK;
}

JOBQ__INTERNAL void jobq__disk_copying(jobq *q) {
    struct jobq__disk *disk = &q->disk;
    jobq__disk_begin(q);
    if (disk->level != JOBQ__DISK_ROOMY) jobq__store_trim_log(&q->writer);
    else if (q->owner.reserved > disk->wanted) jobq__owner_reserve(&q->owner, disk->wanted);
}

/* A row that changes its size is written anew with its payload: into new pages, and these and the
 * old ones into the log. */
static bool jobq__disk_reserve_for(jobq *q, int64_t largest) {
    struct jobq__disk *disk = &q->disk;
    int64_t need = jobq__add(3 * largest, 2 * jobq__disk_slack(q));
    if (need <= disk->base) return true;
    if (jobq__owner_reserve(&q->owner, jobq__add(disk->wanted, need - disk->base)) != JOBQ_OK)
        return false;
    disk->wanted = jobq__add(disk->wanted, need - disk->base);
    disk->base = need;
    jobq__owner_note_reserve(&q->owner, need);
    return true;
}

static bool jobq__disk_has_spare(const jobq *q, int64_t adds) {
    return q->disk.spare >= jobq__add(q->disk.wanted, jobq__add(adds, adds));
}

JOBQ__INTERNAL bool jobq__disk_presses(jobq *q) {
    struct jobq__disk *disk = &q->disk;
    if (!disk->refused) return false;
    /* Not just for the one: the next shall find room, too. */
    if (disk->level != JOBQ__DISK_ROOMY
        && !jobq__disk_has_spare(q, jobq__add(disk->refused, disk->base))) return true;
    disk->refused = 0;
    return false;
}

JOBQ__INTERNAL int jobq__disk_admit(jobq *q, int64_t adds, int64_t largest, jobq_error *err) {
    struct jobq__disk *disk = &q->disk;
    if (!jobq__disk_recover(q)) {
        if (jobq__disk_has_spare(q, adds)) {
            disk->spare -= 2 * adds;
            return JOBQ_OK;
        }
        disk->refused = JOBQ__MAX(disk->refused, adds);
        return jobq__err_set(err, JOBQ_FULL, "the disk of %.200s is as good as full: what room"
                             " there is, is kept to finish the jobs that are in the queue, which go"
                             " on; free some, or wait for jobs to end and be dropped",
                             q->files.path);
    }
    if (!disk->wanted || jobq__disk_reserve_for(q, largest)) return JOBQ_OK;
    return jobq__err_set(err, JOBQ_FULL, "the disk of %.200s has no room for %lld bytes more;"
                         " free some, or wait for jobs to end and be dropped", q->files.path,
                         (long long)adds);
}

JOBQ__INTERNAL void jobq__disk_copied(jobq *q) {
    struct jobq__disk *disk = &q->disk;
    int64_t free = jobq__store_free_bytes(&q->writer);
    disk->least_free = JOBQ__MIN(disk->least_free, free);
    if (!disk->base) return;
    disk->spare = free;
    disk->wanted = jobq__disk_wanted(q);
    if (disk->level == JOBQ__DISK_ROOMY && q->owner.reserved != disk->wanted
        && jobq__owner_reserve(&q->owner, disk->wanted) != JOBQ_OK) {
        jobq__disk_tighten(disk);
        jobq__disk_hold(q);
    }
}

/* ---- What a level does ---- */

JOBQ__INTERNAL int jobq__disk_batch(const jobq *q, int roomy) {
    if (q->disk.level == JOBQ__DISK_ROOMY) return roomy;
    if (q->disk.level == JOBQ__DISK_SINGLE) return 1;
    return (int)jobq__max(jobq__min(q->disk.held / jobq__disk_each(q), JOBQ__TIGHT_BATCH), 1);
}

JOBQ__INTERNAL bool jobq__disk_saves_room(const jobq *q) {
    const struct jobq__disk *disk = &q->disk;
    return disk->level == JOBQ__DISK_SINGLE
        || (disk->level == JOBQ__DISK_TIGHT && disk->held < disk->wanted
            && disk->spare < disk->wanted);
}

JOBQ__INTERNAL int64_t jobq__disk_log_pages(const jobq *q) {
    int64_t pages;
    if (!q->disk.base) return q->options.wal_pages;
    pages = (q->disk.base - jobq__disk_slack(q)) / q->disk.page_size;
    return JOBQ__MIN(q->options.wal_pages, JOBQ__MAX(pages, 1));
}

/* ---- A file that was large once ---- */

JOBQ__INTERNAL int64_t jobq__disk_freed(jobq *q, int64_t bytes, int64_t now_ms) {
    struct jobq__disk *disk = &q->disk;
    disk->freed = jobq__add(disk->freed, bytes);
    if (!disk->shrinks || disk->freed < 2 * JOBQ__SHRINK_KEEP) return JOBQ_NEVER;
    disk->freed = 0;
    return jobq__add(now_ms, JOBQ__PRUNE_PAUSE_MS);
}

JOBQ__INTERNAL int jobq__disk_shrink(struct jobq__tx *tx, int64_t now_ms, int64_t *again_ms) {
    jobq *q = tx->q;
    struct jobq__disk *disk = &q->disk;
    int64_t free, keeps, least = disk->least_free, pages, until_us = INT64_MAX;
    int rc;
    *again_ms = JOBQ_NEVER;
    if (!disk->shrinks || disk->level != JOBQ__DISK_ROOMY) return JOBQ_OK;
    free = jobq__store_free_bytes(tx->db);
    keeps = jobq__disk_keeps(tx->db, free);
    disk->least_free = free;
    if (!disk->shrinking && free < 2 * keeps) return JOBQ_OK;
    *again_ms = jobq__add(now_ms, JOBQ__PRUNE_PAUSE_MS);
    /* Some of it was in use when somebody last looked: it may be again. */
    if (JOBQ__MIN(free, least) < 2 * keeps && !disk->shrinking) return JOBQ_OK;
    pages = JOBQ__MIN(free - keeps, JOBQ__SHRINK_BYTES) / disk->page_size;
    disk->shrinking = pages > 0;
    *again_ms = disk->shrinking ? now_ms : JOBQ_NEVER;
    if (!disk->shrinking) {
        q->wal_next = 0; /* the file is cut off when the log has been copied */
        return JOBQ_OK;
    }
    tx->grows = jobq__add(tx->grows, 2 * pages * disk->page_size);
    /* An artificial clock is for who wants the same calls to have the same history. */
    if (!q->clock) until_us = jobq__add(jobq__clock_mono_us(), JOBQ__SHRINK_US);
    if (!q->clock) *again_ms = jobq__add(now_ms, JOBQ__SHRINK_PAUSE_MS);
    rc = jobq__store_shrink(tx->db, pages, until_us);
    if (rc != JOBQ_OK || jobq__store_free_bytes(tx->db) < free) return rc;
    /* Somebody has made the file anew, as one that does not shrink. */
    disk->shrinks = disk->shrinking = false;
    *again_ms = JOBQ_NEVER;
    return JOBQ_OK;
}

/* ---- Moved files ---- */

JOBQ__INTERNAL int jobq__disk_look(jobq *q, int64_t now_us) {
    struct jobq__disk *disk = &q->disk;
    if (q->memory || now_us < disk->looked_us + JOBQ__LOOK_US) return JOBQ_OK;
    disk->looked_us = now_us;
    if (jobq__files_moved(&q->files) || jobq__owner_moved(&q->owner)) return JOBQ_MOVED;
    return q->files.log_file.kind == JOBQ__OS_FILE
        && jobq__store_log_is_cut(&q->writer, &q->files) ? JOBQ_MOVED : JOBQ_OK;
}
