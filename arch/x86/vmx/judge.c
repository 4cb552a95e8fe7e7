#include "arch/x86/vmx/judge.h"

#include "arch/x86/vmx/control.h"

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
#define FEATURE_VMX    BIT(2) /* outside SMX operation; bit 1, inside, is of no use to us */

/*
 * Reserved controls that read as "must be 1" (A.3.1, A.3.2, A.4, A.5), less those that mean something:
 * exits for CR3, which only shadow guests have; the debug controls of exit and entry are wanted anyway.
 */
#define PIN_DEFAULT1   0x00000016u
#define PROC_DEFAULT1  0x04006172u
#define EXIT_DEFAULT1  0x00036dfbu
#define ENTRY_DEFAULT1 0x000011fbu

bool vmx_raw_true(u64 basic)
{
	return basic & BASIC_TRUE;
}

bool vmx_raw_has_proc2(u64 proc)
{
	return proc >> 32 & PROC_PROC2;
}

bool vmx_raw_has_ept_vpid(u64 proc2)
{
	return proc2 >> 32 & (PROC2_EPT | PROC2_VPID);
}

bool vmx_feature_locked(u64 feature)
{
	return feature & FEATURE_LOCKED;
}

bool vmx_feature_usable(u64 feature)
{
	return !(feature & FEATURE_LOCKED) || (feature & FEATURE_VMX);
}

u64 vmx_feature_enabled(u64 feature)
{
	return feature | FEATURE_LOCKED | FEATURE_VMX;
}

static struct vmx_allowed allowed_of(u64 raw)
{
	return (struct vmx_allowed){.must = (u32)raw, .may = (u32)(raw >> 32)};
}

/* Without the "true" registers some controls read as if they had to be set (A.2). */
static void judge_controls(const struct vmx_raw *raw, struct vmx_caps *c)
{
	*c = (struct vmx_caps){
	        .revision = (u32)raw->basic & 0x7fffffffu,
	        .pin = allowed_of(raw->pin),
	        .proc = allowed_of(raw->proc),
	        .proc2 = allowed_of(raw->proc2),
	        .exit = allowed_of(raw->exit),
	        .entry = allowed_of(raw->entry),
	        .cr0_fixed0 = raw->cr0_fixed0,
	        .cr4_fixed0 = raw->cr4_fixed0,
	        .cr4_fixed1 = raw->cr4_fixed1,
	};
}

static void judge_optional(const struct vmx_raw *raw, struct vmx_caps *c)
{
	u64 ept = raw->ept_vpid;

	c->ad = ept & EPT_AD;
	c->invept_single = ept & EPT_INV_SINGLE;
	c->invvpid_single = ept & VPID_INV_SINGLE;
	c->pml = c->ad && (c->proc2.may & PROC2_PML);
	c->vpid = (c->proc2.may & PROC2_VPID) && (ept & VPID_INVVPID) &&
	          (ept & (VPID_INV_SINGLE | VPID_INV_ALL));
	c->timer = c->pin.may & PIN_TIMER;
	c->timer_shift = (u32)(raw->misc & 0x1f);
	c->virtual_nmi = c->pin.may & PIN_VIRTUAL_NMI;
	c->ple = c->proc2.may & PROC2_PLE;
	c->wbinvd = c->proc2.may & PROC2_WBINVD;
	c->efer = (c->entry.may & ENTRY_LOAD_EFER) && (c->exit.may & EXIT_LOAD_EFER) &&
	          (c->exit.may & EXIT_SAVE_EFER);
	c->proc2_there = c->proc.may & PROC_PROC2;
	c->pat = (c->entry.may & ENTRY_LOAD_PAT) && (c->exit.may & EXIT_LOAD_PAT) &&
	         (c->exit.may & EXIT_SAVE_PAT);
}

/*
 * What a guest on EPT needs and one on shadow tables does not: real mode and CR3 left to it, EFER switched
 * by the CPU, tables of four levels in write-back memory that can be invalidated.
 */
static bool second_level_usable(const struct vmx_raw *raw, const struct vmx_caps *c)
{
	const u64 need = EPT_WALK_4 | EPT_WB | EPT_INVEPT;

	return (c->proc2.may & PROC2_EPT) && (c->proc2.may & PROC2_UNRESTRICTED) && c->efer &&
	       !(c->proc.must & (PROC_CR3_LOAD | PROC_CR3_STORE)) &&
	       (raw->ept_vpid & need) == need && (raw->ept_vpid & (EPT_INV_SINGLE | EPT_INV_ALL));
}

static void judge_report(const struct vmx_raw *raw, const struct vmx_caps *c,
                         struct vendor_caps *caps)
{
	caps->second_level = second_level_usable(raw, c);
	caps->ept = true;
	caps->ad = c->ad;
	caps->logs_writes = c->pml;
	caps->page_2m = raw->ept_vpid & EPT_2M;
	caps->page_1g = raw->ept_vpid & EPT_1G;
	caps->exec_only = raw->ept_vpid & EPT_EXEC_ONLY;
	caps->unrestricted = c->proc2.may & PROC2_UNRESTRICTED;
	caps->preemption_timer = c->timer;
	caps->decode_len = true;
	caps->xsetbv_exits = true;
	caps->nr_tags = c->vpid ? 65536 : 0;
	caps->invpcid = c->proc2_there && c->proc2.may & PROC2_INVPCID;
	vendor_cap_add(caps, "ept", caps->second_level, "shadow paging");
	vendor_cap_add(caps, "ad-bits", c->ad, "access rights are removed and restored");
	vendor_cap_add(caps, "vpids", c->vpid, "every entry flushes");
	vendor_cap_add(caps, "invept-single", c->invept_single, "flushes drop every context");
	vendor_cap_add(caps, "invvpid-single", c->invvpid_single, "flushes drop every VPID");
	vendor_cap_add(caps, "unrestricted", caps->unrestricted, "real mode in virtual-8086 mode");
	vendor_cap_add(caps, "preemption-timer", c->timer,
	               "the local APIC's timer ends time slices");
	vendor_cap_add(caps, "true-controls", vmx_raw_true(raw->basic), "the default controls");
	vendor_cap_add(caps, "pages-2m", caps->page_2m, "4 KiB pages");
	vendor_cap_add(caps, "pages-1g", caps->page_1g, "2 MiB pages");
	vendor_cap_add(caps, "msr-bitmap", c->proc.may & PROC_MSR_BITMAP, NULL);
	vendor_cap_add(caps, "io-exit", c->proc.may & PROC_IO, NULL);
	vendor_cap_add(caps, "xsave", raw->xsave, "FXSAVE");
	vendor_cap_add(caps, "efer-switch", c->efer, "EFER is loaded with the vCPU");
	vendor_cap_add(caps, "virtual-nmi", c->virtual_nmi, "no NMIs for guests");
	vendor_cap_add(caps, "pat-switch", c->pat, "guests run with the host's PAT");
	vendor_cap_add(caps, "wbinvd-exit", c->wbinvd, "guests flush the caches themselves");
	vendor_cap_add(caps, "exec-only", caps->exec_only, "executable pages are readable");
	vendor_cap_add(caps, "pml", c->pml, "Dirty bits are harvested from the tables");
	vendor_cap_add(caps, "invpcid", caps->invpcid, "guests get no PCIDs");
	vendor_cap_add(caps, "pause-loop-exit", c->ple, "time slices end spinning");
}

/* A control that is forced on us and that we do not expect would change what an exit means. */
static bool forces_unknown(const struct vmx_caps *c)
{
	return (c->pin.must & ~(PIN_WANTED | PIN_DEFAULT1)) ||
	       (c->proc.must & ~(PROC_WANTED | PROC_SHADOW | PROC_DEFAULT1)) ||
	       (c->proc2.must & ~PROC2_WANTED) || (c->exit.must & ~(EXIT_WANTED | EXIT_DEFAULT1)) ||
	       (c->entry.must & ~(ENTRY_WANTED | ENTRY_DEFAULT1));
}

/* What there is no fallback for, under shadow paging either. */
static const char *lacks_controls(const struct vmx_caps *c)
{
	const u32 proc = PROC_TSC_OFFSET | PROC_HLT | PROC_IO | PROC_MSR_BITMAP | PROC_CR8_LOAD |
	                 PROC_CR8_STORE | PROC_INVLPG;

	if (!(c->entry.may & ENTRY_GUEST_64) || !(c->exit.may & EXIT_HOST_64))
		return "VMX without 64-bit guests: use another CPU";
	if ((c->proc.may & proc) != proc || !(c->pin.may & PIN_NMI) || !(c->pin.may & PIN_INTR))
		return "VMX without MSR bitmaps or the exits that isolate a guest: use another CPU";
	if (forces_unknown(c))
		return "VMX insists on a control that is not known here: use another CPU";
	return NULL;
}

enum vendor_state vmx_judge(const struct vmx_raw *raw, struct vmx_caps *own,
                            struct vendor_caps *caps)
{
	if (!raw->vmx)
		return VENDOR_ABSENT;
	if (!vmx_feature_usable(raw->feature)) {
		caps->why =
		        "the firmware has locked VMX off (IA32_FEATURE_CONTROL): enable VT-x or "
		        "virtualization in the firmware setup";
		return VENDOR_LOCKED;
	}
	judge_controls(raw, own);
	judge_optional(raw, own);
	judge_report(raw, own, caps);
	caps->why = lacks_controls(own);
	return caps->why ? VENDOR_LACKS : VENDOR_OK;
}
