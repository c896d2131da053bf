/* backoff.h - retry delay and jitter, pure functions. */
#ifndef JOBQ__BACKOFF_H
#define JOBQ__BACKOFF_H

#include "base.h"

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
