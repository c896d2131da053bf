/* sqlite.c - however the application has set up SQLite: caches, threads, extensions, VFS.
 *
 * SQLite is one for the whole process, and other parts of it have a say in how it works. What is
 * set for good is set in a child. */
#include "helpers.h"

static jobq *open_steps(const char *path) {
    return open_queue_at(path, STEP);
}

static jobq_outcome write_a_row(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    (void)ctx;
    if (jobq_run_db(run, &db, NULL) != JOBQ_OK) return JOBQ_FAIL;
    if (sqlite3_exec(db, "CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t VALUES(1)", NULL, NULL,
                     NULL) != SQLITE_OK) return JOBQ_FAIL;
    return JOBQ_DONE;
}

/* Everything that a queue opens connections for. */
static void work_a_little(const char *path) {
    jobq *q = open_steps(path);
    REQUIRE(q != NULL);
    handle(q, "k", write_a_row, NULL);
    for (int i = 0; i < 20; i++) {
        int64_t id = put(q, "k");
        CHECK_INT(state_of(q, id), JOBQ_STATE_PENDING);
        CHECK_INT(drain(q), 1);
        CHECK_INT(state_of(q, id), JOBQ_STATE_DONE);
    }
    CHECK_INT(total(q), 20);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* ---- The shared cache ---- */

struct looker {
    jobq *q;
    int32_t end; /* atomic */
    int refused;
};

static void *look_all_the_time(void *arg) {
    struct looker *l = (struct looker *)arg;
    jobq_counts counts;
    while (!__atomic_load_n(&l->end, __ATOMIC_ACQUIRE))
        l->refused += jobq_count(l->q, &counts, NULL) != JOBQ_OK;
    return NULL;
}

static void share_the_cache(void *arg) {
    struct looker l = {NULL, 0, 0};
    pthread_t thread;
    sqlite3_enable_shared_cache(1);
    l.q = open_pool((const char *)arg, 2);
    REQUIRE(l.q != NULL);
    handle(l.q, "k", do_nothing, NULL);
    start(l.q);
    thread = thread_start(look_all_the_time, &l);
    for (int i = 0; i < 200; i++) put(l.q, "k");
    __atomic_store_n(&l.end, 1, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    CHECK_INT(l.refused, 0);
    CHECK_CODE(jobq_close(&l.q), JOBQ_OK);
    CHECK_CODE(jobq_open(":memory:", NULL, &l.q, NULL), JOBQ_OK);
    CHECK_CODE(jobq_close(&l.q), JOBQ_OK);
}

/* Goal: where the application shares its caches, jobq's connections do not meet in one. */
TEST(shared_cache_is_not_shared) {
    CHECK_INT(test_fork(share_the_cache, (void *)(uintptr_t)test_path("q.db")), 0);
}

/* ---- Threads ---- */

static void open_single_threaded(void *arg) {
    jobq *q = NULL;
    REQUIRE_INT(sqlite3_config(SQLITE_CONFIG_SINGLETHREAD), SQLITE_OK);
    FAILS(JOBQ_BAD_SQLITE, jobq_open((const char *)arg, NULL, &q, &err));
    CHECK(!exists((const char *)arg));
}

static void open_multi_threaded(void *arg) {
    REQUIRE_INT(sqlite3_config(SQLITE_CONFIG_MULTITHREAD), SQLITE_OK);
    work_a_little((const char *)arg);
}

/* Goal: a SQLite without mutexes is refused, however it came to that; one that has them only where
 * they are needed will do. */
TEST(single_thread_config_is_refused) {
    if (!sqlite3_threadsafe()) return;
    CHECK_INT(test_fork(open_single_threaded, (void *)(uintptr_t)test_path("a.db")), 0);
    CHECK_INT(test_fork(open_multi_threaded, (void *)(uintptr_t)test_path("b.db")), 0);
}

/* Goal: a build of SQLite that jobq cannot stand on is refused before anything is made. Method: as
 * the build says of itself; the usual ones will do. */
TEST(build_that_will_not_do_is_refused) {
    bool bad = !sqlite3_threadsafe() || sqlite3_compileoption_used("OMIT_WAL");
    jobq_error told = {.code = 0};
    jobq *q = NULL;
    int rc = jobq_open(test_path("q.db"), NULL, &q, &told);
    if (!CHECK_CODE(rc, bad ? JOBQ_BAD_SQLITE : JOBQ_OK)) test_note("%s", told.text);
    CHECK_INT(exists(test_path("q.db")), !bad);
    if (q) CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* ---- Extensions that open with every connection ---- */

static int deny_transactions(void *arg, int what, const char *a, const char *b, const char *c,
                             const char *d) {
    (void)arg, (void)a, (void)b, (void)c, (void)d;
    return what == SQLITE_TRANSACTION ? SQLITE_DENY : SQLITE_OK;
}

static int interrupt(void *arg) {
    (void)arg;
    return 1;
}

static sqlite3 *met[8]; /* the connections of a file that the extension was shown */
static int met_count;

static int meddle(sqlite3 *db, char **message, const void *api) {
    const char *name = sqlite3_db_filename(db, "main");
    (void)message, (void)api;
    if (name && *name && met_count < 8) met[met_count++] = db;
    sqlite3_exec(db, "PRAGMA synchronous=OFF; PRAGMA query_only=1; PRAGMA temp_store=FILE;"
                     " PRAGMA foreign_keys=1; PRAGMA recursive_triggers=1;"
                     " PRAGMA journal_size_limit=0; PRAGMA mmap_size=268435456;"
                     " PRAGMA wal_autocheckpoint=1; PRAGMA busy_timeout=0;"
                     " PRAGMA locking_mode=EXCLUSIVE; BEGIN", NULL, NULL, NULL);
    sqlite3_set_authorizer(db, deny_transactions, NULL);
    sqlite3_progress_handler(db, 1, interrupt, NULL);
    return SQLITE_OK;
}

static int tell_number(void *arg, int columns, char **values, char **names) {
    (void)columns, (void)names;
    *(int *)arg = atoi(values[0]);
    return 0;
}

/* -1 if it tells nothing. */
static int pragma(sqlite3 *db, const char *sql) {
    int number = -1;
    sqlite3_exec(db, sql, tell_number, &number, NULL);
    return number;
}

static jobq_outcome ask_pragmas(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    if (jobq_run_db(run, &db, NULL) != JOBQ_OK) return JOBQ_FAIL;
    *(int *)ctx = pragma(db, "PRAGMA synchronous");
    return JOBQ_DONE;
}

static void open_with_extension(void *arg) {
    const char *path = (const char *)arg;
    jobq *q;
    int synchronous = -1;
    REQUIRE_INT(sqlite3_auto_extension((void (*)(void))meddle), SQLITE_OK);
    work_a_little(path);
    met_count = 0;
    q = open_steps(path);
    REQUIRE(q != NULL);
    handle(q, "ask", ask_pragmas, &synchronous);
    put(q, "ask");
    CHECK_INT(drain(q), 1);
    CHECK_INT(synchronous, 2);
    CHECK_INT(met_count, 4); /* writer, reader, copier, job */
    for (int i = 0; i < met_count; i++) {
        CHECK_INT(pragma(met[i], "PRAGMA synchronous"), 2);
        CHECK(pragma(met[i], "PRAGMA mmap_size") <= 0);
    }
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: what an extension or a build sets on every connection does not undo what jobq stands on.
 * Method: one that sets whatever would harm. */
TEST(extensions_do_not_meddle) {
    CHECK_INT(test_fork(open_with_extension, (void *)(uintptr_t)test_path("q.db")), 0);
}

static int failure; /* what the extension below returns */

static int fail_to_load(sqlite3 *db, char **message, const void *api) {
    (void)db, (void)api;
    *message = sqlite3_mprintf("there is no key");
    return failure;
}

static jobq_outcome want_a_connection(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    return jobq_run_db(run, &db, (jobq_error *)ctx) == JOBQ_OK ? JOBQ_DONE : JOBQ_RETRY;
}

static void check_not_the_file(const jobq_error *told, const char *path) {
    if (!CHECK_CODE(told->code, JOBQ_CANT_OPEN) || !CHECK(strstr(told->text, path))
        || !CHECK(strstr(told->text, "there is no key"))
        || !CHECK(strstr(told->text, "sqlite3_auto_extension")))
        test_note("%d: %s", failure, told->text);
    CHECK_INT(told->sqlite_code, failure);
}

static void fail_to_open(void *arg) {
    static const int failures[] = {SQLITE_ERROR, SQLITE_CORRUPT, SQLITE_NOTADB, SQLITE_IOERR,
                                   SQLITE_BUSY, SQLITE_READONLY, SQLITE_CANTOPEN, 99};
    void (*extension)(void) = (void (*)(void))fail_to_load;
    const char *path = (const char *)arg;
    jobq_error told = {.code = JOBQ_OK};
    jobq *q = NULL;
    for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++) {
        failure = failures[i];
        sqlite3_auto_extension(extension);
        jobq_open(path, NULL, &q, &told);
        check_not_the_file(&told, ":memory:");
        CHECK(!q && !exists(path));
        sqlite3_cancel_auto_extension(extension);
        q = open_queue_at(path, (jobq_options){.workers = JOBQ_NONE, .durability = JOBQ_RELAXED});
        REQUIRE(q != NULL);
        handle(q, "k", want_a_connection, &told);
        put(q, "k");
        sqlite3_auto_extension(extension);
        CHECK_INT(drain(q), 1);
        check_not_the_file(&told, path);
        sqlite3_cancel_auto_extension(extension);
        CHECK_CODE(stats_of(q).failed_code, JOBQ_OK);
        WORKS(jobq_retry_now(q, 1, &err));
        CHECK_INT(drain(q), 1);
        CHECK_INT(state_of(q, 1), JOBQ_STATE_DONE);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
        remove(path);
    }
}

/* Goal: an extension that fails is not told as damage of the file, whatever it returns; its words
 * are, and nothing happens to the queue. Method: codes that mean something else of a file; before
 * the queue is opened, and before the job's connection is. */
TEST(extension_that_fails_is_no_damage) {
    CHECK_INT(test_fork(fail_to_open, (void *)(uintptr_t)test_path("q.db")), 0);
}

static int no_cache(void *arg) {
    (void)arg;
    return SQLITE_ERROR;
}

static void fail_to_initialize(void *arg) {
    sqlite3_pcache_methods2 methods;
    jobq_error told = {.code = JOBQ_OK};
    jobq *q = NULL;
    sqlite3_shutdown(); /* the child's own */
    REQUIRE_INT(sqlite3_config(SQLITE_CONFIG_GETPCACHE2, &methods), SQLITE_OK);
    methods.xInit = no_cache;
    REQUIRE_INT(sqlite3_config(SQLITE_CONFIG_PCACHE2, &methods), SQLITE_OK);
    CHECK_CODE(jobq_open((const char *)arg, NULL, &q, &told), JOBQ_BAD_SQLITE);
    if (!CHECK(strstr(told.text, "sqlite3_initialize") && strstr(told.text, "sqlite3_config")))
        test_note("%s", told.text);
}

static void open_without_a_vfs(void *arg) {
    jobq_error told = {.code = JOBQ_OK};
    jobq *q = NULL;
    sqlite3_initialize();
    while (sqlite3_vfs_find(NULL)) sqlite3_vfs_unregister(sqlite3_vfs_find(NULL));
    CHECK_CODE(jobq_open((const char *)arg, NULL, &q, &told), JOBQ_CANT_OPEN);
    if (!CHECK(strstr(told.text, "no such vfs"))) test_note("%s", told.text);
}

/* Goal: nor is a SQLite that cannot begin. Method: a page cache that fails; no VFS at all. */
TEST(setup_that_fails_is_no_damage) {
    CHECK_INT(test_fork(fail_to_initialize, (void *)(uintptr_t)test_path("q.db")), 0);
    CHECK_INT(test_fork(open_without_a_vfs, (void *)(uintptr_t)test_path("q.db")), 0);
}

/* ---- How files are opened ---- */

static void change_the_vfs(void *arg) {
    jobq *q = open_steps((const char *)arg);
    REQUIRE(q != NULL);
    handle(q, "k", write_a_row, NULL);
    put(q, "k");
    /* From now on it is the default for all who do not say what they want. */
    REQUIRE_INT(sqlite3_vfs_register(sqlite3_vfs_find("unix-dotfile"), 1), SQLITE_OK);
    CHECK_INT(drain(q), 1);
    CHECK_INT(count_all(q).done, 1);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    FAILS(JOBQ_BAD_SQLITE, jobq_open(test_path("other.db"), NULL, &q, &err));
}

/* Goal: all connections of a queue open the file in the same way, or their locks would not meet; a
 * way without shared memory is refused. Method: another default before the job's connection. */
TEST(one_vfs_for_a_queue) {
    if (!sqlite3_vfs_find("unix-dotfile")) return;
    CHECK_INT(test_fork(change_the_vfs, (void *)(uintptr_t)test_path("q.db")), 0);
}

static int keep_the_journal_in_memory(sqlite3 *db, jobq_connection which, jobq_stage stage,
                                      jobq_error *err, void *ctx) {
    (void)which, (void)stage, (void)err, (void)ctx;
    sqlite3_exec(db, "PRAGMA journal_mode=MEMORY", NULL, NULL, NULL);
    return 0;
}

/* What a VFS offers in place of a log on the disk. */
static void open_by_another_vfs(void *arg) {
    const char *vfs = (const char *)arg, *path = test_path("a.db");
    jobq_options options = {.workers = JOBQ_NONE, .on_connect = keep_the_journal_in_memory};
    jobq *q = NULL;
    jobq_error told = {.code = JOBQ_OK};
    sqlite3_initialize();
    REQUIRE_INT(sqlite3_vfs_register(sqlite3_vfs_find(vfs), 1), SQLITE_OK);
    CHECK_CODE(jobq_open(path, &STEP, &q, &told), JOBQ_BAD_SQLITE);
    if (!CHECK(strstr(told.text, "a.db into WAL mode") != NULL)) test_note("%s", told.text);
    CHECK_CODE(jobq_open(path, &options, &q, &told), JOBQ_BAD_SQLITE);
    /* Nothing is to be kept there. */
    WORKS(jobq_open(":memory:", &options, &q, &err));
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: nobody takes for a queue on the disk what SQLite keeps in memory, be it the file or its
 * journal. Method: VFSs that have no log, and an application that wants none; ":memory:" does with
 * each of them. */
TEST(file_in_memory_is_no_file) {
    static const char *const names[] = {"memdb", "unix-dotfile", "unix-none"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (sqlite3_vfs_find(names[i]))
            CHECK_INT(test_fork(open_by_another_vfs, (void *)(uintptr_t)names[i]), 0);
}

/* A message that is too long, of two-byte characters or of bytes that are none. */
static jobq_outcome say_too_much(jobq_run *run, void *ctx) {
    char text[2 * JOBQ_TEXT_MAX];
    size_t size = 0;
    while (size + 2 < sizeof text) {
        text[size++] = '\xc3';
        text[size++] = *(const bool *)ctx ? '\xa9' : '\xc3';
    }
    text[size] = '\0';
    return jobq_fail(run, "%s", text);
}

/* Goal: in a file of UTF-16 a long message is cut, not taken for damage, and no character in two.
 * Method: one whose bytes SQLite keeps, and one of bytes that it replaces by longer ones; the queue
 * goes on, and opens again. */
TEST(long_message_in_a_file_of_utf16) {
    static const bool good[] = {true, false};
    const char *path = test_path("utf16.db");
    jobq_options options = {.workers = JOBQ_NONE, .join = true};
    int64_t ids[2];
    sql_run(path, "PRAGMA encoding='UTF-16'; CREATE TABLE app(x)");
    for (int open = 0; open < 2; open++) {
        jobq *q = NULL;
        WORKS(jobq_open(path, &options, &q, &err));
        REQUIRE(q != NULL);
        handle(q, "good", say_too_much, (void *)(uintptr_t)&good[0]);
        handle(q, "bad", say_too_much, (void *)(uintptr_t)&good[1]);
        if (!open) {
            ids[0] = put(q, "good");
            ids[1] = put(q, "bad");
            CHECK_INT(drain(q), 2);
        }
        for (int i = 0; i < 2; i++) {
            jobq_info info = look(q, ids[i]);
            CHECK_INT(info.state, JOBQ_STATE_FAILED);
            CHECK(strlen(info.error) >= JOBQ_TEXT_MAX - 3);
            if (i == 0) CHECK_INT(strlen(info.error) % 2, 0); /* whole characters */
        }
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
    }
}

static jobq *open_utf16(const char *path, event_log *log) {
    jobq_options options = {.workers = JOBQ_NONE, .join = true};
    jobq *q = NULL;
    if (log) {
        options.on_event = log_event;
        options.ctx = log;
    }
    if (!exists(path)) sql_run(path, "PRAGMA encoding='UTF-16'; CREATE TABLE app(x)");
    WORKS(jobq_open(path, &options, &q, &err));
    return q;
}

static jobq_outcome see_key(jobq_run *run, void *ctx) {
    const jobq_info *info = jobq_run_info(run);
    snprintf((char *)ctx, JOBQ_KEY_MAX + 1, "%s", info ? info->key : "?");
    return JOBQ_DONE;
}

/* A key as long as one may be, whose bytes SQLite keeps or replaces by longer ones. */
static const char *long_key(bool good, char *key) {
    for (int i = 0; i < JOBQ_KEY_MAX; i++) key[i] = good && i % 2 ? '\xa9' : '\xc3';
    key[JOBQ_KEY_MAX] = '\0';
    return key;
}

/* A listing of the key finds these two. */
static void check_two_have(jobq *q, const char *key, int64_t first, int64_t second) {
    const jobq_filter filter = {.kind = "k", .key = key};
    jobq_cursor cursor = {.done = false};
    jobq_info infos[4];
    size_t count = 0;
    WORKS(jobq_list(q, &filter, &cursor, infos, 4, &count, &err));
    REQUIRE_INT(count, 2);
    CHECK(infos[0].id == first && infos[1].id == second);
}

/* Goal: in a file of UTF-16 keys of any bytes are found, told and let go of; what is told is cut at
 * a character. Method: with events and without; the queue goes on, and opens again. */
TEST(keys_in_a_file_of_utf16) {
    for (int i = 0; i < 4; i++) {
        event_log *log = i & 1 ? event_log_new() : NULL;
        bool good = i & 2;
        char key[JOBQ_KEY_MAX + 1], seen[JOBQ_KEY_MAX + 1] = "";
        char name[16];
        jobq_job job = {.kind = "k", .key = long_key(good, key)};
        int64_t id, next;
        jobq *q;
        snprintf(name, sizeof name, "%d.db", i);
        REQUIRE((q = open_utf16(test_path(name), log)) != NULL);
        id = put_job(q, job);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
        REQUIRE((q = open_utf16(test_path(name), log)) != NULL);
        CHECK_INT(put_job(q, job), id);
        handle(q, "k", see_key, seen);
        CHECK_INT(strlen(look(q, id).key), good ? JOBQ_KEY_MAX : JOBQ_KEY_MAX - JOBQ_KEY_MAX % 3);
        if (good) CHECK_STR(look(q, id).key, key);
        CHECK_INT(drain(q), 1);
        CHECK_STR(seen, look(q, id).key);
        CHECK_INT(state_of(q, id), JOBQ_STATE_DONE);
        next = put_job(q, job);
        CHECK(next > id);
        WORKS(jobq_cancel(q, next, &err));
        WORKS(jobq_retry_now(q, next, &err));
        CHECK_INT(put_job(q, job), next);
        CHECK_INT(drain(q), 1);
        check_two_have(q, key, id, next);
        if (log) CHECK_STR(log->keys[log->n - 1], seen);
        CHECK_INT(count_all(q).done, 2);
        CHECK_CODE(stats_of(q).failed_code, JOBQ_OK);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
        if (log) event_log_free(log);
    }
}

/* Checks that what is called so is refused, with a sentence, and stores nothing. */
static void check_bad_name(jobq *q, const char *name) {
    jobq_kind kind = {.name = name, .run = do_nothing};
    jobq_job jobs[] = {{.kind = "good"}, {.kind = "good", .queue = name}};
    int64_t before = total(q);
    jobq_error err;
    CHECK_CODE(jobq_enqueue(q, &(jobq_job){.kind = name}, NULL, &err), JOBQ_BAD_NAME);
    if (!CHECK(strstr(err.text, "UTF-16") != NULL)) test_note("%s", err.text);
    FAILS(JOBQ_BAD_NAME, jobq_enqueue(q, &jobs[1], NULL, &err));
    FAILS(JOBQ_BAD_NAME, jobq_register(q, &kind, &err));
    CHECK_CODE(jobq_enqueue_many(q, jobs, 2, NULL, &err), JOBQ_BAD_NAME);
    CHECK_INT(err.at, 1);
    CHECK_INT(total(q), before);
    CHECK_CODE(stats_of(q).failed_code, JOBQ_OK);
}

/* Goal: a name that a file of UTF-16 would not give back as it is is refused, and not taken for the
 * one that would come back; every other is kept, as long as it may be. In one of UTF-8 all are. */
TEST(names_in_a_file_of_utf16) {
    static const char *const bad[] = {"M\xfcller", "\xff", "\x80", "a\xc3", "\xed\xa0\x80",
                                      "\xef\xbf\xbf"};
    char longest[JOBQ_NAME_MAX + 1];
    jobq *q;
    for (int i = 0; i < JOBQ_NAME_MAX; i++) longest[i] = i % 2 ? '\xa9' : '\xc3';
    longest[JOBQ_NAME_MAX] = '\0';
    for (int open = 0; open < 2; open++) {
        REQUIRE((q = open_utf16(test_path("utf16.db"), NULL)) != NULL);
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) check_bad_name(q, bad[i]);
        CHECK_STR(look(q, put(q, "\xef\xbf\xbd")).kind, "\xef\xbf\xbd"); /* U+FFFD */
        CHECK_STR(look(q, put(q, longest)).kind, longest);
        CHECK_STR(look(q, put(q, "\xf0\x9f\x90\x9d")).kind, "\xf0\x9f\x90\x9d");
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
    }
    REQUIRE((q = open_pool(test_path("utf8.db"), JOBQ_NONE)) != NULL);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_STR(look(q, put(q, bad[i])).kind, bad[i]);
    close_queue(&q);
}

/* Goal: a name that such a file has got from 0.1.0, with other bytes than it was given, is no
 * damage; its jobs wait for who handles what the file says. Method: long ones, too. */
TEST(old_names_in_a_file_of_utf16) {
    jobq *q = open_utf16(test_path("utf16.db"), NULL);
    int64_t ids[2];
    REQUIRE(q != NULL);
    ids[0] = put_job(q, (jobq_job){.kind = "short", .queue = "queue"});
    ids[1] = put(q, "long");
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    sql_run(test_path("utf16.db"), "UPDATE jobq_name SET name = CASE name WHEN 'short' THEN 'M' ||"
            " char(65533) ELSE substr(name, 1, 1) || replace(hex(zeroblob(31)), '0', char(65533))"
            " END WHERE name IN ('short', 'long', 'queue')");
    REQUIRE((q = open_utf16(test_path("utf16.db"), NULL)) != NULL);
    check_bad_name(q, "M\xfc");
    CHECK_STR(look(q, ids[0]).kind, "M\xef\xbf\xbd");
    CHECK_INT(strlen(look(q, ids[1]).kind), 1 + 3 * (JOBQ_NAME_MAX / 3));
    handle(q, "M\xef\xbf\xbd", do_nothing, NULL);
    CHECK_INT(drain(q), 1);
    CHECK_INT(state_of(q, ids[0]), JOBQ_STATE_DONE);
    CHECK(look(q, ids[1]).parked);
    CHECK_CODE(stats_of(q).failed_code, JOBQ_OK);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

TEST_MAIN(shared_cache_is_not_shared, single_thread_config_is_refused,
          build_that_will_not_do_is_refused, extensions_do_not_meddle,
          extension_that_fails_is_no_damage, setup_that_fails_is_no_damage, one_vfs_for_a_queue,
          file_in_memory_is_no_file, long_message_in_a_file_of_utf16, keys_in_a_file_of_utf16,
          names_in_a_file_of_utf16, old_names_in_a_file_of_utf16)
