#include "tests/host/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/hal.h"
#include "hv/mmu/guest_mem.h"
#include "mm/age.h"
#include "mm/age_flush.h"
#include "mm/collapse.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/policy.h"
#include "mm/reclaim.h"
#include "tests/host/machine_shadow.h"

#define OP_NAME(name, weight, shadow, calm) #name,
static const char *const op_names[] = {OPERATIONS(OP_NAME)};
#define OP_TDP(name, weight, shadow, calm)    weight,
#define OP_SHADOW(name, weight, shadow, calm) shadow,
#define OP_CALM(name, weight, shadow, calm)   calm,
const unsigned op_weights[OP_MIXES][OPERATIONS_NR] = {
        {OPERATIONS(OP_TDP)}, {OPERATIONS(OP_SHADOW)}, {OPERATIONS(OP_CALM)}};

struct machine machine;

void machine_print(const struct action *a)
{
	printf("  round %u cpu %u %s page %u arg %#llx\n", a->round, a->cpu, op_names[a->op],
	       a->page, (unsigned long long)a->arg);
}

void machine_fail(const char *what, u64 page, u64 expected, u64 found)
{
	static const char *const mmu[] = {"", ", shadow", ", both"};
	unsigned cpu = hal_cpu_id();

	printf("seed %llu (%s%s%s%s%s): %s: page %llu expected %#llx found %#llx\n",
	       (unsigned long long)machine.plan.seed, machine.plan.machine->format->name,
	       mmu[machine.plan.mmu], machine.plan.track ? ", tracked" : "",
	       machine.plan.huge ? ", large" : "",
	       machine.plan.locked ? machine.plan.locked == POLICY_READ ? ", read" : ", locked"
	                           : "",
	       what, (unsigned long long)page, (unsigned long long)expected,
	       (unsigned long long)found);
	if (machine.doing[cpu])
		machine_print(machine.doing[cpu]);
	fflush(NULL);
	_Exit(1);
}

static u64 *word_of(void *frame, unsigned cpu)
{
	return (u64 *)frame + cpu * (PAGE_SIZE / 8 / MACHINE_CPUS);
}

static u64 value_of(const struct action *a)
{
	return a->arg % 4 ? a->arg : 0;
}

/* --- a vCPU ---------------------------------------------------------------------------------------- */

void machine_leave(unsigned cpu)
{
	if (cpu < MACHINE_VCPUS && machine.stays[cpu]) {
		machine.stays[cpu] = false;
		host_vm_leave(&machine.vm, cpu);
	}
}

/* The frame is that page's, whatever this translation is made of. */
static void check_owner(const struct action *a, hpa_t where)
{
	u32 frame = frame_of_pfn(hpa_pfn(where));

	if (frame == FRAME_NONE)
		machine_fail("guest reaches what is no frame", a->page, 0, where.v);
	if (frame_use(a64_load(&frame_at(frame)->state)) != FRAME_GUEST ||
	    frame_space_id(frame_at(frame)) != machine.vm.space->id ||
	    frame_gfn(frame_at(frame)).v != page_gfn(a->page).v)
		machine_fail("guest reaches a frame of others", a->page, page_gfn(a->page).v,
		             frame_gfn(frame_at(frame)).v);
}

void machine_touch(const struct action *a, hpa_t where)
{
	void *frame = hal_frame_ptr(hpa_pfn(where));
	u64 *word = word_of(frame, a->cpu), *expected = &machine.oracle[a->page][a->cpu];

	cpus_calm(true);
	check_owner(a, where);
	if (machine_guest_stores(a->cpu))
		machine_guest_store(a, frame);
	else if (a->op == OP_WRITE)
		*word = *expected = value_of(a);
	else if (*word != *expected)
		machine_fail("guest reads", a->page, *expected, *word);
	cpus_calm(false);
}

/* Enters if it has to. A kick is honoured at once, or one access late. */
static void be_inside(const struct action *a)
{
	if (machine.stays[a->cpu] && a32_load(&machine.vm.vcpu[a->cpu].kicked) &&
	    !(a->arg & BIT(20)))
		machine_leave(a->cpu);
	if (!machine.stays[a->cpu]) {
		machine.stays[a->cpu] = true;
		host_vm_enter(&machine.vm, a->cpu);
	}
}

/* Whether the access may be tried again. */
static bool resolve(const struct action *a, bool there)
{
	const struct tdp_access access = {
	        .gpa = gfn_gpa(page_gfn(a->page)),
	        .write = a->op == OP_WRITE,
	        .fetch = a->op == OP_FETCH,
	};
	enum fault_result result = tdp_fault(&machine.vm.tdp, &access);

	if (!there) {
		if (result != FAULT_NO_SLOT)
			machine_fail("fault where there is no slot", a->page, FAULT_NO_SLOT,
			             result);
		machine.totals->no_slot++;
		return false;
	}
	if (result == FAULT_NO_MEMORY || result == FAULT_RETRY)
		hal_pause();
	else if (result != FAULT_FIXED)
		machine_fail("fault", a->page, FAULT_FIXED, result);
	return true;
}

void machine_access(const struct action *a, bool there)
{
	struct walker *w = &machine.vm.vcpu[a->cpu].walker;
	u64 walks = w->walks;
	hpa_t where;

	if (machine_on_shadow(a->cpu)) {
		machine_shadow_access(a);
		return;
	}
	for (;;) {
		enum walker_result r;

		be_inside(a);
		r = walker_translate(w, gfn_gpa(page_gfn(a->page)), a->op == OP_WRITE,
		                     a->op == OP_FETCH, &where);
		if (r == WALKER_OK)
			break;
		if (r != WALKER_FAULT)
			machine_fail("hardware finds an entry that is not valid", a->page,
			             WALKER_FAULT, r);
		machine_leave(a->cpu);
		/* What hardware fetches ahead of the program faults without anybody knowing. */
		if (a->op == OP_PREFETCH || !resolve(a, there))
			return;
	}
	if (w->walks != walks)
		machine.walked[a->page / 64] |= BIT(a->page % 64);
	if (a->op != OP_PREFETCH)
		machine_touch(a, where);
	if (!(a->arg & BIT(21)))
		machine_leave(a->cpu);
}

static void device_access(const struct action *a)
{
	const struct guest_mem mem = machine.vm.mem;
	gpa_t where = gpa(gfn_gpa(page_gfn(a->page)).v + a->cpu * (PAGE_SIZE / MACHINE_CPUS));
	u64 value = value_of(a), *expected = &machine.oracle[a->page][a->cpu];

	if (a->op == OP_DEVICE_WRITE) {
		*expected = value;
		if (guest_write(&mem, where, &value, 8) != 8)
			machine_fail("hypervisor writes", a->page, 8, 0);
	} else if (guest_read(&mem, where, &value, 8) != 8 || value != *expected) {
		machine_fail("hypervisor reads", a->page, *expected, value);
	}
}

/* --- the hypervisor -------------------------------------------------------------------------------- */

/* How long a fast-only question may pause: as policy.locked promises, for each MMU. */
static u64 fast_pauses_max(void)
{
	switch ((enum policy_locked)machine.plan.locked) {
	case POLICY_LOCKED:
		return ~0ull;
	case POLICY_READ:
		return (BIT(NOTIFIER_READ_TRIES) - 1) * (machine.plan.mmu == MACHINE_BOTH ? 2 : 1);
	default:
		return 0;
	}
}

static void do_age(const struct action *a)
{
	u64 bitmap[NOTIFIER_WORDS], visited = 0, pauses = cpus_pauses(a->cpu);
	unsigned flags = a->arg % 3 ? NOTIFIER_CLEAR : NOTIFIER_TEST;
	unsigned n = 1 + (unsigned)(a->arg >> 8) % TABLE_PAGES;

	memset(bitmap, 0xff, sizeof(bitmap));
	if (a->op == OP_AGE_FAST)
		flags |= NOTIFIER_FAST_ONLY;
	(void)notifier_age(machine.vm.space, page_gfn(a->page), n, bitmap, flags, &visited);
	pauses = cpus_pauses(a->cpu) - pauses;
	if (a->op == OP_AGE_FAST && pauses > fast_pauses_max())
		machine_fail("a fast-only question waited (I11)", a->page, fast_pauses_max(),
		             pauses);
}

static u32 pin_try(u64 page)
{
	u32 frame = FRAME_NONE;
	a64 *where;
	u64 word;

	epoch_enter();
	where = gfnmap_word(machine.vm.space, page_gfn(page));
	word = a64_load_acquire(where);
	if (gfn_word_tag(word) == GFN_RESIDENT && frame_pin_try(gfn_word_frame(word))) {
		frame = gfn_word_frame(word);
		if (a64_load(where) != word) {
			frame_unpin(frame);
			frame = FRAME_NONE;
		}
	}
	epoch_exit();
	return frame;
}

/*
 * Translations may be dropped at will, but what the entry knew has to reach the core before an evictor looks: that one
 * would find no Dirty, and drop what was written. So it is kept away by a pin. And one at a time: who takes a page's
 * translations away has it for himself.
 */
static void do_drop_translation(const struct action *a)
{
	gfn_t g = page_gfn(a->page);
	u32 frame = machine.dropping[a->page] ? FRAME_NONE : pin_try(a->page);
	struct notifier_zap zap;

	if (frame == FRAME_NONE)
		return;
	if (machine.dropping[a->page]) {
		frame_unpin(frame);
		return;
	}
	machine.dropping[a->page] = true;
	invalidate_begin(machine.vm.space, g, g);
	notifier_zap(machine.vm.space, g, &zap);
	invalidate_end(machine.vm.space, g, g);
	/* Others may be at the same: a write fault, for one. */
	while (zap.dirty && fault_make_dirty(machine.vm.space, g) == FAULT_RETRY)
		hal_pause();
	machine.dropping[a->page] = false;
	frame_unpin(frame);
	flush_wait(machine.vm.space, flush_request(machine.vm.space));
}

/* A pinned page stays where it is, whatever others do meanwhile. */
static void do_pin(const struct action *a)
{
	u32 frame = pin_try(a->page);

	if (frame == FRAME_NONE)
		return;
	for (unsigned i = 0; i < 1 + a->arg % 3; i++) {
		if (*word_of(frame_ptr(frame), a->cpu) != machine.oracle[a->page][a->cpu])
			machine_fail("pinned page", a->page, machine.oracle[a->page][a->cpu],
			             *word_of(frame_ptr(frame), a->cpu));
		hal_pause();
	}
	cpus_calm(true);
	epoch_enter();
	if (gfn_word_frame(a64_load(gfnmap_word(machine.vm.space, page_gfn(a->page)))) != frame)
		machine_fail("a pinned page went away", a->page, frame, 0);
	epoch_exit();
	cpus_calm(false);
	frame_unpin(frame);
}

/* The second slot goes with everything in it, or comes back empty; agers and evictors are at work meanwhile. */
static void do_slot(const struct action *a)
{
	bool here = machine.plug == PLUG_HERE;

	(void)a;
	if (machine.plug == PLUG_CHANGING)
		return;
	machine.plug = PLUG_CHANGING;
	while (machine.plug_users)
		hal_pause();
	if (here) {
		space_drop_range(machine.vm.space, gfn(plug_base()), MACHINE_PLUGGED);
		gfnmap_remove(machine.vm.space, gfn(plug_base()));
		memset(machine.oracle[pages_first()], 0,
		       MACHINE_PLUGGED * sizeof(machine.oracle[0]));
	} else if (!gfnmap_add(machine.vm.space, gfn(plug_base()), MACHINE_PLUGGED)) {
		machine_fail("no slot", 0, 1, 0);
	}
	machine.totals->plugged++;
	machine.plug = here ? PLUG_GONE : PLUG_HERE;
}

static void do_reclaim(const struct action *a)
{
	switch (a->arg % 4) {
	case 0:
		(void)reclaim_direct(machine.vm.space);
		break;
	case 1:
		(void)reclaim_background();
		break;
	case 2:
		(void)age_flush_poll(machine.now_ns + (a->arg & BIT(5) ? AGE_FLUSH_GRACE_NS : 0));
		break;
	default:
		reclaim_limits();
		break;
	}
}

/* One at a time, as the background thread does it; after a touch of all that a vCPU finds missing. */
static void do_collapse(const struct action *a)
{
	u32 first = a->page / TABLE_PAGES * TABLE_PAGES % MACHINE_LARGE;

	if (!machine.plan.huge || machine.collapsing)
		return;
	machine.collapsing = 1;
	for (u32 i = 0; i < TABLE_PAGES && a->cpu < MACHINE_VCPUS; i++) {
		const struct action touch = {.cpu = a->cpu,
		                             .op = a->arg & 1 ? OP_WRITE : OP_READ,
		                             .page = first + i,
		                             .arg = BIT(21)};

		machine_access(&touch, true);
	}
	machine_leave(a->cpu);
	(void)collapse_range(machine.vm.space, gfn(first));
	machine.collapsing = 0;
}

static void do_hypervisor(const struct action *a)
{
	switch ((enum operation)a->op) {
	case OP_AGE_FAST:
	case OP_AGE_ACCURATE:
		do_age(a);
		break;
	case OP_PASS:
		(void)age_space(machine.vm.space, a64_load(&machine.vm.space->lru.max_seq),
		                a->arg & 1);
		break;
	case OP_EVICT:
		(void)evict_space(machine.vm.space, evict_any(1 + a->arg % 16));
		break;
	case OP_RECLAIM:
		do_reclaim(a);
		break;
	case OP_FLUSH:
		flush_wait(machine.vm.space, flush_request(machine.vm.space));
		break;
	case OP_SLOT:
		do_slot(a);
		break;
	case OP_LIMIT:
		a64_store(&machine.vm.space->limits.limit, a->arg % 2 ? 0 : 24 + a->arg % 32);
		break;
	case OP_EXACT:
		machine.exact_wanted = a->arg | 1;
		break;
	case OP_COLLAPSE:
		do_collapse(a);
		break;
	case OP_SHRINK_TABLES:
		machine_shrink_tables(a);
		break;
	default:
		break;
	}
}

/* About a page of a slot that is there, and stays while this lasts. */
static void do_page(const struct action *a)
{
	switch ((enum operation)a->op) {
	case OP_DEVICE_READ:
	case OP_DEVICE_WRITE:
		device_access(a);
		break;
	case OP_EVICT_PAGE:
		if (evict_page(machine.vm.space, page_gfn(a->page)) >= EVICT_PAGE_RESULTS)
			machine_fail("eviction of a page", a->page, 0, 0);
		break;
	case OP_DROP_TRANSLATION:
		do_drop_translation(a);
		break;
	case OP_PIN:
		do_pin(a);
		break;
	case OP_SPLIT:
		notifier_split(machine.vm.space, page_gfn(a->page));
		break;
	case OP_MAP:
	case OP_MAP_TABLE:
	case OP_INVLPG:
	case OP_LOAD:
		machine_guest_act(a);
		break;
	default:
		machine_access(a, true);
		break;
	}
}

static bool is_about_a_page(const struct action *a)
{
	return a->op <= OP_DEVICE_WRITE || a->op == OP_EVICT_PAGE || a->op == OP_DROP_TRANSLATION ||
	       a->op == OP_PIN || a->op == OP_SPLIT;
}

void machine_act(const struct action *a)
{
	bool plugged = a->page >= pages_first();

	machine.doing[a->cpu] = a;
	if (!action_is_guests(a))
		machine_leave(a->cpu);
	if (!is_about_a_page(a)) {
		do_hypervisor(a);
	} else if (!plugged || machine.plug == PLUG_HERE) {
		machine.plug_users += plugged;
		do_page(a);
		machine.plug_users -= plugged;
	} else if (action_is_guests(a) && machine.plug == PLUG_GONE) {
		machine.plug_users++;
		machine_access(a, false);
		machine.plug_users--;
	}
	if (!(a->cpu < MACHINE_VCPUS && machine.stays[a->cpu]))
		epoch_poll();
	machine.doing[a->cpu] = NULL;
}
