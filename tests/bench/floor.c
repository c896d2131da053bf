/* floor.c - see floor.h. A job costs one INSERT, one UPDATE and one DELETE, by prepared
 * statements, and its payload is read and copied between the last two. */
#include "bench.h"

#include "floor.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Opened as jobq opens its writer: one thread at a time, so without SQLite's own mutex. */
#define FLOOR_FLAGS (SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX)

/* What jobq ships with (amalgamation/db.c). The size of the cache is SQLite's default on both. */
static const char pragmas[] =
    "PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = 1;";
static const char relaxed_pragmas[] = "PRAGMA synchronous = NORMAL;";
static const char synced_pragmas[] =
    "PRAGMA synchronous = FULL; PRAGMA fullfsync = 1; PRAGMA checkpoint_fullfsync = 1;";

/* The columns that any queue needs, and an index that holds the waiting rows only. */
static const char schema[] =
    "CREATE TABLE job("
    " id INTEGER PRIMARY KEY, state INT NOT NULL, queue INT NOT NULL, kind INT NOT NULL,"
    " priority INT NOT NULL, run_at INT NOT NULL, attempt INT NOT NULL, payload BLOB);"
    "CREATE INDEX job_waiting ON job(queue, priority, run_at, id) WHERE state = 0;";

enum statement { BEGIN, COMMIT, STORE, NEXT, CLAIM, FORGET, TOUCH, KEEP, STATEMENTS };

static const char *const statement_text[STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [STORE] = "INSERT INTO job(state, queue, kind, priority, run_at, attempt, payload)"
              " VALUES(0, 1, 1, 0, ?1, 0, ?2)",
    [NEXT] = "SELECT id, payload FROM job WHERE state = 0 AND queue = 1"
             " ORDER BY priority, run_at, id LIMIT ?1",
    [CLAIM] = "UPDATE job SET state = 1, attempt = attempt + 1 WHERE id = ?1",
    [FORGET] = "DELETE FROM job WHERE id = ?1",
    [KEEP] = "UPDATE job SET state = 2, ended_at = ?2 WHERE id = ?1",
    [TOUCH] = "UPDATE job SET attempt = attempt + 1 WHERE id = ?1",
};

struct floor {
    sqlite3 *db;
    sqlite3_stmt *statement[STATEMENTS];
    int64_t stored;   /* jobs ever */
    bool keeps;
    int log_pages;    /* after the last commit; only kept by floor_checkpoint_ms */
    int page_size;
    uint64_t random;
    unsigned char payload[FLOOR_PAYLOAD_SIZE];
};

static void check(struct floor *f, int ok, const char *what) {
    if (!ok) bench_die("floor: %s: %s", what, sqlite3_errmsg(f->db));
}

static void execute(struct floor *f, const char *sql) {
    check(f, sqlite3_exec(f->db, sql, NULL, NULL, NULL) == SQLITE_OK, sql);
}

static void finish(struct floor *f, enum statement which) {
    check(f, sqlite3_step(f->statement[which]) == SQLITE_DONE, statement_text[which]);
    sqlite3_reset(f->statement[which]);
}

static void finish_id(struct floor *f, enum statement which, int64_t id) {
    sqlite3_bind_int64(f->statement[which], 1, id);
    finish(f, which);
}

static void prepare(struct floor *f, enum statement which) {
    check(f, sqlite3_prepare_v3(f->db, statement_text[which], -1, SQLITE_PREPARE_PERSISTENT,
                                &f->statement[which], NULL) == SQLITE_OK, statement_text[which]);
}

int floor_log_pages(const struct floor *f) { return FLOOR_LOG_BYTES / f->page_size; }

struct floor *floor_open(const char *path, bool synced, int page_size) {
    struct floor *f = bench_alloc(sizeof *f);
    char pages[64];
    f->page_size = page_size ? page_size : FLOOR_PAGE_SIZE;
    snprintf(pages, sizeof pages, "PRAGMA page_size = %d", f->page_size);
    memset(f->payload, FLOOR_PAYLOAD_BYTE, sizeof f->payload);
    check(f, sqlite3_open_v2(path, &f->db, FLOOR_FLAGS, NULL) == SQLITE_OK, path);
    execute(f, pages);
    execute(f, "PRAGMA journal_mode = WAL");
    execute(f, synced ? synced_pragmas : relaxed_pragmas);
    execute(f, pragmas);
    sqlite3_wal_autocheckpoint(f->db, floor_log_pages(f));
    execute(f, schema);
    for (int i = 0; i < KEEP; i++) prepare(f, (enum statement)i);
    return f;
}

void floor_close(struct floor *f) {
    for (int i = 0; i < STATEMENTS; i++) sqlite3_finalize(f->statement[i]);
    check(f, sqlite3_close(f->db) == SQLITE_OK, "close");
    free(f);
}

void floor_enqueue(struct floor *f, int64_t jobs, int batch) {
    sqlite3_stmt *store = f->statement[STORE];
    while (jobs > 0) {
        int64_t count = jobs < batch ? jobs : batch;
        finish(f, BEGIN);
        for (int64_t i = 0; i < count; i++) {
            sqlite3_bind_int64(store, 1, INT64_C(1700000000000) + f->stored++);
            sqlite3_bind_blob(store, 2, f->payload, sizeof f->payload, SQLITE_STATIC);
            finish(f, STORE);
        }
        finish(f, COMMIT);
        jobs -= count;
    }
}

void floor_keep(struct floor *f) {
    execute(f, "ALTER TABLE job ADD COLUMN ended_at INT;"
               " CREATE INDEX job_ended ON job(ended_at) WHERE ended_at IS NOT NULL");
    prepare(f, KEEP);
    f->keeps = true;
}

static void end_job(struct floor *f, int64_t id) {
    if (f->keeps) sqlite3_bind_int64(f->statement[KEEP], 2, INT64_C(1700000000000));
    finish_id(f, f->keeps ? KEEP : FORGET, id);
}

int64_t floor_cycle(struct floor *f, int batch) {
    sqlite3_stmt *next = f->statement[NEXT];
    int64_t *running = bench_alloc(sizeof *running * (size_t)batch);
    unsigned char *copies = bench_alloc((size_t)batch * FLOOR_PAYLOAD_SIZE);
    int64_t total = 0;
    int count = 0;
    do {
        finish(f, BEGIN);
        for (int i = 0; i < count; i++) end_job(f, running[i]);
        total += count;
        count = 0;
        sqlite3_bind_int(next, 1, batch);
        while (sqlite3_step(next) == SQLITE_ROW) {
            const void *payload = sqlite3_column_blob(next, 1);
            int size = sqlite3_column_bytes(next, 1);
            check(f, size == FLOOR_PAYLOAD_SIZE, "size of a payload");
            memcpy(copies + (size_t)count * FLOOR_PAYLOAD_SIZE, payload, (size_t)size);
            running[count++] = sqlite3_column_int64(next, 0);
        }
        check(f, sqlite3_reset(next) == SQLITE_OK, statement_text[NEXT]);
        for (int i = 0; i < count; i++) finish_id(f, CLAIM, running[i]);
        finish(f, COMMIT);
    } while (count > 0);
    free(copies);
    free(running);
    return total;
}

static int note_log_pages(void *ctx, sqlite3 *db, const char *name, int pages) {
    struct floor *f = ctx;
    (void)db;
    (void)name;
    f->log_pages = pages;
    return SQLITE_OK;
}

#define TOUCHED 16

double floor_checkpoint_ms(struct floor *f, int pages) {
    int64_t id[TOUCHED] = {0};
    sqlite3_wal_checkpoint_v2(f->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    sqlite3_wal_hook(f->db, note_log_pages, f); /* in place of the automatic checkpoint */
    f->log_pages = 0;
    while (f->log_pages < pages) {
        finish(f, BEGIN);
        for (int i = 0; i < TOUCHED; i++) finish_id(f, TOUCH, id[i]); /* as if settled */
        for (int i = 0; i < TOUCHED; i++) {                           /* as if claimed */
            id[i] = 1 + (int64_t)(bench_random(&f->random) % (uint64_t)f->stored);
            finish_id(f, TOUCH, id[i]);
        }
        finish(f, COMMIT);
    }
    int64_t begin = bench_now();
    check(f, sqlite3_wal_checkpoint_v2(f->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL)
             == SQLITE_OK, "checkpoint");
    double ms = (double)(bench_now() - begin) * 1e-6;
    sqlite3_wal_autocheckpoint(f->db, floor_log_pages(f));
    return ms;
}
