/* full_disk.c - full disks of every size: what was accepted is finished, what was not is refused
 * with JOBQ_FULL, and when there is space again new work is accepted, without a restart.
 *
 * The disk is the one in memory; it holds so many bytes, the log, its shared memory and jobq's own
 * reserve in the lock file counted in. It becomes full in two ways: the queue itself fills it, or
 * somebody else takes all that is free at some moment. fault/full_tmpfs.c does the same on a file
 * system of the operating system. */
#include "fault_full_disk.h"
#include "fault_vfs.h"
#include "meter.h"

#include "amalgamation/limits.h"

#include <fcntl.h>
#include <sys/statvfs.h>

/* jobq asks the operating system for its reserve and for what is free: here the disk in memory
 * answers, because these stand before the system's own. */
int posix_fallocate(int fd, off_t at, off_t size) {
    bool room, quota;
    pthread_mutex_lock(&fault.mutex);
    room = size <= fault_free();
    quota = fault.quota;
    pthread_mutex_unlock(&fault.mutex);
    if (!room) return quota ? EDQUOT : ENOSPC;
    return ftruncate(fd, at + size) ? errno : 0;
}

int fstatvfs(int fd, struct statvfs *st) {
    (void)fd;
    memset(st, 0, sizeof *st);
    st->f_frsize = 1;
    pthread_mutex_lock(&fault.mutex);
    st->f_bavail = (fsblkcnt_t)fault_free();
    pthread_mutex_unlock(&fault.mutex);
    return 0;
}

/* ---- The disk in memory ---- */

static void give_space(void *arg) {
    fault_space(8 * LARGEST, ((struct story *)arg)->path);
}

struct disk {
    int64_t size;
    int workers;
    bool stolen;
    size_t result_size; /* 0: small */
    bool tx, fails, at_once;
    size_t payload_max; /* 0: 2 KiB */
    int page_size;
    bool shared, alone, steps, quota;
};

static void one_disk(struct disk d) {
    struct story s;
    int before = test_failures();
    int64_t size = d.size;
    uint64_t seed = test_seed() + (uint64_t)size + d.result_size;
    fault_begin();
    fault_space(size, test_path("full.db"));
    fault_quota(d.quota);
    if (!story_begin_with(&s, d.workers, seed, d.page_size, d.shared)) return;
    s.steps = d.steps;
    s.alone = d.alone;
    if (d.result_size) s.result_size = d.result_size;
    if (d.payload_max) s.payload_max = d.payload_max;
    s.tx = d.tx;
    s.fails = d.fails;
    s.at_once = d.at_once;
    if (d.stolen) {
        fill_some(&s, (int)(test_random(&s.random) % (uint64_t)(size / 2000)));
        /* Once the queue has met the full disk itself its reserve is given up already. */
        if (s.refused == 0) fault_take_space();
    } else {
        fill(&s);
    }
    full_life(&s, give_space, &s);
    story_end(&s);
    check_sound(s.path);
    fault_remove(s.path);
    if (test_failures() > before)
        test_note("%d KiB, payloads to %d, results of %d, TEST_SEED=%" PRIu64
                  ": %d accepted, %d refused", (int)(size / KIB), (int)s.payload_max,
                  (int)s.result_size, test_seed(), s.accepted, s.refused);
}

/* Goal: a queue that has filled its disk drains to empty. Method: every size. */
TEST(own_work_fills_the_disk) {
    int sizes = 0;
    for (int64_t size = SMALLEST; size <= LARGEST && !test_failures(); size = next_size(size)) {
        one_disk((struct disk){.size = size, .workers = JOBQ_NONE});
        sizes++;
    }
    test_figure("full disk", "drains to 0, takes work again", "%d sizes from 384 KiB to 4 MiB,"
                " filled by the queue", sizes);
}

/* Goal: a quota that is used up is a full disk. */
TEST(quota_is_a_full_disk) {
    for (int i = 0; i < 6; i++)
        one_disk((struct disk){.size = (300 + 500 * (i / 2)) * KIB, .stolen = i / 2 == 1,
                               .workers = i % 2 ? 2 : JOBQ_NONE, .shared = i / 2 == 2,
                               .quota = true});
}

/* Goal: whatever pages the file is made of. Method: small and large ones, on disks that hold at
 * least some dozens of them; filled by the queue itself and by somebody else, with jobs of its own,
 * of a client too, or of the client alone; and the clock is set. */
TEST(pages_of_every_size) {
    static const struct {
        int page_size;
        int64_t size;
        size_t payload_max;
    } disks[] = {{512, 512 * KIB, 2048},    {1024, 512 * KIB, 2048},  {1024, 2048 * KIB, 2048},
                 {2048, 512 * KIB, 2048},   {2048, 2048 * KIB, 2048}, {8192, 2048 * KIB, 2048},
                 {65536, 8192 * KIB, 32768}, {65536, 16384 * KIB, 32768}};
    size_t i, count = sizeof disks / sizeof disks[0];
    for (i = 0; i < 2 * count && !test_failures(); i++) {
        struct disk d = {.workers = JOBQ_NONE, .stolen = i >= count, .steps = i % 2,
                         .shared = i % 3 > 0, .alone = i % 3 == 2};
        d.size = disks[i % count].size;
        d.page_size = disks[i % count].page_size;
        d.payload_max = disks[i % count].payload_max;
        one_disk(d);
        if (test_failures()) test_note("pages of %d bytes", d.page_size);
    }
    test_figure("full disk", "drains to 0, takes work again", "%d disks, pages of 512 bytes to"
                " 64 KiB", (int)(2 * count));
}

/* Goal: the same when somebody else takes what is free. Method: every size, at a random moment. */
TEST(others_fill_the_disk) {
    int sizes = 0;
    for (int64_t size = SMALLEST; size <= LARGEST && !test_failures(); size = next_size(size)) {
        one_disk((struct disk){.size = size, .workers = JOBQ_NONE, .stolen = true});
        sizes++;
    }
    test_figure("full disk", "drains to 0, takes work again", "%d sizes from 384 KiB to 4 MiB,"
                " space taken by others", sizes);
}

/* Goal: a pool does it, too, and goes on by itself. Method: some sizes, two workers. */
TEST(a_pool_on_a_full_disk) {
    for (int64_t size = SMALLEST; size <= LARGEST && !test_failures(); size += 960 * KIB) {
        one_disk((struct disk){.size = size, .workers = 2});
        one_disk((struct disk){.size = size, .workers = 2, .stolen = true});
    }
}

/* Goal: an outcome that fits into the log is not kept from the database by the log itself. Method:
 * results of every size, up to more than the reserve. */
TEST(results_that_fill_the_reserve) {
    int64_t step = LARGEST_RESULT / test_effort(64);
    int sizes = 0;
    for (int64_t n = step; n <= LARGEST_RESULT && !test_failures(); n += step, sizes++)
        one_disk((struct disk){.size = 1216 * KIB, .workers = JOBQ_NONE, .result_size = (size_t)n});
    test_figure("full disk", "drains to 0, takes work again",
                "results of %d sizes up to 1 MiB on a full disk", sizes);
}

/* Goal: dead letters do not use up what it takes to finish. Method: every job is
 * tried twice and fails for good, with long messages; some sizes, large and small payloads. */
TEST(all_jobs_fail_on_a_full_disk) {
    int64_t largest = LARGEST / 4, step = (largest - SMALLEST) / test_effort(4);
    int disks = 0;
    for (int64_t size = SMALLEST; size <= largest && !test_failures(); size += step)
        for (size_t most = 2048; most >= 32; most /= 8, disks++)
            one_disk((struct disk){.size = size, .workers = JOBQ_NONE, .fails = true,
                                   .payload_max = most});
    test_figure("full disk", "drains to 0, takes work again",
                "%d disks on which every job fails twice", disks);
}

/* Goal: what it takes to make jobs ready is not more than there is. Method: all are due by the time
 * that somebody looks, a page each and several to a page, on disks that are full by then. */
TEST(all_jobs_are_due_at_once) {
    int64_t step = (LARGEST - SMALLEST) / test_effort(6);
    int disks = 0;
    for (int64_t size = SMALLEST; size <= LARGEST && !test_failures(); size += step, disks++) {
        struct disk d = {.size = size, .workers = JOBQ_NONE, .at_once = true};
        d.stolen = disks % 2;
        d.payload_max = disks % 3 ? 4096 : 256;
        d.page_size = disks % 4 < 2 ? 0 : 4096;
        one_disk(d);
    }
    test_figure("full disk", "drains to 0, takes work again", "%d disks on which all jobs become"
                " due at once", disks);
}

/* Goal: jobs whose handlers ask for their transaction come to their end, too. Method: some sizes;
 * the handlers write nothing of their own, for which there would be no promise. */
TEST(transactions_of_jobs_end) {
    int64_t step = (LARGEST - SMALLEST) / test_effort(8);
    for (int64_t size = SMALLEST; size <= LARGEST && !test_failures(); size += step) {
        one_disk((struct disk){.size = size, .workers = JOBQ_NONE, .tx = true});
        one_disk((struct disk){.size = size, .workers = 2, .tx = true});
    }
}

static int put_large(struct story *s, size_t size) {
    static const char payload[LARGEST_PAYLOAD];
    jobq_job job = {.kind = "work", .payload = payload, .size = size};
    jobq_error told = {.code = JOBQ_OK};
    int rc = jobq_enqueue(s->q, &job, NULL, &told);
    if (rc == JOBQ_OK) s->accepted++;
    else if (!CHECK_CODE(rc, JOBQ_FULL) || !CHECK(strstr(told.text, "full.db")))
        test_note("%s", told.text);
    return rc;
}

static void large_ones(size_t size, int workers, bool stolen, bool fails) {
    struct story s;
    int count = 0;
    fault_begin();
    fault_space(2 * LARGEST, test_path("full.db"));
    if (!story_begin(&s, workers, test_seed())) return;
    s.fails = fails;
    fill_some(&s, 100);
    while (!(stolen && count == 2) && put_large(&s, size) == JOBQ_OK) count++;
    if (stolen) fault_take_space();
    else fill(&s);
    if (!full_life(&s, give_space, &s))
        test_note("payloads of %d, workers %d, stolen %d, fails %d", (int)size, workers, stolen,
                  fails);
    story_end(&s);
    fault_remove(s.path);
}

/* Goal: large payloads come to their end, too. Method: a disk of 8 MiB that is filled by them or
 * by others; they are done, or all of them fail twice. */
TEST(large_payloads_end) {
    for (int way = 0; way < 8; way++) {
        large_ones(300000, way & 1 ? 4 : JOBQ_NONE, way & 2, way & 4);
        large_ones(LARGEST_PAYLOAD, way & 1 ? 4 : JOBQ_NONE, way & 2, way & 4);
    }
}

static int64_t set_aside(const char *path) {
    char lock[1024];
    struct stat st;
    snprintf(lock, sizeof lock, "%s-jobq", path);
    return CHECK_INT(stat(lock, &st), 0) ? (int64_t)st.st_size : 0;
}

/* Goal: an open on a full disk does not let go of the reserve. Method: all that is free is taken,
 * but for the log's shared memory, and after the open again. */
TEST(open_keeps_the_reserve) {
    struct story s;
    int64_t before;
    fault_begin();
    fault_space(2 * LARGEST, test_path("full.db"));
    if (!story_begin(&s, JOBQ_NONE, test_seed())) return;
    fill_some(&s, 1250);
    fault_take_space();
    CHECK_CODE(jobq_close(&s.q), JOBQ_OK);
    fault_take_space();
    fault_space(fault.space + 32 * KIB, s.path);
    before = set_aside(s.path);
    WORKS(jobq_open(s.path, &(jobq_options){.workers = JOBQ_NONE, .clock = s.clock}, &s.q, &err));
    CHECK(set_aside(s.path) >= before - 4096); /* in whole pages */
    fault_take_space();
    handle(s.q, "work", work, &s);
    drain_all(&s);
    check_ends(&s);
    story_end(&s);
}

/* Goal: the next owner sets no less aside than the one before it, though the disk has become full
 * meanwhile: what is in the queue was taken in with that. Method: two opens, the second when little
 * more is free than the first one's reserve. */
TEST(next_owner_sets_as_much_aside) {
    const char *path = test_path("full.db");
    int64_t first;
    jobq *q;
    fault_begin();
    fault_space(4 * 1024 * KIB, path);
    q = open_queue_at(path, STEP);
    REQUIRE(q != NULL);
    first = set_aside(path);
    CHECK(first > 128 * KIB);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    fault_take_space();
    fault_space(fault.space + 256 * KIB, path);
    q = open_queue_at(path, STEP);
    REQUIRE(q != NULL);
    if (!CHECK(set_aside(path) >= first))
        test_note("%" PRId64 " after %" PRId64, set_aside(path), first);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* As an owner leaves it that is killed in a transaction of a full disk: what it had set aside it
 * had lent to that. */
static void lend_reserve(const char *path) {
    char lock[1024];
    snprintf(lock, sizeof lock, "%s-jobq", path);
    CHECK_INT(truncate(lock, 4096), 0);
}

/* The queue has filled its disk; its next owner finds less than it wants to set aside. */
static bool open_on_full_disk(struct story *s, jobq_options options) {
    fill(s);
    story_close(s);
    lend_reserve(s->path);
    fault_take_space();
    fault_space(fault.space + 128 * KIB, s->path);
    options.workers = JOBQ_NONE;
    options.clock = s->clock;
    WORKS(jobq_open(s->path, &options, &s->q, &err));
    return s->q != NULL;
}

struct taken_disk {
    const char *path;
    int64_t held, least;
    int refused;
};

static jobq_outcome meet_taken_disk(jobq_run *run, void *ctx) {
    struct taken_disk *t = ctx;
    sqlite3 *db;
    if (t->refused) return JOBQ_DONE;
    t->held = set_aside(t->path);
    fault_taken(true);
    t->refused = jobq_run_db(run, &db, NULL);
    t->least = fault_beside();
    fault_taken(false);
    return jobq_snooze(run, 1);
}

/* Goal: nobody else can take the reserve when it is lent. Method: on a full disk, where it is lent
 * to each transaction, another connection writes; how much is set aside when a commit or a job asks
 * for its transaction? */
TEST(lent_only_to_who_may_write) {
    struct taken_disk t = {0};
    struct story s;
    fault_begin();
    fault_space(1024 * KIB, test_path("full.db"));
    if (!story_begin(&s, JOBQ_NONE, test_seed())) return;
    REQUIRE(open_on_full_disk(&s, (jobq_options){.busy_ms = JOBQ_NONE}));
    handle(s.q, "work", meet_taken_disk, &t);
    t.path = s.path;
    CHECK_CODE(jobq_step(s.q, NULL, NULL), JOBQ_OK);
    CHECK_CODE(t.refused, JOBQ_BUSY);
    CHECK(t.held > 4096);
    if (!CHECK(t.least >= t.held))
        test_note("a job: %" PRId64 " of %" PRId64, t.least, t.held);
    t.held = set_aside(s.path);
    fault_taken(true);
    CHECK_CODE(jobq_step(s.q, NULL, NULL), JOBQ_BUSY);
    t.least = fault_beside();
    fault_taken(false);
    CHECK(t.held > 4096);
    if (!CHECK(t.least >= t.held && t.least < INT64_MAX))
        test_note("a commit: %" PRId64 " of %" PRId64, t.least, t.held);
    story_end(&s);
}

/* Goal: while the disk is full the log is cut off after each transaction, so that its room is there
 * for the database. Method: an open that meets a full disk, and some jobs. */
TEST(log_is_cut_while_the_disk_is_full) {
    struct story s;
    fault_begin();
    fault_space(1024 * KIB, test_path("full.db"));
    if (!story_begin(&s, JOBQ_NONE, test_seed())) return;
    REQUIRE(open_on_full_disk(&s, (jobq_options){.busy_ms = 0}));
    handle(s.q, "work", do_nothing, NULL);
    for (int i = 0; i < 10; i++) {
        int ran = 0;
        WORKS(jobq_step(s.q, &ran, &err));
        CHECK_INT(ran, 1);
        CHECK_INT(fault_wal_size(), 0);
    }
    story_end(&s);
}

/* Goal: on a full disk a transaction moves few jobs, however many wait for the same thing: each may
 * touch a page of its own, and the reserve has room for few. Method: an open that meets a full
 * disk, on which thousands are due by then, each at a time of its own; or else they are ready,
 * have no handler, and get one. Counted in rows that a transaction changes. */
TEST(transactions_of_a_full_disk_are_small) {
    enum { BESIDE = 16 }; /* rows: one that is settled, names, claims, counts */
    for (int due = 0; due < 2 && !test_failures(); due++) {
        struct story s;
        fault_begin();
        fault_space(1024 * KIB, test_path("full.db"));
        if (!story_begin(&s, JOBQ_NONE, test_seed())) return;
        s.at_once = due;
        s.payload_max = JOBQ__SIZE(128, 2000); /* fewer jobs where each commit counts all */
        REQUIRE(open_on_full_disk(&s, (jobq_options){.on_connect = meter_watch}));
        CHECK(s.accepted > JOBQ__SIZE(1000, 100));
        meter_begin();
        if (!due) CHECK_INT(drain(s.q), 0);
        if (!due) CHECK_INT(count_all(s.q).parked, s.accepted);
        handle(s.q, "work", work, &s);
        drain_all(&s);
        meter_end(due ? "due" : "parked, and let go", JOBQ__TIGHT_BATCH + BESIDE, 10000);
        check_ends(&s);
        story_end(&s);
        check_sound(s.path);
        fault_remove(s.path);
    }
}

struct killed_owner {
    struct story *story;
    const char *to; /* what it leaves behind */
    int stored;     /* by a client, since the log was copied */
};

static int small_cache(sqlite3 *db, jobq_connection which, jobq_stage stage, jobq_error *err,
                       void *ctx) {
    (void)err;
    (void)ctx;
    if (which == JOBQ_CONNECTION_JOB && stage == JOBQ_STAGE_SETUP)
        return sqlite3_exec(db, "PRAGMA cache_size = 5", NULL, NULL, NULL);
    if (which == JOBQ_CONNECTION_WRITER && stage == JOBQ_STAGE_SETUP)
        return sqlite3_exec(db, "CREATE TABLE IF NOT EXISTS own(data)", NULL, NULL, NULL);
    return 0;
}

/* Clients make the database grow, in the log; then a job's transaction fills the disk. */
static jobq_outcome die_in_transaction(jobq_run *run, void *ctx) {
    struct killed_owner *k = ctx;
    static const char payload[20000];
    int64_t before;
    sqlite3 *db;
    while (k->stored < 5
           && jobq_enqueue(k->story->client,
                           &(jobq_job){.kind = "work", .payload = payload, .size = sizeof payload},
                           NULL, NULL) == JOBQ_OK)
        k->stored++;
    k->story->accepted += k->stored;
    if (!CHECK_CODE(jobq_run_db(run, &db, NULL), JOBQ_OK)) return JOBQ_RETRY;
    while (sqlite3_exec(db, "INSERT INTO own VALUES(zeroblob(2000))", NULL, NULL, NULL)
           == SQLITE_OK) {}
    CHECK_INT(sqlite3_errcode(db), SQLITE_FULL);
    before = disk_used();
    fault_copy(k->story->path, k->to);
    fault_copy_slots(k->story->path, k->to);
    fault_space(fault.space + disk_used() - before, k->story->path);
    return JOBQ_RETRY;
}

/* Goal: who is killed in a transaction that has filled the disk, with what was lent to it, has not
 * taken the room in which the next owner finishes what is there. Method: a client's jobs make the
 * database grow, and stand in the log; behind them a handler writes until the disk is full; what a
 * kill would leave is opened on a disk that has not a byte more. */
TEST(killed_with_all_that_was_lent) {
    struct killed_owner k = {0};
    struct story s;
    jobq_options options = {.workers = JOBQ_NONE, .shared = true, .page_size = 4096,
                            .on_connect = small_cache};
    fault_begin();
    fault_space(2048 * KIB, test_path("full.db"));
    if (!story_begin_with(&s, JOBQ_NONE, test_seed(), 0, true)) return;
    REQUIRE(open_on_full_disk(&s, options));
    WORKS(jobq_open(s.path, &(jobq_options){.role = JOBQ_CLIENT, .shared = true}, &s.client, &err));
    fault_space(fault.space + 1000 * KIB, s.path); /* for the client, before the owner looks */
    k.story = &s;
    k.to = test_path("left.db");
    handle(s.q, "work", die_in_transaction, &k);
    CHECK_CODE(jobq_step(s.q, NULL, NULL), JOBQ_OK);
    CHECK(k.stored > 0);
    story_close(&s);
    fault_remove(s.path);
    s.path = k.to;
    s.shared = false;
    fault_space(1 << 30, s.path);
    fault_space(disk_used() + set_aside(s.path) + DISK_REGION, s.path);
    if (!story_open(&s)) return;
    drain_all(&s);
    check_ends(&s);
    story_end(&s);
}

/* Goal: when an owner has died on a full disk its clients do not take the room in which the next
 * one finishes what there is. Method: the queue fills disks of many sizes, and the owner is gone;
 * clients go on until they are refused, with jobs that become smaller. */
TEST(clients_leave_what_a_dead_owner_lent) {
    int64_t step = (LARGEST - SMALLEST) / test_effort(8);
    int disks = 0;
    for (int64_t size = SMALLEST; size <= LARGEST && !test_failures(); size += step, disks++) {
        struct story s;
        int64_t before, left;
        jobq *client;
        fault_begin();
        fault_space(size, test_path("full.db"));
        if (!story_begin_with(&s, JOBQ_NONE, test_seed() + (uint64_t)size, 0, true)) return;
        s.fails = disks % 2;
        fill(&s);
        CHECK_CODE(jobq_close(&s.q), JOBQ_OK);
        lend_reserve(s.path);
        before = fault_free();
        s.alone = true;
        s.payload_max = (size_t)size / 16; /* what makes the file grow as much as the log */
        for (; s.payload_max > 8; s.payload_max /= 4) fill(&s);
        client = s.client; /* who closes last copies the log */
        if (!story_open(&s)) return;
        left = fault_free() + set_aside(s.path);
        /* They took of it only what was more than the next owner needs; the tables of a queue
         * without jobs are a third of the smallest disk. */
        if (!CHECK(4 * (left + 32 * KIB) >= 3 * before))
            test_note("%d KiB, TEST_SEED=%" PRIu64 ": %" PRId64 " before, %" PRId64 " left",
                      (int)(size / KIB), test_seed(), before, left);
        drain_all(&s);
        check_ends(&s);
        CHECK_CODE(jobq_close(&client), JOBQ_OK);
        story_end(&s);
        check_sound(s.path);
        fault_remove(s.path);
    }
    test_figure("full disk", "drains to 0, takes work again", "%d disks whose owner dies in a"
                " transaction, filled by clients", disks);
}

/* Goal: a close on a full disk writes the outcomes that it finds, so nothing runs twice. Method:
 * eight handlers return at once, beside a ring of claimed jobs, when the disk has become full. The
 * jobs before are short, so that the ring is large. */
TEST(close_writes_outcomes) {
    enum { WORKERS = 8 };
    for (int i = 0; i < test_effort(60) && !test_failures(); i++) {
        struct story s;
        gate g;
        int size = (i % 4 ? 1024 : 512 << i / 4 % 4) * KIB, waiting = size / 4000;
        fault_begin();
        fault_space(size, test_path("full.db"));
        if (!story_begin(&s, WORKERS, test_seed() + (uint64_t)i)) return;
        gate_init(&g);
        gate_open(&g);
        s.gate = &g;
        fill_some(&s, waiting / 2);
        drain_all(&s);
        g.entered = 0;
        g.open = false;
        fill_some(&s, waiting);
        gate_await(&g, WORKERS);
        /* A ring that is still being filled would do as well, but shows less. */
        for (int t = 0; t < 500 && stats_of(s.q).claimed < waiting / 2; t++) usleep(100);
        fault_take_space();
        gate_open(&g);
        CHECK_CODE(jobq_close(&s.q), JOBQ_OK);
        if (!story_open(&s)) return;
        drain_all(&s);
        check_ends(&s);
        story_end(&s);
        fault_remove(s.path);
        gate_free(&g);
    }
}

/* Goal: a reserve that is set too large does not fill the disk. Method: 1 GiB on a small disk. More
 * may be forbidden to a process (RLIMIT_FSIZE): then there is no reserve at all. */
TEST(reserve_is_part_of_the_disk) {
    jobq_options options = {.workers = JOBQ_NONE, .reserve_bytes = INT64_C(1) << 30};
    jobq *q = NULL;
    fault_begin();
    fault_space(LARGEST, test_path("full.db"));
    WORKS(jobq_open(test_path("full.db"), &options, &q, &err));
    REQUIRE(q != NULL);
    CHECK(fault_free() > LARGEST / 2);
    for (int i = 0; i < 100; i++) put(q, "work");
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: the history of done jobs does not keep new work out. Method: disks that are filled and
 * drained, where the jobs that are done are kept for a day; nobody gives space. Each refusal drops
 * a slice of them: ten are enough, if they are not tiny. */
TEST(history_gives_way) {
    int64_t step = (LARGEST - SMALLEST) / test_effort(4);
    int disks = 0, tries, enough = JOBQ__MAX(10, 5000 / JOBQ__PRUNE_ROWS);
    for (int64_t size = SMALLEST + step; size <= LARGEST && !test_failures(); size += step) {
        struct story s;
        fault_begin();
        fault_space(size, test_path("full.db"));
        if (!story_begin(&s, JOBQ_NONE, test_seed() + (uint64_t)size)) return;
        s.payload_max = 10000;
        fill(&s);
        drain_all(&s);
        CHECK(count_all(s.q).done > 0);
        for (int i = 0; i < 20; i++) {
            for (tries = 1; put_one(&s) != JOBQ_OK && tries < enough; tries++) continue;
            CHECK(tries < enough);
        }
        drain_all(&s);
        check_ends(&s);
        story_end(&s);
        check_sound(s.path);
        fault_remove(s.path);
        disks++;
    }
    test_figure("full disk", "drains to 0, takes work again",
                "%d disks full of jobs that are done and kept", disks);
}

TEST_MAIN(own_work_fills_the_disk, quota_is_a_full_disk, pages_of_every_size,
          others_fill_the_disk, a_pool_on_a_full_disk,
          results_that_fill_the_reserve, all_jobs_fail_on_a_full_disk, lent_only_to_who_may_write,
          log_is_cut_while_the_disk_is_full,
          killed_with_all_that_was_lent,
          all_jobs_are_due_at_once, transactions_of_a_full_disk_are_small, history_gives_way,
          reserve_is_part_of_the_disk, transactions_of_jobs_end, large_payloads_end,
          open_keeps_the_reserve, next_owner_sets_as_much_aside,
          clients_leave_what_a_dead_owner_lent, close_writes_outcomes)
