/* stop.c - start, stop and close in every order, from several threads at once.
 *
 * Promised: every call returns one of the codes that its comment names, and soon. A call that
 * races with close gets JOBQ_CLOSED, and close waits for it and for every handler. No job that was
 * acknowledged is lost or done twice, none is there that was not, and a closed queue leaves no
 * thread and no file behind.
 *
 * An order: a queue is opened, three threads call what the seed draws, and a fourth closes it. As a
 * handle must not be used once close has returned, something has to keep close from returning until
 * all callers have left, which they do when they see JOBQ_CLOSED. That is the keeper:
 *
 *   NOBODY   the callers are told to leave before; close meets the pool alone
 *   HANDLER  a handler that does not return; nobody may begin to wait for handlers meanwhile
 *   READER   a jobq_get that stands inside SQLite; nobody may begin to read meanwhile, but the pool
 *            goes on, so that starts and stops of all kinds run into the close
 *   WAKER    a jobq_notify that stands in on_wake (step mode)
 *
 * Before a keeper stands there the callers hear of it (phase), each between two of its calls, so
 * that no call is under way that would wait for the keeper.
 *
 * Most orders share a file with the orders before, whose jobs they go on with; now and then all of
 * it is run to its end and compared with what the callers and handlers have noted (audit). The
 * others are in memory. An order that takes seconds is a hang. */
#include "stress_jobs.h"

#if defined __SANITIZE_THREAD__
#define BUILD "the thread sanitizer"
#elif defined __SANITIZE_ADDRESS__
#define BUILD "the address sanitizer"
#elif defined JOBQ_DEBUG
#define BUILD "a debug build"
#else
#define BUILD "a plain build"
#endif

enum {
    ORDERS = 2000,
    PATIENCE_MS = 30000, /* nothing but a hang takes as long, on a slow machine either */
    FILE_ORDERS = 200, /* that share a file */
    CALLERS = 3,
    CALLS_MAX = 16, /* of an order, before the keeper comes */
    RACE_MAX = 6,   /* and then, before it is closed */
    NO_CHECKPOINT = 1000000,
    MANY_MAX = 4,
    KEYS = 4
};

enum keeper { NOBODY, HANDLER, READER, WAKER };
enum phase { FREE, HELD, LEAVE };

struct caller {
    pthread_t thread;
    uint64_t random;
    const char *doing; /* atomic */
};

static struct order {
    int number;
    bool step, by_hand;
    enum keeper keeper;
    jobq_clock *clock;
    struct caller callers[CALLERS];
    int phase, calls, enough, closes; /* atomic */
    int leavers; /* callers and closers that the keeper waits for */
    gate reached, heard, race, held, left; /* all but the race are open: they only count */
} order;

static gate *const gates[] = {&order.reached, &order.heard, &order.race, &order.held, &order.left};
enum { GATES = sizeof gates / sizeof gates[0] };

/* The file that orders share. */
static struct {
    const char *path;
    jobq_clock *clock; /* NULL: the system's */
    struct books books;
} file;

static struct books memory_books;
static int all_calls, all_closed; /* atomic; closed: calls that saw it */
static __thread bool keeping;

/* Stands until all have left, if this thread is the keeper. */
static void keep(void) {
    if (!keeping) return;
    keeping = false;
    gate_pass(&order.held);
    gate_await(&order.left, order.leavers);
}

/* What a handler of the kind hold does. */
static void hold(void) {
    keeping = order.keeper == HANDLER && read_of(&order.phase) == HELD;
    keep();
}

/* ---- What callers do ---- */

static int draw(struct caller *c, int n) {
    return (int)(test_random(&c->random) % (uint64_t)n);
}

static int64_t draw_id(struct caller *c) {
    int newest = read_of(&now.books->newest);
    int64_t id = draw(c, 3) ? newest - draw(c, 8) : 1 + draw(c, newest + 1);
    return id < 1 ? 1 : id;
}

static jobq_job draw_job(struct caller *c, char *key, size_t size) {
    jobq_job job = drawn_job(&c->random, KEYS, key, size);
    if (draw(c, 3) == 0) job.kind = draw(c, 4) ? "row" : "late";
    return job;
}

static int act_enqueue(struct caller *c) {
    char key[16];
    jobq_job job = draw_job(c, key, sizeof key);
    int64_t id = 0;
    jobq_error err = {.code = 0};
    int code;
    job.conflict = JOBQ_REFUSE;
    code = jobq_enqueue(now.q, &job, &id, &err);
    if (code == JOBQ_OK) book(id);
    if (code != JOBQ_EXISTS) return code;
    CHECK(job.key && err.id > 0);
    return JOBQ_OK;
}

static int act_enqueue_many(struct caller *c) {
    char keys[MANY_MAX][16];
    jobq_job jobs[MANY_MAX];
    jobq_stored results[MANY_MAX];
    size_t count = 1 + (size_t)draw(c, MANY_MAX);
    int code;
    for (size_t i = 0; i < count; i++) jobs[i] = draw_job(c, keys[i], sizeof keys[i]);
    code = jobq_enqueue_many(now.q, jobs, count, results, NULL);
    for (size_t i = 0; i < count && code == JOBQ_OK; i++) {
        if (results[i].how == JOBQ_NEW) book(results[i].id);
        else CHECK_INT(results[i].how, JOBQ_KEPT);
    }
    return code;
}

static int act_cancel(struct caller *c) {
    return jobq_cancel(now.q, draw_id(c), NULL);
}

static int act_retry_now(struct caller *c) {
    int code = jobq_retry_now(now.q, draw_id(c), NULL);
    return code == JOBQ_EXISTS ? JOBQ_OK : code;
}

static int act_delete(struct caller *c) {
    int64_t id = draw_id(c);
    int code = jobq_delete(now.q, id, NULL);
    if (code != JOBQ_OK || !known(id)) return code;
    CHECK(!now.books->deleted[id]);
    now.books->deleted[id] = true;
    return code;
}

static int act_start(struct caller *c) {
    (void)c;
    return jobq_start(now.q, NULL);
}

static int act_stop(struct caller *c) {
    return jobq_stop(now.q, draw(c, 2) ? JOBQ_NONE : 1, NULL);
}

static int act_stop_patiently(struct caller *c) {
    return jobq_stop(now.q, draw(c, 2) ? JOBQ_NEVER : 0, NULL);
}

static int act_register(struct caller *c) {
    return register_work(now.q, draw(c, WORKS_COUNT));
}

static int act_flush(struct caller *c) {
    (void)c;
    return jobq_flush(now.q, NULL);
}

static int act_notify(struct caller *c) {
    (void)c;
    return jobq_notify(now.q, NULL);
}

static int act_stat(struct caller *c) {
    jobq_stats stats = {.failed_code = JOBQ_OK};
    int code = jobq_stat(now.q, &stats, NULL);
    (void)c;
    CHECK_CODE(stats.failed_code, JOBQ_OK);
    CHECK_INT(stats.lost_outcomes, 0);
    CHECK(jobq_wakes(now.q) >= 0);
    return code;
}

static int act_next_deadline(struct caller *c) {
    int64_t at_ms;
    (void)c;
    return jobq_next_deadline(now.q, &at_ms, NULL);
}

static int act_get(struct caller *c) {
    jobq_info info;
    return jobq_get(now.q, draw_id(c), &info, NULL);
}

static int act_list(struct caller *c) {
    jobq_filter filter = {.rows_max = 50};
    jobq_cursor cursor = {.done = false};
    jobq_info infos[4];
    size_t count;
    filter.state = draw(c, 2) ? JOBQ_STATE_PENDING : JOBQ_STATE_NONE;
    return jobq_list(now.q, &filter, &cursor, infos, 4, &count, NULL);
}

static int act_count(struct caller *c) {
    jobq_counts counts;
    (void)c;
    return jobq_count(now.q, &counts, NULL);
}

/* By an artificial clock only somebody else could end the wait. */
static int act_wait(struct caller *c) {
    return jobq_wait(now.q, draw_id(c), order.by_hand ? 0 : draw(c, 3), NULL, NULL);
}

static int act_advance(struct caller *c) {
    return jobq_advance(now.q, draw(c, 8), NULL, NULL);
}

static int act_clock_advance(struct caller *c) {
    jobq_clock_advance(order.clock, draw(c, 4));
    return JOBQ_OK;
}

static int act_step(struct caller *c) {
    (void)c;
    return jobq_step(now.q, NULL, NULL);
}

static int act_run_until_idle(struct caller *c) {
    (void)c;
    return jobq_run_until_idle(now.q, NULL, NULL);
}

/* ---- Who may do what ---- */

/* Only so; READS and PATIENT not under the keeper whom that would wait for. */
enum { POOL = 1, STEPS = 2, BY_HAND = 4, READS = 8, PATIENT = 16 };

#define OR(code) (1u << -(code))

static const struct act {
    const char *name;
    int (*call)(struct caller *c);
    int when;
    unsigned also; /* codes that it may return besides OK, and CLOSED when it is time for that */
} acts[] = {
    {"enqueue", act_enqueue, 0, 0},
    {"enqueue", act_enqueue, 0, 0},
    {"enqueue_many", act_enqueue_many, 0, 0},
    {"cancel", act_cancel, 0, OR(JOBQ_NOT_FOUND) | OR(JOBQ_BAD_STATE)},
    {"retry_now", act_retry_now, 0, OR(JOBQ_NOT_FOUND) | OR(JOBQ_BAD_STATE)},
    {"delete", act_delete, 0, OR(JOBQ_NOT_FOUND) | OR(JOBQ_BUSY)},
    {"start", act_start, POOL, OR(JOBQ_BUSY)},
    {"start", act_start, POOL, OR(JOBQ_BUSY)},
    {"start", act_start, POOL, OR(JOBQ_BUSY)},
    {"stop", act_stop, 0, OR(JOBQ_TIMEOUT)},
    {"stop patiently", act_stop_patiently, PATIENT, OR(JOBQ_TIMEOUT)},
    {"register", act_register, 0, OR(JOBQ_MISUSE)},
    {"flush", act_flush, 0, 0},
    {"notify", act_notify, 0, 0},
    {"stat", act_stat, 0, 0},
    {"next_deadline", act_next_deadline, 0, 0},
    {"get", act_get, READS, OR(JOBQ_NOT_FOUND)},
    {"list", act_list, READS, 0},
    {"count", act_count, READS, 0},
    {"wait", act_wait, READS, OR(JOBQ_NOT_FOUND) | OR(JOBQ_TIMEOUT)},
    {"advance", act_advance, BY_HAND, OR(JOBQ_STALLED) | OR(JOBQ_BUSY)},
    {"clock_advance", act_clock_advance, BY_HAND, 0},
    {"step", act_step, STEPS, OR(JOBQ_BUSY)},
    {"run_until_idle", act_run_until_idle, STEPS, OR(JOBQ_BUSY)},
    {"run_until_idle", act_run_until_idle, STEPS, OR(JOBQ_BUSY)}};

static bool may(const struct act *act, int phase) {
    int never = order.step ? POOL : STEPS;
    if (!order.by_hand) never |= BY_HAND;
    if (phase == HELD && order.keeper == HANDLER) never |= PATIENT;
    if (phase == HELD && order.keeper == READER) never |= READS;
    return (act->when & never) == 0;
}

static int do_act(struct caller *c, const struct act *act) {
    int code;
    __atomic_store_n(&c->doing, act->name, __ATOMIC_RELAXED);
    code = act->call(c);
    __atomic_store_n(&c->doing, "nothing", __ATOMIC_RELAXED);
    add_to(&all_calls, 1);
    if (code == JOBQ_CLOSED && CHECK(read_of(&now.closing))) add_to(&all_closed, 1);
    else if (!CHECK(code == JOBQ_OK || (code < 0 && (OR(code) & act->also))))
        test_note("order %d: %s is %s", order.number, act->name, jobq_code_name(code));
    return code;
}

/* Waits for jobs as long as it takes: only close can end the last of these. */
static int wait_for_ever(struct caller *c) {
    int64_t id = draw_id(c);
    int code;
    __atomic_store_n(&c->doing, "wait for ever", __ATOMIC_RELAXED);
    /* While nobody moves the clock nothing may go on for a while. */
    do code = jobq_wait(now.q, id, JOBQ_NEVER, NULL, NULL);
    while (code == JOBQ_STALLED && order.by_hand);
    if (!CHECK(code == JOBQ_OK || code == JOBQ_NOT_FOUND || code == JOBQ_CLOSED))
        test_note("the wait for ever is %s", jobq_code_name(code));
    if (code == JOBQ_NOT_FOUND) sched_yield();
    return code;
}

/* Hears of a new phase, and waits until the keeper stands. */
static int hear(struct caller *c, int phase) {
    __atomic_store_n(&c->doing, "hear", __ATOMIC_RELAXED);
    gate_pass(&order.heard);
    if (phase == HELD) gate_pass(&order.race);
    return phase;
}

/* Who has seen JOBQ_CLOSED sees nothing else any more, as long as the keeper stands. */
static void call_once_more(struct caller *c) {
    for (;;) {
        const struct act *act = &acts[draw(c, sizeof acts / sizeof acts[0])];
        if (act->call == act_clock_advance || !may(act, HELD)) continue;
        CHECK_CODE(do_act(c, act), JOBQ_CLOSED);
        return;
    }
}

static void *call_around(void *arg) {
    struct caller *c = (struct caller *)arg;
    bool waits = order.keeper == HANDLER && c == &order.callers[0];
    int code = JOBQ_OK, heard = FREE;
    while (code != JOBQ_CLOSED && heard != LEAVE) {
        const struct act *act = &acts[draw(c, sizeof acts / sizeof acts[0])];
        int phase = read_of(&order.phase);
        if (waits) {
            code = wait_for_ever(c);
        } else if (phase != heard) {
            heard = hear(c, phase);
        } else if (may(act, phase)) {
            code = do_act(c, act);
            if (add_to(&order.calls, 1) == read_of(&order.enough)) gate_pass(&order.reached);
        }
    }
    if (code == JOBQ_CLOSED) call_once_more(c);
    gate_pass(&order.left);
    return NULL;
}

/* ---- Keepers ---- */

/* Sets the phase and returns when all callers have heard of it. One that waits for ever does
 * nothing that is forbidden in any phase. */
static void tell_callers(int phase) {
    set_to(&order.phase, phase);
    gate_await(&order.heard, order.keeper == HANDLER ? CALLERS - 1 : CALLERS);
}

static int trace_statement(unsigned what, void *ctx, void *statement, void *sql) {
    (void)what;
    (void)ctx;
    (void)statement;
    (void)sql;
    keep();
    return 0;
}

static sqlite3 *reader;

static void wake(void *ctx) {
    (void)ctx;
    keep();
}

static void *keep_inside(void *arg) {
    jobq_info info;
    int code;
    (void)arg;
    keeping = true;
    if (order.keeper == WAKER) code = jobq_notify(now.q, NULL);
    else code = jobq_get(now.q, 1, &info, NULL);
    CHECK(code == JOBQ_OK || code == JOBQ_NOT_FOUND);
    return NULL;
}

static bool is_held(void) {
    bool held;
    pthread_mutex_lock(&order.held.mutex);
    held = order.held.entered > 0;
    pthread_mutex_unlock(&order.held.mutex);
    return held;
}

/* A late handler of a stop before may still run, so start may have to be called again; and all
 * workers may sleep by a clock that nobody else moves now. */
static void hold_by_handler(void) {
    jobq_job job = {.kind = "hold", .queue = "hold", .priority = -1};
    int64_t id = 0;
    int code;
    if (CHECK_CODE(jobq_enqueue(now.q, &job, &id, NULL), JOBQ_OK)) book(id);
    while ((code = jobq_start(now.q, NULL)) == JOBQ_BUSY) sched_yield();
    CHECK_CODE(code, JOBQ_OK);
    while (order.by_hand && !is_held()) jobq_advance(now.q, 1, NULL, NULL);
    gate_await(&order.held, 1);
}

/* ---- One order ---- */

static void *close_order(void *arg) {
    jobq *q = now.q;
    int code = jobq_close(&q);
    (void)arg;
    if (code == JOBQ_OK) {
        CHECK_INT(read_of(&now.handlers), 0);
        CHECK(q == NULL);
        add_to(&order.closes, 1);
    } else {
        CHECK_CODE(code, JOBQ_CLOSED);
        gate_pass(&order.left);
    }
    return NULL;
}

static void close_around(int calls, int race, bool twice) {
    pthread_t keeper = pthread_self(), closer = keeper;
    bool inside = order.keeper == READER || order.keeper == WAKER;
    twice = twice && order.keeper != NOBODY;
    order.leavers = twice ? CALLERS + 1 : CALLERS;
    tell_callers(order.keeper == NOBODY ? LEAVE : HELD);
    if (order.keeper == NOBODY) gate_await(&order.left, CALLERS);
    if (order.keeper == HANDLER) hold_by_handler();
    if (inside) {
        keeper = thread_start(keep_inside, NULL);
        gate_await(&order.held, 1);
    }
    set_to(&order.enough, read_of(&order.calls) + race);
    gate_open(&order.race);
    if (race && order.keeper != NOBODY) gate_await(&order.reached, calls ? 2 : 1);
    set_to(&now.closing, 1);
    if (twice) closer = thread_start(close_order, NULL);
    close_order(NULL);
    if (twice) pthread_join(closer, NULL);
    if (inside) pthread_join(keeper, NULL);
    CHECK_INT(order.closes, 1);
}

static void draw_order(int number, uint64_t *random) {
    static const enum keeper pool[] = {NOBODY, HANDLER, READER}, step[] = {NOBODY, WAKER, READER};
    bool clock;
    memset(&order, 0, sizeof order);
    memset(&now, 0, sizeof now);
    now.hold = hold;
    order.number = number;
    now.memory = test_random(random) % 3 == 0;
    order.step = test_random(random) % 5 == 0;
    order.keeper = (order.step ? step : pool)[test_random(random) % (now.memory ? 2 : 3)];
    now.books = now.memory ? &memory_books : &file.books;
    clock = test_random(random) % 2 == 0;
    order.clock = !now.memory ? file.clock : clock ? jobq_clock_artificial(T0) : NULL;
    order.by_hand = order.clock != NULL;
    for (int i = 0; i < GATES; i++) {
        gate_init(gates[i]);
        if (gates[i] != &order.race) gate_open(gates[i]);
    }
}

static bool open_order(uint64_t *random) {
    jobq_options options = {.stall_ms = 2, .on_wake = wake, .on_connect = remember_reader,
                            .ctx = &reader};
    options.workers = order.step ? JOBQ_NONE : 1 + (int)(test_random(random) % 3);
    options.durability = test_random(random) % 2 ? JOBQ_RELAXED : JOBQ_DURABLE;
    options.clock = order.clock;
    options.wal_pages = order.keeper == READER ? NO_CHECKPOINT : 16; /* they wait for readers */
    if (test_random(random) % 3 == 0) options.on_event = tell;
    if (test_random(random) % 8 == 0) options.poll_ms = 1;
    WORKS(jobq_open(now.memory ? ":memory:" : file.path, &options, &now.q, &err));
    if (!now.q) return false;
    /* jobq takes a trace off when it opens; later it does not look. */
    if (order.keeper == READER) sqlite3_trace_v2(reader, SQLITE_TRACE_STMT, trace_statement, NULL);
    for (int i = 0; i < WORKS_COUNT; i++)
        if (i == 0 || test_random(random) % 4) CHECK_CODE(register_work(now.q, i), JOBQ_OK);
    return true;
}

static void run_order(int number) {
    uint64_t random = test_seed() * 1000003 + (uint64_t)number;
    int calls, race;
    draw_order(number, &random);
    if (now.memory && order.keeper == READER) order.keeper = NOBODY; /* there is no reader */
    if (!open_order(&random)) return;
    if (!order.step && test_random(&random) % 2) start(now.q);
    calls = (int)(test_random(&random) % CALLS_MAX);
    set_to(&order.enough, calls);
    for (int i = 0; i < CALLERS; i++) {
        order.callers[i].random = test_random(&random);
        order.callers[i].doing = "nothing";
        order.callers[i].thread = thread_start(call_around, &order.callers[i]);
    }
    race = (int)(test_random(&random) % RACE_MAX);
    if (calls) gate_await(&order.reached, 1);
    close_around(calls, race, test_random(&random) % 4 == 0);
    for (int i = 0; i < CALLERS; i++) pthread_join(order.callers[i].thread, NULL);
    for (int i = 0; i < GATES; i++) gate_free(gates[i]);
    if (now.memory) {
        memset(&memory_books, 0, sizeof memory_books);
        jobq_clock_free(order.clock);
    }
}

/* ---- The storm ---- */

static void begin_file(int number) {
    char name[32];
    jobq *q = NULL;
    snprintf(name, sizeof name, "%d.db", number);
    file.path = test_path(name);
    file.clock = number % 2 ? jobq_clock_artificial(T0) : NULL;
    memset(&file.books, 0, sizeof file.books);
    WORKS(jobq_open(file.path, &(jobq_options){.clock = file.clock}, &q, &err));
    jobq_close(&q);
    sql_run(file.path, "CREATE TABLE ledger(job INTEGER PRIMARY KEY, child INT)");
}

static void end_file(void) {
    if (test_failures() == 0) audit(file.path, file.clock, &file.books);
    jobq_clock_free(file.clock);
    if (test_failures() == 0) unlink(file.path);
}

static void bark(void) {
    static const char *const keepers[] = {"nobody", "handler", "reader", "waker"};
    printf("order %d of TEST_SEED=%" PRIu64 " hangs: %s%s, keeper %s, phase %d, closing %d,"
           " %d handlers\n", order.number, test_seed(), now.memory ? "memory" : "file",
           order.step ? ", steps" : "", keepers[order.keeper], read_of(&order.phase),
           read_of(&now.closing), read_of(&now.handlers));
    for (int i = 0; i < CALLERS; i++)
        printf("  caller %d: %s\n", i, __atomic_load_n(&order.callers[i].doing, __ATOMIC_RELAXED));
    fflush(stdout);
}

/* Goal: 0 hangs, 0 leaks, 0 lost, 0 double, no code that is not allowed; under the sanitizers 0
 * races and no use of what is freed. Method: see the top. */
TEST(stop_storm) {
    int orders = (int)test_effort(ORDERS), number = 0;
    int64_t slowest_ms;
    struct holdings before;
    calm_begin();
    before = holdings_first();
    dog_begin((int64_t)PATIENCE_MS * JOBQ_TEST_SCALE, bark);
    for (int file_number = 0; number < orders && test_failures() == 0; file_number++) {
        begin_file(file_number);
        for (int i = 0; i < FILE_ORDERS && number < orders && test_failures() == 0; i++) {
            run_order(number++);
            dog_feed();
        }
        end_file();
        dog_feed();
    }
    slowest_ms = dog_end();
    check_holdings(before);
    calm_end();
    test_note("TEST_SEED=%" PRIu64 ", %d orders, %d calls, %d jobs, the slowest order took %d ms",
              test_seed(), number, all_calls, all_stored, (int)slowest_ms);
    test_figure("storm of starts, stops and closes",
                "0 lost, 0 hangs, 0 leaks; under TSan 0 races",
                "%d orders of " BUILD ", %d calls of %d threads, %d saw the close, %d jobs, 0 lost,"
                " 0 hangs (slowest %d ms), 0 files and threads left", number, all_calls, CALLERS,
                all_closed, all_stored, (int)slowest_ms);
}

TEST_MAIN(stop_storm)
