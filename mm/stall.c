/*
 * How many wait, and since when it is so many, are one word: whoever changes it knows by the same exchange for how long
 * what was before has lasted. So no time is counted twice, and none under a number that did not wait. No order is
 * needed: the word stands for nothing but itself.
 */
#include "mm/stall.h"

#include "arch/hal.h"
#include "lib/util.h"
#include "mm/space.h"

#define WAITING 0xffull
#define SINCE   8

/* `change`: 1 or -1 more wait. The time, which is no earlier than any change before it. */
static u64 change(struct space *s, u64 change)
{
	u64 was = a64_load(&s->stall.word), now, past;

	do {
		now = max_of(hal_time_ns(), was >> SINCE);
	} while (!a64_cas(&s->stall.word, &was, now << SINCE | ((was + change) & WAITING)));
	past = now - (was >> SINCE);
	if (was & WAITING)
		a64_count(&s->stats.stall_some_ns_total, past);
	if (was & WAITING && (was & WAITING) == s->vcpus)
		a64_count(&s->stats.stall_all_ns_total, past);
	return now;
}

u64 stall_begin(struct space *s)
{
	return change(s, 1);
}

void stall_end(struct space *s, u64 began_ns)
{
	a64_count(&s->stats.stall_ns_total, change(s, -1ull) - began_ns);
}
