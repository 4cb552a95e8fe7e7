/*
 * Whole aging passes over a guest, for a counter of instructions (tools/bench runs it under callgrind, which
 * collects inside measured() only).
 *
 *   bench_pass young|old|sparse [PASSES]    all pages young in each pass, none, or all those of every 64th
 *                                           table; 1 pass unless said. Steady: the same went before. The
 *                                           first two look at every leaf table, the last may skip some.
 *   bench_pass both [PASSES]                as young, with a shadow MMU beside the TDP that has no page yet
 *
 * Prints how many resident pages, entries and passes there were: `bench_pass pages=N visited=N passes=N`.
 */
#include "tests/bench/bench.h"

#include <string.h>

#include "hv/mmu/shadow.h"
#include "mm/age.h"
#include "mm/policy.h"
#include "mm/store.h"

#define TABLES 64u
#define PAGES  (TABLES * TABLE_PAGES)
#define WARM   2u

static struct host_vm vm;
static struct shadow beside;

/* Every page of each table that is a multiple of `step`, through the MMU as a guest would. */
static void touch(u64 step)
{
	flush_wait(vm.space, flush_request(vm.space));
	a32_store(&vm.ran, 1);
	for (u64 t = 0; step && t < TABLES; t += step)
		for (u64 i = 0; i < TABLE_PAGES; i++)
			if (host_vm_write(&vm, 0, gfn_gpa(gfn(t * TABLE_PAGES + i)), i) !=
			    FAULT_FIXED)
				abort();
	a32_store(&vm.ran, 1);
}

struct age_result measured(bool force);
__attribute__((noinline)) struct age_result measured(bool force)
{
	return age_space(vm.space, a64_load(&vm.space->lru.max_seq), force);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "young";
	unsigned passes = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
	bool sparse = !strcmp(what, "sparse");
	bool both = !strcmp(what, "both");
	u64 step = both || !strcmp(what, "young") ? 1 : sparse ? 64 : 0, visited = 0;

	policy_init();
	host_frames_create(PAGES + PAGES / 8);
	if (!store_init())
		return 1;
	host_vm_create(&vm, &host_machines[2], PAGES, 1);
	if (both && !shadow_create(&beside, vm.space, &spte_shadow_ad, &vm.tdp,
	                           (struct shadow_window){.npages = 0}))
		return 1;
	bench_populate(&vm, PAGES);
	for (unsigned i = 0; i < WARM; i++) {
		touch(step);
		(void)age_space(vm.space, a64_load(&vm.space->lru.max_seq), false);
	}
	for (unsigned i = 0; i < passes; i++) {
		touch(step);
		visited += measured(!sparse).visited;
	}
	printf("bench_pass pages=%u visited=%llu passes=%u\n", PAGES, (unsigned long long)visited,
	       passes);
	printf("bench pass-visited value=%.4f unit=entries\n",
	       (double)visited / PAGES / max_of(passes, 1u));
	return 0;
}
