#include "hv/percpu.h"

struct hv_cpu hv_cpus[HAL_MAX_CPUS];

void hv_cpu_init_all(void)
{
	for (unsigned i = 0; i < HAL_MAX_CPUS; i++) {
		struct hv_cpu *c = &hv_cpus[i];

		*c = (struct hv_cpu){
		        .id = i, .deadline_ns = TIMER_NEVER, .programmed_ns = TIMER_NEVER};
		spin_init(&c->lock, LOCK_SCHED, "run queue");
		spin_init(&c->timer_lock, LOCK_TIMER, "timers");
	}
}

void hv_cpu_bind(void)
{
	this_cpu()->hv = &hv_cpus[hal_cpu_id()];
}
