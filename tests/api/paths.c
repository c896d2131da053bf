/* paths.c - which file a path means: resolved once, never a URI, with one name only.
 *
 * Everything that jobq opens later has to be the file that was opened first, wherever the process
 * has gone meanwhile. Tests that change the working directory do so in a child. */
#include "helpers.h"

#include <fcntl.h>
#ifdef __linux__
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#endif

static bool is_root(void) {
    return geteuid() == 0;
}

static jobq *open_steps(const char *path) {
    return open_queue_at(path, STEP);
}

static void touch(const char *path) {
    FILE *file = fopen(path, "a");
    if (!file) test_give_up(path);
    fclose(file);
}

/* ---- A path is resolved once ---- */

static jobq_outcome name_the_file(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    if (jobq_run_db(run, &db, NULL) != JOBQ_OK) return JOBQ_FAIL;
    snprintf((char *)ctx, 1024, "%s", sqlite3_db_filename(db, "main"));
    return JOBQ_DONE;
}

/* In b lies a queue of the same name, which must not be touched. */
static void go_elsewhere(void *arg) {
    char name[1024] = "";
    jobq *q;
    int64_t id;
    (void)arg;
    REQUIRE_INT(chdir(test_path("b")), 0);
    q = open_steps("app.db");
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    REQUIRE_INT(chdir(test_path("a")), 0);
    q = open_steps("app.db");
    REQUIRE(q != NULL);
    handle(q, "k", name_the_file, name);
    id = put(q, "k");
    REQUIRE_INT(chdir(test_path("b")), 0);
    test_pause_ms(20); /* longer than the files go without being looked at */
    CHECK_INT(drain(q), 1);
    CHECK_INT(state_of(q, id), JOBQ_STATE_DONE);
    CHECK(strstr(name, "/a/app.db") != NULL);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: after chdir every connection, the job's too, still has the file that was opened. Method:
 * a relative path, two directories with a queue of that name each, a job that asks SQLite. */
TEST(relative_path_keeps_its_file) {
    REQUIRE_INT(mkdir(test_path("a"), 0700), 0);
    REQUIRE_INT(mkdir(test_path("b"), 0700), 0);
    CHECK_INT(test_fork(go_elsewhere, NULL), 0);
    CHECK_INT(sql_int(test_path("a/app.db"), "SELECT count(*) FROM jobq_row"), 1);
    CHECK_INT(sql_int(test_path("b/app.db"), "SELECT count(*) FROM jobq_row"), 0);
}

static jobq_outcome want_the_file(jobq_run *run, void *ctx) {
    sqlite3 *db = NULL;
    *(int *)ctx = jobq_run_db(run, &db, NULL);
    return JOBQ_DONE;
}

/* Goal: a connection that is opened later than the others is refused another file. Method: the
 * file is replaced by a copy before the first job asks for its connection, and within the time that
 * jobq may go without looking or after it. */
TEST(later_connection_gets_the_same_file_or_none) {
    fixture f;
    int rc = JOBQ_OK, ran = 0;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE}));
    handle(f.q, "k", want_the_file, &rc);
    put(f.q, "k");
    REQUIRE_INT(rename(f.path, test_path("away.db")), 0);
    touch(f.path);
    rc = JOBQ_MOVED; /* should the step itself have seen it already */
    jobq_step(f.q, &ran, NULL);
    CHECK_CODE(rc, JOBQ_MOVED);
    close_whatever(&f.q);
    jobq_clock_free(f.clock);
}

static void want_it_in_jail(void *jail) {
    fixture f;
    int rc = JOBQ_OK, ran = 0;
    char inside[4096];
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE}));
    handle(f.q, "k", want_the_file, &rc);
    put(f.q, "k");
    snprintf(inside, sizeof inside, "mkdir -p '%s%s' && cp '%s' '%s%s'", (char *)jail, test_dir(),
             f.path, (char *)jail, f.path);
    REQUIRE_INT(system(inside), 0);
    REQUIRE_INT(chroot(jail), 0);
    jobq_step(f.q, &ran, NULL);
    CHECK_CODE(rc, JOBQ_MOVED);
    CHECK_INT(sql_int(f.path, "SELECT count(*) FROM sqlite_master WHERE name = 'own'"), 0);
}

/* Goal: nor after a process has gone into another root, where the name means another file. */
TEST(another_root_has_another_file) {
    if (!is_root()) {
        test_skip("only root can change its root");
        return;
    }
    REQUIRE_INT(mkdir(test_path("jail"), 0755), 0);
    CHECK_INT(test_fork(want_it_in_jail, (void *)(uintptr_t)test_path("jail")), 0);
}

/* Goal: a path through links is the file at their end, which need not exist yet; what stands
 * beside it stands there. Method: a link to a directory, a link to a file, a chain of links that
 * leads to nothing, and a ring of links. */
TEST(links_are_followed_once) {
    jobq *q, *again = NULL;
    REQUIRE_INT(mkdir(test_path("real"), 0700), 0);
    REQUIRE_INT(symlink("real", test_path("dir")), 0);
    REQUIRE_INT(symlink("dir/q.db", test_path("first")), 0);
    REQUIRE_INT(symlink(test_path("first"), test_path("second")), 0);
    q = open_steps(test_path("second"));
    REQUIRE(q != NULL);
    CHECK(exists(test_path("real/q.db")));
    CHECK(exists(test_path("real/q.db-jobq")));
    FAILS(JOBQ_LOCKED, jobq_open(test_path("first"), NULL, &again, &err));
    FAILS(JOBQ_LOCKED, jobq_open(test_path("dir/../real/./q.db"), NULL, &again, &err));
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    REQUIRE_INT(symlink("ring", test_path("ring")), 0);
    FAILS(JOBQ_CANT_OPEN, jobq_open(test_path("ring"), NULL, &q, &err));
}

/* ---- What is no name of a queue ---- */

static void open_odd_names(void *arg) {
    static const char *const names[] = {
        "file:app.db", "file:m?mode=memory", "file::memory:", "file:x.db?vfs=none&immutable=1",
        ":memory: ", "./:memory:", "memory:", "a b.db", "a%20b.db", "q.db?mode=ro", "q#.db", "-wal",
        "...", "\303\244.db"};
    (void)arg;
    sqlite3_config(SQLITE_CONFIG_URI, 1);
    REQUIRE_INT(chdir(test_dir()), 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        jobq *q = open_steps(names[i]), *again = NULL;
        char other[1024];
        struct stat st;
        if (!CHECK(q != NULL)) continue;
        if (!CHECK(stat(names[i], &st) == 0 && st.st_size > 0)) test_note("%s", names[i]);
        snprintf(other, sizeof other, "%s/%s", test_dir(), names[i]);
        FAILS(JOBQ_LOCKED, jobq_open(other, NULL, &again, &err));
        put(q, "k");
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
        q = open_steps(names[i]);
        if (q) CHECK_INT(total(q), 1);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
    }
    CHECK(!exists("app.db"));
    CHECK(!exists("x.db"));
}

/* Goal: no name means anything but a file, whatever SQLite would make of it. Method: names that are
 * URIs or look like ":memory:", each opened relative to the directory they have to lie in. */
TEST(names_are_never_uris) {
    CHECK_INT(test_fork(open_odd_names, NULL), 0);
}

static void open_in_vain(const char *path, int wanted, const char *says) {
    jobq_error told = {0};
    jobq *q = NULL;
    CHECK_CODE(jobq_open(path, &(jobq_options){.workers = JOBQ_NONE}, &q, &told), wanted);
    if (!CHECK(strstr(told.text, says) != NULL)) test_note("%s", told.text);
    CHECK(q == NULL);
}

/* Goal: what cannot be a queue file is refused with the path, the reason and errno. */
TEST(bad_paths_say_why) {
    char name[6000];
    jobq_error told = {0};
    jobq *q = NULL;
    touch(test_path("file"));
    open_in_vain(test_path("none/q.db"), JOBQ_CANT_OPEN, "no such file or directory");
    open_in_vain(test_path("none/q.db"), JOBQ_CANT_OPEN, "none/q.db");
    open_in_vain(test_path("file/q.db"), JOBQ_CANT_OPEN, "not a directory");
    open_in_vain(test_path("file/"), JOBQ_CANT_OPEN, "not a directory");
    open_in_vain(test_path("none/"), JOBQ_CANT_OPEN, "no such file or directory");
    open_in_vain(test_dir(), JOBQ_NOT_A_FILE, "is a directory");
    open_in_vain("/dev/null", JOBQ_NOT_A_FILE, "is not a regular file");
    CHECK_CODE(jobq_open(test_path("none/q.db"), NULL, &q, &told), JOBQ_CANT_OPEN);
    CHECK_INT(told.os_code, ENOENT);
    memset(name, 'x', sizeof name);
    name[sizeof name - 1] = 0;
    open_in_vain(name, JOBQ_CANT_OPEN, "name is too long");
}

/* Goal: a path that the system bears and SQLite does not is refused with both lengths. Method:
 * directories below each other until the name has more bytes than SQLite takes. */
TEST(path_longer_than_sqlite_takes) {
    char path[1024];
    int size = snprintf(path, sizeof path, "%s", test_dir());
    while (size < 520) {
        size += snprintf(path + size, sizeof path - (size_t)size, "/%0100d", 0);
        REQUIRE_INT(mkdir(path, 0700), 0);
    }
    snprintf(path + size, sizeof path - (size_t)size, "/q.db");
    open_in_vain(path, JOBQ_CANT_OPEN, "SQLite opens at most");
}

/* ---- One name only ---- */

/* Goal: a file with two names is refused under both, before anything is made beside it; .linked
 * lets it in; and a second name that comes later harms nobody. */
TEST(file_with_two_names_is_refused) {
    const char *path = test_path("q.db"), *other = test_path("other.db");
    jobq_options linked = {.workers = JOBQ_NONE, .linked = true};
    jobq *q = open_steps(path), *again = NULL;
    REQUIRE(q != NULL);
    put(q, "k");
    REQUIRE_INT(link(path, other), 0);
    test_pause_ms(20);
    put(q, "k"); /* the owner goes on */
    open_in_vain(other, JOBQ_LINKED, "has 2 names");
    CHECK(!exists(test_path("other.db-jobq")));
    FAILS(JOBQ_LOCKED, jobq_open(other, &linked, &again, &err));
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    open_in_vain(path, JOBQ_LINKED, ".linked = true");
    WORKS(jobq_open(path, &linked, &q, &err));
    REQUIRE(q != NULL);
    CHECK_INT(total(q), 2);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    REQUIRE_INT(unlink(other), 0);
    q = open_steps(path);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: .linked lets in a second name of what stands beside the database, as well. Method: the lock
 * file has one. */
TEST(second_name_beside) {
    const char *path = test_path("q.db");
    jobq_options linked = {.workers = JOBQ_NONE, .linked = true};
    jobq *q = open_steps(path);
    REQUIRE(q != NULL);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    touch(test_path("q.db-jobq"));
    REQUIRE_INT(link(test_path("q.db-jobq"), test_path("other")), 0);
    open_in_vain(path, JOBQ_LINKED, "has 2 names");
    WORKS(jobq_open(path, &linked, &q, &err));
    REQUIRE(q != NULL);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: neither links nor other things stand beside the database; nothing is written through
 * them, a pipe keeps nobody waiting, and of an open that is refused nothing remains. Method: each
 * ending, each thing. */
TEST(what_stands_beside_is_a_plain_file) {
    static const char *const endings[] = {"-wal", "-shm", "-jobq"};
    for (size_t i = 0; i < 3; i++) {
        char path[1024], beside[1100];
        struct stat st;
        snprintf(path, sizeof path, "%s/q%d.db", test_dir(), (int)i);
        snprintf(beside, sizeof beside, "%s%s", path, endings[i]);
        touch(test_path("precious"));
        REQUIRE_INT(symlink("precious", beside), 0);
        open_in_vain(path, JOBQ_NOT_A_FILE, "a symbolic link");
        unlink(beside);
        REQUIRE_INT(symlink("nothing", beside), 0);
        open_in_vain(path, JOBQ_NOT_A_FILE, "a symbolic link");
        unlink(beside);
        REQUIRE_INT(mkfifo(beside, 0600), 0);
        open_in_vain(path, JOBQ_NOT_A_FILE, "is not a regular file");
        unlink(beside);
        REQUIRE_INT(mkdir(beside, 0700), 0);
        open_in_vain(path, JOBQ_NOT_A_FILE, "is a directory");
        rmdir(beside);
        REQUIRE_INT(link(test_path("precious"), beside), 0);
        open_in_vain(path, JOBQ_LINKED, "has 2 names");
        unlink(beside);
        CHECK(!exists(path));
        CHECK(stat(test_path("precious"), &st) == 0 && st.st_size == 0);
        CHECK(!exists(test_path("nothing")));
    }
}

#ifdef __linux__
/* Gets mounts of its own, which end with the process; false if it may not. */
static bool own_mounts(void) {
    if (syscall(SYS_unshare, 0x00020000 /* CLONE_NEWNS */) == 0
        && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0) return true;
    test_skip("may not mount");
    return false;
}

static bool bind_over(const char *from, const char *path) {
    return CHECK_INT(mount(from, path, "", MS_BIND, NULL), 0);
}

static void open_what_is_mounted(void *arg) {
    const char *path = test_path("in side\\q.db"), *from = test_path("outside.db");
    jobq_options linked = {.workers = JOBQ_NONE, .linked = true};
    jobq *q = open_steps(from);
    (void)arg;
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    touch(path);
    if (!own_mounts() || !bind_over(from, path)) return;
    open_in_vain(path, JOBQ_LINKED, "mounted by itself");
    WORKS(jobq_open(path, &linked, &q, &err));
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

static void open_beside_what_is_mounted(void *arg) {
    static const char *const endings[] = {"-wal", "-shm", "-jobq"};
    const char *path = test_path("q.db"), *from = test_path("other");
    jobq_options linked = {.workers = JOBQ_NONE, .linked = true};
    jobq *q = open_steps(path);
    (void)arg;
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    touch(from);
    if (!own_mounts()) return;
    for (size_t i = 0; i < 3; i++) {
        char beside[1024], says[64];
        snprintf(beside, sizeof beside, "%s%s", path, endings[i]);
        snprintf(says, sizeof says, "q.db%s is mounted by itself", endings[i]);
        touch(beside);
        if (!bind_over(from, beside)) return;
        open_in_vain(path, JOBQ_LINKED, says);
        if (i == 2) {
            WORKS(jobq_open(path, &linked, &q, &err));
            CHECK_CODE(jobq_close(&q), JOBQ_OK);
        }
        CHECK_INT(umount(beside), 0);
        q = open_steps(path);
        REQUIRE(q != NULL);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
    }
}

/* The kernel tells of mounts by itself since 5.8. */
static bool kernel_tells_of_mounts(void) {
    struct utsname name;
    int major = 0, minor = 0;
    if (uname(&name) || sscanf(name.release, "%d.%d", &major, &minor) != 2) return false;
    return major > 5 || (major == 5 && minor >= 8);
}

static void open_what_is_mounted_unseen(void *arg) {
    const char *path = test_path("q.db"), *from = test_path("outside.db");
    jobq *q = open_steps(from);
    (void)arg;
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    touch(path);
    if (!own_mounts() || !bind_over(from, path)) return;
    REQUIRE_INT(mount("none", "/proc", "tmpfs", 0, NULL), 0);
    open_in_vain(path, JOBQ_LINKED, "mounted by itself");
}
#endif

/* Goal: a file that is mounted by itself is refused, whatever bytes its name holds; .linked lets it
 * in. Needs the right to mount, and Linux. */
TEST(mounted_file_is_refused) {
#ifdef __linux__
    CHECK_INT(test_fork(open_what_is_mounted, NULL), 0);
#else
    test_skip("only Linux mounts files");
#endif
}

/* Goal: so is a database beside which such a file stands: log, memory and lock are not those that
 * others see. Method: each ending, mounted and unmounted. */
TEST(mounted_file_beside_is_refused) {
#ifdef __linux__
    CHECK_INT(test_fork(open_beside_what_is_mounted, NULL), 0);
#else
    test_skip("only Linux mounts files");
#endif
}

/* Goal: the same where no list of mounts is to be had. Method: nothing stands in /proc. */
TEST(mounted_file_is_refused_without_proc) {
#ifdef __linux__
    if (kernel_tells_of_mounts()) CHECK_INT(test_fork(open_what_is_mounted_unseen, NULL), 0);
    else test_skip("a kernel before 5.8");
#else
    test_skip("only Linux mounts files");
#endif
}

/* ---- A name that leads where no name does ---- */

#ifdef __linux__
/* Another process has mounted a directory of its own over ours, and waits there. */
struct elsewhere {
    int said[2], go[2];
};

static void live_elsewhere(void *arg) {
    struct elsewhere *e = (struct elsewhere *)arg;
    const char *dir = test_path("dir");
    bool may = own_mounts() && mount("none", dir, "tmpfs", 0, NULL) == 0;
    jobq *q = may ? open_steps(test_path("dir/there.db")) : NULL;
    if (q) {
        put(q, "k");
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
    }
    pipe_say(e->said);
    pipe_hear(e->go);
}

static void open_by_another_root(pid_t pid, const char *name, const char *says) {
    char path[1024];
    snprintf(path, sizeof path, "/proc/%d/root%s/%s", (int)pid, test_path("dir"), name);
    open_in_vain(path, JOBQ_CANT_OPEN, says);
}
#endif

/* Goal: a path through another process's mounts, whose text means another file here, is refused,
 * and nothing is made under that text. Method: a file that is there, one that is not, and a link to
 * one that is not. */
TEST(path_into_other_mounts) {
#ifdef __linux__
    static const char *const names[] = {"there.db", "new.db", "link.db"};
    const char *dir = test_path("dir");
    struct elsewhere e;
    pid_t pid;
    char root[1024];
    struct stat here, there;
    REQUIRE_INT(mkdir(dir, 0700), 0);
    pipe_make(e.said);
    pipe_make(e.go);
    pid = test_spawn(live_elsewhere, &e);
    pipe_hear(e.said);
    snprintf(root, sizeof root, "/proc/%d/root%s", (int)pid, dir);
    REQUIRE_INT(stat(dir, &here), 0);
    if (stat(root, &there) != 0 || here.st_dev == there.st_dev) {
        test_skip("may not mount");
    } else {
        snprintf(root, sizeof root, "/proc/%d/root%s/link.db", (int)pid, dir);
        REQUIRE_INT(symlink("none.db", root), 0);
        for (size_t i = 0; i < 3; i++) {
            open_by_another_root(pid, names[i], "another mount namespace");
            CHECK(!exists(test_path("dir/there.db")) && !exists(test_path("dir/new.db"))
                  && !exists(test_path("dir/none.db")));
        }
    }
    pipe_say(e.go);
    CHECK_INT(test_wait(pid), 0);
    pipe_free(e.said);
    pipe_free(e.go);
#else
    test_skip("only Linux tells of other processes so");
#endif
}

/* Goal: a descriptor's name is the file's own while that has one, and no name when that is deleted:
 * then no other file is made. Method: a queue opened by the descriptor of its file, before and
 * after that is deleted. */
TEST(path_of_a_descriptor) {
#ifdef __linux__
    const char *path = test_path("q.db");
    char name[64], ghost[1024];
    jobq *q = open_steps(path), *again = NULL;
    int fd;
    REQUIRE(q != NULL);
    put(q, "k");
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    if (!exists("/proc/self/fd")) {
        test_skip("no /proc");
        return;
    }
    fd = open(path, O_RDONLY);
    REQUIRE(fd >= 0);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    q = open_steps(name);
    REQUIRE(q != NULL);
    CHECK_INT(total(q), 1);
    FAILS(JOBQ_LOCKED, jobq_open(path, NULL, &again, &err));
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    REQUIRE_INT(unlink(path), 0);
    open_in_vain(name, JOBQ_CANT_OPEN, "deleted");
    snprintf(ghost, sizeof ghost, "%s (deleted)", path);
    CHECK(!exists(ghost));
    close(fd);
#else
    test_skip("only Linux names descriptors so");
#endif
}

/* ---- What a lock file may hold ---- */

static void write_bytes(const char *path, const void *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file)) test_give_up(path);
}

static size_t read_bytes(const char *path, char *bytes, size_t capacity) {
    FILE *file = fopen(path, "rb");
    size_t size = file ? fread(bytes, 1, capacity, file) : 0;
    if (file) fclose(file);
    return size;
}

/* Neither role opens it, and not a byte of it is another one. */
static void is_kept(const char *lock, const char *holds, size_t size) {
    static const jobq_role roles[] = {JOBQ_OWNER, JOBQ_CLIENT, JOBQ_OWNER};
    static char after[40000];
    for (size_t i = 0; i < 3; i++) {
        jobq_options options = {.role = roles[i], .shared = true};
        jobq_error told = {.code = 0};
        jobq *q = NULL;
        CHECK_CODE(jobq_open(test_path("app"), &options, &q, &told), JOBQ_FOREIGN);
        if (!CHECK(strstr(told.text, "app-jobq") && strstr(told.text, "move it away")))
            test_note("%s", told.text);
        CHECK(q == NULL);
        if (!CHECK_INT(read_bytes(lock, after, sizeof after), size)
            || !CHECK(memcmp(after, holds, size) == 0)) test_note("%.20s", holds);
    }
}

/* Goal: a file of somebody else under the lock file's name is refused and stays as it is. Method:
 * short and long ones, some that begin like a lock file or with zeros, and a database; then without
 * it the queue opens. */
TEST(lock_file_of_somebody_else) {
    static const char *const texts[] = {"my precious notes, of years\n", "x", "jobq", "",
                                        "jobq-notes\n", "jobq-1 of three\n", "jobq-22\n"};
    static char holds[40000];
    const char *lock = test_path("app-jobq");
    jobq *q = open_steps(test_path("app"));
    REQUIRE(q != NULL);
    put(q, "k");
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        size_t size = strlen(texts[i]);
        memset(holds, 0, sizeof holds);
        memcpy(holds, texts[i], size);
        if (size && strcmp(texts[i], "jobq") != 0) { /* that may be the begin of a mark */
            write_bytes(lock, holds, size);
            is_kept(lock, holds, size);
        }
        memset(holds + 10, 'P', 1000);
        write_bytes(lock, holds, sizeof holds);
        is_kept(lock, holds, sizeof holds);
        memset(holds + size, 0, sizeof holds - size);
        holds[sizeof holds - 1] = 'P';
        write_bytes(lock, holds, sizeof holds);
        is_kept(lock, holds, sizeof holds);
    }
    REQUIRE_INT(unlink(lock), 0);
    sql_run(lock, "CREATE TABLE mine(n)");
    is_kept(lock, holds, read_bytes(lock, holds, sizeof holds));
    REQUIRE_INT(unlink(lock), 0);
    q = open_steps(test_path("app"));
    REQUIRE(q != NULL);
    CHECK_INT(total(q), 1);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* In another process: SQLite's locks on the file are those of its process, as far as they still
 * are. */
static void see_its_locks(void *arg) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0x40000000,
                         .l_len = 1024};
    int fd = open(test_path("app-jobq"), O_RDWR);
    (void)arg;
    CHECK_INT(fcntl(fd, F_GETLK, &lock), 0);
    CHECK(lock.l_type != F_UNLCK);
    close(fd);
}

/* Goal: two queues of which one is called as the other's lock file would be: the second to come is
 * refused, and the first keeps its jobs and, if it is open, its locks. Method: closed, and open. */
TEST(queue_named_as_a_lock_file) {
    for (int open = 0; open < 2; open++) {
        jobq *q = open_steps(test_path("app-jobq")), *second = NULL;
        REQUIRE(q != NULL);
        put(q, "k");
        if (!open) CHECK_CODE(jobq_close(&q), JOBQ_OK);
        FAILS(JOBQ_FOREIGN, jobq_open(test_path("app"), NULL, &second, &err));
        unlink(test_path("app"));
        if (open) CHECK_INT(test_fork(see_its_locks, NULL), 0);
        if (!open) q = open_steps(test_path("app-jobq"));
        REQUIRE(q != NULL);
        CHECK_INT(total(q), open + 1);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
    }
}

struct lock_part {
    size_t from, size; /* of the page, and no more than that is there */
    size_t whole;      /* the file's size; 0: as it was */
};

/* Goal: what a crash or a power cut leaves of a lock file opens: nothing, zeros, and a page of
 * which only parts have come to the disk. Method: parts of a true one, zeros around them. */
TEST(lock_file_that_was_torn) {
    static const struct lock_part parts[] = {
        {0, 0, 1}, {0, 0, 512}, {0, 0, 3000}, {0, 0, 0}, {0, 3, 3}, {0, 4, 0}, {0, 6, 0}, {0, 7, 7},
        {0, 8, 8}, {0, 512, 512}, {0, 512, 0}, {512, 40000, 0}, {8, 40000, 0}, {8, 4, 0},
        {2048, 2048, 0}, {0, 3000, 3000}, {0, 40000, 5000}};
    static char page[40000], torn[40000];
    const char *path = test_path("q.db"), *lock = test_path("q.db-jobq");
    jobq_options options = {.workers = JOBQ_NONE, .shared = true, .reserve_bytes = 65536};
    jobq_options client = {.role = JOBQ_CLIENT, .shared = true};
    jobq *q = NULL, *other = NULL;
    size_t size;
    WORKS(jobq_open(path, &options, &q, &err));
    REQUIRE(q != NULL);
    size = read_bytes(lock, page, sizeof page); /* of an owner that is killed now */
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        const struct lock_part *p = &parts[i];
        jobq_error told = {.code = 0};
        int rc;
        memset(torn, 0, sizeof torn);
        for (size_t at = p->from; at < p->from + p->size && at < size; at++) torn[at] = page[at];
        write_bytes(lock, torn, p->whole ? p->whole : size);
        rc = jobq_open(path, &client, &other, &told);
        if (rc != JOBQ_OK && !CHECK_CODE(rc, JOBQ_UNSAFE_SQLITE)) test_note("part %d", (int)i);
        if (!CHECK_CODE(jobq_open(path, &options, &q, &told), JOBQ_OK))
            test_note("part %d: %s", (int)i, told.text);
        if (other) CHECK_CODE(jobq_close(&other), JOBQ_OK);
        if (q) CHECK_CODE(jobq_close(&q), JOBQ_OK);
    }
}

/* ---- "May not look" is not "moved" ---- */

/* Without rights, and without the root of before, whoever has the files open goes on. */
static void lose_sight(void *arg) {
    bool in_jail = arg != NULL;
    fixture f;
    REQUIRE(fixture_open(&f, (jobq_options){.workers = JOBQ_NONE}));
    handle(f.q, "k", do_nothing, NULL);
    put(f.q, "k");
    REQUIRE_INT(chmod(test_dir(), 0700), 0);
    if (in_jail) REQUIRE_INT(chroot(arg), 0);
    else REQUIRE(setgid(65534) == 0 && setuid(65534) == 0);
    test_pause_ms(20);
    put(f.q, "k");
    CHECK_INT(drain(f.q), 2);
    CHECK_INT(stats_of(f.q).failed_code, JOBQ_OK);
    CHECK_CODE(jobq_close(&f.q), JOBQ_OK);
}

/* Goal: a process that gives up its rights, or goes into another root, after it has opened the
 * queue works on. Method: both, in children; root only. */
TEST(cannot_look_is_not_moved) {
    if (!is_root()) {
        test_skip("only root can give up rights");
        return;
    }
    REQUIRE_INT(mkdir(test_path("jail"), 0755), 0);
    CHECK_INT(test_fork(lose_sight, NULL), 0);
    CHECK_INT(test_fork(lose_sight, (void *)(uintptr_t)test_path("jail")), 0);
}

/* Goal: a directory that is gone is gone: its path names nothing. Method: rename it. */
TEST(moved_directory_is_moved) {
    jobq *q;
    REQUIRE_INT(mkdir(test_path("d"), 0700), 0);
    q = open_steps(test_path("d/q.db"));
    REQUIRE(q != NULL);
    REQUIRE_INT(rename(test_path("d"), test_path("e")), 0);
    test_pause_ms(20);
    FAILS(JOBQ_MOVED, jobq_enqueue(q, &(jobq_job){.kind = "k"}, NULL, &err));
    touch(test_path("d"));
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* ---- Short names ---- */

static bool all_is_fat; /* as the system tells it */

#if defined(__linux__) && defined(__x86_64__)
enum { CAN_PRETEND = 1 };

/* These stand before the system's own. */
int pretend(const char *path, struct statfs *st) __asm__("statfs");
int pretend_large(const char *path, struct statfs *st) __asm__("statfs64");

int pretend(const char *path, struct statfs *st) {
    int rc = (int)syscall(SYS_statfs, path, st);
    if (rc == 0 && all_is_fat) st->f_type = 0x4D44;
    return rc;
}

int pretend_large(const char *path, struct statfs *st) {
    return pretend(path, st);
}
#else
enum { CAN_PRETEND = 0 };
#endif

/* Goal: on FAT, where a long name has a short one beside it that realpath does not know, what may
 * be that is refused before anything is made, unless .linked says that it is none; all other names
 * are good, and these are elsewhere. */
TEST(short_name_is_refused) {
    static const char *const aliases[] = {"LONGFI~1.DB", "longfi~1.db", "A~12345", "LONG~100.Q"};
    static const char *const others[] = {"longfilename~1.db", "a~1.sqlite", "~1.db", "a~.db",
                                         "a~1b.db", "a1.db", "jobs.db", "a.b~1"};
    jobq_options linked = STEP;
    linked.linked = true;
    if (!CAN_PRETEND) {
        test_skip("cannot stand before the system here");
        return;
    }
    for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++) {
        const char *path = test_path(aliases[i]);
        jobq *q;
        all_is_fat = true;
        open_in_vain(path, JOBQ_LINKED, "short name (8.3)");
        CHECK(!exists(path));
        q = open_queue_at(path, linked);
        if (q) close_queue(&q);
        open_in_vain(path, JOBQ_LINKED, "give the long name, or say .linked = true");
        all_is_fat = false;
        q = open_steps(path);
        if (q) close_queue(&q);
    }
    all_is_fat = true;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        jobq *q = open_steps(test_path(others[i]));
        if (q) close_queue(&q);
    }
    all_is_fat = false;
}

TEST_MAIN(relative_path_keeps_its_file, later_connection_gets_the_same_file_or_none,
          another_root_has_another_file, links_are_followed_once, names_are_never_uris,
          bad_paths_say_why, path_longer_than_sqlite_takes, file_with_two_names_is_refused,
          second_name_beside, what_stands_beside_is_a_plain_file, mounted_file_is_refused,
          mounted_file_beside_is_refused, mounted_file_is_refused_without_proc,
          path_into_other_mounts, path_of_a_descriptor, lock_file_of_somebody_else,
          queue_named_as_a_lock_file, lock_file_that_was_torn,
          cannot_look_is_not_moved, moved_directory_is_moved, short_name_is_refused)
