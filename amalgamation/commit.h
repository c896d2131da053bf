/* commit.h - the baton and the commit groups. */
#ifndef JOBQ__COMMIT_H
#define JOBQ__COMMIT_H

#include "disk.h"
#include "tx.h"

/* Design note.
 *
 * Who finds the baton free commits at once, on its own thread, for itself and for everybody who
 * queues meanwhile; it leads one group, hands the baton on, and only then wakes its followers,
 * outside all locks. A group takes requests from the head of the list up to the first that wants
 * the baton for itself (hold).
 *
 *   request: WAITING -> TAKEN (in a group) -> DONE
 *            WAITING -> LEAD  (has the baton now: leads a group, or holds)
 *            WAITING -> gone  (its time is over: JOBQ_BUSY, did not happen)
 *            TAKEN -> WAITING (another connection had the file when it was to be tried again)
 *
 * A leader takes the file first (BEGIN IMMEDIATE), and only then the requests: so while another
 * connection writes they stay in the list, and each leaves it when its own time is over. A
 * caller's time, busy_ms, passes only while others have the file: behind commits of this process it
 * just stands in line. Nobody is woken when others take the file: who waits looks again when its
 * time would be over had they had it all along, which is never too late, and at least two
 * milliseconds later. The waits of the pool, of a stop and of a close end at their moment, whoever
 * is in the way. turn.h says who waits how.
 *
 * Failure path of a group: lost before COMMIT, it is repeated once without the stores, so that
 * outcomes and claims survive somebody's bad row or a full disk; the stores are then tried one by
 * one, each failing with its own code. If COMMIT itself reports an error (other than BUSY), the
 * group may or may not be on the disk: a small synced commit scrubs it (it overwrites the frames in
 * doubt), and then nothing of it has happened. If that fails too the stores are JOBQ_UNKNOWN and
 * the queue stops for good; the next open settles it. On a full disk room is made first (disk.h),
 * and a transaction takes no more outcomes than then fit.
 *
 * The scheduler thread waits only briefly for the baton: a job's transaction may hold it for long,
 * and deadlines must not pass meanwhile. Whoever lays it down tells the scheduler
 * (pool.sched.wants_baton).
 *
 * A memory database has one connection only, so who looks inside holds the baton as well. */

enum { JOBQ__REQUEST_WAITING, JOBQ__REQUEST_TAKEN, JOBQ__REQUEST_LEAD, JOBQ__REQUEST_DONE };

JOBQ__INTERNAL int jobq__commit_init(jobq *q);
JOBQ__INTERNAL void jobq__commit_fini(jobq *q);

/* Has the request written by some group and returns its code. Blocks for that commit; JOBQ_BUSY
 * when others have had the file for busy_ms meanwhile, or for *left_us, of which is taken what they
 * had of it. */
JOBQ__INTERNAL int jobq__commit_request(jobq *q, struct jobq__request *request);
/* The same, but JOBQ_BUSY after wait_us of real time, whoever was in the way. */
JOBQ__INTERNAL int jobq__commit_request_within(jobq *q, struct jobq__request *request,
                                               int64_t wait_us);

/* A group without a request of one's own: settle and claim what there is. By busy_ms, too. */
JOBQ__INTERNAL int jobq__commit_now(jobq *q);

/* For workers: takes the baton if it is free. */
JOBQ__INTERNAL bool jobq__commit_try(jobq *q);
/* For workers and the scheduler, who wait for nobody: leads one group and hands the baton on. If
 * another connection has the file nothing happens, and the pool comes again soon. */
JOBQ__INTERNAL void jobq__commit_lead(jobq *q);

/* The baton for oneself; JOBQ_BUSY when others have had the file for *left_us, of which is taken
 * what they had of it. */
JOBQ__INTERNAL int jobq__commit_hold(jobq *q, int64_t *left_us);
/* The same, but JOBQ_BUSY after wait_us of real time. */
JOBQ__INTERNAL int jobq__commit_hold_within(jobq *q, int64_t wait_us);
JOBQ__INTERNAL void jobq__commit_release(jobq *q);

/* The holder is inside a job's transaction (or leaves it). */
JOBQ__INTERNAL void jobq__commit_set_job(jobq *q, bool in_job);
/* True if the baton belongs to a job's transaction. */
JOBQ__INTERNAL bool jobq__commit_by_job(jobq *q);
/* True if this thread holds the baton for a job's transaction. */
JOBQ__INTERNAL bool jobq__commit_in_job(jobq *q);

/* Ends the job's transaction and hands the baton on. If what the handler wrote is to be kept it is
 * committed with the entry's verdict; otherwise, and on failure, nothing is kept and the entry is
 * still the caller's. JOBQ_MISUSE if the transaction had been ended behind jobq's back; else *why
 * has the reason, and JOBQ__REFUSED says that it is what the handler wrote. */
JOBQ__INTERNAL int jobq__commit_job(jobq *q, struct jobq__entry *entry, bool keep,
                                    jobq_error *why);

/* With the baton held: may anything be written at all? If not, the queue stops. */
JOBQ__INTERNAL int jobq__commit_look(jobq *q, int64_t now_us);

/* Writes one request inside the job's transaction; the holder calls it. */
JOBQ__INTERNAL int jobq__commit_join(struct jobq__tx *tx, struct jobq__request *request);

/* Signals what a commit has made ready. Outside all locks. */
JOBQ__INTERNAL void jobq__commit_wake(jobq *q, const struct jobq__wakes *wakes);

/* With the baton held, or before anybody else has the queue: copies the log into the database; on a
 * full disk, or if told to, cuts it off, too. *all: nobody needs the log any more. JOBQ_BUSY:
 * another connection has the file until then. */
JOBQ__INTERNAL int jobq__commit_copy_log(jobq *q, int64_t until_us, bool cut, bool *all);
/* With the baton held: the same. Put off if another connection has the file. */
JOBQ__INTERNAL void jobq__commit_checkpoint(jobq *q);

#endif
