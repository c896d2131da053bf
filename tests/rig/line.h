/* line.h - requests made by hand, and how they stand in line for the baton.
 *
 * They write rows into a table of their own, and fail as they are told. The queue holds nothing
 * else. */
#ifndef JOBQ_LINE_H
#define JOBQ_LINE_H

#include "helpers.h"
#include "unit.h"

#include <sched.h>

struct order {
    jobq *q;
    struct jobq__request request;
    pthread_t thread;
    int number, rows;    /* rows: to be written before it ends */
    int fails;           /* the code that its write returns after that, or JOBQ_OK */
    int64_t wait_us;
    int written, after;  /* how often each was called */
    int returned;        /* atomic */
    jobq_error err;
};

static struct {
    fixture f;
    int commits;         /* of the writer's connection, by SQLite's own hook */
    int order[64], count; /* numbers, as they were written; by the holder of the baton */
} place;

static int count_commit(void *ctx) {
    (void)ctx;
    place.commits++;
    return 0;
}

static bool place_open_with(jobq_options options) {
    memset(&place, 0, sizeof place);
    if (!fixture_open(&place.f, options)) return false;
    sql_run(place.f.path, "CREATE TABLE mine(n)");
    sqlite3_commit_hook(place.f.q->writer.handle, count_commit, NULL);
    return true;
}

static bool place_open(void) {
    return place_open_with(STEP);
}

static int64_t rows_of(int number) {
    char sql[64];
    snprintf(sql, sizeof sql, "SELECT count(*) FROM mine WHERE n = %d", number);
    return sql_int(place.f.path, sql);
}

static int write_rows(struct jobq__tx *tx, struct jobq__request *r) {
    struct order *o = (struct order *)r->arg;
    char sql[64];
    if (place.count < 64) place.order[place.count++] = o->number;
    o->written++;
    snprintf(sql, sizeof sql, "INSERT INTO mine VALUES(%d)", o->number);
    for (int i = 0; i < o->rows; i++)
        CHECK_INT(sqlite3_exec(tx->db->handle, sql, NULL, NULL, NULL), SQLITE_OK);
    return o->fails;
}

static void note_after(jobq *q, struct jobq__request *r) {
    (void)q;
    ((struct order *)r->arg)->after++;
}

static void prepare(struct order *o, int number) {
    memset(o, 0, sizeof *o);
    o->q = place.f.q;
    o->number = number;
    o->rows = 2;
    o->wait_us = INT64_MAX / 4;
    o->request.write = write_rows;
    o->request.after = note_after;
    o->request.arg = o;
    o->request.atomic = true;
    o->request.err = &o->err;
}

static void *give(void *arg) {
    struct order *o = (struct order *)arg;
    jobq__commit_request_within(o->q, &o->request, o->wait_us);
    __atomic_store_n(&o->returned, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

/* How many stand in line; the list has to end where its tail says. */
static int in_line(jobq *q) {
    struct jobq__request **at = &q->baton.head;
    int count = 0;
    jobq__os_lock(&q->baton.mu);
    for (; *at; at = &(*at)->next) count++;
    CHECK(q->baton.tail == at);
    jobq__os_unlock(&q->baton.mu);
    return count;
}

/* Goes to the end of the line, and returns when it stands there. */
static void stand_in_line(struct order *o, void *(*what)(void *arg)) {
    int position = in_line(o->q) + 1;
    o->thread = thread_start(what, o);
    while (in_line(o->q) < position) sched_yield();
}

static void start_order(struct order *o, int number) {
    prepare(o, number);
    stand_in_line(o, give);
}

/* The baton is laid down, and all of them return. */
static void serve(struct order *line, int count) {
    jobq__baton_release(place.f.q);
    for (int i = 0; i < count; i++) pthread_join(line[i].thread, NULL);
}

#endif
