#include "arch/x86/time.h"

#include "arch/hal.h"
#include "arch/x86/cpu.h"

#define NS_PER_S 1000000000ull

#define PIT_HZ        1193182ull
#define PIT_CHANNEL_2 0x42u
#define PIT_COMMAND   0x43u
#define PIT_GATE      0x61u  /* bit 0 gate, bit 1 speaker, bit 5 output of channel 2 */
#define PIT_COUNT     11932u /* 10 ms */
#define PIT_TRIES     3u
/* A channel that never ends: about a third of a second on hardware, polls on slow emulators. */
#define PIT_MAX_TICKS 1000000000ull
#define PIT_MAX_POLLS 20000000u
/* Slower is no x86-64 machine but a port that reads as ones. */
#define TSC_MIN_HZ 5000000ull

static u64 hz = NS_PER_S; /* before time_init(): anything but 0 */
static u64 tsc_base;
static u64 ns_per_tick;  /* 32.32; 0 until the frequency is known */
static u64 ticks_per_ns; /* 32.32 */
static const char *source = "none";

static u64 mul_shift32(u64 a, u64 b)
{
	unsigned __int128 p = (unsigned __int128)a * b >> 32;

	return p > UINT64_MAX ? UINT64_MAX : (u64)p;
}

/* TSC ticks while channel 2 counts PIT_COUNT down once; 0 if it does not. */
static u64 pit_measure(void)
{
	u8 gate = (u8)(in8(PIT_GATE) & ~3u);
	u64 start, ticks;
	u32 polls = 0;

	out8(PIT_GATE, gate);
	out8(PIT_COMMAND, 0xb0); /* channel 2, both bytes, mode 0 */
	out8(PIT_CHANNEL_2, PIT_COUNT & 0xff);
	out8(PIT_CHANNEL_2, PIT_COUNT >> 8);
	out8(PIT_GATE, gate | 1);
	start = tsc_read();
	do {
		ticks = tsc_read() - start;
		if (ticks > PIT_MAX_TICKS || polls++ > PIT_MAX_POLLS)
			return 0;
	} while (!(in8(PIT_GATE) & 0x20));
	ticks = tsc_read() - start;
	out8(PIT_GATE, gate);
	return ticks;
}

/* Being interrupted only makes a measurement longer: the shortest is the best. */
static u64 pit_hz(void)
{
	u64 best = UINT64_MAX, v;

	for (unsigned i = 0; i < PIT_TRIES; i++) {
		u64 ticks = pit_measure();

		if (ticks == 0)
			return 0;
		best = min_of(best, ticks);
	}
	v = best * PIT_HZ / PIT_COUNT;
	return v < TSC_MIN_HZ ? 0 : v;
}

/* Intel SDM vol. 3, section 18.7.3; the last is a leaf that hypervisors offer. */
static u64 cpuid_hz(void)
{
	struct cpuid_regs r;

	if (cpu_features.max_leaf >= 0x15) {
		r = cpuid(0x15, 0);
		if (r.eax && r.ebx && r.ecx)
			return (u64)r.ecx * r.ebx / r.eax;
		if (r.eax && r.ebx && cpu_features.max_leaf >= 0x16)
			return (u64)(cpuid(0x16, 0).eax & 0xffff) * 1000000;
	}
	if (cpu_features.hypervisor && cpuid(0x40000000, 0).eax >= 0x40000010)
		return (u64)cpuid(0x40000010, 0).eax * 1000;
	return 0;
}

void time_init(void)
{
	u64 pit = pit_hz(), said = cpuid_hz();
	u64 off = pit > said ? pit - said : said - pit;

	/* An emulator may pass on the CPUID of a CPU whose speed it does not have. */
	if (said && (!pit || off < pit / 50)) {
		hz = said;
		source = pit ? "CPUID, checked against the PIT" : "CPUID";
	} else if (pit) {
		hz = pit;
		source = "PIT";
	} else {
		source = "a guess: neither CPUID nor the PIT tells";
		hal_log(HAL_WARN, "the TSC's frequency is unknown: times will be wrong");
	}
	ns_per_tick = (NS_PER_S << 32) / hz;
	ticks_per_ns = ((hz / NS_PER_S) << 32) + ((hz % NS_PER_S) << 32) / NS_PER_S;
	tsc_base = tsc_read();
}

u64 tsc_hz(void)
{
	return hz;
}

const char *tsc_source(void)
{
	return source;
}

u64 tsc_to_ns(u64 ticks)
{
	return mul_shift32(ticks, ns_per_tick);
}

u64 ns_to_tsc(u64 ns)
{
	return mul_shift32(ns, ticks_per_ns);
}

u64 time_ns(void)
{
	return tsc_to_ns(tsc_read() - tsc_base);
}

u64 time_to_tsc(u64 ns)
{
	u64 ticks = ns_to_tsc(ns);

	return ticks > UINT64_MAX - tsc_base ? UINT64_MAX : tsc_base + ticks;
}

void time_wait_ns(u64 ns)
{
	u64 start = tsc_read(), ticks = ns_to_tsc(ns);

	while (tsc_read() - start < ticks)
		cpu_pause();
}
