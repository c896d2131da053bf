/* base.h - what every module sees: standard headers, linkage, assertions, saturation. */
#ifndef JOBQ__BASE_H
#define JOBQ__BASE_H

#ifdef __cplusplus
#error "jobq.c is C: compile it by a C compiler and link it; jobq.h is for C and C++"
#endif
/* Files over 2 GiB and times after 2038 on 32 bits, whatever the compiler is told. */
#undef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64
#undef _TIME_BITS
#define _TIME_BITS 64
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE 1 /* flock, MAP_ANONYMOUS */
#endif

#include "jobq.h"

#include <assert.h>
#include <stdarg.h>
#include <string.h>

/* Linkage is written here and nowhere else: JOBQ__INTERNAL is shared between modules,
 * so it is static in the generated file and extern when the modules are built apart. The unit
 * tests set it, to reach into the generated file. */
#ifdef JOBQ__INTERNAL
#elif defined JOBQ_AMALGAMATION
#define JOBQ__INTERNAL static
#else
#define JOBQ__INTERNAL extern
#endif

/* For our own bugs only. The caller's and the disk's errors are checked, always. */
#ifdef JOBQ_DEBUG
#define jobq__assert(condition) assert(condition)
#else
#define jobq__assert(condition) ((void)(0 && (condition)))
#endif

#define JOBQ__COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define JOBQ__CONTAINER(pointer, type, member) \
    ((type *)(void *)((char *)(pointer) - offsetof(type, member)))
#define JOBQ__STRING_(text) #text
#define JOBQ__STRING(text) JOBQ__STRING_(text)
/* One of the two is evaluated twice: for values; calls go to the functions. */
#define JOBQ__MIN(a, b) ((a) < (b) ? (a) : (b))
#define JOBQ__MAX(a, b) ((a) > (b) ? (a) : (b))
static inline int64_t jobq__min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t jobq__max(int64_t a, int64_t b) { return a > b ? a : b; }

/* A table of legal edges has for each state the states that may follow it. Whoever changes such a
 * state does so in one function, which asserts the edge. */
#define JOBQ__EDGE(to) (1u << (to))
#define JOBQ__LEGAL(edges, from, to) \
    jobq__legal(edges, (int)JOBQ__COUNT(edges), (int)(from), (int)(to))

static inline bool jobq__legal(const unsigned *edges, int count, int from, int to) {
    if (from < 0 || from >= count || to < 0 || to >= count) return false;
    return (edges[from] & JOBQ__EDGE(to)) != 0;
}

/* a + b for times: saturates at both ends, so JOBQ_NEVER stays never. */
static inline int64_t jobq__add(int64_t a, int64_t b) {
    if (b > 0 && a > INT64_MAX - b) return INT64_MAX;
    if (b < 0 && a < INT64_MIN - b) return INT64_MIN;
    return a + b;
}

/* a - b, saturating. */
static inline int64_t jobq__sub(int64_t a, int64_t b) {
    if (b < 0 && a > INT64_MAX + b) return INT64_MAX;
    if (b > 0 && a < INT64_MIN + b) return INT64_MIN;
    return a - b;
}

/* Milliseconds in microseconds, saturating. */
static inline int64_t jobq__to_us(int64_t ms) {
    if (ms > INT64_MAX / 1000) return INT64_MAX;
    return ms < INT64_MIN / 1000 ? INT64_MIN : ms * 1000;
}

#endif
