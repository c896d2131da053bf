/* err.c - codes to names, error records. */
#include "err.h"

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
    size_t size = 0;
    while (size + 1 < capacity && text[size]) size++;
    memcpy(to, text, size);
    to[size] = 0;
}

JOBQ__INTERNAL int jobq__err_set(jobq_error *err, int code, const char *format, ...) {
    va_list args;
    if (!err) return code;
    err->code = code;
    err->sqlite_code = 0;
    if (!format) {
        jobq__err_copy_text(err->text, sizeof err->text, jobq_code_text(code));
        return code;
    }
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    return code;
}

JOBQ__INTERNAL int jobq__err_sqlite(jobq_error *err, int code, int sqlite_code,
                                    const char *message) {
    jobq__err_set(err, code, "%s (SQLite: %s)", jobq_code_text(code), message);
    if (err) err->sqlite_code = sqlite_code;
    return code;
}
