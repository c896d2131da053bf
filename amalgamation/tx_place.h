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
 * A row is claimed in one of three ways, and each asks the same here: from its line, in turn
 * (tx_claim.c: due_lane, spent); as it becomes ready or is stored (tx_claim.c, tx_enqueue.c:
 * due_lane, takes_now); or because it sorts before what is claimed (tx_order.c: before_tail).
 *
 * Questions and small notes only: no row is written here. With the baton held. */

/* How far own time is before the wall. */
static inline int64_t jobq__tx_offset(const struct jobq__tx *tx) {
    return jobq__sub(tx->own_ms, tx->now_ms);
}
/* A time by one of the two clocks (jobq__dues) has come; never does not. */
static inline bool jobq__tx_has_come(const struct jobq__tx *tx, int by, int64_t at_ms) {
    return at_ms <= (by == JOBQ__DUE_BY_OWN ? tx->own_ms : tx->now_ms) && at_ms != JOBQ_NEVER;
}
/* By which of them a row is due: it stands, or is to stand, in the lane of durations, or else goes
 * by the wall. */
static inline int jobq__tx_due_by(const struct jobq__row *row) {
    return row->lane == JOBQ__LANE_OWN_TIME ? JOBQ__DUE_BY_OWN : JOBQ__DUE_BY_WALL;
}
/* The one answer to: has its time come? Of a row that stands somewhere else it has. */
static inline bool jobq__tx_is_due(const struct jobq__tx *tx, const struct jobq__row *row) {
    return jobq__tx_has_come(tx, jobq__tx_due_by(row), row->run_at_ms);
}
/* A row that is to wait ready in that line (due_lane says so) may be claimed by this very
 * transaction instead of being written there: there is room, and nothing that stands in the line's
 * table has to come before. It never crashed, or it would wait with the suspects: jobq__tx_spent
 * need not be asked. */
static inline bool jobq__tx_takes_now(const struct jobq__tx *tx, const struct jobq__lane *line) {
    return tx->room > 0 && tx->bytes > 0 && jobq__list_empty(&line->ready) && !tx->q->look_lanes
        && jobq__gate_room(&line->gate) > 0;
}
/* Its time by the wall. */
JOBQ__INTERNAL int64_t jobq__tx_wall_of(const struct jobq__tx *tx, const struct jobq__row *row);

/* Where a row of this kind, queue, time and number of crashes is to wait: sets lane, and run_at_ms
 * as that lane has it. Before, lane says by which clock its time is: own time for
 * JOBQ__LANE_OWN_TIME, else the wall. due: it has come, whatever that shows. */
JOBQ__INTERNAL void jobq__tx_set_lane(struct jobq__tx *tx, struct jobq__row *row, bool due);
/* The lane of one whose time has come: before the first gate that it may not pass, or ready in its
 * line. */
JOBQ__INTERNAL int32_t jobq__tx_due_lane(struct jobq__tx *tx, const struct jobq__row *row);
/* A suspect that met as many crashes as its kind, which has a handler, allows: it is not tried
 * again, but ends where it would be claimed. */
JOBQ__INTERNAL bool jobq__tx_spent(const struct jobq__tx *tx, const struct jobq__row *row);
JOBQ__INTERNAL bool jobq__tx_handled(const struct jobq__tx *tx, int64_t kind);
/* NULL if the lane's name is not known here. */
JOBQ__INTERNAL struct jobq__lane *jobq__tx_line(const struct jobq__tx *tx, int64_t lane);
/* Rows may stand ready in that line, wherever in it; keeps I3. */
JOBQ__INTERNAL void jobq__tx_fills(struct jobq__tx *tx, int64_t lane);
/* The same for a line; NULL: its name is not known here. */
JOBQ__INTERNAL void jobq__tx_fill_line(struct jobq__tx *tx, struct jobq__lane *line);
/* A row now waits for its time, if it is in one of the lanes for that. */
JOBQ__INTERNAL void jobq__tx_scheduled(struct jobq__tx *tx, const struct jobq__row *row);
/* True if row sorts before a job of its line that is claimed already and has not started. */
JOBQ__INTERNAL bool jobq__tx_before_tail(struct jobq__tx *tx, struct jobq__lane *lane,
                                         const struct jobq__row *row);
/* A row that cannot be found, or changed, where it was seen: the file is damaged. */
JOBQ__INTERNAL int jobq__tx_stray(struct jobq__tx *tx, int64_t id);

#endif
