/* baton.h - the baton: who may write, who waits for it, and in which order. */
#ifndef JOBQ__BATON_H
#define JOBQ__BATON_H

#include "turn.h"

/* Design note.
 *
 * The right to write is one, and called the baton. Who finds it free has it; who does not, stands
 * in one line with a request, and sleeps. Two kinds of requests stand there: those that want
 * something written, and those that want the baton for themselves (hold). Whoever has the baton and
 * leads a group (commit.c) takes the former from the head of the line, writes them together, and
 * lets their threads go; then it hands the baton to who is first in the line, or lays it down.
 *
 * States of a request, who performs the step, and on which thread (own: who made the request; the
 * holder: who has the baton at that moment):
 *
 *   NEW     -> LEAD     baton_enter     own: the baton was free
 *   NEW     -> WAITING  baton_enter     own: stands in the line
 *   NEW     -> GONE     baton_enter     own: there was no memory for a bed
 *   WAITING -> LEAD     baton_hand_on   the holder before: has the baton now
 *   LEAD    -> WAITING  baton_line_up   own: leads the group that it is the first of
 *   WAITING -> TAKEN    baton_collect   the holder: is in its group, out of the line
 *   TAKEN   -> DONE     baton_let_go    the holder: rc says how
 *   TAKEN   -> WAITING  baton_let_go    the holder: at the head of the line again, for another
 *                                       connection had the file when it was to be tried once more
 *   WAITING -> GONE     baton_withdraw  own: its time was over; it did not happen
 *
 * Invariants:
 *   - A request is in the line (head ... tail) exactly while it is WAITING, or LEAD and not hold;
 *     the latter only at the head.
 *   - Nobody stands in the line while the baton lies free.
 *   - syncs is the number of requests in the line that want a sync.
 *   - A request lies on its thread's stack, and the thread looks at state without a lock: after a
 *     step to LEAD or DONE nobody else may touch it. The bed stays: beds are kept until close, so
 *     who wakes a thread late wakes at worst somebody who looks again.
 *
 * A caller's time, busy_ms, passes only while others have the file (counts): behind commits of this
 * process it just stands in line. Nobody is woken when others take the file: who waits looks again
 * when its time would be over had they had it all along, which is never too late, and at least two
 * milliseconds later. The waits of the pool, of a stop and of a close end at their moment, whoever
 * is in the way. turn.h says who waits how for the file itself.
 *
 * The scheduler thread waits only briefly for the baton: a job's transaction may hold it for long,
 * and deadlines must not pass meanwhile. Whoever lays it down tells the scheduler
 * (pool.sched.wants_baton).
 *
 * A memory database has one connection only, so who looks inside holds the baton as well.
 *
 * May touch: its own mutex, the clock of others (turn.c), and, with no lock held, the pool's to
 * wake who has work for a free baton. It writes nothing and calls nothing of the storage layer. */

enum jobq__request_state {
    JOBQ__REQUEST_NEW,
    JOBQ__REQUEST_WAITING,
    JOBQ__REQUEST_TAKEN,
    JOBQ__REQUEST_LEAD,
    JOBQ__REQUEST_DONE,
    JOBQ__REQUEST_GONE
};

/* True if a request may go from one state to the other. */
JOBQ__INTERNAL bool jobq__baton_legal(int from, int to);

struct jobq__request {
    struct jobq__request *next;
    /* In the transaction; NULL: nothing. */
    int (*write)(struct jobq__tx *tx, struct jobq__request *r);
    /* After COMMIT, with the baton; or NULL. */
    void (*after)(jobq *q, struct jobq__request *r);
    void *arg;
    bool atomic;                /* several statements: needs a savepoint */
    bool sync;                  /* this commit at synchronous=FULL */
    int64_t adds;               /* bytes of new work, about; 0: it only finishes what there is */
    int64_t largest;            /* of them in one payload */
    bool hold;                  /* wants the baton itself, not a group */
    bool once;                  /* does not wait for other connections */
    bool counts;                /* its time passes only while others have the file (turn.h) */
    int64_t *left_us;           /* of busy_ms, for a call that makes several; NULL: all of it */
    int64_t wait_us;            /* JOBQ_BUSY after so long */
    int64_t from_us;            /* what its clock showed when it came */
    int64_t until_us;           /* waits for other connections until then; 0: as long as for the
                                   baton */
    int32_t state;              /* atomic */
    int rc;
    jobq_error *err;
    jobq__thread thread;
    struct jobq__bed *bed;
};

/* A place to sleep. */
struct jobq__bed {
    struct jobq__bed *next;     /* all beds; baton.mu */
    int32_t used;               /* atomic; set under baton.mu */
    struct jobq__mutex mu;
    struct jobq__cond cond;
    bool woken;                 /* guarded by mu */
};

/* Whom to wake when a group is over. */
struct jobq__sleepers {
    struct jobq__bed *beds[JOBQ__GROUP];
    int count;
    bool laid_down;             /* the baton lies free */
};

JOBQ__INTERNAL int jobq__baton_init(jobq *q);
JOBQ__INTERNAL void jobq__baton_fini(jobq *q);

/* ---- For who wants the baton ---- */

/* Takes it if it is free. */
JOBQ__INTERNAL bool jobq__baton_try(jobq *q);
/* Waits for it; JOBQ_BUSY when others have had the file for *left_us, of which is taken what they
 * had of it. */
JOBQ__INTERNAL int jobq__baton_hold(jobq *q, int64_t *left_us);
/* The same, but JOBQ_BUSY after wait_us of real time. */
JOBQ__INTERNAL int jobq__baton_hold_within(jobq *q, int64_t wait_us);
/* Hands it on, or lays it down. */
JOBQ__INTERNAL void jobq__baton_release(jobq *q);

/* The holder is inside a job's transaction (or leaves it). */
JOBQ__INTERNAL void jobq__baton_set_job(jobq *q, bool in_job);
/* True if the baton belongs to a job's transaction. */
JOBQ__INTERNAL bool jobq__baton_by_job(jobq *q);
/* True if this thread holds the baton for a job's transaction. */
JOBQ__INTERNAL bool jobq__baton_in_job(jobq *q);

/* ---- For commit.c: requests ---- */

/* Stands in line with the request, whose hold, counts and wait_us are set, until this thread has
 * something to do. LEAD: it has the baton. DONE: somebody has led for it, rc says how. GONE: it
 * did not happen, rc and err say why. */
JOBQ__INTERNAL enum jobq__request_state jobq__baton_enter(jobq *q, struct jobq__request *r);
/* For who has the baton by a request that is no hold: the next group begins with it. */
JOBQ__INTERNAL void jobq__baton_line_up(struct jobq__request *r);
/* Takes a request out of the line if no group has it yet: GONE. */
JOBQ__INTERNAL bool jobq__baton_withdraw(jobq *q, struct jobq__request *r);

/* When the request's time is over, if its clock goes on. While it stands still: when to look
 * again, for it may begin to go at any moment. */
JOBQ__INTERNAL int64_t jobq__baton_until(jobq *q, const struct jobq__request *r, int64_t now_us);
/* What it has left of its time; others may still have the file. */
JOBQ__INTERNAL int64_t jobq__baton_rest(jobq *q, const struct jobq__request *r);

/* True if this request's transaction is to be synced although the queue is RELAXED. */
JOBQ__INTERNAL bool jobq__baton_syncs(const jobq *q, const struct jobq__request *r);
/* True if that of who is first in the line is. */
JOBQ__INTERNAL bool jobq__baton_first_syncs(jobq *q);
/* Takes a group from the head of the line: up to the first that wants the baton for itself, or a
 * sync that this transaction does not do. NULL: there is none. */
JOBQ__INTERNAL struct jobq__request *jobq__baton_collect(jobq *q, bool sync);
/* The group is over: a request whose rc is JOBQ__TAKEN goes back to the head of the line, the
 * others' threads are let go. Then hands the baton on, unless own, which may be NULL, is not DONE:
 * returns whether it is kept. What there is to wake is woken by jobq__baton_wake, outside all
 * locks, but for the next holder, who is woken here. */
JOBQ__INTERNAL bool jobq__baton_pass(jobq *q, struct jobq__request *group,
                                     const struct jobq__request *own,
                                     struct jobq__sleepers *sleepers);
JOBQ__INTERNAL void jobq__baton_wake(jobq *q, const struct jobq__sleepers *sleepers);

#endif
