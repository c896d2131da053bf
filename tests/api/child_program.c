/* child_program.c - a program that an owner starts does not inherit the ownership.
 *
 * An application starts other programs, and they may live longer than it does. Unlike a forked
 * child (api/fork.c) such a program runs no code of ours, so nothing of the queue may be open in
 * it: else the lock would live on in a compiler or a mail program, and the file with it. */
#include "helpers.h"

#include <spawn.h>

extern char **environ;

struct start {
    const char *path;
    int ready[2], end[2], never[2];
};

/* A program that reads one byte, and ends. */
static void start_program(const struct start *s) {
    char *const args[] = {(char *)"sh", (char *)"-c",
                          (char *)"dd bs=1 count=1 >/dev/null 2>&1", NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid = 0;
    CHECK_INT(posix_spawn_file_actions_init(&actions), 0);
    CHECK_INT(posix_spawn_file_actions_adddup2(&actions, s->end[0], 0), 0);
    CHECK_INT(posix_spawnp(&pid, "sh", &actions, NULL, args, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
}

static void own_and_start(void *arg) {
    struct start *s = (struct start *)arg;
    jobq *q = NULL;
    REQUIRE_CODE(jobq_open(s->path, NULL, &q, NULL), JOBQ_OK);
    handle(q, "k", do_nothing, NULL);
    start(q);
    put(q, "k");
    start_program(s);
    pipe_say(s->ready);
    pipe_hear(s->never);
}

/* Goal: when the owner is gone the file is free, though a program that it started lives on. Method:
 * kill the owner, open, and only then let the program end. */
TEST(started_program_holds_no_lock) {
    struct start s = {.path = test_path("q.db")};
    jobq *q = NULL;
    pid_t owner;
    pipe_make(s.ready);
    pipe_make(s.end);
    pipe_make(s.never);
    owner = test_spawn(own_and_start, &s);
    pipe_hear(s.ready);
    kill(owner, SIGKILL);
    test_wait(owner);
    WORKS(jobq_open(s.path, &(jobq_options){.workers = JOBQ_NONE}, &q, &err));
    pipe_say(s.end);
    if (q) {
        handle(q, "k", do_nothing, NULL);
        put(q, "k");
        CHECK(drain(q) >= 1);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
    }
    pipe_free(s.ready);
    pipe_free(s.end);
    pipe_free(s.never);
}

TEST_MAIN(started_program_holds_no_lock)
