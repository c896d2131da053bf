/* config.c - defaults and checks of what the caller gives. */
#include "config.h"

/* As milliseconds it would be 24.86 days. */
static int jobq__config_endless(const char *what, jobq_error *err) {
    return jobq__err_set(err, JOBQ_BAD_TIME, "%s is JOBQ_UNLIMITED, which is for counts; a duration"
                         " without end is JOBQ_NEVER", what);
}

static int jobq__config_negative(const char *what, int64_t given, bool none, jobq_error *err) {
    return jobq__err_set(err, JOBQ_BAD_TIME, "%s is %lld; a duration is not negative%s", what,
                         (long long)given, none ? ", but it may be JOBQ_NONE (-1)" : "");
}

/* A duration: 0 is the default, NONE passes where it means something, NEVER is without end. */
static int jobq__config_ms(const char *what, int64_t given, int64_t fallback, bool none,
                           int64_t *ms, jobq_error *err) {
    *ms = given ? given : fallback;
    if (given == JOBQ_UNLIMITED) return jobq__config_endless(what, err);
    if (*ms >= 0 || (none && *ms == JOBQ_NONE)) return JOBQ_OK;
    return jobq__config_negative(what, given, none, err);
}

JOBQ__INTERNAL int jobq__config_span(const char *what, int64_t ms, bool none, jobq_error *err) {
    if (ms < 0) return jobq__config_negative(what, ms, none, err);
    return ms == JOBQ_UNLIMITED ? jobq__config_endless(what, err) : JOBQ_OK;
}

/* 0 is the default; special is what else it may be, in words. */
static int jobq__config_count(const char *what, int64_t given, int64_t fallback, int64_t low,
                              int64_t high, const char *special, int64_t *count, jobq_error *err) {
    *count = given ? given : fallback;
    if (*count >= low && *count <= high) return JOBQ_OK;
    return jobq__err_set(err, JOBQ_MISUSE, "%s is %lld; it must be between %lld and %lld, or 0 for"
                         " the default%s", what, (long long)given, (long long)low, (long long)high,
                         special);
}

static int jobq__config_times(const jobq_options *given, jobq_options *o, jobq_error *err) {
    int rc = jobq__config_ms("busy_ms", given->busy_ms, JOBQ__BUSY_MS, true, &o->busy_ms, err);
    if (rc == JOBQ_OK)
        rc = jobq__config_ms("poll_ms", given->poll_ms,
                             given->shared ? JOBQ__SHARED_POLL_MS : JOBQ_NONE, true, &o->poll_ms,
                             err);
    if (rc == JOBQ_OK)
        rc = jobq__config_ms("keep_done_ms", given->keep_done_ms, JOBQ__KEEP_DONE_MS, true,
                             &o->keep_done_ms, err);
    if (rc == JOBQ_OK)
        rc = jobq__config_ms("keep_failed_ms", given->keep_failed_ms, JOBQ__KEEP_FAILED_MS, true,
                             &o->keep_failed_ms, err);
    if (rc == JOBQ_OK)
        rc = jobq__config_ms("stall_ms", given->stall_ms, JOBQ__STALL_MS, false, &o->stall_ms,
                             err);
    if (o->busy_ms == JOBQ_NONE) o->busy_ms = 0;
    if (o->poll_ms == JOBQ_NEVER) o->poll_ms = JOBQ_NONE;
    return rc;
}

static int jobq__config_page_size(int given, jobq_options *o, jobq_error *err) {
    o->page_size = given ? given : JOBQ__PAGE_SIZE;
    if (o->page_size >= 512 && o->page_size <= 65536 && !(o->page_size & (o->page_size - 1)))
        return JOBQ_OK;
    return jobq__err_set(err, JOBQ_MISUSE, "page_size is %d; it must be a power of two between"
                         " 512 and 65536, or 0 for the default", given);
}

static bool jobq__config_mode_fits(int mode) {
    return (mode & 0600) == 0600 && !(mode & ~0666);
}

/* 640 is 01200. */
static int jobq__config_no_mode(int mode, jobq_error *err) {
    int hundreds = mode / 100, tens = mode / 10 % 10, ones = mode % 10;
    bool forgot = hundreds <= 7 && tens <= 7 && ones <= 7 && mode >= 0
               && jobq__config_mode_fits(hundreds * 64 + tens * 8 + ones);
    return jobq__err_set(err, JOBQ_MISUSE, "mode is 0%o%s; it must hold 0600 and no bit outside"
                         " 0666, such as 0660 for clients of the same group", (unsigned)mode,
                         forgot ? " (written without the leading 0?)" : "");
}

JOBQ__INTERNAL int jobq__config_options(const jobq_options *given, jobq_options *o,
                                        jobq_error *err) {
    static const jobq_options defaults;
    int64_t workers, wal_pages;
    int rc;
    if (!given) given = &defaults;
    *o = *given;
    if (given->role != JOBQ_OWNER && given->role != JOBQ_CLIENT)
        return jobq__err_set(err, JOBQ_MISUSE, "role is %d, none of jobq_role",
                             (int)given->role);
    if (given->durability != JOBQ_DURABLE && given->durability != JOBQ_RELAXED)
        return jobq__err_set(err, JOBQ_MISUSE, "durability is %d, none of"
                             " jobq_durability", (int)given->durability);
    if (given->migrate != JOBQ_MIGRATE_AUTO && given->migrate != JOBQ_MIGRATE_NEVER)
        return jobq__err_set(err, JOBQ_MISUSE, "migrate is %d, none of jobq_migrate",
                             (int)given->migrate);
    if (given->exclusive && (given->shared || given->role == JOBQ_CLIENT))
        return jobq__err_set(err, JOBQ_MISUSE, "exclusive is for an owner whose file nobody else"
                             " opens: no client may say it, and no owner that says shared");
    rc = jobq__config_times(given, o, err);
    if (rc == JOBQ_OK && given->workers == JOBQ_NONE)
        workers = JOBQ_NONE;
    else if (rc == JOBQ_OK)
        rc = jobq__config_count("workers", given->workers, JOBQ__WORKERS, 1, JOBQ_WORKERS_MAX,
                                ", or JOBQ_NONE for step mode", &workers, err);
    o->mode = given->mode ? given->mode : JOBQ__FILE_MODE;
    if (rc == JOBQ_OK && !jobq__config_mode_fits(o->mode)) rc = jobq__config_no_mode(o->mode, err);
    if (rc == JOBQ_OK)
        rc = jobq__config_count("payload_max", given->payload_max, JOBQ__PAYLOAD_MAX, 1,
                                JOBQ_PAYLOAD_MAX, "", &o->payload_max, err);
    if (rc == JOBQ_OK)
        rc = jobq__config_count("wal_pages", given->wal_pages, JOBQ__WAL_PAGES,
                                JOBQ__WAL_PAGES_MIN, 1000000, "", &wal_pages, err);
    if (rc == JOBQ_OK)
        rc = jobq__config_count("keep_max", given->keep_max, JOBQ_UNLIMITED, 1, INT64_MAX,
                                ", or JOBQ_UNLIMITED", &o->keep_max, err);
    if (rc == JOBQ_OK && given->stack_bytes)
        rc = jobq__config_count("stack_bytes", given->stack_bytes, 0, JOBQ__STACK_MIN,
                                JOBQ__STACK_MAX, "", &o->stack_bytes, err);
    if (rc == JOBQ_OK && given->reserve_bytes && given->reserve_bytes != JOBQ_NONE)
        rc = jobq__config_count("reserve_bytes", given->reserve_bytes, 0, JOBQ__RESERVE_MIN,
                                INT64_MAX / 4, ", or JOBQ_NONE for no reserve", &o->reserve_bytes,
                                err);
    /* No more than the system's type can say, whose last value means "as it is". */
    if (rc == JOBQ_OK && given->group_id)
        rc = jobq__config_count("group_id", given->group_id, 0, 1, (int64_t)UINT32_MAX - 1, "",
                                &o->group_id, err);
    if (rc != JOBQ_OK) return rc;
    o->workers = (int)workers;
    o->wal_pages = (int)wal_pages;
    return jobq__config_page_size(given->page_size, o, err);
}

/* The least delay and the longest: two that are given must agree, a default gives way. */
static int jobq__config_backoff(const jobq_kind *given, jobq_kind *kind, jobq_error *err) {
    int64_t *min_ms = &kind->backoff_min_ms, *max_ms = &kind->backoff_max_ms;
    if (*min_ms == JOBQ_NONE) *min_ms = 0;
    if (*max_ms == JOBQ_NONE) *max_ms = 0;
    if (*min_ms <= *max_ms) return JOBQ_OK;
    if (given->backoff_min_ms && given->backoff_max_ms)
        return jobq__err_set(err, JOBQ_BAD_TIME, "backoff_min_ms, %lld, is longer than"
                             " backoff_max_ms, %lld", (long long)*min_ms, (long long)*max_ms);
    if (given->backoff_min_ms) *max_ms = *min_ms;
    else *min_ms = *max_ms;
    return JOBQ_OK;
}

static int jobq__config_kind_times(const jobq_options *options, const jobq_kind *given,
                                   jobq_kind *kind, jobq_error *err) {
    int rc = jobq__config_ms("backoff_min_ms", given->backoff_min_ms, JOBQ__BACKOFF_MIN_MS, true,
                             &kind->backoff_min_ms, err);
    if (rc == JOBQ_OK)
        rc = jobq__config_ms("backoff_max_ms", given->backoff_max_ms, JOBQ__BACKOFF_MAX_MS, true,
                             &kind->backoff_max_ms, err);
    if (rc == JOBQ_OK)
        rc = jobq__config_ms("timeout_ms", given->timeout_ms, JOBQ_NONE, true, &kind->timeout_ms,
                             err);
    if (rc == JOBQ_OK)
        rc = jobq__config_ms("keep_done_ms", given->keep_done_ms, options->keep_done_ms, true,
                             &kind->keep_done_ms, err);
    if (rc == JOBQ_OK)
        rc = jobq__config_ms("keep_failed_ms", given->keep_failed_ms, options->keep_failed_ms,
                             true, &kind->keep_failed_ms, err);
    if (rc == JOBQ_OK) rc = jobq__config_backoff(given, kind, err);
    if (kind->timeout_ms == JOBQ_NEVER) kind->timeout_ms = JOBQ_NONE;
    return rc;
}

JOBQ__INTERNAL int jobq__config_kind(const jobq_options *options, const jobq_kind *given,
                                     jobq_kind *kind, jobq_error *err) {
    int64_t attempts = 0, crashes = 0;
    int rc;
    *kind = *given;
    rc = jobq__config_name("the kind's name", given->name, JOBQ_NAME_MAX, err);
    if (rc != JOBQ_OK) return rc;
    if (!given->run)
        return jobq__err_set(err, JOBQ_MISUSE, "the kind %s has no handler; set .run", given->name);
    rc = jobq__config_kind_times(options, given, kind, err);
    if (rc == JOBQ_OK)
        rc = jobq__config_count("attempts_max", given->attempts_max, JOBQ__ATTEMPTS_MAX, 1,
                                JOBQ_UNLIMITED, ", or JOBQ_UNLIMITED", &attempts, err);
    if (rc == JOBQ_OK)
        rc = jobq__config_count("crashes_max", given->crashes_max, JOBQ__CRASHES_MAX, 1,
                                JOBQ_UNLIMITED, ", or JOBQ_UNLIMITED", &crashes, err);
    if (rc != JOBQ_OK) return rc;
    kind->attempts_max = (int)attempts;
    kind->crashes_max = (int)crashes;
    if (given->jitter_percent == JOBQ_NONE) kind->jitter_percent = 0;
    else if (!given->jitter_percent) kind->jitter_percent = JOBQ__JITTER_PERCENT;
    if (kind->jitter_percent < 0 || kind->jitter_percent > 100)
        return jobq__err_set(err, JOBQ_MISUSE, "jitter_percent is %d; it must be between 1 and 100,"
                             " or JOBQ_NONE", given->jitter_percent);
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__config_name(const char *what, const char *name, size_t max,
                                     jobq_error *err) {
    size_t size = 0;
    if (!name) return jobq__err_set(err, JOBQ_BAD_NAME, "%s is missing", what);
    while (size <= max && name[size]) size++;
    if (!size) return jobq__err_set(err, JOBQ_BAD_NAME, "%s is empty", what);
    if (size > max)
        return jobq__err_set(err, JOBQ_BAD_NAME, "%s is longer than %d bytes: %.*s...", what,
                             (int)max, (int)max, name);
    return JOBQ_OK;
}

static int jobq__config_payload(const jobq_options *options, const jobq_job *job,
                                jobq_error *err) {
    size_t size = jobq__tx_job_size(job);
    if (job->text && (job->payload || job->size))
        return jobq__err_set(err, JOBQ_MISUSE, "text is set together with payload or size; a job"
                             " has .text for a string, or .payload with .size");
    if (job->size && !job->payload)
        return jobq__err_set(err, JOBQ_MISUSE, "the payload is NULL but has a size, %llu; set"
                             " .payload, or leave the size 0", (unsigned long long)job->size);
    if (job->payload && !job->size)
        return jobq__err_set(err, JOBQ_MISUSE, "the payload has no size: set .size, or .text in"
                             " place of .payload for a string; an empty payload is NULL");
    if (size > (size_t)options->payload_max)
        return jobq__err_set(err, JOBQ_TOO_BIG, "the payload has %llu bytes; payload_max is %lld",
                             (unsigned long long)size, (long long)options->payload_max);
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__config_job(const jobq_options *options, const jobq_job *job,
                                    int64_t now_ms, jobq_error *err) {
    int rc = jobq__config_name("the kind", job->kind, JOBQ_NAME_MAX, err);
    if (rc == JOBQ_OK && job->queue)
        rc = jobq__config_name("the queue", job->queue, JOBQ_NAME_MAX, err);
    if (rc == JOBQ_OK && job->key)
        rc = jobq__config_name("the key", job->key, JOBQ_KEY_MAX, err);
    if (rc != JOBQ_OK) return rc;
    if (job->conflict != JOBQ_KEEP && job->conflict != JOBQ_REFUSE)
        return jobq__err_set(err, JOBQ_MISUSE, "conflict is %d, none of jobq_conflict",
                             (int)job->conflict);
    rc = jobq__config_payload(options, job, err);
    if (rc != JOBQ_OK) return rc;
    if (job->run_at_ms && job->delay_ms)
        return jobq__err_set(err, JOBQ_MISUSE, "run_at_ms and delay_ms are both set; leave"
                             " one of them 0");
    if (job->run_at_ms < 0)
        return jobq__err_set(err, JOBQ_BAD_TIME, "run_at_ms is %lld; it counts milliseconds since"
                             " 1970", (long long)job->run_at_ms);
    rc = jobq__config_span("delay_ms", job->delay_ms, false, err);
    if (rc != JOBQ_OK) return rc;
    if (job->delay_ms != JOBQ_NEVER && job->delay_ms > INT64_MAX - now_ms)
        return jobq__err_set(err, JOBQ_BAD_TIME, "delay_ms, %lld, reaches past the end of time;"
                             " a job that is not to be due is JOBQ_NEVER",
                             (long long)job->delay_ms);
    return JOBQ_OK;
}
