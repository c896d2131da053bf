/* sim_device.h - how a device lives and dies: open, close, the death of the process at any moment,
 * a power cut, and what must be found afterwards.
 *
 * A death copies the files as they are at that moment to another name; the old handle is closed on
 * a disk that changes nothing any more. What the next open finds has to be one of the pasts that
 * the death allows: the process alone takes nothing; the power, with synchronous=FULL, at most the
 * call under way; with NORMAL any number of the last commits, but none in the middle. */
#ifndef JOBQ_TEST_SIM_DEVICE_H
#define JOBQ_TEST_SIM_DEVICE_H

#include "sim_check.h"

/* ---- Death ---- */

static inline void sim_add_end(enum model_death death, bool power, int64_t id, int runs) {
    struct sim_end *end = &sim.ends[sim.end_count];
    if (sim.end_count == SIM_ENDS) {
        sim_broken("too many deaths in a row");
        return;
    }
    end->death = death;
    end->power = power;
    end->id = id;
    end->runs = runs;
    sim.end_count++;
}

/* What could be in the file besides the truth: an outcome that was on its way. */
static inline void sim_maybe_settled(void) {
    struct model *world = &sim.scratch[0];
    struct model_job *job;
    if (!sim.run.id || sim.run.run) return;
    for (int i = 0; i < sim.run.may_count; i++) {
        const struct model_verdict *v = &sim.run.may[i];
        bool in_tx = sim.run.in_tx && v->kept;
        model_copy(world, in_tx ? &sim.run.tx : &sim.m);
        job = model_find(world, sim.run.id);
        job->verdict = *v;
        model_settle(world, &sim.rules, job, job->returned_ms);
        job = model_find(world, sim.run.id);
        if (job && model_finished(job)) {
            job->finished_ms = sim.low_ms < job->finished_ms ? sim.low_ms : job->finished_ms;
            job->finished_max_ms = sim.top_ms;
        }
        sim_maybe(world);
    }
}

/* The disk after a power cut at some moment of the last call, or now; which pasts remain. */
static inline void sim_cut_power(bool slots) {
    static const enum fault_damage damages[] = {FAULT_DROP, FAULT_KEEP, FAULT_SECTORS, FAULT_SPARSE,
                                                FAULT_GARBAGE};
    struct fault_cut cut;
    int now = fault_log_now(&sim.log), at = now, last = sim.past_count - 1, first;
    enum fault_damage damage = damages[sim_pick(5)];
    /* What is left of the slots is of this moment. */
    if (!slots && !sim_trouble() && sim.maybe_count == 0 && sim_chance(600) && now > sim.call_log)
        at = sim.call_log + sim_pick(now - sim.call_log + 1);
    while (last > 0 && sim.pasts[last].log_at > at) last--;
    first = last;
    if (sim.options.durability == JOBQ_RELAXED)
        while (first > 0 && !sim.pasts[first].synced) first--;
    if (at < now && last + 1 < sim.past_count) last++;
    sim_say("power cut at %d of %d, %s: %d to %d of %d pasts remain", at, now,
            fault_damage_names[damage], first, last, sim.past_count);
    sim_keep_pasts(first, last);
    fault_cut_begin(&cut, &sim.log);
    fault_cut_to(&cut, at);
    fault_cut_image(&cut, damage, &sim.random, sim.spare);
    fault_cut_end(&cut);
    sim.figures.cuts++;
}

/* What the process says of the jobs that run is found beside the copy, too. After a reboot it is of
 * another boot. */
static inline void sim_copy_slots(bool rebooted) {
    char id[64] = "", name[DISK_NAME + 8], page[4096];
    size_t size = 0;
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "rb");
    if (file) id[fread(id, 1, 36, file)] = 0;
    if (file) fclose(file);
    snprintf(name, sizeof name, "%s-jobq", sim.path);
    file = fopen(name, "rb");
    if (file) size = fread(page, 1, sizeof page, file);
    if (file) fclose(file);
    for (size_t i = 0; rebooted && id[0] && i + 36 < size; i++)
        if (memcmp(page + i, id, 36) == 0) page[i] = page[i] == '0' ? '1' : '0';
    fault_cut_slots(sim.spare, page, size);
}

/* In which run the process dies, if its slots tell. */
static inline void sim_end_session(bool power, bool slots) {
    const struct model_job *job = sim.run.run && slots ? model_find(&sim.m, sim.run.id) : NULL;
    enum model_death death = sim.leaving ? MODEL_LEFT : power ? MODEL_REBOOT : MODEL_DIED;
    sim.end_count = 0;
    sim_add_end(death, power, job ? job->id : 0, job ? job->runs : 0);
}

/* The device dies now. Whatever runs still runs on in vain. */
static inline void sim_die(bool power) {
    bool slots = !power || sim_chance(300);
    if (sim_over()) return;
    sim_remember(false);
    sim_say("dies: %s%s", power ? "power" : "process", power && slots ? ", slots are left" : "");
    sim_maybe_settled();
    sim_end_session(power, slots);
    if (power) sim_cut_power(slots);
    else {
        fault_copy(sim.path, sim.spare);
        sim_keep_pasts(sim.past_count - 1, sim.past_count - 1);
    }
    if (slots) sim_copy_slots(power);
    sim.dead = true;
    if (fault_shrunk() != sim.call_shrunk) {
        sim.figures.shrunk_deaths++;
        sim.figures.shrunk_cuts += power;
    }
    sim.figures.deaths++;
    sim_calm_disk();
    fault_plan(FAULT_ANY, "X*", SQLITE_IOERR);
}

/* After a call, or a moment of a handler: if the disk has died, the process does. */
static inline void sim_mind_death(void) {
    if (!fault.dead || sim_over()) return;
    sim_die(false);
}

/* ---- After a session ---- */

static inline void sim_swap_paths(void) {
    const char *path = sim.path;
    sim.path = sim.spare;
    sim.spare = path;
    if (!sim.profile->memory) fault_clear(sim.spare);
}

static inline void sim_forget_session(void) {
    if (sim.logging) fault_log_free(&sim.log);
    sim.logging = sim.dead = false;
    sim.latched = JOBQ_OK;
    sim.run.id = 0;
    sim.run.run = NULL;
    sim.event_at = sim.event_count = sim.awaited_count = 0;
    if (!sim.broken && sqlite3_memory_used() != 0)
        sim_broken("SQLite still uses %" PRId64 " bytes", (int64_t)sqlite3_memory_used());
}

/* The remains of a process that has died are put away. */
static inline void sim_bury(void) {
    jobq_close(&sim.q); /* what the dead one had in hand is lost, and is told as lost */
    if (sim.q) sim_broken("jobq_close failed");
    sim_calm_disk();
    sim_swap_paths();
    sim_forget_session();
}

static inline void sim_close(void) {
    int64_t hits = sim_hits();
    bool open = sim.run.id != 0;
    int code;
    char wal[DISK_NAME];
    sim_say("close");
    if (!sim.latched && !sim.run.id) sim_check_all(false);
    if (sim.broken) sim_calm_disk();
    sim_maybe_settled();
    sim.end_count = 0;
    sim_add_end(MODEL_DIED, false, 0, 0);
    code = jobq_close(&sim.q);
    /* Only an outcome that it could not write may trouble it. */
    if (sim.q || (code != JOBQ_OK && !open))
        sim_broken("jobq_close is %s", jobq_code_name(code));
    snprintf(wal, sizeof wal, "%s-wal", sim.path);
    if (!sim_trouble_since(hits) && !sim.latched && disk_find(wal))
        sim_broken("a clean close has left the log behind");
    if (fault.dead) {
        /* It died in the last call. */
        fault_copy(sim.path, sim.spare);
        sim_copy_slots(false);
        sim_calm_disk();
        sim_swap_paths();
    }
    sim_calm_disk();
    if (!sim.broken) sim_keep_pasts(sim.past_count - 1, sim.past_count - 1);
    sim_forget_session();
}

/* ---- Open ---- */

/* What the power has taken may have been half of what happened between two calls: a job was
 * claimed, but its start was lost, of which its slot tells all the same; finished jobs were not
 * dropped yet; who is due by a clock that was set back since was not seen to. */
static inline void sim_recover_halves(struct model *world, const struct sim_end *end, int rows) {
    struct model_job *job = model_find(world, end->id);
    const jobq_info *info = sim_seen(rows, end->id);
    if (job && info && job->state == JOBQ_STATE_PENDING && job->runs + 1 == end->runs
        && info->runs == end->runs) {
        job->runs++;
        job->crashes += sim.rules.charge_reboots && end->death == MODEL_REBOOT;
    }
    for (int i = 0; i < sim.ghost_count && world->count < MODEL_JOBS; i++)
        if (sim_seen(rows, sim.ghosts[i].id) && !model_find(world, sim.ghosts[i].id))
            world->jobs[world->count++] = sim.ghosts[i];
    for (int i = 0; i < world->count; i++)
        if (world->jobs[i].run_at_ms > sim_now()) world->jobs[i].due = false;
}

/* Who had crashed too often may have been given up in the last call, which told nothing more. */
static inline void sim_recover_doomed(struct model *world, int rows) {
    for (int i = world->count - 1; i >= 0; i--) {
        struct model_job *job = &world->jobs[i];
        const jobq_info *info = sim_seen(rows, job->id);
        struct model_kind *kind = &sim.rules.kinds[job->spec.kind];
        if (!model_doomed(&sim.rules, job)) continue;
        if (info ? info->state != JOBQ_STATE_FAILED : kind->keep_failed_ms != JOBQ_NONE) continue;
        kind->handled = true;
        model_give_up(world, &sim.rules, job, 0, sim.high_ms);
        kind->handled = false;
    }
}

static inline void sim_recovered(struct model *world, const struct model *past,
                                 const struct sim_end *end, int rows) {
    model_copy(world, past);
    sim_recover_doomed(world, rows);
    model_recover(world, &sim.rules, end->death, end->id, end->runs,
                  sim.crash_events_unsure ? 0 : sim_now(), sim_now());
    /* On a full disk what has ended need not be kept. */
    for (int i = 0; i < past->count && sim.tight; i++) {
        struct model_job *job = model_find(world, past->jobs[i].id);
        if (job && past->jobs[i].cancel && model_finished(job)) job->over = true;
    }
    model_reopen(world, sim.ended_ms, sim.ended_stepped, sim_now());
    if (end->power) sim_recover_halves(world, end, rows);
    model_age(world, &sim.rules);
}

/* Is what is in the file one of the possible worlds? */
static inline bool sim_matches(const struct model *past, const struct sim_end *end, int rows,
                               int64_t effects, uint64_t effect_sum) {
    struct model *world = &sim.scratch[0];
    sim_recovered(world, past, end, rows);
    snprintf(sim_why, sizeof sim_why, "%" PRId64 " rows of handlers, should be %" PRId64, effects,
             world->effects);
    if (world->effects != effects || world->effect_sum != effect_sum) return false;
    for (int i = 0; i < rows; i++) {
        const struct model_job *job = model_find(world, sim_infos[i].id);
        snprintf(sim_why, sizeof sim_why, "job %" PRId64 " should not be there", sim_infos[i].id);
        if (!job || sim_row_differs(job, &sim_infos[i])) return false;
    }
    for (int i = 0; i < world->count; i++) {
        const struct model_job *job = &world->jobs[i];
        if (sim_seen(rows, job->id)) continue;
        snprintf(sim_why, sizeof sim_why, "job %" PRId64 " (%s) is lost", job->id,
                 jobq_state_name(job->state));
        if (!model_may_be_gone(job, sim.high_ms)) return false;
    }
    return true;
}

/* What the recovery has done is told, and what was open is adopted. */
static inline void sim_awake(const struct model *past, const struct sim_end *end, int rows) {
    struct model *before = &sim.scratch[1];
    model_copy(before, past);
    sim_recovered(&sim.m, past, end, rows);
    sim.ghost_count = 0;
    for (int i = 0; i < before->count; i++) {
        const struct model_job *job = &before->jobs[i];
        if (job->state != JOBQ_STATE_RUNNING || !job->cancel) continue;
        sim_await_event(job, JOBQ_STATE_RUNNING, JOBQ_STATE_CANCELLED, JOBQ_CANCELLED);
        sim.awaited[sim.awaited_count - 1].started_ms = -1; /* nothing of that run is known */
        sim.awaited[sim.awaited_count - 1].run_ms = 0;
        sim.stats.cancelled++;
        sim.figures.wishes++;
    }
    for (int i = sim.m.count - 1; i >= 0; i--) {
        struct model_job *job = &sim.m.jobs[i];
        const struct model_job *then = model_find(before, job->id);
        const jobq_info *info = sim_seen(rows, job->id);
        if (!then) then = job;
        if (then->state == JOBQ_STATE_RUNNING && job->crashes == then->crashes)
            sim.figures.uncharged++;
        if (job->crashes > then->crashes) {
            sim_await_event(job, JOBQ_STATE_RUNNING, JOBQ_STATE_PENDING, JOBQ_CRASHED);
            sim.stats.crashed++;
        }
        if (info) sim_adopt(job, info);
        else sim_gone(job);
    }
    sim.ended_ms = 0;
    sim.ended_stepped = false;
    sim_forget_pasts();
    sim_forget_maybes();
    sim_remember_world(before, false);
    sim.pasts[0].log_at = 0;
    sim_remember(false);
    sim.end_count = 0;
}

static inline const struct model *sim_candidate(int i) {
    return i < sim.maybe_count ? sim.maybes[sim.maybe_count - 1 - i]
                               : sim.pasts[sim.past_count - 1 - (i - sim.maybe_count)].world;
}

/* The newest possible world that fits is taken for the truth; if older ones fit as well, what
 * cannot be seen may be theirs. */
static inline void sim_find_world(void) {
    int rows = sim_list(NULL, 200), count = sim.maybe_count + sim.past_count;
    int found = -1, found_end = 0, fit = 0;
    int64_t effects, last_id = 0, newest_id = 0;
    uint64_t effect_sum;
    char first[sizeof sim_why] = "";
    sim_read_effects(&effects, &effect_sum);
    for (int i = 0; i < count && !sim.broken; i++) {
        for (int end = 0; end < sim.end_count; end++) {
            const struct model *world = sim_candidate(i);
            bool fits = sim_matches(world, &sim.ends[end], rows, effects, effect_sum);
            if (i == sim.maybe_count && end == 0 && !fits) memcpy(first, sim_why, sizeof first);
            if (!fits) sim_say("world %d: %s", count - i, sim_why);
            if (!fits) continue;
            if (found < 0) found_end = end;
            if (found < 0) found = i;
            if (fit++ == 0) newest_id = world->last_id;
            last_id = world->last_id;
        }
    }
    if (found < 0) {
        sim_broken("none of %d possible worlds is found after a death; %s", count, first);
        return;
    }
    if (found < sim.maybe_count) sim_say("what was unknown has happened");
    sim.wishes_unsure = fit > 1;
    sim_awake(sim_candidate(found), &sim.ends[found_end], rows);
    sim.m.last_id = last_id;
    sim.ids_unsure = sim.ids_unsure || last_id != newest_id;
    for (int i = 0; i < sim.m.count && fit > 1; i++) {
        sim.m.jobs[i].saved_unsure = true;
        if (sim.m.jobs[i].run_at_ms <= sim_now()) sim.m.jobs[i].due = false;
    }
}

static inline bool sim_open_once(void) {
    jobq_error err = {.code = 12345};
    int64_t hits = sim_hits();
    int code = jobq_open(sim.path, &sim.options, &sim.q, &err);
    if (code == JOBQ_OK) return true;
    sim_say("jobq_open is %s: %s", jobq_code_name(code), err.text);
    sim.figures.opens_failed++;
    if (!sim_trouble_since(hits)) sim_broken("jobq_open is %s: %s", jobq_code_name(code), err.text);
    if (sim.q || err.code != code || strlen(err.text) < 8) sim_broken("jobq_open fails badly");
    /* The recovery may have happened all the same, and then nothing is told of it any more. */
    sim.crash_events_unsure = true;
    return false;
}

/* A death before the queue was open; what the process before has left is found again. */
static inline void sim_die_opening(void) {
    bool power = sim.logging && sim_chance(300);
    sim_say("dies opening: %s", power ? "power" : "process");
    sim.figures.deaths++;
    if (power) {
        struct fault_cut cut;
        fault_cut_begin(&cut, &sim.log);
        fault_cut_to(&cut, fault_log_now(&sim.log));
        fault_cut_image(&cut, (enum fault_damage)sim_pick(5), &sim.random, sim.spare);
        fault_cut_end(&cut);
        sim_add_end(MODEL_REBOOT, true, 0, 0);
        sim.figures.cuts++;
    } else {
        fault_copy(sim.path, sim.spare);
        sim_copy_slots(false);
    }
    sim_calm_disk();
    sim_swap_paths();
}

static inline void sim_open(void) {
    for (int tries = 0; !sim.q && !sim.broken; tries++) {
        if (sim.logging) fault_log_free(&sim.log);
        if (sim.logging) fault_log_begin(&sim.log, sim.path);
        if (tries == 4) sim_calm_disk();
        else if (sim_bad_luck(sim.profile->faults * 4)) sim_plan_fault();
        if (sim_open_once()) break;
        if (fault.dead || sim_chance(200)) sim_die_opening();
        else if (sim_chance(500)) sim_calm_disk();
        if (tries == 4) sim_broken("the queue cannot be opened any more");
    }
}

#endif
