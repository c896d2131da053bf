/* gates.c - the owner dies while jobs that waited for a handler are let go: nobody is forgotten.
 *
 * Promised: a gate that has opened stands in the file until the last of those who waited there has
 * passed, so that the next owner goes on, whoever that is. Broken on purpose: a life registers the
 * handler of 1500 parked jobs, and kills itself when so many transactions have begun. */
#include "crash.h"

enum { PARKED = 1500, DEATHS = 12 };

#define RELAXED_STEP ((jobq_options){.workers = JOBQ_NONE, .durability = JOBQ_RELAXED})

static struct {
    sqlite3 *writer;
    int left; /* transactions that still may begin */
} life;

static int watch(sqlite3 *db, jobq_connection which, jobq_stage stage, jobq_error *err, void *ctx) {
    (void)stage;
    (void)err;
    (void)ctx;
    if (which == JOBQ_CONNECTION_WRITER) life.writer = db;
    return 0;
}

static int die_at_last(unsigned what, void *ctx, void *statement, void *text) {
    (void)what;
    (void)ctx;
    (void)statement;
    if (strncmp((const char *)text, "BEGIN", 5) == 0 && life.left-- == 0)
        kill(getpid(), SIGKILL);
    return 0;
}

/* True if it had come to its end before. */
static bool register_and_die(const char *path, int transactions) {
    int status = 0;
    pid_t child = fork();
    if (child < 0) test_give_up("fork");
    if (child == 0) {
        jobq_options options = {.workers = JOBQ_NONE, .durability = JOBQ_RELAXED,
                                .on_connect = watch};
        jobq_kind kind = {.name = "late", .run = do_nothing};
        jobq *q;
        be_a_child();
        if (jobq_open(path, &options, &q, NULL) != JOBQ_OK) _exit(1);
        life.left = transactions;
        sqlite3_trace_v2(life.writer, SQLITE_TRACE_STMT, die_at_last, NULL);
        if (jobq_register(q, &kind, NULL) != JOBQ_OK) _exit(1);
        _exit(0);
    }
    CHECK_INT(waitpid(child, &status, 0), child);
    if (!was_killed(status)) CHECK_INT(status, 0);
    return !was_killed(status);
}

static int64_t ask(const char *path, const char *text) {
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    int64_t number = -1;
    CHECK_INT(sqlite3_open(path, &db), SQLITE_OK);
    CHECK_INT(sqlite3_prepare_v2(db, text, -1, &s, NULL), SQLITE_OK);
    if (CHECK_INT(sqlite3_step(s), SQLITE_ROW)) number = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return number;
}

#define WAIT "SELECT count(*) FROM jobq_row WHERE state = 0 AND lane < -1"
#define NOTED "SELECT open IS NOT NULL FROM jobq_claims"
/* As ids are packed: one gate is twice its number, less one. */
#define NAMED "SELECT hex(open) = printf('%02X', 2 * (SELECT id FROM jobq_name WHERE what = 2" \
    " AND name = 'late') - 1) FROM jobq_claims"

static void healthy(jobq *q) {
    int64_t faults = 0;
    WORKS(jobq_check(q, false, NULL, NULL, &faults, &err));
    CHECK_INT(faults, 0);
}

/* What a death has left is put right by the next owner. */
static void next_owner(const char *path, bool handles, int64_t waiting) {
    jobq *q = open_queue_at(path, RELAXED_STEP);
    REQUIRE(q != NULL);
    if (!handles) {
        CHECK_INT(drain(q), 0);
        CHECK_INT(ask(path, NOTED), 0);
        CHECK(ask(path, WAIT) >= waiting);
        healthy(q);
    }
    handle(q, "late", do_nothing, NULL);
    healthy(q);
    CHECK_INT(count_all(q).parked, 0);
    CHECK_INT(drain(q), PARKED);
    CHECK_INT(ask(path, NOTED), 0);
    close_queue(&q);
}

/* Goal: whenever the owner dies, those who still wait stand before a gate that the file names, or
 * that never opened; and the next owner runs all of them, with the handler at once, or parked first
 * without. Method: as many deaths as there are transactions. */
TEST(owner_dies_between_slices) {
    int64_t between = 0;
    for (int i = 0; i < DEATHS; i++) {
        const char *path = test_path("q.db");
        jobq *q = open_queue_at(path, RELAXED_STEP);
        int64_t waiting;
        bool over;
        REQUIRE(q != NULL);
        put_many(q, &(jobq_job){.kind = "late"}, PARKED);
        close_queue(&q);
        over = register_and_die(path, i);
        waiting = ask(path, WAIT);
        CHECK(!over || waiting == 0);
        CHECK_INT(ask(path, NOTED), waiting > 0 && waiting < PARKED);
        if (waiting > 0 && waiting < PARKED) {
            CHECK_INT(ask(path, NAMED), 1);
            between++;
        }
        next_owner(path, i % 2 == 0, waiting);
        for (const char *const *end = (const char *const[]){"", "-wal", "-shm", "-jobq", NULL};
             *end; end++) {
            char name[1024];
            snprintf(name, sizeof name, "%s%s", path, *end);
            unlink(name);
        }
    }
    CHECK(between >= 4);
}

TEST_MAIN(owner_dies_between_slices)
