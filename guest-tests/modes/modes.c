/*
 * modes: every CPU runs through real mode (segments, string copy, INT through the IVT, far call,
 * CPUID and port input), 32-bit code without paging, PSE and PAE paging (large and small pages,
 * aliases, APIC reads) and comes back to 64 bits. CPU 0 goes down out of long mode; the others get
 * INIT and SIPI.
 *
 *   rounds=N      how often (default 3)
 *   bsp=0         only the other CPUs
 */
#include "guest-tests/modes/modes.h"

#include "guest-tests/lib/guest.h"

struct modes_results modes_results;
u64 modes_saved_rsp;

/* Offsets that switch.S uses. */
_Static_assert(offsetof(struct modes_results, pse_large_sum) == 20, "modes_results");
_Static_assert(offsetof(struct modes_results, pae_large_sum) == 36, "modes_results");
_Static_assert(offsetof(struct modes_results, done) == 52, "modes_results");

static u32 *low(u64 address)
{
	__asm__("" : "+r"(address)); /* hides from the compiler that this is below the first page */
	return (u32 *)address;
}

/* Physical 0 .. 4 MiB to itself and at MODES_ALIAS; behind that the same in reverse, small pages.
 */
static void build_tables(void)
{
	modes_pse_pd[0] = 0x83;
	modes_pse_pd[MODES_ALIAS >> 22] = 0x83;
	modes_pse_pd[(MODES_ALIAS >> 22) + 1] = (u32)(u64)modes_pse_pt | 3;
	modes_pse_pd[APIC_BASE >> 22] = (u32)(APIC_BASE & ~0x3fffffu) | 0x9b;
	for (u32 i = 0; i < 1024; i++)
		modes_pse_pt[i] = (1023 - i) << 12 | 3;

	modes_pae_pdpt[0] = (u64)modes_pae_pd[0] | 1;
	modes_pae_pdpt[MODES_ALIAS >> 30] = (u64)modes_pae_pd[1] | 1;
	modes_pae_pdpt[APIC_BASE >> 30] = (u64)modes_pae_pd[2] | 1;
	modes_pae_pd[0][0] = 0x83;
	modes_pae_pd[0][1] = 0x200083;
	modes_pae_pd[1][0] = 0x83;
	modes_pae_pd[1][1] = (u64)modes_pae_pt | 3;
	modes_pae_pd[2][APIC_BASE >> 21 & 511] = (APIC_BASE & ~(LARGE_SIZE - 1)) | 0x9b;
	for (u64 i = 0; i < 512; i++)
		modes_pae_pt[i] = (511 - i) << 12 | 3;
}

static void prepare(u64 seed)
{
	struct rng rng = {seed};
	u32 *source = low(MODES_SOURCE);

	for (unsigned i = 0; i < 1024; i++)
		source[i] = (u32)rng_next(&rng);
	memset(low(MODES_COPY), 0, 4096);
	memset(low(MODES_SCRATCH), 0, 4096);
	memset(&modes_results, 0, sizeof(modes_results));
	memcpy(low(MODES_CODE), modes_code, (size_t)(modes_code_end - modes_code));
	*low(MODES_INT * 4) = (u32)MODES_CODE >> 4 << 16 | (u32)(modes_isr - modes_code);
}

static u32 real_sum(void)
{
	const u16 *words = (const u16 *)low(MODES_SOURCE);
	u16 sum = 0;

	for (unsigned i = 0; i < 2048; i++)
		sum = (u16)((u16)(sum << 1 | sum >> 15) + words[i]);
	return (u16)(sum + MODES_INT_ADDS) ^ MODES_CALL_XORS;
}

static u32 flat_sum(void)
{
	const u32 *words = low(MODES_SOURCE);
	u32 sum = 0;

	for (unsigned i = 0; i < 1024; i++)
		sum = (sum << 1 | sum >> 31) + words[i];
	return sum;
}

static void expect(unsigned id, const char *what, u32 found, u32 expected)
{
	VERDICT_CHECK(found == expected, "cpu %u: %s is 0x%x instead of 0x%x", id, what, found,
	              expected);
}

static void check(unsigned id)
{
	const struct modes_results *r = &modes_results;
	u32 sum = flat_sum(), apic = id << 24;

	expect(id, "sum in real mode", r->real_sum, real_sum());
	expect(id, "CPUID leaf 0 in real mode", r->real_leaf0, cpuid(0, 0).eax);
	VERDICT_CHECK(r->real_line != 0xff, "cpu %u: no UART in real mode", id);
	expect(id, "sum without paging", r->flat_sum, sum);
	expect(id, "APIC ID without paging", r->flat_apic, apic);
	expect(id, "sum in a 4 MiB page", r->pse_large_sum, sum);
	expect(id, "sum in a 4 KiB page", r->pse_small_sum, sum);
	expect(id, "APIC ID under PSE paging", r->pse_apic, apic);
	expect(id, "word written under PSE paging", r->pse_written, MODES_MAGIC_PSE);
	expect(id, "sum in a 2 MiB PAE page", r->pae_large_sum, sum);
	expect(id, "sum in a 4 KiB PAE page", r->pae_small_sum, sum);
	expect(id, "APIC ID under PAE paging", r->pae_apic, apic);
	expect(id, "word written under PAE paging", r->pae_written, MODES_MAGIC_PAE);
}

static void tour_cpu0(void)
{
	cpu_cli();
	modes_down();
	modes_saved_rsp = 0;
	trap_init_cpu();
	cpu_sti();
}

static void tour(unsigned id)
{
	u64 limit;

	apic_start_cpu(id, MODES_CODE);
	limit = time_ns() + 10000000000;
	while (!__atomic_load_n(&modes_results.done, __ATOMIC_ACQUIRE)) {
		VERDICT_CHECK(time_ns() < limit, "cpu %u does not come back: real 0x%x flat 0x%x",
		              id, modes_results.real_sum, modes_results.flat_sum);
		cpu_pause();
	}
}

void guest_main(void)
{
	u64 rounds = cmdline_u64("rounds", 3);
	bool bsp = cmdline_u64("bsp", 1);

	VERDICT_CHECK((u64)low(MODES_SCRATCH) + PAGE_SIZE <= LOW_RESERVED, "low memory layout");
	build_tables();
	for (u64 round = 0; round < rounds; round++)
		for (unsigned id = bsp ? 0 : 1; id < smp_count(); id++) {
			prepare(round * CPU_MAX + id);
			if (id)
				tour(id);
			else
				tour_cpu0();
			check(id);
		}
	console_printf("modes: %u cpus, %lu rounds\n", smp_count(), rounds);
}
