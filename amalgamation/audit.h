/* audit.h - what has to hold in the tables: looked at in slices, and put right. */
#ifndef JOBQ__AUDIT_H
#define JOBQ__AUDIT_H

#include "store.h"

/* Design note.
 *
 * What has to hold is a list of rules (audit_rules.c), in parts: a part is one table, or index,
 * that is walked from one end to the other (audit.c, of which the rules know nothing). Whoever
 * checks calls, until it is over,
 *
 *   audit_look   the next slice, in one snapshot: its rows that break a rule, and which rules
 *   audit_mend   those of them that can be put right, in a transaction that writes
 *   audit_line   what there was to tell of the slice, line by line
 *
 * Invariants:
 *   - A rule is one expression of SQL over one row and what belongs to it, or a function that asks
 *     while the statement stands on the row: so it sees one moment, and what is under way is not
 *     there yet or there as a whole.
 *   - Before a row is changed its rule is asked again, in the transaction: what is right by then
 *     is not touched. No rule takes a job away, or ends one that had not ended, but for
 *     one whose payload is lost: that is kept among the failed ones.
 *   - The parts and the rules of a part stand in such an order that what one of them leaves behind
 *     is seen by a later one; so nothing is left after a walk that mends but what cannot be mended.
 *   - The walk ends, whatever the file says: each slice goes on behind the one before.
 *   - Where a row was put right that is counted, all are counted anew: the counters knew another.
 *
 * A check is its caller's own; connections are used as store.h says. */

enum { JOBQ__AUDIT_FOUND = 32 }; /* rows that a slice tells of, and a transaction mends, at most */

struct jobq__audit;

/* gates, which is freed with the audit: the lanes before gates that have had room since before the
 * first look, so that who waits there is not forgotten only if the claims row names them.
 * *audit is freed by audit_end, which takes NULL. */
JOBQ__INTERNAL int jobq__audit_begin(struct jobq__audit **audit, int32_t *gates, size_t count);
JOBQ__INTERNAL void jobq__audit_end(struct jobq__audit *audit);

/* The next slice. *over: there was none any more. What cannot be read is told as a fault, and its
 * part is over; codes are those of a lack of memory, of a lock, of a disk. */
JOBQ__INTERNAL int jobq__audit_look(struct jobq__audit *audit, jobq__store *db, bool *over);
/* There is something to tell of that slice. */
JOBQ__INTERNAL bool jobq__audit_faulty(const struct jobq__audit *audit);

/* What mending needs to be told. */
struct jobq__mend {
    int64_t now_ms, prune_done_ms, prune_failed_ms; /* until when what has ended is kept */
    /* Is asked before anything of a job is changed: JOBQ_BUSY if nothing may be, as long as it
     * runs. Afterwards nobody remembers what is in its row. */
    int (*reach)(void *ctx, int64_t job);
    void *ctx;
};

/* Within a transaction. If that comes to nothing, audit_undone says so. */
JOBQ__INTERNAL int jobq__audit_mend(struct jobq__audit *audit, jobq__store *db,
                                    const struct jobq__mend *with);
JOBQ__INTERNAL void jobq__audit_undone(struct jobq__audit *audit);
/* In the same transaction: jobs are to be counted anew, which is the caller's. */
JOBQ__INTERNAL bool jobq__audit_recounts(const struct jobq__audit *audit);

/* The next thing to tell of the slice: false if there is none. repair: it was asked for. */
enum { JOBQ__AUDIT_LINE = 320 };
JOBQ__INTERNAL bool jobq__audit_line(struct jobq__audit *audit, bool repair, char *text,
                                     size_t size);

/* ---- The rules (audit_rules.c) ---- */

struct jobq__audit_rule {
    const char *column, *wrong; /* what is told of it, */
    const char *broken;         /* when it is: SQL; NULL: its function says */
    const char *first, *mend;   /* what puts it right, SQL; mend NULL: nothing does */
    const char *does;           /* and what that is, as it is told */
};

enum { JOBQ__AUDIT_KEYS = 4, JOBQ__AUDIT_RULES = 24 };

/* What rules look at besides the row. */
struct jobq__audit_known {
    bool asked, read;           /* ids are those of this slice's moment; if they could be read */
    int64_t *ids;               /* that the claims row names, in order */
    size_t ids_count;
    int32_t *gates;             /* before which nobody may wait unless the claims row names them */
    size_t gates_count;
};

/* How a part is looked at: row by row; or, in one slice and without rules, by quick_check, or by
 * comparing the counters with what their rows come to. */
enum jobq__audit_way { JOBQ__LOOK_ROWS, JOBQ__LOOK_FILE, JOBQ__LOOK_COUNTERS };

struct jobq__audit_part {
    const char *table;          /* that is told */
    const char *from, *where;   /* rows of the walk; where begins with AND */
    const char *keys;           /* by which it goes, and whose values are ?1, ?2 ... of first, mend;
                                   ?5 is now, ?6 and ?7 until when what is done or failed is kept */
    const char *match;          /* the row with these keys */
    int key_count;
    int job;                    /* which key is a job's id; -1: none */
    const struct jobq__audit_rule *rules;
    int count;
    /* Of the last rules of the part, those without SQL: which of them the row breaks on which s
     * stands; and what puts one right. tells is a column of s for it, or "0". */
    const char *tells;
    int (*ask)(struct jobq__audit_known *known, jobq__store *db, sqlite3_stmt *s,
               uint64_t *broken);
    int (*put)(struct jobq__audit_known *known, jobq__store *db, int rule, int64_t key,
               const struct jobq__mend *with);
    bool recounts;              /* what is put right here may be counted as something else */
    enum jobq__audit_way look;
};

/* NULL behind the last. */
JOBQ__INTERNAL const struct jobq__audit_part *jobq__audit_part(int i);

/* ---- The counters (audit_count.c) ---- */

/* Is told of one that is not what it should be. False: that is enough. */
typedef bool jobq__audit_differs(void *ctx, int64_t queue, int64_t kind, const char *counter,
                                 int64_t is, int64_t jobs);

JOBQ__INTERNAL int jobq__audit_counts(jobq__store *db, jobq__audit_differs *differs, void *ctx);

#endif
