/*
 * The machine of tests/host/machine.h with vCPUs on shadow tables, all of them or two of three, whose guests change
 * their own page tables: tests/host/machine_shadow.c says how, and what they may reach then.
 *
 * The shadow MMU's sources are part of the program, so that the test can be tested: one at a time, what their argument
 * needs is left out, and a short list of actions has to show it.
 */
#include "tests/model/machine_runs.h"

#include "tests/host/shadow_spoilt.h"

#define PLANTED_STEPS 100000u

/* The machine's own, that shadow_spoilt.h names as well. */
static enum host_vm_fault machine_fault(enum shadow_fault_planted fault)
{
	switch (fault) {
	case SHADOW_FAULT_ENTRY:
		return HOST_VM_NO_LOOK;
	case SHADOW_FAULT_SHOOTDOWN:
		return HOST_VM_NO_SHOOTDOWN;
	case SHADOW_FAULT_ENTRY_FLUSH:
		return HOST_VM_NO_FLUSH;
	default:
		return HOST_VM_SOUND;
	}
}

static bool report(void)
{
	const struct machine_totals *t = machine.totals;

	printf("%llu steps in %llu runs and %llu rounds, %llu switches between %u CPUs, %llu walks "
	       "of shadow tables, %llu of the TDP\n",
	       (unsigned long long)t->steps, (unsigned long long)t->runs,
	       (unsigned long long)t->rounds, (unsigned long long)t->switches, MACHINE_CPUS,
	       (unsigned long long)t->shadow_walks, (unsigned long long)t->walks);
	printf("%llu shadow pages, %llu stores to tables, %llu let through, %llu stale entries, "
	       "%llu in sync again, %llu faults of the guest's, %llu evictions, %llu rescues, %llu "
	       "refaults, %llu exact ages\n",
	       (unsigned long long)t->shadow_made, (unsigned long long)t->stores,
	       (unsigned long long)t->unsync, (unsigned long long)t->stale,
	       (unsigned long long)t->settled, (unsigned long long)t->guest_faults,
	       (unsigned long long)t->evictions, (unsigned long long)t->rescues,
	       (unsigned long long)t->refaults, (unsigned long long)t->exact);
	/* The run is worth nothing if it did not come to these. */
	return t->shadow_walks && t->walks && t->stores && t->unsync && t->stale && t->settled &&
	       t->guest_faults && t->evictions && t->rescues && t->refaults && t->exact;
}

/*
 * What random plans come to within some thousand steps. The rest takes a few actions in one order, with one vCPU in its
 * guest meanwhile: tests/model/model_shadow_scenes.c. So does the wait for who is in the guest, which torture_shadow
 * misses at once.
 */
static const enum shadow_fault_planted for_plans[] = {
        SHADOW_FAULT_PROTECT,        SHADOW_FAULT_INVALIDATE, SHADOW_FAULT_CLEAN,
        SHADOW_FAULT_SYNC,           SHADOW_FAULT_ROOTS,      SHADOW_FAULT_GUEST_DIRTY,
        SHADOW_FAULT_GUEST_ACCESSED, SHADOW_FAULT_ENTRY,      SHADOW_FAULT_ENTRY_FLUSH,
};

/* By a plan among many; how many steps that took. */
static bool noticed(enum shadow_fault_planted fault)
{
	struct stretch s = {
	        .first = 1, .steps = PLANTED_STEPS, .fault = machine_fault(fault), .spoilt = true};
	u64 before = machine.totals->steps;
	bool found;

	shadow_planted = fault;
	found = shrink_fails(run_stretch, &s, true, 0);
	printf("missing: %s: %s, seed %llu, %llu steps\n", shadow_fault_text[fault],
	       found ? "noticed" : "NOT noticed", (unsigned long long)*seed_now,
	       (unsigned long long)(machine.totals->steps - before));
	fflush(stdout);
	return found;
}

int main(void)
{
	static const enum machine_mmu mmus[] = {MACHINE_SHADOW, MACHINE_BOTH};
	struct stretch s = {.first = 1, .steps = host_steps(250000)};
	unsigned needed;
	bool good;

	machine_mmus = mmus;
	machine_mmus_nr = ARRAY_SIZE(mmus);
	if (!runs_init())
		return 1;
	run_wanted();
	good = stretch_passes(&s, &needed) && report();
	for (unsigned i = 0; i < ARRAY_SIZE(for_plans) && planting(); i++)
		good &= noticed(for_plans[i]);
	if (planting()) {
		shadow_planted = SHADOW_FAULT_SYNC;
		good &= planted_found(HOST_VM_SOUND, shadow_fault_text[SHADOW_FAULT_SYNC]);
	}
	return good ? 0 : 1;
}
