#include "tests/host/vm.h"

#include "arch/hal.h"
#include "mm/age.h"
#include "mm/dirty_log.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "tests/host/hal.h"

const struct host_machine host_machines[HOST_MACHINES] = {
        {&spte_ept_ad, WALKER_EPT_AD},
        {&spte_ept_track, WALKER_EPT},
        {&spte_npt_ad, WALKER_NPT},
        {&spte_npt_track, WALKER_NPT},
};

static bool must_leave(struct host_vcpu *v, u64 gen)
{
	return a32_load_acquire(&v->in_guest) && a64_load_acquire(&v->flushed) < gen;
}

static bool host_nudge(struct space *s, u64 gen)
{
	struct host_vm *vm = s->priv;
	bool any = false;

	for (unsigned i = 0; i < vm->nr_vcpus; i++) {
		if (!must_leave(&vm->vcpu[i], gen))
			continue;
		a32_store(&vm->vcpu[i].kicked, 1);
		any = true;
	}
	return any;
}

static void host_shootdown(struct space *s, u64 gen)
{
	struct host_vm *vm = s->priv;

	a64_count(&vm->shootdowns, 1);
	if (vm->fault == HOST_VM_NO_SHOOTDOWN)
		return;
	(void)host_nudge(s, gen);
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		while (must_leave(&vm->vcpu[i], gen))
			hal_pause();
}

static bool host_ran(struct space *s)
{
	struct host_vm *vm = s->priv;

	return a32_xchg(&vm->ran, 0);
}

static bool host_ran_lately(struct space *s)
{
	return a32_xchg(&((struct host_vm *)s->priv)->ran_lately, 0);
}

static const struct space_ops host_space_ops = {
        .shootdown = host_shootdown,
        .nudge = host_nudge,
        .ran = host_ran,
        .ran_lately = host_ran_lately,
};

void host_frames_create(u64 nframes)
{
	const struct frame_extent extent = {hal_ptr_pfn(host_ram(nframes)), nframes};

	ASSERT(frame_init(&extent, 1));
}

void host_frames_destroy(void)
{
	frame_exit();
}

void host_vm_create(struct host_vm *vm, const struct host_machine *m, u64 npages, unsigned nr_vcpus)
{
	*vm = (struct host_vm){.nr_vcpus = nr_vcpus};
	vm->space = space_create("guest", &host_space_ops, vm);
	ASSERT(vm->space);
	vm->mem.space = vm->space;
	ASSERT(gfnmap_add(vm->space, gfn(0), npages));
	if (!m)
		return;
	ASSERT(tdp_create(&vm->tdp, vm->space, m->format));
	for (unsigned i = 0; i < nr_vcpus; i++)
		walker_init(&vm->vcpu[i].walker, m->walker, vm->tdp.root);
}

void host_vm_destroy(struct host_vm *vm)
{
	space_drain(vm->space);
	if (vm->drained)
		vm->drained();
	if (vm->tdp.notifier.space)
		tdp_destroy(&vm->tdp);
	space_destroy(vm->space);
}

void host_vm_enter(struct host_vm *vm, unsigned vcpu)
{
	struct host_vcpu *v = &vm->vcpu[vcpu];
	u64 wanted;

	a32_store(&vm->ran, 1);
	a32_store(&vm->ran_lately, 1);
	a32_store(&v->kicked, 0);
	a32_store_full(&v->in_guest, 1);
	wanted = a64_load(&vm->space->flush.wanted);
	if (a64_load(&v->flushed) != wanted) {
		if (vm->fault != HOST_VM_NO_FLUSH)
			walker_flush(&v->walker);
		a64_store_release(&v->flushed, wanted);
	}
	v->walker.log = dirty_log_mode(vm->space) == DIRTY_LOG_HARDWARE ? v->log : NULL;
	v->walker.log_room = HOST_VM_LOG;
}

static void take_logged(struct host_vm *vm, struct host_vcpu *v)
{
	if (v->walker.logged)
		dirty_log_hardware(vm->space, v->log, v->walker.logged);
	v->walker.logged = 0;
}

void host_vm_leave(struct host_vm *vm, unsigned vcpu)
{
	struct host_vcpu *v = &vm->vcpu[vcpu];

	if (vm->fault != HOST_VM_LOG_LATE)
		take_logged(vm, v);
	a32_store_release(&v->in_guest, 0);
	for (unsigned i = 0; i < 50 && v->walker.logged; i++)
		hal_pause();
	take_logged(vm, v);
}

/* The guest's instruction, if the walker lets it: plain memory, so that a race detector can judge. */
static enum walker_result guest_step(struct host_vm *vm, unsigned vcpu, const struct tdp_access *a,
                                     u64 *value)
{
	struct host_vcpu *v = &vm->vcpu[vcpu];
	enum walker_result r;
	hpa_t where;

	host_vm_enter(vm, vcpu);
	r = walker_translate(&v->walker, a->gpa, a->write, a->fetch, &where);
	if (r == WALKER_OK && a->write)
		*(u64 *)(uintptr_t)where.v = *value;
	else if (r == WALKER_OK)
		*value = *(u64 *)(uintptr_t)where.v;
	host_vm_leave(vm, vcpu);
	return r;
}

static enum fault_result guest_access(struct host_vm *vm, unsigned vcpu, const struct tdp_access *a,
                                      u64 *value)
{
	struct host_vcpu *v = &vm->vcpu[vcpu];

	for (;;) {
		enum walker_result r = guest_step(vm, vcpu, a, value);
		enum fault_result fault;

		if (r == WALKER_OK)
			return FAULT_FIXED;
		if (r == WALKER_LOG_FULL)
			continue;
		ASSERT(r == WALKER_FAULT);
		v->faults++;
		fault = tdp_fault(&vm->tdp, a);
		if (fault != FAULT_FIXED && fault != FAULT_RETRY && fault != FAULT_WAIT)
			return fault;
	}
}

enum fault_result host_vm_read(struct host_vm *vm, unsigned vcpu, gpa_t a, u64 *value)
{
	return guest_access(vm, vcpu, &(struct tdp_access){.gpa = a}, value);
}

enum fault_result host_vm_fetch(struct host_vm *vm, unsigned vcpu, gpa_t a, u64 *value)
{
	return guest_access(vm, vcpu, &(struct tdp_access){.gpa = a, .fetch = true}, value);
}

enum fault_result host_vm_write(struct host_vm *vm, unsigned vcpu, gpa_t a, u64 value)
{
	return guest_access(vm, vcpu, &(struct tdp_access){.gpa = a, .write = true}, &value);
}

static bool table_below(const struct host_vm *vm, unsigned level, u64 entry)
{
	u64 present = vm->vcpu[0].walker.kind == WALKER_NPT ? 1 : 7;

	return level > 1 && (entry & present) && !(entry & BIT(7));
}

static a64 *table_at(u64 entry)
{
	return hal_frame_ptr(pfn((entry & BITS(51, 12)) >> PAGE_SHIFT));
}

u64 host_vm_spte(struct host_vm *vm, gfn_t g)
{
	a64 *table = hal_frame_ptr(hpa_pfn(vm->tdp.root));

	for (unsigned level = 4;; level--) {
		u64 entry = a64_load(&table[(g.v >> ((level - 1) * 9)) % TABLE_PAGES]);

		if (!table_below(vm, level, entry))
			return entry;
		table = table_at(entry);
	}
}

u64 host_vm_evict(struct host_vm *vm, u64 target)
{
	u64 freed = 0;

	for (unsigned i = 0; i < 2 * GEN_MAX && freed < target; i++) {
		freed += evict_space(vm->space, evict_any(target - freed)).freed;
		age_space(vm->space, a64_load(&vm->space->lru.max_seq), false);
	}
	epoch_barrier();
	return freed;
}

static u64 leaks_below(const struct host_vm *vm, a64 *table, unsigned level)
{
	u64 present = vm->vcpu[0].walker.kind == WALKER_NPT ? 1 : 7, leaks = 0;

	for (unsigned i = 0; i < TABLE_PAGES; i++) {
		u64 entry = a64_load(&table[i]);

		if (table_below(vm, level, entry))
			leaks += leaks_below(vm, table_at(entry), level - 1);
		else if (!(entry & present))
			leaks += frame_of_pfn(pfn((entry & BITS(51, 12)) >> PAGE_SHIFT)) !=
			         FRAME_NONE;
	}
	return leaks;
}

u64 host_vm_leaks(struct host_vm *vm)
{
	return leaks_below(vm, hal_frame_ptr(hpa_pfn(vm->tdp.root)), 4);
}
