/* What both vendors do with a vCPU's registers in the same way. */
#pragma once

#include "arch/x86/vcpu.h"
#include "arch/x86/vendor.h"

/* In seg_state.access. */
#define SEG_DPL_SHIFT 5
#define SEG_DPL       (3u << SEG_DPL_SHIFT)
#define SEG_PRESENT   (1u << 7)
#define SEG_LONG      (1u << 13)
#define SEG_UNUSABLE  (1u << 16)

#define RFLAGS_TF   BIT(8)
#define RFLAGS_IF   BIT(9)
#define RFLAGS_RF   BIT(16) /* an instruction that completes clears it */
#define RFLAGS_VM   BIT(17)
#define RFLAGS_IOPL BITS(13, 12)
#define DR6_BS      BIT(14)

/*
 * reset() of both vendors: registers as `how` wants them, no event waiting; the time-stamp offset
 * stays. vCPU loaded.
 */
void vcpu_state_reset(const struct vendor_ops *ops, struct arch_vcpu *v, const struct vreset *how);
/*
 * Debug registers are switched with the vCPU (load, put), not with every entry, and the guest uses
 * them without exits: hardware clears DR7 on an exit, so they stay without effect on the
 * hypervisor, which has no use for them itself. DR7 is in the control block; DR6 there too on SVM.
 */
void vcpu_debug_load(const struct arch_vcpu *v);
void vcpu_debug_save(struct arch_vcpu *v);

/*
 * An instruction that ends at 4 GiB outside 64-bit mode wraps; hardware refuses a larger RIP (Intel SDM
 * vol. 3, section 27.3.1.4).
 */
static inline u64 vcpu_next_rip(u64 rip, unsigned length, bool long_code)
{
	u64 next = rip + length;

	return long_code ? next : (u32)next;
}
