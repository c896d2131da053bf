/* sim.h - the simulated device: its random numbers, its disk's troubles, its possible pasts, and
 * what is said when it breaks a promise. Who does what with it: sim_check.h compares queue and
 * model, sim_device.h opens, kills and revives, sim_handler.h is the jobs, sim_calls.h the
 * application, sim_life.h a whole life.
 *
 * One device at a time, in one static struct; one thread; everything that happens is drawn from
 * one seed. A step of a life is one call of the application or of a handler: it is written down
 * (sim_say), made, put to the model, and compared. */
#ifndef JOBQ_TEST_SIM_H
#define JOBQ_TEST_SIM_H

#include "fault_power.h"
#include "helpers.h"
#include "model.h"

enum { SIM_LINES = 60, SIM_LINE = 150, SIM_PASTS = 2400, SIM_EVENTS = 1024, SIM_AWAITED = 256,
       SIM_MAYBES = 8, SIM_ENDS = 6, SIM_GHOSTS = 256, SIM_STEPS = 64,
       SIM_BYTES = 1 << 16 };

/* What a life is like. Chances are per thousand calls. */
struct sim_profile {
    const char *name;
    bool memory;          /* a queue in ":memory:", which cannot die */
    bool chaos;           /* the clock is set back, forth, and to 1970 between sessions, */
    int steps;            /* and before a call, or in a handler, by this chance */
    bool power;           /* the power may fail */
    bool tides;           /* the file grows to megabytes, empties, and becomes small again */
    int faults, deaths;   /* a fault is planned before a call; the device dies after one */
    int sessions, calls;  /* at most so many, and so many calls of each */
};

/* In a life with tides: the file grows, its jobs go, and then time passes. */
enum sim_tide { SIM_NO_TIDE, SIM_FLOOD, SIM_EBB, SIM_SLACK };

/* A state of the file that was, or may become, true. */
struct sim_past {
    struct model *world;
    int log_at;           /* so much was on the disk's log when it was known to be true */
    bool synced;          /* and the power cannot take it any more */
};

/* The end of a session: how, in which run, as far as that is known. */
struct sim_end {
    enum model_death death;
    bool power;
    int64_t id;
    int runs;
};

/* The run under way, or whose outcome is not on the disk yet. */
struct sim_run_state {
    int64_t id;             /* 0: none */
    jobq_run *run;          /* while its handler runs */
    int64_t deadline_ms, hits; /* monotonic; */
    bool in_tx, tx_ended;
    int effects;            /* rows written in its transaction */
    uint64_t effect_sum;
    struct model_verdict may[3];
    int may_count;
    struct model tx;        /* the world in which it is done */
};

struct sim_awaited {
    int64_t id, run_ms;
    int64_t run_at_max_ms;
    int64_t started_ms, run_at_ms; /* what was waited follows; the first is monotonic, or -1 */
    bool early;
    jobq_state from, to;
    int attempt;
    jobq_outcome outcome;
};

struct sim_figures {
    int64_t lives, sessions, calls, runs, plans, deaths, cuts, unknowns, opens_failed, backwards;
    int64_t steps, steps_in_runs;
    int64_t lived_ms, effects, crashes;
    int64_t edges[6][6][JOBQ_CRASHED + 1]; /* from, to, outcome */
    int64_t deleted[6], pruned[6], uncharged, wishes;
    int64_t compared, compared_bytes, too_big; /* payloads and results, byte for byte */
    int64_t floods, shrunk, shrunk_calls;      /* commits that made the file smaller, and calls */
    int64_t shrunk_deaths, shrunk_cuts, shrunk_troubles, shrunk_steps; /* of these: in which */
    int64_t became_small, page_sizes[8];       /* lives */
};

static struct {
    /* Of the program. */
    struct sim_figures figures;
    uint64_t hash;          /* of the history of this life */
    /* Of this life. */
    const struct sim_profile *profile;
    uint64_t random;
    char how[80];           /* to see it again */
    bool broken;            /* a promise was broken, and told */
    bool peace;             /* its last session: nothing fails any more */
    char lines[SIM_LINES][SIM_LINE];
    int64_t said;
    const char *path, *spare;
    jobq_options options;
    struct model_rules rules;
    struct model m;         /* the truth, as far as it is known */
    int64_t high_size;      /* of the database, ever */
    int64_t high_ms;        /* the latest time that a clock has shown */
    int64_t ended_ms;       /* that which the clock of the process before has shown last, */
    bool ended_stepped;     /* and whether it was set */
    int64_t wall_ms;        /* when the next session begins, by a clock that nobody has set */
    bool wrote;             /* a handler has asked for its transaction */
    struct sim_past pasts[SIM_PASTS]; /* in order; the last is the truth */
    int past_count;
    struct model *maybes[SIM_MAYBES]; /* what is true if a call that did not know has happened */
    int maybe_count;
    struct model_job ghosts[SIM_GHOSTS]; /* dropped; the power may bring them back */
    int ghost_count;
    struct sim_end ends[SIM_ENDS]; /* how the sessions since the last recovery have ended */
    int end_count;
    /* Of this session. */
    jobq *q;
    jobq_clock *clock;
    int64_t offsets[SIM_STEPS]; /* of its wall from its monotonic reading; now: the last */
    int offset_count;
    enum sim_tide tide;
    int tide_left;          /* calls, until it turns */
    struct fault_log log;
    bool logging;
    bool leaving;           /* jobq_mark_exit was called */
    bool corrupt;           /* the disk says that it is damaged, */
    bool tight;             /* or that it is full: then finished jobs may be dropped */
    bool dead;              /* it has ended, but its handlers and calls have still to return */
    int latched;            /* the reason for which the queue has stopped */
    int64_t hits_before;    /* the session */
    bool ids_unsure;        /* a death has left open which ids were given */
    jobq_stats stats;       /* as they should be, of these the counters */
    int64_t wakes;          /* calls of on_wake */
    /* Of this call of the application. */
    int64_t call_hits, last_ms;
    int64_t low_ms, top_ms; /* what the clock has shown meanwhile */
    bool stepped;           /* it was set */
    int call_runs, call_log, call_latched;
    int64_t call_shrunk;
    bool advancing, stepping;
    struct sim_run_state run;
    int passed[MODEL_QUEUES + 1]; /* steps that went past a line with work */
    struct {
        int64_t id, created_ms, delay_ms;
        int runs, attempt;
    } delays[64];           /* retries, to be the same if they come again */
    /* Events. */
    jobq_event events[SIM_EVENTS];
    int event_count, event_at;
    int64_t event_ms;
    struct sim_awaited awaited[SIM_AWAITED];
    int awaited_count;
    bool crash_events_unsure, wishes_unsure;
    struct model scratch[2];
} sim;

/* ---- Random numbers ---- */

static inline int sim_pick(int n) {
    return (int)(test_random(&sim.random) % (uint64_t)n);
}

static inline bool sim_chance(int per_mille) {
    return sim_pick(1000) < per_mille;
}

/* Troubles, which end before a life does. */
static inline bool sim_bad_luck(int per_mille) {
    return sim_chance(per_mille) && !sim.peace;
}

/* Mostly short, sometimes months. */
static inline int64_t sim_duration(void) {
    static const int64_t most_ms[] = {20, JOBQ_SECOND, JOBQ_MINUTE, JOBQ_HOUR, JOBQ_DAY,
                                      30 * JOBQ_DAY, 200 * JOBQ_DAY};
    int64_t most = most_ms[sim_pick(sim_chance(300) ? 7 : 5)];
    return (int64_t)(test_random(&sim.random) % (uint64_t)most);
}

/* With tides: some pages, or about as many bytes as may be, or one too many. */
static inline int sim_large_size(void) {
    int most = (int)sim.options.payload_max;
    if (sim.tide == SIM_FLOOD) return most / 2 + sim_pick(most / 2);
    if (sim_chance(700)) return 8 + sim_pick(most / 4);
    return most + (sim_chance(300) ? 1 : -sim_pick(20));
}

static inline struct model_blob sim_blob(void) {
    struct model_blob blob = {0, (uint32_t)test_random(&sim.random)};
    if (sim_chance(200)) return blob;
    blob.size = (uint32_t)(8 + sim_pick(sim_chance(60) ? 9000 : 50));
    if (sim.profile->tides && sim_chance(sim.tide == SIM_FLOOD ? 700 : 150))
        blob.size = (uint32_t)sim_large_size();
    return blob;
}

/* The bytes say what they are, and then come from another place of the noise for each seed: no
 * page of one blob can stand for a page of another. */
static inline void sim_fill(struct model_blob blob, unsigned char *bytes) {
    enum { SHIFTS = 65521 };
    static unsigned char noise[SIM_BYTES + SHIFTS];
    static size_t made;
    static uint64_t state = 1;
    while (made < sizeof noise) noise[made++] = (unsigned char)test_random(&state);
    if (blob.size < sizeof blob) return;
    memcpy(bytes, &blob, sizeof blob);
    memcpy(bytes + sizeof blob, noise + blob.seed % SHIFTS, blob.size - sizeof blob);
}

static inline bool sim_same(struct model_blob blob, const void *bytes, size_t size) {
    static unsigned char wanted[SIM_BYTES];
    if (size != blob.size) return false;
    sim_fill(blob, wanted);
    return size == 0 || memcmp(wanted, bytes, size) == 0;
}

/* ---- What happened, and what is wrong ---- */

JOBQ_PRINTF(1, 2)
static inline void sim_say(const char *format, ...) {
    char *line = sim.lines[sim.said++ % SIM_LINES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, SIM_LINE, format, args);
    va_end(args);
    if (getenv("SIM_VERBOSE")) printf("%6d %s\n", (int)sim.said, line);
}

/* Tells the first broken promise of a life, the steps that led to it, and how to see it again. */
JOBQ_PRINTF(1, 2)
static inline void sim_broken(const char *format, ...) {
    char text[512];
    va_list args;
    if (sim.broken) return;
    sim.broken = true;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    printf("  the last steps of this life:\n");
    for (int64_t i = sim.said > SIM_LINES ? sim.said - SIM_LINES : 0; i < sim.said; i++)
        printf("    %6d %s\n", (int)i + 1, sim.lines[i % SIM_LINES]);
    test_failed(__FILE__, __LINE__, "%s; %s", text, sim.how);
}

static inline bool sim_over(void) {
    return sim.broken || sim.dead;
}

static inline int64_t sim_now(void) {
    int64_t now_ms = jobq_clock_now(sim.clock);
    if (now_ms > sim.high_ms) sim.high_ms = now_ms;
    if (now_ms > sim.top_ms) sim.top_ms = now_ms;
    if (now_ms < sim.low_ms) sim.low_ms = now_ms;
    return now_ms;
}

/* The monotonic reading: what has passed since the session began. */
static inline int64_t sim_mono(void) {
    return sim_now() - sim.offsets[sim.offset_count - 1];
}

/* ---- The disk's troubles ---- */

/* A limit of space hits without saying so in every call. */
static inline int64_t sim_hits(void) {
    int64_t hits = 0;
    for (int i = 0; i < FAULT_KINDS; i++) hits += fault_hits((enum fault_what)i);
    return hits + (fault.space || fault.wal_limit ? 1 : 0);
}

/* True if the disk has failed since; then a call may have come to nothing. */
static inline bool sim_trouble_since(int64_t hits) {
    return sim_hits() != hits || fault.dead || fault.space || fault.wal_limit;
}

static inline bool sim_trouble(void) {
    return sim_trouble_since(sim.call_hits);
}

static inline bool sim_planned(void) {
    for (int i = 0; i < FAULT_KINDS; i++)
        if (fault.plans[i] && *fault.plans[i]) return true;
    return fault.dead || fault.space || fault.wal_limit || fault.taken;
}

static inline void sim_plan_space(void) {
    sim.tight = true;
    int times = sim.profile->tides ? 8 : 1;
    int64_t room = disk_used() + sim_pick(60000 * times);
    if (sim_chance(500)) fault_wal_limit(4096 + sim_pick(300000 * times));
    else fault_space(room + 8192, sim.path);
    sim_say("the disk is small from now on");
}

/* A code that such a call can fail with. Only a write finds the disk full. */
static inline int sim_some_code(enum fault_what what) {
    switch (what) {
    case FAULT_OPEN: return SQLITE_CANTOPEN;
    case FAULT_READ:
        if (sim_chance(850)) return SQLITE_IOERR_READ;
        sim.corrupt = true;
        return SQLITE_CORRUPT;
    case FAULT_DB_WRITE: case FAULT_WAL_WRITE:
        if (sim_chance(500)) return SQLITE_IOERR_WRITE;
        sim.tight = true;
        return SQLITE_FULL;
    case FAULT_DB_SYNC: case FAULT_WAL_SYNC: return SQLITE_IOERR_FSYNC;
    case FAULT_TRUNCATE: return SQLITE_IOERR_TRUNCATE;
    case FAULT_DELETE: return SQLITE_IOERR_DELETE;
    default: return SQLITE_IOERR;
    }
}

/* The next failures of the disk: which calls, how many of them, with what. */
static inline void sim_plan_fault(void) {
    static const char *const plans[] = {"x", "x", "x", "x.x", "xx", "x*", "X", "X"};
    static const enum fault_what whats[] = {FAULT_ANY, FAULT_ANY, FAULT_WAL_WRITE, FAULT_WAL_WRITE,
        FAULT_WAL_SYNC, FAULT_WAL_SYNC, FAULT_READ, FAULT_DB_WRITE, FAULT_DB_SYNC, FAULT_OPEN,
        FAULT_TRUNCATE, FAULT_DELETE};
    enum fault_what what = whats[sim_pick(12)];
    const char *plan = plans[sim_pick(8)];
    int nth = 1 + sim_pick(sim_chance(500) ? 6 : 40), code = sim_some_code(what);
    sim.figures.plans++;
    if (sim_chance(100)) {
        sim_plan_space();
        return;
    }
    if (sim_chance(100)) {
        sim_say("another connection takes the file");
        fault_taken(true);
        return;
    }
    sim_say("planned: call %d of kind %d and on: %s, code %d", nth, (int)what, plan, code);
    fault_nth(what, nth, plan, code);
}

/* Nothing is planned any more. */
static inline void sim_calm_disk(void) {
    pthread_mutex_lock(&fault.mutex);
    memset(fault.plans, 0, sizeof fault.plans);
    fault.dead = 0;
    fault.wal_limit = fault.space = 0;
    fault.taken = false;
    pthread_mutex_unlock(&fault.mutex);
}

/* Nothing that a model's eye does meets a fault, or is counted. */
struct sim_eye {
    const char *plans[FAULT_KINDS];
    int64_t skip[FAULT_KINDS], hits[FAULT_KINDS], wal_limit, space;
    int dead;
    bool taken;
};

static inline void sim_open_eye(struct sim_eye *eye) {
    pthread_mutex_lock(&fault.mutex);
    memcpy(eye->plans, fault.plans, sizeof eye->plans);
    memcpy(eye->skip, fault.skip, sizeof eye->skip);
    memcpy(eye->hits, fault.hits, sizeof eye->hits);
    memset(fault.plans, 0, sizeof fault.plans);
    eye->wal_limit = fault.wal_limit;
    eye->space = fault.space;
    eye->dead = fault.dead;
    eye->taken = fault.taken;
    fault.taken = false;
    fault.wal_limit = fault.space = 0;
    fault.dead = 0;
    pthread_mutex_unlock(&fault.mutex);
}

static inline void sim_shut_eye(const struct sim_eye *eye) {
    pthread_mutex_lock(&fault.mutex);
    memcpy(fault.plans, eye->plans, sizeof eye->plans);
    memcpy(fault.skip, eye->skip, sizeof eye->skip);
    memcpy(fault.hits, eye->hits, sizeof eye->hits);
    fault.wal_limit = eye->wal_limit;
    fault.space = eye->space;
    fault.dead = eye->dead;
    fault.taken = eye->taken;
    pthread_mutex_unlock(&fault.mutex);
}

/* ---- Possible pasts ---- */

static inline void sim_forget_pasts(void) {
    for (int i = 0; i < sim.past_count; i++) free(sim.pasts[i].world);
    sim.past_count = 0;
}

static inline struct model *sim_copy_of(const struct model *world) {
    struct model *copy = (struct model *)malloc(offsetof(struct model, jobs)
                                                + (size_t)(world->count + 1)
                                                      * sizeof world->jobs[0]);
    if (!copy) test_give_up("no memory");
    model_copy(copy, world);
    return copy;
}

static inline void sim_maybe(const struct model *world) {
    if (sim.maybe_count < SIM_MAYBES) sim.maybes[sim.maybe_count++] = sim_copy_of(world);
}

static inline void sim_forget_maybes(void) {
    while (sim.maybe_count > 0) free(sim.maybes[--sim.maybe_count]);
}

static inline void sim_remember_world(const struct model *world, bool synced) {
    struct sim_past *past = &sim.pasts[sim.past_count];
    if (sim.past_count == SIM_PASTS) {
        sim_broken("the simulator remembers too much");
        return;
    }
    past->world = sim_copy_of(world);
    past->log_at = sim.logging ? fault_log_now(&sim.log) : 0;
    past->synced = synced;
    sim.past_count++;
}

/* What is true now. A process that dies finds only this again, so one past is enough unless the
 * power may be cut. */
static inline void sim_remember(bool synced) {
    if (!sim.logging) sim_forget_pasts();
    sim_remember_world(&sim.m, synced);
}

/* Keeps the pasts from first to last. */
static inline void sim_keep_pasts(int first, int last) {
    int kept = 0;
    for (int i = 0; i < sim.past_count; i++) {
        if (i < first || i > last) free(sim.pasts[i].world);
        else sim.pasts[kept++] = sim.pasts[i];
    }
    sim.past_count = kept;
}

#endif
