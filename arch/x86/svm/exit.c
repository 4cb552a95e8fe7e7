#include "arch/x86/insn.h"
#include "arch/x86/percpu.h"
#include "arch/x86/svm/control.h"
#include "arch/x86/vcpu_event.h"

/* APM vol. 2, appendix C. */
#define EXIT_CR_LAST   0x1fu /* reads of CR0 .. 15, then writes */
#define EXIT_EXCEPTION 0x40u
#define EXIT_DB        0x41u
#define EXIT_PF        0x4eu
#define EXIT_AC        0x51u
#define EXIT_MC        0x52u
#define EXIT_FIRST     0x60u
#define EXIT_NMI       0x61u
#define EXIT_IRET      0x74u
#define EXIT_INVLPG    0x79u
#define EXIT_IOIO      0x7bu
#define EXIT_MSR       0x7cu
#define EXIT_INVPCID   0xa2u
#define EXIT_NPF       0x400u
#define EXIT_INVALID   0xffffffffu

/* Exits that need no look at their details; 0 (VEXIT_HANDLED) stands for "not expected". */
/* clang-format off */
static const u8 kind_of[] = {
	[0x60 - EXIT_FIRST] = VEXIT_IRQ,
	[0x64 - EXIT_FIRST] = VEXIT_IRQ_WINDOW, /* VINTR */
	[0x6f - EXIT_FIRST] = VEXIT_PRIVILEGED, /* RDPMC */
	[0x72 - EXIT_FIRST] = VEXIT_CPUID,
	[0x73 - EXIT_FIRST] = VEXIT_UNDEFINED, /* RSM */
	[0x76 - EXIT_FIRST] = VEXIT_WBINVD, /* INVD: writing back what it would lose is allowed */
	[0x77 - EXIT_FIRST] = VEXIT_PAUSE,
	[0x78 - EXIT_FIRST] = VEXIT_HLT,
	[0x7a - EXIT_FIRST] = VEXIT_UNDEFINED, /* INVLPGA */
	[0x7f - EXIT_FIRST] = VEXIT_TRIPLE, /* SHUTDOWN */
	[0x80 - EXIT_FIRST] = VEXIT_UNDEFINED, /* VMRUN */
	[0x81 - EXIT_FIRST] = VEXIT_HYPERCALL, /* VMMCALL */
	[0x82 - EXIT_FIRST] = VEXIT_UNDEFINED, /* VMLOAD */
	[0x83 - EXIT_FIRST] = VEXIT_UNDEFINED, /* VMSAVE */
	[0x84 - EXIT_FIRST] = VEXIT_UNDEFINED, /* STGI */
	[0x85 - EXIT_FIRST] = VEXIT_UNDEFINED, /* CLGI */
	[0x86 - EXIT_FIRST] = VEXIT_UNDEFINED, /* SKINIT */
	[0x87 - EXIT_FIRST] = VEXIT_UNDEFINED, /* RDTSCP */
	[0x89 - EXIT_FIRST] = VEXIT_WBINVD,
	[0x8a - EXIT_FIRST] = VEXIT_UNDEFINED, /* MONITOR */
	[0x8b - EXIT_FIRST] = VEXIT_UNDEFINED, /* MWAIT */
	[0x8c - EXIT_FIRST] = VEXIT_UNDEFINED, /* MWAIT, armed */
	[0x8d - EXIT_FIRST] = VEXIT_XSETBV,
	[0x8e - EXIT_FIRST] = VEXIT_UNDEFINED, /* RDPRU */
};
/* clang-format on */

/* APM vol. 2, section 15.10.2: EXITINFO2 is the address of the next instruction. */
static void decode_io(const struct vmcb *vmcb, struct vexit *exit)
{
	u32 info = (u32)vmcb->control.exit_info1;

	exit->kind = VEXIT_IO;
	exit->length = (u8)(vmcb->control.exit_info2 - vmcb->save.rip);
	exit->io = (struct vexit_io){
	        .port = (u16)(info >> 16),
	        .size = info & BIT(4)   ? 1
	                : info & BIT(5) ? 2
	                                : 4,
	        .in = info & BIT(0),
	        .string = info & BIT(2),
	        .rep = info & BIT(3),
	};
}

/* A page fault's error code (APM vol. 2, section 15.25.6); bit 33: while walking guest tables. */
static void decode_fault(const struct vmcb *vmcb, struct vexit *exit)
{
	u64 error = vmcb->control.exit_info1;

	exit->kind = VEXIT_FAULT;
	exit->fault = (struct vexit_fault){
	        .gpa = gpa(vmcb->control.exit_info2),
	        .present = error & BIT(0),
	        .write = error & BIT(1),
	        .misconfig = error & BIT(3),
	        .fetch = error & BIT(4),
	        .walk = error & BIT(33),
	};
}

/* EXITINFO1 is the error code, EXITINFO2 the address (APM vol. 2, section 15.12.15). */
static void decode_page_fault(const struct vmcb *vmcb, struct vexit *exit)
{
	exit->kind = VEXIT_PAGE_FAULT;
	exit->page_fault = (struct vexit_page_fault){
	        .gva = gva(vmcb->control.exit_info2),
	        .error = (u32)vmcb->control.exit_info1,
	};
}

/* Only what a guest could use to hang the CPU is intercepted: it gets what it would have got. */
static void decode_exception(struct arch_vcpu *v, struct vexit *exit)
{
	switch ((u32)exit->code) {
	case EXIT_PF:
		decode_page_fault(&svm_of(v)->vmcb, exit);
		break;
	case EXIT_DB: /* DR6 and DR7 are as the handler has to see them (15.12.2) */
		vcpu_event_exception(v, 1, false, 0);
		break;
	case EXIT_AC:
		vcpu_event_exception(v, 17, true, 0);
		break;
	case EXIT_MC: /* the machine's, not the guest's */
		int_machine_check();
		break;
	default:
		exit->kind = VEXIT_UNKNOWN;
	}
}

/*
 * With decode assists, a MOV tells its general register and bit 63 (APM vol. 2, section 15.33.1). Bochs
 * 2.7 leaves bit 63 out when a register is read, and QEMU (8 and later) reports every read as one of
 * CR0: those are decoded.
 */
static void decode_cr(struct vexit *exit)
{
	exit->kind = VEXIT_CR;
	exit->cr = (struct vexit_cr){.what = CR_DECODE};
	if (!svm_caps.decode || !(exit->info & BIT(63)))
		return;
	exit->cr = (struct vexit_cr){
	        .what = exit->code & 0x10 ? CR_WRITE : CR_READ,
	        .number = exit->code & 15,
	        .gpr = exit->info & 15,
	};
}

static void decode_invlpg(struct vexit *exit)
{
	exit->kind = VEXIT_INVLPG;
	exit->invlpg = (struct vexit_invlpg){.known = svm_caps.decode, .gva = gva(exit->info)};
}

/* STGI has let the NMI in: it was handled already. */
static void decode_nmi(struct vexit *exit)
{
	struct svm_cpu *cpu = this_cpu()->vendor;

	a32_store(&cpu->nmi_seen, 0);
	exit->kind = VEXIT_NMI;
}

static void decode_simple(struct arch_vcpu *v, struct vexit *exit)
{
	u64 index = exit->code - EXIT_FIRST;

	if (exit->code <= EXIT_CR_LAST)
		decode_cr(exit);
	else if (exit->code == EXIT_INVLPG)
		decode_invlpg(exit);
	else if (exit->code == EXIT_INVPCID)
		exit->kind = VEXIT_UNDEFINED;
	else if (exit->code == EXIT_IRET)
		svm_event_iret(v);
	else if (exit->code == EXIT_NMI)
		decode_nmi(exit);
	else if (exit->code == EXIT_MSR)
		exit->kind = exit->info & 1 ? VEXIT_WRMSR : VEXIT_RDMSR;
	else if (exit->code >= EXIT_EXCEPTION && exit->code < EXIT_FIRST)
		decode_exception(v, exit);
	else if (exit->code >= EXIT_FIRST && index < sizeof(kind_of) && kind_of[index])
		exit->kind = kind_of[index];
	else /* QEMU 7.2 writes the low half of -1 only */
		exit->kind = (u32)exit->code == EXIT_INVALID ? VEXIT_INVALID : VEXIT_UNKNOWN;
}

void svm_exit_decode(struct arch_vcpu *v, struct vexit *exit)
{
	const struct vmcb *vmcb = &svm_of(v)->vmcb;

	exit->kind = VEXIT_HANDLED;
	exit->code = vmcb->control.exit_code;
	exit->info = vmcb->control.exit_info1;
	exit->length = svm_caps.nrip && vmcb->control.next_rip
	                       ? (u8)(vmcb->control.next_rip - vmcb->save.rip)
	                       : 0;
	if (exit->code == EXIT_NPF)
		decode_fault(vmcb, exit);
	else if (exit->code == EXIT_IOIO)
		decode_io(vmcb, exit);
	else
		decode_simple(v, exit);
}
