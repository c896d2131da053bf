/* column.c - what a row may hold: each value is checked where it enters. */
#include "column.h"

static const char *jobq__column_wrong(int type, int64_t value, const struct jobq__column *column) {
    static const char *const types[] = {
        [SQLITE_INTEGER] = "holds a number", [SQLITE_FLOAT] = "holds a fraction",
        [SQLITE_TEXT] = "holds a text",      [SQLITE_BLOB] = "holds a blob",
        [SQLITE_NULL] = "is NULL",
    };
    static const int right[] = {SQLITE_INTEGER, SQLITE_TEXT, SQLITE_BLOB, SQLITE_BLOB};
    bool size = column->holds == JOBQ__HOLDS_SIZE && type == SQLITE_INTEGER;
    if (type != right[column->holds] && !size) return types[type];
    if (type == SQLITE_INTEGER)
        return value < column->min ? "is too small" : "is too large";
    return value < column->min ? "is too short"
         : value > column->max ? "is too long" : "contains a zero byte";
}

/* What an application may have stored as a text is handed on as one that ends at its zero. */
static bool jobq__column_whole(sqlite3_stmt *s, int i, int64_t size) {
    const void *text = sqlite3_column_text(s, i);
    return text && !memchr(text, 0, (size_t)size);
}

/* One that is no number: *value is JOBQ__NULL, or its bytes. */
static bool jobq__column_other(sqlite3_stmt *s, int i, int type,
                               const struct jobq__column *column, int64_t *value) {
    *value = JOBQ__NULL;
    if (type == SQLITE_NULL) return column->null;
    *value = type == SQLITE_FLOAT ? 0 : sqlite3_column_bytes(s, i);
    if (*value < column->min || *value > column->max) return false;
    if (type == SQLITE_BLOB) return column->holds >= JOBQ__HOLDS_BLOB;
    return type == SQLITE_TEXT && column->holds == JOBQ__HOLDS_TEXT
        && jobq__column_whole(s, i, *value);
}

/* Whose row that is; 0 if nobody can tell. */
static int64_t jobq__column_row(const struct jobq__columns *what, int i, int type,
                                const int64_t *values) {
    if (what->id < 0 || what->id > i || values[what->id] == JOBQ__NULL) return 0;
    return what->id < i || type == SQLITE_INTEGER ? values[what->id] : 0;
}

JOBQ__INTERNAL int jobq__column_part(struct jobq__db *db, sqlite3_stmt *s,
                                     const struct jobq__columns *what, int i, int end,
                                     int64_t *values) {
    const struct jobq__column *column = what->columns + i;
    for (; i < end; i++, column++) {
        /* The connection has one user at a time, so the value need not be protected. */
        sqlite3_value *value = sqlite3_column_value(s, i);
        int type = sqlite3_value_type(value);
        if (type == SQLITE_INTEGER) {
            values[i] = sqlite3_value_int64(value);
            if (values[i] >= column->min && values[i] <= column->max) {
                if (column->holds == JOBQ__HOLDS_NUMBER) continue;
                if (column->holds == JOBQ__HOLDS_SIZE) {
                    values[i] = -values[i];
                    continue;
                }
            }
        } else if (jobq__column_other(s, i, type, column, &values[i])) {
            continue;
        }
        if (jobq__db_read(db, s) != JOBQ_OK) return JOBQ_NO_MEMORY;
        jobq__db_fault(db, what->table, jobq__column_row(what, i, type, values), column->name,
                       jobq__column_wrong(type, values[i], column));
        sqlite3_reset(s);
        return JOBQ_CORRUPT;
    }
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__column_read(struct jobq__db *db, sqlite3_stmt *s,
                                     const struct jobq__columns *what, int64_t *values) {
    return jobq__column_part(db, s, what, 0, what->count, values);
}

JOBQ__INTERNAL int jobq__column_next(struct jobq__db *db, sqlite3_stmt *s,
                                     const struct jobq__columns *what, int64_t *values,
                                     bool *row) {
    int rc = jobq__db_next(db, s, row);
    if (rc == JOBQ_OK && *row) rc = jobq__column_read(db, s, what, values);
    if (rc != JOBQ_OK) *row = false;
    return rc;
}

JOBQ__INTERNAL int jobq__column_one(struct jobq__db *db, sqlite3_stmt *s,
                                    const struct jobq__columns *what, int64_t *values, bool *row) {
    int rc = jobq__column_next(db, s, what, values, row);
    if (*row) jobq__db_reset(s);
    return rc;
}
