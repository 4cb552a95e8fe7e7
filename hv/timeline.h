/*
 * A scenario's [timeline]: commands of the monitor at given times of the run, read before the first guest
 * starts and carried out by the monitor thread.
 *
 *   [timeline]
 *   at 5s limit kv 32M        # once, 5 s after the first guest was started
 *   every 2s + kv max         # again and again, the first time after 2 s
 *
 * Pure.
 */
#pragma once

#include "hv/command.h"
#include "hv/slice.h"
#include "lib/types.h"
#include "lib/util.h"

#define TIMELINE_MAX           64u
#define TIMELINE_MIN_PERIOD_NS 10000000ull

struct timeline_entry {
	u64 at_ns;    /* from the beginning of the run */
	u64 every_ns; /* 0: once */
	u32 line;     /* of the scenario, for messages */
	char text[COMMAND_LINE_MAX];
	struct command command;
};

struct timeline {
	u32 nr;
	struct timeline_entry entry[TIMELINE_MAX]; /* by at_ns, then by line */
};

/* One line of the section, without comment. False, with *error: it is none, or one too many. */
bool timeline_add(struct timeline *t, u32 line, struct slice text,
                  struct command_error *error) must_check;

/* When each entry is due next, in ns from the beginning of the run. */
struct timeline_run {
	const struct timeline *timeline;
	u64 due[TIMELINE_MAX];
};
#define TIMELINE_NEVER (~0ull)

void timeline_start(struct timeline_run *run, const struct timeline *t);
/* When the next is due, or TIMELINE_NEVER. */
u64 timeline_due(const struct timeline_run *run);
/*
 * The entry that has been due longest, or NULL if none is by `now`; it is not due again before its next period
 * after `now`: what could not be done in time is left out, not made up for.
 */
const struct timeline_entry *timeline_take(struct timeline_run *run, u64 now);
