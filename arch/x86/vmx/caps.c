#include "arch/x86/cpu.h"
#include "arch/x86/vmx/control.h"
#include "arch/x86/vmx/insn.h"

/* SDM vol. 3, appendix A. */
#define MSR_VMX_BASIC    0x480u
#define MSR_VMX_PIN      0x481u /* .. PROC, EXIT, ENTRY; the "true" ones from 0x48d */
#define MSR_VMX_MISC     0x485u
#define MSR_VMX_CR0_FIX0 0x486u
#define MSR_VMX_CR0_FIX1 0x487u
#define MSR_VMX_CR4_FIX0 0x488u
#define MSR_VMX_CR4_FIX1 0x489u
#define MSR_VMX_PROC2    0x48bu
#define MSR_VMX_EPT_VPID 0x48cu
#define MSR_VMX_TRUE_PIN 0x48du

struct vmx_caps vmx_caps;

/* Controls and what hangs on them; a CPU that has VMX has these registers. */
static void raw_read_controls(struct vmx_raw *raw)
{
	u32 first = vmx_raw_true(raw->basic) ? MSR_VMX_TRUE_PIN : MSR_VMX_PIN;

	raw->pin = msr_read(first);
	raw->proc = msr_read(first + 1);
	raw->exit = msr_read(first + 2);
	raw->entry = msr_read(first + 3);
	if (vmx_raw_has_proc2(raw->proc))
		raw->proc2 = msr_read(MSR_VMX_PROC2);
	if (vmx_raw_has_ept_vpid(raw->proc2))
		raw->ept_vpid = msr_read(MSR_VMX_EPT_VPID);
}

static void raw_read(struct vmx_raw *raw)
{
	*raw = (struct vmx_raw){.vmx = cpu_features.vmx, .xsave = cpu_features.xsave};
	if (!raw->vmx)
		return;
	if (!msr_read_safe(MSR_FEATURE_CONTROL, &raw->feature))
		raw->feature = 0;
	raw->basic = msr_read(MSR_VMX_BASIC);
	raw->misc = msr_read(MSR_VMX_MISC);
	raw->cr0_fixed0 = msr_read(MSR_VMX_CR0_FIX0);
	raw->cr4_fixed0 = msr_read(MSR_VMX_CR4_FIX0);
	raw->cr4_fixed1 = msr_read(MSR_VMX_CR4_FIX1);
	raw_read_controls(raw);
}

enum vendor_state vmx_probe(struct vendor_caps *caps)
{
	struct vmx_raw raw;

	raw_read(&raw);
	return vmx_judge(&raw, &vmx_caps, caps);
}

/* A region that VMXON and VMPTRLD accept begins with the revision (SDM vol. 3, 25.11.5). */
static bool vmxon(const u8 *region)
{
	u64 pa = (u64)region;
	u32 bad = 1;

	__asm__ volatile("1: vmxon %1\n"
	                 "   jbe 2f\n"
	                 "   xorl %k0, %k0\n"
	                 "2:\n" EX_TABLE(1, 2)
	                 : "+r"(bad)
	                 : "m"(pa)
	                 : "memory", "cc");
	return bad == 0;
}

/* VMX operation is allowed by the firmware, or by us for good; the fixed bits hold (A.7, A.8). */
static const char *enable_refused(void)
{
	u64 feature;

	if (msr_read_safe(MSR_FEATURE_CONTROL, &feature)) {
		if (!vmx_feature_usable(feature))
			return "has VMX locked off by the firmware";
		if (!vmx_feature_locked(feature) &&
		    !msr_write_safe(MSR_FEATURE_CONTROL, vmx_feature_enabled(feature)))
			return "refuses to be enabled in IA32_FEATURE_CONTROL";
	}
	if ((cr0_read() & vmx_caps.cr0_fixed0) != vmx_caps.cr0_fixed0 ||
	    (cr0_read() & ~msr_read(MSR_VMX_CR0_FIX1)))
		return "cannot enter VMX operation with our CR0";
	if (((cr4_read() | CR4_VMXE) & vmx_caps.cr4_fixed0) != vmx_caps.cr4_fixed0 ||
	    ((cr4_read() | CR4_VMXE) & ~vmx_caps.cr4_fixed1))
		return "cannot enter VMX operation with our CR4";
	return NULL;
}

bool vmx_enable(void)
{
	const u64 pages = align_up(sizeof(struct vmx_cpu), PAGE_SIZE) / PAGE_SIZE;
	const char *refused = enable_refused();
	struct vmx_cpu *cpu = refused ? NULL : hal_pages_alloc(pages);

	if (cpu) {
		*(u32 *)cpu->vmxon = vmx_caps.revision;
		cr4_write(cr4_read() | CR4_VMXE);
		if (vmxon(cpu->vmxon)) {
			this_cpu()->vendor = cpu;
			if (hal_cpu_id() == 0)
				vmx_control_maps_init();
			return true;
		}
		cr4_write(cr4_read() & ~CR4_VMXE);
		hal_pages_free(cpu, pages);
		refused = "refuses VMXON";
	}
	hal_log(HAL_ERROR, "vmx: CPU %u %s", hal_cpu_id(), refused ? refused : "got no memory");
	return false;
}

void vmx_disable(void)
{
	struct vmx_cpu *cpu = this_cpu()->vendor;

	if (!cpu)
		return;
	ASSERT(!cpu->loaded);
	__asm__ volatile("vmxoff" ::: "memory", "cc");
	cr4_write(cr4_read() & ~CR4_VMXE);
	this_cpu()->vendor = NULL;
	hal_pages_free(cpu, align_up(sizeof(*cpu), PAGE_SIZE) / PAGE_SIZE);
}
