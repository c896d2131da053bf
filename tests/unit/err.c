/* err.c - error records: what is set, what is cut, and the system's words. */

#include "test.h"
#include "unit.h"

#include <errno.h>

/* Every field is another's, so that what is not set shows. */
static jobq_error dirty(void) {
    jobq_error err;
    memset(&err, 0x55, sizeof err);
    return err;
}

/* Goal: setting an error sets all of it: what is not known is 0, no row is -1. Method: a dirty
 * record; the code comes back, without a record too. */
TEST(setting_sets_everything) {
    jobq_error err = dirty();
    CHECK_CODE(jobq__err_set(&err, JOBQ_BAD_NAME, "the name %s is odd", "x"), JOBQ_BAD_NAME);
    CHECK_CODE(err.code, JOBQ_BAD_NAME);
    CHECK_INT(err.sqlite_code, 0);
    CHECK_INT(err.os_code, 0);
    CHECK_INT(err.at, -1);
    CHECK_INT(err.id, 0);
    CHECK_STR(err.text, "the name x is odd");
    jobq__err_set(&err, JOBQ_BUSY, NULL);
    CHECK_STR(err.text, jobq_code_text(JOBQ_BUSY));
    CHECK_CODE(jobq__err_set(NULL, JOBQ_IO, "nobody %d", 1), JOBQ_IO);
}

/* Goal: a row and an id can be added. Method: numbers at the ends; no record. */
TEST(row_and_id_are_added) {
    jobq_error err;
    jobq__err_set(&err, JOBQ_EXISTS, NULL);
    jobq__err_at(&err, 7);
    jobq__err_id(&err, INT64_MAX);
    CHECK_INT(err.at, 7);
    CHECK_INT(err.id, INT64_MAX);
    jobq__err_at(&err, SIZE_MAX);
    CHECK_INT(err.at, INT32_MAX);
    jobq__err_at(NULL, 1);
    jobq__err_id(NULL, 1);
}

/* Goal: what the system refused is told with call, path, words, name and way out. Method: a number
 * that has words, one that has none, and with parts left out. */
TEST(system_speaks_in_words) {
    jobq_error err = dirty();
    CHECK_CODE(jobq__err_os(&err, JOBQ_CANT_OPEN, EACCES, "open", "/data/q.db", "ask its owner"),
               JOBQ_CANT_OPEN);
    CHECK_STR(err.text, "open /data/q.db: permission denied (EACCES); ask its owner");
    CHECK_INT(err.os_code, EACCES);
    CHECK_INT(err.at, -1);
    jobq__err_os(&err, JOBQ_IO, 12345, "fsync", NULL, NULL);
    CHECK_STR(err.text, "fsync: the system refused it (errno 12345)");
    CHECK_CODE(jobq__err_os(NULL, JOBQ_IO, ENOENT, "stat", "x", NULL), JOBQ_IO);
}

/* Goal: a long path does not push the way out of the record, and the text ends inside it. Method:
 * 4000 bytes of path, and as many of a sentence. */
TEST(long_texts_are_cut) {
    static char path[4001];
    jobq_error err = dirty();
    memset(path, 'p', sizeof path - 1);
    jobq__err_os(&err, JOBQ_CANT_OPEN, ENOENT, "open", path, "make it");
    CHECK(strstr(err.text, "; make it") != NULL);
    CHECK(strlen(err.text) < sizeof err.text);
    jobq__err_set(&err, JOBQ_MISUSE, "%s", path);
    CHECK_INT(strlen(err.text), sizeof err.text - 1);
}

static bool is_utf8(const char *text) {
    for (const unsigned char *at = (const unsigned char *)text; *at;) {
        int more = *at < 0x80 ? 0 : *at < 0xc2 ? -1 : *at < 0xe0 ? 1 : *at < 0xf0 ? 2
                 : *at < 0xf5 ? 3 : -1;
        if (more < 0) return false;
        for (at++; more > 0; more--, at++)
            if ((*at & 0xc0) != 0x80) return false;
    }
    return true;
}

/* Goal: a sentence can be shown, stored and sent as UTF-8, whatever it names and wherever it was
 * cut. Method: characters of two to four bytes, shifted so that each cut falls on each of their
 * bytes; bytes that are no character; and what is whole stays as it is. */
TEST(texts_are_utf8) {
    static const char *const characters[] = {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x8c\x8d"};
    static const char *const wrong[] = {"\xff", "\xc3", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80",
                                        "\xf0\x80\x80\x80", "\xf4\x90\x80\x80",
                                        "\xf5\x80\x80\x80", "\x80", "\xe2\x82"};
    jobq_error err = dirty();
    char path[1200];
    for (size_t i = 0; i < 12; i++) {
        size_t size = i % 4;
        memset(path, 'p', size);
        while (size + 8 < sizeof path)
            size += (size_t)snprintf(path + size, sizeof path - size, "%s", characters[i / 4]);
        jobq__err_os(&err, JOBQ_CANT_OPEN, ENOENT, "open", path, "make it");
        CHECK(is_utf8(err.text));
        CHECK(strstr(err.text, "; make it") != NULL);
        jobq__err_set(&err, JOBQ_MISUSE, "%s", path);
        CHECK(is_utf8(err.text));
        CHECK(strlen(err.text) >= sizeof err.text - 4);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        jobq__err_set(&err, JOBQ_MISUSE, "a%sb%s", wrong[i], wrong[i]);
        CHECK(is_utf8(err.text));
        CHECK(strncmp(err.text, "a?", 2) == 0);
    }
    jobq__err_set(&err, JOBQ_MISUSE, "%s", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x8c\x8d");
    CHECK_STR(err.text, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x8c\x8d");
}

TEST_MAIN(texts_are_utf8, setting_sets_everything, row_and_id_are_added, system_speaks_in_words,
          long_texts_are_cut)
