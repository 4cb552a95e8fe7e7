/*
 * Whole aging passes over a guest on shadow tables, through the reverse maps, for a counter of instructions
 * (tools/bench runs it under callgrind, which collects inside measured() only).
 *
 *   bench_shadow young|old [PASSES]    all pages young in each pass, or none; 1 pass unless said
 *
 * Prints how many resident pages, entries and passes there were: `bench_pass pages=N visited=N passes=N`.
 */
#include "tests/bench/bench.h"

#include <string.h>

#include "mm/age.h"
#include "mm/policy.h"
#include "mm/store.h"
#include "tests/host/shadow_vm.h"

#define TABLES 64u
#define PAGES  (TABLES * TABLE_PAGES)
#define WARM   2u

static struct shadow_vm vm;

static void touch(bool young)
{
	flush_wait(vm.space, flush_request(vm.space));
	a32_store(&vm.ran, 1);
	for (u64 g = 0; young && g < PAGES; g++)
		if (shadow_vm_access(&vm, 0, gva(g * PAGE_SIZE), CPU_WRITE, &g).result !=
		    SHADOW_FIXED)
			abort();
	a32_store(&vm.ran, 1);
}

struct age_result measured(void);
__attribute__((noinline)) struct age_result measured(void)
{
	return age_space(vm.space, a64_load(&vm.space->lru.max_seq), true);
}

int main(int argc, char **argv)
{
	bool young = argc < 2 || !strcmp(argv[1], "young");
	unsigned passes = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
	u64 visited = 0;

	policy_init();
	host_frames_create(PAGES + PAGES / 8);
	if (!store_init())
		return 1;
	shadow_vm_create(&vm, &spte_shadow_ad, PAGES, 1);
	touch(true);
	for (unsigned i = 0; i < WARM; i++) {
		touch(young);
		(void)age_space(vm.space, a64_load(&vm.space->lru.max_seq), true);
	}
	for (unsigned i = 0; i < passes; i++) {
		touch(young);
		visited += measured().visited;
	}
	printf("bench_pass pages=%u visited=%llu passes=%u\n", PAGES, (unsigned long long)visited,
	       passes);
	return visited != (u64)PAGES * passes;
}
