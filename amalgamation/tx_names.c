/* tx_names.c - names of kinds and queues: found, added, and known after COMMIT. */
#include "tx_names.h"

JOBQ__INTERNAL int jobq__tx_new_name(struct jobq__tx *tx, int what, const char *text,
                                     int64_t *id) {
    int rc;
    if (tx->new_count == tx->new_capacity) {
        size_t capacity = tx->new_capacity ? tx->new_capacity * 2 : 4;
        void *names = jobq__mem_resize(tx->new_names, capacity, sizeof *tx->new_names);
        if (!names) return JOBQ_NO_MEMORY;
        tx->new_names = names;
        tx->new_capacity = capacity;
    }
    rc = *id ? jobq__store_name_put(tx->db, *id, what, text)
             : jobq__store_name_add(tx->db, &what, text, id);
    if (rc != JOBQ_OK) return rc;
    tx->new_names[tx->new_count].what = what;
    tx->new_names[tx->new_count].id = *id;
    jobq__err_copy_text(tx->new_names[tx->new_count++].text, JOBQ_NAME_MAX + 1, text);
    return JOBQ_OK;
}

JOBQ__INTERNAL const char *jobq__tx_name_text(const struct jobq__tx *tx, int64_t id) {
    const jobq *q = tx->q;
    const struct jobq__name *name = jobq__registry_by_id(&q->names, id);
    size_t i;
    if (name) return name->text;
    for (i = 0; i < tx->new_count; i++)
        if (tx->new_names[i].id == id) return tx->new_names[i].text;
    return NULL;
}

JOBQ__INTERNAL int jobq__tx_know(struct jobq__tx *tx, int64_t id) {
    jobq *q = tx->q;
    char text[JOBQ_NAME_MAX + 1];
    bool lost;
    int what, rc;
    if (jobq__tx_name_text(tx, id)) return JOBQ_OK;
    rc = jobq__store_name_text(tx->db, id, &what, text, &lost);
    if (rc != JOBQ_OK) return rc;
    if (lost) return jobq__tx_new_name(tx, what, text, &id);
    return jobq__registry_add(&q->names, id, what, text) ? JOBQ_OK : JOBQ_NO_MEMORY;
}

static int jobq__tx_refuse_name(struct jobq__tx *tx, const char *text, int rc, jobq_error *err) {
    jobq *q = tx->q;
    if (rc == JOBQ_BAD_NAME)
        jobq__err_set(err, rc, "the name %s is not UTF-8; this file keeps its texts as UTF-16, and"
                      " other bytes would come back", text);
    else if (rc == JOBQ_FULL && !jobq__store_said(tx->db, rc))
        jobq__err_set(err, rc, "%.200s holds %d names of kinds and queues already, and has"
                      " no room for %.64s; use those again, or another file", q->files.path,
                      JOBQ_NAMES_MAX, text);
    return rc;
}

JOBQ__INTERNAL int jobq__tx_resolve(struct jobq__tx *tx, int what, const char *text,
                                    int32_t *id, jobq_error *err) {
    jobq *q = tx->q;
    struct jobq__name *name = jobq__registry_by_text(&q->names, what, text);
    int64_t found;
    int as = what, rc;
    size_t i;
    *id = name ? (int32_t)name->id : 0;
    if (name) return JOBQ_OK;
    for (i = 0; i < tx->new_count; i++) {
        const struct jobq__new_name *new_name = &tx->new_names[i];
        if (new_name->what != what && new_name->what != JOBQ__NAME_ANY) continue;
        if (strcmp(new_name->text, text) == 0) {
            *id = (int32_t)new_name->id;
            return JOBQ_OK;
        }
    }
    rc = jobq__store_name_find(tx->db, &as, text, &found);
    if (rc != JOBQ_OK) return jobq__tx_refuse_name(tx, text, rc, err);
    if (found) name = jobq__registry_add(&q->names, found, as, text);
    else rc = jobq__tx_new_name(tx, what, text, &found);
    if (name && strcmp(name->text, text) != 0)
        rc = jobq__store_damaged(tx->db, JOBQ__DAMAGE_NAME, found);
    *id = (int32_t)found;
    return jobq__tx_refuse_name(tx, text, rc, err);
}

JOBQ__INTERNAL int jobq__tx_check_names(struct jobq__tx *tx) {
    size_t i, kept = 0;
    for (i = 0; i < tx->new_count; i++) {
        int64_t id;
        int what = tx->new_names[i].what;
        int rc = jobq__store_name_find(tx->db, &what, tx->new_names[i].text, &id);
        if (rc != JOBQ_OK) return rc;
        if (id == tx->new_names[i].id) tx->new_names[kept++] = tx->new_names[i];
    }
    tx->new_count = kept;
    return JOBQ_OK;
}
