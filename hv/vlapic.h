/*
 * The local APIC of a virtual CPU, xAPIC mode (Intel SDM vol. 3, chapter 11): state and rules only.
 * Pure: time comes as an argument, and what has to happen elsewhere (an IPI, a timer) goes out as a
 * result. Registers belong to the vCPU's own thread; other CPUs only post vectors.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"

#define VLAPIC_BASE    0xfee00000ull
#define VLAPIC_HZ      1000000000ull /* of the timer before its divider: a tick is a nanosecond */
#define VLAPIC_VERSION 0x00050014u   /* six LVT entries, an integrated APIC */
#define VLAPIC_REGS    64u           /* 16 bytes apart */

/* Register offsets (table 11-1). */
enum vlapic_reg {
	VLAPIC_ID = 0x20,
	VLAPIC_VER = 0x30,
	VLAPIC_TPR = 0x80,
	VLAPIC_APR = 0x90,
	VLAPIC_PPR = 0xa0,
	VLAPIC_EOI = 0xb0,
	VLAPIC_LDR = 0xd0,
	VLAPIC_DFR = 0xe0,
	VLAPIC_SVR = 0xf0,
	VLAPIC_ISR = 0x100,
	VLAPIC_TMR = 0x180,
	VLAPIC_IRR = 0x200,
	VLAPIC_ESR = 0x280,
	VLAPIC_LVT_CMCI = 0x2f0,
	VLAPIC_ICR = 0x300,
	VLAPIC_ICR_HIGH = 0x310,
	VLAPIC_LVT_TIMER = 0x320,
	VLAPIC_LVT_THERMAL = 0x330,
	VLAPIC_LVT_PERF = 0x340,
	VLAPIC_LVT_LINT0 = 0x350,
	VLAPIC_LVT_LINT1 = 0x360,
	VLAPIC_LVT_ERROR = 0x370,
	VLAPIC_TIMER_INITIAL = 0x380,
	VLAPIC_TIMER_CURRENT = 0x390,
	VLAPIC_TIMER_DIVIDE = 0x3e0,
};

#define VLAPIC_SVR_ENABLE   BIT(8)
#define VLAPIC_LVT_MASKED   BIT(16)
#define VLAPIC_LVT_PERIODIC BIT(17)
#define VLAPIC_ESR_SEND_BAD BIT(5) /* a vector below 16 was to be sent */
#define VLAPIC_ESR_RECV_BAD BIT(6)
#define VLAPIC_ESR_ILLEGAL  BIT(7) /* no such register */

struct vlapic {
	u32 id;
	u32 tpr, ldr, dfr, svr;
	u32 esr_pending, esr;
	u32 icr_low, icr_high;
	u32 lvt_timer, lvt_thermal, lvt_perf, lvt_lint[2], lvt_error;
	u32 divide, initial;
	u64 timer_start_ns; /* when the count that runs began */
	bool timer_on;
	u32 isr[8];
	a32 irr[8]; /* set by any CPU, cleared by the owner */
};

enum vlapic_delivery {
	VLAPIC_FIXED = 0,
	VLAPIC_LOWEST = 1,
	VLAPIC_NMI = 4,
	VLAPIC_INIT = 5,
	VLAPIC_STARTUP = 6,
};

struct vlapic_ipi {
	enum vlapic_delivery delivery;
	u8 vector;
	enum { VLAPIC_TO_DEST, VLAPIC_TO_SELF, VLAPIC_TO_ALL, VLAPIC_TO_OTHERS } shorthand;
	bool logical;
	u8 dest;
};

/* What a register write asks for besides. */
struct vlapic_effect {
	bool check;         /* an interrupt may be deliverable now */
	bool timer_changed; /* vlapic_timer_deadline() has a new answer */
	bool send;          /* `ipi` is to be delivered */
	struct vlapic_ipi ipi;
};

/* State after power-up, also after INIT. */
void vlapic_reset(struct vlapic *a, u32 id);
/* offset: of the register in its page, 16-byte aligned. Registers that do not exist read 0. */
u32 vlapic_read(struct vlapic *a, u32 offset, u64 now_ns);
void vlapic_write(struct vlapic *a, u32 offset, u32 value, u64 now_ns, struct vlapic_effect *out);

/* Any CPU: a fixed interrupt arrives. True if it was not pending before. Vectors below 16: ignored. */
bool vlapic_post(struct vlapic *a, u8 vector);
/* Is this APIC meant by a destination? A physical destination 0xff means all. */
bool vlapic_is_dest(const struct vlapic *a, const struct vlapic_ipi *ipi,
                    const struct vlapic *from);
/* The vector to be delivered now, -1 if none is above the processor's priority. */
int vlapic_pending(const struct vlapic *a);
/* vlapic_pending() has been injected: in service. */
void vlapic_accept(struct vlapic *a, u8 vector);
/* It was accepted, but could not be delivered: it is pending again. */
void vlapic_give_back(struct vlapic *a, u8 vector);
/* CR8 of the guest: the priority class in TPR. */
void vlapic_set_cr8(struct vlapic *a, u8 class);
static inline u8 vlapic_cr8(const struct vlapic *a)
{
	return (u8)(a->tpr >> 4);
}

/* When the timer is to fire, ~0 if it does not run. */
u64 vlapic_timer_deadline(const struct vlapic *a);
/* The deadline has passed: posts the vector, goes on if periodic. True: an interrupt was posted. */
bool vlapic_timer_fire(struct vlapic *a, u64 now_ns);
