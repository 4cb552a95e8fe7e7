#include "arch/hal.h"
#include "arch/x86/percpu.h"
#include "arch/x86/vcpu_event.h"
#include "arch/x86/vcpu_state.h"
#include "arch/x86/vmx/control.h"
#include "arch/x86/vmx/insn.h"

#define VMX_VCPU_PAGES ((sizeof(struct vmx_vcpu) + PAGE_SIZE - 1) / PAGE_SIZE)

static bool vmx_create(struct arch_vcpu *v)
{
	struct vmx_vcpu *c = hal_pages_alloc(VMX_VCPU_PAGES);
	bool logs = vmx_caps.pml && v->ad && !v->shadow;
	u64 *log = logs ? hal_pages_alloc(1) : NULL;

	if (!c || (logs && !log)) {
		if (c)
			hal_pages_free(c, VMX_VCPU_PAGES);
		if (log)
			hal_pages_free(log, 1);
		return false;
	}
	c->log = log;
	c->revision = vmx_caps.revision;
	c->last_cpu = -1;
	c->deadline_tsc = ~0ull;
	fpu_init_area(&c->fpu);
	v->fpu = &c->fpu;
	v->control = c;
	v->loaded_cpu = -1;
	return true;
}

static void vmx_destroy(struct arch_vcpu *v)
{
	struct vmx_vcpu *c = vmx_of(v);

	ASSERT(v->loaded_cpu == -1);
	if (c->log)
		hal_pages_free(c->log, 1);
	hal_pages_free(v->control, VMX_VCPU_PAGES);
	v->control = NULL;
	v->fpu = NULL;
}

/* An event may have been written for an entry that did not take place. */
static void vmx_reset(struct arch_vcpu *v, const struct vreset *how)
{
	vmwrite(VMCS_ENTRY_EVENT, 0);
	vmx_irq_window(v, false);
	vmx_proc_set(vmx_of(v), PROC_NMI_WINDOW, false);
	vmwrite(VMCS_GUEST_SHADOW, 0);
	vmx_of(v)->nmi_blocked = false;
	vmwrite(VMCS_GUEST_ACTIVITY, 0);
	vmwrite(VMCS_GUEST_PENDING_DB, 0);
	if (vmx_of(v)->vm86)
		vmx_vm86_leave(v);
	vcpu_state_reset(&vmx_ops, v, how);
}

/* What this CPU may have cached for another vCPU with this number, or for our root, is over. */
static void load_first_time_here(struct arch_vcpu *v, struct vmx_vcpu *c)
{
	c->last_cpu = v->loaded_cpu;
	vmx_control_host(c);
	vmx_flush(v);
	if (vmx_caps.vpid && !v->shadow)
		invvpid(vmx_caps.invvpid_single ? INVVPID_SINGLE : INVVPID_ALL, v->id);
}

static void vmx_load(struct arch_vcpu *v)
{
	struct vmx_vcpu *c = vmx_of(v);
	struct vmx_cpu *cpu = this_cpu()->vendor;
	u64 pa = (u64)c;

	DEBUG_ASSERT(v->loaded_cpu == -1 && !cpu->loaded);
	if ((!c->initialised && !vmclear(pa)) || !vmptrld(pa))
		hal_panic("vmx: the CPU does not take the control structure of vCPU %u", v->id);
	cpu->loaded = v;
	v->loaded_cpu = (s32)hal_cpu_id();
	if (!c->initialised)
		vmx_control_init(v);
	c->initialised = true;
	if (c->last_cpu != v->loaded_cpu)
		load_first_time_here(v, c);
	vmx_msrs_load(v);
	vcpu_debug_load(v);
}

static void vmx_put(struct arch_vcpu *v)
{
	struct vmx_vcpu *c = vmx_of(v);
	struct vmx_cpu *cpu = this_cpu()->vendor;

	DEBUG_ASSERT(cpu->loaded == v);
	vmx_msrs_save(v);
	vcpu_debug_save(v);
	if (!vmclear((u64)c))
		hal_panic("vmx: the CPU does not write back the control structure of vCPU %u",
		          v->id);
	c->launched = false;
	cpu->loaded = NULL;
	v->loaded_cpu = -1;
}

const struct vendor_ops vmx_ops = {
        .name = "vmx",
        .kick_by_nmi = true,
        .probe = vmx_probe,
        .enable = vmx_enable,
        .disable = vmx_disable,
        .create = vmx_create,
        .destroy = vmx_destroy,
        .reset = vmx_reset,
        .load = vmx_load,
        .put = vmx_put,
        .run = vmx_run,
        .get = vmx_get,
        .set = vmx_set,
        .get_seg = vmx_get_seg,
        .set_seg = vmx_set_seg,
        .advance = vmx_advance,
        .inject = vcpu_event_inject,
        .irq_ready = vmx_irq_ready,
        .irq_window = vmx_irq_window,
        .flush = vmx_flush,
        .nmi = vmx_nmi,
};
