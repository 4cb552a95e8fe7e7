/*
 * The TLB of each simulated CPU of tests/host/cpu_virt.h, as far as tags go: what is cached under a tag stays, across
 * exits and whoever is loaded, until the CPU is told to drop it. A guest has one page; what it finds there is a number.
 *
 *	SVM	by ASID (APM vol. 2, section 15.16); TLB_CONTROL of an entry drops one, or all
 *	VMX	what is of the second level by its root; what is of linear addresses by VPID, and by the root if there is one;
 *		without VPIDs an entry drops the latter (SDM vol. 3, sections 29.3 and 29.4)
 */
#pragma once

#include "arch/x86/vendor.h"
#include "lib/types.h"

/* Nothing is cached anywhere. */
void cpu_tlb_reset(void);
/* In the guest function: what is cached for the vCPU's tags; else `memory`, which is cached now. */
u64 cpu_tlb_look(struct arch_vcpu *v, u64 memory);

/* For cpu_svm.c and cpu_vmx.c. */
void cpu_tlb_enter(struct arch_vcpu *v);
void cpu_tlb_drop_root(u64 root); /* 0: every one */
void cpu_tlb_drop_vpid(u32 vpid); /* 0: every one */
