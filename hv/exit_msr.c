#include "arch/hal.h"
#include "arch/x86/fpu.h"
#include "arch/x86/regs.h"
#include "arch/x86/vendor.h"
#include "hv/exit.h"
#include "hv/msr.h"
#include "hv/vcpu.h"
#include "hv/vm.h"

/* #GP for what is not OK; true: go on and step over the instruction. */
static bool check(struct vcpu *v, enum msr_result result, bool write)
{
	u32 msr = (u32)v->arch.gpr[GPR_RCX];

	if (result == MSR_OK)
		return true;
	if (result == MSR_UNKNOWN && vm_odd_msr(v->vm, msr))
		hal_log(HAL_INFO, "[%s] %s of unknown MSR 0x%x: #GP", v->vm->name,
		        write ? "write" : "read", msr);
	vcpu_inject_gp(v);
	return false;
}

void exit_rdmsr(struct vcpu *v)
{
	u64 *gpr = v->arch.gpr, value;

	if (!check(v, msr_guest_read(v, (u32)gpr[GPR_RCX], &value), false) || !exit_step(v))
		return;
	gpr[GPR_RAX] = (u32)value;
	gpr[GPR_RDX] = value >> 32;
}

void exit_wrmsr(struct vcpu *v)
{
	const u64 *gpr = v->arch.gpr;
	u64 value = (u32)gpr[GPR_RAX] | gpr[GPR_RDX] << 32;

	if (!check(v, msr_guest_write(v, &v->vm->cpuid, (u32)gpr[GPR_RCX], value), true))
		return;
	if ((u32)gpr[GPR_RCX] == MSR_EFER)
		vcpu_paging_changed(v);
	(void)!exit_step(v);
}

/* SDM vol. 2, XSETBV: only XCR0; x87 always; AVX only with SSE. */
static bool xcr0_valid(u64 value, u64 allowed)
{
	if ((value & ~allowed) || !(value & XCR0_X87))
		return false;
	return !(value & XCR0_AVX) || (value & XCR0_SSE);
}

static bool may_set_xcr0(struct vcpu *v)
{
	struct seg_state ss;

	vendor->get_seg(&v->arch, SEG_SS, &ss);
	return !(ss.access & (3u << 5)); /* CPL 0: VMX leaves the guest before it looks */
}

void exit_xsetbv(struct vcpu *v)
{
	const u64 *gpr = v->arch.gpr;
	u64 value = (u32)gpr[GPR_RAX] | gpr[GPR_RDX] << 32;

	if (!v->vm->cpuid.config.xcr0 || !(vendor->get(&v->arch, VREG_CR4) & CR4_OSXSAVE)) {
		vcpu_inject_ud(v);
		return;
	}
	if ((u32)gpr[GPR_RCX] || !xcr0_valid(value, v->vm->cpuid.config.xcr0) || !may_set_xcr0(v)) {
		vcpu_inject_gp(v);
		return;
	}
	if (!exit_step(v))
		return;
	v->xcr0 = v->arch.xcr0 = value;
}
