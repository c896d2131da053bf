/* store.h - the seam: jobs above it, SQL below it. */
#ifndef JOBQ__STORE_H
#define JOBQ__STORE_H

#include "column.h"
#include "mem.h"
#include "schema.h"
#include "state.h"

/* Design note.
 *
 * What stands above this file speaks of jobs. store_write.c changes rows, always inside a
 * transaction that the holder of the baton has begun; store_read.c reads them for whoever looks
 * inside. Each function does one thing to the rows it names and says how many it changed: a
 * number that differs from the expected one is how a late result is found out (the fence).
 * Nothing here remembers anything but prepared statements. */

/* jobq_job.side: what else there is to clean up when the job ends. */
enum {
    JOBQ__SIDE_EXTRA = 1, /* a row in jobq_extra */
    JOBQ__SIDE_KEY = 2,   /* and one in jobq_unique */
    /* Of a claimed row, and a number in the texts of sql.h: somebody wants it cancelled. Whatever
     * settles the row takes it away again. 0.1.0 does not know it and does no harm with it: there
     * the job runs once more. */
    JOBQ__SIDE_CANCEL = 4,
    JOBQ__SIDE_ALL = 7    /* every bit that a row may have */
};

struct jobq__row {
    int64_t id;
    int64_t run_at_ms, created_at_ms, delay_ms;
    const void *payload;
    size_t size;
    int32_t kind, queue;
    int32_t lane;         /* JOBQ__LANE_NONE: not waiting */
    int state, priority, attempt, runs, crashes, side;
};

/* ---- Transactions (store_write.c) ---- */

JOBQ__INTERNAL int jobq__store_begin(struct jobq__db *db);
JOBQ__INTERNAL int jobq__store_commit(struct jobq__db *db);
/* The same for a job's transaction. JOBQ__REFUSED, an internal code: what the handler wrote cannot
 * be committed, on whatever disk, and *why has SQLite's words; the file is as it was. */
enum { JOBQ__REFUSED = 102 };
JOBQ__INTERNAL int jobq__store_commit_job(struct jobq__db *db, jobq_error *why);
/* Changes a counter, so that the commit has something to write, and so to sync. */
JOBQ__INTERNAL int jobq__store_sync(struct jobq__db *db);
/* Ends whatever transaction is left; never fails. */
JOBQ__INTERNAL void jobq__store_rollback(struct jobq__db *db);

/* ---- The file (store_read.c) ---- */

/* A number that differs from what it was whenever another connection has committed since. A read,
 * which takes no lock that a writer wants. */
JOBQ__INTERNAL int jobq__store_version(struct jobq__db *db, int64_t *version);

JOBQ__INTERNAL int64_t jobq__store_page_size(struct jobq__db *db);
/* Bytes by which the database file will grow when the log is copied, the open transaction
 * included. */
JOBQ__INTERNAL int64_t jobq__store_growth(struct jobq__db *db);
/* Bytes of the database's pages, all and free ones; 0 if it cannot be told. */
JOBQ__INTERNAL int64_t jobq__store_bytes(struct jobq__db *db);
JOBQ__INTERNAL int64_t jobq__store_free_bytes(struct jobq__db *db);

/* True if free pages of the file may be given back: jobq has made it, and so that they can be. */
JOBQ__INTERNAL bool jobq__store_shrinks(struct jobq__db *db);
/* Gives at most so many free pages back, as many as it can until then, and one in any case. */
JOBQ__INTERNAL int jobq__store_shrink(struct jobq__db *db, int64_t pages, int64_t until_us);

/* ---- Names ---- */

/* 0.1.0 could store jobs whose kind or queue is an id without a name. Such an id, 17 say, is called
 * "lost:17" by whoever reads it, and has that for its name from the first transaction on that meets
 * it. Until then no other new name gets the id. */

/* 0 in *id if there is no such name; JOBQ_BAD_NAME if the file would not give it back as it is. */
JOBQ__INTERNAL int jobq__store_name_find(struct jobq__db *db, const char *name, int64_t *id);
/* With a new id. JOBQ_FULL beyond JOBQ_NAMES_MAX. */
JOBQ__INTERNAL int jobq__store_name_add(struct jobq__db *db, const char *name, int64_t *id);
/* With one that has none. */
JOBQ__INTERNAL int jobq__store_name_put(struct jobq__db *db, int64_t id, const char *name);
/* *lost: the id has none. text has room for JOBQ_NAME_MAX + 1. */
JOBQ__INTERNAL int jobq__store_name_text(struct jobq__db *db, int64_t id, char *text, bool *lost);

/* ---- Enqueue ---- */

JOBQ__INTERNAL int jobq__store_max_id(struct jobq__db *db, int64_t *id);
/* Ids are the caller's. *taken: one of them exists, nothing was inserted. */
JOBQ__INTERNAL int jobq__store_insert(struct jobq__db *db, const struct jobq__row *rows,
                                      size_t count, bool *taken);
/* 0 in *id if no unfinished job of the kind has the key; *stored: the job's row is there. */
JOBQ__INTERNAL int jobq__store_key_find(struct jobq__db *db, int64_t kind, const char *key,
                                        int64_t *id, bool *stored);
/* *taken: the id is another job's. */
JOBQ__INTERNAL int jobq__store_key_add(struct jobq__db *db, int64_t kind, const char *key,
                                       int64_t id, bool *taken);
/* The key of a job, or ""; text has JOBQ_KEY_MAX + 1 bytes. */
JOBQ__INTERNAL int jobq__store_key_text(struct jobq__db *db, int64_t id, char *text);
/* *holder: who has the key that the ended job id once had. */
JOBQ__INTERNAL int jobq__store_key_holder(struct jobq__db *db, int64_t kind, int64_t id,
                                          int64_t *holder);
/* Takes the key of a finished job again; *taken if another job has it now. */
JOBQ__INTERNAL int jobq__store_key_again(struct jobq__db *db, int64_t kind, int64_t id,
                                         bool *taken);

/* ---- Claim ---- */

typedef struct sqlite3_stmt jobq__walk; /* a walk over rows */

/* Walks ready rows of a lane, scheduled rows that are due, or one row, in order. The payload is
 * valid until the next call; call until *more is false, or end the walk. */
JOBQ__INTERNAL jobq__walk *jobq__store_ready(struct jobq__db *db, int64_t lane, int limit);
JOBQ__INTERNAL jobq__walk *jobq__store_due(struct jobq__db *db, int64_t now_ms, int limit);
JOBQ__INTERNAL jobq__walk *jobq__store_by_id(struct jobq__db *db, int64_t id);
JOBQ__INTERNAL int jobq__store_next(struct jobq__db *db, jobq__walk *walk,
                                    struct jobq__row *row, bool *more);
JOBQ__INTERNAL void jobq__store_end(jobq__walk *walk);
/* One row; JOBQ_NOT_FOUND. The payload is NULL, size tells how much there would be. */
JOBQ__INTERNAL int jobq__store_row(struct jobq__db *db, int64_t id, struct jobq__row *row);

JOBQ__INTERNAL int jobq__store_claim(struct jobq__db *db, int64_t first, int64_t last,
                                     int *changed);
/* The row must be there and wait. */
JOBQ__INTERNAL int jobq__store_move(struct jobq__db *db, int64_t id, int64_t lane, int ord);
JOBQ__INTERNAL int jobq__store_give_back(struct jobq__db *db, int64_t id, int64_t lane, int ord,
                                         int *changed);
JOBQ__INTERNAL int jobq__store_next_due(struct jobq__db *db, int64_t *at_ms);
/* JOBQ_CORRUPT if a row is scheduled in an order that neither of these two looks at. */
JOBQ__INTERNAL int jobq__store_all_due(struct jobq__db *db);
/* The smallest lane above lane that has rows, or 0 in *next. */
JOBQ__INTERNAL int jobq__store_lane_after(struct jobq__db *db, int64_t lane, int64_t *next);

/* The ids that are claimed and not settled: all that recovery reads. */
JOBQ__INTERNAL int jobq__store_claims_set(struct jobq__db *db, const void *ids, size_t size,
                                          int64_t last_id);
/* *ids is the caller's to free. */
JOBQ__INTERNAL int jobq__store_claims_get(struct jobq__db *db, void **ids, size_t *size);
/* The next of these ids, after *id, which is 0 before the first; as long as *at is below size. */
JOBQ__INTERNAL int jobq__store_claims_next(struct jobq__db *db, const void *ids, size_t size,
                                           size_t *at, int64_t *id);
/* A row was just read that says it is claimed: damage if it is not among them, for then nobody will
 * ever give it back. In the transaction, or beside the statement, by which it was read. */
JOBQ__INTERNAL int jobq__store_claims_have(struct jobq__db *db, int64_t id);
/* It is not: notes that, and returns JOBQ_CORRUPT. */
JOBQ__INTERNAL int jobq__store_nobodys(struct jobq__db *db, int64_t id);

/* ---- Settle: fenced by state and runs ---- */

JOBQ__INTERNAL int jobq__store_drop_runs(struct jobq__db *db, int64_t first, int64_t last,
                                         int runs, int *changed);
JOBQ__INTERNAL int jobq__store_finish_runs(struct jobq__db *db, int64_t first, int64_t last,
                                           int runs, int state, int64_t now_ms,
                                           int64_t prune_at_ms, int *changed);
/* row: id, runs (the fence), and what the row becomes. */
JOBQ__INTERNAL int jobq__store_requeue(struct jobq__db *db, const struct jobq__row *row, int ord,
                                       int *changed);
/* Ends a job in any way; the fence is from and runs. */
JOBQ__INTERNAL int jobq__store_finish(struct jobq__db *db, int64_t id, int from, int runs,
                                      int state, int64_t now_ms, int64_t prune_at_ms, int side,
                                      int *changed);
/* The row must be there, in the state from: ended or waiting. */
JOBQ__INTERNAL int jobq__store_revive(struct jobq__db *db, int64_t id, int from, int64_t lane,
                                      int ord, int64_t run_at_ms);
/* Writes down that a running job is to be cancelled, whatever becomes of the process. */
JOBQ__INTERNAL int jobq__store_wish(struct jobq__db *db, int64_t id, int runs, int *changed);
JOBQ__INTERNAL int jobq__store_forgive(struct jobq__db *db, int64_t id, int runs, int side,
                                       int *changed);
/* Deletes what stands beside a row, and also the row, which must be there. */
JOBQ__INTERNAL int jobq__store_drop_side(struct jobq__db *db, int64_t kind, int64_t id, int side);
JOBQ__INTERNAL int jobq__store_drop(struct jobq__db *db, int64_t kind, int64_t id, int side);
/* Frees the key of a job that ended, if it has one. */
JOBQ__INTERNAL int jobq__store_key_drop(struct jobq__db *db, int64_t kind, int64_t id, int side);

enum jobq__extra { JOBQ__EXTRA_ERROR, JOBQ__EXTRA_RESULT, JOBQ__EXTRA_SAVED };
/* data NULL: there is none any more. */
JOBQ__INTERNAL int jobq__store_extra(struct jobq__db *db, int64_t id, enum jobq__extra what,
                                     const void *data, size_t size);
/* A new round of the job begins: what the one before has saved is gone. */
JOBQ__INTERNAL int jobq__store_unsave(struct jobq__db *db, int64_t id, int side);
/* NULL in *data if nothing was saved; the caller frees it. */
JOBQ__INTERNAL int jobq__store_saved(struct jobq__db *db, int64_t id, void **data, size_t *size);
/* The highest id that has one, or 0. */
JOBQ__INTERNAL int jobq__store_extra_max(struct jobq__db *db, int64_t *id);

/* ---- Housekeeping ---- */

/* Deletes at most limit finished rows whose time is over, or that are more than keep_max, unless
 * that is JOBQ_UNLIMITED; raises *last_id to the highest of them. */
JOBQ__INTERNAL int jobq__store_prune(struct jobq__db *db, int64_t now_ms, int64_t keep_max,
                                     int limit, int *count, int64_t *last_id);
/* The same before their time, for the room: the oldest done and cancelled ones. */
JOBQ__INTERNAL int jobq__store_prune_done(struct jobq__db *db, int limit, int *count,
                                          int64_t *last_id);
/* JOBQ_NEVER if nothing is kept for a time. */
JOBQ__INTERNAL int jobq__store_prune_next(struct jobq__db *db, int64_t *at_ms);

/* ---- Look inside (store_read.c) ---- */

/* What a claimed row of the table is, only the pool knows. */
typedef bool (*jobq__runs_fn)(void *ctx, int64_t id);

struct jobq__look {
    struct jobq__db *db;
    int64_t now_ms;
    jobq__runs_fn runs;
    void *ctx;
};

/* *claimed: the row is claimed, but no slot says that it runs. */
JOBQ__INTERNAL int jobq__store_info(const struct jobq__look *look, int64_t id, jobq_info *info,
                                    bool *claimed);
/* False if no listing can have left the cursor so. */
JOBQ__INTERNAL bool jobq__store_cursor_valid(const jobq_cursor *cursor);
JOBQ__INTERNAL int jobq__store_list(const struct jobq__look *look, const jobq_filter *filter,
                                    jobq_cursor *cursor, jobq_info *infos, size_t capacity,
                                    size_t *count);
JOBQ__INTERNAL int jobq__store_blob(const struct jobq__look *look, int64_t id, bool result,
                                    void *buffer, size_t capacity, size_t *size);
/* One slice from *after on; *done at the end. */
JOBQ__INTERNAL int jobq__store_count(const struct jobq__look *look, int64_t *after,
                                     jobq_counts *counts, bool *done);

/* The claims row's text: zigzag varints of the differences of successive ids. */
JOBQ__INTERNAL size_t jobq__store_pack(unsigned char *to, int64_t previous, int64_t id);
/* Returns the bytes read, 0 if the text is damaged. */
JOBQ__INTERNAL size_t jobq__store_unpack(const unsigned char *from, size_t size, int64_t *id);
#define JOBQ__PACK_MAX 10 /* bytes of one id */

#endif
