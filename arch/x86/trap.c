#include "arch/x86/trap.h"

#include "arch/hal.h"
#include "arch/x86/apic.h"
#include "arch/x86/panic.h"

struct ex_entry {
	u32 at;
	u32 to;
};
extern const struct ex_entry ex_table_start[], ex_table_end[]; /* linker.ld */

static void (*irq_handler[256])(struct trap_frame *frame);
static void (*nmi_handler)(void);

void trap_dispatch(struct trap_frame *frame); /* from trap_entry.S only */

static const char *const names[TRAP_EXCEPTIONS] = {
        [0] = "#DE divide error",
        [1] = "#DB debug",
        [2] = "NMI",
        [3] = "#BP breakpoint",
        [4] = "#OF overflow",
        [5] = "#BR bound range",
        [6] = "#UD invalid opcode",
        [7] = "#NM no FPU",
        [8] = "#DF double fault",
        [10] = "#TS invalid TSS",
        [11] = "#NP segment not present",
        [12] = "#SS stack segment",
        [13] = "#GP general protection",
        [14] = "#PF page fault",
        [16] = "#MF x87 error",
        [17] = "#AC alignment check",
        [18] = "#MC machine check",
        [19] = "#XM SIMD error",
        [20] = "#VE virtualization",
        [21] = "#CP control protection",
        [28] = "#HV hypervisor injection",
        [29] = "#VC VMM communication",
        [30] = "#SX security",
};

const char *trap_name(u64 vector)
{
	if (vector >= TRAP_EXCEPTIONS)
		return "interrupt";
	return names[vector] ? names[vector] : "reserved exception";
}

void trap_set_irq(u8 vector, void (*fn)(struct trap_frame *frame))
{
	ASSERT(vector >= TRAP_EXCEPTIONS);
	irq_handler[vector] = fn;
}

void trap_set_nmi(void (*fn)(void))
{
	nmi_handler = fn;
}

/* Spurious interrupts are not in service: an EOI would end another one. */
static void irq_run(u8 vector, struct trap_frame *frame)
{
	if (vector == IRQ_SPURIOUS)
		return;
	if (irq_handler[vector])
		irq_handler[vector](frame);
	else
		hal_log(HAL_WARN, "interrupt on vector %u, which nobody handles", vector);
	apic_eoi();
}

void trap_irq(u8 vector)
{
	if (vector >= TRAP_EXCEPTIONS)
		irq_run(vector, NULL);
}

void trap_nmi(void)
{
	if (panic_running())
		panic_park();
	if (nmi_handler)
		nmi_handler();
}

static bool fix_up(struct trap_frame *frame)
{
	if (frame->vector == TRAP_DF || frame->vector == TRAP_MC)
		return false;
	for (const struct ex_entry *e = ex_table_start; e < ex_table_end; e++) {
		if (e->at == frame->rip) {
			frame->rip = e->to;
			return true;
		}
	}
	return false;
}

void trap_dispatch(struct trap_frame *frame)
{
	if (frame->vector >= TRAP_EXCEPTIONS)
		irq_run((u8)frame->vector, frame);
	else if (frame->vector == TRAP_NMI)
		trap_nmi();
	else if (!fix_up(frame))
		panic_trap(frame);
}
