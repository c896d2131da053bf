/* mem.h - the one allocator. */
#ifndef JOBQ__MEM_H
#define JOBQ__MEM_H

#include "limits.h"

/* Zeroed memory, or NULL. Zero bytes give a pointer that can be freed. */
JOBQ__INTERNAL void *jobq__mem_new(size_t size);

/* Resizes to count elements of size bytes; NULL leaves the old block as it was. */
JOBQ__INTERNAL void *jobq__mem_resize(void *block, size_t count, size_t size);

/* A copy of size bytes with a zero byte behind it, or NULL. */
JOBQ__INTERNAL void *jobq__mem_copy(const void *data, size_t size);

JOBQ__INTERNAL void jobq__mem_free(void *block);

#endif
