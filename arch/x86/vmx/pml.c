#include "arch/x86/vmx/pml.h"

#include "arch/x86/vmx/control.h"
#include "arch/x86/vmx/insn.h"

void vmx_pml_switch(struct arch_vcpu *v, struct vmx_vcpu *c)
{
	u32 proc2 = v->log_writes ? c->proc2 | PROC2_PML : c->proc2 & ~PROC2_PML;

	DEBUG_ASSERT(!v->log_writes || vmx_caps.pml);
	if (v->log_writes) {
		vmwrite(VMCS_LOG_ADDRESS, (u64)c->log);
		vmwrite(VMCS_LOG_INDEX, VMX_LOG_ENTRIES - 1);
	}
	vmwrite(VMCS_PROC2_CONTROLS, c->proc2 = proc2);
	c->logs = v->log_writes;
}

void vmx_pml_drain(struct arch_vcpu *v, struct vmx_vcpu *c)
{
	unsigned used = vmx_log_used((u16)vmread(VMCS_LOG_INDEX));

	if (!used)
		return;
	v->logged = &c->log[VMX_LOG_ENTRIES - used];
	v->nr_logged = used;
	vmwrite(VMCS_LOG_INDEX, VMX_LOG_ENTRIES - 1);
}
