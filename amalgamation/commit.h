/* commit.h - one transaction for a group: who leads it, and what a failure takes along. */
#ifndef JOBQ__COMMIT_H
#define JOBQ__COMMIT_H

#include "baton.h"
#include "log.h"
#include "tx.h"

/* Design note.
 *
 * Who gets the baton by a request (baton.h) commits at once, on its own thread, for itself and for
 * everybody who stands in line: it leads one group, hands the baton on, and only then wakes its
 * followers, outside all locks. Workers and the scheduler lead a group without a request of their
 * own, for the outcomes that wait.
 *
 * A leader takes the file first (BEGIN IMMEDIATE), and only then the requests: so while another
 * connection writes they stay in the line, and each leaves it when its own time is over.
 *
 * One group, and who performs the steps:
 *
 *   begin       commit_begin      the file is taken; JOBQ__TAKEN: it was not, nothing has happened
 *   collect     baton_collect     each request of the group gets its rc, whatever comes
 *   transact    commit_transact   outcomes, requests, claims, COMMIT (tx.h), or all of it undone
 *   applied     tx_applied        caches, counters and ring change; then each request's after
 *   again       commit_again      the failure path, see below
 *   log, room   log_mind, commit_relieve
 *   pass on     baton_pass
 *
 * Failure path: lost before COMMIT, a group is repeated once without the stores (commit_again), so
 * that outcomes and claims survive somebody's bad row or a full disk; the stores are then tried one
 * by one, each failing with its own code (commit_stores_alone). If COMMIT itself reports an error
 * (other than BUSY), the group may or may not be on the disk: a small synced commit scrubs it (it
 * overwrites the frames in doubt), and then nothing of it has happened (commit_certain). If that
 * fails too the stores are JOBQ_UNKNOWN and the queue stops for good; the next open settles it. On
 * a full disk room is made first (commit_make_room), and a transaction takes no more outcomes than
 * then fit.
 *
 * Invariants:
 *   - Nothing of the queue in memory changes before COMMIT has succeeded.
 *   - A request's rc is JOBQ_OK exactly if what it wrote is committed; only JOBQ_UNKNOWN leaves
 *     that open.
 *   - COMMIT is reached from commit_transact, commit_scrub_once, commit_bare_once and
 *     commit_job_end only.
 *
 * May touch what the baton guards, and pool.mu for a moment; called from api, run, pool and
 * scheduler. */

/* Has the request written by some group and returns its code. Blocks for that commit; JOBQ_BUSY
 * when others have had the file for busy_ms meanwhile, or for *left_us, of which is taken what they
 * had of it. */
JOBQ__INTERNAL int jobq__commit_request(jobq *q, struct jobq__request *request);
/* The same, but JOBQ_BUSY after wait_us of real time, whoever was in the way. */
JOBQ__INTERNAL int jobq__commit_request_within(jobq *q, struct jobq__request *request,
                                               int64_t wait_us);

/* A group without a request of one's own: settle and claim what there is. By busy_ms, too. */
JOBQ__INTERNAL int jobq__commit_now(jobq *q);

/* For who puts a damaged file right, with the baton, also when that damage has stopped the queue:
 * only what the request writes is committed, nothing is settled, promoted or claimed, for the rest
 * of the file may stand in the way of that. Its after is not called. JOBQ_BUSY: others had the file
 * until its until_us. */
JOBQ__INTERNAL int jobq__commit_bare(jobq *q, struct jobq__request *request);

/* For workers and the scheduler, who wait for nobody, with the baton: leads one group and hands it
 * on. If another connection has the file nothing happens, and the pool comes again soon. */
JOBQ__INTERNAL void jobq__commit_lead(jobq *q);

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


#endif
