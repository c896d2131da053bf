/* event.h - events after commit, in order, one deliverer. */
#ifndef JOBQ__EVENT_H
#define JOBQ__EVENT_H

#include "os.h"

/* Design note.
 *
 * Events are appended in commit order (by the holder of the baton, or by the worker that starts a
 * run) and called one at a time by whichever eligible thread finds nobody delivering. So their
 * order is total, the callback never runs twice at once, and no lock is held while it runs. Who
 * delivers tells what was there when it began, no more, so it returns however many others add;
 * what they added is told by them, or by the scheduler thread. Only a thread that is inside a
 * callback, this queue's or another's, does not wait, for it could be waited for itself: the one
 * who delivers goes on to what it has added. The list grows while a callback is
 * slow; workers wait before their next job once it is long, which bounds it. Without a callback
 * nothing is ever appended. */

struct jobq__events {
    struct jobq__mutex mu;
    struct jobq__cond room;     /* signalled when somebody has delivered */
    void (*call)(const jobq_event *event, void *ctx);
    void *ctx;
    jobq_event *list;           /* guarded by mu: head .. head + count, circular */
    size_t head, count, capacity;
    uint64_t told;              /* how many were delivered; the next stands in the list until its
                                   call has returned */
    uint64_t until;             /* how many whoever delivers is to deliver */
    bool delivering;
};

JOBQ__INTERNAL int jobq__event_init(struct jobq__events *events,
                                    void (*call)(const jobq_event *event, void *ctx), void *ctx);
JOBQ__INTERNAL void jobq__event_fini(struct jobq__events *events);

/* Makes room so that the next count appends cannot fail. Does nothing without a callback. */
JOBQ__INTERNAL int jobq__event_reserve(struct jobq__events *events, size_t count);
/* Appends; an event that finds no room is dropped. */
JOBQ__INTERNAL void jobq__event_add(struct jobq__events *events, const jobq_event *event);
/* Calls the callback for all that is there. If another thread is at it: waits until all of that is
 * told, and tells what that thread leaves; or, without wait, leaves it to that thread. True if
 * there is something more by now, and nobody delivers it. */
JOBQ__INTERNAL bool jobq__event_deliver(struct jobq__events *events, bool wait);
/* True if there is something that nobody delivers. */
JOBQ__INTERNAL bool jobq__event_waiting(struct jobq__events *events);
/* For workers: waits until the callback has caught up. */
JOBQ__INTERNAL void jobq__event_throttle(struct jobq__events *events);

#endif
