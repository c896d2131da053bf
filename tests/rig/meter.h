/* meter.h - how much a transaction writes: of one connection, from BEGIN to BEGIN, the rows that
 * were changed and the pages that were written into the log. Neither depends on time.
 *
 *   .on_connect = meter_watch        of the queue whose writer is to be metered
 *   meter_begin()                    from now on
 *   meter_end(what, rows, pages)     no transaction since then wrote more; some did
 *
 * One thread at a time. */
#ifndef JOBQ_TEST_METER_H
#define JOBQ_TEST_METER_H

#include "helpers.h"

static struct {
    sqlite3 *db;
    int64_t rows, pages;            /* so far */
    int64_t most_rows, most_pages;  /* of a transaction */
    int64_t written;                /* transactions that wrote anything */
} meter;

static inline int meter_watch(sqlite3 *db, jobq_connection which, jobq_stage stage,
                              jobq_error *err, void *ctx) {
    (void)stage;
    (void)err;
    (void)ctx;
    if (which == JOBQ_CONNECTION_WRITER) meter.db = db;
    return 0;
}

static inline void meter_turn(void) {
    int64_t rows = sqlite3_total_changes(meter.db), pages;
    int now = 0, high = 0;
    CHECK_INT(sqlite3_db_status(meter.db, SQLITE_DBSTATUS_CACHE_WRITE, &now, &high, 0), SQLITE_OK);
    pages = now;
    if (rows - meter.rows > meter.most_rows) meter.most_rows = rows - meter.rows;
    if (pages - meter.pages > meter.most_pages) meter.most_pages = pages - meter.pages;
    if (pages > meter.pages) meter.written++;
    meter.rows = rows;
    meter.pages = pages;
}

static inline int meter_hear(unsigned what, void *ctx, void *statement, void *text) {
    (void)what;
    (void)ctx;
    (void)statement;
    if (strncmp((const char *)text, "BEGIN", 5) == 0) meter_turn();
    return 0;
}

static inline void meter_begin(void) {
    sqlite3_trace_v2(meter.db, SQLITE_TRACE_STMT, meter_hear, NULL);
    meter_turn();
    meter.most_rows = meter.most_pages = meter.written = 0;
}

static inline void meter_end(const char *what, int64_t rows, int64_t pages) {
    meter_turn();
    sqlite3_trace_v2(meter.db, 0, NULL, NULL);
    CHECK(meter.written > 1);
    if (!CHECK(meter.most_rows <= rows) || !CHECK(meter.most_pages <= pages))
        test_note("%s: %" PRId64 " rows, %" PRId64 " pages", what, meter.most_rows,
                  meter.most_pages);
}

#endif
