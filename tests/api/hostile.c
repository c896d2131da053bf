/* hostile.c - rows that jobq never writes: each ends with JOBQ_CORRUPT and a sentence that
 * names it, at the first touch, and stops the queue.
 *
 * The file is damaged by SQL, as another program with a bug would do it, so SQLite itself finds
 * nothing wrong. tests/fault/hostile.c damages by the thousand what this table cannot list. */
#include "hostile_rows.h"

#include "amalgamation/limits.h"

/* What is no damage: 0.1.0 has written it. A kind or queue without a name is called by its number;
 * the rest goes on (api/lost_names.c). */
#define KEYS_FOLLOW " UPDATE jobq_key SET kind = (SELECT kind FROM jobq_row WHERE id = job)"
static const char *const lost[] = {
    "DELETE FROM jobq_name WHERE name = 'mail'",
    "DELETE FROM jobq_name WHERE name = 'slow'",
    "DELETE FROM jobq_name WHERE id > 1",
    "UPDATE jobq_row SET kind = 4000 WHERE lane >= -1;" KEYS_FOLLOW,
    "UPDATE jobq_row SET lane = 4000, queue = 4000 WHERE lane > 1",
    "UPDATE jobq_row SET kind = 40000, queue = 40000 WHERE state > 1;" KEYS_FOLLOW,
    "UPDATE jobq_row SET kind = 2 + id, queue = 3000 - id WHERE lane IN (-1, 0);" KEYS_FOLLOW,
};

/* Returns whether the damage was met. */
static bool play_damage(const struct hostile_file *good, const struct damage *damage,
                        bool look_first) {
    const char *path = test_path("hostile.db");
    struct hostile_seen seen;
    bool named;
    if (!hostile_write(path, good)) return false;
    damage_it(path, damage->sql);
    hostile_play(path, false, look_first, &seen);
    named = strstr(seen.text, damage->table) && strstr(seen.text, damage->column);
    /* The row, too; but the next time is read without asking whose it is. */
    if (strcmp(damage->table, "jobq_row") == 0 && !strstr("id run_at prune_at", damage->column))
        named = named && !strstr(seen.text, "row 0:");
    if (!look_first) named = seen.code == JOBQ_OK || strstr(seen.text, "jobq_");
    if ((look_first && !CHECK_CODE(seen.code, JOBQ_CORRUPT)) || !CHECK(named))
        test_note("%s: \"%s\"", damage->sql, seen.text);
    CHECK_CODE(seen.latched, seen.code);
    CHECK(!seen.endless);
    CHECK_INT(seen.wrong, 0);
    hostile_remove(path);
    return seen.code == JOBQ_CORRUPT;
}

/* Goal: a row that jobq never wrote is damage, whatever is wrong with it, and the sentence says
 * which row and column. Method: each of the table above, on a queue with one of everything; look
 * into it first. */
TEST(damaged_rows_end_with_a_code) {
    struct hostile_file good = hostile_good(40, 1000, false, 0);
    size_t i;
    for (i = 0; i < sizeof damaged_rows / sizeof damaged_rows[0]; i++)
        play_damage(&good, &damaged_rows[i], true);
    hostile_free(&good);
}

/* Goal: the same where nobody looks before handlers run, jobs are changed and time passes.
 * Method: nearly all of the damage is met then; the rest stands in what is pruned unread. */
TEST(damaged_rows_end_with_a_code_when_they_run) {
    struct hostile_file good = hostile_good(40, 1000, false, 0);
    size_t i, met = 0, count = sizeof damaged_rows / sizeof damaged_rows[0];
    for (i = 0; i < count; i++) met += play_damage(&good, &damaged_rows[i], false);
    CHECK(met >= count - 8);
    hostile_free(&good);
}

/* Goal: a NULL where the schema forbids it is damage, told as such. Method: each column, while its
 * table is declared without NOT NULL; look into it first. */
TEST(nulls_are_damage) {
    static const struct { const char *table, *column, *named; } nulls[] = {
        {"jobq_row", "state", "row 1: state is NULL"},
        {"jobq_row", "ord", "row 1: ord is NULL"},
        {"jobq_row", "run_at", "row 1: run_at is NULL"},
        {"jobq_row", "kind", "row 1: the name of its kind is NULL"},
        {"jobq_row", "queue", "row 1: the name of its queue is NULL"},
        {"jobq_row", "priority", "row 1: priority is NULL"},
        {"jobq_row", "attempt", "row 1: attempt is NULL"},
        {"jobq_row", "runs", "row 1: runs is NULL"},
        {"jobq_row", "crashes", "row 1: crashes is NULL"},
        {"jobq_row", "delay_ms", "delay_ms is NULL"},
        {"jobq_row", "side", "side is NULL"},
        {"jobq_claims", "last_id", "row 0: last_id is NULL"},
        {"jobq_claims", "next_name", "next_name is NULL"},
        {"jobq_payload", "data", "the row is missing"},
        {"jobq_name", "what", "what is NULL"},
        {"jobq_name", "name", "name is NULL"},
    };
    struct hostile_file good = hostile_good(40, 1000, false, 0);
    const char *path = test_path("hostile.db");
    for (size_t i = 0; i < sizeof nulls / sizeof nulls[0] && !test_failures(); i++) {
        struct hostile_seen seen;
        char sql[100];
        if (!hostile_write(path, &good)) break;
        snprintf(sql, sizeof sql, "UPDATE %s SET %s = NULL", nulls[i].table, nulls[i].column);
        damage_as_if(path, nulls[i].table, "replace(sql, ' NOT NULL', '')", sql);
        hostile_play(path, false, true, &seen);
        CHECK_CODE(seen.code, JOBQ_CORRUPT);
        CHECK_CODE(seen.latched, JOBQ_CORRUPT);
        if (!CHECK(strstr(seen.text, nulls[i].named) && strstr(seen.text, nulls[i].table)))
            test_note("%s: \"%s\"", sql, seen.text);
        CHECK_INT(seen.wrong, 0);
    }
    hostile_free(&good);
}

/* Goal: a lost name stops nothing, whoever meets it first. Method: names go, and the play finds no
 * damage. */
TEST(lost_names_are_no_damage) {
    struct hostile_file good = hostile_good(40, 1000, true, 0);
    for (size_t i = 0; i < 2 * (sizeof lost / sizeof lost[0]); i++) {
        const char *path = test_path("hostile.db");
        struct hostile_seen seen;
        if (!hostile_write(path, &good)) break;
        damage_it(path, lost[i / 2]);
        hostile_play(path, false, i % 2, &seen);
        if (!CHECK_CODE(seen.code, JOBQ_OK)) test_note("%s: \"%s\"", lost[i / 2], seen.text);
        CHECK_CODE(seen.latched, JOBQ_OK);
        CHECK(!seen.endless);
        CHECK_INT(seen.wrong, 0);
        CHECK(seen.listed > (i % 2 ? 40 : 0));
    }
    hostile_free(&good);
}

/* Goal: when the last id has been given the next job is refused, before it is stored: what is
 * accepted can be read again, and the file opened. Method: SQL puts the file there; jobs that are
 * claimed at once, that wait, that have a key, and several at a time; by an owner and a client. */
TEST(the_last_id) {
    static const int64_t last = INT64_C(4611686018427387903);
    for (int i = 0; i < 10; i++) {
        jobq_options options = {.workers = JOBQ_NONE, .role = i % 2 ? JOBQ_CLIENT : JOBQ_OWNER,
                                .shared = true};
        jobq_job jobs[2] = {{.kind = i < 4 ? "mail" : "nobody's"}, {.kind = "mail"}};
        jobq_info info;
        jobq_error why;
        char text[256];
        int64_t id;
        fixture f;
        REQUIRE(fixture_open(&f, STEP));
        put(f.q, "mail");
        close_queue(&f.q);
        damage_it(f.path, "UPDATE jobq_claims SET last_id = 4611686018427387902");
        f.q = open_queue_at(f.path, options);
        REQUIRE(f.q != NULL);
        if (i % 2 == 0) handle(f.q, "mail", do_nothing, NULL);
        if (i / 2 == 2) jobs[0].delay_ms = JOBQ_DAY;
        if (i / 2 == 3) jobs[0].key = "a key";
        if (i / 2 == 4) {
            CHECK_CODE(jobq_enqueue_many(f.q, jobs, 2, NULL, &why), JOBQ_CORRUPT);
        } else {
            CHECK_INT(put_job(f.q, jobs[0]), last);
            WORKS(jobq_get(f.q, last, &info, &err));
            jobs[0].key = NULL;
            CHECK_CODE(jobq_enqueue(f.q, &jobs[0], &id, &why), JOBQ_CORRUPT);
            CHECK_INT(id, 0);
        }
        CHECK(strstr(why.text, "the highest id is the last one") != NULL);
        REQUIRE(fixture_reopen(&f));
        handle(f.q, "mail", do_nothing, NULL);
        CHECK_CODE(jobq_get(f.q, last, &info, NULL), i / 2 == 4 ? JOBQ_NOT_FOUND : JOBQ_OK);
        CHECK_INT(drain(f.q), i < 4 ? 2 : 1);
        CHECK_STR(fault_of(f.q, text), "");
        fixture_remove(&f);
    }
}

/* Goal: the good file is good. Method: the same play on it finds nothing, and every payload comes
 * whole. */
TEST(undamaged_rows_play) {
    const char *path = test_path("hostile.db");
    struct hostile_seen seen;
    if (!hostile_make(path, 40, 1000, false)) return;
    hostile_play(path, false, true, &seen);
    if (!CHECK_CODE(seen.code, JOBQ_OK)) test_note("%s", seen.text);
    CHECK_CODE(seen.latched, JOBQ_OK);
    CHECK_INT(seen.wrong, 0);
    CHECK(seen.ran > 20);
    CHECK(seen.listed > 60);
}

/* Goal: the header's number of free pages is not believed: it would make the reserve as large as
 * the disk. Method: it is changed in the file; open refuses, and nothing was set aside. */
TEST(free_pages_are_counted) {
    static const unsigned char odd[][4] = {
        {0x7f, 0xff, 0xff, 0xff}, {0x80, 0, 0, 0}, {0xff, 0xff, 0xff, 0xff}, {0, 0, 0x40, 0}};
    struct hostile_file good = hostile_good(40, 1000, false, 0);
    const char *path = test_path("hostile.db");
    size_t i;
    for (i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        struct hostile_seen seen;
        struct stat st;
        memcpy(good.db + 36, odd[i], 4);
        if (!hostile_write(path, &good)) break;
        hostile_play(path, false, true, &seen);
        CHECK_CODE(seen.latched, JOBQ_CORRUPT);
        CHECK(strstr(seen.text, "free pages") && strstr(seen.text, ".recover"));
        CHECK(stat(hostile_beside(path, "-jobq"), &st) == 0 && st.st_size < (16 << 20));
    }
    hostile_free(&good);
}

/* ---- Rows that agree by themselves, but not with each other ---- */

/* What happens to the table while the index does not follow. */
struct disagreement {
    const char *index;
    struct damage damage;
    bool look_first;
    const char *then; /* and what happens when the index follows again, or NULL */
};

#define TWICE_IN_THE_INDEX "UPDATE aside SET run_at = run_at + 1;" \
    " INSERT INTO jobq_row SELECT * FROM aside; DROP TABLE aside"

static const struct disagreement disagreements[] = {
    {"jobq_live",
     {"CREATE TABLE aside AS SELECT * FROM jobq_row WHERE lane IN (-1, 0);"
      " DELETE FROM jobq_row WHERE lane IN (-1, 0)", "jobq_row", "lane does not agree"}, false,
     TWICE_IN_THE_INDEX},
    {"jobq_live",
     {"UPDATE jobq_row SET state = 2, finished_at = 5, prune_at = 9000000000000000000"
      " WHERE lane > 1",
      "jobq_row", "lane does not agree"}, false, NULL},
    {"jobq_finished",
     {"UPDATE jobq_row SET state = 0, lane = 2, finished_at = NULL, prune_at = NULL"
      " WHERE prune_at IS NOT NULL", "jobq_row", "prune_at does not agree"}, true, NULL},
    {"jobq_finished",
     {"UPDATE jobq_row SET state = 0, lane = 2, finished_at = NULL, prune_at = NULL"
      " WHERE prune_at IS NOT NULL AND NOT side & 10",
      /* In slices the second entry of a row that is gone is met by SQLite. */
      JOBQ__SIZE("jobq_row", "SQLite"), JOBQ__SIZE("is not where an index says", "malformed")},
     false, NULL},
};

/* For as long as sql runs the index covers no row. */
static void damage_beside_index(const char *path, const char *index, const char *sql) {
    damage_as_if(path, index, "sql || ' AND id < 0'", sql);
}

/* A walk over rows out of order may have no end, within a call: then the child is killed. */
static void watch_the_child(void) {
    signal(SIGALRM, SIG_DFL);
    alarm(20 * JOBQ_TEST_SCALE);
}

struct play {
    const char *path;
    const struct damage *damage;
    bool look_first;
};

/* Which of the two a statement reads first, the index or the row, is SQLite's choice. */
static bool says_so(const char *text, const struct damage *damage) {
    return strstr(text, damage->table)
        && (strstr(text, damage->column) || strstr(text, "is not where an index says"));
}

static void play_in_child(void *arg) {
    const struct play *play = (const struct play *)arg;
    struct hostile_seen seen;
    watch_the_child();
    hostile_play(play->path, false, play->look_first, &seen);
    CHECK_CODE(seen.code, JOBQ_CORRUPT);
    CHECK_CODE(seen.latched, JOBQ_CORRUPT);
    CHECK(!seen.endless);
    if (!CHECK(says_so(seen.text, play->damage)))
        test_note("%s: \"%s\"", play->damage->sql, seen.text);
}

/* Goal: an index that points to rows which are something else is damage, found at the first walk.
 * Method: rows change while the index does not follow; the play, in a child with little time. */
TEST(index_that_does_not_agree) {
    struct hostile_file good = hostile_good(40, 1000, false, 0);
    const char *path = test_path("hostile.db");
    for (size_t i = 0; i < sizeof disagreements / sizeof disagreements[0]; i++) {
        const struct disagreement *d = &disagreements[i];
        struct play play = {path, &d->damage, d->look_first};
        if (!hostile_write(path, &good)) break;
        damage_beside_index(path, d->index, d->damage.sql);
        if (d->then) damage_it(path, d->then);
        CHECK_INT(test_fork(play_in_child, &play), 0);
    }
    hostile_free(&good);
}

static void run_in_child(void *arg) {
    jobq_options options = {.workers = 32, .durability = JOBQ_RELAXED};
    jobq_error told = {.code = JOBQ_OK};
    jobq *q = NULL;
    watch_the_child();
    WORKS(jobq_open((const char *)arg, &options, &q, &err));
    REQUIRE(q != NULL);
    handle(q, "mail", do_nothing, NULL);
    handle(q, "report", do_nothing, NULL);
    start(q);
    while (stats_of(q).failed_code == JOBQ_OK) test_pause_ms(1);
    CHECK_CODE(jobq_enqueue(q, &(jobq_job){.kind = "mail"}, NULL, &told), JOBQ_CORRUPT);
    /* Or the second entry stands in another walk than the first. */
    if (!CHECK(strstr(told.text, "is not where an index says")
               || (JOBQ__BATCH < 40 && strstr(told.text, "lane does not agree"))))
        test_note("%s", told.text);
    jobq_close(&q);
}

/* Goal: a row that stands twice in the index is claimed once, and then it is damage. Method: a
 * pool, which claims many in one walk; in a child with little time. */
TEST(row_that_stands_twice) {
    struct hostile_file good = hostile_good(40, 1000, false, 0);
    const char *path = test_path("hostile.db");
    REQUIRE(hostile_write(path, &good));
    damage_beside_index(path, "jobq_live", "CREATE TABLE aside AS SELECT * FROM jobq_row WHERE"
                        " lane > 1; DELETE FROM jobq_row WHERE lane > 1");
    damage_it(path, TWICE_IN_THE_INDEX);
    CHECK_INT(test_fork(run_in_child, (void *)(uintptr_t)path), 0);
    hostile_free(&good);
}

/* The file's only page of jobs, whose rows SQLite finds by these offsets. */
static unsigned char *offsets_of_jobs(struct hostile_file *file, int *count) {
    int64_t root, size;
    unsigned char *page;
    hostile_write(test_path("root.db"), file);
    root = sql_int(test_path("root.db"),
                   "SELECT rootpage FROM sqlite_master WHERE name = 'jobq_row'");
    size = sql_int(test_path("root.db"), "PRAGMA page_size");
    page = file->db + (root - 1) * size;
    *count = page[3] << 8 | page[4];
    return CHECK_INT(page[0], 13) && CHECK(*count > 4) ? page + 8 : NULL;
}

static void list_in_child(void *arg) {
    const struct play *play = (const struct play *)arg;
    jobq_options options = {.workers = JOBQ_NONE, .durability = JOBQ_RELAXED};
    struct hostile_seen seen = {0};
    jobq *q = NULL;
    watch_the_child();
    WORKS(jobq_open(play->path, &options, &q, &err));
    if (!q) return;
    if (play->look_first) {
        hostile_list(q, &seen, (jobq_filter){.state = JOBQ_STATE_NONE});
    } else {
        jobq_counts counts;
        jobq_error told = {.code = JOBQ_OK};
        hostile_note(&seen, jobq_count(q, &counts, &told), &told);
    }
    CHECK_CODE(seen.code, JOBQ_CORRUPT);
    CHECK(!seen.endless);
    if (!CHECK(strstr(seen.text, play->damage->column) != NULL)) test_note("%s", seen.text);
    jobq_close(&q);
}

/* Goal: rows that do not stand in the order of their ids are damage for who lists and who counts,
 * not an endless walk. Method: two rows change places; a child with little time. */
TEST(rows_out_of_order) {
    struct hostile_file good = hostile_good(12, 24, false, 0);
    static const struct damage damage = {"", "jobq_row", "does not stand in order"};
    struct play play = {test_path("hostile.db"), &damage, false};
    int count;
    unsigned char *offsets = offsets_of_jobs(&good, &count), other[2];
    REQUIRE(offsets != NULL);
    memcpy(other, offsets + 2, 2);
    memcpy(offsets + 2, offsets + 2 * (count - 2), 2);
    memcpy(offsets + 2 * (count - 2), other, 2);
    for (int lists = 0; lists < 2; lists++) {
        play.look_first = lists;
        if (!hostile_write(play.path, &good)) break;
        CHECK_INT(test_fork(list_in_child, &play), 0);
    }
    hostile_free(&good);
}

/* Goal: a job that waits in no lane is damage for who counts or lists, too, and for who lists one
 * that is scheduled where no walk looks. Method: the count alone, and the list. */
TEST(lanes_are_looked_at) {
    static const struct damage damages[] = {
        {"UPDATE jobq_row SET lane = NULL WHERE state = 0", "jobq_row", "lane does not agree"},
        {"UPDATE jobq_row SET ord = 1 WHERE lane IN (-1, 0)", "jobq_row", "ord does not agree"}};
    struct hostile_file good = hostile_good(12, 24, false, 0);
    for (int n = 0; n < 3; n++) {
        struct play play = {test_path("hostile.db"), &damages[n / 2], n > 0};
        REQUIRE(hostile_write(play.path, &good));
        damage_it(play.path, play.damage->sql);
        CHECK_INT(test_fork(list_in_child, &play), 0);
    }
    hostile_free(&good);
}

/* Goal: a scheduled job that would never be due is damage before its time has come, for who only
 * runs jobs. Method: one in an order that no walk asks for, before and behind the others. */
TEST(scheduled_job_is_never_due) {
    static const char *const damages[] = {"UPDATE jobq_row SET ord = 2147483647 WHERE id = 2",
                                          "UPDATE jobq_row SET ord = -1 WHERE id = 2"};
    for (int n = 0; n < 2; n++) {
        jobq_job job = {.kind = "k", .delay_ms = JOBQ_HOUR};
        jobq_error told = {.code = JOBQ_OK};
        fixture f;
        REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE}));
        handle(f.q, "k", do_nothing, NULL);
        for (int i = 0; i < 3; i++) WORKS(jobq_enqueue(f.q, &job, NULL, &err));
        close_queue(&f.q);
        damage_it(f.path, damages[n]);
        f.q = open_queue_at(f.path, (jobq_options){.workers = JOBQ_NONE, .clock = f.clock});
        REQUIRE(f.q != NULL);
        CHECK_CODE(jobq_step(f.q, NULL, &told), JOBQ_CORRUPT);
        CHECK(strstr(told.text, "row 2: ord does not agree") != NULL);
        CHECK_CODE(stats_of(f.q).failed_code, JOBQ_CORRUPT);
        fixture_remove(&f);
    }
}

static jobq_outcome fail(jobq_run *run, void *ctx) {
    (void)run, (void)ctx;
    return JOBQ_FAIL;
}

/* Goal: who fails stands among the failed ones once: a row that is there already is damage. Method:
 * two jobs that fail together, and a row as one of them makes it. */
TEST(fails_twice) {
    jobq_error told = {.code = JOBQ_OK};
    char sql[96];
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .keep_failed_ms = JOBQ_DAY}));
    handle(f.q, "k", fail, NULL);
    put(f.q, "k");
    put(f.q, "k");
    snprintf(sql, sizeof sql, "INSERT INTO jobq_failed VALUES(%" PRId64 ", 2)", T0 + JOBQ_DAY);
    sql_run(f.path, sql);
    CHECK_CODE(jobq_run_until_idle(f.q, NULL, &told), JOBQ_CORRUPT);
    CHECK(strstr(told.text, "jobq_failed, row 2: the row is there already") != NULL);
    CHECK(strstr(told.text, "open with .damaged = true, jobq_check") != NULL);
    CHECK_CODE(stats_of(f.q).failed_code, JOBQ_CORRUPT);
    fixture_remove(&f);
}

static jobq_outcome end_the_process(jobq_run *run, void *ctx) {
    (void)run, (void)ctx;
    _exit(0);
}

/* Leaves one job claimed of three. */
static void die_with_a_job(void *arg) {
    jobq_options options = {.workers = JOBQ_NONE, .durability = JOBQ_RELAXED};
    jobq *q = open_queue_at((const char *)arg, options);
    REQUIRE(q != NULL);
    handle(q, "k", end_the_process, NULL);
    for (int i = 0; i < 3; i++) put(q, "k");
    jobq_step(q, NULL, NULL);
}

static const char nobodys[] = "row 1: state is that of a claimed job";

/* Goal: a job that is claimed, but not in the row that says which are, is damage at the next open:
 * nobody would ever give it back. Method: a process dies in a handler, the row is emptied, or names
 * another; undamaged it is given back. */
TEST(claimed_by_nobody_is_known_at_open) {
    static const char *const damages[] = {"UPDATE jobq_claims SET ids = NULL",
                                          "UPDATE jobq_claims SET ids = x'04'", "SELECT 1"};
    const char *path = test_path("q.db");
    for (int n = 0; n < 3; n++) {
        jobq_options options = {.workers = JOBQ_NONE};
        jobq_error told = {.code = JOBQ_OK};
        jobq *q = NULL;
        CHECK_INT(test_fork(die_with_a_job, (void *)(uintptr_t)path), 0);
        damage_it(path, damages[n]);
        CHECK_CODE(jobq_open(path, &options, &q, &told), n < 2 ? JOBQ_CORRUPT : JOBQ_OK);
        if (n < 2 && !CHECK(strstr(told.text, nobodys) != NULL)) test_note("%s", told.text);
        if (q) CHECK_INT(count_all(q).ready, 3);
        if (q) close_whatever(&q);
        hostile_remove(path);
    }
}

/* Goal: where nothing beside the file says who was claimed, whoever looks at such a job or changes
 * it is told. Method: the same, without the file beside; each call, and that of a client. */
TEST(claimed_by_nobody_is_seen) {
    const char *path = test_path("q.db");
    for (int n = 0; n < 6; n++) {
        jobq_options options = {.workers = JOBQ_NONE, .shared = true};
        jobq_filter filter = {.state = JOBQ_STATE_NONE};
        jobq_cursor cursor = {0};
        jobq_error told = {.code = JOBQ_OK};
        jobq_info info;
        size_t count;
        jobq *q = NULL;
        int rc = JOBQ_OK;
        CHECK_INT(test_fork(die_with_a_job, (void *)(uintptr_t)path), 0);
        damage_it(path, "UPDATE jobq_claims SET ids = NULL");
        unlink(hostile_beside(path, "-jobq"));
        if (n > 4) options = (jobq_options){.role = JOBQ_CLIENT, .shared = true};
        WORKS(jobq_open(path, &options, &q, &err));
        REQUIRE(q != NULL);
        if (n == 0 || n == 5) rc = jobq_get(q, 1, &info, &told);
        if (n == 1) rc = jobq_list(q, &filter, &cursor, &info, 1, &count, &told);
        if (n == 2) rc = jobq_cancel(q, 1, &told);
        if (n == 3) rc = jobq_retry_now(q, 1, &told);
        if (n == 4) rc = jobq_delete(q, 1, &told);
        if (!CHECK_CODE(rc, JOBQ_CORRUPT) || !CHECK(strstr(told.text, nobodys) != NULL))
            test_note("%d: %s", n, told.text);
        CHECK_CODE(stats_of(q).failed_code, JOBQ_CORRUPT);
        close_whatever(&q);
        hostile_remove(path);
    }
}

/* Job 1 has the key x, 2 has none; of another kind 3 has it. */
static const char not_its_own[] = "is not that of its job's kind and key";
static const struct damage damaged_keys[] = {
    {"UPDATE jobq_key SET job = 4711 WHERE job = 1", "jobq_key, row 4711", not_its_own},
    {"UPDATE jobq_key SET job = 9223372036854775807 WHERE job = 1",
     "jobq_key, row 9223372036854775807", not_its_own},
    {"UPDATE jobq_key SET job = 'mine' WHERE job = 1", "jobq_key", not_its_own},
    {"UPDATE jobq_key SET job = 1.5 WHERE job = 1", "jobq_key", not_its_own},
    {"UPDATE jobq_key SET job = 2 WHERE job = 1", "jobq_key, row 2", not_its_own},
    {"UPDATE jobq_key SET job = 3 WHERE job = 1", "jobq_key, row 3", not_its_own},
    {"UPDATE jobq_row SET kind = (SELECT kind FROM jobq_row WHERE id = 3) WHERE id = 1",
     "jobq_key, row 1", not_its_own},
    {"UPDATE jobq_extra SET key = 'y'", "jobq_key, row 1", not_its_own},
    {"UPDATE jobq_extra SET key = NULL", "jobq_key, row 1", not_its_own},
    {"DELETE FROM jobq_extra", "jobq_key, row 1", not_its_own},
    {"UPDATE jobq_row SET side = 1 WHERE id = 1", "jobq_key, row 1", not_its_own},
    {"DELETE FROM jobq_row WHERE id = 1", "jobq_key, row 1", not_its_own},
    {"INSERT INTO jobq_key SELECT kind, key, 1 - held, job, NULL FROM jobq_key", "jobq_row, row 1",
     "does not stand in order"},
    {"UPDATE jobq_row SET attempt = 0 WHERE id = 1", "jobq_row, row 1", "attempt"},
};

/* Goal: who finds a job by its key is told where that does not say the same as the job. Method:
 * each of these; an owner and a client; what is as it should be is found. */
TEST(keys_that_are_not_their_jobs) {
    const char *path = test_path("q.db");
    for (size_t n = 0; n <= 2 * (sizeof damaged_keys / sizeof damaged_keys[0]); n++) {
        const struct damage *damage = n ? &damaged_keys[(n - 1) / 2] : NULL;
        jobq_options options = {.workers = JOBQ_NONE, .shared = true};
        jobq_filter filter = {.kind = "k", .key = "x"};
        jobq_cursor cursor = {.done = false};
        jobq_error told = {.code = JOBQ_OK};
        jobq_info infos[4];
        size_t count = 9;
        jobq *q = open_queue_at(path, options);
        REQUIRE(q != NULL);
        put_job(q, (jobq_job){.kind = "k", .key = "x"});
        put(q, "k");
        put_job(q, (jobq_job){.kind = "other", .key = "x"});
        close_queue(&q);
        if (damage) damage_it(path, damage->sql);
        if (n % 2) options = (jobq_options){.role = JOBQ_CLIENT, .shared = true};
        WORKS(jobq_open(path, &options, &q, &err));
        REQUIRE(q != NULL);
        CHECK_CODE(jobq_list(q, &filter, &cursor, infos, 4, &count, &told),
                   damage ? JOBQ_CORRUPT : JOBQ_OK);
        CHECK_INT(count, damage ? 0 : 1);
        CHECK_INT(cursor.done, !damage);
        if (damage && !CHECK(strstr(told.text, damage->table) && strstr(told.text, damage->column)))
            test_note("%s: %s", damage->sql, told.text);
        CHECK_CODE(stats_of(q).failed_code, damage ? JOBQ_CORRUPT : JOBQ_OK);
        close_whatever(&q);
        hostile_remove(path);
    }
}

struct taken_id {
    const char *path, *damage; /* by another connection, while the queue is open */
    jobq_job job;              /* cannot be stored then */
};

static void enqueue_in_child(void *arg) {
    const struct taken_id *taken = (const struct taken_id *)arg;
    jobq_options options = {.workers = JOBQ_NONE, .durability = JOBQ_RELAXED, .shared = true};
    jobq_error told = {.code = JOBQ_OK};
    jobq *q = NULL;
    watch_the_child();
    WORKS(jobq_open(taken->path, &options, &q, &err));
    REQUIRE(q != NULL);
    put(q, "k");
    damage_it(taken->path, taken->damage);
    CHECK_CODE(jobq_enqueue(q, &taken->job, NULL, &told), JOBQ_CORRUPT);
    CHECK(strstr(told.text, "is taken for ever") != NULL);
    CHECK_CODE(stats_of(q).failed_code, JOBQ_CORRUPT);
    jobq_close(&q);
}

/* Goal: what stands beside the id that comes next is damage, also if it came while the queue was
 * open; nobody tries again and again. Method: another connection puts it there; a child with little
 * time. */
TEST(next_id_is_taken) {
    struct taken_id taken = {test_path("q.db"),
                             "INSERT INTO jobq_extra(job, key) VALUES(2, 'ghost')",
                             {.kind = "k", .key = "mine"}};
    CHECK_INT(test_fork(enqueue_in_child, &taken), 0);
}

/* Goal: what keeps every new job out is found out in the end, also by a call whose transaction has
 * to be begun anew for it. Method: an index that somebody adds while the queue is open; a child
 * with little time. */
TEST(no_new_job_can_stand) {
    /* The name is new to the file, so the call has written before it finds out. */
    struct taken_id taken = {test_path("q.db"), "CREATE UNIQUE INDEX other ON jobq_row(attempt)",
                             {.kind = "new to it"}};
    CHECK_INT(test_fork(enqueue_in_child, &taken), 0);
}

/* Goal: a name that the index gives another's id is damage. Method: the index of the names is
 * changed for another one, in which two of them have the same. */
TEST(name_of_another) {
    struct hostile_file good = hostile_good(40, 1000, false, 0);
    static const struct damage damage = {"", "jobq_name", "is not what its index says"};
    const char *path = test_path("hostile.db");
    struct play play = {path, &damage, false};
    REQUIRE(hostile_write(path, &good));
    damage_it(path, "CREATE TABLE other(id INTEGER PRIMARY KEY, what, scope, name TEXT);"
                    "CREATE UNIQUE INDEX other_name ON other(what, scope, name) WHERE id > 0;"
                    "INSERT INTO other SELECT id, what, scope, 'mail' FROM jobq_name"
                    " WHERE name = 'report'");
    damage_beside_index(path, "other_name", "DELETE FROM other WHERE id > 0");
    damage_it(path, "INSERT INTO other SELECT * FROM jobq_name WHERE name <> 'mail'");
    damage_it(path, "PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage ="
                    " (SELECT sum(rootpage) FROM sqlite_master WHERE name IN ('other_name',"
                    " 'sqlite_autoindex_jobq_name_1')) - rootpage WHERE name IN ('other_name',"
                    " 'sqlite_autoindex_jobq_name_1')");
    CHECK_INT(test_fork(play_in_child, &play), 0);
    hostile_free(&good);
}

struct looker {
    jobq *q;
    jobq_state state;
    pthread_barrier_t *together;
};

static void *list_them(void *arg) {
    struct looker *l = (struct looker *)arg;
    enum { ALL = 1000 };
    jobq_filter filter = {.state = l->state, .rows_max = 1000000};
    jobq_info *info = (jobq_info *)malloc(ALL * sizeof *info);
    jobq_cursor cursor = {0};
    size_t count;
    pthread_barrier_wait(l->together);
    CHECK_CODE(jobq_list(l->q, &filter, &cursor, info, info ? ALL : 0, &count, NULL),
               JOBQ_CORRUPT);
    free(info);
    return NULL;
}

/* Goal: what is told of a damaged file is of one row, also where two threads find two of them at
 * the same time. Method: two long listings, each with a damaged row at its end, so that one waits
 * for the other; the sentence that the queue gives afterwards. A thread sanitizer sees more. */
TEST(two_threads_find_two_damages) {
    enum { HALF = 400 };
    static const char *const sentences[] = {"row 400: attempt is too small",
                                            "row 800: runs holds a text"};
    for (int round = 0; round < 5; round++) {
        jobq_options options = {.workers = JOBQ_NONE, .durability = JOBQ_RELAXED};
        const char *path = test_path("two.db");
        jobq_error told = {.code = JOBQ_OK};
        pthread_barrier_t together;
        struct looker lookers[2];
        pthread_t threads[2];
        jobq *q = open_queue_at(path, options);
        REQUIRE(q != NULL);
        for (int i = 0; i < 2 * HALF; i++) put(q, "k");
        close_queue(&q);
        damage_it(path, "UPDATE jobq_row SET state = 2, lane = NULL, finished_at = id,"
                        " prune_at = 8e12 + id WHERE id > 400");
        damage_it(path, "UPDATE jobq_row SET attempt = -5 WHERE id = 400");
        damage_it(path, "UPDATE jobq_row SET runs = 'x' WHERE id = 800");
        q = open_queue_at(path, options);
        REQUIRE(q != NULL);
        pthread_barrier_init(&together, NULL, 2);
        for (int i = 0; i < 2; i++) {
            lookers[i] = (struct looker){q, i ? JOBQ_STATE_DONE : JOBQ_STATE_PENDING, &together};
            threads[i] = thread_start(list_them, &lookers[i]);
        }
        for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
        pthread_barrier_destroy(&together);
        CHECK_CODE(jobq_enqueue(q, &(jobq_job){.kind = "k"}, NULL, &told), JOBQ_CORRUPT);
        if (!CHECK(strstr(told.text, sentences[0]) || strstr(told.text, sentences[1])))
            test_note("%s", told.text);
        close_whatever(&q);
        remove(path);
    }
}

static jobq_outcome sleep_two_days(jobq_run *run, void *ctx) {
    (void)ctx;
    jobq_run_sleep(run, 2 * JOBQ_DAY);
    return JOBQ_DONE;
}

static int advances(fixture *f, jobq_error *told) {
    return jobq_advance(f->q, 2 * JOBQ_DAY, NULL, told);
}

static int advances_to_a_wake(fixture *f, jobq_error *told) {
    put_in(f->q, 2 * JOBQ_DAY);
    return jobq_advance_to_next(f->q, told);
}

static int finds_no_wake(fixture *f, jobq_error *told) {
    jobq_clock_advance(f->clock, 2 * JOBQ_DAY);
    return jobq_advance_to_next(f->q, told);
}

static int sleeps_in_a_step(fixture *f, jobq_error *told) {
    put(f->q, "sleeps");
    return jobq_step(f->q, NULL, told);
}

static int sleeps_until_idle(fixture *f, jobq_error *told) {
    put(f->q, "sleeps");
    return jobq_run_until_idle(f->q, NULL, told);
}

/* Goal: the call in which the queue stops for good says so, not only the next one. Method: what
 * has ended is due to be removed, and cannot be; that is come upon at the end of each call that
 * goes on in time, with a pool and without. */
TEST(stop_is_told_by_its_call) {
    static const struct {
        int (*go)(fixture *f, jobq_error *told);
        int workers;
    } calls[] = {{advances, JOBQ_NONE}, {advances_to_a_wake, JOBQ_NONE}, {finds_no_wake, JOBQ_NONE},
                 {sleeps_in_a_step, JOBQ_NONE}, {sleeps_until_idle, JOBQ_NONE}, {advances, 1}};
    static const char large[HOSTILE_LARGE];
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        jobq_options options = {.workers = calls[i].workers, .durability = JOBQ_RELAXED,
                                .keep_done_ms = JOBQ_DAY, .poll_ms = JOBQ_NONE};
        jobq_error told = {.code = JOBQ_OK};
        fixture f;
        REQUIRE(fixture_open(&f, options));
        handle(f.q, "k", do_nothing, NULL);
        handle(f.q, "sleeps", sleep_two_days, NULL);
        put_job(f.q, (jobq_job){.kind = "k", .payload = large, .size = sizeof large});
        if (calls[i].workers == JOBQ_NONE) drain(f.q);
        else start(f.q);
        if (calls[i].workers != JOBQ_NONE) until_at_rest(f.q);
        sql_run(f.path, "DELETE FROM jobq_payload");
        if (!CHECK_CODE(calls[i].go(&f, &told), JOBQ_CORRUPT)
            || !CHECK(strstr(told.text, "jobq_payload, row 1: the row is missing") != NULL))
            test_note("call %d: %s", (int)i, told.text);
        CHECK_CODE(stats_of(f.q).failed_code, JOBQ_CORRUPT);
        fixture_remove(&f);
    }
}

TEST_MAIN(undamaged_rows_play, two_threads_find_two_damages, free_pages_are_counted,
          damaged_rows_end_with_a_code, nulls_are_damage,
          damaged_rows_end_with_a_code_when_they_run, index_that_does_not_agree,
          lost_names_are_no_damage, row_that_stands_twice, rows_out_of_order, lanes_are_looked_at,
          scheduled_job_is_never_due, fails_twice, claimed_by_nobody_is_known_at_open,
          claimed_by_nobody_is_seen, keys_that_are_not_their_jobs, next_id_is_taken,
          no_new_job_can_stand, the_last_id, name_of_another, stop_is_told_by_its_call)
