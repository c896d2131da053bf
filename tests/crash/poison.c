/* poison.c - what a job that kills its process can do: lose its own three chances.
 *
 * Promised: each death of the process costs the job that ran one crash and no attempt; at
 * crashes_max it has failed, says so, and has not been started more often than that; the jobs
 * behind it run. Broken on purpose: handlers that end their process in five ways, at every start
 * or at some, and power cuts, for which the boot that the lock file names is made another one.
 * Counted: starts, by the handlers themselves, in memory that outlives them. */
#include "crash_lives.h"

/* Gets one step further in each life and saves it before it dies. */
static jobq_outcome run_steps(jobq_run *run, void *ctx) {
    int steps = 0, start = count_start(run);
    size_t size = 0;
    const void *saved = jobq_run_checkpoint(run, &size);
    (void)ctx;
    if (saved && CHECK_INT(size, sizeof steps)) memcpy(&steps, saved, sizeof steps);
    CHECK_INT(steps, start - 1);
    CHECK_INT(jobq_run_crashes(run), start > 1 ? 1 : 0);
    if (play.cured) return JOBQ_DONE;
    CHECK_CODE(jobq_checkpoint(run, &start, sizeof start, NULL), JOBQ_OK);
    die_kill();
    return JOBQ_DONE;
}

static jobq_outcome run_mortal(jobq_run *run, void *ctx) {
    (void)ctx;
    count_start(run);
    if (__atomic_load_n(&stage->total_starts, __ATOMIC_SEQ_CST) % 7 == 0) die_kill();
    return JOBQ_DONE;
}

/* Dies at every odd start and fails in the ordinary way at every even one. */
static jobq_outcome run_sometimes(jobq_run *run, void *ctx) {
    (void)ctx;
    if (count_start(run) % 2 && !play.cured) play.die();
    return jobq_retry(run, "not yet");
}

/* Writes a row through its transaction, and then dies with it. */
static jobq_outcome run_writer(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    (void)ctx;
    count_start(run);
    if (!CHECK_CODE(jobq_run_db(run, &db, NULL), JOBQ_OK)) return JOBQ_FAIL;
    CHECK_INT(sqlite3_exec(db, "INSERT INTO effect VALUES(1)", NULL, NULL, NULL), SQLITE_OK);
    if (!play.cured) play.die();
    return JOBQ_DONE;
}

static const jobq_kind kinds[] = {
    {.name = "good", .run = run_good},
    {.name = "hold", .run = run_hold},
    {.name = "last", .run = run_last},
    {.name = "poison", .run = run_poison},
    {.name = "poison1", .run = run_poison, .crashes_max = 1},
    {.name = "poison5", .run = run_poison, .crashes_max = 5},
    {.name = "sometimes", .run = run_sometimes, .backoff_min_ms = 1},
    {.name = "steps", .run = run_steps},
    {.name = "mortal", .run = run_mortal, .crashes_max = JOBQ_UNLIMITED},
    {.name = "writer", .run = run_writer},
};

static void begin_with(int workers) {
    begin(workers, kinds, sizeof kinds / sizeof kinds[0]);
}

/* ---- Poison ---- */

static void poison_alone(void (*die)(void)) {
    begin_with(1);
    play.die = die;
    add("poison", -1, 1);
    add("good", 0, 6);
    fill_queue();
    for (int deaths = 1; deaths <= 2; deaths++) {
        CHECK(died(live_through(run_all, NULL)));
        look_at_all();
        check_waiting(0, 1, deaths);
    }
    CHECK_INT(live_until_well(), 1);
    look_at_all();
    check_failed(0, 3);
    CHECK_INT(stage->starts[0], 3);
    check_done(1, play.jobs, 0);
    end();
}

/* Goal: each death of the process costs the job one crash and no attempt, after three it
 * has failed, was started three times, and the jobs behind it have run. Method: a poison
 * on one worker, dying by abort, SIGSEGV, _exit, SIGKILL, or killed because it hangs. */
TEST(poison_fails_after_three_deaths) {
    for (size_t i = 0; i < WAYS; i++) poison_alone(ways[i]);
}

/* Goal: crashes_max is the kind's, also if a process that does not know the kind has
 * opened the queue in between. Method: limits 1 and 5, a look after each death. */
TEST(crashes_max_belongs_to_the_kind) {
    begin_with(1);
    add("poison1", -1, 1);
    add("poison5", 0, 1);
    fill_queue();
    for (int deaths = 0; deaths < 6; deaths++) {
        CHECK(died(live_through(run_all, NULL)));
        look_at_all();
    }
    CHECK_INT(live_until_well(), 0);
    look_at_all();
    check_failed(0, 1);
    check_failed(1, 5);
    CHECK_INT(stage->starts[0], 1);
    CHECK_INT(stage->starts[1], 5);
    end();
}

/* Goal: two poisons and many good jobs on four workers: both fail after at most three
 * starts, every good job is done. Method: lives until one ends well. */
TEST(two_poisons_among_many) {
    begin_with(4);
    add("good", 0, 10);
    add("poison", 0, 1);
    add("good", 0, 20);
    add("poison", 0, 1);
    add("good", 0, 30);
    fill_queue();
    CHECK(live_until_well() <= 6);
    look_at_all();
    check_failed(10, 3);
    check_failed(31, 3);
    CHECK(stage->starts[10] <= 3 && stage->starts[31] <= 3);
    check_done(0, 10, 2);
    check_done(11, 31, 2);
    check_done(32, play.jobs, 2);
    end();
}

static void revive(void *arg) {
    jobq *q;
    (void)arg;
    be_a_child();
    q = open_queue(JOBQ_NONE);
    REQUIRE(q != NULL);
    CHECK_CODE(jobq_retry_now(q, stage->ids[0], NULL), JOBQ_OK);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: a job that has failed by crashing can be revived in one call. Method: three
 * deaths, jobq_retry_now by a process without handlers, then a cured handler. */
TEST(retry_now_revives_the_crashed) {
    begin_with(2);
    add("poison", 0, 1);
    fill_queue();
    CHECK_INT(live_until_well(), 3);
    look_at_all();
    check_failed(0, 3);
    CHECK_INT(test_fork(revive, NULL), 0);
    look_at_all();
    check_waiting(0, 1, 0);
    live_cured();
    check_done(0, 1, 0);
    CHECK_INT(stage->starts[0], 4);
    end();
}

/* Goal: crashes add up although ordinary failures come between them, and are counted apart from
 * those. Method: a job that dies at its odd starts and fails at its even ones, in each way. */
TEST(death_at_some_attempts_adds_up) {
    for (size_t i = 0; i < WAYS; i++) {
        begin_with(1);
        play.die = ways[i];
        add("sometimes", -1, 1);
        add("good", 0, 6);
        fill_queue();
        CHECK_INT(live_until_well(), 3);
        look_at_all();
        CHECK_INT(stage->infos[0].state, JOBQ_STATE_FAILED);
        CHECK_INT(stage->infos[0].crashes, 3);
        CHECK_INT(stage->infos[0].attempt, 3);
        CHECK_INT(stage->starts[0], 5);
        CHECK(strstr(stage->infos[0].error, "crash") != NULL);
        check_done(1, play.jobs, 0);
        end();
    }
}

/* Goal: a queue whose process dies again and again runs everything in the end. Method: the
 * pool dies at every seventh start; jobs may crash without limit. */
TEST(dying_midway_goes_on) {
    begin_with(2);
    add("mortal", 0, 30);
    fill_queue();
    CHECK(live_until_well() >= 4);
    look_at_all();
    check_done(0, play.jobs, LIVES_MAX);
    end();
}

/* Goal: a checkpoint forgives the crashes and is found again. Method: a handler that saves
 * its step and dies, six times, which is more than the three chances. */
TEST(checkpoint_forgives_crashes) {
    begin_with(1);
    add("steps", 0, 1);
    fill_queue();
    for (int life = 0; life < 6; life++) {
        CHECK(died(live_through(run_all, NULL)));
        look_at_all();
        check_waiting(0, 1, 1);
    }
    live_cured();
    check_done(0, 1, 1);
    CHECK_INT(stage->starts[0], 7);
    end();
}

static void make_table(void *arg) {
    (void)arg;
    be_a_child();
    sql_run(play.path, "CREATE TABLE effect(n)");
}

static void count_effects(void *arg) {
    (void)arg;
    be_a_child();
    stage->effects = sql_int(play.path, "SELECT count(*) FROM effect");
}

/* Goal: what a job wrote through its transaction dies with it. Method: two deaths after
 * the insert in each way, then a run that ends well: one row. */
TEST(effects_of_the_dead_vanish) {
    for (size_t i = 0; i < WAYS; i++) {
        begin_with(2);
        play.die = ways[i];
        add("writer", 0, 1);
        fill_queue();
        CHECK_INT(test_fork(make_table, NULL), 0);
        for (int deaths = 1; deaths <= 2; deaths++) {
            CHECK(died(live_through(run_all, NULL)));
            look_at_all();
            check_waiting(0, 1, deaths);
            CHECK_INT(test_fork(count_effects, NULL), 0);
            CHECK_INT(stage->effects, 0);
        }
        live_cured();
        CHECK_INT(test_fork(count_effects, NULL), 0);
        CHECK_INT(stage->effects, 1);
        end();
    }
}

/* ---- Power cuts ---- */

/* What a power cut leaves behind, as far as blame goes: a lock file that names another boot. */
static bool forge_boot(void) {
    char name[1024], boot[64] = "", page[8192];
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "r");
    size_t size, at = 0, length;
    if (!file || !fgets(boot, sizeof boot, file)) return false;
    fclose(file);
    length = strcspn(boot, "\n");
    snprintf(name, sizeof name, "%s-jobq", play.path);
    file = fopen(name, "r+b");
    if (!CHECK(file != NULL)) return false;
    size = fread(page, 1, sizeof page, file);
    while (at + length <= size && memcmp(page + at, boot, length) != 0) at++;
    CHECK(at + length <= size);
    CHECK_INT(fseek(file, (long)at, SEEK_SET), 0);
    CHECK(putc(boot[0] == '0' ? '1' : '0', file) != EOF);
    CHECK_INT(fclose(file), 0);
    return test_failures() == 0;
}

static void cut_power(bool charge) {
    begin_with(HOLDERS + 1);
    play.charge_reboots = charge;
    add("hold", -2, HOLDERS);
    add("last", -1, 1);
    add("good", 0, 10);
    fill_queue();
    CHECK(died(live_through(run_all, NULL)));
    if (forge_boot()) {
        int charged = charge ? 1 : 0;
        look_at_all();
        for (int n = 0; n < play.jobs; n++)
            CHECK_INT(stage->infos[n].crashes, stage->starts[n] > 0 ? charged : 0);
        live_cured();
        check_done(0, play.jobs, charged);
    } else if (test_failures() == 0) {
        test_note("this system does not name its boots");
    }
    end();
}

/* Goal: a power cut charges nobody, unless charge_reboots says so. Method: a death beside running
 * jobs, after which the machine seems to have been started again. */
TEST(power_cut_charges_nobody) {
    cut_power(false);
    cut_power(true);
}

TEST_MAIN(poison_fails_after_three_deaths, crashes_max_belongs_to_the_kind, two_poisons_among_many,
          retry_now_revives_the_crashed, death_at_some_attempts_adds_up, dying_midway_goes_on,
          checkpoint_forgives_crashes, effects_of_the_dead_vanish, power_cut_charges_nobody)
