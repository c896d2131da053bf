/* inspect.c - looking inside: one job, lists with filters and cursors, counts, statistics,
 * payloads, and the events that tell what was committed. */
#include "helpers.h"

#include <limits.h>
#include <sched.h>

/* ---- Get ---- */

struct self_look {
    jobq_info info;
    jobq_counts counts;
    jobq_stats stats;
    int64_t id;
    int attempt, crashes;
    bool kind_ok, queue_ok;
    jobq *q;
    jobq_clock *clock;
};

static jobq_outcome look_at_itself(jobq_run *run, void *ctx) {
    struct self_look *s = (struct self_look *)ctx;
    jobq *q = jobq_run_handle(run);
    s->info = look(q, jobq_run_id(run));
    s->counts = count_all(q);
    s->stats = stats_of(q);
    s->id = jobq_run_id(run);
    s->attempt = jobq_run_attempt(run);
    s->crashes = jobq_run_crashes(run);
    s->kind_ok = strcmp(jobq_run_kind(run), "k") == 0;
    s->queue_ok = q == s->q;
    return JOBQ_DONE;
}

/* Goal: a job that runs is seen as running, by get, count and stat; and its run tells the same
 * of itself. Method: a handler looks at its own job. */
TEST(running_job_is_seen_as_running) {
    static struct self_look s;
    fixture f;
    int64_t id;
    REQUIRE(fixture_open(&f, STEP));
    s.q = f.q;
    handle(f.q, "k", look_at_itself, &s);
    id = put_job(f.q, (jobq_job){.kind = "k", .queue = "side"});
    put(f.q, "other");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(s.id, id);
    CHECK_INT(s.info.id, id);
    CHECK_INT(s.info.state, JOBQ_STATE_RUNNING);
    CHECK_INT(s.info.attempt, 1);
    CHECK_INT(s.info.runs, 1);
    CHECK_INT(s.info.finished_at_ms, 0);
    CHECK_STR(s.info.queue, "side");
    CHECK_INT(s.attempt, 1);
    CHECK_INT(s.crashes, 0);
    CHECK(s.kind_ok && s.queue_ok);
    CHECK_INT(s.counts.running, 1);
    CHECK_INT(s.counts.parked, 1);
    CHECK_INT(s.stats.running, 1);
    fixture_close(&f);
}

/* Goal: the times of a job are those of the queue's clock. Method: created, due, finished at
 * three different moments. */
TEST(times_are_of_the_queues_clock) {
    fixture f;
    jobq_info info;
    int64_t id;
    REQUIRE(fixture_open(&f, STEP));
    handle(f.q, "k", do_nothing, NULL);
    jobq_clock_advance(f.clock, 11);
    id = put_job(f.q, (jobq_job){.kind = "k", .delay_ms = 22});
    jobq_clock_advance(f.clock, 33);
    CHECK_INT(drain(f.q), 1);
    info = look(f.q, id);
    CHECK_INT(info.created_at_ms, T0 + 11);
    CHECK_INT(info.run_at_ms, T0 + 33);
    CHECK_INT(info.finished_at_ms, T0 + 44);
    fixture_close(&f);
}

/* Goal: get fills the whole struct, whatever was in it. Method: two jobs after one another
 * into one struct full of rubbish. */
TEST(get_fills_everything) {
    fixture f;
    jobq_info info;
    int64_t rich, plain;
    REQUIRE(fixture_open(&f, STEP));
    rich = put_job(f.q, (jobq_job){.kind = "rich", .queue = "long-name", .key = "key",
                                   .payload = "abc", .size = 3, .priority = 5});
    plain = put(f.q, "p");
    memset(&info, 0x77, sizeof info);
    WORKS(jobq_get(f.q, rich, &info, &err));
    CHECK_STR(info.queue, "long-name");
    CHECK_INT(info.payload_size, 3);
    WORKS(jobq_get(f.q, plain, &info, &err));
    CHECK_INT(info.id, plain);
    CHECK_STR(info.kind, "p");
    CHECK_STR(info.queue, "default");
    CHECK_STR(info.key, "");
    CHECK_STR(info.error, "");
    CHECK_INT(info.payload_size, 0);
    CHECK_INT(info.priority, 0);
    CHECK_INT(info.finished_at_ms, 0);
    fixture_close(&f);
}

/* ---- Payloads and results in parts ---- */

static jobq_outcome done_with_digits(jobq_run *run, void *ctx) {
    (void)ctx;
    return jobq_done(run, "0123456789", 10);
}

typedef int (*reader)(jobq *, int64_t, void *, size_t, size_t *, jobq_error *);

static void check_reader(jobq *q, int64_t id, reader read_bytes) {
    char buffer[16];
    size_t size = 0;
    memset(buffer, '#', sizeof buffer);
    WORKS(read_bytes(q, id, buffer, 4, &size, &err));
    CHECK_INT(size, 10);
    CHECK_MEM(buffer, "0123####", 8);
    WORKS(read_bytes(q, id, buffer, 10, &size, &err));
    CHECK_INT(size, 10);
    CHECK_MEM(buffer, "0123456789##", 12);
    memset(buffer, '#', sizeof buffer);
    WORKS(read_bytes(q, id, buffer, 0, &size, &err));
    CHECK_INT(size, 10);
    CHECK_MEM(buffer, "####", 4);
    size = 0;
    WORKS(read_bytes(q, id, NULL, 0, &size, &err));
    CHECK_INT(size, 10);
    WORKS(read_bytes(q, id, buffer, sizeof buffer, NULL, &err));
    CHECK_MEM(buffer, "0123456789##", 12);
}

/* Goal: a short buffer gets the beginning and the whole size is told; nothing behind the
 * buffer is written. Method: capacities of 4, 10, 0, and no buffer. */
TEST(short_buffers_get_the_beginning) {
    fixture f;
    int64_t id;
    REQUIRE(fixture_open(&f, STEP));
    handle(f.q, "k", done_with_digits, NULL);
    id = put_job(f.q, (jobq_job){.kind = "k", .payload = "0123456789", .size = 10});
    check_reader(f.q, id, jobq_get_payload);
    CHECK_INT(drain(f.q), 1);
    check_reader(f.q, id, jobq_get_payload);
    check_reader(f.q, id, jobq_get_result);
    fixture_close(&f);
}

/* Goal: a job without payload or result has one of no bytes. Method: read both. */
TEST(missing_bytes_are_no_bytes) {
    fixture f;
    int64_t id;
    char buffer[4];
    size_t size = 99;
    REQUIRE(fixture_open(&f, STEP));
    id = put(f.q, "k");
    WORKS(jobq_get_payload(f.q, id, buffer, sizeof buffer, &size, &err));
    CHECK_INT(size, 0);
    size = 99;
    WORKS(jobq_get_result(f.q, id, buffer, sizeof buffer, &size, &err));
    CHECK_INT(size, 0);
    fixture_close(&f);
}

/* ---- Lists ---- */

enum { MANY = 60 };

/* MANY jobs of three kinds in two queues, in every state but running. */
static bool fill(fixture *f, int64_t ids[MANY]) {
    static const char *const kinds[] = {"done", "fail", "late"};
    static const char *const queues[] = {"left", "right"};
    if (!fixture_open(f, STEP)) return false;
    handle(f->q, "done", do_nothing, NULL);
    handle(f->q, "fail", fail_always, NULL);
    for (int i = 0; i < MANY / 2; i++)
        ids[i] = put_job(f->q, (jobq_job){.kind = kinds[i % 3], .queue = queues[i % 2]});
    drain(f->q);
    for (int i = MANY / 2; i < MANY; i++)
        ids[i] = put_job(f->q, (jobq_job){.kind = kinds[i % 3], .queue = queues[i % 2],
                                          .delay_ms = i % 4 == 0 ? JOBQ_HOUR : 0,
                                          .priority = i % 5});
    for (int i = MANY / 2; i < MANY; i += 7) WORKS(jobq_cancel(f->q, ids[i], &err));
    return true;
}

/* Walks a whole listing and counts how often each id came. Returns the calls it took. */
static int walk(jobq *q, const jobq_filter *filter, size_t capacity, int *seen, int64_t max_id) {
    jobq_cursor cursor;
    jobq_info infos[16];
    int calls = 0;
    memset(&cursor, 0, sizeof cursor);
    memset(seen, 0, ((size_t)max_id + 1) * sizeof *seen);
    while (!cursor.done && calls < 10000) {
        size_t count = 999;
        calls++;
        if (!CHECK_CODE(jobq_list(q, filter, &cursor, infos, capacity, &count, NULL), JOBQ_OK) ||
            !CHECK(count <= capacity))
            return calls;
        for (size_t i = 0; i < count; i++)
            if (CHECK(infos[i].id > 0 && infos[i].id <= max_id)) seen[infos[i].id]++;
    }
    CHECK(cursor.done);
    return calls;
}

static bool matches(jobq *q, const jobq_filter *filter, int64_t id) {
    jobq_info info = look(q, id);
    if (!filter) return true;
    return (filter->state == JOBQ_STATE_NONE || filter->state == info.state) &&
           (!filter->kind || strcmp(filter->kind, info.kind) == 0) &&
           (!filter->queue || strcmp(filter->queue, info.queue) == 0);
}

/* Every job that matches exactly once, no other at all. */
static void check_listing(jobq *q, const jobq_filter *filter, const int64_t *ids) {
    static const size_t capacities[] = {1, 3, 16};
    static int seen[MANY + 1];
    for (size_t c = 0; c < sizeof capacities / sizeof capacities[0]; c++) {
        walk(q, filter, capacities[c], seen, MANY);
        for (int i = 0; i < MANY; i++)
            if (!CHECK_INT(seen[ids[i]], matches(q, filter, ids[i])))
                test_note("job %d with capacity %d", (int)ids[i], (int)capacities[c]);
    }
}

/* Goal: a listing visits every matching job exactly once, for each filter and combination,
 * with small capacities. Method: all states, kinds and queues against jobq_get. */
TEST(listing_visits_each_match_once) {
    static const char *const kinds[] = {NULL, "done", "fail", "late"};
    static const char *const queues[] = {NULL, "left", "right"};
    int64_t ids[MANY];
    fixture f;
    REQUIRE(fill(&f, ids));
    check_listing(f.q, NULL, ids);
    for (int s = JOBQ_STATE_NONE; s <= JOBQ_STATE_CANCELLED; s++)
        for (int k = 0; k < 4; k++)
            for (int w = 0; w < 3; w++) {
                jobq_filter filter = {.state = (jobq_state)s, .kind = kinds[k],
                                      .queue = queues[w]};
                check_listing(f.q, &filter, ids);
            }
    fixture_close(&f);
}

/* Goal: a small row budget takes more calls but visits the same jobs. Method: budgets of 1, 2
 * and 7 rows, for each state. */
TEST(listing_with_a_row_budget) {
    static const int64_t budgets[] = {1, 2, 7};
    int64_t ids[MANY];
    fixture f;
    REQUIRE(fill(&f, ids));
    for (int b = 0; b < 3; b++)
        for (int s = JOBQ_STATE_NONE; s <= JOBQ_STATE_CANCELLED; s++) {
            jobq_filter filter = {.state = (jobq_state)s, .kind = "fail",
                                  .rows_max = budgets[b]};
            check_listing(f.q, &filter, ids);
        }
    fixture_close(&f);
}

/* Goal: a budget bounds what one call does. Method: one matching job behind many that do not
 * match; with a budget of 5 the first call comes back without it. */
TEST(row_budget_bounds_a_call) {
    fixture f;
    jobq_cursor cursor;
    jobq_info info;
    size_t count = 9;
    static int seen[102];
    jobq_filter filter = {.kind = "needle", .rows_max = 5};
    REQUIRE(fixture_open(&f, STEP));
    for (int i = 0; i < 100; i++) put(f.q, "hay");
    put(f.q, "needle");
    memset(&cursor, 0, sizeof cursor);
    WORKS(jobq_list(f.q, &filter, &cursor, &info, 1, &count, &err));
    CHECK_INT(count, 0);
    CHECK(!cursor.done);
    CHECK(walk(f.q, &filter, 1, seen, 101) >= 20);
    CHECK_INT(seen[101], 1);
    fixture_close(&f);
}

/* Goal: without a state the order is by id. Method: ids of a listing with capacity 7 rise. */
TEST(listing_without_a_state_is_by_id) {
    int64_t ids[MANY], last = 0, n = 0;
    fixture f;
    jobq_cursor cursor;
    jobq_info infos[7];
    REQUIRE(fill(&f, ids));
    memset(&cursor, 0, sizeof cursor);
    while (!cursor.done) {
        size_t count = 0;
        REQUIRE_CODE(jobq_list(f.q, NULL, &cursor, infos, 7, &count, NULL), JOBQ_OK);
        for (size_t i = 0; i < count; i++, n++) {
            CHECK(infos[i].id > last);
            last = infos[i].id;
        }
    }
    CHECK_INT(n, MANY);
    fixture_close(&f);
}

/* Goal: a row of a listing says the same as jobq_get. Method: compare all fields of all. */
TEST(listing_tells_what_get_tells) {
    int64_t ids[MANY];
    fixture f;
    jobq_cursor cursor;
    jobq_info infos[16];
    REQUIRE(fill(&f, ids));
    memset(&cursor, 0, sizeof cursor);
    while (!cursor.done) {
        size_t count = 0;
        REQUIRE_CODE(jobq_list(f.q, NULL, &cursor, infos, 16, &count, NULL), JOBQ_OK);
        for (size_t i = 0; i < count; i++) {
            jobq_info a = infos[i], b = look(f.q, a.id);
            CHECK_INT(a.state, b.state);
            CHECK_INT(a.parked, b.parked);
            CHECK_INT(a.scheduled, b.scheduled);
            CHECK_STR(a.kind, b.kind);
            CHECK_STR(a.queue, b.queue);
            CHECK_INT(a.priority, b.priority);
            CHECK_INT(a.attempt, b.attempt);
            CHECK_INT(a.runs, b.runs);
            CHECK_INT(a.run_at_ms, b.run_at_ms);
            CHECK_INT(a.created_at_ms, b.created_at_ms);
            CHECK_INT(a.finished_at_ms, b.finished_at_ms);
        }
    }
    fixture_close(&f);
}

/* Goal: an empty queue lists nothing and is done at once. Method: no filter, and each state. */
TEST(listing_of_nothing) {
    fixture f;
    REQUIRE(fixture_open(&f, STEP));
    for (int s = JOBQ_STATE_NONE; s <= JOBQ_STATE_CANCELLED; s++) {
        jobq_filter filter = {.state = (jobq_state)s};
        int seen[1];
        walk(f.q, &filter, 4, seen, 0);
    }
    fixture_close(&f);
}

/* Goal: a cursor that was never zeroed is refused. Method: stages that no listing has, and those of
 * a listing by another filter: a key was there, or is there now. */
TEST(listing_with_a_wild_cursor) {
    static const int stages[] = {-1, 6, 8, 9, 77, INT_MAX, INT_MIN};
    static const jobq_filter keyed = {.kind = "k", .key = "x"};
    jobq_info info;
    size_t count = 1;
    fixture f;
    REQUIRE(fixture_open(&f, STEP));
    put(f.q, "k");
    for (size_t i = 0; i < sizeof stages / sizeof stages[0]; i++) {
        jobq_cursor cursor = {.stage = stages[i]};
        FAILS(JOBQ_MISUSE, jobq_list(f.q, NULL, &cursor, &info, 1, &count, &err));
        CHECK_INT(count, 0);
    }
    for (int i = 0; i < 2; i++) {
        jobq_cursor cursor = {.done = false};
        put_job(f.q, (jobq_job){.kind = "k", .key = i ? "y" : "x"});
        WORKS(jobq_list(f.q, i ? &keyed : NULL, &cursor, &info, 1, &count, &err));
        CHECK(count == 1 && !cursor.done);
        FAILS(JOBQ_MISUSE, jobq_list(f.q, i ? NULL : &keyed, &cursor, &info, 1, &count, &err));
        CHECK_INT(count, 0);
    }
    fixture_close(&f);
}

/* Goal: jobs that finished and are not kept are in no list, the newest neither. Method: five
 * jobs with nothing kept. */
TEST(listing_leaves_out_what_is_not_kept) {
    fixture f;
    int seen[6];
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .keep_done_ms = JOBQ_NONE}));
    handle(f.q, "k", do_nothing, NULL);
    for (int i = 0; i < 5; i++) put(f.q, "k");
    CHECK_INT(drain(f.q), 5);
    walk(f.q, NULL, 3, seen, 5);
    for (int i = 0; i <= 5; i++) CHECK_INT(seen[i], 0);
    fixture_close(&f);
}

/* Goal: a listing may go on while jobs change; those that stay are visited once. Method:
 * delete and run jobs between the calls. */
TEST(listing_survives_changes) {
    int64_t ids[MANY];
    int seen[MANY + 1] = {0};
    fixture f;
    jobq_cursor cursor;
    jobq_info infos[4];
    int call = 0;
    REQUIRE(fill(&f, ids));
    memset(&cursor, 0, sizeof cursor);
    while (!cursor.done) {
        size_t count = 0;
        REQUIRE_CODE(jobq_list(f.q, NULL, &cursor, infos, 4, &count, NULL), JOBQ_OK);
        for (size_t i = 0; i < count; i++) seen[infos[i].id]++;
        if (call == 1) WORKS(jobq_delete(f.q, ids[1], &err));
        if (call == 3) drain(f.q);
        if (call == 5) WORKS(jobq_delete(f.q, ids[MANY - 1], &err));
        call++;
    }
    for (int i = 0; i < MANY - 1; i++) CHECK_INT(seen[ids[i]], 1);
    CHECK_INT(seen[ids[MANY - 1]], 0);
    fixture_close(&f);
}

/* ---- A key ---- */

/* Calls of a listing, each with room for so many: the jobs that it tells of, in its order. */
static void list_ids(jobq *q, jobq_filter filter, size_t room, char *told, size_t size) {
    jobq_cursor cursor = {.done = false};
    jobq_info infos[16];
    size_t at = 0;
    told[0] = '\0';
    for (int calls = 0; !cursor.done && calls < 1000; calls++) {
        size_t count = 0;
        WORKS(jobq_list(q, &filter, &cursor, infos, room, &count, &err));
        for (size_t i = 0; i < count && at < size; i++)
            at += (size_t)snprintf(told + at, size - at, "%s%" PRId64, at ? "," : "", infos[i].id);
        if (!CHECK(count <= room)) return;
    }
    CHECK(cursor.done);
}

/* Those jobs, in that order: by one call that may look at no more than 8 rows, by calls for two,
 * and by calls that look at one row each. */
static void check_keyed(jobq *q, jobq_filter filter, const char *wanted) {
    jobq_cursor cursor = {.done = false};
    jobq_info infos[16];
    char told[256];
    size_t count = 0;
    filter.rows_max = 8;
    WORKS(jobq_list(q, &filter, &cursor, infos, 16, &count, &err));
    CHECK(cursor.done);
    list_ids(q, filter, 16, told, sizeof told);
    CHECK_STR(told, wanted);
    list_ids(q, filter, 2, told, sizeof told);
    CHECK_STR(told, wanted);
    filter.rows_max = 1;
    list_ids(q, filter, 2, told, sizeof told);
    CHECK_STR(told, wanted);
}

static void check_key(jobq *q, const char *kind, const char *key, const char *wanted) {
    check_keyed(q, (jobq_filter){.kind = kind, .key = key}, wanted);
}

/* Goal: the jobs of a key are found whatever else is there, those that ended as well, by their ids,
 * who has it now wherever that is; state and queue choose among them. Method: 400 others of the
 * kind, waiting and done; one job after the other has the key, and leaves it in each way; an
 * earlier one takes it again. */
TEST(jobs_of_a_key_are_found_at_once) {
    const jobq_filter one = {.kind = "k", .key = "x"};
    jobq_filter some = one;
    fixture f;
    REQUIRE(fixture_open(&f, STEP));
    for (int i = 1; i <= 298; i++) put(f.q, "k");
    put_job(f.q, (jobq_job){.kind = "other", .key = "x"});
    put_job(f.q, (jobq_job){.kind = "k", .key = "y"});
    check_key(f.q, "k", "x", "");
    handle(f.q, "k", do_nothing, NULL);
    CHECK_INT(put_job(f.q, (jobq_job){.kind = "k", .key = "x"}), 301);
    check_key(f.q, "k", "x", "301");
    CHECK_INT(drain(f.q), 300);
    CHECK_INT(put_job(f.q, (jobq_job){.kind = "k", .key = "x", .queue = "side"}), 302);
    CHECK_INT(put_job(f.q, (jobq_job){.kind = "k", .key = "x"}), 302);
    check_key(f.q, "k", "x", "301,302");
    WORKS(jobq_cancel(f.q, 302, &err));
    CHECK_INT(put_job(f.q, (jobq_job){.kind = "k", .key = "x", .delay_ms = JOBQ_HOUR}), 303);
    for (int i = 304; i <= 400; i++) put(f.q, "k");
    check_keyed(f.q, one, "301,302,303");
    some.state = JOBQ_STATE_CANCELLED;
    check_keyed(f.q, some, "302");
    some.queue = "default";
    check_keyed(f.q, some, "");
    some.state = JOBQ_STATE_PENDING;
    check_keyed(f.q, some, "303");
    check_key(f.q, "other", "x", "299");
    check_key(f.q, "k", "y", "300");
    check_key(f.q, "k", "z", "");
    check_key(f.q, "nobody", "x", "");
    WORKS(jobq_cancel(f.q, 303, &err));
    WORKS(jobq_retry_now(f.q, 302, &err));
    check_keyed(f.q, one, "301,302,303"); /* who has the key is none of the ends */
    WORKS(jobq_delete(f.q, 303, &err));
    check_keyed(f.q, one, "301,302");
    REQUIRE(fixture_reopen(&f));
    check_keyed(f.q, one, "301,302");
    fixture_close(&f);
}

/* Goal: a listing of a key that goes on while its jobs end and are tried again tells of each once.
 * Method: between its calls the one that has the key ends, and one that was told of, or was not
 * yet, takes it. */
TEST(jobs_of_a_key_keep_their_places) {
    for (int told = 0; told < 2; told++) {
        const jobq_filter filter = {.kind = "k", .key = "x"};
        jobq_cursor cursor = {.done = false};
        jobq_info infos[4];
        int64_t ids[5];
        size_t count = 0, rest = 0;
        fixture f;
        REQUIRE(fixture_open(&f, STEP));
        for (int i = 0; i < 4; i++) {
            ids[i] = put_job(f.q, (jobq_job){.kind = "k", .key = "x"});
            WORKS(jobq_cancel(f.q, ids[i], &err));
        }
        WORKS(jobq_retry_now(f.q, ids[told ? 2 : 0], &err));
        WORKS(jobq_list(f.q, &filter, &cursor, infos, 2, &count, &err));
        REQUIRE_INT(count, 2);
        CHECK(infos[0].id == ids[0] && infos[1].id == ids[1]);
        WORKS(jobq_cancel(f.q, ids[told ? 2 : 0], &err));
        WORKS(jobq_retry_now(f.q, ids[told ? 1 : 3], &err));
        WORKS(jobq_list(f.q, &filter, &cursor, infos, 4, &rest, &err));
        REQUIRE_INT(rest, 2);
        CHECK(infos[0].id == ids[2] && infos[1].id == ids[3]);
        CHECK(cursor.done);
        fixture_remove(&f);
    }
}

/* Goal: keys are found as jobq_enqueue finds them, of every length and of any bytes, with events
 * beside. Method: keys that differ in their last byte, case, or that begin another one. */
TEST(keys_are_told_apart) {
    char longest[JOBQ_KEY_MAX + 1], other[JOBQ_KEY_MAX + 1];
    const char *const keys[] = {"a", "A", "ab", "a ", "\xff", "\xff\xfe", "lost:7", "%", longest,
                                other};
    fixture f;
    memset(longest, 'k', JOBQ_KEY_MAX);
    longest[JOBQ_KEY_MAX] = '\0';
    memcpy(other, longest, sizeof other);
    other[JOBQ_KEY_MAX - 1] = 'K';
    REQUIRE(fixture_open(&f, STEP));
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        put_job(f.q, (jobq_job){.kind = "k", .key = keys[i]});
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        char wanted[24];
        snprintf(wanted, sizeof wanted, "%d", (int)i + 1);
        check_key(f.q, "k", keys[i], wanted);
    }
    fixture_close(&f);
}

/* In its transaction: what it has stored is there for itself, and only where there is one
 * connection. */
static jobq_outcome find_in_transaction(jobq_run *run, void *ctx) {
    jobq *q = jobq_run_handle(run);
    bool memory = *(bool *)ctx;
    sqlite3 *db = NULL;
    check_key(q, "k", "x", "1,2");
    WORKS(jobq_run_db(run, &db, &err));
    CHECK_INT(put_job(q, (jobq_job){.kind = "k", .key = "mine"}), 3);
    check_key(q, "k", "mine", memory ? "3" : "");
    check_key(q, "k", "x", "1,2");
    return JOBQ_DONE;
}

/* Goal: who looks for a key finds the same as owner, as client, in memory, and in a handler with a
 * transaction. Method: one job that ended, one that has the key now and runs. */
TEST(jobs_of_a_key_everywhere) {
    for (int i = 0; i < 2; i++) {
        bool memory = i;
        const char *path = memory ? ":memory:" : test_path("q.db");
        jobq *client = NULL;
        jobq *q = open_queue_at(path, (jobq_options){.workers = JOBQ_NONE, .shared = !memory});
        REQUIRE(q != NULL);
        WORKS(jobq_cancel(q, put_job(q, (jobq_job){.kind = "k", .key = "x"}), &err));
        put_job(q, (jobq_job){.kind = "k", .key = "x"});
        check_key(q, "k", "x", "1,2");
        handle(q, "k", find_in_transaction, &memory);
        WORKS(jobq_step(q, NULL, &err));
        check_key(q, "k", "mine", "3");
        check_keyed(q, (jobq_filter){.kind = "k", .key = "x", .state = JOBQ_STATE_DONE}, "2");
        if (!memory)
            WORKS(jobq_open(path, &(jobq_options){.role = JOBQ_CLIENT, .shared = true}, &client,
                            &err));
        if (client) check_key(client, "k", "x", "1,2");
        if (client) CHECK_INT(put_job(client, (jobq_job){.kind = "k", .key = "new"}), 4);
        if (client) check_key(client, "k", "new", "4");
        if (client) CHECK_CODE(jobq_close(&client), JOBQ_OK);
        close_queue(&q);
    }
}

/* ---- One queue, one kind ---- */

enum { OTHERS = 5000 };

/* Stores so many of the others, ready or parked. */
static void put_others(jobq *q, const char *kind, const char *queue) {
    const jobq_job job = {.kind = kind, .queue = queue};
    for (int i = 0; i < OTHERS / 1000; i++) put_many(q, &job, 1000);
}

/* One call that may look at 50 rows tells of these, and with more calls nothing comes but them. */
static void check_page(jobq *q, jobq_filter filter, const char *wanted) {
    jobq_cursor cursor = {.done = false};
    jobq_info infos[16];
    char told[256] = "";
    size_t count = 0, at = 0;
    filter.rows_max = 50;
    WORKS(jobq_list(q, &filter, &cursor, infos, 16, &count, &err));
    for (size_t i = 0; i < count; i++)
        at += (size_t)snprintf(told + at, sizeof told - at, "%s%" PRId64, i ? "," : "",
                               infos[i].id);
    CHECK_STR(told, wanted);
    for (size_t room = 1; room <= 2; room++) {
        filter.rows_max = room == 1 ? 2 : 0;
        list_ids(q, filter, room, told, sizeof told);
        CHECK_STR(told, wanted);
    }
}

/* Goal: a page of one queue's pending jobs does not look at the ready jobs of others, and misses
 * none of its own: ready, parked, scheduled. Method: 5,000 ready in queues that come
 * before and after; 50 rows may be looked at; queues that have no ready job. */
TEST(pending_jobs_of_a_queue_are_found_at_once) {
    const jobq_filter empty = {.state = JOBQ_STATE_PENDING, .queue = "empty"};
    jobq_filter filter = {.state = JOBQ_STATE_PENDING, .queue = "mine"};
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .durability = JOBQ_RELAXED}));
    handle(f.q, "k", do_nothing, NULL);
    put_job(f.q, (jobq_job){.kind = "nobody", .queue = "mine"});
    put_job(f.q, (jobq_job){.kind = "nobody", .queue = "empty"});
    WORKS(jobq_delete(f.q, 2, &err));
    put_job(f.q, (jobq_job){.kind = "k", .queue = "before"});
    put_job(f.q, (jobq_job){.kind = "k", .queue = "mine", .delay_ms = JOBQ_HOUR});
    put_job(f.q, (jobq_job){.kind = "k", .queue = "mine", .run_at_ms = T0 + JOBQ_DAY});
    put_job(f.q, (jobq_job){.kind = "k", .queue = "late", .delay_ms = JOBQ_HOUR});
    put_others(f.q, "k", "before");
    put_job(f.q, (jobq_job){.kind = "k", .queue = "last"});
    put_others(f.q, "k", "after");
    CHECK_INT(put_job(f.q, (jobq_job){.kind = "k", .queue = "mine"}), 2 * OTHERS + 8);
    CHECK_INT(put_job(f.q, (jobq_job){.kind = "k", .queue = "mine", .priority = -1}),
              2 * OTHERS + 9);
    check_page(f.q, filter, "10009,10008,1,4,5");
    filter.kind = "k";
    check_page(f.q, filter, "10009,10008,4,5");
    filter.queue = "late";
    check_page(f.q, filter, "6");
    filter.queue = "last";
    check_page(f.q, filter, "5007");
    check_page(f.q, empty, "");
    fixture_close(&f);
}

/* Goal: ready jobs of a queue come before all that wait for their time. Method: 5,000 scheduled in
 * another queue, by each clock, and as many parked. */
TEST(ready_jobs_of_a_queue_come_first) {
    jobq_filter filter = {.state = JOBQ_STATE_PENDING, .queue = "mine", .rows_max = 2};
    const jobq_job delayed = {.kind = "k", .delay_ms = JOBQ_HOUR};
    const jobq_job dated = {.kind = "k", .run_at_ms = T0 + JOBQ_HOUR};
    jobq_cursor cursor = {.done = false};
    jobq_info info;
    size_t count = 0;
    char told[64];
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .durability = JOBQ_RELAXED}));
    handle(f.q, "k", do_nothing, NULL);
    for (int i = 0; i < OTHERS / 1000; i++) put_many(f.q, &delayed, 1000);
    for (int i = 0; i < OTHERS / 1000; i++) put_many(f.q, &dated, 1000);
    put_others(f.q, "nobody", "default");
    put_job(f.q, (jobq_job){.kind = "k", .queue = "mine", .delay_ms = JOBQ_DAY});
    CHECK_INT(put_job(f.q, (jobq_job){.kind = "k", .queue = "mine"}), 3 * OTHERS + 2);
    WORKS(jobq_list(f.q, &filter, &cursor, &info, 1, &count, &err));
    CHECK(count == 1 && info.id == 3 * OTHERS + 2);
    filter.rows_max = 0;
    list_ids(f.q, filter, 2, told, sizeof told);
    CHECK_STR(told, "15002,15001");
    fixture_close(&f);
}

/* Goal: a page of one kind's pending jobs does not look at others that wait for their handlers, and
 * misses none that are scheduled or ready behind them. Method: 5,000 parked of kinds that come
 * before and after; 50 rows may be looked at; a kind that has none before its gate. */
TEST(parked_jobs_of_a_kind_are_found_at_once) {
    jobq_filter filter = {.state = JOBQ_STATE_PENDING, .kind = "mine"};
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .durability = JOBQ_RELAXED}));
    handle(f.q, "ready", do_nothing, NULL);
    put(f.q, "ready");
    put_others(f.q, "first", "default");
    put(f.q, "mine");
    put(f.q, "mine");
    put_others(f.q, "second", "default");
    put_job(f.q, (jobq_job){.kind = "mine", .delay_ms = JOBQ_HOUR});
    put_job(f.q, (jobq_job){.kind = "later", .run_at_ms = T0 + JOBQ_HOUR});
    put_job(f.q, (jobq_job){.kind = "later", .delay_ms = JOBQ_HOUR});
    check_page(f.q, filter, "5002,5003,10004");
    filter.kind = "later";
    check_page(f.q, filter, "10006,10005");
    filter.kind = "ready";
    check_page(f.q, filter, "1");
    fixture_close(&f);
}

/* ---- The dead letter box ---- */

static jobq_outcome fail_mutely(jobq_run *run, void *ctx) {
    (void)run, (void)ctx;
    return JOBQ_FAIL;
}

static jobq_outcome fail_aloud(jobq_run *run, void *ctx) {
    (void)ctx;
    return jobq_fail(run, "no");
}

/* Those failed, in that order, whoever tells of them; looking at no other row finds them. */
static void check_dead(fixture *f, const char *wanted) {
    jobq_filter filter = {.state = JOBQ_STATE_FAILED, .rows_max = 16};
    jobq_cursor cursor = {.done = false};
    jobq_info infos[16];
    char told[256] = "", fault[256];
    size_t count = 0, at = 0;
    WORKS(jobq_list(f->q, &filter, &cursor, infos, 16, &count, &err));
    for (size_t i = 0; i < count; i++) {
        CHECK_INT(infos[i].state, JOBQ_STATE_FAILED);
        at += (size_t)snprintf(told + at, sizeof told - at, "%s%" PRId64, i ? "," : "",
                               infos[i].id);
    }
    CHECK_STR(told, wanted);
    sql_text(f->path, "SELECT coalesce(group_concat(id), '') FROM jobq_dead", told, sizeof told);
    CHECK_STR(told, wanted);
    CHECK_STR(fault_of(f->q, fault), "");
}

static void dead_letters_begin(fixture *f, jobq_options options) {
    REQUIRE(fixture_open(f, options));
    handle(f->q, "done", do_nothing, NULL);
    handle(f->q, "mute", fail_mutely, NULL);
    handle(f->q, "loud", fail_aloud, NULL);
}

/* Goal: who failed is found whatever else has ended, in one look, in the order in which they will
 * be forgotten, from the failure on until it is over: tried again, deleted, forgotten. Method: many
 * done; some that fail together and some that say why; each way out. */
TEST(dead_letters_are_found_at_once) {
    fixture f;
    dead_letters_begin(&f, (jobq_options){.workers = JOBQ_NONE, .keep_done_ms = 8 * JOBQ_DAY,
                                          .keep_failed_ms = 9 * JOBQ_DAY});
    for (int i = 1; i <= 40; i++) put(f.q, "done");
    for (int i = 41; i <= 43; i++) put(f.q, "mute");
    for (int i = 44; i <= 46; i++) put(f.q, "loud");
    check_dead(&f, "");
    CHECK_INT(drain(f.q), 46);
    check_dead(&f, "41,42,43,44,45,46");
    advance(f.q, JOBQ_HOUR);
    WORKS(jobq_retry_now(f.q, 41, &err));
    WORKS(jobq_retry_now(f.q, 44, &err));
    check_dead(&f, "42,43,45,46");
    CHECK_INT(drain(f.q), 2);
    check_dead(&f, "42,43,45,46,41,44");
    WORKS(jobq_delete(f.q, 43, &err));
    WORKS(jobq_delete(f.q, 44, &err));
    check_dead(&f, "42,45,46,41");
    fixture_reopen(&f);
    check_dead(&f, "42,45,46,41");
    advance(f.q, 9 * JOBQ_DAY - JOBQ_HOUR / 2);
    check_dead(&f, "41");
    advance(f.q, JOBQ_HOUR);
    check_dead(&f, "");
    CHECK_INT(total(f.q), 0);
    fixture_close(&f);
}

static jobq_outcome fail_together(jobq_run *run, void *ctx) {
    (void)run;
    gate_pass((gate *)ctx);
    return JOBQ_FAIL;
}

/* Goal: the same of jobs that are settled by one statement. Method: three that return while another
 * connection has the file. */
TEST(dead_letters_that_come_together) {
    static const jobq_job job = {.kind = "k"};
    fixture f;
    gate g;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 3, .shared = true, .busy_ms = 5}));
    gate_init(&g);
    handle(f.q, "k", fail_together, &g);
    put_many(f.q, &job, 3);
    start(f.q);
    settle_together(&f, &g, 3, "");
    WORKS(jobq_stop(f.q, JOBQ_NEVER, &err));
    check_dead(&f, "1,2,3");
    gate_free(&g);
    fixture_close(&f);
}

/* Goal: what is not kept is in no box; what is too much leaves it, the oldest first. Method: jobs
 * that fail where nothing of them is kept, and where two of all are. */
TEST(dead_letters_that_are_not_kept) {
    fixture f;
    dead_letters_begin(&f, (jobq_options){.workers = JOBQ_NONE, .keep_failed_ms = JOBQ_NONE});
    put(f.q, "mute");
    put(f.q, "mute");
    put(f.q, "loud");
    CHECK_INT(drain(f.q), 3);
    check_dead(&f, "");
    fixture_close(&f);
    dead_letters_begin(&f, (jobq_options){.workers = JOBQ_NONE, .keep_max = 2});
    for (int i = 4; i <= 6; i++) put(f.q, "mute");
    put(f.q, "loud");
    CHECK_INT(drain(f.q), 4);
    check_dead(&f, "4,5,6,7");
    advance(f.q, 2 * JOBQ_MINUTE);
    check_dead(&f, "6,7");
    fixture_close(&f);
}

/* ---- Counts and statistics ---- */

/* ---- Beside a long look ---- */

struct long_look {
    jobq *q;
    sqlite3 *reader;
    int32_t steps, looked; /* atomic */
};

static int keep_the_reader(sqlite3 *db, jobq_connection which, jobq_stage stage, jobq_error *err,
                           void *ctx) {
    (void)stage, (void)err;
    if (which == JOBQ_CONNECTION_READER) ((struct long_look *)ctx)->reader = db;
    return 0;
}

/* Within a slice: as slow as it takes until the other one has looked. */
static int make_it_long(void *arg) {
    struct long_look *l = (struct long_look *)arg;
    __atomic_add_fetch(&l->steps, 1, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&l->looked, __ATOMIC_SEQ_CST)) test_pause_ms(1);
    return 0;
}

static void *list_for_long(void *arg) {
    struct long_look *l = (struct long_look *)arg;
    jobq_filter filter = {.queue = "rare", .rows_max = INT64_MAX};
    jobq_cursor cursor = {.done = false};
    jobq_info info[2];
    size_t count = 9;
    WORKS(jobq_list(l->q, &filter, &cursor, info, 2, &count, &err));
    CHECK(cursor.done && count == 1);
    return NULL;
}

/* Goal: who looks at one job waits for no whole listing of another thread. Method: that one is made
 * slow until the other one has been answered, and goes on then; one job of 30,000 fits. */
TEST(look_comes_between_the_slices_of_a_listing) {
    static const jobq_job job = {.kind = "k"};
    struct long_look l = {.q = NULL};
    pthread_t thread;
    int32_t steps;
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .durability = JOBQ_RELAXED,
                                            .on_connect = keep_the_reader, .ctx = &l}));
    REQUIRE(l.reader != NULL);
    for (int i = 0; i < 30; i++) put_many(f.q, &job, 1000);
    put_job(f.q, (jobq_job){.kind = "k", .queue = "rare"});
    l.q = f.q;
    sqlite3_progress_handler(l.reader, 1000, make_it_long, &l);
    thread = thread_start(list_for_long, &l);
    while (!__atomic_load_n(&l.steps, __ATOMIC_SEQ_CST)) test_pause_ms(1);
    CHECK_INT(state_of(f.q, 1), JOBQ_STATE_PENDING);
    steps = __atomic_load_n(&l.steps, __ATOMIC_SEQ_CST);
    __atomic_store_n(&l.looked, 1, __ATOMIC_SEQ_CST);
    pthread_join(thread, NULL);
    if (!CHECK(l.steps > steps + 1)) test_note("%d of %d", (int)steps, (int)l.steps);
    sqlite3_progress_handler(l.reader, 0, NULL, NULL);
    fixture_close(&f);
}

/* Goal: counts add up and agree with the listing. Method: the mixed queue, each state. */
TEST(counts_agree_with_listing) {
    int64_t ids[MANY];
    fixture f;
    jobq_counts c;
    int64_t by_state[JOBQ_STATE_CANCELLED + 1] = {0};
    REQUIRE(fill(&f, ids));
    for (int i = 0; i < MANY; i++) by_state[state_of(f.q, ids[i])]++;
    c = count_all(f.q);
    CHECK_INT(c.ready + c.scheduled + c.parked, by_state[JOBQ_STATE_PENDING]);
    CHECK_INT(c.running, 0);
    CHECK_INT(c.done, by_state[JOBQ_STATE_DONE]);
    CHECK_INT(c.failed, by_state[JOBQ_STATE_FAILED]);
    CHECK_INT(c.cancelled, by_state[JOBQ_STATE_CANCELLED]);
    CHECK_INT(total(f.q), MANY);
    CHECK(c.ready > 0 && c.scheduled > 0 && c.parked > 0 && c.done > 0 && c.failed > 0);
    fixture_close(&f);
}

/* Goal: ready, scheduled and parked are told apart. Method: one, two and three of them. */
TEST(pending_jobs_are_told_apart) {
    fixture f;
    jobq_counts c;
    REQUIRE(fixture_open(&f, STEP));
    handle(f.q, "k", do_nothing, NULL);
    put(f.q, "k");
    for (int i = 0; i < 2; i++) put_job(f.q, (jobq_job){.kind = "k", .delay_ms = 1000});
    for (int i = 0; i < 3; i++) put(f.q, "nobody");
    c = count_all(f.q);
    CHECK_INT(c.ready, 1);
    CHECK_INT(c.scheduled, 2);
    CHECK_INT(c.parked, 3);
    jobq_clock_advance(f.clock, 1000);
    c = count_all(f.q);
    CHECK_INT(c.ready, 3);
    CHECK_INT(c.scheduled, 0);
    fixture_close(&f);
}

/* Goal: many rows are counted right. Method: 25,000, more than two slices. */
TEST(counts_of_many_rows) {
    enum { BATCH = 1000, BATCHES = 25 };
    static jobq_job jobs[BATCH];
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE,
                                            .durability = JOBQ_RELAXED}));
    handle(f.q, "k", do_nothing, NULL);
    for (int i = 0; i < BATCH; i++)
        jobs[i] = (jobq_job){.kind = "k", .delay_ms = i % 5 == 0 ? JOBQ_DAY : 0};
    for (int i = 0; i < BATCHES; i++)
        WORKS(jobq_enqueue_many(f.q, jobs, BATCH, NULL, &err));
    CHECK_INT(total(f.q), BATCH * BATCHES);
    CHECK_INT(count_all(f.q).ready, BATCH * BATCHES / 5 * 4);
    CHECK_INT(count_all(f.q).scheduled, BATCH * BATCHES / 5);
    fixture_close(&f);
}

/* Goal: statistics count what happened since open. Method: a known number of each, then
 * reopen: all zero again. */
TEST(statistics_count_since_open) {
    fixture f;
    jobq_stats s;
    REQUIRE(fixture_open(&f, STEP));
    handle(f.q, "done", do_nothing, NULL);
    handle(f.q, "fail", fail_always, NULL);
    handle(f.q, "retry", retry_always, NULL);
    for (int i = 0; i < 4; i++) put(f.q, "done");
    for (int i = 0; i < 2; i++) put(f.q, "fail");
    put(f.q, "retry");
    WORKS(jobq_cancel(f.q, put(f.q, "done"), &err));
    CHECK_INT(drain(f.q), 7);
    s = stats_of(f.q);
    CHECK_INT(s.enqueued, 8);
    CHECK_INT(s.started, 7);
    CHECK_INT(s.done, 4);
    CHECK_INT(s.failed, 2);
    CHECK_INT(s.retried, 1);
    CHECK_INT(s.cancelled, 1);
    CHECK_INT(s.crashed, 0);
    CHECK_INT(s.lost_outcomes, 0);
    CHECK(s.commits > 0);
    CHECK(s.wal_pages > 0);
    CHECK_INT(s.running, 0);
    CHECK(!s.started_now);
    CHECK_CODE(s.failed_code, JOBQ_OK);
    REQUIRE(fixture_reopen(&f));
    s = stats_of(f.q);
    CHECK_INT(s.enqueued + s.started + s.done + s.failed + s.retried + s.cancelled, 0);
    fixture_close(&f);
}

/* Goal: jobs that a key kept out do not count as enqueued. Method: a batch with one. */
TEST(statistics_leave_out_conflicts) {
    const jobq_job jobs[] = {{.kind = "k", .key = "x"}, {.kind = "k", .key = "x"}};
    fixture f;
    REQUIRE(fixture_open(&f, STEP));
    WORKS(jobq_enqueue_many(f.q, jobs, 2, NULL, &err));
    CHECK_INT(stats_of(f.q).enqueued, 1);
    fixture_close(&f);
}

/* ---- Events ---- */

/* Opens with a log of events. */
static bool open_logged(fixture *f, event_log **log, int workers) {
    *log = event_log_new();
    return fixture_open(f, (jobq_options){.workers = workers, .on_event = log_event,
                                          .ctx = *log});
}

/* A job's events form a chain: it begins with NONE to PENDING, and each goes on where the last
 * one ended; a start need not be told. */
static void check_chain(const jobq_event *rows, size_t n) {
    REQUIRE(n > 0);
    CHECK_INT(rows[0].from, JOBQ_STATE_NONE);
    CHECK_INT(rows[0].to, JOBQ_STATE_PENDING);
    for (size_t i = 1; i < n; i++) {
        CHECK(rows[i].from == rows[i - 1].to ||
              (rows[i - 1].to == JOBQ_STATE_PENDING && rows[i].from == JOBQ_STATE_RUNNING));
        CHECK(rows[i].now_ms >= rows[i - 1].now_ms);
    }
}

static jobq_outcome retry_first(jobq_run *run, void *ctx) {
    jobq_clock_advance((jobq_clock *)ctx, 70);
    return jobq_run_attempt(run) == 1 ? JOBQ_RETRY : JOBQ_DONE;
}

/* The events that settled a run, in order. */
static size_t settled_only(jobq_event *rows, size_t n) {
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (rows[i].outcome != JOBQ_OUTCOME_NONE) rows[kept++] = rows[i];
    return kept;
}

/* Goal: events tell kind, states, attempt, outcome, and how long a run waited and took.
 * Method: a job that is retried once; the clock moves before and inside the runs. */
TEST(events_have_their_fields) {
    event_log *log;
    fixture f;
    jobq_event rows[16];
    size_t n;
    int64_t id;
    REQUIRE(open_logged(&f, &log, JOBQ_NONE));
    handle_kind(f.q, (jobq_kind){.name = "k", .run = retry_first, .ctx = f.clock,
                                 .jitter_percent = JOBQ_NONE});
    id = put(f.q, "k");
    jobq_clock_advance(f.clock, 500);
    CHECK_INT(drain(f.q), 1); /* due at 0, started at 500, settled at 570, due at 1570 */
    jobq_clock_advance(f.clock, 1300);
    CHECK_INT(drain(f.q), 1); /* started at 1870, settled at 1940 */
    n = events_of(log, id, rows, 16);
    REQUIRE(n <= 16);
    check_chain(rows, n);
    CHECK_STR(rows[0].kind, "k");
    CHECK_INT(rows[0].now_ms, T0);
    n = settled_only(rows, n);
    REQUIRE_INT(n, 2);
    CHECK_INT(rows[0].outcome, JOBQ_RETRY);
    CHECK_INT(rows[0].to, JOBQ_STATE_PENDING);
    CHECK_INT(rows[0].attempt, 1);
    CHECK_INT(rows[0].wait_ms, 500);
    CHECK_INT(rows[0].run_ms, 70);
    CHECK_INT(rows[0].now_ms, T0 + 570);
    CHECK_INT(rows[1].outcome, JOBQ_DONE);
    CHECK_INT(rows[1].to, JOBQ_STATE_DONE);
    CHECK_INT(rows[1].attempt, 2);
    CHECK_INT(rows[1].wait_ms, 300);
    CHECK_INT(rows[1].run_ms, 70);
    fixture_close(&f);
    event_log_free(log);
}

/* Goal: cancel and retry now are told as well, with no outcome of a run. Method: the last
 * event after each. */
TEST(events_of_changes) {
    event_log *log;
    fixture f;
    jobq_event rows[16];
    size_t n;
    int64_t id;
    REQUIRE(open_logged(&f, &log, JOBQ_NONE));
    handle(f.q, "k", do_nothing, NULL);
    id = put(f.q, "k");
    WORKS(jobq_cancel(f.q, id, &err));
    n = events_of(log, id, rows, 16);
    CHECK_INT(rows[n - 1].from, JOBQ_STATE_PENDING);
    CHECK_INT(rows[n - 1].to, JOBQ_STATE_CANCELLED);
    CHECK_INT(rows[n - 1].outcome, JOBQ_OUTCOME_NONE);
    WORKS(jobq_retry_now(f.q, id, &err));
    n = events_of(log, id, rows, 16);
    CHECK_INT(rows[n - 1].from, JOBQ_STATE_CANCELLED);
    CHECK_INT(rows[n - 1].to, JOBQ_STATE_PENDING);
    CHECK_INT(drain(f.q), 1);
    n = events_of(log, id, rows, 16);
    check_chain(rows, n);
    CHECK_INT(rows[n - 1].to, JOBQ_STATE_DONE);
    fixture_close(&f);
    event_log_free(log);
}

/* Goal: a call that stored nothing tells nothing. Method: a key conflict and a bad batch. */
TEST(no_events_of_what_did_not_happen) {
    const jobq_job jobs[] = {{.kind = "k"}, {.kind = ""}};
    event_log *log;
    fixture f;
    REQUIRE(open_logged(&f, &log, JOBQ_NONE));
    put_job(f.q, (jobq_job){.kind = "k", .key = "x"});
    CHECK_INT(log->n, 1);
    CHECK_CODE(jobq_enqueue(f.q, &(jobq_job){.kind = "k", .key = "x"}, NULL, NULL), JOBQ_OK);
    FAILS(JOBQ_BAD_NAME, jobq_enqueue_many(f.q, jobs, 2, NULL, &err));
    CHECK_INT(log->n, 1);
    fixture_close(&f);
    event_log_free(log);
}

struct watcher {
    jobq *q; /* NULL until the queue is open */
    int events, wrong;
};

/* In step mode nothing else runs, so what get tells is the state that the event tells. */
static void compare_with_get(const jobq_event *event, void *ctx) {
    struct watcher *w = (struct watcher *)ctx;
    jobq_state state;
    if (!w->q || event->to == JOBQ_STATE_RUNNING) return;
    state = state_of(w->q, event->id);
    w->events++;
    if (state != event->to) w->wrong++;
}

/* Goal: an event comes after its commit: get tells the new state inside the callback. Method:
 * enqueue, run, fail, cancel, one step at a time. */
TEST(events_come_after_the_commit) {
    struct watcher w = {NULL, 0, 0};
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE, .on_event = compare_with_get,
                                            .ctx = &w}));
    w.q = f.q;
    handle(f.q, "done", do_nothing, NULL);
    handle(f.q, "fail", fail_always, NULL);
    handle(f.q, "retry", retry_always, NULL);
    put(f.q, "done");
    put(f.q, "fail");
    put(f.q, "retry");
    for (int i = 0; i < 3; i++) WORKS(jobq_step(f.q, NULL, &err));
    WORKS(jobq_cancel(f.q, put(f.q, "done"), &err));
    CHECK(w.events >= 8);
    CHECK_INT(w.wrong, 0);
    fixture_close(&f);
}

/* The same for a pool, where the test looks at the numbers from another thread. */
struct pool_watcher {
    jobq *q;
    pthread_mutex_t mutex; /* guards the rest */
    int events, wrong;
};

static void compare_terminal(const jobq_event *event, void *ctx) {
    struct pool_watcher *w = (struct pool_watcher *)ctx;
    bool wrong;
    if (event->to != JOBQ_STATE_DONE) return;
    wrong = state_of(w->q, event->id) != JOBQ_STATE_DONE;
    pthread_mutex_lock(&w->mutex);
    w->events++;
    w->wrong += wrong;
    pthread_mutex_unlock(&w->mutex);
}

static int events_seen(struct pool_watcher *w) {
    int n;
    pthread_mutex_lock(&w->mutex);
    n = w->events;
    pthread_mutex_unlock(&w->mutex);
    return n;
}

/* Goal: the same with a pool: what an event tells as terminal is terminal. Method: 100 jobs;
 * the callback looks at each terminal job; the queue is closed when all were told. */
TEST(events_of_a_pool_come_after_the_commit) {
    struct pool_watcher w = {NULL, PTHREAD_MUTEX_INITIALIZER, 0, 0};
    fixture f;
    int64_t ids[100];
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 2, .on_event = compare_terminal,
                                            .ctx = &w}));
    w.q = f.q;
    handle(f.q, "k", do_nothing, NULL);
    start(f.q);
    for (int i = 0; i < 100; i++) ids[i] = put(f.q, "k");
    for (int i = 0; i < 100; i++) finish(f.q, ids[i]);
    while (events_seen(&w) < 100) sched_yield();
    fixture_close(&f);
    CHECK_INT(w.events, 100);
    CHECK_INT(w.wrong, 0);
}

static int64_t no_delay(int attempt, int64_t id, void *ctx) {
    (void)attempt;
    (void)id;
    (void)ctx;
    return 0;
}

/* Goal: with a pool the events of each job come in order, and one at a time. Method: 200 jobs
 * that are retried once at once, from 4 workers; each job's chain. */
TEST(events_are_in_order_for_each_job) {
    enum { N = 200 };
    event_log *log;
    fixture f;
    int64_t ids[N];
    REQUIRE(open_logged(&f, &log, 4));
    handle_kind(f.q, (jobq_kind){.name = "k", .run = retry_first, .ctx = f.clock,
                                 .backoff = no_delay});
    start(f.q);
    for (int i = 0; i < N; i++) ids[i] = put(f.q, "k");
    for (int i = 0; i < N; i++) CHECK_INT(finish(f.q, ids[i]).attempt, 2);
    fixture_close(&f); /* all events have come, none comes any more */
    for (int i = 0; i < N; i++) {
        jobq_event rows[16];
        size_t n = events_of(log, ids[i], rows, 16);
        check_chain(rows, n);
        n = settled_only(rows, n);
        REQUIRE_INT(n, 2);
        CHECK_INT(rows[0].outcome, JOBQ_RETRY);
        CHECK_INT(rows[1].outcome, JOBQ_DONE);
    }
    event_log_free(log);
}

struct chain_of_jobs {
    jobq *q;
    int left;
};

static void enqueue_next(const jobq_event *event, void *ctx) {
    struct chain_of_jobs *c = (struct chain_of_jobs *)ctx;
    if (event->to != JOBQ_STATE_DONE || c->left-- <= 0) return;
    CHECK_CODE(jobq_enqueue(c->q, &(jobq_job){.kind = "k"}, NULL, NULL), JOBQ_OK);
}

/* Goal: an event callback may enqueue. Method: each done job is followed by another, ten
 * times, in step mode and with a pool. */
TEST(event_callback_may_enqueue) {
    static const int workers[] = {JOBQ_NONE, 2};
    for (int i = 0; i < 2; i++) {
        struct chain_of_jobs c = {NULL, 10};
        fixture f;
        REQUIRE(fixture_open(&f, (jobq_options){.workers = workers[i],
                                                .on_event = enqueue_next, .ctx = &c}));
        c.q = f.q;
        handle(f.q, "k", do_nothing, NULL);
        if (workers[i] > 0) start(f.q);
        put(f.q, "k");
        if (workers[i] < 0) CHECK_INT(drain(f.q), 11);
        while (workers[i] > 0 && count_all(f.q).done < 11) sched_yield();
        CHECK_INT(count_all(f.q).done, 11);
        fixture_remove(&f);
    }
}

struct looker {
    jobq *q;
    pthread_mutex_t mutex; /* guards what follows */
    bool end;
    int wrong;
};

/* Nothing of it is ever started. */
static void *look_for_the_second(void *arg) {
    struct looker *l = (struct looker *)arg;
    bool end = false;
    while (!end) {
        bool wrong = look(l->q, 2).state != JOBQ_STATE_PENDING;
        pthread_mutex_lock(&l->mutex);
        l->wrong += wrong;
        end = l->end;
        pthread_mutex_unlock(&l->mutex);
    }
    return NULL;
}

static jobq_outcome run_until_stopped(jobq_run *run, void *ctx) {
    gate_pass((gate *)ctx);
    while (!jobq_should_stop(run)) test_pause_ms(1);
    return JOBQ_RETRY;
}

/* Goal: a job that is claimed and given back, and never started, is never seen as running. Method:
 * the only worker has another; the pool is started and stopped again and again. */
TEST(claimed_job_is_never_seen_as_running) {
    struct looker l = {NULL, PTHREAD_MUTEX_INITIALIZER, false, 0};
    pthread_t thread;
    gate g;
    gate_init(&g);
    gate_open(&g);
    l.q = open_pool(test_path("q.db"), 1);
    REQUIRE(l.q != NULL);
    handle(l.q, "k", run_until_stopped, &g);
    WORKS(jobq_enqueue(l.q, &(jobq_job){.kind = "k", .priority = -1}, NULL, &err));
    put(l.q, "k");
    thread = thread_start(look_for_the_second, &l);
    for (int i = 1; i <= TEST_SCALED(100); i++) {
        start(l.q);
        gate_await(&g, i);
        WORKS(jobq_stop(l.q, JOBQ_NEVER, &err));
    }
    pthread_mutex_lock(&l.mutex);
    l.end = true;
    pthread_mutex_unlock(&l.mutex);
    pthread_join(thread, NULL);
    CHECK_INT(l.wrong, 0);
    close_queue(&l.q);
    gate_free(&g);
}

TEST_MAIN(running_job_is_seen_as_running, times_are_of_the_queues_clock, get_fills_everything,
          short_buffers_get_the_beginning, missing_bytes_are_no_bytes,
          listing_visits_each_match_once, listing_with_a_row_budget, row_budget_bounds_a_call,
          listing_without_a_state_is_by_id, listing_tells_what_get_tells, listing_of_nothing,
          listing_with_a_wild_cursor, listing_leaves_out_what_is_not_kept,
          listing_survives_changes, jobs_of_a_key_are_found_at_once,
          jobs_of_a_key_keep_their_places, keys_are_told_apart, jobs_of_a_key_everywhere,
          pending_jobs_of_a_queue_are_found_at_once, ready_jobs_of_a_queue_come_first,
          parked_jobs_of_a_kind_are_found_at_once,
          dead_letters_are_found_at_once, dead_letters_that_are_not_kept,
          dead_letters_that_come_together,
          look_comes_between_the_slices_of_a_listing,
          counts_agree_with_listing, pending_jobs_are_told_apart, counts_of_many_rows,
          statistics_count_since_open, statistics_leave_out_conflicts, events_have_their_fields,
          events_of_changes, no_events_of_what_did_not_happen, events_come_after_the_commit,
          events_of_a_pool_come_after_the_commit, events_are_in_order_for_each_job,
          event_callback_may_enqueue,
          claimed_job_is_never_seen_as_running)
