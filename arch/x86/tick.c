/*
 * The PIT's channel 0 through the I/O APIC, delivered as an NMI: to all CPUs, for the PIT has one pin.
 *
 * A guest that runs with interrupts off leaves for the host's interrupt all the same, says either manual. Bochs 2.7 keeps it
 * back (docs/decisions.md, 29), but not an NMI. Of what can be an NMI there only an I/O APIC's entry repeats by itself:
 * the local APIC's timer is always a fixed interrupt, and nothing raises its performance counter entry.
 *
 * The tick does not look at deadlines. The guest leaves, and the host's timer interrupt, which was pending, comes in the
 * window that hv/exit.c opens, and does what it always does.
 */
#include "arch/x86/tick.h"

#include "arch/hal.h"
#include "arch/x86/insn.h"
#include "arch/x86/paging.h"

/* 82093AA, chapter 3. */
#define IOAPIC_BASE    0xfec00000ull
#define IOAPIC_SELECT  0x00u
#define IOAPIC_WINDOW  0x10u
#define IOAPIC_VERSION 1u
#define IOAPIC_ENTRY   0x10u /* the first, two registers each */
#define PIN_PIT        2u    /* where IRQ 0 is, as ever since MP machines exist */
#define ENTRY_NMI      (4u << 8)
#define ENTRY_MASKED   (u32) BIT(16)
#define ENTRY_ALL      (0xffu << 24) /* upper half: physical destination, everybody */

/* 8254 */
#define PIT_HZ        1193182u
#define PIT_CHANNEL_0 0x40u
#define PIT_COMMAND   0x43u
#define PIT_RATE      0x34u /* channel 0, both bytes, mode 2 */
#define TICK_HZ       250u

static u8 *ioapic;

static u32 ioapic_read(u32 reg)
{
	mmio_write32(ioapic + IOAPIC_SELECT, reg);
	return mmio_read32(ioapic + IOAPIC_WINDOW);
}

static void ioapic_write(u32 reg, u32 value)
{
	mmio_write32(ioapic + IOAPIC_SELECT, reg);
	mmio_write32(ioapic + IOAPIC_WINDOW, value);
}

bool tick_start(void)
{
	u32 pins;

	ioapic = map_mmio(hpa(IOAPIC_BASE), PAGE_SIZE);
	pins = ioapic_read(IOAPIC_VERSION);
	if (pins == ~0u || (pins >> 16 & 0xff) < PIN_PIT)
		return false;
	out8(PIT_COMMAND, PIT_RATE);
	out8(PIT_CHANNEL_0, PIT_HZ / TICK_HZ & 0xff);
	out8(PIT_CHANNEL_0, PIT_HZ / TICK_HZ >> 8);
	ioapic_write(IOAPIC_ENTRY + 2 * PIN_PIT, ENTRY_MASKED);
	ioapic_write(IOAPIC_ENTRY + 2 * PIN_PIT + 1, ENTRY_ALL);
	ioapic_write(IOAPIC_ENTRY + 2 * PIN_PIT, ENTRY_NMI);
	return true;
}
