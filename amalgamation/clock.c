/* clock.c - the injected clock: the system's or an artificial one. */
#include "clock.h"

struct jobq_clock {
    struct jobq__mutex mu; /* guards writes of now_ms; reads are atomic */
    int64_t now_ms;
};

JOBQ__INTERNAL int64_t jobq__clock_now_ms(jobq_clock *clock) {
    return clock ? jobq__os_load64(&clock->now_ms) : jobq__os_time_wall_us() / 1000;
}

JOBQ__INTERNAL void jobq__clock_set(jobq_clock *clock, int64_t at_ms) {
    jobq__os_lock(&clock->mu);
    if (at_ms > clock->now_ms) jobq__os_store64(&clock->now_ms, at_ms);
    jobq__os_unlock(&clock->mu);
}

JOBQ__INTERNAL int64_t jobq__clock_mono_us(void) {
    return jobq__os_time_mono_us();
}

JOBQ_API jobq_clock *jobq_clock_artificial(int64_t start_at_ms) {
    jobq_clock *clock = jobq__mem_new(sizeof *clock);
    if (!clock) return NULL;
    if (jobq__os_mutex_init(&clock->mu)) {
        jobq__mem_free(clock);
        return NULL;
    }
    clock->now_ms = start_at_ms < 0 ? 0 : start_at_ms;
    return clock;
}

JOBQ_API void jobq_clock_free(jobq_clock *clock) {
    if (!clock) return;
    jobq__os_mutex_fini(&clock->mu);
    jobq__mem_free(clock);
}

JOBQ_API int64_t jobq_clock_now(jobq_clock *clock) {
    return jobq__clock_now_ms(clock);
}

JOBQ_API void jobq_clock_advance(jobq_clock *clock, int64_t duration_ms) {
    if (!clock || duration_ms <= 0) return;
    jobq__os_lock(&clock->mu);
    jobq__os_store64(&clock->now_ms, jobq__add(clock->now_ms, duration_ms));
    jobq__os_unlock(&clock->mu);
}
