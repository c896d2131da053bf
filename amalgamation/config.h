/* config.h - defaults and checks of what the caller gives. */
#ifndef JOBQ__CONFIG_H
#define JOBQ__CONFIG_H

#include "tx.h"

/* A copy of given (may be NULL) with every default filled in. */
JOBQ__INTERNAL int jobq__config_options(const jobq_options *given, jobq_options *options,
                                        jobq_error *err);
/* The same for a kind; the queue's options give some of the defaults. */
JOBQ__INTERNAL int jobq__config_kind(const jobq_options *options, const jobq_kind *given,
                                     jobq_kind *kind, jobq_error *err);
/* A duration given to a call: not negative, and not JOBQ_UNLIMITED. */
JOBQ__INTERNAL int jobq__config_span(const char *what, int64_t ms, bool none, jobq_error *err);
/* what is the field's name, for the sentence. */
JOBQ__INTERNAL int jobq__config_name(const char *what, const char *name, size_t max,
                                     jobq_error *err);
JOBQ__INTERNAL int jobq__config_job(const jobq_options *options, const jobq_job *job,
                                    int64_t now_ms, jobq_error *err);

#endif
