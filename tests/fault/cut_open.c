/* cut_open.c - power cuts and kills while a queue is created, opened, recovered, tidied and
 * closed, and once more while what was left behind is recovered.
 *
 * Promised: the file opens again, always; there is no queue in it or a whole one; what a recovery
 * has to find out (who was claimed, who ran) it finds out again if it is cut short; checkpoints,
 * the truncated log and pruning change nothing that was told.
 *
 * Each story is crashed at every boundary; some of the images are opened under a log of their own,
 * live on for a while, and are crashed at every boundary of that (judge_twice). Broken on purpose
 * by a schema in two transactions, slots that are cleared too early, and claims that are noted in
 * a transaction of their own. */
#include "fault_judge.h"

static struct story story; /* large */
static struct tally sum;

/* Each each-th image lives on; 0: none. */
static void judge_it(int each) {
    struct tally tally;
    memset(&tally, 0, sizeof tally);
    if (each) judge_twice(&story, &tally, each);
    else judge_story(&story, &tally);
    judge_checks(&tally);
    judge_add(&sum, &tally);
    story_free(&story);
}

/* Operations of a kind on a file by its ending, 0 the database, 1 its log. */
static int operations(enum fault_op_kind kind, int ending) {
    int count = 0;
    for (int i = story.log.base; i < story.log.count; i++)
        count += story.log.ops[i].kind == kind && story.log.ops[i].ending == ending;
    return count;
}

static void both_levels(void (*tell)(jobq_durability durability)) {
    tell(JOBQ_DURABLE);
    tell(JOBQ_RELAXED);
}

/* ---- Create ---- */

static void tell_create(jobq_durability durability) {
    fault_begin();
    story_init(&story, "create", durability, test_seed());
    if (!story_open(&story)) return;
    story_enqueue(&story, (jobq_job){.kind = "plain", .key = story_keys[0]});
    story_step(&story, STORY_RETRY);
    story_close(&story);
    CHECK_INT(story.log.base, 0);
    judge_it(800);
}

/* Goal: a queue whose creation was cut short is created by the next open. Method: from an empty
 * folder to the first job. */
TEST(create) {
    both_levels(tell_create);
}

static void tell_join(jobq_durability durability) {
    fault_begin();
    story_init(&story, "join", durability, test_seed());
    story.options.join = true;
    sql_run(story.path, "CREATE TABLE effect(job INTEGER NOT NULL)");
    if (!story_open(&story)) return;
    story_enqueue(&story, (jobq_job){.kind = "money"});
    story_step(&story, STORY_EFFECT);
    story_close(&story);
    judge_it(800);
}

/* Goal: the same in a file that another application has made. Method: .join, and a file with a
 * rollback journal. */
TEST(create_beside_tables) {
    both_levels(tell_join);
}

static void tell_into_wal(jobq_durability durability) {
    struct tally tally;
    memset(&tally, 0, sizeof tally);
    fault_begin();
    story_init(&story, "into WAL mode", durability, test_seed());
    story.options.join = true;
    sql_run(story.path, "CREATE TABLE effect(job INTEGER NOT NULL)");
    if (!story_open(&story)) return;
    story_close(&story);
    while (story.log.ops[story.until].ending != 1) story.until++;
    for (int64_t i = test_effort(40); i > 0; i--, story.seed++) judge_story(&story, &tally);
    judge_checks(&tally);
    judge_add(&sum, &tally);
    story_free(&story);
}

/* Goal: a file that is not in WAL mode yet, and is somebody's, comes to no harm at RELAXED either.
 * Method: the boundaries before the first write of a log, each with many a damage. */
TEST(into_wal_mode) {
    both_levels(tell_into_wal);
}

/* ---- Stories that begin with a queue ---- */

static bool begin(const char *name, jobq_durability durability) {
    fault_begin();
    story_init(&story, name, durability, test_seed() + (uint64_t)sum.stories);
    story_make(&story);
    return story_open(&story);
}

static void tell_recover(jobq_durability durability) {
    if (!begin("recover", durability)) return;
    story_enqueue_many(&story, 5);
    story_step(&story, STORY_SAVE);
    story_step(&story, STORY_CHILDREN);
    story_step(&story, STORY_STORE);
    story_close(&story);
    judge_it(400);
}

/* Goal: a recovery that is cut short is begun anew, with the same evidence. Method: jobs that were
 * claimed or ran when the process died or the power failed, and that again while they are given
 * back. */
TEST(recover) {
    both_levels(tell_recover);
}

static void tell_prune(jobq_durability durability) {
    if (!begin("prune", durability)) return;
    story_enqueue_many(&story, 6);
    story_step(&story, STORY_FAIL);
    story_step(&story, STORY_RESULT);
    story_change(&story, "cancel", story.jobs[4].id);
    story_idle(&story, STORY_DONE);
    story_advance(&story, 8 * JOBQ_DAY);
    story_enqueue(&story, (jobq_job){.kind = "plain"});
    story_step(&story, STORY_DONE);
    CHECK_INT(story.list_count, 1);
    story_close(&story);
    judge_it(2000);
}

/* Goal: pruning takes what has ended, whole, and nothing else; no id is used again. Method: all
 * finished jobs pass their time. */
TEST(prune) {
    both_levels(tell_prune);
}

static void tell_checkpoint(jobq_durability durability) {
    if (!begin("checkpoint", durability)) return;
    for (int i = 0; i < 12; i++) {
        story_enqueue(&story, (jobq_job){.kind = story_kinds[i % 3]});
        if (i % 3) story_step(&story, STORY_DONE);
    }
    CHECK(operations(FAULT_OP_SYNC, 0) > 1);
    CHECK(stats_of(story.q).checkpoints > 1);
    story_close(&story);
    judge_it(2000);
}

/* Goal: a checkpoint, and a log that begins anew over its old frames, lose nothing. Method: a log
 * that is full after 16 pages. */
TEST(checkpoint) {
    both_levels(tell_checkpoint);
}

static void tell_truncate(jobq_durability durability) {
    int64_t page_size;
    sqlite3 *reader;
    if (!begin("truncate", durability)) return;
    page_size = sql_int(story.path, "PRAGMA page_size");
    story.tags = 6;
    story_enqueue(&story, (jobq_job){.kind = "plain"});
    reader = sql_open(story.path);
    CHECK_INT(sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM jobq_row", NULL, NULL, NULL),
              SQLITE_OK);
    while (fault_wal_size() < 66 * page_size) story_enqueue_many(&story, 16);
    story_step(&story, STORY_CHILDREN);
    CHECK_INT(operations(FAULT_OP_TRUNCATE, 1), 0);
    sqlite3_close(reader);
    for (int i = 0; i < 100 && operations(FAULT_OP_TRUNCATE, 1) == 0; i++)
        story_step(&story, STORY_DONE);
    CHECK(operations(FAULT_OP_TRUNCATE, 1) > 0);
    story_step(&story, STORY_CHILDREN);
    story_close(&story);
    judge_it(0);
}

/* Goal: a log that is cut to nothing while the queue is in use loses nothing. Method: somebody
 * reads an old state until the log is four times as long as it should be. */
TEST(truncate_in_use) {
    both_levels(tell_truncate);
}

static void tell_close(jobq_durability durability) {
    if (!begin("close", durability)) return;
    for (int i = 0; i < 3; i++) {
        story_enqueue(&story, (jobq_job){.kind = "money"});
        story_step(&story, STORY_ANY);
        story_reopen(&story);
    }
    CHECK(operations(FAULT_OP_TRUNCATE, 1) + operations(FAULT_OP_DELETE, 1) > 2);
    story_close(&story);
    judge_it(800);
}

/* Goal: closing loses nothing. Method: the checkpoint of close, which empties the log, and the
 * log's removal. */
TEST(close_and_open) {
    both_levels(tell_close);
}

static void tell_any(jobq_durability durability) {
    if (!begin("by the seed", durability)) return;
    for (int i = 0; i < 15; i++) story_any(&story);
    story_close(&story);
    judge_it(5000);
}

/* Goal: whatever an interrupted creation, open or recovery leaves, the next open works. Method:
 * all of the above in any order. */
TEST(any_order) {
    int64_t images = sum.images + test_effort(3000);
    while (sum.images < images) both_levels(tell_any);
    judge_checks(&sum);
    test_figure("power cut in creation, open and recovery", "100 % reopen, 0 partial schemas",
                "%" PRId64 " images, %" PRId64 " of them kills, of %d stories that began with an"
                " empty folder, a queue or an image; %" PRId64 " did not open, %" PRId64
                " lost, %" PRId64 " ghosts or torn, %" PRId64 " doubled, %" PRId64
                " corrupt; %" PRId64 "/s", sum.images, sum.kills, sum.stories, sum.shut,
                sum.lost, sum.ghosts + sum.torn, sum.twice, sum.corrupt,
                judge_per_second(&sum));
}

TEST_MAIN(create, create_beside_tables, into_wal_mode, recover, prune, checkpoint,
          truncate_in_use, close_and_open, any_order)
