/* mem.c - the one allocator. */
#include "mem.h"

#include <stdlib.h>

/* A host with an allocator of its own defines all three before it compiles jobq.c. */
#ifndef JOBQ_MALLOC
#define JOBQ_MALLOC malloc
#define JOBQ_REALLOC realloc
#define JOBQ_FREE free
#endif

JOBQ__INTERNAL void *jobq__mem_new(size_t size) {
    void *block = JOBQ_MALLOC(size ? size : 1);
    if (block) memset(block, 0, size);
    return block;
}

JOBQ__INTERNAL void *jobq__mem_resize(void *block, size_t count, size_t size) {
    size_t total;
    if (size && count > SIZE_MAX / size) return NULL;
    total = count * size;
    return JOBQ_REALLOC(block, total > 0 ? total : 1);
}

JOBQ__INTERNAL void *jobq__mem_copy(const void *data, size_t size) {
    char *block;
    if (size == SIZE_MAX) return NULL;
    block = JOBQ_MALLOC(size + 1);
    if (!block) return NULL;
    if (size) memcpy(block, data, size);
    block[size] = 0;
    return block;
}

JOBQ__INTERNAL void jobq__mem_free(void *block) {
    JOBQ_FREE(block);
}
