/* registry.c - names to kinds and queues. */
#include "registry.h"

/* FNV-1a, after Fowler, Noll and Vo. */
static size_t jobq__registry_bucket(const char *text) {
    uint32_t hash = 2166136261u;
    while (*text) hash = (hash ^ (unsigned char)*text++) * 16777619u;
    return hash % JOBQ__NAME_BUCKETS;
}

JOBQ__INTERNAL void jobq__registry_fini(struct jobq__registry *registry) {
    size_t i;
    for (i = 0; i < registry->size; i++) jobq__mem_free(registry->by_id[i]);
    jobq__mem_free(registry->by_id);
    memset(registry, 0, sizeof *registry);
}

JOBQ__INTERNAL struct jobq__name *jobq__registry_by_text(const struct jobq__registry *registry,
                                                         const char *text) {
    struct jobq__name *name = registry->buckets[jobq__registry_bucket(text)];
    while (name && strcmp(name->text, text) != 0) name = name->next;
    return name;
}

JOBQ__INTERNAL struct jobq__name *jobq__registry_by_id(const struct jobq__registry *registry,
                                                       int64_t id) {
    if (id <= 0 || (uint64_t)id >= registry->size) return NULL;
    return registry->by_id[id];
}

JOBQ__INTERNAL struct jobq__kind *jobq__registry_kind(const struct jobq__registry *registry,
                                                      int64_t id) {
    struct jobq__name *name = jobq__registry_by_id(registry, id);
    return name ? &name->kind : NULL;
}

JOBQ__INTERNAL struct jobq__lane *jobq__registry_lane(const struct jobq__registry *registry,
                                                      int64_t id) {
    struct jobq__name *name = jobq__registry_by_id(registry, id);
    return name ? &name->lane : NULL;
}

static bool jobq__registry_grow(struct jobq__registry *registry, size_t size) {
    struct jobq__name **by_id;
    size_t i;
    if (size <= registry->size) return true;
    size = JOBQ__MAX(size, registry->size * 2);
    by_id = jobq__mem_resize(registry->by_id, size, sizeof(struct jobq__name *));
    if (!by_id) return false;
    for (i = registry->size; i < size; i++) by_id[i] = NULL;
    registry->by_id = by_id;
    registry->size = size;
    return true;
}

JOBQ__INTERNAL struct jobq__name *jobq__registry_add(struct jobq__registry *registry, int64_t id,
                                                     const char *text) {
    struct jobq__name *name = jobq__registry_by_id(registry, id);
    size_t bucket = jobq__registry_bucket(text);
    if (name) return name;
    if (id <= 0 || id > JOBQ__NAME_ID_MAX) return NULL;
    if (!jobq__registry_grow(registry, (size_t)id + 1)) return NULL;
    name = jobq__mem_new(sizeof *name);
    if (!name) return NULL;
    name->id = id;
    jobq__err_copy_text(name->text, sizeof name->text, text);
    name->kind.id = name->lane.id = id;
    name->lane.text = name->text;
    jobq__gate_init(&name->kind.gate, JOBQ__GATE_WIDE, true);
    jobq__gate_init(&name->lane.gate, JOBQ__GATE_WIDE, false);
    jobq__list_init(&name->kind.parked);
    jobq__list_init(&name->lane.ready);
    jobq__list_init(&name->lane.ring);
    jobq__list_init(&name->lane.turn);
    name->next = registry->buckets[bucket];
    registry->buckets[bucket] = name;
    registry->by_id[id] = name;
    return name;
}
