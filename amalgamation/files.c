/* files.c - which files a path means: resolved once, looked at, made, watched. */
#include "files.h"

#include <errno.h>

static char *jobq__files_beside(const char *path, const char *ending) {
    size_t size = strlen(path), more = strlen(ending);
    char *name = jobq__mem_new(size + more + 1);
    if (!name) return NULL;
    memcpy(name, path, size);
    memcpy(name + size, ending, more);
    return name;
}

static int jobq__files_name(struct jobq__files *files, const char *path, jobq_error *err) {
    int failed = jobq__os_resolve(path, &files->path);
    if (failed == ENOMEM) return jobq__err_set(err, JOBQ_NO_MEMORY, NULL);
    if (failed == JOBQ__OS_ELSEWHERE)
        return jobq__err_set(err, JOBQ_CANT_OPEN, "%.250s leads to a file that has no name here: it"
                             " was deleted, or lies in another mount namespace; give a path by"
                             " which this process finds it without /proc", path);
    if (failed)
        return jobq__err_os(err, failed == EACCES ? JOBQ_READ_ONLY : JOBQ_CANT_OPEN, failed,
                            "realpath", path, "its directory has to be there and to be entered");
    files->log = jobq__files_beside(files->path, "-wal");
    files->shm = jobq__files_beside(files->path, "-shm");
    files->lock = jobq__files_beside(files->path, "-jobq");
    if (!files->log || !files->shm || !files->lock)
        return jobq__err_set(err, JOBQ_NO_MEMORY, NULL);
    return JOBQ_OK;
}

static int jobq__files_look(const char *path, struct jobq__os_file *file, jobq_error *err) {
    int failed = jobq__os_look(path, file);
    if (!failed) return JOBQ_OK;
    return jobq__err_os(err, failed == EACCES ? JOBQ_READ_ONLY : JOBQ_CANT_OPEN, failed, "lstat",
                        path, NULL);
}

static int jobq__files_make(struct jobq__files *files, const jobq_options *options,
                            jobq_error *err) {
    int rc = jobq__os_create(files->path, options->mode, options->group_id, &files->created, err);
    if (rc == JOBQ_OK) rc = jobq__files_look(files->path, &files->db, err);
    if (rc != JOBQ_OK || files->db.kind != JOBQ__OS_MISSING) return rc;
    return jobq__err_set(err, JOBQ_CANT_OPEN, "%.250s was made and is gone again", files->path);
}

/* Only what has one name may be opened: see the design note. */
static int jobq__files_check_names(const char *path, const struct jobq__os_file *file,
                                   jobq_error *err) {
    bool mounted;
    int failed;
    if (file->names > 1)
        return jobq__err_set(err, JOBQ_LINKED, "%.250s has %lld names (hard links), and by another"
                             " one it has another log, another owner, or another database; leave it"
                             " only one, or say .linked = true", path, (long long)file->names);
    failed = jobq__os_mounted(path, &mounted);
    if (failed)
        return jobq__err_os(err, JOBQ_CANT_OPEN, failed, "open /proc/self/mountinfo for", path,
                            "it says whether the file is mounted by itself");
    if (mounted)
        return jobq__err_set(err, JOBQ_LINKED, "%.250s is mounted by itself: who does not see that"
                             " mount has another log or another owner; mount its directory, or say"
                             " .linked = true", path);
    return JOBQ_OK;
}

static const char *jobq__files_what(enum jobq__os_kind kind) {
    if (kind == JOBQ__OS_DIRECTORY) return "is a directory";
    return kind == JOBQ__OS_LINK ? "is a symbolic link" : "is not a regular file";
}

/* What stands there is a database's file, by its look. */
static int jobq__files_check_db(const struct jobq__files *files, const char *path, bool linked,
                                jobq_error *err) {
    if (files->db.kind != JOBQ__OS_FILE)
        return jobq__err_set(err, JOBQ_NOT_A_FILE, "%.250s %s; give the path of a database", path,
                             jobq__files_what(files->db.kind));
    return linked ? JOBQ_OK : jobq__files_check_names(files->path, &files->db, err);
}

/* What stands beside the database has to be a plain file with one name, too. */
static int jobq__files_check_beside(const struct jobq__files *files, bool linked,
                                    jobq_error *err) {
    const char *const names[] = {files->log, files->shm, files->lock};
    struct jobq__os_file file;
    size_t i;
    int rc;
    for (i = 0; i < JOBQ__COUNT(names); i++) {
        rc = jobq__files_look(names[i], &file, err);
        if (rc != JOBQ_OK) return rc;
        if (file.kind == JOBQ__OS_MISSING) continue;
        if (file.kind != JOBQ__OS_FILE)
            return jobq__err_set(err, JOBQ_NOT_A_FILE, "%.250s %s; it is in the way and has to be"
                                 " removed", names[i], jobq__files_what(file.kind));
        if (!linked) rc = jobq__files_check_names(names[i], &file, err);
        if (rc != JOBQ_OK) return rc;
    }
    return JOBQ_OK;
}

/* Asked before anything is made or locked: SQLite opens what it may only read without a word, and
 * of what it may not read it does not say which file that is. A client may look only. */
static int jobq__files_check_rights(const struct jobq__files *files, const jobq_options *options,
                                    jobq_error *err) {
    const char *names[] = {files->path, files->log, files->shm};
    size_t i, count = options->exclusive ? JOBQ__COUNT(names) - 1 : JOBQ__COUNT(names);
    bool owner = options->role == JOBQ_OWNER;
    for (i = 0; i < count; i++) {
        int failed = jobq__os_may(names[i], owner);
        if (failed)
            return jobq__err_os(err, JOBQ_READ_ONLY, failed, "access", names[i],
                                owner ? "the owner reads and writes it: see to its mode, or be its"
                                        " user" : JOBQ__ERR_RIGHTS);
    }
    return JOBQ_OK;
}

/* Asked of the directory too, for the file may not have been made yet. */
static bool jobq__files_lie_on(struct jobq__files *files, bool (*what)(const char *path)) {
    char *end = strrchr(files->path, '/'), kept;
    bool it;
    if (end == files->path) end++;
    kept = *end;
    *end = 0;
    it = what(files->path);
    *end = kept;
    return it || what(files->path);
}

static int jobq__files_check_near(struct jobq__files *files, jobq_error *err) {
    if (!jobq__files_lie_on(files, jobq__os_remote)) return JOBQ_OK;
    return jobq__err_set(err, JOBQ_REMOTE, "%.250s is on a network or FUSE file system, where locks"
                         " and log are not safe; .remote = true opens it all the same",
                         files->path);
}

/* As FAT makes them: eight bytes at most that end with a number behind a ~, and three at most. */
static bool jobq__files_is_short(const char *name) {
    size_t size = strcspn(name, "."), at = size;
    const char *end = name + size;
    while (at > 0 && name[at - 1] >= '0' && name[at - 1] <= '9') at--;
    return size <= 8 && at < size && at > 1 && name[at - 1] == '~' && strlen(end) <= 4;
}

/* realpath leaves such a name as it is, and what stands beside it has another one. */
static int jobq__files_check_short(struct jobq__files *files, jobq_error *err) {
    const char *slash = strrchr(files->path, '/');
    if (!slash || !jobq__files_is_short(slash + 1)
        || !jobq__files_lie_on(files, jobq__os_short_names)) return JOBQ_OK;
    return jobq__err_set(err, JOBQ_LINKED, "%.250s may be the short name (8.3) of a file that has a"
                         " long one, beside which its log and its owner would not be seen; give the"
                         " long name, or say .linked = true if there is none", files->path);
}

static int jobq__files_check(struct jobq__files *files, const char *path,
                             const jobq_options *options, jobq_error *err) {
    bool missing;
    int rc = jobq__files_look(files->path, &files->db, err);
    if (rc != JOBQ_OK) return rc;
    missing = files->db.kind == JOBQ__OS_MISSING;
    if (missing && options->role == JOBQ_CLIENT)
        return jobq__err_set(err, JOBQ_NOT_FOUND, "there is no file %.250s; the owner makes it",
                             files->path);
    if (!options->remote) rc = jobq__files_check_near(files, err);
    if (rc == JOBQ_OK && !options->linked) rc = jobq__files_check_short(files, err);
    if (rc == JOBQ_OK && !missing) rc = jobq__files_check_db(files, path, options->linked, err);
    if (rc == JOBQ_OK) rc = jobq__files_check_beside(files, options->linked, err);
    if (rc == JOBQ_OK) rc = jobq__files_check_rights(files, options, err);
    if (rc != JOBQ_OK || !missing) return rc;
    /* Last of all: of an open that was refused nothing shall remain. */
    rc = jobq__files_make(files, options, err);
    return rc == JOBQ_OK ? jobq__files_check_db(files, path, options->linked, err) : rc;
}

JOBQ__INTERNAL int jobq__files_find(struct jobq__files *files, const char *path,
                                    const jobq_options *options, jobq_error *err) {
    struct jobq__os_file root;
    int rc;
    memset(files, 0, sizeof *files);
    if (strcmp(path, ":memory:") == 0) {
        files->path = jobq__mem_copy(path, strlen(path));
        return files->path ? JOBQ_OK : jobq__err_set(err, JOBQ_NO_MEMORY, NULL);
    }
    if (!jobq__os_look("/", &root)) files->root_id = root.id;
    rc = jobq__files_name(files, path, err);
    return rc == JOBQ_OK ? jobq__files_check(files, path, options, err) : rc;
}

JOBQ__INTERNAL void jobq__files_fini(struct jobq__files *files) {
    jobq__mem_free(files->path);
    jobq__mem_free(files->log);
    jobq__mem_free(files->shm);
    jobq__mem_free(files->lock);
    memset(files, 0, sizeof *files);
}

/* Some ways to open files keep the one or the other elsewhere. */
static void jobq__files_note(const char *path, struct jobq__os_file *beside,
                             const struct jobq__os_file *db) {
    jobq__os_match_owner(path, db);
    if (jobq__os_look(path, beside)) beside->kind = JOBQ__OS_MISSING;
}

JOBQ__INTERNAL void jobq__files_opened(struct jobq__files *files, bool shares_memory) {
    if (!files->log) return;
    jobq__files_note(files->log, &files->log_file, &files->db);
    if (shares_memory) jobq__files_note(files->shm, &files->shm_file, &files->db);
}

JOBQ__INTERNAL bool jobq__files_one_moved(const struct jobq__files *files, const char *path,
                                          const struct jobq__os_id *id) {
    struct jobq__os_file root;
    if (!jobq__os_moved(path, id)) return false;
    /* In another root the name means another file, which says nothing of ours. */
    return !jobq__os_look("/", &root) && jobq__os_same_file(&root.id, &files->root_id);
}

JOBQ__INTERNAL bool jobq__files_another(const struct jobq__files *files) {
    return files->lock && jobq__os_moved(files->path, &files->db.id);
}

static bool jobq__files_beside_moved(const struct jobq__files *files, const char *path,
                                     const struct jobq__os_file *beside) {
    return beside->kind == JOBQ__OS_FILE && jobq__files_one_moved(files, path, &beside->id);
}

/* How it stands there at this moment; false if it does not, or may not be looked at. */
static bool jobq__files_stands(const char *path, const struct jobq__os_file *beside,
                               struct jobq__os_file *now) {
    return beside->kind == JOBQ__OS_FILE && !jobq__os_look(path, now)
        && now->kind == JOBQ__OS_FILE && jobq__os_same_file(&now->id, &beside->id);
}

/* It is taken from under who has it mapped. */
static bool jobq__files_memory_cut(struct jobq__files *files) {
    struct jobq__os_file now;
    if (!jobq__files_stands(files->shm, &files->shm_file, &now)) return false;
    if (now.size < files->shm_file.size) return true;
    files->shm_file.size = now.size;
    return false;
}

JOBQ__INTERNAL int64_t jobq__files_log_size(const struct jobq__files *files) {
    struct jobq__os_file now;
    return jobq__files_stands(files->log, &files->log_file, &now) ? now.size : INT64_MAX;
}

JOBQ__INTERNAL bool jobq__files_moved(struct jobq__files *files) {
    if (!files->lock) return false;
    return jobq__files_one_moved(files, files->path, &files->db.id)
        || jobq__files_beside_moved(files, files->log, &files->log_file)
        || jobq__files_beside_moved(files, files->shm, &files->shm_file)
        || jobq__files_memory_cut(files);
}
