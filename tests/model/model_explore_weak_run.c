/*
 * The gate to the guest (hv/run.c) against a shootdown (mm/notifier.c), and who finds or drains a space
 * (mm/space.c), under the weak memory of tests/host/weak.h. The vendor's part is here: a TLB that keeps a
 * translation until flush() says otherwise.
 */
#define UNTIMED        /* lib/lock.c, lib/profile.h */
#define ATOMIC_YIELD() explorer_yield()
#define hal_panic      explorer_panic
#define hal_pause      explorer_pause
#define hal_cpu_id     explorer_self

#include "tests/host/explorer.h"
#include "tests/host/weak.h"

#include <stdio.h>
#include <string.h>

#include "lib/lock.c"
#include "mm/epoch.h"

#define epoch_active() true
#include "mm/notifier.c"
#include "mm/space.c"
#undef epoch_active

#include "arch/x86/fpu.h"
#include "arch/x86/insn.h"
#include "arch/x86/percpu.h"
#include "hv/percpu.h"
#include "hv/vm.h"
#include "tests/host/hal.h"

static struct percpu cpu_block;
static struct hv_cpu hv_block;

#define epoch_active() false
#define this_cpu()     (&cpu_block)
#define this_hv_cpu()  (&hv_block)
#define xcr0_write(v)  ((void)(v))
#define hal_log(...)   ((void)0)
#include "hv/run.c"

#define ENTRY 1u

static struct space space, other;
static struct vm vm;
static struct vcpu vcpu;
static struct thread thread;
static struct notifier mmu;
static a64 spte;
static u64 tlb;   /* what the vCPU's hardware has cached */
static u64 frame; /* stands for the contents of the page */
static bool flush_asked;

/* --- what hv/run.c calls of the rest --- */

u64 fpu_xcr0(void)
{
	return 0;
}
void fpu_load_guest(struct fpu_area *area)
{
	(void)area;
}
void sched_kick(unsigned cpu)
{
	(void)cpu;
}
void sched_check(void)
{
}
bool exit_paging_root(struct vcpu *v)
{
	(void)v;
	return true;
}
void exit_handle(struct vcpu *v)
{
	(void)v;
}
bool loader_load(struct vcpu *v)
{
	return v != NULL;
}
void vcpu_handle_requests(struct vcpu *v)
{
	(void)v;
}
void vcpu_wait(struct vcpu *v)
{
	(void)v;
}
a32 chaos_period, world_closed;
void chaos_strike(bool faulted)
{
	(void)faulted;
}
void world_enter(void)
{
}
void world_leave(void)
{
}

/* As the vendors do it: a flush is carried out by the entry that follows. */
static void vendor_flush(struct arch_vcpu *v)
{
	(void)v;
	flush_asked = true;
}

static void vendor_run(struct arch_vcpu *v, struct vexit *exit)
{
	(void)v;
	(void)exit;
	if (flush_asked)
		tlb = 0;
	flush_asked = false;
	for (int i = 0; i < 2; i++) {
		if (!tlb)
			tlb = a64_load(&spte);
		if (tlb)
			weak_read(&frame);
	}
}

static const struct vendor_ops fake_vendor = {.flush = vendor_flush, .run = vendor_run};
const struct vendor_ops *vendor = &fake_vendor;

static void setup(void)
{
	weak_reset(2);
	host_time_set(
	        1); /* run.c kicks again after a while: no schedule may depend on how busy the machine is */
	memset(&space, 0, sizeof(space));
	memset(&vcpu, 0, sizeof(vcpu));
	memset(spaces, 0, sizeof(spaces));
	memset(held_locks, 0, sizeof(held_locks));
	spin_init(&list_lock, LOCK_VM_LIST, "spaces");
	space.ops = &run_space_ops;
	space.priv = &vm;
	space.flush.wanted.raw = space.flush.done.raw = 1;
	vcpu.flushed_gen.raw = 1;
	vcpu.vm = &vm;
	vcpu.thread = &thread;
	vm.space = &space;
	vm.vcpu = &vcpu;
	vm.nr_vcpus = 1;
	spte.raw = tlb = ENTRY;
	flush_asked = false;
}

/* --- shootdown --- */

static void run_vcpu_twice(void)
{
	(void)run_once(&vcpu);
	(void)run_once(&vcpu);
}

static void unmap_and_write(void)
{
	u64 gen;

	a64_store(&spte, 0);
	gen = flush_request(&space);
	flush_wait(&space, gen);
	weak_write(&frame);
}

/* Another page of the guest: relies on whichever flush is done. */
static void run_other_flusher(void)
{
	flush_wait(&space, flush_request(&space));
}

/* As an evictor: what it waited for stays done (I7), whoever else says what is done. */
static void run_flusher(void)
{
	u64 gen = flush_request(&space);

	flush_wait(&space, gen);
	if (!flush_is_done(&space, gen))
		explorer_panic("a generation that was done is not any more");
}

/* Whoever finds a generation done may use what was unmapped before it. */
static u64 requested;
static void run_requester(void)
{
	a64_store(&spte, 0);
	requested = flush_request(&space);
	flush_wait(&space, requested);
}
static void run_late_user(void)
{
	if (a64_load(&space.flush.wanted) == 2 && flush_is_done(&space, 2))
		weak_write(&frame);
}

/* --- finding and draining a space --- */

static void setup_registry(void)
{
	setup();
	other = (struct space){.ops = &run_space_ops};
}

static void run_creator(void)
{
	weak_write(&other);
	if (!space_register(&other))
		explorer_panic("no id left");
}

static void run_finder(void)
{
	const struct space *s = space_at(1);

	if (s)
		weak_read(s);
}

static void run_second_creator(void)
{
	if (!space_register(&space))
		explorer_panic("no id left");
}

static void check_ids(void)
{
	if (!spaces[1].raw || !spaces[2].raw || spaces[1].raw == spaces[2].raw)
		explorer_panic("two spaces with one id");
}

static void run_user(void)
{
	for (int i = 0; i < 2; i++) {
		if (!space_get(&space))
			continue;
		weak_read(&frame);
		space_put(&space);
	}
}

/* As space_drain() begins. */
static void run_drainer(void)
{
	space_close(&space);
	weak_write(&frame);
}

static void check_users(void)
{
	if (space.users.raw)
		explorer_panic("users are left over");
}

static void run_adder(void)
{
	weak_write(&mmu);
	space_add_notifier(&space, &mmu);
}

static void run_asker(void)
{
	for (u32 i = 0; i < space_notifiers(&space); i++) {
		if (space.notifier[i] != &mmu)
			explorer_panic("an MMU that is not there");
		weak_read(&mmu);
	}
}

static const struct explorer_scene scenes[] = {
        {.name = "entry, shootdown",
         .setup = setup,
         .actor = {{"vcpu", run_vcpu_twice}, {"unmapper", unmap_and_write}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "entry, two shootdowns",
         .setup = setup,
         .actor = {{"vcpu", run_vcpu_twice},
                   {"unmapper", unmap_and_write},
                   {"flusher", run_other_flusher}},
         .nr_actors = 3,
         .max_preemptions = 1},
        {.name = "entry, shootdown, who finds it done",
         .setup = setup,
         .actor = {{"vcpu", run_vcpu_twice}, {"requester", run_requester}, {"user", run_late_user}},
         .nr_actors = 3,
         .max_preemptions = 2},
        {.name = "two shootdowns, each relies on its own",
         .setup = setup,
         .actor = {{"flusher", run_flusher}, {"flusher2", run_flusher}},
         .nr_actors = 2,
         .max_preemptions = 2},
        {.name = "space made, space found",
         .setup = setup_registry,
         .actor = {{"creator", run_creator}, {"finder", run_finder}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "two spaces made",
         .setup = setup_registry,
         .check = check_ids,
         .actor = {{"creator", run_creator}, {"creator2", run_second_creator}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "drain, two users",
         .setup = setup,
         .check = check_users,
         .actor = {{"drain", run_drainer}, {"user", run_user}, {"user2", run_user}},
         .nr_actors = 3,
         .max_preemptions = 2},
        {.name = "mmu added, mmu asked",
         .setup = setup,
         .actor = {{"adder", run_adder}, {"asker", run_asker}},
         .nr_actors = 2,
         .max_preemptions = 3},
};

int main(void)
{
	return explorer_main(scenes, ARRAY_SIZE(scenes));
}
