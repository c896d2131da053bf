/* tx_enqueue.c - names get ids, and new jobs their place. */
#include "door.h"

/* ---- Names ---- */

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

/* ---- New jobs ---- */

/* True if this very transaction would claim it, or has to for the sake of the order. */
static bool jobq__tx_at_once(struct jobq__tx *tx, struct jobq__lane *lane,
                             const struct jobq__row *row) {
    const jobq *q = tx->q;
    if (!tx->may_claim || !lane || lane->unordered || !jobq__tx_handled(tx, row->kind))
        return false;
    if (tx->room > 0 && tx->bytes > 0 && jobq__list_empty(&lane->ready) && !q->look_lanes
        && jobq__gate_room(&lane->gate) > 0)
        return true;
    return tx->over > 0 && jobq__tx_before_tail(tx, lane, row);
}

/* Such a job is stored as claimed: no index entry is written only to be removed. Without memory for
 * an entry it is ready, as any other. */
static bool jobq__tx_add_claimed(struct jobq__tx *tx, struct jobq__lane *lane,
                                 struct jobq__row *row) {
    struct jobq__kind *kind = jobq__registry_kind(&tx->q->names, row->kind);
    struct jobq__entry *entry;
    if (jobq__tx_entry(tx, row, kind, lane, &entry) != JOBQ_OK) return false;
    row->state = entry->row.state = JOBQ__CLAIMED;
    row->lane = entry->row.lane = JOBQ__LANE_NONE;
    row->runs = entry->row.runs = 1;
    jobq__tx_claimed(tx, entry);
    tx->ready = true;
    return true;
}

JOBQ__INTERNAL int jobq__tx_add(struct jobq__tx *tx, struct jobq__row *row) {
    struct jobq__lane *lane;
    bool ready, claimed;
    int rc;
    row->id = ++tx->last_id;
    row->attempt = 1;
    row->created_at_ms = tx->now_ms;
    if (jobq__store_apart(tx->db, row->size)) row->side |= JOBQ__SIDE_PAYLOAD;
    row->lane = jobq__tx_lane(tx, row);
    ready = row->lane > JOBQ__LANE_SCHEDULED;
    lane = ready ? jobq__tx_line(tx, row->lane) : NULL;
    claimed = jobq__tx_at_once(tx, lane, row) && jobq__tx_add_claimed(tx, lane, row);
    rc = jobq__door_new(tx, row);
    if (row->lane == JOBQ__LANE_SCHEDULED) jobq__tx_scheduled(tx, row->run_at_ms);
    if (rc != JOBQ_OK || !ready || claimed) return rc;
    /* Out of order: the row must stand in the table before tx_ready sees to it. */
    if (tx->ordered && lane && jobq__tx_before_tail(tx, lane, row)) rc = jobq__door_flush(tx);
    return rc == JOBQ_OK ? jobq__tx_ready(tx, row) : rc;
}
