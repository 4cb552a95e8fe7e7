/*
 * nmi: NMIs between all CPUs and to oneself: none is lost, none comes inside the handler of another, they
 * end a HLT with interrupts off, and they get along with the shadow of STI and with timer interrupts.
 *
 *   count=N       NMIs from CPU 0 to each CPU in each test (default 50)
 */
#include "guest-tests/lib/guest.h"

#define ICR_NMI    0x4400u
#define TIMEOUT_NS (10ull * 1000000000)
#define TICK_NS    500000

struct table_pointer {
	u16 limit;
	u64 base;
} __attribute__((packed));

void nmi_handler(void);
extern char nmi_stub[];

static struct {
	u32 got, depth;
	bool again;  /* the handler sends itself another one */
	bool nested; /* which came at once */
	bool done;   /* with what CPU 0 watches */
} cpus[CPU_MAX];
static u64 count;

void nmi_handler(void)
{
	unsigned id = cpu_self()->id;

	if (cpus[id].depth++)
		cpus[id].nested = true;
	__atomic_fetch_add(&cpus[id].got, 1, __ATOMIC_ACQ_REL);
	if (cpus[id].again) {
		cpus[id].again = false;
		apic_command(id, ICR_NMI);
		/* Exits: chances to come too early. */
		for (unsigned i = 0; i < 3; i++)
			(void)cpuid(0, 0);
	}
	cpus[id].depth--;
}

/* The library's stubs for exceptions end in a report: this one gate is ours. */
static void take_gate(void)
{
	struct table_pointer idt;
	u64 at = (u64)nmi_stub;
	u32 *gate;

	__asm__ volatile("sidt %0" : "=m"(idt));
	gate = (u32 *)(idt.base + 2 * 16);
	gate[0] = (u32)(at & 0xffff) | SEL_CODE64 << 16;
	gate[1] = (u32)(at & 0xffff0000) | 0x8e00;
	gate[2] = (u32)(at >> 32);
}

static u32 got(unsigned id)
{
	return __atomic_load_n(&cpus[id].got, __ATOMIC_ACQUIRE);
}

static void wait_got(unsigned id, u32 want, const char *what)
{
	u64 limit = time_ns() + TIMEOUT_NS;

	while (got(id) < want) {
		VERDICT_CHECK(time_ns() < limit, "%s: cpu %u has %u NMIs instead of %u", what, id,
		              got(id), want);
		cpu_pause();
	}
	VERDICT_CHECK(got(id) == want, "%s: cpu %u has %u NMIs instead of %u", what, id, got(id),
	              want);
}

static void to_self(unsigned id)
{
	u32 want = got(id);

	for (u64 i = 0; i < count; i++) {
		apic_command(id, ICR_NMI);
		wait_got(id, ++want, "to itself");
	}
	for (u64 i = 0; i < count; i++) {
		cpus[id].again = true;
		apic_command(id, ICR_NMI);
		wait_got(id, want += 2, "from its own handler");
		VERDICT_CHECK(!cpus[id].nested, "cpu %u: an NMI inside the handler of another", id);
	}
}

/* CPU 0's part: one after the other, each seen before the next. */
static void send_all(unsigned to, const char *what)
{
	u32 want = got(to);

	for (u64 i = 0; i < count; i++) {
		apic_command(to, ICR_NMI);
		wait_got(to, ++want, what);
	}
	__atomic_store_n(&cpus[to].done, true, __ATOMIC_RELEASE);
}

static bool done(unsigned id)
{
	return __atomic_load_n(&cpus[id].done, __ATOMIC_ACQUIRE);
}

/* Half of the time the next instruction is in the shadow of STI. */
static void shadow_loop(unsigned id)
{
	while (!done(id))
		__asm__ volatile("sti; nop; cli" ::: "memory");
}

static void halt_once(unsigned id)
{
	__asm__ volatile("cli; hlt" ::: "memory");
	__atomic_store_n(&cpus[id].done, true, __ATOMIC_RELEASE);
}

/* An NMI may come before the HLT that it is to end: so until it has. */
static void wake(unsigned id)
{
	u64 limit = time_ns() + TIMEOUT_NS;

	while (!done(id)) {
		VERDICT_CHECK(time_ns() < limit, "an NMI does not end the HLT of cpu %u", id);
		apic_command(id, ICR_NMI);
		time_spin_us(2000);
	}
}

/* One test of CPU 0 with each other CPU: what it does, and what they do meanwhile. */
static void with_each(void (*theirs)(unsigned id), void (*ours)(unsigned id))
{
	unsigned self = cpu_self()->id;

	for (unsigned id = 1; id < smp_count(); id++) {
		cpus[id].done = false;
		smp_barrier();
		if (self == id)
			theirs(id);
		else if (!self)
			ours(id);
		smp_barrier();
	}
}

static void send_in_shadow(unsigned id)
{
	send_all(id, "in the shadow of STI");
}

static void ticking_loop(unsigned id)
{
	u32 before = cpu_self()->timer_ticks;

	apic_timer_start((u32)(time_apic_khz() * TICK_NS / 1000000), true);
	shadow_loop(id);
	while (cpu_self()->timer_ticks == before)
		__asm__ volatile("sti; nop; cli" ::: "memory");
	apic_timer_stop();
}

static void send_among_ticks(unsigned id)
{
	send_all(id, "among timer interrupts");
}

static void tour(void *arg)
{
	u64 flags = cpu_flags();

	(void)arg;
	to_self(cpu_self()->id);
	smp_barrier();
	cpu_cli();
	with_each(shadow_loop, send_in_shadow);
	with_each(ticking_loop, send_among_ticks);
	with_each(halt_once, wake);
	if (flags & 0x200)
		cpu_sti();
}

void guest_main(void)
{
	count = cmdline_u64("count", 50);
	take_gate();
	smp_start();
	smp_run(tour, NULL);
	for (unsigned id = 0; id < smp_count(); id++)
		VERDICT_CHECK(!cpus[id].nested, "cpu %u: NMIs were nested", id);
}
