/* tx_names.h - names of kinds and queues: found, added, and known after COMMIT. */
#ifndef JOBQ__TX_NAMES_H
#define JOBQ__TX_NAMES_H

#include "disk.h"

/* Design note.
 *
 * The registry knows committed names only. What a transaction adds stands in tx->new_names until
 * COMMIT, when tx_applied gives it to the registry; an undo forgets it. A name whose row was lost
 * gets it again here (tx_know), with the number that the jobs' rows have. With the baton held. */

/* The id of a kind's or a queue's name, adding it to the table if need be; then the registry hears
 * of it after COMMIT. Fills err for BAD_NAME, and for FULL when there are too many. */
JOBQ__INTERNAL int jobq__tx_resolve(struct jobq__tx *tx, int what, const char *text,
                                    int32_t *id, jobq_error *err);
/* The name of that id is known to the registry, or will be after COMMIT. */
JOBQ__INTERNAL int jobq__tx_know(struct jobq__tx *tx, int64_t id);
/* Its text, or NULL if it is not known. */
JOBQ__INTERNAL const char *jobq__tx_name_text(const struct jobq__tx *tx, int64_t id);
/* Adds a name to the table and to those that the registry hears of after COMMIT; *id 0: with a new
 * id. */
JOBQ__INTERNAL int jobq__tx_new_name(struct jobq__tx *tx, int what, const char *text,
                                     int64_t *id);
/* Whenever a job's transaction goes on after its handler: it may have rolled back to a savepoint of
 * its own, and with it names that this transaction had added. Those are forgotten, before a row
 * gets a number that by now is another name's. */
JOBQ__INTERNAL int jobq__tx_check_names(struct jobq__tx *tx);

#endif
