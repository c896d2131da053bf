/* cut_migrate.c - power cuts, kills, failing calls and full disks while a file of schema 1 becomes
 * one of schema 2.
 *
 * Promised: whatever happens, what is found afterwards is the whole file of schema 1, with every
 * job as it was, or the whole file of schema 2; the next open goes through, and then all jobs are
 * there. Once jobq_open has returned, the power can fail at RELAXED, too, and it stays migrated.
 *
 * Each file is opened once and what is done to the disk is written down; each boundary between two
 * operations is an image, damaged in each way (fault_power.h). Broken on purpose by a migration in
 * two transactions, and by one that does not sync. */
#include "fault_power.h"
#include "schema_1.h"

static struct {
    int64_t images, kills, opened, old, new; /* the last two: what was found in them */
} sum;

enum { KNOWN = 1 << 13 };

static struct {
    char *whole, *calm; /* what the file tells */
    uint64_t known[KNOWN];
    int count;
} was;

/* ---- A file on the disk that fails ---- */

static void put_on_disk(const char *path, enum schema_1 kind) {
    static const char *const endings[] = {"", "-wal"};
    char name[600];
    fault_remove(path);
    if (kind == SCHEMA_1_TEXT) {
        schema_1_text(path);
        return;
    }
    for (int i = 0; i < 2; i++) {
        size_t size;
        char *bytes;
        snprintf(name, sizeof name, "schema_1_joined.db%s", endings[i]);
        bytes = fixture_bytes(name, &size);
        snprintf(name, sizeof name, "%s%s", path, endings[i]);
        pthread_mutex_lock(&fault.mutex);
        disk_replace(name, bytes, (int64_t)size);
        disk_make_real(path);
        pthread_mutex_unlock(&fault.mutex);
        free(bytes);
    }
}

static void begin(const char *path, enum schema_1 kind) {
    fault_begin();
    put_on_disk(path, kind);
    was.whole = told(path, TOLD_WHOLE);
    was.calm = told(path, TOLD_CALM);
    was.count = 0;
    /* The look has copied the log. */
    put_on_disk(path, kind);
}

static void end(const char *path) {
    fault_remove(path);
    free(was.whole);
    free(was.calm);
}

/* ---- What is found ---- */

static int open_at(const char *path, jobq_durability durability, jobq **q, jobq_error *err) {
    static jobq_clock *clock;
    jobq_options options = {.workers = JOBQ_NONE, .durability = durability,
                            .reserve_bytes = JOBQ_NONE};
    if (!clock) clock = jobq_clock_artificial(T0);
    options.clock = clock;
    return jobq_open(path, &options, q, err);
}

static void check_tells(sqlite3 *db, bool second, enum told_how how, const char *wanted) {
    char *now = told_by(db, second, how);
    if (!CHECK(strcmp(now, wanted) == 0)) test_note("it tells something else:\n%.2000s", now);
    free(now);
}

static int64_t number_of(sqlite3 *db, const char *sql) {
    sqlite3_stmt *s = NULL;
    int64_t number = -1;
    CHECK_INT(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    if (s && sqlite3_step(s) == SQLITE_ROW) number = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return number;
}

/* The file is of schema 1 or 2, whole. What is looked at is a copy, as a killed process left it. */
static int64_t check_whole(const char *path) {
    const char *copy = test_path("copy.db");
    int64_t version;
    sqlite3 *db;
    fault_remove(copy);
    fault_copy(path, copy);
    db = sql_open(copy);
    version = number_of(db, SCHEMA_OF);
    CHECK_INT(number_of(db, "SELECT count(*) FROM pragma_integrity_check WHERE"
                        " integrity_check <> 'ok'"), 0);
    if (CHECK(version == 1 || version == 2)) check_tells(db, version == 2, TOLD_CALM, was.calm);
    if (version == 1) check_tells(db, false, TOLD_WHOLE, was.whole);
    else check_rows_of_schema_2(db);
    sqlite3_close(db);
    return version;
}

/* The next open goes through, and all jobs are there; each eighth time they are looked at. */
static void check_opens(const char *path) {
    static int times;
    jobq_error err = {.code = 0};
    char fault[256];
    jobq *q = NULL;
    if (!CHECK_CODE(open_at(path, JOBQ_DURABLE, &q, &err), JOBQ_OK)) {
        test_note("%s", err.text);
        return;
    }
    CHECK_INT(total(q), SCHEMA_1_JOBS);
    if (times % 8 == 0) CHECK_STR(fault_of(q, fault), "");
    close_queue(&q);
    if (times++ % 8 == 0) CHECK_INT(check_whole(path), 2);
}

static bool seen_before(uint64_t hash) {
    for (int i = 0; i < was.count; i++)
        if (was.known[i] == hash) return true;
    was.known[was.count++ % KNOWN] = hash;
    if (was.count > KNOWN) was.count = KNOWN;
    return false;
}

/* acknowledged: jobq_open had returned. */
static void judge_cut(const struct fault_cut *cut, int n, int damage, bool acknowledged) {
    const char *path = test_path("image.db");
    uint64_t seed = test_seed() + (uint64_t)n * 8 + (uint64_t)damage;
    fault_cut_image(cut, (enum fault_damage)damage, &seed, path);
    sum.images++;
    sum.kills += damage == FAULT_KEEP;
    if (seen_before(fault_hash(path) + acknowledged)) return;
    sum.opened++;
    if (check_whole(path) == 2) {
        sum.new++;
    } else {
        sum.old++;
        if (!CHECK(!acknowledged)) test_note("cut at %d", n);
    }
    check_opens(path);
}

/* ---- Cuts ---- */

static void cut_everywhere(enum schema_1 kind, jobq_durability durability) {
    const char *path = test_path("q.db");
    int each = test_effort(1) > 1 ? 1 : 4; /* so many with parts of what was written */
    struct fault_log log;
    struct fault_cut cut;
    jobq *q = NULL;
    int done;
    begin(path, kind);
    fault_log_begin(&log, path);
    WORKS(open_at(path, durability, &q, &err));
    done = fault_log_now(&log);
    if (q) close_queue(&q);
    fault_log_end(&log);
    fault_cut_begin(&cut, &log);
    for (int n = log.base; n <= log.count; n++) {
        fault_cut_to(&cut, n);
        for (int damage = 0; damage < FAULT_DAMAGES; damage++)
            if (damage <= FAULT_KEEP || (n + damage) % each == 0)
                judge_cut(&cut, n, damage, n >= done);
    }
    fault_cut_end(&cut);
    fault_log_free(&log);
    end(path);
}

/* Goal: a power cut or a kill at whatever moment of the first open leaves schema 1 whole or schema
 * 2 whole, and the next open goes on from there. Method: every boundary, both files. */
TEST(cut_at_every_step) {
    cut_everywhere(SCHEMA_1_TEXT, JOBQ_DURABLE);
    cut_everywhere(SCHEMA_1_FILE, JOBQ_DURABLE);
    if (test_effort(1) > 1) cut_everywhere(SCHEMA_1_FILE, JOBQ_RELAXED);
    CHECK(sum.old > 20 && sum.new > 20);
    test_figure("power cut in a migration", "schema 1 whole or schema 2 whole; 0 lost",
                "%" PRId64 " images, %" PRId64 " of them kills; %" PRId64 " differ: %" PRId64
                " of schema 1, %" PRId64 " of schema 2, all whole", sum.images, sum.kills,
                sum.opened, sum.old, sum.new);
}

/* ---- Calls that fail ---- */

/* False once nothing failed any more. Whoever is told JOBQ_OK has a file of schema 2. */
static bool fail_at(const char *path, enum schema_1 kind, enum fault_class how, int64_t n,
                    const char *plan) {
    jobq_error err = {.code = 0};
    bool hit;
    jobq *q = NULL;
    int rc;
    put_on_disk(path, kind);
    fault_nth_of(how, n, plan);
    rc = open_at(path, JOBQ_DURABLE, &q, &err);
    hit = fault_hits(FAULT_ANY) > 0;
    fault_off();
    if (rc != JOBQ_OK) CHECK(strchr(err.text, ' ') != NULL);
    else jobq_close(&q);
    if (check_whole(path) == 1 && !CHECK(rc != JOBQ_OK))
        test_note("%s, call %d", fault_class_names[how], (int)n);
    if (hit) check_opens(path);
    return hit;
}

/* Goal: whichever call fails, once or from then on, nothing is half done, and the next open goes
 * through. Method: every call of the first open, in each way that it can fail. */
TEST(calls_fail) {
    static const enum fault_class classes[] = {FAULT_IO, FAULT_FULL, FAULT_SYNC};
    static const char *const plans[] = {"x", "X"};
    const char *path = test_path("q.db");
    begin(path, SCHEMA_1_FILE);
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        for (int plan = 0; plan < 2; plan++) {
            int64_t n = 1, step = test_effort(1) > 1 ? 1 : 3 * JOBQ_TEST_SCALE;
            while (fail_at(path, SCHEMA_1_FILE, classes[i], n, plans[plan])) n += step;
            CHECK(n > (classes[i] == FAULT_SYNC ? 2 : 20));
        }
    }
    end(path);
}

/* Goal: a disk that becomes full in the middle, because nobody could tell how much there is, leaves
 * schema 1, says FULL, and with more room it goes. Method: more and more room. */
TEST(disk_becomes_full) {
    const char *path = test_path("q.db");
    int full = 0;
    begin(path, SCHEMA_1_FILE);
    for (int64_t room = 32768;; room += 4096) {
        jobq_error err = {.code = 0};
        jobq *q = NULL;
        int rc;
        put_on_disk(path, SCHEMA_1_FILE);
        fault_space(disk_used() + room, path);
        rc = open_at(path, JOBQ_DURABLE, &q, &err);
        fault_space(0, path);
        if (rc == JOBQ_OK) {
            jobq_close(&q);
            CHECK_INT(check_whole(path), 2);
            break;
        }
        full++;
        CHECK_CODE(rc, JOBQ_FULL);
        check_whole(path);
        check_opens(path);
        if (!CHECK(room < 4 << 20)) break;
    }
    CHECK(full > 3);
    end(path);
}

/* Goal: the log of an owner who could not sync it is copied before the migration adds to it.
 * Method: the page says so, and the first sync of the log that comes is lost with the power. */
TEST(doubtful_log_is_copied_first) {
    static const int32_t doubt = 1;
    const char *path = test_path("q.db");
    struct fault_log log;
    char lock[600];
    int db = 0, wal = 0;
    size_t size;
    char *page;
    jobq *q = NULL;
    begin(path, SCHEMA_1_FILE);
    page = fixture_bytes("schema_1_joined.db-jobq", &size);
    memcpy(page + 20, &doubt, sizeof doubt);
    snprintf(lock, sizeof lock, "%s-jobq", path);
    put_bytes(lock, page, size);
    free(page);
    fault_log_begin(&log, path);
    WORKS(open_at(path, JOBQ_DURABLE, &q, &err));
    /* The database is written and synced before anything is added to the log. */
    for (int i = log.base; i < log.count && !wal; i++) {
        if (log.ops[i].kind == FAULT_OP_SYNC && log.ops[i].ending == 0) db = i;
        if (log.ops[i].kind == FAULT_OP_WRITE && log.ops[i].ending == 1) wal = i;
    }
    CHECK(db > 0 && db < wal);
    if (q) close_queue(&q);
    fault_log_end(&log);
    fault_log_free(&log);
    check_whole(path);
    end(path);
}

TEST_MAIN(cut_at_every_step, calls_fail, disk_becomes_full, doubtful_log_is_copied_first)
