/* core.h - struct jobq, the lock table, who may touch what. */
#ifndef JOBQ__CORE_H
#define JOBQ__CORE_H

#include "backoff.h"
#include "event.h"
#include "guard.h"
#include "owner.h"
#include "registry.h"
#include "wheel.h"

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
