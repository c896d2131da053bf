/* fail.h - what stops a queue for good, and what its calls say from then on. */
#ifndef JOBQ__FAIL_H
#define JOBQ__FAIL_H

#include "wake.h"

/* Design note.
 *
 * A queue fails once: the first code stays (q->failed, an atomic that everybody may look at), with
 * the reason that SQLite or a value in the file gave (q->fault, pool.mu). From then on nothing is
 * claimed, committed or pruned; handlers that run may end; whoever waits is woken; each call says
 * what it was. Only another open begins anew. */

/* Stops the queue for good; the first reason stays, for every later call to tell. why NULL: the
 * code says it all. */
JOBQ__INTERNAL void jobq__fail_latch(jobq *q, int code, const struct jobq__fault *why);
/* Does so if rc says that the file is damaged, whoever found out. */
JOBQ__INTERNAL void jobq__fail_heed(jobq *q, int rc, const struct jobq__fault *why);
/* Fills err for a code that may be the one which has stopped the queue. */
JOBQ__INTERNAL int jobq__fail_say(jobq *q, int rc, jobq_error *err);

#endif
