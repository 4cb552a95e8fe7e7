/* MSR policy of a guest, by table. An MSR that is not in it does not exist: #GP. */
#pragma once

#include "hv/cpuid.h"
#include "hv/vcpu.h"
#include "lib/types.h"
#include "lib/util.h"

enum msr_result {
	MSR_OK,
	MSR_FAULT,   /* known, but not so: #GP(0) */
	MSR_UNKNOWN, /* #GP(0), and worth a line once */
};

void msr_reset(struct vcpu *v);
/* On the vCPU's thread. */
enum msr_result msr_guest_read(struct vcpu *v, u32 msr, u64 *value) must_check;
enum msr_result msr_guest_write(struct vcpu *v, const struct cpuid_table *cpuid, u32 msr,
                                u64 value) must_check;
/* Is this a legal PAT, and a legal new EFER while CR0.PG is as given? Pure. */
bool msr_pat_valid(u64 value);
bool msr_efer_valid(u64 old, u64 value, u64 allowed, bool paging);
