/* schema.h - tables, identity, version. */
#ifndef JOBQ__SCHEMA_H
#define JOBQ__SCHEMA_H

#include "db.h"
#include "stored.h"

/* A table, index or view, and the statement that makes it. */
struct jobq__object {
    const char *name, *text;
};
/* Those of this version, in the order of their making. */
JOBQ__INTERNAL const struct jobq__object *jobq__schema_objects(size_t *count);
/* Every object of the file that bears our name must be one of these, whole, and all are there; more
 * may be, but for triggers, if it says so. FOREIGN. */
JOBQ__INTERNAL int jobq__schema_compare(struct jobq__db *db, const struct jobq__object *objects,
                                        size_t count, bool more, jobq_error *err);
/* What the file says of its schema, which may be an older one; 0 if there is no queue in it. NEWER
 * unless it says that this version may use it, FOREIGN, CORRUPT. */
JOBQ__INTERNAL int jobq__schema_version(struct jobq__db *db, int64_t *version, jobq_error *err);

/* Puts the file into WAL mode, if it is not; so, it stays. */
JOBQ__INTERNAL int jobq__schema_wal(struct jobq__db *db, jobq_error *err);

/* Makes sure that db holds a queue of this version: creates the tables in one transaction if the
 * file is empty (or join is set), and refuses what it does not know. A file that was made by jobq
 * just now gets settings of our choice, and so does one that has no page yet: whoever made it has
 * put nothing there, and it may have been a process of ours that died at once.
 * FOREIGN, NEWER, BAD_STATE (older), NOT_A_DB, and as the disk. */
JOBQ__INTERNAL int jobq__schema_ready(struct jobq__db *db, int page_size, bool made,
                                      bool join, jobq_error *err);

/* A client: the queue must be there. NOT_FOUND, FOREIGN, NEWER, BAD_STATE (older). */
JOBQ__INTERNAL int jobq__schema_check(struct jobq__db *db, jobq_error *err);

/* Takes the statistics of jobq's tables away again, if somebody has had them gathered since; inside
 * a transaction that writes. */
JOBQ__INTERNAL int jobq__schema_unlearn(struct jobq__db *db);

#endif
