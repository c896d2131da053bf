/* clock.c - the readings of time: wall, monotonic, and an artificial clock's. */
#include "clock.h"

struct jobq_clock {
    /* Written under mu, read without; the wall is the sum. */
    int64_t mono_ms, offset_ms;
    struct jobq__mutex mu;      /* guards what follows, and the users' fields */
    struct jobq__cond told;
    struct jobq__link users;
    int64_t steps;
};

/* ---- Reading ---- */

/* The last moment comes, never does not: so a job of now is one that can be due. */
static int64_t jobq__clock_wall(int64_t ms) {
    return JOBQ__MIN(JOBQ__MAX(ms, 0), INT64_MAX - 1);
}

/* Of one moment: the offset was the same before and after. */
static struct jobq__now jobq__clock_shows(const jobq_clock *clock) {
    struct jobq__now now;
    int64_t offset_ms;
    do {
        offset_ms = jobq__os_load64(&clock->offset_ms);
        now.mono_ms = jobq__os_load64(&clock->mono_ms);
    } while (jobq__os_load64(&clock->offset_ms) != offset_ms);
    now.wall_ms = jobq__add(now.mono_ms, offset_ms);
    now.own_ms = 0;
    return now;
}

JOBQ__INTERNAL struct jobq__now jobq__clock_read(jobq_clock *clock) {
    struct jobq__now now;
    if (clock) {
        now = jobq__clock_shows(clock);
    } else {
        now.wall_ms = jobq__os_time_wall_us() / 1000;
        now.mono_ms = jobq__os_time_mono_us() / 1000;
        now.own_ms = 0;
    }
    now.wall_ms = jobq__clock_wall(now.wall_ms);
    return now;
}

JOBQ__INTERNAL int64_t jobq__clock_now_ms(jobq_clock *clock) {
    return jobq__clock_wall(clock ? jobq__clock_shows(clock).wall_ms
                                  : jobq__os_time_wall_us() / 1000);
}

JOBQ__INTERNAL int64_t jobq__clock_mono_ms(jobq_clock *clock) {
    return clock ? jobq__os_load64(&clock->mono_ms) : jobq__os_time_mono_us() / 1000;
}

JOBQ__INTERNAL int64_t jobq__clock_mono_us(void) {
    return jobq__os_time_mono_us();
}

JOBQ__INTERNAL int64_t jobq__clock_after(jobq_clock *clock, int64_t duration_ms) {
    int64_t begun_ms = clock ? jobq__clock_mono_ms(clock) : (jobq__os_time_mono_us() + 999) / 1000;
    return jobq__add(begun_ms, duration_ms);
}

JOBQ__INTERNAL int64_t jobq__clock_on_wall(struct jobq__now now, int64_t at_ms) {
    if (at_ms == JOBQ_NEVER) return JOBQ_NEVER;
    return jobq__add(now.wall_ms, jobq__sub(at_ms, now.mono_ms));
}

JOBQ__INTERNAL int64_t jobq__clock_on_mono(struct jobq__now now, int64_t at_ms) {
    if (at_ms == JOBQ_NEVER) return JOBQ_NEVER;
    return jobq__add(now.mono_ms, jobq__sub(at_ms, now.wall_ms));
}

/* ---- A queue's own time ---- */

JOBQ__INTERNAL int64_t jobq__own_at(int64_t wall_ms, int64_t offset_ms, int64_t at_ms) {
    int64_t then_ms = jobq__clock_wall(jobq__add(at_ms, offset_ms));
    if (wall_ms < at_ms) return then_ms;
    if (offset_ms >= JOBQ__UNTOLD_LEAST_MS && wall_ms >= then_ms) return wall_ms;
    return jobq__clock_wall(jobq__add(wall_ms, offset_ms));
}

static int64_t jobq__own_passed(jobq_clock *clock, struct jobq__now now) {
    return clock ? now.mono_ms : jobq__os_time_passed_us() / 1000;
}

/* What the offset has to be for own time to have gone on by what has passed. */
static int64_t jobq__own_offset(const struct jobq__own *own, jobq_clock *clock,
                                struct jobq__now now) {
    int64_t own_ms = jobq__add(own->base_ms, jobq__own_passed(clock, now));
    return jobq__sub(jobq__clock_wall(own_ms), now.wall_ms);
}

JOBQ__INTERNAL void jobq__own_begin(struct jobq__own *own, jobq_clock *clock, int64_t offset_ms,
                                    int64_t at_ms) {
    struct jobq__now now = jobq__clock_read(clock);
    int64_t own_ms = jobq__own_at(now.wall_ms, offset_ms, at_ms);
    own->base_ms = jobq__sub(own_ms, jobq__own_passed(clock, now));
    own->stored_ms = offset_ms;
    jobq__os_store64(&own->offset_ms, jobq__sub(own_ms, now.wall_ms));
}

/* An artificial clock shows both at one moment. */
static bool jobq__own_stepped(jobq_clock *clock, int64_t offset_ms, int64_t before_ms) {
    int64_t by_ms = jobq__sub(offset_ms, before_ms);
    int64_t least_ms = clock ? 1 : JOBQ__STEP_LEAST_MS;
    return by_ms >= least_ms || by_ms <= -least_ms;
}

JOBQ__INTERNAL struct jobq__now jobq__own_read(struct jobq__own *own, jobq_clock *clock) {
    struct jobq__now now = jobq__clock_read(clock);
    int64_t before_ms = jobq__os_load64(&own->offset_ms);
    int64_t offset_ms = jobq__own_offset(own, clock, now);
    if (jobq__own_stepped(clock, offset_ms, before_ms)) {
        /* Again: this thread may have been kept waiting between the two. */
        now = jobq__clock_read(clock);
        offset_ms = jobq__own_offset(own, clock, now);
        if (jobq__own_stepped(clock, offset_ms, before_ms))
            jobq__os_store64(&own->offset_ms, before_ms = offset_ms);
    }
    now.own_ms = jobq__clock_wall(jobq__add(now.wall_ms, before_ms));
    return now;
}

JOBQ__INTERNAL int64_t jobq__own_on_wall(struct jobq__now now, int64_t at_ms) {
    if (at_ms == JOBQ_NEVER) return JOBQ_NEVER;
    return jobq__clock_wall(jobq__add(now.wall_ms, jobq__sub(at_ms, now.own_ms)));
}

JOBQ__INTERNAL int64_t jobq__own_on_mono(struct jobq__now now, int64_t at_ms) {
    if (at_ms == JOBQ_NEVER) return JOBQ_NEVER;
    return jobq__add(now.mono_ms, jobq__sub(at_ms, now.own_ms));
}

/* ---- Moving an artificial clock ---- */

JOBQ__INTERNAL void jobq__clock_move(jobq_clock *clock, int64_t at_ms) {
    jobq__os_lock(&clock->mu);
    if (at_ms > clock->mono_ms) jobq__os_store64(&clock->mono_ms, at_ms);
    jobq__os_unlock(&clock->mu);
}

/* One who has not heard of the last step yet, and is kept from leaving; NULL: all have. */
static struct jobq__clock_user *jobq__clock_next_user(jobq_clock *clock) {
    struct jobq__link *link;
    jobq__assert(jobq__os_held(&clock->mu));
    for (link = clock->users.next; link != &clock->users; link = link->next) {
        struct jobq__clock_user *user = JOBQ__CONTAINER(link, struct jobq__clock_user, link);
        if (user->heard == clock->steps) continue;
        user->heard = clock->steps;
        user->telling++;
        return user;
    }
    return NULL;
}

static void jobq__clock_tell(jobq_clock *clock) {
    struct jobq__clock_user *user;
    jobq__os_lock(&clock->mu);
    clock->steps++;
    while ((user = jobq__clock_next_user(clock)) != NULL) {
        jobq__os_unlock(&clock->mu);
        user->stepped(user->arg);
        jobq__os_lock(&clock->mu);
        user->telling--;
        jobq__os_broadcast(&clock->told);
    }
    jobq__os_unlock(&clock->mu);
}

JOBQ__INTERNAL void jobq__clock_join(jobq_clock *clock, struct jobq__clock_user *user,
                                     void (*stepped)(void *arg), void *arg) {
    if (!clock) return;
    user->stepped = stepped;
    user->arg = arg;
    user->telling = 0;
    jobq__os_lock(&clock->mu);
    user->heard = clock->steps;
    jobq__list_append(&clock->users, &user->link);
    jobq__os_unlock(&clock->mu);
}

JOBQ__INTERNAL void jobq__clock_leave(jobq_clock *clock, struct jobq__clock_user *user) {
    if (!clock || !user->stepped) return;
    jobq__os_lock(&clock->mu);
    jobq__list_remove(&user->link);
    while (user->telling) jobq__os_wait(&clock->told, &clock->mu);
    jobq__os_unlock(&clock->mu);
    user->stepped = NULL;
}

/* ---- The public part ---- */

JOBQ_API jobq_clock *jobq_clock_artificial(int64_t start_at_ms) {
    jobq_clock *clock = jobq__mem_new(sizeof *clock);
    if (!clock) return NULL;
    if (jobq__os_mutex_init(&clock->mu)) {
        jobq__mem_free(clock);
        return NULL;
    }
    if (jobq__os_cond_init(&clock->told, JOBQ__OS_MONO)) {
        jobq__os_mutex_fini(&clock->mu);
        jobq__mem_free(clock);
        return NULL;
    }
    jobq__list_init(&clock->users);
    clock->offset_ms = JOBQ__MAX(start_at_ms, 0);
    return clock;
}

JOBQ_API void jobq_clock_free(jobq_clock *clock) {
    if (!clock) return;
    jobq__os_cond_fini(&clock->told);
    jobq__os_mutex_fini(&clock->mu);
    jobq__mem_free(clock);
}

JOBQ_API int64_t jobq_clock_now(jobq_clock *clock) {
    return clock ? jobq__clock_shows(clock).wall_ms : jobq__clock_now_ms(NULL);
}

JOBQ_API void jobq_clock_advance(jobq_clock *clock, int64_t duration_ms) {
    if (!clock || duration_ms <= 0 || duration_ms == JOBQ_UNLIMITED) return;
    jobq__os_lock(&clock->mu);
    jobq__os_store64(&clock->mono_ms, jobq__add(clock->mono_ms, duration_ms));
    jobq__os_unlock(&clock->mu);
}

JOBQ_API void jobq_clock_set(jobq_clock *clock, int64_t at_ms) {
    if (!clock) return;
    jobq__os_lock(&clock->mu);
    jobq__os_store64(&clock->offset_ms, jobq__sub(JOBQ__MAX(at_ms, 0), clock->mono_ms));
    jobq__os_unlock(&clock->mu);
    jobq__clock_tell(clock);
}
