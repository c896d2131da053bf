/* ring.c - the ordered window of claimed jobs. */
#include "ring.h"

#define JOBQ__RING_ENTRY(pointer) JOBQ__CONTAINER(pointer, struct jobq__entry, link)

JOBQ__INTERNAL void jobq__ring_init(struct jobq__ring *ring) {
    memset(ring, 0, sizeof *ring);
    jobq__list_init(&ring->lanes);
}

JOBQ__INTERNAL int jobq__ring_compare(const struct jobq__row *a, const struct jobq__row *b) {
    if (a->priority != b->priority) return a->priority < b->priority ? -1 : 1;
    if (a->run_at_ms != b->run_at_ms) return a->run_at_ms < b->run_at_ms ? -1 : 1;
    if (a->id != b->id) return a->id < b->id ? -1 : 1;
    return 0;
}

JOBQ__INTERNAL void jobq__ring_put(struct jobq__ring *ring, struct jobq__entry *entry) {
    struct jobq__lane *lane = entry->lane;
    struct jobq__link *place = &lane->ring;
    if (jobq__list_empty(&lane->ring)) jobq__list_append(&ring->lanes, &lane->turn);
    /* From the end: what comes late mostly sorts late. */
    while (place->prev != &lane->ring
           && jobq__ring_compare(&entry->row, &JOBQ__RING_ENTRY(place->prev)->row) < 0)
        place = place->prev;
    jobq__list_insert(place, &entry->link);
    entry->in_ring = true;
    ring->count++;
    ring->bytes += (int64_t)entry->row.size;
}

JOBQ__INTERNAL void jobq__ring_remove(struct jobq__ring *ring, struct jobq__entry *entry) {
    jobq__assert(entry->in_ring);
    jobq__list_remove(&entry->link);
    if (jobq__list_empty(&entry->lane->ring)) jobq__list_remove(&entry->lane->turn);
    entry->in_ring = false;
    ring->count--;
    ring->bytes -= (int64_t)entry->row.size;
    jobq__assert(ring->count >= 0 && ring->bytes >= 0);
}

JOBQ__INTERNAL struct jobq__entry *jobq__ring_take(struct jobq__ring *ring) {
    struct jobq__link *turn = ring->lanes.next;
    struct jobq__entry *entry;
    if (turn == &ring->lanes) return NULL;
    entry = JOBQ__RING_ENTRY(JOBQ__CONTAINER(turn, struct jobq__lane, turn)->ring.next);
    jobq__ring_remove(ring, entry);
    if (!jobq__list_empty(&entry->lane->ring)) {
        jobq__list_remove(turn);
        jobq__list_append(&ring->lanes, turn);
    }
    return entry;
}

JOBQ__INTERNAL struct jobq__entry *jobq__ring_last(const struct jobq__lane *lane) {
    return lane->ring.prev == &lane->ring ? NULL : JOBQ__RING_ENTRY(lane->ring.prev);
}

JOBQ__INTERNAL struct jobq__entry *jobq__ring_end(const struct jobq__ring *ring) {
    const struct jobq__link *turn = ring->lanes.next;
    if (turn == &ring->lanes) return NULL;
    return jobq__ring_last(JOBQ__CONTAINER(turn, const struct jobq__lane, turn));
}

JOBQ__INTERNAL bool jobq__ring_has(const struct jobq__ring *ring, int64_t id) {
    const struct jobq__link *turn, *link;
    for (turn = ring->lanes.next; turn != &ring->lanes; turn = turn->next) {
        const struct jobq__lane *lane = JOBQ__CONTAINER(turn, const struct jobq__lane, turn);
        for (link = lane->ring.next; link != &lane->ring; link = link->next)
            if (JOBQ__CONTAINER(link, const struct jobq__entry, link)->row.id == id) return true;
    }
    return false;
}

#ifdef JOBQ_DEBUG
JOBQ__INTERNAL bool jobq__ring_sound(const struct jobq__ring *ring) {
    const struct jobq__link *turn, *link;
    int64_t bytes = 0;
    int count = 0;
    for (turn = ring->lanes.next; turn != &ring->lanes; turn = turn->next) {
        const struct jobq__lane *lane = JOBQ__CONTAINER(turn, const struct jobq__lane, turn);
        const struct jobq__row *before = NULL;
        if (jobq__list_empty(&lane->ring)) return false;
        for (link = lane->ring.next; link != &lane->ring; link = link->next) {
            const struct jobq__entry *entry = JOBQ__CONTAINER(link, const struct jobq__entry, link);
            if (!entry->in_ring || entry->lane != lane || entry->gone) return false;
            if (before && jobq__ring_compare(before, &entry->row) >= 0) return false;
            before = &entry->row;
            bytes += (int64_t)entry->row.size;
            count++;
        }
    }
    return count == ring->count && bytes == ring->bytes;
}
#endif
