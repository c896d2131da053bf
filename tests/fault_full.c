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

static void one_size(int64_t size, int workers, bool stolen, uint64_t seed) {
    struct story s;
    int before = test_failures();
    fault_begin();
    fault_space(size, test_path("full.db"));
    if (!story_begin(&s, workers, seed)) return;
    if (stolen) {
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
        test_note("%d KiB, TEST_SEED=%" PRIu64 ": %d accepted, %d refused", (int)(size / KIB), seed,
                  s.accepted, s.refused);
}

/* Goal: a queue that has filled its disk drains to empty. Method: every size. */
TEST(own_work_fills_the_disk) {
    uint64_t seed = test_seed();
    int sizes = 0;
    for (int64_t size = SMALLEST; size <= LARGEST && !test_failures(); size = next_size(size)) {
        one_size(size, JOBQ_NONE, false, seed + (uint64_t)size);
        sizes++;
    }
    test_figure("R9 disk-full", "drains to 0, takes work again", "%d sizes from 256 KiB to 4 MiB,"
                " filled by the queue", sizes);
}

/* Goal: the same when somebody else takes what is free. Method: every size, at a random moment. */
TEST(others_fill_the_disk) {
    uint64_t seed = test_seed();
    int sizes = 0;
    for (int64_t size = SMALLEST; size <= LARGEST && !test_failures(); size = next_size(size)) {
        one_size(size, JOBQ_NONE, true, seed + (uint64_t)size);
        sizes++;
    }
    test_figure("R9 disk-full", "drains to 0, takes work again", "%d sizes from 256 KiB to 4 MiB,"
                " space taken by others", sizes);
}

/* Goal: a pool does it, too, and goes on by itself. Method: some sizes, two workers. */
TEST(a_pool_on_a_full_disk) {
    for (int64_t size = SMALLEST; size <= LARGEST && !test_failures(); size += 960 * KIB) {
        one_size(size, 2, false, test_seed() + (uint64_t)size);
        one_size(size, 2, true, test_seed() + (uint64_t)size);
    }
}

TEST_MAIN(own_work_fills_the_disk, others_fill_the_disk, a_pool_on_a_full_disk)
