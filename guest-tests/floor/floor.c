/*
 * floor: what a hypervisor on SVM cannot do without, and nothing else, for the emulated machine itself: enter a guest,
 * leave it, step over a CPUID; or clear a page and map it where a nested page fault says. Under `-icount shift=0` a
 * TSC tick is an instruction: the floor of what tools/bench measures with Varve in between. Runs without a hypervisor
 * that keeps SVM to itself, FAILs under one.
 *
 *   count=N    CPUIDs, and pages (default 4096, a multiple of 512)
 *
 *   bench floor-cpuid|floor-fault value=N unit=tsc n=N    mean of one round trip
 *
 * The guest is this program, in the same address space: it shares the page tables, segments and all registers that
 * VMRUN does not load. Offsets and bits: AMD64 APM vol. 2, appendix B and 15.
 */
#include "guest-tests/lib/guest.h"

#define MSR_EFER     0xc0000080u
#define MSR_PAT      0x277u
#define MSR_VM_CR    0xc0010114u
#define MSR_HSAVE_PA 0xc0010117u
#define EFER_SVME    (1u << 12)
#define VM_CR_SVMDIS (1u << 4)

enum { /* control area, then saved state */
       VMCB_INTERCEPTS3 = 0x0c,
       VMCB_INTERCEPTS4 = 0x10,
       VMCB_ASID = 0x58,
       VMCB_EXITCODE = 0x70,
       VMCB_EXITINFO2 = 0x80,
       VMCB_NESTED = 0x90,
       VMCB_NESTED_CR3 = 0xb0,
       VMCB_ES = 0x400,
       VMCB_CS = 0x410,
       VMCB_DS = 0x430,
       VMCB_GDTR = 0x460,
       VMCB_IDTR = 0x480,
       VMCB_EFER = 0x4d0,
       VMCB_CR4 = 0x548,
       VMCB_CR3 = 0x550,
       VMCB_CR0 = 0x558,
       VMCB_DR7 = 0x560,
       VMCB_DR6 = 0x568,
       VMCB_RFLAGS = 0x570,
       VMCB_RIP = 0x578,
       VMCB_RSP = 0x5d8,
       VMCB_PAT = 0x668,
};

#define INTERCEPT3_CPUID    (1u << 18)
#define INTERCEPT3_SHUTDOWN (1u << 31)
#define INTERCEPT4_VMRUN    1u
#define INTERCEPT4_VMMCALL  2u
#define EXIT_CPUID          0x72u
#define EXIT_VMMCALL        0x81u
#define EXIT_NPF            0x400u
#define CODE_64             0xa9bu /* attributes: long, present, code, accessed */
#define DATA                0xc93u

#define ENTRY_USED  7u /* present, writable, user: nested walks count as user accesses */
#define ENTRY_LARGE 0x80u
#define CPUID_BYTES 2u

/* The guest: CPUIDs for ever; a word of each of RCX pages from RBX on. */
extern const u8 floor_cpuid[], floor_touch[];
__asm__(".text\n"
        "floor_cpuid:\n"
        "1:	cpuid\n"
        "	jmp	1b\n"
        "floor_touch:\n"
        "1:	incq	(%rbx)\n"
        "	add	$4096, %rbx\n"
        "	dec	%rcx\n"
        "	jnz	1b\n"
        "	vmmcall\n");

static u8 *vmcb;
static u64 *leaves; /* of the pages that are touched */

static volatile u32 *field32(unsigned offset)
{
	return (volatile u32 *)(vmcb + offset);
}

static volatile u64 *field(unsigned offset)
{
	return (volatile u64 *)(vmcb + offset);
}

static void set_segment(unsigned offset, u16 selector, u16 attributes)
{
	*(volatile u32 *)(vmcb + offset) = selector | (u32)attributes << 16;
	*field32(offset + 4) = ~0u;
	*field(offset + 8) = 0;
}

static void set_table(unsigned offset, const u8 *descriptor)
{
	*field32(offset + 4) = *(const u16 *)descriptor;
	*field(offset + 8) = *(const u64 *)(descriptor + 2);
}

/* All of the first GiB to itself by 2 MiB, but `pages` from `first` on by leaves that are empty. */
static u64 nested_tables(u64 first, u64 pages)
{
	u64 *top = mem_alloc(1, 1), *second = mem_alloc(1, 1), *third = mem_alloc(1, 1);

	top[0] = (u64)second | ENTRY_USED;
	second[0] = (u64)third | ENTRY_USED;
	for (u64 i = 0; i < PAGE_WORDS; i++)
		third[i] = i << 21 | ENTRY_LARGE | ENTRY_USED;
	for (u64 t = 0; t < pages / PAGE_WORDS; t++)
		third[(first >> 21) + t] = (u64)(leaves + t * PAGE_WORDS) | ENTRY_USED;
	return (u64)top;
}

static void start_svm(u64 nested_cr3)
{
	u8 descriptor[10];

	VERDICT_CHECK(cpuid(0x80000001, 0).ecx & 4 && !(rdmsr(MSR_VM_CR) & VM_CR_SVMDIS),
	              "no SVM: somebody else has it");
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
	wrmsr(MSR_HSAVE_PA, (u64)mem_alloc(1, 1));
	*field32(VMCB_INTERCEPTS3) = INTERCEPT3_CPUID | INTERCEPT3_SHUTDOWN;
	*field32(VMCB_INTERCEPTS4) = INTERCEPT4_VMRUN | INTERCEPT4_VMMCALL;
	*field32(VMCB_ASID) = 1;
	*field(VMCB_NESTED) = 1;
	*field(VMCB_NESTED_CR3) = nested_cr3;
	for (unsigned s = VMCB_ES; s <= VMCB_DS; s += 0x10)
		set_segment(s, 0, DATA);
	set_segment(VMCB_CS, 8, CODE_64);
	__asm__ volatile("sgdt %0" : "=m"(descriptor));
	set_table(VMCB_GDTR, descriptor);
	__asm__ volatile("sidt %0" : "=m"(descriptor));
	set_table(VMCB_IDTR, descriptor);
	*field(VMCB_EFER) = rdmsr(MSR_EFER);
	*field(VMCB_CR4) = cr4_read();
	*field(VMCB_CR3) = cr3_read();
	*field(VMCB_CR0) = cr0_read();
	*field(VMCB_DR7) = 0x400;
	*field(VMCB_DR6) = 0xffff0ff0;
	*field(VMCB_PAT) = rdmsr(MSR_PAT);
}

static void set_guest(const u8 *rip)
{
	*field(VMCB_RFLAGS) = 2;
	*field(VMCB_RIP) = (u64)rip;
	*field(VMCB_RSP) = 0; /* it has no use for a stack */
}

/* RBX and RCX are the guest's; the others it does not change. */
static inline u64 enter(u64 *rbx, u64 *rcx)
{
	__asm__ volatile("vmrun" : "+b"(*rbx), "+c"(*rcx) : "a"(vmcb) : "memory", "cc");
	return *field(VMCB_EXITCODE);
}

static void report(const char *name, u64 ticks, u64 n)
{
	console_printf("bench floor-%s value=%lu unit=tsc n=%lu\n", name, ticks / n, n);
}

static void measure_cpuid(u64 count)
{
	u64 rbx = 0, rcx = 0, start;

	set_guest(floor_cpuid);
	start = rdtsc();
	for (u64 i = 0; i < count; i++) {
		u64 code = enter(&rbx, &rcx);

		VERDICT_CHECK(code == EXIT_CPUID, "exit 0x%lx", code);
		*field(VMCB_RIP) += CPUID_BYTES;
	}
	report("cpuid", rdtsc() - start, count);
}

static void clear_page(u64 page)
{
	u64 words = PAGE_WORDS;

	__asm__ volatile("rep stosq" : "+D"(page), "+c"(words) : "a"(0) : "memory");
}

static void measure_fault(u64 first, u64 count)
{
	u64 rbx = first, rcx = count, start, faults = 0, code;

	set_guest(floor_touch);
	start = rdtsc();
	while ((code = enter(&rbx, &rcx)) == EXIT_NPF) {
		u64 page = *field(VMCB_EXITINFO2) & ~(u64)(PAGE_SIZE - 1);

		clear_page(page);
		leaves[(page - first) / PAGE_SIZE] = page | ENTRY_USED;
		faults++;
	}
	report("fault", rdtsc() - start, count);
	VERDICT_CHECK(code == EXIT_VMMCALL && faults == count, "exit 0x%lx after %lu faults", code,
	              faults);
	for (u64 i = 0; i < count; i++)
		VERDICT_CHECK(*(u64 *)(first + i * PAGE_SIZE) == 1, "page %lu", i);
}

void guest_main(void)
{
	u64 count = cmdline_u64("count", 4096), first;

	VERDICT_CHECK(count && count % PAGE_WORDS == 0, "argument count= is no multiple of 512");
	cpu_cli();
	first = (u64)mem_alloc(count, PAGE_WORDS);
	leaves = mem_alloc(count / PAGE_WORDS, 1);
	vmcb = mem_alloc(1, 1);
	start_svm(nested_tables(first, count));
	measure_cpuid(count);
	measure_fault(first, count);
	cpu_sti();
}
