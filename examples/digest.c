/* digest.c - the SHA-256 of every file below a directory, as durable jobs.
 *
 * Build:   cc -O2 examples/digest.c jobq.c -lsqlite3 -lpthread -o digest
 * Use:     digest [--quiet] [--wait-ms N] [directory] [database]
 *          digest --list [database]
 *
 * It walks the directory (default "."; symbolic links and .git are left out), stores
 * one job per file, and lets the pool compute the digests. Each digest becomes a row of
 * the table "digest" in the queue's own database file, written in the transaction that
 * completes the job. Kill it at any moment, as often as you like, and start it again:
 * it goes on with what is left, and no file is listed twice. Files whose size and time
 * of change are as listed are not read again. --wait-ms slows every file down, so that
 * a kill has something to hit. --list prints the table in the format of sha256sum.
 *
 * Exit status: 0 every file is listed, 1 some files could not be read (each is named on
 * stderr), 2 it did not come to the end.
 */
#define _XOPEN_SOURCE 700
#define _DARWIN_C_SOURCE
#include "../jobq.h"
#include "sha256.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define KIND "digest:file"
#define BATCH 256                      /* jobs in one transaction */
#define CHECKPOINT ((int64_t)8 << 20)  /* bytes hashed between two checkpoints */

struct app {
    jobq *q;
    const char *database;      /* as given, and as an absolute path */
    char *own_file;
    sqlite3 *reader;           /* this program's own connection; it only reads */
    sqlite3_stmt *listed;
    int64_t wait_ms, since_ms;
    bool quiet;
    int64_t before, stored, unchanged, unreadable; /* files; the main thread's */
    size_t batched;
    char *paths[BATCH];
    char keys[BATCH][65];
    pthread_mutex_t lock;      /* guards what follows */
    pthread_cond_t changed;
    int64_t done, failed, bytes;
};

static bool bar; /* stdout is a terminal: draw a progress bar */
static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
    jobq_mark_exit(); /* whatever runs now shall not count as crashed */
}

static void die(const char *what, const char *why)
{
    fprintf(stderr, "%sdigest: %s: %s\n", bar ? "\n" : "", what, why);
    exit(2);
}

/* ---- the job --------------------------------------------------------------------- */

/* How far the hashing of a file has come; saved as the job's checkpoint. */
struct progress {
    int64_t size, mtime_ns; /* the file's, before it was read */
    struct sha256 sha;
};

static int64_t mtime_ns(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

static jobq_outcome retry_errno(jobq_run *run, int number)
{
    char text[128] = "";
    if (strerror_r(number, text, sizeof text) != 0) text[0] = '\0';
    return jobq_retry(run, "%s", text[0] != '\0' ? text : "unknown error");
}

/* Reads the file to its end. A large file goes on where a killed run has left it. */
static jobq_outcome hash_file(jobq_run *run, struct app *app, int fd, struct progress *at)
{
    unsigned char buffer[16384];
    struct progress saved;
    size_t saved_size;
    const void *found = jobq_run_checkpoint(run, &saved_size);
    ssize_t n;

    if (found != NULL && saved_size == sizeof saved) {
        memcpy(&saved, found, sizeof saved);
        if (saved.size == at->size && saved.mtime_ns == at->mtime_ns &&
            lseek(fd, (off_t)saved.sha.length, SEEK_SET) >= 0)
            *at = saved;
    }
    int64_t next = (int64_t)at->sha.length + CHECKPOINT;
    while ((n = read(fd, buffer, sizeof buffer)) != 0) {
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return retry_errno(run, errno);
        sha256_add(&at->sha, buffer, (size_t)n);
        if (jobq_should_stop(run)) return jobq_retry(run, "stopped");
        if ((int64_t)at->sha.length < next) continue;
        next += CHECKPOINT;
        jobq_checkpoint(run, at, sizeof *at, NULL); /* if it fails, work is repeated */
        if (app->wait_ms > 0 && jobq_run_sleep(run, app->wait_ms))
            return jobq_retry(run, "stopped");
    }
    return JOBQ_DONE;
}

/* Writes the row in the job's transaction: it exists if and only if the job is done.
 * The table is made here too, so that all writing goes through the queue; a second
 * writing connection would have to be agreed on with jobq_options.shared. */
static jobq_outcome list_file(jobq_run *run, const char *path, struct progress *at)
{
    sqlite3 *db;
    sqlite3_stmt *insert = NULL;
    jobq_error err;
    char hex[65];
    int rc;

    sha256_hex(&at->sha, hex);
    rc = jobq_run_db(run, &db, &err); /* late: from here on nobody else can write */
    if (rc == JOBQ_BUSY) return jobq_snooze(run, 20); /* no fault of the file's */
    if (rc != JOBQ_OK) return jobq_retry(run, "%s", err.text);
    rc = sqlite3_exec(db, "CREATE TABLE IF NOT EXISTS digest(path TEXT PRIMARY KEY,"
                          " size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,"
                          " sha256 TEXT NOT NULL)", NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_prepare_v2(db, "INSERT OR REPLACE INTO digest VALUES(?, ?, ?, ?)", -1,
                                &insert, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_bind_text(insert, 1, path, -1, SQLITE_STATIC);
        sqlite3_bind_int64(insert, 2, at->size);
        sqlite3_bind_int64(insert, 3, at->mtime_ns);
        sqlite3_bind_text(insert, 4, hex, -1, SQLITE_STATIC);
        sqlite3_step(insert);
        rc = sqlite3_finalize(insert);
    }
    return rc == SQLITE_OK ? JOBQ_DONE : jobq_retry(run, "%s", sqlite3_errmsg(db));
}

static jobq_outcome digest_file(jobq_run *run, void *ctx)
{
    struct app *app = ctx;
    const char *path = jobq_run_payload(run, NULL); /* stored with its final zero */
    struct progress at;
    struct stat st;

    if (app->wait_ms > 0 && jobq_run_sleep(run, app->wait_ms))
        return jobq_retry(run, "stopped");
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return retry_errno(run, errno);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return jobq_fail(run, "no longer a regular file");
    }
    memset(&at, 0, sizeof at); /* its padding is saved too */
    at.size = (int64_t)st.st_size;
    at.mtime_ns = mtime_ns(&st); /* a change from now on is noticed at the next start */
    sha256_init(&at.sha);
    jobq_outcome outcome = hash_file(run, app, fd, &at);
    close(fd);
    if (outcome == JOBQ_DONE) outcome = list_file(run, path, &at);
    if (outcome == JOBQ_DONE) {
        pthread_mutex_lock(&app->lock);
        app->bytes += at.size;
        pthread_mutex_unlock(&app->lock);
    }
    return outcome;
}

/* ---- watching -------------------------------------------------------------------- */

static void on_event(const jobq_event *event, void *ctx)
{
    struct app *app = ctx;
    if (event->to == JOBQ_STATE_PENDING || event->to == JOBQ_STATE_RUNNING) return;
    pthread_mutex_lock(&app->lock);
    if (event->to == JOBQ_STATE_DONE) app->done++;
    else app->failed++;
    pthread_cond_signal(&app->changed);
    pthread_mutex_unlock(&app->lock);
}

/* Returns how many jobs are left, after up to wait_ms if there are any, and draws. */
static int64_t look(struct app *app, long wait_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += wait_ms * 1000000;
    if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;

    pthread_mutex_lock(&app->lock);
    int64_t total = app->before + app->stored, ended = app->done + app->failed;
    while (wait_ms > 0 && ended < total) {
        if (pthread_cond_timedwait(&app->changed, &app->lock, &until) != 0) wait_ms = 0;
        ended = app->done + app->failed;
    }
    pthread_mutex_unlock(&app->lock);
    if (bar && total > 0) {
        static const char bars[] = "########################################";
        int width = (int)(ended < total ? ended * 40 / total : 40);
        printf("\r[%-40.*s] %lld of %lld", width, bars, (long long)ended, (long long)total);
        fflush(stdout);
    }
    return total - ended;
}

/* Counts this program's jobs in a state; if failed, those of this start, and names them. */
static int64_t count_jobs(struct app *app, jobq_state state)
{
    jobq_filter filter = { .state = state, .kind = KIND };
    jobq_cursor cursor = { .done = false };
    jobq_info infos[16];
    jobq_error err;
    int64_t sum = 0;
    size_t count;

    while (!cursor.done) {
        if (jobq_list(app->q, &filter, &cursor, infos, 16, &count, &err) != JOBQ_OK)
            die("cannot list the jobs", err.text);
        if (state != JOBQ_STATE_FAILED) sum += (int64_t)count;
        else for (size_t i = 0; i < count; i++) {
            char path[4096] = "";
            if (infos[i].finished_at_ms < app->since_ms) continue;
            sum++;
            jobq_get_payload(app->q, infos[i].id, path, sizeof path - 1, &(size_t){ 0 }, NULL);
            fprintf(stderr, "digest: %s: %s\n", path, infos[i].error);
        }
    }
    return sum;
}

/* ---- the walk -------------------------------------------------------------------- */

static void flush_batch(struct app *app)
{
    static jobq_job jobs[BATCH];
    static jobq_stored results[BATCH];
    jobq_error err;
    int rc;

    for (size_t i = 0; i < app->batched; i++) {
        struct sha256 sha; /* a path can be longer than a key: its digest is the key */
        sha256_init(&sha);
        sha256_add(&sha, app->paths[i], strlen(app->paths[i]));
        sha256_hex(&sha, app->keys[i]);
        jobs[i] = (jobq_job){ .kind = KIND, .key = app->keys[i], .payload = app->paths[i],
                              .size = strlen(app->paths[i]) + 1 };
    }
    if (app->batched == 0) return;
    do rc = jobq_enqueue_many(app->q, jobs, app->batched, results, &err);
    while (rc == JOBQ_BUSY && !interrupted);
    if (rc == JOBQ_BUSY) return;
    if (rc != JOBQ_OK) die("cannot store jobs", err.text);
    for (size_t i = 0; i < app->batched; i++) {
        if (results[i].how == JOBQ_NEW) app->stored++; /* else it is left from before */
        free(app->paths[i]);
    }
    app->batched = 0;
    look(app, 0);
}

/* Is the file listed already, with this size and time? */
static bool is_listed(struct app *app, const char *path, const struct stat *st)
{
    bool same = false;
    if (app->listed == NULL) return false; /* no table yet: the first start */
    sqlite3_bind_text(app->listed, 1, path, -1, SQLITE_STATIC);
    if (sqlite3_step(app->listed) == SQLITE_ROW)
        same = sqlite3_column_int64(app->listed, 0) == (int64_t)st->st_size &&
               sqlite3_column_int64(app->listed, 1) == mtime_ns(st);
    sqlite3_reset(app->listed); /* at once: an open read keeps the log from shrinking */
    return same;
}

/* The database and the files beside it: .db, .db-wal, .db-shm, .db-jobq. */
static bool is_own_file(const struct app *app, const char *path)
{
    size_t n = strlen(app->own_file);
    return strncmp(path, app->own_file, n) == 0 && (path[n] == '\0' || path[n] == '-');
}

static void walk(struct app *app, const char *directory)
{
    DIR *dir = opendir(directory);
    struct dirent *entry;
    struct stat st;

    if (dir == NULL) {
        fprintf(stderr, "digest: %s: %s\n", directory, strerror(errno));
        app->unreadable++;
        return;
    }
    while (!interrupted && (entry = readdir(dir)) != NULL) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, ".git") == 0)
            continue;
        size_t size = strlen(directory) + strlen(name) + 2;
        char *path = malloc(size);
        if (path == NULL) die(name, "no memory");
        snprintf(path, size, "%s/%s", strcmp(directory, "/") == 0 ? "" : directory, name);
        if (lstat(path, &st) != 0) st.st_mode = 0; /* has gone meanwhile */
        if (S_ISREG(st.st_mode) && !is_own_file(app, path)) {
            if (!is_listed(app, path, &st)) {
                app->paths[app->batched++] = path;
                if (app->batched == BATCH) flush_batch(app);
                continue;
            }
            app->unchanged++;
        } else if (S_ISDIR(st.st_mode)) {
            walk(app, path);
        }
        free(path);
    }
    closedir(dir);
}

/* ---- main ------------------------------------------------------------------------ */

static sqlite3 *open_reader(const char *database, const char *sql, sqlite3_stmt **statement)
{
    sqlite3 *db = NULL;
    if (sqlite3_open_v2(database, &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
        die(database, sqlite3_errmsg(db));
    sqlite3_busy_timeout(db, 5000);
    if (sqlite3_prepare_v2(db, sql, -1, statement, NULL) != SQLITE_OK) *statement = NULL;
    return db;
}

static int list_table(const char *database)
{
    sqlite3_stmt *rows;
    sqlite3 *db = open_reader(database,
                              "SELECT sha256, path FROM digest ORDER BY path", &rows);
    int rc = SQLITE_DONE; /* without the table there is nothing to list */
    while (rows != NULL && (rc = sqlite3_step(rows)) == SQLITE_ROW)
        printf("%s  %s\n", (const char *)sqlite3_column_text(rows, 0),
               (const char *)sqlite3_column_text(rows, 1));
    if (rc != SQLITE_DONE) die(database, sqlite3_errmsg(db));
    sqlite3_finalize(rows);
    sqlite3_close(db);
    return 0;
}

static void open_queue(struct app *app)
{
    jobq_error err;
    /* RELAXED: what a power cut takes, the next walk finds to be missing and stores
     * again, so there is no need to wait for the disk. No .join: jobq makes the file,
     * this program's table comes later, and a queue that is there is always welcome. */
    jobq_options options = { .durability = JOBQ_RELAXED, .on_event = on_event, .ctx = app };
    /* Being killed is expected here, and no file's fault: with the default, three kills
     * during a large file would make it a failed job. Done jobs need not be kept, the
     * table says it all. */
    jobq_kind kind = { .name = KIND, .run = digest_file, .ctx = app,
                       .attempts_max = 3, .backoff_min_ms = 50,
                       .crashes_max = JOBQ_UNLIMITED, .keep_done_ms = JOBQ_NONE };
    if (jobq_open(app->database, &options, &app->q, &err) != JOBQ_OK)
        die(app->database, err.text);
    if (jobq_register(app->q, &kind, &err) != JOBQ_OK) die("cannot register", err.text);
    app->own_file = realpath(app->database, NULL);
    if (app->own_file == NULL) die(app->database, strerror(errno));
    app->since_ms = jobq_clock_now(NULL);
    app->before = count_jobs(app, JOBQ_STATE_PENDING);
}

/* Until all that is stored has ended. */
static void await_all(struct app *app)
{
    jobq_error err;
    jobq_stats stats;
    while (!interrupted && look(app, 100) > 0)
        if (jobq_stat(app->q, &stats, &err) == JOBQ_OK && stats.failed_code != JOBQ_OK)
            die("the queue has stopped", jobq_code_text(stats.failed_code));
}

static int run(struct app *app, const char *directory)
{
    jobq_error err;

    open_queue(app);
    if (jobq_start(app->q, &err) != JOBQ_OK) die("cannot start", err.text);
    /* First what is left from before, however often it is killed; the walk finds those files
     * listed, and they are not to be counted twice. */
    await_all(app);
    app->unchanged = -app->done;
    app->reader = open_reader(app->database,
                              "SELECT size, mtime_ns FROM digest WHERE path = ?", &app->listed);
    if (!interrupted) walk(app, directory);
    if (!interrupted) flush_batch(app);
    sqlite3_finalize(app->listed);
    sqlite3_close(app->reader);
    if (!app->quiet && !interrupted) {
        printf("%s%s: %lld files to digest, %lld left from before, %lld unchanged\n",
               bar ? "\r\033[K" : "", directory, (long long)app->stored,
               (long long)app->before, (long long)app->unchanged);
        fflush(stdout);
    }
    await_all(app);

    if (jobq_stop(app->q, 0, &err) != JOBQ_OK) fprintf(stderr, "digest: %s\n", err.text);
    if (bar) printf("\r\033[K");
    int64_t failed = count_jobs(app, JOBQ_STATE_FAILED) + app->unreadable;
    double seconds = (double)(jobq_clock_now(NULL) - app->since_ms) / 1000;
    jobq_close(&app->q);
    if (!app->quiet)
        printf("%lld files, %lld bytes, %lld failures in %.2f s (%.0f files/s)\n",
               (long long)app->done, (long long)app->bytes, (long long)failed, seconds,
               seconds > 0 ? (double)app->done / seconds : 0.0);
    free(app->own_file);
    if (!interrupted) return failed > 0 ? 1 : 0;
    fprintf(stderr, "digest: interrupted; start it again to go on\n");
    return 2;
}

int main(int argc, char **argv)
{
    static struct app app = { .lock = PTHREAD_MUTEX_INITIALIZER,
                              .changed = PTHREAD_COND_INITIALIZER };
    struct sigaction action = { .sa_handler = on_signal };
    const char *names[2] = { NULL, NULL };
    struct stat st;
    bool list = false;
    int count = 0;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quiet") == 0) app.quiet = true;
        else if (strcmp(argv[i], "--list") == 0) list = true;
        else if (strcmp(argv[i], "--wait-ms") == 0 && i + 1 < argc)
            app.wait_ms = strtol(argv[++i], NULL, 10);
        else if (argv[i][0] != '-' && count < (list ? 1 : 2)) names[count++] = argv[i];
        else die(argv[i], "usage: digest [--quiet] [--wait-ms N] [directory] [database]\n"
                          "       digest --list [database]");
    }
    app.database = list ? names[0] : names[1];
    if (app.database == NULL)
        app.database = stat("build", &st) == 0 && S_ISDIR(st.st_mode) ? "build/digest.db"
                                                                      : "digest.db";
    if (list) return list_table(app.database);

    /* Absolute paths, so that a later start from elsewhere finds the same files. */
    const char *root = names[0] != NULL ? names[0] : ".";
    static char *directory; /* whatever ends the program */
    directory = realpath(root, NULL);
    if (directory == NULL) die(root, strerror(errno));
    bar = !app.quiet && isatty(STDOUT_FILENO);
    action.sa_flags = (int)(SA_RESTART | SA_RESETHAND); /* a second one ends it at once */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    int status = run(&app, directory);
    free(directory);
    return status;
}
