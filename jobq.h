/* jobq.h - a durable job queue and scheduler in two C files, over SQLite.
 *
 * Version 0.2.0. What is not in this file is not API.
 *
 * The promise. When jobq_enqueue returns JOBQ_OK at the default durability,
 * the job is on the disk: it survives kill, operating system crash and power
 * loss, and it will be run, at least once, until it reaches a terminal state.
 * No job ever runs twice at the same moment. Rows that a handler writes through
 * jobq_run_db are visible if and only if the completion of that run is.
 *
 * Caveats, before anything else.
 *   - At least once. A handler may be run again for a job that it has finished: after a crash, a
 *     power cut, a full or failing disk, or a jobq_stop or jobq_close that could not write what had
 *     been finished, and says so. What must happen once goes through jobq_run_db.
 *   - One owner per file, on a local disk, by one path. The file, its -wal, its -shm and its -jobq
 *     belong together: do not copy, truncate, move or delete them while a queue is open. jobq looks
 *     at them every 10 ms at most, before it writes and where it looks for others' jobs (poll_ms):
 *     what it acknowledges before it sees that they are gone or cut short (JOBQ_MOVED) is gone with
 *     them. A log that was cut in its middle is not seen if it was written to within these 10 ms.
 *     Who touches a -shm or -jobq that was cut short before that is seen, or only looks inside such
 *     a queue, is ended by SIGBUS.
 *   - Tables called jobq_... are jobq's, and what ANALYZE says of them is deleted. Your own
 *     connections to the same file set sqlite3_busy_timeout and keep their transactions short.
 *   - A client and its owner both say .shared = true, or it may be refused.
 *   - Fork before you open. A child may neither use the queue nor open its file again, not even
 *     when the parent has closed it: SQLite's locks do not bear a fork, only exec ends that. Nor
 *     is another file safe to open there: if a thread of the parent was inside SQLite at the fork,
 *     what it had locked stays locked, and the open hangs. It must end by exec or _exit if it was
 *     forked in a handler.
 *   - No exception and no longjmp may leave a handler or a callback; neither may end its thread.
 *     Nor may pthread_cancel end one that is inside a call: what it holds nobody would let go of,
 *     and the queue would stand still. Where threads are cancelled, disable that around calls
 *     (pthread_setcancelstate); in the pool's threads it is disabled.
 *   - Calls want up to 32 KiB of stack; the threads of the pool have the system's default unless
 *     stack_bytes says otherwise.
 *   - Names of kinds and queues stay in the file for ever: JOBQ_NAMES_MAX of them.
 *
 * How to read this file: a program needs the sections 3 to 7, and of 8 jobq_get and jobq_wait; the
 * rest is for looking inside, for tests and for event loops. Every comment of a function says,
 * where it is not plain: Does, Returns, Owns, Threads, Blocks (else it waits for nobody), Fails.
 *
 * Habits. Zero is always the default, so designated initialisers read like a
 * sentence; as an argument, too, where it is 5 s for jobq_stop and no time at all for
 * jobq_wait. JOBQ_NONE (-1) is "none" or "off", JOBQ_UNLIMITED is "no limit" of a
 * count, JOBQ_NEVER a duration without end.
 * Times are int64_t milliseconds since the Unix epoch (..._at_ms) or durations
 * (..._ms). Functions that can fail return an int code: JOBQ_OK is 0, every other
 * code is an error, and their last argument is a jobq_error that may be NULL (jobq_close has none).
 * Besides what its comment names, every call on a queue may fail with JOBQ_MISUSE (NULL),
 * JOBQ_CLOSED (it is being closed), JOBQ_FORKED (in a child of the process that opened it),
 * JOBQ_NO_MEMORY, and with the reason for which the queue has stopped for good (JOBQ_CORRUPT,
 * JOBQ_IO, JOBQ_MOVED; see jobq_stats.failed_code), though calls that only look may still answer
 * then.
 *
 * Who may call what. c: a client. h: a handler, on its own thread. t: the same after jobq_run_db.
 * e: on_event, on_wake and on_thread (a kind's backoff: as its handler; on_connect: none of
 * these, nor with a run). What has a - there is JOBQ_MISUSE; the owner's other threads
 * may call everything.
 *   c h t e  jobq_enqueue jobq_enqueue_many jobq_get jobq_get_payload jobq_get_result jobq_list
 *            jobq_count jobq_stat jobq_wakes
 *   c h - e  jobq_flush (durable: t, too) jobq_check (a client: without repair)
 *   - h t e  jobq_notify jobq_next_deadline
 *   - h - e  jobq_register jobq_cancel jobq_retry_now jobq_delete
 *   c - - -  jobq_close
 *   - - - -  jobq_start jobq_stop jobq_wait jobq_step jobq_run_until_idle jobq_advance
 *            jobq_advance_to_next
 * With a run, on its handler's thread: jobq_done jobq_retry jobq_fail jobq_reschedule_in
 *            jobq_reschedule_at jobq_snooze jobq_run_id jobq_run_handle jobq_run_kind
 *            jobq_run_attempt jobq_run_crashes jobq_run_payload jobq_run_deadline jobq_run_info
 *            jobq_run_sleep (not t) jobq_run_db jobq_keep_writes jobq_checkpoint (not t)
 *            jobq_run_checkpoint, and on any thread until it returns: jobq_should_stop
 * Everywhere: jobq_open_as (and jobq_open) jobq_mark_exit jobq_version_number jobq_code_name
 *            jobq_code_text jobq_state_name jobq_outcome_name jobq_clock_artificial jobq_clock_free
 *            jobq_clock_now jobq_clock_advance jobq_clock_set
 *
 * Time. Points in time (..._at_ms) follow the wall clock and every step of it. Durations do not: no
 * step of the wall, back or forth, ends one or delays it. What lasts while the process lives (a
 * timeout, a sleep, a wait, a grace) is measured by the monotonic clock, and on Linux it stands
 * still while the machine is suspended. What waits in the file (a delay, a backoff, a snooze, a
 * reschedule_in) goes on meanwhile, which an idle pool sees within a minute. While no process has
 * the queue open the wall tells how much passes; where it shows less than the queue has seen, as
 * on a device that boots in 1970, nobody knows, and a duration takes at most its own length from
 * the open on. Its run_at_ms is when the wall will show that it is over, if nobody sets it: a step
 * changes run_at_ms. What a step was, the next transaction writes down, in one row whatever waits;
 * one that nobody saw before the process ended or the power went makes what waits longer or
 * shorter by as much, and so does one that an owner has not seen yet for the delay of a client.
 *
 * ---------------------------------------------------------------------------
 * MIT No Attribution (MIT-0)
 *
 * Permission is hereby granted, free of charge, to any person obtaining a copy
 * of this software and associated documentation files (the "Software"), to deal
 * in the Software without restriction, including without limitation the rights
 * to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
 * copies of the Software, and to permit persons to whom the Software is
 * furnished to do so.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
 * IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
 * FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
 * AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
 * LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
 * OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
 * SOFTWARE.
 */
#ifndef JOBQ_H
#define JOBQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Stands before every function. For a shared library that hides everything else, compile jobq.c
 * with -fvisibility=hidden '-DJOBQ_API=__attribute__((visibility("default")))'. A program of one
 * file may say -DJOBQ_API=static -Wno-unused-function, and begin with #include "jobq.c". With a
 * SQLite built with SQLITE_OMIT_PROGRESS_CALLBACK or SQLITE_OMIT_TRACE jobq.c wants these, too. */
#ifndef JOBQ_API
#define JOBQ_API
#endif

#if defined(__GNUC__)
#define JOBQ_PRINTF(at, first) __attribute__((__format__(__printf__, at, first)))
#else
#define JOBQ_PRINTF(at, first)
#endif

/* ==== 1. Version ========================================================== */

#define JOBQ_VERSION "0.2.0"
#define JOBQ_VERSION_NUMBER 2000 /* major * 1000000 + minor * 1000 + patch */

/* Returns JOBQ_VERSION_NUMBER as jobq.c was compiled with it. Any thread. */
JOBQ_API int jobq_version_number(void);

/* ==== 2. Limits and units ================================================= */

#define JOBQ_NONE (-1)                 /* none, off, zero */
#define JOBQ_UNLIMITED INT32_MAX       /* of counts: no limit; as a duration it is BAD_TIME (where a
                                          handler gives it: a failed attempt that says so) */
#define JOBQ_NEVER INT64_MAX           /* a time that does not come, a duration without end */

#define JOBQ_SECOND INT64_C(1000)      /* milliseconds */
#define JOBQ_MINUTE (60 * JOBQ_SECOND)
#define JOBQ_HOUR (60 * JOBQ_MINUTE)
#define JOBQ_DAY (24 * JOBQ_HOUR)

#define JOBQ_NAME_MAX 64               /* bytes of a kind's or queue's name */
#define JOBQ_KEY_MAX 128               /* bytes of a job's key */
#define JOBQ_TEXT_MAX 255              /* bytes kept of a handler's message */
#define JOBQ_NAMES_MAX 4096            /* kinds and queues in one file */
#define JOBQ_WORKERS_MAX 120
#define JOBQ_PAYLOAD_MAX (64 * 1024 * 1024) /* what payload_max may be set to */

/* ==== 3. Codes and errors ================================================= */

/* X(name, value, sentence). JOBQ_OK is 0 and every other code is an error: unless the sentence, or
 * the function (jobq_stop, jobq_close), says otherwise, nothing has happened and nothing will
 * appear later. Retired, and never to be used again: 1. */
#define JOBQ_CODES(X) \
    X(JOBQ_OK, 0, "ok") \
    X(JOBQ_MISUSE, -1, "this call is not allowed here or with these arguments") \
    X(JOBQ_BAD_NAME, -2, "the name is missing, empty, too long or none that the file can keep") \
    X(JOBQ_BAD_TIME, -3, "the time is negative or reaches past the end of time") \
    X(JOBQ_TOO_BIG, -4, "the payload or result is larger than the queue allows") \
    X(JOBQ_NO_MEMORY, -5, "memory could not be had") \
    X(JOBQ_NOT_FOUND, -6, "there is no such job") \
    X(JOBQ_BAD_STATE, -7, "the job or the queue is not in a state that allows this") \
    X(JOBQ_BUSY, -8, "a transaction (your own?) holds the database, or the job runs") \
    X(JOBQ_LOCKED, -9, "another process owns this queue") \
    X(JOBQ_FULL, -10, "the disk is full or a limit has been reached") \
    X(JOBQ_IO, -11, "the disk or the operating system reported an error") \
    X(JOBQ_UNKNOWN, -12, "an error at commit: it may have happened or not") \
    X(JOBQ_CORRUPT, -13, "the database is damaged; nothing more is touched") \
    X(JOBQ_CANT_OPEN, -14, "the file cannot be opened or created") \
    X(JOBQ_NOT_A_FILE, -15, "the path is not a regular file") \
    X(JOBQ_NOT_A_DB, -16, "the file is not a SQLite database") \
    X(JOBQ_FOREIGN, -17, "the database, or its -jobq, belongs to something other than jobq") \
    X(JOBQ_NEWER, -18, "the queue was written by a newer jobq") \
    X(JOBQ_READ_ONLY, -19, "the file or its directory cannot be written") \
    X(JOBQ_CLOSED, -20, "the queue is closed or being closed") \
    X(JOBQ_FORKED, -21, "open in the process that this one was forked from; fork first, or exec") \
    X(JOBQ_TIMEOUT, -22, "the time allowed for waiting is over") \
    X(JOBQ_STALLED, -23, "the queue did not come to rest, or nothing moved its artificial clock") \
    X(JOBQ_BAD_SQLITE, -24, "this SQLite is too old, single-threaded or mismatched") \
    X(JOBQ_UNSAFE_SQLITE, -25, "this SQLite is only safe for two writers if both say shared") \
    X(JOBQ_MOVED, -26, "the file was moved, replaced or deleted; nothing more is touched") \
    X(JOBQ_REMOTE, -27, "the file is on a network file system") \
    X(JOBQ_EXISTS, -28, "another job that has not ended has this key") \
    X(JOBQ_LINKED, -34, "the file has several names, or is mounted by itself")

enum jobq_code {
#define JOBQ_CODE_ENUM(name, value, sentence) name = value,
    JOBQ_CODES(JOBQ_CODE_ENUM)
#undef JOBQ_CODE_ENUM
    JOBQ_CODE_LAST_ = 2
};

/* The name ("JOBQ_BUSY") and the general sentence of a code. Static text, never
 * NULL. Any thread. */
JOBQ_API const char *jobq_code_name(int code);
JOBQ_API const char *jobq_code_text(int code);

/* What went wrong in one call. The caller owns it; it is written only when the call fails. It is
 * 512 bytes in every version. */
typedef struct jobq_error {
    int code;        /* one of JOBQ_CODES */
    int sqlite_code; /* SQLite's extended result code, or 0 */
    int os_code;     /* errno, or 0 */
    int at;          /* the row of a bulk call that was wrong, from 0; else -1 */
    int64_t id;      /* who is in the way: the job that has the key, the owner's pid; else 0 */
    char text[488];  /* a sentence that says what was wrong and what to do */
} jobq_error;

/* ==== 4. Handles, clocks, opening ========================================= */

typedef struct jobq jobq;             /* an open queue */
typedef struct jobq_run jobq_run;     /* one run of one job, inside its handler */
typedef struct jobq_clock jobq_clock; /* an artificial clock, section 9 */
typedef struct jobq_info jobq_info;   /* what can be told of a job, section 8 */
struct sqlite3;

typedef enum jobq_role {
    JOBQ_OWNER,  /* runs jobs; at most one per file, held by a lock that dies with it */
    JOBQ_CLIENT  /* enqueues and looks inside a queue that exists. Both sides say .shared, so that
                    the owner looks for its jobs by itself (poll_ms). It cannot wait, but look again
                    (jobq_get); that an owner lives only JOBQ_LOCKED tells who opens as one */
} jobq_role;

typedef enum jobq_durability {
    JOBQ_DURABLE, /* synchronous=FULL: OK means it survives power loss */
    JOBQ_RELAXED  /* synchronous=NORMAL: survives kill; power loss may take a
                     suffix of commits, never the middle, until jobq_flush */
} jobq_durability;

/* State of a job. Ready jobs are claimed ahead, up to some hundred: the file says that the owner
 * has them, and only its memory which of them run. Claimed but not started is pending. */
typedef enum jobq_state {
    JOBQ_STATE_NONE,
    JOBQ_STATE_PENDING,  /* ready, scheduled for later, or parked */
    JOBQ_STATE_RUNNING,
    JOBQ_STATE_DONE,     /* terminal */
    JOBQ_STATE_FAILED,   /* terminal: the dead letter box */
    JOBQ_STATE_CANCELLED /* terminal */
} jobq_state;

/* What a handler returns, and what an event reports. */
typedef enum jobq_outcome {
    JOBQ_OUTCOME_NONE,  /* in events: no run was settled */
    JOBQ_DONE,          /* finished */
    JOBQ_RETRY,         /* failed: again after the backoff, until attempts run out */
    JOBQ_FAIL,          /* failed for good */
    JOBQ_RESCHEDULE,    /* not a failure: again at a time, as attempt 1 */
    JOBQ_SNOOZE,        /* not a failure: again later, same attempt */
    JOBQ_CANCELLED,     /* gave up for good. Once jobq_should_stop is true: as JOBQ_RETRY, which
                           is cancelled if that was why, and goes on after a stop */
    JOBQ_CRASHED,       /* events only. From running to pending: the process died while the job ran.
                           From pending to failed: it has done so crashes_max times */
    JOBQ_STOPPED        /* events only: ended by jobq_stop or jobq_close; again at the next start,
                           same attempt */
} jobq_outcome;

/* "pending", "done" and the like: static text, never NULL. Any thread. */
JOBQ_API const char *jobq_state_name(jobq_state state);
JOBQ_API const char *jobq_outcome_name(jobq_outcome outcome);

/* A change of a job, reported after it was committed: new (from NONE), started (to RUNNING; this
 * one is told, not committed), settled, cancelled, revived, crashed. A delete is not told. The
 * event of a new job may come after jobq_enqueue has returned, or before; that of a job's end comes
 * before jobq_wait returns. When memory is out each of the strings may be "". */
typedef struct jobq_event {
    int64_t now_ms;      /* the queue's clock */
    int64_t id;
    const char *kind, *queue; /* valid while the queue is open */
    const char *key;     /* "" if it has none */
    const char *message; /* of the failure that was settled, or "" */
    jobq_state from, to; /* from is NONE when the job is new */
    int attempt;         /* the attempt that was settled, or is due */
    jobq_outcome outcome;
    int64_t wait_ms;     /* started, settled: from due (by the wall, when claimed) to started */
    int64_t run_ms;      /* settled: from started to finished, whatever the wall does */
} jobq_event;

/* The threads that a queue starts. Numbers are never used again; new ones come at the end. */
typedef enum jobq_thread { JOBQ_THREAD_WORKER, JOBQ_THREAD_SCHEDULER } jobq_thread;

/* The connections that a queue opens: the writer, the reader, an owner's copier (it takes the
 * checkpoints), and the job's when a handler first asks for it; on ":memory:" one, which is the
 * writer's and the job's. on_connect is called twice for each, when it is open and nothing
 * was read yet, and when jobq's tables stand; on ":memory:" it is three calls: the writer's two and
 * the job's second. */
typedef enum jobq_connection {
    JOBQ_CONNECTION_WRITER, JOBQ_CONNECTION_READER, JOBQ_CONNECTION_JOB, JOBQ_CONNECTION_COPIER
} jobq_connection;
typedef enum jobq_stage {
    JOBQ_STAGE_KEY,  /* PRAGMA key and its like, for SQLite builds that encrypt; nothing else */
    JOBQ_STAGE_SETUP /* pragmas, functions, collations; on the writer's CREATE TABLE IF NOT EXISTS
                        for tables of your own; on the job's ATTACH and temporary tables. A file
                        that is attached is committed after the queue's: if that fails, the job
                        has been done without it */
} jobq_stage;

typedef enum jobq_migrate {
    JOBQ_MIGRATE_AUTO, /* an owner makes a file of an older schema one of this version's, in one
                          transaction: then no older jobq can use it any more (NEWER there) */
    JOBQ_MIGRATE_NEVER /* such a file is refused (BAD_STATE, both schemas named) */
} jobq_migrate;

typedef struct jobq_options {
    jobq_role role;
    jobq_durability durability;
    int workers;            /* threads; default 4; JOBQ_NONE = step mode, section 9 */
    bool join;              /* allow making a queue in a file with another's tables */
    bool shared;            /* other connections write too: an owner looks for their jobs (poll_ms),
                               and clients may not write where it does not say so. With SQLite
                               before 3.51.3, but for 3.44.6 and 3.50.7, which may lose what two
                               write, clients say it as well, and may not even open the file, to
                               look, where one side does not */
    bool damaged;           /* an owner opens the file also where what the owner before has left
                               claimed cannot be given back, for damage (CORRUPT): the queue has
                               stopped then (failed_code), and jobq_check may repair it */
    bool exclusive;         /* no other process may open the file: SQLite's unix-excl VFS, without
                               shared memory, which makes commits cheaper. Connections of your own
                               in this process name that VFS, too. MISUSE with .shared and for a
                               client, BAD_SQLITE where there is no such VFS */
    bool remote;            /* open a file on a network or FUSE file system, too; not safe */
    bool linked;            /* open a file that has several names (hard links; what looks like the
                               short one on FAT) or is mounted by itself, or whose -wal, -shm or
                               -jobq is, too; not safe: under another name it has another owner */
    bool charge_reboots;    /* a power cut counts as a crash of the jobs it met. Without this nobody
                               is charged in doubt either: where the system does not name its boots
                               and its clock is not known to be right (Linux without /proc and NTP)
                               no death of a process counts */
    jobq_migrate migrate;   /* what an owner does with a file of an older schema */
    int64_t busy_ms;        /* wait for others that write; default 5 s; JOBQ_NONE = do not.
                               Others: a job's transaction, connections, processes. Only while
                               these have the file does this time pass: behind other calls of its
                               own process a call waits until they are written. After a COMMIT
                               that failed it may be up to 5 s all the same, to know for certain
                               what has happened. On ":memory:" a job's transaction keeps looks
                               waiting, too */
    int64_t poll_ms;        /* look so often for what others have put into the file; default off,
                               with .shared 1 s; JOBQ_NONE = off. A look that finds nothing new
                               only reads. Real time; in step mode each step looks, when it is
                               time, and jobq_next_deadline says when that is */
    int64_t keep_done_ms;   /* keep done and cancelled jobs; default 24 h; JOBQ_NONE = drop */
    int64_t keep_failed_ms; /* keep failed jobs; default 7 days; JOBQ_NONE = drop */
    int64_t keep_max;       /* keep at most so many finished jobs, looked at once a minute;
                               default no limit */
    int64_t payload_max;    /* bytes; default 1 MiB; at most JOBQ_PAYLOAD_MAX */
    int page_size;          /* of a file that is made here; default 2048; a power of two from 512
                               to 65536; a file that is there keeps its own */
    int wal_pages;          /* checkpoint when the log has so many pages; default 2000, and of
                               pages that are not 2048 bytes as many as make 4 MB; >= 16 */
    int64_t reserve_bytes;  /* of disk, set aside so that on a full one jobs can still be
                               finished; default: wal_pages pages and 64 KiB (16 pages, if
                               that is more), and on a disk
                               that fills up a third of the database more; >= 64 KiB. Of any
                               disk 1/16 of what is free at most, even if more is asked for,
                               but always 64 KiB and 24 pages; JOBQ_NONE = none */
    int64_t stall_ms;       /* real time that jobq_advance gives to each rest; default 10 s */
    int mode;               /* of the files that are made, whatever the umask; default 0600; clients
                               of other users need 0660 (with group_id) or 0666, and a directory
                               that they may write: while no owner is there they make -wal and
                               -shm anew. A lock file that is there follows the database's file
                               when it was opened */
    int64_t group_id;       /* and their group, 1 to 4294967294; default, or 0, the system's
                               choice */
    uint64_t seed;          /* of the jitter; 0 is a seed like any other */
    jobq_clock *clock;      /* default: the system's; must outlive the queue */
    /* Called after a commit, one at a time, outside all locks, in commit order:
     * by workers and the scheduler thread, or, in step mode and while the pool is not
     * started, by the caller whose call committed. It should be quick: whoever tells events
     * tells all that came before, and other callers wait for theirs; while it is thousands of
     * events behind, everybody who stores waits, but for handlers and callbacks. Hold nothing that
     * it wants. What it may call: e in the list above; what it does is told when it has returned.
     * The event is valid during the call. Of a client's jobs the owner does not tell that they are
     * new, and nothing tells that the queue has stopped for good: jobq_stats.failed_code does. */
    void (*on_event)(const jobq_event *event, void *ctx);
    /* Step mode: called outside all locks, by any thread, when a job became ready
     * or the next deadline moved earlier. It should only wake the event loop; what on_event
     * may not call, it may not either. */
    void (*on_wake)(void *ctx);
    /* Called on each thread that jobq_start starts, when it begins and when it is about to end: to
     * name it, to set its priority, to attach it to a JVM. index counts from 0 among its like. The
     * end counts as a part of the last handler's time in jobq_stop. Not in step mode. What on_event
     * may not call, it may not either. The scheduler's thread takes no signals, but in callbacks it
     * has, as workers have, the mask of who called jobq_start. */
    void (*on_thread)(jobq_thread what, int index, bool begins, void *ctx);
    int64_t stack_bytes;    /* of these threads; default the system's; >= 64 KiB, and what your
                               handlers need on top of 40 KiB; more where the system wants that */
    /* The application's turn with each connection, on the thread that opens it: jobq_open's, for
     * the job's a handler's, and again whenever that is opened anew. Tables of the application's
     * own are made on the writer's at JOBQ_STAGE_SETUP: jobq's stand by then, so that these want
     * no .join; a client comes here, too. Handlers find the job's connection as this left it, so
     * PRAGMA foreign_keys belongs here. A non-zero answer refuses the connection: jobq_open, or
     * jobq_run_db, fails with JOBQ_CANT_OPEN and the words that it may have put into err->text,
     * else SQLite's, or its answer. jobq puts right again what it lives by: the journal,
     * synchronous, locking and query_only modes, busy handler, authorizer, every hook, progress
     * handler and trace; on all but the job's also triggers and views, which are off there,
     * mmap_size, temp_store, cell_size_check and journal_size_limit. Built-in functions must not be
     * redefined. It may not call jobq, nor leave a transaction open, nor touch jobq_* tables, nor
     * make anything temporary of such a name, or a temporary trigger on one (CANT_OPEN), nor read
     * the file or change its journal mode while locking mode is EXCLUSIVE, which SQLite does not
     * take back then (CANT_OPEN, or BUSY). */
    int (*on_connect)(struct sqlite3 *db, jobq_connection which, jobq_stage stage,
                      jobq_error *err, void *ctx);
    void *ctx;              /* given to on_event, on_wake, on_thread and on_connect */
} jobq_options;

/* Opens or creates the queue in the SQLite file path (":memory:" for none) and,
 * as owner, takes the ownership lock and recovers the jobs of a dead owner.
 * options may be NULL. The path is resolved once: later changes of directory or of
 * links do not matter, and it is never a URI. What is made gets mode 0600 (mode); a lock
 * file path + "-jobq" stands beside it and is never deleted (what jobq did not make under that
 * name is FOREIGN, and stays as it is); it also holds the reserve (reserve_bytes), which is left
 * out where RLIMIT_FSIZE forbids it.
 * Returns JOBQ_OK and *q; on failure *q is NULL and nothing needs closing; files made by then stay.
 * Owns: the caller closes *q with jobq_close. path and options are copied.
 * Threads: any. Blocks: on the disk, and for others that write by busy_ms.
 * CANT_OPEN is also a path through /proc to a file that has no name here, and an extension of
 * sqlite3_auto_extension that fails; BAD_SQLITE also a VFS that keeps the file or its journal in
 * memory.
 * A file of an older schema is migrated when an owner opens it (.migrate): jobs stay what they are.
 * It takes a moment where there are many, once, and room on the disk; FULL says how much, and then
 * nothing was touched. Calls of older jobqs that have the file open fail from then on.
 * LOCKED: err->id is the owner's pid, or 0. A second instance of an application may open again with
 * JOBQ_CLIENT (both with .shared), or leave; a standby tries until it is the owner.
 * Fails: MISUSE, BAD_TIME, LOCKED, CANT_OPEN, NOT_A_FILE, NOT_A_DB, FOREIGN, NEWER, BAD_STATE (an
 * older schema: a client's, or .migrate forbids),
 * READ_ONLY, BAD_SQLITE, UNSAFE_SQLITE (also at each later write of a client, as the owner
 * is by then), REMOTE, LINKED, NOT_FOUND (client: no queue there), BUSY, FULL, IO,
 * CORRUPT, MOVED, FORKED (open when this process was forked, by its parent), NO_MEMORY. */
static inline int jobq_open(const char *path, const jobq_options *options, jobq **q,
                            jobq_error *err);

/* The same for who cannot use this header (another language, a shared library): header_version is
 * the JOBQ_VERSION_NUMBER of the header by which the caller lays out the structs. MISUSE if it is
 * not of the library's own major and minor version. Otherwise as jobq_open. */
JOBQ_API int jobq_open_as(const char *path, const jobq_options *options, jobq **q,
                          jobq_error *err, int header_version);

static inline int jobq_open(const char *path, const jobq_options *options, jobq **q,
                            jobq_error *err) {
    return jobq_open_as(path, options, q, err, JOBQ_VERSION_NUMBER);
}

/* Stops (without grace), waits until no handler runs and no other call is inside,
 * closes, and sets *q to NULL, which handlers and callbacks may read until they have
 * ended. Calls that race with it get JOBQ_CLOSED; a handle
 * that was closed must not be used again. Does not delete anything.
 * When the last handler has returned, what is finished gets busy_ms to be written. If that cannot
 * be done (another connection writes, the disk is full, the queue has failed) the queue is closed
 * all the same, and the code says why: outcomes were dropped, and their jobs run again, charged
 * nothing, as after a crash that came before their commit. Who does not want that calls jobq_stop
 * while it is TIMEOUT, BUSY or FULL, and closes then.
 * Threads: any but a handler's or callback's. Blocks: until calls and handlers have returned, and
 * busy_ms.
 * Fails: MISUSE (NULL, or from a handler or callback; nothing is closed), FORKED
 * (nothing but memory of the child is touched); closed, but with outcomes dropped: BUSY, FULL, IO,
 * UNKNOWN, NO_MEMORY, CORRUPT, MOVED. */
JOBQ_API int jobq_close(jobq **q);

/* ==== 5. Kinds and handlers =============================================== */

/* A handler. It runs on a worker thread (step mode: on the caller's), outside all
 * locks, and returns an outcome; any other value, 0 (JOBQ_OK) too, counts as JOBQ_RETRY, with a
 * message that says so. run is valid until it returns. What it may call: h and t
 * in the list above. A child that it forks must end by exec or _exit, not return. */
typedef jobq_outcome (*jobq_handler)(jobq_run *run, void *ctx);

typedef struct jobq_kind {
    const char *name;       /* 1 to JOBQ_NAME_MAX bytes */
    jobq_handler run;
    void *ctx;              /* given to run and backoff */
    int attempts_max;       /* default 30; JOBQ_UNLIMITED. A failure after a run that lasted longer
                               than 3 x backoff_max_ms (or the last delay, if that was longer),
                               and 3 h, counts as the first again */
    int64_t backoff_min_ms; /* default 1 s. Delay after failing attempt n:           */
    int64_t backoff_max_ms; /* default 1 h. min(max, min * 2^min(n-1, 30)), then     */
    int jitter_percent;     /* default 20: uniform in +-20 %, and again min with max; 1 to 100, or
                               JOBQ_NONE. Min or max given alone moves the other's default
                               along: a min of 2 h makes the max 2 h, a max of 100 ms the min */
    int64_t timeout_ms;     /* of one run, by the queue's clock (an artificial one stands unless
                               somebody moves it): then jobq_should_stop is true, and nothing else
                               happens: what the handler returns counts. Default none, as
                               JOBQ_NONE */
    int crashes_max;        /* process deaths until failed; default 3; JOBQ_UNLIMITED */
    int64_t keep_done_ms;   /* default: the queue's */
    int64_t keep_failed_ms; /* default: the queue's */
    /* If set, gives the delay in place of formula, jitter and maximum; negative = fail for
     * good; JOBQ_UNLIMITED = the formula's, and a message that says so. Called on the handler's
     * thread, outside all locks; it may call what a handler may. */
    int64_t (*backoff)(int attempt, int64_t id, void *ctx);
} jobq_kind;

/* Tells who runs jobs of this kind. Jobs of a kind without a handler are parked:
 * visible, charged nothing; registering the kind makes them ready. Nobody is told that they wait
 * (for a name with a slip in it, say): jobq_count().parked and jobq_list show them.
 * A kind or queue whose name the file has lost (0.1.0 could do that) is called "lost:17", after its
 * number: its jobs wait for a handler of that name, or run in that queue.
 * Owns: the struct and its strings are copied; ctx must live until close.
 * Threads: any; before or after jobq_start. Blocks: one commit, and one for each 256 parked jobs.
 * Fails: MISUSE (no handler, client, or registered already), BAD_NAME, BAD_TIME,
 * FULL (more than JOBQ_NAMES_MAX names), and as jobq_enqueue. */
JOBQ_API int jobq_register(jobq *q, const jobq_kind *kind, jobq_error *err);

/* Starts the workers and the scheduler thread. Again after a stop is allowed; when
 * started already it does nothing but end what jobq_mark_exit began.
 * Threads: any but a handler's or a callback's. Blocks: until the threads exist (a second caller
 * meanwhile does not), and for a stop that is under way. What a stop that was cut short on a full
 * disk has left claimed goes back first, if others may have to start before it: that blocks, and
 * fails, as jobq_enqueue does. Fails: MISUSE (client or step mode), BUSY (handlers that outlived
 * the last stop's grace still run), NO_MEMORY (also: no thread could be had), IO (none with
 * stack_bytes), and the reason for which the queue has stopped for good. */
JOBQ_API int jobq_start(jobq *q, jobq_error *err);

/* Starts no further job, raises the stop flag of those that run, gives back what
 * was claimed, and waits up to grace_ms of real time (0 = the default, 5 s; JOBQ_NONE = do
 * not wait; JOBQ_NEVER = for ever) for the handlers to return; a commit of this process that is
 * under way, and a thread that has only to end, get up to 1 s more, and on_event is told first what
 * it has not been told yet, however long it takes. A handler that returns JOBQ_RETRY after the flag
 * was raised keeps its attempt and is due at once.
 * Returns JOBQ_OK at rest; JOBQ_TIMEOUT if handlers still run: they go on, what they
 * return is still settled, and if the process ends they are charged nothing. Another code, BUSY
 * mostly: the handlers have returned, but another connection kept the file, or the disk failed,
 * until the grace was over; the text tells how many outcomes are not on the disk. They are kept,
 * and the next jobq_stop, jobq_start or call that writes takes them along.
 * In step mode it ends the call by which another thread steps, runs or advances, after the
 * job that runs; the next such call goes on.
 * Idempotent, from several threads too. Threads: any but a handler's or a callback's.
 * Fails: TIMEOUT, BAD_TIME, MISUSE; outcomes not written yet: BUSY, FULL, NO_MEMORY; not written,
 * and their jobs run again when the queue is opened next, for it has stopped for good: IO, UNKNOWN,
 * CORRUPT, MOVED. */
JOBQ_API int jobq_stop(jobq *q, int64_t grace_ms, jobq_error *err);

/* Says that this process is about to end on purpose, so that no job that still runs, or
 * starts from now on, counts as crashed. In force until jobq_start (of a pool that runs, too); in
 * step mode until the queue is opened again. Safe in a signal handler, on any thread: it only
 * writes to mapped memory of the queues that are open. exit() does the same, but for the job on
 * whose own thread it is called (by the handler, its backoff, or a callback between): that one
 * counts as crashed, unless this was called before. Every other end, _exit, quick_exit, abort or a
 * signal, counts for all jobs that run at that moment. */
JOBQ_API void jobq_mark_exit(void);

/* Outcomes with more to say. Each remembers its detail in run and returns the outcome
 * for the handler to return. What the handler returns counts: the detail of the last one called
 * goes with it, or is dropped if that was another outcome. Text is cut at JOBQ_TEXT_MAX
 * bytes; format may be NULL; a negative time is now. Text and result are copied; a result for which
 * there is no memory makes it JOBQ_RETRY. A result of size 0 is kept as an empty one;
 * NULL is none, whatever its size; one of more than payload_max fails the job for good, with a
 * message that says so.
 * A delay of JOBQ_UNLIMITED makes it JOBQ_RETRY, with a message that says so.
 * Only in the handler, on its thread.
 * JOBQ_RESCHEDULE begins a new round: attempt 1, without crashes and checkpoint. JOBQ_SNOOZE and
 * JOBQ_RESCHEDULE returned without a time wait for the kind's backoff_min_ms. */
JOBQ_API jobq_outcome jobq_done(jobq_run *run, const void *result, size_t size);
JOBQ_API jobq_outcome jobq_retry(jobq_run *run, const char *format, ...) JOBQ_PRINTF(2, 3);
JOBQ_API jobq_outcome jobq_fail(jobq_run *run, const char *format, ...) JOBQ_PRINTF(2, 3);
JOBQ_API jobq_outcome jobq_reschedule_in(jobq_run *run, int64_t delay_ms);
JOBQ_API jobq_outcome jobq_reschedule_at(jobq_run *run, int64_t at_ms);
JOBQ_API jobq_outcome jobq_snooze(jobq_run *run, int64_t delay_ms);

/* What the handler can know. Strings and the payload are valid until it returns; the
 * payload is aligned to 8 bytes and followed by a zero that its size does not count. Only in
 * the handler, on its thread; run is not checked. */
JOBQ_API int64_t jobq_run_id(const jobq_run *run);
JOBQ_API jobq *jobq_run_handle(const jobq_run *run);
JOBQ_API const char *jobq_run_kind(const jobq_run *run);
JOBQ_API int jobq_run_attempt(const jobq_run *run);   /* from 1 */
JOBQ_API int jobq_run_crashes(const jobq_run *run);   /* process deaths so far */
JOBQ_API const void *jobq_run_payload(const jobq_run *run, size_t *size); /* size may be NULL */
JOBQ_API int64_t jobq_run_deadline(const jobq_run *run); /* at_ms, as the wall goes now, or
                                                            JOBQ_NEVER; ask again after a step */

/* The same and more in one record: queue, key, priority, runs, times, the last failure's message.
 * Valid until the handler returns, for its own thread only. Reads the file if the job has a key or
 * a message; NULL if that fails, and then JOBQ_RETRY is a good answer. A handler that does not call
 * it pays nothing. */
JOBQ_API const jobq_info *jobq_run_info(const jobq_run *run);

/* True once the run should end: cancelled, stopped, or past its deadline. It stays
 * true. JOBQ_RETRY answers all three: a cancel makes it cancelled; a stop keeps the attempt, and
 * drops the message; a timeout is a failed attempt ("the run took longer than its timeout", if the
 * handler says nothing). Any thread, as long as the handler has not returned. */
JOBQ_API bool jobq_should_stop(jobq_run *run);

/* Waits until duration_ms have passed by the queue's clock or jobq_should_stop is true.
 * Under an artificial clock its end is a wake, a moment at which jobq_advance stops on its way
 * (jobq_wakes); in step mode it moves that clock itself. Returns true if the run should stop, as it
 * should when duration_ms is JOBQ_UNLIMITED: that is no duration, and makes the run JOBQ_RETRY.
 * Only in the handler, on its thread, and not after jobq_run_db: elsewhere it does not wait. */
JOBQ_API bool jobq_run_sleep(jobq_run *run, int64_t duration_ms);

/* Begins the job's transaction and returns its connection, on which the handler may
 * read and write tables of its own. What it writes, and the jobs it enqueues from then
 * on, is committed together with JOBQ_DONE and rolled back with everything else; on a file jobq_get
 * and its like do not see it before, in the handler neither. Call
 * it late: it holds the file's only writer until the handler returns; other writers
 * wait up to busy_ms and then get JOBQ_BUSY.
 * COMMIT and ROLLBACK are refused (SQLITE_AUTH), and so are ATTACH, pragmas that would stay, and
 * changes of tables named jobq_*; reading these is allowed, and ANALYZE leaves them out. While
 * SQLITE_DBCONFIG_WRITABLE_SCHEMA is on, every change of the schema is refused. If the
 * handler tries to end the transaction all the same (or SQLite does end it, after an error),
 * nothing of it is kept, but for what a handler commits that has taken jobq's authorizer and commit
 * hook away, and the run counts as JOBQ_RETRY; so it is when COMMIT is refused for what
 * the handler wrote (a deferred foreign key, mostly), with SQLite's words as the message. When the
 * disk refuses it the job runs again after backoff_min_ms, and no attempt is charged. Savepoints
 * of its own are allowed; a job enqueued in one that is rolled back is gone, but on_event and the
 * statistics tell of it. Any other writing call on this thread is then JOBQ_MISUSE.
 * sqlite3_last_insert_rowid tells the handler's own last row, whatever it enqueues meanwhile;
 * sqlite3_changes, sqlite3_total_changes and sqlite3_errmsg do not outlast a call of jobq: read
 * them before it.
 * The next job finds the connection as on_connect left it: temporary tables, limits,
 * settings and hooks of this one are gone, some of them at the next call of jobq. Only
 * functions and collations that a handler registers may stay, what it has given to
 * sqlite3_collation_needed, and a pre-update hook where jobq.c was compiled without
 * SQLITE_ENABLE_PREUPDATE_HOOK. Keep no statement for another
 * job: the connection may be another then. On ":memory:" there is one connection: other
 * threads that look inside wait meanwhile, handlers that read their own checkpoint or info until
 * the transaction ends; and a look by the handler sees what it has written. Only
 * jobs can read these rows there: a test that wants to takes a file in a temporary directory.
 * It is opened when the first job asks for it, by the path: a process that gives up rights or
 * changes its root does so before jobq_open.
 * Returns JOBQ_OK and *db, the same on each call. Owns: jobq; do not close it.
 * Blocks: at most busy_ms for the writer. Fails: MISUSE (NULL, or another thread than the
 * handler's), BUSY (did not begin; jobq_snooze then costs no attempt), CANT_OPEN, READ_ONLY, MOVED,
 * IO, FULL, NO_MEMORY, CORRUPT, FORKED. */
JOBQ_API int jobq_run_db(jobq_run *run, struct sqlite3 **db, jobq_error *err);

/* Commits what was written through jobq_run_db, and the jobs enqueued with it, with JOBQ_SNOOZE and
 * JOBQ_RESCHEDULE, too: for a job that runs again and again and writes rows each time.
 *     return jobq_keep_writes(run, jobq_reschedule_in(run, JOBQ_MINUTE));
 * If the job is cancelled meanwhile, it ends and its rows are kept. With any other outcome, or
 * without jobq_run_db, it changes nothing. Returns outcome. Only in the handler, on its thread;
 * waits for nobody, cannot fail. */
JOBQ_API jobq_outcome jobq_keep_writes(jobq_run *run, jobq_outcome outcome);

/* Saves up to payload_max bytes that the next attempt of this job will find again, and forgives its
 * crashes: save after progress only, or a job that saves something each time before it kills its
 * process is never set apart. data NULL: there is no checkpoint any more; "" of size 0 is one. A
 * retry, a snooze, a stop and a crash leave it; a new round (JOBQ_RESCHEDULE, jobq_retry_now)
 * begins without one. Only in the handler, on its thread. Blocks: one commit. Fails: MISUSE (on
 * another thread, or after jobq_run_db), NOT_FOUND (another connection has taken the row away), and
 * as jobq_enqueue. Reading it: the bytes of the last save, aligned to 8, valid until the handler
 * returns or saves again; NULL and *size 0 if there is no checkpoint; NULL and *size SIZE_MAX if it
 * could not be read, and then JOBQ_RETRY is a good answer. size may be NULL. */
JOBQ_API int jobq_checkpoint(jobq_run *run, const void *data, size_t size, jobq_error *err);
JOBQ_API const void *jobq_run_checkpoint(jobq_run *run, size_t *size);

/* ==== 6. Enqueue ========================================================== */

/* Order. The ready jobs of a queue start by (priority, run time, id), from the return of the call
 * that made a job ready; with W workers a job is overtaken by at most W-1 later ones. Queues take
 * turns. Exceptions: a job that has met a crash waits while another such runs, until that one ends
 * or saves a checkpoint; of jobs that become due, or whose kind is registered, at one moment, 256
 * at a time are made ready, by run time. Until all of them are, those that are not yet are
 * overtaken by whatever is ready in their queue, jobs of their own kind that are stored meanwhile
 * included. */

/* A job whose key another one has that has not ended: */
typedef enum jobq_conflict {
    JOBQ_KEEP = 0,       /* that one stays and does for both: OK, with its id */
    JOBQ_REFUSE = 3      /* JOBQ_EXISTS */
} jobq_conflict;

typedef struct jobq_job {
    const char *kind;    /* 1 to JOBQ_NAME_MAX bytes; needs no handler yet */
    const char *queue;   /* default "default" */
    const void *payload; /* any bytes, size of them; none: NULL and 0 */
    size_t size;
    const char *text;    /* or: a string; the payload is its bytes without the zero */
    int priority;        /* lower is more urgent; default 0 */
    int64_t run_at_ms;   /* not before; default now. Milliseconds: time(NULL) * JOBQ_SECOND + ... */
    int64_t delay_ms;    /* or: not before now plus this. With JOBQ_NEVER, here or there, it waits
                            for jobq_retry_now or jobq_cancel */
    const char *key;     /* at most one unfinished job per kind and key. In a file of UTF-16 all
                            bytes that are no UTF-8 count as one and the same */
    jobq_conflict conflict;
} jobq_job;

/* What became of one row of jobq_enqueue_many. */
typedef struct jobq_stored {
    int64_t id; /* of the job that stands for this row */
    int how;    /* JOBQ_NEW or JOBQ_KEPT; 0 when the call failed */
} jobq_stored;

enum jobq_how {
    JOBQ_NEW = 1, /* stored */
    JOBQ_KEPT     /* not stored: that job, or an earlier row, has the key */
};

/* Stores a job. When it returns JOBQ_OK the job is durable and *id (may be NULL) is its
 * id; ids rise, and ids of committed jobs are never used again. If a job of this kind with this
 * key has not ended, nothing is stored, not the payload either, and *id is that job (JOBQ_KEEP,
 * counted in jobq_stats.kept; jobq_enqueue_many tells which of the two it was), or it is
 * JOBQ_EXISTS with the job in err->id (JOBQ_REFUSE). One that runs has not ended, and may have
 * begun before what you wanted done had changed. On failure *id is 0.
 * In a file of UTF-16 a kind or queue that is not UTF-8 is JOBQ_BAD_NAME: it would come back as
 * another one.
 * Owns: everything is copied. Threads: any, handlers too (after jobq_run_db the job is
 * part of that transaction). Blocks: for one commit, shared with other callers.
 * Fails: MISUSE (run_at_ms and delay_ms together; a payload without a size, or a size without one;
 * text beside payload or size), EXISTS, BAD_NAME, BAD_TIME, TOO_BIG, BUSY, FULL, IO, UNKNOWN,
 * NO_MEMORY, CLOSED, FORKED, CORRUPT, MOVED; a client also UNSAFE_SQLITE or MISUSE (the owner does
 * not say .shared), READ_ONLY (it may look only: see mode).
 * FULL: the file holds JOBQ_NAMES_MAX names, or the disk is full, or would leave no room to finish
 * what is in the queue. Jobs go on, but slowly: few are settled by a commit, in the end one, and
 * the log is copied after each; done and cancelled ones may be dropped before their time then,
 * messages and results not be stored. New work is accepted when there is space, or when older jobs
 * that are done have given way. */
JOBQ_API int jobq_enqueue(jobq *q, const jobq_job *job, int64_t *id, jobq_error *err);

/* Stores count jobs in one transaction: all of them or none. Rows with JOBQ_KEEP whose key is taken
 * are kept ones and fail nothing; one with JOBQ_REFUSE fails the whole call (JOBQ_EXISTS). rows may
 * be NULL, else it has count of them. err->at is the row that was wrong, and the text names it;
 * when an earlier row of the call has the key, err->id is 0, since that is not stored either.
 * Everything else as jobq_enqueue. */
JOBQ_API int jobq_enqueue_many(jobq *q, const jobq_job *jobs, size_t count, jobq_stored *rows,
                               jobq_error *err);

/* RELAXED: one commit that is synced; when it returns JOBQ_OK everything acknowledged
 * before survives power loss. DURABLE: does nothing. Threads: any. Fails as jobq_enqueue. */
JOBQ_API int jobq_flush(jobq *q, jobq_error *err);

/* Owner: look now for jobs that another connection has committed; without this, or poll_ms, they
 * are found when the queue is opened next, or by chance. Threads: any. Blocks: no.
 * Fails: MISUSE (client), CLOSED, FORKED. */
JOBQ_API int jobq_notify(jobq *q, jobq_error *err);

/* ==== 7. Change =========================================================== */

/* Pending: cancelled at once. Running: raises its stop flag, and is written down; if the handler
 * then returns JOBQ_DONE or JOBQ_FAIL that stands, everything else becomes cancelled, also if the
 * process ends first: then the next open does it. Again is allowed, and does nothing more.
 * Threads: any. Blocks: one commit. Fails: NOT_FOUND, BAD_STATE (terminal already), MISUSE
 * (client), as jobq_enqueue. */
JOBQ_API int jobq_cancel(jobq *q, int64_t id, jobq_error *err);

/* Makes a failed, cancelled or scheduled job due at once, in a new round: attempt 1, its crashes
 * forgiven, without a checkpoint; the last failure's message stays until the next.
 * Threads: any. Blocks: one commit. Fails: EXISTS (another job has its key by now: err->id),
 * NOT_FOUND, BAD_STATE (done, running, due already, or parked: its kind wants jobq_register),
 * MISUSE (client), as jobq_enqueue. */
JOBQ_API int jobq_retry_now(jobq *q, int64_t id, jobq_error *err);

/* Forgets a job in any state but running. Who waits for it gets NOT_FOUND. Threads: any. Blocks:
 * one commit. Fails: NOT_FOUND, BUSY (running), MISUSE (client), as jobq_enqueue. */
JOBQ_API int jobq_delete(jobq *q, int64_t id, jobq_error *err);

/* ==== 8. Look inside ====================================================== */

struct jobq_info {
    int64_t id;
    jobq_state state;
    bool parked;               /* pending; its turn came, but its kind has no handler */
    bool scheduled;            /* pending, and its time has not come */
    char kind[JOBQ_NAME_MAX + 1];
    char queue[JOBQ_NAME_MAX + 1];
    char key[JOBQ_KEY_MAX + 1];
    char error[JOBQ_TEXT_MAX + 1]; /* the last failure's message, when done as well */
    int priority;
    int attempt;               /* due, running, or the last one */
    int runs;                  /* starts ever */
    int crashes;
    int64_t created_at_ms, run_at_ms;
    int64_t finished_at_ms;    /* terminal only, else 0 */
    size_t payload_size, result_size;
};

/* Reads one job. Threads: any. Blocks: shortly, never for a writer.
 * Fails: NOT_FOUND (also: finished and not kept), MISUSE, BUSY (":memory:": a job's transaction has
 * lasted for busy_ms; a file: for 1 s its log was being recovered), IO, CORRUPT, NO_MEMORY, CLOSED,
 * FORKED. */
JOBQ_API int jobq_get(jobq *q, int64_t id, jobq_info *info, jobq_error *err);

/* Copies up to capacity bytes of a job's payload, or of its result, into buffer; *size (may be
 * NULL) is the whole size; no zero stands behind it. Of no result, of an empty one, and before the
 * job has ended the size is 0. Owns: the caller's buffer. Threads, blocks and fails: as jobq_get,
 * and MISUSE (buffer NULL with a capacity). */
JOBQ_API int jobq_get_payload(jobq *q, int64_t id, void *buffer, size_t capacity,
                              size_t *size, jobq_error *err);
JOBQ_API int jobq_get_result(jobq *q, int64_t id, void *buffer, size_t capacity,
                             size_t *size, jobq_error *err);

typedef struct jobq_filter {
    jobq_state state;   /* JOBQ_STATE_NONE = any */
    const char *kind;   /* NULL = any */
    const char *queue;  /* NULL = any */
    int64_t rows_max;   /* rows that one call may look at; default 10,000 */
    const char *key;    /* NULL = any; else the kind is needed, too */
} jobq_filter;

/* Where a listing stands. Zero it to begin: jobq_cursor cursor = {.done = false}. */
typedef struct jobq_cursor {
    int64_t after[4];
    int stage;
    bool done;
} jobq_cursor;

/* Writes up to capacity matching jobs into infos and *count; call again with the same
 * cursor until cursor->done. A call that reaches its row budget may write fewer, even none. Where
 * no job has the kind, the queue and the state, as the counters say (jobq_count), the first call is
 * the last one, however many jobs there are.
 * Order: with a key, or without a state, by id. Pending jobs: those that wait for their kind's
 * handler, those that are scheduled, then the ready ones by queue, or these first if the filter
 * names a queue; each part by priority and due time; last those that are claimed. Finished ones: by
 * the time until which they are kept. No snapshot, within a call neither: a job that changes its
 * place meanwhile may come twice or not at all; one that has the filter's key comes once. So a
 * listing that makes its jobs move on may never end: one that has failed, is tried again and fails
 * again comes again. Collect the ids first, or take no more than jobq_count has told.
 * What is looked at, beside a few others. With a key: the jobs that have it, or had it and are
 * kept. Failed: the failed ones; running: the claimed ones. Pending: of the ready ones those of the
 * filter's queue, so that they are found at once whatever else waits; of those that wait for their
 * handler those of its kind; and all that are scheduled. What the filter does not name is looked at
 * whole: all that wait for a handler where it has no kind, all ready ones where it has no queue.
 * Done or cancelled: all that has ended. Without a state and a key: all jobs.
 * On failure *count is 0 and the cursor stays.
 * Threads: any. Blocks: for that, never for a writer, and lets others look every 256 rows.
 * Fails: MISUSE (also: a key without a kind), BAD_NAME, and as jobq_get but for NOT_FOUND. */
JOBQ_API int jobq_list(jobq *q, const jobq_filter *filter, jobq_cursor *cursor,
                       jobq_info *infos, size_t capacity, size_t *count, jobq_error *err);

typedef struct jobq_counts {
    int64_t ready, scheduled, parked, running, done, failed, cancelled;
} jobq_counts;

/* How many jobs are in which state, exactly, at one moment. The queue keeps counters of its jobs:
 * however many there are, it takes about as long as reading 1000 of them, well below a millisecond,
 * besides those that are due and were not made ready yet. A job that a client has stored counts as
 * ready, also where nobody handles its kind, until the owner has looked at it. Longer only where
 * jobs are still to be counted: a file that 0.1.0 has left, what clients have stored while no owner
 * was there, a repair; the owner does that with what it writes next. Threads: any. Blocks: for
 * that, never for a writer. Fails: MISUSE, and as jobq_get but for NOT_FOUND. */
JOBQ_API int jobq_count(jobq *q, jobq_counts *counts, jobq_error *err);

/* One line of text, without a line break, with a zero behind it, valid during the call. */
typedef int (*jobq_line)(const char *text, size_t size, void *ctx);

/* The doctor: looks whether the file is as jobq leaves it: SQLite's quick_check, then every row of
 * every table of jobq's, and what they say of each other. say (may be NULL) is told of each fault
 * in a line: table, row, column, what is wrong, and what a repair does about it, or has done;
 * *faults (may be NULL) is how many there were. They are no failure of the call. When say answers
 * with something else than 0 the check ends there, with JOBQ_OK, and *faults is how many were told.
 * repair: puts right what can be without losing a job; what is right is not touched, and a second
 * check finds nothing but what was left. It makes indexes anew, counts jobs anew where jobq_count
 * would be wrong, puts rows where they belong, gives claimed rows that nobody has back without
 * charging a crash, and deletes what belongs to no job, or stands where this version writes
 * nothing: in a file of a newer schema that is left alone.
 * A job whose end is damaged is kept among the failed ones; of two that have one key the later one
 * stays without. A job whose payload is gone has none from then on; one that waits is kept among
 * the failed ones, says so in its error, and frees its key (no event tells; jobq_retry_now runs it
 * without payload: storing it anew is better). Jobs whose kind or queue is no number get one
 * without a name, and wait on as of "lost:N". Where it has to put right how far the queue's own
 * time is from the wall (offset_ms in jobq_claims), durations for which jobs wait by then end
 * earlier or later by as much. Left, and told, are a payload that is another than its row says, the
 * row of a job that runs, and what SQLite cannot read. Where damage has stopped the queue
 * (JOBQ_CORRUPT), or it was opened so (.damaged), a repair is possible still; then close it, and
 * open it again.
 * Threads: any. say is called on this one with nothing locked; it may call what the caller may,
 * but not jobq_close. Blocks: for all of the file, on a connection of its own (on_connect: a
 * reader), in slices of 1,000 rows, while others store and jobs run; a snapshot is longer only for
 * quick_check. Opening that connection waits for a job's transaction, at most busy_ms (BUSY).
 * Repairs are short transactions, of 32 rows; an index that is made anew is one, as long as that
 * takes. On ":memory:" others wait for each slice.
 * Fails: MISUSE (repair by a client; after jobq_run_db), and as jobq_get but for NOT_FOUND; with
 * repair as jobq_enqueue. */
JOBQ_API int jobq_check(jobq *q, bool repair, jobq_line say, void *ctx, int64_t *faults,
                        jobq_error *err);

typedef struct jobq_stats {
    int64_t kept;        /* not stored, because a job had the key (JOBQ_KEEP); since open */
    int64_t enqueued, started, done, retried, failed, cancelled, crashed; /* since open */
    int64_t commits, checkpoints;
    int64_t lost_outcomes; /* came when the job had ended, or was run again, by then */
    int64_t wal_pages;   /* pages in the log after the last commit */
    int running, claimed;/* now */
    int workers;
    bool started_now;    /* the pool runs */
    int failed_code;     /* JOBQ_OK, or why the queue has stopped for good */
} jobq_stats;

/* Counters since open, O(1), no disk. A client's are of its own calls: of the owner it knows
 * nothing. Threads: any. Fails: MISUSE, CLOSED, FORKED. */
JOBQ_API int jobq_stat(jobq *q, jobq_stats *stats, jobq_error *err);

/* Waits up to timeout_ms of the queue's clock (0 = the default, as JOBQ_NONE: do not wait;
 * JOBQ_NEVER = for ever) until the job is terminal and on_event, if there is one, has been told of
 * it; when only the telling takes longer than timeout_ms the answer is JOBQ_OK all the same. *info
 * (may be NULL) is what jobq_get would have told at that moment; for a job that is not kept only
 * id, state, attempt and error. In step mode another thread has to step. Hold nothing that on_event
 * wants. Threads: any but a handler's or a callback's. Blocks: until then; on ":memory:", where
 * nobody can look beside a job's transaction, it waits for that by timeout_ms, too. Fails, and says
 * what the job waits for: TIMEOUT; BAD_STATE (nobody could end this: the process has no other
 * thread, and the pool is not started, or it is step mode); STALLED (artificial clock: nothing went
 * on for stall_ms of real time). Also: NOT_FOUND (also: ended before the call and is not kept, or
 * was deleted while we waited), BAD_TIME, MISUSE (client), CLOSED (the queue is being closed), and
 * as jobq_get but for BUSY. */
JOBQ_API int jobq_wait(jobq *q, int64_t id, int64_t timeout_ms, jobq_info *info,
                       jobq_error *err);

/* The same in SQL, for a shell, a dashboard, or a handler (jobq_run_db): the views named here are
 * API. A column keeps its name, its place and its meaning; new ones come at the end, and there may
 * be new words. What else is called jobq_... is the inside, and changes (jobq_tally, too).
 * Look read-only, on a connection of your own with sqlite3_busy_timeout. That disturbs nobody; but
 * while a transaction reads, the log cannot begin anew, and grows: keep it short. Into ":memory:"
 * only handlers can look, into an exclusive file only its process.
 * Times are milliseconds since the Unix epoch, sizes bytes; what a job does not have is NULL.
 *
 *   jobq_jobs    a row for each job; with an id it is found at once, else all are looked at
 *     id, kind, queue
 *     state      'pending', 'claimed', 'done', 'failed', 'cancelled'. Of the claimed ones only the
 *                owner knows which run already: its jobq_get tells
 *     waits_for  of a pending one: 'turn', it is ready; 'suspects', it has met a crash, and such
 *                run one at a time; 'time', it is scheduled, or due and was not made ready yet;
 *                'handler', it is parked
 *     priority, attempt, runs, crashes: as in jobq_info, but runs counts a claim already
 *     created_at_ms, run_at_ms, and once it has ended finished_at_ms, kept_until_ms
 *     job_group  NULL, until there are groups
 *     job_key, error, payload_size, result_size: the bytes only jobq_get_payload and
 *                jobq_get_result give
 *   jobq_dead    the same of the failed ones alone, in the order of kept_until_ms, id
 *   jobq_queues, jobq_kinds    as fast as jobq_count; a row for each that has jobs, or had some
 *     queue or kind, and how many of its jobs are ready ('turn' or 'suspects'), scheduled
 *                ('time'), blocked ('handler'), claimed, done, failed, cancelled
 *   jobq_rules   empty, until there are limits
 *     what       'queue', 'kind' or 'group', and its name
 *     layer      'declared' by the program, or 'overridden' by hand
 *     running_max, rate, rate_ms, burst, weight, reserved, job_order, ageing_ms, strict, paused,
 *     set_by, set_at_ms, until_ms */

/* ==== 9. Time in your hand: artificial clock, step mode, event loops ======= */

/* A clock that moves only when told; a negative start is 0. One may serve several queues; free it
 * after they are closed. NULL if memory is out; to free NULL does nothing. Any thread. */
JOBQ_API jobq_clock *jobq_clock_artificial(int64_t start_at_ms);
JOBQ_API void jobq_clock_free(jobq_clock *clock);

/* Reads a clock; NULL is the system's. Any thread. */
JOBQ_API int64_t jobq_clock_now(jobq_clock *clock);

/* Moves an artificial clock forward by duration_ms and fires nothing: this is how a handler in
 * a test takes five minutes. Saturates; negative or JOBQ_UNLIMITED moves nothing, and nothing moves
 * the system's (NULL). Any thread. */
JOBQ_API void jobq_clock_advance(jobq_clock *clock, int64_t duration_ms);

/* Steps an artificial clock to at_ms, forth or back (negative is 0), as whoever sets the system's
 * clock does. No time passes by it: a deadline, a sleep and a wait take as long as before, and a
 * run is as old as it was; a delay, a backoff and a snooze, too. Jobs that wait for a point in time
 * follow: due at once if it has come, else then; a job that was made ready before stays so. A pool
 * notices by itself; a queue that is in step mode, or not started, with its next call. Any
 * thread. */
JOBQ_API void jobq_clock_set(jobq_clock *clock, int64_t at_ms);

/* Moves the queue's artificial clock by duration_ms, from wake to wake, firing each at its own
 * time and letting the queue come to rest in between: handlers run, retries that fall due within
 * the span run too. *fired (may be NULL) is how many wakes were fired. In step mode the jobs run
 * on the caller's thread. A running handler's deadline, its jobq_run_sleep, and the end of another
 * thread's jobq_wait are wakes as well.
 * A handler that waits for its deadline without jobq_run_sleep is given 100 ms of real time, if the
 * deadline lies within the span; in step mode one that keeps looking at jobq_should_stop, a hundred
 * times at least. A handler that waits for something else is waited for there: it has the thread.
 * A pool that was not started (jobq_start), or was stopped, runs nothing meanwhile, and that is no
 * error: the clock moves as it does while a device is off.
 * Threads: any, one at a time in step mode. Blocks: until the queue rests.
 * Fails: MISUSE (system clock, from a handler, client), BAD_TIME (JOBQ_NEVER, too), STALLED (no
 * rest within stall_ms of real time, in step mode too, as with a job that is always due again, or
 * jobq_stop ended it; the clock stays where it has come to, and the next call goes on there), and
 * as jobq_enqueue. */
JOBQ_API int jobq_advance(jobq *q, int64_t duration_ms, int *fired, jobq_error *err);

/* The same to the next wake, however far. Housekeeping, such as dropping finished jobs whose time
 * is over, is no wake: it is seen to when the clock moves, within two minutes of it. Fails:
 * NOT_FOUND (there is no wake); otherwise as jobq_advance. */
JOBQ_API int jobq_advance_to_next(jobq *q, jobq_error *err);

/* How many wakes are pending, the moments at which something happens by itself: the earliest
 * scheduled job, each running handler's deadline or sleep, each wait's end. 0 on error.
 * Threads: any. */
JOBQ_API int jobq_wakes(jobq *q);

/* Step mode (workers = JOBQ_NONE): runs at most one due job on this thread and returns when its
 * outcome is durable. *ran (may be NULL) is 0 or 1. Housekeeping that is due (finished jobs are
 * dropped, the file becomes smaller) goes on by a slice before and after. Threads: any, one at a
 * time. Blocks: for the handler, and for a commit or two before and after it.
 * Fails: MISUSE (not step mode, from a handler, client), BUSY (another thread steps), and as
 * jobq_enqueue; an outcome that could not be written is kept and written by the next step. */
JOBQ_API int jobq_step(jobq *q, int *ran, jobq_error *err);

/* Step mode: runs due jobs until none is due; *ran (may be NULL) counts them. Each commit settles
 * one job and claims the next. It takes as long as that takes: a job that is always due again keeps
 * it until jobq_stop, from another thread; who wants another end counts calls of jobq_step.
 * Otherwise as jobq_step. */
JOBQ_API int jobq_run_until_idle(jobq *q, int64_t *ran, jobq_error *err);

/* *at_ms is when the queue next has something to do by its clock: now or earlier if a job is, or
 * may be, ready (soon, if another connection kept the last step from writing), or when it is to
 * look for others' jobs (poll_ms) or to drop finished ones (these two not by an artificial clock);
 * JOBQ_NEVER if nothing is known. With on_wake this is all that a foreign event
 * loop needs. A run's deadline and other durations are told as the wall goes now: ask again when
 * it was set. Threads: any. Fails: MISUSE (client), CLOSED, FORKED. */
JOBQ_API int jobq_next_deadline(jobq *q, int64_t *at_ms, jobq_error *err);

#ifdef __cplusplus
}
#endif

#endif /* JOBQ_H */
