/* migrate.h - a file of an older schema becomes one of this version. */
#ifndef JOBQ__MIGRATE_H
#define JOBQ__MIGRATE_H

#include "schema.h"

/* An owner, before anything else is read of its file: does it have to be migrated? *bytes: how much
 * room on the disk that needs at most, more than what the log and the file take now; 0: it need
 * not, or no queue is there. Reads only. BAD_STATE (how says never), FOREIGN (it is not as the
 * older jobq left it), and as the disk. */
JOBQ__INTERNAL int jobq__migrate_look(struct jobq__db *db, jobq_migrate how, int64_t *bytes,
                                      jobq_error *err);

/* Migrates what was looked at: all of it is committed and synced, or nothing was. Then the log is
 * copied and cut, unless somebody reads an old state. Fails as the disk. */
JOBQ__INTERNAL int jobq__migrate(struct jobq__db *db, jobq_error *err);

#endif
