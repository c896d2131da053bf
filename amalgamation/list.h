/* list.h - an intrusive, circular, doubly linked list. The head is a link of its own. */
#ifndef JOBQ__LIST_H
#define JOBQ__LIST_H

#include "base.h"

struct jobq__link {
    struct jobq__link *next, *prev;
};

static inline void jobq__list_init(struct jobq__link *head) {
    head->next = head->prev = head;
}

static inline bool jobq__list_empty(const struct jobq__link *head) {
    return head->next == head;
}

/* Puts link before place; before the head is the end of the list. */
static inline void jobq__list_insert(struct jobq__link *place, struct jobq__link *link) {
    link->prev = place->prev;
    link->next = place;
    place->prev->next = link;
    place->prev = link;
}

static inline void jobq__list_append(struct jobq__link *head, struct jobq__link *link) {
    jobq__list_insert(head, link);
}

/* Takes link out; it then is a list of its own, so taking it out again does nothing. */
static inline void jobq__list_remove(struct jobq__link *link) {
    link->prev->next = link->next;
    link->next->prev = link->prev;
    jobq__list_init(link);
}

/* Moves everything in from to the end of to. */
static inline void jobq__list_move_all(struct jobq__link *to, struct jobq__link *from) {
    if (jobq__list_empty(from)) return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    jobq__list_init(from);
}

static inline struct jobq__link *jobq__list_pop(struct jobq__link *head) {
    struct jobq__link *first = head->next;
    if (first == head) return NULL;
    jobq__list_remove(first);
    return first;
}

#endif
