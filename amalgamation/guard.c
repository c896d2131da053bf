/* guard.c - the connection that handlers get: what they may do there, and how the next finds it. */
#include "guard.h"

/* ---- What a handler may do ---- */

static bool jobq__guard_is(const char *name, const char *other) {
    return name && sqlite3_stricmp(name, other) == 0;
}

/* Also temporary ones: such a table would stand before ours. What is attached is another's. */
static bool jobq__guard_ours(const char *name, const char *schema) {
    if (!name || sqlite3_strnicmp(name, "jobq_", 5) != 0) return false;
    return !schema || jobq__guard_is(schema, "main") || jobq__guard_is(schema, "temp");
}

/* Those that only tell, and those that end with the transaction. */
static bool jobq__guard_pragma(const char *name, const char *value) {
    static const char *const allowed[] = {
        "table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo",
        "foreign_key_list", "foreign_key_check", "integrity_check", "quick_check", "user_version",
        "defer_foreign_keys"};
    size_t i;
    for (i = 0; i < JOBQ__COUNT(allowed); i++)
        if (jobq__guard_is(name, allowed[i])) return true;
    return !value && !jobq__guard_is(name, "wal_checkpoint")
        && !jobq__guard_is(name, "incremental_vacuum") && !jobq__guard_is(name, "optimize");
}

static int jobq__guard_config(struct jobq__db *db, int which, int value) {
    int is = 0;
    sqlite3_db_config(db->handle, which, value, &is);
    return is;
}

/* SQLite writes the table of the schema for each statement that changes it, and asks about that,
 * too; a statement of the handler's own can name it only where a setting allows that. */
static bool jobq__guard_by_hand(struct jobq__db *db, const char *table) {
    return (jobq__guard_is(table, "sqlite_master") || jobq__guard_is(table, "sqlite_temp_master"))
        && jobq__guard_config(db, SQLITE_DBCONFIG_WRITABLE_SCHEMA, -1);
}

static int jobq__guard_answer(struct jobq__db *db, int action, const char *a, const char *b,
                              const char *schema) {
    switch (action) {
    case SQLITE_TRANSACTION:
        /* Who believes to have ended it must not be told later that all is done. */
        if (!jobq__guard_is(a, "BEGIN")) db->lost = true;
        return SQLITE_DENY;
    case SQLITE_ATTACH: case SQLITE_DETACH:
        return SQLITE_DENY;
    case SQLITE_ANALYZE: /* of all tables: ours are left out (schema.c) */
        return jobq__guard_ours(a, schema) ? SQLITE_IGNORE : SQLITE_OK;
    case SQLITE_PRAGMA:
        return jobq__guard_pragma(a, b) ? SQLITE_OK : SQLITE_DENY;
    case SQLITE_ALTER_TABLE: /* the schema comes first; the new name is not told */
        db->guard.altered = true;
        return jobq__guard_is(a, "temp") || jobq__guard_ours(b, a) ? SQLITE_DENY : SQLITE_OK;
    case SQLITE_CREATE_TEMP_TABLE: case SQLITE_CREATE_TEMP_VIEW: case SQLITE_CREATE_TEMP_INDEX:
    case SQLITE_CREATE_TEMP_TRIGGER: case SQLITE_DROP_TEMP_TABLE: case SQLITE_DROP_TEMP_VIEW:
    case SQLITE_DROP_TEMP_INDEX: case SQLITE_DROP_TEMP_TRIGGER:
        db->guard.temp = true;
        return jobq__guard_ours(a, NULL) || jobq__guard_ours(b, NULL) ? SQLITE_DENY : SQLITE_OK;
    case SQLITE_INSERT: case SQLITE_UPDATE: case SQLITE_DELETE: case SQLITE_CREATE_VTABLE:
    case SQLITE_DROP_VTABLE:
        if (jobq__guard_is(schema, "temp")) db->guard.temp = true;
        return jobq__guard_ours(a, schema) || jobq__guard_by_hand(db, a) ? SQLITE_DENY : SQLITE_OK;
    case SQLITE_CREATE_TABLE: case SQLITE_CREATE_VIEW: case SQLITE_CREATE_INDEX:
    case SQLITE_CREATE_TRIGGER: case SQLITE_DROP_TABLE: case SQLITE_DROP_VIEW:
    case SQLITE_DROP_INDEX: case SQLITE_DROP_TRIGGER:
        /* An index and a trigger name their table second. */
        return jobq__guard_ours(a, schema) || jobq__guard_ours(b, schema) ? SQLITE_DENY : SQLITE_OK;
    default:
        return SQLITE_OK;
    }
}

static int jobq__guard_asked(void *arg, int action, const char *a, const char *b,
                             const char *schema, const char *trigger) {
    struct jobq__db *db = arg;
    (void)trigger;
    db->guard.asked++;
    return db->speaks ? SQLITE_OK : jobq__guard_answer(db, action, a, b, schema);
}

/* ---- How the next job finds it ---- */

static const int jobq__guard_configs[] = {
    SQLITE_DBCONFIG_ENABLE_FKEY, SQLITE_DBCONFIG_ENABLE_TRIGGER, SQLITE_DBCONFIG_ENABLE_VIEW,
    SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION,
    SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, SQLITE_DBCONFIG_ENABLE_QPSG, SQLITE_DBCONFIG_TRIGGER_EQP,
    SQLITE_DBCONFIG_RESET_DATABASE, SQLITE_DBCONFIG_DEFENSIVE, SQLITE_DBCONFIG_WRITABLE_SCHEMA,
    SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, SQLITE_DBCONFIG_DQS_DML, SQLITE_DBCONFIG_DQS_DDL,
    SQLITE_DBCONFIG_LEGACY_FILE_FORMAT, SQLITE_DBCONFIG_TRUSTED_SCHEMA,
#ifdef SQLITE_DBCONFIG_STMT_SCANSTATUS
    SQLITE_DBCONFIG_STMT_SCANSTATUS,
#endif
#ifdef SQLITE_DBCONFIG_REVERSE_SCANORDER
    SQLITE_DBCONFIG_REVERSE_SCANORDER,
#endif
#ifdef SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE
    SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE,
#endif
#ifdef SQLITE_DBCONFIG_ENABLE_COMMENTS
    SQLITE_DBCONFIG_ENABLE_COMMENTS,
#endif
#ifdef SQLITE_DBCONFIG_FP_DIGITS
    SQLITE_DBCONFIG_FP_DIGITS,
#endif
};

/* Those that bind jobq's own statements, too, are db.c's; the others are put back only. */
static const int jobq__guard_limits[] = {
    JOBQ__DB_BINDING_LIMITS, SQLITE_LIMIT_ATTACHED, SQLITE_LIMIT_WORKER_THREADS,
#ifdef SQLITE_LIMIT_PARSER_DEPTH
    SQLITE_LIMIT_PARSER_DEPTH,
#endif
};

typedef char jobq__guard_configs_fit[
    JOBQ__COUNT(jobq__guard_configs) <= JOBQ__GUARD_CONFIGS ? 1 : -1];
typedef char jobq__guard_limits_fit[
    JOBQ__COUNT(jobq__guard_limits) <= JOBQ__GUARD_LIMITS ? 1 : -1];

JOBQ__INTERNAL void jobq__guard_set(struct jobq__db *db) {
    struct jobq__guard *guard = &db->guard;
    size_t i;
    for (i = 0; i < JOBQ__COUNT(jobq__guard_configs); i++)
        guard->configs[i] = jobq__guard_config(db, jobq__guard_configs[i], -1);
    for (i = 0; i < JOBQ__COUNT(jobq__guard_limits); i++)
        guard->limits[i] = sqlite3_limit(db->handle, jobq__guard_limits[i], -1);
    guard->temp = guard->spoilt = guard->altered = false;
    jobq__db_hooks(db, true);
    sqlite3_set_authorizer(db->handle, jobq__guard_asked, db);
}

/* The text that drops the first of them, or NULL. */
static char *jobq__guard_next_temp(struct jobq__db *db) {
    sqlite3_stmt *s;
    char *text = NULL;
    if (jobq__db_query(db, "SELECT type, name FROM sqlite_temp_master WHERE name NOT"
                       " LIKE 'sqlite\\_%' ESCAPE '\\' LIMIT 1", &s) == JOBQ_OK
        && sqlite3_step(s) == SQLITE_ROW)
        text = sqlite3_mprintf("DROP %s temp.\"%w\"", sqlite3_column_text(s, 0),
                               sqlite3_column_text(s, 1));
    sqlite3_finalize(s);
    return text;
}

JOBQ__INTERNAL bool jobq__guard_has_temp(const struct jobq__db *db) {
    return db->guard.temp;
}

JOBQ__INTERNAL void jobq__guard_drop_temp(struct jobq__db *db) {
    int rc = JOBQ_OK;
    char *text;
    db->may_commit = db->speaks = true;
    while (rc == JOBQ_OK && (text = jobq__guard_next_temp(db)) != NULL) {
        rc = jobq__db_exec(db, text);
        sqlite3_free(text);
    }
    db->may_commit = db->speaks = false;
}

static void jobq__guard_put_back(struct jobq__db *db) {
    const struct jobq__guard *guard = &db->guard;
    size_t i;
    for (i = 0; i < JOBQ__COUNT(jobq__guard_configs); i++)
        if (jobq__guard_config(db, jobq__guard_configs[i], -1) != guard->configs[i])
            jobq__guard_config(db, jobq__guard_configs[i], guard->configs[i]);
    for (i = 0; i < JOBQ__COUNT(jobq__guard_limits); i++)
        sqlite3_limit(db->handle, jobq__guard_limits[i], guard->limits[i]);
}

JOBQ__INTERNAL void jobq__guard_enter(struct jobq__db *db) {
    jobq__guard_put_back(db);
    jobq__db_unbind(db);
    db->guard.row_id = sqlite3_last_insert_rowid(db->handle);
}

JOBQ__INTERNAL void jobq__guard_leave(struct jobq__db *db) {
    jobq__guard_put_back(db);
    sqlite3_set_last_insert_rowid(db->handle, db->guard.row_id);
}

JOBQ__INTERNAL void jobq__guard_begin(struct jobq__db *db) {
    jobq__guard_enter(db);
    db->guard.row_id = 0;
}

JOBQ__INTERNAL bool jobq__guard_spoilt(struct jobq__db *db, int rc) {
    if (rc != JOBQ_CORRUPT || !jobq__db_disturbed(db)) return false;
    db->guard.spoilt = true;
    return true;
}

/* SQLite does not tell who its authorizer is: whether ours is asked tells. */
JOBQ__INTERNAL bool jobq__guard_intact(struct jobq__db *db) {
    sqlite3_stmt *probe = NULL;
    int asked = db->guard.asked;
    bool hooks;
    jobq__db_reset_all(db);
    hooks = jobq__db_hooks(db, true);
    jobq__guard_enter(db);
    if (sqlite3_prepare_v2(db->handle, "SAVEPOINT jobq_probe", -1, &probe, NULL) == SQLITE_NOMEM)
        asked--;
    sqlite3_finalize(probe);
    if (db->guard.asked == asked) sqlite3_set_authorizer(db->handle, jobq__guard_asked, db);
    return hooks && db->guard.asked != asked;
}

JOBQ__INTERNAL bool jobq__guard_restore(struct jobq__db *db, bool hard) {
    if (hard) jobq__db_harden(db, true);
    else jobq__guard_put_back(db);
    return !db->guard.temp && !db->guard.spoilt;
}
