/* config.c - what the caller gives: every default, and the range of every field. */

#include "test.h"
#include "unit.h"

/* ---- Options ---- */

/* Fills the defaults of one set of options and checks the code and that an error speaks. */
static jobq_options options_of(jobq_options given, int wanted, int line) {
    jobq_options o;
    jobq_error err = {.code = 12345};
    int rc;
    memset(&o, 0xa5, sizeof o);
    rc = jobq__config_options(&given, &o, &err);
    test_check_code(rc, wanted, __FILE__, line, "jobq__config_options", "the field's range");
    if (rc != JOBQ_OK) {
        test_check_int(err.code, rc, __FILE__, line, "err.code", "the code");
        test_check(strchr(err.text, ' ') != NULL, __FILE__, line, "the error is a sentence");
    } else {
        test_check_int(err.code, 12345, __FILE__, line, "err.code", "untouched");
    }
    return o;
}

#define OPTION(wanted, ...) (void)options_of((jobq_options){__VA_ARGS__}, wanted, __LINE__)
#define GOOD(field, value, becomes) \
    CHECK_INT(options_of((jobq_options){.field = value}, JOBQ_OK, __LINE__).field, becomes)

static void check_defaults(const jobq_options *o) {
    CHECK_INT(o->role, JOBQ_OWNER);
    CHECK_INT(o->durability, JOBQ_DURABLE);
    CHECK_INT(o->migrate, JOBQ_MIGRATE_AUTO);
    CHECK_INT(o->workers, 4);
    CHECK_INT(o->mode, 0600);
    CHECK(!o->join && !o->shared && !o->charge_reboots);
    CHECK_INT(o->busy_ms, 5 * JOBQ_SECOND);
    CHECK_INT(o->poll_ms, JOBQ_NONE);
    CHECK_INT(o->keep_done_ms, 24 * JOBQ_HOUR);
    CHECK_INT(o->keep_failed_ms, 7 * JOBQ_DAY);
    CHECK_INT(o->keep_max, JOBQ_UNLIMITED);
    CHECK_INT(o->payload_max, 1024 * 1024);
    CHECK_INT(o->wal_pages, 2000);
    CHECK_INT(o->page_size, 2048);
    CHECK_INT(o->stall_ms, 10 * JOBQ_SECOND);
    CHECK_INT((int64_t)o->seed, 0);
    CHECK(!o->clock && !o->on_event && !o->on_wake && !o->ctx);
}

/* Goal: zero is the default that the header tells. Method: no options, and zeroed options. */
TEST(option_defaults) {
    jobq_options o, zero;
    memset(&zero, 0, sizeof zero);
    REQUIRE_CODE(jobq__config_options(NULL, &o, NULL), JOBQ_OK);
    check_defaults(&o);
    REQUIRE_CODE(jobq__config_options(&zero, &o, NULL), JOBQ_OK);
    check_defaults(&o);
}

static void on_event(const jobq_event *event, void *ctx) {
    (void)event;
    (void)ctx;
}

static void on_wake(void *ctx) {
    (void)ctx;
}

/* Goal: what has no range is passed on. Method: set all of it. */
TEST(option_rest_is_copied) {
    jobq_clock *clock = jobq_clock_artificial(1);
    jobq_options o = options_of((jobq_options){.role = JOBQ_CLIENT, .durability = JOBQ_RELAXED,
                                               .join = true, .shared = true,
                                               .charge_reboots = true, .seed = UINT64_MAX,
                                               .clock = clock, .on_event = on_event,
                                               .on_wake = on_wake, .ctx = &clock},
                                JOBQ_OK, __LINE__);
    CHECK_INT(o.role, JOBQ_CLIENT);
    CHECK_INT(o.durability, JOBQ_RELAXED);
    CHECK(o.join && o.shared && o.charge_reboots);
    CHECK(o.seed == UINT64_MAX);
    CHECK(o.clock == clock && o.on_event == on_event && o.on_wake == on_wake && o.ctx == &clock);
    jobq_clock_free(clock);
}

/* Goal: enumerations hold one of their values. Method: the numbers beside them. */
TEST(option_enumerations) {
    OPTION(JOBQ_MISUSE, .role = (jobq_role)2);
    OPTION(JOBQ_MISUSE, .role = (jobq_role)77);
    OPTION(JOBQ_MISUSE, .durability = (jobq_durability)2);
    OPTION(JOBQ_MISUSE, .durability = (jobq_durability)77);
    OPTION(JOBQ_MISUSE, .migrate = (jobq_migrate)2);
    OPTION(JOBQ_MISUSE, .migrate = (jobq_migrate)77);
}

/* Goal: counts have both ends. Method: the ends, one beyond, and the negative numbers. */
TEST(option_counts) {
    GOOD(workers, JOBQ_NONE, JOBQ_NONE);
    GOOD(workers, 1, 1);
    GOOD(workers, JOBQ_WORKERS_MAX, JOBQ_WORKERS_MAX);
    OPTION(JOBQ_MISUSE, .workers = JOBQ_WORKERS_MAX + 1);
    OPTION(JOBQ_MISUSE, .workers = -2);
    OPTION(JOBQ_MISUSE, .workers = JOBQ_UNLIMITED);
    GOOD(payload_max, 1, 1);
    GOOD(payload_max, JOBQ_PAYLOAD_MAX, JOBQ_PAYLOAD_MAX);
    OPTION(JOBQ_MISUSE, .payload_max = JOBQ_PAYLOAD_MAX + INT64_C(1));
    OPTION(JOBQ_MISUSE, .payload_max = JOBQ_NONE);
    OPTION(JOBQ_MISUSE, .payload_max = INT64_MIN);
    GOOD(reserve_bytes, JOBQ_NONE, JOBQ_NONE);
    GOOD(reserve_bytes, 65536, 65536);
    GOOD(reserve_bytes, INT64_MAX / 4, INT64_MAX / 4);
    OPTION(JOBQ_MISUSE, .reserve_bytes = 65535);
    OPTION(JOBQ_MISUSE, .reserve_bytes = -2);
    OPTION(JOBQ_MISUSE, .reserve_bytes = INT64_MAX);
    GOOD(page_size, 512, 512);
    GOOD(page_size, 65536, 65536);
    OPTION(JOBQ_MISUSE, .page_size = 256);
    OPTION(JOBQ_MISUSE, .page_size = 131072);
    OPTION(JOBQ_MISUSE, .page_size = 3000);
    OPTION(JOBQ_MISUSE, .page_size = JOBQ_NONE);
    GOOD(wal_pages, 16, 16);
    GOOD(wal_pages, 1000000, 1000000);
    OPTION(JOBQ_MISUSE, .wal_pages = 15);
    OPTION(JOBQ_MISUSE, .wal_pages = 1000001);
    OPTION(JOBQ_MISUSE, .wal_pages = JOBQ_NONE);
    GOOD(group_id, 1, 1);
    GOOD(group_id, INT64_C(4294967294), INT64_C(4294967294));
    OPTION(JOBQ_MISUSE, .group_id = INT64_C(4294967295)); /* (gid_t)-1 */
    OPTION(JOBQ_MISUSE, .group_id = (INT64_C(1) << 32) | 5);
    OPTION(JOBQ_MISUSE, .group_id = JOBQ_NONE);
    OPTION(JOBQ_MISUSE, .group_id = INT64_MIN);
    GOOD(keep_max, 1, 1);
    GOOD(keep_max, JOBQ_UNLIMITED, JOBQ_UNLIMITED);
    GOOD(keep_max, INT64_MAX, INT64_MAX);
    OPTION(JOBQ_MISUSE, .keep_max = JOBQ_NONE);
    OPTION(JOBQ_MISUSE, .keep_max = INT64_MIN);
}

/* Goal: durations are not negative, but for JOBQ_NONE where it has a meaning. Method: the ends of
 * each field. */
TEST(option_times) {
    GOOD(busy_ms, 1, 1);
    GOOD(busy_ms, JOBQ_NONE, 0); /* do not wait */
    GOOD(busy_ms, JOBQ_NEVER, JOBQ_NEVER);
    GOOD(poll_ms, JOBQ_NEVER, JOBQ_NONE);
    OPTION(JOBQ_BAD_TIME, .busy_ms = JOBQ_UNLIMITED);
    OPTION(JOBQ_BAD_TIME, .poll_ms = JOBQ_UNLIMITED);
    OPTION(JOBQ_BAD_TIME, .keep_done_ms = JOBQ_UNLIMITED);
    OPTION(JOBQ_BAD_TIME, .keep_failed_ms = JOBQ_UNLIMITED);
    OPTION(JOBQ_BAD_TIME, .stall_ms = JOBQ_UNLIMITED);
    OPTION(JOBQ_BAD_TIME, .busy_ms = -2);
    GOOD(poll_ms, 1, 1);
    GOOD(poll_ms, JOBQ_NONE, JOBQ_NONE);
    OPTION(JOBQ_BAD_TIME, .poll_ms = -2);
    GOOD(keep_done_ms, 1, 1);
    GOOD(keep_done_ms, JOBQ_NONE, JOBQ_NONE);
    GOOD(keep_done_ms, JOBQ_NEVER, JOBQ_NEVER);
    OPTION(JOBQ_BAD_TIME, .keep_done_ms = -2);
    GOOD(keep_failed_ms, 1, 1);
    GOOD(keep_failed_ms, JOBQ_NONE, JOBQ_NONE);
    GOOD(keep_failed_ms, JOBQ_NEVER, JOBQ_NEVER);
    OPTION(JOBQ_BAD_TIME, .keep_failed_ms = INT64_MIN);
    GOOD(stall_ms, 1, 1);
    GOOD(stall_ms, JOBQ_NEVER, JOBQ_NEVER);
    OPTION(JOBQ_BAD_TIME, .stall_ms = JOBQ_NONE);
    OPTION(JOBQ_BAD_TIME, .stall_ms = INT64_MIN);
}

/* ---- Kinds ---- */

static jobq_outcome handler(jobq_run *run, void *ctx) {
    (void)run;
    (void)ctx;
    return JOBQ_DONE;
}

static int64_t backoff(int attempt, int64_t id, void *ctx) {
    (void)attempt;
    (void)id;
    (void)ctx;
    return 0;
}

/* The queue's options that a kind takes defaults from. */
static const jobq_options *queue_options(void) {
    static jobq_options o;
    CHECK_CODE(jobq__config_options(&(jobq_options){.keep_done_ms = 77, .keep_failed_ms = 88},
                                    &o, NULL), JOBQ_OK);
    return &o;
}

static jobq_kind kind_of(jobq_kind given, int wanted, int line) {
    jobq_kind kind;
    jobq_error err = {.code = 12345};
    int rc;
    if (!given.name) given.name = "k";
    if (!given.run) given.run = handler;
    rc = jobq__config_kind(queue_options(), &given, &kind, &err);
    test_check_code(rc, wanted, __FILE__, line, "jobq__config_kind", "the field's range");
    test_check_int(err.code, rc == JOBQ_OK ? 12345 : rc, __FILE__, line, "err.code", "the code");
    return kind;
}

#define KIND(wanted, ...) (void)kind_of((jobq_kind){__VA_ARGS__}, wanted, __LINE__)
#define GOOD_KIND(field, value, becomes) \
    CHECK_INT(kind_of((jobq_kind){.field = value}, JOBQ_OK, __LINE__).field, becomes)

/* Goal: a kind of a name and a handler has the defaults of the header, the queue's among them.
 * Method: each field. */
TEST(kind_defaults) {
    jobq_kind k = kind_of((jobq_kind){.ctx = &k}, JOBQ_OK, __LINE__);
    CHECK_STR(k.name, "k");
    CHECK(k.run == handler && k.ctx == &k && !k.backoff);
    CHECK_INT(k.attempts_max, 30);
    CHECK_INT(k.backoff_min_ms, JOBQ_SECOND);
    CHECK_INT(k.backoff_max_ms, JOBQ_HOUR);
    CHECK_INT(k.jitter_percent, 20);
    CHECK_INT(k.timeout_ms, JOBQ_NONE);
    CHECK_INT(k.crashes_max, 3);
    CHECK_INT(k.keep_done_ms, 77);
    CHECK_INT(k.keep_failed_ms, 88);
    CHECK(kind_of((jobq_kind){.backoff = backoff}, JOBQ_OK, __LINE__).backoff == backoff);
}

/* Goal: a kind needs a handler. Method: none. */
TEST(kind_without_a_handler) {
    jobq_kind given, kind;
    jobq_error err = {.code = 0};
    memset(&given, 0, sizeof given);
    given.name = "k";
    CHECK_CODE(jobq__config_kind(queue_options(), &given, &kind, &err), JOBQ_MISUSE);
    CHECK(strstr(err.text, "handler") != NULL);
}

/* Goal: the range of each field of a kind. Method: the ends and one beyond. */
TEST(kind_counts) {
    GOOD_KIND(attempts_max, 1, 1);
    GOOD_KIND(attempts_max, JOBQ_UNLIMITED, JOBQ_UNLIMITED);
    KIND(JOBQ_MISUSE, .attempts_max = JOBQ_NONE);
    KIND(JOBQ_MISUSE, .attempts_max = INT32_MIN);
    GOOD_KIND(crashes_max, 1, 1);
    GOOD_KIND(crashes_max, JOBQ_UNLIMITED, JOBQ_UNLIMITED);
    KIND(JOBQ_MISUSE, .crashes_max = JOBQ_NONE);
    GOOD_KIND(jitter_percent, JOBQ_NONE, 0);
    GOOD_KIND(jitter_percent, 1, 1);
    GOOD_KIND(jitter_percent, 100, 100);
    KIND(JOBQ_MISUSE, .jitter_percent = 101);
    KIND(JOBQ_MISUSE, .jitter_percent = -2);
}

/* Goal: the same for durations. Method: as above; JOBQ_NONE is no wait, no limit, or not kept. */
TEST(kind_times) {
    GOOD_KIND(backoff_min_ms, JOBQ_NONE, 0);
    GOOD_KIND(backoff_min_ms, JOBQ_NEVER, JOBQ_NEVER);
    GOOD_KIND(timeout_ms, JOBQ_NEVER, JOBQ_NONE);
    KIND(JOBQ_BAD_TIME, .backoff_min_ms = JOBQ_UNLIMITED);
    KIND(JOBQ_BAD_TIME, .backoff_min_ms = 2, .backoff_max_ms = 1);
    KIND(JOBQ_BAD_TIME, .backoff_min_ms = 1, .backoff_max_ms = JOBQ_NONE);
    KIND(JOBQ_OK, .backoff_min_ms = 1, .backoff_max_ms = 1);
    GOOD_KIND(backoff_min_ms, JOBQ_DAY, JOBQ_DAY); /* the default of the other gives way */
    GOOD_KIND(backoff_max_ms, 5, 5);
    KIND(JOBQ_BAD_TIME, .backoff_max_ms = JOBQ_UNLIMITED);
    KIND(JOBQ_BAD_TIME, .timeout_ms = JOBQ_UNLIMITED);
    KIND(JOBQ_BAD_TIME, .keep_done_ms = JOBQ_UNLIMITED);
    KIND(JOBQ_BAD_TIME, .keep_failed_ms = JOBQ_UNLIMITED);
    KIND(JOBQ_BAD_TIME, .backoff_min_ms = -2);
    GOOD_KIND(backoff_max_ms, JOBQ_NONE, 0);
    GOOD_KIND(backoff_max_ms, JOBQ_NEVER, JOBQ_NEVER);
    KIND(JOBQ_BAD_TIME, .backoff_max_ms = -2);
    GOOD_KIND(timeout_ms, 1, 1);
    GOOD_KIND(timeout_ms, JOBQ_NONE, JOBQ_NONE);
    KIND(JOBQ_BAD_TIME, .timeout_ms = -2);
    GOOD_KIND(keep_done_ms, JOBQ_NONE, JOBQ_NONE);
    GOOD_KIND(keep_done_ms, JOBQ_NEVER, JOBQ_NEVER);
    KIND(JOBQ_BAD_TIME, .keep_done_ms = -2);
    GOOD_KIND(keep_failed_ms, JOBQ_NONE, JOBQ_NONE);
    KIND(JOBQ_BAD_TIME, .keep_failed_ms = -2);
}

/* ---- Names ---- */

/* Goal: 1 to max bytes, any bytes. Method: lengths around both ends; the byte behind the limit is
 * the last one that is read. */
TEST(names_have_a_length) {
    char *text = (char *)malloc(JOBQ_KEY_MAX + 1);
    jobq_error err = {.code = 0};
    if (!text) test_give_up("no memory");
    for (size_t size = 0; size <= JOBQ_KEY_MAX; size++) {
        int wanted = size >= 1 && size <= JOBQ_NAME_MAX ? JOBQ_OK : JOBQ_BAD_NAME;
        memset(text, 0xfe, JOBQ_KEY_MAX);
        text[size] = '\0';
        CHECK_CODE(jobq__config_name("it", text, JOBQ_NAME_MAX, &err), wanted);
        CHECK_CODE(jobq__config_name("it", text, JOBQ_KEY_MAX, &err),
                   size ? JOBQ_OK : JOBQ_BAD_NAME);
    }
    free(text);
    CHECK_CODE(jobq__config_name("it", NULL, JOBQ_NAME_MAX, &err), JOBQ_BAD_NAME);
    CHECK(strstr(err.text, "it") != NULL);
    CHECK_CODE(jobq__config_name("it", "", JOBQ_NAME_MAX, NULL), JOBQ_BAD_NAME);
    CHECK_CODE(jobq__config_name("it", "a", JOBQ_NAME_MAX, NULL), JOBQ_OK);
}

/* Goal: a long name is not read beyond its limit. Method: bytes without an end, exactly as many as
 * may be read; a sanitizer would see one more. */
TEST(names_are_read_to_the_limit_only) {
    char *text = (char *)malloc(JOBQ_NAME_MAX + 1);
    if (!text) test_give_up("no memory");
    memset(text, 'n', JOBQ_NAME_MAX + 1);
    CHECK_CODE(jobq__config_name("it", text, JOBQ_NAME_MAX, NULL), JOBQ_BAD_NAME);
    free(text);
}

/* ---- Jobs ---- */

#define NOW INT64_C(1700000000000)

static void check_job(jobq_job job, int wanted, int line) {
    jobq_error err = {.code = 12345};
    int rc = jobq__config_job(queue_options(), &job, NOW, &err);
    test_check_code(rc, wanted, __FILE__, line, "jobq__config_job", "the field's range");
    test_check_int(err.code, rc == JOBQ_OK ? 12345 : rc, __FILE__, line, "err.code", "the code");
}

#define JOB(wanted, ...) check_job((jobq_job){__VA_ARGS__}, wanted, __LINE__)

static const char *text_of(size_t size) {
    static char text[JOBQ_KEY_MAX + 2];
    memset(text, 'n', sizeof text);
    text[size] = '\0';
    return text;
}

/* Goal: the names of a job. Method: missing, empty, longest, too long. */
TEST(job_names) {
    JOB(JOBQ_OK, .kind = "k");
    JOB(JOBQ_BAD_NAME, .kind = NULL);
    JOB(JOBQ_BAD_NAME, .kind = "");
    JOB(JOBQ_OK, .kind = text_of(JOBQ_NAME_MAX));
    JOB(JOBQ_BAD_NAME, .kind = text_of(JOBQ_NAME_MAX + 1));
    JOB(JOBQ_BAD_NAME, .kind = "k", .queue = "");
    JOB(JOBQ_OK, .kind = "k", .queue = text_of(JOBQ_NAME_MAX));
    JOB(JOBQ_BAD_NAME, .kind = "k", .queue = text_of(JOBQ_NAME_MAX + 1));
    JOB(JOBQ_BAD_NAME, .kind = "k", .key = "");
    JOB(JOBQ_OK, .kind = "k", .key = text_of(JOBQ_KEY_MAX));
    JOB(JOBQ_BAD_NAME, .kind = "k", .key = text_of(JOBQ_KEY_MAX + 1));
}

/* Goal: the payload's size. Method: its ends; the bytes are not looked at. */
TEST(job_payload) {
    JOB(JOBQ_MISUSE, .kind = "k", .payload = "x", .size = 0);
    JOB(JOBQ_OK, .kind = "k", .text = "");
    JOB(JOBQ_OK, .kind = "k", .text = "x");
    JOB(JOBQ_MISUSE, .kind = "k", .text = "x", .size = 1);
    JOB(JOBQ_MISUSE, .kind = "k", .text = "x", .payload = "x", .size = 1);
    JOB(JOBQ_OK, .kind = "k", .conflict = JOBQ_REFUSE);
    JOB(JOBQ_MISUSE, .kind = "k", .conflict = (jobq_conflict)1);
    JOB(JOBQ_OK, .kind = "k", .payload = "x", .size = 1024 * 1024);
    JOB(JOBQ_TOO_BIG, .kind = "k", .payload = "x", .size = 1024 * 1024 + 1);
    JOB(JOBQ_TOO_BIG, .kind = "k", .payload = "x", .size = SIZE_MAX);
    JOB(JOBQ_MISUSE, .kind = "k", .payload = NULL, .size = 1);
}

/* Goal: the times of a job. Method: their ends, and both together. */
TEST(job_times) {
    JOB(JOBQ_OK, .kind = "k", .run_at_ms = 1);
    JOB(JOBQ_OK, .kind = "k", .run_at_ms = JOBQ_NEVER);
    JOB(JOBQ_BAD_TIME, .kind = "k", .run_at_ms = -1);
    JOB(JOBQ_BAD_TIME, .kind = "k", .run_at_ms = INT64_MIN);
    JOB(JOBQ_OK, .kind = "k", .delay_ms = 1);
    JOB(JOBQ_BAD_TIME, .kind = "k", .delay_ms = JOBQ_UNLIMITED);
    JOB(JOBQ_OK, .kind = "k", .delay_ms = INT64_MAX - NOW);
    JOB(JOBQ_BAD_TIME, .kind = "k", .delay_ms = INT64_MAX - NOW + 1);
    JOB(JOBQ_BAD_TIME, .kind = "k", .delay_ms = INT64_MAX - 1);
    JOB(JOBQ_OK, .kind = "k", .delay_ms = JOBQ_NEVER);
    JOB(JOBQ_BAD_TIME, .kind = "k", .delay_ms = JOBQ_NONE);
    JOB(JOBQ_BAD_TIME, .kind = "k", .delay_ms = INT64_MIN);
    JOB(JOBQ_MISUSE, .kind = "k", .run_at_ms = 1, .delay_ms = 1);
}

/* Goal: every priority is one. Method: the ends. */
TEST(job_priority) {
    JOB(JOBQ_OK, .kind = "k", .priority = INT32_MIN);
    JOB(JOBQ_OK, .kind = "k", .priority = INT32_MAX);
}

TEST_MAIN(option_defaults, option_rest_is_copied, option_enumerations, option_counts, option_times,
          kind_defaults, kind_without_a_handler, kind_counts, kind_times, names_have_a_length,
          names_are_read_to_the_limit_only, job_names, job_payload, job_times, job_priority)
