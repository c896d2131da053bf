/* cxx.cpp - jobq.h must be C++ as well, and must bear being included twice.
 * It is only compiled; nothing here runs. */
#include "../../jobq.h"
#include "../../jobq.h"

static jobq_outcome nothing(jobq_run *run, void *) {
    return jobq_should_stop(run) ? JOBQ_CANCELLED : jobq_retry(run, "%d", 1);
}

extern "C" int header_cxx(void);

int header_cxx(void) {
    jobq_options options = jobq_options();
    jobq_kind kind = jobq_kind();
    jobq_job job = jobq_job();
    jobq_error error = jobq_error();
    jobq *q = NULL;
    int64_t id = 0;
    options.workers = JOBQ_NONE;
    options.keep_done_ms = 5 * JOBQ_MINUTE;
    kind.name = job.kind = "kind";
    job.text = "text";
    job.conflict = JOBQ_REFUSE;
    job.delay_ms = 5 * JOBQ_SECOND;
    kind.run = nothing;
    kind.attempts_max = JOBQ_UNLIMITED;
    kind.timeout_ms = JOBQ_NEVER;
    int code = jobq_open(":memory:", &options, &q, &error);
    if (code == JOBQ_OK) code = jobq_register(q, &kind, &error);
    if (code == JOBQ_OK) code = jobq_enqueue(q, &job, &id, &error);
    jobq_close(&q);
    return code;
}
