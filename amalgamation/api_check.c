/* api_check.c - the doctor: looks whether the file is as it should be, and puts it right. */
#include "api.h"
#include "repair.h"

/* Design note.
 *
 * What has to hold says audit_rules.c, how it is walked audit.h. Here it is in whose hands the
 * connection is. A file is read on a connection of the call's own, so that nobody waits for a
 * reader that reads all of the file; in memory there is only the writer's, and the baton is held
 * for one slice at a time. What is broken is put right on the writer, a slice in one transaction of
 * its own (repair.h), and told when that has ended, with no lock held. */

struct jobq__doctor {
    jobq *q;
    struct jobq__audit *audit;
    jobq__store own;            /* the call's own connection; not open in memory */
    bool repair;
    jobq_line say;
    void *ctx;
    int64_t faults, left_us;
};

/* A slice that cannot be put right for what else is broken is left. */
static int jobq__doctor_repair(struct jobq__doctor *doctor, jobq_error *err) {
    jobq *q = doctor->q;
    struct jobq__request request;
    int rc = jobq__baton_hold(q, &doctor->left_us);
    if (rc == JOBQ_BUSY) return jobq__turn_busy(q, "nothing was repaired", err);
    if (rc != JOBQ_OK) return jobq__fail_say(q, rc, err);
    memset(&request, 0, sizeof request);
    request.write = jobq__repair;
    request.arg = doctor->audit;
    request.err = err;
    request.until_us = jobq__add(jobq__clock_mono_us(), doctor->left_us);
    rc = jobq__commit_bare(q, &request);
    jobq__baton_release(q);
    if (rc != JOBQ_OK) jobq__audit_undone(doctor->audit);
    return rc == JOBQ_CORRUPT ? JOBQ_OK : rc;
}

/* False: whoever is told wants no more, and what is left of the slice does not count. */
static bool jobq__doctor_tell(struct jobq__doctor *doctor) {
    char text[JOBQ__AUDIT_LINE];
    while (jobq__audit_line(doctor->audit, doctor->repair, text, sizeof text)) {
        doctor->faults++;
        if (doctor->say && doctor->say(text, strlen(text), doctor->ctx)) return false;
    }
    return true;
}

static int jobq__doctor_read(struct jobq__doctor *doctor, bool *over, jobq_error *err) {
    jobq *q = doctor->q;
    jobq__store *db = q->memory ? &q->writer : &doctor->own;
    int rc = q->memory ? jobq__baton_hold(q, &doctor->left_us) : JOBQ_OK;
    if (rc == JOBQ_BUSY) return jobq__turn_busy(q, "the rest was not read", err);
    if (rc != JOBQ_OK) return jobq__fail_say(q, rc, err);
    rc = jobq__audit_look(doctor->audit, db, over);
    if (rc != JOBQ_OK) rc = jobq__store_fail(db, err);
    if (q->memory) jobq__baton_release(q);
    return rc;
}

static int jobq__doctor_slices(struct jobq__doctor *doctor, jobq_error *err) {
    bool over = false;
    int rc = JOBQ_OK;
    while (rc == JOBQ_OK && !over) {
        bool faults = false;
        /* What others did meanwhile may have ended it. */
        if (jobq__os_load(&doctor->q->closing)) return jobq__err_set(err, JOBQ_CLOSED, NULL);
        rc = jobq__doctor_read(doctor, &over, err);
        if (rc == JOBQ_OK && !over) faults = jobq__audit_faulty(doctor->audit);
        if (faults && doctor->repair) rc = jobq__doctor_repair(doctor, err);
        if (faults && !jobq__doctor_tell(doctor)) break;
    }
    return rc;
}

/* With the baton, as every connection: which file it is that is being opened is its holder's. */
static int jobq__doctor_connect(struct jobq__doctor *doctor, jobq_error *err) {
    jobq *q = doctor->q;
    int rc = jobq__baton_hold(q, &doctor->left_us);
    if (rc == JOBQ_BUSY) return jobq__turn_busy(q, "nothing was read", err);
    if (rc != JOBQ_OK) return jobq__fail_say(q, rc, err);
    rc = jobq__core_join_in(q, &doctor->own, JOBQ__STORE_READER, err);
    jobq__baton_release(q);
    return jobq__turn_shut_out(q, rc, "nothing was read", err);
}

/* Of which kinds no job may wait for a handler, unless the claims row says so. */
static int jobq__doctor_gates(struct jobq__doctor *doctor, jobq_error *err) {
    jobq *q = doctor->q;
    int32_t *gates = NULL;
    size_t count;
    int rc = jobq__baton_hold(q, &doctor->left_us);
    if (rc == JOBQ_BUSY) return jobq__turn_busy(q, "nothing was read", err);
    if (rc != JOBQ_OK) return jobq__fail_say(q, rc, err);
    count = jobq__tx_gates_settled(q, NULL);
    if (count) gates = jobq__mem_new(count * sizeof *gates);
    if (gates) jobq__tx_gates_settled(q, gates);
    jobq__baton_release(q);
    rc = gates || !count ? jobq__audit_begin(&doctor->audit, gates, count) : JOBQ_NO_MEMORY;
    return rc == JOBQ_OK ? rc : jobq__err_set(err, rc, NULL);
}

static int jobq__doctor_run(struct jobq__doctor *doctor, jobq_error *err) {
    jobq *q = doctor->q;
    int rc = q->memory ? JOBQ_OK : jobq__doctor_connect(doctor, err);
    if (rc != JOBQ_OK) return rc;
    rc = jobq__doctor_gates(doctor, err);
    if (rc == JOBQ_OK) rc = jobq__doctor_slices(doctor, err);
    jobq__audit_end(doctor->audit);
    if (q->memory) return rc;
    jobq__store_own(&doctor->own, false);
    jobq__store_close(&doctor->own);
    return rc;
}

JOBQ_API int jobq_check(jobq *q, bool repair, jobq_line say, void *ctx, int64_t *faults,
                        jobq_error *err) {
    struct jobq__doctor *doctor;
    int rc = repair ? jobq__api_enter_owner(q, "jobq_check", err)
                    : jobq__api_enter(q, "jobq_check", err);
    if (faults) *faults = 0;
    if (rc != JOBQ_OK) return rc;
    if (jobq__baton_in_job(q))
        return jobq__api_leave(q, jobq__err_set(err, JOBQ_MISUSE, "after jobq_run_db this thread"
                                                " may not call jobq_check, which would wait for the"
                                                " transaction of its own job; call it before that,"
                                                " or when the handler has returned"));
    doctor = jobq__mem_new(sizeof *doctor);
    if (!doctor) return jobq__api_leave(q, jobq__err_set(err, JOBQ_NO_MEMORY, NULL));
    doctor->q = q;
    doctor->repair = repair;
    doctor->say = say;
    doctor->ctx = ctx;
    doctor->left_us = q->baton.busy_us;
    rc = jobq__doctor_run(doctor, err);
    if (faults) *faults = doctor->faults;
    jobq__mem_free(doctor);
    return jobq__api_leave(q, rc);
}
