/* tx.h - what one transaction does: settle, store, promote, claim. */
#ifndef JOBQ__TX_H
#define JOBQ__TX_H

#include "disk.h"
#include "ring.h"
#include "turn.h"

/* Design note.
 *
 * A transaction goes through these in order; commit.c owns the control flow around them.
 *
 *   tx_open     takes the outcomes that were handed in, and resets
 *   tx_reset    before each further attempt: nothing is claimed, nothing taken, counters are zero
 *   tx_settle   writes the outcomes
 *   (requests)  tx_resolve, tx_add, door_pass, door_flush ... on behalf of callers
 *   tx_fill     promotes what is due, claims for the ring, rewrites the claims row
 *   COMMIT
 *   tx_applied  only now do caches, counters and ring change, and workers hear of it
 *   tx_failed   or: nothing has happened, the outcomes go back
 *
 * Invariants, with the baton held:
 *   I1  claimed holds exactly the entries whose rows are CLAIMED in the last committed state, and
 *       the claims row names exactly these.
 *   I2  a ready row of a lane that stands in the table sorts after every job of that lane that is
 *       in the ring. Who makes a row ready calls tx_ready, which keeps this: in order it needs
 *       nothing; out of order it claims the row at once, or, when too much is claimed already or
 *       this is a job's transaction, gives back what sorts after it.
 *   I3  a lane with ready rows in the table is in q->ready, unless look_lanes is set. (The reverse
 *       need not hold.) */

#define JOBQ__LINKED(pointer) JOBQ__CONTAINER(pointer, struct jobq__entry, link)
#define JOBQ__CLAIMED_ENTRY(pointer) JOBQ__CONTAINER(pointer, struct jobq__entry, claimed)

/* Where a request began, so that it can be undone alone. */
struct jobq__tx_mark {
    struct jobq__link *taken, *dropped;
    int64_t serial;
    size_t changes, new_names;
    int room, over;
    int64_t bytes, last_id, next_due_ms, prune_at_ms;
    jobq_stats add;
};

/* ---- A transaction's life (tx.c) ---- */

JOBQ__INTERNAL void jobq__tx_init(jobq *q);
JOBQ__INTERNAL void jobq__tx_fini(jobq *q);

/* What one is for: of a group of requests, with or without the outcomes; or it is a job's, or gives
 * back what the owner before had claimed. */
enum jobq__tx_kind { JOBQ__TX_REQUESTS, JOBQ__TX_OUTCOMES, JOBQ__TX_OF_JOB, JOBQ__TX_RECOVERY };

JOBQ__INTERNAL void jobq__tx_open(struct jobq__tx *tx, jobq__store *db,
                                  enum jobq__tx_kind kind);
JOBQ__INTERNAL void jobq__tx_reset(struct jobq__tx *tx);
/* The disk has room again, within a transaction: what is stored from now on is stored in order. */
JOBQ__INTERNAL void jobq__tx_roomy(struct jobq__tx *tx);
JOBQ__INTERNAL int jobq__tx_settle(struct jobq__tx *tx);
JOBQ__INTERNAL int jobq__tx_fill(struct jobq__tx *tx);
/* Rewrites the claims row from what is claimed. */
JOBQ__INTERNAL int jobq__tx_touch(struct jobq__tx *tx);
JOBQ__INTERNAL void jobq__tx_applied(struct jobq__tx *tx, struct jobq__wakes *wakes);
JOBQ__INTERNAL void jobq__tx_failed(struct jobq__tx *tx);

JOBQ__INTERNAL void jobq__tx_mark(struct jobq__tx *tx, struct jobq__tx_mark *mark);
JOBQ__INTERNAL void jobq__tx_undo(struct jobq__tx *tx, const struct jobq__tx_mark *mark);

/* ---- Names and new jobs (tx_enqueue.c) ---- */

/* The id of a kind's or a queue's name, adding it to the table if need be; then the registry hears
 * of it after COMMIT. Fills err for BAD_NAME, and for FULL when there are too many. */
JOBQ__INTERNAL int jobq__tx_resolve(struct jobq__tx *tx, int what, const char *text,
                                    int32_t *id, jobq_error *err);
/* Adds a new job: row has kind, queue, priority, run_at_ms, side and payload; the rest, and the
 * id, is set here. The payload must stay until door_flush. */
JOBQ__INTERNAL int jobq__tx_add(struct jobq__tx *tx, struct jobq__row *row);

/* ---- Places (tx_order.c) ---- */

/* The lane for a job of this kind, queue, time and number of crashes. */
JOBQ__INTERNAL int32_t jobq__tx_lane(struct jobq__tx *tx, const struct jobq__row *row);
/* The same if its time has come, whatever the wall shows: before the first gate that it may not
 * pass, or ready in its line. */
JOBQ__INTERNAL int32_t jobq__tx_due_lane(struct jobq__tx *tx, const struct jobq__row *row);
/* A row has just become ready in its lane; keeps I2 and I3. */
JOBQ__INTERNAL int jobq__tx_ready(struct jobq__tx *tx, const struct jobq__row *row);
/* Rows may stand ready in that line, wherever in it; keeps I3. */
JOBQ__INTERNAL void jobq__tx_fills(struct jobq__tx *tx, int64_t lane);
/* A row now waits in lane 0 until at_ms. */
JOBQ__INTERNAL void jobq__tx_scheduled(struct jobq__tx *tx, int64_t at_ms);
/* The entry of a claimed job, or NULL; if it has not started it is out of the ring from now on. */
JOBQ__INTERNAL struct jobq__entry *jobq__tx_take(struct jobq__tx *tx, int64_t id, bool *taken);
/* A taken entry's row waits in its lane again, as if it had never been claimed. */
JOBQ__INTERNAL int jobq__tx_unclaim(struct jobq__tx *tx, struct jobq__entry *entry);
/* Gives back everything in the ring. */
JOBQ__INTERNAL int jobq__tx_give_back(struct jobq__tx *tx);

/* Ends a job that nobody runs: one that waits, or is claimed by a process that is no more. */
JOBQ__INTERNAL int jobq__tx_end(struct jobq__tx *tx, const struct jobq__row *row, int state,
                                const char *text, jobq_outcome outcome);
/* Frees what the handler said, if anything. */
JOBQ__INTERNAL void jobq__tx_forget_said(struct jobq__entry *entry);
/* Notes what is to be told of the row after COMMIT; the names are filled in then. key and text, of
 * a failure, may be NULL; text has to stay until the transaction ends. */
JOBQ__INTERNAL int jobq__tx_change(struct jobq__tx *tx, jobq_event *event,
                                   const struct jobq__row *row, const char *key, const char *text);
/* The row's key, if there is one and an event will tell it: key has JOBQ_KEY_MAX + 1 bytes. */
JOBQ__INTERNAL int jobq__tx_key(struct jobq__tx *tx, const struct jobq__row *row, char *key);
/* What the events of the jobs that this transaction claims will tell. */
JOBQ__INTERNAL int jobq__tx_know_claimed(struct jobq__tx *tx);
/* Moves a slice of rows that were parked for want of a handler; *more: there may be others. */
JOBQ__INTERNAL int jobq__tx_unpark(struct jobq__tx *tx, int32_t kind, bool *more);
/* Whenever a job's transaction goes on after its handler: it may have rolled back to a savepoint of
 * its own, and with it names that this transaction had added. Those are forgotten, before a row
 * gets a number that by now is another name's. */
JOBQ__INTERNAL int jobq__tx_check_names(struct jobq__tx *tx);
/* The same before its COMMIT, also for jobs that were given back to the table: those are given back
 * again. */
JOBQ__INTERNAL int jobq__tx_check_undone(struct jobq__tx *tx);
/* After one that a handler may have committed by itself: entries that were given back in it, and
 * are not claimed in the file any more, go. */
JOBQ__INTERNAL int jobq__tx_check_taken(struct jobq__tx *tx);

/* After a commit of a debug build, with the baton held: what of I1 and of the ring can be seen
 * without asking the file is asserted. I2 is where rows become ready (tx_ready). */
JOBQ__INTERNAL void jobq__tx_check(jobq *q);

/* ---- Between the files ---- */

/* An entry for row, with a copy of its payload, which is read if it stands apart. */
JOBQ__INTERNAL int jobq__tx_entry(struct jobq__tx *tx, const struct jobq__row *row,
                                  struct jobq__kind *kind, struct jobq__lane *lane,
                                  struct jobq__entry **made);
JOBQ__INTERNAL void jobq__tx_recycle(jobq *q, struct jobq__entry *entry);
/* What the handler said of a failure, or NULL. */
JOBQ__INTERNAL const char *jobq__tx_text(const struct jobq__entry *entry);
/* Remembers the last job, in order, that this transaction claims of a lane. */
JOBQ__INTERNAL void jobq__tx_note_last(struct jobq__entry *entry);
JOBQ__INTERNAL bool jobq__tx_handled(const struct jobq__tx *tx, int64_t kind);
/* A row that cannot be found, or changed, where it was seen: the file is damaged. */
JOBQ__INTERNAL int jobq__tx_stray(struct jobq__tx *tx, int64_t id);
/* Adds a name to the table and to those that the registry hears of after COMMIT; *id 0: with a new
 * id. */
JOBQ__INTERNAL int jobq__tx_new_name(struct jobq__tx *tx, int what, const char *text,
                                     int64_t *id);
/* The name of that id is known to the registry, or will be after COMMIT. */
JOBQ__INTERNAL int jobq__tx_know(struct jobq__tx *tx, int64_t id);
/* Its text, or NULL if it is not known. */
JOBQ__INTERNAL const char *jobq__tx_name_text(const struct jobq__tx *tx, int64_t id);
/* NULL if the lane's name is not known here. */
JOBQ__INTERNAL struct jobq__lane *jobq__tx_line(const struct jobq__tx *tx, int64_t lane);
/* True if row sorts before a job of its line that is claimed already and has not started. */
JOBQ__INTERNAL bool jobq__tx_before_tail(struct jobq__tx *tx, struct jobq__lane *lane,
                                         const struct jobq__row *row);
/* A claimed job holds a place of each gate that it has passed, until it lets go of them. */
JOBQ__INTERNAL void jobq__tx_hold(struct jobq__entry *entry);
JOBQ__INTERNAL void jobq__tx_let(struct jobq__entry *entry);
/* The transaction under way has settled the entry or taken it out; or not, after all. */
JOBQ__INTERNAL void jobq__tx_gone(struct jobq__entry *entry, bool gone);
/* Counts an entry among those that this transaction claims. */
JOBQ__INTERNAL void jobq__tx_claimed(struct jobq__tx *tx, struct jobq__entry *entry);
/* A job that this very transaction has claimed is not to be run after all. */
JOBQ__INTERNAL void jobq__tx_drop(struct jobq__tx *tx, struct jobq__entry *entry);
/* Out of the ring, with pool.mu held. */
JOBQ__INTERNAL void jobq__tx_take_out(struct jobq__tx *tx, struct jobq__entry *entry);
/* Claims one row that is ready, in or out of turn. */
JOBQ__INTERNAL int jobq__tx_claim_row(struct jobq__tx *tx, struct jobq__lane *lane, int64_t id);
/* True if what came of that was no memory for an entry, and the job can as well wait in the table.
 * SQLite's want of memory may have rolled all of the transaction back. */
JOBQ__INTERNAL bool jobq__tx_can_wait(const struct jobq__tx *tx, int rc);

#endif
