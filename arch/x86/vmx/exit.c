#include "arch/x86/insn.h"
#include "arch/x86/percpu.h"
#include "arch/x86/regs.h"
#include "arch/x86/vcpu_event.h"
#include "arch/x86/vcpu_state.h"
#include "arch/x86/vmx/control.h"
#include "arch/x86/vmx/insn.h"
#include "arch/x86/vmx/pml.h"

/* SDM vol. 3, appendix C. */
#define EXIT_EXCEPTION  0u
#define EXIT_NMI_WINDOW 8u
#define EXIT_INVLPG     14u
#define EXIT_CR         28u
#define EXIT_IO         30u
#define EXIT_VIOLATION  48u
#define EXIT_MISCONFIG  49u
#define EXIT_TIMER      52u

/* Exits that need no look at their details; 0 (VEXIT_HANDLED) stands for "not expected". */
/* clang-format off */
static const u8 kind_of[] = {
	[1] = VEXIT_IRQ,
	[2] = VEXIT_TRIPLE,
	[7] = VEXIT_IRQ_WINDOW,
	[10] = VEXIT_CPUID,
	[11] = VEXIT_UNDEFINED, /* GETSEC */
	[12] = VEXIT_HLT,
	[13] = VEXIT_WBINVD, /* INVD: writing back what it would lose is allowed */
	[15] = VEXIT_PRIVILEGED, /* RDPMC */
	[17] = VEXIT_UNDEFINED, /* RSM */
	[18] = VEXIT_HYPERCALL, /* VMCALL */
	[19 ... 27] = VEXIT_UNDEFINED, /* VMCLEAR .. VMXON */
	[31] = VEXIT_RDMSR,
	[32] = VEXIT_WRMSR,
	[36] = VEXIT_UNDEFINED, /* MWAIT */
	[39] = VEXIT_UNDEFINED, /* MONITOR */
	[40] = VEXIT_PAUSE,
	[50] = VEXIT_UNDEFINED, /* INVEPT */
	[51] = VEXIT_UNDEFINED, /* RDTSCP */
	[53] = VEXIT_UNDEFINED, /* INVVPID */
	[54] = VEXIT_WBINVD,
	[55] = VEXIT_XSETBV,
	[58] = VEXIT_INVPCID, /* where it is offered, or it is undefined without an exit */
	[59] = VEXIT_UNDEFINED, /* VMFUNC */
	[63] = VEXIT_UNDEFINED, /* XSAVES */
	[64] = VEXIT_UNDEFINED, /* XRSTORS */
};
/* clang-format on */

/* SDM vol. 3, table 28-5. */
static void decode_io(struct vexit *exit)
{
	exit->kind = VEXIT_IO;
	exit->io = (struct vexit_io){
	        .port = (u16)(exit->info >> 16),
	        .size = (u8)((exit->info & 7) + 1),
	        .in = exit->info & BIT(3),
	        .string = exit->info & BIT(4),
	        .rep = exit->info & BIT(5),
	};
}

/*
 * SDM vol. 3, table 28-7: the access in bits 2:0, the entry's rights in 5:3, a linear address in
 * bit 7, and bit 8 clear if that was being translated. The guest's walks count as writes while A/D
 * bits are on. Bit 12: an IRET was under way.
 */
static void decode_violation(struct arch_vcpu *v, struct vexit *exit)
{
	u64 q = exit->info;

	exit->kind = VEXIT_FAULT;
	exit->fault = (struct vexit_fault){
	        .gpa = gpa(vmread(VMCS_GUEST_PHYS)),
	        .gva_valid = q & BIT(7),
	        .write = q & BIT(1),
	        .fetch = q & BIT(2),
	        .present = q & BITS(5, 3),
	        .walk = !(q & BIT(7)) || !(q & BIT(8)),
	};
	if (exit->fault.gva_valid)
		exit->fault.gva = gva(vmread(VMCS_GUEST_LINEAR));
	if (unlikely(q & BIT(12)) && !(vmread32(VMCS_VECTORING) & EVENT_VALID) &&
	    vmx_caps.virtual_nmi)
		vmx_event_iret_undone(v);
}

static void decode_misconfig(struct vexit *exit)
{
	exit->kind = VEXIT_FAULT;
	exit->fault = (struct vexit_fault){
	        .gpa = gpa(vmread(VMCS_GUEST_PHYS)),
	        .present = true,
	        .misconfig = true,
	};
}

/*
 * A debug exception that leaves has not changed DR6 or DR7 (SDM vol. 3, section 28.1); injecting it
 * does not either, so that is done here. INT1 is a trap: it is delivered behind itself. A shadow
 * together with TF needs the pending step noted (27.3.1.5).
 */
static void debug_exception(struct arch_vcpu *v, struct vexit *exit, u32 info)
{
	if ((info & EVENT_TYPE) == 5u << 8) {
		v->rip = v->rip + vmread32(VMCS_INSN_LENGTH);
	} else {
		dr6_write((dr6_read() & ~0xfull) | (exit->info & (0xf | BIT(13) | DR6_BS)));
		vmwrite(VMCS_GUEST_DR7, vmread(VMCS_GUEST_DR7) & ~BIT(13));
	}
	if ((v->rflags & RFLAGS_TF) && vmread(VMCS_GUEST_SHADOW) & (SHADOW_STI | SHADOW_MOV_SS))
		vmwrite(VMCS_GUEST_PENDING_DB, DR6_BS);
	vcpu_event_exception(v, 1, false, 0);
}

/*
 * The qualification is the address. An IRET that faulted has unblocked NMIs (bit 12); it will be
 * executed again, by way of the guest's handler if the fault is its own (SDM vol. 3, section 28.2.3).
 */
static void page_fault(struct arch_vcpu *v, struct vexit *exit, u32 info)
{
	exit->kind = VEXIT_PAGE_FAULT;
	exit->page_fault = (struct vexit_page_fault){
	        .gva = gva(exit->info),
	        .error = vmread32(VMCS_EXIT_ERROR),
	};
	if (unlikely(info & BIT(12)) && !(vmread32(VMCS_VECTORING) & EVENT_VALID) &&
	    vmx_caps.virtual_nmi)
		vmx_event_iret_undone(v);
}

/* NMIs stay blocked after the exit until an IRET: the handler is called through the IDT. */
static void decode_exception(struct arch_vcpu *v, struct vexit *exit)
{
	struct vmx_cpu *cpu = this_cpu()->vendor;
	u32 info = vmread32(VMCS_EXIT_INTERRUPT);

	if ((info & EVENT_TYPE) == EVENT_TYPE_NMI) {
		int_nmi();
		a32_store(&cpu->nmi_seen, 0);
		exit->kind = VEXIT_NMI;
		return;
	}
	if (unlikely(vmx_of(v)->vm86) && vmx_vm86_exception(v, exit, info))
		return;
	switch (info & EVENT_VECTOR) {
	case VECTOR_PF:
		page_fault(v, exit, info);
		break;
	case 1:
		debug_exception(v, exit, info);
		break;
	case 17:
		vcpu_event_exception(v, 17, true, 0);
		break;
	case 18: /* the machine's, not the guest's */
		int_machine_check();
		break;
	default:
		exit->kind = VEXIT_UNKNOWN;
	}
}

/* Zeroed by vmx_nmi(), or at its end; the timer is shorter than some deadlines. */
static void decode_timer(struct arch_vcpu *v, struct vexit *exit)
{
	struct vmx_cpu *cpu = this_cpu()->vendor;

	if (a32_load(&cpu->nmi_seen)) {
		a32_store(&cpu->nmi_seen, 0);
		exit->kind = VEXIT_NMI;
	} else if (tsc_read() >= vmx_of(v)->deadline_tsc) {
		exit->kind = VEXIT_TIMER;
	}
}

static void decode_qualified(struct arch_vcpu *v, struct vexit *exit)
{
	exit->info = vmread(VMCS_QUALIFICATION);
	switch ((u32)exit->code) {
	case EXIT_VIOLATION:
		decode_violation(v, exit);
		break;
	case VMX_EXIT_LOG_FULL: /* emptied by now; the access comes again */
		if (unlikely(exit->info & BIT(12)) && !(vmread32(VMCS_VECTORING) & EVENT_VALID) &&
		    vmx_caps.virtual_nmi)
			vmx_event_iret_undone(v);
		break;
	case EXIT_IO:
		decode_io(exit);
		break;
	case EXIT_INVLPG:
		exit->kind = VEXIT_INVLPG;
		exit->invlpg = (struct vexit_invlpg){.known = true, .gva = gva(exit->info)};
		break;
	case EXIT_CR:
		vmx_cr_decode(v, exit);
		break;
	case EXIT_EXCEPTION:
		decode_exception(v, exit);
		break;
	case EXIT_MISCONFIG:
		decode_misconfig(exit);
		break;
	case EXIT_TIMER:
		decode_timer(v, exit);
		break;
	case EXIT_NMI_WINDOW:
		vmx_proc_set(vmx_of(v), PROC_NMI_WINDOW, false);
		break;
	default:
		exit->kind = VEXIT_UNKNOWN;
	}
}

void vmx_exit_decode(struct arch_vcpu *v, struct vexit *exit, u32 reason)
{
	exit->kind = VEXIT_HANDLED;
	exit->length = (u8)vmread(VMCS_INSN_LENGTH);
	if (reason < sizeof(kind_of) && kind_of[reason])
		exit->kind = kind_of[reason];
	else
		decode_qualified(v, exit);
}
