/*
 * What the capability registers of a CPU mean for us: a verdict, a sentence, and the features that are
 * used. Pure, so that CPUs nobody here owns are judged by a unit test (the twin is svm/judge.h).
 */
#pragma once

#include "arch/x86/vendor.h"
#include "lib/types.h"

/* What CPUID and the MSRs say (Intel SDM vol. 3, appendix A); 0 for an MSR that does not exist. */
struct vmx_raw {
	bool vmx, xsave; /* CPUID leaf 1 */
	u64 feature;     /* IA32_FEATURE_CONTROL; unlocked where there is none */
	u64 basic, misc, ept_vpid;
	u64 pin, proc, proc2, exit, entry; /* the "true" ones if vmx_raw_true() */
	u64 cr0_fixed0, cr4_fixed0, cr4_fixed1;
};

/* What a control must and may have set. */
struct vmx_allowed {
	u32 must, may;
};

/* Known to vmx/ only; set by probe(). */
struct vmx_caps {
	u32 revision;
	struct vmx_allowed pin, proc, proc2, exit, entry;
	u64 cr0_fixed0, cr4_fixed0, cr4_fixed1;
	u32 timer_shift; /* the preemption timer counts when this bit of the TSC changes */
	bool pml;        /* only with ad */
	bool ad, vpid, timer, virtual_nmi, ple, pat, wbinvd;
	bool efer; /* switched by entry and exit; else by us, for shadow guests only */
	bool proc2_there;
	bool invept_single, invvpid_single;
};

/* Are there "true" control registers (IA32_VMX_BASIC, bit 55)? */
bool vmx_raw_true(u64 basic);
/* Are there IA32_VMX_PROCBASED_CTLS2, IA32_VMX_EPT_VPID_CAP? */
bool vmx_raw_has_proc2(u64 proc);
bool vmx_raw_has_ept_vpid(u64 proc2);
/* May VMXON be executed outside SMX operation, or can we make it so? */
bool vmx_feature_usable(u64 feature);
bool vmx_feature_locked(u64 feature);
/* `feature` with VMX on and locked. */
u64 vmx_feature_enabled(u64 feature);

/* Any context; fills both but for VENDOR_ABSENT and VENDOR_LOCKED. */
enum vendor_state vmx_judge(const struct vmx_raw *raw, struct vmx_caps *own,
                            struct vendor_caps *caps);
