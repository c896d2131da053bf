/* tx.h - what one transaction does: settle, store, promote, claim. */
#ifndef JOBQ__TX_H
#define JOBQ__TX_H

#include "baton.h"
#include "tx_gates.h"
#include "tx_order.h"

/* Design note.
 *
 * A transaction goes through these in order; commit.c owns the control flow around them.
 *
 *   tx_open     takes the outcomes that were handed in, and resets
 *   tx_reset    before each further attempt: nothing is claimed, nothing taken, counters are zero
 *   tx_settle   writes the outcomes
 *   (requests)  tx_enqueue, alter.c, ... on behalf of callers
 *   tx_fill     moves who stood before a gate that opened, promotes what is due, claims for the
 *               ring, rewrites the claims row
 *   COMMIT
 *   tx_applied  only now do caches, counters and ring change, and workers hear of it
 *   tx_failed   or: nothing has happened, the outcomes go back
 *
 * What it consists of stands in the rooms below, each of which calls only those before it:
 *
 *   tx_gates    gates that have opened, and who still waits there
 *   tx_entry    claimed jobs in memory, and the places they hold
 *   tx_place    where a job waits: the one predicate for what may start
 *   tx_names    names of kinds and queues
 *   tx_tell     events, and who waits for a job
 *   tx_count    what is added to the counters
 *   door        the one way from state to state
 *   tx_order    the invariants of what is claimed and what is ready
 *   tx          a transaction's life
 *   tx_settle, tx_enqueue, tx_claim
 *               what a transaction does, in the order above */

/* Where a request began, so that it can be undone alone. */
struct jobq__tx_mark {
    struct jobq__link *withdrawn, *dropped;
    int64_t serial;
    size_t changes, new_names, shifts, loose;
    int64_t new_jobs;
    int room, over;
    struct jobq__dues due;
    int64_t bytes, last_id, prune_at_ms;
    jobq_stats add;
};

/* ---- A transaction's life ---- */

JOBQ__INTERNAL void jobq__tx_init(jobq *q);
JOBQ__INTERNAL void jobq__tx_fini(jobq *q);

/* What one is for: of a group of requests, with or without the outcomes; or it is a job's, or gives
 * back what the owner before had claimed. */
enum jobq__tx_kind { JOBQ__TX_REQUESTS, JOBQ__TX_OUTCOMES, JOBQ__TX_OF_JOB, JOBQ__TX_RECOVERY };

JOBQ__INTERNAL void jobq__tx_open(struct jobq__tx *tx, jobq__store *db,
                                  enum jobq__tx_kind kind);
JOBQ__INTERNAL void jobq__tx_reset(struct jobq__tx *tx);
/* One whose outcome is known only later does what is left of it then. */
JOBQ__INTERNAL void jobq__tx_at(struct jobq__tx *tx, struct jobq__now now);
/* The disk has room again, within a transaction: what is stored from now on is stored in order. */
JOBQ__INTERNAL void jobq__tx_roomy(struct jobq__tx *tx);
JOBQ__INTERNAL void jobq__tx_applied(struct jobq__tx *tx, struct jobq__wakes *wakes);
JOBQ__INTERNAL void jobq__tx_failed(struct jobq__tx *tx);

JOBQ__INTERNAL void jobq__tx_mark(struct jobq__tx *tx, struct jobq__tx_mark *mark);
JOBQ__INTERNAL void jobq__tx_undo(struct jobq__tx *tx, const struct jobq__tx_mark *mark);

/* After a commit of a debug build, with the baton held: what of I1 and of the ring can be seen
 * without asking the file is asserted. I2 is where rows become ready (tx_ready). */
JOBQ__INTERNAL void jobq__tx_check(jobq *q);

/* ---- What becomes of a job (tx_settle.c) ---- */

JOBQ__INTERNAL int jobq__tx_settle(struct jobq__tx *tx);
/* Ends a job that nobody runs: one that waits, or is claimed by a process that is no more. */
JOBQ__INTERNAL int jobq__tx_end(struct jobq__tx *tx, const struct jobq__row *row, int state,
                                const char *text, jobq_outcome outcome);

/* ---- New jobs (tx_enqueue.c) ---- */

struct jobq__enqueue {
    const jobq_job *jobs;       /* checked */
    size_t count;
    jobq_stored *rows;          /* or NULL */
    bool many;                  /* errors name the row */
};

/* A request to store the jobs; its arg is a struct jobq__enqueue. */
JOBQ__INTERNAL int jobq__tx_enqueue(struct jobq__tx *tx, struct jobq__request *r);
/* How many bytes of payload a job has. */
JOBQ__INTERNAL size_t jobq__tx_job_size(const jobq_job *job);
/* Says which row of a bulk call an error is about. */
JOBQ__INTERNAL void jobq__tx_at_row(const struct jobq__enqueue *enqueue, size_t i,
                                    jobq_error *err);

/* ---- What fills the ring (tx_claim.c) ---- */

JOBQ__INTERNAL int jobq__tx_fill(struct jobq__tx *tx);
/* Rewrites the claims row from what is claimed. */
JOBQ__INTERNAL int jobq__tx_touch(struct jobq__tx *tx);

#endif
