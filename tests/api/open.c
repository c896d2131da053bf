/* open.c - opening: what is made, what is kept, who may own, which files are refused.
 *
 * Child processes are forked before this process opens the file they share, because
 * SQLite's connections must not be carried across a fork; pipes tell who may go on. */
#include "helpers.h"

/* ---- Creating and opening again ---- */

/* Goal: open makes a queue file of mode 0600 with a lock file beside it, close clears the
 * handle and deletes nothing. Method: no umask, then look at the files. */
TEST(open_creates_a_private_file) {
    const char *path = test_path("new.db");
    jobq *q = NULL;
    struct stat st;
    mode_t mask = umask(0);
    WORKS(jobq_open(path, NULL, &q, &err));
    umask(mask);
    CHECK(q != NULL);
    REQUIRE(stat(path, &st) == 0);
    CHECK(S_ISREG(st.st_mode));
    CHECK_INT(st.st_mode & 07777, 0600);
    CHECK(exists(test_path("new.db-jobq")));
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    CHECK(q == NULL);
    CHECK(exists(path));
    CHECK(exists(test_path("new.db-jobq")));
}

/* Goal: the file that is left is a sound SQLite database with a stamp of its version.
 * Method: work a little, close, ask SQLite. */
TEST(closed_file_is_a_sound_database) {
    fixture f;
    char text[64];
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE}));
    handle(f.q, "k", do_nothing, NULL);
    put(f.q, "k");
    put(f.q, "k");
    CHECK_INT(drain(f.q), 2);
    fixture_close(&f);
    sql_text(f.path, "PRAGMA integrity_check", text, sizeof text);
    CHECK_STR(text, "ok");
    CHECK_INT(sql_int(f.path, "SELECT count(*) FROM jobq_meta WHERE key='schema'"), 1);
    CHECK_INT(sql_int(f.path, "PRAGMA user_version"), 0);
}

/* Goal: without options: 4 workers, an owner, the system's clock. Method: open with NULL,
 * start, ask the statistics, run a job. */
TEST(defaults_run_jobs) {
    jobq *q = NULL;
    jobq_stats s;
    jobq_info info;
    int64_t id;
    WORKS(jobq_open(test_path("q.db"), NULL, &q, &err));
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    CHECK(!stats_of(q).started_now);
    start(q);
    s = stats_of(q);
    CHECK(s.started_now);
    CHECK_INT(s.workers, 4);
    CHECK_CODE(s.failed_code, JOBQ_OK);
    id = put(q, "k");
    info = finish(q, id);
    CHECK_INT(info.state, JOBQ_STATE_DONE);
    CHECK(info.created_at_ms > T0); /* the system's clock stands later than 2023 */
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: what was acknowledged is there after reopening, with every field. Method: three
 * different jobs, close, open, compare. */
TEST(reopening_keeps_jobs) {
    fixture f;
    int64_t plain, rich, later;
    jobq_info info;
    char payload[8];
    size_t size = 0;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE}));
    plain = put(f.q, "plain");
    rich = put_job(f.q, (jobq_job){.kind = "rich", .queue = "side", .payload = "a\0b",
                                   .size = 3, .priority = -7, .key = "k1"});
    later = put_job(f.q, (jobq_job){.kind = "plain", .delay_ms = JOBQ_HOUR});
    REQUIRE(fixture_reopen(&f));
    CHECK_INT(total(f.q), 3);
    info = look(f.q, plain);
    CHECK_INT(info.state, JOBQ_STATE_PENDING);
    CHECK_STR(info.queue, "default");
    info = look(f.q, rich);
    CHECK_STR(info.kind, "rich");
    CHECK_STR(info.queue, "side");
    CHECK_STR(info.key, "k1");
    CHECK_INT(info.priority, -7);
    CHECK_INT(info.created_at_ms, T0);
    CHECK_CODE(jobq_get_payload(f.q, rich, payload, sizeof payload, &size, NULL), JOBQ_OK);
    CHECK_INT(size, 3);
    CHECK_MEM(payload, "a\0b", 3);
    CHECK_INT(look(f.q, later).run_at_ms, T0 + JOBQ_HOUR);
    fixture_close(&f);
}

/* Goal: terminal states, attempts and messages survive as well. Method: a job that is done,
 * one that failed, one that waits for its second attempt; close and open. */
TEST(reopening_keeps_outcomes) {
    static const jobq_outcome fail = JOBQ_FAIL, retry = JOBQ_RETRY;
    fixture f;
    int64_t done, failed, waiting, run_at;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE}));
    handle(f.q, "done", do_nothing, NULL);
    handle(f.q, "fail", answer, (void *)(uintptr_t)&fail);
    handle(f.q, "retry", answer, (void *)(uintptr_t)&retry);
    done = put(f.q, "done");
    failed = put(f.q, "fail");
    waiting = put(f.q, "retry");
    CHECK_INT(drain(f.q), 3);
    run_at = look(f.q, waiting).run_at_ms;
    REQUIRE(fixture_reopen(&f));
    CHECK_INT(state_of(f.q, done), JOBQ_STATE_DONE);
    CHECK_INT(look(f.q, done).finished_at_ms, T0);
    CHECK_INT(state_of(f.q, failed), JOBQ_STATE_FAILED);
    CHECK_INT(state_of(f.q, waiting), JOBQ_STATE_PENDING);
    CHECK_INT(look(f.q, waiting).attempt, 2);
    CHECK_INT(look(f.q, waiting).run_at_ms, run_at);
    fixture_close(&f);
}

/* Goal: a file of no bytes is as good as none, and gets the settings of a new one. Method: make
 * one, open it; ask SQLite what it finds. */
TEST(empty_file_becomes_a_queue) {
    const char *path = test_path("empty.db");
    FILE *file = fopen(path, "w");
    jobq *q = NULL;
    REQUIRE(file != NULL);
    fclose(file);
    WORKS(jobq_open(path, &(jobq_options){.workers = JOBQ_NONE, .page_size = 1024}, &q, &err));
    REQUIRE(q != NULL);
    put(q, "k");
    CHECK_INT(total(q), 1);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    CHECK_INT(sql_int(path, "PRAGMA page_size"), 1024);
    CHECK_INT(sql_int(path, "PRAGMA auto_vacuum"), 2);
    CHECK(sql_int(path, "PRAGMA application_id") != 0);
}

/* Goal: path and options are copied. Method: spoil both after open, then work. */
TEST(arguments_are_copied) {
    char path[1024];
    jobq_options options = {.workers = JOBQ_NONE, .payload_max = 100};
    jobq *q = NULL;
    int64_t id;
    snprintf(path, sizeof path, "%s", test_path("q.db"));
    WORKS(jobq_open(path, &options, &q, &err));
    REQUIRE(q != NULL);
    memset(path, 'x', sizeof path - 1);
    memset(&options, 0x55, sizeof options);
    handle(q, "k", do_nothing, NULL);
    id = put(q, "k");
    CHECK_INT(drain(q), 1);
    CHECK_INT(state_of(q, id), JOBQ_STATE_DONE);
    CHECK_INT(total(q), 1);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    CHECK(exists(test_path("q.db")));
}

/* Goal: names of kinds and their options are copied too. Method: register out of a buffer
 * that is overwritten. */
TEST(kinds_are_copied) {
    fixture f;
    char name[16] = "first";
    jobq_kind kind = {.name = name, .run = do_nothing};
    int64_t id;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE}));
    WORKS(jobq_register(f.q, &kind, &err));
    memset(name, 'z', sizeof name - 1);
    memset(&kind, 0, sizeof kind);
    id = put(f.q, "first");
    CHECK_INT(drain(f.q), 1);
    CHECK_STR(look(f.q, id).kind, "first");
    fixture_close(&f);
}

/* Goal: ":memory:" is a queue without files, and each open makes another one. Method: two
 * of them, a job in one; the working directory stays as it was. */
TEST(memory_queue_has_no_files) {
    jobq *a = NULL, *b = NULL;
    jobq_options options = {.workers = JOBQ_NONE};
    WORKS(jobq_open(":memory:", &options, &a, &err));
    WORKS(jobq_open(":memory:", &options, &b, &err));
    REQUIRE(a != NULL && b != NULL);
    handle(a, "k", do_nothing, NULL);
    put(a, "k");
    CHECK_INT(total(a), 1);
    CHECK_INT(total(b), 0);
    CHECK_INT(drain(a), 1);
    CHECK_INT(count_all(a).done, 1);
    CHECK_CODE(jobq_close(&a), JOBQ_OK);
    CHECK_CODE(jobq_close(&b), JOBQ_OK);
    CHECK(!exists(":memory:"));
    CHECK(!exists(":memory:-jobq"));
}

/* Goal: a pool works on ":memory:" as well. Method: start, 20 jobs, wait for each. */
TEST(memory_queue_has_a_pool) {
    jobq *q = NULL;
    int64_t ids[20];
    WORKS(jobq_open(":memory:", NULL, &q, &err));
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    start(q);
    for (int i = 0; i < 20; i++) ids[i] = put(q, "k");
    for (int i = 0; i < 20; i++) CHECK_INT(finish(q, ids[i]).state, JOBQ_STATE_DONE);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* ---- Options ---- */

static void refuse_options(int wanted, jobq_options options) {
    const char *path = test_path("refused.db");
    jobq *q = (jobq *)(uintptr_t)&options; /* anything but NULL */
    FAILS(wanted, jobq_open(path, &options, &q, &err));
    CHECK(q == NULL);
    CHECK(!exists(path));
}

/* Goal: options out of their range are refused and no file is made. Method: one at a time. */
TEST(options_out_of_range_are_refused) {
    refuse_options(JOBQ_MISUSE, (jobq_options){.role = (jobq_role)7});
    refuse_options(JOBQ_MISUSE, (jobq_options){.role = (jobq_role)-1});
    refuse_options(JOBQ_MISUSE, (jobq_options){.durability = (jobq_durability)2});
    refuse_options(JOBQ_MISUSE, (jobq_options){.workers = JOBQ_WORKERS_MAX + 1});
    refuse_options(JOBQ_MISUSE, (jobq_options){.workers = -2});
    refuse_options(JOBQ_MISUSE, (jobq_options){.workers = JOBQ_UNLIMITED});
    refuse_options(JOBQ_MISUSE, (jobq_options){.payload_max = -5});
    refuse_options(JOBQ_MISUSE, (jobq_options){.payload_max = JOBQ_PAYLOAD_MAX + 1});
    refuse_options(JOBQ_MISUSE, (jobq_options){.keep_max = -2});
    refuse_options(JOBQ_MISUSE, (jobq_options){.wal_pages = -2});
}

/* Goal: the same for durations, which have a code of their own. Method: as before. */
TEST(negative_durations_are_refused) {
    refuse_options(JOBQ_BAD_TIME, (jobq_options){.busy_ms = -2});
    refuse_options(JOBQ_BAD_TIME, (jobq_options){.poll_ms = -2});
    refuse_options(JOBQ_BAD_TIME, (jobq_options){.keep_done_ms = -2});
    refuse_options(JOBQ_BAD_TIME, (jobq_options){.keep_failed_ms = INT64_MIN});
    refuse_options(JOBQ_BAD_TIME, (jobq_options){.stall_ms = -2});
}

static void accept_options(jobq_options options) {
    jobq *q = NULL;
    WORKS(jobq_open(test_path("accepted.db"), &options, &q, &err));
    CHECK(q != NULL);
    if (q) CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: the ends of the ranges are allowed. Method: open with each. */
TEST(options_at_their_limits_are_accepted) {
    accept_options((jobq_options){.workers = JOBQ_WORKERS_MAX});
    accept_options((jobq_options){.workers = 1});
    accept_options((jobq_options){.workers = JOBQ_NONE});
    accept_options((jobq_options){.durability = JOBQ_RELAXED});
    accept_options((jobq_options){.payload_max = JOBQ_PAYLOAD_MAX});
    accept_options((jobq_options){.payload_max = 1});
    accept_options((jobq_options){.keep_done_ms = JOBQ_NONE, .keep_failed_ms = JOBQ_NONE});
    accept_options((jobq_options){.keep_done_ms = JOBQ_NEVER, .keep_failed_ms = JOBQ_NEVER});
    accept_options((jobq_options){.keep_max = 1});
    accept_options((jobq_options){.poll_ms = JOBQ_NONE, .busy_ms = 1, .wal_pages = 100});
    accept_options((jobq_options){.shared = true, .charge_reboots = true, .join = true});
    accept_options((jobq_options){.seed = UINT64_MAX});
}

/* ---- One owner ---- */

static void expect_locked(const char *path, pid_t owner) {
    jobq *q = NULL;
    jobq_error told = {.code = 0};
    char pid[24];
    snprintf(pid, sizeof pid, "%ld", (long)owner);
    FAILS(JOBQ_LOCKED, jobq_open(path, NULL, &q, &err));
    CHECK(q == NULL);
    CHECK_CODE(jobq_open(path, NULL, &q, &told), JOBQ_LOCKED);
    if (!CHECK(strstr(told.text, pid) != NULL)) test_note("%s (owner %s)", told.text, pid);
}

/* Goal: one owner per file inside one process; the next one may come after close. Method:
 * open twice; the sentence names the process. */
TEST(second_owner_in_this_process_is_locked_out) {
    const char *path = test_path("q.db");
    jobq *q = NULL;
    WORKS(jobq_open(path, NULL, &q, &err));
    REQUIRE(q != NULL);
    expect_locked(path, getpid());
    put(q, "k");
    CHECK_INT(total(q), 1);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    WORKS(jobq_open(path, NULL, &q, &err));
    REQUIRE(q != NULL);
    CHECK_INT(total(q), 1);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: the same file under another name is the same queue. Method: through a symbolic
 * link; hard links are refused, see paths.c. */
TEST(another_name_is_the_same_queue) {
    const char *path = test_path("q.db"), *soft = test_path("soft.db");
    jobq *q = NULL;
    WORKS(jobq_open(path, NULL, &q, &err));
    REQUIRE(q != NULL);
    REQUIRE(symlink(path, soft) == 0);
    expect_locked(soft, getpid());
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

struct other {
    const char *path;
    pid_t owner;
    int ready[2], go[2];
};

static void try_to_own(void *arg) {
    struct other *o = (struct other *)arg;
    pipe_hear(o->go);
    expect_locked(o->path, o->owner);
}

/* Goal: one owner per file among processes; the sentence names the owner. Method: a child
 * that was forked before the parent opened tries to open. */
TEST(second_owner_in_another_process_is_locked_out) {
    struct other o = {test_path("q.db"), getpid(), {0, 0}, {0, 0}};
    jobq *q = NULL;
    pid_t child;
    pipe_make(o.go);
    child = test_spawn(try_to_own, &o);
    WORKS(jobq_open(o.path, &(jobq_options){.workers = JOBQ_NONE}, &q, &err));
    pipe_say(o.go);
    CHECK_INT(test_wait(child), 0);
    pipe_free(o.go);
    put(q, "k");
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* ---- Clients ---- */

static void make_queue(const char *path, bool shared) {
    jobq *q = NULL;
    jobq_options options = {.workers = JOBQ_NONE, .shared = shared};
    WORKS(jobq_open(path, &options, &q, &err));
    put(q, "k");
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: a client makes nothing: without a queue it is told so. Method: no file, then a file
 * of no bytes. */
TEST(client_needs_a_queue) {
    const char *path = test_path("none.db");
    jobq_options options = {.role = JOBQ_CLIENT, .shared = true};
    jobq *q = NULL;
    FILE *file;
    FAILS(JOBQ_NOT_FOUND, jobq_open(path, &options, &q, &err));
    CHECK(q == NULL);
    CHECK(!exists(path));
    CHECK(!exists(test_path("none.db-jobq")));
    file = fopen(path, "w");
    REQUIRE(file != NULL);
    fclose(file);
    FAILS(JOBQ_NOT_FOUND, jobq_open(path, &options, &q, &err));
    CHECK(q == NULL);
}

/* Goal: a client opens beside the owner and without one, and several may. Method: with and
 * without an owner in this process. */
TEST(clients_need_no_ownership) {
    const char *path = test_path("q.db");
    jobq_options options = {.role = JOBQ_CLIENT, .shared = true};
    jobq *owner = NULL, *a = NULL, *b = NULL;
    make_queue(path, true);
    WORKS(jobq_open(path, &options, &a, &err));
    WORKS(jobq_open(path, &options, &b, &err));
    REQUIRE(a != NULL && b != NULL);
    CHECK_INT(total(a), 1);
    WORKS(jobq_open(path, &(jobq_options){.workers = JOBQ_NONE, .shared = true}, &owner, &err));
    REQUIRE(owner != NULL);
    put(b, "k");
    CHECK_INT(total(a), 2);
    CHECK_CODE(jobq_close(&a), JOBQ_OK);
    CHECK_CODE(jobq_close(&owner), JOBQ_OK);
    CHECK_INT(total(b), 2);
    CHECK_CODE(jobq_close(&b), JOBQ_OK);
}

/* Goal: a client that syncs less than every commit does so in WAL mode only: with a rollback
 * journal a power cut would damage the file. Method: somebody takes the file out of WAL mode
 * beforehand; each durability, with on_connect and without. */
TEST(client_writes_in_wal_mode) {
    const char *path = test_path("q.db");
    for (int i = 0; i < 4; i++) {
        jobq_options options = {.role = JOBQ_CLIENT, .shared = true,
                                .durability = i % 2 ? JOBQ_DURABLE : JOBQ_RELAXED};
        sqlite3 *reader = NULL;
        jobq *q = NULL;
        char mode[16];
        if (i >= 2) {
            options.on_connect = remember_reader;
            options.ctx = &reader;
        }
        if (i == 0) make_queue(path, true);
        sql_text(path, "PRAGMA journal_mode=DELETE", mode, sizeof mode);
        CHECK_STR(mode, "delete");
        WORKS(jobq_open(path, &options, &q, &err));
        REQUIRE(q != NULL);
        put(q, "k");
        sql_text(path, "PRAGMA journal_mode", mode, sizeof mode);
        CHECK_STR(mode, "wal");
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
    }
    CHECK_INT(sql_int(path, "SELECT count(*) FROM jobq_row"), 5);
}

/* Goal: with a SQLite that is only safe if both sides say .shared, a client that does not is
 * refused; with any other it is let in. Method: open without, look at SQLite's version. */
TEST(client_without_shared_depends_on_sqlite) {
    const char *path = test_path("q.db");
    jobq *owner = NULL, *client = NULL;
    make_queue(path, true);
    WORKS(jobq_open(path, &(jobq_options){.workers = JOBQ_NONE, .shared = true}, &owner, &err));
    if (sqlite_needs_shared()) {
        FAILS(JOBQ_UNSAFE_SQLITE,
              jobq_open(path, &(jobq_options){.role = JOBQ_CLIENT}, &client, &err));
        CHECK(client == NULL);
    } else {
        WORKS(jobq_open(path, &(jobq_options){.role = JOBQ_CLIENT}, &client, &err));
        CHECK_CODE(jobq_close(&client), JOBQ_OK);
    }
    CHECK_CODE(jobq_close(&owner), JOBQ_OK);
}

/* Goal: the owner has to say it as well: else clients are refused, or with a safe SQLite what they
 * write, which it would not look for. Method: an owner without .shared, a client with. */
TEST(owner_without_shared_depends_on_sqlite) {
    const char *path = test_path("q.db");
    jobq_options options = {.role = JOBQ_CLIENT, .shared = true};
    jobq *owner = NULL, *client = NULL;
    WORKS(jobq_open(path, &(jobq_options){.workers = JOBQ_NONE}, &owner, &err));
    REQUIRE(owner != NULL);
    if (sqlite_needs_shared()) {
        FAILS(JOBQ_UNSAFE_SQLITE, jobq_open(path, &options, &client, &err));
        CHECK(client == NULL);
    } else {
        WORKS(jobq_open(path, &options, &client, &err));
        FAILS(JOBQ_MISUSE, jobq_enqueue(client, &(jobq_job){.kind = "k"}, NULL, &err));
        CHECK_INT(total(client), 0);
        CHECK_CODE(jobq_close(&client), JOBQ_OK);
    }
    CHECK_CODE(jobq_close(&owner), JOBQ_OK);
}

/* Tries to store a job; says what it was told if that is not what it should be. */
static void put_as_client(jobq *client, int wanted, const char *says) {
    jobq_error told = {.code = 0};
    CHECK_CODE(jobq_enqueue(client, &(jobq_job){.kind = "k"}, NULL, &told), wanted);
    if (wanted != JOBQ_OK && !CHECK(strstr(told.text, says) != NULL)) test_note("%s", told.text);
}

/* Goal: whether the owner shares is asked before each write, for owners come and go. Method: a
 * client outlives owners that share and that do not, and a lock file that is another by then. */
TEST(client_asks_each_owner) {
    const char *path = test_path("q.db"), *lock = test_path("q.db-jobq");
    jobq_options alone = {.workers = JOBQ_NONE}, shares = {.workers = JOBQ_NONE, .shared = true};
    int refused = sqlite_needs_shared() ? JOBQ_UNSAFE_SQLITE : JOBQ_MISUSE;
    jobq *owner = NULL, *client = NULL;
    make_queue(path, true);
    REQUIRE_INT(unlink(lock), 0);
    WORKS(jobq_open(path, &(jobq_options){.role = JOBQ_CLIENT, .shared = true}, &client, &err));
    REQUIRE(client != NULL);
    put_as_client(client, JOBQ_OK, ""); /* nobody was ever there, as it seems */
    for (int turn = 0; turn < 3; turn++) {
        WORKS(jobq_open(path, &alone, &owner, &err));
        REQUIRE(owner != NULL);
        put_as_client(client, refused, "the owner, process");
        put(owner, "k");
        CHECK_INT(total(client), total(owner));
        CHECK_CODE(jobq_close(&owner), JOBQ_OK);
        put_as_client(client, JOBQ_OK, "");
        WORKS(jobq_open(path, &shares, &owner, &err));
        REQUIRE(owner != NULL);
        put_as_client(client, JOBQ_OK, "");
        CHECK_CODE(jobq_close(&owner), JOBQ_OK);
        if (turn == 1) REQUIRE_INT(unlink(lock), 0);
    }
    CHECK_CODE(jobq_close(&client), JOBQ_OK);
}

/* Goal: a client is told which side has to share, and "cannot read" is taken for no. Method: a
 * client without .shared, and a lock file without rights; root, who may read all, finds one that
 * is too short to say anything. */
TEST(client_says_who_has_to_share) {
    const char *path = test_path("q.db");
    jobq_error told = {.code = 0};
    jobq *client = NULL;
    make_queue(path, true);
    if (!sqlite_needs_shared()) return;
    CHECK_CODE(jobq_open(path, &(jobq_options){.role = JOBQ_CLIENT}, &client, &told),
               JOBQ_UNSAFE_SQLITE);
    CHECK(strstr(told.text, "this client was opened without .shared") != NULL);
    if (geteuid() == 0) REQUIRE_INT(truncate(test_path("q.db-jobq"), 3), 0);
    else REQUIRE_INT(chmod(test_path("q.db-jobq"), 0), 0);
    CHECK_CODE(jobq_open(path, &(jobq_options){.role = JOBQ_CLIENT, .shared = true}, &client,
                         &told), JOBQ_UNSAFE_SQLITE);
    if (!CHECK(strstr(told.text, "nobody knows") != NULL)) test_note("%s", told.text);
}

/* ---- A file for one process ---- */

/* What another process meets: a client is told at once, SQLite finds the file locked. */
static void knock(void *arg) {
    struct other *o = (struct other *)arg;
    jobq_options client = {.role = JOBQ_CLIENT, .shared = true};
    jobq_error told = {.code = 0};
    sqlite3 *db = NULL;
    jobq *q = NULL;
    pipe_hear(o->go);
    CHECK_CODE(jobq_open(o->path, &client, &q, &told), JOBQ_LOCKED);
    CHECK(strstr(told.text, ".exclusive") != NULL);
    CHECK_INT(told.id, o->owner);
    CHECK_INT(sqlite3_open_v2(o->path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    CHECK_INT(sqlite3_exec(db, "SELECT * FROM jobq_row", NULL, NULL, NULL), SQLITE_BUSY);
    sqlite3_close(db);
}

/* Goal: .exclusive keeps every other process out, clients with a sentence; jobs are stored, run,
 * looked at and checkpointed as ever, and what was written is there for an owner without it.
 * Method: an owner with all its connections, a child forked before that knocks, and one without. */
TEST(exclusive_lets_nobody_in) {
    const char *path = test_path("q.db");
    struct other o = {path, getpid(), {0, 0}, {0, 0}};
    jobq_options options = {.workers = 2, .exclusive = true, .wal_pages = 16};
    jobq_options client = {.role = JOBQ_CLIENT, .shared = true};
    jobq *q = NULL, *second = NULL;
    pid_t child;
    pipe_make(o.go);
    child = test_spawn(knock, &o);
    WORKS(jobq_open(path, &options, &q, &err));
    REQUIRE(q != NULL);
    CHECK(access(test_path("q.db-shm"), F_OK) != 0);
    FAILS(JOBQ_LOCKED, jobq_open(path, &client, &second, &err));
    CHECK(second == NULL);
    handle(q, "k", do_nothing, NULL);
    start(q);
    for (int i = 0; i < 50; i++) put(q, "k");
    finish(q, put(q, "k"));
    pipe_say(o.go);
    CHECK_INT(test_wait(child), 0);
    pipe_free(o.go);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    make_queue(path, true);
    FAILS(JOBQ_MISUSE, jobq_open(path, &(jobq_options){.exclusive = true, .shared = true}, &q,
                                 &err));
    FAILS(JOBQ_MISUSE, jobq_open(path, &(jobq_options){.exclusive = true, .role = JOBQ_CLIENT},
                                 &q, &err));
    WORKS(jobq_open(path, &client, &q, &err));
    CHECK_INT(count_all(q).done, 51);
    FAILS(JOBQ_LOCKED, jobq_open(path, &options, &second, &err));
    CHECK(second == NULL);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* ---- Files of others ---- */

/* An application's database, with marks that jobq must leave alone. */
static const char *make_application(void) {
    const char *path = test_path("app.db");
    sql_run(path, "PRAGMA page_size=8192; PRAGMA application_id=4711; PRAGMA user_version=42;"
                  "CREATE TABLE customer(id INTEGER PRIMARY KEY, name TEXT);"
                  "INSERT INTO customer(name) VALUES('Ada'),('Grace');");
    CHECK_INT(chmod(path, 0640), 0);
    return path;
}

static void check_application(const char *path) {
    struct stat st;
    CHECK_INT(sql_int(path, "PRAGMA page_size"), 8192);
    CHECK_INT(sql_int(path, "PRAGMA application_id"), 4711);
    CHECK_INT(sql_int(path, "PRAGMA user_version"), 42);
    CHECK_INT(sql_int(path, "PRAGMA auto_vacuum"), 0);
    CHECK_INT(sql_int(path, "SELECT count(*) FROM customer"), 2);
    REQUIRE(stat(path, &st) == 0);
    CHECK_INT(st.st_mode & 07777, 0640);
}

static int64_t jobq_tables(const char *path) {
    return sql_int(path, "SELECT count(*) FROM sqlite_master WHERE name LIKE 'jobq%'");
}

/* Goal: an application's database is foreign unless .join says otherwise, and is left as it
 * was. Method: open without .join, as owner and as client. */
TEST(application_file_is_foreign) {
    const char *path = make_application();
    jobq *q = NULL;
    FAILS(JOBQ_FOREIGN, jobq_open(path, NULL, &q, &err));
    CHECK(q == NULL);
    FAILS_SOMEHOW(jobq_open(path, &(jobq_options){.role = JOBQ_CLIENT, .shared = true}, &q, &err));
    CHECK(q == NULL);
    CHECK_INT(jobq_tables(path), 0);
    check_application(path);
}

/* Goal: .join puts the queue beside the application's tables and touches nothing of theirs.
 * Method: open with .join, run a job, close, look; then once more. */
TEST(join_leaves_the_application_alone) {
    const char *path = make_application();
    jobq *q = NULL;
    for (int i = 0; i < 2; i++) {
        WORKS(jobq_open(path, &(jobq_options){.workers = JOBQ_NONE, .join = true}, &q, &err));
        REQUIRE(q != NULL);
        handle(q, "k", do_nothing, NULL);
        put(q, "k");
        CHECK_INT(drain(q), 1);
        CHECK_INT(count_all(q).done, i + 1);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
        check_application(path);
    }
    CHECK(jobq_tables(path) > 0);
}

/* Goal: .join is an allowance, not a demand: it makes a new file too. Method: open one. */
TEST(join_makes_a_new_file) {
    jobq *q = NULL;
    WORKS(jobq_open(test_path("q.db"), &(jobq_options){.join = true}, &q, &err));
    CHECK(q != NULL);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

static void refuse_file(const char *path, int wanted) {
    jobq *q = NULL;
    FAILS(wanted, jobq_open(path, NULL, &q, &err));
    CHECK(q == NULL);
    FAILS(wanted, jobq_open(path, &(jobq_options){.join = true}, &q, &err));
    CHECK(q == NULL);
}

/* Goal: tables that bear jobq's names in another shape are foreign, with .join too. Method:
 * make such tables by hand. */
TEST(tables_of_another_shape_are_foreign) {
    const char *meta = test_path("meta.db"), *job = test_path("job.db");
    sql_run(meta, "CREATE TABLE jobq_meta(a, b, c); INSERT INTO jobq_meta VALUES(1, 2, 3)");
    refuse_file(meta, JOBQ_FOREIGN);
    CHECK_INT(sql_int(meta, "SELECT c FROM jobq_meta"), 3);
    sql_run(job, "CREATE TABLE jobq_row(title TEXT, salary INT)");
    refuse_file(job, JOBQ_FOREIGN);
    CHECK_INT(jobq_tables(job), 1);
}

/* Names of jobq's tables in a fresh queue; returns how many there are. */
static int table_names(const char *path, char names[][64], int capacity) {
    sqlite3 *db = sql_open(path);
    sqlite3_stmt *stmt = NULL;
    int n = 0;
    CHECK_INT(sqlite3_prepare_v2(db, "SELECT name FROM sqlite_master WHERE type='table' AND"
                                     " name LIKE 'jobq%' ORDER BY name", -1, &stmt, NULL),
              SQLITE_OK);
    while (n < capacity && sqlite3_step(stmt) == SQLITE_ROW)
        snprintf(names[n++], 64, "%s", (const char *)sqlite3_column_text(stmt, 0));
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return n;
}

/* Goal: a queue of which one table was replaced is refused. Method: do so with each. */
TEST(queue_with_a_replaced_table_is_foreign) {
    char names[16][64];
    const char *first = test_path("first.db");
    int n;
    make_queue(first, false);
    n = table_names(first, names, 16);
    CHECK(n >= 3);
    for (int i = 0; i < n; i++) {
        char name[32], sql[256];
        const char *path;
        jobq *q = NULL;
        snprintf(name, sizeof name, "t%d.db", i);
        path = test_path(name);
        make_queue(path, false);
        snprintf(sql, sizeof sql, "DROP TABLE %s; CREATE TABLE %s(other TEXT)", names[i],
                 names[i]);
        sql_run(path, sql);
        FAILS(JOBQ_FOREIGN, jobq_open(path, NULL, &q, &err));
        if (!CHECK(q == NULL)) test_note("table %s", names[i]);
    }
}

/* Goal: a trigger on one of jobq's tables is refused, as it would change what jobq writes.
 * Method: put one on each, open; take it away, open. */
TEST(trigger_on_a_table_of_jobq_is_refused) {
    const char *path = test_path("q.db");
    char names[16][64];
    jobq *q = NULL;
    int n;
    make_queue(path, false);
    n = table_names(path, names, 16);
    for (int i = 0; i < n; i++) {
        char sql[2048];
        snprintf(sql, sizeof sql,
                 "CREATE TRIGGER spy AFTER DELETE ON %s BEGIN SELECT 1; END", names[i]);
        sql_run(path, sql);
        FAILS(JOBQ_FOREIGN, jobq_open(path, NULL, &q, &err));
        if (!CHECK(q == NULL)) test_note("trigger on %s", names[i]);
        sql_run(path, "DROP TRIGGER spy");
    }
    WORKS(jobq_open(path, NULL, &q, &err));
    REQUIRE(q != NULL);
    CHECK_INT(total(q), 1);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: triggers on the application's own tables are its own affair. Method: join a file
 * that has one. */
TEST(trigger_of_the_application_is_allowed) {
    const char *path = make_application();
    jobq *q = NULL;
    sql_run(path, "CREATE TRIGGER t AFTER INSERT ON customer BEGIN SELECT 1; END");
    WORKS(jobq_open(path, &(jobq_options){.join = true}, &q, &err));
    CHECK(q != NULL);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: a schema from the future is told as such and not touched, by owners and clients.
 * Method: raise the version in jobq_meta; put it back afterwards. */
TEST(schema_from_the_future_is_newer) {
    const char *path = test_path("q.db");
    char version[32], sql[128];
    jobq *q = NULL;
    make_queue(path, true);
    sql_text(path, "SELECT value FROM jobq_meta WHERE key='schema'", version, sizeof version);
    CHECK(version[0] != '\0');
    sql_run(path, "UPDATE jobq_meta SET value = 999999 WHERE key IN ('schema', 'writes_from')");
    refuse_file(path, JOBQ_NEWER);
    FAILS(JOBQ_NEWER,
          jobq_open(path, &(jobq_options){.role = JOBQ_CLIENT, .shared = true}, &q, &err));
    CHECK_INT(sql_int(path, "SELECT value FROM jobq_meta WHERE key='schema'"), 999999);
    snprintf(sql, sizeof sql, "UPDATE jobq_meta SET value = %s WHERE key IN ('schema',"
             " 'writes_from')", version);
    sql_run(path, sql);
    WORKS(jobq_open(path, NULL, &q, &err));
    REQUIRE(q != NULL);
    CHECK_INT(total(q), 1);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: an open that failed leaves nothing that hinders the next. Method: fail for each
 * reason on one path, then remove the reason. */
TEST(failed_open_holds_nothing) {
    const char *path = make_application();
    jobq *q = NULL;
    FAILS(JOBQ_FOREIGN, jobq_open(path, NULL, &q, &err));
    FAILS(JOBQ_MISUSE, jobq_open(path, &(jobq_options){.workers = -9}, &q, &err));
    WORKS(jobq_open(path, &(jobq_options){.join = true}, &q, &err));
    REQUIRE(q != NULL);
    expect_locked(path, getpid());
    put(q, "k");
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    CHECK_INT(unlink(path), 0);
    unlink(test_path("app.db-wal"));
    unlink(test_path("app.db-shm"));
    WORKS(jobq_open(path, NULL, &q, &err));
    REQUIRE(q != NULL);
    CHECK_INT(total(q), 0);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

TEST_MAIN(open_creates_a_private_file, closed_file_is_a_sound_database, defaults_run_jobs,
          reopening_keeps_jobs, reopening_keeps_outcomes, empty_file_becomes_a_queue,
          arguments_are_copied, kinds_are_copied, memory_queue_has_no_files,
          memory_queue_has_a_pool, options_out_of_range_are_refused,
          negative_durations_are_refused, options_at_their_limits_are_accepted,
          second_owner_in_this_process_is_locked_out, another_name_is_the_same_queue,
          second_owner_in_another_process_is_locked_out,
          client_needs_a_queue, clients_need_no_ownership, client_writes_in_wal_mode,
          client_without_shared_depends_on_sqlite, owner_without_shared_depends_on_sqlite,
          client_asks_each_owner, client_says_who_has_to_share, exclusive_lets_nobody_in,
          application_file_is_foreign, join_leaves_the_application_alone, join_makes_a_new_file,
          tables_of_another_shape_are_foreign, queue_with_a_replaced_table_is_foreign,
          trigger_on_a_table_of_jobq_is_refused, trigger_of_the_application_is_allowed,
          schema_from_the_future_is_newer, failed_open_holds_nothing)
