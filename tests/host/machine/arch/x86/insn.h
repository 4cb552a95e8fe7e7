/*
 * The instructions of arch/x86/insn.h that a program of the build machine may not execute, or that would do
 * something to it, as functions of a simulated CPU (tests/host/cpu_regs.c). Found before the other one, by the order
 * of the include folders, in everything that is built for the build machine.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

struct cpuid_regs {
	u32 eax, ebx, ecx, edx;
};

struct cpuid_regs cpuid(u32 leaf, u32 subleaf);
u64 msr_read(u32 msr);
void msr_write(u32 msr, u64 v);
bool msr_read_safe(u32 msr, u64 *v) must_check;
bool msr_write_safe(u32 msr, u64 v) must_check;
u64 cr0_read(void);
u64 cr2_read(void);
u64 cr3_read(void);
u64 cr4_read(void);
void cr2_write(u64 v);
void cr3_write(u64 v);
u64 dr0_read(void);
u64 dr1_read(void);
u64 dr2_read(void);
u64 dr3_read(void);
u64 dr6_read(void);
void dr0_write(u64 v);
void dr1_write(u64 v);
void dr2_write(u64 v);
void dr3_write(u64 v);
void dr6_write(u64 v);
u64 xcr0_read(void);
void xcr0_write(u64 v);
u64 tsc_read(void);
void int_nmi(void);
void int_machine_check(void);
void gif_clear(void);
void gif_set(void);
void *fs_self(void);
static inline void tlb_flush_page(u64 va)
{
	(void)va;
}
static inline void tlb_flush_local(void)
{
}
