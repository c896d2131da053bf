/* fence.c - all orders in which claim, start, finish, timeout, cancel, retry_now, delete, stop,
 * death and recovery can meet on two jobs, against the model.
 *
 * A handler in step mode is the one place where others can come between a claim and its outcome; it
 * does what they would do. An order is a word; each letter is one event, drawn from those that are
 * possible then, and all words up to a length are gone through: a word is played, and for the next
 * one its last letter is replaced by the next possible one, as an odometer counts.
 *
 *   outside  s step  c C cancel  r R retry_now  d D delete  n the clock goes on to the next wake
 *            o stop, close, open  x the process dies
 *   inside   1 done  2 retry  3 fail  4 snooze  5 reschedule  6 cancelled  c C r R d D as above
 *            t its time is over  k checkpoint  f the disk is full from now until the step returns
 *            x the process dies
 *
 * Small letters are about the job that runs, or the first; capital ones about the other. Broken on
 * purpose: a cancel that a retry forgets, a recovery that charges whose handler has returned, a key
 * that is not given back, an outcome that is forgotten when it cannot be written. */
#include "sim_life.h"

enum { LETTERS = 8, OPTIONS = 17 };

static const struct sim_profile fence = {.name = "fence", .sessions = 1, .calls = 1};

static struct {
    int length;             /* of words */
    int at;                 /* letters of this word so far */
    int word[LETTERS], options[LETTERS];
    char text[LETTERS + 1];
    int64_t ids[2], words;
} play;

/* The next letter of the word; 0 when it is at its end. */
static char letter(const char *letters) {
    int n = play.at;
    if (n == play.length || sim_over()) return 0;
    play.at++;
    play.options[n] = (int)strlen(letters);
    play.text[n] = letters[play.word[n]];
    play.text[n + 1] = 0;
    snprintf(sim.how, sizeof sim.how, "the word is %s", play.text);
    return play.text[n];
}

/* The next word: false after the last. */
static bool next_word(void) {
    int n = play.at - 1;
    while (n >= 0 && play.word[n] + 1 == play.options[n]) play.word[n--] = 0;
    for (int i = n + 1; i < play.length; i++) play.word[i] = 0;
    if (n >= 0) play.word[n]++;
    return n >= 0;
}

/* ---- Letters that mean the same everywhere ---- */

static void change(char c) {
    int64_t own = sim.run.run ? sim.run.id : play.ids[0];
    int64_t other = own == play.ids[0] ? play.ids[1] : play.ids[0];
    switch (c) {
    case 'c': sim_change(MODEL_CANCEL, own); break;
    case 'C': sim_change(MODEL_CANCEL, other); break;
    case 'r': sim_change(MODEL_RETRY_NOW, own); break;
    case 'R': sim_change(MODEL_RETRY_NOW, other); break;
    case 'd': sim_change(MODEL_DELETE, own); break;
    default: sim_change(MODEL_DELETE, other);
    }
}

/* ---- Inside a handler ---- */

static struct sim_answer answer_of(char c) {
    static const jobq_outcome outcomes[] = {JOBQ_DONE, JOBQ_DONE, JOBQ_RETRY, JOBQ_FAIL,
                                            JOBQ_SNOOZE, JOBQ_RESCHEDULE, JOBQ_CANCELLED};
    struct sim_answer a;
    memset(&a, 0, sizeof a);
    a.outcome = c ? outcomes[c - '0'] : JOBQ_DONE;
    a.at_ms = sim_now() + 10;
    return a;
}

static struct sim_answer play_inside(void) {
    for (;;) {
        char c = letter("123456cCrRdDtkfx");
        if (!c || (c >= '1' && c <= '6')) return answer_of(c);
        if (c == 't') jobq_clock_advance(sim.clock, 100);
        else if (c == 'k') sim_change(MODEL_CHECKPOINT, sim.run.id);
        else if (c == 'x') sim_die(false);
        else if (c == 'f') {
            fault_plan(FAULT_WAL_WRITE, "x*", SQLITE_FULL);
            sim.tight = true;
        } else change(c);
        sim_say("(%s)", play.text);
    }
}

/* ---- Outside ---- */

static void wake_up(void) {
    sim.options.durability = JOBQ_DURABLE;
    if (!sim_begin_session(sim.wall_ms)) return;
    for (int i = 0; i < 2; i++) {
        sim_begin_call();
        sim_register(i);
        sim_end_call();
    }
}

static void fall_asleep(void) {
    sim.wall_ms = sim_now();
    sim_end_session_somehow();
}

static void play_outside(char c) {
    int64_t wake_ms = model_next_wake(&sim.m, sim_now());
    int64_t until_ms = wake_ms == JOBQ_NEVER ? 0 : wake_ms - sim_now();
    sim_calm_disk();
    sim_begin_call();
    if (c == 's') sim_step();
    else if (c == 'n') jobq_clock_advance(sim.clock, until_ms);
    else if (c == 'x') sim_die(false);
    else if (c != 'o') change(c);
    sim_end_call();
    sim_say("(%s)", play.text);
    if (!sim.dead && c != 'o') return;
    fall_asleep();
    if (!sim.broken) wake_up();
}

static void put_both(void) {
    struct model_op op;
    memset(&op, 0, sizeof op);
    op.call = MODEL_ENQUEUE;
    op.count = 2;
    op.specs[0].key = op.specs[1].key = 1;
    op.specs[1].kind = 1;
    sim_begin_call();
    play.ids[0] = sim.m.last_id + 1;
    play.ids[1] = sim.m.last_id + 2;
    sim_write(&op);
    sim_end_call();
}

/* What the word has left behind goes, so that the next one finds nothing. */
static void clear(void) {
    sim_calm_disk();
    for (int i = 0; i < 2 && !sim.broken; i++) {
        sim_begin_call();
        sim_change(MODEL_DELETE, play.ids[i]);
        sim_end_call();
    }
    if (!sim.broken && sim.m.count > 0) sim_broken("a job is left over");
    sim_forget_pasts();
    sim_remember(false);
    sim.said = 0;
}

static void play_word(void) {
    play.at = 0;
    play.words++;
    put_both();
    while (!sim.broken) {
        char c = letter("scCrRdDnox");
        if (!c) break;
        play_outside(c);
    }
    if (!sim.broken) clear();
}

/* ---- The test ---- */

/* The first job may fail twice and crash once before it is lost, the other is lost at once. */
static void set_up(void) {
    memset(&sim.figures, 0, sizeof sim.figures);
    sim_begin_life(&fence, test_seed());
    sim_script = play_inside;
    for (int i = 0; i < MODEL_KINDS; i++) {
        struct model_kind *kind = &sim.rules.kinds[i];
        *kind = sim_default_kind;
        kind->keep_done_ms = kind->keep_failed_ms = JOBQ_DAY;
        kind->timeout_ms = 50;
        kind->attempts_max = i == 0 ? 2 : 1;
        kind->crashes_max = i == 0 ? 2 : 1;
    }
    sim.options.keep_done_ms = sim.rules.keep_done_ms = JOBQ_DAY;
    sim.options.keep_max = 0;
    sim.rules.keep_max = INT64_MAX;
}

/* Longer words with more effort. */
static int word_length(void) {
    int64_t effort = test_effort(100);
    return effort < 10 ? 2 : effort < 50 ? 3 : effort < 1000 ? 4 : effort < 20000 ? 5 : 6;
}

/* Goal: whatever meets on a job, it goes only along the edges of the table, by one outcome at a
 * time, and is where the model says. Method: all words. */
TEST(all_orders) {
    play.length = word_length();
    set_up();
    wake_up();
    do play_word();
    while (!sim.broken && next_word());
    fall_asleep();
    sim_end_life();
    if (play.length >= 4) sim_check_edges();
    test_figure("all orders of events on two jobs",
                "all orders: 0 illegal transitions, every edge gone",
                "%" PRId64 " orders of %d events, %" PRId64 " runs, %" PRId64
                " deaths, %d edges of %d, %d violations", play.words, play.length,
                sim.figures.runs, sim.figures.deaths, SIM_EDGES, SIM_EDGES, test_failures());
}

TEST_MAIN(all_orders)
