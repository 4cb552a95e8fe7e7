/*
 * Exceptions, NMI and interrupts of the hypervisor itself. An exception without an entry in the
 * exception table is a bug of ours: it is reported and the machine ends with FAIL.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

/* As trap_entry.S pushes it. */
struct trap_frame {
	u64 r15, r14, r13, r12, r11, r10, r9, r8;
	u64 rbp, rdi, rsi, rdx, rcx, rbx, rax;
	u64 vector, error;
	u64 rip, cs, rflags, rsp, ss;
};

enum trap_vector {
	TRAP_DE = 0,
	TRAP_DB = 1,
	TRAP_NMI = 2,
	TRAP_BP = 3,
	TRAP_UD = 6,
	TRAP_DF = 8,
	TRAP_GP = 13,
	TRAP_PF = 14,
	TRAP_MC = 18,
	TRAP_EXCEPTIONS = 32, /* vectors from here on are interrupts */
};

/* Interrupt vectors of the hypervisor. 0x20-0x2f stay unused: that is where a PIC may be. */
enum irq_vector {
	IRQ_TIMER = 0xe0,
	IRQ_KICK = 0xe1, /* look at your work: rescheduling, TLB flushes */
	IRQ_SPURIOUS = 0xff,
};

/*
 * Handler of an interrupt vector (>= 32), the same on every CPU; set it before interrupts can come.
 * It runs with interrupts off; the EOI is sent for it afterwards. `frame` is NULL when a vendor
 * passes on an interrupt that it took from a guest. A vector without handler is counted, not fatal.
 */
void trap_set_irq(u8 vector, void (*fn)(struct trap_frame *frame));
/* Called for every NMI, in NMI context: no locks, no log, nothing that can fault. */
void trap_set_nmi(void (*fn)(void));
/* For a vendor whose exit acknowledged the interrupt: runs the handler and sends the EOI. */
void trap_irq(u8 vector);
/* The same for an NMI that arrived as an exit. NMI context. */
void trap_nmi(void);
/* "#GP general protection", "NMI", ..., "interrupt". */
const char *trap_name(u64 vector);
