/* api.h - the porch: every public call goes in and out through it. */
#ifndef JOBQ__API_H
#define JOBQ__API_H

#include "alter.h"
#include "config.h"
#include "life.h"
#include "recover.h"

/* Counts the call as inside, so that close waits for it, or says why it may not enter: MISUSE for
 * NULL and from on_connect, FORKED, CLOSED. call is the name of the function. */
JOBQ__INTERNAL int jobq__api_enter(jobq *q, const char *call, jobq_error *err);
/* The same for calls of the owner only. */
JOBQ__INTERNAL int jobq__api_enter_owner(jobq *q, const char *call, jobq_error *err);
/* And for those that neither a handler nor a callback may make; what these are to do instead. */
JOBQ__INTERNAL int jobq__api_enter_outside(jobq *q, const char *call, const char *way_out,
                                           jobq_error *err);
/* Returns rc. */
JOBQ__INTERNAL int jobq__api_leave(jobq *q, int rc);

/* Has a request written: by a group, or, where this thread is in its job's transaction, as part of
 * that; alone: the name of a call that cannot be part of it (MISUSE), else NULL. */
JOBQ__INTERNAL int jobq__api_request(jobq *q, struct jobq__request *request, const char *alone,
                                     jobq_error *err);

/* JOBQ_NOT_FOUND, and why that may be. */
JOBQ__INTERNAL int jobq__api_none(int64_t id, jobq_error *err);

/* What jobq_get does, inside (api_look.c). In memory it waits for wait_us of a job's transaction:
 * JOBQ_BUSY. */
JOBQ__INTERNAL int jobq__look_read(jobq *q, int64_t id, int64_t wait_us, jobq_info *info,
                                   jobq_error *err);

#endif
