/* disk.h - the disk under the queue: the reserve, full-disk mode, files that moved. */
#ifndef JOBQ__DISK_H
#define JOBQ__DISK_H

#include "core.h"

/* Design note.
 *
 * What was accepted has to be finished even on a full disk. What that takes is kept back in time:
 *   - a reserve, allocated bytes of the lock file that hold nothing. It is as large as the log may
 *     become, so that the log can always be copied into the database, which may grow by as much;
 *   - where the disk has no room for so large a reserve, a shorter log. jobq__disk_log_pages;
 *   - no commit that would leave the copy of the log without room, a client's neither.
 *     jobq__disk_hold_back;
 *   - for rows that grow when their jobs are tried again or fail, a part of the database's size:
 *     set aside once the disk is about to become full, which is looked at after each checkpoint.
 *
 *   level    raised when a transaction meets a full disk; what it does
 *   ROOMY    nothing
 *   TIGHT    the reserve is lent to each transaction; new work is refused, unless
 *            the database has free pages for it; transactions are small, and after each the log
 *            is copied and cut off; done and cancelled jobs are no longer kept, nor messages,
 *            once some of the reserve is used up and there are no free pages: a row that is
 *            changed takes room, one that is deleted makes some; and when new work was
 *            refused, those that are kept give way to it
 *   SINGLE   and a transaction settles one job
 *
 * The reserve is lent with the right to write in hand, and at no other time does it become smaller
 * than the lock file notes, but for an open that finds no room for what that right takes
 * (jobq__disk_lend_some): a client, which has the right when it looks whether there is room, sees
 * what is lent and leaves it alone.
 * Who is killed with it may leave it in the log, behind the last commit, and that end of
 * the log the next checkpoint cuts off.
 *
 *   ROOMY -> TIGHT, TIGHT -> SINGLE  jobq__disk_full: a transaction has met a full disk
 *   ROOMY -> TIGHT                   jobq__disk_lend_some, _arm and _copied: there is no room for
 *                                    what was to be set aside
 *   TIGHT, SINGLE -> ROOMY           jobq__disk_recover: the reserve can be had again with half as
 *                                    much to spare; jobq__disk_arm: an open has found it
 *
 * jobq__disk_to asserts them. Whether it can be had is tried after each checkpoint, and before new
 * work is refused, so nobody has to restart.
 *
 * Moved files (M9): a database that was renamed, replaced or deleted goes on taking commits that
 * nobody will ever find. Its name, its log's and the lock file's are looked at before a commit, at
 * most every 10 ms.
 *
 * And a file that was large once becomes small again: some time after rows have ended, what is free
 * beyond a part of the database and has not been used meanwhile is given back, slice by slice, with
 * the housekeeping, and the log is copied then. A slice ends by the number of its pages and, but
 * for an artificial clock, by real time, with a pause after it. Not on a full disk, where free
 * pages are what new work lives on, and only in a file that jobq has made: another's free pages
 * are not ours to move.
 *
 * All of it belongs to the holder of the baton. A client has no reserve, a memory database no disk:
 * both stay ROOMY. */

enum { JOBQ__DISK_ROOMY, JOBQ__DISK_TIGHT, JOBQ__DISK_SINGLE };

/* Once the database is open: how large its pages are. */
JOBQ__INTERNAL void jobq__disk_measure(jobq *q);
/* An open has met a full disk: lends some of that outside of any transaction, for the log's shared
 * memory, without which there are none. False if there is nothing left. */
JOBQ__INTERNAL bool jobq__disk_lend_some(jobq *q);
/* Once the database is open and recovered: remembers its files and has the reserve made. */
JOBQ__INTERNAL void jobq__disk_arm(jobq *q);

/* At the begin of a transaction and after it: while the disk is full it may take all that is left;
 * afterwards what is left is set aside, or all is well again. */
JOBQ__INTERNAL void jobq__disk_begin(jobq *q);
JOBQ__INTERNAL void jobq__disk_end(jobq *q);

/* SQLite has met a full disk: raises the level, by which the next transaction is lent the reserve.
 * False if nothing is left to give up. */
JOBQ__INTERNAL bool jobq__disk_full(jobq *q);

/* May new work be stored? adds: bytes that it takes about; largest: of them in one payload.
 * JOBQ_FULL with a sentence if not. */
JOBQ__INTERNAL int jobq__disk_admit(jobq *q, int64_t adds, int64_t largest, jobq_error *err);

/* Before COMMIT: sets aside what the database will grow by when the log is copied, lest the log
 * take the room that its own copy needs, and both stand still for ever. JOBQ_FULL if there is not
 * that much. */
JOBQ__INTERNAL int jobq__disk_hold_back(struct jobq__tx *tx);

/* Before a checkpoint, in the writer's transaction, and after it. */
JOBQ__INTERNAL void jobq__disk_copying(jobq *q);
JOBQ__INTERNAL void jobq__disk_copied(jobq *q);

/* True if new work has been refused, and there is no more room since: history has to give way. */
JOBQ__INTERNAL bool jobq__disk_presses(jobq *q);

/* Jobs that one transaction may settle, claim, move or drop: roomy of them as long as the disk is
 * not full. */
JOBQ__INTERNAL int jobq__disk_batch(const jobq *q, int roomy);
/* True if done and cancelled jobs are to be dropped at once, and messages not to be stored. */
JOBQ__INTERNAL bool jobq__disk_saves_room(const jobq *q);
/* At how many pages of the log a checkpoint is due. */
JOBQ__INTERNAL int64_t jobq__disk_log_pages(const jobq *q);

/* So many bytes of rows have ended. When to look whether pages can be given back; JOBQ_NEVER: there
 * is no need yet. */
JOBQ__INTERNAL int64_t jobq__disk_freed(jobq *q, int64_t bytes, int64_t now_ms);
/* In a transaction: gives a slice back if it is time to. When to look again. */
JOBQ__INTERNAL int jobq__disk_shrink(struct jobq__tx *tx, int64_t now_ms, int64_t *again_ms);

/* JOBQ_MOVED if the files are no longer where they were; looks at most every 10 ms of now_us. */
JOBQ__INTERNAL int jobq__disk_look(jobq *q, int64_t now_us);

#endif
