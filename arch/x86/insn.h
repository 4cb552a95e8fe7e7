/* Single instructions as functions, and the exception table. No state. */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

/*
 * An instruction that may fault: `EX_TABLE(1, 2)` inside the assembly text says that a fault at
 * label 1 continues at label 2. Works in every context but NMI and machine check.
 */
#define EX_TABLE(at, to)                              \
	".pushsection __ex_table, \"a\", @progbits\n" \
	".balign 4\n"                                 \
	".long " #at "b, " #to "b\n"                  \
	".popsection\n"

struct cpuid_regs {
	u32 eax, ebx, ecx, edx;
};

static inline struct cpuid_regs cpuid(u32 leaf, u32 subleaf)
{
	struct cpuid_regs r;

	__asm__ volatile("cpuid"
	                 : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
	                 : "a"(leaf), "c"(subleaf));
	return r;
}

static inline void out8(u16 port, u8 v)
{
	__asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port));
}
static inline void out32(u16 port, u32 v)
{
	__asm__ volatile("outl %0, %1" ::"a"(v), "Nd"(port));
}
static inline u8 in8(u16 port)
{
	u8 v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline u32 in32(u16 port)
{
	u32 v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

/* One access of exactly so many bits to memory-mapped registers. */
static inline u8 mmio_read8(const void *at)
{
	u8 v;

	__asm__ volatile("movb %1, %0" : "=r"(v) : "m"(*(const u8 *)at) : "memory");
	return v;
}
static inline void mmio_write8(void *at, u8 v)
{
	__asm__ volatile("movb %1, %0" : "=m"(*(u8 *)at) : "r"(v) : "memory");
}
static inline u16 mmio_read16(const void *at)
{
	u16 v;

	__asm__ volatile("movw %1, %0" : "=r"(v) : "m"(*(const u16 *)at) : "memory");
	return v;
}
static inline void mmio_write16(void *at, u16 v)
{
	__asm__ volatile("movw %1, %0" : "=m"(*(u16 *)at) : "r"(v) : "memory");
}
static inline u32 mmio_read32(const void *at)
{
	u32 v;

	__asm__ volatile("movl %1, %0" : "=r"(v) : "m"(*(const u32 *)at) : "memory");
	return v;
}
static inline void mmio_write32(void *at, u32 v)
{
	__asm__ volatile("movl %1, %0" : "=m"(*(u32 *)at) : "r"(v) : "memory");
}

static inline u64 msr_read(u32 msr)
{
	u32 lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
	return (u64)hi << 32 | lo;
}
static inline void msr_write(u32 msr, u64 v)
{
	__asm__ volatile("wrmsr" ::"c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}
/* False (and *v = 0) if the CPU has no such MSR. */
static inline must_check bool msr_read_safe(u32 msr, u64 *v)
{
	u32 lo = 0, hi = 0, bad = 1;

	__asm__ volatile("1: rdmsr\n"
	                 "   xorl %k2, %k2\n"
	                 "2:\n" EX_TABLE(1, 2)
	                 : "+a"(lo), "+d"(hi), "+r"(bad)
	                 : "c"(msr)
	                 : "memory", "cc");
	*v = (u64)hi << 32 | lo;
	return bad == 0;
}
/* False if the CPU refuses the MSR or the value. */
static inline must_check bool msr_write_safe(u32 msr, u64 v)
{
	u32 bad = 1;

	__asm__ volatile("1: wrmsr\n"
	                 "   xorl %k0, %k0\n"
	                 "2:\n" EX_TABLE(1, 2)
	                 : "+r"(bad)
	                 : "c"(msr), "a"((u32)v), "d"((u32)(v >> 32))
	                 : "memory", "cc");
	return bad == 0;
}
/* Reads a word that may not be mapped; false if the access faults. */
static inline must_check bool arch_probe_read64(const void *at, u64 *v)
{
	u32 bad = 1;
	u64 r = 0;

	__asm__ volatile("1: movq %2, %1\n"
	                 "   xorl %k0, %k0\n"
	                 "2:\n" EX_TABLE(1, 2)
	                 : "+r"(bad), "+r"(r)
	                 : "m"(*(const u64 *)at)
	                 : "memory", "cc");
	*v = r;
	return bad == 0;
}
/* Writes a word that may not be writable; false if the access faults. */
static inline must_check bool arch_probe_write64(void *at, u64 v)
{
	u32 bad = 1;

	__asm__ volatile("1: movq %2, %1\n"
	                 "   xorl %k0, %k0\n"
	                 "2:\n" EX_TABLE(1, 2)
	                 : "+r"(bad), "=m"(*(u64 *)at)
	                 : "r"(v)
	                 : "memory", "cc");
	return bad == 0;
}

#define CR_ACCESSORS(n)                                                      \
	static inline u64 cr##n##_read(void)                                 \
	{                                                                    \
		u64 v;                                                       \
		__asm__ volatile("movq %%cr" #n ", %0" : "=r"(v)::"memory"); \
		return v;                                                    \
	}                                                                    \
	static inline void cr##n##_write(u64 v)                              \
	{                                                                    \
		__asm__ volatile("movq %0, %%cr" #n ::"r"(v) : "memory");    \
	}
CR_ACCESSORS(0)
CR_ACCESSORS(2)
CR_ACCESSORS(3)
CR_ACCESSORS(4)

#define DR_ACCESSORS(n)                                            \
	static inline u64 dr##n##_read(void)                       \
	{                                                          \
		u64 v;                                             \
		__asm__ volatile("movq %%db" #n ", %0" : "=r"(v)); \
		return v;                                          \
	}                                                          \
	static inline void dr##n##_write(u64 v)                    \
	{                                                          \
		__asm__ volatile("movq %0, %%db" #n ::"r"(v));     \
	}
DR_ACCESSORS(0)
DR_ACCESSORS(1)
DR_ACCESSORS(2)
DR_ACCESSORS(3)
DR_ACCESSORS(6)

static inline u64 xcr0_read(void)
{
	u32 lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (u64)hi << 32 | lo;
}
/* CR4.OSXSAVE must be set and `v` be valid, else #GP. */
static inline void xcr0_write(u64 v)
{
	__asm__ volatile("xsetbv" ::"c"(0), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}

/* The handlers of NMI and machine check, for one that made a guest leave and that the CPU has not delivered. */
static inline void int_nmi(void)
{
	__asm__ volatile("int $2" ::: "memory");
}
static inline void int_machine_check(void)
{
	__asm__ volatile("int $18" ::: "memory");
}
/* The word at FS base; a thread stays on its CPU, so not volatile. */
static inline void *fs_self(void)
{
	void *p;

	__asm__("movq %%fs:0, %0" : "=r"(p));
	return p;
}
/* The global interrupt flag: while it is clear, NMIs wait as well (APM vol. 2, section 15.17). */
static inline void gif_clear(void)
{
	__asm__ volatile("clgi" ::: "memory");
}
static inline void gif_set(void)
{
	__asm__ volatile("stgi" ::: "memory");
}

static inline u64 tsc_read(void)
{
	u32 lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi)::"memory");
	return (u64)hi << 32 | lo;
}
static inline void cpu_pause(void)
{
	__asm__ volatile("pause" ::: "memory");
}
static inline void irq_disable(void)
{
	__asm__ volatile("cli" ::: "memory");
}
static inline bool irq_enabled(void)
{
	u64 flags;

	__asm__ volatile("pushfq\n popq %0" : "=r"(flags)::"memory");
	return (flags & BIT(9)) != 0;
}
/* Takes the interrupts that are pending now, then goes on with interrupts off. */
static inline void irq_window(void)
{
	__asm__ volatile("sti\n nop\n cli" ::: "memory");
}
/*
 * Sleeps until an interrupt or NMI has been handled; interrupts are off before and after. What the
 * caller checked with interrupts off cannot be missed: sti takes effect behind the hlt.
 */
static inline void cpu_idle(void)
{
	__asm__ volatile("sti\n hlt\n cli" ::: "memory");
}
static inline noreturn_fn void cpu_halt_forever(void)
{
	for (;;)
		__asm__ volatile("cli\n hlt" ::: "memory");
}
static inline void tlb_flush_page(u64 va)
{
	__asm__ volatile("invlpg (%0)" ::"r"(va) : "memory");
}
/* The whole TLB of this CPU; no page of ours is global. */
static inline void tlb_flush_local(void)
{
	cr3_write(cr3_read());
}
