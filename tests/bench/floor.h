/* floor.h - the floor: the least SQLite work that a durable job can cost.
 *
 * One thread, one connection, one table, one partial index, prepared statements, and nothing of
 * a queue: no retries, no recovery, no names, no events. What jobq reaches is told as a ratio to
 * this. Every function ends the program with a sentence when SQLite fails.
 */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

#include <stdbool.h>
#include <stdint.h>

/* The one place for what both sides must have in common: jobq's defaults for pages and the length
 * of the log. Its cache is SQLite's default as well, so it is not set here. */
#define FLOOR_PAGE_SIZE 2048
#define FLOOR_LOG_BYTES (4000 * 1024)
#define FLOOR_PAYLOAD_SIZE 100
#define FLOOR_PAYLOAD_BYTE 'x'

struct floor;

/* A fresh file with the floor's table; synced: synchronous=FULL, else NORMAL. page_size 0: jobq's
 * default. */
struct floor *floor_open(const char *path, bool synced, int page_size);
/* How many pages the log has when it is time for a checkpoint. */
int floor_log_pages(const struct floor *f);
void floor_close(struct floor *f);

/* enqueue_bN: stores so many jobs, batch of them in a transaction. */
void floor_enqueue(struct floor *f, int64_t jobs, int batch);

/* cycle_bN: until no job is left, one transaction deletes the jobs just finished and claims up
 * to batch more: found by the index, payload read and copied, marked as running. Returns how
 * many jobs went through. */
int64_t floor_cycle(struct floor *f, int batch);

/* From now on jobs just finished are not deleted: they are marked and stand in a second index by
 * the time of their end, so that they can be dropped some day. */
void floor_keep(struct floor *f);

/* Milliseconds that one PASSIVE checkpoint takes when rows all over the table, 16 a transaction,
 * have been changed twice each (as by claim and settle) until the log was pages long. */
double floor_checkpoint_ms(struct floor *f, int pages);

#endif
