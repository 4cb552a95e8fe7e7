#include "tests/host/shadow_vm.h"

#include "arch/hal.h"
#include "mm/epoch.h"
#include "mm/gfnmap.h"

#define CR0_PG   BIT(31)
#define CR4_SMEP BIT(20)
#define CR4_SMAP BIT(21)
#define EFER_LMA BIT(10)

static void shootdown(struct space *s, u64 gen)
{
	struct shadow_vm *vm = s->priv;

	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		while (a32_load_acquire(&vm->vcpu[i].in_guest) &&
		       a64_load_acquire(&vm->vcpu[i].flushed) < gen)
			hal_pause();
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
	ASSERT(shadow_create(&vm->shadow, vm->space, format, NULL));
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
	shadow_invlpg(&vm->vcpu[vcpu].shadow, at);
	cpu_flush(&vm->vcpu[vcpu].walker);
}

/* False: its root went away meanwhile. */
static bool enter_guest(struct shadow_vm *vm, struct shadow_vm_vcpu *v)
{
	u64 wanted;

	a32_store_full(&v->in_guest, 1);
	wanted = a64_load_acquire(&vm->space->flush.wanted);
	if (a64_load(&v->flushed) != wanted) {
		if (!shadow_vcpu_root_valid(&v->shadow)) {
			a32_store_release(&v->in_guest, 0);
			return false;
		}
		cpu_flush(&v->walker);
		a64_store_release(&v->flushed, wanted);
	}
	return true;
}

/* The guest's instruction, if the walker lets it. */
static bool guest_step(struct shadow_vm *vm, struct shadow_vm_vcpu *v, gva_t at, unsigned access,
                       u64 *value, struct shadow_vm_access *a, u32 *error)
{
	bool ok;

	a->result = shadow_vcpu_root(&v->shadow, &v->walker.cr3);
	if (a->result != SHADOW_FIXED)
		return false;
	a->result = SHADOW_RETRY;
	if (!enter_guest(vm, v))
		return false;
	ok = cpu_translate(&v->walker, at, access, v->ac, &a->where, error);
	if (ok && access & CPU_WRITE)
		a64_store((a64 *)(uintptr_t)a->where.v, *value);
	else if (ok)
		*value = a64_load((a64 *)(uintptr_t)a->where.v);
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
