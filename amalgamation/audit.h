/* audit.h - what has to hold in the tables: looked at in slices, and put right. */
#ifndef JOBQ__AUDIT_H
#define JOBQ__AUDIT_H

#include "store.h"

/* Design note.
 *
 * What has to hold is a list of rules (audit_rules.c), in parts: a part is one table, or index,
 * that is walked from one end to the other. Whoever checks calls, until it is over,
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
 *     is not touched. No rule takes a job away, or ends one that had not ended.
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
/* How many rules are broken in that slice. */
JOBQ__INTERNAL int64_t jobq__audit_faults(const struct jobq__audit *audit);

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
    int (*ask)(struct jobq__audit *audit, jobq__store *db, sqlite3_stmt *s, uint64_t *broken);
    int (*put)(struct jobq__audit *audit, jobq__store *db, int rule, int64_t key,
               const struct jobq__mend *with);
    bool recounts;              /* what is put right here may be counted as something else */
    /* Instead of all that, tells what it finds, in one slice; what puts it right is not SQL. */
    int (*look)(struct jobq__audit *audit, jobq__store *db);
};

/* NULL behind the last. */
JOBQ__INTERNAL const struct jobq__audit_part *jobq__audit_part(int i);

/* quick_check (audit.c), and the counters against what their rows come to (audit_count.c). */
JOBQ__INTERNAL int jobq__audit_file(struct jobq__audit *audit, jobq__store *db);
JOBQ__INTERNAL int jobq__audit_counts(struct jobq__audit *audit, jobq__store *db);

/* For those two: another fault; rule: the part's first one puts it right. False: no more of them
 * are told. */
JOBQ_PRINTF(3, 4)
JOBQ__INTERNAL bool jobq__audit_tell(struct jobq__audit *audit, bool rule, const char *format,
                                     ...);

/* The ids that the claims row names, in order, of this slice's moment; false in *known if they
 * cannot be read. */
JOBQ__INTERNAL int jobq__audit_claims(struct jobq__audit *audit, jobq__store *db, bool *known);
JOBQ__INTERNAL bool jobq__audit_claimed(const struct jobq__audit *audit, int64_t id);
/* One of the gates that were given; 0 behind the last. */
JOBQ__INTERNAL int32_t jobq__audit_gate(const struct jobq__audit *audit, size_t i);

#endif
