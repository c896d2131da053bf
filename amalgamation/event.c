/* event.c - events after commit, in order, one deliverer. */
#include "event.h"

JOBQ__INTERNAL int jobq__event_init(struct jobq__events *events,
                                    void (*call)(const jobq_event *event, void *ctx), void *ctx) {
    int rc;
    memset(events, 0, sizeof *events);
    events->call = call;
    events->ctx = ctx;
    rc = jobq__os_mutex_init(&events->mu);
    if (rc == JOBQ_OK) rc = jobq__os_cond_init(&events->room, JOBQ__OS_MONO);
    return rc;
}

/* ---- Strings ---- */

JOBQ__INTERNAL void jobq__event_make(struct jobq__told *told, const jobq_event *event) {
    size_t key = event->key ? strlen(event->key) : 0;
    size_t message = event->message ? strlen(event->message) : 0;
    told->event = *event;
    told->event.key = told->event.message = "";
    told->strings = key + message ? jobq__mem_new(key + message + 2) : NULL;
    if (!told->strings) return;
    memcpy(told->strings, event->key ? event->key : "", key + 1);
    memcpy(told->strings + key + 1, event->message ? event->message : "", message + 1);
    told->event.key = told->strings;
    told->event.message = told->strings + key + 1;
}

JOBQ__INTERNAL void jobq__event_drop(struct jobq__told *told) {
    jobq__mem_free(told->strings);
    told->strings = NULL;
}

/* ---- The list ---- */

JOBQ__INTERNAL void jobq__event_fini(struct jobq__events *events) {
    while (events->count) {
        jobq__event_drop(&events->list[events->head]);
        events->head = (events->head + 1) % events->capacity;
        events->count--;
    }
    jobq__mem_free(events->list);
    jobq__os_cond_fini(&events->room);
    jobq__os_mutex_fini(&events->mu);
}

static int jobq__event_grow(struct jobq__events *events, size_t count) {
    size_t capacity = events->capacity ? events->capacity : JOBQ__EVENTS_FIRST, i;
    struct jobq__told *list;
    jobq__assert(jobq__os_held(&events->mu));
    while (capacity < events->count + count) capacity *= 2;
    if (capacity == events->capacity) return JOBQ_OK;
    list = jobq__mem_resize(NULL, capacity, sizeof *list);
    if (!list) return JOBQ_NO_MEMORY;
    for (i = 0; i < events->count; i++)
        list[i] = events->list[(events->head + i) % events->capacity];
    jobq__mem_free(events->list);
    events->list = list;
    events->capacity = capacity;
    events->head = 0;
    return JOBQ_OK;
}

/* A list that was long once does not stay so. */
static void jobq__event_shrink(struct jobq__events *events) {
    jobq__assert(jobq__os_held(&events->mu));
    if (events->count || events->reserved || events->capacity <= JOBQ__EVENTS_KEEP) return;
    jobq__mem_free(events->list);
    events->list = NULL;
    events->head = events->capacity = 0;
}

JOBQ__INTERNAL int jobq__event_reserve(struct jobq__events *events, size_t count) {
    int rc;
    if (!events->call || !count) return JOBQ_OK;
    jobq__os_lock(&events->mu);
    rc = jobq__event_grow(events, count);
    events->reserved = rc == JOBQ_OK ? count : 0;
    jobq__os_unlock(&events->mu);
    return rc;
}

JOBQ__INTERNAL uint64_t jobq__event_add(struct jobq__events *events, struct jobq__told *told,
                                        bool reserved) {
    uint64_t serial = 0;
    if (!events->call) return 0;
    jobq__os_lock(&events->mu);
    if (reserved && events->reserved) events->reserved--;
    if (jobq__event_grow(events, events->reserved + 1) == JOBQ_OK) {
        events->list[(events->head + events->count++) % events->capacity] = *told;
        told->strings = NULL;
        serial = events->told + events->count;
    }
    jobq__os_unlock(&events->mu);
    jobq__event_drop(told);
    return serial;
}

JOBQ__INTERNAL void jobq__event_commit(struct jobq__events *events, bool committing) {
    if (!events->call) return;
    jobq__os_lock(&events->mu);
    events->committing = committing;
    if (!committing) events->reserved = 0;
    if (!committing && events->waiters) jobq__os_broadcast(&events->room);
    jobq__os_unlock(&events->mu);
}

/* ---- Who waits ---- */

JOBQ__INTERNAL void jobq__event_watch(struct jobq__events *events, int by) {
    if (!events->call) return;
    jobq__os_lock(&events->mu);
    events->waiters += by;
    jobq__os_unlock(&events->mu);
}

JOBQ__INTERNAL uint64_t jobq__event_find(struct jobq__events *events, int64_t id) {
    uint64_t serial = 0;
    size_t i;
    if (!events->call) return 0;
    jobq__os_lock(&events->mu);
    while (events->committing) jobq__os_wait(&events->room, &events->mu);
    for (i = 0; i < events->count; i++)
        if (events->list[(events->head + i) % events->capacity].event.id == id)
            serial = events->told + i + 1;
    jobq__os_unlock(&events->mu);
    return serial;
}

JOBQ__INTERNAL bool jobq__event_was_told(struct jobq__events *events, uint64_t serial) {
    bool told;
    if (!serial) return true;
    jobq__os_lock(&events->mu);
    told = events->told >= serial;
    jobq__os_unlock(&events->mu);
    return told;
}

/* ---- Delivery ---- */

/* Calls the callback until as many events were told as shall be. With mu held, before and after. */
static void jobq__event_tell(struct jobq__events *events) {
    struct jobq__os_call call;
    events->delivering = true;
    while (events->told < events->until) {
        struct jobq__told told = events->list[events->head];
        uint64_t serial = events->told + 1;
        jobq__os_unlock(&events->mu);
        jobq__os_call_begin(&call, events, "on_event");
        events->call(&told.event, events->ctx);
        jobq__os_call_end(&call);
        jobq__event_drop(&told);
        jobq__os_lock(&events->mu);
        events->head = (events->head + 1) % events->capacity;
        events->count--;
        events->told = serial;
        if (events->count == JOBQ__EVENTS_MAX) jobq__os_broadcast(&events->room);
        jobq__event_shrink(events);
        if (!events->waiters) continue;
        jobq__os_unlock(&events->mu);
        events->after(events->arg, serial);
        jobq__os_lock(&events->mu);
    }
    events->delivering = false;
    jobq__os_broadcast(&events->room);
}

JOBQ__INTERNAL bool jobq__event_deliver(struct jobq__events *events, bool wait) {
    uint64_t until;
    bool left;
    if (!events->call) return false;
    jobq__os_lock(&events->mu);
    until = events->told + events->count;
    while (events->told < until) {
        bool mine = !events->delivering || jobq__os_awaited();
        if (mine) events->until = JOBQ__MAX(events->until, until);
        if (!events->delivering) jobq__event_tell(events);
        else if (mine || !wait) break;
        else jobq__os_wait(&events->room, &events->mu);
    }
    left = events->count && !events->delivering;
    jobq__os_unlock(&events->mu);
    return left;
}

JOBQ__INTERNAL bool jobq__event_waiting(struct jobq__events *events) {
    bool waiting;
    if (!events->call) return false;
    jobq__os_lock(&events->mu);
    waiting = events->count && !events->delivering;
    jobq__os_unlock(&events->mu);
    return waiting;
}

JOBQ__INTERNAL bool jobq__event_crowded(struct jobq__events *events) {
    bool crowded;
    if (!events->call) return false;
    jobq__os_lock(&events->mu);
    crowded = events->delivering && events->count > JOBQ__EVENTS_MAX;
    jobq__os_unlock(&events->mu);
    return crowded;
}

JOBQ__INTERNAL void jobq__event_throttle(struct jobq__events *events) {
    if (!events->call) return;
    jobq__os_lock(&events->mu);
    while (events->delivering && events->count > JOBQ__EVENTS_MAX)
        jobq__os_wait(&events->room, &events->mu);
    jobq__os_unlock(&events->mu);
}
