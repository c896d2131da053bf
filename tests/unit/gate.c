/* gate.c - one gate by itself: who passes, and how many more may. */
#include "test.h"
#include "unit.h"

/* Goal: a gate that is shut lets nobody pass, whatever its capacity; one that opens does. Method:
 * both, wide and narrow. */
TEST(shut_and_open) {
    struct jobq__gate narrow, wide;
    jobq__gate_init(&narrow, 2, true);
    jobq__gate_init(&wide, JOBQ__GATE_WIDE, true);
    CHECK(jobq__gate_is_shut(&narrow));
    CHECK_INT(jobq__gate_room(&narrow), 0);
    CHECK_INT(jobq__gate_room(&wide), 0);
    jobq__gate_open(&narrow);
    jobq__gate_open(&wide);
    CHECK(!jobq__gate_is_shut(&narrow));
    CHECK_INT(jobq__gate_room(&narrow), 2);
    CHECK_INT(jobq__gate_room(&wide), JOBQ__GATE_WIDE);
}

/* Goal: as many as its capacity are inside, and each that leaves makes room for one. Method: fill
 * it, and empty it. */
TEST(as_many_as_it_holds) {
    struct jobq__gate gate;
    jobq__gate_init(&gate, 3, false);
    for (int inside = 0; inside < 3; inside++) {
        CHECK_INT(jobq__gate_room(&gate), 3 - inside);
        jobq__gate_enter(&gate);
    }
    CHECK_INT(jobq__gate_room(&gate), 0);
    for (int inside = 3; inside > 0; inside--) {
        jobq__gate_leave(&gate);
        CHECK_INT(jobq__gate_room(&gate), 4 - inside);
    }
    CHECK_INT(gate.held, 0);
}

/* Goal: a wide gate counts, and never has less room. */
TEST(wide_is_wide) {
    struct jobq__gate gate;
    jobq__gate_init(&gate, JOBQ__GATE_WIDE, false);
    for (int i = 0; i < 1000; i++) jobq__gate_enter(&gate);
    CHECK_INT(gate.held, 1000);
    CHECK_INT(jobq__gate_room(&gate), JOBQ__GATE_WIDE);
}

/* Goal: whoever is inside when the capacity is lowered stays, and nobody passes until enough have
 * left. */
TEST(lowered_below_those_inside) {
    struct jobq__gate gate;
    jobq__gate_init(&gate, 3, false);
    for (int i = 0; i < 3; i++) jobq__gate_enter(&gate);
    gate.capacity = 1;
    CHECK_INT(jobq__gate_room(&gate), 0);
    jobq__gate_leave(&gate);
    jobq__gate_leave(&gate);
    CHECK_INT(jobq__gate_room(&gate), 0);
    jobq__gate_leave(&gate);
    CHECK_INT(jobq__gate_room(&gate), 1);
}

TEST_MAIN(shut_and_open, as_many_as_it_holds, wide_is_wide, lowered_below_those_inside)
