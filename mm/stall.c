#include "mm/stall.h"

#include "arch/hal.h"
#include "lib/util.h"
#include "mm/space.h"

#define WAITING 0xffull
#define SINCE   8

u64 stall_begin(struct space *s)
{
	u64 now = hal_time_ns(), was = a64_load(&s->stall.some), next, none = 0;

	/* Count and time in one word: whoever is last knows when the first came. */
	do {
		next = was & WAITING ? was + 1 : now << SINCE | 1;
	} while (!a64_cas(&s->stall.some, &was, next));
	if ((next & WAITING) == s->vcpus)
		(void)a64_cas(&s->stall.all_ns, &none, now);
	return now;
}

void stall_end(struct space *s, u64 began_ns)
{
	u64 now = hal_time_ns(), was = a64_load(&s->stall.some), next, all = 0;

	do {
		next = (was & WAITING) == 1 ? 0 : was - 1;
	} while (!a64_cas(&s->stall.some, &was, next));
	if ((was & WAITING) == s->vcpus)
		all = a64_xchg(&s->stall.all_ns, 0);
	if (all && now > all)
		a64_count(&s->stats.stall_all_ns_total, now - all);
	if (!next && now > was >> SINCE)
		a64_count(&s->stats.stall_some_ns_total, now - (was >> SINCE));
	a64_count(&s->stats.stall_ns_total, now - began_ns);
}
