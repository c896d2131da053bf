/* tx_gates.c - gates that have opened, and whose rows were not all moved yet. */
#include "tx_gates.h"

static bool jobq__tx_gates_have(const struct jobq__gates *gates, int32_t lane) {
    int i = 0;
    while (i < gates->count && gates->lanes[i] != lane) i++;
    return i < gates->count;
}

static bool jobq__tx_gates_room_for(struct jobq__gates *gates, int capacity) {
    int32_t *lanes = jobq__mem_resize(gates->lanes, (size_t)capacity, sizeof *lanes);
    if (lanes) gates->lanes = lanes;
    return lanes != NULL;
}

/* One that is not there yet, while there is a place left. */
static int jobq__tx_gates_append(struct jobq__tx *tx, int32_t lane) {
    jobq *q = tx->q;
    int capacity = q->gates_capacity;
    jobq__assert(jobq__stored_stand(lane) == JOBQ__STANDS_AT_GATE);
    jobq__assert(tx->gates.count < JOBQ__OPEN_MAX && !jobq__tx_gates_have(&tx->gates, lane));
    if (tx->gates.count == capacity) {
        capacity = capacity ? capacity * 2 : JOBQ__OPEN_FIRST;
        if (!jobq__tx_gates_room_for(&q->gates, capacity)
            || !jobq__tx_gates_room_for(&tx->gates, capacity)) return JOBQ_NO_MEMORY;
        q->gates_capacity = capacity;
    }
    tx->gates.lanes[tx->gates.count++] = lane;
    tx->gates_changed = true;
    return JOBQ_OK;
}

JOBQ__INTERNAL void jobq__tx_gates_strike(struct jobq__tx *tx, int32_t lane) {
    struct jobq__gates *gates = &tx->gates;
    int i, kept = 0;
    for (i = 0; i < gates->count; i++)
        if (gates->lanes[i] != lane) gates->lanes[kept++] = gates->lanes[i];
    gates->count = kept;
    tx->gates_changed = true;
}

JOBQ__INTERNAL int jobq__tx_gates_read(struct jobq__tx *tx) {
    void *list = NULL;
    size_t size = 0, at = 0;
    int64_t lane = 0;
    int rc;
    jobq__assert(!tx->gates_changed);
    tx->gates.count = 0;
    rc = jobq__store_open_get(tx->db, &list, &size);
    while (rc == JOBQ_OK && at < size) {
        rc = jobq__store_open_next(tx->db, list, size, &at, &lane);
        if (rc != JOBQ_OK) break;
        if (tx->gates.count == JOBQ__OPEN_MAX || jobq__tx_gates_have(&tx->gates, (int32_t)lane))
            rc = jobq__store_damaged(tx->db, JOBQ__DAMAGE_OPEN, 1);
        else rc = jobq__tx_gates_append(tx, (int32_t)lane);
    }
    tx->gates_changed = false;
    jobq__mem_free(list);
    return rc;
}

JOBQ__INTERNAL int jobq__tx_pack(struct jobq__tx *tx, size_t *size, int64_t *previous, int64_t id) {
    if (*size + JOBQ__PACK_MAX > tx->pack_capacity) {
        size_t capacity = tx->pack_capacity ? tx->pack_capacity * 2 : 256;
        void *pack = jobq__mem_resize(tx->pack, capacity, 1);
        if (!pack) return JOBQ_NO_MEMORY;
        tx->pack = pack;
        tx->pack_capacity = capacity;
    }
    *size += jobq__store_pack(tx->pack + *size, *previous, id);
    *previous = id;
    return JOBQ_OK;
}

JOBQ__INTERNAL int jobq__tx_gates_write(struct jobq__tx *tx) {
    size_t size = 0;
    int64_t previous = 0;
    int i, rc = JOBQ_OK;
    if (!tx->gates_changed) return JOBQ_OK;
    for (i = 0; i < tx->gates.count && rc == JOBQ_OK; i++)
        rc = jobq__tx_pack(tx, &size, &previous, tx->gates.lanes[i]);
    return rc == JOBQ_OK ? jobq__store_open_set(tx->db, tx->pack, size) : rc;
}

/* ---- Kinds ---- */

static int jobq__tx_gates_waited_at(struct jobq__tx *tx, int32_t lane, bool *waited_at) {
    jobq__walk *walk = jobq__store_walk_lane(tx->db, lane, 1);
    struct jobq__row row;
    int rc = jobq__store_next(tx->db, walk, &row, waited_at);
    if (walk) jobq__store_end(walk);
    return rc;
}

JOBQ__INTERNAL int jobq__tx_gates_look(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__link *link;
    int rc = JOBQ_OK;
    jobq__assert(!tx->gates_looked);
    for (link = q->opened.next; link != &q->opened && rc == JOBQ_OK; link = link->next) {
        int32_t lane = -(int32_t)JOBQ__CONTAINER(link, struct jobq__kind, opened)->id;
        bool waited_at = false;
        if (tx->gates.count == JOBQ__OPEN_MAX) break; /* its turn comes when others are drained */
        if (!jobq__tx_gates_have(&tx->gates, lane))
            rc = jobq__tx_gates_waited_at(tx, lane, &waited_at);
        if (rc == JOBQ_OK && waited_at) rc = jobq__tx_gates_append(tx, lane);
        tx->gates_looked++;
    }
    return rc;
}

JOBQ__INTERNAL int32_t jobq__tx_gates_first(const struct jobq__tx *tx) {
    if (tx->drain && jobq__tx_gates_have(&tx->gates, tx->drain)) return tx->drain;
    return tx->gates.count && (tx->drain || tx->may_claim) ? tx->gates.lanes[0] : 0;
}

JOBQ__INTERNAL bool jobq__tx_gates_open(const jobq *q, const struct jobq__kind *kind) {
    return !jobq__list_empty(&kind->opened) || jobq__tx_gates_have(&q->gates, -(int32_t)kind->id);
}

JOBQ__INTERNAL size_t jobq__tx_gates_settled(const jobq *q, int32_t *lanes) {
    size_t count = 0;
    int i;
    for (i = 0; i < JOBQ__NAME_BUCKETS; i++) {
        const struct jobq__name *name = q->names.by_id[i];
        for (; name; name = name->next_id) {
            if (jobq__gate_is_shut(&name->kind.gate) || !jobq__list_empty(&name->kind.opened))
                continue;
            if (lanes) lanes[count] = -(int32_t)name->id;
            count++;
        }
    }
    return count;
}

/* ---- Life ---- */

JOBQ__INTERNAL void jobq__tx_gates_reset(struct jobq__tx *tx) {
    const struct jobq__gates *gates = &tx->q->gates;
    tx->drain = 0;
    tx->gates_looked = 0;
    tx->gates_changed = false;
    tx->gates.count = gates->count;
    if (gates->count)
        memcpy(tx->gates.lanes, gates->lanes, (size_t)gates->count * sizeof *gates->lanes);
}

JOBQ__INTERNAL void jobq__tx_gates_applied(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__gates gates = q->gates;
    q->gates = tx->gates;
    tx->gates = gates;
    for (; tx->gates_looked > 0; tx->gates_looked--) jobq__list_remove(q->opened.next);
}
