/*
 * The machine of tests/host/machine.h with all vCPUs on the TDP, its large leaves and its slots that come and go.
 * How plans are made, run, and made short when they fail: tests/model/machine_runs.h.
 */
#include "tests/model/machine_runs.h"

static bool report(void)
{
	const struct machine_totals *t = machine.totals;

	printf("%llu steps in %llu runs and %llu rounds, %llu switches between %u CPUs, %llu "
	       "walks, %llu "
	       "hits\n",
	       (unsigned long long)t->steps, (unsigned long long)t->runs,
	       (unsigned long long)t->rounds, (unsigned long long)t->switches, MACHINE_CPUS,
	       (unsigned long long)t->walks, (unsigned long long)t->hits);
	printf("%llu evictions, %llu rescues, %llu refaults, %llu splits, %llu collapses, %llu "
	       "slot "
	       "changes, %llu accesses to no slot, %llu shootdowns, %llu exact ages, %llu of them "
	       "flushed\n",
	       (unsigned long long)t->evictions, (unsigned long long)t->rescues,
	       (unsigned long long)t->refaults, (unsigned long long)t->splits,
	       (unsigned long long)t->collapses, (unsigned long long)t->plugged,
	       (unsigned long long)t->no_slot, (unsigned long long)t->shootdowns,
	       (unsigned long long)t->exact, (unsigned long long)t->exact_flushed);
	/* The run is worth nothing if it did not come to these. */
	return t->evictions && t->rescues && t->refaults && t->splits && t->collapses &&
	       t->plugged && t->no_slot && t->exact && t->exact_flushed;
}

int main(void)
{
	static const enum machine_mmu mmus[] = {MACHINE_TDP};
	/* One planted fault, or a mutant, is found sooner. */
	struct stretch s = {.first = 1, .steps = host_steps(planting() ? 2500000 : 800000)};
	unsigned needed;
	bool good;

	machine_mmus = mmus;
	machine_mmus_nr = ARRAY_SIZE(mmus);
	if (!runs_init())
		return 1;
	run_wanted();
	good = stretch_passes(&s, &needed) && report();
	if (planting()) {
		good &= planted_found(HOST_VM_NO_SHOOTDOWN, "no wait for vCPUs in their guest");
		good &= planted_found(HOST_VM_NO_FLUSH, "no flush at an entry");
	}
	return good ? 0 : 1;
}
