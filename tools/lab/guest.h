/*
 * The touches of the guest `workload` as traces: fill, warm-up, and what is measured, by the guest's own sources.
 * Knows neither the laboratory's headers nor the hypervisor's, whose base types are not the guests'.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Those that tools/lib/policies.py compares policies by. */
struct guest_work {
	const char *name, *about;
	const char *args; /* of the guest, without `warm`, `ops` and `seed` */
};
extern const struct guest_work guest_works[];
extern const unsigned guest_nr_works;
#define GUEST_COMMON "warm=60000 ops=120000" /* of all of them */
#define GUEST_PAGES  5859u /* what the guest finds in 24 MiB, unless `first=` says otherwise */

struct guest_sink {
	/* Called for each touch, in order. */
	void (*touch)(void *arg, uint32_t page, bool write);
	void *arg;
	uint32_t pages; /* out: of the trace */
	uint32_t from;  /* out: the number of the first touch that is measured */
	uint64_t sum;   /* out: what the guest prints as `sum` */
};

/* One CPU's touches. `args` as the guest's command line; `seed` if it says none. */
void guest_draw(const char *args, uint64_t seed, struct guest_sink *sink);
