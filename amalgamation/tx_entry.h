/* tx_entry.h - a claimed job in memory, and the places it holds. */
#ifndef JOBQ__TX_ENTRY_H
#define JOBQ__TX_ENTRY_H

#include "ring.h"

/* Design note.
 *
 * An entry is a claimed job: its row, its payload, its kind and the line that it was claimed from.
 * It is made by the transaction that claims the job, belongs to one list at a time by link (of that
 * transaction, the ring, a worker, the outcomes), and is recycled when the claim is over. Entries
 * are made and recycled with the baton held, so that the hot path does not allocate.
 *
 *   held   from the claim (tx_hold) until it is settled, given back or dropped (tx_gone): one place
 *          of each gate that the job has passed
 *   gone   the transaction under way has ended the claim; COMMIT makes it true, an undo takes it
 *          back
 *
 * Calls gates, registry and store, nothing of the transaction above it. */

#define JOBQ__LINKED(pointer) JOBQ__CONTAINER(pointer, struct jobq__entry, link)
#define JOBQ__CLAIMED_ENTRY(pointer) JOBQ__CONTAINER(pointer, struct jobq__entry, claimed)

/* An entry for row, with a copy of its payload, which is read if it stands apart. */
JOBQ__INTERNAL int jobq__tx_entry(struct jobq__tx *tx, const struct jobq__row *row,
                                  struct jobq__kind *kind, struct jobq__lane *lane,
                                  struct jobq__entry **made);
JOBQ__INTERNAL void jobq__tx_recycle(jobq *q, struct jobq__entry *entry);
JOBQ__INTERNAL void jobq__tx_recycle_all(jobq *q, struct jobq__link *list);
/* Frees what the handler said, if anything. */
JOBQ__INTERNAL void jobq__tx_forget_said(struct jobq__entry *entry);
/* What the handler said of a failure, or NULL. */
JOBQ__INTERNAL const char *jobq__tx_text(const struct jobq__entry *entry);
/* Remembers the last job, in order, that this transaction claims of a lane. */
JOBQ__INTERNAL void jobq__tx_note_last(struct jobq__entry *entry);
/* A claimed job holds a place of each gate that it has passed, until it lets go of them. */
JOBQ__INTERNAL void jobq__tx_hold(struct jobq__entry *entry);
JOBQ__INTERNAL void jobq__tx_let(struct jobq__entry *entry);
/* The transaction under way has settled the entry or taken it out; or not, after all. */
JOBQ__INTERNAL void jobq__tx_gone(struct jobq__entry *entry, bool gone);

#endif
