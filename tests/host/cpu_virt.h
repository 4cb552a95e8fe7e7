/*
 * Virtualization hardware of simulated CPUs: what run.S and the CPU do between them at an entry. arch/x86/svm and
 * arch/x86/vmx run on it unchanged; who tests them is the guest, and says in a function what an exit leaves in the
 * control block.
 */
#pragma once

#include "arch/x86/vendor.h"
#include "lib/types.h"
#include "lib/util.h"

/* What differs between CPUs of a vendor and changes what the hypervisor does. */
struct cpu_virt {
	bool vmx; /* else SVM */
	/* SVM */
	bool nrip, decode, tcg, clean_bits, flush_asid, pause_filter;
	/* VMX; without `ept` guests run on shadow tables */
	bool ept, unrestricted, vpid, virtual_nmi, efer, pat, timer, pml;
	/* both */
	bool ad, invpcid;
};

/*
 * Called on the vCPU's CPU where the guest would run, between what is written for the entry and what is read after
 * the exit; all of v->gpr, rip and rflags are the guest's, both ways. VMX: false if the CPU refuses the entry with an error number.
 */
typedef bool (*cpu_virt_guest)(struct arch_vcpu *v);

/* CPUs 0 .. ncpus - 1 are such CPUs now, with virtualization on; `vendor` is set. Ends the program if there is no memory. */
void cpu_virt_create(const struct cpu_virt *what, unsigned ncpus, cpu_virt_guest guest);
void cpu_virt_destroy(void);
/* Whether the CPU that is there is an Intel one. */
bool cpu_virt_is_vmx(void);

/* --- for cpu_svm.c and cpu_vmx.c --- */

extern struct cpu_virt cpu_virt;
extern cpu_virt_guest cpu_virt_run;
void cpu_svm_judge(void);
void cpu_vmx_judge(void);
