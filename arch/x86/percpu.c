#include "arch/x86/percpu.h"

#include "arch/hal.h"
#include "arch/x86/insn.h"
#include "lib/atomic.h"

/* entry.S fills `self` and `canary` before any C runs. */
struct percpu percpu_boot aligned_to(PAGE_SIZE);

static aptr percpu_table[HAL_MAX_CPUS];
static a32 percpu_count;

struct percpu *percpu_of(unsigned cpu)
{
	/* ord X1: pairs with percpu_add; the block is filled when its pointer is seen. */
	return cpu < HAL_MAX_CPUS ? aptr_load_acquire(&percpu_table[cpu]) : NULL;
}

void percpu_add(struct percpu *pc)
{
	u32 cpu = a32_load(&percpu_count);

	ASSERT(cpu < HAL_MAX_CPUS);
	pc->cpu = cpu;
	/* ord X1: pairs with percpu_of. */
	aptr_store_release(&percpu_table[cpu], pc);
	a32_store_release(&percpu_count, cpu + 1);
}

struct percpu *percpu_alloc(u32 apic_id)
{
	struct percpu *pc = hal_pages_alloc(1);

	if (!pc)
		return NULL;
	pc->self = pc;
	pc->apic_id = apic_id;
	/* The same everywhere: a vCPU's thread may go on with its frames on another CPU. */
	pc->canary = this_cpu()->canary;
	return pc;
}

unsigned hal_cpu_id(void)
{
	return this_cpu()->cpu;
}

unsigned hal_cpu_count(void)
{
	/* ord X1: pairs with percpu_add. */
	u32 n = a32_load_acquire(&percpu_count);

	return n ? n : 1;
}
