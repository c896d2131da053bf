/* ring.c - the ring: order within a lane, round robin across lanes, counts. */

#include "test.h"
#include "unit.h"

#define LANES 5
#define ENTRIES 64

/* A ring with lanes and entries of its own. */
struct bench {
    struct jobq__ring ring;
    struct jobq__lane lanes[LANES];
    struct jobq__entry *entries[ENTRIES];
};

static void bench_open(struct bench *b) {
    memset(b, 0, sizeof *b);
    jobq__ring_init(&b->ring);
    for (int i = 0; i < LANES; i++) {
        b->lanes[i].id = i + 2;
        jobq__list_init(&b->lanes[i].ready);
        jobq__list_init(&b->lanes[i].ring);
        jobq__list_init(&b->lanes[i].turn);
    }
    for (int i = 0; i < ENTRIES; i++) {
        b->entries[i] = (struct jobq__entry *)calloc(1, sizeof(struct jobq__entry));
        if (!b->entries[i]) test_give_up("no memory");
        b->entries[i]->row.id = i + 1;
        jobq__list_init(&b->entries[i]->link);
    }
}

static void bench_close(struct bench *b) {
    for (int i = 0; i < ENTRIES; i++) free(b->entries[i]);
}

/* Puts entry i, whose id is i + 1. */
static struct jobq__entry *put(struct bench *b, int i, int lane, int priority, int64_t run_at_ms) {
    struct jobq__entry *entry = b->entries[i];
    entry->lane = &b->lanes[lane];
    entry->row.priority = priority;
    entry->row.run_at_ms = run_at_ms;
    jobq__ring_put(&b->ring, entry);
    return entry;
}

static int64_t take(struct bench *b) {
    struct jobq__entry *entry = jobq__ring_take(&b->ring);
    return entry ? entry->row.id : 0;
}

/* Goal: the order is (priority, run_at, id), with numbers of any size. Method: pairs, both ways. */
TEST(the_order_of_two_jobs) {
    static const struct {
        int priority;
        int64_t run_at_ms, id;
    } rows[] = {
        {INT32_MIN, INT64_MAX, 9}, {-1, 5, 8}, {0, INT64_MIN, 7}, {0, 0, 5}, {0, 0, 6},
        {0, 1, 1}, {0, INT64_MAX, 1}, {1, 0, 1}, {INT32_MAX, INT64_MIN, INT64_MIN},
        {INT32_MAX, INT64_MIN, INT64_MAX},
    };
    const int count = (int)(sizeof rows / sizeof rows[0]);
    for (int i = 0; i < count; i++) {
        for (int j = 0; j < count; j++) {
            struct jobq__row a = {0}, b = {0};
            int order;
            a.priority = rows[i].priority, a.run_at_ms = rows[i].run_at_ms, a.id = rows[i].id;
            b.priority = rows[j].priority, b.run_at_ms = rows[j].run_at_ms, b.id = rows[j].id;
            order = jobq__ring_compare(&a, &b);
            CHECK(i < j ? order < 0 : i > j ? order > 0 : order == 0);
        }
    }
}

/* Goal: an empty ring gives nothing. Method: take from it, before and after it was used. */
TEST(nothing_in_an_empty_ring) {
    struct bench b;
    bench_open(&b);
    CHECK_INT(take(&b), 0);
    CHECK(jobq__ring_last(&b.lanes[0]) == NULL);
    put(&b, 0, 0, 0, 0);
    CHECK_INT(take(&b), 1);
    CHECK_INT(take(&b), 0);
    CHECK(jobq__ring_last(&b.lanes[0]) == NULL);
    CHECK_INT(b.ring.count, 0);
    bench_close(&b);
}

/* Goal: what is put in any order comes out in order. Method: front, end and middle of a lane. */
TEST(order_within_a_lane) {
    static const int64_t wanted[] = {5, 3, 6, 1, 4, 2};
    struct bench b;
    bench_open(&b);
    put(&b, 0, 0, 0, 10);  /* id 1 */
    put(&b, 1, 0, 7, 0);   /* id 2: last */
    put(&b, 2, 0, -1, 50); /* id 3: before both */
    put(&b, 3, 0, 0, 10);  /* id 4: in the middle, after id 1 */
    put(&b, 4, 0, -9, 90); /* id 5: the very front */
    put(&b, 5, 0, 0, 9);   /* id 6: in the middle, before id 1 */
    CHECK_INT(jobq__ring_last(&b.lanes[0])->row.id, 2);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) CHECK_INT(take(&b), wanted[i]);
    CHECK_INT(take(&b), 0);
    bench_close(&b);
}

/* Goal: lanes take turns, however urgent the jobs of one are. Method: three lanes of different
 * length, the longest with the lowest numbers. */
TEST(round_robin_across_lanes) {
    static const int64_t wanted[] = {1, 5, 7, 2, 6, 3, 4};
    struct bench b;
    bench_open(&b);
    for (int i = 0; i < 4; i++) put(&b, i, 0, -100, i);
    for (int i = 4; i < 6; i++) put(&b, i, 1, 0, i);
    put(&b, 6, 2, 100, 6);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) CHECK_INT(take(&b), wanted[i]);
    bench_close(&b);
}

/* Goal: a lane that was empty waits for its turn. Method: it is put again while others wait. */
TEST(a_lane_that_comes_back_goes_last) {
    struct bench b;
    bench_open(&b);
    put(&b, 0, 0, 0, 0);
    put(&b, 1, 1, 0, 0);
    put(&b, 2, 2, 0, 0);
    CHECK_INT(take(&b), 1);
    put(&b, 3, 0, -5, 0);
    CHECK_INT(take(&b), 2);
    CHECK_INT(take(&b), 3);
    CHECK_INT(take(&b), 4);
    bench_close(&b);
}

/* Goal: removing leaves the others in order and gives up an empty lane's turn. Method: from the
 * middle, the end and the front, then the only one of a lane. */
TEST(removing_from_anywhere) {
    struct bench b;
    bench_open(&b);
    for (int i = 0; i < 5; i++) put(&b, i, 0, 0, i);
    put(&b, 5, 1, 0, 0);
    jobq__ring_remove(&b.ring, b.entries[2]);
    jobq__ring_remove(&b.ring, b.entries[4]);
    CHECK_INT(jobq__ring_last(&b.lanes[0])->row.id, 4);
    jobq__ring_remove(&b.ring, b.entries[0]);
    jobq__ring_remove(&b.ring, b.entries[5]);
    CHECK(jobq__ring_last(&b.lanes[1]) == NULL);
    CHECK(!b.entries[2]->in_ring && b.entries[1]->in_ring);
    CHECK_INT(b.ring.count, 2);
    CHECK_INT(take(&b), 2);
    CHECK_INT(take(&b), 4);
    CHECK_INT(take(&b), 0);
    bench_close(&b);
}

/* Goal: count and bytes are those of what is inside. Method: payloads of many sizes go in and come
 * out by both doors. */
TEST(count_and_bytes) {
    struct bench b;
    bench_open(&b);
    for (int i = 0; i < 10; i++) {
        b.entries[i]->row.size = (size_t)1 << i;
        put(&b, i, i % 2, 0, i);
        CHECK_INT(b.ring.count, i + 1);
        CHECK_INT(b.ring.bytes, (1 << (i + 1)) - 1);
    }
    CHECK_INT(take(&b), 1);
    CHECK_INT(b.ring.bytes, 1023 - 1);
    jobq__ring_remove(&b.ring, b.entries[9]);
    CHECK_INT(b.ring.bytes, 1023 - 1 - 512);
    CHECK_INT(b.ring.count, 8);
    while (take(&b)) {}
    CHECK_INT(b.ring.bytes, 0);
    CHECK_INT(b.ring.count, 0);
    bench_close(&b);
}

/* ---- Against a dumb oracle ---- */

/* The oracle: which entries are inside, and the lanes in the order of their turns. */
struct oracle {
    bool inside[ENTRIES];
    int turns[LANES], turn_count;
};

static struct jobq__entry *oracle_end(const struct bench *b, const struct oracle *o, int lane,
                                      bool last) {
    struct jobq__entry *best = NULL;
    for (int i = 0; i < ENTRIES; i++) {
        struct jobq__entry *e = b->entries[i];
        if (!o->inside[i] || e->lane != &b->lanes[lane]) continue;
        if (!best || (jobq__ring_compare(&e->row, &best->row) < 0) != last) best = e;
    }
    return best;
}

static void oracle_drop_turn(struct oracle *o, int lane) {
    int n = 0;
    for (int i = 0; i < o->turn_count; i++)
        if (o->turns[i] != lane) o->turns[n++] = o->turns[i];
    o->turn_count = n;
}

static void oracle_remove(const struct bench *b, struct oracle *o, struct jobq__entry *entry) {
    int lane = (int)(entry->lane - b->lanes);
    o->inside[entry->row.id - 1] = false;
    if (!oracle_end(b, o, lane, false)) oracle_drop_turn(o, lane);
}

static struct jobq__entry *oracle_take(const struct bench *b, struct oracle *o) {
    struct jobq__entry *entry;
    int lane;
    if (!o->turn_count) return NULL;
    lane = o->turns[0];
    entry = oracle_end(b, o, lane, false);
    o->inside[entry->row.id - 1] = false;
    oracle_drop_turn(o, lane);
    if (oracle_end(b, o, lane, false)) o->turns[o->turn_count++] = lane;
    return entry;
}

static bool oracle_agrees(const struct bench *b, const struct oracle *o) {
    int64_t bytes = 0;
    int count = 0, lane;
    bool same = true;
    for (int i = 0; i < ENTRIES; i++) {
        same = same && b->entries[i]->in_ring == o->inside[i];
        if (!o->inside[i]) continue;
        bytes += (int64_t)b->entries[i]->row.size;
        count++;
    }
    for (lane = 0; lane < LANES; lane++)
        same = same && jobq__ring_last(&b->lanes[lane]) == oracle_end(b, o, lane, true);
    return CHECK(same) && CHECK_INT(b->ring.count, count) && CHECK_INT(b->ring.bytes, bytes);
}

static void random_put(struct bench *b, struct oracle *o, int i, uint64_t *state) {
    int lane = (int)(test_random(state) % LANES);
    if (!oracle_end(b, o, lane, false)) o->turns[o->turn_count++] = lane;
    b->entries[i]->row.size = (size_t)(test_random(state) % 100);
    put(b, i, lane, (int)(test_random(state) % 3) - 1, (int64_t)(test_random(state) % 4));
    o->inside[i] = true;
}

/* Goal: any sequence of calls does what the design note says. Method: random puts, takes and
 * removes beside an oracle that searches everything each time; all is compared after each step. */
TEST(random_calls_beside_an_oracle) {
    struct bench b;
    struct oracle o;
    uint64_t state = test_seed();
    int steps = TEST_SCALED(200000);
    bench_open(&b);
    memset(&o, 0, sizeof o);
    for (int step = 0; step < steps; step++) {
        int i = (int)(test_random(&state) % ENTRIES);
        bool fill = (step / 200) % 2 == 0; /* grows for a while, then shrinks */
        if (!o.inside[i] && (fill || test_random(&state) % 4 == 0)) {
            random_put(&b, &o, i, &state);
        } else if (o.inside[i] && test_random(&state) % 3 == 0) {
            jobq__ring_remove(&b.ring, b.entries[i]);
            oracle_remove(&b, &o, b.entries[i]);
        } else if (!fill || test_random(&state) % 4 == 0) {
            struct jobq__entry *wanted = oracle_take(&b, &o);
            if (!CHECK(jobq__ring_take(&b.ring) == wanted)) break;
        }
        if (oracle_agrees(&b, &o)) continue;
        test_note("step %d, seed %llu", step, (unsigned long long)test_seed());
        break;
    }
    bench_close(&b);
}

TEST_MAIN(the_order_of_two_jobs, nothing_in_an_empty_ring, order_within_a_lane,
          round_robin_across_lanes, a_lane_that_comes_back_goes_last, removing_from_anywhere,
          count_and_bytes, random_calls_beside_an_oracle)
