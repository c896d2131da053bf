/* blame.c - who is blamed for a death, and who is not.
 *
 * Promised: a death is charged to the jobs that ran and to nobody else; a job that is charged is a
 * suspect, and two suspects never run at the same time, so an innocent job that ran beside a
 * guilty one loses one of its three chances, at most, and is done in the end; only the guilty one
 * can come to fail as crashed.
 *
 * Broken on purpose: four jobs run while others stand claimed behind them, and one of the four,
 * whichever the seed says, ends the process in whichever way, once, twice or at every start, each
 * time after three others have come to run beside it.
 *
 * Counted: chances lost, by every job after every death; starts of the guilty ones. */
#include "crash_lives.h"

#include "amalgamation/limits.h"

enum {
    BESIDE = 5,    /* good jobs that run while a suspect stays */
    SEEDS = 60,
    TEAM = 4,      /* run when the guilty one strikes */
    FRONT_MAX = 270, /* short ones: the faster they are, the more is claimed ahead */
    BEHIND = 120,
    CLAIMED = JOBQ__MIN(64, JOBQ__RING - 1), /* at the moment of a death: more than run, or many */
    CHANCES = 3
};

/* ---- Handlers ---- */

static int barrier; /* suspects: the start that ends the process, 0 = none */

/* First life: the start that fills the barrier ends the process. Later: stays until some
 * good jobs have run beside it, unless another suspect is there, which is the failure. */
static jobq_outcome run_suspect(jobq_run *run, void *ctx) {
    int now, max;
    (void)ctx;
    count_start(run);
    if (barrier > 0) {
        if (__atomic_load_n(&stage->total_starts, __ATOMIC_SEQ_CST) == barrier) die_kill();
        pipe_hear(play.never);
    }
    now = __atomic_add_fetch(&stage->suspects_now, 1, __ATOMIC_SEQ_CST);
    max = __atomic_load_n(&stage->suspects_max, __ATOMIC_SEQ_CST);
    if (now > max) __atomic_store_n(&stage->suspects_max, now, __ATOMIC_SEQ_CST);
    if (now == 1) hear(play.good_ran, BESIDE);
    __atomic_sub_fetch(&stage->suspects_now, 1, __ATOMIC_SEQ_CST);
    return JOBQ_DONE;
}

static jobq_outcome run_tell(jobq_run *run, void *ctx) {
    (void)ctx;
    count_start(run);
    pipe_say(play.good_ran);
    return JOBQ_DONE;
}

/* What the seed has chosen; only the parent writes it. */
static struct {
    int guilty, deaths; /* who, and how often it ends its process */
    bool deadly;        /* the life that begins will be ended */
} fate;

/* The first three that come in a life that will be ended stay to be ended with it; the others come
 * again, for the lives after that. Suspects do not stay: the guilty one, which is one of them,
 * cannot run beside them. */
static jobq_outcome run_beside(jobq_run *run, void *ctx) {
    (void)ctx;
    count_start(run);
    if (!fate.deadly || jobq_run_crashes(run) > 0) return JOBQ_DONE;
    if (__atomic_add_fetch(&stage->standing, 1, __ATOMIC_SEQ_CST) > TEAM - 1)
        return jobq_snooze(run, 1);
    stage->stood[number_of(run)] = true;
    pipe_say(play.started);
    pipe_hear(play.never);
    return JOBQ_DONE;
}

static jobq_outcome run_guilty(jobq_run *run, void *ctx) {
    jobq_stats stats = stats_of(jobq_run_handle(run));
    (void)ctx;
    count_start(run);
    if (!fate.deadly) return JOBQ_DONE;
    hear(play.started, TEAM - 1);
    stage->claimed = stats.claimed;
    play.die();
    return JOBQ_DONE;
}

static const jobq_kind kinds[] = {
    {.name = "good", .run = run_good},       {.name = "hold", .run = run_hold},
    {.name = "last", .run = run_last},       {.name = "tell", .run = run_tell},
    {.name = "suspect", .run = run_suspect}, {.name = "beside", .run = run_beside},
    {.name = "guilty", .run = run_guilty},
};

static void begin_with(int workers) {
    begin(workers, kinds, sizeof kinds / sizeof kinds[0]);
}

/* ---- Neighbours ---- */

static void charged_are_the_started(void (*die)(void)) {
    begin_with(HOLDERS + 1);
    play.die = die;
    add("hold", -2, HOLDERS);
    add("last", -1, 1);
    add("good", 0, 40);
    fill_queue();
    CHECK(died(live_through(run_all, NULL)));
    look_at_all();
    check_waiting(0, HOLDERS + 1, 1);
    check_waiting(HOLDERS + 1, play.jobs, 0);
    for (int n = 0; n < play.jobs; n++) CHECK_INT(stage->starts[n], n <= HOLDERS);
    live_cured();
    check_done(0, HOLDERS + 1, 1);
    check_done(HOLDERS + 1, play.jobs, 0);
    end();
}

/* Goal: only jobs that were started are charged for a death, not those that were claimed
 * beside them. Method: three holders and the killer occupy the four workers while forty
 * more jobs are due; in the next life all of them run. */
TEST(only_the_started_are_charged) {
    for (size_t i = 0; i < WAYS; i++) charged_are_the_started(ways[i]);
}

/* Goal: suspects never run two at a time, and normal jobs run beside them. Method: four
 * jobs die together; in the next life each stays until five good jobs have run. */
TEST(suspects_never_meet) {
    begin_with(4);
    add("suspect", -1, 4);
    add("tell", 0, 40);
    fill_queue();
    barrier = 4;
    CHECK(died(live_through(run_all, NULL)));
    look_at_all();
    check_waiting(0, 4, 1);
    check_waiting(4, play.jobs, 0);
    barrier = 0;
    CHECK_INT(live_until_well(), 0);
    CHECK_INT(stage->suspects_max, 1);
    look_at_all();
    check_done(0, 4, 1);
    check_done(4, play.jobs, 0);
    end();
}

/* ---- One of four is guilty ---- */

static struct {
    int plays, deaths, failed, charged, lost_max;
    int claimed_many, claimed_max; /* at the first death of a play */
} tally;

static void cast(uint64_t *random) {
    int front = FRONT_MAX / 2 + (int)(test_random(random) % (FRONT_MAX / 2));
    int place = (int)(test_random(random) % TEAM);
    begin_with(TEAM);
    play.die = ways[test_random(random) % WAYS];
    fate.deaths = 1 + (int)(test_random(random) % CHANCES);
    add("good", 0, front);
    add("beside", 0, place);
    fate.guilty = play.jobs;
    add("guilty", 0, 1);
    add("beside", 0, TEAM - 1 - place);
    for (int i = 0; i < BEHIND; i++) add(test_random(random) % 2 ? "beside" : "good", 0, 1);
    fill_queue();
}

/* After so many deaths: the guilty one was charged each time, others once if they stood there. */
static void check_charges(int deaths) {
    for (int n = 0; n < play.jobs; n++) {
        int wanted = n == fate.guilty ? deaths : stage->stood[n];
        if (!CHECK_INT(stage->infos[n].crashes, wanted)) test_note("job %d", n);
        if (n == fate.guilty) continue;
        if (stage->infos[n].crashes > tally.lost_max) tally.lost_max = stage->infos[n].crashes;
    }
}

static void strike(int deaths) {
    stage->standing = stage->claimed = 0;
    CHECK(died(live_through(run_all, NULL)));
    CHECK_INT(stage->starts[fate.guilty], deaths);
    tally.deaths++;
    if (deaths > 1) return;
    tally.claimed_many += stage->claimed >= CLAIMED;
    if (stage->claimed > tally.claimed_max) tally.claimed_max = stage->claimed;
}

static void play_one(uint64_t *random) {
    bool watched = test_random(random) % 2;
    cast(random);
    fate.deadly = true;
    for (int deaths = 1; deaths <= fate.deaths && test_failures() == 0; deaths++) {
        strike(deaths);
        if (!watched) continue;
        look_at_all();
        check_charges(deaths);
    }
    fate.deadly = false;
    CHECK_INT(live_until_well(), 0);
    look_at_all();
    check_charges(fate.deaths);
    check_done(0, fate.guilty, 1);
    check_done(fate.guilty + 1, play.jobs, 1);
    if (fate.deaths < CHANCES) check_done(fate.guilty, fate.guilty + 1, fate.deaths);
    else check_failed(fate.guilty, CHANCES);
    CHECK_INT(stage->starts[fate.guilty], fate.deaths < CHANCES ? fate.deaths + 1 : CHANCES);
    for (int n = 0; n < play.jobs; n++) tally.charged += n != fate.guilty && stage->stood[n];
    tally.failed += fate.deaths == CHANCES;
    tally.plays++;
    end();
}

/* Goal: whichever of four running jobs kills its process, however and however often, only that one
 * can fail as crashed, and an innocent one loses one chance at most. Method: see above. */
TEST(only_the_guilty_fails) {
    uint64_t random = test_seed();
    test_note("TEST_SEED=%" PRIu64, test_seed());
    memset(&tally, 0, sizeof tally);
    /* On a busy machine a process may die before it has claimed much: then some more. */
    for (int64_t i = test_effort(SEEDS), more = 60; test_failures() == 0
         && (i > 0 || (tally.claimed_max < CLAIMED && more-- > 0)); i--)
        play_one(&random);
    CHECK(tally.claimed_max >= CLAIMED);
    test_figure("jobs that kill their process",
                "starts <= crashes_max, only the guilty fails as crashed",
                "%d guilty jobs, %d deaths in %d ways, %d failed after 3 starts; %d innocent jobs"
                " ran beside them: chances lost at most %d, 0 failed; 64 to %d jobs claimed at %d"
                " of the first deaths", tally.plays, tally.deaths, (int)WAYS, tally.failed,
                tally.charged, tally.lost_max, tally.claimed_max, tally.claimed_many);
}

TEST_MAIN(only_the_started_are_charged, suspects_never_meet, only_the_guilty_fails)
