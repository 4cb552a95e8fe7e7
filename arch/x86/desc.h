/* GDT, TSS and IDT. Each CPU has its own GDT and TSS (in its struct percpu); the IDT is shared. */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

/* Selectors. All of them are the same on every CPU. */
#define SEL_CODE   0x08u
#define SEL_DATA   0x10u
#define SEL_CODE32 0x18u
#define SEL_TSS    0x20u /* 16 bytes */

#define GDT_ENTRIES 6u
#define IDT_ENTRIES 256u
#define TSS_BYTES   104u

enum ist { IST_NONE, IST_NMI, IST_DF, IST_MC, IST_COUNT };

/* Intel SDM vol. 3, section 8.7. */
struct tss {
	u32 reserved0;
	u64 rsp[3];
	u64 reserved1;
	u64 ist[7]; /* ist[0] is IST 1 */
	u64 reserved2;
	u16 reserved3;
	u16 iomap_base;
} packed;
static_assert(sizeof(struct tss) == TSS_BYTES, "TSS layout");

struct desc_ptr {
	u16 limit;
	u64 base;
} packed;

struct percpu;

/* IDT for the boot CPU before its TSS exists: every vector on the current stack. */
void desc_init_early(void);
/*
 * Fills GDT and TSS of `pc` (its ist_top[] is set) and loads them, the IDT, and the FS base of this
 * CPU. From the first call on the vectors NMI, #DF and #MC use their IST stacks.
 */
void desc_load(struct percpu *pc);
/* What a vendor needs for its host state. */
u64 desc_idt_base(void);
u64 desc_gdt_base(const struct percpu *pc);
u64 desc_tss_base(const struct percpu *pc);
