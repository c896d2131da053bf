/* column.h - what a row may hold: each value is checked where it enters. */
#ifndef JOBQ__COLUMN_H
#define JOBQ__COLUMN_H

#include "db.h"

/* Design note.
 *
 * A column of SQLite holds whatever somebody wrote there: a text where a number is expected, a time
 * before all time, an id that cannot be followed by another one. So who reads a row says what each
 * of its columns may hold, and gets all values or none: the first that is not allowed is a fault,
 * which names table, row and column, makes the call fail with JOBQ_CORRUPT and stops the queue.
 * What is behind a reader may then calculate with the values without looking again. The readers
 * themselves check what a column alone cannot say: what must agree within a row, and that a walk
 * goes on and does not meet the same row again. */

enum jobq__holds {
    JOBQ__HOLDS_NUMBER,
    JOBQ__HOLDS_TEXT,
    JOBQ__HOLDS_BLOB,
    JOBQ__HOLDS_SIZE /* a blob, or a number: how many bytes it would have, told as less than 0 */
};

struct jobq__column {
    const char *name;
    int64_t min, max;       /* of the number, or of the bytes of a text or blob */
    enum jobq__holds holds;
    bool null;              /* may be NULL as well */
};

/* The columns of one statement, in order. */
struct jobq__columns {
    const char *table;      /* that a fault names */
    const struct jobq__column *columns;
    int count;
    int id;                 /* which of them tells the row; -1: none */
};

#define JOBQ__COLUMNS(table, list, id) {table, list, (int)JOBQ__COUNT(list), id}

/* What stands for NULL among the values: no column may hold it. */
#define JOBQ__NULL INT64_MIN

/* Reads the row that s stands on: numbers, and of texts and blobs the bytes. If it fails
 * values are not to be used, and the statement has been reset. */
JOBQ__INTERNAL int jobq__column_read(struct jobq__db *db, sqlite3_stmt *s,
                                     const struct jobq__columns *what, int64_t *values);

/* The same for the columns from i to before end; from 0 on first. */
JOBQ__INTERNAL int jobq__column_part(struct jobq__db *db, sqlite3_stmt *s,
                                     const struct jobq__columns *what, int i, int end,
                                     int64_t *values);

/* Steps and reads; *row as jobq__db_next. */
JOBQ__INTERNAL int jobq__column_next(struct jobq__db *db, sqlite3_stmt *s,
                                     const struct jobq__columns *what, int64_t *values,
                                     bool *row);

/* The one row of a statement, which is reset; *row is false if there is none. Not for texts and
 * blobs, which would be gone. */
JOBQ__INTERNAL int jobq__column_one(struct jobq__db *db, sqlite3_stmt *s,
                                    const struct jobq__columns *what, int64_t *values, bool *row);

#endif
