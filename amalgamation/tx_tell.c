/* tx_tell.c - what is to be told of a transaction: events, and who waits for a job. */
#include "tx_tell.h"
#include "wake.h"

/* ---- Noted ---- */

JOBQ__INTERNAL int jobq__tx_key(struct jobq__tx *tx, const struct jobq__row *row, char *key) {
    jobq *q = tx->q;
    key[0] = 0;
    if (!q->events.call || !(row->side & JOBQ__SIDE_KEY)) return JOBQ_OK;
    return jobq__store_key_text(tx->db, row->id, key);
}

JOBQ__INTERNAL int jobq__tx_change(struct jobq__tx *tx, jobq_event *event,
                                   const struct jobq__row *row, const char *key, const char *text) {
    jobq *q = tx->q;
    struct jobq__change *change;
    /* Nobody may have asked for the names since the queue was opened. */
    int rc = q->events.call ? jobq__tx_know(tx, row->kind) : JOBQ_OK;
    if (rc == JOBQ_OK && q->events.call) rc = jobq__tx_know(tx, row->queue);
    if (rc != JOBQ_OK) return rc;
    if (tx->changes_count == tx->changes_capacity) {
        size_t capacity = tx->changes_capacity ? tx->changes_capacity * 2
                                                : JOBQ__CHANGES_FIRST;
        struct jobq__change *changes = jobq__mem_resize(tx->changes, capacity, sizeof *changes);
        if (!changes) return JOBQ_NO_MEMORY;
        tx->changes = changes;
        tx->changes_capacity = capacity;
    }
    change = &tx->changes[tx->changes_count++];
    event->key = q->events.call ? key : NULL;
    event->message = q->events.call ? text : NULL;
    jobq__event_make(&change->told, event);
    change->kind = row->kind;
    change->queue = row->queue;
    change->serial = 0;
    change->text = text;
    return JOBQ_OK;
}

JOBQ__INTERNAL void jobq__tx_drop_changes(struct jobq__tx *tx, size_t from) {
    while (tx->changes_count > from) jobq__event_drop(&tx->changes[--tx->changes_count].told);
    if (tx->changes_count || tx->changes_capacity <= JOBQ__EVENTS_KEEP) return;
    jobq__mem_free(tx->changes);
    tx->changes = NULL;
    tx->changes_capacity = 0;
}

static int jobq__tx_know_entry(struct jobq__tx *tx, struct jobq__entry *entry) {
    jobq *q = tx->q;
    char key[JOBQ_KEY_MAX + 1];
    int rc = jobq__tx_know(tx, entry->row.queue);
    if (rc == JOBQ_OK) rc = jobq__tx_key(tx, &entry->row, key);
    if (rc != JOBQ_OK) return rc;
    entry->queue = jobq__registry_by_id(&q->names, entry->row.queue);
    if (key[0]) entry->key = jobq__mem_copy(key, strlen(key));
    return JOBQ_OK;
}

/* The thread that starts a run tells of it without asking the database. */
JOBQ__INTERNAL int jobq__tx_know_claimed(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__link *link;
    int rc = JOBQ_OK;
    if (!q->events.call) return rc;
    for (link = tx->claimed.next; link != &tx->claimed && rc == JOBQ_OK; link = link->next)
        rc = jobq__tx_know_entry(tx, JOBQ__LINKED(link));
    return rc;
}

/* ---- Told, after COMMIT ---- */

JOBQ__INTERNAL void jobq__tx_emit(struct jobq__tx *tx) {
    jobq *q = tx->q;
    size_t i;
    for (i = 0; i < tx->changes_count; i++) {
        struct jobq__change *change = &tx->changes[i];
        const struct jobq__name *kind = jobq__registry_by_id(&q->names, change->kind);
        const struct jobq__name *queue = jobq__registry_by_id(&q->names, change->queue);
        change->told.event.kind = kind ? kind->text : "";
        change->told.event.queue = queue ? queue->text : "";
        change->serial = jobq__event_add(&q->events, &change->told, true);
    }
    jobq__event_commit(&q->events, false);
}

/* Tells those who wait for the job; when it has an event, that has to be told first. */
static void jobq__tx_tell(jobq *q, int64_t id, int state, int attempt, const char *text,
                          uint64_t serial) {
    struct jobq__link *link;
    if (!jobq__state_terminal(state)) return;
    for (link = q->pool.waiters.next; link != &q->pool.waiters; link = link->next) {
        struct jobq__waiter *waiter = JOBQ__CONTAINER(link, struct jobq__waiter, link);
        if (waiter->id != id || waiter->done || waiter->ended) continue;
        waiter->done = !serial;
        waiter->ended = true;
        waiter->serial = serial;
        waiter->info.id = id;
        waiter->info.state = jobq__state_public(state, false);
        waiter->info.attempt = attempt;
        jobq__err_copy_text(waiter->info.error, sizeof waiter->info.error, text ? text : "");
        jobq__wake_waiter(q, waiter);
    }
}

JOBQ__INTERNAL void jobq__tx_tell_waiters(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__link *link;
    size_t i;
    if (jobq__list_empty(&q->pool.waiters)) return;
    for (link = tx->settled.next; link != &tx->settled; link = link->next) {
        const struct jobq__entry *entry = JOBQ__LINKED(link);
        if (entry->verdict.outcome != JOBQ_OUTCOME_NONE && !q->events.call)
            jobq__tx_tell(q, entry->row.id, entry->verdict.state, entry->row.attempt,
                          jobq__tx_text(entry), 0);
    }
    for (i = 0; i < tx->changes_count; i++) {
        const struct jobq__change *change = &tx->changes[i];
        const jobq_event *event = &change->told.event;
        int state = event->to == JOBQ_STATE_CANCELLED ? JOBQ__CANCELLED
                  : event->to == JOBQ_STATE_FAILED ? JOBQ__FAILED
                  : event->to == JOBQ_STATE_DONE ? JOBQ__DONE : JOBQ__WAITING;
        jobq__tx_tell(q, event->id, state, event->attempt, change->text, change->serial);
    }
}
