/* The local APIC in xAPIC form: registers in the page at 0xfee00000 (SDM vol. 3, chapter 11). */
#pragma once

#include "guest-tests/lib/types.h"

#define APIC_BASE 0xfee00000ul

#define APIC_ID        0x020
#define APIC_VERSION   0x030
#define APIC_TPR       0x080
#define APIC_EOI       0x0b0
#define APIC_SVR       0x0f0
#define APIC_IRR       0x200
#define APIC_ESR       0x280
#define APIC_ICR_LOW   0x300
#define APIC_ICR_HIGH  0x310
#define APIC_LVT_TIMER 0x320
#define APIC_TMICT     0x380
#define APIC_TMCCT     0x390
#define APIC_TDCR      0x3e0

#define APIC_LVT_MASKED   (1u << 16)
#define APIC_LVT_PERIODIC (1u << 17)
#define APIC_DIVIDE_BY_1  0xbu

#define APIC_ICR_FIXED        0x4000u /* level asserted; the vector is added */
#define APIC_ICR_INIT         0x4500u
#define APIC_ICR_SIPI         0x4600u
#define APIC_ICR_PENDING      0x1000u
#define APIC_ICR_SELF         0x40000u
#define APIC_ICR_ALL          0x80000u
#define APIC_ICR_ALL_BUT_SELF 0xc0000u

/* Each access is one plain 32-bit MOV. */
static inline u32 apic_read(u32 reg)
{
	u32 value;

	__asm__ volatile("movl (%1), %0" : "=r"(value) : "r"(APIC_BASE + reg) : "memory");
	return value;
}

static inline void apic_write(u32 reg, u32 value)
{
	__asm__ volatile("movl %0, (%1)" : : "r"(value), "r"(APIC_BASE + reg) : "memory");
}

/* Enables this CPU's APIC, timer masked, divide by 1. */
void apic_init(void);
u32 apic_id(void);
void apic_eoi(void);

/* Sends an interrupt command; waits until it has been accepted. FAILs after a second. */
void apic_command(u32 id, u32 command);
void apic_ipi(u32 id, u8 vector);
/* INIT, then SIPI twice with the page of `address` (below 1 MiB). */
void apic_start_cpu(u32 id, u32 address);

/* Timer on TRAP_VECTOR_TIMER after `ticks` of the bus clock, once or again and again. Each
 * interrupt raises cpu_self()->timer_ticks. */
void apic_timer_start(u32 ticks, bool periodic);
void apic_timer_stop(void);
