/* registry.c - names to kinds and queues. */
#include "registry.h"

/* FNV-1a, after Fowler, Noll and Vo. */
static size_t jobq__registry_bucket(const char *text) {
    uint32_t hash = 2166136261u;
    while (*text) hash = (hash ^ (unsigned char)*text++) * 16777619u;
    return hash % JOBQ__NAME_BUCKETS;
}

/* They are given one after the other. */
static size_t jobq__registry_place(int64_t id) {
    return (size_t)id % JOBQ__NAME_BUCKETS;
}

JOBQ__INTERNAL void jobq__registry_fini(struct jobq__registry *registry) {
    size_t i;
    for (i = 0; i < JOBQ__NAME_BUCKETS; i++) {
        struct jobq__name *name = registry->by_id[i];
        while (name) {
            struct jobq__name *next = name->next_id;
            jobq__mem_free(name);
            name = next;
        }
    }
    memset(registry, 0, sizeof *registry);
}

JOBQ__INTERNAL struct jobq__name *jobq__registry_by_text(const struct jobq__registry *registry,
                                                         int what, const char *text) {
    struct jobq__name *name = registry->by_text[jobq__registry_bucket(text)], *any = NULL;
    for (; name; name = name->next) {
        if (strcmp(name->text, text) != 0) continue;
        if (name->what == what) return name;
        if (name->what == JOBQ__NAME_ANY) any = name;
    }
    return any;
}

JOBQ__INTERNAL struct jobq__name *jobq__registry_by_id(const struct jobq__registry *registry,
                                                       int64_t id) {
    struct jobq__name *name;
    if (id <= 0) return NULL;
    name = registry->by_id[jobq__registry_place(id)];
    while (name && name->id != id) name = name->next_id;
    return name;
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

JOBQ__INTERNAL struct jobq__name *jobq__registry_add(struct jobq__registry *registry, int64_t id,
                                                     int what, const char *text) {
    struct jobq__name *name = jobq__registry_by_id(registry, id);
    size_t bucket = jobq__registry_bucket(text), place = jobq__registry_place(id);
    if (name) return name;
    if (id <= 0 || id > JOBQ__NAME_ID_MAX) return NULL;
    name = jobq__mem_new(sizeof *name);
    if (!name) return NULL;
    name->id = id;
    name->what = what;
    jobq__err_copy_text(name->text, sizeof name->text, text);
    name->kind.id = name->lane.id = id;
    name->lane.text = name->text;
    jobq__gate_init(&name->kind.gate, JOBQ__GATE_WIDE, true);
    jobq__gate_init(&name->lane.gate, JOBQ__GATE_WIDE, false);
    jobq__list_init(&name->kind.opened);
    jobq__list_init(&name->lane.ready);
    jobq__list_init(&name->lane.ring);
    jobq__list_init(&name->lane.turn);
    name->next = registry->by_text[bucket];
    registry->by_text[bucket] = name;
    name->next_id = registry->by_id[place];
    registry->by_id[place] = name;
    return name;
}
