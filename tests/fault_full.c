/* fault_full.c - full disks of every size: what was accepted is finished, what was not is refused
 * with JOBQ_FULL, and when there is space again new work is accepted, without a restart.
 *
 * The disk is the one in memory; it holds so many bytes, the log, its shared memory and jobq's own
 * reserve in the lock file counted in. It becomes full in two ways: the queue itself fills it, or
 * somebody else takes all that is free at some moment. fault_tmpfs.c does the same on a file system
 * of the operating system. */
#include "fault_full.h"
#include "fault_vfs.h"

#include <sys/statvfs.h>

/* jobq asks the operating system for its reserve and for what is free: here the disk in memory
 * answers, because these stand before the system's own. */
int posix_fallocate(int fd, off_t at, off_t size) {
    bool room;
    pthread_mutex_lock(&fault.mutex);
    room = size <= fault_free();
    pthread_mutex_unlock(&fault.mutex);
    if (!room) return ENOSPC;
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
    bool fails;
    size_t payload_max; /* 0: 2 KiB */
};

static void one_disk(struct disk d) {
    struct story s;
    int before = test_failures();
    int64_t size = d.size;
    uint64_t seed = test_seed() + (uint64_t)size + d.result_size;
    fault_begin();
    fault_space(size, test_path("full.db"));
    if (!story_begin(&s, d.workers, seed)) return;
    if (d.result_size) s.result_size = d.result_size;
    if (d.payload_max) s.payload_max = d.payload_max;
    s.fails = d.fails;
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
    test_figure("R9 disk-full", "drains to 0, takes work again", "%d sizes from 256 KiB to 4 MiB,"
                " filled by the queue", sizes);
}

/* Goal: the same when somebody else takes what is free. Method: every size, at a random moment. */
TEST(others_fill_the_disk) {
    int sizes = 0;
    for (int64_t size = SMALLEST; size <= LARGEST && !test_failures(); size = next_size(size)) {
        one_disk((struct disk){.size = size, .workers = JOBQ_NONE, .stolen = true});
        sizes++;
    }
    test_figure("R9 disk-full", "drains to 0, takes work again", "%d sizes from 256 KiB to 4 MiB,"
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
    test_figure("R9 disk-full", "drains to 0, takes work again",
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
    test_figure("R9 disk-full", "drains to 0, takes work again",
                "%d disks on which every job fails twice", disks);
}

/* Goal: a reserve that is set too large does not fill the disk. Method: 1 TiB on a small disk. */
TEST(reserve_is_part_of_the_disk) {
    jobq_options options = {.workers = JOBQ_NONE, .reserve_bytes = INT64_C(1) << 40};
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
 * drained, where the jobs that are done are kept for a day; nobody gives space. */
TEST(history_gives_way) {
    int64_t step = (LARGEST - SMALLEST) / test_effort(4);
    int disks = 0, tries;
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
            for (tries = 1; put_one(&s) != JOBQ_OK && tries < 10; tries++) continue;
            CHECK(tries < 10);
        }
        drain_all(&s);
        check_ends(&s);
        story_end(&s);
        check_sound(s.path);
        fault_remove(s.path);
        disks++;
    }
    test_figure("R9 disk-full", "drains to 0, takes work again",
                "%d disks full of jobs that are done and kept", disks);
}

TEST_MAIN(own_work_fills_the_disk, others_fill_the_disk, a_pool_on_a_full_disk,
          results_that_fill_the_reserve, all_jobs_fail_on_a_full_disk, history_gives_way,
          reserve_is_part_of_the_disk)
