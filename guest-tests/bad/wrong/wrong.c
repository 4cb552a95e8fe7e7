/* wrong: reports FAIL on purpose. No arguments. */
#include "guest-tests/lib/guest.h"

void guest_main(void)
{
	verdict_fail("on purpose");
}
