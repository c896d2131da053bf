/* clock.h - the injected clock: the system's or an artificial one. */
#ifndef JOBQ__CLOCK_H
#define JOBQ__CLOCK_H

#include "os.h"

/* Two clocks, never mixed. The injected one (jobq_clock_now) gives milliseconds of the epoch:
 * due times, backoff, deadlines. The monotonic one gives microseconds of real time: grace,
 * measured rates, waits of threads. */

/* The same as jobq_clock_now, under an internal name. clock NULL is the system's. */
JOBQ__INTERNAL int64_t jobq__clock_now_ms(jobq_clock *clock);

/* Moves an artificial clock to at_ms, never backwards. */
JOBQ__INTERNAL void jobq__clock_set(jobq_clock *clock, int64_t at_ms);

JOBQ__INTERNAL int64_t jobq__clock_mono_us(void);

#endif
