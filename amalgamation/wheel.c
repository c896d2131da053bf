/* wheel.c - hierarchical timing wheel; owns no clock, lock or memory. */

/* How it works. A time is a number of digits, mostly of six bits. A timer in the future stands on
 * the level of the highest digit in which its time differs from the cursor, in the slot that this
 * digit names. So the timers on a level all differ from the cursor in that digit and agree above
 * it: every level is earlier than all levels over it, and inside a level the slots stand in order
 * of time. When the cursor reaches the beginning of a slot, the timers in it agree with the cursor
 * in one digit more, and are placed again, lower. A timer is moved at most once per level, and an
 * empty stretch of any length is one step.
 *
 * Time that steps back. The cursor is not the caller's now, it is the latest now there ever was,
 * and it never goes back. What is not later than the cursor stands in a list by time (due), and
 * what comes out of it is decided by the caller's now alone. So a timer that was set while the
 * clock was a year ahead waits in that list until its own time has come, never less. Setting it
 * costs a walk over the timers in that list that are later: few, since the wheel holds
 * deadlines (one per worker, schedule and waiter), not jobs; and none at all in the usual case.
 *
 * Invariants (jobq__wheel_check):
 *   W1  Where a pending timer stands follows from its at_ms and the cursor alone: never, due, or
 *       one slot. That is why a timer need not remember its place.
 *   W2  due is in order of at_ms, and of adding where these are equal.
 *   W3  Timers of equal at_ms are always in one list, in order of adding: they move together, and
 *       every move takes from the front and puts at the end.
 *   W4  A bit of used is set if and only if its slot is not empty.
 *   W5  count is the number of timers in due and in the slots.
 *
 * Whoever owns the wheel holds its own lock around each call. */

#include "wheel.h"

/* Number of the lowest bit that is set. Six halvings in place of a builtin, which only os.c may
 * use: this is nothing beside the lock around it. */
static int jobq__wheel_lowest_bit(uint64_t bits) {
    int bit = 0;
    int step;
    jobq__assert(bits != 0);
    for (step = 32; step > 0; step /= 2) {
        if ((bits & (((uint64_t)1 << step) - 1)) == 0) {
            bits >>= step;
            bit += step;
        }
    }
    jobq__assert((bits & 1) == 1);
    return bit;
}

static struct jobq__timer *jobq__wheel_timer(const struct jobq__link *link) {
    return JOBQ__CONTAINER(link, struct jobq__timer, link);
}

/* The slot where a timer for at_ms belongs; it must be later than the cursor. */
static void jobq__wheel_locate(const struct jobq__wheel *wheel, int64_t at_ms, int *level,
                               int *slot) {
    uint64_t differ = (uint64_t)at_ms ^ (uint64_t)wheel->cursor_ms;
    jobq__assert(wheel->cursor_ms >= 0 && at_ms > wheel->cursor_ms);
    *level = 0;
    while ((differ >>= JOBQ__WHEEL_BITS) != 0) ++*level;
    jobq__assert(*level < JOBQ__WHEEL_LEVELS);
    *slot = (int)((uint64_t)at_ms >> (*level * JOBQ__WHEEL_BITS)) & (JOBQ__WHEEL_SLOTS - 1);
}

/* Searches from the end, because what is set last is mostly also the latest. */
static void jobq__wheel_insert_due(struct jobq__wheel *wheel, struct jobq__timer *timer) {
    struct jobq__link *last = wheel->due.prev;
    jobq__assert(timer->at_ms <= wheel->cursor_ms);
    while (last != &wheel->due && jobq__wheel_timer(last)->at_ms > timer->at_ms) {
        last = last->prev;
    }
    jobq__list_insert(last->next, &timer->link);
}

/* Puts a timer that has a time, and is in no list, where W1 says. */
static void jobq__wheel_place(struct jobq__wheel *wheel, struct jobq__timer *timer) {
    int level, slot;
    jobq__assert(timer->at_ms != JOBQ_NEVER);
    if (timer->at_ms <= wheel->cursor_ms) {
        jobq__wheel_insert_due(wheel, timer);
        return;
    }
    jobq__wheel_locate(wheel, timer->at_ms, &level, &slot);
    jobq__list_append(&wheel->slots[level][slot], &timer->link);
    wheel->used[level] |= (uint64_t)1 << slot;
}

/* The slot that holds the earliest timers after the cursor: the first of the lowest level in use.
 * False if there are none. */
static bool jobq__wheel_first_slot(const struct jobq__wheel *wheel, int *level, int *slot) {
    for (*level = 0; *level < JOBQ__WHEEL_LEVELS; ++*level) {
        if (wheel->used[*level] != 0) {
            *slot = jobq__wheel_lowest_bit(wheel->used[*level]);
            return true;
        }
    }
    return false;
}

/* The first millisecond of a slot: the cursor's digits above, the slot's own, zeros below. */
static int64_t jobq__wheel_slot_start(const struct jobq__wheel *wheel, int level, int slot) {
    int shift = level * JOBQ__WHEEL_BITS;
    uint64_t digits = (uint64_t)wheel->cursor_ms >> shift;
    digits = (digits & ~(uint64_t)(JOBQ__WHEEL_SLOTS - 1)) | (uint64_t)slot;
    jobq__assert(digits << shift <= (uint64_t)INT64_MAX);
    jobq__assert(digits << shift > (uint64_t)wheel->cursor_ms);
    return (int64_t)(digits << shift);
}

/* Places the timers of a slot anew. The cursor has just come to its beginning, so all of them go
 * to lower levels or are due: the list empties. */
static void jobq__wheel_cascade(struct jobq__wheel *wheel, int level, int slot) {
    struct jobq__link *link;
    jobq__assert((wheel->used[level] >> slot & 1) == 1);
    wheel->used[level] &= ~((uint64_t)1 << slot);
    while ((link = jobq__list_pop(&wheel->slots[level][slot])) != NULL) {
        jobq__wheel_place(wheel, jobq__wheel_timer(link));
    }
    jobq__assert((wheel->used[level] >> slot & 1) == 0);
}

/* Brings the cursor to now_ms, and everything not later than that to due. The steps go from used
 * slot to used slot. At the end the cursor stands before the first used slot of a level, so the
 * digits in which the remaining timers differ from it have not changed (W1). */
static void jobq__wheel_advance(struct jobq__wheel *wheel, int64_t now_ms) {
    int level, slot;
    while (wheel->cursor_ms < now_ms && jobq__wheel_first_slot(wheel, &level, &slot)) {
        int64_t start_ms = jobq__wheel_slot_start(wheel, level, slot);
        if (start_ms > now_ms) break;
        wheel->cursor_ms = start_ms;
        jobq__wheel_cascade(wheel, level, slot);
    }
    wheel->cursor_ms = JOBQ__MAX(wheel->cursor_ms, now_ms);
}

JOBQ__INTERNAL void jobq__wheel_init(struct jobq__wheel *wheel, int64_t now_ms) {
    int level, slot;
    /* The digits need a cursor that is not negative; a clock before 1970 is a clock that steps. */
    wheel->cursor_ms = JOBQ__MAX(now_ms, 0);
    wheel->count = 0;
    jobq__list_init(&wheel->due);
    jobq__list_init(&wheel->never);
    for (level = 0; level < JOBQ__WHEEL_LEVELS; ++level) {
        wheel->used[level] = 0;
        for (slot = 0; slot < JOBQ__WHEEL_SLOTS; ++slot) {
            jobq__list_init(&wheel->slots[level][slot]);
        }
    }
}

JOBQ__INTERNAL void jobq__wheel_add(struct jobq__wheel *wheel, struct jobq__timer *timer,
                                    int64_t at_ms) {
    jobq__wheel_del(wheel, timer);
    timer->at_ms = at_ms;
    if (at_ms == JOBQ_NEVER) {
        jobq__list_append(&wheel->never, &timer->link);
    } else {
        jobq__wheel_place(wheel, timer);
        ++wheel->count;
    }
    jobq__assert(jobq__timer_pending(timer));
}

JOBQ__INTERNAL void jobq__wheel_del(struct jobq__wheel *wheel, struct jobq__timer *timer) {
    int level, slot;
    if (!jobq__timer_pending(timer)) return;
    jobq__list_remove(&timer->link);
    jobq__timer_init(timer);
    if (timer->at_ms == JOBQ_NEVER) return;
    jobq__assert(wheel->count > 0);
    --wheel->count;
    if (timer->at_ms <= wheel->cursor_ms) return;
    jobq__wheel_locate(wheel, timer->at_ms, &level, &slot);
    jobq__assert((wheel->used[level] >> slot & 1) == 1);
    if (jobq__list_empty(&wheel->slots[level][slot])) {
        wheel->used[level] &= ~((uint64_t)1 << slot);
    }
}

JOBQ__INTERNAL int64_t jobq__wheel_next(const struct jobq__wheel *wheel) {
    int64_t at_ms = JOBQ_NEVER;
    const struct jobq__link *head, *link;
    int level, slot;
    if (!jobq__list_empty(&wheel->due)) return jobq__wheel_timer(wheel->due.next)->at_ms;
    if (!jobq__wheel_first_slot(wheel, &level, &slot)) return JOBQ_NEVER;
    head = &wheel->slots[level][slot];
    for (link = head->next; link != head; link = link->next) {
        at_ms = jobq__min(at_ms, jobq__wheel_timer(link)->at_ms);
    }
    jobq__assert(at_ms > wheel->cursor_ms && at_ms < JOBQ_NEVER);
    return at_ms;
}

JOBQ__INTERNAL struct jobq__timer *jobq__wheel_expire(struct jobq__wheel *wheel, int64_t now_ms) {
    struct jobq__timer *timer;
    jobq__wheel_advance(wheel, now_ms);
    if (!jobq__list_empty(&wheel->due)) {
        timer = jobq__wheel_timer(wheel->due.next);
        /* The cursor may be ahead of now_ms: only the caller's now says what is due. */
        if (timer->at_ms <= now_ms) {
            jobq__wheel_del(wheel, timer);
            return timer;
        }
    }
#ifdef JOBQ_DEBUG
    jobq__wheel_check(wheel);
#endif
    return NULL;
}

JOBQ__INTERNAL int jobq__wheel_count(const struct jobq__wheel *wheel) {
    jobq__assert(wheel->count >= 0);
    return wheel->count;
}

#ifdef JOBQ_DEBUG
/* W1, W4 and the links of one slot; returns how many timers it holds. */
static int jobq__wheel_check_slot(const struct jobq__wheel *wheel, int level, int slot) {
    const struct jobq__link *head = &wheel->slots[level][slot];
    const struct jobq__link *link;
    int count = 0, at_level, at_slot;
    jobq__assert(jobq__list_empty(head) == ((wheel->used[level] >> slot & 1) == 0));
    for (link = head->next; link != head; link = link->next) {
        jobq__assert(link->next->prev == link && link->prev->next == link);
        jobq__wheel_locate(wheel, jobq__wheel_timer(link)->at_ms, &at_level, &at_slot);
        jobq__assert(at_level == level && at_slot == slot);
        jobq__assert(jobq__wheel_timer(link)->at_ms != JOBQ_NEVER);
        ++count;
    }
    return count;
}

/* W1 and W2 of due; returns how many timers it holds. */
static int jobq__wheel_check_due(const struct jobq__wheel *wheel) {
    const struct jobq__link *link;
    int64_t before_ms = INT64_MIN;
    int count = 0;
    for (link = wheel->due.next; link != &wheel->due; link = link->next) {
        jobq__assert(link->next->prev == link && link->prev->next == link);
        jobq__assert(jobq__wheel_timer(link)->at_ms >= before_ms);
        jobq__assert(jobq__wheel_timer(link)->at_ms <= wheel->cursor_ms);
        before_ms = jobq__wheel_timer(link)->at_ms;
        ++count;
    }
    return count;
}

JOBQ__INTERNAL void jobq__wheel_check(const struct jobq__wheel *wheel) {
    const struct jobq__link *link;
    int level, slot;
    int count = jobq__wheel_check_due(wheel);
    jobq__assert(wheel->cursor_ms >= 0);
    for (level = 0; level < JOBQ__WHEEL_LEVELS; ++level) {
        for (slot = 0; slot < JOBQ__WHEEL_SLOTS; ++slot) {
            count += jobq__wheel_check_slot(wheel, level, slot);
        }
    }
    for (link = wheel->never.next; link != &wheel->never; link = link->next) {
        jobq__assert(link->next->prev == link && link->prev->next == link);
        jobq__assert(jobq__wheel_timer(link)->at_ms == JOBQ_NEVER);
    }
    jobq__assert(count == wheel->count);
}
#endif
