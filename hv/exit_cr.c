/*
 * Accesses to control registers, as far as hardware does not sort them out by itself: what a CPU would
 * refuse is refused (Intel SDM vol. 3, section 2.5), the rest is carried out. Guests on a second level leave
 * for writes to CR0 and CR4; those on shadow tables for CR3 too, and on SVM for reads.
 */
#include "arch/x86/regs.h"
#include "arch/x86/vendor.h"
#include "hv/cpuid.h"
#include "hv/exit.h"
#include "hv/fetch.h"
#include "hv/vcpu.h"
#include "hv/vm.h"

#define CR3_PCID  BITS(11, 0)
#define CR3_KEEP  BIT(63) /* with CR4.PCIDE: translations of the new PCID may be kept */
#define LMSW_BITS BITS(3, 0)
#define SMSW_BITS BITS(15, 0)
/* Bits that decide how PAE tables are read: writing one loads the four entries at the top. */
#define CR0_PDPTE (CR0_PG | CR0_CD | CR0_NW)
#define CR4_PDPTE (CR4_PAE | CR4_PSE | CR4_PGE | CR4_SMEP)

struct paging {
	u64 cr0, cr3, cr4, efer;
};

static struct paging paging_of(struct vcpu *v)
{
	return (struct paging){
	        .cr0 = vendor->get(&v->arch, VREG_CR0),
	        .cr3 = vendor->get(&v->arch, VREG_CR3),
	        .cr4 = vendor->get(&v->arch, VREG_CR4),
	        .efer = vendor->get(&v->arch, VREG_EFER),
	};
}

static bool is_pae(const struct paging *p)
{
	return (p->cr0 & CR0_PG) && (p->cr4 & CR4_PAE) && !(p->efer & EFER_LMA);
}

static u64 beyond_phys(const struct vcpu *v)
{
	return ~(BIT(v->vm->cpuid.ext[8].eax & 0xff) - 1);
}

/*
 * A shadow guest's top-level PAE entries, which a CPU loads and checks here (section 4.4.1). Bit 5 is
 * reserved too, but QEMU sets Accessed there when another vCPU of the VM walks under nested paging. What
 * cannot be read just now is left to the walk.
 */
static bool pdptes_valid(struct vcpu *v, const struct paging *p)
{
	u64 reserved = beyond_phys(v) | BITS(8, 6) | BITS(2, 1), entry[4];

	if (!v->arch.shadow || !is_pae(p))
		return true;
	if (guest_read(&v->vm->mem, gpa(p->cr3 & BITS(31, 5)), entry, sizeof(entry)) !=
	    sizeof(entry))
		return true;
	for (unsigned i = 0; i < ARRAY_SIZE(entry); i++)
		if ((entry[i] & 1) && (entry[i] & reserved))
			return false;
	return true;
}

static bool cr0_valid(struct vcpu *v, u64 value)
{
	struct paging p = paging_of(v);
	u64 changed = p.cr0 ^ value;

	if (value >> 32)
		return false;
	if ((value & CR0_PG) && !(value & CR0_PE))
		return false;
	if ((value & CR0_NW) && !(value & CR0_CD))
		return false;
	/* Long mode begins or ends, which 64-bit code cannot see to the end. */
	if ((changed & CR0_PG) && (p.efer & EFER_LME) &&
	    (fetch_long_code(v) || ((value & CR0_PG) && !(p.cr4 & CR4_PAE))))
		return false;
	if (!(value & CR0_PG) && (p.cr4 & CR4_PCIDE))
		return false;
	p.cr0 = value;
	if ((value & CR0_PG) && (p.efer & EFER_LME))
		p.efer |= EFER_LMA;
	return !(changed & CR0_PDPTE) || pdptes_valid(v, &p);
}

static bool cr4_valid(struct vcpu *v, u64 value)
{
	struct paging p = paging_of(v);
	u64 changed = p.cr4 ^ value;

	if (value & ~cpuid_cr4_allowed(&v->vm->cpuid))
		return false;
	if (!(value & CR4_PAE) && (p.efer & EFER_LMA))
		return false;
	/* SDM vol. 3, section 4.10.1: only in long mode, and from PCID 0 on. */
	if ((changed & value & CR4_PCIDE) && (!(p.efer & EFER_LMA) || (p.cr3 & CR3_PCID)))
		return false;
	p.cr4 = value;
	return !(changed & CR4_PDPTE) || pdptes_valid(v, &p);
}

static bool cr3_valid(struct vcpu *v, u64 value)
{
	struct paging p = paging_of(v);

	p.cr3 = value;
	if (p.efer & EFER_LMA)
		return !(value & beyond_phys(v));
	return pdptes_valid(v, &p);
}

/*
 * That translations may be kept is no duty, and shadow pages are the same for all PCIDs: tables that were written are
 * read again at each load. What another PCID must not see any more, it does not.
 */
static u64 without_keep(struct vcpu *v, u64 value)
{
	return vendor->get(&v->arch, VREG_CR4) & CR4_PCIDE ? value & ~CR3_KEEP : value;
}

/* Translations depend on nearly every bit that changes here, and such changes are rare. */
static bool write_cr(struct vcpu *v, unsigned number, u64 value)
{
	static const enum vreg reg[] = {[0] = VREG_CR0, [3] = VREG_CR3, [4] = VREG_CR4};
	bool valid;

	if (number == 0)
		value |= CR0_ET; /* cannot be cleared */
	if (number == 3)
		value = without_keep(v, value);
	valid = number == 0   ? cr0_valid(v, value)
	        : number == 3 ? cr3_valid(v, value)
	                      : cr4_valid(v, value);
	if (!valid)
		return false;
	vendor->set(&v->arch, reg[number], value);
	vcpu_paging_changed(v);
	return true;
}

static u64 read_cr(struct vcpu *v, unsigned number)
{
	return vendor->get(&v->arch, number == 0 ? VREG_CR0 : number == 3 ? VREG_CR3 : VREG_CR4);
}

/* MOV: 64 bits in 64-bit code, else 32. */
static bool mov_to(struct vcpu *v, unsigned number, unsigned gpr)
{
	u64 value = v->arch.gpr[gpr];

	return write_cr(v, number, fetch_long_code(v) ? value : (u32)value);
}

static void mov_from(struct vcpu *v, unsigned number, unsigned gpr)
{
	u64 value = read_cr(v, number);

	v->arch.gpr[gpr] = fetch_long_code(v) ? value : (u32)value;
}

/* A 16-bit register keeps the rest of itself. */
static void smsw(struct vcpu *v, const struct insn *insn)
{
	u64 *to = &v->arch.gpr[insn->dst.reg], value = read_cr(v, 0);

	if (insn->dst.bytes == 2)
		*to = (*to & ~SMSW_BITS) | (value & SMSW_BITS);
	else
		*to = insn->dst.bytes == 4 ? (u32)value : value;
}

/* LMSW changes four bits and cannot clear PE. Its register is the last byte's low three bits. */
static u64 lmsw_value(struct vcpu *v, const u8 *bytes, unsigned length)
{
	bool rex_b = fetch_long_code(v) && length > 3 && (bytes[length - 4] & 0xf1) == 0x41;
	u64 from = v->arch.gpr[(bytes[length - 1] & 7) | (rex_b ? 8 : 0)];
	u64 old = read_cr(v, 0);

	return (old & ~LMSW_BITS) | (from & LMSW_BITS) | (old & CR0_PE);
}

static bool is_ours(unsigned number)
{
	return number == 0 || number == 3 || number == 4;
}

/* False: not an instruction that reads or writes CR0, CR3 or CR4 by a register. */
static bool carry_out(struct vcpu *v, const struct insn *insn, const u8 *bytes, bool *valid)
{
	*valid = true;
	switch (insn->op) {
	case INSN_MOV_TO_CR:
		if (!is_ours(insn->system))
			return false;
		*valid = mov_to(v, insn->system, insn->src.reg);
		return true;
	case INSN_MOV_FROM_CR:
		if (!is_ours(insn->system))
			return false;
		mov_from(v, insn->system, insn->dst.reg);
		return true;
	case INSN_CLTS:
		*valid = write_cr(v, 0, read_cr(v, 0) & ~CR0_TS);
		return true;
	case INSN_LMSW:
		if (insn->has_mem)
			return false;
		*valid = write_cr(v, 0, lmsw_value(v, bytes, insn->length));
		return true;
	case INSN_SMSW:
		if (insn->has_mem)
			return false;
		smsw(v, insn);
		return true;
	default:
		return false;
	}
}

static void decode_and_carry_out(struct vcpu *v)
{
	u8 bytes[DECODE_MAX_BYTES];
	bool valid = false;
	struct insn insn;
	unsigned n;

	if (!exit_fetch(v, bytes, &n, &insn, "an access to a control register cannot be decoded"))
		return;
	if (!carry_out(v, &insn, bytes, &valid))
		exit_stop_insn(v, "an access to a control register is not supported", bytes, n);
	else if (valid)
		vendor->advance(&v->arch, insn.length);
	else
		vcpu_inject_gp(v);
}

/* The length first: it is found by fetching, which the new value could make impossible. */
static void known(struct vcpu *v, const struct vexit_cr *cr)
{
	unsigned length = exit_length(v);

	if (!length)
		return;
	if (cr->what == CR_READ)
		mov_from(v, cr->number, cr->gpr);
	else if (!mov_to(v, cr->number, cr->gpr)) {
		vcpu_inject_gp(v);
		return;
	}
	vendor->advance(&v->arch, length);
}

void exit_cr(struct vcpu *v)
{
	const struct vexit_cr cr = v->exit.cr;

	if (cr.what != CR_DECODE && is_ours(cr.number))
		known(v, &cr);
	else
		decode_and_carry_out(v);
}
