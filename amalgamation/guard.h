/* guard.h - the connection that handlers get: what they may do there, and how the next finds it. */
#ifndef JOBQ__GUARD_H
#define JOBQ__GUARD_H

#include "db.h"

/* Design note.
 *
 * An authorizer, set once, is asked when a statement is prepared. While jobq speaks (db.c) it
 * allows everything: a change of the schema has jobq's own statements prepared anew in the middle
 * of a job's transaction. Of a handler's statements it refuses what would end the transaction,
 * outlive the job, or change jobq's tables. Temporary tables are allowed, but noted: they go with
 * the job.
 * What can be set by calls of SQLite only is put back after each job; that hooks and authorizer are
 * still ours is looked at before anything is committed.
 *
 * Called by the holder of the baton. */

/* When on_connect has had its turn: from now on this is how handlers find it. */
JOBQ__INTERNAL void jobq__guard_set(struct jobq__db *db);
/* A handler has made something temporary. */
JOBQ__INTERNAL bool jobq__guard_has_temp(const struct jobq__db *db);
/* Takes the temporary schema away, of a connection that cannot be opened anew. */
JOBQ__INTERNAL void jobq__guard_drop_temp(struct jobq__db *db);
/* As jobq__guard_enter, before a job's transaction begins: it has no row yet. */
JOBQ__INTERNAL void jobq__guard_begin(struct jobq__db *db);
/* Before statements of jobq's own: the application's limits and settings would bind them, too. */
JOBQ__INTERNAL void jobq__guard_enter(struct jobq__db *db);
/* After them: as on_connect left it, and the last row inserted is the handler's again. */
JOBQ__INTERNAL void jobq__guard_leave(struct jobq__db *db);
/* After a failure in a job's transaction, in a file: true if it says nothing of the file, but of
 * what a handler has left on the connection, which is not used again then. */
JOBQ__INTERNAL bool jobq__guard_spoilt(struct jobq__db *db, int rc);
/* As jobq__guard_enter, before a job's transaction ends, with what the handler left busy reset;
 * false if it has put itself in place of jobq. */
JOBQ__INTERNAL bool jobq__guard_intact(struct jobq__db *db);
/* After it; false if the connection has to be opened anew to be as it was. hard: see above. */
JOBQ__INTERNAL bool jobq__guard_restore(struct jobq__db *db, bool hard);

#endif
