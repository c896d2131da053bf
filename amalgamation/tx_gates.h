/* tx_gates.h - gates that have opened, and whose rows were not all moved yet. */
#ifndef JOBQ__TX_GATES_H
#define JOBQ__TX_GATES_H

#include "core.h"

/* Design note.
 *
 * Invariant of every committed state: if rows stand in the lane before a gate that has room, then
 * the gate stands in the list jobq_claims.open (or its kind in q->opened, until the next
 * transaction has looked). So nothing is forgotten whoever dies in between, and at open nobody has
 * to look at each lane there is. The only gates with such a lane are those of kinds: shut until a
 * handler is registered, and wide from then on, so that nobody who leaves one makes room there.
 *
 *   appended   by whoever gives a gate room: for a kind in the first transaction after its handler
 *              was registered, if rows wait for it (gates_look, gates_append).
 *   drained    a slice of the first gate in each transaction that may claim, and of the kind's in
 *              those of jobq_register (tx_drain in tx_claim.c). Each row goes where the whole
 *              predicate wants it (tx_place.c): perhaps before another gate.
 *   struck     when its lane is empty, or the gate has no room any more: whoever gives it room
 *              appends it again. Of an owner before us a kind may stand here that has no handler.
 *   read       by recovery, and with the lanes when others may have written (look_lanes); nothing
 *              else is asked for at open.
 *   written    with the claims row, if it has changed.
 *
 * tx->gates is the list as the transaction leaves it, q->gates as it was committed; both have the
 * same capacity, so that one can become the other without memory. It is appended to in tx_fill
 * only: whoever does so in a request has to undo it with that (tx_mark).
 *
 * Not here: the line of suspects, and any queue's gate. Who waits for those waits in the line that
 * is claimed from, in a lane above 0, and such lanes are found by I3 (tx_order.h). And while a
 * kind's gate is drained new jobs of it go to their line at once: they may start before those that
 * were not moved yet, as jobq.h tells the caller. To those that were they stand in order. */

/* Reads them, before any is appended: JOBQ_CORRUPT if that is no list of gates. */
JOBQ__INTERNAL int jobq__tx_gates_read(struct jobq__tx *tx);
/* Appends the kinds that were registered since somebody has looked, if rows wait for them. */
JOBQ__INTERNAL int jobq__tx_gates_look(struct jobq__tx *tx);
/* The lane of which a slice is to be moved now, or 0. */
JOBQ__INTERNAL int32_t jobq__tx_gates_first(const struct jobq__tx *tx);
JOBQ__INTERNAL void jobq__tx_gates_strike(struct jobq__tx *tx, int32_t lane);
/* Writes them, if they have changed. */
JOBQ__INTERNAL int jobq__tx_gates_write(struct jobq__tx *tx);
/* A transaction begins anew; it was committed. */
JOBQ__INTERNAL void jobq__tx_gates_reset(struct jobq__tx *tx);
JOBQ__INTERNAL void jobq__tx_gates_applied(struct jobq__tx *tx);

/* Rows may stand before the gate of a kind that is registered. */
JOBQ__INTERNAL bool jobq__tx_gates_open(const jobq *q, const struct jobq__kind *kind);
/* The lanes of kinds that have had a handler since before the last commit, in which nobody waits
 * who is not in the list; how many, and lanes may be NULL. */
JOBQ__INTERNAL size_t jobq__tx_gates_settled(const jobq *q, int32_t *lanes);

/* Adds to a list of the claims row, in tx->pack. */
JOBQ__INTERNAL int jobq__tx_pack(struct jobq__tx *tx, size_t *size, int64_t *previous, int64_t id);

#endif
