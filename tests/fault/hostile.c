/* hostile.c - files damaged by the thousand, from a seed: only codes come out.
 *
 * Good queue files of several shapes are damaged in one of many ways: bytes, whole pages, fields of
 * the header, the free list, the log, the shared memory; rows by SQL that no type holds back;
 * triggers, views, names and the text of the schema; indexes that no longer agree with their table.
 * Then everything is called on the file, as owner and as client (hostile.h), with a simulated week.
 *
 * The plays run in children, some at a time, so a crash, a sanitizer's complaint or a loop without
 * end costs one child, and the parent names the file: its number is its seed. To see one again:
 *
 *     TEST_SEED=<what was told> build/asan/fault_hostile one
 *
 * What jobq can know of damage it must not hand to a handler: where the rows were damaged and the
 * payloads were not, every payload that a handler gets is whole. */
#include "hostile.h"

#include <sys/mman.h>
#include <sys/resource.h>

/* What only a sanitizer sees, it sees in the file that nobody thought of: so with one, however
 * little effort is wanted, there are as many as this. (Threads are not what this is about.) */
#if defined TEST_SANITIZED && !defined __SANITIZE_THREAD__
#define FILES_MIN 1000
#else
#define FILES_MIN 1
#endif

#define SHAPES 6
#define FILE_SECONDS (20 * (JOBQ_TEST_SCALE > 1 ? 10 : 1))

/* No file may become larger: the reserve's default, as much as the log, is the most, and plays set
 * less. */
#define MOST_BYTES (24 << 20)

static struct hostile_file shapes[SHAPES];
static char directory[64]; /* in memory where there is one: nothing here is about the disk */

/* Seen by parent and children: which file is being played, and what came of all. */
static struct {
    volatile uint64_t seed;
    volatile int64_t files, told, opened, ran, wrong, endless, slowest_ms;
} *shared;

static uint64_t pick(uint64_t *state, uint64_t n) {
    return test_random(state) % n;
}

/* ---- Bytes and pages ---- */

static size_t page_size_of(const struct hostile_file *file) {
    size_t size = (size_t)file->db[16] << 8 | file->db[17];
    return size == 1 ? 65536 : size;
}

static void damage_bytes(struct hostile_file *file, uint64_t *r) {
    int n = 1 + (int)pick(r, 8);
    while (n-- > 0) {
        size_t page = page_size_of(file), at = pick(r, file->db_size);
        /* Mostly where the structure stands. */
        if (pick(r, 3)) at = at / page * page + pick(r, 120);
        if (at >= file->db_size) continue;
        if (pick(r, 2)) file->db[at] ^= (unsigned char)(1u << pick(r, 8));
        else file->db[at] = (unsigned char)pick(r, 256);
    }
}

static void damage_pages(struct hostile_file *file, uint64_t *r) {
    size_t page = page_size_of(file), pages = file->db_size / page, i;
    size_t a = pick(r, pages), b = pick(r, pages);
    switch (pick(r, 6)) {
    case 0: memmove(file->db + a * page, file->db + b * page, page); break;
    case 1: memset(file->db + a * page, 0, page); break;
    case 2: memset(file->db + a * page, 0xff, page); break;
    case 3:
        for (i = 0; i < page; i++) file->db[a * page + i] = (unsigned char)test_random(r);
        break;
    case 4: file->db_size = 1 + pick(r, file->db_size); break;
    default: file->db_size = a ? a * page : page; break;
    }
}

static void put32(unsigned char *at, uint32_t value) {
    at[0] = (unsigned char)(value >> 24);
    at[1] = (unsigned char)(value >> 16);
    at[2] = (unsigned char)(value >> 8);
    at[3] = (unsigned char)value;
}

/* A number that is a page, none, or far away. */
static uint32_t some_page(const struct hostile_file *file, uint64_t *r) {
    static const uint32_t odd[] = {0, 1, 0x7fffffff, 0xffffffff, 0x80000000};
    if (pick(r, 4) == 0) return odd[pick(r, 5)];
    return 1 + (uint32_t)pick(r, file->db_size / page_size_of(file) + 2);
}

static void damage_header(struct hostile_file *file, uint64_t *r) {
    static const int at[] = {28, 32, 36, 40, 44, 52, 56, 60, 64, 68, 92, 96};
    static const uint16_t sizes[] = {0, 1, 512, 513, 1024, 4096, 8192, 32768, 65535};
    uint16_t size = sizes[pick(r, 9)];
    switch (pick(r, 4)) {
    case 0:
        file->db[16] = (unsigned char)(size >> 8);
        file->db[17] = (unsigned char)size;
        break;
    case 1: file->db[18 + pick(r, 6)] = (unsigned char)pick(r, 256); break;
    default: put32(file->db + at[pick(r, 12)], some_page(file, r));
    }
}

/* Pointers between pages: cells' children, overflow chains, free list, pointer map. */
static void damage_pointers(struct hostile_file *file, uint64_t *r) {
    int n = 1 + (int)pick(r, 3);
    while (n-- > 0) {
        size_t page = page_size_of(file), a = pick(r, file->db_size / page);
        size_t at = a * page + (pick(r, 2) ? 0 : pick(r, page - 4));
        if (at >= 100) put32(file->db + at, some_page(file, r));
    }
}

static void damage_log(struct hostile_file *file, uint64_t *r) {
    int n = 1 + (int)pick(r, 6);
    if (!file->wal_size) return;
    if (pick(r, 5) == 0) file->wal_size = pick(r, file->wal_size) + 1;
    while (n-- > 0) file->wal[pick(r, file->wal_size)] ^= (unsigned char)(1 + pick(r, 255));
}

/* ---- Rows ---- */

#define COUNT(array) (sizeof(array) / sizeof (array)[0])

/* Every column of every table that has rows, as the first shape has them: none is forgotten. */
static struct { char table[24], name[24]; } columns[200];
static size_t columns_count;

static bool read_columns(const char *path) {
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL, *rows = NULL;
    char sql[96];
    if (sqlite3_open(path, &db) == SQLITE_OK)
        sqlite3_prepare_v2(db, "SELECT m.name, p.name FROM sqlite_master m JOIN"
                           " pragma_table_info(m.name) p WHERE m.type = 'table'"
                           " AND m.name LIKE 'jobq%' ORDER BY m.name, p.cid", -1, &s, NULL);
    while (sqlite3_step(s) == SQLITE_ROW && columns_count < COUNT(columns)) {
        const char *table = (const char *)sqlite3_column_text(s, 0);
        snprintf(sql, sizeof sql, "SELECT 1 FROM %s LIMIT 1", table);
        sqlite3_prepare_v2(db, sql, -1, &rows, NULL);
        if (sqlite3_step(rows) == SQLITE_ROW) {
            snprintf(columns[columns_count].table, 24, "%s", table);
            snprintf(columns[columns_count++].name, 24, "%s", sqlite3_column_text(s, 1));
        }
        sqlite3_finalize(rows);
    }
    sqlite3_finalize(s);
    sqlite3_close(db);
    return CHECK(columns_count > 50 && columns_count < COUNT(columns));
}

static const char *const values[] = {
    "NULL", "0", "1", "2", "3", "-1", "'x'", "''", "x''", "x'00'", "17.5", "1e300", "-1e300",
    "9223372036854775807", "-9223372036854775808", "2147483647", "2147483648", "-2147483648",
    "4611686018427387904", "65536", "1700000000000", "1700000000000 + 86400000", "zeroblob(40)",
    "zeroblob(100000)", "hex(zeroblob(300))", "'a' || char(0) || 'b'", "cast(x'c328ff' AS TEXT)",
    "randomblob(9)", "abs(random() % 70)", "-abs(random() % 70)", "99", "-99", "x'8000'",
    "(SELECT u.job FROM jobq_key u ORDER BY random() LIMIT 1)",
};

/* True if it touches no payload. */
static bool row_sql(char *sql, size_t size, uint64_t *r) {
    size_t column = pick(r, columns_count);
    const char *table = columns[column].table, *name = columns[column].name;
    const char *value = values[pick(r, COUNT(values))];
    static const char *const where[] = {
        "", " WHERE rowid = %d", " WHERE rowid %% 3 = 0", " WHERE rowid > %d"};
    char which[64];
    bool rowid = !strstr("jobq_key jobq_meta jobq_failed", table);
    snprintf(which, sizeof which, where[rowid ? pick(r, 4) : 0], (int)pick(r, 40));
    switch (pick(r, 8)) {
    case 0: snprintf(sql, size, "DELETE FROM %s%s", table, which); break;
    case 1:
        snprintf(sql, size, "UPDATE OR REPLACE %s SET %s = %s + (%s)%s", table, name, name, value,
                 which);
        break;
    default:
        snprintf(sql, size, "UPDATE OR REPLACE %s SET %s = %s%s", table, name, value, which);
    }
    return strcmp(name, "payload") != 0 && strcmp(name, "data") != 0;
}

/* ---- The schema ---- */

static const char *const schema_sql[] = {
    "CREATE TRIGGER t AFTER UPDATE ON jobq_row BEGIN DELETE FROM jobq_row; END",
    "CREATE TRIGGER t BEFORE INSERT ON jobq_row BEGIN SELECT raise(ABORT, 'no'); END",
    "CREATE TRIGGER jobq_t AFTER DELETE ON jobq_extra BEGIN DELETE FROM jobq_name; END",
    "CREATE INDEX more ON jobq_row(payload)",
    "CREATE INDEX jobq_more ON jobq_row(abs(run_at))",
    "DROP INDEX jobq_live",
    "DROP INDEX jobq_finished",
    "DROP TABLE jobq_extra",
    "DROP TABLE jobq_claims; CREATE VIEW jobq_claims AS SELECT 1 AS one, NULL AS ids, 9 AS last_id",
    "ALTER TABLE jobq_row RENAME TO jobq_rows; CREATE VIEW jobq_row AS SELECT * FROM jobq_rows",
    "ALTER TABLE jobq_row ADD COLUMN more INT AS (id + 1)",
    "ALTER TABLE jobq_extra ADD COLUMN more DEFAULT 5",
    "ALTER TABLE jobq_name RENAME COLUMN name TO called",
    "CREATE TABLE jobq_mine(a)",
    "CREATE TABLE JOBQ_yours(a, b UNIQUE)",
    "CREATE TABLE other(a); INSERT INTO other VALUES(1)",
    "DROP TABLE jobq_key; CREATE TABLE jobq_key(kind, key, held, job)",
    "PRAGMA application_id = 7",
    "PRAGMA user_version = -5",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA writable_schema = 1; UPDATE sqlite_master SET rootpage = rootpage + 1"
    " WHERE name = 'jobq_extra'",
    "PRAGMA writable_schema = 1; UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM"
    " sqlite_master WHERE name = 'jobq_row') WHERE name = 'jobq_extra'",
    "PRAGMA writable_schema = 1; UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM"
    " sqlite_master WHERE name = 'jobq_finished') WHERE name = 'jobq_live'",
    "PRAGMA writable_schema = 1; UPDATE sqlite_master SET sql = substr(sql, 1, 40)"
    " WHERE name = 'jobq_row'",
    "PRAGMA writable_schema = 1; UPDATE sqlite_master SET sql = replace(sql, 'ord', 'od')",
    "PRAGMA writable_schema = 1; UPDATE sqlite_master SET sql = x'00' WHERE name = 'jobq_name'",
    "PRAGMA writable_schema = 1; UPDATE sqlite_master SET sql = NULL WHERE name = 'jobq_claims'",
    "PRAGMA writable_schema = 1; UPDATE sqlite_master SET name = 'jobq_x' WHERE name = 'jobq_row'",
    "PRAGMA writable_schema = 1; UPDATE sqlite_master SET type = 'view' WHERE name = 'jobq_extra'",
    "PRAGMA writable_schema = 1; UPDATE sqlite_master SET tbl_name = 'x' WHERE name = 'jobq_live'",
    "PRAGMA writable_schema = 1; INSERT INTO sqlite_master SELECT * FROM sqlite_master"
    " WHERE name = 'jobq_row'",
    "PRAGMA writable_schema = 1; DELETE FROM sqlite_master WHERE name = 'jobq_key'",
    "PRAGMA writable_schema = 1; DELETE FROM sqlite_master",
};

static void try_sql(sqlite3 *db, const char *sql) {
    sqlite3_exec(db, sql, NULL, NULL, NULL); /* some damage does not fit on some other */
}

/* The index is hidden while the rows change, and comes back as it was. */
static void damage_index(sqlite3 *db, const char *sql) {
    try_sql(db, "PRAGMA writable_schema = 1; CREATE TEMP TABLE hidden AS SELECT * FROM"
                " sqlite_master WHERE name IN ('jobq_live', 'jobq_finished');"
                " DELETE FROM sqlite_master WHERE name IN ('jobq_live', 'jobq_finished');"
                " PRAGMA writable_schema = RESET");
    try_sql(db, sql);
    try_sql(db, "PRAGMA writable_schema = 1; INSERT INTO sqlite_master SELECT * FROM hidden;"
                " DROP TABLE hidden");
}

/* True if no payload was touched. */
static bool damage_by_sql(const char *path, uint64_t *r, int how) {
    char sql[512];
    sqlite3 *db = NULL;
    int n = 1 + (int)pick(r, 3);
    bool whole = true;
    if (sqlite3_open(path, &db) == SQLITE_OK) {
        sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 0, (int *)NULL);
        try_sql(db, "PRAGMA cell_size_check = 0; PRAGMA synchronous = 0");
        for (; n > 0 && how < 2; n--) {
            whole = row_sql(sql, sizeof sql, r) && whole;
            if (how == 0) try_sql(db, sql);
            else damage_index(db, sql);
        }
        if (how == 2) try_sql(db, schema_sql[pick(r, COUNT(schema_sql))]);
    }
    sqlite3_close(db);
    return whole;
}

static void damage_beside(const char *path, const char *ending, uint64_t *r) {
    unsigned char bytes[40000];
    size_t size = pick(r, sizeof bytes), i;
    for (i = 0; i < size; i++) bytes[i] = (unsigned char)test_random(r);
    /* Without its mark a lock file is not looked at any further. */
    if (strcmp(ending, "-jobq") == 0 && size >= 8 && pick(r, 4))
        memcpy(bytes, pick(r, 4) ? "jobq-2l" : "jobq-1\n", 8);
    hostile_spill(hostile_beside(path, ending), bytes, size);
}

/* Damages a copy of one of the shapes and writes it. True if no payload was touched. */
static bool damage(const char *path, uint64_t *r) {
    const struct hostile_file *good = &shapes[pick(r, SHAPES)];
    struct hostile_file file = *good;
    int how = (int)pick(r, 20);
    bool whole = how >= 12;
    file.db = (unsigned char *)malloc(good->db_size);
    file.wal = (unsigned char *)malloc(good->wal_size + 1);
    if (!file.db || !file.wal) test_give_up("no memory");
    memcpy(file.db, good->db, good->db_size);
    if (good->wal_size) memcpy(file.wal, good->wal, good->wal_size);
    if (how < 3) damage_bytes(&file, r);
    else if (how < 5) damage_pages(&file, r);
    else if (how < 6) damage_header(&file, r);
    else if (how < 8) damage_pointers(&file, r);
    else if (how < 9) damage_log(&file, r);
    hostile_write(path, &file);
    if (how == 9) damage_beside(path, "-shm", r);
    else if (how == 10) damage_beside(path, "-jobq", r);
    else if (how == 11) damage_beside(path, "-wal", r);
    else if (whole) whole = damage_by_sql(path, r, how < 15 ? 0 : how < 18 ? 1 : 2);
    hostile_free(&file);
    return whole;
}

/* ---- The plays ---- */

static const char *hostile_path(void) {
    static char path[96];
    if (!directory[0]) return test_path("hostile.db");
    snprintf(path, sizeof path, "%s/hostile.db", directory);
    return path;
}

static int64_t size_of(const char *path, const char *ending) {
    struct stat st;
    return stat(hostile_beside(path, ending), &st) == 0 ? (int64_t)st.st_size : 0;
}

static void play_one(uint64_t seed) {
    const char *path = hostile_path();
    uint64_t r = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    struct hostile_seen seen;
    int64_t from_ms = test_real_ms(), took_ms;
    bool whole = damage(path, &r), client = pick(&r, 4) == 0, look_first = pick(&r, 2) == 0;
    shared->seed = seed;
    alarm(FILE_SECONDS);
    hostile_play(path, client, look_first, &seen);
    alarm(0);
    took_ms = test_real_ms() - from_ms;
    if (took_ms > shared->slowest_ms) shared->slowest_ms = took_ms;
    shared->files++;
    shared->told += hostile_is_damage(seen.code);
    shared->opened += !hostile_is_damage(seen.code);
    shared->ran += seen.ran;
    shared->endless += seen.endless;
    if (!CHECK(!seen.endless)) test_note("TEST_SEED=%llu", (unsigned long long)seed);
    if (whole && !CHECK_INT(seen.wrong, 0)) test_note("TEST_SEED=%llu", (unsigned long long)seed);
    if (!CHECK(size_of(path, "") < MOST_BYTES) || !CHECK(size_of(path, "-jobq") < MOST_BYTES)
        || !CHECK(size_of(path, "-wal") < MOST_BYTES))
        test_note("TEST_SEED=%llu", (unsigned long long)seed);
    hostile_remove(path);
}

struct batch {
    uint64_t first;
    int count;
};

static void play_batch(void *arg) {
    const struct batch *batch = (const struct batch *)arg;
    int i;
    struct rlimit most = {64 << 20, 64 << 20}; /* of a file, and no core */
    signal(SIGALRM, SIG_DFL);
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &most);
    for (i = 0; i < batch->count; i++) play_one(batch->first + (uint64_t)i);
}

static bool begin(void) {
    static const int pages[SHAPES] = {0, 0, 512, 1024, 0, 65536};
    int i;
    strcpy(directory, "/dev/shm/jobq-hostile-XXXXXX");
    if (!mkdtemp(directory)) directory[0] = 0;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return false;
    for (i = 0; i < SHAPES; i++) {
        shapes[i] = hostile_good(i == 1 ? 4 : 40, i == 4 ? HOSTILE_LARGE : 700, i % 2 == 0,
                                 pages[i]);
        if (!CHECK(shapes[i].db_size > 0)) return false;
    }
    return hostile_write(hostile_path(), &shapes[0]) && read_columns(hostile_path());
}

static void end(void) {
    int i;
    for (i = 0; i < SHAPES; i++) hostile_free(&shapes[i]);
    munmap((void *)shared, sizeof *shared);
    if (directory[0]) test_remove(directory);
}

/* A child's end, with the file it was at. */
static bool judge(int status) {
    bool ends_with_codes = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (CHECK(ends_with_codes)) return true;
    test_note("%s %d at TEST_SEED=%llu; to see it again: fault_hostile one",
              WIFSIGNALED(status) ? "signal" : "status",
              WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
              (unsigned long long)shared->seed);
    return false;
}

/* Goal: on no file there is a crash, an overflow, a leak, a call that does not end, or a payload
 * that a handler gets altered although its damage could be known. Method: see above. */
TEST(damage_by_the_thousand) {
    struct batch batch = {test_seed() * 1000000, 25};
    int files = (int)test_effort(400), bad = 0;
    struct rusage usage;
    if (files < FILES_MIN) files = FILES_MIN;
    if (!begin()) return;
    for (; files > 0 && bad < 5; files -= batch.count, batch.first += (uint64_t)batch.count)
        bad += !judge(test_fork(play_batch, &batch));
    getrusage(RUSAGE_CHILDREN, &usage);
    if (JOBQ_TEST_SCALE == 1) CHECK(usage.ru_maxrss < 200 * 1024);
    CHECK(shared->told * 4 > shared->files);
    test_figure("hostile files", "0 crashes, 0 loops, 0 altered payloads",
                "%lld files, %lld told as damage, %lld jobs ran beside, slowest %lld ms",
                (long long)shared->files, (long long)shared->told, (long long)shared->ran,
                (long long)shared->slowest_ms);
    end();
}

/* No test: one file again, in this process, for a debugger. Goal and method as above. */
TEST(one) {
    REQUIRE(test_seed() >= 1000000); /* TEST_SEED is what was told */
    if (!begin()) return;
    alarm(0);
    play_one(test_seed());
    end();
}

static TEST_LIST(all, damage_by_the_thousand)
static TEST_LIST(again, one)

int main(int argc, char **argv) {
    return argc > 1 && strcmp(argv[1], "one") == 0 ? again(argc, argv) : all(argc, argv);
}
