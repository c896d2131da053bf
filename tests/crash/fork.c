/* fork.c - children that are forked beside threads which open, close, enqueue and run.
 *
 * Promised: whatever a thread was about when another one forked, the child's calls do not hang, it
 * keeps no lock of its parent, and the parent loses nothing. Broken on purpose: forks at moments
 * that nobody has chosen, again and again, and parents that close or are killed beside children
 * that live. Counted: jobs, and who can own the file afterwards. */
#include "crash.h"

enum { FORKS = 30, PRODUCERS = 2, ROUNDS = 10, CHILDREN = 20, OPENERS = 40, HEIRS = 8 };

static struct {
    const char *path;
    int ready[2], leave[2], left[2], never[2];
} scene;

static void set_scene(void) {
    scene.path = test_path("q.db");
    pipe_make(scene.ready);
    pipe_make(scene.leave);
    pipe_make(scene.left);
    pipe_make(scene.never);
}

static void clear_scene(void) {
    pipe_free(scene.ready);
    pipe_free(scene.leave);
    pipe_free(scene.left);
    pipe_free(scene.never);
}

/* What every child does. Only what it says itself shows that it has let go of its inheritance. */
static void stay(void *arg) {
    (void)arg;
    pipe_say(scene.ready);
    pipe_hear(scene.leave);
    pipe_say(scene.left);
}

static void send_away(int children) {
    for (int i = 0; i < children; i++) pipe_say(scene.leave);
    hear(scene.left, children);
}

static jobq *open_queue(int workers) {
    return open_pool(scene.path, workers);
}

/* Owns after the others, and runs a job. */
static void take_over(void *arg) {
    jobq *q = open_queue(JOBQ_NONE);
    (void)arg;
    REQUIRE(q != NULL);
    run_one_and_close(&q);
    check_sound(scene.path);
}

/* ---- Beside threads that enqueue and run ---- */

struct producer {
    jobq *q;
    int32_t *stop;
    int64_t made;
};

static void *produce(void *arg) {
    struct producer *p = (struct producer *)arg;
    while (!__atomic_load_n(p->stop, __ATOMIC_SEQ_CST)) p->made += put(p->q, "k") > 0;
    return NULL;
}

/* One call for each lock that a thread may have held: the baton, the pool, the reader, events. */
static void try_the_locks(void *arg) {
    jobq *q = (jobq *)arg;
    jobq_stats stats;
    jobq_info info;
    FAILS(JOBQ_FORKED, jobq_enqueue(q, &(jobq_job){.kind = "k"}, NULL, &err));
    FAILS(JOBQ_FORKED, jobq_stat(q, &stats, &err));
    FAILS(JOBQ_FORKED, jobq_get(q, 1, &info, &err));
    FAILS(JOBQ_FORKED, jobq_wait(q, 1, JOBQ_NEVER, &info, &err));
    FAILS(JOBQ_FORKED, jobq_stop(q, JOBQ_NEVER, &err));
    CHECK_CODE(jobq_close(&q), JOBQ_FORKED);
}

static void check_all_done(jobq *q, int64_t made) {
    jobq_counts c;
    finish(q, put(q, "k"));
    WORKS(jobq_stop(q, JOBQ_NEVER, &err));
    start(q);
    for (int64_t id = 1; id <= made + 1; id++) CHECK_INT(finish(q, id).runs, 1);
    c = count_all(q);
    CHECK_INT(c.done, made + 1);
    CHECK_INT(total(q), made + 1);
}

/* Goal: forking while threads enqueue, commit and run hurts neither side. Method: threads that
 * enqueue without end while the main thread forks. */
TEST(forked_beside_busy_threads) {
    struct producer producers[PRODUCERS];
    pthread_t threads[PRODUCERS];
    int32_t stop = 0;
    int64_t made = 0, forks = test_effort(FORKS);
    jobq *q;
    set_scene();
    q = open_queue(2);
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    start(q);
    for (int i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){q, &stop, 0};
        threads[i] = thread_start(produce, &producers[i]);
    }
    for (int64_t i = 0; i < forks; i++) CHECK_INT(test_fork(try_the_locks, q), 0);
    __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < PRODUCERS; i++) {
        pthread_join(threads[i], NULL);
        made += producers[i].made;
    }
    check_all_done(q, made);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    CHECK_INT(test_fork(take_over, NULL), 0);
    clear_scene();
    test_figure("forks beside threads", "no hang, nothing lost, each job once",
                "%" PRId64 " forks beside %d producers and a pool, %" PRId64 " jobs", forks,
                PRODUCERS, made + 1);
}

/* ---- Beside a thread that opens and closes ---- */

static void *open_and_close(void *arg) {
    const int32_t *stop = (const int32_t *)arg;
    while (!__atomic_load_n(stop, __ATOMIC_SEQ_CST)) {
        jobq *q = open_queue(JOBQ_NONE);
        if (!q) break;
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
    }
    return NULL;
}

/* Goal: once a queue is closed it can be opened again, at once and by anybody, whatever children
 * were forked meanwhile. Method: a thread opens and closes while the main thread forks children
 * that stay; when the thread has ended another process owns the queue beside all of them. */
TEST(forked_beside_close) {
    set_scene();
    for (int64_t round = test_effort(ROUNDS); round > 0 && test_failures() == 0; round--) {
        pthread_t thread;
        int32_t stop = 0;
        thread = thread_start(open_and_close, &stop);
        for (int i = 0; i < CHILDREN; i++) test_spawn(stay, NULL);
        hear(scene.ready, CHILDREN);
        __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
        pthread_join(thread, NULL);
        CHECK_INT(test_fork(take_over, NULL), 0);
        send_away(CHILDREN);
        while (wait(NULL) > 0) continue;
    }
    clear_scene();
}

/* The queue stays open, and with it whatever the children may have got of it. */
static void *open_and_stay(void *arg) {
    (void)arg;
    CHECK(open_queue(2) != NULL);
    return NULL;
}

/* Forks children while another thread opens. */
static void open_beside_children(void *arg) {
    pthread_t thread;
    (void)arg;
    is_child = true;
    thread = thread_start(open_and_stay, NULL);
    for (int i = 0; i < HEIRS; i++) test_spawn(stay, NULL);
    pthread_join(thread, NULL);
    pipe_say(scene.ready);
    if (test_failures() == 0) pipe_hear(scene.never);
}

/* Goal: a child that was forked while another thread opened the queue, at whatever moment, keeps
 * no lock when its parent is killed. Method: some children for each of many openers. */
TEST(forked_beside_open) {
    set_scene();
    for (int64_t n = test_effort(OPENERS); n > 0 && test_failures() == 0; n--) {
        char name[32];
        pid_t owner;
        snprintf(name, sizeof name, "opener-%d.db", (int)(n % OPENERS));
        scene.path = test_path(name);
        owner = test_spawn(open_beside_children, NULL);
        hear(scene.ready, HEIRS + 1);
        kill(owner, SIGKILL);
        CHECK(was_killed(test_wait(owner)));
        CHECK_INT(test_fork(take_over, NULL), 0);
        send_away(HEIRS);
    }
    clear_scene();
}

TEST_MAIN(forked_beside_busy_threads, forked_beside_close, forked_beside_open)
