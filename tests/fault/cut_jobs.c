/* cut_jobs.c - power cuts and kills while jobs are enqueued, run and changed.
 *
 * Promised: at DURABLE what was acknowledged is there after a power cut; at RELAXED what is missing
 * is the end of the acknowledged calls, and nothing from before the last jobq_flush. At both: calls
 * happened or not, never half; a job that had ended never runs again; a job's rows and children
 * are there if and only if it is done; a kill is charged to the jobs that ran, a power cut to none.
 *
 * One story for each verb, so that a failure has a name, then stories by the seed, all crashed at
 * every boundary between two operations of the disk (fault_story.h, fault_judge.h). Broken on
 * purpose by lax pragmas, commits that come late or in two parts, and slots that lie. Counted are
 * images: what a disk may hold after one cut under one of the five damages, or after one kill. */
#include "fault_judge.h"

static struct story story; /* large */
static struct tally totals[2]; /* by durability */

static void judge_it(struct tally *tally) {
    story_close(&story);
    judge_story(&story, tally);
    story_free(&story);
}

/* ---- One story for each verb ---- */

/* Three jobs to begin with: one whose payload fills pages of its own, one with rows, one that is
 * not kept. */
static bool scene_begin(const char *name, jobq_durability durability) {
    static uint64_t scenes; /* each is told in another way */
    fault_begin();
    story_init(&story, name, durability, test_seed() + scenes++);
    story_make(&story);
    story.tags = 6;
    if (!story_open(&story)) return false;
    story_enqueue(&story, (jobq_job){.kind = "plain"});
    story_enqueue(&story, (jobq_job){.kind = "money", .key = story_keys[1]});
    story_enqueue(&story, (jobq_job){.kind = "brief"});
    return true;
}

/* A file with free pages that nothing needs: what a large job has left. */
static void leave_room(struct story *s) {
    static const char bytes[700 * 1024];
    jobq_job job = {.kind = "plain", .payload = bytes, .size = sizeof bytes};
    jobq *q = NULL;
    int64_t id = 0;
    WORKS(jobq_open(s->path, &s->options, &q, &err));
    WORKS(jobq_enqueue(q, &job, &id, &err));
    WORKS(jobq_delete(q, id, &err));
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

static int64_t bytes_of(const char *path) {
    return sql_int(path, "PRAGMA page_count") * sql_int(path, "PRAGMA page_size");
}

static void scene(const char *name, void (*tell)(struct story *s)) {
    for (int durability = JOBQ_DURABLE; durability <= JOBQ_RELAXED; durability++) {
        struct tally tally;
        memset(&tally, 0, sizeof tally);
        if (!scene_begin(name, (jobq_durability)durability)) continue;
        tell(&story);
        judge_it(&tally);
        judge_checks(&tally);
        judge_add(&totals[durability], &tally);
    }
}

static void tell_enqueue(struct story *s) {
    story_enqueue(s, (jobq_job){.kind = "plain", .queue = "quick", .priority = -3});
    story_enqueue(s, (jobq_job){.kind = "plain", .delay_ms = JOBQ_HOUR});
    story_enqueue(s, (jobq_job){.kind = "nobody's", .queue = "a new queue"});
}

/* Goal: a new job is there, whole, once it was told of. Method: enqueue, to names old and new. */
TEST(enqueue) {
    scene("enqueue", tell_enqueue);
}

static void tell_enqueue_many(struct story *s) {
    story_enqueue_many(s, 12);
    story_client(s);
    story_refused(s);
    story_enqueue_many(s, 9);
}

/* Goal: a batch is there as a whole or not at all. Method: batches of several statements, with a
 * key that is taken, and with a row that is refused. */
TEST(enqueue_many) {
    scene("enqueue_many", tell_enqueue_many);
}

static void tell_key(struct story *s) {
    for (int i = 0; i < 2; i++) {
        story_enqueue(s, (jobq_job){.kind = "plain", .key = story_keys[0]});
        story_enqueue(s, (jobq_job){.kind = "plain", .key = story_keys[0]});
        story_client(s);
        story_idle(s, STORY_DONE);
    }
}

/* Goal: a key is taken if and only if its job is there and has not ended. Method: take it, meet it,
 * free it, take it again. */
TEST(key) {
    scene("key", tell_key);
}

static void tell_settle(struct story *s) {
    story_step(s, STORY_DONE);
    story_set_clock(s);
    story_step(s, STORY_RESULT);
    story_step(s, STORY_FAIL);
    story_enqueue_many(s, 4);
    story_set_clock(s);
    story_idle(s, STORY_DONE);
}

/* Goal: who had ended never runs again, who had not does. Method: claim and settle one by one, and
 * each commit settling one and claiming the next; the clock is set meanwhile. */
TEST(claim_and_settle) {
    scene("claim and settle", tell_settle);
}

static void tell_again(struct story *s) {
    story_step(s, STORY_RETRY);
    story_step(s, STORY_SNOOZE);
    story_step(s, STORY_RESCHEDULE);
    story_advance(s, 2 * JOBQ_MINUTE);
    story_step(s, STORY_RETRY);
    story_step(s, STORY_SAVE);
    story_advance(s, JOBQ_MINUTE);
    story_step(s, STORY_SAVE);
    story_advance(s, JOBQ_MINUTE);
    story_step(s, STORY_RESCHEDULE);
}

/* Goal: attempt, due time, message and checkpoint are those that were told. Method: every outcome
 * that runs a job again. */
TEST(retry_later) {
    scene("retry later", tell_again);
}

static void tell_transaction(struct story *s) {
    story_step(s, STORY_EFFECT);
    story_step(s, STORY_CHILDREN);
    story_step(s, STORY_KEEPS);
    story_step(s, STORY_UNDONE);
    story_step(s, STORY_SPOILED);
    story_enqueue_many(s, 3);
    story_step(s, STORY_CHILDREN);
    story_advance(s, JOBQ_MINUTE);
    story_idle(s, STORY_EFFECT);
}

/* Goal: a run's rows and children are there if and only if its end is, done or put off. Method: the
 * job's transaction kept with each, rolled back, and ended by the handler itself. */
TEST(job_transaction) {
    scene("the job's transaction", tell_transaction);
}

static void tell_handler_enqueues(struct story *s) {
    story_step(s, STORY_STORE);
    story_step(s, STORY_STORE);
    story_step(s, STORY_SAVE);
}

/* Goal: what a handler stores by commits of its own is there although the run may be repeated.
 * Method: enqueue and save a checkpoint in handlers. */
TEST(handler_enqueues) {
    scene("a handler enqueues", tell_handler_enqueues);
}

static void tell_change(struct story *s) {
    int64_t first = s->jobs[0].id;
    story_change(s, "cancel", first + 1);
    story_change(s, "retry", first + 1);
    story_step(s, STORY_QUIT);
    story_change(s, "retry", first);
    story_step(s, STORY_RETRY);
    story_change(s, "retry", first);
    story_change(s, "delete", first + 2);
    story_enqueue(s, (jobq_job){.kind = "plain"});
    story_change(s, "delete", first + 3);
    story_change(s, "cancel", first + 1);
}

/* Goal: cancel, retry and delete hold once they were told of, and a deleted id is not used again.
 * Method: on jobs that wait, run and have ended. */
TEST(change) {
    scene("cancel, retry, delete", tell_change);
}

static void tell_flush(struct story *s) {
    for (int i = 0; i < 3; i++) {
        story_enqueue(s, (jobq_job){.kind = "plain"});
        story_step(s, STORY_ANY);
        story_flush(s);
    }
    story_enqueue(s, (jobq_job){.kind = "plain"});
}

/* Goal: at RELAXED nothing from before a flush is ever lost. Method: flush between other calls. */
TEST(flush) {
    scene("flush", tell_flush);
}

/* ---- Syncs ---- */

static void check_syncs(jobq_durability durability) {
    int syncs = 0;
    if (!scene_begin("syncs", durability)) return;
    tell_flush(&story);
    story_close(&story);
    for (int i = 0; i < story.log.count; i++) {
        const struct fault_op *op = &story.log.ops[i];
        if (op->kind != FAULT_OP_SYNC) continue;
        CHECK_INT(op->flags & 0x0f, SQLITE_SYNC_FULL);
        syncs++;
    }
    CHECK(syncs > 4);
    story_free(&story);
}

/* Goal: on a Mac, too, a sync reaches the platter: there only SQLITE_SYNC_FULL makes the disk empty
 * its cache. Method: how SQLite asks for every sync, of the log and of the database. */
TEST(every_sync_is_full) {
    check_syncs(JOBQ_DURABLE);
    check_syncs(JOBQ_RELAXED);
}

/* ---- Stories by the seed ---- */

static void by_the_seed(jobq_durability durability, int64_t images) {
    struct tally *total = &totals[durability];
    for (uint64_t seed = test_seed(); total->images < images; seed++) {
        fault_begin();
        story_init(&story, "by the seed", durability, seed);
        story_make(&story);
        if (!story_open(&story)) return;
        for (int i = 0; i < 25; i++) story_any(&story);
        judge_it(total);
    }
    judge_checks(total);
}

/* Goal: what was acknowledged is there, what was refused is not, after a power cut at any moment.
 * Method: all of the above in any order. */
TEST(durable) {
    const struct tally *t = &totals[JOBQ_DURABLE];
    by_the_seed(JOBQ_DURABLE, test_effort(20000));
    CHECK_INT(t->shorter, 0);
    CHECK(t->stories < 10 || (t->clients > 0 && t->steps > 0));
    test_figure("power cut, DURABLE", "20,000 images; 0 lost, ghosts, double effects, corrupt",
                "%" PRId64 " images of %d stories with %d jobs of clients and %d steps of the"
                " clock, %" PRId64 " of them kills; %" PRId64 " lost, %" PRId64 " ghosts or torn,"
                " %" PRId64 " doubled, %" PRId64 " corrupt; %" PRId64 "/s",
                t->images, t->stories, t->clients, t->steps, t->kills, t->lost,
                t->ghosts + t->torn, t->twice,
                t->corrupt + t->shut, judge_per_second(t));
}

/* Goal: what a power cut takes at RELAXED are the last commits, none before a flush. Method: the
 * same at RELAXED; that a rig which finds no loss at all would be blind is checked as well. */
TEST(relaxed) {
    const struct tally *t = &totals[JOBQ_RELAXED];
    by_the_seed(JOBQ_RELAXED, test_effort(10000));
    CHECK(t->shorter > t->images / 100);
    test_figure("power cut, RELAXED", "0 corrupt, the loss is a suffix, none before a flush",
                "%" PRId64 " images of %d stories, %" PRId64 " of them kills; %" PRId64
                " corrupt, %" PRId64 " lost before a flush, %" PRId64 " not a suffix; %" PRId64
                " lack up to %d acts; %" PRId64 "/s", t->images, t->stories, t->kills,
                t->corrupt + t->shut, t->lost, t->torn + t->ghosts + t->twice, t->shorter,
                t->deepest, judge_per_second(t));
}

/* Goal: giving free pages back loses nothing. Method: a file that is mostly free; jobs move into
 * it, a minute later it is cut off, slice by slice, and jobs go on. With pages of 1 and 4 KiB. */
TEST(shrink) {
    static const int page_sizes[] = {1024, 4096, 0};
    for (int durability = JOBQ_DURABLE; durability <= JOBQ_RELAXED; durability++) {
        struct tally tally;
        int64_t before;
        memset(&tally, 0, sizeof tally);
        fault_begin();
        story_init(&story, "shrink", (jobq_durability)durability, test_seed());
        story.options.page_size = page_sizes[(story.seed + (uint64_t)durability) % 3];
        story_make(&story);
        leave_room(&story);
        before = bytes_of(story.path);
        story.tags = 6;
        if (!story_open(&story)) continue;
        story_enqueue_many(&story, 9);
        story_step(&story, STORY_DONE);
        story_advance(&story, 2 * JOBQ_MINUTE);
        story_step(&story, STORY_DONE);
        story_enqueue(&story, (jobq_job){.kind = "plain"});
        story_idle(&story, STORY_DONE);
        CHECK(bytes_of(story.path) < before - 256 * 1024);
        judge_it(&tally);
        judge_checks(&tally);
        judge_add(&totals[durability], &tally);
    }
}

TEST_MAIN(shrink, enqueue, enqueue_many, key, claim_and_settle, retry_later, job_transaction,
          handler_enqueues, change, flush, every_sync_is_full, durable, relaxed)
