/* hostile.c - rows that jobq never writes: each ends with JOBQ_CORRUPT and a sentence that
 * names it, at the first touch, and stops the queue.
 *
 * The file is damaged by SQL, as another program with a bug would do it, so SQLite itself finds
 * nothing wrong. tests/fault/hostile.c damages by the thousand what this table cannot list. */
#include "hostile.h"

/* What is done to the good file, and what the sentence has to name. */
struct damage {
    const char *sql, *table, *column;
};

static const struct damage rows[] = {
    {"UPDATE jobq_job SET state = 'x' WHERE state = 0", "jobq_job", "state"},
    {"UPDATE jobq_job SET state = 9 WHERE state = 0", "jobq_job", "state"},
    {"UPDATE jobq_job SET state = -1", "jobq_job", "state"},
    {"UPDATE jobq_job SET state = 2 WHERE lane IS NOT NULL", "jobq_job", "lane"},
    {"UPDATE jobq_job SET state = 0 WHERE state > 1", "jobq_job", "lane"},
    {"UPDATE jobq_job SET lane = NULL WHERE state = 0", "jobq_job", "lane"},
    {"UPDATE jobq_job SET lane = 'a' WHERE state = 0", "jobq_job", "lane"},
    {"UPDATE jobq_job SET lane = 1e300 WHERE state = 0", "jobq_job", "lane"},
    {"UPDATE jobq_job SET lane = 9999999999 WHERE state = 0", "jobq_job", "lane"},
    {"UPDATE jobq_job SET lane = 4000 WHERE lane > 1", "jobq", "is missing"},
    {"UPDATE jobq_job SET lane = 4000, queue = 4000 WHERE lane > 1", "jobq_job",
     "name of its queue"},
    {"UPDATE jobq_job SET kind = 999", "jobq", ""},
    {"UPDATE jobq_job SET kind = 'mail'", "jobq_job", "kind"},
    {"UPDATE jobq_job SET kind = 0", "jobq_job", "kind"},
    {"UPDATE jobq_job SET queue = -7", "jobq_job", "queue"},
    {"UPDATE jobq_job SET queue = x'00'", "jobq_job", "queue"},
    {"UPDATE jobq_job SET run_at = 'yy'", "jobq_job", "run_at"},
    {"UPDATE jobq_job SET run_at = -5", "jobq_job", "run_at"},
    {"UPDATE jobq_job SET run_at = 1e30", "jobq_job", "run_at"},
    {"UPDATE jobq_job SET run_at = 17.5 WHERE lane = 0", "jobq_job", "run_at"},
    {"UPDATE jobq_job SET priority = 'high'", "jobq_job", "priority"},
    {"UPDATE jobq_job SET priority = 9223372036854775807", "jobq_job", "priority"},
    {"UPDATE jobq_job SET ord = 'first' WHERE state = 0", "jobq_job", "ord"},
    {"UPDATE jobq_job SET attempt = 0", "jobq_job", "attempt"},
    {"UPDATE jobq_job SET attempt = 9223372036854775807", "jobq_job", "attempt"},
    {"UPDATE jobq_job SET runs = -1", "jobq_job", "runs"},
    {"UPDATE jobq_job SET runs = 2147483647 WHERE state = 0 AND lane > 1", "jobq_job", "runs"},
    {"UPDATE jobq_job SET runs = 9223372036854775807", "jobq_job", "runs"},
    {"UPDATE jobq_job SET crashes = -3", "jobq_job", "crashes"},
    {"UPDATE jobq_job SET crashes = 'often'", "jobq_job", "crashes"},
    {"UPDATE jobq_job SET delay_ms = -1", "jobq_job", "delay_ms"},
    {"UPDATE jobq_job SET delay_ms = x'ff'", "jobq_job", "delay_ms"},
    {"UPDATE jobq_job SET created_at = 'then'", "jobq_job", "created_at"},
    {"UPDATE jobq_job SET side = 8", "jobq_", "side"},
    {"UPDATE jobq_job SET side = -1", "jobq_", "side"},
    {"UPDATE jobq_job SET finished_at = 'now' WHERE state > 1", "jobq_job", "finished_at"},
    {"UPDATE jobq_job SET finished_at = NULL", "jobq_job", "finished_at"},
    {"UPDATE jobq_job SET prune_at = 'late' WHERE state > 1", "jobq_job", "prune_at"},
    {"UPDATE jobq_job SET prune_at = -1 WHERE state > 1", "jobq_job", "prune_at"},
    {"UPDATE jobq_job SET prune_at = 5 WHERE state = 0", "jobq_job", "prune_at"},
    {"UPDATE jobq_job SET payload = 'a text'", "jobq_job", "payload"},
    {"UPDATE jobq_job SET payload = 5", "jobq_job", "payload"},
    {"UPDATE jobq_job SET id = -id", "jobq_", ""},
    {"UPDATE jobq_job SET id = 9223372036854775807 WHERE id = 3", "jobq_job", "id"},
    {"DELETE FROM jobq_name WHERE id = 1; UPDATE jobq_name SET name = '' WHERE id = 2", "jobq_",
     ""},
    {"UPDATE jobq_name SET name = x'616263' WHERE id = 2", "jobq_", ""},
    {"UPDATE jobq_name SET name = name || 'x' || char(0) WHERE id > 1", "jobq_", ""},
    {"UPDATE jobq_name SET name = name || hex(zeroblob(100)) WHERE id > 1", "jobq_", ""},
    {"DELETE FROM jobq_name WHERE name = 'mail'", "jobq_", ""},
    {"DELETE FROM jobq_name WHERE name = 'slow'", "jobq_", ""},
    {"UPDATE jobq_name SET id = 9000000 WHERE name = 'mail'", "jobq_job", "name of its kind"},
    {"INSERT INTO jobq_name VALUES(9223372036854775807, 'end')", "jobq_name", "id"},
    {"UPDATE jobq_extra SET key = x'17' WHERE key IS NOT NULL", "jobq_job", "key"},
    {"UPDATE jobq_extra SET key = hex(zeroblob(200)) WHERE key IS NOT NULL", "jobq_job", "key"},
    {"UPDATE jobq_extra SET error = x'00' WHERE error IS NOT NULL", "jobq_job", "error"},
    {"UPDATE jobq_extra SET result = 'text' WHERE result IS NOT NULL", "jobq", "result"},
    {"UPDATE jobq_extra SET saved = 'text' WHERE saved IS NOT NULL", "jobq_extra", "saved"},
    {"INSERT INTO jobq_extra(job, key) VALUES(5000, 'ghost')", "jobq_extra", "has no job"},
    {"UPDATE jobq_unique SET job = 4711", "jobq_unique", "belongs to no job"},
    {"UPDATE jobq_unique SET job = 'mine'", "jobq_unique", "job"},
    {"UPDATE jobq_unique SET job = (SELECT id FROM jobq_job WHERE state > 1 LIMIT 1)",
     "jobq_unique", "of that job"},
    {"UPDATE jobq_claims SET last_id = 9223372036854775807", "jobq_claims", "id"},
    {"UPDATE jobq_claims SET last_id = 'last'", "jobq_claims", "last_id"},
    {"UPDATE jobq_claims SET last_id = -1", "jobq_claims", "last_id"},
    {"UPDATE jobq_claims SET ids = 'text'", "jobq_claims", "ids"},
    {"UPDATE jobq_claims SET ids = zeroblob(1000000)", "jobq_claims", "ids"},
    {"UPDATE jobq_claims SET ids = x'80'", "jobq_claims", "ids"},
    {"UPDATE jobq_claims SET ids = x'01'", "jobq_claims", "ids"},
    {"UPDATE jobq_claims SET one = 2", "jobq_claims", "one"},
    {"INSERT INTO jobq_claims VALUES(2, NULL, 5)", "jobq_claims", "twice"},
    {"DELETE FROM jobq_claims", "jobq_claims", ""},
    {"DELETE FROM jobq_meta WHERE key = 'syncs'", "jobq_meta", "syncs"},
};

static void damage_it(const char *path, const char *sql) {
    sqlite3 *db = NULL;
    char *why = NULL;
    REQUIRE_INT(sqlite3_open(path, &db), SQLITE_OK);
    if (!CHECK_INT(sqlite3_exec(db, sql, NULL, NULL, &why), SQLITE_OK))
        test_note("%s: %s", sql, why);
    sqlite3_free(why);
    sqlite3_close(db);
}

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
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) play_damage(&good, &rows[i], true);
    hostile_free(&good);
}

/* The same where nobody looks before handlers run, jobs are changed and time passes. Nearly all of
 * the damage is met then; the rest stands in what is pruned unread. */
TEST(damaged_rows_end_with_a_code_when_they_run) {
    struct hostile_file good = hostile_good(40, 1000, false, 0);
    size_t i, met = 0, count = sizeof rows / sizeof rows[0];
    for (i = 0; i < count; i++) met += play_damage(&good, &rows[i], false);
    CHECK(met >= count - 8);
    hostile_free(&good);
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
        CHECK(strstr(seen.text, "free pages") != NULL);
        CHECK(stat(hostile_beside(path, "-jobq"), &st) == 0 && st.st_size < (16 << 20));
    }
    hostile_free(&good);
}

TEST_MAIN(undamaged_rows_play, free_pages_are_counted, damaged_rows_end_with_a_code,
          damaged_rows_end_with_a_code_when_they_run)
