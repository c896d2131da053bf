/* 05_exactly_once.c - rows that a job writes exist if and only if the job is done.
 *
 * Build:   cc examples/05_exactly_once.c jobq.c -lsqlite3 -lpthread
 * Expect:  attempt 1 has written 2 rows and then fails
 *          the ledger has 0 rows
 *          attempt 2 has written 2 rows and is done
 *          the ledger has 2 rows, and its sum is 0
 * Again:   the rows stay in ledger.db; delete that and what is beside it first
 *
 * A job may run more than once. What it writes through jobq_run_db into the same
 * database file is committed together with its completion, so it counts once.
 */
#include "../jobq.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

static void check(int rc, const jobq_error *err)
{
    if (rc == JOBQ_OK) return;
    fprintf(stderr, "exactly_once: %s: %s\n", jobq_code_name(rc), err->text);
    exit(1);
}

/* The application's own look at its file: runs sql, returns the number it yields. */
static int ask(const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    int number = 0, rc = sqlite3_open("ledger.db", &db);
    sqlite3_busy_timeout(db, 5000); /* jobq may be writing */
    if (rc == SQLITE_OK) rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW) number = sqlite3_column_int(statement, 0);
    else if (rc != SQLITE_DONE) fprintf(stderr, "exactly_once: %s\n", sqlite3_errmsg(db));
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return number;
}

static jobq_outcome transfer(jobq_run *run, void *ctx)
{
    (void)ctx;
    sqlite3 *db;
    jobq_error err;

    /* Slow work (asking a bank, say) belongs here, before the transaction begins. */
    int rc = jobq_run_db(run, &db, &err);
    if (rc == JOBQ_BUSY) return jobq_snooze(run, JOBQ_SECOND); /* no fault of the job's */
    if (rc != JOBQ_OK) return jobq_retry(run, "%s", err.text);
    if (sqlite3_exec(db, "INSERT INTO ledger VALUES('alice', -5), ('bob', 5)",
                     NULL, NULL, NULL) != SQLITE_OK)
        return jobq_retry(run, "%s", sqlite3_errmsg(db));
    if (jobq_run_attempt(run) == 1) {
        printf("attempt 1 has written 2 rows and then fails\n");
        return jobq_retry(run, "the bank did not answer");
    }
    printf("attempt %d has written 2 rows and is done\n", jobq_run_attempt(run));
    return JOBQ_DONE;
}

/* Makes the application's own table, on the connection that writes, when jobq's tables stand. What
 * is not 0 would refuse the connection, and jobq_open would fail with SQLite's words. */
static int set_up(sqlite3 *db, jobq_connection which, jobq_stage stage, jobq_error *err, void *ctx)
{
    (void)err;
    (void)ctx;
    if (which != JOBQ_CONNECTION_WRITER || stage != JOBQ_STAGE_SETUP) return 0;
    return sqlite3_exec(db, "CREATE TABLE IF NOT EXISTS ledger(account TEXT, amount INT)",
                        NULL, NULL, NULL);
}

int main(void)
{
    jobq *q;
    jobq_error err;

    /* A file that has the application's tables before jobq's would need .join = true. The
     * clock and step mode only save this example the second before the retry. */
    jobq_clock *clock = jobq_clock_artificial(1000000 * JOBQ_DAY);
    jobq_options options = { .on_connect = set_up, .workers = JOBQ_NONE, .clock = clock };
    if (clock == NULL) return 1;
    check(jobq_open("ledger.db", &options, &q, &err), &err);
    check(jobq_register(q, &(jobq_kind){ .name = "transfer", .run = transfer }, &err), &err);
    check(jobq_enqueue(q, &(jobq_job){ .kind = "transfer" }, NULL, &err), &err);

    check(jobq_run_until_idle(q, NULL, &err), &err);
    printf("the ledger has %d rows\n", ask("SELECT count(*) FROM ledger"));
    check(jobq_advance(q, JOBQ_MINUTE, NULL, &err), &err); /* the retry falls due within */
    printf("the ledger has %d rows, and its sum is %d\n", ask("SELECT count(*) FROM ledger"),
           ask("SELECT sum(amount) FROM ledger"));

    jobq_close(&q);
    jobq_clock_free(clock);
    return 0;
}
