/* test.h - the test harness: one header, C99 and POSIX, nothing else.
 *
 * A test program is one file:
 *
 *     #include "test.h"            (or "unit.h" after it, to see the inside of jobq.c)
 *
 *     TEST(keeps_its_promise) {
 *         jobq *q = NULL;
 *         REQUIRE_CODE(jobq_open(test_path("a.db"), NULL, &q, NULL), JOBQ_OK);
 *         CHECK_INT(jobq_wakes(q), 0);
 *         CHECK_CODE(jobq_close(&q), JOBQ_OK);
 *     }
 *
 *     TEST_MAIN(keeps_its_promise)
 *
 * TEST_MAIN names every test, separated by commas; they run in that order. One that is
 * left out is an unused function, so the compiler tells. The name of a test is a function
 * of the file: it must not be that of a function which a header declares.
 *
 * Checks. They are never compiled out, and may be used by any thread. A failed one prints
 * where and what, and the test counts as failed.
 *   CHECK(condition)    CHECK_INT(got, wanted)    CHECK_STR(got, wanted)
 *   CHECK_CODE(got, wanted): codes of jobq, printed by name
 *   CHECK_MEM(got, wanted, size)
 *     go on after a failure; they are expressions and tell whether the check held, so a
 *     handler can say: if (!CHECK(x)) return JOBQ_FAIL;
 *   REQUIRE, REQUIRE_INT, REQUIRE_STR, REQUIRE_CODE
 *     return from the function they stand in, which must return void.
 *
 * Around a test. It gets a fresh directory below TMPDIR (or /tmp), removed afterwards
 * unless TEST_KEEP is set in the environment. A test that hangs is killed by a watchdog
 * after TEST_SECONDS (times JOBQ_TEST_SCALE and TEST_EFFORT), and its name is told. That is far
 * more than any test takes, also on a slow machine that does other things.
 *   test_path("a.db")        that name in the test's directory; valid until the test ends
 *   test_dir()               the directory itself
 *   test_note(format, ...)   prints a line, such as a seed
 *   test_skip(format, ...)   prints why this test cannot be made here. It has then neither passed
 *                            nor failed, unless a check fails all the same
 *   TEST_SCALED(n)           n iterations, fewer in slow builds, at least 1
 *   test_effort(n)           the same times TEST_EFFORT of the environment (1 if not set; may be
 *                            0.1 or 1000): for searches that find more the longer they run
 *   test_seed()              TEST_SEED of the environment, or a fixed number
 *   test_figure(row, goal, format, ...)
 *                            a line of the scoreboard, such as ("kill -9", "0 lost", "500 kills,
 *                            81,022 acknowledged, 0 lost"): appended to the file that TEST_FIGURES
 *                            of the environment names, with the seed and whether the test's checks
 *                            have held so far. Called once, at the end of the test; the checks
 *                            decide, the figure only tells
 *   test_random(&state)      a small generator: the same numbers on every machine
 *   test_real_ms()           real time that has passed, for bounds only, never to wait
 *   test_fork(fn, arg)       runs fn(arg) in a forked child and returns its wait status;
 *                            the child ends by _exit: 0, or 1 if one of its checks failed
 *   test_spawn, test_wait    the same in two steps, to kill the child in between
 *   test_pause_ms(ms)        sleeps; only for what no clock in the hand can reach, such
 *                            as another process
 *
 * The program: one optional argument, a part of the names of the tests to run. It prints
 * the tests that failed or were skipped, all tests if TEST_VERBOSE is set, and as its last line
 * "N passed, N failed"; its exit status is 1 if one failed.
 */
#ifndef JOBQ_TEST_H
#define JOBQ_TEST_H

/* As jobq.c has them, so that functions which stand before the system's are those that it calls. */
#undef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64
#undef _TIME_BITS
#define _TIME_BITS 64
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE 1
#endif

#include "../../jobq.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Slow builds (sanitizers) divide the iterations of long tests by this number. */
#ifndef JOBQ_TEST_SCALE
#define JOBQ_TEST_SCALE 1
#endif

#define TEST_SECONDS 600

#define TEST_SCALED(n) ((n) / JOBQ_TEST_SCALE > 0 ? (n) / JOBQ_TEST_SCALE : 1)

#define TEST(name) static void name(void)

/* The one place where tests are listed. The names come from the text of the arguments,
 * so that they need not be written twice. */
#define TEST_MAIN(...) \
    TEST_LIST(main, __VA_ARGS__)

/* The same for a program that has more to do than that: a function like main. */
#define TEST_LIST(function, ...) \
    int function(int argc, char **argv) { \
        static void (*const tests[])(void) = {__VA_ARGS__}; \
        return test_main(argc, argv, __FILE__, tests, sizeof tests / sizeof tests[0], \
                         #__VA_ARGS__); \
    }

#define CHECK(condition) test_check((condition) ? true : false, __FILE__, __LINE__, #condition)
#define CHECK_INT(got, wanted) \
    test_check_int((int64_t)(got), (int64_t)(wanted), __FILE__, __LINE__, #got, #wanted)
#define CHECK_STR(got, wanted) \
    test_check_str((got), (wanted), __FILE__, __LINE__, #got, #wanted)
#define CHECK_CODE(got, wanted) \
    test_check_code((got), (wanted), __FILE__, __LINE__, #got, #wanted)
#define CHECK_MEM(got, wanted, size) \
    test_check_mem((got), (wanted), (size), __FILE__, __LINE__, #got, #wanted)

#define TEST_OR_RETURN(check) \
    do { \
        if (!(check)) return; \
    } while (0)
#define REQUIRE(condition) TEST_OR_RETURN(CHECK(condition))
#define REQUIRE_INT(got, wanted) TEST_OR_RETURN(CHECK_INT(got, wanted))
#define REQUIRE_STR(got, wanted) TEST_OR_RETURN(CHECK_STR(got, wanted))
#define REQUIRE_CODE(got, wanted) TEST_OR_RETURN(CHECK_CODE(got, wanted))

/* What the harness remembers. The mutex guards the fields below it. */
struct test_path_link {
    struct test_path_link *next;
    char text[]; /* the path itself */
};

static struct {
    char name[128]; /* of the running test; written only between tests */
    char dir[512];
    pthread_mutex_t mutex;
    int checks_failed;
    bool skipped;
    struct test_path_link *paths;
} test_state = {"", "", PTHREAD_MUTEX_INITIALIZER, 0, false, NULL};

/* ---- Checks ---- */

JOBQ_PRINTF(1, 2)
static inline void test_note(const char *format, ...) {
    va_list args;
    va_start(args, format);
    pthread_mutex_lock(&test_state.mutex);
    printf("  note: %s: ", test_state.name);
    vprintf(format, args);
    putchar('\n');
    fflush(stdout);
    pthread_mutex_unlock(&test_state.mutex);
    va_end(args);
}

JOBQ_PRINTF(1, 2)
static inline void test_skip(const char *format, ...) {
    va_list args;
    va_start(args, format);
    pthread_mutex_lock(&test_state.mutex);
    if (!test_state.skipped) {
        printf("  skipped: %s: ", test_state.name);
        vprintf(format, args);
        putchar('\n');
        fflush(stdout);
    }
    test_state.skipped = true;
    pthread_mutex_unlock(&test_state.mutex);
    va_end(args);
}

JOBQ_PRINTF(3, 4)
static inline void test_failed(const char *file, int line, const char *format, ...) {
    va_list args;
    va_start(args, format);
    pthread_mutex_lock(&test_state.mutex);
    test_state.checks_failed++;
    printf("%s:%d: %s: ", file, line, test_state.name);
    vprintf(format, args);
    putchar('\n');
    fflush(stdout);
    pthread_mutex_unlock(&test_state.mutex);
    va_end(args);
}

static inline bool test_check(bool held, const char *file, int line, const char *text) {
    if (!held) test_failed(file, line, "not true: %s", text);
    return held;
}

static inline bool test_check_int(int64_t got, int64_t wanted, const char *file, int line,
                                  const char *got_text, const char *wanted_text) {
    if (got == wanted) return true;
    test_failed(file, line, "%s is %" PRId64 ", wanted %" PRId64 " (%s)", got_text, got, wanted,
                wanted_text);
    return false;
}

static inline bool test_check_code(int got, int wanted, const char *file, int line,
                                   const char *got_text, const char *wanted_text) {
    if (got == wanted) return true;
    test_failed(file, line, "%s is %s (%d), wanted %s (%s)", got_text, jobq_code_name(got), got,
                jobq_code_name(wanted), wanted_text);
    return false;
}

static inline bool test_check_str(const char *got, const char *wanted, const char *file, int line,
                                  const char *got_text, const char *wanted_text) {
    if (got == wanted || (got && wanted && strcmp(got, wanted) == 0)) return true;
    test_failed(file, line, "%s is %s%s%s, wanted %s%s%s (%s)", got_text, got ? "\"" : "",
                got ? got : "NULL", got ? "\"" : "", wanted ? "\"" : "",
                wanted ? wanted : "NULL", wanted ? "\"" : "", wanted_text);
    return false;
}

static inline bool test_check_mem(const void *got, const void *wanted, size_t size,
                                  const char *file, int line, const char *got_text,
                                  const char *wanted_text) {
    const unsigned char *a = (const unsigned char *)got, *b = (const unsigned char *)wanted;
    size_t i = 0;
    if (size == 0) return true;
    if (!a || !b) {
        test_failed(file, line, "%s or %s is NULL", got_text, wanted_text);
        return false;
    }
    while (i < size && a[i] == b[i]) i++;
    if (i == size) return true;
    test_failed(file, line, "byte %lu of %s is 0x%02x, wanted 0x%02x (%s)", (unsigned long)i,
                got_text, (unsigned)a[i], (unsigned)b[i], wanted_text);
    return false;
}

/* How many checks of the running test have failed so far. Any thread. */
static inline int test_failures(void) {
    int n;
    pthread_mutex_lock(&test_state.mutex);
    n = test_state.checks_failed;
    pthread_mutex_unlock(&test_state.mutex);
    return n;
}

static inline uint64_t test_seed(void) {
    const char *text = getenv("TEST_SEED");
    return text && *text ? strtoull(text, NULL, 0) : 20240229u;
}

JOBQ_PRINTF(3, 4)
static inline void test_figure(const char *row, const char *goal, const char *format, ...) {
    const char *path = getenv("TEST_FIGURES");
    bool held = test_failures() == 0;
    va_list args;
    FILE *file = path && *path ? fopen(path, "a") : NULL;
    if (!file) return;
    fprintf(file, "%s\t", row);
    va_start(args, format);
    vfprintf(file, format, args);
    va_end(args);
    fprintf(file, "\t%s\t%s\t%" PRIu64 "\t%s\n", goal, held ? "held" : "BROKEN", test_seed(),
            test_state.name);
    fclose(file);
}

/* The test cannot go on at all, for a reason that is the machine's and not jobq's. */
static inline void test_give_up(const char *what) {
    fprintf(stderr, "%s: %s: %s\n", test_state.name, what, strerror(errno));
    exit(2);
}

/* ---- The directory ---- */

static inline const char *test_dir(void) {
    return test_state.dir;
}

static inline const char *test_path(const char *name) {
    size_t size = strlen(test_state.dir) + strlen(name) + 2;
    struct test_path_link *link =
        (struct test_path_link *)malloc(sizeof(struct test_path_link) + size);
    if (!link) test_give_up("no memory");
    snprintf(link->text, size, "%s/%s", test_state.dir, name);
    pthread_mutex_lock(&test_state.mutex);
    link->next = test_state.paths;
    test_state.paths = link;
    pthread_mutex_unlock(&test_state.mutex);
    return link->text;
}

static inline void test_make_dir(void) {
    const char *base = getenv("TMPDIR");
    if (!base || !*base) base = "/tmp";
    if (strlen(base) + 20 > sizeof test_state.dir) base = "/tmp";
    snprintf(test_state.dir, sizeof test_state.dir, "%s/jobq-test-XXXXXX", base);
    if (!mkdtemp(test_state.dir)) test_give_up("no temporary directory");
}

/* Removes path and what is below it. A directory that a test made unreadable is made
 * readable again first. */
static inline void test_remove(const char *path) {
    struct stat st;
    struct dirent *entry;
    DIR *dir;
    if (lstat(path, &st) != 0) return;
    if (!S_ISDIR(st.st_mode)) {
        unlink(path);
        return;
    }
    chmod(path, 0700);
    dir = opendir(path);
    while (dir && (entry = readdir(dir)) != NULL) {
        char below[1024];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (snprintf(below, sizeof below, "%s/%s", path, entry->d_name) < (int)sizeof below)
            test_remove(below);
    }
    if (dir) closedir(dir);
    rmdir(path);
}

static inline void test_drop_dir(void) {
    if (getenv("TEST_KEEP")) {
        test_note("kept %s", test_state.dir);
    } else {
        test_remove(test_state.dir);
    }
    while (test_state.paths) {
        struct test_path_link *link = test_state.paths;
        test_state.paths = link->next;
        free(link);
    }
}

/* ---- Numbers and time ---- */

static inline int64_t test_effort(int64_t n) {
    const char *text = getenv("TEST_EFFORT");
    double effort = text && *text ? strtod(text, NULL) : 1;
    double wanted = (double)n * effort / JOBQ_TEST_SCALE;
    return wanted < 1 ? 1 : wanted > 9e18 ? INT64_MAX : (int64_t)wanted;
}

/* Weyl sequence with two rounds of mixing; *state may start as anything. */
static inline uint64_t test_random(uint64_t *state) {
    uint64_t x = (*state += UINT64_C(0x9e3779b97f4a7c15));
    x = (x ^ (x >> 32)) * UINT64_C(0xd6e8feb86659fd93);
    x = (x ^ (x >> 32)) * UINT64_C(0xd6e8feb86659fd93);
    return x ^ (x >> 32);
}

static inline int64_t test_real_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline void test_pause_ms(int64_t ms) {
    struct timespec left;
    left.tv_sec = (time_t)(ms / 1000);
    left.tv_nsec = (long)(ms % 1000) * 1000000;
    while (nanosleep(&left, &left) != 0 && errno == EINTR) continue;
}

/* ---- The watchdog and children ---- */

/* Runs on a signal: it only writes which test it is, and then dies by the same signal. */
static inline void test_bark(int signal_number) {
    const char *text = signal_number == SIGALRM ? "hangs: " : "died in: ";
    ssize_t ignored;
    ignored = write(STDOUT_FILENO, text, strlen(text));
    ignored = write(STDOUT_FILENO, test_state.name, strlen(test_state.name));
    ignored = write(STDOUT_FILENO, "\n", 1);
    (void)ignored;
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

/* More effort takes longer. */
static inline unsigned test_patience(void) {
    int64_t times = test_effort(JOBQ_TEST_SCALE);
    return times > 10000 ? 10000 : (unsigned)times;
}

static inline void test_watch(void) {
    struct sigaction action;
    sigset_t set;
    memset(&action, 0, sizeof action);
    action.sa_handler = test_bark;
    action.sa_flags = SA_NODEFER;
    sigemptyset(&action.sa_mask);
    sigaction(SIGALRM, &action, NULL);
    sigaction(SIGABRT, &action, NULL);
#ifndef TEST_SANITIZED /* a sanitizer has more to say about these itself */
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
#endif
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    alarm((unsigned)TEST_SECONDS * JOBQ_TEST_SCALE * test_patience());
}

static inline pid_t test_spawn(void (*fn)(void *arg), void *arg) {
    pid_t pid;
    int before = test_failures();
    fflush(NULL);
    pid = fork();
    if (pid < 0) test_give_up("fork");
    if (pid == 0) {
        test_watch(); /* alarms are not inherited */
        fn(arg);
        fflush(NULL);
        _exit(test_failures() > before ? 1 : 0);
    }
    return pid;
}

static inline int test_wait(pid_t pid) {
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) test_give_up("waitpid");
    return status;
}

static inline int test_fork(void (*fn)(void *arg), void *arg) {
    return test_wait(test_spawn(fn, arg));
}

/* ---- The program ---- */

/* Copies the next name of a comma-separated list into test_state.name and returns where
 * the list goes on. */
static inline const char *test_next_name(const char *names) {
    size_t n = 0;
    while (*names == ' ' || *names == ',') names++;
    for (; *names && *names != ',' && *names != ' '; names++)
        if (n + 1 < sizeof test_state.name) test_state.name[n++] = *names;
    test_state.name[n] = '\0';
    return names;
}

static inline int test_main(int argc, char **argv, const char *file, void (*const *tests)(void),
                            size_t count, const char *names) {
    const char *filter = argc > 1 ? argv[1] : "";
    bool verbose = getenv("TEST_VERBOSE") != NULL;
    int passed = 0, failed = 0, skipped = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < count; i++) {
        int64_t start;
        names = test_next_name(names);
        if (!strstr(test_state.name, filter)) continue;
        test_state.checks_failed = 0;
        test_state.skipped = false;
        test_make_dir();
        test_watch();
        start = test_real_ms();
        tests[i]();
        alarm(0);
        test_drop_dir();
        if (test_failures() > 0) {
            failed++;
            printf("FAILED %s (%s)\n", test_state.name, file);
        } else if (test_state.skipped) {
            skipped++;
        } else {
            passed++;
            if (verbose)
                printf("passed %s, %" PRId64 " ms\n", test_state.name, test_real_ms() - start);
        }
    }
    if (passed + failed + skipped == 0)
        printf("no test of %s has \"%s\" in its name\n", file, filter);
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0 || passed + skipped == 0;
}

#endif
