/* pool_tries_again.c - a pool whose transactions fail tries again, whatever time passes meanwhile.
 *
 * Between two readings of the clock any time may pass: a thread can be put aside at any
 * instruction. Here it is the clock that jumps, so that on an idle machine, too, much lies between
 * one reading and the next. It is never more than AHEAD_US before the true one, so whoever waits
 * for it waits that much longer at most. */
#include "fault_vfs.h"
#include "helpers.h"

#include <sys/syscall.h>
#include <time.h>

enum { AHEAD_US = 8000, ROUNDS = 300 };

static struct {
    pthread_mutex_t mutex; /* guards what follows */
    uint64_t random;       /* 0: the clock goes as it should */
    int64_t last_us, jumps;
} jumps = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static int64_t jump(int64_t real_us) {
    int64_t now_us = real_us;
    pthread_mutex_lock(&jumps.mutex);
    if (jumps.random) now_us += (int64_t)(test_random(&jumps.random) % AHEAD_US);
    if (now_us < jumps.last_us) now_us = jumps.last_us;
    if (now_us > real_us) jumps.jumps++;
    jumps.last_us = now_us;
    pthread_mutex_unlock(&jumps.mutex);
    return now_us;
}

/* Stands before the system's own. */
int clock_gettime(clockid_t id, struct timespec *at) {
    int64_t now_us;
    if (syscall(SYS_clock_gettime, id, at)) return -1;
    if (id != CLOCK_MONOTONIC) return 0;
    now_us = jump((int64_t)at->tv_sec * 1000000 + at->tv_nsec / 1000);
    at->tv_sec = (time_t)(now_us / 1000000);
    at->tv_nsec = (long)(now_us % 1000000 * 1000);
    return 0;
}

/* Goal: a job whose claim failed is claimed once the disk works again. Method: the disk fails one
 * to three times when a scheduled job becomes due; nothing but the pool's own next try can find out
 * that it works again. */
TEST(a_failed_claim_is_tried_again) {
    static const char *const plans[] = {"x", "xx", "xxx"};
    enum { PLANS = sizeof plans / sizeof plans[0] };
    fixture f;
    int64_t failures = 0, id;
    fault_begin();
    jumps.random = test_seed();
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1, .stall_ms = 30 * JOBQ_SECOND}));
    handle(f.q, "k", do_nothing, NULL);
    start(f.q);
    for (int i = 0; i < ROUNDS * test_effort(1) && !test_failures(); i++) {
        id = put_job(f.q, (jobq_job){.kind = "k", .delay_ms = 5});
        fault_plan(FAULT_SHM_LOCK, plans[i % PLANS], SQLITE_IOERR_SHMLOCK);
        WORKS(jobq_advance(f.q, 10, NULL, &err));
        failures += fault_hits(FAULT_SHM_LOCK);
        fault_off();
        CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
    }
    CHECK(jumps.jumps > 0);
    CHECK(failures >= ROUNDS);
    fixture_close(&f);
}

TEST_MAIN(a_failed_claim_is_tried_again)
