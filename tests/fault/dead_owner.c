/* dead_owner.c - what an open makes of what a dead owner has left behind.
 *
 * Two things tell of a job that was running: the claims row in the database, and a slot of the
 * mapped file beside it, which outlives the process but not the power. A handler copies all of that
 * as a kill at this very moment would leave it, and the test opens the copy: after a reboot, on a
 * disk that fails under the recovery, and with fewer workers than the dead had. */
#include "fault_vfs.h"
#include "helpers.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/timex.h>

#define SHARED_STEP ((jobq_options){.workers = JOBQ_NONE, .shared = true})

/* ---- A death ---- */

struct death {
    const char *path, *copy;
};

static jobq_outcome die(jobq_run *run, void *ctx) {
    const struct death *d = (const struct death *)ctx;
    (void)run;
    fault_copy(d->path, d->copy);
    fault_copy_slots(d->path, d->copy);
    return JOBQ_DONE;
}

/* What a kill leaves while a job runs; returns the id of the job. */
static int64_t leave_behind(const char *copy) {
    struct death d = {NULL, copy};
    fixture f;
    int64_t id;
    fault_remove(copy);
    if (!fixture_open(&f, SHARED_STEP)) return 0;
    d.path = f.path;
    handle(f.q, "k", die, &d);
    id = put(f.q, "k");
    CHECK_INT(drain(f.q), 1);
    fixture_remove(&f);
    return id;
}

/* ---- A reboot ---- */

/* What the system tells of its boot. */
enum { TOLD, NO_FILE, EMPTY_FILE };
static struct {
    int id; /* one of these */
    bool unset; /* nobody has set the clock since */
    int64_t wall_s, up_s; /* added to the clocks */
} boot;

#if defined(__linux__) && defined(__x86_64__)
enum { CAN_PRETEND = 1 };

/* These stand before the system's own. */
int open(const char *path, int flags, ...) {
    va_list args;
    int mode;
    va_start(args, flags);
    mode = flags & O_CREAT ? va_arg(args, int) : 0;
    va_end(args);
    if (boot.id != TOLD && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0)
        path = boot.id == EMPTY_FILE ? "/dev/null" : "/no such file";
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int clock_gettime(clockid_t id, struct timespec *t) {
    int rc = (int)syscall(SYS_clock_gettime, id, t);
    if (id == CLOCK_REALTIME) t->tv_sec += boot.wall_s;
    if (id == CLOCK_BOOTTIME) t->tv_sec += boot.up_s;
    return rc;
}

int adjtimex(struct timex *t) {
    (void)t;
    return boot.unset ? TIME_ERROR : TIME_OK;
}
#else
enum { CAN_PRETEND = 0 };
#endif

/* Goal: where the system tells no boot, the time of the boot decides, and where that is unknown
 * nobody is charged. Method: remains of a death, opened where the boot has the same time, another
 * one, one that a clock without battery has at each boot until it is set, in whatever year it
 * begins, or where the id is told again. */
TEST(boot_without_an_id) {
    static const struct {
        int id_then, id_now;
        int64_t wall_s, up_s, later_s; /* when it died; and how much later the boot is now */
        bool unset_then, unset_now;
        int charged;
    } cases[] = {
        {NO_FILE, NO_FILE, 0, 0, 0, false, false, 1},
        {EMPTY_FILE, EMPTY_FILE, 0, 0, 0, false, false, 1},
        {NO_FILE, NO_FILE, 0, 0, 30, false, false, 0},
        {EMPTY_FILE, NO_FILE, 0, 0, -7200, false, false, 0},
        {NO_FILE, TOLD, 0, 0, 0, false, false, 0},
        {TOLD, NO_FILE, 0, 0, 0, false, false, 0},
        {TOLD, TOLD, 0, 0, 30, true, true, 1},
        {NO_FILE, NO_FILE, -INT32_MAX, -1000, 0, false, false, 0},
        {NO_FILE, NO_FILE, 0, 0, 0, true, true, 0},
        {NO_FILE, NO_FILE, 0, 0, 0, true, false, 0},
        {EMPTY_FILE, NO_FILE, 0, 0, 0, false, true, 0}};
    const char *copy = test_path("copy.db");
    if (!CAN_PRETEND) {
        test_skip("cannot stand before the system here");
        return;
    }
    fault_begin();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        jobq_options options = SHARED_STEP;
        jobq *q = NULL;
        int64_t id;
        boot.wall_s = cases[i].wall_s;
        boot.up_s = cases[i].up_s;
        boot.id = cases[i].id_then;
        boot.unset = cases[i].unset_then;
        id = leave_behind(copy);
        boot.wall_s += cases[i].later_s;
        boot.id = cases[i].id_now;
        boot.unset = cases[i].unset_now;
        WORKS(jobq_open(copy, &options, &q, &err));
        REQUIRE(q != NULL);
        if (!CHECK_INT(look(q, id).crashes, cases[i].charged)) test_note("case %d", (int)i);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
    }
    memset(&boot, 0, sizeof boot);
}

/* A job that kills its process again and again, where no boot has an id. Returns its crashes. */
static int die_again_and_again(const char *copy, int deaths) {
    struct death d = {test_path("again.db"), copy};
    int64_t id = leave_behind(copy);
    jobq *q = NULL;
    int crashes;
    for (int i = 0;; i++) {
        jobq_options options = SHARED_STEP;
        fault_remove(d.path);
        fault_copy(copy, d.path);
        fault_copy_slots(copy, d.path);
        WORKS(jobq_open(d.path, &options, &q, &err));
        if (!q) return -1;
        crashes = look(q, id).crashes;
        if (i == deaths) break;
        fault_remove(copy);
        handle_kind(q, (jobq_kind){.name = "k", .run = die, .ctx = &d,
                                   .crashes_max = JOBQ_UNLIMITED});
        CHECK_INT(drain(q), 1);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
    }
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    return crashes;
}

/* Goal: as long as nobody has set the clock no death is charged, and from then on each one is: no
 * job kills its process for ever. Method: a job that does so again and again, in both. */
TEST(clock_set_after_the_boot) {
    const char *copy = test_path("copy.db");
    if (!CAN_PRETEND) {
        test_skip("cannot stand before the system here");
        return;
    }
    fault_begin();
    boot.id = NO_FILE;
    boot.unset = true;
    CHECK_INT(die_again_and_again(copy, 3), 0);
    boot.unset = false;
    CHECK_INT(die_again_and_again(copy, 3), 4);
    memset(&boot, 0, sizeof boot);
}

/* ---- A page that anybody may have written ---- */

static void scribble(const char *copy, uint64_t *random) {
    static const char *const marks[] = {"jobq-2l", "jobq-2b", "jobq-1\n", "jobq-9x"};
    unsigned char page[2048];
    char name[512];
    FILE *file;
    snprintf(name, sizeof name, "%s-jobq", copy);
    file = fopen(name, "r+b");
    if (!file || fread(page, 1, sizeof page, file) != sizeof page) test_give_up(name);
    for (int n = (int)(test_random(random) % 3); n >= 0; n--) {
        size_t at = (size_t)(test_random(random) % 128);
        size_t size = 1 + (size_t)(test_random(random) % 64);
        int how = (int)(test_random(random) % 4);
        if (how == 0) size = sizeof page - at;
        for (size_t i = at; i < at + size && i < sizeof page; i++)
            page[i] = (unsigned char)(how == 1 ? 0xff : how == 2 ? 0x7f : test_random(random));
    }
    memcpy(page, marks[test_random(random) % 4], 8);
    rewind(file);
    fwrite(page, 1, sizeof page, file);
    fclose(file);
}

/* Goal: whatever stands in the page behind a mark of ours, an open works, a client lives with it,
 * at most this one run is blamed, and no more of the disk is set aside than usual. Method: remains
 * of a death with random bytes in the page; pages of another version and byte order among them. */
TEST(page_says_anything) {
    const char *copy = test_path("copy.db");
    uint64_t random = test_seed();
    char lock[512];
    test_note("TEST_SEED=%" PRIu64, test_seed());
    snprintf(lock, sizeof lock, "%s-jobq", copy);
    fault_begin();
    for (int64_t i = test_effort(60); i > 0; i--) {
        jobq_options client = {.role = JOBQ_CLIENT, .shared = true};
        int64_t id = leave_behind(copy);
        jobq *q = NULL, *other = NULL;
        struct stat st;
        jobq_error told = {.code = 0};
        jobq_info info;
        int rc;
        scribble(copy, &random);
        rc = jobq_open(copy, &client, &other, &told);
        if (rc != JOBQ_OK && !CHECK_CODE(rc, JOBQ_UNSAFE_SQLITE)) test_note("%s", told.text);
        WORKS(jobq_open(copy, &SHARED_STEP, &q, &err));
        REQUIRE(q != NULL);
        info = look(q, id);
        CHECK_INT(info.state, JOBQ_STATE_PENDING);
        CHECK(info.crashes == 0 || info.crashes == 1);
        CHECK(stat(lock, &st) == 0 && st.st_size < 8 * 1024 * 1024);
        handle(q, "k", do_nothing, NULL);
        CHECK_INT(drain(q), 1);
        if (other) {
            put(other, "k");
            CHECK_CODE(jobq_close(&other), JOBQ_OK);
        }
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
    }
}

/* Goal: a page of another version, or of a machine with another byte order, blames nobody. Method:
 * remains of a death, under another mark. */
TEST(page_of_another_kind_says_nothing) {
    static const char *const marks[] = {"jobq-2l", "jobq-2b", "jobq-1l", "jobq-3l"};
    const char *copy = test_path("copy.db");
    int charged = 0;
    fault_begin();
    for (size_t i = 0; i < 4; i++) {
        int64_t id = leave_behind(copy);
        char name[512];
        FILE *file;
        jobq *q = NULL;
        snprintf(name, sizeof name, "%s-jobq", copy);
        file = fopen(name, "r+b");
        if (!file || fwrite(marks[i], 1, 8, file) != 8 || fclose(file)) test_give_up(name);
        WORKS(jobq_open(copy, &SHARED_STEP, &q, &err));
        REQUIRE(q != NULL);
        charged += look(q, id).crashes;
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
    }
    CHECK_INT(charged, 1); /* by the one that is of this machine */
}

/* Goal: a death is counted once, also when it is the last that is allowed: what the events tell
 * second is that the job fails for it. Method: one crash allowed; the remains of one death. */
TEST(last_death_is_counted_once) {
    const char *copy = test_path("copy.db");
    event_log *log = event_log_new();
    jobq_options options = SHARED_STEP;
    jobq_event rows[4];
    int64_t id;
    jobq *q = NULL;
    fault_begin();
    id = leave_behind(copy);
    options.on_event = log_event;
    options.ctx = log;
    WORKS(jobq_open(copy, &options, &q, &err));
    REQUIRE(q != NULL);
    handle_kind(q, (jobq_kind){.name = "k", .run = do_nothing, .crashes_max = 1});
    CHECK_INT(drain(q), 0);
    CHECK_INT(look(q, id).state, JOBQ_STATE_FAILED);
    CHECK_INT(look(q, id).crashes, 1);
    CHECK_INT(stats_of(q).crashed, 1);
    CHECK_INT(stats_of(q).failed, 1);
    if (CHECK_INT(events_of(log, id, rows, 4), 2)) {
        CHECK_INT(rows[0].from, JOBQ_STATE_RUNNING);
        CHECK_INT(rows[0].to, JOBQ_STATE_PENDING);
        CHECK_INT(rows[0].outcome, JOBQ_CRASHED);
        CHECK_INT(rows[1].from, JOBQ_STATE_PENDING);
        CHECK_INT(rows[1].to, JOBQ_STATE_FAILED);
        CHECK_INT(rows[1].outcome, JOBQ_CRASHED);
    }
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    event_log_free(log);
}

/* ---- The page of 0.1.0 ---- */

/* What that version wrote beside its file; the reserve begins at 4096. */
struct old_page {
    char mark[8];
    int32_t pid, leaving, shared, doubt;
    char boot_id[48];
    int64_t reserve;
    struct {
        int64_t id;
        int32_t runs, state;
    } slots[120];
    char room[4096 - 80 - 120 * 16];
};

static void turn_around(void *number, size_t size) {
    unsigned char *bytes = (unsigned char *)number;
    for (size_t i = 0; i < size / 2; i++) {
        unsigned char byte = bytes[i];
        bytes[i] = bytes[size - 1 - i];
        bytes[size - 1 - i] = byte;
    }
}

/* As on a machine of the other byte order. */
static void turn_page_around(struct old_page *page) {
    int32_t *const numbers[] = {&page->pid, &page->leaving, &page->shared, &page->doubt};
    for (size_t i = 0; i < 4; i++) turn_around(numbers[i], sizeof *numbers[i]);
    turn_around(&page->reserve, sizeof page->reserve);
    for (int i = 0; i < 120; i++) {
        turn_around(&page->slots[i].id, sizeof page->slots[i].id);
        turn_around(&page->slots[i].runs, sizeof page->slots[i].runs);
        turn_around(&page->slots[i].state, sizeof page->slots[i].state);
    }
}

/* Writes such a page over that of the remains; the boot is the one that stands there. */
static void leave_old_page(const char *copy, struct old_page *page) {
    struct old_page there;
    char name[512];
    FILE *file;
    snprintf(name, sizeof name, "%s-jobq", copy);
    file = fopen(name, "r+b");
    if (!file || fread(&there, sizeof there, 1, file) != 1) test_give_up(name);
    memcpy(page->boot_id, there.boot_id, sizeof page->boot_id);
    fclose(file);
    file = fopen(name, "wb");
    if (!file || fwrite(page, sizeof *page, 1, file) != 1 || fclose(file)) test_give_up(name);
}

enum nonsense { SENSE, OTHER_ORDER, NO_PID, LARGE_PID, DOUBT_OF_TWO, LEAVING_OF_TWO, STATE_OF_THREE,
                LESS_THAN_NO_RESERVE, TOO_LARGE_RESERVE, NONSENSE_END };

static void talk_nonsense(struct old_page *page, enum nonsense what) {
    if (what == OTHER_ORDER) turn_page_around(page);
    if (what == NO_PID) page->pid = 0;
    if (what == LARGE_PID) page->pid = INT32_MAX;
    if (what == DOUBT_OF_TWO) page->doubt = 2;
    if (what == LEAVING_OF_TWO) page->leaving = 2;
    if (what == STATE_OF_THREE) page->slots[119].state = 3;
    if (what == LESS_THAN_NO_RESERVE) page->reserve = -1;
    if (what == TOO_LARGE_RESERVE) page->reserve = INT64_MAX;
}

static struct old_page old_page_of(int64_t id) {
    struct old_page page = {.mark = "jobq-1\n", .pid = 4711, .reserve = 4 * 1024 * 1024};
    page.slots[3].id = id;
    page.slots[3].runs = page.slots[3].state = 1;
    return page;
}

/* Goal: the page that an owner of 0.1.0 has left is believed if its numbers make sense: its job is
 * charged, once; of one that makes none nothing is. Method: remains of a death, under a page as
 * that version wrote it; one number out of its bounds at a time. */
TEST(page_of_0_1_0_charges) {
    const char *copy = test_path("copy.db");
    fault_begin();
    for (int what = SENSE; what < NONSENSE_END; what++) {
        int64_t id = leave_behind(copy);
        struct old_page page = old_page_of(id);
        talk_nonsense(&page, (enum nonsense)what);
        leave_old_page(copy, &page);
        for (int open = 0; open < 2; open++) {
            jobq *q = NULL;
            WORKS(jobq_open(copy, &SHARED_STEP, &q, &err));
            REQUIRE(q != NULL);
            if (!CHECK_INT(look(q, id).crashes, what == SENSE)) test_note("case %d", what);
            CHECK_INT(look(q, id).state, JOBQ_STATE_PENDING);
            CHECK_CODE(jobq_close(&q), JOBQ_OK);
        }
    }
}

/* Goal: a run that 0.1.0 had let go is not charged; what its page says of a leaving owner is heard.
 * Method: a slot that is released, and one that is started by who leaves. */
TEST(page_of_0_1_0_lets_go) {
    const char *copy = test_path("copy.db");
    fault_begin();
    for (int leaving = 0; leaving < 2; leaving++) {
        int64_t id = leave_behind(copy);
        struct old_page page = old_page_of(id);
        jobq *q = NULL;
        page.leaving = leaving;
        page.slots[3].state = leaving ? 1 : 2;
        leave_old_page(copy, &page);
        WORKS(jobq_open(copy, &SHARED_STEP, &q, &err));
        REQUIRE(q != NULL);
        CHECK_INT(look(q, id).crashes, 0);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
    }
}

/* Goal: a log that 0.1.0 could not sync goes into the database before anything is added to it, for
 * a power cut would lose that together with it. Method: its page says so, or does not; whether the
 * open writes to the database file, which it does for no other reason. */
TEST(page_of_0_1_0_doubts_its_log) {
    const char *copy = test_path("copy.db");
    fault_begin();
    for (int doubt = 0; doubt < 2; doubt++) {
        struct old_page page = old_page_of(leave_behind(copy));
        jobq *q = NULL;
        page.doubt = doubt;
        leave_old_page(copy, &page);
        fault_off();
        WORKS(jobq_open(copy, &SHARED_STEP, &q, &err));
        REQUIRE(q != NULL);
        CHECK_INT(fault_calls(FAULT_DB_WRITE) > 0, doubt);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
    }
}

/* Goal: while somebody reads such a log, so that it cannot be cut, the file is not opened, and who
 * opens it is told why. Method: a reader that stands; it ends. */
TEST(doubted_log_that_somebody_reads) {
    const char *copy = test_path("copy.db");
    struct old_page page;
    jobq_error told = {.code = JOBQ_OK};
    sqlite3 *reader;
    jobq *q = NULL;
    fault_begin();
    page = old_page_of(leave_behind(copy));
    page.doubt = 1;
    leave_old_page(copy, &page);
    reader = sql_open(copy);
    run_sql(reader, "BEGIN; SELECT count(*) FROM jobq_row");
    CHECK_CODE(jobq_open(copy, &SHARED_STEP, &q, &told), JOBQ_BUSY);
    if (!CHECK(strstr(told.text, "could not sync the log") && strstr(told.text, copy)))
        test_note("%s", told.text);
    CHECK(q == NULL);
    sqlite3_close(reader);
    WORKS(jobq_open(copy, &SHARED_STEP, &q, &err));
    REQUIRE(q != NULL);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: a client beside an owner of 0.1.0 sees what runs. Method: its page, and no owner. */
TEST(page_of_0_1_0_says_what_runs) {
    const char *copy = test_path("copy.db");
    jobq_options client = {.role = JOBQ_CLIENT, .shared = true};
    struct old_page page;
    jobq *q = NULL;
    int64_t id;
    fault_begin();
    id = leave_behind(copy);
    page = old_page_of(id);
    page.shared = 1;
    leave_old_page(copy, &page);
    WORKS(jobq_open(copy, &client, &q, &err));
    REQUIRE(q != NULL);
    CHECK_INT(state_of(q, id), JOBQ_STATE_RUNNING);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Makes the boot of which the slots tell another one; false if this system does not tell them. */
static bool reboot(const char *copy) {
    char name[512], page[8192], boot_id[64];
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "r");
    size_t size, i;
    bool told = file && fgets(boot_id, sizeof boot_id, file);
    if (file) fclose(file);
    if (!told) return false;
    boot_id[strcspn(boot_id, "\n")] = '\0';
    snprintf(name, sizeof name, "%s-jobq", copy);
    file = fopen(name, "r+b");
    if (!file) test_give_up(name);
    size = fread(page, 1, sizeof page, file);
    for (i = 0; i + strlen(boot_id) <= size; i++)
        if (memcmp(page + i, boot_id, strlen(boot_id)) == 0) break;
    CHECK(i + strlen(boot_id) <= size);
    fseek(file, (long)i, SEEK_SET);
    fputc(boot_id[0] == '0' ? '1' : '0', file);
    fclose(file);
    return true;
}

/* Goal: the death of a process is held against the job that ran, a power cut against nobody, unless
 * the application wants that. Method: the same remains, of this boot and of another. */
TEST(reboot_charges_nobody) {
    const char *copy = test_path("copy.db");
    fault_begin();
    for (int n = 0; n < 4; n++) {
        bool other_boot = n % 2 == 1, charge = n / 2 == 1;
        jobq_options options = SHARED_STEP;
        jobq_info info;
        jobq *q = NULL;
        int64_t id = leave_behind(copy);
        if (other_boot && !reboot(copy)) {
            test_note("this system does not tell its boots apart");
            continue;
        }
        options.charge_reboots = charge;
        WORKS(jobq_open(copy, &options, &q, &err));
        REQUIRE(q != NULL);
        info = look(q, id);
        CHECK_INT(info.state, JOBQ_STATE_PENDING);
        CHECK_INT(info.crashes, !other_boot || charge);
        CHECK_INT(info.attempt, 1);
        CHECK_INT(stats_of(q).crashed, !other_boot || charge);
        handle(q, "k", do_nothing, NULL);
        CHECK_INT(drain(q), 1);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
    }
}

/* ---- A recovery that fails ---- */

/* Goal: a recovery that fails, or is cut off, finds the same evidence again. Method: the n-th write
 * or sync of the log fails under the open, for every n; the next open blames the job, once. */
TEST(failed_recovery_keeps_the_evidence) {
    static const struct {
        enum fault_what what;
        int code;
    } kinds[] = {{FAULT_WAL_WRITE, SQLITE_IOERR_WRITE}, {FAULT_WAL_WRITE, SQLITE_FULL},
                 {FAULT_WAL_SYNC, SQLITE_IOERR_FSYNC}};
    const char *copy = test_path("copy.db");
    int failed = 0;
    fault_begin();
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        for (int n = 1; n < 100; n++) {
            int64_t id = leave_behind(copy);
            jobq *q = NULL;
            bool hit;
            int code;
            fault_nth(kinds[k].what, n, "x", kinds[k].code);
            code = jobq_open(copy, &SHARED_STEP, &q, NULL);
            hit = fault_hits(kinds[k].what) > 0;
            fault_off();
            if (code == JOBQ_OK) CHECK_CODE(jobq_close(&q), JOBQ_OK);
            else failed++;
            WORKS(jobq_open(copy, &SHARED_STEP, &q, &err));
            REQUIRE(q != NULL);
            if (!CHECK_INT(look(q, id).crashes, 1))
                test_note("call %d, the open was %s", n, jobq_code_name(code));
            CHECK_CODE(jobq_close(&q), JOBQ_OK);
            if (!hit) break;
        }
    }
    CHECK(failed > 0);
}

/* ---- Slots of another time ---- */

enum { CROWD = 16 };

struct crowd {
    struct death death;
    gate gate;
};

static jobq_outcome stand_in_crowd(jobq_run *run, void *ctx) {
    (void)run;
    gate_pass(&((struct crowd *)ctx)->gate);
    return JOBQ_DONE;
}

/* As leave_behind, but so many jobs run, each in a slot of its own. */
static void leave_a_crowd(const char *copy) {
    struct crowd c = {.death = {NULL, copy}};
    fixture f;
    gate_init(&c.gate);
    REQUIRE(fixture_open(&f, (jobq_options){.workers = CROWD, .shared = true}));
    handle(f.q, "k", stand_in_crowd, &c);
    for (int i = 0; i < CROWD; i++) put(f.q, "k");
    start(f.q);
    gate_await(&c.gate, CROWD);
    fault_copy(f.path, copy);
    fault_copy_slots(f.path, copy);
    gate_open(&c.gate);
    fixture_remove(&f);
    gate_free(&c.gate);
}

/* Goal: a slot that a dead worker has left does not say that its job runs now. Method: many workers
 * die, of another boot so that nobody is blamed; the next owner has only two. While both stand at a
 * gate all other jobs, claimed or not, are pending. */
TEST(old_slots_say_nothing) {
    const char *copy = test_path("copy.db");
    jobq_counts counts;
    jobq *q = NULL;
    gate g;
    fault_begin();
    gate_init(&g);
    leave_a_crowd(copy);
    if (!reboot(copy)) return;
    WORKS(jobq_open(copy, &(jobq_options){.workers = 2, .shared = true}, &q, &err));
    REQUIRE(q != NULL);
    CHECK_INT(count_all(q).ready, CROWD);
    handle(q, "k", stand_at_gate, &g);
    start(q);
    gate_await(&g, 2);
    counts = count_all(q);
    CHECK_INT(counts.running, 2);
    CHECK_INT(counts.ready, CROWD - 2);
    gate_open(&g);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    gate_free(&g);
}

TEST_MAIN(boot_without_an_id, clock_set_after_the_boot, page_says_anything,
          page_of_another_kind_says_nothing, last_death_is_counted_once, page_of_0_1_0_charges,
          page_of_0_1_0_lets_go, page_of_0_1_0_doubts_its_log,
          doubted_log_that_somebody_reads, page_of_0_1_0_says_what_runs,
          reboot_charges_nobody, failed_recovery_keeps_the_evidence, old_slots_say_nothing)
