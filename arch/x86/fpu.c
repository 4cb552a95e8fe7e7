#include "arch/x86/fpu.h"

#include "arch/hal.h"
#include "arch/x86/cpu.h"
#include "lib/string.h"

#define FCW_RESET    0x37fu
#define MXCSR_RESET  0x1f80u
#define OFFSET_MXCSR 24u

static u64 xcr0_host;

void fpu_init_cpu(void)
{
	if (cpu_features.xsave) {
		xcr0_host = XCR0_X87 | XCR0_SSE | (cpu_features.avx ? XCR0_AVX : 0);
		xcr0_write(xcr0_host);
		/* Bytes needed for what XCR0 enables; Intel SDM vol. 1, section 13.2. */
		ASSERT(cpuid(0xd, 0).ebx <= sizeof(struct fpu_area));
	}
	__asm__ volatile("fninit");
}

u64 fpu_xcr0(void)
{
	return xcr0_host;
}

void fpu_init_area(struct fpu_area *area)
{
	u16 fcw = FCW_RESET;
	u32 mxcsr = MXCSR_RESET;

	memset(area, 0, sizeof(*area));
	memcpy(area->data, &fcw, sizeof(fcw));
	memcpy(area->data + OFFSET_MXCSR, &mxcsr, sizeof(mxcsr));
}

void fpu_save(struct fpu_area *area)
{
	if (xcr0_host)
		__asm__ volatile("xsave64 %0" : "+m"(*area) : "a"(~0u), "d"(~0u) : "memory");
	else
		__asm__ volatile("fxsave64 %0" : "=m"(*area)::"memory");
}

void fpu_restore(const struct fpu_area *area)
{
	if (xcr0_host)
		__asm__ volatile("xrstor64 %0" ::"m"(*area), "a"(~0u), "d"(~0u) : "memory");
	else
		__asm__ volatile("fxrstor64 %0" ::"m"(*area) : "memory");
}

void fpu_load_guest(struct fpu_area *area)
{
	struct percpu *pc = this_cpu();

	if (pc->fpu_live == area)
		return;
	if (pc->fpu_live)
		fpu_save(pc->fpu_live);
	fpu_restore(area);
	pc->fpu_live = area;
}

void fpu_put(struct fpu_area *area)
{
	struct percpu *pc = this_cpu();

	if (pc->fpu_live != area)
		return;
	fpu_save(area);
	pc->fpu_live = NULL;
}

void fpu_forget(const struct fpu_area *area)
{
	if (this_cpu()->fpu_live == area)
		this_cpu()->fpu_live = NULL;
}

void hal_fpu_begin(void)
{
	struct percpu *pc = this_cpu();
	u32 mxcsr = MXCSR_RESET;

	ASSERT(!pc->fpu_borrowed);
	pc->fpu_borrowed = true;
	if (pc->fpu_live)
		fpu_save(pc->fpu_live);
	pc->fpu_live = NULL;
	__asm__ volatile("fninit\n ldmxcsr %0" ::"m"(mxcsr));
}

/* The guest's state comes back with the fpu_load_guest() before its next entry. */
void hal_fpu_end(void)
{
	ASSERT(this_cpu()->fpu_borrowed);
	this_cpu()->fpu_borrowed = false;
}
