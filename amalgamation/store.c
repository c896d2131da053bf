/* store.c - what a store is besides its rows: connections, transactions, the log, the file. */
#include "store.h"

/* ---- Connections ---- */

JOBQ__INTERNAL int jobq__store_check(jobq_error *err) {
    return jobq__db_check_sqlite(err);
}

JOBQ__INTERNAL bool jobq__store_loses_commits(void) {
    return jobq__db_wal_reset_bug();
}

JOBQ__INTERNAL int jobq__store_vfs(bool exclusive, char *name, size_t capacity, jobq_error *err) {
    return jobq__db_vfs_name(exclusive, name, capacity, err);
}

JOBQ__INTERNAL int jobq__store_open(jobq__store *store, const char *path, const char *vfs,
                                    enum jobq__use use,
                                    const struct jobq__store_options *options, jobq_error *err) {
    return jobq__db_open(store, path, vfs, use, options, err);
}

JOBQ__INTERNAL int jobq__store_set_up(jobq__store *store, enum jobq__use use,
                                      const struct jobq__store_options *options,
                                      jobq_error *err) {
    return jobq__db_setup(store, use, options, err);
}

JOBQ__INTERNAL void jobq__store_close(jobq__store *store) {
    jobq__db_close(store);
}

JOBQ__INTERNAL bool jobq__store_is_open(const jobq__store *store) {
    return store->handle != NULL;
}

JOBQ__INTERNAL bool jobq__store_moved(jobq__store *store) {
    return jobq__db_moved(store);
}

JOBQ__INTERNAL void jobq__store_own(jobq__store *store, bool ours) {
    if (ours) jobq__db_adopt(store);
    else jobq__db_disown(store);
}

JOBQ__INTERNAL void jobq__store_harden(jobq__store *store, bool hard) {
    jobq__db_harden(store, hard);
}

JOBQ__INTERNAL void jobq__store_bind(jobq__store *store) {
    store->may_commit = false;
}

JOBQ__INTERNAL int64_t jobq__store_waits_until(const jobq__store *store) {
    return store->until_us;
}

JOBQ__INTERNAL void jobq__store_wait_no_more(jobq__store *store) {
    jobq__db_impatient(store);
}

JOBQ__INTERNAL struct sqlite3 *jobq__store_handle(const jobq__store *store) {
    return store->handle;
}

/* ---- The tables ---- */

JOBQ__INTERNAL int jobq__store_make(jobq__store *store, int page_size, bool made, bool join,
                                    jobq_error *err) {
    return jobq__schema_ready(store, page_size, made, join, err);
}

/* Somebody may have taken it out of WAL mode. */
JOBQ__INTERNAL int jobq__store_find(jobq__store *store, jobq_error *err) {
    int rc = jobq__schema_check(store, err);
    return rc == JOBQ_OK ? jobq__schema_wal(store, err) : rc;
}

/* Who has read in WAL mode keeps the others from changing it. */
JOBQ__INTERNAL int jobq__store_pin(jobq__store *store, jobq_error *err) {
    int64_t objects;
    int rc = jobq__schema_wal(store, err);
    if (rc == JOBQ_OK
        && jobq__db_number(store, "SELECT count(*) FROM sqlite_master", 0, &objects) != JOBQ_OK)
        rc = jobq__db_fail(store, err);
    return rc;
}

/* With a table of somebody else's named jobq_* nobody could open the file again. */
JOBQ__INTERNAL int jobq__store_check_job(jobq__store *store, jobq_error *why) {
    int rc = store->guard.altered ? jobq__schema_check(store, why) : JOBQ_OK;
    return rc == JOBQ_FOREIGN ? JOBQ__REFUSED : rc;
}

/* ---- Failures ---- */

JOBQ__INTERNAL int jobq__store_fail(jobq__store *store, jobq_error *err) {
    return jobq__db_fail(store, err);
}

JOBQ__INTERNAL int jobq__store_why(const jobq__store *store, jobq_error *err) {
    return jobq__db_why(store, err);
}

JOBQ__INTERNAL bool jobq__store_said(const jobq__store *store, int rc) {
    return jobq__db_code(store->sqlite_code) == rc;
}

#ifdef JOBQ_DEBUG
JOBQ__INTERNAL void jobq__store_note_failure(const jobq__store *store,
                                             struct jobq__store_failure *failure) {
    failure->fault = store->fault;
    failure->code = store->sqlite_code;
}

JOBQ__INTERNAL void jobq__store_set_failure(jobq__store *store,
                                            const struct jobq__store_failure *failure) {
    store->fault = failure->fault;
    store->sqlite_code = failure->code;
}
#endif

JOBQ__INTERNAL struct jobq__fault jobq__store_reason(const jobq__store *store) {
    return jobq__db_reason(store);
}

JOBQ__INTERNAL int jobq__store_tell(const struct jobq__fault *why, int code, const char *path,
                                    const char *way_out, jobq_error *err) {
    return jobq__db_say(why, code, path, way_out, err);
}

JOBQ__INTERNAL int jobq__store_damaged(jobq__store *store, enum jobq__damage what, int64_t id) {
    static const struct {
        const char *table, *column, *is;
    } damage[] = {
        [JOBQ__DAMAGE_ID] = {"jobq_row", "the id", "is taken for ever"},
        [JOBQ__DAMAGE_IDS] = {"jobq_claims or jobq_row", "the highest id", "is the last one"},
        [JOBQ__DAMAGE_ROW] = {"jobq_row", "the row", "is not where an index says"},
        [JOBQ__DAMAGE_ORDER] = {"jobq_row", "the index jobq_live", "is out of order"},
        [JOBQ__DAMAGE_NAME] = {"jobq_name", "name", "is not what its index says"},
        [JOBQ__DAMAGE_KEY] = {"jobq_key", "the key", "belongs to no job"},
        [JOBQ__DAMAGE_EXTRA] = {"jobq_extra", "the row", "has no job"},
        [JOBQ__DAMAGE_PAYLOAD] = {"jobq_payload", "the row", "has no job"},
        [JOBQ__DAMAGE_OPEN] = {"jobq_claims", "open", "is no list of gates"},
    };
    return jobq__db_fault(store, damage[what].table, id, damage[what].column, damage[what].is);
}

/* ---- Transactions ---- */

JOBQ__INTERNAL int jobq__store_sync_all(jobq__store *store, bool all) {
    return jobq__db_do(store, all ? JOBQ__SQL_SYNC_FULL : JOBQ__SQL_SYNC_NORMAL);
}

JOBQ__INTERNAL bool jobq__store_in_transaction(const jobq__store *store) {
    return store->handle && jobq__db_in_transaction(store);
}

JOBQ__INTERNAL bool jobq__store_stands(const jobq__store *store) {
    return jobq__db_in_transaction(store) && !store->lost;
}

JOBQ__INTERNAL int64_t jobq__store_changes(const jobq__store *store) {
    return jobq__db_changes(store);
}

JOBQ__INTERNAL int jobq__store_save(jobq__store *store) {
    return jobq__db_do(store, JOBQ__SQL_SAVE);
}

JOBQ__INTERNAL int jobq__store_undo(jobq__store *store) {
    return jobq__db_do(store, JOBQ__SQL_SAVE_UNDO);
}

JOBQ__INTERNAL int jobq__store_keep(jobq__store *store) {
    return jobq__db_do(store, JOBQ__SQL_SAVE_END);
}

/* ---- The log ---- */

JOBQ__INTERNAL int jobq__store_copy_log(jobq__store *store, bool truncate, bool *all) {
    return jobq__db_checkpoint(store, truncate, all);
}

JOBQ__INTERNAL int jobq__store_log_pages(const jobq__store *store) {
    return store->wal_pages;
}

JOBQ__INTERNAL void jobq__store_set_log_pages(jobq__store *store, int pages) {
    store->wal_pages = pages;
}

JOBQ__INTERNAL void jobq__store_trim_log(jobq__store *store) {
    jobq__db_cut_log(store);
}

/* Another process that has copied it may cut it just now: then it has said so before. */
JOBQ__INTERNAL bool jobq__store_log_is_cut(jobq__store *store, const struct jobq__files *files) {
    struct jobq__db_log log, again;
    if (!jobq__db_log(store, &log) || !log.bytes) return false;
    if (jobq__files_log_size(files) >= log.bytes) return jobq__db_log_has_gap(store);
    return jobq__db_log(store, &again)
        && memcmp(log.header, again.header, sizeof log.header) == 0;
}

/* ---- The file ---- */

JOBQ__INTERNAL int jobq__store_version(struct jobq__db *db, int64_t *version) {
    sqlite3_stmt *s = jobq__db_get(db, JOBQ__SQL_DATA_VERSION);
    bool row;
    int rc = jobq__db_next(db, s, &row);
    *version = 0;
    if (rc != JOBQ_OK || !row) return rc;
    *version = sqlite3_column_int64(s, 0);
    jobq__db_reset(s);
    return rc;
}

JOBQ__INTERNAL int64_t jobq__store_page_size(struct jobq__db *db) {
    int64_t size;
    return jobq__db_number(db, "PRAGMA page_size", 0, &size) == JOBQ_OK ? size : 0;
}

static int64_t jobq__store_pages(struct jobq__db *db, const char *pragma) {
    int64_t pages;
    if (jobq__db_number(db, pragma, 0, &pages) != JOBQ_OK) return 0;
    return pages * jobq__store_page_size(db);
}

JOBQ__INTERNAL int64_t jobq__store_bytes(struct jobq__db *db) {
    return jobq__store_pages(db, "PRAGMA page_count");
}

/* The header says what it likes. */
JOBQ__INTERNAL int64_t jobq__store_free_bytes(struct jobq__db *db) {
    int64_t free = jobq__store_pages(db, "PRAGMA freelist_count");
    return jobq__min(jobq__max(free, 0), jobq__store_bytes(db));
}

JOBQ__INTERNAL bool jobq__store_shrinks(struct jobq__db *db) {
    int64_t vacuum = 0, id = 0;
    return jobq__db_number(db, "PRAGMA auto_vacuum", 0, &vacuum) == JOBQ_OK && vacuum == 2
        && jobq__db_number(db, "PRAGMA application_id", 0, &id) == JOBQ_OK
        && id == JOBQ__APPLICATION_ID;
}

JOBQ__INTERNAL int64_t jobq__store_growth(struct jobq__db *db) {
    return jobq__store_bytes(db) - jobq__db_file_size(db);
}
