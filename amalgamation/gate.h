/* gate.h - what a job passes on its way from waiting to claimed. */
#ifndef JOBQ__GATE_H
#define JOBQ__GATE_H

#include "os.h"

/* Design note.
 *
 * A job that is due waits for at most a few things, and each of them is a gate: its kind, which is
 * shut until a handler is registered; the line of the suspects, which lets one pass at a time; its
 * queue. A gate knows how many may be claimed at a time and how many are; it stores nothing. When a
 * file is opened nothing is held, as nobody is claimed any more: recovery gives back all that the
 * owner before had claimed.
 *
 *   shut -> open      open    (a handler is registered: api.c, after COMMIT)
 *   held + 1          enter   (a job is claimed: tx_hold)
 *   held - 1          leave   (it is settled, given back, taken out of the ring: tx_let)
 *
 * Invariants: held is the number of jobs claimed that have passed it, as the transaction under way
 * leaves it (tx_check_gates counts); never below 0. It may be above the capacity, when that was
 * lowered. Which gates a job has to pass is said in one place only: jobq__tx_due_lane (tx_place.c).
 *
 * All but shut is guarded by the baton. */

#define JOBQ__GATE_WIDE INT32_MAX /* as many as like */

struct jobq__gate {
    int32_t shut;       /* atomic: nobody passes; read without the baton, too */
    int32_t capacity;   /* jobs that may be claimed at a time */
    int32_t held;       /* and are */
};

JOBQ__INTERNAL void jobq__gate_init(struct jobq__gate *gate, int32_t capacity, bool shut);
JOBQ__INTERNAL void jobq__gate_open(struct jobq__gate *gate);
JOBQ__INTERNAL bool jobq__gate_is_shut(const struct jobq__gate *gate);
/* How many more jobs may pass it now. */
JOBQ__INTERNAL int32_t jobq__gate_room(const struct jobq__gate *gate);
JOBQ__INTERNAL void jobq__gate_enter(struct jobq__gate *gate);
JOBQ__INTERNAL void jobq__gate_leave(struct jobq__gate *gate);

#endif
