/* What the boot CPU tells the CPU it starts; shared by entry.S and smp.c. */
#pragma once

#define MAILBOX_STATE   0
#define MAILBOX_APIC_ID 4
#define MAILBOX_CR3     8
#define MAILBOX_STACK   16
#define MAILBOX_PERCPU  24

#define MAILBOX_CLOSED  0 /* nobody is expected: a CPU that comes parks */
#define MAILBOX_OPEN    1 /* the CPU with this APIC ID is expected */
#define MAILBOX_CLAIMED 2 /* it is on its way to C */
#define MAILBOX_UP      3 /* it is in C and needs the mailbox no more */

#define BOOT_GDT_BYTES 32 /* of the GDT in entry.S */

#ifndef __ASSEMBLER__
#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"

struct mailbox {
	a32 state;
	u32 apic_id;
	u64 cr3;
	u64 stack_top;
	u64 percpu;
};
static_assert(offsetof(struct mailbox, state) == MAILBOX_STATE, "entry.S");
static_assert(offsetof(struct mailbox, apic_id) == MAILBOX_APIC_ID, "entry.S");
static_assert(offsetof(struct mailbox, cr3) == MAILBOX_CR3, "entry.S");
static_assert(offsetof(struct mailbox, stack_top) == MAILBOX_STACK, "entry.S");
static_assert(offsetof(struct mailbox, percpu) == MAILBOX_PERCPU, "entry.S");
#endif
