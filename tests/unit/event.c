/* event.c - the list of events: their order, who delivers them, and how long it may become.
 *
 * Promised by the head of event.h: the order is total and the callback never runs twice at once;
 * who delivers tells what was there when it began, no more; a callback that adds something does not
 * wait for itself; workers wait while the list is long. Here without a queue around it: events are
 * numbers, and the callback writes them down. */
#include "helpers.h"
#include "unit.h"

enum { HEARD_MAX = 20000 };

/* What the callback has heard, and what it does meanwhile. */
struct listener {
    struct jobq__events events;
    int64_t heard[HEARD_MAX];
    pthread_t by[HEARD_MAX];
    int count, inside, went_on; /* atomic */
    int64_t again;     /* this event makes the callback add one more, again + 1000 */
    bool nested;       /* and deliver it, as a call of the application in there would */
    gate *at;          /* where the first event waits, or NULL */
};

/* Returns its serial number. */
static uint64_t append_with(struct listener *l, jobq_event event) {
    struct jobq__told told;
    jobq__event_make(&told, &event);
    return jobq__event_add(&l->events, &told, false);
}

static void append(struct listener *l, int64_t id) {
    append_with(l, (jobq_event){.id = id});
}

static void hear(const jobq_event *event, void *ctx) {
    struct listener *l = (struct listener *)ctx;
    int n = __atomic_fetch_add(&l->count, 1, __ATOMIC_SEQ_CST);
    CHECK_INT(__atomic_add_fetch(&l->inside, 1, __ATOMIC_SEQ_CST), 1);
    CHECK(jobq__os_may_call_out());
    if (n < HEARD_MAX) {
        l->heard[n] = event->id;
        l->by[n] = pthread_self();
    }
    if (n == 0 && l->at) gate_pass(l->at);
    if (l->again && event->id == l->again) {
        append(l, l->again + 1000);
        if (l->nested) CHECK(!jobq__event_deliver(&l->events, true));
    }
    __atomic_sub_fetch(&l->inside, 1, __ATOMIC_SEQ_CST);
}

static struct listener *listen_to(bool callback) {
    struct listener *l = (struct listener *)calloc(1, sizeof *l);
    if (!l) test_give_up("no memory");
    CHECK_INT(jobq__event_init(&l->events, callback ? hear : NULL, l), JOBQ_OK);
    return l;
}

static void stop_listening(struct listener *l) {
    jobq__event_fini(&l->events);
    free(l);
}

static int heard(struct listener *l) {
    return __atomic_load_n(&l->count, __ATOMIC_SEQ_CST);
}

static void check_in_order(struct listener *l, int count) {
    if (!CHECK_INT(heard(l), count)) return;
    for (int i = 0; i < count; i++)
        if (!CHECK_INT(l->heard[i], i + 1)) break;
}

/* Goal: the order of adding is kept while the list grows with its beginning anywhere. Method: the
 * list is emptied after 1, 2, 3, ... events, so that its beginning wanders, and then grown. */
TEST(order_while_it_grows) {
    for (int before = 0; before < 130; before++) {
        struct listener *l = listen_to(true);
        int64_t id = 0;
        for (int i = 0; i < before; i++) append(l, ++id);
        CHECK(!jobq__event_deliver(&l->events, true));
        for (int i = 0; i < 300; i++) append(l, ++id);
        CHECK(jobq__event_waiting(&l->events));
        CHECK(!jobq__event_deliver(&l->events, true));
        CHECK(!jobq__event_waiting(&l->events));
        check_in_order(l, before + 300);
        stop_listening(l);
    }
}

/* Goal: nothing is kept for nobody. Method: no callback. */
TEST(without_a_callback_nothing_is_kept) {
    struct listener *l = listen_to(false);
    CHECK_INT(jobq__event_reserve(&l->events, 1000000000), JOBQ_OK);
    append(l, 1);
    CHECK_INT((int64_t)l->events.count, 0);
    CHECK(l->events.list == NULL);
    CHECK(!jobq__event_waiting(&l->events));
    CHECK(!jobq__event_deliver(&l->events, true));
    jobq__event_throttle(&l->events);
    stop_listening(l);
}

/* Goal: what was reserved needs no memory any more. Method: room for so many beside what is there;
 * the list stays in its place while they are added, with its beginning anywhere. */
TEST(reserved_room_is_enough) {
    for (int before = 0; before < 70; before++) {
        struct listener *l = listen_to(true);
        int64_t id = 0;
        const void *place;
        for (int i = 0; i < before; i++) append(l, ++id);
        if (before % 2) jobq__event_deliver(&l->events, true);
        CHECK_INT(jobq__event_reserve(&l->events, 200), JOBQ_OK);
        place = l->events.list;
        for (int i = 0; i < 200; i++) {
            struct jobq__told told;
            jobq__event_make(&told, &(jobq_event){.id = ++id});
            CHECK_INT(jobq__event_add(&l->events, &told, true), id);
        }
        CHECK(l->events.list == place);
        jobq__event_deliver(&l->events, true);
        check_in_order(l, before + 200);
        stop_listening(l);
    }
}

/* Goal: what others append meanwhile takes nothing of what was reserved, until that is given up.
 * Method: they append as much as there is room, and beyond it. */
TEST(reserved_room_is_not_for_others) {
    struct listener *l = listen_to(true);
    CHECK_INT(jobq__event_reserve(&l->events, 60), JOBQ_OK);
    for (int64_t id = 1; id <= 200; id++) {
        append(l, id);
        CHECK(l->events.capacity - l->events.count >= 60);
    }
    jobq__event_commit(&l->events, false);
    for (int64_t id = 201; id <= 256; id++) append(l, id);
    CHECK_INT(l->events.capacity, 512);
    jobq__event_deliver(&l->events, true);
    check_in_order(l, 256);
    stop_listening(l);
}

/* Goal: a list that was long gives its memory back when all is told, but not what is reserved, and
 * goes on. Method: far more than it keeps. */
TEST(long_list_becomes_short) {
    enum { MANY = 4 * JOBQ__EVENTS_KEEP };
    struct listener *l = listen_to(true);
    for (int64_t id = 1; id <= MANY; id++) append(l, id);
    CHECK(l->events.capacity >= MANY);
    CHECK_INT(jobq__event_reserve(&l->events, 1), JOBQ_OK);
    jobq__event_deliver(&l->events, true);
    CHECK(l->events.capacity >= MANY);
    jobq__event_commit(&l->events, false);
    append(l, MANY + 1);
    jobq__event_deliver(&l->events, true);
    CHECK_INT(l->events.capacity, 0);
    append(l, MANY + 2);
    jobq__event_deliver(&l->events, true);
    CHECK(l->events.capacity > 0 && l->events.capacity <= JOBQ__EVENTS_KEEP);
    check_in_order(l, MANY + 2);
    stop_listening(l);
}

/* Goal: a list that cannot grow so far says so, and keeps what it has. Method: a count that no
 * machine holds. */
TEST(too_much_is_refused) {
    struct listener *l = listen_to(true);
    append(l, 1);
    CHECK_INT(jobq__event_reserve(&l->events, SIZE_MAX / 4), JOBQ_NO_MEMORY);
    append(l, 2);
    jobq__event_deliver(&l->events, true);
    check_in_order(l, 2);
    stop_listening(l);
}

/* ---- What an event says, and who waits for it ---- */

static void hear_words(const jobq_event *event, void *ctx) {
    int *count = (int *)ctx;
    CHECK_STR(event->key, ++*count == 1 ? "key" : *count == 2 ? "" : "other");
    CHECK_STR(event->message, *count == 1 ? "" : *count == 2 ? "message" : "words");
}

/* Goal: the words of an event last until it is told, are never NULL, and are given back whether it
 * is told or not. Method: words in memory that is used again at once; the last event is left over
 * for jobq__event_fini, where a sanitizer sees a leak. */
TEST(words_last_until_they_are_told) {
    static const char *words[][2] = {{"key", NULL}, {NULL, "message"}, {"other", "words"}};
    struct listener l;
    int count = 0;
    memset(&l, 0, sizeof l);
    REQUIRE_INT(jobq__event_init(&l.events, hear_words, &count), JOBQ_OK);
    for (int i = 0; i < 3; i++) {
        char key[16], message[16];
        snprintf(key, sizeof key, "%s", words[i][0] ? words[i][0] : "");
        snprintf(message, sizeof message, "%s", words[i][1] ? words[i][1] : "");
        append_with(&l, (jobq_event){.id = i, .key = words[i][0] ? key : NULL,
                                     .message = words[i][1] ? message : NULL});
        memset(key, 'x', sizeof key - 1);
        memset(message, 'x', sizeof message - 1);
    }
    jobq__event_deliver(&l.events, true);
    CHECK_INT(count, 3);
    append_with(&l, (jobq_event){.key = "left", .message = "over"});
    jobq__event_fini(&l.events);
}

/* Goal: a job's last event can be found by the job until it was told, and asked for by its number
 * ever after. Method: two events of one job among others, told in two parts. */
TEST(the_last_event_of_a_job) {
    struct listener *l = listen_to(true);
    uint64_t first = append_with(l, (jobq_event){.id = 7}), last;
    append(l, 8);
    CHECK_INT((int64_t)jobq__event_find(&l->events, 7), (int64_t)first);
    last = append_with(l, (jobq_event){.id = 7});
    CHECK(last == first + 2);
    CHECK_INT((int64_t)jobq__event_find(&l->events, 7), (int64_t)last);
    CHECK_INT((int64_t)jobq__event_find(&l->events, 9), 0);
    CHECK(!jobq__event_was_told(&l->events, first));
    jobq__event_deliver(&l->events, true);
    CHECK(jobq__event_was_told(&l->events, last));
    CHECK_INT((int64_t)jobq__event_find(&l->events, 7), 0);
    CHECK(jobq__event_was_told(&l->events, 0));
    first = append_with(l, (jobq_event){.id = 7});
    CHECK(first == last + 1);
    CHECK(!jobq__event_was_told(&l->events, first));
    stop_listening(l);
}

static void note_told(void *arg, uint64_t told) {
    int *next = (int *)arg;
    CHECK_INT((int64_t)told, ++*next);
}

/* Goal: who waits hears after each call how far the telling has come; without anybody nothing is
 * said. Method: three events that somebody waits for, and three that nobody does. */
TEST(who_waits_hears_how_far_it_is) {
    struct listener *l = listen_to(true);
    int next = 0;
    l->events.after = note_told;
    l->events.arg = &next;
    jobq__event_watch(&l->events, 1);
    for (int64_t id = 1; id <= 3; id++) append(l, id);
    CHECK_INT(next, 0);
    jobq__event_deliver(&l->events, true);
    CHECK_INT(next, 3);
    jobq__event_watch(&l->events, -1);
    for (int64_t id = 4; id <= 6; id++) append(l, id);
    jobq__event_deliver(&l->events, true);
    CHECK_INT(next, 3);
    CHECK_INT(heard(l), 6);
    stop_listening(l);
}

/* ---- Delivery ---- */

/* Goal: who delivers tells what was there when it began, and says that there is more. Method: the
 * callback of the second event adds one; it is there after the call, and the next call tells it. */
TEST(no_more_than_was_there) {
    struct listener *l = listen_to(true);
    l->again = 2;
    append(l, 1);
    append(l, 2);
    CHECK(jobq__event_deliver(&l->events, true));
    CHECK_INT(heard(l), 2);
    CHECK(jobq__event_waiting(&l->events));
    CHECK(!jobq__event_deliver(&l->events, true));
    CHECK_INT(heard(l), 3);
    CHECK_INT(l->heard[2], 1002);
    stop_listening(l);
}

/* Goal: a callback that makes an event does not wait for itself, and is not called within itself;
 * the event is told by who delivers. Method: the callback adds one and asks for its delivery. */
TEST(a_callback_does_not_wait_for_itself) {
    struct listener *l = listen_to(true);
    l->again = 1;
    l->nested = true;
    append(l, 1);
    append(l, 2);
    CHECK(!jobq__event_deliver(&l->events, true));
    CHECK_INT(heard(l), 3);
    CHECK_INT(l->heard[1], 2);
    CHECK_INT(l->heard[2], 1001);
    stop_listening(l);
}

/* ---- Two threads ---- */

static void *deliver_all(void *arg) {
    jobq__event_deliver(&((struct listener *)arg)->events, true);
    return NULL;
}

/* Another thread delivers, and stands at the gate in the callback of the first event. */
static pthread_t deliver_slowly(struct listener *l, gate *at) {
    pthread_t thread;
    l->at = at;
    thread = thread_start(deliver_all, l);
    gate_await(at, 1);
    return thread;
}

/* Goal: beside a slow callback, who does not want to wait goes on at once; who does returns when
 * its own events were told; the thread in the callback tells no more than was there when it began.
 * Method: the first event waits at a gate; two come meanwhile, and a second thread for them. */
TEST(two_threads_deliver) {
    struct listener *l = listen_to(true);
    pthread_t first, second;
    gate at;
    gate_init(&at);
    append(l, 1);
    first = deliver_slowly(l, &at);
    append(l, 2);
    append(l, 3);
    CHECK(!jobq__event_deliver(&l->events, false));
    CHECK(!jobq__event_waiting(&l->events));
    CHECK_INT(heard(l), 1);
    second = thread_start(deliver_all, l);
    gate_open(&at);
    pthread_join(second, NULL);
    check_in_order(l, 3);
    pthread_join(first, NULL);
    CHECK(pthread_equal(l->by[0], first));
    CHECK(pthread_equal(l->by[1], second));
    CHECK(pthread_equal(l->by[2], second));
    gate_free(&at);
    stop_listening(l);
}

struct look {
    struct jobq__events *events;
    uint64_t serial;
    int done; /* atomic */
};

static void *look_for_seven(void *arg) {
    struct look *look = (struct look *)arg;
    look->serial = jobq__event_find(look->events, 7);
    __atomic_store_n(&look->done, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

/* Goal: who looks for a job's last event waits for a commit that is under way, which may add it.
 * Method: the event comes when the thread that looks has had time to come back without it. */
TEST(who_looks_waits_for_a_commit) {
    struct listener *l = listen_to(true);
    struct look look = {.events = &l->events};
    pthread_t thread;
    jobq__event_watch(&l->events, 1);
    jobq__event_commit(&l->events, true);
    thread = thread_start(look_for_seven, &look);
    for (int i = 0; i < 10 && !__atomic_load_n(&look.done, __ATOMIC_SEQ_CST); i++)
        test_pause_ms(5);
    append(l, 7);
    jobq__event_commit(&l->events, false);
    pthread_join(thread, NULL);
    CHECK_INT((int64_t)look.serial, 1);
    jobq__event_watch(&l->events, -1);
    stop_listening(l);
}

/* Many threads add and deliver. */
enum { THREADS = 4, EACH = 2000 };

static void *add_and_deliver(void *arg) {
    struct listener *l = (struct listener *)arg;
    for (int i = 1; i <= TEST_SCALED(EACH); i++) {
        append(l, i);
        if (i % 3 == 0) jobq__event_deliver(&l->events, i % 2);
    }
    jobq__event_deliver(&l->events, true);
    return NULL;
}

/* Goal: none is lost or told twice, and each thread's own are in their order. Method: four threads
 * count; every number is heard as often as there are threads, and never more often than the one
 * before it. */
TEST(many_threads_deliver) {
    struct listener *l = listen_to(true);
    int each = TEST_SCALED(EACH), *times = (int *)calloc((size_t)each + 1, sizeof *times);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) threads[i] = thread_start(add_and_deliver, l);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    CHECK_INT(heard(l), THREADS * each);
    times[0] = THREADS;
    for (int i = 0; i < heard(l); i++) {
        int n = (int)l->heard[i];
        if (!CHECK(++times[n] <= times[n - 1])) break;
    }
    free(times);
    stop_listening(l);
}

static void *throttle(void *arg) {
    struct listener *l = (struct listener *)arg;
    jobq__event_throttle(&l->events);
    __atomic_store_n(&l->went_on, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

/* Goal: a worker waits while a callback is far behind, and only then. Method: a list at its bound
 * holds nobody up, whoever delivers; one more does while somebody delivers, until all is told. */
TEST(workers_wait_for_a_slow_callback) {
    struct listener *l = listen_to(true);
    pthread_t slow, worker;
    gate at;
    gate_init(&at);
    for (int64_t id = 1; id <= JOBQ__EVENTS_MAX + 1; id++) append(l, id);
    jobq__event_throttle(&l->events); /* nobody delivers: it could wait forever */
    stop_listening(l);
    l = listen_to(true);
    for (int64_t id = 1; id <= JOBQ__EVENTS_MAX; id++) append(l, id);
    slow = deliver_slowly(l, &at);
    jobq__event_throttle(&l->events); /* at the bound */
    append(l, JOBQ__EVENTS_MAX + 1);
    worker = thread_start(throttle, l);
    for (int i = 0; i < 10; i++) {
        test_pause_ms(2);
        CHECK_INT(__atomic_load_n(&l->went_on, __ATOMIC_SEQ_CST), 0);
    }
    gate_open(&at);
    pthread_join(worker, NULL);
    pthread_join(slow, NULL);
    CHECK(heard(l) >= JOBQ__EVENTS_MAX);
    gate_free(&at);
    stop_listening(l);
}

TEST_MAIN(order_while_it_grows, without_a_callback_nothing_is_kept, reserved_room_is_enough,
          reserved_room_is_not_for_others, long_list_becomes_short, too_much_is_refused,
          words_last_until_they_are_told, the_last_event_of_a_job, who_waits_hears_how_far_it_is,
          no_more_than_was_there, a_callback_does_not_wait_for_itself, two_threads_deliver,
          who_looks_waits_for_a_commit, many_threads_deliver, workers_wait_for_a_slow_callback)
