/* full_tmpfs.c - full disks of every size on a file system of the operating system.
 *
 * The same story as fault/full_disk.c, with nothing of the rig in between: a child process mounts a
 * tmpfs of that size in a name space of its own, which vanishes with it. Space is taken by the
 * queue itself, or by a file beside it that grows until nothing is left; it comes back when the
 * file system is made larger. Needs Linux, and root or unprivileged name spaces; where there are
 * none the test says so and has nothing to show. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "fault_full_disk.h"

#ifdef __linux__
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

static int64_t tmpfs_size; /* for the child */
static bool tmpfs_hogged;
static uint64_t tmpfs_seed;

enum { CANNOT = 77 }; /* what the child exits with if it may not mount */

static void write_line(const char *path, const char *text) {
    int fd = open(path, O_WRONLY);
    if (fd < 0) return;
    if (write(fd, text, strlen(text)) < 0) test_note("%s: %s", path, strerror(errno));
    close(fd);
}

/* A name space where this process may mount: its own right, or root's in a new user space. */
static bool may_mount(void) {
    char map[64];
    int uid = (int)getuid(), gid = (int)getgid();
    if (uid == 0 && unshare(CLONE_NEWNS) == 0) return true;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
    write_line("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "0 %d 1", uid);
    write_line("/proc/self/uid_map", map);
    snprintf(map, sizeof map, "0 %d 1", gid);
    write_line("/proc/self/gid_map", map);
    return true;
}

static bool mount_size(int64_t size, unsigned long flags) {
    char options[64];
    snprintf(options, sizeof options, "size=%lld", (long long)size);
    return mount("tmpfs", test_dir(), "tmpfs", flags, options) == 0;
}

static void larger(void *arg) {
    (void)arg;
    CHECK(mount_size(8 * LARGEST, MS_REMOUNT));
}

/* A file beside the queue that takes all there is. */
static void hog(void) {
    static const char block[4096] = {1};
    int fd = open(test_path("hog"), O_WRONLY | O_CREAT, 0600);
    while (fd >= 0 && write(fd, block, sizeof block) == (ssize_t)sizeof block) continue;
    if (fd >= 0) close(fd);
}

static void live_in_tmpfs(void *arg) {
    struct story s;
    (void)arg;
    if (!may_mount() || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0
        || !mount_size(tmpfs_size, 0))
        _exit(CANNOT);
    if (!story_begin(&s, JOBQ_NONE, tmpfs_seed)) return;
    if (tmpfs_hogged) {
        fill_some(&s, (int)(test_random(&s.random) % (uint64_t)(tmpfs_size / 2000)));
        if (s.refused == 0) hog();
    } else {
        fill(&s);
    }
    full_life(&s, larger, NULL);
    story_end(&s);
    check_sound(s.path);
    if (test_failures())
        test_note("%d KiB, TEST_SEED=%" PRIu64 ": %d accepted, %d refused",
                  (int)(tmpfs_size / KIB), tmpfs_seed, s.accepted, s.refused);
}

static void every_size(bool hogged, const char *how) {
    int sizes = 0, status = 0;
    tmpfs_hogged = hogged;
    for (int64_t size = SMALLEST; size <= LARGEST && status == 0; size = next_size(size)) {
        tmpfs_size = size / 4096 * 4096;
        tmpfs_seed = test_seed() + (uint64_t)size;
        status = test_fork(live_in_tmpfs, NULL);
        sizes++;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == CANNOT) {
        test_skip("this process may not mount a tmpfs");
        return;
    }
    CHECK_INT(status, 0);
    test_figure("full disk", "drains to 0, takes work again", "%d sizes from 384 KiB to 4 MiB,"
                " a real tmpfs, %s", sizes, how);
}
#else
static void every_size(bool hogged, const char *how) {
    (void)hogged;
    test_skip("no tmpfs here: %s", how);
}
#endif

/* Goal: a queue that has filled its file system drains to empty. Method: every size. */
TEST(own_work_fills_a_tmpfs) {
    every_size(false, "filled by the queue");
}

/* Goal: the same when somebody else takes what is free. Method: every size, at a random moment. */
TEST(others_fill_a_tmpfs) {
    every_size(true, "filled by others");
}

TEST_MAIN(own_work_fills_a_tmpfs, others_fill_a_tmpfs)
