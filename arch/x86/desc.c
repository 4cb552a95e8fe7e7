#include "arch/x86/desc.h"

#include "arch/x86/insn.h"
#include "arch/x86/percpu.h"
#include "arch/x86/regs.h"
#include "arch/x86/trap.h"

/* Intel SDM vol. 3, figure 6-8. */
struct idt_gate {
	u16 offset0;
	u16 selector;
	u8 ist;
	u8 type; /* 0x8e: present, ring 0, interrupt gate */
	u16 offset16;
	u32 offset32;
	u32 reserved;
};
static_assert(sizeof(struct idt_gate) == 16, "IDT layout");

#define TRAP_STUB_BYTES 16u
extern const u8 trap_stubs[]; /* trap_entry.S: 256 stubs of TRAP_STUB_BYTES */

static struct idt_gate idt[IDT_ENTRIES] aligned_to(PAGE_SIZE);

static void idt_load(void)
{
	struct desc_ptr p = {.limit = sizeof(idt) - 1, .base = (u64)(uintptr_t)idt};

	__asm__ volatile("lidt %0" ::"m"(p));
}

static void gdt_load(const struct percpu *pc)
{
	struct desc_ptr p = {.limit = sizeof(pc->gdt) - 1, .base = desc_gdt_base(pc)};

	__asm__ volatile("lgdt %0" ::"m"(p));
}

void desc_init_early(void)
{
	for (unsigned i = 0; i < IDT_ENTRIES; i++) {
		u64 at = (u64)(uintptr_t)trap_stubs + i * TRAP_STUB_BYTES;

		idt[i] = (struct idt_gate){
		        .offset0 = (u16)at,
		        .selector = SEL_CODE,
		        .type = 0x8e,
		        .offset16 = (u16)(at >> 16),
		        .offset32 = (u32)(at >> 32),
		};
	}
	idt_load();
}

static void fill_gdt(struct percpu *pc)
{
	u64 base = (u64)(uintptr_t)&pc->tss;

	pc->gdt[0] = 0;
	pc->gdt[SEL_CODE / 8] = 0x00af9b000000ffff;
	pc->gdt[SEL_DATA / 8] = 0x00cf93000000ffff;
	pc->gdt[SEL_CODE32 / 8] = 0x00cf9b000000ffff;
	/* Available 64-bit TSS; base 23..0 in bits 39..16, 31..24 in 63..56. */
	pc->gdt[SEL_TSS / 8] = (TSS_BYTES - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 |
	                       (base >> 24 & 0xff) << 56;
	pc->gdt[SEL_TSS / 8 + 1] = base >> 32;
}

static void fill_tss(struct percpu *pc)
{
	pc->tss = (struct tss){.iomap_base = TSS_BYTES};
	for (unsigned i = IST_NMI; i < IST_COUNT; i++)
		pc->tss.ist[i - 1] = pc->ist_top[i];
}

void desc_load(struct percpu *pc)
{
	fill_tss(pc);
	fill_gdt(pc);
	gdt_load(pc);
	__asm__ volatile("ltr %w0" ::"r"(SEL_TSS));
	msr_write(MSR_FS_BASE, (u64)(uintptr_t)pc);
	/* The boot CPU comes first: the others load an IDT that has the stacks. */
	idt[TRAP_NMI].ist = IST_NMI;
	idt[TRAP_DF].ist = IST_DF;
	idt[TRAP_MC].ist = IST_MC;
	idt_load();
}

u64 desc_idt_base(void)
{
	return (u64)(uintptr_t)idt;
}

u64 desc_gdt_base(const struct percpu *pc)
{
	return (u64)(uintptr_t)pc->gdt;
}

u64 desc_tss_base(const struct percpu *pc)
{
	return (u64)(uintptr_t)&pc->tss;
}
