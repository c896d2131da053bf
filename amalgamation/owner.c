/* owner.c - one owner per file: the lock, the slots that outlive a process, forks. */
#include "owner.h"

#include <errno.h>

#define JOBQ__PAGE_ROOM 4096 /* of the lock file; behind it lies the reserve */
#define JOBQ__PAGE_OLD "jobq-1\n" /* the mark of 0.1.0 */

/* What is beyond in a page of 0.1.0 is of another byte order. */
#define JOBQ__PID_MAX (1 << 22)
#define JOBQ__PAGE_RESERVE_MAX ((int64_t)1 << 40)

typedef char jobq__owner_page_fits[sizeof(struct jobq__page) <= JOBQ__PAGE_ROOM ? 1 : -1];

/* Where other versions look for what: the page stays as it is. */
#define JOBQ__OWNER_AT(field, at) \
    typedef char jobq__owner_at_##field[offsetof(struct jobq__page, field) == (at) ? 1 : -1]
JOBQ__OWNER_AT(pid, 8);
JOBQ__OWNER_AT(leaving, 12);
JOBQ__OWNER_AT(shared, 16);
JOBQ__OWNER_AT(doubt, 20);
JOBQ__OWNER_AT(boot_id, 24);
JOBQ__OWNER_AT(reserve, 72);
JOBQ__OWNER_AT(slots, 80);
JOBQ__OWNER_AT(wanted, 3024);
typedef char jobq__owner_slot_is[sizeof(struct jobq__slot) == 16 ? 1 : -1];

/* The pages of those that have begun, for exit() and a signal handler: atomic pointers, changed
 * under the global lock. */
static void *jobq__owner_pages[JOBQ__OWNERS_MAX];
static int32_t jobq__owner_marking; /* calls of jobq_mark_exit that look at the pages; atomic */

/* Who has a file open here, owners and clients, from before SQLite opens it until after it has
 * closed it; in a child also whom it has inherited, for ever. Under the global lock. */
static struct jobq__link jobq__owner_all = {&jobq__owner_all, &jobq__owner_all};
static int32_t jobq__owner_generation;

/* With the global lock held by the thread that forked: so no thread was between having a lock and
 * writing that down here, or the other way round. */
static void jobq__owner_in_child(void) {
    struct jobq__link *link;
    for (link = jobq__owner_all.next; link != &jobq__owner_all; link = link->next) {
        const struct jobq__owner *owner = JOBQ__CONTAINER(link, struct jobq__owner, all);
        /* Of older ones the parent has let go in its turn. The mapping holds the file open as
         * well, and with it the parent's lock. */
        if (owner->writable && owner->generation == jobq__owner_generation)
            jobq__os_page_close(owner->fd, owner->page, sizeof *owner->page);
    }
    memset(jobq__owner_pages, 0, sizeof jobq__owner_pages);
    jobq__os_store(&jobq__owner_marking, 0); /* the threads that were at it are not here */
    jobq__owner_generation++;
    jobq__os_global_unlock();
}

/* Version 2 of the page, and whether its numbers begin with their low or their high byte. */
static const char *jobq__owner_magic(void) {
    static const int32_t one = 1;
    return *(const char *)&one ? "jobq-2l" : "jobq-2b";
}

static bool jobq__owner_wrote(const struct jobq__page *page) {
    return memcmp(page->magic, jobq__owner_magic(), sizeof page->magic) == 0;
}

/* By 0.1.0. The fields of version 2 stand where they stood. */
static bool jobq__owner_wrote_old(const struct jobq__page *page) {
    return memcmp(page->magic, JOBQ__PAGE_OLD, sizeof page->magic) == 0;
}

/* Any page that jobq may have written, in our byte order. */
static bool jobq__owner_could_be(const struct jobq__page *page) {
    int32_t pid = jobq__os_load(&page->pid);
    int i;
    if (pid < 0 || pid > JOBQ__PID_MAX) return false;
    if (page->reserve < 0 || page->reserve > JOBQ__PAGE_RESERVE_MAX) return false;
    if ((jobq__os_load(&page->leaving) | jobq__os_load(&page->doubt)) & ~1) return false;
    for (i = 0; i < JOBQ_WORKERS_MAX; i++) {
        int32_t state = jobq__os_load(&page->slots[i].state);
        if (state < JOBQ__SLOT_IDLE || state > JOBQ__SLOT_GUILTY || page->slots[i].runs < 0)
            return false;
    }
    return true;
}

/* Such a page does not say in which byte order it is: in another one these would be other
 * numbers. */
static bool jobq__owner_makes_sense(const struct jobq__page *page) {
    int i;
    if (!jobq__owner_could_be(page) || !jobq__os_load(&page->pid)) return false;
    for (i = 0; i < JOBQ_WORKERS_MAX; i++)
        if (jobq__os_load(&page->slots[i].state) == JOBQ__SLOT_GUILTY) return false;
    return true;
}

/* How much of a mark stands there, of whichever version: "jobq-", a digit, one more, and a zero. */
static size_t jobq__owner_marked(const char *magic) {
    static const char begins[] = "jobq-";
    size_t size = 0;
    while (begins[size] && magic[size] == begins[size]) size++;
    if (size == 5 && magic[5] >= '0' && magic[5] <= '9') size++;
    if (size == 6 && magic[6]) size++;
    return size == 7 && !magic[7] ? 8 : size;
}

static bool jobq__owner_zeros_from(int fd, int64_t at) {
    char bytes[2048];
    int64_t size, i;
    do {
        size = jobq__os_read_at(fd, at, bytes, sizeof bytes);
        for (i = 0; i < size; i++)
            if (bytes[i]) return false;
        at += size;
    } while (size == (int64_t)sizeof bytes);
    return size >= 0;
}

static int jobq__owner_refuse_foreign(const char *path, jobq_error *err) {
    return jobq__err_set(err, JOBQ_FOREIGN, "what %.250s holds is not jobq's, which would make it"
                         " its lock file: move it away (if it is one, but damaged, delete it while"
                         " nobody has the queue open), or give the queue another name", path);
}

/* Without a whole mark it is what an owner leaves that was killed before it began, or the power:
 * parts of a page, and of a mark, and zeros. */
static int jobq__owner_judge(int fd, const char *path, jobq_error *err) {
    struct jobq__page page;
    int64_t size = jobq__os_read_at(fd, 0, &page, sizeof page);
    size_t marked;
    if (size < 0) return jobq__err_os(err, JOBQ_IO, errno, "read", path, NULL);
    memset((char *)&page + size, 0, sizeof page - (size_t)size);
    marked = jobq__owner_marked(page.magic);
    if (marked == sizeof page.magic) return JOBQ_OK;
    for (; marked < sizeof page.magic; marked++)
        if (page.magic[marked]) return jobq__owner_refuse_foreign(path, err);
    if (jobq__owner_could_be(&page) && jobq__owner_zeros_from(fd, sizeof page)) return JOBQ_OK;
    return jobq__owner_refuse_foreign(path, err);
}

static bool jobq__owner_knows(const struct jobq__page *page) {
    return jobq__owner_wrote(page)
        || (jobq__owner_wrote_old(page) && jobq__owner_makes_sense(page));
}

static const unsigned jobq__owner_edges[] = {
    [JOBQ__SLOT_IDLE] = JOBQ__EDGE(JOBQ__SLOT_STARTED),
    [JOBQ__SLOT_STARTED] = JOBQ__EDGE(JOBQ__SLOT_IDLE) | JOBQ__EDGE(JOBQ__SLOT_RELEASED)
                         | JOBQ__EDGE(JOBQ__SLOT_GUILTY),
    [JOBQ__SLOT_RELEASED] = JOBQ__EDGE(JOBQ__SLOT_IDLE),
    [JOBQ__SLOT_GUILTY] = 0,
};

/* The one place where a slot of ours changes. Its own thread begins and ends a run whatever others
 * do; who lets go of one may come when it has just ended, and then nothing happens. */
static void jobq__owner_slot_to(struct jobq__slot *slot, int32_t from, int32_t to) {
    jobq__assert(JOBQ__LEGAL(jobq__owner_edges, from, to));
    if (to == JOBQ__SLOT_STARTED || to == JOBQ__SLOT_IDLE) jobq__os_store(&slot->state, to);
    else jobq__os_swap(&slot->state, from, to);
}

/* Lets go of all runs but the guilty one's. */
static void jobq__owner_release_page(struct jobq__page *page, const void *guilty) {
    int i;
    for (i = 0; i < JOBQ_WORKERS_MAX; i++) {
        struct jobq__slot *slot = &page->slots[i];
        if (jobq__os_load(&slot->state) == JOBQ__SLOT_STARTED)
            jobq__owner_slot_to(slot, JOBQ__SLOT_STARTED,
                                slot == guilty ? JOBQ__SLOT_GUILTY : JOBQ__SLOT_RELEASED);
    }
}

static void jobq__owner_leave(const void *guilty) {
    int i;
    jobq__os_add(&jobq__owner_marking, 1);
    for (i = 0; i < JOBQ__OWNERS_MAX; i++) {
        struct jobq__page *page = jobq__os_load_pointer(&jobq__owner_pages[i]);
        bool leaving = page && jobq__os_load(&page->leaving);
        if (!page) continue;
        jobq__os_store(&page->leaving, 1);
        /* Who has said that the process is to end may end it from anywhere. */
        jobq__owner_release_page(page, leaving ? NULL : guilty);
    }
    jobq__os_add(&jobq__owner_marking, -1);
}

JOBQ_API void jobq_mark_exit(void) {
    jobq__owner_leave(NULL);
}

/* On the thread that called exit(): if it is in a handler, that job is to blame. */
static void jobq__owner_at_exit(void) {
    jobq__owner_leave(jobq__os_thread_is_at(NULL));
}

/* 0 if it does not tell. On one that was empty the new owner has only said who it is. */
static int32_t jobq__owner_pid(const struct jobq__page *page) {
    bool ours = page && (!page->magic[0] || jobq__owner_knows(page));
    return ours ? (int32_t)jobq__max(jobq__os_load(&page->pid), 0) : 0;
}

/* SQLite believes in the child to have the locks that only the parent has. */
static bool jobq__owner_inherited(const struct jobq__owner *other) {
    return other->generation != jobq__owner_generation;
}

static int jobq__owner_refuse_heir(const char *path, jobq_error *err) {
    return jobq__err_set(err, JOBQ_FORKED, "%.250s was open in the process that this one was"
                         " forked from; fork before it is opened, or exec", path);
}

static int jobq__owner_check_heir_of(const char *path, jobq_error *err) {
    const struct jobq__link *link;
    struct jobq__os_file file;
    int rc = JOBQ_OK;
    if (jobq__os_look(path, &file) || file.kind == JOBQ__OS_MISSING) return JOBQ_OK;
    jobq__os_global_lock();
    for (link = jobq__owner_all.next; link != &jobq__owner_all && rc == JOBQ_OK;
         link = link->next) {
        const struct jobq__owner *other = JOBQ__CONTAINER(link, struct jobq__owner, all);
        if (jobq__owner_inherited(other)
            && jobq__os_same_file(&other->files->db.id, &file.id))
            rc = jobq__owner_refuse_heir(path, err);
    }
    jobq__os_global_unlock();
    return rc;
}

JOBQ__INTERNAL int jobq__owner_check_heir(const char *path, jobq_error *err) {
    char *resolved;
    int failed, rc;
    if (!jobq__os_load(&jobq__owner_generation)) return JOBQ_OK;
    failed = jobq__os_resolve(path, &resolved);
    if (failed == ENOMEM) return jobq__err_set(err, JOBQ_NO_MEMORY, NULL);
    if (failed) return JOBQ_OK; /* who opens it says why */
    rc = jobq__owner_check_heir_of(resolved, err);
    jobq__mem_free(resolved);
    return rc;
}

/* What another handle of this process on the same file says to one more. */
static int jobq__owner_check_one(const struct jobq__owner *other, const struct jobq__owner *owner,
                                 int32_t writers, jobq_error *err) {
    const char *path = owner->files->path;
    if (jobq__owner_inherited(other)) return jobq__owner_refuse_heir(path, err);
    if (other->writable && writers != JOBQ__NOBODY) {
        jobq__err_set(err, JOBQ_LOCKED, "this process, %d, owns the queue %.250s already: close"
                      " the other handle, or use it", jobq__os_pid(), path);
        jobq__err_id(err, jobq__os_pid());
        return JOBQ_LOCKED;
    }
    /* Within a process SQLite's lock keeps nobody out, and who shares memory lets others in. */
    if (other->writable && jobq__owner_has_it_all(other)) return jobq__owner_keeps_out(other, err);
    if (!other->writable && writers == JOBQ__HAS_IT_ALL)
        return jobq__err_set(err, JOBQ_LOCKED, "this process has %.250s open as a client: close"
                             " that first, or open it without .exclusive", path);
    return JOBQ_OK;
}

/* The same of all of them; a client says NOBODY. With the global lock held. A database that is open
 * here is not even looked at as a lock file: to close it would drop SQLite's locks. */
static int jobq__owner_check_all(const struct jobq__owner *owner, int32_t writers,
                                 jobq_error *err) {
    const struct jobq__link *link;
    struct jobq__os_file lock;
    int owners = 0, rc = JOBQ_OK;
    bool stands = !jobq__os_look(owner->files->lock, &lock) && lock.kind == JOBQ__OS_FILE;
    for (link = jobq__owner_all.next; link != &jobq__owner_all; link = link->next) {
        const struct jobq__owner *other = JOBQ__CONTAINER(link, struct jobq__owner, all);
        if (jobq__os_same_file(&other->files->db.id, &owner->files->db.id))
            rc = jobq__owner_check_one(other, owner, writers, err);
        else if (stands && jobq__os_same_file(&other->files->db.id, &lock.id))
            rc = jobq__owner_refuse_foreign(owner->files->lock, err);
        if (rc != JOBQ_OK) return rc;
        owners += other->writable && other->generation == jobq__owner_generation;
    }
    if (writers == JOBQ__NOBODY || owners < JOBQ__OWNERS_MAX) return JOBQ_OK;
    return jobq__err_set(err, JOBQ_FULL, "one process may own %d queues at most",
                         JOBQ__OWNERS_MAX);
}

static void jobq__owner_enter(struct jobq__owner *owner) {
    jobq__list_append(&jobq__owner_all, &owner->all);
    owner->entered = true;
}

/* The file of the page is shorter than that: who touches what is not there any more is ended by the
 * system, so that from now on the page is one of memory. */
static bool jobq__owner_cut(struct jobq__owner *owner) {
    bool cut = owner->fd >= 0 && jobq__os_size(owner->fd) < (int64_t)sizeof *owner->page;
    if (cut) jobq__os_page_blank(sizeof *owner->page, owner->page);
    return cut;
}

/* Opens the lock file and maps the page, in place of *page if that is not NULL. To own it the file
 * is made, and the lock taken, or it is JOBQ_LOCKED with the page mapped for reading. Nothing is
 * written before it was seen what the file holds. */
static int jobq__owner_open_page(const char *path, bool own, int *opened, void **page,
                                 jobq_error *err) {
    size_t size = sizeof(struct jobq__page);
    int fd, rc = jobq__os_page_open(path, own, &fd, err);
    if (rc != JOBQ_OK) return rc;
    rc = jobq__owner_judge(fd, path, err);
    if (rc == JOBQ_OK && own) rc = jobq__os_page_lock(fd, path, size, err);
    if (rc == JOBQ_OK || rc == JOBQ_LOCKED) {
        int mapped = jobq__os_page_map(fd, path, size, own && rc == JOBQ_OK, page, err);
        if (rc == JOBQ_OK) rc = mapped;
    }
    if (rc != JOBQ_OK) jobq__os_page_close(fd, NULL, 0);
    *opened = rc == JOBQ_OK ? fd : -1;
    return rc;
}

/* A client sees the lock file that stands there at this moment, and until there is one an empty
 * page; one that is gone leaves what it said. The place of the page stays, because others may be
 * reading it. */
static int jobq__owner_look(struct jobq__owner *owner, jobq_error *err) {
    void *page = owner->page;
    struct jobq__os_file file;
    int fd, rc;
    if (jobq__owner_cut(owner)) {
        jobq__os_page_close(owner->fd, NULL, 0);
        owner->fd = -1;
    }
    if (!jobq__os_look(owner->files->lock, &file)) {
        if (file.kind == JOBQ__OS_MISSING) return JOBQ_OK;
        if (owner->fd >= 0 && jobq__os_same_file(&file.id, &owner->id)) return JOBQ_OK;
    }
    rc = jobq__owner_open_page(owner->files->lock, false, &fd, &page, err);
    if (rc != JOBQ_OK) return rc;
    if (owner->fd >= 0) jobq__os_page_close(owner->fd, NULL, 0);
    owner->fd = fd;
    owner->id = jobq__os_id_of(fd);
    return rc;
}

static int jobq__owner_locked(int32_t pid, const char *path, jobq_error *err) {
    if (pid == jobq__os_pid())
        jobq__err_set(err, JOBQ_LOCKED, "a process with our own number, %d, owns the queue %.250s:"
                      " one of another container, or another copy of jobq in this one", (int)pid,
                      path);
    else if (pid > 0)
        jobq__err_set(err, JOBQ_LOCKED, "process %d owns the queue %.250s; open it as a client"
                      " (both sides with .shared = true), or end that process", (int)pid, path);
    else
        jobq__err_set(err, JOBQ_LOCKED, "another process owns the queue %.250s", path);
    jobq__err_id(err, pid);
    return JOBQ_LOCKED;
}

static int jobq__owner_map(struct jobq__owner *owner, jobq_error *err) {
    const struct jobq__files *files = owner->files;
    void *page = NULL;
    int rc = jobq__owner_open_page(files->lock, true, &owner->fd, &page, err);
    if (rc == JOBQ_LOCKED) jobq__owner_locked(jobq__owner_pid(page), files->path, err);
    if (rc != JOBQ_OK) {
        jobq__os_page_close(-1, page, sizeof *owner->page);
        return rc;
    }
    owner->page = page;
    owner->mapped = owner->writable = true;
    owner->id = jobq__os_id_of(owner->fd);
    owner->reserved = jobq__owner_held(owner);
    return rc;
}

static void jobq__owner_init(struct jobq__owner *owner, const struct jobq__files *files) {
    memset(owner, 0, sizeof *owner);
    owner->fd = owner->entry = -1;
    owner->files = files;
    owner->generation = jobq__owner_generation;
}

/* With the global lock held. */
static void jobq__owner_let_go(struct jobq__owner *owner) {
    if (owner->entry >= 0) jobq__os_store_pointer(&jobq__owner_pages[owner->entry], NULL);
    if (owner->entered) jobq__list_remove(&owner->all);
    owner->entered = false;
    if (owner->page && owner->writable) jobq__os_store(&owner->page->shared, JOBQ__NOBODY);
    /* Who has the page in hand leaves in a moment, and the next finds NULL. By an addition, so that
     * each of them comes either before it or after. */
    while (jobq__os_add(&jobq__owner_marking, 0) > 0) jobq__os_yield();
    /* A child that was forked just now may not have come to let go of its copies yet. */
    if (owner->fd >= 0) jobq__os_page_unlock(owner->fd);
    if (owner->mapped) jobq__os_page_close(owner->fd, owner->page, sizeof *owner->page);
    else jobq__mem_free(owner->page);
    owner->page = NULL;
    owner->mapped = false;
    owner->fd = owner->entry = -1;
}

/* With the global lock held, from the lock of the file to the entry among all. Who is in memory
 * only has nothing that others, a child or the next process could find. */
static int jobq__owner_get(struct jobq__owner *owner, int32_t writers, jobq_error *err) {
    int rc = jobq__os_hooks(jobq__owner_in_child, jobq__owner_at_exit);
    if (rc != JOBQ_OK) return jobq__err_set(err, rc, NULL);
    if (!owner->files->lock) {
        owner->page = jobq__mem_new(sizeof *owner->page);
        owner->writable = true;
        return owner->page ? JOBQ_OK : jobq__err_set(err, JOBQ_NO_MEMORY, NULL);
    }
    rc = jobq__owner_check_all(owner, writers, err);
    if (rc == JOBQ_OK) rc = jobq__owner_map(owner, err);
    if (rc == JOBQ_OK) jobq__owner_enter(owner);
    return rc;
}

JOBQ__INTERNAL int jobq__owner_take(struct jobq__owner *owner, const struct jobq__files *files,
                                    int32_t writers, jobq_error *err) {
    char boot_id[sizeof owner->page->boot_id];
    int rc;
    jobq__owner_init(owner, files);
    jobq__os_global_lock();
    rc = jobq__owner_get(owner, writers, err);
    jobq__os_global_unlock();
    if (rc != JOBQ_OK) return rc;
    /* Our pid would make sense of what makes none. The mark goes last: a page without it has to be
     * one that we may have written. */
    if (jobq__owner_wrote_old(owner->page) && !jobq__owner_makes_sense(owner->page)) {
        memset(&owner->page->pid, 0, sizeof *owner->page - offsetof(struct jobq__page, pid));
        memset(owner->page->magic, 0, sizeof owner->page->magic);
    }
    /* Clients that are there already hear of it before we touch the database. */
    jobq__os_store(&owner->page->shared, writers);
    jobq__os_store(&owner->page->pid, jobq__os_pid());
    if (!jobq__owner_knows(owner->page)) return rc;
    jobq__os_boot_id(boot_id, sizeof boot_id);
    owner->same_boot = jobq__os_same_boot(owner->page->boot_id, boot_id, sizeof boot_id);
    return rc;
}

JOBQ__INTERNAL int jobq__owner_watch(struct jobq__owner *owner, const struct jobq__files *files,
                                     jobq_error *err) {
    void *page = jobq__os_page_blank(sizeof *owner->page, NULL);
    jobq_error why;
    int rc;
    jobq__owner_init(owner, files);
    if (!page) return jobq__err_set(err, JOBQ_NO_MEMORY, NULL);
    owner->page = page;
    owner->mapped = true;
    jobq__os_global_lock();
    rc = jobq__os_hooks(jobq__owner_in_child, jobq__owner_at_exit);
    if (rc != JOBQ_OK) jobq__err_set(err, rc, NULL);
    else rc = jobq__owner_check_all(owner, JOBQ__NOBODY, err);
    if (rc == JOBQ_OK) jobq__owner_enter(owner);
    jobq__os_global_unlock();
    if (rc == JOBQ_OK && jobq__owner_look(owner, &why) == JOBQ_FOREIGN)
        rc = jobq__owner_refuse_foreign(files->lock, err);
    if (rc != JOBQ_OK) jobq__owner_drop(owner);
    return rc;
}

JOBQ__INTERNAL int jobq__owner_allows(struct jobq__owner *owner, bool unsafe, jobq_error *err) {
    jobq_error why;
    int rc = jobq__owner_look(owner, &why);
    int32_t shared = jobq__os_load(&owner->page->shared);
    if (rc != JOBQ_OK && unsafe) {
        if (rc == JOBQ_READ_ONLY) jobq__err_set(err, rc, "%s", why.text);
        else rc = jobq__err_set(err, JOBQ_UNSAFE_SQLITE, "%.300s; so nobody knows whether the owner"
                                " has .shared = true, and SQLite before 3.51.3 may lose data with"
                                " two writers", why.text);
        if (err) err->os_code = why.os_code;
        return rc;
    }
    if (rc != JOBQ_OK || owner->fd < 0 || shared != JOBQ__WRITES_ALONE) return JOBQ_OK;
    if (!unsafe)
        return jobq__err_set(err, JOBQ_MISUSE, "the owner, process %d now or before, was opened"
                             " without .shared = true: it does not look for what clients enqueue;"
                             " open it with that",
                             (int)jobq__owner_pid(owner->page));
    return jobq__err_set(err, JOBQ_UNSAFE_SQLITE, "SQLite before 3.51.3 may lose data with two"
                         " writers: the owner, process %d now or before, was opened without .shared"
                         " = true; open it with that, or use a newer SQLite",
                         (int)jobq__owner_pid(owner->page));
}

JOBQ__INTERNAL bool jobq__owner_has_it_all(const struct jobq__owner *owner) {
    return jobq__os_load(&owner->page->shared) == JOBQ__HAS_IT_ALL;
}

JOBQ__INTERNAL int jobq__owner_keeps_out(const struct jobq__owner *owner, jobq_error *err) {
    int32_t pid = jobq__owner_pid(owner->page);
    jobq__err_set(err, JOBQ_LOCKED, "the owner of %.250s, process %d, has the file for itself"
                  " (.exclusive = true); open it there without that", owner->files->path,
                  (int)pid);
    jobq__err_id(err, pid);
    return JOBQ_LOCKED;
}

JOBQ__INTERNAL void jobq__owner_match(struct jobq__owner *owner) {
    if (owner->mapped && owner->writable) jobq__os_match(owner->fd, &owner->files->db);
}

JOBQ__INTERNAL void jobq__owner_drop(struct jobq__owner *owner) {
    jobq__os_global_lock();
    jobq__owner_let_go(owner);
    jobq__os_global_unlock();
}

JOBQ__INTERNAL int64_t jobq__owner_slot(const struct jobq__owner *owner, int slot) {
    return jobq__owner_knows(owner->page) ? owner->page->slots[slot].id : 0;
}

JOBQ__INTERNAL enum jobq__trace jobq__owner_trace(const struct jobq__owner *owner, int64_t id,
                                                  int runs) {
    int i;
    if (!jobq__owner_knows(owner->page)) return JOBQ__TRACE_NONE;
    for (i = 0; i < JOBQ_WORKERS_MAX; i++) {
        const struct jobq__slot *slot = &owner->page->slots[i];
        int32_t state = jobq__os_load(&slot->state);
        if (slot->id != id || slot->runs != runs || state == JOBQ__SLOT_IDLE) continue;
        if (state == JOBQ__SLOT_GUILTY) return JOBQ__TRACE_STARTED;
        return state == JOBQ__SLOT_STARTED && !jobq__os_load(&owner->page->leaving)
             ? JOBQ__TRACE_STARTED : JOBQ__TRACE_RELEASED;
    }
    return JOBQ__TRACE_NONE;
}

JOBQ__INTERNAL bool jobq__owner_runs(const struct jobq__owner *owner, int64_t id) {
    int i;
    if (!jobq__owner_knows(owner->page)) return false;
    for (i = 0; i < JOBQ_WORKERS_MAX; i++) {
        const struct jobq__slot *slot = &owner->page->slots[i];
        if (jobq__os_load(&slot->state) != JOBQ__SLOT_IDLE && jobq__os_load64(&slot->id) == id)
            return true;
    }
    return false;
}

/* From now on who leaves lets go of what runs here. Until now the slots were those of the process
 * before, and what they say of its end is not ours to change. */
static void jobq__owner_publish(struct jobq__owner *owner) {
    int i = 0;
    jobq__os_global_lock();
    while (jobq__owner_pages[i]) i++; /* there is one for each owner of the process */
    jobq__assert(i < JOBQ__OWNERS_MAX && owner->entry < 0);
    owner->entry = i;
    jobq__os_store_pointer(&jobq__owner_pages[i], owner->page);
    jobq__os_global_unlock();
}

JOBQ__INTERNAL void jobq__owner_begin(struct jobq__owner *owner) {
    struct jobq__page *page = owner->page;
    memset(page->slots, 0, sizeof page->slots);
    owner->begun = true;
    jobq__os_boot_id(page->boot_id, sizeof page->boot_id);
    jobq__os_store(&page->leaving, 0);
    jobq__os_store(&page->doubt, 0);
    memcpy(page->magic, jobq__owner_magic(), sizeof page->magic);
    if (owner->entered) jobq__owner_publish(owner);
}

JOBQ__INTERNAL void *jobq__owner_started(struct jobq__owner *owner, int slot, int64_t id,
                                         int runs) {
    struct jobq__slot *s = &owner->page->slots[slot];
    jobq__assert(owner->begun);
    jobq__os_store64(&s->id, id);
    jobq__os_store(&s->runs, runs);
    jobq__owner_slot_to(s, JOBQ__SLOT_IDLE, JOBQ__SLOT_STARTED);
    return jobq__os_thread_is_at(s);
}

JOBQ__INTERNAL void jobq__owner_release(struct jobq__owner *owner, int slot) {
    jobq__owner_slot_to(&owner->page->slots[slot], JOBQ__SLOT_STARTED, JOBQ__SLOT_RELEASED);
}

JOBQ__INTERNAL void jobq__owner_ended(struct jobq__owner *owner, int slot, void *outer) {
    jobq__os_thread_is_at(outer);
    jobq__owner_slot_to(&owner->page->slots[slot], JOBQ__SLOT_STARTED, JOBQ__SLOT_IDLE);
}

JOBQ__INTERNAL void jobq__owner_stay(struct jobq__owner *owner) {
    jobq__os_store(&owner->page->leaving, 0);
}

JOBQ__INTERNAL void jobq__owner_release_all(struct jobq__owner *owner) {
    if (owner->begun) jobq__owner_release_page(owner->page, NULL);
}

JOBQ__INTERNAL void jobq__owner_doubts(struct jobq__owner *owner, bool doubt) {
    if (owner->writable) jobq__os_store(&owner->page->doubt, doubt);
}

JOBQ__INTERNAL bool jobq__owner_doubtful(const struct jobq__owner *owner) {
    return jobq__owner_knows(owner->page) && jobq__os_load(&owner->page->doubt);
}

JOBQ__INTERNAL int jobq__owner_reserve(struct jobq__owner *owner, int64_t bytes) {
    int rc = JOBQ_IO;
    if (owner->fd >= 0 && owner->writable)
        rc = jobq__os_allocate(owner->fd, jobq__add(JOBQ__PAGE_ROOM, bytes));
    if (rc == JOBQ_OK) owner->reserved = bytes;
    return rc;
}

JOBQ__INTERNAL void jobq__owner_note_reserve(struct jobq__owner *owner, int64_t bytes) {
    if (owner->writable) owner->page->reserve = bytes;
}

JOBQ__INTERNAL int64_t jobq__owner_noted_reserve(const struct jobq__owner *owner) {
    return jobq__owner_knows(owner->page) ? JOBQ__MAX(owner->page->reserve, 0) : 0;
}

JOBQ__INTERNAL int64_t jobq__owner_held(const struct jobq__owner *owner) {
    return owner->fd < 0 ? 0 : jobq__max(jobq__os_size(owner->fd) - JOBQ__PAGE_ROOM, 0);
}

JOBQ__INTERNAL int64_t jobq__owner_disk_free(const struct jobq__owner *owner) {
    return owner->fd < 0 ? INT64_MAX : jobq__os_free_bytes(owner->fd);
}

JOBQ__INTERNAL bool jobq__owner_moved(struct jobq__owner *owner) {
    return owner->writable && owner->mapped
        && (jobq__owner_cut(owner)
            || jobq__files_one_moved(owner->files, owner->files->lock, &owner->id));
}

static void jobq__owner_set_wanted(struct jobq__owner *owner, int32_t value) {
    if (owner->writable) jobq__os_store(&owner->page->wanted, value);
    else jobq__os_write_at(owner->fd, offsetof(struct jobq__page, wanted), &value, sizeof value);
}

/* Odd: somebody waits. */
JOBQ__INTERNAL int32_t jobq__owner_want(struct jobq__owner *owner) {
    int32_t wanted = jobq__os_load(&owner->page->wanted);
    if (!(wanted & 1)) jobq__owner_set_wanted(owner, wanted | 1);
    return wanted | 1;
}

JOBQ__INTERNAL void jobq__owner_serve(struct jobq__owner *owner) {
    uint32_t wanted = (uint32_t)jobq__os_load(&owner->page->wanted) | 1;
    jobq__owner_set_wanted(owner, (int32_t)((wanted + 1) & INT32_MAX));
}

JOBQ__INTERNAL bool jobq__owner_wanted(const struct jobq__owner *owner) {
    return jobq__os_load(&owner->page->wanted) & 1;
}

JOBQ__INTERNAL bool jobq__owner_forked(const struct jobq__owner *owner) {
    return owner->generation != jobq__os_load(&jobq__owner_generation);
}
