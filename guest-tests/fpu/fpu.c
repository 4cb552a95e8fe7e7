/*
 * fpu: every CPU fills its x87, MXCSR and XMM (YMM where AVX can be had) registers, spins, pauses,
 * halts, exits by CPUID, and finds them unchanged. Run in two VMs at once it proves that FPU state
 * is switched.
 *
 *   seconds=N     how long (default 3)
 *   seed=N        other values (default 1); give two VMs different ones
 *   avx=0         leaves AVX alone
 */
#include "guest-tests/fpu/regs.h"
#include "guest-tests/lib/guest.h"

#define CPUID_XSAVE   (1u << 26)
#define CPUID_OSXSAVE (1u << 27)
#define CPUID_AVX     (1u << 28)
#define CR0_MP        (1ull << 1)
#define CR0_EM        (1ull << 2)
#define CR0_TS        (1ull << 3)
#define CR4_OSFXSR    (1ull << 9)
#define CR4_OSXSAVE   (1ull << 18)

static u64 end_ns, seed, rounds[CPU_MAX];
static bool avx;

static void xsetbv(void *arg)
{
	(void)arg;
	cr4_write(cr4_read() | CR4_OSXSAVE);
	VERDICT_CHECK(cpuid(1, 0).ecx & CPUID_OSXSAVE, "CPUID does not show CR4.OSXSAVE");
	__asm__ volatile("xsetbv" : : "c"(0), "a"(7), "d"(0) : "memory");
}

/* What the CPU offers must work: a fault here is a FAIL. */
static void enable(void)
{
	cr0_write((cr0_read() & ~(CR0_EM | CR0_TS)) | CR0_MP);
	cr4_write(cr4_read() | CR4_OSFXSR);
	if (avx) {
		int vector = trap_try(xsetbv, NULL);

		VERDICT_CHECK(vector < 0, "AVX is offered, but XSETBV raises exception %d", vector);
	}
}

static void fill(struct fpu_regs *regs, struct rng *rng)
{
	for (unsigned i = 0; i < 8; i++)
		regs->x87[i] = rng_next(rng);
	for (unsigned i = 0; i < 16; i++)
		for (unsigned k = 0; k < (avx ? 4 : 2); k++)
			regs->ymm[i][k] = rng_next(rng);
	/* Rounding modes vary; all exceptions stay masked. */
	regs->mxcsr = 0x1f80 | (u32)(rng_next(rng) & 3) << 13;
	regs->control = (u16)(0x037f | (rng_next(rng) & 3) << 10);
}

static void pass_time(u64 round)
{
	switch (round % 4) {
	case 0:
		time_doze_us(1500);
		break;
	case 1:
		(void)cpuid(0, 0);
		break;
	case 2:
		time_spin_us(3000);
		break;
	default:
		apic_ipi((cpu_self()->id + 1) % smp_count(), TRAP_VECTOR_WAKE);
		break;
	}
}

static void compare(const struct fpu_regs *want, const struct fpu_regs *got)
{
	unsigned id = cpu_self()->id;

	for (unsigned i = 0; i < 8; i++)
		VERDICT_CHECK(want->x87[i] == got->x87[i],
		              "cpu %u: st%u expected 0x%lx found 0x%lx", id, i, want->x87[i],
		              got->x87[i]);
	for (unsigned i = 0; i < 16; i++)
		for (unsigned k = 0; k < (avx ? 4 : 2); k++)
			VERDICT_CHECK(want->ymm[i][k] == got->ymm[i][k],
			              "cpu %u: word %u of ymm%u expected 0x%lx found 0x%lx", id, k,
			              i, want->ymm[i][k], got->ymm[i][k]);
	VERDICT_CHECK(want->mxcsr == got->mxcsr, "cpu %u: mxcsr expected 0x%x found 0x%x", id,
	              want->mxcsr, got->mxcsr);
	VERDICT_CHECK(want->control == got->control,
	              "cpu %u: x87 control word expected 0x%x found 0x%x", id, want->control,
	              got->control);
}

static void work(void *arg)
{
	unsigned id = cpu_self()->id;
	struct rng rng = {rng_mix(seed * CPU_MAX + id)};
	struct fpu_regs want = {0}, got = {0};
	u64 round = 0;

	(void)arg;
	enable();
	for (; time_ns() < end_ns; round++) {
		fill(&want, &rng);
		fpu_load(&want, avx);
		pass_time(round);
		fpu_store(&got, avx);
		compare(&want, &got);
	}
	rounds[id] = round;
}

void guest_main(void)
{
	u32 features = cpuid(1, 0).ecx;
	u64 sum = 0;

	seed = cmdline_u64("seed", 1);
	avx = (features & CPUID_XSAVE) && (features & CPUID_AVX) && cmdline_u64("avx", 1);
	smp_start();
	end_ns = time_ns() + cmdline_u64("seconds", 3) * 1000000000;
	smp_run(work, NULL);
	for (unsigned i = 0; i < smp_count(); i++)
		sum += rounds[i];
	console_printf("fpu: %lu rounds on %u cpus, %s\n", sum, smp_count(),
	               avx ? "x87, XMM, YMM" : "x87, XMM");
	VERDICT_CHECK(sum, "not one round");
}
