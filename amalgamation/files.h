/* files.h - which files a path means: resolved once, looked at, made, watched. */
#ifndef JOBQ__FILES_H
#define JOBQ__FILES_H

#include "err.h"
#include "os.h"

/* Design note.
 *
 * A path is asked for its meaning once, when the queue is opened. From then on everybody opens the
 * absolute name that came out, and makes sure that it got the same file: a connection of SQLite
 * that is opened later, the lock file, the look at what stands beside it. So it does not matter
 * where the process goes, which links are changed, or what SQLite takes for a URI.
 *
 * The names of log and lock are made from the database's name, so a file that has two of them
 * would have two logs and two owners. It is refused, and so is what is mounted by itself, and what
 * stands beside it likewise. A path that leads to another file than its text names is refused, for
 * from then on the text is all that is used. A second name that is made later does no harm until
 * somebody opens it, who is then refused.
 *
 * A file has moved if its name is gone or names another file. The log's shared memory (-shm) counts
 * as much as the log: the locks lie in it, and where the log ends, so whoever makes a new one
 * writes over what those with the old one add. Both stand as long as a connection does. Where
 * SQLite shares no memory (unix-excl) a -shm is only left over. That the system does not let us
 * look, because the process has given up rights or lives in another root now, says nothing.
 *
 * A file that is cut short under its name is as good as gone. The -shm only grows while somebody
 * has it open. The log is cut by who has copied it, in any process, but only when its memory says
 * that nothing of it is used any more: so it is compared with that (disk.c). */

struct jobq__files {
    char *path;                 /* absolute, without a link in it; or ":memory:" */
    char *log, *shm, *lock;     /* what stands beside it; NULL for ":memory:" */
    struct jobq__os_file db;    /* as it was found */
    struct jobq__os_file log_file, shm_file; /* once SQLite has opened them; MISSING: elsewhere */
    struct jobq__os_id root_id;
    bool created;               /* by us, just now */
};

/* Finds out what path means, and makes the database's file if an owner misses it and nothing is in
 * the way. On failure nothing but memory is held. */
JOBQ__INTERNAL int jobq__files_find(struct jobq__files *files, const char *path,
                                    const jobq_options *options, jobq_error *err);
JOBQ__INTERNAL void jobq__files_fini(struct jobq__files *files);

/* Once the database is open: its log and shared memory have to stay, and get its owner. */
JOBQ__INTERNAL void jobq__files_opened(struct jobq__files *files, bool shares_memory);

/* True if the database's name names another file now, in whichever root: not to be opened. */
JOBQ__INTERNAL bool jobq__files_another(const struct jobq__files *files);
/* True if the database, its log or its shared memory is no longer what its name names, or the
 * shared memory is shorter than it was. */
JOBQ__INTERNAL bool jobq__files_moved(struct jobq__files *files);
/* Of the log, in bytes; INT64_MAX where there is none, or it may not be looked at. */
JOBQ__INTERNAL int64_t jobq__files_log_size(const struct jobq__files *files);
/* The same for any other file that belongs to it. */
JOBQ__INTERNAL bool jobq__files_one_moved(const struct jobq__files *files, const char *path,
                                          const struct jobq__os_id *id);

#endif
