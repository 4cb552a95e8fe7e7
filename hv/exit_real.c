/*
 * Real mode on a CPU that cannot run it, so that the vendor lets it run in virtual-8086 mode: what that
 * refuses is carried out here. Linear addresses are guest-physical, as there is no paging.
 */
#include "arch/x86/regs.h"
#include "arch/x86/vendor.h"
#include "hv/exit.h"
#include "hv/fetch.h"
#include "hv/real_mode.h"
#include "hv/vcpu.h"
#include "hv/vm.h"

#define SEG_ACCESS_CODE 0x9bu

static bool read_all(struct vcpu *v, u64 at, void *to, u64 bytes)
{
	return guest_read(&v->vm->mem, gpa(at), to, bytes) == bytes;
}

/* What could not be read or written: true if it never can be; the VM is stopped then. */
static bool is_nowhere(struct vcpu *v, u64 at, u64 bytes, const char *what)
{
	if (vm_has_ram(v->vm, gpa(at), bytes))
		return false;
	vm_stop(v->vm, VM_STOPPED,
	        "vCPU %u has %s in real mode at 0x%llx, where there is no memory", v->index, what,
	        (unsigned long long)at);
	return true;
}

/*
 * Flags, CS and IP go below SS:SP, one word at a time, since SP wraps at 64 KiB. False: not all of it, and *over
 * says whether that is for good.
 */
static bool push_frame(struct vcpu *v, const struct real_entry *entry, bool *over)
{
	for (unsigned i = 0; i < ARRAY_SIZE(entry->word); i++)
		if (guest_write(&v->vm->mem, gpa(entry->at[i]), &entry->word[i], 2) != 2) {
			*over = is_nowhere(v, entry->at[i], 2, "its stack");
			return false;
		}
	return true;
}

/* False: not now. */
static bool deliver_now(struct vcpu *v, u8 vector, u16 ip)
{
	struct seg_state cs, ss, idt;
	struct real_entry entry;
	bool over;
	u32 target, at;

	vendor->get_seg(&v->arch, SEG_CS, &cs);
	vendor->get_seg(&v->arch, SEG_SS, &ss);
	vendor->get_seg(&v->arch, SEG_IDTR, &idt);
	if (idt.limit < 4u * vector + 3) {
		vm_stop(v->vm, VM_STOPPED,
		        "vector %u on vCPU %u lies behind its table in real mode", vector,
		        v->index);
		return true;
	}
	at = (u32)(idt.base + 4u * vector);
	if (!read_all(v, at, &target, sizeof(target)))
		return is_nowhere(v, at, sizeof(target), "its vectors");
	entry = real_enter((u16)v->arch.rflags, cs.selector, ip, ss.base, v->arch.gpr[GPR_RSP]);
	if (!push_frame(v, &entry, &over))
		return over;
	cs = (struct seg_state){
	        .base = target >> 16 << 4,
	        .limit = 0xffff,
	        .selector = (u16)(target >> 16),
	        .access = SEG_ACCESS_CODE,
	};
	vendor->set_seg(&v->arch, SEG_CS, &cs);
	v->arch.gpr[GPR_RSP] = entry.sp;
	v->arch.rip = (u16)target;
	v->arch.rflags &= ~REAL_ENTRY_CLEARS;
	return true;
}

/* The vendor has forgotten the event by now: it has to get through. */
static void deliver(struct vcpu *v, u8 vector, u16 ip)
{
	while (!deliver_now(v, vector, ip)) {
		if (!vm_running(v->vm))
			return;
		exit_yield(v);
	}
}

void exit_real_event(struct vcpu *v)
{
	deliver(v, v->exit.vector, (u16)v->arch.rip);
}

void exit_real_unfit(struct vcpu *v)
{
	vm_stop(v->vm, VM_STOPPED,
	        "vCPU %u goes to real mode at rip 0x%llx with a segment that virtual-8086 mode "
	        "cannot express: it needs a CPU with EPT and unrestricted guest, and mmu = tdp",
	        v->index, (unsigned long long)v->arch.rip);
}

/* LGDT and LIDT: a limit and 24 or 32 bits of base (Intel SDM vol. 2). */
static void load_table(struct vcpu *v, const struct insn *insn)
{
	enum seg which = insn->op == INSN_LGDT ? SEG_GDTR : SEG_IDTR;
	u64 at = fetch_operand(v, insn).v;
	struct seg_state seg = {0};
	u8 bytes[6];

	if (!read_all(v, at, bytes, sizeof(bytes))) {
		if (!is_nowhere(v, at, sizeof(bytes), "an operand of LGDT or LIDT"))
			exit_yield(v);
		return;
	}
	real_table(bytes, insn->operand_bytes, &seg.base, &seg.limit);
	vendor->set_seg(&v->arch, which, &seg);
	vendor->advance(&v->arch, insn->length);
}

static void port(struct vcpu *v, const struct insn *insn)
{
	bool in = insn->op == INSN_IN || insn->op == INSN_INS;
	bool string = insn->op == INSN_INS || insn->op == INSN_OUTS;
	const struct insn_operand *at = in ? &insn->src : &insn->dst;
	const struct insn_operand *data = in ? &insn->dst : &insn->src;

	v->exit.kind = VEXIT_IO;
	v->exit.io = (struct vexit_io){
	        .port = at->kind == OPERAND_IMM ? (u8)insn->imm : (u16)v->arch.gpr[GPR_RDX],
	        .size = string ? 1 : data->bytes,
	        .in = in,
	        .string = string,
	        .rep = insn->rep || insn->repne,
	};
}

/* An instruction that has an exit of its own in protected mode; VEXIT_HANDLED: none. */
static enum vexit_kind kind_of(const struct insn *insn)
{
	switch (insn->op) {
	case INSN_HLT:
		return VEXIT_HLT;
	case INSN_IN:
	case INSN_OUT:
	case INSN_INS:
	case INSN_OUTS:
		return VEXIT_IO;
	case INSN_RDMSR:
		return VEXIT_RDMSR;
	case INSN_WRMSR:
		return VEXIT_WRMSR;
	case INSN_MOV_TO_CR:
	case INSN_MOV_FROM_CR:
	case INSN_CLTS:
	case INSN_LMSW:
		return VEXIT_CR;
	case INSN_INVLPG:
		return VEXIT_INVLPG;
	case INSN_WBINVD:
	case INSN_INVD:
		return VEXIT_WBINVD;
	default:
		return VEXIT_HANDLED;
	}
}

static void privileged(struct vcpu *v, const struct insn *insn, const u8 *bytes, unsigned n)
{
	enum vexit_kind kind = kind_of(insn);

	v->exit = (struct vexit){.kind = kind, .length = insn->length};
	switch (insn->op) {
	case INSN_LGDT:
	case INSN_LIDT:
		load_table(v, insn);
		return;
	case INSN_INT:
		deliver(v, (u8)insn->imm, (u16)(v->arch.rip + insn->length));
		return;
	case INSN_MOV_FROM_DR:
	case INSN_MOV_TO_DR:
		exit_stop_insn(v, "an instruction in real mode that this CPU cannot run", bytes, n);
		return;
	default:
		break;
	}
	if (kind == VEXIT_IO)
		port(v, insn);
	if (kind == VEXIT_HANDLED) /* the guest's own fault */
		deliver(v, 13, (u16)v->arch.rip);
	else
		exit_dispatch(v);
}

void exit_real_gp(struct vcpu *v)
{
	u8 bytes[DECODE_MAX_BYTES];
	struct insn insn;
	unsigned n;

	if (exit_fetch(v, bytes, &n, &insn, "an instruction in real mode cannot be decoded"))
		privileged(v, &insn, bytes, n);
}
