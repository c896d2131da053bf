/* rig_itself.c - does the rig itself see what it is made to see? Plain SQLite on the disk in
 * memory, with the safety on and off: a rig that finds nothing when it should proves nothing. */
#include "fault_power.h"
#include "helpers.h"

enum { ROWS = 40 };

struct found {
    int images, corrupt, lost, ghosts;
};

/* ROWS transactions of one row each, two rows' worth of pages, with checkpoints; acked[i] is how
 * much was on the log when the i-th COMMIT had returned. */
static void write_rows(const char *path, const char *safety, struct fault_log *log, int *acked) {
    char sql[128];
    sqlite3 *db;
    fault_log_begin(log, path);
    CHECK_INT(sqlite3_open(path, &db), SQLITE_OK);
    snprintf(sql, sizeof sql, "PRAGMA journal_mode=WAL; PRAGMA synchronous=%s;"
             " PRAGMA wal_autocheckpoint=20", safety);
    CHECK_INT(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    CHECK_INT(sqlite3_exec(db, "CREATE TABLE t(n INTEGER PRIMARY KEY, x)", NULL, NULL, NULL),
              SQLITE_OK);
    for (int i = 0; i < ROWS; i++) {
        snprintf(sql, sizeof sql, "INSERT INTO t VALUES(%d, zeroblob(3000))", i);
        CHECK_INT(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
        acked[i] = fault_log_now(log);
    }
    fault_log_end(log);
    sqlite3_close(db);
}

/* Rows 0 to n-1 have to be there if the first n were acknowledged; a row without all before it is
 * a ghost. */
static void look_at(const char *path, int acknowledged, struct found *found) {
    sqlite3 *db;
    sqlite3_stmt *statement = NULL;
    int count = -1, last = -1;
    bool sound = false;
    CHECK_INT(sqlite3_open(path, &db), SQLITE_OK);
    if (!sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &statement, NULL))
        sound = sqlite3_step(statement) == SQLITE_ROW
             && strcmp((const char *)sqlite3_column_text(statement, 0), "ok") == 0;
    sqlite3_finalize(statement);
    statement = NULL;
    if (!sqlite3_prepare_v2(db, "SELECT count(*), max(n) FROM t", -1, &statement, NULL)
        && sqlite3_step(statement) == SQLITE_ROW) {
        count = sqlite3_column_int(statement, 0);
        last = count > 0 ? sqlite3_column_int(statement, 1) : -1;
    }
    sqlite3_finalize(statement);
    sqlite3_close(db);
    found->images++;
    if (!sound) found->corrupt++;
    else if (count >= 0 && last != count - 1) found->ghosts++;
    if (sound && acknowledged > 0 && count < acknowledged) found->lost++;
}

static struct found cut_everywhere(const char *safety) {
    struct found found = {0, 0, 0, 0};
    const char *path = test_path("rig.db"), *image = test_path("image.db");
    struct fault_log log;
    struct fault_cut cut;
    uint64_t seed = test_seed();
    int acked[ROWS], acknowledged = 0;
    fault_begin();
    write_rows(path, safety, &log, acked);
    fault_cut_begin(&cut, &log);
    for (int n = log.base; n <= log.count; n += 1 + 6 * (JOBQ_TEST_SCALE > 1)) {
        fault_cut_to(&cut, n);
        while (acknowledged < ROWS && acked[acknowledged] <= n) acknowledged++;
        for (int damage = 0; damage < FAULT_DAMAGES; damage++) {
            fault_cut_image(&cut, (enum fault_damage)damage, &seed, image);
            look_at(image, acknowledged, &found);
        }
    }
    fault_cut_end(&cut);
    fault_log_free(&log);
    fault_remove(image);
    fault_remove(path);
    return found;
}

/* Goal: the damage is what SQLite promises to survive, no more. Method: synchronous=FULL. */
TEST(full_survives_everything) {
    struct found found = cut_everywhere("FULL");
    CHECK_INT(found.corrupt, 0);
    CHECK_INT(found.lost, 0);
    CHECK_INT(found.ghosts, 0);
    CHECK(found.images > 100);
}

/* Goal: a lost tail is seen as lost, and as nothing worse. Method: synchronous=NORMAL. */
TEST(normal_loses_a_tail) {
    struct found found = cut_everywhere("NORMAL");
    CHECK_INT(found.corrupt, 0);
    CHECK_INT(found.ghosts, 0);
    CHECK(found.lost > found.images / 10);
}

/* Goal: corruption is seen. Method: synchronous=OFF. */
TEST(off_corrupts) {
    struct found found = cut_everywhere("OFF");
    CHECK(found.corrupt > found.images / 100);
}

/* Goal: a call fails when it was told to, and only then. Method: the second sync, the third
 * call of any kind. */
TEST(plans_are_kept) {
    sqlite3 *db;
    fault_begin();
    CHECK_INT(sqlite3_open(test_path("plan.db"), &db), SQLITE_OK);
    CHECK_INT(sqlite3_exec(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                           " CREATE TABLE t(x)", NULL, NULL, NULL), SQLITE_OK);
    fault_nth(FAULT_WAL_SYNC, 2, "x", SQLITE_IOERR_FSYNC);
    CHECK_INT(sqlite3_exec(db, "INSERT INTO t VALUES(1)", NULL, NULL, NULL), SQLITE_OK);
    CHECK_INT(sqlite3_exec(db, "INSERT INTO t VALUES(2)", NULL, NULL, NULL), SQLITE_IOERR);
    CHECK_INT(fault_hits(FAULT_WAL_SYNC), 1);
    CHECK_INT(sqlite3_exec(db, "INSERT INTO t VALUES(3)", NULL, NULL, NULL), SQLITE_OK);
    fault_nth(FAULT_ANY, 3, "x*", SQLITE_FULL);
    CHECK_INT(sqlite3_exec(db, "INSERT INTO t VALUES(4)", NULL, NULL, NULL), SQLITE_FULL);
    CHECK(fault_hits(FAULT_ANY) >= 1);
    fault_off();
    CHECK_INT(sqlite3_exec(db, "INSERT INTO t VALUES(5)", NULL, NULL, NULL), SQLITE_OK);
    CHECK_INT(sqlite3_close(db), SQLITE_OK);
}

TEST_MAIN(full_survives_everything, normal_loses_a_tail, off_corrupts, plans_are_kept)
