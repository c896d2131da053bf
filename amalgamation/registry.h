/* registry.h - names to kinds and queues. */
#ifndef JOBQ__REGISTRY_H
#define JOBQ__REGISTRY_H

#include "gate.h"
#include "list.h"
#include "store.h"

/* Design note.
 *
 * Every name of a kind or queue is a row of jobq_name, and at most one struct here, found by what
 * it names and text, or by id, and never moved or freed before close: what is claimed points at it.
 * A name of schema 1 (JOBQ__NAME_ANY) is both a kind's and a queue's. Guarded by the baton, but for
 * what says otherwise. Only committed names enter: those that a transaction adds
 * are kept beside it until its COMMIT (tx.c), so a rollback leaves nothing behind here. */

/* What runs a job. */
struct jobq__kind {
    int64_t id;
    jobq_kind spec;             /* written before its gate opens, then constant */
    struct jobq__gate gate;     /* shut while no handler is registered */
    struct jobq__link opened;   /* in core's list until somebody looks who stands before its gate */
};

/* A line of ready jobs, which start in order: a queue's, or that of the suspects. */
struct jobq__lane {
    int64_t id;
    const char *text;
    struct jobq__gate gate;     /* its own: who waits for it waits here */
    bool unordered;             /* I2 (tx_order.h) does not bind it: one at a time, as found */
    struct jobq__link ready;    /* in core's list while ready rows may stand in the table */
    struct jobq__link ring;     /* its claimed jobs, in order; guarded by pool.mu */
    struct jobq__link turn;     /* in the ring's list of lanes; guarded by pool.mu */
    const struct jobq__row *last_claimed; /* of the transaction under way, or NULL */
};

struct jobq__name {
    struct jobq__name *next;    /* same bucket by text */
    struct jobq__name *next_id; /* same bucket by id */
    int64_t id;
    int what;                   /* enum jobq__what */
    char text[JOBQ_NAME_MAX + 1];
    struct jobq__kind kind;
    struct jobq__lane lane;
};

struct jobq__registry {
    struct jobq__name *by_text[JOBQ__NAME_BUCKETS];
    struct jobq__name *by_id[JOBQ__NAME_BUCKETS];
};

JOBQ__INTERNAL void jobq__registry_fini(struct jobq__registry *registry);

/* NULL if the name is not known here; it may still be in the table. */
JOBQ__INTERNAL struct jobq__name *jobq__registry_by_text(const struct jobq__registry *registry,
                                                         int what, const char *text);
JOBQ__INTERNAL struct jobq__name *jobq__registry_by_id(const struct jobq__registry *registry,
                                                       int64_t id);
/* The same, by what the name is used for. */
JOBQ__INTERNAL struct jobq__kind *jobq__registry_kind(const struct jobq__registry *registry,
                                                      int64_t id);
JOBQ__INTERNAL struct jobq__lane *jobq__registry_lane(const struct jobq__registry *registry,
                                                      int64_t id);
/* Adds a committed name (or returns it if it is there); NULL if memory is out. */
JOBQ__INTERNAL struct jobq__name *jobq__registry_add(struct jobq__registry *registry, int64_t id,
                                                     int what, const char *text);

#endif
