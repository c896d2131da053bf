/* limits.h - every number that bounds or tunes the engine, with its reason. */
#ifndef JOBQ__LIMITS_H
#define JOBQ__LIMITS_H

#include "base.h"

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

/* A wall that is back by so much has not been told the time yet; less is what a clock that runs
 * well, or a hand, is set by. */
#define JOBQ__UNTOLD_LEAST_MS JOBQ_DAY

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
