#include "guest-tests/lib/smp.h"

#include "guest-tests/lib/apic.h"
#include "guest-tests/lib/cmdline.h"
#include "guest-tests/lib/cpu.h"
#include "guest-tests/lib/mem.h"
#include "guest-tests/lib/string.h"
#include "guest-tests/lib/time.h"
#include "guest-tests/lib/trap.h"
#include "guest-tests/lib/verdict.h"

#define START_TIMEOUT_MS 10000
#define BARRIER_SPINS    2000
#define BARRIER_DOZE_US  500

extern char ap_code[], ap_code_end[];
extern u64 ap_stack_top;

_Static_assert(sizeof(struct cpu) <= CPU_IST_TOP / 2, "struct cpu and the double-fault stack");

u64 ap_stack_top; /* read by ap.S; CPUs start one after the other */

static unsigned cpu_count = 1, started = 1;
static u32 online = 1;
static u32 barrier_waiting, barrier_round;
static u32 work_number, work_left;
static void (*work_function)(void *arg);
static void *work_arg;

static void wake_handler(struct trap_frame *frame)
{
	(void)frame;
	cpu_self()->wakes++;
}

void smp_init(void)
{
	u64 n = time_is_varve() ? cpuid(0x40000001, 0).eax : cmdline_u64("cpus", 1);

	VERDICT_CHECK(n >= 1 && n <= CPU_MAX, "%lu CPUs: 1 to %d are possible", n, CPU_MAX);
	cpu_count = (unsigned)n;
	trap_set(TRAP_VECTOR_WAKE, wake_handler);
}

unsigned smp_count(void)
{
	return cpu_count;
}

static void start_one(unsigned id)
{
	u8 *area = mem_alloc(CPU_AREA_SIZE / PAGE_SIZE, CPU_AREA_SIZE / PAGE_SIZE);
	u64 limit;

	((struct cpu *)area)->id = id;
	__atomic_store_n(&ap_stack_top, (u64)(area + CPU_AREA_SIZE), __ATOMIC_SEQ_CST);
	apic_start_cpu(id, AP_CODE);
	limit = time_ns() + START_TIMEOUT_MS * 1000000ull;
	while (__atomic_load_n(&online, __ATOMIC_ACQUIRE) == id) {
		VERDICT_CHECK(time_ns() < limit, "cpu %u does not start", id);
		cpu_pause();
	}
}

void smp_start(void)
{
	memcpy((void *)AP_CODE, ap_code, (size_t)(ap_code_end - ap_code));
	for (unsigned id = started; id < cpu_count; id++)
		start_one(id);
	started = cpu_count;
}

static void take_work(struct cpu *cpu)
{
	u32 number = __atomic_load_n(&work_number, __ATOMIC_ACQUIRE);

	if (number == cpu->work_seen) {
		cpu_sti_hlt();
		return;
	}
	cpu->work_seen = number;
	cpu_sti();
	work_function(work_arg);
	__atomic_fetch_sub(&work_left, 1, __ATOMIC_ACQ_REL);
}

_Noreturn void smp_ap_main(void)
{
	struct cpu *cpu = cpu_self();

	trap_init_cpu();
	apic_init();
	VERDICT_CHECK(apic_id() == cpu->id, "cpu %u has APIC ID %u", cpu->id, apic_id());
	__atomic_store_n(&online, cpu->id + 1, __ATOMIC_RELEASE);
	for (;;) {
		cpu_cli(); /* so that a wake-up between the look and the HLT is not lost */
		take_work(cpu);
	}
}

void smp_run(void (*function)(void *arg), void *arg)
{
	work_function = function;
	work_arg = arg;
	__atomic_store_n(&work_left, started - 1, __ATOMIC_RELEASE);
	__atomic_fetch_add(&work_number, 1, __ATOMIC_ACQ_REL);
	for (unsigned id = 1; id < started; id++)
		apic_ipi(id, TRAP_VECTOR_WAKE);
	function(arg);
	for (unsigned spins = 0; __atomic_load_n(&work_left, __ATOMIC_ACQUIRE); spins++) {
		cpu_pause();
		if (spins > BARRIER_SPINS)
			time_doze_us(BARRIER_DOZE_US);
	}
}

void smp_barrier(void)
{
	u32 round = __atomic_load_n(&barrier_round, __ATOMIC_ACQUIRE);

	if (__atomic_add_fetch(&barrier_waiting, 1, __ATOMIC_ACQ_REL) == started) {
		__atomic_store_n(&barrier_waiting, 0, __ATOMIC_RELAXED);
		__atomic_fetch_add(&barrier_round, 1, __ATOMIC_ACQ_REL);
		return;
	}
	for (unsigned spins = 0; __atomic_load_n(&barrier_round, __ATOMIC_ACQUIRE) == round;) {
		cpu_pause();
		if (++spins > BARRIER_SPINS)
			time_doze_us(BARRIER_DOZE_US);
	}
}
