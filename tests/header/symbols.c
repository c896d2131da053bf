/* symbols.c - mentions every public function, so that one which is declared in jobq.h
 * and defined nowhere fails to link. `make symbols` checks that the list is complete. */
#include "../../jobq.h"

#include <stdio.h>

typedef void (*any_function)(void);

#define PUBLIC(name) {#name, (any_function)name}

static const struct {
    const char *name;
    any_function address;
} all[] = {
    PUBLIC(jobq_version_number),
    PUBLIC(jobq_code_name),
    PUBLIC(jobq_code_text),
    PUBLIC(jobq_state_name),
    PUBLIC(jobq_outcome_name),

    PUBLIC(jobq_open_as),
    PUBLIC(jobq_close),

    PUBLIC(jobq_register),
    PUBLIC(jobq_start),
    PUBLIC(jobq_stop),
    PUBLIC(jobq_mark_exit),
    PUBLIC(jobq_done),
    PUBLIC(jobq_retry),
    PUBLIC(jobq_fail),
    PUBLIC(jobq_reschedule_in),
    PUBLIC(jobq_reschedule_at),
    PUBLIC(jobq_snooze),
    PUBLIC(jobq_run_id),
    PUBLIC(jobq_run_handle),
    PUBLIC(jobq_run_kind),
    PUBLIC(jobq_run_attempt),
    PUBLIC(jobq_run_crashes),
    PUBLIC(jobq_run_payload),
    PUBLIC(jobq_run_deadline),
    PUBLIC(jobq_should_stop),
    PUBLIC(jobq_run_sleep),
    PUBLIC(jobq_run_db),
    PUBLIC(jobq_keep_writes),
    PUBLIC(jobq_checkpoint),
    PUBLIC(jobq_run_checkpoint),
    PUBLIC(jobq_run_info),

    PUBLIC(jobq_enqueue),
    PUBLIC(jobq_enqueue_many),
    PUBLIC(jobq_flush),
    PUBLIC(jobq_notify),

    PUBLIC(jobq_cancel),
    PUBLIC(jobq_retry_now),
    PUBLIC(jobq_delete),

    PUBLIC(jobq_get),
    PUBLIC(jobq_get_payload),
    PUBLIC(jobq_get_result),
    PUBLIC(jobq_list),
    PUBLIC(jobq_count),
    PUBLIC(jobq_check),
    PUBLIC(jobq_stat),
    PUBLIC(jobq_wait),

    PUBLIC(jobq_clock_artificial),
    PUBLIC(jobq_clock_free),
    PUBLIC(jobq_clock_now),
    PUBLIC(jobq_clock_advance),
    PUBLIC(jobq_clock_set),
    PUBLIC(jobq_advance),
    PUBLIC(jobq_advance_to_next),
    PUBLIC(jobq_wakes),
    PUBLIC(jobq_step),
    PUBLIC(jobq_run_until_idle),
    PUBLIC(jobq_next_deadline),
};

int main(void) {
    int missing = 0;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (all[i].address) continue;
        printf("%s has no address\n", all[i].name);
        missing++;
    }
    if (jobq_version_number() != JOBQ_VERSION_NUMBER) {
        printf("jobq.c is version %d, jobq.h is %d\n", jobq_version_number(),
               JOBQ_VERSION_NUMBER);
        missing++;
    }
    printf("%d passed, %d failed\n", missing ? 0 : 1, missing ? 1 : 0);
    return missing > 0;
}
