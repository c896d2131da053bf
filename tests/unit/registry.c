/* registry.c - names are told apart however alike they are, found by text and by id, and a
 * struct that was handed out once stays where it is. */
#include "test.h"
#include "unit.h"

/* Writes the name of number n: JOBQ_NAME_MAX letters, of which all but a few are the same. */
static void write_name(char *text, int n, bool at_the_end) {
    char digits[8];
    size_t size = (size_t)snprintf(digits, sizeof digits, "%04d", n);
    memset(text, 'x', JOBQ_NAME_MAX);
    text[JOBQ_NAME_MAX] = '\0';
    memcpy(at_the_end ? text + JOBQ_NAME_MAX - size : text, digits, size);
}

/* Goal: no name is taken for another. Method: names of full length that differ in their last or
 * their first letters only; many more than there are buckets. */
TEST(names_alike_are_told_apart) {
    enum { COUNT = 1000 };
    struct jobq__registry registry;
    const struct jobq__name *names[COUNT + 1] = {NULL};
    char text[JOBQ_NAME_MAX + 1];
    memset(&registry, 0, sizeof registry);
    for (int n = 1; n <= COUNT; n++) {
        write_name(text, n, n % 2 == 0);
        CHECK(jobq__registry_by_text(&registry, JOBQ__NAME_KIND, text) == NULL);
        CHECK(jobq__registry_by_id(&registry, n) == NULL);
        names[n] = jobq__registry_add(&registry, n, JOBQ__NAME_KIND, text);
        REQUIRE(names[n] != NULL);
    }
    for (int n = 1; n <= COUNT; n++) {
        write_name(text, n, n % 2 == 0);
        CHECK(jobq__registry_by_text(&registry, JOBQ__NAME_KIND, text) == names[n]);
        CHECK(jobq__registry_by_id(&registry, n) == names[n]);
        CHECK_INT(names[n]->id, n);
        CHECK_STR(names[n]->text, text);
        write_name(text, n, n % 2 != 0);
        CHECK(jobq__registry_by_text(&registry, JOBQ__NAME_KIND, text) == NULL);
    }
    jobq__registry_fini(&registry);
}

/* Goal: a name is one struct, whoever adds it, and in whatever order the ids come. Method: ids from
 * the highest to the lowest, each of them twice. */
TEST(a_name_is_added_once) {
    struct jobq__registry registry;
    char text[JOBQ_NAME_MAX + 1];
    memset(&registry, 0, sizeof registry);
    for (int n = 300; n >= 1; n--) {
        struct jobq__name *name;
        snprintf(text, sizeof text, "n%d", n);
        name = jobq__registry_add(&registry, n, JOBQ__NAME_KIND, text);
        REQUIRE(name != NULL);
        CHECK(jobq__registry_add(&registry, n, JOBQ__NAME_KIND, text) == name);
        CHECK(n == 1 || jobq__registry_by_id(&registry, n - 1) == NULL);
    }
    CHECK(jobq__registry_by_text(&registry, JOBQ__NAME_KIND, "n301") == NULL);
    CHECK(jobq__registry_by_text(&registry, JOBQ__NAME_KIND, "") == NULL);
    jobq__registry_fini(&registry);
}

/* Goal: a kind and a queue that are called the same are two names, and one of schema 1 is both.
 * Method: in each order of their coming. */
TEST(kinds_are_no_queues) {
    for (int first = 1; first <= 2; first++) {
        struct jobq__registry registry;
        const struct jobq__name *one, *both;
        memset(&registry, 0, sizeof registry);
        one = jobq__registry_add(&registry, 7, first, "same");
        both = jobq__registry_add(&registry, 8, JOBQ__NAME_ANY, "old");
        REQUIRE(one != NULL && both != NULL);
        CHECK(jobq__registry_by_text(&registry, first, "same") == one);
        CHECK(jobq__registry_by_text(&registry, 3 - first, "same") == NULL);
        CHECK(jobq__registry_add(&registry, 9, 3 - first, "same") != one);
        CHECK(jobq__registry_by_text(&registry, first, "same") == one);
        CHECK_INT(jobq__registry_by_text(&registry, 3 - first, "same")->id, 9);
        for (int what = 1; what <= 2; what++)
            CHECK(jobq__registry_by_text(&registry, what, "old") == both);
        jobq__registry_fini(&registry);
    }
}

/* Goal: an id that only a damaged file can hold takes no memory and finds nothing. Method: ids
 * that are too small and too large, before and after the first name. */
TEST(wild_ids_are_refused) {
    static const int64_t wild[] = {0, -1, INT64_MIN, INT64_MAX, INT64_C(1) << 32,
                                   INT64_C(1) + INT32_MAX};
    struct jobq__registry registry;
    memset(&registry, 0, sizeof registry);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof wild / sizeof wild[0]; i++) {
            CHECK(jobq__registry_by_id(&registry, wild[i]) == NULL);
            CHECK(jobq__registry_add(&registry, wild[i], JOBQ__NAME_KIND, "wild") == NULL);
        }
        CHECK(jobq__registry_by_text(&registry, JOBQ__NAME_KIND, "wild") == NULL);
        CHECK(jobq__registry_add(&registry, 1, JOBQ__NAME_KIND, "first") != NULL);
    }
    jobq__registry_fini(&registry);
}

TEST_MAIN(names_alike_are_told_apart, a_name_is_added_once, kinds_are_no_queues,
          wild_ids_are_refused)
