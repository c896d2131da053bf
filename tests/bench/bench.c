/* bench.c - jobq against the least SQLite work that the same jobs could cost: the frame.
 *
 *   bench [-n PAIRS] [--markdown] [--large] [--dir DIR] [--code BYTES] [--list] [ROW...]
 *
 * Measures the rows named (the start of a name is enough), or all of them, and prints one table.
 * The rows stand in rows_*.c; the floor in floor.c.
 */
#include "bench.h"

#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- files: a directory of our own, emptied after each sample and removed at the end ---- */

enum { QUEUE_DB, QUEUE_LOCK = 4, FLOOR_DB, FILES = FLOOR_DB + 4 };
#define PATH_MAX_ 1024

static char directory[PATH_MAX_];
static char files[FILES][PATH_MAX_ + 16];
static pid_t directory_owner;

static const char *const file_names[FILES] = {
    "q.db", "q.db-wal", "q.db-shm", "q.db-journal", "q.db-jobq",
    "f.db", "f.db-wal", "f.db-shm", "f.db-journal",
};

const char *bench_directory(void) { return directory; }
const char *bench_queue_path(void) { return files[QUEUE_DB]; }
const char *bench_floor_path(void) { return files[FLOOR_DB]; }

void bench_remove_files(void) {
    for (int i = 0; i < FILES; i++) unlink(files[i]);
}

static void remove_directory(void) {
    if (directory_owner != getpid()) return; /* a child of ours, ending early */
    bench_remove_files();
    rmdir(directory);
}

static void on_signal(int number) {
    (void)number;
    remove_directory();
    _exit(130);
}

static void make_directory(const char *in) {
    int length = snprintf(directory, sizeof directory, "%s/bench.XXXXXX", in);
    if (length < 0 || (size_t)length >= sizeof directory) bench_die("%s: too long", in);
    if (!mkdtemp(directory)) bench_die("%s: %s", directory, strerror(errno));
    for (int i = 0; i < FILES; i++) {
        snprintf(files[i], sizeof files[i], "%s/%s", directory, file_names[i]);
    }
    directory_owner = getpid();
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

/* ---- clock, memory, chance ---- */

void bench_die(const char *format, ...) {
    va_list list;
    va_start(list, format);
    fflush(stdout);
    fputs("bench: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    remove_directory();
    _exit(1); /* threads of a queue may still run: nothing is torn down under them */
}

void *bench_alloc(size_t size) {
    void *memory = calloc(1, size);
    if (!memory) bench_die("out of memory");
    return memory;
}

int64_t bench_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void bench_sleep_until(int64_t now_ns) {
    struct timespec t = {.tv_sec = (time_t)(now_ns / 1000000000),
                         .tv_nsec = (long)(now_ns % 1000000000)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) continue;
}

/* splitmix64 */
uint64_t bench_random(uint64_t *state) {
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* ---- samples ---- */

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, ascending);
    return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

/* The smallest value that so many percent do not exceed. */
double bench_percentile(double *values, int count, double percent) {
    qsort(values, (size_t)count, sizeof *values, ascending);
    double rank = percent / 100 * count;
    int at = (int)rank;
    if (at < rank) at++;
    return values[at < 1 ? 0 : at - 1];
}

int bench_at_most(int pairs, int most) { return pairs < most ? pairs : most; }

struct bench_pair bench_pairs(int pairs, bench_sample against, bench_sample ours, const void *arg) {
    double *values = bench_alloc(sizeof *values * (size_t)pairs * 3);
    double *a = values, *b = values + pairs, *ratio = values + 2 * pairs;
    for (int i = 0; i < pairs; i++) {
        a[i] = against(arg);
        bench_remove_files();
        b[i] = ours(arg);
        bench_remove_files();
        ratio[i] = b[i] / a[i];
    }
    struct bench_pair pair = {.jobq = bench_median(b, pairs),
                              .against = bench_median(a, pairs),
                              .ratio = bench_median(ratio, pairs)};
    free(values);
    return pair;
}

double bench_in_child(bench_sample sample, const void *arg, double *peak_kib) {
    int ends[2], status = 0;
    double value = 0;
    struct rusage usage;
    fflush(stdout);
    if (pipe(ends)) bench_die("pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child < 0) bench_die("fork: %s", strerror(errno));
    if (child == 0) {
        value = sample(arg);
        _exit(write(ends[1], &value, sizeof value) == (ssize_t)sizeof value ? 0 : 1);
    }
    close(ends[1]);
    bool told = read(ends[0], &value, sizeof value) == (ssize_t)sizeof value;
    close(ends[0]);
    if (wait4(child, &status, 0, &usage) != child || status != 0 || !told) {
        bench_die("a sample in a process of its own failed");
    }
    if (peak_kib) *peak_kib = (double)usage.ru_maxrss;
    return value;
}

/* ---- report ---- */

#define WHAT_WIDTH 54

static void format_figure(char *text, size_t size, enum bench_unit unit, double value) {
    if (value <= BENCH_ABSENT) snprintf(text, size, "-");
    else if (unit == BENCH_RATE && value >= 999500) snprintf(text, size, "%.2f M/s", value * 1e-6);
    else if (unit == BENCH_RATE) snprintf(text, size, "%.3g k/s", value * 1e-3);
    else if (unit == BENCH_US) snprintf(text, size, "%.0f us", value);
    else if (unit == BENCH_MS) snprintf(text, size, "%.1f ms", value);
    else if (unit == BENCH_BYTES) snprintf(text, size, "%.0f B", value);
    else if (unit == BENCH_KIB) snprintf(text, size, "%.0f KiB", value);
    else snprintf(text, size, "%.0f", value);
}

static void format_goal(char *text, size_t size, const struct bench_line *line) {
    char figure[32];
    format_figure(figure, sizeof figure, line->unit, line->limit);
    if (line->goal == BENCH_RATIO_MIN) snprintf(text, size, ">= %g", line->limit);
    else if (line->goal == BENCH_RATIO_MAX) snprintf(text, size, "<= %g", line->limit);
    else if (line->goal == BENCH_VALUE_MAX) snprintf(text, size, "<= %s", figure);
    else snprintf(text, size, "-");
}

static const char *verdict(const struct bench_line *line) {
    double figure = line->goal == BENCH_VALUE_MAX ? line->jobq : line->ratio;
    if (line->goal == BENCH_FOR_INFORMATION) return "-";
    if (figure <= BENCH_ABSENT) return "?";
    if (line->goal == BENCH_RATIO_MIN) return figure >= line->limit ? "yes" : "NO";
    return figure <= line->limit ? "yes" : "NO";
}

static void print_row(const struct bench *b, const char *what, const char *ours,
                      const char *against, const char *ratio, const char *goal, const char *met,
                      const char *note) {
    if (b->markdown) {
        printf("| %s | %s | %s | %s | %s | %s | %s |\n", what, ours, against, ratio, goal, met,
               note);
    } else {
        printf("%-*s  %10s  %10s  %6s  %10s  %-4s%s%s\n", WHAT_WIDTH, what, ours, against, ratio,
               goal, met, *note ? "  " : "", note);
    }
    fflush(stdout);
}

static void print_head(const struct bench *b) {
    printf("%ld cores, SQLite %s, median of %d pairs%s\n\n", sysconf(_SC_NPROCESSORS_ONLN),
           sqlite3_libversion(), b->pairs, b->pairs < 9 ? " (too few to compare)" : "");
    print_row(b, "what / against what", "jobq", "against", "ratio", "goal", "met", "note");
    if (b->markdown) printf("|---|---|---|---|---|---|---|\n");
}

void bench_report(const struct bench *b, const struct bench_line *line) {
    char ours[32], against[32], ratio[32], goal[48];
    format_figure(ours, sizeof ours, line->unit, line->jobq);
    format_figure(against, sizeof against, line->unit, line->against);
    if (line->ratio <= BENCH_ABSENT) snprintf(ratio, sizeof ratio, "-");
    else snprintf(ratio, sizeof ratio, line->ratio < 10 ? "%.2f" : "%.1f", line->ratio);
    format_goal(goal, sizeof goal, line);
    print_row(b, line->what, ours, against, ratio, goal, verdict(line), line->note);
}

/* ---- the rows, in the order of the table ---- */

static const struct bench_row *const tables[] = {bench_speed_rows, bench_delay_rows,
                                                 bench_cost_rows, bench_slice_rows};
#define TABLES ((int)(sizeof tables / sizeof tables[0]))

static bool wanted(const struct bench_row *row, const struct bench *b, char **names, int count) {
    for (int i = 0; i < count; i++) {
        if (strncmp(row->name, names[i], strlen(names[i])) == 0) return true;
    }
    return count == 0 && (b->large || !row->large);
}

static void list_rows(void) {
    for (int t = 0; t < TABLES; t++) {
        for (const struct bench_row *row = tables[t]; row->name; row++) {
            printf("%s%s\n", row->name, row->large ? " (only with --large)" : "");
        }
    }
}

static int usage(void) {
    fputs("use: bench [-n PAIRS] [--markdown] [--large] [--dir DIR] [--code BYTES] [--list]"
          " [ROW...]\n", stderr);
    return 2;
}

int main(int argc, char **argv) {
    struct bench b = {.pairs = 9};
    const char *in = NULL;
    bool heap = false; /* nothing but that figure: the program asks itself */
    int at = 1;
    for (; at < argc && argv[at][0] == '-'; at++) {
        const char *option = argv[at], *value = at + 1 < argc ? argv[at + 1] : NULL;
        if (strcmp(option, "--markdown") == 0) b.markdown = true;
        else if (strcmp(option, "--large") == 0) b.large = true;
        else if (strcmp(option, "--list") == 0) return list_rows(), 0;
        else if (strcmp(option, "--heap") == 0) heap = true;
        else if (!value) return usage();
        else if (strcmp(option, "-n") == 0) b.pairs = (int)strtol(argv[++at], NULL, 10);
        else if (strcmp(option, "--dir") == 0) in = argv[++at];
        else if (strcmp(option, "--code") == 0) b.code_bytes = strtod(argv[++at], NULL);
        else return usage();
    }
    if (b.pairs < 1 || b.pairs > 1000) return usage();
    if (!in) in = access("build", W_OK) == 0 ? "build" : ".";
    make_directory(in);
    if (heap) {
        printf("%f\n", bench_heap_kib());
        remove_directory();
        return 0;
    }
    print_head(&b);
    for (int t = 0; t < TABLES; t++) {
        for (const struct bench_row *row = tables[t]; row->name; row++) {
            if (!wanted(row, &b, argv + at, argc - at)) continue;
            row->run(&b, row->arg);
            bench_remove_files();
        }
    }
    remove_directory();
    return 0;
}
