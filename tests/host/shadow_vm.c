#include "tests/host/shadow_vm.h"

#include "arch/hal.h"
#include "mm/epoch.h"
#include "mm/gfnmap.h"

#define CR0_PG   BIT(31)
#define CR4_SMEP BIT(20)
#define CR4_SMAP BIT(21)
#define EFER_LMA BIT(10)

/* What a test may leave out on purpose (tests/host/shadow_spoilt.h). */
#ifndef SHADOW_VM_NO_SHOOTDOWN
#define SHADOW_VM_NO_SHOOTDOWN false
#endif
#ifndef SHADOW_VM_NO_LOOK
#define SHADOW_VM_NO_LOOK false
#endif
#ifndef SHADOW_VM_NO_FLUSH
#define SHADOW_VM_NO_FLUSH false
#endif

/* Between the question for the root and the entry. */
#ifndef SHADOW_VM_GAP
#define SHADOW_VM_GAP() ((void)0)
#endif

static bool must_leave(const struct shadow_vm_vcpu *v, u64 gen)
{
	return a32_load_acquire(&v->in_guest) && a64_load_acquire(&v->flushed) < gen;
}

static void shootdown(struct space *s, u64 gen)
{
	struct shadow_vm *vm = s->priv;

	for (unsigned i = 0; i < vm->nr_vcpus && !SHADOW_VM_NO_SHOOTDOWN; i++) {
		if (must_leave(&vm->vcpu[i], gen))
			a32_store(&vm->vcpu[i].kicked, 1);
		while (must_leave(&vm->vcpu[i], gen))
			hal_pause();
	}
}

static bool ran(struct space *s)
{
	return a32_xchg(&((struct shadow_vm *)s->priv)->ran, 0);
}

static bool ran_lately(struct space *s)
{
	return a32_xchg(&((struct shadow_vm *)s->priv)->ran_lately, 0);
}

static const struct space_ops ops = {.shootdown = shootdown, .ran = ran, .ran_lately = ran_lately};

void shadow_vm_create(struct shadow_vm *vm, const struct spte_format *format, u64 npages,
                      unsigned nr_vcpus)
{
	*vm = (struct shadow_vm){.nr_vcpus = nr_vcpus};
	vm->space = space_create("guest", &ops, vm);
	ASSERT(vm->space && gfnmap_add(vm->space, gfn(0), npages));
	ASSERT(shadow_create(&vm->shadow, vm->space, format, NULL,
	                     (struct shadow_window){.first = gfn(SHADOW_VM_WINDOW),
	                                            .npages = SHADOW_VM_WINDOW_PAGES}));
	vm->mem = (struct guest_mem){.space = vm->space, .shadow = &vm->shadow};
	for (unsigned i = 0; i < nr_vcpus; i++)
		ASSERT(shadow_vcpu_create(&vm->vcpu[i].shadow, &vm->shadow));
}

void shadow_vm_destroy(struct shadow_vm *vm)
{
	space_drain(vm->space);
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		shadow_vcpu_destroy(&vm->vcpu[i].shadow);
	shadow_destroy(&vm->shadow);
	space_destroy(vm->space);
}

void shadow_vm_load(struct shadow_vm *vm, unsigned vcpu, const struct shadow_regs *regs)
{
	struct shadow_vm_vcpu *v = &vm->vcpu[vcpu];
	bool paging = regs->cr0 & CR0_PG;

	shadow_vm_leave(vm, vcpu);
	v->regs = *regs;
	shadow_vcpu_set(&v->shadow, regs);
	v->walker.long_mode = paging && regs->efer & EFER_LMA;
	v->walker.smep = paging && regs->cr4 & CR4_SMEP;
	v->walker.smap = paging && regs->cr4 & CR4_SMAP;
	cpu_flush(&v->walker);
}

void shadow_vm_reload(struct shadow_vm *vm, unsigned vcpu)
{
	struct shadow_regs regs = vm->vcpu[vcpu].regs;

	shadow_vm_load(vm, vcpu, &regs);
}

void shadow_vm_invlpg(struct shadow_vm *vm, unsigned vcpu, gva_t at)
{
	shadow_vm_leave(vm, vcpu);
	shadow_invlpg(&vm->vcpu[vcpu].shadow, at);
	cpu_flush(&vm->vcpu[vcpu].walker);
}

void shadow_vm_leave(struct shadow_vm *vm, unsigned vcpu)
{
	a32_store_release(&vm->vcpu[vcpu].in_guest, 0);
}

/* False: its root went away meanwhile. */
static bool enter_guest(struct shadow_vm *vm, struct shadow_vm_vcpu *v)
{
	u64 wanted;

	a32_store(&v->kicked, 0);
	a32_store_full(&v->in_guest, 1);
	wanted = a64_load_acquire(&vm->space->flush.wanted);
	if (a64_load(&v->flushed) != wanted) {
		bool valid = shadow_vcpu_root_valid(&v->shadow);

		a64_count(&vm->roots_gone, !valid);
		if (!SHADOW_VM_NO_LOOK && !valid) {
			a32_store_release(&v->in_guest, 0);
			return false;
		}
		if (!SHADOW_VM_NO_FLUSH)
			cpu_flush(&v->walker);
		a64_store_release(&v->flushed, wanted);
	}
	return true;
}

/* Enters if it has to. FIXED: it is in the guest. */
static enum shadow_result be_inside(struct shadow_vm *vm, struct shadow_vm_vcpu *v)
{
	enum shadow_result result;

	if (a32_load(&v->in_guest)) {
		if (!a32_load(&v->kicked))
			return SHADOW_FIXED;
		a32_store_release(&v->in_guest, 0);
	}
	result = shadow_vcpu_root(&v->shadow, &v->walker.cr3);
	if (result != SHADOW_FIXED)
		return result;
	SHADOW_VM_GAP();
	return enter_guest(vm, v) ? SHADOW_FIXED : SHADOW_RETRY;
}

/* The guest's instruction, if the walker lets it. */
static bool guest_step(struct shadow_vm *vm, struct shadow_vm_vcpu *v, gva_t at, unsigned access,
                       u64 *value, struct shadow_vm_access *a, u32 *error)
{
	bool ok;

	a->result = be_inside(vm, v);
	if (a->result != SHADOW_FIXED)
		return false;
	ok = cpu_translate(&v->walker, at, access, v->ac, &a->where, error);
	if (ok && access & CPU_WRITE)
		a64_store((a64 *)(uintptr_t)a->where.v, *value);
	else if (ok)
		*value = a64_load((a64 *)(uintptr_t)a->where.v);
	if (ok && vm->looks)
		vm->looks(vm, v, at, a->where);
	if (!ok || !vm->linger)
		a32_store_release(&v->in_guest, 0);
	a->result = ok ? SHADOW_FIXED : SHADOW_GUEST_FAULT;
	return ok;
}

struct shadow_vm_access shadow_vm_access(struct shadow_vm *vm, unsigned vcpu, gva_t at,
                                         unsigned access, u64 *value)
{
	struct shadow_vm_vcpu *v = &vm->vcpu[vcpu];
	struct shadow_vm_access a;
	u32 error;

	a32_store(&vm->ran, 1);
	a32_store(&vm->ran_lately, 1);
	for (;;) {
		if (guest_step(vm, v, at, access, value, &a, &error))
			return a;
		if (a.result == SHADOW_RETRY)
			continue;
		if (a.result != SHADOW_GUEST_FAULT)
			return a;
		v->faults++;
		a.result = shadow_fault(&v->shadow, at, error, v->ac, &a.out);
		if (a.result != SHADOW_FIXED && a.result != SHADOW_RETRY)
			return a;
	}
}
