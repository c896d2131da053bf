/* wheel.h - hierarchical timing wheel; owns no clock, lock or memory. */
#ifndef JOBQ__WHEEL_H
#define JOBQ__WHEEL_H

#include "limits.h"
#include "list.h"

/* Times are milliseconds, the caller reads the clock and brings its own lock. A level has a slot
 * for each digit, and there are as many levels as hold every int64_t that is not negative (eleven
 * with digits of six bits), so no time is too far away and nothing ever wraps around. */
enum {
    JOBQ__WHEEL_SLOTS = 1 << JOBQ__WHEEL_BITS,
    JOBQ__WHEEL_LEVELS = (63 + JOBQ__WHEEL_BITS - 1) / JOBQ__WHEEL_BITS
};

/* One deadline. The caller owns it, mostly inside a struct of its own (JOBQ__CONTAINER), and must
 * not free or move it while it is pending. All zero means not pending. */
struct jobq__timer {
    struct jobq__link link; /* next is NULL while the timer is not pending */
    int64_t at_ms;          /* keeps its value when the timer has fired or was deleted */
};

/* Never copy or move one: the heads of its lists point at themselves. */
struct jobq__wheel {
    int64_t cursor_ms;       /* the latest now ever seen; never goes back */
    int count;               /* pending timers that have a time */
    uint64_t used[JOBQ__WHEEL_LEVELS]; /* bit s of [l]: slots[l][s] is not empty */
    struct jobq__link due;   /* at_ms <= cursor, in order of time, then of adding */
    struct jobq__link never; /* at_ms == JOBQ_NEVER: pending, but nothing to wait for */
    struct jobq__link slots[JOBQ__WHEEL_LEVELS][JOBQ__WHEEL_SLOTS]; /* cursor < at_ms */
};

/* Makes a timer that is in no list not pending, as zeroing it would. */
static inline void jobq__timer_init(struct jobq__timer *timer) {
    timer->link.next = timer->link.prev = NULL;
}

static inline bool jobq__timer_pending(const struct jobq__timer *timer) {
    return timer->link.next != NULL;
}

JOBQ__INTERNAL void jobq__wheel_init(struct jobq__wheel *wheel, int64_t now_ms);

/* Makes timer pending for at_ms; if it is pending already it moves, and counts as added now. A time
 * that has passed fires at the next expire; JOBQ_NEVER does not fire. */
JOBQ__INTERNAL void jobq__wheel_add(struct jobq__wheel *wheel, struct jobq__timer *timer,
                                    int64_t at_ms);

/* Takes timer out; does nothing if it is not pending. */
JOBQ__INTERNAL void jobq__wheel_del(struct jobq__wheel *wheel, struct jobq__timer *timer);

/* The earliest at_ms of all pending timers, to the millisecond; JOBQ_NEVER if there is none. It may
 * lie in the past. */
JOBQ__INTERNAL int64_t jobq__wheel_next(const struct jobq__wheel *wheel);

/* Takes out and returns one timer with at_ms <= now_ms, by time and then by order of adding; NULL
 * when none is left. Call it in a loop; between the calls timers may be added and deleted, and one
 * that is added for a time that has passed comes out in the same loop. now_ms may be smaller than
 * before: then only what is due by that smaller time comes out. */
JOBQ__INTERNAL struct jobq__timer *jobq__wheel_expire(struct jobq__wheel *wheel, int64_t now_ms);

/* How many timers are pending, not counting those at JOBQ_NEVER. */
JOBQ__INTERNAL int jobq__wheel_count(const struct jobq__wheel *wheel);

#ifdef JOBQ_DEBUG
/* Asserts every invariant of wheel.c. O(slots + timers). */
JOBQ__INTERNAL void jobq__wheel_check(const struct jobq__wheel *wheel);
#endif

#endif
