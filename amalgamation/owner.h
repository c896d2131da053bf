/* owner.h - one owner per file: the lock, the slots that outlive a process, forks. */
#ifndef JOBQ__OWNER_H
#define JOBQ__OWNER_H

#include "files.h"
#include "list.h"
#include "stored.h"

/* Design note.
 *
 * The owner holds an operating system lock on a file of its own beside the database; it dies
 * with the process, so there are no leases. The same file is mapped, and each worker says in a
 * slot there which run it is in. The mapping outlives the process but not the power.
 *
 *   IDLE -> STARTED      jobq__owner_started, by the worker, before it calls the handler (or the
 *                        kind's backoff)
 *   STARTED -> IDLE      jobq__owner_ended, by the worker, after that returned; RELEASED -> IDLE
 *                        the same
 *   STARTED -> RELEASED  jobq__owner_release of a stop, jobq__owner_leave of exit() and
 *                        jobq_mark_exit: this run is not to be blamed
 *   STARTED -> GUILTY    jobq__owner_leave of exit(), if it was called on this run's own thread
 *
 * jobq__owner_slot_to asserts them. That the page holds the state before is not asserted, for
 * anybody may have written there.
 *
 * exit() and jobq_mark_exit also say that the process is leaving, for runs that begin after that.
 * They touch no page before the recovery has committed: until then it is the evidence of the
 * process before.
 *
 * When a sync has failed the system may hold what was written as clean, and never write it: the log
 * reads as whole until the power fails, and what is appended to it is lost with it. The page says
 * so (doubt), for the next owner has to copy the log before it adds to it. After another boot it
 * need not, but who can be sure of that; to copy costs no more than a checkpoint.
 *
 * A process that has found the database taken by another one raises a word behind the slots
 * (wanted); who writes without a pause lowers it and lets others go first for a moment (turn.h): it
 * is odd while raised, and another one for each turn. A client writes it through the file: what it
 * maps, it can only read. Nobody owns the word, and no value of it does more harm than that short
 * rest, or a look too many.
 *
 * SQLite's own table of what it has locked goes along with a fork: a child that opens the same file
 * believes to have locks that only its parent has. So everybody who has a file open, owner or
 * client, is on a list of the process, and in a child that list refuses the file for ever: SQLite
 * cannot be told to forget it.
 *
 * A slot that the next owner finds STARTED, with the runs of a row that is still claimed, is a
 * suspect. The next owner clears the slots after its recovery has committed, and changes none of
 * them before (begun), so a recovery that is itself killed, or comes to nothing for damage, leaves
 * the same evidence to the next.
 *
 * What stands under the lock file's name may be somebody else's, and then not a byte of it may be
 * changed. It is ours if it begins with a mark, of any version ("jobq-", a digit, one character, a
 * zero), or if all that is there are parts of a mark and of a page, and zeros: so a kill before the
 * owner has begun leaves it, or a power cut.
 *
 * Anybody may have written into the page. What it says is taken for true only if it bears the mark
 * of this version and byte order, and then the worst that it can do is to have one run of one job
 * blamed or not. Where the boot cannot be told, nobody is blamed. The page of 0.1.0 is laid out the
 * same but tells no byte order: it is read if its numbers make sense in ours, for a log that it
 * doubts must be copied, and bears our mark once the recovery has committed.
 *
 * Most versions of SQLite are only safe with two writers if both know of each other (`shared`): the
 * owner says in the page whether it does, before it opens the database, and a client looks there
 * before each write. */

struct jobq__slot {
    int64_t id;
    int32_t runs;
    int32_t state; /* atomic: a JOBQ__SLOT_ of stored.h */
};

struct jobq__page {
    char magic[8];              /* version and byte order */
    int32_t pid;
    int32_t leaving;            /* atomic: the process said that it is about to end */
    int32_t shared;             /* atomic: what it says of other writers (stored.h) */
    int32_t doubt;              /* a sync failed: the log may be whole in memory only */
    char boot_id[48];
    int64_t reserve;            /* bytes that the log needs to be set aside: see disk.h */
    struct jobq__slot slots[JOBQ_WORKERS_MAX];
    char apart[1024];
    int32_t wanted;             /* atomic: odd: somebody waits for his turn to write; anybody's */
};

struct jobq__owner {
    int fd;
    struct jobq__page *page;    /* never NULL while open: without a file it is plain memory */
    bool mapped, writable;
    const struct jobq__files *files;
    struct jobq__os_id id;      /* of the lock file that is mapped */
    int64_t reserved;           /* bytes set aside behind the page */
    struct jobq__link all;      /* of this process */
    bool entered;               /* there */
    bool begun;                 /* until then the slots are those of the process before */
    int entry;                  /* among the pages that have begun, or -1 */
    bool same_boot;             /* as that of the page found at open, for sure */
    int32_t generation;         /* of forks, at open */
};

/* Takes the lock that stands beside these files (":memory:": none). They must outlive the owner,
 * who may not move. JOBQ_LOCKED names the owner's pid in err; JOBQ_FORKED: a process that this one
 * was forked from had the file open. */
JOBQ__INTERNAL int jobq__owner_take(struct jobq__owner *owner, const struct jobq__files *files,
                                    int32_t writers, jobq_error *err);

/* The same JOBQ_FORKED, for who has not touched SQLite yet: a thread that the parent had inside it
 * at the fork has left its mutexes locked in the child for ever. */
JOBQ__INTERNAL int jobq__owner_check_heir(const char *path, jobq_error *err);

/* A client: sees the page if there is one, now or later. JOBQ_FORKED as above. */
JOBQ__INTERNAL int jobq__owner_watch(struct jobq__owner *owner, const struct jobq__files *files,
                                     jobq_error *err);
/* A client, before each write; with the baton: MISUSE if the owner has said that nobody else
 * writes, for then it does not look either. unsafe: UNSAFE_SQLITE unless it is known to have said
 * that others may, or there never was one; READ_ONLY if we may not look. */
JOBQ__INTERNAL int jobq__owner_allows(struct jobq__owner *owner, bool unsafe, jobq_error *err);

/* A client that opens: true if an owner has said that it has the file for itself. Whether it has
 * still, or is dead, only SQLite's lock can tell. */
JOBQ__INTERNAL bool jobq__owner_has_it_all(const struct jobq__owner *owner);
/* It has: JOBQ_LOCKED. */
JOBQ__INTERNAL int jobq__owner_keeps_out(const struct jobq__owner *owner, jobq_error *err);

/* The lock file gets the mode and the owner of the database: last of all, for an open that is
 * refused leaves it as it was. */
JOBQ__INTERNAL void jobq__owner_match(struct jobq__owner *owner);

JOBQ__INTERNAL void jobq__owner_drop(struct jobq__owner *owner);

/* What the slots of the process before say of this run of a job that is still claimed. */
enum jobq__trace { JOBQ__TRACE_NONE, JOBQ__TRACE_STARTED, JOBQ__TRACE_RELEASED };
JOBQ__INTERNAL enum jobq__trace jobq__owner_trace(const struct jobq__owner *owner, int64_t id,
                                                  int runs);

/* The job that this slot says the owner before us had there; 0: none that is known. */
JOBQ__INTERNAL int64_t jobq__owner_slot(const struct jobq__owner *owner, int slot);
/* True if a slot says that the job runs now. */
JOBQ__INTERNAL bool jobq__owner_runs(const struct jobq__owner *owner, int64_t id);

/* After recovery: empty slots, this process's boot; who leaves marks the page from now on. */
JOBQ__INTERNAL void jobq__owner_begin(struct jobq__owner *owner);

/* On the thread that runs it; returns what jobq__owner_ended is to be given: a handler may step
 * another queue. */
JOBQ__INTERNAL void *jobq__owner_started(struct jobq__owner *owner, int slot, int64_t id,
                                         int runs);
JOBQ__INTERNAL void jobq__owner_ended(struct jobq__owner *owner, int slot, void *outer);
/* Somebody starts the pool, or one that runs: jobs that start from now on may be blamed. */
JOBQ__INTERNAL void jobq__owner_stay(struct jobq__owner *owner);
JOBQ__INTERNAL void jobq__owner_release(struct jobq__owner *owner, int slot);
JOBQ__INTERNAL void jobq__owner_release_all(struct jobq__owner *owner);

/* Has so many bytes of the disk set aside behind the page, or gives them back. JOBQ_OK; JOBQ_FULL
 * if there is no room, and then as many are set aside as before; JOBQ_IO if it cannot be done. */
JOBQ__INTERNAL int jobq__owner_reserve(struct jobq__owner *owner, int64_t bytes);
/* How many of them the log needs; told to the next owner, 0 if none was. */
JOBQ__INTERNAL void jobq__owner_note_reserve(struct jobq__owner *owner, int64_t bytes);
JOBQ__INTERNAL int64_t jobq__owner_noted_reserve(const struct jobq__owner *owner);
/* And how many are set aside at this moment, by whoever is the owner: fewer while it has lent them
 * to a transaction, and after it was killed in one. */
JOBQ__INTERNAL int64_t jobq__owner_held(const struct jobq__owner *owner);
JOBQ__INTERNAL int64_t jobq__owner_disk_free(const struct jobq__owner *owner);
/* True if the lock file is not the one that its name names, or was cut short: somebody else may own
 * the queue. */
JOBQ__INTERNAL bool jobq__owner_moved(struct jobq__owner *owner);

/* Says that the log is in doubt, or is no more; and whether the owner before has left it so. */
JOBQ__INTERNAL void jobq__owner_doubts(struct jobq__owner *owner, bool doubt);
JOBQ__INTERNAL bool jobq__owner_doubtful(const struct jobq__owner *owner);

/* Somebody waits for his turn to write; his turn has come; does anybody? The first returns a number
 * that stays the same until the second, and is not 0. */
JOBQ__INTERNAL int32_t jobq__owner_want(struct jobq__owner *owner);
JOBQ__INTERNAL void jobq__owner_serve(struct jobq__owner *owner);
JOBQ__INTERNAL bool jobq__owner_wanted(const struct jobq__owner *owner);

/* True in a process that was forked after the queue was opened. */
JOBQ__INTERNAL bool jobq__owner_forked(const struct jobq__owner *owner);

#endif
