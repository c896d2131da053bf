/* enqueue.c - storing jobs: one and many, times, payloads, keys, and from everywhere:
 * threads, handlers, other processes. */
#include "helpers.h"

#include <sched.h>

static bool open_step(fixture *f, jobq_options options) {
    options.workers = JOBQ_NONE;
    return fixture_open(f, options);
}

/* ---- One ---- */

/* Goal: a plain job is pending, due now, of priority 0 in queue "default". Method: enqueue a
 * name only and look. */
TEST(plain_job_has_the_defaults) {
    fixture f;
    jobq_info info;
    REQUIRE(open_step(&f, (jobq_options){0}));
    handle(f.q, "k", do_nothing, NULL);
    info = look(f.q, put(f.q, "k"));
    CHECK_INT(info.state, JOBQ_STATE_PENDING);
    CHECK(!info.parked && !info.scheduled);
    CHECK_STR(info.kind, "k");
    CHECK_STR(info.queue, "default");
    CHECK_STR(info.key, "");
    CHECK_STR(info.error, "");
    CHECK_INT(info.priority, 0);
    CHECK_INT(info.attempt, 1);
    CHECK_INT(info.runs, 0);
    CHECK_INT(info.crashes, 0);
    CHECK_INT(info.created_at_ms, T0);
    CHECK_INT(info.run_at_ms, T0);
    CHECK_INT(info.finished_at_ms, 0);
    CHECK_INT(info.payload_size, 0);
    CHECK_INT(info.result_size, 0);
    fixture_close(&f);
}

/* Goal: queue, priority and times are stored as given. Method: the ends of the ranges. */
TEST(fields_are_stored_as_given) {
    fixture f;
    jobq_info info;
    REQUIRE(open_step(&f, (jobq_options){0}));
    info = look(f.q, put_job(f.q, (jobq_job){.kind = "k", .queue = "mail",
                                             .priority = INT32_MIN}));
    CHECK_STR(info.queue, "mail");
    CHECK_INT(info.priority, INT32_MIN);
    info = look(f.q, put_job(f.q, (jobq_job){.kind = "k", .priority = INT32_MAX}));
    CHECK_INT(info.priority, INT32_MAX);
    info = look(f.q, put_job(f.q, (jobq_job){.kind = "k", .run_at_ms = INT64_MAX - 1}));
    CHECK_INT(info.run_at_ms, INT64_MAX - 1);
    CHECK(info.scheduled);
    info = look(f.q, put_job(f.q, (jobq_job){.kind = "\xc3\xa9t\xc3\xa9 \"'%s;--"}));
    CHECK_STR(info.kind, "\xc3\xa9t\xc3\xa9 \"'%s;--");
    fixture_close(&f);
}

/* Goal: the id may be left out. Method: NULL for it. */
TEST(id_may_be_null) {
    fixture f;
    REQUIRE(open_step(&f, (jobq_options){0}));
    WORKS(jobq_enqueue(f.q, &(jobq_job){.kind = "k"}, NULL, &err));
    CHECK_INT(total(f.q), 1);
    fixture_close(&f);
}

/* Goal: a delay counts from now, and the job runs when the clock is there, not before.
 * Method: one millisecond before, then at the time. */
TEST(delayed_job_waits_its_delay) {
    fixture f;
    int64_t id;
    REQUIRE(open_step(&f, (jobq_options){0}));
    handle(f.q, "k", do_nothing, NULL);
    jobq_clock_advance(f.clock, 500);
    id = put_job(f.q, (jobq_job){.kind = "k", .delay_ms = 1000});
    CHECK_INT(look(f.q, id).run_at_ms, T0 + 1500);
    CHECK(look(f.q, id).scheduled);
    advance(f.q, 999);
    CHECK_INT(drain(f.q), 0);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_PENDING);
    advance(f.q, 1);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
    fixture_close(&f);
}

/* Goal: run_at is a time; one in the past means due now. Method: both. */
TEST(run_at_is_a_time) {
    fixture f;
    int64_t later, past;
    REQUIRE(open_step(&f, (jobq_options){0}));
    handle(f.q, "k", do_nothing, NULL);
    later = put_job(f.q, (jobq_job){.kind = "k", .run_at_ms = T0 + JOBQ_DAY});
    past = put_job(f.q, (jobq_job){.kind = "k", .run_at_ms = 1});
    CHECK(look(f.q, later).scheduled);
    CHECK(!look(f.q, past).scheduled);
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(state_of(f.q, past), JOBQ_STATE_DONE);
    advance(f.q, JOBQ_DAY);
    CHECK_INT(state_of(f.q, later), JOBQ_STATE_DONE);
    fixture_close(&f);
}

/* ---- Payloads ---- */

struct copy {
    size_t size;
    bool null;
    unsigned char bytes[4096];
};

static jobq_outcome copy_payload(jobq_run *run, void *ctx) {
    struct copy *c = (struct copy *)ctx;
    const void *payload = jobq_run_payload(run, &c->size);
    c->null = payload == NULL;
    CHECK(jobq_run_payload(run, NULL) == payload);
    CHECK_INT(((const char *)payload)[c->size], 0); /* a zero follows it, a text can be printed */
    if (c->size > 0 && c->size <= sizeof c->bytes) memcpy(c->bytes, payload, c->size);
    return JOBQ_DONE;
}

/* Goal: any bytes come back as they were, in the handler and by jobq_get_payload. Method:
 * each value of a byte, NULs first and last, in sizes around SQLite's own page. */
TEST(payload_is_any_bytes) {
    static const size_t sizes[] = {1, 2, 255, 256, 1000, 4095, 4096};
    static unsigned char bytes[4096], back[4096];
    static struct copy c;
    fixture f;
    REQUIRE(open_step(&f, (jobq_options){0}));
    handle(f.q, "k", copy_payload, &c);
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)(i * 7);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t size = 0;
        int64_t id;
        bytes[sizes[i] - 1] = 0;
        id = put_job(f.q, (jobq_job){.kind = "k", .payload = bytes, .size = sizes[i]});
        CHECK_INT(look(f.q, id).payload_size, sizes[i]);
        WORKS(jobq_get_payload(f.q, id, back, sizeof back, &size, &err));
        CHECK_INT(size, sizes[i]);
        CHECK_MEM(back, bytes, size);
        CHECK_INT(drain(f.q), 1);
        CHECK_INT(c.size, sizes[i]);
        CHECK_MEM(c.bytes, bytes, sizes[i]);
    }
    fixture_close(&f);
}

/* Goal: a payload of no bytes is fine. Method: as a text, and as none. */
TEST(payload_may_be_empty) {
    static struct copy c;
    fixture f;
    int64_t id;
    REQUIRE(open_step(&f, (jobq_options){0}));
    handle(f.q, "k", copy_payload, &c);
    c.size = 99;
    id = put_job(f.q, (jobq_job){.kind = "k", .text = ""});
    CHECK_INT(look(f.q, id).payload_size, 0);
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(c.size, 0);
    c.size = 99;
    put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(c.size, 0);
    fixture_close(&f);
}

struct big {
    const unsigned char *wanted;
    size_t size;
    int matches;
};

static jobq_outcome compare_payload(jobq_run *run, void *ctx) {
    struct big *b = (struct big *)ctx;
    size_t size = 0;
    const void *payload = jobq_run_payload(run, &size);
    if (size == b->size && memcmp(payload, b->wanted, size) == 0) b->matches++;
    return JOBQ_DONE;
}

/* Goal: a payload of exactly payload_max runs, larger than anything prefetched at once.
 * Method: three of 2 MiB each, through the handler. */
TEST(payload_of_the_limit_runs) {
    size_t size = 2 * 1024 * 1024;
    unsigned char *bytes = (unsigned char *)malloc(size);
    uint64_t random = test_seed();
    struct big b = {bytes, size, 0};
    fixture f;
    REQUIRE(bytes != NULL);
    for (size_t i = 0; i < size; i++) bytes[i] = (unsigned char)test_random(&random);
    REQUIRE(open_step(&f, (jobq_options){.payload_max = 2 * 1024 * 1024}));
    handle(f.q, "k", compare_payload, &b);
    for (int i = 0; i < 3; i++)
        put_job(f.q, (jobq_job){.kind = "k", .payload = bytes, .size = size});
    CHECK_INT(drain(f.q), 3);
    CHECK_INT(b.matches, 3);
    fixture_close(&f);
    free(bytes);
}

/* Goal: kind, queue, key and payload are copied. Method: overwrite them before the run. */
TEST(job_is_copied) {
    char kind[] = "k", queue[] = "mail", key[] = "key", payload[] = "payload";
    static struct copy c;
    fixture f;
    jobq_info info;
    REQUIRE(open_step(&f, (jobq_options){0}));
    handle(f.q, "k", copy_payload, &c);
    info.id = put_job(f.q, (jobq_job){.kind = kind, .queue = queue, .key = key,
                                      .payload = payload, .size = 7});
    memset(kind, '?', sizeof kind - 1);
    memset(queue, '?', sizeof queue - 1);
    memset(key, '?', sizeof key - 1);
    memset(payload, '?', sizeof payload - 1);
    info = look(f.q, info.id);
    CHECK_STR(info.kind, "k");
    CHECK_STR(info.queue, "mail");
    CHECK_STR(info.key, "key");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(c.size, 7);
    CHECK_MEM(c.bytes, "payload", 7);
    fixture_close(&f);
}

/* ---- Many ---- */

/* Goal: a batch of different kinds, queues and times is stored whole, with ids that rise in
 * its order. Method: four rows, each another; compare. */
TEST(batch_of_different_jobs) {
    const jobq_job jobs[] = {{.kind = "a", .priority = 3},
                             {.kind = "b", .queue = "mail", .delay_ms = 50},
                             {.kind = "a", .payload = "p\0q", .size = 3},
                             {.kind = "c", .key = "once"}};
    jobq_stored r[4];
    fixture f;
    char back[8];
    size_t size = 0;
    memset(r, 0x55, sizeof r);
    REQUIRE(open_step(&f, (jobq_options){0}));
    WORKS(jobq_enqueue_many(f.q, jobs, 4, r, &err));
    CHECK_INT(total(f.q), 4);
    for (int i = 0; i < 4; i++) {
        CHECK_INT(r[i].how, JOBQ_NEW);
        CHECK_STR(look(f.q, r[i].id).kind, jobs[i].kind);
        if (i > 0) CHECK(r[i].id > r[i - 1].id);
    }
    CHECK_INT(look(f.q, r[0].id).priority, 3);
    CHECK_STR(look(f.q, r[1].id).queue, "mail");
    CHECK_INT(look(f.q, r[1].id).run_at_ms, T0 + 50);
    CHECK_CODE(jobq_get_payload(f.q, r[2].id, back, sizeof back, &size, NULL), JOBQ_OK);
    CHECK_INT(size, 3);
    CHECK_MEM(back, "p\0q", 3);
    CHECK_STR(look(f.q, r[3].id).key, "once");
    fixture_close(&f);
}

static void check_batch(size_t count, bool results) {
    jobq_job *jobs = (jobq_job *)calloc(count, sizeof *jobs);
    jobq_stored *r = (jobq_stored *)calloc(count, sizeof *r);
    int64_t *numbers = (int64_t *)calloc(count, sizeof *numbers);
    fixture f;
    REQUIRE(jobs && r && numbers);
    REQUIRE(open_step(&f, (jobq_options){.durability = JOBQ_RELAXED}));
    handle(f.q, "k", do_nothing, NULL);
    for (size_t i = 0; i < count; i++) {
        numbers[i] = (int64_t)i;
        jobs[i] = (jobq_job){.kind = "k", .payload = &numbers[i], .size = sizeof numbers[i]};
    }
    WORKS(jobq_enqueue_many(f.q, jobs, count, results ? r : NULL, &err));
    CHECK_INT(count_all(f.q).ready, count);
    for (size_t i = 0; results && i < count; i++) {
        int64_t number = -1;
        size_t size = 0;
        CHECK_CODE(jobq_get_payload(f.q, r[i].id, &number, sizeof number, &size, NULL), JOBQ_OK);
        CHECK_INT(number, i);
    }
    CHECK_INT(drain(f.q), count);
    CHECK_INT(count_all(f.q).done, count);
    fixture_remove(&f);
    free(jobs);
    free(r);
    free(numbers);
}

/* Goal: every size of batch arrives whole, each row under its own id. Method: sizes around
 * the powers that an engine may group by; the largest without results. */
TEST(batches_of_every_size) {
    static const size_t sizes[] = {1, 2, 7, 8, 9, 15, 16, 17, 255, 256, 257, 1000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) check_batch(sizes[i], true);
    check_batch(5003, false);
}

/* Goal: the rows of a batch run in their order. Method: 100 of one priority, recorded. */
TEST(batch_runs_in_its_order) {
    jobq_job jobs[100];
    jobq_stored r[100];
    fixture f;
    trace *t;
    REQUIRE(open_step(&f, (jobq_options){0}));
    t = trace_new(f.clock);
    handle(f.q, "k", record, t);
    for (int i = 0; i < 100; i++) jobs[i] = (jobq_job){.kind = "k"};
    WORKS(jobq_enqueue_many(f.q, jobs, 100, r, &err));
    CHECK_INT(drain(f.q), 100);
    CHECK_INT(t->n, 100);
    for (int i = 0; i < 100; i++) CHECK_INT(t->rows[i].id, r[i].id);
    trace_free(t);
    fixture_close(&f);
}

/* ---- Keys ---- */

static int put_key(jobq *q, const char *kind, const char *key, int64_t *id) {
    jobq_job job = {.kind = kind, .key = key, .conflict = JOBQ_REFUSE};
    jobq_error err = {.code = 0};
    int code = jobq_enqueue(q, &job, id, &err);
    if (code == JOBQ_EXISTS) CHECK_INT(err.code, JOBQ_EXISTS);
    if (code == JOBQ_EXISTS && id) *id = err.id;
    return code;
}

/* Goal: while a job of a kind with a key is not terminal, another one that says so is refused: it
 * is not stored, no id comes back, and the error tells who has the key. Method: twice the
 * same; other kind; other key. */
TEST(key_is_unique_within_its_kind) {
    fixture f;
    int64_t first = 0, again = 0, other = 0, third = 0;
    jobq_error told = {.code = 0};
    REQUIRE(open_step(&f, (jobq_options){0}));
    CHECK_CODE(put_key(f.q, "a", "x", &first), JOBQ_OK);
    CHECK_CODE(jobq_enqueue(f.q, &(jobq_job){.kind = "a", .key = "x", .priority = 9,
                                             .conflict = JOBQ_REFUSE}, &again, &told), JOBQ_EXISTS);
    CHECK_INT(again, 0);
    CHECK_INT(told.id, first);
    CHECK_INT(told.at, -1);
    CHECK_INT(told.code, JOBQ_EXISTS);
    CHECK(strchr(told.text, ' ') != NULL);
    CHECK_INT(look(f.q, first).priority, 0);
    CHECK_INT(total(f.q), 1);
    CHECK_CODE(put_key(f.q, "b", "x", &other), JOBQ_OK);
    CHECK_CODE(put_key(f.q, "a", "X", &third), JOBQ_OK);
    CHECK(other != first && third != first && third != other);
    CHECK_CODE(put_key(f.q, "a", "x", NULL), JOBQ_EXISTS);
    CHECK_INT(total(f.q), 3);
    fixture_close(&f);
}

/* Goal: unless it says so, a job whose key is taken is no failure: the call is OK, hands out the
 * job that does for both, and the statistics count it. Method: twice the same. */
TEST(job_with_a_taken_key_is_kept_out_quietly) {
    jobq_error told = {.code = 4711};
    fixture f;
    int64_t first, again = 0;
    REQUIRE(open_step(&f, (jobq_options){0}));
    first = put_job(f.q, (jobq_job){.kind = "a", .key = "x"});
    CHECK_CODE(jobq_enqueue(f.q, &(jobq_job){.kind = "a", .key = "x", .priority = 9}, &again,
                            &told), JOBQ_OK);
    CHECK_INT(again, first);
    CHECK_INT(told.code, 4711);
    CHECK_INT(look(f.q, first).priority, 0);
    CHECK_INT(total(f.q), 1);
    CHECK_INT(stats_of(f.q).kept, 1);
    CHECK_INT(stats_of(f.q).enqueued, 1);
    fixture_close(&f);
}

/* Goal: every code but JOBQ_OK is an error. Method: the list, and the number that is retired. */
TEST(every_code_but_ok_is_negative) {
#define NEGATIVE(name, value, sentence) CHECK(name == 0 || name < 0);
    JOBQ_CODES(NEGATIVE)
#undef NEGATIVE
    CHECK_INT(JOBQ_OK, 0);
    CHECK_STR(jobq_code_name(1), "JOBQ_?");
    CHECK_STR(jobq_code_name(JOBQ_EXISTS), "JOBQ_EXISTS");
}

/* Goal: a key outlives a restart. Method: enqueue, reopen, enqueue again. */
TEST(key_is_kept_over_reopening) {
    fixture f;
    int64_t first = 0, again = 0;
    REQUIRE(open_step(&f, (jobq_options){0}));
    CHECK_CODE(put_key(f.q, "a", "x", &first), JOBQ_OK);
    REQUIRE(fixture_reopen(&f));
    CHECK_CODE(put_key(f.q, "a", "x", &again), JOBQ_EXISTS);
    CHECK_INT(again, first);
    fixture_close(&f);
}

/* Runs one job with this outcome and a key and checks that the key is free afterwards. */
static void check_key_is_free_after(jobq_outcome outcome, jobq_state state, int64_t keep_ms) {
    fixture f;
    int64_t first = 0, again = 0;
    REQUIRE(open_step(&f, (jobq_options){.keep_done_ms = keep_ms, .keep_failed_ms = keep_ms}));
    handle(f.q, "k", answer, &outcome);
    CHECK_CODE(put_key(f.q, "k", "x", &first), JOBQ_OK);
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(state_of(f.q, first), keep_ms == JOBQ_NONE ? JOBQ_STATE_NONE : state);
    CHECK_CODE(put_key(f.q, "k", "x", &again), JOBQ_OK);
    CHECK(again > first);
    CHECK_CODE(put_key(f.q, "k", "x", NULL), JOBQ_EXISTS);
    fixture_remove(&f);
}

/* Goal: the key is free once its job is done or has failed, whether it is kept or not.
 * Method: each outcome, with and without retention. */
TEST(key_is_free_after_the_end) {
    check_key_is_free_after(JOBQ_DONE, JOBQ_STATE_DONE, 0);
    check_key_is_free_after(JOBQ_FAIL, JOBQ_STATE_FAILED, 0);
    check_key_is_free_after(JOBQ_DONE, JOBQ_STATE_DONE, JOBQ_NONE);
    check_key_is_free_after(JOBQ_FAIL, JOBQ_STATE_FAILED, JOBQ_NONE);
}

/* Goal: cancel and delete free the key as well. Method: one of each. */
TEST(key_is_free_after_cancel_and_delete) {
    fixture f;
    int64_t a = 0, b = 0, c = 0;
    REQUIRE(open_step(&f, (jobq_options){0}));
    CHECK_CODE(put_key(f.q, "k", "x", &a), JOBQ_OK);
    WORKS(jobq_cancel(f.q, a, &err));
    CHECK_CODE(put_key(f.q, "k", "x", &b), JOBQ_OK);
    WORKS(jobq_delete(f.q, b, &err));
    CHECK_CODE(put_key(f.q, "k", "x", &c), JOBQ_OK);
    CHECK(a < b && b < c);
    fixture_close(&f);
}

/* Goal: a job that waits for its next attempt keeps its key, as does one that is rescheduled
 * or snoozes. Method: each outcome, then the same key. */
TEST(key_is_reserved_through_retries) {
    jobq_outcome outcomes[] = {JOBQ_RETRY, JOBQ_RESCHEDULE, JOBQ_SNOOZE};
    fixture f;
    for (int i = 0; i < 3; i++) {
        int64_t first = 0, again = 0;
        int ran = 0;
        REQUIRE(open_step(&f, (jobq_options){0}));
        handle(f.q, "k", answer, &outcomes[i]);
        CHECK_CODE(put_key(f.q, "k", "x", &first), JOBQ_OK);
        WORKS(jobq_step(f.q, &ran, &err));
        CHECK_INT(ran, 1);
        CHECK_INT(state_of(f.q, first), JOBQ_STATE_PENDING);
        CHECK_CODE(put_key(f.q, "k", "x", &again), JOBQ_EXISTS);
        CHECK_INT(again, first);
        fixture_remove(&f);
    }
}

static jobq_outcome put_own_key(jobq_run *run, void *ctx) {
    int64_t id = 0;
    int *exists_seen = (int *)ctx;
    if (put_key(jobq_run_handle(run), "k", "x", &id) == JOBQ_EXISTS && id == jobq_run_id(run))
        ++*exists_seen;
    return JOBQ_DONE;
}

/* Goal: a running job holds its key. Method: its handler enqueues the same key. */
TEST(key_is_held_while_running) {
    fixture f;
    int seen = 0;
    REQUIRE(open_step(&f, (jobq_options){0}));
    handle(f.q, "k", put_own_key, &seen);
    CHECK_CODE(put_key(f.q, "k", "x", NULL), JOBQ_OK);
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(seen, 1);
    CHECK_INT(total(f.q), 1);
    fixture_close(&f);
}

/* Goal: in a batch a row that is kept out fails nothing and says who has its key, one that was
 * stored or an earlier row. Method: five rows, two of them kept out. */
TEST(batch_reports_conflicts_by_row) {
    const jobq_job jobs[] = {{.kind = "a", .key = "old"},
                             {.kind = "a", .key = "new"},
                             {.kind = "a"},
                             {.kind = "a", .key = "new"},
                             {.kind = "b", .key = "new"}};
    jobq_stored r[5];
    fixture f;
    int64_t old = 0;
    REQUIRE(open_step(&f, (jobq_options){0}));
    CHECK_CODE(put_key(f.q, "a", "old", &old), JOBQ_OK);
    WORKS(jobq_enqueue_many(f.q, jobs, 5, r, &err));
    CHECK_INT(r[0].how, JOBQ_KEPT);
    CHECK_INT(r[0].id, old);
    CHECK_INT(r[1].how, JOBQ_NEW);
    CHECK_INT(r[2].how, JOBQ_NEW);
    CHECK_INT(r[3].how, JOBQ_KEPT);
    CHECK_INT(r[3].id, r[1].id);
    CHECK_INT(r[4].how, JOBQ_NEW);
    CHECK(r[4].id != r[1].id);
    CHECK_INT(total(f.q), 4);
    CHECK_INT(stats_of(f.q).kept, 2);
    fixture_close(&f);
}

/* Tries a batch whose third row is refused, for the key that `by` has, or an earlier row: 0. */
static void refuse_batch(jobq *q, const char *key, int64_t by) {
    const jobq_job jobs[] = {{.kind = "a", .key = "new"},
                             {.kind = "a", .key = "old"},
                             {.kind = "a", .key = key, .conflict = JOBQ_REFUSE},
                             {.kind = "a", .key = "last"}};
    jobq_error told = {.code = 0};
    jobq_stored r[4];
    memset(r, 0x55, sizeof r);
    CHECK_CODE(jobq_enqueue_many(q, jobs, 4, r, &told), JOBQ_EXISTS);
    CHECK_INT(told.at, 2);
    CHECK_INT(told.id, by);
    CHECK(strstr(told.text, "row 2") != NULL);
    for (int i = 0; i < 4; i++) CHECK(r[i].id == 0 && r[i].how == 0);
    CHECK_INT(total(q), 1);
    CHECK_INT(stats_of(q).kept, 0);
}

/* Goal: a batch of one row is a batch, and says which row it was; a single job has none. Method: a
 * kind that is no name, and a key that is taken. */
TEST(batch_of_one_names_its_row) {
    const jobq_job jobs[] = {{.kind = ""}, {.kind = "a", .key = "old", .conflict = JOBQ_REFUSE}};
    static const int codes[] = {JOBQ_BAD_NAME, JOBQ_EXISTS};
    fixture f;
    REQUIRE(open_step(&f, (jobq_options){0}));
    put_job(f.q, (jobq_job){.kind = "a", .key = "old"});
    for (int i = 0; i < 2; i++) {
        jobq_error told = {.at = 77};
        CHECK_CODE(jobq_enqueue_many(f.q, &jobs[i], 1, NULL, &told), codes[i]);
        CHECK_INT(told.at, 0);
        if (!CHECK(strstr(told.text, "row 0: ") == told.text)) test_note("%s", told.text);
        told.at = 77;
        CHECK_CODE(jobq_enqueue(f.q, &jobs[i], NULL, &told), codes[i]);
        CHECK_INT(told.at, -1);
        CHECK(strstr(told.text, "row") == NULL);
    }
    fixture_close(&f);
}

/* Goal: a batch is stored whole or not at all, also when one row is refused for its key. Method: a
 * key that is stored, and one that an earlier row has, which then names nobody. */
TEST(refused_row_refuses_its_batch) {
    fixture f;
    int64_t old;
    REQUIRE(open_step(&f, (jobq_options){0}));
    old = put_job(f.q, (jobq_job){.kind = "a", .key = "old"});
    refuse_batch(f.q, "old", old);
    refuse_batch(f.q, "new", 0);
    CHECK_CODE(put_key(f.q, "a", "new", NULL), JOBQ_OK);
    fixture_close(&f);
}

/* Goal: text is a payload: its bytes without the zero. Method: alone, empty, and in a batch. */
TEST(text_is_the_payload) {
    const jobq_job jobs[] = {{.kind = "k", .text = "hello"}, {.kind = "k", .text = ""}};
    jobq_stored r[2];
    char back[16];
    size_t size = 77;
    fixture f;
    REQUIRE(open_step(&f, (jobq_options){0}));
    WORKS(jobq_enqueue_many(f.q, jobs, 2, r, &err));
    WORKS(jobq_get_payload(f.q, r[0].id, back, sizeof back, &size, &err));
    CHECK_INT(size, 5);
    CHECK_MEM(back, "hello", 5);
    WORKS(jobq_get_payload(f.q, r[1].id, back, sizeof back, &size, &err));
    CHECK_INT(size, 0);
    CHECK_INT(look(f.q, put_job(f.q, (jobq_job){.kind = "k", .text = "abc"})).payload_size, 3);
    fixture_close(&f);
}

/* Goal: a batch that fails reserves no key. Method: a key beside a bad row, then the key. */
TEST(failed_batch_reserves_no_key) {
    const jobq_job jobs[] = {{.kind = "a", .key = "x"}, {.kind = ""}};
    fixture f;
    REQUIRE(open_step(&f, (jobq_options){0}));
    FAILS(JOBQ_BAD_NAME, jobq_enqueue_many(f.q, jobs, 2, NULL, &err));
    CHECK_INT(total(f.q), 0);
    CHECK_CODE(put_key(f.q, "a", "x", NULL), JOBQ_OK);
    fixture_close(&f);
}

/* ---- Ids ---- */

/* Goal: ids rise, and the id of the newest job is not used again when that job was deleted,
 * also after reopening. Method: delete the last row, enqueue; with and without a restart. */
TEST(ids_are_never_used_again) {
    fixture f;
    int64_t a, b, c, d;
    REQUIRE(open_step(&f, (jobq_options){0}));
    a = put(f.q, "k");
    b = put(f.q, "k");
    CHECK(b > a);
    WORKS(jobq_delete(f.q, b, &err));
    c = put(f.q, "k");
    CHECK(c > b);
    WORKS(jobq_delete(f.q, c, &err));
    WORKS(jobq_delete(f.q, a, &err));
    CHECK_INT(total(f.q), 0);
    REQUIRE(fixture_reopen(&f));
    CHECK_INT(total(f.q), 0);
    d = put(f.q, "k");
    CHECK(d > c);
    fixture_close(&f);
}

/* Goal: the same for finished jobs that are not kept. Method: run the queue empty, reopen. */
TEST(ids_of_jobs_not_kept_are_never_used_again) {
    fixture f;
    int64_t last = 0;
    REQUIRE(open_step(&f, (jobq_options){.keep_done_ms = JOBQ_NONE}));
    for (int round = 0; round < 3; round++) {
        handle(f.q, "k", do_nothing, NULL);
        for (int i = 0; i < 3; i++) {
            int64_t id = put(f.q, "k");
            CHECK(id > last);
            last = id;
        }
        CHECK_INT(drain(f.q), 3);
        CHECK_INT(total(f.q), 0);
        CHECK_INT(state_of(f.q, last), JOBQ_STATE_NONE);
        REQUIRE(fixture_reopen(&f));
        CHECK_INT(total(f.q), 0);
    }
    fixture_close(&f);
}

/* ---- From many threads ---- */

enum { THREADS = 8, EACH = 100 };

struct producer {
    jobq *q;
    int number, failures;
    int64_t ids[EACH];
};

static void *produce(void *arg) {
    struct producer *p = (struct producer *)arg;
    for (int i = 0; i < EACH; i++) {
        int64_t number = p->number * EACH + i;
        jobq_job job = {.kind = "k", .payload = &number, .size = sizeof number};
        if (jobq_enqueue(p->q, &job, &p->ids[i], NULL) != JOBQ_OK) p->failures++;
    }
    return NULL;
}

static void produce_in_threads(jobq *q, struct producer producers[THREADS]) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        producers[i].q = q;
        producers[i].number = i;
        producers[i].failures = 0;
        threads[i] = thread_start(produce, &producers[i]);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
}

static void check_producers(jobq *q, const struct producer producers[THREADS]) {
    for (int i = 0; i < THREADS; i++) {
        CHECK_INT(producers[i].failures, 0);
        for (int j = 0; j < EACH; j++) {
            int64_t number = -1;
            size_t size = 0;
            jobq_get_payload(q, producers[i].ids[j], &number, sizeof number, &size, NULL);
            CHECK_INT(number, i * EACH + j);
            if (j > 0) CHECK(producers[i].ids[j] > producers[i].ids[j - 1]);
        }
    }
}

/* Goal: jobs from many threads at once are all stored, each under its own id, rising for each
 * thread. Method: 8 threads, payloads that say who and which. */
TEST(many_threads_enqueue) {
    static struct producer producers[THREADS];
    fixture f;
    REQUIRE(open_step(&f, (jobq_options){0}));
    produce_in_threads(f.q, producers);
    CHECK_INT(total(f.q), THREADS * EACH);
    check_producers(f.q, producers);
    fixture_close(&f);
}

/* Goal: the same while a pool runs them: each runs exactly once. Method: count the runs, wait
 * for the last of each thread and then for all. */
TEST(many_threads_enqueue_into_a_pool) {
    static struct producer producers[THREADS];
    fixture f;
    trace *t;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 2}));
    t = trace_new(f.clock);
    handle(f.q, "k", record, t);
    start(f.q);
    produce_in_threads(f.q, producers);
    for (int i = 0; i < THREADS; i++)
        for (int j = 0; j < EACH; j++)
            CHECK_INT(finish(f.q, producers[i].ids[j]).runs, 1);
    CHECK_INT(trace_count(t), THREADS * EACH);
    CHECK_INT(count_all(f.q).done, THREADS * EACH);
    check_producers(f.q, producers);
    fixture_close(&f);
    trace_free(t);
}

struct same_key {
    jobq *q;
    int code;
    int64_t id;
};

static void *put_the_key(void *arg) {
    struct same_key *s = (struct same_key *)arg;
    s->code = put_key(s->q, "k", "same", &s->id);
    return NULL;
}

/* Goal: many threads with one key store one job. Method: 8 threads, all results say the same
 * id, one of them OK. */
TEST(many_threads_with_one_key_store_one_job) {
    struct same_key s[THREADS];
    pthread_t threads[THREADS];
    fixture f;
    int stored = 0;
    REQUIRE(open_step(&f, (jobq_options){0}));
    for (int i = 0; i < THREADS; i++) {
        s[i] = (struct same_key){f.q, -1, 0};
        threads[i] = thread_start(put_the_key, &s[i]);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++) {
        CHECK(s[i].code == JOBQ_OK || s[i].code == JOBQ_EXISTS);
        CHECK_INT(s[i].id, s[0].id);
        stored += s[i].code == JOBQ_OK;
    }
    CHECK_INT(stored, 1);
    CHECK_INT(total(f.q), 1);
    fixture_close(&f);
}

/* ---- From handlers ---- */

struct family {
    int64_t child;
    int depth;
};

/* Enqueues a job like itself until the depth is reached. */
static jobq_outcome beget(jobq_run *run, void *ctx) {
    struct family *family = (struct family *)ctx;
    if (family->depth-- > 0)
        CHECK_CODE(jobq_enqueue(jobq_run_handle(run), &(jobq_job){.kind = "k"}, &family->child,
                                NULL), JOBQ_OK);
    return JOBQ_DONE;
}

/* Goal: a handler enqueues, and what it enqueues runs. Method: a chain of 10 in step mode. */
TEST(handler_enqueues) {
    struct family family = {0, 9};
    fixture f;
    REQUIRE(open_step(&f, (jobq_options){0}));
    handle(f.q, "k", beget, &family);
    put(f.q, "k");
    CHECK_INT(drain(f.q), 10);
    CHECK_INT(count_all(f.q).done, 10);
    fixture_close(&f);
}

static jobq_outcome beget_a_batch(jobq_run *run, void *ctx) {
    jobq_job jobs[20];
    for (int i = 0; i < 20; i++) jobs[i] = (jobq_job){.kind = "leaf"};
    CHECK_CODE(jobq_enqueue_many(jobq_run_handle(run), jobs, 20, (jobq_stored *)ctx, NULL),
               JOBQ_OK);
    return JOBQ_RETRY;
}

/* Goal: without jobq_run_db what a handler enqueued stays, whatever it returns. Method: a
 * batch of 20 from a handler that asks for a retry, on a pool. */
TEST(handler_of_a_pool_enqueues_many) {
    jobq_stored r[20];
    fixture f;
    jobq_info info;
    memset(r, 0, sizeof r);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 2}));
    handle_kind(f.q, (jobq_kind){.name = "tree", .run = beget_a_batch, .ctx = r,
                                 .attempts_max = 1});
    handle(f.q, "leaf", do_nothing, NULL);
    start(f.q);
    info = finish(f.q, put(f.q, "tree"));
    CHECK_INT(info.state, JOBQ_STATE_FAILED);
    for (int i = 0; i < 20; i++) CHECK_INT(finish(f.q, r[i].id).state, JOBQ_STATE_DONE);
    fixture_close(&f);
}

/* ---- From other processes ---- */

struct client {
    const char *path;
    int go[2], done[2];
};

enum { FROM_CLIENT = 25 };

/* The client's side: opens for itself, enqueues one by one and as a batch, looks. */
static void enqueue_as_client(void *arg) {
    struct client *c = (struct client *)arg;
    jobq_job jobs[FROM_CLIENT - 5];
    jobq_stored r[FROM_CLIENT - 5];
    jobq *q = NULL;
    pipe_hear(c->go);
    WORKS(jobq_open(c->path, &(jobq_options){.role = JOBQ_CLIENT, .shared = true}, &q, &err));
    REQUIRE(q != NULL);
    for (int i = 0; i < 5; i++)
        CHECK_INT(look(q, put_job(q, (jobq_job){.kind = "k", .payload = "hi", .size = 2})).state,
                  JOBQ_STATE_PENDING);
    for (int i = 0; i < FROM_CLIENT - 5; i++) jobs[i] = (jobq_job){.kind = "k", .queue = "far"};
    WORKS(jobq_enqueue_many(q, jobs, FROM_CLIENT - 5, r, &err));
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    pipe_say(c->done);
}

static void client_begin(struct client *c, pid_t *child) {
    c->path = test_path("q.db");
    pipe_make(c->go);
    pipe_make(c->done);
    *child = test_spawn(enqueue_as_client, c);
}

static void client_end(struct client *c, pid_t child) {
    CHECK_INT(test_wait(child), 0);
    pipe_free(c->go);
    pipe_free(c->done);
}

/* Goal: what a client process enqueues is run by the owner after jobq_notify. Method: a child
 * forked before the owner opens; step mode. */
TEST(client_process_enqueues_and_notify_finds_it) {
    struct client c;
    pid_t child;
    fixture f;
    client_begin(&c, &child);
    REQUIRE(open_step(&f, (jobq_options){.shared = true}));
    handle(f.q, "k", do_nothing, NULL);
    CHECK_INT(drain(f.q), 0);
    pipe_say(c.go);
    pipe_hear(c.done);
    client_end(&c, child);
    WORKS(jobq_notify(f.q, &err));
    CHECK_INT(drain(f.q), FROM_CLIENT);
    CHECK_INT(count_all(f.q).done, FROM_CLIENT);
    fixture_close(&f);
}

/* Goal: the same for a pool: after jobq_notify the workers run them. Method: one call, then
 * the job with the highest id and all others become terminal. */
TEST(client_process_enqueues_into_a_pool) {
    struct client c;
    pid_t child;
    fixture f;
    client_begin(&c, &child);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 2, .shared = true}));
    handle(f.q, "k", do_nothing, NULL);
    start(f.q);
    pipe_say(c.go);
    pipe_hear(c.done);
    client_end(&c, child);
    WORKS(jobq_notify(f.q, &err));
    while (count_all(f.q).done < FROM_CLIENT) sched_yield();
    CHECK_INT(total(f.q), FROM_CLIENT);
    fixture_close(&f);
}

/* Goal: with poll_ms the owner finds them by itself. Method: the system's clock, no notify;
 * the watchdog is the limit. */
TEST(owner_polls_for_client_processes) {
    struct client c;
    pid_t child;
    jobq *q = NULL;
    client_begin(&c, &child);
    WORKS(jobq_open(c.path, &(jobq_options){.workers = 1, .shared = true, .poll_ms = 5}, &q,
                    &err));
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    start(q);
    pipe_say(c.go);
    pipe_hear(c.done);
    client_end(&c, child);
    while (count_all(q).done < FROM_CLIENT) sched_yield();
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: a client needs no owner: what it stores waits for one. Method: the client alone, then
 * an owner opens. */
TEST(client_process_enqueues_without_an_owner) {
    struct client c;
    pid_t child;
    fixture f;
    client_begin(&c, &child);
    REQUIRE(open_step(&f, (jobq_options){.shared = true}));
    CHECK_CODE(jobq_close(&f.q), JOBQ_OK);
    pipe_say(c.go);
    pipe_hear(c.done);
    client_end(&c, child);
    REQUIRE_CODE(jobq_open(f.path, &f.options, &f.q, NULL), JOBQ_OK);
    CHECK_INT(total(f.q), FROM_CLIENT);
    handle(f.q, "k", do_nothing, NULL);
    CHECK_INT(drain(f.q), FROM_CLIENT);
    fixture_close(&f);
}

/* Goal: the key rule holds between processes' connections. Method: a client in this process
 * and the owner with the same key. */
TEST(client_respects_keys) {
    fixture f;
    jobq *client = NULL;
    int64_t mine = 0, theirs = 0;
    REQUIRE(open_step(&f, (jobq_options){.shared = true}));
    WORKS(jobq_open(f.path, &(jobq_options){.role = JOBQ_CLIENT, .shared = true}, &client, &err));
    REQUIRE(client != NULL);
    CHECK_CODE(put_key(f.q, "k", "x", &mine), JOBQ_OK);
    CHECK_CODE(put_key(client, "k", "x", &theirs), JOBQ_EXISTS);
    CHECK_INT(theirs, mine);
    CHECK_CODE(put_key(client, "k", "y", &theirs), JOBQ_OK);
    CHECK_CODE(put_key(f.q, "k", "y", &mine), JOBQ_EXISTS);
    CHECK_INT(mine, theirs);
    CHECK_CODE(jobq_close(&client), JOBQ_OK);
    fixture_close(&f);
}

/* Goal: names that a client is first to use mean the same to the owner. Method: each side
 * brings names of its own, in turn; every job keeps its kind and its queue. */
TEST(names_from_both_sides_stay_apart) {
    static const char *const names[] = {"one", "two", "three", "four", "five", "six"};
    fixture f;
    jobq *client = NULL;
    REQUIRE(open_step(&f, (jobq_options){.shared = true}));
    WORKS(jobq_open(f.path, &(jobq_options){.role = JOBQ_CLIENT, .shared = true}, &client, &err));
    REQUIRE(client != NULL);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 6; i++) {
            jobq *q = (i + round) % 2 ? client : f.q;
            int64_t id = put_job(q, (jobq_job){.kind = names[i], .queue = names[5 - i]});
            CHECK_STR(look(f.q, id).kind, names[i]);
            CHECK_STR(look(client, id).kind, names[i]);
            CHECK_STR(look(f.q, id).queue, names[5 - i]);
        }
    }
    CHECK_CODE(jobq_close(&client), JOBQ_OK);
    fixture_close(&f);
}

/* ---- Durability ---- */

/* Goal: flush works in both modes, and what was acknowledged stays. Method: enqueue, flush. */
TEST(flush_works_in_both_modes) {
    static const jobq_durability modes[] = {JOBQ_DURABLE, JOBQ_RELAXED};
    for (int i = 0; i < 2; i++) {
        fixture f;
        REQUIRE(open_step(&f, (jobq_options){.durability = modes[i]}));
        WORKS(jobq_flush(f.q, &err));
        put(f.q, "k");
        WORKS(jobq_flush(f.q, &err));
        CHECK_INT(total(f.q), i + 1);
        fixture_close(&f);
    }
}

TEST_MAIN(plain_job_has_the_defaults, fields_are_stored_as_given, id_may_be_null,
          delayed_job_waits_its_delay, run_at_is_a_time, payload_is_any_bytes,
          payload_may_be_empty, payload_of_the_limit_runs, job_is_copied, batch_of_different_jobs,
          batches_of_every_size, batch_runs_in_its_order, key_is_unique_within_its_kind,
          job_with_a_taken_key_is_kept_out_quietly, every_code_but_ok_is_negative,
          batch_of_one_names_its_row,
          refused_row_refuses_its_batch, text_is_the_payload, key_is_kept_over_reopening,
          key_is_free_after_the_end,
          key_is_free_after_cancel_and_delete, key_is_reserved_through_retries,
          key_is_held_while_running, batch_reports_conflicts_by_row, failed_batch_reserves_no_key,
          ids_are_never_used_again, ids_of_jobs_not_kept_are_never_used_again,
          many_threads_enqueue, many_threads_enqueue_into_a_pool,
          many_threads_with_one_key_store_one_job, handler_enqueues,
          handler_of_a_pool_enqueues_many, client_process_enqueues_and_notify_finds_it,
          client_process_enqueues_into_a_pool, owner_polls_for_client_processes,
          client_process_enqueues_without_an_owner, client_respects_keys,
          names_from_both_sides_stay_apart, flush_works_in_both_modes)
