/* state.c - the job's states: the documented edges, no other, and the public names. */

#include "test.h"
#include "unit.h"

static const struct {
    int from, to;
    const char *why;
} edges[] = {
    {JOBQ__NEW, JOBQ__WAITING, "enqueue"},
    {JOBQ__NEW, JOBQ__CLAIMED, "enqueue, claimed at once"},
    {JOBQ__WAITING, JOBQ__WAITING, "promote, park, unpark"},
    {JOBQ__WAITING, JOBQ__CLAIMED, "claim"},
    {JOBQ__WAITING, JOBQ__CANCELLED, "cancel"},
    {JOBQ__WAITING, JOBQ__FAILED, "crashed too often"},
    {JOBQ__CLAIMED, JOBQ__WAITING, "retry, snooze, reschedule, give back, recover"},
    {JOBQ__CLAIMED, JOBQ__DONE, "settle"},
    {JOBQ__CLAIMED, JOBQ__FAILED, "settle"},
    {JOBQ__CLAIMED, JOBQ__CANCELLED, "settle, cancelled while it ran"},
    {JOBQ__FAILED, JOBQ__WAITING, "retry_now"},
    {JOBQ__CANCELLED, JOBQ__WAITING, "retry_now"},
};

static const char *edge(int from, int to) {
    for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++)
        if (edges[i].from == from && edges[i].to == to) return edges[i].why;
    return NULL;
}

/* Goal: the documented edges are legal and all others are not. Method: every pair, numbers that
 * are no state included. */
TEST(every_pair_of_states) {
    for (int from = -2; from <= JOBQ__NEW + 2; from++) {
        for (int to = -2; to <= JOBQ__NEW + 2; to++) {
            const char *why = edge(from, to);
            if (!CHECK(jobq__state_legal(from, to) == (why != NULL)))
                test_note("from %d to %d: %s", from, to, why ? why : "not documented");
        }
    }
    CHECK(!jobq__state_legal(INT32_MIN, JOBQ__WAITING));
    CHECK(!jobq__state_legal(JOBQ__WAITING, INT32_MAX));
}

/* Goal: a terminal state is one that no outcome leaves. Method: what is terminal cannot be claimed
 * or settled, and done is final. */
TEST(terminal_states_are_left_by_hand_only) {
    for (int state = -2; state <= JOBQ__NEW + 2; state++) {
        bool terminal = state == JOBQ__DONE || state == JOBQ__FAILED || state == JOBQ__CANCELLED;
        CHECK_INT(jobq__state_terminal(state), terminal);
        if (!terminal) continue;
        for (int to = JOBQ__CLAIMED; to <= JOBQ__NEW; to++)
            CHECK(!jobq__state_legal(state, to));
    }
    CHECK(!jobq__state_legal(JOBQ__DONE, JOBQ__WAITING));
}

/* Goal: nothing comes back to before its row existed. Method: no edge leads to new. */
TEST(nothing_becomes_new) {
    for (int from = 0; from <= JOBQ__NEW; from++) CHECK(!jobq__state_legal(from, JOBQ__NEW));
}

/* Goal: every state that is not terminal can reach one. Method: walk the edges from each state. */
TEST(every_state_leads_to_an_end) {
    for (int start = 0; start <= JOBQ__NEW; start++) {
        bool reached[JOBQ__NEW + 1] = {false}, grown = true, ends = false;
        reached[start] = true;
        while (grown) {
            grown = false;
            for (int from = 0; from <= JOBQ__NEW; from++)
                for (int to = 0; to <= JOBQ__NEW; to++)
                    if (reached[from] && !reached[to] && jobq__state_legal(from, to))
                        grown = reached[to] = true;
        }
        for (int state = 0; state <= JOBQ__NEW; state++)
            ends = ends || (reached[state] && jobq__state_terminal(state));
        CHECK(ends);
    }
}

/* Goal: what callers are told. Method: every state, started or not. */
TEST(public_names_of_states) {
    static const struct {
        int state;
        jobq_state waits, runs; /* not started, started */
    } rows[] = {
        {JOBQ__WAITING, JOBQ_STATE_PENDING, JOBQ_STATE_PENDING},
        {JOBQ__CLAIMED, JOBQ_STATE_PENDING, JOBQ_STATE_RUNNING},
        {JOBQ__DONE, JOBQ_STATE_DONE, JOBQ_STATE_DONE},
        {JOBQ__FAILED, JOBQ_STATE_FAILED, JOBQ_STATE_FAILED},
        {JOBQ__CANCELLED, JOBQ_STATE_CANCELLED, JOBQ_STATE_CANCELLED},
        {JOBQ__NEW, JOBQ_STATE_NONE, JOBQ_STATE_NONE},
        {-1, JOBQ_STATE_NONE, JOBQ_STATE_NONE},
        {JOBQ__NEW + 1, JOBQ_STATE_NONE, JOBQ_STATE_NONE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        CHECK_INT(jobq__state_public(rows[i].state, false), rows[i].waits);
        CHECK_INT(jobq__state_public(rows[i].state, true), rows[i].runs);
    }
}

/* Goal: the numbers are part of the file format. Method: pinned. */
TEST(stored_numbers_never_change) {
    CHECK_INT(JOBQ__WAITING, 0);
    CHECK_INT(JOBQ__CLAIMED, 1);
    CHECK_INT(JOBQ__DONE, 2);
    CHECK_INT(JOBQ__FAILED, 3);
    CHECK_INT(JOBQ__CANCELLED, 4);
    CHECK_INT(JOBQ__LANE_SCHEDULED, 0);
    CHECK_INT(JOBQ__LANE_SUSPECT, 1);
    CHECK(JOBQ__LANE_NONE < 0);
}

TEST_MAIN(every_pair_of_states, terminal_states_are_left_by_hand_only, nothing_becomes_new,
          every_state_leads_to_an_end, public_names_of_states, stored_numbers_never_change)
