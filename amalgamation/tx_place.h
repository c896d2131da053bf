/* tx_place.h - where a job waits: before which gate, in which lane. */
#ifndef JOBQ__TX_PLACE_H
#define JOBQ__TX_PLACE_H

#include "tx_entry.h"

/* Design note.
 *
 * jobq__tx_due_lane is the one predicate for what may start: where a row waits whose time has come.
 * That is before the first gate of a fixed order that it may not pass (-kind: no handler), or ready
 * in a line: that of the suspects, if it crashed before, else its queue's. The gate of a line never
 * moves a row: who waits for it waits in the line, and a claim takes as many as there is room for
 * (tx_claim.c).
 *
 * Questions and small notes only: no row is written here. With the baton held. */

/* The lane for a job of this kind, queue, time and number of crashes. */
JOBQ__INTERNAL int32_t jobq__tx_lane(struct jobq__tx *tx, const struct jobq__row *row);
/* The same if its time has come, whatever the wall shows: before the first gate that it may not
 * pass, or ready in its line. */
JOBQ__INTERNAL int32_t jobq__tx_due_lane(struct jobq__tx *tx, const struct jobq__row *row);
JOBQ__INTERNAL bool jobq__tx_handled(const struct jobq__tx *tx, int64_t kind);
/* NULL if the lane's name is not known here. */
JOBQ__INTERNAL struct jobq__lane *jobq__tx_line(const struct jobq__tx *tx, int64_t lane);
/* Rows may stand ready in that line, wherever in it; keeps I3. */
JOBQ__INTERNAL void jobq__tx_fills(struct jobq__tx *tx, int64_t lane);
/* The same for a line; NULL: its name is not known here. */
JOBQ__INTERNAL void jobq__tx_fill_line(struct jobq__tx *tx, struct jobq__lane *line);
/* A row now waits in lane 0 until at_ms. */
JOBQ__INTERNAL void jobq__tx_scheduled(struct jobq__tx *tx, int64_t at_ms);
/* True if row sorts before a job of its line that is claimed already and has not started. */
JOBQ__INTERNAL bool jobq__tx_before_tail(struct jobq__tx *tx, struct jobq__lane *lane,
                                         const struct jobq__row *row);
/* A row that cannot be found, or changed, where it was seen: the file is damaged. */
JOBQ__INTERNAL int jobq__tx_stray(struct jobq__tx *tx, int64_t id);

#endif
