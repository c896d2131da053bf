/* err.c - codes to names, error records. */
#include "err.h"

#include <errno.h>
#include <stdio.h>

JOBQ_API int jobq_version_number(void) {
    return JOBQ_VERSION_NUMBER;
}

JOBQ_API const char *jobq_code_name(int code) {
    switch (code) {
#define JOBQ__CODE_NAME(name, value, sentence) \
    case value: return #name;
        JOBQ_CODES(JOBQ__CODE_NAME)
#undef JOBQ__CODE_NAME
    default: return "JOBQ_?";
    }
}

JOBQ_API const char *jobq_code_text(int code) {
    switch (code) {
#define JOBQ__CODE_TEXT(name, value, sentence) \
    case value: return sentence;
        JOBQ_CODES(JOBQ__CODE_TEXT)
#undef JOBQ__CODE_TEXT
    default: return "this is not a code of jobq";
    }
}

JOBQ__INTERNAL void jobq__err_copy_text(char *to, size_t capacity, const char *text) {
    size_t size = 0, back = 0;
    while (size + 1 < capacity && text[size]) size++;
    /* Cut at the beginning of a character: one that is not whole is invalid in UTF-8. */
    if (text[size])
        for (; back < 3 && back < size && (text[size - back] & 0xc0) == 0x80; back++) {}
    if ((text[size - back] & 0xc0) == 0xc0) size -= back;
    memcpy(to, text, size);
    to[size] = 0;
}

/* Bytes of the character that text begins with; 0 if it is none. */
static size_t jobq__err_character(const unsigned char *text) {
    size_t size = text[0] < 0x80 ? 1 : text[0] < 0xc2 ? 0 : text[0] < 0xe0 ? 2
                : text[0] < 0xf0 ? 3 : text[0] < 0xf5 ? 4 : 0, i;
    for (i = 1; i < size; i++)
        if ((text[i] & 0xc0) != 0x80) return 0;
    /* Longer than it need be, half of a pair of UTF-16, or beyond the last one. */
    if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f)
        || (text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f)) return 0;
    return size;
}

/* A path is what bytes it likes, and it and other parts of a sentence may have been cut. */
static void jobq__err_make_utf8(char *text) {
    while (*text) {
        size_t size = jobq__err_character((const unsigned char *)text);
        if (!size) *text = '?';
        text += size ? size : 1;
    }
}

JOBQ__INTERNAL int jobq__err_set(jobq_error *err, int code, const char *format, ...) {
    va_list args;
    if (!err) return code;
    err->code = code;
    err->sqlite_code = err->os_code = 0;
    err->at = -1;
    err->id = 0;
    if (!format) {
        jobq__err_copy_text(err->text, sizeof err->text, jobq_code_text(code));
        return code;
    }
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    jobq__err_make_utf8(err->text);
    return code;
}

JOBQ__INTERNAL int jobq__err_sqlite(jobq_error *err, int code, int sqlite_code,
                                    const char *message) {
    jobq__err_set(err, code, "%s (SQLite: %s)", jobq_code_text(code), message);
    if (err) err->sqlite_code = sqlite_code;
    return code;
}

JOBQ__INTERNAL void jobq__err_at(jobq_error *err, size_t at) {
    if (err) err->at = at < INT32_MAX ? (int)at : INT32_MAX;
}

JOBQ__INTERNAL void jobq__err_id(jobq_error *err, int64_t id) {
    if (err) err->id = id;
}

/* Words of our own: strerror has none that every thread may have, in every locale the same. */
static const struct jobq__err_word {
    int os_code;
    const char *name, *words;
} jobq__err_words[] = {
#define JOBQ__ERR_WORD(name, words) {name, #name, words}
    JOBQ__ERR_WORD(EACCES, "permission denied"),
    JOBQ__ERR_WORD(EAGAIN, "the system is short of something for the moment"),
    JOBQ__ERR_WORD(EBUSY, "it is in use"),
    JOBQ__ERR_WORD(EEXIST, "it exists already"),
    JOBQ__ERR_WORD(EFBIG, "the file would be too large"),
    JOBQ__ERR_WORD(EINVAL, "the system does not know how to do this here"),
    JOBQ__ERR_WORD(EIO, "the device reported an error"),
    JOBQ__ERR_WORD(EISDIR, "it is a directory"),
    JOBQ__ERR_WORD(ELOOP, "the symbolic links lead nowhere"),
    JOBQ__ERR_WORD(EMFILE, "the process has too many files open"),
    JOBQ__ERR_WORD(EMLINK, "there are too many links"),
    JOBQ__ERR_WORD(ENAMETOOLONG, "the name is too long"),
    JOBQ__ERR_WORD(ENFILE, "the system has too many files open"),
    JOBQ__ERR_WORD(ENODEV, "there is no such device"),
    JOBQ__ERR_WORD(ENOENT, "there is no such file or directory"),
    JOBQ__ERR_WORD(ENOLCK, "there are no locks left, or none on this file system"),
    JOBQ__ERR_WORD(ENOMEM, "there is no memory left"),
    JOBQ__ERR_WORD(ENOSPC, "there is no space left"),
    JOBQ__ERR_WORD(ENOSYS, "this system cannot do it"),
    JOBQ__ERR_WORD(ENOTDIR, "a part of the path is not a directory"),
    JOBQ__ERR_WORD(ENXIO, "there is no such device"),
    JOBQ__ERR_WORD(EPERM, "not permitted"),
    JOBQ__ERR_WORD(EROFS, "the file system is read-only"),
#ifdef EDQUOT
    JOBQ__ERR_WORD(EDQUOT, "the user's quota of space is used up"),
#endif
#ifdef ESTALE
    JOBQ__ERR_WORD(ESTALE, "the file is gone from the server"),
#endif
#undef JOBQ__ERR_WORD
};

JOBQ__INTERNAL int jobq__err_os(jobq_error *err, int code, int os_code, const char *call,
                                const char *path, const char *advice) {
    const char *name = NULL, *words = "the system refused it";
    char number[32];
    size_t i;
    for (i = 0; i < JOBQ__COUNT(jobq__err_words); i++) {
        if (jobq__err_words[i].os_code != os_code) continue;
        name = jobq__err_words[i].name;
        words = jobq__err_words[i].words;
    }
    snprintf(number, sizeof number, "errno %d", os_code);
    jobq__err_set(err, code, "%s%s%.250s: %s (%s)%s%s", call, path ? " " : "", path ? path : "",
                  words, name ? name : number, advice ? "; " : "", advice ? advice : "");
    if (err) err->os_code = os_code;
    return code;
}
