/* ring.h - the ordered window of claimed jobs. */
#ifndef JOBQ__RING_H
#define JOBQ__RING_H

#include "core.h"

/* Design note.
 *
 * The ring holds what is claimed and not started. Within a lane it is kept in (priority, run_at,
 * id) order; across lanes it is served round robin. The transaction that fills it keeps the
 * invariant that makes the order of the table and of the ring one: every ready row of a lane that
 * stands in the table sorts after every job of that lane in the ring (tx_order.h). All under
 * pool.mu. */

JOBQ__INTERNAL void jobq__ring_init(struct jobq__ring *ring);

/* The order in which jobs of a lane start: < 0 if a comes first. */
JOBQ__INTERNAL int jobq__ring_compare(const struct jobq__row *a, const struct jobq__row *b);

JOBQ__INTERNAL void jobq__ring_put(struct jobq__ring *ring, struct jobq__entry *entry);
JOBQ__INTERNAL void jobq__ring_remove(struct jobq__ring *ring, struct jobq__entry *entry);
/* The next job to start, or NULL. */
JOBQ__INTERNAL struct jobq__entry *jobq__ring_take(struct jobq__ring *ring);
/* True if the job is claimed and has not started. */
JOBQ__INTERNAL bool jobq__ring_has(const struct jobq__ring *ring, int64_t id);
#ifdef JOBQ_DEBUG
/* True if lanes, turns and counts agree, and each lane is in order. For assertions. */
JOBQ__INTERNAL bool jobq__ring_sound(const struct jobq__ring *ring);
#endif
/* The last of a lane, or NULL; and that of some lane, NULL if the ring is empty. */
JOBQ__INTERNAL struct jobq__entry *jobq__ring_last(const struct jobq__lane *lane);
JOBQ__INTERNAL struct jobq__entry *jobq__ring_end(const struct jobq__ring *ring);

#endif
