/* bad_input.c - every wrong argument, place, path and moment gets its own code and a
 * sentence; nothing is half done, and the queue works afterwards.
 *
 * Every call goes through FAILS, which checks the code, that the error holds the same code,
 * and that its text is a sentence. still_works looks that nothing was left behind. */
#include "helpers.h"

#include <sched.h>

static const jobq_outcome done_at_once = JOBQ_DONE;
#define DONE_AT_ONCE ((void *)(uintptr_t)&done_at_once)

/* Nothing but jobs of kind "probe" may be there; and another one can be enqueued and run. */
static void still_works(jobq *q, int64_t jobs) {
    CHECK_INT(total(q), jobs);
    CHECK_INT(stats_of(q).failed_code, JOBQ_OK);
    put(q, "probe");
    CHECK_INT(drain(q), 1);
    CHECK_INT(total(q), jobs + 1);
}

static bool open_probe(fixture *f, jobq_options options) {
    options.workers = JOBQ_NONE;
    if (!fixture_open(f, options)) return false;
    handle(f->q, "probe", answer, DONE_AT_ONCE);
    return true;
}

/* ---- Codes ---- */

/* Goal: every code has its name and a sentence, and anything else is answered too. Method:
 * the X-macro, and numbers that are no codes. */
TEST(codes_have_names_and_sentences) {
#define CODE_SPEAKS(name, value, sentence) \
    CHECK_STR(jobq_code_name(name), #name); \
    CHECK_STR(jobq_code_text(name), sentence); \
    CHECK_INT(name, value);
    JOBQ_CODES(CODE_SPEAKS)
#undef CODE_SPEAKS
    static const int strange[] = {2, 99, -26, -1000, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof strange / sizeof strange[0]; i++) {
        CHECK(jobq_code_name(strange[i]) != NULL);
        CHECK(jobq_code_text(strange[i]) != NULL);
    }
}

/* Goal: states and outcomes have names, and anything else is answered too. Method: all of them,
 * and numbers that are none. */
TEST(states_and_outcomes_have_names) {
    CHECK_STR(jobq_state_name(JOBQ_STATE_PENDING), "pending");
    CHECK_STR(jobq_state_name(JOBQ_STATE_CANCELLED), "cancelled");
    CHECK_STR(jobq_state_name((jobq_state)99), "?");
    CHECK_STR(jobq_outcome_name(JOBQ_DONE), "done");
    CHECK_STR(jobq_outcome_name(JOBQ_CRASHED), "crashed");
    CHECK_STR(jobq_outcome_name(JOBQ_STOPPED), "stopped");
    CHECK_STR(jobq_outcome_name((jobq_outcome)99), "?");
}

/* Goal: header and library are of one version. Method: compare. */
TEST(version_is_the_headers) {
    CHECK_INT(jobq_version_number(), JOBQ_VERSION_NUMBER);
}

/* Goal: a caller that was compiled with another header is told so, with both versions, before its
 * structs are read. Method: headers older and newer, and of another patch level, which is fine. */
TEST(header_of_another_version_is_refused) {
    static const int others[] = {0, 1000, JOBQ_VERSION_NUMBER - 1000, JOBQ_VERSION_NUMBER + 1000,
                                 JOBQ_VERSION_NUMBER + 1000000, INT32_MAX, INT32_MIN};
    const jobq_options *unreadable = (const jobq_options *)(uintptr_t)16;
    jobq_error told = {.code = 0};
    jobq *q = (jobq *)&q;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        FAILS(JOBQ_MISUSE, jobq_open_as(":memory:", unreadable, &q, &err, others[i]));
    CHECK(q == NULL);
    CHECK_CODE(jobq_open_as(":memory:", NULL, &q, &told, 1000), JOBQ_MISUSE);
    CHECK(strstr(told.text, "0.1.0") && strstr(told.text, JOBQ_VERSION));
    WORKS(jobq_open_as(":memory:", NULL, &q, &err, JOBQ_VERSION_NUMBER + 1));
    close_queue(&q);
    CHECK_INT(sizeof(jobq_error), 512);
}

/* ---- NULL ---- */

/* Goal: no handle is a misuse of its own kind, with a sentence, everywhere. Method: each
 * function with NULL for the queue. */
TEST(null_handle_is_misuse) {
    jobq_kind kind = {.name = "k", .run = do_nothing};
    jobq_job job = {.kind = "k"};
    jobq_cursor cursor = {{0}, 0, false};
    jobq_info info;
    jobq_counts counts;
    jobq_stats stats;
    jobq_stored row = {.id = 7, .how = JOBQ_KEPT};
    int64_t at;
    size_t n;
    FAILS(JOBQ_MISUSE, jobq_register(NULL, &kind, &err));
    FAILS(JOBQ_MISUSE, jobq_start(NULL, &err));
    FAILS(JOBQ_MISUSE, jobq_stop(NULL, 0, &err));
    FAILS(JOBQ_MISUSE, jobq_enqueue(NULL, &job, NULL, &err));
    FAILS(JOBQ_MISUSE, jobq_enqueue_many(NULL, &job, 1, NULL, &err));
    FAILS(JOBQ_MISUSE, jobq_enqueue_many(NULL, &job, 1, &row, &err));
    CHECK(row.how == 0 && row.id == 0);
    FAILS(JOBQ_MISUSE, jobq_flush(NULL, &err));
    FAILS(JOBQ_MISUSE, jobq_notify(NULL, &err));
    FAILS(JOBQ_MISUSE, jobq_cancel(NULL, 1, &err));
    FAILS(JOBQ_MISUSE, jobq_retry_now(NULL, 1, &err));
    FAILS(JOBQ_MISUSE, jobq_delete(NULL, 1, &err));
    FAILS(JOBQ_MISUSE, jobq_get(NULL, 1, &info, &err));
    FAILS(JOBQ_MISUSE, jobq_get_payload(NULL, 1, NULL, 0, &n, &err));
    FAILS(JOBQ_MISUSE, jobq_get_result(NULL, 1, NULL, 0, &n, &err));
    FAILS(JOBQ_MISUSE, jobq_list(NULL, NULL, &cursor, &info, 1, &n, &err));
    FAILS(JOBQ_MISUSE, jobq_count(NULL, &counts, &err));
    FAILS(JOBQ_MISUSE, jobq_stat(NULL, &stats, &err));
    FAILS(JOBQ_MISUSE, jobq_wait(NULL, 1, 0, &info, &err));
    FAILS(JOBQ_MISUSE, jobq_advance(NULL, 1, NULL, &err));
    FAILS(JOBQ_MISUSE, jobq_advance_to_next(NULL, &err));
    FAILS(JOBQ_MISUSE, jobq_step(NULL, NULL, &err));
    FAILS(JOBQ_MISUSE, jobq_run_until_idle(NULL, NULL, &err));
    FAILS(JOBQ_MISUSE, jobq_next_deadline(NULL, &at, &err));
    CHECK_INT(jobq_wakes(NULL), 0);
}

/* Goal: what a call cannot do without is missed. Method: NULL for it. */
TEST(null_argument_is_misuse) {
    fixture f;
    jobq_cursor cursor = {{0}, 0, false};
    jobq_info info;
    size_t n;
    int64_t id;
    REQUIRE(open_probe(&f, (jobq_options){0}));
    FAILS(JOBQ_MISUSE, jobq_open(test_path("x.db"), NULL, NULL, &err));
    FAILS(JOBQ_MISUSE, jobq_register(f.q, NULL, &err));
    FAILS(JOBQ_MISUSE, jobq_enqueue(f.q, NULL, NULL, &err));
    FAILS(JOBQ_MISUSE, jobq_enqueue_many(f.q, NULL, 3, NULL, &err));
    CHECK_INT(total(f.q), 0);
    id = put(f.q, "probe");
    CHECK_INT(drain(f.q), 1);
    FAILS(JOBQ_MISUSE, jobq_get(f.q, id, NULL, &err));
    FAILS(JOBQ_MISUSE, jobq_list(f.q, NULL, NULL, &info, 1, &n, &err));
    FAILS(JOBQ_MISUSE, jobq_list(f.q, NULL, &cursor, NULL, 1, &n, &err));
    FAILS(JOBQ_MISUSE, jobq_list(f.q, NULL, &cursor, &info, 1, NULL, &err));
    FAILS(JOBQ_MISUSE, jobq_get_payload(f.q, id, NULL, 10, &n, &err));
    FAILS(JOBQ_MISUSE, jobq_get_result(f.q, id, NULL, 10, &n, &err));
    FAILS(JOBQ_MISUSE, jobq_count(f.q, NULL, &err));
    FAILS(JOBQ_MISUSE, jobq_stat(f.q, NULL, &err));
    FAILS(JOBQ_MISUSE, jobq_next_deadline(f.q, NULL, &err));
    still_works(f.q, 1);
    fixture_close(&f);
}

/* Goal: the path is needed. Method: NULL and the empty string. */
TEST(missing_path_is_refused) {
    jobq *q = NULL;
    FAILS(JOBQ_MISUSE, jobq_open(NULL, NULL, &q, &err));
    CHECK(q == NULL);
    FAILS_SOMEHOW(jobq_open("", NULL, &q, &err));
    CHECK(q == NULL);
}

/* Goal: close of nothing is a misuse and harms nothing. Method: NULL, and a NULL handle. */
TEST(closing_nothing_is_misuse) {
    jobq *q = NULL;
    CHECK_CODE(jobq_close(NULL), JOBQ_MISUSE);
    CHECK_CODE(jobq_close(&q), JOBQ_MISUSE);
    jobq_clock_free(NULL);
}

/* Goal: a caller that wants no error text gets the same codes. Method: NULL for err in calls
 * that fail in different layers. */
TEST(error_argument_may_be_null) {
    fixture f;
    jobq *q = NULL;
    REQUIRE(open_probe(&f, (jobq_options){0}));
    CHECK_CODE(jobq_open(f.path, NULL, &q, NULL), JOBQ_LOCKED);
    CHECK_CODE(jobq_enqueue(f.q, &(jobq_job){.kind = ""}, NULL, NULL), JOBQ_BAD_NAME);
    CHECK_CODE(jobq_get(f.q, 77, &(jobq_info){0}, NULL), JOBQ_NOT_FOUND);
    CHECK_CODE(jobq_cancel(f.q, 77, NULL), JOBQ_NOT_FOUND);
    CHECK_CODE(jobq_start(f.q, NULL), JOBQ_MISUSE);
    still_works(f.q, 0);
    fixture_close(&f);
}

/* Goal: the error is written only by calls that fail. Method: a mark in it survives calls
 * that work. */
TEST(error_is_left_alone_by_success) {
    fixture f;
    jobq_error mark = {.code = 4711, .sqlite_code = 12, .text = "untouched"};
    REQUIRE(open_probe(&f, (jobq_options){0}));
    CHECK_CODE(jobq_enqueue(f.q, &(jobq_job){.kind = "probe"}, NULL, &mark), JOBQ_OK);
    CHECK_CODE(jobq_run_until_idle(f.q, NULL, &mark), JOBQ_OK);
    CHECK_CODE(jobq_count(f.q, &(jobq_counts){0}, &mark), JOBQ_OK);
    CHECK_INT(mark.code, 4711);
    CHECK_INT(mark.sqlite_code, 12);
    CHECK_STR(mark.text, "untouched");
    fixture_close(&f);
}

/* ---- Jobs ---- */

/* There are so many jobs before and after. */
static void refuse_job_of(fixture *f, int jobs, int wanted, jobq_job job) {
    int64_t id = -5;
    jobq_stored result = {-5, -5};
    FAILS(wanted, jobq_enqueue(f->q, &job, &id, &err));
    FAILS(wanted, jobq_enqueue_many(f->q, &job, 1, &result, &err));
    CHECK_INT(id, 0);
    CHECK_INT(result.id, 0);
    CHECK_INT(total(f->q), jobs);
}

static void refuse_job(fixture *f, int wanted, jobq_job job) {
    refuse_job_of(f, 0, wanted, job);
}

/* Fills text with n letters. */
static const char *letters(char *text, size_t n) {
    memset(text, 'n', n);
    text[n] = '\0';
    return text;
}

/* Goal: names of kinds and queues have 1 to 64 bytes. Method: none, empty, one too long; and
 * exactly 64. */
TEST(bad_names_are_refused) {
    char text[JOBQ_NAME_MAX + 2];
    fixture f;
    jobq_info info;
    REQUIRE(open_probe(&f, (jobq_options){0}));
    refuse_job(&f, JOBQ_BAD_NAME, (jobq_job){.kind = NULL});
    refuse_job(&f, JOBQ_BAD_NAME, (jobq_job){.kind = ""});
    refuse_job(&f, JOBQ_BAD_NAME, (jobq_job){.kind = letters(text, JOBQ_NAME_MAX + 1)});
    refuse_job(&f, JOBQ_BAD_NAME, (jobq_job){.kind = "k", .queue = ""});
    refuse_job(&f, JOBQ_BAD_NAME, (jobq_job){.kind = "k", .queue = text});
    letters(text, JOBQ_NAME_MAX);
    info = look(f.q, put_job(f.q, (jobq_job){.kind = text, .queue = text}));
    CHECK_STR(info.kind, text);
    CHECK_STR(info.queue, text);
    still_works(f.q, 1);
    fixture_close(&f);
}

/* Goal: keys have 1 to 128 bytes. Method: empty, one too long, and exactly 128. */
TEST(bad_keys_are_refused) {
    char text[JOBQ_KEY_MAX + 2];
    fixture f;
    REQUIRE(open_probe(&f, (jobq_options){0}));
    refuse_job(&f, JOBQ_BAD_NAME, (jobq_job){.kind = "k", .key = ""});
    refuse_job(&f, JOBQ_BAD_NAME, (jobq_job){.kind = "k", .key = letters(text, JOBQ_KEY_MAX + 1)});
    letters(text, JOBQ_KEY_MAX);
    CHECK_STR(look(f.q, put_job(f.q, (jobq_job){.kind = "k", .key = text})).key, text);
    still_works(f.q, 1);
    fixture_close(&f);
}

/* Goal: negative times, times past the end of time, and both times together are refused.
 * Method: one at a time. */
TEST(bad_times_are_refused) {
    fixture f;
    REQUIRE(open_probe(&f, (jobq_options){0}));
    refuse_job(&f, JOBQ_BAD_TIME, (jobq_job){.kind = "k", .run_at_ms = -1});
    refuse_job(&f, JOBQ_BAD_TIME, (jobq_job){.kind = "k", .run_at_ms = INT64_MIN});
    refuse_job(&f, JOBQ_BAD_TIME, (jobq_job){.kind = "k", .delay_ms = -1});
    refuse_job(&f, JOBQ_BAD_TIME, (jobq_job){.kind = "k", .delay_ms = INT64_MIN});
    refuse_job(&f, JOBQ_BAD_TIME, (jobq_job){.kind = "k", .delay_ms = INT64_MAX - 1});
    refuse_job(&f, JOBQ_BAD_TIME, (jobq_job){.kind = "k", .delay_ms = JOBQ_UNLIMITED});
    refuse_job(&f, JOBQ_BAD_TIME, (jobq_job){.kind = "k", .delay_ms = INT64_MAX - T0 + 1});
    refuse_job(&f, JOBQ_MISUSE, (jobq_job){.kind = "k", .run_at_ms = T0, .delay_ms = 1});
    still_works(f.q, 0);
    fixture_close(&f);
}

/* Goal: a payload that is too big, or promised and not given, is refused; one of the very
 * limit is not, nor are more jobs than memory can hold. Method: a limit of 1000 bytes. */
TEST(bad_payloads_are_refused) {
    static const char bytes[1001];
    jobq_job job = {.kind = "k"};
    jobq_stored result;
    fixture f;
    REQUIRE(open_probe(&f, (jobq_options){.payload_max = 1000}));
    refuse_job(&f, JOBQ_TOO_BIG, (jobq_job){.kind = "k", .payload = bytes, .size = 1001});
    refuse_job(&f, JOBQ_TOO_BIG, (jobq_job){.kind = "k", .payload = bytes, .size = SIZE_MAX});
    refuse_job(&f, JOBQ_MISUSE, (jobq_job){.kind = "k", .payload = NULL, .size = 1});
    FAILS(JOBQ_MISUSE, jobq_enqueue_many(f.q, &job, SIZE_MAX, &result, &err));
    put_job(f.q, (jobq_job){.kind = "k", .payload = bytes, .size = 1000});
    refuse_job_of(&f, 1, JOBQ_MISUSE, (jobq_job){.kind = "k", .payload = bytes});
    refuse_job_of(&f, 1, JOBQ_MISUSE, (jobq_job){.kind = "k", .text = "a", .size = 1});
    refuse_job_of(&f, 1, JOBQ_MISUSE, (jobq_job){.kind = "k", .text = "a", .payload = bytes,
                                                 .size = 1});
    still_works(f.q, 1);
    fixture_close(&f);
}

/* Goal: the limit that nobody set is 1 MiB. Method: exactly that, and one byte more. */
TEST(payload_default_limit_is_one_mebibyte) {
    size_t size = 1024 * 1024;
    char *bytes = (char *)calloc(1, size + 1);
    fixture f;
    REQUIRE(bytes != NULL);
    REQUIRE(open_probe(&f, (jobq_options){0}));
    refuse_job(&f, JOBQ_TOO_BIG, (jobq_job){.kind = "k", .payload = bytes, .size = size + 1});
    put_job(f.q, (jobq_job){.kind = "k", .payload = bytes, .size = size});
    still_works(f.q, 1);
    fixture_close(&f);
    free(bytes);
}

/* Goal: a batch with one bad row stores nothing and names the row. Method: a bad row in the
 * middle of seven, of each sort. */
TEST(bad_row_fails_the_batch_and_is_named) {
    static const char bytes[101];
    const jobq_job bad[] = {{.kind = ""},
                            {.kind = "k", .delay_ms = -4},
                            {.kind = "k", .payload = bytes, .size = 101},
                            {.kind = "k", .run_at_ms = 1, .delay_ms = 1},
                            {.kind = "k", .key = ""}};
    fixture f;
    REQUIRE(open_probe(&f, (jobq_options){.payload_max = 100}));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        jobq_job jobs[7];
        jobq_error told = {.code = 0};
        for (int j = 0; j < 7; j++) jobs[j] = (jobq_job){.kind = "k"};
        jobs[5] = bad[i];
        CHECK(jobq_enqueue_many(f.q, jobs, 7, NULL, &told) < 0);
        if (!CHECK(strchr(told.text, '5') || strchr(told.text, '6')))
            test_note("no row in: %s", told.text);
        CHECK_INT(total(f.q), 0);
    }
    still_works(f.q, 0);
    fixture_close(&f);
}

/* Goal: a batch of nothing is fine and does nothing. Method: count 0. */
TEST(empty_batch_is_fine) {
    fixture f;
    jobq_job job = {.kind = "k"};
    REQUIRE(open_probe(&f, (jobq_options){0}));
    WORKS(jobq_enqueue_many(f.q, &job, 0, NULL, &err));
    WORKS(jobq_enqueue_many(f.q, NULL, 0, NULL, &err));
    still_works(f.q, 0);
    fixture_close(&f);
}

/* ---- Kinds ---- */

static void refuse_kind(fixture *f, int wanted, jobq_kind kind) {
    FAILS(wanted, jobq_register(f->q, &kind, &err));
}

/* Goal: a kind needs a name and a handler. Method: leave them out, spoil them. */
TEST(bad_kinds_are_refused) {
    char text[JOBQ_NAME_MAX + 2];
    fixture f;
    REQUIRE(open_probe(&f, (jobq_options){0}));
    refuse_kind(&f, JOBQ_BAD_NAME, (jobq_kind){.name = NULL, .run = do_nothing});
    refuse_kind(&f, JOBQ_BAD_NAME, (jobq_kind){.name = "", .run = do_nothing});
    letters(text, JOBQ_NAME_MAX + 1);
    refuse_kind(&f, JOBQ_BAD_NAME, (jobq_kind){.name = text, .run = do_nothing});
    refuse_kind(&f, JOBQ_MISUSE, (jobq_kind){.name = "k", .run = NULL});
    put(f.q, "k");
    CHECK_INT(count_all(f.q).parked, 1); /* none of them made "k" a kind with a handler */
    still_works(f.q, 1);
    fixture_close(&f);
}

/* Goal: policies out of their range are refused: durations as BAD_TIME, numbers as MISUSE.
 * Method: one at a time; then the same name with a good one. */
TEST(bad_policies_are_refused) {
    const jobq_kind times[] = {{.backoff_min_ms = -2}, {.backoff_max_ms = -2},
                               {.timeout_ms = -2},     {.keep_done_ms = -2},
                               {.keep_failed_ms = -2}, {.timeout_ms = INT64_MIN}};
    const jobq_kind numbers[] = {
        {.attempts_max = -2}, {.jitter_percent = -2}, {.crashes_max = -2}};
    fixture f;
    REQUIRE(open_probe(&f, (jobq_options){0}));
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        jobq_kind kind = times[i];
        kind.name = "k";
        kind.run = do_nothing;
        refuse_kind(&f, JOBQ_BAD_TIME, kind);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        jobq_kind kind = numbers[i];
        kind.name = "k";
        kind.run = do_nothing;
        refuse_kind(&f, JOBQ_MISUSE, kind);
    }
    handle(f.q, "k", do_nothing, NULL);
    still_works(f.q, 0);
    fixture_close(&f);
}

/* Goal: one handler per kind, the first one stays. Method: register again with another. */
TEST(registering_twice_is_misuse) {
    static const jobq_outcome fail = JOBQ_FAIL;
    fixture f;
    int64_t id;
    REQUIRE(open_probe(&f, (jobq_options){0}));
    handle(f.q, "k", do_nothing, NULL);
    refuse_kind(&f, JOBQ_MISUSE,
                (jobq_kind){.name = "k", .run = answer, .ctx = (void *)(uintptr_t)&fail});
    id = put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    CHECK_INT(state_of(f.q, id), JOBQ_STATE_DONE);
    still_works(f.q, 1);
    fixture_close(&f);
}

/* Goal: a file holds at most JOBQ_NAMES_MAX names, then it is full for further ones only.
 * Method: enqueue one job for each of so many kinds in batches, then one more. */
TEST(too_many_names_is_full) {
    enum { BATCH = 256 };
    static char names[BATCH][16];
    static jobq_job jobs[BATCH];
    fixture f;
    jobq_error err;
    int code = JOBQ_OK, n = 0;
    REQUIRE(open_probe(&f, (jobq_options){.durability = JOBQ_RELAXED}));
    for (; code == JOBQ_OK && n < JOBQ_NAMES_MAX + BATCH; n += BATCH) {
        for (int i = 0; i < BATCH; i++) {
            snprintf(names[i], sizeof names[i], "kind%d", n + i);
            jobs[i] = (jobq_job){.kind = names[i]};
        }
        code = jobq_enqueue_many(f.q, jobs, BATCH, NULL, NULL);
    }
    CHECK_CODE(code, JOBQ_FULL);
    CHECK_INT(total(f.q) % BATCH, 0); /* the batch that failed left nothing */
    CHECK(total(f.q) <= JOBQ_NAMES_MAX);
    FAILS(JOBQ_FULL, jobq_enqueue_many(f.q, jobs, BATCH, NULL, &err));
    jobq_enqueue_many(f.q, jobs, BATCH, NULL, &err);
    CHECK(strstr(err.text, "4096 names")); /* it is not the disk */
    put(f.q, "kind0");
    still_works(f.q, total(f.q));
    fixture_close(&f);
}

/* ---- Ids ---- */

static void refuse_id(fixture *f, int64_t id) {
    jobq_info info;
    size_t n;
    char byte;
    FAILS(JOBQ_NOT_FOUND, jobq_get(f->q, id, &info, &err));
    FAILS(JOBQ_NOT_FOUND, jobq_get_payload(f->q, id, &byte, 1, &n, &err));
    FAILS(JOBQ_NOT_FOUND, jobq_get_result(f->q, id, &byte, 1, &n, &err));
    FAILS(JOBQ_NOT_FOUND, jobq_cancel(f->q, id, &err));
    FAILS(JOBQ_NOT_FOUND, jobq_retry_now(f->q, id, &err));
    FAILS(JOBQ_NOT_FOUND, jobq_delete(f->q, id, &err));
    FAILS(JOBQ_NOT_FOUND, jobq_wait(f->q, id, 0, &info, &err));
}

/* Goal: ids that no job has are not found, whatever they are. Method: numbers around the one
 * job that exists, and the ends of the range. */
TEST(unknown_ids_are_not_found) {
    fixture f;
    int64_t id;
    REQUIRE(open_probe(&f, (jobq_options){0}));
    id = put(f.q, "probe");
    CHECK_INT(drain(f.q), 1);
    refuse_id(&f, id + 1);
    refuse_id(&f, 0);
    refuse_id(&f, -1);
    refuse_id(&f, INT64_MAX);
    refuse_id(&f, INT64_MIN);
    still_works(f.q, 1);
    fixture_close(&f);
}

/* ---- Listing ---- */

/* Goal: a filter with a state that is none, or a negative budget, is a misuse, and so is a key
 * without a kind; a name that nobody has used only matches nothing. Method: each of them. */
TEST(bad_filters_are_refused) {
    char key[JOBQ_KEY_MAX + 2] = "";
    fixture f;
    jobq_info info;
    size_t n = 7;
    jobq_cursor cursor = {{0}, 0, false};
    REQUIRE(open_probe(&f, (jobq_options){0}));
    put(f.q, "probe");
    FAILS(JOBQ_MISUSE, jobq_list(f.q, &(jobq_filter){.state = (jobq_state)6}, &cursor, &info, 1,
                                 &n, &err));
    FAILS(JOBQ_MISUSE, jobq_list(f.q, &(jobq_filter){.state = (jobq_state)-1}, &cursor, &info, 1,
                                 &n, &err));
    FAILS(JOBQ_MISUSE, jobq_list(f.q, &(jobq_filter){.rows_max = -2}, &cursor, &info, 1, &n,
                                 &err));
    FAILS(JOBQ_BAD_NAME, jobq_list(f.q, &(jobq_filter){.kind = ""}, &cursor, &info, 1, &n, &err));
    FAILS(JOBQ_BAD_NAME, jobq_list(f.q, &(jobq_filter){.queue = ""}, &cursor, &info, 1, &n, &err));
    FAILS(JOBQ_MISUSE, jobq_list(f.q, &(jobq_filter){.key = "x"}, &cursor, &info, 1, &n, &err));
    FAILS(JOBQ_MISUSE, jobq_list(f.q, &(jobq_filter){.key = "x", .queue = "default"}, &cursor,
                                 &info, 1, &n, &err));
    FAILS(JOBQ_BAD_NAME, jobq_list(f.q, &(jobq_filter){.kind = "probe", .key = key}, &cursor,
                                   &info, 1, &n, &err));
    memset(key, 'k', JOBQ_KEY_MAX + 1);
    FAILS(JOBQ_BAD_NAME, jobq_list(f.q, &(jobq_filter){.kind = "probe", .key = key}, &cursor,
                                   &info, 1, &n, &err));
    CHECK_INT(cursor.stage, 0);
    WORKS(jobq_list(f.q, &(jobq_filter){.kind = "nobody"}, &cursor, &info, 1, &n, &err));
    CHECK_INT(n, 0);
    CHECK(cursor.done);
    CHECK_INT(drain(f.q), 1);
    still_works(f.q, 1);
    fixture_close(&f);
}

/* ---- Paths ---- */

static void refuse_path(const char *path, int wanted) {
    jobq *q = (jobq *)(uintptr_t)path; /* anything but NULL */
    FAILS(wanted, jobq_open(path, NULL, &q, &err));
    CHECK(q == NULL);
    FAILS_SOMEHOW(jobq_open(path, &(jobq_options){.role = JOBQ_CLIENT, .shared = true}, &q, &err));
    CHECK(q == NULL);
}

/* Goal: directories, devices and pipes are no files, and none of them is waited for. Method:
 * one of each. */
TEST(path_that_is_no_regular_file) {
    const char *fifo = test_path("fifo");
    refuse_path(test_dir(), JOBQ_NOT_A_FILE);
    refuse_path("/", JOBQ_NOT_A_FILE);
    refuse_path("/dev/null", JOBQ_NOT_A_FILE);
    CHECK(!exists("/dev/null-jobq"));
    REQUIRE(mkfifo(fifo, 0600) == 0);
    refuse_path(fifo, JOBQ_NOT_A_FILE);
}

static void write_file(const char *path, const char *text, int times) {
    FILE *file = fopen(path, "w");
    REQUIRE(file != NULL);
    for (int i = 0; i < times; i++) fputs(text, file);
    fclose(file);
}

/* Goal: a file that is no database is not touched. Method: a long and a short text. */
TEST(file_that_is_no_database) {
    static const char line[] = "These are the times that try men's souls.\n";
    const char *text = test_path("text.db"), *brief = test_path("brief.db");
    struct stat st;
    char back[sizeof line] = "";
    FILE *file;
    write_file(text, line, 1000);
    write_file(brief, "short\n", 1);
    refuse_path(text, JOBQ_NOT_A_DB);
    refuse_path(brief, JOBQ_NOT_A_DB);
    REQUIRE(stat(text, &st) == 0);
    CHECK_INT(st.st_size, (int64_t)(1000 * (sizeof line - 1)));
    REQUIRE(stat(brief, &st) == 0);
    CHECK_INT(st.st_size, 6);
    file = fopen(text, "r");
    REQUIRE(file != NULL);
    CHECK(fgets(back, sizeof back, file) != NULL);
    fclose(file);
    CHECK_STR(back, line);
}

/* Goal: a path that cannot be, is said to be so. Method: a missing directory, a dangling
 * link, a name that is too long, a file in place of a directory. */
TEST(path_that_cannot_be_opened) {
    char name[400];
    const char *dangling = test_path("dangling");
    refuse_path(test_path("no/such/directory/q.db"), JOBQ_CANT_OPEN);
    REQUIRE(symlink(test_path("nowhere/q.db"), dangling) == 0);
    refuse_path(dangling, JOBQ_CANT_OPEN);
    refuse_path(test_path(letters(name, sizeof name - 1)), JOBQ_CANT_OPEN);
    write_file(test_path("plain"), "x", 1);
    refuse_path(test_path("plain/q.db"), JOBQ_CANT_OPEN);
    CHECK(!exists(test_path("dangling-jobq")) && !exists(test_path("nowhere")));
}

/* Goal: another application's database is foreign. Method: a table, no .join. */
TEST(database_of_another_application) {
    const char *path = test_path("app.db");
    sql_run(path, "CREATE TABLE t(x); INSERT INTO t VALUES(1)");
    refuse_path(path, JOBQ_FOREIGN);
    CHECK_INT(sql_int(path, "SELECT count(*) FROM sqlite_master"), 1);
}

/* Goal: a damaged database is told as such, not opened, and not written. Method: a queue's
 * file, everything behind SQLite's own header overwritten. */
TEST(damaged_database) {
    const char *path = test_path("q.db");
    jobq *q = NULL;
    struct stat before, after;
    FILE *file;
    WORKS(jobq_open(path, &(jobq_options){.workers = JOBQ_NONE}, &q, &err));
    put(q, "k");
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    REQUIRE(stat(path, &before) == 0);
    file = fopen(path, "r+");
    REQUIRE(file != NULL);
    REQUIRE(fseek(file, 100, SEEK_SET) == 0);
    for (int64_t i = 100; i < (int64_t)before.st_size; i++) fputc((int)(i * 31 % 251), file);
    fclose(file);
    FAILS(JOBQ_CORRUPT, jobq_open(path, NULL, &q, &err));
    CHECK(q == NULL);
    REQUIRE(stat(path, &after) == 0);
    CHECK_INT(after.st_size, before.st_size);
}

/* Runs without root's powers, which no permission can stop. */
struct locked_room {
    char dir[64];
    char old_queue[96], new_queue[96];
    char shut[96], behind[2][112]; /* what lies behind cannot even be looked for */
};

static void try_read_only(void *arg) {
    struct locked_room *room = (struct locked_room *)arg;
    jobq *q = NULL;
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) {
        test_skip("privileges cannot be dropped");
        return;
    }
    FAILS(JOBQ_READ_ONLY, jobq_open(room->new_queue, NULL, &q, &err));
    CHECK(q == NULL);
    FAILS(JOBQ_READ_ONLY, jobq_open(room->old_queue, NULL, &q, &err));
    CHECK(q == NULL);
    CHECK(!exists(room->new_queue));
    for (int i = 0; i < 2; i++) FAILS(JOBQ_READ_ONLY, jobq_open(room->behind[i], NULL, &q, &err));
}

/* Goal: a directory that cannot be written is told as read-only, for a new queue and for one
 * that is there, and so is one that cannot be entered. Method: a child without privileges, in a
 * directory of mode 0555, beside one of mode 0. The test's
 * own directory will not do, as such a child may not look into it. */
TEST(read_only_directory) {
    struct locked_room room = {.dir = "/tmp/jobq-room-XXXXXX"};
    jobq *q = NULL;
    REQUIRE(mkdtemp(room.dir) != NULL);
    snprintf(room.old_queue, sizeof room.old_queue, "%s/old.db", room.dir);
    snprintf(room.new_queue, sizeof room.new_queue, "%s/new.db", room.dir);
    snprintf(room.shut, sizeof room.shut, "%s/shut", room.dir);
    snprintf(room.behind[0], sizeof room.behind[0], "%s/q.db", room.shut);
    snprintf(room.behind[1], sizeof room.behind[1], "%s/deep/q.db", room.shut);
    REQUIRE(mkdir(room.shut, 0) == 0);
    WORKS(jobq_open(room.old_queue, &(jobq_options){.workers = JOBQ_NONE}, &q, &err));
    put(q, "k");
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    CHECK_INT(chmod(room.old_queue, 0444), 0);
    CHECK_INT(chmod(room.dir, 0555), 0);
    CHECK_INT(test_fork(try_read_only, &room), 0);
    CHECK_INT(chmod(room.dir, 0700), 0);
    CHECK_INT(rmdir(room.shut), 0);
    WORKS(jobq_open(room.old_queue, &(jobq_options){.workers = JOBQ_NONE}, &q, &err));
    CHECK_INT(total(q), 1);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    test_remove(room.dir);
}

/* Goal: an option that must be one of a few values is nothing else, and no file is made. */
TEST(bad_enumerations_are_refused) {
    const char *path = test_path("q.db");
    const jobq_options wrong[] = {{.role = (jobq_role)2}, {.durability = (jobq_durability)2},
                                  {.migrate = (jobq_migrate)2}, {.migrate = (jobq_migrate)-1}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        jobq *q = NULL;
        FAILS(JOBQ_MISUSE, jobq_open(path, &wrong[i], &q, &err));
        CHECK(q == NULL && !exists(path));
    }
}

/* ---- Wrong role, wrong mode ---- */

/* Goal: a client may not run, change or take part in time. Method: every call that the header
 * keeps from clients; enqueue and look work. */
TEST(client_may_not_run_or_change) {
    const char *path = test_path("q.db");
    jobq *owner = NULL, *client = NULL;
    jobq_kind kind = {.name = "probe", .run = do_nothing};
    int64_t id;
    WORKS(jobq_open(path, &(jobq_options){.workers = JOBQ_NONE, .shared = true}, &owner, &err));
    WORKS(jobq_open(path, &(jobq_options){.role = JOBQ_CLIENT, .shared = true}, &client, &err));
    REQUIRE(owner != NULL && client != NULL);
    id = put(client, "probe");
    FAILS(JOBQ_MISUSE, jobq_register(client, &kind, &err));
    FAILS(JOBQ_MISUSE, jobq_start(client, &err));
    FAILS(JOBQ_MISUSE, jobq_cancel(client, id, &err));
    FAILS(JOBQ_MISUSE, jobq_retry_now(client, id, &err));
    FAILS(JOBQ_MISUSE, jobq_delete(client, id, &err));
    FAILS(JOBQ_MISUSE, jobq_advance(client, 1, NULL, &err));
    FAILS(JOBQ_MISUSE, jobq_advance_to_next(client, &err));
    FAILS(JOBQ_MISUSE, jobq_step(client, NULL, &err));
    FAILS(JOBQ_MISUSE, jobq_run_until_idle(client, NULL, &err));
    CHECK_INT(state_of(client, id), JOBQ_STATE_PENDING);
    CHECK_CODE(jobq_close(&client), JOBQ_OK);
    handle(owner, "probe", do_nothing, NULL);
    WORKS(jobq_notify(owner, &err));
    CHECK_INT(drain(owner), 1);
    still_works(owner, 1);
    CHECK_CODE(jobq_close(&owner), JOBQ_OK);
}

/* Goal: a pool is not stepped and a step queue is not started. Method: the wrong calls for
 * both; time in the hand needs an artificial clock. */
TEST(wrong_mode_is_misuse) {
    fixture f;
    jobq *pool = NULL;
    int64_t id;
    REQUIRE(open_probe(&f, (jobq_options){0}));
    FAILS(JOBQ_MISUSE, jobq_start(f.q, &err));
    still_works(f.q, 0);
    fixture_close(&f);
    WORKS(jobq_open(test_path("pool.db"), &(jobq_options){.workers = 1}, &pool, &err));
    REQUIRE(pool != NULL);
    FAILS(JOBQ_MISUSE, jobq_step(pool, NULL, &err));
    FAILS(JOBQ_MISUSE, jobq_run_until_idle(pool, NULL, &err));
    FAILS(JOBQ_MISUSE, jobq_advance(pool, 1000, NULL, &err));
    FAILS(JOBQ_MISUSE, jobq_advance_to_next(pool, &err));
    handle(pool, "k", do_nothing, NULL);
    start(pool);
    FAILS(JOBQ_MISUSE, jobq_step(pool, NULL, &err));
    FAILS(JOBQ_MISUSE, jobq_advance(pool, 1000, NULL, &err));
    id = put(pool, "k");
    CHECK_INT(finish(pool, id).state, JOBQ_STATE_DONE);
    CHECK_CODE(jobq_close(&pool), JOBQ_OK);
}

/* Goal: advancing by a negative time is an error and moves nothing. Method: try it. */
TEST(advance_does_not_go_back) {
    fixture f;
    REQUIRE(open_probe(&f, (jobq_options){0}));
    FAILS_SOMEHOW(jobq_advance(f.q, -1, NULL, &err));
    FAILS_SOMEHOW(jobq_advance(f.q, INT64_MIN, NULL, &err));
    CHECK_INT(fixture_elapsed(&f), 0);
    still_works(f.q, 0);
    fixture_close(&f);
}

/* Goal: a negative timeout of wait is an error. Method: on a job that is not finished. */
TEST(wait_refuses_negative_timeouts) {
    fixture f;
    int64_t id;
    REQUIRE(open_probe(&f, (jobq_options){0}));
    id = put(f.q, "probe");
    FAILS_SOMEHOW(jobq_wait(f.q, id, -2, NULL, &err));
    FAILS_SOMEHOW(jobq_wait(f.q, id, INT64_MIN, NULL, &err));
    CHECK_INT(drain(f.q), 1);
    still_works(f.q, 1);
    fixture_close(&f);
}

/* ---- Somebody else holds the database ---- */

/* Goal: a file that somebody holds cannot be opened in time, and can be afterwards. Method: an
 * exclusive transaction on a file that has no queue yet. */
TEST(foreign_writer_makes_open_busy) {
    const char *path = test_path("app.db");
    jobq_options options = {.workers = JOBQ_NONE, .join = true, .busy_ms = 10};
    jobq *q = NULL;
    sqlite3 *db;
    sql_run(path, "CREATE TABLE t(x)");
    db = sql_open(path);
    REQUIRE_INT(sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
    FAILS(JOBQ_BUSY, jobq_open(path, &options, &q, &err));
    CHECK(q == NULL);
    CHECK_INT(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    WORKS(jobq_open(path, &options, &q, &err));
    REQUIRE(q != NULL);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* ---- Racing with close ---- */

/* Goal: a wait that is inside when the queue is closed ends with CLOSED. Method: its timeout
 * is a wake of the artificial clock, so jobq_wakes tells that it is inside. */
TEST(wait_ends_when_the_queue_is_closed) {
    struct job_waiter w;
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = 1}));
    start_job_waiters(&w, 1, f.q, put(f.q, "parked"));
    fixture_close(&f);
    pthread_join(w.thread, NULL);
    CHECK_CODE(w.code, JOBQ_CLOSED);
}

TEST_MAIN(codes_have_names_and_sentences, states_and_outcomes_have_names,
          version_is_the_headers, header_of_another_version_is_refused, null_handle_is_misuse,
          null_argument_is_misuse, missing_path_is_refused, closing_nothing_is_misuse,
          error_argument_may_be_null, error_is_left_alone_by_success, bad_names_are_refused,
          bad_keys_are_refused, bad_times_are_refused, bad_payloads_are_refused,
          payload_default_limit_is_one_mebibyte, bad_row_fails_the_batch_and_is_named,
          empty_batch_is_fine, bad_kinds_are_refused, bad_policies_are_refused,
          registering_twice_is_misuse, too_many_names_is_full, unknown_ids_are_not_found,
          bad_filters_are_refused, path_that_is_no_regular_file, file_that_is_no_database,
          path_that_cannot_be_opened, database_of_another_application, damaged_database,
          read_only_directory, bad_enumerations_are_refused, client_may_not_run_or_change,
          wrong_mode_is_misuse,
          advance_does_not_go_back, wait_refuses_negative_timeouts, foreign_writer_makes_open_busy,
          wait_ends_when_the_queue_is_closed)
