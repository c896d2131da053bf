/* clock.h - the readings of time: wall, monotonic, and an artificial clock's. */
#ifndef JOBQ__CLOCK_H
#define JOBQ__CLOCK_H

#include "list.h"
#include "os.h"

/* Three readings, never mixed; nothing else reads time.
 *
 *   wall      milliseconds of the epoch, never negative; it may be set forth and back at any time.
 *             Due times, history, housekeeping: what stands in the file.
 *   monotonic milliseconds since some moment; it only goes on. Durations of this process: a run's
 *             deadline and length, a sleep, a wait. No step of the wall reaches them.
 *   real      the monotonic reading in microseconds, of the system whatever the queue's clock is:
 *             grace, stall, busy waits, measured rates.
 *
 * In step mode under an artificial clock the same calls are to have the same history, on a machine
 * of any speed. So there real time decides nothing:
 *   - who has to wait for it sleeps where he is, and then does what he would have done: for the
 *     file, for memory. Nobody goes on and comes back when the time has come, for the clock may
 *     have been moved meanwhile;
 *   - what comes round every so often comes with each call: the look at what others have written;
 *   - what is measured steers nothing: one job is claimed at a time, a slice of housekeeping has
 *     so many pages, and no turn that was given up keeps it from being done.
 * Left to it is when to give up: busy_ms, stall_ms, and how soon it is seen that somebody has moved
 * the files. And a handler that keeps looking at its flag waits for its deadline, for which real
 * time alone is not enough (JOBQ__PATIENCE_LOOK_US).
 *
 * An artificial clock has the first two, and they are not the same number: its monotonic reading
 * begins at 0, as after a boot, so that whoever mixes them is found out by every test. */

struct jobq__now {
    int64_t wall_ms, mono_ms;
    int64_t own_ms;     /* a queue's own time, of jobq__own_read alone */
};

/* Both at one moment. clock NULL is the system's, here and below. */
JOBQ__INTERNAL struct jobq__now jobq__clock_read(jobq_clock *clock);
JOBQ__INTERNAL int64_t jobq__clock_now_ms(jobq_clock *clock); /* the wall alone */
JOBQ__INTERNAL int64_t jobq__clock_mono_ms(jobq_clock *clock);
JOBQ__INTERNAL int64_t jobq__clock_mono_us(void); /* real */

/* The monotonic reading when duration_ms will have passed, all of them. */
JOBQ__INTERNAL int64_t jobq__clock_after(jobq_clock *clock, int64_t duration_ms);

/* When the wall will show what now does, if nobody sets it until the monotonic reading is at_ms;
 * and the reverse. Never stays never. */
JOBQ__INTERNAL int64_t jobq__clock_on_wall(struct jobq__now now, int64_t at_ms);
JOBQ__INTERNAL int64_t jobq__clock_on_mono(struct jobq__now now, int64_t at_ms);

/* Moves an artificial clock forward, both readings, until the monotonic one is at_ms. */
JOBQ__INTERNAL void jobq__clock_move(jobq_clock *clock, int64_t at_ms);

/* Who has to hear of a step of an artificial clock's wall: called on the thread that steps it, with
 * no lock held, and never after leave has returned. The struct is the caller's. */
struct jobq__clock_user {
    struct jobq__link link;
    void (*stepped)(void *arg);
    void *arg;
    int64_t heard;  /* of how many steps */
    int telling;    /* threads that are about to call, or inside */
};

/* clock NULL: nothing; the system tells who waits by its wall. */
JOBQ__INTERNAL void jobq__clock_join(jobq_clock *clock, struct jobq__clock_user *user,
                                     void (*stepped)(void *arg), void *arg);
JOBQ__INTERNAL void jobq__clock_leave(jobq_clock *clock, struct jobq__clock_user *user);

/* ---- A queue's own time ----
 *
 * own = wall + offset. What waits for a duration (a delay, a backoff, a snooze) is due by it; what
 * waits for a point in time is due by the wall. As long as a process has the queue open the offset
 * takes in each step of the wall, back or forth, so that own time goes on by what really passes:
 *
 *   back, by S         offset + S. Nothing waits longer. (To wait for the wall would add S.)
 *   forth, by S        offset - S, which may be negative. Nothing is early. (An offset that only
 *                      grew would be right until a clock that was back is set right again: each
 *                      boot in 1970 would end, once the network has told the time, every delay
 *                      that there is. And one that is set forth, and back when that was seen to be
 *                      wrong, would leave all delays too short by as much.)
 *
 * While no process has it open nobody sees what passes, and the wall has to tell. The file has the
 * offset and the wall of when the claims row was last written, or else of when the last job was
 * stored, which does not write it: own time was O = W + offset then. A wall that shows w at the
 * next open means
 *
 *   w < W              it was set back, or the machine boots in 1970: nobody can say how long it
 *                      was off. Own time goes on from O. A duration takes no longer, from that
 *                      open on, than its own length; nor is one early when the wall is set right.
 *   W <= w             w - W have passed. But if the wall had been back by a day or more, as on a
 *                      device that is not told the time, and has reached O by now, it was set right
 *                      meanwhile, and own time is the wall again. (Not by less: W may be old, for
 *                      an idle queue writes nothing, and then a wall that goes on as it should has
 *                      reached O, too.)
 *
 * Beyond the year 9999 (JOBQ__WALL_MAX), where only an artificial clock shows a wall, the file says
 * no more than that year, and an offset of as much: steps from there count as time that has passed.
 *
 * What passed after that moment, in which a process was still there, is in w - W, for no step was
 * seen: who sees one writes the claims row with its next transaction, and that row is all that a
 * step costs. One that nobody saw (the process slept, or the power went first) is taken for time
 * that has passed, or has not, at most by its size; so a duration is wrong by that, but begins anew
 * at worst.
 *
 * The first reading of a process, and what passes from there on (jobq__os_time_passed_us), are the
 * truth; the offset follows them. It stays as it is within what two clocks may differ by because
 * they are read one after the other, so it is 0 until the wall is set. Base is constant once begun;
 * any thread may read. */
struct jobq__own {
    int64_t base_ms;    /* own time less what has passed */
    int64_t offset_ms;  /* atomic; as it was last read */
    int64_t stored_ms;  /* baton: the file's; of an owner */
};

/* Own time, if the file says that it was offset_ms more than the wall when that showed at_ms. */
JOBQ__INTERNAL int64_t jobq__own_at(int64_t wall_ms, int64_t offset_ms, int64_t at_ms);
/* An owner opens: own time goes on from what the file says. Before any other thread reads. */
JOBQ__INTERNAL void jobq__own_begin(struct jobq__own *own, jobq_clock *clock, int64_t offset_ms,
                                    int64_t at_ms);
/* All three, and takes note of a step; any thread. */
JOBQ__INTERNAL struct jobq__now jobq__own_read(struct jobq__own *own, jobq_clock *clock);
/* When the wall will show what own time does at at_ms, as it goes now; never stays never. */
JOBQ__INTERNAL int64_t jobq__own_on_wall(struct jobq__now now, int64_t at_ms);
/* The same of the monotonic reading. */
JOBQ__INTERNAL int64_t jobq__own_on_mono(struct jobq__now now, int64_t at_ms);

#endif
