/* log.h - checkpoints: when the log is copied into the database, and how. */
#ifndef JOBQ__LOG_H
#define JOBQ__LOG_H

#include "disk.h"
#include "turn.h"

/* Design note.
 *
 * Commits go into the log. When that has as many pages as jobq__disk_log_pages says, it is copied
 * into the database, on a connection of its own, so that no reader waits for it:
 *
 *   IDLE   -> DUE     log_mind       after a commit: it has grown to wal_next pages
 *   DUE    -> IDLE    log_copy_now   by the scheduler (pool.work.checkpoint), or, where there is
 *                                    none or it does not come to it, by who has committed
 *   DUE    -> DUE     log_copy_now   another connection has the file: put off (turn.h)
 *
 * The writer holds its lock meanwhile, so no commit can wrap the log under the checkpoint (that is
 * the race that damaged databases before SQLite 3.51.3), nor take what is lent for it. Somebody who
 * reads an old state keeps the log from being copied whole: then it is tried again when as much has
 * been added. A log that has become far too long is cut off, too.
 *
 * On a full disk (disk.h) the log is copied and cut off after each transaction: what is in it is
 * room that the next one has not.
 *
 * All of it with the baton, or before anybody else has the queue. A client leaves the log to the
 * owner, and a memory database has none. */

/* Copies the log into the database; on a full disk, or if told to, cuts it off, too. *all: nobody
 * needs the log any more. JOBQ_BUSY: another connection has the file until then. */
JOBQ__INTERNAL int jobq__log_copy(jobq *q, int64_t until_us, bool cut, bool *all);
/* The same as a checkpoint of a queue that is open, with all that goes with it; put off if another
 * connection has the file. Within the work on one group: the reserve stays lent. */
JOBQ__INTERNAL void jobq__log_copy_now(jobq *q);
/* The same at its end: the reserve is taken back, as far as it can be. */
JOBQ__INTERNAL void jobq__log_checkpoint(jobq *q);

/* After a commit: takes a checkpoint if one is due and nobody else is there for it. True: the
 * scheduler is, and is to be woken. */
JOBQ__INTERNAL bool jobq__log_mind(jobq *q);

#endif
