/* processes.c - several processes write to one queue all the time, and take turns.
 *
 * Promised: an owner and clients that all enqueue as fast as they can get shares of the file that
 * do not differ by more than a factor of two, and none of them is told JOBQ_BUSY. Without turns
 * (amalgamation/turn.h) who lets go of the file for some microseconds only has it nearly always.
 * As in fair_writers.c they go on for longer if the machine is busy: an unfair queue never comes to
 * fair shares. */
#include "crash.h"
#include "stress.h"

#include <fcntl.h>
#include <limits.h>

enum {
    CLIENTS = 3,
    WRITERS = CLIENTS + 1, /* the owner is the last */
    FAIR_MS = 1500,
    FAIR_MS_MIN = 500,
    ROUNDS_MAX = 10,
#ifdef JOBQ_SMALL
    SHARE_GOAL_PERCENT = 10, /* the owner counts all jobs after each commit there, clients do not */
#else
    SHARE_GOAL_PERCENT = 50,
#endif
    WAIT_GOAL_MS = 1000
};

struct process {
    pid_t pid;
    int commits, refused, wait_ms; /* atomic */
};

struct together {
    struct process processes[WRITERS];
    int end; /* atomic */
    int here[2], go[2];
};

struct role {
    struct together *all;
    int index;
};

static void enqueue_until_the_end(void *arg) {
    const struct role *role = (const struct role *)arg;
    struct process *me = &role->all->processes[role->index];
    bool owner = role->index == CLIENTS;
    jobq_options options = {.role = owner ? JOBQ_OWNER : JOBQ_CLIENT, .workers = 1,
                            .durability = JOBQ_RELAXED, .shared = true};
    jobq_job job = {.kind = "later"};
    jobq *q = NULL;
    be_a_child();
    WORKS(jobq_open(test_path("q.db"), &options, &q, &err));
    pipe_say(role->all->here);
    pipe_hear(role->all->go);
    while (q && !read_of(&role->all->end)) {
        int64_t began_ms = test_real_ms(), took_ms;
        int code = jobq_enqueue(q, &job, NULL, NULL);
        took_ms = test_real_ms() - began_ms;
        if (took_ms > read_of(&me->wait_ms)) set_to(&me->wait_ms, (int)took_ms);
        if (code == JOBQ_OK) add_to(&me->commits, 1);
        else add_to(&me->refused, 1);
    }
    if (q) close_queue(&q);
}

static int share_of(struct together *all, int *commits) {
    int least = INT_MAX, most = 0;
    *commits = 0;
    for (int i = 0; i < WRITERS; i++) {
        int n = read_of(&all->processes[i].commits);
        if (n < least) least = n;
        if (n > most) most = n;
        *commits += n;
    }
    return most ? (int)((int64_t)least * 100 / most) : 0;
}

/* Goal: equal shares, nobody refused. Method: three clients and the owner enqueue one by one. */
TEST(processes_take_turns) {
    struct together *all = (struct together *)share(sizeof *all);
    int64_t span_ms = test_effort(FAIR_MS);
    int percent, commits, refused = 0, wait_ms = 0, rounds = 0;
    pipe_make(all->here);
    pipe_make(all->go);
    for (int i = WRITERS - 1; i >= 0; i--) { /* the owner makes the file */
        struct role role = {all, i};
        all->processes[i].pid = test_spawn(enqueue_until_the_end, &role);
        pipe_hear(all->here);
    }
    for (int i = 0; i < WRITERS; i++) pipe_say(all->go);
    do {
        test_pause_ms(span_ms > FAIR_MS_MIN ? span_ms : FAIR_MS_MIN);
        percent = share_of(all, &commits);
    } while (++rounds < ROUNDS_MAX && percent < SHARE_GOAL_PERCENT);
    set_to(&all->end, 1);
    for (int i = 0; i < WRITERS; i++) {
        struct process *p = &all->processes[i];
        CHECK_INT(test_wait(p->pid), 0);
        refused += read_of(&p->refused);
        if (read_of(&p->wait_ms) > wait_ms) wait_ms = read_of(&p->wait_ms);
    }
    share_of(all, &commits);
    CHECK_INT(refused, 0);
    CHECK(commits > 0);
    CHECK(percent >= SHARE_GOAL_PERCENT);
    CHECK_INT(sql_int(test_path("q.db"), "SELECT count(*) FROM jobq_row"), commits);
    test_note("%d commits, the slowest has %d %% of the fastest after %d rounds, the longest wait"
              " was %d ms", commits, percent, rounds, wait_ms);
    test_figure("foreign writers", "min/max >= 0.5, 0 BUSY", "%d clients and the owner: min/max"
                " %d %%, %d commits, %d refused, longest wait %d ms", CLIENTS, percent, commits,
                refused, wait_ms);
    pipe_free(all->here);
    pipe_free(all->go);
    munmap(all, sizeof *all);
}

/* Goal: whatever a process writes into the lock file's word for turns, nobody is refused and
 * nothing is lost. Method: all bytes of the page behind the slots change while jobs are stored. */
TEST(any_word_does_no_harm) {
    enum { JOBS = 300, FROM = 2560, TO = 4096 };
    char path[1024], noise[TO - FROM];
    uint64_t random = test_seed();
    jobq *q = NULL;
    int fd;
    WORKS(jobq_open(test_path("q.db"), &(jobq_options){.shared = true, .workers = 1,
                                                       .durability = JOBQ_RELAXED}, &q, &err));
    REQUIRE(q != NULL);
    snprintf(path, sizeof path, "%s-jobq", test_path("q.db"));
    fd = open(path, O_RDWR);
    REQUIRE(fd >= 0);
    for (int i = 0; i < JOBS; i++) {
        for (size_t k = 0; k < sizeof noise; k++) noise[k] = (char)test_random(&random);
        CHECK(pwrite(fd, noise, sizeof noise, FROM) == (ssize_t)sizeof noise);
        put(q, "later");
    }
    close(fd);
    CHECK_INT(total(q), JOBS);
    close_queue(&q);
}

TEST_MAIN(processes_take_turns, any_word_does_no_harm)
