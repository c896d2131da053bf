/* edges.c - tables of legal edges: each pair of states goes, or is fatal in a debug build.
 *
 * What has states has one function through which they change, and that asserts the edge. So every
 * pair is put through that function, in place of what calls it: what is documented goes, and what
 * is not has to be fatal, each in a child of its own. Neither a table with an edge too many or too
 * few passes, nor a function that no longer asks it. (Jobs have their states in the file, where the
 * door asks for each: unit/state.c has that table.) */
#if !defined JOBQ_MODULES && !defined JOBQ_DEBUG /* the modules are compiled already, as release */
#define JOBQ_DEBUG
#endif
#define UNIT_INCLUDES_JOBQ_C
#include "test.h"
#include "unit.h"

#include <sys/resource.h>
#include <sys/wait.h>

#ifndef JOBQ_MODULES

/* A machine: how it is put into a state, sent to another, and in which it is now. */
struct machine {
    void (*set)(int state);
    void (*go)(int from, int to);
    int (*get)(void);
    int states;
    const int (*edges)[2];
    size_t edges_count;
};

struct step {
    const struct machine *machine;
    int from, to;
};

static jobq it;
static struct jobq__worker worker;
static struct jobq__slot slot;
static struct jobq__request request;

static bool documented(const struct machine *m, int from, int to) {
    for (size_t i = 0; i < m->edges_count; i++)
        if (m->edges[i][0] == from && m->edges[i][1] == to) return true;
    return false;
}

/* Its last words are expected: nobody needs to read them. */
static void die_of(void *arg) {
    const struct step *step = (const struct step *)arg;
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGABRT, SIG_DFL);
    if (!freopen("/dev/null", "w", stderr)) _exit(3);
    step->machine->go(step->from, step->to);
}

/* Numbers that are no state included. */
static void try_all(const struct machine *m) {
    for (int from = -1; from <= m->states; from++) {
        for (int to = -1; to <= m->states; to++) {
            struct step step = {m, from, to};
            m->set(from);
            if (documented(m, from, to)) {
                m->go(from, to);
                if (!CHECK_INT(m->get(), to)) test_note("from %d to %d", from, to);
            } else {
                int status = test_fork(die_of, &step);
                if (!CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT))
                    test_note("from %d to %d: status %d", from, to, status);
            }
        }
    }
}

#define MACHINE(name, count) \
    static const struct machine name = { \
        set_##name, go_##name, get_##name, count, edges_##name, \
        sizeof edges_##name / sizeof edges_##name[0]}

/* ---- The pool's life ---- */

static const int edges_phases[][2] = {
    {JOBQ__STOPPED, JOBQ__RUNNING},     /* start */
    {JOBQ__RUNNING, JOBQ__STOPPING},    /* a stop or a close */
    {JOBQ__STOPPING, JOBQ__STOPPED},    /* the threads are joined */
};

static void set_phases(int state) {
    it.pool.life.phase = (enum jobq__phase)state;
    it.pool.life.changing = true;
}

static void go_phases(int from, int to) {
    (void)from;
    jobq__os_lock(&it.pool.mu);
    jobq__life_go(&it, (enum jobq__phase)to);
    jobq__os_unlock(&it.pool.mu);
}

static int get_phases(void) {
    return (int)it.pool.life.phase;
}

MACHINE(phases, JOBQ__STOPPING + 1);

/* ---- A slot ---- */

static const int edges_slots[][2] = {
    {JOBQ__SLOT_IDLE, JOBQ__SLOT_STARTED},      /* a handler begins */
    {JOBQ__SLOT_STARTED, JOBQ__SLOT_IDLE},      /* and has returned */
    {JOBQ__SLOT_STARTED, JOBQ__SLOT_RELEASED},  /* a stop lets go of it, or who leaves */
    {JOBQ__SLOT_STARTED, JOBQ__SLOT_GUILTY},    /* it called exit() */
    {JOBQ__SLOT_RELEASED, JOBQ__SLOT_IDLE},     /* it has returned after all */
};

static void set_slots(int state) {
    slot.state = state;
}

static void go_slots(int from, int to) {
    jobq__owner_slot_to(&slot, from, to);
}

static int get_slots(void) {
    return slot.state;
}

MACHINE(slots, JOBQ__SLOT_GUILTY + 1);

/* ---- The level of a full disk ---- */

static const int edges_levels[][2] = {
    {JOBQ__DISK_ROOMY, JOBQ__DISK_TIGHT},   /* full, or no room for what was to be set aside */
    {JOBQ__DISK_TIGHT, JOBQ__DISK_SINGLE},  /* full even so */
    {JOBQ__DISK_TIGHT, JOBQ__DISK_ROOMY},   /* the reserve can be had again */
    {JOBQ__DISK_SINGLE, JOBQ__DISK_ROOMY},
};

static void set_levels(int state) {
    it.disk.level = state;
}

static void go_levels(int from, int to) {
    (void)from;
    jobq__disk_to(&it.disk, to);
}

static int get_levels(void) {
    return it.disk.level;
}

MACHINE(levels, JOBQ__DISK_SINGLE + 1);

/* ---- A worker ---- */

static const int edges_workers[][2] = {
    {JOBQ__WORKER_ABSENT, JOBQ__WORKER_AWAKE},  /* it is started */
    {JOBQ__WORKER_AWAKE, JOBQ__WORKER_ABSENT},  /* which the system refuses */
    {JOBQ__WORKER_AWAKE, JOBQ__WORKER_IDLE},
    {JOBQ__WORKER_IDLE, JOBQ__WORKER_WOKEN},    /* by who has a job for it */
    {JOBQ__WORKER_IDLE, JOBQ__WORKER_AWAKE},    /* by itself */
    {JOBQ__WORKER_WOKEN, JOBQ__WORKER_AWAKE},
    {JOBQ__WORKER_AWAKE, JOBQ__WORKER_ENDED},
    {JOBQ__WORKER_ENDED, JOBQ__WORKER_ABSENT},  /* it was joined */
};

static void set_workers(int state) {
    worker.run.q = &it;
    worker.state = (enum jobq__worker_state)state;
}

/* Whoever sends it to sleep has put it into the list of those who do, and else it is not there. */
static void go_workers(int from, int to) {
    struct jobq__link idle;
    (void)from;
    jobq__list_init(&idle);
    jobq__list_init(&worker.link);
    if (to == JOBQ__WORKER_IDLE) jobq__list_append(&idle, &worker.link);
    jobq__os_lock(&it.pool.mu);
    jobq__wake_worker_to(&worker, (enum jobq__worker_state)to);
    jobq__os_unlock(&it.pool.mu);
}

static int get_workers(void) {
    return (int)worker.state;
}

MACHINE(workers, JOBQ__WORKER_ENDED + 1);

/* ---- A request ---- */

static const int edges_requests[][2] = {
    {JOBQ__REQUEST_NEW, JOBQ__REQUEST_LEAD},        /* the baton was free */
    {JOBQ__REQUEST_NEW, JOBQ__REQUEST_WAITING},     /* stands in line */
    {JOBQ__REQUEST_NEW, JOBQ__REQUEST_GONE},        /* no memory for a bed */
    {JOBQ__REQUEST_WAITING, JOBQ__REQUEST_LEAD},    /* is handed the baton */
    {JOBQ__REQUEST_WAITING, JOBQ__REQUEST_TAKEN},   /* is in a group */
    {JOBQ__REQUEST_WAITING, JOBQ__REQUEST_GONE},    /* its time is over */
    {JOBQ__REQUEST_LEAD, JOBQ__REQUEST_WAITING},    /* leads its own group */
    {JOBQ__REQUEST_TAKEN, JOBQ__REQUEST_DONE},      /* is decided */
    {JOBQ__REQUEST_TAKEN, JOBQ__REQUEST_WAITING},   /* is tried again when the file is free */
};

static void set_requests(int state) {
    request.state = state;
}

static void go_requests(int from, int to) {
    (void)from;
    jobq__baton_step(&request, (enum jobq__request_state)to);
}

static int get_requests(void) {
    return request.state;
}

MACHINE(requests, JOBQ__REQUEST_GONE + 1);

/* ---- What the tests do ---- */

static void try_phases(void) {
    REQUIRE_INT(jobq__os_mutex_init(&it.pool.mu), 0);
    try_all(&phases);
    jobq__os_mutex_fini(&it.pool.mu);
}

static void try_passers_by(void) {
    REQUIRE_INT(jobq__os_mutex_init(&it.pool.mu), 0);
    for (size_t i = 0; i < phases.edges_count; i++) {
        struct step step = {&phases, edges_phases[i][0], edges_phases[i][1]};
        set_phases(step.from);
        it.pool.life.changing = false;
        if (step.to == JOBQ__STOPPING) {
            go_phases(step.from, step.to);
            CHECK_INT(get_phases(), step.to);
        } else {
            int status = test_fork(die_of, &step);
            CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        }
    }
    jobq__os_mutex_fini(&it.pool.mu);
}

static void try_slots(void) {
    try_all(&slots);
    slot.state = JOBQ__SLOT_IDLE;
    jobq__owner_slot_to(&slot, JOBQ__SLOT_STARTED, JOBQ__SLOT_RELEASED);
    CHECK_INT(slot.state, JOBQ__SLOT_IDLE);
    jobq__owner_slot_to(&slot, JOBQ__SLOT_STARTED, JOBQ__SLOT_GUILTY);
    CHECK_INT(slot.state, JOBQ__SLOT_IDLE);
}

static void try_levels(void) {
    try_all(&levels);
}

static void try_workers(void) {
    REQUIRE_INT(jobq__os_mutex_init(&it.pool.mu), 0);
    try_all(&workers);
    jobq__os_mutex_fini(&it.pool.mu);
}

static void try_requests(void) {
    try_all(&requests);
}

#else

/* What changes a state is static there, and asserts nothing in a release. */
static void skip(void) {
    test_skip("the modules are built apart");
}

#define try_phases skip
#define try_passers_by skip
#define try_slots skip
#define try_levels skip
#define try_workers skip
#define try_requests skip

#endif

/* Goal: the pool starts, is told to stop and has stopped, in this order only. Method: every
 * pair. */
TEST(pairs_of_phases) {
    try_phases();
}

/* Goal: only who starts or joins the threads says that they run, or that they have stopped; to tell
 * them to stop is anybody's. Method: each edge by who has not said that it changes them. */
TEST(phases_change_by_who_changes_them) {
    try_passers_by();
}

/* Goal: who was let go of is not blamed any more, and who is guilty stays so. Method: every pair;
 * and a release that comes when the run has just ended changes nothing. */
TEST(pairs_of_slots) {
    try_slots();
}

/* Goal: the level rises by one at a time, and falls to the bottom at once. Method: every pair. */
TEST(pairs_of_levels) {
    try_levels();
}

/* Goal: a worker that was woken says so before it sleeps again, and one that has ended is joined
 * before another takes its place. Method: every pair. */
TEST(pairs_of_workers) {
    try_workers();
}

/* Goal: the steps of unit/baton.c are those that a request takes. Method: every pair. */
TEST(pairs_of_requests) {
    try_requests();
}

TEST_MAIN(pairs_of_phases, phases_change_by_who_changes_them, pairs_of_slots, pairs_of_levels,
          pairs_of_workers, pairs_of_requests)
