/*
 * nomem: an image that demands more memory than the VM has: 1 GiB of .bss. Varve must refuse it by
 * name before anything runs. No arguments. Give the VM less than 1 GiB.
 */
#include "guest-tests/lib/guest.h"

#define DEMAND (1ul << 30)

/* guest.ld puts this section last, so that everything else of the image does have memory. */
static u8 demand[DEMAND] __attribute__((section(".bss.huge"), used));

void guest_main(void)
{
	VERDICT_CHECK(mem_top() < (u64)demand + DEMAND, "this guest needs less memory");
	verdict_fail("started, although the image ends at 0x%lx and memory at 0x%lx",
	             (u64)demand + DEMAND, mem_top());
}
