/*
 * Real mode on a CPU without unrestricted guest, or without EPT, which that needs: the guest runs in
 * virtual-8086 mode with IOPL 3 (Intel SDM vol. 3, chapter 20 and section 27.3.1.2). Segment loads, far
 * jumps, CLI, STI, PUSHF, POPF and IRET then do by themselves what they do in real mode. Everything
 * privileged raises #GP, and so does INT n, since the real IDT has no entries: those are emulated by
 * hv/exit_real.c. Exceptions, interrupts and NMIs go through the guest's vector table in the same way,
 * because entry could only deliver them through the IDT.
 *
 * A segment's base is 16 times its selector here and its limit 64 KiB. Right after a switch out of
 * protected mode neither need be so: the guest then sees another selector than it loaded, until it loads
 * the next (which such code does at once), and cannot use limits above 64 KiB. A base that no selector
 * can express is refused (`vm86_unfit`).
 */
#include "arch/x86/regs.h"
#include "arch/x86/vcpu_event.h"
#include "arch/x86/vcpu_state.h"
#include "arch/x86/vmx/control.h"
#include "arch/x86/vmx/insn.h"

#define VM86_ACCESS 0xf3u
#define VM86_LIMIT  0xffffu
#define BASES       0xffff0ull /* that a selector can express */
#define TYPE_CODE   0xbu
#define TYPE_DATA   0x3u
#define TYPE        0xfu
#define TYPE_SOFT   (6u << 8) /* INT3, INTO */
/* A TSS too short for an I/O permission map: every port raises #GP. */
#define TSS_LIMIT 0x66u

static bool is_plain(enum seg seg)
{
	return seg <= SEG_GS;
}

static u16 selector_of(const struct seg_state *seg)
{
	return (u16)((seg->base & BASES) >> 4);
}

static void write_vm86(enum seg seg, const struct seg_state *kept)
{
	struct seg_state real = {
	        .base = kept->base & BASES,
	        .limit = VM86_LIMIT,
	        .selector = selector_of(kept),
	        .access = VM86_ACCESS,
	};

	vmx_seg_write(seg, &real);
}

/* What the guest has not loaded since cannot be expressed. */
static void look_whether_fit(struct vmx_vcpu *c)
{
	static const enum seg used[] = {SEG_CS, SEG_SS, SEG_DS, SEG_ES};

	c->vm86_unfit = false;
	for (size_t i = 0; i < ARRAY_SIZE(used); i++)
		c->vm86_unfit |= c->kept[used[i]].base & ~BASES;
}

void vmx_vm86_enter(struct arch_vcpu *v)
{
	static const struct seg_state tss = {.limit = TSS_LIMIT, .access = 0x8b}, idt = {0};
	struct vmx_vcpu *c = vmx_of(v);

	for (enum seg seg = SEG_ES; seg < SEG_COUNT; seg++) {
		vmx_seg_read(seg, &c->kept[seg]);
		if (is_plain(seg))
			write_vm86(seg, &c->kept[seg]);
	}
	vmx_seg_write(SEG_TR, &tss);
	vmx_seg_write(SEG_IDTR, &idt);
	look_whether_fit(c);
	c->iopl = v->rflags >> 12 & 3;
	c->vm86 = true;
	vmwrite(VMCS_EXCEPTIONS, vmx_exceptions(v));
}

/* Loads in real mode change selector and base and nothing else (SDM vol. 3, section 20.1.1). */
void vmx_vm86_get_seg(struct arch_vcpu *v, enum seg seg, struct seg_state *out)
{
	const struct seg_state *kept = &vmx_of(v)->kept[seg];
	struct seg_state real;

	if (seg == SEG_TR || seg == SEG_IDTR) {
		*out = *kept;
		return;
	}
	vmx_seg_read(seg, &real);
	if (!is_plain(seg)) {
		*out = real;
		return;
	}
	*out = *kept;
	if (real.selector == selector_of(kept))
		return;
	out->selector = real.selector;
	out->base = real.base;
	if (kept->access & SEG_UNUSABLE) {
		out->access = 0x93;
		out->limit = VM86_LIMIT;
	}
}

void vmx_vm86_set_seg(struct arch_vcpu *v, enum seg seg, const struct seg_state *in)
{
	struct vmx_vcpu *c = vmx_of(v);

	c->kept[seg] = *in;
	if (is_plain(seg)) {
		write_vm86(seg, in);
		look_whether_fit(c);
	} else if (seg != SEG_TR && seg != SEG_IDTR) {
		vmx_seg_write(seg, in);
	}
}

/*
 * Protected mode begins with the segments that real mode left. Entry checks them as if they had been
 * loaded from descriptors (SDM vol. 3, section 27.3.1.2): the privilege in a selector has to be 0.
 */
static void make_protected(enum seg seg, struct seg_state *s)
{
	if (s->access & SEG_UNUSABLE && seg != SEG_CS && seg != SEG_SS)
		return;
	s->access &= ~(SEG_DPL | SEG_UNUSABLE);
	s->access |= SEG_PRESENT | 0x11u; /* no system segment, accessed */
	s->selector &= 0xfffcu;
	if (seg == SEG_CS)
		s->access = (s->access & ~TYPE) | TYPE_CODE;
	else if (seg == SEG_SS)
		s->access = (s->access & ~TYPE) | TYPE_DATA;
}

void vmx_vm86_leave(struct arch_vcpu *v)
{
	struct vmx_vcpu *c = vmx_of(v);
	struct seg_state now;

	for (enum seg seg = SEG_ES; seg <= SEG_GS; seg++) {
		vmx_vm86_get_seg(v, seg, &now);
		make_protected(seg, &now);
		vmx_seg_write(seg, &now);
	}
	vmx_seg_write(SEG_TR, &c->kept[SEG_TR]);
	vmx_seg_write(SEG_IDTR, &c->kept[SEG_IDTR]);
	c->vm86 = false;
	vmwrite(VMCS_EXCEPTIONS, vmx_exceptions(v));
}

/*
 * An exception in real mode; false: it is dealt with as in any other. #GP is what privileged
 * instructions and INT n end with here. INT3 and INTO are traps: delivered behind themselves.
 */
bool vmx_vm86_exception(struct arch_vcpu *v, struct vexit *exit, u32 info)
{
	u8 vector = info & EVENT_VECTOR;

	if (vector == VECTOR_PF || vector == 1 || vector == 18)
		return false;
	if (vector == 13) {
		exit->kind = VEXIT_REAL_GP;
		exit->length = 0;
		return true;
	}
	if ((info & EVENT_TYPE) == TYPE_SOFT)
		v->rip += vmread32(VMCS_INSN_LENGTH);
	vcpu_event_exception(v, vector, false, 0);
	return true;
}

/* What is to be delivered before the guest goes on, if anything, is handed to hv/. */
bool vmx_vm86_event(struct arch_vcpu *v, struct vexit *exit)
{
	struct vmx_vcpu *c = vmx_of(v);

	if (unlikely(c->vm86_unfit)) {
		*exit = (struct vexit){.kind = VEXIT_REAL_UNFIT};
		return true;
	}
	if (v->nmi_wanted && !v->event) {
		u64 shadow = vmx_event_shadow(c);

		if (!vmx_caps.virtual_nmi || shadow & (SHADOW_NMI | SHADOW_STI | SHADOW_MOV_SS))
			return false;
		v->nmi_wanted = false;
		v->event = EVENT_VALID | EVENT_TYPE_NMI | 2;
		c->nmi_blocked = true;
		vmwrite(VMCS_GUEST_SHADOW, shadow | SHADOW_NMI);
	}
	if (!v->event)
		return false;
	*exit = (struct vexit){.kind = VEXIT_REAL_EVENT, .vector = v->event & EVENT_VECTOR};
	v->event = 0;
	return true;
}
