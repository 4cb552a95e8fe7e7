/*
 * The machine half of a virtual CPU: registers, FPU area and the vendor's control block. hv/vcpu
 * embeds one; only the vendor code looks behind `control`.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

struct fpu_area; /* arch/x86/fpu.h */

/* In the order in which instructions encode them. */
enum gpr {
	GPR_RAX,
	GPR_RCX,
	GPR_RDX,
	GPR_RBX,
	GPR_RSP,
	GPR_RBP,
	GPR_RSI,
	GPR_RDI,
	GPR_R8,
	GPR_R9,
	GPR_R10,
	GPR_R11,
	GPR_R12,
	GPR_R13,
	GPR_R14,
	GPR_R15,
	GPR_COUNT,
};

/* Encoding order as well. */
enum seg {
	SEG_ES,
	SEG_CS,
	SEG_SS,
	SEG_DS,
	SEG_FS,
	SEG_GS,
	SEG_LDTR,
	SEG_TR,
	SEG_GDTR,
	SEG_IDTR,
	SEG_COUNT
};

/* Access rights in the VMX layout: type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13, D/B 14, G 15, unusable 16. */
struct seg_state {
	u64 base;
	u32 limit;
	u16 selector;
	u32 access;
};

/* State behind get()/set() of the vendor; general registers, rip and rflags are plain fields. */
enum vreg {
	VREG_CR0,
	VREG_CR2,
	VREG_CR3,
	VREG_CR4,
	VREG_EFER,
	VREG_DR7,
	VREG_PAT,
	VREG_STAR,
	VREG_LSTAR,
	VREG_CSTAR,
	VREG_SFMASK,
	VREG_KERNEL_GS_BASE,
	VREG_SYSENTER_CS,
	VREG_SYSENTER_ESP,
	VREG_SYSENTER_EIP,
	VREG_TSC_OFFSET, /* guest TSC = host TSC + this */
	VREG_COUNT,
};

/* An event to be delivered at the next entry. */
struct vevent {
	u8 vector;
	u8 type; /* 0 external interrupt, 2 NMI, 3 hardware exception (both manuals use these numbers) */
	bool valid;
	bool has_error;
	u32 error;
};

struct arch_vcpu {
	u64 gpr[GPR_COUNT]; /* all of them, RSP and RAX included, valid while out of the guest */
	u64 rip;
	u64 rflags;
	struct fpu_area *fpu; /* owned; loaded eagerly when the vCPU's thread is switched in */
	u64 xcr0;             /* the guest's, switched with the FPU state */
	hpa_t root; /* second-level root table; of a shadow vCPU: what CR3 holds in the guest */
	u64 deadline_ns; /* the guest leaves no later than this: 0 = no limit. Used by vendors that
				 have a preemption timer; others rely on the local APIC's interrupt */
	u16 id;          /* system-wide number, 1.., of this vCPU: VPID, or wish for an ASID */
	bool ad;         /* let hardware keep Accessed and Dirty; needs vendor_caps.ad */
	bool shadow;     /* no second level: the guest runs on our tables (arch/x86/vcpu_shadow.h).
			    Set before create(), constant */
	u8 cr8;          /* the guest's task priority class (bits 7:4 of its APIC's TPR) */
	bool log_writes; /* have the CPU write down what the guest writes; needs vendor_caps.logs_writes */
	u32 nr_logged; /* so many it wrote down during the last stay, ... */
	const u64 *
	        logged; /* ... guest-physical addresses of pages; who takes them sets nr_logged to 0 */
	s32 loaded_cpu; /* CPU on which the control block is current, -1 none */
	void *control;  /* vendor's: VMCB or VMCS and what goes with it */

	/* The vendors' own; nobody else looks. */
	u32 event;       /* what the next entry delivers, in the manuals' layout; 0 nothing */
	u32 event_error; /* its error code */
	bool nmi_wanted; /* an NMI that waits until the guest can take one */
	u64 event_rip;   /* where the guest was when `event` was offered */
	u32 vectoring;   /* what hardware was delivering at the last exit, 0 nothing */
	struct {
		u64 cr0, cr3, cr4, efer;
	} guest; /* of a shadow vCPU: the guest's own values; the control block has the real ones */
	u64 dr[4]; /* DR0-3 and (VMX) DR6 while not loaded */
	u64 dr6;
};
static_assert(offsetof(struct arch_vcpu, gpr) == 0, "run.S of both vendors");
