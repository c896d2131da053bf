/* state.c - the job's states and legal edges. */
#include "state.h"

/*            +---------------- retry, snooze, reschedule, give back, recover ------+
 *            v                                                                     |
 *  new -> WAITING ------------------------- claim ---------------------------> CLAIMED
 *   |        |  ^                                                                |
 *   |        |  +---- retry_now ---- FAILED, CANCELLED <---- settle, recover ----+--> DONE
 *   |        +------------ cancel ------> CANCELLED
 *   +------ claimed at once when the pool has room ------> CLAIMED
 *
 *  WAITING -> WAITING: promoted, parked, unparked.  WAITING -> FAILED: crashed too often.
 *
 * The door (door.c) is who writes states while the queue runs, and asserts each edge here; there is
 * no second table. Only the doctor sets states beside it (audit_rules.c): what stands in a row that
 * has to be put right is no state that it came to by an edge. */

static const unsigned jobq__state_edges[] = {
    [JOBQ__WAITING] = JOBQ__EDGE(JOBQ__WAITING) | JOBQ__EDGE(JOBQ__CLAIMED)
                    | JOBQ__EDGE(JOBQ__CANCELLED) | JOBQ__EDGE(JOBQ__FAILED),
    [JOBQ__CLAIMED] = JOBQ__EDGE(JOBQ__WAITING) | JOBQ__EDGE(JOBQ__DONE)
                    | JOBQ__EDGE(JOBQ__FAILED) | JOBQ__EDGE(JOBQ__CANCELLED),
    [JOBQ__DONE] = 0,
    [JOBQ__FAILED] = JOBQ__EDGE(JOBQ__WAITING),
    [JOBQ__CANCELLED] = JOBQ__EDGE(JOBQ__WAITING),
    [JOBQ__NEW] = JOBQ__EDGE(JOBQ__WAITING) | JOBQ__EDGE(JOBQ__CLAIMED),
};

JOBQ__INTERNAL bool jobq__state_legal(int from, int to) {
    return JOBQ__LEGAL(jobq__state_edges, from, to);
}

JOBQ__INTERNAL bool jobq__state_terminal(int state) {
    return state == JOBQ__DONE || state == JOBQ__FAILED || state == JOBQ__CANCELLED;
}

JOBQ__INTERNAL jobq_state jobq__state_public(int state, bool started) {
    switch (state) {
    case JOBQ__WAITING: return JOBQ_STATE_PENDING;
    case JOBQ__CLAIMED: return started ? JOBQ_STATE_RUNNING : JOBQ_STATE_PENDING;
    case JOBQ__DONE: return JOBQ_STATE_DONE;
    case JOBQ__FAILED: return JOBQ_STATE_FAILED;
    case JOBQ__CANCELLED: return JOBQ_STATE_CANCELLED;
    default: return JOBQ_STATE_NONE;
    }
}

JOBQ_API const char *jobq_state_name(jobq_state state) {
    static const char *const names[] = {
        [JOBQ_STATE_NONE] = "none",       [JOBQ_STATE_PENDING] = "pending",
        [JOBQ_STATE_RUNNING] = "running", [JOBQ_STATE_DONE] = "done",
        [JOBQ_STATE_FAILED] = "failed",   [JOBQ_STATE_CANCELLED] = "cancelled",
    };
    if ((int)state < 0 || (size_t)state >= JOBQ__COUNT(names)) return "?";
    return names[state];
}

JOBQ_API const char *jobq_outcome_name(jobq_outcome outcome) {
    static const char *const names[] = {
        [JOBQ_OUTCOME_NONE] = "none",      [JOBQ_DONE] = "done",
        [JOBQ_RETRY] = "retry",            [JOBQ_FAIL] = "fail",
        [JOBQ_RESCHEDULE] = "reschedule",  [JOBQ_SNOOZE] = "snooze",
        [JOBQ_CANCELLED] = "cancelled",    [JOBQ_CRASHED] = "crashed",
        [JOBQ_STOPPED] = "stopped",
    };
    if ((int)outcome < 0 || (size_t)outcome >= JOBQ__COUNT(names)) return "?";
    return names[outcome];
}
