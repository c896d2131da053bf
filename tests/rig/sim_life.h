/* sim_life.h - a whole life of a device: sessions of calls, deaths between and within them, and at
 * the end, when all troubles are over, every job comes to its end. */
#ifndef JOBQ_TEST_SIM_LIFE_H
#define JOBQ_TEST_SIM_LIFE_H

#include "sim_handler.h"

/* ---- Kinds ---- */

static const struct model_kind sim_default_kind = {
    .attempts_max = 30, .crashes_max = 3, .jitter_percent = 20, .min_ms = JOBQ_SECOND,
    .max_ms = JOBQ_HOUR, .timeout_ms = JOBQ_NONE};

static inline void sim_draw_kind(struct model_kind *kind) {
    static const int attempts[] = {1, 2, 3, 30, JOBQ_UNLIMITED};
    static const int crashes[] = {1, 2, 3, JOBQ_UNLIMITED};
    static const int jitters[] = {0, 1, 20, 100};
    static const int64_t mins_ms[] = {0, 1, 700, JOBQ_SECOND, JOBQ_HOUR};
    static const int64_t maxs_ms[] = {0, 5000, JOBQ_HOUR, JOBQ_DAY, 40 * JOBQ_DAY};
    static const int64_t keeps_ms[] = {JOBQ_NONE, 1, JOBQ_HOUR, 30 * JOBQ_DAY, JOBQ_NEVER};
    *kind = sim_default_kind;
    kind->keep_done_ms = sim.rules.keep_done_ms;
    kind->keep_failed_ms = sim.rules.keep_failed_ms;
    if (sim_chance(500)) kind->attempts_max = attempts[sim_pick(5)];
    if (sim_chance(500)) kind->crashes_max = crashes[sim_pick(4)];
    if (sim_chance(500)) kind->jitter_percent = jitters[sim_pick(4)];
    if (sim_chance(500)) kind->min_ms = mins_ms[sim_pick(5)];
    if (sim_chance(500)) kind->max_ms = maxs_ms[sim_pick(5)];
    if (kind->max_ms < kind->min_ms) kind->max_ms = kind->min_ms;
    if (sim_chance(400)) kind->timeout_ms = 1 + sim_pick(100000);
    if (sim_chance(400)) kind->keep_done_ms = keeps_ms[sim_pick(5)];
    if (sim_chance(400)) kind->keep_failed_ms = keeps_ms[sim_pick(5)];
    kind->own_backoff = sim_chance(200);
}

static inline int64_t sim_backoff(int attempt, int64_t id, void *ctx) {
    (void)ctx;
    return model_own_backoff(attempt, id);
}

/* None and off are -1 in the header, zero is the default. */
static inline int64_t sim_or_none(int64_t value) {
    return value == 0 ? JOBQ_NONE : value;
}

static inline jobq_kind sim_kind(int i) {
    const struct model_kind *kind = &sim.rules.kinds[i];
    jobq_kind given;
    memset(&given, 0, sizeof given);
    given.name = sim_kinds[i];
    given.run = sim_run;
    given.attempts_max = kind->attempts_max == 30 ? 0 : kind->attempts_max;
    given.crashes_max = kind->crashes_max == 3 ? 0 : kind->crashes_max;
    given.jitter_percent = kind->jitter_percent == 20 ? 0 : (int)sim_or_none(kind->jitter_percent);
    given.backoff_min_ms = kind->min_ms == JOBQ_SECOND ? 0 : sim_or_none(kind->min_ms);
    given.backoff_max_ms = kind->max_ms == JOBQ_HOUR ? 0 : sim_or_none(kind->max_ms);
    given.timeout_ms = kind->timeout_ms;
    given.keep_done_ms = kind->keep_done_ms == sim.rules.keep_done_ms ? 0 : kind->keep_done_ms;
    given.keep_failed_ms = kind->keep_failed_ms == sim.rules.keep_failed_ms
                         ? 0 : kind->keep_failed_ms;
    given.backoff = kind->own_backoff ? sim_backoff : NULL;
    return given;
}

static inline void sim_register(int i) {
    jobq_kind given = sim_kind(i);
    int64_t hits = fault.space || fault.wal_limit ? -1 : sim_hits();
    jobq_error err = {.code = 0};
    bool again = sim.rules.kinds[i].handled;
    int code = jobq_register(sim.q, &given, &err);
    sim_say("register %s: %s", sim_kinds[i], jobq_code_name(code));
    sim_note_latch();
    if (sim_trouble_since(hits)) sim.rules.kinds[i].unsure = true;
    else if (code != (sim.latched ? sim.latched : again ? JOBQ_MISUSE : JOBQ_OK))
        sim_broken("jobq_register is %s: %s", jobq_code_name(code), err.text);
    if (code == JOBQ_OK) sim.rules.kinds[i].handled = true;
}

/* ---- One call of the application ---- */

static inline void sim_begin_call(void) {
    bool limits;
    int faults = sim.profile->faults * (sim.tide == SIM_SLACK ? 5 : 1);
    if (sim_planned() && sim_chance(200)) sim_calm_disk();
    else if (!sim_planned() && sim_bad_luck(faults)) sim_plan_fault();
    limits = fault.space || fault.wal_limit;
    sim.call_hits = limits ? -1 : sim_hits();
    sim.low_ms = sim.top_ms = sim.last_ms = jobq_clock_now(sim.clock);
    if (sim.stepped) sim.event_ms = sim.last_ms;
    sim.stepped = false;
    sim_now();
    sim.call_log = sim.logging ? fault_log_now(&sim.log) : 0;
    sim.call_shrunk = fault_shrunk();
    model_age(&sim.m, &sim.rules);
    sim.call_runs = 0;
    sim.call_latched = sim.latched;
    sim.advancing = sim.stepping = false;
    sim.figures.calls++;
    if (sim.run.id) sim.run.hits = -1;
}

/* The call has made the file smaller: nothing is missing in what was moved. */
static inline void sim_check_shrunk(int64_t commits) {
    sim.figures.shrunk += commits;
    sim.figures.shrunk_calls++;
    sim.figures.shrunk_troubles += sim_trouble();
    sim.figures.shrunk_steps += sim.offset_count > 1;
    sim_say("the file has become smaller by %" PRId64 " commits", commits);
    sim_read_all();
}

/* After each call everything that it can have touched is compared. */
static inline void sim_end_call(void) {
    const struct disk_file *f = sim.profile->tides ? disk_find(sim.path) : NULL;
    int64_t shrunk = fault_shrunk() - sim.call_shrunk;
    int deaths = shrunk && sim.profile->deaths ? 300 : sim.profile->deaths;
    if (f && f->size > sim.high_size) sim.high_size = f->size;
    sim_note_latch();
    sim_mind_death();
    if (sim_over()) return;
    sim_look_back(0);
    sim_hear_all();
    if (!sim_over()) sim_check_stats();
    if (sim_chance(80)) sim_check_all(false);
    if (shrunk) sim_check_shrunk(shrunk);
    if (!sim_over()) sim_remember(false);
    if (sim_bad_luck(deaths)) sim_die(sim.logging && sim_chance(500));
}

/* A call that runs jobs has returned: what was due when it looked last was seen to. */
static inline bool sim_ran(const char *name, int code, int64_t ran, int64_t looked_ms) {
    sim.figures.calls++;
    sim_say("%s: %s, ran %" PRId64 ", the clock at %" PRId64, name, jobq_code_name(code), ran,
            sim_now());
    sim_note_latch();
    if (sim_over()) return false;
    if (code != JOBQ_OK && code != JOBQ_NOT_FOUND) {
        if (!sim_trouble() && code != sim.latched)
            sim_broken("%s is %s", name, jobq_code_name(code));
        return false;
    }
    if (sim.call_latched) sim_broken("%s is %s, but the queue has stopped", name,
                                     jobq_code_name(code));
    if (ran >= 0 && ran != sim.call_runs) sim_broken("%s says that it ran %" PRId64, name, ran);
    sim_look_back(0);
    if (sim.run.id && !sim_trouble())
        sim_broken("job %" PRId64 " is not settled after %s", sim.run.id, name);
    sim_hear();
    /* A step that has run a job has looked before that. */
    if (!sim.stepping || ran == 0) sim_promote(looked_ms, MODEL_JOBS);
    return !sim_over();
}

static inline void sim_check_idle(void) {
    if (sim.run.id) sim_broken("idle, but job %" PRId64 " is not settled", sim.run.id);
    for (int i = 0; i < MODEL_KINDS; i++) sim.rules.kinds[i].unsure = false;
    sim_check_all(true);
    sim_check_deadline(true);
}

static inline void sim_step(void) {
    int ran = 7;
    int64_t at_ms = sim_now();
    int code, offsets = sim.offset_count;
    sim.stepping = true;
    code = jobq_step(sim.q, &ran, NULL);
    /* If its handler has set the clock, times of another clock were written since it looked. */
    if (!sim_ran("jobq_step", code, ran, offsets == sim.offset_count ? at_ms : 0)) return;
    if (ran > 1) sim_broken("jobq_step ran %d jobs", ran);
    for (int i = 0; i < sim.m.count && ran == 0; i++)
        if (model_ready(&sim.rules, &sim.m.jobs[i], at_ms))
            sim_broken("job %" PRId64 " is ready, but nothing ran", sim.m.jobs[i].id);
}

static inline void sim_run_all(void) {
    int64_t ran = 7;
    int code = jobq_run_until_idle(sim.q, &ran, NULL);
    if (sim_ran("jobq_run_until_idle", code, ran, sim_now())) sim_check_idle();
}

static inline void sim_advance(int64_t duration_ms) {
    int64_t target_ms = model_later(sim_mono(), duration_ms), last_ms;
    int code;
    sim.advancing = true;
    code = jobq_advance(sim.q, duration_ms, NULL, NULL);
    if (!sim_ran("jobq_advance", code, -1, sim_now())) return;
    last_ms = sim.last_ms - sim.offsets[sim.offset_count - 1];
    if (sim_mono() != (last_ms > target_ms ? last_ms : target_ms))
        sim_broken("so much has passed: %" PRId64 ", not %" PRId64, sim_mono(), target_ms);
    sim_check_idle();
}

static inline void sim_advance_to_next(void) {
    int code;
    sim.advancing = true;
    code = jobq_advance_to_next(sim.q, NULL);
    if (!sim_ran("jobq_advance_to_next", code, -1, sim_now())) return;
    if (code == JOBQ_NOT_FOUND && model_next_wake(&sim.m, sim_now()) != JOBQ_NEVER)
        sim_broken("there is a wake, but jobq_advance_to_next does not find it");
    sim_check_idle();
}

static inline void sim_flush(void) {
    int code = jobq_flush(sim.q, NULL);
    sim_say("flush: %s", jobq_code_name(code));
    sim_note_latch();
    if (code != JOBQ_OK && !sim_trouble() && code != sim.latched)
        sim_broken("jobq_flush is %s", jobq_code_name(code));
    if (code == JOBQ_OK && !sim.latched) sim_remember(true);
}

/* Writes an outcome that an earlier call could not, and says so if it cannot either. */
static inline void sim_stop(void) {
    bool open = sim.run.id != 0;
    int code = jobq_stop(sim.q, JOBQ_NONE, NULL);
    if (code != JOBQ_OK) sim_say("stop: %s", jobq_code_name(code));
    sim_note_latch();
    if (code != JOBQ_OK && !open) sim_broken("jobq_stop is %s", jobq_code_name(code));
}

static inline void sim_small_call(void) {
    sim.figures.calls++;
    switch (sim_pick(5)) {
    case 0: sim_flush(); break;
    case 1: if (jobq_notify(sim.q, NULL) != JOBQ_OK) sim_broken("jobq_notify"); break;
    case 2: sim_stop(); break;
    default: sim_register(sim_pick(MODEL_KINDS));
    }
}

/* ---- Tides ---- */

static inline struct sim_answer sim_succeed(void) {
    static const struct sim_answer done = {JOBQ_DONE, 0, 0, {0, 0}, false, false};
    return done;
}

/* A dozen jobs go: they are deleted, or whatever is ready is done. */
static inline void sim_ebb(void) {
    if (sim_chance(300)) {
        sim_script = sim_succeed;
        sim_run_all();
        sim_script = sim_improvise;
        return;
    }
    for (int i = 0; i < MODEL_MANY && sim.m.count > 0 && !sim_over() && !sim.latched; i++)
        sim_change(MODEL_DELETE, sim.m.jobs[sim_pick(sim.m.count)].id);
}

/* Time enough for the file to become small, or not quite. */
static inline void sim_slack(void) {
    int64_t duration_ms = JOBQ_MINUTE / 2 + sim_pick(JOBQ_MINUTE);
    if (sim_chance(700)) {
        sim_advance(duration_ms);
        return;
    }
    jobq_clock_advance(sim.clock, duration_ms);
    sim.last_ms = sim_now();
    sim_step();
}

static inline void sim_tidal_call(void) {
    static const int calls[] = {0, 4, 8, 8};
    if (sim.tide_left-- <= 0) {
        sim.tide = sim.tide == SIM_SLACK ? SIM_FLOOD : (enum sim_tide)(sim.tide + 1);
        sim.tide_left = 1 + sim_pick(calls[sim.tide]);
        sim.figures.floods += sim.tide == SIM_FLOOD;
    }
    if (sim.tide == SIM_FLOOD) sim_enqueue(MODEL_MANY);
    else if (sim.tide == SIM_EBB) sim_ebb();
    else sim_slack();
}

static inline void sim_any_call(void) {
    int dice = sim_pick(100);
    if (sim_chance(sim.profile->steps)) sim_step_clock();
    if (sim.profile->tides && !sim.run.id && sim_chance(700)) {
        sim_tidal_call();
        return;
    }
    /* While an outcome is on its way, what it does to its job is not known. */
    if (sim.run.id && (sim_planned() || sim.run.may_count > 1)
        && (dice >= 14 || sim.m.count > MODEL_JOBS / 2))
        dice = 40 + dice % 26;
    if (dice < 14) sim_enqueue(1);
    else if (dice < 18) sim_enqueue(sim_pick(MODEL_MANY + 1));
    else if (dice < 22) sim_small_call();
    else if (dice < 28) sim_change(MODEL_CANCEL, sim_some_id());
    else if (dice < 34) sim_change(MODEL_RETRY_NOW, sim_some_id());
    else if (dice < 38) sim_change(MODEL_DELETE, sim_some_id());
    else if (dice < 58) sim_step();
    else if (dice < 66) sim_run_all();
    else if (dice < 76) sim_advance(sim_duration());
    else if (dice < 82) sim_advance_to_next();
    else if (dice < 90) {
        jobq_clock_advance(sim.clock, sim_duration());
        sim_say("the clock moves to %" PRId64, sim_now());
    } else sim_inspect();
}

/* ---- Sessions ---- */

/* The time goes on between sessions; the clock may show another. */
static inline int64_t sim_first_time(void) {
    int64_t away_ms = sim_chance(300) ? sim_duration() : sim_pick(100000), now_ms;
    sim.wall_ms += away_ms;
    sim.figures.lived_ms += away_ms;
    now_ms = sim.wall_ms;
    if (!sim.profile->chaos || !sim_chance(500)) return now_ms;
    switch (sim_pick(4)) {
    case 0: now_ms = sim_pick(1000000); break;
    case 1: now_ms -= sim_duration(); break;
    case 2: now_ms -= sim_pick(10000); break;
    default: now_ms += sim_duration();
    }
    if (now_ms < sim.high_ms) sim.figures.backwards++;
    return now_ms < 0 ? 0 : now_ms;
}

static inline void sim_draw_options(void) {
    jobq_options *o = &sim.options;
    o->durability = sim_chance(300) ? JOBQ_RELAXED : JOBQ_DURABLE;
    o->charge_reboots = sim.rules.charge_reboots = sim_chance(500);
    sim.logging = sim_chance(400) && sim.profile->power;
}

/* Opens the queue, with a clock that shows now_ms, and finds out what is in it. */
static inline bool sim_begin_session(int64_t now_ms) {
    struct sim_eye eye;
    sim.clock = sim.options.clock = jobq_clock_artificial(now_ms);
    sim.offsets[0] = now_ms;
    sim.offset_count = 1;
    sim.event_ms = sim.low_ms = sim.top_ms = now_ms;
    sim.stepped = false;
    sim_now();
    sim.leaving = sim.corrupt = sim.tight = false;
    for (int i = 0; i < MODEL_KINDS; i++)
        sim.rules.kinds[i].handled = sim.rules.kinds[i].unsure = false;
    memset(sim.passed, 0, sizeof sim.passed);
    memset(&sim.stats, 0, sizeof sim.stats);
    sim.hits_before = sim_hits();
    sim.figures.sessions++;
    sim_say("session at %" PRId64 ", %s%s", now_ms, sim.options.durability == JOBQ_RELAXED
            ? "relaxed" : "durable", sim.logging ? ", the power may fail" : "");
    if (sim.logging) fault_log_begin(&sim.log, sim.path);
    sim_open();
    if (!sim.q) return false;
    sim_open_eye(&eye);
    sim_find_world();
    sim.m.kept = 0;
    sim_shut_eye(&eye);
    if (sim.profile->tides) sim_read_all();
    model_set_back(&sim.m, now_ms);
    if (sim.crash_events_unsure) sim.stats.crashed = stats_of(sim.q).crashed;
    if (sim.crash_events_unsure || sim.wishes_unsure)
        sim.stats.cancelled = stats_of(sim.q).cancelled;
    return !sim.broken;
}

static inline void sim_end_session_somehow(void) {
    int64_t now_ms = jobq_clock_now(sim.clock);
    if (now_ms > sim.ended_ms) sim.ended_ms = now_ms;
    sim.ended_stepped = sim.ended_stepped || sim.offset_count > 1;
    if (sim.dead) sim_bury();
    else if (sim.q) sim_close();
    jobq_clock_free(sim.clock);
    sim.clock = NULL;
}

/* ---- The end of a life ---- */

/* Everything that was acknowledged comes to an end, once the troubles are over. */
static inline void sim_drain(void) {
    sim_script = sim_succeed;
    sim_say("from now on nothing fails");
    for (int i = 0; i < MODEL_KINDS && !sim_over(); i++) {
        if (sim.rules.kinds[i].handled) continue;
        sim_begin_call();
        sim_register(i);
        sim_end_call();
    }
    for (int i = 0; i < 2 * MODEL_JOBS && !sim_over(); i++) {
        sim_begin_call();
        sim_advance_to_next();
        sim_end_call();
        if (model_next_wake(&sim.m, sim_now()) == JOBQ_NEVER) break;
    }
    for (int i = 0; i < sim.m.count && !sim_over(); i++)
        if (!model_finished(&sim.m.jobs[i]))
            sim_broken("job %" PRId64 " has not come to an end", sim.m.jobs[i].id);
}

/* At most what the rows need, which may stand in pages of their own; what is kept to be used again:
 * half of it, or half a megabyte; and half a megabyte that may end before somebody looks. */
static inline int64_t sim_small_size(void) {
    int64_t page = sim.options.page_size ? sim.options.page_size : 2048;
    int64_t used = 40 * page + 50 * sim.m.effects;
    for (int i = 0; i < sim.m.count; i++) {
        const struct model_job *job = &sim.m.jobs[i];
        used += (int64_t)job->spec.payload.size + (int64_t)job->result.size;
        used += (int64_t)job->saved.size + 4 * page;
    }
    return used + (used > 1 << 20 ? used / 2 : 1 << 19) + (1 << 19);
}

/* Some minutes after the last job has ended, or was deleted, the file is small. */
static inline int64_t sim_let_shrink(void) {
    bool empty = sim_chance(500);
    while (empty && sim.m.count > 0 && !sim_over()) {
        sim_begin_call();
        sim_change(MODEL_DELETE, sim.m.jobs[0].id);
        sim_end_call();
    }
    for (int minutes = 0; minutes < 5 && !sim_over(); minutes++) {
        sim_begin_call();
        sim_advance(JOBQ_MINUTE);
        sim_end_call();
    }
    sim_check_all(true);
    return sim_small_size();
}

static inline void sim_check_small(int64_t most) {
    const struct disk_file *f = disk_find(sim.path);
    int64_t size = f ? f->size : 0;
    if (sim.broken) return;
    if (size > most)
        sim_broken("the file has %" PRId64 " bytes, although %" PRId64 " are enough", size, most);
    sim.figures.became_small += sim.high_size > most;
}

/* After such a life the file is as it should be. */
static inline void sim_check_file(void) {
    char fault[256];
    if (*fault_of(sim.q, fault)) sim_broken("%s", fault);
}

static inline void sim_register_some(void) {
    for (int i = 0; i < MODEL_KINDS && !sim_over(); i++) {
        if (sim_chance(i == MODEL_KINDS - 1 ? 500 : 100)) continue;
        sim_begin_call();
        sim_register(i);
        sim_end_call();
    }
}

static inline void sim_session(bool last) {
    int64_t began_ms = sim_first_time(), lived_ms, most = 0;
    int calls = 1 + sim_pick(sim.profile->calls);
    sim.peace = last;
    if (last) sim_calm_disk();
    sim_draw_options();
    if (sim_begin_session(began_ms)) {
        if (!last) sim_register_some();
        while (!last && calls-- > 0 && !sim_over()) {
            sim_begin_call();
            sim_any_call();
            sim_end_call();
            if (sim.latched && sim_chance(400)) break;
        }
        if (last || sim.profile->memory) sim_drain();
        if (last && sim.profile->tides && !sim_over()) most = sim_let_shrink();
        if (last && !sim_over()) sim_check_file();
    }
    lived_ms = sim_mono();
    sim.wall_ms += lived_ms;
    sim.figures.lived_ms += lived_ms;
    sim_end_session_somehow();
    if (most) sim_check_small(most);
}

/* ---- Lives ---- */

/* Payloads of some to many pages. */
static inline void sim_draw_tides(void) {
    static const int pages[] = {0, 512, 1024, 4096, 8192};
    static const int payloads[] = {20000, 40000, 65000};
    jobq_options *o = &sim.options;
    int page = sim_pick(5);
    o->page_size = pages[page];
    o->payload_max = payloads[sim_pick(3)];
    sim.figures.page_sizes[page]++;
}

static inline void sim_draw_life(void) {
    static const int64_t keeps_ms[] = {JOBQ_DAY, JOBQ_MINUTE, 60 * JOBQ_DAY, JOBQ_NONE};
    static const int wal_pages[] = {16, 30, 100, 1000};
    jobq_options *o = &sim.options;
    int64_t keep_ms = keeps_ms[sim_pick(4)];
    o->workers = JOBQ_NONE;
    o->busy_ms = JOBQ_NONE;
    o->stall_ms = JOBQ_NEVER; /* it is real time, of which a life knows nothing */
    o->seed = test_random(&sim.random);
    o->payload_max = 16384;
    o->reserve_bytes = sim_chance(100) ? 0 : sim_chance(500) ? JOBQ_NONE : 100000;
    o->wal_pages = wal_pages[sim_pick(4)];
    o->on_event = sim_on_event;
    o->on_wake = sim_on_wake;
    o->keep_done_ms = keep_ms;
    o->keep_max = sim_chance(200) ? 1 + sim_pick(8) : 0;
    sim.rules.keep_done_ms = keep_ms;
    sim.rules.keep_failed_ms = 7 * JOBQ_DAY;
    sim.rules.keep_max = o->keep_max ? o->keep_max : INT64_MAX;
    if (sim.profile->tides) sim_draw_tides();
    sim.rules.payload_max = o->payload_max;
    for (int i = 0; i < MODEL_KINDS; i++) sim_draw_kind(&sim.rules.kinds[i]);
    sim.wall_ms = T0 + (int64_t)(test_random(&sim.random) % (uint64_t)JOBQ_DAY);
}

/* Nothing of an earlier life is left. To remove the files beside would take longer. */
static inline void sim_clear_files(void) {
    static const char zeros[4096];
    if (sim.profile->memory) return;
    fault_clear(sim.path);
    fault_clear(sim.spare);
    fault_cut_slots(sim.path, zeros, sizeof zeros);
    fault_cut_slots(sim.spare, zeros, sizeof zeros);
    unlink(sim.path);
}

static inline void sim_begin_life(const struct sim_profile *profile, uint64_t seed) {
    struct sim_figures figures = sim.figures;
    memset(&sim, 0, sizeof sim);
    sim.figures = figures;
    sim.profile = profile;
    sim.random = seed;
    snprintf(sim.how, sizeof sim.how, "see it again: make sim LIFE=%s SEED=%" PRIu64 " N=1",
             profile->name, seed);
    sim.path = profile->memory ? ":memory:" : test_path("a.db");
    sim.spare = test_path("b.db");
    sim_script = sim_improvise;
    fault_begin();
    sim_clear_files();
    test_watch(); /* each life has its own time */
    sim_draw_life();
    sim_remember(false);
    sim_add_end(MODEL_DIED, false, 0, 0);
}

static inline void sim_end_life(void) {
    sim_forget_pasts();
    sim_forget_maybes();
    sim_clear_files();
    sim.figures.lives++;
}

/* Lives the life of a seed; returns the hash of its history. sim.broken says how it was. */
static inline uint64_t sim_live(const struct sim_profile *profile, uint64_t seed) {
    int sessions;
    sim_begin_life(profile, seed);
    sessions = 1 + sim_pick(profile->sessions);
    while (sessions-- > 0 && !sim.broken) sim_session(false);
    if (!sim.broken && !profile->memory) sim_session(true);
    sim_end_life();
    return sim.hash;
}

static const struct sim_profile sim_profiles[] = {
    {.name = "storm", .chaos = true, .steps = 30, .power = true, .faults = 60, .deaths = 8,
     .sessions = 8, .calls = 90},
    /* Without failing calls and power cuts: the same with every SQLite. */
    {.name = "calm", .chaos = true, .steps = 30, .deaths = 8, .sessions = 8, .calls = 90},
    /* And nobody sets the clock. */
    {.name = "even", .deaths = 8, .sessions = 8, .calls = 90},
    {.name = "clocks", .chaos = true, .steps = 150, .power = true, .faults = 5, .deaths = 20,
     .sessions = 40, .calls = 12},
    {.name = "tides", .chaos = true, .steps = 30, .power = true, .tides = true, .faults = 40,
     .deaths = 6, .sessions = 5, .calls = 120},
    /* The same on a disk that works. */
    {.name = "moon", .tides = true, .sessions = 3, .calls = 150},
    {.name = "memory", .memory = true, .sessions = 1, .calls = 1500},
    {.name = "steady", .sessions = 3, .calls = 200},
};

static inline const struct sim_profile *sim_profile_of(const char *name) {
    for (size_t i = 0; i < sizeof sim_profiles / sizeof sim_profiles[0]; i++)
        if (strcmp(sim_profiles[i].name, name) == 0) return &sim_profiles[i];
    test_note("there are no lives as %s", name);
    return &sim_profiles[0];
}

/* So many lives, from a seed on; ends early after some that were broken. */
static inline void sim_live_all(const char *name, uint64_t seed, int64_t lives) {
    int broken = 0;
    memset(&sim.figures, 0, sizeof sim.figures);
    for (int64_t i = 0; i < lives && broken < 3; i++) {
        sim_live(sim_profile_of(name), seed + (uint64_t)i);
        if (sim.broken) broken++;
    }
}

static inline double sim_years(void) {
    return (double)sim.figures.lived_ms / (365.25 * 24 * 3600e3);
}

/* ---- Edges: what on_event may tell, by the table of README and jobq.h ---- */

static const struct {
    jobq_state from, to;
    jobq_outcome outcome;
} sim_edges[] = {
    {JOBQ_STATE_NONE, JOBQ_STATE_PENDING, JOBQ_OUTCOME_NONE},
    {JOBQ_STATE_PENDING, JOBQ_STATE_RUNNING, JOBQ_OUTCOME_NONE},
    {JOBQ_STATE_RUNNING, JOBQ_STATE_DONE, JOBQ_DONE},
    {JOBQ_STATE_RUNNING, JOBQ_STATE_FAILED, JOBQ_FAIL},
    {JOBQ_STATE_RUNNING, JOBQ_STATE_FAILED, JOBQ_RETRY},
    {JOBQ_STATE_RUNNING, JOBQ_STATE_CANCELLED, JOBQ_CANCELLED},
    {JOBQ_STATE_RUNNING, JOBQ_STATE_PENDING, JOBQ_RETRY},
    {JOBQ_STATE_RUNNING, JOBQ_STATE_PENDING, JOBQ_RESCHEDULE},
    {JOBQ_STATE_RUNNING, JOBQ_STATE_PENDING, JOBQ_SNOOZE},
    {JOBQ_STATE_RUNNING, JOBQ_STATE_PENDING, JOBQ_CRASHED},
    {JOBQ_STATE_PENDING, JOBQ_STATE_CANCELLED, JOBQ_OUTCOME_NONE},
    {JOBQ_STATE_PENDING, JOBQ_STATE_FAILED, JOBQ_CRASHED},
    {JOBQ_STATE_PENDING, JOBQ_STATE_PENDING, JOBQ_OUTCOME_NONE},
    {JOBQ_STATE_FAILED, JOBQ_STATE_PENDING, JOBQ_OUTCOME_NONE},
    {JOBQ_STATE_CANCELLED, JOBQ_STATE_PENDING, JOBQ_OUTCOME_NONE},
};

enum { SIM_EDGES = sizeof sim_edges / sizeof sim_edges[0] };

static inline void sim_check_edges(void) {
    int64_t known = 0, all = 0;
    for (int i = 0; i < SIM_EDGES; i++) {
        int64_t n = sim.figures.edges[sim_edges[i].from][sim_edges[i].to][sim_edges[i].outcome];
        known += n;
        if (!CHECK(n > 0))
            test_note("never: %s to %s by %s", jobq_state_name(sim_edges[i].from),
                      jobq_state_name(sim_edges[i].to), jobq_outcome_name(sim_edges[i].outcome));
    }
    for (int from = 0; from < 6; from++)
        for (int to = 0; to < 6; to++)
            for (int outcome = 0; outcome <= JOBQ_CRASHED; outcome++)
                all += sim.figures.edges[from][to][outcome];
    CHECK_INT(known, all);
}

#endif
