/* The Intel half of tests/host/cpu_virt.h: arch/x86/vmx/caps.c, run.S, and the instructions of arch/x86/vmx/insn.h. */
#include <string.h>

#include "arch/hal.h"
#include "arch/x86/desc.h"
#include "arch/x86/percpu.h"
#include "arch/x86/regs.h"
#include "arch/x86/vcpu_state.h"
#include "arch/x86/vmx/insn.h"
#include "tests/host/cpu_tlb.h"
#include "tests/host/cpu_virt.h"
#include "tests/host/cpu_vmcs.h"

#define REVISION      0x12u
#define PAGES_OF(t)   (align_up(sizeof(t), PAGE_SIZE) / PAGE_SIZE)
#define MAY(bits)     ((u64)(bits) << 32)
#define ENTRY_VALID   (1u << 31)
#define EPT_CAPS      (BIT(0) | BIT(6) | BIT(14) | BIT(16) | BIT(17) | BIT(20) | BIT(25) | BIT(26))
#define EPT_AD_CAP    BIT(21)
#define VPID_CAPS     (BIT(32) | BIT(40) | BIT(41) | BIT(42) | BIT(43))
#define EFER_CONTROLS (EXIT_SAVE_EFER | EXIT_LOAD_EFER)
#define PAT_CONTROLS  (EXIT_SAVE_PAT | EXIT_LOAD_PAT)

/* A VMCS as this CPU keeps it: the values in the order in which fields were first named. */
#define FIELDS    500u
#define ENCODINGS 0x8000u

struct vmcs {
	u32 revision;
	u32 active;
	u64 value[FIELDS];
};
static_assert(sizeof(struct vmcs) <= PAGE_SIZE, "one page");

struct vmx_caps vmx_caps;
static u16 slot_of[ENCODINGS]; /* + 1; 0: not named yet */
static u16 slots;
static struct vmcs *current[HAL_MAX_CPUS];

/* SDM vol. 3, appendix A. */
void cpu_vmx_judge(void)
{
	const struct cpu_virt *w = &cpu_virt;
	u32 efer = w->efer || w->ept, none = 0;
	struct vmx_raw raw = {
	        .vmx = true,
	        .xsave = true,
	        .feature = BIT(0) | BIT(2),
	        .basic = BIT(55) | REVISION,
	        .misc = 5,
	        .ept_vpid = (w->ept ? EPT_CAPS | (w->ad ? EPT_AD_CAP : 0) : 0) |
	                    (w->vpid ? VPID_CAPS : 0),
	        .pin = 0x16 | MAY(~((w->virtual_nmi ? none : PIN_VIRTUAL_NMI) |
	                            (w->timer ? none : PIN_TIMER))),
	        .proc = 0x04006172 | MAY(~none),
	        .proc2 = MAY(~((w->ept ? none : PROC2_EPT) | (w->vpid ? none : PROC2_VPID) |
	                       (w->ept && w->unrestricted ? none : PROC2_UNRESTRICTED) |
	                       (w->ept && w->ad && w->pml ? none : PROC2_PML) |
	                       (w->invpcid ? none : PROC2_INVPCID))),
	        .exit = 0x36dfb |
	                MAY(~((efer ? none : EFER_CONTROLS) | (w->pat ? none : PAT_CONTROLS))),
	        .entry = 0x11fb |
	                 MAY(~((efer ? none : ENTRY_LOAD_EFER) | (w->pat ? none : ENTRY_LOAD_PAT))),
	        .cr0_fixed0 = 0x80000021,
	        .cr4_fixed0 = 0x2000,
	        .cr4_fixed1 = 0x376fff,
	};

	ASSERT(vmx_judge(&raw, &vmx_caps, &vendor_caps) == VENDOR_OK);
}

enum vendor_state vmx_probe(struct vendor_caps *caps)
{
	(void)caps;
	return VENDOR_ABSENT;
}

bool vmx_enable(void)
{
	struct vmx_cpu *cpu = hal_pages_alloc(PAGES_OF(*cpu));

	if (!cpu)
		return false;
	current[hal_cpu_id()] = NULL;
	this_cpu()->vendor = cpu;
	vmx_control_maps_init();
	return true;
}

void vmx_disable(void)
{
	struct vmx_cpu *cpu = this_cpu()->vendor;

	ASSERT(!cpu->loaded);
	this_cpu()->vendor = NULL;
	hal_pages_free(cpu, PAGES_OF(*cpu));
}

/* --- instructions --- */

/* Fields that only CPUs with a feature have (SDM vol. 3, appendix B). */
static bool exists(u32 field)
{
	switch (field) {
	case VMCS_EPTP:
	case VMCS_GUEST_PHYS:
		return vmx_caps.proc2.may & PROC2_EPT;
	case VMCS_VPID:
		return vmx_caps.proc2.may & PROC2_VPID;
	case VMCS_GUEST_EFER:
	case VMCS_HOST_EFER:
		return vmx_caps.efer;
	case VMCS_GUEST_PAT:
	case VMCS_HOST_PAT:
		return vmx_caps.pat;
	case VMCS_PREEMPTION_TIMER:
		return vmx_caps.timer;
	case VMCS_LOG_ADDRESS:
	case VMCS_LOG_INDEX:
		return vmx_caps.proc2.may & PROC2_PML;
	default:
		return true;
	}
}

static u64 *field_at(u32 field)
{
	struct vmcs *vmcs = current[hal_cpu_id()];

	if (!vmcs || field >= ENCODINGS || !exists(field))
		hal_panic("no VMCS, or no field 0x%x in it", field);
	if (!slot_of[field]) {
		ASSERT(slots < FIELDS);
		slot_of[field] = ++slots;
	}
	return &vmcs->value[slot_of[field] - 1];
}

u64 vmread(u32 field)
{
	return *field_at(field);
}

/* Bits 14:13 are the width, 11:10 the type: what exits tell cannot be written. */
void vmwrite(u32 field, u64 value)
{
	static const u64 mask[] = {0xffff, ~0ull, 0xffffffff, ~0ull};

	if ((field >> 10 & 3) == READ_ONLY)
		hal_panic("field 0x%x cannot be written", field);
	*field_at(field) = value & mask[field >> 13 & 3];
}

void cpu_vmcs_set(u32 field, u64 value)
{
	if (exists(field))
		*field_at(field) = value;
}

u64 cpu_vmcs_get(u32 field)
{
	return exists(field) ? *field_at(field) : 0;
}

bool vmclear(u64 pa)
{
	struct vmcs *vmcs = (struct vmcs *)(uintptr_t)pa;

	vmcs->active = 0;
	if (current[hal_cpu_id()] == vmcs)
		current[hal_cpu_id()] = NULL;
	return true;
}

bool vmptrld(u64 pa)
{
	struct vmcs *vmcs = (struct vmcs *)(uintptr_t)pa;

	if (vmcs->revision != vmx_caps.revision)
		return false;
	vmcs->active = 1;
	current[hal_cpu_id()] = vmcs;
	return true;
}

void invept(u64 type, u64 eptp)
{
	if (!(vmx_caps.proc2.may & PROC2_EPT) || (type == INVEPT_SINGLE && (eptp & 0x3f) != 0x1e))
		hal_panic("INVEPT type %u with 0x%llx", (unsigned)type, (unsigned long long)eptp);
	cpu_tlb_drop_root(type == INVEPT_SINGLE ? eptp : 0);
}

void invvpid(u64 type, u16 vpid)
{
	if (!vmx_caps.vpid || (type == INVVPID_SINGLE && !vpid))
		hal_panic("INVVPID type %u with %u", (unsigned)type, vpid);
	cpu_tlb_drop_vpid(type == INVVPID_SINGLE ? vpid : 0);
}

/* --- entries --- */

void vmx_exit_landing(void)
{
	hal_panic("nobody jumps here");
}

bool vmx_enter(struct arch_vcpu *v, u64 *host_rsp, bool launched)
{
	(void)host_rsp;
	(void)launched;
	ASSERT((void *)current[hal_cpu_id()] == v->control);
	cpu_tlb_enter(v);
	if (!cpu_virt_run(v))
		return false;
	*field_at(VMCS_GUEST_RSP) = v->gpr[GPR_RSP];
	*field_at(VMCS_GUEST_RIP) = v->rip;
	*field_at(VMCS_GUEST_RFLAGS) = v->rflags | (vmx_of(v)->vm86 ? RFLAGS_VM | RFLAGS_IOPL : 0);
	*field_at(VMCS_ENTRY_EVENT) &= ~(u64)ENTRY_VALID;
	return true;
}

u64 desc_gdt_base(const struct percpu *pc)
{
	return (u64)pc->gdt;
}
u64 desc_tss_base(const struct percpu *pc)
{
	return (u64)&pc->tss;
}
u64 desc_idt_base(void)
{
	return PAGE_SIZE;
}
