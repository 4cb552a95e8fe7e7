/*
 * What the capability registers of a CPU mean for us: a verdict, a sentence, and the features that are
 * used. Pure, so that CPUs nobody here owns are judged by a unit test (the twin is vmx/judge.h).
 */
#pragma once

#include "arch/x86/vendor.h"
#include "lib/types.h"

#define SVM_LEAF 0x8000000au

/* What CPUID and the MSRs say (AMD APM vol. 3, appendix E; vol. 2, section 15.30). */
struct svm_raw {
	bool svm, gib_pages; /* leaf 0x80000001 */
	bool xsave;          /* leaf 1 */
	bool tcg;            /* leaf 0x40000000 says that this is QEMU's own emulation */
	u32 max_ext_leaf;
	u32 features, nr_asids; /* leaf 0x8000000a, 0 if there is none */
	u64 vm_cr;              /* 0 if there is none: SVM cannot be locked off then */
};

/* Known to svm/ only; set by probe(). */
struct svm_caps {
	u32 nr_asids;
	bool nrip, flush_asid, clean_bits, pause_filter, decode;
	bool tcg;
	bool unlock; /* VM_CR.SVMDIS is set but may be cleared */
};

/* `vm_cr` with SVM allowed. */
u64 svm_vm_cr_enabled(u64 vm_cr);

/* Any context; fills both but for VENDOR_ABSENT. */
enum vendor_state svm_judge(const struct svm_raw *raw, struct svm_caps *own,
                            struct vendor_caps *caps);
