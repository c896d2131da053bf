/* err.h - codes to names, error records. */
#ifndef JOBQ__ERR_H
#define JOBQ__ERR_H

#include "limits.h"

/* Fills err (may be NULL) with code and a sentence, and returns code, so that a check reads
 * `return jobq__err_set(err, JOBQ_BAD_NAME, "the kind's name is empty")`. A NULL format gives
 * the code's general sentence. */
JOBQ__INTERNAL int jobq__err_set(jobq_error *err, int code, const char *format, ...)
    JOBQ_PRINTF(3, 4);

/* The same for an error that SQLite reported. */
JOBQ__INTERNAL int jobq__err_sqlite(jobq_error *err, int code, int sqlite_code,
                                    const char *message);

/* A bounded, always terminated copy of text. */
JOBQ__INTERNAL void jobq__err_copy_text(char *to, size_t capacity, const char *text);

#endif
