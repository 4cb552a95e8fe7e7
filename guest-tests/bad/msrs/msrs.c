/*
 * msrs: RDMSR and WRMSR of random registers with random values; each works or raises #GP, and the guest
 * lives on.
 *
 *   count=N       how many (default 20000)
 *   seed=N        others (default 1)
 */
#include "guest-tests/lib/guest.h"

static u64 done[2][2]; /* [read, write][worked, #GP] */

/* Mostly from the ranges where registers are. */
static u32 random_msr(struct rng *rng)
{
	u32 dice = (u32)rng_next(rng);

	switch (rng_below(rng, 6)) {
	case 0:
		return dice % 0x400;
	case 1:
		return dice % 0x2000;
	case 2:
		return 0xc0000000 + dice % 0x2000;
	case 3:
		return 0xc0010000 + dice % 0x2000;
	case 4:
		return 0x40000000 + dice % 0x200;
	default:
		return dice;
	}
}

/* What was read with a bit changed goes deeper than noise, which fails at the first reserved bit. */
static u64 random_value(struct rng *rng, u64 old)
{
	switch (rng_below(rng, 5)) {
	case 0:
		return 0;
	case 1:
		return UINT64_MAX;
	case 2:
		return rng_next(rng);
	case 3:
		return rng_next(rng) >> rng_below(rng, 64);
	default:
		return old ^ 1ull << rng_below(rng, 64);
	}
}

static void note(bool write, u32 msr, int vector)
{
	VERDICT_CHECK(vector < 0 || vector == TRAP_GP, "%s 0x%x raises exception %d",
	              write ? "WRMSR" : "RDMSR", msr, vector);
	done[write][vector >= 0]++;
}

void guest_main(void)
{
	struct rng rng = {rng_mix(cmdline_u64("seed", 1))};
	u64 count = cmdline_u64("count", 20000);

	cpu_cli(); /* the APIC may get lost on the way */
	for (u64 i = 0; i < count; i++) {
		u32 msr = random_msr(&rng);
		u64 old;

		note(false, msr, trap_rdmsr(msr, &old));
		note(true, msr, trap_wrmsr(msr, random_value(&rng, old)));
	}
	console_printf("msrs: read %lu, #GP %lu; written %lu, #GP %lu\n", done[0][0], done[0][1],
	               done[1][0], done[1][1]);
}
