/* surroundings.c - what a process brings along: descriptors, limits, masks, other users.
 *
 * Nobody asks a library about these, and a service manager may have set any of them. Whatever is
 * changed for the whole process is changed in a child. */
#include "helpers.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/resource.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif

static bool is_root(void) {
    return geteuid() == 0;
}

static void touch(const char *path) {
    FILE *file = fopen(path, "a");
    if (!file) test_give_up(path);
    fclose(file);
}

static jobq *open_steps(const char *path, jobq_options options) {
    options.workers = JOBQ_NONE;
    return open_queue_at(path, options);
}

/* ---- Descriptors ---- */

struct low {
    const char *path;
    int closed; /* a bit for each standard descriptor */
    bool client;
};

static bool is_open(int fd) {
    return fcntl(fd, F_GETFD) >= 0;
}

static bool is_file(int fd, const char *path) {
    struct stat open, named;
    return fstat(fd, &open) == 0 && stat(path, &named) == 0 && open.st_ino == named.st_ino
        && open.st_dev == named.st_dev;
}

/* A bit for each thing that went wrong, because nothing can be printed. */
static void open_without_standard(void *arg) {
    static const char *const endings[] = {"", "-wal", "-shm", "-jobq"};
    const struct low *low = (const struct low *)arg;
    jobq_options options = {.workers = JOBQ_NONE, .shared = true,
                            .role = low->client ? JOBQ_CLIENT : JOBQ_OWNER};
    jobq *q = NULL;
    int wrong = 0;
    for (int fd = 0; fd < 3; fd++) if (low->closed >> fd & 1) close(fd);
    if (jobq_open(low->path, &options, &q, NULL) != JOBQ_OK) _exit(64);
    if (jobq_enqueue(q, &(jobq_job){.kind = "k"}, NULL, NULL) != JOBQ_OK) wrong |= 1;
    for (int fd = 0; fd < 3; fd++) {
        for (size_t i = 0; i < 4; i++) {
            char name[1024];
            snprintf(name, sizeof name, "%s%s", low->path, endings[i]);
            if (is_file(fd, name)) wrong |= 2;
        }
    }
    /* What somebody prints must not land in a file of ours. */
    for (int fd = 0; fd < 3; fd++)
        if ((low->closed >> fd & 1) && is_open(fd) && write(fd, "x", 1) == 1) wrong |= 4;
    if (jobq_close(&q) != JOBQ_OK) wrong |= 8;
    _exit(wrong);
}

/* Goal: with standard descriptors closed none of the files takes their place. Method: each
 * combination of the three, owner and client. */
TEST(no_file_is_a_standard_descriptor) {
    struct low low = {.path = test_path("q.db")};
    jobq *q = open_steps(low.path, (jobq_options){.shared = true});
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    for (low.closed = 1; low.closed < 8; low.closed++) {
        for (int client = 0; client < 2; client++) {
            int status;
            low.client = client == 1;
            status = test_fork(open_without_standard, &low);
            if (!CHECK_INT(status, 0)) test_note("closed %d, client %d", low.closed, client);
        }
    }
}

static int count_open(void) {
    int n = 0;
    for (int fd = 0; fd < 256; fd++) n += is_open(fd);
    return n;
}

static void open_with_few_descriptors(void *arg) {
    const char *path = (const char *)arg;
    struct rlimit limit;
    int failures = 0, base;
    jobq *q = NULL;
    getrlimit(RLIMIT_NOFILE, &limit);
    q = open_steps(path, (jobq_options){0}); /* what is opened once for the process */
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    base = count_open();
    for (limit.rlim_cur = (rlim_t)base; limit.rlim_cur < (rlim_t)base + 40; limit.rlim_cur++) {
        jobq_error told = {.code = 0};
        int rc;
        REQUIRE_INT(setrlimit(RLIMIT_NOFILE, &limit), 0);
        rc = jobq_open(path, &(jobq_options){.workers = JOBQ_NONE}, &q, &told);
        if (rc == JOBQ_OK) break;
        failures++;
        CHECK_CODE(rc, JOBQ_CANT_OPEN);
        if (!CHECK_INT(told.os_code, EMFILE)) test_note("%s", told.text);
        CHECK(strstr(told.text, path) != NULL);
        CHECK_INT(count_open(), base);
    }
    CHECK(failures > 0);
    REQUIRE(q != NULL);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: without descriptors an open says so, with the path, and leaves none behind. Method: one
 * more is allowed at each try, until there are enough. */
TEST(no_descriptors_left) {
    CHECK_INT(test_fork(open_with_few_descriptors, (void *)(uintptr_t)test_path("q.db")), 0);
}

/* ---- The size of files ---- */

static void open_with_small_files(void *arg) {
    struct rlimit limit;
    jobq_error told = {.code = 0};
    jobq *q = NULL;
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = 1000;
    REQUIRE_INT(setrlimit(RLIMIT_FSIZE, &limit), 0);
    CHECK_CODE(jobq_open((const char *)arg, NULL, &q, &told), JOBQ_IO);
    CHECK_INT(told.os_code, EFBIG);
    limit.rlim_cur = 512 * 1024;
    REQUIRE_INT(setrlimit(RLIMIT_FSIZE, &limit), 0);
    q = open_steps((const char *)arg, (jobq_options){0});
    REQUIRE(q != NULL);
    run_one_and_close(&q);
}

/* Goal: where the process may write only small files, what jobq itself would write beyond that is
 * not written: the system would end the process. Method: less than the page, than the reserve. */
TEST(files_may_be_small_only) {
    CHECK_INT(test_fork(open_with_small_files, (void *)(uintptr_t)test_path("q.db")), 0);
}

/* ---- Signals ---- */

struct masks {
    pthread_mutex_t mutex;  /* guards what follows */
    sigset_t of[2][2];      /* of a worker, of the scheduler: when it begins, when it ends */
    long scheduler;         /* its number, to the system */
};

static void note_mask(jobq_thread what, int index, bool begins, void *ctx) {
    struct masks *m = (struct masks *)ctx;
    (void)index;
    pthread_mutex_lock(&m->mutex);
    pthread_sigmask(SIG_SETMASK, NULL, &m->of[what == JOBQ_THREAD_SCHEDULER][!begins]);
#ifdef __linux__
    if (what == JOBQ_THREAD_SCHEDULER) m->scheduler = syscall(SYS_gettid);
#endif
    pthread_mutex_unlock(&m->mutex);
}

#ifdef __linux__
/* The signals that a thread of this process takes no notice of; all of them if it has ended. */
static uint64_t deaf_to(long thread) {
    unsigned long long mask = 0;
    char name[64], line[128];
    FILE *file;
    snprintf(name, sizeof name, "/proc/self/task/%ld/status", thread);
    file = fopen(name, "r");
    if (!file) return UINT64_MAX;
    while (fgets(line, sizeof line, file)) if (sscanf(line, "SigBlk: %llx", &mask) == 1) break;
    fclose(file);
    return mask;
}

static bool has(uint64_t mask, int number) {
    return mask >> (number - 1) & 1;
}

/* Between its callbacks, which it comes to by and by. */
static void check_deaf(struct masks *m) {
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    uint64_t mask = 0;
    long thread = 0;
    for (int i = 0; i < 20000 && !has(mask, SIGTERM); i++) {
        pthread_mutex_lock(&m->mutex);
        thread = m->scheduler;
        pthread_mutex_unlock(&m->mutex);
        if (thread) mask = deaf_to(thread);
        if (!has(mask, SIGTERM)) test_pause_ms(1);
    }
    CHECK(has(mask, SIGTERM) && has(mask, SIGUSR1) && has(mask, SIGUSR2) && has(mask, SIGCHLD));
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) CHECK(!has(mask, own[i]));
}

static bool some_thread_is_deaf(void) {
    DIR *tasks = opendir("/proc/self/task");
    bool found = false;
    for (struct dirent *entry; tasks && !found && (entry = readdir(tasks)) != NULL;) {
        uint64_t mask = entry->d_name[0] == '.' ? 0 : deaf_to(atol(entry->d_name));
        /* A thread that is just being made may be deaf to everything. */
        found = has(mask, SIGTERM) && !has(mask, SIGSEGV);
    }
    if (tasks) closedir(tasks);
    return found;
}
#endif

/* Goal: the scheduler is deaf from its first step on, not just since its first callback. Method: a
 * queue that has none. */
TEST(scheduler_begins_deaf) {
#ifdef __linux__
    jobq_options options = {.workers = 1};
    jobq *q = NULL;
    bool deaf = false;
    WORKS(jobq_open(test_path("q.db"), &options, &q, &err));
    REQUIRE(q != NULL);
    CHECK(!some_thread_is_deaf());
    start(q);
    for (int i = 0; i < 5000 && !deaf; i++) {
        deaf = some_thread_is_deaf();
        if (!deaf) test_pause_ms(1);
    }
    CHECK(deaf);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
#endif
}

/* Goal: the scheduler takes no signal of the application's but what it would bring on itself; in
 * callbacks it has the mask of who started it, as workers always have: what is started there
 * inherits that. Who starts it keeps its own. Method: one signal of two is blocked before. */
TEST(scheduler_takes_no_signals) {
    struct masks m;
    jobq_options options = {.workers = 1, .on_thread = note_mask, .ctx = &m};
    sigset_t one, before, after;
    jobq *q = NULL;
    memset(&m, 0, sizeof m);
    pthread_mutex_init(&m.mutex, NULL);
    sigemptyset(&one);
    sigaddset(&one, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &one, &before);
    WORKS(jobq_open(test_path("q.db"), &options, &q, &err));
    REQUIRE(q != NULL);
    start(q);
#ifdef __linux__
    check_deaf(&m);
#endif
    CHECK_CODE(jobq_stop(q, JOBQ_NEVER, NULL), JOBQ_OK);
    for (int i = 0; i < 4; i++) {
        const sigset_t *mask = &m.of[i / 2][i % 2];
        CHECK(sigismember(mask, SIGTERM) == 0 && sigismember(mask, SIGUSR1) == 0);
        CHECK(sigismember(mask, SIGUSR2) == 1 && sigismember(mask, SIGPIPE) == 0);
    }
    pthread_sigmask(SIG_SETMASK, &before, &after);
    CHECK(sigismember(&after, SIGUSR2) == 1 && sigismember(&after, SIGTERM) == 0);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    pthread_mutex_destroy(&m.mutex);
}

/* ---- Modes and users ---- */

static int mode_at(const char *path) {
    struct stat st;
    return stat(path, &st) ? -1 : (int)(st.st_mode & 07777);
}

static int mode_of(const char *name) {
    return mode_at(test_path(name));
}

/* Goal: all four files get the mode that was asked for, whatever the umask, and 0600 if none was;
 * a file that is there keeps its own, and the lock file follows it. */
TEST(files_have_the_mode_asked_for) {
    static const char *const names[] = {"q.db", "q.db-wal", "q.db-shm", "q.db-jobq"};
    static const int masks[] = {0, 022, 077, 0777};
    static const int modes[] = {0, 0600, 0640, 0660, 0666};
    for (size_t m = 0; m < 4; m++) {
        for (size_t k = 0; k < 5; k++) {
            mode_t before = umask((mode_t)masks[m]);
            jobq *q = open_steps(test_path("q.db"), (jobq_options){.mode = modes[k]});
            umask(before);
            for (size_t i = 0; i < 4; i++)
                if (!CHECK_INT(mode_of(names[i]), modes[k] ? modes[k] : 0600))
                    test_note("%s, umask %o", names[i], (unsigned)masks[m]);
            CHECK_CODE(jobq_close(&q), JOBQ_OK);
            if (k == 4) {
                REQUIRE_INT(chmod(test_path("q.db"), 0640), 0);
                q = open_steps(test_path("q.db"), (jobq_options){0});
                for (size_t i = 0; i < 4; i++) CHECK_INT(mode_of(names[i]), 0640);
                CHECK_CODE(jobq_close(&q), JOBQ_OK);
            }
            for (size_t i = 0; i < 4; i++) unlink(test_path(names[i]));
        }
    }
    for (int bad = 0; bad < 4; bad++) {
        static const int wrong[] = {0400, 0755, -1, 04600};
        jobq *q = NULL;
        FAILS(JOBQ_MISUSE, jobq_open(test_path("q.db"), &(jobq_options){.mode = wrong[bad]}, &q,
                                     &err));
        CHECK(!exists(test_path("q.db")));
    }
}

enum { SOMEBODY = 65534, THEIR_GROUP = 4711 };

/* A directory that others may enter, unlike the test's own. */
struct common {
    char dir[64], path[80], lock[100], log[100];
    int go[2]; /* what is done by who was forked before */
};

static void common_make(struct common *c) {
    snprintf(c->dir, sizeof c->dir, "/tmp/jobq-common-XXXXXX");
    if (!mkdtemp(c->dir)) test_give_up("mkdtemp");
    snprintf(c->path, sizeof c->path, "%s/q.db", c->dir);
    snprintf(c->lock, sizeof c->lock, "%s-jobq", c->path);
    snprintf(c->log, sizeof c->log, "%s-wal", c->path);
    pipe_make(c->go);
}

static void common_free(struct common *c) {
    test_remove(c->dir);
    pipe_free(c->go);
}

/* Belongs to a group of nobody's, and to this one besides. */
static void be_somebody(gid_t group) {
    if (setgroups(1, &group) || setgid(SOMEBODY) || setuid(SOMEBODY)) test_give_up("setuid");
}

/* A client of another user that shares the group. */
static void enqueue_as_another(void *arg) {
    struct common *c = (struct common *)arg;
    char memory[110];
    struct stat st;
    jobq *q = NULL;
    be_somebody(THEIR_GROUP);
    pipe_hear(c->go);
    WORKS(jobq_open(c->path, &(jobq_options){.role = JOBQ_CLIENT, .shared = true}, &q,
                    &err));
    REQUIRE(q != NULL);
    put(q, "k");
    CHECK(stat(c->log, &st) == 0 && st.st_gid == THEIR_GROUP);
    snprintf(memory, sizeof memory, "%s-shm", c->path);
    CHECK(stat(memory, &st) == 0 && st.st_gid == THEIR_GROUP);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

static void be_refused_as_a_stranger(void *arg) {
    struct common *c = (struct common *)arg;
    jobq_error told = {.code = 0};
    jobq *q = NULL;
    be_somebody(SOMEBODY);
    pipe_hear(c->go);
    CHECK_CODE(jobq_open(c->path, &(jobq_options){.role = JOBQ_CLIENT, .shared = true}, &q,
                         &told), JOBQ_READ_ONLY);
    CHECK_INT(told.os_code, EACCES);
    if (!CHECK(strstr(told.text, "permission denied") != NULL)) test_note("%s", told.text);
}

/* A group that this process may give a file to, and that it would not have anyway; 0: none. */
static gid_t other_group(void) {
    gid_t groups[64];
    int n = getgroups(64, groups);
    if (is_root()) return THEIR_GROUP;
    for (int i = 0; i < n; i++) if (groups[i] != 0 && groups[i] != getegid()) return groups[i];
    return 0;
}

/* Goal: what is made for a group belongs to it, the database and all beside it. */
TEST(file_has_its_group) {
    static const char *const endings[] = {"", "-wal", "-shm", "-jobq"};
    gid_t group = other_group();
    jobq *q;
    if (!group) {
        test_skip("this user has one group only");
        return;
    }
    q = open_steps(test_path("q.db"), (jobq_options){.mode = 0640, .group_id = group});
    REQUIRE(q != NULL);
    put(q, "k");
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        char name[1024];
        struct stat st;
        snprintf(name, sizeof name, "%s%s", test_path("q.db"), endings[i]);
        CHECK(stat(name, &st) == 0 && st.st_gid == group && (st.st_mode & 0777) == 0640);
    }
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: with mode 0660 and a group clients of that group work, beside the owner and without one,
 * and nobody else. Method: other users, in children; root only. */
TEST(clients_of_another_user) {
    struct common c;
    const char *path = c.path;
    pid_t stranger, another;
    jobq *q;
    struct stat st;
    if (!is_root()) {
        test_skip("only root can be others");
        return;
    }
    common_make(&c);
    REQUIRE(chown(c.dir, 0, THEIR_GROUP) == 0 && chmod(c.dir, 0771) == 0);
    another = test_spawn(enqueue_as_another, &c);
    q = open_steps(path, (jobq_options){.shared = true, .mode = 0660, .group_id = THEIR_GROUP});
    REQUIRE(q != NULL);
    CHECK(stat(c.lock, &st) == 0 && st.st_gid == THEIR_GROUP);
    CHECK(stat(c.log, &st) == 0 && st.st_gid == THEIR_GROUP);
    pipe_say(c.go);
    CHECK_INT(test_wait(another), 0);
    CHECK_INT(total(q), 1);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    stranger = test_spawn(be_refused_as_a_stranger, &c);
    q = open_steps(path, (jobq_options){.shared = true});
    REQUIRE(q != NULL);
    pipe_say(c.go);
    CHECK_INT(test_wait(stranger), 0);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    /* Now it is the client who makes the log. */
    pipe_say(c.go);
    CHECK_INT(test_fork(enqueue_as_another, &c), 0);
    q = open_steps(path, (jobq_options){.shared = true});
    REQUIRE(q != NULL);
    CHECK_INT(total(q), 2);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    common_free(&c);
}

/* What is missing to a client of the group, and how it is told. */
static struct missing {
    const char *file, *says; /* the one of this ending has that mode, and so the refusal begins */
    int mode, dir_mode;
    bool may_look;           /* then it is refused to write */
} missing[] = {
    {"", "access %s/q.db: permission denied", 0600, 0771, false},
    {"-wal", "access %s/q.db-wal: permission denied", 0600, 0771, false},
    {"-shm", "access %s/q.db-shm: permission denied", 0600, 0771, false},
    {"-jobq", "open %s/q.db-jobq: permission denied", 0600, 0771, false},
    {"", "the file or its directory cannot be written: %s/q.db (", 0640, 0771, true},
    {"", "the file or its directory cannot be written: %s/q.db (", 0660, 0750, false},
};

static struct {
    const struct missing *what;
    const struct common *place;
} wants;

static void hear_what_is_missing(void *arg) {
    jobq_options options = {.role = JOBQ_CLIENT, .shared = true};
    jobq_error told = {.code = 0};
    char says[200];
    jobq *q = NULL;
    int code;
    (void)arg;
    be_somebody(THEIR_GROUP);
    code = jobq_open(wants.place->path, &options, &q, &told);
    /* Whoever has a good SQLite needs the owner's word for nothing. */
    if (strcmp(wants.what->file, "-jobq") == 0 && !sqlite_needs_shared()) {
        CHECK_CODE(code, JOBQ_OK);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
        return;
    }
    if (wants.what->may_look && CHECK_CODE(code, JOBQ_OK)) {
        CHECK_INT(total(q), 1);
        code = jobq_enqueue(q, &(jobq_job){.kind = "k"}, NULL, &told);
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
    }
    CHECK_CODE(code, JOBQ_READ_ONLY);
    CHECK_CODE(told.code, JOBQ_READ_ONLY);
    snprintf(says, sizeof says, wants.what->says, wants.place->dir);
    if (!CHECK(strncmp(told.text, says, strlen(says)) == 0) || !CHECK(strstr(told.text, "0660"))
        || !CHECK(strstr(told.text, ".group_id")) || !CHECK(strstr(told.text, "directory")))
        test_note("%s", told.text);
}

/* Goal: a client of another user that may not do what it wants hears what the system refused, and
 * what the owner gives to let it in; where it may read, it looks. Method: each file that it needs,
 * and the directory, in turn; root only. */
TEST(clients_hear_which_right_is_missing) {
    if (!is_root()) {
        test_skip("only root can be others");
        return;
    }
    for (size_t i = 0; i < sizeof missing / sizeof missing[0]; i++) {
        struct common c;
        char file[110];
        jobq *q;
        common_make(&c);
        REQUIRE_INT(chown(c.dir, 0, THEIR_GROUP), 0);
        q = open_steps(c.path, (jobq_options){.shared = true, .mode = 0660,
                                              .group_id = THEIR_GROUP});
        REQUIRE(q != NULL);
        put(q, "k");
        CHECK_CODE(jobq_close(&q), JOBQ_OK);
        snprintf(file, sizeof file, "%s%s", c.path, missing[i].file);
        touch(file);
        REQUIRE(chmod(file, (mode_t)missing[i].mode) == 0);
        REQUIRE(chmod(c.dir, (mode_t)missing[i].dir_mode) == 0);
        wants.what = &missing[i];
        wants.place = &c;
        CHECK_INT(test_fork(hear_what_is_missing, NULL), 0);
        common_free(&c);
    }
}

static void make_as_another(void *arg) {
    jobq *q;
    be_somebody(SOMEBODY);
    q = open_steps((const char *)arg, (jobq_options){0});
    REQUIRE(q != NULL);
    put(q, "k");
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* The lock file may not be given the group of the database, which is root's. */
static void own_as_a_stranger(void *arg) {
    const struct common *c = (const struct common *)arg;
    struct stat st;
    jobq *q;
    be_somebody(SOMEBODY);
    q = open_steps(c->path, (jobq_options){.join = true, .shared = true});
    REQUIRE(q != NULL);
    CHECK(stat(c->lock, &st) == 0 && st.st_gid == SOMEBODY);
    CHECK_INT(st.st_mode & 0777, 0666);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

static void enqueue_as_a_third(void *arg) {
    jobq *q = NULL;
    if (setgroups(0, NULL) || setgid(THEIR_GROUP) || setuid(SOMEBODY - 1)) test_give_up("setuid");
    WORKS(jobq_open((const char *)arg, &(jobq_options){.role = JOBQ_CLIENT, .shared = true}, &q,
                    &err));
    REQUIRE(q != NULL);
    put(q, "k");
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

/* Goal: where everybody may write to the database, every client may read the lock file, although
 * the owner may not give it the database's group. Method: a file of root's, mode 0666, an owner and
 * a client of two other users. */
TEST(lock_file_that_cannot_have_the_group) {
    struct common c;
    if (!is_root()) {
        test_skip("only root can be others");
        return;
    }
    common_make(&c);
    REQUIRE_INT(chmod(c.dir, 0777), 0);
    sql_run(c.path, "CREATE TABLE theirs(x)");
    REQUIRE_INT(chmod(c.path, 0666), 0);
    CHECK_INT(test_fork(own_as_a_stranger, &c), 0);
    CHECK_INT(test_fork(enqueue_as_a_third, c.path), 0);
    common_free(&c);
}

/* Goal: root works on somebody's queue without locking them out: what it makes beside the database
 * is theirs. Method: their database alone, opened as root, then by them again. */
TEST(root_leaves_files_to_their_owner) {
    struct common c;
    const char *path = c.path;
    struct stat st;
    jobq *q;
    if (!is_root()) {
        test_skip("only root can be others");
        return;
    }
    common_make(&c);
    REQUIRE(chown(c.dir, SOMEBODY, SOMEBODY) == 0);
    CHECK_INT(test_fork(make_as_another, (void *)(uintptr_t)path), 0);
    REQUIRE_INT(unlink(c.lock), 0);
    q = open_steps(path, (jobq_options){0});
    REQUIRE(q != NULL);
    put(q, "k");
    CHECK(stat(c.lock, &st) == 0 && st.st_uid == SOMEBODY);
    CHECK(stat(c.log, &st) == 0 && st.st_uid == SOMEBODY);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    CHECK_INT(test_fork(make_as_another, (void *)(uintptr_t)path), 0);
    common_free(&c);
}

/* ---- What may not be written ---- */

/* Opened as its owner, it says which file keeps it from writing, and leaves all as it was. */
static void be_refused_by(const struct common *c, const char *file) {
    jobq_error told = {.code = 0};
    int lock = mode_at(c->lock), log = mode_at(c->log), before = mode_at(file);
    jobq *q = NULL;
    if (before < 0) touch(file);
    REQUIRE_INT(chmod(file, 0400), 0);
    if (strcmp(file, c->lock) == 0) lock = 0400;
    if (strcmp(file, c->log) == 0) log = 0400;
    CHECK_CODE(jobq_open(c->path, &(jobq_options){.workers = JOBQ_NONE}, &q, &told),
               JOBQ_READ_ONLY);
    CHECK(q == NULL);
    CHECK_INT(told.os_code, EACCES);
    if (!CHECK(strstr(told.text, file) && strstr(told.text, "permission denied")))
        test_note("%s", told.text);
    CHECK_INT(mode_at(c->lock), lock);
    CHECK_INT(mode_at(c->log), log);
    REQUIRE_INT(chmod(file, 0600), 0);
    if (before < 0) REQUIRE_INT(unlink(file), 0);
    q = open_steps(c->path, (jobq_options){.role = JOBQ_OWNER});
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

static void own_without_rights(void *arg) {
    char memory[110];
    struct common c;
    jobq_error told = {.code = 0};
    jobq *q;
    (void)arg;
    if (is_root()) be_somebody(SOMEBODY);
    common_make(&c);
    snprintf(memory, sizeof memory, "%s-shm", c.path);
    q = open_steps(c.path, (jobq_options){.role = JOBQ_OWNER});
    put(q, "k");
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    be_refused_by(&c, c.path);
    be_refused_by(&c, c.log);
    be_refused_by(&c, memory);
    be_refused_by(&c, c.lock);
    /* Where nothing can be made beside it. */
    REQUIRE_INT(chmod(c.dir, 0500), 0);
    CHECK_CODE(jobq_open(c.path, &(jobq_options){.workers = JOBQ_NONE}, &q, &told),
               JOBQ_READ_ONLY);
    if (!CHECK(strstr(told.text, c.path) != NULL)) test_note("%s", told.text);
    REQUIRE_INT(chmod(c.dir, 0700), 0);
    /* What others may do less with than we is not taken from us. */
    REQUIRE_INT(chmod(c.path, 0660), 0);
    q = open_steps(c.path, (jobq_options){.role = JOBQ_OWNER});
    CHECK_INT(mode_at(c.lock), 0660);
    CHECK_INT(total(q), 1);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    common_free(&c);
}

/* Goal: an owner that may not write is told so when it opens, with the file that is in the way; it
 * makes nothing, and the lock file keeps its mode, so that the queue opens as soon as the file may
 * be written again. Method: without root's rights, the database, its log, its shared memory, the
 * lock file and the directory in turn. */
TEST(owner_that_may_not_write) {
    CHECK_INT(test_fork(own_without_rights, NULL), 0);
}

/* Goal: an open that is refused for another reason leaves the lock file's mode alone, too. Method:
 * a database that is another application's, of a smaller mode than its lock file. */
TEST(refused_open_leaves_the_lock_file) {
    const char *path = test_path("q.db"), *lock = test_path("q.db-jobq");
    jobq_error told = {.code = 0};
    jobq *q = NULL;
    sql_run(path, "CREATE TABLE theirs(a)");
    REQUIRE_INT(chmod(path, 0600), 0);
    touch(lock);
    REQUIRE_INT(chmod(lock, 0666), 0);
    CHECK_CODE(jobq_open(path, &(jobq_options){.workers = JOBQ_NONE}, &q, &told), JOBQ_FOREIGN);
    CHECK_INT(mode_at(lock), 0666);
    q = open_steps(path, (jobq_options){.join = true});
    CHECK_INT(mode_at(lock), 0600);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
}

static sqlite3_vfs *real_vfs;
static bool reads_only;

/* As SQLite does when the system refuses to have the file opened for writing. */
static int open_for_reading(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                            int *out) {
    (void)vfs;
    if (reads_only && flags & SQLITE_OPEN_MAIN_DB)
        flags = (flags & ~(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)) | SQLITE_OPEN_READONLY;
    return real_vfs->xOpen(real_vfs, name, file, flags, out);
}

static jobq_outcome begin_for_reading(jobq_run *run, void *ctx) {
    jobq_error *told = (jobq_error *)ctx;
    sqlite3 *db;
    reads_only = true;
    jobq_run_db(run, &db, told);
    reads_only = false;
    return JOBQ_DONE;
}

/* Goal: what SQLite opens for reading only, without a word, is no queue to own, nor a job's
 * connection. Method: a way to open files that does so, from the beginning or later. */
TEST(silently_read_only_is_refused) {
    const char *path = test_path("q.db");
    jobq_error told = {.code = 0};
    sqlite3_vfs vfs;
    jobq *q;
    sqlite3_initialize();
    real_vfs = sqlite3_vfs_find(NULL);
    vfs = *real_vfs;
    vfs.zName = "reading";
    vfs.xOpen = open_for_reading;
    REQUIRE_INT(sqlite3_vfs_register(&vfs, 1), SQLITE_OK);
    q = open_steps(path, (jobq_options){.role = JOBQ_OWNER});
    REQUIRE(q != NULL);
    handle(q, "k", begin_for_reading, &told);
    put(q, "k");
    CHECK_INT(drain(q), 1);
    CHECK_INT(told.code, JOBQ_READ_ONLY);
    CHECK_CODE(jobq_close(&q), JOBQ_OK);
    reads_only = true;
    CHECK_CODE(jobq_open(path, &(jobq_options){.workers = JOBQ_NONE}, &q, &told), JOBQ_READ_ONLY);
    if (!CHECK(strstr(told.text, path) != NULL)) test_note("%s", told.text);
    reads_only = false;
    sqlite3_vfs_unregister(&vfs);
}

TEST_MAIN(no_file_is_a_standard_descriptor, no_descriptors_left, files_may_be_small_only,
          scheduler_takes_no_signals, scheduler_begins_deaf, files_have_the_mode_asked_for,
          file_has_its_group, clients_of_another_user, clients_hear_which_right_is_missing,
          lock_file_that_cannot_have_the_group,
          root_leaves_files_to_their_owner,
          owner_that_may_not_write, refused_open_leaves_the_lock_file,
          silently_read_only_is_refused)
