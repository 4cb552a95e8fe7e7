#include "arch/x86/vmx/control.h"

#include "arch/x86/cpu.h"
#include "arch/x86/desc.h"
#include "arch/x86/vmx/insn.h"
#include "lib/string.h"

/*
 * One for all vCPUs: a bit set is an exit. Four parts of 1 KiB: reads of the low and the high MSRs,
 * writes of the same (SDM vol. 3, section 25.6.9). What passes is switched by the VMCS, or stays in
 * the CPU as long as the vCPU is loaded.
 */
static u8 msr_bitmap[PAGE_SIZE] aligned_to(4096);

static void bitmap_pass(u32 msr)
{
	u32 at = (msr >= 0xc0000000u ? 0x400 : 0) + (msr & 0x1fff) / 8;
	u8 keep = (u8) ~(1u << msr % 8);

	msr_bitmap[at] &= keep;
	msr_bitmap[at + 0x800] &= keep;
}

void vmx_control_maps_init(void)
{
	static const u32 pass[] = {
	        MSR_SYSENTER_CS, MSR_SYSENTER_ESP,   MSR_SYSENTER_EIP, MSR_STAR,
	        MSR_LSTAR,       MSR_CSTAR,          MSR_FMASK,        MSR_FS_BASE,
	        MSR_GS_BASE,     MSR_KERNEL_GS_BASE,
	};

	memset(msr_bitmap, 0xff, sizeof(msr_bitmap));
	for (size_t i = 0; i < ARRAY_SIZE(pass); i++)
		bitmap_pass(pass[i]);
}

/*
 * #AC and #DB leave the guest because a guest can make the CPU raise them without end while it
 * delivers them. In virtual-8086 mode everything has to go through the guest's real-mode vectors.
 */
u32 vmx_exceptions(const struct arch_vcpu *v)
{
	if (((const struct vmx_vcpu *)v->control)->vm86)
		return ~0u;
	return (u32)(BIT(1) | BIT(17) | BIT(18) | (v->shadow ? BIT(14) : 0));
}

/* What we want as far as the CPU has it, and what it insists on. */
static u32 allowed(struct vmx_allowed a, u32 want)
{
	return (want & a.may) | a.must;
}

static void control_fields(struct arch_vcpu *v, struct vmx_vcpu *c)
{
	u32 not = (vmx_caps.vpid ? 0 : PROC2_VPID) | (v->shadow ? PROC2_TDP : 0) |
	          (cpu_features.pcid ? 0 : PROC2_INVPCID);
	u32 proc2 = allowed(vmx_caps.proc2, PROC2_WANTED & ~not );

	c->proc = allowed(vmx_caps.proc, PROC_WANTED | (v->shadow ? PROC_SHADOW : 0));
	vmwrite(VMCS_PIN_CONTROLS, allowed(vmx_caps.pin, PIN_WANTED));
	vmwrite(VMCS_PROC_CONTROLS, c->proc);
	if (vmx_caps.proc2_there)
		vmwrite(VMCS_PROC2_CONTROLS, c->proc2 = proc2);
	vmwrite(VMCS_EXIT_CONTROLS, allowed(vmx_caps.exit, EXIT_WANTED));
	vmwrite(VMCS_ENTRY_CONTROLS, allowed(vmx_caps.entry, ENTRY_WANTED));
	vmwrite(VMCS_EXCEPTIONS, vmx_exceptions(v));
	vmwrite(VMCS_MSR_BITMAP, (u64)msr_bitmap);
	if (proc2 & PROC2_VPID)
		vmwrite(VMCS_VPID, v->id);
	if (proc2 & PROC2_PLE) {
		vmwrite(VMCS_PLE_GAP, 128);
		vmwrite(VMCS_PLE_WINDOW, 4096);
	}
}

/*
 * Every field that an entry looks at is written: what VMCLEAR leaves in them is the CPU's own affair (SDM
 * vol. 3, section 25.11.3). RIP, RSP and RFLAGS go with the copies in struct vmx_vcpu, which start as 0;
 * segments and system registers come with reset().
 */
void vmx_control_init(struct arch_vcpu *v)
{
	static const u32 zero[] = {
	        VMCS_PF_MASK,        VMCS_PF_MATCH,        VMCS_CR3_TARGETS,
	        VMCS_EXIT_MSR_LOADS, VMCS_EXIT_MSR_STORES, VMCS_ENTRY_MSR_LOADS,
	        VMCS_ENTRY_EVENT,    VMCS_GUEST_ACTIVITY,  VMCS_GUEST_SHADOW,
	        VMCS_TSC_OFFSET,     VMCS_GUEST_DEBUGCTL,  VMCS_GUEST_PENDING_DB,
	        VMCS_GUEST_CR0,      VMCS_GUEST_CR3,       VMCS_GUEST_CR4,
	        VMCS_GUEST_RIP,      VMCS_GUEST_RSP,       VMCS_GUEST_RFLAGS,
	};

	control_fields(v, vmx_of(v));
	for (size_t i = 0; i < ARRAY_SIZE(zero); i++)
		vmwrite(zero[i], 0);
	if (vmx_caps.efer)
		vmwrite(VMCS_GUEST_EFER, 0);
	vmwrite(VMCS_LINK, ~0ull);
	vmwrite(VMCS_CR0_MASK, vmx_cr0_owned(v));
	vmwrite(VMCS_CR4_MASK, vmx_cr4_owned(v));
}

/*
 * What an exit loads. Constant while the VMCS stays on this CPU. Limits are not among it: GDTR and IDTR
 * come back with 0xffff (SDM vol. 3, section 28.5.2), which neither table's users can reach beyond.
 */
void vmx_control_host(struct vmx_vcpu *c)
{
	const struct percpu *pc = this_cpu();

	vmwrite(VMCS_HOST_CR0, cr0_read());
	vmwrite(VMCS_HOST_CR3, cr3_read());
	vmwrite(VMCS_HOST_CR4, cr4_read());
	vmwrite(VMCS_HOST_CS, SEL_CODE);
	vmwrite(VMCS_HOST_SS, SEL_DATA);
	vmwrite(VMCS_HOST_DS, SEL_DATA);
	vmwrite(VMCS_HOST_ES, SEL_DATA);
	vmwrite(VMCS_HOST_FS, 0);
	vmwrite(VMCS_HOST_GS, 0);
	vmwrite(VMCS_HOST_TR, SEL_TSS);
	vmwrite(VMCS_HOST_FS_BASE, (u64)pc);
	vmwrite(VMCS_HOST_GS_BASE, msr_read(MSR_GS_BASE));
	vmwrite(VMCS_HOST_TR_BASE, desc_tss_base(pc));
	vmwrite(VMCS_HOST_GDTR_BASE, desc_gdt_base(pc));
	vmwrite(VMCS_HOST_IDTR_BASE, desc_idt_base());
	vmwrite(VMCS_HOST_SYSENTER_CS, 0);
	vmwrite(VMCS_HOST_SYSENTER_ESP, 0);
	vmwrite(VMCS_HOST_SYSENTER_EIP, 0);
	if (vmx_caps.efer)
		vmwrite(VMCS_HOST_EFER, msr_read(MSR_EFER));
	if (vmx_caps.pat)
		vmwrite(VMCS_HOST_PAT, msr_read(MSR_PAT));
	vmwrite(VMCS_HOST_RIP, (u64)vmx_exit_landing);
	c->host_rsp = 0;
}
