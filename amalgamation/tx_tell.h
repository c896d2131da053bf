/* tx_tell.h - what is to be told of a transaction: events, and who waits for a job. */
#ifndef JOBQ__TX_TELL_H
#define JOBQ__TX_TELL_H

#include "tx_entry.h"
#include "tx_names.h"

/* Design note.
 *
 * A change is noted when its row is written (tx_change), with what its event will say, and becomes
 * an event after COMMIT (tx_emit), before the ring is filled: a worker tells of a start as soon as
 * it finds the job there. Who waits for a job hears after its event was told (waiter.serial). An
 * undo drops the changes noted since (tx_drop_changes). With the baton held. */

/* The row's key, if there is one and an event will tell it: key has JOBQ_KEY_MAX + 1 bytes. */
JOBQ__INTERNAL int jobq__tx_key(struct jobq__tx *tx, const struct jobq__row *row, char *key);
/* Notes what is to be told of the row after COMMIT; the names are filled in then. key and text, of
 * a failure, may be NULL; text has to stay until the transaction ends. */
JOBQ__INTERNAL int jobq__tx_change(struct jobq__tx *tx, jobq_event *event,
                                   const struct jobq__row *row, const char *key, const char *text);
/* Forgets the changes from there on. */
JOBQ__INTERNAL void jobq__tx_drop_changes(struct jobq__tx *tx, size_t from);
/* What the events of the jobs that this transaction claims will tell. */
JOBQ__INTERNAL int jobq__tx_know_claimed(struct jobq__tx *tx);
/* After COMMIT: makes events of the changes. */
JOBQ__INTERNAL void jobq__tx_emit(struct jobq__tx *tx);
/* Then: lets go who waits for a job that has ended. With pool.mu held. */
JOBQ__INTERNAL void jobq__tx_tell_waiters(struct jobq__tx *tx);

#endif
