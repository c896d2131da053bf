/* err.h - codes to names, error records. */
#ifndef JOBQ__ERR_H
#define JOBQ__ERR_H

#include "limits.h"

/* Internal codes: answers from room to room, no failures, and never seen by a caller; the public
 * ones are JOBQ_OK and below. Asserted where public calls return (jobq__err_is_public). */
enum {
    JOBQ__AGAIN = 100, /* undo this part, read last_id anew, and write it again */
    JOBQ__TAKEN,       /* somebody else writes to the file: nothing has happened yet */
    JOBQ__REFUSED,     /* what a handler wrote cannot be committed, on whatever disk */
    JOBQ__NO_ROOM      /* JOBQ_FULL, and no reserve will change it */
};
static inline bool jobq__err_is_public(int rc) {
    return rc <= JOBQ_OK;
}

/* The way out for who may not read or write. */
#define JOBQ__ERR_RIGHTS \
    "clients of another user than the owner's need its .mode = 0660 and .group_id, and a" \
    " directory that this group may write, where -wal and -shm are made"

/* The one struct that is written before the caller's version is known. */
typedef char jobq__err_size[sizeof(jobq_error) == 512 ? 1 : -1];

/* Fills err (may be NULL) with code and a sentence, and returns code, so that a check reads
 * `return jobq__err_set(err, JOBQ_BAD_NAME, "the kind's name is empty")`. A NULL format gives
 * the code's general sentence. `at` is -1 and `id` 0 then. */
JOBQ__INTERNAL int jobq__err_set(jobq_error *err, int code, const char *format, ...)
    JOBQ_PRINTF(3, 4);

/* The same for an error that SQLite reported. */
JOBQ__INTERNAL int jobq__err_sqlite(jobq_error *err, int code, int sqlite_code,
                                    const char *message);

/* The same for what the system refused: "open /data/q.db: permission denied (EACCES); advice".
 * os_code is errno, call the function's name; path and advice (the way out) may be NULL. */
JOBQ__INTERNAL int jobq__err_os(jobq_error *err, int code, int os_code, const char *call,
                                const char *path, const char *advice);

/* Adds to an error that was just set which row was wrong, or who is in the way; err may be NULL. */
JOBQ__INTERNAL void jobq__err_at(jobq_error *err, size_t at);
JOBQ__INTERNAL void jobq__err_id(jobq_error *err, int64_t id);

/* A bounded, always terminated copy of text. */
JOBQ__INTERNAL void jobq__err_copy_text(char *to, size_t capacity, const char *text);

#endif
