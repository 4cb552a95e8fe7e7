/*
 * CR0 and CR4 of a guest. VMX operation insists on some bits (CR0.NE, CR4.VMXE); CR0.CD and NW
 * would stay in force after an exit; some bits of CR4 are not offered. Those are "owned" by us: a
 * guest reads them from a shadow, and writing one differently from its shadow is an exit. All other
 * bits are the guest's own, paging and protection included, so that the CPU itself switches modes,
 * follows EFER.LMA and loads PDPTEs.
 *
 * A MOV to CR0 that leaves is not emulated: once the owned bits of the shadow are what the guest
 * wants to see, the instruction is executed again and does not leave any more.
 */
#include "arch/x86/cpu.h"
#include "arch/x86/regs.h"
#include "arch/x86/vmx/control.h"
#include "arch/x86/vmx/insn.h"

enum { CR_MOV_TO, CR_MOV_FROM, CR_CLTS, CR_LMSW };

#define CR4_OFFERED                                                                              \
	(0xfull | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | BIT(8) | CR4_OSFXSR | CR4_OSXMMEXCPT | \
	 CR4_UMIP | CR4_FSGSBASE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP)

/* Under shadow paging the guest's own are those that have nothing to do with paging or modes. */
#define CR0_SHADOW_OWN (CR0_MP | CR0_EM | CR0_TS | CR0_AM)
#define CR4_SHADOW_OWN \
	(BIT(2) | BIT(3) | CR4_MCE | BIT(8) | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE)

u64 vmx_cr0_owned(const struct arch_vcpu *v)
{
	if (v->shadow)
		return ~CR0_SHADOW_OWN;
	return (vmx_caps.cr0_fixed0 & ~(CR0_PE | CR0_PG)) | CR0_NE | CR0_CD | CR0_NW;
}

u64 vmx_cr4_owned(const struct arch_vcpu *v)
{
	u64 pcid = vendor_caps.invpcid && cpu_features.pcid ? CR4_PCIDE : 0;
	u64 offered = v->shadow ? CR4_SHADOW_OWN : CR4_OFFERED | pcid;

	return ~(offered & vmx_caps.cr4_fixed1) | vmx_caps.cr4_fixed0;
}

/* What the CPU would answer with #GP (SDM vol. 3, section 2.5), checked before the shadow changes. */
static bool cr0_valid(u64 value)
{
	u64 efer = vmread(VMCS_GUEST_EFER), cr4 = vmread(VMCS_GUEST_CR4);

	if (value >> 32)
		return false;
	if ((value & CR0_PG) && !(value & CR0_PE))
		return false;
	if ((value & CR0_NW) && !(value & CR0_CD))
		return false;
	return !(value & CR0_PG) || !(efer & EFER_LME) || (cr4 & CR4_PAE);
}

static void cr0_mov_to(const struct arch_vcpu *v, struct vexit *exit, u64 value)
{
	if (!(vmread(VMCS_GUEST_EFER) & EFER_LMA))
		value = (u32)value;
	if (cr0_valid(value))
		vmwrite(VMCS_CR0_SHADOW, value & vmx_cr0_owned(v));
	else
		exit->kind = VEXIT_PRIVILEGED;
}

static void cr8_mov_to(struct arch_vcpu *v, struct vexit *exit, u64 value)
{
	if (value > 15) {
		exit->kind = VEXIT_PRIVILEGED;
		return;
	}
	v->cr8 = (u8)value;
	vmx_advance(v, exit->length);
}

/* hv/ carries out what concerns paging; LMSW and CLTS it decodes. */
static bool shadow_decode(struct vexit *exit)
{
	u32 access = exit->info >> 4 & 3, number = exit->info & 15;

	if (number == 8)
		return false;
	exit->kind = VEXIT_CR;
	exit->cr = (struct vexit_cr){
	        .what = access == CR_MOV_TO     ? CR_WRITE
	                : access == CR_MOV_FROM ? CR_READ
	                                        : CR_DECODE,
	        .number = (u8)number,
	        .gpr = exit->info >> 8 & 15,
	};
	return true;
}

void vmx_cr_decode(struct arch_vcpu *v, struct vexit *exit)
{
	u64 *reg = &v->gpr[exit->info >> 8 & 15];
	u32 what = exit->info & 0x3f; /* register 3:0, access 5:4 */

	if (v->shadow && shadow_decode(exit))
		return;
	switch (what) {
	case 0 | CR_MOV_TO << 4:
		cr0_mov_to(v, exit, *reg);
		break;
	case 4 | CR_MOV_TO << 4: /* a bit that is not offered */
		exit->kind = VEXIT_PRIVILEGED;
		break;
	case 8 | CR_MOV_TO << 4:
		cr8_mov_to(v, exit, *reg);
		break;
	case 8 | CR_MOV_FROM << 4:
		*reg = v->cr8;
		vmx_advance(v, exit->length);
		break;
	default:
		exit->kind = VEXIT_UNKNOWN;
	}
}
