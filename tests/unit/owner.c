/* owner.c - the lock of a queue file, and what its page says about a process that is dead.
 *
 * Promised by the head of owner.h: one owner of a file, also within a process; a slot says which
 * run a worker was in, with the runs that tell it from another; who is leaving blames nobody; a
 * page that somebody else has written, or another boot, decides no more than it can; clients see
 * what the owner allows. A death is an owner that is dropped with its slots as they are, for the
 * page outlives it in the same way. */
#include "helpers.h"
#include "unit.h"

#include <fcntl.h>

/* A file, its owner, and the owner before. */
struct place {
    const char *path;
    struct jobq__files files;
    struct jobq__owner owner;
};

static bool place_take(struct place *p, bool shared) {
    jobq_error err;
    return CHECK_CODE(jobq__owner_take(&p->owner, &p->files, shared, &err), JOBQ_OK);
}

static bool place_open(struct place *p, const char *path) {
    jobq_options options = {0};
    jobq_error err;
    p->path = path;
    if (!CHECK_CODE(jobq__files_find(&p->files, path, &options, &err), JOBQ_OK)) return false;
    if (!place_take(p, false)) return false;
    jobq__owner_begin(&p->owner);
    return true;
}

/* The process dies; the next one owns the file. */
static void place_next(struct place *p) {
    jobq__os_thread_is_at(NULL);
    jobq__owner_drop(&p->owner);
    place_take(p, false);
}

static void place_close(struct place *p) {
    jobq__os_thread_is_at(NULL);
    jobq__owner_drop(&p->owner);
    jobq__files_fini(&p->files);
}

/* Writes over the page of an owner who is gone. */
static void scribble(const struct place *p, size_t at, const void *bytes, size_t size) {
    int fd = open(p->files.lock, O_WRONLY);
    CHECK(fd >= 0 && pwrite(fd, bytes, size, (off_t)at) == (ssize_t)size);
    close(fd);
}

static void start_all(struct place *p) {
    for (int slot = 0; slot < JOBQ_WORKERS_MAX; slot++)
        jobq__owner_started(&p->owner, slot, 100 + slot, slot + 1);
}

/* Goal: each slot is evidence of exactly the run that it names. Method: all slots, the first and
 * the last too; the same job with other runs, and other jobs with the same. */
TEST(each_slot_names_its_run) {
    struct place p;
    REQUIRE(place_open(&p, test_path("q.db")));
    start_all(&p);
    place_next(&p);
    for (int slot = 0; slot < JOBQ_WORKERS_MAX; slot++) {
        CHECK_INT(jobq__owner_trace(&p.owner, 100 + slot, slot + 1), JOBQ__TRACE_STARTED);
        CHECK_INT(jobq__owner_trace(&p.owner, 100 + slot, slot), JOBQ__TRACE_NONE);
        CHECK_INT(jobq__owner_trace(&p.owner, 100 + slot, slot + 2), JOBQ__TRACE_NONE);
    }
    CHECK_INT(jobq__owner_trace(&p.owner, 99, 1), JOBQ__TRACE_NONE);
    CHECK_INT(jobq__owner_trace(&p.owner, 0, 0), JOBQ__TRACE_NONE);
    place_close(&p);
}

/* Goal: what has returned is no evidence, what was let go blames nobody, and its neighbours are as
 * they were; who lets go of a run that has just ended leaves its slot idle. Method: three runs, of
 * which one ends and one is released, and then the one that has ended. */
TEST(ended_and_released_runs) {
    struct place p;
    REQUIRE(place_open(&p, test_path("q.db")));
    for (int slot = 0; slot < 3; slot++) jobq__owner_started(&p.owner, slot, 7 + slot, 1);
    jobq__owner_ended(&p.owner, 0, NULL);
    jobq__owner_release(&p.owner, 1);
    jobq__owner_release(&p.owner, 0);
    CHECK(!jobq__owner_runs(&p.owner, 7));
    CHECK(jobq__owner_runs(&p.owner, 8));
    CHECK(jobq__owner_runs(&p.owner, 9));
    place_next(&p);
    CHECK_INT(jobq__owner_trace(&p.owner, 7, 1), JOBQ__TRACE_NONE);
    CHECK_INT(jobq__owner_trace(&p.owner, 8, 1), JOBQ__TRACE_RELEASED);
    CHECK_INT(jobq__owner_trace(&p.owner, 9, 1), JOBQ__TRACE_STARTED);
    place_close(&p);
}

/* Goal: the evidence stays until its recovery has committed, whoever dies meanwhile, and is gone
 * after that. Method: two owners that die before they begin, and one that begins. */
TEST(evidence_lasts_until_it_is_used) {
    struct place p;
    REQUIRE(place_open(&p, test_path("q.db")));
    jobq__owner_started(&p.owner, 5, 1, 1);
    jobq__owner_doubts(&p.owner, true);
    for (int death = 0; death < 3; death++) {
        place_next(&p);
        CHECK_INT(jobq__owner_trace(&p.owner, 1, 1), JOBQ__TRACE_STARTED);
        CHECK(jobq__owner_doubtful(&p.owner));
    }
    jobq__owner_begin(&p.owner);
    CHECK_INT(jobq__owner_trace(&p.owner, 1, 1), JOBQ__TRACE_NONE);
    CHECK(!jobq__owner_doubtful(&p.owner));
    place_next(&p);
    CHECK_INT(jobq__owner_trace(&p.owner, 1, 1), JOBQ__TRACE_NONE);
    place_close(&p);
}

/* Goal: who leaves while it opens changes nothing of the evidence that it has not used yet: neither
 * a run of the process before, nor that this one did not leave by itself. Method: jobq_mark_exit,
 * once and again, between the lock and the recovery; then one that begins. */
TEST(leaving_before_it_has_begun) {
    struct place p;
    REQUIRE(place_open(&p, test_path("q.db")));
    jobq__owner_started(&p.owner, 5, 1, 1);
    for (int death = 0; death < 3; death++) {
        place_next(&p);
        jobq_mark_exit();
        CHECK_INT(jobq__owner_trace(&p.owner, 1, 1), JOBQ__TRACE_STARTED);
    }
    jobq__owner_begin(&p.owner);
    jobq__owner_started(&p.owner, 5, 2, 1);
    jobq_mark_exit();
    place_next(&p);
    CHECK_INT(jobq__owner_trace(&p.owner, 2, 1), JOBQ__TRACE_RELEASED);
    place_close(&p);
}

/* Goal: a process that is leaving blames nobody, not even what begins after that; one that stays
 * after all does. Method: runs before jobq_mark_exit, after it, and after jobq__owner_stay. */
TEST(leaving_and_staying) {
    struct place p;
    REQUIRE(place_open(&p, test_path("q.db")));
    jobq__owner_started(&p.owner, 0, 1, 1);
    jobq_mark_exit();
    jobq__owner_started(&p.owner, 1, 2, 1);
    place_next(&p);
    CHECK_INT(jobq__owner_trace(&p.owner, 1, 1), JOBQ__TRACE_RELEASED);
    CHECK_INT(jobq__owner_trace(&p.owner, 2, 1), JOBQ__TRACE_RELEASED);
    jobq__owner_begin(&p.owner);
    jobq_mark_exit();
    jobq__owner_stay(&p.owner);
    jobq__owner_started(&p.owner, 0, 1, 1);
    place_next(&p);
    CHECK_INT(jobq__owner_trace(&p.owner, 1, 1), JOBQ__TRACE_STARTED);
    place_close(&p);
}

/* Goal: a run within a run of the same thread gives back what the thread was in. Method: two
 * queues, one job within the other's. */
TEST(a_run_within_a_run) {
    struct place outer, inner;
    void *before, *between;
    REQUIRE(place_open(&outer, test_path("outer.db")));
    REQUIRE(place_open(&inner, test_path("inner.db")));
    before = jobq__owner_started(&outer.owner, 0, 1, 1);
    CHECK(before == NULL);
    between = jobq__owner_started(&inner.owner, 0, 2, 1);
    CHECK(between == &outer.owner.page->slots[0]);
    jobq__owner_ended(&inner.owner, 0, between);
    CHECK(jobq__os_thread_is_at(between) == between);
    jobq__owner_ended(&outer.owner, 0, before);
    CHECK(jobq__os_thread_is_at(NULL) == NULL);
    place_close(&inner);
    place_close(&outer);
}

/* Goal: a page of another version or byte order says nothing, and one without a mark of ours is not
 * taken. Method: each byte of its mark, changed by one bit; everything else stays. */
TEST(a_page_that_is_not_ours) {
    for (size_t at = 0; at < sizeof((struct jobq__page *)0)->magic; at++) {
        bool another_version = at == 5 || at == 6;
        struct place p;
        jobq_error err;
        unsigned char byte;
        REQUIRE(place_open(&p, test_path("q.db")));
        jobq__owner_started(&p.owner, 0, 1, 1);
        jobq__owner_doubts(&p.owner, true);
        jobq__owner_note_reserve(&p.owner, 4096);
        byte = (unsigned char)(p.owner.page->magic[at] ^ 1);
        jobq__owner_drop(&p.owner);
        scribble(&p, at, &byte, 1);
        if (!another_version) {
            CHECK_CODE(jobq__owner_take(&p.owner, &p.files, false, &err), JOBQ_FOREIGN);
            CHECK_CODE(jobq__owner_watch(&p.owner, &p.files, &err), JOBQ_FOREIGN);
            CHECK_INT(unlink(p.files.lock), 0);
        }
        REQUIRE(place_take(&p, false));
        CHECK_INT(jobq__owner_trace(&p.owner, 1, 1), JOBQ__TRACE_NONE);
        CHECK(!jobq__owner_runs(&p.owner, 1));
        CHECK(!jobq__owner_doubtful(&p.owner));
        CHECK_INT(jobq__owner_noted_reserve(&p.owner), 0);
        CHECK(!p.owner.same_boot);
        place_close(&p);
    }
}

/* Goal: a page of 0.1.0 that makes no sense is not in the way of the next owner either, when the
 * first was killed before it began. Method: numbers of another byte order, two owners that do not
 * begin, and one that does. */
TEST(a_page_that_makes_no_sense) {
    static const int32_t odd[] = {INT32_MIN, 0x01000000, 0x01000000, 0x01000000};
    struct place p;
    REQUIRE(place_open(&p, test_path("q.db")));
    start_all(&p);
    jobq__owner_drop(&p.owner);
    scribble(&p, 0, "jobq-1\n", sizeof p.owner.page->magic);
    scribble(&p, offsetof(struct jobq__page, pid), odd, sizeof odd);
    for (int death = 0; death < 2; death++) {
        REQUIRE(place_take(&p, false));
        CHECK_INT(jobq__owner_trace(&p.owner, 100, 1), JOBQ__TRACE_NONE);
        CHECK(!jobq__owner_doubtful(&p.owner));
        jobq__owner_drop(&p.owner);
    }
    REQUIRE(place_take(&p, false));
    jobq__owner_begin(&p.owner);
    place_close(&p);
}

/* Goal: the worst that a page can say costs nothing: a reserve that is no number of bytes is none.
 * Method: the extremes. */
TEST(a_reserve_that_cannot_be) {
    static const int64_t noted[] = {-1, INT64_MIN, 0, 1, INT64_MAX};
    struct place p;
    REQUIRE(place_open(&p, test_path("q.db")));
    for (size_t i = 0; i < sizeof noted / sizeof noted[0]; i++) {
        jobq__owner_drop(&p.owner);
        scribble(&p, offsetof(struct jobq__page, reserve), &noted[i], sizeof noted[i]);
        REQUIRE(place_take(&p, false));
        CHECK_INT(jobq__owner_noted_reserve(&p.owner), noted[i] < 0 ? 0 : noted[i]);
    }
    place_close(&p);
}

/* Goal: the same boot is known as such, any other one is not, nor one that nobody can tell; and a
 * log in doubt stays that: boots are told apart by a clock somewhere, and clocks are set. Method:
 * the page's boot, changed and emptied. */
TEST(boots) {
    struct place p;
    char none[sizeof p.owner.page->boot_id], other[sizeof none], ours[sizeof none];
    memset(none, 0, sizeof none);
    memset(other, 0, sizeof other);
    memcpy(other, "another boot", 12);
    REQUIRE(place_open(&p, test_path("q.db")));
    jobq__os_boot_id(ours, sizeof ours);
    place_next(&p);
    CHECK_INT(p.owner.same_boot, *ours != '\0');
    jobq__owner_doubts(&p.owner, true);
    jobq__owner_drop(&p.owner);
    scribble(&p, offsetof(struct jobq__page, boot_id), other, sizeof other);
    REQUIRE(place_take(&p, false));
    CHECK(!p.owner.same_boot);
    CHECK(jobq__owner_doubtful(&p.owner));
    jobq__owner_drop(&p.owner);
    scribble(&p, offsetof(struct jobq__page, boot_id), none, sizeof none);
    REQUIRE(place_take(&p, false));
    CHECK(!p.owner.same_boot);
    CHECK(jobq__owner_doubtful(&p.owner));
    place_close(&p);
}

/* Goal: of boots without an id the same time is the same boot, up to what passes between two
 * readings, and what is no time is none. */
TEST(times_of_boots) {
    static const struct { const char *a, *b; bool same; } pairs[] = {
        {"booted at 1700000000", "booted at 1700000000", true},
        {"booted at 1700000000", "booted at 1700000001", true},
        {"booted at 1700000001", "booted at 1700000000", true},
        {"booted at 1700000000", "booted at 1700000002", false},
        {"booted at 1700000002", "booted at 1700000000", false},
        {"booted at 1700000000", "", false}, {"", "", false},
        {"booted at 1700000000", "an id", false}, {"an id", "an id", true},
        {"booted at 99999999999999999999999999", "booted at 1", false}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char a[48] = "", b[48] = "";
        snprintf(a, sizeof a, "%s", pairs[i].a);
        snprintf(b, sizeof b, "%s", pairs[i].b);
        if (!CHECK_INT(jobq__os_same_boot(a, b, sizeof a), pairs[i].same))
            test_note("%s | %s", a, b);
    }
}

/* ---- One owner ---- */

/* Goal: a process owns a file once, by whatever name, and any number in memory; a second one is
 * told who has it. Method: take what is taken, let it go, take it again. */
TEST(one_owner_in_a_process) {
    struct place p, memory[2];
    struct jobq__owner second;
    jobq_error err;
    REQUIRE(place_open(&p, test_path("q.db")));
    CHECK_CODE(jobq__owner_take(&second, &p.files, true, &err), JOBQ_LOCKED);
    CHECK(strstr(err.text, "q.db") != NULL);
    CHECK_INT(p.owner.page->shared, JOBQ__WRITES_ALONE); /* it has changed nothing */
    for (int i = 0; i < 2; i++) REQUIRE(place_open(&memory[i], ":memory:"));
    for (int i = 0; i < 2; i++) place_close(&memory[i]);
    place_next(&p);
    place_close(&p);
}

static int take_begin(struct place *p, jobq_error *err) {
    int rc = jobq__owner_take(&p->owner, &p->files, JOBQ__WRITES_ALONE, err);
    if (rc == JOBQ_OK) jobq__owner_begin(&p->owner);
    return rc;
}

/* Goal: a process owns as many files as there is room for, says so, and forgets who has gone;
 * queues in memory want no room. Method: files until there is no more room, those in memory beside
 * them; one goes, another comes. */
TEST(as_many_owners_as_a_process_may_have) {
    enum { TOO_MANY = 100 };
    static struct place places[TOO_MANY];
    struct place memory[2];
    jobq_options options = {0};
    jobq_error err;
    int count = 0, rc = JOBQ_OK;
    while (count < TOO_MANY && rc == JOBQ_OK) {
        struct place *p = &places[count++];
        char name[16];
        snprintf(name, sizeof name, "q%d.db", count);
        REQUIRE_INT(jobq__files_find(&p->files, test_path(name), &options, &err), JOBQ_OK);
        rc = take_begin(p, &err);
    }
    count--;
    CHECK_CODE(rc, JOBQ_FULL);
    CHECK_INT(count, 64);
    for (int i = 0; i < 2; i++) REQUIRE(place_open(&memory[i], ":memory:"));
    jobq__owner_drop(&places[count / 2].owner);
    CHECK_CODE(take_begin(&places[count / 2], &err), JOBQ_OK);
    CHECK_CODE(take_begin(&places[count], &err), JOBQ_FULL);
    for (int i = 0; i < 2; i++) place_close(&memory[i]);
    for (int i = 0; i <= count; i++) place_close(&places[i]);
}

static void look_in_child(void *arg) {
    struct place *p = (struct place *)arg;
    struct jobq__owner mine;
    jobq_error err;
    CHECK(jobq__owner_forked(&p->owner));
    CHECK_CODE(jobq__owner_take(&mine, &p->files, false, &err), JOBQ_FORKED);
    CHECK_CODE(jobq__owner_watch(&mine, &p->files, &err), JOBQ_FORKED);
}

static void look_in_grandchild(void *arg) {
    CHECK_INT(test_fork(look_in_child, arg), 0);
    look_in_child(arg);
}

/* Goal: a forked child is no owner, knows that, and cannot become one of what was open: neither of
 * what was owned nor of what a client had. Method: ask there, in a child of it, and ask the parent
 * after it. */
TEST(a_child_is_no_owner) {
    struct place p;
    jobq_error err;
    REQUIRE(place_open(&p, test_path("q.db")));
    CHECK(!jobq__owner_forked(&p.owner));
    CHECK_INT(test_fork(look_in_grandchild, &p), 0);
    CHECK(!jobq__owner_forked(&p.owner));
    jobq__owner_drop(&p.owner);
    CHECK_CODE(jobq__owner_watch(&p.owner, &p.files, &err), JOBQ_OK);
    CHECK_INT(test_fork(look_in_grandchild, &p), 0);
    place_close(&p);
}

/* Goal: a lock file that is not the one that its name names is noticed. Method: moved away,
 * replaced, and put back. */
TEST(a_lock_file_that_was_moved) {
    struct place p;
    const char *away = test_path("away");
    int fd;
    REQUIRE(place_open(&p, test_path("q.db")));
    CHECK(!jobq__owner_moved(&p.owner));
    CHECK_INT(rename(p.files.lock, away), 0);
    CHECK(jobq__owner_moved(&p.owner));
    fd = open(p.files.lock, O_CREAT | O_RDWR, 0600);
    CHECK(fd >= 0);
    close(fd);
    CHECK(jobq__owner_moved(&p.owner));
    CHECK_INT(rename(away, p.files.lock), 0);
    CHECK(!jobq__owner_moved(&p.owner));
    place_close(&p);
}

/* ---- Clients ---- */

/* A client is refused, and why depends on whether its SQLite is safe with several writers. */
static int refuses(struct jobq__owner *client) {
    jobq_error err;
    CHECK_CODE(jobq__owner_allows(client, false, &err), JOBQ_MISUSE);
    return jobq__owner_allows(client, true, &err);
}

/* Goal: a client may write beside an owner that allows it, after one that left by itself, and where
 * there never was one; not beside one that does not, and not after that has died. Method: the
 * client watches from before the first owner on. */
TEST(what_a_client_may) {
    struct place p;
    struct jobq__owner client;
    int32_t alone = JOBQ__WRITES_ALONE;
    jobq_options options = {0};
    jobq_error err;
    CHECK_CODE(jobq__files_find(&p.files, test_path("q.db"), &options, &err), JOBQ_OK);
    REQUIRE_INT(jobq__owner_watch(&client, &p.files, &err), JOBQ_OK);
    CHECK_CODE(jobq__owner_allows(&client, true, &err), JOBQ_OK);
    REQUIRE(place_take(&p, false));
    CHECK_CODE(refuses(&client), JOBQ_UNSAFE_SQLITE);
    jobq__owner_drop(&p.owner);
    CHECK_CODE(jobq__owner_allows(&client, true, &err), JOBQ_OK);
    REQUIRE(place_take(&p, true));
    CHECK_CODE(jobq__owner_allows(&client, true, &err), JOBQ_OK);
    jobq__owner_drop(&p.owner);
    scribble(&p, offsetof(struct jobq__page, shared), &alone, sizeof alone);
    CHECK_CODE(refuses(&client), JOBQ_UNSAFE_SQLITE);
    /* It says nothing about the owner, and marks nothing as its own. */
    jobq__owner_doubts(&client, true);
    jobq__owner_note_reserve(&client, 1);
    CHECK_CODE(jobq__owner_reserve(&client, 65536), JOBQ_IO);
    CHECK(!jobq__owner_moved(&client));
    jobq__owner_drop(&client);
    REQUIRE(place_take(&p, false));
    CHECK_INT(p.owner.page->doubt, 0);
    CHECK_INT(p.owner.page->reserve, 0);
    place_close(&p);
}

static void ask_without_rights(void *arg) {
    struct jobq__owner *client = (struct jobq__owner *)arg;
    jobq_error err;
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) test_give_up("setuid");
    CHECK_CODE(jobq__owner_allows(client, true, &err), JOBQ_READ_ONLY);
    CHECK_CODE(err.code, JOBQ_READ_ONLY);
    CHECK_INT(err.os_code, EACCES);
    if (!CHECK(strncmp(err.text, "open ", 5) == 0)) test_note("%s", err.text);
    CHECK_CODE(jobq__owner_allows(client, false, &err), JOBQ_OK);
}

/* Goal: a client that cannot see what the owner says hears first what kept it from that, and of its
 * SQLite only where that is all; one whose SQLite is safe needs no word of the owner. Method: a
 * directory in the place of the lock file, and no right to look. */
TEST(what_a_client_cannot_see) {
    static const char in_the_way[] = "the lock file ";
    struct jobq__owner client;
    struct jobq__files files;
    jobq_options options = {0};
    jobq_error err;
    CHECK_CODE(jobq__files_find(&files, test_path("q.db"), &options, &err), JOBQ_OK);
    REQUIRE_INT(jobq__owner_watch(&client, &files, &err), JOBQ_OK);
    REQUIRE_INT(mkdir(files.lock, 0700), 0);
    CHECK_CODE(jobq__owner_allows(&client, true, &err), JOBQ_UNSAFE_SQLITE);
    CHECK(strncmp(err.text, in_the_way, strlen(in_the_way)) == 0);
    CHECK_CODE(jobq__owner_allows(&client, false, &err), JOBQ_OK);
    REQUIRE_INT(chmod(test_dir(), 0), 0);
    CHECK_INT(test_fork(ask_without_rights, &client), 0);
    REQUIRE_INT(chmod(test_dir(), 0700), 0);
    jobq__owner_drop(&client);
    jobq__files_fini(&files);
}

/* ---- The reserve ---- */

/* Goal: a client, too, believes a page of 0.1.0 only if its numbers make sense. Method: a run that
 * such a page tells of, with a pid that can be and with one that cannot. */
TEST(an_old_page_that_a_client_sees) {
    struct place p;
    struct jobq__owner client;
    jobq_error err;
    REQUIRE(place_open(&p, test_path("q.db")));
    jobq__owner_started(&p.owner, 3, 7, 1);
    REQUIRE_INT(jobq__owner_watch(&client, &p.files, &err), JOBQ_OK);
    CHECK(jobq__owner_runs(&client, 7));
    memcpy(p.owner.page->magic, "jobq-1\n", sizeof p.owner.page->magic);
    CHECK(jobq__owner_runs(&client, 7));
    p.owner.page->pid = 0;
    CHECK(!jobq__owner_runs(&client, 7));
    jobq__owner_drop(&client);
    place_close(&p);
}

/* Goal: what is set aside stands behind the page, grows and shrinks, is known to the next owner,
 * and leaves the page alone. Method: sizes up and down, with a run in a slot. */
TEST(reserve_behind_the_page) {
    static const int64_t sizes[] = {65536, 1, 1000000, 4096, 0};
    struct place p;
    struct stat st;
    REQUIRE(place_open(&p, test_path("q.db")));
    jobq__owner_started(&p.owner, JOBQ_WORKERS_MAX - 1, 1, 1);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        CHECK_CODE(jobq__owner_reserve(&p.owner, sizes[i]), JOBQ_OK);
        CHECK_INT(p.owner.reserved, sizes[i]);
        CHECK_INT(stat(p.files.lock, &st), 0);
        CHECK(st.st_size >= (off_t)sizeof(struct jobq__page) + sizes[i]);
        place_next(&p);
        CHECK_INT(p.owner.reserved, sizes[i]);
        CHECK_INT(jobq__owner_trace(&p.owner, 1, 1), JOBQ__TRACE_STARTED);
    }
    place_close(&p);
}

/* Goal: a client reckons with no reserve that the owner before has noted, and this one does not
 * have. Method: owners with one and without. */
TEST(owner_without_a_reserve_notes_none) {
    fixture f;
    REQUIRE(fixture_open(&f, STEP));
    CHECK(jobq__owner_noted_reserve(&f.q->owner) > 0);
    f.options.reserve_bytes = JOBQ_NONE;
    REQUIRE(fixture_reopen(&f));
    CHECK_INT(jobq__owner_noted_reserve(&f.q->owner), 0);
    CHECK_INT(jobq__owner_held(&f.q->owner), 0);
    fixture_close(&f);
}

TEST_MAIN(each_slot_names_its_run, ended_and_released_runs, evidence_lasts_until_it_is_used,
          leaving_before_it_has_begun, leaving_and_staying, a_run_within_a_run,
          a_page_that_is_not_ours, a_page_that_makes_no_sense, a_reserve_that_cannot_be, boots,
          times_of_boots, one_owner_in_a_process, as_many_owners_as_a_process_may_have,
          a_child_is_no_owner, a_lock_file_that_was_moved, what_a_client_may,
          what_a_client_cannot_see, an_old_page_that_a_client_sees, reserve_behind_the_page,
          owner_without_a_reserve_notes_none)
