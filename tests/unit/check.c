/* check.c - what has to hold after each commit of a debug build is asserted, and the assertions
 * bite.
 *
 * The suite keeps these invariants in every test of `make debug` (check.h). Here the memory of an
 * owner is made wrong by hand, or the file under it, each time in a child that has to die of it at
 * its next commit. */
#if !defined JOBQ_MODULES && !defined JOBQ_DEBUG /* the modules are compiled already, as release */
#define JOBQ_DEBUG
#endif
#define UNIT_INCLUDES_JOBQ_C
#include "helpers.h"
#include "unit.h"

#include <sys/resource.h>

#ifdef JOBQ_DEBUG
static const bool asserts = true;
#else
static const bool asserts = false;
#endif

static fixture f;

/* One job waits for a point in time, one for a duration, one is ready. */
static bool begin(void) {
    if (!fixture_open(&f, STEP)) return false;
    handle(f.q, "k", do_nothing, NULL);
    put_job(f.q, (jobq_job){.kind = "k", .run_at_ms = T0 + JOBQ_HOUR});
    put_in(f.q, JOBQ_HOUR);
    put(f.q, "k");
    return true;
}

static void commit_something(void) {
    put(f.q, "k");
}

/* On the connection that writes, so that nobody takes it for another's. */
static void write_behind(const char *sql) {
    jobq__store *db = &f.q->writer;
    if (jobq__store_begin(db) || sqlite3_exec(db->handle, sql, NULL, NULL, NULL)
        || jobq__store_commit(db)) _exit(5);
}

/* ---- What is wrong ---- */

static void time_by_the_wall_is_late(void) {
    f.q->due.at_ms[JOBQ__DUE_BY_WALL]++;
    commit_something();
}

static void time_by_own_time_is_late(void) {
    f.q->due.at_ms[JOBQ__DUE_BY_OWN]++;
    commit_something();
}

static void time_is_not_known(void) {
    f.q->due.at_ms[JOBQ__DUE_BY_OWN] = JOBQ_NEVER;
    commit_something();
}

static void lane_is_not_known(void) {
    jobq__list_remove(f.q->ready.next);
    put_in(f.q, JOBQ_HOUR);
}

static void claims_while_others_go_first(void) {
    jobq__os_lock(&f.q->pool.mu);
    f.q->pool.ring.behind = true;
    f.q->pool.life.claiming = f.q->pool.step.active = true;
    jobq__os_unlock(&f.q->pool.mu);
    commit_something();
}

static void pool_counts_wrong(void) {
    f.q->pool.crew.sleeping++;
    commit_something();
}

static void scheduler_waits_that_is_not_there(void) {
    f.q->pool.sched.waits = true;
    commit_something();
}

static void waiter_is_told_of_no_end(void) {
    static struct jobq__waiter waiter;
    waiter.done = true;
    jobq__list_append(&f.q->pool.waiters, &waiter.link);
    commit_something();
}

static void outcome_of_nobody(void) {
    static struct jobq__entry entry;
    jobq__list_init(&entry.claimed);
    jobq__list_append(&f.q->pool.outcomes.list, &entry.link);
    f.q->pool.outcomes.count = 1;
    /* A transaction without outcomes leaves it where it is. */
    jobq__tx_open(&f.q->tx, &f.q->writer, JOBQ__TX_REQUESTS);
    jobq__check_commit(&f.q->tx);
}

static void ring_counts_wrong(void) {
    f.q->pool.ring.bytes++;
    commit_something();
}

static struct jobq__gate *gate_of(const char *kind) {
    return &jobq__registry_by_text(&f.q->names, JOBQ__NAME_KIND, kind)->kind.gate;
}

static void gate_holds_nobody(void) {
    gate_of("k")->held++;
    commit_something();
}

/* Rows wait for a handler, and nobody remembers that there is one now. */
static void open_gate_is_forgotten(void) {
    put(f.q, "other");
    jobq__gate_open(gate_of("other"));
    commit_something();
}

static void list_of_gates_is_another(void) {
    write_behind("UPDATE jobq_claims SET open = x'03'"); /* -2 */
    commit_something();
}

/* Which are written when so many jobs are there. */
static void counters_are_others(void) {
    for (int i = 0; i < JOBQ__UNCOUNTED_MAX; i++) commit_something();
    write_behind("UPDATE jobq_claims SET ready = ready + 1");
    commit_something();
}

/* ---- What is wrong while a job runs: it is claimed then, and so is the next ---- */

static jobq_outcome do_wrong(jobq_run *run, void *ctx) {
    (void)run;
    commit_something();
    (*(void (**)(void))ctx)();
    return JOBQ_DONE;
}

static void while_one_runs(void (*wrong)(void)) {
    handle(f.q, "wrong", do_wrong, (void *)&wrong);
    put_job(f.q, (jobq_job){.kind = "wrong", .priority = -1});
    drain(f.q);
}

static void names_nobody(void) {
    write_behind("UPDATE jobq_claims SET ids = x''");
    commit_something();
}

static void claims_row_names_nobody(void) {
    while_one_runs(names_nobody);
}

static void goes_first(void) {
    write_behind("UPDATE jobq_row SET priority = -9, ord = -9 WHERE state = 0 AND lane > 1");
    commit_something();
}

static void table_sorts_before_the_ring(void) {
    while_one_runs(goes_first);
}

static void leaves_its_place(void) {
    struct jobq__entry *entry = JOBQ__CLAIMED_ENTRY(f.q->claimed.next);
    for (int i = 0; i < f.q->pool.crew.count; i++)
        if (f.q->pool.crew.workers[i].run.entry == entry)
            entry = JOBQ__CLAIMED_ENTRY(f.q->claimed.prev);
    jobq__os_lock(&f.q->pool.mu);
    jobq__ring_remove(&f.q->pool.ring, entry);
    jobq__os_unlock(&f.q->pool.mu);
    commit_something();
}

static void claimed_job_is_nowhere(void) {
    while_one_runs(leaves_its_place);
}

/* ---- Children ---- */

/* Its last words are expected: nobody needs to read them. */
static void commit_in_child(void *wrong) {
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGABRT, SIG_DFL);
    if (!freopen("/dev/null", "w", stderr)) _exit(3);
    if (!begin()) _exit(4);
    (*(void (**)(void))wrong)();
}

static void remove_files(void) {
    static const char *const names[] = {"q.db", "q.db-wal", "q.db-shm", "q.db-jobq"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) unlink(test_path(names[i]));
}

static void has_to_die_of(void (*wrong)(void), size_t number) {
    int status = test_fork(commit_in_child, (void *)&wrong);
    if (!CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT))
        test_note("%d: status %d", (int)number, status);
    remove_files();
}

/* Goal: an owner that remembers something wrong dies of it at its next commit. Method: each in a
 * child of its own, with a queue of its own, which has to end by SIGABRT. */
TEST(what_is_remembered_wrong_is_fatal) {
    static void (*const wrongs[])(void) = {
        time_by_the_wall_is_late, time_by_own_time_is_late, time_is_not_known, lane_is_not_known,
        claims_while_others_go_first, pool_counts_wrong, scheduler_waits_that_is_not_there,
        waiter_is_told_of_no_end, outcome_of_nobody, ring_counts_wrong, gate_holds_nobody,
        open_gate_is_forgotten, list_of_gates_is_another, claims_row_names_nobody,
        table_sorts_before_the_ring, claimed_job_is_nowhere};
    for (size_t i = 0; i < sizeof wrongs / sizeof wrongs[0] && asserts; i++)
        has_to_die_of(wrongs[i], i);
    if (!asserts) test_skip("not a debug build");
}

/* Goal: the same of counters that are not what the rows come to, which a build of small sizes asks.
 * Method: some jobs are counted, then one that is not there. */
TEST(counters_remembered_wrong_are_fatal) {
    if (asserts && JOBQ__UNCOUNTED_MAX <= 100) has_to_die_of(counters_are_others, 0);
    else test_skip("not a debug build of small sizes");
}

/* Goal: a time that is known too early is not: a look finds nothing then. Method: both. */
TEST(time_may_be_early) {
    REQUIRE(begin());
    f.q->due.at_ms[JOBQ__DUE_BY_WALL]--;
    f.q->due.at_ms[JOBQ__DUE_BY_OWN]--;
    commit_something();
    CHECK_INT(drain(f.q), 2);
    advance(f.q, JOBQ_HOUR);
    CHECK_INT(count_all(f.q).done, 4);
    fixture_close(&f);
}

/* Goal: whatever comes to wait for its time, and goes from there, the first of each lane is known.
 * Method: the later ones come first; one of them is cancelled, one deleted, one tried at once. */
TEST(first_of_each_lane_is_known) {
    int64_t ids[6];
    REQUIRE(begin());
    for (int i = 0; i < 6; i++) {
        int64_t in_ms = (30 - i) * JOBQ_MINUTE;
        ids[i] = i % 2 ? put_in(f.q, in_ms)
                       : put_job(f.q, (jobq_job){.kind = "k", .run_at_ms = T0 + in_ms});
    }
    WORKS(jobq_cancel(f.q, ids[5], &err));
    WORKS(jobq_delete(f.q, ids[4], &err));
    WORKS(jobq_retry_now(f.q, ids[3], &err));
    CHECK_INT(drain(f.q), 2);
    advance(f.q, JOBQ_HOUR);
    CHECK_INT(count_all(f.q).done, 7);
    fixture_close(&f);
}

TEST_MAIN(what_is_remembered_wrong_is_fatal, counters_remembered_wrong_are_fatal,
          time_may_be_early, first_of_each_lane_is_known)
