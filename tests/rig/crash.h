/* crash.h - what the tests of crash share: processes that die, and what outlives them.
 *
 * A life is a forked child that opens the queue and ends, by itself, by its own handlers or by
 * the parent's hand. What has to outlive it is told through a pipe or stands in shared memory.
 * The parent has no threads while it forks. Nothing here waits for time. */
#ifndef JOBQ_TEST_CRASH_H
#define JOBQ_TEST_CRASH_H

#include "helpers.h"

#include <sys/mman.h>
#include <sys/resource.h>

/* ---- Children ---- */

/* Sanitizers: do not wait at _exit for threads, and judge leaks only in the parent. */
const char *__tsan_default_options(void);
int __lsan_is_turned_off(void);
static bool is_child;

const char *__tsan_default_options(void) {
    return "atexit_sleep_ms=0";
}

int __lsan_is_turned_off(void) {
    return is_child;
}

/* To be called first by a life: it dies silently, and leaves no core behind. */
static inline void be_a_child(void) {
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS};
    struct rlimit none = {0, 0};
    is_child = true;
    setrlimit(RLIMIT_CORE, &none);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) signal(signals[i], SIG_DFL);
}

static inline void *share(size_t size) {
    void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) test_give_up("mmap");
    return map;
}

static inline bool was_killed(int status) {
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

/* ---- Pipes ---- */

static inline void hear(int ends[2], int times) {
    while (times-- > 0) pipe_hear(ends);
}

/* Numbers are written whole, whoever writes, because they are short. */
static inline void tell_number(int fd, int64_t number) {
    while (write(fd, &number, sizeof number) < 0 && errno == EINTR) continue;
}

/* False at the end: nobody is left who could write. */
static inline bool hear_number(int fd, int64_t *number) {
    char *at = (char *)number;
    size_t have = 0;
    while (have < sizeof *number) {
        ssize_t n = read(fd, at + have, sizeof *number - have);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        have += (size_t)n;
    }
    return true;
}

/* ---- Ways to die ---- */

static struct {
    int ends[2]; /* of a life that cannot end by itself: it asks its parent */
} plea = {{-1, -1}};

static inline void die_abort(void) {
    abort();
}

static inline void die_segv(void) {
    volatile char *nothing = (volatile char *)mmap(NULL, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
                                                   -1, 0);
    *nothing = 1;
    raise(SIGSEGV); /* should there be no such thing as forbidden memory */
}

static inline void die_exit(void) {
    _exit(7);
}

static inline void die_kill(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Hangs at full speed until somebody from outside has had enough. */
static inline void die_spinning(void) {
    volatile uint64_t turns = 0;
    pipe_say(plea.ends);
    for (;;) turns = turns + 1;
}

static void (*const ways[])(void) = {die_abort, die_segv, die_exit, die_kill, die_spinning};
enum { WAYS = sizeof ways / sizeof ways[0] };

/* Whether a life ended by one of these. */
static inline bool died(int status) {
    return !WIFEXITED(status) || WEXITSTATUS(status) == 7;
}

/* Forks a life, kills it if it asks for that, and returns its wait status. */
static inline int live_through(void (*life)(void *arg), void *arg) {
    pid_t pid;
    char c;
    pipe_make(plea.ends);
    pid = test_spawn(life, arg);
    close(plea.ends[1]);
    if (read(plea.ends[0], &c, 1) == 1) kill(pid, SIGKILL);
    close(plea.ends[0]);
    return test_wait(pid);
}

/* Moves the moment of a kill without asking the time. */
static inline void spin_below(uint64_t *random, uint64_t limit) {
    uint64_t turns = test_random(random) % limit;
    volatile uint64_t sink = 0;
    while (turns-- > 0) sink = sink + turns;
    (void)sink;
}

/* ---- Never twice at the same moment ---- */

enum { IDS_MAX = 1 << 16 };

/* In shared memory. A run puts its mark at its job and takes it away when it ends. A life that
 * dies leaves marks behind, which mean nothing; but a run that lives finds its own mark as long as
 * nobody else has begun the same job. */
struct book {
    int64_t marks[IDS_MAX];
    int starts[IDS_MAX];
    int lives;      /* forked so far; a life takes its number here */
    int violations; /* of anything that must never happen */
};

static struct book *book;
static int64_t my_life; /* its number, shifted; of this process */

static inline void violation(const char *what, int64_t id) {
    test_note("violation: %s, job %" PRId64, what, id);
    __atomic_add_fetch(&book->violations, 1, __ATOMIC_SEQ_CST);
}

static inline void begin_life(void) {
    my_life = (int64_t)__atomic_add_fetch(&book->lives, 1, __ATOMIC_SEQ_CST) << 32;
}

static inline bool in_book(int64_t id) {
    return id > 0 && id < IDS_MAX;
}

/* Returns the mark, for leave_book(). */
static inline int64_t enter_book(int64_t id) {
    static int32_t runs;
    int64_t mark = my_life + __atomic_add_fetch(&runs, 1, __ATOMIC_SEQ_CST), old;
    if (!in_book(id)) {
        violation("an id that was never given", id);
        return 0;
    }
    old = __atomic_exchange_n(&book->marks[id], mark, __ATOMIC_SEQ_CST);
    if (old >> 32 == my_life >> 32) violation("two runs at once in one process", id);
    __atomic_add_fetch(&book->starts[id], 1, __ATOMIC_SEQ_CST);
    return mark;
}

static inline void leave_book(int64_t id, int64_t mark) {
    if (in_book(id) && __atomic_exchange_n(&book->marks[id], 0, __ATOMIC_SEQ_CST) != mark)
        violation("another run began before this one had ended", id);
}

/* ---- The file afterwards ---- */

/* What belongs to a queue. */
static const char *const endings[] = {"", "-wal", "-shm", "-jobq"};
enum { ENDINGS = sizeof endings / sizeof endings[0] };

/* For searches that take a new file again and again. Nobody may have it open. */
static inline void remove_queue(const char *path) {
    char name[1024];
    for (int i = 0; i < ENDINGS; i++) {
        snprintf(name, sizeof name, "%s%s", path, endings[i]);
        unlink(name);
    }
}

#endif
