#include "arch/x86/init.h"

#include "arch/hal.h"
#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "arch/x86/fpu.h"
#include "arch/x86/hostmem.h"
#include "arch/x86/stack.h"
#include "arch/x86/time.h"

#define PIC1_COMMAND 0x20u
#define PIC1_DATA    0x21u
#define PIC2_COMMAND 0xa0u
#define PIC2_DATA    0xa1u
#define SPARE_STACKS 32u /* for threads, so that they rarely need a chunk made later */

/*
 * Both 8259s away from the exceptions, to vectors 0x20-0x2f, and masked: firmware leaves IRQ 0 on,
 * which would arrive as a double fault. The writes go nowhere where there is no PIC.
 */
static void pic_mask(void)
{
	out8(PIC1_COMMAND, 0x11);
	out8(PIC2_COMMAND, 0x11);
	out8(PIC1_DATA, 0x20);
	out8(PIC2_DATA, 0x28);
	out8(PIC1_DATA, 4);
	out8(PIC2_DATA, 2);
	out8(PIC1_DATA, 1);
	out8(PIC2_DATA, 1);
	out8(PIC1_DATA, 0xff);
	out8(PIC2_DATA, 0xff);
}

static bool alloc_ist_stacks(struct percpu *pc)
{
	static const char *const names[IST_COUNT] = {
	        "", "the NMI handler", "the double fault handler", "the machine check handler"};

	for (unsigned i = IST_NMI; i < IST_COUNT; i++) {
		u8 *low = stack_alloc(names[i]);

		if (!low)
			return false;
		pc->ist_top[i] = (u64)(uintptr_t)(low + STACK_BYTES);
	}
	return true;
}

void arch_init_bsp(const struct arch_boot *boot)
{
	pic_mask();
	percpu_boot.apic_id = cpu_apic_id();
	percpu_add(&percpu_boot);
	paging_init(boot->ram, boot->nr_ram);
	hostmem_reach_all();
	cpu_init_control();
	stack_adopt(boot->stack_low, boot->stack_high, "the boot CPU");
	percpu_boot.stack_low = boot->stack_low;
	percpu_boot.stack_high = boot->stack_high;
	/* IST_COUNT: three for the IST and one to run on. */
	stack_init(boot->nr_cpus * IST_COUNT + SPARE_STACKS);
	if (!alloc_ist_stacks(&percpu_boot))
		hal_panic("no memory for the first stacks");
	desc_load(&percpu_boot);
	fpu_init_cpu();
	time_init();
	apic_init(boot->lapic_base);
}

struct percpu *arch_prepare_ap(u32 apic_id)
{
	struct percpu *pc = percpu_alloc(apic_id);

	if (!pc || !alloc_ist_stacks(pc))
		return NULL;
	/* The number it will get: it takes locks before percpu_add(). */
	pc->cpu = hal_cpu_count();
	return pc;
}

void arch_init_ap(struct percpu *pc)
{
	cpu_init_control();
	desc_load(pc);
	fpu_init_cpu();
	apic_init_cpu();
	paging_sync();
}
