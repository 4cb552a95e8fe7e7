/*
 * doze: every CPU but the last halts again and again for a moment, woken by its APIC timer, which often rings
 * just when it is about to halt. The last CPU watches: nobody may sleep on.
 *
 *   seconds=N     ends after N seconds (default 5)
 *   us=N          each doze is 1 to N microseconds (default 40)
 *   limit=N       a CPU that does not come back from a doze for N milliseconds overslept: FAIL (default 3000)
 *
 * STI keeps interrupts away until the instruction behind it is over, so that the interrupt ends the HLT. One
 * that came between the two would leave the CPU halted for ever.
 */
#include "guest-tests/lib/guest.h"

static u64 dozes[CPU_MAX];
static u64 end_ns, longest_us, limit_ns;

static void doze(void)
{
	unsigned id = cpu_self()->id;

	for (u64 us = id; time_ns() < end_ns; us++) {
		time_doze_us(us % longest_us + 1);
		__atomic_fetch_add(&dozes[id], 1, __ATOMIC_RELAXED);
	}
}

static void watch(void)
{
	u64 seen[CPU_MAX] = {0}, since[CPU_MAX];

	for (unsigned i = 0; i < CPU_MAX; i++)
		since[i] = time_ns();
	while (time_ns() < end_ns) {
		for (unsigned i = 0; i + 1 < smp_count(); i++) {
			u64 n = __atomic_load_n(&dozes[i], __ATOMIC_RELAXED), now = time_ns();

			if (n != seen[i])
				since[i] = now;
			seen[i] = n;
			VERDICT_CHECK(now - since[i] < limit_ns, "CPU %u sleeps on after %lu dozes",
			              i, n);
		}
		cpu_pause();
	}
}

static void work(void *arg)
{
	(void)arg;
	if (cpu_self()->id + 1 == smp_count())
		watch();
	else
		doze();
}

void guest_main(void)
{
	u64 sum = 0;

	smp_start();
	VERDICT_CHECK(smp_count() > 1, "1 CPU: doze wants one more that watches");
	longest_us = cmdline_u64("us", 40);
	VERDICT_CHECK(longest_us, "us= is 0");
	limit_ns = cmdline_u64("limit", 3000) * 1000000;
	end_ns = time_ns() + cmdline_u64("seconds", 5) * 1000000000;
	smp_run(work, NULL);
	for (unsigned i = 0; i < CPU_MAX; i++)
		sum += dozes[i];
	VERDICT_CHECK(sum, "nobody dozed");
	console_printf("doze: %lu dozes\n", sum);
}
