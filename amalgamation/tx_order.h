/* tx_order.h - the order of what starts: ready rows sort after what is claimed. */
#ifndef JOBQ__TX_ORDER_H
#define JOBQ__TX_ORDER_H

#include "door.h"
#include "tx_place.h"

/* Design note.
 *
 *   I1  claimed holds exactly the entries whose rows are CLAIMED in the last committed state, and
 *       the claims row names exactly these.
 *   I2  a ready row of a lane that stands in the table sorts after every job of that lane that is
 *       in the ring.
 *   I3  a lane with ready rows in the table is in q->ready, unless look_lanes is set. (The reverse
 *       need not hold.)
 *
 * I2 has one exception. A stop on a full disk that is cut short may leave more in the ring than a
 * transaction can give back there, and a job that becomes ready then (it ran and is due at once, or
 * jobq_retry_now) may sort before that. It is ready, and starts first: ring.behind says so from the
 * transaction on that may do it, and nobody claims again before all of the ring has been given back
 * (jobq__pool_in_order, of a start and of who steps). From an empty ring on I2 holds again.
 *
 * Who takes a job to where it waits does so by tx_wait: the door says whether the row became ready,
 * and then tx_ready keeps I2 and I3: in order it needs nothing; out of order it claims the row at
 * once, or, when too much is claimed already or this is a job's transaction, gives back what sorts
 * after it (tx_narrow). What is given back stands where it stood before its claim (tx_unclaim). */

/* The door, for an edge to where the job waits; keeps I2 and I3 if it is ready there. */
JOBQ__INTERNAL int jobq__tx_wait(struct jobq__tx *tx, struct jobq__edge *edge);
/* A row has just become ready in its lane, whose name may not be known here (NULL); keeps I2 and
 * I3. */
JOBQ__INTERNAL int jobq__tx_ready(struct jobq__tx *tx, struct jobq__lane *lane,
                                  const struct jobq__row *row);
/* The entry of a claimed job, or NULL; if it has not started it is out of the ring from now on. */
JOBQ__INTERNAL struct jobq__entry *jobq__tx_withdraw(struct jobq__tx *tx, int64_t id,
                                                      bool *withdrawn);
/* A taken entry's row waits in its lane again, as if it had never been claimed. */
JOBQ__INTERNAL int jobq__tx_unclaim(struct jobq__tx *tx, struct jobq__entry *entry);
/* Gives back everything in the ring, or on a full disk a slice of it. */
JOBQ__INTERNAL int jobq__tx_give_back(struct jobq__tx *tx);
/* Claims one row that is ready, in or out of turn. */
JOBQ__INTERNAL int jobq__tx_claim_row(struct jobq__tx *tx, struct jobq__lane *lane, int64_t id);
/* True if what came of that was no memory for an entry, and the job can as well wait in the table.
 * SQLite's want of memory may have rolled all of the transaction back. */
JOBQ__INTERNAL bool jobq__tx_can_wait(const struct jobq__tx *tx, int rc);
/* Counts an entry among those that this transaction claims. */
JOBQ__INTERNAL void jobq__tx_claimed(struct jobq__tx *tx, struct jobq__entry *entry);
/* Out of the ring, with pool.mu held. */
JOBQ__INTERNAL void jobq__tx_withdraw_entry(struct jobq__tx *tx, struct jobq__entry *entry);
/* A job that this very transaction has claimed is not to be run after all. */
JOBQ__INTERNAL void jobq__tx_drop(struct jobq__tx *tx, struct jobq__entry *entry);
/* The same before its COMMIT, also for jobs that were given back to the table: those are given back
 * again. */
JOBQ__INTERNAL int jobq__tx_check_undone(struct jobq__tx *tx);
/* After one that a handler may have committed by itself: entries that were given back in it, and
 * are not claimed in the file any more, go. */
JOBQ__INTERNAL int jobq__tx_check_withdrawn(struct jobq__tx *tx);

#endif
