/*
 * Writes to CR0 and CR4, on vendors whose hardware does not sort them out by itself: what a CPU would
 * refuse is refused (Intel SDM vol. 3, section 2.5), the rest is carried out.
 */
#include "arch/x86/regs.h"
#include "arch/x86/vendor.h"
#include "hv/cpuid.h"
#include "hv/exit.h"
#include "hv/fetch.h"
#include "hv/vcpu.h"
#include "hv/vm.h"

#define SEG_ACCESS_LONG BIT(13)
#define LMSW_BITS       BITS(3, 0)

static bool long_code(struct vcpu *v)
{
	struct seg_state cs;

	vendor->get_seg(&v->arch, SEG_CS, &cs);
	return cs.access & SEG_ACCESS_LONG;
}

static bool cr0_valid(struct vcpu *v, u64 old, u64 value)
{
	u64 efer = vendor->get(&v->arch, VREG_EFER);

	if (value >> 32)
		return false;
	if ((value & CR0_PG) && !(value & CR0_PE))
		return false;
	if ((value & CR0_NW) && !(value & CR0_CD))
		return false;
	if (!((old ^ value) & CR0_PG) || !(efer & EFER_LME))
		return true;
	/* Long mode begins or ends, which 64-bit code cannot see to the end. */
	if (long_code(v))
		return false;
	return !(value & CR0_PG) || (vendor->get(&v->arch, VREG_CR4) & CR4_PAE);
}

static bool cr4_valid(struct vcpu *v, u64 value)
{
	if (value & ~cpuid_cr4_allowed(&v->vm->cpuid))
		return false;
	return (value & CR4_PAE) || !(vendor->get(&v->arch, VREG_EFER) & EFER_LMA);
}

/* Translations depend on nearly every bit that changes here, and such changes are rare. */
static bool write_cr(struct vcpu *v, enum vreg reg, u64 value)
{
	u64 old = vendor->get(&v->arch, reg);

	if (reg == VREG_CR0)
		value |= CR0_ET; /* cannot be cleared */
	if (reg == VREG_CR0 ? !cr0_valid(v, old, value) : !cr4_valid(v, value))
		return false;
	vendor->set(&v->arch, reg, value);
	vendor->flush(&v->arch);
	return true;
}

/* LMSW changes four bits and cannot clear PE. Its register is the last byte's low three bits. */
static u64 lmsw_value(struct vcpu *v, const u8 *bytes, unsigned length)
{
	bool rex_b = long_code(v) && length > 3 && (bytes[length - 4] & 0xf1) == 0x41;
	u64 from = v->arch.gpr[(bytes[length - 1] & 7) | (rex_b ? 8 : 0)];
	u64 old = vendor->get(&v->arch, VREG_CR0);

	return (old & ~LMSW_BITS) | (from & LMSW_BITS) | (old & CR0_PE);
}

/* False: not an instruction that writes CR0 or CR4 from a register. */
static bool carry_out(struct vcpu *v, const struct insn *insn, const u8 *bytes, bool *valid)
{
	u64 value;

	switch (insn->op) {
	case INSN_MOV_TO_CR:
		if (insn->system != 0 && insn->system != 4)
			return false;
		value = v->arch.gpr[insn->src.reg];
		*valid = write_cr(v, insn->system ? VREG_CR4 : VREG_CR0,
		                  long_code(v) ? value : (u32)value);
		return true;
	case INSN_CLTS:
		*valid = write_cr(v, VREG_CR0, vendor->get(&v->arch, VREG_CR0) & ~CR0_TS);
		return true;
	case INSN_LMSW:
		if (insn->has_mem)
			return false;
		*valid = write_cr(v, VREG_CR0, lmsw_value(v, bytes, insn->length));
		return true;
	default:
		return false;
	}
}

void exit_cr(struct vcpu *v)
{
	u8 bytes[DECODE_MAX_BYTES];
	bool valid = false;
	struct insn insn;
	unsigned n;

	switch (fetch_insn(v, bytes, &n, &insn)) {
	case FETCH_OK:
		break;
	case FETCH_AGAIN:
		exit_yield(v);
		return;
	default:
		exit_stop_insn(v, "a write to a control register cannot be decoded", bytes, n);
		return;
	}
	if (!carry_out(v, &insn, bytes, &valid))
		exit_stop_insn(v, "a write to a control register is not supported", bytes, n);
	else if (valid)
		vendor->advance(&v->arch, insn.length);
	else
		vcpu_inject_gp(v);
}
