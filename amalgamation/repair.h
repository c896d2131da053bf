/* repair.h - what the doctor puts right: the transaction in which it does. */
#ifndef JOBQ__REPAIR_H
#define JOBQ__REPAIR_H

#include "audit.h"
#include "commit.h"

/* Design note.
 *
 * A slice of what was found (audit.h) is put right in one transaction that does nothing else
 * (commit_bare). Whoever runs remembers what is in his row, so it is not touched; who is claimed
 * and has not started is given back first, through the door. Then what the rules change in a row is
 * changed in SQL, beside the door: that is no edge, for the row is none that jobq left, and there
 * is no event of it. What the door keeps beside a row other than by edges is put right here: the
 * counters, the claims row, when something is due next.
 *
 * Called from api_check.c, with the baton held. */

/* A request; its arg is a struct jobq__audit, which has looked. */
JOBQ__INTERNAL int jobq__repair(struct jobq__tx *tx, struct jobq__request *r);

#endif
