/* stress.h - what the storms share: counters of many threads, a disk that does not sync, what a
 * process holds open, and a dog that barks when one step of a storm takes too long. */
#ifndef JOBQ_TEST_STRESS_H
#define JOBQ_TEST_STRESS_H

#include "helpers.h"

#include <sched.h>

/* ---- Counters. Relaxed: they order nothing, so they hide no race of the code under test. ---- */

static inline int add_to(int *counter, int n) {
    return __atomic_add_fetch(counter, n, __ATOMIC_RELAXED);
}

static inline int read_of(int *counter) {
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static inline void set_to(int *counter, int n) {
    __atomic_store_n(counter, n, __ATOMIC_RELAXED);
}

/* ---- Threads ---- */

static inline void join_all(pthread_t *threads, int n) {
    for (int i = 0; i < n; i++) pthread_join(threads[i], NULL);
}

/* ---- What a storm draws ---- */

static inline jobq_job drawn_job(uint64_t *random, int keys, char *key, size_t size) {
    jobq_job job = {.kind = "mix", .payload = "some bytes", .size = 10};
    job.priority = (int)(test_random(random) % 3);
    if (test_random(random) % 3 == 0) job.delay_ms = (int64_t)(test_random(random) % 5);
    if (test_random(random) % 4 == 0) job.queue = "other";
    if (test_random(random) % 4 == 0) {
        snprintf(key, size, "key %d", (int)(test_random(random) % (uint64_t)keys));
        job.key = key;
    }
    return job;
}

/* Drawn from the id and the start, so that every job comes to an end. child enqueues another. */
static inline jobq_outcome drawn_outcome(jobq_run *run, int starts,
                                         jobq_outcome (*child)(jobq_run *run)) {
    uint64_t random = (uint64_t)jobq_run_id(run) * 64 + (uint64_t)starts;
    switch (test_random(&random) % 16) {
    case 0: return jobq_retry(run, "drawn %d", starts);
    case 1: return jobq_fail(run, "drawn %d", starts);
    case 2: return starts < 8 ? jobq_snooze(run, 1) : JOBQ_DONE;
    case 3: return starts < 8 ? jobq_reschedule_in(run, 2) : JOBQ_DONE;
    case 4: return JOBQ_CANCELLED;
    case 5: return jobq_run_sleep(run, 2) ? jobq_retry(run, NULL) : JOBQ_DONE;
    case 6: return child(run);
    case 7: return jobq_done(run, "result", 6);
    case 8: CHECK_CODE(jobq_checkpoint(run, "so far", 6, NULL), JOBQ_OK); return JOBQ_DONE;
    default: return JOBQ_DONE;
    }
}

/* ---- A disk that does not sync: storms are not about power, and open and close very often. It
 * takes no lock of its own, which would hide races from the thread sanitizer. ---- */

enum { CALM_KINDS = 4 };

static struct {
    sqlite3_vfs *real, vfs;
    const sqlite3_io_methods *methods[CALM_KINDS]; /* of a database, a log ... */
    sqlite3_io_methods calm[CALM_KINDS];           /* the same, but for the sync */
} calm;

static inline int calm_sync(sqlite3_file *file, int flags) {
    (void)file;
    (void)flags;
    return SQLITE_OK;
}

/* The first file of each kind has to be opened before there are threads. */
static inline int calm_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                            int *out) {
    int rc = calm.real->xOpen(calm.real, name, file, flags, out), i = 0;
    (void)vfs;
    if (rc != SQLITE_OK) return rc;
    while (i < CALM_KINDS && calm.methods[i] && calm.methods[i] != file->pMethods) i++;
    if (i == CALM_KINDS) return rc;
    if (!calm.methods[i]) {
        calm.methods[i] = file->pMethods;
        calm.calm[i] = *file->pMethods;
        calm.calm[i].xSync = calm_sync;
    }
    file->pMethods = &calm.calm[i];
    return rc;
}

/* Every connection that is opened from now on is on such a disk. */
static inline void calm_begin(void) {
    calm.real = sqlite3_vfs_find(NULL);
    calm.vfs = *calm.real;
    calm.vfs.zName = "calm";
    calm.vfs.xOpen = calm_open;
    sqlite3_vfs_register(&calm.vfs, 1);
}

static inline void calm_end(void) {
    sqlite3_vfs_unregister(&calm.vfs);
    sqlite3_vfs_register(calm.real, 1);
}

/* ---- What the process holds ---- */

/* Entries of a directory of /proc/self; -1 where there is none. */
static inline int held_in(const char *path) {
    DIR *dir = opendir(path);
    int n = 0;
    if (!dir) return -1;
    while (readdir(dir)) n++;
    closedir(dir);
    return n;
}

struct holdings {
    int files, threads;
};

static inline struct holdings holdings_now(void) {
    return (struct holdings){held_in("/proc/self/fd"), held_in("/proc/self/task")};
}

static inline void *do_nothing_else(void *arg) {
    return arg;
}

/* To compare with later. The first thread of a process may bring a sanitizer's own along. */
static inline struct holdings holdings_first(void) {
    pthread_join(thread_start(do_nothing_else, NULL), NULL);
    return holdings_now();
}

/* A thread that has been joined may be listed for a moment still. */
static inline void check_holdings(struct holdings before) {
    int64_t until_ms = test_real_ms() + 5000;
    while (holdings_now().threads > before.threads && test_real_ms() < until_ms) sched_yield();
    CHECK_INT(holdings_now().threads, before.threads);
    CHECK_INT(holdings_now().files, before.files);
}

/* ---- The dog ---- */

static struct dog {
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t fed;
    int64_t step;          /* the one under way */
    int64_t began_ms, slowest_ms;
    bool gone;
    int64_t patience_ms;   /* set before the thread runs, as the rest */
    void (*bark)(void);    /* says what hangs; then the process aborts */
    pthread_t thread;
} dog;

static inline void *dog_watch(void *arg) {
    (void)arg;
    pthread_mutex_lock(&dog.mutex);
    while (!dog.gone) {
        struct timespec at;
        int64_t step = dog.step;
        int rc = 0;
        clock_gettime(CLOCK_MONOTONIC, &at);
        at.tv_sec += (time_t)(dog.patience_ms / 1000);
        while (!rc && !dog.gone && dog.step == step)
            rc = pthread_cond_timedwait(&dog.fed, &dog.mutex, &at);
        if (!rc || dog.gone || dog.step != step) continue;
        dog.bark();
        abort();
    }
    pthread_mutex_unlock(&dog.mutex);
    return NULL;
}

static inline void dog_begin(int64_t patience_ms, void (*bark)(void)) {
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&dog.mutex, NULL);
    pthread_cond_init(&dog.fed, &attr);
    pthread_condattr_destroy(&attr);
    dog.step = dog.slowest_ms = 0;
    dog.began_ms = test_real_ms();
    dog.gone = false;
    dog.patience_ms = patience_ms;
    dog.bark = bark;
    dog.thread = thread_start(dog_watch, NULL);
}

/* A step is over. */
static inline void dog_feed(void) {
    int64_t now_ms = test_real_ms();
    pthread_mutex_lock(&dog.mutex);
    if (now_ms - dog.began_ms > dog.slowest_ms) dog.slowest_ms = now_ms - dog.began_ms;
    dog.began_ms = now_ms;
    dog.step++;
    pthread_cond_signal(&dog.fed);
    pthread_mutex_unlock(&dog.mutex);
}

/* Returns how long the slowest step took. */
static inline int64_t dog_end(void) {
    pthread_mutex_lock(&dog.mutex);
    dog.gone = true;
    pthread_cond_signal(&dog.fed);
    pthread_mutex_unlock(&dog.mutex);
    pthread_join(dog.thread, NULL);
    pthread_cond_destroy(&dog.fed);
    pthread_mutex_destroy(&dog.mutex);
    return dog.slowest_ms;
}

#endif
