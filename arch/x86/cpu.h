/* What this kind of CPU can do, and the control registers that follow from it. */
#pragma once

#include "arch/x86/insn.h"
#include "arch/x86/percpu.h"
#include "arch/x86/regs.h"
#include "lib/types.h"
#include "lib/util.h"

enum cpu_vendor { CPU_INTEL, CPU_AMD, CPU_OTHER };

/* Read once on the boot CPU; all CPUs are taken to be alike. Constant afterwards. */
struct cpu_features {
	enum cpu_vendor vendor;
	char vendor_name[13];
	char model_name[49];
	u32 max_leaf, max_ext_leaf;
	u32 phys_bits; /* MAXPHYADDR */
	bool vmx, svm;
	bool nx, gib_pages, smep, smap, umip, pge, pat, mce, mca;
	bool x2apic, tsc_deadline, arat, tsc_invariant, tsc_adjust, rdtscp;
	bool fxsr, xsave, avx;
	bool pcid;       /* and INVPCID */
	bool hypervisor; /* we run on one ourselves */
};
extern struct cpu_features cpu_features;

/* Boot CPU, once, before any other function that reads cpu_features. */
void cpu_detect(void);
/* CR0, CR4, EFER, PAT of this CPU, from cpu_features. After the page tables are loaded. */
void cpu_init_control(void);
/* APIC ID of the CPU that runs this, from CPUID (0xb if there is one, else leaf 1). */
u32 cpu_apic_id(void);
/* "name name ..." of the features above for one line of log. */
void cpu_feature_names(char *buf, size_t size);
