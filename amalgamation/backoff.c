/* backoff.c - retry delay and jitter, pure functions. */

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

#include "backoff.h"

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
