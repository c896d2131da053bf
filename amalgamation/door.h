/* door.h - the one way from state to state: a job takes every edge here. */
#ifndef JOBQ__DOOR_H
#define JOBQ__DOOR_H

#include "disk.h"
#include "tx_count.h"
#include "tx_place.h"
#include "tx_tell.h"

/* Design note.
 *
 * A job goes along an edge of state.c. Whoever wants that says how the row stands, what it
 * shall become and who had it claimed; the door asserts the edge, writes the row behind a fence,
 * and keeps what goes with it: the gates that the job leaves, its key, its side row, the time at
 * which it is pruned, the counters, and its event. A feature that has to do something when jobs
 * change does it here. Whether the row became ready it says (edge.ready); who has it wait sees to
 * the order then (tx_order.c).
 *
 *   new -> WAITING, CLAIMED       jobq__door_new      tx_enqueue.c
 *   WAITING -> CLAIMED            jobq__door_claim    tx_claim.c, tx_order.c
 *   CLAIMED -> WAITING            jobq__door_pass     tx_order.c, for tx_settle.c (retry, snooze,
 *                                                     reschedule, stop), recover.c, given back
 *   CLAIMED -> an end, gone       jobq__door_pass     tx_settle.c, recover.c (a wish to cancel)
 *   ... many plain ones           jobq__door_run      tx_settle.c
 *   WAITING -> WAITING            jobq__door_pass     tx_order.c, for tx_claim.c (promoted, parked,
 *                                                     let go)
 *   WAITING -> an end             jobq__door_pass     tx_settle.c, for tx_claim.c (crashed) and
 *                                                     alter.c (cancelled)
 *   an end, WAITING -> WAITING    jobq__door_pass     tx_order.c, for alter.c (tried again)
 *   any but running -> gone       jobq__door_pass     alter.c (deleted)
 *   an end -> gone                jobq__door_prune    scheduler.c, commit.c: in slices
 *
 * What changes a row and is no edge, beside the door:
 *
 *   a wish to cancel              alter.c: it runs on, and its handler is told
 *   a checkpoint                  run.c: what it saved, and its crashes are forgiven
 *   a key is taken                tx_enqueue.c, alter.c: before the edge of whoever takes it
 *   a row that cannot be          audit_rules.c, in the transaction of repair.c. The doctor sets
 *                                 state and lane in SQL: no edge leads from a row that jobq never
 *                                 left so, and an event would tell of a change that no job made.
 *                                 It puts the row where the door can take it on: waiting in lane 0,
 *                                 to be promoted as any other, or ended. Counters, claims row and
 *                                 due times, which the door keeps, the repair puts right itself
 *   a file of an older schema     migrate.c: rows keep their states
 *
 * `make tidy` looks that nobody else calls what changes rows.
 *
 * The fence: id, state and runs, as the caller has seen them. If it does not hold, somebody else
 * has changed the row: of an outcome that is told (lost_outcomes), of anything else it is damage,
 * for the row was read in this very transaction.
 *
 * Within a transaction, with the baton held. Nothing is remembered here. */

/* What a row becomes that is there no more; no state of the file. */
enum { JOBQ__GONE = JOBQ__NEW + 1 };

struct jobq__edge {
    const struct jobq__row *was;    /* as it stands: id, state and runs are the fence */
    struct jobq__row now;           /* as it shall be; where it waits the door finds out */
    struct jobq__entry *entry;      /* whose claim ends with this; NULL: it is not claimed here */
    bool due;                       /* waits: its time has come, whatever the wall shows */
    bool back;                      /* waits: where it was before it was claimed */
    bool new_round;                 /* waits: what it has saved goes */
    const char *text;               /* of a failure: stored beside the row, and told; or NULL */
    const void *result;             /* of a job that is done; or NULL */
    size_t result_size;
    int64_t keep_ms;                /* ends: how long; JOBQ_NONE: it is gone at once */
    bool tells;                     /* there is an event, */
    jobq_outcome outcome;           /* which tells that, */
    int attempt;                    /* that, */
    int64_t wait_ms, run_ms;        /* and those */
    bool ready;                     /* out: it is, where it stood or another */
};

/* One that leaves the row as it is, to be filled in by the caller. */
JOBQ__INTERNAL void jobq__door_begin(struct jobq__edge *edge, const struct jobq__row *was,
                                     int state);
/* One that settles the entry as its verdict says; where and when, and for how long it is kept, is
 * left to the caller. */
JOBQ__INTERNAL void jobq__door_outcome(struct jobq__edge *edge, struct jobq__entry *entry);
/* Takes it. Once that has failed the transaction is only good for being undone. */
JOBQ__INTERNAL int jobq__door_pass(struct jobq__tx *tx, struct jobq__edge *edge);
/* The same for jobs that are claimed here, whose ids follow one another, and of which nothing but
 * the row has to change: by one statement. *all: the fence held for all of them; if not, nothing is
 * known of any, and the transaction has to begin again. */
JOBQ__INTERNAL int jobq__door_run(struct jobq__tx *tx, struct jobq__entry **entries, size_t count,
                                  int64_t keep_ms, bool *all);
/* A job is stored: the row has its state and its lane. It is written with its neighbours, at the
 * latest by jobq__door_flush, and has to stay until then with its payload. */
JOBQ__INTERNAL int jobq__door_new(struct jobq__tx *tx, const struct jobq__row *row);
/* JOBQ__AGAIN: an id was taken already. */
JOBQ__INTERNAL int jobq__door_flush(struct jobq__tx *tx);
/* Of those that have ended at most limit go: whose time is over, and the oldest that are more than
 * the options keep. *count: how many. */
JOBQ__INTERNAL int jobq__door_prune(struct jobq__tx *tx, int limit, int *count);
/* For the room: the oldest that are done or cancelled. */
JOBQ__INTERNAL int jobq__door_prune_done(struct jobq__tx *tx, int limit, int *count);
/* Rows that wait are claimed: of that entry and of those that follow it in its list, so many, whose
 * ids follow one another. */
JOBQ__INTERNAL int jobq__door_claim(struct jobq__tx *tx, struct jobq__entry *first, int count);

#endif
