#include "tests/host/entry_check.h"

#include "arch/hal.h"
#include "arch/x86/svm/control.h"
#include "arch/x86/vmx/control.h"
#include "tests/host/cpu_virt.h"
#include "tests/host/cpu_vmcs.h"

/* Bits by number, so that a wrong constant in the sources shows. */
#define B(n) (1ull << (n))
/* Of the guest's own CR3, as it is told; ours are addresses of the build machine. */
#define CR3_BITS(v) ((v)->shadow ? 52u : 40u)
/* Intel SDM vol. 3, section 6.15: #DF, #TS, #NP, #SS, #GP, #PF and #AC push an error code. */
#define WITH_ERROR (B(8) | B(10) | B(11) | B(12) | B(13) | B(14) | B(17))

#define REFUSE(cond, why)           \
	do {                        \
		if (cond)           \
			return why; \
	} while (0)

static bool canonical(u64 a)
{
	return (u64)((s64)(a << 16) >> 16) == a;
}

static bool pat_valid(u64 pat)
{
	for (unsigned i = 0; i < 8; i++, pat >>= 8)
		if ((pat & 0xff) > 7 || (pat & 0xff) == 2 || (pat & 0xff) == 3)
			return false;
	return true;
}

/* Both vendors: valid 31, error code 11, type 10:8, vector 7:0. `protected_`: CR0.PE. */
static const char *check_event(u32 info, u32 error, bool protected_)
{
	unsigned type = info >> 8 & 7, vector = info & 0xff;
	bool pushes = protected_ && type == 3 && vector < 32 && (WITH_ERROR >> vector & 1);

	if (!(info & B(31)))
		return NULL;
	REFUSE(info & 0x7ffff000, "an event's reserved bits");
	REFUSE(type == 1, "an event of the reserved type");
	REFUSE(type == 2 && vector != 2, "an NMI with another vector");
	REFUSE(type == 3 && (vector > 31 || vector == 2), "an exception with no such vector");
	REFUSE(!type && vector < 16, "an interrupt with an exception's vector");
	REFUSE(pushes != !!(info & B(11)), "an error code too many or too few");
	REFUSE(pushes && error >> 16, "an error code of more than 16 bits");
	return NULL;
}

/* On our tables nothing may go past them: a guest without paging would have the machine's memory. */
static const char *check_shadow(u64 cr0, u64 cr4)
{
	REFUSE(!(cr0 & 1) && cpu_virt_is_vmx(), "shadow tables in real mode");
	REFUSE(!(cr0 & B(31)) || !(cr4 & B(5)), "shadow tables that are not in use");
	REFUSE(!(cr0 & B(16)), "shadow tables without CR0.WP");
	REFUSE(cr0 & (B(29) | B(30)), "caches that stay off");
	return NULL;
}

/* --- SVM: AMD APM vol. 2, section 15.5.1 --- */

static const char *svm_registers(const struct arch_vcpu *v, const struct vmcb_save *s)
{
	bool lme = s->efer & B(8), pg = s->cr0 & B(31), pae = s->cr4 & B(5);

	REFUSE(!(s->efer & B(12)), "EFER.SVME clear");
	REFUSE(s->efer & ~(B(0) | B(8) | B(10) | B(11) | B(12)), "EFER's reserved bits");
	REFUSE((s->cr0 & B(29)) && !(s->cr0 & B(30)), "CR0.NW without CD");
	REFUSE(s->cr0 >> 32, "CR0's upper half");
	REFUSE(s->cr4 & ~(u64)0x376fff, "CR4's reserved bits");
	REFUSE(s->cr4 & B(17) && !(lme && pg), "CR4.PCIDE outside long mode");
	REFUSE(s->dr6 >> 32 || s->dr7 >> 32, "the upper halves of DR6 and DR7");
	REFUSE(lme && pg && !pae, "long mode without CR4.PAE");
	REFUSE(lme && pg && !(s->cr0 & 1), "long mode without CR0.PE");
	REFUSE(lme && pg && (s->cs.attr & 0x600) == 0x600, "CS.L together with CS.D");
	REFUSE(!!(s->efer & B(10)) != (lme && pg), "EFER.LMA is not what LME and PG make it");
	REFUSE(lme && pg && (s->cr3 & ~(B(CR3_BITS(v)) - 1)), "CR3's reserved bits");
	REFUSE(s->rflags & ~(u64)0x3f7fd7 || !(s->rflags & 2), "RFLAGS' reserved bits");
	REFUSE(s->cpl > 3, "CPL");
	return v->shadow ? check_shadow(s->cr0, s->cr4) : NULL;
}

static const char *svm_check(struct arch_vcpu *v)
{
	const struct vmcb *b = &svm_of(v)->vmcb;
	const struct vmcb_control *c = &b->control;
	const char *why = svm_registers(v, &b->save);

	if (why)
		return why;
	REFUSE(!(c->intercept2 & 1), "VMRUN is not intercepted");
	REFUSE(!(c->intercept1 & B(0)) || !(c->intercept1 & B(1)), "interrupts reach the guest");
	REFUSE(!c->asid || c->asid >= svm_caps.nr_asids, "ASID");
	REFUSE(c->iopm % PAGE_SIZE || c->msrpm % PAGE_SIZE, "permission maps");
	REFUSE(!!(c->nested_control & 1) == v->shadow, "nested paging");
	REFUSE(!v->shadow && (c->nested_cr3 != v->root.v || !pat_valid(b->save.pat)),
	       "nested CR3 or PAT");
	REFUSE(v->shadow && b->save.cr3 != v->root.v, "CR3 is not the shadow root");
	REFUSE(c->tlb_control > 3 || c->tlb_control == 2, "TLB control");
	return check_event((u32)c->event_inject, (u32)(c->event_inject >> 32), b->save.cr0 & 1);
}

/* --- VMX: Intel SDM vol. 3, chapter 27 --- */

static u64 get(u32 field)
{
	return cpu_vmcs_get(field);
}

static bool allowed(struct vmx_allowed a, u32 value)
{
	return !(a.must & ~value) && !(value & ~a.may);
}

/* Section 27.2.1. */
static const char *vmx_controls(struct arch_vcpu *v)
{
	u32 pin = (u32)get(VMCS_PIN_CONTROLS), proc = (u32)get(VMCS_PROC_CONTROLS);
	u32 proc2 = proc & B(31) ? (u32)get(VMCS_PROC2_CONTROLS) : 0;
	bool unrestricted = proc2 & B(7);

	REFUSE(!allowed(vmx_caps.pin, pin) || !allowed(vmx_caps.proc, proc), "controls");
	REFUSE(proc2 && !allowed(vmx_caps.proc2, proc2), "secondary controls");
	REFUSE(!allowed(vmx_caps.exit, (u32)get(VMCS_EXIT_CONTROLS)), "exit controls");
	REFUSE(!allowed(vmx_caps.entry, (u32)get(VMCS_ENTRY_CONTROLS)), "entry controls");
	REFUSE((pin & B(5)) && !(pin & B(3)), "virtual NMIs without NMI exits");
	REFUSE((proc & B(22)) && !(pin & B(5)), "an NMI window without virtual NMIs");
	REFUSE(!!(proc2 & B(1)) == v->shadow, "EPT");
	REFUSE(unrestricted && !(proc2 & B(1)), "unrestricted guest without EPT");
	REFUSE((proc2 & B(17)) && !(proc2 & B(1)), "PML without EPT");
	REFUSE((proc2 & B(5)) && !get(VMCS_VPID), "VPID 0");
	REFUSE((proc2 & B(1)) && (get(VMCS_EPTP) & 0xf80 || (get(VMCS_EPTP) & 0x3f) != 0x1e),
	       "EPTP");
	REFUSE((proc2 & B(1)) && (get(VMCS_EPTP) & ~0xfffull) != v->root.v, "EPTP's table");
	REFUSE(v->shadow && get(VMCS_GUEST_CR3) != v->root.v, "CR3 is not the shadow root");
	return check_event((u32)get(VMCS_ENTRY_EVENT), (u32)get(VMCS_ENTRY_ERROR),
	                   !unrestricted || get(VMCS_GUEST_CR0) & 1);
}

/* Section 27.3.1.1. */
static const char *vmx_registers(const struct arch_vcpu *v, bool is_long)
{
	bool unrestricted = get(VMCS_PROC2_CONTROLS) & B(7);
	u64 cr0 = get(VMCS_GUEST_CR0), cr4 = get(VMCS_GUEST_CR4), efer = get(VMCS_GUEST_EFER);
	u64 must = vmx_caps.cr0_fixed0 & ~(unrestricted ? B(0) | B(31) : 0);

	REFUSE((cr0 & must) != must || cr0 >> 32, "CR0's fixed bits");
	REFUSE((cr0 & B(31)) && !(cr0 & 1), "CR0.PG without PE");
	REFUSE((cr4 & vmx_caps.cr4_fixed0) != vmx_caps.cr4_fixed0 || cr4 & ~vmx_caps.cr4_fixed1,
	       "CR4's fixed bits");
	REFUSE(is_long && (!(cr0 & B(31)) || !(cr4 & B(5))), "long mode without PG or PAE");
	REFUSE((cr4 & B(17)) && !is_long, "CR4.PCIDE outside long mode");
	REFUSE(get(VMCS_GUEST_CR3) >> CR3_BITS(v), "CR3's reserved bits");
	REFUSE(get(VMCS_GUEST_DR7) >> 32, "DR7's upper half");
	REFUSE(!canonical(get(VMCS_GUEST_SYSENTER_ESP)) || !canonical(get(VMCS_GUEST_SYSENTER_EIP)),
	       "SYSENTER's addresses");
	REFUSE(vmx_caps.pat && !pat_valid(get(VMCS_GUEST_PAT)), "PAT");
	REFUSE(get(VMCS_LINK) != ~0ull, "the link pointer");
	if (v->shadow && check_shadow(cr0, cr4))
		return check_shadow(cr0, cr4);
	if (!vmx_caps.efer)
		return NULL;
	REFUSE(efer & ~(B(0) | B(8) | B(10) | B(11)), "EFER's reserved bits");
	REFUSE(!!(efer & B(10)) != is_long, "EFER.LMA");
	REFUSE((cr0 & B(31)) && !!(efer & B(10)) != !!(efer & B(8)), "EFER.LME");
	return NULL;
}

/* Sections 27.3.1.4 and 27.3.1.5. */
static const char *vmx_rip_and_rest(bool is_long)
{
	u64 rip = get(VMCS_GUEST_RIP), flags = get(VMCS_GUEST_RFLAGS);
	u64 shadow = get(VMCS_GUEST_SHADOW), pending = get(VMCS_GUEST_PENDING_DB);
	u32 event = (u32)get(VMCS_ENTRY_EVENT), type = event & B(31) ? event >> 8 & 7 : 8;
	bool code64 = is_long && get(VMCS_GUEST_ACCESS + 2 * SEG_CS) & B(13);

	REFUSE(!code64 && rip >> 32, "RIP's upper half");
	REFUSE(code64 && !canonical(rip), "RIP is not canonical");
	REFUSE(flags & ~(u64)0x3f7fd7 || !(flags & 2), "RFLAGS' reserved bits");
	REFUSE((flags & B(17)) && (is_long || !(get(VMCS_GUEST_CR0) & 1)), "RFLAGS.VM");
	REFUSE(!type && !(flags & B(9)), "an interrupt without RFLAGS.IF");
	REFUSE(get(VMCS_GUEST_ACTIVITY), "the activity state");
	REFUSE(shadow & ~0xbull || (shadow & 3) == 3, "interruptibility");
	REFUSE((shadow & 1) && !(flags & B(9)), "STI's shadow without IF");
	REFUSE(!type && (shadow & 3), "an interrupt in a shadow");
	REFUSE(type == 2 && (shadow & 2), "an NMI in a shadow");
	REFUSE(type == 2 && (shadow & 8) && get(VMCS_PIN_CONTROLS) & B(5), "an NMI while blocked");
	REFUSE(pending & ~0x500full, "pending debug exceptions");
	REFUSE((shadow & 3) && !!(flags & B(8)) != !!(pending & B(14)), "the pending step");
	return NULL;
}

/* Section 27.3.1.2, ES to GS. */
static const char *vmx_vm86_segments(void)
{
	for (u32 at = 2 * SEG_ES; at <= 2 * SEG_GS; at += 2) {
		REFUSE(get(VMCS_GUEST_BASE + at) != get(VMCS_GUEST_SELECTOR + at) << 4, "a base");
		REFUSE(get(VMCS_GUEST_LIMIT + at) != 0xffff, "a limit");
		REFUSE(get(VMCS_GUEST_ACCESS + at) != 0xf3, "a segment's rights");
	}
	return NULL;
}

static const char *vmx_code_and_stack(bool is_long, bool unrestricted)
{
	u32 cs = (u32)get(VMCS_GUEST_ACCESS + 2 * SEG_CS),
	    ss = (u32)get(VMCS_GUEST_ACCESS + 2 * SEG_SS);
	u32 cs_dpl = cs >> 5 & 3, ss_dpl = ss >> 5 & 3, type = cs & 15;
	bool real = !(get(VMCS_GUEST_CR0) & 1);

	REFUSE(cs & B(16) || !(cs & B(7)) || !(cs & B(4)), "CS is not usable");
	REFUSE(!(type & 1) || (!(type & 8) && !(unrestricted && type == 3)), "CS' type");
	REFUSE((type == 9 || type == 11) && !(ss & B(16)) && cs_dpl != ss_dpl, "CS' privilege");
	REFUSE(is_long && (cs & B(13)) && (cs & B(14)), "CS.L together with CS.D");
	REFUSE(!(ss & B(16)) && (ss & 15) != 3 && (ss & 15) != 7, "SS' type");
	REFUSE((real || type == 3) && ss_dpl, "SS' privilege");
	REFUSE(!unrestricted && !(ss & B(16)) &&
	               (get(VMCS_GUEST_SELECTOR + 2 * SEG_SS) & 3) != ss_dpl,
	       "SS' selector");
	return NULL;
}

static const char *vmx_segments(bool is_long)
{
	bool unrestricted = get(VMCS_PROC2_CONTROLS) & B(7);
	u32 tr = (u32)get(VMCS_GUEST_ACCESS + 2 * SEG_TR);
	const char *why = get(VMCS_GUEST_RFLAGS) & B(17)
	                          ? vmx_vm86_segments()
	                          : vmx_code_and_stack(is_long, unrestricted);

	if (why)
		return why;
	REFUSE(tr & B(16) || !(tr & B(7)) || tr & B(4), "TR is not usable");
	REFUSE((tr & 15) != 11 && ((tr & 15) != 3 || is_long), "TR's type");
	REFUSE(get(VMCS_GUEST_SELECTOR + 2 * SEG_TR) & 4, "TR's selector");
	for (u32 at = 0; at <= 2 * SEG_TR; at += 2) {
		u32 access = (u32)get(VMCS_GUEST_ACCESS + at);
		u64 limit = get(VMCS_GUEST_LIMIT + at);

		if (access & B(16))
			continue;
		REFUSE((limit & 0xfff) != 0xfff && (access & B(15)), "a limit and its granularity");
		REFUSE(limit >> 20 && !(access & B(15)), "a limit without granularity");
		REFUSE(access & 0xf00, "a segment's reserved bits");
	}
	for (u32 at = 2 * SEG_FS; at <= 2 * SEG_IDTR; at += 2)
		REFUSE(!canonical(get(VMCS_GUEST_BASE + at)), "a base that is not canonical");
	for (u32 at = 2 * SEG_GDTR; at <= 2 * SEG_IDTR; at += 2)
		REFUSE(get(VMCS_GUEST_LIMIT + at) >> 16, "a table's limit");
	return NULL;
}

static const char *vmx_check(struct arch_vcpu *v)
{
	bool is_long = get(VMCS_ENTRY_CONTROLS) & B(9);
	const char *why = vmx_controls(v);

	if (!why)
		why = vmx_registers(v, is_long);
	if (!why)
		why = vmx_rip_and_rest(is_long);
	return why ? why : vmx_segments(is_long);
}

const char *entry_check(struct arch_vcpu *v)
{
	return cpu_virt_is_vmx() ? vmx_check(v) : svm_check(v);
}
