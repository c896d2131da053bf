/* event.h - events after commit, in order, one deliverer. */
#ifndef JOBQ__EVENT_H
#define JOBQ__EVENT_H

#include "mem.h"
#include "os.h"

/* Design note.
 *
 * Events are appended in commit order (by the holder of the baton, or by the worker that starts a
 * run) and called one at a time by whichever eligible thread finds nobody delivering. So their
 * order is total, the callback never runs twice at once, and no lock is held while it runs. Who
 * delivers tells what was there when it began, no more, so it returns however many others add;
 * what they added is told by them, or by the scheduler thread. Only a thread that is inside a
 * callback, this queue's or another's, does not wait, for it could be waited for itself: the one
 * who delivers goes on to what it has added. The list grows while a callback is slow; once it is
 * long, workers wait before their next job and callers before they return, which bounds it: by
 * that, and what handlers and callbacks store, who never wait. What it was larger for a while is
 * given back when it is empty. Without a callback nothing is ever appended.
 *
 * Events have serial numbers, from 1 in the order of appending. Who waits for the end of a job is
 * let go when the event of that end was told: the deliverer says after each call how far it has
 * come, as long as anybody waits. Between a COMMIT and the appending of its events (`committing`)
 * others can read what is not in the list yet. */

/* One event with its own copies of the strings that would not last. */
struct jobq__told {
    jobq_event event;
    char *strings;              /* what key and message point into, or NULL */
};

struct jobq__events {
    struct jobq__mutex mu;
    struct jobq__cond room;     /* signalled when somebody has delivered */
    void (*call)(const jobq_event *event, void *ctx);
    void *ctx;
    void (*after)(void *arg, uint64_t told); /* for those who wait, outside mu */
    void *arg;
    struct jobq__told *list;    /* guarded by mu: head .. head + count, circular */
    size_t head, count, capacity;
    size_t reserved;            /* places for the holder of the baton, who cannot wait for memory */
    uint64_t told;              /* how many were delivered; the next stands in the list until its
                                   call has returned */
    uint64_t until;             /* how many whoever delivers is to deliver */
    bool delivering;
    bool committing;            /* a transaction is between COMMIT and its events */
    int waiters;                /* threads for which `after` is called */
};

JOBQ__INTERNAL int jobq__event_init(struct jobq__events *events,
                                    void (*call)(const jobq_event *event, void *ctx), void *ctx);
JOBQ__INTERNAL void jobq__event_fini(struct jobq__events *events);

/* A copy of event, its strings included; without memory they are "". To be added or dropped. */
JOBQ__INTERNAL void jobq__event_make(struct jobq__told *told, const jobq_event *event);
JOBQ__INTERNAL void jobq__event_drop(struct jobq__told *told);

/* Makes room so that count appends of what was reserved cannot fail, whatever others append
 * meanwhile, until jobq__event_commit says that they are done. Does nothing without a callback. */
JOBQ__INTERNAL int jobq__event_reserve(struct jobq__events *events, size_t count);
/* Appends, and takes over the strings; returns the serial number. reserved: by who has reserved
 * it. 0: there was no room, and the event is dropped. */
JOBQ__INTERNAL uint64_t jobq__event_add(struct jobq__events *events, struct jobq__told *told,
                                        bool reserved);
/* Before a COMMIT, and when its events are appended or it has failed. */
JOBQ__INTERNAL void jobq__event_commit(struct jobq__events *events, bool committing);
/* Somebody waits, or no longer does: `after` is called meanwhile. */
JOBQ__INTERNAL void jobq__event_watch(struct jobq__events *events, int by);
/* The serial number of the last event of a job that can be read as ended; 0 if all was told. */
JOBQ__INTERNAL uint64_t jobq__event_find(struct jobq__events *events, int64_t id);
/* True if the event with that number was told. */
JOBQ__INTERNAL bool jobq__event_was_told(struct jobq__events *events, uint64_t serial);
/* Calls the callback for all that is there. If another thread is at it: waits until all of that is
 * told, and tells what that thread leaves; or, without wait, leaves it to that thread. True if
 * there is something more by now, and nobody delivers it. */
JOBQ__INTERNAL bool jobq__event_deliver(struct jobq__events *events, bool wait);
/* True if there is something that nobody delivers. */
JOBQ__INTERNAL bool jobq__event_waiting(struct jobq__events *events);
/* True if the list is so long that who adds to it should wait. */
JOBQ__INTERNAL bool jobq__event_crowded(struct jobq__events *events);
/* For workers and callers: waits until the callback has caught up. */
JOBQ__INTERNAL void jobq__event_throttle(struct jobq__events *events);

#endif
