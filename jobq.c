/* jobq.c - a durable job queue and scheduler in two C files, over SQLite.
 *
 * Version 0.2.0. Generated from amalgamation/ - edit there, then make jobq.c.
 *
 * Contents. Search for the name between rows of = signs.
 *
 *   prelude
 *     base.h          standard headers, linkage, assertions, saturation
 *     limits.h        every number that bounds or tunes the engine, with its reason
 *     stored.h        every number that reaches the file, and those that are not used again
 *
 *   leaves
 *     list.h          intrusive doubly linked list
 *     mem.h           the one allocator
 *     mem.c           the one allocator
 *     err.h           codes to names, error records
 *     err.c           codes to names, error records
 *     os.h            threads, clocks, atomics, files: the whole porting contract
 *     os.c            threads, clocks, atomics, files for POSIX
 *     clock.h         the readings of time: wall, monotonic, and an artificial clock's
 *     clock.c         the readings of time: wall, monotonic, and an artificial clock's
 *     files.h         which files a path means: resolved once, looked at, made, watched
 *     files.c         which files a path means: resolved once, looked at, made, watched
 *     owner.h         one owner per file: the lock, the slots that outlive a process, forks
 *     owner.c         one owner per file: the lock, the slots that outlive a process, forks
 *     wheel.h         hierarchical timing wheel; owns no clock, lock or memory
 *     wheel.c         hierarchical timing wheel; owns no clock, lock or memory
 *     backoff.h       retry delay and jitter, pure functions
 *     backoff.c       retry delay and jitter, pure functions
 *     state.h         the job's states and legal edges
 *     state.c         the job's states and legal edges
 *
 *   storage
 *     sql.h           every statement, by name
 *     db.h            connections, pragmas, statements, SQLite's codes
 *     db.c            connections, pragmas, statements, SQLite's codes
 *     guard.h         the connection that handlers get: what they may do, how the next finds it
 *     guard.c         the connection that handlers get: what they may do, how the next finds it
 *     column.h        what a row may hold: each value is checked where it enters
 *     column.c        what a row may hold: each value is checked where it enters
 *     schema.h        tables, identity, version
 *     schema.c        tables, identity, version
 *     migrate.h       a file of an older schema becomes one of this version
 *     migrate.c       a file of an older schema becomes one of this version
 *     store.h         the seam: jobs above it, SQL below it
 *     store.c         what a store is besides its rows: connections, transactions, the log
 *     store_write.c   what changes rows: enqueue, claim, settle, promote, recover
 *     store_count.c   how many jobs are where, by queue and kind
 *     store_read.c    what reads rows: get, list, count
 *     audit.h         what has to hold in the tables: looked at in slices, and put right
 *     audit_rules.c   what has to hold in the tables, rule by rule, and what puts it right
 *     audit_count.c   what the counters say against what their rows come to
 *     audit.c         what has to hold in the tables: looked at in slices, and put right
 *
 *   runtime
 *     gate.h          what a job passes on its way from waiting to claimed
 *     gate.c          what a job passes on its way from waiting to claimed
 *     event.h         events after commit, in order, one deliverer
 *     event.c         events after commit, in order, one deliverer
 *     registry.h      names to kinds and queues
 *     registry.c      names to kinds and queues
 *     core.h          struct jobq, the lock table, who may touch what
 *     core.c          struct jobq: the few questions that every room asks
 *     wake.h          who sleeps, on what, and who wakes it
 *     wake.c          who sleeps, on what, and who wakes it
 *     fail.h          what stops a queue for good, and what its calls say from then on
 *     fail.c          what stops a queue for good, and what its calls say from then on
 *     disk.h          the disk under the queue: the reserve, full-disk mode, files that moved
 *     disk.c          the disk under the queue: the reserve, full-disk mode, files that moved
 *     turn.h          whose turn it is to write: other connections, other processes
 *     turn.c          whose turn it is to write: other connections, other processes
 *     baton.h         the baton: who may write, who waits for it, and in which order
 *     baton.c         the baton: who may write, who waits for it, and in which order
 *     log.h           checkpoints: when the log is copied into the database, and how
 *     log.c           checkpoints: when the log is copied into the database, and how
 *     ring.h          the ordered window of claimed jobs
 *     ring.c          the ordered window of claimed jobs
 *     tx_gates.h      gates that have opened, and whose rows were not all moved yet
 *     tx_gates.c      gates that have opened, and whose rows were not all moved yet
 *     check.h         what has to hold after each commit; asserted in debug builds
 *     check.c         what has to hold after each commit; asserted in debug builds
 *     tx_entry.h      a claimed job in memory, and the places it holds
 *     tx_entry.c      a claimed job in memory, and the places it holds
 *     tx_place.h      where a job waits: before which gate, in which lane
 *     tx_place.c      where a job waits: before which gate, in which lane
 *     tx_names.h      names of kinds and queues: found, added, and known after COMMIT
 *     tx_names.c      names of kinds and queues: found, added, and known after COMMIT
 *     tx_tell.h       what is to be told of a transaction: events, and who waits for a job
 *     tx_tell.c       what is to be told of a transaction: events, and who waits for a job
 *     tx_count.h      how many jobs are where: what a transaction adds to the counters
 *     tx_count.c      how many jobs are where: what a transaction adds to the counters
 *     door.h          the one way from state to state: a job takes every edge here
 *     door.c          the one way from state to state: a job takes every edge here
 *     tx_order.h      the order of what starts: ready rows sort after what is claimed
 *     tx_order.c      the order of what starts: ready rows sort after what is claimed
 *     tx.h            what one transaction does: settle, store, promote, claim
 *     tx.c            a transaction's life: open, reset, mark, undo, and what COMMIT makes true
 *     tx_settle.c     what becomes of a job: outcomes are written, jobs end
 *     tx_enqueue.c    new jobs: what a caller gives becomes a row, and the row gets its place
 *     tx_claim.c      what fills the ring: promote, park, claim, and the claims row
 *     alter.h         what callers change of a job: cancel, try again, delete
 *     alter.c         what callers change of a job: cancel, try again, delete
 *     commit.h        one transaction for a group: who leads it, and what a failure takes along
 *     commit.c        one transaction for a group: who leads it, and what a failure takes along
 *     run.h           one run of one job, as its handler sees it
 *     run.c           one run of one job, as its handler sees it
 *     recover.h       what the owner before left claimed goes back
 *     recover.c       what the owner before left claimed goes back
 *     repair.h        what the doctor puts right: the transaction in which it does
 *     repair.c        what the doctor puts right: the transaction in which it does
 *     pool.h          workers: take, run, hand in
 *     pool.c          workers: take, run, hand in
 *     scheduler.h     the scheduler thread, the wheel's actions, step and advance
 *     scheduler.c     the scheduler thread, the wheel's actions, step and advance
 *     life.h          the pool's life: start, stop, and what is left when the grace is over
 *     life.c          the pool's life: start, stop, and what is left when the grace is over
 *
 *   api
 *     config.h        defaults and checks of what the caller gives
 *     config.c        defaults and checks of what the caller gives
 *     api.h           the porch: every public call goes in and out through it
 *     api.c           open, start, stop, close, register
 *     api_jobs.c      enqueue, flush, cancel, retry, delete: what callers want written
 *     api_look.c      get, list, count, stat, payload, result: looks that change nothing
 *     api_time.c      advance, step, run until idle: for who has no threads, or a clock of his
 *     api_wait.c      waits for a job, and says what it waits for
 *     api_check.c     the doctor: looks whether the file is as it should be, and puts it right
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
#define JOBQ_AMALGAMATION 1

#ifdef __cplusplus
#error "jobq.c is C: compile it by a C compiler and link it; jobq.h is for C and C++"
#endif
#undef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64
#undef _TIME_BITS
#define _TIME_BITS 64
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE 1 /* flock, MAP_ANONYMOUS */
#endif

#include "jobq.h"

#if JOBQ_VERSION_NUMBER != 2000
#error "jobq.h and jobq.c are of different versions: copy both files"
#endif

/*==== base.h ====*/
/* base.h - what every module sees: standard headers, linkage, assertions, saturation. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/base.h"
#endif
#ifndef JOBQ__BASE_H
#define JOBQ__BASE_H

#ifdef __cplusplus
#error "jobq.c is C: compile it by a C compiler and link it; jobq.h is for C and C++"
#endif
/* Files over 2 GiB and times after 2038 on 32 bits, whatever the compiler is told. */
#undef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64
#undef _TIME_BITS
#define _TIME_BITS 64
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE 1 /* flock, MAP_ANONYMOUS */
#endif

/* #include "jobq.h" */

#include <assert.h>
#include <stdarg.h>
#include <string.h>

/* Linkage is written here and nowhere else: JOBQ__INTERNAL is shared between modules,
 * so it is static in the generated file and extern when the modules are built apart. The unit
 * tests set it, to reach into the generated file. */
#ifdef JOBQ__INTERNAL
#elif defined JOBQ_AMALGAMATION
#define JOBQ__INTERNAL static
#else
#define JOBQ__INTERNAL extern
#endif

/* For our own bugs only. The caller's and the disk's errors are checked, always. */
#ifdef JOBQ_DEBUG
#define jobq__assert(condition) assert(condition)
#else
#define jobq__assert(condition) ((void)(0 && (condition)))
#endif

#define JOBQ__COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define JOBQ__CONTAINER(pointer, type, member) \
    ((type *)(void *)((char *)(pointer) - offsetof(type, member)))
#define JOBQ__STRING_(text) #text
#define JOBQ__STRING(text) JOBQ__STRING_(text)
/* One of the two is evaluated twice: for values; calls go to the functions. */
#define JOBQ__MIN(a, b) ((a) < (b) ? (a) : (b))
#define JOBQ__MAX(a, b) ((a) > (b) ? (a) : (b))
static inline int64_t jobq__min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t jobq__max(int64_t a, int64_t b) { return a > b ? a : b; }

/* A table of legal edges has for each state the states that may follow it. Whoever changes such a
 * state does so in one function, which asserts the edge. */
#define JOBQ__EDGE(to) (1u << (to))
#define JOBQ__LEGAL(edges, from, to) \
    jobq__legal(edges, (int)JOBQ__COUNT(edges), (int)(from), (int)(to))

static inline bool jobq__legal(const unsigned *edges, int count, int from, int to) {
    if (from < 0 || from >= count || to < 0 || to >= count) return false;
    return (edges[from] & JOBQ__EDGE(to)) != 0;
}

/* a + b for times: saturates at both ends, so JOBQ_NEVER stays never. */
static inline int64_t jobq__add(int64_t a, int64_t b) {
    if (b > 0 && a > INT64_MAX - b) return INT64_MAX;
    if (b < 0 && a < INT64_MIN - b) return INT64_MIN;
    return a + b;
}

/* a - b, saturating. */
static inline int64_t jobq__sub(int64_t a, int64_t b) {
    if (b < 0 && a > INT64_MAX + b) return INT64_MAX;
    if (b > 0 && a < INT64_MIN + b) return INT64_MIN;
    return a - b;
}

/* Milliseconds in microseconds, saturating. */
static inline int64_t jobq__to_us(int64_t ms) {
    if (ms > INT64_MAX / 1000) return INT64_MAX;
    return ms < INT64_MIN / 1000 ? INT64_MIN : ms * 1000;
}

#endif

/*==== limits.h ====*/
/* limits.h - every number that bounds or tunes the engine, with its reason. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/limits.h"
#endif
#ifndef JOBQ__LIMITS_H
#define JOBQ__LIMITS_H

/* #include "base.h" */

/* The second size is that of JOBQ_SMALL, a build for tests (make small): a few jobs reach there
 * what otherwise takes hundreds, a ring that is full, a second slice, a list that grows. */
#ifdef JOBQ_SMALL
#define JOBQ__SIZE(size, small) small
#else
#define JOBQ__SIZE(size, small) size
#endif

/* ---- Defaults of options (jobq.h quotes them; this is where they live) ---- */

#define JOBQ__WORKERS 4
#define JOBQ__BUSY_MS (5 * JOBQ_SECOND)
#define JOBQ__SHARED_POLL_MS JOBQ_SECOND /* of a queue that is shared; others do not poll */
#define JOBQ__KEEP_DONE_MS (24 * JOBQ_HOUR)
#define JOBQ__KEEP_FAILED_MS (7 * JOBQ_DAY)
#define JOBQ__PAYLOAD_MAX (1024 * 1024)
/* Measured on the engine, against SQLite's least work for a job with its default of 4 KiB: with
 * pages of 2 KiB one enqueue writes 5.1 KB instead of 9.3 and is 1.3 times as fast, and a drain
 * reaches 0.9; with 1 KiB it writes 3.0 KB, but a drain takes a third more of the processor. */
#define JOBQ__PAGE_SIZE 2048
#define JOBQ__WAL_PAGES 2000 /* of these pages: 4 MB */
#define JOBQ__STALL_MS (10 * JOBQ_SECOND)
#define JOBQ__GRACE_MS (5 * JOBQ_SECOND)
#define JOBQ__ROWS_MAX 10000

/* What a thread of ours needs at least, with a small handler. SQLite's deepest calls and a commit
 * took 32 KiB of it. */
#define JOBQ__STACK_MIN (64 * 1024)
#define JOBQ__STACK_MAX (1024 * 1024 * 1024)

/* Of the files that are made: whoever may write them runs the queue. */
#define JOBQ__FILE_MODE 0600

/* Retry after Galoy: 18.1 hours from the first failure to the dead letter box. */
#define JOBQ__ATTEMPTS_MAX 30
#define JOBQ__BACKOFF_MIN_MS JOBQ_SECOND
#define JOBQ__BACKOFF_MAX_MS JOBQ_HOUR
#define JOBQ__JITTER_PERCENT 20
#define JOBQ__CRASHES_MAX 3

/* ---- The commit path ---- */

/* Outcomes and claims of one transaction: beyond 256 a larger batch gains nothing. */
#define JOBQ__BATCH JOBQ__SIZE(256, 2)
/* As how many of those that a transaction moves one counts which it ends: those change pages of
 * other tables, too. 256, scattered over 100,000, took 18 ms and 1,200 pages. */
#define JOBQ__END_MOVES 4
/* Requests of one transaction, so that a leader returns. */
#define JOBQ__GROUP JOBQ__SIZE(256, 2)
/* Jobs claimed ahead: more than a batch, so that workers do not starve during a commit. More than
 * this gained nothing; every one costs memory. */
#define JOBQ__RING JOBQ__SIZE(384, 2)
#define JOBQ__RING_BYTES JOBQ__SIZE((64 * 1024), 256)
/* Work that the ring holds at the recent rate, besides what one commit takes. */
#define JOBQ__RING_WINDOW_US 2000
/* No outcome waits longer than this for a commit to ride on. */
#define JOBQ__DEFER_US 1000
/* After a transaction that failed: wait before the outcomes are tried again. */
#define JOBQ__RETRY_MIN_US 1000
#define JOBQ__RETRY_MAX_US 1000000
/* After a COMMIT that failed: wait for others at least so long to make sure that nothing of it will
 * come back, for in doubt the queue stops. */
#define JOBQ__SCRUB_US 5000000
/* Without memory that is tried so often, which takes about 0.2 s. */
#define JOBQ__SCRUB_TRIES 100
/* A stop gives a worker whose handler has returned so much longer than the grace: a commit and an
 * application's callback may stand between that and its end. */
#define JOBQ__END_US 1000000
/* Times that a job is looked for when commits change it meanwhile. */
#define JOBQ__LOOKS_MAX 8
/* A long look lets others in for so long between two slices, if there are any: enough to wake. */
#define JOBQ__LOOK_PAUSE_US 50
/* The scheduler waits so long for the baton before it leaves the work to be told of it. */
#define JOBQ__SCHED_HOLD_US 2000
/* A wait that nobody may be there to end asks for other threads after so long, and again each time
 * after twice as long. Under an artificial clock one that cannot look yet asks so often for the
 * time. */
#define JOBQ__WAIT_ASK_US 1000
/* Pruning waits as long as so many commits take: the one under way, and the next takes it along. */
#define JOBQ__PRUNE_COMMITS 4
#define JOBQ__PRUNE_WAIT_US 250000
/* Somebody else has the file: who waits looks again after so long, twice as long each time. */
#define JOBQ__TURN_PAUSE_US 100
#define JOBQ__TURN_PAUSE_MAX_US 2000
/* With each turn that it has missed the longest pause is half as long, up to so many. */
#define JOBQ__TURN_MISSED_MAX 4
/* Who has written for so long without a pause, and is told that others wait, leaves the file to
 * them for so long: time for each of them to look once. A process that yields to nobody loses
 * nothing; one that does, a part of what the others gain. */
#define JOBQ__TURN_US 5000
#define JOBQ__TURN_AWAY_US 3000
/* A reader meets a lock only while somebody recovers the log. */
#define JOBQ__DB_PATIENCE_US 1000000
/* A client waits so long for a file that an owner has for itself, or had when it was killed. */
#define JOBQ__KNOCK_US 100000
/* Rows that one statement of a bulk insert carries. */
#define JOBQ__INSERT_ROWS JOBQ__SIZE(8, 2)
/* Payload bytes that a recycled entry keeps room for. */
#define JOBQ__ENTRY_KEEP JOBQ__SIZE(256, 32)
/* Places that a transaction has at first for what it changes. */
#define JOBQ__CHANGES_FIRST JOBQ__SIZE(16, 1)

/* ---- What a file may hold ---- */

/* Names are numbered one after the other, and no number is used twice; lanes are such numbers. */
#define JOBQ__NAME_ID_MAX INT32_MAX
/* Gates that opened and whose rows were not all moved yet. */
#define JOBQ__OPEN_MAX 4096
/* Places for such that a process has at first. */
#define JOBQ__OPEN_FIRST JOBQ__SIZE(16, 1)
/* The last id that is given. A million jobs each millisecond for a century come to less; the next
 * ids never overflow. */
#define JOBQ__ID_MAX ((INT64_C(1) << 62) - 1)
/* The end of the year 9999, in milliseconds. No wall shows more but an artificial one; what is
 * written of the queue's own time stays within that, so that damage there is seen. */
#define JOBQ__WALL_MAX 253402300800000
/* Jobs claimed at a time: a ring that one transaction filled and widened, handed in while the next
 * one does the same, and a run on each worker. */
#define JOBQ__CLAIMS_MAX (2 * (JOBQ__RING + JOBQ__BATCH) + JOBQ_WORKERS_MAX)

/* ---- What a process may own ---- */

#define JOBQ__OWNERS_MAX 64 /* queue files */
/* Lists by the hash of a name, in each queue. */
#define JOBQ__NAME_BUCKETS JOBQ__SIZE(64, 2)

/* ---- Timers ---- */

/* Bits of a digit of a time, as the wheel counts: it has a slot for each digit. */
#define JOBQ__WHEEL_BITS JOBQ__SIZE(6, 2)

/* ---- The disk ---- */

/* What wal_pages may be set to at least. */
#define JOBQ__WAL_PAGES_MIN 16
/* The least reserve, and so many pages, if they are large: the widest transaction that ends one
 * job, promotes and claims another takes 48 KB or, from 4096 bytes on, 16 pages in the log and in
 * the database, which a test measures. */
#define JOBQ__RESERVE_MIN (64 * 1024)
#define JOBQ__RESERVE_MIN_PAGES 24
/* An open on a full disk is lent half of the reserve, and then half of the rest. */
#define JOBQ__OPEN_TRIES 8
/* On a small disk the reserve takes this part of what is free. */
#define JOBQ__RESERVE_SHARE 16
/* By how many hundredths the database may grow while all jobs are tried again and fail: 43 to 52
 * were measured with the smallest payloads, 66 with pages of 2 KiB and no payload at all. And pages
 * of a database without jobs, which do not grow. */
#define JOBQ__RESERVE_TAIL 66
#define JOBQ__RESERVE_EMPTY_PAGES 32
/* So often what is wanted has to be free, or else it is set aside. */
#define JOBQ__RESERVE_ROOMY 4
/* Pages that a transaction changes besides the rows: names, indexes, claims. */
#define JOBQ__RESERVE_SLACK (32 * 1024)
#define JOBQ__RESERVE_SLACK_PAGES 8
/* Bytes of a row besides its payload, with its index entries. */
#define JOBQ__ROW_BYTES 160
/* Jobs of a transaction on a full disk, and bytes of the reserve for each: a job may touch a page
 * of the table, one of each index and one of the side table. Those that touch more share pages, or
 * else they meet the full disk together, and from then on a transaction ends one. */
#define JOBQ__TIGHT_BATCH JOBQ__SIZE(16, 2)
#define JOBQ__TIGHT_BYTES (16 * 1024)
#define JOBQ__TIGHT_PAGES 4
/* How often, at most, the names of the files are looked at: three system calls. */
#define JOBQ__LOOK_US 10000

/* Databases that an application may attach where it may at all: SQLite's own default. */
#define JOBQ__ATTACHED_MAX 10

/* ---- Housekeeping ---- */

#define JOBQ__PRUNE_ROWS JOBQ__SIZE(256, 3) /* one slice; longer ones stall writers */
#define JOBQ__PRUNE_PAUSE_MS JOBQ_MINUTE /* kept rows are looked at this often at most */
/* Free pages are given back a while after a burst, what is above a part of the database; less than
 * that is used again soon. A slice is short: a page that is moved is a few frames in the log. In a
 * file of 100 MB that had emptied, 128 pages of 2 KiB took 0.2 ms (p50) where the last pages had
 * become free last, and 1.8 ms where they were in use; but 25 to 46 ms, the longest 310, where
 * SQLite had to look for each in the long list of free ones. So a slice ends by real time, too:
 * those held the writer for 2.3 ms (p50) and 14 (p99) then, with a sync 5.9 and 25, on a machine
 * with much other work. After it others have the file for a while. */
#define JOBQ__SHRINK_KEEP (256 * 1024)
#define JOBQ__SHRINK_PART 4
#define JOBQ__SHRINK_BYTES JOBQ__SIZE((256 * 1024), (16 * 1024))
#define JOBQ__SHRINK_US 2000
#define JOBQ__SHRINK_PAUSE_MS 5
#define JOBQ__AUDIT_ROWS JOBQ__SIZE(1000, 3) /* one slice of a check */
/* Jobs that may stand uncounted: who asks reads them, 0.3 ms. And a slice of them, when they are
 * counted by reading: 2 ms. Pairs of queue and kind of which jobs may be kept as sums for that. */
#define JOBQ__UNCOUNTED_MAX JOBQ__SIZE(1000, 5)
#define JOBQ__COUNT_SLICE JOBQ__SIZE(4096, 4)
#define JOBQ__COUNT_PAIRS JOBQ__SIZE(32, 2)
#define JOBQ__LIST_ROWS JOBQ__SIZE(256, 3) /* the same of a listing, whose rows are read whole */
/* Who stores or runs pauses while on_event is so far behind. Not small: who calls while a callback
 * of his stands would never return. */
#define JOBQ__EVENTS_MAX 4096
#define JOBQ__EVENTS_FIRST JOBQ__SIZE(64, 1) /* places of the list at first */
#define JOBQ__EVENTS_KEEP JOBQ__SIZE(1024, 4) /* those that stay when there is nothing to tell */
#define JOBQ__WAL_TRUNCATE 4 /* times wal_pages: shrink the log by force */

/* A scheduler thread that waits by the monotonic clock, although something is due by the wall,
 * looks at the wall this often: a step of it is seen no later. */
#define JOBQ__STEP_SEEN_MS JOBQ_SECOND

/* One that waits for a duration by the monotonic clock, which stands still while the machine is
 * suspended, looks this often how much has passed, and what the wall shows. */
#define JOBQ__RESUME_SEEN_MS JOBQ_MINUTE

/* By so much the wall is set at least; what is less comes of reading two clocks one after the
 * other, or is time that a network gives back bit by bit. */
#define JOBQ__STEP_LEAST_MS 100

/* A handler that is still busy this long after its clock was advanced is taken to be waiting
 * for its deadline; in step mode, one that has looked at its flag for so long. Real time; only
 * jobq_advance over a handler's deadline knows it. From one look to the next a part of that passes
 * at most: who looks a few times and works in between waits for nothing, however slow he is. */
#define JOBQ__PATIENCE_US 100000
#define JOBQ__PATIENCE_LOOK_US (JOBQ__PATIENCE_US / 100)

#if JOBQ__RING < 2 || JOBQ__BATCH < 1
#error "JOBQ__RING and JOBQ__BATCH are too small"
#endif

#endif

/*==== stored.h ====*/
/* stored.h - every number that reaches the file, and those that are not used again. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/stored.h"
#endif
#ifndef JOBQ__STORED_H
#define JOBQ__STORED_H

/* #include "limits.h" */

/* Design note.
 *
 * What stands here is part of the file format: the number of a name never changes, and a number
 * that meant something once never means something else. A new one is appended, with its line at
 * the end of this file; one that is given up moves to the list of the retired, with the schema that
 * knew it. Texts of sql.h and of the views in schema.c hold some of these numbers by themselves.
 *
 * Retired, and of which schema (names of tables: schema.c):
 *
 *   1   jobq_row.lane NULL      the row does not wait; now only the state says so, and the lane of
 *                               such a row means nothing
 *   1   jobq_meta 'lost'        the highest id that a name was lost of; only of versions between
 *                               0.1.0 and the next
 *   1   lock page "jobq-1"      its mark tells no byte order (owner.h) */

/* jobq_meta.schema: what a file is made as, and which one this jobq knows best. */
#define JOBQ__SCHEMA_VERSION 2
/* Of a file that jobq has made and no application has told to be its own: "jobq" in ASCII. */
#define JOBQ__APPLICATION_ID 1785684593

/* jobq_row.state. Claim and settle touch only 0 and 1, which SQLite stores without a byte. */
enum jobq__state {
    JOBQ__WAITING = 0,  /* ready, scheduled or parked: the lane says which */
    JOBQ__CLAIMED = 1,  /* in the ring or running: only this process knows which */
    JOBQ__DONE = 2,
    JOBQ__FAILED = 3,
    JOBQ__CANCELLED = 4,
    JOBQ__NEW = 5       /* before the row exists; never stored */
};

/* jobq_row.lane, of a waiting row; of others it means nothing. A queue's id: ready. Below -1: the
 * row waits before a gate, so far always for a handler of its kind, minus the kind's id. What a
 * lane means is asked of jobq__stored_stand. */
enum {
    JOBQ__LANE_OWN_TIME = -1,   /* scheduled for the end of a duration: run_at is the queue's own
                                   time (clock.h); anywhere else it is by the wall */
    JOBQ__LANE_SCHEDULED = 0,   /* scheduled for a point in time, by the wall */
    JOBQ__LANE_SUSPECT = 1,     /* crashed before; ready, but one at a time */
    JOBQ__LANE_NONE = INT32_MIN /* in memory only: the row does not wait */
};

/* How a row of a lane stands. */
enum jobq__stand {
    JOBQ__STANDS_NOWHERE,   /* it does not wait */
    JOBQ__STANDS_IN_LINE,   /* ready: it has its turn */
    JOBQ__STANDS_TILL_DUE,  /* for its time */
    JOBQ__STANDS_AT_GATE    /* until that opens, or has room */
};

static inline enum jobq__stand jobq__stored_stand(int64_t lane) {
    if (lane == JOBQ__LANE_NONE) return JOBQ__STANDS_NOWHERE;
    if (lane > JOBQ__LANE_SCHEDULED) return JOBQ__STANDS_IN_LINE;
    return lane < JOBQ__LANE_OWN_TIME ? JOBQ__STANDS_AT_GATE : JOBQ__STANDS_TILL_DUE;
}

/* jobq_row.side: what stands beside the row, and goes with it. */
enum {
    JOBQ__SIDE_EXTRA = 1,   /* a row in jobq_extra */
    JOBQ__SIDE_KEY = 2,     /* that with a key, and a row in jobq_key */
    /* Of a claimed row: somebody wants it cancelled. Whatever settles the row takes it away. */
    JOBQ__SIDE_CANCEL = 4,
    JOBQ__SIDE_PAYLOAD = 8, /* a row in jobq_payload, which has the payload; jobq_row.payload is the
                               number of its bytes then */
    JOBQ__SIDE_ALL = 15     /* every bit that a row may have */
};

/* jobq_key.held. Only the texts of sql.h use it. */
enum { JOBQ__KEY_FREE = 0, JOBQ__KEY_HELD = 1 };

/* jobq_name.what, and jobq_rule.what */
enum jobq__what {
    JOBQ__NAME_ANY = 0,     /* of schema 1, where a name served as kind and as queue; or lost */
    JOBQ__NAME_QUEUE = 1,
    JOBQ__NAME_KIND = 2,
    JOBQ__NAME_GROUP = 3,
    JOBQ__NAME_EVENT = 4,
    JOBQ__NAME_SCHEDULE = 5,
    JOBQ__NAME_LANE = 6     /* where jobs of a kind wait in one queue, which is the scope */
};

/* jobq_rule.layer */
enum { JOBQ__RULE_DECLARED = 1, JOBQ__RULE_OVERRIDDEN = 2 };

/* In the page of the lock file, which other versions read: the state of a slot (owner.h). */
enum {
    JOBQ__SLOT_IDLE = 0,
    JOBQ__SLOT_STARTED = 1,
    JOBQ__SLOT_RELEASED = 2,
    JOBQ__SLOT_GUILTY = 3
};

/* There, too: what an owner says of other writers. NOBODY: there is no owner now, and it has left
 * by itself. HAS_IT_ALL: nobody else may so much as open the file. */
enum {
    JOBQ__WRITES_ALONE = 0,
    JOBQ__SHARES = 1,
    JOBQ__NOBODY = 2,
    JOBQ__HAS_IT_ALL = 3
};

/* jobq_note.outcome is a jobq_outcome. Alarms, notes, policies and verbs have no numbers yet. */

#define JOBQ__STORED(name, value) \
    typedef char jobq__stored_##name[(int)(name) == (value) ? 1 : -1]

JOBQ__STORED(JOBQ__SCHEMA_VERSION, 2);
JOBQ__STORED(JOBQ__APPLICATION_ID, 0x6a6f6271);

JOBQ__STORED(JOBQ__WAITING, 0);
JOBQ__STORED(JOBQ__CLAIMED, 1);
JOBQ__STORED(JOBQ__DONE, 2);
JOBQ__STORED(JOBQ__FAILED, 3);
JOBQ__STORED(JOBQ__CANCELLED, 4);

JOBQ__STORED(JOBQ__LANE_OWN_TIME, -1);
JOBQ__STORED(JOBQ__LANE_SCHEDULED, 0);
JOBQ__STORED(JOBQ__LANE_SUSPECT, 1);

JOBQ__STORED(JOBQ__SIDE_EXTRA, 1);
JOBQ__STORED(JOBQ__SIDE_KEY, 2);
JOBQ__STORED(JOBQ__SIDE_CANCEL, 4);
JOBQ__STORED(JOBQ__SIDE_PAYLOAD, 8);

JOBQ__STORED(JOBQ__KEY_FREE, 0);
JOBQ__STORED(JOBQ__KEY_HELD, 1);

JOBQ__STORED(JOBQ__NAME_ANY, 0);
JOBQ__STORED(JOBQ__NAME_QUEUE, 1);
JOBQ__STORED(JOBQ__NAME_KIND, 2);
JOBQ__STORED(JOBQ__NAME_GROUP, 3);
JOBQ__STORED(JOBQ__NAME_EVENT, 4);
JOBQ__STORED(JOBQ__NAME_SCHEDULE, 5);
JOBQ__STORED(JOBQ__NAME_LANE, 6);

JOBQ__STORED(JOBQ__RULE_DECLARED, 1);
JOBQ__STORED(JOBQ__RULE_OVERRIDDEN, 2);

JOBQ__STORED(JOBQ__SLOT_IDLE, 0);
JOBQ__STORED(JOBQ__SLOT_STARTED, 1);
JOBQ__STORED(JOBQ__SLOT_RELEASED, 2);
JOBQ__STORED(JOBQ__SLOT_GUILTY, 3);

JOBQ__STORED(JOBQ__WRITES_ALONE, 0);
JOBQ__STORED(JOBQ__SHARES, 1);
JOBQ__STORED(JOBQ__NOBODY, 2);
JOBQ__STORED(JOBQ__HAS_IT_ALL, 3);

JOBQ__STORED(JOBQ_OUTCOME_NONE, 0);
JOBQ__STORED(JOBQ_DONE, 1);
JOBQ__STORED(JOBQ_RETRY, 2);
JOBQ__STORED(JOBQ_FAIL, 3);
JOBQ__STORED(JOBQ_RESCHEDULE, 4);
JOBQ__STORED(JOBQ_SNOOZE, 5);
JOBQ__STORED(JOBQ_CANCELLED, 6);
JOBQ__STORED(JOBQ_CRASHED, 7);
JOBQ__STORED(JOBQ_STOPPED, 8);

#endif

/*==== list.h ====*/
/* list.h - an intrusive, circular, doubly linked list. The head is a link of its own. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/list.h"
#endif
#ifndef JOBQ__LIST_H
#define JOBQ__LIST_H

/* #include "base.h" */

struct jobq__link {
    struct jobq__link *next, *prev;
};

static inline void jobq__list_init(struct jobq__link *head) {
    head->next = head->prev = head;
}

static inline bool jobq__list_empty(const struct jobq__link *head) {
    return head->next == head;
}

/* Puts link before place; before the head is the end of the list. */
static inline void jobq__list_insert(struct jobq__link *place, struct jobq__link *link) {
    link->prev = place->prev;
    link->next = place;
    place->prev->next = link;
    place->prev = link;
}

static inline void jobq__list_append(struct jobq__link *head, struct jobq__link *link) {
    jobq__list_insert(head, link);
}

/* Takes link out; it then is a list of its own, so taking it out again does nothing. */
static inline void jobq__list_remove(struct jobq__link *link) {
    link->prev->next = link->next;
    link->next->prev = link->prev;
    jobq__list_init(link);
}

/* Moves everything in from to the end of to. */
static inline void jobq__list_move_all(struct jobq__link *to, struct jobq__link *from) {
    if (jobq__list_empty(from)) return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    jobq__list_init(from);
}

static inline struct jobq__link *jobq__list_pop(struct jobq__link *head) {
    struct jobq__link *first = head->next;
    if (first == head) return NULL;
    jobq__list_remove(first);
    return first;
}

#endif

/*==== mem.h ====*/
/* mem.h - the one allocator. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/mem.h"
#endif
#ifndef JOBQ__MEM_H
#define JOBQ__MEM_H

/* #include "limits.h" */

/* Zeroed memory, or NULL. Zero bytes give a pointer that can be freed. */
JOBQ__INTERNAL void *jobq__mem_new(size_t size);

/* Resizes to count elements of size bytes; NULL leaves the old block as it was. */
JOBQ__INTERNAL void *jobq__mem_resize(void *block, size_t count, size_t size);

/* A copy of size bytes with a zero byte behind it, or NULL. */
JOBQ__INTERNAL void *jobq__mem_copy(const void *data, size_t size);

JOBQ__INTERNAL void jobq__mem_free(void *block);

#endif

/*==== mem.c ====*/
/* mem.c - the one allocator. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/mem.c"
#endif
/* #include "mem.h" */

#include <stdlib.h>

/* A host with an allocator of its own defines all three before it compiles jobq.c. */
#ifndef JOBQ_MALLOC
#define JOBQ_MALLOC malloc
#define JOBQ_REALLOC realloc
#define JOBQ_FREE free
#endif

JOBQ__INTERNAL void *jobq__mem_new(size_t size) {
    void *block = JOBQ_MALLOC(size ? size : 1);
    if (block) memset(block, 0, size);
    return block;
}

JOBQ__INTERNAL void *jobq__mem_resize(void *block, size_t count, size_t size) {
    size_t total;
    if (size && count > SIZE_MAX / size) return NULL;
    total = count * size;
    return JOBQ_REALLOC(block, total > 0 ? total : 1);
}

JOBQ__INTERNAL void *jobq__mem_copy(const void *data, size_t size) {
    char *block;
    if (size == SIZE_MAX) return NULL;
    block = JOBQ_MALLOC(size + 1);
    if (!block) return NULL;
    if (size) memcpy(block, data, size);
    block[size] = 0;
    return block;
}

JOBQ__INTERNAL void jobq__mem_free(void *block) {
    JOBQ_FREE(block);
}

/*==== err.h ====*/
/* err.h - codes to names, error records. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/err.h"
#endif
#ifndef JOBQ__ERR_H
#define JOBQ__ERR_H

/* #include "limits.h" */

/* Internal codes: answers from room to room, no failures, and never seen by a caller; the public
 * ones are JOBQ_OK and below. Asserted where public calls return (jobq__err_is_public). */
enum {
    JOBQ__AGAIN = 100, /* undo this part, read last_id anew, and write it again */
    JOBQ__TAKEN,       /* somebody else writes to the file: nothing has happened yet */
    JOBQ__REFUSED,     /* what a handler wrote cannot be committed, on whatever disk */
    JOBQ__NO_ROOM      /* JOBQ_FULL, and no reserve will change it */
};
static inline bool jobq__err_is_public(int rc) {
    return rc <= JOBQ_OK;
}

/* The way out for who may not read or write. */
#define JOBQ__ERR_RIGHTS \
    "clients of another user than the owner's need its .mode = 0660 and .group_id, and a" \
    " directory that this group may write, where -wal and -shm are made"

/* The one struct that is written before the caller's version is known. */
typedef char jobq__err_size[sizeof(jobq_error) == 512 ? 1 : -1];

/* Fills err (may be NULL) with code and a sentence, and returns code, so that a check reads
 * `return jobq__err_set(err, JOBQ_BAD_NAME, "the kind's name is empty")`. A NULL format gives
 * the code's general sentence. `at` is -1 and `id` 0 then. */
JOBQ__INTERNAL int jobq__err_set(jobq_error *err, int code, const char *format, ...)
    JOBQ_PRINTF(3, 4);

/* The same for an error that SQLite reported. */
JOBQ__INTERNAL int jobq__err_sqlite(jobq_error *err, int code, int sqlite_code,
                                    const char *message);

/* The same for what the system refused: "open /data/q.db: permission denied (EACCES); advice".
 * os_code is errno, call the function's name; path and advice (the way out) may be NULL. */
JOBQ__INTERNAL int jobq__err_os(jobq_error *err, int code, int os_code, const char *call,
                                const char *path, const char *advice);

/* Adds to an error that was just set which row was wrong, or who is in the way; err may be NULL. */
JOBQ__INTERNAL void jobq__err_at(jobq_error *err, size_t at);
JOBQ__INTERNAL void jobq__err_id(jobq_error *err, int64_t id);

/* A bounded, always terminated copy of text. */
JOBQ__INTERNAL void jobq__err_copy_text(char *to, size_t capacity, const char *text);

#endif

/*==== err.c ====*/
/* err.c - codes to names, error records. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/err.c"
#endif
/* #include "err.h" */

#include <errno.h>
#include <stdio.h>

JOBQ_API int jobq_version_number(void) {
    return JOBQ_VERSION_NUMBER;
}

JOBQ_API const char *jobq_code_name(int code) {
    switch (code) {
#define JOBQ__CODE_NAME(name, value, sentence) \
    case value: return #name;
        JOBQ_CODES(JOBQ__CODE_NAME)
#undef JOBQ__CODE_NAME
    default: return "JOBQ_?";
    }
}

JOBQ_API const char *jobq_code_text(int code) {
    switch (code) {
#define JOBQ__CODE_TEXT(name, value, sentence) \
    case value: return sentence;
        JOBQ_CODES(JOBQ__CODE_TEXT)
#undef JOBQ__CODE_TEXT
    default: return "this is not a code of jobq";
    }
}

JOBQ__INTERNAL void jobq__err_copy_text(char *to, size_t capacity, const char *text) {
    size_t size = 0, back = 0;
    while (size + 1 < capacity && text[size]) size++;
    /* Cut at the beginning of a character: one that is not whole is invalid in UTF-8. */
    if (text[size])
        for (; back < 3 && back < size && (text[size - back] & 0xc0) == 0x80; back++) {}
    if ((text[size - back] & 0xc0) == 0xc0) size -= back;
    memcpy(to, text, size);
    to[size] = 0;
}

/* Bytes of the character that text begins with; 0 if it is none. */
static size_t jobq__err_character(const unsigned char *text) {
    size_t size = text[0] < 0x80 ? 1 : text[0] < 0xc2 ? 0 : text[0] < 0xe0 ? 2
                : text[0] < 0xf0 ? 3 : text[0] < 0xf5 ? 4 : 0, i;
    for (i = 1; i < size; i++)
        if ((text[i] & 0xc0) != 0x80) return 0;
    /* Longer than it need be, half of a pair of UTF-16, or beyond the last one. */
    if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f)
        || (text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f)) return 0;
    return size;
}

/* A path is what bytes it likes, and it and other parts of a sentence may have been cut. */
static void jobq__err_make_utf8(char *text) {
    while (*text) {
        size_t size = jobq__err_character((const unsigned char *)text);
        if (!size) *text = '?';
        text += size ? size : 1;
    }
}

JOBQ__INTERNAL int jobq__err_set(jobq_error *err, int code, const char *format, ...) {
    va_list args;
    if (!err) return code;
    err->code = code;
    err->sqlite_code = err->os_code = 0;
    err->at = -1;
    err->id = 0;
    if (!format) {
        jobq__err_copy_text(err->text, sizeof err->text, jobq_code_text(code));
        return code;
    }
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    jobq__err_make_utf8(err->text);
    return code;
}

JOBQ__INTERNAL int jobq__err_sqlite(jobq_error *err, int code, int sqlite_code,
                                    const char *message) {
    jobq__err_set(err, code, "%s (SQLite: %s)", jobq_code_text(code), message);
    if (err) err->sqlite_code = sqlite_code;
    return code;
}

JOBQ__INTERNAL void jobq__err_at(jobq_error *err, size_t at) {
    if (err) err->at = at < INT32_MAX ? (int)at : INT32_MAX;
}

JOBQ__INTERNAL void jobq__err_id(jobq_error *err, int64_t id) {
    if (err) err->id = id;
}

/* Words of our own: strerror has none that every thread may have, in every locale the same. */
static const struct jobq__err_word {
    int os_code;
    const char *name, *words;
} jobq__err_words[] = {
#define JOBQ__ERR_WORD(name, words) {name, #name, words}
    JOBQ__ERR_WORD(EACCES, "permission denied"),
    JOBQ__ERR_WORD(EAGAIN, "the system is short of something for the moment"),
    JOBQ__ERR_WORD(EBUSY, "it is in use"),
    JOBQ__ERR_WORD(EEXIST, "it exists already"),
    JOBQ__ERR_WORD(EFBIG, "the file would be too large"),
    JOBQ__ERR_WORD(EINVAL, "the system does not know how to do this here"),
    JOBQ__ERR_WORD(EIO, "the device reported an error"),
    JOBQ__ERR_WORD(EISDIR, "it is a directory"),
    JOBQ__ERR_WORD(ELOOP, "the symbolic links lead nowhere"),
    JOBQ__ERR_WORD(EMFILE, "the process has too many files open"),
    JOBQ__ERR_WORD(EMLINK, "there are too many links"),
    JOBQ__ERR_WORD(ENAMETOOLONG, "the name is too long"),
    JOBQ__ERR_WORD(ENFILE, "the system has too many files open"),
    JOBQ__ERR_WORD(ENODEV, "there is no such device"),
    JOBQ__ERR_WORD(ENOENT, "there is no such file or directory"),
    JOBQ__ERR_WORD(ENOLCK, "there are no locks left, or none on this file system"),
    JOBQ__ERR_WORD(ENOMEM, "there is no memory left"),
    JOBQ__ERR_WORD(ENOSPC, "there is no space left"),
    JOBQ__ERR_WORD(ENOSYS, "this system cannot do it"),
    JOBQ__ERR_WORD(ENOTDIR, "a part of the path is not a directory"),
    JOBQ__ERR_WORD(ENXIO, "there is no such device"),
    JOBQ__ERR_WORD(EPERM, "not permitted"),
    JOBQ__ERR_WORD(EROFS, "the file system is read-only"),
#ifdef EDQUOT
    JOBQ__ERR_WORD(EDQUOT, "the user's quota of space is used up"),
#endif
#ifdef ESTALE
    JOBQ__ERR_WORD(ESTALE, "the file is gone from the server"),
#endif
#undef JOBQ__ERR_WORD
};

JOBQ__INTERNAL int jobq__err_os(jobq_error *err, int code, int os_code, const char *call,
                                const char *path, const char *advice) {
    const char *name = NULL, *words = "the system refused it";
    char number[32];
    size_t i;
    for (i = 0; i < JOBQ__COUNT(jobq__err_words); i++) {
        if (jobq__err_words[i].os_code != os_code) continue;
        name = jobq__err_words[i].name;
        words = jobq__err_words[i].words;
    }
    snprintf(number, sizeof number, "errno %d", os_code);
    jobq__err_set(err, code, "%s%s%.250s: %s (%s)%s%s", call, path ? " " : "", path ? path : "",
                  words, name ? name : number, advice ? "; " : "", advice ? advice : "");
    if (err) err->os_code = os_code;
    return code;
}

/*==== os.h ====*/
/* os.h - threads, clocks, atomics, files: the whole porting contract. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/os.h"
#endif
#ifndef JOBQ__OS_H
#define JOBQ__OS_H

/* #include "err.h" */
/* #include "mem.h" */

#include <pthread.h>

/* ---- Locks. In a debug build they know their holder, and a thread may hold one at a time:
 * that rule (core.h) leaves no lock order to get wrong. ---- */

/* What is all zero was never made, and to unmake it does nothing: so a start that has failed half
 * way ends like any other. */
struct jobq__mutex {
    pthread_mutex_t raw;
    bool made;
#ifdef JOBQ_DEBUG
    pthread_t holder;
    int held;
    bool patient;
#endif
};

JOBQ__INTERNAL int jobq__os_mutex_init(struct jobq__mutex *mu);
/* Says that it may be held across a call of SQLite; all others are held for a moment only. */
JOBQ__INTERNAL void jobq__os_mutex_patient(struct jobq__mutex *mu);
JOBQ__INTERNAL void jobq__os_mutex_fini(struct jobq__mutex *mu);
JOBQ__INTERNAL void jobq__os_lock(struct jobq__mutex *mu);
JOBQ__INTERNAL void jobq__os_unlock(struct jobq__mutex *mu);
/* For assertions: true if the calling thread holds mu (always true in release). */
JOBQ__INTERNAL bool jobq__os_held(const struct jobq__mutex *mu);
/* The same: true if it may call the application, because it holds no mutex of ours; true if it may
 * call SQLite, because it holds none but a patient one. */
JOBQ__INTERNAL bool jobq__os_may_call_out(void);
JOBQ__INTERNAL bool jobq__os_may_block(void);

/* The application's callbacks that a thread is inside of, innermost first: whose each is, and its
 * name. Links lie on the thread's stack. */
struct jobq__os_call {
    const void *owner;
    const char *name;
    struct jobq__os_call *outer;
};

JOBQ__INTERNAL void jobq__os_call_begin(struct jobq__os_call *call, const void *owner,
                                        const char *name);
JOBQ__INTERNAL void jobq__os_call_end(const struct jobq__os_call *call);
/* True if the calling thread is inside one of owner's. */
JOBQ__INTERNAL bool jobq__os_in_call(const void *owner);
/* The calling thread has begun (1) or ended (-1) a job's transaction; no link, for it may begin
 * inside a callback and outlast it. */
JOBQ__INTERNAL void jobq__os_transaction(int by);
/* True if the calling thread has one, or is inside a callback of anybody's: it must not wait for
 * another's callback, which may wait for it. */
JOBQ__INTERNAL bool jobq__os_awaited(void);
/* The name of the innermost callback; NULL if there is none. */
JOBQ__INTERNAL const char *jobq__os_call_name(void);

/* A condition that waits by one of two clocks: deadlines of the wall are absolute, so that the
 * system itself re-arms them when the clock is set or the machine resumes. */
enum jobq__os_time { JOBQ__OS_MONO, JOBQ__OS_WALL };

struct jobq__cond {
    pthread_cond_t raw;
    bool made;
    enum jobq__os_time time;
};

JOBQ__INTERNAL int jobq__os_cond_init(struct jobq__cond *cond, enum jobq__os_time time);
JOBQ__INTERNAL void jobq__os_cond_fini(struct jobq__cond *cond);
JOBQ__INTERNAL void jobq__os_wait(struct jobq__cond *cond, struct jobq__mutex *mu);
/* Until at_us of the condition's clock; false once that time has come. */
JOBQ__INTERNAL bool jobq__os_wait_until(struct jobq__cond *cond, struct jobq__mutex *mu,
                                        int64_t at_us);
JOBQ__INTERNAL void jobq__os_signal(struct jobq__cond *cond);
JOBQ__INTERNAL void jobq__os_broadcast(struct jobq__cond *cond);

/* ---- Threads ---- */

typedef pthread_t jobq__thread;

/* No signal is delivered to a deaf thread, but for those that it brings on itself, so that an
 * application's handlers need not run on it. In callbacks (jobq__os_call_begin) it has the mask of
 * who started it: what is started there inherits that. */
struct jobq__os_thread {
    void (*body)(void *);
    void *arg;
    int64_t stack_bytes;        /* at least; 0: the system's default */
    bool deaf;
};

/* NO_MEMORY: the system has no room; IO: it refuses such a thread, not even with a larger stack. */
JOBQ__INTERNAL int jobq__os_thread_start(jobq__thread *thread, const struct jobq__os_thread *what);
JOBQ__INTERNAL void jobq__os_thread_join(jobq__thread thread);
JOBQ__INTERNAL jobq__thread jobq__os_thread_self(void);
JOBQ__INTERNAL bool jobq__os_thread_same(jobq__thread a, jobq__thread b);
JOBQ__INTERNAL void jobq__os_yield(void);
JOBQ__INTERNAL void jobq__os_sleep_us(int64_t duration_us);
/* True if it is certain that the process has no other thread. */
JOBQ__INTERNAL bool jobq__os_alone(void);
/* What the calling thread is at, for who asks on that thread; returns what it was at before. */
JOBQ__INTERNAL void *jobq__os_thread_is_at(void *what);

/* ---- Raw clocks; only clock.c may call them ---- */

JOBQ__INTERNAL int64_t jobq__os_time_wall_us(void);
JOBQ__INTERNAL int64_t jobq__os_time_mono_us(void);
/* The same, and it goes on while the machine is suspended, where such a clock can be had. */
JOBQ__INTERNAL int64_t jobq__os_time_passed_us(void);

/* ---- Atomics: C99 has none. Loads acquire, stores release, the rest is both. ---- */

static inline int32_t jobq__os_load(const int32_t *at) {
    return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}
static inline void jobq__os_store(int32_t *at, int32_t value) {
    __atomic_store_n(at, value, __ATOMIC_RELEASE);
}
static inline int32_t jobq__os_add(int32_t *at, int32_t value) {
    return __atomic_add_fetch(at, value, __ATOMIC_SEQ_CST);
}
static inline int32_t jobq__os_or(int32_t *at, int32_t bits) {
    return __atomic_or_fetch(at, bits, __ATOMIC_SEQ_CST);
}
/* Stores to if from stands there; true if it did. */
static inline bool jobq__os_swap(int32_t *at, int32_t from, int32_t to) {
    return __atomic_compare_exchange_n(at, &from, to, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
static inline int64_t jobq__os_load64(const int64_t *at) {
    return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}
static inline void jobq__os_store64(int64_t *at, int64_t value) {
    __atomic_store_n(at, value, __ATOMIC_RELEASE);
}
static inline void *jobq__os_load_pointer(void *const *at) {
    return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}
static inline void jobq__os_store_pointer(void **at, void *value) {
    __atomic_store_n(at, value, __ATOMIC_RELEASE);
}

/* ---- Files and processes ---- */

struct jobq__os_id {
    uint64_t device, file;
};

enum jobq__os_kind {
    JOBQ__OS_MISSING, JOBQ__OS_FILE, JOBQ__OS_LINK, JOBQ__OS_DIRECTORY, JOBQ__OS_OTHER
};

/* What stands under a name. */
struct jobq__os_file {
    enum jobq__os_kind kind;
    struct jobq__os_id id;
    int64_t size;
    int64_t names;              /* hard links to it */
    int mode;                   /* of access: 0600 and the like */
    int64_t user, group;
};

/* Looks without opening: closing a descriptor of a database file would drop SQLite's locks. A
 * link is not followed. Returns 0, or errno if it may not look; what is missing is no error. */
JOBQ__INTERNAL int jobq__os_look(const char *path, struct jobq__os_file *file);
static inline bool jobq__os_same_file(const struct jobq__os_id *a, const struct jobq__os_id *b) {
    return a->file == b->file && a->device == b->device;
}
/* True if path does not name that file any more: it is gone, or another stands there. That the
 * system does not let us look says nothing. */
JOBQ__INTERNAL bool jobq__os_moved(const char *path, const struct jobq__os_id *id);

/* True if the file lies on a network, or on something that does not say that it does not. */
JOBQ__INTERNAL bool jobq__os_remote(const char *path);
/* True if files there have a second, short name besides their own (FAT). */
JOBQ__INTERNAL bool jobq__os_short_names(const char *path);
/* Whether the file is a mount point by itself, as one that is bound to another place is. The path
 * must be a resolved one. 0, or errno if there is no descriptor to look; where neither the kernel
 * nor a list of it tells, it is none. */
JOBQ__INTERNAL int jobq__os_mounted(const char *path, bool *mounted);

/* What path means at this moment: absolute and without a link. Of the last part nothing but a name
 * need be there. 0, errno, or this: the path leads to what no text names here, as a deleted file's
 * descriptor does, and a path through the mounts of another process. */
#define JOBQ__OS_ELSEWHERE (-1)
JOBQ__INTERNAL int jobq__os_resolve(const char *path, char **resolved);

/* Makes an empty file of this mode whatever the umask, and of this group if it is not 0. *created
 * is false if one is there already. JOBQ_OK or a code. */
JOBQ__INTERNAL int jobq__os_create(const char *path, int mode, int64_t group, bool *created,
                                   jobq_error *err);
/* 0, or errno if the system lets us not read (and write) what stands at path. Asked, not tried, for
 * what jobq__os_look says. */
JOBQ__INTERNAL int jobq__os_may(const char *path, bool write);
/* Gives the file at path the owner and group of the other, as far as we may. */
JOBQ__INTERNAL void jobq__os_match_owner(const char *path, const struct jobq__os_file *like);

/* Opens a lock file, for reading and writing where that may be, or makes it. Nothing but a plain
 * file is opened, and nothing is written to it. */
JOBQ__INTERNAL int jobq__os_page_open(const char *path, bool make, int *opened, jobq_error *err);
/* Takes the lock that dies with the process, or it is JOBQ_LOCKED, and gives the file that size. */
JOBQ__INTERNAL int jobq__os_page_lock(int fd, const char *path, size_t size, jobq_error *err);
/* Maps size bytes of it, in place of *page if that is not NULL. */
JOBQ__INTERNAL int jobq__os_page_map(int fd, const char *path, size_t size, bool writable,
                                     void **page, jobq_error *err);
/* Gives an open file the mode, owner and group of the other, as far as we may. */
JOBQ__INTERNAL void jobq__os_match(int fd, const struct jobq__os_file *like);
/* A page of memory that a file may be mapped over later, to be read only; or, in place of the file
 * that is mapped at at, one to be written too. NULL if there is no memory. */
JOBQ__INTERNAL void *jobq__os_page_blank(size_t size, void *at);
/* How many bytes an open file has from at on, up to size; -1 and errno. */
JOBQ__INTERNAL int64_t jobq__os_read_at(int fd, int64_t at, void *data, size_t size);
/* Writes to an open file where it has bytes already; not at all if it may not. */
JOBQ__INTERNAL void jobq__os_write_at(int fd, size_t at, const void *data, size_t size);
/* Gives the lock up, although a forked child may hold copies of the descriptor. */
JOBQ__INTERNAL void jobq__os_page_unlock(int fd);
/* The lock goes with the last copy of the descriptor. */
JOBQ__INTERNAL void jobq__os_page_close(int fd, void *page, size_t size);

/* There is no room on the disk, or none for this user. */
JOBQ__INTERNAL bool jobq__os_full(int os_code);
/* Makes the file size bytes long, all of them allocated, so that nobody else can take them.
 * JOBQ_FULL: there is no room, and the size is as it was. JOBQ_IO: this file system cannot. */
JOBQ__INTERNAL int jobq__os_allocate(int fd, int64_t size);
JOBQ__INTERNAL int64_t jobq__os_size(int fd);
/* Bytes that are free on the file system of an open file; INT64_MAX if it does not tell. */
JOBQ__INTERNAL int64_t jobq__os_free_bytes(int fd);
/* Which file is open. */
JOBQ__INTERNAL struct jobq__os_id jobq__os_id_of(int fd);

JOBQ__INTERNAL int jobq__os_pid(void);
/* A text that changes with every boot; "" if the system tells nothing that can be trusted. */
JOBQ__INTERNAL void jobq__os_boot_id(char *text, size_t capacity);
/* True if both texts, of at most capacity bytes, are of one boot for sure. */
JOBQ__INTERNAL bool jobq__os_same_boot(const char *a, const char *b, size_t capacity);
/* A lock for the few process-wide tables. */
JOBQ__INTERNAL void jobq__os_global_lock(void);
JOBQ__INTERNAL void jobq__os_global_unlock(void);
/* With it held: waits until somebody calls, from anywhere. What is waited for has to be looked at
 * again, for it may have been another's call. */
JOBQ__INTERNAL void jobq__os_global_wait(void);
JOBQ__INTERNAL void jobq__os_global_call(void); /* without it */

/* Registers, once, what runs in a forked child and at exit(); with the global lock held. A thread
 * that forks takes that lock before, and in_child has to unlock it. JOBQ_OK or NO_MEMORY. */
JOBQ__INTERNAL int jobq__os_hooks(void (*in_child)(void), void (*at_exit)(void));

#endif

/*==== os.c ====*/
/* os.c - threads, clocks, atomics, files for POSIX. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/os.c"
#endif
/* #include "os.h" */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>
#if defined(__GLIBC__) && (__GLIBC__ > 2 || (__GLIBC__ == 2 && __GLIBC_MINOR__ >= 32))
#include <sys/single_threaded.h>
#define JOBQ__OS_KNOWS_THREADS 1
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/vfs.h>
#elif defined(__APPLE__) || defined(__FreeBSD__) || defined(__OpenBSD__) || defined(__DragonFly__)
#include <sys/mount.h>
#include <sys/param.h>
#include <sys/sysctl.h>
#endif

/* No system that runs this was started before: 2020 in seconds. */
#define JOBQ__OS_CLOCK_IS_SET 1577836800

/* ---- Locks ---- */

#ifdef JOBQ_DEBUG
static __thread const struct jobq__mutex *jobq__os_mine; /* the one that this thread holds */
#endif

JOBQ__INTERNAL int jobq__os_mutex_init(struct jobq__mutex *mu) {
    memset(mu, 0, sizeof *mu);
    mu->made = !pthread_mutex_init(&mu->raw, NULL);
    return mu->made ? JOBQ_OK : JOBQ_NO_MEMORY;
}

JOBQ__INTERNAL void jobq__os_mutex_patient(struct jobq__mutex *mu) {
#ifdef JOBQ_DEBUG
    mu->patient = true;
#else
    (void)mu;
#endif
}

JOBQ__INTERNAL void jobq__os_mutex_fini(struct jobq__mutex *mu) {
    if (mu->made) pthread_mutex_destroy(&mu->raw);
    mu->made = false;
}

static void jobq__os_now_held(struct jobq__mutex *mu) {
#ifdef JOBQ_DEBUG
    mu->holder = pthread_self();
    mu->held = 1;
    jobq__os_mine = mu;
#else
    (void)mu;
#endif
}

static void jobq__os_not_held(struct jobq__mutex *mu) {
    jobq__assert(jobq__os_held(mu));
#ifdef JOBQ_DEBUG
    mu->held = 0;
    jobq__os_mine = NULL;
#else
    (void)mu;
#endif
}

JOBQ__INTERNAL void jobq__os_lock(struct jobq__mutex *mu) {
    jobq__assert(jobq__os_may_call_out());
    pthread_mutex_lock(&mu->raw);
    jobq__os_now_held(mu);
}

JOBQ__INTERNAL void jobq__os_unlock(struct jobq__mutex *mu) {
    jobq__os_not_held(mu);
    pthread_mutex_unlock(&mu->raw);
}

JOBQ__INTERNAL bool jobq__os_held(const struct jobq__mutex *mu) {
#ifdef JOBQ_DEBUG
    return mu->held && pthread_equal(mu->holder, pthread_self());
#else
    (void)mu;
    return true;
#endif
}

JOBQ__INTERNAL bool jobq__os_may_call_out(void) {
#ifdef JOBQ_DEBUG
    return !jobq__os_mine;
#else
    return true;
#endif
}

JOBQ__INTERNAL bool jobq__os_may_block(void) {
#ifdef JOBQ_DEBUG
    return !jobq__os_mine || jobq__os_mine->patient;
#else
    return true;
#endif
}

static __thread struct jobq__os_call *jobq__os_calls;
static __thread const sigset_t *jobq__os_mask; /* of a deaf thread: that of who started it */

static void jobq__os_deafen(sigset_t *before) {
    static const int own[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};
    sigset_t set;
    size_t i;
    sigfillset(&set);
    for (i = 0; i < JOBQ__COUNT(own); i++) sigdelset(&set, own[i]);
    pthread_sigmask(SIG_BLOCK, &set, before);
}

JOBQ__INTERNAL void jobq__os_call_begin(struct jobq__os_call *call, const void *owner,
                                        const char *name) {
    jobq__assert(jobq__os_may_call_out());
    call->owner = owner;
    call->name = name;
    call->outer = jobq__os_calls;
    jobq__os_calls = call;
    if (jobq__os_mask && !call->outer) pthread_sigmask(SIG_SETMASK, jobq__os_mask, NULL);
}

JOBQ__INTERNAL void jobq__os_call_end(const struct jobq__os_call *call) {
    jobq__assert(jobq__os_calls == call);
    jobq__os_calls = call->outer;
    if (jobq__os_mask && !call->outer) jobq__os_deafen(NULL);
}

JOBQ__INTERNAL bool jobq__os_in_call(const void *owner) {
    const struct jobq__os_call *call = jobq__os_calls;
    while (call && call->owner != owner) call = call->outer;
    return call != NULL;
}

static __thread int jobq__os_transactions;

JOBQ__INTERNAL void jobq__os_transaction(int by) {
    jobq__os_transactions += by;
}

JOBQ__INTERNAL bool jobq__os_awaited(void) {
    return jobq__os_calls || jobq__os_transactions > 0;
}

JOBQ__INTERNAL const char *jobq__os_call_name(void) {
    return jobq__os_calls ? jobq__os_calls->name : NULL;
}

JOBQ__INTERNAL int jobq__os_cond_init(struct jobq__cond *cond, enum jobq__os_time time) {
    pthread_condattr_t attr;
    int failed;
    cond->made = false;
    if (pthread_condattr_init(&attr)) return JOBQ_NO_MEMORY;
    pthread_condattr_setclock(&attr, time == JOBQ__OS_MONO ? CLOCK_MONOTONIC : CLOCK_REALTIME);
    cond->time = time;
    failed = pthread_cond_init(&cond->raw, &attr);
    pthread_condattr_destroy(&attr);
    cond->made = !failed;
    return failed ? JOBQ_NO_MEMORY : JOBQ_OK;
}

JOBQ__INTERNAL void jobq__os_cond_fini(struct jobq__cond *cond) {
    if (cond->made) pthread_cond_destroy(&cond->raw);
    cond->made = false;
}

JOBQ__INTERNAL void jobq__os_wait(struct jobq__cond *cond, struct jobq__mutex *mu) {
    jobq__os_not_held(mu);
    pthread_cond_wait(&cond->raw, &mu->raw);
    jobq__os_now_held(mu);
}

/* Some systems refuse far futures, and a time_t of 32 bits ends in 2038. Who waits for something
 * later than this is woken then, finds it too early and waits again. */
#define JOBQ__OS_SECONDS_MAX (sizeof(time_t) < 8 ? (int64_t)INT32_MAX : INT64_C(4000000000))

JOBQ__INTERNAL bool jobq__os_wait_until(struct jobq__cond *cond, struct jobq__mutex *mu,
                                        int64_t at_us) {
    struct timespec at;
    int failed;
    at_us = JOBQ__MAX(JOBQ__MIN(at_us, JOBQ__OS_SECONDS_MAX * 1000000), 0);
    at.tv_sec = (time_t)(at_us / 1000000);
    at.tv_nsec = (long)(at_us % 1000000) * 1000;
    jobq__os_not_held(mu);
    failed = pthread_cond_timedwait(&cond->raw, &mu->raw, &at);
    jobq__os_now_held(mu);
    return failed != ETIMEDOUT;
}

JOBQ__INTERNAL void jobq__os_signal(struct jobq__cond *cond) {
    pthread_cond_signal(&cond->raw);
}

JOBQ__INTERNAL void jobq__os_broadcast(struct jobq__cond *cond) {
    pthread_cond_broadcast(&cond->raw);
}

/* ---- Threads ---- */

struct jobq__os_start {
    struct jobq__os_thread what;
    sigset_t mask;
};

static void *jobq__os_thread_main(void *arg) {
    struct jobq__os_start start = *(struct jobq__os_start *)arg;
    jobq__mem_free(arg);
    /* Who cancels a thread of ours would take along what it holds. Some systems cannot. */
#ifdef PTHREAD_CANCEL_DISABLE
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
#endif
    if (start.what.deaf) jobq__os_mask = &start.mask;
    start.what.body(start.what.arg);
    return NULL;
}

static int jobq__os_thread_try(jobq__thread *thread, size_t stack_bytes,
                               struct jobq__os_start *start) {
    pthread_attr_t attr;
    int failed = pthread_attr_init(&attr);
    if (failed) return failed;
    if (stack_bytes) failed = pthread_attr_setstacksize(&attr, stack_bytes);
    if (!failed) failed = pthread_create(thread, &attr, jobq__os_thread_main, start);
    pthread_attr_destroy(&attr);
    return failed;
}

/* Systems differ in how small a stack they take, and what thread-local data in it they count: where
 * one is refused, a larger one is tried. Some want whole pages; none has larger ones than these. */
static int jobq__os_thread_with(jobq__thread *thread, size_t stack_bytes,
                                struct jobq__os_start *start) {
    const size_t page = 65536, most = (size_t)64 << 20;
    int failed;
    if (stack_bytes > SIZE_MAX / 2) return EINVAL;
    stack_bytes = (stack_bytes + page - 1) / page * page;
    failed = jobq__os_thread_try(thread, stack_bytes, start);
    while (failed == EINVAL && stack_bytes && stack_bytes < most) {
        stack_bytes *= 2;
        failed = jobq__os_thread_try(thread, stack_bytes, start);
    }
    return failed;
}

JOBQ__INTERNAL int jobq__os_thread_start(jobq__thread *thread, const struct jobq__os_thread *what) {
    struct jobq__os_start *start = jobq__mem_new(sizeof *start);
    sigset_t mask;
    int failed;
    if (!start) return JOBQ_NO_MEMORY;
    start->what = *what;
    /* It begins with the mask that we have at this moment: not even its first step hears. */
    if (what->deaf) jobq__os_deafen(&start->mask);
    mask = start->mask;
    failed = jobq__os_thread_with(thread, (size_t)what->stack_bytes, start);
    if (what->deaf) pthread_sigmask(SIG_SETMASK, &mask, NULL);
    if (!failed) return JOBQ_OK;
    jobq__mem_free(start);
    return failed == EAGAIN || failed == ENOMEM ? JOBQ_NO_MEMORY : JOBQ_IO;
}

JOBQ__INTERNAL void jobq__os_thread_join(jobq__thread thread) {
    pthread_join(thread, NULL);
}

JOBQ__INTERNAL jobq__thread jobq__os_thread_self(void) {
    return pthread_self();
}

JOBQ__INTERNAL bool jobq__os_alone(void) {
#ifdef JOBQ__OS_KNOWS_THREADS
    if (__libc_single_threaded) return true;
#endif
#if defined(__linux__)
    /* A folder for each thread, besides the two names that every folder has. */
    struct stat st;
    return stat("/proc/self/task", &st) == 0 && st.st_nlink == 3;
#else
    return false;
#endif
}

JOBQ__INTERNAL void jobq__os_yield(void) {
    sched_yield();
}

static __thread void *jobq__os_at;

JOBQ__INTERNAL void *jobq__os_thread_is_at(void *what) {
    void *before = jobq__os_at;
    jobq__os_at = what;
    return before;
}

JOBQ__INTERNAL void jobq__os_sleep_us(int64_t duration_us) {
    struct timespec left;
    left.tv_sec = (time_t)(duration_us / 1000000);
    left.tv_nsec = (long)(duration_us % 1000000) * 1000;
    if (duration_us > 0) nanosleep(&left, NULL);
}

JOBQ__INTERNAL bool jobq__os_thread_same(jobq__thread a, jobq__thread b) {
    return pthread_equal(a, b) != 0;
}

/* ---- Clocks ---- */

/* A clock that cannot be read stands still for this thread, and for one that has never read it
 * where another thread has read it first: to be 1970 for a moment would end nothing that waits, and
 * what is stored then would be the first of all. */
static int64_t jobq__os_time_us(clockid_t id, int64_t *last, int64_t *first) {
    struct timespec t;
    int64_t now_us;
    if (clock_gettime(id, &t)) return *last ? *last : jobq__os_load64(first);
    now_us = (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
    if (!*last) jobq__os_store64(first, now_us);
    return *last = now_us;
}

JOBQ__INTERNAL int64_t jobq__os_time_wall_us(void) {
    static __thread int64_t last_us;
    static int64_t first_us;
    return jobq__os_time_us(CLOCK_REALTIME, &last_us, &first_us);
}

JOBQ__INTERNAL int64_t jobq__os_time_mono_us(void) {
    static __thread int64_t last_us;
    static int64_t first_us;
    return jobq__os_time_us(CLOCK_MONOTONIC, &last_us, &first_us);
}

/* Linux lets CLOCK_MONOTONIC stand still meanwhile, others do not. */
#ifdef CLOCK_BOOTTIME
#define JOBQ__OS_PASSED CLOCK_BOOTTIME
#else
#define JOBQ__OS_PASSED CLOCK_MONOTONIC
#endif

JOBQ__INTERNAL int64_t jobq__os_time_passed_us(void) {
    static __thread int64_t last_us;
    static int64_t first_us;
    return jobq__os_time_us(JOBQ__OS_PASSED, &last_us, &first_us);
}

/* ---- Files and processes ---- */

/* Descriptors below 3 are standard input, output and error to every other part of the process,
 * even if they are closed: whatever is printed would go into the file. */
static int jobq__os_open(const char *path, int flags, int mode) {
    int fd, low, failed;
    do fd = open(path, flags | O_CLOEXEC, (mode_t)mode);
    while (fd < 0 && errno == EINTR);
    if (fd < 0 || fd > 2) return fd;
    low = fd;
    fd = fcntl(low, F_DUPFD_CLOEXEC, 3);
    failed = errno;
    close(low);
    errno = failed;
    return fd;
}

static struct jobq__os_id jobq__os_id(const struct stat *st) {
    struct jobq__os_id id = {(uint64_t)st->st_dev, (uint64_t)st->st_ino};
    return id;
}

JOBQ__INTERNAL int jobq__os_look(const char *path, struct jobq__os_file *file) {
    struct stat st;
    memset(file, 0, sizeof *file);
    if (lstat(path, &st)) return errno == ENOENT || errno == ENOTDIR ? 0 : errno;
    file->kind = S_ISREG(st.st_mode) ? JOBQ__OS_FILE
               : S_ISLNK(st.st_mode) ? JOBQ__OS_LINK
               : S_ISDIR(st.st_mode) ? JOBQ__OS_DIRECTORY : JOBQ__OS_OTHER;
    file->id = jobq__os_id(&st);
    file->size = (int64_t)st.st_size;
    file->names = (int64_t)st.st_nlink;
    file->mode = (int)(st.st_mode & 0777);
    file->user = (int64_t)st.st_uid;
    file->group = (int64_t)st.st_gid;
    return 0;
}

JOBQ__INTERNAL int jobq__os_may(const char *path, bool write) {
    if (!faccessat(AT_FDCWD, path, write ? R_OK | W_OK : R_OK, AT_EACCESS)) return 0;
    return errno == EACCES || errno == EPERM || errno == EROFS ? errno : 0;
}

JOBQ__INTERNAL bool jobq__os_moved(const char *path, const struct jobq__os_id *id) {
    struct jobq__os_file now;
    if (jobq__os_look(path, &now)) return false;
    return now.kind == JOBQ__OS_MISSING || !jobq__os_same_file(&now.id, id);
}

JOBQ__INTERNAL struct jobq__os_id jobq__os_id_of(int fd) {
    struct jobq__os_id none = {0, 0};
    struct stat st;
    return fstat(fd, &st) ? none : jobq__os_id(&st);
}

JOBQ__INTERNAL bool jobq__os_remote(const char *path) {
#if defined(__linux__)
    /* f_type, from the kernel's magic.h and the file systems' own sources. FUSE may be local, but
     * nobody can tell; virtiofs and sshfs say the same. */
    static const uint32_t remote[] = {
        0x6969 /* NFS */, 0x517B /* SMB */, 0xFF534D42 /* CIFS */, 0xFE534D42 /* SMB 2 */,
        0x564C /* NCP */, 0x73757245 /* Coda */, 0x5346414F /* AFS */, 0x6B414653 /* kAFS */,
        0x01021997 /* 9p */, 0x65735546 /* FUSE */, 0x00C36400 /* Ceph */, 0x01161970 /* GFS 2 */,
        0x7461636F /* OCFS 2 */, 0x0BD00BD0 /* Lustre */, 0x47504653 /* GPFS */,
        0x19830326 /* BeeGFS */, 0x20030528 /* OrangeFS */, 0x786F4256 /* VirtualBox */,
        0xBACBACBC /* VMware */, 0x7C7C6673 /* Parallels */};
    struct statfs st;
    size_t i;
    if (statfs(path, &st)) return false;
    for (i = 0; i < JOBQ__COUNT(remote); i++)
        if ((uint32_t)st.f_type == remote[i]) return true;
    return false;
#elif defined(MNT_LOCAL)
    struct statfs st;
    return statfs(path, &st) == 0 && !(st.f_flags & MNT_LOCAL);
#else
    (void)path;
    return false;
#endif
}

JOBQ__INTERNAL bool jobq__os_short_names(const char *path) {
#if defined(__linux__)
    struct statfs st;
    return statfs(path, &st) == 0 && (uint32_t)st.f_type == 0x4D44; /* msdos and vfat */
#else
    (void)path;
    return false;
#endif
}

#if defined(__linux__)
/* Looks for a line whose fifth field is path; blanks and the like stand there as \040. */
static bool jobq__os_in_mounts(int fd, const char *path) {
    char buffer[1024];
    int field = 0, digits = 0;
    unsigned value = 0;
    size_t at = 0;
    bool same = true, found = false;
    ssize_t size, i;
    while (!found && (size = read(fd, buffer, sizeof buffer)) > 0) {
        for (i = 0; i < size && !found; i++) {
            unsigned char c = (unsigned char)buffer[i];
            if (c == ' ' || c == '\n') {
                found = field == 4 && same && !path[at];
                field = c == ' ' ? field + 1 : 0;
                at = 0;
                same = true;
                continue;
            }
            if (field != 4 || !same) continue;
            if (c == '\\' && !digits) {
                digits = 3;
                value = 0;
                continue;
            }
            if (digits) {
                value = value * 8 + (unsigned)(c - '0');
                if (--digits) continue;
                c = (unsigned char)value;
            }
            same = path[at] && (unsigned char)path[at] == c;
            at += same;
        }
    }
    return found;
}

/* Asks the kernel itself; false if it does not know. Not on Android, which kills who makes a call
 * that it has not heard of. */
static bool jobq__os_tells_mount(const char *path, bool *mounted) {
#if defined(SYS_statx) && !defined(__ANDROID__)
    /* struct statx as words, and STATX_ATTR_MOUNT_ROOT: not every system's headers have them. */
    enum { ATTRIBUTES = 1, KNOWN = 7, WORDS = 32, MOUNT_ROOT = 0x2000 };
    uint64_t st[WORDS] = {0};
    if (syscall(SYS_statx, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, 0, st)) return false;
    *mounted = (st[ATTRIBUTES] & MOUNT_ROOT) != 0;
    return (st[KNOWN] & MOUNT_ROOT) != 0;
#else
    (void)path;
    (void)mounted;
    return false;
#endif
}
#endif

JOBQ__INTERNAL int jobq__os_mounted(const char *path, bool *mounted) {
#if defined(__linux__)
    int fd;
    if (jobq__os_tells_mount(path, mounted)) return 0;
    fd = jobq__os_open("/proc/self/mountinfo", O_RDONLY, 0);
    *mounted = fd >= 0 && jobq__os_in_mounts(fd, path);
    if (fd < 0) return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? errno : 0;
    close(fd);
#else
    (void)path;
    *mounted = false;
#endif
    return 0;
}

/* "dir/" and name as one text; a dir of size 0 is not there. */
static char *jobq__os_join(const char *dir, size_t size, const char *name) {
    size_t length = strlen(name);
    char *joined = jobq__mem_new(size + length + 2);
    if (!joined) return NULL;
    memcpy(joined, dir, size);
    if (size && dir[size - 1] != '/') joined[size++] = '/';
    memcpy(joined + size, name, length + 1);
    return joined;
}

/* What path leads to is what stands under its text: some paths lead elsewhere, as those through
 * /proc do. 0 or errno; what is gone by now leads nowhere. */
static int jobq__os_compare(const char *path, const char *real) {
    struct stat led, named;
    struct jobq__os_id a, b;
    if (stat(path, &led)) return errno == ENOENT ? 0 : errno;
    if (stat(real, &named)) return errno == ENOENT ? JOBQ__OS_ELSEWHERE : errno;
    a = jobq__os_id(&led);
    b = jobq__os_id(&named);
    return jobq__os_same_file(&a, &b) ? 0 : JOBQ__OS_ELSEWHERE;
}

/* The text of what stands at path; 0 or errno. */
static int jobq__os_real(const char *path, char **real) {
    struct stat st;
    int failed = 0, again = 0;
    *real = realpath(path, NULL);
    if (!*real) failed = errno;
    /* It may have been made just now; else its text is no name. */
    if (failed == ENOENT && !stat(path, &st)) {
        *real = realpath(path, NULL);
        if (!*real) again = errno;
        failed = again == ENOENT ? JOBQ__OS_ELSEWHERE : again;
    }
    if (!failed) failed = jobq__os_compare(path, *real);
    if (!failed) return 0;
    free(*real);
    *real = NULL;
    return failed;
}

/* The last part of *path is missing, or a link to what is missing: goes where the link leads, or
 * says at once what the whole means. 0 or errno. */
static int jobq__os_resolve_last(char **path, char **resolved) {
    const char *slash = strrchr(*path, '/');
    const char *name = slash ? slash + 1 : *path;
    size_t size = (size_t)(name - *path);
    char target[1024], *real, *dir;
    ssize_t length;
    int failed;
    if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return ENOENT;
    length = readlink(*path, target, sizeof target - 1);
    if (length == (ssize_t)sizeof target - 1) return ENAMETOOLONG;
    if (length >= 0) {
        target[length] = 0;
        dir = jobq__os_join(*path, target[0] == '/' ? 0 : size, target);
        if (!dir) return ENOMEM;
        jobq__mem_free(*path);
        *path = dir;
        return 0;
    }
    dir = jobq__os_join(*path, size, ".");
    if (!dir) return ENOMEM;
    failed = jobq__os_real(dir, &real);
    jobq__mem_free(dir);
    if (failed) return failed;
    *resolved = jobq__os_join(real, strlen(real), name);
    free(real);
    return *resolved ? 0 : ENOMEM;
}

JOBQ__INTERNAL int jobq__os_resolve(const char *path, char **resolved) {
    char *at = jobq__mem_copy(path, strlen(path)), *real;
    int links = 0, failed = at ? 0 : ENOMEM;
    *resolved = NULL;
    while (!failed && !*resolved) {
        failed = jobq__os_real(at, &real);
        if (!failed) {
            *resolved = jobq__mem_copy(real, strlen(real));
            free(real);
            failed = *resolved ? 0 : ENOMEM;
        } else if (failed == ENOENT) {
            failed = links++ < 40 ? jobq__os_resolve_last(&at, resolved) : ELOOP;
        }
    }
    jobq__mem_free(at);
    return failed;
}

JOBQ__INTERNAL bool jobq__os_full(int os_code) {
    return os_code == ENOSPC || os_code == EDQUOT;
}

static int jobq__os_code(int os_code) {
    if (os_code == EROFS || os_code == EACCES || os_code == EPERM) return JOBQ_READ_ONLY;
    if (jobq__os_full(os_code)) return JOBQ_FULL;
    if (os_code == ENOMEM) return JOBQ_NO_MEMORY;
    return JOBQ_CANT_OPEN;
}

JOBQ__INTERNAL int jobq__os_create(const char *path, int mode, int64_t group, bool *created,
                                   jobq_error *err) {
    int fd = jobq__os_open(path, O_RDWR | O_CREAT | O_EXCL, 0600), rc = JOBQ_OK;
    *created = fd >= 0;
    if (fd < 0 && errno == EEXIST) return JOBQ_OK;
    if (fd < 0)
        return jobq__err_os(err, jobq__os_code(errno), errno, "open", path,
                            "a queue cannot be made there");
    if (group && fchown(fd, (uid_t)-1, (gid_t)group))
        rc = jobq__err_os(err, jobq__os_code(errno), errno, "fchown", path,
                          "the process has to belong to group_id");
    else if (fchmod(fd, (mode_t)mode))
        rc = jobq__err_os(err, jobq__os_code(errno), errno, "fchmod", path, NULL);
    close(fd);
    if (rc != JOBQ_OK) unlink(path);
    return rc;
}

/* Only root may give a file away; a group may be given by who belongs to it. */
static uid_t jobq__os_new_user(const struct jobq__os_file *like) {
    return geteuid() == 0 ? (uid_t)like->user : (uid_t)-1;
}

JOBQ__INTERNAL void jobq__os_match_owner(const char *path, const struct jobq__os_file *like) {
    uid_t user = jobq__os_new_user(like);
    struct jobq__os_file file;
    if (jobq__os_look(path, &file) || file.kind != JOBQ__OS_FILE) return;
    if (file.group == like->group && (file.user == like->user || user == (uid_t)-1)) return;
    if (lchown(path, user, (gid_t)like->group)) return;
}

/* The mode for a file that has stayed with another group than the one that like is of: to that one
 * its members are others, and so our group's are to like. */
static int jobq__os_mode_of_others(int mode) {
    return (mode & 0707) | (mode & 07) << 3;
}

JOBQ__INTERNAL void jobq__os_match(int fd, const struct jobq__os_file *like) {
    uid_t user = jobq__os_new_user(like);
    int mode = like->mode | 0600; /* never less than we need to come in again */
    struct stat st;
    if (fstat(fd, &st)) return;
    if (st.st_gid != (gid_t)like->group || (user != (uid_t)-1 && st.st_uid != user))
        if (fchown(fd, user, (gid_t)like->group)) mode = jobq__os_mode_of_others(mode);
    if ((int)(st.st_mode & 0777) != mode && fchmod(fd, (mode_t)mode)) return;
}

/* True if the system would kill the process (SIGXFSZ) for a file of this size. */
static bool jobq__os_forbidden(int64_t size) {
    struct rlimit limit;
    return !getrlimit(RLIMIT_FSIZE, &limit) && limit.rlim_cur != RLIM_INFINITY
        && (uint64_t)size > (uint64_t)limit.rlim_cur;
}

/* Real zeros: a store into a hole of a mapped file kills the process when the disk is full. */
static int jobq__os_fill(int fd, off_t from, size_t size) {
    static const char zeros[512];
    while (from < (off_t)size) {
        size_t part = JOBQ__MIN(sizeof zeros, size - (size_t)from);
        ssize_t written = pwrite(fd, zeros, part, from);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return errno == EIO ? JOBQ_IO : JOBQ_FULL;
        from += written;
    }
    return JOBQ_OK;
}

/* A pipe in its place must not keep us waiting, nor a link lead us to another file. */
JOBQ__INTERNAL int jobq__os_page_open(const char *path, bool make, int *opened, jobq_error *err) {
    int flags = O_NOFOLLOW | O_NONBLOCK;
    int fd = jobq__os_open(path, flags | O_RDWR, 0600), failed, rc = JOBQ_OK;
    struct stat st;
    /* In a directory for everybody a system may refuse this of a file that is there. */
    if (fd < 0 && make && errno == ENOENT) fd = jobq__os_open(path, flags | O_RDWR | O_CREAT, 0600);
    /* A client that may not write there can read all the same. */
    if (fd < 0 && !make) fd = jobq__os_open(path, flags | O_RDONLY, 0);
    failed = errno;
    if (fd < 0)
        rc = jobq__err_os(err, jobq__os_code(failed), failed, "open", path,
                          failed == ELOOP ? "the lock file may not be a link; remove it"
                          : make ? "the lock file has to be there for reading and writing"
                          : jobq__os_code(failed) == JOBQ_READ_ONLY ? JOBQ__ERR_RIGHTS : NULL);
    else if (fstat(fd, &st) || !S_ISREG(st.st_mode))
        rc = jobq__err_set(err, JOBQ_NOT_A_FILE, "the lock file %.250s is not a regular file;"
                           " remove it", path);
    if (rc != JOBQ_OK && fd >= 0) close(fd);
    *opened = rc == JOBQ_OK ? fd : -1;
    return rc;
}

JOBQ__INTERNAL int jobq__os_page_lock(int fd, const char *path, size_t size, jobq_error *err) {
    struct stat st;
    int rc = JOBQ_OK;
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        if (errno == EWOULDBLOCK) return JOBQ_LOCKED;
        return jobq__err_os(err, JOBQ_IO, errno, "flock", path, NULL);
    }
    /* Only the owner may change the size: another mapping would die of a shrunken file. */
    if (fstat(fd, &st)) return jobq__err_os(err, JOBQ_IO, errno, "fstat", path, NULL);
    if (st.st_size < (off_t)size && jobq__os_forbidden((int64_t)size))
        return jobq__err_os(err, JOBQ_IO, EFBIG, "write", path, "see RLIMIT_FSIZE");
    if (st.st_size < (off_t)size) rc = jobq__os_fill(fd, st.st_size, size);
    return rc == JOBQ_OK ? rc : jobq__err_os(err, rc, errno, "write", path, NULL);
}

JOBQ__INTERNAL int jobq__os_page_map(int fd, const char *path, size_t size, bool writable,
                                     void **page, jobq_error *err) {
    int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    struct stat st;
    void *at;
    if (fstat(fd, &st)) return jobq__err_os(err, JOBQ_IO, errno, "fstat", path, NULL);
    if (st.st_size < (off_t)size)
        return jobq__err_set(err, JOBQ_IO, "the lock file %.250s is too short", path);
    at = mmap(*page, size, protection, MAP_SHARED | (*page ? MAP_FIXED : 0), fd, 0);
    if (at == MAP_FAILED) return jobq__err_os(err, JOBQ_IO, errno, "mmap", path, NULL);
    *page = at;
    return JOBQ_OK;
}

JOBQ__INTERNAL void *jobq__os_page_blank(size_t size, void *at) {
    int protection = at ? PROT_READ | PROT_WRITE : PROT_READ;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0);
    void *page = mmap(at, size, protection, flags, -1, 0);
    return page == MAP_FAILED ? NULL : page;
}

JOBQ__INTERNAL int64_t jobq__os_read_at(int fd, int64_t at, void *data, size_t size) {
    size_t done = 0;
    while (done < size) {
        ssize_t part = pread(fd, (char *)data + done, size - done, (off_t)at + (off_t)done);
        if (part < 0 && errno == EINTR) continue;
        if (part < 0) return -1;
        if (!part) break;
        done += (size_t)part;
    }
    return (int64_t)done;
}

JOBQ__INTERNAL void jobq__os_write_at(int fd, size_t at, const void *data, size_t size) {
    ssize_t written = pwrite(fd, data, size, (off_t)at);
    (void)written;
}

JOBQ__INTERNAL void jobq__os_page_unlock(int fd) {
    flock(fd, LOCK_UN);
}

JOBQ__INTERNAL void jobq__os_page_close(int fd, void *page, size_t size) {
    if (page) munmap(page, size);
    if (fd >= 0) close(fd);
}

/* Allocates the bytes between the two sizes. An errno, or 0. */
static int jobq__os_extend(int fd, off_t from, off_t to) {
#ifdef __APPLE__
    fstore_t store = {F_ALLOCATEALL, F_PEOFPOSMODE, 0, to - from, 0};
    if (fcntl(fd, F_PREALLOCATE, &store) == -1 || ftruncate(fd, to)) return errno;
    return 0;
#else
    int failed;
    do failed = posix_fallocate(fd, from, to - from);
    while (failed == EINTR);
    return failed;
#endif
}

JOBQ__INTERNAL int jobq__os_allocate(int fd, int64_t size) {
    struct stat st;
    int failed = 0;
    if (fstat(fd, &st) || (st.st_size < (off_t)size && jobq__os_forbidden(size))) return JOBQ_IO;
    if (st.st_size > (off_t)size) failed = ftruncate(fd, (off_t)size) ? errno : 0;
    else if (st.st_size < (off_t)size) failed = jobq__os_extend(fd, st.st_size, (off_t)size);
    if (!failed) return JOBQ_OK;
    /* It may have got a part of it. */
    if (st.st_size < (off_t)size && ftruncate(fd, st.st_size)) return JOBQ_IO;
    return jobq__os_full(failed) ? JOBQ_FULL : JOBQ_IO;
}

JOBQ__INTERNAL int64_t jobq__os_size(int fd) {
    struct stat st;
    return fstat(fd, &st) ? 0 : (int64_t)st.st_size;
}

JOBQ__INTERNAL int64_t jobq__os_free_bytes(int fd) {
    struct statvfs st;
    uint64_t blocks, size;
    if (fstatvfs(fd, &st)) return INT64_MAX;
    blocks = st.f_bavail;
    size = st.f_frsize;
    if (size && blocks > (uint64_t)INT64_MAX / size) return INT64_MAX;
    return (int64_t)(blocks * size);
}

JOBQ__INTERNAL int jobq__os_pid(void) {
    return (int)getpid();
}

/* When the system was started, by its own clock; in seconds, 0 if it cannot be told. */
static int64_t jobq__os_boot_at(void) {
#if defined(CLOCK_BOOTTIME)
    struct timespec wall, up;
    if (clock_gettime(CLOCK_REALTIME, &wall) || clock_gettime(CLOCK_BOOTTIME, &up)) return 0;
    return (int64_t)wall.tv_sec - (int64_t)up.tv_sec;
#elif defined(KERN_BOOTTIME)
    int name[2] = {CTL_KERN, KERN_BOOTTIME};
    struct timeval at;
    size_t size = sizeof at;
    return sysctl(name, 2, &at, &size, NULL, 0) ? 0 : (int64_t)at.tv_sec;
#else
    return 0;
#endif
}

/* A device without a clock of its own may begin at the same time with every boot, in whatever year,
 * until somebody has set it right; and only then is a time the boot's own. */
static bool jobq__os_clock_is_right(void) {
#if defined(__linux__)
    struct timex t;
    int state;
    memset(&t, 0, sizeof t);
    state = adjtimex(&t);
    return state >= 0 && state != TIME_ERROR;
#else
    return true;
#endif
}

#define JOBQ__OS_BOOT_AT "booted at " /* where there is no id of the boot */

JOBQ__INTERNAL void jobq__os_boot_id(char *text, size_t capacity) {
    ssize_t size = 0;
    int64_t at;
    int fd = jobq__os_open("/proc/sys/kernel/random/boot_id", O_RDONLY, 0);
    if (fd >= 0) {
        size = read(fd, text, capacity - 1);
        close(fd);
    }
    text[size > 0 ? size : 0] = 0;
    text[strcspn(text, "\n")] = 0;
    if (*text) return;
    at = jobq__os_boot_at();
    if (at > JOBQ__OS_CLOCK_IS_SET && jobq__os_clock_is_right())
        snprintf(text, capacity, JOBQ__OS_BOOT_AT "%lld", (long long)at);
}

static int64_t jobq__os_booted(const char *text, size_t capacity) {
    size_t size = strlen(JOBQ__OS_BOOT_AT);
    int64_t at = 0;
    if (strncmp(text, JOBQ__OS_BOOT_AT, size) != 0) return 0;
    for (; size < capacity && text[size] >= '0' && text[size] <= '9' && at < INT64_MAX / 16; size++)
        at = at * 10 + (text[size] - '0');
    return at;
}

JOBQ__INTERNAL bool jobq__os_same_boot(const char *a, const char *b, size_t capacity) {
    int64_t at = jobq__os_booted(a, capacity), other = jobq__os_booted(b, capacity);
    /* Two clocks are read one after the other. */
    if (at && other) return at - other <= 1 && other - at <= 1;
    return *a && strncmp(a, b, capacity) == 0;
}

static struct jobq__mutex jobq__os_global = {.raw = PTHREAD_MUTEX_INITIALIZER};

JOBQ__INTERNAL void jobq__os_global_lock(void) {
    jobq__os_lock(&jobq__os_global);
}

JOBQ__INTERNAL void jobq__os_global_unlock(void) {
    jobq__os_unlock(&jobq__os_global);
}

static struct jobq__cond jobq__os_called = {.raw = PTHREAD_COND_INITIALIZER};

JOBQ__INTERNAL void jobq__os_global_wait(void) {
    jobq__os_wait(&jobq__os_called, &jobq__os_global);
}

JOBQ__INTERNAL void jobq__os_global_call(void) {
    jobq__os_global_lock();
    jobq__os_broadcast(&jobq__os_called);
    jobq__os_global_unlock();
}

JOBQ__INTERNAL int jobq__os_hooks(void (*in_child)(void), void (*at_exit)(void)) {
    static bool forks, exits;
    if (!forks) forks = !pthread_atfork(jobq__os_global_lock, jobq__os_global_unlock, in_child);
    if (forks && !exits) exits = !atexit(at_exit);
    return forks && exits ? JOBQ_OK : JOBQ_NO_MEMORY;
}

/*==== clock.h ====*/
/* clock.h - the readings of time: wall, monotonic, and an artificial clock's. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/clock.h"
#endif
#ifndef JOBQ__CLOCK_H
#define JOBQ__CLOCK_H

/* #include "list.h" */
/* #include "os.h" */

/* Three readings, never mixed; nothing else reads time.
 *
 *   wall      milliseconds of the epoch, never negative; it may be set forth and back at any time.
 *             Due times, history, housekeeping: what stands in the file.
 *   monotonic milliseconds since some moment; it only goes on. Durations of this process: a run's
 *             deadline and length, a sleep, a wait. No step of the wall reaches them.
 *   real      the monotonic reading in microseconds, of the system whatever the queue's clock is:
 *             grace, stall, busy waits, measured rates.
 *
 * In step mode under an artificial clock the same calls are to have the same history, on a machine
 * of any speed. So there real time decides nothing:
 *   - who has to wait for it sleeps where he is, and then does what he would have done: for the
 *     file, for memory. Nobody goes on and comes back when the time has come, for the clock may
 *     have been moved meanwhile;
 *   - what comes round every so often comes with each call: the look at what others have written;
 *   - what is measured steers nothing: one job is claimed at a time, a slice of housekeeping has
 *     so many pages, and no turn that was given up keeps it from being done.
 * Left to it is when to give up: busy_ms, stall_ms, and how soon it is seen that somebody has moved
 * the files. And a handler that keeps looking at its flag waits for its deadline, for which real
 * time alone is not enough (JOBQ__PATIENCE_LOOK_US).
 *
 * An artificial clock has the first two, and they are not the same number: its monotonic reading
 * begins at 0, as after a boot, so that whoever mixes them is found out by every test. */

struct jobq__now {
    int64_t wall_ms, mono_ms;
    int64_t own_ms;     /* a queue's own time, of jobq__own_read alone */
};

/* Both at one moment. clock NULL is the system's, here and below. */
JOBQ__INTERNAL struct jobq__now jobq__clock_read(jobq_clock *clock);
JOBQ__INTERNAL int64_t jobq__clock_now_ms(jobq_clock *clock); /* the wall alone */
JOBQ__INTERNAL int64_t jobq__clock_mono_ms(jobq_clock *clock);
JOBQ__INTERNAL int64_t jobq__clock_mono_us(void); /* real */

/* The monotonic reading when duration_ms will have passed, all of them. */
JOBQ__INTERNAL int64_t jobq__clock_after(jobq_clock *clock, int64_t duration_ms);

/* When the wall will show what now does, if nobody sets it until the monotonic reading is at_ms;
 * and the reverse. Never stays never. */
JOBQ__INTERNAL int64_t jobq__clock_on_wall(struct jobq__now now, int64_t at_ms);
JOBQ__INTERNAL int64_t jobq__clock_on_mono(struct jobq__now now, int64_t at_ms);

/* Moves an artificial clock forward, both readings, until the monotonic one is at_ms. */
JOBQ__INTERNAL void jobq__clock_move(jobq_clock *clock, int64_t at_ms);

/* Who has to hear of a step of an artificial clock's wall: called on the thread that steps it, with
 * no lock held, and never after leave has returned. The struct is the caller's. */
struct jobq__clock_user {
    struct jobq__link link;
    void (*stepped)(void *arg);
    void *arg;
    int64_t heard;  /* of how many steps */
    int telling;    /* threads that are about to call, or inside */
};

/* clock NULL: nothing; the system tells who waits by its wall. */
JOBQ__INTERNAL void jobq__clock_join(jobq_clock *clock, struct jobq__clock_user *user,
                                     void (*stepped)(void *arg), void *arg);
JOBQ__INTERNAL void jobq__clock_leave(jobq_clock *clock, struct jobq__clock_user *user);

/* ---- A queue's own time ----
 *
 * own = wall + offset. What waits for a duration (a delay, a backoff, a snooze) is due by it; what
 * waits for a point in time is due by the wall. As long as a process has the queue open the offset
 * takes in each step of the wall, back or forth, so that own time goes on by what really passes:
 *
 *   back, by S         offset + S. Nothing waits longer. (To wait for the wall would add S.)
 *   forth, by S        offset - S, which may be negative. Nothing is early. (An offset that only
 *                      grew would be right until a clock that was back is set right again: each
 *                      boot in 1970 would end, once the network has told the time, every delay
 *                      that there is. And one that is set forth, and back when that was seen to be
 *                      wrong, would leave all delays too short by as much.)
 *
 * While no process has it open nobody sees what passes, and the wall has to tell. The file has the
 * offset and the wall of when the claims row was last written, or else of when the last job was
 * stored, which does not write it: own time was O = W + offset then. A wall that shows w at the
 * next open means
 *
 *   w < W              it was set back, or the machine boots in 1970: nobody can say how long it
 *                      was off. Own time goes on from O. A duration takes no longer, from that
 *                      open on, than its own length; nor is one early when the wall is set right.
 *   W <= w             w - W have passed. But if the wall had been back, and has reached O by now,
 *                      it was set right meanwhile, and own time is the wall again.
 *
 * Beyond the year 9999 (JOBQ__WALL_MAX), where only an artificial clock shows a wall, the file says
 * no more than that year, and an offset of as much: steps from there count as time that has passed.
 *
 * What passed after that moment, in which a process was still there, is in w - W, for no step was
 * seen: who sees one writes the claims row with its next transaction, and that row is all that a
 * step costs. One that nobody saw (the process slept, or the power went first) is taken for time
 * that has passed, or has not, at most by its size; so a duration is wrong by that, but begins anew
 * at worst.
 *
 * The first reading of a process, and what passes from there on (jobq__os_time_passed_us), are the
 * truth; the offset follows them. It stays as it is within what two clocks may differ by because
 * they are read one after the other, so it is 0 until the wall is set. Base is constant once begun;
 * any thread may read. */
struct jobq__own {
    int64_t base_ms;    /* own time less what has passed */
    int64_t offset_ms;  /* atomic; as it was last read */
    int64_t stored_ms;  /* baton: the file's; of an owner */
};

/* Own time, if the file says that it was offset_ms more than the wall when that showed at_ms. */
JOBQ__INTERNAL int64_t jobq__own_at(int64_t wall_ms, int64_t offset_ms, int64_t at_ms);
/* An owner opens: own time goes on from what the file says. Before any other thread reads. */
JOBQ__INTERNAL void jobq__own_begin(struct jobq__own *own, jobq_clock *clock, int64_t offset_ms,
                                    int64_t at_ms);
/* All three, and takes note of a step; any thread. */
JOBQ__INTERNAL struct jobq__now jobq__own_read(struct jobq__own *own, jobq_clock *clock);
/* When the wall will show what own time does at at_ms, as it goes now; never stays never. */
JOBQ__INTERNAL int64_t jobq__own_on_wall(struct jobq__now now, int64_t at_ms);
/* The same of the monotonic reading. */
JOBQ__INTERNAL int64_t jobq__own_on_mono(struct jobq__now now, int64_t at_ms);

#endif

/*==== clock.c ====*/
/* clock.c - the readings of time: wall, monotonic, and an artificial clock's. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/clock.c"
#endif
/* #include "clock.h" */

struct jobq_clock {
    /* Written under mu, read without; the wall is the sum. */
    int64_t mono_ms, offset_ms;
    struct jobq__mutex mu;      /* guards what follows, and the users' fields */
    struct jobq__cond told;
    struct jobq__link users;
    int64_t steps;
};

/* ---- Reading ---- */

/* The last moment comes, never does not: so a job of now is one that can be due. */
static int64_t jobq__clock_wall(int64_t ms) {
    return JOBQ__MIN(JOBQ__MAX(ms, 0), INT64_MAX - 1);
}

/* Of one moment: the offset was the same before and after. */
static struct jobq__now jobq__clock_shows(const jobq_clock *clock) {
    struct jobq__now now;
    int64_t offset_ms;
    do {
        offset_ms = jobq__os_load64(&clock->offset_ms);
        now.mono_ms = jobq__os_load64(&clock->mono_ms);
    } while (jobq__os_load64(&clock->offset_ms) != offset_ms);
    now.wall_ms = jobq__add(now.mono_ms, offset_ms);
    now.own_ms = 0;
    return now;
}

JOBQ__INTERNAL struct jobq__now jobq__clock_read(jobq_clock *clock) {
    struct jobq__now now;
    if (clock) {
        now = jobq__clock_shows(clock);
    } else {
        now.wall_ms = jobq__os_time_wall_us() / 1000;
        now.mono_ms = jobq__os_time_mono_us() / 1000;
        now.own_ms = 0;
    }
    now.wall_ms = jobq__clock_wall(now.wall_ms);
    return now;
}

JOBQ__INTERNAL int64_t jobq__clock_now_ms(jobq_clock *clock) {
    return jobq__clock_wall(clock ? jobq__clock_shows(clock).wall_ms
                                  : jobq__os_time_wall_us() / 1000);
}

JOBQ__INTERNAL int64_t jobq__clock_mono_ms(jobq_clock *clock) {
    return clock ? jobq__os_load64(&clock->mono_ms) : jobq__os_time_mono_us() / 1000;
}

JOBQ__INTERNAL int64_t jobq__clock_mono_us(void) {
    return jobq__os_time_mono_us();
}

JOBQ__INTERNAL int64_t jobq__clock_after(jobq_clock *clock, int64_t duration_ms) {
    int64_t begun_ms = clock ? jobq__clock_mono_ms(clock) : (jobq__os_time_mono_us() + 999) / 1000;
    return jobq__add(begun_ms, duration_ms);
}

JOBQ__INTERNAL int64_t jobq__clock_on_wall(struct jobq__now now, int64_t at_ms) {
    if (at_ms == JOBQ_NEVER) return JOBQ_NEVER;
    return jobq__add(now.wall_ms, jobq__sub(at_ms, now.mono_ms));
}

JOBQ__INTERNAL int64_t jobq__clock_on_mono(struct jobq__now now, int64_t at_ms) {
    if (at_ms == JOBQ_NEVER) return JOBQ_NEVER;
    return jobq__add(now.mono_ms, jobq__sub(at_ms, now.wall_ms));
}

/* ---- A queue's own time ---- */

JOBQ__INTERNAL int64_t jobq__own_at(int64_t wall_ms, int64_t offset_ms, int64_t at_ms) {
    int64_t then_ms = jobq__clock_wall(jobq__add(at_ms, offset_ms));
    if (wall_ms < at_ms) return then_ms;
    if (offset_ms > 0 && wall_ms >= then_ms) return wall_ms;
    return jobq__clock_wall(jobq__add(wall_ms, offset_ms));
}

static int64_t jobq__own_passed(jobq_clock *clock, struct jobq__now now) {
    return clock ? now.mono_ms : jobq__os_time_passed_us() / 1000;
}

/* What the offset has to be for own time to have gone on by what has passed. */
static int64_t jobq__own_offset(const struct jobq__own *own, jobq_clock *clock,
                                struct jobq__now now) {
    int64_t own_ms = jobq__add(own->base_ms, jobq__own_passed(clock, now));
    return jobq__sub(jobq__clock_wall(own_ms), now.wall_ms);
}

JOBQ__INTERNAL void jobq__own_begin(struct jobq__own *own, jobq_clock *clock, int64_t offset_ms,
                                    int64_t at_ms) {
    struct jobq__now now = jobq__clock_read(clock);
    int64_t own_ms = jobq__own_at(now.wall_ms, offset_ms, at_ms);
    own->base_ms = jobq__sub(own_ms, jobq__own_passed(clock, now));
    own->stored_ms = offset_ms;
    jobq__os_store64(&own->offset_ms, jobq__sub(own_ms, now.wall_ms));
}

/* An artificial clock shows both at one moment. */
static bool jobq__own_stepped(jobq_clock *clock, int64_t offset_ms, int64_t before_ms) {
    int64_t by_ms = jobq__sub(offset_ms, before_ms);
    int64_t least_ms = clock ? 1 : JOBQ__STEP_LEAST_MS;
    return by_ms >= least_ms || by_ms <= -least_ms;
}

JOBQ__INTERNAL struct jobq__now jobq__own_read(struct jobq__own *own, jobq_clock *clock) {
    struct jobq__now now = jobq__clock_read(clock);
    int64_t before_ms = jobq__os_load64(&own->offset_ms);
    int64_t offset_ms = jobq__own_offset(own, clock, now);
    if (jobq__own_stepped(clock, offset_ms, before_ms)) {
        /* Again: this thread may have been kept waiting between the two. */
        now = jobq__clock_read(clock);
        offset_ms = jobq__own_offset(own, clock, now);
        if (jobq__own_stepped(clock, offset_ms, before_ms))
            jobq__os_store64(&own->offset_ms, before_ms = offset_ms);
    }
    now.own_ms = jobq__clock_wall(jobq__add(now.wall_ms, before_ms));
    return now;
}

JOBQ__INTERNAL int64_t jobq__own_on_wall(struct jobq__now now, int64_t at_ms) {
    if (at_ms == JOBQ_NEVER) return JOBQ_NEVER;
    return jobq__clock_wall(jobq__add(now.wall_ms, jobq__sub(at_ms, now.own_ms)));
}

JOBQ__INTERNAL int64_t jobq__own_on_mono(struct jobq__now now, int64_t at_ms) {
    if (at_ms == JOBQ_NEVER) return JOBQ_NEVER;
    return jobq__add(now.mono_ms, jobq__sub(at_ms, now.own_ms));
}

/* ---- Moving an artificial clock ---- */

JOBQ__INTERNAL void jobq__clock_move(jobq_clock *clock, int64_t at_ms) {
    jobq__os_lock(&clock->mu);
    if (at_ms > clock->mono_ms) jobq__os_store64(&clock->mono_ms, at_ms);
    jobq__os_unlock(&clock->mu);
}

/* One who has not heard of the last step yet, and is kept from leaving; NULL: all have. */
static struct jobq__clock_user *jobq__clock_next_user(jobq_clock *clock) {
    struct jobq__link *link;
    jobq__assert(jobq__os_held(&clock->mu));
    for (link = clock->users.next; link != &clock->users; link = link->next) {
        struct jobq__clock_user *user = JOBQ__CONTAINER(link, struct jobq__clock_user, link);
        if (user->heard == clock->steps) continue;
        user->heard = clock->steps;
        user->telling++;
        return user;
    }
    return NULL;
}

static void jobq__clock_tell(jobq_clock *clock) {
    struct jobq__clock_user *user;
    jobq__os_lock(&clock->mu);
    clock->steps++;
    while ((user = jobq__clock_next_user(clock)) != NULL) {
        jobq__os_unlock(&clock->mu);
        user->stepped(user->arg);
        jobq__os_lock(&clock->mu);
        user->telling--;
        jobq__os_broadcast(&clock->told);
    }
    jobq__os_unlock(&clock->mu);
}

JOBQ__INTERNAL void jobq__clock_join(jobq_clock *clock, struct jobq__clock_user *user,
                                     void (*stepped)(void *arg), void *arg) {
    if (!clock) return;
    user->stepped = stepped;
    user->arg = arg;
    user->telling = 0;
    jobq__os_lock(&clock->mu);
    user->heard = clock->steps;
    jobq__list_append(&clock->users, &user->link);
    jobq__os_unlock(&clock->mu);
}

JOBQ__INTERNAL void jobq__clock_leave(jobq_clock *clock, struct jobq__clock_user *user) {
    if (!clock || !user->stepped) return;
    jobq__os_lock(&clock->mu);
    jobq__list_remove(&user->link);
    while (user->telling) jobq__os_wait(&clock->told, &clock->mu);
    jobq__os_unlock(&clock->mu);
    user->stepped = NULL;
}

/* ---- The public part ---- */

JOBQ_API jobq_clock *jobq_clock_artificial(int64_t start_at_ms) {
    jobq_clock *clock = jobq__mem_new(sizeof *clock);
    if (!clock) return NULL;
    if (jobq__os_mutex_init(&clock->mu)) {
        jobq__mem_free(clock);
        return NULL;
    }
    if (jobq__os_cond_init(&clock->told, JOBQ__OS_MONO)) {
        jobq__os_mutex_fini(&clock->mu);
        jobq__mem_free(clock);
        return NULL;
    }
    jobq__list_init(&clock->users);
    clock->offset_ms = JOBQ__MAX(start_at_ms, 0);
    return clock;
}

JOBQ_API void jobq_clock_free(jobq_clock *clock) {
    if (!clock) return;
    jobq__os_cond_fini(&clock->told);
    jobq__os_mutex_fini(&clock->mu);
    jobq__mem_free(clock);
}

JOBQ_API int64_t jobq_clock_now(jobq_clock *clock) {
    return clock ? jobq__clock_shows(clock).wall_ms : jobq__clock_now_ms(NULL);
}

JOBQ_API void jobq_clock_advance(jobq_clock *clock, int64_t duration_ms) {
    if (!clock || duration_ms <= 0 || duration_ms == JOBQ_UNLIMITED) return;
    jobq__os_lock(&clock->mu);
    jobq__os_store64(&clock->mono_ms, jobq__add(clock->mono_ms, duration_ms));
    jobq__os_unlock(&clock->mu);
}

JOBQ_API void jobq_clock_set(jobq_clock *clock, int64_t at_ms) {
    if (!clock) return;
    jobq__os_lock(&clock->mu);
    jobq__os_store64(&clock->offset_ms, jobq__sub(JOBQ__MAX(at_ms, 0), clock->mono_ms));
    jobq__os_unlock(&clock->mu);
    jobq__clock_tell(clock);
}

/*==== files.h ====*/
/* files.h - which files a path means: resolved once, looked at, made, watched. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/files.h"
#endif
#ifndef JOBQ__FILES_H
#define JOBQ__FILES_H

/* #include "err.h" */
/* #include "os.h" */

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

/*==== files.c ====*/
/* files.c - which files a path means: resolved once, looked at, made, watched. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/files.c"
#endif
/* #include "files.h" */

#include <errno.h>

static char *jobq__files_beside(const char *path, const char *ending) {
    size_t size = strlen(path), more = strlen(ending);
    char *name = jobq__mem_new(size + more + 1);
    if (!name) return NULL;
    memcpy(name, path, size);
    memcpy(name + size, ending, more);
    return name;
}

static int jobq__files_name(struct jobq__files *files, const char *path, jobq_error *err) {
    int failed = jobq__os_resolve(path, &files->path);
    if (failed == ENOMEM) return jobq__err_set(err, JOBQ_NO_MEMORY, NULL);
    if (failed == JOBQ__OS_ELSEWHERE)
        return jobq__err_set(err, JOBQ_CANT_OPEN, "%.250s leads to a file that has no name here: it"
                             " was deleted, or lies in another mount namespace; give a path by"
                             " which this process finds it without /proc", path);
    if (failed)
        return jobq__err_os(err, failed == EACCES ? JOBQ_READ_ONLY : JOBQ_CANT_OPEN, failed,
                            "realpath", path, "its directory has to be there and to be entered");
    files->log = jobq__files_beside(files->path, "-wal");
    files->shm = jobq__files_beside(files->path, "-shm");
    files->lock = jobq__files_beside(files->path, "-jobq");
    if (!files->log || !files->shm || !files->lock)
        return jobq__err_set(err, JOBQ_NO_MEMORY, NULL);
    return JOBQ_OK;
}

static int jobq__files_look(const char *path, struct jobq__os_file *file, jobq_error *err) {
    int failed = jobq__os_look(path, file);
    if (!failed) return JOBQ_OK;
    return jobq__err_os(err, failed == EACCES ? JOBQ_READ_ONLY : JOBQ_CANT_OPEN, failed, "lstat",
                        path, NULL);
}

static int jobq__files_make(struct jobq__files *files, const jobq_options *options,
                            jobq_error *err) {
    int rc = jobq__os_create(files->path, options->mode, options->group_id, &files->created, err);
    if (rc == JOBQ_OK) rc = jobq__files_look(files->path, &files->db, err);
    if (rc != JOBQ_OK || files->db.kind != JOBQ__OS_MISSING) return rc;
    return jobq__err_set(err, JOBQ_CANT_OPEN, "%.250s was made and is gone again", files->path);
}

/* Only what has one name may be opened: see the design note. */
static int jobq__files_check_names(const char *path, const struct jobq__os_file *file,
                                   jobq_error *err) {
    bool mounted;
    int failed;
    if (file->names > 1)
        return jobq__err_set(err, JOBQ_LINKED, "%.250s has %lld names (hard links), and by another"
                             " one it has another log, another owner, or another database; leave it"
                             " only one, or say .linked = true", path, (long long)file->names);
    failed = jobq__os_mounted(path, &mounted);
    if (failed)
        return jobq__err_os(err, JOBQ_CANT_OPEN, failed, "open /proc/self/mountinfo for", path,
                            "it says whether the file is mounted by itself");
    if (mounted)
        return jobq__err_set(err, JOBQ_LINKED, "%.250s is mounted by itself: who does not see that"
                             " mount has another log or another owner; mount its directory, or say"
                             " .linked = true", path);
    return JOBQ_OK;
}

static const char *jobq__files_what(enum jobq__os_kind kind) {
    if (kind == JOBQ__OS_DIRECTORY) return "is a directory";
    return kind == JOBQ__OS_LINK ? "is a symbolic link" : "is not a regular file";
}

/* What stands there is a database's file, by its look. */
static int jobq__files_check_db(const struct jobq__files *files, const char *path, bool linked,
                                jobq_error *err) {
    if (files->db.kind != JOBQ__OS_FILE)
        return jobq__err_set(err, JOBQ_NOT_A_FILE, "%.250s %s; give the path of a database", path,
                             jobq__files_what(files->db.kind));
    return linked ? JOBQ_OK : jobq__files_check_names(files->path, &files->db, err);
}

/* What stands beside the database has to be a plain file with one name, too. */
static int jobq__files_check_beside(const struct jobq__files *files, bool linked,
                                    jobq_error *err) {
    const char *const names[] = {files->log, files->shm, files->lock};
    struct jobq__os_file file;
    size_t i;
    int rc;
    for (i = 0; i < JOBQ__COUNT(names); i++) {
        rc = jobq__files_look(names[i], &file, err);
        if (rc != JOBQ_OK) return rc;
        if (file.kind == JOBQ__OS_MISSING) continue;
        if (file.kind != JOBQ__OS_FILE)
            return jobq__err_set(err, JOBQ_NOT_A_FILE, "%.250s %s; it is in the way and has to be"
                                 " removed", names[i], jobq__files_what(file.kind));
        if (!linked) rc = jobq__files_check_names(names[i], &file, err);
        if (rc != JOBQ_OK) return rc;
    }
    return JOBQ_OK;
}

/* Asked before anything is made or locked: SQLite opens what it may only read without a word, and
 * of what it may not read it does not say which file that is. A client may look only. */
static int jobq__files_check_rights(const struct jobq__files *files, const jobq_options *options,
                                    jobq_error *err) {
    const char *names[] = {files->path, files->log, files->shm};
    size_t i, count = options->exclusive ? JOBQ__COUNT(names) - 1 : JOBQ__COUNT(names);
    bool owner = options->role == JOBQ_OWNER;
    for (i = 0; i < count; i++) {
        int failed = jobq__os_may(names[i], owner);
        if (failed)
            return jobq__err_os(err, JOBQ_READ_ONLY, failed, "access", names[i],
                                owner ? "the owner reads and writes it: see to its mode, or be its"
                                        " user" : JOBQ__ERR_RIGHTS);
    }
    return JOBQ_OK;
}

/* Asked of the directory too, for the file may not have been made yet. */
static bool jobq__files_lie_on(struct jobq__files *files, bool (*what)(const char *path)) {
    char *end = strrchr(files->path, '/'), kept;
    bool it;
    if (end == files->path) end++;
    kept = *end;
    *end = 0;
    it = what(files->path);
    *end = kept;
    return it || what(files->path);
}

static int jobq__files_check_near(struct jobq__files *files, jobq_error *err) {
    if (!jobq__files_lie_on(files, jobq__os_remote)) return JOBQ_OK;
    return jobq__err_set(err, JOBQ_REMOTE, "%.250s is on a network or FUSE file system, where locks"
                         " and log are not safe; .remote = true opens it all the same",
                         files->path);
}

/* As FAT makes them: eight bytes at most that end with a number behind a ~, and three at most. */
static bool jobq__files_is_short(const char *name) {
    size_t size = strcspn(name, "."), at = size;
    const char *end = name + size;
    while (at > 0 && name[at - 1] >= '0' && name[at - 1] <= '9') at--;
    return size <= 8 && at < size && at > 1 && name[at - 1] == '~' && strlen(end) <= 4;
}

/* realpath leaves such a name as it is, and what stands beside it has another one. */
static int jobq__files_check_short(struct jobq__files *files, jobq_error *err) {
    const char *slash = strrchr(files->path, '/');
    if (!slash || !jobq__files_is_short(slash + 1)
        || !jobq__files_lie_on(files, jobq__os_short_names)) return JOBQ_OK;
    return jobq__err_set(err, JOBQ_LINKED, "%.250s may be the short name (8.3) of a file that has a"
                         " long one, beside which its log and its owner would not be seen; give the"
                         " long name, or say .linked = true if there is none", files->path);
}

static int jobq__files_check(struct jobq__files *files, const char *path,
                             const jobq_options *options, jobq_error *err) {
    bool missing;
    int rc = jobq__files_look(files->path, &files->db, err);
    if (rc != JOBQ_OK) return rc;
    missing = files->db.kind == JOBQ__OS_MISSING;
    if (missing && options->role == JOBQ_CLIENT)
        return jobq__err_set(err, JOBQ_NOT_FOUND, "there is no file %.250s; the owner makes it",
                             files->path);
    if (!options->remote) rc = jobq__files_check_near(files, err);
    if (rc == JOBQ_OK && !options->linked) rc = jobq__files_check_short(files, err);
    if (rc == JOBQ_OK && !missing) rc = jobq__files_check_db(files, path, options->linked, err);
    if (rc == JOBQ_OK) rc = jobq__files_check_beside(files, options->linked, err);
    if (rc == JOBQ_OK) rc = jobq__files_check_rights(files, options, err);
    if (rc != JOBQ_OK || !missing) return rc;
    /* Last of all: of an open that was refused nothing shall remain. */
    rc = jobq__files_make(files, options, err);
    return rc == JOBQ_OK ? jobq__files_check_db(files, path, options->linked, err) : rc;
}

JOBQ__INTERNAL int jobq__files_find(struct jobq__files *files, const char *path,
                                    const jobq_options *options, jobq_error *err) {
    struct jobq__os_file root;
    int rc;
    memset(files, 0, sizeof *files);
    if (strcmp(path, ":memory:") == 0) {
        files->path = jobq__mem_copy(path, strlen(path));
        return files->path ? JOBQ_OK : jobq__err_set(err, JOBQ_NO_MEMORY, NULL);
    }
    if (!jobq__os_look("/", &root)) files->root_id = root.id;
    rc = jobq__files_name(files, path, err);
    return rc == JOBQ_OK ? jobq__files_check(files, path, options, err) : rc;
}

JOBQ__INTERNAL void jobq__files_fini(struct jobq__files *files) {
    jobq__mem_free(files->path);
    jobq__mem_free(files->log);
    jobq__mem_free(files->shm);
    jobq__mem_free(files->lock);
    memset(files, 0, sizeof *files);
}

/* Some ways to open files keep the one or the other elsewhere. */
static void jobq__files_note(const char *path, struct jobq__os_file *beside,
                             const struct jobq__os_file *db) {
    jobq__os_match_owner(path, db);
    if (jobq__os_look(path, beside)) beside->kind = JOBQ__OS_MISSING;
}

JOBQ__INTERNAL void jobq__files_opened(struct jobq__files *files, bool shares_memory) {
    if (!files->log) return;
    jobq__files_note(files->log, &files->log_file, &files->db);
    if (shares_memory) jobq__files_note(files->shm, &files->shm_file, &files->db);
}

JOBQ__INTERNAL bool jobq__files_one_moved(const struct jobq__files *files, const char *path,
                                          const struct jobq__os_id *id) {
    struct jobq__os_file root;
    if (!jobq__os_moved(path, id)) return false;
    /* In another root the name means another file, which says nothing of ours. */
    return !jobq__os_look("/", &root) && jobq__os_same_file(&root.id, &files->root_id);
}

JOBQ__INTERNAL bool jobq__files_another(const struct jobq__files *files) {
    return files->lock && jobq__os_moved(files->path, &files->db.id);
}

static bool jobq__files_beside_moved(const struct jobq__files *files, const char *path,
                                     const struct jobq__os_file *beside) {
    return beside->kind == JOBQ__OS_FILE && jobq__files_one_moved(files, path, &beside->id);
}

/* How it stands there at this moment; false if it does not, or may not be looked at. */
static bool jobq__files_stands(const char *path, const struct jobq__os_file *beside,
                               struct jobq__os_file *now) {
    return beside->kind == JOBQ__OS_FILE && !jobq__os_look(path, now)
        && now->kind == JOBQ__OS_FILE && jobq__os_same_file(&now->id, &beside->id);
}

/* It is taken from under who has it mapped. */
static bool jobq__files_memory_cut(struct jobq__files *files) {
    struct jobq__os_file now;
    if (!jobq__files_stands(files->shm, &files->shm_file, &now)) return false;
    if (now.size < files->shm_file.size) return true;
    files->shm_file.size = now.size;
    return false;
}

JOBQ__INTERNAL int64_t jobq__files_log_size(const struct jobq__files *files) {
    struct jobq__os_file now;
    return jobq__files_stands(files->log, &files->log_file, &now) ? now.size : INT64_MAX;
}

JOBQ__INTERNAL bool jobq__files_moved(struct jobq__files *files) {
    if (!files->lock) return false;
    return jobq__files_one_moved(files, files->path, &files->db.id)
        || jobq__files_beside_moved(files, files->log, &files->log_file)
        || jobq__files_beside_moved(files, files->shm, &files->shm_file)
        || jobq__files_memory_cut(files);
}

/*==== owner.h ====*/
/* owner.h - one owner per file: the lock, the slots that outlive a process, forks. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/owner.h"
#endif
#ifndef JOBQ__OWNER_H
#define JOBQ__OWNER_H

/* #include "files.h" */
/* #include "list.h" */
/* #include "stored.h" */

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

/*==== owner.c ====*/
/* owner.c - one owner per file: the lock, the slots that outlive a process, forks. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/owner.c"
#endif
/* #include "owner.h" */

#include <errno.h>

#define JOBQ__PAGE_ROOM 4096 /* of the lock file; behind it lies the reserve */
#define JOBQ__PAGE_OLD "jobq-1\n" /* the mark of 0.1.0 */

/* What is beyond in a page of 0.1.0 is of another byte order. */
#define JOBQ__PID_MAX (1 << 22)
#define JOBQ__PAGE_RESERVE_MAX ((int64_t)1 << 40)

typedef char jobq__owner_page_fits[sizeof(struct jobq__page) <= JOBQ__PAGE_ROOM ? 1 : -1];

/* Where other versions look for what: the page stays as it is. */
#define JOBQ__OWNER_AT(field, at) \
    typedef char jobq__owner_at_##field[offsetof(struct jobq__page, field) == (at) ? 1 : -1]
JOBQ__OWNER_AT(pid, 8);
JOBQ__OWNER_AT(leaving, 12);
JOBQ__OWNER_AT(shared, 16);
JOBQ__OWNER_AT(doubt, 20);
JOBQ__OWNER_AT(boot_id, 24);
JOBQ__OWNER_AT(reserve, 72);
JOBQ__OWNER_AT(slots, 80);
JOBQ__OWNER_AT(wanted, 3024);
typedef char jobq__owner_slot_is[sizeof(struct jobq__slot) == 16 ? 1 : -1];

/* The pages of those that have begun, for exit() and a signal handler: atomic pointers, changed
 * under the global lock. */
static void *jobq__owner_pages[JOBQ__OWNERS_MAX];
static int32_t jobq__owner_marking; /* calls of jobq_mark_exit that look at the pages; atomic */

/* Who has a file open here, owners and clients, from before SQLite opens it until after it has
 * closed it; in a child also whom it has inherited, for ever. Under the global lock. */
static struct jobq__link jobq__owner_all = {&jobq__owner_all, &jobq__owner_all};
static int32_t jobq__owner_generation;

/* With the global lock held by the thread that forked: so no thread was between having a lock and
 * writing that down here, or the other way round. */
static void jobq__owner_in_child(void) {
    struct jobq__link *link;
    for (link = jobq__owner_all.next; link != &jobq__owner_all; link = link->next) {
        const struct jobq__owner *owner = JOBQ__CONTAINER(link, struct jobq__owner, all);
        /* Of older ones the parent has let go in its turn. The mapping holds the file open as
         * well, and with it the parent's lock. */
        if (owner->writable && owner->generation == jobq__owner_generation)
            jobq__os_page_close(owner->fd, owner->page, sizeof *owner->page);
    }
    memset(jobq__owner_pages, 0, sizeof jobq__owner_pages);
    jobq__os_store(&jobq__owner_marking, 0); /* the threads that were at it are not here */
    jobq__owner_generation++;
    jobq__os_global_unlock();
}

/* Version 2 of the page, and whether its numbers begin with their low or their high byte. */
static const char *jobq__owner_magic(void) {
    static const int32_t one = 1;
    return *(const char *)&one ? "jobq-2l" : "jobq-2b";
}

static bool jobq__owner_wrote(const struct jobq__page *page) {
    return memcmp(page->magic, jobq__owner_magic(), sizeof page->magic) == 0;
}

/* By 0.1.0. The fields of version 2 stand where they stood. */
static bool jobq__owner_wrote_old(const struct jobq__page *page) {
    return memcmp(page->magic, JOBQ__PAGE_OLD, sizeof page->magic) == 0;
}

/* Any page that jobq may have written, in our byte order. */
static bool jobq__owner_could_be(const struct jobq__page *page) {
    int32_t pid = jobq__os_load(&page->pid);
    int i;
    if (pid < 0 || pid > JOBQ__PID_MAX) return false;
    if (page->reserve < 0 || page->reserve > JOBQ__PAGE_RESERVE_MAX) return false;
    if ((jobq__os_load(&page->leaving) | jobq__os_load(&page->doubt)) & ~1) return false;
    for (i = 0; i < JOBQ_WORKERS_MAX; i++) {
        int32_t state = jobq__os_load(&page->slots[i].state);
        if (state < JOBQ__SLOT_IDLE || state > JOBQ__SLOT_GUILTY || page->slots[i].runs < 0)
            return false;
    }
    return true;
}

/* Such a page does not say in which byte order it is: in another one these would be other
 * numbers. */
static bool jobq__owner_makes_sense(const struct jobq__page *page) {
    int i;
    if (!jobq__owner_could_be(page) || !jobq__os_load(&page->pid)) return false;
    for (i = 0; i < JOBQ_WORKERS_MAX; i++)
        if (jobq__os_load(&page->slots[i].state) == JOBQ__SLOT_GUILTY) return false;
    return true;
}

/* How much of a mark stands there, of whichever version: "jobq-", a digit, one more, and a zero. */
static size_t jobq__owner_marked(const char *magic) {
    static const char begins[] = "jobq-";
    size_t size = 0;
    while (begins[size] && magic[size] == begins[size]) size++;
    if (size == 5 && magic[5] >= '0' && magic[5] <= '9') size++;
    if (size == 6 && magic[6]) size++;
    return size == 7 && !magic[7] ? 8 : size;
}

static bool jobq__owner_zeros_from(int fd, int64_t at) {
    char bytes[2048];
    int64_t size, i;
    do {
        size = jobq__os_read_at(fd, at, bytes, sizeof bytes);
        for (i = 0; i < size; i++)
            if (bytes[i]) return false;
        at += size;
    } while (size == (int64_t)sizeof bytes);
    return size >= 0;
}

static int jobq__owner_refuse_foreign(const char *path, jobq_error *err) {
    return jobq__err_set(err, JOBQ_FOREIGN, "what %.250s holds is not jobq's, which would make it"
                         " its lock file: move it away (if it is one, but damaged, delete it while"
                         " nobody has the queue open), or give the queue another name", path);
}

/* Without a whole mark it is what an owner leaves that was killed before it began, or the power:
 * parts of a page, and of a mark, and zeros. */
static int jobq__owner_judge(int fd, const char *path, jobq_error *err) {
    struct jobq__page page;
    int64_t size = jobq__os_read_at(fd, 0, &page, sizeof page);
    size_t marked;
    if (size < 0) return jobq__err_os(err, JOBQ_IO, errno, "read", path, NULL);
    memset((char *)&page + size, 0, sizeof page - (size_t)size);
    marked = jobq__owner_marked(page.magic);
    if (marked == sizeof page.magic) return JOBQ_OK;
    for (; marked < sizeof page.magic; marked++)
        if (page.magic[marked]) return jobq__owner_refuse_foreign(path, err);
    if (jobq__owner_could_be(&page) && jobq__owner_zeros_from(fd, sizeof page)) return JOBQ_OK;
    return jobq__owner_refuse_foreign(path, err);
}

static bool jobq__owner_knows(const struct jobq__page *page) {
    return jobq__owner_wrote(page)
        || (jobq__owner_wrote_old(page) && jobq__owner_makes_sense(page));
}

static const unsigned jobq__owner_edges[] = {
    [JOBQ__SLOT_IDLE] = JOBQ__EDGE(JOBQ__SLOT_STARTED),
    [JOBQ__SLOT_STARTED] = JOBQ__EDGE(JOBQ__SLOT_IDLE) | JOBQ__EDGE(JOBQ__SLOT_RELEASED)
                         | JOBQ__EDGE(JOBQ__SLOT_GUILTY),
    [JOBQ__SLOT_RELEASED] = JOBQ__EDGE(JOBQ__SLOT_IDLE),
    [JOBQ__SLOT_GUILTY] = 0,
};

/* The one place where a slot of ours changes. Its own thread begins and ends a run whatever others
 * do; who lets go of one may come when it has just ended, and then nothing happens. */
static void jobq__owner_slot_to(struct jobq__slot *slot, int32_t from, int32_t to) {
    jobq__assert(JOBQ__LEGAL(jobq__owner_edges, from, to));
    if (to == JOBQ__SLOT_STARTED || to == JOBQ__SLOT_IDLE) jobq__os_store(&slot->state, to);
    else jobq__os_swap(&slot->state, from, to);
}

/* Lets go of all runs but the guilty one's. */
static void jobq__owner_release_page(struct jobq__page *page, const void *guilty) {
    int i;
    for (i = 0; i < JOBQ_WORKERS_MAX; i++) {
        struct jobq__slot *slot = &page->slots[i];
        if (jobq__os_load(&slot->state) == JOBQ__SLOT_STARTED)
            jobq__owner_slot_to(slot, JOBQ__SLOT_STARTED,
                                slot == guilty ? JOBQ__SLOT_GUILTY : JOBQ__SLOT_RELEASED);
    }
}

static void jobq__owner_leave(const void *guilty) {
    int i;
    jobq__os_add(&jobq__owner_marking, 1);
    for (i = 0; i < JOBQ__OWNERS_MAX; i++) {
        struct jobq__page *page = jobq__os_load_pointer(&jobq__owner_pages[i]);
        bool leaving = page && jobq__os_load(&page->leaving);
        if (!page) continue;
        jobq__os_store(&page->leaving, 1);
        /* Who has said that the process is to end may end it from anywhere. */
        jobq__owner_release_page(page, leaving ? NULL : guilty);
    }
    jobq__os_add(&jobq__owner_marking, -1);
}

JOBQ_API void jobq_mark_exit(void) {
    jobq__owner_leave(NULL);
}

/* On the thread that called exit(): if it is in a handler, that job is to blame. */
static void jobq__owner_at_exit(void) {
    jobq__owner_leave(jobq__os_thread_is_at(NULL));
}

/* 0 if it does not tell. On one that was empty the new owner has only said who it is. */
static int32_t jobq__owner_pid(const struct jobq__page *page) {
    bool ours = page && (!page->magic[0] || jobq__owner_knows(page));
    return ours ? (int32_t)jobq__max(jobq__os_load(&page->pid), 0) : 0;
}

/* SQLite believes in the child to have the locks that only the parent has. */
static bool jobq__owner_inherited(const struct jobq__owner *other) {
    return other->generation != jobq__owner_generation;
}

static int jobq__owner_refuse_heir(const char *path, jobq_error *err) {
    return jobq__err_set(err, JOBQ_FORKED, "%.250s was open in the process that this one was"
                         " forked from; fork before it is opened, or exec", path);
}

static int jobq__owner_check_heir_of(const char *path, jobq_error *err) {
    const struct jobq__link *link;
    struct jobq__os_file file;
    int rc = JOBQ_OK;
    if (jobq__os_look(path, &file) || file.kind == JOBQ__OS_MISSING) return JOBQ_OK;
    jobq__os_global_lock();
    for (link = jobq__owner_all.next; link != &jobq__owner_all && rc == JOBQ_OK;
         link = link->next) {
        const struct jobq__owner *other = JOBQ__CONTAINER(link, struct jobq__owner, all);
        if (jobq__owner_inherited(other)
            && jobq__os_same_file(&other->files->db.id, &file.id))
            rc = jobq__owner_refuse_heir(path, err);
    }
    jobq__os_global_unlock();
    return rc;
}

JOBQ__INTERNAL int jobq__owner_check_heir(const char *path, jobq_error *err) {
    char *resolved;
    int failed, rc;
    if (!jobq__os_load(&jobq__owner_generation)) return JOBQ_OK;
    failed = jobq__os_resolve(path, &resolved);
    if (failed == ENOMEM) return jobq__err_set(err, JOBQ_NO_MEMORY, NULL);
    if (failed) return JOBQ_OK; /* who opens it says why */
    rc = jobq__owner_check_heir_of(resolved, err);
    jobq__mem_free(resolved);
    return rc;
}

/* What another handle of this process on the same file says to one more. */
static int jobq__owner_check_one(const struct jobq__owner *other, const struct jobq__owner *owner,
                                 int32_t writers, jobq_error *err) {
    const char *path = owner->files->path;
    if (jobq__owner_inherited(other)) return jobq__owner_refuse_heir(path, err);
    if (other->writable && writers != JOBQ__NOBODY) {
        jobq__err_set(err, JOBQ_LOCKED, "this process, %d, owns the queue %.250s already: close"
                      " the other handle, or use it", jobq__os_pid(), path);
        jobq__err_id(err, jobq__os_pid());
        return JOBQ_LOCKED;
    }
    /* Within a process SQLite's lock keeps nobody out, and who shares memory lets others in. */
    if (other->writable && jobq__owner_has_it_all(other)) return jobq__owner_keeps_out(other, err);
    if (!other->writable && writers == JOBQ__HAS_IT_ALL)
        return jobq__err_set(err, JOBQ_LOCKED, "this process has %.250s open as a client: close"
                             " that first, or open it without .exclusive", path);
    return JOBQ_OK;
}

/* The same of all of them; a client says NOBODY. With the global lock held. A database that is open
 * here is not even looked at as a lock file: to close it would drop SQLite's locks. */
static int jobq__owner_check_all(const struct jobq__owner *owner, int32_t writers,
                                 jobq_error *err) {
    const struct jobq__link *link;
    struct jobq__os_file lock;
    int owners = 0, rc = JOBQ_OK;
    bool stands = !jobq__os_look(owner->files->lock, &lock) && lock.kind == JOBQ__OS_FILE;
    for (link = jobq__owner_all.next; link != &jobq__owner_all; link = link->next) {
        const struct jobq__owner *other = JOBQ__CONTAINER(link, struct jobq__owner, all);
        if (jobq__os_same_file(&other->files->db.id, &owner->files->db.id))
            rc = jobq__owner_check_one(other, owner, writers, err);
        else if (stands && jobq__os_same_file(&other->files->db.id, &lock.id))
            rc = jobq__owner_refuse_foreign(owner->files->lock, err);
        if (rc != JOBQ_OK) return rc;
        owners += other->writable && other->generation == jobq__owner_generation;
    }
    if (writers == JOBQ__NOBODY || owners < JOBQ__OWNERS_MAX) return JOBQ_OK;
    return jobq__err_set(err, JOBQ_FULL, "one process may own %d queues at most",
                         JOBQ__OWNERS_MAX);
}

static void jobq__owner_enter(struct jobq__owner *owner) {
    jobq__list_append(&jobq__owner_all, &owner->all);
    owner->entered = true;
}

/* The file of the page is shorter than that: who touches what is not there any more is ended by the
 * system, so that from now on the page is one of memory. */
static bool jobq__owner_cut(struct jobq__owner *owner) {
    bool cut = owner->fd >= 0 && jobq__os_size(owner->fd) < (int64_t)sizeof *owner->page;
    if (cut) jobq__os_page_blank(sizeof *owner->page, owner->page);
    return cut;
}

/* Opens the lock file and maps the page, in place of *page if that is not NULL. To own it the file
 * is made, and the lock taken, or it is JOBQ_LOCKED with the page mapped for reading. Nothing is
 * written before it was seen what the file holds. */
static int jobq__owner_open_page(const char *path, bool own, int *opened, void **page,
                                 jobq_error *err) {
    size_t size = sizeof(struct jobq__page);
    int fd, rc = jobq__os_page_open(path, own, &fd, err);
    if (rc != JOBQ_OK) return rc;
    rc = jobq__owner_judge(fd, path, err);
    if (rc == JOBQ_OK && own) rc = jobq__os_page_lock(fd, path, size, err);
    if (rc == JOBQ_OK || rc == JOBQ_LOCKED) {
        int mapped = jobq__os_page_map(fd, path, size, own && rc == JOBQ_OK, page, err);
        if (rc == JOBQ_OK) rc = mapped;
    }
    if (rc != JOBQ_OK) jobq__os_page_close(fd, NULL, 0);
    *opened = rc == JOBQ_OK ? fd : -1;
    return rc;
}

/* A client sees the lock file that stands there at this moment, and until there is one an empty
 * page; one that is gone leaves what it said. The place of the page stays, because others may be
 * reading it. */
static int jobq__owner_look(struct jobq__owner *owner, jobq_error *err) {
    void *page = owner->page;
    struct jobq__os_file file;
    int fd, rc;
    if (jobq__owner_cut(owner)) {
        jobq__os_page_close(owner->fd, NULL, 0);
        owner->fd = -1;
    }
    if (!jobq__os_look(owner->files->lock, &file)) {
        if (file.kind == JOBQ__OS_MISSING) return JOBQ_OK;
        if (owner->fd >= 0 && jobq__os_same_file(&file.id, &owner->id)) return JOBQ_OK;
    }
    rc = jobq__owner_open_page(owner->files->lock, false, &fd, &page, err);
    if (rc != JOBQ_OK) return rc;
    if (owner->fd >= 0) jobq__os_page_close(owner->fd, NULL, 0);
    owner->fd = fd;
    owner->id = jobq__os_id_of(fd);
    return rc;
}

static int jobq__owner_locked(int32_t pid, const char *path, jobq_error *err) {
    if (pid == jobq__os_pid())
        jobq__err_set(err, JOBQ_LOCKED, "a process with our own number, %d, owns the queue %.250s:"
                      " one of another container, or another copy of jobq in this one", (int)pid,
                      path);
    else if (pid > 0)
        jobq__err_set(err, JOBQ_LOCKED, "process %d owns the queue %.250s; open it as a client"
                      " (both sides with .shared = true), or end that process", (int)pid, path);
    else
        jobq__err_set(err, JOBQ_LOCKED, "another process owns the queue %.250s", path);
    jobq__err_id(err, pid);
    return JOBQ_LOCKED;
}

static int jobq__owner_map(struct jobq__owner *owner, jobq_error *err) {
    const struct jobq__files *files = owner->files;
    void *page = NULL;
    int rc = jobq__owner_open_page(files->lock, true, &owner->fd, &page, err);
    if (rc == JOBQ_LOCKED) jobq__owner_locked(jobq__owner_pid(page), files->path, err);
    if (rc != JOBQ_OK) {
        jobq__os_page_close(-1, page, sizeof *owner->page);
        return rc;
    }
    owner->page = page;
    owner->mapped = owner->writable = true;
    owner->id = jobq__os_id_of(owner->fd);
    owner->reserved = jobq__owner_held(owner);
    return rc;
}

static void jobq__owner_init(struct jobq__owner *owner, const struct jobq__files *files) {
    memset(owner, 0, sizeof *owner);
    owner->fd = owner->entry = -1;
    owner->files = files;
    owner->generation = jobq__owner_generation;
}

/* With the global lock held. */
static void jobq__owner_let_go(struct jobq__owner *owner) {
    if (owner->entry >= 0) jobq__os_store_pointer(&jobq__owner_pages[owner->entry], NULL);
    if (owner->entered) jobq__list_remove(&owner->all);
    owner->entered = false;
    if (owner->page && owner->writable) jobq__os_store(&owner->page->shared, JOBQ__NOBODY);
    /* Who has the page in hand leaves in a moment, and the next finds NULL. By an addition, so that
     * each of them comes either before it or after. */
    while (jobq__os_add(&jobq__owner_marking, 0) > 0) jobq__os_yield();
    /* A child that was forked just now may not have come to let go of its copies yet. */
    if (owner->fd >= 0) jobq__os_page_unlock(owner->fd);
    if (owner->mapped) jobq__os_page_close(owner->fd, owner->page, sizeof *owner->page);
    else jobq__mem_free(owner->page);
    owner->page = NULL;
    owner->mapped = false;
    owner->fd = owner->entry = -1;
}

/* With the global lock held, from the lock of the file to the entry among all. Who is in memory
 * only has nothing that others, a child or the next process could find. */
static int jobq__owner_get(struct jobq__owner *owner, int32_t writers, jobq_error *err) {
    int rc = jobq__os_hooks(jobq__owner_in_child, jobq__owner_at_exit);
    if (rc != JOBQ_OK) return jobq__err_set(err, rc, NULL);
    if (!owner->files->lock) {
        owner->page = jobq__mem_new(sizeof *owner->page);
        owner->writable = true;
        return owner->page ? JOBQ_OK : jobq__err_set(err, JOBQ_NO_MEMORY, NULL);
    }
    rc = jobq__owner_check_all(owner, writers, err);
    if (rc == JOBQ_OK) rc = jobq__owner_map(owner, err);
    if (rc == JOBQ_OK) jobq__owner_enter(owner);
    return rc;
}

JOBQ__INTERNAL int jobq__owner_take(struct jobq__owner *owner, const struct jobq__files *files,
                                    int32_t writers, jobq_error *err) {
    char boot_id[sizeof owner->page->boot_id];
    int rc;
    jobq__owner_init(owner, files);
    jobq__os_global_lock();
    rc = jobq__owner_get(owner, writers, err);
    jobq__os_global_unlock();
    if (rc != JOBQ_OK) return rc;
    /* Our pid would make sense of what makes none. The mark goes last: a page without it has to be
     * one that we may have written. */
    if (jobq__owner_wrote_old(owner->page) && !jobq__owner_makes_sense(owner->page)) {
        memset(&owner->page->pid, 0, sizeof *owner->page - offsetof(struct jobq__page, pid));
        memset(owner->page->magic, 0, sizeof owner->page->magic);
    }
    /* Clients that are there already hear of it before we touch the database. */
    jobq__os_store(&owner->page->shared, writers);
    jobq__os_store(&owner->page->pid, jobq__os_pid());
    if (!jobq__owner_knows(owner->page)) return rc;
    jobq__os_boot_id(boot_id, sizeof boot_id);
    owner->same_boot = jobq__os_same_boot(owner->page->boot_id, boot_id, sizeof boot_id);
    return rc;
}

JOBQ__INTERNAL int jobq__owner_watch(struct jobq__owner *owner, const struct jobq__files *files,
                                     jobq_error *err) {
    void *page = jobq__os_page_blank(sizeof *owner->page, NULL);
    jobq_error why;
    int rc;
    jobq__owner_init(owner, files);
    if (!page) return jobq__err_set(err, JOBQ_NO_MEMORY, NULL);
    owner->page = page;
    owner->mapped = true;
    jobq__os_global_lock();
    rc = jobq__os_hooks(jobq__owner_in_child, jobq__owner_at_exit);
    if (rc != JOBQ_OK) jobq__err_set(err, rc, NULL);
    else rc = jobq__owner_check_all(owner, JOBQ__NOBODY, err);
    if (rc == JOBQ_OK) jobq__owner_enter(owner);
    jobq__os_global_unlock();
    if (rc == JOBQ_OK && jobq__owner_look(owner, &why) == JOBQ_FOREIGN)
        rc = jobq__owner_refuse_foreign(files->lock, err);
    if (rc != JOBQ_OK) jobq__owner_drop(owner);
    return rc;
}

JOBQ__INTERNAL int jobq__owner_allows(struct jobq__owner *owner, bool unsafe, jobq_error *err) {
    jobq_error why;
    int rc = jobq__owner_look(owner, &why);
    int32_t shared = jobq__os_load(&owner->page->shared);
    if (rc != JOBQ_OK && unsafe) {
        if (rc == JOBQ_READ_ONLY) jobq__err_set(err, rc, "%s", why.text);
        else rc = jobq__err_set(err, JOBQ_UNSAFE_SQLITE, "%.300s; so nobody knows whether the owner"
                                " has .shared = true, and SQLite before 3.51.3 may lose data with"
                                " two writers", why.text);
        if (err) err->os_code = why.os_code;
        return rc;
    }
    if (rc != JOBQ_OK || owner->fd < 0 || shared != JOBQ__WRITES_ALONE) return JOBQ_OK;
    if (!unsafe)
        return jobq__err_set(err, JOBQ_MISUSE, "the owner, process %d now or before, was opened"
                             " without .shared = true: it does not look for what clients enqueue;"
                             " open it with that",
                             (int)jobq__owner_pid(owner->page));
    return jobq__err_set(err, JOBQ_UNSAFE_SQLITE, "SQLite before 3.51.3 may lose data with two"
                         " writers: the owner, process %d now or before, was opened without .shared"
                         " = true; open it with that, or use a newer SQLite",
                         (int)jobq__owner_pid(owner->page));
}

JOBQ__INTERNAL bool jobq__owner_has_it_all(const struct jobq__owner *owner) {
    return jobq__os_load(&owner->page->shared) == JOBQ__HAS_IT_ALL;
}

JOBQ__INTERNAL int jobq__owner_keeps_out(const struct jobq__owner *owner, jobq_error *err) {
    int32_t pid = jobq__owner_pid(owner->page);
    jobq__err_set(err, JOBQ_LOCKED, "the owner of %.250s, process %d, has the file for itself"
                  " (.exclusive = true); open it there without that", owner->files->path,
                  (int)pid);
    jobq__err_id(err, pid);
    return JOBQ_LOCKED;
}

JOBQ__INTERNAL void jobq__owner_match(struct jobq__owner *owner) {
    if (owner->mapped && owner->writable) jobq__os_match(owner->fd, &owner->files->db);
}

JOBQ__INTERNAL void jobq__owner_drop(struct jobq__owner *owner) {
    jobq__os_global_lock();
    jobq__owner_let_go(owner);
    jobq__os_global_unlock();
}

JOBQ__INTERNAL int64_t jobq__owner_slot(const struct jobq__owner *owner, int slot) {
    return jobq__owner_knows(owner->page) ? owner->page->slots[slot].id : 0;
}

JOBQ__INTERNAL enum jobq__trace jobq__owner_trace(const struct jobq__owner *owner, int64_t id,
                                                  int runs) {
    int i;
    if (!jobq__owner_knows(owner->page)) return JOBQ__TRACE_NONE;
    for (i = 0; i < JOBQ_WORKERS_MAX; i++) {
        const struct jobq__slot *slot = &owner->page->slots[i];
        int32_t state = jobq__os_load(&slot->state);
        if (slot->id != id || slot->runs != runs || state == JOBQ__SLOT_IDLE) continue;
        if (state == JOBQ__SLOT_GUILTY) return JOBQ__TRACE_STARTED;
        return state == JOBQ__SLOT_STARTED && !jobq__os_load(&owner->page->leaving)
             ? JOBQ__TRACE_STARTED : JOBQ__TRACE_RELEASED;
    }
    return JOBQ__TRACE_NONE;
}

JOBQ__INTERNAL bool jobq__owner_runs(const struct jobq__owner *owner, int64_t id) {
    int i;
    if (!jobq__owner_knows(owner->page)) return false;
    for (i = 0; i < JOBQ_WORKERS_MAX; i++) {
        const struct jobq__slot *slot = &owner->page->slots[i];
        if (jobq__os_load(&slot->state) != JOBQ__SLOT_IDLE && jobq__os_load64(&slot->id) == id)
            return true;
    }
    return false;
}

/* From now on who leaves lets go of what runs here. Until now the slots were those of the process
 * before, and what they say of its end is not ours to change. */
static void jobq__owner_publish(struct jobq__owner *owner) {
    int i = 0;
    jobq__os_global_lock();
    while (jobq__owner_pages[i]) i++; /* there is one for each owner of the process */
    jobq__assert(i < JOBQ__OWNERS_MAX && owner->entry < 0);
    owner->entry = i;
    jobq__os_store_pointer(&jobq__owner_pages[i], owner->page);
    jobq__os_global_unlock();
}

JOBQ__INTERNAL void jobq__owner_begin(struct jobq__owner *owner) {
    struct jobq__page *page = owner->page;
    memset(page->slots, 0, sizeof page->slots);
    owner->begun = true;
    jobq__os_boot_id(page->boot_id, sizeof page->boot_id);
    jobq__os_store(&page->leaving, 0);
    jobq__os_store(&page->doubt, 0);
    memcpy(page->magic, jobq__owner_magic(), sizeof page->magic);
    if (owner->entered) jobq__owner_publish(owner);
}

JOBQ__INTERNAL void *jobq__owner_started(struct jobq__owner *owner, int slot, int64_t id,
                                         int runs) {
    struct jobq__slot *s = &owner->page->slots[slot];
    jobq__assert(owner->begun);
    jobq__os_store64(&s->id, id);
    jobq__os_store(&s->runs, runs);
    jobq__owner_slot_to(s, JOBQ__SLOT_IDLE, JOBQ__SLOT_STARTED);
    return jobq__os_thread_is_at(s);
}

JOBQ__INTERNAL void jobq__owner_release(struct jobq__owner *owner, int slot) {
    jobq__owner_slot_to(&owner->page->slots[slot], JOBQ__SLOT_STARTED, JOBQ__SLOT_RELEASED);
}

JOBQ__INTERNAL void jobq__owner_ended(struct jobq__owner *owner, int slot, void *outer) {
    jobq__os_thread_is_at(outer);
    jobq__owner_slot_to(&owner->page->slots[slot], JOBQ__SLOT_STARTED, JOBQ__SLOT_IDLE);
}

JOBQ__INTERNAL void jobq__owner_stay(struct jobq__owner *owner) {
    jobq__os_store(&owner->page->leaving, 0);
}

JOBQ__INTERNAL void jobq__owner_release_all(struct jobq__owner *owner) {
    if (owner->begun) jobq__owner_release_page(owner->page, NULL);
}

JOBQ__INTERNAL void jobq__owner_doubts(struct jobq__owner *owner, bool doubt) {
    if (owner->writable) jobq__os_store(&owner->page->doubt, doubt);
}

JOBQ__INTERNAL bool jobq__owner_doubtful(const struct jobq__owner *owner) {
    return jobq__owner_knows(owner->page) && jobq__os_load(&owner->page->doubt);
}

JOBQ__INTERNAL int jobq__owner_reserve(struct jobq__owner *owner, int64_t bytes) {
    int rc = JOBQ_IO;
    if (owner->fd >= 0 && owner->writable)
        rc = jobq__os_allocate(owner->fd, jobq__add(JOBQ__PAGE_ROOM, bytes));
    if (rc == JOBQ_OK) owner->reserved = bytes;
    return rc;
}

JOBQ__INTERNAL void jobq__owner_note_reserve(struct jobq__owner *owner, int64_t bytes) {
    if (owner->writable) owner->page->reserve = bytes;
}

JOBQ__INTERNAL int64_t jobq__owner_noted_reserve(const struct jobq__owner *owner) {
    return jobq__owner_knows(owner->page) ? JOBQ__MAX(owner->page->reserve, 0) : 0;
}

JOBQ__INTERNAL int64_t jobq__owner_held(const struct jobq__owner *owner) {
    return owner->fd < 0 ? 0 : jobq__max(jobq__os_size(owner->fd) - JOBQ__PAGE_ROOM, 0);
}

JOBQ__INTERNAL int64_t jobq__owner_disk_free(const struct jobq__owner *owner) {
    return owner->fd < 0 ? INT64_MAX : jobq__os_free_bytes(owner->fd);
}

JOBQ__INTERNAL bool jobq__owner_moved(struct jobq__owner *owner) {
    return owner->writable && owner->mapped
        && (jobq__owner_cut(owner)
            || jobq__files_one_moved(owner->files, owner->files->lock, &owner->id));
}

static void jobq__owner_set_wanted(struct jobq__owner *owner, int32_t value) {
    if (owner->writable) jobq__os_store(&owner->page->wanted, value);
    else jobq__os_write_at(owner->fd, offsetof(struct jobq__page, wanted), &value, sizeof value);
}

/* Odd: somebody waits. */
JOBQ__INTERNAL int32_t jobq__owner_want(struct jobq__owner *owner) {
    int32_t wanted = jobq__os_load(&owner->page->wanted);
    if (!(wanted & 1)) jobq__owner_set_wanted(owner, wanted | 1);
    return wanted | 1;
}

JOBQ__INTERNAL void jobq__owner_serve(struct jobq__owner *owner) {
    uint32_t wanted = (uint32_t)jobq__os_load(&owner->page->wanted) | 1;
    jobq__owner_set_wanted(owner, (int32_t)((wanted + 1) & INT32_MAX));
}

JOBQ__INTERNAL bool jobq__owner_wanted(const struct jobq__owner *owner) {
    return jobq__os_load(&owner->page->wanted) & 1;
}

JOBQ__INTERNAL bool jobq__owner_forked(const struct jobq__owner *owner) {
    return owner->generation != jobq__os_load(&jobq__owner_generation);
}

/*==== wheel.h ====*/
/* wheel.h - hierarchical timing wheel; owns no clock, lock or memory. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/wheel.h"
#endif
#ifndef JOBQ__WHEEL_H
#define JOBQ__WHEEL_H

/* #include "limits.h" */
/* #include "list.h" */

/* Times are milliseconds, the caller reads the clock and brings its own lock. A level has a slot
 * for each digit, and there are as many levels as hold every int64_t that is not negative (eleven
 * with digits of six bits), so no time is too far away and nothing ever wraps around. */
enum {
    JOBQ__WHEEL_SLOTS = 1 << JOBQ__WHEEL_BITS,
    JOBQ__WHEEL_LEVELS = (63 + JOBQ__WHEEL_BITS - 1) / JOBQ__WHEEL_BITS
};

/* One deadline. The caller owns it, mostly inside a struct of its own (JOBQ__CONTAINER), and must
 * not free or move it while it is pending. All zero means not pending. */
struct jobq__timer {
    struct jobq__link link; /* next is NULL while the timer is not pending */
    int64_t at_ms;          /* keeps its value when the timer has fired or was deleted */
};

/* Never copy or move one: the heads of its lists point at themselves. */
struct jobq__wheel {
    int64_t cursor_ms;       /* the latest now ever seen; never goes back */
    int count;               /* pending timers that have a time */
    uint64_t used[JOBQ__WHEEL_LEVELS]; /* bit s of [l]: slots[l][s] is not empty */
    struct jobq__link due;   /* at_ms <= cursor, in order of time, then of adding */
    struct jobq__link never; /* at_ms == JOBQ_NEVER: pending, but nothing to wait for */
    struct jobq__link slots[JOBQ__WHEEL_LEVELS][JOBQ__WHEEL_SLOTS]; /* cursor < at_ms */
};

/* Makes a timer that is in no list not pending, as zeroing it would. */
static inline void jobq__timer_init(struct jobq__timer *timer) {
    timer->link.next = timer->link.prev = NULL;
}

static inline bool jobq__timer_pending(const struct jobq__timer *timer) {
    return timer->link.next != NULL;
}

JOBQ__INTERNAL void jobq__wheel_init(struct jobq__wheel *wheel, int64_t now_ms);

/* Makes timer pending for at_ms; if it is pending already it moves, and counts as added now. A time
 * that has passed fires at the next expire; JOBQ_NEVER does not fire. */
JOBQ__INTERNAL void jobq__wheel_add(struct jobq__wheel *wheel, struct jobq__timer *timer,
                                    int64_t at_ms);

/* Takes timer out; does nothing if it is not pending. */
JOBQ__INTERNAL void jobq__wheel_del(struct jobq__wheel *wheel, struct jobq__timer *timer);

/* The earliest at_ms of all pending timers, to the millisecond; JOBQ_NEVER if there is none. It may
 * lie in the past. */
JOBQ__INTERNAL int64_t jobq__wheel_next(const struct jobq__wheel *wheel);

/* Takes out and returns one timer with at_ms <= now_ms, by time and then by order of adding; NULL
 * when none is left. Call it in a loop; between the calls timers may be added and deleted, and one
 * that is added for a time that has passed comes out in the same loop. now_ms may be smaller than
 * before: then only what is due by that smaller time comes out. */
JOBQ__INTERNAL struct jobq__timer *jobq__wheel_expire(struct jobq__wheel *wheel, int64_t now_ms);

/* How many timers are pending, not counting those at JOBQ_NEVER. */
JOBQ__INTERNAL int jobq__wheel_count(const struct jobq__wheel *wheel);

#ifdef JOBQ_DEBUG
/* Asserts every invariant of wheel.c. O(slots + timers). */
JOBQ__INTERNAL void jobq__wheel_check(const struct jobq__wheel *wheel);
#endif

#endif

/*==== wheel.c ====*/
/* wheel.c - hierarchical timing wheel; owns no clock, lock or memory. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/wheel.c"
#endif

/* How it works. A time is a number of digits, mostly of six bits. A timer in the future stands on
 * the level of the highest digit in which its time differs from the cursor, in the slot that this
 * digit names. So the timers on a level all differ from the cursor in that digit and agree above
 * it: every level is earlier than all levels over it, and inside a level the slots stand in order
 * of time. When the cursor reaches the beginning of a slot, the timers in it agree with the cursor
 * in one digit more, and are placed again, lower. A timer is moved at most once per level, and an
 * empty stretch of any length is one step.
 *
 * Time that steps back. The cursor is not the caller's now, it is the latest now there ever was,
 * and it never goes back. What is not later than the cursor stands in a list by time (due), and
 * what comes out of it is decided by the caller's now alone. So a timer that was set while the
 * clock was a year ahead waits in that list until its own time has come, never less. Setting it
 * costs a walk over the timers in that list that are later: few, since the wheel holds
 * deadlines (one per worker, schedule and waiter), not jobs; and none at all in the usual case.
 *
 * Invariants (jobq__wheel_check):
 *   W1  Where a pending timer stands follows from its at_ms and the cursor alone: never, due, or
 *       one slot. That is why a timer need not remember its place.
 *   W2  due is in order of at_ms, and of adding where these are equal.
 *   W3  Timers of equal at_ms are always in one list, in order of adding: they move together, and
 *       every move takes from the front and puts at the end.
 *   W4  A bit of used is set if and only if its slot is not empty.
 *   W5  count is the number of timers in due and in the slots.
 *
 * Whoever owns the wheel holds its own lock around each call. */

/* #include "wheel.h" */

/* Number of the lowest bit that is set. Six halvings in place of a builtin, which only os.c may
 * use: this is nothing beside the lock around it. */
static int jobq__wheel_lowest_bit(uint64_t bits) {
    int bit = 0;
    int step;
    jobq__assert(bits != 0);
    for (step = 32; step > 0; step /= 2) {
        if ((bits & (((uint64_t)1 << step) - 1)) == 0) {
            bits >>= step;
            bit += step;
        }
    }
    jobq__assert((bits & 1) == 1);
    return bit;
}

static struct jobq__timer *jobq__wheel_timer(const struct jobq__link *link) {
    return JOBQ__CONTAINER(link, struct jobq__timer, link);
}

/* The slot where a timer for at_ms belongs; it must be later than the cursor. */
static void jobq__wheel_locate(const struct jobq__wheel *wheel, int64_t at_ms, int *level,
                               int *slot) {
    uint64_t differ = (uint64_t)at_ms ^ (uint64_t)wheel->cursor_ms;
    jobq__assert(wheel->cursor_ms >= 0 && at_ms > wheel->cursor_ms);
    *level = 0;
    while ((differ >>= JOBQ__WHEEL_BITS) != 0) ++*level;
    jobq__assert(*level < JOBQ__WHEEL_LEVELS);
    *slot = (int)((uint64_t)at_ms >> (*level * JOBQ__WHEEL_BITS)) & (JOBQ__WHEEL_SLOTS - 1);
}

/* Searches from the end, because what is set last is mostly also the latest. */
static void jobq__wheel_insert_due(struct jobq__wheel *wheel, struct jobq__timer *timer) {
    struct jobq__link *last = wheel->due.prev;
    jobq__assert(timer->at_ms <= wheel->cursor_ms);
    while (last != &wheel->due && jobq__wheel_timer(last)->at_ms > timer->at_ms) {
        last = last->prev;
    }
    jobq__list_insert(last->next, &timer->link);
}

/* Puts a timer that has a time, and is in no list, where W1 says. */
static void jobq__wheel_place(struct jobq__wheel *wheel, struct jobq__timer *timer) {
    int level, slot;
    jobq__assert(timer->at_ms != JOBQ_NEVER);
    if (timer->at_ms <= wheel->cursor_ms) {
        jobq__wheel_insert_due(wheel, timer);
        return;
    }
    jobq__wheel_locate(wheel, timer->at_ms, &level, &slot);
    jobq__list_append(&wheel->slots[level][slot], &timer->link);
    wheel->used[level] |= (uint64_t)1 << slot;
}

/* The slot that holds the earliest timers after the cursor: the first of the lowest level in use.
 * False if there are none. */
static bool jobq__wheel_first_slot(const struct jobq__wheel *wheel, int *level, int *slot) {
    for (*level = 0; *level < JOBQ__WHEEL_LEVELS; ++*level) {
        if (wheel->used[*level] != 0) {
            *slot = jobq__wheel_lowest_bit(wheel->used[*level]);
            return true;
        }
    }
    return false;
}

/* The first millisecond of a slot: the cursor's digits above, the slot's own, zeros below. */
static int64_t jobq__wheel_slot_start(const struct jobq__wheel *wheel, int level, int slot) {
    int shift = level * JOBQ__WHEEL_BITS;
    uint64_t digits = (uint64_t)wheel->cursor_ms >> shift;
    digits = (digits & ~(uint64_t)(JOBQ__WHEEL_SLOTS - 1)) | (uint64_t)slot;
    jobq__assert(digits << shift <= (uint64_t)INT64_MAX);
    jobq__assert(digits << shift > (uint64_t)wheel->cursor_ms);
    return (int64_t)(digits << shift);
}

/* Places the timers of a slot anew. The cursor has just come to its beginning, so all of them go
 * to lower levels or are due: the list empties. */
static void jobq__wheel_cascade(struct jobq__wheel *wheel, int level, int slot) {
    struct jobq__link *link;
    jobq__assert((wheel->used[level] >> slot & 1) == 1);
    wheel->used[level] &= ~((uint64_t)1 << slot);
    while ((link = jobq__list_pop(&wheel->slots[level][slot])) != NULL) {
        jobq__wheel_place(wheel, jobq__wheel_timer(link));
    }
    jobq__assert((wheel->used[level] >> slot & 1) == 0);
}

/* Brings the cursor to now_ms, and everything not later than that to due. The steps go from used
 * slot to used slot. At the end the cursor stands before the first used slot of a level, so the
 * digits in which the remaining timers differ from it have not changed (W1). */
static void jobq__wheel_advance(struct jobq__wheel *wheel, int64_t now_ms) {
    int level, slot;
    while (wheel->cursor_ms < now_ms && jobq__wheel_first_slot(wheel, &level, &slot)) {
        int64_t start_ms = jobq__wheel_slot_start(wheel, level, slot);
        if (start_ms > now_ms) break;
        wheel->cursor_ms = start_ms;
        jobq__wheel_cascade(wheel, level, slot);
    }
    wheel->cursor_ms = JOBQ__MAX(wheel->cursor_ms, now_ms);
}

JOBQ__INTERNAL void jobq__wheel_init(struct jobq__wheel *wheel, int64_t now_ms) {
    int level, slot;
    /* The digits need a cursor that is not negative; a clock before 1970 is a clock that steps. */
    wheel->cursor_ms = JOBQ__MAX(now_ms, 0);
    wheel->count = 0;
    jobq__list_init(&wheel->due);
    jobq__list_init(&wheel->never);
    for (level = 0; level < JOBQ__WHEEL_LEVELS; ++level) {
        wheel->used[level] = 0;
        for (slot = 0; slot < JOBQ__WHEEL_SLOTS; ++slot) {
            jobq__list_init(&wheel->slots[level][slot]);
        }
    }
}

JOBQ__INTERNAL void jobq__wheel_add(struct jobq__wheel *wheel, struct jobq__timer *timer,
                                    int64_t at_ms) {
    jobq__wheel_del(wheel, timer);
    timer->at_ms = at_ms;
    if (at_ms == JOBQ_NEVER) {
        jobq__list_append(&wheel->never, &timer->link);
    } else {
        jobq__wheel_place(wheel, timer);
        ++wheel->count;
    }
    jobq__assert(jobq__timer_pending(timer));
}

JOBQ__INTERNAL void jobq__wheel_del(struct jobq__wheel *wheel, struct jobq__timer *timer) {
    int level, slot;
    if (!jobq__timer_pending(timer)) return;
    jobq__list_remove(&timer->link);
    jobq__timer_init(timer);
    if (timer->at_ms == JOBQ_NEVER) return;
    jobq__assert(wheel->count > 0);
    --wheel->count;
    if (timer->at_ms <= wheel->cursor_ms) return;
    jobq__wheel_locate(wheel, timer->at_ms, &level, &slot);
    jobq__assert((wheel->used[level] >> slot & 1) == 1);
    if (jobq__list_empty(&wheel->slots[level][slot])) {
        wheel->used[level] &= ~((uint64_t)1 << slot);
    }
}

JOBQ__INTERNAL int64_t jobq__wheel_next(const struct jobq__wheel *wheel) {
    int64_t at_ms = JOBQ_NEVER;
    const struct jobq__link *head, *link;
    int level, slot;
    if (!jobq__list_empty(&wheel->due)) return jobq__wheel_timer(wheel->due.next)->at_ms;
    if (!jobq__wheel_first_slot(wheel, &level, &slot)) return JOBQ_NEVER;
    head = &wheel->slots[level][slot];
    for (link = head->next; link != head; link = link->next) {
        at_ms = jobq__min(at_ms, jobq__wheel_timer(link)->at_ms);
    }
    jobq__assert(at_ms > wheel->cursor_ms && at_ms < JOBQ_NEVER);
    return at_ms;
}

JOBQ__INTERNAL struct jobq__timer *jobq__wheel_expire(struct jobq__wheel *wheel, int64_t now_ms) {
    struct jobq__timer *timer;
    jobq__wheel_advance(wheel, now_ms);
    if (!jobq__list_empty(&wheel->due)) {
        timer = jobq__wheel_timer(wheel->due.next);
        /* The cursor may be ahead of now_ms: only the caller's now says what is due. */
        if (timer->at_ms <= now_ms) {
            jobq__wheel_del(wheel, timer);
            return timer;
        }
    }
#ifdef JOBQ_DEBUG
    jobq__wheel_check(wheel);
#endif
    return NULL;
}

JOBQ__INTERNAL int jobq__wheel_count(const struct jobq__wheel *wheel) {
    jobq__assert(wheel->count >= 0);
    return wheel->count;
}

#ifdef JOBQ_DEBUG
/* W1, W4 and the links of one slot; returns how many timers it holds. */
static int jobq__wheel_check_slot(const struct jobq__wheel *wheel, int level, int slot) {
    const struct jobq__link *head = &wheel->slots[level][slot];
    const struct jobq__link *link;
    int count = 0, at_level, at_slot;
    jobq__assert(jobq__list_empty(head) == ((wheel->used[level] >> slot & 1) == 0));
    for (link = head->next; link != head; link = link->next) {
        jobq__assert(link->next->prev == link && link->prev->next == link);
        jobq__wheel_locate(wheel, jobq__wheel_timer(link)->at_ms, &at_level, &at_slot);
        jobq__assert(at_level == level && at_slot == slot);
        jobq__assert(jobq__wheel_timer(link)->at_ms != JOBQ_NEVER);
        ++count;
    }
    return count;
}

/* W1 and W2 of due; returns how many timers it holds. */
static int jobq__wheel_check_due(const struct jobq__wheel *wheel) {
    const struct jobq__link *link;
    int64_t before_ms = INT64_MIN;
    int count = 0;
    for (link = wheel->due.next; link != &wheel->due; link = link->next) {
        jobq__assert(link->next->prev == link && link->prev->next == link);
        jobq__assert(jobq__wheel_timer(link)->at_ms >= before_ms);
        jobq__assert(jobq__wheel_timer(link)->at_ms <= wheel->cursor_ms);
        before_ms = jobq__wheel_timer(link)->at_ms;
        ++count;
    }
    return count;
}

JOBQ__INTERNAL void jobq__wheel_check(const struct jobq__wheel *wheel) {
    const struct jobq__link *link;
    int level, slot;
    int count = jobq__wheel_check_due(wheel);
    jobq__assert(wheel->cursor_ms >= 0);
    for (level = 0; level < JOBQ__WHEEL_LEVELS; ++level) {
        for (slot = 0; slot < JOBQ__WHEEL_SLOTS; ++slot) {
            count += jobq__wheel_check_slot(wheel, level, slot);
        }
    }
    for (link = wheel->never.next; link != &wheel->never; link = link->next) {
        jobq__assert(link->next->prev == link && link->prev->next == link);
        jobq__assert(jobq__wheel_timer(link)->at_ms == JOBQ_NEVER);
    }
    jobq__assert(count == wheel->count);
}
#endif

/*==== backoff.h ====*/
/* backoff.h - retry delay and jitter, pure functions. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/backoff.h"
#endif
#ifndef JOBQ__BACKOFF_H
#define JOBQ__BACKOFF_H

/* #include "base.h" */

/* How long to wait before a failed job runs again. The times are not negative, the percentage is
 * 0 to 100: config.c checks what the caller gave, here it is only asserted. */
struct jobq__backoff {
    int64_t min_ms, max_ms;
    int jitter_percent;
};

/* The delay after attempt (from 1) has failed: min(max, min * 2^min(attempt - 1, 30)), then a
 * uniform jitter of at most +-jitter_percent, then at most max again. So at the cap the jitter only
 * shortens, and the first delay may be less than min. The jitter depends on nothing but seed, id
 * and runs: it is the same in every order of work and after a restart. 0 <= result <= max_ms. */
JOBQ__INTERNAL int64_t jobq__backoff_delay(const struct jobq__backoff *backoff, int attempt,
                                           uint64_t seed, int64_t id, int runs);

/* True if the failure of an attempt that ran for run_ms says nothing about the failures before it,
 * so that counting begins anew: it ran longer than three times the delay that was waited. The
 * first attempt has nothing to forget. */
JOBQ__INTERNAL bool jobq__backoff_recovered(int attempt, int64_t run_ms, int64_t previous_delay_ms);

#endif

/*==== backoff.c ====*/
/* backoff.c - retry delay and jitter, pure functions. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/backoff.c"
#endif

/* Nothing here reads a clock, keeps a state or draws a random number: the same arguments give the
 * same delay on every machine, so that a test, a restart and a replay of a history agree.
 *
 * Invariants:
 *   B1  0 <= delay <= max_ms, for all arguments the header allows.
 *   B2  No step overflows. The only sum that could, delay + jitter, is compared before it is made.
 *   B3  Before the last clamp to max, every whole delay within the jitter is equally likely.
 *
 * The hash is splitmix64: a state that grows by 2^64 divided by the golden ratio, and the mixing
 * function "Mix13" of David Stafford; both as published by G. L. Steele, D. Lea and C. H. Flood in
 * "Fast splittable pseudorandom number generators", OOPSLA 2014. */

/* #include "backoff.h" */

#define JOBQ__BACKOFF_GOLDEN UINT64_C(0x9e3779b97f4a7c15)

enum { JOBQ__BACKOFF_DOUBLINGS = 30 }; /* after these the delay stays what it is */

/* One to one: two different inputs never give the same output. */
static uint64_t jobq__backoff_mix(uint64_t x) {
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* Mixes after each part, so that neighbouring ids and runs have nothing in common. */
static uint64_t jobq__backoff_hash(uint64_t seed, int64_t id, int runs) {
    uint64_t hash = jobq__backoff_mix(seed + JOBQ__BACKOFF_GOLDEN);
    hash = jobq__backoff_mix((hash ^ (uint64_t)id) + JOBQ__BACKOFF_GOLDEN);
    return jobq__backoff_mix((hash ^ (uint64_t)runs) + JOBQ__BACKOFF_GOLDEN);
}

/* A number in [0, range). The few lowest hashes that would favour the low remainders are passed
 * over; the generator visits every number, so the search ends. */
static uint64_t jobq__backoff_below(uint64_t state, uint64_t range) {
    uint64_t unfair, hash;
    jobq__assert(range > 0);
    unfair = (UINT64_MAX - range + 1) % range; /* 2^64 mod range */
    do {
        state += JOBQ__BACKOFF_GOLDEN;
        hash = jobq__backoff_mix(state);
    } while (hash < unfair);
    return hash % range;
}

/* min(max, min * 2^doublings): compares with max shifted down, which cannot overflow. */
static int64_t jobq__backoff_base(const struct jobq__backoff *backoff, int attempt) {
    int doublings = JOBQ__MIN(attempt - 1, (int)JOBQ__BACKOFF_DOUBLINGS);
    jobq__assert(attempt >= 1);
    if (backoff->min_ms > backoff->max_ms >> doublings) return backoff->max_ms;
    return backoff->min_ms * ((int64_t)1 << doublings);
}

JOBQ__INTERNAL int64_t jobq__backoff_delay(const struct jobq__backoff *backoff, int attempt,
                                           uint64_t seed, int64_t id, int runs) {
    int64_t delay_ms = jobq__backoff_base(backoff, attempt);
    int64_t percent = backoff->jitter_percent;
    int64_t spread_ms, low_ms;
    uint64_t choices, above_low;
    jobq__assert(backoff->min_ms >= 0 && backoff->max_ms >= 0);
    jobq__assert(percent >= 0 && percent <= 100);
    /* delay * percent / 100, rounded down, in two parts that fit. */
    spread_ms = delay_ms / 100 * percent + delay_ms % 100 * percent / 100;
    jobq__assert(spread_ms >= 0 && spread_ms <= delay_ms);
    low_ms = delay_ms - spread_ms;
    choices = (uint64_t)spread_ms * 2 + 1;
    above_low = jobq__backoff_below(jobq__backoff_hash(seed, id, runs), choices);
    if (above_low > (uint64_t)(backoff->max_ms - low_ms)) return backoff->max_ms;
    return low_ms + (int64_t)above_low;
}

JOBQ__INTERNAL bool jobq__backoff_recovered(int attempt, int64_t run_ms,
                                            int64_t previous_delay_ms) {
    jobq__assert(attempt >= 1);
    jobq__assert(previous_delay_ms >= 0);
    if (attempt <= 1) return false;
    if (previous_delay_ms > INT64_MAX / 3) return false; /* nothing is later than that */
    return run_ms > 3 * previous_delay_ms;
}

/*==== state.h ====*/
/* state.h - the job's states and legal edges. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/state.h"
#endif
#ifndef JOBQ__STATE_H
#define JOBQ__STATE_H

/* #include "stored.h" */

/* True if a job may go from one state to the other. */
JOBQ__INTERNAL bool jobq__state_legal(int from, int to);

/* True for done, failed and cancelled. */
JOBQ__INTERNAL bool jobq__state_terminal(int state);

/* What the caller is told; a claimed job that has not started is pending. */
JOBQ__INTERNAL jobq_state jobq__state_public(int state, bool started);

#endif

/*==== state.c ====*/
/* state.c - the job's states and legal edges. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/state.c"
#endif
/* #include "state.h" */

/*            +---------------- retry, snooze, reschedule, give back, recover ------+
 *            v                                                                     |
 *  new -> WAITING ------------------------- claim ---------------------------> CLAIMED
 *   |        |  ^                                                                |
 *   |        |  +---- retry_now ---- FAILED, CANCELLED <---- settle, recover ----+--> DONE
 *   |        +------------ cancel ------> CANCELLED
 *   +------ claimed at once when the pool has room ------> CLAIMED
 *
 *  WAITING -> WAITING: promoted, parked, unparked.  WAITING -> FAILED: crashed too often.
 *
 * The door (door.c) is who writes states while the queue runs, and asserts each edge here; there is
 * no second table. Only the doctor sets states beside it (audit_rules.c): what stands in a row that
 * has to be put right is no state that it came to by an edge. */

static const unsigned jobq__state_edges[] = {
    [JOBQ__WAITING] = JOBQ__EDGE(JOBQ__WAITING) | JOBQ__EDGE(JOBQ__CLAIMED)
                    | JOBQ__EDGE(JOBQ__CANCELLED) | JOBQ__EDGE(JOBQ__FAILED),
    [JOBQ__CLAIMED] = JOBQ__EDGE(JOBQ__WAITING) | JOBQ__EDGE(JOBQ__DONE)
                    | JOBQ__EDGE(JOBQ__FAILED) | JOBQ__EDGE(JOBQ__CANCELLED),
    [JOBQ__DONE] = 0,
    [JOBQ__FAILED] = JOBQ__EDGE(JOBQ__WAITING),
    [JOBQ__CANCELLED] = JOBQ__EDGE(JOBQ__WAITING),
    [JOBQ__NEW] = JOBQ__EDGE(JOBQ__WAITING) | JOBQ__EDGE(JOBQ__CLAIMED),
};

JOBQ__INTERNAL bool jobq__state_legal(int from, int to) {
    return JOBQ__LEGAL(jobq__state_edges, from, to);
}

JOBQ__INTERNAL bool jobq__state_terminal(int state) {
    return state == JOBQ__DONE || state == JOBQ__FAILED || state == JOBQ__CANCELLED;
}

JOBQ__INTERNAL jobq_state jobq__state_public(int state, bool started) {
    switch (state) {
    case JOBQ__WAITING: return JOBQ_STATE_PENDING;
    case JOBQ__CLAIMED: return started ? JOBQ_STATE_RUNNING : JOBQ_STATE_PENDING;
    case JOBQ__DONE: return JOBQ_STATE_DONE;
    case JOBQ__FAILED: return JOBQ_STATE_FAILED;
    case JOBQ__CANCELLED: return JOBQ_STATE_CANCELLED;
    default: return JOBQ_STATE_NONE;
    }
}

JOBQ_API const char *jobq_state_name(jobq_state state) {
    static const char *const names[] = {
        [JOBQ_STATE_NONE] = "none",       [JOBQ_STATE_PENDING] = "pending",
        [JOBQ_STATE_RUNNING] = "running", [JOBQ_STATE_DONE] = "done",
        [JOBQ_STATE_FAILED] = "failed",   [JOBQ_STATE_CANCELLED] = "cancelled",
    };
    if ((int)state < 0 || (size_t)state >= JOBQ__COUNT(names)) return "?";
    return names[state];
}

JOBQ_API const char *jobq_outcome_name(jobq_outcome outcome) {
    static const char *const names[] = {
        [JOBQ_OUTCOME_NONE] = "none",      [JOBQ_DONE] = "done",
        [JOBQ_RETRY] = "retry",            [JOBQ_FAIL] = "fail",
        [JOBQ_RESCHEDULE] = "reschedule",  [JOBQ_SNOOZE] = "snooze",
        [JOBQ_CANCELLED] = "cancelled",    [JOBQ_CRASHED] = "crashed",
        [JOBQ_STOPPED] = "stopped",
    };
    if ((int)outcome < 0 || (size_t)outcome >= JOBQ__COUNT(names)) return "?";
    return names[outcome];
}

/*==== sql.h ====*/
/* sql.h - every statement that jobq runs again and again, by name. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/sql.h"
#endif
#ifndef JOBQ__SQL_H
#define JOBQ__SQL_H

/* #include "limits.h" */

/* Design note.
 *
 * The row (tables in schema.c) is shaped by measurement: it is small, whatever its payload is,
 * and what is rare stands beside it. A claim changes the state and counts the run: lane and ord
 * stay, and mean nothing as long as the job does not wait. Of the index jobq_live only an entry
 * goes, and jobq_finished does not name the state, so that a claim has nothing to do with it. For
 * the same reason the failed ones, which somebody wants to see at once, are found by a table of
 * their own: an index of them would be asked at each change of each job, the table costs only those
 * that fail. Consecutive ids, the normal case of a queue, are claimed and settled by one BETWEEN
 * statement; the caller compares the number of changed rows. What it reads is what is between, as
 * long as SQLite believes no statistics of these tables (schema.c). One job alone is found by its
 * id: SQLite changes or deletes it in passing, without a walk. created_at is NULL while it equals
 * run_at. A payload of more than a quarter of a page stands in jobq_payload, written at enqueue and
 * never changed; then the row has the number of its bytes instead.
 *
 * Columns that a job needs to be run, in the order that jobq__store_next reads them, for each that
 * it need not read is a gain: first what it always needs, then its lane, which a walk of a lane
 * knows, its queue, which a ready row has for a lane, and last what is 1, 0 and 0 before the first
 * run: */
#define JOBQ__TEXT_ROW \
    "id, state, run_at, kind, priority, runs, created_at, side, payload," \
    " lane, queue, attempt, crashes, delay_ms"

#define JOBQ__TEXT_VALUES "(?,?,?,?,?,?,?,?,1,?,0,0,?,?,?)"
#define JOBQ__TEXT_TWO JOBQ__TEXT_VALUES "," JOBQ__TEXT_VALUES
#define JOBQ__TEXT_MANY /* JOBQ__INSERT_ROWS of them */ \
    JOBQ__SIZE(JOBQ__TEXT_TWO "," JOBQ__TEXT_TWO "," JOBQ__TEXT_TWO "," JOBQ__TEXT_TWO, \
               JOBQ__TEXT_TWO)
#define JOBQ__TEXT_INSERT \
    "INSERT INTO jobq_row(id, state, lane, ord, run_at, kind, queue, priority, attempt, runs," \
    " crashes, delay_ms, created_at, side, payload) VALUES"

#define JOBQ__TEXT_CLAIM "UPDATE jobq_row SET state = 1, runs = runs + 1"

/* What a kind or a queue may have for an id; what one is called that has no name (store.h); and
 * such ids of these rows, j, get that for their name. Each is a column of jobq_row's. If another
 * one is called so, it is the other that is found by the name: only there the scope is 0. */
#define JOBQ__TEXT_IS_NAME_ID(id) \
    "typeof(" id ") = 'integer' AND " id " BETWEEN 2 AND " JOBQ__STRING(JOBQ__NAME_ID_MAX)
#define JOBQ__TEXT_LOST(id) "'lost:' || " id
#define JOBQ__TEXT_IS_LOST(id) \
    id " NOT IN (SELECT id FROM jobq_name) AND " JOBQ__TEXT_IS_NAME_ID(id)
#define JOBQ__TEXT_NAME_LOST(id, rows) \
    "INSERT OR IGNORE INTO jobq_name SELECT DISTINCT " id ", 0," \
    " iif(EXISTS(SELECT 1 FROM jobq_name WHERE what = 0 AND scope = 0 AND name = " \
    JOBQ__TEXT_LOST(id) "), " id ", 0), " JOBQ__TEXT_LOST(id) " FROM jobq_row j WHERE " rows

/* A name, or that. */
#define JOBQ__TEXT_NAME(name, id) \
    " coalesce(" name ", iif(" JOBQ__TEXT_IS_NAME_ID(id) ", " JOBQ__TEXT_LOST(id) ", NULL)),"

/* What jobq_get and jobq_list read, in the order that store_read.c expects. It is long, and stands
 * in many statements: as %s, which jobq__db_get fills in. */
#define JOBQ__TEXT_INFO_COLUMNS \
    "SELECT j.id, j.state, j.lane, j.priority, j.attempt, j.runs, j.crashes, j.side," \
    " j.created_at, j.run_at, j.finished_at," \
    " iif(j.side & 8, coalesce(j.payload, -1)," \
    " iif(typeof(j.payload) IN ('null', 'blob'), length(j.payload), -1))," \
    JOBQ__TEXT_NAME("k.name", "j.kind") JOBQ__TEXT_NAME("q.name", "j.queue") " x.key," \
    " x.error, iif(typeof(x.result) IN ('null', 'blob'), length(x.result), -1)," \
    " j.prune_at, j.ord"
#define JOBQ__TEXT_INFO_BESIDE \
    " LEFT JOIN jobq_name k ON k.id = j.kind LEFT JOIN jobq_name q ON q.id = j.queue" \
    " LEFT JOIN jobq_extra x ON x.job = j.id AND j.side & 3 "
#define JOBQ__TEXT_PARTS /* in this order, and so many at most */ \
    JOBQ__TEXT_INFO_COLUMNS, JOBQ__TEXT_INFO_BESIDE, JOBQ__TEXT_INFO_COLUMNS, \
    JOBQ__TEXT_INFO_BESIDE
#define JOBQ__TEXT_INFO "%s FROM jobq_row j%s"
/* Without an id where there is no such job; the last column is the job that was looked for. */
#define JOBQ__TEXT_INFO_FAILED \
    "%s, f.job FROM jobq_failed f LEFT JOIN jobq_row j ON j.id = f.job AND j.state = 3" \
    " AND j.prune_at = f.at%s"
/* The same of those that have the key, or had it. The kind is the one that jobq_enqueue would find
 * by that name, ?3, or else the number that a lost one is called by, ?5. */
#define JOBQ__TEXT_INFO_KEY(held) \
    "%s, u.job FROM jobq_key u LEFT JOIN jobq_row j ON j.id = u.job AND j.kind = u.kind" \
    " AND j.side & 2 AND u.key IS (SELECT key FROM jobq_extra WHERE job = u.job)%s" \
    "WHERE u.kind = coalesce(" \
    "(SELECT id FROM jobq_name WHERE what = 2 AND scope = 0 AND name = ?3)," \
    " (SELECT id FROM jobq_name WHERE what = 0 AND scope = 0 AND name = ?3), ?5)" \
    " AND u.key = ?4 AND u.held = " held " AND u.job > ?1"

/* Finished rows that are kept for a time, in the order that jobq__store_prune_walk reads them. */
#define JOBQ__TEXT_PRUNE \
    "SELECT id, side, state, prune_at, kind, queue FROM jobq_row" \
    " WHERE prune_at IS NOT NULL"

/* The row of the claims, and where those of the counters begin: see schema.c. */
#define JOBQ__TEXT_CLAIMS "jobq_claims WHERE one = 1"
#define JOBQ__TEXT_PAIRS "8589934592"

/* The number is one that goes by that name, or none is asked for. */
#define JOBQ__TEXT_CALLED(number, what, name) \
    "(" name " IS NULL OR " number " IN (SELECT id FROM jobq_name WHERE what IN (0, " what ")" \
    " AND scope = 0 AND name = " name "))"

#define JOBQ__SQL_LIST(X) \
    X(BEGIN, "BEGIN IMMEDIATE") \
    X(COMMIT, "COMMIT") \
    X(ROLLBACK, "ROLLBACK") \
    X(SAVE, "SAVEPOINT jobq_part") \
    X(SAVE_UNDO, "ROLLBACK TO jobq_part") \
    X(SAVE_END, "RELEASE jobq_part") \
    X(SYNC_FULL, "PRAGMA synchronous=FULL") \
    X(SYNC_NORMAL, "PRAGMA synchronous=NORMAL") \
    X(DATA_VERSION, "PRAGMA data_version") \
    /* names; NAME_ID also tells the text as the file would give it back. A name of schema 1 \
     * serves where there is none of what is asked for. */ \
    X(NAME_ID, "SELECT (SELECT id FROM jobq_name WHERE what = ?1 AND scope = 0 AND name = ?2)," \
               " (SELECT id FROM jobq_name WHERE what = 0 AND scope = 0 AND name = ?2)," \
               " (SELECT next_name FROM " JOBQ__TEXT_CLAIMS "), ?2") \
    X(NAME_ADD, "INSERT INTO jobq_name(id, what, scope, name) VALUES(?1, ?2, 0, ?3)") \
    X(NAME_COUNT, "SELECT count(*) FROM jobq_name WHERE what BETWEEN 0 AND 2") \
    X(NAME_NEXT, "SELECT next_name FROM " JOBQ__TEXT_CLAIMS) \
    X(NAME_GIVEN, "UPDATE jobq_claims SET next_name = max(next_name, ?1 + 1) WHERE one = 1") \
    X(NAME_TEXT, "SELECT id, what, name FROM jobq_name WHERE id = ?1") \
    X(LANE_AFTER, "SELECT min(lane) FROM jobq_row WHERE state = 0 AND lane > ?1") \
    /* enqueue */ \
    X(MAX_ID, "SELECT max(coalesce((SELECT max(id) FROM jobq_row), 0)," \
              " (SELECT last_id FROM " JOBQ__TEXT_CLAIMS "))") \
    X(INSERT, JOBQ__TEXT_INSERT JOBQ__TEXT_VALUES) \
    X(INSERT_MANY, JOBQ__TEXT_INSERT JOBQ__TEXT_MANY) \
    X(PAYLOAD_ADD, "INSERT INTO jobq_payload(job, data) VALUES(?1, ?2)") \
    X(KEY_FIND, "SELECT u.job, j.state, j.side, iif(j.id IS NULL, NULL," \
                " ?2 IS (SELECT key FROM jobq_extra WHERE job = j.id)) FROM jobq_key u" \
                " LEFT JOIN jobq_row j ON j.id = u.job" \
                " WHERE u.kind = ?1 AND u.key = ?2 AND u.held = 1") \
    X(KEY_ADD, "INSERT INTO jobq_key(kind, key, held, job) VALUES(?1, ?2, 1, ?3)") \
    X(KEY_FREE, "UPDATE jobq_key SET held = 0 WHERE kind = ?1 AND job = ?2 AND held = 1" \
                " AND key = (SELECT key FROM jobq_extra WHERE job = ?2)") \
    X(KEY_DROP, "DELETE FROM jobq_key WHERE kind = ?1 AND job = ?2 AND held IN (0, 1)" \
                " AND key = (SELECT key FROM jobq_extra WHERE job = ?2)") \
    X(KEY_TEXT, "SELECT job, key FROM jobq_extra WHERE job = ?1") \
    X(KEY_HOLDER, "SELECT job FROM jobq_key WHERE kind = ?1 AND held = 1" \
                  " AND key = (SELECT key FROM jobq_extra WHERE job = ?2)") \
    X(KEY_AGAIN, "UPDATE jobq_key SET held = 1 WHERE kind = ?1 AND job = ?2 AND held = 0" \
                 " AND key = (SELECT key FROM jobq_extra WHERE job = ?2)") \
    /* claim */ \
    X(READY, "SELECT " JOBQ__TEXT_ROW " FROM jobq_row WHERE state = 0 AND lane = ?1" \
             " ORDER BY ord, run_at, id LIMIT ?2") \
    X(DUE, "SELECT " JOBQ__TEXT_ROW " FROM jobq_row WHERE state = 0 AND lane = ?3 AND ord = 0" \
           " AND run_at <= ?1 ORDER BY run_at, id LIMIT ?2") \
    X(NEXT_DUE, "SELECT run_at FROM jobq_row WHERE state = 0 AND lane = ?1 AND ord = 0" \
                " ORDER BY run_at LIMIT 1") \
    X(NEVER_DUE, "SELECT id FROM jobq_row WHERE state = 0 AND lane IN (-1, 0) AND ord < 0" \
                 " UNION ALL SELECT id FROM jobq_row WHERE state = 0 AND lane IN (-1, 0)" \
                 " AND ord > 0 LIMIT 1") \
    X(ON_WALL, "UPDATE jobq_row SET run_at = ?2, created_at = coalesce(created_at, run_at)" \
               " WHERE id = ?1") \
    X(ROW, "SELECT " JOBQ__TEXT_ROW " FROM jobq_row WHERE id = ?1") \
    X(CLAIM, JOBQ__TEXT_CLAIM " WHERE id BETWEEN ?1 AND ?2 AND state = 0") \
    X(CLAIM_ONE, JOBQ__TEXT_CLAIM " WHERE id = ?1 AND state = 0") \
    /* Where a time is the same, created_at may still be NULL for it. */ \
    X(PLACE, "UPDATE jobq_row SET state = 0, lane = ?4, ord = ?5, run_at = ?6, attempt = ?7," \
             " runs = ?8, crashes = ?9, delay_ms = ?10, side = (side | ?11) & ~4," \
             " created_at = iif(run_at = ?6, created_at, coalesce(created_at, run_at))," \
             " finished_at = NULL, prune_at = NULL WHERE id = ?1 AND state = ?2 AND runs = ?3") \
    /* by its number: else SQLite walks over the table for each */ \
    X(CLAIMS_SET, "UPDATE jobq_claims SET ids = ?1, last_id = ?2, counted = ?3, offset_ms = ?4," \
                  " wall_at = ?5 WHERE one = 1") \
    X(OPEN_SET, "UPDATE jobq_claims SET open = ?1 WHERE one = 1") \
    /* A job that came after the claims row was written came later. */ \
    X(OWN, "SELECT offset_ms, max(wall_at, min(coalesce((SELECT coalesce(created_at, run_at)" \
           " AS at FROM jobq_row WHERE id = (SELECT max(id) FROM jobq_row) AND id > last_id" \
           " AND typeof(at) = 'integer'), 0), " JOBQ__STRING(JOBQ__WALL_MAX) ")) FROM " \
           JOBQ__TEXT_CLAIMS) \
    /* SQLite does not write what has not changed, and then there is nothing to sync. */ \
    X(SYNC, "UPDATE jobq_meta SET value = iif(value BETWEEN 0 AND 1000000000, value + 1, 0)" \
            " WHERE key = 'syncs'") \
    X(CLAIMS_GET, "SELECT one, ids, last_id, open, counted, offset_ms, wall_at, next_name" \
                  " FROM jobq_claims WHERE one < " JOBQ__TEXT_PAIRS) \
    /* settle */ \
    X(DROP_RUNS, "DELETE FROM jobq_row WHERE id BETWEEN ?1 AND ?2 AND state = 1 AND runs = ?3") \
    X(DROP_ONE, "DELETE FROM jobq_row WHERE id = ?1 AND state = ?2 AND runs = ?3") \
    X(FINISH_RUNS, "UPDATE jobq_row SET state = ?4, finished_at = ?5, prune_at = ?6" \
                   " WHERE id BETWEEN ?1 AND ?2 AND state = 1 AND runs = ?3") \
    X(END, "UPDATE jobq_row SET state = ?2, finished_at = ?3, prune_at = ?4," \
           " side = (side | ?5) & ~4 WHERE id = ?1 AND state = ?6 AND runs = ?7") \
    X(WISH, "UPDATE jobq_row SET side = side | 4 WHERE id = ?1 AND state = 1 AND runs = ?2") \
    X(FORGIVE, "UPDATE jobq_row SET crashes = 0, side = side | ?3" \
               " WHERE id = ?1 AND state = 1 AND runs = ?2") \
    X(DROP, "DELETE FROM jobq_row WHERE id = ?1") \
    X(FAILED_ADD, "INSERT OR IGNORE INTO jobq_failed(at, job) VALUES(?1, ?2)") \
    X(FAILED_DROP, "DELETE FROM jobq_failed WHERE job = ?1" \
                   " AND at = (SELECT prune_at FROM jobq_row WHERE id = ?1)") \
    /* beside the row */ \
    X(PAYLOAD_GET, "SELECT data FROM jobq_payload WHERE job = ?1") \
    X(PAYLOAD_MAX, "SELECT max(job) FROM jobq_payload") \
    X(PAYLOAD_DROP, "DELETE FROM jobq_payload WHERE job = ?1") \
    X(EXTRA_KEY, "INSERT INTO jobq_extra(job, key) VALUES(?1, ?2)") \
    X(EXTRA_ERROR, "INSERT INTO jobq_extra(job, error) VALUES(?1, ?2)" \
                   " ON CONFLICT(job) DO UPDATE SET error = excluded.error") \
    X(EXTRA_RESULT, "INSERT INTO jobq_extra(job, result) VALUES(?1, ?2)" \
                    " ON CONFLICT(job) DO UPDATE SET result = excluded.result") \
    X(EXTRA_SAVED, "INSERT INTO jobq_extra(job, saved) VALUES(?1, ?2)" \
                   " ON CONFLICT(job) DO UPDATE SET saved = excluded.saved") \
    X(EXTRA_READ_SAVED, "SELECT saved FROM jobq_extra WHERE job = ?1") \
    X(EXTRA_MAX, "SELECT max(job) FROM jobq_extra") \
    X(EXTRA_DROP, "DELETE FROM jobq_extra WHERE job = ?1") \
    /* housekeeping */ \
    X(PRUNE_DUE, JOBQ__TEXT_PRUNE " AND prune_at <= ?1 ORDER BY prune_at LIMIT ?2") \
    /* done or cancelled, the oldest first, but not what is kept for ever */ \
    X(PRUNE_DONE, JOBQ__TEXT_PRUNE " AND prune_at < ?1 AND state <> 3 ORDER BY prune_at LIMIT ?2") \
    X(PRUNE_NEXT, "SELECT min(prune_at) FROM jobq_row WHERE prune_at IS NOT NULL") \
    X(PRUNE_OLDEST, JOBQ__TEXT_PRUNE " ORDER BY prune_at LIMIT ?1") \
    /* counters */ \
    X(BEGIN_READ, "BEGIN") \
    X(COUNTED, "SELECT counted FROM " JOBQ__TEXT_CLAIMS) \
    X(COUNT_ADD, "INSERT INTO jobq_claims(one, ready, scheduled, blocked, claimed, done, failed," \
                 " cancelled, retrying) VALUES((?1 << 32) + ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)" \
                 " ON CONFLICT(one) DO UPDATE SET ready = ready + ?3," \
                 " scheduled = scheduled + ?4, blocked = blocked + ?5, claimed = claimed + ?6," \
                 " done = done + ?7, failed = failed + ?8, cancelled = cancelled + ?9," \
                 " retrying = retrying + ?10") \
    X(UNCOUNTED, "SELECT id, queue, kind, state, lane, attempt FROM jobq_row" \
                 " WHERE id > ?1 AND id <= ?2") \
    X(COUNTS, "SELECT ready, scheduled, blocked, claimed, done, failed, cancelled, retrying" \
              " FROM jobq_claims WHERE one >= " JOBQ__TEXT_PAIRS) \
    X(COUNT_DUE, "SELECT (SELECT count(*) FROM jobq_row WHERE state = 0 AND lane = 0" \
                 " AND ord = 0 AND run_at <= ?1) + (SELECT count(*) FROM jobq_row" \
                 " WHERE state = 0 AND lane = -1 AND ord = 0 AND run_at <= ?2)") \
    X(ENDED, "SELECT (SELECT coalesce(sum(done + failed + cancelled), 0) FROM jobq_claims" \
             " WHERE one >= " JOBQ__TEXT_PAIRS ") + (SELECT count(*) FROM jobq_row" \
             " WHERE state > 1 AND id > (SELECT counted FROM " JOBQ__TEXT_CLAIMS "))") \
    /* look inside */ \
    X(INFO, JOBQ__TEXT_INFO "WHERE j.id = ?1") \
    /* Whether there is a job of kind ?1 and queue ?2, or any, in a state of the set ?3; also if \
     * more than ?4 ids are not counted. */ \
    X(INFO_ANY, "SELECT coalesce((SELECT max(id) FROM jobq_row) - counted > ?4, 0) OR EXISTS(" \
                "SELECT 1 FROM jobq_claims WHERE one >= " JOBQ__TEXT_PAIRS " AND " \
                JOBQ__TEXT_CALLED("one & 4294967295", "2", "?1") " AND " \
                JOBQ__TEXT_CALLED("one >> 32", "1", "?2") " AND ((?3 & 1 AND (ready OR" \
                " scheduled OR blocked)) OR (?3 & 2 AND claimed) OR (?3 & 4 AND done)" \
                " OR (?3 & 8 AND failed) OR (?3 & 16 AND cancelled))) OR EXISTS(" \
                "SELECT 1 FROM jobq_row j WHERE j.id > counted AND ?3 >> j.state & 1 AND " \
                JOBQ__TEXT_CALLED("j.kind", "2", "?1") " AND " \
                JOBQ__TEXT_CALLED("j.queue", "1", "?2") ") FROM " JOBQ__TEXT_CLAIMS) \
    X(INFO_AFTER, JOBQ__TEXT_INFO "WHERE j.id > ?1 ORDER BY j.id LIMIT ?2") \
    /* First what is equal to the cursor but for the id, then what is beyond: only so does SQLite \
     * seek to the very row, and a listing among equals does not begin anew each time. */ \
    X(INFO_LIVE, "SELECT * FROM (" JOBQ__TEXT_INFO "WHERE j.state = 0 AND j.lane = ?1" \
                 " AND j.ord = ?3 AND j.run_at = ?4 AND j.id > ?5 ORDER BY j.id LIMIT ?2)" \
                 " UNION ALL SELECT * FROM (" JOBQ__TEXT_INFO "WHERE j.state = 0" \
                 " AND (j.lane, j.ord, j.run_at) > (?1, ?3, ?4)" \
                 " ORDER BY j.lane, j.ord, j.run_at, j.id LIMIT ?2)") \
    X(INFO_FINISHED, "SELECT * FROM (" JOBQ__TEXT_INFO "WHERE j.prune_at = ?1 AND j.id > ?3" \
                     " ORDER BY j.id LIMIT ?2) UNION ALL SELECT * FROM (" JOBQ__TEXT_INFO \
                     "WHERE j.prune_at IS NOT NULL AND j.prune_at > ?1" \
                     " ORDER BY j.prune_at, j.id LIMIT ?2)") \
    X(INFO_FAILED, "SELECT * FROM (" JOBQ__TEXT_INFO_FAILED "WHERE f.at = ?1 AND f.job > ?3" \
                   " ORDER BY f.job LIMIT ?2) UNION ALL SELECT * FROM (" JOBQ__TEXT_INFO_FAILED \
                   "WHERE f.at > ?1 ORDER BY f.at, f.job LIMIT ?2)") \
    X(INFO_KEY, JOBQ__TEXT_INFO_KEY("0") " UNION ALL " JOBQ__TEXT_INFO_KEY("1") \
                " ORDER BY u.job LIMIT ?2") \
    /* The next lane behind ?4 of ready rows (?1 = 1), or before the gate of a kind (2), that is \
     * called so; ?3: the one of that name if it is lost. */ \
    X(LANE_CALLED, "SELECT min(lane) FROM (SELECT iif(?1 = 2, -id, id) AS lane FROM jobq_name" \
                   " WHERE what IN (0, ?1) AND scope = 0 AND name = ?2 UNION ALL SELECT ?3)" \
                   " WHERE lane > ?4") \
    X(PAYLOAD, "SELECT j.id, iif(j.side & 8, j.payload, NULL), iif(j.side & 8, p.data, j.payload)" \
               " FROM jobq_row j LEFT JOIN jobq_payload p ON p.job = j.id AND j.side & 8" \
               " WHERE j.id = ?1") \
    X(RESULT, "SELECT j.id, NULL, x.result FROM jobq_row j" \
              " LEFT JOIN jobq_extra x ON x.job = j.id WHERE j.id = ?1")

enum jobq__sql {
#define JOBQ__SQL_ENUM(name, text) JOBQ__SQL_##name,
    JOBQ__SQL_LIST(JOBQ__SQL_ENUM)
#undef JOBQ__SQL_ENUM
    JOBQ__SQL_COUNT_
};

#endif

/*==== db.h ====*/
/* db.h - connections, pragmas, statements, SQLite's codes. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/db.h"
#endif
#ifndef JOBQ__DB_H
#define JOBQ__DB_H

/* #include "clock.h" */
/* #include "err.h" */
/* #include "sql.h" */

#ifndef JOBQ_SQLITE_HEADER
#define JOBQ_SQLITE_HEADER <sqlite3.h>
#endif
#include JOBQ_SQLITE_HEADER

#if SQLITE_VERSION_NUMBER < 3035000
#error "jobq needs SQLite 3.35 or later, or a library that is built on it (SQLCipher 4.5 is)"
#endif
#ifdef SQLITE_OMIT_AUTHORIZATION
#error "jobq needs sqlite3_set_authorizer: build SQLite without SQLITE_OMIT_AUTHORIZATION"
#endif

/* Design note.
 *
 * Four connections at most, each guarded by whoever may use it: the writer, the job's and the one
 * that copies the log (the holder of the baton), the reader (its own lock). Nobody waits inside
 * SQLite for somebody else's transaction, but while the queue is being opened (until_us). Automatic
 * checkpoints are off on all of them.
 * Statements are prepared once, on first use, and are reset before a function returns, so that no
 * read transaction outlives a call. */

enum jobq__use {
    JOBQ__STORE_WRITER, /* hardened: no triggers, views or clever schemas run on it */
    JOBQ__STORE_READER, /* the same, read only */
    JOBQ__STORE_COPIER, /* takes the checkpoints, and nothing else */
    JOBQ__STORE_JOB     /* handed to handlers, so with the application's settings */
};

/* Why something failed: a value that jobq never writes, and where it stands, or else what SQLite
 * and the system say. */
struct jobq__fault {
    const char *table, *column, *what; /* table NULL: none */
    int64_t row;
    int sqlite_code, os_code;
};

enum { JOBQ__GUARD_CONFIGS = 24, JOBQ__GUARD_LIMITS = 13 };

/* What guard.c knows of a connection that handlers get. */
struct jobq__guard {
    bool temp;          /* something of the temporary schema was made or changed by a handler */
    bool altered;       /* a table may have got a name that is jobq's, now or by a later job */
    bool spoilt;        /* something that a handler left on it is in jobq's own way */
    int asked;          /* how often the authorizer was, to see that it is ours still */
    int64_t row_id;     /* of the row that the handler inserted last, while jobq writes */
    int configs[JOBQ__GUARD_CONFIGS], limits[JOBQ__GUARD_LIMITS]; /* as on_connect left them */
};

/* The limits of a connection that bind jobq's own statements like the application's. */
#define JOBQ__DB_BINDING_LIMITS \
    SQLITE_LIMIT_LENGTH, SQLITE_LIMIT_SQL_LENGTH, SQLITE_LIMIT_COLUMN, SQLITE_LIMIT_EXPR_DEPTH, \
    SQLITE_LIMIT_COMPOUND_SELECT, SQLITE_LIMIT_VDBE_OP, SQLITE_LIMIT_FUNCTION_ARG, \
    SQLITE_LIMIT_LIKE_PATTERN_LENGTH, SQLITE_LIMIT_VARIABLE_NUMBER, SQLITE_LIMIT_TRIGGER_DEPTH

struct jobq__db {
    sqlite3 *handle;
    const char *path;   /* that it was opened by: the opener's; ":memory:" if there is no file */
    sqlite3_stmt *statements[JOBQ__SQL_COUNT_];
    int sqlite_code;    /* extended, of the last failure */
    struct jobq__fault fault; /* SQLITE_CORRUPT, but it was jobq that saw it */
    /* store_write.c: the walk under way, one at a time, and what it reads; JOBQ__NULL: anything. */
    sqlite3_stmt *walk;
    int64_t walk_lane;
    int64_t apart;      /* store_write.c: larger payloads do not stand in their row; 0: not known */
    /* How long SQLite waits when the file is locked: the reader and the copier a while each time,
     * the others until a moment of the monotonic clock; 0: not at all. */
    int64_t patience_us, until_us;
    int wal_pages;      /* in the log after the last commit of this connection */
    /* Else the commit hook vetoes. SQLite may end a transaction by itself, go on, and commit what
     * comes then statement by statement: the job's connection never may but at its COMMIT, the
     * writer neither once it is open. */
    bool may_commit;
    bool lost;          /* the job's: the transaction was rolled back behind jobq's back */
    bool keys;          /* foreign keys hold, as SQLite opened it */
    bool speaks;        /* jobq's own statement is being prepared or stepped, not a handler's */
    bool planned;       /* one was planned since schema.c has looked for statistics */
    struct jobq__guard guard;
};

struct jobq__store_options {
    jobq_durability durability;
    int64_t until_us;   /* the writer waits for locks until then; see jobq__db_impatient */
    bool client;        /* leaves the log alone when it closes */
    int (*on_connect)(sqlite3 *db, jobq_connection which, jobq_stage stage, jobq_error *err,
                      void *ctx);
    void *ctx;
    const void *owner;  /* whose callback on_connect is */
};

/* SQLite is started, new enough, safe with threads and the one that the header describes. */
JOBQ__INTERNAL int jobq__db_check_sqlite(jobq_error *err);
/* The name of what is at this moment SQLite's default way to open files, or of that which lets no
 * other process in. All connections of a queue have to use one and the same, or their locks do not
 * meet. */
JOBQ__INTERNAL int jobq__db_vfs_name(bool exclusive, char *name, size_t capacity,
                                     jobq_error *err);
/* True if this SQLite may lose commits when two connections write and one checkpoints. */
JOBQ__INTERNAL bool jobq__db_wal_reset_bug(void);

/* The writer syncs at FULL, whatever the options say, until its caller knows that the file is in
 * WAL mode: at NORMAL half a rollback journal can be taken for a whole one after a power cut. */
JOBQ__INTERNAL int jobq__db_open(struct jobq__db *db, const char *path, const char *vfs,
                                 enum jobq__use use, const struct jobq__store_options *options,
                                 jobq_error *err);
/* The application's turn with an open connection, once the schema stands; what it may not change is
 * put right again, also when it refuses. */
JOBQ__INTERNAL int jobq__db_setup(struct jobq__db *db, enum jobq__use use,
                                  const struct jobq__store_options *options, jobq_error *err);
/* No triggers, foreign keys, views or clever schemas run on it; or as SQLite has it. */
JOBQ__INTERNAL void jobq__db_harden(struct jobq__db *db, bool hard);
/* Nor does what binds others bind jobq's own statements: limits, and foreign keys of tables that
 * refer to ours. */
JOBQ__INTERNAL void jobq__db_unbind(struct jobq__db *db);
/* Ours and nobody else's: hooks and the busy handler. False if the hooks were another's. */
JOBQ__INTERNAL bool jobq__db_hooks(struct jobq__db *db, bool of_job);
JOBQ__INTERNAL void jobq__db_close(struct jobq__db *db);
/* From now on a lock that somebody holds is reported at once. */
JOBQ__INTERNAL void jobq__db_impatient(struct jobq__db *db);

/* Runs text, which may hold several statements. */
JOBQ__INTERNAL int jobq__db_exec(struct jobq__db *db, const char *text);
/* The same for one statement that answers with a row for each thing that it does: ends when the
 * time has come, though not before the first; what is done is done. */
JOBQ__INTERNAL int jobq__db_exec_until(struct jobq__db *db, const char *text, int64_t until_us);
/* A statement that is used once, to be finalized by the caller; NULL if it fails. */
JOBQ__INTERNAL int jobq__db_query(struct jobq__db *db, const char *text,
                                  sqlite3_stmt **statement);
/* One number that text selects, or fallback if there is none. */
JOBQ__INTERNAL int jobq__db_number(struct jobq__db *db, const char *text, int64_t fallback,
                                   int64_t *number);

/* The prepared statement, or NULL with db->sqlite_code set. */
JOBQ__INTERNAL sqlite3_stmt *jobq__db_get(struct jobq__db *db, enum jobq__sql which);
/* Steps a statement that returns no rows and resets it. */
JOBQ__INTERNAL int jobq__db_step(struct jobq__db *db, sqlite3_stmt *statement);
/* Steps a statement that returns rows: JOBQ_OK with *row telling whether there is one. At the end
 * and on failure the statement is reset. */
JOBQ__INTERNAL int jobq__db_next(struct jobq__db *db, sqlite3_stmt *statement, bool *row);
/* After texts and blobs of a row were asked for, right behind the step: JOBQ_NO_MEMORY if SQLite
 * had none to hand one out, which looks as if it were NULL or empty; then it is reset, too. */
JOBQ__INTERNAL int jobq__db_read(struct jobq__db *db, sqlite3_stmt *statement);
JOBQ__INTERNAL void jobq__db_reset(sqlite3_stmt *statement);
/* jobq__db_get and jobq__db_step for a statement without parameters. */
JOBQ__INTERNAL int jobq__db_do(struct jobq__db *db, enum jobq__sql which);

/* Rows changed since the connection was opened: to see whether something was written. */
JOBQ__INTERNAL int64_t jobq__db_changes(const struct jobq__db *db);
/* What the log's shared memory says of the log at this moment. Whoever changes the log changes the
 * header: before he cuts it, and after he has written to it. */
enum { JOBQ__DB_INDEX_HEADER = 48 };
struct jobq__db_log {
    unsigned char header[JOBQ__DB_INDEX_HEADER];
    int64_t bytes;              /* that the log has to have */
};
/* False if it cannot be told. */
JOBQ__INTERNAL bool jobq__db_log(struct jobq__db *db, struct jobq__db_log *log);
/* True if the log begins with nothing: it was cut to nothing, and written to behind that. */
JOBQ__INTERNAL bool jobq__db_log_has_gap(struct jobq__db *db);
/* In a transaction that writes: cuts off what others that were not committed have left behind the
 * last commit of the log. */
JOBQ__INTERNAL void jobq__db_cut_log(struct jobq__db *db);

/* True inside a transaction: after some errors SQLite ends it by itself. */
JOBQ__INTERNAL bool jobq__db_in_transaction(const struct jobq__db *db);
/* Resets whatever was left busy on the connection. */
JOBQ__INTERNAL void jobq__db_reset_all(struct jobq__db *db);
/* The code for db->sqlite_code, and the record with SQLite's own words. */
JOBQ__INTERNAL int jobq__db_code(int sqlite_code);
/* Of the file, absolute; ":memory:" if there is none. */
JOBQ__INTERNAL const char *jobq__db_path(const struct jobq__db *db);
/* There is none: SQLite cannot tell, for a VFS may keep in memory what has the name of a file. */
JOBQ__INTERNAL bool jobq__db_in_memory(const struct jobq__db *db);
JOBQ__INTERNAL int jobq__db_fail(struct jobq__db *db, jobq_error *err);
/* The same without the file's path. */
JOBQ__INTERNAL int jobq__db_why(const struct jobq__db *db, jobq_error *err);

/* True if the last failure was SQLite's refusal of a statement that jobq knows to be good: the file
 * is damaged, or else somebody has put a function of his own in the place of one of SQLite's. */
JOBQ__INTERNAL bool jobq__db_disturbed(const struct jobq__db *db);

/* The last failure, for when the connection is another's again. */
JOBQ__INTERNAL struct jobq__fault jobq__db_reason(const struct jobq__db *db);
/* The record for it, as code, which it returns. path NULL: not named; way_out NULL: none but for
 * damage, which has its own. */
JOBQ__INTERNAL int jobq__db_say(const struct jobq__fault *why, int code, const char *path,
                                const char *way_out, jobq_error *err);
/* Notes what is wrong with the file, for jobq__db_fail to say; returns JOBQ_CORRUPT. row 0: it is
 * not one row. */
JOBQ__INTERNAL int jobq__db_fault(struct jobq__db *db, const char *table, int64_t row,
                                  const char *column, const char *what);

/* Bytes of the database's file as it stands, without the log; 0 if it cannot be told. */
JOBQ__INTERNAL int64_t jobq__db_file_size(struct jobq__db *db);

/* True if the connection has another file open than its name names: to be asked when it was just
 * opened. SQLite says the same of a name that it may not look at. */
JOBQ__INTERNAL bool jobq__db_moved(struct jobq__db *db);

/* From now on closing may copy the log into the database: it is ours. */
JOBQ__INTERNAL void jobq__db_adopt(struct jobq__db *db);
/* And from now on it may not. */
JOBQ__INTERNAL void jobq__db_disown(struct jobq__db *db);
/* Copies the log into the database as far as readers allow; truncate also shortens it.
 * *all is false if somebody still needs the log. Nobody may write meanwhile. */
JOBQ__INTERNAL int jobq__db_checkpoint(struct jobq__db *db, bool truncate, bool *all);

#endif

/*==== db.c ====*/
/* db.c - connections, pragmas, statements, SQLite's codes. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/db.c"
#endif
/* #include "db.h" */

#include <stdio.h>

#define JOBQ__SQLITE_OLDEST 3035000 /* upserts, RETURNING and materialised hints settled */

static const char *const jobq__db_texts[] = {
#define JOBQ__DB_TEXT(name, text) text,
    JOBQ__SQL_LIST(JOBQ__DB_TEXT)
#undef JOBQ__DB_TEXT
};

/* No connection comes about, whatever the file holds: an extension that opens with every connection
 * may fail with any code, and so may what the process has put in place of SQLite's own. */
static int jobq__db_no_connection(sqlite3 *handle, const char *path, jobq_error *err) {
    int code = handle ? sqlite3_extended_errcode(handle) : SQLITE_NOMEM;
    if (code == SQLITE_NOMEM) return jobq__err_sqlite(err, JOBQ_NO_MEMORY, code, "out of memory");
    jobq__err_set(err, JOBQ_CANT_OPEN, "SQLite makes no connection to %.190s, which is not the"
                  " file's fault: %.130s; mend what the process gave to sqlite3_auto_extension or"
                  " sqlite3_vfs_register, or take it away", path, sqlite3_errmsg(handle));
    if (err) err->sqlite_code = code;
    return JOBQ_CANT_OPEN;
}

/* That SQLite was told at run time to do without mutexes can be seen on a connection only. */
static int jobq__db_check_mutexes(jobq_error *err) {
    sqlite3 *handle = NULL;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX | SQLITE_OPEN_PRIVATECACHE;
    int code = sqlite3_open_v2(":memory:", &handle, flags, NULL), rc = JOBQ_OK;
    if (code != SQLITE_OK)
        rc = jobq__db_no_connection(handle, ":memory:", err);
    else if (!sqlite3_db_mutex(handle))
        rc = jobq__err_set(err, JOBQ_BAD_SQLITE, "SQLite was set single-threaded:"
                           " sqlite3_config(SQLITE_CONFIG_SINGLETHREAD) has to go");
    sqlite3_close(handle);
    return rc;
}

JOBQ__INTERNAL int jobq__db_check_sqlite(jobq_error *err) {
    int code;
    if (sqlite3_libversion_number() < JOBQ__SQLITE_OLDEST)
        return jobq__err_set(err, JOBQ_BAD_SQLITE, "SQLite %s is too old; jobq needs 3.35",
                             sqlite3_libversion());
    if (!sqlite3_threadsafe())
        return jobq__err_set(err, JOBQ_BAD_SQLITE, "this SQLite was built without threads");
    /* Distributions patch their builds, which alters the last digits of the id; another version
     * than the header's means that two copies of SQLite are in the process. */
    if (sqlite3_libversion_number() != SQLITE_VERSION_NUMBER
        || strncmp(sqlite3_sourceid(), SQLITE_SOURCE_ID, 60) != 0)
        return jobq__err_set(err, JOBQ_BAD_SQLITE, "jobq was compiled for SQLite %s, this is %s",
                             SQLITE_VERSION, sqlite3_libversion());
    if (sqlite3_compileoption_used("OMIT_WAL"))
        return jobq__err_set(err, JOBQ_BAD_SQLITE, "this SQLite was built with SQLITE_OMIT_WAL;"
                             " jobq needs the write-ahead log");
    /* First of all, for builds that do not do it by themselves. */
    code = sqlite3_initialize();
    if (code == SQLITE_OK) return jobq__db_check_mutexes(err);
    jobq__err_set(err, code == SQLITE_NOMEM ? JOBQ_NO_MEMORY : JOBQ_BAD_SQLITE,
                  "sqlite3_initialize failed (SQLite: %s); see what the process gave to"
                  " sqlite3_config", sqlite3_errstr(code));
    if (err) err->sqlite_code = code;
    return code == SQLITE_NOMEM ? JOBQ_NO_MEMORY : JOBQ_BAD_SQLITE;
}

JOBQ__INTERNAL int jobq__db_vfs_name(bool exclusive, char *name, size_t capacity,
                                     jobq_error *err) {
    const sqlite3_vfs *vfs = sqlite3_vfs_find(exclusive ? "unix-excl" : NULL);
    if (!vfs && exclusive)
        return jobq__err_set(err, JOBQ_BAD_SQLITE, "this SQLite has no VFS unix-excl; open without"
                             " .exclusive");
    if (!vfs || strlen(vfs->zName) >= capacity)
        return jobq__err_set(err, JOBQ_BAD_SQLITE, "SQLite has no default VFS that can be named");
    jobq__err_copy_text(name, capacity, vfs->zName);
    return JOBQ_OK;
}

JOBQ__INTERNAL bool jobq__db_wal_reset_bug(void) {
    int version = sqlite3_libversion_number();
    if (version >= 3051003) return false;
    return !(version >= 3044006 && version < 3045000) && !(version >= 3050007 && version < 3051000);
}

JOBQ__INTERNAL int jobq__db_code(int sqlite_code) {
    if (sqlite_code == SQLITE_IOERR_NOMEM) return JOBQ_NO_MEMORY;
    /* The log's shared memory is a file that could not be made longer. */
    if (sqlite_code == SQLITE_IOERR_SHMSIZE) return JOBQ_FULL;
    switch (sqlite_code & 0xff) {
    case SQLITE_OK: case SQLITE_ROW: case SQLITE_DONE: return JOBQ_OK;
    case SQLITE_BUSY: case SQLITE_LOCKED: case SQLITE_PROTOCOL: return JOBQ_BUSY;
    case SQLITE_FULL: return JOBQ_FULL;
    case SQLITE_NOMEM: return JOBQ_NO_MEMORY;
    case SQLITE_READONLY: case SQLITE_PERM: case SQLITE_AUTH: return JOBQ_READ_ONLY;
    case SQLITE_CORRUPT: case SQLITE_ERROR: case SQLITE_MISMATCH: return JOBQ_CORRUPT;
    case SQLITE_NOTADB: return JOBQ_NOT_A_DB;
    case SQLITE_CANTOPEN: return JOBQ_CANT_OPEN;
    case SQLITE_TOOBIG: return JOBQ_TOO_BIG;
    default: return JOBQ_IO;
    }
}

/* SQLite does not know quotas: one that is used up is an I/O error to it. pointer: which file was
 * written to. */
static bool jobq__db_over_quota(struct jobq__db *db, int pointer) {
    sqlite3_file *file = NULL;
    int os_code = 0;
    if (db->sqlite_code != SQLITE_IOERR_WRITE) return false;
    sqlite3_file_control(db->handle, "main", pointer, &file);
    return file && file->pMethods
        && file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &os_code) == SQLITE_OK
        && jobq__os_full(os_code);
}

static int jobq__db_note_of(struct jobq__db *db, int pointer) {
    db->fault.table = NULL;
    db->sqlite_code = db->handle ? sqlite3_extended_errcode(db->handle) : SQLITE_NOMEM;
    if (jobq__db_over_quota(db, pointer)) db->sqlite_code = SQLITE_FULL;
    return jobq__db_code(db->sqlite_code);
}

/* Of a statement: these write to the log. */
static int jobq__db_note(struct jobq__db *db) {
    return jobq__db_note_of(db, SQLITE_FCNTL_JOURNAL_POINTER);
}

JOBQ__INTERNAL struct jobq__fault jobq__db_reason(const struct jobq__db *db) {
    struct jobq__fault why = db->fault;
    int primary = db->sqlite_code & 0xff;
    if (jobq__db_code(db->sqlite_code) != JOBQ_CORRUPT) why.table = NULL;
    why.sqlite_code = db->sqlite_code;
    why.os_code = db->handle && (primary == SQLITE_CANTOPEN || primary == SQLITE_IOERR)
                ? sqlite3_system_errno(db->handle) : 0;
    return why;
}

static void jobq__db_say_fault(const struct jobq__fault *fault, const char *path,
                               jobq_error *err) {
    bool header = fault->table[0] == '('; /* nothing of ours can be read then */
    jobq__err_set(err, JOBQ_CORRUPT, "%.250s is damaged: table %s, row %lld: %s %s; the queue"
                  " stops. %s", path, fault->table, (long long)fault->row, fault->column,
                  fault->what, header ? "Restore a copy, or what sqlite3's .recover saves of it"
                  : "Have its owner repair it (open with .damaged = true, jobq_check), or restore"
                    " a copy");
}

JOBQ__INTERNAL int jobq__db_say(const struct jobq__fault *why, int code, const char *path,
                                const char *way_out, jobq_error *err) {
    const char *words = sqlite3_errstr(why->sqlite_code);
    char advice[200];
    /* The sentence of BUSY is also for a job that runs, of which SQLite knows nothing. */
    const char *says = code != JOBQ_BUSY ? jobq_code_text(code)
                     : "another connection (your own on this thread?) holds the database";
    if (!way_out && code == JOBQ_BUSY) way_out = "call again, or keep that transaction shorter";
    if (!way_out && code == JOBQ_CORRUPT)
        way_out = "restore a copy, or what sqlite3's .recover saves of it, and open that";
    if (!way_out && path && (why->sqlite_code & 0xff) == SQLITE_READONLY)
        way_out = JOBQ__ERR_RIGHTS;
    if (code == JOBQ_CORRUPT && why->table && path) {
        jobq__db_say_fault(why, path, err);
    } else if (why->os_code && code != JOBQ_UNKNOWN) {
        snprintf(advice, sizeof advice, "%s%s%s", words, way_out ? "; " : "",
                 way_out ? way_out : "");
        jobq__err_os(err, code, why->os_code, "SQLite:", path, advice);
    } else {
        jobq__err_set(err, code, "%s%s%.200s (SQLite: %s)%s%s", says,
                      path ? ": " : "", path ? path : "", words, way_out ? "; " : "",
                      way_out ? way_out : "");
    }
    if (err) err->sqlite_code = why->sqlite_code;
    if (err) err->os_code = why->os_code;
    return code;
}

static int jobq__db_tell(const struct jobq__db *db, const char *path, jobq_error *err) {
    struct jobq__fault why = jobq__db_reason(db);
    int code = jobq__db_code(db->sqlite_code);
    return jobq__db_say(&why, code == JOBQ_OK ? JOBQ_IO : code, path && *path ? path : NULL, NULL,
                        err);
}

JOBQ__INTERNAL const char *jobq__db_path(const struct jobq__db *db) {
    return db->path ? db->path : ":memory:";
}

JOBQ__INTERNAL int jobq__db_why(const struct jobq__db *db, jobq_error *err) {
    return jobq__db_tell(db, NULL, err);
}

JOBQ__INTERNAL int jobq__db_fail(struct jobq__db *db, jobq_error *err) {
    return jobq__db_tell(db, db->handle ? jobq__db_path(db) : NULL, err);
}

JOBQ__INTERNAL bool jobq__db_disturbed(const struct jobq__db *db) {
    return (db->sqlite_code & 0xff) == SQLITE_ERROR;
}

JOBQ__INTERNAL int jobq__db_fault(struct jobq__db *db, const char *table, int64_t row,
                                  const char *column, const char *what) {
    struct jobq__fault fault = {table, column, what, row, SQLITE_CORRUPT, 0};
    db->fault = fault;
    db->sqlite_code = SQLITE_CORRUPT;
    return JOBQ_CORRUPT;
}

JOBQ__INTERNAL int jobq__db_exec(struct jobq__db *db, const char *text) {
    bool before = db->speaks;
    int code;
    db->speaks = true;
    code = sqlite3_exec(db->handle, text, NULL, NULL, NULL);
    db->speaks = before;
    return code ? jobq__db_note(db) : JOBQ_OK;
}

static int jobq__db_prepare(struct jobq__db *db, const char *text, unsigned flags,
                            sqlite3_stmt **statement) {
    bool before = db->speaks;
    int code;
    db->speaks = true;
    code = sqlite3_prepare_v3(db->handle, text, -1, flags, statement, NULL);
    db->speaks = before;
    return code;
}

/* A change of the schema has a statement prepared anew by its first step. */
static int jobq__db_step_once(struct jobq__db *db, sqlite3_stmt *statement) {
    bool before = db->speaks;
    int step;
    db->speaks = true;
    step = sqlite3_step(statement);
    db->speaks = before;
    return step;
}

JOBQ__INTERNAL int jobq__db_query(struct jobq__db *db, const char *text,
                                  sqlite3_stmt **statement) {
    *statement = NULL;
    return jobq__db_prepare(db, text, 0, statement) ? jobq__db_note(db) : JOBQ_OK;
}

JOBQ__INTERNAL int jobq__db_exec_until(struct jobq__db *db, const char *text, int64_t until_us) {
    sqlite3_stmt *statement;
    bool row;
    int rc = jobq__db_query(db, text, &statement);
    if (rc != JOBQ_OK) return rc;
    do rc = jobq__db_next(db, statement, &row);
    while (rc == JOBQ_OK && row && jobq__clock_mono_us() < until_us);
    sqlite3_finalize(statement);
    return rc;
}

JOBQ__INTERNAL int jobq__db_number(struct jobq__db *db, const char *text, int64_t fallback,
                                   int64_t *number) {
    sqlite3_stmt *statement;
    bool row = false;
    int rc = jobq__db_query(db, text, &statement);
    *number = fallback;
    if (rc == JOBQ_OK) rc = jobq__db_next(db, statement, &row);
    if (row && sqlite3_column_type(statement, 0) == SQLITE_INTEGER)
        *number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return rc;
}

JOBQ__INTERNAL sqlite3_stmt *jobq__db_get(struct jobq__db *db, enum jobq__sql which) {
    sqlite3_stmt **statement = &db->statements[which];
    const char *text = jobq__db_texts[which];
    char *whole = NULL;
    if (*statement) return *statement;
    db->planned = true;
    if (strchr(text, '%')) text = whole = sqlite3_mprintf(text, JOBQ__TEXT_PARTS);
    if (!text) db->sqlite_code = SQLITE_NOMEM;
    else if (jobq__db_prepare(db, text, SQLITE_PREPARE_PERSISTENT, statement)) jobq__db_note(db);
    sqlite3_free(whole);
    return *statement;
}

JOBQ__INTERNAL int jobq__db_step(struct jobq__db *db, sqlite3_stmt *statement) {
    int rc = JOBQ_OK;
    jobq__assert(jobq__os_may_block());
    if (!statement) return jobq__db_code(db->sqlite_code);
    /* PRAGMA answers with a row; nobody wants it. */
    for (;;) {
        int step = jobq__db_step_once(db, statement);
        if (step == SQLITE_ROW) continue;
        if (step != SQLITE_DONE) rc = jobq__db_note(db);
        break;
    }
    sqlite3_reset(statement);
    return rc;
}

JOBQ__INTERNAL int jobq__db_next(struct jobq__db *db, sqlite3_stmt *statement, bool *row) {
    int step, rc = JOBQ_OK;
    jobq__assert(jobq__os_may_block());
    *row = false;
    if (!statement) return jobq__db_code(db->sqlite_code);
    step = jobq__db_step_once(db, statement);
    if (step == SQLITE_ROW) {
        *row = true;
        return JOBQ_OK;
    }
    if (step != SQLITE_DONE) rc = jobq__db_note(db);
    sqlite3_reset(statement);
    return rc;
}

/* The step before has told SQLITE_ROW, so what is told now is the columns'. */
JOBQ__INTERNAL int jobq__db_read(struct jobq__db *db, sqlite3_stmt *statement) {
    int rc;
    if (sqlite3_errcode(db->handle) != SQLITE_NOMEM) return JOBQ_OK;
    rc = jobq__db_note(db);
    sqlite3_reset(statement);
    return rc;
}

JOBQ__INTERNAL void jobq__db_reset(sqlite3_stmt *statement) {
    sqlite3_reset(statement);
}

JOBQ__INTERNAL int jobq__db_do(struct jobq__db *db, enum jobq__sql which) {
    return jobq__db_step(db, jobq__db_get(db, which));
}

JOBQ__INTERNAL int64_t jobq__db_changes(const struct jobq__db *db) {
    return sqlite3_total_changes(db->handle);
}

JOBQ__INTERNAL void jobq__db_adopt(struct jobq__db *db) {
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, (int *)NULL);
}

JOBQ__INTERNAL void jobq__db_disown(struct jobq__db *db) {
    if (db->handle)
        sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
}

JOBQ__INTERNAL bool jobq__db_moved(struct jobq__db *db) {
    int moved = 0;
    sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    return moved != 0;
}

JOBQ__INTERNAL int64_t jobq__db_file_size(struct jobq__db *db) {
    sqlite3_file *file = NULL;
    sqlite3_int64 size = 0;
    sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (!file || !file->pMethods || file->pMethods->xFileSize(file, &size) != SQLITE_OK) return 0;
    return size;
}

/* The log's shared memory, as "WAL-mode File Format" of SQLite's documentation has it: its header
 * stands there twice, and is whole when both are the same. */
enum {
    JOBQ__DB_INDEX_VERSION = 3007000,
    JOBQ__DB_INDEX_REGION = 32768, /* mapped at a time */
    JOBQ__DB_LOG_HEADER = 32, JOBQ__DB_FRAME_HEADER = 24
};

static bool jobq__db_index(struct jobq__db *db, unsigned char *header) {
    /* It is made of numbers of this size, and stands at the beginning of a page. */
    uint32_t twice[2 * JOBQ__DB_INDEX_HEADER / sizeof(uint32_t)];
    const volatile uint32_t *from;
    volatile void *map = NULL;
    sqlite3_file *file = NULL;
    size_t i;
    sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (!file || !file->pMethods || file->pMethods->iVersion < 2 || !file->pMethods->xShmMap
        || file->pMethods->xShmMap(file, 0, JOBQ__DB_INDEX_REGION, 0, &map) != SQLITE_OK || !map)
        return false;
    from = map;
    for (i = 0; i < JOBQ__COUNT(twice); i++) twice[i] = from[i];
    memcpy(header, twice, JOBQ__DB_INDEX_HEADER);
    return memcmp(header, twice + JOBQ__COUNT(twice) / 2, JOBQ__DB_INDEX_HEADER) == 0;
}

JOBQ__INTERNAL bool jobq__db_log(struct jobq__db *db, struct jobq__db_log *log) {
    uint32_t version, frames;
    uint16_t size;
    if (!jobq__db_index(db, log->header)) return false;
    memcpy(&version, log->header, sizeof version);
    memcpy(&size, log->header + 14, sizeof size);
    memcpy(&frames, log->header + 16, sizeof frames);
    if (version != JOBQ__DB_INDEX_VERSION || !log->header[12]) return false;
    log->bytes = !frames ? 0 : JOBQ__DB_LOG_HEADER
               + (int64_t)frames * ((size == 1 ? 65536 : size) + JOBQ__DB_FRAME_HEADER);
    return true;
}

JOBQ__INTERNAL bool jobq__db_log_has_gap(struct jobq__db *db) {
    static const char none[JOBQ__DB_LOG_HEADER];
    char header[JOBQ__DB_LOG_HEADER];
    sqlite3_file *file = NULL;
    sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file);
    if (!file || !file->pMethods
        || file->pMethods->xRead(file, header, sizeof header, 0) != SQLITE_OK) return false;
    return memcmp(header, none, sizeof header) == 0;
}

JOBQ__INTERNAL bool jobq__db_in_transaction(const struct jobq__db *db) {
    return !sqlite3_get_autocommit(db->handle);
}

JOBQ__INTERNAL void jobq__db_cut_log(struct jobq__db *db) {
    struct jobq__db_log log;
    sqlite3_file *file = NULL;
    sqlite3_int64 size = 0;
    jobq__assert(jobq__db_in_transaction(db));
    if (!jobq__db_log(db, &log)) return;
    sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file);
    if (file && file->pMethods && file->pMethods->xFileSize(file, &size) == SQLITE_OK
        && size > log.bytes)
        file->pMethods->xTruncate(file, log.bytes);
}

JOBQ__INTERNAL void jobq__db_reset_all(struct jobq__db *db) {
    sqlite3_stmt *statement = NULL;
    while ((statement = sqlite3_next_stmt(db->handle, statement)) != NULL)
        if (sqlite3_stmt_busy(statement)) sqlite3_reset(statement);
}

JOBQ__INTERNAL int jobq__db_checkpoint(struct jobq__db *db, bool truncate, bool *all) {
    int frames = 0, copied = 0;
    int mode = truncate ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE;
    int64_t until_us = db->until_us;
    int rc;
    jobq__assert(jobq__os_may_block());
    /* Who waits for readers here keeps everybody else waiting. */
    db->until_us = 0;
    rc = sqlite3_wal_checkpoint_v2(db->handle, NULL, mode, &frames, &copied);
    db->until_us = until_us;
    *all = rc == SQLITE_OK && frames == copied;
    if ((rc & 0xff) == SQLITE_BUSY || rc == SQLITE_OK) return JOBQ_OK;
    return jobq__db_note_of(db, SQLITE_FCNTL_FILE_POINTER);
}

/* ---- Opening ---- */

static int jobq__db_after_commit(void *arg, sqlite3 *handle, const char *name, int pages) {
    struct jobq__db *db = arg;
    (void)handle;
    (void)name;
    db->wal_pages = pages;
    return SQLITE_OK;
}

static int jobq__db_before_commit(void *arg) {
    struct jobq__db *db = arg;
    return !db->may_commit;
}

static void jobq__db_rolled_back(void *arg) {
    struct jobq__db *db = arg;
    db->lost = true;
}

static int jobq__db_wait(void *arg, int tries) {
    struct jobq__db *db = arg;
    int64_t now_us;
    if (!db->patience_us && !db->until_us) return 0;
    now_us = jobq__clock_mono_us();
    if (db->patience_us && !tries) db->until_us = jobq__add(now_us, db->patience_us);
    if (now_us >= db->until_us) return 0;
    jobq__os_sleep_us(JOBQ__MIN(db->until_us - now_us, JOBQ__TURN_PAUSE_MAX_US));
    return 1;
}

JOBQ__INTERNAL void jobq__db_impatient(struct jobq__db *db) {
    db->until_us = 0;
}

static const int jobq__db_limits[] = {JOBQ__DB_BINDING_LIMITS};

enum { JOBQ__DB_LIMITS = JOBQ__COUNT(jobq__db_limits) };

/* As much as the build allows; before: as it was, or NULL. */
static void jobq__db_raise(struct jobq__db *db, int *before) {
    int i;
    for (i = 0; i < JOBQ__DB_LIMITS; i++) {
        int was = sqlite3_limit(db->handle, jobq__db_limits[i], INT32_MAX);
        if (before) before[i] = was;
    }
}

JOBQ__INTERNAL void jobq__db_unbind(struct jobq__db *db) {
    jobq__db_raise(db, NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_ENABLE_FKEY, 0, (int *)NULL);
}

JOBQ__INTERNAL void jobq__db_harden(struct jobq__db *db, bool hard) {
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, hard, (int *)NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, !hard, (int *)NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_ENABLE_TRIGGER, !hard, (int *)NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_ENABLE_VIEW, !hard, (int *)NULL);
    sqlite3_limit(db->handle, SQLITE_LIMIT_ATTACHED, hard ? 0 : JOBQ__ATTACHED_MAX);
    if (hard) jobq__db_unbind(db);
    else sqlite3_db_config(db->handle, SQLITE_DBCONFIG_ENABLE_FKEY, db->keys, (int *)NULL);
}

/* Nobody looks over jobq's shoulder, and its failures tell what they are. */
static void jobq__db_unhook(struct jobq__db *db) {
    sqlite3_extended_result_codes(db->handle, 1);
    sqlite3_update_hook(db->handle, NULL, NULL);
#ifndef SQLITE_OMIT_PROGRESS_CALLBACK
    sqlite3_progress_handler(db->handle, 0, NULL, NULL);
#endif
#ifndef SQLITE_OMIT_TRACE
    sqlite3_trace_v2(db->handle, 0, NULL, NULL);
#endif
#ifdef SQLITE_ENABLE_PREUPDATE_HOOK
    sqlite3_preupdate_hook(db->handle, NULL, NULL);
#endif
}

JOBQ__INTERNAL bool jobq__db_hooks(struct jobq__db *db, bool of_job) {
    const void *commit = sqlite3_commit_hook(db->handle, jobq__db_before_commit, db);
    const void *rollback = sqlite3_rollback_hook(db->handle, of_job ? jobq__db_rolled_back : NULL,
                                                 db);
    sqlite3_busy_handler(db->handle, jobq__db_wait, db);
    jobq__db_unhook(db);
    /* Replaces the automatic checkpoint, too. */
    sqlite3_wal_hook(db->handle, jobq__db_after_commit, db);
    return commit == db && (!of_job || rollback == db);
}

JOBQ__INTERNAL bool jobq__db_in_memory(const struct jobq__db *db) {
    return strcmp(jobq__db_path(db), ":memory:") == 0;
}

/* theirs: what jobq only prefers is as handlers are to find it. */
static int jobq__db_pragmas(struct jobq__db *db, enum jobq__use use, bool theirs,
                            const struct jobq__store_options *options) {
    bool full = options->durability == JOBQ_DURABLE || use == JOBQ__STORE_WRITER;
    int rc = JOBQ_OK;
    if (!theirs)
        rc = jobq__db_exec(db, "PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY;"
                               " PRAGMA cell_size_check=1; PRAGMA journal_size_limit=-1");
    /* On a Mac only a full sync reaches the platter, that of a flush or a checkpoint at RELAXED
     * just as a commit's; elsewhere it changes nothing. */
    if (rc == JOBQ_OK)
        rc = jobq__db_exec(db, "PRAGMA locking_mode=NORMAL; PRAGMA fullfsync=1;"
                               " PRAGMA checkpoint_fullfsync=1; PRAGMA query_only=0");
    if (rc == JOBQ_OK && use == JOBQ__STORE_READER) rc = jobq__db_exec(db, "PRAGMA query_only=1");
    if (rc == JOBQ_OK)
        rc = jobq__db_exec(db, full ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL");
    /* Else what is rolled back would stay. */
    if (rc == JOBQ_OK && jobq__db_in_memory(db))
        rc = jobq__db_exec(db, "PRAGMA main.journal_mode=MEMORY");
    return rc;
}

static const char *const jobq__db_uses[] = {
    [JOBQ__STORE_WRITER] = "writer's",
    [JOBQ__STORE_READER] = "reader's",
    [JOBQ__STORE_COPIER] = "copier's",
    [JOBQ__STORE_JOB] = "job's",
};

static bool jobq__db_is_ours(const char *name) {
    return name && sqlite3_strnicmp(name, "jobq_", 5) == 0;
}

/* For SQLite what is temporary stands before the file's own, and triggers that are temporary cannot
 * be turned off. */
static int jobq__db_refuse_temporary(struct jobq__db *db, enum jobq__use use, jobq_error *err) {
    sqlite3_stmt *s;
    bool row = true;
    int rc = jobq__db_query(db, "SELECT type, name, tbl_name FROM sqlite_temp_master", &s);
    while (rc == JOBQ_OK && (rc = jobq__db_next(db, s, &row)) == JOBQ_OK && row) {
        const char *type = (const char *)sqlite3_column_text(s, 0);
        const char *name = (const char *)sqlite3_column_text(s, 1);
        const char *table = (const char *)sqlite3_column_text(s, 2);
        rc = jobq__db_read(db, s);
        if (rc != JOBQ_OK) break;
        if (!jobq__db_is_ours(name) && !jobq__db_is_ours(table)) continue;
        rc = jobq__err_set(err, JOBQ_CANT_OPEN, "on_connect made the temporary %s %.64s (of %.64s)"
                           " on the %s connection, in the way of jobq's own tables; use names that"
                           " do not begin with jobq_, and no triggers on its tables",
                           type ? type : "object", name ? name : "?", table ? table : "?",
                           jobq__db_uses[use]);
    }
    sqlite3_finalize(s);
    return rc == JOBQ_OK || rc == JOBQ_CANT_OPEN ? rc : jobq__db_fail(db, err);
}

/* Who has read the log in that locking mode keeps the file, and SQLite does not take it back. */
static int jobq__db_refuse_exclusive(struct jobq__db *db, enum jobq__use use, jobq_error *err) {
    sqlite3_stmt *s;
    bool row = false, exclusive = false;
    int rc;
    if (jobq__db_in_memory(db)) return JOBQ_OK;
    rc = jobq__db_query(db, "PRAGMA main.locking_mode", &s);
    if (rc == JOBQ_OK) rc = jobq__db_next(db, s, &row);
    if (row) {
        const char *mode = (const char *)sqlite3_column_text(s, 0);
        exclusive = mode && strcmp(mode, "exclusive") == 0;
        rc = jobq__db_read(db, s);
    }
    sqlite3_finalize(s);
    if (rc != JOBQ_OK) return jobq__db_fail(db, err);
    if (!exclusive) return rc;
    return jobq__err_set(err, JOBQ_CANT_OPEN, "on_connect has read %.200s on the %s connection with"
                         " PRAGMA locking_mode=EXCLUSIVE, which keeps out jobq's other connections"
                         " until it is closed; leave that out (.exclusive keeps out other"
                         " processes)", jobq__db_path(db), jobq__db_uses[use]);
}

/* What jobq lives by, whatever the application's limits are. */
static int jobq__db_put_right(struct jobq__db *db, enum jobq__use use, bool theirs,
                              const struct jobq__store_options *options, jobq_error *err) {
    int i, rc, before[JOBQ__DB_LIMITS];
    jobq__db_raise(db, before);
    rc = jobq__db_pragmas(db, use, theirs, options);
    if (rc != JOBQ_OK) rc = jobq__db_fail(db, err);
    else if (options->on_connect) rc = jobq__db_refuse_temporary(db, use, err);
    if (rc == JOBQ_OK && options->on_connect) rc = jobq__db_refuse_exclusive(db, use, err);
    for (i = 0; i < JOBQ__DB_LIMITS; i++)
        sqlite3_limit(db->handle, jobq__db_limits[i], before[i]);
    return rc;
}

/* What SQLite and the system said about a file that cannot be opened. */
static int jobq__db_cannot_open(struct jobq__db *db, const char *path, const char *vfs,
                                jobq_error *err) {
    const sqlite3_vfs *found = sqlite3_vfs_find(vfs);
    int rc = jobq__db_note(db);
    /* What is about the file has no other words than those of its code. */
    if (rc == JOBQ_CORRUPT || (db->handle && strcmp(sqlite3_errmsg(db->handle),
                                                    sqlite3_errstr(db->sqlite_code)) != 0))
        return jobq__db_no_connection(db->handle, path, err);
    if (rc == JOBQ_CANT_OPEN && found && strlen(path) + 8 > (size_t)found->mxPathname)
        return jobq__err_set(err, rc, "the absolute path has %llu bytes, SQLite opens at most %d:"
                             " %.250s", (unsigned long long)strlen(path), found->mxPathname - 8,
                             path);
    return jobq__db_tell(db, path, err);
}

/* A build, or an extension that opens with every connection, may have left things on it. */
static void jobq__db_clear(struct jobq__db *db) {
    int keys = 0;
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_ENABLE_FKEY, -1, &keys);
    db->keys = keys != 0;
    sqlite3_set_authorizer(db->handle, NULL, NULL);
    jobq__db_unhook(db);
    if (jobq__db_in_transaction(db)) sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
}

/* The application's hook, with the connection as it is; its words, or SQLite's, if it refuses. */
static int jobq__db_ask(struct jobq__db *db, enum jobq__use use, jobq_stage stage,
                        const struct jobq__store_options *options, jobq_error *err) {
    static const jobq_connection which[] = {
        [JOBQ__STORE_WRITER] = JOBQ_CONNECTION_WRITER,
        [JOBQ__STORE_READER] = JOBQ_CONNECTION_READER,
        [JOBQ__STORE_COPIER] = JOBQ_CONNECTION_COPIER,
        [JOBQ__STORE_JOB] = JOBQ_CONNECTION_JOB,
    };
    bool commits = db->may_commit, speaks = db->speaks;
    struct jobq__os_call call;
    jobq_error words;
    int refused, code;
    if (!options->on_connect) return JOBQ_OK;
    memset(&words, 0, sizeof words);
    db->may_commit = db->speaks = true;
    jobq__os_call_begin(&call, options->owner, "on_connect");
    refused = options->on_connect(db->handle, which[use], stage, &words, options->ctx);
    jobq__os_call_end(&call);
    db->may_commit = commits;
    db->speaks = speaks;
    if (!refused && sqlite3_get_autocommit(db->handle)) return JOBQ_OK;
    code = sqlite3_extended_errcode(db->handle);
    db->sqlite_code = code;
    if (!refused)
        return jobq__err_set(err, JOBQ_CANT_OPEN, "on_connect left a transaction open on the %s"
                             " connection; end it there", jobq__db_uses[use]);
    words.text[sizeof words.text - 1] = 0;
    if (code == SQLITE_ROW || code == SQLITE_DONE) code = SQLITE_OK;
    if (!words.text[0] && code == SQLITE_OK)
        jobq__err_set(err, JOBQ_CANT_OPEN, "on_connect refused the %s connection: it returned %d"
                      " and gave no reason, which belongs into err->text", jobq__db_uses[use],
                      refused);
    else
        jobq__err_set(err, JOBQ_CANT_OPEN, "on_connect refused the %s connection: %.350s",
                      jobq__db_uses[use], words.text[0] ? words.text
                                                        : sqlite3_errmsg(db->handle));
    if (err) err->sqlite_code = code;
    return JOBQ_CANT_OPEN;
}

JOBQ__INTERNAL int jobq__db_setup(struct jobq__db *db, enum jobq__use use,
                                  const struct jobq__store_options *options, jobq_error *err) {
    int put, rc = jobq__db_ask(db, use, JOBQ_STAGE_SETUP, options, err);
    if (!options->on_connect) return rc;
    /* In memory a connection that was refused to the job stays the writer's. */
    jobq__db_reset_all(db);
    sqlite3_set_authorizer(db->handle, NULL, NULL);
    jobq__db_hooks(db, use == JOBQ__STORE_JOB);
    if (use != JOBQ__STORE_JOB) jobq__db_harden(db, true);
    if (jobq__db_in_transaction(db)) jobq__db_do(db, JOBQ__SQL_ROLLBACK);
    put = jobq__db_put_right(db, use, use == JOBQ__STORE_JOB, options, rc == JOBQ_OK ? err : NULL);
    return rc == JOBQ_OK ? put : rc;
}

JOBQ__INTERNAL int jobq__db_open(struct jobq__db *db, const char *path, const char *vfs,
                                 enum jobq__use use, const struct jobq__store_options *options,
                                 jobq_error *err) {
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_PRIVATECACHE
              | (use == JOBQ__STORE_JOB || strcmp(path, ":memory:") == 0 ? SQLITE_OPEN_FULLMUTEX
                                                                       : SQLITE_OPEN_NOMUTEX);
    int rc;
    memset(db, 0, sizeof *db);
    db->path = path;
    db->may_commit = use != JOBQ__STORE_JOB;
    if (sqlite3_open_v2(path, &db->handle, flags, vfs)) {
        rc = jobq__db_cannot_open(db, path, vfs, err);
        jobq__db_close(db);
        return rc;
    }
    /* SQLite opens without a word for reading what it cannot open for writing, and begins there
     * what it cannot write. */
    if (!options->client && sqlite3_db_readonly(db->handle, "main") == 1) {
        rc = jobq__err_set(err, JOBQ_READ_ONLY, "SQLite could open %.250s for reading only, and the"
                           " owner writes; see to the file's mode, and open it again", path);
        jobq__db_disown(db);
        jobq__db_close(db);
        return rc;
    }
    /* Until the file is known to be ours nothing of it may be touched. */
    if (use == JOBQ__STORE_WRITER || options->client) jobq__db_disown(db);
    jobq__db_clear(db);
    if (use == JOBQ__STORE_WRITER) db->until_us = options->until_us;
    else if (use != JOBQ__STORE_JOB) db->patience_us = JOBQ__DB_PATIENCE_US;
    if (use == JOBQ__STORE_COPIER)
        sqlite3_db_config(db->handle, SQLITE_DBCONFIG_LOOKASIDE, (void *)NULL, 0, 0);
    rc = jobq__db_ask(db, use, JOBQ_STAGE_KEY, options, err);
    if (rc != JOBQ_OK) {
        jobq__db_close(db);
        return rc;
    }
    if (use != JOBQ__STORE_JOB) jobq__db_harden(db, true);
    jobq__db_hooks(db, use == JOBQ__STORE_JOB);
    rc = jobq__db_put_right(db, use, false, options, err);
    if (rc != JOBQ_OK) jobq__db_close(db);
    return rc;
}

JOBQ__INTERNAL void jobq__db_close(struct jobq__db *db) {
    size_t i;
    if (!db->handle) return;
    for (i = 0; i < JOBQ__COUNT(db->statements); i++) sqlite3_finalize(db->statements[i]);
    /* A handler may have left statements of its own: with close_v2 they do no harm. */
    sqlite3_close_v2(db->handle);
    memset(db, 0, sizeof *db);
}

/*==== guard.h ====*/
/* guard.h - the connection that handlers get: what they may do there, and how the next finds it. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/guard.h"
#endif
#ifndef JOBQ__GUARD_H
#define JOBQ__GUARD_H

/* #include "db.h" */

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

/*==== guard.c ====*/
/* guard.c - the connection that handlers get: what they may do there, and how the next finds it. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/guard.c"
#endif
/* #include "guard.h" */

/* ---- What a handler may do ---- */

static bool jobq__guard_is(const char *name, const char *other) {
    return name && sqlite3_stricmp(name, other) == 0;
}

/* Also temporary ones: such a table would stand before ours. What is attached is another's. */
static bool jobq__guard_ours(const char *name, const char *schema) {
    if (!name || sqlite3_strnicmp(name, "jobq_", 5) != 0) return false;
    return !schema || jobq__guard_is(schema, "main") || jobq__guard_is(schema, "temp");
}

/* Those that only tell, and those that end with the transaction. */
static bool jobq__guard_pragma(const char *name, const char *value) {
    static const char *const allowed[] = {
        "table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo",
        "foreign_key_list", "foreign_key_check", "integrity_check", "quick_check", "user_version",
        "defer_foreign_keys"};
    size_t i;
    for (i = 0; i < JOBQ__COUNT(allowed); i++)
        if (jobq__guard_is(name, allowed[i])) return true;
    return !value && !jobq__guard_is(name, "wal_checkpoint")
        && !jobq__guard_is(name, "incremental_vacuum") && !jobq__guard_is(name, "optimize");
}

static int jobq__guard_config(struct jobq__db *db, int which, int value) {
    int is = 0;
    sqlite3_db_config(db->handle, which, value, &is);
    return is;
}

/* SQLite writes the table of the schema for each statement that changes it, and asks about that,
 * too; a statement of the handler's own can name it only where a setting allows that. */
static bool jobq__guard_by_hand(struct jobq__db *db, const char *table) {
    return (jobq__guard_is(table, "sqlite_master") || jobq__guard_is(table, "sqlite_temp_master"))
        && jobq__guard_config(db, SQLITE_DBCONFIG_WRITABLE_SCHEMA, -1);
}

static int jobq__guard_answer(struct jobq__db *db, int action, const char *a, const char *b,
                              const char *schema) {
    switch (action) {
    case SQLITE_TRANSACTION:
        /* Who believes to have ended it must not be told later that all is done. */
        if (!jobq__guard_is(a, "BEGIN")) db->lost = true;
        return SQLITE_DENY;
    case SQLITE_ATTACH: case SQLITE_DETACH:
        return SQLITE_DENY;
    case SQLITE_ANALYZE: /* of all tables: ours are left out (schema.c) */
        return jobq__guard_ours(a, schema) ? SQLITE_IGNORE : SQLITE_OK;
    case SQLITE_PRAGMA:
        return jobq__guard_pragma(a, b) ? SQLITE_OK : SQLITE_DENY;
    case SQLITE_ALTER_TABLE: /* the schema comes first; the new name is not told */
        db->guard.altered = true;
        return jobq__guard_is(a, "temp") || jobq__guard_ours(b, a) ? SQLITE_DENY : SQLITE_OK;
    case SQLITE_CREATE_TEMP_TABLE: case SQLITE_CREATE_TEMP_VIEW: case SQLITE_CREATE_TEMP_INDEX:
    case SQLITE_CREATE_TEMP_TRIGGER: case SQLITE_DROP_TEMP_TABLE: case SQLITE_DROP_TEMP_VIEW:
    case SQLITE_DROP_TEMP_INDEX: case SQLITE_DROP_TEMP_TRIGGER:
        db->guard.temp = true;
        return jobq__guard_ours(a, NULL) || jobq__guard_ours(b, NULL) ? SQLITE_DENY : SQLITE_OK;
    case SQLITE_INSERT: case SQLITE_UPDATE: case SQLITE_DELETE: case SQLITE_CREATE_VTABLE:
    case SQLITE_DROP_VTABLE:
        if (jobq__guard_is(schema, "temp")) db->guard.temp = true;
        return jobq__guard_ours(a, schema) || jobq__guard_by_hand(db, a) ? SQLITE_DENY : SQLITE_OK;
    case SQLITE_CREATE_TABLE: case SQLITE_CREATE_VIEW: case SQLITE_CREATE_INDEX:
    case SQLITE_CREATE_TRIGGER: case SQLITE_DROP_TABLE: case SQLITE_DROP_VIEW:
    case SQLITE_DROP_INDEX: case SQLITE_DROP_TRIGGER:
        /* An index and a trigger name their table second. */
        return jobq__guard_ours(a, schema) || jobq__guard_ours(b, schema) ? SQLITE_DENY : SQLITE_OK;
    default:
        return SQLITE_OK;
    }
}

static int jobq__guard_asked(void *arg, int action, const char *a, const char *b,
                             const char *schema, const char *trigger) {
    struct jobq__db *db = arg;
    (void)trigger;
    db->guard.asked++;
    return db->speaks ? SQLITE_OK : jobq__guard_answer(db, action, a, b, schema);
}

/* ---- How the next job finds it ---- */

static const int jobq__guard_configs[] = {
    SQLITE_DBCONFIG_ENABLE_FKEY, SQLITE_DBCONFIG_ENABLE_TRIGGER, SQLITE_DBCONFIG_ENABLE_VIEW,
    SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION,
    SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, SQLITE_DBCONFIG_ENABLE_QPSG, SQLITE_DBCONFIG_TRIGGER_EQP,
    SQLITE_DBCONFIG_RESET_DATABASE, SQLITE_DBCONFIG_DEFENSIVE, SQLITE_DBCONFIG_WRITABLE_SCHEMA,
    SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, SQLITE_DBCONFIG_DQS_DML, SQLITE_DBCONFIG_DQS_DDL,
    SQLITE_DBCONFIG_LEGACY_FILE_FORMAT, SQLITE_DBCONFIG_TRUSTED_SCHEMA,
#ifdef SQLITE_DBCONFIG_STMT_SCANSTATUS
    SQLITE_DBCONFIG_STMT_SCANSTATUS,
#endif
#ifdef SQLITE_DBCONFIG_REVERSE_SCANORDER
    SQLITE_DBCONFIG_REVERSE_SCANORDER,
#endif
#ifdef SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE
    SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE,
#endif
#ifdef SQLITE_DBCONFIG_ENABLE_COMMENTS
    SQLITE_DBCONFIG_ENABLE_COMMENTS,
#endif
#ifdef SQLITE_DBCONFIG_FP_DIGITS
    SQLITE_DBCONFIG_FP_DIGITS,
#endif
};

/* Those that bind jobq's own statements, too, are db.c's; the others are put back only. */
static const int jobq__guard_limits[] = {
    JOBQ__DB_BINDING_LIMITS, SQLITE_LIMIT_ATTACHED, SQLITE_LIMIT_WORKER_THREADS,
#ifdef SQLITE_LIMIT_PARSER_DEPTH
    SQLITE_LIMIT_PARSER_DEPTH,
#endif
};

typedef char jobq__guard_configs_fit[
    JOBQ__COUNT(jobq__guard_configs) <= JOBQ__GUARD_CONFIGS ? 1 : -1];
typedef char jobq__guard_limits_fit[
    JOBQ__COUNT(jobq__guard_limits) <= JOBQ__GUARD_LIMITS ? 1 : -1];

JOBQ__INTERNAL void jobq__guard_set(struct jobq__db *db) {
    struct jobq__guard *guard = &db->guard;
    size_t i;
    for (i = 0; i < JOBQ__COUNT(jobq__guard_configs); i++)
        guard->configs[i] = jobq__guard_config(db, jobq__guard_configs[i], -1);
    for (i = 0; i < JOBQ__COUNT(jobq__guard_limits); i++)
        guard->limits[i] = sqlite3_limit(db->handle, jobq__guard_limits[i], -1);
    guard->temp = guard->spoilt = guard->altered = false;
    jobq__db_hooks(db, true);
    sqlite3_set_authorizer(db->handle, jobq__guard_asked, db);
}

/* The text that drops the first of them, or NULL. */
static char *jobq__guard_next_temp(struct jobq__db *db) {
    sqlite3_stmt *s;
    char *text = NULL;
    if (jobq__db_query(db, "SELECT type, name FROM sqlite_temp_master WHERE name NOT"
                       " LIKE 'sqlite\\_%' ESCAPE '\\' LIMIT 1", &s) == JOBQ_OK
        && sqlite3_step(s) == SQLITE_ROW)
        text = sqlite3_mprintf("DROP %s temp.\"%w\"", sqlite3_column_text(s, 0),
                               sqlite3_column_text(s, 1));
    sqlite3_finalize(s);
    return text;
}

JOBQ__INTERNAL bool jobq__guard_has_temp(const struct jobq__db *db) {
    return db->guard.temp;
}

JOBQ__INTERNAL void jobq__guard_drop_temp(struct jobq__db *db) {
    int rc = JOBQ_OK;
    char *text;
    db->may_commit = db->speaks = true;
    while (rc == JOBQ_OK && (text = jobq__guard_next_temp(db)) != NULL) {
        rc = jobq__db_exec(db, text);
        sqlite3_free(text);
    }
    db->may_commit = db->speaks = false;
}

static void jobq__guard_put_back(struct jobq__db *db) {
    const struct jobq__guard *guard = &db->guard;
    size_t i;
    for (i = 0; i < JOBQ__COUNT(jobq__guard_configs); i++)
        if (jobq__guard_config(db, jobq__guard_configs[i], -1) != guard->configs[i])
            jobq__guard_config(db, jobq__guard_configs[i], guard->configs[i]);
    for (i = 0; i < JOBQ__COUNT(jobq__guard_limits); i++)
        sqlite3_limit(db->handle, jobq__guard_limits[i], guard->limits[i]);
}

JOBQ__INTERNAL void jobq__guard_enter(struct jobq__db *db) {
    jobq__guard_put_back(db);
    jobq__db_unbind(db);
    db->guard.row_id = sqlite3_last_insert_rowid(db->handle);
}

JOBQ__INTERNAL void jobq__guard_leave(struct jobq__db *db) {
    jobq__guard_put_back(db);
    sqlite3_set_last_insert_rowid(db->handle, db->guard.row_id);
}

JOBQ__INTERNAL void jobq__guard_begin(struct jobq__db *db) {
    jobq__guard_enter(db);
    db->guard.row_id = 0;
}

JOBQ__INTERNAL bool jobq__guard_spoilt(struct jobq__db *db, int rc) {
    if (rc != JOBQ_CORRUPT || !jobq__db_disturbed(db)) return false;
    db->guard.spoilt = true;
    return true;
}

/* SQLite does not tell who its authorizer is: whether ours is asked tells. */
JOBQ__INTERNAL bool jobq__guard_intact(struct jobq__db *db) {
    sqlite3_stmt *probe = NULL;
    int asked = db->guard.asked;
    bool hooks;
    jobq__db_reset_all(db);
    hooks = jobq__db_hooks(db, true);
    jobq__guard_enter(db);
    if (sqlite3_prepare_v2(db->handle, "SAVEPOINT jobq_probe", -1, &probe, NULL) == SQLITE_NOMEM)
        asked--;
    sqlite3_finalize(probe);
    if (db->guard.asked == asked) sqlite3_set_authorizer(db->handle, jobq__guard_asked, db);
    return hooks && db->guard.asked != asked;
}

JOBQ__INTERNAL bool jobq__guard_restore(struct jobq__db *db, bool hard) {
    if (hard) jobq__db_harden(db, true);
    else jobq__guard_put_back(db);
    return !db->guard.temp && !db->guard.spoilt;
}

/*==== column.h ====*/
/* column.h - what a row may hold: each value is checked where it enters. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/column.h"
#endif
#ifndef JOBQ__COLUMN_H
#define JOBQ__COLUMN_H

/* #include "db.h" */

/* Design note.
 *
 * A column of SQLite holds whatever somebody wrote there: a text where a number is expected, a time
 * before all time, an id that cannot be followed by another one. So who reads a row says what each
 * of its columns may hold, and gets all values or none: the first that is not allowed is a fault,
 * which names table, row and column, makes the call fail with JOBQ_CORRUPT and stops the queue.
 * What is behind a reader may then calculate with the values without looking again. The readers
 * themselves check what a column alone cannot say: what must agree within a row, and that a walk
 * goes on and does not meet the same row again. */

enum jobq__holds {
    JOBQ__HOLDS_NUMBER,
    JOBQ__HOLDS_TEXT,
    JOBQ__HOLDS_BLOB,
    JOBQ__HOLDS_SIZE /* a blob, or a number: how many bytes it would have, told as less than 0 */
};

struct jobq__column {
    const char *name;
    int64_t min, max;       /* of the number, or of the bytes of a text or blob */
    enum jobq__holds holds;
    bool null;              /* may be NULL as well */
};

/* The columns of one statement, in order. */
struct jobq__columns {
    const char *table;      /* that a fault names */
    const struct jobq__column *columns;
    int count;
    int id;                 /* which of them tells the row; -1: none */
};

#define JOBQ__COLUMNS(table, list, id) {table, list, (int)JOBQ__COUNT(list), id}

/* What stands for NULL among the values: no column may hold it. */
#define JOBQ__NULL INT64_MIN

/* Reads the row that s stands on: numbers, and of texts and blobs the bytes. If it fails
 * values are not to be used, and the statement has been reset. */
JOBQ__INTERNAL int jobq__column_read(struct jobq__db *db, sqlite3_stmt *s,
                                     const struct jobq__columns *what, int64_t *values);

/* The same for the columns from i to before end; from 0 on first. */
JOBQ__INTERNAL int jobq__column_part(struct jobq__db *db, sqlite3_stmt *s,
                                     const struct jobq__columns *what, int i, int end,
                                     int64_t *values);

/* Steps and reads; *row as jobq__db_next. */
JOBQ__INTERNAL int jobq__column_next(struct jobq__db *db, sqlite3_stmt *s,
                                     const struct jobq__columns *what, int64_t *values,
                                     bool *row);

/* The one row of a statement, which is reset; *row is false if there is none. Not for texts and
 * blobs, which would be gone. */
JOBQ__INTERNAL int jobq__column_one(struct jobq__db *db, sqlite3_stmt *s,
                                    const struct jobq__columns *what, int64_t *values, bool *row);

#endif

/*==== column.c ====*/
/* column.c - what a row may hold: each value is checked where it enters. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/column.c"
#endif
/* #include "column.h" */

static const char *jobq__column_wrong(int type, int64_t value, const struct jobq__column *column) {
    static const char *const types[] = {
        [SQLITE_INTEGER] = "holds a number", [SQLITE_FLOAT] = "holds a fraction",
        [SQLITE_TEXT] = "holds a text",      [SQLITE_BLOB] = "holds a blob",
        [SQLITE_NULL] = "is NULL",
    };
    static const int right[] = {SQLITE_INTEGER, SQLITE_TEXT, SQLITE_BLOB, SQLITE_BLOB};
    bool size = column->holds == JOBQ__HOLDS_SIZE && type == SQLITE_INTEGER;
    if (type != right[column->holds] && !size) return types[type];
    if (type == SQLITE_INTEGER)
        return value < column->min ? "is too small" : "is too large";
    return value < column->min ? "is too short"
         : value > column->max ? "is too long" : "contains a zero byte";
}

/* What an application may have stored as a text is handed on as one that ends at its zero. */
static bool jobq__column_whole(sqlite3_stmt *s, int i, int64_t size) {
    const void *text = sqlite3_column_text(s, i);
    return text && !memchr(text, 0, (size_t)size);
}

/* One that is no number: *value is JOBQ__NULL, or its bytes. */
static bool jobq__column_other(sqlite3_stmt *s, int i, int type,
                               const struct jobq__column *column, int64_t *value) {
    *value = JOBQ__NULL;
    if (type == SQLITE_NULL) return column->null;
    *value = type == SQLITE_FLOAT ? 0 : sqlite3_column_bytes(s, i);
    if (*value < column->min || *value > column->max) return false;
    if (type == SQLITE_BLOB) return column->holds >= JOBQ__HOLDS_BLOB;
    return type == SQLITE_TEXT && column->holds == JOBQ__HOLDS_TEXT
        && jobq__column_whole(s, i, *value);
}

/* Whose row that is; 0 if nobody can tell. */
static int64_t jobq__column_row(const struct jobq__columns *what, int i, int type,
                                const int64_t *values) {
    if (what->id < 0 || what->id > i || values[what->id] == JOBQ__NULL) return 0;
    return what->id < i || type == SQLITE_INTEGER ? values[what->id] : 0;
}

JOBQ__INTERNAL int jobq__column_part(struct jobq__db *db, sqlite3_stmt *s,
                                     const struct jobq__columns *what, int i, int end,
                                     int64_t *values) {
    const struct jobq__column *column = what->columns + i;
    for (; i < end; i++, column++) {
        /* The connection has one user at a time, so the value need not be protected. */
        sqlite3_value *value = sqlite3_column_value(s, i);
        int type = sqlite3_value_type(value);
        if (type == SQLITE_INTEGER) {
            values[i] = sqlite3_value_int64(value);
            if (values[i] >= column->min && values[i] <= column->max) {
                if (column->holds == JOBQ__HOLDS_NUMBER) continue;
                if (column->holds == JOBQ__HOLDS_SIZE) {
                    values[i] = -values[i];
                    continue;
                }
            }
        } else if (jobq__column_other(s, i, type, column, &values[i])) {
            continue;
        }
        if (jobq__db_read(db, s) != JOBQ_OK) return JOBQ_NO_MEMORY;
        jobq__db_fault(db, what->table, jobq__column_row(what, i, type, values), column->name,
                       jobq__column_wrong(type, values[i], column));
        sqlite3_reset(s);
        return JOBQ_CORRUPT;
    }
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__column_read(struct jobq__db *db, sqlite3_stmt *s,
                                     const struct jobq__columns *what, int64_t *values) {
    return jobq__column_part(db, s, what, 0, what->count, values);
}

JOBQ__INTERNAL int jobq__column_next(struct jobq__db *db, sqlite3_stmt *s,
                                     const struct jobq__columns *what, int64_t *values,
                                     bool *row) {
    int rc = jobq__db_next(db, s, row);
    if (rc == JOBQ_OK && *row) rc = jobq__column_read(db, s, what, values);
    if (rc != JOBQ_OK) *row = false;
    return rc;
}

JOBQ__INTERNAL int jobq__column_one(struct jobq__db *db, sqlite3_stmt *s,
                                    const struct jobq__columns *what, int64_t *values, bool *row) {
    int rc = jobq__column_next(db, s, what, values, row);
    if (*row) jobq__db_reset(s);
    return rc;
}

/*==== schema.h ====*/
/* schema.h - tables, identity, version. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/schema.h"
#endif
#ifndef JOBQ__SCHEMA_H
#define JOBQ__SCHEMA_H

/* #include "db.h" */
/* #include "stored.h" */

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

/*==== schema.c ====*/
/* schema.c - tables, identity, version. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/schema.c"
#endif
/* #include "schema.h" */

/* Design note.
 *
 * Identity and version stand in jobq_meta, never in user_version, because the file may be the
 * application's. The text of every object is compared with what is written here: a table of
 * another shape, or a trigger on one of ours, is somebody else's and is refused. Why the row looks
 * as it does: sql.h. What the numbers in it mean: stored.h.
 *
 * A file of schema 1 is made one of schema 2 without writing its jobs anew (migrate.c): columns are
 * added to jobq_row, jobq_extra and jobq_claims at the end only, and jobq_live keeps its own.
 * jobq_job and jobq_unique were tables of schema 1: no table is called so again, and a statement of
 * an older jobq fails whole.
 *
 * Which is the oldest schema whose jobq may still look into the file stands in jobq_meta
 * (reads_from), and whose may write to it (writes_from), which every owner and client may want to.
 * So a newer schema that only adds objects may say that this jobq may use the file: then ours are
 * there as ever, and the others are left alone.
 *
 * What each is for; the order is that of their making, and where each commit writes the pages stand
 * close to each other, because SQLite finds pages of the log by their numbers.
 *
 *   jobq_meta      the schema; the oldest ones whose jobq may read the file, and write to it; what
 *                  a flush changes
 *   jobq_claims    a row, .one is 1, of the whole queue: who is claimed, the highest ids given,
 *                  the queue's own time (.offset_ms, .wall_at), gates that opened and whose rows
 *                  were not all moved yet (.open); and a row for each queue and kind, .one is
 *                  queue * 2^32 + kind, with how many of its jobs up to claims.counted are in which
 *                  state. Every claim and every end changes both, and they stand on one page
 *   jobq_row       the jobs
 *   jobq_name      names to numbers, by what they name; a number is never given twice
 *   jobq_extra     what few jobs have, a row for each of those
 *   jobq_key       unique keys, of jobs that have ended too
 *   jobq_payload   payloads too large to be moved about with their row
 *   jobq_failed    failed jobs that are kept, by the time until which they are (prune_at)
 *
 * Not used yet, but made, so that the file changes once:
 *
 *   jobq_row       .grp: the name of its group
 *   jobq_extra     .tags and .trace of who enqueued; .attempts_max, .on_failed of the one job;
 *                  .needs: conditions; .expires_at; .cause: the job that enqueued it; .schedule and
 *                  .nominal_at: what fired it
 *   jobq_key       .until: when it is free, whatever its job does; .held is 0 or 1 so far, and gets
 *                  a number more for each other way in which a key keeps others out
 *   jobq_rule      limits, rates, weights and pauses, as declared and as overridden
 *   jobq_gate      what outlives the process of a limit: tokens, who holds a strict one
 *   jobq_pass      further gates that a job has to pass
 *   jobq_alarm     times that are no job's run_at
 *   jobq_kind      what programs without the handlers have to know of a kind
 *   jobq_figure    what happened, by minute and hour
 *   jobq_command   what other processes ask of the owner
 *   jobq_schedule  cron
 *   jobq_fired     which nominal times of a schedule have been fired
 *   jobq_after     which job waits for which
 *   jobq_batch     how many of those have ended
 *   jobq_signal    events that came
 *   jobq_await     jobs that wait for one, and what they got
 *   jobq_step      results of steps that are not run again
 *   jobq_note      progress, log lines, attempts, and who did what by hand
 *   jobq_import    jobs that came from another file, by that file's identity and their ids there
 *
 * The views but jobq_tally are for whoever reads the file with SQL; jobq.h says what is in them.
 * Their columns stay, and new ones come at the end. A payload is told by its size only. Which of
 * the claimed rows run only the owner's memory knows, so none is called running. jobq itself does
 * not use them. */

/* Each connection keeps what is parsed of a view, about 72 bytes for each name and operator: so
 * they build on one another. */
#define JOBQ__VIEW_NAME(name, id) "coalesce(" name ", " JOBQ__TEXT_LOST(id) ")"
#define JOBQ__VIEW_COUNTS(of) \
    " SELECT " JOBQ__VIEW_NAME("n.name", "c." of) " AS " of ", sum(ready) AS ready," \
    " sum(scheduled) AS scheduled, sum(blocked) AS blocked, sum(claimed) AS claimed," \
    " sum(done) AS done, sum(failed) AS failed, sum(cancelled) AS cancelled" \
    " FROM jobq_tally c LEFT JOIN jobq_name n ON n.id = c." of " GROUP BY c." of

static const struct jobq__object jobq__schema_list[] = {
    {"jobq_meta", "CREATE TABLE jobq_meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID"},
    {"jobq_claims",
     "CREATE TABLE jobq_claims(one INTEGER PRIMARY KEY, ids BLOB, last_id INT, open BLOB,"
     " counted INT, offset_ms INT, wall_at INT, next_name INT, ready INT, scheduled INT,"
     " blocked INT, claimed INT, retrying INT, done INT, failed INT, cancelled INT)"},
    {"jobq_row",
     "CREATE TABLE \"jobq_row\"(id INTEGER PRIMARY KEY, state INT NOT NULL, lane INT,"
     " ord INT NOT NULL, run_at INT NOT NULL, kind INT NOT NULL, queue INT NOT NULL,"
     " priority INT NOT NULL, attempt INT NOT NULL, runs INT NOT NULL, crashes INT NOT NULL,"
     " delay_ms INT NOT NULL, created_at INT, side INT NOT NULL, finished_at INT,"
     " prune_at INT, payload BLOB, grp INT)"},
    {"jobq_name",
     "CREATE TABLE jobq_name(id INTEGER PRIMARY KEY, what INT NOT NULL, scope INT NOT NULL,"
     " name TEXT NOT NULL, UNIQUE(what, scope, name))"},
    {"jobq_extra",
     "CREATE TABLE jobq_extra(job INTEGER PRIMARY KEY, key TEXT, error TEXT, result BLOB,"
     " saved BLOB, tags TEXT, trace TEXT, attempts_max INT, on_failed INT, needs INT,"
     " expires_at INT, cause INT, schedule INT, nominal_at INT)"},
    {"jobq_key",
     "CREATE TABLE jobq_key(kind INT, key TEXT, held INT, job INT, until INT,"
     " PRIMARY KEY(kind, key, held, job)) WITHOUT ROWID"},
    {"jobq_payload", "CREATE TABLE jobq_payload(job INTEGER PRIMARY KEY, data BLOB NOT NULL)"},
    {"jobq_live",
     "CREATE INDEX jobq_live ON jobq_row(lane, ord, run_at, id) WHERE state = 0"},
    {"jobq_finished",
     "CREATE INDEX jobq_finished ON jobq_row(prune_at) WHERE prune_at IS NOT NULL"},
    {"jobq_failed",
     "CREATE TABLE jobq_failed(at INT, job INT, PRIMARY KEY(at, job)) WITHOUT ROWID"},
    {"jobq_rule",
     "CREATE TABLE jobq_rule(what INT, name TEXT, layer INT, running_max INT, rate INT,"
     " rate_ms INT, burst INT, weight INT, reserved INT, job_order INT, ageing_ms INT, strict INT,"
     " paused INT, by TEXT, set_at INT, until INT, PRIMARY KEY(what, name, layer))"
     " WITHOUT ROWID"},
    {"jobq_gate",
     "CREATE TABLE jobq_gate(what INT, id INT, tokens INT, at INT, holder INT,"
     " PRIMARY KEY(what, id)) WITHOUT ROWID"},
    {"jobq_pass",
     "CREATE TABLE jobq_pass(job INT, gate INT, PRIMARY KEY(job, gate)) WITHOUT ROWID"},
    {"jobq_alarm",
     "CREATE TABLE jobq_alarm(at INT, what INT, id INT, PRIMARY KEY(at, what, id)) WITHOUT ROWID"},
    {"jobq_kind",
     "CREATE TABLE jobq_kind(id INTEGER PRIMARY KEY, fields TEXT, fields_version INT, secret INT,"
     " queue INT, on_failed INT)"},
    {"jobq_figure",
     "CREATE TABLE jobq_figure(span INT, at INT, queue INT, kind INT, enqueued INT, done INT,"
     " failed INT, retried INT, cancelled INT, crashed INT, wait_ms INT, run_ms INT, wait_le BLOB,"
     " run_le BLOB, PRIMARY KEY(span, at, queue, kind)) WITHOUT ROWID"},
    {"jobq_command",
     "CREATE TABLE jobq_command(id INTEGER PRIMARY KEY, epoch INT, verb INT, job INT,"
     " argument BLOB, by TEXT, at INT, answer INT, reply BLOB, answered_at INT)"},
    {"jobq_schedule",
     "CREATE TABLE jobq_schedule(id INTEGER PRIMARY KEY, cron TEXT, zone TEXT, owner_set TEXT,"
     " kind INT, queue INT, priority INT, grp INT, key TEXT, payload BLOB, tags TEXT, missed INT,"
     " overlap INT, missed_max INT, missed_within_ms INT, jitter_ms INT, start_at INT, end_at INT,"
     " anchor_at INT, next_at INT, last_at INT, last_job INT, paused INT, by TEXT, until INT,"
     " needs INT, attempts_max INT, on_failed INT, trace TEXT, expires_in_ms INT, unique_how INT,"
     " unique_ms INT, conflict INT)"},
    {"jobq_fired",
     "CREATE TABLE jobq_fired(schedule INT, nominal INT, job INT, PRIMARY KEY(schedule, nominal))"
     " WITHOUT ROWID"},
    {"jobq_after",
     "CREATE TABLE jobq_after(parent INT, child INT, policy INT, PRIMARY KEY(parent, child))"
     " WITHOUT ROWID"},
    {"jobq_batch",
     "CREATE TABLE jobq_batch(job INTEGER PRIMARY KEY, parents INT, ended INT, failed INT)"},
    {"jobq_signal",
     "CREATE TABLE jobq_signal(event INT, serial INT, at INT, until INT, data BLOB,"
     " PRIMARY KEY(event, serial)) WITHOUT ROWID"},
    {"jobq_await",
     "CREATE TABLE jobq_await(job INT, event INT, taken INT, until INT, data BLOB,"
     " PRIMARY KEY(job, event)) WITHOUT ROWID"},
    {"jobq_step",
     "CREATE TABLE jobq_step(job INT, name TEXT, data BLOB, PRIMARY KEY(job, name)) WITHOUT ROWID"},
    {"jobq_note",
     "CREATE TABLE jobq_note(job INT, seq INT, at INT, type INT, attempt INT, level INT,"
     " outcome INT, worker INT, wait_ms INT, run_ms INT, text TEXT, done INT, total INT, by TEXT,"
     " PRIMARY KEY(job, seq))"
     " WITHOUT ROWID"},
    {"jobq_import",
     "CREATE TABLE jobq_import(source TEXT, id INT, job INT, PRIMARY KEY(source, id))"
     " WITHOUT ROWID"},
    {"jobq_jobs",
     "CREATE VIEW jobq_jobs AS SELECT j.id, " JOBQ__VIEW_NAME("k.name", "kind") " AS kind, "
     JOBQ__VIEW_NAME("q.name", "queue") " AS queue, CASE state WHEN 0 THEN 'pending' WHEN 1 THEN"
     " 'claimed' WHEN 2 THEN 'done' WHEN 3 THEN 'failed' WHEN 4 THEN 'cancelled' END AS state,"
     " iif(state, NULL, CASE WHEN lane > 1 THEN 'turn' WHEN lane = 1 THEN 'suspects'"
     " WHEN lane >= -1 THEN 'time' ELSE 'handler' END) AS waits_for, priority, attempt, runs,"
     " crashes, coalesce(created_at, run_at) AS created_at_ms, iif(state = 0 AND lane = -1,"
     " run_at - (SELECT offset_ms FROM jobq_claims WHERE one = 1), run_at) AS run_at_ms,"
     " finished_at AS finished_at_ms, prune_at AS kept_until_ms, g.name AS job_group,"
     " x.key AS job_key, error, coalesce(iif(side & 8, payload, length(payload)), 0)"
     " AS payload_size, coalesce(length(result), 0) AS result_size FROM jobq_row j"
     " LEFT JOIN jobq_name k ON k.id = kind LEFT JOIN jobq_name q ON q.id = queue"
     " LEFT JOIN jobq_name g ON g.id = grp LEFT JOIN jobq_extra x ON job = j.id AND side & 3"},
    {"jobq_dead",
     "CREATE VIEW jobq_dead AS SELECT j.* FROM jobq_failed f CROSS JOIN jobq_jobs j"
     " ON j.id = f.job"},
    /* What the counters know, and the jobs that they do not know yet. */
    {"jobq_tally",
     "CREATE VIEW jobq_tally AS SELECT one >> 32 AS queue, one & 4294967295 AS kind, ready,"
     " scheduled, blocked, claimed, done, failed, cancelled FROM jobq_claims"
     " WHERE one >= " JOBQ__TEXT_PAIRS " UNION ALL SELECT queue, kind, state = 0 AND lane > 0,"
     " state = 0 AND lane IN (-1, 0), state = 0 AND lane < -1, state = 1, state = 2, state = 3,"
     " state = 4 FROM jobq_row WHERE id > (SELECT counted FROM " JOBQ__TEXT_CLAIMS ")"},
    {"jobq_queues", "CREATE VIEW jobq_queues AS" JOBQ__VIEW_COUNTS("queue")},
    {"jobq_kinds", "CREATE VIEW jobq_kinds AS" JOBQ__VIEW_COUNTS("kind")},
    {"jobq_rules",
     "CREATE VIEW jobq_rules AS SELECT CASE what WHEN 1 THEN 'queue' WHEN 2 THEN 'kind'"
     " WHEN 3 THEN 'group' END AS what, name, CASE layer WHEN 1 THEN 'declared'"
     " WHEN 2 THEN 'overridden' END AS layer, running_max, rate, rate_ms, burst, weight, reserved,"
     " job_order, ageing_ms, strict, paused, by AS set_by, set_at AS set_at_ms,"
     " until AS until_ms FROM jobq_rule"},
};

/* Name 1 is the lane of the suspects, so no queue can have its id. */
#define JOBQ__SCHEMA_ROWS \
    "INSERT INTO jobq_meta VALUES('schema', 2), ('reads_from', 2), ('writes_from', 2)," \
    " ('syncs', 0), ('epoch', 0);" \
    "INSERT INTO jobq_name VALUES(1, 0, 0, '');" \
    "INSERT INTO jobq_claims(one, last_id, counted, offset_ms, wall_at, next_name)" \
    " VALUES(1, 0, 0, 0, 0, 2)"

static int jobq__schema_create(struct jobq__db *db) {
    size_t i;
    int rc = JOBQ_OK;
    for (i = 0; i < JOBQ__COUNT(jobq__schema_list) && rc == JOBQ_OK; i++)
        rc = jobq__db_exec(db, jobq__schema_list[i].text);
    if (rc == JOBQ_OK) rc = jobq__db_exec(db, JOBQ__SCHEMA_ROWS);
    return rc;
}

JOBQ__INTERNAL const struct jobq__object *jobq__schema_objects(size_t *count) {
    *count = JOBQ__COUNT(jobq__schema_list);
    return jobq__schema_list;
}

static const char *jobq__schema_text(const struct jobq__object *objects, size_t count,
                                     const char *name) {
    size_t i;
    for (i = 0; name && i < count; i++)
        if (strcmp(objects[i].name, name) == 0) return objects[i].text;
    return NULL;
}

/* Fewer of ours were found than there are. */
static int jobq__schema_missing(struct jobq__db *db, const struct jobq__object *objects,
                                size_t count, jobq_error *err) {
    int64_t there = 1;
    int rc = JOBQ_OK;
    size_t i;
    for (i = 0; i < count && rc == JOBQ_OK && there; i++) {
        char text[128];
        sqlite3_snprintf(sizeof text, text, "SELECT count(*) FROM sqlite_master WHERE name = '%s'",
                         objects[i].name);
        rc = jobq__db_number(db, text, 0, &there);
    }
    if (rc != JOBQ_OK) return jobq__db_fail(db, err);
    return jobq__err_set(err, JOBQ_FOREIGN, "%s is missing in %.250s, where other tables of jobq's"
                         " are; restore a copy of the file, or use another one",
                         objects[i - 1].name, jobq__db_path(db));
}

JOBQ__INTERNAL int jobq__schema_compare(struct jobq__db *db, const struct jobq__object *objects,
                                        size_t count, bool more, jobq_error *err) {
    sqlite3_stmt *statement;
    size_t found = 0;
    bool row;
    int rc = jobq__db_query(db, "SELECT name, sql, type FROM sqlite_master WHERE sql IS NOT NULL"
                            " AND (name LIKE 'jobq\\_%' ESCAPE '\\' OR tbl_name LIKE 'jobq\\_%'"
                            " ESCAPE '\\')", &statement);
    while (rc == JOBQ_OK && (rc = jobq__db_next(db, statement, &row)) == JOBQ_OK && row) {
        const char *name = (const char *)sqlite3_column_text(statement, 0);
        const char *text = (const char *)sqlite3_column_text(statement, 1);
        const char *type = (const char *)sqlite3_column_text(statement, 2);
        const char *ours = jobq__schema_text(objects, count, name);
        rc = jobq__db_read(db, statement);
        if (rc != JOBQ_OK) break;
        if (!ours && more && type && strcmp(type, "trigger") != 0) continue;
        if (!ours || !text || strcmp(ours, text) != 0) {
            rc = jobq__err_set(err, JOBQ_FOREIGN, "the %s %.64s in %.200s is not as jobq makes it:"
                               " names that begin with jobq_, and triggers on its tables, are"
                               " jobq's; drop it if it is yours, or use another file",
                               type ? type : "object", name ? name : "?", jobq__db_path(db));
            break;
        }
        found++;
    }
    sqlite3_finalize(statement);
    if (rc == JOBQ_OK && found != count)
        rc = jobq__schema_missing(db, objects, count, err);
    else if (rc != JOBQ_OK && rc != JOBQ_FOREIGN)
        rc = jobq__db_fail(db, err);
    return rc;
}

/* SQLite believes what the header says of them until it needs one. */
static int jobq__schema_pages(struct jobq__db *db, jobq_error *err) {
    int64_t pages = 0, free = 0;
    int rc = jobq__db_number(db, "PRAGMA page_count", 0, &pages);
    if (rc == JOBQ_OK) rc = jobq__db_number(db, "PRAGMA freelist_count", 0, &free);
    if (rc == JOBQ_OK && (free < 0 || free >= JOBQ__MAX(pages, 1)))
        jobq__db_fault(db, "(header)", 0, "the number of free pages", "is not that of this file");
    else if (rc == JOBQ_OK)
        return rc;
    return jobq__db_fail(db, err);
}

static int jobq__schema_look(struct jobq__db *db, int64_t *ours, int64_t *objects,
                             jobq_error *err) {
    int rc = jobq__db_number(db, "SELECT count(*) FROM sqlite_master", 0, objects);
    if (rc == JOBQ_OK)
        rc = jobq__db_number(db, "SELECT count(*) FROM sqlite_master WHERE name = 'jobq_meta'"
                             " AND type = 'table'", 0, ours);
    return rc == JOBQ_OK ? rc : jobq__db_fail(db, err);
}

/* One row of jobq_meta, or -1. */
static int jobq__schema_meta(struct jobq__db *db, const char *ask, int64_t *value,
                             jobq_error *err) {
    int rc = jobq__db_number(db, ask, -1, value);
    if (rc == JOBQ_CORRUPT && (db->sqlite_code & 0xff) == SQLITE_ERROR)
        return jobq__err_set(err, JOBQ_FOREIGN, "the table jobq_meta in %.250s is not as jobq"
                             " makes it; drop it if it is yours, or use another file",
                             jobq__db_path(db));
    return rc == JOBQ_OK ? rc : jobq__db_fail(db, err);
}

/* A newer schema may well look different, unless it says that we may write to it. */
static int jobq__schema_newer(struct jobq__db *db, int64_t version, jobq_error *err) {
    int64_t writes_from;
    int rc = jobq__schema_meta(db, "SELECT value FROM jobq_meta WHERE key = 'writes_from'",
                               &writes_from, err);
    if (rc != JOBQ_OK || (writes_from >= 1 && writes_from <= JOBQ__SCHEMA_VERSION)) return rc;
    return jobq__err_set(err, JOBQ_NEWER, "%.250s has schema %lld, which wants a jobq that knows"
                         " schema %lld, and this one, %s, knows %d; use a newer jobq",
                         jobq__db_path(db), (long long)version,
                         (long long)(writes_from < 1 ? version : writes_from), JOBQ_VERSION,
                         JOBQ__SCHEMA_VERSION);
}

JOBQ__INTERNAL int jobq__schema_version(struct jobq__db *db, int64_t *version, jobq_error *err) {
    int64_t ours, objects;
    int rc = jobq__schema_look(db, &ours, &objects, err);
    *version = 0;
    if (rc != JOBQ_OK || !ours) return rc;
    rc = jobq__schema_meta(db, "SELECT value FROM jobq_meta WHERE key = 'schema'", version, err);
    if (rc != JOBQ_OK) return rc;
    if (*version > JOBQ__SCHEMA_VERSION) rc = jobq__schema_newer(db, *version, err);
    else if (*version < 1)
        rc = jobq__err_set(err, JOBQ_FOREIGN, "the table jobq_meta in %.250s does not name a"
                           " schema; drop it if it is yours, or use another file",
                           jobq__db_path(db));
    return rc == JOBQ_OK ? jobq__schema_pages(db, err) : rc;
}

/* The tables are ours, as this version makes them; version: what the file says. */
static int jobq__schema_fits(struct jobq__db *db, int64_t version, jobq_error *err) {
    if (version < JOBQ__SCHEMA_VERSION)
        return jobq__err_set(err, JOBQ_BAD_STATE, "%.250s has schema %lld, of an older jobq, and"
                             " this one, %s, works with schema %d; open it once as its owner"
                             " (JOBQ_OWNER), which makes one of the other", jobq__db_path(db),
                             (long long)version, JOBQ_VERSION, JOBQ__SCHEMA_VERSION);
    return jobq__schema_compare(db, jobq__schema_list, JOBQ__COUNT(jobq__schema_list),
                                version > JOBQ__SCHEMA_VERSION, err);
}

JOBQ__INTERNAL int jobq__schema_check(struct jobq__db *db, jobq_error *err) {
    int64_t version;
    int rc = jobq__schema_version(db, &version, err);
    if (rc != JOBQ_OK) return rc;
    if (!version)
        return jobq__err_set(err, JOBQ_NOT_FOUND, "there is no queue in %.250s; its owner makes one"
                             " (with .join beside other tables)", jobq__db_path(db));
    return jobq__schema_fits(db, version, err);
}

/* Only in a file that jobq made, or that is empty, before its first table. All of it or nothing: a
 * file that has some of it is not empty any more. If it fails, the connection is closed. */
static int jobq__schema_settings(struct jobq__db *db, int page_size) {
    char text[160];
    sqlite3_snprintf(sizeof text, text, "PRAGMA page_size=%d; BEGIN;"
                     " PRAGMA auto_vacuum=INCREMENTAL; PRAGMA application_id=%d; COMMIT",
                     page_size, JOBQ__APPLICATION_ID);
    return jobq__db_exec(db, text);
}

JOBQ__INTERNAL int jobq__schema_wal(struct jobq__db *db, jobq_error *err) {
    sqlite3_stmt *statement;
    bool row = false, wal = false;
    int rc = jobq__db_query(db, "PRAGMA journal_mode=WAL", &statement);
    if (rc == JOBQ_OK) rc = jobq__db_next(db, statement, &row);
    if (row) {
        const char *mode = (const char *)sqlite3_column_text(statement, 0);
        wal = mode && strcmp(mode, jobq__db_in_memory(db) ? "memory" : "wal") == 0;
        rc = jobq__db_read(db, statement);
        /* It has answered, but only the next step commits: that may fail still. */
        if (rc == JOBQ_OK) rc = jobq__db_next(db, statement, &row);
    }
    sqlite3_finalize(statement);
    if (rc != JOBQ_OK) return jobq__db_fail(db, err);
    if (!wal) return jobq__err_set(err, JOBQ_BAD_SQLITE, "SQLite cannot put %.250s into WAL mode:"
                                   " the VFS that the application chose has no shared memory",
                                   jobq__db_path(db));
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__schema_ready(struct jobq__db *db, int page_size, bool made,
                                      bool join, jobq_error *err) {
    int64_t version, ours, objects, pages;
    int rc = jobq__schema_version(db, &version, err);
    if (rc == JOBQ_OK && version) {
        rc = jobq__schema_fits(db, version, err);
        return rc == JOBQ_OK ? jobq__schema_wal(db, err) : rc;
    }
    if (rc == JOBQ_OK) rc = jobq__schema_look(db, &ours, &objects, err);
    if (rc != JOBQ_OK) return rc;
    if (objects && !join)
        return jobq__err_set(err, JOBQ_FOREIGN,
                             "%.250s holds tables of another application; .join = true makes the"
                             " queue beside them", jobq__db_path(db));
    rc = jobq__db_number(db, "PRAGMA page_count", 0, &pages);
    if (rc == JOBQ_OK && (made || !pages)) rc = jobq__schema_settings(db, page_size);
    if (rc != JOBQ_OK) return jobq__db_fail(db, err);
    rc = jobq__schema_wal(db, err);
    if (rc != JOBQ_OK) return rc;
    rc = jobq__db_do(db, JOBQ__SQL_BEGIN);
    if (rc == JOBQ_OK) rc = jobq__schema_create(db);
    if (rc == JOBQ_OK) rc = jobq__db_do(db, JOBQ__SQL_COMMIT);
    if (rc != JOBQ_OK) {
        bool taken = db->sqlite_code == SQLITE_ERROR; /* "already exists": jobq_* of another */
        rc = jobq__db_fail(db, err);
        if (jobq__db_in_transaction(db)) jobq__db_do(db, JOBQ__SQL_ROLLBACK);
        if (taken) rc = jobq__err_set(err, JOBQ_FOREIGN, "a table named jobq_* is in the way"
                                   " in %.250s; rename it, or use another file", jobq__db_path(db));
    }
    return rc;
}

/* ---- Statistics ---- */

/* *gone: there were some of our tables. Their names all stand within these bounds. */
static int jobq__schema_delete(struct jobq__db *db, const char *table, bool *gone) {
    char text[128];
    int64_t there, before = jobq__db_changes(db);
    int rc;
    sqlite3_snprintf(sizeof text, text, "SELECT 1 FROM main.sqlite_master WHERE name = '%s'",
                     table);
    rc = jobq__db_number(db, text, 0, &there);
    if (rc != JOBQ_OK || !there) return rc;
    sqlite3_snprintf(sizeof text, text, "DELETE FROM main.%s WHERE tbl BETWEEN 'jobq_'"
                     " AND 'jobq_z'", table);
    rc = jobq__db_exec(db, text);
    *gone = *gone || jobq__db_changes(db) != before;
    return rc;
}

/* A queue is short at one moment and long at the next, so what ANALYZE says of it is wrong soon;
 * and of a short one SQLite believes that a range of ids needs no end, and walks to the end of the
 * table for each job. A change of the schema, that of a view which is gone again, has the other
 * connections read anew what is left; undone changes have this one do so. */
JOBQ__INTERNAL int jobq__schema_unlearn(struct jobq__db *db) {
    bool gone = false;
    int rc;
    if (!db->planned) return JOBQ_OK;
    rc = jobq__schema_delete(db, "sqlite_stat1", &gone);
    if (rc == JOBQ_OK) rc = jobq__schema_delete(db, "sqlite_stat4", &gone);
    if (rc != JOBQ_OK) return rc;
    /* If it is, the next transaction looks again: this one may be undone. */
    db->planned = gone;
    if (!gone) return rc;
    rc = jobq__db_exec(db, "CREATE VIEW main.jobq_anew AS SELECT 1");
    /* A build without views reads it when it opens the file again. */
    if (rc != JOBQ_OK) return jobq__db_disturbed(db) ? JOBQ_OK : rc;
    return jobq__db_exec(db, "DROP VIEW main.jobq_anew; SAVEPOINT jobq_part;"
                             " ROLLBACK TO jobq_part; RELEASE jobq_part");
}

/*==== migrate.h ====*/
/* migrate.h - a file of an older schema becomes one of this version. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/migrate.h"
#endif
#ifndef JOBQ__MIGRATE_H
#define JOBQ__MIGRATE_H

/* #include "schema.h" */

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

/*==== migrate.c ====*/
/* migrate.c - a file of an older schema becomes one of this version. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/migrate.c"
#endif
/* #include "migrate.h" */

/* Design note.
 *
 * Called when an owner opens its file, before anybody else of the process reads it. One transaction
 * on the writer, at FULL whatever the options say: whoever opens the file later, after a kill or a
 * power cut at whatever moment, finds schema 1 whole or schema 2 whole. Before COMMIT the tables
 * are compared with those of a new file, as at every open.
 *
 * No job is written anew. The table of jobs gets another name, which is what keeps an older jobq
 * out that has the file open: each of its statements fails when it is planned, whole. A column that
 * is new and NULL wants no byte in a row, so SQLite's ALTER TABLE adds one by changing the text of
 * the table; the same is done here to all texts at once, in the way that SQLite's documentation
 * gives for changes of a text that leave what is stored as it is. That is so for
 *
 *   jobq_job       now jobq_row, with grp at its end; payloads stay in their rows
 *   jobq_extra     with columns at its end
 *   jobq_claims    the same, and its one row is then written with what has to be in them
 *   jobq_live      the rows of schema 1 that have a lane are exactly those with state 0, so that
 *                  the index holds what the new condition wants
 *   jobq_finished  is as it was, of a table that has another name
 *
 * What is copied: names (into (what, scope, name), what 0: serves as kind and as queue), unique
 * keys, from jobq_extra the keys of jobs that have ended, and the ids of failed ones. All jobs are
 * read, from end to end, because 0.1.0 could store jobs of a kind or a queue whose name it lost:
 * such a number gets the name that it is called by (store.h); and twice those that have ended, for
 * who failed.
 *
 * Foreign keys of the application's that refer to the table of jobs refer to it still, for RENAME
 * is SQLite's. Its views and triggers are left alone: to look at each of them, as RENAME would,
 * fails if one of them is broken or uses a function that is not there yet.
 *
 * A million jobs take 0.4 s and 54 pages of log. What grows with the file are keys and failed jobs:
 * 2 us and 54 bytes of log for each key, and 68 bytes of memory if its job has ended, to sort; 0.5
 * us and 17 bytes for each job that failed (tests/unit/migrate.c). */

static const struct jobq__object jobq__migrate_schema_1[] = {
    {"jobq_meta", "CREATE TABLE jobq_meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID"},
    {"jobq_name", "CREATE TABLE jobq_name(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)"},
    {"jobq_job",
     "CREATE TABLE jobq_job(id INTEGER PRIMARY KEY, state INT NOT NULL, lane INT,"
     " ord INT NOT NULL, run_at INT NOT NULL, kind INT NOT NULL, queue INT NOT NULL,"
     " priority INT NOT NULL, attempt INT NOT NULL, runs INT NOT NULL, crashes INT NOT NULL,"
     " delay_ms INT NOT NULL, created_at INT, side INT NOT NULL, finished_at INT,"
     " prune_at INT, payload BLOB)"},
    {"jobq_live",
     "CREATE INDEX jobq_live ON jobq_job(lane, ord, run_at, id) WHERE lane IS NOT NULL"},
    {"jobq_finished",
     "CREATE INDEX jobq_finished ON jobq_job(prune_at) WHERE prune_at IS NOT NULL"},
    {"jobq_extra",
     "CREATE TABLE jobq_extra(job INTEGER PRIMARY KEY, key TEXT, error TEXT, result BLOB,"
     " saved BLOB)"},
    {"jobq_unique",
     "CREATE TABLE jobq_unique(kind INT NOT NULL, key TEXT NOT NULL, job INT NOT NULL,"
     " PRIMARY KEY(kind, key)) WITHOUT ROWID"},
    {"jobq_claims",
     "CREATE TABLE jobq_claims(one INTEGER PRIMARY KEY, ids BLOB, last_id INT NOT NULL)"},
};

/* ---- What it takes ---- */

/* Pages that are written whatever the file holds: those of new tables, in a file that can shrink
 * what has stood where a table now begins, what points to that, and what lists pages. And bytes of
 * the texts of all objects, of an entry beside its text, and of a page of the log beside the page.
 * All with room to spare; a test compares. */
enum {
    JOBQ__MIGRATE_PAGES = 96, JOBQ__MIGRATE_TEXT = 16 * 1024, JOBQ__MIGRATE_ENTRY = 24,
    JOBQ__MIGRATE_FRAME = 24
};

/* Bytes of entries with such a text; a page more for one so long that SQLite may not keep it with
 * the others. */
#define JOBQ__MIGRATE_TEXTS(column) \
    "SELECT coalesce(sum(?1 + length(CAST(" column " AS BLOB))" \
    " + iif(length(CAST(" column " AS BLOB)) > ?2 / 6, ?2, 0)), 0) FROM "

static int jobq__migrate_bytes(struct jobq__db *db, const char *text, int64_t page_size,
                               int64_t *bytes) {
    sqlite3_stmt *s;
    bool row = false;
    int rc = jobq__db_query(db, text, &s);
    if (rc == JOBQ_OK) sqlite3_bind_int64(s, 1, JOBQ__MIGRATE_ENTRY);
    if (rc == JOBQ_OK) sqlite3_bind_int64(s, 2, page_size);
    if (rc == JOBQ_OK) rc = jobq__db_next(db, s, &row);
    *bytes = row ? sqlite3_column_int64(s, 0) : 0;
    sqlite3_finalize(s);
    return rc;
}

/* Where entries come in any order, a page may be little more than half full. */
static int64_t jobq__migrate_pages(int64_t bytes, int64_t page_size) {
    return bytes / (page_size * 9 / 16) + 1;
}

/* A page that is written takes its room in the log, and if it is a new one in the file, too. What
 * is dropped is written as well, where SQLite overwrites what is deleted. What the log holds now is
 * copied with the rest. */
static int jobq__migrate_needs(struct jobq__db *db, int64_t *needs) {
    int64_t size = 0, pages = 0, names = 0, lost = 0, keys = 0, held = 0, failed = 0, made, gone;
    int rc = jobq__db_number(db, "PRAGMA page_size", 0, &size);
    if (rc == JOBQ_OK) rc = jobq__db_number(db, "PRAGMA page_count", 0, &pages);
    if (rc == JOBQ_OK)
        rc = jobq__migrate_bytes(db, JOBQ__MIGRATE_TEXTS("name") "jobq_name", size, &names);
    if (rc == JOBQ_OK)
        rc = jobq__migrate_bytes(db, "SELECT 2 * ?1 * (count(DISTINCT kind)"
                                 " + count(DISTINCT queue)) FROM jobq_job WHERE ("
                                 JOBQ__TEXT_IS_LOST("kind") ") OR ("
                                 JOBQ__TEXT_IS_LOST("queue") ")", size, &lost);
    if (rc == JOBQ_OK)
        rc = jobq__migrate_bytes(db, JOBQ__MIGRATE_TEXTS("key") "jobq_unique", size, &held);
    if (rc == JOBQ_OK)
        rc = jobq__migrate_bytes(db, JOBQ__MIGRATE_TEXTS("key") "jobq_extra"
                                 " WHERE key IS NOT NULL", size, &keys);
    if (rc == JOBQ_OK)
        rc = jobq__migrate_bytes(db, "SELECT ?1 * count(*) FROM jobq_job"
                                 " WHERE prune_at IS NOT NULL AND state = 3", size, &failed);
    if (rc != JOBQ_OK) return rc;
    /* A name stands in its table and in the index of that; one that was lost is short. */
    made = jobq__migrate_pages(JOBQ__MIGRATE_TEXT + 2 * (names + lost) + keys + failed, size)
         + JOBQ__MIGRATE_PAGES;
    gone = jobq__migrate_pages(2 * names + held, size);
    *needs = jobq__max(pages * size - jobq__db_file_size(db), 0) + made * size
           + (made + gone) * (size + JOBQ__MIGRATE_FRAME);
    return rc;
}

/* ---- Looking ---- */

/* *old: it is of schema 1, whole. */
static int jobq__migrate_is_old(struct jobq__db *db, jobq_migrate how, bool *old,
                                jobq_error *err) {
    int64_t version = 0;
    int rc = jobq__schema_version(db, &version, err);
    *old = rc == JOBQ_OK && version == 1;
    if (!*old) return rc;
    if (how == JOBQ_MIGRATE_NEVER)
        return jobq__err_set(err, JOBQ_BAD_STATE, "%.200s has schema 1, and this jobq, %s, works"
                             " with schema %d; .migrate = JOBQ_MIGRATE_NEVER forbids to make one of"
                             " the other: open it with JOBQ_MIGRATE_AUTO, or by jobq 0.1",
                             jobq__db_path(db), JOBQ_VERSION, JOBQ__SCHEMA_VERSION);
    return jobq__schema_compare(db, jobq__migrate_schema_1, JOBQ__COUNT(jobq__migrate_schema_1),
                                false, err);
}

JOBQ__INTERNAL int jobq__migrate_look(struct jobq__db *db, jobq_migrate how, int64_t *bytes,
                                      jobq_error *err) {
    bool old;
    int rc = jobq__migrate_is_old(db, how, &old, err);
    *bytes = 0;
    if (rc != JOBQ_OK || !old) return rc;
    return jobq__migrate_needs(db, bytes) == JOBQ_OK ? rc : jobq__db_fail(db, err);
}

/* ---- The steps ---- */

/* Texts of tables may be written, and RENAME looks at nothing but what is renamed. */
static void jobq__migrate_may_alter(struct jobq__db *db, bool may) {
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, !may, (int *)NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_WRITABLE_SCHEMA, may, (int *)NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, may, (int *)NULL);
    if (!may) jobq__db_harden(db, true);
}

/* Where foreign keys hold, RENAME leads those of other tables to the new name; the old name of the
 * names is taken by their new table. */
static int jobq__migrate_rename(struct jobq__db *db) {
    int rc = jobq__db_exec(db, "ALTER TABLE jobq_name RENAME TO jobq_name_of_1");
    if (rc != JOBQ_OK) return rc;
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_ENABLE_FKEY, 1, (int *)NULL);
    rc = jobq__db_exec(db, "ALTER TABLE jobq_job RENAME TO jobq_row");
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_ENABLE_FKEY, 0, (int *)NULL);
    return rc;
}

/* The object is there, with this text. */
static int jobq__migrate_object(struct jobq__db *db, const struct jobq__object *object) {
    sqlite3_stmt *s;
    int64_t before = jobq__db_changes(db);
    int rc = jobq__db_query(db, "UPDATE sqlite_master SET sql = ?2 WHERE name = ?1", &s);
    if (rc == JOBQ_OK && (sqlite3_bind_text(s, 1, object->name, -1, SQLITE_STATIC)
                          || sqlite3_bind_text(s, 2, object->text, -1, SQLITE_STATIC)))
        rc = JOBQ_NO_MEMORY;
    if (rc == JOBQ_OK) rc = jobq__db_step(db, s);
    sqlite3_finalize(s);
    if (rc != JOBQ_OK || jobq__db_changes(db) != before) return rc;
    return jobq__db_exec(db, object->text);
}

/* And SQLite reads them anew. */
static int jobq__migrate_objects(struct jobq__db *db) {
    size_t count, i;
    const struct jobq__object *objects = jobq__schema_objects(&count);
    int rc = JOBQ_OK;
    for (i = 0; i < count && rc == JOBQ_OK; i++) rc = jobq__migrate_object(db, &objects[i]);
    return rc == JOBQ_OK ? jobq__db_exec(db, "PRAGMA writable_schema=RESET") : rc;
}

/* What fails ends the whole transaction, so no statement needs a journal of its own (OR FAIL, and
 * a table is emptied before it goes): that would be memory for all that it changes. */
static int jobq__migrate_rows(struct jobq__db *db) {
    return jobq__db_exec(db,
        "INSERT OR FAIL INTO jobq_name(id, what, scope, name)"
        " SELECT id, 0, 0, name FROM jobq_name_of_1;"
        "DROP TABLE jobq_name_of_1;"
        JOBQ__TEXT_NAME_LOST("kind", JOBQ__TEXT_IS_LOST("kind")) ";"
        JOBQ__TEXT_NAME_LOST("queue", JOBQ__TEXT_IS_LOST("queue")) ";"
        "INSERT OR FAIL INTO jobq_key(kind, key, held, job)"
        " SELECT kind, key, 1, job FROM jobq_unique;"
        "DELETE FROM jobq_unique; DROP TABLE jobq_unique;"
        "INSERT OR FAIL INTO jobq_key(kind, key, held, job) SELECT j.kind, x.key, 0, j.id"
        " FROM jobq_extra x CROSS JOIN jobq_row j ON j.id = x.job"
        " WHERE x.key IS NOT NULL AND j.state > 1 AND j.side & 2 ORDER BY 1, 2, 4;"
        "INSERT OR FAIL INTO jobq_failed(at, job) SELECT prune_at, id FROM jobq_row"
        " WHERE state = 3 AND prune_at IS NOT NULL ORDER BY prune_at, id;"
        "UPDATE jobq_claims SET open = NULL, counted = 0, offset_ms = 0, wall_at = 0,"
        " next_name = (SELECT 1 + coalesce(max(id), 1) FROM jobq_name);"
        "DELETE FROM jobq_meta WHERE key = 'lost';"
        "INSERT OR REPLACE INTO jobq_meta VALUES('schema', 2), ('reads_from', 2),"
        " ('writes_from', 2), ('epoch', 0)");
}

static int jobq__migrate_steps(struct jobq__db *db, jobq_error *err) {
    int rc = jobq__migrate_rename(db);
    if (rc == JOBQ_OK) rc = jobq__migrate_objects(db);
    if (rc == JOBQ_OK) rc = jobq__migrate_rows(db);
    /* These rows were copied from tables that had the same conditions. */
    if (rc != JOBQ_OK && (db->sqlite_code & 0xff) == SQLITE_CONSTRAINT)
        jobq__db_fault(db, "jobq_name or jobq_unique", 0, "a row", "is none that this table holds");
    if (rc != JOBQ_OK) return jobq__db_fail(db, err);
    return jobq__schema_check(db, err);
}

JOBQ__INTERNAL int jobq__migrate(struct jobq__db *db, jobq_error *err) {
    bool old, all;
    int rc = jobq__schema_wal(db, err);
    if (rc != JOBQ_OK) return rc;
    if (jobq__db_do(db, JOBQ__SQL_BEGIN) != JOBQ_OK) return jobq__db_fail(db, err);
    /* Others could write until now. */
    rc = jobq__migrate_is_old(db, JOBQ_MIGRATE_AUTO, &old, err);
    jobq__migrate_may_alter(db, true);
    if (rc == JOBQ_OK && old) rc = jobq__migrate_steps(db, err);
    jobq__migrate_may_alter(db, false);
    if (rc == JOBQ_OK && jobq__db_do(db, JOBQ__SQL_COMMIT) != JOBQ_OK) rc = jobq__db_fail(db, err);
    if (rc != JOBQ_OK && jobq__db_in_transaction(db)) jobq__db_do(db, JOBQ__SQL_ROLLBACK);
    if (rc != JOBQ_OK) return rc;
    return jobq__db_checkpoint(db, true, &all) == JOBQ_OK ? rc : jobq__db_fail(db, err);
}

/*==== store.h ====*/
/* store.h - the seam: jobs above it, SQL below it. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/store.h"
#endif
#ifndef JOBQ__STORE_H
#define JOBQ__STORE_H

/* #include "clock.h" */
/* #include "column.h" */
/* #include "files.h" */
/* #include "guard.h" */
/* #include "mem.h" */
/* #include "migrate.h" */
/* #include "state.h" */

/* Design note.
 *
 * What stands above this file speaks of jobs: it calls what is declared here, and of the storage
 * layer beside it three things, each from the files that `make tidy` names: guard.h (the connection
 * that handlers get), migrate.h (as a file is opened) and audit.h (the doctor). No SQL, no table,
 * no function of SQLite and no field of a connection is named there; `make tidy` looks. So another
 * store could stand here. The one thing that is SQLite's above the seam is the handle that a
 * handler asks for, jobq__store_handle.
 *
 * store.c opens connections, begins and ends transactions, copies the log and says why something
 * failed; store_write.c changes rows, always inside a transaction that the holder of the baton has
 * begun; store_count.c adds to the counters beside the claims row, reads the rows that are not
 * counted yet, and says how many there are; store_read.c reads rows for whoever looks inside, and
 * asks store_write.c who is claimed, never the other way round. Each function of these does one
 * thing to the rows it names, and says how many it changed: a number that differs from the expected
 * one is how a late result is found out (the fence). Nothing here remembers anything but prepared
 * statements. By SQL of their own, in the same tables, audit.c and its rules read all rows and
 * change those that are broken (audit.h), and migrate.c makes rows of older ones.
 *
 * A connection is used by whoever holds what guards it (core.h): one thread at a time. */

/* One connection. Who holds it by value gives it room, and reads none of it. */
typedef struct jobq__db jobq__store;

/* Rows that wait for their time stand in two lanes: who waits for a point in time in lane 0, due by
 * the wall; who waits for a duration in lane -1, due by the queue's own time (clock.h). i stands
 * for lane -i. */
enum { JOBQ__DUE_BY_WALL, JOBQ__DUE_BY_OWN, JOBQ__DUE_LANES };
struct jobq__dues {
    int64_t at_ms[JOBQ__DUE_LANES]; /* of the first row of each */
};

struct jobq__row {
    int64_t id;
    int64_t run_at_ms;    /* by the wall; of a row that stands in lane -1 by own time */
    int64_t created_at_ms, delay_ms;
    const void *payload;
    size_t size;
    int32_t kind, queue;
    int32_t lane;         /* JOBQ__LANE_NONE: not waiting */
    int state, priority, attempt, runs, crashes, side;
};

/* ---- Connections (store.c) ---- */

/* This SQLite can be used at all. */
JOBQ__INTERNAL int jobq__store_check(jobq_error *err);
/* True if this SQLite may lose commits when two connections write and one checkpoints. */
JOBQ__INTERNAL bool jobq__store_loses_commits(void);
/* The name of how files are opened at this moment, or of how they are kept for one process: all
 * connections of a queue use the same. */
JOBQ__INTERNAL int jobq__store_vfs(bool exclusive, char *name, size_t capacity, jobq_error *err);

/* On failure it is closed. */
JOBQ__INTERNAL int jobq__store_open(jobq__store *store, const char *path, const char *vfs,
                                    enum jobq__use use,
                                    const struct jobq__store_options *options, jobq_error *err);
/* The application's turn with it, once the tables stand. */
JOBQ__INTERNAL int jobq__store_set_up(jobq__store *store, enum jobq__use use,
                                      const struct jobq__store_options *options,
                                      jobq_error *err);
/* Also one that is not open. */
JOBQ__INTERNAL void jobq__store_close(jobq__store *store);
JOBQ__INTERNAL bool jobq__store_is_open(const jobq__store *store);
/* True if it has another file open than its name names: to be asked when it was just opened. */
JOBQ__INTERNAL bool jobq__store_moved(jobq__store *store);
/* Closing may copy the log into the database, for the file is ours; or it may not. */
JOBQ__INTERNAL void jobq__store_own(jobq__store *store, bool ours);
/* Nothing that is clever in the schema runs on it; or as the application has it. */
JOBQ__INTERNAL void jobq__store_harden(jobq__store *store, bool hard);
/* From now on nothing is committed on it but by jobq__store_commit. */
JOBQ__INTERNAL void jobq__store_bind(jobq__store *store);
/* Until when it waits, in real time, if the file is locked, which it does while a queue is opened;
 * and from now on it does not. */
JOBQ__INTERNAL int64_t jobq__store_waits_until(const jobq__store *store);
JOBQ__INTERNAL void jobq__store_wait_no_more(jobq__store *store);
/* What a handler gets to see of it. */
JOBQ__INTERNAL struct sqlite3 *jobq__store_handle(const jobq__store *store);

/* ---- The tables (store.c) ---- */

/* The owner's: makes sure that a queue of this version is there, and that the file can be shared
 * with readers. made: jobq has made the file just now. FOREIGN, NEWER, NOT_A_DB, and as the
 * disk. */
JOBQ__INTERNAL int jobq__store_make(jobq__store *store, int page_size, bool made, bool join,
                                    jobq_error *err);
/* A client's: the queue must be there. NOT_FOUND, FOREIGN, NEWER. */
JOBQ__INTERNAL int jobq__store_find(jobq__store *store, jobq_error *err);
/* After on_connect, which may have changed how the file is shared: puts that right, and reads, so
 * that nobody else can change it. */
JOBQ__INTERNAL int jobq__store_pin(jobq__store *store, jobq_error *err);
/* Before a job's transaction is committed: JOBQ__REFUSED if nobody could open the file again with
 * what the handler has made in it. */
JOBQ__INTERNAL int jobq__store_check_job(jobq__store *store, jobq_error *why);

/* ---- Failures (store.c) ---- */

/* The code of the last failure on this connection, and the record of it with the file's name; and
 * without. */
JOBQ__INTERNAL int jobq__store_fail(jobq__store *store, jobq_error *err);
JOBQ__INTERNAL int jobq__store_why(const jobq__store *store, jobq_error *err);
/* True if that is what rc says. */
JOBQ__INTERNAL bool jobq__store_said(const jobq__store *store, int rc);
#ifdef JOBQ_DEBUG
/* For assertions that ask the file: what fails between the two is nobody's failure. */
struct jobq__store_failure {
    struct jobq__fault fault;
    int code;
};
JOBQ__INTERNAL void jobq__store_note_failure(const jobq__store *store,
                                             struct jobq__store_failure *failure);
JOBQ__INTERNAL void jobq__store_set_failure(jobq__store *store,
                                            const struct jobq__store_failure *failure);
#endif
/* The same failure, to be kept until the connection is another's again, and to be told then. path
 * NULL: not named; way_out NULL: none but for damage, which has its own. Returns code. */
JOBQ__INTERNAL struct jobq__fault jobq__store_reason(const jobq__store *store);
JOBQ__INTERNAL int jobq__store_tell(const struct jobq__fault *why, int code, const char *path,
                                    const char *way_out, jobq_error *err);

/* What only who knows of jobs can see to be wrong with the file; id: whose row it is about. */
enum jobq__damage {
    JOBQ__DAMAGE_ID,    /* is taken, however often it is read which is the highest */
    JOBQ__DAMAGE_IDS,   /* is the last one that there is, so that no job gets one */
    JOBQ__DAMAGE_ROW,   /* is not where an index says */
    JOBQ__DAMAGE_ORDER, /* of waiting rows; no id */
    JOBQ__DAMAGE_NAME,  /* is not what its index says */
    JOBQ__DAMAGE_KEY,   /* belongs to no job */
    JOBQ__DAMAGE_EXTRA, /* what stands beside a row has no job */
    JOBQ__DAMAGE_PAYLOAD, /* the same of a payload that stands apart */
    JOBQ__DAMAGE_OPEN   /* names a gate twice, or more of them than there can be */
};
/* Notes it, for jobq__store_fail to say; returns JOBQ_CORRUPT. */
JOBQ__INTERNAL int jobq__store_damaged(jobq__store *store, enum jobq__damage what, int64_t id);

/* ---- Transactions (store.c, store_write.c) ---- */

/* Of the log: its commits are synced whatever the options say, or as they say it of RELAXED. */
JOBQ__INTERNAL int jobq__store_sync_all(jobq__store *store, bool all);
/* True inside one: after some errors it ends by itself. Of one that is not open: false. */
JOBQ__INTERNAL bool jobq__store_in_transaction(const jobq__store *store);
/* True if the one that was begun has not been ended behind our back. */
JOBQ__INTERNAL bool jobq__store_stands(const jobq__store *store);
/* Rows changed since the connection was opened: to see whether something was written. */
JOBQ__INTERNAL int64_t jobq__store_changes(const jobq__store *store);
/* A part of it that can be undone alone: save, undo if need be, and in any case keep. */
JOBQ__INTERNAL int jobq__store_save(jobq__store *store);
JOBQ__INTERNAL int jobq__store_undo(jobq__store *store);
JOBQ__INTERNAL int jobq__store_keep(jobq__store *store);

JOBQ__INTERNAL int jobq__store_begin(struct jobq__db *db);
JOBQ__INTERNAL int jobq__store_commit(struct jobq__db *db);
/* The same for a job's transaction. JOBQ__REFUSED: what the handler wrote cannot be committed, and
 * *why has SQLite's words; the file is as it was. */
JOBQ__INTERNAL int jobq__store_commit_job(struct jobq__db *db, jobq_error *why);
/* Changes a counter, so that the commit has something to write, and so to sync. */
JOBQ__INTERNAL int jobq__store_sync(struct jobq__db *db);
/* Ends whatever transaction is left; never fails. */
JOBQ__INTERNAL void jobq__store_rollback(struct jobq__db *db);

/* ---- The log (store.c) ---- */

/* Copies it into the database as far as readers allow; truncate also shortens it. *all is false if
 * somebody still needs the log. Nobody may write meanwhile. */
JOBQ__INTERNAL int jobq__store_copy_log(jobq__store *store, bool truncate, bool *all);
/* Pages in it after the last commit of this connection, or as they were set. */
JOBQ__INTERNAL int jobq__store_log_pages(const jobq__store *store);
JOBQ__INTERNAL void jobq__store_set_log_pages(jobq__store *store, int pages);
/* In a transaction that writes: cuts off what others that were not committed have left behind the
 * last commit. */
JOBQ__INTERNAL void jobq__store_trim_log(jobq__store *store);
/* True if somebody has cut it, though what is in it is not in the database. */
JOBQ__INTERNAL bool jobq__store_log_is_cut(jobq__store *store, const struct jobq__files *files);

/* ---- The file (store.c) ---- */

/* A number that differs from what it was whenever another connection has committed since. A read,
 * which takes no lock that a writer wants. */
JOBQ__INTERNAL int jobq__store_version(struct jobq__db *db, int64_t *version);

JOBQ__INTERNAL int64_t jobq__store_page_size(struct jobq__db *db);
/* Bytes by which the database file will grow when the log is copied, the open transaction
 * included. */
JOBQ__INTERNAL int64_t jobq__store_growth(struct jobq__db *db);
/* Bytes of the database's pages, all and free ones; 0 if it cannot be told. */
JOBQ__INTERNAL int64_t jobq__store_bytes(struct jobq__db *db);
JOBQ__INTERNAL int64_t jobq__store_free_bytes(struct jobq__db *db);

/* True if free pages of the file may be given back: jobq has made it, and so that they can be. */
JOBQ__INTERNAL bool jobq__store_shrinks(struct jobq__db *db);
/* Gives at most so many free pages back, as many as it can until then, and one in any case. */
JOBQ__INTERNAL int jobq__store_shrink(struct jobq__db *db, int64_t pages, int64_t until_us);

/* ---- Names ---- */

/* 0.1.0 could store jobs whose kind or queue is an id without a name. Such an id, 17 say, is called
 * "lost:17" by whoever reads it, and has that for its name from the first transaction on that meets
 * it. Until then no other new name gets the id. */

/* Of a kind or a queue (*what). 0 in *id if there is no such name; JOBQ_BAD_NAME if the file would
 * not give it back as it is. *what becomes JOBQ__NAME_ANY if the name serves as both. */
JOBQ__INTERNAL int jobq__store_name_find(struct jobq__db *db, int *what, const char *name,
                                         int64_t *id);
/* With an id that none had before; *what as above. JOBQ_FULL beyond JOBQ_NAMES_MAX. */
JOBQ__INTERNAL int jobq__store_name_add(struct jobq__db *db, int *what, const char *name,
                                        int64_t *id);
/* With one that has none. */
JOBQ__INTERNAL int jobq__store_name_put(struct jobq__db *db, int64_t id, int what,
                                        const char *name);
/* The id that such a name is made of, or 0. */
JOBQ__INTERNAL int64_t jobq__store_lost_id(const char *name);
/* *lost: the id has none. text has room for JOBQ_NAME_MAX + 1. */
JOBQ__INTERNAL int jobq__store_name_text(struct jobq__db *db, int64_t id, int *what, char *text,
                                         bool *lost);

/* ---- Enqueue ---- */

JOBQ__INTERNAL int jobq__store_max_id(struct jobq__db *db, int64_t *id);
/* True if a payload of that size does not stand in its job's row: whoever stores the job says so in
 * its side (JOBQ__SIDE_PAYLOAD). */
JOBQ__INTERNAL bool jobq__store_apart(struct jobq__db *db, size_t size);
/* Ids are the caller's. *taken: one of them exists, nothing was inserted. */
JOBQ__INTERNAL int jobq__store_insert(struct jobq__db *db, const struct jobq__row *rows,
                                      size_t count, bool *taken);
/* 0 in *id if no unfinished job of the kind has the key; *stored: the job's row is there. */
JOBQ__INTERNAL int jobq__store_key_find(struct jobq__db *db, int64_t kind, const char *key,
                                        int64_t *id, bool *stored);
/* *taken: the id is another job's. */
JOBQ__INTERNAL int jobq__store_key_add(struct jobq__db *db, int64_t kind, const char *key,
                                       int64_t id, bool *taken);
/* The key of a job, or ""; text has JOBQ_KEY_MAX + 1 bytes. */
JOBQ__INTERNAL int jobq__store_key_text(struct jobq__db *db, int64_t id, char *text);
/* *holder: who has the key that the ended job id once had. */
JOBQ__INTERNAL int jobq__store_key_holder(struct jobq__db *db, int64_t kind, int64_t id,
                                          int64_t *holder);
/* Takes the key of a finished job again; *taken if another job has it now. */
JOBQ__INTERNAL int jobq__store_key_again(struct jobq__db *db, int64_t kind, int64_t id,
                                         bool *taken);

/* ---- Claim ---- */

typedef struct sqlite3_stmt jobq__walk; /* a walk over rows */

/* Walks ready rows of a lane, rows that are due by one of the clocks, or one row, in order. The
 * payload is valid until the next call, or NULL if it stands apart; call until *more is false, or
 * end the walk. */
JOBQ__INTERNAL jobq__walk *jobq__store_walk_lane(struct jobq__db *db, int64_t lane, int limit);
JOBQ__INTERNAL jobq__walk *jobq__store_due(struct jobq__db *db, int by, int64_t now_ms,
                                           int limit);
JOBQ__INTERNAL jobq__walk *jobq__store_by_id(struct jobq__db *db, int64_t id);
JOBQ__INTERNAL int jobq__store_next(struct jobq__db *db, jobq__walk *walk,
                                    struct jobq__row *row, bool *more);
JOBQ__INTERNAL void jobq__store_end(jobq__walk *walk);
/* One row; JOBQ_NOT_FOUND. The payload is NULL, size tells how much there would be. */
JOBQ__INTERNAL int jobq__store_row(struct jobq__db *db, int64_t id, struct jobq__row *row);

/* One that stands apart, into a buffer of its size. */
JOBQ__INTERNAL int jobq__store_payload(struct jobq__db *db, const struct jobq__row *row,
                                       void *buffer);
/* It is missing, or has another size: notes that, and returns JOBQ_CORRUPT. */
JOBQ__INTERNAL int jobq__store_payload_wrong(struct jobq__db *db, int64_t id, bool there);

JOBQ__INTERNAL int jobq__store_claim(struct jobq__db *db, int64_t first, int64_t last,
                                     int *changed);
/* A row is to wait, from now on or still: row is what it becomes, from and runs the fence. */
JOBQ__INTERNAL int jobq__store_place(struct jobq__db *db, const struct jobq__row *row, int from,
                                     int runs, int *changed);
JOBQ__INTERNAL int jobq__store_next_due(struct jobq__db *db, int by, int64_t *at_ms);
JOBQ__INTERNAL int jobq__store_next_dues(struct jobq__db *db, struct jobq__dues *due);
/* A row of lane -1 that waits no more, and is not placed anew: its time becomes one of the wall. */
JOBQ__INTERNAL int jobq__store_on_wall(struct jobq__db *db, int64_t id, int64_t at_ms);
/* JOBQ_CORRUPT if a row is scheduled in an order that neither of these two looks at. */
JOBQ__INTERNAL int jobq__store_all_due(struct jobq__db *db);
/* The smallest lane above lane that has rows, or 0 in *next. */
JOBQ__INTERNAL int jobq__store_lane_after(struct jobq__db *db, int64_t lane, int64_t *next);

/* The ids that are claimed and not settled: all that recovery reads; and own time at this wall. */
JOBQ__INTERNAL int jobq__store_claims_set(struct jobq__db *db, const void *ids, size_t size,
                                          int64_t last_id, int64_t counted, int64_t offset_ms,
                                          int64_t wall_ms);
/* Own time, as it was last written. */
JOBQ__INTERNAL int jobq__store_own_time(struct jobq__db *db, int64_t *offset_ms, int64_t *wall_ms);
/* *ids is the caller's to free. */
JOBQ__INTERNAL int jobq__store_claims_get(struct jobq__db *db, void **ids, size_t *size);
/* The next of these ids, after *id, which is 0 before the first; as long as *at is below size. */
JOBQ__INTERNAL int jobq__store_claims_next(struct jobq__db *db, const void *ids, size_t size,
                                           size_t *at, int64_t *id);
/* The lanes before gates that opened, and were not drained: the same. */
JOBQ__INTERNAL int jobq__store_open_set(struct jobq__db *db, const void *lanes, size_t size);
JOBQ__INTERNAL int jobq__store_open_get(struct jobq__db *db, void **lanes, size_t *size);
JOBQ__INTERNAL int jobq__store_open_next(struct jobq__db *db, const void *lanes, size_t size,
                                         size_t *at, int64_t *lane);
/* A row was just read that says it is claimed: damage if it is not among them, for then nobody will
 * ever give it back. In the transaction, or beside the statement, by which it was read. */
JOBQ__INTERNAL int jobq__store_claims_have(struct jobq__db *db, int64_t id);
/* It is not: notes that, and returns JOBQ_CORRUPT. */
JOBQ__INTERNAL int jobq__store_nobodys(struct jobq__db *db, int64_t id);

/* ---- Settle: fenced by state and runs ---- */

JOBQ__INTERNAL int jobq__store_drop_runs(struct jobq__db *db, int64_t first, int64_t last,
                                         int runs, int *changed);
JOBQ__INTERNAL int jobq__store_finish_runs(struct jobq__db *db, int64_t first, int64_t last,
                                           int runs, int state, int64_t now_ms,
                                           int64_t prune_at_ms, int *changed);
/* Ends a job in any way; side is added to what stands beside it. */
JOBQ__INTERNAL int jobq__store_finish(struct jobq__db *db, const struct jobq__row *was, int state,
                                      int64_t now_ms, int64_t prune_at_ms, int side, int *changed);
/* A job is kept as a failed one, until then; before it is no longer. */
JOBQ__INTERNAL int jobq__store_failed_add(struct jobq__db *db, int64_t prune_at_ms, int64_t id);
JOBQ__INTERNAL int jobq__store_failed_drop(struct jobq__db *db, int64_t id);
/* Writes down that a running job is to be cancelled, whatever becomes of the process. */
JOBQ__INTERNAL int jobq__store_wish(struct jobq__db *db, int64_t id, int runs, int *changed);
JOBQ__INTERNAL int jobq__store_forgive(struct jobq__db *db, int64_t id, int runs, int side,
                                       int *changed);
/* Deletes a row, and what stands beside one, which must be there. */
JOBQ__INTERNAL int jobq__store_drop(struct jobq__db *db, const struct jobq__row *was, int *changed);
JOBQ__INTERNAL int jobq__store_drop_side(struct jobq__db *db, int64_t kind, int64_t id, int side);
/* Frees the key of a job that ended, if it has one: another may take it now, and whoever knows it
 * still finds the job. */
JOBQ__INTERNAL int jobq__store_key_free(struct jobq__db *db, int64_t kind, int64_t id, int side);

enum jobq__extra { JOBQ__EXTRA_ERROR, JOBQ__EXTRA_RESULT, JOBQ__EXTRA_SAVED };
/* data NULL: there is none any more. */
JOBQ__INTERNAL int jobq__store_extra(struct jobq__db *db, int64_t id, enum jobq__extra what,
                                     const void *data, size_t size);
/* A new round of the job begins: what the one before has saved is gone. */
JOBQ__INTERNAL int jobq__store_unsave(struct jobq__db *db, int64_t id, int side);
/* NULL in *data if nothing was saved; the caller frees it. */
JOBQ__INTERNAL int jobq__store_saved(struct jobq__db *db, int64_t id, void **data, size_t *size);
/* The highest id that has something beside its row, or a payload apart; or 0. */
JOBQ__INTERNAL int jobq__store_extra_max(struct jobq__db *db, int64_t *id);
JOBQ__INTERNAL int jobq__store_payload_max(struct jobq__db *db, int64_t *id);

/* ---- Counters (store_count.c) ---- */

/* The counters of jobq_claims, in this order; and what is not counted. */
enum jobq__count_as { JOBQ__COUNT_READY, JOBQ__COUNT_SCHEDULED, JOBQ__COUNT_BLOCKED,
                      JOBQ__COUNT_CLAIMED, JOBQ__COUNT_DONE, JOBQ__COUNT_FAILED,
                      JOBQ__COUNT_CANCELLED, JOBQ__COUNT_RETRYING, JOBQ__COUNTS,
                      JOBQ__COUNT_NOTHING };

struct jobq__count {
    int32_t queue, kind;
    int64_t by[JOBQ__COUNTS]; /* more of them than before, or fewer */
};

/* What a row counts as in that state, of which it need not be; and whether it is also RETRYING. */
JOBQ__INTERNAL int jobq__store_count_as(const struct jobq__row *row, int state);
JOBQ__INTERNAL bool jobq__store_retries(const struct jobq__row *row, int state);
/* One more of what the row counts as, as it stands. */
JOBQ__INTERNAL void jobq__store_count_row(const struct jobq__row *row, int64_t *by);
/* Jobs up to that id are counted. */
JOBQ__INTERNAL int jobq__store_counted(struct jobq__db *db, int64_t *id);
/* None is, and there are no counters. */
JOBQ__INTERNAL int jobq__store_count_anew(struct jobq__db *db);
JOBQ__INTERNAL int jobq__store_count_add(struct jobq__db *db, const struct jobq__count *count);
/* Walks rows above an id, up to another, as far as counting needs them. row: the one before, at
 * first with the id that all are above. */
JOBQ__INTERNAL jobq__walk *jobq__store_uncounted(struct jobq__db *db, int64_t after, int64_t upto);
JOBQ__INTERNAL int jobq__store_next_uncounted(struct jobq__db *db, jobq__walk *walk,
                                              struct jobq__row *row, bool *more);
#ifdef JOBQ_DEBUG
/* How many pairs of queue and kind have counters that are not what counting comes to: reads all
 * that is counted. For assertions. */
JOBQ__INTERNAL int jobq__store_miscounted(struct jobq__db *db, int64_t *pairs);
#endif
/* How many have ended and are kept. */
JOBQ__INTERNAL int jobq__store_ended(struct jobq__db *db, int64_t *count);

/* ---- Housekeeping ---- */

/* Hears of each row that goes. */
typedef void (*jobq__gone_fn)(void *ctx, const struct jobq__row *row);
struct jobq__prune {
    int count;              /* rows that went */
    int64_t last_id;        /* raised to the highest of them */
    jobq__gone_fn gone;
    void *ctx;
};

/* Deletes at most limit finished rows whose time is over; the oldest ones; or for the room, before
 * their time, the oldest done and cancelled ones. */
JOBQ__INTERNAL int jobq__store_prune(struct jobq__db *db, int64_t now_ms, int limit,
                                     struct jobq__prune *prune);
JOBQ__INTERNAL int jobq__store_prune_oldest(struct jobq__db *db, int limit,
                                            struct jobq__prune *prune);
JOBQ__INTERNAL int jobq__store_prune_done(struct jobq__db *db, int limit,
                                          struct jobq__prune *prune);
/* JOBQ_NEVER if nothing is kept for a time. */
JOBQ__INTERNAL int jobq__store_prune_next(struct jobq__db *db, int64_t *at_ms);

/* ---- Look inside (store_read.c) ---- */

/* What a claimed row of the table is, only the pool knows. */
typedef bool (*jobq__runs_fn)(void *ctx, int64_t id);

struct jobq__look {
    struct jobq__db *db;
    struct jobq__now now;
    jobq__runs_fn runs;
    void *ctx;
};

/* *claimed: the row is claimed, but no slot says that it runs. */
JOBQ__INTERNAL int jobq__store_info(const struct jobq__look *look, int64_t id, jobq_info *info,
                                    bool *claimed);
/* False if no listing by such a filter can have left the cursor so. */
JOBQ__INTERNAL bool jobq__store_cursor_valid(const jobq_cursor *cursor,
                                             const jobq_filter *filter);
JOBQ__INTERNAL int jobq__store_list(const struct jobq__look *look, const jobq_filter *filter,
                                    jobq_cursor *cursor, jobq_info *infos, size_t capacity,
                                    size_t *count);
JOBQ__INTERNAL int jobq__store_blob(const struct jobq__look *look, int64_t id, bool result,
                                    void *buffer, size_t capacity, size_t *size);
/* All of them, in one snapshot. */
JOBQ__INTERNAL int jobq__store_count(const struct jobq__look *look, jobq_counts *counts);

/* The claims row's text: zigzag varints of the differences of successive ids. */
JOBQ__INTERNAL size_t jobq__store_pack(unsigned char *to, int64_t previous, int64_t id);
/* Returns the bytes read, 0 if the text is damaged. */
JOBQ__INTERNAL size_t jobq__store_unpack(const unsigned char *from, size_t size, int64_t *id);
#define JOBQ__PACK_MAX 10 /* bytes of one id */

#endif

/*==== store.c ====*/
/* store.c - what a store is besides its rows: connections, transactions, the log, the file. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/store.c"
#endif
/* #include "store.h" */

/* ---- Connections ---- */

JOBQ__INTERNAL int jobq__store_check(jobq_error *err) {
    return jobq__db_check_sqlite(err);
}

JOBQ__INTERNAL bool jobq__store_loses_commits(void) {
    return jobq__db_wal_reset_bug();
}

JOBQ__INTERNAL int jobq__store_vfs(bool exclusive, char *name, size_t capacity, jobq_error *err) {
    return jobq__db_vfs_name(exclusive, name, capacity, err);
}

JOBQ__INTERNAL int jobq__store_open(jobq__store *store, const char *path, const char *vfs,
                                    enum jobq__use use,
                                    const struct jobq__store_options *options, jobq_error *err) {
    return jobq__db_open(store, path, vfs, use, options, err);
}

JOBQ__INTERNAL int jobq__store_set_up(jobq__store *store, enum jobq__use use,
                                      const struct jobq__store_options *options,
                                      jobq_error *err) {
    return jobq__db_setup(store, use, options, err);
}

JOBQ__INTERNAL void jobq__store_close(jobq__store *store) {
    jobq__db_close(store);
}

JOBQ__INTERNAL bool jobq__store_is_open(const jobq__store *store) {
    return store->handle != NULL;
}

JOBQ__INTERNAL bool jobq__store_moved(jobq__store *store) {
    return jobq__db_moved(store);
}

JOBQ__INTERNAL void jobq__store_own(jobq__store *store, bool ours) {
    if (ours) jobq__db_adopt(store);
    else jobq__db_disown(store);
}

JOBQ__INTERNAL void jobq__store_harden(jobq__store *store, bool hard) {
    jobq__db_harden(store, hard);
}

JOBQ__INTERNAL void jobq__store_bind(jobq__store *store) {
    store->may_commit = false;
}

JOBQ__INTERNAL int64_t jobq__store_waits_until(const jobq__store *store) {
    return store->until_us;
}

JOBQ__INTERNAL void jobq__store_wait_no_more(jobq__store *store) {
    jobq__db_impatient(store);
}

JOBQ__INTERNAL struct sqlite3 *jobq__store_handle(const jobq__store *store) {
    return store->handle;
}

/* ---- The tables ---- */

JOBQ__INTERNAL int jobq__store_make(jobq__store *store, int page_size, bool made, bool join,
                                    jobq_error *err) {
    return jobq__schema_ready(store, page_size, made, join, err);
}

/* Somebody may have taken it out of WAL mode. */
JOBQ__INTERNAL int jobq__store_find(jobq__store *store, jobq_error *err) {
    int rc = jobq__schema_check(store, err);
    return rc == JOBQ_OK ? jobq__schema_wal(store, err) : rc;
}

/* Who has read in WAL mode keeps the others from changing it. */
JOBQ__INTERNAL int jobq__store_pin(jobq__store *store, jobq_error *err) {
    int64_t objects;
    int rc = jobq__schema_wal(store, err);
    if (rc == JOBQ_OK
        && jobq__db_number(store, "SELECT count(*) FROM sqlite_master", 0, &objects) != JOBQ_OK)
        rc = jobq__db_fail(store, err);
    return rc;
}

/* With a table of somebody else's named jobq_* nobody could open the file again. */
JOBQ__INTERNAL int jobq__store_check_job(jobq__store *store, jobq_error *why) {
    int rc = store->guard.altered ? jobq__schema_check(store, why) : JOBQ_OK;
    return rc == JOBQ_FOREIGN ? JOBQ__REFUSED : rc;
}

/* ---- Failures ---- */

JOBQ__INTERNAL int jobq__store_fail(jobq__store *store, jobq_error *err) {
    return jobq__db_fail(store, err);
}

JOBQ__INTERNAL int jobq__store_why(const jobq__store *store, jobq_error *err) {
    return jobq__db_why(store, err);
}

JOBQ__INTERNAL bool jobq__store_said(const jobq__store *store, int rc) {
    return jobq__db_code(store->sqlite_code) == rc;
}

#ifdef JOBQ_DEBUG
JOBQ__INTERNAL void jobq__store_note_failure(const jobq__store *store,
                                             struct jobq__store_failure *failure) {
    failure->fault = store->fault;
    failure->code = store->sqlite_code;
}

JOBQ__INTERNAL void jobq__store_set_failure(jobq__store *store,
                                            const struct jobq__store_failure *failure) {
    store->fault = failure->fault;
    store->sqlite_code = failure->code;
}
#endif

JOBQ__INTERNAL struct jobq__fault jobq__store_reason(const jobq__store *store) {
    return jobq__db_reason(store);
}

JOBQ__INTERNAL int jobq__store_tell(const struct jobq__fault *why, int code, const char *path,
                                    const char *way_out, jobq_error *err) {
    return jobq__db_say(why, code, path, way_out, err);
}

JOBQ__INTERNAL int jobq__store_damaged(jobq__store *store, enum jobq__damage what, int64_t id) {
    static const struct {
        const char *table, *column, *is;
    } damage[] = {
        [JOBQ__DAMAGE_ID] = {"jobq_row", "the id", "is taken for ever"},
        [JOBQ__DAMAGE_IDS] = {"jobq_claims or jobq_row", "the highest id", "is the last one"},
        [JOBQ__DAMAGE_ROW] = {"jobq_row", "the row", "is not where an index says"},
        [JOBQ__DAMAGE_ORDER] = {"jobq_row", "the index jobq_live", "is out of order"},
        [JOBQ__DAMAGE_NAME] = {"jobq_name", "name", "is not what its index says"},
        [JOBQ__DAMAGE_KEY] = {"jobq_key", "the key", "belongs to no job"},
        [JOBQ__DAMAGE_EXTRA] = {"jobq_extra", "the row", "has no job"},
        [JOBQ__DAMAGE_PAYLOAD] = {"jobq_payload", "the row", "has no job"},
        [JOBQ__DAMAGE_OPEN] = {"jobq_claims", "open", "is no list of gates"},
    };
    return jobq__db_fault(store, damage[what].table, id, damage[what].column, damage[what].is);
}

/* ---- Transactions ---- */

JOBQ__INTERNAL int jobq__store_sync_all(jobq__store *store, bool all) {
    return jobq__db_do(store, all ? JOBQ__SQL_SYNC_FULL : JOBQ__SQL_SYNC_NORMAL);
}

JOBQ__INTERNAL bool jobq__store_in_transaction(const jobq__store *store) {
    return store->handle && jobq__db_in_transaction(store);
}

JOBQ__INTERNAL bool jobq__store_stands(const jobq__store *store) {
    return jobq__db_in_transaction(store) && !store->lost;
}

JOBQ__INTERNAL int64_t jobq__store_changes(const jobq__store *store) {
    return jobq__db_changes(store);
}

JOBQ__INTERNAL int jobq__store_save(jobq__store *store) {
    return jobq__db_do(store, JOBQ__SQL_SAVE);
}

JOBQ__INTERNAL int jobq__store_undo(jobq__store *store) {
    return jobq__db_do(store, JOBQ__SQL_SAVE_UNDO);
}

JOBQ__INTERNAL int jobq__store_keep(jobq__store *store) {
    return jobq__db_do(store, JOBQ__SQL_SAVE_END);
}

/* ---- The log ---- */

JOBQ__INTERNAL int jobq__store_copy_log(jobq__store *store, bool truncate, bool *all) {
    return jobq__db_checkpoint(store, truncate, all);
}

JOBQ__INTERNAL int jobq__store_log_pages(const jobq__store *store) {
    return store->wal_pages;
}

JOBQ__INTERNAL void jobq__store_set_log_pages(jobq__store *store, int pages) {
    store->wal_pages = pages;
}

JOBQ__INTERNAL void jobq__store_trim_log(jobq__store *store) {
    jobq__db_cut_log(store);
}

/* Another process that has copied it may cut it just now: then it has said so before. */
JOBQ__INTERNAL bool jobq__store_log_is_cut(jobq__store *store, const struct jobq__files *files) {
    struct jobq__db_log log, again;
    if (!jobq__db_log(store, &log) || !log.bytes) return false;
    if (jobq__files_log_size(files) >= log.bytes) return jobq__db_log_has_gap(store);
    return jobq__db_log(store, &again)
        && memcmp(log.header, again.header, sizeof log.header) == 0;
}

/* ---- The file ---- */

JOBQ__INTERNAL int jobq__store_version(struct jobq__db *db, int64_t *version) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_DATA_VERSION);
    bool row;
    int rc = jobq__db_next(db, s, &row);
    *version = 0;
    if (rc != JOBQ_OK || !row) return rc;
    *version = sqlite3_column_int64(s, 0);
    jobq__db_reset(s);
    return rc;
}

JOBQ__INTERNAL int64_t jobq__store_page_size(struct jobq__db *db) {
    int64_t size;
    return jobq__db_number(db, "PRAGMA page_size", 0, &size) == JOBQ_OK ? size : 0;
}

static int64_t jobq__store_pages(struct jobq__db *db, const char *pragma) {
    int64_t pages;
    if (jobq__db_number(db, pragma, 0, &pages) != JOBQ_OK) return 0;
    return pages * jobq__store_page_size(db);
}

JOBQ__INTERNAL int64_t jobq__store_bytes(struct jobq__db *db) {
    return jobq__store_pages(db, "PRAGMA page_count");
}

/* The header says what it likes. */
JOBQ__INTERNAL int64_t jobq__store_free_bytes(struct jobq__db *db) {
    int64_t free = jobq__store_pages(db, "PRAGMA freelist_count");
    return jobq__min(jobq__max(free, 0), jobq__store_bytes(db));
}

JOBQ__INTERNAL bool jobq__store_shrinks(struct jobq__db *db) {
    int64_t vacuum = 0, id = 0;
    return jobq__db_number(db, "PRAGMA auto_vacuum", 0, &vacuum) == JOBQ_OK && vacuum == 2
        && jobq__db_number(db, "PRAGMA application_id", 0, &id) == JOBQ_OK
        && id == JOBQ__APPLICATION_ID;
}

JOBQ__INTERNAL int64_t jobq__store_growth(struct jobq__db *db) {
    return jobq__store_bytes(db) - jobq__db_file_size(db);
}

/*==== store_write.c ====*/
/* store_write.c - what changes rows: enqueue, claim, settle, promote, recover. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/store_write.c"
#endif
/* #include "store.h" */

/* Design note.
 *
 * Rows as statements see them: each function binds, steps and resets, and says how many rows it has
 * changed, which its caller compares with what it should be: the fence. What a change means for
 * other rows, for memory or for anybody waiting is not known here; that it is a legal one is the
 * door's to see (door.c).
 *
 *   - What is read is checked where it enters (column.h): a row with a value that jobq never writes
 *     is JOBQ_CORRUPT, and is not handed out.
 *   - No statement is left standing when a function returns but a walk's, of which there is one at
 *     a time.
 *   - A large payload stands apart (jobq_payload) and is written once, whatever becomes of its row.
 *
 * Within a transaction that the holder of the baton has begun; calls db.h and column.h only. */

/* ---- Binding ---- */

static void jobq__store_bind_row(sqlite3_stmt *s, int at, const struct jobq__row *row) {
    bool ready = jobq__stored_stand(row->lane) == JOBQ__STANDS_IN_LINE;
    sqlite3_bind_int64(s, at + 1, row->id);
    sqlite3_bind_int(s, at + 2, row->state);
    if (row->lane == JOBQ__LANE_NONE) sqlite3_bind_null(s, at + 3);
    else sqlite3_bind_int64(s, at + 3, row->lane);
    sqlite3_bind_int(s, at + 4, ready ? row->priority : 0);
    sqlite3_bind_int64(s, at + 5, row->run_at_ms);
    sqlite3_bind_int64(s, at + 6, row->kind);
    sqlite3_bind_int64(s, at + 7, row->queue);
    sqlite3_bind_int(s, at + 8, row->priority);
    sqlite3_bind_int(s, at + 9, row->runs);
    /* Most jobs are due when they are created; then the time is stored once. */
    if (row->created_at_ms == row->run_at_ms) sqlite3_bind_null(s, at + 10);
    else sqlite3_bind_int64(s, at + 10, row->created_at_ms);
    sqlite3_bind_int(s, at + 11, row->side);
    if (row->side & JOBQ__SIDE_PAYLOAD)
        sqlite3_bind_int64(s, at + 12, (int64_t)row->size);
    else if (row->size)
        sqlite3_bind_blob64(s, at + 12, row->payload, row->size, SQLITE_STATIC);
    else
        sqlite3_bind_null(s, at + 12);
}

#define JOBQ__ROW_PARAMETERS 12

/* In a file of UTF-16 this wants memory. Returns s, or NULL with db->sqlite_code set. */
static sqlite3_stmt *jobq__store_bind_text(struct jobq__db *db, sqlite3_stmt *s, int at,
                                           const char *text, int size) {
    if (!s || sqlite3_bind_text(s, at, text, size, SQLITE_STATIC) == SQLITE_OK) return s;
    db->sqlite_code = SQLITE_NOMEM;
    return NULL;
}

/* ---- What these statements read ---- */

#define JOBQ__ID {"id", 1, JOBQ__ID_MAX, JOBQ__HOLDS_NUMBER, false}
#define JOBQ__NUMBER(name, min, max) {name, min, max, JOBQ__HOLDS_NUMBER, false}

/* JOBQ__TEXT_ROW */
enum { JOBQ__AT_ID, JOBQ__AT_STATE, JOBQ__AT_RUN_AT, JOBQ__AT_KIND, JOBQ__AT_PRIORITY,
       JOBQ__AT_RUNS, JOBQ__AT_CREATED, JOBQ__AT_SIDE, JOBQ__AT_PAYLOAD, JOBQ__AT_LANE,
       JOBQ__AT_QUEUE, JOBQ__AT_ATTEMPT, JOBQ__AT_CRASHES, JOBQ__AT_DELAY, JOBQ__AT_END };

static const struct jobq__column jobq__store_row_list[] = {
    JOBQ__ID,
    JOBQ__NUMBER("state", JOBQ__WAITING, JOBQ__CANCELLED),
    JOBQ__NUMBER("run_at", 0, JOBQ_NEVER),
    JOBQ__NUMBER("kind", JOBQ__LANE_SUSPECT + 1, JOBQ__NAME_ID_MAX),
    JOBQ__NUMBER("priority", INT32_MIN, INT32_MAX),
    JOBQ__NUMBER("runs", 0, INT32_MAX),
    {"created_at", 0, JOBQ_NEVER, JOBQ__HOLDS_NUMBER, true},
    JOBQ__NUMBER("side", 0, JOBQ__SIDE_ALL),
    {"payload", 0, JOBQ_PAYLOAD_MAX, JOBQ__HOLDS_SIZE, true}, /* or the size of what is apart */
    {"lane", -JOBQ__NAME_ID_MAX, JOBQ__NAME_ID_MAX, JOBQ__HOLDS_NUMBER, true},
    JOBQ__NUMBER("queue", JOBQ__LANE_SUSPECT + 1, JOBQ__NAME_ID_MAX),
    JOBQ__NUMBER("attempt", 1, INT32_MAX),
    JOBQ__NUMBER("crashes", 0, INT32_MAX),
    JOBQ__NUMBER("delay_ms", 0, JOBQ_NEVER),
};
static const struct jobq__columns jobq__store_row_columns =
    JOBQ__COLUMNS("jobq_row", jobq__store_row_list, JOBQ__AT_ID);

static const struct jobq__column jobq__store_max_list[] = {JOBQ__NUMBER("id", 0, JOBQ__ID_MAX)};
static const struct jobq__columns jobq__store_max_columns =
    JOBQ__COLUMNS("jobq_claims or jobq_row", jobq__store_max_list, -1);

/* In a file of UTF-16 a byte that is no UTF-8 comes back as up to three. */
#define JOBQ__TEXT_UP_TO(name, max, null) {name, 1, 3 * (max), JOBQ__HOLDS_TEXT, null}

/* One more than the last id that there can be: no name is left. NULL: the row is missing. */
#define JOBQ__NEXT_NAME_IN(null) \
    {"next_name", JOBQ__LANE_SUSPECT + 1, INT64_C(1) + JOBQ__NAME_ID_MAX, JOBQ__HOLDS_NUMBER, null}

/* JOBQ__SQL_NAME_ID */
enum { JOBQ__FOUND_EXACT, JOBQ__FOUND_ANY, JOBQ__FOUND_NEXT, JOBQ__FOUND_TEXT, JOBQ__FOUND_END };
static const struct jobq__column jobq__store_found_list[] = {
    {"id", JOBQ__LANE_SUSPECT + 1, JOBQ__NAME_ID_MAX, JOBQ__HOLDS_NUMBER, true},
    {"id", JOBQ__LANE_SUSPECT + 1, JOBQ__NAME_ID_MAX, JOBQ__HOLDS_NUMBER, true},
    JOBQ__NEXT_NAME_IN(true),
    JOBQ__TEXT_UP_TO("name", JOBQ_NAME_MAX, false)};
static const struct jobq__columns jobq__store_found_columns =
    JOBQ__COLUMNS("jobq_name", jobq__store_found_list, -1);

static const struct jobq__column jobq__store_names_list[] = {JOBQ__NUMBER("count", 0, INT64_MAX)};
static const struct jobq__columns jobq__store_names_columns =
    JOBQ__COLUMNS("jobq_name", jobq__store_names_list, -1);

static const struct jobq__column jobq__store_next_name_list[] = {
    JOBQ__NEXT_NAME_IN(false)};
static const struct jobq__columns jobq__store_next_name_columns =
    JOBQ__COLUMNS("jobq_claims", jobq__store_next_name_list, -1);

static const struct jobq__column jobq__store_name_list[] = {
    JOBQ__NUMBER("id", 1, JOBQ__NAME_ID_MAX),
    JOBQ__NUMBER("what", JOBQ__NAME_ANY, JOBQ__NAME_LANE),
    JOBQ__TEXT_UP_TO("name", JOBQ_NAME_MAX, false)};
static const struct jobq__columns jobq__store_name_columns =
    JOBQ__COLUMNS("jobq_name", jobq__store_name_list, 0);

static const struct jobq__column jobq__store_payload_list[] = {
    {"data", 1, JOBQ_PAYLOAD_MAX, JOBQ__HOLDS_BLOB, false}};
static const struct jobq__columns jobq__store_payload_columns =
    JOBQ__COLUMNS("jobq_payload", jobq__store_payload_list, -1);

/* The job that holds a key has not ended. */
static const struct jobq__column jobq__store_key_list[] = {
    JOBQ__NUMBER("job", 1, JOBQ__ID_MAX),
    {"state of that job", JOBQ__WAITING, JOBQ__CLAIMED, JOBQ__HOLDS_NUMBER, true},
    {"side of that job", JOBQ__SIDE_KEY, JOBQ__SIDE_ALL, JOBQ__HOLDS_NUMBER, true},
    {"key of that job", 0, 1, JOBQ__HOLDS_NUMBER, true}};
static const struct jobq__columns jobq__store_key_columns =
    JOBQ__COLUMNS("jobq_key", jobq__store_key_list, 0);

static const struct jobq__column jobq__store_holder_list[] = {JOBQ__NUMBER("job", 1, JOBQ__ID_MAX)};
static const struct jobq__columns jobq__store_holder_columns =
    JOBQ__COLUMNS("jobq_key", jobq__store_holder_list, 0);

static const struct jobq__column jobq__store_own_key_list[] = {
    JOBQ__NUMBER("job", 1, JOBQ__ID_MAX),
    JOBQ__TEXT_UP_TO("key", JOBQ_KEY_MAX, true)};
static const struct jobq__columns jobq__store_own_key_columns =
    JOBQ__COLUMNS("jobq_extra", jobq__store_own_key_list, 0);

static const struct jobq__column jobq__store_id_list[] = {JOBQ__ID};
static const struct jobq__columns jobq__store_id_columns =
    JOBQ__COLUMNS("jobq_row", jobq__store_id_list, 0);

static const struct jobq__column jobq__store_due_list[] = {
    {"run_at", 0, JOBQ_NEVER, JOBQ__HOLDS_NUMBER, true}};
static const struct jobq__columns jobq__store_due_columns =
    JOBQ__COLUMNS("jobq_row", jobq__store_due_list, -1);

static const struct jobq__column jobq__store_lane_list[] = {
    {"lane", -JOBQ__NAME_ID_MAX, JOBQ__NAME_ID_MAX, JOBQ__HOLDS_NUMBER, true}};
static const struct jobq__columns jobq__store_lane_columns =
    JOBQ__COLUMNS("jobq_row", jobq__store_lane_list, -1);

enum { JOBQ__CLAIMS_IDS = 1, JOBQ__CLAIMS_OPEN = 3, JOBQ__CLAIMS_OFFSET = 5 };
#define JOBQ__OWN_COLUMNS \
    JOBQ__NUMBER("offset_ms", -JOBQ__WALL_MAX, JOBQ__WALL_MAX), \
    JOBQ__NUMBER("wall_at", 0, JOBQ__WALL_MAX)

static const struct jobq__column jobq__store_own_list[] = {JOBQ__OWN_COLUMNS};
static const struct jobq__columns jobq__store_own_columns =
    JOBQ__COLUMNS("jobq_claims", jobq__store_own_list, -1);

static const struct jobq__column jobq__store_claims_list[] = {
    JOBQ__NUMBER("one", 1, 1),
    {"ids", 0, JOBQ__CLAIMS_MAX * JOBQ__PACK_MAX, JOBQ__HOLDS_BLOB, true},
    JOBQ__NUMBER("last_id", 0, JOBQ__ID_MAX),
    {"open", 0, JOBQ__OPEN_MAX * JOBQ__PACK_MAX, JOBQ__HOLDS_BLOB, true},
    JOBQ__NUMBER("counted", 0, JOBQ__ID_MAX),
    JOBQ__OWN_COLUMNS,
    JOBQ__NEXT_NAME_IN(false)};
static const struct jobq__columns jobq__store_claims_columns =
    JOBQ__COLUMNS("jobq_claims", jobq__store_claims_list, -1);

static const struct jobq__column jobq__store_saved_list[] = {
    {"saved", 0, JOBQ_PAYLOAD_MAX, JOBQ__HOLDS_BLOB, true}};
static const struct jobq__columns jobq__store_saved_columns =
    JOBQ__COLUMNS("jobq_extra", jobq__store_saved_list, -1);

static const struct jobq__column jobq__store_beside_list[] = {
    {"job", 1, JOBQ__ID_MAX, JOBQ__HOLDS_NUMBER, true}};
static const struct jobq__columns jobq__store_extra_columns =
    JOBQ__COLUMNS("jobq_extra", jobq__store_beside_list, -1);
static const struct jobq__columns jobq__store_payloads_columns =
    JOBQ__COLUMNS("jobq_payload", jobq__store_beside_list, -1);

static const struct jobq__column jobq__store_prune_list[] = {
    JOBQ__ID, JOBQ__NUMBER("side", 0, JOBQ__SIDE_ALL),
    JOBQ__NUMBER("state", JOBQ__DONE, JOBQ__CANCELLED), JOBQ__NUMBER("prune_at", 0, JOBQ_NEVER),
    JOBQ__NUMBER("kind", JOBQ__LANE_SUSPECT + 1, JOBQ__NAME_ID_MAX),
    JOBQ__NUMBER("queue", JOBQ__LANE_SUSPECT + 1, JOBQ__NAME_ID_MAX)};
static const struct jobq__columns jobq__store_prune_columns =
    JOBQ__COLUMNS("jobq_row", jobq__store_prune_list, 0);

static const struct jobq__column jobq__store_prune_at_list[] = {
    {"prune_at", 0, JOBQ_NEVER, JOBQ__HOLDS_NUMBER, true}};
static const struct jobq__columns jobq__store_prune_at_columns =
    JOBQ__COLUMNS("jobq_row", jobq__store_prune_at_list, -1);

/* Steps and reports the rows changed. */
static int jobq__store_change(struct jobq__db *db, sqlite3_stmt *s, int *changed) {
    int rc = jobq__db_step(db, s);
    if (changed) *changed = rc == JOBQ_OK ? sqlite3_changes(db->handle) : 0;
    if (s && sqlite3_stmt_status(s, SQLITE_STMTSTATUS_REPREPARE, true)) db->planned = true;
    return rc;
}

/* The one row of a table that stands beside a job whose side says so. */
static int jobq__store_change_beside(struct jobq__db *db, sqlite3_stmt *s, const char *table,
                                     int64_t id) {
    int changed, rc = jobq__store_change(db, s, &changed);
    if (rc == JOBQ_OK && changed != 1)
        rc = jobq__db_fault(db, table, id, "the row", "is missing");
    return rc;
}

/* For a row that was read in this transaction: if it cannot be found again, then an index points
 * to where it is not, and whoever goes on would meet it again and again. */
static int jobq__store_change_row(struct jobq__db *db, sqlite3_stmt *s, int64_t id) {
    int changed, rc = jobq__store_change(db, s, &changed);
    if (rc == JOBQ_OK && changed != 1)
        rc = jobq__db_fault(db, "jobq_row", id, "the row", "is not where an index says");
    return rc;
}

/* ---- Transactions ---- */

JOBQ__INTERNAL int jobq__store_begin(struct jobq__db *db) {
    int rc = JOBQ_OK;
    /* What ends the transaction if memory runs out in it. */
    if (!jobq__db_get(db, JOBQ__SQL_ROLLBACK)) return jobq__db_code(db->sqlite_code);
    /* There may have been no memory to end the last one. */
    if (jobq__db_in_transaction(db)) rc = jobq__db_do(db, JOBQ__SQL_ROLLBACK);
    if (rc == JOBQ_OK) rc = jobq__db_do(db, JOBQ__SQL_BEGIN);
    if (rc != JOBQ_OK) return rc;
    db->lost = false;
    rc = jobq__schema_unlearn(db);
    if (rc != JOBQ_OK) jobq__store_rollback(db);
    return rc;
}

JOBQ__INTERNAL int jobq__store_commit(struct jobq__db *db) {
    int rc;
    if (!jobq__db_in_transaction(db)) {
        db->sqlite_code = SQLITE_ABORT_ROLLBACK;
        return jobq__db_code(db->sqlite_code);
    }
    db->may_commit = true;
    rc = jobq__db_do(db, JOBQ__SQL_COMMIT);
    db->may_commit = false;
    return rc;
}

/* COMMIT asks the rows (deferred foreign keys) and the virtual tables; jobq's own have neither. */
static bool jobq__store_refused(int sqlite_code) {
    int primary = sqlite_code & 0xff;
    return primary == SQLITE_CONSTRAINT || primary == SQLITE_ERROR || primary == SQLITE_MISMATCH
        || primary == SQLITE_TOOBIG || sqlite_code == SQLITE_CORRUPT_VTAB;
}

JOBQ__INTERNAL int jobq__store_commit_job(struct jobq__db *db, jobq_error *why) {
    int rc = jobq__store_commit(db);
    if (rc == JOBQ_OK || !jobq__store_refused(db->sqlite_code)) return rc;
    return jobq__err_set(why, JOBQ__REFUSED, "%s", sqlite3_errmsg(db->handle));
}

JOBQ__INTERNAL int jobq__store_sync(struct jobq__db *db) {
    int changed, rc = jobq__store_change(db, jobq__db_get(db, JOBQ__SQL_SYNC), &changed);
    if (rc == JOBQ_OK && changed != 1)
        rc = jobq__db_fault(db, "jobq_meta", 0, "the row syncs", "is missing");
    return rc;
}

JOBQ__INTERNAL void jobq__store_rollback(struct jobq__db *db) {
    int sqlite_code = db->sqlite_code;
    if (jobq__db_in_transaction(db)) jobq__db_do(db, JOBQ__SQL_ROLLBACK);
    db->sqlite_code = sqlite_code;
}

/* ---- Names ---- */

/* The first column of a one-row statement, or fallback; after a failure *value is as before. */
static int jobq__store_pick(struct jobq__db *db, sqlite3_stmt *s,
                            const struct jobq__columns *what, int64_t fallback, int64_t *value) {
    int64_t values[JOBQ__AT_END];
    bool row;
    int rc;
    jobq__assert(what->count <= JOBQ__AT_END && what->id < what->count);
    rc = jobq__column_one(db, s, what, values, &row);
    if (rc == JOBQ_OK) *value = row && values[0] != JOBQ__NULL ? values[0] : fallback;
    return rc;
}

JOBQ__INTERNAL int jobq__store_name_find(struct jobq__db *db, int *what, const char *name,
                                         int64_t *id) {
    sqlite3_stmt *s = jobq__store_bind_text(db, jobq__db_get(db, JOBQ__SQL_NAME_ID), 2, name, -1);
    int64_t values[JOBQ__FOUND_END], found;
    bool row, same;
    int rc;
    *id = 0;
    if (s) sqlite3_bind_int(s, 1, *what);
    rc = jobq__column_next(db, s, &jobq__store_found_columns, values, &row);
    if (rc != JOBQ_OK || !row) return rc;
    same = strcmp((const char *)sqlite3_column_text(s, JOBQ__FOUND_TEXT), name) == 0;
    jobq__db_reset(s);
    if (!same) {
        db->sqlite_code = SQLITE_OK; /* it is not the disk */
        return JOBQ_BAD_NAME;
    }
    found = values[JOBQ__FOUND_EXACT];
    if (found == JOBQ__NULL) {
        found = values[JOBQ__FOUND_ANY];
        if (found == JOBQ__NULL) return JOBQ_OK;
        *what = JOBQ__NAME_ANY;
    }
    /* Or a new name would get it, too. */
    if (found >= values[JOBQ__FOUND_NEXT])
        return jobq__db_fault(db, "jobq_name", found, "id", "was never given");
    *id = found;
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__store_name_text(struct jobq__db *db, int64_t id, int *what, char *text,
                                         bool *lost) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_NAME_TEXT);
    int64_t values[JOBQ__COUNT(jobq__store_name_list)];
    bool row;
    int rc;
    if (s) sqlite3_bind_int64(s, 1, id);
    rc = jobq__column_next(db, s, &jobq__store_name_columns, values, &row);
    *lost = !row;
    *what = JOBQ__NAME_ANY;
    if (rc != JOBQ_OK) return rc;
    if (!row) {
        sqlite3_snprintf(JOBQ_NAME_MAX + 1, text, "lost:%lld", (long long)id);
        return JOBQ_OK;
    }
    *what = (int)values[1];
    jobq__err_copy_text(text, JOBQ_NAME_MAX + 1, (const char *)sqlite3_column_text(s, 2));
    jobq__db_reset(s);
    return JOBQ_OK;
}

/* True if something else stands where a row was to be put. Not if the hook has refused: then SQLite
 * had ended the transaction by itself, and this would have been one of its own. */
static bool jobq__store_in_the_way(const struct jobq__db *db, int rc) {
    return rc != JOBQ_OK && (db->sqlite_code & 0xff) == SQLITE_CONSTRAINT
        && db->sqlite_code != SQLITE_CONSTRAINT_COMMITHOOK;
}

JOBQ__INTERNAL int jobq__store_name_put(struct jobq__db *db, int64_t id, int what,
                                        const char *name) {
    sqlite3_stmt *s = jobq__store_bind_text(db, jobq__db_get(db, JOBQ__SQL_NAME_ADD), 3, name, -1);
    int rc;
    if (s) {
        sqlite3_bind_int64(s, 1, id);
        sqlite3_bind_int(s, 2, what);
    }
    rc = jobq__db_step(db, s);
    if (jobq__store_in_the_way(db, rc))
        rc = jobq__db_fault(db, "jobq_name", id, "id or name", "is another row's, too");
    if (rc != JOBQ_OK) return rc;
    s = jobq__db_get(db, JOBQ__SQL_NAME_GIVEN);
    if (s) sqlite3_bind_int64(s, 1, id);
    return jobq__store_change_beside(db, s, "jobq_claims", 1);
}

JOBQ__INTERNAL int64_t jobq__store_lost_id(const char *name) {
    static const char lost[] = "lost:";
    const char *digit = name + sizeof lost - 1;
    int64_t id = 0;
    if (strncmp(name, lost, sizeof lost - 1) != 0 || *digit == '0') return 0;
    for (; *digit >= '0' && *digit <= '9' && id <= JOBQ__NAME_ID_MAX; digit++)
        id = 10 * id + *digit - '0';
    return !*digit && id > JOBQ__LANE_SUSPECT && id <= JOBQ__NAME_ID_MAX ? id : 0;
}

/* *id: which one a new name gets that is called as an id which was given, and has no name; or 0.
 * For all that jobs know it is theirs. */
static int jobq__store_name_of_lost(struct jobq__db *db, const char *name, int64_t next,
                                    int64_t *id) {
    char text[JOBQ_NAME_MAX + 1];
    int64_t lost = jobq__store_lost_id(name);
    bool unnamed = false;
    int what, rc = JOBQ_OK;
    if (lost && lost < next) rc = jobq__store_name_text(db, lost, &what, text, &unnamed);
    *id = unnamed ? lost : 0;
    return rc;
}

JOBQ__INTERNAL int jobq__store_name_add(struct jobq__db *db, int *what, const char *name,
                                        int64_t *id) {
    int64_t count = 0, next = 0;
    int rc = jobq__store_pick(db, jobq__db_get(db, JOBQ__SQL_NAME_COUNT),
                              &jobq__store_names_columns, 0, &count);
    if (rc == JOBQ_OK && count > JOBQ_NAMES_MAX) {
        db->sqlite_code = SQLITE_OK; /* it is not the disk */
        return JOBQ_FULL;
    }
    if (rc == JOBQ_OK)
        rc = jobq__store_pick(db, jobq__db_get(db, JOBQ__SQL_NAME_NEXT),
                              &jobq__store_next_name_columns, 0, &next);
    if (rc == JOBQ_OK && !next)
        rc = jobq__db_fault(db, "jobq_claims", 1, "the row", "is missing");
    if (rc == JOBQ_OK) rc = jobq__store_name_of_lost(db, name, next, id);
    if (rc == JOBQ_OK && *id) *what = JOBQ__NAME_ANY;
    else *id = next;
    if (rc == JOBQ_OK && *id > JOBQ__NAME_ID_MAX)
        rc = jobq__db_fault(db, "jobq_claims", 1, "next_name", "leaves no room for a new name");
    return rc == JOBQ_OK ? jobq__store_name_put(db, *id, *what, name) : rc;
}

/* ---- Enqueue ---- */

JOBQ__INTERNAL int jobq__store_max_id(struct jobq__db *db, int64_t *id) {
    return jobq__store_pick(db, jobq__db_get(db, JOBQ__SQL_MAX_ID), &jobq__store_max_columns, 0,
                            id);
}

JOBQ__INTERNAL bool jobq__store_apart(struct jobq__db *db, size_t size) {
    enum { LEAST = 512 / 4 }; /* no page is smaller */
    if (size <= LEAST) return false;
    if (!db->apart) db->apart = jobq__store_page_size(db) / 4;
    return (int64_t)size > JOBQ__MAX(db->apart, LEAST);
}

static int jobq__store_insert_payload(struct jobq__db *db, const struct jobq__row *row) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_PAYLOAD_ADD);
    if (s) {
        sqlite3_bind_int64(s, 1, row->id);
        sqlite3_bind_blob64(s, 2, row->payload, row->size, SQLITE_STATIC);
    }
    return jobq__db_step(db, s);
}

JOBQ__INTERNAL int jobq__store_insert(struct jobq__db *db, const struct jobq__row *rows,
                                      size_t count, bool *taken) {
    size_t i, done = 0;
    int rc = JOBQ_OK;
    *taken = false;
    while (done < count && rc == JOBQ_OK) {
        size_t part = count - done >= JOBQ__INSERT_ROWS ? JOBQ__INSERT_ROWS : 1;
        sqlite3_stmt *s = jobq__db_get(db, part > 1 ? JOBQ__SQL_INSERT_MANY : JOBQ__SQL_INSERT);
        for (i = 0; s && i < part && rc == JOBQ_OK; i++) {
            const struct jobq__row *row = &rows[done + i];
            jobq__store_bind_row(s, (int)i * JOBQ__ROW_PARAMETERS, row);
            /* Before its row, which never stands without. */
            if (row->side & JOBQ__SIDE_PAYLOAD) rc = jobq__store_insert_payload(db, row);
        }
        if (rc == JOBQ_OK) rc = jobq__db_step(db, s);
        done += part;
    }
    *taken = jobq__store_in_the_way(db, rc);
    return rc;
}

static sqlite3_stmt *jobq__store_bind_key(struct jobq__db *db, enum jobq__sql which,
                                          int64_t kind, const char *key) {
    sqlite3_stmt *s = jobq__db_get(db, which);
    if (!s) return NULL;
    sqlite3_bind_int64(s, 1, kind);
    return jobq__store_bind_text(db, s, 2, key, -1);
}

JOBQ__INTERNAL int jobq__store_key_find(struct jobq__db *db, int64_t kind, const char *key,
                                        int64_t *id, bool *stored) {
    int64_t values[JOBQ__COUNT(jobq__store_key_list)];
    bool row;
    int rc = jobq__column_one(db, jobq__store_bind_key(db, JOBQ__SQL_KEY_FIND, kind, key),
                              &jobq__store_key_columns, values, &row);
    *id = row ? values[0] : 0;
    *stored = row && values[1] != JOBQ__NULL;
    if (!*stored || values[3] == 1) return rc;
    return jobq__db_fault(db, "jobq_key", *id, "key", "is not that of this job");
}

JOBQ__INTERNAL int jobq__store_key_add(struct jobq__db *db, int64_t kind, const char *key,
                                       int64_t id, bool *taken) {
    sqlite3_stmt *s = jobq__store_bind_key(db, JOBQ__SQL_KEY_ADD, kind, key);
    int rc;
    if (s) sqlite3_bind_int64(s, 3, id);
    rc = jobq__db_step(db, s);
    if (rc == JOBQ_OK)
        rc = jobq__db_step(db, jobq__store_bind_key(db, JOBQ__SQL_EXTRA_KEY, id, key));
    *taken = jobq__store_in_the_way(db, rc);
    return rc;
}

static sqlite3_stmt *jobq__store_bind_ids(struct jobq__db *db, enum jobq__sql which, int64_t a,
                                          int64_t b) {
    sqlite3_stmt *s = jobq__db_get(db, which);
    if (!s) return NULL;
    sqlite3_bind_int64(s, 1, a);
    sqlite3_bind_int64(s, 2, b);
    return s;
}

JOBQ__INTERNAL int jobq__store_key_text(struct jobq__db *db, int64_t id, char *text) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_KEY_TEXT);
    int64_t values[JOBQ__COUNT(jobq__store_own_key_list)];
    bool row;
    int rc;
    text[0] = 0;
    if (s) sqlite3_bind_int64(s, 1, id);
    rc = jobq__column_next(db, s, &jobq__store_own_key_columns, values, &row);
    if (rc != JOBQ_OK || !row) return rc;
    if (values[1] != JOBQ__NULL)
        jobq__err_copy_text(text, JOBQ_KEY_MAX + 1, (const char *)sqlite3_column_text(s, 1));
    jobq__db_reset(s);
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__store_key_holder(struct jobq__db *db, int64_t kind, int64_t id,
                                          int64_t *holder) {
    return jobq__store_pick(db, jobq__store_bind_ids(db, JOBQ__SQL_KEY_HOLDER, kind, id),
                            &jobq__store_holder_columns, 0, holder);
}

JOBQ__INTERNAL int jobq__store_key_again(struct jobq__db *db, int64_t kind, int64_t id,
                                         bool *taken) {
    int64_t holder;
    int rc = jobq__store_key_holder(db, kind, id, &holder);
    *taken = rc == JOBQ_OK && holder;
    if (rc != JOBQ_OK || *taken) return rc;
    return jobq__store_change_beside(db, jobq__store_bind_ids(db, JOBQ__SQL_KEY_AGAIN, kind, id),
                                     "jobq_key", id);
}

/* ---- Claim ---- */

static sqlite3_stmt *jobq__store_walk(struct jobq__db *db, sqlite3_stmt *s, int64_t lane) {
    db->walk = s;
    db->walk_lane = lane;
    return s;
}

JOBQ__INTERNAL sqlite3_stmt *jobq__store_walk_lane(struct jobq__db *db, int64_t lane, int limit) {
    return jobq__store_walk(db, jobq__store_bind_ids(db, JOBQ__SQL_READY, lane, limit), lane);
}

/* jobq__dues */
typedef char jobq__store_due_lanes[JOBQ__LANE_SCHEDULED == -JOBQ__DUE_BY_WALL
                                   && JOBQ__LANE_OWN_TIME == -JOBQ__DUE_BY_OWN ? 1 : -1];

JOBQ__INTERNAL sqlite3_stmt *jobq__store_due(struct jobq__db *db, int by, int64_t now_ms,
                                             int limit) {
    sqlite3_stmt *s = jobq__store_bind_ids(db, JOBQ__SQL_DUE, now_ms, limit);
    if (s) sqlite3_bind_int(s, 3, -by);
    return jobq__store_walk(db, s, -by);
}

JOBQ__INTERNAL sqlite3_stmt *jobq__store_by_id(struct jobq__db *db, int64_t id) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_ROW);
    if (s) sqlite3_bind_int64(s, 1, id);
    return jobq__store_walk(db, s, JOBQ__NULL);
}

/* What the columns of a row say together; NULL, or which of them cannot be true. A row that does
 * not wait, in the walk of a lane, comes from an index that does not agree with the table: whoever
 * moves or claims such a row would find it there for ever. */
static const char *jobq__store_row_wrong(const struct jobq__row *row, int64_t walk_lane) {
    bool waits = row->state == JOBQ__WAITING;
    if (waits && row->lane == JOBQ__LANE_NONE) return "lane";
    if (waits && row->lane < JOBQ__LANE_OWN_TIME && row->lane != -row->kind) return "lane";
    if (walk_lane != JOBQ__NULL && row->lane != walk_lane) return "lane";
    if (waits ? row->runs == INT32_MAX : row->state == JOBQ__CLAIMED && row->runs < 1)
        return "runs";
    return NULL;
}

/* What is not read of a row has its usual value: it is not trusted, so it need not be checked. */
static int jobq__store_read_row(struct jobq__db *db, sqlite3_stmt *s, int64_t *at) {
    const struct jobq__columns *what = &jobq__store_row_columns;
    int rc = jobq__column_part(db, s, what, 0, JOBQ__AT_LANE, at);
    at[JOBQ__AT_LANE] = db->walk_lane;
    if (rc == JOBQ_OK && db->walk_lane == JOBQ__NULL)
        rc = jobq__column_part(db, s, what, JOBQ__AT_LANE, JOBQ__AT_QUEUE, at);
    if (rc != JOBQ_OK) return rc;
    if (at[JOBQ__AT_LANE] > JOBQ__LANE_SUSPECT && at[JOBQ__AT_STATE] == JOBQ__WAITING)
        at[JOBQ__AT_QUEUE] = at[JOBQ__AT_LANE];
    else rc = jobq__column_part(db, s, what, JOBQ__AT_QUEUE, JOBQ__AT_ATTEMPT, at);
    at[JOBQ__AT_ATTEMPT] = 1;
    at[JOBQ__AT_CRASHES] = at[JOBQ__AT_DELAY] = 0;
    if (rc != JOBQ_OK || !at[JOBQ__AT_RUNS]) return rc;
    return jobq__column_part(db, s, what, JOBQ__AT_ATTEMPT, JOBQ__AT_END, at);
}

static void jobq__store_fill_row(struct jobq__row *row, const int64_t *at) {
    row->id = at[JOBQ__AT_ID];
    row->state = (int)at[JOBQ__AT_STATE];
    row->lane = row->state == JOBQ__WAITING && at[JOBQ__AT_LANE] != JOBQ__NULL
              ? (int32_t)at[JOBQ__AT_LANE] : JOBQ__LANE_NONE;
    row->run_at_ms = at[JOBQ__AT_RUN_AT];
    row->kind = (int32_t)at[JOBQ__AT_KIND];
    row->queue = (int32_t)at[JOBQ__AT_QUEUE];
    row->priority = (int)at[JOBQ__AT_PRIORITY];
    row->attempt = (int)at[JOBQ__AT_ATTEMPT];
    row->runs = (int)at[JOBQ__AT_RUNS];
    row->crashes = (int)at[JOBQ__AT_CRASHES];
    row->delay_ms = at[JOBQ__AT_DELAY];
    row->created_at_ms = at[JOBQ__AT_CREATED] == JOBQ__NULL ? row->run_at_ms
                                                            : at[JOBQ__AT_CREATED];
    row->side = (int)at[JOBQ__AT_SIDE];
    row->size = at[JOBQ__AT_PAYLOAD] == JOBQ__NULL ? 0
              : (size_t)(at[JOBQ__AT_PAYLOAD] < 0 ? -at[JOBQ__AT_PAYLOAD] : at[JOBQ__AT_PAYLOAD]);
    row->payload = NULL;
}

/* The bytes, or their number (below 0). *wrong: it is not as the side says. */
static int jobq__store_fill_payload(struct jobq__db *db, sqlite3_stmt *s, const int64_t *at,
                                    struct jobq__row *row, const char **wrong) {
    bool apart = (row->side & JOBQ__SIDE_PAYLOAD) != 0;
    if (!row->size && !apart) return JOBQ_OK;
    if (!row->size || apart != (at[JOBQ__AT_PAYLOAD] < 0)) {
        *wrong = "payload";
        return JOBQ_OK;
    }
    if (apart) return JOBQ_OK;
    row->payload = sqlite3_column_blob(s, JOBQ__AT_PAYLOAD);
    if (row->payload) return JOBQ_OK;
    db->sqlite_code = SQLITE_NOMEM;
    return JOBQ_NO_MEMORY;
}

JOBQ__INTERNAL int jobq__store_next(struct jobq__db *db, sqlite3_stmt *s, struct jobq__row *row,
                                    bool *more) {
    int64_t at[JOBQ__AT_END];
    const char *wrong = NULL;
    int rc;
    jobq__assert(s == db->walk);
    rc = jobq__db_next(db, s, more);
    if (!*more) return rc;
    rc = jobq__store_read_row(db, s, at);
    if (rc == JOBQ_OK) {
        jobq__store_fill_row(row, at);
        wrong = jobq__store_row_wrong(row, db->walk_lane);
        if (!wrong) rc = jobq__store_fill_payload(db, s, at, row, &wrong);
        if (!wrong && rc == JOBQ_OK) return rc;
        sqlite3_reset(s);
        if (wrong)
            rc = jobq__db_fault(db, "jobq_row", row->id, wrong, "does not agree with the rest");
    }
    *more = false;
    return rc;
}

JOBQ__INTERNAL void jobq__store_end(sqlite3_stmt *walk) {
    jobq__db_reset(walk);
}

JOBQ__INTERNAL int jobq__store_row(struct jobq__db *db, int64_t id, struct jobq__row *row) {
    sqlite3_stmt *s = jobq__store_by_id(db, id);
    bool more;
    int rc;
    rc = jobq__store_next(db, s, row, &more);
    if (rc != JOBQ_OK) return rc;
    if (!more) return JOBQ_NOT_FOUND;
    row->payload = NULL;
    jobq__db_reset(s);
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__store_payload_wrong(struct jobq__db *db, int64_t id, bool there) {
    return jobq__db_fault(db, "jobq_payload", id, there ? "data" : "the row",
                          there ? "is not as long as its job says" : "is missing");
}

JOBQ__INTERNAL int jobq__store_payload(struct jobq__db *db, const struct jobq__row *row,
                                       void *buffer) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_PAYLOAD_GET);
    const void *data;
    int64_t size = 0;
    bool found;
    int rc;
    jobq__assert(row->side & JOBQ__SIDE_PAYLOAD);
    if (s) sqlite3_bind_int64(s, 1, row->id);
    rc = jobq__column_next(db, s, &jobq__store_payload_columns, &size, &found);
    if (rc != JOBQ_OK) return rc;
    if (!found || size != (int64_t)row->size) {
        jobq__db_reset(s);
        return jobq__store_payload_wrong(db, row->id, found);
    }
    data = sqlite3_column_blob(s, 0);
    if (data) memcpy(buffer, data, row->size);
    else db->sqlite_code = SQLITE_NOMEM;
    jobq__db_reset(s);
    return data ? JOBQ_OK : JOBQ_NO_MEMORY;
}

JOBQ__INTERNAL int jobq__store_claim(struct jobq__db *db, int64_t first, int64_t last,
                                     int *changed) {
    sqlite3_stmt *s = jobq__db_get(db, first == last ? JOBQ__SQL_CLAIM_ONE : JOBQ__SQL_CLAIM);
    if (s) sqlite3_bind_int64(s, 1, first);
    if (s && first != last) sqlite3_bind_int64(s, 2, last);
    return jobq__store_change(db, s, changed);
}

static sqlite3_stmt *jobq__store_bind_fence(struct jobq__db *db, enum jobq__sql which, int64_t id,
                                            int state, int runs) {
    sqlite3_stmt *s = jobq__store_bind_ids(db, which, id, state);
    if (s) sqlite3_bind_int(s, 3, runs);
    return s;
}

JOBQ__INTERNAL int jobq__store_place(struct jobq__db *db, const struct jobq__row *row, int from,
                                     int runs, int *changed) {
    bool ready = jobq__stored_stand(row->lane) == JOBQ__STANDS_IN_LINE;
    sqlite3_stmt *s = jobq__store_bind_fence(db, JOBQ__SQL_PLACE, row->id, from, runs);
    if (s) {
        sqlite3_bind_int64(s, 4, row->lane);
        sqlite3_bind_int(s, 5, ready ? row->priority : 0);
        sqlite3_bind_int64(s, 6, row->run_at_ms);
        sqlite3_bind_int(s, 7, row->attempt);
        sqlite3_bind_int(s, 8, row->runs);
        sqlite3_bind_int(s, 9, row->crashes);
        sqlite3_bind_int64(s, 10, row->delay_ms);
        sqlite3_bind_int(s, 11, row->side);
    }
    return jobq__store_change(db, s, changed);
}

JOBQ__INTERNAL int jobq__store_next_due(struct jobq__db *db, int by, int64_t *at_ms) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_NEXT_DUE);
    if (s) sqlite3_bind_int(s, 1, -by);
    return jobq__store_pick(db, s, &jobq__store_due_columns, JOBQ_NEVER, at_ms);
}

JOBQ__INTERNAL int jobq__store_next_dues(struct jobq__db *db, struct jobq__dues *due) {
    int by, rc = JOBQ_OK;
    for (by = 0; by < JOBQ__DUE_LANES && rc == JOBQ_OK; by++)
        rc = jobq__store_next_due(db, by, &due->at_ms[by]);
    return rc;
}

JOBQ__INTERNAL int jobq__store_on_wall(struct jobq__db *db, int64_t id, int64_t at_ms) {
    return jobq__store_change_row(db, jobq__store_bind_ids(db, JOBQ__SQL_ON_WALL, id, at_ms), id);
}

JOBQ__INTERNAL int jobq__store_all_due(struct jobq__db *db) {
    int64_t id;
    int rc = jobq__store_pick(db, jobq__db_get(db, JOBQ__SQL_NEVER_DUE), &jobq__store_id_columns, 0,
                              &id);
    if (rc != JOBQ_OK || !id) return rc;
    return jobq__db_fault(db, "jobq_row", id, "ord", "does not agree with the rest");
}

JOBQ__INTERNAL int jobq__store_lane_after(struct jobq__db *db, int64_t lane, int64_t *next) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_LANE_AFTER);
    int rc;
    if (s) sqlite3_bind_int64(s, 1, lane);
    rc = jobq__store_pick(db, s, &jobq__store_lane_columns, 0, next);
    if (rc == JOBQ_OK && *next && *next <= lane)
        rc = jobq__db_fault(db, "jobq_row", 0, "the index jobq_live", "is out of order");
    return rc;
}

JOBQ__INTERNAL int jobq__store_claims_set(struct jobq__db *db, const void *ids, size_t size,
                                          int64_t last_id, int64_t counted, int64_t offset_ms,
                                          int64_t wall_ms) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_CLAIMS_SET);
    if (s) {
        if (size) sqlite3_bind_blob64(s, 1, ids, size, SQLITE_STATIC);
        else sqlite3_bind_null(s, 1);
        sqlite3_bind_int64(s, 2, last_id);
        sqlite3_bind_int64(s, 3, counted);
        sqlite3_bind_int64(s, 4, JOBQ__MAX(JOBQ__MIN(offset_ms, JOBQ__WALL_MAX), -JOBQ__WALL_MAX));
        sqlite3_bind_int64(s, 5, JOBQ__MIN(wall_ms, JOBQ__WALL_MAX));
    }
    return jobq__db_step(db, s);
}

/* at: offset_ms and wall_at, whose sum was own time: that is never negative, as no wall is. */
static int jobq__store_own_sound(struct jobq__db *db, const int64_t *at) {
    if (at[0] + at[1] >= 0) return JOBQ_OK;
    return jobq__db_fault(db, "jobq_claims", 1, "offset_ms", "is before all time");
}

JOBQ__INTERNAL int jobq__store_own_time(struct jobq__db *db, int64_t *offset_ms, int64_t *wall_ms) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_OWN);
    int64_t at[JOBQ__COUNT(jobq__store_own_list)] = {0, 0};
    bool row;
    int rc = jobq__column_next(db, s, &jobq__store_own_columns, at, &row);
    jobq__db_reset(s);
    if (rc == JOBQ_OK && row) rc = jobq__store_own_sound(db, at);
    *offset_ms = rc == JOBQ_OK && row ? at[0] : 0;
    *wall_ms = rc == JOBQ_OK && row ? at[1] : 0;
    return rc;
}

/* A copy of a blob of the row that s stands on; bytes as jobq__column_read tells them. */
static int jobq__store_copy(struct jobq__db *db, sqlite3_stmt *s, int column, int64_t bytes,
                            void **data, size_t *size) {
    const void *blob = bytes > 0 ? sqlite3_column_blob(s, column) : "";
    if (bytes == JOBQ__NULL) return JOBQ_OK;
    if (blob) *data = jobq__mem_copy(blob, (size_t)bytes);
    if (*data) *size = (size_t)bytes;
    else db->sqlite_code = SQLITE_NOMEM;
    return *data ? JOBQ_OK : JOBQ_NO_MEMORY;
}

/* One of the lists of the claims row. */
static int jobq__store_claims_list_of(struct jobq__db *db, int column, void **ids, size_t *size) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_CLAIMS_GET);
    int64_t values[JOBQ__COUNT(jobq__store_claims_list)];
    bool row, second = false;
    int rc = jobq__column_next(db, s, &jobq__store_claims_columns, values, &row);
    *ids = NULL;
    *size = 0;
    if (rc == JOBQ_OK && row) rc = jobq__store_own_sound(db, &values[JOBQ__CLAIMS_OFFSET]);
    if (rc == JOBQ_OK && row) rc = jobq__store_copy(db, s, column, values[column], ids, size);
    if (rc == JOBQ_OK && row) rc = jobq__db_next(db, s, &second);
    jobq__db_reset(s);
    if (rc == JOBQ_OK && (!row || second))
        rc = jobq__db_fault(db, "jobq_claims", 1, "the row", row ? "stands twice" : "is missing");
    if (rc == JOBQ_OK) return rc;
    jobq__mem_free(*ids);
    *ids = NULL;
    *size = 0;
    return rc;
}

JOBQ__INTERNAL int jobq__store_claims_get(struct jobq__db *db, void **ids, size_t *size) {
    return jobq__store_claims_list_of(db, JOBQ__CLAIMS_IDS, ids, size);
}

JOBQ__INTERNAL int jobq__store_claims_next(struct jobq__db *db, const void *ids, size_t size,
                                           size_t *at, int64_t *id) {
    size_t used = jobq__store_unpack((const unsigned char *)ids + *at, size - *at, id);
    *at += used;
    if (used && *id >= 1 && *id <= JOBQ__ID_MAX) return JOBQ_OK;
    return jobq__db_fault(db, "jobq_claims", 1, "ids", "is no list of ids");
}

JOBQ__INTERNAL int jobq__store_open_set(struct jobq__db *db, const void *lanes, size_t size) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_OPEN_SET);
    if (s && size) sqlite3_bind_blob64(s, 1, lanes, size, SQLITE_STATIC);
    else if (s) sqlite3_bind_null(s, 1);
    return jobq__db_step(db, s);
}

JOBQ__INTERNAL int jobq__store_open_get(struct jobq__db *db, void **lanes, size_t *size) {
    return jobq__store_claims_list_of(db, JOBQ__CLAIMS_OPEN, lanes, size);
}

JOBQ__INTERNAL int jobq__store_open_next(struct jobq__db *db, const void *lanes, size_t size,
                                         size_t *at, int64_t *lane) {
    size_t used = jobq__store_unpack((const unsigned char *)lanes + *at, size - *at, lane);
    *at += used;
    if (used && *lane >= -JOBQ__NAME_ID_MAX && *lane < JOBQ__LANE_OWN_TIME) return JOBQ_OK;
    return jobq__db_fault(db, "jobq_claims", 1, "open", "is no list of gates");
}

JOBQ__INTERNAL int jobq__store_claims_have(struct jobq__db *db, int64_t id) {
    void *ids = NULL;
    size_t size, at = 0;
    int64_t other = 0;
    int rc = jobq__store_claims_get(db, &ids, &size);
    while (rc == JOBQ_OK && other != id && at < size)
        rc = jobq__store_claims_next(db, ids, size, &at, &other);
    jobq__mem_free(ids);
    return rc == JOBQ_OK && other != id ? jobq__store_nobodys(db, id) : rc;
}

JOBQ__INTERNAL int jobq__store_nobodys(struct jobq__db *db, int64_t id) {
    return jobq__db_fault(db, "jobq_row", id, "state", "is that of a claimed job, which jobq_claims"
                          " does not name");
}

/* ---- Settle ---- */

JOBQ__INTERNAL int jobq__store_drop_runs(struct jobq__db *db, int64_t first, int64_t last,
                                         int runs, int *changed) {
    sqlite3_stmt *s = jobq__store_bind_ids(db, JOBQ__SQL_DROP_RUNS, first, last);
    if (s) sqlite3_bind_int(s, 3, runs);
    return jobq__store_change(db, s, changed);
}

JOBQ__INTERNAL int jobq__store_drop(struct jobq__db *db, const struct jobq__row *was,
                                    int *changed) {
    return jobq__store_change(db, jobq__store_bind_fence(db, JOBQ__SQL_DROP_ONE, was->id,
                                                         was->state, was->runs), changed);
}

JOBQ__INTERNAL int jobq__store_finish_runs(struct jobq__db *db, int64_t first, int64_t last,
                                           int runs, int state, int64_t now_ms,
                                           int64_t prune_at_ms, int *changed) {
    sqlite3_stmt *s = jobq__store_bind_ids(db, JOBQ__SQL_FINISH_RUNS, first, last);
    if (s) {
        sqlite3_bind_int(s, 3, runs);
        sqlite3_bind_int(s, 4, state);
        sqlite3_bind_int64(s, 5, now_ms);
        sqlite3_bind_int64(s, 6, prune_at_ms);
    }
    return jobq__store_change(db, s, changed);
}

JOBQ__INTERNAL int jobq__store_finish(struct jobq__db *db, const struct jobq__row *was, int state,
                                      int64_t now_ms, int64_t prune_at_ms, int side, int *changed) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_END);
    if (s) {
        sqlite3_bind_int64(s, 1, was->id);
        sqlite3_bind_int(s, 2, state);
        sqlite3_bind_int64(s, 3, now_ms);
        sqlite3_bind_int64(s, 4, prune_at_ms);
        sqlite3_bind_int(s, 5, side);
        sqlite3_bind_int(s, 6, was->state);
        sqlite3_bind_int(s, 7, was->runs);
    }
    return jobq__store_change(db, s, changed);
}

JOBQ__INTERNAL int jobq__store_wish(struct jobq__db *db, int64_t id, int runs, int *changed) {
    return jobq__store_change(db, jobq__store_bind_ids(db, JOBQ__SQL_WISH, id, runs), changed);
}

JOBQ__INTERNAL int jobq__store_forgive(struct jobq__db *db, int64_t id, int runs, int side,
                                       int *changed) {
    sqlite3_stmt *s = jobq__store_bind_ids(db, JOBQ__SQL_FORGIVE, id, runs);
    if (s) sqlite3_bind_int(s, 3, side);
    return jobq__store_change(db, s, changed);
}

JOBQ__INTERNAL int jobq__store_key_free(struct jobq__db *db, int64_t kind, int64_t id, int side) {
    if (!(side & JOBQ__SIDE_KEY)) return JOBQ_OK;
    return jobq__store_change_beside(db, jobq__store_bind_ids(db, JOBQ__SQL_KEY_FREE, kind, id),
                                     "jobq_key", id);
}

static sqlite3_stmt *jobq__store_bind_id(struct jobq__db *db, enum jobq__sql which, int64_t id) {
    sqlite3_stmt *s = jobq__db_get(db, which);
    if (s) sqlite3_bind_int64(s, 1, id);
    return s;
}

JOBQ__INTERNAL int jobq__store_failed_add(struct jobq__db *db, int64_t prune_at_ms, int64_t id) {
    int changed, rc = jobq__store_change(db, jobq__store_bind_ids(db, JOBQ__SQL_FAILED_ADD,
                                                                  prune_at_ms, id), &changed);
    if (rc == JOBQ_OK && changed != 1)
        rc = jobq__db_fault(db, "jobq_failed", id, "the row", "is there already");
    return rc;
}

JOBQ__INTERNAL int jobq__store_failed_drop(struct jobq__db *db, int64_t id) {
    return jobq__store_change_beside(db, jobq__store_bind_id(db, JOBQ__SQL_FAILED_DROP, id),
                                     "jobq_failed", id);
}

JOBQ__INTERNAL int jobq__store_drop_side(struct jobq__db *db, int64_t kind, int64_t id, int side) {
    int rc = JOBQ_OK;
    if (side & JOBQ__SIDE_KEY)
        rc = jobq__store_change_beside(db, jobq__store_bind_ids(db, JOBQ__SQL_KEY_DROP, kind, id),
                                       "jobq_key", id);
    if (rc == JOBQ_OK && side & (JOBQ__SIDE_EXTRA | JOBQ__SIDE_KEY))
        rc = jobq__db_step(db, jobq__store_bind_id(db, JOBQ__SQL_EXTRA_DROP, id));
    if (rc == JOBQ_OK && side & JOBQ__SIDE_PAYLOAD)
        rc = jobq__store_change_beside(db, jobq__store_bind_id(db, JOBQ__SQL_PAYLOAD_DROP, id),
                                       "jobq_payload", id);
    return rc;
}

JOBQ__INTERNAL int jobq__store_extra(struct jobq__db *db, int64_t id, enum jobq__extra what,
                                     const void *data, size_t size) {
    static const enum jobq__sql which[] = {JOBQ__SQL_EXTRA_ERROR, JOBQ__SQL_EXTRA_RESULT,
                                           JOBQ__SQL_EXTRA_SAVED};
    sqlite3_stmt *s = jobq__db_get(db, which[what]);
    if (s) {
        sqlite3_bind_int64(s, 1, id);
        if (what == JOBQ__EXTRA_ERROR)
            s = jobq__store_bind_text(db, s, 2, data, (int)size);
        else if (data)
            sqlite3_bind_blob64(s, 2, data, size, SQLITE_STATIC);
        else
            sqlite3_bind_null(s, 2);
    }
    return jobq__db_step(db, s);
}

JOBQ__INTERNAL int jobq__store_unsave(struct jobq__db *db, int64_t id, int side) {
    if (!(side & JOBQ__SIDE_EXTRA)) return JOBQ_OK;
    return jobq__store_extra(db, id, JOBQ__EXTRA_SAVED, NULL, 0);
}

JOBQ__INTERNAL int jobq__store_saved(struct jobq__db *db, int64_t id, void **data, size_t *size) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_EXTRA_READ_SAVED);
    int64_t bytes;
    bool row;
    int rc;
    *data = NULL;
    *size = 0;
    if (s) sqlite3_bind_int64(s, 1, id);
    rc = jobq__column_next(db, s, &jobq__store_saved_columns, &bytes, &row);
    if (rc == JOBQ_OK && row) rc = jobq__store_copy(db, s, 0, bytes, data, size);
    jobq__db_reset(s);
    return rc;
}

JOBQ__INTERNAL int jobq__store_extra_max(struct jobq__db *db, int64_t *id) {
    return jobq__store_pick(db, jobq__db_get(db, JOBQ__SQL_EXTRA_MAX), &jobq__store_extra_columns,
                            0, id);
}

JOBQ__INTERNAL int jobq__store_payload_max(struct jobq__db *db, int64_t *id) {
    return jobq__store_pick(db, jobq__db_get(db, JOBQ__SQL_PAYLOAD_MAX),
                            &jobq__store_payloads_columns, 0, id);
}

/* ---- Housekeeping ---- */

static int jobq__store_drop_ended(struct jobq__db *db, int64_t id) {
    return jobq__store_change_row(db, jobq__store_bind_id(db, JOBQ__SQL_DROP, id), id);
}

static void jobq__store_prune_row(struct jobq__row *row, const int64_t *at) {
    memset(row, 0, sizeof *row);
    row->id = at[0];
    row->side = (int)at[1];
    row->state = (int)at[2];
    row->kind = (int32_t)at[4];
    row->queue = (int32_t)at[5];
}

static int jobq__store_prune_walk(struct jobq__db *db, sqlite3_stmt *s, int limit,
                                  struct jobq__prune *prune) {
    struct {
        int64_t id;
        int32_t kind;
        int side, state;
    } rows[JOBQ__PRUNE_ROWS];
    int64_t at[JOBQ__COUNT(jobq__store_prune_list)];
    struct jobq__row row;
    int n = 0, i, rc;
    bool more;
    limit = JOBQ__MIN(limit, JOBQ__PRUNE_ROWS);
    while ((rc = jobq__column_next(db, s, &jobq__store_prune_columns, at, &more)) == JOBQ_OK
           && more && n < limit) {
        jobq__store_prune_row(&row, at);
        prune->gone(prune->ctx, &row);
        rows[n].id = row.id;
        rows[n].kind = row.kind;
        rows[n].state = row.state;
        rows[n++].side = row.side;
    }
    jobq__db_reset(s);
    for (i = 0; i < n && rc == JOBQ_OK; i++) {
        if (rows[i].state == JOBQ__FAILED) rc = jobq__store_failed_drop(db, rows[i].id);
        if (rc == JOBQ_OK)
            rc = jobq__store_drop_side(db, rows[i].kind, rows[i].id, rows[i].side);
        if (rc == JOBQ_OK) rc = jobq__store_drop_ended(db, rows[i].id);
        prune->last_id = JOBQ__MAX(prune->last_id, rows[i].id);
    }
    prune->count += n;
    return rc;
}

JOBQ__INTERNAL int jobq__store_prune(struct jobq__db *db, int64_t now_ms, int limit,
                                     struct jobq__prune *prune) {
    return jobq__store_prune_walk(db, jobq__store_bind_ids(db, JOBQ__SQL_PRUNE_DUE, now_ms, limit),
                                  limit, prune);
}

JOBQ__INTERNAL int jobq__store_prune_oldest(struct jobq__db *db, int limit,
                                            struct jobq__prune *prune) {
    return jobq__store_prune_walk(db, jobq__store_bind_id(db, JOBQ__SQL_PRUNE_OLDEST, limit),
                                  limit, prune);
}

JOBQ__INTERNAL int jobq__store_prune_done(struct jobq__db *db, int limit,
                                          struct jobq__prune *prune) {
    return jobq__store_prune_walk(db, jobq__store_bind_ids(db, JOBQ__SQL_PRUNE_DONE, JOBQ_NEVER,
                                                           limit), limit, prune);
}

JOBQ__INTERNAL int jobq__store_prune_next(struct jobq__db *db, int64_t *at_ms) {
    return jobq__store_pick(db, jobq__db_get(db, JOBQ__SQL_PRUNE_NEXT),
                            &jobq__store_prune_at_columns, JOBQ_NEVER, at_ms);
}

JOBQ__INTERNAL int jobq__store_shrink(struct jobq__db *db, int64_t pages, int64_t until_us) {
    char text[64];
    sqlite3_snprintf(sizeof text, text, "PRAGMA incremental_vacuum(%lld)", (long long)pages);
    return jobq__db_exec_until(db, text, until_us);
}

/* ---- The claims row ---- */

JOBQ__INTERNAL size_t jobq__store_pack(unsigned char *to, int64_t previous, int64_t id) {
    uint64_t delta = (uint64_t)id - (uint64_t)previous;
    uint64_t zigzag = (delta << 1) ^ (delta >> 63 ? UINT64_MAX : 0);
    size_t size = 0;
    while (zigzag >= 0x80) {
        to[size++] = (unsigned char)(zigzag | 0x80);
        zigzag >>= 7;
    }
    to[size++] = (unsigned char)zigzag;
    return size;
}

JOBQ__INTERNAL size_t jobq__store_unpack(const unsigned char *from, size_t size, int64_t *id) {
    uint64_t zigzag = 0;
    size_t i;
    for (i = 0; i < size && i < JOBQ__PACK_MAX; i++) {
        zigzag |= (uint64_t)(from[i] & 0x7f) << (7 * i);
        if (!(from[i] & 0x80)) {
            uint64_t delta = (zigzag >> 1) ^ (zigzag & 1 ? UINT64_MAX : 0);
            *id = (int64_t)((uint64_t)*id + delta);
            return i + 1;
        }
    }
    return 0;
}

/*==== store_count.c ====*/
/* store_count.c - how many jobs are where, by queue and kind. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/store_count.c"
#endif
/* #include "store.h" */

/* Design note.
 *
 * The counters are sums, of jobs up to claims.counted; who changes a counted job adds the change
 * in the same transaction (tx_count.c). Who asks adds what stands above that id, in one snapshot.
 * Where a hand from outside has given jobs another name, one pair has too many and another too few,
 * even fewer than none; the doctor finds that, and has all counted anew. Fewer than none of all
 * pairs together is damage. */

#define JOBQ__COUNT_IN(name, min) {name, min, JOBQ__ID_MAX, JOBQ__HOLDS_NUMBER, false}
#define JOBQ__SUM_IN(name) JOBQ__COUNT_IN(name, -JOBQ__ID_MAX)

static const struct jobq__column jobq__store_sum_list[] = {
    JOBQ__SUM_IN("ready"), JOBQ__SUM_IN("scheduled"), JOBQ__SUM_IN("blocked"),
    JOBQ__SUM_IN("claimed"), JOBQ__SUM_IN("done"), JOBQ__SUM_IN("failed"),
    JOBQ__SUM_IN("cancelled"), JOBQ__SUM_IN("retrying")};
static const struct jobq__columns jobq__store_sum_columns =
    JOBQ__COLUMNS("jobq_claims", jobq__store_sum_list, -1);

static const struct jobq__column jobq__store_counted_list[] = {
    JOBQ__COUNT_IN("counted", 0)};
static const struct jobq__columns jobq__store_counted_columns =
    JOBQ__COLUMNS("jobq_claims", jobq__store_counted_list, -1);

static const struct jobq__column jobq__store_number_list[] = {JOBQ__COUNT_IN("count", 0)};
static const struct jobq__columns jobq__store_number_columns =
    JOBQ__COLUMNS("jobq_row or jobq_claims", jobq__store_number_list, -1);

enum { JOBQ__UNCOUNTED_ID, JOBQ__UNCOUNTED_QUEUE, JOBQ__UNCOUNTED_KIND, JOBQ__UNCOUNTED_STATE,
       JOBQ__UNCOUNTED_LANE, JOBQ__UNCOUNTED_ATTEMPT, JOBQ__UNCOUNTED_END };

static const struct jobq__column jobq__store_uncounted_list[] = {
    {"id", 1, JOBQ__ID_MAX, JOBQ__HOLDS_NUMBER, false},
    {"queue", JOBQ__LANE_SUSPECT + 1, JOBQ__NAME_ID_MAX, JOBQ__HOLDS_NUMBER, false},
    {"kind", JOBQ__LANE_SUSPECT + 1, JOBQ__NAME_ID_MAX, JOBQ__HOLDS_NUMBER, false},
    {"state", JOBQ__WAITING, JOBQ__CANCELLED, JOBQ__HOLDS_NUMBER, false},
    {"lane", -(int64_t)JOBQ__NAME_ID_MAX, JOBQ__NAME_ID_MAX, JOBQ__HOLDS_NUMBER, true},
    {"attempt", 1, INT32_MAX, JOBQ__HOLDS_NUMBER, false}};
static const struct jobq__columns jobq__store_uncounted_columns =
    JOBQ__COLUMNS("jobq_row", jobq__store_uncounted_list, JOBQ__UNCOUNTED_ID);

/* JOBQ__TEXT_PAIRS is before the pair of the lowest ids that a queue and a kind can have. */
typedef char jobq__store_pairs[(INT64_C(1) + JOBQ__LANE_SUSPECT) << 32 == 8589934592 ? 1 : -1];

JOBQ__INTERNAL int jobq__store_counted(struct jobq__db *db, int64_t *id) {
    bool row;
    return jobq__column_one(db, jobq__db_get(db, JOBQ__SQL_COUNTED),
                            &jobq__store_counted_columns, id, &row);
}

JOBQ__INTERNAL int jobq__store_count_anew(struct jobq__db *db) {
    return jobq__db_exec(db, "DELETE FROM jobq_claims WHERE one >= " JOBQ__TEXT_PAIRS "; UPDATE"
                         " jobq_claims SET counted = 0 WHERE one = 1");
}

JOBQ__INTERNAL int jobq__store_count_add(struct jobq__db *db, const struct jobq__count *count) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_COUNT_ADD);
    int i;
    if (s) {
        sqlite3_bind_int(s, 1, count->queue);
        sqlite3_bind_int(s, 2, count->kind);
        for (i = 0; i < JOBQ__COUNTS; i++) sqlite3_bind_int64(s, 3 + i, count->by[i]);
    }
    return jobq__db_step(db, s);
}

JOBQ__INTERNAL jobq__walk *jobq__store_uncounted(struct jobq__db *db, int64_t after,
                                                 int64_t upto) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_UNCOUNTED);
    if (!s) return NULL;
    sqlite3_bind_int64(s, 1, after);
    sqlite3_bind_int64(s, 2, upto);
    return s;
}

JOBQ__INTERNAL int jobq__store_next_uncounted(struct jobq__db *db, jobq__walk *walk,
                                              struct jobq__row *row, bool *more) {
    const char *column = "lane", *wrong = NULL;
    int64_t at[JOBQ__UNCOUNTED_END], before = row->id;
    int rc = jobq__column_next(db, walk, &jobq__store_uncounted_columns, at, more);
    if (rc != JOBQ_OK || !*more) return rc;
    row->id = at[JOBQ__UNCOUNTED_ID];
    row->queue = (int32_t)at[JOBQ__UNCOUNTED_QUEUE];
    row->kind = (int32_t)at[JOBQ__UNCOUNTED_KIND];
    row->state = (int)at[JOBQ__UNCOUNTED_STATE];
    row->lane = at[JOBQ__UNCOUNTED_LANE] == JOBQ__NULL ? JOBQ__LANE_NONE
                                                       : (int32_t)at[JOBQ__UNCOUNTED_LANE];
    row->attempt = (int)at[JOBQ__UNCOUNTED_ATTEMPT];
    if (row->state == JOBQ__WAITING && row->lane == JOBQ__LANE_NONE)
        wrong = "does not agree with the rest";
    if (row->id <= before) {
        column = "the row";
        wrong = "does not stand in order";
    }
    if (!wrong) return rc;
    *more = false;
    jobq__db_reset(walk);
    return jobq__db_fault(db, "jobq_row", row->id, column, wrong);
}

JOBQ__INTERNAL int jobq__store_count_as(const struct jobq__row *row, int state) {
    switch (state) {
    case JOBQ__WAITING:
        switch (jobq__stored_stand(row->lane)) {
        case JOBQ__STANDS_IN_LINE: return JOBQ__COUNT_READY;
        case JOBQ__STANDS_TILL_DUE: return JOBQ__COUNT_SCHEDULED;
        default: return JOBQ__COUNT_BLOCKED;
        }
    case JOBQ__CLAIMED: return JOBQ__COUNT_CLAIMED;
    case JOBQ__DONE: return JOBQ__COUNT_DONE;
    case JOBQ__FAILED: return JOBQ__COUNT_FAILED;
    case JOBQ__CANCELLED: return JOBQ__COUNT_CANCELLED;
    default: return JOBQ__COUNT_NOTHING;
    }
}

JOBQ__INTERNAL bool jobq__store_retries(const struct jobq__row *row, int state) {
    return state == JOBQ__WAITING && row->attempt > 1;
}

JOBQ__INTERNAL void jobq__store_count_row(const struct jobq__row *row, int64_t *by) {
    int as = jobq__store_count_as(row, row->state);
    jobq__assert(as < JOBQ__COUNTS);
    if (as < JOBQ__COUNTS) by[as]++;
    by[JOBQ__COUNT_RETRYING] += jobq__store_retries(row, row->state);
}

static int jobq__store_number(struct jobq__db *db, sqlite3_stmt *s, int64_t *number) {
    bool row;
    return jobq__column_one(db, s, &jobq__store_number_columns, number, &row);
}

JOBQ__INTERNAL int jobq__store_ended(struct jobq__db *db, int64_t *count) {
    return jobq__store_number(db, jobq__db_get(db, JOBQ__SQL_ENDED), count);
}

#ifdef JOBQ_DEBUG
JOBQ__INTERNAL int jobq__store_miscounted(struct jobq__db *db, int64_t *pairs) {
    return jobq__db_number(db, "WITH counted AS (SELECT one >> 32, one & 4294967295, ready,"
        " scheduled, blocked, claimed, retrying, done, failed, cancelled FROM jobq_claims WHERE"
        " one >= " JOBQ__TEXT_PAIRS " AND (ready OR scheduled OR blocked OR claimed OR retrying"
        " OR done OR failed OR cancelled)), rows AS (SELECT queue, kind,"
        " sum(state = 0 AND lane > 0), sum(state = 0 AND lane IN (0, -1)),"
        " sum(state = 0 AND lane < -1), sum(state = 1), sum(state = 0 AND attempt > 1),"
        " sum(state = 2), sum(state = 3), sum(state = 4) FROM jobq_row"
        " WHERE id <= (SELECT counted FROM " JOBQ__TEXT_CLAIMS ") GROUP BY queue, kind)"
        " SELECT count(*) FROM"
        " (SELECT * FROM (SELECT * FROM counted EXCEPT SELECT * FROM rows) UNION ALL"
        " SELECT * FROM (SELECT * FROM rows EXCEPT SELECT * FROM counted))", 0, pairs);
}
#endif

/* ---- For who asks ---- */

static int jobq__store_sums(struct jobq__db *db, int64_t *by) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_COUNTS);
    int64_t at[JOBQ__COUNTS];
    bool row;
    int i, rc;
    while ((rc = jobq__column_next(db, s, &jobq__store_sum_columns, at, &row)) == JOBQ_OK && row)
        for (i = 0; i < JOBQ__COUNTS; i++) by[i] = jobq__add(by[i], at[i]);
    jobq__db_reset(s);
    for (i = 0; i < JOBQ__COUNTS && rc == JOBQ_OK; i++)
        if (by[i] < 0 || by[i] > JOBQ__ID_MAX)
            rc = jobq__db_fault(db, "jobq_claims", 0, jobq__store_sum_list[i].name,
                                "is no number of jobs, all in all");
    return rc;
}

static int jobq__store_add_uncounted(struct jobq__db *db, int64_t *by) {
    struct jobq__row row;
    sqlite3_stmt *s;
    int64_t counted;
    bool more;
    int rc = jobq__store_counted(db, &counted);
    if (rc != JOBQ_OK) return rc;
    row.id = counted;
    s = jobq__store_uncounted(db, counted, JOBQ__ID_MAX);
    while ((rc = jobq__store_next_uncounted(db, s, &row, &more)) == JOBQ_OK && more)
        jobq__store_count_row(&row, by);
    jobq__db_reset(s);
    return rc;
}

/* Jobs that are claimed, and of those the ones that a handler has. */
static int jobq__store_count_running(const struct jobq__look *look, int64_t *running) {
    void *ids = NULL;
    size_t size, at = 0;
    int64_t id = 0;
    int rc = jobq__store_claims_get(look->db, &ids, &size);
    while (rc == JOBQ_OK && at < size) {
        rc = jobq__store_claims_next(look->db, ids, size, &at, &id);
        if (rc == JOBQ_OK && look->runs(look->ctx, id)) ++*running;
    }
    jobq__mem_free(ids);
    return rc;
}

static int jobq__store_count_all(const struct jobq__look *look, int64_t *by, int64_t *due,
                                 int64_t *running) {
    sqlite3_stmt *s = jobq__db_get(look->db, JOBQ__SQL_COUNT_DUE);
    int rc;
    if (s) {
        sqlite3_bind_int64(s, 1, look->now.wall_ms);
        sqlite3_bind_int64(s, 2, look->now.own_ms);
    }
    rc = jobq__store_number(look->db, s, due);
    if (rc == JOBQ_OK) rc = jobq__store_sums(look->db, by);
    if (rc == JOBQ_OK) rc = jobq__store_add_uncounted(look->db, by);
    return rc == JOBQ_OK ? jobq__store_count_running(look, running) : rc;
}

JOBQ__INTERNAL int jobq__store_count(const struct jobq__look *look, jobq_counts *counts) {
    struct jobq__db *db = look->db;
    int64_t by[JOBQ__COUNTS] = {0}, due = 0, running = 0;
    bool snapshot = !jobq__db_in_transaction(db);
    int rc = snapshot ? jobq__db_do(db, JOBQ__SQL_BEGIN_READ) : JOBQ_OK, end = JOBQ_OK;
    if (rc == JOBQ_OK) rc = jobq__store_count_all(look, by, &due, &running);
    if (snapshot && jobq__db_in_transaction(db)) end = jobq__db_do(db, JOBQ__SQL_COMMIT);
    if (rc == JOBQ_OK) rc = end;
    if (rc != JOBQ_OK) return rc;
    due = JOBQ__MIN(due, by[JOBQ__COUNT_SCHEDULED]);
    running = JOBQ__MIN(running, by[JOBQ__COUNT_CLAIMED]);
    counts->scheduled = by[JOBQ__COUNT_SCHEDULED] - due;
    counts->ready = by[JOBQ__COUNT_READY] + due + by[JOBQ__COUNT_CLAIMED] - running;
    counts->parked = by[JOBQ__COUNT_BLOCKED];
    counts->running = running;
    counts->done = by[JOBQ__COUNT_DONE];
    counts->failed = by[JOBQ__COUNT_FAILED];
    counts->cancelled = by[JOBQ__COUNT_CANCELLED];
    return JOBQ_OK;
}

/*==== store_read.c ====*/
/* store_read.c - what reads rows: get, list, count. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/store_read.c"
#endif
/* #include "store.h" */

/* Design note.
 *
 * Runs on the reader's connection (in a memory database on the writer's), one call one walk, and
 * every statement is reset before the call returns. A listing by state walks the index that holds
 * that state; its cursor is the index's key, so rows that come and go meanwhile are neither
 * repeated nor do they displace others. Failed rows are listed from jobq_failed, so that the many
 * that are done do not stand between. Claimed rows stand in no index: they are listed from the
 * claims row. Those of a key are found by jobq_key, whose rows of held and of free keys are merged:
 * by their ids a job has the same place whether it ends meanwhile or not.
 *
 * Who asks for one queue's waiting rows gets first its ready ones, which stand together, then from
 * the rest of the index those that wait for a time or before a gate, where all queues stand
 * mixed. A lane that is another queue's, or before the gate of another kind, is left with its first
 * row. */

/* JOBQ__TEXT_INFO */
enum { JOBQ__INFO_ID, JOBQ__INFO_STATE, JOBQ__INFO_LANE, JOBQ__INFO_PRIORITY, JOBQ__INFO_ATTEMPT,
       JOBQ__INFO_RUNS, JOBQ__INFO_CRASHES, JOBQ__INFO_SIDE, JOBQ__INFO_CREATED,
       JOBQ__INFO_RUN_AT, JOBQ__INFO_FINISHED, JOBQ__INFO_PAYLOAD, JOBQ__INFO_KIND,
       JOBQ__INFO_QUEUE, JOBQ__INFO_KEY, JOBQ__INFO_ERROR, JOBQ__INFO_RESULT, JOBQ__INFO_PRUNE_AT,
       JOBQ__INFO_ORD, JOBQ__INFO_END };

#define JOBQ__NUMBER_IN(name, min, max, null) {name, min, max, JOBQ__HOLDS_NUMBER, null}
#define JOBQ__TEXT_IN(name, min, max, null) {name, min, max, JOBQ__HOLDS_TEXT, null}

static const struct jobq__column jobq__store_info_list[] = {
    JOBQ__NUMBER_IN("id", 1, JOBQ__ID_MAX, false),
    JOBQ__NUMBER_IN("state", JOBQ__WAITING, JOBQ__CANCELLED, false),
    JOBQ__NUMBER_IN("lane", -JOBQ__NAME_ID_MAX, JOBQ__NAME_ID_MAX, true),
    JOBQ__NUMBER_IN("priority", INT32_MIN, INT32_MAX, false),
    JOBQ__NUMBER_IN("attempt", 1, INT32_MAX, false),
    JOBQ__NUMBER_IN("runs", 0, INT32_MAX, false),
    JOBQ__NUMBER_IN("crashes", 0, INT32_MAX, false),
    JOBQ__NUMBER_IN("side", 0, JOBQ__SIDE_ALL, false),
    JOBQ__NUMBER_IN("created_at", 0, JOBQ_NEVER, true),
    JOBQ__NUMBER_IN("run_at", 0, JOBQ_NEVER, false),
    JOBQ__NUMBER_IN("finished_at", 0, JOBQ_NEVER, true),
    JOBQ__NUMBER_IN("payload", 0, JOBQ_PAYLOAD_MAX, true),
    /* In a file of UTF-16 a byte that is no UTF-8 comes back as three. */
    JOBQ__TEXT_IN("the name of its kind", 1, 3 * JOBQ_NAME_MAX, false),
    JOBQ__TEXT_IN("the name of its queue", 1, 3 * JOBQ_NAME_MAX, false),
    JOBQ__TEXT_IN("key", 1, 3 * JOBQ_KEY_MAX, true),
    JOBQ__TEXT_IN("error", 0, 3 * JOBQ_TEXT_MAX, true),
    JOBQ__NUMBER_IN("result", 0, JOBQ_PAYLOAD_MAX, true),
    JOBQ__NUMBER_IN("prune_at", 0, JOBQ_NEVER, true),
    JOBQ__NUMBER_IN("ord", INT32_MIN, INT32_MAX, false),
};
static const struct jobq__columns jobq__store_info_columns =
    JOBQ__COLUMNS("jobq_row", jobq__store_info_list, JOBQ__INFO_ID);

static void jobq__store_column_text(sqlite3_stmt *s, int column, char *to, size_t capacity) {
    const char *text = (const char *)sqlite3_column_text(s, column);
    jobq__err_copy_text(to, capacity, text ? text : "");
}

/* The time at which a row of that lane is due, by the wall as it goes now. */
static int64_t jobq__store_run_at(const struct jobq__look *look, int64_t lane, int64_t at_ms) {
    return lane == JOBQ__LANE_OWN_TIME ? jobq__own_on_wall(look->now, at_ms) : at_ms;
}

/* What the columns of a row say together; NULL, or which of them cannot be true. */
static const char *jobq__store_info_wrong(const int64_t *at) {
    int64_t state = at[JOBQ__INFO_STATE];
    bool ended = jobq__state_terminal((int)state);
    bool waits = state == JOBQ__WAITING;
    if (waits && at[JOBQ__INFO_LANE] == JOBQ__NULL) return "lane";
    if (waits && at[JOBQ__INFO_ORD]
        && jobq__stored_stand(at[JOBQ__INFO_LANE]) == JOBQ__STANDS_TILL_DUE) return "ord";
    if (ended != (at[JOBQ__INFO_FINISHED] != JOBQ__NULL)) return "finished_at";
    if (ended != (at[JOBQ__INFO_PRUNE_AT] != JOBQ__NULL)) return "prune_at";
    return state == JOBQ__CLAIMED && at[JOBQ__INFO_RUNS] < 1 ? "runs" : NULL;
}

/* Asked while s stands on the row, so of the same moment. A handler in memory looks from within its
 * own transaction, but a job's transaction claims nothing. */
static int jobq__store_claimed_by(struct jobq__db *db, sqlite3_stmt *s, int64_t id) {
    int rc = jobq__store_claims_have(db, id);
    if (rc != JOBQ_OK) jobq__db_reset(s);
    return rc;
}

/* What jobq_failed or jobq_key says of a job is not so: it is not kept as a failed one until then,
 * or is of another kind, or has another key. */
static int jobq__store_not_so(struct jobq__db *db, sqlite3_stmt *s) {
    bool key = s == db->statements[JOBQ__SQL_INFO_KEY];
    int64_t job = sqlite3_column_int64(s, JOBQ__INFO_END);
    jobq__db_reset(s);
    return jobq__db_fault(db, key ? "jobq_key" : "jobq_failed", job, "the row",
                          key ? "is not that of its job's kind and key"
                              : "is not that of a failed job");
}

/* Of the row that s stands on. */
static int jobq__store_info_row(struct jobq__db *db, sqlite3_stmt *s, int64_t *at) {
    const char *wrong;
    int rc;
    if (sqlite3_column_type(s, JOBQ__INFO_ID) == SQLITE_NULL) return jobq__store_not_so(db, s);
    rc = jobq__column_read(db, s, &jobq__store_info_columns, at);
    if (rc != JOBQ_OK) return rc;
    wrong = jobq__store_info_wrong(at);
    if (wrong) {
        jobq__db_reset(s);
        return jobq__db_fault(db, "jobq_row", at[JOBQ__INFO_ID], wrong,
                              "does not agree with the rest");
    }
    if (at[JOBQ__INFO_STATE] != JOBQ__CLAIMED) return JOBQ_OK;
    return jobq__store_claimed_by(db, s, at[JOBQ__INFO_ID]);
}

/* Steps and reads the row's numbers; the texts are read from s. */
static int jobq__store_next_info(struct jobq__db *db, sqlite3_stmt *s, int64_t *at, bool *row) {
    int rc = jobq__db_next(db, s, row);
    if (rc == JOBQ_OK && *row) rc = jobq__store_info_row(db, s, at);
    *row = *row && rc == JOBQ_OK;
    return rc;
}

static int64_t jobq__store_or(int64_t value, int64_t otherwise) {
    return value == JOBQ__NULL ? otherwise : value;
}

static void jobq__store_read_info(const struct jobq__look *look, sqlite3_stmt *s,
                                  const int64_t *at, jobq_info *info) {
    int state = (int)at[JOBQ__INFO_STATE];
    int64_t lane = state == JOBQ__WAITING ? at[JOBQ__INFO_LANE] : JOBQ__LANE_NONE;
    memset(info, 0, sizeof *info);
    info->id = at[JOBQ__INFO_ID];
    info->state = jobq__state_public(state, state == JOBQ__CLAIMED
                                                && look->runs(look->ctx, info->id));
    info->parked = jobq__stored_stand(lane) == JOBQ__STANDS_AT_GATE;
    info->priority = (int)at[JOBQ__INFO_PRIORITY];
    info->attempt = (int)at[JOBQ__INFO_ATTEMPT];
    info->runs = (int)at[JOBQ__INFO_RUNS];
    info->crashes = (int)at[JOBQ__INFO_CRASHES];
    info->run_at_ms = jobq__store_run_at(look, lane, at[JOBQ__INFO_RUN_AT]);
    info->created_at_ms = jobq__store_or(at[JOBQ__INFO_CREATED], at[JOBQ__INFO_RUN_AT]);
    info->scheduled = jobq__stored_stand(lane) == JOBQ__STANDS_TILL_DUE
                   && info->run_at_ms > look->now.wall_ms;
    info->finished_at_ms = jobq__store_or(at[JOBQ__INFO_FINISHED], 0);
    info->payload_size = (size_t)jobq__store_or(at[JOBQ__INFO_PAYLOAD], 0);
    jobq__store_column_text(s, JOBQ__INFO_KIND, info->kind, sizeof info->kind);
    jobq__store_column_text(s, JOBQ__INFO_QUEUE, info->queue, sizeof info->queue);
    jobq__store_column_text(s, JOBQ__INFO_KEY, info->key, sizeof info->key);
    jobq__store_column_text(s, JOBQ__INFO_ERROR, info->error, sizeof info->error);
    info->result_size = (size_t)jobq__store_or(at[JOBQ__INFO_RESULT], 0);
    /* A claim that has not started is not a run yet. */
    if (state == JOBQ__CLAIMED && info->state == JOBQ_STATE_PENDING) info->runs--;
}

JOBQ__INTERNAL int jobq__store_info(const struct jobq__look *look, int64_t id, jobq_info *info,
                                    bool *claimed) {
    sqlite3_stmt *s = jobq__db_get(look->db, JOBQ__SQL_INFO);
    int64_t at[JOBQ__INFO_END];
    bool row;
    int rc;
    if (s) sqlite3_bind_int64(s, 1, id);
    rc = jobq__store_next_info(look->db, s, at, &row);
    if (rc != JOBQ_OK) return rc;
    *claimed = false;
    if (!row) return JOBQ_NOT_FOUND;
    jobq__store_read_info(look, s, at, info);
    *claimed = at[JOBQ__INFO_STATE] == JOBQ__CLAIMED && info->state == JOBQ_STATE_PENDING;
    jobq__db_reset(s);
    return JOBQ_OK;
}

static bool jobq__store_matches(const jobq_filter *filter, const jobq_info *info) {
    if (filter->state != JOBQ_STATE_NONE && filter->state != info->state) return false;
    if (filter->kind && strcmp(filter->kind, info->kind) != 0) return false;
    return !filter->queue || strcmp(filter->queue, info->queue) == 0;
}

/* One listing call: where its matches go and how many rows it may still look at. */
struct jobq__store_listing {
    const struct jobq__look *look;
    const jobq_filter *filter;
    jobq_cursor *cursor;
    jobq_info *infos;
    size_t capacity, count;
    int64_t budget;
};

enum { JOBQ__LIST_START, JOBQ__LIST_IDS, JOBQ__LIST_LIVE, JOBQ__LIST_CLAIMS,
       JOBQ__LIST_FINISHED, JOBQ__LIST_FAILED, JOBQ__LIST_KEY, JOBQ__LIST_READY, JOBQ__LIST_END };

static bool jobq__store_list_by_end(const jobq_cursor *cursor) {
    return cursor->stage == JOBQ__LIST_FINISHED || cursor->stage == JOBQ__LIST_FAILED;
}

static bool jobq__store_list_by_lane(const jobq_cursor *cursor) {
    return cursor->stage == JOBQ__LIST_LIVE || cursor->stage == JOBQ__LIST_READY;
}

/* NULL: any. Returns s, or NULL with db->sqlite_code set: in a file of UTF-16 it wants memory. */
static sqlite3_stmt *jobq__store_bind_name(struct jobq__db *db, sqlite3_stmt *s, int at,
                                           const char *name) {
    int code;
    if (!s) return NULL;
    code = name ? sqlite3_bind_text(s, at, name, -1, SQLITE_STATIC) : sqlite3_bind_null(s, at);
    if (code == SQLITE_OK) return s;
    db->sqlite_code = SQLITE_NOMEM;
    return NULL;
}

static sqlite3_stmt *jobq__store_list_walk(struct jobq__store_listing *list) {
    static const enum jobq__sql walks[] = {
        [JOBQ__LIST_IDS] = JOBQ__SQL_INFO_AFTER,
        [JOBQ__LIST_LIVE] = JOBQ__SQL_INFO_LIVE,
        [JOBQ__LIST_FINISHED] = JOBQ__SQL_INFO_FINISHED,
        [JOBQ__LIST_FAILED] = JOBQ__SQL_INFO_FAILED,
        [JOBQ__LIST_KEY] = JOBQ__SQL_INFO_KEY,
        [JOBQ__LIST_READY] = JOBQ__SQL_INFO_LIVE,
    };
    const int64_t *after = list->cursor->after;
    const jobq_filter *filter = list->filter;
    struct jobq__db *db = list->look->db;
    sqlite3_stmt *s = jobq__db_get(db, walks[list->cursor->stage]);
    if (!s) return NULL;
    sqlite3_bind_int64(s, 1, after[0]);
    sqlite3_bind_int64(s, 2, list->budget);
    if (jobq__store_list_by_end(list->cursor)) sqlite3_bind_int64(s, 3, after[1]);
    if (jobq__store_list_by_lane(list->cursor)) {
        sqlite3_bind_int64(s, 3, after[1]);
        sqlite3_bind_int64(s, 4, after[2]);
        sqlite3_bind_int64(s, 5, after[3]);
    }
    if (list->cursor->stage == JOBQ__LIST_KEY) {
        sqlite3_bind_int64(s, 5, jobq__store_lost_id(filter->kind));
        s = jobq__store_bind_name(db, s, 3, filter->kind);
        s = jobq__store_bind_name(db, s, 4, filter->key);
    }
    return s;
}

/* Moves the cursor to the row; it must be beyond, or a listing would never end. */
static int jobq__store_list_move(struct jobq__store_listing *list, const int64_t *at) {
    static const int ids[] = {JOBQ__INFO_ID}, finished[] = {JOBQ__INFO_PRUNE_AT, JOBQ__INFO_ID};
    static const int live[] = {JOBQ__INFO_LANE, JOBQ__INFO_ORD, JOBQ__INFO_RUN_AT, JOBQ__INFO_ID};
    bool by_end = jobq__store_list_by_end(list->cursor);
    bool by_lane = jobq__store_list_by_lane(list->cursor);
    const int *key = by_lane ? live : by_end ? finished : ids;
    int i, count = by_lane ? 4 : by_end ? 2 : 1;
    bool beyond = false, before = false;
    for (i = 0; i < count; i++) {
        int64_t *after = &list->cursor->after[i];
        beyond = beyond || (!before && at[key[i]] > *after);
        before = before || (!beyond && at[key[i]] < *after);
        *after = at[key[i]];
    }
    if (beyond) return JOBQ_OK;
    return jobq__db_fault(list->look->db, "jobq_row", at[JOBQ__INFO_ID], "the row",
                          "does not stand in order");
}

static void jobq__store_list_row(struct jobq__store_listing *list, sqlite3_stmt *s,
                                 const int64_t *at) {
    jobq_info *info = &list->infos[list->count];
    jobq__store_read_info(list->look, s, at, info);
    if (jobq__store_matches(list->filter, info)) list->count++;
    list->budget--;
}

/* ---- Lanes ---- */

static void jobq__store_list_behind(jobq_cursor *cursor, int64_t lane) {
    cursor->after[0] = lane;
    cursor->after[1] = cursor->after[2] = cursor->after[3] = INT64_MAX;
}

/* A lane of ready rows is one queue's, and one before a gate one kind's: what all of the row's lane
 * have to be called and are not, or NULL. */
static const char *jobq__store_list_other(const struct jobq__store_listing *list, int64_t lane,
                                          const jobq_info *info) {
    bool ready = lane > JOBQ__LANE_SUSPECT;
    const char *wanted = ready ? list->filter->queue : list->filter->kind;
    if (!jobq__store_list_by_lane(list->cursor) || !wanted) return NULL;
    if (!ready && lane >= JOBQ__LANE_OWN_TIME) return NULL;
    return strcmp(wanted, ready ? info->queue : info->kind) != 0 ? wanted : NULL;
}

static const struct jobq__column jobq__store_called_list[] = {
    JOBQ__NUMBER_IN("id", -JOBQ__NAME_ID_MAX, JOBQ__NAME_ID_MAX, true)};
static const struct jobq__columns jobq__store_called_columns =
    JOBQ__COLUMNS("jobq_name", jobq__store_called_list, -1);

/* Moves the cursor from a lane to before the next one that is called so; if there is none, beyond
 * all that are of a queue, or of a kind. */
static int jobq__store_list_jump(struct jobq__store_listing *list, int64_t lane,
                                 const char *name) {
    struct jobq__db *db = list->look->db;
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_LANE_CALLED);
    int64_t lost = jobq__store_lost_id(name), next;
    bool ready = lane > JOBQ__LANE_SUSPECT, row;
    int rc;
    if (s) {
        sqlite3_bind_int(s, 1, ready ? JOBQ__NAME_QUEUE : JOBQ__NAME_KIND);
        if (lost) sqlite3_bind_int64(s, 3, ready ? lost : -lost);
        else sqlite3_bind_null(s, 3);
        sqlite3_bind_int64(s, 4, lane);
        s = jobq__store_bind_name(db, s, 2, name);
    }
    rc = jobq__column_one(db, s, &jobq__store_called_columns, &next, &row);
    if (rc != JOBQ_OK) return rc;
    next = jobq__store_or(next, JOBQ__NAME_ID_MAX + (int64_t)1);
    if (!ready) next = JOBQ__MIN(next, JOBQ__LANE_OWN_TIME);
    jobq__store_list_behind(list->cursor, next - 1);
    return JOBQ_OK;
}

/* Ready rows, which were listed before. */
static bool jobq__store_list_over(const struct jobq__store_listing *list, const int64_t *at) {
    return list->filter->queue && list->cursor->stage == JOBQ__LIST_LIVE
        && at[JOBQ__INFO_LANE] > JOBQ__LANE_SCHEDULED;
}

/* Walks one index; *end when it has no more rows. Returns before that where a lane is left. */
static int jobq__store_list_index(struct jobq__store_listing *list, bool *end) {
    sqlite3_stmt *s = jobq__store_list_walk(list);
    const jobq_info *info;
    const char *other;
    int64_t at[JOBQ__INFO_END];
    bool row = true;
    int rc = JOBQ_OK;
    while (list->count < list->capacity && list->budget > 0) {
        rc = jobq__store_next_info(list->look->db, s, at, &row);
        row = row && !jobq__store_list_over(list, at);
        if (rc == JOBQ_OK && row) rc = jobq__store_list_move(list, at);
        if (rc != JOBQ_OK || !row) break;
        info = &list->infos[list->count];
        jobq__store_list_row(list, s, at);
        other = jobq__store_list_other(list, at[JOBQ__INFO_LANE], info);
        if (!other) continue;
        rc = jobq__store_list_jump(list, at[JOBQ__INFO_LANE], other);
        break;
    }
    *end = !row;
    jobq__db_reset(s);
    return rc;
}

/* Claimed rows, in the order of the claims row, above the id that the cursor names. */
static int jobq__store_list_claims(struct jobq__store_listing *list, bool *end) {
    sqlite3_stmt *s = jobq__db_get(list->look->db, JOBQ__SQL_INFO);
    int64_t last = list->cursor->after[0];
    int rc = s ? JOBQ_OK : jobq__db_code(list->look->db->sqlite_code);
    *end = false;
    while (rc == JOBQ_OK && !*end && list->count < list->capacity && list->budget > 0) {
        void *ids = NULL;
        size_t size, at = 0;
        int64_t id = 0, next = INT64_MAX, info[JOBQ__INFO_END];
        bool row;
        /* The smallest claimed id above the last one: the set changes between calls. */
        rc = jobq__store_claims_get(list->look->db, &ids, &size);
        while (rc == JOBQ_OK && at < size) {
            rc = jobq__store_claims_next(list->look->db, ids, size, &at, &id);
            if (id > last && id < next) next = id;
        }
        jobq__mem_free(ids);
        *end = next == INT64_MAX;
        if (rc != JOBQ_OK || *end) break;
        list->cursor->after[0] = last = next;
        sqlite3_bind_int64(s, 1, next);
        rc = jobq__store_next_info(list->look->db, s, info, &row);
        if (rc == JOBQ_OK && row) jobq__store_list_row(list, s, info);
        jobq__db_reset(s);
    }
    return rc;
}

static void jobq__store_list_stage(jobq_cursor *cursor, int stage) {
    int i;
    cursor->stage = stage;
    for (i = 0; i < 4; i++) cursor->after[i] = stage == JOBQ__LIST_LIVE ? INT64_MIN : 0;
    if (jobq__store_list_by_end(cursor)) cursor->after[0] = INT64_MIN;
    if (stage == JOBQ__LIST_READY) jobq__store_list_behind(cursor, JOBQ__LANE_SCHEDULED);
    cursor->done = stage == JOBQ__LIST_END;
}

static int jobq__store_list_next_stage(const jobq_filter *filter, int stage) {
    jobq_state state = filter->state;
    switch (stage) {
    case JOBQ__LIST_START:
        if (filter->key) return JOBQ__LIST_KEY;
        if (state == JOBQ_STATE_NONE) return JOBQ__LIST_IDS;
        if (state == JOBQ_STATE_PENDING)
            return filter->queue ? JOBQ__LIST_READY : JOBQ__LIST_LIVE;
        if (state == JOBQ_STATE_RUNNING) return JOBQ__LIST_CLAIMS;
        return state == JOBQ_STATE_FAILED ? JOBQ__LIST_FAILED : JOBQ__LIST_FINISHED;
    case JOBQ__LIST_READY: return JOBQ__LIST_LIVE;
    case JOBQ__LIST_LIVE: return JOBQ__LIST_CLAIMS;
    default: return JOBQ__LIST_END;
    }
}

static const struct jobq__column jobq__store_any_list[] = {JOBQ__NUMBER_IN("any", 0, 1, false)};
static const struct jobq__columns jobq__store_any_columns =
    JOBQ__COLUMNS("jobq_claims", jobq__store_any_list, -1);

/* A name that the file has lost is called by its number, which no name says. */
static bool jobq__store_may_be_lost(const char *name) {
    return name && strncmp(name, "lost:", 5) == 0;
}

/* *any: false if no such job is there, as the counters say, and the few jobs that are not counted
 * yet: then there is nothing to walk for. In a transaction they may be behind. */
static int jobq__store_list_any(const struct jobq__store_listing *list, bool *any) {
    static const int sets[] = {[JOBQ_STATE_NONE] = 31, [JOBQ_STATE_PENDING] = 3,
                               [JOBQ_STATE_RUNNING] = 2, [JOBQ_STATE_DONE] = 4,
                               [JOBQ_STATE_FAILED] = 8, [JOBQ_STATE_CANCELLED] = 16};
    const jobq_filter *filter = list->filter;
    struct jobq__db *db = list->look->db;
    int64_t answer = 1;
    sqlite3_stmt *s;
    bool row;
    int rc;
    *any = true;
    if ((!filter->kind && !filter->queue) || filter->key || jobq__db_in_transaction(db)
        || jobq__store_may_be_lost(filter->kind) || jobq__store_may_be_lost(filter->queue))
        return JOBQ_OK;
    s = jobq__db_get(db, JOBQ__SQL_INFO_ANY);
    if (s) {
        sqlite3_bind_int(s, 3, sets[filter->state]);
        sqlite3_bind_int64(s, 4, 2 * JOBQ__UNCOUNTED_MAX);
        s = jobq__store_bind_name(db, s, 1, filter->kind);
        s = jobq__store_bind_name(db, s, 2, filter->queue);
    }
    rc = jobq__column_one(db, s, &jobq__store_any_columns, &answer, &row);
    *any = rc == JOBQ_OK && (!row || answer);
    return rc;
}

JOBQ__INTERNAL bool jobq__store_cursor_valid(const jobq_cursor *cursor,
                                             const jobq_filter *filter) {
    if (cursor->stage == JOBQ__LIST_START || cursor->stage == JOBQ__LIST_END)
        return cursor->done == (cursor->stage == JOBQ__LIST_END);
    return cursor->stage > JOBQ__LIST_START && cursor->stage < JOBQ__LIST_END && !cursor->done
        && (cursor->stage == JOBQ__LIST_KEY) == (filter->key != NULL);
}

JOBQ__INTERNAL int jobq__store_list(const struct jobq__look *look, const jobq_filter *filter,
                                    jobq_cursor *cursor, jobq_info *infos, size_t capacity,
                                    size_t *count) {
    struct jobq__store_listing list = {look, filter, cursor, infos, capacity, 0, 0};
    int rc = JOBQ_OK;
    list.budget = filter->rows_max;
    while (rc == JOBQ_OK && !cursor->done && list.count < capacity && list.budget > 0) {
        bool end = cursor->stage == JOBQ__LIST_START, any = true;
        if (end) rc = jobq__store_list_any(&list, &any);
        if (rc != JOBQ_OK) break;
        if (!any) jobq__store_list_stage(cursor, JOBQ__LIST_END);
        if (!any) break;
        if (cursor->stage == JOBQ__LIST_CLAIMS) rc = jobq__store_list_claims(&list, &end);
        else if (!end) rc = jobq__store_list_index(&list, &end);
        if (end)
            jobq__store_list_stage(cursor,
                                   jobq__store_list_next_stage(filter, cursor->stage));
    }
    *count = list.count;
    return rc;
}

/* JOBQ__SQL_PAYLOAD, of a row that has the bytes, and of one that has their number. */
static const struct jobq__column jobq__store_inline_list[] = {
    JOBQ__NUMBER_IN("id", 1, JOBQ__ID_MAX, false),
    JOBQ__NUMBER_IN("payload", 1, JOBQ_PAYLOAD_MAX, true),
    {"payload", 0, JOBQ_PAYLOAD_MAX, JOBQ__HOLDS_BLOB, true}};
static const struct jobq__columns jobq__store_inline_columns =
    JOBQ__COLUMNS("jobq_row", jobq__store_inline_list, 0);

static const struct jobq__column jobq__store_apart_list[] = {
    JOBQ__NUMBER_IN("id", 1, JOBQ__ID_MAX, false),
    JOBQ__NUMBER_IN("payload", 1, JOBQ_PAYLOAD_MAX, true),
    {"data", 0, JOBQ_PAYLOAD_MAX, JOBQ__HOLDS_BLOB, true}};
static const struct jobq__columns jobq__store_apart_columns =
    JOBQ__COLUMNS("jobq_payload", jobq__store_apart_list, 0);

static const struct jobq__column jobq__store_result_list[] = {
    JOBQ__NUMBER_IN("job", 1, JOBQ__ID_MAX, false),
    JOBQ__NUMBER_IN("payload", 1, JOBQ_PAYLOAD_MAX, true),
    {"result", 0, JOBQ_PAYLOAD_MAX, JOBQ__HOLDS_BLOB, true}};
static const struct jobq__columns jobq__store_result_columns =
    JOBQ__COLUMNS("jobq_extra", jobq__store_result_list, 0);

/* Reads what s stands on; *size: of the blob, which is whole. */
static int jobq__store_read_blob(struct jobq__db *db, sqlite3_stmt *s, bool result,
                                 size_t *size) {
    int64_t at[3];
    const struct jobq__columns *what = &jobq__store_result_columns;
    int rc = jobq__column_part(db, s, &jobq__store_inline_columns, 0, 2, at);
    if (rc != JOBQ_OK) return rc;
    if (!result)
        what = at[1] == JOBQ__NULL ? &jobq__store_inline_columns : &jobq__store_apart_columns;
    rc = jobq__column_part(db, s, what, 2, 3, at);
    if (rc == JOBQ_OK && at[1] != JOBQ__NULL && at[1] != at[2]) {
        jobq__db_reset(s);
        rc = jobq__store_payload_wrong(db, at[0], at[2] != JOBQ__NULL);
    }
    *size = rc == JOBQ_OK ? (size_t)jobq__store_or(at[2], 0) : 0;
    return rc;
}

JOBQ__INTERNAL int jobq__store_blob(const struct jobq__look *look, int64_t id, bool result,
                                    void *buffer, size_t capacity, size_t *size) {
    sqlite3_stmt *s = jobq__db_get(look->db, result ? JOBQ__SQL_RESULT : JOBQ__SQL_PAYLOAD);
    const void *blob;
    bool row;
    int rc;
    *size = 0;
    if (s) sqlite3_bind_int64(s, 1, id);
    rc = jobq__db_next(look->db, s, &row);
    if (rc != JOBQ_OK) return rc;
    if (!row) return JOBQ_NOT_FOUND;
    rc = jobq__store_read_blob(look->db, s, result, size);
    if (rc != JOBQ_OK) return rc;
    blob = sqlite3_column_blob(s, 2);
    rc = jobq__db_read(look->db, s);
    if (rc != JOBQ_OK) return rc;
    if (blob && capacity) memcpy(buffer, blob, JOBQ__MIN(capacity, *size));
    jobq__db_reset(s);
    return JOBQ_OK;
}

/*==== audit.h ====*/
/* audit.h - what has to hold in the tables: looked at in slices, and put right. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/audit.h"
#endif
#ifndef JOBQ__AUDIT_H
#define JOBQ__AUDIT_H

/* #include "store.h" */

/* Design note.
 *
 * What has to hold is a list of rules (audit_rules.c), in parts: a part is one table, or index,
 * that is walked from one end to the other (audit.c, of which the rules know nothing). Whoever
 * checks calls, until it is over,
 *
 *   audit_look   the next slice, in one snapshot: its rows that break a rule, and which rules
 *   audit_mend   those of them that can be put right, in a transaction that writes
 *   audit_line   what there was to tell of the slice, line by line
 *
 * Invariants:
 *   - A rule is one expression of SQL over one row and what belongs to it, or a function that asks
 *     while the statement stands on the row: so it sees one moment, and what is under way is not
 *     there yet or there as a whole.
 *   - Before a row is changed its rule is asked again, in the transaction: what is right by then
 *     is not touched. No rule takes a job away, or ends one that had not ended, but for
 *     one whose payload is lost: that is kept among the failed ones.
 *   - The parts and the rules of a part stand in such an order that what one of them leaves behind
 *     is seen by a later one; so nothing is left after a walk that mends but what cannot be mended.
 *   - The walk ends, whatever the file says: each slice goes on behind the one before.
 *   - Where a row was put right that is counted, all are counted anew: the counters knew another.
 *
 * A check is its caller's own; connections are used as store.h says. */

enum { JOBQ__AUDIT_FOUND = 32 }; /* rows that a slice tells of, and a transaction mends, at most */

struct jobq__audit;

/* gates, which is freed with the audit: the lanes before gates that have had room since before the
 * first look, so that who waits there is not forgotten only if the claims row names them.
 * *audit is freed by audit_end, which takes NULL. */
JOBQ__INTERNAL int jobq__audit_begin(struct jobq__audit **audit, int32_t *gates, size_t count);
JOBQ__INTERNAL void jobq__audit_end(struct jobq__audit *audit);

/* The next slice. *over: there was none any more. What cannot be read is told as a fault, and its
 * part is over; codes are those of a lack of memory, of a lock, of a disk. */
JOBQ__INTERNAL int jobq__audit_look(struct jobq__audit *audit, jobq__store *db, bool *over);
/* There is something to tell of that slice. */
JOBQ__INTERNAL bool jobq__audit_faulty(const struct jobq__audit *audit);

/* What mending needs to be told. */
struct jobq__mend {
    int64_t now_ms, prune_done_ms, prune_failed_ms; /* until when what has ended is kept */
    /* Is asked before anything of a job is changed: JOBQ_BUSY if nothing may be, as long as it
     * runs. Afterwards nobody remembers what is in its row. */
    int (*reach)(void *ctx, int64_t job);
    void *ctx;
};

/* Within a transaction. If that comes to nothing, audit_undone says so. */
JOBQ__INTERNAL int jobq__audit_mend(struct jobq__audit *audit, jobq__store *db,
                                    const struct jobq__mend *with);
JOBQ__INTERNAL void jobq__audit_undone(struct jobq__audit *audit);
/* In the same transaction: jobs are to be counted anew, which is the caller's. */
JOBQ__INTERNAL bool jobq__audit_recounts(const struct jobq__audit *audit);

/* The next thing to tell of the slice: false if there is none. repair: it was asked for. */
enum { JOBQ__AUDIT_LINE = 320 };
JOBQ__INTERNAL bool jobq__audit_line(struct jobq__audit *audit, bool repair, char *text,
                                     size_t size);

/* ---- The rules (audit_rules.c) ---- */

struct jobq__audit_rule {
    const char *column, *wrong; /* what is told of it, */
    const char *broken;         /* when it is: SQL; NULL: its function says */
    const char *first, *mend;   /* what puts it right, SQL; mend NULL: nothing does */
    const char *does;           /* and what that is, as it is told */
};

enum { JOBQ__AUDIT_KEYS = 4, JOBQ__AUDIT_RULES = 24 };

/* What rules look at besides the row. */
struct jobq__audit_known {
    bool asked, read;           /* ids are those of this slice's moment; if they could be read */
    int64_t *ids;               /* that the claims row names, in order */
    size_t ids_count;
    int32_t *gates;             /* before which nobody may wait unless the claims row names them */
    size_t gates_count;
};

/* How a part is looked at: row by row; or, in one slice and without rules, by quick_check, or by
 * comparing the counters with what their rows come to. */
enum jobq__audit_way { JOBQ__LOOK_ROWS, JOBQ__LOOK_FILE, JOBQ__LOOK_COUNTERS };

struct jobq__audit_part {
    const char *table;          /* that is told */
    const char *from, *where;   /* rows of the walk; where begins with AND */
    const char *keys;           /* by which it goes, and whose values are ?1, ?2 ... of first, mend;
                                   ?5 is now, ?6 and ?7 until when what is done or failed is kept */
    const char *match;          /* the row with these keys */
    int key_count;
    int job;                    /* which key is a job's id; -1: none */
    const struct jobq__audit_rule *rules;
    int count;
    /* Of the last rules of the part, those without SQL: which of them the row breaks on which s
     * stands; and what puts one right. tells is a column of s for it, or "0". */
    const char *tells;
    int (*ask)(struct jobq__audit_known *known, jobq__store *db, sqlite3_stmt *s,
               uint64_t *broken);
    int (*put)(struct jobq__audit_known *known, jobq__store *db, int rule, int64_t key,
               const struct jobq__mend *with);
    bool recounts;              /* what is put right here may be counted as something else */
    enum jobq__audit_way look;
};

/* NULL behind the last. */
JOBQ__INTERNAL const struct jobq__audit_part *jobq__audit_part(int i);

/* ---- The counters (audit_count.c) ---- */

/* Is told of one that is not what it should be. False: that is enough. */
typedef bool jobq__audit_differs(void *ctx, int64_t queue, int64_t kind, const char *counter,
                                 int64_t is, int64_t jobs);

JOBQ__INTERNAL int jobq__audit_counts(jobq__store *db, jobq__audit_differs *differs, void *ctx);

#endif

/*==== audit_rules.c ====*/
/* audit_rules.c - what has to hold in the tables, rule by rule, and what puts it right. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/audit_rules.c"
#endif
/* #include "audit.h" */

#include <stdlib.h>

/* Design note.
 *
 * The order is part of it (audit.h): indexes before rows, for a change of a row follows them; names
 * before the claims row, which counts them; the columns of a row before what stands beside it, for
 * that depends on its state; keys from both sides, and last what the side of the row says is
 * there.
 *
 * A rule is SQL over the aliases of its part: j a row, f that of a failed one, x what is beside it,
 * k a key, p a payload, n a name, c the claims row. What a mend may do: a job that it cannot place
 * anywhere else waits for its time, in lane 0: it is promoted from there as any other, to where it
 * belongs. One whose payload is lost ends as failed, for it would run without; its state and its
 * side have to be right by then. What else cannot be told apart from a loss is left. */

#define JOBQ__OUT(column, min, max) \
    "typeof(" column ") <> 'integer' OR " column " NOT BETWEEN " min " AND " max
#define JOBQ__BELOW(column, min) "typeof(" column ") <> 'integer' OR " column " < " min
#define JOBQ__IDS "4611686018427387903"
#define JOBQ__NAMES JOBQ__STRING(JOBQ__NAME_ID_MAX)
#define JOBQ__WALLS JOBQ__STRING(JOBQ__WALL_MAX)
/* What later versions write here is theirs: those say so by a schema of their own. */
#define JOBQ__OURS \
    "(SELECT value FROM jobq_meta WHERE key = 'schema') IS " JOBQ__STRING(JOBQ__SCHEMA_VERSION)
#define JOBQ__UNUSED(column, from, mend) \
    {column, "is of no use in this version", JOBQ__OURS " AND " from "." column " IS NOT NULL", \
     NULL, mend, "there is none"}
#define JOBQ__ENDED "j.state IN (2, 3, 4)"
#define JOBQ__SET_ROW(what) "UPDATE jobq_row SET " what " WHERE id = ?1"
#define JOBQ__SET_EXTRA(what) "UPDATE jobq_extra SET " what " WHERE job = ?1"
#define JOBQ__SET_CLAIMS(what) "UPDATE jobq_claims SET " what " WHERE one = ?1"
#define JOBQ__SET_NAME(what) "UPDATE OR IGNORE jobq_name SET " what " WHERE id = ?1"

typedef char jobq__audit_last_id[JOBQ__ID_MAX == INT64_C(4611686018427387903) ? 1 : -1];
typedef char jobq__audit_payload[JOBQ_PAYLOAD_MAX == 67108864 ? 1 : -1];
typedef char jobq__audit_side[JOBQ__SIDE_ALL == 15 ? 1 : -1];

/* ---- Indexes ---- */

#define JOBQ__ANEW "the index is made anew"

static const struct jobq__audit_rule jobq__audit_live_rules[] = {
    {"the index jobq_live", "has an entry that its row has not",
     "NOT EXISTS(SELECT 1 FROM jobq_row NOT INDEXED WHERE id = i.id AND state = 0"
     " AND lane IS i.lane AND ord IS i.ord AND run_at IS i.run_at)",
     NULL, "REINDEX jobq_live", JOBQ__ANEW},
};

static const struct jobq__audit_rule jobq__audit_finished_rules[] = {
    {"the index jobq_finished", "has an entry that its row has not",
     "NOT EXISTS(SELECT 1 FROM jobq_row NOT INDEXED WHERE id = i.id AND prune_at IS i.prune_at)",
     NULL, "REINDEX jobq_finished", JOBQ__ANEW},
};

static const struct jobq__audit_rule jobq__audit_index_of_names_rules[] = {
    {"the index of names", "has an entry that its row has not",
     "NOT EXISTS(SELECT 1 FROM jobq_name NOT INDEXED WHERE id = i.id AND what IS i.what"
     " AND scope IS i.scope AND name IS i.name)",
     NULL, "REINDEX jobq_name", JOBQ__ANEW},
};

/* ---- What there is one of ---- */

#define JOBQ__HAS_NOT(key) "NOT EXISTS(SELECT 1 FROM jobq_meta WHERE key = '" key "')"

static const struct jobq__audit_rule jobq__audit_single_rules[] = {
    {"the claims row", "is missing", "NOT EXISTS(SELECT 1 FROM jobq_claims WHERE one < "
     JOBQ__TEXT_PAIRS ")", NULL,
     "INSERT INTO jobq_claims(one, last_id, counted, offset_ms, wall_at, next_name)"
     " SELECT 1, coalesce(max(id), 0), 0, 0, 0, 2 FROM jobq_row WHERE id BETWEEN 1 AND "
     JOBQ__IDS, "there is one"},
    {"jobq_meta.syncs", "is missing", JOBQ__HAS_NOT("syncs"), NULL,
     "INSERT INTO jobq_meta VALUES('syncs', 0)", "there is one"},
    {"jobq_meta.epoch", "is missing", JOBQ__HAS_NOT("epoch"), NULL,
     "INSERT INTO jobq_meta VALUES('epoch', 0)", "there is one"},
    {"jobq_meta.reads_from", "is missing", JOBQ__HAS_NOT("reads_from"), NULL,
     "INSERT INTO jobq_meta VALUES('reads_from', 2)", "there is one"},
    {"jobq_meta.writes_from", "is missing", JOBQ__HAS_NOT("writes_from"), NULL,
     "INSERT INTO jobq_meta VALUES('writes_from', 2)", "there is one"},
    {"the name of the lane of suspects", "is missing",
     "NOT EXISTS(SELECT 1 FROM jobq_name WHERE id = 1)",
     "DELETE FROM jobq_name WHERE what = 0 AND scope = 0 AND name = ''",
     "INSERT OR IGNORE INTO jobq_name VALUES(1, 0, 0, '')", "there is one"},
};

/* m: a row of jobq_meta. Other keys are a later version's. */
static const struct jobq__audit_rule jobq__audit_meta_rules[] = {
    {"value", "is no number", "m.key IN ('syncs', 'epoch', 'reads_from', 'writes_from')"
     " AND typeof(m.value) <> 'integer'", NULL,
     "UPDATE jobq_meta SET value = iif(key IN ('syncs', 'epoch'), 0, 2) WHERE key = ?1",
     "it is that of a new file"},
};

/* ---- Names ---- */

static const struct jobq__audit_rule jobq__audit_name_rules[] = {
    {"the index of names", "has no entry for it",
     "NOT EXISTS(SELECT 1 FROM jobq_name i INDEXED BY sqlite_autoindex_jobq_name_1"
     " WHERE i.what IS n.what AND i.scope IS n.scope AND i.name IS n.name AND i.id = n.id)",
     NULL, "REINDEX jobq_name", JOBQ__ANEW},
    {"id", "is none that jobq gives", "n.id NOT BETWEEN 1 AND " JOBQ__NAMES, NULL,
     "DELETE FROM jobq_name WHERE id = ?1", "no job can have it, and it goes"},
    {"what", "is none", JOBQ__OUT("n.what", "0", "iif(" JOBQ__OURS ", 2, 6)"), NULL,
     JOBQ__SET_NAME("what = 0"), "it serves as a kind and as a queue"},
    /* Whoever looks for the name finds none, and makes a second one. */
    {"scope", "is of no use in this version", JOBQ__OURS " AND n.scope IS NOT 0 AND NOT"
     " (n.scope IS n.id AND n.what IS 0 AND n.name IS " JOBQ__TEXT_LOST("n.id") ")",
     JOBQ__SET_NAME("scope = 0"),
     JOBQ__SET_NAME("what = 0, scope = id, name = " JOBQ__TEXT_LOST("id")) " AND scope IS NOT 0",
     "it is 0; if another has this name, it is called by its number"},
    {"name", "is none",
     "n.id > 1 AND (typeof(n.name) <> 'text' OR length(CAST(n.name AS BLOB)) NOT BETWEEN 1 AND 192"
     " OR instr(n.name, char(0)))", NULL, JOBQ__SET_NAME("name = " JOBQ__TEXT_LOST("id")),
     "it is called by its number"},
};

/* ---- The claims row ---- */

static const struct jobq__audit_rule jobq__audit_claims_rules[] = {
    {"the row", "stands twice", "c.one <> 1 AND EXISTS(SELECT 1 FROM jobq_claims WHERE one = 1)",
     NULL, "DELETE FROM jobq_claims WHERE one = ?1", "the other one stays"},
    {"one", "is not 1", "c.one <> 1", NULL, JOBQ__SET_CLAIMS("one = 1"), "it is"},
    {"last_id", "is no id", JOBQ__OUT("c.last_id", "0", JOBQ__IDS), NULL,
     JOBQ__SET_CLAIMS("last_id = (SELECT coalesce(max(id), 0) FROM jobq_row WHERE id BETWEEN 1"
                      " AND " JOBQ__IDS ")"), "it is the highest that there is"},
    {"counted", "is no id", JOBQ__OUT("c.counted", "0", JOBQ__IDS),
     NULL, JOBQ__SET_CLAIMS("counted = 0"), "jobs are counted anew"},
    {"wall_at", "is no time", JOBQ__OUT("c.wall_at", "0", JOBQ__WALLS), NULL,
     JOBQ__SET_CLAIMS("wall_at = 0"), "it is not known"},
    {"offset_ms", "is no time, or before all time",
     JOBQ__OUT("c.offset_ms", "-c.wall_at", JOBQ__WALLS), NULL,
     JOBQ__SET_CLAIMS("offset_ms = 0"), "the queue's own time is that of the wall"},
    {"next_name", "is no number for a new name",
     "typeof(c.next_name) <> 'integer' OR c.next_name NOT BETWEEN 2 AND 1 + " JOBQ__NAMES
     " OR c.next_name <= (SELECT max(id) FROM jobq_name WHERE id <= " JOBQ__NAMES ")", NULL,
     JOBQ__SET_CLAIMS("next_name = (SELECT 1 + max(1, coalesce(max(id), 1)) FROM jobq_name WHERE"
                      " id <= " JOBQ__NAMES ")"), "it is above all that were given"},
    {"ids", "is no list of those who are claimed, each once", NULL, NULL, NULL,
     "it names those who are"},
    {"open", "is no list of gates that there are", NULL, NULL, NULL, "it names those"},
    {"open", "does not name a gate that lets jobs pass, and jobs wait there", NULL, NULL, NULL,
     "it names it"},
};
enum { JOBQ__AUDIT_IDS = 7, JOBQ__AUDIT_OPEN = 8, JOBQ__AUDIT_FORGOTTEN = 9 };

static int jobq__audit_true(jobq__store *db, const char *text, int64_t id, bool *answer) {
    sqlite3_stmt *s;
    bool row = false;
    int rc = jobq__db_query(db, text, &s);
    if (s) sqlite3_bind_int64(s, 1, id);
    if (rc == JOBQ_OK) rc = jobq__db_next(db, s, &row);
    *answer = row && sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    return rc;
}

/* One of the two lists of the claims row, as it is; *size: of what can be read. */
static int jobq__audit_list(jobq__store *db, bool open, void **list, size_t *size, bool *odd) {
    sqlite3_stmt *s;
    bool row = false;
    int rc = jobq__db_query(db, open ? "SELECT open FROM jobq_claims WHERE one < " JOBQ__TEXT_PAIRS
                                       " ORDER BY one LIMIT 1"
                                     : "SELECT ids FROM jobq_claims WHERE one < " JOBQ__TEXT_PAIRS
                                       " ORDER BY one LIMIT 1", &s);
    *list = NULL;
    *size = 0;
    *odd = false;
    if (rc == JOBQ_OK) rc = jobq__db_next(db, s, &row);
    if (row && sqlite3_column_type(s, 0) == SQLITE_BLOB) {
        const void *bytes = sqlite3_column_blob(s, 0);
        *size = (size_t)sqlite3_column_bytes(s, 0);
        *list = jobq__mem_copy(bytes ? bytes : "", bytes ? *size : 0);
        if (!*list || (!bytes && *size)) rc = JOBQ_NO_MEMORY;
        if (rc == JOBQ_NO_MEMORY) db->sqlite_code = SQLITE_NOMEM;
    } else if (row) {
        *odd = sqlite3_column_type(s, 0) != SQLITE_NULL;
    }
    sqlite3_finalize(s);
    return rc;
}

/* One that may stand in the list. */
static int jobq__audit_member(jobq__store *db, bool open, int64_t id, bool *member) {
    *member = false;
    if (open && id >= -JOBQ__NAME_ID_MAX && id < JOBQ__LANE_OWN_TIME)
        return jobq__audit_true(db, "SELECT count(*) FROM jobq_name WHERE id = -?1", id, member);
    if (open) return JOBQ_OK;
    return jobq__audit_true(db, "SELECT count(*) FROM jobq_row WHERE id = ?1 AND state = 1", id,
                            member);
}

static bool jobq__audit_named(const int64_t *ids, size_t count, int64_t id) {
    while (count > 0 && ids[count - 1] != id) count--;
    return count > 0;
}

/* The list without what may not stand there; *odd: there was some of that. */
static int jobq__audit_sound(jobq__store *db, bool open, int64_t **ids, size_t *count, bool *odd) {
    size_t most = open ? JOBQ__OPEN_MAX : JOBQ__CLAIMS_MAX, seen = 0, size, at = 0;
    unsigned char *list;
    int64_t id = 0;
    int rc = jobq__audit_list(db, open, (void **)&list, &size, odd);
    *ids = NULL;
    *count = 0;
    if (rc == JOBQ_OK) *ids = jobq__mem_resize(NULL, JOBQ__MIN(size, most) + 1, sizeof **ids);
    if (rc == JOBQ_OK && !*ids) {
        db->sqlite_code = SQLITE_NOMEM;
        rc = JOBQ_NO_MEMORY;
    }
    while (rc == JOBQ_OK && at < size) {
        size_t used = jobq__store_unpack(list + at, size - at, &id);
        bool member = false;
        *odd = *odd || !used || seen == most;
        if (!used || seen++ == most) break;
        at += used;
        rc = jobq__audit_member(db, open, id, &member);
        member = member && !jobq__audit_named(*ids, *count, id);
        if (member) (*ids)[(*count)++] = id;
        else *odd = true;
    }
    jobq__mem_free(list);
    return rc;
}

/* Adds the gates that are missing there, as far as there is room; *ids has some. */
static int jobq__audit_forgotten(struct jobq__audit_known *known, jobq__store *db, int64_t **ids,
                                 size_t *count) {
    int64_t *more;
    size_t i;
    int rc = JOBQ_OK;
    for (i = 0; rc == JOBQ_OK && i < known->gates_count; i++) {
        int32_t lane = known->gates[i];
        bool waits = false;
        if (*count == JOBQ__OPEN_MAX) break;
        if (!jobq__audit_named(*ids, *count, lane))
            rc = jobq__audit_true(db, "SELECT count(*) FROM (SELECT 1 FROM jobq_row WHERE state = 0"
                                  " AND lane = ?1 LIMIT 1)", lane, &waits);
        if (!waits) continue;
        more = jobq__mem_resize(*ids, *count + 1, sizeof *more);
        if (more) *ids = more;
        if (more) (*ids)[(*count)++] = lane;
        else rc = JOBQ_NO_MEMORY;
    }
    if (rc == JOBQ_NO_MEMORY) db->sqlite_code = SQLITE_NOMEM;
    return rc;
}

static int jobq__audit_ask_claims(struct jobq__audit_known *known, jobq__store *db, sqlite3_stmt *s,
                                  uint64_t *broken) {
    int list, rc = JOBQ_OK;
    (void)s;
    for (list = 0; list < 2 && rc == JOBQ_OK; list++) {
        int64_t *ids;
        size_t count, sound;
        bool odd;
        rc = jobq__audit_sound(db, list == 1, &ids, &count, &odd);
        if (odd) *broken |= UINT64_C(1) << (list ? JOBQ__AUDIT_OPEN : JOBQ__AUDIT_IDS);
        sound = count;
        if (rc == JOBQ_OK && list) rc = jobq__audit_forgotten(known, db, &ids, &count);
        if (count > sound) *broken |= UINT64_C(1) << JOBQ__AUDIT_FORGOTTEN;
        jobq__mem_free(ids);
    }
    return rc;
}

static int jobq__audit_put_claims(struct jobq__audit_known *known, jobq__store *db, int rule,
                                  int64_t key, const struct jobq__mend *with) {
    bool odd, open = rule != JOBQ__AUDIT_IDS;
    int64_t *ids, previous = 0;
    unsigned char *list;
    size_t count, size = 0, i;
    sqlite3_stmt *s = NULL;
    int rc = jobq__audit_sound(db, open, &ids, &count, &odd);
    (void)key;
    (void)with;
    if (rc == JOBQ_OK && rule == JOBQ__AUDIT_FORGOTTEN)
        rc = jobq__audit_forgotten(known, db, &ids, &count);
    list = jobq__mem_new(count * JOBQ__PACK_MAX);
    if (rc == JOBQ_OK && !list) {
        db->sqlite_code = SQLITE_NOMEM;
        rc = JOBQ_NO_MEMORY;
    }
    for (i = 0; rc == JOBQ_OK && i < count; previous = ids[i++])
        size += jobq__store_pack(list + size, previous, ids[i]);
    if (rc == JOBQ_OK)
        rc = jobq__db_query(db, open ? "UPDATE jobq_claims SET open = ?1 WHERE one = 1"
                                     : "UPDATE jobq_claims SET ids = ?1 WHERE one = 1", &s);
    if (s && size) sqlite3_bind_blob64(s, 1, list, size, SQLITE_STATIC);
    if (rc == JOBQ_OK) rc = jobq__db_step(db, s);
    sqlite3_finalize(s);
    jobq__mem_free(list);
    jobq__mem_free(ids);
    return rc;
}

/* ---- Who is claimed ---- */

static int jobq__audit_by_id(const void *a, const void *b) {
    int64_t one = *(const int64_t *)a, other = *(const int64_t *)b;
    return (one > other) - (one < other);
}

static int jobq__audit_read_claims(struct jobq__audit_known *known, jobq__store *db) {
    void *list;
    size_t size, at = 0;
    int64_t id = 0;
    int rc = jobq__store_claims_get(db, &list, &size);
    int64_t *ids = rc == JOBQ_OK ? jobq__mem_resize(known->ids, size + 1, sizeof *ids) : NULL;
    if (rc == JOBQ_OK && !ids) {
        db->sqlite_code = SQLITE_NOMEM;
        rc = JOBQ_NO_MEMORY;
    }
    if (ids) known->ids = ids;
    known->ids_count = 0;
    while (rc == JOBQ_OK && at < size) {
        rc = jobq__store_claims_next(db, list, size, &at, &id);
        if (rc == JOBQ_OK) known->ids[known->ids_count++] = id;
    }
    jobq__mem_free(list);
    if (rc == JOBQ_OK)
        qsort(known->ids, known->ids_count, sizeof *known->ids, jobq__audit_by_id);
    return rc;
}

/* *read: the ids that the claims row names are known. What is wrong with that row itself its own
 * part tells. */
static int jobq__audit_claims(struct jobq__audit_known *known, jobq__store *db, bool *read) {
    int rc = known->asked ? JOBQ_OK : jobq__audit_read_claims(known, db);
    if (!known->asked) known->read = rc == JOBQ_OK;
    if (rc == JOBQ_CORRUPT) rc = JOBQ_OK;
    known->asked = rc == JOBQ_OK;
    *read = rc == JOBQ_OK && known->read;
    return rc;
}

static bool jobq__audit_claimed(const struct jobq__audit_known *known, int64_t id) {
    return known->ids_count && bsearch(&id, known->ids, known->ids_count, sizeof id,
                                       jobq__audit_by_id);
}

/* ---- The columns of a row ---- */

/* As one lane predicate says it (tx_place.c), as far as it can be told without the clock and the
 * handlers: scheduled, with the suspects, in its queue, or before the gate of its kind. */
#define JOBQ__PLACED \
    "(j.lane IN (-1, 0) OR (j.lane = 1 AND j.crashes > 0) OR (j.lane > 1 AND j.lane = j.queue" \
    " AND j.crashes = 0) OR (j.lane < -1 AND j.lane = -j.kind))"
/* Of a job without a run nobody reads those (sql.h). */
#define JOBQ__HAS_RUN "(attempt > 1 OR crashes > 0 OR delay_ms > 0)"
/* A number that was never given, so that a new name cannot come to have it: the last one, as long
 * as it has no name (the rows of one walk have it together), or the next. The name is given with
 * what stands beside the row. */
#define JOBQ__NUMBER_GIVE(id) \
    "UPDATE jobq_claims SET next_name = next_name + 1 WHERE one = 1 AND next_name <= " JOBQ__NAMES \
    " AND next_name - 1 IN (SELECT id FROM jobq_name)", \
    JOBQ__SET_ROW(id " = (SELECT next_name - 1 FROM jobq_claims WHERE one = 1)") \
    " AND EXISTS(SELECT 1 FROM jobq_claims WHERE one = 1 AND next_name > 2" \
    " AND next_name - 1 NOT IN (SELECT id FROM jobq_name))"
#define JOBQ__AUDIT_WAITS "it waits for its time, and takes its place from there"

static const struct jobq__audit_rule jobq__audit_row_rules[] = {
    {"the index jobq_live", "has no entry for it",
     "j.state = 0 AND NOT EXISTS(SELECT 1 FROM jobq_row i INDEXED BY jobq_live WHERE i.state = 0"
     " AND i.lane IS j.lane AND i.ord IS j.ord AND i.run_at IS j.run_at AND i.id = j.id)",
     NULL, "REINDEX jobq_live", JOBQ__ANEW},
    {"the index jobq_finished", "has no entry for it",
     "j.prune_at IS NOT NULL AND NOT EXISTS(SELECT 1 FROM jobq_row i INDEXED BY jobq_finished"
     " WHERE i.prune_at IS NOT NULL AND i.prune_at IS j.prune_at AND i.id = j.id)",
     NULL, "REINDEX jobq_finished", JOBQ__ANEW},
    {"id", "is none that jobq gives", "j.id NOT BETWEEN 1 AND " JOBQ__IDS, NULL, NULL,
     NULL},
    {"side", "is none", JOBQ__OUT("j.side", "0", "15"), NULL,
     JOBQ__SET_ROW("side = EXISTS(SELECT 1 FROM jobq_extra WHERE job = ?1) | 2 * EXISTS(SELECT 1"
                   " FROM jobq_extra WHERE job = ?1 AND key IS NOT NULL)"
                   " | 8 * (typeof(payload) = 'integer')"), "it says what there is"},
    {"state", "is none", JOBQ__OUT("j.state", "0", "4"), NULL,
     JOBQ__SET_ROW("state = iif(finished_at IS NULL, 0, 3), lane = 0, ord = 0"),
     "it waits for its time or, if it has an end, is kept among the failed ones"},
    {"kind", "is the number of none", JOBQ__OUT("j.kind", "2", JOBQ__NAMES),
     JOBQ__NUMBER_GIVE("kind"), "it is one of its own, which no other kind has"},
    {"queue", "is the number of none", JOBQ__OUT("j.queue", "2", JOBQ__NAMES),
     JOBQ__NUMBER_GIVE("queue"), "it is one of its own, which no other queue has"},
    {"run_at", "is no time", JOBQ__BELOW("j.run_at", "0"), NULL, JOBQ__SET_ROW("run_at = ?5"),
     "it is due"},
    {"priority", "is none", JOBQ__OUT("j.priority", "-2147483648", "2147483647"), NULL,
     JOBQ__SET_ROW("priority = 0"), "it is 0"},
    {"attempt", "is none", JOBQ__OUT("j.attempt", "1", "2147483647"), NULL,
     JOBQ__SET_ROW("attempt = 1"), "it is 1"},
    {"runs", "is no number of runs of such a job",
     JOBQ__OUT("j.runs", "(j.state = 1)", "2147483647 - (j.state = 0)")
     " OR (j.runs = 0 AND " JOBQ__HAS_RUN ")", NULL,
     JOBQ__SET_ROW("runs = (state = 1 OR " JOBQ__HAS_RUN ")"), "they are as few as can be"},
    {"crashes", "is none", JOBQ__OUT("j.crashes", "0", "2147483647"), NULL,
     JOBQ__SET_ROW("crashes = 0"), "there were none"},
    {"delay_ms", "is no time", JOBQ__BELOW("j.delay_ms", "0"), NULL,
     JOBQ__SET_ROW("delay_ms = 0"), "there was none"},
    {"created_at", "is no time",
     "j.created_at IS NOT NULL AND (" JOBQ__BELOW("j.created_at", "0") ")", NULL,
     JOBQ__SET_ROW("created_at = NULL"), "it is the time at which it is due"},
    {"finished_at", "is missing, and prune_at too, so that nobody knows how it ended",
     "j.state IN (2, 4) AND j.finished_at IS NULL AND j.prune_at IS NULL", NULL,
     JOBQ__SET_ROW("state = 3"), "it is kept among the failed ones"},
    {"finished_at", "does not go with its state",
     "iif(" JOBQ__ENDED ", " JOBQ__BELOW("j.finished_at", "0") ", j.finished_at IS NOT NULL)", NULL,
     JOBQ__SET_ROW("finished_at = iif(state IN (2, 3, 4), ?5, NULL)"),
     "it is now, or none if it has not ended"},
    {"prune_at", "does not go with its state",
     "iif(" JOBQ__ENDED ", " JOBQ__BELOW("j.prune_at", "0") ", j.prune_at IS NOT NULL)", NULL,
     JOBQ__SET_ROW("prune_at = CASE WHEN state = 3 THEN ?7 WHEN state IN (2, 4) THEN ?6 END"),
     "it is kept as long as others, or as long as it takes if it has not ended"},
    {"lane", "is none where such a job can be",
     "iif(j.state = 0, typeof(j.lane) <> 'integer' OR NOT " JOBQ__PLACED ","
     " j.lane IS NOT NULL AND (" JOBQ__OUT("j.lane", "-" JOBQ__NAMES, JOBQ__NAMES) "))", NULL,
     JOBQ__SET_ROW("lane = iif(state = 0, 0, NULL), ord = 0"), JOBQ__AUDIT_WAITS},
    {"ord", "is not its place",
     JOBQ__OUT("j.ord", "-2147483648", "2147483647")
     " OR (j.state = 0 AND j.ord <> iif(j.lane > 0, j.priority, 0))", NULL,
     JOBQ__SET_ROW("lane = iif(state = 0, -(lane = -1), lane), ord = 0"), JOBQ__AUDIT_WAITS},
    {"state", "is that of a claimed job, which jobq_claims does not name", NULL, NULL, NULL,
     "it is given back, and not charged with a crash"},
};
enum { JOBQ__AUDIT_NOBODYS = 19 };

static int jobq__audit_ask_row(struct jobq__audit_known *known, jobq__store *db, sqlite3_stmt *s,
                               uint64_t *broken) {
    bool read;
    int rc;
    if (!sqlite3_column_int(s, 2)) return JOBQ_OK;
    rc = jobq__audit_claims(known, db, &read);
    if (rc == JOBQ_OK && read && !jobq__audit_claimed(known, sqlite3_column_int64(s, 0)))
        *broken |= UINT64_C(1) << JOBQ__AUDIT_NOBODYS;
    return rc;
}

/* As after a crash: a wish to cancel it is fulfilled. */
static int jobq__audit_put_row(struct jobq__audit_known *known, jobq__store *db, int rule,
                               int64_t key, const struct jobq__mend *with) {
    sqlite3_stmt *s = NULL;
    bool read;
    int rc = jobq__audit_claims(known, db, &read);
    (void)rule;
    if (rc != JOBQ_OK || !read || jobq__audit_claimed(known, key)) return rc;
    rc = jobq__db_query(db, "UPDATE jobq_row SET state = iif(side & 4, 4, 0), lane = 0, ord = 0,"
                        " side = side & ~4, finished_at = iif(side & 4, ?2, NULL),"
                        " prune_at = iif(side & 4, ?3, NULL) WHERE id = ?1 AND state = 1", &s);
    if (rc != JOBQ_OK) return rc;
    sqlite3_bind_int64(s, 1, key);
    sqlite3_bind_int64(s, 2, with->now_ms);
    sqlite3_bind_int64(s, 3, with->prune_done_ms);
    rc = jobq__db_step(db, s);
    sqlite3_finalize(s);
    return rc;
}

/* ---- What is lost ---- */

#define JOBQ__SAYS(bit) "j.side BETWEEN 0 AND 15 AND j.side & " bit
#define JOBQ__APART "EXISTS(SELECT 1 FROM jobq_payload WHERE job = j.id)"
#define JOBQ__PAYLOAD_LOST \
    JOBQ__SAYS("8") " AND typeof(j.payload) NOT IN ('blob', 'null') AND NOT " JOBQ__APART

static const struct jobq__audit_rule jobq__audit_lost_rules[] = {
    {"payload", "stands apart, and is missing there", NULL, NULL, NULL,
     "its job has none and, if it had not ended, is kept among the failed ones"},
};

static int jobq__audit_ask_lost(struct jobq__audit_known *known, jobq__store *db, sqlite3_stmt *s,
                                uint64_t *broken) {
    (void)known;
    (void)db;
    if (sqlite3_column_int(s, 2)) *broken |= 1;
    return JOBQ_OK;
}

/* At once, for others may come upon the job before the walk is over: who waits ends as by its last
 * attempt. It must not run without what it was given. */
static int jobq__audit_put_lost(struct jobq__audit_known *known, jobq__store *db, int rule,
                                int64_t key, const struct jobq__mend *with) {
    static const char *const texts[] = {
        "INSERT OR IGNORE INTO jobq_extra(job) SELECT id FROM jobq_row WHERE id = ?1"
        " AND state = 0",
        "UPDATE jobq_extra SET error = 'its payload was lost, and jobq_check has ended it'"
        " WHERE job = (SELECT id FROM jobq_row WHERE id = ?1 AND state = 0)",
        "UPDATE OR REPLACE jobq_key SET held = 0 WHERE job = ?1 AND held = 1 AND (kind, key) ="
        " (SELECT j.kind, x.key FROM jobq_row j JOIN jobq_extra x ON x.job = j.id WHERE j.id = ?1"
        " AND j.state = 0)",
        "INSERT OR IGNORE INTO jobq_failed SELECT ?3, id FROM jobq_row WHERE id = ?1"
        " AND state = 0",
        "UPDATE jobq_row SET side = (side & ~8) | (state = 0), payload = NULL,"
        " finished_at = iif(state = 0, ?2, finished_at), prune_at = iif(state = 0, ?3, prune_at),"
        " state = iif(state = 0, 3, state) WHERE id = ?1 AND state <> 1",
    };
    int rc = JOBQ_OK;
    size_t i;
    (void)known;
    (void)rule;
    for (i = 0; i < JOBQ__COUNT(texts) && rc == JOBQ_OK; i++) {
        sqlite3_stmt *s;
        rc = jobq__db_query(db, texts[i], &s);
        if (rc != JOBQ_OK) break;
        sqlite3_bind_int64(s, 1, key);
        sqlite3_bind_int64(s, 2, with->now_ms);
        sqlite3_bind_int64(s, 3, with->prune_failed_ms);
        rc = jobq__db_step(db, s);
        sqlite3_finalize(s);
    }
    return rc;
}

/* ---- What stands beside a row ---- */

#define JOBQ__NO_JOB(job) "NOT EXISTS(SELECT 1 FROM jobq_row WHERE id = " job ")"

static const struct jobq__audit_rule jobq__audit_failed_rules[] = {
    {"the row", "is not that of a failed job", "NOT EXISTS(SELECT 1 FROM jobq_row"
     " WHERE id = f.job AND state = 3 AND prune_at IS f.at)", NULL,
     "DELETE FROM jobq_failed WHERE at = ?1 AND job = ?2", "it goes"},
};

#define JOBQ__UNUSED_BESIDE(column) JOBQ__UNUSED(column, "x", JOBQ__SET_EXTRA(column " = NULL"))

static const struct jobq__audit_rule jobq__audit_extra_rules[] = {
    {"the row", "has no job", JOBQ__NO_JOB("x.job"), NULL, "DELETE FROM jobq_extra WHERE job = ?1",
     "it goes"},
    {"key", "is none", "x.key IS NOT NULL AND (typeof(x.key) <> 'text'"
     " OR length(CAST(x.key AS BLOB)) NOT BETWEEN 1 AND 384 OR instr(x.key, char(0)))", NULL,
     JOBQ__SET_EXTRA("key = NULL"), "its job has none, unless jobq_key knows it"},
    {"error", "is no message", "x.error IS NOT NULL AND (typeof(x.error) <> 'text'"
     " OR length(CAST(x.error AS BLOB)) > 765 OR instr(x.error, char(0)))", NULL,
     JOBQ__SET_EXTRA("error = NULL"), "there is none"},
    {"result", "is no blob", "x.result IS NOT NULL AND typeof(x.result) <> 'blob'", NULL,
     JOBQ__SET_EXTRA("result = CAST(result AS BLOB)"), "it becomes one"},
    {"saved", "is no blob", "x.saved IS NOT NULL AND typeof(x.saved) <> 'blob'", NULL,
     JOBQ__SET_EXTRA("saved = CAST(saved AS BLOB)"), "it becomes one"},
    JOBQ__UNUSED_BESIDE("tags"),
    JOBQ__UNUSED_BESIDE("trace"),
    JOBQ__UNUSED_BESIDE("attempts_max"),
    JOBQ__UNUSED_BESIDE("on_failed"),
    JOBQ__UNUSED_BESIDE("needs"),
    JOBQ__UNUSED_BESIDE("expires_at"),
    JOBQ__UNUSED_BESIDE("cause"),
    JOBQ__UNUSED_BESIDE("schedule"),
    JOBQ__UNUSED_BESIDE("nominal_at"),
    {"the row", "is not said to be there by the side of its job",
     "EXISTS(SELECT 1 FROM jobq_row j WHERE j.id = x.job"
     " AND NOT (j.side & 1 AND (x.key IS NULL OR j.side & 2)))", NULL,
     "UPDATE jobq_row SET side = side | iif((SELECT key FROM jobq_extra WHERE job = ?1) IS NULL,"
     " 1, 3) WHERE id = ?1", "it is"},
};

/* k and who else has this key held, rightly. */
#define JOBQ__LIVE "(SELECT j.state < 2 FROM jobq_row j WHERE j.id = k.job)"
#define JOBQ__SET_KEY(what) what " WHERE kind = ?1 AND key = ?2 AND held = ?3 AND job = ?4"
#define JOBQ__OTHER(kind, key, job) \
    "EXISTS(SELECT 1 FROM jobq_key o JOIN jobq_row r ON r.id = o.job" \
    " JOIN jobq_extra y ON y.job = o.job WHERE o.kind = " kind " AND o.key = " key \
    " AND o.held = 1 AND r.state < 2 AND r.kind IS o.kind AND y.key IS o.key AND " job ")"
#define JOBQ__EARLIER \
    JOBQ__OTHER("k.kind", "k.key", "o.job <> k.job AND (o.job < k.job OR k.held IS NOT 1)")

static const struct jobq__audit_rule jobq__audit_key_rules[] = {
    {"the row", "has no job", JOBQ__NO_JOB("k.job"), NULL, JOBQ__SET_KEY("DELETE FROM jobq_key"),
     "it goes"},
    {"the row", "is not that of its job's kind and key",
     "EXISTS(SELECT 1 FROM jobq_row j LEFT JOIN jobq_extra x ON x.job = j.id WHERE j.id = k.job"
     " AND (j.kind IS NOT k.kind OR (x.key IS NOT k.key AND (x.key IS NOT NULL"
     " OR NOT j.side & 2))))", NULL, JOBQ__SET_KEY("DELETE FROM jobq_key"), "it goes"},
    {"key", "is not beside its job", "EXISTS(SELECT 1 FROM jobq_row j LEFT JOIN jobq_extra x"
     " ON x.job = j.id WHERE j.id = k.job AND j.side & 2 AND x.key IS NULL)",
     "INSERT OR IGNORE INTO jobq_extra(job) VALUES(?4)",
     "UPDATE jobq_extra SET key = ?2 WHERE job = ?4", "it is"},
    {"held", "says that two have the same key",
     "k.held IS NOT 0 AND " JOBQ__LIVE " AND " JOBQ__EARLIER,
     "UPDATE jobq_extra SET key = NULL WHERE job = ?4", JOBQ__SET_KEY("DELETE FROM jobq_key"),
     "the earlier job keeps it, this one stays without"},
    {"held", "does not go with the state of its job",
     JOBQ__LIVE " IS NOT NULL AND k.held IS NOT " JOBQ__LIVE
     " AND NOT (" JOBQ__LIVE " AND " JOBQ__EARLIER ")", NULL,
     JOBQ__SET_KEY("UPDATE OR REPLACE jobq_key SET held = (SELECT state < 2 FROM jobq_row"
                   " WHERE id = ?4)"), "it does"},
    {"held", "is free, though its job has not ended and another has the key",
     "k.held IS 0 AND " JOBQ__LIVE " AND " JOBQ__EARLIER,
     "UPDATE jobq_extra SET key = NULL WHERE job = ?4", JOBQ__SET_KEY("DELETE FROM jobq_key"),
     "the other job keeps it, this one stays without"},
    JOBQ__UNUSED("until", "k", JOBQ__SET_KEY("UPDATE jobq_key SET until = NULL")),
};

/* x, whose key is not in jobq_key. */
#define JOBQ__KEYLESS(and) \
    "x.key IS NOT NULL AND EXISTS(SELECT 1 FROM jobq_row j WHERE j.id = x.job AND j.side & 2" \
    " AND NOT EXISTS(SELECT 1 FROM jobq_key WHERE kind = j.kind AND key = x.key" \
    " AND held IN (0, 1) AND job = x.job) AND " and \
    " (j.state < 2 AND " JOBQ__OTHER("j.kind", "x.key", "o.job <> x.job") "))"

static const struct jobq__audit_rule jobq__audit_keyed_rules[] = {
    {"key", "is not in jobq_key", JOBQ__KEYLESS("NOT"), NULL,
     "INSERT OR IGNORE INTO jobq_key(kind, key, held, job) SELECT j.kind, x.key, j.state < 2, j.id"
     " FROM jobq_row j JOIN jobq_extra x ON x.job = j.id WHERE j.id = ?1", "it is"},
    {"key", "is not in jobq_key, and another job has it", JOBQ__KEYLESS(""), NULL,
     JOBQ__SET_EXTRA("key = NULL"), "the other job keeps it, this one stays without"},
};

static const struct jobq__audit_rule jobq__audit_payload_rules[] = {
    {"the row", "has no job", JOBQ__NO_JOB("p.job"), NULL,
     "DELETE FROM jobq_payload WHERE job = ?1", "it goes"},
    {"the row", "is not said to be there by the side of its job",
     "EXISTS(SELECT 1 FROM jobq_row j WHERE j.id = p.job AND NOT j.side & 8"
     " AND typeof(j.payload) IN ('integer', 'null'))", NULL,
     JOBQ__SET_ROW("side = side | 8, payload = (SELECT length(data) FROM jobq_payload"
                   " WHERE job = ?1)"), "it is"},
    {"the row", "is a second payload of its job",
     "EXISTS(SELECT 1 FROM jobq_row j WHERE j.id = p.job AND NOT j.side & 8"
     " AND typeof(j.payload) NOT IN ('integer', 'null'))", NULL,
     "DELETE FROM jobq_payload WHERE job = ?1", "the one in the row stays"},
};

/* ---- What a row says of what stands beside it ---- */

#define JOBQ__NAME_GIVE(id) \
    "UPDATE jobq_claims SET next_name = max(next_name, 1 + (SELECT " id " FROM jobq_row" \
    " WHERE id = ?1)) WHERE one = 1", \
    JOBQ__TEXT_NAME_LOST(id, "j.id = ?1"), "it is called by its number"

static const struct jobq__audit_rule jobq__audit_beside_rules[] = {
    {"side", "wants one cancelled that does not run", JOBQ__SAYS("4") " AND j.state <> 1", NULL,
     JOBQ__SET_ROW("side = side & ~4"), "it does not"},
    {"side", "says that it has a key", JOBQ__SAYS("2") " AND NOT EXISTS(SELECT 1"
     " FROM jobq_extra"
     " WHERE job = j.id AND key IS NOT NULL)", NULL, JOBQ__SET_ROW("side = side & ~2"),
     "it has none"},
    {"side", "says that its payload stands apart, and there is none, nor the number of its bytes",
     JOBQ__SAYS("8") " AND typeof(j.payload) IN ('blob', 'null') AND NOT " JOBQ__APART, NULL,
     JOBQ__SET_ROW("side = side & ~8"), "it does not"},
    {"payload", "is not the number of bytes of the one apart",
     JOBQ__SAYS("8") " AND " JOBQ__APART " AND (typeof(j.payload) = 'null' OR (typeof(j.payload)"
     " = 'integer' AND j.payload NOT BETWEEN 1 AND 67108864))", NULL,
     JOBQ__SET_ROW("payload = (SELECT length(data) FROM jobq_payload WHERE job = ?1)"), "it is"},
    {"payload", "is another one than that which stands apart",
     JOBQ__SAYS("8") " AND EXISTS(SELECT 1 FROM jobq_payload p WHERE p.job = j.id"
     " AND iif(typeof(j.payload) = 'integer', j.payload BETWEEN 1 AND 67108864"
     " AND (typeof(p.data) <> 'blob' OR length(p.data) <> j.payload), j.payload IS NOT NULL))",
     NULL, NULL, NULL},
    {"payload", "is none",
     "j.side BETWEEN 0 AND 15 AND NOT j.side & 8 AND j.payload IS NOT NULL"
     " AND (typeof(j.payload) <> 'blob'"
     " OR length(j.payload) > 67108864)", NULL, NULL, NULL},
    {"the row", "is of a failed job, and not in jobq_failed", "j.state = 3 AND j.prune_at IS NOT"
     " NULL AND NOT EXISTS(SELECT 1 FROM jobq_failed WHERE at = j.prune_at AND job = j.id)", NULL,
     "INSERT OR IGNORE INTO jobq_failed SELECT prune_at, id FROM jobq_row WHERE id = ?1", "it is"},
    {"kind", "has no name", JOBQ__TEXT_IS_LOST("kind"), JOBQ__NAME_GIVE("kind")},
    {"queue", "has no name", JOBQ__TEXT_IS_LOST("queue"), JOBQ__NAME_GIVE("queue")},
    JOBQ__UNUSED("grp", "j", JOBQ__SET_ROW("grp = NULL")),
};

/* ---- What this version does not write ---- */

/* job: which key is a job's id, or -1. */
#define JOBQ__UNUSED_TABLE(table, keys, match, count, job) \
    {table, table, "", keys, match, count, job, (const struct jobq__audit_rule[]){ \
     {"the row", "is nobody's: this version writes none here", JOBQ__OURS, NULL, \
      "DELETE FROM " table " WHERE " match, "it goes"}}, 1, "0", NULL, NULL, false, \
     JOBQ__LOOK_ROWS}
#define JOBQ__UNUSED_1(table, a, job) JOBQ__UNUSED_TABLE(table, a, a " = ?1", 1, job)
#define JOBQ__UNUSED_2(table, keys, job) \
    JOBQ__UNUSED_TABLE(table, keys, "(" keys ") = (?1, ?2)", 2, job)
#define JOBQ__UNUSED_3(table, keys, job) \
    JOBQ__UNUSED_TABLE(table, keys, "(" keys ") = (?1, ?2, ?3)", 3, job)
#define JOBQ__UNUSED_4(table, keys, job) \
    JOBQ__UNUSED_TABLE(table, keys, "(" keys ") = (?1, ?2, ?3, ?4)", 4, job)

/* ---- Counters ---- */

static const struct jobq__audit_rule jobq__audit_pair_rules[] = {
    {"a counter", "stands where none belongs", "c.one < " JOBQ__TEXT_PAIRS " AND coalesce(c.ready,"
     " c.scheduled, c.blocked, c.claimed, c.retrying, c.done, c.failed, c.cancelled) IS NOT NULL",
     NULL, JOBQ__SET_CLAIMS("ready = NULL, scheduled = NULL, blocked = NULL, claimed = NULL,"
     " retrying = NULL, done = NULL, failed = NULL, cancelled = NULL"), "there is none"},
    {"one of ids to next_name", "stands beside counters", "c.one >= " JOBQ__TEXT_PAIRS
     " AND coalesce(c.ids, c.last_id, c.open, c.counted, c.offset_ms, c.wall_at, c.next_name)"
     " IS NOT NULL", NULL, JOBQ__SET_CLAIMS("ids = NULL, last_id = NULL, open = NULL,"
     " counted = NULL, offset_ms = NULL, wall_at = NULL, next_name = NULL"), "there is none"},
};

static const struct jobq__audit_rule jobq__audit_count_rules[] = {
    {NULL, NULL, NULL, NULL, NULL, "jobs are counted anew"},
};

/* ---- The walk ---- */

#define JOBQ__RULES(name) jobq__audit_##name##_rules, (int)JOBQ__COUNT(jobq__audit_##name##_rules)
#define JOBQ__ONE(key) key, key " = ?1", 1
#define JOBQ__LIVE_KEYS "i.lane, i.ord, i.run_at, i.id"
#define JOBQ__KEY_KEYS "k.kind, k.key, k.held, k.job"

static const struct jobq__audit_part jobq__audit_parts[] = {
    {"the file", NULL, NULL, NULL, NULL, 0, -1, NULL, 0, NULL, NULL, NULL, false, JOBQ__LOOK_FILE},
    {"jobq_row", "jobq_row i INDEXED BY jobq_live", "AND i.state = 0", JOBQ__LIVE_KEYS,
     "(" JOBQ__LIVE_KEYS ") IS (?1, ?2, ?3, ?4)", 4, -1, JOBQ__RULES(live), "0", NULL, NULL,
     false, JOBQ__LOOK_ROWS},
    {"jobq_row", "jobq_row i INDEXED BY jobq_finished", "AND i.prune_at IS NOT NULL",
     "i.prune_at, i.id", "(i.prune_at, i.id) IS (?1, ?2)", 2, -1, JOBQ__RULES(finished), "0", NULL,
     NULL, false, JOBQ__LOOK_ROWS},
    {"jobq_name", "jobq_name i INDEXED BY sqlite_autoindex_jobq_name_1", "",
     "i.what, i.scope, i.name, i.id", "(i.what, i.scope, i.name, i.id) IS (?1, ?2, ?3, ?4)", 4, -1,
     JOBQ__RULES(index_of_names), "0", NULL, NULL, false, JOBQ__LOOK_ROWS},
    {"jobq", "(SELECT 1 AS one) o", "", JOBQ__ONE("o.one"), -1, JOBQ__RULES(single), "0", NULL,
     NULL, true, JOBQ__LOOK_ROWS},
    {"jobq_meta", "jobq_meta m", "", JOBQ__ONE("m.key"), -1, JOBQ__RULES(meta), "0", NULL, NULL,
     false, JOBQ__LOOK_ROWS},
    {"jobq_name", "jobq_name n", "", JOBQ__ONE("n.id"), -1, JOBQ__RULES(name), "0", NULL, NULL,
     false, JOBQ__LOOK_ROWS},
    {"jobq_claims", "jobq_claims c", " AND c.one < " JOBQ__TEXT_PAIRS, JOBQ__ONE("c.one"), -1,
     JOBQ__RULES(claims), "0", jobq__audit_ask_claims, jobq__audit_put_claims, true,
     JOBQ__LOOK_ROWS},
    {"jobq_row", "jobq_row j", "", JOBQ__ONE("j.id"), 0, JOBQ__RULES(row), "j.state = 1",
     jobq__audit_ask_row, jobq__audit_put_row, true, JOBQ__LOOK_ROWS},
    {"jobq_row", "jobq_row j", "", JOBQ__ONE("j.id"), 0, JOBQ__RULES(lost),
     "iif(" JOBQ__PAYLOAD_LOST ",1,0)", jobq__audit_ask_lost, jobq__audit_put_lost, true,
     JOBQ__LOOK_ROWS},
    {"jobq_failed", "jobq_failed f", "", "f.at, f.job", "(f.at, f.job) = (?1, ?2)", 2, -1,
     JOBQ__RULES(failed), "0", NULL, NULL, false, JOBQ__LOOK_ROWS},
    {"jobq_extra", "jobq_extra x", "", JOBQ__ONE("x.job"), 0, JOBQ__RULES(extra), "0", NULL, NULL,
     false, JOBQ__LOOK_ROWS},
    {"jobq_key", "jobq_key k", "", JOBQ__KEY_KEYS, "(" JOBQ__KEY_KEYS ") = (?1, ?2, ?3, ?4)", 4, 3,
     JOBQ__RULES(key), "0", NULL, NULL, false, JOBQ__LOOK_ROWS},
    {"jobq_extra", "jobq_extra x", "", JOBQ__ONE("x.job"), 0, JOBQ__RULES(keyed), "0", NULL, NULL,
     false, JOBQ__LOOK_ROWS},
    {"jobq_payload", "jobq_payload p", "", JOBQ__ONE("p.job"), 0, JOBQ__RULES(payload), "0", NULL,
     NULL, false, JOBQ__LOOK_ROWS},
    {"jobq_row", "jobq_row j", "", JOBQ__ONE("j.id"), 0, JOBQ__RULES(beside), "0", NULL, NULL,
     false, JOBQ__LOOK_ROWS},
    JOBQ__UNUSED_3("jobq_rule", "what, name, layer", -1),
    JOBQ__UNUSED_2("jobq_gate", "what, id", -1),
    JOBQ__UNUSED_2("jobq_pass", "job, gate", 0),
    JOBQ__UNUSED_3("jobq_alarm", "at, what, id", -1),
    JOBQ__UNUSED_1("jobq_kind", "id", -1),
    JOBQ__UNUSED_4("jobq_figure", "span, at, queue, kind", -1),
    JOBQ__UNUSED_1("jobq_command", "id", -1),
    JOBQ__UNUSED_1("jobq_schedule", "id", -1),
    JOBQ__UNUSED_2("jobq_fired", "schedule, nominal", -1),
    JOBQ__UNUSED_2("jobq_after", "parent, child", -1),
    JOBQ__UNUSED_1("jobq_batch", "job", 0),
    JOBQ__UNUSED_2("jobq_signal", "event, serial", -1),
    JOBQ__UNUSED_2("jobq_await", "job, event", 0),
    JOBQ__UNUSED_2("jobq_step", "job, name", 0),
    JOBQ__UNUSED_2("jobq_note", "job, seq", 0),
    JOBQ__UNUSED_2("jobq_import", "source, id", -1),
    {"jobq_claims", "jobq_claims c", "", JOBQ__ONE("c.one"), -1, JOBQ__RULES(pair), "0", NULL,
     NULL, false, JOBQ__LOOK_ROWS},
    {"jobq_claims", NULL, NULL, NULL, NULL, 0, -1, JOBQ__RULES(count), NULL, NULL, NULL, true,
     JOBQ__LOOK_COUNTERS},
};

JOBQ__INTERNAL const struct jobq__audit_part *jobq__audit_part(int i) {
    return i < (int)JOBQ__COUNT(jobq__audit_parts) ? &jobq__audit_parts[i] : NULL;
}

/*==== audit_count.c ====*/
/* audit_count.c - what the counters say against what their rows come to. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/audit_count.c"
#endif
/* #include "audit.h" */

/* Design note.
 *
 * All rows that are counted are read, once, in the snapshot in which the counters are, and added up
 * by queue and kind: there are few of those pairs, and many rows. Where a row itself is not as it
 * should be nothing is told here: it is told where it stands, and nobody can count it.
 *
 * jobq_check calls it, as a part of its walk (audit.c). */

struct jobq__sums {
    struct jobq__count *pairs;  /* by queue and kind */
    size_t count, capacity;
    jobq__audit_differs *differs;
    void *ctx;
};

static const char *const jobq__sums_names[JOBQ__COUNTS] = {
    "ready", "scheduled", "blocked", "claimed", "done", "failed", "cancelled", "retrying"};

/* Where that pair stands, or would stand; *there: it does. */
static size_t jobq__sums_find(const struct jobq__sums *sums, int64_t queue, int64_t kind,
                              bool *there) {
    size_t low = 0, high = sums->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct jobq__count *pair = &sums->pairs[middle];
        if (pair->queue < queue || (pair->queue == queue && pair->kind < kind)) low = middle + 1;
        else high = middle;
    }
    *there = low < sums->count && sums->pairs[low].queue == queue
          && sums->pairs[low].kind == kind;
    return low;
}

/* NULL: no memory. */
static struct jobq__count *jobq__sums_of(struct jobq__sums *sums, const struct jobq__row *row) {
    bool there;
    size_t at = jobq__sums_find(sums, row->queue, row->kind, &there);
    if (there) return &sums->pairs[at];
    if (sums->count == sums->capacity) {
        size_t capacity = JOBQ__MAX(sums->capacity * 2, 16);
        void *pairs = jobq__mem_resize(sums->pairs, capacity, sizeof *sums->pairs);
        if (!pairs) return NULL;
        sums->pairs = pairs;
        sums->capacity = capacity;
    }
    memmove(&sums->pairs[at + 1], &sums->pairs[at], (sums->count - at) * sizeof *sums->pairs);
    sums->count++;
    memset(&sums->pairs[at], 0, sizeof *sums->pairs);
    sums->pairs[at].queue = row->queue;
    sums->pairs[at].kind = row->kind;
    return &sums->pairs[at];
}

static int jobq__sums_read(struct jobq__sums *sums, jobq__store *db, int64_t upto) {
    struct jobq__row row;
    jobq__walk *walk = jobq__store_uncounted(db, 0, upto);
    bool more;
    int rc;
    row.id = 0;
    while ((rc = jobq__store_next_uncounted(db, walk, &row, &more)) == JOBQ_OK && more) {
        struct jobq__count *pair = jobq__sums_of(sums, &row);
        if (!pair) {
            db->sqlite_code = SQLITE_NOMEM;
            rc = JOBQ_NO_MEMORY;
            break;
        }
        jobq__store_count_row(&row, pair->by);
    }
    jobq__store_end(walk);
    return rc;
}

static bool jobq__sums_tell(const struct jobq__sums *sums, int64_t queue, int64_t kind,
                            int counter, int64_t is, int64_t jobs) {
    return is == jobs
        || sums->differs(sums->ctx, queue, kind, jobq__sums_names[counter], is, jobs);
}

/* A row of counters that s stands on. What is in the sums is 0 from then on. */
static bool jobq__sums_compare(struct jobq__sums *sums, sqlite3_stmt *s) {
    int64_t queue = sqlite3_column_int64(s, 0), kind = sqlite3_column_int64(s, 1);
    bool there, goes_on = true;
    size_t at = jobq__sums_find(sums, queue, kind, &there);
    int i;
    for (i = 0; i < JOBQ__COUNTS && goes_on; i++) {
        int64_t jobs = there ? sums->pairs[at].by[i] : 0;
        bool number = sqlite3_column_type(s, 2 + i) == SQLITE_INTEGER;
        goes_on = jobq__sums_tell(sums, queue, kind, i,
                                  number ? sqlite3_column_int64(s, 2 + i) : -1, jobs);
        if (there) sums->pairs[at].by[i] = 0;
    }
    return goes_on;
}

static int jobq__sums_counters(struct jobq__sums *sums, jobq__store *db) {
    bool row = false;
    size_t at;
    int i;
    sqlite3_stmt *s;
    int rc = jobq__db_query(db, "SELECT one >> 32, one & 4294967295, ready, scheduled, blocked,"
                            " claimed, done, failed, cancelled, retrying FROM jobq_claims"
                            " WHERE one >= " JOBQ__TEXT_PAIRS, &s);
    do {
        if (rc == JOBQ_OK) rc = jobq__db_next(db, s, &row);
    } while (rc == JOBQ_OK && row && jobq__sums_compare(sums, s));
    sqlite3_finalize(s);
    for (at = 0; at < sums->count && rc == JOBQ_OK && !row; at++)
        for (i = 0; i < JOBQ__COUNTS; i++)
            if (!jobq__sums_tell(sums, sums->pairs[at].queue, sums->pairs[at].kind, i, 0,
                                 sums->pairs[at].by[i])) break;
    return rc;
}

/* The first statement is in the middle of its row until the end, so all of them see one moment. */
JOBQ__INTERNAL int jobq__audit_counts(jobq__store *db, jobq__audit_differs *differs, void *ctx) {
    struct jobq__sums sums = {NULL, 0, 0, differs, ctx};
    sqlite3_stmt *s;
    bool row = false;
    int rc = jobq__db_query(db, "SELECT counted FROM " JOBQ__TEXT_CLAIMS, &s);
    if (rc == JOBQ_OK) rc = jobq__db_next(db, s, &row);
    if (row && sqlite3_column_type(s, 0) == SQLITE_INTEGER) {
        rc = jobq__sums_read(&sums, db, sqlite3_column_int64(s, 0));
        if (rc == JOBQ_OK) rc = jobq__sums_counters(&sums, db);
        else if (rc == JOBQ_CORRUPT) rc = JOBQ_OK;
    }
    sqlite3_finalize(s);
    jobq__mem_free(sums.pairs);
    return rc;
}

/*==== audit.c ====*/
/* audit.c - what has to hold in the tables: looked at in slices, and put right. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/audit.c"
#endif
/* #include "audit.h" */

#include <float.h>
#include <stdio.h>

/* A row that breaks rules. */
struct jobq__found {
    sqlite3_value *key[JOBQ__AUDIT_KEYS]; /* none: text says it all */
    uint64_t broken, mended;
    bool reached;               /* its job may be changed; else it runs */
    bool unread;                /* SQLite cannot read it */
    char text[160];
};

struct jobq__audit {
    int part;                   /* that is walked */
    bool begun, over;           /* somewhere in it; behind its end */
    sqlite3_value *at[JOBQ__AUDIT_KEYS]; /* the last row that was looked at */
    struct jobq__found found[JOBQ__AUDIT_FOUND];
    const struct jobq__audit_part *of; /* whose rows these are */
    int count;
    int told, rule;             /* the next line */
    struct jobq__audit_known known;
    bool undone, recounts;
};

/* ---- Beginning and end ---- */

JOBQ__INTERNAL int jobq__audit_begin(struct jobq__audit **audit, int32_t *gates, size_t count) {
    *audit = jobq__mem_new(sizeof **audit);
    if (!*audit) {
        jobq__mem_free(gates);
        return JOBQ_NO_MEMORY;
    }
    (*audit)->known.gates = gates;
    (*audit)->known.gates_count = count;
    return JOBQ_OK;
}

static void jobq__audit_free(sqlite3_value **key) {
    int i;
    for (i = 0; i < JOBQ__AUDIT_KEYS; i++) {
        sqlite3_value_free(key[i]);
        key[i] = NULL;
    }
}

static void jobq__audit_forget(struct jobq__audit *audit) {
    int i;
    for (i = 0; i < audit->count; i++) jobq__audit_free(audit->found[i].key);
    audit->count = audit->told = audit->rule = 0;
    audit->known.asked = audit->undone = audit->recounts = false;
}

JOBQ__INTERNAL void jobq__audit_end(struct jobq__audit *audit) {
    if (!audit) return;
    jobq__audit_forget(audit);
    jobq__audit_free(audit->at);
    jobq__mem_free(audit->known.gates);
    jobq__mem_free(audit->known.ids);
    jobq__mem_free(audit);
}

/* ---- Texts ---- */

/* Appends, as far as there is room. */
JOBQ_PRINTF(4, 5)
static void jobq__audit_add(char *text, size_t size, size_t *at, const char *format, ...) {
    va_list args;
    int length;
    va_start(args, format);
    length = *at < size ? vsnprintf(text + *at, size - *at, format, args) : 0;
    va_end(args);
    *at = JOBQ__MIN(*at + (size_t)JOBQ__MAX(length, 0), size);
}

static int jobq__audit_no_memory(jobq__store *db) {
    db->sqlite_code = SQLITE_NOMEM;
    return JOBQ_NO_MEMORY;
}

/* Selects of rows of the part: their keys, which rules each breaks, what tells more. */
static int jobq__audit_query(const struct jobq__audit *audit, jobq__store *db, const char *rows,
                             sqlite3_stmt **s) {
    const struct jobq__audit_part *part = audit->of;
    size_t size = 256 + strlen(rows), at = 0;
    char *text;
    int i, rc;
    *s = NULL;
    for (i = 0; i < part->count; i++)
        if (part->rules[i].broken) size += strlen(part->rules[i].broken) + 32;
    text = jobq__mem_new(size);
    if (!text) return jobq__audit_no_memory(db);
    jobq__audit_add(text, size, &at, "SELECT %s, 0", part->keys);
    for (i = 0; i < part->count; i++)
        if (part->rules[i].broken)
            jobq__audit_add(text, size, &at, "+iif(%s,%ld,0)", part->rules[i].broken, 1L << i);
    jobq__audit_add(text, size, &at, ",%s FROM %s WHERE %s %s", part->tells, part->from, rows,
                    part->where);
    jobq__assert(at < size);
    rc = jobq__db_query(db, text, s);
    jobq__mem_free(text);
    return rc;
}

/* Where a tree is out of order the first condition alone does not keep a walk from going back. */
static int jobq__audit_query_slice(const struct jobq__audit *audit, jobq__store *db,
                                   sqlite3_stmt **s) {
    static const char *const marks[] = {"?1", "?1, ?2", "?1, ?2, ?3", "?1, ?2, ?3, ?4"};
    const struct jobq__audit_part *part = audit->of;
    const char *after = marks[part->key_count - 1];
    char rows[256];
    size_t at = 0;
    int i, rc;
    jobq__audit_add(rows, sizeof rows, &at, "(%s) > (%s) AND (+%s) > (%s)", part->keys, after,
                    part->keys, after);
    jobq__assert(at < sizeof rows);
    rc = jobq__audit_query(audit, db, rows, s);
    for (i = 0; *s && i < part->key_count; i++) {
        if (audit->begun) sqlite3_bind_value(*s, i + 1, audit->at[i]);
        else sqlite3_bind_double(*s, i + 1, -DBL_MAX);
    }
    return rc;
}

/* ---- Looking ---- */

static int jobq__audit_keep(jobq__store *db, sqlite3_stmt *s, int count, sqlite3_value **key) {
    int i;
    jobq__audit_free(key);
    for (i = 0; i < count; i++) {
        key[i] = sqlite3_value_dup(sqlite3_column_value(s, i));
        if (!key[i]) return jobq__audit_no_memory(db);
    }
    return JOBQ_OK;
}

static struct jobq__found *jobq__audit_new(struct jobq__audit *audit) {
    struct jobq__found *found = &audit->found[audit->count++];
    memset(found, 0, sizeof *found);
    return found;
}

static void jobq__audit_unreadable(struct jobq__audit *audit, jobq__store *db) {
    struct jobq__found *found = jobq__audit_new(audit);
    found->unread = true;
    snprintf(found->text, sizeof found->text, "%s: it cannot be read to its end (SQLite: %.100s)",
             audit->of->table, sqlite3_errmsg(db->handle));
}

/* The row that s stands on. */
static int jobq__audit_row(struct jobq__audit *audit, jobq__store *db, sqlite3_stmt *s) {
    const struct jobq__audit_part *part = audit->of;
    uint64_t broken = (uint64_t)sqlite3_column_int64(s, part->key_count);
    int rc = jobq__audit_keep(db, s, part->key_count, audit->at);
    if (rc == JOBQ_OK && part->ask) rc = part->ask(&audit->known, db, s, &broken);
    if (rc != JOBQ_OK || !broken) return rc;
    jobq__audit_new(audit)->broken = broken;
    return jobq__audit_keep(db, s, part->key_count, audit->found[audit->count - 1].key);
}

static int jobq__audit_slice(struct jobq__audit *audit, jobq__store *db) {
    sqlite3_stmt *s;
    bool row = false;
    int rows = 0, rc = jobq__audit_query_slice(audit, db, &s);
    audit->begun = true;
    while (rc == JOBQ_OK && rows < JOBQ__AUDIT_ROWS && audit->count < JOBQ__AUDIT_FOUND - 1) {
        rc = jobq__db_next(db, s, &row);
        if (rc != JOBQ_OK || !row) break;
        rows++;
        rc = jobq__audit_row(audit, db, s);
    }
    audit->over = rc == JOBQ_OK && !row;
    if (rc == JOBQ_CORRUPT) {
        jobq__audit_unreadable(audit, db);
        audit->over = true;
        rc = JOBQ_OK;
    }
    sqlite3_finalize(s);
    audit->known.asked = false;
    return rc;
}

/* Another fault; rule: the part's first one puts it right. False: no more of them are told. */
JOBQ_PRINTF(3, 4)
static bool jobq__audit_tell(struct jobq__audit *audit, bool rule, const char *format, ...) {
    struct jobq__found *found;
    va_list args;
    if (audit->count == JOBQ__AUDIT_FOUND - 1) return false;
    found = jobq__audit_new(audit);
    found->broken = rule;
    va_start(args, format);
    vsnprintf(found->text, sizeof found->text, format, args);
    va_end(args);
    return true;
}

/* One line of quick_check's; what the rules tell better is left to them. */
static bool jobq__audit_file_line(struct jobq__audit *audit, const char *line) {
    char *at;
    if (!line || strcmp(line, "ok") == 0 || strncmp(line, "NULL value in jobq_", 19) == 0)
        return true;
    if (!jobq__audit_tell(audit, false, "the file: %s", line)) return false;
    for (at = audit->found[audit->count - 1].text; *at; at++)
        if (*at == '\n') *at = ' ';
    return true;
}

static int jobq__audit_file(struct jobq__audit *audit, jobq__store *db) {
    sqlite3_stmt *s;
    bool row = false;
    int rc = jobq__db_query(db, "PRAGMA quick_check(31)", &s);
    do {
        if (rc == JOBQ_OK) rc = jobq__db_next(db, s, &row);
    } while (rc == JOBQ_OK && row
             && jobq__audit_file_line(audit, (const char *)sqlite3_column_text(s, 0)));
    sqlite3_finalize(s);
    return rc;
}

static bool jobq__audit_counter(void *ctx, int64_t queue, int64_t kind, const char *counter,
                                int64_t is, int64_t jobs) {
    return jobq__audit_tell(ctx, true, "jobq_claims, queue %lld, kind %lld: %s is %lld, and there"
                            " are %lld", (long long)queue, (long long)kind, counter,
                            (long long)is, (long long)jobs);
}

static int jobq__audit_at_once(struct jobq__audit *audit, jobq__store *db) {
    int rc = audit->of->look == JOBQ__LOOK_FILE
        ? jobq__audit_file(audit, db) : jobq__audit_counts(db, jobq__audit_counter, audit);
    if (rc == JOBQ_CORRUPT) {
        jobq__audit_unreadable(audit, db);
        rc = JOBQ_OK;
    }
    audit->over = true;
    return rc;
}

JOBQ__INTERNAL int jobq__audit_look(struct jobq__audit *audit, jobq__store *db, bool *over) {
    jobq__audit_forget(audit);
    if (audit->over) {
        audit->part++;
        audit->begun = audit->over = false;
    }
    audit->of = jobq__audit_part(audit->part);
    *over = !audit->of;
    if (*over) return JOBQ_OK;
    return audit->of->look ? jobq__audit_at_once(audit, db) : jobq__audit_slice(audit, db);
}

JOBQ__INTERNAL bool jobq__audit_faulty(const struct jobq__audit *audit) {
    return audit->count > 0;
}

/* ---- Mending ---- */

static void jobq__audit_bind(sqlite3_stmt *s, const struct jobq__found *found,
                             const struct jobq__mend *with) {
    int i;
    for (i = 0; i < JOBQ__AUDIT_KEYS && found->key[i]; i++)
        sqlite3_bind_value(s, i + 1, found->key[i]);
    sqlite3_bind_int64(s, 5, with->now_ms);
    sqlite3_bind_int64(s, 6, with->prune_done_ms);
    sqlite3_bind_int64(s, 7, with->prune_failed_ms);
}

static int jobq__audit_do(jobq__store *db, const char *text, const struct jobq__found *found,
                          const struct jobq__mend *with) {
    sqlite3_stmt *s;
    int rc = text ? jobq__db_query(db, text, &s) : JOBQ_OK;
    if (!text || rc != JOBQ_OK) return rc;
    jobq__audit_bind(s, found, with);
    rc = jobq__db_step(db, s);
    sqlite3_finalize(s);
    return rc;
}

/* Which rules the row breaks by now; s asks for one row. */
static int jobq__audit_again(struct jobq__audit *audit, jobq__store *db, sqlite3_stmt *s,
                             const struct jobq__found *found, uint64_t *broken) {
    const struct jobq__audit_part *part = audit->of;
    bool row;
    int i, rc;
    *broken = 0;
    audit->known.asked = false;
    for (i = 0; i < part->key_count; i++) sqlite3_bind_value(s, i + 1, found->key[i]);
    rc = jobq__db_next(db, s, &row);
    if (row) *broken = (uint64_t)sqlite3_column_int64(s, part->key_count);
    if (row && part->ask) rc = part->ask(&audit->known, db, s, broken);
    audit->known.asked = false;
    jobq__db_reset(s);
    return rc;
}

static int jobq__audit_put_right(struct jobq__audit *audit, jobq__store *db,
                                 struct jobq__found *found, int i, const struct jobq__mend *with) {
    const struct jobq__audit_rule *rule = &audit->of->rules[i];
    int rc;
    if (!rule->broken && audit->of->put)
        return audit->of->put(&audit->known, db, i, sqlite3_value_int64(found->key[0]), with);
    rc = jobq__audit_do(db, rule->first, found, with);
    return rc == JOBQ_OK ? jobq__audit_do(db, rule->mend, found, with) : rc;
}

/* Each rule in turn: what one of them leaves the next one sees. */
static int jobq__audit_mend_row(struct jobq__audit *audit, jobq__store *db, sqlite3_stmt *s,
                                struct jobq__found *found, const struct jobq__mend *with) {
    uint64_t broken, tried = 0;
    int i, rc = jobq__audit_again(audit, db, s, found, &broken);
    for (i = 0; i < audit->of->count && rc == JOBQ_OK; i++) {
        uint64_t bit = UINT64_C(1) << i;
        if (!(broken & bit) || !audit->of->rules[i].does) continue;
        tried |= bit;
        rc = jobq__audit_put_right(audit, db, found, i, with);
        if (rc == JOBQ_OK) rc = jobq__audit_again(audit, db, s, found, &broken);
    }
    found->mended = (found->broken | tried) & ~broken;
    found->broken |= broken;
    return rc;
}

static int jobq__audit_mend_rows(struct jobq__audit *audit, jobq__store *db,
                                 const struct jobq__mend *with) {
    int job = audit->of->job, i;
    sqlite3_stmt *s;
    int rc = jobq__audit_query(audit, db, audit->of->match, &s);
    for (i = 0; s && i < audit->count && rc == JOBQ_OK; i++) {
        struct jobq__found *found = &audit->found[i];
        if (!found->key[0]) continue;
        if (job >= 0 && sqlite3_value_type(found->key[job]) == SQLITE_INTEGER)
            rc = with->reach(with->ctx, sqlite3_value_int64(found->key[job]));
        found->reached = rc != JOBQ_BUSY;
        if (rc == JOBQ_OK) rc = jobq__audit_mend_row(audit, db, s, found, with);
        else if (rc == JOBQ_BUSY) rc = JOBQ_OK;
    }
    sqlite3_finalize(s);
    return rc;
}

/* What was told at once is not asked again: that would read all of the file, and counters that are
 * wrong do not become right. */
JOBQ__INTERNAL int jobq__audit_mend(struct jobq__audit *audit, jobq__store *db,
                                    const struct jobq__mend *with) {
    int i, rc = audit->of->look ? JOBQ_OK : jobq__audit_mend_rows(audit, db, with);
    for (i = 0; i < audit->count && rc == JOBQ_OK; i++) {
        struct jobq__found *found = &audit->found[i];
        if (audit->of->look) found->mended = found->broken;
        if (found->mended && audit->of->recounts) audit->recounts = true;
    }
    return rc;
}

JOBQ__INTERNAL bool jobq__audit_recounts(const struct jobq__audit *audit) {
    return audit->recounts;
}

JOBQ__INTERNAL void jobq__audit_undone(struct jobq__audit *audit) {
    int i;
    for (i = 0; i < audit->count; i++) audit->found[i].mended = 0;
    audit->undone = true;
}

/* ---- Telling ---- */

/* What becomes of it. */
static void jobq__audit_fate(const struct jobq__audit *audit, const struct jobq__found *found,
                             const struct jobq__audit_rule *rule, bool mended, bool repair,
                             char *text, size_t size, size_t at) {
    const char *does = rule ? rule->does : NULL;
    if (mended) jobq__audit_add(text, size, &at, "; repaired: %s", does ? does : "with the rest");
    else if (!does) jobq__audit_add(text, size, &at, "; no repair%s", found->unread ? ": restore"
                                    " a copy, or what sqlite3's .recover saves of it" : "");
    else if (!repair) jobq__audit_add(text, size, &at, "; a repair: %s", does);
    else if (!audit->undone && !found->reached)
        jobq__audit_add(text, size, &at, "; left, for its job runs");
    else jobq__audit_add(text, size, &at, "; left: the repair came to nothing");
}

static void jobq__audit_say(const struct jobq__audit *audit, const struct jobq__found *found,
                            int i, bool repair, char *text, size_t size) {
    const struct jobq__audit_part *part = audit->of;
    const struct jobq__audit_rule *rule = &part->rules[i];
    sqlite3_value *key = found->key[part->job >= 0 ? part->job : part->key_count - 1];
    size_t at = 0;
    jobq__audit_add(text, size, &at, "%s, row %lld: %s %s", part->table,
                    (long long)sqlite3_value_int64(key), rule->column, rule->wrong);
    jobq__audit_fate(audit, found, rule, found->mended >> i & 1, repair, text, size, at);
}

JOBQ__INTERNAL bool jobq__audit_line(struct jobq__audit *audit, bool repair, char *text,
                                     size_t size) {
    for (; audit->told < audit->count; audit->told++, audit->rule = 0) {
        const struct jobq__found *found = &audit->found[audit->told];
        size_t at = 0;
        if (!found->key[0]) {
            jobq__audit_add(text, size, &at, "%s", found->text);
            jobq__audit_fate(audit, found, found->broken ? audit->of->rules : NULL,
                             found->mended, repair, text, size, at);
            audit->told++;
            return true;
        }
        for (; audit->rule < audit->of->count; audit->rule++) {
            if (!((found->broken | found->mended) >> audit->rule & 1)) continue;
            jobq__audit_say(audit, found, audit->rule++, repair, text, size);
            return true;
        }
    }
    return false;
}

/*==== gate.h ====*/
/* gate.h - what a job passes on its way from waiting to claimed. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/gate.h"
#endif
#ifndef JOBQ__GATE_H
#define JOBQ__GATE_H

/* #include "os.h" */

/* Design note.
 *
 * A job that is due waits for at most a few things, and each of them is a gate: its kind, which is
 * shut until a handler is registered; the line of the suspects, which lets one pass at a time; its
 * queue. A gate knows how many may be claimed at a time and how many are; it stores nothing. When a
 * file is opened nothing is held, as nobody is claimed any more: recovery gives back all that the
 * owner before had claimed.
 *
 *   shut -> open      open    (a handler is registered: api.c, after COMMIT)
 *   held + 1          enter   (a job is claimed: tx_hold)
 *   held - 1          leave   (it is settled, given back, taken out of the ring: tx_let)
 *
 * Invariants: held is the number of jobs claimed that have passed it, as the transaction under way
 * leaves it (tx_check_gates counts); never below 0. It may be above the capacity, when that was
 * lowered. Which gates a job has to pass is said in one place only: jobq__tx_due_lane (tx_place.c).
 *
 * All but shut is guarded by the baton. */

#define JOBQ__GATE_WIDE INT32_MAX /* as many as like */

struct jobq__gate {
    int32_t shut;       /* atomic: nobody passes; read without the baton, too */
    int32_t capacity;   /* jobs that may be claimed at a time */
    int32_t held;       /* and are */
};

JOBQ__INTERNAL void jobq__gate_init(struct jobq__gate *gate, int32_t capacity, bool shut);
JOBQ__INTERNAL void jobq__gate_open(struct jobq__gate *gate);
JOBQ__INTERNAL bool jobq__gate_is_shut(const struct jobq__gate *gate);
/* How many more jobs may pass it now. */
JOBQ__INTERNAL int32_t jobq__gate_room(const struct jobq__gate *gate);
JOBQ__INTERNAL void jobq__gate_enter(struct jobq__gate *gate);
JOBQ__INTERNAL void jobq__gate_leave(struct jobq__gate *gate);

#endif

/*==== gate.c ====*/
/* gate.c - what a job passes on its way from waiting to claimed. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/gate.c"
#endif
/* #include "gate.h" */

JOBQ__INTERNAL void jobq__gate_init(struct jobq__gate *gate, int32_t capacity, bool shut) {
    jobq__assert(capacity > 0);
    gate->shut = shut;
    gate->capacity = capacity;
    gate->held = 0;
}

JOBQ__INTERNAL void jobq__gate_open(struct jobq__gate *gate) {
    jobq__os_store(&gate->shut, 0);
}

JOBQ__INTERNAL bool jobq__gate_is_shut(const struct jobq__gate *gate) {
    return jobq__os_load(&gate->shut) != 0;
}

JOBQ__INTERNAL int32_t jobq__gate_room(const struct jobq__gate *gate) {
    if (jobq__gate_is_shut(gate)) return 0;
    if (gate->capacity == JOBQ__GATE_WIDE) return JOBQ__GATE_WIDE;
    return JOBQ__MAX(gate->capacity - gate->held, 0);
}

JOBQ__INTERNAL void jobq__gate_enter(struct jobq__gate *gate) {
    jobq__assert(gate->held >= 0 && gate->held < INT32_MAX);
    gate->held++;
}

JOBQ__INTERNAL void jobq__gate_leave(struct jobq__gate *gate) {
    jobq__assert(gate->held > 0);
    gate->held--;
}

/*==== event.h ====*/
/* event.h - events after commit, in order, one deliverer. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/event.h"
#endif
#ifndef JOBQ__EVENT_H
#define JOBQ__EVENT_H

/* #include "mem.h" */
/* #include "os.h" */

/* Design note.
 *
 * Events are appended in commit order (by the holder of the baton, or by the worker that starts a
 * run) and called one at a time by whichever eligible thread finds nobody delivering. So their
 * order is total, the callback never runs twice at once, and no lock is held while it runs. Who
 * delivers tells what was there when it began, no more, so it returns however many others add;
 * what they added is told by them, or by the scheduler thread. Only a thread that is inside a
 * callback, this queue's or another's, does not wait, for it could be waited for itself: the one
 * who delivers goes on to what it has added. The list grows while a callback is slow; once it is
 * long, workers wait before their next job and callers before they return, which bounds it: by
 * that, and what handlers and callbacks store, who never wait. What it was larger for a while is
 * given back when it is empty. Without a callback nothing is ever appended.
 *
 * Events have serial numbers, from 1 in the order of appending. Who waits for the end of a job is
 * let go when the event of that end was told: the deliverer says after each call how far it has
 * come, as long as anybody waits. Between a COMMIT and the appending of its events (`committing`)
 * others can read what is not in the list yet. */

/* One event with its own copies of the strings that would not last. */
struct jobq__told {
    jobq_event event;
    char *strings;              /* what key and message point into, or NULL */
};

struct jobq__events {
    struct jobq__mutex mu;
    struct jobq__cond room;     /* signalled when somebody has delivered */
    void (*call)(const jobq_event *event, void *ctx);
    void *ctx;
    void (*after)(void *arg, uint64_t told); /* for those who wait, outside mu */
    void *arg;
    struct jobq__told *list;    /* guarded by mu: head .. head + count, circular */
    size_t head, count, capacity;
    size_t reserved;            /* places for the holder of the baton, who cannot wait for memory */
    uint64_t told;              /* how many were delivered; the next stands in the list until its
                                   call has returned */
    uint64_t until;             /* how many whoever delivers is to deliver */
    bool delivering;
    bool committing;            /* a transaction is between COMMIT and its events */
    int waiters;                /* threads for which `after` is called */
};

JOBQ__INTERNAL int jobq__event_init(struct jobq__events *events,
                                    void (*call)(const jobq_event *event, void *ctx), void *ctx);
JOBQ__INTERNAL void jobq__event_fini(struct jobq__events *events);

/* A copy of event, its strings included; without memory they are "". To be added or dropped. */
JOBQ__INTERNAL void jobq__event_make(struct jobq__told *told, const jobq_event *event);
JOBQ__INTERNAL void jobq__event_drop(struct jobq__told *told);

/* Makes room so that count appends of what was reserved cannot fail, whatever others append
 * meanwhile, until jobq__event_commit says that they are done. Does nothing without a callback. */
JOBQ__INTERNAL int jobq__event_reserve(struct jobq__events *events, size_t count);
/* Appends, and takes over the strings; returns the serial number. reserved: by who has reserved
 * it. 0: there was no room, and the event is dropped. */
JOBQ__INTERNAL uint64_t jobq__event_add(struct jobq__events *events, struct jobq__told *told,
                                        bool reserved);
/* Before a COMMIT, and when its events are appended or it has failed. */
JOBQ__INTERNAL void jobq__event_commit(struct jobq__events *events, bool committing);
/* Somebody waits, or no longer does: `after` is called meanwhile. */
JOBQ__INTERNAL void jobq__event_watch(struct jobq__events *events, int by);
/* The serial number of the last event of a job that can be read as ended; 0 if all was told. */
JOBQ__INTERNAL uint64_t jobq__event_find(struct jobq__events *events, int64_t id);
/* True if the event with that number was told. */
JOBQ__INTERNAL bool jobq__event_was_told(struct jobq__events *events, uint64_t serial);
/* Calls the callback for all that is there. If another thread is at it: waits until all of that is
 * told, and tells what that thread leaves; or, without wait, leaves it to that thread. True if
 * there is something more by now, and nobody delivers it. */
JOBQ__INTERNAL bool jobq__event_deliver(struct jobq__events *events, bool wait);
/* True if there is something that nobody delivers. */
JOBQ__INTERNAL bool jobq__event_waiting(struct jobq__events *events);
/* True if the list is so long that who adds to it should wait. */
JOBQ__INTERNAL bool jobq__event_crowded(struct jobq__events *events);
/* For workers and callers: waits until the callback has caught up. */
JOBQ__INTERNAL void jobq__event_throttle(struct jobq__events *events);

#endif

/*==== event.c ====*/
/* event.c - events after commit, in order, one deliverer. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/event.c"
#endif
/* #include "event.h" */

JOBQ__INTERNAL int jobq__event_init(struct jobq__events *events,
                                    void (*call)(const jobq_event *event, void *ctx), void *ctx) {
    int rc;
    memset(events, 0, sizeof *events);
    events->call = call;
    events->ctx = ctx;
    rc = jobq__os_mutex_init(&events->mu);
    if (rc == JOBQ_OK) rc = jobq__os_cond_init(&events->room, JOBQ__OS_MONO);
    return rc;
}

/* ---- Strings ---- */

JOBQ__INTERNAL void jobq__event_make(struct jobq__told *told, const jobq_event *event) {
    size_t key = event->key ? strlen(event->key) : 0;
    size_t message = event->message ? strlen(event->message) : 0;
    told->event = *event;
    told->event.key = told->event.message = "";
    told->strings = key + message ? jobq__mem_new(key + message + 2) : NULL;
    if (!told->strings) return;
    memcpy(told->strings, event->key ? event->key : "", key + 1);
    memcpy(told->strings + key + 1, event->message ? event->message : "", message + 1);
    told->event.key = told->strings;
    told->event.message = told->strings + key + 1;
}

JOBQ__INTERNAL void jobq__event_drop(struct jobq__told *told) {
    jobq__mem_free(told->strings);
    told->strings = NULL;
}

/* ---- The list ---- */

JOBQ__INTERNAL void jobq__event_fini(struct jobq__events *events) {
    while (events->count) {
        jobq__event_drop(&events->list[events->head]);
        events->head = (events->head + 1) % events->capacity;
        events->count--;
    }
    jobq__mem_free(events->list);
    jobq__os_cond_fini(&events->room);
    jobq__os_mutex_fini(&events->mu);
}

static int jobq__event_grow(struct jobq__events *events, size_t count) {
    size_t capacity = events->capacity ? events->capacity : JOBQ__EVENTS_FIRST, i;
    struct jobq__told *list;
    jobq__assert(jobq__os_held(&events->mu));
    while (capacity < events->count + count) capacity *= 2;
    if (capacity == events->capacity) return JOBQ_OK;
    list = jobq__mem_resize(NULL, capacity, sizeof *list);
    if (!list) return JOBQ_NO_MEMORY;
    for (i = 0; i < events->count; i++)
        list[i] = events->list[(events->head + i) % events->capacity];
    jobq__mem_free(events->list);
    events->list = list;
    events->capacity = capacity;
    events->head = 0;
    return JOBQ_OK;
}

/* A list that was long once does not stay so. */
static void jobq__event_shrink(struct jobq__events *events) {
    jobq__assert(jobq__os_held(&events->mu));
    if (events->count || events->reserved || events->capacity <= JOBQ__EVENTS_KEEP) return;
    jobq__mem_free(events->list);
    events->list = NULL;
    events->head = events->capacity = 0;
}

JOBQ__INTERNAL int jobq__event_reserve(struct jobq__events *events, size_t count) {
    int rc;
    if (!events->call || !count) return JOBQ_OK;
    jobq__os_lock(&events->mu);
    rc = jobq__event_grow(events, count);
    events->reserved = rc == JOBQ_OK ? count : 0;
    jobq__os_unlock(&events->mu);
    return rc;
}

JOBQ__INTERNAL uint64_t jobq__event_add(struct jobq__events *events, struct jobq__told *told,
                                        bool reserved) {
    uint64_t serial = 0;
    if (!events->call) return 0;
    jobq__os_lock(&events->mu);
    if (reserved && events->reserved) events->reserved--;
    if (jobq__event_grow(events, events->reserved + 1) == JOBQ_OK) {
        events->list[(events->head + events->count++) % events->capacity] = *told;
        told->strings = NULL;
        serial = events->told + events->count;
    }
    jobq__os_unlock(&events->mu);
    jobq__event_drop(told);
    return serial;
}

JOBQ__INTERNAL void jobq__event_commit(struct jobq__events *events, bool committing) {
    if (!events->call) return;
    jobq__os_lock(&events->mu);
    events->committing = committing;
    if (!committing) events->reserved = 0;
    if (!committing && events->waiters) jobq__os_broadcast(&events->room);
    jobq__os_unlock(&events->mu);
}

/* ---- Who waits ---- */

JOBQ__INTERNAL void jobq__event_watch(struct jobq__events *events, int by) {
    if (!events->call) return;
    jobq__os_lock(&events->mu);
    events->waiters += by;
    jobq__os_unlock(&events->mu);
}

JOBQ__INTERNAL uint64_t jobq__event_find(struct jobq__events *events, int64_t id) {
    uint64_t serial = 0;
    size_t i;
    if (!events->call) return 0;
    jobq__os_lock(&events->mu);
    while (events->committing) jobq__os_wait(&events->room, &events->mu);
    for (i = 0; i < events->count; i++)
        if (events->list[(events->head + i) % events->capacity].event.id == id)
            serial = events->told + i + 1;
    jobq__os_unlock(&events->mu);
    return serial;
}

JOBQ__INTERNAL bool jobq__event_was_told(struct jobq__events *events, uint64_t serial) {
    bool told;
    if (!serial) return true;
    jobq__os_lock(&events->mu);
    told = events->told >= serial;
    jobq__os_unlock(&events->mu);
    return told;
}

/* ---- Delivery ---- */

/* Calls the callback until as many events were told as shall be. With mu held, before and after. */
static void jobq__event_tell(struct jobq__events *events) {
    struct jobq__os_call call;
    events->delivering = true;
    while (events->told < events->until) {
        struct jobq__told told = events->list[events->head];
        uint64_t serial = events->told + 1;
        jobq__os_unlock(&events->mu);
        jobq__os_call_begin(&call, events, "on_event");
        events->call(&told.event, events->ctx);
        jobq__os_call_end(&call);
        jobq__event_drop(&told);
        jobq__os_lock(&events->mu);
        events->head = (events->head + 1) % events->capacity;
        events->count--;
        events->told = serial;
        if (events->count == JOBQ__EVENTS_MAX) jobq__os_broadcast(&events->room);
        jobq__event_shrink(events);
        if (!events->waiters) continue;
        jobq__os_unlock(&events->mu);
        events->after(events->arg, serial);
        jobq__os_lock(&events->mu);
    }
    events->delivering = false;
    jobq__os_broadcast(&events->room);
}

JOBQ__INTERNAL bool jobq__event_deliver(struct jobq__events *events, bool wait) {
    uint64_t until;
    bool left;
    if (!events->call) return false;
    jobq__os_lock(&events->mu);
    until = events->told + events->count;
    while (events->told < until) {
        bool mine = !events->delivering || jobq__os_awaited();
        if (mine) events->until = JOBQ__MAX(events->until, until);
        if (!events->delivering) jobq__event_tell(events);
        else if (mine || !wait) break;
        else jobq__os_wait(&events->room, &events->mu);
    }
    left = events->count && !events->delivering;
    jobq__os_unlock(&events->mu);
    return left;
}

JOBQ__INTERNAL bool jobq__event_waiting(struct jobq__events *events) {
    bool waiting;
    if (!events->call) return false;
    jobq__os_lock(&events->mu);
    waiting = events->count && !events->delivering;
    jobq__os_unlock(&events->mu);
    return waiting;
}

JOBQ__INTERNAL bool jobq__event_crowded(struct jobq__events *events) {
    bool crowded;
    if (!events->call) return false;
    jobq__os_lock(&events->mu);
    crowded = events->delivering && events->count > JOBQ__EVENTS_MAX;
    jobq__os_unlock(&events->mu);
    return crowded;
}

JOBQ__INTERNAL void jobq__event_throttle(struct jobq__events *events) {
    if (!events->call) return;
    jobq__os_lock(&events->mu);
    while (events->delivering && events->count > JOBQ__EVENTS_MAX)
        jobq__os_wait(&events->room, &events->mu);
    jobq__os_unlock(&events->mu);
}

/*==== registry.h ====*/
/* registry.h - names to kinds and queues. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/registry.h"
#endif
#ifndef JOBQ__REGISTRY_H
#define JOBQ__REGISTRY_H

/* #include "gate.h" */
/* #include "list.h" */
/* #include "store.h" */

/* Design note.
 *
 * Every name of a kind or queue is a row of jobq_name, and at most one struct here, found by what
 * it names and text, or by id, and never moved or freed before close: what is claimed points at it.
 * A name of schema 1 (JOBQ__NAME_ANY) is both a kind's and a queue's. Guarded by the baton, but for
 * what says otherwise. Only committed names enter: those that a transaction adds
 * are kept beside it until its COMMIT (tx.c), so a rollback leaves nothing behind here. */

/* What runs a job. */
struct jobq__kind {
    int64_t id;
    jobq_kind spec;             /* written before its gate opens, then constant */
    struct jobq__gate gate;     /* shut while no handler is registered */
    struct jobq__link opened;   /* in core's list until somebody looks who stands before its gate */
};

/* A line of ready jobs, which start in order: a queue's, or that of the suspects. */
struct jobq__lane {
    int64_t id;
    const char *text;
    struct jobq__gate gate;     /* its own: who waits for it waits here */
    bool unordered;             /* I2 (tx_order.h) does not bind it: one at a time, as found */
    struct jobq__link ready;    /* in core's list while ready rows may stand in the table */
    struct jobq__link ring;     /* its claimed jobs, in order; guarded by pool.mu */
    struct jobq__link turn;     /* in the ring's list of lanes; guarded by pool.mu */
    const struct jobq__row *last_claimed; /* of the transaction under way, or NULL */
};

struct jobq__name {
    struct jobq__name *next;    /* same bucket by text */
    struct jobq__name *next_id; /* same bucket by id */
    int64_t id;
    int what;                   /* enum jobq__what */
    char text[JOBQ_NAME_MAX + 1];
    struct jobq__kind kind;
    struct jobq__lane lane;
};

struct jobq__registry {
    struct jobq__name *by_text[JOBQ__NAME_BUCKETS];
    struct jobq__name *by_id[JOBQ__NAME_BUCKETS];
};

JOBQ__INTERNAL void jobq__registry_fini(struct jobq__registry *registry);

/* NULL if the name is not known here; it may still be in the table. */
JOBQ__INTERNAL struct jobq__name *jobq__registry_by_text(const struct jobq__registry *registry,
                                                         int what, const char *text);
JOBQ__INTERNAL struct jobq__name *jobq__registry_by_id(const struct jobq__registry *registry,
                                                       int64_t id);
/* The same, by what the name is used for. */
JOBQ__INTERNAL struct jobq__kind *jobq__registry_kind(const struct jobq__registry *registry,
                                                      int64_t id);
JOBQ__INTERNAL struct jobq__lane *jobq__registry_lane(const struct jobq__registry *registry,
                                                      int64_t id);
/* Adds a committed name (or returns it if it is there); NULL if memory is out. */
JOBQ__INTERNAL struct jobq__name *jobq__registry_add(struct jobq__registry *registry, int64_t id,
                                                     int what, const char *text);

#endif

/*==== registry.c ====*/
/* registry.c - names to kinds and queues. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/registry.c"
#endif
/* #include "registry.h" */

/* FNV-1a, after Fowler, Noll and Vo. */
static size_t jobq__registry_bucket(const char *text) {
    uint32_t hash = 2166136261u;
    while (*text) hash = (hash ^ (unsigned char)*text++) * 16777619u;
    return hash % JOBQ__NAME_BUCKETS;
}

/* They are given one after the other. */
static size_t jobq__registry_place(int64_t id) {
    return (size_t)id % JOBQ__NAME_BUCKETS;
}

JOBQ__INTERNAL void jobq__registry_fini(struct jobq__registry *registry) {
    size_t i;
    for (i = 0; i < JOBQ__NAME_BUCKETS; i++) {
        struct jobq__name *name = registry->by_id[i];
        while (name) {
            struct jobq__name *next = name->next_id;
            jobq__mem_free(name);
            name = next;
        }
    }
    memset(registry, 0, sizeof *registry);
}

JOBQ__INTERNAL struct jobq__name *jobq__registry_by_text(const struct jobq__registry *registry,
                                                         int what, const char *text) {
    struct jobq__name *name = registry->by_text[jobq__registry_bucket(text)], *any = NULL;
    for (; name; name = name->next) {
        if (strcmp(name->text, text) != 0) continue;
        if (name->what == what) return name;
        if (name->what == JOBQ__NAME_ANY) any = name;
    }
    return any;
}

JOBQ__INTERNAL struct jobq__name *jobq__registry_by_id(const struct jobq__registry *registry,
                                                       int64_t id) {
    struct jobq__name *name;
    if (id <= 0) return NULL;
    name = registry->by_id[jobq__registry_place(id)];
    while (name && name->id != id) name = name->next_id;
    return name;
}

JOBQ__INTERNAL struct jobq__kind *jobq__registry_kind(const struct jobq__registry *registry,
                                                      int64_t id) {
    struct jobq__name *name = jobq__registry_by_id(registry, id);
    return name ? &name->kind : NULL;
}

JOBQ__INTERNAL struct jobq__lane *jobq__registry_lane(const struct jobq__registry *registry,
                                                      int64_t id) {
    struct jobq__name *name = jobq__registry_by_id(registry, id);
    return name ? &name->lane : NULL;
}

JOBQ__INTERNAL struct jobq__name *jobq__registry_add(struct jobq__registry *registry, int64_t id,
                                                     int what, const char *text) {
    struct jobq__name *name = jobq__registry_by_id(registry, id);
    size_t bucket = jobq__registry_bucket(text), place = jobq__registry_place(id);
    if (name) return name;
    if (id <= 0 || id > JOBQ__NAME_ID_MAX) return NULL;
    name = jobq__mem_new(sizeof *name);
    if (!name) return NULL;
    name->id = id;
    name->what = what;
    jobq__err_copy_text(name->text, sizeof name->text, text);
    name->kind.id = name->lane.id = id;
    name->lane.text = name->text;
    jobq__gate_init(&name->kind.gate, JOBQ__GATE_WIDE, true);
    jobq__gate_init(&name->lane.gate, JOBQ__GATE_WIDE, false);
    jobq__list_init(&name->kind.opened);
    jobq__list_init(&name->lane.ready);
    jobq__list_init(&name->lane.ring);
    jobq__list_init(&name->lane.turn);
    name->next = registry->by_text[bucket];
    registry->by_text[bucket] = name;
    name->next_id = registry->by_id[place];
    registry->by_id[place] = name;
    return name;
}

/*==== core.h ====*/
/* core.h - struct jobq, the lock table, who may touch what. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/core.h"
#endif
#ifndef JOBQ__CORE_H
#define JOBQ__CORE_H

/* #include "backoff.h" */
/* #include "event.h" */
/* #include "guard.h" */
/* #include "owner.h" */
/* #include "registry.h" */
/* #include "wheel.h" */

/* The lock table. A thread holds at most one of these mutexes at a time, none of them across
 * SQLite but reader_mu, and none across a callback. All three are asserted in debug builds.
 *
 *   name         guards
 *   baton.mu     the baton, the line of requests, the beds
 *   pool.mu      ring, outcomes handed in, workers, wheel, waiters, lifecycle, stats
 *   events.mu    the list of events
 *   reader_mu    the reader's connection
 *   a bed's mu   that bed
 *
 * The baton is no mutex but a right: its holder may write. It guards the connections of the writer,
 * the job and the copier, turn, tx, names, claimed, and whatever says "baton" below; it may be held
 * while a handler runs (the job's transaction), while a caller waits for another connection to let
 * go of the file (turn.h), and while one of the mutexes is taken for a moment. */

/* ---- One claimed job ---- */

/* What becomes of a run; decided on the handler's thread, written by the next transaction. */
struct jobq__verdict {
    jobq_outcome outcome;
    int state;              /* JOBQ__WAITING or terminal */
    int attempt, crashes;
    int64_t at_ms, delay_ms;
    bool lasts;             /* at_ms is monotonic: it waits for a duration, which is that long */
    bool due;               /* its time has come, whatever the wall shows when this is written */
};

/* What a handler said at length; most say nothing. */
struct jobq__said {
    char *text;                 /* of a failure, or NULL */
    void *result;               /* or NULL */
    size_t result_size;
};

struct jobq__entry {
    struct jobq__link link;     /* ring (pool.mu), handed in (pool.mu), or the transaction's */
    struct jobq__link claimed;  /* core's list of all that is claimed; baton */
    struct jobq__row row;       /* the row as claimed; payload points below */
    struct jobq__kind *kind;
    struct jobq__lane *lane;    /* whose order it is in: its queue, or the suspects */
    int32_t cancel;             /* atomic: somebody wants it cancelled */
    bool in_ring;               /* pool.mu */
    bool gone;                  /* baton: settled or taken out by the transaction under way */
    int64_t serial;             /* baton: when the transaction under way claimed it */
    struct jobq__verdict verdict;
    int64_t due_ms;             /* monotonic: when its time had come, as far as the wall tells */
    int64_t wait_ms, run_ms;
    struct jobq__said *said;    /* or NULL */
    struct jobq__name *queue;   /* for events; else NULL */
    char *key;                  /* for events, or NULL */
    size_t capacity;            /* bytes of payload that fit */
    unsigned char payload[];    /* and a zero */
};

/* ---- The transaction under way (tx.c); baton ---- */

struct jobq__change {
    struct jobq__told told;     /* without the names, which may not be committed yet */
    int64_t kind, queue;
    uint64_t serial;            /* of the event, once it is appended */
    const char *text;           /* the entry's; until the entries are recycled */
};

/* So many jobs of a queue and kind are counted as something else than before. */
struct jobq__shift {
    int32_t queue, kind;
    int32_t jobs;
    int from, to;               /* enum jobq__count_as */
    int retries;                /* 1: now they do, -1: not any more */
};

struct jobq__shifts {
    struct jobq__shift *list;
    size_t count, capacity;
    size_t mark;                /* those before it are not added to: a request's part begins */
    bool lost;                  /* there was no memory for all of them */
};

/* How many of the jobs that are not counted are where (tx_count.c). */
struct jobq__uncounted {
    struct jobq__count *pairs;
    size_t count;
    bool whole;                 /* all of them are in it */
};

struct jobq__new_name {
    int64_t id;
    int what;
    char text[JOBQ_NAME_MAX + 1];
};

/* The lanes before gates that have opened (tx_gates.c). */
struct jobq__gates {
    int32_t *lanes;
    int count;
};

struct jobq__tx {
    jobq *q;
    jobq__store *db;            /* on which it is */
    bool of_job;                /* it is a job's transaction */
    bool blind;                 /* it does not know who handles what: a client's, the recovery's */
    int64_t now_ms, mono_ms, own_ms; /* one reading for all that it does */
    struct jobq__link settled;  /* entries handed in; changed under pool.mu, for who looks */
    struct jobq__link claimed;  /* entries claimed here, not yet in the ring; by serial */
    struct jobq__link dropped;  /* entries claimed here and given back again */
    int64_t serial;             /* of the last entry claimed here */
    struct jobq__link withdrawn;    /* entries out of the ring: cancelled, deleted, given back; also
                                   under pool.mu, for who looks */
    bool recounts;              /* it begins to count anew */
    int room;                   /* jobs that may still be claimed */
    int over;                   /* jobs that may be claimed beyond that to keep the order */
    int64_t bytes;              /* payload that may still be claimed */
    bool may_claim;
    bool ordered;               /* the pool claims, so rows must become ready in order (I2) */
    bool claims_changed, single_rows, starved;
    bool touched;               /* the claims row is written */
    bool due_stale[JOBQ__DUE_LANES];
    struct jobq__gates gates;   /* as it leaves them */
    bool gates_changed;         /* and that is not what the file has */
    int32_t drain;              /* the lane of which a slice is asked for, if it is one of them */
    int gates_looked;           /* how many of core's opened kinds, the first ones, it has asked */
    int moves;                  /* rows that it may still move out of the lines, as unfit */
    struct jobq__new_name *new_names; /* added to the table by this transaction */
    size_t new_count, new_capacity;
    struct jobq__dues due;
    int64_t last_id, prune_at_ms;
    struct jobq__row rows[JOBQ__INSERT_ROWS]; /* to be inserted by one statement */
    int rows_count;
    int64_t grows;              /* bytes that it stores: payloads, results, messages */
    int64_t frees;              /* bytes of the rows that it ends, about */
    bool ready;                 /* something became ready: a foreign loop wants to know */
    struct jobq__shifts shifts; /* of jobs that are counted, not written yet */
    struct jobq__shifts loose;  /* of jobs that are not */
    int64_t counted;            /* jobs up to that id are counted */
    int64_t new_jobs;           /* stored here */
    struct jobq__change *changes;
    size_t changes_count, changes_capacity;
    struct jobq__entry **order; /* scratch for sorting */
    size_t order_capacity;
    struct jobq__row *aside;    /* scratch: rows met on a walk, moved when it is over */
    size_t aside_count, aside_capacity;
    unsigned char *pack;        /* scratch for the claims row */
    size_t pack_capacity;
    jobq_stats add;             /* what this transaction adds to the counters */
};

/* ---- The baton (baton.c) ---- */

struct jobq__request;
struct jobq__bed;

struct jobq__baton {
    struct jobq__mutex mu;
    int32_t busy;               /* written under mu, read without: somebody has the baton */
    bool in_job;                /* the baton belongs to a job's transaction */
    jobq__thread holder;
    struct jobq__request *head, **tail;
    int32_t syncs;              /* atomic, written under mu: how many of them want a sync */
    struct jobq__bed *beds;
    int64_t busy_us;            /* how long others may keep a caller waiting */
};

/* ---- Turns with other connections and processes (turn.c); baton, but for others ---- */

struct jobq__turn {
    int32_t taken;              /* atomic: SQLite's code when the file was taken; 0: it was not */
    int64_t since_us;           /* since when this process has written without a pause */
    int64_t left_us;            /* when it last let go of the file */
    int64_t away_us;            /* until when it leaves the file to others; 0: it does not */
    int32_t asked;              /* the turn that it has asked for and not had; 0: none */
    int missed;                 /* how many it has missed since, as far as it counts them */
    int64_t begun_us;           /* when the job's transaction began */
    int64_t others_us;          /* baton.mu: since when others have the file; 0: they do not */
    int64_t others_had_us;      /* baton.mu: how long they had it before that, in all */
};

/* ---- Workers ---- */

enum { JOBQ__STOP_ASKED = 1, JOBQ__STOP_SHUTDOWN = 2 };

enum jobq__wake { JOBQ__WAKE_DEADLINE, JOBQ__WAKE_SLEEP, JOBQ__WAKE_WAITER };

struct jobq__alarm {
    struct jobq__timer timer;
    enum jobq__wake what;
};

struct jobq__worker;

struct jobq_run {
    jobq *q;
    struct jobq__worker *worker;
    struct jobq__entry *entry;      /* NULL between runs */
    int32_t stop;                   /* atomic */
    int32_t handling;               /* atomic; raised under pool.mu: the handler has not returned */
    int32_t asking;                 /* atomic: its kind's backoff runs */
    int64_t id;                     /* pool.mu: of the job; 0: none */
    int64_t started_ms, deadline_ms; /* monotonic */
    int64_t polled_ms;              /* atomic: the clock when its flag was looked at; step mode */
    int64_t polled_us;              /* atomic: and when that was, in real time */
    int64_t patient_us;             /* atomic: for how long it is taken to have waited since */
    void *outer;                    /* what its thread was at before */
    struct jobq__alarm deadline, sleep; /* pool.mu */
    bool sleeping;                  /* pool.mu: waits for the clock, so the pool is at rest */
    /* The detail of an outcome, and of which: the handler's thread. */
    jobq_outcome detail_of;
    int64_t at_ms;
    bool lasts;                 /* that is monotonic: the end of a duration; else a point in time */
    char text[JOBQ_TEXT_MAX + 1];
    void *result;
    size_t result_size;
    struct jobq__said *result_said; /* to carry it, had beforehand */
    bool too_big;               /* the result: it is a failure, whatever the handler returns */
    const char *endless;        /* the call that was given JOBQ_UNLIMITED for a duration, in words:
                                   that is a failure, too; or NULL */
    bool no_memory;
    /* The job's transaction. */
    bool in_tx;
    bool keeps;                     /* also when the job is not done, but runs again at a time */
    bool joined;                    /* jobs were enqueued in it */
    /* The checkpoint. */
    void *saved;
    size_t saved_size;
    bool saved_read;
    /* What jobq_run_info tells. */
    jobq_info info;
    bool info_read;                 /* what stands beside the row was read */
};

/* pool.h has its edges. Whether an AWAKE one runs a job, run.entry tells. */
enum jobq__worker_state {
    JOBQ__WORKER_ABSENT,            /* it has no thread; in step mode never */
    JOBQ__WORKER_AWAKE,
    JOBQ__WORKER_IDLE,              /* asleep, and in the list of those */
    JOBQ__WORKER_WOKEN,             /* taken out of it, and about to see that */
    JOBQ__WORKER_ENDED              /* its thread ends, and can be joined */
};

struct jobq__worker {
    struct jobq_run run;
    jobq__thread thread;            /* pool.mu: who runs jobs as this worker */
    jobq__thread joins;             /* who is to be joined, unless ABSENT */
    int index;
    enum jobq__worker_state state;  /* pool.mu */
    int64_t free_us;                /* when it last looked at the time, in real time */
    struct jobq__link link;         /* the list of idle workers; pool.mu */
    struct jobq__cond cond;
};

struct jobq__waiter {
    struct jobq__link link;
    struct jobq__alarm alarm;
    struct jobq__cond cond;
    int64_t id;
    bool done, late;
    bool ended;                 /* the job has, but its event is to be told first */
    uint64_t serial;            /* of that event */
    jobq_info info;
};

struct jobq__ring {
    struct jobq__link lanes;    /* that have jobs; the next one to serve first */
    int count;
    int64_t bytes;
    bool behind;                /* what stands ready in the table may sort before some of it */
};

/* ---- The pool: what its mutex guards, by what it is for ----
 *
 * Everything below is written with pool.mu held, and read so, unless it says "atomic". */

enum jobq__phase { JOBQ__STOPPED, JOBQ__RUNNING, JOBQ__STOPPING };

/* Start, stop and close write this; in step mode, who steps raises and lowers claiming. */
struct jobq__life {
    enum jobq__phase phase;
    bool changing;              /* a thread is starting, or joining, the others */
    bool claiming;              /* transactions may claim */
    int64_t epoch;              /* how often the pool was started */
};

/* What a transaction would find to do. Written by the one before (what COMMIT has made true, or
 * that it failed), and by who has heard of something from elsewhere. */
struct jobq__work {
    bool left;                  /* rows to be claimed, promoted or moved */
    bool starved;               /* the last one had no memory for what it could have claimed */
    bool foreign;               /* others may have written: every lane is to be looked at */
    bool checkpoint;            /* the log has grown; the scheduler's to copy */
    int64_t retry_at_us;        /* after a failed transaction, or a taken file: not before */
    int64_t retry_us;           /* how long the last pause after a failure was; 0: it was none */
};

/* Outcomes that wait for a transaction. Workers append, when a run has returned; who opens a
 * transaction takes them, and puts them back in front if it fails. */
struct jobq__outcomes {
    struct jobq__link list;
    int count;
    int64_t since_us;           /* when the oldest of them came */
};

/* When something has to happen by itself. The wheel's nodes are set and taken out by the run or the
 * wait that has them; what fires any of it is the scheduler, or who steps or advances. */
struct jobq__timers {
    struct jobq__wheel wheel;   /* monotonic: deadlines, sleeps, waits */
    int64_t fired;              /* wakes, ever */
    struct jobq__dues due;      /* the earliest scheduled jobs: together the table's one wake */
    bool due_fired;             /* a transaction has yet to see to it */
    int64_t prune_at_ms;        /* wall; no wake: it waits for the end of an advance */
    int64_t poll_at_us;         /* real time; INT64_MAX: no polling */
};

/* How fast things go, in real time: moving means. Workers write the first when a run has returned,
 * who led a group the rest. */
struct jobq__rates {
    int64_t job_ns;             /* of a run with its overhead */
    int64_t commit_us;          /* of a transaction */
    int64_t store_end_us;       /* when the last transaction with a caller's store ended */
    bool stream;                /* callers' stores follow each other closely */
};

/* The scheduler thread. It writes waits, away and armed itself, but for who arms it; who starts or
 * joins it started and quit; everybody else kicks it. */
struct jobq__sched {
    jobq__thread thread;
    bool started, quit;
    bool kicked;                /* something has changed since it last looked */
    bool armed;                 /* it looks again within a millisecond by itself */
    bool waits;                 /* and has found nothing to do */
    bool away;                  /* in a callback, for as long as that likes; or not there yet */
    bool wants_baton;           /* it has work for it and could not get it */
    struct jobq__cond tick_mono, tick_wall;
    bool tick_on_wall;          /* which of the two it sleeps on */
};

/* Step mode: written by the thread that steps; a stop or a close halts it. */
struct jobq__step {
    bool active;                /* a thread is at it */
    bool halted;                /* and is to end that */
    int64_t to_ms;              /* atomic: and advances the clock so far; 0: it does not */
};

/* The workers; in step mode one without a thread. A worker counts itself among the running and the
 * sleeping, puts itself into idle, and is taken out by who wakes it. */
struct jobq__crew {
    struct jobq__worker *workers; /* constant after open, and so is count */
    int count;
    struct jobq__link idle;     /* the latest first: its caches are warm */
    int running, sleeping;      /* that run a job; of these, that wait for the clock */
};

/* Where sleeps who waits for the pool to come to rest, to start or to stop. */
struct jobq__rest {
    struct jobq__cond quiet;    /* signalled when it may have */
    int watchers;               /* of its rest; who starts or stops it is told anyway */
};

struct jobq__pool {
    struct jobq__mutex mu;
    struct jobq__life life;
    struct jobq__ring ring;     /* filled by who commits, emptied by workers and who gives back;
                                   behind is the transactions' */
    struct jobq__outcomes outcomes;
    struct jobq__work work;
    struct jobq__crew crew;
    struct jobq__sched sched;
    struct jobq__step step;
    struct jobq__timers timers;
    struct jobq__rates rates;
    struct jobq__link waiters;  /* threads inside jobq_wait, each puts itself there */
    struct jobq__rest rest;
    jobq_stats stats;           /* commits add to it, and each start of a run */
};

/* ---- The disk (disk.c); baton ---- */

struct jobq__disk {
    int level;                  /* of full-disk mode */
    int64_t base;               /* bytes of reserve for the log; 0: no reserve at all */
    int64_t wanted;             /* and for what is in the database; never less */
    int64_t page_size;
    int64_t held;               /* not ROOMY: bytes of reserve between transactions */
    int64_t spare;              /* not ROOMY: bytes of free pages when the log was copied */
    bool shrinks;               /* free pages may be given back */
    bool shrinking;             /* and are, slice by slice */
    int64_t freed;              /* bytes of rows that ended since somebody has looked */
    int64_t least_free;         /* of the bytes of free pages, since then */
    int64_t refused;            /* bytes of new work that found no room; 0: none has */
    int64_t looked_us;          /* when the names of the files were looked at */
};

/* ---- The queue ---- */

struct jobq {
    /* Constant after open. */
    jobq_options options;       /* with the defaults filled in */
    struct jobq__files files;
    char vfs[64];               /* SQLite's name of how it opens files */
    bool memory, step_mode, client;
    bool wal_by_default;        /* wal_pages was not given: it follows the size of the pages */
    bool unsafe;                /* this SQLite, with several writers that do not all say so */
    bool ours;                  /* the file is known to be a queue that we own */
    jobq_clock *clock;
    struct jobq__clock_user steps; /* hears of its steps */
    struct jobq__own own;       /* its own time; of a client see jobq__core_own_of_file */

    int32_t inside;             /* atomic: calls under way; and JOBQ__AWAITED (api.c) */
    int32_t closing;            /* atomic */
    int32_t failed;             /* atomic: the latched reason, or JOBQ_OK */
    struct jobq__fault fault;   /* pool.mu: and why, if SQLite or a value in the file said so */

    struct jobq__owner owner;
    struct jobq__baton baton;
    struct jobq__pool pool;
    struct jobq__events events;

    int32_t lookers;            /* atomic: threads that wait for reader_mu */
    struct jobq__mutex reader_mu;
    jobq__store reader;         /* guarded by reader_mu */

    /* Baton: */
    jobq__store writer, job, copier;
    struct jobq__turn turn;
    struct jobq__tx tx;
    struct jobq__disk disk;
    struct jobq__registry names;
    struct jobq__lane *suspects;    /* their line, whose name is no queue's */
    struct jobq__link ready;        /* lanes where ready rows may stand */
    struct jobq__link opened;       /* kinds registered, whose lanes nobody has looked at since */
    struct jobq__gates gates;       /* that have opened, as the claims row names them */
    int gates_capacity;             /* of these and of tx's */
    struct jobq__link claimed;      /* entries, in claim order */
    struct jobq__link spare;        /* entries to be used again */
    int spare_count;
    int64_t last_id;
    struct jobq__dues due;
    int64_t counted;            /* jobs up to that id stand in the counters */
    struct jobq__uncounted uncounted;
    int64_t wal_next;           /* pages at which the next checkpoint is due */
    bool look_lanes;            /* the set of lanes may have grown */
    bool recount;               /* rows may have changed that nobody has counted */
    int64_t seen;               /* the file's version at the last poll; 0: not known */
#ifdef JOBQ_DEBUG
    int64_t checked;            /* and after the last commit; -1: others have written (check.c) */
    bool miscounted;            /* the counters were wrong when they were first looked at */
#endif
    bool shares_job;            /* in memory: the writer is set up for handlers, too */
    struct jobq_run *job_run;   /* whose transaction it is, while in_job */
};

/* The time, own time too; any thread of an owner. */
static inline struct jobq__now jobq__core_now(jobq *q) {
    return jobq__own_read(&q->own, q->clock);
}
/* A client sees nothing of what passes for the owner but what that has written. */
JOBQ__INTERNAL int jobq__core_own_of_file(const jobq *q, jobq__store *db, struct jobq__now *now);

/* True when this thread runs a handler of q. Takes pool.mu. */
JOBQ__INTERNAL bool jobq__core_in_handler(jobq *q);

/* True when this thread is inside on_event, on_wake or on_thread of q. */
JOBQ__INTERNAL bool jobq__core_in_callback(const jobq *q);
/* True when it is inside q's on_connect, which may not call q at all: the connection that it shows
 * is opened with the baton in hand. */
JOBQ__INTERNAL bool jobq__core_in_connect(const jobq *q);
JOBQ__INTERNAL int jobq__core_refuse_connect(const char *call, jobq_error *err);
/* Inside which code of the application the calling thread is, by its name in a sentence; NULL: in
 * none that others wait for. */
JOBQ__INTERNAL const char *jobq__core_where(jobq *q);
enum { JOBQ__CULPRIT = JOBQ_NAME_MAX + 80 };
/* "job 7 of kind mail (and 2 more) still runs". False if no handler runs: the text tells then of a
 * kind's backoff that does, or is left as it is. With pool.mu held. */
JOBQ__INTERNAL bool jobq__core_culprit(const jobq *q, char *text, size_t size);

/* Tells the application that a thread of ours begins or ends; on that thread, without a lock. */
JOBQ__INTERNAL void jobq__core_tell_thread(jobq *q, jobq_thread what, int index, bool begins);

/* Takes reader_mu, and is seen to wait for it. */
JOBQ__INTERNAL void jobq__core_lock_reader(jobq *q);

/* True if the outcomes that were handed in should be committed now, or the ring filled: with
 * pool.mu held. An outcome waits for company only while the ring has work, or while a caller
 * stores one job after the other and its next commit can take the outcome along; and only if the
 * scheduler is there to see that it does not wait for long. */
JOBQ__INTERNAL bool jobq__core_commit_due(const jobq *q, int64_t now_us);

/* Opens one more connection to the file that the queue has open; every connection comes from here.
 * On failure *db is closed. */
JOBQ__INTERNAL int jobq__core_connect(jobq *q, jobq__store *db, enum jobq__use use,
                                      jobq_error *err);
/* The application's turn with a connection, when jobq's tables stand. */
JOBQ__INTERNAL int jobq__core_setup(jobq *q, jobq__store *db, enum jobq__use use,
                                    jobq_error *err);

/* Both, for a connection that is opened when they do; it is closed again if that fails. */
JOBQ__INTERNAL int jobq__core_join_in(jobq *q, jobq__store *db, enum jobq__use use,
                                      jobq_error *err);

/* The connection that handlers get: one of its own, but in a memory database. */
static inline jobq__store *jobq__core_job(jobq *q) {
    return q->memory ? &q->writer : &q->job;
}

/* With the baton: pages in the log after the last commit, whichever connection that was on. */
JOBQ__INTERNAL int jobq__core_log_pages(const jobq *q);

/* With the baton: it is open and as on_connect leaves it. */
JOBQ__INTERNAL int jobq__core_open_job(jobq *q, jobq_error *err);
/* A job's transaction is over: the next shall find the connection as this one did. */
JOBQ__INTERNAL void jobq__core_leave_job(jobq *q);

#endif

/*==== core.c ====*/
/* core.c - struct jobq: the few questions that every room asks. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/core.c"
#endif
/* #include "core.h" */

#include <stdio.h>

JOBQ__INTERNAL int jobq__core_own_of_file(const jobq *q, jobq__store *db, struct jobq__now *now) {
    int64_t offset_ms, at_ms;
    int rc = q->client ? jobq__store_own_time(db, &offset_ms, &at_ms) : JOBQ_OK;
    if (rc == JOBQ_OK && q->client) now->own_ms = jobq__own_at(now->wall_ms, offset_ms, at_ms);
    return rc;
}

JOBQ__INTERNAL bool jobq__core_in_handler(jobq *q) {
    struct jobq__pool *pool = &q->pool;
    jobq__thread self = jobq__os_thread_self();
    bool inside = false;
    int i;
    jobq__os_lock(&pool->mu);
    for (i = 0; i < pool->crew.count && !inside; i++) {
        const struct jobq__worker *worker = &pool->crew.workers[i];
        inside = worker->run.entry && jobq__os_thread_same(worker->thread, self);
    }
    jobq__os_unlock(&pool->mu);
    return inside;
}

JOBQ__INTERNAL bool jobq__core_in_callback(const jobq *q) {
    return jobq__os_in_call(&q->events);
}

/* Its calls are q's own, the others' are the events': those may be made from handlers, too. */
JOBQ__INTERNAL bool jobq__core_in_connect(const jobq *q) {
    return jobq__os_in_call(q);
}

JOBQ__INTERNAL int jobq__core_refuse_connect(const char *call, jobq_error *err) {
    return jobq__err_set(err, JOBQ_MISUSE, "on_connect may not call %s: the queue waits for it with"
                         " the file in hand; it has the connection for what it does, and jobs are"
                         " for before or after jobq_run_db", call);
}

JOBQ__INTERNAL const char *jobq__core_where(jobq *q) {
    struct jobq__pool *pool = &q->pool;
    jobq__thread self = jobq__os_thread_self();
    const char *name = jobq__os_call_name(), *where = NULL;
    int i;
    jobq__os_lock(&pool->mu);
    for (i = 0; i < pool->crew.count && !where; i++) {
        const struct jobq__worker *worker = &pool->crew.workers[i];
        if (!worker->run.entry || !jobq__os_thread_same(worker->thread, self)) continue;
        where = name ? name : jobq__os_load(&worker->run.handling) ? "a handler"
                                                                   : "a kind's backoff";
    }
    jobq__os_unlock(&pool->mu);
    if (!where && jobq__core_in_callback(q)) where = name ? name : "a callback";
    return where;
}

JOBQ__INTERNAL bool jobq__core_culprit(const jobq *q, char *text, size_t size) {
    const struct jobq__pool *pool = &q->pool;
    const struct jobq_run *first = NULL, *asks = NULL;
    int i, others = 0;
    jobq__assert(jobq__os_held(&pool->mu));
    for (i = 0; i < pool->crew.count; i++) {
        const struct jobq_run *run = &pool->crew.workers[i].run;
        if (!run->entry) continue;
        if (jobq__os_load(&run->asking)) asks = run;
        if (!jobq__os_load(&run->handling)) continue;
        if (first) others++;
        else first = run;
    }
    if (!first && asks)
        snprintf(text, size, "the backoff of kind %s still runs, for job %lld",
                 asks->entry->kind->spec.name, (long long)asks->id);
    if (!first) return false;
    if (others)
        snprintf(text, size, "job %lld of kind %s (and %d more) still runs", (long long)first->id,
                 first->entry->kind->spec.name, others);
    else
        snprintf(text, size, "job %lld of kind %s still runs", (long long)first->id,
                 first->entry->kind->spec.name);
    return true;
}

JOBQ__INTERNAL void jobq__core_tell_thread(jobq *q, jobq_thread what, int index, bool begins) {
    struct jobq__os_call call;
    if (!q->options.on_thread) return;
    jobq__os_call_begin(&call, &q->events, "on_thread");
    q->options.on_thread(what, index, begins, q->options.ctx);
    jobq__os_call_end(&call);
}

JOBQ__INTERNAL void jobq__core_lock_reader(jobq *q) {
    jobq__os_add(&q->lookers, 1);
    jobq__os_lock(&q->reader_mu);
    jobq__os_add(&q->lookers, -1);
}

JOBQ__INTERNAL bool jobq__core_commit_due(const jobq *q, int64_t now_us) {
    const struct jobq__pool *pool = &q->pool;
    jobq__assert(jobq__os_held(&pool->mu));
    if (now_us < pool->work.retry_at_us || jobq__os_load(&q->failed)) return false;
    if (pool->outcomes.count >= JOBQ__BATCH) return true;
    if (pool->outcomes.count && pool->sched.away) return true;
    if (pool->outcomes.count && now_us - pool->outcomes.since_us >= JOBQ__DEFER_US) return true;
    if (pool->ring.count) return false;
    if (pool->work.left && pool->life.claiming) return true;
    return pool->outcomes.count && !pool->rates.stream;
}

static struct jobq__store_options jobq__core_options(const jobq *q) {
    struct jobq__store_options options = {q->options.durability, 0, q->client,
                                          q->options.on_connect, q->options.ctx, q};
    int64_t busy_us = q->baton.busy_us;
    /* Who has the file for itself keeps it until it ends. */
    if (q->client && jobq__owner_has_it_all(&q->owner))
        busy_us = JOBQ__MIN(busy_us, JOBQ__KNOCK_US);
    options.until_us = jobq__add(jobq__clock_mono_us(), busy_us);
    return options;
}

JOBQ__INTERNAL int jobq__core_connect(jobq *q, jobq__store *db, enum jobq__use use,
                                      jobq_error *err) {
    struct jobq__store_options options = jobq__core_options(q);
    int rc = jobq__store_open(db, q->files.path, q->vfs, use, &options, err);
    if (rc != JOBQ_OK || (!jobq__store_moved(db) && !jobq__files_moved(&q->files)
                          && !jobq__files_another(&q->files)))
        return rc;
    jobq__store_own(db, false);
    jobq__store_close(db);
    return jobq__err_set(err, JOBQ_MOVED, "%.250s, its -wal or its -shm is not the file any more"
                         " that the queue was opened with; put it back, or close the queue",
                         q->files.path);
}

JOBQ__INTERNAL int jobq__core_setup(jobq *q, jobq__store *db, enum jobq__use use,
                                    jobq_error *err) {
    struct jobq__store_options options = jobq__core_options(q);
    return jobq__store_set_up(db, use, &options, err);
}

JOBQ__INTERNAL int jobq__core_join_in(jobq *q, jobq__store *db, enum jobq__use use,
                                      jobq_error *err) {
    int rc = jobq__core_connect(q, db, use, err);
    if (rc == JOBQ_OK) rc = jobq__core_setup(q, db, use, err);
    if (rc != JOBQ_OK) jobq__store_close(db);
    return rc;
}

/* In memory it is the writer's, which is hardened between jobs, and cannot be opened anew. */
static int jobq__core_share_job(jobq *q, jobq_error *err) {
    int rc = JOBQ_OK;
    if (q->shares_job && !jobq__guard_has_temp(&q->writer)) return rc;
    jobq__store_harden(&q->writer, false);
    if (jobq__guard_has_temp(&q->writer)) jobq__guard_drop_temp(&q->writer);
    rc = jobq__core_setup(q, &q->writer, JOBQ__STORE_JOB, err);
    q->shares_job = rc == JOBQ_OK;
    if (rc == JOBQ_OK) jobq__guard_set(&q->writer);
    jobq__store_harden(&q->writer, true);
    if (rc != JOBQ_OK) jobq__guard_drop_temp(&q->writer); /* it goes on without */
    return rc;
}

JOBQ__INTERNAL int jobq__core_open_job(jobq *q, jobq_error *err) {
    int rc;
    if (q->memory) return jobq__core_share_job(q, err);
    if (jobq__store_is_open(&q->job)) return JOBQ_OK;
    rc = jobq__core_join_in(q, &q->job, JOBQ__STORE_JOB, err);
    if (rc == JOBQ_OK) jobq__guard_set(&q->job);
    return rc;
}

JOBQ__INTERNAL int jobq__core_log_pages(const jobq *q) {
    int pages = jobq__store_log_pages(&q->writer), of_job = jobq__store_log_pages(&q->job);
    return JOBQ__MAX(pages, of_job);
}

JOBQ__INTERNAL void jobq__core_leave_job(jobq *q) {
    if (jobq__guard_restore(jobq__core_job(q), q->memory) || q->memory) return;
    /* What it knows of the log is still so. */
    jobq__store_set_log_pages(&q->writer, jobq__core_log_pages(q));
    jobq__store_close(&q->job);
}

/*==== wake.h ====*/
/* wake.h - who sleeps, on what, and who wakes it. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/wake.h"
#endif
#ifndef JOBQ__WAKE_H
#define JOBQ__WAKE_H

/* #include "core.h" */

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

/*==== wake.c ====*/
/* wake.c - who sleeps, on what, and who wakes it. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/wake.c"
#endif
/* #include "wake.h" */

/* ---- Workers ---- */

static const unsigned jobq__wake_worker_edges[] = {
    [JOBQ__WORKER_ABSENT] = JOBQ__EDGE(JOBQ__WORKER_AWAKE),
    [JOBQ__WORKER_AWAKE] = JOBQ__EDGE(JOBQ__WORKER_IDLE) | JOBQ__EDGE(JOBQ__WORKER_ENDED)
                         | JOBQ__EDGE(JOBQ__WORKER_ABSENT),
    [JOBQ__WORKER_IDLE] = JOBQ__EDGE(JOBQ__WORKER_WOKEN) | JOBQ__EDGE(JOBQ__WORKER_AWAKE),
    [JOBQ__WORKER_WOKEN] = JOBQ__EDGE(JOBQ__WORKER_AWAKE),
    [JOBQ__WORKER_ENDED] = JOBQ__EDGE(JOBQ__WORKER_ABSENT),
};

JOBQ__INTERNAL void jobq__wake_worker_to(struct jobq__worker *worker, enum jobq__worker_state to) {
    jobq__assert(jobq__os_held(&worker->run.q->pool.mu));
    jobq__assert(JOBQ__LEGAL(jobq__wake_worker_edges, worker->state, to));
    jobq__assert((to == JOBQ__WORKER_IDLE) != jobq__list_empty(&worker->link));
    worker->state = to;
}

/* The last to idle, as it is woken; NULL: none does. */
static struct jobq__worker *jobq__wake_idle(jobq *q) {
    struct jobq__link *link = jobq__list_pop(&q->pool.crew.idle);
    struct jobq__worker *worker = link ? JOBQ__CONTAINER(link, struct jobq__worker, link) : NULL;
    jobq__assert(jobq__os_held(&q->pool.mu));
    if (worker) jobq__wake_worker_to(worker, JOBQ__WORKER_WOKEN);
    return worker;
}

JOBQ__INTERNAL void jobq__wake_worker(struct jobq__worker *worker) {
    jobq__assert(jobq__os_held(&worker->run.q->pool.mu));
    jobq__os_signal(&worker->cond);
}

JOBQ__INTERNAL void jobq__wake_workers(jobq *q, int jobs, struct jobq__wakes *later) {
    struct jobq__worker *worker;
    while (jobs-- > 0 && (worker = jobq__wake_idle(q)) != NULL) {
        /* One that was woken may sleep again by the next of several transactions. */
        if (!later || later->count == JOBQ_WORKERS_MAX) jobq__os_signal(&worker->cond);
        else later->workers[later->count++] = worker;
    }
}

JOBQ__INTERNAL void jobq__wake_claimer(jobq *q) {
    const struct jobq__pool *pool = &q->pool;
    bool left = !pool->ring.count && pool->work.left && pool->life.claiming;
    if (left && !jobq__os_load(&q->baton.busy)) jobq__wake_workers(q, 1, NULL);
}

JOBQ__INTERNAL void jobq__wake_for_baton(jobq *q) {
    struct jobq__pool *pool = &q->pool;
    jobq__os_lock(&pool->mu);
    if (pool->sched.wants_baton) jobq__wake_scheduler_locked(q);
    pool->sched.wants_baton = false;
    /* Nobody asks for the time without need. */
    if (!jobq__list_empty(&pool->crew.idle) && jobq__core_commit_due(q, jobq__clock_mono_us()))
        jobq__wake_workers(q, 1, NULL);
    jobq__wake_quiet(q);
    jobq__os_unlock(&pool->mu);
}

/* ---- Handlers that sleep ---- */

JOBQ__INTERNAL void jobq__wake_run(struct jobq_run *run) {
    jobq__assert(jobq__os_held(&run->q->pool.mu));
    if (!run->sleeping) return;
    run->sleeping = false;
    run->q->pool.crew.sleeping--;
    jobq__os_signal(&run->worker->cond);
}

JOBQ__INTERNAL void jobq__wake_stop(struct jobq_run *run, int32_t why) {
    jobq__assert(jobq__os_held(&run->q->pool.mu));
    jobq__os_or(&run->stop, why);
    jobq__wake_run(run);
}

/* ---- The scheduler ---- */

JOBQ__INTERNAL void jobq__wake_scheduler_locked(jobq *q) {
    struct jobq__sched *sched = &q->pool.sched;
    jobq__assert(jobq__os_held(&q->pool.mu));
    sched->kicked = true;
    jobq__os_signal(sched->tick_on_wall ? &sched->tick_wall : &sched->tick_mono);
}

JOBQ__INTERNAL void jobq__wake_scheduler(jobq *q) {
    jobq__os_lock(&q->pool.mu);
    jobq__wake_scheduler_locked(q);
    jobq__os_unlock(&q->pool.mu);
}

/* ---- Who waits for the pool, or for a job ---- */

JOBQ__INTERNAL void jobq__wake_quiet(jobq *q) {
    jobq__assert(jobq__os_held(&q->pool.mu));
    if (q->pool.rest.watchers) jobq__os_broadcast(&q->pool.rest.quiet);
}

JOBQ__INTERNAL void jobq__wake_await_quiet(jobq *q, int64_t until_us) {
    struct jobq__rest *rest = &q->pool.rest;
    rest->watchers++;
    if (until_us == INT64_MAX) jobq__os_wait(&rest->quiet, &q->pool.mu);
    else jobq__os_wait_until(&rest->quiet, &q->pool.mu, until_us);
    rest->watchers--;
}

JOBQ__INTERNAL void jobq__wake_waiter(jobq *q, struct jobq__waiter *waiter) {
    jobq__assert(jobq__os_held(&q->pool.mu));
    (void)q;
    jobq__os_signal(&waiter->cond);
}

JOBQ__INTERNAL void jobq__wake_waiters(jobq *q) {
    struct jobq__link *link;
    for (link = q->pool.waiters.next; link != &q->pool.waiters; link = link->next)
        jobq__wake_waiter(q, JOBQ__CONTAINER(link, struct jobq__waiter, link));
}

JOBQ__INTERNAL void jobq__wake_told(void *arg, uint64_t told) {
    jobq *q = arg;
    struct jobq__link *link;
    jobq__os_lock(&q->pool.mu);
    for (link = q->pool.waiters.next; link != &q->pool.waiters; link = link->next) {
        struct jobq__waiter *waiter = JOBQ__CONTAINER(link, struct jobq__waiter, link);
        if (!waiter->ended || waiter->done || waiter->serial > told) continue;
        waiter->done = true;
        jobq__wake_waiter(q, waiter);
    }
    jobq__os_unlock(&q->pool.mu);
}

/* ---- Outside all locks ---- */

JOBQ__INTERNAL void jobq__wake_loop(jobq *q) {
    struct jobq__os_call call;
    if (!q->step_mode || !q->options.on_wake) return;
    jobq__os_call_begin(&call, &q->events, "on_wake");
    q->options.on_wake(q->options.ctx);
    jobq__os_call_end(&call);
}

JOBQ__INTERNAL void jobq__wake_perform(jobq *q, const struct jobq__wakes *wakes) {
    int i;
    for (i = 0; i < wakes->count; i++) jobq__os_signal(&wakes->workers[i]->cond);
    if (wakes->scheduler && !q->step_mode) jobq__wake_scheduler(q);
    if (wakes->loop) jobq__wake_loop(q);
}

/*==== fail.h ====*/
/* fail.h - what stops a queue for good, and what its calls say from then on. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/fail.h"
#endif
#ifndef JOBQ__FAIL_H
#define JOBQ__FAIL_H

/* #include "wake.h" */

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

/*==== fail.c ====*/
/* fail.c - what stops a queue for good, and what its calls say from then on. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/fail.c"
#endif
/* #include "fail.h" */

JOBQ__INTERNAL void jobq__fail_latch(jobq *q, int code, const struct jobq__fault *why) {
    jobq__os_lock(&q->pool.mu);
    if (jobq__os_load(&q->failed) == JOBQ_OK) {
        if (why) q->fault = *why;
        jobq__os_store(&q->failed, code);
    }
    /* Who waits for something to happen waits in vain. */
    jobq__wake_waiters(q);
    jobq__wake_quiet(q);
    jobq__os_unlock(&q->pool.mu);
}

JOBQ__INTERNAL void jobq__fail_heed(jobq *q, int rc, const struct jobq__fault *why) {
    if (rc == JOBQ_CORRUPT || rc == JOBQ_NOT_A_DB) jobq__fail_latch(q, JOBQ_CORRUPT, why);
}

JOBQ__INTERNAL int jobq__fail_say(jobq *q, int rc, jobq_error *err) {
    static const char way_out[] = "the queue has stopped: see to the disk, and open it again";
    struct jobq__fault why;
    int failed;
    jobq__os_lock(&q->pool.mu);
    why = q->fault;
    failed = jobq__os_load(&q->failed);
    jobq__os_unlock(&q->pool.mu);
    if (rc == JOBQ_MOVED)
        return jobq__err_set(err, rc, "%.250s or what stands beside it (-wal, -shm, -jobq) was"
                             " moved, replaced, cut short or deleted: nothing more is written; put"
                             " back what can be (a -shm need not), and open the queue again",
                             q->files.path);
    if (why.sqlite_code && (rc == failed || rc == JOBQ_UNKNOWN))
        return jobq__store_tell(&why, rc, q->files.path, failed == JOBQ_IO ? way_out : NULL, err);
    return jobq__err_set(err, rc, "%s: %.250s", jobq_code_text(rc), q->files.path);
}

/*==== disk.h ====*/
/* disk.h - the disk under the queue: the reserve, full-disk mode, files that moved. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/disk.h"
#endif
#ifndef JOBQ__DISK_H
#define JOBQ__DISK_H

/* #include "core.h" */

/* Design note.
 *
 * What was accepted has to be finished even on a full disk. What that takes is kept back in time:
 *   - a reserve, allocated bytes of the lock file that hold nothing. It is as large as the log may
 *     become, so that the log can always be copied into the database, which may grow by as much;
 *   - where the disk has no room for so large a reserve, a shorter log. jobq__disk_log_pages;
 *   - no commit that would leave the copy of the log without room, a client's neither.
 *     jobq__disk_hold_back;
 *   - for rows that grow when their jobs are tried again or fail, a part of the database's size:
 *     set aside once the disk is about to become full, which is looked at after each checkpoint.
 *
 *   level    raised when a transaction meets a full disk; what it does
 *   ROOMY    nothing
 *   TIGHT    the reserve is lent to each transaction; new work is refused, unless
 *            the database has free pages for it; transactions are small, and after each the log
 *            is copied and cut off; done and cancelled jobs are no longer kept, nor messages,
 *            once some of the reserve is used up and there are no free pages: a row that is
 *            changed takes room, one that is deleted makes some; and when new work was
 *            refused, those that are kept give way to it
 *   SINGLE   and a transaction settles one job
 *
 * The reserve is lent with the right to write in hand, and at no other time does it become smaller
 * than the lock file notes, but for an open that finds no room for what that right takes
 * (jobq__disk_lend_some): a client, which has the right when it looks whether there is room, sees
 * what is lent and leaves it alone.
 * Who is killed with it may leave it in the log, behind the last commit, and that end of
 * the log the next checkpoint cuts off.
 *
 *   ROOMY -> TIGHT, TIGHT -> SINGLE  jobq__disk_full: a transaction has met a full disk
 *   ROOMY -> TIGHT                   jobq__disk_lend_some, _arm and _copied: there is no room for
 *                                    what was to be set aside
 *   TIGHT, SINGLE -> ROOMY           jobq__disk_recover: the reserve can be had again with half as
 *                                    much to spare; jobq__disk_arm: an open has found it
 *
 * jobq__disk_to asserts them. Whether it can be had is tried after each checkpoint, and before new
 * work is refused, so nobody has to restart.
 *
 * Moved files (M9): a database that was renamed, replaced or deleted goes on taking commits that
 * nobody will ever find. Its name, its log's and the lock file's are looked at before a commit, at
 * most every 10 ms.
 *
 * And a file that was large once becomes small again: some time after rows have ended, what is free
 * beyond a part of the database and has not been used meanwhile is given back, slice by slice, with
 * the housekeeping, and the log is copied then. A slice ends by the number of its pages and, but
 * for an artificial clock, by real time, with a pause after it. Not on a full disk, where free
 * pages are what new work lives on, and only in a file that jobq has made: another's free pages
 * are not ours to move.
 *
 * All of it belongs to the holder of the baton. A client has no reserve, a memory database no disk:
 * both stay ROOMY. */

enum { JOBQ__DISK_ROOMY, JOBQ__DISK_TIGHT, JOBQ__DISK_SINGLE };

/* Once the database is open: how large its pages are. */
JOBQ__INTERNAL void jobq__disk_measure(jobq *q);
/* An open has met a full disk: lends some of that outside of any transaction, for the log's shared
 * memory, without which there are none. False if there is nothing left. */
JOBQ__INTERNAL bool jobq__disk_lend_some(jobq *q);
/* Once the database is open and recovered: remembers its files and has the reserve made. */
JOBQ__INTERNAL void jobq__disk_arm(jobq *q);

/* At the begin of a transaction and after it: while the disk is full it may take all that is left;
 * afterwards what is left is set aside, or all is well again. */
JOBQ__INTERNAL void jobq__disk_begin(jobq *q);
JOBQ__INTERNAL void jobq__disk_end(jobq *q);

/* SQLite has met a full disk: raises the level, by which the next transaction is lent the reserve.
 * False if nothing is left to give up. */
JOBQ__INTERNAL bool jobq__disk_full(jobq *q);

/* May new work be stored? adds: bytes that it takes about; largest: of them in one payload.
 * JOBQ_FULL with a sentence if not. */
JOBQ__INTERNAL int jobq__disk_admit(jobq *q, int64_t adds, int64_t largest, jobq_error *err);

/* Before COMMIT: sets aside what the database will grow by when the log is copied, lest the log
 * take the room that its own copy needs, and both stand still for ever. JOBQ_FULL if there is not
 * that much. */
JOBQ__INTERNAL int jobq__disk_hold_back(struct jobq__tx *tx);

/* Before a checkpoint, in the writer's transaction, and after it. */
JOBQ__INTERNAL void jobq__disk_copying(jobq *q);
JOBQ__INTERNAL void jobq__disk_copied(jobq *q);

/* True if new work has been refused, and there is no more room since: history has to give way. */
JOBQ__INTERNAL bool jobq__disk_presses(jobq *q);

/* Jobs that one transaction may settle, claim, move or drop: roomy of them as long as the disk is
 * not full. */
JOBQ__INTERNAL int jobq__disk_batch(const jobq *q, int roomy);
/* True if done and cancelled jobs are to be dropped at once, and messages not to be stored. */
JOBQ__INTERNAL bool jobq__disk_saves_room(const jobq *q);
/* At how many pages of the log a checkpoint is due. */
JOBQ__INTERNAL int64_t jobq__disk_log_pages(const jobq *q);

/* So many bytes of rows have ended. When to look whether pages can be given back; JOBQ_NEVER: there
 * is no need yet. */
JOBQ__INTERNAL int64_t jobq__disk_freed(jobq *q, int64_t bytes, int64_t now_ms);
/* In a transaction: gives a slice back if it is time to. When to look again. */
JOBQ__INTERNAL int jobq__disk_shrink(struct jobq__tx *tx, int64_t now_ms, int64_t *again_ms);

/* JOBQ_MOVED if the files are no longer where they were; looks at most every 10 ms of now_us. */
JOBQ__INTERNAL int jobq__disk_look(jobq *q, int64_t now_us);

#endif

/*==== disk.c ====*/
/* disk.c - the disk under the queue: the reserve, full-disk mode, files that moved. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/disk.c"
#endif
/* #include "disk.h" */

/* ---- The level ---- */

static const unsigned jobq__disk_edges[] = {
    [JOBQ__DISK_ROOMY] = JOBQ__EDGE(JOBQ__DISK_TIGHT),
    [JOBQ__DISK_TIGHT] = JOBQ__EDGE(JOBQ__DISK_SINGLE) | JOBQ__EDGE(JOBQ__DISK_ROOMY),
    [JOBQ__DISK_SINGLE] = JOBQ__EDGE(JOBQ__DISK_ROOMY),
};

/* The one place where it changes. */
static void jobq__disk_to(struct jobq__disk *disk, int level) {
    jobq__assert(JOBQ__LEGAL(jobq__disk_edges, disk->level, level));
    disk->level = level;
}

/* There is no room for what was to be set aside: TIGHT at least. */
static void jobq__disk_tighten(struct jobq__disk *disk) {
    if (disk->level == JOBQ__DISK_ROOMY) jobq__disk_to(disk, JOBQ__DISK_TIGHT);
}

static void jobq__disk_relax(struct jobq__disk *disk) {
    if (disk->level != JOBQ__DISK_ROOMY) jobq__disk_to(disk, JOBQ__DISK_ROOMY);
}

/* ---- The reserve ---- */

/* What is counted in bytes takes whole pages, and these may be large. */
static int64_t jobq__disk_slack(const jobq *q) {
    return JOBQ__MAX(JOBQ__RESERVE_SLACK, JOBQ__RESERVE_SLACK_PAGES * q->disk.page_size);
}

static int64_t jobq__disk_least(const jobq *q) {
    return JOBQ__MAX(JOBQ__RESERVE_MIN, JOBQ__RESERVE_MIN_PAGES * q->disk.page_size);
}

static int64_t jobq__disk_each(const jobq *q) {
    return JOBQ__MAX(JOBQ__TIGHT_BYTES, JOBQ__TIGHT_PAGES * q->disk.page_size);
}

/* Rows grow by a few bytes when their jobs fail or are tried again. */
static int64_t jobq__disk_tail(jobq *q) {
    int64_t used = jobq__store_bytes(&q->writer) - jobq__store_free_bytes(&q->writer);
    int64_t empty = JOBQ__RESERVE_EMPTY_PAGES * q->disk.page_size;
    return JOBQ__MAX(used - empty, 0) / 100 * JOBQ__RESERVE_TAIL;
}

/* As much as the options say, or as the log may hold and a little for what else has to be written;
 * on a small disk one sixteenth of what is free; not less than a transaction needs, nor than the
 * owner before us had. */
static int64_t jobq__disk_base(jobq *q) {
    int64_t log = q->options.wal_pages * q->disk.page_size + 2 * jobq__disk_slack(q);
    int64_t most = q->options.reserve_bytes ? q->options.reserve_bytes : log;
    int64_t share = jobq__owner_disk_free(&q->owner) / JOBQ__RESERVE_SHARE;
    int64_t wanted = jobq__max(JOBQ__MIN(most, share), jobq__disk_least(q));
    return jobq__max(wanted, jobq__min(jobq__owner_noted_reserve(&q->owner),
                                       jobq__add(most, 3 * q->options.payload_max)));
}

/* The tail is set aside once the disk is about to become full. */
static int64_t jobq__disk_wanted(jobq *q) {
    int64_t wanted, free;
    if (q->options.reserve_bytes) return q->disk.base;
    wanted = jobq__add(q->disk.base, jobq__disk_tail(q));
    free = jobq__add(jobq__owner_disk_free(&q->owner), q->owner.reserved);
    return free / JOBQ__RESERVE_ROOMY >= wanted ? q->disk.base : wanted;
}

/* Between transactions of a full disk: sets aside what is there, before somebody else takes it. */
static void jobq__disk_hold(jobq *q) {
    int64_t left = jobq__add(jobq__owner_disk_free(&q->owner), q->owner.reserved);
    int64_t whole = left / q->disk.page_size * q->disk.page_size;
    jobq__owner_reserve(&q->owner, JOBQ__MIN(q->disk.wanted, whole));
    q->disk.held = q->owner.reserved;
}

/* What is used again soon: that stays. */
static int64_t jobq__disk_keeps(jobq__store *db, int64_t free) {
    return jobq__max(JOBQ__SHRINK_KEEP, (jobq__store_bytes(db) - free) / JOBQ__SHRINK_PART);
}

/* The owner before us may have left more free pages than are of use. */
static void jobq__disk_look_back(jobq *q) {
    struct jobq__disk *disk = &q->disk;
    int64_t at_ms = jobq__add(jobq__clock_now_ms(q->clock), JOBQ__PRUNE_PAUSE_MS);
    disk->shrinks = jobq__store_shrinks(&q->writer);
    disk->least_free = jobq__store_free_bytes(&q->writer);
    if (!disk->shrinks || disk->least_free < 2 * jobq__disk_keeps(&q->writer, disk->least_free))
        return;
    jobq__os_lock(&q->pool.mu);
    q->pool.timers.prune_at_ms = JOBQ__MIN(q->pool.timers.prune_at_ms, at_ms);
    jobq__os_unlock(&q->pool.mu);
}

JOBQ__INTERNAL void jobq__disk_measure(jobq *q) {
    if (q->memory) return;
    /* 0 if there was no memory to ask. */
    q->disk.page_size = jobq__store_page_size(&q->writer);
    if (q->disk.page_size < 512) q->disk.page_size = JOBQ__PAGE_SIZE;
}

JOBQ__INTERNAL bool jobq__disk_lend_some(jobq *q) {
    int64_t left = q->owner.reserved;
    if (q->client || left <= 0) return false;
    jobq__disk_tighten(&q->disk);
    return jobq__owner_reserve(&q->owner, left > JOBQ__RESERVE_MIN ? left / 2 : 0) == JOBQ_OK;
}

static void jobq__disk_arm_reserve(jobq *q) {
    struct jobq__disk *disk = &q->disk;
    int rc;
    disk->base = jobq__disk_base(q);
    jobq__owner_note_reserve(&q->owner, disk->base);
    disk->wanted = jobq__disk_wanted(q);
    rc = jobq__owner_reserve(&q->owner, disk->wanted);
    if (rc == JOBQ_FULL) {
        jobq__disk_tighten(disk);
        jobq__disk_hold(q);
    } else if (rc == JOBQ_OK) {
        jobq__disk_relax(disk);
    } else {
        /* A file system that cannot set bytes aside: then there is no reserve, and no promise. */
        disk->base = disk->wanted = 0;
        jobq__owner_note_reserve(&q->owner, 0);
    }
}

JOBQ__INTERNAL void jobq__disk_arm(jobq *q) {
    if (q->memory || q->client) return;
    if (q->wal_by_default)
        q->options.wal_pages = (int)JOBQ__MAX(
            JOBQ__WAL_PAGES * JOBQ__PAGE_SIZE / q->disk.page_size, JOBQ__WAL_PAGES_MIN);
    jobq__disk_look_back(q);
    if (q->options.reserve_bytes == JOBQ_NONE) {
        jobq__owner_note_reserve(&q->owner, 0);
        jobq__owner_reserve(&q->owner, 0);
    } else {
        jobq__disk_arm_reserve(q);
    }
    q->wal_next = jobq__disk_log_pages(q);
}

JOBQ__INTERNAL void jobq__disk_begin(jobq *q) {
    if (q->disk.level == JOBQ__DISK_ROOMY) return;
    jobq__assert(jobq__store_in_transaction(&q->writer) || jobq__store_in_transaction(&q->job));
    jobq__owner_reserve(&q->owner, 0);
}

JOBQ__INTERNAL bool jobq__disk_full(jobq *q) {
    struct jobq__disk *disk = &q->disk;
    if (q->memory || q->client || disk->level == JOBQ__DISK_SINGLE) return false;
    if (disk->level == JOBQ__DISK_ROOMY) disk->held = q->owner.reserved;
    jobq__disk_to(disk, disk->level + 1);
    return true;
}

/* Back to normal, if the reserve can be had with something to spare. */
static bool jobq__disk_recover(jobq *q) {
    struct jobq__disk *disk = &q->disk;
    if (disk->level == JOBQ__DISK_ROOMY) return true;
    if (jobq__owner_reserve(&q->owner, disk->wanted + disk->wanted / 2) != JOBQ_OK) return false;
    jobq__owner_reserve(&q->owner, disk->wanted);
    jobq__disk_relax(disk);
    return true;
}

JOBQ__INTERNAL void jobq__disk_end(jobq *q) {
    if (!jobq__disk_recover(q)) jobq__disk_hold(q);
}

/* A client's: the owner copies what it writes, with its reserve and with what is still free when
 * the log has grown by that. What the owner has lent to a transaction is not a client's to take: it
 * may have been killed in that, and the next one has to finish what there is. */
static int jobq__disk_leave_room(struct jobq__tx *tx, int64_t most) {
    jobq *q = tx->q;
    int64_t noted = jobq__owner_noted_reserve(&q->owner), held = jobq__owner_held(&q->owner);
    int64_t left = jobq__add(jobq__owner_disk_free(&q->owner), JOBQ__MIN(noted, held)), adds;
    if (held < noted) {
        adds = jobq__add(jobq__disk_slack(q), 2 * tx->grows);
        if (jobq__add(jobq__add(noted, jobq__disk_tail(q)), adds) > left) return JOBQ_FULL;
    }
    if (jobq__add(most, most) <= left) return JOBQ_OK;
    most = jobq__add(jobq__store_growth(tx->db), jobq__disk_slack(q));
    return jobq__add(most, most) <= left ? JOBQ_OK : JOBQ_FULL;
}

JOBQ__INTERNAL int jobq__disk_hold_back(struct jobq__tx *tx) {
    jobq *q = tx->q;
    int64_t logged = jobq__core_log_pages(q) * q->disk.page_size;
    int64_t most = jobq__add(logged + jobq__disk_slack(q), 2 * tx->grows), growth;
    if (q->client) return jobq__disk_leave_room(tx, most);
    if (q->memory || q->options.reserve_bytes == JOBQ_NONE) return JOBQ_OK;
    /* Nobody knows what a handler writes. */
    if (q->disk.level == JOBQ__DISK_ROOMY && tx->db == &q->writer && most <= q->owner.reserved)
        return JOBQ_OK;
    growth = jobq__store_growth(tx->db);
    if (growth <= q->owner.reserved) return JOBQ_OK;
    return jobq__owner_reserve(&q->owner, growth) == JOBQ_FULL ? JOBQ_FULL : JOBQ_OK;
}

JOBQ__INTERNAL void jobq__disk_copying(jobq *q) {
    struct jobq__disk *disk = &q->disk;
    jobq__disk_begin(q);
    if (disk->level != JOBQ__DISK_ROOMY) jobq__store_trim_log(&q->writer);
    else if (q->owner.reserved > disk->wanted) jobq__owner_reserve(&q->owner, disk->wanted);
}

/* A row that changes its size is written anew with its payload: into new pages, and these and the
 * old ones into the log. */
static bool jobq__disk_reserve_for(jobq *q, int64_t largest) {
    struct jobq__disk *disk = &q->disk;
    int64_t need = jobq__add(3 * largest, 2 * jobq__disk_slack(q));
    if (need <= disk->base) return true;
    if (jobq__owner_reserve(&q->owner, jobq__add(disk->wanted, need - disk->base)) != JOBQ_OK)
        return false;
    disk->wanted = jobq__add(disk->wanted, need - disk->base);
    disk->base = need;
    jobq__owner_note_reserve(&q->owner, need);
    return true;
}

static bool jobq__disk_has_spare(const jobq *q, int64_t adds) {
    return q->disk.spare >= jobq__add(q->disk.wanted, jobq__add(adds, adds));
}

JOBQ__INTERNAL bool jobq__disk_presses(jobq *q) {
    struct jobq__disk *disk = &q->disk;
    if (!disk->refused) return false;
    /* Not just for the one: the next shall find room, too. */
    if (disk->level != JOBQ__DISK_ROOMY
        && !jobq__disk_has_spare(q, jobq__add(disk->refused, disk->base))) return true;
    disk->refused = 0;
    return false;
}

JOBQ__INTERNAL int jobq__disk_admit(jobq *q, int64_t adds, int64_t largest, jobq_error *err) {
    struct jobq__disk *disk = &q->disk;
    if (!jobq__disk_recover(q)) {
        if (jobq__disk_has_spare(q, adds)) {
            disk->spare -= 2 * adds;
            return JOBQ_OK;
        }
        disk->refused = JOBQ__MAX(disk->refused, adds);
        return jobq__err_set(err, JOBQ_FULL, "the disk of %.200s is as good as full: what room"
                             " there is, is kept to finish the jobs that are in the queue, which go"
                             " on; free some, or wait for jobs to end and be dropped",
                             q->files.path);
    }
    if (!disk->wanted || jobq__disk_reserve_for(q, largest)) return JOBQ_OK;
    return jobq__err_set(err, JOBQ_FULL, "the disk of %.200s has no room for %lld bytes more;"
                         " free some, or wait for jobs to end and be dropped", q->files.path,
                         (long long)adds);
}

JOBQ__INTERNAL void jobq__disk_copied(jobq *q) {
    struct jobq__disk *disk = &q->disk;
    int64_t free = jobq__store_free_bytes(&q->writer);
    disk->least_free = JOBQ__MIN(disk->least_free, free);
    if (!disk->base) return;
    disk->spare = free;
    disk->wanted = jobq__disk_wanted(q);
    if (disk->level == JOBQ__DISK_ROOMY && q->owner.reserved != disk->wanted
        && jobq__owner_reserve(&q->owner, disk->wanted) != JOBQ_OK) {
        jobq__disk_tighten(disk);
        jobq__disk_hold(q);
    }
}

/* ---- What a level does ---- */

JOBQ__INTERNAL int jobq__disk_batch(const jobq *q, int roomy) {
    if (q->disk.level == JOBQ__DISK_ROOMY) return roomy;
    if (q->disk.level == JOBQ__DISK_SINGLE) return 1;
    return (int)jobq__max(jobq__min(q->disk.held / jobq__disk_each(q), JOBQ__TIGHT_BATCH), 1);
}

JOBQ__INTERNAL bool jobq__disk_saves_room(const jobq *q) {
    const struct jobq__disk *disk = &q->disk;
    return disk->level == JOBQ__DISK_SINGLE
        || (disk->level == JOBQ__DISK_TIGHT && disk->held < disk->wanted
            && disk->spare < disk->wanted);
}

JOBQ__INTERNAL int64_t jobq__disk_log_pages(const jobq *q) {
    int64_t pages;
    if (!q->disk.base) return q->options.wal_pages;
    pages = (q->disk.base - jobq__disk_slack(q)) / q->disk.page_size;
    return JOBQ__MIN(q->options.wal_pages, JOBQ__MAX(pages, 1));
}

/* ---- A file that was large once ---- */

JOBQ__INTERNAL int64_t jobq__disk_freed(jobq *q, int64_t bytes, int64_t now_ms) {
    struct jobq__disk *disk = &q->disk;
    disk->freed = jobq__add(disk->freed, bytes);
    if (!disk->shrinks || disk->freed < 2 * JOBQ__SHRINK_KEEP) return JOBQ_NEVER;
    disk->freed = 0;
    return jobq__add(now_ms, JOBQ__PRUNE_PAUSE_MS);
}

JOBQ__INTERNAL int jobq__disk_shrink(struct jobq__tx *tx, int64_t now_ms, int64_t *again_ms) {
    jobq *q = tx->q;
    struct jobq__disk *disk = &q->disk;
    int64_t free, keeps, least = disk->least_free, pages, until_us = INT64_MAX;
    int rc;
    *again_ms = JOBQ_NEVER;
    if (!disk->shrinks || disk->level != JOBQ__DISK_ROOMY) return JOBQ_OK;
    free = jobq__store_free_bytes(tx->db);
    keeps = jobq__disk_keeps(tx->db, free);
    disk->least_free = free;
    if (!disk->shrinking && free < 2 * keeps) return JOBQ_OK;
    *again_ms = jobq__add(now_ms, JOBQ__PRUNE_PAUSE_MS);
    /* Some of it was in use when somebody last looked: it may be again. */
    if (JOBQ__MIN(free, least) < 2 * keeps && !disk->shrinking) return JOBQ_OK;
    pages = JOBQ__MIN(free - keeps, JOBQ__SHRINK_BYTES) / disk->page_size;
    disk->shrinking = pages > 0;
    *again_ms = disk->shrinking ? now_ms : JOBQ_NEVER;
    if (!disk->shrinking) {
        q->wal_next = 0; /* the file is cut off when the log has been copied */
        return JOBQ_OK;
    }
    tx->grows = jobq__add(tx->grows, 2 * pages * disk->page_size);
    /* An artificial clock is for who wants the same calls to have the same history. */
    if (!q->clock) until_us = jobq__add(jobq__clock_mono_us(), JOBQ__SHRINK_US);
    if (!q->clock) *again_ms = jobq__add(now_ms, JOBQ__SHRINK_PAUSE_MS);
    rc = jobq__store_shrink(tx->db, pages, until_us);
    if (rc != JOBQ_OK || jobq__store_free_bytes(tx->db) < free) return rc;
    /* Somebody has made the file anew, as one that does not shrink. */
    disk->shrinks = disk->shrinking = false;
    *again_ms = JOBQ_NEVER;
    return JOBQ_OK;
}

/* ---- Moved files ---- */

JOBQ__INTERNAL int jobq__disk_look(jobq *q, int64_t now_us) {
    struct jobq__disk *disk = &q->disk;
    if (q->memory || now_us < disk->looked_us + JOBQ__LOOK_US) return JOBQ_OK;
    disk->looked_us = now_us;
    if (jobq__files_moved(&q->files) || jobq__owner_moved(&q->owner)) return JOBQ_MOVED;
    return q->files.log_file.kind == JOBQ__OS_FILE
        && jobq__store_log_is_cut(&q->writer, &q->files) ? JOBQ_MOVED : JOBQ_OK;
}

/*==== turn.h ====*/
/* turn.h - whose turn it is to write: other connections, other processes. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/turn.h"
#endif
#ifndef JOBQ__TURN_H
#define JOBQ__TURN_H

/* #include "fail.h" */

/* Design note.
 *
 * SQLite has one writer at a time. Inside this process the baton says who that is; beside it there
 * may be the application's own connection, another program, and clients of the queue. Nobody knows
 * when they let go of the file, so who finds it taken looks again: soon at first, then every two
 * milliseconds. He does that by his own time limit, and nobody else waits for longer than that:
 *   - a caller keeps the baton meanwhile, for nobody could do anything with it, and one look for
 *     each process is enough. Others queue behind him and leave when their own time is over; when
 *     his is over he hands the baton on, and the next one looks. A caller's time (busy_ms) passes
 *     while others have the file: another connection, or a job's transaction. It does not while he
 *     stands behind commits of this process, which are short, and make his turn come.
 *   - a worker and the scheduler lay the baton down at once and come again (pool.work.retry_at_us):
 *     handlers run, wakes are fired and events told, whatever the file does.
 *
 * Fair among processes. Who enqueues without a pause lets go of the file for some microseconds at
 * a time, and who looks every two milliseconds would hardly ever meet one of them. So who finds the
 * file taken raises a word in the lock file; who has written for five milliseconds without a pause,
 * and finds it raised, lowers it and stays away for three. If nobody comes, that was all; a process
 * that died while it waited costs that once. Who of several that wait comes first is chance: so the
 * word is another one for each turn, and who finds that he has missed some looks more often. Who
 * stays away fails nobody: a caller whose time is over tries all the same. All times are real.
 *
 * Everything here belongs to the holder of the baton, but taken, which says why others wait, and
 * the time that others have had the file. */

/* BEGIN IMMEDIATE on db. JOBQ__TAKEN: somebody else has the file, or it is their turn; nothing has
 * happened. insist: even if it is their turn. */
JOBQ__INTERNAL int jobq__turn_begin(jobq *q, jobq__store *db, bool insist);

/* The same, looking again until until_us: then JOBQ_BUSY. */
JOBQ__INTERNAL int jobq__turn_begin_within(jobq *q, jobq__store *db, int64_t until_us);

/* The longest pause between two looks: the shorter, the more turns it has missed. */
JOBQ__INTERNAL int64_t jobq__turn_pause_max_us(const jobq *q);

/* Sleeps before the next look, until until_us at most; *pause_us begins at 0. */
JOBQ__INTERNAL void jobq__turn_pause(const jobq *q, int64_t *pause_us, int64_t now_us,
                                     int64_t until_us);

/* From now on others have the file, or they do no longer. With the baton, and baton.mu held. */
JOBQ__INTERNAL void jobq__turn_others(jobq *q, bool have_it);

/* How long they have had it since the queue was opened, in all: the clock of who waits by busy_ms.
 * With baton.mu held. */
JOBQ__INTERNAL int64_t jobq__turn_others_had(const jobq *q, int64_t now_us);

/* Another connection has the file, and nobody waits for it: the pool comes again when it may be
 * free. */
JOBQ__INTERNAL void jobq__turn_put_off(jobq *q);

/* The file was written to, without a pause, from one moment to the other. */
JOBQ__INTERNAL void jobq__turn_end(jobq *q, int64_t from_us, int64_t to_us);

/* JOBQ_BUSY, and a sentence that says who was in the way; did: what has not happened. */
JOBQ__INTERNAL int jobq__turn_busy(jobq *q, const char *did, jobq_error *err);

/* The same where a connection was opened, which returned rc: if it was SQLite that said BUSY. */
JOBQ__INTERNAL int jobq__turn_shut_out(jobq *q, int rc, const char *did, jobq_error *err);

#endif

/*==== turn.c ====*/
/* turn.c - whose turn it is to write: other connections, other processes. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/turn.c"
#endif
/* #include "turn.h" */

#include <stdio.h>

/* ---- Others ---- */

JOBQ__INTERNAL void jobq__turn_others(jobq *q, bool have_it) {
    struct jobq__turn *turn = &q->turn;
    int64_t now_us;
    jobq__assert(jobq__os_held(&q->baton.mu));
    if (have_it == (turn->others_us != 0)) return;
    now_us = jobq__clock_mono_us();
    if (!have_it) turn->others_had_us += now_us - turn->others_us;
    turn->others_us = have_it ? now_us : 0;
}

JOBQ__INTERNAL int64_t jobq__turn_others_had(const jobq *q, int64_t now_us) {
    const struct jobq__turn *turn = &q->turn;
    jobq__assert(jobq__os_held(&q->baton.mu));
    if (!turn->others_us) return turn->others_had_us;
    return turn->others_had_us + JOBQ__MAX(now_us - turn->others_us, 0);
}

static void jobq__turn_taken(jobq *q, int sqlite_code) {
    jobq__os_store(&q->turn.taken, sqlite_code);
    jobq__os_lock(&q->baton.mu);
    jobq__turn_others(q, sqlite_code != 0);
    jobq__os_unlock(&q->baton.mu);
}

/* ---- Taking the file ---- */

/* The word is another one whenever somebody has given up a turn that we could not take. */
static void jobq__turn_ask(jobq *q) {
    struct jobq__turn *turn = &q->turn;
    int32_t asked = jobq__owner_want(&q->owner);
    if (turn->asked && turn->asked != asked && turn->missed < JOBQ__TURN_MISSED_MAX) turn->missed++;
    turn->asked = asked;
}

JOBQ__INTERNAL int jobq__turn_begin(jobq *q, jobq__store *db, bool insist) {
    struct jobq__turn *turn = &q->turn;
    int rc;
    if (turn->away_us && !insist && jobq__clock_mono_us() < turn->away_us) return JOBQ__TAKEN;
    rc = jobq__store_begin(db);
    if (rc == JOBQ_BUSY) {
        jobq__turn_taken(q, jobq__store_reason(db).sqlite_code);
        jobq__turn_ask(q);
        return JOBQ__TAKEN;
    }
    turn->asked = turn->missed = 0;
    if (jobq__os_load(&turn->taken) || turn->away_us) {
        jobq__turn_taken(q, 0);
        turn->away_us = 0;
        turn->since_us = jobq__clock_mono_us();
    }
    return rc;
}

JOBQ__INTERNAL int64_t jobq__turn_pause_max_us(const jobq *q) {
    return JOBQ__TURN_PAUSE_MAX_US >> q->turn.missed;
}

JOBQ__INTERNAL void jobq__turn_pause(const jobq *q, int64_t *pause_us, int64_t now_us,
                                     int64_t until_us) {
    *pause_us = *pause_us ? jobq__min(*pause_us * 2, jobq__turn_pause_max_us(q))
                          : JOBQ__TURN_PAUSE_US;
    jobq__os_sleep_us(JOBQ__MIN(*pause_us, until_us - now_us));
}

JOBQ__INTERNAL int jobq__turn_begin_within(jobq *q, jobq__store *db, int64_t until_us) {
    int64_t pause_us = 0, now_us;
    int rc;
    for (;;) {
        now_us = jobq__clock_mono_us();
        rc = jobq__turn_begin(q, db, now_us >= until_us);
        if (rc != JOBQ__TAKEN) return rc;
        if (now_us >= until_us) return JOBQ_BUSY;
        jobq__turn_pause(q, &pause_us, now_us, until_us);
    }
}

JOBQ__INTERNAL void jobq__turn_put_off(jobq *q) {
    struct jobq__pool *pool = &q->pool;
    int64_t at_us = jobq__clock_mono_us() + jobq__turn_pause_max_us(q);
    jobq__os_lock(&pool->mu);
    pool->work.retry_at_us = JOBQ__MAX(at_us, q->turn.away_us);
    jobq__os_unlock(&pool->mu);
    jobq__wake_scheduler(q);
}

JOBQ__INTERNAL void jobq__turn_end(jobq *q, int64_t from_us, int64_t to_us) {
    struct jobq__turn *turn = &q->turn;
    if (from_us - turn->left_us >= JOBQ__TURN_PAUSE_MAX_US) turn->since_us = from_us;
    turn->left_us = to_us;
    if (to_us - turn->since_us < JOBQ__TURN_US || !jobq__owner_wanted(&q->owner)) return;
    jobq__owner_serve(&q->owner);
    turn->away_us = to_us + JOBQ__TURN_AWAY_US;
}

JOBQ__INTERNAL int jobq__turn_busy(jobq *q, const char *did, jobq_error *err) {
    int32_t code = jobq__os_load(&q->turn.taken);
    char time[64] = "and with busy_ms = JOBQ_NONE no call waits";
    if (q->options.busy_ms)
        snprintf(time, sizeof time, "for all of the %lld ms of busy_ms",
                 (long long)q->options.busy_ms);
    if (!code)
        return jobq__err_set(err, JOBQ_BUSY, "a job's transaction (jobq_run_db) had %.200s"
                             " %s; %s", q->files.path, time, did);
    jobq__err_set(err, JOBQ_BUSY, "another connection (your own on this thread?) held"
                  " %.200s %s; %s: call again, or keep that transaction shorter", q->files.path,
                  time, did);
    if (err) err->sqlite_code = code;
    return JOBQ_BUSY;
}

JOBQ__INTERNAL int jobq__turn_shut_out(jobq *q, int rc, const char *did, jobq_error *err) {
    if (rc != JOBQ_BUSY || !err || !err->sqlite_code) return rc;
    jobq__os_store(&q->turn.taken, err->sqlite_code);
    return jobq__turn_busy(q, did, err);
}

/*==== baton.h ====*/
/* baton.h - the baton: who may write, who waits for it, and in which order. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/baton.h"
#endif
#ifndef JOBQ__BATON_H
#define JOBQ__BATON_H

/* #include "turn.h" */

/* Design note.
 *
 * The right to write is one, and called the baton. Who finds it free has it; who does not, stands
 * in one line with a request, and sleeps. Two kinds of requests stand there: those that want
 * something written, and those that want the baton for themselves (hold). Whoever has the baton and
 * leads a group (commit.c) takes the former from the head of the line, writes them together, and
 * lets their threads go; then it hands the baton to who is first in the line, or lays it down.
 *
 * States of a request, who performs the step, and on which thread (own: who made the request; the
 * holder: who has the baton at that moment):
 *
 *   NEW     -> LEAD     baton_enter     own: the baton was free
 *   NEW     -> WAITING  baton_enter     own: stands in the line
 *   NEW     -> GONE     baton_enter     own: there was no memory for a bed
 *   WAITING -> LEAD     baton_hand_on   the holder before: has the baton now
 *   LEAD    -> WAITING  baton_line_up   own: leads the group that it is the first of
 *   WAITING -> TAKEN    baton_collect   the holder: is in its group, out of the line
 *   TAKEN   -> DONE     baton_let_go    the holder: rc says how
 *   TAKEN   -> WAITING  baton_let_go    the holder: at the head of the line again, for another
 *                                       connection had the file when it was to be tried once more
 *   WAITING -> GONE     baton_withdraw  own: its time was over; it did not happen
 *
 * Invariants:
 *   - A request is in the line (head ... tail) exactly while it is WAITING, or LEAD and not hold;
 *     the latter only at the head.
 *   - Nobody stands in the line while the baton lies free.
 *   - syncs is the number of requests in the line that want a sync.
 *   - A request lies on its thread's stack, and the thread looks at state without a lock: after a
 *     step to LEAD or DONE nobody else may touch it. The bed stays: beds are kept until close, so
 *     who wakes a thread late wakes at worst somebody who looks again.
 *
 * A caller's time, busy_ms, passes only while others have the file (counts): behind commits of this
 * process it just stands in line. Nobody is woken when others take the file: who waits looks again
 * when its time would be over had they had it all along, which is never too late, and at least two
 * milliseconds later. The waits of the pool, of a stop and of a close end at their moment, whoever
 * is in the way. turn.h says who waits how for the file itself.
 *
 * The scheduler thread waits only briefly for the baton: a job's transaction may hold it for long,
 * and deadlines must not pass meanwhile. Whoever lays it down tells the scheduler
 * (pool.sched.wants_baton).
 *
 * A memory database has one connection only, so who looks inside holds the baton as well.
 *
 * May touch: its own mutex, the clock of others (turn.c), and, with no lock held, the pool's to
 * wake who has work for a free baton. It writes nothing and calls nothing of the storage layer. */

enum jobq__request_state {
    JOBQ__REQUEST_NEW,
    JOBQ__REQUEST_WAITING,
    JOBQ__REQUEST_TAKEN,
    JOBQ__REQUEST_LEAD,
    JOBQ__REQUEST_DONE,
    JOBQ__REQUEST_GONE
};

/* True if a request may go from one state to the other. */
JOBQ__INTERNAL bool jobq__baton_legal(int from, int to);

struct jobq__request {
    struct jobq__request *next;
    /* In the transaction; NULL: nothing. */
    int (*write)(struct jobq__tx *tx, struct jobq__request *r);
    /* After COMMIT, with the baton; or NULL. */
    void (*after)(jobq *q, struct jobq__request *r);
    void *arg;
    bool atomic;                /* several statements: needs a savepoint */
    bool sync;                  /* this commit at synchronous=FULL */
    int64_t adds;               /* bytes of new work, about; 0: it only finishes what there is */
    int64_t largest;            /* of them in one payload */
    bool hold;                  /* wants the baton itself, not a group */
    bool once;                  /* does not wait for other connections */
    bool counts;                /* its time passes only while others have the file (turn.h) */
    int64_t *left_us;           /* of busy_ms, for a call that makes several; NULL: all of it */
    int64_t wait_us;            /* JOBQ_BUSY after so long */
    int64_t from_us;            /* what its clock showed when it came */
    int64_t until_us;           /* waits for other connections until then; 0: as long as for the
                                   baton */
    int32_t state;              /* atomic */
    int rc;
    jobq_error *err;
    jobq__thread thread;
    struct jobq__bed *bed;
};

/* A place to sleep. */
struct jobq__bed {
    struct jobq__bed *next;     /* all beds; baton.mu */
    int32_t used;               /* atomic; set under baton.mu */
    struct jobq__mutex mu;
    struct jobq__cond cond;
    bool woken;                 /* guarded by mu */
};

/* Whom to wake when a group is over. */
struct jobq__sleepers {
    struct jobq__bed *beds[JOBQ__GROUP];
    int count;
    bool laid_down;             /* the baton lies free */
};

JOBQ__INTERNAL int jobq__baton_init(jobq *q);
JOBQ__INTERNAL void jobq__baton_fini(jobq *q);

/* ---- For who wants the baton ---- */

/* Takes it if it is free. */
JOBQ__INTERNAL bool jobq__baton_try(jobq *q);
/* Waits for it; JOBQ_BUSY when others have had the file for *left_us, of which is taken what they
 * had of it. */
JOBQ__INTERNAL int jobq__baton_hold(jobq *q, int64_t *left_us);
/* The same, but JOBQ_BUSY after wait_us of real time. */
JOBQ__INTERNAL int jobq__baton_hold_within(jobq *q, int64_t wait_us);
/* Hands it on, or lays it down. */
JOBQ__INTERNAL void jobq__baton_release(jobq *q);

/* The holder is inside a job's transaction (or leaves it). */
JOBQ__INTERNAL void jobq__baton_set_job(jobq *q, bool in_job);
/* True if the baton belongs to a job's transaction. */
JOBQ__INTERNAL bool jobq__baton_by_job(jobq *q);
/* True if this thread holds the baton for a job's transaction. */
JOBQ__INTERNAL bool jobq__baton_in_job(jobq *q);

/* ---- For commit.c: requests ---- */

/* Stands in line with the request, whose hold, counts and wait_us are set, until this thread has
 * something to do. LEAD: it has the baton. DONE: somebody has led for it, rc says how. GONE: it
 * did not happen, rc and err say why. */
JOBQ__INTERNAL enum jobq__request_state jobq__baton_enter(jobq *q, struct jobq__request *r);
/* For who has the baton by a request that is no hold: the next group begins with it. */
JOBQ__INTERNAL void jobq__baton_line_up(struct jobq__request *r);
/* Takes a request out of the line if no group has it yet: GONE. */
JOBQ__INTERNAL bool jobq__baton_withdraw(jobq *q, struct jobq__request *r);

/* When the request's time is over, if its clock goes on. While it stands still: when to look
 * again, for it may begin to go at any moment. */
JOBQ__INTERNAL int64_t jobq__baton_until(jobq *q, const struct jobq__request *r, int64_t now_us);
/* What it has left of its time; others may still have the file. */
JOBQ__INTERNAL int64_t jobq__baton_rest(jobq *q, const struct jobq__request *r);

/* True if this request's transaction is to be synced although the queue is RELAXED. */
JOBQ__INTERNAL bool jobq__baton_syncs(const jobq *q, const struct jobq__request *r);
/* True if that of who is first in the line is. */
JOBQ__INTERNAL bool jobq__baton_first_syncs(jobq *q);
/* Takes a group from the head of the line: up to the first that wants the baton for itself, or a
 * sync that this transaction does not do. NULL: there is none. */
JOBQ__INTERNAL struct jobq__request *jobq__baton_collect(jobq *q, bool sync);
/* The group is over: a request whose rc is JOBQ__TAKEN goes back to the head of the line, the
 * others' threads are let go. Then hands the baton on, unless own, which may be NULL, is not DONE:
 * returns whether it is kept. What there is to wake is woken by jobq__baton_wake, outside all
 * locks, but for the next holder, who is woken here. */
JOBQ__INTERNAL bool jobq__baton_pass(jobq *q, struct jobq__request *group,
                                     const struct jobq__request *own,
                                     struct jobq__sleepers *sleepers);
JOBQ__INTERNAL void jobq__baton_wake(jobq *q, const struct jobq__sleepers *sleepers);

#endif

/*==== baton.c ====*/
/* baton.c - the baton: who may write, who waits for it, and in which order. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/baton.c"
#endif
/* #include "baton.h" */

/* ---- Beds: where a thread sleeps until its request is done ---- */

static struct jobq__bed *jobq__baton_bed(jobq *q) {
    struct jobq__bed *bed = q->baton.beds;
    jobq__assert(jobq__os_held(&q->baton.mu));
    while (bed && jobq__os_load(&bed->used)) bed = bed->next;
    if (!bed) {
        bed = jobq__mem_new(sizeof *bed);
        if (!bed) return NULL;
        if (jobq__os_mutex_init(&bed->mu) || jobq__os_cond_init(&bed->cond, JOBQ__OS_MONO)) {
            jobq__os_mutex_fini(&bed->mu);
            jobq__mem_free(bed);
            return NULL;
        }
        bed->next = q->baton.beds;
        q->baton.beds = bed;
    }
    jobq__os_store(&bed->used, 1);
    return bed;
}

static void jobq__baton_bed_wake(struct jobq__bed *bed) {
    jobq__os_lock(&bed->mu);
    bed->woken = true;
    jobq__os_unlock(&bed->mu);
    jobq__os_signal(&bed->cond);
}

/* False if the time came first. */
static bool jobq__baton_bed_wait(struct jobq__bed *bed, int64_t until_us) {
    bool woken;
    jobq__os_lock(&bed->mu);
    while (!bed->woken) {
        if (until_us == INT64_MAX) jobq__os_wait(&bed->cond, &bed->mu);
        else if (!jobq__os_wait_until(&bed->cond, &bed->mu, until_us)) break;
    }
    woken = bed->woken;
    bed->woken = false;
    jobq__os_unlock(&bed->mu);
    return woken;
}

JOBQ__INTERNAL int jobq__baton_init(jobq *q) {
    q->baton.tail = &q->baton.head;
    q->baton.busy_us = q->options.busy_ms > INT64_MAX / 2000 ? INT64_MAX / 2
                                                             : q->options.busy_ms * 1000;
    return jobq__os_mutex_init(&q->baton.mu);
}

JOBQ__INTERNAL void jobq__baton_fini(jobq *q) {
    struct jobq__bed *bed, *next;
    for (bed = q->baton.beds; bed; bed = next) {
        next = bed->next;
        jobq__os_cond_fini(&bed->cond);
        jobq__os_mutex_fini(&bed->mu);
        jobq__mem_free(bed);
    }
    jobq__os_mutex_fini(&q->baton.mu);
}

/* ---- States of a request ---- */

#define JOBQ__BATON_TO(name) JOBQ__EDGE(JOBQ__REQUEST_##name)

static const unsigned jobq__baton_edges[] = {
    [JOBQ__REQUEST_NEW] = JOBQ__BATON_TO(LEAD) | JOBQ__BATON_TO(WAITING) | JOBQ__BATON_TO(GONE),
    [JOBQ__REQUEST_WAITING] = JOBQ__BATON_TO(TAKEN) | JOBQ__BATON_TO(LEAD) | JOBQ__BATON_TO(GONE),
    [JOBQ__REQUEST_TAKEN] = JOBQ__BATON_TO(DONE) | JOBQ__BATON_TO(WAITING),
    [JOBQ__REQUEST_LEAD] = JOBQ__BATON_TO(WAITING),
    [JOBQ__REQUEST_DONE] = 0,
    [JOBQ__REQUEST_GONE] = 0,
};

JOBQ__INTERNAL bool jobq__baton_legal(int from, int to) {
    return JOBQ__LEGAL(jobq__baton_edges, from, to);
}

/* The only place where a state changes. Its thread may be gone with the request at once. */
static void jobq__baton_step(struct jobq__request *r, enum jobq__request_state to) {
    jobq__assert(jobq__baton_legal(jobq__os_load(&r->state), (int)to));
    jobq__os_store(&r->state, (int32_t)to);
}

/* The same for another's thread; returns where that sleeps, if it does. */
static struct jobq__bed *jobq__baton_step_other(struct jobq__request *r,
                                                enum jobq__request_state to) {
    struct jobq__bed *bed = r->bed;
    jobq__baton_step(r, to);
    return bed;
}

/* ---- The baton ---- */

static void jobq__baton_take_locked(jobq *q, jobq__thread thread) {
    jobq__assert(jobq__os_held(&q->baton.mu));
    jobq__os_store(&q->baton.busy, 1);
    q->baton.holder = thread;
}

JOBQ__INTERNAL bool jobq__baton_try(jobq *q) {
    bool free;
    jobq__os_lock(&q->baton.mu);
    free = !q->baton.busy;
    if (free) jobq__baton_take_locked(q, jobq__os_thread_self());
    jobq__os_unlock(&q->baton.mu);
    return free;
}

/* Hands the baton to the first who waits, or lays it down; returns whom to wake. */
static struct jobq__bed *jobq__baton_hand_on(jobq *q) {
    struct jobq__request *first = q->baton.head;
    jobq__assert(jobq__os_held(&q->baton.mu));
    jobq__assert(q->baton.busy);
    q->baton.in_job = false;
    jobq__turn_others(q, false); /* whoever is next sees for himself */
    if (!first) {
        jobq__os_store(&q->baton.busy, 0);
        return NULL;
    }
    jobq__baton_take_locked(q, first->thread);
    if (first->hold) {
        q->baton.head = first->next;
        if (!q->baton.head) q->baton.tail = &q->baton.head;
    }
    return jobq__baton_step_other(first, JOBQ__REQUEST_LEAD);
}

JOBQ__INTERNAL void jobq__baton_release(jobq *q) {
    struct jobq__bed *bed;
    jobq__os_lock(&q->baton.mu);
    bed = jobq__baton_hand_on(q);
    jobq__os_unlock(&q->baton.mu);
    if (bed) jobq__baton_bed_wake(bed);
    else jobq__wake_for_baton(q);
}

JOBQ__INTERNAL void jobq__baton_set_job(jobq *q, bool in_job) {
    jobq__os_lock(&q->baton.mu);
    jobq__assert(q->baton.busy);
    q->baton.in_job = in_job;
    jobq__turn_others(q, in_job);
    jobq__os_unlock(&q->baton.mu);
}

JOBQ__INTERNAL bool jobq__baton_by_job(jobq *q) {
    bool by_job;
    jobq__os_lock(&q->baton.mu);
    by_job = q->baton.busy && q->baton.in_job;
    jobq__os_unlock(&q->baton.mu);
    return by_job;
}

JOBQ__INTERNAL bool jobq__baton_in_job(jobq *q) {
    bool in_job;
    if (!jobq__os_load(&q->baton.busy)) return false;
    jobq__os_lock(&q->baton.mu);
    in_job = q->baton.busy && q->baton.in_job
          && jobq__os_thread_same(q->baton.holder, jobq__os_thread_self());
    jobq__os_unlock(&q->baton.mu);
    return in_job;
}

/* ---- The line ---- */

static void jobq__baton_append(jobq *q, struct jobq__request *r) {
    r->next = NULL;
    if (r->sync) jobq__os_store(&q->baton.syncs, q->baton.syncs + 1);
    *q->baton.tail = r;
    q->baton.tail = &r->next;
}

JOBQ__INTERNAL bool jobq__baton_withdraw(jobq *q, struct jobq__request *r) {
    struct jobq__request **at;
    bool found = false;
    jobq__os_lock(&q->baton.mu);
    if (jobq__os_load(&r->state) == JOBQ__REQUEST_WAITING) {
        for (at = &q->baton.head; *at != r; at = &(*at)->next) {}
        *at = r->next;
        if (!r->next) q->baton.tail = at;
        if (r->sync) jobq__os_store(&q->baton.syncs, q->baton.syncs - 1);
        jobq__baton_step(r, JOBQ__REQUEST_GONE);
        found = true;
    }
    jobq__os_unlock(&q->baton.mu);
    return found;
}

/* What the clock shows by which the request waits. With baton.mu held. */
static int64_t jobq__baton_shows(const jobq *q, const struct jobq__request *r, int64_t now_us) {
    return r->counts ? jobq__turn_others_had(q, now_us) : now_us;
}

static int64_t jobq__baton_left(const jobq *q, const struct jobq__request *r, int64_t now_us) {
    int64_t left_us = r->wait_us - (jobq__baton_shows(q, r, now_us) - r->from_us);
    return JOBQ__MAX(left_us, 0);
}

static int64_t jobq__baton_until_locked(const jobq *q, const struct jobq__request *r,
                                        int64_t now_us) {
    int64_t left_us = jobq__baton_left(q, r, now_us);
    if (r->counts && !q->turn.others_us) left_us = JOBQ__MAX(left_us, JOBQ__TURN_PAUSE_MAX_US);
    return jobq__add(now_us, left_us);
}

JOBQ__INTERNAL int64_t jobq__baton_until(jobq *q, const struct jobq__request *r, int64_t now_us) {
    int64_t until_us;
    jobq__os_lock(&q->baton.mu);
    until_us = jobq__baton_until_locked(q, r, now_us);
    jobq__os_unlock(&q->baton.mu);
    return until_us;
}

JOBQ__INTERNAL int64_t jobq__baton_rest(jobq *q, const struct jobq__request *r) {
    int64_t now_us = jobq__clock_mono_us(), left_us;
    jobq__os_lock(&q->baton.mu);
    left_us = jobq__baton_left(q, r, now_us);
    jobq__os_unlock(&q->baton.mu);
    return left_us;
}

/* Sleeps until the request is done, has the baton, or was withdrawn because its time is over. */
static enum jobq__request_state jobq__baton_await(jobq *q, struct jobq__request *r,
                                                  int64_t until_us) {
    int state;
    while ((state = jobq__os_load(&r->state)) == JOBQ__REQUEST_WAITING
           || state == JOBQ__REQUEST_TAKEN) {
        int64_t limit_us = state == JOBQ__REQUEST_WAITING ? until_us : INT64_MAX, now_us;
        if (jobq__baton_bed_wait(r->bed, limit_us)) continue;
        now_us = jobq__clock_mono_us();
        until_us = jobq__baton_until(q, r, now_us);
        if (now_us >= until_us && jobq__baton_withdraw(q, r)) return JOBQ__REQUEST_GONE;
    }
    return (enum jobq__request_state)state;
}

/* Takes the baton, or a place in the line; until when that is kept. With baton.mu held. */
static int64_t jobq__baton_come(jobq *q, struct jobq__request *r) {
    bool wait = q->baton.busy != 0;
    int64_t now_us = 0, until_us = 0;
    jobq__assert(wait || !q->baton.head);
    /* Nobody asks for the time who need not wait: others have nothing while the baton is free. */
    if (wait || !r->counts) now_us = jobq__clock_mono_us();
    r->from_us = jobq__baton_shows(q, r, now_us);
    if (wait) until_us = jobq__baton_until_locked(q, r, now_us);
    if (wait) r->bed = jobq__baton_bed(q);
    if (!wait) jobq__baton_take_locked(q, r->thread);
    jobq__baton_step(r, !wait ? JOBQ__REQUEST_LEAD : r->bed ? JOBQ__REQUEST_WAITING
                                                            : JOBQ__REQUEST_GONE);
    if (wait ? r->bed != NULL : !r->hold) jobq__baton_append(q, r);
    return until_us;
}

JOBQ__INTERNAL enum jobq__request_state jobq__baton_enter(jobq *q, struct jobq__request *r) {
    enum jobq__request_state state;
    int64_t until_us;
    r->thread = jobq__os_thread_self();
    r->bed = NULL;
    r->state = JOBQ__REQUEST_NEW;
    r->rc = JOBQ_OK;
    jobq__os_lock(&q->baton.mu);
    until_us = jobq__baton_come(q, r);
    state = (enum jobq__request_state)jobq__os_load(&r->state);
    jobq__os_unlock(&q->baton.mu);
    if (state == JOBQ__REQUEST_GONE) r->rc = jobq__err_set(r->err, JOBQ_NO_MEMORY, NULL);
    if (state != JOBQ__REQUEST_WAITING) return state;
    state = jobq__baton_await(q, r, until_us);
    jobq__os_store(&r->bed->used, 0);
    if (state == JOBQ__REQUEST_GONE) r->rc = jobq__turn_busy(q, "nothing was stored", r->err);
    return state;
}

JOBQ__INTERNAL void jobq__baton_line_up(struct jobq__request *r) {
    jobq__assert(!r->hold);
    jobq__baton_step(r, JOBQ__REQUEST_WAITING);
}

JOBQ__INTERNAL int jobq__baton_hold(jobq *q, int64_t *left_us) {
    struct jobq__request request;
    memset(&request, 0, sizeof request);
    request.hold = request.counts = true;
    request.wait_us = *left_us;
    jobq__baton_enter(q, &request);
    *left_us = jobq__baton_rest(q, &request);
    return request.rc;
}

JOBQ__INTERNAL int jobq__baton_hold_within(jobq *q, int64_t wait_us) {
    struct jobq__request request;
    memset(&request, 0, sizeof request);
    request.hold = true;
    request.wait_us = wait_us;
    jobq__baton_enter(q, &request);
    return request.rc;
}

/* ---- Groups ---- */

JOBQ__INTERNAL bool jobq__baton_syncs(const jobq *q, const struct jobq__request *r) {
    return q->options.durability == JOBQ_RELAXED && r && r->sync;
}

JOBQ__INTERNAL bool jobq__baton_first_syncs(jobq *q) {
    bool sync;
    if (!jobq__os_load(&q->baton.syncs)) return false;
    jobq__os_lock(&q->baton.mu);
    sync = jobq__baton_syncs(q, q->baton.head);
    jobq__os_unlock(&q->baton.mu);
    return sync;
}

JOBQ__INTERNAL struct jobq__request *jobq__baton_collect(jobq *q, bool sync) {
    struct jobq__request *list, **end = &q->baton.head;
    int count = 0;
    jobq__os_lock(&q->baton.mu);
    list = q->baton.head;
    while (*end && !(*end)->hold && count < JOBQ__GROUP
           && (sync || !jobq__baton_syncs(q, *end))) {
        if ((*end)->sync) jobq__os_store(&q->baton.syncs, q->baton.syncs - 1);
        jobq__baton_step(*end, JOBQ__REQUEST_TAKEN);
        end = &(*end)->next;
        count++;
    }
    if (end == &q->baton.head) {
        list = NULL;
    } else {
        q->baton.head = *end;
        *end = NULL;
        if (!q->baton.head) q->baton.tail = &q->baton.head;
    }
    jobq__os_unlock(&q->baton.mu);
    return list;
}

/* What has been decided is done, the rest goes back to the front of the line. With baton.mu
 * held. */
static void jobq__baton_let_go(jobq *q, struct jobq__request *group,
                               struct jobq__sleepers *sleepers) {
    struct jobq__request *r, *after, *back = NULL, **end = &back;
    jobq__thread self = jobq__os_thread_self();
    struct jobq__bed *bed;
    for (r = group; r; r = after) {
        bool own = jobq__os_thread_same(r->thread, self), again = r->rc == JOBQ__TAKEN;
        after = r->next;
        if (again) {
            *end = r;
            end = &r->next;
            if (r->sync) jobq__os_store(&q->baton.syncs, q->baton.syncs + 1);
        }
        bed = jobq__baton_step_other(r, again ? JOBQ__REQUEST_WAITING : JOBQ__REQUEST_DONE);
        if (!own) sleepers->beds[sleepers->count++] = bed;
    }
    if (!back) return;
    *end = q->baton.head;
    if (!q->baton.head) q->baton.tail = end;
    q->baton.head = back;
}

JOBQ__INTERNAL bool jobq__baton_pass(jobq *q, struct jobq__request *group,
                                     const struct jobq__request *own,
                                     struct jobq__sleepers *sleepers) {
    struct jobq__bed *next = NULL;
    bool keep;
    sleepers->count = 0;
    jobq__os_lock(&q->baton.mu);
    jobq__baton_let_go(q, group, sleepers);
    keep = own && jobq__os_load(&own->state) != JOBQ__REQUEST_DONE;
    if (!keep) next = jobq__baton_hand_on(q);
    jobq__os_unlock(&q->baton.mu);
    sleepers->laid_down = !keep && !next;
    if (next) jobq__baton_bed_wake(next);
    return keep;
}

JOBQ__INTERNAL void jobq__baton_wake(jobq *q, const struct jobq__sleepers *sleepers) {
    int i;
    for (i = 0; i < sleepers->count; i++) jobq__baton_bed_wake(sleepers->beds[i]);
    if (sleepers->laid_down) jobq__wake_for_baton(q);
}

/*==== log.h ====*/
/* log.h - checkpoints: when the log is copied into the database, and how. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/log.h"
#endif
#ifndef JOBQ__LOG_H
#define JOBQ__LOG_H

/* #include "disk.h" */
/* #include "turn.h" */

/* Design note.
 *
 * Commits go into the log. When that has as many pages as jobq__disk_log_pages says, it is copied
 * into the database, on a connection of its own, so that no reader waits for it:
 *
 *   IDLE   -> DUE     log_mind       after a commit: it has grown to wal_next pages
 *   DUE    -> IDLE    log_copy_now   by the scheduler (pool.work.checkpoint), or, where there is
 *                                    none or it does not come to it, by who has committed
 *   DUE    -> DUE     log_copy_now   another connection has the file: put off (turn.h)
 *
 * The writer holds its lock meanwhile, so no commit can wrap the log under the checkpoint (that is
 * the race that damaged databases before SQLite 3.51.3), nor take what is lent for it. Somebody who
 * reads an old state keeps the log from being copied whole: then it is tried again when as much has
 * been added. A log that has become far too long is cut off, too.
 *
 * On a full disk (disk.h) the log is copied and cut off after each transaction: what is in it is
 * room that the next one has not.
 *
 * All of it with the baton, or before anybody else has the queue. A client leaves the log to the
 * owner, and a memory database has none. */

/* Copies the log into the database; on a full disk, or if told to, cuts it off, too. *all: nobody
 * needs the log any more. JOBQ_BUSY: another connection has the file until then. */
JOBQ__INTERNAL int jobq__log_copy(jobq *q, int64_t until_us, bool cut, bool *all);
/* The same as a checkpoint of a queue that is open, with all that goes with it; put off if another
 * connection has the file. Within the work on one group: the reserve stays lent. */
JOBQ__INTERNAL void jobq__log_copy_now(jobq *q);
/* The same at its end: the reserve is taken back, as far as it can be. */
JOBQ__INTERNAL void jobq__log_checkpoint(jobq *q);

/* After a commit: takes a checkpoint if one is due and nobody else is there for it. True: the
 * scheduler is, and is to be woken. */
JOBQ__INTERNAL bool jobq__log_mind(jobq *q);

#endif

/*==== log.c ====*/
/* log.c - checkpoints: when the log is copied into the database, and how. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/log.c"
#endif
/* #include "log.h" */

JOBQ__INTERNAL int jobq__log_copy(jobq *q, int64_t until_us, bool cut, bool *all) {
    int rc = jobq__turn_begin_within(q, &q->writer, until_us);
    *all = false;
    if (rc != JOBQ_OK) return rc;
    do {
        jobq__disk_copying(q);
        rc = jobq__store_copy_log(&q->copier, false, all);
    } while (rc == JOBQ_FULL && q->disk.level == JOBQ__DISK_ROOMY && jobq__disk_full(q));
    jobq__store_rollback(&q->writer);
    if (cut || q->disk.level != JOBQ__DISK_ROOMY) rc = jobq__store_copy_log(&q->writer, true, all);
    return rc;
}

JOBQ__INTERNAL void jobq__log_copy_now(jobq *q) {
    int64_t pages = jobq__core_log_pages(q), cap;
    bool all, cut = pages > JOBQ__WAL_TRUNCATE * q->options.wal_pages;
    if (q->memory || jobq__os_load(&q->failed)) return;
    if (jobq__log_copy(q, 0, cut, &all) == JOBQ_BUSY) {
        jobq__turn_put_off(q);
        return;
    }
    if (all) {
        jobq__store_set_log_pages(&q->writer, 0);
        jobq__store_set_log_pages(&q->job, 0);
    }
    jobq__disk_copied(q);
    cap = jobq__disk_log_pages(q);
    /* Somebody reads an old state: try again when as much has been added. */
    q->wal_next = all ? cap : pages + cap;
    jobq__os_lock(&q->pool.mu);
    q->pool.stats.checkpoints++;
    q->pool.work.checkpoint = false;
    jobq__os_unlock(&q->pool.mu);
}

JOBQ__INTERNAL void jobq__log_checkpoint(jobq *q) {
    jobq__log_copy_now(q);
    jobq__disk_end(q);
}

JOBQ__INTERNAL bool jobq__log_mind(jobq *q) {
    bool scheduler;
    if (q->client || q->memory) return false;
    if (q->disk.level != JOBQ__DISK_ROOMY) {
        jobq__log_checkpoint(q);
        return false;
    }
    if (jobq__core_log_pages(q) < q->wal_next) return false;
    jobq__os_lock(&q->pool.mu);
    scheduler = q->pool.sched.started;
    /* Unless it does not come to it. */
    if (scheduler && jobq__core_log_pages(q) > 2 * q->wal_next) scheduler = false;
    if (scheduler) q->pool.work.checkpoint = true;
    jobq__os_unlock(&q->pool.mu);
    if (!scheduler) jobq__log_checkpoint(q);
    return scheduler;
}

/*==== ring.h ====*/
/* ring.h - the ordered window of claimed jobs. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/ring.h"
#endif
#ifndef JOBQ__RING_H
#define JOBQ__RING_H

/* #include "core.h" */

/* Design note.
 *
 * The ring holds what is claimed and not started. Within a lane it is kept in (priority, run_at,
 * id) order; across lanes it is served round robin. The transaction that fills it keeps the
 * invariant that makes the order of the table and of the ring one: every ready row of a lane that
 * stands in the table sorts after every job of that lane in the ring (tx_order.h). All under
 * pool.mu. */

JOBQ__INTERNAL void jobq__ring_init(struct jobq__ring *ring);

/* The order in which jobs of a lane start: < 0 if a comes first. */
JOBQ__INTERNAL int jobq__ring_compare(const struct jobq__row *a, const struct jobq__row *b);

JOBQ__INTERNAL void jobq__ring_put(struct jobq__ring *ring, struct jobq__entry *entry);
JOBQ__INTERNAL void jobq__ring_remove(struct jobq__ring *ring, struct jobq__entry *entry);
/* The next job to start, or NULL. */
JOBQ__INTERNAL struct jobq__entry *jobq__ring_take(struct jobq__ring *ring);
/* True if the job is claimed and has not started. */
JOBQ__INTERNAL bool jobq__ring_has(const struct jobq__ring *ring, int64_t id);
#ifdef JOBQ_DEBUG
/* True if lanes, turns and counts agree, and each lane is in order. For assertions. */
JOBQ__INTERNAL bool jobq__ring_sound(const struct jobq__ring *ring);
#endif
/* The last of a lane, or NULL; and that of some lane, NULL if the ring is empty. */
JOBQ__INTERNAL struct jobq__entry *jobq__ring_last(const struct jobq__lane *lane);
JOBQ__INTERNAL struct jobq__entry *jobq__ring_end(const struct jobq__ring *ring);

#endif

/*==== ring.c ====*/
/* ring.c - the ordered window of claimed jobs. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/ring.c"
#endif
/* #include "ring.h" */

#define JOBQ__RING_ENTRY(pointer) JOBQ__CONTAINER(pointer, struct jobq__entry, link)

JOBQ__INTERNAL void jobq__ring_init(struct jobq__ring *ring) {
    memset(ring, 0, sizeof *ring);
    jobq__list_init(&ring->lanes);
}

JOBQ__INTERNAL int jobq__ring_compare(const struct jobq__row *a, const struct jobq__row *b) {
    if (a->priority != b->priority) return a->priority < b->priority ? -1 : 1;
    if (a->run_at_ms != b->run_at_ms) return a->run_at_ms < b->run_at_ms ? -1 : 1;
    if (a->id != b->id) return a->id < b->id ? -1 : 1;
    return 0;
}

JOBQ__INTERNAL void jobq__ring_put(struct jobq__ring *ring, struct jobq__entry *entry) {
    struct jobq__lane *lane = entry->lane;
    struct jobq__link *place = &lane->ring;
    if (jobq__list_empty(&lane->ring)) jobq__list_append(&ring->lanes, &lane->turn);
    /* From the end: what comes late mostly sorts late. */
    while (place->prev != &lane->ring
           && jobq__ring_compare(&entry->row, &JOBQ__RING_ENTRY(place->prev)->row) < 0)
        place = place->prev;
    jobq__list_insert(place, &entry->link);
    entry->in_ring = true;
    ring->count++;
    ring->bytes += (int64_t)entry->row.size;
}

JOBQ__INTERNAL void jobq__ring_remove(struct jobq__ring *ring, struct jobq__entry *entry) {
    jobq__assert(entry->in_ring);
    jobq__list_remove(&entry->link);
    if (jobq__list_empty(&entry->lane->ring)) jobq__list_remove(&entry->lane->turn);
    entry->in_ring = false;
    ring->count--;
    ring->bytes -= (int64_t)entry->row.size;
    jobq__assert(ring->count >= 0 && ring->bytes >= 0);
}

JOBQ__INTERNAL struct jobq__entry *jobq__ring_take(struct jobq__ring *ring) {
    struct jobq__link *turn = ring->lanes.next;
    struct jobq__entry *entry;
    if (turn == &ring->lanes) return NULL;
    entry = JOBQ__RING_ENTRY(JOBQ__CONTAINER(turn, struct jobq__lane, turn)->ring.next);
    jobq__ring_remove(ring, entry);
    if (!jobq__list_empty(&entry->lane->ring)) {
        jobq__list_remove(turn);
        jobq__list_append(&ring->lanes, turn);
    }
    return entry;
}

JOBQ__INTERNAL struct jobq__entry *jobq__ring_last(const struct jobq__lane *lane) {
    return lane->ring.prev == &lane->ring ? NULL : JOBQ__RING_ENTRY(lane->ring.prev);
}

JOBQ__INTERNAL struct jobq__entry *jobq__ring_end(const struct jobq__ring *ring) {
    const struct jobq__link *turn = ring->lanes.next;
    if (turn == &ring->lanes) return NULL;
    return jobq__ring_last(JOBQ__CONTAINER(turn, const struct jobq__lane, turn));
}

JOBQ__INTERNAL bool jobq__ring_has(const struct jobq__ring *ring, int64_t id) {
    const struct jobq__link *turn, *link;
    for (turn = ring->lanes.next; turn != &ring->lanes; turn = turn->next) {
        const struct jobq__lane *lane = JOBQ__CONTAINER(turn, const struct jobq__lane, turn);
        for (link = lane->ring.next; link != &lane->ring; link = link->next)
            if (JOBQ__CONTAINER(link, const struct jobq__entry, link)->row.id == id) return true;
    }
    return false;
}

#ifdef JOBQ_DEBUG
JOBQ__INTERNAL bool jobq__ring_sound(const struct jobq__ring *ring) {
    const struct jobq__link *turn, *link;
    int64_t bytes = 0;
    int count = 0;
    for (turn = ring->lanes.next; turn != &ring->lanes; turn = turn->next) {
        const struct jobq__lane *lane = JOBQ__CONTAINER(turn, const struct jobq__lane, turn);
        const struct jobq__row *before = NULL;
        if (jobq__list_empty(&lane->ring)) return false;
        for (link = lane->ring.next; link != &lane->ring; link = link->next) {
            const struct jobq__entry *entry = JOBQ__CONTAINER(link, const struct jobq__entry, link);
            if (!entry->in_ring || entry->lane != lane || entry->gone) return false;
            if (before && jobq__ring_compare(before, &entry->row) >= 0) return false;
            before = &entry->row;
            bytes += (int64_t)entry->row.size;
            count++;
        }
    }
    return count == ring->count && bytes == ring->bytes;
}
#endif

/*==== tx_gates.h ====*/
/* tx_gates.h - gates that have opened, and whose rows were not all moved yet. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/tx_gates.h"
#endif
#ifndef JOBQ__TX_GATES_H
#define JOBQ__TX_GATES_H

/* #include "core.h" */

/* Design note.
 *
 * Invariant of every committed state: if rows stand in the lane before a gate that has room, then
 * the gate stands in the list jobq_claims.open (or its kind in q->opened, until the next
 * transaction has looked). So nothing is forgotten whoever dies in between, and at open nobody has
 * to look at each lane there is. The only gates with such a lane are those of kinds: shut until a
 * handler is registered, and wide from then on, so that nobody who leaves one makes room there.
 *
 *   appended   by whoever gives a gate room: for a kind in the first transaction after its handler
 *              was registered, if rows wait for it (gates_look, gates_append).
 *   drained    a slice of the first gate in each transaction that may claim, and of the kind's in
 *              those of jobq_register (tx_drain in tx_claim.c). Each row goes where the whole
 *              predicate wants it (tx_place.c): perhaps before another gate.
 *   struck     when its lane is empty, or the gate has no room any more: whoever gives it room
 *              appends it again. Of an owner before us a kind may stand here that has no handler.
 *   read       by recovery, and with the lanes when others may have written (look_lanes); nothing
 *              else is asked for at open.
 *   written    with the claims row, if it has changed.
 *
 * tx->gates is the list as the transaction leaves it, q->gates as it was committed; both have the
 * same capacity, so that one can become the other without memory. It is appended to in tx_fill
 * only: whoever does so in a request has to undo it with that (tx_mark).
 *
 * Not here: the line of suspects, and any queue's gate. Who waits for those waits in the line that
 * is claimed from, in a lane above 0, and such lanes are found by I3 (tx_order.h). And while a
 * kind's gate is drained new jobs of it go to their line at once: they may start before those that
 * were not moved yet, as jobq.h tells the caller. To those that were they stand in order. */

/* Reads them, before any is appended: JOBQ_CORRUPT if that is no list of gates. */
JOBQ__INTERNAL int jobq__tx_gates_read(struct jobq__tx *tx);
/* Appends the kinds that were registered since somebody has looked, if rows wait for them. */
JOBQ__INTERNAL int jobq__tx_gates_look(struct jobq__tx *tx);
/* The lane of which a slice is to be moved now, or 0. */
JOBQ__INTERNAL int32_t jobq__tx_gates_first(const struct jobq__tx *tx);
JOBQ__INTERNAL void jobq__tx_gates_strike(struct jobq__tx *tx, int32_t lane);
/* Writes them, if they have changed. */
JOBQ__INTERNAL int jobq__tx_gates_write(struct jobq__tx *tx);
/* A transaction begins anew; it was committed. */
JOBQ__INTERNAL void jobq__tx_gates_reset(struct jobq__tx *tx);
JOBQ__INTERNAL void jobq__tx_gates_applied(struct jobq__tx *tx);

/* Rows may stand before the gate of a kind that is registered. */
JOBQ__INTERNAL bool jobq__tx_gates_open(const jobq *q, const struct jobq__kind *kind);
/* The lanes of kinds that have had a handler since before the last commit, in which nobody waits
 * who is not in the list; how many, and lanes may be NULL. */
JOBQ__INTERNAL size_t jobq__tx_gates_settled(const jobq *q, int32_t *lanes);

/* Adds to a list of the claims row, in tx->pack. */
JOBQ__INTERNAL int jobq__tx_pack(struct jobq__tx *tx, size_t *size, int64_t *previous, int64_t id);

#endif

/*==== tx_gates.c ====*/
/* tx_gates.c - gates that have opened, and whose rows were not all moved yet. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/tx_gates.c"
#endif
/* #include "tx_gates.h" */

static bool jobq__tx_gates_have(const struct jobq__gates *gates, int32_t lane) {
    int i = 0;
    while (i < gates->count && gates->lanes[i] != lane) i++;
    return i < gates->count;
}

static bool jobq__tx_gates_room_for(struct jobq__gates *gates, int capacity) {
    int32_t *lanes = jobq__mem_resize(gates->lanes, (size_t)capacity, sizeof *lanes);
    if (lanes) gates->lanes = lanes;
    return lanes != NULL;
}

/* One that is not there yet, while there is a place left. */
static int jobq__tx_gates_append(struct jobq__tx *tx, int32_t lane) {
    jobq *q = tx->q;
    int capacity = q->gates_capacity;
    jobq__assert(jobq__stored_stand(lane) == JOBQ__STANDS_AT_GATE);
    jobq__assert(tx->gates.count < JOBQ__OPEN_MAX && !jobq__tx_gates_have(&tx->gates, lane));
    if (tx->gates.count == capacity) {
        capacity = capacity ? capacity * 2 : JOBQ__OPEN_FIRST;
        if (!jobq__tx_gates_room_for(&q->gates, capacity)
            || !jobq__tx_gates_room_for(&tx->gates, capacity)) return JOBQ_NO_MEMORY;
        q->gates_capacity = capacity;
    }
    tx->gates.lanes[tx->gates.count++] = lane;
    tx->gates_changed = true;
    return JOBQ_OK;
}

JOBQ__INTERNAL void jobq__tx_gates_strike(struct jobq__tx *tx, int32_t lane) {
    struct jobq__gates *gates = &tx->gates;
    int i, kept = 0;
    for (i = 0; i < gates->count; i++)
        if (gates->lanes[i] != lane) gates->lanes[kept++] = gates->lanes[i];
    gates->count = kept;
    tx->gates_changed = true;
}

JOBQ__INTERNAL int jobq__tx_gates_read(struct jobq__tx *tx) {
    void *list = NULL;
    size_t size = 0, at = 0;
    int64_t lane = 0;
    int rc;
    jobq__assert(!tx->gates_changed);
    tx->gates.count = 0;
    rc = jobq__store_open_get(tx->db, &list, &size);
    while (rc == JOBQ_OK && at < size) {
        rc = jobq__store_open_next(tx->db, list, size, &at, &lane);
        if (rc != JOBQ_OK) break;
        if (tx->gates.count == JOBQ__OPEN_MAX || jobq__tx_gates_have(&tx->gates, (int32_t)lane))
            rc = jobq__store_damaged(tx->db, JOBQ__DAMAGE_OPEN, 1);
        else rc = jobq__tx_gates_append(tx, (int32_t)lane);
    }
    tx->gates_changed = false;
    jobq__mem_free(list);
    return rc;
}

JOBQ__INTERNAL int jobq__tx_pack(struct jobq__tx *tx, size_t *size, int64_t *previous, int64_t id) {
    if (*size + JOBQ__PACK_MAX > tx->pack_capacity) {
        size_t capacity = tx->pack_capacity ? tx->pack_capacity * 2 : 256;
        void *pack = jobq__mem_resize(tx->pack, capacity, 1);
        if (!pack) return JOBQ_NO_MEMORY;
        tx->pack = pack;
        tx->pack_capacity = capacity;
    }
    *size += jobq__store_pack(tx->pack + *size, *previous, id);
    *previous = id;
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__tx_gates_write(struct jobq__tx *tx) {
    size_t size = 0;
    int64_t previous = 0;
    int i, rc = JOBQ_OK;
    if (!tx->gates_changed) return JOBQ_OK;
    for (i = 0; i < tx->gates.count && rc == JOBQ_OK; i++)
        rc = jobq__tx_pack(tx, &size, &previous, tx->gates.lanes[i]);
    return rc == JOBQ_OK ? jobq__store_open_set(tx->db, tx->pack, size) : rc;
}

/* ---- Kinds ---- */

static int jobq__tx_gates_waited_at(struct jobq__tx *tx, int32_t lane, bool *waited_at) {
    jobq__walk *walk = jobq__store_walk_lane(tx->db, lane, 1);
    struct jobq__row row;
    int rc = jobq__store_next(tx->db, walk, &row, waited_at);
    if (walk) jobq__store_end(walk);
    return rc;
}

JOBQ__INTERNAL int jobq__tx_gates_look(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__link *link;
    int rc = JOBQ_OK;
    jobq__assert(!tx->gates_looked);
    for (link = q->opened.next; link != &q->opened && rc == JOBQ_OK; link = link->next) {
        int32_t lane = -(int32_t)JOBQ__CONTAINER(link, struct jobq__kind, opened)->id;
        bool waited_at = false;
        if (tx->gates.count == JOBQ__OPEN_MAX) break; /* its turn comes when others are drained */
        if (!jobq__tx_gates_have(&tx->gates, lane))
            rc = jobq__tx_gates_waited_at(tx, lane, &waited_at);
        if (rc == JOBQ_OK && waited_at) rc = jobq__tx_gates_append(tx, lane);
        tx->gates_looked++;
    }
    return rc;
}

JOBQ__INTERNAL int32_t jobq__tx_gates_first(const struct jobq__tx *tx) {
    if (tx->drain && jobq__tx_gates_have(&tx->gates, tx->drain)) return tx->drain;
    return tx->gates.count && (tx->drain || tx->may_claim) ? tx->gates.lanes[0] : 0;
}

JOBQ__INTERNAL bool jobq__tx_gates_open(const jobq *q, const struct jobq__kind *kind) {
    return !jobq__list_empty(&kind->opened) || jobq__tx_gates_have(&q->gates, -(int32_t)kind->id);
}

JOBQ__INTERNAL size_t jobq__tx_gates_settled(const jobq *q, int32_t *lanes) {
    size_t count = 0;
    int i;
    for (i = 0; i < JOBQ__NAME_BUCKETS; i++) {
        const struct jobq__name *name = q->names.by_id[i];
        for (; name; name = name->next_id) {
            if (jobq__gate_is_shut(&name->kind.gate) || !jobq__list_empty(&name->kind.opened))
                continue;
            if (lanes) lanes[count] = -(int32_t)name->id;
            count++;
        }
    }
    return count;
}

/* ---- Life ---- */

JOBQ__INTERNAL void jobq__tx_gates_reset(struct jobq__tx *tx) {
    const struct jobq__gates *gates = &tx->q->gates;
    tx->drain = 0;
    tx->gates_looked = 0;
    tx->gates_changed = false;
    tx->gates.count = gates->count;
    if (gates->count)
        memcpy(tx->gates.lanes, gates->lanes, (size_t)gates->count * sizeof *gates->lanes);
}

JOBQ__INTERNAL void jobq__tx_gates_applied(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__gates gates = q->gates;
    q->gates = tx->gates;
    tx->gates = gates;
    for (; tx->gates_looked > 0; tx->gates_looked--) jobq__list_remove(q->opened.next);
}

/*==== check.h ====*/
/* check.h - what has to hold after each commit; asserted in debug builds. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/check.h"
#endif
#ifndef JOBQ__CHECK_H
#define JOBQ__CHECK_H

/* #include "ring.h" */

/* Design note.
 *
 * An invariant that spans several rooms, or a room and the file, cannot be asserted where one thing
 * changes. Here it is seen as a whole, when a commit is over: with the baton held, and pool.mu
 * where it is the pool's.
 *
 *   stated in   invariant                                        asserted by
 *   tx_order.h  I1: claimed is what the claims row names         check_claims, from the file
 *               I1: and these rows are CLAIMED, no others        store_claims_have and the fences,
 *                                                                always, where a row is read
 *               I2: the table sorts after the ring,              check_order, from the file
 *               or the ring is behind, and then nobody claims    tx_snapshot
 *               I3: lanes with ready rows are known              check_lanes, from the file
 *               between transactions nothing is half done        tx_check
 *   core.h      due: no row that waits for its time is due       check_dues, from the file
 *               before the time that is known
 *   tx_count.c  the counters are what the rows come to           check_counters, from the file,
 *                                                                in a build of small sizes
 *   gate.h      held is who is claimed and has passed it         tx_check_gates, by tx_check
 *   tx_gates.h  the list of opened gates is that of the file     check_gates, from the file
 *   tx_gates.h  who waits before a gate that has room stands in  check_waits, from the file
 *               a lane of that list
 *   core.h      no row is due before the time that is known      check_dues, from the file
 *   ring.h      lanes in order, turns and counts agree           ring_sound, by tx_check
 *   core.h      each claimed job is in the ring, with a worker,  check_places
 *               or its outcome was handed in
 *   core.h      outcomes: of claimed jobs, and counted           check_outcomes
 *   pool.h      a worker's state; who idles is in the list       check_crew; each edge: wake.c
 *   life.h      STOPPED: no thread of ours, nobody claims        check_life; each edge: life.c
 *   wake.h      who waits is told once                           check_waiters
 *   baton.h     the line, its requests                           baton.c, as they change: a commit
 *                                                                is over while others line up
 *   owner.h     a slot's edges                                   owner.c; what stands in the page
 *                                                                may be another's
 *   disk.h      the level's edges                                disk.c; how full the disk is
 *                                                                nobody can know
 *   event.h     serials in order                                 event.c, as they are appended
 *
 * What is asked of the file may fail to be read, and then says nothing: that is for the next
 * transaction to find out. While other connections have written, I2, I3 and due hold again only
 * when their rows were looked at; so from the first such commit on these are not asked, nor are the
 * counters, which a hand from outside may have made wrong. Nor are I3 and due while the lanes are
 * to be looked at (look_lanes): after a transaction that was rolled back or repaired something. */

struct jobq__tx;

JOBQ__INTERNAL void jobq__check_commit(struct jobq__tx *tx);

#ifdef JOBQ_DEBUG
/* With pool.mu held: what of the pool can be seen without the baton and without the file. */
JOBQ__INTERNAL void jobq__check_pool(const jobq *q);
#endif

#endif

/*==== check.c ====*/
/* check.c - what has to hold after each commit; asserted in debug builds. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/check.c"
#endif
/* #include "check.h" */
/* #include "tx_gates.h" */

#ifdef JOBQ_DEBUG

static int jobq__check_length(const struct jobq__link *list) {
    const struct jobq__link *link;
    int length = 0;
    for (link = list->next; link != list; link = link->next) length++;
    return length;
}

/* ---- The pool ---- */

/* What a worker says of itself is what the lists and the numbers of the crew say. */
static void jobq__check_crew(const jobq *q) {
    const struct jobq__crew *crew = &q->pool.crew;
    int i, idle = 0, running = 0, sleeping = 0;
    for (i = 0; i < crew->count; i++) {
        const struct jobq__worker *worker = &crew->workers[i];
        const struct jobq_run *run = &worker->run;
        idle += worker->state == JOBQ__WORKER_IDLE;
        running += run->entry != NULL;
        sleeping += run->sleeping;
        jobq__assert((worker->state == JOBQ__WORKER_IDLE) != jobq__list_empty(&worker->link));
        jobq__assert((run->id != 0) == (run->entry != NULL));
        jobq__assert(!run->entry || worker->state == (q->step_mode ? JOBQ__WORKER_ABSENT
                                                                    : JOBQ__WORKER_AWAKE));
        jobq__assert(run->entry || !jobq__timer_pending(&run->deadline.timer));
        jobq__assert(run->entry || !run->sleeping);
    }
    jobq__assert(jobq__check_length(&crew->idle) == idle);
    jobq__assert(crew->running == running);
    jobq__assert(crew->sleeping == sleeping);
}

/* Each outcome is of a job that is claimed, and stands nowhere else. */
static void jobq__check_outcomes(const jobq *q) {
    const struct jobq__outcomes *outcomes = &q->pool.outcomes;
    const struct jobq__link *link;
    for (link = outcomes->list.next; link != &outcomes->list; link = link->next) {
        const struct jobq__entry *entry = JOBQ__CONTAINER(link, const struct jobq__entry, link);
        jobq__assert(!entry->in_ring);
        jobq__assert(!jobq__list_empty(&entry->claimed));
    }
    jobq__assert(jobq__check_length(&outcomes->list) == outcomes->count);
}

static bool jobq__check_runs(const jobq *q, const struct jobq__entry *entry) {
    const struct jobq__crew *crew = &q->pool.crew;
    int i;
    for (i = 0; i < crew->count; i++)
        if (crew->workers[i].run.entry == entry) return true;
    return false;
}

/* A job that is claimed is in the ring or with a worker, or else its outcome was handed in. A run
 * whose own transaction has settled its job goes on for a moment, and what was its entry may be
 * another's by now: so there may seem to be fewer, never more. */
static void jobq__check_places(const jobq *q) {
    const struct jobq__link *link;
    int left = 0;
    for (link = q->claimed.next; link != &q->claimed; link = link->next) {
        const struct jobq__entry *entry = JOBQ__CONTAINER(link, const struct jobq__entry, claimed);
        left += !entry->in_ring && !jobq__check_runs(q, entry);
    }
    jobq__assert(left <= q->pool.outcomes.count);
}

static void jobq__check_life(const jobq *q) {
    const struct jobq__pool *pool = &q->pool;
    int i;
    /* Its thread may be there before who starts it comes to say so. */
    jobq__assert(!pool->sched.waits || pool->sched.started || pool->life.changing);
    jobq__assert(!pool->sched.tick_on_wall || pool->sched.waits);
    jobq__assert(pool->rest.watchers >= 0);
    jobq__assert(q->step_mode || (!pool->step.active && !pool->step.halted));
    jobq__assert(!q->step_mode || pool->life.phase == JOBQ__STOPPED);
    jobq__assert(pool->life.phase != JOBQ__STOPPING || !pool->life.claiming);
    if (pool->life.phase != JOBQ__STOPPED) return;
    jobq__assert(!pool->sched.started);
    jobq__assert(!pool->life.claiming || pool->step.active);
    for (i = 0; i < pool->crew.count; i++)
        jobq__assert(pool->crew.workers[i].state == JOBQ__WORKER_ABSENT);
}

/* Told of the end, that the job has ended; and late only once, by its alarm. */
static void jobq__check_waiters(const jobq *q) {
    const struct jobq__link *link;
    for (link = q->pool.waiters.next; link != &q->pool.waiters; link = link->next) {
        const struct jobq__waiter *waiter = JOBQ__CONTAINER(link, const struct jobq__waiter, link);
        jobq__assert(!waiter->done || waiter->ended);
        jobq__assert(!waiter->late || !jobq__timer_pending(&waiter->alarm.timer));
        jobq__assert(!waiter->ended || waiter->done || waiter->serial);
    }
}

JOBQ__INTERNAL void jobq__check_pool(const jobq *q) {
    jobq__assert(jobq__os_held(&q->pool.mu));
    jobq__check_crew(q);
    jobq__check_outcomes(q);
    jobq__check_life(q);
    jobq__check_waiters(q);
}

/* ---- The file ---- */

/* I1: the claims row names whom we have claimed, in that order, and nobody else. */
static void jobq__check_claims(jobq *q) {
    const struct jobq__link *link = q->claimed.next;
    void *ids;
    size_t size, at = 0;
    int64_t id = 0;
    int rc;
    /* Where the owner before has left damage nobody has taken what is named there (.damaged). */
    if (jobq__os_load(&q->failed)) return;
    rc = jobq__store_claims_get(&q->writer, &ids, &size);
    for (; rc == JOBQ_OK && at < size; link = link->next) {
        rc = jobq__store_claims_next(&q->writer, ids, size, &at, &id);
        jobq__assert(rc != JOBQ_OK || link != &q->claimed);
        jobq__assert(rc != JOBQ_OK
                     || JOBQ__CONTAINER(link, struct jobq__entry, claimed)->row.id == id);
    }
    jobq__assert(rc != JOBQ_OK || link == &q->claimed);
    jobq__mem_free(ids);
}

/* The last jobs of some lanes of the ring: workers take from it while the file is asked. */
struct jobq__check_ring {
    struct jobq__row last[8];
    int64_t lanes[8];
    size_t count;
};

/* None of them while something may have to start before them: all of them go back to the table
 * before anybody claims (ring.behind). With pool.mu held. */
static void jobq__check_note_ring(const jobq *q, struct jobq__check_ring *ring) {
    const struct jobq__link *lanes = &q->pool.ring.lanes, *turn;
    ring->count = 0;
    if (q->pool.ring.behind) return;
    for (turn = lanes->prev; turn != lanes; turn = turn->prev) {
        const struct jobq__lane *lane = JOBQ__CONTAINER(turn, const struct jobq__lane, turn);
        if (lane->unordered) continue;
        if (ring->count == JOBQ__COUNT(ring->last)) break;
        ring->lanes[ring->count] = lane->id;
        ring->last[ring->count++] = jobq__ring_last(lane)->row;
    }
}

/* I2: what is ready in a lane's table sorts after what is in the ring. */
static void jobq__check_order(jobq *q, const struct jobq__check_ring *ring) {
    size_t i;
    for (i = 0; i < ring->count; i++) {
        jobq__walk *walk = jobq__store_walk_lane(&q->writer, ring->lanes[i], 1);
        struct jobq__row row;
        bool more;
        int rc = jobq__store_next(&q->writer, walk, &row, &more);
        if (rc == JOBQ_OK && more) jobq__assert(jobq__ring_compare(&ring->last[i], &row) < 0);
        jobq__store_end(walk);
    }
}

/* I3: a lane where ready rows stand is known. */
static void jobq__check_lanes(jobq *q) {
    int64_t lane = JOBQ__LANE_SCHEDULED;
    while (jobq__store_lane_after(&q->writer, lane, &lane) == JOBQ_OK && lane > 0) {
        const struct jobq__lane *known = jobq__registry_lane(&q->names, lane);
        jobq__assert(known && !jobq__list_empty(&known->ready));
    }
}

/* No row of the lanes for those who wait for their time is due before the time that we know: the
 * lane would not be looked at until another was. Later it may be, and then a look finds nothing. */
static void jobq__check_dues(jobq *q) {
    struct jobq__dues first;
    int by;
    if (jobq__store_next_dues(&q->writer, &first) != JOBQ_OK) return;
    for (by = 0; by < JOBQ__DUE_LANES; by++)
        jobq__assert(q->due.at_ms[by] <= first.at_ms[by]);
}

/* The list of the file is the one that we have. */
static void jobq__check_gates(jobq *q) {
    void *lanes;
    size_t size, at = 0;
    int64_t lane = 0;
    int i = 0, rc;
    rc = jobq__store_open_get(&q->writer, &lanes, &size);
    for (; rc == JOBQ_OK && at < size; i++) {
        rc = jobq__store_open_next(&q->writer, lanes, size, &at, &lane);
        jobq__assert(rc != JOBQ_OK || (i < q->gates.count && q->gates.lanes[i] == lane));
    }
    jobq__assert(rc != JOBQ_OK || i == q->gates.count);
    jobq__mem_free(lanes);
}

/* Who stands before a gate that has room is not forgotten (tx_gates.c). */
static void jobq__check_waits(jobq *q) {
    int64_t lane = -INT64_C(1) - JOBQ__NAME_ID_MAX;
    while (jobq__store_lane_after(&q->writer, lane, &lane) == JOBQ_OK
           && jobq__stored_stand(lane) == JOBQ__STANDS_AT_GATE) {
        const struct jobq__kind *kind = jobq__registry_kind(&q->names, -lane);
        jobq__assert(!kind || jobq__gate_is_shut(&kind->gate) || jobq__tx_gates_open(q, kind));
    }
}

/* The counters are what the rows come to, if they were at first. Reads all that is counted, so only
 * in a build of small sizes, whose tests store few jobs. */
static void jobq__check_counters(jobq *q, bool first) {
    int64_t pairs = 0;
    if (JOBQ__UNCOUNTED_MAX > 100 || q->miscounted) return;
    if (jobq__store_miscounted(&q->writer, &pairs) != JOBQ_OK) return;
    jobq__assert(!pairs || first);
    q->miscounted = pairs > 0;
}

/* From the first commit of another connection on the lanes need not be as we know them. A job's
 * transaction is on another one, too, but of ours. */
static bool jobq__check_alone(jobq *q, bool of_job) {
    int64_t version;
    if (jobq__store_version(&q->writer, &version) != JOBQ_OK) return false;
    if (q->checked && q->checked != version && !of_job) q->checked = -1;
    if (q->checked >= 0) q->checked = version;
    return q->checked >= 0 && !q->options.shared;
}

static void jobq__check_file(struct jobq__tx *tx, const struct jobq__check_ring *ring) {
    jobq *q = tx->q;
    struct jobq__store_failure failure;
    int64_t before;
    jobq__store_note_failure(&q->writer, &failure);
    jobq__check_claims(q);
    before = q->checked;
    if (jobq__check_alone(q, tx->of_job)) {
        jobq__check_counters(q, !before);
        if (tx->ordered) jobq__check_order(q, ring);
        if (!q->look_lanes) {
            jobq__check_lanes(q);
            jobq__check_dues(q);
            jobq__check_gates(q);
            jobq__check_waits(q);
        }
    }
    jobq__store_set_failure(&q->writer, &failure);
}

#endif

JOBQ__INTERNAL void jobq__check_commit(struct jobq__tx *tx) {
#ifdef JOBQ_DEBUG
    jobq *q = tx->q;
    struct jobq__check_ring ring;
    jobq__os_lock(&q->pool.mu);
    jobq__check_pool(q);
    jobq__check_places(q);
    jobq__check_note_ring(q, &ring);
    jobq__os_unlock(&q->pool.mu);
    /* While it is opened the claims row is the one of the owner before, and a client has none. */
    if (q->ours && !q->client) jobq__check_file(tx, &ring);
#else
    (void)tx;
#endif
}

/*==== tx_entry.h ====*/
/* tx_entry.h - a claimed job in memory, and the places it holds. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/tx_entry.h"
#endif
#ifndef JOBQ__TX_ENTRY_H
#define JOBQ__TX_ENTRY_H

/* #include "ring.h" */

/* Design note.
 *
 * An entry is a claimed job: its row, its payload, its kind and the line that it was claimed from.
 * It is made by the transaction that claims the job, belongs to one list at a time by link (of that
 * transaction, the ring, a worker, the outcomes), and is recycled when the claim is over. Entries
 * are made and recycled with the baton held, so that the hot path does not allocate.
 *
 *   held   from the claim (tx_hold) until it is settled, given back or dropped (tx_gone): one place
 *          of each gate that the job has passed
 *   gone   the transaction under way has ended the claim; COMMIT makes it true, an undo takes it
 *          back
 *
 * Calls gates, registry and store, nothing of the transaction above it. */

#define JOBQ__LINKED(pointer) JOBQ__CONTAINER(pointer, struct jobq__entry, link)
#define JOBQ__CLAIMED_ENTRY(pointer) JOBQ__CONTAINER(pointer, struct jobq__entry, claimed)

/* An entry for row, with a copy of its payload, which is read if it stands apart. */
JOBQ__INTERNAL int jobq__tx_entry(struct jobq__tx *tx, const struct jobq__row *row,
                                  struct jobq__kind *kind, struct jobq__lane *lane,
                                  struct jobq__entry **made);
JOBQ__INTERNAL void jobq__tx_recycle(jobq *q, struct jobq__entry *entry);
JOBQ__INTERNAL void jobq__tx_recycle_all(jobq *q, struct jobq__link *list);
/* Frees what the handler said, if anything. */
JOBQ__INTERNAL void jobq__tx_forget_said(struct jobq__entry *entry);
/* What the handler said of a failure, or NULL. */
JOBQ__INTERNAL const char *jobq__tx_text(const struct jobq__entry *entry);
/* Remembers the last job, in order, that this transaction claims of a lane. */
JOBQ__INTERNAL void jobq__tx_note_last(struct jobq__entry *entry);
/* A claimed job holds a place of each gate that it has passed, until it lets go of them. */
JOBQ__INTERNAL void jobq__tx_hold(struct jobq__entry *entry);
JOBQ__INTERNAL void jobq__tx_let(struct jobq__entry *entry);
/* The transaction under way has settled the entry or taken it out; or not, after all. */
JOBQ__INTERNAL void jobq__tx_gone(struct jobq__entry *entry, bool gone);

#endif

/*==== tx_entry.c ====*/
/* tx_entry.c - a claimed job in memory, and the places it holds. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/tx_entry.c"
#endif
/* #include "tx_entry.h" */

/* ---- Made, and used again ---- */

static const uint64_t jobq__tx_nothing; /* a payload of no bytes, aligned as any, with its zero */

static struct jobq__entry *jobq__tx_new_entry(struct jobq__tx *tx, const struct jobq__row *row,
                                              struct jobq__kind *kind, struct jobq__lane *lane) {
    jobq *q = tx->q;
    struct jobq__link *spare = jobq__list_pop(&q->spare);
    struct jobq__entry *entry = spare ? JOBQ__LINKED(spare) : NULL;
    size_t capacity = row->size ? (row->size / 32 + 1) * 32 : 0; /* a zero follows it */
    if (entry) q->spare_count--;
    if (entry && entry->capacity < capacity) {
        jobq__mem_free(entry);
        entry = NULL;
    }
    if (!entry) {
        entry = jobq__mem_new(sizeof *entry + capacity);
        if (!entry) return NULL;
        entry->capacity = capacity;
    }
    entry->row = *row;
    entry->row.payload = row->size ? (const void *)entry->payload : &jobq__tx_nothing;
    if (row->payload) memcpy(entry->payload, row->payload, row->size);
    if (row->size) entry->payload[row->size] = 0;
    entry->kind = kind;
    entry->lane = lane;
    entry->due_ms = jobq__sub(tx->mono_ms,
                              jobq__max(jobq__sub(tx->now_ms, row->run_at_ms), 0));
    entry->queue = NULL;
    entry->key = NULL;
    entry->cancel = 0;
    entry->in_ring = entry->gone = false;
    jobq__list_init(&entry->link);
    jobq__list_init(&entry->claimed);
    return entry;
}

JOBQ__INTERNAL int jobq__tx_entry(struct jobq__tx *tx, const struct jobq__row *row,
                                  struct jobq__kind *kind, struct jobq__lane *lane,
                                  struct jobq__entry **made) {
    struct jobq__entry *entry = jobq__tx_new_entry(tx, row, kind, lane);
    int rc = entry ? JOBQ_OK : JOBQ_NO_MEMORY;
    if (entry && row->size && !row->payload)
        rc = jobq__store_payload(tx->db, row, entry->payload);
    if (rc != JOBQ_OK && entry) jobq__tx_recycle(tx->q, entry);
    *made = rc == JOBQ_OK ? entry : NULL;
    return rc;
}

JOBQ__INTERNAL void jobq__tx_forget_said(struct jobq__entry *entry) {
    if (!entry->said) return;
    jobq__mem_free(entry->said->text);
    jobq__mem_free(entry->said->result);
    jobq__mem_free(entry->said);
    entry->said = NULL;
}

JOBQ__INTERNAL const char *jobq__tx_text(const struct jobq__entry *entry) {
    return entry->said ? entry->said->text : NULL;
}

JOBQ__INTERNAL void jobq__tx_recycle(jobq *q, struct jobq__entry *entry) {
    jobq__list_remove(&entry->link);
    jobq__list_remove(&entry->claimed);
    jobq__tx_forget_said(entry);
    jobq__mem_free(entry->key);
    entry->key = NULL;
    if (entry->capacity > JOBQ__ENTRY_KEEP || q->spare_count >= JOBQ__RING + JOBQ__BATCH) {
        jobq__mem_free(entry);
        return;
    }
    q->spare_count++;
    jobq__list_insert(q->spare.next, &entry->link);
}

JOBQ__INTERNAL void jobq__tx_recycle_all(jobq *q, struct jobq__link *list) {
    while (!jobq__list_empty(list)) jobq__tx_recycle(q, JOBQ__LINKED(list->next));
}

/* ---- Places ---- */

JOBQ__INTERNAL void jobq__tx_hold(struct jobq__entry *entry) {
    jobq__gate_enter(&entry->kind->gate);
    jobq__gate_enter(&entry->lane->gate);
}

JOBQ__INTERNAL void jobq__tx_let(struct jobq__entry *entry) {
    jobq__gate_leave(&entry->kind->gate);
    jobq__gate_leave(&entry->lane->gate);
}

JOBQ__INTERNAL void jobq__tx_gone(struct jobq__entry *entry, bool gone) {
    if (entry->gone == gone) return;
    entry->gone = gone;
    if (gone) jobq__tx_let(entry);
    else jobq__tx_hold(entry);
}

/* Remembers the last job, in order, that this transaction claims of a lane. */
JOBQ__INTERNAL void jobq__tx_note_last(struct jobq__entry *entry) {
    struct jobq__lane *lane = entry->lane;
    if (!lane->last_claimed || jobq__ring_compare(lane->last_claimed, &entry->row) < 0)
        lane->last_claimed = &entry->row;
}

/*==== tx_place.h ====*/
/* tx_place.h - where a job waits: before which gate, in which lane. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/tx_place.h"
#endif
#ifndef JOBQ__TX_PLACE_H
#define JOBQ__TX_PLACE_H

/* #include "tx_entry.h" */

/* Design note.
 *
 * jobq__tx_due_lane is the one predicate for what may start: where a row waits whose time has come.
 * That is before the first gate of a fixed order that it may not pass (-kind: no handler), or ready
 * in a line: that of the suspects, if it crashed before, else its queue's. The gate of a line never
 * moves a row: who waits for it waits in the line, and a claim takes as many as there is room for
 * (tx_claim.c).
 *
 * A row is claimed in one of three ways, and each asks the same here: from its line, in turn
 * (tx_claim.c: due_lane, spent); as it becomes ready or is stored (tx_claim.c, tx_enqueue.c:
 * due_lane, takes_now); or because it sorts before what is claimed (tx_order.c: before_tail).
 *
 * Questions and small notes only: no row is written here. With the baton held. */

/* How far own time is before the wall. */
static inline int64_t jobq__tx_offset(const struct jobq__tx *tx) {
    return jobq__sub(tx->own_ms, tx->now_ms);
}
/* A time by one of the two clocks (jobq__dues) has come; never does not. */
static inline bool jobq__tx_has_come(const struct jobq__tx *tx, int by, int64_t at_ms) {
    return at_ms <= (by == JOBQ__DUE_BY_OWN ? tx->own_ms : tx->now_ms) && at_ms != JOBQ_NEVER;
}
/* By which of them a row is due: it stands, or is to stand, in the lane of durations, or else goes
 * by the wall. */
static inline int jobq__tx_due_by(const struct jobq__row *row) {
    return row->lane == JOBQ__LANE_OWN_TIME ? JOBQ__DUE_BY_OWN : JOBQ__DUE_BY_WALL;
}
/* The one answer to: has its time come? Of a row that stands somewhere else it has. */
static inline bool jobq__tx_is_due(const struct jobq__tx *tx, const struct jobq__row *row) {
    return jobq__tx_has_come(tx, jobq__tx_due_by(row), row->run_at_ms);
}
/* A row that is to wait ready in that line (due_lane says so) may be claimed by this very
 * transaction instead of being written there: there is room, and nothing that stands in the line's
 * table has to come before. It never crashed, or it would wait with the suspects: jobq__tx_spent
 * need not be asked. */
static inline bool jobq__tx_takes_now(const struct jobq__tx *tx, const struct jobq__lane *line) {
    return tx->room > 0 && tx->bytes > 0 && jobq__list_empty(&line->ready) && !tx->q->look_lanes
        && jobq__gate_room(&line->gate) > 0;
}
/* Its time by the wall. */
JOBQ__INTERNAL int64_t jobq__tx_wall_of(const struct jobq__tx *tx, const struct jobq__row *row);

/* Where a row of this kind, queue, time and number of crashes is to wait: sets lane, and run_at_ms
 * as that lane has it. Before, lane says by which clock its time is: own time for
 * JOBQ__LANE_OWN_TIME, else the wall. due: it has come, whatever that shows. */
JOBQ__INTERNAL void jobq__tx_set_lane(struct jobq__tx *tx, struct jobq__row *row, bool due);
/* The lane of one whose time has come: before the first gate that it may not pass, or ready in its
 * line. */
JOBQ__INTERNAL int32_t jobq__tx_due_lane(struct jobq__tx *tx, const struct jobq__row *row);
/* A suspect that met as many crashes as its kind, which has a handler, allows: it is not tried
 * again, but ends where it would be claimed. */
JOBQ__INTERNAL bool jobq__tx_spent(const struct jobq__tx *tx, const struct jobq__row *row);
JOBQ__INTERNAL bool jobq__tx_handled(const struct jobq__tx *tx, int64_t kind);
/* NULL if the lane's name is not known here. */
JOBQ__INTERNAL struct jobq__lane *jobq__tx_line(const struct jobq__tx *tx, int64_t lane);
/* Rows may stand ready in that line, wherever in it; keeps I3. */
JOBQ__INTERNAL void jobq__tx_fills(struct jobq__tx *tx, int64_t lane);
/* The same for a line; NULL: its name is not known here. */
JOBQ__INTERNAL void jobq__tx_fill_line(struct jobq__tx *tx, struct jobq__lane *line);
/* A row now waits for its time, if it is in one of the lanes for that. */
JOBQ__INTERNAL void jobq__tx_scheduled(struct jobq__tx *tx, const struct jobq__row *row);
/* True if row sorts before a job of its line that is claimed already and has not started. */
JOBQ__INTERNAL bool jobq__tx_before_tail(struct jobq__tx *tx, struct jobq__lane *lane,
                                         const struct jobq__row *row);
/* A row that cannot be found, or changed, where it was seen: the file is damaged. */
JOBQ__INTERNAL int jobq__tx_stray(struct jobq__tx *tx, int64_t id);

#endif

/*==== tx_place.c ====*/
/* tx_place.c - where a job waits: before which gate, in which lane. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/tx_place.c"
#endif
/* #include "tx_place.h" */

JOBQ__INTERNAL int jobq__tx_stray(struct jobq__tx *tx, int64_t id) {
    return jobq__store_damaged(tx->db, JOBQ__DAMAGE_ROW, id);
}

JOBQ__INTERNAL bool jobq__tx_handled(const struct jobq__tx *tx, int64_t kind) {
    const struct jobq__kind *known = jobq__registry_kind(&tx->q->names, kind);
    return known && !jobq__gate_is_shut(&known->gate);
}

JOBQ__INTERNAL bool jobq__tx_spent(const struct jobq__tx *tx, const struct jobq__row *row) {
    const jobq_kind *spec = &jobq__registry_kind(&tx->q->names, row->kind)->spec;
    return row->crashes > 0 && spec->crashes_max != JOBQ_UNLIMITED
        && row->crashes >= spec->crashes_max;
}

JOBQ__INTERNAL int32_t jobq__tx_due_lane(struct jobq__tx *tx, const struct jobq__row *row) {
    if (!tx->blind && !jobq__tx_handled(tx, row->kind)) return -row->kind;
    return row->crashes > 0 ? JOBQ__LANE_SUSPECT : row->queue;
}

JOBQ__INTERNAL int64_t jobq__tx_wall_of(const struct jobq__tx *tx, const struct jobq__row *row) {
    struct jobq__now now = {tx->now_ms, tx->mono_ms, tx->own_ms};
    if (jobq__tx_due_by(row) == JOBQ__DUE_BY_WALL) return row->run_at_ms;
    return jobq__own_on_wall(now, row->run_at_ms);
}

/* What never comes is no duration. */
JOBQ__INTERNAL void jobq__tx_set_lane(struct jobq__tx *tx, struct jobq__row *row, bool due) {
    bool waits = !due && !jobq__tx_is_due(tx, row);
    if (waits && row->lane == JOBQ__LANE_OWN_TIME && row->run_at_ms != JOBQ_NEVER) return;
    row->run_at_ms = jobq__tx_wall_of(tx, row);
    row->lane = waits ? JOBQ__LANE_SCHEDULED : jobq__tx_due_lane(tx, row);
}

JOBQ__INTERNAL void jobq__tx_scheduled(struct jobq__tx *tx, const struct jobq__row *row) {
    int64_t *at_ms = &tx->due.at_ms[jobq__tx_due_by(row)];
    if (jobq__stored_stand(row->lane) == JOBQ__STANDS_TILL_DUE)
        *at_ms = JOBQ__MIN(*at_ms, row->run_at_ms);
}

JOBQ__INTERNAL struct jobq__lane *jobq__tx_line(const struct jobq__tx *tx, int64_t lane) {
    if (lane == JOBQ__LANE_SUSPECT) return tx->q->suspects;
    return jobq__registry_lane(&tx->q->names, lane);
}

JOBQ__INTERNAL void jobq__tx_fill_line(struct jobq__tx *tx, struct jobq__lane *lane) {
    if (!lane) tx->q->look_lanes = true; /* its name is not known here */
    else if (jobq__list_empty(&lane->ready)) jobq__list_append(&tx->q->ready, &lane->ready);
}

JOBQ__INTERNAL void jobq__tx_fills(struct jobq__tx *tx, int64_t lane) {
    if (lane > JOBQ__LANE_SCHEDULED) jobq__tx_fill_line(tx, jobq__tx_line(tx, lane));
}

JOBQ__INTERNAL bool jobq__tx_before_tail(struct jobq__tx *tx, struct jobq__lane *lane,
                                         const struct jobq__row *row) {
    jobq *q = tx->q;
    struct jobq__entry *last;
    bool before;
    if (lane->last_claimed && jobq__ring_compare(row, lane->last_claimed) < 0) return true;
    jobq__os_lock(&q->pool.mu);
    last = jobq__ring_last(lane);
    before = last && jobq__ring_compare(row, &last->row) < 0;
    jobq__os_unlock(&q->pool.mu);
    return before;
}

/*==== tx_names.h ====*/
/* tx_names.h - names of kinds and queues: found, added, and known after COMMIT. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/tx_names.h"
#endif
#ifndef JOBQ__TX_NAMES_H
#define JOBQ__TX_NAMES_H

/* #include "disk.h" */

/* Design note.
 *
 * The registry knows committed names only. What a transaction adds stands in tx->new_names until
 * COMMIT, when tx_applied gives it to the registry; an undo forgets it. A name whose row was lost
 * gets it again here (tx_know), with the number that the jobs' rows have. With the baton held. */

/* The id of a kind's or a queue's name, adding it to the table if need be; then the registry hears
 * of it after COMMIT. Fills err for BAD_NAME, and for FULL when there are too many. */
JOBQ__INTERNAL int jobq__tx_resolve(struct jobq__tx *tx, int what, const char *text,
                                    int32_t *id, jobq_error *err);
/* The name of that id is known to the registry, or will be after COMMIT. */
JOBQ__INTERNAL int jobq__tx_know(struct jobq__tx *tx, int64_t id);
/* Its text, or NULL if it is not known. */
JOBQ__INTERNAL const char *jobq__tx_name_text(const struct jobq__tx *tx, int64_t id);
/* Adds a name to the table and to those that the registry hears of after COMMIT; *id 0: with a new
 * id. */
JOBQ__INTERNAL int jobq__tx_new_name(struct jobq__tx *tx, int what, const char *text,
                                     int64_t *id);
/* Whenever a job's transaction goes on after its handler: it may have rolled back to a savepoint of
 * its own, and with it names that this transaction had added. Those are forgotten, before a row
 * gets a number that by now is another name's. */
JOBQ__INTERNAL int jobq__tx_check_names(struct jobq__tx *tx);

#endif

/*==== tx_names.c ====*/
/* tx_names.c - names of kinds and queues: found, added, and known after COMMIT. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/tx_names.c"
#endif
/* #include "tx_names.h" */

JOBQ__INTERNAL int jobq__tx_new_name(struct jobq__tx *tx, int what, const char *text,
                                     int64_t *id) {
    int rc;
    if (tx->new_count == tx->new_capacity) {
        size_t capacity = tx->new_capacity ? tx->new_capacity * 2 : 4;
        void *names = jobq__mem_resize(tx->new_names, capacity, sizeof *tx->new_names);
        if (!names) return JOBQ_NO_MEMORY;
        tx->new_names = names;
        tx->new_capacity = capacity;
    }
    rc = *id ? jobq__store_name_put(tx->db, *id, what, text)
             : jobq__store_name_add(tx->db, &what, text, id);
    if (rc != JOBQ_OK) return rc;
    tx->new_names[tx->new_count].what = what;
    tx->new_names[tx->new_count].id = *id;
    jobq__err_copy_text(tx->new_names[tx->new_count++].text, JOBQ_NAME_MAX + 1, text);
    return JOBQ_OK;
}

JOBQ__INTERNAL const char *jobq__tx_name_text(const struct jobq__tx *tx, int64_t id) {
    const jobq *q = tx->q;
    const struct jobq__name *name = jobq__registry_by_id(&q->names, id);
    size_t i;
    if (name) return name->text;
    for (i = 0; i < tx->new_count; i++)
        if (tx->new_names[i].id == id) return tx->new_names[i].text;
    return NULL;
}

JOBQ__INTERNAL int jobq__tx_know(struct jobq__tx *tx, int64_t id) {
    jobq *q = tx->q;
    char text[JOBQ_NAME_MAX + 1];
    bool lost;
    int what, rc;
    if (jobq__tx_name_text(tx, id)) return JOBQ_OK;
    rc = jobq__store_name_text(tx->db, id, &what, text, &lost);
    if (rc != JOBQ_OK) return rc;
    if (lost) return jobq__tx_new_name(tx, what, text, &id);
    return jobq__registry_add(&q->names, id, what, text) ? JOBQ_OK : JOBQ_NO_MEMORY;
}

static int jobq__tx_refuse_name(struct jobq__tx *tx, const char *text, int rc, jobq_error *err) {
    jobq *q = tx->q;
    if (rc == JOBQ_BAD_NAME)
        jobq__err_set(err, rc, "the name %s is not UTF-8; this file keeps its texts as UTF-16, and"
                      " other bytes would come back", text);
    else if (rc == JOBQ_FULL && !jobq__store_said(tx->db, rc))
        jobq__err_set(err, rc, "%.200s holds %d names of kinds and queues already, and has"
                      " no room for %.64s; use those again, or another file", q->files.path,
                      JOBQ_NAMES_MAX, text);
    return rc;
}

JOBQ__INTERNAL int jobq__tx_resolve(struct jobq__tx *tx, int what, const char *text,
                                    int32_t *id, jobq_error *err) {
    jobq *q = tx->q;
    struct jobq__name *name = jobq__registry_by_text(&q->names, what, text);
    int64_t found;
    int as = what, rc;
    size_t i;
    *id = name ? (int32_t)name->id : 0;
    if (name) return JOBQ_OK;
    for (i = 0; i < tx->new_count; i++) {
        const struct jobq__new_name *new_name = &tx->new_names[i];
        if (new_name->what != what && new_name->what != JOBQ__NAME_ANY) continue;
        if (strcmp(new_name->text, text) == 0) {
            *id = (int32_t)new_name->id;
            return JOBQ_OK;
        }
    }
    rc = jobq__store_name_find(tx->db, &as, text, &found);
    if (rc != JOBQ_OK) return jobq__tx_refuse_name(tx, text, rc, err);
    if (found) name = jobq__registry_add(&q->names, found, as, text);
    else rc = jobq__tx_new_name(tx, what, text, &found);
    if (name && strcmp(name->text, text) != 0)
        rc = jobq__store_damaged(tx->db, JOBQ__DAMAGE_NAME, found);
    *id = (int32_t)found;
    return jobq__tx_refuse_name(tx, text, rc, err);
}

JOBQ__INTERNAL int jobq__tx_check_names(struct jobq__tx *tx) {
    size_t i, kept = 0;
    for (i = 0; i < tx->new_count; i++) {
        int64_t id;
        int what = tx->new_names[i].what;
        int rc = jobq__store_name_find(tx->db, &what, tx->new_names[i].text, &id);
        if (rc != JOBQ_OK) return rc;
        if (id == tx->new_names[i].id) tx->new_names[kept++] = tx->new_names[i];
    }
    tx->new_count = kept;
    return JOBQ_OK;
}

/*==== tx_tell.h ====*/
/* tx_tell.h - what is to be told of a transaction: events, and who waits for a job. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/tx_tell.h"
#endif
#ifndef JOBQ__TX_TELL_H
#define JOBQ__TX_TELL_H

/* #include "tx_entry.h" */
/* #include "tx_names.h" */

/* Design note.
 *
 * A change is noted when its row is written (tx_change), with what its event will say, and becomes
 * an event after COMMIT (tx_emit), before the ring is filled: a worker tells of a start as soon as
 * it finds the job there. Who waits for a job hears after its event was told (waiter.serial). An
 * undo drops the changes noted since (tx_drop_changes). With the baton held. */

/* The row's key, if there is one and an event will tell it: key has JOBQ_KEY_MAX + 1 bytes. */
JOBQ__INTERNAL int jobq__tx_key(struct jobq__tx *tx, const struct jobq__row *row, char *key);
/* Notes what is to be told of the row after COMMIT; the names are filled in then. key and text, of
 * a failure, may be NULL; text has to stay until the transaction ends. */
JOBQ__INTERNAL int jobq__tx_change(struct jobq__tx *tx, jobq_event *event,
                                   const struct jobq__row *row, const char *key, const char *text);
/* Forgets the changes from there on. */
JOBQ__INTERNAL void jobq__tx_drop_changes(struct jobq__tx *tx, size_t from);
/* What the events of the jobs that this transaction claims will tell. */
JOBQ__INTERNAL int jobq__tx_know_claimed(struct jobq__tx *tx);
/* After COMMIT: makes events of the changes. */
JOBQ__INTERNAL void jobq__tx_emit(struct jobq__tx *tx);
/* Then: lets go who waits for a job that has ended. With pool.mu held. */
JOBQ__INTERNAL void jobq__tx_tell_waiters(struct jobq__tx *tx);

#endif

/*==== tx_tell.c ====*/
/* tx_tell.c - what is to be told of a transaction: events, and who waits for a job. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/tx_tell.c"
#endif
/* #include "tx_tell.h" */
/* #include "wake.h" */

/* ---- Noted ---- */

JOBQ__INTERNAL int jobq__tx_key(struct jobq__tx *tx, const struct jobq__row *row, char *key) {
    jobq *q = tx->q;
    key[0] = 0;
    if (!q->events.call || !(row->side & JOBQ__SIDE_KEY)) return JOBQ_OK;
    return jobq__store_key_text(tx->db, row->id, key);
}

JOBQ__INTERNAL int jobq__tx_change(struct jobq__tx *tx, jobq_event *event,
                                   const struct jobq__row *row, const char *key, const char *text) {
    jobq *q = tx->q;
    struct jobq__change *change;
    /* Nobody may have asked for the names since the queue was opened. */
    int rc = q->events.call ? jobq__tx_know(tx, row->kind) : JOBQ_OK;
    if (rc == JOBQ_OK && q->events.call) rc = jobq__tx_know(tx, row->queue);
    if (rc != JOBQ_OK) return rc;
    if (tx->changes_count == tx->changes_capacity) {
        size_t capacity = tx->changes_capacity ? tx->changes_capacity * 2
                                                : JOBQ__CHANGES_FIRST;
        struct jobq__change *changes = jobq__mem_resize(tx->changes, capacity, sizeof *changes);
        if (!changes) return JOBQ_NO_MEMORY;
        tx->changes = changes;
        tx->changes_capacity = capacity;
    }
    change = &tx->changes[tx->changes_count++];
    event->key = q->events.call ? key : NULL;
    event->message = q->events.call ? text : NULL;
    jobq__event_make(&change->told, event);
    change->kind = row->kind;
    change->queue = row->queue;
    change->serial = 0;
    change->text = text;
    return JOBQ_OK;
}

JOBQ__INTERNAL void jobq__tx_drop_changes(struct jobq__tx *tx, size_t from) {
    while (tx->changes_count > from) jobq__event_drop(&tx->changes[--tx->changes_count].told);
    if (tx->changes_count || tx->changes_capacity <= JOBQ__EVENTS_KEEP) return;
    jobq__mem_free(tx->changes);
    tx->changes = NULL;
    tx->changes_capacity = 0;
}

static int jobq__tx_know_entry(struct jobq__tx *tx, struct jobq__entry *entry) {
    jobq *q = tx->q;
    char key[JOBQ_KEY_MAX + 1];
    int rc = jobq__tx_know(tx, entry->row.queue);
    if (rc == JOBQ_OK) rc = jobq__tx_key(tx, &entry->row, key);
    if (rc != JOBQ_OK) return rc;
    entry->queue = jobq__registry_by_id(&q->names, entry->row.queue);
    if (key[0]) entry->key = jobq__mem_copy(key, strlen(key));
    return JOBQ_OK;
}

/* The thread that starts a run tells of it without asking the database. */
JOBQ__INTERNAL int jobq__tx_know_claimed(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__link *link;
    int rc = JOBQ_OK;
    if (!q->events.call) return rc;
    for (link = tx->claimed.next; link != &tx->claimed && rc == JOBQ_OK; link = link->next)
        rc = jobq__tx_know_entry(tx, JOBQ__LINKED(link));
    return rc;
}

/* ---- Told, after COMMIT ---- */

JOBQ__INTERNAL void jobq__tx_emit(struct jobq__tx *tx) {
    jobq *q = tx->q;
    size_t i;
    for (i = 0; i < tx->changes_count; i++) {
        struct jobq__change *change = &tx->changes[i];
        const struct jobq__name *kind = jobq__registry_by_id(&q->names, change->kind);
        const struct jobq__name *queue = jobq__registry_by_id(&q->names, change->queue);
        change->told.event.kind = kind ? kind->text : "";
        change->told.event.queue = queue ? queue->text : "";
        change->serial = jobq__event_add(&q->events, &change->told, true);
    }
    jobq__event_commit(&q->events, false);
}

/* Tells those who wait for the job; when it has an event, that has to be told first. */
static void jobq__tx_tell(jobq *q, int64_t id, int state, int attempt, const char *text,
                          uint64_t serial) {
    struct jobq__link *link;
    if (!jobq__state_terminal(state)) return;
    for (link = q->pool.waiters.next; link != &q->pool.waiters; link = link->next) {
        struct jobq__waiter *waiter = JOBQ__CONTAINER(link, struct jobq__waiter, link);
        if (waiter->id != id || waiter->done || waiter->ended) continue;
        waiter->done = !serial;
        waiter->ended = true;
        waiter->serial = serial;
        waiter->info.id = id;
        waiter->info.state = jobq__state_public(state, false);
        waiter->info.attempt = attempt;
        jobq__err_copy_text(waiter->info.error, sizeof waiter->info.error, text ? text : "");
        jobq__wake_waiter(q, waiter);
    }
}

JOBQ__INTERNAL void jobq__tx_tell_waiters(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__link *link;
    size_t i;
    if (jobq__list_empty(&q->pool.waiters)) return;
    for (link = tx->settled.next; link != &tx->settled; link = link->next) {
        const struct jobq__entry *entry = JOBQ__LINKED(link);
        if (entry->verdict.outcome != JOBQ_OUTCOME_NONE && !q->events.call)
            jobq__tx_tell(q, entry->row.id, entry->verdict.state, entry->row.attempt,
                          jobq__tx_text(entry), 0);
    }
    for (i = 0; i < tx->changes_count; i++) {
        const struct jobq__change *change = &tx->changes[i];
        const jobq_event *event = &change->told.event;
        int state = event->to == JOBQ_STATE_CANCELLED ? JOBQ__CANCELLED
                  : event->to == JOBQ_STATE_FAILED ? JOBQ__FAILED
                  : event->to == JOBQ_STATE_DONE ? JOBQ__DONE : JOBQ__WAITING;
        jobq__tx_tell(q, event->id, state, event->attempt, change->text, change->serial);
    }
}

/*==== tx_count.h ====*/
/* tx_count.h - how many jobs are where: what a transaction adds to the counters. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/tx_count.h"
#endif
#ifndef JOBQ__TX_COUNT_H
#define JOBQ__TX_COUNT_H

/* #include "core.h" */

/* Design note: tx_count.c. The door notes, tx_fill has it written, tx_applied makes it true. With
 * the baton held. */

/* A job goes from a state to another, is new or gone; lane and attempt are those of the rows. */
JOBQ__INTERNAL void jobq__tx_shift(struct jobq__tx *tx, const struct jobq__row *was, int from,
                                   const struct jobq__row *now, int to);
/* What was noted so far is added to the counters, which then are right within the transaction. */
JOBQ__INTERNAL int jobq__tx_count_write(struct jobq__tx *tx);
/* Jobs are counted anew: what the counters say is not so. */
JOBQ__INTERNAL int jobq__tx_count_anew(struct jobq__tx *tx);
/* That, and jobs become counted; the last thing before the claims row is written. */
JOBQ__INTERNAL int jobq__tx_count(struct jobq__tx *tx);
/* After COMMIT, when the queue's last_id is the new one; last_id is the one before. */
JOBQ__INTERNAL void jobq__tx_count_applied(struct jobq__tx *tx, int64_t last_id);
/* So many jobs are not counted that some should be. */
JOBQ__INTERNAL bool jobq__tx_uncounted(const jobq *q);

#endif

/*==== tx_count.c ====*/
/* tx_count.c - how many jobs are where: what a transaction adds to the counters. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/tx_count.c"
#endif
/* #include "tx_count.h" */

/* Design note.
 *
 * The counters say how many jobs of each queue and kind are in which state: of all jobs, that is,
 * whose id is not above claims.counted. Those above are counted when somebody asks, as they stand
 * then. So a job that is stored alone writes nothing here, and nothing when it changes, until its
 * id is counted; most are gone by then.
 *
 * The door notes each change (tx_shift); neighbours that do the same are one note. Before COMMIT
 * those of counted jobs are written (tx_count), those of others are kept in memory, as sums, after
 * it (q->uncounted). When so many jobs are not counted that who asks would have to read too much,
 * they become counted: all at once from these sums, if they are whole; else a slice at a time, by
 * reading how they stand at the end of the transaction.
 *
 * The sums are whole as long as nobody else has stored a job above claims.counted: the highest id
 * has grown by the jobs that were stored here, and by no others. They are not after a job's
 * transaction that has stored some, of which the handler may have undone a part, nor when memory
 * was out.
 *
 * Only an owner counts ids, so nobody moves claims.counted under another. A handler that commits by
 * itself, past jobq, may have changed counted rows that the counters know nothing of: the next
 * transaction begins to count anew (q->recount, tx_fill).
 *
 * Invariant, checked by the doctor: the counters are what counting the rows up to claims.counted
 * comes to. */

/* ---- Notes ---- */

static bool jobq__tx_shift_same(const struct jobq__shift *a, const struct jobq__shift *b) {
    return a->queue == b->queue && a->kind == b->kind && a->from == b->from && a->to == b->to
        && a->retries == b->retries;
}

/* Without memory for it the transaction cannot be committed: tx_count says so. */
static void jobq__tx_shift_add(struct jobq__shifts *shifts, const struct jobq__shift *shift) {
    if (shifts->count > shifts->mark
        && jobq__tx_shift_same(&shifts->list[shifts->count - 1], shift)) {
        shifts->list[shifts->count - 1].jobs++;
        return;
    }
    if (shifts->count == shifts->capacity) {
        size_t capacity = shifts->capacity ? shifts->capacity * 2 : 16;
        void *list = jobq__mem_resize(shifts->list, capacity, sizeof *shifts->list);
        if (!list) shifts->lost = true;
        if (!list) return;
        shifts->list = list;
        shifts->capacity = capacity;
    }
    shifts->list[shifts->count++] = *shift;
}

static struct jobq__shift jobq__tx_shift_of(const struct jobq__row *was, int from,
                                            const struct jobq__row *now, int to) {
    struct jobq__shift shift;
    shift.queue = now->queue;
    shift.kind = now->kind;
    shift.jobs = 1;
    shift.from = jobq__store_count_as(was, from);
    shift.to = jobq__store_count_as(now, to);
    shift.retries = jobq__store_retries(now, to) - jobq__store_retries(was, from);
    return shift;
}

JOBQ__INTERNAL void jobq__tx_shift(struct jobq__tx *tx, const struct jobq__row *was, int from,
                                   const struct jobq__row *now, int to) {
    struct jobq__shift shift;
    if (tx->q->client) return;
    shift = jobq__tx_shift_of(was, from, now, to);
    if (shift.from == shift.to && !shift.retries) return;
    jobq__tx_shift_add(was->id > tx->counted ? &tx->loose : &tx->shifts, &shift);
}

/* ---- Sums ---- */

static void jobq__tx_count_shift(struct jobq__count *sum, const struct jobq__shift *shift) {
    if (shift->from != JOBQ__COUNT_NOTHING) sum->by[shift->from] -= shift->jobs;
    if (shift->to != JOBQ__COUNT_NOTHING) sum->by[shift->to] += shift->jobs;
    sum->by[JOBQ__COUNT_RETRYING] += shift->retries * shift->jobs;
}

/* The sum of all notes about the pair of the first one that is left; they are done then. */
static bool jobq__tx_sum_pair(struct jobq__shifts *shifts, size_t *first,
                              struct jobq__count *sum) {
    size_t i;
    while (*first < shifts->count && !shifts->list[*first].jobs) ++*first;
    if (*first == shifts->count) return false;
    memset(sum, 0, sizeof *sum);
    sum->queue = shifts->list[*first].queue;
    sum->kind = shifts->list[*first].kind;
    for (i = *first; i < shifts->count; i++) {
        struct jobq__shift *shift = &shifts->list[i];
        if (shift->queue != sum->queue || shift->kind != sum->kind) continue;
        jobq__tx_count_shift(sum, shift);
        shift->jobs = 0;
    }
    return true;
}

static int jobq__tx_sum(struct jobq__tx *tx, struct jobq__shifts *shifts) {
    struct jobq__count sum;
    size_t first = 0;
    int rc = shifts->lost ? JOBQ_NO_MEMORY : JOBQ_OK;
    while (rc == JOBQ_OK && jobq__tx_sum_pair(shifts, &first, &sum))
        rc = jobq__store_count_add(tx->db, &sum);
    shifts->count = shifts->mark = 0;
    return rc;
}

JOBQ__INTERNAL int jobq__tx_count_write(struct jobq__tx *tx) {
    return jobq__tx_sum(tx, &tx->shifts);
}

JOBQ__INTERNAL int jobq__tx_count_anew(struct jobq__tx *tx) {
    tx->shifts.count = tx->shifts.mark = tx->loose.count = tx->loose.mark = 0;
    tx->counted = 0;
    tx->q->uncounted.whole = false;
    return jobq__store_count_anew(tx->db);
}

/* Counts rows as they stand, from the first that is not counted on, a slice of them: there may be
 * far fewer than ids. */
static int jobq__tx_count_rows(struct jobq__tx *tx) {
    struct jobq__shift shift;
    struct jobq__row row;
    jobq__walk *walk = jobq__store_uncounted(tx->db, tx->counted, tx->last_id);
    int rows = 0, rc;
    bool more = true;
    row.id = tx->counted;
    while ((rc = jobq__store_next_uncounted(tx->db, walk, &row, &more)) == JOBQ_OK && more
           && rows < JOBQ__COUNT_SLICE) {
        shift = jobq__tx_shift_of(&row, JOBQ__NEW, &row, row.state);
        jobq__tx_shift_add(&tx->shifts, &shift);
        tx->counted = row.id;
        rows++;
    }
    jobq__store_end(walk);
    if (!more) tx->counted = tx->last_id;
    return rc;
}

/* ---- Sums of jobs that are not counted ---- */

static bool jobq__tx_whole(const struct jobq__tx *tx) {
    const jobq *q = tx->q;
    return q->uncounted.whole && !tx->loose.lost && tx->last_id == q->last_id + tx->new_jobs;
}

static int jobq__tx_count_all(struct jobq__tx *tx) {
    const struct jobq__uncounted *sums = &tx->q->uncounted;
    size_t i;
    int rc = JOBQ_OK;
    for (i = 0; i < sums->count && rc == JOBQ_OK; i++)
        rc = jobq__store_count_add(tx->db, &sums->pairs[i]);
    tx->counted = tx->last_id;
    return rc == JOBQ_OK ? jobq__tx_sum(tx, &tx->loose) : rc;
}

/* The sum of that pair; NULL: no memory, or there are too many of them. */
static struct jobq__count *jobq__tx_pair(struct jobq__uncounted *sums, int32_t queue,
                                         int32_t kind) {
    size_t i;
    for (i = 0; i < sums->count; i++)
        if (sums->pairs[i].queue == queue && sums->pairs[i].kind == kind) return &sums->pairs[i];
    if (sums->count == JOBQ__COUNT_PAIRS) return NULL;
    if (!sums->pairs) sums->pairs = jobq__mem_new(JOBQ__COUNT_PAIRS * sizeof *sums->pairs);
    if (!sums->pairs) return NULL;
    memset(&sums->pairs[i], 0, sizeof sums->pairs[i]);
    sums->pairs[i].queue = queue;
    sums->pairs[i].kind = kind;
    sums->count++;
    return &sums->pairs[i];
}

static bool jobq__tx_keep_shift(struct jobq__uncounted *sums, const struct jobq__shift *shift) {
    struct jobq__count *pair = jobq__tx_pair(sums, shift->queue, shift->kind);
    if (pair) jobq__tx_count_shift(pair, shift);
    return pair != NULL;
}

JOBQ__INTERNAL void jobq__tx_count_applied(struct jobq__tx *tx, int64_t last_id) {
    jobq *q = tx->q;
    struct jobq__uncounted *sums = &q->uncounted;
    bool whole = sums->whole && !tx->loose.lost && q->last_id == last_id + tx->new_jobs
              && !(tx->of_job && tx->new_jobs);
    size_t i;
    if (tx->counted != q->counted) {
        sums->count = 0;
        whole = tx->counted == q->last_id;
    } else {
        for (i = 0; i < tx->loose.count && whole; i++)
            whole = jobq__tx_keep_shift(sums, &tx->loose.list[i]);
    }
    if (!whole) sums->count = 0;
    sums->whole = whole;
    q->counted = tx->counted;
}

/* ---- Before COMMIT ---- */

JOBQ__INTERNAL int jobq__tx_count(struct jobq__tx *tx) {
    int rc = JOBQ_OK;
    if (!tx->q->client && !tx->of_job && tx->last_id - tx->counted >= JOBQ__UNCOUNTED_MAX) {
        rc = jobq__tx_whole(tx) ? jobq__tx_count_all(tx) : jobq__tx_count_rows(tx);
        tx->claims_changed = true; /* that row says how far it goes */
    }
    return rc == JOBQ_OK ? jobq__tx_count_write(tx) : rc;
}

JOBQ__INTERNAL bool jobq__tx_uncounted(const jobq *q) {
    return !q->client && q->last_id - q->counted >= JOBQ__UNCOUNTED_MAX;
}

/*==== door.h ====*/
/* door.h - the one way from state to state: a job takes every edge here. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/door.h"
#endif
#ifndef JOBQ__DOOR_H
#define JOBQ__DOOR_H

/* #include "disk.h" */
/* #include "tx_count.h" */
/* #include "tx_place.h" */
/* #include "tx_tell.h" */

/* Design note.
 *
 * A job goes along an edge of state.c. Whoever wants that says how the row stands, what it
 * shall become and who had it claimed; the door asserts the edge, writes the row behind a fence,
 * and keeps what goes with it: the gates that the job leaves, its key, its side row, the time at
 * which it is pruned, the counters, and its event. A feature that has to do something when jobs
 * change does it here. Whether the row became ready it says (edge.ready); who has it wait sees to
 * the order then (tx_order.c).
 *
 *   new -> WAITING, CLAIMED       jobq__door_new      tx_enqueue.c
 *   WAITING -> CLAIMED            jobq__door_claim    tx_claim.c, tx_order.c
 *   CLAIMED -> WAITING            jobq__door_pass     tx_order.c, for tx_settle.c (retry, snooze,
 *                                                     reschedule, stop), recover.c, given back
 *   CLAIMED -> an end, gone       jobq__door_pass     tx_settle.c, recover.c (a wish to cancel)
 *   ... many plain ones           jobq__door_run      tx_settle.c
 *   WAITING -> WAITING            jobq__door_pass     tx_order.c, for tx_claim.c (promoted, parked,
 *                                                     let go)
 *   WAITING -> an end             jobq__door_pass     tx_settle.c, for tx_claim.c (crashed) and
 *                                                     alter.c (cancelled)
 *   an end, WAITING -> WAITING    jobq__door_pass     tx_order.c, for alter.c (tried again)
 *   any but running -> gone       jobq__door_pass     alter.c (deleted)
 *   an end -> gone                jobq__door_prune    scheduler.c, commit.c: in slices
 *
 * What changes a row and is no edge, beside the door:
 *
 *   a wish to cancel              alter.c: it runs on, and its handler is told
 *   a checkpoint                  run.c: what it saved, and its crashes are forgiven
 *   a key is taken                tx_enqueue.c, alter.c: before the edge of whoever takes it
 *   a row that cannot be          audit_rules.c, in the transaction of repair.c. The doctor sets
 *                                 state and lane in SQL: no edge leads from a row that jobq never
 *                                 left so, and an event would tell of a change that no job made.
 *                                 It puts the row where the door can take it on: waiting in lane 0,
 *                                 to be promoted as any other, or ended. Counters, claims row and
 *                                 due times, which the door keeps, the repair puts right itself
 *   a file of an older schema     migrate.c: rows keep their states
 *
 * `make tidy` looks that nobody else calls what changes rows.
 *
 * The fence: id, state and runs, as the caller has seen them. If it does not hold, somebody else
 * has changed the row: of an outcome that is told (lost_outcomes), of anything else it is damage,
 * for the row was read in this very transaction.
 *
 * Within a transaction, with the baton held. Nothing is remembered here. */

/* What a row becomes that is there no more; no state of the file. */
enum { JOBQ__GONE = JOBQ__NEW + 1 };

struct jobq__edge {
    const struct jobq__row *was;    /* as it stands: id, state and runs are the fence */
    struct jobq__row now;           /* as it shall be; where it waits the door finds out */
    struct jobq__entry *entry;      /* whose claim ends with this; NULL: it is not claimed here */
    bool due;                       /* waits: its time has come, whatever the wall shows */
    bool back;                      /* waits: where it was before it was claimed */
    bool new_round;                 /* waits: what it has saved goes */
    const char *text;               /* of a failure: stored beside the row, and told; or NULL */
    const void *result;             /* of a job that is done; or NULL */
    size_t result_size;
    int64_t keep_ms;                /* ends: how long; JOBQ_NONE: it is gone at once */
    bool tells;                     /* there is an event, */
    jobq_outcome outcome;           /* which tells that, */
    int attempt;                    /* that, */
    int64_t wait_ms, run_ms;        /* and those */
    bool ready;                     /* out: it is, where it stood or another */
};

/* One that leaves the row as it is, to be filled in by the caller. */
JOBQ__INTERNAL void jobq__door_begin(struct jobq__edge *edge, const struct jobq__row *was,
                                     int state);
/* One that settles the entry as its verdict says; where and when, and for how long it is kept, is
 * left to the caller. */
JOBQ__INTERNAL void jobq__door_outcome(struct jobq__edge *edge, struct jobq__entry *entry);
/* Takes it. Once that has failed the transaction is only good for being undone. */
JOBQ__INTERNAL int jobq__door_pass(struct jobq__tx *tx, struct jobq__edge *edge);
/* The same for jobs that are claimed here, whose ids follow one another, and of which nothing but
 * the row has to change: by one statement. *all: the fence held for all of them; if not, nothing is
 * known of any, and the transaction has to begin again. */
JOBQ__INTERNAL int jobq__door_run(struct jobq__tx *tx, struct jobq__entry **entries, size_t count,
                                  int64_t keep_ms, bool *all);
/* A job is stored: the row has its state and its lane. It is written with its neighbours, at the
 * latest by jobq__door_flush, and has to stay until then with its payload. */
JOBQ__INTERNAL int jobq__door_new(struct jobq__tx *tx, const struct jobq__row *row);
/* JOBQ__AGAIN: an id was taken already. */
JOBQ__INTERNAL int jobq__door_flush(struct jobq__tx *tx);
/* Of those that have ended at most limit go: whose time is over, and the oldest that are more than
 * the options keep. *count: how many. */
JOBQ__INTERNAL int jobq__door_prune(struct jobq__tx *tx, int limit, int *count);
/* For the room: the oldest that are done or cancelled. */
JOBQ__INTERNAL int jobq__door_prune_done(struct jobq__tx *tx, int limit, int *count);
/* Rows that wait are claimed: of that entry and of those that follow it in its list, so many, whose
 * ids follow one another. */
JOBQ__INTERNAL int jobq__door_claim(struct jobq__tx *tx, struct jobq__entry *first, int count);

#endif

/*==== door.c ====*/
/* door.c - the one way from state to state: a job takes every edge here. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/door.c"
#endif
/* #include "door.h" */

JOBQ__INTERNAL void jobq__door_begin(struct jobq__edge *edge, const struct jobq__row *was,
                                     int state) {
    memset(edge, 0, sizeof *edge);
    edge->was = was;
    edge->now = *was;
    edge->now.state = state;
    edge->attempt = was->attempt;
}

JOBQ__INTERNAL void jobq__door_outcome(struct jobq__edge *edge, struct jobq__entry *entry) {
    const struct jobq__verdict *verdict = &entry->verdict;
    const struct jobq__said *said = entry->said;
    jobq__door_begin(edge, &entry->row, verdict->state);
    edge->entry = entry;
    edge->text = said ? said->text : NULL;
    edge->result = said ? said->result : NULL;
    edge->result_size = said ? said->result_size : 0;
    edge->tells = true;
    edge->outcome = verdict->outcome;
    edge->wait_ms = entry->wait_ms;
    edge->run_ms = entry->run_ms;
}

static bool jobq__door_legal(int from, int to) {
    /* Whoever runs has to end first. */
    if (to == JOBQ__GONE) return from != JOBQ__NEW;
    return jobq__state_legal(from, to);
}

/* ---- What goes with an edge ---- */

/* What a job has to say for itself is stored, unless every byte is needed. */
static int jobq__door_extra(struct jobq__tx *tx, int64_t id, enum jobq__extra what,
                            const void *data, size_t size) {
    if (jobq__disk_saves_room(tx->q)) return JOBQ_OK;
    tx->grows = jobq__add(tx->grows, (int64_t)size);
    return jobq__store_extra(tx->db, id, what, data, size);
}

static int jobq__door_text(struct jobq__tx *tx, const struct jobq__edge *edge) {
    if (!edge->text) return JOBQ_OK;
    return jobq__door_extra(tx, edge->was->id, JOBQ__EXTRA_ERROR, edge->text, strlen(edge->text));
}

static int64_t jobq__door_prune_at(struct jobq__tx *tx, int64_t keep_ms) {
    int64_t at_ms = jobq__add(tx->now_ms, keep_ms);
    if (tx->q->options.keep_max != JOBQ_UNLIMITED)
        tx->prune_at_ms = jobq__min(tx->prune_at_ms, jobq__add(tx->now_ms, JOBQ__PRUNE_PAUSE_MS));
    tx->prune_at_ms = JOBQ__MIN(tx->prune_at_ms, at_ms);
    return at_ms;
}

static void jobq__door_count(struct jobq__tx *tx, int to, jobq_outcome outcome) {
    jobq_stats *add = &tx->add;
    if (to == JOBQ__DONE) add->done++;
    else if (to == JOBQ__FAILED) add->failed++;
    else if (to == JOBQ__CANCELLED) add->cancelled++;
    else if (outcome == JOBQ_RETRY) add->retried++;
    else if (outcome == JOBQ_CRASHED) add->crashed++;
}

/* The row goes from where it stands: its id stays known (it may be a client's, above all that we
 * know), and it may have been the next one due. */
static void jobq__door_leave(struct jobq__tx *tx, const struct jobq__row *was, int to) {
    tx->last_id = JOBQ__MAX(tx->last_id, was->id);
    if (to != JOBQ__WAITING) tx->frees += (int64_t)was->size + JOBQ__ROW_BYTES;
    if (was->state == JOBQ__WAITING && was->lane == JOBQ__LANE_SCHEDULED)
        tx->due_stale[JOBQ__DUE_BY_WALL] = true;
    if (was->state == JOBQ__WAITING && was->lane == JOBQ__LANE_OWN_TIME)
        tx->due_stale[JOBQ__DUE_BY_OWN] = true;
    /* Of the highest row, too: the claims row remembers the id. */
    if (was->state == JOBQ__CLAIMED || to == JOBQ__GONE) tx->claims_changed = true;
}

/* An entry's claim is over, whether the fence held or not. */
static void jobq__door_release(struct jobq__tx *tx, struct jobq__entry *entry) {
    if (!entry || entry->gone) return;
    tx->claims_changed = true;
    jobq__tx_gone(entry, true);
}

/* What is given back is not ours any more, if somebody else has taken the row away. */
static int jobq__door_lost(struct jobq__tx *tx, const struct jobq__edge *edge) {
    if (!edge->entry) return jobq__tx_stray(tx, edge->was->id);
    if (edge->back) return JOBQ_OK;
    edge->entry->verdict.outcome = JOBQ_OUTCOME_NONE;
    tx->add.lost_outcomes++;
    return JOBQ_OK;
}

static int jobq__door_tell(struct jobq__tx *tx, const struct jobq__edge *edge, const char *key) {
    jobq_event event;
    /* Who waits for a job that ran here hears of it by its entry. */
    if (!edge->tells || (edge->entry && !tx->q->events.call)) return JOBQ_OK;
    memset(&event, 0, sizeof event);
    event.now_ms = tx->now_ms;
    event.id = edge->was->id;
    event.from = jobq__state_public(edge->was->state, true);
    event.to = jobq__state_public(edge->now.state, false);
    event.attempt = edge->attempt;
    event.outcome = edge->outcome;
    event.wait_ms = edge->wait_ms;
    event.run_ms = edge->run_ms;
    return jobq__tx_change(tx, &event, edge->was, key, edge->text);
}

/* ---- The three ends of an edge ---- */

/* It waits: in its lane, in order. */
static int jobq__door_place(struct jobq__tx *tx, struct jobq__edge *edge, int *changed) {
    struct jobq__row *now = &edge->now;
    int rc;
    jobq__tx_set_lane(tx, now, edge->back || edge->due);
    now->side = edge->text ? JOBQ__SIDE_EXTRA : 0;
    rc = jobq__store_place(tx->db, now, edge->was->state, edge->was->runs, changed);
    if (rc != JOBQ_OK || !*changed) return rc;
    rc = jobq__door_text(tx, edge);
    if (rc == JOBQ_OK && edge->new_round)
        rc = jobq__store_unsave(tx->db, now->id, edge->was->side);
    if (rc != JOBQ_OK) return rc;
    if (edge->back) jobq__tx_fills(tx, now->lane);
    else if (now->lane > JOBQ__LANE_SCHEDULED) edge->ready = true;
    else jobq__tx_scheduled(tx, now);
    return rc;
}

/* It has ended and is kept for a time; its key is free. */
static int jobq__door_keep(struct jobq__tx *tx, struct jobq__edge *edge, int *changed) {
    const struct jobq__row *was = edge->was;
    int side = edge->text || edge->result ? JOBQ__SIDE_EXTRA : 0;
    int64_t prune_at_ms = jobq__door_prune_at(tx, edge->keep_ms);
    int rc = jobq__store_finish(tx->db, was, edge->now.state, tx->now_ms, prune_at_ms, side,
                                changed);
    if (rc != JOBQ_OK || !*changed) return rc;
    if (edge->now.state == JOBQ__FAILED)
        rc = jobq__store_failed_add(tx->db, prune_at_ms, was->id);
    if (rc == JOBQ_OK && was->state == JOBQ__WAITING && was->lane == JOBQ__LANE_OWN_TIME
        && jobq__tx_offset(tx))
        rc = jobq__store_on_wall(tx->db, was->id, jobq__tx_wall_of(tx, was));
    if (rc == JOBQ_OK) rc = jobq__door_text(tx, edge);
    if (rc == JOBQ_OK && edge->result)
        rc = jobq__door_extra(tx, was->id, JOBQ__EXTRA_RESULT, edge->result, edge->result_size);
    if (rc == JOBQ_OK) rc = jobq__store_key_free(tx->db, was->kind, was->id, was->side);
    return rc;
}

/* It is gone, with all that stands beside it. */
static int jobq__door_drop(struct jobq__tx *tx, const struct jobq__row *was, int *changed) {
    int rc = jobq__store_drop(tx->db, was, changed);
    if (rc == JOBQ_OK && *changed && was->side)
        rc = jobq__store_drop_side(tx->db, was->kind, was->id, was->side);
    return rc;
}

JOBQ__INTERNAL int jobq__door_pass(struct jobq__tx *tx, struct jobq__edge *edge) {
    const struct jobq__row *was = edge->was;
    struct jobq__entry *entry = edge->entry;
    char key[JOBQ_KEY_MAX + 1] = "";
    int to = edge->now.state, changed = 0, rc = JOBQ_OK;
    bool ends = jobq__state_terminal(to);
    jobq__assert(jobq__door_legal(was->state, to));
    jobq__assert(!entry || (was->state == JOBQ__CLAIMED && entry->row.id == was->id));
    if (edge->tells && !entry) rc = jobq__tx_key(tx, was, key);
    if (rc == JOBQ_OK && was->state == JOBQ__FAILED) rc = jobq__store_failed_drop(tx->db, was->id);
    if (rc != JOBQ_OK) return rc;
    if (to == JOBQ__WAITING) rc = jobq__door_place(tx, edge, &changed);
    else if (ends && edge->keep_ms != JOBQ_NONE) rc = jobq__door_keep(tx, edge, &changed);
    else rc = jobq__door_drop(tx, was, &changed);
    if (rc != JOBQ_OK) return rc;
    jobq__door_release(tx, entry);
    if (changed != 1) return jobq__door_lost(tx, edge);
    if (ends && edge->keep_ms == JOBQ_NONE) to = JOBQ__GONE;
    jobq__door_leave(tx, was, to);
    jobq__tx_shift(tx, was, was->state, &edge->now, to);
    jobq__door_count(tx, edge->now.state, edge->outcome);
    return jobq__door_tell(tx, edge, entry ? entry->key : key);
}

/* ---- Many at a time ---- */

JOBQ__INTERNAL int jobq__door_run(struct jobq__tx *tx, struct jobq__entry **entries, size_t count,
                                  int64_t keep_ms, bool *all) {
    const struct jobq__row *first = &entries[0]->row;
    int64_t last = first->id + (int64_t)count - 1;
    int state = entries[0]->verdict.state, changed, rc;
    bool gone = keep_ms == JOBQ_NONE, failed = state == JOBQ__FAILED && !gone;
    int64_t prune_at_ms = 0;
    size_t i;
    jobq__assert(jobq__door_legal(JOBQ__CLAIMED, state) && jobq__state_terminal(state));
    if (!gone) prune_at_ms = jobq__door_prune_at(tx, keep_ms);
    if (gone) rc = jobq__store_drop_runs(tx->db, first->id, last, first->runs, &changed);
    else rc = jobq__store_finish_runs(tx->db, first->id, last, first->runs, state, tx->now_ms,
                                      prune_at_ms, &changed);
    *all = rc == JOBQ_OK && changed == (int)count;
    for (i = 0; i < count && rc == JOBQ_OK && *all; i++) {
        struct jobq__entry *entry = entries[i];
        struct jobq__edge edge;
        jobq__door_release(tx, entry);
        jobq__door_leave(tx, &entry->row, gone ? JOBQ__GONE : state);
        jobq__tx_shift(tx, &entry->row, JOBQ__CLAIMED, &entry->row, gone ? JOBQ__GONE : state);
        jobq__door_count(tx, state, entry->verdict.outcome);
        if (failed) rc = jobq__store_failed_add(tx->db, prune_at_ms, entry->row.id);
        if (rc != JOBQ_OK || !tx->q->events.call) continue;
        jobq__door_outcome(&edge, entry);
        rc = jobq__door_tell(tx, &edge, entry->key);
    }
    return rc;
}

JOBQ__INTERNAL int jobq__door_flush(struct jobq__tx *tx) {
    bool taken = false;
    int rc = JOBQ_OK;
    if (tx->rows_count)
        rc = jobq__store_insert(tx->db, tx->rows, (size_t)tx->rows_count, &taken);
    tx->rows_count = 0;
    return taken ? JOBQ__AGAIN : rc;
}

JOBQ__INTERNAL int jobq__door_new(struct jobq__tx *tx, const struct jobq__row *row) {
    jobq__assert(jobq__door_legal(JOBQ__NEW, row->state));
    jobq__tx_shift(tx, row, JOBQ__NEW, row, row->state);
    tx->new_jobs++;
    tx->rows[tx->rows_count++] = *row;
    tx->add.enqueued++;
    return tx->rows_count == JOBQ__INSERT_ROWS ? jobq__door_flush(tx) : JOBQ_OK;
}

JOBQ__INTERNAL int jobq__door_claim(struct jobq__tx *tx, struct jobq__entry *first, int count) {
    struct jobq__entry *entry = first;
    int64_t id = first->row.id;
    int changed, i, rc;
    jobq__assert(jobq__door_legal(JOBQ__WAITING, JOBQ__CLAIMED));
    rc = jobq__store_claim(tx->db, id, id + count - 1, &changed);
    if (rc == JOBQ_OK && changed != count) rc = jobq__tx_stray(tx, id);
    for (i = 0; i < count && rc == JOBQ_OK; i++, entry = JOBQ__LINKED(entry->link.next)) {
        jobq__assert(entry->row.id == id + i);
        jobq__tx_shift(tx, &entry->row, JOBQ__WAITING, &entry->row, JOBQ__CLAIMED);
        entry->row.runs++;
        entry->row.state = JOBQ__CLAIMED;
        entry->row.lane = JOBQ__LANE_NONE;
    }
    return rc;
}

/* ---- Those that have ended ---- */

static void jobq__door_pruned(void *ctx, const struct jobq__row *row) {
    jobq__tx_shift(ctx, row, row->state, row, JOBQ__GONE);
}

static struct jobq__prune jobq__door_pruning(struct jobq__tx *tx) {
    struct jobq__prune prune = {0, tx->last_id, jobq__door_pruned, tx};
    tx->claims_changed = true; /* it also remembers the highest id */
    return prune;
}

/* How many ended ones are more than the options keep. The counters tell it, if all is written that
 * this transaction has to add to them. */
static int jobq__door_over(struct jobq__tx *tx, int64_t *over) {
    int64_t ended = 0;
    int rc = jobq__tx_count_write(tx);
    if (rc == JOBQ_OK) rc = jobq__store_ended(tx->db, &ended);
    *over = ended - tx->q->options.keep_max;
    return rc;
}

JOBQ__INTERNAL int jobq__door_prune(struct jobq__tx *tx, int limit, int *count) {
    struct jobq__prune prune = jobq__door_pruning(tx);
    int64_t over = 0;
    int rc = jobq__store_prune(tx->db, tx->now_ms, limit, &prune);
    if (rc == JOBQ_OK && tx->q->options.keep_max != JOBQ_UNLIMITED && prune.count < limit)
        rc = jobq__door_over(tx, &over);
    if (rc == JOBQ_OK && over > 0)
        rc = jobq__store_prune_oldest(tx->db, (int)JOBQ__MIN(limit - prune.count, over), &prune);
    tx->last_id = prune.last_id;
    *count = prune.count;
    return rc;
}

JOBQ__INTERNAL int jobq__door_prune_done(struct jobq__tx *tx, int limit, int *count) {
    struct jobq__prune prune = jobq__door_pruning(tx);
    int rc = jobq__store_prune_done(tx->db, limit, &prune);
    tx->last_id = prune.last_id;
    *count = prune.count;
    return rc;
}

/*==== tx_order.h ====*/
/* tx_order.h - the order of what starts: ready rows sort after what is claimed. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/tx_order.h"
#endif
#ifndef JOBQ__TX_ORDER_H
#define JOBQ__TX_ORDER_H

/* #include "door.h" */
/* #include "tx_place.h" */

/* Design note.
 *
 *   I1  claimed holds exactly the entries whose rows are CLAIMED in the last committed state, and
 *       the claims row names exactly these.
 *   I2  a ready row of a lane that stands in the table sorts after every job of that lane that is
 *       in the ring.
 *   I3  a lane with ready rows in the table is in q->ready, unless look_lanes is set. (The reverse
 *       need not hold.)
 *
 * I2 has one exception. A stop on a full disk that is cut short may leave more in the ring than a
 * transaction can give back there, and a job that becomes ready then (it ran and is due at once, or
 * jobq_retry_now) may sort before that. It is ready, and starts first: ring.behind says so from the
 * transaction on that may do it, and nobody claims again before all of the ring has been given back
 * (jobq__pool_in_order, of a start and of who steps). From an empty ring on I2 holds again.
 *
 * Who takes a job to where it waits does so by tx_wait: the door says whether the row became ready,
 * and then tx_ready keeps I2 and I3: in order it needs nothing; out of order it claims the row at
 * once, or, when too much is claimed already or this is a job's transaction, gives back what sorts
 * after it (tx_narrow). What is given back stands where it stood before its claim (tx_unclaim). */

/* The door, for an edge to where the job waits; keeps I2 and I3 if it is ready there. */
JOBQ__INTERNAL int jobq__tx_wait(struct jobq__tx *tx, struct jobq__edge *edge);
/* A row has just become ready in its lane, whose name may not be known here (NULL); keeps I2 and
 * I3. */
JOBQ__INTERNAL int jobq__tx_ready(struct jobq__tx *tx, struct jobq__lane *lane,
                                  const struct jobq__row *row);
/* The entry of a claimed job, or NULL; if it has not started it is out of the ring from now on. */
JOBQ__INTERNAL struct jobq__entry *jobq__tx_withdraw(struct jobq__tx *tx, int64_t id,
                                                      bool *withdrawn);
/* A taken entry's row waits in its lane again, as if it had never been claimed. */
JOBQ__INTERNAL int jobq__tx_unclaim(struct jobq__tx *tx, struct jobq__entry *entry);
/* Gives back everything in the ring, or on a full disk a slice of it. */
JOBQ__INTERNAL int jobq__tx_give_back(struct jobq__tx *tx);
/* Claims one row that is ready, in or out of turn. */
JOBQ__INTERNAL int jobq__tx_claim_row(struct jobq__tx *tx, struct jobq__lane *lane, int64_t id);
/* True if what came of that was no memory for an entry, and the job can as well wait in the table.
 * SQLite's want of memory may have rolled all of the transaction back. */
JOBQ__INTERNAL bool jobq__tx_can_wait(const struct jobq__tx *tx, int rc);
/* Counts an entry among those that this transaction claims. */
JOBQ__INTERNAL void jobq__tx_claimed(struct jobq__tx *tx, struct jobq__entry *entry);
/* Out of the ring, with pool.mu held. */
JOBQ__INTERNAL void jobq__tx_withdraw_entry(struct jobq__tx *tx, struct jobq__entry *entry);
/* A job that this very transaction has claimed is not to be run after all. */
JOBQ__INTERNAL void jobq__tx_drop(struct jobq__tx *tx, struct jobq__entry *entry);
/* The same before its COMMIT, also for jobs that were given back to the table: those are given back
 * again. */
JOBQ__INTERNAL int jobq__tx_check_undone(struct jobq__tx *tx);
/* After one that a handler may have committed by itself: entries that were given back in it, and
 * are not claimed in the file any more, go. */
JOBQ__INTERNAL int jobq__tx_check_withdrawn(struct jobq__tx *tx);

#endif

/*==== tx_order.c ====*/
/* tx_order.c - the order of what starts: ready rows sort after what is claimed. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/tx_order.c"
#endif
/* #include "tx_order.h" */

JOBQ__INTERNAL void jobq__tx_claimed(struct jobq__tx *tx, struct jobq__entry *entry) {
    entry->serial = ++tx->serial;
    jobq__list_append(&tx->claimed, &entry->link);
    jobq__tx_note_last(entry);
    tx->claims_changed = true;
    tx->room--;
    tx->over--;
    tx->bytes -= (int64_t)entry->row.size;
    jobq__tx_hold(entry);
}

JOBQ__INTERNAL int jobq__tx_unclaim(struct jobq__tx *tx, struct jobq__entry *entry) {
    struct jobq__edge edge;
    jobq__door_begin(&edge, &entry->row, JOBQ__WAITING);
    edge.entry = entry;
    edge.back = true;
    edge.now.runs--;
    return jobq__door_pass(tx, &edge);
}

JOBQ__INTERNAL void jobq__tx_withdraw_entry(struct jobq__tx *tx, struct jobq__entry *entry) {
    jobq *q = tx->q;
    jobq__assert(jobq__os_held(&q->pool.mu));
    jobq__ring_remove(&q->pool.ring, entry);
    jobq__list_append(&tx->withdrawn, &entry->link);
    jobq__tx_gone(entry, true);
}

/* A job that this very transaction has claimed is not to be run after all. */
JOBQ__INTERNAL void jobq__tx_drop(struct jobq__tx *tx, struct jobq__entry *entry) {
    struct jobq__link *link;
    jobq__list_remove(&entry->link);
    jobq__list_append(&tx->dropped, &entry->link);
    tx->room++;
    tx->over++;
    tx->bytes += (int64_t)entry->row.size;
    jobq__tx_gone(entry, true);
    entry->lane->last_claimed = NULL;
    for (link = tx->claimed.next; link != &tx->claimed; link = link->next)
        if (JOBQ__LINKED(link)->lane == entry->lane) jobq__tx_note_last(JOBQ__LINKED(link));
}

/* Keeps I2 when the ring may not grow: everything of the lane that sorts after row goes back to
 * the table, and the next claim takes the lane in order again. */
static int jobq__tx_narrow(struct jobq__tx *tx, struct jobq__lane *lane,
                           const struct jobq__row *row) {
    jobq *q = tx->q;
    struct jobq__link *link, *next, *first = tx->withdrawn.prev;
    int rc = JOBQ_OK;
    jobq__os_lock(&q->pool.mu);
    for (link = lane->ring.prev; link != &lane->ring; link = next) {
        next = link->prev;
        if (jobq__ring_compare(row, &JOBQ__LINKED(link)->row) >= 0) break;
        jobq__tx_withdraw_entry(tx, JOBQ__LINKED(link));
        tx->room++;
        tx->over++;
    }
    jobq__os_unlock(&q->pool.mu);
    for (link = first->next; link != &tx->withdrawn && rc == JOBQ_OK; link = link->next)
        rc = jobq__tx_unclaim(tx, JOBQ__LINKED(link));
    for (link = tx->claimed.next; link != &tx->claimed && rc == JOBQ_OK; link = next) {
        struct jobq__entry *entry = JOBQ__LINKED(link);
        next = link->next;
        if (entry->lane != lane || jobq__ring_compare(row, &entry->row) >= 0) continue;
        rc = jobq__tx_unclaim(tx, entry);
        jobq__tx_drop(tx, entry);
    }
    return rc;
}

/* Claims one row that is ready, in or out of turn. */
JOBQ__INTERNAL int jobq__tx_claim_row(struct jobq__tx *tx, struct jobq__lane *lane, int64_t id) {
    jobq *q = tx->q;
    jobq__walk *walk = jobq__store_by_id(tx->db, id);
    struct jobq__entry *entry = NULL;
    struct jobq__row row;
    bool more = false;
    int rc;
    rc = jobq__store_next(tx->db, walk, &row, &more);
    if (rc == JOBQ_OK && more)
        rc = jobq__tx_entry(tx, &row, jobq__registry_kind(&q->names, row.kind), lane, &entry);
    if (walk) jobq__store_end(walk);
    if (rc != JOBQ_OK) return rc;
    rc = more ? jobq__door_claim(tx, entry, 1) : jobq__tx_stray(tx, id);
    if (rc != JOBQ_OK) {
        if (entry) jobq__tx_recycle(q, entry);
        return rc;
    }
    jobq__tx_claimed(tx, entry);
    return JOBQ_OK;
}

JOBQ__INTERNAL bool jobq__tx_can_wait(const struct jobq__tx *tx, int rc) {
    return rc == JOBQ_NO_MEMORY && jobq__store_in_transaction(tx->db);
}

/* I2 for a row that has just become ready, unless all of the ring is to go back. */
static bool jobq__tx_in_order(struct jobq__tx *tx, struct jobq__lane *lane,
                              const struct jobq__row *row) {
    jobq *q = tx->q;
    bool behind;
    if (lane->unordered || jobq__os_load(&q->failed)) return true;
    jobq__os_lock(&q->pool.mu);
    behind = q->pool.ring.behind;
    jobq__os_unlock(&q->pool.mu);
    return behind || !jobq__tx_before_tail(tx, lane, row);
}

JOBQ__INTERNAL int jobq__tx_ready(struct jobq__tx *tx, struct jobq__lane *lane,
                                  const struct jobq__row *row) {
    int rc;
    tx->ready = true;
    jobq__tx_fill_line(tx, lane);
    if (!lane) return JOBQ_OK;
    if (!tx->ordered || lane->unordered || !jobq__tx_before_tail(tx, lane, row)) {
        jobq__assert(jobq__tx_in_order(tx, lane, row));
        return JOBQ_OK;
    }
    if (tx->may_claim && tx->over > 0) {
        rc = jobq__tx_claim_row(tx, lane, row->id);
        if (!jobq__tx_can_wait(tx, rc)) return rc;
    }
    rc = jobq__tx_narrow(tx, lane, row);
    jobq__assert(rc != JOBQ_OK || jobq__tx_in_order(tx, lane, row));
    return rc;
}

JOBQ__INTERNAL int jobq__tx_wait(struct jobq__tx *tx, struct jobq__edge *edge) {
    int rc;
    jobq__assert(edge->now.state == JOBQ__WAITING);
    rc = jobq__door_pass(tx, edge);
    if (rc != JOBQ_OK || !edge->ready) return rc;
    return jobq__tx_ready(tx, jobq__tx_line(tx, edge->now.lane), &edge->now);
}

JOBQ__INTERNAL struct jobq__entry *jobq__tx_withdraw(struct jobq__tx *tx, int64_t id,
                                                      bool *withdrawn) {
    jobq *q = tx->q;
    struct jobq__link *link;
    *withdrawn = false;
    for (link = q->claimed.next; link != &q->claimed; link = link->next) {
        struct jobq__entry *entry = JOBQ__CLAIMED_ENTRY(link);
        if (entry->row.id != id || entry->gone) continue;
        jobq__os_lock(&q->pool.mu);
        if (entry->in_ring) {
            jobq__tx_withdraw_entry(tx, entry);
            tx->claims_changed = *withdrawn = true;
        }
        jobq__os_unlock(&q->pool.mu);
        return entry;
    }
    for (link = tx->claimed.next; link != &tx->claimed; link = link->next) {
        struct jobq__entry *entry = JOBQ__LINKED(link);
        if (entry->row.id != id) continue;
        jobq__tx_drop(tx, entry);
        *withdrawn = true;
        return entry;
    }
    return NULL;
}

JOBQ__INTERNAL int jobq__tx_give_back(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__link *link, *first = tx->withdrawn.prev;
    int room = jobq__disk_batch(q, INT32_MAX);
    int rc = JOBQ_OK;
    jobq__os_lock(&q->pool.mu);
    /* The last ones first: a full disk may have room for some only, and those that stay in the ring
     * sort before the table (I2). */
    for (; room > 0 && q->pool.ring.count; room--)
        jobq__tx_withdraw_entry(tx, jobq__ring_end(&q->pool.ring));
    jobq__os_unlock(&q->pool.mu);
    for (link = first->next; link != &tx->withdrawn && rc == JOBQ_OK; link = link->next)
        rc = jobq__tx_unclaim(tx, JOBQ__LINKED(link));
    return rc;
}

JOBQ__INTERNAL int jobq__tx_check_undone(struct jobq__tx *tx) {
    struct jobq__link *link;
    int rc = jobq__tx_check_names(tx);
    if (rc != JOBQ_OK) return rc;
    tx->loose.mark = tx->loose.count;
    for (link = tx->withdrawn.next; link != &tx->withdrawn; link = link->next) {
        /* Changes nothing where the row waits already. */
        rc = jobq__tx_unclaim(tx, JOBQ__LINKED(link));
        if (rc != JOBQ_OK) return rc;
    }
    /* Those were counted the first time. */
    tx->shifts.count = 0;
    tx->loose.count = tx->loose.mark;
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__tx_check_withdrawn(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__link *link, *next;
    for (link = tx->withdrawn.next; link != &tx->withdrawn; link = next) {
        struct jobq__entry *entry = JOBQ__LINKED(link);
        struct jobq__row row;
        int rc = jobq__store_row(&q->writer, entry->row.id, &row);
        next = link->next;
        if (rc != JOBQ_OK && rc != JOBQ_NOT_FOUND) return rc;
        if (rc == JOBQ_OK && row.state == JOBQ__CLAIMED && row.runs == entry->row.runs) continue;
        jobq__assert(entry->lane != q->suspects);
        jobq__list_remove(link);
        jobq__list_append(&tx->dropped, link);
    }
    return JOBQ_OK;
}

/*==== tx.h ====*/
/* tx.h - what one transaction does: settle, store, promote, claim. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/tx.h"
#endif
#ifndef JOBQ__TX_H
#define JOBQ__TX_H

/* #include "baton.h" */
/* #include "tx_gates.h" */
/* #include "tx_order.h" */

/* Design note.
 *
 * A transaction goes through these in order; commit.c owns the control flow around them.
 *
 *   tx_open     takes the outcomes that were handed in, and resets
 *   tx_reset    before each further attempt: nothing is claimed, nothing taken, counters are zero
 *   tx_settle   writes the outcomes
 *   (requests)  tx_enqueue, alter.c, ... on behalf of callers
 *   tx_fill     moves who stood before a gate that opened, promotes what is due, claims for the
 *               ring, rewrites the claims row
 *   COMMIT
 *   tx_applied  only now do caches, counters and ring change, and workers hear of it
 *   tx_failed   or: nothing has happened, the outcomes go back
 *
 * What it consists of stands in the rooms below, each of which calls only those before it:
 *
 *   tx_gates    gates that have opened, and who still waits there
 *   tx_entry    claimed jobs in memory, and the places they hold
 *   tx_place    where a job waits: the one predicate for what may start
 *   tx_names    names of kinds and queues
 *   tx_tell     events, and who waits for a job
 *   tx_count    what is added to the counters
 *   door        the one way from state to state
 *   tx_order    the invariants of what is claimed and what is ready
 *   tx          a transaction's life
 *   tx_settle, tx_enqueue, tx_claim
 *               what a transaction does, in the order above */

/* Where a request began, so that it can be undone alone. */
struct jobq__tx_mark {
    struct jobq__link *withdrawn, *dropped;
    int64_t serial;
    size_t changes, new_names, shifts, loose;
    int64_t new_jobs;
    int room, over;
    struct jobq__dues due;
    int64_t bytes, last_id, prune_at_ms;
    jobq_stats add;
};

/* ---- A transaction's life ---- */

JOBQ__INTERNAL void jobq__tx_init(jobq *q);
JOBQ__INTERNAL void jobq__tx_fini(jobq *q);

/* What one is for: of a group of requests, with or without the outcomes; or it is a job's, or gives
 * back what the owner before had claimed. */
enum jobq__tx_kind { JOBQ__TX_REQUESTS, JOBQ__TX_OUTCOMES, JOBQ__TX_OF_JOB, JOBQ__TX_RECOVERY };

JOBQ__INTERNAL void jobq__tx_open(struct jobq__tx *tx, jobq__store *db,
                                  enum jobq__tx_kind kind);
JOBQ__INTERNAL void jobq__tx_reset(struct jobq__tx *tx);
/* One whose outcome is known only later does what is left of it then. */
JOBQ__INTERNAL void jobq__tx_at(struct jobq__tx *tx, struct jobq__now now);
/* The disk has room again, within a transaction: what is stored from now on is stored in order. */
JOBQ__INTERNAL void jobq__tx_roomy(struct jobq__tx *tx);
JOBQ__INTERNAL void jobq__tx_applied(struct jobq__tx *tx, struct jobq__wakes *wakes);
JOBQ__INTERNAL void jobq__tx_failed(struct jobq__tx *tx);

JOBQ__INTERNAL void jobq__tx_mark(struct jobq__tx *tx, struct jobq__tx_mark *mark);
JOBQ__INTERNAL void jobq__tx_undo(struct jobq__tx *tx, const struct jobq__tx_mark *mark);

/* After a commit of a debug build, with the baton held: what of I1 and of the ring can be seen
 * without asking the file is asserted. I2 is where rows become ready (tx_ready). */
JOBQ__INTERNAL void jobq__tx_check(jobq *q);

/* ---- What becomes of a job (tx_settle.c) ---- */

JOBQ__INTERNAL int jobq__tx_settle(struct jobq__tx *tx);
/* Ends a job that nobody runs: one that waits, or is claimed by a process that is no more. */
JOBQ__INTERNAL int jobq__tx_end(struct jobq__tx *tx, const struct jobq__row *row, int state,
                                const char *text, jobq_outcome outcome);

/* ---- New jobs (tx_enqueue.c) ---- */

struct jobq__enqueue {
    const jobq_job *jobs;       /* checked */
    size_t count;
    jobq_stored *rows;          /* or NULL */
    bool many;                  /* errors name the row */
};

/* A request to store the jobs; its arg is a struct jobq__enqueue. */
JOBQ__INTERNAL int jobq__tx_enqueue(struct jobq__tx *tx, struct jobq__request *r);
/* How many bytes of payload a job has. */
JOBQ__INTERNAL size_t jobq__tx_job_size(const jobq_job *job);
/* Says which row of a bulk call an error is about. */
JOBQ__INTERNAL void jobq__tx_at_row(const struct jobq__enqueue *enqueue, size_t i,
                                    jobq_error *err);

/* ---- What fills the ring (tx_claim.c) ---- */

JOBQ__INTERNAL int jobq__tx_fill(struct jobq__tx *tx);
/* Rewrites the claims row from what is claimed. */
JOBQ__INTERNAL int jobq__tx_touch(struct jobq__tx *tx);

#endif

/*==== tx.c ====*/
/* tx.c - a transaction's life: open, reset, mark, undo, and what COMMIT makes true. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/tx.c"
#endif
/* #include "tx.h" */
/* #include "check.h" */

/* ---- Life of a transaction ---- */

JOBQ__INTERNAL void jobq__tx_init(jobq *q) {
    struct jobq__tx *tx = &q->tx;
    tx->q = q;
    q->counted = -1; /* not read yet */
    jobq__list_init(&tx->settled);
    jobq__list_init(&tx->claimed);
    jobq__list_init(&tx->withdrawn);
    jobq__list_init(&tx->dropped);
    jobq__list_init(&q->claimed);
    jobq__list_init(&q->spare);
    jobq__list_init(&q->ready);
    jobq__list_init(&q->opened);
    tx->db = &q->writer;
}

JOBQ__INTERNAL void jobq__tx_fini(jobq *q) {
    struct jobq__tx *tx = &q->tx;
    jobq__tx_recycle_all(q, &tx->settled);
    jobq__tx_recycle_all(q, &q->pool.outcomes.list);
    while (!jobq__list_empty(&q->claimed)) {
        struct jobq__entry *entry = JOBQ__CLAIMED_ENTRY(q->claimed.next);
        if (entry->in_ring) jobq__ring_remove(&q->pool.ring, entry);
        jobq__tx_recycle(q, entry);
    }
    while (!jobq__list_empty(&q->spare)) jobq__mem_free(JOBQ__LINKED(jobq__list_pop(&q->spare)));
    jobq__tx_drop_changes(&q->tx, 0);
    jobq__mem_free(tx->changes);
    jobq__mem_free(tx->new_names);
    jobq__mem_free(tx->order);
    jobq__mem_free(tx->aside);
    jobq__mem_free(tx->pack);
    jobq__mem_free(tx->gates.lanes);
    jobq__mem_free(q->gates.lanes);
    jobq__mem_free(tx->shifts.list);
    jobq__mem_free(tx->loose.list);
    jobq__mem_free(q->uncounted.pairs);
}

/* How many jobs the ring should hold: what the pool starts while two commits go by, and a little
 * more. A measured rate must not steer a queue in step mode: there it is one. */
static int jobq__tx_target(const jobq *q) {
    const struct jobq__pool *pool = &q->pool;
    int64_t window_ns = (JOBQ__RING_WINDOW_US + 2 * pool->rates.commit_us) * 1000;
    int64_t jobs = window_ns / JOBQ__MAX(pool->rates.job_ns, 1) * pool->crew.count;
    if (q->step_mode) return 1;
    return (int)JOBQ__MIN(JOBQ__MAX(jobs, 2 * (int64_t)pool->crew.count), JOBQ__RING);
}

/* All of them, or on a full disk as many as fit into a transaction. */
static void jobq__tx_take_handed(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__pool *pool = &q->pool;
    int batch = jobq__disk_batch(q, INT32_MAX);
    jobq__assert(jobq__os_held(&pool->mu));
    if (pool->outcomes.count <= batch) {
        jobq__list_move_all(&tx->settled, &pool->outcomes.list);
        pool->outcomes.count = 0;
    } else {
        for (pool->outcomes.count -= batch; batch > 0; batch--)
            jobq__list_append(&tx->settled, jobq__list_pop(&pool->outcomes.list));
    }
}

/* A failed call of step mode may have left jobs in the ring, and a stop that found the file taken.
 * Not more of them than could all be given back at once: on a full disk a pool that stops does that
 * slice by slice. What becomes ready meanwhile may sort before what is left (ring.behind). */
static bool jobq__tx_keeps_order(const jobq *q) {
    const struct jobq__pool *pool = &q->pool;
    jobq__assert(jobq__os_held(&pool->mu));
    if (jobq__os_load(&q->failed)) return false;
    return pool->life.claiming
        || (pool->ring.count && pool->ring.count <= jobq__disk_batch(q, INT32_MAX));
}

JOBQ__INTERNAL void jobq__tx_roomy(struct jobq__tx *tx) {
    jobq *q = tx->q;
    jobq__os_lock(&q->pool.mu);
    tx->ordered = tx->ordered || jobq__tx_keeps_order(q);
    jobq__os_unlock(&q->pool.mu);
}

static void jobq__tx_snapshot(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__pool *pool = &q->pool;
    int target;
    jobq__assert(jobq__os_held(&pool->mu));
    if (pool->work.foreign) q->look_lanes = true;
    pool->work.foreign = false;
    target = jobq__tx_target(q);
    tx->ordered = jobq__tx_keeps_order(q);
    /* Whatever it does: who is to claim next knows before it is committed. */
    if (!tx->ordered && pool->ring.count && !jobq__os_load(&q->failed)) pool->ring.behind = true;
    jobq__assert(!pool->ring.behind || !pool->life.claiming);
    tx->may_claim = tx->ordered && pool->life.claiming && !tx->of_job;
    tx->room = (int)jobq__min(target - pool->ring.count, jobq__disk_batch(q, JOBQ__BATCH));
    tx->over = target + jobq__disk_batch(q, JOBQ__BATCH) - pool->ring.count;
    tx->moves = jobq__disk_batch(q, JOBQ__BATCH);
    tx->bytes = JOBQ__RING_BYTES - pool->ring.bytes;
}

/* What was taken out of the ring after that link goes back there. Workers that idle hear of it at
 * once: who has the baton next may keep it for long. */
static void jobq__tx_put_back(struct jobq__tx *tx, const struct jobq__link *last) {
    jobq *q = tx->q;
    jobq__os_lock(&q->pool.mu);
    while (tx->withdrawn.prev != last) {
        struct jobq__entry *entry = JOBQ__LINKED(tx->withdrawn.prev);
        jobq__list_remove(&entry->link);
        jobq__tx_gone(entry, false);
        jobq__ring_put(&q->pool.ring, entry);
        jobq__wake_workers(q, 1, NULL);
    }
    jobq__os_unlock(&q->pool.mu);
}

#ifdef JOBQ_DEBUG
/* Each gate holds those who are claimed and have passed it: they leave, all gates are empty, they
 * enter again. */
static void jobq__tx_check_gates(jobq *q) {
    struct jobq__link *link;
    size_t i;
    for (link = q->claimed.next; link != &q->claimed; link = link->next)
        jobq__tx_let(JOBQ__CLAIMED_ENTRY(link));
    for (i = 0; i < JOBQ__NAME_BUCKETS; i++) {
        const struct jobq__name *name = q->names.by_id[i];
        for (; name; name = name->next_id)
            jobq__assert(!name->kind.gate.held && !name->lane.gate.held);
    }
    for (link = q->claimed.next; link != &q->claimed; link = link->next)
        jobq__tx_hold(JOBQ__CLAIMED_ENTRY(link));
}
#endif

JOBQ__INTERNAL void jobq__tx_check(jobq *q) {
#ifdef JOBQ_DEBUG
    const struct jobq__link *link;
    int in_ring = 0;
    jobq__os_lock(&q->pool.mu);
    for (link = q->claimed.next; link != &q->claimed; link = link->next) {
        const struct jobq__entry *entry = JOBQ__CONTAINER(link, const struct jobq__entry, claimed);
        jobq__assert(!entry->gone);
        jobq__assert(!entry->lane->last_claimed);
        in_ring += entry->in_ring;
    }
    jobq__assert(in_ring == q->pool.ring.count);
    jobq__tx_check_gates(q);
    jobq__assert(jobq__ring_sound(&q->pool.ring));
    jobq__assert(jobq__list_empty(&q->tx.claimed) && jobq__list_empty(&q->tx.withdrawn)
                 && jobq__list_empty(&q->tx.settled) && jobq__list_empty(&q->tx.dropped));
    jobq__os_unlock(&q->pool.mu);
#else
    (void)q;
#endif
}

/* I1 between transactions: who is claimed is in the claims row; to be gone is for one of them. */
static bool jobq__tx_all_claimed(const jobq *q) {
    const struct jobq__link *link;
    for (link = q->claimed.next; link != &q->claimed; link = link->next)
        if (JOBQ__CONTAINER(link, const struct jobq__entry, claimed)->gone) return false;
    return true;
}

static void jobq__tx_clear(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__link *link;
    jobq__tx_recycle_all(q, &tx->dropped);
    while (!jobq__list_empty(&tx->claimed)) {
        struct jobq__entry *entry = JOBQ__LINKED(tx->claimed.next);
        if (jobq__list_empty(&entry->lane->ready))
            jobq__list_append(&q->ready, &entry->lane->ready);
        entry->lane->last_claimed = NULL;
        jobq__tx_gone(entry, true);
        jobq__tx_recycle(q, entry);
    }
    if (!jobq__list_empty(&tx->withdrawn)) jobq__tx_put_back(tx, &tx->withdrawn);
    for (link = tx->settled.next; link != &tx->settled; link = link->next)
        jobq__tx_gone(JOBQ__LINKED(link), false);
    jobq__assert(jobq__tx_all_claimed(q));
    tx->claims_changed = tx->touched = tx->ready = false;
    memset(tx->due_stale, 0, sizeof tx->due_stale);
    tx->rows_count = 0;
    jobq__tx_drop_changes(tx, 0);
    tx->grows = 0;
    tx->frees = 0;
    tx->new_count = 0;
    jobq__tx_gates_reset(tx);
    tx->starved = tx->recounts = false;
    tx->last_id = q->last_id;
    tx->counted = q->counted;
    tx->shifts.count = tx->shifts.mark = tx->loose.count = tx->loose.mark = 0;
    tx->shifts.lost = tx->loose.lost = false;
    tx->new_jobs = 0;
    tx->due = q->due;
    tx->prune_at_ms = JOBQ_NEVER;
    memset(&tx->add, 0, sizeof tx->add);
}

JOBQ__INTERNAL void jobq__tx_reset(struct jobq__tx *tx) {
    jobq *q = tx->q;
    jobq__tx_clear(tx);
    jobq__os_lock(&q->pool.mu);
    jobq__tx_snapshot(tx);
    jobq__os_unlock(&q->pool.mu);
}

JOBQ__INTERNAL void jobq__tx_open(struct jobq__tx *tx, jobq__store *db,
                                  enum jobq__tx_kind kind) {
    jobq *q = tx->q;
    jobq__assert(jobq__list_empty(&tx->settled));
    tx->db = db;
    tx->of_job = kind == JOBQ__TX_OF_JOB;
    tx->blind = q->client || kind == JOBQ__TX_RECOVERY;
    tx->single_rows = false;
    jobq__tx_clear(tx);
    jobq__os_lock(&q->pool.mu);
    if (kind == JOBQ__TX_OUTCOMES) jobq__tx_take_handed(tx);
    jobq__tx_snapshot(tx);
    jobq__os_unlock(&q->pool.mu);
    /* After that, so that no outcome is from the future. */
    jobq__tx_at(tx, jobq__core_now(q));
}

JOBQ__INTERNAL void jobq__tx_at(struct jobq__tx *tx, struct jobq__now now) {
    tx->now_ms = now.wall_ms;
    tx->mono_ms = now.mono_ms;
    tx->own_ms = now.own_ms;
}

JOBQ__INTERNAL void jobq__tx_failed(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__pool *pool = &q->pool;
    struct jobq__link *link;
    int count = 0;
    jobq__tx_reset(tx);
    for (link = tx->settled.next; link != &tx->settled; link = link->next) count++;
    jobq__os_lock(&pool->mu);
    /* They are the oldest, so they go to the front. */
    jobq__list_move_all(&tx->settled, &pool->outcomes.list);
    jobq__list_move_all(&pool->outcomes.list, &tx->settled);
    pool->outcomes.count += count;
    jobq__os_unlock(&pool->mu);
}

JOBQ__INTERNAL void jobq__tx_mark(struct jobq__tx *tx, struct jobq__tx_mark *mark) {
    mark->serial = tx->serial;
    mark->dropped = tx->dropped.prev;
    mark->withdrawn = tx->withdrawn.prev;
    mark->changes = tx->changes_count;
    mark->new_names = tx->new_count;
    mark->shifts = tx->shifts.mark = tx->shifts.count;
    mark->loose = tx->loose.mark = tx->loose.count;
    mark->new_jobs = tx->new_jobs;
    mark->room = tx->room;
    mark->over = tx->over;
    mark->bytes = tx->bytes;
    mark->last_id = tx->last_id;
    mark->due = tx->due;
    mark->prune_at_ms = tx->prune_at_ms;
    mark->add = tx->add;
}

static void jobq__tx_put_claimed(struct jobq__tx *tx, struct jobq__entry *entry) {
    struct jobq__link *place = &tx->claimed;
    while (place->prev != &tx->claimed && JOBQ__LINKED(place->prev)->serial > entry->serial)
        place = place->prev;
    jobq__list_insert(place, &entry->link);
}

JOBQ__INTERNAL void jobq__tx_undo(struct jobq__tx *tx, const struct jobq__tx_mark *mark) {
    jobq *q = tx->q;
    struct jobq__link *link;
    while (tx->dropped.prev != mark->dropped) {
        link = tx->dropped.prev;
        jobq__list_remove(link);
        jobq__tx_gone(JOBQ__LINKED(link), false);
        jobq__tx_put_claimed(tx, JOBQ__LINKED(link));
    }
    while (!jobq__list_empty(&tx->claimed)
           && JOBQ__LINKED(tx->claimed.prev)->serial > mark->serial) {
        struct jobq__entry *entry = JOBQ__LINKED(tx->claimed.prev);
        entry->lane->last_claimed = NULL;
        jobq__tx_gone(entry, true);
        jobq__tx_recycle(q, entry);
    }
    for (link = tx->claimed.next; link != &tx->claimed; link = link->next)
        jobq__tx_note_last(JOBQ__LINKED(link));
    if (tx->withdrawn.prev != mark->withdrawn) jobq__tx_put_back(tx, mark->withdrawn);
    tx->rows_count = 0;
    jobq__tx_drop_changes(tx, mark->changes);
    tx->new_count = mark->new_names;
    tx->shifts.count = mark->shifts;
    tx->loose.count = mark->loose;
    tx->new_jobs = mark->new_jobs;
    tx->room = mark->room;
    tx->over = mark->over;
    tx->bytes = mark->bytes;
    tx->last_id = mark->last_id;
    tx->due = mark->due;
    tx->prune_at_ms = mark->prune_at_ms;
    tx->add = mark->add;
}

/* ---- After COMMIT ---- */

static void jobq__tx_add_stats(jobq_stats *to, const jobq_stats *add) {
    to->enqueued += add->enqueued;
    to->kept += add->kept;
    to->done += add->done;
    to->retried += add->retried;
    to->failed += add->failed;
    to->cancelled += add->cancelled;
    to->crashed += add->crashed;
    to->lost_outcomes += add->lost_outcomes;
    to->commits++;
}

/* True if another transaction would find something to claim, promote or move. */
static bool jobq__tx_more(const struct jobq__tx *tx) {
    const jobq *q = tx->q;
    const struct jobq__link *link;
    if (q->look_lanes || q->gates.count || !jobq__list_empty(&q->opened)) return true;
    if (jobq__tx_uncounted(q)) return true;
    if (jobq__tx_has_come(tx, JOBQ__DUE_BY_WALL, q->due.at_ms[JOBQ__DUE_BY_WALL])
        || jobq__tx_has_come(tx, JOBQ__DUE_BY_OWN, q->due.at_ms[JOBQ__DUE_BY_OWN]))
        return true;
    for (link = q->ready.next; link != &q->ready; link = link->next)
        if (jobq__gate_room(&JOBQ__CONTAINER(link, struct jobq__lane, ready)->gate) > 0)
            return true;
    return false;
}

static bool jobq__tx_sooner(const struct jobq__dues *a, const struct jobq__dues *b) {
    return a->at_ms[JOBQ__DUE_BY_WALL] < b->at_ms[JOBQ__DUE_BY_WALL]
        || a->at_ms[JOBQ__DUE_BY_OWN] < b->at_ms[JOBQ__DUE_BY_OWN];
}

/* Everything that the pool sees of a commit, in one go. */
static void jobq__tx_publish(struct jobq__tx *tx, struct jobq__wakes *wakes) {
    jobq *q = tx->q;
    struct jobq__pool *pool = &q->pool;
    bool sooner = jobq__tx_sooner(&q->due, &pool->timers.due);
    int jobs = 0;
    jobq__os_lock(&pool->mu);
    while (!jobq__list_empty(&tx->claimed)) {
        struct jobq__entry *entry = JOBQ__LINKED(jobq__list_pop(&tx->claimed));
        jobq__ring_put(&pool->ring, entry);
        jobs++;
    }
    jobq__list_move_all(&tx->dropped, &tx->withdrawn);
    jobq__tx_add_stats(&pool->stats, &tx->add);
    pool->stats.wal_pages = jobq__store_log_pages(tx->db);
    if (!pool->ring.count) pool->ring.behind = false;
    pool->work.left = jobq__tx_more(tx);
    if (!q->client) {
        pool->timers.due = q->due;
        pool->timers.due_fired = false;
    }
    /* Several transactions may share one set of wakes. */
    wakes->loop = wakes->loop || tx->ready || sooner;
    wakes->scheduler = wakes->scheduler || sooner || tx->prune_at_ms < pool->timers.prune_at_ms;
    pool->timers.prune_at_ms = JOBQ__MIN(pool->timers.prune_at_ms, tx->prune_at_ms);
    jobq__tx_tell_waiters(tx);
    jobq__list_move_all(&tx->dropped, &tx->settled);
    jobq__wake_workers(q, jobs, wakes);
    pool->work.starved = tx->starved;
    pool->work.retry_us = tx->starved ? JOBQ__RETRY_MAX_US / 10 : 0;
    pool->work.retry_at_us = tx->starved ? jobq__clock_mono_us() + pool->work.retry_us : 0;
    jobq__os_unlock(&pool->mu);
}

/* A name that was lost is committed now: who is claimed by such a queue has it for its events. */
static void jobq__tx_name_queues(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__link *link;
    for (link = tx->claimed.next; link != &tx->claimed; link = link->next) {
        struct jobq__entry *entry = JOBQ__LINKED(link);
        if (!entry->queue) entry->queue = jobq__registry_by_id(&q->names, entry->row.queue);
    }
}

JOBQ__INTERNAL void jobq__tx_applied(struct jobq__tx *tx, struct jobq__wakes *wakes) {
    jobq *q = tx->q;
    int64_t last_id = q->last_id;
    struct jobq__link *link;
    size_t i;
    jobq__assert(!tx->shifts.count && (tx->counted >= q->counted || !tx->counted));
    q->last_id = tx->last_id;
    if (tx->recounts) q->recount = false;
    q->due = tx->due;
    if (tx->touched) q->own.stored_ms = jobq__tx_offset(tx);
    tx->prune_at_ms = jobq__min(tx->prune_at_ms, jobq__disk_freed(q, tx->frees, tx->now_ms));
    jobq__tx_gates_applied(tx);
    for (link = tx->claimed.next; link != &tx->claimed; link = link->next) {
        struct jobq__entry *entry = JOBQ__LINKED(link);
        jobq__list_append(&q->claimed, &entry->claimed);
        entry->lane->last_claimed = NULL;
        q->last_id = JOBQ__MAX(q->last_id, entry->row.id);
    }
    jobq__tx_count_applied(tx, last_id);
    for (i = 0; i < tx->new_count; i++)
        jobq__registry_add(&q->names, tx->new_names[i].id, tx->new_names[i].what,
                           tx->new_names[i].text);
    if (tx->new_count && q->events.call) jobq__tx_name_queues(tx);
    /* Before the ring is filled: a worker tells of a start as soon as it finds the job there. */
    jobq__tx_emit(tx);
    jobq__tx_publish(tx, wakes);
    jobq__tx_drop_changes(tx, 0);
    jobq__tx_recycle_all(q, &tx->dropped);
    jobq__tx_check(q);
    jobq__check_commit(tx);
}

/*==== tx_settle.c ====*/
/* tx_settle.c - what becomes of a job: outcomes are written, jobs end. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/tx_settle.c"
#endif
/* #include "tx.h" */

/* Design note.
 *
 * What handlers have returned was decided on their threads (run.c: the verdict); here it is
 * written, by the transaction that has taken the outcomes, in the order of ids. Neighbours that end
 * alike and leave nothing beside their rows are one statement; everything else goes row by row.
 *
 *   - Each entry of tx->settled is settled once, and its claim is over: gone, after which nothing
 *     here touches it again. COMMIT makes it true, or the entry goes back to the outcomes.
 *   - A wish to cancel is heeded here at the latest: a job that would run again ends instead; done,
 *     and failed for good, stand.
 *   - If of neighbours one is not ours any more, all of the transaction begins again (JOBQ__AGAIN),
 *     row by row: then the fence tells which.
 *
 * tx_settle is called by commit.c, first of all that a transaction does; tx_end by tx_claim.c,
 * alter.c and recover.c. With the baton; rows are changed by the door only. */

/* ---- Settle ---- */

/* How long a job that ended so is kept. */
static int64_t jobq__tx_keep(const struct jobq__tx *tx, const struct jobq__entry *entry) {
    const jobq *q = tx->q;
    const jobq_kind *spec = &entry->kind->spec;
    if (entry->verdict.state == JOBQ__FAILED) return spec->keep_failed_ms;
    return jobq__disk_saves_room(q) ? JOBQ_NONE : spec->keep_done_ms;
}

/* Somebody asked for the job to be cancelled: done stands, and so does failed for good. */
static void jobq__tx_heed_cancel(struct jobq__entry *entry) {
    if (!jobq__os_load(&entry->cancel) || entry->verdict.outcome == JOBQ_DONE
        || entry->verdict.outcome == JOBQ_FAIL) return;
    entry->verdict.state = JOBQ__CANCELLED;
    entry->verdict.outcome = JOBQ_CANCELLED;
}

/* A duration ends as long after now as the monotonic clock says, wherever the wall is set. */
static void jobq__tx_set_time(const struct jobq__tx *tx, struct jobq__row *row,
                              const struct jobq__verdict *verdict) {
    row->run_at_ms = verdict->at_ms;
    row->lane = verdict->lasts ? JOBQ__LANE_OWN_TIME : JOBQ__LANE_SCHEDULED;
    if (!verdict->lasts || verdict->at_ms == JOBQ_NEVER) return;
    row->run_at_ms = jobq__add(tx->own_ms, jobq__sub(verdict->at_ms, tx->mono_ms));
    row->run_at_ms = JOBQ__MAX(row->run_at_ms, 0);
}

static int jobq__tx_settle_one(struct jobq__tx *tx, struct jobq__entry *entry) {
    const struct jobq__verdict *verdict = &entry->verdict;
    struct jobq__edge edge;
    jobq__door_outcome(&edge, entry);
    edge.keep_ms = jobq__tx_keep(tx, entry);
    jobq__tx_set_time(tx, &edge.now, verdict);
    edge.now.attempt = verdict->attempt;
    edge.now.delay_ms = verdict->delay_ms;
    edge.now.crashes = verdict->crashes;
    edge.due = verdict->due;
    edge.new_round = verdict->outcome == JOBQ_RESCHEDULE;
    return verdict->state == JOBQ__WAITING ? jobq__tx_wait(tx, &edge) : jobq__door_pass(tx, &edge);
}

/* True if the row needs nothing but one statement that can serve its neighbours as well. */
static bool jobq__tx_plain(const struct jobq__entry *entry) {
    return entry->verdict.state != JOBQ__WAITING && !entry->row.side && !entry->said
        && !jobq__os_load(&entry->cancel);
}

static size_t jobq__tx_run_length(struct jobq__tx *tx, size_t first, size_t count) {
    const struct jobq__entry *a = tx->order[first];
    size_t length = 1;
    int64_t keep_ms;
    if (tx->single_rows || !jobq__tx_plain(a)) return 1;
    keep_ms = jobq__tx_keep(tx, a);
    while (first + length < count) {
        const struct jobq__entry *b = tx->order[first + length];
        if (b->row.id != a->row.id + (int64_t)length || b->row.runs != a->row.runs
            || !jobq__tx_plain(b) || b->verdict.state != a->verdict.state
            || jobq__tx_keep(tx, b) != keep_ms) break;
        length++;
    }
    return length;
}

static int jobq__tx_settle_run(struct jobq__tx *tx, size_t first, size_t length) {
    struct jobq__entry **order = &tx->order[first];
    bool all;
    int rc = jobq__door_run(tx, order, length, jobq__tx_keep(tx, order[0]), &all);
    if (rc != JOBQ_OK || all) return rc;
    /* One of them is no longer ours; which one is found row by row, from the beginning. */
    tx->single_rows = true;
    return JOBQ__AGAIN;
}

/* By id; insertion sort, because what is handed in is nearly sorted. */
static int jobq__tx_sort(struct jobq__tx *tx, size_t *count) {
    struct jobq__link *link;
    size_t n = 0;
    for (link = tx->settled.next; link != &tx->settled; link = link->next) {
        struct jobq__entry *entry = JOBQ__LINKED(link);
        size_t at = n++;
        if (n > tx->order_capacity) {
            size_t capacity = tx->order_capacity ? tx->order_capacity * 2 : 64;
            void *order = jobq__mem_resize(tx->order, capacity, sizeof entry);
            if (!order) return JOBQ_NO_MEMORY;
            tx->order = order;
            tx->order_capacity = capacity;
        }
        for (; at && tx->order[at - 1]->row.id > entry->row.id; at--)
            tx->order[at] = tx->order[at - 1];
        tx->order[at] = entry;
    }
    *count = n;
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__tx_settle(struct jobq__tx *tx) {
    size_t count = 0, i, length;
    int rc = jobq__tx_sort(tx, &count);
    for (i = 0; i < count && rc == JOBQ_OK; i++) jobq__tx_heed_cancel(tx->order[i]);
    for (i = 0; i < count && rc == JOBQ_OK; i += length) {
        length = jobq__tx_run_length(tx, i, count);
        rc = length > 1 ? jobq__tx_settle_run(tx, i, length)
                        : jobq__tx_settle_one(tx, tx->order[i]);
    }
    return rc;
}

/* ---- The end of a job that nobody runs ---- */

JOBQ__INTERNAL int jobq__tx_end(struct jobq__tx *tx, const struct jobq__row *row, int state,
                                const char *text, jobq_outcome outcome) {
    const jobq *q = tx->q;
    const struct jobq__kind *kind = jobq__registry_kind(&q->names, row->kind);
    bool handled = kind && !jobq__gate_is_shut(&kind->gate);
    struct jobq__edge edge;
    jobq__door_begin(&edge, row, state);
    if (state == JOBQ__FAILED)
        edge.keep_ms = handled ? kind->spec.keep_failed_ms : q->options.keep_failed_ms;
    else if (jobq__disk_saves_room(q))
        edge.keep_ms = JOBQ_NONE;
    else
        edge.keep_ms = handled ? kind->spec.keep_done_ms : q->options.keep_done_ms;
    edge.text = text;
    edge.tells = true;
    edge.outcome = outcome;
    return jobq__door_pass(tx, &edge);
}

/*==== tx_enqueue.c ====*/
/* tx_enqueue.c - new jobs: what a caller gives becomes a row, and the row gets its place. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/tx_enqueue.c"
#endif
/* #include "tx.h" */

#include <stdio.h>

/* Design note.
 *
 * A request to store jobs, in the caller's order, which is that of their ids. What the caller gave
 * was checked before (api_jobs.c); names become ids here, and may be new.
 *
 *   - All jobs of a call are stored, or none: the first one that fails ends it, and whoever called
 *     undoes the request (tx_undo).
 *   - An id is above all that were ever given: if one is taken nevertheless, another connection has
 *     written, and the request is tried anew (JOBQ__AGAIN).
 *   - I2 and I3 (tx_order.h) hold behind each job. One that this transaction would claim anyway is
 *     stored as claimed (tx_at_once); one that sorts before what is claimed stands in the table
 *     before tx_ready sees to it.
 *   - Rows are written in batches (door_new): payloads belong to the caller, and stay until
 *     door_flush.
 *
 * Called by commit.c as any request, with the baton, in a transaction of the queue's or a job's. */

/* ---- Their place ---- */

/* True if this very transaction would claim it, or has to for the sake of the order. */
static bool jobq__tx_at_once(struct jobq__tx *tx, struct jobq__lane *lane,
                             const struct jobq__row *row) {
    if (!tx->may_claim || !lane || lane->unordered || !jobq__tx_handled(tx, row->kind))
        return false;
    if (jobq__tx_takes_now(tx, lane)) return true;
    return tx->over > 0 && jobq__tx_before_tail(tx, lane, row);
}

/* Such a job is stored as claimed: no index entry is written only to be removed. Without memory for
 * an entry it is ready, as any other. */
static bool jobq__tx_add_claimed(struct jobq__tx *tx, struct jobq__lane *lane,
                                 struct jobq__row *row) {
    struct jobq__kind *kind = jobq__registry_kind(&tx->q->names, row->kind);
    struct jobq__entry *entry;
    if (jobq__tx_entry(tx, row, kind, lane, &entry) != JOBQ_OK) return false;
    row->state = entry->row.state = JOBQ__CLAIMED;
    row->lane = entry->row.lane = JOBQ__LANE_NONE;
    row->runs = entry->row.runs = 1;
    jobq__tx_claimed(tx, entry);
    tx->ready = true;
    return true;
}

/* The row has kind, queue, priority, run_at_ms, side and payload, and its lane says by which clock
 * that time is (tx_set_lane); the rest, and the id, is set here. The payload must stay until
 * door_flush. */
static int jobq__tx_add(struct jobq__tx *tx, struct jobq__row *row) {
    struct jobq__lane *lane;
    bool ready, claimed;
    int rc;
    /* Before a job is accepted whose row nobody could read again. */
    if (tx->last_id >= JOBQ__ID_MAX)
        return jobq__store_damaged(tx->db, JOBQ__DAMAGE_IDS, tx->last_id);
    row->id = ++tx->last_id;
    row->attempt = 1;
    row->created_at_ms = tx->now_ms;
    if (jobq__store_apart(tx->db, row->size)) row->side |= JOBQ__SIDE_PAYLOAD;
    jobq__tx_set_lane(tx, row, false);
    ready = row->lane > JOBQ__LANE_SCHEDULED;
    lane = ready ? jobq__tx_line(tx, row->lane) : NULL;
    claimed = jobq__tx_at_once(tx, lane, row) && jobq__tx_add_claimed(tx, lane, row);
    rc = jobq__door_new(tx, row);
    jobq__tx_scheduled(tx, row);
    if (rc != JOBQ_OK || !ready || claimed) return rc;
    /* Out of order: the row must stand in the table before tx_ready sees to it. */
    if (tx->ordered && lane && jobq__tx_before_tail(tx, lane, row)) rc = jobq__door_flush(tx);
    return rc == JOBQ_OK ? jobq__tx_ready(tx, lane, row) : rc;
}

/* ---- What the caller gives ---- */

JOBQ__INTERNAL size_t jobq__tx_job_size(const jobq_job *job) {
    return job->text ? strlen(job->text) : job->size;
}

static int jobq__tx_key_new(struct jobq__tx *tx, const jobq_job *job, int64_t kind,
                                struct jobq__row *row, int64_t *existing) {
    bool taken, stored;
    int rc = jobq__store_key_find(tx->db, kind, job->key, existing, &stored);
    /* The last rows of this very call may not have been written yet. */
    if (rc == JOBQ_OK && *existing && !stored
        && (*existing > tx->last_id || *existing <= tx->last_id - tx->rows_count))
        rc = jobq__store_damaged(tx->db, JOBQ__DAMAGE_KEY, *existing);
    if (rc != JOBQ_OK || *existing) return rc;
    row->side = JOBQ__SIDE_EXTRA | JOBQ__SIDE_KEY;
    /* The id that tx_add is about to give. */
    rc = jobq__store_key_add(tx->db, kind, job->key, tx->last_id + 1, &taken);
    return taken ? JOBQ__AGAIN : rc;
}

/* And by which clock. */
static int jobq__tx_set_run_at(struct jobq__tx *tx, const jobq_job *job, struct jobq__row *row) {
    struct jobq__now now = {tx->now_ms, tx->mono_ms, tx->own_ms};
    int rc = JOBQ_OK;
    row->lane = job->delay_ms ? JOBQ__LANE_OWN_TIME : JOBQ__LANE_SCHEDULED;
    row->run_at_ms = job->run_at_ms ? job->run_at_ms : tx->now_ms;
    if (!job->delay_ms) return rc;
    rc = jobq__core_own_of_file(tx->q, tx->db, &now);
    tx->own_ms = now.own_ms;
    row->run_at_ms = jobq__add(now.own_ms, job->delay_ms);
    return rc;
}

static int jobq__tx_tell_new(struct jobq__tx *tx, const struct jobq__row *row, const char *key) {
    jobq *q = tx->q;
    jobq_event event;
    if (!q->events.call) return JOBQ_OK;
    memset(&event, 0, sizeof event);
    event.now_ms = tx->now_ms;
    event.id = row->id;
    event.to = JOBQ_STATE_PENDING;
    event.attempt = 1;
    return jobq__tx_change(tx, &event, row, key, NULL);
}

JOBQ__INTERNAL void jobq__tx_at_row(const struct jobq__enqueue *enqueue, size_t i,
                                    jobq_error *err) {
    char text[sizeof err->text];
    if (!enqueue->many) return;
    jobq__err_copy_text(text, sizeof text, err->text);
    snprintf(err->text, sizeof err->text, "row %llu: %.450s", (unsigned long long)i, text);
    jobq__err_at(err, i);
}

/* The key is taken. An earlier row of the same call is not stored either when the call fails. */
static int jobq__tx_refuse(const struct jobq__tx *tx, const jobq_job *job, int64_t first,
                             int64_t existing, jobq_error *err) {
    if (existing > first && existing <= tx->last_id)
        return jobq__err_set(err, JOBQ_EXISTS, "an earlier row of this call has the key %s",
                             job->key);
    jobq__err_set(err, JOBQ_EXISTS, "job %lld has the key %s; store this when that one has ended,"
                  " or let it do for both (JOBQ_KEEP)", (long long)existing, job->key);
    jobq__err_id(err, existing);
    return JOBQ_EXISTS;
}

/* *existing: 0, or the job that has the key; nothing is stored then. */
static int jobq__tx_enqueue_one(struct jobq__tx *tx, const jobq_job *job, int64_t *id,
                                int64_t *existing, jobq_error *err) {
    struct jobq__row row;
    int rc;
    memset(&row, 0, sizeof row);
    *existing = 0;
    rc = jobq__tx_resolve(tx, JOBQ__NAME_KIND, job->kind, &row.kind, err);
    if (rc == JOBQ_OK)
        rc = jobq__tx_resolve(tx, JOBQ__NAME_QUEUE, job->queue ? job->queue : "default",
                              &row.queue, err);
    if (rc == JOBQ_OK && job->key) rc = jobq__tx_key_new(tx, job, row.kind, &row, existing);
    if (rc != JOBQ_OK || *existing) return rc;
    row.priority = job->priority;
    rc = jobq__tx_set_run_at(tx, job, &row);
    if (rc != JOBQ_OK) return rc;
    row.payload = job->text ? job->text : job->payload;
    row.size = jobq__tx_job_size(job);
    rc = jobq__tx_add(tx, &row);
    *id = row.id;
    return rc == JOBQ_OK ? jobq__tx_tell_new(tx, &row, job->key) : rc;
}

static int jobq__tx_enqueue_row(struct jobq__tx *tx, const jobq_job *job, jobq_stored *row,
                                int64_t first, jobq_error *err) {
    int64_t id = 0, existing;
    int rc = jobq__tx_enqueue_one(tx, job, &id, &existing, err);
    if (rc != JOBQ_OK) return rc;
    if (existing && job->conflict == JOBQ_REFUSE)
        return jobq__tx_refuse(tx, job, first, existing, err);
    if (existing) tx->add.kept++;
    row->id = existing ? existing : id;
    row->how = existing ? JOBQ_KEPT : JOBQ_NEW;
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__tx_enqueue(struct jobq__tx *tx, struct jobq__request *r) {
    const struct jobq__enqueue *enqueue = r->arg;
    int64_t first = tx->last_id;
    jobq_error told;
    jobq_stored scratch;
    size_t i;
    told.code = JOBQ_OK;
    for (i = 0; i < enqueue->count; i++) {
        jobq_stored *row = enqueue->rows ? &enqueue->rows[i] : &scratch;
        int rc = jobq__tx_enqueue_row(tx, &enqueue->jobs[i], row, first, &told);
        if (rc == JOBQ_OK) continue;
        if (told.code == rc && r->err) {
            *r->err = told;
            jobq__tx_at_row(enqueue, i, r->err);
        }
        return rc;
    }
    return jobq__door_flush(tx);
}

/*==== tx_claim.c ====*/
/* tx_claim.c - what fills the ring: promote, park, claim, and the claims row. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/tx_claim.c"
#endif
/* #include "tx.h" */

/* Design note.
 *
 * A transaction of the owner's that may claim does so in this order: rows before a gate that has
 * opened go to their lines (drain), rows that are due do (promote), then the ring is filled from
 * the lines, each its share, as far as the line's gate has room. A row at the head of a line that
 * has to wait elsewhere by now (due_lane says so) is moved there, once. Each of these moves is a
 * slice: a batch of rows in a transaction, and fewer on a full disk. */

/* ---- Claim ---- */

/* Marks entries that stand at the end of the claimed list, from first on, by runs of ids. */
static int jobq__tx_claim_entries(struct jobq__tx *tx, struct jobq__link *first) {
    struct jobq__link *link = first;
    int rc = JOBQ_OK;
    while (link != &tx->claimed && rc == JOBQ_OK) {
        struct jobq__entry *entry = JOBQ__LINKED(link);
        int count = 0;
        do {
            link = link->next;
            count++;
        } while (link != &tx->claimed && JOBQ__LINKED(link)->row.id == entry->row.id + count);
        rc = jobq__door_claim(tx, entry, count);
    }
    return rc;
}

/* Rows that a walk meets and that are to be moved when it is over. One walk at a time: the rows are
 * not on the stack, which is the caller's and may be small. */
static int jobq__tx_set_aside(struct jobq__tx *tx, const struct jobq__row *row) {
    if (tx->aside_count == tx->aside_capacity) {
        size_t capacity = tx->aside_capacity ? tx->aside_capacity * 2 : 8;
        void *aside = jobq__mem_resize(tx->aside, capacity, sizeof *tx->aside);
        if (!aside) return JOBQ_NO_MEMORY;
        tx->aside = aside;
        tx->aside_capacity = capacity;
    }
    tx->aside[tx->aside_count] = *row;
    tx->aside[tx->aside_count++].payload = NULL;
    return JOBQ_OK;
}

/* A row of a line that cannot be claimed from there: it has to wait before a gate by now, or it
 * died too often. 0: it can, else as how many moves it counts to take it away. */
static int jobq__tx_unfit(struct jobq__tx *tx, const struct jobq__lane *lane,
                          const struct jobq__row *row) {
    if (jobq__tx_due_lane(tx, row) != lane->id) return 1;
    return jobq__tx_spent(tx, row) ? JOBQ__END_MOVES : 0;
}

/* To another lane, and in order there. */
static int jobq__tx_move(struct jobq__tx *tx, const struct jobq__row *row, bool due) {
    struct jobq__edge edge;
    int32_t lane = jobq__tx_due_lane(tx, row);
    int rc = due || jobq__tx_is_due(tx, row) ? jobq__tx_know(tx, lane < 0 ? -lane : lane)
                                             : JOBQ_OK;
    if (rc != JOBQ_OK) return rc;
    jobq__door_begin(&edge, row, JOBQ__WAITING);
    edge.due = due;
    return jobq__tx_wait(tx, &edge);
}

static int jobq__tx_move_or_fail(struct jobq__tx *tx, const struct jobq__lane *lane,
                                 const struct jobq__row *row) {
    static const char text[] = "crashed: the process died while this job ran, too often";
    if (jobq__tx_due_lane(tx, row) != lane->id) return jobq__tx_move(tx, row, true);
    /* The crash itself was counted when it was found out. */
    return jobq__tx_end(tx, row, JOBQ__FAILED, text, JOBQ_CRASHED);
}

/* Claims up to limit rows of a lane; *moved counts what was parked or failed. */
static int jobq__tx_claim_lane(struct jobq__tx *tx, struct jobq__lane *lane, int limit,
                               int *claimed, int *moved) {
    jobq *q = tx->q;
    struct jobq__link *before = tx->claimed.prev;
    jobq__walk *walk = jobq__store_walk_lane(tx->db, lane->id, limit);
    struct jobq__row row;
    bool more = true, out_of_room = false;
    size_t i;
    int rc = JOBQ_OK, moves;
    tx->aside_count = 0;
    *claimed = *moved = 0;
    while (*claimed + *moved < limit && !out_of_room) {
        struct jobq__entry *entry;
        rc = jobq__store_next(tx->db, walk, &row, &more);
        if (rc != JOBQ_OK || !more) break;
        moves = jobq__tx_unfit(tx, lane, &row);
        if (moves) {
            if (tx->moves <= 0) break;
            tx->moves -= moves;
            rc = jobq__tx_set_aside(tx, &row);
            if (rc != JOBQ_OK) break;
            ++*moved;
            continue;
        }
        rc = jobq__tx_entry(tx, &row, jobq__registry_kind(&q->names, row.kind), lane, &entry);
        if (jobq__tx_can_wait(tx, rc)) {
            tx->starved = true;
            rc = JOBQ_OK;
            break;
        }
        if (rc != JOBQ_OK) break;
        jobq__tx_claimed(tx, entry);
        ++*claimed;
        out_of_room = tx->bytes <= 0;
    }
    if (walk) jobq__store_end(walk);
    if (rc == JOBQ_OK && !more) jobq__list_remove(&lane->ready);
    if (rc == JOBQ_OK) rc = jobq__tx_claim_entries(tx, before->next);
    for (i = 0; i < tx->aside_count && rc == JOBQ_OK; i++)
        rc = jobq__tx_move_or_fail(tx, lane, &tx->aside[i]);
    return rc;
}

/* Fills the ring from the lanes with ready rows, each its share, the next one first next time. */
static int jobq__tx_claim(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__link *link;
    bool progress = true;
    int rc = JOBQ_OK;
    while (progress && !tx->starved && rc == JOBQ_OK && tx->room > 0 && tx->bytes > 0) {
        int lanes = 0, share;
        progress = false;
        for (link = q->ready.next; link != &q->ready; link = link->next) lanes++;
        share = lanes ? JOBQ__MAX(tx->room / lanes, 1) : 0;
        while (lanes-- > 0 && rc == JOBQ_OK && tx->room > 0 && tx->bytes > 0) {
            struct jobq__lane *lane = JOBQ__CONTAINER(q->ready.next, struct jobq__lane, ready);
            int limit = (int)jobq__min(jobq__min(share, tx->room), jobq__gate_room(&lane->gate));
            int claimed = 0, moved = 0;
            if (limit > 0) rc = jobq__tx_claim_lane(tx, lane, limit, &claimed, &moved);
            progress = progress || claimed || moved;
            if (jobq__list_empty(&lane->ready)) continue;
            jobq__list_remove(&lane->ready);
            jobq__list_append(&q->ready, &lane->ready);
        }
    }
    return rc;
}

/* ---- Promote ---- */

/* Sets up to so many rows aside; *more: there may be others. */
static int jobq__tx_walk(struct jobq__tx *tx, jobq__walk *walk, int batch, bool *more) {
    struct jobq__row row;
    int rc = JOBQ_OK;
    *more = true;
    while (rc == JOBQ_OK && batch-- > 0) {
        rc = jobq__store_next(tx->db, walk, &row, more);
        if (rc != JOBQ_OK || !*more) break;
        rc = jobq__tx_set_aside(tx, &row);
    }
    if (walk) jobq__store_end(walk);
    return rc;
}

/* Due rows become ready; if all of them fit into the ring and nothing stands before them they are
 * claimed from where they are, without the write in between. */
static int jobq__tx_promote_row(struct jobq__tx *tx, const struct jobq__row *row, bool fits) {
    struct jobq__lane *lane = jobq__registry_lane(&tx->q->names, row->queue);
    /* Not if its time has to be written as one of the wall. */
    bool as_it_stands = row->lane != JOBQ__LANE_OWN_TIME || !jobq__tx_offset(tx);
    if (fits && as_it_stands && lane && jobq__tx_takes_now(tx, lane)
        && jobq__tx_due_lane(tx, row) == lane->id) {
        int rc = jobq__tx_claim_row(tx, lane, row->id);
        if (!jobq__tx_can_wait(tx, rc)) return rc;
    }
    return jobq__tx_move(tx, row, false);
}

/* Those from first on were set aside after the others, which are in order by themselves, as they
 * are: the earliest of all come first, and what is more than a batch is left for the next. */
static void jobq__tx_merge_aside(struct jobq__tx *tx, size_t first, size_t most) {
    size_t i;
    for (i = first; i < tx->aside_count; i++) {
        struct jobq__row row = tx->aside[i];
        int64_t at_ms = jobq__tx_wall_of(tx, &row);
        size_t at = i;
        for (; at; at--) {
            int64_t other_ms = jobq__tx_wall_of(tx, &tx->aside[at - 1]);
            if (other_ms < at_ms || (other_ms == at_ms && tx->aside[at - 1].id < row.id)) break;
            tx->aside[at] = tx->aside[at - 1];
        }
        tx->aside[at] = row;
    }
    tx->aside_count = JOBQ__MIN(tx->aside_count, most);
}

/* Sets aside what is due, by either clock. */
static int jobq__tx_walk_due(struct jobq__tx *tx, bool *due) {
    int batch = jobq__disk_batch(tx->q, JOBQ__BATCH), by, rc = JOBQ_OK;
    *due = false;
    tx->aside_count = 0;
    for (by = 0; by < JOBQ__DUE_LANES && rc == JOBQ_OK; by++) {
        int64_t now_ms = by == JOBQ__DUE_BY_OWN ? tx->own_ms : tx->now_ms;
        size_t before = tx->aside_count;
        bool more;
        if (!jobq__tx_has_come(tx, by, tx->due.at_ms[by])) continue;
        *due = tx->due_stale[by] = true;
        rc = jobq__tx_walk(tx, jobq__store_due(tx->db, by, now_ms, batch), batch, &more);
        if (rc == JOBQ_OK && before) jobq__tx_merge_aside(tx, before, (size_t)batch);
    }
    return rc;
}

static int jobq__tx_promote(struct jobq__tx *tx) {
    bool due, fits;
    size_t i;
    int by, rc = jobq__tx_walk_due(tx, &due);
    if (!due) return rc;
    fits = tx->room > 0 && tx->aside_count <= (size_t)tx->room;
    for (i = 0; i < tx->aside_count && rc == JOBQ_OK; i++)
        rc = jobq__tx_promote_row(tx, &tx->aside[i], fits);
    /* Or else it would be due for ever. */
    if (rc != JOBQ_OK || tx->aside_count) return rc;
    rc = jobq__store_next_dues(tx->db, &tx->due);
    for (by = 0; by < JOBQ__DUE_LANES && rc == JOBQ_OK; by++)
        if (jobq__tx_has_come(tx, by, tx->due.at_ms[by]))
            rc = jobq__store_damaged(tx->db, JOBQ__DAMAGE_ORDER, 0);
    return rc;
}

/* Up to *left of those who stand before a gate, as far as it has room. */
static int jobq__tx_drain_lane(struct jobq__tx *tx, int32_t lane, int *left) {
    const struct jobq__kind *kind = jobq__registry_kind(&tx->q->names, -(int64_t)lane);
    int limit = (int)jobq__min(kind ? jobq__gate_room(&kind->gate) : 0, *left);
    bool more = false;
    size_t i;
    int rc = JOBQ_OK;
    tx->aside_count = 0;
    if (limit > 0) rc = jobq__tx_walk(tx, jobq__store_walk_lane(tx->db, lane, limit), limit, &more);
    /* Their time has come, even if the clock was set back since they were parked. */
    for (i = 0; i < tx->aside_count && rc == JOBQ_OK; i++)
        rc = jobq__tx_move(tx, &tx->aside[i], true);
    if (rc == JOBQ_OK && !more) jobq__tx_gates_strike(tx, lane);
    *left -= (int)tx->aside_count + 1;
    return rc;
}

/* A slice of those who stand before gates that have opened. */
static int jobq__tx_drain(struct jobq__tx *tx) {
    int left = jobq__disk_batch(tx->q, JOBQ__BATCH), rc = JOBQ_OK;
    int32_t lane;
    while (rc == JOBQ_OK && left > 0 && (lane = jobq__tx_gates_first(tx)) != 0)
        rc = jobq__tx_drain_lane(tx, lane, &left);
    return rc;
}

/* Which lanes have rows: asked of the table at open, and when others may have written. */
static int jobq__tx_look_lanes(struct jobq__tx *tx) {
    jobq *q = tx->q;
    int64_t lane = JOBQ__LANE_SCHEDULED;
    bool again = false;
    int rc;
    for (;;) {
        struct jobq__lane *line;
        rc = jobq__store_lane_after(tx->db, lane, &lane);
        if (rc == JOBQ_OK && lane > 0) rc = jobq__tx_know(tx, lane);
        if (rc != JOBQ_OK || lane <= 0) break;
        line = jobq__tx_line(tx, lane);
        /* One whose name was lost is a lane when the new one is committed. */
        if (!line) again = true;
        else if (jobq__list_empty(&line->ready)) jobq__list_append(&q->ready, &line->ready);
    }
    if (rc == JOBQ_OK) rc = jobq__store_all_due(tx->db);
    if (rc == JOBQ_OK) rc = jobq__store_next_dues(tx->db, &tx->due);
    if (rc == JOBQ_OK) q->look_lanes = again;
    return rc;
}

/* ---- The claims row ---- */

JOBQ__INTERNAL int jobq__tx_touch(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__link *link;
    size_t size = 0;
    int64_t previous = 0;
    int rc = JOBQ_OK;
    for (link = q->claimed.next; link != &q->claimed && rc == JOBQ_OK; link = link->next)
        if (!JOBQ__CLAIMED_ENTRY(link)->gone)
            rc = jobq__tx_pack(tx, &size, &previous, JOBQ__CLAIMED_ENTRY(link)->row.id);
    for (link = tx->claimed.next; link != &tx->claimed && rc == JOBQ_OK; link = link->next)
        rc = jobq__tx_pack(tx, &size, &previous, JOBQ__LINKED(link)->row.id);
    if (rc != JOBQ_OK) return rc;
    tx->touched = true;
    return jobq__store_claims_set(tx->db, tx->pack, size, tx->last_id, tx->counted,
                                  jobq__tx_offset(tx), tx->now_ms);
}

static int jobq__tx_look_stale(struct jobq__tx *tx) {
    int by, rc = JOBQ_OK;
    for (by = 0; by < JOBQ__DUE_LANES && rc == JOBQ_OK; by++)
        if (tx->due_stale[by]) rc = jobq__store_next_due(tx->db, by, &tx->due.at_ms[by]);
    return rc;
}

/* The wall was set: all that stands by own time is right again when that is known. What clients
 * have stored is older than the step, and must not be taken for what came after the claims row. */
static int jobq__tx_step(struct jobq__tx *tx) {
    int64_t id;
    int rc;
    if (tx->q->client || jobq__tx_offset(tx) == tx->q->own.stored_ms) return JOBQ_OK;
    tx->claims_changed = true;
    rc = jobq__store_max_id(tx->db, &id);
    if (rc == JOBQ_OK) tx->last_id = JOBQ__MAX(tx->last_id, id);
    return rc;
}

JOBQ__INTERNAL int jobq__tx_fill(struct jobq__tx *tx) {
    jobq *q = tx->q;
    int rc = JOBQ_OK;
    if (q->look_lanes && !q->client) rc = jobq__tx_gates_read(tx);
    /* Not while there are names that a rollback would take away. */
    if (rc == JOBQ_OK && q->look_lanes && !q->client && !tx->new_count)
        rc = jobq__tx_look_lanes(tx);
    if (rc == JOBQ_OK && !jobq__list_empty(&q->opened)) rc = jobq__tx_gates_look(tx);
    if (rc == JOBQ_OK && tx->gates.count) rc = jobq__tx_drain(tx);
    if (rc == JOBQ_OK && tx->may_claim) rc = jobq__tx_promote(tx);
    if (rc == JOBQ_OK && tx->may_claim) rc = jobq__tx_claim(tx);
    if (rc == JOBQ_OK) rc = jobq__tx_look_stale(tx);
    if (rc == JOBQ_OK) rc = jobq__tx_know_claimed(tx);
    if (rc == JOBQ_OK) rc = jobq__tx_step(tx);
    if (rc == JOBQ_OK) rc = jobq__tx_count(tx);
    if (rc == JOBQ_OK && q->recount && !tx->of_job) {
        rc = jobq__tx_count_anew(tx);
        tx->recounts = tx->claims_changed = true;
    }
    if (rc == JOBQ_OK && tx->claims_changed) rc = jobq__tx_touch(tx);
    if (rc == JOBQ_OK) rc = jobq__tx_gates_write(tx);
    if (rc == JOBQ_OK) rc = jobq__event_reserve(&q->events, tx->changes_count);
    return rc;
}

/*==== alter.h ====*/
/* alter.h - what callers change of a job that is there: cancel, try again, delete. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/alter.h"
#endif
#ifndef JOBQ__ALTER_H
#define JOBQ__ALTER_H

/* #include "tx.h" */

/* Design note.
 *
 * Each is a request: a part that writes, in whatever transaction takes it along, and one that acts
 * after its COMMIT. A job that is claimed and has not started is taken out of the ring first and
 * given back, so that it is altered as one that waits; one that runs is asked to stop, which is
 * written down (a wish, that outlives the process), and is not deleted. The steps themselves are
 * the door's.
 *
 * The writing parts run with the baton held, jobq__alter_find with or without it. */

enum jobq__whereabouts { JOBQ__NOWHERE, JOBQ__WAITS, JOBQ__RUNS };

/* Claimed, but in no slot: it waits in the ring (or the transaction under way has taken it out), or
 * its handler is just being called, or has returned and the outcome is on its way to the disk: that
 * is running still. Nowhere: a commit has changed it since the row was read, or says in a moment
 * that it was claimed. */
JOBQ__INTERNAL enum jobq__whereabouts jobq__alter_find(jobq *q, int64_t id);

/* The argument of these requests. */
struct jobq__alter {
    int64_t id;
    struct jobq__entry *running;    /* found by the part that writes: it runs */
};

JOBQ__INTERNAL int jobq__alter_cancel(struct jobq__tx *tx, struct jobq__request *r);
JOBQ__INTERNAL void jobq__alter_cancelled(jobq *q, struct jobq__request *r);
JOBQ__INTERNAL int jobq__alter_retry(struct jobq__tx *tx, struct jobq__request *r);
JOBQ__INTERNAL int jobq__alter_delete(struct jobq__tx *tx, struct jobq__request *r);
JOBQ__INTERNAL void jobq__alter_deleted(jobq *q, struct jobq__request *r);

#endif

/*==== alter.c ====*/
/* alter.c - what callers change of a job that is there: cancel, try again, delete. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/alter.c"
#endif
/* #include "alter.h" */

#include <stdio.h>

static bool jobq__alter_in_list(const struct jobq__link *list, int64_t id) {
    const struct jobq__link *link = list->next;
    while (link != list && JOBQ__LINKED(link)->row.id != id) link = link->next;
    return link != list;
}

JOBQ__INTERNAL enum jobq__whereabouts jobq__alter_find(jobq *q, int64_t id) {
    struct jobq__pool *pool = &q->pool;
    bool waits, runs;
    int i;
    jobq__os_lock(&pool->mu);
    waits = jobq__ring_has(&pool->ring, id) || jobq__alter_in_list(&q->tx.withdrawn, id);
    runs = jobq__alter_in_list(&pool->outcomes.list, id) || jobq__alter_in_list(&q->tx.settled, id);
    for (i = 0; i < pool->crew.count; i++) runs = runs || pool->crew.workers[i].run.id == id;
    jobq__os_unlock(&pool->mu);
    return waits ? JOBQ__WAITS : runs ? JOBQ__RUNS : JOBQ__NOWHERE;
}

/* "job 7 of kind mail", with a job's id and, where its name can be had, its kind. */
static void jobq__alter_call(struct jobq__tx *tx, const struct jobq__row *row, char *text,
                            size_t size) {
    const char *kind = NULL;
    if (jobq__tx_know(tx, row->kind) == JOBQ_OK) kind = jobq__tx_name_text(tx, row->kind);
    snprintf(text, size, "job %lld%s%s", (long long)row->id, kind ? " of kind " : "",
             kind ? kind : "");
}

/* The job is not in a state for this call, which it is told with a way out. */
static int jobq__alter_bad_state(struct jobq__tx *tx, const struct jobq__row *row,
                                const char *way_out, jobq_error *err) {
    jobq *q = tx->q;
    char job[JOBQ_NAME_MAX + 64];
    const char *state = jobq_state_name(jobq__state_public(row->state, false));
    bool waits = row->state == JOBQ__WAITING || jobq__alter_find(q, row->id) == JOBQ__WAITS;
    if (!err) return JOBQ_BAD_STATE;
    jobq__alter_call(tx, row, job, sizeof job);
    if (jobq__stored_stand(row->lane) == JOBQ__STANDS_AT_GATE)
        return jobq__err_set(err, JOBQ_BAD_STATE, "%s is parked: no handler of its kind is"
                             " registered (jobq_register)", job);
    if (!jobq__state_terminal(row->state)) state = waits ? "due" : "running";
    return jobq__err_set(err, JOBQ_BAD_STATE, "%s is %s already%s", job, state, way_out);
}

/* Whatever is claimed is the owner's. */
static int jobq__alter_row(struct jobq__tx *tx, int64_t id, struct jobq__row *row) {
    jobq *q = tx->q;
    const struct jobq__link *link;
    int rc = jobq__store_row(tx->db, id, row);
    if (rc != JOBQ_OK || row->state != JOBQ__CLAIMED || jobq__alter_in_list(&tx->claimed, id))
        return rc;
    for (link = q->claimed.next; link != &q->claimed; link = link->next)
        if (JOBQ__CLAIMED_ENTRY(link)->row.id == id) return rc;
    return jobq__store_nobodys(tx->db, id);
}

/* Takes a claimed job that has not started out of the ring and puts it back into the table; *row is
 * what it is now. If it runs alter->running is it, and the row is not read; else NULL. */
static int jobq__alter_reach(struct jobq__tx *tx, struct jobq__alter *alter,
                             struct jobq__row *row) {
    bool withdrawn;
    struct jobq__entry *entry = jobq__tx_withdraw(tx, alter->id, &withdrawn);
    alter->running = NULL; /* the group may be repeated, and the job have ended since */
    if (entry && !withdrawn) {
        alter->running = entry;
        return JOBQ_OK;
    }
    if (withdrawn) {
        int rc = jobq__tx_unclaim(tx, entry);
        if (rc != JOBQ_OK) return rc;
    }
    return jobq__alter_row(tx, alter->id, row);
}

/* The wish is written down: it outlives the process. A second one changes nothing. */
static int jobq__alter_wish(struct jobq__tx *tx, const struct jobq__entry *running) {
    int changed, rc;
    if (jobq__os_load(&running->cancel)) return JOBQ_OK;
    rc = jobq__store_wish(tx->db, running->row.id, running->row.runs, &changed);
    return rc == JOBQ_OK && !changed ? JOBQ_NOT_FOUND : rc;
}

JOBQ__INTERNAL int jobq__alter_cancel(struct jobq__tx *tx, struct jobq__request *r) {
    struct jobq__alter *alter = r->arg;
    struct jobq__row row;
    int rc = jobq__alter_reach(tx, alter, &row);
    if (rc != JOBQ_OK) return rc;
    if (alter->running) return jobq__alter_wish(tx, alter->running);
    if (jobq__state_terminal(row.state))
        return jobq__alter_bad_state(tx, &row, "; what has ended is not cancelled", r->err);
    return jobq__tx_end(tx, &row, JOBQ__CANCELLED, NULL, JOBQ_OUTCOME_NONE);
}

JOBQ__INTERNAL void jobq__alter_cancelled(jobq *q, struct jobq__request *r) {
    struct jobq__alter *alter = r->arg;
    int i;
    if (!alter->running) return;
    jobq__os_store(&alter->running->cancel, 1);
    jobq__os_lock(&q->pool.mu);
    for (i = 0; i < q->pool.crew.count; i++)
        if (q->pool.crew.workers[i].run.entry == alter->running)
            jobq__wake_stop(&q->pool.crew.workers[i].run, JOBQ__STOP_ASKED);
    jobq__os_unlock(&q->pool.mu);
}

/* A job that has ended gave its key away, and another has it. */
static int jobq__alter_key_gone(struct jobq__tx *tx, const struct jobq__row *row, jobq_error *err) {
    int64_t holder;
    int rc = jobq__store_key_holder(tx->db, row->kind, row->id, &holder);
    if (rc != JOBQ_OK) return rc;
    rc = jobq__err_set(err, JOBQ_EXISTS, "job %lld has this job's key now; job %lld can run again"
                       " when that one has ended", (long long)holder, (long long)row->id);
    jobq__err_id(err, holder);
    return rc;
}

/* A job that cannot be tried again now says why. */
static int jobq__alter_may_retry(struct jobq__tx *tx, const struct jobq__row *row,
                                 jobq_error *err) {
    /* Its time may have come, and nobody has looked yet. */
    bool due = jobq__stored_stand(row->lane) != JOBQ__STANDS_TILL_DUE || jobq__tx_is_due(tx, row);
    bool taken = false;
    int rc = JOBQ_OK;
    if (row->state == JOBQ__DONE)
        return jobq__alter_bad_state(tx, row, "; to do it again store another", err);
    if (row->state == JOBQ__CLAIMED || (row->state == JOBQ__WAITING && due))
        return jobq__alter_bad_state(tx, row, "", err);
    if (jobq__state_terminal(row->state) && (row->side & JOBQ__SIDE_KEY))
        rc = jobq__store_key_again(tx->db, row->kind, row->id, &taken);
    return taken ? jobq__alter_key_gone(tx, row, err) : rc;
}

JOBQ__INTERNAL int jobq__alter_retry(struct jobq__tx *tx, struct jobq__request *r) {
    const struct jobq__alter *alter = r->arg;
    struct jobq__edge edge;
    struct jobq__row row;
    int rc = jobq__alter_row(tx, alter->id, &row);
    if (rc == JOBQ_OK) rc = jobq__alter_may_retry(tx, &row, r->err);
    if (rc == JOBQ_OK && !jobq__tx_handled(tx, row.kind)) rc = jobq__tx_know(tx, row.kind);
    if (rc != JOBQ_OK) return rc;
    jobq__door_begin(&edge, &row, JOBQ__WAITING);
    edge.now.run_at_ms = tx->now_ms;
    edge.now.lane = JOBQ__LANE_SCHEDULED;
    edge.now.attempt = edge.attempt = 1;
    edge.now.crashes = 0;
    edge.now.delay_ms = 0;
    edge.new_round = edge.tells = true;
    return jobq__tx_wait(tx, &edge);
}

JOBQ__INTERNAL int jobq__alter_delete(struct jobq__tx *tx, struct jobq__request *r) {
    struct jobq__alter *alter = r->arg;
    char job[JOBQ_NAME_MAX + 64];
    struct jobq__edge edge;
    struct jobq__row row;
    int rc = jobq__alter_reach(tx, alter, &row);
    if (rc != JOBQ_OK) return rc;
    if (alter->running) {
        jobq__alter_call(tx, &alter->running->row, job, sizeof job);
        return jobq__err_set(r->err, JOBQ_BUSY, "%s is running; cancel it (jobq_cancel), and"
                             " delete it when it has ended", job);
    }
    jobq__door_begin(&edge, &row, JOBQ__GONE);
    return jobq__door_pass(tx, &edge);
}

/* Who waits for a job that is gone need not wait longer. */
JOBQ__INTERNAL void jobq__alter_deleted(jobq *q, struct jobq__request *r) {
    const struct jobq__alter *alter = r->arg;
    struct jobq__link *link;
    jobq__os_lock(&q->pool.mu);
    for (link = q->pool.waiters.next; link != &q->pool.waiters; link = link->next) {
        struct jobq__waiter *waiter = JOBQ__CONTAINER(link, struct jobq__waiter, link);
        if (waiter->id != alter->id || waiter->done || waiter->ended) continue;
        waiter->done = waiter->ended = true;
        waiter->info.state = JOBQ_STATE_NONE;
        jobq__wake_waiter(q, waiter);
    }
    jobq__os_unlock(&q->pool.mu);
}

/*==== commit.h ====*/
/* commit.h - one transaction for a group: who leads it, and what a failure takes along. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/commit.h"
#endif
#ifndef JOBQ__COMMIT_H
#define JOBQ__COMMIT_H

/* #include "baton.h" */
/* #include "log.h" */
/* #include "tx.h" */

/* Design note.
 *
 * Who gets the baton by a request (baton.h) commits at once, on its own thread, for itself and for
 * everybody who stands in line: it leads one group, hands the baton on, and only then wakes its
 * followers, outside all locks. Workers and the scheduler lead a group without a request of their
 * own, for the outcomes that wait.
 *
 * A leader takes the file first (BEGIN IMMEDIATE), and only then the requests: so while another
 * connection writes they stay in the line, and each leaves it when its own time is over.
 *
 * One group, and who performs the steps:
 *
 *   begin       commit_begin      the file is taken; JOBQ__TAKEN: it was not, nothing has happened
 *   collect     baton_collect     each request of the group gets its rc, whatever comes
 *   transact    commit_transact   outcomes, requests, claims, COMMIT (tx.h), or all of it undone
 *   applied     tx_applied        caches, counters and ring change; then each request's after
 *   again       commit_again      the failure path, see below
 *   log, room   log_mind, commit_relieve
 *   pass on     baton_pass
 *
 * Failure path: lost before COMMIT, a group is repeated once without the stores (commit_again), so
 * that outcomes and claims survive somebody's bad row or a full disk; the stores are then tried one
 * by one, each failing with its own code (commit_stores_alone). If COMMIT itself reports an error
 * (other than BUSY), the group may or may not be on the disk: a small synced commit scrubs it (it
 * overwrites the frames in doubt), and then nothing of it has happened (commit_certain). If that
 * fails too the stores are JOBQ_UNKNOWN and the queue stops for good; the next open settles it. On
 * a full disk room is made first (commit_make_room), and a transaction takes no more outcomes than
 * then fit.
 *
 * Invariants:
 *   - Nothing of the queue in memory changes before COMMIT has succeeded.
 *   - A request's rc is JOBQ_OK exactly if what it wrote is committed; only JOBQ_UNKNOWN leaves
 *     that open.
 *   - COMMIT is reached from commit_transact, commit_scrub_once, commit_bare_once and
 *     commit_job_end only.
 *
 * May touch what the baton guards, and pool.mu for a moment; called from api, run, pool and
 * scheduler. */

/* Has the request written by some group and returns its code. Blocks for that commit; JOBQ_BUSY
 * when others have had the file for busy_ms meanwhile, or for *left_us, of which is taken what they
 * had of it. */
JOBQ__INTERNAL int jobq__commit_request(jobq *q, struct jobq__request *request);
/* The same, but JOBQ_BUSY after wait_us of real time, whoever was in the way. */
JOBQ__INTERNAL int jobq__commit_request_within(jobq *q, struct jobq__request *request,
                                               int64_t wait_us);

/* A group without a request of one's own: settle and claim what there is. By busy_ms, too. */
JOBQ__INTERNAL int jobq__commit_now(jobq *q);

/* For who puts a damaged file right, with the baton, also when that damage has stopped the queue:
 * only what the request writes is committed, nothing is settled, promoted or claimed, for the rest
 * of the file may stand in the way of that. Its after is not called. JOBQ_BUSY: others had the file
 * until its until_us. */
JOBQ__INTERNAL int jobq__commit_bare(jobq *q, struct jobq__request *request);

/* For workers and the scheduler, who wait for nobody, with the baton: leads one group and hands it
 * on. If another connection has the file nothing happens, and the pool comes again soon. */
JOBQ__INTERNAL void jobq__commit_lead(jobq *q);

/* Ends the job's transaction and hands the baton on. If what the handler wrote is to be kept it is
 * committed with the entry's verdict; otherwise, and on failure, nothing is kept and the entry is
 * still the caller's. JOBQ_MISUSE if the transaction had been ended behind jobq's back; else *why
 * has the reason, and JOBQ__REFUSED says that it is what the handler wrote. */
JOBQ__INTERNAL int jobq__commit_job(jobq *q, struct jobq__entry *entry, bool keep,
                                    jobq_error *why);

/* With the baton held: may anything be written at all? If not, the queue stops. */
JOBQ__INTERNAL int jobq__commit_look(jobq *q, int64_t now_us);

/* Writes one request inside the job's transaction; the holder calls it. */
JOBQ__INTERNAL int jobq__commit_join(struct jobq__tx *tx, struct jobq__request *request);


#endif

/*==== commit.c ====*/
/* commit.c - one transaction for a group: who leads it, and what a failure takes along. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/commit.c"
#endif
/* #include "commit.h" */
/* #include "door.h" */

/* ---- One transaction ---- */

static int jobq__commit_sqlite(struct jobq__tx *tx, struct jobq__request *r, int rc) {
    jobq *q = tx->q;
    if (rc == JOBQ_OK || !r->err || r->err->code == rc) return rc;
    if (jobq__store_said(tx->db, rc)) return jobq__store_fail(tx->db, r->err);
    return jobq__fail_say(q, rc, r->err);
}

/* Tries a request. *lost: it failed, and what it had written cannot be undone by itself. */
static int jobq__commit_write_once(struct jobq__tx *tx, struct jobq__request *r, bool *lost) {
    jobq__store *db = tx->db;
    struct jobq__tx_mark mark;
    int64_t changes = jobq__store_changes(db);
    int rc;
    jobq__tx_mark(tx, &mark);
    rc = r->atomic ? jobq__store_save(db) : JOBQ_OK;
    if (rc == JOBQ_OK) rc = r->write(tx, r);
    if (rc != JOBQ_OK && r->atomic && jobq__store_in_transaction(db)) {
        int undo = jobq__store_undo(db);
        *lost = undo != JOBQ_OK;
        if (*lost && rc == JOBQ__AGAIN) rc = undo;
    } else if (rc != JOBQ_OK)
        *lost = !jobq__store_in_transaction(db) || jobq__store_changes(db) != changes;
    if (rc != JOBQ_OK) jobq__tx_undo(tx, &mark);
    if (r->atomic && jobq__store_in_transaction(db)) jobq__store_keep(db);
    *lost = *lost || !jobq__store_in_transaction(db);
    return rc;
}

/* Writes one request; what goes wrong with it alone is undone alone. Returns an error only if the
 * whole transaction is lost. */
static int jobq__commit_write(struct jobq__tx *tx, struct jobq__request *r) {
    jobq *q = tx->q;
    int rc, tries = 0;
    bool lost = false;
    if (r->adds) {
        int level = q->disk.level;
        r->rc = jobq__disk_admit(q, r->adds, r->largest, r->err);
        if (q->disk.level != level) jobq__tx_roomy(tx);
        if (r->rc != JOBQ_OK) return JOBQ_OK;
        tx->grows = jobq__add(tx->grows, r->adds);
    }
    do {
        rc = jobq__commit_write_once(tx, r, &lost);
        if (rc != JOBQ__AGAIN) break;
        /* A client has stored jobs meanwhile: take ids above theirs. */
        rc = jobq__store_max_id(tx->db, &tx->last_id);
        q->last_id = JOBQ__MAX(q->last_id, tx->last_id);
        q->uncounted.whole = false; /* not with theirs */
        if (rc == JOBQ_OK) rc = JOBQ__AGAIN;
        lost = lost || !jobq__store_in_transaction(tx->db);
    } while (rc == JOBQ__AGAIN && !lost && tries++ < 2);
    if (rc == JOBQ__AGAIN && lost && !r->atomic) {
        /* All of it is written once more, and this so that from now on it is undone alone. */
        r->atomic = true;
        return rc;
    }
    if (rc == JOBQ__AGAIN)
        rc = jobq__store_damaged(tx->db, JOBQ__DAMAGE_ID, tx->last_id + 1);
    /* A damaged file stops the queue, whoever finds out. */
    if (rc != JOBQ_OK && (lost || rc == JOBQ_CORRUPT)) return rc;
    r->rc = jobq__commit_sqlite(tx, r, rc);
    return JOBQ_OK;
}

/* What a transaction is made of, besides outcomes and claims. */
enum jobq__commit_part { JOBQ__COMMIT_ALL, JOBQ__COMMIT_NO_STORES, JOBQ__COMMIT_ONE };

static int jobq__commit_body(struct jobq__tx *tx, struct jobq__request *list,
                             enum jobq__commit_part part) {
    jobq *q = tx->q;
    struct jobq__request *r;
    /* What others have stored may be gone again, and nothing be in the way of its id. The owner
     * sees each job before it goes. */
    int rc = q->client ? jobq__store_max_id(tx->db, &tx->last_id) : JOBQ_OK;
    if (rc == JOBQ_OK) rc = jobq__tx_settle(tx);
    for (r = list; r && rc == JOBQ_OK && part != JOBQ__COMMIT_NO_STORES; r = r->next) {
        if (r->write) rc = jobq__commit_write(tx, r);
        if (part == JOBQ__COMMIT_ONE) break;
    }
    return rc == JOBQ_OK ? jobq__tx_fill(tx) : rc;
}

/* BEGIN; sync: the transaction is to be synced although the queue is RELAXED, which SQLite has to
 * be told before. */
static int jobq__commit_begin(jobq *q, bool sync, bool insist) {
    int rc = JOBQ_OK;
    /* A job's transaction that could not be ended for want of memory would be in the way. */
    if (jobq__store_is_open(&q->job)) jobq__store_rollback(&q->job);
    if (sync) rc = jobq__store_sync_all(&q->writer, true);
    if (rc == JOBQ_OK) rc = jobq__turn_begin(q, &q->writer, insist);
    if (rc == JOBQ_OK) jobq__disk_begin(q);
    if (rc == JOBQ__TAKEN) jobq__disk_end(q);
    return rc;
}

/* From there to COMMIT, or back, with a tx that is woken or reset. *ended: the failure came at
 * COMMIT. */
static int jobq__commit_transact(struct jobq__tx *tx, struct jobq__request *list,
                                 enum jobq__commit_part part, bool *ended) {
    jobq *q = tx->q;
    int rc;
    *ended = false;
    rc = jobq__commit_body(tx, list, part);
    if (rc == JOBQ_OK) rc = jobq__disk_hold_back(tx);
    if (rc == JOBQ_OK) {
        jobq__event_commit(&q->events, true);
        *ended = true;
        rc = jobq__store_commit(tx->db);
    }
    if (rc != JOBQ_OK) {
        jobq__event_commit(&q->events, false);
        jobq__store_rollback(tx->db);
        q->look_lanes = true;
    }
    return rc;
}

/* Both, once more; and again as long as somebody says so, which each request and the outcomes do
 * once at most. */
static int jobq__commit_attempt(struct jobq__tx *tx, struct jobq__request *list,
                                enum jobq__commit_part part, bool sync, bool *ended) {
    jobq *q = tx->q;
    int rc;
    *ended = false;
    do {
        rc = jobq__commit_begin(q, sync, true);
        if (rc != JOBQ_OK) break;
        jobq__tx_reset(tx);
        rc = jobq__commit_transact(tx, list, part, ended);
    } while (rc == JOBQ__AGAIN);
    if (sync) jobq__store_sync_all(&q->writer, false);
    return rc;
}

/* A transaction whose COMMIT failed may still be in the log, to come back after a crash. A synced
 * commit of something else takes its place. */
static int jobq__commit_scrub_once(jobq *q, void *until_us) {
    int rc = jobq__store_sync_all(&q->writer, true);
    if (rc == JOBQ_OK) rc = jobq__turn_begin_within(q, &q->writer, *(int64_t *)until_us);
    if (rc == JOBQ_OK) rc = jobq__store_sync(&q->writer);
    if (rc == JOBQ_OK) rc = jobq__store_commit(&q->writer);
    if (rc != JOBQ_OK) jobq__store_rollback(&q->writer);
    if (q->options.durability == JOBQ_RELAXED) jobq__store_sync_all(&q->writer, false);
    return rc;
}

/* What has to be known for certain. Others may have all of the memory just now; to be certain is
 * worth a wait. */
static int jobq__commit_insist(jobq *q, int (*once)(jobq *q, void *arg), void *arg) {
    int64_t pause_us = 0, now_us;
    int tries = 0, rc;
    while ((rc = once(q, arg)) == JOBQ_NO_MEMORY && ++tries < JOBQ__SCRUB_TRIES) {
        now_us = jobq__clock_mono_us();
        jobq__turn_pause(q, &pause_us, now_us, jobq__add(now_us, JOBQ__TURN_PAUSE_MAX_US));
    }
    return rc;
}

/* Others may have the file, and for longer than busy_ms allows. */
static int jobq__commit_scrub(jobq *q) {
    int64_t wait_us = JOBQ__MAX(q->baton.busy_us, JOBQ__SCRUB_US);
    int64_t until_us = jobq__add(jobq__clock_mono_us(), wait_us);
    return jobq__commit_insist(q, jobq__commit_scrub_once, &until_us);
}

/* ---- One group ---- */

static void jobq__commit_all(struct jobq__request *list, int rc, jobq *q) {
    for (; list; list = list->next) list->rc = jobq__commit_sqlite(&q->tx, list, rc);
}

static void jobq__commit_after(jobq *q, struct jobq__request *list,
                               enum jobq__commit_part part) {
    for (; list; list = list->next) {
        if (list->after && list->rc == JOBQ_OK) list->after(q, list);
        if (part == JOBQ__COMMIT_ONE) break;
    }
}

/* After a failure of db's: true if it is certain that nothing has happened, else the queue stops.
 * At COMMIT any error but BUSY may have come after the frame that commits. If on a full disk not
 * even the scrub can be written, then the transaction's first frame could not either. */
static bool jobq__commit_certain(jobq *q, const jobq__store *db, int rc, bool ended) {
    struct jobq__fault why = jobq__store_reason(db); /* before the scrub fails, too */
    int scrub;
    if (!ended || rc == JOBQ_BUSY) return true;
    jobq__owner_doubts(&q->owner, rc != JOBQ_FULL);
    scrub = jobq__commit_scrub(q);
    if (scrub == JOBQ_OK) jobq__owner_doubts(&q->owner, false);
    if (scrub == JOBQ_OK || (rc == JOBQ_FULL && scrub == JOBQ_FULL)) return true;
    jobq__fail_latch(q, JOBQ_IO, &why);
    return false;
}

static void jobq__commit_heed(struct jobq__tx *tx, int rc) {
    jobq *q = tx->q;
    struct jobq__fault why = jobq__store_reason(tx->db);
    jobq__fail_heed(q, rc, &why);
}

/* After a failure: the queue may have to stop, and nobody tries at once again. */
static void jobq__commit_failed(jobq *q, int rc) {
    struct jobq__pool *pool = &q->pool;
    jobq__tx_failed(&q->tx);
    jobq__commit_heed(&q->tx, rc);
    jobq__os_lock(&pool->mu);
    pool->work.retry_us = JOBQ__MIN(JOBQ__MAX(pool->work.retry_us * 2, JOBQ__RETRY_MIN_US),
                                    JOBQ__RETRY_MAX_US);
    pool->work.retry_at_us = jobq__clock_mono_us() + pool->work.retry_us;
    pool->work.left = true;
    jobq__os_unlock(&pool->mu);
    jobq__wake_scheduler(q);
}

static void jobq__commit_stores_alone(jobq *q, struct jobq__request *list,
                                      struct jobq__wakes *wakes) {
    bool ended;
    int rc;
    for (; list; list = list->next) {
        if (!list->write) continue;
        rc = jobq__os_load(&q->failed);
        if (rc != JOBQ_OK) {
            list->rc = jobq__commit_sqlite(&q->tx, list, rc);
            continue;
        }
        jobq__tx_open(&q->tx, &q->writer, JOBQ__TX_REQUESTS);
        rc = jobq__commit_attempt(&q->tx, list, JOBQ__COMMIT_ONE, jobq__baton_syncs(q, list),
                                  &ended);
        if (rc == JOBQ_OK) {
            jobq__tx_applied(&q->tx, wakes);
            jobq__commit_after(q, list, JOBQ__COMMIT_ONE);
            continue;
        }
        if (rc == JOBQ__TAKEN) {
            list->rc = rc;
            jobq__tx_failed(&q->tx);
            continue;
        }
        jobq__commit_heed(&q->tx, rc);
        if (!jobq__commit_certain(q, q->tx.db, rc, ended)) rc = JOBQ_UNKNOWN;
        list->rc = jobq__commit_sqlite(&q->tx, list, rc);
        jobq__tx_failed(&q->tx);
        if (rc == JOBQ_FULL && jobq__disk_full(q)) jobq__log_checkpoint(q);
    }
}

/* On a full disk: gives something up, and takes as many outcomes as then fit. False if there is
 * nothing left to give up. */
static bool jobq__commit_make_room(jobq *q) {
    if (!jobq__disk_full(q)) return false;
    jobq__tx_failed(&q->tx);
    jobq__log_copy_now(q);
    jobq__tx_open(&q->tx, &q->writer, JOBQ__TX_OUTCOMES);
    return true;
}

/* They go back to the list, and are tried when the file is free. */
static int jobq__commit_not_yet(struct jobq__request *list) {
    for (; list; list = list->next) list->rc = JOBQ__TAKEN;
    return JOBQ__TAKEN;
}

/* The stores' own trouble must not keep outcomes from the disk. */
static int jobq__commit_again(jobq *q, struct jobq__request *list, int rc, bool ended,
                              struct jobq__wakes *wakes) {
    if (rc == JOBQ__TAKEN) return jobq__commit_not_yet(list);
    if (!jobq__commit_certain(q, q->tx.db, rc, ended)) {
        jobq__commit_all(list, JOBQ_UNKNOWN, q);
        return rc;
    }
    if (rc == JOBQ_CORRUPT || rc == JOBQ_NOT_A_DB) {
        jobq__commit_all(list, rc, q);
        return rc;
    }
    do {
        if (rc == JOBQ_FULL && !jobq__commit_make_room(q)) break;
        rc = jobq__commit_attempt(&q->tx, list, JOBQ__COMMIT_NO_STORES, false, &ended);
        if (rc == JOBQ__TAKEN) return jobq__commit_not_yet(list);
        if (rc != JOBQ_OK && !jobq__commit_certain(q, q->tx.db, rc, ended)) break;
    } while (rc == JOBQ_FULL);
    if (rc != JOBQ_OK) {
        jobq__commit_all(list, rc, q);
        return rc;
    }
    jobq__tx_applied(&q->tx, wakes);
    jobq__commit_stores_alone(q, list, wakes);
    return JOBQ_OK;
}

/* A forked child may have come back from a callback. */
JOBQ__INTERNAL int jobq__commit_look(jobq *q, int64_t now_us) {
    int rc = jobq__disk_look(q, now_us);
    if (rc == JOBQ_OK && jobq__owner_forked(&q->owner)) rc = JOBQ_FORKED;
    if (rc != JOBQ_OK) jobq__fail_latch(q, rc, NULL);
    return jobq__os_load(&q->failed);
}

/* A client asks the owner each time: the next owner may be another. */
static int jobq__commit_may_write(jobq *q, int64_t now_us, jobq_error *why) {
    int rc = jobq__commit_look(q, now_us);
    if (rc != JOBQ_OK) return jobq__fail_say(q, rc, why);
    return q->client ? jobq__owner_allows(&q->owner, q->unsafe, why) : rc;
}

/* ---- Room for new work ---- */

static int jobq__commit_write_relief(struct jobq__tx *tx, struct jobq__request *r) {
    return jobq__door_prune_done(tx, jobq__disk_batch(tx->q, JOBQ__PRUNE_ROWS), r->arg);
}

/* New work was refused on a full disk: the oldest jobs that are done go, a slice of them at a time,
 * so that there is room for the next. */
static void jobq__commit_relieve(jobq *q, struct jobq__wakes *wakes) {
    struct jobq__request request;
    int count = 0, dropped = 0;
    if (!q->disk.refused) return;
    memset(&request, 0, sizeof request);
    request.write = jobq__commit_write_relief;
    request.arg = &count;
    while (dropped < JOBQ__PRUNE_ROWS && jobq__disk_presses(q)) {
        count = 0;
        jobq__commit_stores_alone(q, &request, wakes);
        jobq__log_checkpoint(q);
        if (request.rc != JOBQ_OK || !count) break;
        dropped += count;
    }
    q->disk.refused = 0;
}

/* ---- Leading ---- */

/* JOBQ__TAKEN with *list NULL: another connection has the file. */
static int jobq__commit_group(jobq *q, int64_t now_us, bool insist, struct jobq__request **list,
                              struct jobq__wakes *wakes) {
    bool ended, sync = jobq__baton_first_syncs(q);
    struct jobq__request *r;
    jobq_error why;
    int rc = jobq__commit_may_write(q, now_us, &why);
    if (rc != JOBQ_OK) {
        *list = jobq__baton_collect(q, true);
        for (r = *list; r; r = r->next)
            if (r->err) *r->err = why;
        jobq__commit_all(*list, rc, q);
        return rc;
    }
    rc = jobq__commit_begin(q, sync, insist);
    if (rc == JOBQ_OK) {
        *list = jobq__baton_collect(q, sync);
        for (r = *list; r; r = r->next) r->rc = JOBQ_OK;
        jobq__tx_open(&q->tx, &q->writer, JOBQ__TX_OUTCOMES);
        rc = jobq__commit_transact(&q->tx, *list, JOBQ__COMMIT_ALL, &ended);
        if (rc == JOBQ__AGAIN)
            rc = jobq__commit_attempt(&q->tx, *list, JOBQ__COMMIT_ALL, sync, &ended);
        if (rc == JOBQ_OK) {
            jobq__tx_applied(&q->tx, wakes);
            jobq__commit_after(q, *list, JOBQ__COMMIT_ALL);
        } else {
            rc = jobq__commit_again(q, *list, rc, ended, wakes);
        }
        if (rc == JOBQ__TAKEN) jobq__tx_failed(&q->tx);
    } else if (rc != JOBQ__TAKEN) {
        *list = jobq__baton_collect(q, true);
        jobq__commit_all(*list, rc, q);
    }
    if (sync) jobq__store_sync_all(&q->writer, false);
    if (rc != JOBQ_OK && rc != JOBQ__TAKEN) jobq__commit_failed(q, rc);
    return rc;
}

static void jobq__commit_note_times(jobq *q, bool stores, int64_t from_us, int64_t to_us) {
    struct jobq__pool *pool = &q->pool;
    jobq__os_lock(&pool->mu);
    pool->rates.commit_us += (to_us - from_us - pool->rates.commit_us) / 8;
    if (stores) {
        pool->rates.stream = from_us - pool->rates.store_end_us < JOBQ__DEFER_US;
        pool->rates.store_end_us = to_us;
    }
    jobq__os_unlock(&pool->mu);
}

/* Leads one group and hands the baton on. JOBQ__TAKEN: another connection has the file, and if
 * there is a request of one's own that has to wait for it, one still has the baton. */
static int jobq__commit_lead_once(jobq *q, const struct jobq__request *own, bool insist) {
    struct jobq__request *list = NULL;
    struct jobq__sleepers sleepers;
    struct jobq__wakes wakes;
    int64_t from_us = jobq__clock_mono_us(), to_us;
    bool keep;
    int rc;
    wakes.count = 0;
    wakes.scheduler = wakes.loop = false;
    rc = jobq__commit_group(q, from_us, insist, &list, &wakes);
    if (rc == JOBQ__TAKEN && !list && own) return rc;
    if (rc == JOBQ__TAKEN) {
        jobq__turn_put_off(q);
    } else {
        to_us = jobq__clock_mono_us();
        jobq__commit_note_times(q, list != NULL, from_us, to_us);
        jobq__turn_end(q, from_us, to_us);
        if (jobq__log_mind(q)) wakes.scheduler = true;
        jobq__commit_relieve(q, &wakes);
    }
    keep = jobq__baton_pass(q, list, own, &sleepers);
    jobq__wake_perform(q, &wakes);
    jobq__baton_wake(q, &sleepers);
    return keep ? JOBQ__TAKEN : rc;
}

JOBQ__INTERNAL void jobq__commit_lead(jobq *q) {
    jobq__commit_lead_once(q, NULL, false);
}

/* ---- A request alone, and nothing else ---- */

static int jobq__commit_bare_once(jobq *q, struct jobq__request *r, bool *ended) {
    int rc = jobq__turn_begin_within(q, &q->writer, r->until_us);
    *ended = false;
    if (rc != JOBQ_OK) return rc;
    jobq__disk_begin(q);
    rc = r->write(&q->tx, r);
    if (rc == JOBQ_OK) rc = jobq__disk_hold_back(&q->tx);
    *ended = rc == JOBQ_OK;
    return rc == JOBQ_OK ? jobq__store_commit(&q->writer) : rc;
}

JOBQ__INTERNAL int jobq__commit_bare(jobq *q, struct jobq__request *r) {
    struct jobq__wakes wakes;
    bool ended;
    int rc = jobq__commit_look(q, jobq__clock_mono_us());
    if (rc != JOBQ_OK && rc != JOBQ_CORRUPT) return jobq__fail_say(q, rc, r->err);
    memset(&wakes, 0, sizeof wakes);
    if (jobq__store_is_open(&q->job)) jobq__store_rollback(&q->job);
    jobq__tx_open(&q->tx, &q->writer, JOBQ__TX_RECOVERY);
    rc = jobq__commit_bare_once(q, r, &ended);
    if (rc == JOBQ_OK) {
        q->look_lanes = wakes.scheduler = wakes.loop = true;
        jobq__tx_applied(&q->tx, &wakes);
    } else {
        if (rc == JOBQ_BUSY) jobq__turn_busy(q, "nothing was repaired", r->err);
        else jobq__store_fail(&q->writer, r->err);
        jobq__store_rollback(&q->writer);
        if (!jobq__commit_certain(q, &q->writer, rc, ended)) rc = JOBQ_UNKNOWN;
        jobq__tx_failed(&q->tx);
    }
    if (jobq__log_mind(q)) wakes.scheduler = true;
    jobq__wake_perform(q, &wakes);
    return rc;
}

/* ---- Requests ---- */

/* For who has the baton and a request in the list: leads until that is done or its time is over. */
static int jobq__commit_lead_own(jobq *q, struct jobq__request *r) {
    int64_t pause_us = 0, now_us, until_us;
    /* The same steps are to have the same history, however long they take: who leaves the file to
     * others for a moment comes again later, but in step mode nobody says when. */
    bool last = r->once && q->step_mode;
    int rc;
    jobq__baton_line_up(r);
    while ((rc = jobq__commit_lead_once(q, r, last)) == JOBQ__TAKEN && !last && !r->once) {
        now_us = jobq__clock_mono_us();
        until_us = r->until_us ? r->until_us : jobq__baton_until(q, r, now_us);
        last = now_us >= until_us;
        if (!last) jobq__turn_pause(q, &pause_us, now_us, until_us);
    }
    if (rc != JOBQ__TAKEN) return rc;
    jobq__baton_withdraw(q, r);
    r->rc = jobq__turn_busy(q, "nothing was stored", r->err);
    jobq__baton_release(q);
    return r->rc;
}

/* In a queue that serves from step mode, or is not started, callers hear their own events, also
 * those that came while another was telling. */
static void jobq__commit_events(jobq *q) {
    bool scheduler, left = false;
    if (!q->events.call) return;
    jobq__os_lock(&q->pool.mu);
    scheduler = q->pool.sched.started;
    jobq__os_unlock(&q->pool.mu);
    if (scheduler) {
        left = jobq__event_waiting(&q->events);
    } else if (jobq__core_in_callback(q) || !jobq__core_in_handler(q)) {
        left = jobq__event_deliver(&q->events, true); /* the pool may be started meanwhile */
    }
    if (left) jobq__wake_scheduler(q);
}

static int jobq__commit_ask(jobq *q, struct jobq__request *request, bool counts,
                            int64_t wait_us) {
    request->counts = counts;
    request->wait_us = wait_us;
    if (jobq__baton_enter(q, request) == JOBQ__REQUEST_LEAD) jobq__commit_lead_own(q, request);
    jobq__commit_events(q);
    return request->rc;
}

/* Callers wait for a callback that is far behind; not those who may be waited for. */
static void jobq__commit_throttle(jobq *q) {
    if (!jobq__event_crowded(&q->events) || jobq__os_awaited() || jobq__core_in_handler(q)) return;
    jobq__event_throttle(&q->events);
}

JOBQ__INTERNAL int jobq__commit_request(jobq *q, struct jobq__request *request) {
    int64_t wait_us = request->left_us ? *request->left_us : q->baton.busy_us;
    int rc = jobq__commit_ask(q, request, true, wait_us);
    if (request->left_us) *request->left_us = jobq__baton_rest(q, request);
    jobq__commit_throttle(q);
    return rc;
}

JOBQ__INTERNAL int jobq__commit_request_within(jobq *q, struct jobq__request *request,
                                               int64_t wait_us) {
    return jobq__commit_ask(q, request, false, wait_us);
}

JOBQ__INTERNAL int jobq__commit_now(jobq *q) {
    struct jobq__request request;
    memset(&request, 0, sizeof request);
    request.counts = true;
    request.wait_us = q->baton.busy_us;
    if (jobq__baton_enter(q, &request) == JOBQ__REQUEST_LEAD) {
        int rc = jobq__commit_lead_own(q, &request);
        if (request.rc == JOBQ_OK) request.rc = rc;
    }
    return request.rc;
}

/* ---- A job's transaction ---- */

/* Puts it among those that the transaction settles, or takes it out. */
static void jobq__commit_settles(struct jobq__tx *tx, struct jobq__entry *entry, bool settles) {
    jobq *q = tx->q;
    jobq__os_lock(&q->pool.mu);
    jobq__list_remove(&entry->link);
    if (settles) jobq__list_append(&tx->settled, &entry->link);
    jobq__os_unlock(&q->pool.mu);
}

/* For a job's message, which has no room for a path. */
static void jobq__commit_why(jobq *q, const jobq__store *job, int rc, jobq_error *why) {
    if (jobq__store_said(job, rc)) jobq__store_why(job, why);
    else jobq__fail_say(q, rc, why);
}

static const char jobq__commit_spoilt[] =
    "SQLite refuses jobq's own statements on the job's connection: a function that the handler"
    " registered there stands in the place of one of SQLite's; give it another name";

/* Who cannot tell what was committed starts nothing more. */
static void jobq__commit_blind(jobq *q) {
    struct jobq__fault why = jobq__store_reason(&q->writer);
    jobq__fail_latch(q, JOBQ_IO, &why);
}

struct jobq__commit_found {
    int64_t id;
    struct jobq__row row;
};

static int jobq__commit_find(jobq *q, void *arg) {
    struct jobq__commit_found *found = arg;
    return jobq__store_row(&q->writer, found->id, &found->row);
}

/* SQLite commits our file first. When another one of the connection, attached or temporary, then
 * fails, the job has ended all the same. */
static bool jobq__commit_has_ended(jobq *q, const struct jobq__entry *entry) {
    struct jobq__commit_found found;
    int rc;
    found.id = entry->row.id;
    rc = jobq__commit_insist(q, jobq__commit_find, &found);
    if (rc != JOBQ_OK && rc != JOBQ_NOT_FOUND) jobq__commit_blind(q);
    return rc == JOBQ_NOT_FOUND || (rc == JOBQ_OK && found.row.state != JOBQ__CLAIMED);
}

/* Ends a job's transaction: settles entry on its connection and commits what the handler wrote. */
static int jobq__commit_job_end(struct jobq__tx *tx, struct jobq__entry *entry,
                                struct jobq__wakes *wakes, jobq_error *why) {
    jobq *q = tx->q;
    jobq__store *job = tx->db;
    int rc = jobq__commit_look(q, jobq__clock_mono_us());
    if (rc == JOBQ_OK) rc = jobq__store_check_job(tx->db, why);
    if (rc != JOBQ_OK) return rc;
    jobq__tx_at(tx, jobq__core_now(q));
    jobq__commit_settles(tx, entry, true);
    rc = jobq__tx_settle(tx);
    if (rc == JOBQ_OK) rc = jobq__tx_fill(tx);
    if (rc == JOBQ_OK) rc = jobq__tx_check_undone(tx);
    if (rc == JOBQ_OK) rc = jobq__disk_hold_back(tx);
    if (rc != JOBQ_OK) return rc;
    jobq__event_commit(&q->events, true);
    rc = jobq__store_commit_job(tx->db, why);
    if (rc != JOBQ_OK) jobq__store_rollback(tx->db);
    if (rc == JOBQ_OK || (rc != JOBQ__REFUSED && jobq__commit_has_ended(q, entry))) {
        jobq__tx_applied(tx, wakes);
        return JOBQ_OK;
    }
    jobq__event_commit(&q->events, false);
    tx->db = &q->writer;
    if (rc != JOBQ__REFUSED) jobq__commit_certain(q, job, rc, true);
    return rc;
}

static int jobq__commit_check_withdrawn(jobq *q, void *arg) {
    (void)arg;
    return jobq__tx_check_withdrawn(&q->tx);
}

JOBQ__INTERNAL int jobq__commit_job(jobq *q, struct jobq__entry *entry, bool keep,
                                    jobq_error *why) {
    jobq__store *job = jobq__core_job(q);
    struct jobq__fault cause;
    struct jobq__wakes wakes;
    bool intact;
    int rc;
    wakes.count = 0;
    wakes.scheduler = wakes.loop = false;
    /* SQLite, or the handler, has ended it: whatever was written is not to be trusted. */
    intact = jobq__guard_intact(job);
    rc = intact && jobq__store_stands(job) ? JOBQ_OK : JOBQ_MISUSE;
    if (rc == JOBQ_OK && keep) {
        rc = jobq__commit_job_end(&q->tx, entry, &wakes, why);
        if (rc != JOBQ_OK && rc != JOBQ__REFUSED) jobq__commit_why(q, job, rc, why);
    }
    if (rc == JOBQ_FULL) jobq__disk_full(q);
    if (!q->memory && jobq__guard_spoilt(job, rc))
        rc = jobq__err_set(why, JOBQ__REFUSED, "%s", jobq__commit_spoilt);
    cause = jobq__store_reason(job);
    jobq__fail_heed(q, rc, &cause);
    if (rc != JOBQ_OK || !keep) {
        /* All of it: a part could be kept by a savepoint of the handler's. */
        jobq__store_rollback(job);
        jobq__commit_settles(&q->tx, entry, false);
        /* It is still claimed, and the claims row has to go on saying so. */
        jobq__tx_gone(entry, false);
        q->look_lanes = true;
        /* The handler may have committed: rows, and what was counted of them. */
        q->recount = q->recount || !intact;
        if (!intact && jobq__commit_insist(q, jobq__commit_check_withdrawn, NULL) != JOBQ_OK)
            jobq__commit_blind(q);
        jobq__tx_failed(&q->tx);
    }
    q->tx.db = &q->writer;
    jobq__core_leave_job(q);
    jobq__turn_end(q, q->turn.begun_us, jobq__clock_mono_us());
    if (jobq__log_mind(q)) wakes.scheduler = true;
    jobq__baton_release(q);
    jobq__wake_perform(q, &wakes);
    return rc;
}

JOBQ__INTERNAL int jobq__commit_join(struct jobq__tx *tx, struct jobq__request *request) {
    jobq *q = tx->q;
    int rc;
    request->rc = JOBQ_OK;
    request->atomic = true;
    jobq__guard_enter(tx->db);
    rc = jobq__tx_check_names(tx);
    if (rc == JOBQ_OK) rc = jobq__commit_write(tx, request);
    if (rc == JOBQ_OK) rc = request->rc;
    else if (!q->memory && jobq__guard_spoilt(tx->db, rc))
        rc = jobq__err_set(request->err, JOBQ_MISUSE, "%s", jobq__commit_spoilt);
    else
        rc = jobq__commit_sqlite(tx, request, rc);
    jobq__commit_heed(tx, rc);
    jobq__guard_leave(tx->db);
    return rc;
}

/*==== run.h ====*/
/* run.h - one run of one job, as its handler sees it. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/run.h"
#endif
#ifndef JOBQ__RUN_H
#define JOBQ__RUN_H

/* #include "commit.h" */

/* Design note.
 *
 * run_begin and run_end bracket a run under pool.mu; run_call is between them, outside all locks:
 *
 *   slot STARTED -> handler -> slot idle -> verdict -> (job's transaction: settled here)
 *                                                   -> (else: handed in, settled by a group)
 *
 * The verdict is a pure function of outcome, row, kind and the time at which the handler returned;
 * nothing about it is decided later but a cancel that came meanwhile (tx_settle.c). */

/* With pool.mu held: the worker has taken entry. */
JOBQ__INTERNAL void jobq__run_begin(struct jobq__worker *worker, struct jobq__entry *entry);
/* Calls the handler; true if the entry was settled by the job's own transaction. */
JOBQ__INTERNAL bool jobq__run_call(struct jobq__worker *worker);
/* With pool.mu held: the worker is free again. */
JOBQ__INTERNAL void jobq__run_end(struct jobq__worker *worker);

#endif

/*==== run.c ====*/
/* run.c - one run of one job, as its handler sees it. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/run.c"
#endif
/* #include "run.h" */

#include <stdio.h>

/* ---- Begin and end ---- */

static void jobq__run_arm(struct jobq_run *run) {
    int64_t timeout_ms = run->entry->kind->spec.timeout_ms;
    if (timeout_ms == JOBQ_NONE) return;
    run->deadline_ms = jobq__add(run->started_ms, timeout_ms);
    jobq__wheel_add(&run->q->pool.timers.wheel, &run->deadline.timer, run->deadline_ms);
}

JOBQ__INTERNAL void jobq__run_begin(struct jobq__worker *worker, struct jobq__entry *entry) {
    struct jobq_run *run = &worker->run;
    jobq *q = run->q;
    jobq__assert(jobq__os_held(&q->pool.mu));
    run->entry = entry;
    run->id = entry->row.id;
    run->started_ms = jobq__clock_mono_ms(q->clock);
    run->deadline_ms = JOBQ_NEVER;
    run->polled_ms = -1;
    if (!q->events.call) jobq__run_arm(run);
    run->detail_of = JOBQ_OUTCOME_NONE;
    run->in_tx = run->keeps = run->joined = run->no_memory = run->too_big = false;
    run->saved_read = run->info_read = false;
    run->endless = NULL;
    run->text[0] = 0;
    jobq__os_store(&run->stop, 0);
    jobq__os_store(&run->handling, 1);
    q->pool.crew.running++;
    q->pool.stats.started++;
}

JOBQ__INTERNAL void jobq__run_end(struct jobq__worker *worker) {
    struct jobq_run *run = &worker->run;
    jobq *q = run->q;
    jobq__wheel_del(&q->pool.timers.wheel, &run->deadline.timer);
    run->entry = NULL;
    run->id = 0;
    q->pool.crew.running--;
    jobq__assert(q->pool.crew.running >= 0);
}

/* ---- The verdict ---- */

static const char jobq__run_broken[] =
    "the job's transaction was ended by the handler or by SQLite, or its hooks were replaced;"
    " what was not committed by then is gone. COMMIT and ROLLBACK are jobq's: return an outcome,"
    " or use savepoints";

static void jobq__run_end_as(struct jobq__entry *entry, int state) {
    entry->verdict.state = state;
}

/* The end of a duration, by the monotonic clock; what takes no time has an end even at the last
 * moment. */
static int64_t jobq__run_after(int64_t mono_ms, int64_t delay_ms) {
    return jobq__add(JOBQ__MIN(mono_ms, JOBQ_NEVER - 1), delay_ms);
}

/* at_ms: by the wall or, if it is the end of a duration (lasts), by the monotonic clock. */
static void jobq__run_again(struct jobq__entry *entry, int attempt, int64_t at_ms, bool lasts,
                            int64_t delay_ms, struct jobq__now now) {
    entry->verdict.state = JOBQ__WAITING;
    entry->verdict.due = at_ms <= (lasts ? now.mono_ms : now.wall_ms) && at_ms != JOBQ_NEVER;
    entry->verdict.attempt = attempt;
    entry->verdict.at_ms = at_ms;
    entry->verdict.lasts = lasts;
    entry->verdict.delay_ms = delay_ms;
}

/* A run that lasted for hours was healthy: its failure begins a new series. Measured from the start
 * of the run and against the longest delay (at least an hour); against the last one, as Galoy has
 * it, a handler that times out after some seconds would begin anew for ever. */
static bool jobq__run_was_healthy(const struct jobq__entry *entry) {
    int64_t longest_ms = JOBQ__MAX(entry->row.delay_ms, entry->kind->spec.backoff_max_ms);
    longest_ms = JOBQ__MAX(longest_ms, JOBQ__BACKOFF_MAX_MS);
    return jobq__backoff_recovered(entry->row.attempt, entry->run_ms, longest_ms);
}

/* From now on the job is to blame if the process dies, unless the queue is being stopped. */
static void jobq__run_enter(struct jobq_run *run) {
    const struct jobq__row *row = &run->entry->row;
    struct jobq__owner *owner = &run->q->owner;
    run->outer = jobq__owner_started(owner, run->worker->index, row->id, row->runs);
    /* Seen here, or else the slot is seen by who stops. */
    if (jobq__os_or(&run->stop, 0) & JOBQ__STOP_SHUTDOWN)
        jobq__owner_release(owner, run->worker->index);
}

/* The application's code, as the handler is: if the process dies in it, this job is to blame. */
static int64_t jobq__run_ask_backoff(struct jobq_run *run, int attempt) {
    const struct jobq__row *row = &run->entry->row;
    const jobq_kind *spec = &run->entry->kind->spec;
    int64_t delay_ms;
    jobq__run_enter(run);
    jobq__assert(jobq__os_may_call_out());
    jobq__os_store(&run->asking, 1);
    delay_ms = spec->backoff(attempt, row->id, spec->ctx);
    jobq__os_store(&run->asking, 0);
    jobq__owner_ended(&run->q->owner, run->worker->index, run->outer);
    return delay_ms;
}

static void jobq__run_say(struct jobq_run *run, const char *text) {
    jobq__err_copy_text(run->text, sizeof run->text, text);
}

/* A number of milliseconds that nobody can have meant: it would be 24.86 days. */
static void jobq__run_say_endless(struct jobq_run *run, const char *what) {
    char text[2 * JOBQ_TEXT_MAX];
    snprintf(text, sizeof text, "%s JOBQ_UNLIMITED, which is for counts; a duration without end is"
             " JOBQ_NEVER%s%s", what, run->text[0] ? "; and the handler: " : "", run->text);
    jobq__run_say(run, text);
}

/* Order after Galoy: maybe reset the counter, then count, then the delay of this attempt. */
static void jobq__run_failed(struct jobq_run *run, struct jobq__now now) {
    struct jobq__entry *entry = run->entry;
    const jobq_kind *spec = &entry->kind->spec;
    const struct jobq__row *row = &entry->row;
    struct jobq__backoff backoff = {spec->backoff_min_ms, spec->backoff_max_ms,
                                    spec->jitter_percent};
    int attempt = row->attempt;
    int64_t delay_ms = 0;
    if (jobq__run_was_healthy(entry)) attempt = 1;
    if (spec->attempts_max != JOBQ_UNLIMITED && attempt >= spec->attempts_max) {
        jobq__run_end_as(entry, JOBQ__FAILED);
        return;
    }
    if (spec->backoff) delay_ms = jobq__run_ask_backoff(run, attempt);
    if (delay_ms == JOBQ_UNLIMITED) jobq__run_say_endless(run, "the kind's backoff returned");
    if (!spec->backoff || delay_ms == JOBQ_UNLIMITED)
        delay_ms = jobq__backoff_delay(&backoff, attempt, run->q->options.seed, row->id, row->runs);
    if (delay_ms < 0) jobq__run_end_as(entry, JOBQ__FAILED);
    else jobq__run_again(entry, attempt < INT32_MAX ? attempt + 1 : attempt,
                         jobq__run_after(now.mono_ms, delay_ms), true, delay_ms, now);
}

static void jobq__run_decide(struct jobq_run *run, jobq_outcome outcome, struct jobq__now now) {
    struct jobq__entry *entry = run->entry;
    const struct jobq__row *row = &entry->row;
    /* Without a time: not at once, or a handler that says no more than that would spin. */
    bool bare = run->detail_of != outcome, lasts = bare || run->lasts;
    int64_t at_ms = run->at_ms;
    if (bare) at_ms = jobq__run_after(now.mono_ms, entry->kind->spec.backoff_min_ms);
    entry->verdict.outcome = outcome;
    entry->verdict.crashes = row->crashes;
    switch (outcome) {
    case JOBQ_DONE:
        jobq__run_end_as(entry, JOBQ__DONE);
        break;
    case JOBQ_FAIL:
        jobq__run_end_as(entry, JOBQ__FAILED);
        break;
    case JOBQ_CANCELLED:
        jobq__run_end_as(entry, JOBQ__CANCELLED);
        break;
    case JOBQ_SNOOZE:
    case JOBQ_STOPPED:
        jobq__run_again(entry, row->attempt, at_ms, lasts, row->delay_ms, now);
        break;
    case JOBQ_RESCHEDULE:
        entry->verdict.crashes = 0;
        jobq__run_again(entry, 1, at_ms, lasts, 0, now);
        break;
    default:
        jobq__run_failed(run, now);
    }
}

static void jobq__run_no_outcome(struct jobq_run *run, jobq_outcome outcome) {
    const char *name = jobq_code_name((int)outcome);
    char text[JOBQ_TEXT_MAX + 1], meant[100] = "";
    if (strncmp(name, "JOBQ_?", 6) != 0)
        snprintf(meant, sizeof meant, " (that is %s; %s)", name,
                 outcome ? "what is to be tried again returns jobq_retry"
                         : "what is done returns JOBQ_DONE");
    snprintf(text, sizeof text, "the handler returned a value that is no outcome of a run: %d%s",
             (int)outcome, meant);
    jobq__run_say(run, text);
}

static bool jobq__run_is_late(const struct jobq_run *run) {
    return run->deadline_ms != JOBQ_NEVER
        && jobq__add(run->started_ms, run->entry->run_ms) >= run->deadline_ms;
}

/* What the handler returned, made sense of. */
static jobq_outcome jobq__run_interpret(struct jobq_run *run, jobq_outcome outcome,
                                        int64_t now_ms) {
    /* It gave up because it was asked to, and cannot know that it was no cancel: of one that was,
     * a retry makes a job that is cancelled. */
    if (outcome == JOBQ_CANCELLED && (jobq__os_load(&run->stop) || jobq__run_is_late(run)))
        outcome = JOBQ_RETRY;
    if (outcome == JOBQ_RETRY && (jobq__os_load(&run->stop) & JOBQ__STOP_SHUTDOWN)) {
        /* Interrupted by a stop: not a failure, and its time had come, even if the wall was set
         * back since. */
        run->detail_of = JOBQ_STOPPED;
        run->at_ms = JOBQ__MIN(run->entry->row.run_at_ms, now_ms);
        run->lasts = false;
        return JOBQ_STOPPED;
    }
    if (outcome == JOBQ_DONE && run->too_big && run->detail_of == JOBQ_FAIL) return JOBQ_FAIL;
    if (run->detail_of != outcome) run->text[0] = 0;
    if (run->endless) {
        jobq__run_say_endless(run, run->endless);
        return JOBQ_RETRY;
    }
    if (outcome == JOBQ_DONE && run->no_memory) {
        jobq__run_say(run, "there was no memory to keep the result");
        return JOBQ_RETRY;
    }
    if (outcome <= JOBQ_OUTCOME_NONE || outcome >= JOBQ_CRASHED) {
        jobq__run_no_outcome(run, outcome);
        return JOBQ_RETRY;
    }
    if (outcome == JOBQ_RETRY && !run->text[0] && jobq__run_is_late(run))
        jobq__run_say(run, "the run took longer than its timeout");
    return outcome;
}

/* Without memory the message is lost, not the outcome. */
static void jobq__run_keep_text(struct jobq_run *run) {
    struct jobq__said *said = jobq__mem_new(sizeof *said);
    if (!said) return;
    said->text = jobq__mem_copy(run->text, strlen(run->text));
    run->entry->said = said;
}

/* Moves text and result to the entry, which outlives the run. */
static void jobq__run_hand_over(struct jobq_run *run, jobq_outcome outcome) {
    struct jobq__entry *entry = run->entry;
    jobq__assert(!entry->said);
    if ((outcome == JOBQ_RETRY || outcome == JOBQ_FAIL) && run->text[0]) jobq__run_keep_text(run);
    if (outcome == JOBQ_DONE && run->result && entry->kind->spec.keep_done_ms != JOBQ_NONE) {
        entry->said = run->result_said;
        run->result_said = NULL;
        entry->said->result = run->result;
        entry->said->result_size = run->result_size;
    } else {
        jobq__mem_free(run->result);
    }
    jobq__mem_free(run->result_said);
    run->result_said = NULL;
    run->result = NULL;
}

/* Tells events on the thread that runs the handler; what is left is the scheduler's. */
static void jobq__run_tell(jobq *q) {
    if (jobq__event_deliver(&q->events, q->step_mode) && !q->step_mode) jobq__wake_scheduler(q);
}

static int jobq__run_end_tx(struct jobq_run *run, bool keep, jobq_error *why) {
    jobq__os_transaction(-1);
    run->in_tx = false;
    return jobq__commit_job(run->q, run->entry, keep, why);
}

static bool jobq__run_keeps(const struct jobq_run *run, jobq_outcome outcome) {
    return outcome == JOBQ_DONE
        || (run->keeps && (outcome == JOBQ_SNOOZE || outcome == JOBQ_RESCHEDULE));
}

/* Nothing of the job's transaction is kept. Before the verdict, for backoff may write. */
static jobq_outcome jobq__run_abandon(struct jobq_run *run, jobq_outcome outcome) {
    if (jobq__run_end_tx(run, false, NULL) == JOBQ_OK) return outcome;
    jobq__run_say(run, jobq__run_broken);
    return JOBQ_RETRY;
}

static void jobq__run_not_committed(struct jobq_run *run, const char *why) {
    char words[191];
    jobq__err_copy_text(words, sizeof words, why);
    snprintf(run->text, sizeof run->text, "the job's transaction could not be committed, nothing"
             " was kept: %s", words);
}

/* The job's transaction ends with the run; false if the outcome has yet to be settled. */
static bool jobq__run_settle(struct jobq_run *run) {
    struct jobq__entry *entry = run->entry;
    jobq *q = run->q;
    struct jobq__now now;
    jobq_error why;
    int rc;
    if (run->joined) q->look_lanes = true;
    rc = jobq__run_end_tx(run, true, &why);
    if (rc == JOBQ_OK) {
        jobq__run_tell(q);
        return true;
    }
    jobq__tx_forget_said(entry);
    now = jobq__clock_read(q->clock);
    if (rc == JOBQ_MISUSE) {
        jobq__run_say(run, jobq__run_broken);
        jobq__run_decide(run, JOBQ_RETRY, now);
    } else if (rc == JOBQ__REFUSED) {
        jobq__run_not_committed(run, why.text);
        jobq__run_decide(run, JOBQ_RETRY, now);
    } else {
        /* The disk's fault, not the job's: no attempt is charged. */
        jobq__run_not_committed(run, why.text);
        run->detail_of = JOBQ_OUTCOME_NONE;
        jobq__run_decide(run, JOBQ_SNOOZE, now);
    }
    jobq__run_keep_text(run);
    return false;
}

/* Tells that it starts; the time that this takes is not the handler's. */
static void jobq__run_event(struct jobq_run *run) {
    const struct jobq__entry *entry = run->entry;
    struct jobq__told told;
    jobq_event event;
    memset(&event, 0, sizeof event);
    event.now_ms = jobq__clock_now_ms(run->q->clock);
    event.id = entry->row.id;
    event.kind = entry->kind->spec.name;
    event.queue = entry->queue ? entry->queue->text : "";
    event.key = entry->key;
    event.from = JOBQ_STATE_PENDING;
    event.to = JOBQ_STATE_RUNNING;
    event.attempt = entry->row.attempt;
    event.wait_ms = entry->wait_ms;
    jobq__event_make(&told, &event);
    jobq__event_add(&run->q->events, &told, false);
    jobq__run_tell(run->q);
    jobq__os_lock(&run->q->pool.mu);
    run->started_ms = jobq__clock_mono_ms(run->q->clock);
    jobq__run_arm(run);
    jobq__os_unlock(&run->q->pool.mu);
}

JOBQ__INTERNAL bool jobq__run_call(struct jobq__worker *worker) {
    struct jobq_run *run = &worker->run;
    struct jobq__entry *entry = run->entry;
    const jobq_kind *spec = &entry->kind->spec;
    jobq_outcome outcome;
    struct jobq__now now = {0, 0, 0};
    jobq__run_enter(run);
    entry->wait_ms = jobq__sub(run->started_ms, entry->due_ms);
    if (run->q->events.call) jobq__run_event(run);
    jobq__assert(jobq__os_may_call_out());
    outcome = spec->run(run, spec->ctx);
    jobq__os_store(&run->handling, 0);
    jobq__owner_ended(&run->q->owner, worker->index, run->outer);
    entry->run_ms = jobq__sub(jobq__clock_mono_ms(run->q->clock), run->started_ms);
    /* What is done has no next time. */
    if (outcome != JOBQ_DONE || run->no_memory || run->too_big || run->endless)
        now = jobq__clock_read(run->q->clock);
    outcome = jobq__run_interpret(run, outcome, now.wall_ms);
    if (run->in_tx && !jobq__run_keeps(run, outcome)) outcome = jobq__run_abandon(run, outcome);
    jobq__run_decide(run, outcome, now);
    jobq__run_hand_over(run, outcome);
    jobq__mem_free(run->saved);
    run->saved = NULL;
    return run->in_tx && jobq__run_settle(run);
}

/* ---- Outcomes ---- */

static void jobq__run_format(struct jobq_run *run, const char *format, va_list args) {
    char text[sizeof run->text + 1] = ""; /* one more tells whether it is cut */
    if (format) vsnprintf(text, sizeof text, format, args);
    jobq__err_copy_text(run->text, sizeof run->text, text);
}

static void jobq__run_drop_result(struct jobq_run *run) {
    jobq__mem_free(run->result);
    jobq__mem_free(run->result_said);
    run->result = NULL;
    run->result_said = NULL;
    run->result_size = 0;
    run->no_memory = run->too_big = false;
}

JOBQ_API jobq_outcome jobq_done(jobq_run *run, const void *result, size_t size) {
    jobq__run_drop_result(run);
    if (!result) size = 0;
    run->too_big = size > (size_t)run->q->options.payload_max;
    if (run->too_big)
        return jobq_fail(run, "the result of %llu bytes is larger than payload_max",
                         (unsigned long long)size);
    if (result) {
        run->result = jobq__mem_copy(result, size);
        run->result_said = jobq__mem_new(sizeof *run->result_said);
        run->result_size = size;
        run->no_memory = !run->result || !run->result_said;
    }
    return run->detail_of = JOBQ_DONE;
}

JOBQ_API jobq_outcome jobq_retry(jobq_run *run, const char *format, ...) {
    va_list args;
    va_start(args, format);
    jobq__run_format(run, format, args);
    va_end(args);
    return run->detail_of = JOBQ_RETRY;
}

JOBQ_API jobq_outcome jobq_fail(jobq_run *run, const char *format, ...) {
    va_list args;
    va_start(args, format);
    jobq__run_format(run, format, args);
    va_end(args);
    return run->detail_of = JOBQ_FAIL;
}

JOBQ_API jobq_outcome jobq_reschedule_at(jobq_run *run, int64_t at_ms) {
    run->at_ms = JOBQ__MAX(at_ms, 0);
    run->lasts = false;
    return run->detail_of = JOBQ_RESCHEDULE;
}

static void jobq__run_set_delay(struct jobq_run *run, int64_t delay_ms) {
    run->at_ms = jobq__run_after(jobq__clock_mono_ms(run->q->clock), JOBQ__MAX(delay_ms, 0));
    run->lasts = true;
}

JOBQ_API jobq_outcome jobq_reschedule_in(jobq_run *run, int64_t delay_ms) {
    if (delay_ms == JOBQ_UNLIMITED) run->endless = "jobq_reschedule_in was given";
    jobq__run_set_delay(run, delay_ms);
    return run->detail_of = JOBQ_RESCHEDULE;
}

JOBQ_API jobq_outcome jobq_snooze(jobq_run *run, int64_t delay_ms) {
    if (delay_ms == JOBQ_UNLIMITED) run->endless = "jobq_snooze was given";
    jobq__run_set_delay(run, delay_ms);
    return run->detail_of = JOBQ_SNOOZE;
}

/* ---- What the handler can know ---- */

/* In a forked child nobody is left who could stop, wake or settle the run. */
static bool jobq__run_forked(const struct jobq_run *run) {
    return jobq__owner_forked(&run->q->owner);
}

static bool jobq__run_runs(void *ctx, int64_t id) {
    (void)ctx;
    (void)id;
    return true;
}

/* For reading what stands beside the job's row, until jobq__run_looked. A memory database has one
 * connection, so looking needs the baton there. */
static int jobq__run_look(struct jobq_run *run, struct jobq__look *look) {
    jobq *q = run->q;
    look->db = q->memory ? &q->writer : &q->reader;
    look->now = jobq__core_now(q);
    look->runs = jobq__run_runs;
    look->ctx = NULL;
    if (jobq__core_in_connect(q)) return JOBQ_MISUSE;
    if (q->memory && !run->in_tx) return jobq__baton_hold_within(q, INT64_MAX);
    if (q->memory) jobq__guard_enter(look->db);
    else jobq__core_lock_reader(q);
    return JOBQ_OK;
}

static void jobq__run_looked(struct jobq_run *run, const struct jobq__look *look, int rc) {
    struct jobq__fault why = jobq__store_reason(look->db);
    if (!run->q->memory) jobq__os_unlock(&run->q->reader_mu);
    else if (run->in_tx) jobq__guard_leave(&run->q->writer);
    else jobq__baton_release(run->q);
    jobq__fail_heed(run->q, rc, &why);
}

JOBQ_API int64_t jobq_run_id(const jobq_run *run) {
    return run->entry->row.id;
}

JOBQ_API jobq *jobq_run_handle(const jobq_run *run) {
    return run->q;
}

JOBQ_API const char *jobq_run_kind(const jobq_run *run) {
    return run->entry->kind->spec.name;
}

JOBQ_API int jobq_run_attempt(const jobq_run *run) {
    return run->entry->row.attempt;
}

JOBQ_API int jobq_run_crashes(const jobq_run *run) {
    return run->entry->row.crashes;
}

JOBQ_API const void *jobq_run_payload(const jobq_run *run, size_t *size) {
    if (size) *size = run->entry->row.size;
    return run->entry->row.payload;
}

JOBQ_API int64_t jobq_run_deadline(const jobq_run *run) {
    return jobq__clock_on_wall(jobq__clock_read(run->q->clock), run->deadline_ms);
}

/* What stands beside the row; most jobs have nothing there, and then nothing is read. */
static int jobq__run_read_info(jobq_run *run, jobq_info *info) {
    const struct jobq__entry *entry = run->entry;
    bool suspect = entry->lane == run->q->suspects;
    struct jobq__look look;
    bool claimed;
    int rc;
    if (!suspect) jobq__err_copy_text(info->queue, sizeof info->queue, entry->lane->text);
    if (!suspect && !entry->row.side) return JOBQ_OK;
    rc = jobq__run_look(run, &look);
    if (rc != JOBQ_OK) return rc;
    rc = jobq__store_info(&look, entry->row.id, info, &claimed);
    jobq__run_looked(run, &look, rc);
    return rc;
}

JOBQ_API const jobq_info *jobq_run_info(const jobq_run *run) {
    struct jobq_run *own = &run->worker->run; /* the same one */
    const struct jobq__row *row = &run->entry->row;
    jobq_info *info = &own->info;
    if (jobq__run_forked(run)) return NULL;
    if (!run->info_read) {
        memset(info, 0, sizeof *info);
        if (jobq__run_read_info(own, info) != JOBQ_OK) return NULL;
        own->info_read = true;
    }
    info->id = row->id;
    info->state = JOBQ_STATE_RUNNING;
    jobq__err_copy_text(info->kind, sizeof info->kind, run->entry->kind->spec.name);
    info->priority = row->priority;
    info->attempt = row->attempt;
    info->runs = row->runs;
    info->crashes = row->crashes;
    info->created_at_ms = row->created_at_ms;
    info->run_at_ms = row->run_at_ms;
    info->payload_size = row->size;
    return info;
}

static void jobq__run_fire_deadline(struct jobq_run *run) {
    struct jobq__pool *pool = &run->q->pool;
    jobq__clock_move(run->q->clock, run->deadline_ms);
    jobq__os_lock(&pool->mu);
    if (jobq__timer_pending(&run->deadline.timer)) pool->timers.fired++;
    jobq__wheel_del(&pool->timers.wheel, &run->deadline.timer);
    jobq__os_unlock(&pool->mu);
}

/* In step mode the handler has the thread that moves the clock. If that is to go beyond the
 * deadline, a handler that keeps looking at its flag is taken to wait for it. That its thread got
 * no time to run says nothing, so little of each pause counts. */
static bool jobq__run_awaits_deadline(struct jobq_run *run, int64_t now_ms) {
    int64_t now_us, pause_us, patient_us = 0;
    bool again = jobq__os_load64(&run->polled_ms) == now_ms;
    if (run->deadline_ms > jobq__os_load64(&run->q->pool.step.to_ms)) return false;
    now_us = jobq__clock_mono_us();
    pause_us = jobq__min(now_us - jobq__os_load64(&run->polled_us), JOBQ__PATIENCE_LOOK_US);
    if (again) patient_us = jobq__os_load64(&run->patient_us) + JOBQ__MAX(pause_us, 0);
    jobq__os_store64(&run->patient_us, patient_us);
    jobq__os_store64(&run->polled_us, now_us);
    jobq__os_store64(&run->polled_ms, now_ms);
    if (patient_us < JOBQ__PATIENCE_US) return false;
    jobq__run_fire_deadline(run);
    return true;
}

JOBQ_API bool jobq_should_stop(jobq_run *run) {
    int64_t now_ms;
    if (jobq__os_load(&run->stop) || jobq__os_load(&run->entry->cancel)) return true;
    if (jobq__run_forked(run)) return true;
    if (run->deadline_ms == JOBQ_NEVER) return false;
    now_ms = jobq__clock_mono_ms(run->q->clock);
    if (now_ms < run->deadline_ms && !jobq__run_awaits_deadline(run, now_ms)) return false;
    jobq__os_or(&run->stop, JOBQ__STOP_ASKED);
    return true;
}

/* What only the handler may call, on its thread. The thread is set before the handler begins. */
static bool jobq__run_is_ours(const struct jobq_run *run) {
    return jobq__os_thread_same(run->worker->thread, jobq__os_thread_self());
}

static int jobq__run_refuse_thread(const char *call, jobq_error *err) {
    return jobq__err_set(err, JOBQ_MISUSE, "%s is for the handler's own thread; of its helpers only"
                         " jobq_should_stop may be called", call);
}

/* ---- Sleeping ---- */

/* Until it is woken, or should stop, or its time has come. An artificial clock comes to us: advance
 * fires the wake. The system's is waited for right here, so that a sleep takes no longer because
 * the scheduler is busy. With pool.mu held. */
static void jobq__run_doze(struct jobq_run *run, int64_t until_ms) {
    jobq *q = run->q;
    int64_t until_us = jobq__to_us(JOBQ__MIN(until_ms, run->deadline_ms));
    while (run->sleeping && !jobq_should_stop(run)) {
        if (q->clock || until_us == INT64_MAX) jobq__os_wait(&run->worker->cond, &q->pool.mu);
        else if (jobq__clock_mono_us() >= until_us) break;
        else jobq__os_wait_until(&run->worker->cond, &q->pool.mu, until_us);
    }
}

JOBQ_API bool jobq_run_sleep(jobq_run *run, int64_t duration_ms) {
    jobq *q = run->q;
    struct jobq__pool *pool = &q->pool;
    int64_t until_ms = jobq__clock_after(q->clock, JOBQ__MAX(duration_ms, 0));
    if (run->in_tx || duration_ms <= 0 || jobq__run_forked(run) || jobq__core_in_connect(q)
        || !jobq__run_is_ours(run))
        return jobq_should_stop(run);
    if (duration_ms == JOBQ_UNLIMITED) {
        /* It has no other way to tell, and who sleeps in a loop is to end it. */
        run->endless = "jobq_run_sleep was given";
        jobq__os_or(&run->stop, JOBQ__STOP_ASKED);
        return true;
    }
    if (q->step_mode && q->clock) {
        /* Nobody else moves it. */
        jobq__clock_move(q->clock, JOBQ__MIN(until_ms, run->deadline_ms));
        return jobq_should_stop(run);
    }
    jobq__os_lock(&pool->mu);
    jobq__wheel_add(&pool->timers.wheel, &run->sleep.timer, until_ms);
    run->sleeping = true;
    pool->crew.sleeping++;
    jobq__wake_quiet(q);
    jobq__os_unlock(&pool->mu);
    if (q->clock) jobq__wake_scheduler(q);
    jobq__os_lock(&pool->mu);
    jobq__run_doze(run, until_ms);
    jobq__wake_run(run);
    jobq__wheel_del(&pool->timers.wheel, &run->sleep.timer);
    jobq__os_unlock(&pool->mu);
    return jobq_should_stop(run);
}

/* ---- The job's transaction ---- */

static const char jobq__run_not_begun[] = "the job's transaction did not begin";

static int jobq__run_begin_tx(struct jobq_run *run, int64_t wait_us, jobq_error *err) {
    jobq *q = run->q;
    int64_t until_us = jobq__add(jobq__clock_mono_us(), wait_us);
    jobq__store *job = jobq__core_job(q);
    int rc = jobq__os_load(&q->failed);
    if (rc != JOBQ_OK) return jobq__fail_say(q, rc, err);
    rc = jobq__core_open_job(q, err);
    if (rc != JOBQ_OK) return rc;
    jobq__guard_begin(job);
    rc = jobq__turn_begin_within(q, job, until_us);
    if (rc != JOBQ_OK) {
        if (rc == JOBQ_BUSY) jobq__turn_busy(q, jobq__run_not_begun, err);
        else rc = jobq__store_fail(job, err);
        jobq__store_rollback(job);
        jobq__core_leave_job(q);
        return rc;
    }
    jobq__disk_begin(q);
    q->turn.begun_us = jobq__clock_mono_us();
    jobq__tx_open(&q->tx, job, JOBQ__TX_OF_JOB);
    jobq__guard_leave(job);
    return JOBQ_OK;
}

JOBQ_API int jobq_run_db(jobq_run *run, struct sqlite3 **db, jobq_error *err) {
    jobq *q;
    int rc;
    if (!run || !db) return jobq__err_set(err, JOBQ_MISUSE, "run and db must not be NULL");
    *db = NULL;
    q = run->q;
    if (jobq__run_forked(run)) return jobq__err_set(err, JOBQ_FORKED, NULL);
    if (jobq__core_in_connect(q)) return jobq__core_refuse_connect("jobq_run_db", err);
    if (!jobq__run_is_ours(run)) return jobq__run_refuse_thread("jobq_run_db", err);
    if (!run->in_tx) {
        int64_t left_us = q->baton.busy_us;
        rc = jobq__baton_hold(q, &left_us);
        if (rc == JOBQ_BUSY) return jobq__turn_busy(q, jobq__run_not_begun, err);
        if (rc != JOBQ_OK) return jobq__fail_say(q, rc, err);
        rc = jobq__run_begin_tx(run, left_us, err);
        if (rc != JOBQ_OK) {
            jobq__assert(jobq__err_is_public(rc));
            jobq__baton_release(q);
            return rc;
        }
        run->in_tx = true;
        jobq__os_transaction(1);
        q->job_run = run;
        jobq__baton_set_job(q, true);
    }
    *db = jobq__store_handle(jobq__core_job(q));
    return JOBQ_OK;
}

JOBQ_API jobq_outcome jobq_keep_writes(jobq_run *run, jobq_outcome outcome) {
    run->keeps = true;
    return outcome;
}

/* ---- The checkpoint ---- */

struct jobq__run_save {
    struct jobq_run *run;
    const void *data;
    size_t size;
};

static int jobq__run_write_saved(struct jobq__tx *tx, struct jobq__request *r) {
    jobq *q = tx->q;
    const struct jobq__run_save *save = r->arg;
    const struct jobq__entry *entry = save->run->entry;
    int64_t id = entry->row.id;
    int changed = 0;
    int rc = jobq__store_extra(tx->db, id, JOBQ__EXTRA_SAVED, save->data, save->size);
    /* For who is no suspect any more: the lane of its queue. */
    if (rc == JOBQ_OK && entry->lane == q->suspects) rc = jobq__tx_know(tx, entry->row.queue);
    if (rc == JOBQ_OK)
        rc = jobq__store_forgive(tx->db, id, entry->row.runs, JOBQ__SIDE_EXTRA, &changed);
    if (rc != JOBQ_OK || changed) return rc;
    return jobq__err_set(r->err, JOBQ_NOT_FOUND, "this run of job %lld is over: another connection"
                         " has changed or deleted its row; nothing was saved", (long long)id);
}

/* Its crashes are forgiven: others that have met one need not wait for it any more. */
static void jobq__run_clear(jobq *q, struct jobq__entry *entry) {
    struct jobq__lane *lane = jobq__registry_lane(&q->names, entry->row.queue);
    if (entry->lane != q->suspects || !lane) return;
    jobq__tx_let(entry);
    entry->lane = lane;
    jobq__tx_hold(entry);
    jobq__os_lock(&q->pool.mu);
    q->pool.work.left = true;
    jobq__os_unlock(&q->pool.mu);
    jobq__wake_scheduler(q);
}

static void jobq__run_after_saved(jobq *q, struct jobq__request *r) {
    struct jobq__entry *entry = ((const struct jobq__run_save *)r->arg)->run->entry;
    entry->row.side |= JOBQ__SIDE_EXTRA;
    entry->row.crashes = 0;
    jobq__run_clear(q, entry);
}

JOBQ_API int jobq_checkpoint(jobq_run *run, const void *data, size_t size, jobq_error *err) {
    struct jobq__run_save save = {run, data, size};
    struct jobq__request request;
    jobq_error local;
    void *copy = NULL;
    int rc;
    if (!run || (!data && size))
        return jobq__err_set(err, JOBQ_MISUSE, run ? "data is NULL but has a size; NULL and 0 take"
                             " the checkpoint away" : "run must not be NULL");
    if (jobq__run_forked(run)) return jobq__err_set(err, JOBQ_FORKED, NULL);
    if (jobq__core_in_connect(run->q))
        return jobq__core_refuse_connect("jobq_checkpoint", err);
    if (!jobq__run_is_ours(run)) return jobq__run_refuse_thread("jobq_checkpoint", err);
    if (run->in_tx)
        return jobq__err_set(err, JOBQ_MISUSE, "jobq_checkpoint is not for after jobq_run_db,"
                             " whose transaction keeps others from writing; save it before that, or"
                             " the next run's state in a table of your own");
    if (size > (size_t)run->q->options.payload_max)
        return jobq__err_set(err, JOBQ_TOO_BIG, "the checkpoint has %llu bytes; payload_max is"
                             " %lld", (unsigned long long)size,
                             (long long)run->q->options.payload_max);
    if (data) copy = jobq__mem_copy(data, size);
    if (data && !copy) return jobq__err_set(err, JOBQ_NO_MEMORY, NULL);
    local.code = JOBQ_OK;
    memset(&request, 0, sizeof request);
    request.write = jobq__run_write_saved;
    request.adds = (int64_t)size + JOBQ__ROW_BYTES;
    request.largest = (int64_t)size;
    request.after = jobq__run_after_saved;
    request.arg = &save;
    request.atomic = true;
    request.err = &local;
    rc = jobq__commit_request(run->q, &request);
    jobq__assert(jobq__err_is_public(rc));
    if (rc != JOBQ_OK) {
        if (err) *err = local;
        jobq__mem_free(copy);
        return rc;
    }
    jobq__mem_free(run->saved);
    run->saved = copy;
    run->saved_size = size;
    run->saved_read = true;
    return JOBQ_OK;
}

static int jobq__run_read_saved(jobq_run *run) {
    struct jobq__look look;
    int rc;
    if (!(run->entry->row.side & JOBQ__SIDE_EXTRA)) return JOBQ_OK;
    if (jobq__run_forked(run)) return JOBQ_FORKED;
    rc = jobq__run_look(run, &look);
    if (rc != JOBQ_OK) return rc;
    rc = jobq__store_saved(look.db, run->entry->row.id, &run->saved, &run->saved_size);
    jobq__run_looked(run, &look, rc);
    return rc;
}

JOBQ_API const void *jobq_run_checkpoint(jobq_run *run, size_t *size) {
    if (!run->saved_read) run->saved_read = jobq__run_read_saved(run) == JOBQ_OK;
    if (size) *size = !run->saved_read ? SIZE_MAX : run->saved ? run->saved_size : 0;
    return run->saved;
}

/*==== recover.h ====*/
/* recover.h - what the owner before left claimed goes back. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/recover.h"
#endif
#ifndef JOBQ__RECOVER_H
#define JOBQ__RECOVER_H

/* #include "commit.h" */

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

/*==== recover.c ====*/
/* recover.c - what the owner before left claimed goes back. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/recover.c"
#endif
/* #include "recover.h" */

/* A job whose process died: given back, and blamed if it was running. */
static int jobq__recover_row(struct jobq__tx *tx, int64_t id, int *room) {
    const jobq *q = tx->q;
    enum jobq__trace trace;
    struct jobq__edge edge;
    struct jobq__row row;
    int rc = jobq__store_row(tx->db, id, &row);
    if (rc == JOBQ_NOT_FOUND || (rc == JOBQ_OK && row.state != JOBQ__CLAIMED)) return JOBQ_OK;
    if (rc != JOBQ_OK) return rc;
    if (--*room < 0) return JOBQ_OK;
    if (row.side & JOBQ__SIDE_CANCEL)
        return jobq__tx_end(tx, &row, JOBQ__CANCELLED, NULL, JOBQ_CANCELLED);
    jobq__door_begin(&edge, &row, JOBQ__WAITING);
    trace = jobq__owner_trace(&q->owner, id, row.runs);
    edge.back = trace == JOBQ__TRACE_NONE;
    edge.due = !edge.back;
    if (edge.back) edge.now.runs--;
    if (trace == JOBQ__TRACE_STARTED && (q->owner.same_boot || q->options.charge_reboots)) {
        edge.now.crashes = row.crashes < INT32_MAX ? row.crashes + 1 : row.crashes;
        edge.outcome = JOBQ_CRASHED;
        edge.tells = true;
    }
    return jobq__tx_wait(tx, &edge);
}

/* The slots say of some jobs that the owner before had them. One that is claimed still is missing
 * in the claims row, and so may others be that nobody would ever run. */
static int jobq__recover_slots(struct jobq__tx *tx) {
    jobq *q = tx->q;
    int slot, rc = JOBQ_OK;
    for (slot = 0; slot < JOBQ_WORKERS_MAX && rc == JOBQ_OK; slot++) {
        int64_t id = jobq__owner_slot(&q->owner, slot);
        struct jobq__row row;
        if (id < 1) continue;
        rc = jobq__store_row(tx->db, id, &row);
        if (rc == JOBQ_OK && row.state == JOBQ__CLAIMED) rc = jobq__store_nobodys(tx->db, id);
        else if (rc == JOBQ_NOT_FOUND) rc = JOBQ_OK;
    }
    return rc;
}

/* *more: there was no room for all of them in one transaction, which is so on a full disk only. The
 * claims row stays until the last; what was given back is known by its state. */
static int jobq__recover_rows(struct jobq__tx *tx, bool *more) {
    jobq *q = tx->q;
    void *ids = NULL;
    size_t size = 0, at = 0;
    int64_t id = 0, extra = 0, payload = 0;
    int room = jobq__disk_batch(q, INT32_MAX);
    int rc = jobq__tx_gates_read(tx);
    if (rc == JOBQ_OK) rc = jobq__store_counted(tx->db, &tx->counted);
    if (rc == JOBQ_OK) rc = jobq__store_claims_get(tx->db, &ids, &size);
    while (rc == JOBQ_OK && at < size && room >= 0) {
        rc = jobq__store_claims_next(tx->db, ids, size, &at, &id);
        if (rc == JOBQ_OK) rc = jobq__recover_row(tx, id, &room);
    }
    jobq__mem_free(ids);
    *more = room < 0;
    if (rc == JOBQ_OK && !*more) rc = jobq__recover_slots(tx);
    if (rc == JOBQ_OK) rc = jobq__store_max_id(tx->db, &tx->last_id);
    /* What stands beside a job that does not exist yet would become the next one's. */
    if (rc == JOBQ_OK) rc = jobq__store_extra_max(tx->db, &extra);
    if (rc == JOBQ_OK && extra > tx->last_id)
        rc = jobq__store_damaged(tx->db, JOBQ__DAMAGE_EXTRA, extra);
    if (rc == JOBQ_OK) rc = jobq__store_payload_max(tx->db, &payload);
    if (rc == JOBQ_OK && payload > tx->last_id)
        rc = jobq__store_damaged(tx->db, JOBQ__DAMAGE_PAYLOAD, payload);
    if (rc == JOBQ_OK) rc = jobq__tx_count_write(tx);
    if (rc == JOBQ_OK && size && !*more) rc = jobq__tx_touch(tx);
    if (rc == JOBQ_OK) rc = jobq__store_next_dues(tx->db, &tx->due);
    if (rc == JOBQ_OK) rc = jobq__store_prune_next(tx->db, &tx->prune_at_ms);
    if (rc == JOBQ_OK) rc = jobq__event_reserve(&q->events, tx->changes_count);
    return rc;
}

static int jobq__recover_some(jobq *q, int64_t until_us, bool *more) {
    struct jobq__wakes wakes;
    int rc;
    memset(&wakes, 0, sizeof wakes);
    *more = false;
    jobq__tx_open(&q->tx, &q->writer, JOBQ__TX_RECOVERY);
    rc = jobq__turn_begin_within(q, &q->writer, until_us);
    if (rc == JOBQ_OK) jobq__disk_begin(q);
    if (rc == JOBQ_OK) rc = jobq__recover_rows(&q->tx, more);
    if (rc == JOBQ_OK) rc = jobq__disk_hold_back(&q->tx);
    if (rc == JOBQ_OK) rc = jobq__store_commit(&q->writer);
    if (rc == JOBQ_OK) jobq__tx_applied(&q->tx, &wakes);
    else jobq__store_rollback(&q->writer);
    return rc;
}

/* One transaction, unless the disk is full. The slots are cleared after the commit, so a recovery
 * that is itself killed finds the same evidence again. */
JOBQ__INTERNAL int jobq__recover(jobq *q, int64_t until_us, jobq_error *err) {
    bool more = false, again, all;
    int rc;
    do {
        rc = jobq__recover_some(q, until_us, &more);
        again = rc == JOBQ_FULL && jobq__disk_full(q);
        if (!again && (rc != JOBQ_OK || !more)) break;
        jobq__log_copy(q, until_us, true, &all);
    } while (true);
    if (rc != JOBQ_OK && jobq__store_said(&q->writer, rc))
        return jobq__store_fail(&q->writer, err);
    if (rc != JOBQ_OK)
        return jobq__err_set(err, rc, "%s: the jobs that the owner before left running"
                             " could not be given back in %.250s; open it again",
                             jobq_code_text(rc), q->files.path);
    jobq__owner_begin(&q->owner);
    return JOBQ_OK;
}

/*==== repair.h ====*/
/* repair.h - what the doctor puts right: the transaction in which it does. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/repair.h"
#endif
#ifndef JOBQ__REPAIR_H
#define JOBQ__REPAIR_H

/* #include "audit.h" */
/* #include "commit.h" */

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

/*==== repair.c ====*/
/* repair.c - what the doctor puts right: the transaction in which it does. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/repair.c"
#endif
/* #include "repair.h" */

/* Its row may be changed: nobody has it in hand. */
static int jobq__repair_reach(void *ctx, int64_t job) {
    struct jobq__tx *tx = ctx;
    bool withdrawn;
    struct jobq__entry *entry = jobq__tx_withdraw(tx, job, &withdrawn);
    if (!entry) return JOBQ_OK;
    return withdrawn ? jobq__tx_unclaim(tx, entry) : JOBQ_BUSY;
}

/* When there is something to do next. What is broken still is looked at again. */
static void jobq__repair_times(struct jobq__tx *tx) {
    int64_t *by_wall_ms = &tx->due.at_ms[JOBQ__DUE_BY_WALL], at_ms;
    if (jobq__store_next_dues(tx->db, &tx->due) != JOBQ_OK)
        *by_wall_ms = JOBQ__MIN(*by_wall_ms, tx->now_ms);
    if (jobq__store_prune_next(tx->db, &at_ms) == JOBQ_OK)
        tx->prune_at_ms = JOBQ__MIN(tx->prune_at_ms, at_ms);
}

static int64_t jobq__repair_prune_at(const struct jobq__tx *tx, int64_t keep_ms) {
    return jobq__add(tx->now_ms, JOBQ__MAX(keep_ms, 0));
}

JOBQ__INTERNAL int jobq__repair(struct jobq__tx *tx, struct jobq__request *r) {
    struct jobq__audit *audit = r->arg;
    jobq *q = tx->q;
    struct jobq__mend with;
    int rc;
    with.now_ms = tx->now_ms;
    with.prune_done_ms = jobq__repair_prune_at(tx, q->options.keep_done_ms);
    with.prune_failed_ms = jobq__repair_prune_at(tx, q->options.keep_failed_ms);
    with.reach = jobq__repair_reach;
    with.ctx = tx;
    rc = jobq__audit_mend(audit, tx->db, &with);
    if (rc == JOBQ_OK)
        rc = jobq__audit_recounts(audit) ? jobq__tx_count_anew(tx)
                                         : jobq__tx_count_write(tx);
    /* Whom it has to name is remembered, unless damage has kept that from being read. */
    if (rc == JOBQ_OK && !jobq__os_load(&q->failed)) rc = jobq__tx_touch(tx);
    if (rc == JOBQ_OK) jobq__repair_times(tx);
    return rc;
}

/*==== pool.h ====*/
/* pool.h - workers: take, run, hand in. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/pool.h"
#endif
#ifndef JOBQ__POOL_H
#define JOBQ__POOL_H

/* #include "run.h" */

/* Design note.
 *
 * A worker in a loop: commit what is due, if the baton is free; take the next job from the ring;
 * run it; hand in its outcome. It sleeps when there is neither. Taking, handing in and falling
 * asleep are under pool.mu.
 *
 * No outcome is forgotten: a worker that finds the baton taken may sleep, because whoever lays the
 * baton down looks at the outcomes afterwards and rouses an idle worker (commit.c); and the
 * scheduler thread commits what nobody else has after a millisecond.
 *
 *   ABSENT -> AWAKE   jobq__life_start_threads, before there is a thread
 *   AWAKE -> ABSENT   there, if the system refuses it
 *   AWAKE -> IDLE     jobq__pool_sleep, which puts it into the list
 *   IDLE -> WOKEN     jobq__wake_workers, which takes it out
 *   IDLE -> AWAKE     jobq__pool_sleep: the pool stops, or the outcomes are its own to mind
 *   WOKEN -> AWAKE    jobq__pool_sleep
 *   AWAKE -> ENDED    jobq__pool_work, when nothing of the queue is left for it to do
 *   ENDED -> ABSENT   jobq__life_join
 *
 * jobq__wake_worker_to asserts them. */

JOBQ__INTERNAL int jobq__pool_init(jobq *q);
JOBQ__INTERNAL void jobq__pool_fini(jobq *q);

/* The body of a worker's thread. */
JOBQ__INTERNAL void jobq__pool_work(void *worker);
/* Gives back what is claimed and not started, and settles what was handed in. It waits for other
 * connections until until_us, and least_us for transactions of this process. JOBQ_OK: no outcome
 * is left, or the pool was started again; or else a sentence that says how many are, and why. */
JOBQ__INTERNAL int jobq__pool_give_back(jobq *q, int64_t until_us, int64_t least_us,
                                        jobq_error *err);
/* Before somebody claims again: what a stop has left in the ring goes back, if others may have to
 * start before it (ring.behind). It waits for other connections as long as callers do. JOBQ_OK: the
 * ring is in order, or somebody claims already. */
JOBQ__INTERNAL int jobq__pool_in_order(jobq *q, jobq_error *err);

/* Takes and runs one job on the calling thread, which is a worker's or, in step mode, the
 * stepper's. False if the ring is empty. With pool.mu held, before and after. */
JOBQ__INTERNAL bool jobq__pool_run_one(struct jobq__worker *worker);

/* With pool.mu held: nothing is claimed, running (but asleep), handed in or to be claimed. */
JOBQ__INTERNAL bool jobq__pool_at_rest(const jobq *q);

#endif

/*==== pool.c ====*/
/* pool.c - workers: take, run, hand in. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/pool.c"
#endif
/* #include "pool.h" */

/* ---- One job ---- */

static void jobq__pool_hand_in(jobq *q, struct jobq__entry *entry, int64_t now_us) {
    struct jobq__pool *pool = &q->pool;
    if (!pool->outcomes.count++) {
        pool->outcomes.since_us = now_us;
        /* The scheduler takes care of it if nobody else does within a millisecond; while it is
         * armed it looks again by itself. */
        if (!pool->sched.armed && pool->sched.started) {
            pool->sched.armed = true;
            jobq__wake_scheduler_locked(q);
        }
    }
    jobq__list_append(&pool->outcomes.list, &entry->link);
}

JOBQ__INTERNAL bool jobq__pool_run_one(struct jobq__worker *worker) {
    jobq *q = worker->run.q;
    struct jobq__pool *pool = &q->pool;
    struct jobq__entry *entry = jobq__ring_take(&pool->ring);
    int64_t from_us, now_us;
    bool settled;
    if (!entry) return false;
    jobq__run_begin(worker, entry);
    from_us = worker->free_us;
    jobq__wake_claimer(q);
    jobq__os_unlock(&pool->mu);
    settled = jobq__run_call(worker);
    now_us = jobq__clock_mono_us();
    jobq__os_lock(&pool->mu);
    jobq__run_end(worker);
    if (!settled) jobq__pool_hand_in(q, entry, now_us);
    pool->rates.job_ns += ((now_us - from_us) * 1000 - pool->rates.job_ns) / 8;
    worker->free_us = now_us;
    return true;
}

/* ---- Workers ---- */

/* Outcomes that wait for company are the scheduler's to mind, but it may stand in a callback: until
 * when an idle worker leaves them to it. With pool.mu held. */
static int64_t jobq__pool_minds(const jobq *q) {
    const struct jobq__pool *pool = &q->pool;
    if (!pool->outcomes.count || pool->sched.waits || jobq__os_load(&q->baton.busy)
        || jobq__os_load(&q->failed)) return INT64_MAX;
    return JOBQ__MAX(pool->outcomes.since_us + JOBQ__DEFER_US, pool->work.retry_at_us);
}

static void jobq__pool_sleep(struct jobq__worker *worker) {
    jobq *q = worker->run.q;
    struct jobq__pool *pool = &q->pool;
    int64_t until_us = jobq__pool_minds(q);
    jobq__list_insert(pool->crew.idle.next, &worker->link);
    jobq__wake_worker_to(worker, JOBQ__WORKER_IDLE);
    jobq__wake_quiet(q);
    while (worker->state == JOBQ__WORKER_IDLE && pool->life.phase == JOBQ__RUNNING
           && jobq__clock_mono_us() < until_us)
        if (until_us == INT64_MAX) jobq__os_wait(&worker->cond, &pool->mu);
        else jobq__os_wait_until(&worker->cond, &pool->mu, until_us);
    jobq__list_remove(&worker->link);
    jobq__wake_worker_to(worker, JOBQ__WORKER_AWAKE);
    worker->free_us = jobq__clock_mono_us();
}

/* Commits if that is due and the baton is free. With pool.mu held, before and after. */
static bool jobq__pool_commit(struct jobq__worker *worker) {
    jobq *q = worker->run.q;
    struct jobq__pool *pool = &q->pool;
    bool led;
    if (jobq__os_load(&q->baton.busy) || !jobq__core_commit_due(q, worker->free_us)) return false;
    jobq__os_unlock(&pool->mu);
    led = jobq__baton_try(q);
    if (led) {
        jobq__commit_lead(q);
        if (jobq__event_deliver(&q->events, false)) jobq__wake_scheduler(q);
        jobq__event_throttle(&q->events);
        worker->free_us = jobq__clock_mono_us();
    }
    jobq__os_lock(&pool->mu);
    return led;
}

JOBQ__INTERNAL void jobq__pool_work(void *arg) {
    struct jobq__worker *worker = arg;
    jobq *q = worker->run.q;
    struct jobq__pool *pool = &q->pool;
    jobq__core_tell_thread(q, JOBQ_THREAD_WORKER, worker->index, true);
    jobq__os_lock(&pool->mu);
    worker->thread = jobq__os_thread_self();
    worker->free_us = jobq__clock_mono_us();
    while (pool->life.phase == JOBQ__RUNNING) {
        /* That lets go of the lock, and a stop may have come in between. */
        if (jobq__pool_commit(worker) || pool->life.phase != JOBQ__RUNNING) continue;
        if (!jobq__os_load(&q->failed) && jobq__pool_run_one(worker)) continue;
        /* Under the lock, so that who lays the baton down either is seen here or sees us idle. */
        worker->free_us = jobq__clock_mono_us();
        if (!jobq__os_load(&q->baton.busy) && jobq__core_commit_due(q, worker->free_us)) continue;
        jobq__pool_sleep(worker);
    }
    jobq__os_unlock(&pool->mu);
    jobq__core_tell_thread(q, JOBQ_THREAD_WORKER, worker->index, false);
    jobq__os_lock(&pool->mu);
    jobq__wake_worker_to(worker, JOBQ__WORKER_ENDED);
    jobq__wake_quiet(q);
    jobq__os_unlock(&pool->mu);
}

JOBQ__INTERNAL bool jobq__pool_at_rest(const jobq *q) {
    const struct jobq__pool *pool = &q->pool;
    jobq__assert(jobq__os_held(&pool->mu));
    if (pool->outcomes.count || pool->crew.running > pool->crew.sleeping) return false;
    if (pool->sched.started && (!pool->sched.waits || pool->sched.kicked))
        return false;
    if (jobq__os_load(&q->baton.busy)) return false;
    if (pool->work.foreign && pool->sched.started) return false; /* else the next start looks */
    /* When every worker waits for the clock, what is left has to wait as well. */
    if (pool->crew.count && pool->crew.sleeping == pool->crew.count) return true;
    return !pool->ring.count && !(pool->work.left && pool->life.claiming);
}

/* ---- Open and close ---- */

static void jobq__pool_init_worker(jobq *q, struct jobq__worker *worker, int index) {
    worker->index = index;
    worker->run.q = q;
    worker->run.worker = worker;
    worker->run.deadline.what = JOBQ__WAKE_DEADLINE;
    worker->run.sleep.what = JOBQ__WAKE_SLEEP;
    jobq__timer_init(&worker->run.deadline.timer);
    jobq__timer_init(&worker->run.sleep.timer);
    jobq__list_init(&worker->link);
}

static int jobq__pool_init_workers(jobq *q) {
    struct jobq__pool *pool = &q->pool;
    int count = q->step_mode ? 1 : q->client ? 0 : q->options.workers;
    int i, rc = JOBQ_OK;
    pool->crew.workers = jobq__mem_new(sizeof *pool->crew.workers * (size_t)JOBQ__MAX(count, 1));
    if (!pool->crew.workers) return JOBQ_NO_MEMORY;
    for (i = 0; i < count && rc == JOBQ_OK; i++) {
        jobq__pool_init_worker(q, &pool->crew.workers[i], i);
        rc = jobq__os_cond_init(&pool->crew.workers[i].cond, JOBQ__OS_MONO);
        if (rc == JOBQ_OK) pool->crew.count++;
    }
    return rc;
}

JOBQ__INTERNAL int jobq__pool_init(jobq *q) {
    struct jobq__pool *pool = &q->pool;
    int rc;
    jobq__ring_init(&pool->ring);
    jobq__list_init(&pool->outcomes.list);
    jobq__list_init(&pool->crew.idle);
    jobq__list_init(&pool->waiters);
    jobq__wheel_init(&pool->timers.wheel, 0);
    pool->timers.due = q->due;
    pool->timers.prune_at_ms = JOBQ_NEVER;
    /* The scheduler begins with a look; in step mode the first step does. */
    pool->timers.poll_at_us = q->step_mode && q->options.poll_ms != JOBQ_NONE ? 0 : INT64_MAX;
    pool->rates.job_ns = JOBQ__RING_WINDOW_US * 1000; /* unknown yet: a small ring */
    rc = jobq__os_mutex_init(&pool->mu);
    if (rc == JOBQ_OK) rc = jobq__os_cond_init(&pool->rest.quiet, JOBQ__OS_MONO);
    if (rc == JOBQ_OK) rc = jobq__os_cond_init(&pool->sched.tick_mono, JOBQ__OS_MONO);
    if (rc == JOBQ_OK) rc = jobq__os_cond_init(&pool->sched.tick_wall, JOBQ__OS_WALL);
    if (rc == JOBQ_OK) rc = jobq__pool_init_workers(q);
    return rc;
}

JOBQ__INTERNAL void jobq__pool_fini(jobq *q) {
    struct jobq__pool *pool = &q->pool;
    int i;
    for (i = 0; i < pool->crew.count; i++) jobq__os_cond_fini(&pool->crew.workers[i].cond);
    jobq__mem_free(pool->crew.workers);
    jobq__os_cond_fini(&pool->sched.tick_wall);
    jobq__os_cond_fini(&pool->sched.tick_mono);
    jobq__os_cond_fini(&pool->rest.quiet);
    jobq__os_mutex_fini(&pool->mu);
}

/* ---- What is claimed goes back, what has run is written ---- */

/* Unless somebody claims again since it was asked for. */
static int jobq__pool_write_back(struct jobq__tx *tx, struct jobq__request *r) {
    jobq *q = tx->q;
    bool claiming;
    (void)r;
    jobq__os_lock(&q->pool.mu);
    claiming = q->pool.life.claiming;
    jobq__os_unlock(&q->pool.mu);
    return claiming ? JOBQ_OK : jobq__tx_give_back(tx);
}

/* Outcomes that are not on the disk, and, if claims, jobs that are claimed and have not started.
 * One that a transaction is about to settle counts: it may fail. None if somebody claims again: the
 * pool was started, or another thread steps, and sees to them. */
static int jobq__pool_left(jobq *q, bool claims) {
    const struct jobq__link *link;
    int left = 0;
    jobq__os_lock(&q->pool.mu);
    if (!q->pool.life.claiming) {
        left = q->pool.outcomes.count + (claims ? q->pool.ring.count : 0);
        for (link = q->tx.settled.next; link != &q->tx.settled; link = link->next) left++;
    }
    jobq__os_unlock(&q->pool.mu);
    return left;
}

static int jobq__pool_unwritten(jobq *q, int left, int rc, jobq_error *err) {
    const char *many = left == 1 ? " of a job that has run is" : "s of jobs that have run are";
    int failed = jobq__os_load(&q->failed);
    jobq_error why;
    if (failed && err) {
        jobq__fail_say(q, failed, &why);
        jobq__err_set(err, rc, "%d outcome%s not on the disk, and %s again when the queue is opened"
                      " next: %.370s", left, many, left == 1 ? "it runs" : "they run", why.text);
        err->sqlite_code = why.sqlite_code;
        err->os_code = why.os_code;
    }
    if (failed) return rc;
    return jobq__err_set(err, rc, "%d outcome%s not on the disk yet (%s); nothing is lost:"
                         " jobq_stop again, or jobq_start, writes what is left", left, many,
                         rc != JOBQ_BUSY ? jobq_code_text(rc)
                         : jobq__os_load(&q->turn.taken) ? "another connection writes to the file"
                                                         : "the time was over");
}

/* On a full disk one transaction takes some of them only. With nothing to write the file is not
 * asked for; but a transaction under way may claim still, so its end is waited for. */
static int jobq__pool_write_left(jobq *q, int64_t until_us, int64_t least_us) {
    struct jobq__request request;
    int left = jobq__pool_left(q, true) + jobq__os_load(&q->baton.busy), rc = JOBQ_OK;
    int64_t now_us = jobq__clock_mono_us();
    int64_t end_us = jobq__max(until_us, jobq__add(now_us, least_us));
    memset(&request, 0, sizeof request);
    request.write = jobq__pool_write_back;
    request.atomic = true;
    while (left > 0 && rc == JOBQ_OK) {
        int64_t limit_us = jobq__os_load(&q->turn.taken) ? until_us : end_us;
        request.until_us = until_us;
        rc = jobq__commit_request_within(q, &request, JOBQ__MAX(limit_us - now_us, 0));
        left = jobq__pool_left(q, true);
        now_us = jobq__clock_mono_us();
        if (left > 0 && rc == JOBQ_OK && now_us >= end_us) rc = JOBQ_BUSY;
    }
    return rc;
}

JOBQ__INTERNAL int jobq__pool_give_back(jobq *q, int64_t until_us, int64_t least_us,
                                        jobq_error *err) {
    int rc = jobq__pool_write_left(q, until_us, least_us), left = jobq__pool_left(q, false);
    return left && rc != JOBQ_OK ? jobq__pool_unwritten(q, left, rc, err) : JOBQ_OK;
}

/* How many jobs of the ring have to go back before anybody may claim. */
static int jobq__pool_behind(jobq *q) {
    const struct jobq__pool *pool = &q->pool;
    int count;
    jobq__os_lock(&q->pool.mu);
    count = pool->ring.behind && !pool->life.claiming ? pool->ring.count : 0;
    jobq__os_unlock(&q->pool.mu);
    return count;
}

JOBQ__INTERNAL int jobq__pool_in_order(jobq *q, jobq_error *err) {
    int64_t until_us = jobq__add(jobq__clock_mono_us(), q->baton.busy_us);
    int rc = jobq__pool_write_left(q, until_us, INT64_MAX), count = jobq__pool_behind(q);
    if (!count) return JOBQ_OK;
    jobq__assert(rc != JOBQ_OK);
    if (rc == jobq__os_load(&q->failed)) return jobq__fail_say(q, rc, err);
    if (rc == JOBQ_BUSY) return jobq__turn_busy(q, "nothing was started", err);
    return jobq__err_set(err, rc, "%s: %.200s; others may have to start before the %d jobs that the"
                         " last stop has left claimed, so these go back first; call again",
                         jobq_code_text(rc), q->files.path, count);
}

/*==== scheduler.h ====*/
/* scheduler.h - the scheduler thread, the wheel's actions, step and advance. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/scheduler.h"
#endif
#ifndef JOBQ__SCHED_H
#define JOBQ__SCHED_H

/* #include "pool.h" */

/* Design note.
 *
 * The scheduler thread does what nobody else is there to do: fires the wheel, commits outcomes
 * that have waited for a millisecond, promotes, prunes, polls, takes checkpoints, delivers the
 * events of callers. It sleeps without a timeout when there is nothing to come. In step mode the
 * same functions run on the caller's thread.
 *
 * Firing a wake only raises a flag or wakes a thread, under pool.mu; what follows from it is a
 * transaction like any other. The table is the truth: a wake that comes for nothing does no harm.
 * Wakes: the earliest scheduled job, by the wall, or by own time (clock.h) if it waits for a
 * duration; a running handler's deadline or sleep and a waiter's timeout, by the monotonic reading.
 * Housekeeping is no wake: it is seen to whenever the wall has passed its time.
 *
 * By the system's clock the thread itself waits for what is due by the wall until that very time of
 * the wall, so that the system wakes it when the clock is set or the machine resumes; but for a
 * duration by the monotonic clock, or the wall could keep it waiting: then it looks once a minute,
 * too, for no system tells of a resume by that clock. By an artificial clock it waits for nothing:
 * advance and set kick it. */

JOBQ__INTERNAL void jobq__sched_main(void *q);

/* The earliest scheduled job is a wake that is to come. With pool.mu held. */
JOBQ__INTERNAL bool jobq__sched_awaits_jobs(const jobq *q);
/* When the next wake is, by the wall as it goes now. With pool.mu held. */
JOBQ__INTERNAL int64_t jobq__sched_next(const jobq *q, struct jobq__now now);

JOBQ__INTERNAL int jobq__sched_step(jobq *q, bool all, int64_t *ran, jobq_error *err);
/* Moves the artificial clock until its monotonic reading is target_ms, or, if next, to the first
 * wake. */
JOBQ__INTERNAL int jobq__sched_advance(jobq *q, int64_t target_ms, bool next, int *fired,
                                       jobq_error *err);

#endif

/*==== scheduler.c ====*/
/* scheduler.c - the scheduler thread, the wheel's actions, step and advance. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/scheduler.c"
#endif
/* #include "scheduler.h" */
/* #include "door.h" */

/* Never does not come, even at the end of time. */
static bool jobq__sched_due(int64_t at_ms, int64_t now_ms) {
    return at_ms <= now_ms && at_ms != JOBQ_NEVER;
}

/* ---- Wakes ---- */

/* Fires what is due; true if a scheduled job is. With pool.mu held. */
static bool jobq__sched_fire(jobq *q, struct jobq__now now) {
    struct jobq__timers *timers = &q->pool.timers;
    bool promote = !timers->due_fired
                && (jobq__sched_due(timers->due.at_ms[JOBQ__DUE_BY_WALL], now.wall_ms)
                    || jobq__sched_due(timers->due.at_ms[JOBQ__DUE_BY_OWN], now.own_ms));
    struct jobq__timer *timer;
    jobq__assert(jobq__os_held(&q->pool.mu));
    if (promote) {
        timers->due_fired = q->pool.work.left = true;
        timers->fired++;
    }
    while ((timer = jobq__wheel_expire(&timers->wheel, now.mono_ms)) != NULL) {
        struct jobq__alarm *alarm = JOBQ__CONTAINER(timer, struct jobq__alarm, timer);
        struct jobq__waiter *waiter;
        timers->fired++;
        switch (alarm->what) {
        case JOBQ__WAKE_DEADLINE:
            jobq__wake_stop(JOBQ__CONTAINER(alarm, struct jobq_run, deadline), JOBQ__STOP_ASKED);
            break;
        case JOBQ__WAKE_SLEEP:
            jobq__wake_run(JOBQ__CONTAINER(alarm, struct jobq_run, sleep));
            break;
        case JOBQ__WAKE_WAITER:
            waiter = JOBQ__CONTAINER(alarm, struct jobq__waiter, alarm);
            waiter->late = true;
            jobq__wake_waiter(q, waiter);
            break;
        }
    }
    return promote && q->pool.life.claiming;
}

JOBQ__INTERNAL bool jobq__sched_awaits_jobs(const jobq *q) {
    const struct jobq__timers *timers = &q->pool.timers;
    return !timers->due_fired && (timers->due.at_ms[JOBQ__DUE_BY_WALL] != JOBQ_NEVER
                                  || timers->due.at_ms[JOBQ__DUE_BY_OWN] != JOBQ_NEVER);
}

/* When the next wake is, by the monotonic reading. With pool.mu held. */
static int64_t jobq__sched_next_wake(const jobq *q, struct jobq__now now) {
    const struct jobq__timers *timers = &q->pool.timers;
    const int64_t *at_ms = timers->due.at_ms;
    int64_t next_ms = jobq__wheel_next(&timers->wheel);
    jobq__assert(jobq__os_held(&q->pool.mu));
    if (timers->due_fired) return next_ms;
    next_ms = jobq__min(next_ms, jobq__clock_on_mono(now, at_ms[JOBQ__DUE_BY_WALL]));
    return jobq__min(next_ms, jobq__own_on_mono(now, at_ms[JOBQ__DUE_BY_OWN]));
}

JOBQ__INTERNAL int64_t jobq__sched_next(const jobq *q, struct jobq__now now) {
    return jobq__clock_on_wall(now, jobq__sched_next_wake(q, now));
}

/* ---- Housekeeping ---- */

struct jobq__sched_prune {
    int count;
    bool more;
    int64_t next_ms;
    int64_t shrink_ms;
};

static int jobq__sched_write_prune(struct jobq__tx *tx, struct jobq__request *r) {
    jobq *q = tx->q;
    struct jobq__sched_prune *prune = r->arg;
    int most = jobq__disk_batch(q, JOBQ__PRUNE_ROWS);
    int rc = jobq__door_prune(tx, most, &prune->count);
    prune->more = prune->count >= most;
    if (rc == JOBQ_OK) rc = jobq__store_prune_next(tx->db, &prune->next_ms);
    return rc == JOBQ_OK ? jobq__disk_shrink(tx, tx->now_ms, &prune->shrink_ms) : rc;
}

/* For what nobody else's commit takes along: a busy queue on a slow disk must not keep us out for
 * ever. But rather later than a deadline that passes while a job's transaction has the baton. */
static int64_t jobq__sched_patience_us(jobq *q) {
    int64_t wait_us;
    jobq__os_lock(&q->pool.mu);
    wait_us = JOBQ__MIN(JOBQ__PRUNE_COMMITS * q->pool.rates.commit_us, JOBQ__PRUNE_WAIT_US);
    jobq__os_unlock(&q->pool.mu);
    if (jobq__baton_by_job(q)) wait_us = 0;
    return JOBQ__MAX(wait_us, JOBQ__SCHED_HOLD_US);
}

static void jobq__sched_prune(jobq *q, int64_t now_ms) {
    struct jobq__sched_prune prune = {0, false, JOBQ_NEVER, JOBQ_NEVER};
    struct jobq__request request;
    int64_t next_ms;
    memset(&request, 0, sizeof request);
    request.write = jobq__sched_write_prune;
    request.arg = &prune;
    request.atomic = request.once = true;
    /* Whoever finishes a job meanwhile may set an earlier time again. */
    jobq__os_lock(&q->pool.mu);
    q->pool.timers.prune_at_ms = JOBQ_NEVER;
    jobq__os_unlock(&q->pool.mu);
    next_ms = jobq__add(now_ms, JOBQ__PRUNE_PAUSE_MS);
    if (jobq__commit_request_within(q, &request, jobq__sched_patience_us(q)) == JOBQ_OK) {
        next_ms = prune.more ? now_ms
                : prune.next_ms == JOBQ_NEVER ? JOBQ_NEVER : JOBQ__MAX(prune.next_ms, next_ms);
        next_ms = JOBQ__MIN(next_ms, prune.shrink_ms);
    }
    jobq__os_lock(&q->pool.mu);
    q->pool.timers.prune_at_ms = JOBQ__MIN(q->pool.timers.prune_at_ms, next_ms);
    jobq__os_unlock(&q->pool.mu);
}

/* The scheduler must not wait for a job's transaction: deadlines would pass meanwhile. Whoever lays
 * the baton down tells it. */
static bool jobq__sched_hold(jobq *q, int64_t wait_us) {
    if (jobq__baton_hold_within(q, wait_us) == JOBQ_OK) return true;
    jobq__os_lock(&q->pool.mu);
    q->pool.sched.wants_baton = true;
    jobq__os_unlock(&q->pool.mu);
    /* It may have been laid down just before. */
    return jobq__baton_try(q);
}

/* Has somebody else written? That is asked by reading: a transaction follows only what was found.
 * On the writer, to which its own commits are nothing new. Under an artificial clock a step asks
 * each time, for only real time could tell when. Where the files are is asked as well: an owner
 * without work has no other moment for that. */
static void jobq__sched_poll(jobq *q) {
    struct jobq__pool *pool = &q->pool;
    int64_t now_us, version;
    bool due, changed = false;
    if (q->options.poll_ms == JOBQ_NONE) return;
    now_us = jobq__clock_mono_us();
    jobq__os_lock(&pool->mu);
    due = pool->timers.poll_at_us <= now_us || (q->step_mode && q->clock);
    jobq__os_unlock(&pool->mu);
    if (!due || !jobq__sched_hold(q, jobq__sched_patience_us(q))) return;
    /* Not before the files were looked at: shared memory that was cut short is touched once. */
    if (jobq__commit_look(q, jobq__clock_mono_us()) == JOBQ_OK) {
        changed = jobq__store_version(&q->writer, &version) != JOBQ_OK || version != q->seen;
        q->seen = version;
    }
    jobq__baton_release(q);
    jobq__os_lock(&pool->mu);
    pool->timers.poll_at_us = jobq__add(now_us, JOBQ__MIN(q->options.poll_ms, JOBQ_DAY) * 1000);
    if (changed) pool->work.foreign = pool->work.left = true;
    jobq__os_unlock(&pool->mu);
}

/* Prunes finished jobs, gives free pages back and looks for others' jobs, if it is time: all that
 * there is, or one slice, so that who has other things to do does them in between. */
static void jobq__sched_housekeeping(jobq *q, bool all) {
    struct jobq__pool *pool = &q->pool;
    bool prune;
    if (jobq__os_load(&q->failed)) return;
    do {
        int64_t now_ms, at_ms;
        jobq__os_lock(&pool->mu);
        at_ms = pool->timers.prune_at_ms;
        jobq__os_unlock(&pool->mu);
        if (at_ms == JOBQ_NEVER) break; /* nobody asks for the time */
        now_ms = jobq__clock_now_ms(q->clock);
        prune = jobq__sched_due(at_ms, now_ms);
        if (prune) jobq__sched_prune(q, now_ms);
    } while (prune && all && !jobq__os_load(&q->closing));
    jobq__sched_poll(q);
}

static void jobq__sched_commit(jobq *q) {
    if (jobq__sched_hold(q, JOBQ__SCHED_HOLD_US)) jobq__commit_lead(q);
}

static void jobq__sched_checkpoint(jobq *q) {
    if (!jobq__sched_hold(q, JOBQ__SCHED_HOLD_US)) return;
    jobq__log_checkpoint(q);
    jobq__baton_release(q);
}

/* ---- The thread ---- */

/* Tells what there is to tell. The callback may take its time, and each worker begin a long job
 * meanwhile: what is handed in by now is committed before, and what comes later by who brings
 * it. */
static bool jobq__sched_tell(jobq *q) {
    struct jobq__pool *pool = &q->pool;
    bool commit;
    if (!jobq__event_waiting(&q->events)) return false;
    jobq__os_lock(&pool->mu);
    pool->sched.away = true;
    commit = jobq__core_commit_due(q, jobq__clock_mono_us());
    jobq__os_unlock(&pool->mu);
    if (commit) jobq__sched_commit(q);
    jobq__event_deliver(&q->events, false);
    jobq__os_lock(&pool->mu);
    pool->sched.away = false;
    jobq__os_unlock(&pool->mu);
    return true;
}

/* Does one round of work; false if there was none. With pool.mu held, before and after. */
static bool jobq__sched_round(jobq *q, int64_t now_us) {
    struct jobq__pool *pool = &q->pool;
    struct jobq__now now = jobq__core_now(q);
    bool failed = jobq__os_load(&q->failed) != JOBQ_OK, owed = pool->sched.wants_baton;
    bool promote = jobq__sched_fire(q, now);
    bool early = now_us < pool->work.retry_at_us; /* nobody could write a moment ago */
    bool commit = !owed && !early && (promote || pool->work.foreign);
    bool overdue = !owed && jobq__core_commit_due(q, now_us)
                && (now_us - pool->outcomes.since_us >= JOBQ__DEFER_US || !pool->outcomes.count);
    bool house = !owed && (jobq__sched_due(pool->timers.prune_at_ms, now.wall_ms)
                           || pool->timers.poll_at_us <= now_us);
    bool checkpoint = !owed && !early && pool->work.checkpoint;
    bool events;
    jobq__os_unlock(&pool->mu);
    if (!failed && house) jobq__sched_housekeeping(q, false);
    if (!failed && (commit || overdue)) jobq__sched_commit(q);
    if (!failed && checkpoint) jobq__sched_checkpoint(q);
    events = jobq__sched_tell(q);
    jobq__os_lock(&pool->mu);
    return (!failed && (commit || overdue || house || checkpoint)) || events;
}

/* A thread waits by one clock only, here the monotonic: it looks often enough to see a step of the
 * other, and after a time asleep how much has passed. */
static int64_t jobq__sched_left_us(jobq *q, int64_t at_ms, int64_t own_at_ms, int64_t until_us) {
    struct jobq__now now = jobq__core_now(q);
    int64_t left_ms = until_us == INT64_MAX ? JOBQ__RESUME_SEEN_MS : JOBQ__STEP_SEEN_MS;
    left_ms = jobq__min(left_ms, jobq__sub(at_ms, now.wall_ms));
    left_ms = jobq__min(left_ms, jobq__sub(own_at_ms, now.own_ms));
    return JOBQ__MAX(left_ms, 0) * 1000;
}

/* When to look again, by which clock. now_us is what the round went by: what it found too early is
 * still to come then, even if its time has passed meanwhile. Deadlines, sleeps and waits by the
 * system's clock are no concern of ours: each is waited for by the thread that has it. */
static int64_t jobq__sched_until(jobq *q, int64_t now_us, bool *wall) {
    const struct jobq__pool *pool = &q->pool;
    const struct jobq__work *work = &pool->work;
    const struct jobq__timers *timers = &pool->timers;
    int64_t until_us = timers->poll_at_us, at_ms, own_at_ms;
    bool writes = !pool->sched.wants_baton && !jobq__os_load(&q->failed);
    *wall = false;
    if (!writes) until_us = INT64_MAX;
    if (writes && pool->sched.armed) until_us = JOBQ__MIN(until_us, now_us + JOBQ__DEFER_US);
    if (writes && work->retry_at_us > now_us
        && (pool->outcomes.count || work->left || work->foreign || work->checkpoint))
        until_us = JOBQ__MIN(until_us, work->retry_at_us);
    /* An artificial clock comes to us: advance and set kick. */
    if (q->clock || !writes) return until_us;
    at_ms = timers->due_fired ? JOBQ_NEVER : timers->due.at_ms[JOBQ__DUE_BY_WALL];
    at_ms = JOBQ__MIN(at_ms, timers->prune_at_ms);
    own_at_ms = timers->due_fired ? JOBQ_NEVER : timers->due.at_ms[JOBQ__DUE_BY_OWN];
    if (at_ms == JOBQ_NEVER && own_at_ms == JOBQ_NEVER) return until_us;
    *wall = until_us == INT64_MAX && own_at_ms == JOBQ_NEVER;
    if (*wall) return jobq__min(jobq__to_us(at_ms), INT64_MAX - 1);
    return jobq__min(until_us, now_us + jobq__sched_left_us(q, at_ms, own_at_ms, until_us));
}

static void jobq__sched_sleep(jobq *q, int64_t now_us, int64_t commits) {
    struct jobq__pool *pool = &q->pool;
    struct jobq__sched *sched = &pool->sched;
    bool wall;
    int64_t until_us;
    /* Armed as long as outcomes come in: a busy pool need not signal for each batch. */
    sched->armed = pool->outcomes.count > 0 || pool->stats.commits != commits;
    until_us = jobq__sched_until(q, now_us, &wall);
    sched->tick_on_wall = wall;
    sched->waits = true;
    jobq__wake_quiet(q);
    if (until_us == INT64_MAX) jobq__os_wait(&sched->tick_mono, &pool->mu);
    else jobq__os_wait_until(wall ? &sched->tick_wall : &sched->tick_mono, &pool->mu, until_us);
    sched->tick_on_wall = false;
    sched->waits = false;
}

JOBQ__INTERNAL void jobq__sched_main(void *arg) {
    jobq *q = arg;
    struct jobq__pool *pool = &q->pool;
    int64_t now_us, commits = 0;
    jobq__core_tell_thread(q, JOBQ_THREAD_SCHEDULER, 0, true);
    jobq__os_lock(&pool->mu);
    pool->sched.away = false;
    if (q->options.poll_ms != JOBQ_NONE) pool->timers.poll_at_us = 0;
    while (!pool->sched.quit) {
        pool->sched.kicked = false;
        now_us = jobq__clock_mono_us();
        if (jobq__sched_round(q, now_us) || pool->sched.kicked || pool->sched.quit)
            continue;
        jobq__sched_sleep(q, now_us, commits);
        commits = pool->stats.commits;
    }
    jobq__os_unlock(&pool->mu);
    jobq__core_tell_thread(q, JOBQ_THREAD_SCHEDULER, 0, false);
}

/* ---- Step mode ---- */

static int jobq__sched_enter(jobq *q, jobq_error *err) {
    struct jobq__pool *pool = &q->pool;
    bool busy;
    jobq__os_lock(&pool->mu);
    busy = pool->step.active;
    if (!busy) {
        pool->step.active = true;
        pool->step.halted = jobq__os_load(&q->closing) != 0;
        pool->crew.workers[0].thread = jobq__os_thread_self();
        pool->crew.workers[0].free_us = 0;
    }
    jobq__os_unlock(&pool->mu);
    if (!busy) return JOBQ_OK;
    return jobq__err_set(err, JOBQ_BUSY, "another thread steps this queue; one does at a time: call"
                         " again when it has returned");
}

/* From now on transactions claim, unless this is halted. */
static int jobq__sched_claim(jobq *q) {
    struct jobq__pool *pool = &q->pool;
    int rc = JOBQ_OK;
    jobq__os_lock(&pool->mu);
    while (pool->ring.behind && rc == JOBQ_OK) {
        jobq__os_unlock(&pool->mu);
        rc = jobq__pool_in_order(q, NULL);
        jobq__os_lock(&pool->mu);
    }
    if (rc == JOBQ_OK) pool->life.claiming = !pool->step.halted;
    jobq__os_unlock(&pool->mu);
    return rc;
}

static void jobq__sched_claim_no_more(jobq *q) {
    jobq__os_lock(&q->pool.mu);
    q->pool.life.claiming = false;
    jobq__os_unlock(&q->pool.mu);
}

static bool jobq__sched_halted(jobq *q) {
    bool halted;
    jobq__os_lock(&q->pool.mu);
    halted = q->pool.step.halted;
    jobq__os_unlock(&q->pool.mu);
    return halted;
}

static void jobq__sched_leave(jobq *q, bool all) {
    struct jobq__pool *pool = &q->pool;
    jobq__os_lock(&pool->mu);
    if (pool->step.halted) {
        int64_t until_us = jobq__add(jobq__clock_mono_us(), q->baton.busy_us);
        jobq__os_unlock(&pool->mu);
        jobq__pool_give_back(q, until_us, INT64_MAX, NULL);
        jobq__os_lock(&pool->mu);
    }
    pool->step.active = pool->life.claiming = false;
    jobq__wake_quiet(q);
    jobq__os_unlock(&pool->mu);
    jobq__event_deliver(&q->events, true);
    jobq__sched_housekeeping(q, all);
}

/* claiming: the next commit may claim more. */
static bool jobq__sched_run_one(jobq *q, bool claiming) {
    bool ran;
    jobq__os_lock(&q->pool.mu);
    q->pool.life.claiming = claiming && !q->pool.step.halted;
    ran = !q->pool.step.halted && jobq__pool_run_one(&q->pool.crew.workers[0]);
    jobq__os_unlock(&q->pool.mu);
    return ran;
}

/* Nothing ran: true if another commit may find something, in lanes that the last one could not look
 * at yet. */
static bool jobq__sched_again(jobq *q, int *rc) {
    bool again;
    jobq__os_lock(&q->pool.mu);
    again = q->pool.work.left && q->pool.life.claiming && !q->pool.step.halted;
    if (q->pool.work.starved) *rc = JOBQ_NO_MEMORY;
    jobq__os_unlock(&q->pool.mu);
    return again && *rc == JOBQ_OK;
}

/* One job; its outcome is durable when this returns. The pool claims when this is called. */
static int jobq__sched_one(jobq *q, int64_t *ran) {
    int rc;
    bool none;
    do {
        rc = jobq__commit_now(q);
        jobq__os_lock(&q->pool.mu);
        none = rc == JOBQ_OK && !q->pool.ring.count;
        jobq__os_unlock(&q->pool.mu);
    } while (none && jobq__sched_again(q, &rc));
    if (rc != JOBQ_OK || !jobq__sched_run_one(q, false)) return rc;
    ++*ran;
    return jobq__commit_now(q);
}

/* True if there is a job to run, and no time left for it. */
static bool jobq__sched_overtime(jobq *q, int64_t until_us) {
    bool waits;
    if (until_us == INT64_MAX || jobq__clock_mono_us() < until_us) return false;
    jobq__os_lock(&q->pool.mu);
    waits = q->pool.ring.count > 0;
    jobq__os_unlock(&q->pool.mu);
    return waits;
}

/* All jobs: each commit settles one and claims the next. One that is always due again would keep
 * us for ever: real time decides whether to give up, and nothing else. The pool claims when this is
 * called. */
static int jobq__sched_all(jobq *q, int64_t until_us, int64_t *ran) {
    int rc;
    while ((rc = jobq__commit_now(q)) == JOBQ_OK) {
        jobq__event_deliver(&q->events, true);
        if (*ran > 0 && jobq__sched_overtime(q, until_us)) {
            rc = JOBQ_STALLED;
            break;
        }
        if (jobq__sched_run_one(q, true)) ++*ran;
        else if (!jobq__sched_again(q, &rc)) break;
    }
    jobq__sched_claim_no_more(q);
    return rc;
}

static int jobq__sched_stalled(jobq *q, jobq_error *err) {
    char culprit[JOBQ__CULPRIT] = "a job is always due again";
    bool halted;
    jobq__os_lock(&q->pool.mu);
    jobq__core_culprit(q, culprit, sizeof culprit);
    halted = q->pool.step.halted;
    jobq__os_unlock(&q->pool.mu);
    if (halted)
        return jobq__err_set(err, JOBQ_STALLED, "jobq_stop has ended this call before the queue"
                             " came to rest; the next one goes on");
    return jobq__err_set(err, JOBQ_STALLED, "the queue did not come to rest within the %lld ms of"
                         " stall_ms: %s", (long long)q->options.stall_ms, culprit);
}

/* Another connection has the file: a loop that asks when to step again is to leave it some time. */
static void jobq__sched_put_off(jobq *q) {
    jobq__os_lock(&q->pool.mu);
    q->pool.work.retry_at_us = jobq__clock_mono_us() + JOBQ__TURN_PAUSE_MAX_US;
    jobq__os_unlock(&q->pool.mu);
}

/* Says so at once where housekeeping, or the pool meanwhile, has stopped the queue for good. */
static int jobq__sched_fail_if_stopped(jobq *q, jobq_error *err, int rc) {
    int failed = jobq__os_load(&q->failed);
    if (!failed || (rc != JOBQ_OK && rc != JOBQ_NOT_FOUND)) return rc;
    return jobq__fail_say(q, failed, err);
}

static int jobq__sched_fail(jobq *q, jobq_error *err, int rc) {
    static const char kept[] = "outcomes are kept and written by the next step";
    if (rc == JOBQ_BUSY) jobq__sched_put_off(q);
    if (jobq__os_load(&q->failed) == rc) return rc ? jobq__fail_say(q, rc, err) : rc;
    if (rc == JOBQ_CLOSED) return jobq__err_set(err, rc, NULL);
    if (rc == JOBQ_STALLED) return jobq__sched_stalled(q, err);
    if (rc == JOBQ_BUSY) return jobq__turn_busy(q, kept, err);
    if (rc != JOBQ_OK)
        jobq__err_set(err, rc, "%s: %.200s; %s", jobq_code_text(rc), q->files.path, kept);
    return rc;
}

JOBQ__INTERNAL int jobq__sched_step(jobq *q, bool all, int64_t *ran, jobq_error *err) {
    int rc = jobq__sched_enter(q, err);
    struct jobq__now now;
    *ran = 0;
    if (rc != JOBQ_OK) return rc;
    jobq__sched_housekeeping(q, all);
    now = jobq__core_now(q);
    jobq__os_lock(&q->pool.mu);
    jobq__sched_fire(q, now);
    jobq__os_unlock(&q->pool.mu);
    rc = jobq__sched_claim(q);
    if (rc == JOBQ_OK) rc = all ? jobq__sched_all(q, INT64_MAX, ran) : jobq__sched_one(q, ran);
    jobq__sched_leave(q, all);
    return jobq__sched_fail_if_stopped(q, err, jobq__sched_fail(q, err, rc));
}

/* ---- Advance ---- */

/* True if the next wake is the deadline of a handler that runs. With pool.mu held. */
static bool jobq__sched_deadline_next(jobq *q, int64_t target_ms) {
    const struct jobq__pool *pool = &q->pool;
    int64_t next_ms = jobq__sched_next_wake(q, jobq__core_now(q));
    int i;
    for (i = 0; i < pool->crew.count && next_ms <= target_ms; i++) {
        const struct jobq_run *run = &pool->crew.workers[i].run;
        if (jobq__timer_pending(&run->deadline.timer) && run->deadline.timer.at_ms == next_ms)
            return true;
    }
    return false;
}

static bool jobq__sched_at_rest(jobq *q) {
    struct jobq__now now = jobq__core_now(q);
    if (!jobq__pool_at_rest(q)) return false;
    /* Nobody is there to see to these unless the pool runs. */
    return !q->pool.sched.started
        || (!jobq__sched_due(jobq__sched_next_wake(q, now), now.mono_ms)
            && !jobq__sched_due(q->pool.timers.prune_at_ms, now.wall_ms));
}

static int64_t jobq__sched_stalls_us(const jobq *q) {
    return jobq__add(jobq__clock_mono_us(), jobq__to_us(q->options.stall_ms));
}

/* Waits until ring, handlers and outcomes are empty. A handler that waits for its own deadline
 * would never let it: when nothing has moved for a while, that deadline is fired all the same. */
static int jobq__sched_await_rest(jobq *q, int64_t target_ms) {
    struct jobq__pool *pool = &q->pool;
    int64_t now_us = jobq__clock_mono_us(), moved_us = now_us, started = -1;
    int64_t until_us = jobq__sched_stalls_us(q);
    int rc = JOBQ_OK;
    jobq__os_lock(&pool->mu);
    while (!jobq__sched_at_rest(q)) {
        rc = jobq__os_load(&q->closing) ? JOBQ_CLOSED : jobq__os_load(&q->failed);
        if (rc != JOBQ_OK) break;
        now_us = jobq__clock_mono_us();
        if (pool->stats.started != started) moved_us = now_us;
        started = pool->stats.started;
        if (jobq__sched_deadline_next(q, target_ms) && now_us - moved_us >= JOBQ__PATIENCE_US)
            break;
        if (now_us >= until_us) {
            rc = JOBQ_STALLED;
            break;
        }
        jobq__wake_await_quiet(q, JOBQ__MIN(until_us, now_us + JOBQ__PATIENCE_US));
    }
    jobq__os_unlock(&pool->mu);
    return rc;
}

/* Lets everything happen that is due now: on this thread in step mode, else by the pool. */
static int jobq__sched_settle(jobq *q, int64_t target_ms) {
    int64_t ran = 0;
    if (q->step_mode) {
        int rc = jobq__sched_claim(q);
        if (rc == JOBQ_OK) rc = jobq__sched_all(q, jobq__sched_stalls_us(q), &ran);
        if (rc != JOBQ_OK || !jobq__sched_halted(q)) return rc;
        return jobq__os_load(&q->closing) ? JOBQ_CLOSED : JOBQ_STALLED;
    }
    jobq__wake_scheduler(q);
    return jobq__sched_await_rest(q, target_ms);
}

/* Moves the clock to the next wake, if it is not after the target. */
static bool jobq__sched_to_wake(jobq *q, int64_t target_ms) {
    struct jobq__pool *pool = &q->pool;
    int64_t next_ms;
    jobq__os_lock(&pool->mu);
    next_ms = jobq__sched_next_wake(q, jobq__core_now(q));
    jobq__os_unlock(&pool->mu);
    if (next_ms == JOBQ_NEVER || next_ms > target_ms) return false;
    jobq__clock_move(q->clock, next_ms);
    jobq__os_lock(&pool->mu);
    if (jobq__sched_fire(q, jobq__core_now(q))) pool->work.foreign = true;
    jobq__os_unlock(&pool->mu);
    return true;
}

static int jobq__sched_advance_on(jobq *q, int64_t target_ms, bool next, jobq_error *err) {
    int rc = jobq__sched_settle(q, target_ms);
    while (rc == JOBQ_OK && jobq__sched_to_wake(q, target_ms)) {
        rc = jobq__sched_settle(q, target_ms);
        if (next) return jobq__sched_fail(q, err, rc);
    }
    if (rc != JOBQ_OK) return jobq__sched_fail(q, err, rc);
    if (next) return jobq__err_set(err, JOBQ_NOT_FOUND, "no wake is pending: nothing is scheduled,"
                                   " and no run or wait has an end");
    jobq__clock_move(q->clock, target_ms);
    return jobq__sched_fail(q, err, jobq__sched_settle(q, target_ms));
}

JOBQ__INTERNAL int jobq__sched_advance(jobq *q, int64_t target_ms, bool next, int *fired,
                                       jobq_error *err) {
    struct jobq__pool *pool = &q->pool;
    int64_t before;
    int rc = q->step_mode ? jobq__sched_enter(q, err) : JOBQ_OK;
    if (rc != JOBQ_OK) return rc;
    jobq__os_lock(&pool->mu);
    before = pool->timers.fired;
    jobq__os_unlock(&pool->mu);
    if (q->step_mode) jobq__os_store64(&pool->step.to_ms, target_ms);
    rc = jobq__sched_advance_on(q, target_ms, next, err);
    if (q->step_mode) {
        jobq__os_store64(&pool->step.to_ms, 0);
        jobq__sched_leave(q, true);
    }
    rc = jobq__sched_fail_if_stopped(q, err, rc);
    jobq__os_lock(&pool->mu);
    if (fired) *fired = (int)JOBQ__MIN(pool->timers.fired - before, INT32_MAX);
    jobq__os_unlock(&pool->mu);
    return rc;
}

/*==== life.h ====*/
/* life.h - the pool's life: start, stop, and what is left when the grace is over. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/life.h"
#endif
#ifndef JOBQ__LIFE_H
#define JOBQ__LIFE_H

/* #include "scheduler.h" */

/* Design note.
 *
 *   STOPPED -> RUNNING   jobq__life_start
 *   RUNNING -> STOPPING  jobq__life_raise_flags, of a stop or a close: no claims; stop flags
 *   STOPPING -> STOPPED  jobq__life_join: the last handler returned, the threads are joined
 *
 * jobq__life_go asserts them. One thread at a time starts or joins the others (changing), and the
 * first and the last edge are its own; the second may come while it starts them, by a close.
 *
 * Shutdown order: 1 claims off, 2 stop flags, 3 give back, 4 wait for handlers within the grace,
 * 5 workers end and are joined, 6 the last outcomes are committed, 7 the scheduler ends and is
 * joined. If the grace runs out at 4 the slots are released, and a later stop goes on there. At 3
 * and 6 another connection may have the file: then the outcomes stay handed in, the stop says so
 * when its time is over, and whatever commits next takes them along: another stop, a start, a call.
 * Only close gives them up, and says that it does. */

JOBQ__INTERNAL int jobq__life_start(jobq *q, jobq_error *err);
/* Handlers get grace_us; when they have returned, the last outcomes get what is left of it to be
 * written, and write_us at most. */
JOBQ__INTERNAL int jobq__life_stop(jobq *q, int64_t grace_us, int64_t write_us, jobq_error *err);
/* Steps 1 and 2 of the shutdown order. With pool.mu held. */
JOBQ__INTERNAL void jobq__life_raise_flags(jobq *q);

#endif

/*==== life.c ====*/
/* life.c - the pool's life: start, stop, and what is left when the grace is over. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/life.c"
#endif
/* #include "life.h" */

/* ---- The phase ---- */

static const unsigned jobq__life_edges[] = {
    [JOBQ__STOPPED] = JOBQ__EDGE(JOBQ__RUNNING),
    [JOBQ__RUNNING] = JOBQ__EDGE(JOBQ__STOPPING),
    [JOBQ__STOPPING] = JOBQ__EDGE(JOBQ__STOPPED),
};

/* The one place where it changes. Whoever starts or joins the threads has it for himself. */
static void jobq__life_go(jobq *q, enum jobq__phase phase) {
    struct jobq__life *life = &q->pool.life;
    jobq__assert(jobq__os_held(&q->pool.mu));
    jobq__assert(JOBQ__LEGAL(jobq__life_edges, life->phase, phase));
    jobq__assert(phase == JOBQ__STOPPING || life->changing);
    life->phase = phase;
}

/* ---- Start ---- */

static int jobq__life_start_threads(jobq *q) {
    struct jobq__pool *pool = &q->pool;
    struct jobq__os_thread what = {jobq__sched_main, q, q->options.stack_bytes, true};
    int i, rc;
    jobq__os_lock(&pool->mu);
    pool->sched.away = true; /* until its on_thread returns */
    jobq__os_unlock(&pool->mu);
    rc = jobq__os_thread_start(&pool->sched.thread, &what);
    if (rc != JOBQ_OK) return rc;
    jobq__os_lock(&pool->mu);
    pool->sched.started = true;
    jobq__os_unlock(&pool->mu);
    for (i = 0; i < pool->crew.count && rc == JOBQ_OK; i++) {
        struct jobq__worker *worker = &pool->crew.workers[i];
        what = (struct jobq__os_thread){jobq__pool_work, worker, what.stack_bytes, false};
        /* Before it is there, for it may end before we come to say so. */
        jobq__os_lock(&pool->mu);
        jobq__wake_worker_to(worker, JOBQ__WORKER_AWAKE);
        jobq__os_unlock(&pool->mu);
        /* Only who starts or joins touches the handle. */
        rc = jobq__os_thread_start(&worker->joins, &what);
        if (rc == JOBQ_OK) continue;
        jobq__os_lock(&pool->mu);
        jobq__wake_worker_to(worker, JOBQ__WORKER_ABSENT);
        jobq__os_unlock(&pool->mu);
    }
    return rc;
}

static int jobq__life_still_stops(jobq *q, jobq_error *err) {
    char culprit[JOBQ__CULPRIT] = "what has run is not written";
    jobq__os_lock(&q->pool.mu);
    jobq__core_culprit(q, culprit, sizeof culprit);
    jobq__os_unlock(&q->pool.mu);
    return jobq__err_set(err, JOBQ_BUSY, "the last stop has not come to its end yet: %s; call"
                         " jobq_stop again before jobq_start", culprit);
}

JOBQ__INTERNAL int jobq__life_start(jobq *q, jobq_error *err) {
    struct jobq__pool *pool = &q->pool;
    enum jobq__phase life;
    bool behind;
    int rc;
    jobq__os_lock(&pool->mu);
    /* A stop may have to tell its last events yet. */
    while (pool->life.phase == JOBQ__STOPPED && pool->life.changing)
        jobq__wake_await_quiet(q, INT64_MAX);
    life = pool->life.phase;
    behind = life == JOBQ__STOPPED && pool->ring.behind;
    if (life == JOBQ__STOPPED && !behind) {
        pool->life.claiming = pool->work.left = pool->life.changing = true;
        pool->life.epoch++;
        jobq__life_go(q, JOBQ__RUNNING);
        pool->sched.quit = false;
    }
    jobq__os_unlock(&pool->mu);
    if (behind) {
        rc = jobq__pool_in_order(q, err);
        return rc == JOBQ_OK ? jobq__life_start(q, err) : rc;
    }
    if (life == JOBQ__RUNNING) {
        jobq__owner_stay(&q->owner);
        return JOBQ_OK;
    }
    /* A close that came after this call did may be what stops it. */
    if (life == JOBQ__STOPPING && jobq__os_load(&q->closing))
        return jobq__err_set(err, JOBQ_CLOSED, NULL);
    if (life == JOBQ__STOPPING) {
        /* The handlers that outlived the grace may have returned since; outcomes that the stop
         * could not write are the new pool's to write. */
        jobq__life_stop(q, 0, 0, NULL);
        jobq__os_lock(&pool->mu);
        life = pool->life.phase;
        jobq__os_unlock(&pool->mu);
        if (life != JOBQ__STOPPING) return jobq__life_start(q, err);
        return jobq__life_still_stops(q, err);
    }
    jobq__owner_stay(&q->owner);
    rc = jobq__life_start_threads(q);
    jobq__os_lock(&pool->mu);
    pool->life.changing = false;
    jobq__wake_quiet(q);
    jobq__os_unlock(&pool->mu);
    if (rc != JOBQ_OK) {
        jobq__life_stop(q, INT64_MAX, q->baton.busy_us, NULL);
        if (rc == JOBQ_IO)
            return jobq__err_set(err, rc, "the system refuses threads with a stack of %lld bytes"
                                 " or more; give another .stack_bytes, or none",
                                 (long long)q->options.stack_bytes);
        return jobq__err_set(err, rc, "a thread could not be started: the system has no room"
                             " for %d workers and a scheduler (ulimit -u, memory; fewer .workers or"
                             " smaller .stack_bytes)", pool->crew.count);
    }
    jobq__wake_scheduler(q);
    return JOBQ_OK;
}

/* ---- Stop ---- */

/* When nobody runs handlers any more. The last commit may just be under way. */
static int jobq__life_write_last(jobq *q, int64_t until_us, int64_t write_us, jobq_error *err) {
    int64_t most_us = jobq__add(jobq__clock_mono_us(), write_us);
    return jobq__pool_give_back(q, JOBQ__MIN(until_us, most_us), JOBQ__END_US, err);
}

/* True while this stop has something to wait for: another may have finished it, and the pool may
 * even have been started again. With pool.mu held. */
static bool jobq__life_stopping(const jobq *q, int64_t epoch) {
    return q->pool.life.epoch == epoch && q->pool.life.phase == JOBQ__STOPPING;
}

/* Waits for the workers to end; false if the time is over. The grace is the handlers': a worker
 * that runs none is only about to commit, to tell of it and to end. With pool.mu held. */
static bool jobq__life_await_workers(jobq *q, int64_t until_us, int64_t epoch) {
    struct jobq__pool *pool = &q->pool;
    while (jobq__life_stopping(q, epoch)) {
        int i, workers = 0, handlers = 0;
        int64_t limit_us;
        for (i = 0; i < pool->crew.count; i++) {
            struct jobq__worker *worker = &pool->crew.workers[i];
            if (worker->state == JOBQ__WORKER_ABSENT || worker->state == JOBQ__WORKER_ENDED)
                continue;
            workers++;
            if (jobq__os_load(&worker->run.handling)) handlers++;
        }
        if (!workers) break;
        limit_us = handlers ? until_us : jobq__add(until_us, JOBQ__END_US);
        if (jobq__clock_mono_us() >= limit_us) return false;
        jobq__wake_await_quiet(q, limit_us);
    }
    return true;
}

static int jobq__life_join(jobq *q, int64_t until_us, int64_t write_us, jobq_error *err) {
    struct jobq__pool *pool = &q->pool;
    int i, rc;
    for (i = 0; i < pool->crew.count; i++)
        if (pool->crew.workers[i].state == JOBQ__WORKER_ENDED)
            jobq__os_thread_join(pool->crew.workers[i].joins);
    rc = jobq__life_write_last(q, until_us, write_us, err);
    jobq__os_lock(&pool->mu);
    for (i = 0; i < pool->crew.count; i++)
        if (pool->crew.workers[i].state == JOBQ__WORKER_ENDED)
            jobq__wake_worker_to(&pool->crew.workers[i], JOBQ__WORKER_ABSENT);
    pool->sched.quit = true;
    jobq__os_unlock(&pool->mu);
    jobq__wake_scheduler(q);
    if (pool->sched.started) jobq__os_thread_join(pool->sched.thread);
    jobq__os_lock(&pool->mu);
    pool->sched.started = false;
    jobq__life_go(q, JOBQ__STOPPED);
    /* Who waits for a job has to ask now whether anybody is left who could end that. */
    jobq__wake_waiters(q);
    jobq__os_unlock(&pool->mu);
    jobq__event_deliver(&q->events, true);
    return rc;
}

JOBQ__INTERNAL void jobq__life_raise_flags(jobq *q) {
    struct jobq__pool *pool = &q->pool;
    int i;
    pool->life.claiming = false;
    pool->step.halted = pool->step.active;
    if (pool->life.phase == JOBQ__RUNNING) jobq__life_go(q, JOBQ__STOPPING);
    for (i = 0; i < pool->crew.count; i++) {
        struct jobq__worker *worker = &pool->crew.workers[i];
        if (worker->run.entry) jobq__wake_stop(&worker->run, JOBQ__STOP_SHUTDOWN);
        jobq__wake_worker(worker);
    }
}

/* Its time is over: handlers are left behind, uncharged. */
static int jobq__life_late(jobq *q, jobq_error *err) {
    char culprit[JOBQ__CULPRIT] = "a callback (on_event, on_thread) still runs";
    bool handler;
    jobq__owner_release_all(&q->owner);
    jobq__os_lock(&q->pool.mu);
    handler = jobq__core_culprit(q, culprit, sizeof culprit);
    jobq__os_unlock(&q->pool.mu);
    if (!handler)
        return jobq__err_set(err, JOBQ_TIMEOUT, "%s; what is returned is settled", culprit);
    return jobq__err_set(err, JOBQ_TIMEOUT, "%s; what is returned is settled. A handler that takes"
                         " long has to look at jobq_should_stop", culprit);
}

/* Step mode: whoever steps gives back what it has claimed and leaves. */
static int jobq__life_halt(jobq *q, int64_t until_us, jobq_error *err) {
    struct jobq__pool *pool = &q->pool;
    bool ended;
    jobq__os_lock(&pool->mu);
    jobq__life_raise_flags(q);
    while (pool->step.halted && pool->step.active && jobq__clock_mono_us() < until_us)
        jobq__wake_await_quiet(q, until_us);
    ended = !pool->step.halted || !pool->step.active;
    jobq__os_unlock(&pool->mu);
    return ended ? JOBQ_OK : jobq__life_late(q, err);
}

/* Another thread's stop has the joining and the last outcomes to do: that is waited for as handlers
 * are, but longer only if nobody else keeps the file from it. False if the time is over. With
 * pool.mu held. */
static bool jobq__life_await_other(jobq *q, int64_t until_us, int64_t epoch) {
    struct jobq__pool *pool = &q->pool;
    while (pool->life.changing && jobq__life_stopping(q, epoch)) {
        int64_t now_us = jobq__clock_mono_us();
        int64_t more_us = jobq__os_load(&q->turn.taken) ? 0 : JOBQ__END_US;
        if (now_us >= jobq__add(until_us, more_us)) return false;
        jobq__wake_await_quiet(q, now_us + JOBQ__TURN_PAUSE_MAX_US);
    }
    return true;
}

JOBQ__INTERNAL int jobq__life_stop(jobq *q, int64_t grace_us, int64_t write_us,
                                   jobq_error *err) {
    struct jobq__pool *pool = &q->pool;
    int64_t now_us = jobq__clock_mono_us(), until_us = jobq__add(now_us, grace_us), epoch;
    bool ended = false, mine = false;
    int rc;
    jobq__os_lock(&pool->mu);
    /* Another thread may be starting or stopping: it goes first. */
    while (pool->life.changing && pool->life.phase != JOBQ__STOPPED) {
        if (pool->life.phase == JOBQ__STOPPING) break;
        jobq__wake_await_quiet(q, INT64_MAX);
    }
    if (pool->life.phase == JOBQ__STOPPED) {
        jobq__os_unlock(&pool->mu);
        rc = q->step_mode ? jobq__life_halt(q, until_us, err) : JOBQ_OK;
        return rc == JOBQ_OK ? jobq__life_write_last(q, until_us, write_us, err) : rc;
    }
    jobq__life_raise_flags(q);
    epoch = pool->life.epoch;
    jobq__os_unlock(&pool->mu);
    /* Even without a grace: a commit of our own that is under way ends soon. Another connection
     * that has the file is waited for when the last handler has returned. */
    jobq__pool_give_back(q, now_us, jobq__baton_by_job(q) ? 0 : JOBQ__END_US, NULL);
    jobq__os_lock(&pool->mu);
    /* One of those who wait joins the threads, when nobody starts them any more: a close may have
     * come in between. */
    ended = jobq__life_await_workers(q, until_us, epoch);
    while (ended && pool->life.changing && jobq__life_stopping(q, epoch))
        ended = jobq__life_await_other(q, until_us, epoch)
             && jobq__life_await_workers(q, until_us, epoch);
    if (ended && jobq__life_stopping(q, epoch)) mine = pool->life.changing = true;
    jobq__os_unlock(&pool->mu);
    if (!ended) return jobq__life_late(q, err);
    if (!mine) return jobq__life_write_last(q, until_us, write_us, err);
    rc = jobq__life_join(q, until_us, write_us, err);
    jobq__os_lock(&pool->mu);
    pool->life.changing = false;
    jobq__wake_quiet(q);
    jobq__os_unlock(&pool->mu);
    return rc;
}

/*==== config.h ====*/
/* config.h - defaults and checks of what the caller gives. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/config.h"
#endif
#ifndef JOBQ__CONFIG_H
#define JOBQ__CONFIG_H

/* #include "tx.h" */

/* A copy of given (may be NULL) with every default filled in. */
JOBQ__INTERNAL int jobq__config_options(const jobq_options *given, jobq_options *options,
                                        jobq_error *err);
/* The same for a kind; the queue's options give some of the defaults. */
JOBQ__INTERNAL int jobq__config_kind(const jobq_options *options, const jobq_kind *given,
                                     jobq_kind *kind, jobq_error *err);
/* A duration given to a call: not negative, and not JOBQ_UNLIMITED. */
JOBQ__INTERNAL int jobq__config_span(const char *what, int64_t ms, bool none, jobq_error *err);
/* what is the field's name, for the sentence. */
JOBQ__INTERNAL int jobq__config_name(const char *what, const char *name, size_t max,
                                     jobq_error *err);
JOBQ__INTERNAL int jobq__config_job(const jobq_options *options, const jobq_job *job,
                                    int64_t now_ms, jobq_error *err);

#endif

/*==== config.c ====*/
/* config.c - defaults and checks of what the caller gives. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/config.c"
#endif
/* #include "config.h" */

/* As milliseconds it would be 24.86 days. */
static int jobq__config_endless(const char *what, jobq_error *err) {
    return jobq__err_set(err, JOBQ_BAD_TIME, "%s is JOBQ_UNLIMITED, which is for counts; a duration"
                         " without end is JOBQ_NEVER", what);
}

static int jobq__config_negative(const char *what, int64_t given, bool none, jobq_error *err) {
    return jobq__err_set(err, JOBQ_BAD_TIME, "%s is %lld; a duration is not negative%s", what,
                         (long long)given, none ? ", but it may be JOBQ_NONE (-1)" : "");
}

/* A duration: 0 is the default, NONE passes where it means something, NEVER is without end. */
static int jobq__config_ms(const char *what, int64_t given, int64_t fallback, bool none,
                           int64_t *ms, jobq_error *err) {
    *ms = given ? given : fallback;
    if (given == JOBQ_UNLIMITED) return jobq__config_endless(what, err);
    if (*ms >= 0 || (none && *ms == JOBQ_NONE)) return JOBQ_OK;
    return jobq__config_negative(what, given, none, err);
}

JOBQ__INTERNAL int jobq__config_span(const char *what, int64_t ms, bool none, jobq_error *err) {
    if (ms < 0) return jobq__config_negative(what, ms, none, err);
    return ms == JOBQ_UNLIMITED ? jobq__config_endless(what, err) : JOBQ_OK;
}

/* 0 is the default; special is what else it may be, in words. */
static int jobq__config_count(const char *what, int64_t given, int64_t fallback, int64_t low,
                              int64_t high, const char *special, int64_t *count, jobq_error *err) {
    *count = given ? given : fallback;
    if (*count >= low && *count <= high) return JOBQ_OK;
    return jobq__err_set(err, JOBQ_MISUSE, "%s is %lld; it must be between %lld and %lld, or 0 for"
                         " the default%s", what, (long long)given, (long long)low, (long long)high,
                         special);
}

static int jobq__config_times(const jobq_options *given, jobq_options *o, jobq_error *err) {
    int rc = jobq__config_ms("busy_ms", given->busy_ms, JOBQ__BUSY_MS, true, &o->busy_ms, err);
    if (rc == JOBQ_OK)
        rc = jobq__config_ms("poll_ms", given->poll_ms,
                             given->shared ? JOBQ__SHARED_POLL_MS : JOBQ_NONE, true, &o->poll_ms,
                             err);
    if (rc == JOBQ_OK)
        rc = jobq__config_ms("keep_done_ms", given->keep_done_ms, JOBQ__KEEP_DONE_MS, true,
                             &o->keep_done_ms, err);
    if (rc == JOBQ_OK)
        rc = jobq__config_ms("keep_failed_ms", given->keep_failed_ms, JOBQ__KEEP_FAILED_MS, true,
                             &o->keep_failed_ms, err);
    if (rc == JOBQ_OK)
        rc = jobq__config_ms("stall_ms", given->stall_ms, JOBQ__STALL_MS, false, &o->stall_ms,
                             err);
    if (o->busy_ms == JOBQ_NONE) o->busy_ms = 0;
    if (o->poll_ms == JOBQ_NEVER) o->poll_ms = JOBQ_NONE;
    return rc;
}

static int jobq__config_page_size(int given, jobq_options *o, jobq_error *err) {
    o->page_size = given ? given : JOBQ__PAGE_SIZE;
    if (o->page_size >= 512 && o->page_size <= 65536 && !(o->page_size & (o->page_size - 1)))
        return JOBQ_OK;
    return jobq__err_set(err, JOBQ_MISUSE, "page_size is %d; it must be a power of two between"
                         " 512 and 65536, or 0 for the default", given);
}

static bool jobq__config_mode_fits(int mode) {
    return (mode & 0600) == 0600 && !(mode & ~0666);
}

/* 640 is 01200. */
static int jobq__config_no_mode(int mode, jobq_error *err) {
    int hundreds = mode / 100, tens = mode / 10 % 10, ones = mode % 10;
    bool forgot = hundreds <= 7 && tens <= 7 && ones <= 7 && mode >= 0
               && jobq__config_mode_fits(hundreds * 64 + tens * 8 + ones);
    return jobq__err_set(err, JOBQ_MISUSE, "mode is 0%o%s; it must hold 0600 and no bit outside"
                         " 0666, such as 0660 for clients of the same group", (unsigned)mode,
                         forgot ? " (written without the leading 0?)" : "");
}

JOBQ__INTERNAL int jobq__config_options(const jobq_options *given, jobq_options *o,
                                        jobq_error *err) {
    static const jobq_options defaults;
    int64_t workers, wal_pages;
    int rc;
    if (!given) given = &defaults;
    *o = *given;
    if (given->role != JOBQ_OWNER && given->role != JOBQ_CLIENT)
        return jobq__err_set(err, JOBQ_MISUSE, "role is %d, none of jobq_role",
                             (int)given->role);
    if (given->durability != JOBQ_DURABLE && given->durability != JOBQ_RELAXED)
        return jobq__err_set(err, JOBQ_MISUSE, "durability is %d, none of"
                             " jobq_durability", (int)given->durability);
    if (given->migrate != JOBQ_MIGRATE_AUTO && given->migrate != JOBQ_MIGRATE_NEVER)
        return jobq__err_set(err, JOBQ_MISUSE, "migrate is %d, none of jobq_migrate",
                             (int)given->migrate);
    if (given->exclusive && (given->shared || given->role == JOBQ_CLIENT))
        return jobq__err_set(err, JOBQ_MISUSE, "exclusive is for an owner whose file nobody else"
                             " opens: no client may say it, and no owner that says shared");
    rc = jobq__config_times(given, o, err);
    if (rc == JOBQ_OK && given->workers == JOBQ_NONE)
        workers = JOBQ_NONE;
    else if (rc == JOBQ_OK)
        rc = jobq__config_count("workers", given->workers, JOBQ__WORKERS, 1, JOBQ_WORKERS_MAX,
                                ", or JOBQ_NONE for step mode", &workers, err);
    o->mode = given->mode ? given->mode : JOBQ__FILE_MODE;
    if (rc == JOBQ_OK && !jobq__config_mode_fits(o->mode)) rc = jobq__config_no_mode(o->mode, err);
    if (rc == JOBQ_OK)
        rc = jobq__config_count("payload_max", given->payload_max, JOBQ__PAYLOAD_MAX, 1,
                                JOBQ_PAYLOAD_MAX, "", &o->payload_max, err);
    if (rc == JOBQ_OK)
        rc = jobq__config_count("wal_pages", given->wal_pages, JOBQ__WAL_PAGES,
                                JOBQ__WAL_PAGES_MIN, 1000000, "", &wal_pages, err);
    if (rc == JOBQ_OK)
        rc = jobq__config_count("keep_max", given->keep_max, JOBQ_UNLIMITED, 1, INT64_MAX,
                                ", or JOBQ_UNLIMITED", &o->keep_max, err);
    if (rc == JOBQ_OK && given->stack_bytes)
        rc = jobq__config_count("stack_bytes", given->stack_bytes, 0, JOBQ__STACK_MIN,
                                JOBQ__STACK_MAX, "", &o->stack_bytes, err);
    if (rc == JOBQ_OK && given->reserve_bytes && given->reserve_bytes != JOBQ_NONE)
        rc = jobq__config_count("reserve_bytes", given->reserve_bytes, 0, JOBQ__RESERVE_MIN,
                                INT64_MAX / 4, ", or JOBQ_NONE for no reserve", &o->reserve_bytes,
                                err);
    /* No more than the system's type can say, whose last value means "as it is". */
    if (rc == JOBQ_OK && given->group_id)
        rc = jobq__config_count("group_id", given->group_id, 0, 1, (int64_t)UINT32_MAX - 1, "",
                                &o->group_id, err);
    if (rc != JOBQ_OK) return rc;
    o->workers = (int)workers;
    o->wal_pages = (int)wal_pages;
    return jobq__config_page_size(given->page_size, o, err);
}

/* The least delay and the longest: two that are given must agree, a default gives way. */
static int jobq__config_backoff(const jobq_kind *given, jobq_kind *kind, jobq_error *err) {
    int64_t *min_ms = &kind->backoff_min_ms, *max_ms = &kind->backoff_max_ms;
    if (*min_ms == JOBQ_NONE) *min_ms = 0;
    if (*max_ms == JOBQ_NONE) *max_ms = 0;
    if (*min_ms <= *max_ms) return JOBQ_OK;
    if (given->backoff_min_ms && given->backoff_max_ms)
        return jobq__err_set(err, JOBQ_BAD_TIME, "backoff_min_ms, %lld, is longer than"
                             " backoff_max_ms, %lld", (long long)*min_ms, (long long)*max_ms);
    if (given->backoff_min_ms) *max_ms = *min_ms;
    else *min_ms = *max_ms;
    return JOBQ_OK;
}

static int jobq__config_kind_times(const jobq_options *options, const jobq_kind *given,
                                   jobq_kind *kind, jobq_error *err) {
    int rc = jobq__config_ms("backoff_min_ms", given->backoff_min_ms, JOBQ__BACKOFF_MIN_MS, true,
                             &kind->backoff_min_ms, err);
    if (rc == JOBQ_OK)
        rc = jobq__config_ms("backoff_max_ms", given->backoff_max_ms, JOBQ__BACKOFF_MAX_MS, true,
                             &kind->backoff_max_ms, err);
    if (rc == JOBQ_OK)
        rc = jobq__config_ms("timeout_ms", given->timeout_ms, JOBQ_NONE, true, &kind->timeout_ms,
                             err);
    if (rc == JOBQ_OK)
        rc = jobq__config_ms("keep_done_ms", given->keep_done_ms, options->keep_done_ms, true,
                             &kind->keep_done_ms, err);
    if (rc == JOBQ_OK)
        rc = jobq__config_ms("keep_failed_ms", given->keep_failed_ms, options->keep_failed_ms,
                             true, &kind->keep_failed_ms, err);
    if (rc == JOBQ_OK) rc = jobq__config_backoff(given, kind, err);
    if (kind->timeout_ms == JOBQ_NEVER) kind->timeout_ms = JOBQ_NONE;
    return rc;
}

JOBQ__INTERNAL int jobq__config_kind(const jobq_options *options, const jobq_kind *given,
                                     jobq_kind *kind, jobq_error *err) {
    int64_t attempts = 0, crashes = 0;
    int rc;
    *kind = *given;
    rc = jobq__config_name("the kind's name", given->name, JOBQ_NAME_MAX, err);
    if (rc != JOBQ_OK) return rc;
    if (!given->run)
        return jobq__err_set(err, JOBQ_MISUSE, "the kind %s has no handler; set .run", given->name);
    rc = jobq__config_kind_times(options, given, kind, err);
    if (rc == JOBQ_OK)
        rc = jobq__config_count("attempts_max", given->attempts_max, JOBQ__ATTEMPTS_MAX, 1,
                                JOBQ_UNLIMITED, ", or JOBQ_UNLIMITED", &attempts, err);
    if (rc == JOBQ_OK)
        rc = jobq__config_count("crashes_max", given->crashes_max, JOBQ__CRASHES_MAX, 1,
                                JOBQ_UNLIMITED, ", or JOBQ_UNLIMITED", &crashes, err);
    if (rc != JOBQ_OK) return rc;
    kind->attempts_max = (int)attempts;
    kind->crashes_max = (int)crashes;
    if (given->jitter_percent == JOBQ_NONE) kind->jitter_percent = 0;
    else if (!given->jitter_percent) kind->jitter_percent = JOBQ__JITTER_PERCENT;
    if (kind->jitter_percent < 0 || kind->jitter_percent > 100)
        return jobq__err_set(err, JOBQ_MISUSE, "jitter_percent is %d; it must be between 1 and 100,"
                             " or JOBQ_NONE", given->jitter_percent);
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__config_name(const char *what, const char *name, size_t max,
                                     jobq_error *err) {
    size_t size = 0;
    if (!name) return jobq__err_set(err, JOBQ_BAD_NAME, "%s is missing", what);
    while (size <= max && name[size]) size++;
    if (!size) return jobq__err_set(err, JOBQ_BAD_NAME, "%s is empty", what);
    if (size > max)
        return jobq__err_set(err, JOBQ_BAD_NAME, "%s is longer than %d bytes: %.*s...", what,
                             (int)max, (int)max, name);
    return JOBQ_OK;
}

static int jobq__config_payload(const jobq_options *options, const jobq_job *job,
                                jobq_error *err) {
    size_t size = jobq__tx_job_size(job);
    if (job->text && (job->payload || job->size))
        return jobq__err_set(err, JOBQ_MISUSE, "text is set together with payload or size; a job"
                             " has .text for a string, or .payload with .size");
    if (job->size && !job->payload)
        return jobq__err_set(err, JOBQ_MISUSE, "the payload is NULL but has a size, %llu; set"
                             " .payload, or leave the size 0", (unsigned long long)job->size);
    if (job->payload && !job->size)
        return jobq__err_set(err, JOBQ_MISUSE, "the payload has no size: set .size, or .text in"
                             " place of .payload for a string; an empty payload is NULL");
    if (size > (size_t)options->payload_max)
        return jobq__err_set(err, JOBQ_TOO_BIG, "the payload has %llu bytes; payload_max is %lld",
                             (unsigned long long)size, (long long)options->payload_max);
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__config_job(const jobq_options *options, const jobq_job *job,
                                    int64_t now_ms, jobq_error *err) {
    int rc = jobq__config_name("the kind", job->kind, JOBQ_NAME_MAX, err);
    if (rc == JOBQ_OK && job->queue)
        rc = jobq__config_name("the queue", job->queue, JOBQ_NAME_MAX, err);
    if (rc == JOBQ_OK && job->key)
        rc = jobq__config_name("the key", job->key, JOBQ_KEY_MAX, err);
    if (rc != JOBQ_OK) return rc;
    if (job->conflict != JOBQ_KEEP && job->conflict != JOBQ_REFUSE)
        return jobq__err_set(err, JOBQ_MISUSE, "conflict is %d, none of jobq_conflict",
                             (int)job->conflict);
    rc = jobq__config_payload(options, job, err);
    if (rc != JOBQ_OK) return rc;
    if (job->run_at_ms && job->delay_ms)
        return jobq__err_set(err, JOBQ_MISUSE, "run_at_ms and delay_ms are both set; leave"
                             " one of them 0");
    if (job->run_at_ms < 0)
        return jobq__err_set(err, JOBQ_BAD_TIME, "run_at_ms is %lld; it counts milliseconds since"
                             " 1970", (long long)job->run_at_ms);
    rc = jobq__config_span("delay_ms", job->delay_ms, false, err);
    if (rc != JOBQ_OK) return rc;
    if (job->delay_ms != JOBQ_NEVER && job->delay_ms > INT64_MAX - now_ms)
        return jobq__err_set(err, JOBQ_BAD_TIME, "delay_ms, %lld, reaches past the end of time;"
                             " a job that is not to be due is JOBQ_NEVER",
                             (long long)job->delay_ms);
    return JOBQ_OK;
}

/*==== api.h ====*/
/* api.h - the porch: every public call goes in and out through it. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/api.h"
#endif
#ifndef JOBQ__API_H
#define JOBQ__API_H

/* #include "alter.h" */
/* #include "config.h" */
/* #include "life.h" */
/* #include "recover.h" */

/* Counts the call as inside, so that close waits for it, or says why it may not enter: MISUSE for
 * NULL and from on_connect, FORKED, CLOSED. call is the name of the function. */
JOBQ__INTERNAL int jobq__api_enter(jobq *q, const char *call, jobq_error *err);
/* The same for calls of the owner only. */
JOBQ__INTERNAL int jobq__api_enter_owner(jobq *q, const char *call, jobq_error *err);
/* And for those that neither a handler nor a callback may make; what these are to do instead. */
JOBQ__INTERNAL int jobq__api_enter_outside(jobq *q, const char *call, const char *way_out,
                                           jobq_error *err);
/* Returns rc. */
JOBQ__INTERNAL int jobq__api_leave(jobq *q, int rc);

/* Has a request written: by a group, or, where this thread is in its job's transaction, as part of
 * that; alone: the name of a call that cannot be part of it (MISUSE), else NULL. */
JOBQ__INTERNAL int jobq__api_request(jobq *q, struct jobq__request *request, const char *alone,
                                     jobq_error *err);

/* JOBQ_NOT_FOUND, and why that may be. */
JOBQ__INTERNAL int jobq__api_none(int64_t id, jobq_error *err);

/* What jobq_get does, inside (api_look.c). In memory it waits for wait_us of a job's transaction:
 * JOBQ_BUSY. */
JOBQ__INTERNAL int jobq__look_read(jobq *q, int64_t id, int64_t wait_us, jobq_info *info,
                                   jobq_error *err);

#endif

/*==== api.c ====*/
/* api.c - open, start, stop, close, register. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/api.c"
#endif
/* #include "api.h" */

#include <errno.h>

/* ---- The door ---- */

static int jobq__api_come_in(jobq *q, const char *call, jobq_error *err) {
    if (!q) return jobq__err_set(err, JOBQ_MISUSE, "the queue is NULL: it was not opened, or is"
                                " closed already");
    if (jobq__owner_forked(&q->owner)) return jobq__err_set(err, JOBQ_FORKED, NULL);
    if (jobq__core_in_connect(q)) return jobq__core_refuse_connect(call, err);
    jobq__os_add(&q->inside, 1);
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__api_enter(jobq *q, const char *call, jobq_error *err) {
    int rc = jobq__api_come_in(q, call, err);
    if (rc != JOBQ_OK || !jobq__os_load(&q->closing)) return rc;
    return jobq__api_leave(q, jobq__err_set(err, JOBQ_CLOSED, NULL));
}

/* Added to q->inside while a close waits for the last of the calls to leave. */
#define JOBQ__AWAITED (1 << 30)

JOBQ__INTERNAL int jobq__api_leave(jobq *q, int rc) {
    jobq__assert(jobq__err_is_public(rc));
    /* Nothing of q may be touched after this: close may be waiting to free it. So the last one out
     * calls over what is the process's. */
    if (jobq__os_add(&q->inside, -1) == JOBQ__AWAITED) jobq__os_global_call();
    return rc;
}

/* The owner's calls, and what a client does instead. */
static const struct jobq__api_instead {
    const char *call, *way_out;
} jobq__api_instead[] = {
    {"jobq_register", "The owner does; jobs of a kind that it does not know wait there (parked)"},
    {"jobq_start", "Jobs run where the owner is: its process starts the workers"},
    {"jobq_stop", "The workers are in the owner's process; a client ends with jobq_close"},
    {"jobq_notify", "An owner with .shared = true looks for a client's jobs by itself (poll_ms)"},
    {"jobq_cancel", "To have the owner do it, enqueue a job whose handler does"},
    {"jobq_retry_now", "To have the owner do it, enqueue a job whose handler does"},
    {"jobq_delete", "To have the owner do it, enqueue a job whose handler does"},
    {"jobq_check", "The owner repairs; a client may check, with repair = false"},
    {"jobq_wait", "Look again with jobq_get"},
    {"jobq_step", "Jobs run where the owner is; jobq_get tells what has become of one"},
    {"jobq_run_until_idle", "Jobs run where the owner is; jobq_get tells what has become of one"},
    {"jobq_advance", "What is to happen happens there; jobq_clock_advance moves a clock alone"},
    {"jobq_advance_to_next", "What is to happen happens there; jobq_clock_advance moves a clock"
                             " alone"},
    {"jobq_next_deadline", "A client has nothing to do at any time, and need not ask"},
};

static int jobq__api_refuse_client(const char *call, jobq_error *err) {
    size_t i = 0;
    while (i < JOBQ__COUNT(jobq__api_instead) - 1 && strcmp(jobq__api_instead[i].call, call)) i++;
    jobq__assert(strcmp(jobq__api_instead[i].call, call) == 0);
    return jobq__err_set(err, JOBQ_MISUSE, "%s is for the owner of the queue; a client enqueues,"
                         " flushes and looks inside (get, list, count, stat). %s", call,
                         jobq__api_instead[i].way_out);
}

JOBQ__INTERNAL int jobq__api_enter_owner(jobq *q, const char *call, jobq_error *err) {
    int rc = jobq__api_enter(q, call, err);
    if (rc == JOBQ_OK && q->client)
        rc = jobq__api_leave(q, jobq__api_refuse_client(call, err));
    return rc;
}

/* In step mode the runs of a handler that was left by a jump never end. */
static int jobq__api_refuse_inside(const jobq *q, const char *where, const char *call,
                                   const char *way_out, jobq_error *err) {
    const char *perhaps = " (or has an exception or longjmp left a handler on this thread?)";
    return jobq__err_set(err, JOBQ_MISUSE, "%s may not call %s, which would wait until it returns;"
                         " %s%s", where, call, way_out,
                         q->step_mode && !jobq__os_call_name() ? perhaps : "");
}

JOBQ__INTERNAL int jobq__api_enter_outside(jobq *q, const char *call, const char *way_out,
                                           jobq_error *err) {
    const char *where;
    int rc = jobq__api_come_in(q, call, err);
    if (rc != JOBQ_OK) return rc;
    /* Before CLOSED: a handler or callback is inside, so the queue is not freed yet. */
    where = jobq__core_where(q);
    if (where)
        rc = jobq__api_refuse_inside(q, where, call, way_out, err);
    else if (jobq__os_load(&q->closing))
        rc = jobq__err_set(err, JOBQ_CLOSED, NULL);
    else if (q->client)
        rc = jobq__api_refuse_client(call, err);
    return rc == JOBQ_OK ? rc : jobq__api_leave(q, rc);
}

JOBQ__INTERNAL int jobq__api_none(int64_t id, jobq_error *err) {
    return jobq__err_set(err, JOBQ_NOT_FOUND, "there is no job %lld: it never was, was deleted, or"
                         " has ended and is not kept any more (keep_done_ms, keep_failed_ms)",
                         (long long)id);
}

JOBQ__INTERNAL int jobq__api_request(jobq *q, struct jobq__request *request, const char *alone,
                                     jobq_error *err) {
    jobq_error local;
    int rc;
    /* The caller's record is written only on failure, and by nobody but the caller's thread. */
    local.code = JOBQ_OK;
    request->err = &local;
    if (!jobq__baton_in_job(q)) {
        rc = jobq__commit_request(q, request);
    } else if (alone) {
        return jobq__err_set(err, JOBQ_MISUSE, "after jobq_run_db this thread may not call %s,"
                             " which would wait for the transaction of its own job; call it before"
                             " that, or when the handler has returned (it may enqueue and look)",
                             alone);
    } else {
        q->job_run->joined = true;
        rc = jobq__commit_join(&q->tx, request);
    }
    if (rc != JOBQ_OK && err) *err = local;
    return rc;
}

/* ---- Open ---- */

static int jobq__api_init(jobq *q) {
    int rc;
    q->due.at_ms[JOBQ__DUE_BY_WALL] = q->due.at_ms[JOBQ__DUE_BY_OWN] = JOBQ_NEVER;
    rc = jobq__pool_init(q);
    jobq__tx_init(q);
    if (rc == JOBQ_OK) rc = jobq__baton_init(q);
    if (rc == JOBQ_OK) rc = jobq__event_init(&q->events, q->options.on_event, q->options.ctx);
    q->events.after = jobq__wake_told;
    q->events.arg = q;
    if (rc == JOBQ_OK) rc = jobq__os_mutex_init(&q->reader_mu);
    if (rc == JOBQ_OK) jobq__os_mutex_patient(&q->reader_mu);
    q->wal_next = q->options.wal_pages;
    q->look_lanes = true;
    return rc;
}

static void jobq__api_free(jobq *q) {
    jobq__clock_leave(q->clock, &q->steps);
    jobq__tx_fini(q);
    jobq__registry_fini(&q->names);
    jobq__event_fini(&q->events);
    jobq__baton_fini(q);
    jobq__os_mutex_fini(&q->reader_mu);
    jobq__pool_fini(q);
    jobq__files_fini(&q->files);
    jobq__mem_free(q);
}

static int jobq__api_doubt(const jobq *q, jobq_error *err) {
    return jobq__err_set(err, JOBQ_BUSY, "the owner before could not sync the log of %.250s; it has"
                         " to be copied first, and another connection reads it: end its"
                         " transaction, and open the queue again", q->files.path);
}

/* The owner before could not sync the log: it goes into the database before more is added. */
static int jobq__api_copy_doubtful(jobq *q, jobq_error *err) {
    bool all;
    int rc;
    if (!jobq__owner_doubtful(&q->owner)) return JOBQ_OK;
    rc = jobq__log_copy(q, jobq__store_waits_until(&q->writer), true, &all);
    if (rc != JOBQ_OK) return jobq__store_fail(&q->writer, err);
    return all ? rc : jobq__api_doubt(q, err);
}

/* The application's turn with the writer, which may have changed the journal. */
static int jobq__api_set_up_writer(jobq *q, jobq_error *err) {
    int rc = jobq__core_setup(q, &q->writer, JOBQ__STORE_WRITER, err);
    if (rc == JOBQ_OK && q->options.on_connect) rc = jobq__store_pin(&q->writer, err);
    if (rc != JOBQ_OK || q->options.durability != JOBQ_RELAXED) return rc;
    rc = jobq__store_sync_all(&q->writer, false);
    return rc == JOBQ_OK ? rc : jobq__store_fail(&q->writer, err);
}

/* A file of an older schema. What the owner before had set aside is room for this, too; if even
 * that is too little, nothing is touched. */
static int jobq__api_migrate(jobq *q, jobq_error *err) {
    int64_t bytes, room;
    bool all = true;
    int rc = jobq__migrate_look(&q->writer, q->options.migrate, &bytes, err);
    if (rc != JOBQ_OK || !bytes) return rc;
    room = jobq__add(jobq__owner_disk_free(&q->owner), q->owner.reserved);
    if (bytes > room) {
        jobq__err_set(err, JOBQ_FULL, "%.200s has schema 1, and to make schema %d of it may take"
                      " %lld bytes of disk, of which %lld are free; free some, and open it again",
                      q->files.path, JOBQ__SCHEMA_VERSION, (long long)bytes, (long long)room);
        return JOBQ__NO_ROOM;
    }
    if (bytes > room - q->owner.reserved) jobq__owner_reserve(&q->owner, 0);
    /* Else see jobq__api_copy_doubtful. */
    if (jobq__owner_doubtful(&q->owner)) rc = jobq__store_copy_log(&q->writer, true, &all);
    if (rc != JOBQ_OK) return jobq__store_fail(&q->writer, err);
    return all ? jobq__migrate(&q->writer, err) : jobq__api_doubt(q, err);
}

/* The tables stand, and the file is in WAL mode: somebody may have taken it out of that. */
static int jobq__api_ready(jobq *q, jobq_error *err) {
    int rc;
    if (q->client) return jobq__store_find(&q->writer, err);
    rc = jobq__api_migrate(q, err);
    if (rc != JOBQ_OK) return rc;
    return jobq__store_make(&q->writer, q->options.page_size, q->files.created || q->memory,
                            q->options.join, err);
}

/* Who crashed before waits in a line of its own, whose gate lets one pass at a time. */
static bool jobq__api_line_of_suspects(jobq *q) {
    struct jobq__name *name = jobq__registry_add(&q->names, JOBQ__LANE_SUSPECT, JOBQ__NAME_ANY,
                                                  "");
    if (!name) return false;
    q->suspects = &name->lane;
    q->suspects->unordered = true;
    jobq__gate_init(&q->suspects->gate, 1, false);
    return true;
}

/* Damage that recovery meets may be jobq_check's to see to; nobody else has begun anything. */
static int jobq__api_recover(jobq *q, int64_t until_us, jobq_error *err) {
    struct jobq__fault why;
    int rc = jobq__recover(q, until_us, err);
    if (rc != JOBQ_CORRUPT || !q->options.damaged) return rc;
    why = jobq__store_reason(&q->writer);
    jobq__fail_heed(q, rc, &why);
    return JOBQ_OK;
}

/* Own time goes on from what is written of it. Damage there is recovery's to find. */
static int jobq__api_own_time(jobq *q, jobq_error *err) {
    int64_t offset_ms, at_ms;
    int rc = jobq__store_own_time(&q->writer, &offset_ms, &at_ms);
    jobq__own_begin(&q->own, q->clock, offset_ms, at_ms);
    return rc == JOBQ_OK || rc == JOBQ_CORRUPT ? JOBQ_OK : jobq__store_fail(&q->writer, err);
}

static int jobq__api_open_db(jobq *q, jobq_error *err) {
    int64_t until_us;
    int rc = jobq__core_connect(q, &q->writer, JOBQ__STORE_WRITER, err);
    if (rc == JOBQ_OK) rc = jobq__api_ready(q, err);
    if (rc == JOBQ_OK) rc = jobq__api_set_up_writer(q, err);
    if (rc == JOBQ_OK) jobq__files_opened(&q->files, !q->options.exclusive);
    if (rc == JOBQ_OK && !q->memory)
        rc = jobq__core_join_in(q, &q->reader, JOBQ__STORE_READER, err);
    if (rc == JOBQ_OK && !q->memory && !q->client)
        rc = jobq__core_join_in(q, &q->copier, JOBQ__STORE_COPIER, err);
    if (rc != JOBQ_OK) return rc;
    jobq__store_bind(&q->writer);
    if (!jobq__api_line_of_suspects(q)) return jobq__err_set(err, JOBQ_NO_MEMORY, NULL);
    jobq__disk_measure(q);
    if (!q->client) rc = jobq__api_copy_doubtful(q, err);
    if (rc == JOBQ_OK) rc = jobq__api_own_time(q, err);
    /* From now on waiting is done outside SQLite (turn.h). */
    until_us = jobq__store_waits_until(&q->writer);
    jobq__store_wait_no_more(&q->writer);
    if (rc != JOBQ_OK) return rc;
    if (!q->client) return jobq__api_recover(q, until_us, err);
    if (jobq__store_max_id(&q->writer, &q->last_id) != JOBQ_OK)
        return jobq__store_fail(&q->writer, err);
    return JOBQ_OK;
}

static int jobq__api_own(jobq *q, jobq_error *err) {
    int32_t writers = q->options.exclusive ? JOBQ__HAS_IT_ALL
                    : q->options.shared ? JOBQ__SHARES : JOBQ__WRITES_ALONE;
    int rc;
    if (!q->client) return jobq__owner_take(&q->owner, &q->files, writers, err);
    rc = jobq__owner_watch(&q->owner, &q->files, err);
    if (rc != JOBQ_OK) return rc;
    q->unsafe = jobq__store_loses_commits();
    if (q->unsafe && !q->options.shared)
        return jobq__err_set(err, JOBQ_UNSAFE_SQLITE,
                             "SQLite before 3.51.3 may lose data with two writers: this client was"
                             " opened without .shared = true; open it with that, and the owner"
                             " too, or use a newer SQLite");
    return q->unsafe ? jobq__owner_allows(&q->owner, true, err) : rc;
}

static void jobq__api_close_files(jobq *q) {
    int failed = jobq__os_load(&q->failed);
    bool all;
    /* After an I/O error SQLite's own close does good: it copies what it knows to be synced, and
     * cuts off a commit in doubt. After anything else closing could only make it worse. */
    if (failed && failed != JOBQ_IO) {
        jobq__store_own(&q->writer, false);
        jobq__store_own(&q->reader, false);
        jobq__store_own(&q->copier, false);
        jobq__store_own(&q->job, false);
    } else if (!failed && q->ours && !q->memory) {
        jobq__store_copy_log(&q->writer, true, &all);
    }
    jobq__store_close(&q->job);
    jobq__store_close(&q->copier);
    jobq__store_close(&q->reader);
    jobq__store_close(&q->writer);
    jobq__owner_drop(&q->owner);
}

/* On a full disk not even the log's shared memory may have found room: the reserve of the owner
 * before us is for that, too. */
static int jobq__api_open_again(jobq *q, jobq_error *err) {
    int tries = 0, rc = jobq__api_open_db(q, err);
    while (rc == JOBQ_FULL && tries++ < JOBQ__OPEN_TRIES && jobq__disk_lend_some(q)) {
        jobq__store_close(&q->copier);
        jobq__store_close(&q->reader);
        jobq__store_close(&q->writer);
        rc = jobq__api_open_db(q, err);
    }
    return rc == JOBQ__NO_ROOM ? JOBQ_FULL : rc;
}

static int jobq__api_open_files(jobq *q, const char *path, jobq_error *err) {
    int rc = jobq__store_vfs(q->options.exclusive, q->vfs, sizeof q->vfs, err);
    if (rc == JOBQ_OK) rc = jobq__files_find(&q->files, path, &q->options, err);
    if (rc == JOBQ_OK) rc = jobq__api_own(q, err);
    if (rc == JOBQ_OK) rc = jobq__api_open_again(q, err);
    if (rc == JOBQ_BUSY && q->client && jobq__owner_has_it_all(&q->owner))
        return jobq__owner_keeps_out(&q->owner, err);
    if (rc != JOBQ_OK) return jobq__turn_shut_out(q, rc, "the queue was not opened", err);
    jobq__disk_arm(q);
    rc = jobq__disk_look(q, jobq__clock_mono_us());
    if (rc != JOBQ_OK) return jobq__fail_say(q, rc, err);
    if (q->client) return rc;
    jobq__owner_match(&q->owner);
    q->ours = true;
    jobq__store_own(&q->writer, true);
    return rc;
}

/* Whoever was compiled with another jobq.h lays out the structs in another way. A new patch level
 * changes none of them. */
static int jobq__api_check_version(int header, jobq_error *err) {
    if (header / 1000 == JOBQ_VERSION_NUMBER / 1000) return JOBQ_OK;
    return jobq__err_set(err, JOBQ_MISUSE,
                         "the caller was compiled with jobq.h %d.%d.%d, the library is jobq.c %s;"
                         " compile both with the same jobq.h", header / 1000000,
                         header / 1000 % 1000, header % 1000, JOBQ_VERSION);
}

/* The artificial clock was set: what it shows now may be late for something. */
static void jobq__api_stepped(void *arg) {
    jobq__wake_scheduler(arg);
}

JOBQ_API int jobq_open_as(const char *path, const jobq_options *options, jobq **out,
                          jobq_error *err, int header_version) {
    jobq *q;
    int rc;
    if (!out) return jobq__err_set(err, JOBQ_MISUSE, "q must not be NULL");
    *out = NULL;
    rc = jobq__api_check_version(header_version, err);
    if (rc != JOBQ_OK) return rc;
    if (!path || !*path)
        return jobq__err_set(err, JOBQ_MISUSE, "the path must not be NULL or empty; a queue"
                             " without a file is \":memory:\"");
    rc = jobq__owner_check_heir(path, err);
    if (rc == JOBQ_OK) rc = jobq__store_check(err);
    if (rc != JOBQ_OK) return rc;
    q = jobq__mem_new(sizeof *q);
    if (!q) return jobq__err_set(err, JOBQ_NO_MEMORY, NULL);
    rc = jobq__config_options(options, &q->options, err);
    if (rc != JOBQ_OK) {
        jobq__mem_free(q);
        return rc;
    }
    q->client = q->options.role == JOBQ_CLIENT;
    q->wal_by_default = !options || !options->wal_pages;
    q->step_mode = q->options.workers == JOBQ_NONE && !q->client;
    q->memory = strcmp(path, ":memory:") == 0;
    q->clock = q->options.clock;
    q->owner.fd = q->owner.entry = -1;
    rc = jobq__api_init(q);
    if (rc != JOBQ_OK) jobq__err_set(err, rc, NULL);
    else if (q->memory && q->client)
        rc = jobq__err_set(err, JOBQ_NOT_FOUND, "a client cannot open \":memory:\", which only its"
                           " owner sees; give both the path of a file");
    else rc = jobq__api_open_files(q, path, err);
    jobq__assert(jobq__err_is_public(rc));
    if (rc != JOBQ_OK) {
        jobq__api_close_files(q);
        jobq__api_free(q);
        return rc;
    }
    jobq__clock_join(q->clock, &q->steps, jobq__api_stepped, q);
    *out = q;
    return JOBQ_OK;
}

/* ---- Close ---- */

/* Everybody out: waiters are told, then the last call that is inside. */
static void jobq__api_await_calls(jobq *q) {
    jobq__os_lock(&q->pool.mu);
    jobq__wake_waiters(q);
    jobq__os_unlock(&q->pool.mu);
    jobq__os_global_lock();
    /* By an addition, so that who comes in later is sure to see that the queue is closing. */
    jobq__os_add(&q->inside, JOBQ__AWAITED);
    while (jobq__os_load(&q->inside) != JOBQ__AWAITED) jobq__os_global_wait();
    jobq__os_add(&q->inside, -JOBQ__AWAITED);
    jobq__os_global_unlock();
}

JOBQ_API int jobq_close(jobq **at) {
    jobq *q;
    bool mine;
    int rc;
    if (!at) return JOBQ_MISUSE;
    /* Of several who close at the same time the others are calls like any other. They read the
     * handle and come in at one moment, so that who clears it can wait for them. */
    jobq__os_global_lock();
    q = *at;
    if (q) jobq__os_add(&q->inside, 1);
    jobq__os_global_unlock();
    if (!q) return JOBQ_MISUSE;
    if (jobq__owner_forked(&q->owner)) {
        *at = NULL;
        return JOBQ_FORKED;
    }
    if (jobq__core_in_handler(q) || jobq__core_in_callback(q) || jobq__core_in_connect(q))
        return jobq__api_leave(q, JOBQ_MISUSE);
    jobq__os_lock(&q->pool.mu);
    mine = !jobq__os_load(&q->closing);
    jobq__os_store(&q->closing, 1);
    if (mine) jobq__life_raise_flags(q);
    jobq__os_unlock(&q->pool.mu);
    if (!mine) return jobq__api_leave(q, JOBQ_CLOSED);
    if (!q->client) jobq__owner_release_all(&q->owner);
    jobq__api_leave(q, JOBQ_OK);
    jobq__api_await_calls(q);
    rc = jobq__life_stop(q, INT64_MAX, q->baton.busy_us, NULL);
    jobq__event_deliver(&q->events, true);
    jobq__os_global_lock();
    *at = NULL; /* only now: handlers and callbacks may have read it */
    jobq__os_global_unlock();
    jobq__api_await_calls(q);
    jobq__api_close_files(q);
    jobq__api_free(q);
    return rc;
}

/* ---- Start, stop, register ---- */

JOBQ_API int jobq_start(jobq *q, jobq_error *err) {
    int rc = jobq__api_enter_outside(q, "jobq_start", "let the thread do that that opened"
                                     " the queue, or another", err);
    if (rc != JOBQ_OK) return rc;
    if (q->step_mode)
        rc = jobq__err_set(err, JOBQ_MISUSE, "in step mode (workers = JOBQ_NONE) there are no"
                           " workers to start; call jobq_step, jobq_run_until_idle or"
                           " jobq_advance");
    else if (jobq__os_load(&q->failed))
        rc = jobq__fail_say(q, jobq__os_load(&q->failed), err);
    else
        rc = jobq__life_start(q, err);
    return jobq__api_leave(q, rc);
}

JOBQ_API int jobq_stop(jobq *q, int64_t grace_ms, jobq_error *err) {
    int64_t grace_us;
    int rc = jobq__api_enter_outside(q, "jobq_stop", "tell another thread to stop the"
                                     " queue, and return", err);
    if (rc != JOBQ_OK) return rc;
    if (grace_ms == 0) grace_ms = JOBQ__GRACE_MS;
    if (grace_ms == JOBQ_NONE) grace_ms = 0;
    rc = jobq__config_span("grace_ms", grace_ms, true, err);
    if (rc != JOBQ_OK) return jobq__api_leave(q, rc);
    grace_us = grace_ms > INT64_MAX / 1000 ? INT64_MAX : grace_ms * 1000;
    return jobq__api_leave(q, jobq__life_stop(q, grace_us, INT64_MAX, err));
}

struct jobq__api_kind {
    jobq_kind spec;
    int32_t id;
    bool more;
    int64_t left_us; /* of busy_ms, for all of the call */
};

static int jobq__api_write_kind(struct jobq__tx *tx, struct jobq__request *r) {
    struct jobq__api_kind *kind = r->arg;
    int rc = jobq__tx_resolve(tx, JOBQ__NAME_KIND, kind->spec.name, &kind->id, r->err);
    if (rc != JOBQ_OK) return rc;
    if (jobq__tx_handled(tx, kind->id))
        return jobq__err_set(r->err, JOBQ_MISUSE, "the kind %s is registered already, until the"
                             " queue is closed", kind->spec.name);
    return JOBQ_OK;
}

static void jobq__api_after_kind(jobq *q, struct jobq__request *r) {
    struct jobq__api_kind *given = r->arg;
    struct jobq__name *name = jobq__registry_add(&q->names, given->id, JOBQ__NAME_KIND,
                                                  given->spec.name);
    struct jobq__kind *kind = name ? &name->kind : NULL;
    if (!kind) {
        r->rc = jobq__err_set(r->err, JOBQ_NO_MEMORY, NULL);
        return;
    }
    /* Two threads may register the same kind in one group. */
    if (!jobq__gate_is_shut(&kind->gate)) {
        r->rc = jobq__err_set(r->err, JOBQ_MISUSE, "the kind %s is registered already, until the"
                              " queue is closed", name->text);
        return;
    }
    kind->spec = given->spec;
    kind->spec.name = name->text;
    jobq__gate_open(&kind->gate);
    jobq__list_append(&q->opened, &kind->opened);
}

static int jobq__api_write_drain(struct jobq__tx *tx, struct jobq__request *r) {
    const struct jobq__api_kind *kind = r->arg;
    tx->drain = -kind->id;
    return JOBQ_OK;
}

static void jobq__api_after_drain(jobq *q, struct jobq__request *r) {
    struct jobq__api_kind *kind = r->arg;
    kind->more = jobq__tx_gates_open(q, jobq__registry_kind(&q->names, kind->id));
}

/* What was parked for want of a handler becomes ready, a slice a transaction. The kind is
 * registered by now: what this cannot finish is left to the transactions that claim, and of other
 * owners. */
static void jobq__api_drain(jobq *q, struct jobq__api_kind *kind) {
    struct jobq__request request;
    int rc;
    do {
        memset(&request, 0, sizeof request);
        request.write = jobq__api_write_drain;
        request.after = jobq__api_after_drain;
        request.arg = kind;
        request.atomic = true;
        request.left_us = &kind->left_us;
        rc = jobq__api_request(q, &request, "jobq_register", NULL);
    } while (rc == JOBQ_OK && kind->more);
    if (rc != JOBQ_OK) jobq_notify(q, NULL);
}

JOBQ_API int jobq_register(jobq *q, const jobq_kind *given, jobq_error *err) {
    struct jobq__api_kind kind;
    struct jobq__request request;
    int rc = jobq__api_enter_owner(q, "jobq_register", err);
    if (rc != JOBQ_OK) return rc;
    memset(&kind, 0, sizeof kind);
    memset(&request, 0, sizeof request);
    if (!given)
        rc = jobq__err_set(err, JOBQ_MISUSE, "the kind is NULL");
    else
        rc = jobq__config_kind(&q->options, given, &kind.spec, err);
    if (rc != JOBQ_OK) return jobq__api_leave(q, rc);
    request.write = jobq__api_write_kind;
    request.after = jobq__api_after_kind;
    request.arg = &kind;
    request.left_us = &kind.left_us;
    kind.left_us = q->baton.busy_us;
    rc = jobq__api_request(q, &request, "jobq_register", err);
    if (rc == JOBQ_OK) jobq__api_drain(q, &kind);
    return jobq__api_leave(q, rc);
}

JOBQ_API int jobq_notify(jobq *q, jobq_error *err) {
    int rc = jobq__api_enter_owner(q, "jobq_notify", err);
    if (rc != JOBQ_OK) return rc;
    jobq__os_lock(&q->pool.mu);
    q->pool.work.foreign = q->pool.work.left = true;
    jobq__os_unlock(&q->pool.mu);
    jobq__wake_scheduler(q);
    jobq__wake_loop(q);
    return jobq__api_leave(q, JOBQ_OK);
}

/*==== api_jobs.c ====*/
/* api_jobs.c - enqueue, flush, cancel, retry, delete: what callers want written. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/api_jobs.c"
#endif
/* #include "api.h" */

/* ---- Enqueue ---- */

/* Checks the jobs, and says in the request what they take. */
static int jobq__jobs_check_all(jobq *q, const struct jobq__enqueue *enqueue,
                                struct jobq__request *request, jobq_error *err) {
    int64_t now_ms = jobq__clock_now_ms(q->clock);
    const jobq_job *jobs = enqueue->jobs;
    jobq_error row;
    size_t i;
    request->atomic = enqueue->count > 1;
    for (i = 0; i < enqueue->count; i++) {
        int64_t size;
        int rc = jobq__config_job(&q->options, &jobs[i], now_ms, &row);
        if (rc != JOBQ_OK) {
            jobq__tx_at_row(enqueue, i, &row);
            if (err) *err = row;
            return rc;
        }
        size = (int64_t)jobq__tx_job_size(&jobs[i]);
        request->atomic = request->atomic || jobs[i].key;
        request->adds = jobq__add(request->adds, size + JOBQ__ROW_BYTES);
        request->largest = JOBQ__MAX(request->largest, size);
    }
    return JOBQ_OK;
}

static int jobq__jobs_enqueue(jobq *q, struct jobq__enqueue enqueue, jobq_error *err) {
    struct jobq__request request;
    int rc;
    memset(&request, 0, sizeof request);
    rc = jobq__jobs_check_all(q, &enqueue, &request, err);
    if (rc != JOBQ_OK || !enqueue.count) return rc;
    request.write = jobq__tx_enqueue;
    request.arg = &enqueue;
    return jobq__api_request(q, &request, NULL, err);
}

JOBQ_API int jobq_enqueue(jobq *q, const jobq_job *job, int64_t *id, jobq_error *err) {
    jobq_stored stored = {0, 0};
    int rc = jobq__api_enter(q, "jobq_enqueue", err);
    if (id) *id = 0;
    if (rc != JOBQ_OK) return rc;
    if (!job) return jobq__api_leave(q, jobq__err_set(err, JOBQ_MISUSE, "the job is NULL"));
    rc = jobq__jobs_enqueue(q, (struct jobq__enqueue){job, 1, &stored, false}, err);
    if (id && rc == JOBQ_OK) *id = stored.id;
    return jobq__api_leave(q, rc);
}

JOBQ_API int jobq_enqueue_many(jobq *q, const jobq_job *jobs, size_t count, jobq_stored *rows,
                               jobq_error *err) {
    bool too_many = count > SIZE_MAX / sizeof *jobs;
    int rc;
    if (rows && count && !too_many) memset(rows, 0, count * sizeof *rows);
    rc = jobq__api_enter(q, "jobq_enqueue_many", err);
    if (rc != JOBQ_OK) return rc;
    if (too_many)
        return jobq__api_leave(q, jobq__err_set(err, JOBQ_MISUSE, "count is %llu, which"
                                                 " is beyond all memory",
                                                 (unsigned long long)count));
    if (!jobs && count)
        rc = jobq__err_set(err, JOBQ_MISUSE, "jobs is NULL but count is not 0");
    else
        rc = jobq__jobs_enqueue(q, (struct jobq__enqueue){jobs, count, rows, true}, err);
    if (rc != JOBQ_OK && rows && count) memset(rows, 0, count * sizeof *rows);
    return jobq__api_leave(q, rc);
}

static int jobq__jobs_write_flush(struct jobq__tx *tx, struct jobq__request *r) {
    (void)r;
    return jobq__store_sync(tx->db);
}

JOBQ_API int jobq_flush(jobq *q, jobq_error *err) {
    struct jobq__request request;
    int rc = jobq__api_enter(q, "jobq_flush", err);
    if (rc != JOBQ_OK) return rc;
    memset(&request, 0, sizeof request);
    request.write = jobq__jobs_write_flush;
    request.sync = true;
    if (q->options.durability == JOBQ_RELAXED || jobq__os_load(&q->failed))
        rc = jobq__api_request(q, &request, "jobq_flush", err);
    return jobq__api_leave(q, rc);
}

/* ---- Change ---- */

static int jobq__jobs_alter(jobq *q, const char *call, int64_t id,
                            int (*write)(struct jobq__tx *tx, struct jobq__request *r),
                            void (*after)(jobq *q, struct jobq__request *r), jobq_error *err) {
    struct jobq__alter alter = {id, NULL};
    struct jobq__request request;
    int rc = jobq__api_enter_owner(q, call, err);
    if (rc != JOBQ_OK) return rc;
    memset(&request, 0, sizeof request);
    request.write = write;
    request.after = after;
    request.arg = &alter;
    request.atomic = true;
    rc = jobq__api_request(q, &request, call, err);
    if (rc == JOBQ_NOT_FOUND) jobq__api_none(id, err);
    return jobq__api_leave(q, rc);
}

JOBQ_API int jobq_cancel(jobq *q, int64_t id, jobq_error *err) {
    return jobq__jobs_alter(q, "jobq_cancel", id, jobq__alter_cancel,
                            jobq__alter_cancelled, err);
}

JOBQ_API int jobq_retry_now(jobq *q, int64_t id, jobq_error *err) {
    return jobq__jobs_alter(q, "jobq_retry_now", id, jobq__alter_retry, NULL, err);
}

JOBQ_API int jobq_delete(jobq *q, int64_t id, jobq_error *err) {
    return jobq__jobs_alter(q, "jobq_delete", id, jobq__alter_delete,
                            jobq__alter_deleted, err);
}

/*==== api_look.c ====*/
/* api_look.c - get, list, count, stat, payload, result: looks that change nothing. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/api_look.c"
#endif
/* #include "api.h" */

/* Design note.
 *
 * A look reads the last committed state on the reader's connection, beside whoever writes; in
 * memory, where there is one connection only, with the baton, and inside a job's transaction what
 * that has written. Between look_begin and look_end the connection is this thread's, and no
 * callback runs. A listing goes in slices, and lets others have it in between, so it tells
 * of no single moment.
 *
 * What a claimed row really is, runs, waits in the ring or has just ended, only the pool knows:
 * look_read asks it, and reads again if the row has changed in between. */

static bool jobq__look_runs(void *ctx, int64_t id) {
    return jobq__owner_runs(&((jobq *)ctx)->owner, id);
}

static int jobq__look_end(jobq *q, struct jobq__look *look, int rc, jobq_error *err) {
    struct jobq__fault why = jobq__store_reason(look->db);
    if (rc != JOBQ_OK && rc != JOBQ_NOT_FOUND) rc = jobq__store_fail(look->db, err);
    if (!q->memory) jobq__os_unlock(&q->reader_mu);
    else if (jobq__baton_in_job(q)) jobq__guard_leave(look->db);
    else jobq__baton_release(q);
    jobq__fail_heed(q, rc, &why);
    return rc;
}

/* A memory database has one connection, so looking needs the baton there. *left_us: how long others
 * may have it meanwhile. */
static int jobq__look_begin(jobq *q, struct jobq__look *look, int64_t *left_us, jobq_error *err) {
    int rc;
    look->ctx = q;
    look->runs = jobq__look_runs;
    look->now = jobq__core_now(q);
    look->db = q->memory ? &q->writer : &q->reader;
    /* Its handler holds it, and sees what it has written. */
    if (q->memory && !jobq__baton_in_job(q)) {
        rc = jobq__baton_hold(q, left_us);
        if (rc == JOBQ_BUSY) return jobq__turn_busy(q, "nothing was read", err);
        return rc == JOBQ_OK ? rc : jobq__fail_say(q, rc, err);
    }
    if (q->memory) jobq__guard_enter(look->db);
    else jobq__core_lock_reader(q);
    rc = jobq__core_own_of_file(q, look->db, &look->now);
    return rc == JOBQ_OK ? rc : jobq__look_end(q, look, rc, err);
}

static int jobq__look_read_row(jobq *q, int64_t id, int64_t *left_us, jobq_info *info,
                               bool *claimed, jobq_error *err) {
    struct jobq__look look;
    int rc = jobq__look_begin(q, &look, left_us, err);
    if (rc != JOBQ_OK) return rc;
    return jobq__look_end(q, &look, jobq__store_info(&look, id, info, claimed), err);
}

JOBQ__INTERNAL int jobq__look_read(jobq *q, int64_t id, int64_t wait_us, jobq_info *info,
                                   jobq_error *err) {
    enum jobq__whereabouts where = JOBQ__NOWHERE;
    bool claimed;
    int rc, tries = 0;
    do {
        if (tries > 0) jobq__os_yield();
        claimed = false;
        rc = jobq__look_read_row(q, id, &wait_us, info, &claimed, err);
        if (claimed && !q->client) where = jobq__alter_find(q, id);
    } while (claimed && !q->client && where == JOBQ__NOWHERE && tries++ < JOBQ__LOOKS_MAX);
    if (claimed && where == JOBQ__RUNS) {
        info->state = JOBQ_STATE_RUNNING;
        info->runs++;
    }
    if (rc == JOBQ_NOT_FOUND) jobq__api_none(id, err);
    return rc;
}

JOBQ_API int jobq_get(jobq *q, int64_t id, jobq_info *info, jobq_error *err) {
    int rc = jobq__api_enter(q, "jobq_get", err);
    if (rc != JOBQ_OK) return rc;
    if (!info) rc = jobq__err_set(err, JOBQ_MISUSE, "info must not be NULL");
    else rc = jobq__look_read(q, id, q->baton.busy_us, info, err);
    return jobq__api_leave(q, rc);
}

static int jobq__look_blob(jobq *q, const char *call, int64_t id, bool result, void *buffer,
                           size_t capacity, size_t *size, jobq_error *err) {
    struct jobq__look look;
    size_t whole = 0;
    int64_t left_us;
    int rc = jobq__api_enter(q, call, err);
    if (size) *size = 0;
    if (rc != JOBQ_OK) return rc;
    if (!buffer && capacity)
        return jobq__api_leave(q, jobq__err_set(err, JOBQ_MISUSE, "buffer must not be NULL"));
    left_us = q->baton.busy_us;
    rc = jobq__look_begin(q, &look, &left_us, err);
    if (rc != JOBQ_OK) return jobq__api_leave(q, rc);
    rc = jobq__store_blob(&look, id, result, buffer, capacity, &whole);
    rc = jobq__look_end(q, &look, rc, err);
    if (rc == JOBQ_NOT_FOUND) jobq__api_none(id, err);
    if (size) *size = whole;
    return jobq__api_leave(q, rc);
}

JOBQ_API int jobq_get_payload(jobq *q, int64_t id, void *buffer, size_t capacity, size_t *size,
                              jobq_error *err) {
    return jobq__look_blob(q, "jobq_get_payload", id, false, buffer, capacity, size, err);
}

JOBQ_API int jobq_get_result(jobq *q, int64_t id, void *buffer, size_t capacity, size_t *size,
                             jobq_error *err) {
    return jobq__look_blob(q, "jobq_get_result", id, true, buffer, capacity, size, err);
}

static int jobq__look_check_names(const jobq_filter *filter, jobq_error *err) {
    int rc = JOBQ_OK;
    if (filter->key && !filter->kind)
        return jobq__err_set(err, JOBQ_MISUSE, "key is set, but kind is not; a key is one among"
                             " jobs of a kind: set .kind, too");
    if (filter->kind) rc = jobq__config_name("the filter's kind", filter->kind, JOBQ_NAME_MAX, err);
    if (rc == JOBQ_OK && filter->queue)
        rc = jobq__config_name("the filter's queue", filter->queue, JOBQ_NAME_MAX, err);
    if (rc == JOBQ_OK && filter->key)
        rc = jobq__config_name("the filter's key", filter->key, JOBQ_KEY_MAX, err);
    return rc;
}

static int jobq__look_check_list(const jobq_filter *filter, const jobq_cursor *cursor,
                                 const jobq_info *infos, size_t capacity, const size_t *count,
                                 jobq_error *err) {
    if (!cursor || !count || (!infos && capacity))
        return jobq__err_set(err, JOBQ_MISUSE, "cursor, infos and count must not be NULL");
    if (!capacity)
        return jobq__err_set(err, JOBQ_MISUSE, "capacity must not be 0");
    if ((int)filter->state < JOBQ_STATE_NONE || filter->state > JOBQ_STATE_CANCELLED)
        return jobq__err_set(err, JOBQ_MISUSE, "state is %d, none of jobq_state",
                             (int)filter->state);
    if (!jobq__store_cursor_valid(cursor, filter))
        return jobq__err_set(err, JOBQ_MISUSE, "the cursor was not zeroed before the first call");
    if (filter->rows_max < 0)
        return jobq__err_set(err, JOBQ_MISUSE, "rows_max is %lld; it is a number of rows, and 0 the"
                             " default", (long long)filter->rows_max);
    return jobq__look_check_names(filter, err);
}

/* Between two slices of a long look. A lock goes to whoever runs when it is let go, and those who
 * wait for it do not. */
static void jobq__look_yield(jobq *q) {
    if (jobq__os_load(&q->lookers)) jobq__os_sleep_us(JOBQ__LOOK_PAUSE_US);
}

static int jobq__look_list(jobq *q, const jobq_filter *filter, jobq_cursor *cursor,
                           jobq_info *infos, size_t capacity, size_t *count, jobq_error *err) {
    int64_t left_us = q->baton.busy_us;
    int64_t left = filter->rows_max ? filter->rows_max : JOBQ__ROWS_MAX;
    jobq_filter slice = *filter;
    struct jobq__look look;
    for (;;) {
        size_t more = 0;
        int rc = jobq__look_begin(q, &look, &left_us, err);
        if (rc != JOBQ_OK) return rc;
        slice.rows_max = JOBQ__MIN(left, JOBQ__LIST_ROWS);
        rc = jobq__store_list(&look, &slice, cursor, infos + *count, capacity - *count, &more);
        rc = jobq__look_end(q, &look, rc, err);
        *count += more;
        left -= slice.rows_max;
        if (rc != JOBQ_OK || cursor->done || *count == capacity || left <= 0) return rc;
        jobq__look_yield(q);
    }
}

JOBQ_API int jobq_list(jobq *q, const jobq_filter *filter, jobq_cursor *cursor, jobq_info *infos,
                       size_t capacity, size_t *count, jobq_error *err) {
    static const jobq_filter everything;
    jobq_cursor before;
    int rc = jobq__api_enter(q, "jobq_list", err);
    if (count) *count = 0;
    if (rc != JOBQ_OK) return rc;
    if (!filter) filter = &everything;
    rc = jobq__look_check_list(filter, cursor, infos, capacity, count, err);
    if (rc != JOBQ_OK) return jobq__api_leave(q, rc);
    before = *cursor;
    rc = jobq__look_list(q, filter, cursor, infos, capacity, count, err);
    if (rc != JOBQ_OK) {
        *cursor = before;
        *count = 0;
    }
    return jobq__api_leave(q, rc);
}

JOBQ_API int jobq_count(jobq *q, jobq_counts *counts, jobq_error *err) {
    struct jobq__look look;
    int64_t left_us;
    int rc = jobq__api_enter(q, "jobq_count", err);
    if (rc != JOBQ_OK) return rc;
    if (!counts)
        return jobq__api_leave(q, jobq__err_set(err, JOBQ_MISUSE, "counts must not be NULL"));
    memset(counts, 0, sizeof *counts);
    left_us = q->baton.busy_us;
    rc = jobq__look_begin(q, &look, &left_us, err);
    if (rc == JOBQ_OK) rc = jobq__look_end(q, &look, jobq__store_count(&look, counts), err);
    return jobq__api_leave(q, rc);
}

JOBQ_API int jobq_stat(jobq *q, jobq_stats *stats, jobq_error *err) {
    struct jobq__pool *pool;
    int rc = jobq__api_enter(q, "jobq_stat", err);
    if (rc != JOBQ_OK) return rc;
    if (!stats)
        return jobq__api_leave(q, jobq__err_set(err, JOBQ_MISUSE, "stats must not be NULL"));
    pool = &q->pool;
    jobq__os_lock(&pool->mu);
    *stats = pool->stats;
    stats->running = pool->crew.running;
    stats->claimed = pool->ring.count;
    stats->started_now = pool->life.phase == JOBQ__RUNNING;
    jobq__os_unlock(&pool->mu);
    stats->workers = q->step_mode ? 0 : q->pool.crew.count;
    stats->failed_code = jobq__os_load(&q->failed);
    return jobq__api_leave(q, JOBQ_OK);
}

/*==== api_time.c ====*/
/* api_time.c - advance, step, run until idle: for who has no threads, or a clock of his. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/api_time.c"
#endif
/* #include "api.h" */

/* Design note.
 *
 * Checks, and one step into scheduler.c, which fires what is due and runs what is ready on the
 * caller's thread. Nothing here changes a job. */

static int jobq__time_advance(jobq *q, const char *call, int64_t duration_ms, bool next,
                              int *fired, jobq_error *err) {
    int rc = jobq__api_enter_outside(q, call, "what is due runs after you have returned, and"
                                     " jobq_run_sleep lets a handler's time pass", err);
    if (fired) *fired = 0;
    if (rc != JOBQ_OK) return rc;
    if (!q->clock)
        rc = jobq__err_set(err, JOBQ_MISUSE, "the system's clock cannot be advanced; open the queue"
                           " with .clock = jobq_clock_artificial(...)");
    else
        rc = jobq__config_span("duration_ms", duration_ms, false, err);
    if (rc == JOBQ_OK && duration_ms == JOBQ_NEVER && !next)
        rc = jobq__err_set(err, JOBQ_BAD_TIME, "duration_ms is JOBQ_NEVER, and there is no time"
                           " after that; jobq_advance_to_next goes as far as there is something to"
                           " do");
    if (rc == JOBQ_OK)
        rc = jobq__sched_advance(q, jobq__add(jobq__clock_mono_ms(q->clock), duration_ms), next,
                                 fired, err);
    return jobq__api_leave(q, rc);
}

JOBQ_API int jobq_advance(jobq *q, int64_t duration_ms, int *fired, jobq_error *err) {
    return jobq__time_advance(q, "jobq_advance", duration_ms, false, fired, err);
}

JOBQ_API int jobq_advance_to_next(jobq *q, jobq_error *err) {
    return jobq__time_advance(q, "jobq_advance_to_next", JOBQ_NEVER, true, NULL, err);
}

JOBQ_API int jobq_wakes(jobq *q) {
    int count;
    if (jobq__api_enter(q, "jobq_wakes", NULL) != JOBQ_OK) return 0;
    jobq__os_lock(&q->pool.mu);
    count = jobq__wheel_count(&q->pool.timers.wheel);
    if (jobq__sched_awaits_jobs(q)) count++;
    jobq__os_unlock(&q->pool.mu);
    jobq__api_leave(q, JOBQ_OK);
    return count;
}

static int jobq__time_step(jobq *q, const char *call, bool all, int64_t *ran, jobq_error *err) {
    int rc = jobq__api_enter_outside(q, call, "what you store here runs after you have returned",
                                     err);
    *ran = 0;
    if (rc != JOBQ_OK) return rc;
    if (!q->step_mode)
        rc = jobq__err_set(err, JOBQ_MISUSE, "only a queue with workers = JOBQ_NONE is stepped;"
                           " this one has %d: jobq_start has them run the jobs",
                           q->options.workers);
    else
        rc = jobq__sched_step(q, all, ran, err);
    return jobq__api_leave(q, rc);
}

JOBQ_API int jobq_step(jobq *q, int *ran, jobq_error *err) {
    int64_t count = 0;
    int rc = jobq__time_step(q, "jobq_step", false, &count, err);
    if (ran) *ran = (int)count;
    return rc;
}

JOBQ_API int jobq_run_until_idle(jobq *q, int64_t *ran, jobq_error *err) {
    int64_t count = 0;
    int rc = jobq__time_step(q, "jobq_run_until_idle", true, &count, err);
    if (ran) *ran = count;
    return rc;
}

/* What the wall shows at a moment of real time, or has shown by then. */
static int64_t jobq__time_on_wall(struct jobq__now now, int64_t at_us) {
    int64_t left_us = jobq__sub(at_us, jobq__clock_mono_us());
    if (at_us == INT64_MAX) return JOBQ_NEVER;
    return jobq__add(now.wall_ms, (JOBQ__MAX(left_us, 0) + 999) / 1000);
}

JOBQ_API int jobq_next_deadline(jobq *q, int64_t *at_ms, jobq_error *err) {
    struct jobq__pool *pool;
    struct jobq__now now;
    int64_t poll_us, prune_ms, retry_us;
    int rc = jobq__api_enter_owner(q, "jobq_next_deadline", err);
    if (rc != JOBQ_OK) return rc;
    if (!at_ms)
        return jobq__api_leave(q, jobq__err_set(err, JOBQ_MISUSE, "at_ms must not be NULL"));
    pool = &q->pool;
    now = jobq__core_now(q);
    jobq__os_lock(&pool->mu);
    *at_ms = jobq__sched_next(q, now);
    retry_us = pool->ring.count || pool->outcomes.count || pool->work.left || pool->work.foreign
             ? pool->work.retry_at_us : INT64_MAX;
    poll_us = pool->timers.poll_at_us;
    prune_ms = pool->timers.prune_at_ms;
    jobq__os_unlock(&pool->mu);
    /* What is real time, or no wake, is nothing that an artificial clock could be moved to. */
    if (!q->clock)
        *at_ms = JOBQ__MIN(JOBQ__MIN(*at_ms, prune_ms),
                           jobq__time_on_wall(now, JOBQ__MIN(poll_us, retry_us)));
    else if (retry_us != INT64_MAX)
        *at_ms = JOBQ__MIN(*at_ms, now.wall_ms);
    if (jobq__os_load(&q->failed)) *at_ms = JOBQ_NEVER;
    return jobq__api_leave(q, JOBQ_OK);
}

/*==== api_wait.c ====*/
/* api_wait.c - waits for a job, and says what it waits for. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/api_wait.c"
#endif
/* #include "api.h" */

#include <stdio.h>

/* Design note.
 *
 * A wait ends by the first of: the job has ended and its event was told; the time is over (the job
 * may have ended then, and only its event be late: that is OK); the queue closes or has stopped for
 * good. A wait that another thread may end waits. One that certainly nobody can end does not: in a
 * process without another thread nobody can step, start or advance meanwhile. And an artificial
 * clock stands for a test, where nothing going on for stall_ms of real time means that nothing
 * will. Whatever ends a wait early or late says what the job waits for.
 *
 * The waiter enters the list before it looks at the table, so that an end in between is not
 * missed. In memory it looks when it has the baton, which a job's transaction may keep: it stands
 * in line as long as its own time lasts, and is told of the end there as well. */

/* True if the event of the job's end was told. The deliverer says so later, too, so nobody need ask
 * twice. With pool.mu held, before and after. */
static bool jobq__wait_told(jobq *q, const struct jobq__waiter *waiter) {
    uint64_t serial = waiter->serial;
    bool told;
    jobq__os_unlock(&q->pool.mu);
    told = jobq__event_was_told(&q->events, serial);
    jobq__os_lock(&q->pool.mu);
    return told;
}

/* ---- Does anything go on? ---- */

/* Under an artificial clock: what has changed when something goes on. */
struct jobq__wait_pulse {
    int64_t commits, started, fired, now_ms;
    bool busy;
};

/* With pool.mu held. */
static struct jobq__wait_pulse jobq__wait_feel(jobq *q) {
    const struct jobq__pool *pool = &q->pool;
    struct jobq__wait_pulse pulse;
    pulse.commits = pool->stats.commits;
    pulse.started = pool->stats.started;
    pulse.fired = pool->timers.fired;
    pulse.now_ms = jobq__clock_now_ms(q->clock);
    pulse.busy = pool->crew.running > pool->crew.sleeping || pool->step.active
              || pool->outcomes.count || jobq__os_load(&q->baton.busy);
    return pulse;
}

static bool jobq__wait_same(const struct jobq__wait_pulse *a, const struct jobq__wait_pulse *b) {
    return !b->busy && a->commits == b->commits && a->started == b->started
        && a->fired == b->fired && a->now_ms == b->now_ms;
}

/* What a wait has seen while it sleeps, in real time. */
struct jobq__wait_watch {
    struct jobq__wait_pulse pulse; /* the last one that was felt */
    int64_t stall_us;              /* when it will have stood still for too long */
    int64_t ask_us;                /* when to ask for other threads; INT64_MAX: no need */
    int64_t pause_us;              /* how long after the last time that is */
};

/* Nobody can step, start or advance meanwhile. A thread that was joined just now may be seen for a
 * moment still, and one that is there may end, so that is asked again. With pool.mu held. */
static bool jobq__wait_in_vain(jobq *q, const struct jobq__waiter *waiter,
                               struct jobq__wait_watch *watch) {
    bool idle = (q->step_mode || q->pool.life.phase == JOBQ__STOPPED) && !waiter->ended;
    int64_t now_us = jobq__clock_mono_us();
    if (idle && watch->ask_us != INT64_MAX && now_us < watch->ask_us) return false;
    if (idle && jobq__os_alone()) return true;
    watch->pause_us = idle && watch->pause_us ? 2 * watch->pause_us : JOBQ__WAIT_ASK_US;
    watch->ask_us = idle ? now_us + watch->pause_us : INT64_MAX;
    return false;
}

/* An artificial clock comes to us: advance fires the wake. False if nothing went on for stall_ms of
 * real time. With pool.mu held. */
static bool jobq__wait_for_clock(jobq *q, struct jobq__waiter *waiter,
                                 struct jobq__wait_watch *watch) {
    struct jobq__wait_pulse pulse = jobq__wait_feel(q);
    if (waiter->ended || !jobq__wait_same(&watch->pulse, &pulse))
        watch->stall_us = jobq__add(jobq__clock_mono_us(), jobq__to_us(q->options.stall_ms));
    watch->pulse = pulse;
    if (jobq__clock_mono_us() >= watch->stall_us) return false;
    jobq__os_wait_until(&waiter->cond, &q->pool.mu, JOBQ__MIN(watch->stall_us, watch->ask_us));
    return true;
}

/* Until the waiter is told, its time is over or the queue closes. JOBQ_STALLED: nothing goes on any
 * more; JOBQ_BAD_STATE: nor can anything. With pool.mu held. */
static int jobq__wait_sleep(jobq *q, struct jobq__waiter *waiter, int64_t until_ms) {
    struct jobq__pool *pool = &q->pool;
    struct jobq__wait_watch watch = {{-1, -1, -1, -1, true}, 0, INT64_MAX, 0};
    int64_t until_us = jobq__to_us(until_ms), limit_us;
    bool asked = false;
    while (!waiter->done && !waiter->late && !jobq__os_load(&q->closing)
           && !jobq__os_load(&q->failed)) {
        if (waiter->ended && !asked) {
            asked = true;
            if (jobq__wait_told(q, waiter)) break;
            continue;
        }
        if (jobq__wait_in_vain(q, waiter, &watch)) return JOBQ_BAD_STATE;
        if (q->clock) {
            if (!jobq__wait_for_clock(q, waiter, &watch)) return JOBQ_STALLED;
            continue;
        }
        limit_us = JOBQ__MIN(until_us, watch.ask_us);
        if (limit_us == INT64_MAX) jobq__os_wait(&waiter->cond, &pool->mu);
        else if (jobq__clock_mono_us() >= until_us) break;
        else jobq__os_wait_until(&waiter->cond, &pool->mu, limit_us);
    }
    return JOBQ_OK;
}

/* ---- What does it wait for? ---- */

static void jobq__wait_why_pending(jobq *q, const jobq_info *info, char *text, size_t size) {
    int64_t left_ms = jobq__sub(info->run_at_ms, jobq__clock_now_ms(q->clock));
    char culprit[JOBQ__CULPRIT] = "";
    bool runs;
    jobq__os_lock(&q->pool.mu);
    runs = q->pool.life.phase == JOBQ__RUNNING;
    jobq__core_culprit(q, culprit, sizeof culprit);
    jobq__os_unlock(&q->pool.mu);
    if (info->parked)
        snprintf(text, size, "is parked: no handler of its kind %s is registered, see"
                 " jobq_register", info->kind);
    else if (q->step_mode)
        snprintf(text, size, "waits for another thread to call jobq_step, jobq_run_until_idle or"
                 " jobq_advance, as this queue is in step mode");
    else if (!runs)
        snprintf(text, size, "waits for jobq_start, as the pool is not started; call that before"
                 " jobq_wait");
    else if (info->run_at_ms == JOBQ_NEVER)
        snprintf(text, size, "is due never, as it was asked for; jobq_retry_now makes it due now,"
                 " jobq_cancel ends it");
    else if (left_ms > 0)
        snprintf(text, size, "is due in %lld ms, as attempt %d%s%s%s", (long long)left_ms,
                 info->attempt, q->clock ? "; only jobq_advance moves an artificial clock" : "",
                 info->error[0] ? "; its last failure: " : "", info->error);
    else
        snprintf(text, size, "is ready and waits for its turn%s%s%s",
                 info->crashes ? ", for jobs that have met a crash run one at a time" : "",
                 culprit[0] ? "; " : "", culprit);
}

/* A job's transaction keeps us from looking at the job: what is known all the same. */
static void jobq__wait_why_unseen(jobq *q, int64_t id, char *text, size_t size) {
    char culprit[JOBQ__CULPRIT] = "a job still runs";
    const struct jobq_run *run = NULL;
    int i, attempt = 0;
    jobq__os_lock(&q->pool.mu);
    jobq__core_culprit(q, culprit, sizeof culprit);
    for (i = 0; i < q->pool.crew.count; i++)
        if (q->pool.crew.workers[i].run.id == id) run = &q->pool.crew.workers[i].run;
    if (run) attempt = run->entry->row.attempt;
    jobq__os_unlock(&q->pool.mu);
    if (run)
        snprintf(text, size, "runs, as attempt %d", attempt);
    else
        snprintf(text, size, "cannot be looked at while a job's transaction (jobq_run_db) has the"
                 " only connection to \":memory:\": %s", culprit);
}

/* Fails with a beginning of the sentence; its end is what the job waits for. */
static int jobq__wait_fail(jobq *q, int64_t id, int code, const char *why, jobq_error *err) {
    char text[sizeof err->text] = "is gone";
    jobq_error told;
    jobq_info info;
    int rc;
    if (!err) return code;
    rc = jobq__look_read(q, id, 0, &info, &told);
    if (rc == JOBQ_OK) {
        if (info.state == JOBQ_STATE_PENDING) jobq__wait_why_pending(q, &info, text, sizeof text);
        else if (info.state == JOBQ_STATE_RUNNING)
            snprintf(text, sizeof text, "runs, as attempt %d", info.attempt);
        else snprintf(text, sizeof text, "is %s by now", jobq_state_name(info.state));
    } else if (rc == JOBQ_BUSY && q->memory) {
        jobq__wait_why_unseen(q, id, text, sizeof text);
    } else if (rc != JOBQ_NOT_FOUND) {
        snprintf(text, sizeof text, "cannot be looked at: %.350s", told.text);
    }
    return jobq__err_set(err, code, "%s: job %lld %.380s", why, (long long)id, text);
}

/* ---- The wait ---- */

/* What the wait has come to by now; JOBQ_OK: the job has ended. With pool.mu held. */
static int jobq__wait_code(jobq *q, const struct jobq__waiter *waiter) {
    int rc;
    jobq__assert(jobq__os_held(&q->pool.mu));
    if (waiter->ended) return JOBQ_OK;
    if (jobq__os_load(&q->closing)) return JOBQ_CLOSED;
    rc = jobq__os_load(&q->failed);
    return rc == JOBQ_OK ? JOBQ_TIMEOUT : rc;
}

/* How long a look may stand in line. No clock in the hand comes to us there: we ask for the time
 * every now and then. */
static int64_t jobq__wait_left_us(const jobq *q, int64_t until_ms) {
    int64_t left_us;
    if (q->clock) {
        left_us = jobq__to_us(jobq__sub(until_ms, jobq__clock_mono_ms(q->clock)));
        left_us = JOBQ__MIN(left_us, JOBQ__WAIT_ASK_US);
    } else {
        left_us = jobq__sub(jobq__to_us(until_ms), jobq__clock_mono_us());
    }
    return JOBQ__MAX(left_us, 0);
}

/* The look that begins a wait: as soon as it can be had, while the wait lasts. */
static int jobq__wait_look(jobq *q, const struct jobq__waiter *waiter, int64_t until_ms,
                           jobq_info *info, jobq_error *err) {
    int64_t left_us = jobq__wait_left_us(q, until_ms);
    int rc = jobq__look_read(q, waiter->id, left_us, info, err), code = JOBQ_TIMEOUT;
    while (rc == JOBQ_BUSY && code == JOBQ_TIMEOUT && left_us > 0) {
        jobq__os_lock(&q->pool.mu);
        code = jobq__wait_code(q, waiter);
        jobq__os_unlock(&q->pool.mu);
        left_us = jobq__wait_left_us(q, until_ms);
        if (code == JOBQ_TIMEOUT) rc = jobq__look_read(q, waiter->id, left_us, info, err);
    }
    return rc;
}

/* What can be known without waiting. The job may have ended, and its event be on its way yet. */
static int jobq__wait_begin(jobq *q, struct jobq__waiter *waiter, int64_t until_ms,
                            jobq_info *info, jobq_error *err) {
    uint64_t serial = 0;
    jobq_error told;
    int rc = jobq__wait_look(q, waiter, until_ms, info, &told);
    if (rc == JOBQ_OK && info->state >= JOBQ_STATE_DONE && until_ms > 0)
        serial = jobq__event_find(&q->events, waiter->id);
    jobq__os_lock(&q->pool.mu);
    if (waiter->ended && (rc == JOBQ_NOT_FOUND || rc == JOBQ_BUSY)) rc = JOBQ_OK;
    else if (rc == JOBQ_OK && info->state >= JOBQ_STATE_DONE && !waiter->ended) {
        waiter->ended = true;
        waiter->done = !serial;
        waiter->serial = serial;
        waiter->info = *info;
    }
    jobq__os_unlock(&q->pool.mu);
    if (rc != JOBQ_OK && err) *err = told;
    return rc;
}

/* OK: the job has ended. TIMEOUT, or what ended the sleep earlier: it has not. */
static int jobq__wait_for_end(jobq *q, struct jobq__waiter *waiter, int64_t until_ms,
                              jobq_info *info) {
    struct jobq__pool *pool = &q->pool;
    int rc, slept = JOBQ_OK;
    jobq__os_lock(&pool->mu);
    if (until_ms > 0 && !waiter->done) {
        jobq__wheel_add(&pool->timers.wheel, &waiter->alarm.timer, until_ms);
        jobq__os_unlock(&pool->mu);
        if (q->clock) jobq__wake_scheduler(q);
        jobq__os_lock(&pool->mu);
        slept = jobq__wait_sleep(q, waiter, until_ms);
    }
    if (waiter->ended) *info = waiter->info;
    rc = jobq__wait_code(q, waiter);
    jobq__os_unlock(&pool->mu);
    return rc == JOBQ_TIMEOUT && slept != JOBQ_OK ? slept : rc;
}

static int jobq__wait_over(jobq *q, int64_t id, int rc, jobq_error *err) {
    switch (rc) {
    case JOBQ_TIMEOUT:
        return jobq__wait_fail(q, id, rc, "the time allowed for waiting is over", err);
    case JOBQ_STALLED:
        return jobq__wait_fail(q, id, rc, "nothing went on for stall_ms of real time", err);
    case JOBQ_BAD_STATE:
        return jobq__wait_fail(q, id, rc,
                               "nobody could end this wait, for the process has no other thread",
                               err);
    default:
        return jobq__fail_say(q, rc, err);
    }
}

static int jobq__wait(jobq *q, struct jobq__waiter *waiter, int64_t timeout_ms, jobq_info *info,
                      jobq_error *err) {
    int64_t until_ms = timeout_ms ? jobq__clock_after(q->clock, timeout_ms) : 0, look_us;
    int rc = jobq__wait_begin(q, waiter, until_ms, info, err);
    if (rc == JOBQ_BUSY) {
        /* Its time has passed without a look. */
        jobq__os_lock(&q->pool.mu);
        rc = jobq__wait_code(q, waiter);
        jobq__os_unlock(&q->pool.mu);
        if (rc != JOBQ_OK) return jobq__wait_over(q, waiter->id, rc, err);
    }
    if (rc != JOBQ_OK) return rc;
    rc = jobq__wait_for_end(q, waiter, until_ms, info);
    if (rc != JOBQ_OK) return jobq__wait_over(q, waiter->id, rc, err);
    if (info->state == JOBQ_STATE_NONE)
        return jobq__err_set(err, JOBQ_NOT_FOUND, "job %lld was deleted while this call waited"
                             " for it", (long long)waiter->id);
    /* What is kept tells more than what the settling thread could say. */
    look_us = jobq__min(jobq__wait_left_us(q, until_ms), q->baton.busy_us);
    if (jobq__look_read(q, waiter->id, look_us, info, NULL) != JOBQ_OK) *info = waiter->info;
    return JOBQ_OK;
}

JOBQ_API int jobq_wait(jobq *q, int64_t id, int64_t timeout_ms, jobq_info *info,
                       jobq_error *err) {
    struct jobq__waiter waiter;
    jobq_info scratch;
    int rc = jobq__api_enter_outside(q, "jobq_wait", "let another thread wait, or look"
                                     " again later with jobq_get (a handler returns jobq_snooze"
                                     " for that)", err);
    if (rc != JOBQ_OK) return rc;
    if (timeout_ms == JOBQ_NONE) timeout_ms = 0;
    rc = jobq__config_span("timeout_ms", timeout_ms, true, err);
    if (rc != JOBQ_OK) return jobq__api_leave(q, rc);
    memset(&waiter, 0, sizeof waiter);
    waiter.id = id;
    waiter.alarm.what = JOBQ__WAKE_WAITER;
    jobq__timer_init(&waiter.alarm.timer);
    rc = jobq__os_cond_init(&waiter.cond, JOBQ__OS_MONO);
    if (rc != JOBQ_OK) return jobq__api_leave(q, jobq__err_set(err, rc, NULL));
    jobq__event_watch(&q->events, 1);
    jobq__os_lock(&q->pool.mu);
    jobq__list_append(&q->pool.waiters, &waiter.link);
    jobq__os_unlock(&q->pool.mu);
    rc = jobq__wait(q, &waiter, timeout_ms, info ? info : &scratch, err);
    jobq__event_watch(&q->events, -1);
    jobq__os_lock(&q->pool.mu);
    jobq__list_remove(&waiter.link);
    jobq__wheel_del(&q->pool.timers.wheel, &waiter.alarm.timer);
    jobq__os_unlock(&q->pool.mu);
    jobq__os_cond_fini(&waiter.cond);
    return jobq__api_leave(q, rc);
}

/*==== api_check.c ====*/
/* api_check.c - the doctor: looks whether the file is as it should be, and puts it right. */
#ifdef JOBQ_LINES
#line 1 "amalgamation/api_check.c"
#endif
/* #include "api.h" */
/* #include "repair.h" */

/* Design note.
 *
 * What has to hold says audit_rules.c, how it is walked audit.h. Here it is in whose hands the
 * connection is. A file is read on a connection of the call's own, so that nobody waits for a
 * reader that reads all of the file; in memory there is only the writer's, and the baton is held
 * for one slice at a time. What is broken is put right on the writer, a slice in one transaction of
 * its own (repair.h), and told when that has ended, with no lock held. */

struct jobq__doctor {
    jobq *q;
    struct jobq__audit *audit;
    jobq__store own;            /* the call's own connection; not open in memory */
    bool repair;
    jobq_line say;
    void *ctx;
    int64_t faults, left_us;
};

/* A slice that cannot be put right for what else is broken is left. */
static int jobq__doctor_repair(struct jobq__doctor *doctor, jobq_error *err) {
    jobq *q = doctor->q;
    struct jobq__request request;
    int rc = jobq__baton_hold(q, &doctor->left_us);
    if (rc == JOBQ_BUSY) return jobq__turn_busy(q, "nothing was repaired", err);
    if (rc != JOBQ_OK) return jobq__fail_say(q, rc, err);
    memset(&request, 0, sizeof request);
    request.write = jobq__repair;
    request.arg = doctor->audit;
    request.err = err;
    request.until_us = jobq__add(jobq__clock_mono_us(), doctor->left_us);
    rc = jobq__commit_bare(q, &request);
    jobq__baton_release(q);
    if (rc != JOBQ_OK) jobq__audit_undone(doctor->audit);
    return rc == JOBQ_CORRUPT ? JOBQ_OK : rc;
}

/* False: whoever is told wants no more, and what is left of the slice does not count. */
static bool jobq__doctor_tell(struct jobq__doctor *doctor) {
    char text[JOBQ__AUDIT_LINE];
    while (jobq__audit_line(doctor->audit, doctor->repair, text, sizeof text)) {
        doctor->faults++;
        if (doctor->say && doctor->say(text, strlen(text), doctor->ctx)) return false;
    }
    return true;
}

static int jobq__doctor_read(struct jobq__doctor *doctor, bool *over, jobq_error *err) {
    jobq *q = doctor->q;
    jobq__store *db = q->memory ? &q->writer : &doctor->own;
    int rc = q->memory ? jobq__baton_hold(q, &doctor->left_us) : JOBQ_OK;
    if (rc == JOBQ_BUSY) return jobq__turn_busy(q, "the rest was not read", err);
    if (rc != JOBQ_OK) return jobq__fail_say(q, rc, err);
    rc = jobq__audit_look(doctor->audit, db, over);
    if (rc != JOBQ_OK) rc = jobq__store_fail(db, err);
    if (q->memory) jobq__baton_release(q);
    return rc;
}

static int jobq__doctor_slices(struct jobq__doctor *doctor, jobq_error *err) {
    bool over = false;
    int rc = JOBQ_OK;
    while (rc == JOBQ_OK && !over) {
        bool faults = false;
        /* What others did meanwhile may have ended it. */
        if (jobq__os_load(&doctor->q->closing)) return jobq__err_set(err, JOBQ_CLOSED, NULL);
        rc = jobq__doctor_read(doctor, &over, err);
        if (rc == JOBQ_OK && !over) faults = jobq__audit_faulty(doctor->audit);
        if (faults && doctor->repair) rc = jobq__doctor_repair(doctor, err);
        if (faults && !jobq__doctor_tell(doctor)) break;
    }
    return rc;
}

/* With the baton, as every connection: which file it is that is being opened is its holder's. */
static int jobq__doctor_connect(struct jobq__doctor *doctor, jobq_error *err) {
    jobq *q = doctor->q;
    int rc = jobq__baton_hold(q, &doctor->left_us);
    if (rc == JOBQ_BUSY) return jobq__turn_busy(q, "nothing was read", err);
    if (rc != JOBQ_OK) return jobq__fail_say(q, rc, err);
    rc = jobq__core_join_in(q, &doctor->own, JOBQ__STORE_READER, err);
    jobq__baton_release(q);
    return jobq__turn_shut_out(q, rc, "nothing was read", err);
}

/* Of which kinds no job may wait for a handler, unless the claims row says so. */
static int jobq__doctor_gates(struct jobq__doctor *doctor, jobq_error *err) {
    jobq *q = doctor->q;
    int32_t *gates = NULL;
    size_t count;
    int rc = jobq__baton_hold(q, &doctor->left_us);
    if (rc == JOBQ_BUSY) return jobq__turn_busy(q, "nothing was read", err);
    if (rc != JOBQ_OK) return jobq__fail_say(q, rc, err);
    count = jobq__tx_gates_settled(q, NULL);
    if (count) gates = jobq__mem_new(count * sizeof *gates);
    if (gates) jobq__tx_gates_settled(q, gates);
    jobq__baton_release(q);
    rc = gates || !count ? jobq__audit_begin(&doctor->audit, gates, count) : JOBQ_NO_MEMORY;
    return rc == JOBQ_OK ? rc : jobq__err_set(err, rc, NULL);
}

static int jobq__doctor_run(struct jobq__doctor *doctor, jobq_error *err) {
    jobq *q = doctor->q;
    int rc = q->memory ? JOBQ_OK : jobq__doctor_connect(doctor, err);
    if (rc != JOBQ_OK) return rc;
    rc = jobq__doctor_gates(doctor, err);
    if (rc == JOBQ_OK) rc = jobq__doctor_slices(doctor, err);
    jobq__audit_end(doctor->audit);
    if (q->memory) return rc;
    jobq__store_own(&doctor->own, false);
    jobq__store_close(&doctor->own);
    return rc;
}

JOBQ_API int jobq_check(jobq *q, bool repair, jobq_line say, void *ctx, int64_t *faults,
                        jobq_error *err) {
    struct jobq__doctor *doctor;
    int rc = repair ? jobq__api_enter_owner(q, "jobq_check", err)
                    : jobq__api_enter(q, "jobq_check", err);
    if (faults) *faults = 0;
    if (rc != JOBQ_OK) return rc;
    if (jobq__baton_in_job(q))
        return jobq__api_leave(q, jobq__err_set(err, JOBQ_MISUSE, "after jobq_run_db this thread"
                                                " may not call jobq_check, which would wait for the"
                                                " transaction of its own job; call it before that,"
                                                " or when the handler has returned"));
    doctor = jobq__mem_new(sizeof *doctor);
    if (!doctor) return jobq__api_leave(q, jobq__err_set(err, JOBQ_NO_MEMORY, NULL));
    doctor->q = q;
    doctor->repair = repair;
    doctor->say = say;
    doctor->ctx = ctx;
    doctor->left_us = q->baton.busy_us;
    rc = jobq__doctor_run(doctor, err);
    if (faults) *faults = doctor->faults;
    jobq__mem_free(doctor);
    return jobq__api_leave(q, rc);
}
