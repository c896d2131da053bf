/* bits_32.c - files over 2 GiB and times after 2038, on 32 bits (`make m32` only).
 *
 * Where numbers are too narrow these break: sizes and offsets of files, inode numbers, time_t. With
 * 64 bits nothing here could fail, so it is not built for them. */
#include "helpers.h"

/* Goal: a database of more than 2 GiB opens and works. Method: a queue's file made longer by a hole
 * that SQLite takes for unused space. */
TEST(file_over_two_gib) {
    const int64_t size = INT64_C(3000000000);
    const char *path = test_path("q.db");
    jobq *q = open_pool(path, JOBQ_NONE);
    FILE *file;
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    file = fopen(path, "r+b");
    REQUIRE(file != NULL);
    for (int64_t at = 0; at < size; at += 1000000000) fseek(file, 1000000000, SEEK_CUR);
    if (fputc(0, file) == EOF || fclose(file) != 0) {
        test_skip("such a file cannot be made here");
        return;
    }
    q = open_pool(path, JOBQ_NONE);
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    put(q, "k");
    CHECK_INT(drain(q), 1);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

static int64_t cpu_ms(void) {
    return (int64_t)clock() * 1000 / CLOCKS_PER_SEC;
}

/* Goal: who waits for a time after 2038 sleeps. Method: a job of 2040 and one of a far century; the
 * processor's time that half a second takes, of which spinning would take all. */
TEST(wait_until_2040) {
    jobq *q = open_pool(test_path("q.db"), 1);
    int64_t before;
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    start(q);
    put_job(q, (jobq_job){.kind = "k", .run_at_ms = INT64_C(2208988800000)});
    put_job(q, (jobq_job){.kind = "k", .run_at_ms = INT64_C(9000000000000)});
    test_pause_ms(100);
    before = cpu_ms();
    test_pause_ms(500);
    CHECK(cpu_ms() - before < 250);
    CHECK_INT(count_all(q).scheduled, 2);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: times are told as they were given. Method: the artificial clock in 2040. */
TEST(times_after_2038) {
    jobq_clock *clock = jobq_clock_artificial(INT64_C(2208988800000));
    jobq_options options = {.workers = JOBQ_NONE, .clock = clock};
    jobq_info info;
    jobq *q = NULL;
    int64_t id;
    WORKS(jobq_open(test_path("q.db"), &options, &q, &err));
    REQUIRE(q != NULL);
    handle(q, "k", do_nothing, NULL);
    id = put_job(q, (jobq_job){.kind = "k", .delay_ms = JOBQ_DAY});
    info = look(q, id);
    CHECK_INT(info.created_at_ms, INT64_C(2208988800000));
    CHECK_INT(info.run_at_ms, INT64_C(2208988800000) + JOBQ_DAY);
    CHECK_INT(advance(q, JOBQ_DAY), 1);
    CHECK_INT(state_of(q, id), JOBQ_STATE_DONE);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    jobq_clock_free(clock);
}

TEST_MAIN(file_over_two_gib, wait_until_2040, times_after_2038)
