/* store.h - the seam: jobs above it, SQL below it. */
#ifndef JOBQ__STORE_H
#define JOBQ__STORE_H

#include "clock.h"
#include "column.h"
#include "files.h"
#include "guard.h"
#include "mem.h"
#include "migrate.h"
#include "state.h"

/* Design note.
 *
 * What stands above this file speaks of jobs: it calls what is declared here, and of the storage
 * layer beside it three things, each from the files that `make tidy` names: guard.h (the connection
 * that handlers get), migrate.h (as a file is opened) and audit.h (the doctor). No SQL, no table,
 * no function of SQLite and no field of a connection is named there; `make tidy` looks. So another
 * store could stand here. The one thing that is SQLite's above the seam is the handle that a
 * handler asks for, jobq__store_handle.
 *
 * store.c opens connections, begins and ends transactions, copies the log and says why something
 * failed; store_write.c changes rows, always inside a transaction that the holder of the baton has
 * begun; store_count.c adds to the counters beside the claims row, reads the rows that are not
 * counted yet, and says how many there are; store_read.c reads rows for whoever looks inside, and
 * asks store_write.c who is claimed, never the other way round. Each function of these does one
 * thing to the rows it names, and says how many it changed: a number that differs from the expected
 * one is how a late result is found out (the fence). Nothing here remembers anything but prepared
 * statements. By SQL of their own, in the same tables, audit.c and its rules read all rows and
 * change those that are broken (audit.h), and migrate.c makes rows of older ones.
 *
 * A connection is used by whoever holds what guards it (core.h): one thread at a time. */

/* One connection. Who holds it by value gives it room, and reads none of it. */
typedef struct jobq__db jobq__store;

/* Rows that wait for their time stand in two lanes: who waits for a point in time in lane 0, due by
 * the wall; who waits for a duration in lane -1, due by the queue's own time (clock.h). i stands
 * for lane -i. */
enum { JOBQ__DUE_BY_WALL, JOBQ__DUE_BY_OWN, JOBQ__DUE_LANES };
struct jobq__dues {
    int64_t at_ms[JOBQ__DUE_LANES]; /* of the first row of each */
};

struct jobq__row {
    int64_t id;
    int64_t run_at_ms;    /* by the wall; of a row that stands in lane -1 by own time */
    int64_t created_at_ms, delay_ms;
    const void *payload;
    size_t size;
    int32_t kind, queue;
    int32_t lane;         /* JOBQ__LANE_NONE: not waiting */
    int state, priority, attempt, runs, crashes, side;
};

/* ---- Connections (store.c) ---- */

/* This SQLite can be used at all. */
JOBQ__INTERNAL int jobq__store_check(jobq_error *err);
/* True if this SQLite may lose commits when two connections write and one checkpoints. */
JOBQ__INTERNAL bool jobq__store_loses_commits(void);
/* The name of how files are opened at this moment, or of how they are kept for one process: all
 * connections of a queue use the same. */
JOBQ__INTERNAL int jobq__store_vfs(bool exclusive, char *name, size_t capacity, jobq_error *err);

/* On failure it is closed. */
JOBQ__INTERNAL int jobq__store_open(jobq__store *store, const char *path, const char *vfs,
                                    enum jobq__use use,
                                    const struct jobq__store_options *options, jobq_error *err);
/* The application's turn with it, once the tables stand. */
JOBQ__INTERNAL int jobq__store_set_up(jobq__store *store, enum jobq__use use,
                                      const struct jobq__store_options *options,
                                      jobq_error *err);
/* Also one that is not open. */
JOBQ__INTERNAL void jobq__store_close(jobq__store *store);
JOBQ__INTERNAL bool jobq__store_is_open(const jobq__store *store);
/* True if it has another file open than its name names: to be asked when it was just opened. */
JOBQ__INTERNAL bool jobq__store_moved(jobq__store *store);
/* Closing may copy the log into the database, for the file is ours; or it may not. */
JOBQ__INTERNAL void jobq__store_own(jobq__store *store, bool ours);
/* Nothing that is clever in the schema runs on it; or as the application has it. */
JOBQ__INTERNAL void jobq__store_harden(jobq__store *store, bool hard);
/* From now on nothing is committed on it but by jobq__store_commit. */
JOBQ__INTERNAL void jobq__store_bind(jobq__store *store);
/* Until when it waits, in real time, if the file is locked, which it does while a queue is opened;
 * and from now on it does not. */
JOBQ__INTERNAL int64_t jobq__store_waits_until(const jobq__store *store);
JOBQ__INTERNAL void jobq__store_wait_no_more(jobq__store *store);
/* What a handler gets to see of it. */
JOBQ__INTERNAL struct sqlite3 *jobq__store_handle(const jobq__store *store);

/* ---- The tables (store.c) ---- */

/* The owner's: makes sure that a queue of this version is there, and that the file can be shared
 * with readers. made: jobq has made the file just now. FOREIGN, NEWER, NOT_A_DB, and as the
 * disk. */
JOBQ__INTERNAL int jobq__store_make(jobq__store *store, int page_size, bool made, bool join,
                                    jobq_error *err);
/* A client's: the queue must be there. NOT_FOUND, FOREIGN, NEWER. */
JOBQ__INTERNAL int jobq__store_find(jobq__store *store, jobq_error *err);
/* After on_connect, which may have changed how the file is shared: puts that right, and reads, so
 * that nobody else can change it. */
JOBQ__INTERNAL int jobq__store_pin(jobq__store *store, jobq_error *err);
/* Before a job's transaction is committed: JOBQ__REFUSED if nobody could open the file again with
 * what the handler has made in it. */
JOBQ__INTERNAL int jobq__store_check_job(jobq__store *store, jobq_error *why);

/* ---- Failures (store.c) ---- */

/* The code of the last failure on this connection, and the record of it with the file's name; and
 * without. */
JOBQ__INTERNAL int jobq__store_fail(jobq__store *store, jobq_error *err);
JOBQ__INTERNAL int jobq__store_why(const jobq__store *store, jobq_error *err);
/* True if that is what rc says. */
JOBQ__INTERNAL bool jobq__store_said(const jobq__store *store, int rc);
#ifdef JOBQ_DEBUG
/* For assertions that ask the file: what fails between the two is nobody's failure. */
struct jobq__store_failure {
    struct jobq__fault fault;
    int code;
};
JOBQ__INTERNAL void jobq__store_note_failure(const jobq__store *store,
                                             struct jobq__store_failure *failure);
JOBQ__INTERNAL void jobq__store_set_failure(jobq__store *store,
                                            const struct jobq__store_failure *failure);
#endif
/* The same failure, to be kept until the connection is another's again, and to be told then. path
 * NULL: not named; way_out NULL: none but for damage, which has its own. Returns code. */
JOBQ__INTERNAL struct jobq__fault jobq__store_reason(const jobq__store *store);
JOBQ__INTERNAL int jobq__store_tell(const struct jobq__fault *why, int code, const char *path,
                                    const char *way_out, jobq_error *err);

/* What only who knows of jobs can see to be wrong with the file; id: whose row it is about. */
enum jobq__damage {
    JOBQ__DAMAGE_ID,    /* is taken, however often it is read which is the highest */
    JOBQ__DAMAGE_IDS,   /* is the last one that there is, so that no job gets one */
    JOBQ__DAMAGE_ROW,   /* is not where an index says */
    JOBQ__DAMAGE_ORDER, /* of waiting rows; no id */
    JOBQ__DAMAGE_NAME,  /* is not what its index says */
    JOBQ__DAMAGE_KEY,   /* belongs to no job */
    JOBQ__DAMAGE_EXTRA, /* what stands beside a row has no job */
    JOBQ__DAMAGE_PAYLOAD, /* the same of a payload that stands apart */
    JOBQ__DAMAGE_OPEN   /* names a gate twice, or more of them than there can be */
};
/* Notes it, for jobq__store_fail to say; returns JOBQ_CORRUPT. */
JOBQ__INTERNAL int jobq__store_damaged(jobq__store *store, enum jobq__damage what, int64_t id);

/* ---- Transactions (store.c, store_write.c) ---- */

/* Of the log: its commits are synced whatever the options say, or as they say it of RELAXED. */
JOBQ__INTERNAL int jobq__store_sync_all(jobq__store *store, bool all);
/* True inside one: after some errors it ends by itself. Of one that is not open: false. */
JOBQ__INTERNAL bool jobq__store_in_transaction(const jobq__store *store);
/* True if the one that was begun has not been ended behind our back. */
JOBQ__INTERNAL bool jobq__store_stands(const jobq__store *store);
/* Rows changed since the connection was opened: to see whether something was written. */
JOBQ__INTERNAL int64_t jobq__store_changes(const jobq__store *store);
/* A part of it that can be undone alone: save, undo if need be, and in any case keep. */
JOBQ__INTERNAL int jobq__store_save(jobq__store *store);
JOBQ__INTERNAL int jobq__store_undo(jobq__store *store);
JOBQ__INTERNAL int jobq__store_keep(jobq__store *store);

JOBQ__INTERNAL int jobq__store_begin(struct jobq__db *db);
JOBQ__INTERNAL int jobq__store_commit(struct jobq__db *db);
/* The same for a job's transaction. JOBQ__REFUSED: what the handler wrote cannot be committed, and
 * *why has SQLite's words; the file is as it was. */
JOBQ__INTERNAL int jobq__store_commit_job(struct jobq__db *db, jobq_error *why);
/* Changes a counter, so that the commit has something to write, and so to sync. */
JOBQ__INTERNAL int jobq__store_sync(struct jobq__db *db);
/* Ends whatever transaction is left; never fails. */
JOBQ__INTERNAL void jobq__store_rollback(struct jobq__db *db);

/* ---- The log (store.c) ---- */

/* Copies it into the database as far as readers allow; truncate also shortens it. *all is false if
 * somebody still needs the log. Nobody may write meanwhile. */
JOBQ__INTERNAL int jobq__store_copy_log(jobq__store *store, bool truncate, bool *all);
/* Pages in it after the last commit of this connection, or as they were set. */
JOBQ__INTERNAL int jobq__store_log_pages(const jobq__store *store);
JOBQ__INTERNAL void jobq__store_set_log_pages(jobq__store *store, int pages);
/* In a transaction that writes: cuts off what others that were not committed have left behind the
 * last commit. */
JOBQ__INTERNAL void jobq__store_trim_log(jobq__store *store);
/* True if somebody has cut it, though what is in it is not in the database. */
JOBQ__INTERNAL bool jobq__store_log_is_cut(jobq__store *store, const struct jobq__files *files);

/* ---- The file (store.c) ---- */

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

/* Of a kind or a queue (*what). 0 in *id if there is no such name; JOBQ_BAD_NAME if the file would
 * not give it back as it is. *what becomes JOBQ__NAME_ANY if the name serves as both. */
JOBQ__INTERNAL int jobq__store_name_find(struct jobq__db *db, int *what, const char *name,
                                         int64_t *id);
/* With an id that none had before; *what as above. JOBQ_FULL beyond JOBQ_NAMES_MAX. */
JOBQ__INTERNAL int jobq__store_name_add(struct jobq__db *db, int *what, const char *name,
                                        int64_t *id);
/* With one that has none. */
JOBQ__INTERNAL int jobq__store_name_put(struct jobq__db *db, int64_t id, int what,
                                        const char *name);
/* The id that such a name is made of, or 0. */
JOBQ__INTERNAL int64_t jobq__store_lost_id(const char *name);
/* *lost: the id has none. text has room for JOBQ_NAME_MAX + 1. */
JOBQ__INTERNAL int jobq__store_name_text(struct jobq__db *db, int64_t id, int *what, char *text,
                                         bool *lost);

/* ---- Enqueue ---- */

JOBQ__INTERNAL int jobq__store_max_id(struct jobq__db *db, int64_t *id);
/* True if a payload of that size does not stand in its job's row: whoever stores the job says so in
 * its side (JOBQ__SIDE_PAYLOAD). */
JOBQ__INTERNAL bool jobq__store_apart(struct jobq__db *db, size_t size);
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

/* Walks ready rows of a lane, rows that are due by one of the clocks, or one row, in order. The
 * payload is valid until the next call, or NULL if it stands apart; call until *more is false, or
 * end the walk. */
JOBQ__INTERNAL jobq__walk *jobq__store_walk_lane(struct jobq__db *db, int64_t lane, int limit);
JOBQ__INTERNAL jobq__walk *jobq__store_due(struct jobq__db *db, int by, int64_t now_ms,
                                           int limit);
JOBQ__INTERNAL jobq__walk *jobq__store_by_id(struct jobq__db *db, int64_t id);
JOBQ__INTERNAL int jobq__store_next(struct jobq__db *db, jobq__walk *walk,
                                    struct jobq__row *row, bool *more);
JOBQ__INTERNAL void jobq__store_end(jobq__walk *walk);
/* One row; JOBQ_NOT_FOUND. The payload is NULL, size tells how much there would be. */
JOBQ__INTERNAL int jobq__store_row(struct jobq__db *db, int64_t id, struct jobq__row *row);

/* One that stands apart, into a buffer of its size. */
JOBQ__INTERNAL int jobq__store_payload(struct jobq__db *db, const struct jobq__row *row,
                                       void *buffer);
/* It is missing, or has another size: notes that, and returns JOBQ_CORRUPT. */
JOBQ__INTERNAL int jobq__store_payload_wrong(struct jobq__db *db, int64_t id, bool there);

JOBQ__INTERNAL int jobq__store_claim(struct jobq__db *db, int64_t first, int64_t last,
                                     int *changed);
/* A row is to wait, from now on or still: row is what it becomes, from and runs the fence. */
JOBQ__INTERNAL int jobq__store_place(struct jobq__db *db, const struct jobq__row *row, int from,
                                     int runs, int *changed);
JOBQ__INTERNAL int jobq__store_next_due(struct jobq__db *db, int by, int64_t *at_ms);
JOBQ__INTERNAL int jobq__store_next_dues(struct jobq__db *db, struct jobq__dues *due);
/* A row of lane -1 that waits no more, and is not placed anew: its time becomes one of the wall. */
JOBQ__INTERNAL int jobq__store_on_wall(struct jobq__db *db, int64_t id, int64_t at_ms);
/* JOBQ_CORRUPT if a row is scheduled in an order that neither of these two looks at. */
JOBQ__INTERNAL int jobq__store_all_due(struct jobq__db *db);
/* The smallest lane above lane that has rows, or 0 in *next. */
JOBQ__INTERNAL int jobq__store_lane_after(struct jobq__db *db, int64_t lane, int64_t *next);

/* The ids that are claimed and not settled: all that recovery reads; and own time at this wall. */
JOBQ__INTERNAL int jobq__store_claims_set(struct jobq__db *db, const void *ids, size_t size,
                                          int64_t last_id, int64_t counted, int64_t offset_ms,
                                          int64_t wall_ms);
/* Own time, as it was last written. */
JOBQ__INTERNAL int jobq__store_own_time(struct jobq__db *db, int64_t *offset_ms, int64_t *wall_ms);
/* *ids is the caller's to free. */
JOBQ__INTERNAL int jobq__store_claims_get(struct jobq__db *db, void **ids, size_t *size);
/* The next of these ids, after *id, which is 0 before the first; as long as *at is below size. */
JOBQ__INTERNAL int jobq__store_claims_next(struct jobq__db *db, const void *ids, size_t size,
                                           size_t *at, int64_t *id);
/* The lanes before gates that opened, and were not drained: the same. */
JOBQ__INTERNAL int jobq__store_open_set(struct jobq__db *db, const void *lanes, size_t size);
JOBQ__INTERNAL int jobq__store_open_get(struct jobq__db *db, void **lanes, size_t *size);
JOBQ__INTERNAL int jobq__store_open_next(struct jobq__db *db, const void *lanes, size_t size,
                                         size_t *at, int64_t *lane);
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
/* Ends a job in any way; side is added to what stands beside it. */
JOBQ__INTERNAL int jobq__store_finish(struct jobq__db *db, const struct jobq__row *was, int state,
                                      int64_t now_ms, int64_t prune_at_ms, int side, int *changed);
/* A job is kept as a failed one, until then; before it is no longer. */
JOBQ__INTERNAL int jobq__store_failed_add(struct jobq__db *db, int64_t prune_at_ms, int64_t id);
JOBQ__INTERNAL int jobq__store_failed_drop(struct jobq__db *db, int64_t id);
/* Writes down that a running job is to be cancelled, whatever becomes of the process. */
JOBQ__INTERNAL int jobq__store_wish(struct jobq__db *db, int64_t id, int runs, int *changed);
JOBQ__INTERNAL int jobq__store_forgive(struct jobq__db *db, int64_t id, int runs, int side,
                                       int *changed);
/* Deletes a row, and what stands beside one, which must be there. */
JOBQ__INTERNAL int jobq__store_drop(struct jobq__db *db, const struct jobq__row *was, int *changed);
JOBQ__INTERNAL int jobq__store_drop_side(struct jobq__db *db, int64_t kind, int64_t id, int side);
/* Frees the key of a job that ended, if it has one: another may take it now, and whoever knows it
 * still finds the job. */
JOBQ__INTERNAL int jobq__store_key_free(struct jobq__db *db, int64_t kind, int64_t id, int side);

enum jobq__extra { JOBQ__EXTRA_ERROR, JOBQ__EXTRA_RESULT, JOBQ__EXTRA_SAVED };
/* data NULL: there is none any more. */
JOBQ__INTERNAL int jobq__store_extra(struct jobq__db *db, int64_t id, enum jobq__extra what,
                                     const void *data, size_t size);
/* A new round of the job begins: what the one before has saved is gone. */
JOBQ__INTERNAL int jobq__store_unsave(struct jobq__db *db, int64_t id, int side);
/* NULL in *data if nothing was saved; the caller frees it. */
JOBQ__INTERNAL int jobq__store_saved(struct jobq__db *db, int64_t id, void **data, size_t *size);
/* The highest id that has something beside its row, or a payload apart; or 0. */
JOBQ__INTERNAL int jobq__store_extra_max(struct jobq__db *db, int64_t *id);
JOBQ__INTERNAL int jobq__store_payload_max(struct jobq__db *db, int64_t *id);

/* ---- Counters (store_count.c) ---- */

/* The counters of jobq_claims, in this order; and what is not counted. */
enum jobq__count_as { JOBQ__COUNT_READY, JOBQ__COUNT_SCHEDULED, JOBQ__COUNT_BLOCKED,
                      JOBQ__COUNT_CLAIMED, JOBQ__COUNT_DONE, JOBQ__COUNT_FAILED,
                      JOBQ__COUNT_CANCELLED, JOBQ__COUNT_RETRYING, JOBQ__COUNTS,
                      JOBQ__COUNT_NOTHING };

struct jobq__count {
    int32_t queue, kind;
    int64_t by[JOBQ__COUNTS]; /* more of them than before, or fewer */
};

/* What a row counts as in that state, of which it need not be; and whether it is also RETRYING. */
JOBQ__INTERNAL int jobq__store_count_as(const struct jobq__row *row, int state);
JOBQ__INTERNAL bool jobq__store_retries(const struct jobq__row *row, int state);
/* One more of what the row counts as, as it stands. */
JOBQ__INTERNAL void jobq__store_count_row(const struct jobq__row *row, int64_t *by);
/* Jobs up to that id are counted. */
JOBQ__INTERNAL int jobq__store_counted(struct jobq__db *db, int64_t *id);
/* None is, and there are no counters. */
JOBQ__INTERNAL int jobq__store_count_anew(struct jobq__db *db);
JOBQ__INTERNAL int jobq__store_count_add(struct jobq__db *db, const struct jobq__count *count);
/* Walks rows above an id, up to another, as far as counting needs them. row: the one before, at
 * first with the id that all are above. */
JOBQ__INTERNAL jobq__walk *jobq__store_uncounted(struct jobq__db *db, int64_t after, int64_t upto);
JOBQ__INTERNAL int jobq__store_next_uncounted(struct jobq__db *db, jobq__walk *walk,
                                              struct jobq__row *row, bool *more);
#ifdef JOBQ_DEBUG
/* How many pairs of queue and kind have counters that are not what counting comes to: reads all
 * that is counted. For assertions. */
JOBQ__INTERNAL int jobq__store_miscounted(struct jobq__db *db, int64_t *pairs);
#endif
/* How many have ended and are kept. */
JOBQ__INTERNAL int jobq__store_ended(struct jobq__db *db, int64_t *count);

/* ---- Housekeeping ---- */

/* Hears of each row that goes. */
typedef void (*jobq__gone_fn)(void *ctx, const struct jobq__row *row);
struct jobq__prune {
    int count;              /* rows that went */
    int64_t last_id;        /* raised to the highest of them */
    jobq__gone_fn gone;
    void *ctx;
};

/* Deletes at most limit finished rows whose time is over; the oldest ones; or for the room, before
 * their time, the oldest done and cancelled ones. */
JOBQ__INTERNAL int jobq__store_prune(struct jobq__db *db, int64_t now_ms, int limit,
                                     struct jobq__prune *prune);
JOBQ__INTERNAL int jobq__store_prune_oldest(struct jobq__db *db, int limit,
                                            struct jobq__prune *prune);
JOBQ__INTERNAL int jobq__store_prune_done(struct jobq__db *db, int limit,
                                          struct jobq__prune *prune);
/* JOBQ_NEVER if nothing is kept for a time. */
JOBQ__INTERNAL int jobq__store_prune_next(struct jobq__db *db, int64_t *at_ms);

/* ---- Look inside (store_read.c) ---- */

/* What a claimed row of the table is, only the pool knows. */
typedef bool (*jobq__runs_fn)(void *ctx, int64_t id);

struct jobq__look {
    struct jobq__db *db;
    struct jobq__now now;
    jobq__runs_fn runs;
    void *ctx;
};

/* *claimed: the row is claimed, but no slot says that it runs. */
JOBQ__INTERNAL int jobq__store_info(const struct jobq__look *look, int64_t id, jobq_info *info,
                                    bool *claimed);
/* False if no listing by such a filter can have left the cursor so. */
JOBQ__INTERNAL bool jobq__store_cursor_valid(const jobq_cursor *cursor,
                                             const jobq_filter *filter);
JOBQ__INTERNAL int jobq__store_list(const struct jobq__look *look, const jobq_filter *filter,
                                    jobq_cursor *cursor, jobq_info *infos, size_t capacity,
                                    size_t *count);
JOBQ__INTERNAL int jobq__store_blob(const struct jobq__look *look, int64_t id, bool result,
                                    void *buffer, size_t capacity, size_t *size);
/* All of them, in one snapshot. */
JOBQ__INTERNAL int jobq__store_count(const struct jobq__look *look, jobq_counts *counts);

/* The claims row's text: zigzag varints of the differences of successive ids. */
JOBQ__INTERNAL size_t jobq__store_pack(unsigned char *to, int64_t previous, int64_t id);
/* Returns the bytes read, 0 if the text is damaged. */
JOBQ__INTERNAL size_t jobq__store_unpack(const unsigned char *from, size_t size, int64_t *id);
#define JOBQ__PACK_MAX 10 /* bytes of one id */

#endif
