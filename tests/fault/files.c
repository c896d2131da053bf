/* files.c - files that are taken away or cut short under a running queue, and places where none
 * should be.
 *
 * SQLite goes on writing into a file that was renamed, replaced or deleted, and behind the end of a
 * log that was cut, and says OK; nobody will ever find those jobs. jobq looks at the database, its
 * log, the log's memory and its lock file before a commit, at most every 10 ms. These tests wait
 * that long between two calls (the only real time in them), because what happens within it is not
 * promised. Real files. */
#include "helpers.h"

#include <fcntl.h>

#ifdef __linux__
#include <sys/vfs.h>

static long pretended_type; /* of the file system; 0: the true one */

/* Stands before the system's own. */
int statfs(const char *path, struct statfs *st) {
    (void)path;
    memset(st, 0, sizeof *st);
    st->f_type = (__typeof__(st->f_type))pretended_type;
    return 0;
}
#endif

static int cut_in; /* so many looks at a log from now it is copied and cut off; 0: never */

/* Stands before the system's own, too. */
int lstat(const char *path, struct stat *st) {
    size_t length = strlen(path);
    if (cut_in && length > 4 && strcmp(path + length - 4, "-wal") == 0 && !--cut_in) {
        char db[1024];
        snprintf(db, sizeof db, "%.*s", (int)length - 4, path);
        sql_run(db, "PRAGMA wal_checkpoint(TRUNCATE)");
    }
    return fstatat(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}

static int put_code(jobq *q) {
    return jobq_enqueue(q, &(jobq_job){.kind = "k"}, NULL, NULL);
}

/* Longer than jobq may go on without looking. */
static void let_it_look(void) {
    test_pause_ms(20);
}

static void move(const char *path, const char *ending, const char *to_ending) {
    char from[1024], to[1024];
    snprintf(from, sizeof from, "%s%s", path, ending);
    snprintf(to, sizeof to, "%s%s", path, to_ending);
    CHECK_INT(rename(from, to), 0);
}

static void delete_file(const char *path, const char *ending) {
    char name[1024];
    snprintf(name, sizeof name, "%s%s", path, ending);
    CHECK_INT(unlink(name), 0);
}

/* Another file under its name. */
static void replace_file(const char *path, const char *ending) {
    char name[1024], other[1024];
    FILE *file;
    snprintf(name, sizeof name, "%s%s", path, ending);
    snprintf(other, sizeof other, "%s-other", path);
    file = fopen(other, "wb");
    if (!file) test_give_up(other);
    fclose(file);
    CHECK_INT(rename(other, name), 0);
}

enum what { RENAMED, DELETED, REPLACED };

static void take_away(const char *path, const char *ending, enum what what) {
    if (what == RENAMED) move(path, ending, "-away");
    else if (what == DELETED) delete_file(path, ending);
    else replace_file(path, ending);
}

static bool stands(const char *path) {
    return access(path, F_OK) == 0;
}

static const char *const endings[] = {"", "-wal", "-shm", "-jobq"};
enum { FILES = sizeof endings / sizeof endings[0] };

/* Goal: no job is acknowledged that nobody will find, the reason is told, and nothing is made or
 * deleted under the old names. Method: each file, renamed, deleted and replaced; step mode. */
TEST(step_mode_stops_when_a_file_is_gone) {
    for (int what = RENAMED; what <= REPLACED; what++) {
        for (size_t i = 0; i < FILES; i++) {
            fixture f;
            char name[1024];
            int ran = 7;
            REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE}));
            handle(f.q, "k", do_nothing, NULL);
            put(f.q, "k");
            take_away(f.path, endings[i], (enum what)what);
            let_it_look();
            FAILS(JOBQ_MOVED, jobq_enqueue(f.q, &(jobq_job){.kind = "k"}, NULL, &err));
            FAILS(JOBQ_MOVED, jobq_step(f.q, &ran, &err));
            CHECK_INT(ran, 0);
            CHECK_INT(stats_of(f.q).failed_code, JOBQ_MOVED);
            CHECK_CODE(jobq_close(&f.q), JOBQ_OK);
            snprintf(name, sizeof name, "%s%s", f.path, endings[i]);
            CHECK_INT(stands(name), what == REPLACED);
            test_remove(f.path);
            jobq_clock_free(f.clock);
            for (size_t k = 0; k < FILES; k++) {
                snprintf(name, sizeof name, "%s%s", f.path, endings[k]);
                test_remove(name);
            }
        }
    }
}

/* Goal: a pool stops too: no job starts after the file has gone, and whoever waits is told. Method:
 * delete the database, then a job that was scheduled falls due. */
TEST(pool_stops_when_the_file_is_gone) {
    fixture f;
    int64_t id;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 2}));
    handle(f.q, "k", do_nothing, NULL);
    WORKS(jobq_start(f.q, &err));
    WORKS(jobq_enqueue(f.q, &(jobq_job){.kind = "k", .delay_ms = JOBQ_HOUR}, &id, &err));
    delete_file(f.path, "");
    let_it_look();
    FAILS(JOBQ_MOVED, jobq_advance(f.q, 2 * JOBQ_HOUR, NULL, &err));
    FAILS(JOBQ_MOVED, jobq_wait(f.q, id, JOBQ_NEVER, NULL, &err));
    CHECK_INT(stats_of(f.q).started, 0);
    WORKS(jobq_stop(f.q, JOBQ_NEVER, &err));
    fixture_close(&f);
    CHECK(!stands(f.path));
}

/* Goal: an owner that has nothing to do, but looks for others' jobs, stops as well: somebody else
 * may own the queue of that name by now. Method: all files are deleted and another queue is opened
 * by that path; step mode, where a step looks, and a pool, which looks by itself and is given no
 * call that would. */
TEST(idle_owner_notices) {
    for (int workers = JOBQ_NONE; workers <= 1; workers += 2) {
        jobq *second = NULL;
        fixture f;
        int ran;
        REQUIRE(fixture_open(&f, (jobq_options){.workers = workers, .shared = true,
                                                .poll_ms = 10}));
        handle(f.q, "k", do_nothing, NULL);
        if (workers > 0) start(f.q);
        else WORKS(jobq_step(f.q, &ran, &err));
        for (size_t i = 0; i < FILES; i++) delete_file(f.path, endings[i]);
        WORKS(jobq_open(f.path, &f.options, &second, &err));
        REQUIRE(second != NULL);
        let_it_look();
        if (workers > 0)
            for (int n = 0; n < 999 && !stats_of(f.q).failed_code; n++) test_pause_ms(20);
        else FAILS(JOBQ_MOVED, jobq_step(f.q, &ran, &err));
        CHECK_INT(stats_of(f.q).failed_code, JOBQ_MOVED);
        CHECK_CODE(put_code(f.q), JOBQ_MOVED);
        CHECK_CODE(jobq_close(&f.q), JOBQ_OK);
        CHECK_INT(put(second, "k"), 1);
        f.q = second;
        fixture_remove(&f);
    }
}

/* Goal: a renamed database goes on under its new name, and all that was acknowledged is there, if
 * its log is taken along. Method: rename both, open again. */
TEST(renamed_with_its_log) {
    fixture f;
    char moved[1024];
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE}));
    for (int i = 0; i < 20; i++) put(f.q, "k");
    move(f.path, "", "-away");
    move(f.path, "-wal", "-away-wal");
    let_it_look();
    CHECK_CODE(put_code(f.q), JOBQ_MOVED);
    CHECK_CODE(jobq_close(&f.q), JOBQ_OK);
    snprintf(moved, sizeof moved, "%s-away", f.path);
    WORKS(jobq_open(moved, &f.options, &f.q, &err));
    CHECK_INT(total(f.q), 20);
    fixture_close(&f);
}

/* A process that was forked before the file was opened: what it does when it is told to. */
static struct {
    const char *path;
    int go[2], told[2];
} other;

static pid_t start_other(void (*fn)(void *arg)) {
    other.path = test_path("q.db");
    pipe_make(other.go);
    pipe_make(other.told);
    return test_spawn(fn, NULL);
}

static void end_other(pid_t pid) {
    CHECK_INT(test_wait(pid), 0);
    pipe_free(other.go);
    pipe_free(other.told);
}

static void own_when_told(void *arg) {
    jobq *q = NULL;
    (void)arg;
    pipe_hear(other.go);
    WORKS(jobq_open(other.path, &(jobq_options){.workers = JOBQ_NONE}, &q, &err));
    if (q) CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: who has lost the lock file does not run beside a new owner. Method: delete it; a second
 * process becomes the owner, the first one may do nothing more. */
TEST(lock_file_deleted) {
    pid_t second = start_other(own_when_told);
    fixture f;
    int ran = 0;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE}));
    handle(f.q, "k", do_nothing, NULL);
    put(f.q, "k");
    delete_file(f.path, "-jobq");
    pipe_say(other.go);
    end_other(second);
    let_it_look();
    FAILS(JOBQ_MOVED, jobq_step(f.q, &ran, &err));
    CHECK_INT(ran, 0);
    fixture_close(&f);
    test_figure("files taken away", "detected, 0 silent acks", "12 of 12: database, log, its memory"
                " and lock file renamed, deleted, replaced: seen before the next commit (10 ms)");
}

/* ---- The log's shared memory ---- */

/* Stores a job of its own each time that it is asked to, as a client that comes and goes. */
static void store_when_asked(void *arg) {
    jobq_options options = {.role = JOBQ_CLIENT, .shared = true};
    (void)arg;
    for (int i = 0; i < 2; i++) {
        jobq *q = NULL;
        pipe_hear(other.go);
        WORKS(jobq_open(other.path, &options, &q, &err));
        REQUIRE(q != NULL);
        put(q, "theirs");
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
        pipe_say(other.told);
    }
}

/* Goal: two who share no memory any more do not write over each other: where the log ends the one
 * of them knows from a file that the other does not see. Method: the owner's -shm is deleted, a
 * process that comes then makes a new one and stores; every job that was acknowledged is found. */
TEST(who_lost_the_shared_memory_writes_nothing) {
    pid_t client = start_other(store_when_asked);
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .shared = true}));
    CHECK_STR(f.path, other.path);
    CHECK_INT(put(f.q, "ours"), 1);
    delete_file(f.path, "-shm");
    for (int i = 0; i < 2; i++) {
        pipe_say(other.go);
        pipe_hear(other.told);
        let_it_look();
        CHECK_CODE(put_code(f.q), JOBQ_MOVED);
    }
    end_other(client);
    CHECK_CODE(jobq_close(&f.q), JOBQ_OK);
    WORKS(jobq_open(f.path, &f.options, &f.q, &err));
    CHECK_INT(total(f.q), 3);
    CHECK_INT(put(f.q, "ours"), 4);
    fixture_close(&f);
}

/* ---- Files that are cut short ---- */

static int64_t size_of(const char *path, const char *ending) {
    char name[1024];
    struct stat st;
    snprintf(name, sizeof name, "%s%s", path, ending);
    return stat(name, &st) ? -1 : (int64_t)st.st_size;
}

static void cut(const char *path, const char *ending, int64_t size) {
    char name[1024];
    snprintf(name, sizeof name, "%s%s", path, ending);
    CHECK_INT(truncate(name, (off_t)size), 0);
}

/* Goal: nothing is acknowledged into a log that was cut: what is written behind the cut nobody will
 * find. Method: to nothing, and to a part, under an owner, a client beside it, and an owner that
 * has the file for itself. */
TEST(log_cut_short) {
    for (int row = 0; row < 6; row++) {
        jobq_options options = {.role = JOBQ_CLIENT, .shared = true};
        jobq *client = NULL, *who;
        fixture f;
        REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .shared = row < 4,
                                                .exclusive = row >= 4}));
        handle(f.q, "k", do_nothing, NULL);
        if (row / 2 == 1) WORKS(jobq_open(f.path, &options, &client, &err));
        who = client ? client : f.q;
        put(who, "k");
        CHECK_INT(drain(f.q), 1);
        cut(f.path, "-wal", row % 2 ? size_of(f.path, "-wal") - 100 : 0);
        let_it_look();
        if (!CHECK_CODE(put_code(who), JOBQ_MOVED)) test_note("row %d", row);
        CHECK_INT(stats_of(who).failed_code, JOBQ_MOVED);
        CHECK_CODE(put_code(f.q), JOBQ_MOVED);
        if (client) CHECK_CODE(jobq_close(&client), JOBQ_OK);
        fixture_remove(&f);
    }
}

/* Goal: if it was not seen at once, because jobq had looked a moment ago, it is seen at the next
 * look, although the log is as long as it should be again. Method: on a slow machine it may be seen
 * at once, and then once more. */
TEST(log_that_was_cut_and_grew_again) {
    bool written = false;
    for (int i = 0; i < 50 && !written; i++) {
        fixture f;
        REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .durability = JOBQ_RELAXED}));
        put(f.q, "k");
        let_it_look();
        put(f.q, "k");
        cut(f.path, "-wal", 0);
        written = put_code(f.q) == JOBQ_OK;
        let_it_look();
        CHECK_CODE(put_code(f.q), JOBQ_MOVED);
        fixture_remove(&f);
    }
    CHECK(written);
}

static void cut_memory(void *arg) {
    const bool polls = *(const bool *)arg;
    int64_t from_ms = test_real_ms();
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = polls ? 1 : JOBQ_NONE, .shared = true,
                                            .poll_ms = polls ? 50 : 0}));
    put(f.q, "k");
    if (polls) start(f.q);
    if (polls) advance(f.q, 1); /* until the scheduler waits, the first look behind it */
    cut(f.path, "-shm", 0);
    let_it_look();
    while (polls && stats_of(f.q).failed_code != JOBQ_MOVED && test_real_ms() < from_ms + 60000)
        test_pause_ms(1);
    CHECK_CODE(put_code(f.q), JOBQ_MOVED);
    CHECK_INT(stats_of(f.q).failed_code, JOBQ_MOVED);
    CHECK_CODE(jobq_close(&f.q), JOBQ_OK);
}

/* Goal: who writes, or polls, does not touch shared memory that was cut short: the system ends a
 * process that does. Method: in a child. */
TEST(shared_memory_cut_short) {
    for (int polls = 0; polls < 2; polls++) {
        bool arg = polls != 0;
        CHECK_INT(test_fork(cut_memory, &arg), 0);
        test_remove(test_path("q.db"));
    }
}

static void cut_lock(void *arg) {
    const int size = *(const int *)arg;
    jobq_options options = {.role = JOBQ_CLIENT, .shared = true};
    jobq *client = NULL;
    jobq_info info;
    fixture f;
    int64_t id;
    int rc;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .shared = true}));
    WORKS(jobq_open(f.path, &options, &client, &err));
    REQUIRE(client != NULL);
    handle(f.q, "k", do_nothing, NULL);
    id = put(f.q, "k");
    cut(f.path, "-jobq", size);
    let_it_look();
    CHECK_CODE(put_code(f.q), JOBQ_MOVED);
    CHECK_INT(stats_of(f.q).failed_code, JOBQ_MOVED);
    rc = put_code(client);
    if (rc != JOBQ_OK) CHECK_CODE(rc, JOBQ_UNSAFE_SQLITE);
    CHECK_CODE(jobq_get(client, id, &info, NULL), JOBQ_OK);
    jobq_mark_exit();
    CHECK_CODE(jobq_close(&f.q), JOBQ_OK);
    /* The next owner makes it whole again, and the client hears of it. */
    WORKS(jobq_open(f.path, &(jobq_options){.workers = JOBQ_NONE, .shared = true}, &f.q, &err));
    REQUIRE(f.q != NULL);
    CHECK_CODE(put_code(client), JOBQ_OK);
    CHECK_CODE(jobq_close(&client), JOBQ_OK);
    CHECK_CODE(jobq_close(&f.q), JOBQ_OK);
}

/* Goal: a lock file that is cut short is as good as gone, to its owner and to a client that writes,
 * and none of them touches it any more: the system would end the process. Method: to nothing and to
 * a part, in children. */
TEST(lock_file_cut_short) {
    for (int size = 0; size < 200; size += 100) {
        if (!CHECK_INT(test_fork(cut_lock, &size), 0)) test_note("to %d bytes", size);
        test_remove(test_path("q.db"));
        test_remove(test_path("q.db-jobq"));
    }
}

/* Copies the log and cuts it off, and writes in between, until it is told to end. */
static void copy_and_cut(void *arg) {
    (void)arg;
    pipe_hear(other.go);
    for (int i = 0; i < 200; i++) {
        sql_run(other.path, "PRAGMA busy_timeout = 10000; INSERT INTO mine VALUES(1)");
        sql_run(other.path, "PRAGMA busy_timeout = 10000; PRAGMA wal_checkpoint(TRUNCATE)");
    }
    pipe_say(other.told);
}

/* Goal: others may copy the log and cut it off whenever they like, as SQLite does. Method: a
 * process that does nothing else, while jobs are stored and run, each after a look. */
TEST(log_cut_off_by_who_has_copied_it) {
    pid_t copier = start_other(copy_and_cut);
    fixture f;
    int64_t stored = 0;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .shared = true,
                                            .durability = JOBQ_RELAXED}));
    handle(f.q, "k", do_nothing, NULL);
    sql_run(f.path, "CREATE TABLE mine(n)");
    pipe_say(other.go);
    for (int i = 0; i < 100; i++) {
        put(f.q, "k");
        stored++;
        test_pause_ms(11);
        drain(f.q);
    }
    pipe_hear(other.told);
    end_other(copier);
    CHECK_INT(stats_of(f.q).failed_code, JOBQ_OK);
    CHECK_INT(count_all(f.q).done, stored);
    fixture_close(&f);
}

/* Goal: the same if that happens in the midst of a look. Method: the second time that a log is
 * looked at in it, which is when its length is asked for. */
TEST(log_cut_off_during_a_look) {
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .shared = true}));
    put(f.q, "k");
    let_it_look();
    cut_in = 2;
    CHECK_CODE(put_code(f.q), JOBQ_OK);
    if (cut_in) test_skip("lstat is no function that can be replaced here");
    cut_in = 0;
    CHECK_INT(stats_of(f.q).failed_code, JOBQ_OK);
    CHECK_INT(total(f.q), 2);
    fixture_close(&f);
}

/* Goal: an owner that has the file for itself shares no memory: what stands there is left over, and
 * may be deleted. Method: a -shm of before, deleted under an exclusive owner. */
TEST(shared_memory_that_is_left_over_may_go) {
    fixture f;
    char name[1024];
    FILE *file;
    snprintf(name, sizeof name, "%s-shm", test_path("q.db"));
    file = fopen(name, "wb");
    if (!file) test_give_up(name);
    fclose(file);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .exclusive = true}));
    put(f.q, "k");
    CHECK(stands(name));
    unlink(name);
    let_it_look();
    CHECK_CODE(put_code(f.q), JOBQ_OK);
    fixture_close(&f);
}

/* Goal: no queue on a network. Method: the operating system tells of each kind of file system. */
TEST(network_file_systems_are_refused) {
#ifdef __linux__
    static const long remote[] = {0x6969, 0x517B, (long)0xFF534D42, (long)0xFE534D42, 0x01021997,
                                  0x65735546, 0x00C36400};
    static const long local[] = {0xEF53, 0x58465342, (long)0x9123683E, 0x01021994, 0x794C7630,
                                 0x2FC12FC1};
    const char *path = test_path("q.db");
    jobq *q = NULL;
    for (size_t i = 0; i < sizeof remote / sizeof remote[0]; i++) {
        pretended_type = remote[i];
        FAILS(JOBQ_REMOTE, jobq_open(path, NULL, &q, &err));
        CHECK(!q);
        WORKS(jobq_open(path, &(jobq_options){.remote = true}, &q, &err));
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
    }
    for (size_t i = 0; i < sizeof local / sizeof local[0]; i++) {
        pretended_type = local[i];
        WORKS(jobq_open(path, NULL, &q, &err));
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
    }
    pretended_type = 0;
#else
    test_note("only for Linux: there are no names of other systems to pretend");
#endif
}

TEST_MAIN(step_mode_stops_when_a_file_is_gone, pool_stops_when_the_file_is_gone,
          idle_owner_notices, renamed_with_its_log, lock_file_deleted,
          who_lost_the_shared_memory_writes_nothing,
          log_cut_short, log_that_was_cut_and_grew_again, shared_memory_cut_short,
          lock_file_cut_short,
          log_cut_off_by_who_has_copied_it, log_cut_off_during_a_look,
          shared_memory_that_is_left_over_may_go, network_file_systems_are_refused)
