/* tx_entry.c - a claimed job in memory, and the places it holds. */
#include "tx_entry.h"

/* ---- Made, and used again ---- */

static const uint64_t jobq__tx_nothing; /* a payload of no bytes, aligned as any, with its zero */

static struct jobq__entry *jobq__tx_new_entry(struct jobq__tx *tx, const struct jobq__row *row,
                                              struct jobq__kind *kind, struct jobq__lane *lane) {
    jobq *q = tx->q;
    struct jobq__link *spare = jobq__list_pop(&q->spare);
    struct jobq__entry *entry = spare ? JOBQ__LINKED(spare) : NULL;
    size_t capacity = row->size ? (row->size / 32 + 1) * 32 : 0; /* a zero follows it */
    if (entry) q->spare_count--;
    if (entry && entry->capacity < capacity) {
        jobq__mem_free(entry);
        entry = NULL;
    }
    if (!entry) {
        entry = jobq__mem_new(sizeof *entry + capacity);
        if (!entry) return NULL;
        entry->capacity = capacity;
    }
    entry->row = *row;
    entry->row.payload = row->size ? (const void *)entry->payload : &jobq__tx_nothing;
    if (row->payload) memcpy(entry->payload, row->payload, row->size);
    if (row->size) entry->payload[row->size] = 0;
    entry->kind = kind;
    entry->lane = lane;
    entry->due_ms = jobq__sub(tx->mono_ms,
                              jobq__max(jobq__sub(tx->now_ms, row->run_at_ms), 0));
    entry->queue = NULL;
    entry->key = NULL;
    entry->cancel = 0;
    entry->in_ring = entry->gone = false;
    jobq__list_init(&entry->link);
    jobq__list_init(&entry->claimed);
    return entry;
}

JOBQ__INTERNAL int jobq__tx_entry(struct jobq__tx *tx, const struct jobq__row *row,
                                  struct jobq__kind *kind, struct jobq__lane *lane,
                                  struct jobq__entry **made) {
    struct jobq__entry *entry = jobq__tx_new_entry(tx, row, kind, lane);
    int rc = entry ? JOBQ_OK : JOBQ_NO_MEMORY;
    if (entry && row->size && !row->payload)
        rc = jobq__store_payload(tx->db, row, entry->payload);
    if (rc != JOBQ_OK && entry) jobq__tx_recycle(tx->q, entry);
    *made = rc == JOBQ_OK ? entry : NULL;
    return rc;
}

JOBQ__INTERNAL void jobq__tx_forget_said(struct jobq__entry *entry) {
    if (!entry->said) return;
    jobq__mem_free(entry->said->text);
    jobq__mem_free(entry->said->result);
    jobq__mem_free(entry->said);
    entry->said = NULL;
}

JOBQ__INTERNAL const char *jobq__tx_text(const struct jobq__entry *entry) {
    return entry->said ? entry->said->text : NULL;
}

JOBQ__INTERNAL void jobq__tx_recycle(jobq *q, struct jobq__entry *entry) {
    jobq__list_remove(&entry->link);
    jobq__list_remove(&entry->claimed);
    jobq__tx_forget_said(entry);
    jobq__mem_free(entry->key);
    entry->key = NULL;
    if (entry->capacity > JOBQ__ENTRY_KEEP || q->spare_count >= JOBQ__RING + JOBQ__BATCH) {
        jobq__mem_free(entry);
        return;
    }
    q->spare_count++;
    jobq__list_insert(q->spare.next, &entry->link);
}

JOBQ__INTERNAL void jobq__tx_recycle_all(jobq *q, struct jobq__link *list) {
    while (!jobq__list_empty(list)) jobq__tx_recycle(q, JOBQ__LINKED(list->next));
}

/* ---- Places ---- */

JOBQ__INTERNAL void jobq__tx_hold(struct jobq__entry *entry) {
    jobq__gate_enter(&entry->kind->gate);
    jobq__gate_enter(&entry->lane->gate);
}

JOBQ__INTERNAL void jobq__tx_let(struct jobq__entry *entry) {
    jobq__gate_leave(&entry->kind->gate);
    jobq__gate_leave(&entry->lane->gate);
}

JOBQ__INTERNAL void jobq__tx_gone(struct jobq__entry *entry, bool gone) {
    if (entry->gone == gone) return;
    entry->gone = gone;
    if (gone) jobq__tx_let(entry);
    else jobq__tx_hold(entry);
}

/* Remembers the last job, in order, that this transaction claims of a lane. */
JOBQ__INTERNAL void jobq__tx_note_last(struct jobq__entry *entry) {
    struct jobq__lane *lane = entry->lane;
    if (!lane->last_claimed || jobq__ring_compare(lane->last_claimed, &entry->row) < 0)
        lane->last_claimed = &entry->row;
}
