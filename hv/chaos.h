/*
 * Chaos: at every so many exits of any vCPU, one random resident page of a random VM is evicted, however
 * young. So every path of the hypervisor and every instruction of a guest meets pages that are away.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"

/*
 * At an exit that brought a page in, a VM with fewer resident pages than this is spared. One instruction may
 * need some twenty pages at a time: code, data and stack, each with up to four guest page tables. If the
 * fault for one of them always cost one of the few others, it would never see all of them together. Other
 * exits take the last page, too.
 */
#define CHAOS_FLOOR 24u

extern a32 chaos_period; /* to be changed by chaos_set() only */

/* At every `every`-th exit from now on; 0: off. Any context. */
void chaos_set(u32 every);
/* The pages that were chosen, and what became of them, on the console; nothing if there was no chaos. */
void chaos_report(void);

void chaos_strike(bool faulted) __attribute__((cold, noinline));
/*
 * After an exit was handled, `faulted`: a second-level fault. No lock held, not in an epoch section, this vCPU
 * outside of its guest.
 */
static inline void chaos_exit(bool faulted)
{
	if (unlikely(a32_load(&chaos_period)))
		chaos_strike(faulted);
}
