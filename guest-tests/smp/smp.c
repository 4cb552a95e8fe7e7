/*
 * smp: CPU start, forms of APIC access, IPIs between all pairs, EOI and priorities, APIC timer against the TSC, HLT.
 *
 *   ipis=N        IPIs from each CPU to each other, once spinning and once halted (default 20)
 *   ticks=N       periodic timer interrupts to wait for (default 20)
 *   slack=MS      how late the timer may be, for a machine that shares its CPUs (default 2000)
 *   forms=0       leaves out the tour of instructions that access the APIC
 *
 * On plain QEMU: cpus=N.
 */
#include "guest-tests/lib/guest.h"
#include "guest-tests/smp/forms.h"

#define VECTOR_COUNT 0x50
#define VECTOR_LOW   0x51
#define VECTOR_HIGH  0x91
#define TIMEOUT_NS   (10ull * 1000000000)

static u32 received[CPU_MAX]; /* VECTOR_COUNT interrupts of each CPU */
static u32 order[CPU_MAX][4], order_count[CPU_MAX];
static u32 turn; /* who may send now */
static bool halted;
static u64 ipis, ticks, slack_ns;

static void count_handler(struct trap_frame *frame)
{
	(void)frame;
	__atomic_fetch_add(&received[cpu_self()->id], 1, __ATOMIC_ACQ_REL);
}

static void order_handler(struct trap_frame *frame)
{
	unsigned id = cpu_self()->id;

	if (order_count[id] < ARRAY_SIZE(order[id]))
		order[id][order_count[id]] = (u32)frame->vector;
	order_count[id]++;
}

static u32 seen(unsigned id)
{
	return __atomic_load_n(&received[id], __ATOMIC_ACQUIRE);
}

/* One turn of a waiting loop. Where vCPUs share a CPU, who waits long gives it up now and then. */
static void relax(u64 *spins)
{
	cpu_pause();
	if (++*spins % 10000 == 0)
		time_doze_us(200);
}

static void wait_for(unsigned to, u32 want, const char *what)
{
	u64 limit = time_ns() + TIMEOUT_NS, spins = 0;

	while (seen(to) != want) {
		VERDICT_CHECK(time_ns() < limit,
		              "%s: cpu %u to cpu %u: %u interrupts instead of %u", what,
		              cpu_self()->id, to, seen(to), want);
		relax(&spins);
	}
}

static void send_turn(unsigned self)
{
	for (unsigned to = 0; to < smp_count(); to++) {
		u32 base = seen(to);

		for (u32 i = 1; i <= ipis; i++) {
			apic_ipi(to, VECTOR_COUNT);
			wait_for(to, base + i, halted ? "IPI to a halted CPU" : "IPI");
		}
	}
	__atomic_store_n(&turn, self + 1, __ATOMIC_RELEASE);
	for (unsigned to = 0; to < smp_count(); to++)
		if (to != self)
			apic_ipi(to, TRAP_VECTOR_WAKE);
}

static void wait_turn(u32 now)
{
	u64 spins = 0;

	while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) == now) {
		if (!halted) {
			relax(&spins);
			continue;
		}
		cpu_cli();
		if (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) == now)
			cpu_sti_hlt();
		cpu_sti();
	}
}

static void all_pairs(void *arg)
{
	(void)arg;
	for (unsigned now = 0; now < smp_count(); now++) {
		if (now == cpu_self()->id)
			send_turn(now);
		else
			wait_turn(now);
	}
}

/* Every CPU to its neighbour, all at once. */
static void ring(void *arg)
{
	unsigned to = (cpu_self()->id + 1) % smp_count();
	u32 base = seen(to);

	(void)arg;
	smp_barrier();
	for (u32 i = 1; i <= ipis; i++) {
		apic_ipi(to, VECTOR_COUNT);
		wait_for(to, base + i, "ring");
	}
	smp_barrier();
}

static void shorthands(void)
{
	u32 base[CPU_MAX];

	for (unsigned id = 0; id < smp_count(); id++)
		base[id] = seen(id);
	apic_command(0, APIC_ICR_FIXED | APIC_ICR_ALL | VECTOR_COUNT);
	for (unsigned id = 0; id < smp_count(); id++)
		wait_for(id, base[id] + 1, "to all");
	apic_command(0, APIC_ICR_FIXED | APIC_ICR_ALL_BUT_SELF | VECTOR_COUNT);
	for (unsigned id = 1; id < smp_count(); id++)
		wait_for(id, base[id] + 2, "to all but self");
	apic_command(0, APIC_ICR_FIXED | APIC_ICR_SELF | VECTOR_COUNT);
	wait_for(0, base[0] + 2, "to self");
	time_spin_us(1000);
	VERDICT_CHECK(seen(0) == base[0] + 2, "shorthands: cpu 0 got too many interrupts");
}

/* Two vectors, one of them twice, wait while IF is 0: the higher comes first, the doubled once. */
static void priorities(void *arg)
{
	unsigned id = cpu_self()->id;

	(void)arg;
	order_count[id] = 0;
	cpu_cli();
	apic_ipi(id, VECTOR_LOW);
	apic_ipi(id, VECTOR_HIGH);
	apic_ipi(id, VECTOR_LOW);
	VERDICT_CHECK(apic_read(APIC_IRR + 0x10 * (VECTOR_LOW / 32)) & 1u << VECTOR_LOW % 32,
	              "cpu %u: vector 0x%x is not in the IRR", id, VECTOR_LOW);
	VERDICT_CHECK(!order_count[id], "cpu %u: interrupt while IF is 0", id);
	cpu_sti();
	time_spin_us(2000);
	VERDICT_CHECK(order_count[id] == 2 && order[id][0] == VECTOR_HIGH &&
	                      order[id][1] == VECTOR_LOW,
	              "cpu %u: %u interrupts, the first 0x%x, instead of 0x%x and 0x%x", id,
	              order_count[id], order[id][0], VECTOR_HIGH, VECTOR_LOW);
}

static void one_shot(u64 us)
{
	volatile u32 *rung = &cpu_self()->timer_ticks;
	u32 before = *rung, first, second;
	u64 start = time_ns(), took;

	apic_timer_start((u32)(us * time_apic_khz() / 1000), false);
	first = apic_read(APIC_TMCCT);
	second = apic_read(APIC_TMCCT);
	VERDICT_CHECK(second <= first, "timer counts up: %u, then %u", first, second);
	while (*rung == before) {
		VERDICT_CHECK(time_ns() - start < us * 1000 + slack_ns,
		              "cpu %u: one-shot of %lu us has not come", cpu_self()->id, us);
		cpu_pause();
	}
	took = time_ns() - start;
	/* The two clocks may differ by a few percent where the rates had to be measured. */
	VERDICT_CHECK(took >= us * 900, "cpu %u: one-shot of %lu us came after %lu ns",
	              cpu_self()->id, us, took);
	VERDICT_CHECK(apic_read(APIC_TMCCT) == 0, "one-shot timer still counts");
	time_spin_us(us * 2);
	VERDICT_CHECK(*rung == before + 1, "cpu %u: one-shot timer rang %u times", cpu_self()->id,
	              *rung - before);
}

/* Ticks may be late or merge where CPUs are shared, but none may come early. */
static void periodic(u64 us)
{
	volatile u32 *rung = &cpu_self()->timer_ticks;
	u64 start = time_ns(), took, fit;
	u32 before = *rung, now;

	apic_timer_start((u32)(us * time_apic_khz() / 1000), true);
	while (*rung - before < ticks) {
		VERDICT_CHECK(time_ns() - start < ticks * us * 1000 + slack_ns,
		              "cpu %u: %u of %lu periodic ticks", cpu_self()->id, *rung - before,
		              ticks);
		cpu_cli();
		if (*rung - before < ticks)
			cpu_sti_hlt();
		cpu_sti();
	}
	took = time_ns() - start;
	fit = took / (us * 1000);
	VERDICT_CHECK(fit * 11 / 10 + 1 >= ticks, "cpu %u: %lu ticks of %lu us in %lu ns",
	              cpu_self()->id, ticks, us, took);
	apic_timer_stop();
	now = *rung;
	time_spin_us(us * 3);
	VERDICT_CHECK(*rung == now, "cpu %u: a stopped timer rings", cpu_self()->id);
}

/* A masked timer counts, but does not ring. */
static void masked(void)
{
	volatile u32 *rung = &cpu_self()->timer_ticks;
	u32 before = *rung;

	apic_write(APIC_LVT_TIMER, APIC_LVT_MASKED | TRAP_VECTOR_TIMER);
	apic_write(APIC_TMICT, (u32)time_apic_khz());
	time_spin_us(3000);
	VERDICT_CHECK(*rung == before, "cpu %u: a masked timer rings", cpu_self()->id);
	apic_timer_stop();
}

static void timers(void *arg)
{
	u64 start;

	(void)arg;
	one_shot(1000);
	one_shot(10000);
	periodic(5000);
	masked();
	start = time_ns();
	time_sleep_ms(30);
	VERDICT_CHECK(time_ns() - start >= 30000000, "cpu %u: slept %lu ns instead of 30 ms",
	              cpu_self()->id, time_ns() - start);
}

static void identity(void *arg)
{
	unsigned id = cpu_self()->id;

	(void)arg;
	VERDICT_CHECK(cpuid(1, 0).ebx >> 24 == id, "cpu %u: CPUID says APIC ID %u", id,
	              cpuid(1, 0).ebx >> 24);
	VERDICT_CHECK(apic_id() == id, "cpu %u: the APIC says ID %u", id, apic_id());
}

void guest_main(void)
{
	ipis = cmdline_u64("ipis", 20);
	ticks = cmdline_u64("ticks", 20);
	slack_ns = cmdline_u64("slack", 2000) * 1000000;
	trap_set(VECTOR_COUNT, count_handler);
	trap_set(VECTOR_LOW, order_handler);
	trap_set(VECTOR_HIGH, order_handler);
	smp_start();
	console_printf("smp: %u cpus started\n", smp_count());
	smp_run(identity, NULL);
	if (cmdline_u64("forms", 1))
		forms_check();
	for (int i = 0; i < 2; i++, halted = true) {
		turn = 0;
		smp_run(all_pairs, NULL);
	}
	shorthands();
	smp_run(ring, NULL);
	smp_run(priorities, NULL);
	console_printf("smp: IPIs done\n");
	smp_run(timers, NULL);
	console_printf("smp: timers done\n");
}
