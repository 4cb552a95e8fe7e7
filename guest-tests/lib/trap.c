#include "guest-tests/lib/trap.h"

#include "guest-tests/lib/apic.h"
#include "guest-tests/lib/console.h"
#include "guest-tests/lib/cpu.h"
#include "guest-tests/lib/layout.h"
#include "guest-tests/lib/smp.h"
#include "guest-tests/lib/verdict.h"

#define STUB_SIZE 16

struct gate {
	u16 offset_low, selector;
	u8 ist, type;
	u16 offset_mid;
	u32 offset_high, reserved;
};

struct table_pointer {
	u16 limit;
	u64 base;
} __attribute__((packed));

struct fixup {
	u64 from, to;
};

_Static_assert(sizeof(struct gate) == 16, "64-bit IDT gate, SDM vol. 3, 6.14.1");

extern char trap_stubs[];
extern u64 gdt[];
extern const struct table_pointer gdt_pointer;
extern const struct fixup trap_fixups[], trap_fixups_end[];
extern char trap_try_landing[];
extern void trap_try_call(void (*function)(void *arg), void *arg, u64 *rsp_save);

void trap_dispatch(struct trap_frame *frame);

static struct gate idt[256];
static trap_handler_t handlers[256];

void trap_init(void)
{
	for (unsigned i = 0; i < 256; i++) {
		u64 stub = (u64)trap_stubs + i * STUB_SIZE;

		idt[i] = (struct gate){
		        .offset_low = (u16)stub,
		        .selector = SEL_CODE64,
		        .ist = i == TRAP_DF,
		        .type = 0x8e, /* present, 64-bit interrupt gate */
		        .offset_mid = (u16)(stub >> 16),
		        .offset_high = (u32)(stub >> 32),
		};
	}
	trap_init_cpu();
}

void trap_init_cpu(void)
{
	struct cpu *cpu = cpu_self();
	struct table_pointer pointer = {sizeof(idt) - 1, (u64)idt};
	u64 tss = (u64)&cpu->tss;
	u64 *desc = &gdt[SEL_TSS / 8 + 2 * cpu->id];

	cpu->tss.ist1 = (u64)cpu + CPU_IST_TOP;
	cpu->tss.io_map = sizeof(cpu->tss);
	desc[0] = (sizeof(cpu->tss) - 1) | (tss & 0xffffff) << 16 | 0x89ull << 40 |
	          (tss >> 24 & 0xff) << 56;
	desc[1] = tss >> 32;
	__asm__ volatile("lgdt %0" : : "m"(gdt_pointer));
	__asm__ volatile("lidt %0" : : "m"(pointer));
	__asm__ volatile("ltr %w0" : : "r"(SEL_TSS + 16 * cpu->id));
}

void trap_set(u8 vector, trap_handler_t handler)
{
	handlers[vector] = handler;
}

/* One call each, so that the lines stay together as far as they can. */
static void report(const struct trap_frame *f)
{
	console_printf("trap %lu error 0x%lx rip 0x%lx cs 0x%lx flags 0x%lx cpu %u cr2 0x%lx\n"
	               "  rax %016lx rbx %016lx rcx %016lx rdx %016lx\n"
	               "  rsi %016lx rdi %016lx rbp %016lx rsp %016lx\n"
	               "  r8  %016lx r9  %016lx r10 %016lx r11 %016lx\n"
	               "  r12 %016lx r13 %016lx r14 %016lx r15 %016lx\n"
	               "  cr0 %016lx cr3 %016lx cr4 %016lx\n",
	               f->vector, f->error, f->rip, f->cs, f->rflags, cpu_self()->id, cr2_read(),
	               f->rax, f->rbx, f->rcx, f->rdx, f->rsi, f->rdi, f->rbp, f->rsp, f->r8, f->r9,
	               f->r10, f->r11, f->r12, f->r13, f->r14, f->r15, cr0_read(), cr3_read(),
	               cr4_read());
}

static bool fix_up(struct trap_frame *frame)
{
	for (const struct fixup *f = trap_fixups; f < trap_fixups_end; f++)
		if (f->from == frame->rip) {
			cpu_self()->trap_caught = (u32)frame->vector + 1;
			frame->rip = f->to;
			return true;
		}
	return false;
}

/* Goes back to trap_try(): its stack, and the end of trap_try_call(). */
static bool leave_try(struct trap_frame *frame)
{
	struct cpu *cpu = cpu_self();

	if (!cpu->trap_try_rsp)
		return false;
	cpu->trap_caught = (u32)frame->vector + 1;
	frame->rsp = cpu->trap_try_rsp;
	frame->rip = (u64)trap_try_landing;
	return true;
}

int trap_try(void (*function)(void *arg), void *arg)
{
	struct cpu *cpu = cpu_self();

	cpu->trap_caught = 0;
	trap_try_call(function, arg, &cpu->trap_try_rsp);
	cpu->trap_try_rsp = 0;
	return (int)cpu->trap_caught - 1;
}

int trap_rdmsr(u32 msr, u64 *value)
{
	struct cpu *cpu = cpu_self();
	u32 lo = 0, hi = 0;

	cpu->trap_caught = 0;
	__asm__ volatile("1: rdmsr\n2:\n" TRAP_FIXUP("1b", "2b")
	                 : "+a"(lo), "+d"(hi)
	                 : "c"(msr)
	                 : "memory");
	*value = (u64)hi << 32 | lo;
	return (int)cpu->trap_caught - 1;
}

int trap_wrmsr(u32 msr, u64 value)
{
	struct cpu *cpu = cpu_self();

	cpu->trap_caught = 0;
	__asm__ volatile("1: wrmsr\n2:\n" TRAP_FIXUP("1b", "2b")
	                 :
	                 : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32))
	                 : "memory");
	return (int)cpu->trap_caught - 1;
}

void trap_dispatch(struct trap_frame *frame)
{
	if (frame->vector >= 32) {
		if (handlers[frame->vector])
			handlers[frame->vector](frame);
		else if (frame->vector != TRAP_VECTOR_SPURIOUS)
			verdict_fail("interrupt nobody asked for, vector 0x%lx", frame->vector);
		if (frame->vector != TRAP_VECTOR_SPURIOUS)
			apic_eoi();
		return;
	}
	if (fix_up(frame) || leave_try(frame))
		return;
	report(frame);
	verdict_fail("exception %lu at 0x%lx", frame->vector, frame->rip);
}
