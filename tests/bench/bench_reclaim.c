/*
 * Reclaim under pressure, for a profile: a guest with twice as much memory as there is, of which four accesses in
 * five go to a fifth. tools/bench runs it under callgrind, which collects inside reclaim_direct() only.
 *
 *   bench_reclaim [ACCESSES]     100000 unless said
 */
#include "tests/bench/bench.h"

#include "mm/policy.h"
#include "mm/reclaim.h"
#include "mm/store.h"

#define FRAMES (16u * TABLE_PAGES)
#define PAGES  (2u * FRAMES)

static struct host_vm vm;

static void on_wake(void)
{
}

static void on_oom(struct space *s, const char *why)
{
	fprintf(stderr, "%s has to go: %s\n", s->name, why);
	exit(1);
}

static const struct reclaim_ops ops = {.wake = on_wake, .out_of_memory = on_oom};

static u64 next_page(u64 *seed)
{
	bool hot = host_random(seed) % 5;

	return host_random(seed) % (hot ? PAGES / 5 : PAGES);
}

int main(int argc, char **argv)
{
	unsigned n = argc > 1 ? (unsigned)atoi(argv[1]) : 100000;
	u64 seed = 1;

	policy_init();
	reclaim_init(&ops);
	host_frames_create(FRAMES);
	if (!store_init())
		return 1;
	host_vm_create(&vm, &host_machines[2], PAGES, 1);
	bench_populate(&vm, PAGES);
	for (unsigned i = 0; i < n; i++)
		if (host_vm_write(&vm, 0, gfn_gpa(gfn(next_page(&seed))), i) != FAULT_FIXED)
			return 1;
	printf("bench_reclaim accesses=%u evictions=%llu refaults=%llu rejected=%llu passes=%llu\n",
	       n, (unsigned long long)a64_load(&vm.space->stats.evictions_total),
	       (unsigned long long)a64_load(&vm.space->stats.refaults_total),
	       (unsigned long long)a64_load(&vm.space->stats.rejected_total),
	       (unsigned long long)a64_load(&vm.space->stats.passes_total));
	return 0;
}
