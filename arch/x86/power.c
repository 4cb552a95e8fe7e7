#include "arch/x86/power.h"

#include "arch/x86/console.h"
#include "arch/x86/insn.h"

#define PORT_QEMU_EXIT 0xf4u   /* isa-debug-exit: status = value * 2 + 1 */
#define PORT_BOCHS     0x8900u /* ends Bochs when it has read "Shutdown" */

void machine_exit(bool pass)
{
	irq_disable();
	console_drain();
	out32(PORT_QEMU_EXIT, pass ? 0 : 1);
	for (const char *s = "Shutdown"; *s; s++)
		out8(PORT_BOCHS, (u8)*s);
	cpu_halt_forever();
}
