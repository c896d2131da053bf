/* api.c - open, start, stop, close, register. */
#include "api.h"

#include <errno.h>

/* ---- The door ---- */

static int jobq__api_come_in(jobq *q, const char *call, jobq_error *err) {
    if (!q) return jobq__err_set(err, JOBQ_MISUSE, "the queue is NULL: it was not opened, or is"
                                " closed already");
    if (jobq__owner_forked(&q->owner)) return jobq__err_set(err, JOBQ_FORKED, NULL);
    if (jobq__core_in_connect(q)) return jobq__core_refuse_connect(call, err);
    jobq__os_add(&q->inside, 1);
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__api_enter(jobq *q, const char *call, jobq_error *err) {
    int rc = jobq__api_come_in(q, call, err);
    if (rc != JOBQ_OK || !jobq__os_load(&q->closing)) return rc;
    return jobq__api_leave(q, jobq__err_set(err, JOBQ_CLOSED, NULL));
}

/* Added to q->inside while a close waits for the last of the calls to leave. */
#define JOBQ__AWAITED (1 << 30)

JOBQ__INTERNAL int jobq__api_leave(jobq *q, int rc) {
    jobq__assert(jobq__err_is_public(rc));
    /* Nothing of q may be touched after this: close may be waiting to free it. So the last one out
     * calls over what is the process's. */
    if (jobq__os_add(&q->inside, -1) == JOBQ__AWAITED) jobq__os_global_call();
    return rc;
}

/* The owner's calls, and what a client does instead. */
static const struct jobq__api_instead {
    const char *call, *way_out;
} jobq__api_instead[] = {
    {"jobq_register", "The owner does; jobs of a kind that it does not know wait there (parked)"},
    {"jobq_start", "Jobs run where the owner is: its process starts the workers"},
    {"jobq_stop", "The workers are in the owner's process; a client ends with jobq_close"},
    {"jobq_notify", "An owner with .shared = true looks for a client's jobs by itself (poll_ms)"},
    {"jobq_cancel", "To have the owner do it, enqueue a job whose handler does"},
    {"jobq_retry_now", "To have the owner do it, enqueue a job whose handler does"},
    {"jobq_delete", "To have the owner do it, enqueue a job whose handler does"},
    {"jobq_check", "The owner repairs; a client may check, with repair = false"},
    {"jobq_wait", "Look again with jobq_get"},
    {"jobq_step", "Jobs run where the owner is; jobq_get tells what has become of one"},
    {"jobq_run_until_idle", "Jobs run where the owner is; jobq_get tells what has become of one"},
    {"jobq_advance", "What is to happen happens there; jobq_clock_advance moves a clock alone"},
    {"jobq_advance_to_next", "What is to happen happens there; jobq_clock_advance moves a clock"
                             " alone"},
    {"jobq_next_deadline", "A client has nothing to do at any time, and need not ask"},
};

static int jobq__api_refuse_client(const char *call, jobq_error *err) {
    size_t i = 0;
    while (i < JOBQ__COUNT(jobq__api_instead) - 1 && strcmp(jobq__api_instead[i].call, call)) i++;
    jobq__assert(strcmp(jobq__api_instead[i].call, call) == 0);
    return jobq__err_set(err, JOBQ_MISUSE, "%s is for the owner of the queue; a client enqueues,"
                         " flushes and looks inside (get, list, count, stat). %s", call,
                         jobq__api_instead[i].way_out);
}

JOBQ__INTERNAL int jobq__api_enter_owner(jobq *q, const char *call, jobq_error *err) {
    int rc = jobq__api_enter(q, call, err);
    if (rc == JOBQ_OK && q->client)
        rc = jobq__api_leave(q, jobq__api_refuse_client(call, err));
    return rc;
}

/* In step mode the runs of a handler that was left by a jump never end. */
static int jobq__api_refuse_inside(const jobq *q, const char *where, const char *call,
                                   const char *way_out, jobq_error *err) {
    const char *perhaps = " (or has an exception or longjmp left a handler on this thread?)";
    return jobq__err_set(err, JOBQ_MISUSE, "%s may not call %s, which would wait until it returns;"
                         " %s%s", where, call, way_out,
                         q->step_mode && !jobq__os_call_name() ? perhaps : "");
}

JOBQ__INTERNAL int jobq__api_enter_outside(jobq *q, const char *call, const char *way_out,
                                           jobq_error *err) {
    const char *where;
    int rc = jobq__api_come_in(q, call, err);
    if (rc != JOBQ_OK) return rc;
    /* Before CLOSED: a handler or callback is inside, so the queue is not freed yet. */
    where = jobq__core_where(q);
    if (where)
        rc = jobq__api_refuse_inside(q, where, call, way_out, err);
    else if (jobq__os_load(&q->closing))
        rc = jobq__err_set(err, JOBQ_CLOSED, NULL);
    else if (q->client)
        rc = jobq__api_refuse_client(call, err);
    return rc == JOBQ_OK ? rc : jobq__api_leave(q, rc);
}

JOBQ__INTERNAL int jobq__api_none(int64_t id, jobq_error *err) {
    return jobq__err_set(err, JOBQ_NOT_FOUND, "there is no job %lld: it never was, was deleted, or"
                         " has ended and is not kept any more (keep_done_ms, keep_failed_ms)",
                         (long long)id);
}

JOBQ__INTERNAL int jobq__api_request(jobq *q, struct jobq__request *request, const char *alone,
                                     jobq_error *err) {
    jobq_error local;
    int rc;
    /* The caller's record is written only on failure, and by nobody but the caller's thread. */
    local.code = JOBQ_OK;
    request->err = &local;
    if (!jobq__baton_in_job(q)) {
        rc = jobq__commit_request(q, request);
    } else if (alone) {
        return jobq__err_set(err, JOBQ_MISUSE, "after jobq_run_db this thread may not call %s,"
                             " which would wait for the transaction of its own job; call it before"
                             " that, or when the handler has returned (it may enqueue and look)",
                             alone);
    } else {
        q->job_run->joined = true;
        rc = jobq__commit_join(&q->tx, request);
    }
    if (rc != JOBQ_OK && err) *err = local;
    return rc;
}

/* ---- Open ---- */

static int jobq__api_init(jobq *q) {
    int rc;
    q->due.at_ms[JOBQ__DUE_BY_WALL] = q->due.at_ms[JOBQ__DUE_BY_OWN] = JOBQ_NEVER;
    rc = jobq__pool_init(q);
    jobq__tx_init(q);
    if (rc == JOBQ_OK) rc = jobq__baton_init(q);
    if (rc == JOBQ_OK) rc = jobq__event_init(&q->events, q->options.on_event, q->options.ctx);
    q->events.after = jobq__wake_told;
    q->events.arg = q;
    if (rc == JOBQ_OK) rc = jobq__os_mutex_init(&q->reader_mu);
    if (rc == JOBQ_OK) jobq__os_mutex_patient(&q->reader_mu);
    q->wal_next = q->options.wal_pages;
    q->look_lanes = true;
    return rc;
}

static void jobq__api_free(jobq *q) {
    jobq__clock_leave(q->clock, &q->steps);
    jobq__tx_fini(q);
    jobq__registry_fini(&q->names);
    jobq__event_fini(&q->events);
    jobq__baton_fini(q);
    jobq__os_mutex_fini(&q->reader_mu);
    jobq__pool_fini(q);
    jobq__files_fini(&q->files);
    jobq__mem_free(q);
}

static int jobq__api_doubt(const jobq *q, jobq_error *err) {
    return jobq__err_set(err, JOBQ_BUSY, "the owner before could not sync the log of %.250s; it has"
                         " to be copied first, and another connection reads it: end its"
                         " transaction, and open the queue again", q->files.path);
}

/* The owner before could not sync the log: it goes into the database before more is added. */
static int jobq__api_copy_doubtful(jobq *q, jobq_error *err) {
    bool all;
    int rc;
    if (!jobq__owner_doubtful(&q->owner)) return JOBQ_OK;
    rc = jobq__log_copy(q, jobq__store_waits_until(&q->writer), true, &all);
    if (rc != JOBQ_OK) return jobq__store_fail(&q->writer, err);
    return all ? rc : jobq__api_doubt(q, err);
}

/* The application's turn with the writer, which may have changed the journal. */
static int jobq__api_set_up_writer(jobq *q, jobq_error *err) {
    int rc = jobq__core_setup(q, &q->writer, JOBQ__STORE_WRITER, err);
    if (rc == JOBQ_OK && q->options.on_connect) rc = jobq__store_pin(&q->writer, err);
    if (rc != JOBQ_OK || q->options.durability != JOBQ_RELAXED) return rc;
    rc = jobq__store_sync_all(&q->writer, false);
    return rc == JOBQ_OK ? rc : jobq__store_fail(&q->writer, err);
}

/* A file of an older schema. What the owner before had set aside is room for this, too; if even
 * that is too little, nothing is touched. */
static int jobq__api_migrate(jobq *q, jobq_error *err) {
    int64_t bytes, room;
    bool all = true;
    int rc = jobq__migrate_look(&q->writer, q->options.migrate, &bytes, err);
    if (rc != JOBQ_OK || !bytes) return rc;
    room = jobq__add(jobq__owner_disk_free(&q->owner), q->owner.reserved);
    if (bytes > room) {
        jobq__err_set(err, JOBQ_FULL, "%.200s has schema 1, and to make schema %d of it may take"
                      " %lld bytes of disk, of which %lld are free; free some, and open it again",
                      q->files.path, JOBQ__SCHEMA_VERSION, (long long)bytes, (long long)room);
        return JOBQ__NO_ROOM;
    }
    if (bytes > room - q->owner.reserved) jobq__owner_reserve(&q->owner, 0);
    /* Else see jobq__api_copy_doubtful. */
    if (jobq__owner_doubtful(&q->owner)) rc = jobq__store_copy_log(&q->writer, true, &all);
    if (rc != JOBQ_OK) return jobq__store_fail(&q->writer, err);
    return all ? jobq__migrate(&q->writer, err) : jobq__api_doubt(q, err);
}

/* The tables stand, and the file is in WAL mode: somebody may have taken it out of that. */
static int jobq__api_ready(jobq *q, jobq_error *err) {
    int rc;
    if (q->client) return jobq__store_find(&q->writer, err);
    rc = jobq__api_migrate(q, err);
    if (rc != JOBQ_OK) return rc;
    return jobq__store_make(&q->writer, q->options.page_size, q->files.created || q->memory,
                            q->options.join, err);
}

/* Who crashed before waits in a line of its own, whose gate lets one pass at a time. */
static bool jobq__api_line_of_suspects(jobq *q) {
    struct jobq__name *name = jobq__registry_add(&q->names, JOBQ__LANE_SUSPECT, JOBQ__NAME_ANY,
                                                  "");
    if (!name) return false;
    q->suspects = &name->lane;
    q->suspects->unordered = true;
    jobq__gate_init(&q->suspects->gate, 1, false);
    return true;
}

/* Damage that recovery meets may be jobq_check's to see to; nobody else has begun anything. */
static int jobq__api_recover(jobq *q, int64_t until_us, jobq_error *err) {
    struct jobq__fault why;
    int rc = jobq__recover(q, until_us, err);
    if (rc != JOBQ_CORRUPT || !q->options.damaged) return rc;
    why = jobq__store_reason(&q->writer);
    jobq__fail_heed(q, rc, &why);
    return JOBQ_OK;
}

/* Own time goes on from what is written of it. Damage there is recovery's to find. */
static int jobq__api_own_time(jobq *q, jobq_error *err) {
    int64_t offset_ms, at_ms;
    int rc = jobq__store_own_time(&q->writer, &offset_ms, &at_ms);
    jobq__own_begin(&q->own, q->clock, offset_ms, at_ms);
    return rc == JOBQ_OK || rc == JOBQ_CORRUPT ? JOBQ_OK : jobq__store_fail(&q->writer, err);
}

static int jobq__api_open_db(jobq *q, jobq_error *err) {
    int64_t until_us;
    int rc = jobq__core_connect(q, &q->writer, JOBQ__STORE_WRITER, err);
    if (rc == JOBQ_OK) rc = jobq__api_ready(q, err);
    if (rc == JOBQ_OK) rc = jobq__api_set_up_writer(q, err);
    if (rc == JOBQ_OK) jobq__files_opened(&q->files, !q->options.exclusive);
    if (rc == JOBQ_OK && !q->memory)
        rc = jobq__core_join_in(q, &q->reader, JOBQ__STORE_READER, err);
    if (rc == JOBQ_OK && !q->memory && !q->client)
        rc = jobq__core_join_in(q, &q->copier, JOBQ__STORE_COPIER, err);
    if (rc != JOBQ_OK) return rc;
    jobq__store_bind(&q->writer);
    if (!jobq__api_line_of_suspects(q)) return jobq__err_set(err, JOBQ_NO_MEMORY, NULL);
    jobq__disk_measure(q);
    if (!q->client) rc = jobq__api_copy_doubtful(q, err);
    if (rc == JOBQ_OK) rc = jobq__api_own_time(q, err);
    /* From now on waiting is done outside SQLite (turn.h). */
    until_us = jobq__store_waits_until(&q->writer);
    jobq__store_wait_no_more(&q->writer);
    if (rc != JOBQ_OK) return rc;
    if (!q->client) return jobq__api_recover(q, until_us, err);
    if (jobq__store_max_id(&q->writer, &q->last_id) != JOBQ_OK)
        return jobq__store_fail(&q->writer, err);
    return JOBQ_OK;
}

static int jobq__api_own(jobq *q, jobq_error *err) {
    int32_t writers = q->options.exclusive ? JOBQ__HAS_IT_ALL
                    : q->options.shared ? JOBQ__SHARES : JOBQ__WRITES_ALONE;
    int rc;
    if (!q->client) return jobq__owner_take(&q->owner, &q->files, writers, err);
    rc = jobq__owner_watch(&q->owner, &q->files, err);
    if (rc != JOBQ_OK) return rc;
    q->unsafe = jobq__store_loses_commits();
    if (q->unsafe && !q->options.shared)
        return jobq__err_set(err, JOBQ_UNSAFE_SQLITE,
                             "SQLite before 3.51.3 may lose data with two writers: this client was"
                             " opened without .shared = true; open it with that, and the owner"
                             " too, or use a newer SQLite");
    return q->unsafe ? jobq__owner_allows(&q->owner, true, err) : rc;
}

static void jobq__api_close_files(jobq *q) {
    int failed = jobq__os_load(&q->failed);
    bool all;
    /* After an I/O error SQLite's own close does good: it copies what it knows to be synced, and
     * cuts off a commit in doubt. After anything else closing could only make it worse. */
    if (failed && failed != JOBQ_IO) {
        jobq__store_own(&q->writer, false);
        jobq__store_own(&q->reader, false);
        jobq__store_own(&q->copier, false);
        jobq__store_own(&q->job, false);
    } else if (!failed && q->ours && !q->memory) {
        jobq__store_copy_log(&q->writer, true, &all);
    }
    jobq__store_close(&q->job);
    jobq__store_close(&q->copier);
    jobq__store_close(&q->reader);
    jobq__store_close(&q->writer);
    jobq__owner_drop(&q->owner);
}

/* On a full disk not even the log's shared memory may have found room: the reserve of the owner
 * before us is for that, too. */
static int jobq__api_open_again(jobq *q, jobq_error *err) {
    int tries = 0, rc = jobq__api_open_db(q, err);
    while (rc == JOBQ_FULL && tries++ < JOBQ__OPEN_TRIES && jobq__disk_lend_some(q)) {
        jobq__store_close(&q->copier);
        jobq__store_close(&q->reader);
        jobq__store_close(&q->writer);
        rc = jobq__api_open_db(q, err);
    }
    return rc == JOBQ__NO_ROOM ? JOBQ_FULL : rc;
}

static int jobq__api_open_files(jobq *q, const char *path, jobq_error *err) {
    int rc = jobq__store_vfs(q->options.exclusive, q->vfs, sizeof q->vfs, err);
    if (rc == JOBQ_OK) rc = jobq__files_find(&q->files, path, &q->options, err);
    if (rc == JOBQ_OK) rc = jobq__api_own(q, err);
    if (rc == JOBQ_OK) rc = jobq__api_open_again(q, err);
    if (rc == JOBQ_BUSY && q->client && jobq__owner_has_it_all(&q->owner))
        return jobq__owner_keeps_out(&q->owner, err);
    if (rc != JOBQ_OK) return jobq__turn_shut_out(q, rc, "the queue was not opened", err);
    jobq__disk_arm(q);
    rc = jobq__disk_look(q, jobq__clock_mono_us());
    if (rc != JOBQ_OK) return jobq__fail_say(q, rc, err);
    if (q->client) return rc;
    jobq__owner_match(&q->owner);
    q->ours = true;
    jobq__store_own(&q->writer, true);
    return rc;
}

/* Whoever was compiled with another jobq.h lays out the structs in another way. A new patch level
 * changes none of them. */
static int jobq__api_check_version(int header, jobq_error *err) {
    if (header / 1000 == JOBQ_VERSION_NUMBER / 1000) return JOBQ_OK;
    return jobq__err_set(err, JOBQ_MISUSE,
                         "the caller was compiled with jobq.h %d.%d.%d, the library is jobq.c %s;"
                         " compile both with the same jobq.h", header / 1000000,
                         header / 1000 % 1000, header % 1000, JOBQ_VERSION);
}

/* The artificial clock was set: what it shows now may be late for something. */
static void jobq__api_stepped(void *arg) {
    jobq__wake_scheduler(arg);
}

JOBQ_API int jobq_open_as(const char *path, const jobq_options *options, jobq **out,
                          jobq_error *err, int header_version) {
    jobq *q;
    int rc;
    if (!out) return jobq__err_set(err, JOBQ_MISUSE, "q must not be NULL");
    *out = NULL;
    rc = jobq__api_check_version(header_version, err);
    if (rc != JOBQ_OK) return rc;
    if (!path || !*path)
        return jobq__err_set(err, JOBQ_MISUSE, "the path must not be NULL or empty; a queue"
                             " without a file is \":memory:\"");
    rc = jobq__owner_check_heir(path, err);
    if (rc == JOBQ_OK) rc = jobq__store_check(err);
    if (rc != JOBQ_OK) return rc;
    q = jobq__mem_new(sizeof *q);
    if (!q) return jobq__err_set(err, JOBQ_NO_MEMORY, NULL);
    rc = jobq__config_options(options, &q->options, err);
    if (rc != JOBQ_OK) {
        jobq__mem_free(q);
        return rc;
    }
    q->client = q->options.role == JOBQ_CLIENT;
    q->wal_by_default = !options || !options->wal_pages;
    q->step_mode = q->options.workers == JOBQ_NONE && !q->client;
    q->memory = strcmp(path, ":memory:") == 0;
    q->clock = q->options.clock;
    q->owner.fd = q->owner.entry = -1;
    rc = jobq__api_init(q);
    if (rc != JOBQ_OK) jobq__err_set(err, rc, NULL);
    else if (q->memory && q->client)
        rc = jobq__err_set(err, JOBQ_NOT_FOUND, "a client cannot open \":memory:\", which only its"
                           " owner sees; give both the path of a file");
    else rc = jobq__api_open_files(q, path, err);
    jobq__assert(jobq__err_is_public(rc));
    if (rc != JOBQ_OK) {
        jobq__api_close_files(q);
        jobq__api_free(q);
        return rc;
    }
    jobq__clock_join(q->clock, &q->steps, jobq__api_stepped, q);
    *out = q;
    return JOBQ_OK;
}

/* ---- Close ---- */

/* Everybody out: waiters are told, then the last call that is inside. */
static void jobq__api_await_calls(jobq *q) {
    jobq__os_lock(&q->pool.mu);
    jobq__wake_waiters(q);
    jobq__os_unlock(&q->pool.mu);
    jobq__os_global_lock();
    /* By an addition, so that who comes in later is sure to see that the queue is closing. */
    jobq__os_add(&q->inside, JOBQ__AWAITED);
    while (jobq__os_load(&q->inside) != JOBQ__AWAITED) jobq__os_global_wait();
    jobq__os_add(&q->inside, -JOBQ__AWAITED);
    jobq__os_global_unlock();
}

JOBQ_API int jobq_close(jobq **at) {
    jobq *q;
    bool mine;
    int rc;
    if (!at) return JOBQ_MISUSE;
    /* Of several who close at the same time the others are calls like any other. They read the
     * handle and come in at one moment, so that who clears it can wait for them. */
    jobq__os_global_lock();
    q = *at;
    if (q) jobq__os_add(&q->inside, 1);
    jobq__os_global_unlock();
    if (!q) return JOBQ_MISUSE;
    if (jobq__owner_forked(&q->owner)) {
        *at = NULL;
        return JOBQ_FORKED;
    }
    if (jobq__core_in_handler(q) || jobq__core_in_callback(q) || jobq__core_in_connect(q))
        return jobq__api_leave(q, JOBQ_MISUSE);
    jobq__os_lock(&q->pool.mu);
    mine = !jobq__os_load(&q->closing);
    jobq__os_store(&q->closing, 1);
    if (mine) jobq__life_raise_flags(q);
    jobq__os_unlock(&q->pool.mu);
    if (!mine) return jobq__api_leave(q, JOBQ_CLOSED);
    if (!q->client) jobq__owner_release_all(&q->owner);
    jobq__api_leave(q, JOBQ_OK);
    jobq__api_await_calls(q);
    rc = jobq__life_stop(q, INT64_MAX, q->baton.busy_us, NULL);
    jobq__event_deliver(&q->events, true);
    jobq__os_global_lock();
    *at = NULL; /* only now: handlers and callbacks may have read it */
    jobq__os_global_unlock();
    jobq__api_await_calls(q);
    jobq__api_close_files(q);
    jobq__api_free(q);
    return rc;
}

/* ---- Start, stop, register ---- */

JOBQ_API int jobq_start(jobq *q, jobq_error *err) {
    int rc = jobq__api_enter_outside(q, "jobq_start", "let the thread do that that opened"
                                     " the queue, or another", err);
    if (rc != JOBQ_OK) return rc;
    if (q->step_mode)
        rc = jobq__err_set(err, JOBQ_MISUSE, "in step mode (workers = JOBQ_NONE) there are no"
                           " workers to start; call jobq_step, jobq_run_until_idle or"
                           " jobq_advance");
    else if (jobq__os_load(&q->failed))
        rc = jobq__fail_say(q, jobq__os_load(&q->failed), err);
    else
        rc = jobq__life_start(q, err);
    return jobq__api_leave(q, rc);
}

JOBQ_API int jobq_stop(jobq *q, int64_t grace_ms, jobq_error *err) {
    int64_t grace_us;
    int rc = jobq__api_enter_outside(q, "jobq_stop", "tell another thread to stop the"
                                     " queue, and return", err);
    if (rc != JOBQ_OK) return rc;
    if (grace_ms == 0) grace_ms = JOBQ__GRACE_MS;
    if (grace_ms == JOBQ_NONE) grace_ms = 0;
    rc = jobq__config_span("grace_ms", grace_ms, true, err);
    if (rc != JOBQ_OK) return jobq__api_leave(q, rc);
    grace_us = grace_ms > INT64_MAX / 1000 ? INT64_MAX : grace_ms * 1000;
    return jobq__api_leave(q, jobq__life_stop(q, grace_us, INT64_MAX, err));
}

struct jobq__api_kind {
    jobq_kind spec;
    int32_t id;
    bool more;
    int64_t left_us; /* of busy_ms, for all of the call */
};

static int jobq__api_write_kind(struct jobq__tx *tx, struct jobq__request *r) {
    struct jobq__api_kind *kind = r->arg;
    int rc = jobq__tx_resolve(tx, JOBQ__NAME_KIND, kind->spec.name, &kind->id, r->err);
    if (rc != JOBQ_OK) return rc;
    if (jobq__tx_handled(tx, kind->id))
        return jobq__err_set(r->err, JOBQ_MISUSE, "the kind %s is registered already, until the"
                             " queue is closed", kind->spec.name);
    return JOBQ_OK;
}

static void jobq__api_after_kind(jobq *q, struct jobq__request *r) {
    struct jobq__api_kind *given = r->arg;
    struct jobq__name *name = jobq__registry_add(&q->names, given->id, JOBQ__NAME_KIND,
                                                  given->spec.name);
    struct jobq__kind *kind = name ? &name->kind : NULL;
    if (!kind) {
        r->rc = jobq__err_set(r->err, JOBQ_NO_MEMORY, NULL);
        return;
    }
    /* Two threads may register the same kind in one group. */
    if (!jobq__gate_is_shut(&kind->gate)) {
        r->rc = jobq__err_set(r->err, JOBQ_MISUSE, "the kind %s is registered already, until the"
                              " queue is closed", name->text);
        return;
    }
    kind->spec = given->spec;
    kind->spec.name = name->text;
    jobq__gate_open(&kind->gate);
    jobq__list_append(&q->opened, &kind->opened);
}

static int jobq__api_write_drain(struct jobq__tx *tx, struct jobq__request *r) {
    const struct jobq__api_kind *kind = r->arg;
    tx->drain = -kind->id;
    return JOBQ_OK;
}

static void jobq__api_after_drain(jobq *q, struct jobq__request *r) {
    struct jobq__api_kind *kind = r->arg;
    kind->more = jobq__tx_gates_open(q, jobq__registry_kind(&q->names, kind->id));
}

/* What was parked for want of a handler becomes ready, a slice a transaction. The kind is
 * registered by now: what this cannot finish is left to the transactions that claim, and of other
 * owners. */
static void jobq__api_drain(jobq *q, struct jobq__api_kind *kind) {
    struct jobq__request request;
    int rc;
    do {
        memset(&request, 0, sizeof request);
        request.write = jobq__api_write_drain;
        request.after = jobq__api_after_drain;
        request.arg = kind;
        request.atomic = true;
        request.left_us = &kind->left_us;
        rc = jobq__api_request(q, &request, "jobq_register", NULL);
    } while (rc == JOBQ_OK && kind->more);
    if (rc != JOBQ_OK) jobq_notify(q, NULL);
}

JOBQ_API int jobq_register(jobq *q, const jobq_kind *given, jobq_error *err) {
    struct jobq__api_kind kind;
    struct jobq__request request;
    int rc = jobq__api_enter_owner(q, "jobq_register", err);
    if (rc != JOBQ_OK) return rc;
    memset(&kind, 0, sizeof kind);
    memset(&request, 0, sizeof request);
    if (!given)
        rc = jobq__err_set(err, JOBQ_MISUSE, "the kind is NULL");
    else
        rc = jobq__config_kind(&q->options, given, &kind.spec, err);
    if (rc != JOBQ_OK) return jobq__api_leave(q, rc);
    request.write = jobq__api_write_kind;
    request.after = jobq__api_after_kind;
    request.arg = &kind;
    request.left_us = &kind.left_us;
    kind.left_us = q->baton.busy_us;
    rc = jobq__api_request(q, &request, "jobq_register", err);
    if (rc == JOBQ_OK) jobq__api_drain(q, &kind);
    return jobq__api_leave(q, rc);
}

JOBQ_API int jobq_notify(jobq *q, jobq_error *err) {
    int rc = jobq__api_enter_owner(q, "jobq_notify", err);
    if (rc != JOBQ_OK) return rc;
    jobq__os_lock(&q->pool.mu);
    q->pool.work.foreign = q->pool.work.left = true;
    jobq__os_unlock(&q->pool.mu);
    jobq__wake_scheduler(q);
    jobq__wake_loop(q);
    return jobq__api_leave(q, JOBQ_OK);
}
