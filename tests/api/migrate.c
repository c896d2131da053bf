/* migrate.c - files of 0.1.0: an owner makes them files of this version, and keeps every job.
 *
 * The files are those that 0.1.0 left when it was killed (fixtures/). What becomes of them row by
 * row is in unit/migrate.c; when the power fails meanwhile, in fault/cut_migrate.c. */
#include "schema_1.h"

#include <sys/statvfs.h>

/* ---- The room on the disk, as it is told ---- */

/* Blocks of 512 bytes that every disk has free; -1: as it is. Stands before the system's. */
static int64_t told_free = -1;

int fstatvfs(int fd, struct statvfs *st) {
    struct stat file;
    if (fstat(fd, &file) != 0) return -1;
    memset(st, 0, sizeof *st);
    st->f_bsize = st->f_frsize = 512;
    st->f_blocks = 1 << 30;
    st->f_bfree = st->f_bavail = told_free < 0 ? 1 << 29 : (fsblkcnt_t)told_free;
    return 0;
}

/* ---- Opening ---- */

static jobq_options step_at(jobq_clock *clock) {
    jobq_options options = STEP;
    options.clock = clock;
    options.reserve_bytes = JOBQ_NONE;
    return options;
}

/* It goes, and the doctor has nothing to tell of what it has made. */
static void opens_well(const char *path, const jobq_options *options, jobq **q) {
    char text[256];
    WORKS(jobq_open(path, options, q, &err));
    if (*q) CHECK_STR(fault_of(*q, text), "");
}

static bool open_old(fixture *f, enum schema_1 kind) {
    f->path = test_path("q.db");
    f->q = NULL;
    f->clock = jobq_clock_artificial(T0);
    f->options = step_at(f->clock);
    schema_1_make(f->path, kind);
    opens_well(f->path, &f->options, &f->q);
    if (f->q) return true;
    jobq_clock_free(f->clock);
    return false;
}

/* Goal: an owner opens a file of 0.1.0 as any other; every job is there with all that it carries,
 * and those that were claimed are given back without blame, for the machine was started anew. */
TEST(owner_keeps_every_job) {
    for (int kind = 0; kind < SCHEMA_1_KINDS; kind++) {
        char *before, *after;
        fixture f;
        schema_1_make(test_path("old.db"), (enum schema_1)kind);
        before = told(test_path("old.db"), TOLD_CALM);
        REQUIRE(open_old(&f, (enum schema_1)kind));
        CHECK_INT(total(f.q), SCHEMA_1_JOBS);
        after = told(f.path, TOLD_CALM);
        CHECK_STR(after, before);
        close_queue(&f.q);
        free(after);
        CHECK_INT(schema_of(f.path), 2);
        check_schema_2(f.path);
        opens_well(f.path, &f.options, &f.q);
        after = told(f.path, TOLD_CALM);
        CHECK_STR(after, before);
        free(before);
        free(after);
        fixture_remove(&f);
        unlink(test_path("old.db"));
    }
}

/* Goal: the same for an owner that has the file for itself, and at RELAXED. */
TEST(exclusive_owner_migrates) {
    const char *path = test_path("q.db");
    jobq_options options = STEP;
    jobq *q = NULL;
    if (!sqlite3_vfs_find("unix-excl")) {
        test_skip("this SQLite has no VFS unix-excl");
        return;
    }
    schema_1_make(path, SCHEMA_1_FILE);
    options.exclusive = true;
    options.durability = JOBQ_RELAXED;
    options.keep_done_ms = options.keep_failed_ms = JOBQ_NEVER;
    opens_well(path, &options, &q);
    REQUIRE(q != NULL);
    CHECK(total(q) > 0);
    close_queue(&q);
    check_schema_2(path);
}

/* Goal: the jobs of 0.1.0 are counted: who asks is told what there is, and the counters are right
 * when they have been counted. Method: so many more are stored that all of them are. */
TEST(jobs_are_counted) {
    for (int kind = 0; kind < SCHEMA_1_KINDS; kind++) {
        jobq_counts c;
        fixture f;
        REQUIRE(open_old(&f, (enum schema_1)kind));
        for (int round = 0; round < 2; round++) {
            c = count_all(f.q);
            CHECK_INT(c.done, sql_int(f.path, "SELECT count(*) FROM jobq_row WHERE state = 2"));
            CHECK_INT(c.failed, sql_int(f.path, "SELECT count(*) FROM jobq_row WHERE state = 3"));
            CHECK_INT(c.cancelled,
                      sql_int(f.path, "SELECT count(*) FROM jobq_row WHERE state = 4"));
            CHECK_INT(c.ready + c.running + c.scheduled + c.parked,
                      sql_int(f.path, "SELECT count(*) FROM jobq_row WHERE state < 2"));
            CHECK_INT(sql_int(f.path, MISCOUNTED), 0);
            put_many(f.q, &(jobq_job){.kind = "k", .delay_ms = JOBQ_HOUR}, 1200);
            WORKS(jobq_run_until_idle(f.q, NULL, &err));
        }
        CHECK(sql_int(f.path, "SELECT counted FROM jobq_claims") > 1200);
        fixture_remove(&f);
    }
}

/* Goal: what jobq tells of a job is what the file held. Method: one job of each sort. */
TEST(jobs_are_told) {
    jobq_info info;
    char bytes[8192];
    size_t size = 0;
    fixture f;
    REQUIRE(open_old(&f, SCHEMA_1_FILE));
    info = look(f.q, 1);
    CHECK_INT(info.state, JOBQ_STATE_DONE);
    CHECK_STR(info.kind, "done");
    CHECK_STR(info.key, "a key");
    CHECK_INT(info.finished_at_ms, T0);
    WORKS(jobq_get_result(f.q, 1, bytes, sizeof bytes, &size, &err));
    CHECK(size == 8 && memcmp(bytes, "a result", 8) == 0);
    info = look(f.q, 3);
    CHECK_INT(info.state, JOBQ_STATE_FAILED);
    CHECK_STR(info.error, "it cannot be done: 7");
    CHECK_INT(state_of(f.q, 4), JOBQ_STATE_CANCELLED);
    info = look(f.q, 7);
    CHECK(info.parked);
    CHECK_STR(info.kind, "parked");
    CHECK_STR(info.queue, "parked");
    info = look(f.q, 8);
    CHECK(info.scheduled);
    CHECK_INT(info.attempt, 2);
    CHECK_STR(info.error, "the line is busy");
    CHECK_INT(info.run_at_ms, T0 + JOBQ_SECOND);
    WORKS(jobq_get_payload(f.q, 10, bytes, sizeof bytes, &size, &err));
    CHECK(size == 6000 && bytes[0] == 'x' && bytes[5999] == 'x');
    CHECK_STR(look(f.q, 14).kind, "lost:12");
    CHECK_STR(look(f.q, 14).queue, "lost:13");
    CHECK_INT(look(f.q, 18).crashes, 1);
    fixture_close(&f);
}

/* Goal: keys keep others out as long as their jobs have not ended, and not longer. */
TEST(keys_hold) {
    static const struct {
        const char *kind, *key;
        int64_t holder; /* 0: it is free */
    } keys[] = {{"done", "a key", 9}, {"fails", "of what failed", 0}, {"never", "given up", 0},
                {"parked", "parked key", 6}, {"retries", "of a retry", 8},
                {"done", "parked key", 0}, {"done", "of a client", 22}};
    fixture f;
    REQUIRE(open_old(&f, SCHEMA_1_TEXT));
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        jobq_job job = {.kind = keys[i].kind, .key = keys[i].key, .conflict = JOBQ_REFUSE};
        jobq_error err = {.code = 0};
        int64_t id = 0;
        CHECK_CODE(jobq_enqueue(f.q, &job, &id, &err), keys[i].holder ? JOBQ_EXISTS : JOBQ_OK);
        if (keys[i].holder) CHECK_INT(err.id, keys[i].holder);
        else CHECK(id > 23);
    }
    /* One that failed has its key again when it is retried, unless somebody else has it by now. */
    CHECK_CODE(jobq_retry_now(f.q, 3, NULL), JOBQ_EXISTS);
    CHECK_CODE(jobq_retry_now(f.q, 4, NULL), JOBQ_EXISTS);
    fixture_close(&f);
    check_schema_2(f.path);
}

static void handle_all(jobq *q, trace *t) {
    static const char *const kinds[] = {"done", "fails", "never", "parked", "retries", "deadly",
                                        "loses", "lost:12"};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) handle(q, kinds[i], record, t);
}

static int64_t place_of(trace *t, int64_t id) {
    for (size_t i = 0; i < (size_t)trace_count(t); i++)
        if (t->rows[i].id == id) return (int64_t)i;
    return -1;
}

/* Goal: they run, in the order of their queues, with payload, attempt and checkpoint; what has
 * ended does not. Method: everything that is due, then what was scheduled. */
TEST(jobs_run_in_order) {
    /* Of one queue each: by priority, time and id. */
    static const int64_t orders[][8] = {{15, 19, 22, 17, 21, 5}, {16, 23, 20}};
    for (int kind = 0; kind < SCHEMA_1_KINDS; kind++) {
        trace *t;
        fixture f;
        REQUIRE(open_old(&f, (enum schema_1)kind));
        t = trace_new(f.clock);
        handle_all(f.q, t);
        CHECK_INT(drain(f.q), 13);
        for (size_t i = 0; i < 2; i++)
            for (size_t k = 0; k + 1 < 8 && orders[i][k + 1]; k++)
                CHECK(place_of(t, orders[i][k]) >= 0
                      && place_of(t, orders[i][k]) < place_of(t, orders[i][k + 1]));
        CHECK_INT(place_of(t, 8), -1);
        advance(f.q, 2 * JOBQ_DAY);
        CHECK_INT(trace_count(t), 17);
        for (int64_t id = 1; id <= 4; id++) CHECK_INT(place_of(t, id), -1);
        CHECK_INT(place_of(t, 12), -1);
        CHECK_INT(count_all(f.q).ready + count_all(f.q).scheduled + count_all(f.q).parked, 0);
        trace_free(t);
        check_schema_2(f.path);
        fixture_remove(&f);
    }
}

static jobq_outcome look_at_checkpoint(jobq_run *run, void *ctx) {
    size_t size = 0;
    const void *saved = jobq_run_checkpoint(run, &size);
    (void)ctx;
    CHECK(size == 10 && saved && memcmp(saved, "half of it", 10) == 0);
    CHECK_INT(jobq_run_attempt(run), 2);
    jobq_run_payload(run, &size);
    CHECK_INT(size, 300);
    return JOBQ_DONE;
}

/* Goal: a run finds the checkpoint that 0.1.0 has kept for it. */
TEST(checkpoints_are_found) {
    fixture f;
    REQUIRE(open_old(&f, SCHEMA_1_FILE));
    handle(f.q, "retries", look_at_checkpoint, NULL);
    advance(f.q, 2 * JOBQ_SECOND);
    CHECK_INT(state_of(f.q, 8), JOBQ_STATE_DONE);
    fixture_close(&f);
}

/* Goal: a cancel that was written down for a job that ran is done. 0.1.0 wrote none; files of the
 * same schema that were used since may hold one. */
TEST(wish_outlives_it) {
    fixture f;
    f.path = test_path("q.db");
    f.clock = jobq_clock_artificial(T0);
    f.options = step_at(f.clock);
    schema_1_make(f.path, SCHEMA_1_TEXT);
    sql_run(f.path, "UPDATE jobq_job SET side = side | 4 WHERE id = 15;"
            " INSERT INTO jobq_meta VALUES('lost', 13)");
    opens_well(f.path, &f.options, &f.q);
    CHECK_INT(state_of(f.q, 15), JOBQ_STATE_CANCELLED);
    CHECK_INT(state_of(f.q, 19), JOBQ_STATE_PENDING);
    fixture_close(&f);
    check_schema_2(f.path);
}

/* Goal: the slots of 0.1.0's lock file are evidence, if it is of this boot: the job that ran when
 * the process was killed is charged, and the one that was only claimed is not. */
TEST(slots_are_evidence) {
    char boot[64] = "", lock[600];
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "rb");
    size_t length = file ? fread(boot, 1, 36, file) : 0;
    fixture f;
    if (file) fclose(file);
    if (length != 36) {
        test_skip("the system does not name its boots");
        return;
    }
    f.path = test_path("q.db");
    f.clock = jobq_clock_artificial(T0);
    f.options = step_at(f.clock);
    schema_1_make(f.path, SCHEMA_1_FILE);
    snprintf(lock, sizeof lock, "%s-jobq", f.path);
    file = fopen(lock, "r+b");
    REQUIRE(file != NULL);
    CHECK_INT(fseek(file, 24, SEEK_SET), 0);
    CHECK_INT(fwrite(boot, 1, length, file), length);
    CHECK_INT(fclose(file), 0);
    opens_well(f.path, &f.options, &f.q);
    CHECK_INT(look(f.q, 15).crashes, 2);
    CHECK_INT(look(f.q, 15).runs, 2);
    CHECK_INT(look(f.q, 19).crashes, 0);
    CHECK_INT(look(f.q, 19).runs, 0);
    fixture_close(&f);
    check_schema_2(f.path);
}

/* Goal: numbers of names are not given again, not even those whose names 0.1.0 has lost. */
TEST(numbers_are_not_given_again) {
    fixture f;
    REQUIRE(open_old(&f, SCHEMA_1_TEXT));
    put_job(f.q, (jobq_job){.kind = "quite new", .queue = "new as well"});
    fixture_close(&f);
    CHECK(sql_int(f.path, "SELECT min(id) FROM jobq_name WHERE name LIKE '%new%'") > 13);
}

/* Goal: a number whose name 0.1.0 has lost has one from the migration on, as kind and as queue, of
 * whatever becomes of its jobs; what is the number of none stays without, and a name that is there
 * as it is. Method: kinds and queues without names, and the doctor asked. */
TEST(lost_numbers_get_names) {
    static const char *const names =
        "SELECT group_concat(id || name, ' ') FROM (SELECT * FROM jobq_name WHERE id > 11"
        " ORDER BY id)";
    char told_names[256];
    int64_t id;
    fixture f;
    f.path = test_path("q.db");
    f.clock = jobq_clock_artificial(T0);
    f.options = step_at(f.clock);
    f.options.damaged = true;
    schema_1_make(f.path, SCHEMA_1_TEXT);
    sql_run(f.path, "UPDATE jobq_job SET kind = 20 WHERE id IN (1, 12);"
            " UPDATE jobq_job SET queue = 30, kind = 20 WHERE id = 10;"
            " UPDATE jobq_job SET kind = 26 WHERE id = 11;"
            " INSERT INTO jobq_name VALUES(25, 'lost:26')");
    opens_well(f.path, &f.options, &f.q);
    CHECK_STR(look(f.q, 10).queue, "lost:30");
    sql_text(f.path, names, told_names, sizeof told_names);
    CHECK_STR(told_names, "12lost:12 13lost:13 20lost:20 25lost:26 26lost:26 30lost:30");
    put_job(f.q, (jobq_job){.kind = "quite new"});
    CHECK(sql_int(f.path, "SELECT id FROM jobq_name WHERE name = 'quite new'") > 30);
    put_job(f.q, (jobq_job){.kind = "lost:20"});
    CHECK_INT(sql_int(f.path, "SELECT count(*) FROM jobq_name WHERE name = 'lost:20'"), 1);
    /* One that is called as another is found by its number only. */
    id = put_job(f.q, (jobq_job){.kind = "lost:26"});
    snprintf(told_names, sizeof told_names, "SELECT kind FROM jobq_row WHERE id = %" PRId64, id);
    CHECK_INT(sql_int(f.path, told_names), 25);
    CHECK_STR(look(f.q, 11).kind, "lost:26");
    fixture_remove(&f);
    f.clock = jobq_clock_artificial(T0);
    f.options = step_at(f.clock);
    f.options.damaged = true;
    schema_1_make(f.path, SCHEMA_1_TEXT);
    sql_run(f.path, "UPDATE jobq_job SET kind = 1 WHERE id = 21; UPDATE jobq_job SET queue = -40"
            " WHERE id = 9; UPDATE jobq_job SET kind = 2147483648 WHERE id = 10;"
            " UPDATE jobq_job SET kind = 'mail' WHERE id = 11");
    WORKS(jobq_open(f.path, &f.options, &f.q, &err));
    sql_text(f.path, names, told_names, sizeof told_names);
    CHECK_STR(told_names, "12lost:12 13lost:13");
    fixture_close(&f);
}

/* ---- Who may not ---- */

/* Everything that stands under the path, but what SQLite only shares in memory. */
struct kept {
    char *bytes[2];
    size_t size[2];
};

static struct kept keep(const char *path) {
    static const char *const endings[] = {"", "-wal"};
    struct kept k;
    char name[600];
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s%s", path, endings[i]);
        k.bytes[i] = bytes_of(name, &k.size[i]);
    }
    return k;
}

static void check_untouched(const char *path, struct kept *before) {
    struct kept now = keep(path);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(now.size[i], before->size[i]);
        if (now.size[i] == before->size[i] && now.size[i])
            CHECK(memcmp(now.bytes[i], before->bytes[i], now.size[i]) == 0);
        free(now.bytes[i]);
        free(before->bytes[i]);
    }
}

/* Goal: a client does not migrate, nor does an owner that must not; each is told which schemas are
 * meant and what to do, and not a byte of the file changes. */
TEST(client_and_never_are_refused) {
    const char *path = test_path("q.db");
    for (int client = 0; client < 2; client++) {
        jobq_options options = STEP;
        jobq_error err = {.code = 0};
        struct kept before;
        jobq *q = NULL;
        schema_1_make(path, SCHEMA_1_FILE);
        before = keep(path);
        if (client) options.role = JOBQ_CLIENT;
        else options.migrate = JOBQ_MIGRATE_NEVER;
        options.shared = true;
        CHECK_CODE(jobq_open(path, &options, &q, &err), JOBQ_BAD_STATE);
        CHECK(strstr(err.text, "schema 1") && strstr(err.text, "schema 2"));
        CHECK(strstr(err.text, client ? "JOBQ_OWNER" : "JOBQ_MIGRATE_AUTO") != NULL);
        check_untouched(path, &before);
    }
    WORKS(jobq_open(path, &STEP, &(jobq *){NULL}, &err));
}

/* Goal: JOBQ_MIGRATE_NEVER changes nothing for a file that is new, or of this version. */
TEST(never_is_for_old_files) {
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .migrate = JOBQ_MIGRATE_NEVER}));
    put(f.q, "k");
    REQUIRE(fixture_reopen(&f));
    CHECK_INT(total(f.q), 1);
    fixture_close(&f);
}

/* Goal: what is not as 0.1.0 left it is refused and not touched. Method: something under our names,
 * something missing, a trigger. */
TEST(other_shapes_are_refused) {
    static const char *const changes[] = {
        "CREATE TABLE jobq_row(id INTEGER)", "CREATE TABLE jobq_mine(id INTEGER)",
        "DROP INDEX jobq_live", "ALTER TABLE jobq_job ADD COLUMN more INT",
        "CREATE TRIGGER mine AFTER INSERT ON jobq_job BEGIN SELECT 1; END",
        "CREATE VIEW jobq_jobs AS SELECT 1"};
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        char name[16];
        const char *path;
        struct kept before;
        jobq *q = NULL;
        snprintf(name, sizeof name, "%d.db", (int)i);
        path = test_path(name);
        schema_1_make(path, SCHEMA_1_TEXT);
        sql_run(path, changes[i]);
        before = keep(path);
        FAILS(JOBQ_FOREIGN, jobq_open(path, &STEP, &q, &err));
        /* It is in WAL mode afterwards, as any file that an owner looks at was before. */
        CHECK_INT(schema_of(path), 1);
        check_untouched(path, &before);
    }
}

/* ---- Newer ones ---- */

/* Goal: a newer schema is refused and both are named, unless it says that this version may use it:
 * then the file is used, and what is new in it left alone. */
TEST(newer_says_who_may) {
    jobq_error err = {.code = 0};
    fixture f;
    REQUIRE(fixture_open(&f, STEP));
    put(f.q, "k");
    close_queue(&f.q);
    sql_run(f.path, "UPDATE jobq_meta SET value = 4 WHERE key = 'schema';"
            " CREATE TABLE jobq_of_4(a INT); CREATE INDEX jobq_more ON jobq_row(created_at)");
    REQUIRE_CODE(jobq_open(f.path, &f.options, &f.q, NULL), JOBQ_OK);
    CHECK_INT(total(f.q), 1);
    put(f.q, "k");
    close_queue(&f.q);
    CHECK_INT(sql_int(f.path, "SELECT value FROM jobq_meta WHERE key = 'schema'"), 4);
    sql_run(f.path, "UPDATE jobq_meta SET value = 3 WHERE key = 'writes_from'");
    CHECK_CODE(jobq_open(f.path, &f.options, &f.q, &err), JOBQ_NEWER);
    CHECK(strstr(err.text, "schema 4") && strstr(err.text, "schema 3"));
    CHECK(strstr(err.text, "knows 2") != NULL);
    sql_run(f.path, "DELETE FROM jobq_meta WHERE key = 'writes_from'");
    CHECK_CODE(jobq_open(f.path, &f.options, &f.q, &err), JOBQ_NEWER);
    sql_run(f.path, "INSERT INTO jobq_meta VALUES('writes_from', 2);"
            " CREATE TRIGGER mine AFTER INSERT ON jobq_row BEGIN SELECT 1; END");
    CHECK_CODE(jobq_open(f.path, &f.options, &f.q, &err), JOBQ_FOREIGN);
    jobq_clock_free(f.clock);
}

/* ---- Room ---- */

/* Goal: where the disk has too little room for it, opening says how much is wanted and how much
 * there is, and not a byte changes; with that much it goes. */
TEST(too_little_room) {
    for (int kind = 0; kind < SCHEMA_1_KINDS; kind++) {
        char name[16];
        const char *path;
        jobq_options options = STEP;
        jobq_error err = {.code = 0};
        long long wanted = 0, free_bytes = 0;
        struct kept before;
        jobq *q = NULL;
        snprintf(name, sizeof name, "%d.db", kind);
        path = test_path(name);
        options.reserve_bytes = JOBQ_NONE;
        schema_1_make(path, (enum schema_1)kind);
        before = keep(path);
        told_free = 100;
        CHECK_CODE(jobq_open(path, &options, &q, &err), JOBQ_FULL);
        CHECK(strstr(err.text, "may take ") != NULL);
        if (strstr(err.text, "may take "))
            sscanf(strstr(err.text, "may take "), "may take %lld bytes of disk, of which %lld",
                   &wanted, &free_bytes);
        CHECK_INT(free_bytes, 51200);
        CHECK(wanted > free_bytes);
        check_untouched(path, &before);
        told_free = wanted / 512;
        before = keep(path);
        CHECK_CODE(jobq_open(path, &options, &q, &err), wanted % 512 ? JOBQ_FULL : JOBQ_OK);
        if (!q) check_untouched(path, &before);
        told_free++;
        if (!q) opens_well(path, &options, &q);
        told_free = -1;
        close_queue(&q);
        check_schema_2(path);
    }
}

/* Goal: what the owner before had set aside for a full disk is room for this. */
TEST(reserve_is_room) {
    const char *path = test_path("q.db");
    jobq_options options = STEP;
    char lock[600];
    jobq *q = NULL;
    schema_1_make(path, SCHEMA_1_FILE);
    snprintf(lock, sizeof lock, "%s-jobq", path);
    CHECK_INT(truncate(lock, 4096 + 4 * 1024 * 1024), 0);
    told_free = 100;
    opens_well(path, &options, &q);
    told_free = -1;
    if (q) close_queue(&q);
    CHECK_INT(schema_of(path), 2);
}

/* ---- Others who have it open ---- */

static int64_t log_bytes(const char *path) {
    struct stat st;
    char name[600];
    snprintf(name, sizeof name, "%s-wal", path);
    return stat(name, &st) == 0 ? st.st_size : 0;
}

/* Goal: afterwards the log is empty, unless somebody reads an old state, who is not disturbed. */
TEST(log_is_cut) {
    for (int reading = 0; reading < 2; reading++) {
        sqlite3 *reader;
        fixture f;
        f.path = test_path("q.db");
        f.clock = jobq_clock_artificial(T0);
        f.options = step_at(f.clock);
        schema_1_make(f.path, SCHEMA_1_FILE);
        reader = sql_open(f.path);
        if (reading)
            CHECK_INT(run_sql(reader, "BEGIN; SELECT * FROM jobq_job"), SQLITE_OK);
        opens_well(f.path, &f.options, &f.q);
        if (reading) CHECK_INT(run_sql(reader, "SELECT * FROM jobq_job, jobq_unique"), SQLITE_OK);
        /* What is there is of the recovery. */
        CHECK((log_bytes(f.path) > 20000) == reading);
        sqlite3_close(reader);
        fixture_remove(&f);
    }
}

/* Goal: whoever writes is waited for, by busy_ms. */
TEST(writer_is_waited_for) {
    jobq_options options = STEP;
    struct kept before;
    sqlite3 *writer;
    jobq *q = NULL;
    const char *path = test_path("q.db");
    schema_1_make(path, SCHEMA_1_FILE);
    before = keep(path);
    options.busy_ms = JOBQ_NONE;
    writer = take_the_file(path);
    FAILS(JOBQ_BUSY, jobq_open(path, &options, &q, &err));
    check_untouched(path, &before);
    give_the_file_back(&writer);
    opens_well(path, &options, &q);
    if (q) close_queue(&q);
}

/* Goal: every statement of 0.1.0 that stores or reads jobs fails whole from then on. Method: its
 * texts, prepared before. */
TEST(old_statements_fail) {
    static const char *const texts[] = {
        "INSERT INTO jobq_name(name) VALUES('n')",
        ("INSERT INTO jobq_job(id, state, lane, ord, run_at, kind, queue, priority, attempt, runs,"
         " crashes, delay_ms, created_at, side, payload)"
         " VALUES(99,0,4,0,1,2,4,0,1,0,0,0,1,0,NULL)"),
        "SELECT job FROM jobq_unique WHERE kind = 2 AND key = 'a key'",
        "INSERT INTO jobq_unique(kind, key, job) VALUES(2, 'k', 99)",
        "UPDATE jobq_job SET state = 1, lane = NULL, runs = runs + 1 WHERE id = 16",
        "DELETE FROM jobq_job WHERE id BETWEEN 1 AND 99", "SELECT max(id) FROM jobq_job",
        "SELECT id, state, lane, run_at FROM jobq_job WHERE id > 0 ORDER BY id LIMIT 9"};
    enum { TEXTS = sizeof texts / sizeof texts[0] };
    sqlite3_stmt *statements[TEXTS];
    char *before, *after;
    sqlite3 *old;
    fixture f;
    f.path = test_path("q.db");
    f.clock = jobq_clock_artificial(T0);
    f.options = step_at(f.clock);
    schema_1_make(f.path, SCHEMA_1_TEXT);
    old = sql_open(f.path);
    for (int i = 0; i < TEXTS; i++)
        CHECK_INT(sqlite3_prepare_v2(old, texts[i], -1, &statements[i], NULL), SQLITE_OK);
    opens_well(f.path, &f.options, &f.q);
    before = told(f.path, TOLD_WHOLE);
    for (int i = 0; i < TEXTS; i++) {
        int code = sqlite3_step(statements[i]);
        if (!CHECK(code == SQLITE_ERROR || code == SQLITE_CONSTRAINT)) test_note("%s", texts[i]);
        sqlite3_finalize(statements[i]);
    }
    sqlite3_close(old);
    after = told(f.path, TOLD_WHOLE);
    CHECK_STR(after, before);
    free(before);
    free(after);
    fixture_close(&f);
}

/* ---- The program of 0.1.0 ---- */

struct program {
    pid_t pid;
    FILE *to, *from;
};

/* NULL if it could not be built: it wants git, and the history. */
static const char *old_program(void) {
    static char path[1200];
    const char *build = getenv("JOBQ_BUILD");
    snprintf(path, sizeof path, "%s/0.1.0/program", build ? build : "build/plain");
    return access(path, X_OK) == 0 ? path : NULL;
}

static struct program program_start(const char *path, const char *role) {
    struct program p = {0, NULL, NULL};
    int to[2], from[2];
    pipe_make(to);
    pipe_make(from);
    p.pid = fork();
    if (p.pid == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        close(to[1]);
        close(from[0]);
        execl(old_program(), "program", path, role, (char *)NULL);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    p.to = fdopen(to[1], "w");
    p.from = fdopen(from[0], "r");
    return p;
}

/* The answer of the next command, as "enqueue JOBQ_OK". */
static const char *program_hear(struct program *p) {
    static char line[128];
    if (!fgets(line, sizeof line, p->from)) return "";
    line[strcspn(line, "\n")] = '\0';
    return line;
}

static const char *program_ask(struct program *p, const char *command) {
    fprintf(p->to, "%s\n", command);
    fflush(p->to);
    return program_hear(p);
}

static void program_end(struct program *p) {
    fclose(p->to);
    CHECK_STR(program_hear(p), "close JOBQ_OK");
    fclose(p->from);
    CHECK_INT(test_wait(p->pid), 0);
}

/* Goal: a client of 0.1.0 that has the file open does no harm when an owner of this version has
 * opened it: its calls fail with a code and store nothing, and jobs run as ever. And 0.1.0 does not
 * open the file any more: NEWER. Method: that program, built from its own sources. */
TEST(beside_a_client_of_0_1_0) {
    static const char *const calls[] = {"enqueue", "with_key", "many", "get", "payload", "list",
                                        "count"};
    char *before, *after;
    struct program p;
    trace *t;
    fixture f;
    if (!old_program()) {
        test_skip("the program of 0.1.0 was not built: no git, or not its history");
        return;
    }
    f.path = test_path("q.db");
    f.clock = jobq_clock_artificial(T0);
    f.options = step_at(f.clock);
    f.options.shared = true;
    schema_1_make(f.path, SCHEMA_1_FILE);
    p = program_start(f.path, "client");
    CHECK_STR(program_hear(&p), "open JOBQ_OK");
    CHECK_STR(program_ask(&p, "enqueue"), "enqueue JOBQ_OK");
    CHECK_STR(program_ask(&p, "get"), "get JOBQ_OK");
    opens_well(f.path, &f.options, &f.q);
    CHECK_INT(total(f.q), SCHEMA_1_JOBS + 1);
    before = told(f.path, TOLD_WHOLE);
    for (int twice = 0; twice < 2; twice++) {
        for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
            const char *answer = program_ask(&p, calls[i]);
            if (!CHECK(strncmp(answer, calls[i], strlen(calls[i])) == 0
                       && !strstr(answer, "JOBQ_OK"))) test_note("%s", answer);
        }
    }
    program_ask(&p, "flush");
    after = told(f.path, TOLD_WHOLE);
    CHECK_STR(after, before);
    t = trace_new(f.clock);
    handle_all(f.q, t);
    CHECK_INT(drain(f.q), 14);
    program_end(&p);
    fixture_close(&f);
    check_schema_2(f.path);
    p = program_start(f.path, "client");
    CHECK_STR(program_hear(&p), "open JOBQ_NEWER");
    program_end(&p);
    p = program_start(f.path, "owner");
    CHECK_STR(program_hear(&p), "open JOBQ_NEWER");
    fclose(p.to);
    fclose(p.from);
    CHECK_INT(test_wait(p.pid), 0);
    check_schema_2(f.path);
    trace_free(t);
    free(before);
    free(after);
}

/* Goal: the application's foreign key that names the table of jobs still does. */
TEST(foreign_keys_follow) {
    sqlite3 *db;
    fixture f;
    REQUIRE(open_old(&f, SCHEMA_1_FILE));
    fixture_close(&f);
    db = sql_open(f.path);
    CHECK_INT(run_sql(db, "PRAGMA foreign_keys = 1; INSERT INTO job_of VALUES(3, 10)"), SQLITE_OK);
    CHECK_INT(run_sql(db, "INSERT INTO job_of VALUES(4, 999)"), SQLITE_CONSTRAINT);
    sqlite3_close(db);
}

TEST_MAIN(owner_keeps_every_job, exclusive_owner_migrates, jobs_are_counted, jobs_are_told,
          keys_hold, jobs_run_in_order, checkpoints_are_found, wish_outlives_it,
          slots_are_evidence, numbers_are_not_given_again, lost_numbers_get_names,
          client_and_never_are_refused, never_is_for_old_files, other_shapes_are_refused,
          newer_says_who_may, too_little_room, reserve_is_room, log_is_cut, writer_is_waited_for,
          old_statements_fail, beside_a_client_of_0_1_0, foreign_keys_follow)
