/*
 * What a guest's CPUID says: a table made once for each VM from the machine's leaves, by lists of
 * what is let through. Everything that is not named is hidden.
 *
 * Hidden on purpose: VMX and SVM (no nesting yet), x2APIC and the TSC deadline (the virtual APIC has
 * neither), PCID unless INVPCID can be had, MONITOR, RDTSCP and RDPID (TSC_AUX is not switched), performance counters, debug
 * store, thermal and power leaves, MCA, TSX, protection keys, SGX, AVX-512 and AMX (not switched).
 */
#pragma once

#include "arch/x86/insn.h"
#include "lib/types.h"

#define CPUID_BASIC_LEAVES 14u /* 0 .. 0xd */
#define CPUID_EXT_LEAVES   9u  /* 0x80000000 .. 0x80000008 */
#define CPUID_HV_BASE      0x40000000u
#define CPUID_HV_MAX       0x40000010u

struct cpuid_config {
	u32 vcpus;
	u64 xcr0; /* state components the guest may enable, 0: no XSAVE */
	u32 tsc_khz, apic_khz;
	u32 phys_bits; /* at most this many */
	bool pcid;     /* PCIDs, with INVPCID */
};

struct cpuid_table {
	struct cpuid_regs basic[CPUID_BASIC_LEAVES];
	struct cpuid_regs ext[CPUID_EXT_LEAVES];
	struct cpuid_regs xsave[3];      /* leaf 0xd, subleaves 0 - 2 */
	struct cpuid_regs deterministic; /* leaf 0xb, level 1 without the APIC ID */
	struct cpuid_config config;
	u32 max_basic;
};

/* What of a vCPU shows in CPUID. */
struct cpuid_vcpu {
	u32 apic_id;
	bool osxsave;
	u64 xcr0;
};

/* `host` answers for the machine. */
void cpuid_build(struct cpuid_table *t, const struct cpuid_config *config,
                 struct cpuid_regs (*host)(u32 leaf, u32 subleaf));
/* Pure and short: it is the figure of the handled exit. */
void cpuid_answer(const struct cpuid_table *t, const struct cpuid_vcpu *v, u32 leaf, u32 subleaf,
                  struct cpuid_regs *out);
/* Bits of CR4, and EFER, that a guest with this table may set. */
u64 cpuid_cr4_allowed(const struct cpuid_table *t);
u64 cpuid_efer_allowed(const struct cpuid_table *t);
