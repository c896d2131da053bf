/* tx_claim.c - what fills the ring: promote, park, claim, and the claims row. */
#include "tx.h"

/* Design note.
 *
 * A transaction of the owner's that may claim does so in this order: rows before a gate that has
 * opened go to their lines (drain), rows that are due do (promote), then the ring is filled from
 * the lines, each its share, as far as the line's gate has room. A row at the head of a line that
 * has to wait elsewhere by now (due_lane says so) is moved there, once. Each of these moves is a
 * slice: a batch of rows in a transaction, and fewer on a full disk. */

/* ---- Claim ---- */

/* Marks entries that stand at the end of the claimed list, from first on, by runs of ids. */
static int jobq__tx_claim_entries(struct jobq__tx *tx, struct jobq__link *first) {
    struct jobq__link *link = first;
    int rc = JOBQ_OK;
    while (link != &tx->claimed && rc == JOBQ_OK) {
        struct jobq__entry *entry = JOBQ__LINKED(link);
        int count = 0;
        do {
            link = link->next;
            count++;
        } while (link != &tx->claimed && JOBQ__LINKED(link)->row.id == entry->row.id + count);
        rc = jobq__door_claim(tx, entry, count);
    }
    return rc;
}

/* Rows that a walk meets and that are to be moved when it is over. One walk at a time: the rows are
 * not on the stack, which is the caller's and may be small. */
static int jobq__tx_set_aside(struct jobq__tx *tx, const struct jobq__row *row) {
    if (tx->aside_count == tx->aside_capacity) {
        size_t capacity = tx->aside_capacity ? tx->aside_capacity * 2 : 8;
        void *aside = jobq__mem_resize(tx->aside, capacity, sizeof *tx->aside);
        if (!aside) return JOBQ_NO_MEMORY;
        tx->aside = aside;
        tx->aside_capacity = capacity;
    }
    tx->aside[tx->aside_count] = *row;
    tx->aside[tx->aside_count++].payload = NULL;
    return JOBQ_OK;
}

/* A row of a line that cannot be claimed from there: it has to wait before a gate by now, or it
 * died too often. 0: it can, else as how many moves it counts to take it away. */
static int jobq__tx_unfit(struct jobq__tx *tx, const struct jobq__lane *lane,
                          const struct jobq__row *row) {
    if (jobq__tx_due_lane(tx, row) != lane->id) return 1;
    return jobq__tx_spent(tx, row) ? JOBQ__END_MOVES : 0;
}

/* To another lane, and in order there. */
static int jobq__tx_move(struct jobq__tx *tx, const struct jobq__row *row, bool due) {
    struct jobq__edge edge;
    int32_t lane = jobq__tx_due_lane(tx, row);
    int rc = due || jobq__tx_is_due(tx, row) ? jobq__tx_know(tx, lane < 0 ? -lane : lane)
                                             : JOBQ_OK;
    if (rc != JOBQ_OK) return rc;
    jobq__door_begin(&edge, row, JOBQ__WAITING);
    edge.due = due;
    return jobq__tx_wait(tx, &edge);
}

static int jobq__tx_move_or_fail(struct jobq__tx *tx, const struct jobq__lane *lane,
                                 const struct jobq__row *row) {
    static const char text[] = "crashed: the process died while this job ran, too often";
    if (jobq__tx_due_lane(tx, row) != lane->id) return jobq__tx_move(tx, row, true);
    /* The crash itself was counted when it was found out. */
    return jobq__tx_end(tx, row, JOBQ__FAILED, text, JOBQ_CRASHED);
}

/* Claims up to limit rows of a lane; *moved counts what was parked or failed. */
static int jobq__tx_claim_lane(struct jobq__tx *tx, struct jobq__lane *lane, int limit,
                               int *claimed, int *moved) {
    jobq *q = tx->q;
    struct jobq__link *before = tx->claimed.prev;
    jobq__walk *walk = jobq__store_walk_lane(tx->db, lane->id, limit);
    struct jobq__row row;
    bool more = true, out_of_room = false;
    size_t i;
    int rc = JOBQ_OK, moves;
    jobq__assert(tx->may_claim && limit > 0 && limit <= jobq__gate_room(&lane->gate));
    tx->aside_count = 0;
    *claimed = *moved = 0;
    while (*claimed + *moved < limit && !out_of_room) {
        struct jobq__entry *entry;
        rc = jobq__store_next(tx->db, walk, &row, &more);
        if (rc != JOBQ_OK || !more) break;
        moves = jobq__tx_unfit(tx, lane, &row);
        if (moves) {
            if (tx->moves <= 0) break;
            tx->moves -= moves;
            rc = jobq__tx_set_aside(tx, &row);
            if (rc != JOBQ_OK) break;
            ++*moved;
            continue;
        }
        rc = jobq__tx_entry(tx, &row, jobq__registry_kind(&q->names, row.kind), lane, &entry);
        if (jobq__tx_can_wait(tx, rc)) {
            tx->starved = true;
            rc = JOBQ_OK;
            break;
        }
        if (rc != JOBQ_OK) break;
        jobq__tx_claimed(tx, entry);
        ++*claimed;
        out_of_room = tx->bytes <= 0;
    }
    if (walk) jobq__store_end(walk);
    jobq__assert(*claimed + *moved <= limit && *moved == (int)tx->aside_count);
    if (rc == JOBQ_OK && !more) jobq__list_remove(&lane->ready);
    if (rc == JOBQ_OK) rc = jobq__tx_claim_entries(tx, before->next);
    for (i = 0; i < tx->aside_count && rc == JOBQ_OK; i++)
        rc = jobq__tx_move_or_fail(tx, lane, &tx->aside[i]);
    return rc;
}

/* Fills the ring from the lanes with ready rows, each its share, the next one first next time. */
static int jobq__tx_claim(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__link *link;
    bool progress = true;
    int rc = JOBQ_OK;
    while (progress && !tx->starved && rc == JOBQ_OK && tx->room > 0 && tx->bytes > 0) {
        int lanes = 0, share;
        progress = false;
        for (link = q->ready.next; link != &q->ready; link = link->next) lanes++;
        share = lanes ? JOBQ__MAX(tx->room / lanes, 1) : 0;
        while (lanes-- > 0 && rc == JOBQ_OK && tx->room > 0 && tx->bytes > 0) {
            struct jobq__lane *lane = JOBQ__CONTAINER(q->ready.next, struct jobq__lane, ready);
            int limit = (int)jobq__min(jobq__min(share, tx->room), jobq__gate_room(&lane->gate));
            int claimed = 0, moved = 0;
            if (limit > 0) rc = jobq__tx_claim_lane(tx, lane, limit, &claimed, &moved);
            progress = progress || claimed || moved;
            if (jobq__list_empty(&lane->ready)) continue;
            jobq__list_remove(&lane->ready);
            jobq__list_append(&q->ready, &lane->ready);
        }
    }
    return rc;
}

/* ---- Promote ---- */

/* Sets up to so many rows aside; *more: there may be others. */
static int jobq__tx_walk(struct jobq__tx *tx, jobq__walk *walk, int batch, bool *more) {
    struct jobq__row row;
    int rc = JOBQ_OK;
    *more = true;
    while (rc == JOBQ_OK && batch-- > 0) {
        rc = jobq__store_next(tx->db, walk, &row, more);
        if (rc != JOBQ_OK || !*more) break;
        rc = jobq__tx_set_aside(tx, &row);
    }
    if (walk) jobq__store_end(walk);
    return rc;
}

/* Due rows become ready; if all of them fit into the ring and nothing stands before them they are
 * claimed from where they are, without the write in between. */
static int jobq__tx_promote_row(struct jobq__tx *tx, const struct jobq__row *row, bool fits) {
    struct jobq__lane *lane = jobq__registry_lane(&tx->q->names, row->queue);
    /* Not if its time has to be written as one of the wall. */
    bool as_it_stands = row->lane != JOBQ__LANE_OWN_TIME || !jobq__tx_offset(tx);
    if (fits && as_it_stands && lane && jobq__tx_takes_now(tx, lane)
        && jobq__tx_due_lane(tx, row) == lane->id) {
        int rc = jobq__tx_claim_row(tx, lane, row->id);
        if (!jobq__tx_can_wait(tx, rc)) return rc;
    }
    return jobq__tx_move(tx, row, false);
}

/* Those from first on were set aside after the others, which are in order by themselves, as they
 * are: the earliest of all come first, and what is more than a batch is left for the next. */
static void jobq__tx_merge_aside(struct jobq__tx *tx, size_t first, size_t most) {
    size_t i;
    for (i = first; i < tx->aside_count; i++) {
        struct jobq__row row = tx->aside[i];
        int64_t at_ms = jobq__tx_wall_of(tx, &row);
        size_t at = i;
        for (; at; at--) {
            int64_t other_ms = jobq__tx_wall_of(tx, &tx->aside[at - 1]);
            if (other_ms < at_ms || (other_ms == at_ms && tx->aside[at - 1].id < row.id)) break;
            tx->aside[at] = tx->aside[at - 1];
        }
        tx->aside[at] = row;
    }
    tx->aside_count = JOBQ__MIN(tx->aside_count, most);
}

/* Sets aside what is due, by either clock. */
static int jobq__tx_walk_due(struct jobq__tx *tx, bool *due) {
    int batch = jobq__disk_batch(tx->q, JOBQ__BATCH), by, rc = JOBQ_OK;
    *due = false;
    tx->aside_count = 0;
    for (by = 0; by < JOBQ__DUE_LANES && rc == JOBQ_OK; by++) {
        int64_t now_ms = by == JOBQ__DUE_BY_OWN ? tx->own_ms : tx->now_ms;
        size_t before = tx->aside_count;
        bool more;
        if (!jobq__tx_has_come(tx, by, tx->due.at_ms[by])) continue;
        *due = tx->due_stale[by] = true;
        rc = jobq__tx_walk(tx, jobq__store_due(tx->db, by, now_ms, batch), batch, &more);
        if (rc == JOBQ_OK && before) jobq__tx_merge_aside(tx, before, (size_t)batch);
    }
    return rc;
}

static int jobq__tx_promote(struct jobq__tx *tx) {
    bool due, fits;
    size_t i;
    int by, rc = jobq__tx_walk_due(tx, &due);
    if (!due) return rc;
    fits = tx->room > 0 && tx->aside_count <= (size_t)tx->room;
    for (i = 0; i < tx->aside_count && rc == JOBQ_OK; i++)
        rc = jobq__tx_promote_row(tx, &tx->aside[i], fits);
    /* Or else it would be due for ever. */
    if (rc != JOBQ_OK || tx->aside_count) return rc;
    rc = jobq__store_next_dues(tx->db, &tx->due);
    for (by = 0; by < JOBQ__DUE_LANES && rc == JOBQ_OK; by++)
        if (jobq__tx_has_come(tx, by, tx->due.at_ms[by]))
            rc = jobq__store_damaged(tx->db, JOBQ__DAMAGE_ORDER, 0);
    return rc;
}

/* Up to *left of those who stand before a gate, as far as it has room. */
static int jobq__tx_drain_lane(struct jobq__tx *tx, int32_t lane, int *left) {
    const struct jobq__kind *kind = jobq__registry_kind(&tx->q->names, -(int64_t)lane);
    int limit = (int)jobq__min(kind ? jobq__gate_room(&kind->gate) : 0, *left);
    bool more = false;
    size_t i;
    int rc = JOBQ_OK;
    jobq__assert(jobq__stored_stand(lane) == JOBQ__STANDS_AT_GATE);
    tx->aside_count = 0;
    if (limit > 0) rc = jobq__tx_walk(tx, jobq__store_walk_lane(tx->db, lane, limit), limit, &more);
    /* Their time has come, even if the clock was set back since they were parked. */
    for (i = 0; i < tx->aside_count && rc == JOBQ_OK; i++)
        rc = jobq__tx_move(tx, &tx->aside[i], true);
    if (rc == JOBQ_OK && !more) jobq__tx_gates_strike(tx, lane);
    *left -= (int)tx->aside_count + 1;
    return rc;
}

/* A slice of those who stand before gates that have opened. */
static int jobq__tx_drain(struct jobq__tx *tx) {
    int left = jobq__disk_batch(tx->q, JOBQ__BATCH), rc = JOBQ_OK;
    int32_t lane;
    while (rc == JOBQ_OK && left > 0 && (lane = jobq__tx_gates_first(tx)) != 0)
        rc = jobq__tx_drain_lane(tx, lane, &left);
    return rc;
}

/* Which lanes have rows: asked of the table at open, and when others may have written. */
static int jobq__tx_look_lanes(struct jobq__tx *tx) {
    jobq *q = tx->q;
    int64_t lane = JOBQ__LANE_SCHEDULED;
    bool again = false;
    int rc;
    for (;;) {
        struct jobq__lane *line;
        rc = jobq__store_lane_after(tx->db, lane, &lane);
        if (rc == JOBQ_OK && lane > 0) rc = jobq__tx_know(tx, lane);
        if (rc != JOBQ_OK || lane <= 0) break;
        line = jobq__tx_line(tx, lane);
        /* One whose name was lost is a lane when the new one is committed. */
        if (!line) again = true;
        else if (jobq__list_empty(&line->ready)) jobq__list_append(&q->ready, &line->ready);
    }
    if (rc == JOBQ_OK) rc = jobq__store_all_due(tx->db);
    if (rc == JOBQ_OK) rc = jobq__store_next_dues(tx->db, &tx->due);
    if (rc == JOBQ_OK) q->look_lanes = again;
    return rc;
}

/* ---- The claims row ---- */

JOBQ__INTERNAL int jobq__tx_touch(struct jobq__tx *tx) {
    jobq *q = tx->q;
    struct jobq__link *link;
    size_t size = 0;
    int64_t previous = 0;
    int rc = JOBQ_OK;
    for (link = q->claimed.next; link != &q->claimed && rc == JOBQ_OK; link = link->next)
        if (!JOBQ__CLAIMED_ENTRY(link)->gone)
            rc = jobq__tx_pack(tx, &size, &previous, JOBQ__CLAIMED_ENTRY(link)->row.id);
    for (link = tx->claimed.next; link != &tx->claimed && rc == JOBQ_OK; link = link->next)
        rc = jobq__tx_pack(tx, &size, &previous, JOBQ__LINKED(link)->row.id);
    if (rc != JOBQ_OK) return rc;
    tx->touched = true;
    return jobq__store_claims_set(tx->db, tx->pack, size, tx->last_id, tx->counted,
                                  jobq__tx_offset(tx), tx->now_ms);
}

static int jobq__tx_look_stale(struct jobq__tx *tx) {
    int by, rc = JOBQ_OK;
    for (by = 0; by < JOBQ__DUE_LANES && rc == JOBQ_OK; by++)
        if (tx->due_stale[by]) rc = jobq__store_next_due(tx->db, by, &tx->due.at_ms[by]);
    return rc;
}

/* The wall was set: all that stands by own time is right again when that is known. What clients
 * have stored is older than the step, and must not be taken for what came after the claims row. */
static int jobq__tx_step(struct jobq__tx *tx) {
    int64_t id;
    int rc;
    if (tx->q->client || jobq__tx_offset(tx) == tx->q->own.stored_ms) return JOBQ_OK;
    tx->claims_changed = true;
    rc = jobq__store_max_id(tx->db, &id);
    if (rc == JOBQ_OK) tx->last_id = JOBQ__MAX(tx->last_id, id);
    return rc;
}

JOBQ__INTERNAL int jobq__tx_fill(struct jobq__tx *tx) {
    jobq *q = tx->q;
    int rc = JOBQ_OK;
    if (q->look_lanes && !q->client) rc = jobq__tx_gates_read(tx);
    /* Not while there are names that a rollback would take away. */
    if (rc == JOBQ_OK && q->look_lanes && !q->client && !tx->new_count)
        rc = jobq__tx_look_lanes(tx);
    if (rc == JOBQ_OK && !jobq__list_empty(&q->opened)) rc = jobq__tx_gates_look(tx);
    if (rc == JOBQ_OK && tx->gates.count) rc = jobq__tx_drain(tx);
    if (rc == JOBQ_OK && tx->may_claim) rc = jobq__tx_promote(tx);
    if (rc == JOBQ_OK && tx->may_claim) rc = jobq__tx_claim(tx);
    if (rc == JOBQ_OK) rc = jobq__tx_look_stale(tx);
    if (rc == JOBQ_OK) rc = jobq__tx_know_claimed(tx);
    if (rc == JOBQ_OK) rc = jobq__tx_step(tx);
    if (rc == JOBQ_OK) rc = jobq__tx_count(tx);
    if (rc == JOBQ_OK && q->recount && !tx->of_job) {
        rc = jobq__tx_count_anew(tx);
        tx->recounts = tx->claims_changed = true;
    }
    if (rc == JOBQ_OK && tx->claims_changed) rc = jobq__tx_touch(tx);
    jobq__assert(rc != JOBQ_OK || tx->touched || !tx->claims_changed);
    if (rc == JOBQ_OK) rc = jobq__tx_gates_write(tx);
    if (rc == JOBQ_OK) rc = jobq__event_reserve(&q->events, tx->changes_count);
    return rc;
}
