/* who_may_call.c - clients, handlers and callbacks may call what the list in jobq.h says.
 *
 * The list is read from jobq.h itself: every public function stands in it once, and every call that
 * takes a queue is made from each of those places. */
#include "helpers.h"

enum { CALLS_MAX = 100, TEXT_MAX = 128 * 1024 };

enum place { CLIENT, HANDLER, IN_TX, CALLBACK, PLACES, CONNECT = PLACES /* no letter */ };

struct entry {
    char name[64];
    bool flagged;          /* stands in a line with the four letters */
    bool may[PLACES + 1];  /* nothing from on_connect */
};

static struct {
    char text[TEXT_MAX];   /* of jobq.h */
    struct entry entries[CALLS_MAX];
    int count;
} list;

/* ---- Reading the list ---- */

static bool read_header(void) {
    FILE *file = fopen("jobq.h", "r");
    size_t size;
    if (!file) test_note("jobq.h is not here: start this in the root of the tree");
    if (!file) return false;
    size = fread(list.text, 1, sizeof list.text - 1, file);
    fclose(file);
    list.text[size] = '\0';
    return size > 0;
}

/* "c h - e" at the beginning of a line of the list. */
static bool read_flags(const char *line, bool may[PLACES]) {
    static const char letters[] = "chte";
    for (int i = 0; i < PLACES; i++) {
        char c = line[2 * i];
        if ((c != letters[i] && c != '-') || line[2 * i + 1] != ' ') return false;
        may[i] = c != '-';
    }
    return true;
}

static void add_entry(const char *name, size_t size, bool flagged, const bool may[PLACES]) {
    struct entry *e = &list.entries[list.count];
    if (list.count == CALLS_MAX || size >= sizeof e->name) return;
    memcpy(e->name, name, size);
    e->name[size] = '\0';
    e->flagged = flagged;
    memcpy(e->may, may, PLACES * sizeof *may);
    e->may[CONNECT] = false;
    list.count++;
}

static size_t word_length(const char *at) {
    return strspn(at, "abcdefghijklmnopqrstuvwxyz0123456789_");
}

static void read_line(const char *line, size_t size, bool *flagged, bool may[PLACES]) {
    const char *end = line + size;
    if (read_flags(line + 6, may)) *flagged = true;
    else if (line[4] != ' ') *flagged = false;
    for (const char *at = line; (at = strstr(at, "jobq_")) != NULL && at < end;) {
        size_t length = word_length(at);
        /* In the words around the list, not a part of it. */
        if (strncmp(at, "jobq_open)", 10) != 0) add_entry(at, length, *flagged, may);
        at += length;
    }
}

static bool read_list(void) {
    const char *line = strstr(list.text, "\n * Who may call what.");
    const char *stop = line ? strstr(line, "\n *\n") : NULL;
    bool flagged = false, may[PLACES] = {false};
    int count = 0;
    list.count = 0;
    if (!stop) return false;
    line = strstr(line, "\n *   c"); /* behind the words that explain it */
    while (line && line < stop) {
        const char *next = strchr(line + 1, '\n');
        if (!next) break;
        read_line(line, (size_t)(next - line), &flagged, may);
        line = next;
    }
    for (int i = 0; i < list.count; i++) count += list.entries[i].flagged;
    return CHECK(count > 20);
}

static const struct entry *find_entry(const char *name, size_t size) {
    const struct entry *found = NULL;
    for (int i = 0; i < list.count; i++) {
        if (strlen(list.entries[i].name) != size || memcmp(list.entries[i].name, name, size) != 0)
            continue;
        if (!CHECK(found == NULL)) test_note("%s stands there twice", list.entries[i].name);
        found = &list.entries[i];
    }
    return found;
}

/* Goal: every public function stands in the list, once. Method: the declarations of jobq.h. */
TEST(list_is_complete) {
    int declared = 0;
    REQUIRE(read_header());
    REQUIRE(read_list());
    for (const char *at = list.text; (at = strstr(at, "\nJOBQ_API ")) != NULL; at++) {
        const char *name = strstr(at, "jobq_"), *end = strchr(at, '(');
        /* The type before it may be one of ours. */
        while (name && end && name < end && name[word_length(name)] != '(')
            name = strstr(name + 1, "jobq_");
        REQUIRE(name != NULL && end != NULL);
        if (!CHECK(find_entry(name, word_length(name)) != NULL))
            test_note("%.*s is missing", (int)word_length(name), name);
        declared++;
    }
    CHECK_INT(list.count, declared);
}

/* ---- Codes ---- */

static bool is_code(const char *word, size_t size) {
    char name[64];
    if (size + 6 > sizeof name) return false;
    if (size == 8 && memcmp(word, "SIZE_MAX", 8) == 0) return true; /* C's own */
    snprintf(name, sizeof name, "JOBQ_%.*s", (int)size, word);
#define IS_CODE(code, value, sentence) if (strcmp(name, #code) == 0) return true;
    JOBQ_CODES(IS_CODE)
#undef IS_CODE
    return false;
}

/* The words in capitals of one comment, from "Fails" on. */
static int check_codes(const char *at, const char *end) {
    static const char capitals[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_";
    static const char others[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    int codes = 0;
    while (at < end) {
        size_t size = strspn(at, capitals), word = size + strspn(at + size, others);
        bool code = size > 1 && size == word && strncmp(at, "NULL", 4) != 0
                 && strncmp(at, "JOBQ_", 5) != 0;
        if (code && !CHECK(is_code(at, size))) test_note("%.*s is no code", (int)size, at);
        codes += code;
        at += word ? word : 1;
    }
    return codes;
}

/* Goal: what a function is said to fail with exists. Method: each comment of jobq.h, from "Fails"
 * on: words in capitals are codes. */
TEST(codes_that_are_named_exist) {
    const char *at;
    int codes = 0;
    REQUIRE(read_header());
    at = strstr(list.text, "#ifndef JOBQ_H"); /* what stands before it is no function's */
    for (; at && (at = strstr(at, "Fails")) != NULL; at++) {
        const char *end = strstr(at, "*/");
        REQUIRE(end != NULL);
        codes += check_codes(at, end);
    }
    CHECK(codes > 50);
}

/* ---- The calls ---- */

static int number; /* of kinds that were registered */

static int make_call(const char *name, jobq *q, jobq_error *err) {
    char kind_name[32];
    jobq_job job = {.kind = "other"};
    jobq_kind kind = {.name = kind_name, .run = do_nothing};
    jobq_cursor cursor = {.done = false};
    jobq_info info;
    jobq_counts counts;
    jobq_stats stats;
    int64_t at_ms;
    size_t n;
    snprintf(kind_name, sizeof kind_name, "kind %d", ++number);
#define CALL(call, ...) if (strcmp(name, #call) == 0) return call(q, __VA_ARGS__)
    CALL(jobq_enqueue, &job, NULL, err);
    CALL(jobq_enqueue_many, &job, 1, NULL, err);
    CALL(jobq_flush, err);
    CALL(jobq_get, 1, &info, err);
    CALL(jobq_get_payload, 1, NULL, 0, NULL, err);
    CALL(jobq_get_result, 1, NULL, 0, NULL, err);
    CALL(jobq_list, NULL, &cursor, &info, 1, &n, err);
    CALL(jobq_count, &counts, err);
    CALL(jobq_check, false, NULL, NULL, NULL, err);
    CALL(jobq_stat, &stats, err);
    CALL(jobq_notify, err);
    CALL(jobq_next_deadline, &at_ms, err);
    CALL(jobq_register, &kind, err);
    CALL(jobq_cancel, 1, err);
    CALL(jobq_retry_now, 1, err);
    CALL(jobq_delete, 1, err);
    CALL(jobq_start, err);
    CALL(jobq_stop, JOBQ_NONE, err);
    CALL(jobq_wait, 1, 0, NULL, err);
    CALL(jobq_step, NULL, err);
    CALL(jobq_run_until_idle, NULL, err);
    CALL(jobq_advance, 0, NULL, err);
    CALL(jobq_advance_to_next, err);
#undef CALL
    if (strcmp(name, "jobq_wakes") == 0) return jobq_wakes(q) < 0 ? JOBQ_IO : JOBQ_OK;
    if (strcmp(name, "jobq_close") == 0) {
        jobq *copy = q;
        int code = jobq_close(&copy);
        CHECK(copy == (code == JOBQ_OK ? NULL : q));
        return code;
    }
    test_note("no call of %s in this test", name);
    return JOBQ_IO;
}

/* Every call from there: refused with a sentence that names it, or not refused. A client's close
 * comes last, and is another's. */
static void call_all(jobq *q, enum place place) {
    for (int i = 0; i < list.count; i++) {
        const struct entry *e = &list.entries[i];
        bool closes = strcmp(e->name, "jobq_close") == 0;
        jobq_error err = {.code = JOBQ_OK};
        int code;
        if (!e->flagged || (closes && e->may[place])) continue;
        if (place == CONNECT && strcmp(e->name, "jobq_wakes") == 0) continue; /* has no code */
        code = make_call(e->name, q, &err);
        if (!CHECK_INT(code != JOBQ_MISUSE, e->may[place]))
            test_note("place %d: %s is %s: %s", place, e->name, jobq_code_name(code), err.text);
        /* In a job's transaction the sentence is that of the transaction. */
        if (code == JOBQ_MISUSE && !closes && place != IN_TX
            && !CHECK(strstr(err.text, e->name) != NULL)) test_note("%s", err.text);
    }
}

/* ---- The places ---- */

static struct {
    jobq *q;
    bool armed, inside;    /* the callbacks: to call all, or at it */
    int called;
} callback;

static void call_all_once(void) {
    if (!callback.armed || callback.inside) return;
    callback.inside = true;
    callback.armed = false;
    callback.called++;
    call_all(callback.q, CALLBACK);
    callback.inside = false;
}

static void on_event(const jobq_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    call_all_once();
}

static void on_wake(void *ctx) {
    (void)ctx;
    call_all_once();
}

static void on_thread(jobq_thread what, int index, bool begins, void *ctx) {
    const int *chosen = (const int *)ctx;
    (void)index;
    if ((int)what == chosen[0] && begins == (chosen[1] != 0)) call_all_once();
}

static jobq_outcome in_handler(jobq_run *run, void *ctx) {
    (void)ctx;
    call_all(jobq_run_handle(run), HANDLER);
    return JOBQ_DONE;
}

static jobq_outcome in_transaction(jobq_run *run, void *ctx) {
    struct sqlite3 *db = NULL;
    (void)ctx;
    WORKS(jobq_run_db(run, &db, &err));
    call_all(jobq_run_handle(run), IN_TX);
    return JOBQ_DONE;
}

static struct {
    jobq *q;               /* as jobq_open has left it */
    jobq_run *run;
    int called;            /* for how many connections */
    bool failed;           /* then the rest could hang */
} connecting;

/* What hangs when it is not refused comes after what does not. */
static int in_connect(sqlite3 *db, jobq_connection which, jobq_stage stage, jobq_error *err,
                      void *ctx) {
    jobq_stats stats;
    size_t size = 0;
    (void)db, (void)err, (void)ctx;
    if (stage != JOBQ_STAGE_SETUP) return 0;
    connecting.called++;
    CHECK_INT(which == JOBQ_CONNECTION_JOB, connecting.q != NULL);
    connecting.failed |= !CHECK_CODE(jobq_stat(connecting.q, &stats, NULL), JOBQ_MISUSE);
    if (connecting.q)
        connecting.failed |= !CHECK(jobq_run_checkpoint(connecting.run, &size) == NULL)
                          || !CHECK(size == SIZE_MAX);
    if (!connecting.q || connecting.failed) return 0;
    call_all(connecting.q, CONNECT);
    CHECK_CODE(jobq_close(&connecting.q), JOBQ_MISUSE);
    CHECK_CODE(jobq_run_db(connecting.run, &db, NULL), JOBQ_MISUSE);
    CHECK_CODE(jobq_checkpoint(connecting.run, "x", 1, NULL), JOBQ_MISUSE);
    CHECK(!jobq_run_sleep(connecting.run, JOBQ_HOUR));
    return 0;
}

static jobq_outcome let_connect(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    (void)ctx;
    connecting.run = run;
    if (jobq_run_attempt(run) == 1) {
        /* So that there is something to read. */
        WORKS(jobq_checkpoint(run, "data", 4, &err));
        return JOBQ_RETRY;
    }
    WORKS(jobq_run_db(run, &db, &err));
    put(jobq_run_handle(run), "other");
    return JOBQ_DONE;
}

/* RELAXED, for there a flush writes. */
static bool open_place(fixture *f, jobq_options options) {
    if (!options.workers) options.workers = JOBQ_NONE;
    options.durability = JOBQ_RELAXED;
    options.shared = true;
    return read_header() && read_list() && fixture_open(f, options);
}

/* Goal: a client may call what the list says. Method: every call; then it closes. */
TEST(clients_call_what_the_list_says) {
    jobq *client = NULL;
    fixture f;
    REQUIRE(open_place(&f, (jobq_options){0}));
    put(f.q, "other");
    WORKS(jobq_open(f.path, &(jobq_options){.role = JOBQ_CLIENT, .shared = true, .clock = f.clock},
                    &client, &err));
    REQUIRE(client != NULL);
    call_all(client, CLIENT);
    CHECK_CODE(jobq_close(&client), JOBQ_OK);
    fixture_close(&f);
}

/* Goal: so may a handler, and what it may not harms nothing. Method: every call, before and after
 * jobq_run_db; on the thread that steps, and on a worker's, where close or wait would wait for
 * themselves. */
TEST(handlers_call_what_the_list_says) {
    static const int workers[] = {JOBQ_NONE, 1};
    for (int i = 0; i < 2; i++) {
        fixture f;
        int64_t ids[2];
        REQUIRE(open_place(&f, (jobq_options){.workers = workers[i]}));
        handle(f.q, "k", in_handler, NULL);
        handle(f.q, "t", in_transaction, NULL);
        put(f.q, "nobody"); /* it is what the calls are about */
        if (workers[i] > 0) start(f.q);
        for (int n = 0; n < 2; n++) {
            ids[n] = put(f.q, n ? "t" : "k");
            if (workers[i] > 0) finish(f.q, ids[n]);
            else drain(f.q);
            CHECK_INT(state_of(f.q, ids[n]), JOBQ_STATE_DONE);
        }
        CHECK_INT(stats_of(f.q).started_now, workers[i] > 0);
        CHECK_INT(fixture_elapsed(&f), 0);
        fixture_remove(&f);
    }
}

/* Goal: on_connect may not call the queue at all, and hears so at once. Method: at each connection
 * that opening needs, when there is no queue yet, and at the job's, on a file and in memory, in
 * step mode and on a worker: every call, those with the run as well; the job ends as it would. */
TEST(connecting_calls_nothing) {
    for (int way = 0; way < 4 && !connecting.failed; way++) {
        bool memory = way & 1;
        jobq_options options = {.workers = way & 2 ? 1 : JOBQ_NONE, .on_connect = in_connect,
                                .durability = JOBQ_RELAXED};
        jobq *q = NULL;
        int64_t id;
        memset(&connecting, 0, sizeof connecting);
        REQUIRE(read_header() && read_list());
        WORKS(jobq_open(memory ? ":memory:" : test_path("connect.db"), &options, &q, &err));
        REQUIRE(q != NULL);
        CHECK_INT(connecting.called, memory ? 1 : 3);
        connecting.q = q;
        handle_kind(q, (jobq_kind){.name = "k", .run = let_connect, .backoff_min_ms = JOBQ_NONE});
        id = put(q, "k");
        if (way & 2) start(q);
        if (way & 2) finish(q, id);
        else drain(q);
        CHECK_INT(state_of(q, id), JOBQ_STATE_DONE);
        CHECK_INT(count_all(q).parked, 1);
        CHECK_INT(connecting.called, memory ? 2 : 4);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
        remove(test_path("connect.db"));
    }
}

/* Goal: so may on_thread. Method: where each kind of thread begins, and where it ends. */
TEST(thread_callbacks_call_what_the_list_says) {
    static int places[][2] = {{JOBQ_THREAD_WORKER, true}, {JOBQ_THREAD_WORKER, false},
                              {JOBQ_THREAD_SCHEDULER, true}, {JOBQ_THREAD_SCHEDULER, false}};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        fixture f;
        memset(&callback, 0, sizeof callback);
        REQUIRE(open_place(&f, (jobq_options){.workers = 1, .on_thread = on_thread,
                                              .ctx = places[i]}));
        handle(f.q, "k", do_nothing, NULL);
        put(f.q, "nobody");
        callback.q = f.q;
        callback.armed = true;
        start(f.q);
        finish(f.q, put(f.q, "k"));
        WORKS(jobq_stop(f.q, JOBQ_NEVER, &err));
        CHECK_INT(callback.called, 1);
        CHECK_INT(fixture_elapsed(&f), 0);
        fixture_remove(&f);
    }
}

/* Goal: and the callbacks. Method: on_event in step mode and with a pool, for events of a caller
 * and of a run, and on_wake; each alone. */
TEST(callbacks_call_what_the_list_says) {
    enum { EVENTS, POOL_EVENTS, WAKES, WAYS };
    for (int way = 0; way < WAYS; way++) {
        jobq_options options = {.workers = way == POOL_EVENTS};
        fixture f;
        int64_t id;
        memset(&callback, 0, sizeof callback);
        if (way == WAKES) options.on_wake = on_wake;
        else options.on_event = on_event;
        REQUIRE(open_place(&f, options));
        handle(f.q, "k", do_nothing, NULL);
        put(f.q, "nobody"); /* it is what the calls are about */
        callback.q = f.q;
        callback.armed = true;
        id = put(f.q, "k");
        CHECK_INT(callback.called, 1);
        callback.armed = way != WAKES;
        if (way == POOL_EVENTS) start(f.q);
        if (way == POOL_EVENTS) finish(f.q, id);
        else CHECK_INT(drain(f.q), 1);
        CHECK_INT(callback.called, way == WAKES ? 1 : 2);
        CHECK_INT(fixture_elapsed(&f), 0);
        fixture_remove(&f);
    }
}

TEST_MAIN(list_is_complete, codes_that_are_named_exist, clients_call_what_the_list_says,
          connecting_calls_nothing, handlers_call_what_the_list_says,
          thread_callbacks_call_what_the_list_says,
          callbacks_call_what_the_list_says)
