/* The block of one CPU, at FS base. */
#pragma once

#include "arch/x86/desc.h"
#include "arch/x86/insn.h"
#include "lib/types.h"
#include "lib/util.h"

struct fpu_area;

struct percpu {
	struct percpu *self; /* this_cpu() reads it at %fs:0 */
	u32 cpu;             /* hal_cpu_id() */
	u32 apic_id;
	u64 reserved[3];
	u64 canary; /* the compilers look for it at %fs:0x28 */
	/* Bounds of the stack that runs now, for the backtrace; context_switch() changes them. */
	u64 stack_low;
	u64 stack_high;
	struct fpu_area *fpu_live; /* whose state the FPU registers hold; fpu.c */
	bool fpu_borrowed;         /* between hal_fpu_begin() and hal_fpu_end() */
	u32 paging_seen;           /* paging_sync() */
	u32 panic_depth;           /* panic.c */
	void *vendor;              /* of the vendor's code, its own per-CPU block */
	void *hv;                  /* of hv, its own per-CPU block */
	u64 ist_top[IST_COUNT];    /* 0 until the stacks exist */
	u64 gdt[GDT_ENTRIES] aligned_to(16);
	struct tss tss aligned_to(128); /* never across a page boundary */
} aligned_to(128);
static_assert(offsetof(struct percpu, canary) == 0x28, "stack protector ABI");
static_assert(sizeof(struct percpu) <= PAGE_SIZE, "one page for each CPU");

/* The boot CPU's, in use from the first line of C on. */
extern struct percpu percpu_boot;

static inline struct percpu *this_cpu(void)
{
	return fs_self();
}
/* The block of CPU `cpu`, NULL if there is no such CPU (yet). Any context. */
struct percpu *percpu_of(unsigned cpu);
/* Makes the block known as CPU hal_cpu_count() and counts it. Boot CPU only, one at a time. */
void percpu_add(struct percpu *pc);
/* A new block; NULL without memory. */
struct percpu *percpu_alloc(u32 apic_id) must_check;
