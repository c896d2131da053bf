/* stored.h - every number that reaches the file, and those that are not used again. */
#ifndef JOBQ__STORED_H
#define JOBQ__STORED_H

#include "limits.h"

/* Design note.
 *
 * What stands here is part of the file format: the number of a name never changes, and a number
 * that meant something once never means something else. A new one is appended, with its line at
 * the end of this file; one that is given up moves to the list of the retired, with the schema that
 * knew it. Texts of sql.h and of the views in schema.c hold some of these numbers by themselves.
 *
 * Retired, and of which schema (names of tables: schema.c):
 *
 *   1   jobq_row.lane NULL      the row does not wait; now only the state says so, and the lane of
 *                               such a row means nothing
 *   1   jobq_meta 'lost'        the highest id that a name was lost of; only of versions between
 *                               0.1.0 and the next
 *   1   lock page "jobq-1"      its mark tells no byte order (owner.h) */

/* jobq_meta.schema: what a file is made as, and which one this jobq knows best. */
#define JOBQ__SCHEMA_VERSION 2
/* Of a file that jobq has made and no application has told to be its own: "jobq" in ASCII. */
#define JOBQ__APPLICATION_ID 1785684593

/* jobq_row.state. Claim and settle touch only 0 and 1, which SQLite stores without a byte. */
enum jobq__state {
    JOBQ__WAITING = 0,  /* ready, scheduled or parked: the lane says which */
    JOBQ__CLAIMED = 1,  /* in the ring or running: only this process knows which */
    JOBQ__DONE = 2,
    JOBQ__FAILED = 3,
    JOBQ__CANCELLED = 4,
    JOBQ__NEW = 5       /* before the row exists; never stored */
};

/* jobq_row.lane, of a waiting row; of others it means nothing. A queue's id: ready. Below -1: the
 * row waits before a gate, so far always for a handler of its kind, minus the kind's id. What a
 * lane means is asked of jobq__stored_stand. */
enum {
    JOBQ__LANE_OWN_TIME = -1,   /* scheduled for the end of a duration: run_at is the queue's own
                                   time (clock.h); anywhere else it is by the wall */
    JOBQ__LANE_SCHEDULED = 0,   /* scheduled for a point in time, by the wall */
    JOBQ__LANE_SUSPECT = 1,     /* crashed before; ready, but one at a time */
    JOBQ__LANE_NONE = INT32_MIN /* in memory only: the row does not wait */
};

/* How a row of a lane stands. */
enum jobq__stand {
    JOBQ__STANDS_NOWHERE,   /* it does not wait */
    JOBQ__STANDS_IN_LINE,   /* ready: it has its turn */
    JOBQ__STANDS_TILL_DUE,  /* for its time */
    JOBQ__STANDS_AT_GATE    /* until that opens, or has room */
};

static inline enum jobq__stand jobq__stored_stand(int64_t lane) {
    if (lane == JOBQ__LANE_NONE) return JOBQ__STANDS_NOWHERE;
    if (lane > JOBQ__LANE_SCHEDULED) return JOBQ__STANDS_IN_LINE;
    return lane < JOBQ__LANE_OWN_TIME ? JOBQ__STANDS_AT_GATE : JOBQ__STANDS_TILL_DUE;
}

/* jobq_row.side: what stands beside the row, and goes with it. */
enum {
    JOBQ__SIDE_EXTRA = 1,   /* a row in jobq_extra */
    JOBQ__SIDE_KEY = 2,     /* that with a key, and a row in jobq_key */
    /* Of a claimed row: somebody wants it cancelled. Whatever settles the row takes it away. */
    JOBQ__SIDE_CANCEL = 4,
    JOBQ__SIDE_PAYLOAD = 8, /* a row in jobq_payload, which has the payload; jobq_row.payload is the
                               number of its bytes then */
    JOBQ__SIDE_ALL = 15     /* every bit that a row may have */
};

/* jobq_key.held. Only the texts of sql.h use it. */
enum { JOBQ__KEY_FREE = 0, JOBQ__KEY_HELD = 1 };

/* jobq_name.what, and jobq_rule.what */
enum jobq__what {
    JOBQ__NAME_ANY = 0,     /* of schema 1, where a name served as kind and as queue; or lost */
    JOBQ__NAME_QUEUE = 1,
    JOBQ__NAME_KIND = 2,
    JOBQ__NAME_GROUP = 3,
    JOBQ__NAME_EVENT = 4,
    JOBQ__NAME_SCHEDULE = 5,
    JOBQ__NAME_LANE = 6     /* where jobs of a kind wait in one queue, which is the scope */
};

/* jobq_rule.layer */
enum { JOBQ__RULE_DECLARED = 1, JOBQ__RULE_OVERRIDDEN = 2 };

/* In the page of the lock file, which other versions read: the state of a slot (owner.h). */
enum {
    JOBQ__SLOT_IDLE = 0,
    JOBQ__SLOT_STARTED = 1,
    JOBQ__SLOT_RELEASED = 2,
    JOBQ__SLOT_GUILTY = 3
};

/* There, too: what an owner says of other writers. NOBODY: there is no owner now, and it has left
 * by itself. HAS_IT_ALL: nobody else may so much as open the file. */
enum {
    JOBQ__WRITES_ALONE = 0,
    JOBQ__SHARES = 1,
    JOBQ__NOBODY = 2,
    JOBQ__HAS_IT_ALL = 3
};

/* jobq_note.outcome is a jobq_outcome. Alarms, notes, policies and verbs have no numbers yet. */

#define JOBQ__STORED(name, value) \
    typedef char jobq__stored_##name[(int)(name) == (value) ? 1 : -1]

JOBQ__STORED(JOBQ__SCHEMA_VERSION, 2);
JOBQ__STORED(JOBQ__APPLICATION_ID, 0x6a6f6271);

JOBQ__STORED(JOBQ__WAITING, 0);
JOBQ__STORED(JOBQ__CLAIMED, 1);
JOBQ__STORED(JOBQ__DONE, 2);
JOBQ__STORED(JOBQ__FAILED, 3);
JOBQ__STORED(JOBQ__CANCELLED, 4);

JOBQ__STORED(JOBQ__LANE_OWN_TIME, -1);
JOBQ__STORED(JOBQ__LANE_SCHEDULED, 0);
JOBQ__STORED(JOBQ__LANE_SUSPECT, 1);

JOBQ__STORED(JOBQ__SIDE_EXTRA, 1);
JOBQ__STORED(JOBQ__SIDE_KEY, 2);
JOBQ__STORED(JOBQ__SIDE_CANCEL, 4);
JOBQ__STORED(JOBQ__SIDE_PAYLOAD, 8);

JOBQ__STORED(JOBQ__KEY_FREE, 0);
JOBQ__STORED(JOBQ__KEY_HELD, 1);

JOBQ__STORED(JOBQ__NAME_ANY, 0);
JOBQ__STORED(JOBQ__NAME_QUEUE, 1);
JOBQ__STORED(JOBQ__NAME_KIND, 2);
JOBQ__STORED(JOBQ__NAME_GROUP, 3);
JOBQ__STORED(JOBQ__NAME_EVENT, 4);
JOBQ__STORED(JOBQ__NAME_SCHEDULE, 5);
JOBQ__STORED(JOBQ__NAME_LANE, 6);

JOBQ__STORED(JOBQ__RULE_DECLARED, 1);
JOBQ__STORED(JOBQ__RULE_OVERRIDDEN, 2);

JOBQ__STORED(JOBQ__SLOT_IDLE, 0);
JOBQ__STORED(JOBQ__SLOT_STARTED, 1);
JOBQ__STORED(JOBQ__SLOT_RELEASED, 2);
JOBQ__STORED(JOBQ__SLOT_GUILTY, 3);

JOBQ__STORED(JOBQ__WRITES_ALONE, 0);
JOBQ__STORED(JOBQ__SHARES, 1);
JOBQ__STORED(JOBQ__NOBODY, 2);
JOBQ__STORED(JOBQ__HAS_IT_ALL, 3);

JOBQ__STORED(JOBQ_OUTCOME_NONE, 0);
JOBQ__STORED(JOBQ_DONE, 1);
JOBQ__STORED(JOBQ_RETRY, 2);
JOBQ__STORED(JOBQ_FAIL, 3);
JOBQ__STORED(JOBQ_RESCHEDULE, 4);
JOBQ__STORED(JOBQ_SNOOZE, 5);
JOBQ__STORED(JOBQ_CANCELLED, 6);
JOBQ__STORED(JOBQ_CRASHED, 7);
JOBQ__STORED(JOBQ_STOPPED, 8);

#endif
