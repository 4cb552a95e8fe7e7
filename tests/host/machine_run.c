/* How the machine comes up, and the rounds of a plan. */
#include "tests/host/machine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "arch/hal.h"
#include "mm/frame.h"
#include "mm/policy.h"
#include "mm/reclaim.h"
#include "mm/store.h"
#include "tests/host/hal.h"
#include "tests/host/machine_shadow.h"

#define FRAMES        96u
#define FRAMES_SHADOW 136u
#define FRAMES_CALM   220u /* for all pages, and all tables */
#define FRAMES_LARGE  2304u

static void *ram;
static unsigned at, round_end; /* indices of the round's actions */

static void hangs(void)
{
	machine_fail("nobody gets on", 0, 0, 0);
}

static void wake(void)
{
}

static void out_of_memory(struct space *victim, const char *why)
{
	(void)victim;
	machine_fail(why, 0, 0, 0);
}

static u64 frames_nr(void)
{
	if (machine.plan.mix == OP_MIX_CALM)
		return FRAMES_CALM;
	if (machine.plan.mmu != MACHINE_TDP)
		return FRAMES_SHADOW;
	return machine.plan.huge ? FRAMES_LARGE : FRAMES;
}

static void set_up(void)
{
	static const struct reclaim_ops ops = {.wake = wake, .out_of_memory = out_of_memory};
	const struct frame_extent extent = {hal_ptr_pfn(ram), frames_nr()};

	if (!frame_init(&extent, 1))
		abort();
	reclaim_init(&ops);
	policy_init();
	a32_store(&policy.flush, machine.plan.flush);
	a32_store(&policy.locked, machine.plan.locked);
	a32_store(&policy.caps, machine.plan.caps);
	a32_store(&policy.batch, machine.plan.batch);
	host_time_set(machine.now_ns += 1000000000ull);
	host_vm_create(&machine.vm,
	               machine.plan.mmu == MACHINE_SHADOW ? NULL : machine.plan.machine,
	               pages_first(), MACHINE_VCPUS);
	a32_store(&machine.vm.space->wants_huge, machine.plan.huge);
	machine.vm.fault = machine.plan.fault;
	if (!gfnmap_add(machine.vm.space, gfn(plug_base()), MACHINE_PLUGGED))
		abort();
	machine.plug = PLUG_HERE;
	machine.plug_users = machine.collapsing = 0;
	machine.exact_wanted = 0;
	memset(machine.oracle, 0, sizeof(machine.oracle));
	memset(machine.dropping, 0, sizeof(machine.dropping));
	memset(machine.stays, 0, sizeof(machine.stays));
	if (machine.plan.mmu != MACHINE_TDP)
		machine_shadow_create();
}

static void count_run(void)
{
	const struct space_stats *s = &machine.vm.space->stats;

	machine.totals->runs++;
	machine.totals->evictions += a64_load(&s->evictions_total);
	machine.totals->rescues += a64_load(&s->rescues_total);
	machine.totals->refaults += a64_load(&s->refaults_total);
	machine.totals->splits += a64_load(&s->splits_total);
	machine.totals->collapses += a64_load(&s->collapses_total);
	machine.totals->shootdowns += a64_load(&machine.vm.shootdowns);
	for (unsigned i = 0; i < MACHINE_VCPUS; i++) {
		machine.totals->walks += machine.vm.vcpu[i].walker.walks;
		machine.totals->hits += machine.vm.vcpu[i].walker.hits;
	}
}

static void read_everything(void)
{
	for (u64 page = 0; page < pages_all(); page++) {
		struct action a = {.op = OP_READ, .page = (u32)page};

		if (page >= pages_first() && machine.plug != PLUG_HERE)
			continue;
		for (a.cpu = 0; a.cpu < MACHINE_VCPUS; a.cpu++) {
			host_cpu_set(a.cpu);
			machine_access(&a, true);
		}
	}
	machine_settle();
}

static void tear_down(void)
{
	count_run();
	host_vm_destroy(&machine.vm);
	machine_settle();
	if (frame_free_count() != frames_nr())
		machine_fail("frames are missing", 0, frames_nr(), frame_free_count());
	frame_exit();
}

/* A CPU does its actions of this round, in their order. */
static void cpu_round(unsigned cpu)
{
	for (unsigned i = at; i < round_end; i++)
		if (machine.plan.action[i].cpu == cpu)
			machine_act(&machine.plan.action[i]);
	machine_leave(cpu);
}

static void run_round(unsigned first)
{
	struct cpus_plan cpus = {
	        .nr = MACHINE_CPUS,
	        .run = cpu_round,
	        .seed = machine.plan.seed * 31 + machine.plan.action[first].round * 1000003ull +
	                machine.plan.salt * 7919,
	        .every = 4 + (unsigned)(machine.plan.seed % 3) * 20,
	        .max_switches = 200000,
	        .hangs = hangs,
	};

	at = first;
	cpus_run(&cpus);
	host_time_set(machine.now_ns += 300000);
	machine_settle();
	machine.totals->rounds++;
	if (machine.exact_wanted)
		machine_check_ages();
	machine_settle();
	machine_check(machine.totals->rounds);
}

void machine_run(void)
{
	u64 switches = cpus_switches();

	set_up();
	for (unsigned i = 0; i < machine.plan.nr; i = round_end) {
		for (round_end = i; round_end < machine.plan.nr; round_end++)
			if (machine.plan.action[round_end].round != machine.plan.action[i].round)
				break;
		run_round(i);
	}
	read_everything();
	machine.totals->steps += machine.plan.nr;
	machine.totals->switches += cpus_switches() - switches;
	tear_down();
}

bool machine_init(void)
{
	void *shared = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
	                    0);

	ram = host_ram(FRAMES_LARGE);
	if (shared == MAP_FAILED || !ram)
		return false;
	machine.totals = shared;
	host_cpu_count_set(MACHINE_CPUS);
	return store_init();
}
