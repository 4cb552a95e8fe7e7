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

#define BASIC_TRUE BIT(55)

#define EPT_EXEC_ONLY   BIT(0)
#define EPT_WALK_4      BIT(6)
#define EPT_WB          BIT(14)
#define EPT_2M          BIT(16)
#define EPT_1G          BIT(17)
#define EPT_INVEPT      BIT(20)
#define EPT_AD          BIT(21)
#define EPT_INV_SINGLE  BIT(25)
#define EPT_INV_ALL     BIT(26)
#define VPID_INVVPID    BIT(32)
#define VPID_INV_SINGLE BIT(41)
#define VPID_INV_ALL    BIT(42)

#define FEATURE_LOCKED BIT(0)
#define FEATURE_VMX    BIT(2)

struct vmx_caps vmx_caps;

static struct vmx_allowed read_allowed(u32 msr)
{
	u64 v = msr_read(msr);

	return (struct vmx_allowed){.must = (u32)v, .may = (u32)(v >> 32)};
}

/* Without the "true" registers some controls read as if they had to be set (A.2). */
static bool read_controls(void)
{
	u64 basic = msr_read(MSR_VMX_BASIC);
	u32 first = basic & BASIC_TRUE ? MSR_VMX_TRUE_PIN : MSR_VMX_PIN;

	vmx_caps.revision = (u32)basic & 0x7fffffffu;
	vmx_caps.pin = read_allowed(first);
	vmx_caps.proc = read_allowed(first + 1);
	vmx_caps.exit = read_allowed(first + 2);
	vmx_caps.entry = read_allowed(first + 3);
	vmx_caps.proc2 = (struct vmx_allowed){0, 0};
	if (vmx_caps.proc.may & PROC_PROC2)
		vmx_caps.proc2 = read_allowed(MSR_VMX_PROC2);
	vmx_caps.cr0_fixed0 = msr_read(MSR_VMX_CR0_FIX0);
	vmx_caps.cr4_fixed0 = msr_read(MSR_VMX_CR4_FIX0);
	vmx_caps.cr4_fixed1 = msr_read(MSR_VMX_CR4_FIX1);
	return basic & BASIC_TRUE;
}

/* The MSR exists only where EPT or VPID do. */
static u64 read_ept_vpid(void)
{
	if (vmx_caps.proc2.may & (PROC2_EPT | PROC2_VPID))
		return msr_read(MSR_VMX_EPT_VPID);
	return 0;
}

static void read_optional(u64 ept)
{
	const struct vmx_caps *c = &vmx_caps;

	vmx_caps.ad = ept & EPT_AD;
	vmx_caps.invept_single = ept & EPT_INV_SINGLE;
	vmx_caps.invvpid_single = ept & VPID_INV_SINGLE;
	vmx_caps.vpid = (c->proc2.may & PROC2_VPID) && (ept & VPID_INVVPID) &&
	                (ept & (VPID_INV_SINGLE | VPID_INV_ALL));
	vmx_caps.timer = c->pin.may & PIN_TIMER;
	vmx_caps.timer_shift = (u32)(msr_read(MSR_VMX_MISC) & 0x1f);
	vmx_caps.virtual_nmi = c->pin.may & PIN_VIRTUAL_NMI;
	vmx_caps.ple = c->proc2.may & PROC2_PLE;
	vmx_caps.wbinvd = c->proc2.may & PROC2_WBINVD;
	vmx_caps.pat = (c->entry.may & ENTRY_LOAD_PAT) && (c->exit.may & EXIT_LOAD_PAT) &&
	               (c->exit.may & EXIT_SAVE_PAT);
}

static void caps_report(struct vendor_caps *caps, u64 ept, bool true_controls)
{
	const struct vmx_caps *c = &vmx_caps;

	caps->second_level = c->proc2.may & PROC2_EPT;
	caps->ept = true;
	caps->ad = c->ad;
	caps->page_2m = ept & EPT_2M;
	caps->page_1g = ept & EPT_1G;
	caps->exec_only = ept & EPT_EXEC_ONLY;
	caps->unrestricted = c->proc2.may & PROC2_UNRESTRICTED;
	caps->preemption_timer = c->timer;
	caps->decode_len = true;
	caps->xsetbv_exits = true;
	caps->nr_tags = c->vpid ? 65536 : 0;
	vendor_cap_add(caps, "ept", caps->second_level, NULL);
	vendor_cap_add(caps, "ad-bits", c->ad, "access rights are removed and restored");
	vendor_cap_add(caps, "vpids", c->vpid, "every entry flushes");
	vendor_cap_add(caps, "invept-single", c->invept_single, "flushes drop every context");
	vendor_cap_add(caps, "invvpid-single", c->invvpid_single, "flushes drop every VPID");
	vendor_cap_add(caps, "unrestricted", caps->unrestricted, NULL);
	vendor_cap_add(caps, "preemption-timer", c->timer,
	               "the local APIC's timer ends time slices");
	vendor_cap_add(caps, "true-controls", true_controls, "the default controls");
	vendor_cap_add(caps, "pages-2m", caps->page_2m, "4 KiB pages");
	vendor_cap_add(caps, "pages-1g", caps->page_1g, "2 MiB pages");
	vendor_cap_add(caps, "msr-bitmap", c->proc.may & PROC_MSR_BITMAP, NULL);
	vendor_cap_add(caps, "io-exit", c->proc.may & PROC_IO, NULL);
	vendor_cap_add(caps, "xsave", cpu_features.xsave, "FXSAVE");
	vendor_cap_add(caps, "virtual-nmi", c->virtual_nmi, "no NMIs for guests");
	vendor_cap_add(caps, "pat-switch", c->pat, "guests run with the host's PAT");
	vendor_cap_add(caps, "wbinvd-exit", c->wbinvd, "guests flush the caches themselves");
	vendor_cap_add(caps, "exec-only", caps->exec_only, "executable pages are readable");
	vendor_cap_add(caps, "pml", c->proc2.may & PROC2_PML,
	               "Dirty bits are harvested from the tables");
	vendor_cap_add(caps, "pause-loop-exit", c->ple, "time slices end spinning");
}

/* What there is no fallback for. Every CPU with EPT that was ever sold passes the last four. */
static const char *caps_lacks(const struct vendor_caps *caps, u64 ept)
{
	const u32 proc = PROC_TSC_OFFSET | PROC_HLT | PROC_IO | PROC_MSR_BITMAP | PROC_CR8_LOAD |
	                 PROC_CR8_STORE;
	const u64 need = EPT_WALK_4 | EPT_WB | EPT_INVEPT;

	if (!caps->second_level)
		return "VMX without EPT: shadow paging is not there yet, use a CPU with EPT";
	if (!caps->unrestricted)
		return "VMX without unrestricted guest: real mode would have to be emulated, use a "
		       "CPU (Westmere or later) that has it";
	if ((ept & need) != need || !(ept & (EPT_INV_SINGLE | EPT_INV_ALL)))
		return "EPT without write-back tables of four levels and INVEPT: use another CPU";
	if (vmx_caps.proc.must & (PROC_CR3_LOAD | PROC_CR3_STORE))
		return "VMX cannot leave CR3 to the guest (no true controls): use another CPU";
	if (!(vmx_caps.entry.may & ENTRY_LOAD_EFER) || !(vmx_caps.exit.may & EXIT_LOAD_EFER) ||
	    !(vmx_caps.exit.may & EXIT_SAVE_EFER))
		return "VMX does not switch EFER: use another CPU";
	if ((vmx_caps.proc.may & proc) != proc || !(vmx_caps.pin.may & PIN_NMI))
		return "VMX without MSR bitmaps or the exits that isolate a guest: use another CPU";
	return NULL;
}

enum vendor_state vmx_probe(struct vendor_caps *caps)
{
	u64 feature, ept;
	bool true_controls;

	if (!cpu_features.vmx)
		return VENDOR_ABSENT;
	if (msr_read_safe(MSR_FEATURE_CONTROL, &feature) && (feature & FEATURE_LOCKED) &&
	    !(feature & FEATURE_VMX)) {
		caps->why =
		        "the firmware has locked VMX off (IA32_FEATURE_CONTROL): enable VT-x or "
		        "virtualization in the firmware setup";
		return VENDOR_LOCKED;
	}
	true_controls = read_controls();
	ept = read_ept_vpid();
	read_optional(ept);
	caps_report(caps, ept, true_controls);
	caps->why = caps_lacks(caps, ept);
	return caps->why ? VENDOR_LACKS : VENDOR_OK;
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
		if (!(feature & FEATURE_LOCKED) &&
		    !msr_write_safe(MSR_FEATURE_CONTROL, feature | FEATURE_LOCKED | FEATURE_VMX))
			return "refuses to be enabled in IA32_FEATURE_CONTROL";
		if ((feature & FEATURE_LOCKED) && !(feature & FEATURE_VMX))
			return "has VMX locked off by the firmware";
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
