/* hang: halts for ever with interrupts off. The machine has to notice. No arguments. */
#include "guest-tests/lib/guest.h"

void guest_main(void)
{
	console_printf("hang: no interrupt will end this\n");
	cpu_stop();
}
