/* recover.h - what the owner before left claimed goes back. */
#ifndef JOBQ__RECOVER_H
#define JOBQ__RECOVER_H

#include "commit.h"

/* Design note.
 *
 * At open, before anybody else has the queue. The claims row names all that was claimed; the slots
 * of the lock file (owner.h) say who of them had started. Started and not released: a suspect,
 * charged with a crash. Finished, but not committed: ready again. Claimed only: as if it had never
 * been. A wish to cancel, written down before, is fulfilled.
 *
 * The slots are cleared after the commit, so a recovery that is itself killed finds the same
 * evidence again. */

JOBQ__INTERNAL int jobq__recover(jobq *q, int64_t until_us, jobq_error *err);

#endif
