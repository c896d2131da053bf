/* locks.c - the rules about locks are asserted, and the assertions bite.
 *
 * A debug build promises (lock table, core.h): a thread holds one of our mutexes at a time, calls
 * SQLite under none but the reader's, and calls the application under none. The suite keeps these
 * rules in every test of `make debug` and of the sanitizers. Here they are broken on purpose, each
 * in a child that has to die of it, because an assertion that never fires proves nothing. */
#if !defined JOBQ_MODULES && !defined JOBQ_DEBUG /* the modules are compiled already, as release */
#define JOBQ_DEBUG
#endif
#define UNIT_INCLUDES_JOBQ_C
#include "helpers.h"
#include "unit.h"

#include <sys/resource.h>

static struct jobq__mutex one, other;
static jobq *queue;

static void init_all(void) {
    jobq_options options = {.workers = JOBQ_NONE};
    REQUIRE_INT(jobq__os_mutex_init(&one), JOBQ_OK);
    REQUIRE_INT(jobq__os_mutex_init(&other), JOBQ_OK);
    REQUIRE_CODE(jobq_open(test_path("q.db"), &options, &queue, NULL), JOBQ_OK);
}

static void fini_all(void) {
    jobq_close(&queue);
    jobq__os_mutex_fini(&other);
    jobq__os_mutex_fini(&one);
}

/* ---- What is forbidden ---- */

static void take_a_second_lock(void) {
    jobq__os_lock(&one);
    jobq__os_lock(&other);
}

static void take_the_same_lock_twice(void) {
    jobq__os_lock(&one);
    jobq__os_lock(&one);
}

static void give_back_what_is_free(void) {
    jobq__os_unlock(&one);
}

static void give_back_the_wrong_one(void) {
    jobq__os_lock(&one);
    jobq__os_unlock(&other);
}

static void wait_without_the_lock(void) {
    struct jobq__cond cond;
    jobq__os_cond_init(&cond, JOBQ__OS_MONO);
    jobq__os_wait_until(&cond, &one, 0);
}

static void step_under_a_lock(void) {
    jobq__os_lock(&queue->pool.mu);
    jobq__db_do(&queue->writer, JOBQ__SQL_SYNC_NORMAL);
}

static void read_under_a_lock(void) {
    bool row;
    jobq__os_lock(&queue->baton.mu);
    jobq__db_next(&queue->reader, NULL, &row);
}

static void checkpoint_under_a_lock(void) {
    bool all;
    jobq__os_lock(&queue->pool.mu);
    jobq__db_checkpoint(&queue->writer, false, &all);
}

static void call_out_under_a_lock(void) {
    jobq__os_lock(&queue->reader_mu);
    jobq__assert(jobq__os_may_call_out());
}

/* ---- Children ---- */

/* Its last words are expected: nobody needs to read them. */
static void commit_crime(void *crime) {
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGABRT, SIG_DFL);
    if (!freopen("/dev/null", "w", stderr)) _exit(3);
    (*(void (**)(void))crime)();
}

/* Goal: who breaks a rule about locks dies of it in a debug build. Method: each crime in a child
 * of its own, which has to end by SIGABRT. */
TEST(breaking_a_rule_is_fatal) {
    static void (*const crimes[])(void) = {
        take_a_second_lock, take_the_same_lock_twice, give_back_what_is_free,
        give_back_the_wrong_one, wait_without_the_lock, step_under_a_lock, read_under_a_lock,
        checkpoint_under_a_lock, call_out_under_a_lock};
#ifdef JOBQ_DEBUG
    init_all();
    for (size_t i = 0; i < sizeof crimes / sizeof crimes[0]; i++) {
        void (*crime)(void) = crimes[i];
        int status = test_fork(commit_crime, (void *)&crime);
        if (!CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT))
            test_note("crime %d: status %d", (int)i, status);
    }
    fini_all();
#else
    (void)crimes;
    test_skip("not a debug build");
#endif
}

/* Goal: what the rules allow is allowed. Method: one lock after the other, SQLite under the
 * reader's lock, a wait that gives its lock up meanwhile. */
TEST(keeping_the_rules_is_not) {
    struct jobq__cond cond;
    bool all;
    init_all();
    REQUIRE_INT(jobq__os_cond_init(&cond, JOBQ__OS_MONO), JOBQ_OK);
    CHECK(jobq__os_may_call_out());
    jobq__os_lock(&one);
    CHECK(jobq__os_held(&one));
    CHECK(!jobq__os_wait_until(&cond, &one, 0));
    CHECK(jobq__os_held(&one));
    jobq__os_unlock(&one);
    jobq__os_lock(&other);
    jobq__os_unlock(&other);
    jobq__os_lock(&queue->reader_mu);
    CHECK(jobq__os_may_block());
    CHECK_INT(jobq__db_checkpoint(&queue->reader, false, &all), JOBQ_OK);
    jobq__os_unlock(&queue->reader_mu);
    CHECK(jobq__os_may_call_out() && jobq__os_may_block());
    jobq__os_cond_fini(&cond);
    fini_all();
}

TEST_MAIN(breaking_a_rule_is_fatal, keeping_the_rules_is_not)
