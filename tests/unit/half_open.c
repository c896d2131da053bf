/* half_open.c - an open that fails half way ends what it began, and nothing else.
 *
 * The system may have no mutex or condition left. What was never made must not be unmade: POSIX
 * leaves that undefined, and some systems end the process for it. jobq.c is part of this program,
 * so its calls can be counted without SQLite's. */
#include "helpers.h"

enum { THINGS = 256 };

static struct {
    void *list[THINGS]; /* what was made and not unmade */
    int calls, nth;     /* this one fails; 0: none */
    int stray;          /* unmade, but never made */
} made;

static inline bool strike(void) {
    return ++made.calls == made.nth;
}

static inline void note(void *from, void *to) {
    for (int i = 0; i < THINGS; i++) {
        if (made.list[i] != from) continue;
        made.list[i] = to;
        return;
    }
    made.stray++;
}

static inline int make_mutex(pthread_mutex_t *mu, const pthread_mutexattr_t *attr) {
    if (strike()) return ENOMEM;
    note(NULL, mu);
    return pthread_mutex_init(mu, attr);
}

static inline int unmake_mutex(pthread_mutex_t *mu) {
    note(mu, NULL);
    return pthread_mutex_destroy(mu);
}

static inline int make_cond(pthread_cond_t *cond, const pthread_condattr_t *attr) {
    if (strike()) return ENOMEM;
    note(NULL, cond);
    return pthread_cond_init(cond, attr);
}

static inline int unmake_cond(pthread_cond_t *cond) {
    note(cond, NULL);
    return pthread_cond_destroy(cond);
}

#define pthread_mutex_init make_mutex
#define pthread_mutex_destroy unmake_mutex
#define pthread_cond_init make_cond
#define pthread_cond_destroy unmake_cond
#define UNIT_INCLUDES_JOBQ_C
#include "unit.h"

static int left_over(void) {
    int n = 0;
    for (int i = 0; i < THINGS; i++) n += made.list[i] != NULL;
    return n;
}

/* Goal: an open for which a mutex or condition cannot be had fails with NO_MEMORY, unmakes what was
 * made, and nothing else. Method: the n-th call fails, for every n. */
TEST(half_an_open_is_undone) {
    int failures = 0, rc = JOBQ_NO_MEMORY;
#ifdef JOBQ_MODULES
    test_skip("the modules are not part of this program");
    return;
#endif
    for (int n = 1; rc != JOBQ_OK && n < 100; n++) {
        jobq *q = NULL;
        jobq_error told = {.code = 0};
        made.calls = 0;
        made.nth = n;
        rc = jobq_open(test_path("q.db"), &(jobq_options){.workers = 3}, &q, &told);
        made.nth = 0;
        failures += rc != JOBQ_OK;
        if (rc == JOBQ_OK) CHECK_CODE(jobq_close(&q), JOBQ_OK);
        else if (!CHECK_CODE(rc, JOBQ_NO_MEMORY)) test_note("%d: %s", n, told.text);
        CHECK_INT(made.stray, 0);
        CHECK_INT(left_over(), 0);
    }
    CHECK(failures > 5);
}

TEST_MAIN(half_an_open_is_undone)
