/* check.c - the doctor: each kind of damage is found, told by its row, and repaired or left; what
 * is right is not touched. */
#include "hostile_rows.h"

#ifdef JOBQ_SMALL
enum { TINY = true }; /* a repair of a few rows is not one transaction, jobs are counted early */
#else
enum { TINY = false };
#endif

/* ---- What is told ---- */

struct told {
    int64_t faults;
    int lines, repaired, left, stop_after; /* stop_after: so many lines, 0: never */
    const char *wanted;                    /* a part of some line */
    bool found, whole;                     /* it was; each line was one */
    char text[8192];                       /* the first lines, for a note */
};

static int tell(const char *text, size_t size, void *ctx) {
    struct told *told = (struct told *)ctx;
    size_t at = strlen(told->text);
    told->lines++;
    told->repaired += strstr(text, "; repaired: ") != NULL;
    told->left += strstr(text, "; left") != NULL || strstr(text, "; no repair") != NULL;
    if (strlen(text) != size || strchr(text, '\n') || !strstr(text, "; ")) told->whole = false;
    if (told->wanted && strstr(text, told->wanted)) told->found = true;
    snprintf(told->text + at, sizeof told->text - at, "  %s\n", text);
    return told->stop_after && told->lines == told->stop_after;
}

static struct told check_queue(jobq *q, bool repair, const char *wanted) {
    struct told told = {.wanted = wanted, .whole = true};
    WORKS(jobq_check(q, repair, tell, &told, &told.faults, &err));
    CHECK_INT(told.lines, told.faults);
    if (!CHECK(told.whole)) test_note("%s", told.text);
    if (repair) CHECK_INT(told.repaired + told.left, told.lines);
    return told;
}

static void healthy(jobq *q) {
    struct told told = check_queue(q, false, NULL);
    if (!CHECK_INT(told.faults, 0)) test_note("%s", told.text);
}

static int64_t sql_number(const char *path, const char *sql) {
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    int64_t number = -1;
    if (CHECK_INT(sqlite3_open(path, &db), SQLITE_OK)
        && CHECK_INT(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK)
        && sqlite3_step(s) == SQLITE_ROW)
        number = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return number;
}

/* ---- Damage, one kind at a time ---- */

#define JOBS "SELECT count(*) FROM jobq_row"
#define LOST "state = 3 AND id IN (SELECT job FROM jobq_extra WHERE error LIKE '%was lost%')"
#define LIVE "SELECT count(*) FROM jobq_row WHERE (state IN (0, 1) AND NOT side & 4) OR (" LOST ")"
#define DUE "SELECT count(*) FROM jobq_row j JOIN jobq_name n ON n.id = j.kind WHERE state = 0" \
    " AND run_at <= 1700000060000 AND n.name IN ('mail', 'report', 'resize')"

/* For an hour nothing becomes due that was not. */
static jobq *open_patient(const char *path, jobq_clock *clock) {
    jobq_options options = {.workers = JOBQ_NONE, .damaged = true, .clock = clock,
                            .durability = JOBQ_RELAXED, .shared = true};
    return open_queue_at(path, options);
}

/* It opens as any other, and all that waits is run. */
static void runs_on(const char *path, jobq_clock *clock) {
    jobq_options options = {.workers = JOBQ_NONE, .clock = clock, .durability = JOBQ_RELAXED};
    struct hostile_seen seen = {.code = JOBQ_OK};
    int64_t due = sql_number(path, DUE);
    jobq *q = open_queue_at(path, options);
    REQUIRE(q != NULL);
    WORKS(hostile_register(q, &seen, NULL, &err));
    WORKS(jobq_run_until_idle(q, NULL, &err));
    hostile_list(q, &seen, (jobq_filter){.state = JOBQ_STATE_NONE});
    CHECK_CODE(seen.code, JOBQ_OK);
    CHECK_INT(seen.wrong, 0);
    CHECK(seen.ran >= due);
    healthy(q);
    CHECK_INT(stats_of(q).failed_code, JOBQ_OK);
    close_whatever(&q);
}

/* late: when the queue is open already, and recovery is over. */
static void play_ill(const struct hostile_file *good, const char *sql, bool late, const char *line,
                     int left) {
    const char *path = test_path("ill.db");
    jobq_clock *clock = jobq_clock_artificial(T0 + JOBQ_MINUTE);
    struct told found, mended, after;
    int64_t jobs, live;
    int failures = test_failures();
    jobq *q;
    REQUIRE(hostile_write(path, good));
    if (!late) damage_it(path, sql);
    q = open_patient(path, clock);
    REQUIRE(q != NULL);
    if (late) damage_it(path, sql);
    jobs = sql_number(path, JOBS);
    live = sql_number(path, LIVE);
    found = check_queue(q, false, line);
    CHECK(found.faults > 0);
    CHECK(!line || found.found);
    CHECK_INT(found.repaired, 0);
    mended = check_queue(q, true, NULL);
    CHECK(left ? mended.left > 0 : !mended.left);
    after = check_queue(q, true, NULL);
    if (!CHECK_INT(after.repaired, 0) || !CHECK(left ? after.left > 0 : after.faults == 0))
        test_note("%s:\n%.600s still:\n%.600s", sql, mended.text, after.text);
    close_whatever(&q);
    CHECK_INT(sql_number(path, JOBS), jobs);
    CHECK(sql_number(path, LIVE) >= live);
    if (!left) runs_on(path, clock);
    jobq_clock_free(clock);
    hostile_remove(path);
    if (test_failures() > failures) test_note("%s:\n%.900s", sql, found.text);
}

/* Goal: whatever row is not as jobq writes it is found, and is right after a repair, or else is
 * left and told again; no job is gone, and all of them run. Method: the damage by which
 * api/hostile.c stops a queue. */
TEST(what_stops_a_queue_is_found) {
    /* What nobody can know any more. */
    static const char *const lost[] = {
        "row SET payload = 'a text'", "row SET payload = 5", "SET payload = x'00'",
        "SET id = -id", "SET id = 9223372036854775807 WHERE id = 3", "payload SET data"};
    struct hostile_file good = hostile_good(40, 1000, true, 0);
    size_t i, k, count = sizeof damaged_rows / sizeof damaged_rows[0];
    for (i = 0; i < count; i++) {
        const char *sql = damaged_rows[i].sql;
        bool left = false;
        /* A number that is too high is the next one all the same. */
        if (strstr(sql, "next_name = 2147483648")) continue;
        for (k = 0; k < sizeof lost / sizeof lost[0]; k++) left = left || strstr(sql, lost[k]);
        play_ill(&good, sql, false, NULL, left);
    }
    hostile_free(&good);
}

#define CLAIMED "UPDATE jobq_row SET state = 1, runs = 1 WHERE id = (SELECT min(id) FROM jobq_row" \
    " WHERE state = 0 AND lane > 1);"

/* Goal: what is told names table, row, column and what is wrong; and what the engine itself does
 * not stumble over is found, too. Method: each rule that api/hostile.c's damage does not name. */
TEST(each_rule_has_its_line) {
    static const struct { const char *sql, *line; int left; } ills[] = {
        {"UPDATE jobq_row SET side = side | 4 WHERE id = 1", "row 1: side wants one cancelled", 0},
        {"UPDATE jobq_row SET lane = NULL WHERE state = 0", "lane is none where", 0},
        {"UPDATE jobq_row SET lane = 1 WHERE lane > 1 AND crashes = 0", "lane is none where", 0},
        {"UPDATE jobq_row SET crashes = 1 WHERE lane > 1", "lane is none where", 0},
        {"UPDATE jobq_row SET lane = 3 + lane WHERE lane > 1", "lane is none where", 0},
        {"UPDATE jobq_row SET ord = ord + 1 WHERE lane > 1", "ord is not its place", 0},
        {"UPDATE jobq_row SET lane = 'none' WHERE state > 1", "lane is none where", 0},
        {CLAIMED, "which jobq_claims does not name", 0},
        {CLAIMED "UPDATE jobq_row SET side = side | 4 WHERE state = 1", "claims does not name", 0},
        {CLAIMED "UPDATE jobq_claims SET ids = CAST(char(2 * (SELECT id FROM jobq_row WHERE state"
         " = 1), 0) AS BLOB)", "row 1: ids is no list", 0},
        {"UPDATE jobq_claims SET ids = x'0200'", "row 1: ids is no list", 0},
        {"UPDATE jobq_claims SET ids = x'80'", "row 1: ids is no list", 0},
        {"UPDATE jobq_claims SET open = x'90f001'", "row 1: open is no list of gates", 0},
        {"UPDATE jobq_claims SET open = x'80'", "row 1: open is no list of gates", 0},
        {"UPDATE jobq_claims SET next_name = 3", "next_name is no number for a new name", 0},
        {"DELETE FROM jobq_claims", "the claims row is missing", 0},
        {"INSERT INTO jobq_claims(one, last_id, counted, offset_ms, wall_at, next_name)"
         " VALUES(2, 5, 0, 0, 0, 9)",
         "row 2: the row stands", 0},
        {"UPDATE jobq_claims SET one = 9, ids = 'text', wall_at = 'z' WHERE one = 1",
         "row 9: one is not 1", 0},
        {"UPDATE jobq_name SET what = 1 WHERE id IN (SELECT kind FROM jobq_row)",
         "kind has the name of something else", 0},
        {"UPDATE jobq_name SET what = 2 WHERE id IN (SELECT queue FROM jobq_row)",
         "queue has the name of something else", 0},
        {"UPDATE jobq_claims SET one = 7 WHERE one = 1", "row 7: one is not 1", 0},
        {"DELETE FROM jobq_meta WHERE key = 'syncs'", "jobq_meta.syncs is missing", 0},
        {"DELETE FROM jobq_meta WHERE key = 'epoch'", "jobq_meta.epoch is missing", 0},
        {"DELETE FROM jobq_meta WHERE key = 'reads_from'", "reads_from is missing", 0},
        {"DELETE FROM jobq_meta WHERE key = 'writes_from'", "writes_from is missing", 0},
        {"DELETE FROM jobq_name WHERE id = 1", "lane of suspects is missing", 0},
        {"DELETE FROM jobq_name WHERE name = 'slow'", "queue has no name", 0},
        {"DELETE FROM jobq_name WHERE name = 'nobody''s'", "kind has no name", 0},
        {"INSERT INTO jobq_name SELECT 1 + max(id), 0, 0, 'lost:' || (SELECT id FROM jobq_name"
         " WHERE name = 'slow') FROM jobq_name; DELETE FROM jobq_name WHERE name = 'slow'",
         "queue has no name", 0},
        {"INSERT INTO jobq_name VALUES(0, 1, 0, 'nothing')", "row 0: id is none", 0},
        {"INSERT INTO jobq_name VALUES(2147483648, 1, 0, 'x')", "row 2147483648: id is none", 0},
        {"INSERT INTO jobq_extra(job, key) VALUES(5000, 'x')",
         "jobq_extra, row 5000: the row has", 0},
        {"INSERT INTO jobq_extra(job) SELECT id FROM jobq_row WHERE side = 0 AND state = 0",
         "is not said to be there", 0},
        {"INSERT INTO jobq_payload VALUES(5000, x'00')", "jobq_payload, row 5000: the row has", 0},
        {"INSERT INTO jobq_payload SELECT id, x'00' FROM jobq_row WHERE id = 1",
         "second payload", 0},
        {"UPDATE jobq_row SET side = side & ~8 WHERE id = 3", "row 3: the row is not said", 0},
        {"UPDATE jobq_row SET payload = payload + 1 WHERE id = 3", "row 3: payload is another", 1},
        {"DELETE FROM jobq_payload WHERE job = 3",
         "row 3: payload stands apart, and is missing", 0},
        {"UPDATE jobq_row SET kind = 3.5 WHERE id = 3", "row 3: kind is the number of none", 0},
        {"UPDATE jobq_row SET kind = 0, queue = 'x'", "row 1: kind is the number of none", 0},
        {"UPDATE jobq_row SET kind = 2147483648", "row 1: kind is the number of none", 0},
        {"UPDATE jobq_row SET queue = 'slow' WHERE id = 3", "row 3: queue is the number", 0},
        {"UPDATE jobq_row SET side = 'x'; DELETE FROM jobq_payload", "row 3: side is none", 0},
        {"INSERT INTO jobq_key VALUES(2, 'x', 1, 5000, NULL)",
         "jobq_key, row 5000: the row has", 0},
        {"INSERT INTO jobq_key VALUES(2, 'x', 1, 1, NULL)", "jobq_key, row 1: the row is not", 0},
        {"UPDATE jobq_extra SET key = NULL WHERE job = 22", "row 22: key is not beside its job", 0},
        {"DELETE FROM jobq_key WHERE job = 22", "jobq_extra, row 22: key is not in jobq_key", 0},
        {"UPDATE jobq_key SET held = 0 WHERE job = 22",
         "row 22: held does not go with the state", 0},
        {"UPDATE jobq_key SET held = 1", "held does not go with the state", 0},
        {"UPDATE jobq_key SET held = 'x' WHERE job = 22", "row 22: held does not go with", 0},
        {"UPDATE jobq_row SET side = side & ~2 WHERE id = 22", "row 22: the row is not said", 0},
        {"UPDATE jobq_extra SET key = NULL WHERE job = 22; DELETE FROM jobq_key WHERE job = 22",
         "row 22: side says that it has a key", 0},
        {"UPDATE jobq_extra SET key = 'key 21' WHERE job = 26;"
         " UPDATE jobq_key SET key = 'key 21' WHERE job = 26", "two have the same key", 0},
        {"UPDATE jobq_extra SET key = 'key 21' WHERE job = 26;"
         " UPDATE jobq_key SET key = 'key 21', held = 0 WHERE job = 26", "another has the key", 0},
        {"UPDATE jobq_extra SET key = 'key 21' WHERE job = 26;"
         " DELETE FROM jobq_key WHERE job = 26", "and another job has it", 0},
        {"UPDATE jobq_row SET state = 2 WHERE id = 22", "nobody knows how it ended", 0},
        {"UPDATE jobq_row SET finished_at = 5 WHERE state = 0", "finished_at does not go", 0},
        {"UPDATE jobq_row SET prune_at = 5 WHERE state = 0", "prune_at does not go", 0},
        {"UPDATE jobq_row SET prune_at = NULL WHERE state = 3", "prune_at does not go", 0},
        {"DELETE FROM jobq_failed", "is of a failed job, and not in jobq_failed", 0},
        {"UPDATE jobq_failed SET at = at + 1", "is not that of a failed job", 0},
        {"INSERT INTO jobq_failed VALUES(5, 5000)", "jobq_failed, row 5000: the row is not", 0},
        {"INSERT INTO jobq_failed SELECT prune_at, id FROM jobq_row WHERE state = 2",
         "is not that of a failed job", 0},
        {COUNTERS_OF(2, 2, "0, 0, 0, 0, 0, 0, -1, 0"), "failed is -1, and", 0},
        {COUNTERS_OF(2, 2, "0, 0, 0, 0, 0, 'one', 0, 0"),
         "jobq_claims, queue 2, kind 2: done is -1, and there are 0", 0},
        {"UPDATE jobq_row SET runs = 0 WHERE state = 0 AND attempt > 1", "runs is no number", 0},
        {"UPDATE jobq_claims SET counted = 3", "queue 5, kind 2: scheduled is", 0},
        {COUNTERS_OF(2, 2, "0, 0, 0, 0, 0, 0, 0, 0") "; UPDATE jobq_claims SET last_id = 5"
         " WHERE one > 1", "one of ids to next_name stands beside counters", 0},
        {"UPDATE jobq_claims SET done = 5", "row 1: a counter stands where none belongs", 0},
        {"UPDATE jobq_claims SET wall_at = 253402300800001", "wall_at is no time", 0},
        {"UPDATE jobq_claims SET offset_ms = 253402300800001", "offset_ms is no time", 0},
        {"UPDATE jobq_claims SET offset_ms = -1 - wall_at", "row 1: offset_ms is no time, or", 0},
        {"UPDATE jobq_claims SET last_id = 4611686018427387904", "row 1: last_id is no id", 0},
        {"UPDATE jobq_meta SET value = 'x' WHERE key = 'epoch'", "value is no number", 0},
        {"UPDATE jobq_meta SET value = NULL WHERE key = 'reads_from'", "value is no number", 0},
        {"UPDATE jobq_name SET what = 3 WHERE name = 'mail'", "row 2: what is none", 0},
        {"UPDATE jobq_name SET scope = 5 WHERE name = 'mail'", "scope is of no use", 0},
        {"UPDATE jobq_name SET scope = 5 WHERE name = 'mail'; INSERT INTO jobq_name"
         " SELECT next_name, 2, 0, 'mail' FROM jobq_claims WHERE one = 1; UPDATE jobq_claims"
         " SET next_name = next_name + 1", "scope is of no use", 0},
        {"INSERT INTO jobq_rule(what, name, layer) VALUES(1, 'x', 2), (1, 'y', 1)",
         "jobq_rule, row 2: the row is nobody's", 0},
        {"INSERT INTO jobq_figure(span, at, queue, kind) VALUES(60, 0, 2, 3), (60, 0, 2, 4)",
         "jobq_figure, row 4: the row is nobody's", 0},
        {"INSERT INTO jobq_step VALUES(7, x'00', 'x'), (8, 'b', 'x')",
         "jobq_step, row 8: the row is nobody's", 0},
    };
    struct hostile_file good = hostile_good(40, 1000, true, 0);
    for (size_t i = 0; i < sizeof ills / sizeof ills[0]; i++)
        play_ill(&good, ills[i].sql, true, ills[i].line, ills[i].left);
    hostile_free(&good);
}

/* ---- No column is forgotten ---- */

/* Columns that are damaged in a way of their own: what every row has there keeps the file, or the
 * queue, apart from others. */
static const struct { const char *table, *column, *sql; } own_ways[] = {
    {"jobq_meta", "key", "UPDATE jobq_meta SET key = 'another' WHERE key = 'syncs'"},
    {"jobq_meta", "value", "UPDATE jobq_meta SET value = 'x' WHERE key = 'syncs'"},
    {"jobq_claims", "one", "UPDATE jobq_claims SET one = 7 WHERE one = 1"},
};

struct schema_column {
    char table[32], name[32];
    bool empty;      /* the table */
    int columns;     /* of the table */
};

/* All columns of all tables of the file. */
static int all_columns(const char *path, struct schema_column *columns, int capacity) {
    sqlite3 *db = sql_open(path);
    sqlite3_stmt *s = NULL;
    int count = 0;
    CHECK_INT(sqlite3_prepare_v2(db, "SELECT m.name, p.name, count(*) OVER (PARTITION BY m.name)"
                                 " FROM sqlite_master m JOIN pragma_table_info(m.name) p"
                                 " WHERE m.type = 'table' AND m.name LIKE 'jobq%'", -1, &s, NULL),
              SQLITE_OK);
    while (sqlite3_step(s) == SQLITE_ROW && count < capacity) {
        struct schema_column *column = &columns[count++];
        char sql[80];
        snprintf(column->table, sizeof column->table, "%s", sqlite3_column_text(s, 0));
        snprintf(column->name, sizeof column->name, "%s", sqlite3_column_text(s, 1));
        snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", column->table);
        column->columns = sqlite3_column_int(s, 2);
        column->empty = sql_number(path, sql) == 0;
    }
    sqlite3_finalize(s);
    sqlite3_close(db);
    return count;
}

/* Damages the column, the way-th time in another way; false: there is no other. Where nothing is
 * written a row is damage, whatever it says. */
static bool damage_column(const char *path, const struct schema_column *column, int way) {
    static const char *const values[] = {"x'00ff'", "'zzz'", "-7", "9223372036854775807"};
    char sql[400];
    size_t at, i;
    for (i = 0; i < sizeof own_ways / sizeof own_ways[0]; i++) {
        if (strcmp(own_ways[i].table, column->table) != 0) continue;
        if (strcmp(own_ways[i].column, column->name) != 0) continue;
        if (!way) damage_it(path, own_ways[i].sql);
        return !way;
    }
    if ((size_t)way == sizeof values / sizeof values[0] || (column->empty && way)) return false;
    at = (size_t)snprintf(sql, sizeof sql, "INSERT INTO %s VALUES(7", column->table);
    for (i = 1; i < (size_t)column->columns; i++)
        at += (size_t)snprintf(sql + at, sizeof sql - at, ", 7");
    snprintf(sql + at, sizeof sql - at, ")");
    if (!column->empty)
        snprintf(sql, sizeof sql, "UPDATE OR IGNORE %s SET %s = %s", column->table, column->name,
                 values[way]);
    damage_try(path, sql);
    return true;
}

/* Goal: there is no table and no column of which damage is not told, as the file is today: who adds
 * one has to say what has to hold there. Method: the schema itself is walked; each column of each
 * row gets a value that nobody writes, of several kinds, until one of them is told; and what can be
 * repaired is, at once. */
TEST(no_column_is_forgotten) {
    static struct schema_column columns[400];
    struct hostile_file good = hostile_good(40, 1000, true, 0);
    const char *path = test_path("columns.db");
    int count, i;
    REQUIRE(hostile_write(path, &good));
    count = all_columns(path, columns, 400);
    CHECK(count > 150 && count < 400);
    for (i = 0; i < count; i++) {
        struct told told = {.faults = 0};
        if (columns[i].empty && i && !strcmp(columns[i].table, columns[i - 1].table)) continue;
        for (int way = 0; !told.faults; way++) {
            jobq_clock *clock = jobq_clock_artificial(T0 + JOBQ_MINUTE);
            jobq *q;
            hostile_write(path, &good);
            q = open_patient(path, clock);
            REQUIRE(q != NULL);
            if (damage_column(path, &columns[i], way)) told = check_queue(q, false, NULL);
            else if (!CHECK(told.faults > 0)) told.faults = -1;
            if (told.faults > 0) {
                check_queue(q, true, NULL);
                CHECK_INT(check_queue(q, true, NULL).repaired, 0);
            }
            close_whatever(&q);
            jobq_clock_free(clock);
        }
        if (test_failures()) {
            test_note("%s.%s", columns[i].table, columns[i].name);
            break;
        }
    }
    hostile_free(&good);
}

/* Goal: what a version with a newer schema has put where this one writes nothing is neither told
 * nor touched, if that says that this one may write to its file. Method: such a file. */
TEST(a_later_version_is_left_alone) {
    static const char *const later =
        "UPDATE jobq_row SET grp = 5 WHERE id = 1; INSERT INTO jobq_name SELECT next_name, 6, 3,"
        " 'turn' FROM jobq_claims WHERE one = 1; UPDATE jobq_claims SET next_name = next_name + 1;"
        " UPDATE jobq_extra SET tags = 'a', cause = 3; UPDATE jobq_key SET until = 9;"
        " INSERT INTO jobq_rule(what, name, layer) VALUES(1, 'x', 1); INSERT INTO jobq_pass"
        " VALUES(1, 2); INSERT INTO jobq_alarm VALUES(5, 6, 7); INSERT INTO jobq_meta"
        " VALUES('later', 'x'); UPDATE jobq_meta SET value = 3 WHERE key = 'schema'";
    static const char *const count =
        "SELECT (SELECT count(grp) FROM jobq_row) + (SELECT count(*) FROM jobq_name WHERE scope ="
        " 3) + (SELECT count(tags) > 0 AND count(cause) > 0 FROM jobq_extra) + (SELECT count(until)"
        " > 0 FROM jobq_key) + (SELECT count(*) FROM jobq_rule) + (SELECT count(*) FROM jobq_pass)"
        " + (SELECT count(*) FROM jobq_alarm) + (SELECT count(*) FROM jobq_meta WHERE key ="
        " 'later')";
    struct hostile_file good = hostile_good(40, 1000, true, 0);
    const char *path = test_path("later.db");
    jobq_clock *clock = jobq_clock_artificial(T0 + JOBQ_MINUTE);
    jobq *q;
    REQUIRE(hostile_write(path, &good));
    damage_it(path, later);
    q = open_patient(path, clock);
    REQUIRE(q != NULL);
    healthy(q);
    CHECK_INT(check_queue(q, true, NULL).lines, 0);
    damage_it(path, "UPDATE jobq_row SET delay_ms = -1 WHERE id = 1");
    CHECK_INT(check_queue(q, true, "delay_ms is no time; repaired").lines, 1);
    CHECK_INT(sql_number(path, count), 8);
    close_whatever(&q);
    jobq_clock_free(clock);
    hostile_free(&good);
}

/* Jobs that were counted already are counted so. */
#define FORGET "UPDATE jobq_row SET lane = -kind, ord = 0 WHERE state = 0;" \
    " UPDATE jobq_claims SET blocked = blocked + ready, ready = 0 WHERE one > 1"
#define FORGOTTEN "row 1: open does not name a gate"

/* Goal: jobs that stand before a gate which has opened, and which nobody has noted, are found and
 * run; those whose handler is not there are right where they stand. Method: SQL puts ready jobs
 * there, under owners with the handler and without. */
TEST(forgotten_before_a_gate) {
    fixture f;
    struct told told;
    REQUIRE(fixture_open(&f, STEP));
    handle(f.q, "k", do_nothing, NULL);
    put_many(f.q, &(jobq_job){.kind = "k"}, 5);
    put_many(f.q, &(jobq_job){.kind = "other"}, 5);
    healthy(f.q);
    damage_it(f.path, FORGET);
    told = check_queue(f.q, false, FORGOTTEN);
    CHECK_INT(told.faults, 1);
    CHECK(told.found);
    REQUIRE(fixture_reopen(&f));
    damage_it(f.path, FORGET);
    healthy(f.q);
    handle(f.q, "k", do_nothing, NULL);
    handle(f.q, "other", do_nothing, NULL);
    healthy(f.q);
    damage_it(f.path, FORGET);
    told = check_queue(f.q, true, FORGOTTEN);
    CHECK(told.found && told.repaired == 1 && told.left == 0);
    CHECK_INT(sql_number(f.path, "SELECT length(open) FROM jobq_claims"), 2);
    CHECK_INT(drain(f.q), 10);
    CHECK_INT(sql_number(f.path, "SELECT open IS NULL FROM jobq_claims"), 1);
    healthy(f.q);
    fixture_close(&f);
}

/* Goal: who was to be cancelled when nobody had it any more is, as after a crash. Method: a claimed
 * row that the claims row does not name, with that wish. */
TEST(nobodys_wish) {
    struct hostile_file good = hostile_good(40, 1000, true, 0);
    const char *path = test_path("wish.db");
    jobq_clock *clock = jobq_clock_artificial(T0 + JOBQ_MINUTE);
    struct told told;
    int64_t id;
    jobq *q;
    REQUIRE(hostile_write(path, &good));
    q = open_patient(path, clock);
    REQUIRE(q != NULL);
    damage_it(path, CLAIMED "UPDATE jobq_row SET side = side | 4 WHERE state = 1");
    id = sql_number(path, "SELECT id FROM jobq_row WHERE state = 1");
    told = check_queue(q, true, "which jobq_claims does not name");
    CHECK(told.found && !told.left);
    CHECK_INT(state_of(q, id), JOBQ_STATE_CANCELLED);
    healthy(q);
    close_whatever(&q);
    jobq_clock_free(clock);
    hostile_free(&good);
}

/* ---- Indexes ---- */

/* Goal: entries of an index that its rows have not, and rows that have no entry, are found; the
 * index is made anew. Method: rows change while the index does not follow. */
TEST(indexes_that_disagree) {
    static const struct { const char *index, *declared, *sql, *line; } ills[] = {
        {"jobq_live", "sql || ' AND id < 0'", "UPDATE jobq_row SET run_at = run_at + 1",
         "the index jobq_live has an entry that its row has not"},
        {"jobq_live", "sql || ' AND id < 0'", "UPDATE jobq_row SET run_at = run_at + 1",
         "the index jobq_live has no entry for it"},
        {"jobq_finished", "sql || ' AND id < 0'", "UPDATE jobq_row SET prune_at = prune_at + 1",
         "the index jobq_finished has an entry that its row has not"},
        {"jobq_finished", "sql || ' AND id < 0'", "UPDATE jobq_row SET prune_at = prune_at + 1",
         "the index jobq_finished has no entry for it"},
    };
    struct hostile_file good = hostile_good(40, 1000, true, 0);
    for (size_t i = 0; i < sizeof ills / sizeof ills[0]; i++) {
        const char *path = test_path("index.db");
        jobq_clock *clock = jobq_clock_artificial(T0 + JOBQ_MINUTE);
        struct told told;
        jobq *q;
        if (!hostile_write(path, &good)) break;
        damage_as_if(path, ills[i].index, ills[i].declared, ills[i].sql);
        q = open_patient(path, clock);
        REQUIRE(q != NULL);
        told = check_queue(q, false, ills[i].line);
        if (!CHECK(told.found)) test_note("%s:\n%.900s", ills[i].line, told.text);
        told = check_queue(q, true, NULL);
        CHECK(told.repaired > 0 && !told.left);
        healthy(q);
        close_whatever(&q);
        runs_on(path, clock);
        jobq_clock_free(clock);
        hostile_remove(path);
    }
    hostile_free(&good);
}

/* Goal: the index of names is looked at from both sides. Method: the same, with a name. */
TEST(index_of_names) {
    struct hostile_file good = hostile_good(40, 1000, true, 0);
    const char *path = test_path("names.db");
    struct told told;
    jobq *q;
    REQUIRE(hostile_write(path, &good));
    /* The table without its constraint does not know of the index. */
    damage_it(path, "PRAGMA writable_schema = ON; CREATE TABLE kept AS SELECT rowid AS at, * FROM"
              " sqlite_master WHERE tbl_name = 'jobq_name'; DELETE FROM sqlite_master WHERE type ="
              " 'index' AND tbl_name = 'jobq_name'; UPDATE sqlite_master SET sql = replace(sql,"
              " ', UNIQUE(what, scope, name)', '') WHERE name = 'jobq_name'");
    damage_it(path, "UPDATE jobq_name SET name = 'altered' WHERE name = 'mail'");
    damage_it(path, "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = (SELECT sql FROM"
              " kept WHERE name = 'jobq_name') WHERE name = 'jobq_name'; INSERT INTO"
              " sqlite_master(rowid, type, name, tbl_name, rootpage, sql) SELECT at, type, name,"
              " tbl_name, rootpage, sql FROM kept WHERE type = 'index'; DROP TABLE kept");
    q = open_patient(path, NULL);
    REQUIRE(q != NULL);
    told = check_queue(q, false, "the index of names has an entry that its row has not");
    CHECK(told.found);
    told = check_queue(q, false, "the index of names has no entry for it");
    if (!CHECK(told.found)) test_note("%s", told.text);
    told = check_queue(q, true, NULL);
    CHECK(told.repaired > 0 && !told.left);
    healthy(q);
    close_whatever(&q);
    hostile_free(&good);
}

/* Goal: what SQLite cannot read is told, more than once if need be, and left; the call ends, and
 * the queue is not stopped by it. Method: pages of the file become garbage, one after the other. */
TEST(pages_of_garbage) {
    struct hostile_file good = hostile_good(40, 1000, false, 0);
    const char *path = test_path("garbage.db");
    size_t page = 2048, at;
    int opened = 0, unread = 0, failed;
    for (at = 4 * page; at + page <= good.db_size; at += page) {
        struct hostile_file bad = good;
        jobq_options options = {.workers = JOBQ_NONE, .damaged = true};
        struct told told = {.whole = true};
        jobq *q = NULL;
        bad.db = (unsigned char *)malloc(good.db_size);
        if (!bad.db) test_give_up("no memory");
        memcpy(bad.db, good.db, good.db_size);
        memset(bad.db + at, 0x5a, page);
        hostile_write(path, &bad);
        free(bad.db);
        if (jobq_open(path, &options, &q, NULL) != JOBQ_OK) continue;
        opened++;
        failed = stats_of(q).failed_code;
        CHECK_CODE(jobq_check(q, false, tell, &told, &told.faults, NULL), JOBQ_OK);
        CHECK(told.faults > 0 && told.whole);
        CHECK(!strstr(told.text, "to its end (") == !strstr(told.text, "no repair: restore a copy,"
                                                             " or what sqlite3's .recover saves"));
        unread += strstr(told.text, "to its end (") != NULL;
        jobq_check(q, true, tell, &told, NULL, NULL);
        CHECK_CODE(stats_of(q).failed_code, failed);
        jobq_close(&q);
        hostile_remove(path);
    }
    CHECK(opened > 5);
    CHECK(unread > 0);
    hostile_free(&good);
}

/* ---- Who, where and when ---- */

/* Goal: an owner in step mode, a client and a queue in memory find their healthy queues healthy;
 * a client may look, but not repair. Method: jobs of all kinds; a fault in the file. */
TEST(whoever_may_look) {
    struct hostile_file good = hostile_good(40, 1000, false, 0);
    const char *path = test_path("q.db");
    jobq_options options = {.role = JOBQ_CLIENT, .shared = true};
    struct told told;
    jobq *q;
    REQUIRE(hostile_write(path, &good));
    q = open_queue_at(path, options);
    REQUIRE(q != NULL);
    healthy(q);
    damage_it(path, "UPDATE jobq_row SET side = side | 4 WHERE id = 2 AND state <> 1");
    told = check_queue(q, false, "jobq_row, row 2: side");
    CHECK(told.found);
    FAILS(JOBQ_MISUSE, jobq_check(q, true, tell, &told, NULL, &err));
    close_queue(&q);
    q = open_queue_at(":memory:", STEP);
    REQUIRE(q != NULL);
    hostile_register(q, NULL, NULL, NULL);
    hostile_fill(q, 0, 40, 1000);
    healthy(q);
    WORKS(jobq_run_until_idle(q, NULL, &err));
    told = check_queue(q, true, NULL);
    CHECK_INT(told.faults, 0);
    close_queue(&q);
    hostile_free(&good);
}

/* Goal: nobody need be told; who has heard enough ends it; what is no queue is MISUSE. Method: a
 * file with many faults. */
TEST(arguments) {
    struct hostile_file good = hostile_good(40, 1000, false, 0);
    const char *path = test_path("q.db");
    struct told told = {.stop_after = 3, .whole = true};
    int64_t faults = -1, all = -1;
    jobq *q;
    REQUIRE(hostile_write(path, &good));
    damage_it(path, "UPDATE jobq_row SET side = side | 4 WHERE state <> 1");
    q = open_queue_at(path, STEP);
    REQUIRE(q != NULL);
    WORKS(jobq_check(q, false, NULL, NULL, &all, &err));
    CHECK(all > 3);
    WORKS(jobq_check(q, false, NULL, NULL, NULL, &err));
    WORKS(jobq_check(q, false, tell, &told, &faults, &err));
    CHECK_INT(told.lines, 3);
    CHECK_INT(faults, 3);
    close_queue(&q);
    FAILS(JOBQ_MISUSE, jobq_check(NULL, false, tell, &told, &faults, &err));
    CHECK_INT(faults, 0);
    hostile_free(&good);
}

static jobq_outcome checks_inside(jobq_run *run, void *ctx) {
    int64_t faults = -1;
    sqlite3 *db = NULL;
    jobq *q = *(jobq **)ctx;
    jobq_error told = {.code = JOBQ_OK};
    CHECK_CODE(jobq_check(q, false, NULL, NULL, &faults, NULL), JOBQ_OK);
    CHECK_INT(faults, 0);
    CHECK_CODE(jobq_run_db(run, &db, NULL), JOBQ_OK);
    CHECK_CODE(jobq_check(q, false, NULL, NULL, &faults, &told), JOBQ_MISUSE);
    return JOBQ_DONE;
}

/* Goal: a job may have the file looked at, every night, say; not in its own transaction. Method: a
 * handler that does both. */
TEST(within_a_handler) {
    fixture f;
    if (!fixture_open(&f, STEP)) return;
    handle(f.q, "k", checks_inside, &f.q);
    put(f.q, "k");
    WORKS(jobq_run_until_idle(f.q, NULL, &err));
    CHECK_INT(stats_of(f.q).done, 1);
    fixture_close(&f);
}

static jobq_outcome comes_and_goes(jobq_run *run, void *ctx) {
    int64_t id = jobq_run_id(run);
    (void)ctx;
    if (id % 5 == 0) jobq_checkpoint(run, "halfway", 7, NULL);
    if (id % 11 == 0 && jobq_run_attempt(run) < 3) return jobq_retry(run, "again");
    if (id % 13 == 0) return jobq_fail(run, "never");
    return id % 3 ? JOBQ_DONE : jobq_done(run, "a result", 8);
}

static void put_some(jobq *q, int from, int count) {
    static char payload[3000];
    for (int i = from; i < from + count; i++) {
        char key[32];
        jobq_job job = {.kind = "k", .priority = i % 3, .conflict = JOBQ_KEEP};
        snprintf(key, sizeof key, "key %d", i % 97);
        if (i % 4 == 0) job.key = key;
        if (i % 7 == 0) job.delay_ms = 1 + i % 20;
        if (i % 6 == 0) job.payload = payload;
        if (i % 6 == 0) job.size = sizeof payload;
        job.queue = i % 2 ? "one" : "two";
        WORKS(jobq_enqueue(q, &job, NULL, &err));
    }
}

/* Goal: what is merely under way is no fault, and a repair has nothing to do. Method: jobs of all
 * kinds are stored and run by a pool while one check follows the other. */
TEST(beside_a_running_pool) {
    jobq *q = open_pool(test_path("q.db"), 3);
    jobq_kind kind = {.name = "k", .run = comes_and_goes, .backoff_min_ms = 1,
                      .backoff_max_ms = 2, .keep_failed_ms = 50, .keep_done_ms = 50};
    int round;
    REQUIRE(q != NULL);
    handle_kind(q, kind);
    start(q);
    for (round = 0; round < 12 && !test_failures(); round++) {
        struct told told;
        put_some(q, round * 40, 40);
        told = check_queue(q, round % 2, NULL);
        if (!CHECK_INT(told.faults, 0)) test_note("%s", told.text);
    }
    CHECK_CODE(stats_of(q).failed_code, JOBQ_OK);
    close_queue(&q);
}

static int32_t go_on;

static jobq_outcome waits_for_it(jobq_run *run, void *ctx) {
    int *runs = (int *)ctx;
    int64_t id = jobq_run_id(run);
    if (id < 16) runs[id]++;
    if (id == 1) UNTIL(__atomic_load_n(&go_on, __ATOMIC_SEQ_CST));
    return JOBQ_DONE;
}

/* Goal: a repair beside a pool touches no job that runs, and those that are claimed are run once.
 * Method: a handler waits; rows of it, and of jobs in the ring, are altered. */
TEST(who_runs_is_left_alone) {
    const char *path = test_path("q.db");
    jobq_options options = {.workers = 1, .durability = JOBQ_RELAXED, .shared = true};
    int runs[16] = {0};
    struct told told;
    jobq *q = open_queue_at(path, options);
    REQUIRE(q != NULL);
    __atomic_store_n(&go_on, 0, __ATOMIC_SEQ_CST);
    handle(q, "k", waits_for_it, runs);
    start(q);
    for (int i = 0; i < 8; i++) put(q, "k");
    UNTIL(sql_number(path, "SELECT count(*) FROM jobq_row WHERE state = 1 AND id = 1") == 1);
    UNTIL(stats_of(q).running == 1);
    damage_it(path, "UPDATE jobq_row SET delay_ms = -1");
    told = check_queue(q, true, "row 1: delay_ms is no time; left, for its job runs");
    if (!CHECK(told.found && told.left == 1 && told.repaired == 7)) test_note("%s", told.text);
    __atomic_store_n(&go_on, 1, __ATOMIC_SEQ_CST);
    UNTIL(stats_of(q).done == 8);
    for (int i = 1; i <= 8; i++) CHECK_INT(runs[i], 1);
    told = check_queue(q, true, "row 1: delay_ms is no time; repaired");
    CHECK(told.found && told.faults == 1);
    healthy(q);
    close_queue(&q);
}

/* Goal: damage that has stopped the queue can be repaired while it is open; a queue that is opened
 * again goes on. Method: it meets a row that is damaged, and stops. */
TEST(what_has_stopped_is_repaired) {
    struct hostile_file good = hostile_good(40, 1000, false, 0);
    const char *path = test_path("q.db");
    jobq_clock *clock = jobq_clock_artificial(T0 + JOBQ_MINUTE);
    struct told told;
    jobq *q;
    REQUIRE(hostile_write(path, &good));
    q = open_patient(path, clock);
    REQUIRE(q != NULL);
    damage_it(path, "UPDATE jobq_row SET priority = 'x'");
    hostile_register(q, NULL, NULL, NULL);
    jobq_run_until_idle(q, NULL, NULL);
    CHECK_CODE(stats_of(q).failed_code, JOBQ_CORRUPT);
    told = check_queue(q, true, "priority is none; repaired: it is 0");
    CHECK(told.found && !told.left);
    healthy(q);
    FAILS(JOBQ_CORRUPT, jobq_enqueue(q, &(jobq_job){.kind = "k"}, NULL, &err));
    close_whatever(&q);
    runs_on(path, clock);
    jobq_clock_free(clock);
    hostile_free(&good);
}

/* Goal: many faults are repaired in many short transactions; who has the file is waited for, by
 * busy_ms. Method: more rows than two slices; another connection writes. */
TEST(many_slices) {
    enum { MANY = 2500 };
    fixture f;
    struct told told;
    sqlite3 *db = NULL;
    int64_t before;
    if (!fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .durability = JOBQ_RELAXED,
                                         .busy_ms = 1, .shared = true})) return;
    put_many(f.q, &(jobq_job){.kind = "k"}, MANY);
    damage_it(f.path, "UPDATE jobq_row SET delay_ms = -1");
    before = sql_number(f.path, "SELECT sum(id) FROM jobq_row WHERE delay_ms = -1");
    REQUIRE_INT(sqlite3_open(f.path, &db), SQLITE_OK);
    CHECK_INT(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    FAILS(JOBQ_BUSY, jobq_check(f.q, true, NULL, NULL, NULL, &err));
    CHECK_INT(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    CHECK_INT(sql_number(f.path, "SELECT sum(id) FROM jobq_row WHERE delay_ms = -1"), before);
    told = check_queue(f.q, true, "delay_ms is no time; repaired");
    CHECK_INT(told.faults, MANY);
    CHECK(told.found && !told.left);
    healthy(f.q);
    fixture_close(&f);
}

/* ---- What is lost ---- */

static jobq_outcome has_a_payload(jobq_run *run, void *ctx) {
    size_t size;
    jobq_run_payload(run, &size);
    *(size_t *)ctx = size;
    if (jobq_run_id(run) == 1 || !size) return JOBQ_DONE;
    return jobq_run_id(run) == 2 ? jobq_fail(run, "a reason") : jobq_retry(run, "once more");
}

static const char text_of_lost[] = "row 2: payload stands apart, and is missing there; repaired:"
    " its job has none and, if it had not ended, is kept among the failed ones";

/* Goal: a job whose payload is gone is kept, and stops nobody any more: one that waits is a dead
 * letter that says why, and its key is free, from one moment to the next; one that has ended is
 * what it was. Each can be revived, deleted and removed when its time has come. Method: jobs that
 * are done, failed, have failed once, are new; the payloads are deleted, and the walk ends at the
 * first line. */
TEST(payload_is_lost) {
    static const jobq_state states[] = {JOBQ_STATE_DONE, JOBQ_STATE_FAILED, JOBQ_STATE_FAILED,
                                        JOBQ_STATE_FAILED, JOBQ_STATE_FAILED};
    static const char large[HOSTILE_LARGE];
    jobq_options options = {.workers = JOBQ_NONE, .durability = JOBQ_RELAXED, .shared = true,
                            .keep_done_ms = JOBQ_DAY, .keep_failed_ms = JOBQ_DAY};
    jobq_job job = {.kind = "k", .payload = large, .size = sizeof large};
    jobq_kind kind = {.name = "k", .run = has_a_payload, .attempts_max = 2,
                      .backoff_min_ms = JOBQ_HOUR};
    struct told told = {.whole = true, .stop_after = 1, .wanted = "payload stands apart"};
    size_t size = 0;
    fixture f;
    if (TINY) return;
    if (!fixture_open(&f, options)) return;
    kind.ctx = &size;
    handle_kind(f.q, kind);
    for (int i = 0; i < 3; i++) put_job(f.q, job);
    CHECK_INT(drain(f.q), 3);
    job.key = "a key";
    put_job(f.q, job);
    job.key = NULL;
    job.delay_ms = JOBQ_HOUR;
    put_job(f.q, job);
    sql_run(f.path, "DELETE FROM jobq_payload");
    WORKS(jobq_check(f.q, true, tell, &told, &told.faults, &err));
    if (!CHECK(told.found && told.repaired == 1)) test_note("%s", told.text);
    healthy(f.q);
    CHECK_INT(sql_number(f.path, MISCOUNTED), 0);
    CHECK_INT(count_all(f.q).failed, 4);
    for (int id = 1; id <= 5; id++) {
        jobq_info info = look(f.q, id);
        CHECK_INT(info.state, states[id - 1]);
        CHECK_INT(info.payload_size, 0);
        CHECK_INT(strcmp(info.error, "a reason") == 0, id == 2);
        CHECK_INT(strstr(info.error, "payload was lost") != NULL, id > 2);
        CHECK_INT(info.finished_at_ms, T0);
    }
    CHECK_INT(look(f.q, 3).attempt, 2);
    WORKS(jobq_enqueue(f.q, &(jobq_job){.kind = "k", .key = "a key", .conflict = JOBQ_REFUSE,
                                        .delay_ms = 2 * JOBQ_DAY}, NULL, &err));
    FAILS(JOBQ_EXISTS, jobq_retry_now(f.q, 4, &err));
    size = 5;
    WORKS(jobq_retry_now(f.q, 3, &err));
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(size, 0);
    WORKS(jobq_delete(f.q, 5, &err));
    advance(f.q, JOBQ_DAY + JOBQ_MINUTE);
    CHECK_INT(total(f.q), 1);
    healthy(f.q);
    CHECK_INT(stats_of(f.q).failed_code, JOBQ_OK);
    fixture_close(&f);
}

/* Goal: a job that runs has its payload in hand, and is left; one in the ring is not. Method: a
 * handler waits meanwhile; nobody is left who could be claimed, and found without. */
TEST(payload_of_who_runs) {
    const char *path = test_path("q.db");
    static const char large[HOSTILE_LARGE];
    jobq_options options = {.workers = 1, .durability = JOBQ_RELAXED, .shared = true};
    jobq_job job = {.kind = "k", .payload = large, .size = sizeof large};
    int runs[16] = {0};
    struct told told;
    jobq *q = open_queue_at(path, options);
    REQUIRE(q != NULL);
    __atomic_store_n(&go_on, 0, __ATOMIC_SEQ_CST);
    handle(q, "k", waits_for_it, runs);
    put_job(q, job);
    put_job(q, job);
    start(q);
    UNTIL(stats_of(q).running == 1);
    UNTIL(sql_number(path, JOBS " WHERE state = 1") == 2);
    sql_run(path, "DELETE FROM jobq_payload");
    told = check_queue(q, true, text_of_lost);
    CHECK(told.found && told.left == 1 && strstr(told.text, "row 1: payload stands apart, and is"
                                                 " missing there; left, for its job runs"));
    CHECK_INT(count_all(q).failed, 1);
    CHECK_INT(sql_number(path, MISCOUNTED), 0);
    WORKS(jobq_delete(q, 2, &err));
    __atomic_store_n(&go_on, 1, __ATOMIC_SEQ_CST);
    UNTIL(stats_of(q).done == 1);
    CHECK_INT(runs[2], 0);
    told = check_queue(q, true, "row 1: payload stands apart, and is missing there; repaired");
    CHECK(told.found && told.faults == 1);
    CHECK_INT(state_of(q, 1), JOBQ_STATE_DONE);
    healthy(q);
    close_queue(&q);
}

/* Goal: jobs whose kind or queue is no number wait on, under a name that is theirs; those with a
 * handler run. A new name does not come to be theirs. Method: the rows' values are replaced, and
 * the walk ends at the first line; somebody stores a job of a new kind and queue then. */
TEST(kind_and_queue_are_lost) {
    jobq_options options = {.workers = JOBQ_NONE, .durability = JOBQ_RELAXED, .shared = true,
                            .keep_done_ms = JOBQ_DAY};
    struct told told = {.whole = true, .stop_after = 1};
    char lost[32];
    int64_t next;
    fixture f;
    if (TINY) return;
    if (!fixture_open(&f, options)) return;
    handle(f.q, "k", do_nothing, NULL);
    put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    put_many(f.q, &(jobq_job){.kind = "k", .key = NULL}, 50);
    put_job(f.q, (jobq_job){.kind = "k", .key = "a key"});
    sql_run(f.path, "UPDATE jobq_row SET kind = 'k' WHERE id IN (1, 2, 52)");
    sql_run(f.path, "UPDATE jobq_row SET queue = 1.5 WHERE id > 2");
    next = sql_number(f.path, "SELECT next_name FROM jobq_claims");
    snprintf(lost, sizeof lost, "lost:%d", (int)next);
    WORKS(jobq_check(f.q, true, tell, &told, &told.faults, &err));
    CHECK(told.lines == 1 && told.repaired == 1);
    put_job(f.q, (jobq_job){.kind = "a new one", .queue = "a new queue"});
    told = check_queue(f.q, true, "queue is the number of none; repaired: it is one of its own,");
    CHECK(told.found && !told.left);
    healthy(f.q);
    CHECK_INT(sql_number(f.path, MISCOUNTED), 0);
    CHECK_STR(look(f.q, 1).kind, lost);
    CHECK_INT(state_of(f.q, 1), JOBQ_STATE_DONE);
    CHECK_STR(look(f.q, 2).kind, lost);
    CHECK_STR(look(f.q, 3).kind, "k");
    CHECK_STR(look(f.q, 3).queue, lost);
    CHECK_STR(look(f.q, 53).kind, "a new one");
    CHECK_STR(look(f.q, 53).queue, "a new queue");
    CHECK_INT(sql_number(f.path, "SELECT count(DISTINCT kind) FROM jobq_row"), 4);
    CHECK_INT(drain(f.q), 49);
    CHECK_INT(count_all(f.q).parked, 3);
    put_job(f.q, (jobq_job){.kind = "k", .key = "a key", .conflict = JOBQ_REFUSE});
    handle(f.q, lost, do_nothing, NULL);
    CHECK_INT(drain(f.q), 2);
    healthy(f.q);
    fixture_close(&f);
}

/* Goal: where no number is left such a row is left. Method: the highest has been given, and has a
 * name. */
TEST(no_number_is_left) {
    struct told told;
    fixture f;
    if (!fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .shared = true})) return;
    put(f.q, "k");
    sql_run(f.path, "INSERT INTO jobq_name VALUES(2147483647, 2, 0, 'last');"
            " UPDATE jobq_claims SET next_name = 2147483648; UPDATE jobq_row SET kind = 'k'");
    told = check_queue(f.q, true, "row 1: kind is the number of none; left: the repair came to");
    if (!CHECK(told.found && told.left == 1)) test_note("%s", told.text);
    CHECK_INT(sql_number(f.path, "SELECT typeof(kind) = 'text' FROM jobq_row"), 1);
    CHECK_INT(sql_number(f.path, "SELECT next_name FROM jobq_claims"), INT64_C(2147483648));
    fixture_close(&f);
}

/* As the rows come to; claimed ones have not started in step mode. */
static void counts_exactly(jobq *q, const char *path) {
    jobq_counts c = count_all(q);
    CHECK_INT(c.ready + c.running, sql_number(path, JOBS " WHERE state = 1 OR (state = 0 AND"
                                              " (lane > 0 OR (lane IN (-1, 0) AND run_at <= 0)))"));
    CHECK_INT(c.scheduled, sql_number(path, JOBS " WHERE state = 0 AND lane IN (-1, 0)"));
    CHECK_INT(c.parked, sql_number(path, JOBS " WHERE state = 0 AND lane < -1"));
    CHECK_INT(c.done, sql_number(path, JOBS " WHERE state = 2"));
    CHECK_INT(c.cancelled, sql_number(path, JOBS " WHERE state = 4"));
}

static jobq_outcome end_some(jobq_run *run, void *ctx) {
    (void)ctx;
    return jobq_run_id(run) % 3 ? JOBQ_DONE : jobq_snooze(run, JOBQ_DAY);
}

/* Goal: of a row that a repair deletes only that is told for which it goes. Method: rows that break
 * several rules. */
TEST(what_goes_is_told_once) {
    struct told told;
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .shared = true}));
    put_many(f.q, &(jobq_job){.kind = "k"}, 20);
    jobq_cancel(f.q, 1, NULL);
    sql_run(f.path, "INSERT INTO jobq_key SELECT kind, 'z' || id, 2, id, 5 FROM jobq_row");
    told = check_queue(f.q, true, "jobq_key, row 1:");
    CHECK_INT(told.faults, 20);
    CHECK(told.found && told.repaired == 20 && !told.left);
    healthy(f.q);
    fixture_close(&f);
}

/* Goal: counters that are not what the rows come to are told, and after a repair right again and
 * kept so, in the owner that repaired them and in the next one. Method: more jobs than are left
 * uncounted; each kind of damage; then each kind of change. */
TEST(wrong_counters) {
    static const struct { const char *sql, *line; } ills[] = {
        {"DELETE FROM jobq_claims WHERE one > 1",
         "ready is 0, and there are 1500; repaired: jobs are counted"},
        {"UPDATE jobq_claims SET ready = ready + 1, blocked = blocked - 1", "blocked is"},
        {"UPDATE jobq_claims SET retrying = 7", "retrying is 7, and there are 0"},
        {"UPDATE jobq_claims SET claimed = 'two'", "claimed is -1, and there are"},
        {COUNTERS_OF(7, 8, "0, 9, 0, 0, 0, 0, 0, 0"),
         "jobq_claims, queue 7, kind 8: scheduled is 9, and there are 0"},
        {"UPDATE jobq_claims SET counted = 12 WHERE one = 1", "ready is 1500, and there are"},
        {"UPDATE jobq_row SET lane = 0, ord = 0 WHERE id % 5 = 0", NULL},
        {"UPDATE jobq_claims SET counted = 'all'", "counted is no id"},
        {"DELETE FROM jobq_claims", "the claims row is missing"},
    };
    for (size_t i = 0; i < sizeof ills / sizeof ills[0]; i++) {
        jobq_clock *clock = jobq_clock_artificial(T0);
        jobq_options options = {.workers = JOBQ_NONE, .durability = JOBQ_RELAXED, .clock = clock,
                                .keep_done_ms = JOBQ_DAY, .shared = true};
        const char *path = test_path("counters.db");
        int failures = test_failures();
        struct told told;
        jobq *q = open_queue_at(path, options);
        REQUIRE(q != NULL);
        handle(q, "k", end_some, NULL);
        put_many(q, &(jobq_job){.kind = "k"}, 1500);
        put_many(q, &(jobq_job){.kind = "nobody's", .queue = "a"}, 200);
        put_many(q, &(jobq_job){.kind = "k", .delay_ms = JOBQ_DAY}, 300);
        CHECK_INT(sql_number(path, MISCOUNTED), 0);
        CHECK(sql_number(path, "SELECT counted FROM jobq_claims") > 1000);
        damage_it(path, ills[i].sql);
        told = check_queue(q, true, ills[i].line);
        CHECK(told.faults > 0 && !told.left);
        if (!CHECK(!ills[i].line || told.found)) test_note("%s", told.text);
        healthy(q);
        CHECK_INT(sql_number(path, MISCOUNTED), 0);
        if (!strstr(ills[i].sql, "lane = 0")) counts_exactly(q, path);
        WORKS(jobq_step(q, NULL, &err));
        WORKS(jobq_cancel(q, 1501, &err));
        WORKS(jobq_run_until_idle(q, NULL, &err));
        counts_exactly(q, path);
        put_many(q, &(jobq_job){.kind = "k"}, 700);
        for (int n = 0; n < 400; n++) put(q, "k");
        WORKS(jobq_run_until_idle(q, NULL, &err));
        counts_exactly(q, path);
        healthy(q);
        CHECK(sql_number(path, "SELECT counted FROM jobq_claims") > 1000);
        close_whatever(&q);
        q = open_queue_at(path, options);
        counts_exactly(q, path);
        healthy(q);
        close_whatever(&q);
        check_sound(path);
        jobq_clock_free(clock);
        hostile_remove(path);
        if (test_failures() > failures) test_note("%s", ills[i].sql);
    }
}

/* Goal: a row that was put right is counted as what it is now, at once. Method: the walk ends
 * there. */
TEST(counters_follow_a_repair) {
    fixture f;
    struct told told = {.whole = true, .stop_after = 1};
    if (!fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .durability = JOBQ_RELAXED,
                                         .shared = true})) return;
    put_many(f.q, &(jobq_job){.kind = "k"}, 1500);
    damage_it(f.path, "UPDATE jobq_row SET state = 9 WHERE id = 5");
    WORKS(jobq_check(f.q, true, tell, &told, &told.faults, &err));
    if (!CHECK(told.lines == 1 && told.repaired == 1)) test_note("%s", told.text);
    CHECK_INT(sql_number(f.path, MISCOUNTED), 0);
    CHECK_INT(count_all(f.q).parked + count_all(f.q).ready, 1500);
    healthy(f.q);
    fixture_close(&f);
}

/* Goal: jobs that a repair gives back are counted as such. Method: a handler waits while others
 * are claimed, and counted; what stands beside these is damaged. */
TEST(who_is_given_back_is_counted) {
    const char *path = test_path("counters.db");
    jobq_options options = {.workers = 1, .durability = JOBQ_RELAXED, .shared = true,
                            .keep_done_ms = JOBQ_DAY};
    int runs[16] = {0};
    struct told told;
    jobq *q = open_queue_at(path, options);
    REQUIRE(q != NULL);
    __atomic_store_n(&go_on, 0, __ATOMIC_SEQ_CST);
    handle(q, "k", waits_for_it, runs);
    put_many(q, &(jobq_job){.kind = "k"}, 1500);
    start(q);
    UNTIL(stats_of(q).running == 1);
    UNTIL(sql_number(path, JOBS " WHERE state = 1") > 1);
    CHECK_INT(sql_number(path, MISCOUNTED), 0);
    damage_it(path, "INSERT INTO jobq_payload SELECT id, x'00' FROM jobq_row WHERE state = 1"
              " AND id > 1");
    told = check_queue(q, true, "jobq_claims, queue");
    if (!CHECK(told.repaired > 0 && !told.left && !told.found)) test_note("%s", told.text);
    CHECK_INT(sql_number(path, MISCOUNTED), 0);
    __atomic_store_n(&go_on, 1, __ATOMIC_SEQ_CST);
    UNTIL(stats_of(q).done == 1500);
    WORKS(jobq_stop(q, 0, &err));
    counts_exactly(q, path);
    healthy(q);
    close_queue(&q);
}

TEST_MAIN(what_goes_is_told_once, forgotten_before_a_gate, wrong_counters, counters_follow_a_repair,
          who_is_given_back_is_counted, no_column_is_forgotten, a_later_version_is_left_alone,
          what_stops_a_queue_is_found, each_rule_has_its_line, nobodys_wish,
          indexes_that_disagree, index_of_names, pages_of_garbage, whoever_may_look, arguments,
          within_a_handler, beside_a_running_pool, who_runs_is_left_alone,
          what_has_stopped_is_repaired, many_slices, payload_is_lost, payload_of_who_runs,
          kind_and_queue_are_lost, no_number_is_left)
