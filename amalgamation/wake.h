/* wake.h - who sleeps, on what, and who wakes it. */
#ifndef JOBQ__WAKE_H
#define JOBQ__WAKE_H

#include "core.h"

/* Design note.
 *
 *   who                     sleeps on        is woken
 *   an idle worker          its own          wake_workers: for jobs that a commit has claimed or
 *                                            that go back into the ring; wake_claimer: to claim
 *                                            more; wake_for_baton: to commit what nobody has;
 *                                            wake_worker: the pool stops
 *   a handler that sleeps   its worker's      wake_run: its time is over; wake_stop: it is to stop
 *   the scheduler           a tick of two    wake_scheduler: something is for it, or has changed
 *   start, stop, advance    rest.quiet       wake_quiet: the pool may have come to rest, or to the
 *                                            end of a start or a stop
 *   jobq_wait               its own          wake_waiter: its job has ended (tx_tell.c) or is gone
 *                                            (alter.c), or its time is over (scheduler.c);
 *                                            wake_told: and its event was told (event.c calls);
 *                                            wake_waiters: it may be in vain
 *   a loop of step mode     it is told       wake_loop: on_wake
 *
 * All that sleeps with pool.mu is woken from here, and only from here (`make tidy` looks). Four
 * rooms have a lock, and with it a condition, of their own, and wake who sleeps on that themselves:
 * baton.c (a bed: who waits for the baton), event.c (who waits for room in the list of events, or
 * for them to be told), clock.c (who leaves a clock that tells him of a step) and os.c (what is the
 * process's).
 *
 * No wake is lost, because what is waited for changes with pool.mu held, as does who idles: a
 * worker that goes to sleep has seen, under the lock, that there is nothing; and who makes
 * something afterwards sees it idle. A worker is woken for one job, and taken out of the list
 * then, so that the next job wakes another. The signal itself may come later, when the lock is no
 * longer in its way (jobq__wakes). */

/* Who is to be woken when a commit is over and no lock is held. */
struct jobq__wakes {
    struct jobq__worker *workers[JOBQ_WORKERS_MAX];
    int count;
    bool scheduler, loop;
};

/* A worker goes from one state to another; pool.h has the edges. With pool.mu held. */
JOBQ__INTERNAL void jobq__wake_worker_to(struct jobq__worker *worker, enum jobq__worker_state to);

/* One that is to look at what it is told, whatever it does: if it idles it stays in the list of
 * those until it does. With pool.mu held. */
JOBQ__INTERNAL void jobq__wake_worker(struct jobq__worker *worker);
/* As many idle workers as there are jobs, or all; later NULL: at once. With pool.mu held. */
JOBQ__INTERNAL void jobq__wake_workers(jobq *q, int jobs, struct jobq__wakes *later);
/* A job was taken from the ring. If it was the last, and the table has more, an idle worker is to
 * claim them: this one may be busy for hours. With pool.mu held. */
JOBQ__INTERNAL void jobq__wake_claimer(jobq *q);
/* The baton lies free: the scheduler may have wanted it, and outcomes wait for it that a worker
 * could not commit before it fell asleep. */
JOBQ__INTERNAL void jobq__wake_for_baton(jobq *q);

/* With pool.mu held: ends a jobq_run_sleep. The run counts as awake at once, so that nobody takes
 * the pool to be at rest before its thread has noticed. */
JOBQ__INTERNAL void jobq__wake_run(struct jobq_run *run);
/* With pool.mu held: raises the stop flag of a run and wakes it if it sleeps. */
JOBQ__INTERNAL void jobq__wake_stop(struct jobq_run *run, int32_t why);

/* Wakes the scheduler thread, or makes it look again before it sleeps. */
JOBQ__INTERNAL void jobq__wake_scheduler(jobq *q);
JOBQ__INTERNAL void jobq__wake_scheduler_locked(jobq *q); /* with pool.mu held */

/* Who waits for the pool looks again. With pool.mu held. */
JOBQ__INTERNAL void jobq__wake_quiet(jobq *q);
/* Waits until then, INT64_MAX: without end, for that to happen. With pool.mu held. */
JOBQ__INTERNAL void jobq__wake_await_quiet(jobq *q, int64_t until_us);

/* Who waits for a job looks: whoever calls has written down what there is to see (done, ended,
 * late). With pool.mu held. */
JOBQ__INTERNAL void jobq__wake_waiter(jobq *q, struct jobq__waiter *waiter);
/* Who waits for a job looks whether it still can. With pool.mu held. */
JOBQ__INTERNAL void jobq__wake_waiters(jobq *q);
/* Events were told up to this number: lets go who waits for them. arg is the queue. */
JOBQ__INTERNAL void jobq__wake_told(void *arg, uint64_t told);

/* Step mode: tells the application's event loop. Outside all locks. */
JOBQ__INTERNAL void jobq__wake_loop(jobq *q);
/* Does what a commit has left to be done. Outside all locks. */
JOBQ__INTERNAL void jobq__wake_perform(jobq *q, const struct jobq__wakes *wakes);

#endif
