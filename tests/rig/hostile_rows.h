/* hostile_rows.h - rows that jobq never writes, and how they come into a file.
 *
 * By SQL, as another program with a bug would do it, so SQLite itself finds nothing wrong. Who
 * plays on such a file finds them at the first touch (api/hostile.c), and so does jobq_check
 * (api/check.c). */
#ifndef JOBQ_TEST_HOSTILE_ROWS_H
#define JOBQ_TEST_HOSTILE_ROWS_H

#include "hostile.h"

/* What is done to the good file, and what the sentence has to name. */
struct damage {
    const char *sql, *table, *column;
};

/* Gates -2, -3, ...: twice n, and one more. */
#define GATES(n) "CAST(char(3) || replace(hex(zeroblob(" n ")), '0', char(1)) AS BLOB)"

static const struct damage damaged_rows[] = {
    {"UPDATE jobq_row SET state = 'x' WHERE state = 0", "jobq_row", "state"},
    {"UPDATE jobq_row SET state = 9 WHERE state = 0", "jobq_row", "state"},
    {"UPDATE jobq_row SET state = -1", "jobq_row", "state"},
    {"UPDATE jobq_row SET state = 2 WHERE state = 0", "jobq_row", "finished_at"},
    {"UPDATE jobq_row SET state = 0 WHERE state > 1", "jobq_row", "finished_at"},
    {"UPDATE jobq_row SET lane = NULL WHERE state = 0", "jobq_row", "lane"},
    {"UPDATE jobq_row SET lane = 'a' WHERE state = 0", "jobq_row", "lane"},
    {"UPDATE jobq_row SET lane = 1e300 WHERE state = 0", "jobq_row", "lane"},
    {"UPDATE jobq_row SET lane = 9999999999 WHERE state = 0", "jobq_row", "lane"},
    {"UPDATE jobq_row SET lane = -2147483647 WHERE state = 0", "jobq_row", "lane"},
    {"UPDATE jobq_row SET lane = -1 WHERE state = 0", "jobq_row", "ord"},
    {"UPDATE jobq_row SET lane = 2147483648 WHERE lane > 1", "jobq_row", "lane"},
    {"UPDATE jobq_row SET lane = 2147483648, queue = 2147483648 WHERE lane > 1", "jobq_row",
     "lane"},
    {"UPDATE jobq_row SET queue = 2147483648 WHERE lane IN (-1, 0)", "jobq_row", "queue"},
    {"UPDATE jobq_row SET kind = 999", "jobq", ""},
    {"UPDATE jobq_row SET kind = 'mail'", "jobq_row", "kind"},
    {"UPDATE jobq_row SET kind = 0", "jobq_row", "kind"},
    {"UPDATE jobq_row SET queue = -7", "jobq_row", "queue"},
    {"UPDATE jobq_row SET queue = x'00'", "jobq_row", "queue"},
    {"UPDATE jobq_row SET run_at = 'yy'", "jobq_row", "run_at"},
    {"UPDATE jobq_row SET run_at = -5", "jobq_row", "run_at"},
    {"UPDATE jobq_row SET run_at = 1e30", "jobq_row", "run_at"},
    {"UPDATE jobq_row SET run_at = 17.5 WHERE lane IN (-1, 0)", "jobq_row", "run_at"},
    {"UPDATE jobq_row SET priority = 'high'", "jobq_row", "priority"},
    {"UPDATE jobq_row SET priority = 9223372036854775807", "jobq_row", "priority"},
    {"UPDATE jobq_row SET ord = 'first' WHERE state = 0", "jobq_row", "ord"},
    {"UPDATE jobq_row SET ord = 5 WHERE lane IN (-1, 0)", "jobq_row", "ord"},
    {"UPDATE jobq_row SET ord = -1 WHERE lane IN (-1, 0)", "jobq_row", "ord"},
    {"UPDATE jobq_row SET attempt = 0", "jobq_row", "attempt"},
    {"UPDATE jobq_row SET attempt = 9223372036854775807", "jobq_row", "attempt"},
    {"UPDATE jobq_row SET runs = -1", "jobq_row", "runs"},
    {"UPDATE jobq_row SET runs = 2147483647 WHERE state = 0 AND lane > 1", "jobq_row", "runs"},
    {"UPDATE jobq_row SET runs = 9223372036854775807", "jobq_row", "runs"},
    {"UPDATE jobq_row SET crashes = -3", "jobq_row", "crashes"},
    {"UPDATE jobq_row SET crashes = 'often'", "jobq_row", "crashes"},
    {"UPDATE jobq_row SET delay_ms = -1", "jobq_row", "delay_ms"},
    {"UPDATE jobq_row SET delay_ms = x'ff'", "jobq_row", "delay_ms"},
    {"UPDATE jobq_row SET created_at = 'then'", "jobq_row", "created_at"},
    {"UPDATE jobq_row SET side = 16", "jobq_", "side"},
    {"UPDATE jobq_row SET side = side | 16", "jobq_", "side"},
    {"UPDATE jobq_row SET side = -1", "jobq_", "side"},
    {"UPDATE jobq_row SET finished_at = 'now' WHERE state > 1", "jobq_row", "finished_at"},
    {"UPDATE jobq_row SET finished_at = NULL", "jobq_row", "finished_at"},
    {"UPDATE jobq_row SET prune_at = 'late' WHERE state > 1", "jobq_row", "prune_at"},
    {"UPDATE jobq_row SET prune_at = -1 WHERE state > 1", "jobq_row", "prune_at"},
    {"UPDATE jobq_row SET prune_at = 5 WHERE state = 0", "jobq_row", "prune_at"},
    {"UPDATE jobq_row SET payload = 'a text'", "jobq_row", "payload"},
    {"UPDATE jobq_row SET payload = 5 WHERE typeof(payload) = 'blob'", "jobq_row", "payload"},
    {"UPDATE jobq_row SET payload = 5 WHERE typeof(payload) = 'integer'", "jobq_payload", "data"},
    {"UPDATE jobq_row SET payload = -5 WHERE side & 8", "jobq_row", "payload"},
    {"UPDATE jobq_row SET payload = NULL WHERE side & 8", "jobq_row", "payload"},
    {"UPDATE jobq_row SET payload = x'00' WHERE side & 8", "jobq_row", "payload"},
    {"UPDATE jobq_row SET side = side | 8", "jobq_row", "payload"},
    {"UPDATE jobq_row SET side = side & ~8 WHERE side & 8", "jobq_row", "payload"},
    {"DELETE FROM jobq_payload", "jobq_payload", "the row is missing"},
    {"UPDATE jobq_payload SET data = x'00'", "jobq_payload", "not as long"},
    {"UPDATE jobq_payload SET data = zeroblob(1 + length(data))", "jobq_payload", "not as long"},
    {"UPDATE jobq_payload SET data = 'a text'", "jobq_payload", "data"},
    {"UPDATE jobq_payload SET job = job + 5000", "jobq_payload", "has no job"},
    {"INSERT INTO jobq_payload VALUES(5000, x'00')", "jobq_payload", "has no job"},
    {"UPDATE jobq_row SET id = -id", "jobq_", ""},
    {"UPDATE jobq_row SET id = 9223372036854775807 WHERE id = 3", "jobq_row", "id"},
    {"DELETE FROM jobq_name WHERE id = 1; UPDATE jobq_name SET name = '' WHERE id = 2", "jobq_",
     ""},
    {"UPDATE jobq_name SET name = x'616263' WHERE id = 2", "jobq_", ""},
    {"UPDATE jobq_name SET name = name || 'x' || char(0) WHERE id > 1", "jobq_", ""},
    {"UPDATE jobq_name SET name = name || hex(zeroblob(100)) WHERE id > 1", "jobq_", ""},
    {"UPDATE jobq_name SET id = 9000000 WHERE name = 'mail'", "jobq_name", "row 9000000: id"},
    {"UPDATE jobq_name SET id = 9223372036854775807 WHERE name = 'mail'", "jobq_name", "id"},
    {"UPDATE jobq_name SET what = 9 WHERE id = 2", "jobq_name", "what"},
    {"UPDATE jobq_name SET what = 'kind' WHERE id = 2", "jobq_name", "what"},
    {"UPDATE jobq_extra SET key = x'17' WHERE key IS NOT NULL", "jobq_row", "key"},
    {"UPDATE jobq_extra SET key = hex(zeroblob(200)) WHERE key IS NOT NULL", "jobq_row", "key"},
    {"UPDATE jobq_extra SET error = x'00' WHERE error IS NOT NULL", "jobq_row", "error"},
    {"UPDATE jobq_extra SET result = 'text' WHERE result IS NOT NULL", "jobq", "result"},
    {"UPDATE jobq_extra SET saved = 'text' WHERE saved IS NOT NULL", "jobq_extra", "saved"},
    {"UPDATE jobq_extra SET saved = 5 WHERE saved IS NOT NULL", "jobq_extra", "saved"},
    {"INSERT INTO jobq_extra(job, key) VALUES(5000, 'ghost')", "jobq_extra", "has no job"},
    {"UPDATE jobq_key SET job = 4711 WHERE held", "jobq_key", "belongs to no job"},
    {"UPDATE jobq_key SET job = 'mine' WHERE held", "jobq_key", "row 0: job"},
    {"UPDATE jobq_key SET job = (SELECT id FROM jobq_row WHERE state > 1 LIMIT 1) WHERE held",
     "jobq_key", "of that job"},
    {"UPDATE jobq_key SET job = (SELECT u.job FROM jobq_key u WHERE u.key <> jobq_key.key"
     " AND u.held LIMIT 1) WHERE held", "jobq_key", "key is not that of this job"},
    {"UPDATE jobq_key SET held = 1", "jobq_key", "of that job"},
    {"UPDATE jobq_key SET held = 0", "jobq_key", "the row is missing"},
    {"DELETE FROM jobq_key", "jobq_key", "the row is missing"},
    {"UPDATE jobq_extra SET key = NULL", "jobq_key", "key is not that of this job"},
    {"DELETE FROM jobq_failed", "jobq_failed", "the row is missing"},
    {"UPDATE jobq_failed SET at = at + 1", "jobq_failed", "is not that of a failed job"},
    {"UPDATE jobq_failed SET job = job + 5000", "jobq_failed", "is not that of a failed job"},
    {"UPDATE jobq_failed SET job = 'job ' || job", "jobq_failed", "is not that of a failed job"},
    {"INSERT INTO jobq_failed VALUES(5, 1)", "jobq_failed", "is not that of a failed job"},
    {"UPDATE jobq_claims SET last_id = 9223372036854775807", "jobq_claims", "id"},
    {"UPDATE jobq_claims SET last_id = 4611686018427387904", "jobq_claims", "id is too large"},
    {"UPDATE jobq_claims SET last_id = 'last'", "jobq_claims", "last_id"},
    {"UPDATE jobq_claims SET last_id = -1", "jobq_claims", "last_id"},
    {"UPDATE jobq_claims SET ids = 'text'", "jobq_claims", "ids"},
    {"UPDATE jobq_claims SET ids = zeroblob(1000000)", "jobq_claims", "ids"},
    {"UPDATE jobq_claims SET ids = x'80'", "jobq_claims", "ids"},
    {"UPDATE jobq_claims SET ids = x'01'", "jobq_claims", "ids"},
    {"UPDATE jobq_claims SET one = 2 WHERE one = 1", "jobq_claims", "one"},
    {"UPDATE jobq_claims SET open = 'text'", "jobq_claims", "open"},
    {"UPDATE jobq_claims SET open = zeroblob(1000000)", "jobq_claims", "open"},
    {"UPDATE jobq_claims SET open = x'80'", "jobq_claims", "open"},
    {"UPDATE jobq_claims SET open = x'01'", "jobq_claims", "open"}, /* -1 */
    {"UPDATE jobq_claims SET open = x'06'", "jobq_claims", "open"}, /* 3 */
    {"UPDATE jobq_claims SET open = x'0500'", "jobq_claims", "open"}, /* -3 twice */
    {"UPDATE jobq_claims SET open = " GATES("2048"), "jobq_claims", "open"},
    {"UPDATE jobq_claims SET counted = -1", "jobq_claims", "counted"},
    {"UPDATE jobq_claims SET counted = 'all'", "jobq_claims", "counted"},
    {COUNTERS_OF(2, 2, "0, 0, 0, -9000, 0, 0, 0, 0"), "jobq_claims", "claimed"},
    {COUNTERS_OF(2, 2, "0, 0, 'x', 0, 0, 0, 0, 0"), "jobq_claims", "blocked"},
    {"UPDATE jobq_claims SET offset_ms = 0.5", "jobq_claims", "offset_ms"},
    {"UPDATE jobq_claims SET offset_ms = 9223372036854775807", "jobq_claims", "offset_ms"},
    {"UPDATE jobq_claims SET offset_ms = 4000000000000000000", "jobq_claims", "offset_ms"},
    {"UPDATE jobq_claims SET offset_ms = -9000000000000000000", "jobq_claims", "offset_ms"},
    {"UPDATE jobq_claims SET offset_ms = -1 - wall_at", "jobq_claims", "is before all time"},
    {"UPDATE jobq_claims SET wall_at = 'now'", "jobq_claims", "wall_at"},
    {"UPDATE jobq_claims SET wall_at = -1", "jobq_claims", "wall_at"},
    {"UPDATE jobq_claims SET wall_at = 9223372036854775807", "jobq_claims", "wall_at"},
    {"UPDATE jobq_claims SET next_name = 1", "jobq_claims", "next_name"},
    {"UPDATE jobq_claims SET next_name = 2", "jobq_name", "was never given"},
    {"UPDATE jobq_claims SET next_name = 2147483648", "jobq_claims", "leaves no room"},
    {"UPDATE jobq_claims SET next_name = 9999999999", "jobq_claims", "next_name"},
    {"INSERT INTO jobq_claims(one, last_id, counted, offset_ms, wall_at, next_name)"
     " VALUES(2, 5, 0, 0, 0, 9)", "jobq_claims", "twice"},
    {"DELETE FROM jobq_claims", "jobq_claims", "is missing"},
    {"DELETE FROM jobq_meta WHERE key = 'syncs'", "jobq_meta", "syncs"},
};

/* Some damage does not fit on some column. */
static inline void damage_try(const char *path, const char *sql) {
    sqlite3 *db = sql_open(path);
    sqlite3_exec(db, sql, NULL, NULL, NULL);
    sqlite3_close(db);
}

static inline void damage_it(const char *path, const char *sql) {
    sqlite3 *db = sql_open(path); /* whose owner may be writing */
    char *why = NULL;
    if (!CHECK_INT(sqlite3_exec(db, sql, NULL, NULL, &why), SQLITE_OK))
        test_note("%s: %s", sql, why);
    sqlite3_free(why);
    sqlite3_close(db);
}

/* For as long as sql runs the table or index is declared in another way. */
static inline void damage_as_if(const char *path, const char *name, const char *declared,
                         const char *sql) {
    char text[400];
    snprintf(text, sizeof text, "PRAGMA writable_schema = ON; CREATE TABLE kept AS SELECT sql FROM"
             " sqlite_master WHERE name = '%s'; UPDATE sqlite_master SET sql = %s"
             " WHERE name = '%s'", name, declared, name);
    damage_it(path, text);
    damage_it(path, sql);
    snprintf(text, sizeof text, "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql ="
             " (SELECT sql FROM kept) WHERE name = '%s'; DROP TABLE kept", name);
    damage_it(path, text);
}

#endif
