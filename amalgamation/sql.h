/* sql.h - every statement that jobq runs again and again, by name. */
#ifndef JOBQ__SQL_H
#define JOBQ__SQL_H

#include "limits.h"

/* Design note.
 *
 * The row (tables in schema.c) is shaped by measurement: a claim and a settle must not change its
 * size, no index may have a predicate or a column that a claim touches but jobq_live itself, and
 * what is rare stands in jobq_extra. Consecutive ids, the normal case of a queue, are claimed and
 * settled by one BETWEEN statement; the caller compares the number of changed rows. What it reads
 * is what is between, as long as SQLite believes no statistics of these tables (schema.c). One job
 * alone is found by its id: SQLite changes or deletes it in passing, without a walk.
 * created_at is NULL while it equals run_at.
 *
 * Columns that a job needs to be run, in the order that jobq__store_next reads them: first what
 * it always needs, then its queue, which a ready row has for a lane, and last what is 1, 0 and 0
 * before the first run: */
#define JOBQ__TEXT_ROW \
    "id, state, lane, run_at, kind, priority, runs, created_at, side, payload," \
    " queue, attempt, crashes, delay_ms"

#define JOBQ__TEXT_VALUES "(?,?,?,?,?,?,?,?,1,?,0,0,?,?,?)"
#define JOBQ__TEXT_TWO JOBQ__TEXT_VALUES "," JOBQ__TEXT_VALUES
#define JOBQ__TEXT_MANY /* JOBQ__INSERT_ROWS of them */ \
    JOBQ__SIZE(JOBQ__TEXT_TWO "," JOBQ__TEXT_TWO "," JOBQ__TEXT_TWO "," JOBQ__TEXT_TWO, \
               JOBQ__TEXT_TWO)
#define JOBQ__TEXT_INSERT \
    "INSERT INTO jobq_job(id, state, lane, ord, run_at, kind, queue, priority, attempt, runs," \
    " crashes, delay_ms, created_at, side, payload) VALUES"

/* A byte of lane goes; runs takes one when it becomes 2, else ord does, which means nothing then (0
 * and 1 take no byte, less than 128 one): a row of the same size is changed in place, and a large
 * payload is not touched. */
#define JOBQ__TEXT_CLAIM \
    "UPDATE jobq_job SET state = 1, lane = NULL, runs = runs + 1," \
    " ord = iif(runs = 1, ord, iif(ord IN (0, 1), 2, iif(abs(ord) < 128, 128, ord)))"

/* A name, or what an id is called that has none (store.h). */
#define JOBQ__TEXT_NAME(name, id) \
    " coalesce(" name ", iif(typeof(" id ") = 'integer' AND " id " BETWEEN 2 AND " \
    JOBQ__STRING(JOBQ__NAME_ID_MAX) ", 'lost:' || " id ", NULL)),"

/* What jobq_get and jobq_list read, in the order that store_read.c expects. */
#define JOBQ__TEXT_INFO \
    "SELECT j.id, j.state, j.lane, j.priority, j.attempt, j.runs, j.crashes," \
    " j.created_at, j.run_at, j.finished_at," \
    " iif(typeof(j.payload) IN ('null', 'blob'), length(j.payload), -1)," \
    JOBQ__TEXT_NAME("k.name", "j.kind") JOBQ__TEXT_NAME("q.name", "j.queue") " x.key," \
    " x.error, iif(typeof(x.result) IN ('null', 'blob'), length(x.result), -1)," \
    " j.prune_at, j.ord FROM jobq_job j" \
    " LEFT JOIN jobq_name k ON k.id = j.kind LEFT JOIN jobq_name q ON q.id = j.queue" \
    " LEFT JOIN jobq_extra x ON x.job = j.id AND j.side <> 0 "

/* Finished rows that are kept for a time, in the order that jobq__store_prune_walk reads them. */
#define JOBQ__TEXT_PRUNE \
    "SELECT id, side, state, prune_at FROM jobq_job WHERE prune_at IS NOT NULL"

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
    /* names; NAME_ID also tells the text as the file would give it back */ \
    X(NAME_ID, "SELECT (SELECT id FROM jobq_name WHERE name = ?1), ?1") \
    X(NAME_ADD, "INSERT INTO jobq_name(id, name) VALUES(?1, ?2)") \
    X(NAME_COUNT, "SELECT count(*), max(id) FROM jobq_name") \
    X(NAME_TEXT, "SELECT id, name FROM jobq_name WHERE id = ?1") \
    X(NAME_USED, "SELECT 1 FROM jobq_job WHERE kind = ?1 OR queue = ?1 LIMIT 1") \
    X(LANE_AFTER, "SELECT min(lane) FROM jobq_job WHERE lane IS NOT NULL AND lane > ?1") \
    /* enqueue */ \
    X(MAX_ID, "SELECT max(coalesce((SELECT max(id) FROM jobq_job), 0)," \
              " (SELECT last_id FROM jobq_claims))") \
    X(INSERT, JOBQ__TEXT_INSERT JOBQ__TEXT_VALUES) \
    X(INSERT_MANY, JOBQ__TEXT_INSERT JOBQ__TEXT_MANY) \
    X(UNIQUE_FIND, "SELECT u.job, j.state, j.side, iif(j.id IS NULL, NULL," \
                   " ?2 IS (SELECT key FROM jobq_extra WHERE job = j.id)) FROM jobq_unique u" \
                   " LEFT JOIN jobq_job j ON j.id = u.job WHERE u.kind = ?1 AND u.key = ?2") \
    X(UNIQUE_ADD, "INSERT INTO jobq_unique(kind, key, job) VALUES(?1, ?2, ?3)") \
    X(UNIQUE_DROP, "DELETE FROM jobq_unique WHERE job = ?2 AND kind = ?1" \
                   " AND key = (SELECT key FROM jobq_extra WHERE job = ?2)") \
    X(KEY_TEXT, "SELECT job, key FROM jobq_extra WHERE job = ?1") \
    X(UNIQUE_HOLDER, "SELECT job, NULL, NULL, NULL FROM jobq_unique WHERE kind = ?1" \
                     " AND key = (SELECT key FROM jobq_extra WHERE job = ?2)") \
    X(UNIQUE_AGAIN, "INSERT INTO jobq_unique(kind, key, job)" \
                    " SELECT ?1, key, ?2 FROM jobq_extra WHERE job = ?2 AND key IS NOT NULL") \
    /* claim */ \
    X(READY, "SELECT " JOBQ__TEXT_ROW " FROM jobq_job WHERE lane = ?1" \
             " ORDER BY ord, run_at, id LIMIT ?2") \
    X(DUE, "SELECT " JOBQ__TEXT_ROW " FROM jobq_job WHERE lane = 0 AND ord = 0 AND run_at <= ?1" \
           " ORDER BY run_at, id LIMIT ?2") \
    X(NEXT_DUE, "SELECT run_at FROM jobq_job WHERE lane = 0 AND ord = 0" \
                " ORDER BY run_at LIMIT 1") \
    X(NEVER_DUE, "SELECT id FROM jobq_job WHERE lane = 0 AND ord < 0 UNION ALL" \
                 " SELECT id FROM jobq_job WHERE lane = 0 AND ord > 0 LIMIT 1") \
    X(ROW, "SELECT " JOBQ__TEXT_ROW " FROM jobq_job WHERE id = ?1") \
    X(CLAIM, JOBQ__TEXT_CLAIM " WHERE id BETWEEN ?1 AND ?2 AND state = 0") \
    X(CLAIM_ONE, JOBQ__TEXT_CLAIM " WHERE id = ?1 AND state = 0") \
    /* Where a time is the same, created_at may still be NULL for it. */ \
    X(PLACE, "UPDATE jobq_job SET state = 0, lane = ?4, ord = ?5, run_at = ?6, attempt = ?7," \
             " runs = ?8, crashes = ?9, delay_ms = ?10, side = (side | ?11) & ~4," \
             " created_at = iif(run_at = ?6, created_at, coalesce(created_at, run_at))," \
             " finished_at = NULL, prune_at = NULL WHERE id = ?1 AND state = ?2 AND runs = ?3") \
    X(CLAIMS_SET, "UPDATE jobq_claims SET ids = ?1, last_id = ?2") \
    /* SQLite does not write what has not changed, and then there is nothing to sync. */ \
    X(SYNC, "UPDATE jobq_meta SET value = iif(value BETWEEN 0 AND 1000000000, value + 1, 0)" \
            " WHERE key = 'syncs'") \
    X(CLAIMS_GET, "SELECT one, ids, last_id FROM jobq_claims") \
    /* settle */ \
    X(DROP_RUNS, "DELETE FROM jobq_job WHERE id BETWEEN ?1 AND ?2 AND state = 1 AND runs = ?3") \
    X(DROP_ONE, "DELETE FROM jobq_job WHERE id = ?1 AND state = ?2 AND runs = ?3") \
    X(FINISH_RUNS, "UPDATE jobq_job SET state = ?4, finished_at = ?5, prune_at = ?6" \
                   " WHERE id BETWEEN ?1 AND ?2 AND state = 1 AND runs = ?3") \
    X(END, "UPDATE jobq_job SET state = ?2, lane = NULL, finished_at = ?3, prune_at = ?4," \
           " side = (side | ?5) & ~4 WHERE id = ?1 AND state = ?6 AND runs = ?7") \
    X(WISH, "UPDATE jobq_job SET side = side | 4 WHERE id = ?1 AND state = 1 AND runs = ?2") \
    X(FORGIVE, "UPDATE jobq_job SET crashes = 0, side = side | ?3" \
               " WHERE id = ?1 AND state = 1 AND runs = ?2") \
    X(DROP, "DELETE FROM jobq_job WHERE id = ?1") \
    /* the side row */ \
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
    X(PRUNE_DUE, JOBQ__TEXT_PRUNE " AND prune_at <= ?1" \
                 " ORDER BY prune_at LIMIT ?2") \
    /* done or cancelled, but not what is kept for ever */ \
    X(PRUNE_DONE, JOBQ__TEXT_PRUNE " AND prune_at < ?1" \
                  " AND state <> 3 ORDER BY prune_at LIMIT ?2") \
    X(PRUNE_NEXT, "SELECT min(prune_at) FROM jobq_job WHERE prune_at IS NOT NULL") \
    X(PRUNE_OVER, JOBQ__TEXT_PRUNE " ORDER BY prune_at LIMIT min(?1, max(0," \
                  " (SELECT count(*) FROM jobq_job WHERE prune_at IS NOT NULL) - ?2))") \
    /* look inside */ \
    X(INFO, JOBQ__TEXT_INFO "WHERE j.id = ?1") \
    X(INFO_AFTER, JOBQ__TEXT_INFO "WHERE j.id > ?1 ORDER BY j.id LIMIT ?2") \
    /* First what is equal to the cursor but for the id, then what is beyond: only so does SQLite \
     * seek to the very row, and a listing among equals does not begin anew each time. */ \
    X(INFO_LIVE, "SELECT * FROM (" JOBQ__TEXT_INFO "WHERE j.lane = ?1 AND j.ord = ?3" \
                 " AND j.run_at = ?4 AND j.id > ?5 ORDER BY j.id LIMIT ?2) UNION ALL" \
                 " SELECT * FROM (" JOBQ__TEXT_INFO "WHERE j.lane IS NOT NULL" \
                 " AND (j.lane, j.ord, j.run_at) > (?1, ?3, ?4)" \
                 " ORDER BY j.lane, j.ord, j.run_at, j.id LIMIT ?2)") \
    X(INFO_FINISHED, "SELECT * FROM (" JOBQ__TEXT_INFO "WHERE j.prune_at = ?1 AND j.id > ?3" \
                     " ORDER BY j.id LIMIT ?2) UNION ALL SELECT * FROM (" JOBQ__TEXT_INFO \
                     "WHERE j.prune_at IS NOT NULL AND j.prune_at > ?1" \
                     " ORDER BY j.prune_at, j.id LIMIT ?2)") \
    X(PAYLOAD, "SELECT id, payload FROM jobq_job WHERE id = ?1") \
    X(RESULT, "SELECT j.id, x.result FROM jobq_job j LEFT JOIN jobq_extra x ON x.job = j.id" \
              " WHERE j.id = ?1") \
    X(COUNT, "SELECT id, state, lane, run_at, ord FROM jobq_job WHERE id > ?1" \
             " ORDER BY id LIMIT ?2")

enum jobq__sql {
#define JOBQ__SQL_ENUM(name, text) JOBQ__SQL_##name,
    JOBQ__SQL_LIST(JOBQ__SQL_ENUM)
#undef JOBQ__SQL_ENUM
    JOBQ__SQL_COUNT_
};

#endif
