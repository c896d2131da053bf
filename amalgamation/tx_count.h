/* tx_count.h - how many jobs are where: what a transaction adds to the counters. */
#ifndef JOBQ__TX_COUNT_H
#define JOBQ__TX_COUNT_H

#include "core.h"

/* Design note: tx_count.c. The door notes, tx_fill has it written, tx_applied makes it true. With
 * the baton held. */

/* A job goes from a state to another, is new or gone; lane and attempt are those of the rows. */
JOBQ__INTERNAL void jobq__tx_shift(struct jobq__tx *tx, const struct jobq__row *was, int from,
                                   const struct jobq__row *now, int to);
/* What was noted so far is added to the counters, which then are right within the transaction. */
JOBQ__INTERNAL int jobq__tx_count_write(struct jobq__tx *tx);
/* Jobs are counted anew: what the counters say is not so. */
JOBQ__INTERNAL int jobq__tx_count_anew(struct jobq__tx *tx);
/* That, and jobs become counted; the last thing before the claims row is written. */
JOBQ__INTERNAL int jobq__tx_count(struct jobq__tx *tx);
/* After COMMIT, when the queue's last_id is the new one; last_id is the one before. */
JOBQ__INTERNAL void jobq__tx_count_applied(struct jobq__tx *tx, int64_t last_id);
/* So many jobs are not counted that some should be. */
JOBQ__INTERNAL bool jobq__tx_uncounted(const jobq *q);

#endif
