/* db.h - connections, pragmas, statements, SQLite's codes. */
#ifndef JOBQ__DB_H
#define JOBQ__DB_H

#include "clock.h"
#include "err.h"
#include "sql.h"

#ifndef JOBQ_SQLITE_HEADER
#define JOBQ_SQLITE_HEADER <sqlite3.h>
#endif
#include JOBQ_SQLITE_HEADER

#if SQLITE_VERSION_NUMBER < 3035000
#error "jobq needs SQLite 3.35 or later, or a library that is built on it (SQLCipher 4.5 is)"
#endif
#ifdef SQLITE_OMIT_AUTHORIZATION
#error "jobq needs sqlite3_set_authorizer: build SQLite without SQLITE_OMIT_AUTHORIZATION"
#endif

/* Design note.
 *
 * Four connections at most, each guarded by whoever may use it: the writer, the job's and the one
 * that copies the log (the holder of the baton), the reader (its own lock). Nobody waits inside
 * SQLite for somebody else's transaction, but while the queue is being opened (until_us). Automatic
 * checkpoints are off on all of them.
 * Statements are prepared once, on first use, and are reset before a function returns, so that no
 * read transaction outlives a call. */

enum jobq__use {
    JOBQ__STORE_WRITER, /* hardened: no triggers, views or clever schemas run on it */
    JOBQ__STORE_READER, /* the same, read only */
    JOBQ__STORE_COPIER, /* takes the checkpoints, and nothing else */
    JOBQ__STORE_JOB     /* handed to handlers, so with the application's settings */
};

/* Why something failed: a value that jobq never writes, and where it stands, or else what SQLite
 * and the system say. */
struct jobq__fault {
    const char *table, *column, *what; /* table NULL: none */
    int64_t row;
    int sqlite_code, os_code;
};

enum { JOBQ__GUARD_CONFIGS = 24, JOBQ__GUARD_LIMITS = 13 };

/* What guard.c knows of a connection that handlers get. */
struct jobq__guard {
    bool temp;          /* something of the temporary schema was made or changed by a handler */
    bool altered;       /* a table may have got a name that is jobq's, now or by a later job */
    bool spoilt;        /* something that a handler left on it is in jobq's own way */
    int asked;          /* how often the authorizer was, to see that it is ours still */
    int64_t row_id;     /* of the row that the handler inserted last, while jobq writes */
    int configs[JOBQ__GUARD_CONFIGS], limits[JOBQ__GUARD_LIMITS]; /* as on_connect left them */
};

/* The limits of a connection that bind jobq's own statements like the application's. */
#define JOBQ__DB_BINDING_LIMITS \
    SQLITE_LIMIT_LENGTH, SQLITE_LIMIT_SQL_LENGTH, SQLITE_LIMIT_COLUMN, SQLITE_LIMIT_EXPR_DEPTH, \
    SQLITE_LIMIT_COMPOUND_SELECT, SQLITE_LIMIT_VDBE_OP, SQLITE_LIMIT_FUNCTION_ARG, \
    SQLITE_LIMIT_LIKE_PATTERN_LENGTH, SQLITE_LIMIT_VARIABLE_NUMBER, SQLITE_LIMIT_TRIGGER_DEPTH

struct jobq__db {
    sqlite3 *handle;
    const char *path;   /* that it was opened by: the opener's; ":memory:" if there is no file */
    sqlite3_stmt *statements[JOBQ__SQL_COUNT_];
    int sqlite_code;    /* extended, of the last failure */
    struct jobq__fault fault; /* SQLITE_CORRUPT, but it was jobq that saw it */
    /* store_write.c: the walk under way, one at a time, and what it reads; JOBQ__NULL: anything. */
    sqlite3_stmt *walk;
    int64_t walk_lane;
    int64_t apart;      /* store_write.c: larger payloads do not stand in their row; 0: not known */
    /* How long SQLite waits when the file is locked: the reader and the copier a while each time,
     * the others until a moment of the monotonic clock; 0: not at all. */
    int64_t patience_us, until_us;
    int wal_pages;      /* in the log after the last commit of this connection */
    /* Else the commit hook vetoes. SQLite may end a transaction by itself, go on, and commit what
     * comes then statement by statement: the job's connection never may but at its COMMIT, the
     * writer neither once it is open. */
    bool may_commit;
    bool lost;          /* the job's: the transaction was rolled back behind jobq's back */
    bool keys;          /* foreign keys hold, as SQLite opened it */
    bool speaks;        /* jobq's own statement is being prepared or stepped, not a handler's */
    bool planned;       /* one was planned since schema.c has looked for statistics */
    struct jobq__guard guard;
};

struct jobq__store_options {
    jobq_durability durability;
    int64_t until_us;   /* the writer waits for locks until then; see jobq__db_impatient */
    bool client;        /* leaves the log alone when it closes */
    int (*on_connect)(sqlite3 *db, jobq_connection which, jobq_stage stage, jobq_error *err,
                      void *ctx);
    void *ctx;
    const void *owner;  /* whose callback on_connect is */
};

/* SQLite is started, new enough, safe with threads and the one that the header describes. */
JOBQ__INTERNAL int jobq__db_check_sqlite(jobq_error *err);
/* The name of what is at this moment SQLite's default way to open files, or of that which lets no
 * other process in. All connections of a queue have to use one and the same, or their locks do not
 * meet. */
JOBQ__INTERNAL int jobq__db_vfs_name(bool exclusive, char *name, size_t capacity,
                                     jobq_error *err);
/* True if this SQLite may lose commits when two connections write and one checkpoints. */
JOBQ__INTERNAL bool jobq__db_wal_reset_bug(void);

/* The writer syncs at FULL, whatever the options say, until its caller knows that the file is in
 * WAL mode: at NORMAL half a rollback journal can be taken for a whole one after a power cut. */
JOBQ__INTERNAL int jobq__db_open(struct jobq__db *db, const char *path, const char *vfs,
                                 enum jobq__use use, const struct jobq__store_options *options,
                                 jobq_error *err);
/* The application's turn with an open connection, once the schema stands; what it may not change is
 * put right again, also when it refuses. */
JOBQ__INTERNAL int jobq__db_setup(struct jobq__db *db, enum jobq__use use,
                                  const struct jobq__store_options *options, jobq_error *err);
/* No triggers, foreign keys, views or clever schemas run on it; or as SQLite has it. */
JOBQ__INTERNAL void jobq__db_harden(struct jobq__db *db, bool hard);
/* Nor does what binds others bind jobq's own statements: limits, and foreign keys of tables that
 * refer to ours. */
JOBQ__INTERNAL void jobq__db_unbind(struct jobq__db *db);
/* Ours and nobody else's: hooks and the busy handler. False if the hooks were another's. */
JOBQ__INTERNAL bool jobq__db_hooks(struct jobq__db *db, bool of_job);
JOBQ__INTERNAL void jobq__db_close(struct jobq__db *db);
/* From now on a lock that somebody holds is reported at once. */
JOBQ__INTERNAL void jobq__db_impatient(struct jobq__db *db);

/* Runs text, which may hold several statements. */
JOBQ__INTERNAL int jobq__db_exec(struct jobq__db *db, const char *text);
/* The same for one statement that answers with a row for each thing that it does: ends when the
 * time has come, though not before the first; what is done is done. */
JOBQ__INTERNAL int jobq__db_exec_until(struct jobq__db *db, const char *text, int64_t until_us);
/* A statement that is used once, to be finalized by the caller; NULL if it fails. */
JOBQ__INTERNAL int jobq__db_query(struct jobq__db *db, const char *text,
                                  sqlite3_stmt **statement);
/* One number that text selects, or fallback if there is none. */
JOBQ__INTERNAL int jobq__db_number(struct jobq__db *db, const char *text, int64_t fallback,
                                   int64_t *number);

/* The prepared statement, or NULL with db->sqlite_code set. */
JOBQ__INTERNAL sqlite3_stmt *jobq__db_get(struct jobq__db *db, enum jobq__sql which);
/* Steps a statement that returns no rows and resets it. */
JOBQ__INTERNAL int jobq__db_step(struct jobq__db *db, sqlite3_stmt *statement);
/* Steps a statement that returns rows: JOBQ_OK with *row telling whether there is one. At the end
 * and on failure the statement is reset. */
JOBQ__INTERNAL int jobq__db_next(struct jobq__db *db, sqlite3_stmt *statement, bool *row);
/* After texts and blobs of a row were asked for, right behind the step: JOBQ_NO_MEMORY if SQLite
 * had none to hand one out, which looks as if it were NULL or empty; then it is reset, too. */
JOBQ__INTERNAL int jobq__db_read(struct jobq__db *db, sqlite3_stmt *statement);
JOBQ__INTERNAL void jobq__db_reset(sqlite3_stmt *statement);
/* jobq__db_get and jobq__db_step for a statement without parameters. */
JOBQ__INTERNAL int jobq__db_do(struct jobq__db *db, enum jobq__sql which);

/* Rows changed since the connection was opened: to see whether something was written. */
JOBQ__INTERNAL int64_t jobq__db_changes(const struct jobq__db *db);
/* What the log's shared memory says of the log at this moment. Whoever changes the log changes the
 * header: before he cuts it, and after he has written to it. */
enum { JOBQ__DB_INDEX_HEADER = 48 };
struct jobq__db_log {
    unsigned char header[JOBQ__DB_INDEX_HEADER];
    int64_t bytes;              /* that the log has to have */
};
/* False if it cannot be told. */
JOBQ__INTERNAL bool jobq__db_log(struct jobq__db *db, struct jobq__db_log *log);
/* True if the log begins with nothing: it was cut to nothing, and written to behind that. */
JOBQ__INTERNAL bool jobq__db_log_has_gap(struct jobq__db *db);
/* In a transaction that writes: cuts off what others that were not committed have left behind the
 * last commit of the log. */
JOBQ__INTERNAL void jobq__db_cut_log(struct jobq__db *db);

/* True inside a transaction: after some errors SQLite ends it by itself. */
JOBQ__INTERNAL bool jobq__db_in_transaction(const struct jobq__db *db);
/* Resets whatever was left busy on the connection. */
JOBQ__INTERNAL void jobq__db_reset_all(struct jobq__db *db);
/* The code for db->sqlite_code, and the record with SQLite's own words. */
JOBQ__INTERNAL int jobq__db_code(int sqlite_code);
/* Of the file, absolute; ":memory:" if there is none. */
JOBQ__INTERNAL const char *jobq__db_path(const struct jobq__db *db);
/* There is none: SQLite cannot tell, for a VFS may keep in memory what has the name of a file. */
JOBQ__INTERNAL bool jobq__db_in_memory(const struct jobq__db *db);
JOBQ__INTERNAL int jobq__db_fail(struct jobq__db *db, jobq_error *err);
/* The same without the file's path. */
JOBQ__INTERNAL int jobq__db_why(const struct jobq__db *db, jobq_error *err);

/* True if the last failure was SQLite's refusal of a statement that jobq knows to be good: the file
 * is damaged, or else somebody has put a function of his own in the place of one of SQLite's. */
JOBQ__INTERNAL bool jobq__db_disturbed(const struct jobq__db *db);

/* The last failure, for when the connection is another's again. */
JOBQ__INTERNAL struct jobq__fault jobq__db_reason(const struct jobq__db *db);
/* The record for it, as code, which it returns. path NULL: not named; way_out NULL: none but for
 * damage, which has its own. */
JOBQ__INTERNAL int jobq__db_say(const struct jobq__fault *why, int code, const char *path,
                                const char *way_out, jobq_error *err);
/* Notes what is wrong with the file, for jobq__db_fail to say; returns JOBQ_CORRUPT. row 0: it is
 * not one row. */
JOBQ__INTERNAL int jobq__db_fault(struct jobq__db *db, const char *table, int64_t row,
                                  const char *column, const char *what);

/* Bytes of the database's file as it stands, without the log; 0 if it cannot be told. */
JOBQ__INTERNAL int64_t jobq__db_file_size(struct jobq__db *db);

/* True if the connection has another file open than its name names: to be asked when it was just
 * opened. SQLite says the same of a name that it may not look at. */
JOBQ__INTERNAL bool jobq__db_moved(struct jobq__db *db);

/* From now on closing may copy the log into the database: it is ours. */
JOBQ__INTERNAL void jobq__db_adopt(struct jobq__db *db);
/* And from now on it may not. */
JOBQ__INTERNAL void jobq__db_disown(struct jobq__db *db);
/* Copies the log into the database as far as readers allow; truncate also shortens it.
 * *all is false if somebody still needs the log. Nobody may write meanwhile. */
JOBQ__INTERNAL int jobq__db_checkpoint(struct jobq__db *db, bool truncate, bool *all);

#endif
