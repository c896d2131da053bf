/* owner.c - one owner per file: the lock, the slots that outlive a process, forks. */
#include "owner.h"

#define JOBQ__OWNERS_MAX 64 /* queue files that one process may own */
#define JOBQ__PAGE_ROOM 4096 /* of the lock file; behind it lies the reserve */
#define JOBQ__PAGE_OLD "jobq-1\n" /* the mark of 0.1.0 */

/* What is beyond in a page of 0.1.0 is of another byte order. */
#define JOBQ__PID_MAX (1 << 22)
#define JOBQ__PAGE_RESERVE_MAX ((int64_t)1 << 40)

/* The process's table. Pages are read by a signal handler, so they are atomic pointers;
 * everything else is under the global lock. */
static void *jobq__owner_pages[JOBQ__OWNERS_MAX];
static struct jobq__os_id jobq__owner_files[JOBQ__OWNERS_MAX];
static int jobq__owner_fds[JOBQ__OWNERS_MAX];
static int32_t jobq__owner_generation;
static int32_t jobq__owner_marking; /* calls of jobq_mark_exit that look at the pages; atomic */

/* With the global lock held by the thread that forked: so no thread was between having a lock and
 * writing that down here, or the other way round. */
static void jobq__owner_in_child(void) {
    int i;
    jobq__owner_generation++;
    jobq__os_store(&jobq__owner_marking, 0); /* the threads that were at it are not here */
    for (i = 0; i < JOBQ__OWNERS_MAX; i++) {
        if (!jobq__owner_pages[i]) continue;
        /* The mapping holds the file open as well, and with it the parent's lock. */
        jobq__os_page_close(jobq__owner_fds[i],
                            jobq__owner_fds[i] >= 0 ? jobq__owner_pages[i] : NULL,
                            sizeof(struct jobq__page));
        jobq__owner_pages[i] = NULL;
    }
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

/* Such a page does not say in which byte order it is: in another one these would be other
 * numbers. */
static bool jobq__owner_makes_sense(const struct jobq__page *page) {
    int32_t pid = jobq__os_load(&page->pid);
    int i;
    if (pid < 1 || pid > JOBQ__PID_MAX) return false;
    if (page->reserve < 0 || page->reserve > JOBQ__PAGE_RESERVE_MAX) return false;
    if ((jobq__os_load(&page->leaving) | jobq__os_load(&page->doubt)) & ~1) return false;
    for (i = 0; i < JOBQ_WORKERS_MAX; i++) {
        int32_t state = jobq__os_load(&page->slots[i].state);
        if (state < JOBQ__SLOT_IDLE || state > JOBQ__SLOT_RELEASED || page->slots[i].runs < 0)
            return false;
    }
    return true;
}

static bool jobq__owner_knows(const struct jobq__page *page) {
    return jobq__owner_wrote(page)
        || (jobq__owner_wrote_old(page) && jobq__owner_makes_sense(page));
}

/* Lets go of all runs but the guilty one's. */
static void jobq__owner_release_page(struct jobq__page *page, const void *guilty) {
    int i;
    for (i = 0; i < JOBQ_WORKERS_MAX; i++) {
        struct jobq__slot *slot = &page->slots[i];
        if (jobq__os_load(&slot->state) == JOBQ__SLOT_STARTED)
            jobq__os_store(&slot->state,
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

/* Returns the entry, -1 if the file is owned in this process already, -2 if the table is full.
 * With the global lock held. */
static int jobq__owner_enter(const struct jobq__owner *owner) {
    int i, entry = -2;
    for (i = 0; i < JOBQ__OWNERS_MAX; i++) {
        if (!jobq__owner_pages[i]) {
            if (entry == -2) entry = i;
        } else if (owner->mapped && jobq__owner_files[i].file == owner->files->db.id.file
                   && jobq__owner_files[i].device == owner->files->db.id.device) {
            entry = -1;
            break;
        }
    }
    if (entry >= 0) {
        jobq__owner_files[entry] = owner->files->db.id;
        jobq__owner_fds[entry] = owner->fd;
        jobq__os_store_pointer(&jobq__owner_pages[entry], owner->page);
    }
    return entry;
}

/* A client sees the lock file that stands there at this moment, and without one an empty page. The
 * place of the page stays, because others may be reading it. */
static int jobq__owner_look(struct jobq__owner *owner, jobq_error *err) {
    void *page = owner->page;
    struct jobq__os_file file;
    int fd, rc;
    if (!jobq__os_look(owner->files->lock, &file)) {
        if (file.kind == JOBQ__OS_MISSING) return JOBQ_OK;
        if (owner->fd >= 0 && file.id.file == owner->id.file && file.id.device == owner->id.device)
            return JOBQ_OK;
    }
    rc = jobq__os_page_open(owner->files->lock, sizeof *owner->page, NULL, &fd, &page, err);
    if (rc != JOBQ_OK) return rc;
    if (owner->fd >= 0) jobq__os_page_close(owner->fd, NULL, 0);
    owner->fd = fd;
    owner->id = jobq__os_id_of(fd);
    return rc;
}

static int jobq__owner_locked(int32_t pid, const char *path, jobq_error *err) {
    if (pid == jobq__os_pid())
        jobq__err_set(err, JOBQ_LOCKED, "this process, %d, owns the queue %.250s already: close the"
                      " other handle, or use it", (int)pid, path);
    else if (pid > 0)
        jobq__err_set(err, JOBQ_LOCKED, "process %d owns the queue %.250s; open it as a client, or"
                      " end that process", (int)pid, path);
    else
        jobq__err_set(err, JOBQ_LOCKED, "another process owns the queue %.250s", path);
    jobq__err_id(err, JOBQ__MAX(pid, 0));
    return JOBQ_LOCKED;
}

static int jobq__owner_map(struct jobq__owner *owner, jobq_error *err) {
    const struct jobq__files *files = owner->files;
    void *page = NULL;
    int rc = jobq__os_page_open(files->lock, sizeof *owner->page, &files->db, &owner->fd, &page,
                                err);
    if (rc == JOBQ_LOCKED) {
        const struct jobq__page *theirs = page;
        jobq__owner_locked(theirs ? theirs->pid : 0, files->path, err);
    }
    if (rc != JOBQ_OK) {
        jobq__os_page_close(-1, page, sizeof *owner->page);
        return rc;
    }
    owner->page = page;
    owner->mapped = owner->writable = true;
    owner->id = jobq__os_id_of(owner->fd);
    owner->reserved = JOBQ__MAX(jobq__os_size(owner->fd) - JOBQ__PAGE_ROOM, 0);
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

/* With the global lock held, from the lock of the file to the entry in the table. */
static int jobq__owner_get(struct jobq__owner *owner, jobq_error *err) {
    int rc = jobq__os_hooks(jobq__owner_in_child, jobq__owner_at_exit), entry;
    if (rc != JOBQ_OK) return jobq__err_set(err, rc, NULL);
    if (owner->files->lock) {
        rc = jobq__owner_map(owner, err);
    } else {
        owner->page = jobq__mem_new(sizeof *owner->page);
        owner->writable = true;
        if (!owner->page) rc = jobq__err_set(err, JOBQ_NO_MEMORY, NULL);
    }
    if (rc != JOBQ_OK) return rc;
    entry = jobq__owner_enter(owner);
    if (entry >= 0) {
        owner->entry = entry;
        return JOBQ_OK;
    }
    jobq__owner_let_go(owner);
    if (entry == -2) return jobq__err_set(err, JOBQ_FULL, "one process may own %d queues at most",
                                          JOBQ__OWNERS_MAX);
    return jobq__owner_locked(jobq__os_pid(), owner->files->path, err);
}

JOBQ__INTERNAL int jobq__owner_take(struct jobq__owner *owner, const struct jobq__files *files,
                                    int32_t writers, jobq_error *err) {
    char boot_id[sizeof owner->page->boot_id];
    int rc;
    jobq__owner_init(owner, files);
    jobq__os_global_lock();
    rc = jobq__owner_get(owner, err);
    jobq__os_global_unlock();
    if (rc != JOBQ_OK) return rc;
    /* Our pid would make sense of what makes none. */
    if (jobq__owner_wrote_old(owner->page) && !jobq__owner_makes_sense(owner->page))
        memset(owner->page->magic, 0, sizeof owner->page->magic);
    /* Clients that are there already hear of it before we touch the database. */
    jobq__os_store(&owner->page->shared, writers);
    jobq__os_store(&owner->page->pid, jobq__os_pid());
    if (!jobq__owner_knows(owner->page)) return rc;
    jobq__os_boot_id(boot_id, sizeof boot_id);
    owner->same_boot = jobq__os_same_boot(owner->page->boot_id, boot_id, sizeof boot_id);
    owner->other_boot = !owner->same_boot && *boot_id && *owner->page->boot_id;
    return rc;
}

JOBQ__INTERNAL int jobq__owner_watch(struct jobq__owner *owner, const struct jobq__files *files,
                                     jobq_error *err) {
    void *page;
    int rc;
    jobq__owner_init(owner, files);
    jobq__os_global_lock();
    rc = jobq__os_hooks(jobq__owner_in_child, jobq__owner_at_exit);
    jobq__os_global_unlock();
    page = rc == JOBQ_OK ? jobq__os_page_blank(sizeof *owner->page) : NULL;
    if (!page) return jobq__err_set(err, JOBQ_NO_MEMORY, NULL);
    owner->page = page;
    owner->mapped = true;
    jobq__owner_look(owner, NULL);
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__owner_allows(struct jobq__owner *owner, bool unsafe, jobq_error *err) {
    jobq_error why;
    int rc = jobq__owner_look(owner, &why), shared = jobq__os_load(&owner->page->shared);
    if (rc != JOBQ_OK && unsafe) {
        jobq__err_set(err, JOBQ_UNSAFE_SQLITE, "SQLite before 3.51.3 may lose data with two"
                      " writers, and nobody knows whether the owner has .shared = true: %.300s",
                      why.text);
        if (err) err->os_code = why.os_code;
        return JOBQ_UNSAFE_SQLITE;
    }
    if (rc != JOBQ_OK || owner->fd < 0 || shared != JOBQ__WRITES_ALONE) return JOBQ_OK;
    if (!unsafe)
        return jobq__err_set(err, JOBQ_MISUSE, "the owner, process %d now or before, was opened"
                             " without .shared = true: it does not look for what clients enqueue;"
                             " open it with that",
                             (int)jobq__os_load(&owner->page->pid));
    return jobq__err_set(err, JOBQ_UNSAFE_SQLITE, "SQLite before 3.51.3 may lose data with two"
                         " writers: the owner, process %d now or before, was opened without .shared"
                         " = true; open it with that, or use a newer SQLite",
                         (int)jobq__os_load(&owner->page->pid));
}

JOBQ__INTERNAL int jobq__owner_admits(struct jobq__owner *owner, jobq_error *err) {
    int32_t pid = jobq__os_load(&owner->page->pid);
    if (jobq__os_load(&owner->page->shared) != JOBQ__HAS_IT_ALL) return JOBQ_OK;
    jobq__err_set(err, JOBQ_LOCKED, "the owner of %.250s, process %d now or before, has the file"
                  " for itself (.exclusive = true); open it there without that", owner->files->path,
                  (int)pid);
    jobq__err_id(err, pid);
    return JOBQ_LOCKED;
}

JOBQ__INTERNAL void jobq__owner_drop(struct jobq__owner *owner) {
    jobq__os_global_lock();
    jobq__owner_let_go(owner);
    jobq__os_global_unlock();
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

JOBQ__INTERNAL void jobq__owner_begin(struct jobq__owner *owner) {
    struct jobq__page *page = owner->page;
    memset(page->slots, 0, sizeof page->slots);
    jobq__os_boot_id(page->boot_id, sizeof page->boot_id);
    jobq__os_store(&page->leaving, 0);
    jobq__os_store(&page->doubt, 0);
    memcpy(page->magic, jobq__owner_magic(), sizeof page->magic);
}

JOBQ__INTERNAL void *jobq__owner_started(struct jobq__owner *owner, int slot, int64_t id,
                                         int runs) {
    struct jobq__slot *s = &owner->page->slots[slot];
    jobq__os_store64(&s->id, id);
    jobq__os_store(&s->runs, runs);
    jobq__os_store(&s->state, JOBQ__SLOT_STARTED);
    return jobq__os_thread_is_at(s);
}

JOBQ__INTERNAL void jobq__owner_release(struct jobq__owner *owner, int slot) {
    jobq__os_store(&owner->page->slots[slot].state, JOBQ__SLOT_RELEASED);
}

JOBQ__INTERNAL void jobq__owner_ended(struct jobq__owner *owner, int slot, void *outer) {
    jobq__os_thread_is_at(outer);
    jobq__os_store(&owner->page->slots[slot].state, JOBQ__SLOT_IDLE);
}

JOBQ__INTERNAL void jobq__owner_stay(struct jobq__owner *owner) {
    jobq__os_store(&owner->page->leaving, 0);
}

JOBQ__INTERNAL void jobq__owner_release_all(struct jobq__owner *owner) {
    jobq__owner_release_page(owner->page, NULL);
}

JOBQ__INTERNAL void jobq__owner_doubts(struct jobq__owner *owner, bool doubt) {
    if (owner->writable) jobq__os_store(&owner->page->doubt, doubt);
}

JOBQ__INTERNAL bool jobq__owner_doubtful(const struct jobq__owner *owner) {
    return jobq__owner_knows(owner->page) && !owner->other_boot
        && jobq__os_load(&owner->page->doubt);
}

JOBQ__INTERNAL int jobq__owner_reserve(struct jobq__owner *owner, int64_t bytes) {
    int rc = JOBQ_IO;
    jobq__assert(sizeof *owner->page <= JOBQ__PAGE_ROOM);
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

JOBQ__INTERNAL int64_t jobq__owner_disk_free(const struct jobq__owner *owner) {
    return owner->fd < 0 ? INT64_MAX : jobq__os_free_bytes(owner->fd);
}

JOBQ__INTERNAL bool jobq__owner_moved(const struct jobq__owner *owner) {
    return owner->writable && owner->mapped
        && jobq__files_one_moved(owner->files, owner->files->lock, &owner->id);
}

static void jobq__owner_set_wanted(struct jobq__owner *owner, int32_t value) {
    if (owner->writable) jobq__os_store(&owner->page->wanted, value);
    else jobq__os_write_at(owner->fd, offsetof(struct jobq__page, wanted), &value, sizeof value);
}

JOBQ__INTERNAL void jobq__owner_want(struct jobq__owner *owner) {
    jobq__owner_set_wanted(owner, 1);
}

JOBQ__INTERNAL void jobq__owner_serve(struct jobq__owner *owner) {
    jobq__owner_set_wanted(owner, 0);
}

JOBQ__INTERNAL bool jobq__owner_wanted(const struct jobq__owner *owner) {
    return jobq__os_load(&owner->page->wanted) != 0;
}

JOBQ__INTERNAL bool jobq__owner_forked(const struct jobq__owner *owner) {
    return owner->generation != jobq__os_load(&jobq__owner_generation);
}
