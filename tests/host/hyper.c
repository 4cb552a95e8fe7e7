#include "tests/host/hyper.h"

#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "arch/hal.h"
#include "arch/x86/console.h"
#include "hv/bootinfo.h"
#include "hv/monitor.h"
#include "hv/percpu.h"
#include "hv/reclaimer.h"
#include "hv/sched.h"
#include "hv/stats.h"
#include "hv/thread.h"
#include "tests/host/cpu_regs.h"
#include "tests/host/hal.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBERS
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(FIBERS)
#include <sanitizer/common_interface_defs.h>
#else
#define __sanitizer_start_switch_fiber(save, bottom, size)  ((void)0)
#define __sanitizer_finish_switch_fiber(save, bottom, size) ((void)0)
#endif

#define STACK_BYTES 262144u
#define PAUSES_MAX  10000000u   /* more than any test comes to */
#define MAIN        HYPER_VCPUS /* the program, as a coroutine */

struct coroutine {
	struct thread thread;
	ucontext_t context;
	const void *stack;
	size_t stack_bytes;
	void *fake_stack; /* the sanitizer's */
	enum hyper_where where;
	unsigned resumer;
	bool running; /* it, or somebody whom it resumed */
	bool kicked;
	bool loaded;
};

static struct {
	struct coroutine co[HYPER_VCPUS + 1];
	unsigned current, came_from, threads;
	u64 pauses, lines;
} x = {.current = MAIN};

static u8 stacks[HYPER_VCPUS][STACK_BYTES] aligned_to(16);

/* A flat image of one page of HLT behind its header (Multiboot specification 0.6.96, section 3.1). */
#define MB_MAGIC 0x1badb002u
#define MB_FLAGS 0x10000u
static struct {
	u32 magic, flags, checksum, header, load, load_end, bss_end, entry;
	u8 code[PAGE_SIZE - 32];
} image = {
        .magic = MB_MAGIC,
        .flags = MB_FLAGS,
        .checksum = 0u - MB_MAGIC - MB_FLAGS,
        .header = HYPER_IMAGE,
        .load = HYPER_IMAGE,
        .load_end = HYPER_IMAGE + PAGE_SIZE,
        .bss_end = HYPER_IMAGE + PAGE_SIZE,
        .entry = HYPER_ENTRY,
};
static const struct boot_module module = {.data = (const u8 *)&image, .bytes = sizeof(image)};

/* CPU 0 is the program's. */
static unsigned cpu_of(unsigned co)
{
	return co == MAIN ? 0 : co + 1;
}

/* Where a coroutine comes to itself again, or begins. */
static void arrive(unsigned me)
{
	struct coroutine *from = &x.co[x.came_from];

	(void)from;
	__sanitizer_finish_switch_fiber(x.co[me].fake_stack, &from->stack, &from->stack_bytes);
	host_cpu_set(cpu_of(me));
}

static void go(unsigned to)
{
	unsigned me = x.current;

	x.came_from = me;
	x.current = to;
	__sanitizer_start_switch_fiber(x.co[me].where == HYPER_ENDED ? NULL : &x.co[me].fake_stack,
	                               x.co[to].stack, x.co[to].stack_bytes);
	swapcontext(&x.co[me].context, &x.co[to].context);
	arrive(me);
}

/* From a coroutine back to who resumed it. */
static void leave(enum hyper_where where)
{
	struct coroutine *me = &x.co[x.current];

	me->where = where;
	me->running = false;
	go(me->resumer);
	me->where = HYPER_YIELDED;
}

static void coroutine_main(void)
{
	unsigned me = x.current;
	struct thread *t = &x.co[me].thread;

	arrive(me);
	x.co[me].fake_stack = NULL;
	x.co[me].where = HYPER_YIELDED;
	vendor->load(&t->vcpu->arch);
	x.co[me].loaded = true;
	t->fn(t->arg);
	leave(HYPER_ENDED);
	abort(); /* nobody resumes one that has ended */
}

static void coroutine_make(unsigned i)
{
	struct coroutine *c = &x.co[i];

	c->stack = stacks[i];
	c->stack_bytes = STACK_BYTES;
	c->where = HYPER_ASLEEP;
	getcontext(&c->context);
	c->context.uc_stack.ss_sp = stacks[i];
	c->context.uc_stack.ss_size = STACK_BYTES;
	c->context.uc_link = NULL;
	makecontext(&c->context, coroutine_main, 0);
}

enum hyper_where hyper_resume(unsigned i)
{
	struct coroutine *c = &x.co[i];

	ASSERT(!c->running);
	if (c->where == HYPER_ENDED)
		return HYPER_ENDED;
	c->running = true;
	c->resumer = x.current;
	go(i);
	return c->where;
}

void hyper_visit(unsigned i)
{
	host_cpu_set(cpu_of(i));
}

enum hyper_where hyper_where(unsigned i)
{
	return x.co[i].where;
}

void hyper_stay(void)
{
	leave(HYPER_GUEST);
}

bool hyper_kicked(unsigned i)
{
	bool kicked = x.co[i].kicked;

	x.co[i].kicked = false;
	return kicked;
}

/* Who waits for a vCPU that is in its guest and was asked to leave lets it; else somebody else goes on. */
static void pause_here(void *arg)
{
	(void)arg;
	if (++x.pauses % PAUSES_MAX == 0)
		hal_panic("a wait without end");
	for (unsigned i = 0; i < x.threads; i++) {
		if (x.co[i].running || x.co[i].where != HYPER_GUEST || !x.co[i].kicked)
			continue;
		hyper_resume(i);
		return;
	}
	if (x.current != MAIN)
		leave(HYPER_YIELDED);
}

void hyper_tick(void)
{
	for (unsigned cpu = 0; cpu <= x.threads; cpu++)
		if (hv_cpus[cpu].deadline_ns <= hal_time_ns())
			sched_kick(cpu);
}

u64 hyper_pauses(void)
{
	return x.pauses;
}

u64 hyper_lines(void)
{
	return x.lines;
}

/* --- the virtual machine --- */

static bool start(void)
{
	struct vm *vm = &vms[0];

	for (u32 i = 0; i < vm->nr_vcpus; i++)
		vm->vcpu[i].arch.id =
		        (u16)(i + 1); /* the numbers of all that ever were would run out */
	return vm_start(vm);
}

/* As far as vm_create() got. */
static void take_down(struct vm *vm)
{
	if (vm->vcpu)
		hal_pages_free(vm->vcpu,
		               (vm->nr_vcpus * sizeof(struct vcpu) + PAGE_SIZE - 1) / PAGE_SIZE);
	if (vm->stats)
		hal_pages_free(vm->stats, (sizeof(*vm->stats) + PAGE_SIZE - 1) / PAGE_SIZE);
	vm_count = 0;
	*vm = (struct vm){0};
	host_on_pause(NULL, NULL);
	cpu_virt_destroy();
}

bool hyper_create(const struct cpu_virt *hardware, const struct scenario_vm *config,
                  cpu_virt_guest guest)
{
	unsigned cpus = config->vcpus + 1;

	ASSERT(config->vcpus <= HYPER_VCPUS && !vm_count);
	memset(x.co, 0, sizeof(x.co));
	x.threads = 0;
	x.current = MAIN;
	host_cpu_count_set(cpus);
	cpu_virt_create(hardware, cpus, guest);
	hv_cpu_init_all();
	for (unsigned i = cpus; i-- > 0;) {
		host_cpu_set(i);
		hv_cpu_bind();
	}
	host_on_pause(pause_here, NULL);
	if (vm_create(config, &module)) /* memory that a machine without enough never gives back */
		hal_panic("the virtual machine cannot be made");
	return start();
}

void hyper_destroy(void)
{
	vm_take_down(&vms[0]);
	take_down(&vms[0]);
}

struct vm *hyper_vm(void)
{
	return &vms[0];
}

struct vcpu *hyper_vcpu(unsigned i)
{
	return &vms[0].vcpu[i];
}

unsigned hyper_index(const struct arch_vcpu *v)
{
	return v->id - 1u;
}

bool hyper_end(unsigned tries)
{
	unsigned ended = 0;

	vm_stop(&vms[0], VM_PASSED, "%s", "");
	for (unsigned t = 0; t < tries && ended < x.threads; t++) {
		ended = 0;
		for (unsigned i = 0; i < x.threads; i++)
			ended += hyper_resume(i) == HYPER_ENDED;
	}
	return ended == x.threads;
}

/* --- threads and scheduler --- */

struct thread *thread_create(const char *name, unsigned cpu, struct vcpu *vcpu, bool urgent,
                             void (*fn)(void *arg), void *arg)
{
	struct coroutine *c = &x.co[x.threads];

	(void)name;
	(void)cpu;
	(void)urgent;
	c->thread = (struct thread){.fn = fn, .arg = arg, .vcpu = vcpu};
	a32_store(&c->thread.cpu, cpu_of(x.threads));
	coroutine_make(x.threads++);
	return &c->thread;
}

struct thread *thread_self(void)
{
	return &x.co[x.current].thread;
}

void thread_yield(void)
{
	if (x.current != MAIN)
		leave(HYPER_YIELDED);
}

void thread_block(void)
{
	struct thread *t = thread_self();

	if (!t->wake_pending)
		leave(HYPER_ASLEEP);
	t->wake_pending = false;
}

void thread_wake(struct thread *t)
{
	t->wake_pending = true;
}

void thread_for_each(void (*fn)(struct thread *t, void *arg), void *arg)
{
	for (unsigned i = 0; i < x.threads; i++)
		if (x.co[i].where != HYPER_ENDED)
			fn(&x.co[i].thread, arg);
}

void sched_check(void)
{
	struct hv_cpu *c = this_hv_cpu();

	a32_store(&c->attention, 0);
	timer_run_due(hal_time_ns());
	c->deadline_ns = timer_next();
}

void sched_irq_window(void)
{
}

/* The NMI of a kick: its handler runs on that CPU. */
void sched_kick(unsigned cpu)
{
	unsigned me = hal_cpu_id();

	a32_store(&hv_cpus[cpu].attention, 1);
	if (cpu)
		x.co[cpu - 1].kicked = true;
	host_cpu_set(cpu);
	vendor_nmi();
	host_cpu_set(me);
}

void sched_unload(struct vcpu *v)
{
	struct coroutine *c = &x.co[v->index];

	if (c->loaded)
		vendor->put(&v->arch);
	c->loaded = false;
}

/* --- the rest of the hypervisor, as far as vCPUs and VMs know it --- */

void console_write(const char *text, size_t len)
{
	(void)text;
	x.lines += len != 0;
}

void monitor_wake(void)
{
}

void stats_bench(const struct vm *vm, const char *line)
{
	(void)vm;
	(void)line;
}

void reclaimer_set_target(struct space *s, const struct target *target)
{
	(void)s;
	(void)target;
}
