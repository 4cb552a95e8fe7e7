#include "tests/host/cpu_tlb.h"

#include <string.h>

#include "arch/hal.h"
#include "arch/x86/svm/control.h"
#include "arch/x86/vmx/control.h"
#include "tests/host/cpu_virt.h"
#include "tests/host/cpu_vmcs.h"

#define ENTRIES   128u
#define ROOT_BITS BITS(51, 12)

/* `linear`: of an address of the guest's programs, else of its memory. */
struct tlb_entry {
	bool used, linear;
	u32 number; /* ASID or VPID */
	u64 root;   /* of the second level, 0: none, or SVM */
	u64 value;
};

static struct tlb_entry tlb[HAL_MAX_CPUS][ENTRIES];

void cpu_tlb_reset(void)
{
	memset(tlb, 0, sizeof(tlb));
}

static struct tlb_entry *here(void)
{
	return tlb[hal_cpu_id()];
}

static struct tlb_entry tag_of(struct arch_vcpu *v, bool linear)
{
	if (!cpu_virt_is_vmx())
		return (struct tlb_entry){.linear = true, .number = svm_of(v)->vmcb.control.asid};
	return (struct tlb_entry){.linear = linear,
	                          .number = linear ? (u32)cpu_vmcs_get(VMCS_VPID) : 0,
	                          .root = v->shadow ? 0 : cpu_vmcs_get(VMCS_EPTP) & ROOT_BITS};
}

static struct tlb_entry *find(const struct tlb_entry *tag)
{
	struct tlb_entry *e = here();

	while (e < here() + ENTRIES && !(e->used && e->linear == tag->linear &&
	                                 e->number == tag->number && e->root == tag->root))
		e++;
	return e < here() + ENTRIES ? e : NULL;
}

static void fill(struct tlb_entry tag, u64 value)
{
	struct tlb_entry *e = here();

	if (find(&tag))
		return;
	while (e->used)
		if (++e == here() + ENTRIES)
			hal_panic("tlb: more than %u entries", ENTRIES);
	*e = tag;
	e->used = true;
	e->value = value;
}

u64 cpu_tlb_look(struct arch_vcpu *v, u64 memory)
{
	struct tlb_entry linear = tag_of(v, true), second = tag_of(v, false);
	const struct tlb_entry *e = find(&linear);

	if (!e && second.root)
		e = find(&second);
	if (e)
		memory = e->value;
	fill(linear, memory);
	if (second.root)
		fill(second, memory);
	return memory;
}

static void drop(bool (*which)(const struct tlb_entry *e, u64 what), u64 what)
{
	for (struct tlb_entry *e = here(); e < here() + ENTRIES; e++)
		e->used = e->used && !which(e, what);
}

static bool of_root(const struct tlb_entry *e, u64 root)
{
	return e->root && (!root || e->root == root);
}

static bool of_vpid(const struct tlb_entry *e, u64 vpid)
{
	return e->linear && (vpid ? e->number == vpid : e->number != 0);
}

static bool without_number(const struct tlb_entry *e, u64 what)
{
	(void)what;
	return e->linear && !e->number;
}

static bool of_asid(const struct tlb_entry *e, u64 asid)
{
	return !asid || e->number == asid;
}

void cpu_tlb_drop_root(u64 root)
{
	drop(of_root, root & ROOT_BITS);
}

void cpu_tlb_drop_vpid(u32 vpid)
{
	drop(of_vpid, vpid);
}

void cpu_tlb_enter(struct arch_vcpu *v)
{
	const struct vmcb_control *control;

	if (cpu_virt_is_vmx()) {
		drop(without_number, 0);
		return;
	}
	control = &svm_of(v)->vmcb.control;
	ASSERT(control->asid && control->asid < svm_caps.nr_asids);
	ASSERT(control->tlb_control != SVM_TLB_ASID || svm_caps.flush_asid);
	if (control->tlb_control)
		drop(of_asid, control->tlb_control == SVM_TLB_ASID ? control->asid : 0);
}
