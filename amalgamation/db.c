/* db.c - connections, pragmas, statements, SQLite's codes. */
#include "db.h"

#include <stdio.h>

#define JOBQ__SQLITE_OLDEST 3035000 /* upserts, RETURNING and materialised hints settled */

static const char *const jobq__db_texts[] = {
#define JOBQ__DB_TEXT(name, text) text,
    JOBQ__SQL_LIST(JOBQ__DB_TEXT)
#undef JOBQ__DB_TEXT
};

/* No connection comes about, whatever the file holds: an extension that opens with every connection
 * may fail with any code, and so may what the process has put in place of SQLite's own. */
static int jobq__db_no_connection(sqlite3 *handle, const char *path, jobq_error *err) {
    int code = handle ? sqlite3_extended_errcode(handle) : SQLITE_NOMEM;
    if (code == SQLITE_NOMEM) return jobq__err_sqlite(err, JOBQ_NO_MEMORY, code, "out of memory");
    jobq__err_set(err, JOBQ_CANT_OPEN, "SQLite makes no connection to %.190s, which is not the"
                  " file's fault: %.130s; mend what the process gave to sqlite3_auto_extension or"
                  " sqlite3_vfs_register, or take it away", path, sqlite3_errmsg(handle));
    if (err) err->sqlite_code = code;
    return JOBQ_CANT_OPEN;
}

/* That SQLite was told at run time to do without mutexes can be seen on a connection only. */
static int jobq__db_check_mutexes(jobq_error *err) {
    sqlite3 *handle = NULL;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX | SQLITE_OPEN_PRIVATECACHE;
    int code = sqlite3_open_v2(":memory:", &handle, flags, NULL), rc = JOBQ_OK;
    if (code != SQLITE_OK)
        rc = jobq__db_no_connection(handle, ":memory:", err);
    else if (!sqlite3_db_mutex(handle))
        rc = jobq__err_set(err, JOBQ_BAD_SQLITE, "SQLite was set single-threaded:"
                           " sqlite3_config(SQLITE_CONFIG_SINGLETHREAD) has to go");
    sqlite3_close(handle);
    return rc;
}

JOBQ__INTERNAL int jobq__db_check_sqlite(jobq_error *err) {
    int code;
    if (sqlite3_libversion_number() < JOBQ__SQLITE_OLDEST)
        return jobq__err_set(err, JOBQ_BAD_SQLITE, "SQLite %s is too old; jobq needs 3.35",
                             sqlite3_libversion());
    if (!sqlite3_threadsafe())
        return jobq__err_set(err, JOBQ_BAD_SQLITE, "this SQLite was built without threads");
    /* Distributions patch their builds, which alters the last digits of the id; another version
     * than the header's means that two copies of SQLite are in the process. */
    if (sqlite3_libversion_number() != SQLITE_VERSION_NUMBER
        || strncmp(sqlite3_sourceid(), SQLITE_SOURCE_ID, 60) != 0)
        return jobq__err_set(err, JOBQ_BAD_SQLITE, "jobq was compiled for SQLite %s, this is %s",
                             SQLITE_VERSION, sqlite3_libversion());
    if (sqlite3_compileoption_used("OMIT_WAL"))
        return jobq__err_set(err, JOBQ_BAD_SQLITE, "this SQLite was built with SQLITE_OMIT_WAL;"
                             " jobq needs the write-ahead log");
    /* First of all, for builds that do not do it by themselves. */
    code = sqlite3_initialize();
    if (code == SQLITE_OK) return jobq__db_check_mutexes(err);
    jobq__err_set(err, code == SQLITE_NOMEM ? JOBQ_NO_MEMORY : JOBQ_BAD_SQLITE,
                  "sqlite3_initialize failed (SQLite: %s); see what the process gave to"
                  " sqlite3_config", sqlite3_errstr(code));
    if (err) err->sqlite_code = code;
    return code == SQLITE_NOMEM ? JOBQ_NO_MEMORY : JOBQ_BAD_SQLITE;
}

JOBQ__INTERNAL int jobq__db_vfs_name(bool exclusive, char *name, size_t capacity,
                                     jobq_error *err) {
    const sqlite3_vfs *vfs = sqlite3_vfs_find(exclusive ? "unix-excl" : NULL);
    if (!vfs && exclusive)
        return jobq__err_set(err, JOBQ_BAD_SQLITE, "this SQLite has no VFS unix-excl; open without"
                             " .exclusive");
    if (!vfs || strlen(vfs->zName) >= capacity)
        return jobq__err_set(err, JOBQ_BAD_SQLITE, "SQLite has no default VFS that can be named");
    jobq__err_copy_text(name, capacity, vfs->zName);
    return JOBQ_OK;
}

JOBQ__INTERNAL bool jobq__db_wal_reset_bug(void) {
    int version = sqlite3_libversion_number();
    if (version >= 3051003) return false;
    return !(version >= 3044006 && version < 3045000) && !(version >= 3050007 && version < 3051000);
}

JOBQ__INTERNAL int jobq__db_code(int sqlite_code) {
    if (sqlite_code == SQLITE_IOERR_NOMEM) return JOBQ_NO_MEMORY;
    /* The log's shared memory is a file that could not be made longer. */
    if (sqlite_code == SQLITE_IOERR_SHMSIZE) return JOBQ_FULL;
    switch (sqlite_code & 0xff) {
    case SQLITE_OK: case SQLITE_ROW: case SQLITE_DONE: return JOBQ_OK;
    case SQLITE_BUSY: case SQLITE_LOCKED: case SQLITE_PROTOCOL: return JOBQ_BUSY;
    case SQLITE_FULL: return JOBQ_FULL;
    case SQLITE_NOMEM: return JOBQ_NO_MEMORY;
    case SQLITE_READONLY: case SQLITE_PERM: case SQLITE_AUTH: return JOBQ_READ_ONLY;
    case SQLITE_CORRUPT: case SQLITE_ERROR: case SQLITE_MISMATCH: return JOBQ_CORRUPT;
    case SQLITE_NOTADB: return JOBQ_NOT_A_DB;
    case SQLITE_CANTOPEN: return JOBQ_CANT_OPEN;
    case SQLITE_TOOBIG: return JOBQ_TOO_BIG;
    default: return JOBQ_IO;
    }
}

/* SQLite does not know quotas: one that is used up is an I/O error to it. pointer: which file was
 * written to. */
static bool jobq__db_over_quota(struct jobq__db *db, int pointer) {
    sqlite3_file *file = NULL;
    int os_code = 0;
    if (db->sqlite_code != SQLITE_IOERR_WRITE) return false;
    sqlite3_file_control(db->handle, "main", pointer, &file);
    return file && file->pMethods
        && file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &os_code) == SQLITE_OK
        && jobq__os_full(os_code);
}

static int jobq__db_note_of(struct jobq__db *db, int pointer) {
    db->fault.table = NULL;
    db->sqlite_code = db->handle ? sqlite3_extended_errcode(db->handle) : SQLITE_NOMEM;
    if (jobq__db_over_quota(db, pointer)) db->sqlite_code = SQLITE_FULL;
    return jobq__db_code(db->sqlite_code);
}

/* Of a statement: these write to the log. */
static int jobq__db_note(struct jobq__db *db) {
    return jobq__db_note_of(db, SQLITE_FCNTL_JOURNAL_POINTER);
}

JOBQ__INTERNAL struct jobq__fault jobq__db_reason(const struct jobq__db *db) {
    struct jobq__fault why = db->fault;
    int primary = db->sqlite_code & 0xff;
    if (jobq__db_code(db->sqlite_code) != JOBQ_CORRUPT) why.table = NULL;
    why.sqlite_code = db->sqlite_code;
    why.os_code = db->handle && (primary == SQLITE_CANTOPEN || primary == SQLITE_IOERR)
                ? sqlite3_system_errno(db->handle) : 0;
    return why;
}

static void jobq__db_say_fault(const struct jobq__fault *fault, const char *path,
                               jobq_error *err) {
    bool header = fault->table[0] == '('; /* nothing of ours can be read then */
    jobq__err_set(err, JOBQ_CORRUPT, "%.250s is damaged: table %s, row %lld: %s %s; the queue"
                  " stops. %s", path, fault->table, (long long)fault->row, fault->column,
                  fault->what, header ? "Restore a copy, or what sqlite3's .recover saves of it"
                  : "Have its owner repair it (open with .damaged = true, jobq_check), or restore"
                    " a copy");
}

JOBQ__INTERNAL int jobq__db_say(const struct jobq__fault *why, int code, const char *path,
                                const char *way_out, jobq_error *err) {
    const char *words = sqlite3_errstr(why->sqlite_code);
    char advice[200];
    /* The sentence of BUSY is also for a job that runs, of which SQLite knows nothing. */
    const char *says = code != JOBQ_BUSY ? jobq_code_text(code)
                     : "another connection (your own on this thread?) holds the database";
    if (!way_out && code == JOBQ_BUSY) way_out = "call again, or keep that transaction shorter";
    if (!way_out && code == JOBQ_CORRUPT)
        way_out = "restore a copy, or what sqlite3's .recover saves of it, and open that";
    if (!way_out && path && (why->sqlite_code & 0xff) == SQLITE_READONLY)
        way_out = JOBQ__ERR_RIGHTS;
    if (code == JOBQ_CORRUPT && why->table && path) {
        jobq__db_say_fault(why, path, err);
    } else if (why->os_code && code != JOBQ_UNKNOWN) {
        snprintf(advice, sizeof advice, "%s%s%s", words, way_out ? "; " : "",
                 way_out ? way_out : "");
        jobq__err_os(err, code, why->os_code, "SQLite:", path, advice);
    } else {
        jobq__err_set(err, code, "%s%s%.200s (SQLite: %s)%s%s", says,
                      path ? ": " : "", path ? path : "", words, way_out ? "; " : "",
                      way_out ? way_out : "");
    }
    if (err) err->sqlite_code = why->sqlite_code;
    if (err) err->os_code = why->os_code;
    return code;
}

static int jobq__db_tell(const struct jobq__db *db, const char *path, jobq_error *err) {
    struct jobq__fault why = jobq__db_reason(db);
    int code = jobq__db_code(db->sqlite_code);
    return jobq__db_say(&why, code == JOBQ_OK ? JOBQ_IO : code, path && *path ? path : NULL, NULL,
                        err);
}

JOBQ__INTERNAL const char *jobq__db_path(const struct jobq__db *db) {
    return db->path ? db->path : ":memory:";
}

JOBQ__INTERNAL int jobq__db_why(const struct jobq__db *db, jobq_error *err) {
    return jobq__db_tell(db, NULL, err);
}

JOBQ__INTERNAL int jobq__db_fail(struct jobq__db *db, jobq_error *err) {
    return jobq__db_tell(db, db->handle ? jobq__db_path(db) : NULL, err);
}

JOBQ__INTERNAL bool jobq__db_disturbed(const struct jobq__db *db) {
    return (db->sqlite_code & 0xff) == SQLITE_ERROR;
}

JOBQ__INTERNAL int jobq__db_fault(struct jobq__db *db, const char *table, int64_t row,
                                  const char *column, const char *what) {
    struct jobq__fault fault = {table, column, what, row, SQLITE_CORRUPT, 0};
    db->fault = fault;
    db->sqlite_code = SQLITE_CORRUPT;
    return JOBQ_CORRUPT;
}

JOBQ__INTERNAL int jobq__db_exec(struct jobq__db *db, const char *text) {
    bool before = db->speaks;
    int code;
    db->speaks = true;
    code = sqlite3_exec(db->handle, text, NULL, NULL, NULL);
    db->speaks = before;
    return code ? jobq__db_note(db) : JOBQ_OK;
}

static int jobq__db_prepare(struct jobq__db *db, const char *text, unsigned flags,
                            sqlite3_stmt **statement) {
    bool before = db->speaks;
    int code;
    db->speaks = true;
    code = sqlite3_prepare_v3(db->handle, text, -1, flags, statement, NULL);
    db->speaks = before;
    return code;
}

/* A change of the schema has a statement prepared anew by its first step. */
static int jobq__db_step_once(struct jobq__db *db, sqlite3_stmt *statement) {
    bool before = db->speaks;
    int step;
    db->speaks = true;
    step = sqlite3_step(statement);
    db->speaks = before;
    return step;
}

JOBQ__INTERNAL int jobq__db_query(struct jobq__db *db, const char *text,
                                  sqlite3_stmt **statement) {
    *statement = NULL;
    return jobq__db_prepare(db, text, 0, statement) ? jobq__db_note(db) : JOBQ_OK;
}

JOBQ__INTERNAL int jobq__db_exec_until(struct jobq__db *db, const char *text, int64_t until_us) {
    sqlite3_stmt *statement;
    bool row;
    int rc = jobq__db_query(db, text, &statement);
    if (rc != JOBQ_OK) return rc;
    do rc = jobq__db_next(db, statement, &row);
    while (rc == JOBQ_OK && row && jobq__clock_mono_us() < until_us);
    sqlite3_finalize(statement);
    return rc;
}

JOBQ__INTERNAL int jobq__db_number(struct jobq__db *db, const char *text, int64_t fallback,
                                   int64_t *number) {
    sqlite3_stmt *statement;
    bool row = false;
    int rc = jobq__db_query(db, text, &statement);
    *number = fallback;
    if (rc == JOBQ_OK) rc = jobq__db_next(db, statement, &row);
    if (row && sqlite3_column_type(statement, 0) == SQLITE_INTEGER)
        *number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return rc;
}

JOBQ__INTERNAL sqlite3_stmt *jobq__db_get(struct jobq__db *db, enum jobq__sql which) {
    sqlite3_stmt **statement = &db->statements[which];
    const char *text = jobq__db_texts[which];
    char *whole = NULL;
    if (*statement) return *statement;
    db->planned = true;
    if (strchr(text, '%')) text = whole = sqlite3_mprintf(text, JOBQ__TEXT_PARTS);
    if (!text) db->sqlite_code = SQLITE_NOMEM;
    else if (jobq__db_prepare(db, text, SQLITE_PREPARE_PERSISTENT, statement)) jobq__db_note(db);
    sqlite3_free(whole);
    return *statement;
}

JOBQ__INTERNAL int jobq__db_step(struct jobq__db *db, sqlite3_stmt *statement) {
    int rc = JOBQ_OK;
    jobq__assert(jobq__os_may_block());
    if (!statement) return jobq__db_code(db->sqlite_code);
    /* PRAGMA answers with a row; nobody wants it. */
    for (;;) {
        int step = jobq__db_step_once(db, statement);
        if (step == SQLITE_ROW) continue;
        if (step != SQLITE_DONE) rc = jobq__db_note(db);
        break;
    }
    sqlite3_reset(statement);
    return rc;
}

JOBQ__INTERNAL int jobq__db_next(struct jobq__db *db, sqlite3_stmt *statement, bool *row) {
    int step, rc = JOBQ_OK;
    jobq__assert(jobq__os_may_block());
    *row = false;
    if (!statement) return jobq__db_code(db->sqlite_code);
    step = jobq__db_step_once(db, statement);
    if (step == SQLITE_ROW) {
        *row = true;
        return JOBQ_OK;
    }
    if (step != SQLITE_DONE) rc = jobq__db_note(db);
    sqlite3_reset(statement);
    return rc;
}

/* The step before has told SQLITE_ROW, so what is told now is the columns'. */
JOBQ__INTERNAL int jobq__db_read(struct jobq__db *db, sqlite3_stmt *statement) {
    int rc;
    if (sqlite3_errcode(db->handle) != SQLITE_NOMEM) return JOBQ_OK;
    rc = jobq__db_note(db);
    sqlite3_reset(statement);
    return rc;
}

JOBQ__INTERNAL void jobq__db_reset(sqlite3_stmt *statement) {
    sqlite3_reset(statement);
}

JOBQ__INTERNAL int jobq__db_do(struct jobq__db *db, enum jobq__sql which) {
    return jobq__db_step(db, jobq__db_get(db, which));
}

JOBQ__INTERNAL int64_t jobq__db_changes(const struct jobq__db *db) {
    return sqlite3_total_changes(db->handle);
}

JOBQ__INTERNAL void jobq__db_adopt(struct jobq__db *db) {
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, (int *)NULL);
}

JOBQ__INTERNAL void jobq__db_disown(struct jobq__db *db) {
    if (db->handle)
        sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
}

JOBQ__INTERNAL bool jobq__db_moved(struct jobq__db *db) {
    int moved = 0;
    sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    return moved != 0;
}

JOBQ__INTERNAL int64_t jobq__db_file_size(struct jobq__db *db) {
    sqlite3_file *file = NULL;
    sqlite3_int64 size = 0;
    sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (!file || !file->pMethods || file->pMethods->xFileSize(file, &size) != SQLITE_OK) return 0;
    return size;
}

/* The log's shared memory, as "WAL-mode File Format" of SQLite's documentation has it: its header
 * stands there twice, and is whole when both are the same. */
enum {
    JOBQ__DB_INDEX_VERSION = 3007000,
    JOBQ__DB_INDEX_REGION = 32768, /* mapped at a time */
    JOBQ__DB_LOG_HEADER = 32, JOBQ__DB_FRAME_HEADER = 24
};

static bool jobq__db_index(struct jobq__db *db, unsigned char *header) {
    /* It is made of numbers of this size, and stands at the beginning of a page. */
    uint32_t twice[2 * JOBQ__DB_INDEX_HEADER / sizeof(uint32_t)];
    const volatile uint32_t *from;
    volatile void *map = NULL;
    sqlite3_file *file = NULL;
    size_t i;
    sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (!file || !file->pMethods || file->pMethods->iVersion < 2 || !file->pMethods->xShmMap
        || file->pMethods->xShmMap(file, 0, JOBQ__DB_INDEX_REGION, 0, &map) != SQLITE_OK || !map)
        return false;
    from = map;
    for (i = 0; i < JOBQ__COUNT(twice); i++) twice[i] = from[i];
    memcpy(header, twice, JOBQ__DB_INDEX_HEADER);
    return memcmp(header, twice + JOBQ__COUNT(twice) / 2, JOBQ__DB_INDEX_HEADER) == 0;
}

JOBQ__INTERNAL bool jobq__db_log(struct jobq__db *db, struct jobq__db_log *log) {
    uint32_t version, frames;
    uint16_t size;
    if (!jobq__db_index(db, log->header)) return false;
    memcpy(&version, log->header, sizeof version);
    memcpy(&size, log->header + 14, sizeof size);
    memcpy(&frames, log->header + 16, sizeof frames);
    if (version != JOBQ__DB_INDEX_VERSION || !log->header[12]) return false;
    log->bytes = !frames ? 0 : JOBQ__DB_LOG_HEADER
               + (int64_t)frames * ((size == 1 ? 65536 : size) + JOBQ__DB_FRAME_HEADER);
    return true;
}

JOBQ__INTERNAL bool jobq__db_log_has_gap(struct jobq__db *db) {
    static const char none[JOBQ__DB_LOG_HEADER];
    char header[JOBQ__DB_LOG_HEADER];
    sqlite3_file *file = NULL;
    sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file);
    if (!file || !file->pMethods
        || file->pMethods->xRead(file, header, sizeof header, 0) != SQLITE_OK) return false;
    return memcmp(header, none, sizeof header) == 0;
}

JOBQ__INTERNAL bool jobq__db_in_transaction(const struct jobq__db *db) {
    return !sqlite3_get_autocommit(db->handle);
}

JOBQ__INTERNAL void jobq__db_cut_log(struct jobq__db *db) {
    struct jobq__db_log log;
    sqlite3_file *file = NULL;
    sqlite3_int64 size = 0;
    jobq__assert(jobq__db_in_transaction(db));
    if (!jobq__db_log(db, &log)) return;
    sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file);
    if (file && file->pMethods && file->pMethods->xFileSize(file, &size) == SQLITE_OK
        && size > log.bytes)
        file->pMethods->xTruncate(file, log.bytes);
}

JOBQ__INTERNAL void jobq__db_reset_all(struct jobq__db *db) {
    sqlite3_stmt *statement = NULL;
    while ((statement = sqlite3_next_stmt(db->handle, statement)) != NULL)
        if (sqlite3_stmt_busy(statement)) sqlite3_reset(statement);
}

JOBQ__INTERNAL int jobq__db_checkpoint(struct jobq__db *db, bool truncate, bool *all) {
    int frames = 0, copied = 0;
    int mode = truncate ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE;
    int64_t until_us = db->until_us;
    int rc;
    jobq__assert(jobq__os_may_block());
    /* Who waits for readers here keeps everybody else waiting. */
    db->until_us = 0;
    rc = sqlite3_wal_checkpoint_v2(db->handle, NULL, mode, &frames, &copied);
    db->until_us = until_us;
    *all = rc == SQLITE_OK && frames == copied;
    if ((rc & 0xff) == SQLITE_BUSY || rc == SQLITE_OK) return JOBQ_OK;
    return jobq__db_note_of(db, SQLITE_FCNTL_FILE_POINTER);
}

/* ---- Opening ---- */

static int jobq__db_after_commit(void *arg, sqlite3 *handle, const char *name, int pages) {
    struct jobq__db *db = arg;
    (void)handle;
    (void)name;
    db->wal_pages = pages;
    return SQLITE_OK;
}

static int jobq__db_before_commit(void *arg) {
    struct jobq__db *db = arg;
    return !db->may_commit;
}

static void jobq__db_rolled_back(void *arg) {
    struct jobq__db *db = arg;
    db->lost = true;
}

static int jobq__db_wait(void *arg, int tries) {
    struct jobq__db *db = arg;
    int64_t now_us;
    if (!db->patience_us && !db->until_us) return 0;
    now_us = jobq__clock_mono_us();
    if (db->patience_us && !tries) db->until_us = jobq__add(now_us, db->patience_us);
    if (now_us >= db->until_us) return 0;
    jobq__os_sleep_us(JOBQ__MIN(db->until_us - now_us, JOBQ__TURN_PAUSE_MAX_US));
    return 1;
}

JOBQ__INTERNAL void jobq__db_impatient(struct jobq__db *db) {
    db->until_us = 0;
}

static const int jobq__db_limits[] = {JOBQ__DB_BINDING_LIMITS};

enum { JOBQ__DB_LIMITS = JOBQ__COUNT(jobq__db_limits) };

/* As much as the build allows; before: as it was, or NULL. */
static void jobq__db_raise(struct jobq__db *db, int *before) {
    int i;
    for (i = 0; i < JOBQ__DB_LIMITS; i++) {
        int was = sqlite3_limit(db->handle, jobq__db_limits[i], INT32_MAX);
        if (before) before[i] = was;
    }
}

JOBQ__INTERNAL void jobq__db_unbind(struct jobq__db *db) {
    jobq__db_raise(db, NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_ENABLE_FKEY, 0, (int *)NULL);
}

JOBQ__INTERNAL void jobq__db_harden(struct jobq__db *db, bool hard) {
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, hard, (int *)NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, !hard, (int *)NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_ENABLE_TRIGGER, !hard, (int *)NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_ENABLE_VIEW, !hard, (int *)NULL);
    sqlite3_limit(db->handle, SQLITE_LIMIT_ATTACHED, hard ? 0 : JOBQ__ATTACHED_MAX);
    if (hard) jobq__db_unbind(db);
    else sqlite3_db_config(db->handle, SQLITE_DBCONFIG_ENABLE_FKEY, db->keys, (int *)NULL);
}

/* Nobody looks over jobq's shoulder, and its failures tell what they are. */
static void jobq__db_unhook(struct jobq__db *db) {
    sqlite3_extended_result_codes(db->handle, 1);
    sqlite3_update_hook(db->handle, NULL, NULL);
#ifndef SQLITE_OMIT_PROGRESS_CALLBACK
    sqlite3_progress_handler(db->handle, 0, NULL, NULL);
#endif
#ifndef SQLITE_OMIT_TRACE
    sqlite3_trace_v2(db->handle, 0, NULL, NULL);
#endif
#ifdef SQLITE_ENABLE_PREUPDATE_HOOK
    sqlite3_preupdate_hook(db->handle, NULL, NULL);
#endif
}

JOBQ__INTERNAL bool jobq__db_hooks(struct jobq__db *db, bool of_job) {
    const void *commit = sqlite3_commit_hook(db->handle, jobq__db_before_commit, db);
    const void *rollback = sqlite3_rollback_hook(db->handle, of_job ? jobq__db_rolled_back : NULL,
                                                 db);
    sqlite3_busy_handler(db->handle, jobq__db_wait, db);
    jobq__db_unhook(db);
    /* Replaces the automatic checkpoint, too. */
    sqlite3_wal_hook(db->handle, jobq__db_after_commit, db);
    return commit == db && (!of_job || rollback == db);
}

JOBQ__INTERNAL bool jobq__db_in_memory(const struct jobq__db *db) {
    return strcmp(jobq__db_path(db), ":memory:") == 0;
}

/* theirs: what jobq only prefers is as handlers are to find it. */
static int jobq__db_pragmas(struct jobq__db *db, enum jobq__use use, bool theirs,
                            const struct jobq__store_options *options) {
    bool full = options->durability == JOBQ_DURABLE || use == JOBQ__STORE_WRITER;
    int rc = JOBQ_OK;
    if (!theirs)
        rc = jobq__db_exec(db, "PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY;"
                               " PRAGMA cell_size_check=1; PRAGMA journal_size_limit=-1");
    /* On a Mac only a full sync reaches the platter, that of a flush or a checkpoint at RELAXED
     * just as a commit's; elsewhere it changes nothing. */
    if (rc == JOBQ_OK)
        rc = jobq__db_exec(db, "PRAGMA locking_mode=NORMAL; PRAGMA fullfsync=1;"
                               " PRAGMA checkpoint_fullfsync=1; PRAGMA query_only=0");
    if (rc == JOBQ_OK && use == JOBQ__STORE_READER) rc = jobq__db_exec(db, "PRAGMA query_only=1");
    if (rc == JOBQ_OK)
        rc = jobq__db_exec(db, full ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL");
    /* Else what is rolled back would stay. */
    if (rc == JOBQ_OK && jobq__db_in_memory(db))
        rc = jobq__db_exec(db, "PRAGMA main.journal_mode=MEMORY");
    return rc;
}

static const char *const jobq__db_uses[] = {
    [JOBQ__STORE_WRITER] = "writer's",
    [JOBQ__STORE_READER] = "reader's",
    [JOBQ__STORE_COPIER] = "copier's",
    [JOBQ__STORE_JOB] = "job's",
};

static bool jobq__db_is_ours(const char *name) {
    return name && sqlite3_strnicmp(name, "jobq_", 5) == 0;
}

/* For SQLite what is temporary stands before the file's own, and triggers that are temporary cannot
 * be turned off. */
static int jobq__db_refuse_temporary(struct jobq__db *db, enum jobq__use use, jobq_error *err) {
    sqlite3_stmt *s;
    bool row = true;
    int rc = jobq__db_query(db, "SELECT type, name, tbl_name FROM sqlite_temp_master", &s);
    while (rc == JOBQ_OK && (rc = jobq__db_next(db, s, &row)) == JOBQ_OK && row) {
        const char *type = (const char *)sqlite3_column_text(s, 0);
        const char *name = (const char *)sqlite3_column_text(s, 1);
        const char *table = (const char *)sqlite3_column_text(s, 2);
        rc = jobq__db_read(db, s);
        if (rc != JOBQ_OK) break;
        if (!jobq__db_is_ours(name) && !jobq__db_is_ours(table)) continue;
        rc = jobq__err_set(err, JOBQ_CANT_OPEN, "on_connect made the temporary %s %.64s (of %.64s)"
                           " on the %s connection, in the way of jobq's own tables; use names that"
                           " do not begin with jobq_, and no triggers on its tables",
                           type ? type : "object", name ? name : "?", table ? table : "?",
                           jobq__db_uses[use]);
    }
    sqlite3_finalize(s);
    return rc == JOBQ_OK || rc == JOBQ_CANT_OPEN ? rc : jobq__db_fail(db, err);
}

/* Who has read the log in that locking mode keeps the file, and SQLite does not take it back. */
static int jobq__db_refuse_exclusive(struct jobq__db *db, enum jobq__use use, jobq_error *err) {
    sqlite3_stmt *s;
    bool row = false, exclusive = false;
    int rc;
    if (jobq__db_in_memory(db)) return JOBQ_OK;
    rc = jobq__db_query(db, "PRAGMA main.locking_mode", &s);
    if (rc == JOBQ_OK) rc = jobq__db_next(db, s, &row);
    if (row) {
        const char *mode = (const char *)sqlite3_column_text(s, 0);
        exclusive = mode && strcmp(mode, "exclusive") == 0;
        rc = jobq__db_read(db, s);
    }
    sqlite3_finalize(s);
    if (rc != JOBQ_OK) return jobq__db_fail(db, err);
    if (!exclusive) return rc;
    return jobq__err_set(err, JOBQ_CANT_OPEN, "on_connect has read %.200s on the %s connection with"
                         " PRAGMA locking_mode=EXCLUSIVE, which keeps out jobq's other connections"
                         " until it is closed; leave that out (.exclusive keeps out other"
                         " processes)", jobq__db_path(db), jobq__db_uses[use]);
}

/* What jobq lives by, whatever the application's limits are. */
static int jobq__db_put_right(struct jobq__db *db, enum jobq__use use, bool theirs,
                              const struct jobq__store_options *options, jobq_error *err) {
    int i, rc, before[JOBQ__DB_LIMITS];
    jobq__db_raise(db, before);
    rc = jobq__db_pragmas(db, use, theirs, options);
    if (rc != JOBQ_OK) rc = jobq__db_fail(db, err);
    else if (options->on_connect) rc = jobq__db_refuse_temporary(db, use, err);
    if (rc == JOBQ_OK && options->on_connect) rc = jobq__db_refuse_exclusive(db, use, err);
    for (i = 0; i < JOBQ__DB_LIMITS; i++)
        sqlite3_limit(db->handle, jobq__db_limits[i], before[i]);
    return rc;
}

/* What SQLite and the system said about a file that cannot be opened. */
static int jobq__db_cannot_open(struct jobq__db *db, const char *path, const char *vfs,
                                jobq_error *err) {
    const sqlite3_vfs *found = sqlite3_vfs_find(vfs);
    int rc = jobq__db_note(db);
    /* What is about the file has no other words than those of its code. */
    if (rc == JOBQ_CORRUPT || (db->handle && strcmp(sqlite3_errmsg(db->handle),
                                                    sqlite3_errstr(db->sqlite_code)) != 0))
        return jobq__db_no_connection(db->handle, path, err);
    if (rc == JOBQ_CANT_OPEN && found && strlen(path) + 8 > (size_t)found->mxPathname)
        return jobq__err_set(err, rc, "the absolute path has %llu bytes, SQLite opens at most %d:"
                             " %.250s", (unsigned long long)strlen(path), found->mxPathname - 8,
                             path);
    return jobq__db_tell(db, path, err);
}

/* A build, or an extension that opens with every connection, may have left things on it. */
static void jobq__db_clear(struct jobq__db *db) {
    int keys = 0;
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_ENABLE_FKEY, -1, &keys);
    db->keys = keys != 0;
    sqlite3_set_authorizer(db->handle, NULL, NULL);
    jobq__db_unhook(db);
    if (jobq__db_in_transaction(db)) sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
}

/* The application's hook, with the connection as it is; its words, or SQLite's, if it refuses. */
static int jobq__db_ask(struct jobq__db *db, enum jobq__use use, jobq_stage stage,
                        const struct jobq__store_options *options, jobq_error *err) {
    static const jobq_connection which[] = {
        [JOBQ__STORE_WRITER] = JOBQ_CONNECTION_WRITER,
        [JOBQ__STORE_READER] = JOBQ_CONNECTION_READER,
        [JOBQ__STORE_COPIER] = JOBQ_CONNECTION_COPIER,
        [JOBQ__STORE_JOB] = JOBQ_CONNECTION_JOB,
    };
    bool commits = db->may_commit, speaks = db->speaks;
    struct jobq__os_call call;
    jobq_error words;
    int refused, code;
    if (!options->on_connect) return JOBQ_OK;
    memset(&words, 0, sizeof words);
    db->may_commit = db->speaks = true;
    jobq__os_call_begin(&call, options->owner, "on_connect");
    refused = options->on_connect(db->handle, which[use], stage, &words, options->ctx);
    jobq__os_call_end(&call);
    db->may_commit = commits;
    db->speaks = speaks;
    if (!refused && sqlite3_get_autocommit(db->handle)) return JOBQ_OK;
    code = sqlite3_extended_errcode(db->handle);
    db->sqlite_code = code;
    if (!refused)
        return jobq__err_set(err, JOBQ_CANT_OPEN, "on_connect left a transaction open on the %s"
                             " connection; end it there", jobq__db_uses[use]);
    words.text[sizeof words.text - 1] = 0;
    if (code == SQLITE_ROW || code == SQLITE_DONE) code = SQLITE_OK;
    if (!words.text[0] && code == SQLITE_OK)
        jobq__err_set(err, JOBQ_CANT_OPEN, "on_connect refused the %s connection: it returned %d"
                      " and gave no reason, which belongs into err->text", jobq__db_uses[use],
                      refused);
    else
        jobq__err_set(err, JOBQ_CANT_OPEN, "on_connect refused the %s connection: %.350s",
                      jobq__db_uses[use], words.text[0] ? words.text
                                                        : sqlite3_errmsg(db->handle));
    if (err) err->sqlite_code = code;
    return JOBQ_CANT_OPEN;
}

JOBQ__INTERNAL int jobq__db_setup(struct jobq__db *db, enum jobq__use use,
                                  const struct jobq__store_options *options, jobq_error *err) {
    int put, rc = jobq__db_ask(db, use, JOBQ_STAGE_SETUP, options, err);
    if (!options->on_connect) return rc;
    /* In memory a connection that was refused to the job stays the writer's. */
    jobq__db_reset_all(db);
    sqlite3_set_authorizer(db->handle, NULL, NULL);
    jobq__db_hooks(db, use == JOBQ__STORE_JOB);
    if (use != JOBQ__STORE_JOB) jobq__db_harden(db, true);
    if (jobq__db_in_transaction(db)) jobq__db_do(db, JOBQ__SQL_ROLLBACK);
    put = jobq__db_put_right(db, use, use == JOBQ__STORE_JOB, options, rc == JOBQ_OK ? err : NULL);
    return rc == JOBQ_OK ? put : rc;
}

JOBQ__INTERNAL int jobq__db_open(struct jobq__db *db, const char *path, const char *vfs,
                                 enum jobq__use use, const struct jobq__store_options *options,
                                 jobq_error *err) {
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_PRIVATECACHE
              | (use == JOBQ__STORE_JOB || strcmp(path, ":memory:") == 0 ? SQLITE_OPEN_FULLMUTEX
                                                                       : SQLITE_OPEN_NOMUTEX);
    int rc;
    memset(db, 0, sizeof *db);
    db->path = path;
    db->may_commit = use != JOBQ__STORE_JOB;
    if (sqlite3_open_v2(path, &db->handle, flags, vfs)) {
        rc = jobq__db_cannot_open(db, path, vfs, err);
        jobq__db_close(db);
        return rc;
    }
    /* SQLite opens without a word for reading what it cannot open for writing, and begins there
     * what it cannot write. */
    if (!options->client && sqlite3_db_readonly(db->handle, "main") == 1) {
        rc = jobq__err_set(err, JOBQ_READ_ONLY, "SQLite could open %.250s for reading only, and the"
                           " owner writes; see to the file's mode, and open it again", path);
        jobq__db_disown(db);
        jobq__db_close(db);
        return rc;
    }
    /* Until the file is known to be ours nothing of it may be touched. */
    if (use == JOBQ__STORE_WRITER || options->client) jobq__db_disown(db);
    jobq__db_clear(db);
    if (use == JOBQ__STORE_WRITER) db->until_us = options->until_us;
    else if (use != JOBQ__STORE_JOB) db->patience_us = JOBQ__DB_PATIENCE_US;
    if (use == JOBQ__STORE_COPIER)
        sqlite3_db_config(db->handle, SQLITE_DBCONFIG_LOOKASIDE, (void *)NULL, 0, 0);
    rc = jobq__db_ask(db, use, JOBQ_STAGE_KEY, options, err);
    if (rc != JOBQ_OK) {
        jobq__db_close(db);
        return rc;
    }
    if (use != JOBQ__STORE_JOB) jobq__db_harden(db, true);
    jobq__db_hooks(db, use == JOBQ__STORE_JOB);
    rc = jobq__db_put_right(db, use, false, options, err);
    if (rc != JOBQ_OK) jobq__db_close(db);
    return rc;
}

JOBQ__INTERNAL void jobq__db_close(struct jobq__db *db) {
    size_t i;
    if (!db->handle) return;
    for (i = 0; i < JOBQ__COUNT(db->statements); i++) sqlite3_finalize(db->statements[i]);
    /* A handler may have left statements of its own: with close_v2 they do no harm. */
    sqlite3_close_v2(db->handle);
    memset(db, 0, sizeof *db);
}
