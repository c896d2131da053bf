/* sql.h - every statement that jobq runs again and again, by name. */
#ifndef JOBQ__SQL_H
#define JOBQ__SQL_H

#include "limits.h"

/* Design note.
 *
 * The row (tables in schema.c) is shaped by measurement: it is small, whatever its payload is,
 * and what is rare stands beside it. A claim changes the state and counts the run: lane and ord
 * stay, and mean nothing as long as the job does not wait. Of the index jobq_live only an entry
 * goes, and jobq_finished does not name the state, so that a claim has nothing to do with it. For
 * the same reason the failed ones, which somebody wants to see at once, are found by a table of
 * their own: an index of them would be asked at each change of each job, the table costs only those
 * that fail. Consecutive ids, the normal case of a queue, are claimed and settled by one BETWEEN
 * statement; the caller compares the number of changed rows. What it reads is what is between, as
 * long as SQLite believes no statistics of these tables (schema.c). One job alone is found by its
 * id: SQLite changes or deletes it in passing, without a walk. created_at is NULL while it equals
 * run_at. A payload of more than a quarter of a page stands in jobq_payload, written at enqueue and
 * never changed; then the row has the number of its bytes instead.
 *
 * Columns that a job needs to be run, in the order that jobq__store_next reads them, for each that
 * it need not read is a gain: first what it always needs, then its lane, which a walk of a lane
 * knows, its queue, which a ready row has for a lane, and last what is 1, 0 and 0 before the first
 * run: */
#define JOBQ__TEXT_ROW \
    "id, state, run_at, kind, priority, runs, created_at, side, payload," \
    " lane, queue, attempt, crashes, delay_ms"

#define JOBQ__TEXT_VALUES "(?,?,?,?,?,?,?,?,1,?,0,0,?,?,?)"
#define JOBQ__TEXT_TWO JOBQ__TEXT_VALUES "," JOBQ__TEXT_VALUES
#define JOBQ__TEXT_MANY /* JOBQ__INSERT_ROWS of them */ \
    JOBQ__SIZE(JOBQ__TEXT_TWO "," JOBQ__TEXT_TWO "," JOBQ__TEXT_TWO "," JOBQ__TEXT_TWO, \
               JOBQ__TEXT_TWO)
#define JOBQ__TEXT_INSERT \
    "INSERT INTO jobq_row(id, state, lane, ord, run_at, kind, queue, priority, attempt, runs," \
    " crashes, delay_ms, created_at, side, payload) VALUES"

#define JOBQ__TEXT_CLAIM "UPDATE jobq_row SET state = 1, runs = runs + 1"

/* What a kind or a queue may have for an id; what one is called that has no name (store.h); and
 * such ids of these rows, j, get that for their name. Each is a column of jobq_row's. If another
 * one is called so, it is the other that is found by the name: only there the scope is 0. */
#define JOBQ__TEXT_IS_NAME_ID(id) \
    "typeof(" id ") = 'integer' AND " id " BETWEEN 2 AND " JOBQ__STRING(JOBQ__NAME_ID_MAX)
#define JOBQ__TEXT_LOST(id) "'lost:' || " id
#define JOBQ__TEXT_IS_LOST(id) \
    id " NOT IN (SELECT id FROM jobq_name) AND " JOBQ__TEXT_IS_NAME_ID(id)
#define JOBQ__TEXT_NAME_LOST(id, rows) \
    "INSERT OR IGNORE INTO jobq_name SELECT DISTINCT " id ", 0," \
    " iif(EXISTS(SELECT 1 FROM jobq_name WHERE what = 0 AND scope = 0 AND name = " \
    JOBQ__TEXT_LOST(id) "), " id ", 0), " JOBQ__TEXT_LOST(id) " FROM jobq_row j WHERE " rows

/* A name, or that. */
#define JOBQ__TEXT_NAME(name, id) \
    " coalesce(" name ", iif(" JOBQ__TEXT_IS_NAME_ID(id) ", " JOBQ__TEXT_LOST(id) ", NULL)),"

/* What jobq_get and jobq_list read, in the order that store_read.c expects. It is long, and stands
 * in many statements: as %s, which jobq__db_get fills in. */
#define JOBQ__TEXT_INFO_COLUMNS \
    "SELECT j.id, j.state, j.lane, j.priority, j.attempt, j.runs, j.crashes, j.side," \
    " j.created_at, j.run_at, j.finished_at," \
    " iif(j.side & 8, coalesce(j.payload, -1)," \
    " iif(typeof(j.payload) IN ('null', 'blob'), length(j.payload), -1))," \
    JOBQ__TEXT_NAME("k.name", "j.kind") JOBQ__TEXT_NAME("q.name", "j.queue") " x.key," \
    " x.error, iif(typeof(x.result) IN ('null', 'blob'), length(x.result), -1)," \
    " j.prune_at, j.ord"
#define JOBQ__TEXT_INFO_BESIDE \
    " LEFT JOIN jobq_name k ON k.id = j.kind LEFT JOIN jobq_name q ON q.id = j.queue" \
    " LEFT JOIN jobq_extra x ON x.job = j.id AND j.side & 3 "
#define JOBQ__TEXT_PARTS /* in this order, and so many at most */ \
    JOBQ__TEXT_INFO_COLUMNS, JOBQ__TEXT_INFO_BESIDE, JOBQ__TEXT_INFO_COLUMNS, \
    JOBQ__TEXT_INFO_BESIDE
#define JOBQ__TEXT_INFO "%s FROM jobq_row j%s"
/* Without an id where there is no such job; the last column is the job that was looked for. */
#define JOBQ__TEXT_INFO_FAILED \
    "%s, f.job FROM jobq_failed f LEFT JOIN jobq_row j ON j.id = f.job AND j.state = 3" \
    " AND j.prune_at = f.at%s"
/* The same of those that have the key, or had it. The kind is the one that jobq_enqueue would find
 * by that name, ?3, or else the number that a lost one is called by, ?5. */
#define JOBQ__TEXT_INFO_KEY(held) \
    "%s, u.job FROM jobq_key u LEFT JOIN jobq_row j ON j.id = u.job AND j.kind = u.kind" \
    " AND j.side & 2 AND u.key IS (SELECT key FROM jobq_extra WHERE job = u.job)%s" \
    "WHERE u.kind = coalesce(" \
    "(SELECT id FROM jobq_name WHERE what = 2 AND scope = 0 AND name = ?3)," \
    " (SELECT id FROM jobq_name WHERE what = 0 AND scope = 0 AND name = ?3), ?5)" \
    " AND u.key = ?4 AND u.held = " held " AND u.job > ?1"

/* Finished rows that are kept for a time, in the order that jobq__store_prune_walk reads them. */
#define JOBQ__TEXT_PRUNE \
    "SELECT id, side, state, prune_at, kind, queue FROM jobq_row" \
    " WHERE prune_at IS NOT NULL"

/* The row of the claims, and where those of the counters begin: see schema.c. */
#define JOBQ__TEXT_CLAIMS "jobq_claims WHERE one = 1"
#define JOBQ__TEXT_PAIRS "8589934592"

/* The number is one that goes by that name, or none is asked for. */
#define JOBQ__TEXT_CALLED(number, what, name) \
    "(" name " IS NULL OR " number " IN (SELECT id FROM jobq_name WHERE what IN (0, " what ")" \
    " AND scope = 0 AND name = " name "))"

#define JOBQ__SQL_LIST(X) \
    X(BEGIN, "BEGIN IMMEDIATE") \
    X(COMMIT, "COMMIT") \
    X(ROLLBACK, "ROLLBACK") \
    X(SAVE, "SAVEPOINT jobq_part") \
    X(SAVE_UNDO, "ROLLBACK TO jobq_part") \
    X(SAVE_END, "RELEASE jobq_part") \
    X(SYNC_FULL, "PRAGMA synchronous=FULL") \
    X(SYNC_NORMAL, "PRAGMA synchronous=NORMAL") \
    X(DATA_VERSION, "PRAGMA data_version") \
    /* names; NAME_ID also tells the text as the file would give it back. A name of schema 1 \
     * serves where there is none of what is asked for. */ \
    X(NAME_ID, "SELECT (SELECT id FROM jobq_name WHERE what = ?1 AND scope = 0 AND name = ?2)," \
               " (SELECT id FROM jobq_name WHERE what = 0 AND scope = 0 AND name = ?2)," \
               " (SELECT next_name FROM " JOBQ__TEXT_CLAIMS "), ?2") \
    X(NAME_ADD, "INSERT INTO jobq_name(id, what, scope, name) VALUES(?1, ?2, 0, ?3)") \
    X(NAME_COUNT, "SELECT count(*) FROM jobq_name WHERE what BETWEEN 0 AND 2") \
    X(NAME_NEXT, "SELECT next_name FROM " JOBQ__TEXT_CLAIMS) \
    X(NAME_GIVEN, "UPDATE jobq_claims SET next_name = max(next_name, ?1 + 1) WHERE one = 1") \
    X(NAME_TEXT, "SELECT id, what, name FROM jobq_name WHERE id = ?1") \
    X(LANE_AFTER, "SELECT min(lane) FROM jobq_row WHERE state = 0 AND lane > ?1") \
    /* enqueue */ \
    X(MAX_ID, "SELECT max(coalesce((SELECT max(id) FROM jobq_row), 0)," \
              " (SELECT last_id FROM " JOBQ__TEXT_CLAIMS "))") \
    X(INSERT, JOBQ__TEXT_INSERT JOBQ__TEXT_VALUES) \
    X(INSERT_MANY, JOBQ__TEXT_INSERT JOBQ__TEXT_MANY) \
    X(PAYLOAD_ADD, "INSERT INTO jobq_payload(job, data) VALUES(?1, ?2)") \
    X(KEY_FIND, "SELECT u.job, j.state, j.side, iif(j.id IS NULL, NULL," \
                " ?2 IS (SELECT key FROM jobq_extra WHERE job = j.id)) FROM jobq_key u" \
                " LEFT JOIN jobq_row j ON j.id = u.job" \
                " WHERE u.kind = ?1 AND u.key = ?2 AND u.held = 1") \
    X(KEY_ADD, "INSERT INTO jobq_key(kind, key, held, job) VALUES(?1, ?2, 1, ?3)") \
    X(KEY_FREE, "UPDATE jobq_key SET held = 0 WHERE kind = ?1 AND job = ?2 AND held = 1" \
                " AND key = (SELECT key FROM jobq_extra WHERE job = ?2)") \
    X(KEY_DROP, "DELETE FROM jobq_key WHERE kind = ?1 AND job = ?2 AND held IN (0, 1)" \
                " AND key = (SELECT key FROM jobq_extra WHERE job = ?2)") \
    X(KEY_TEXT, "SELECT job, key FROM jobq_extra WHERE job = ?1") \
    X(KEY_HOLDER, "SELECT job FROM jobq_key WHERE kind = ?1 AND held = 1" \
                  " AND key = (SELECT key FROM jobq_extra WHERE job = ?2)") \
    X(KEY_AGAIN, "UPDATE jobq_key SET held = 1 WHERE kind = ?1 AND job = ?2 AND held = 0" \
                 " AND key = (SELECT key FROM jobq_extra WHERE job = ?2)") \
    /* claim */ \
    X(READY, "SELECT " JOBQ__TEXT_ROW " FROM jobq_row WHERE state = 0 AND lane = ?1" \
             " ORDER BY ord, run_at, id LIMIT ?2") \
    X(DUE, "SELECT " JOBQ__TEXT_ROW " FROM jobq_row WHERE state = 0 AND lane = ?3 AND ord = 0" \
           " AND run_at <= ?1 ORDER BY run_at, id LIMIT ?2") \
    X(NEXT_DUE, "SELECT run_at FROM jobq_row WHERE state = 0 AND lane = ?1 AND ord = 0" \
                " ORDER BY run_at LIMIT 1") \
    X(NEVER_DUE, "SELECT id FROM jobq_row WHERE state = 0 AND lane IN (-1, 0) AND ord < 0" \
                 " UNION ALL SELECT id FROM jobq_row WHERE state = 0 AND lane IN (-1, 0)" \
                 " AND ord > 0 LIMIT 1") \
    X(ON_WALL, "UPDATE jobq_row SET run_at = ?2, created_at = coalesce(created_at, run_at)" \
               " WHERE id = ?1") \
    X(ROW, "SELECT " JOBQ__TEXT_ROW " FROM jobq_row WHERE id = ?1") \
    X(CLAIM, JOBQ__TEXT_CLAIM " WHERE id BETWEEN ?1 AND ?2 AND state = 0") \
    X(CLAIM_ONE, JOBQ__TEXT_CLAIM " WHERE id = ?1 AND state = 0") \
    /* Where a time is the same, created_at may still be NULL for it. */ \
    X(PLACE, "UPDATE jobq_row SET state = 0, lane = ?4, ord = ?5, run_at = ?6, attempt = ?7," \
             " runs = ?8, crashes = ?9, delay_ms = ?10, side = (side | ?11) & ~4," \
             " created_at = iif(run_at = ?6, created_at, coalesce(created_at, run_at))," \
             " finished_at = NULL, prune_at = NULL WHERE id = ?1 AND state = ?2 AND runs = ?3") \
    /* by its number: else SQLite walks over the table for each */ \
    X(CLAIMS_SET, "UPDATE jobq_claims SET ids = ?1, last_id = ?2, counted = ?3, offset_ms = ?4," \
                  " wall_at = ?5 WHERE one = 1") \
    X(OPEN_SET, "UPDATE jobq_claims SET open = ?1 WHERE one = 1") \
    /* A job that came after the claims row was written came later. */ \
    X(OWN, "SELECT offset_ms, max(wall_at, min(coalesce((SELECT coalesce(created_at, run_at)" \
           " AS at FROM jobq_row WHERE id = (SELECT max(id) FROM jobq_row) AND id > last_id" \
           " AND typeof(at) = 'integer'), 0), " JOBQ__STRING(JOBQ__WALL_MAX) ")) FROM " \
           JOBQ__TEXT_CLAIMS) \
    /* SQLite does not write what has not changed, and then there is nothing to sync. */ \
    X(SYNC, "UPDATE jobq_meta SET value = iif(value BETWEEN 0 AND 1000000000, value + 1, 0)" \
            " WHERE key = 'syncs'") \
    X(CLAIMS_GET, "SELECT one, ids, last_id, open, counted, offset_ms, wall_at, next_name" \
                  " FROM jobq_claims WHERE one < " JOBQ__TEXT_PAIRS) \
    /* settle */ \
    X(DROP_RUNS, "DELETE FROM jobq_row WHERE id BETWEEN ?1 AND ?2 AND state = 1 AND runs = ?3") \
    X(DROP_ONE, "DELETE FROM jobq_row WHERE id = ?1 AND state = ?2 AND runs = ?3") \
    X(FINISH_RUNS, "UPDATE jobq_row SET state = ?4, finished_at = ?5, prune_at = ?6" \
                   " WHERE id BETWEEN ?1 AND ?2 AND state = 1 AND runs = ?3") \
    X(END, "UPDATE jobq_row SET state = ?2, finished_at = ?3, prune_at = ?4," \
           " side = (side | ?5) & ~4 WHERE id = ?1 AND state = ?6 AND runs = ?7") \
    X(WISH, "UPDATE jobq_row SET side = side | 4 WHERE id = ?1 AND state = 1 AND runs = ?2") \
    X(FORGIVE, "UPDATE jobq_row SET crashes = 0, side = side | ?3" \
               " WHERE id = ?1 AND state = 1 AND runs = ?2") \
    X(DROP, "DELETE FROM jobq_row WHERE id = ?1") \
    X(FAILED_ADD, "INSERT OR IGNORE INTO jobq_failed(at, job) VALUES(?1, ?2)") \
    X(FAILED_DROP, "DELETE FROM jobq_failed WHERE job = ?1" \
                   " AND at = (SELECT prune_at FROM jobq_row WHERE id = ?1)") \
    /* beside the row */ \
    X(PAYLOAD_GET, "SELECT data FROM jobq_payload WHERE job = ?1") \
    X(PAYLOAD_MAX, "SELECT max(job) FROM jobq_payload") \
    X(PAYLOAD_DROP, "DELETE FROM jobq_payload WHERE job = ?1") \
    X(EXTRA_KEY, "INSERT INTO jobq_extra(job, key) VALUES(?1, ?2)") \
    X(EXTRA_ERROR, "INSERT INTO jobq_extra(job, error) VALUES(?1, ?2)" \
                   " ON CONFLICT(job) DO UPDATE SET error = excluded.error") \
    X(EXTRA_RESULT, "INSERT INTO jobq_extra(job, result) VALUES(?1, ?2)" \
                    " ON CONFLICT(job) DO UPDATE SET result = excluded.result") \
    X(EXTRA_SAVED, "INSERT INTO jobq_extra(job, saved) VALUES(?1, ?2)" \
                   " ON CONFLICT(job) DO UPDATE SET saved = excluded.saved") \
    X(EXTRA_READ_SAVED, "SELECT saved FROM jobq_extra WHERE job = ?1") \
    X(EXTRA_MAX, "SELECT max(job) FROM jobq_extra") \
    X(EXTRA_DROP, "DELETE FROM jobq_extra WHERE job = ?1") \
    /* housekeeping */ \
    X(PRUNE_DUE, JOBQ__TEXT_PRUNE " AND prune_at <= ?1 ORDER BY prune_at LIMIT ?2") \
    /* done or cancelled, the oldest first, but not what is kept for ever */ \
    X(PRUNE_DONE, JOBQ__TEXT_PRUNE " AND prune_at < ?1 AND state <> 3 ORDER BY prune_at LIMIT ?2") \
    X(PRUNE_NEXT, "SELECT min(prune_at) FROM jobq_row WHERE prune_at IS NOT NULL") \
    X(PRUNE_OLDEST, JOBQ__TEXT_PRUNE " ORDER BY prune_at LIMIT ?1") \
    /* counters */ \
    X(BEGIN_READ, "BEGIN") \
    X(COUNTED, "SELECT counted FROM " JOBQ__TEXT_CLAIMS) \
    X(COUNT_ADD, "INSERT INTO jobq_claims(one, ready, scheduled, blocked, claimed, done, failed," \
                 " cancelled, retrying) VALUES((?1 << 32) + ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)" \
                 " ON CONFLICT(one) DO UPDATE SET ready = ready + ?3," \
                 " scheduled = scheduled + ?4, blocked = blocked + ?5, claimed = claimed + ?6," \
                 " done = done + ?7, failed = failed + ?8, cancelled = cancelled + ?9," \
                 " retrying = retrying + ?10") \
    X(UNCOUNTED, "SELECT id, queue, kind, state, lane, attempt FROM jobq_row" \
                 " WHERE id > ?1 AND id <= ?2") \
    X(COUNTS, "SELECT ready, scheduled, blocked, claimed, done, failed, cancelled, retrying" \
              " FROM jobq_claims WHERE one >= " JOBQ__TEXT_PAIRS) \
    X(COUNT_DUE, "SELECT (SELECT count(*) FROM jobq_row WHERE state = 0 AND lane = 0" \
                 " AND ord = 0 AND run_at <= ?1) + (SELECT count(*) FROM jobq_row" \
                 " WHERE state = 0 AND lane = -1 AND ord = 0 AND run_at <= ?2)") \
    X(ENDED, "SELECT (SELECT coalesce(sum(done + failed + cancelled), 0) FROM jobq_claims" \
             " WHERE one >= " JOBQ__TEXT_PAIRS ") + (SELECT count(*) FROM jobq_row" \
             " WHERE state > 1 AND id > (SELECT counted FROM " JOBQ__TEXT_CLAIMS "))") \
    /* look inside */ \
    X(INFO, JOBQ__TEXT_INFO "WHERE j.id = ?1") \
    /* Whether there is a job of kind ?1 and queue ?2, or any, in a state of the set ?3; also if \
     * more than ?4 ids are not counted. */ \
    X(INFO_ANY, "SELECT coalesce((SELECT max(id) FROM jobq_row) - counted > ?4, 0) OR EXISTS(" \
                "SELECT 1 FROM jobq_claims WHERE one >= " JOBQ__TEXT_PAIRS " AND " \
                JOBQ__TEXT_CALLED("one & 4294967295", "2", "?1") " AND " \
                JOBQ__TEXT_CALLED("one >> 32", "1", "?2") " AND ((?3 & 1 AND (ready OR" \
                " scheduled OR blocked)) OR (?3 & 2 AND claimed) OR (?3 & 4 AND done)" \
                " OR (?3 & 8 AND failed) OR (?3 & 16 AND cancelled))) OR EXISTS(" \
                "SELECT 1 FROM jobq_row j WHERE j.id > counted AND ?3 >> j.state & 1 AND " \
                JOBQ__TEXT_CALLED("j.kind", "2", "?1") " AND " \
                JOBQ__TEXT_CALLED("j.queue", "1", "?2") ") FROM " JOBQ__TEXT_CLAIMS) \
    X(INFO_AFTER, JOBQ__TEXT_INFO "WHERE j.id > ?1 ORDER BY j.id LIMIT ?2") \
    /* First what is equal to the cursor but for the id, then what is beyond: only so does SQLite \
     * seek to the very row, and a listing among equals does not begin anew each time. */ \
    X(INFO_LIVE, "SELECT * FROM (" JOBQ__TEXT_INFO "WHERE j.state = 0 AND j.lane = ?1" \
                 " AND j.ord = ?3 AND j.run_at = ?4 AND j.id > ?5 ORDER BY j.id LIMIT ?2)" \
                 " UNION ALL SELECT * FROM (" JOBQ__TEXT_INFO "WHERE j.state = 0" \
                 " AND (j.lane, j.ord, j.run_at) > (?1, ?3, ?4)" \
                 " ORDER BY j.lane, j.ord, j.run_at, j.id LIMIT ?2)") \
    X(INFO_FINISHED, "SELECT * FROM (" JOBQ__TEXT_INFO "WHERE j.prune_at = ?1 AND j.id > ?3" \
                     " ORDER BY j.id LIMIT ?2) UNION ALL SELECT * FROM (" JOBQ__TEXT_INFO \
                     "WHERE j.prune_at IS NOT NULL AND j.prune_at > ?1" \
                     " ORDER BY j.prune_at, j.id LIMIT ?2)") \
    X(INFO_FAILED, "SELECT * FROM (" JOBQ__TEXT_INFO_FAILED "WHERE f.at = ?1 AND f.job > ?3" \
                   " ORDER BY f.job LIMIT ?2) UNION ALL SELECT * FROM (" JOBQ__TEXT_INFO_FAILED \
                   "WHERE f.at > ?1 ORDER BY f.at, f.job LIMIT ?2)") \
    X(INFO_KEY, JOBQ__TEXT_INFO_KEY("0") " UNION ALL " JOBQ__TEXT_INFO_KEY("1") \
                " ORDER BY u.job LIMIT ?2") \
    /* The next lane behind ?4 of ready rows (?1 = 1), or before the gate of a kind (2), that is \
     * called so; ?3: the one of that name if it is lost. */ \
    X(LANE_CALLED, "SELECT min(lane) FROM (SELECT iif(?1 = 2, -id, id) AS lane FROM jobq_name" \
                   " WHERE what IN (0, ?1) AND scope = 0 AND name = ?2 UNION ALL SELECT ?3)" \
                   " WHERE lane > ?4") \
    X(PAYLOAD, "SELECT j.id, iif(j.side & 8, j.payload, NULL), iif(j.side & 8, p.data, j.payload)" \
               " FROM jobq_row j LEFT JOIN jobq_payload p ON p.job = j.id AND j.side & 8" \
               " WHERE j.id = ?1") \
    X(RESULT, "SELECT j.id, NULL, x.result FROM jobq_row j" \
              " LEFT JOIN jobq_extra x ON x.job = j.id WHERE j.id = ?1")

enum jobq__sql {
#define JOBQ__SQL_ENUM(name, text) JOBQ__SQL_##name,
    JOBQ__SQL_LIST(JOBQ__SQL_ENUM)
#undef JOBQ__SQL_ENUM
    JOBQ__SQL_COUNT_
};

#endif
