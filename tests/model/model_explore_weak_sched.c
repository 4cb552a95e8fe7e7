/*
 * Wake-ups, threads that go to another CPU, counts of threads (hv/sched.c, hv/thread.c), and the stopping of the world
 * (hv/world.c), under the weak memory of tests/host/weak.h.
 */
#include "tests/model/hv_cpus.h"

#include "hv/vm.h"

static a32 work;   /* what a thread sleeps for */
static u64 memory; /* stands for what threads in the world change, and the auditor looks at */
static struct thread *sleeper, *other;
static u32 to_end; /* so many threads of the scene still run */

/* --- what these files call of the rest --- */

struct vm vms[VM_MAX];
unsigned vm_count;
void vcpu_request(struct vcpu *v, u32 bits)
{
	(void)v;
	(void)bits;
}
void fpu_put(struct fpu_area *area)
{
	(void)area;
}

/* What is current on a CPU, and that it is on one only. */
static const struct arch_vcpu *loaded[EXPLORER_ACTORS];
static void vendor_load(struct arch_vcpu *v)
{
	for (unsigned i = 0; i < EXPLORER_ACTORS; i++)
		if (loaded[i] == v)
			explorer_panic("a control block is current on two CPUs");
	loaded[explorer_self()] = v;
}
static void vendor_put(struct arch_vcpu *v)
{
	if (loaded[explorer_self()] != v)
		explorer_panic("a control block is put where it is not current");
	loaded[explorer_self()] = NULL;
}
static const struct vendor_ops fake_vendor = {.load = vendor_load, .put = vendor_put};
const struct vendor_ops *vendor = &fake_vendor;

static void thread_is_over(void)
{
	if (!--to_end)
		hv_over = true;
}

static struct thread *make_thread(unsigned cpu, struct vcpu *v, void (*fn)(void *arg))
{
	struct thread *t = thread_create("t", cpu, v, false, fn, v);

	if (!t)
		explorer_panic("no thread");
	to_end++;
	return t;
}

static void reset(unsigned cpus)
{
	hv_cpus_reset(cpus, 1);
	work.raw = 0;
	to_end = 0;
	memset(loaded, 0, sizeof(loaded));
}

/* --- a thread sleeps until somebody has done two pieces of work --- */

static void sleep_for_two(void *arg)
{
	(void)arg;
	while (a32_load(&work) != 2)
		thread_block();
	thread_is_over();
}

static void setup_sleeper(void)
{
	reset(1);
	sleeper = make_thread(0, NULL, sleep_for_two);
	thread_wake(sleeper);
}

static void run_waker(void)
{
	a32_fetch_add(&work, 1);
	thread_wake(sleeper);
}

/* --- two sleepers on one CPU: who finds `attention` set already does not kick --- */

static void sleep_for_one(void *arg)
{
	(void)arg;
	while (!a32_load(&work))
		thread_block();
	thread_is_over();
}

static void setup_two_sleepers(void)
{
	reset(1);
	sleeper = make_thread(0, NULL, sleep_for_one);
	other = make_thread(0, NULL, sleep_for_one);
	thread_wake(sleeper);
	thread_wake(other);
}

static void run_waker_of_one(void)
{
	a32_store(&work, 1);
	thread_wake(sleeper);
}

static void run_waker_of_other(void)
{
	a32_store(&work, 1);
	thread_wake(other);
}

/* --- a vCPU's thread goes to an idle CPU; others are counted meanwhile --- */

static struct vcpu vcpus[3];

static void yield_once(void *arg)
{
	struct vcpu *v = arg;

	thread_yield();
	thread_self()->vcpu = NULL; /* as vcpu_destroy() does */
	sched_unload(v);
	thread_is_over();
}

static struct thread *made;
static void setup_hand_over(void)
{
	reset(2);
	made = NULL;
	memset(vcpus, 0, sizeof(vcpus));
	host_time_set(SCHED_PULL_NS);
	for (unsigned i = 0; i < 2; i++)
		thread_wake(make_thread(0, &vcpus[i], yield_once));
}

static void run_maker_anywhere(void)
{
	made = thread_create("t", explorer_choose(2), &vcpus[2], false, yield_once, &vcpus[2]);
}

static void check_counts(void)
{
	if (to_end)
		explorer_panic("a thread has not run");
	for (unsigned i = 0; i < 2; i++)
		if (hv_cpus[i].threads.raw != (made && made->cpu.raw == i) ||
		    hv_cpus[i].queued.raw || loaded[i])
			explorer_panic("CPU %u counts %u threads", i, hv_cpus[i].threads.raw);
}

/* --- threads are made for a CPU by two, while one there ends --- */

static void end_at_once(void *arg)
{
	yield_once(arg);
}

static void setup_makers(void)
{
	reset(1);
	memset(vcpus, 0, sizeof(vcpus));
	thread_wake(make_thread(0, &vcpus[0], end_at_once));
}

static void run_maker(void)
{
	struct vcpu *v = &vcpus[explorer_self()];
	struct thread *t = thread_create("t", THREAD_ANY_CPU, v, false, end_at_once, v);

	if (!t || a32_load(&t->cpu))
		explorer_panic("no thread, or on a CPU that is not there");
}

static void check_makers(void)
{
	if (hv_cpus[0].threads.raw != 2)
		explorer_panic("%u threads are counted, two are there", hv_cpus[0].threads.raw);
}

/* --- the world --- */

static void live_inside(void *arg)
{
	(void)arg;
	world_enter();
	weak_write(&memory);
	world_leave();
	thread_yield();
	world_enter();
	weak_write(&memory);
	world_leave();
	thread_is_over();
}

static void setup_world(void)
{
	reset(1);
	thread_wake(make_thread(0, NULL, live_inside));
}

/* The auditor runs on a CPU of its own; to yield, it needs no other thread there. */
static struct thread auditor;

static void audit(void)
{
	struct hv_cpu *c = this_hv_cpu();

	auditor = (struct thread){.state = THREAD_RUNNING};
	a32_store(&auditor.cpu, c->id);
	c->idle = c->current = &auditor;
	world_stop();
	weak_write(&memory);
	world_resume();
}

static const struct explorer_scene scenes[] = {
        {.name = "one sleeps, two wake it",
         .setup = setup_sleeper,
         .actor = {{"cpu", hv_cpu_run}, {"waker", run_waker}, {"waker2", run_waker}},
         .nr_actors = 3,
         .max_preemptions = 2},
        {.name = "two sleep on a CPU, each is woken",
         .setup = setup_two_sleepers,
         .actor = {{"cpu", hv_cpu_run},
                   {"waker", run_waker_of_one},
                   {"waker2", run_waker_of_other}},
         .nr_actors = 3,
         .max_preemptions = 2},
        {.name = "a vCPU goes to an idle CPU",
         .setup = setup_hand_over,
         .check = check_counts,
         .actor = {{"busy", hv_cpu_run}, {"idle", hv_cpu_run}},
         .nr_actors = 2,
         .max_preemptions = 2},
        {.name = "a vCPU goes to an idle CPU, another is made",
         .setup = setup_hand_over,
         .check = check_counts,
         .actor = {{"busy", hv_cpu_run}, {"idle", hv_cpu_run}, {"maker", run_maker_anywhere}},
         .nr_actors = 3,
         .max_preemptions = 1},
        {.name = "two are made, one ends",
         .setup = setup_makers,
         .check = check_makers,
         .actor = {{"cpu", hv_cpu_run}, {"maker", run_maker}, {"maker2", run_maker}},
         .nr_actors = 3,
         .max_preemptions = 2},
        {.name = "the world is stopped",
         .setup = setup_world,
         .actor = {{"cpu", hv_cpu_run}, {"auditor", audit}},
         .nr_actors = 2,
         .max_preemptions = 2},
};

int main(void)
{
	return explorer_main(scenes, ARRAY_SIZE(scenes));
}
