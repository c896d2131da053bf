/* small_stack.c - calls keep within the stack that jobq.h promises.
 *
 * Any thread that calls may lead the others' transaction, so any call may need what the largest
 * needs. `make warnings` holds the largest frame. */
#include "helpers.h"

#include <sys/mman.h>

enum { STACK = 1 << 20, PROMISED = 32 << 10, PAINT = 0xa5 };

static void *return_at_once(void *arg) {
    return arg;
}

/* Bytes of stack that a thread with this body has touched. */
static int64_t stack_of(void *(*body)(void *), void *arg) {
    unsigned char *stack = (unsigned char *)mmap(NULL, STACK, PROT_READ | PROT_WRITE,
                                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_attr_t attr;
    pthread_t thread = pthread_self();
    int64_t untouched = 0;
    if (stack == MAP_FAILED) test_give_up("mmap");
    memset(stack, PAINT, STACK);
    pthread_attr_init(&attr);
    if (pthread_attr_setstack(&attr, stack, STACK)
        || pthread_create(&thread, &attr, body, arg)) test_give_up("pthread_create");
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attr);
    while (untouched < STACK && stack[untouched] == PAINT) untouched++;
    munmap(stack, STACK);
    return STACK - untouched;
}

static void *call_everything(void *arg) {
    enum { JOBS = 300 };
    jobq_clock *clock = jobq_clock_artificial(T0);
    jobq_options options = {.workers = JOBQ_NONE, .durability = JOBQ_RELAXED, .clock = clock,
                            .keep_max = JOBS / 2};
    jobq_filter filter = {0}, page = {.state = JOBQ_STATE_PENDING, .queue = "other"};
    jobq_cursor cursor = {0}, again = {0}, more = {0};
    jobq_info infos[8];
    size_t count;
    int64_t id;
    jobq *q = NULL;
    WORKS(jobq_open((const char *)arg, &options, &q, &err));
    if (!q) return NULL;
    handle(q, "k", do_nothing, NULL);
    id = put_job(q, (jobq_job){.kind = "parked", .key = "a", .payload = "abc", .size = 3});
    for (int i = 0; i < JOBS; i++) put(q, "k");
    put_job(q, (jobq_job){.kind = "k", .delay_ms = 1});
    WORKS(jobq_list(q, &filter, &cursor, infos, 8, &count, &err));
    CHECK_INT(count, 8);
    WORKS(jobq_list(q, &(jobq_filter){.kind = "parked", .key = "a"}, &again, infos, 8, &count,
                    &err));
    CHECK_INT(count, 1);
    put_job(q, (jobq_job){.kind = "k", .queue = "other"});
    WORKS(jobq_list(q, &page, &more, infos, 8, &count, &err)); /* leaves a lane */
    CHECK_INT(count, 1);
    CHECK_INT(look(q, id).state, JOBQ_STATE_PENDING);
    WORKS(jobq_cancel(q, id, &err));
    WORKS(jobq_retry_now(q, id, &err));
    drain(q);
    CHECK(count_all(q).done > 0);
    advance(q, 400 * JOBQ_DAY); /* what was kept is pruned */
    CHECK_INT(count_all(q).done, 0);
    WORKS(jobq_delete(q, id, &err));
    close_queue(&q);
    jobq_clock_free(clock);
    return NULL;
}

/* Goal: opening, storing, listing, changing, running and closing need no more stack than jobq.h
 * says. Method: a painted stack, 20 times, also through a link; what an empty thread touches is not
 * counted. The sanitizers make frames larger. */
TEST(calls_keep_within_their_stack) {
    enum { RUNS = 20 };
    int64_t empty = stack_of(return_at_once, NULL), most = 0;
    const char *path = test_path("q.db"), *other = test_path("link.db");
#ifdef TEST_SANITIZED
    test_skip("frames are larger under a sanitizer");
    return;
#endif
    REQUIRE_INT(symlink(path, other), 0);
    for (int i = 0; i < RUNS; i++) {
        int64_t used = stack_of(call_everything, (void *)(uintptr_t)(i % 2 ? other : path));
        if (used - empty > most) most = used - empty;
    }
    CHECK(most > 1024);
    if (!CHECK(most <= PROMISED)) test_note("%d bytes", (int)most);
    test_figure("stack of a call", "<= 32 KiB", "%d bytes at most, of %d threads", (int)most, RUNS);
}

TEST_MAIN(calls_keep_within_their_stack)
