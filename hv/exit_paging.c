/*
 * Guests on shadow tables: page faults, their own and those for our tables; INVLPG and INVPCID; the root table
 * before each entry.
 */
#include "arch/hal.h"
#include "arch/x86/regs.h"
#include "arch/x86/vendor.h"
#include "hv/exit.h"
#include "hv/fetch.h"
#include "hv/insn_invpcid.h"
#include "hv/mmu/guest_mem.h"
#include "hv/mmu/shadow_vcpu.h"
#include "hv/vcpu.h"
#include "hv/vm.h"

typedef unsigned long long ull;

#define ERROR_FETCH BIT(4)
#define RFLAGS_AC   BIT(18)

/* What is neither done nor the guest's own affair. */
static void not_fixed(struct vcpu *v, enum shadow_result result, const struct shadow_outcome *out)
{
	switch (result) {
	case SHADOW_RETRY:
		hal_pause();
		break;
	case SHADOW_NO_TABLE:
		vm_stop(v->vm, VM_STOPPED,
		        "vCPU %u has a page table at 0x%llx where there is no memory", v->index,
		        (ull)out->gpa.v);
		break;
	case SHADOW_BAD_PAGE:
		vm_stop(v->vm, VM_STOPPED,
		        "the stored copy of page 0x%llx is damaged or cannot be read",
		        (ull)out->gpa.v & PAGE_MASK);
		break;
	case SHADOW_NO_MEMORY:
		exit_wait_memory(v);
		break;
	default: /* taken away by whoever is about to stop the VM */
		exit_yield(v);
		break;
	}
}

bool exit_paging_root(struct vcpu *v)
{
	if (likely(shadow_vcpu_root(&v->shadow, &v->arch.root) == SHADOW_FIXED))
		return true;
	exit_yield(v);
	return false;
}

void exit_page_fault(struct vcpu *v, const struct vexit_page_fault *fault)
{
	struct shadow_outcome out;
	enum shadow_result result;

	v->faults_total++;
	result = shadow_fault(&v->shadow, fault->gva, fault->error, v->arch.rflags & RFLAGS_AC,
	                      &out);
	switch (result) {
	case SHADOW_FIXED:
		break;
	case SHADOW_GUEST_FAULT:
		vcpu_inject_page_fault(v, fault->gva, out.error);
		break;
	case SHADOW_NONCANONICAL:
		vcpu_inject_gp(v);
		break;
	case SHADOW_NO_SLOT:
		exit_no_memory(v, out.gpa, fault->error & ERROR_FETCH);
		break;
	case SHADOW_PROTECTED:
		exit_write_caught(v);
		break;
	default:
		not_fixed(v, result, &out);
		break;
	}
}

/* The address, from hardware or the instruction; false: not now, or the VM was stopped. */
static bool invlpg_address(struct vcpu *v, gva_t *at)
{
	u8 bytes[DECODE_MAX_BYTES];
	struct insn insn;
	unsigned n;

	*at = v->exit.invlpg.gva;
	if (v->exit.invlpg.known)
		return true;
	if (!exit_fetch(v, bytes, &n, &insn, "an INVLPG cannot be decoded"))
		return false;
	if (insn.op != INSN_INVLPG) /* another vCPU changed the code: it is executed again */
		return false;
	*at = fetch_operand(v, &insn);
	v->exit.length = insn.length;
	return true;
}

void exit_invlpg(struct vcpu *v)
{
	gva_t at;

	if (!invlpg_address(v, &at) || !exit_step(v))
		return;
	shadow_invlpg(&v->shadow, at);
	vendor->flush(&v->arch);
}

/*
 * Where `at` is in the guest's memory, for a read by supervisor mode. It is done as hardware would, marks in the
 * guest's tables and our own translation included. False: the guest got its fault, or the instruction is executed again.
 */
static bool read_at(struct vcpu *v, gva_t at, struct shadow_outcome *out)
{
	enum shadow_result result = shadow_fault(&v->shadow, at, 0, v->arch.rflags & RFLAGS_AC,
	                                         out);

	switch (result) {
	case SHADOW_FIXED:
		return true;
	case SHADOW_GUEST_FAULT:
		vcpu_inject_page_fault(v, at, out->error);
		break;
	case SHADOW_NONCANONICAL:
		vcpu_inject_gp(v);
		break;
	case SHADOW_NO_SLOT:
		vm_stop(v->vm, VM_STOPPED,
		        "vCPU %u has an operand of INVPCID at 0x%llx, where there is no memory",
		        v->index, (ull)out->gpa.v);
		break;
	default:
		not_fixed(v, result, out);
		break;
	}
	return false;
}

/* The descriptor, which may lie across two pages. False: as above. */
static bool read_desc(struct vcpu *v, gva_t at, struct invpcid_desc *desc)
{
	u64 first = min_of(PAGE_SIZE - at.v % PAGE_SIZE, sizeof(*desc)), done = 0;
	struct shadow_outcome out;

	for (u64 bytes = first; done < sizeof(*desc); bytes = sizeof(*desc) - first) {
		if (!read_at(v, gva(at.v + done), &out))
			return false;
		if (guest_read(&v->vm->mem, out.gpa, (u8 *)desc + done, bytes) != bytes) {
			exit_yield(v);
			return false;
		}
		done += bytes;
	}
	return true;
}

/*
 * Whatever is to be forgotten, all is: shadow pages are the same for all PCIDs, and what was written of their tables is
 * read again at once.
 */
static void invpcid(struct vcpu *v, const struct insn *insn)
{
	u64 type = v->arch.gpr[insn->dst.reg];
	struct invpcid_desc desc;

	if (insn->dst.bytes == 4)
		type = (u32)type;
	if (!read_desc(v, fetch_operand(v, insn), &desc))
		return;
	if (!invpcid_valid(type, &desc, vendor->get(&v->arch, VREG_CR4) & CR4_PCIDE)) {
		vcpu_inject_gp(v);
		return;
	}
	vendor->advance(&v->arch, insn->length);
	shadow_flush_all(&v->shadow);
	vendor->flush(&v->arch);
}

void exit_invpcid(struct vcpu *v)
{
	u8 bytes[DECODE_MAX_BYTES];
	struct insn insn;
	unsigned n;

	if (!exit_fetch(v, bytes, &n, &insn, "an INVPCID cannot be decoded"))
		return;
	if (insn.op == INSN_INVPCID) /* else another vCPU changed the code: it is executed again */
		invpcid(v, &insn);
}
