/* check.h - what has to hold after each commit; asserted in debug builds. */
#ifndef JOBQ__CHECK_H
#define JOBQ__CHECK_H

#include "ring.h"

/* Design note.
 *
 * An invariant that spans several rooms, or a room and the file, cannot be asserted where one thing
 * changes. Here it is seen as a whole, when a commit is over: with the baton held, and pool.mu
 * where it is the pool's.
 *
 *   stated in   invariant                                        asserted by
 *   tx_order.h  I1: claimed is what the claims row names         check_claims, from the file
 *               I1: and these rows are CLAIMED, no others        store_claims_have and the fences,
 *                                                                always, where a row is read
 *               I2: the table sorts after the ring,              check_order, from the file
 *               or the ring is behind, and then nobody claims    tx_snapshot
 *               I3: lanes with ready rows are known              check_lanes, from the file
 *               between transactions nothing is half done        tx_check
 *   core.h      due: no row that waits for its time is due       check_dues, from the file
 *               before the time that is known
 *   tx_count.c  the counters are what the rows come to           check_counters, from the file,
 *                                                                in a build of small sizes
 *   gate.h      held is who is claimed and has passed it         tx_check_gates, by tx_check
 *   tx_gates.h  the list of opened gates is that of the file     check_gates, from the file
 *   tx_gates.h  who waits before a gate that has room stands in  check_waits, from the file
 *               a lane of that list
 *   core.h      no row is due before the time that is known      check_dues, from the file
 *   ring.h      lanes in order, turns and counts agree           ring_sound, by tx_check
 *   core.h      each claimed job is in the ring, with a worker,  check_places
 *               or its outcome was handed in
 *   core.h      outcomes: of claimed jobs, and counted           check_outcomes
 *   pool.h      a worker's state; who idles is in the list       check_crew; each edge: wake.c
 *   life.h      STOPPED: no thread of ours, nobody claims        check_life; each edge: life.c
 *   wake.h      who waits is told once                           check_waiters
 *   baton.h     the line, its requests                           baton.c, as they change: a commit
 *                                                                is over while others line up
 *   owner.h     a slot's edges                                   owner.c; what stands in the page
 *                                                                may be another's
 *   disk.h      the level's edges                                disk.c; how full the disk is
 *                                                                nobody can know
 *   event.h     serials in order                                 event.c, as they are appended
 *
 * What is asked of the file may fail to be read, and then says nothing: that is for the next
 * transaction to find out. While other connections have written, I2, I3 and due hold again only
 * when their rows were looked at; so from the first such commit on these are not asked, nor are the
 * counters, which a hand from outside may have made wrong. Nor are I3 and due while the lanes are
 * to be looked at (look_lanes): after a transaction that was rolled back or repaired something. */

struct jobq__tx;

JOBQ__INTERNAL void jobq__check_commit(struct jobq__tx *tx);

#ifdef JOBQ_DEBUG
/* With pool.mu held: what of the pool can be seen without the baton and without the file. */
JOBQ__INTERNAL void jobq__check_pool(const jobq *q);
#endif

#endif
