/* gate.c - what a job passes on its way from waiting to claimed. */
#include "gate.h"

JOBQ__INTERNAL void jobq__gate_init(struct jobq__gate *gate, int32_t capacity, bool shut) {
    jobq__assert(capacity > 0);
    gate->shut = shut;
    gate->capacity = capacity;
    gate->held = 0;
}

JOBQ__INTERNAL void jobq__gate_open(struct jobq__gate *gate) {
    jobq__os_store(&gate->shut, 0);
}

JOBQ__INTERNAL bool jobq__gate_is_shut(const struct jobq__gate *gate) {
    return jobq__os_load(&gate->shut) != 0;
}

JOBQ__INTERNAL int32_t jobq__gate_room(const struct jobq__gate *gate) {
    if (jobq__gate_is_shut(gate)) return 0;
    if (gate->capacity == JOBQ__GATE_WIDE) return JOBQ__GATE_WIDE;
    return JOBQ__MAX(gate->capacity - gate->held, 0);
}

JOBQ__INTERNAL void jobq__gate_enter(struct jobq__gate *gate) {
    jobq__assert(gate->held >= 0 && gate->held < INT32_MAX);
    gate->held++;
}

JOBQ__INTERNAL void jobq__gate_leave(struct jobq__gate *gate) {
    jobq__assert(gate->held > 0);
    gate->held--;
}
