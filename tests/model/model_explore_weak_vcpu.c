/*
 * What others ask of a vCPU (hv/vcpu.c, hv/vlapic.c, hv/exit.c, hv/run.c), and the end of a VM (hv/vm.c), on the
 * scheduler as it is, under the weak memory of tests/host/weak.h. The guest is here: it stays inside until it is irq_pending,
 * and ends its VM when it has got what a scene has for it. A request that is lost leaves it inside, or its thread
 * asleep, for ever: a deadlock.
 */
#include "tests/model/hv_cpus.h"

#include "hv/exit.c"
#include "hv/run.c"
#include "hv/vcpu.c"
#include "hv/vlapic.c"
/* Why a VM has ended is data like any other. */
#define fmt_vsnprintf(at, ...) (weak_write(at), fmt_vsnprintf(at, __VA_ARGS__))
#include "hv/vm.c"
#undef fmt_vsnprintf

#define VCPUS    2u
#define VECTOR_A 0x41u
#define VECTOR_B 0x42u /* in the same word as A */

static struct vm *const vm = &vms[0];
static struct vcpu vcpus[VCPUS];
static struct space space;

/* What the scene's guest does first, and what it stays for. */
static enum vexit_kind first_exit;
static bool first_done;
static u32 want_nmis, want_vectors;
static u32 nmis, vectors;

/* --- the guest and its hardware --- */

static bool must_leave_guest(void *cpu)
{
	return irq_pending[(uintptr_t)cpu];
}

/* Delivers what is to be delivered; the guest's handler of an interrupt ends it, which is an exit. */
static bool guest_deliver(struct arch_vcpu *v)
{
	struct vcpu *of = container_of(v, struct vcpu, arch);
	struct vlapic_effect effect = {.check = false};
	u32 event = v->event;

	v->event = 0;
	if (!(event & EVENT_VALID) || event & EVENT_TYPE)
		return false;
	vlapic_write(&of->apic, VLAPIC_EOI, 0, hal_time_ns(), &effect);
	vcpu_apic_effect(of, &effect);
	return true;
}

static void guest_run(struct arch_vcpu *v, struct vexit *exit)
{
	*exit = (struct vexit){.kind = VEXIT_IRQ};
	if (guest_deliver(v) || irq_pending[explorer_self()])
		return;
	if (nmis == want_nmis && vectors == want_vectors) {
		if (a32_load(&vm->state) != VM_RUNNING)
			hal_pause(); /* until it is told that its VM has ended */
		weak_write(v);       /* stands for all that the vCPU has done */
		exit->kind = VEXIT_TRIPLE;
	} else if (!first_done) {
		first_done = true;
		exit->kind = first_exit;
	} else {
		explorer_wait(must_leave_guest, (void *)(uintptr_t)explorer_self());
	}
}

static void guest_inject(struct arch_vcpu *v, const struct vevent *event)
{
	if (event->type == 2) {
		nmis++;
		return;
	}
	vectors++;
	v->event = EVENT_VALID | event->vector;
}

static bool guest_irq_ready(struct arch_vcpu *v)
{
	return !(v->event & EVENT_VALID);
}

static bool guest_irq_window(struct arch_vcpu *v, bool on)
{
	(void)v;
	return on;
}

static u64 guest_get(struct arch_vcpu *v, enum vreg reg)
{
	(void)v;
	(void)reg;
	return 0;
}

static void guest_set(struct arch_vcpu *v, enum vreg reg, u64 value)
{
	(void)v;
	(void)reg;
	(void)value;
}

static void nothing(struct arch_vcpu *v)
{
	(void)v;
}

static const struct vendor_ops fake_vendor = {
        .load = nothing,
        .put = nothing,
        .destroy = nothing,
        .flush = nothing,
        .run = guest_run,
        .inject = guest_inject,
        .irq_ready = guest_irq_ready,
        .irq_window = guest_irq_window,
        .get = guest_get,
        .set = guest_set,
};
const struct vendor_ops *vendor = &fake_vendor;
struct vendor_caps vendor_caps;

/* --- what the files above call of the rest --- */

a32 chaos_period;
struct cpu_features cpu_features;

void fpu_load_guest(struct fpu_area *area)
{
	(void)area;
}
void fpu_put(struct fpu_area *area)
{
	(void)area;
}
void fpu_forget(const struct fpu_area *area)
{
	(void)area;
}
u64 fpu_xcr0(void)
{
	return 0;
}
bool loader_load(struct vcpu *v)
{
	return v != NULL;
}

/* What no scene comes to. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#define NOT_HERE(type, name, ...)                    \
	type name(__VA_ARGS__)                       \
	{                                            \
		explorer_panic("%s: called", #name); \
	}
NOT_HERE(void, chaos_strike, bool flag)
NOT_HERE(void, console_write, const char *text, size_t n)
NOT_HERE(void, exit_cr, struct vcpu *v)
NOT_HERE(void, exit_fault, struct vcpu *v, const struct vexit_fault *fault)
NOT_HERE(void, exit_invlpg, struct vcpu *v)
NOT_HERE(void, exit_invpcid, struct vcpu *v)
NOT_HERE(bool, exit_paging_root, struct vcpu *v)
NOT_HERE(void, exit_rdmsr, struct vcpu *v)
NOT_HERE(void, exit_real_event, struct vcpu *v)
NOT_HERE(void, exit_real_gp, struct vcpu *v)
NOT_HERE(void, exit_real_unfit, struct vcpu *v)
NOT_HERE(void, exit_wrmsr, struct vcpu *v)
NOT_HERE(void, exit_xsetbv, struct vcpu *v)
NOT_HERE(const char *, loader_check, struct vm *of)
NOT_HERE(void, reclaimer_set_target, struct space *of, const struct target *target)
NOT_HERE(void, stats_bench, const struct vm *of, const char *text)
#pragma GCC diagnostic pop

/* --- exits of which only the requests matter here --- */

bool exit_step(struct vcpu *v)
{
	(void)v;
	return true;
}

void exit_yield(struct vcpu *v)
{
	(void)v;
	thread_yield();
}

/* A write of an APIC register after which an interrupt may be deliverable. */
void exit_io(struct vcpu *v, const struct vexit_io *io)
{
	struct vlapic_effect effect = {.check = true};

	(void)io;
	vcpu_apic_effect(v, &effect);
}

void exit_page_fault(struct vcpu *v, const struct vexit_page_fault *fault)
{
	(void)fault;
	vcpu_inject_page_fault(v, gva(0), 0);
}

/* --- who reads of the VM's end --- */

static bool monitor_woken;
static bool nobody_reads;

/* Waking and being woken take a lock (hv/thread.c): here it is a barrier. */
void monitor_wake(void)
{
	fence_full();
	monitor_woken = true;
	hv_over |= nobody_reads && !vm->live.raw;
}

static bool monitor_ready(void *arg)
{
	(void)arg;
	return monitor_woken;
}

static void run_monitor(void)
{
	while (!vm_is_left(vm)) {
		explorer_wait(monitor_ready, NULL);
		monitor_woken = false;
		fence_full();
	}
	weak_read(vm->why);
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		weak_write(&vcpus[i].arch);
	hv_over = true;
}

/* --- scenes --- */

static void make_vcpu(u32 i)
{
	struct vcpu *v = &vcpus[i];

	*v = (struct vcpu){.vm = vm, .index = i, .last_cpu = -1, .activity = VCPU_ACTIVE};
	v->apic.svr = VLAPIC_SVR_ENABLE | 0xff;
	v->arch.rflags = RFLAGS_IF;
	timer_init(&v->apic_timer, apic_timer_over);
	timer_init(&v->window_timer, look_for_window);
}

static void reset(u32 nr_vcpus, enum vexit_kind first)
{
	hv_cpus_reset(nr_vcpus, 1);
	first_exit = first;
	first_done = nobody_reads = monitor_woken = false;
	nmis = vectors = want_nmis = want_vectors = 0;
	vm->vcpu = vcpus;
	vm->nr_vcpus = nr_vcpus;
	vm->space = &space;
	vm->state.raw = VM_RUNNING;
	vm_count = 1;
	for (u32 i = 0; i < nr_vcpus; i++)
		make_vcpu(i);
	if (!vm_start(vm))
		explorer_panic("no thread");
}

/* Two vectors of one word of the IRR, from two others. */
static void setup_vectors(void)
{
	reset(1, VEXIT_HANDLED);
	nobody_reads = true;
	want_vectors = 2;
}

static void run_post_a(void)
{
	vcpu_post(&vcpus[0], VECTOR_A);
}

static void run_post_b(void)
{
	vcpu_post(&vcpus[0], VECTOR_B);
}

/* An NMI from another, while the vCPU sets requests for itself, or takes some. */
static void setup_nmi(enum vexit_kind first)
{
	reset(1, first);
	nobody_reads = true;
	want_nmis = 1;
}

static void run_nmi(void)
{
	vcpu_request(&vcpus[0], VCPU_REQ_NMI);
}

static void setup_hlt(void)
{
	setup_nmi(VEXIT_HLT);
}

static void setup_window(void)
{
	setup_nmi(VEXIT_IRQ_WINDOW);
	vcpus[0].window = true;
}

static void setup_cr8(void)
{
	setup_nmi(VEXIT_HANDLED);
	vcpus[0].cr8_seen = 1;
}

static void setup_apic(void)
{
	setup_nmi(VEXIT_IO);
}

static void setup_page_fault(void)
{
	setup_nmi(VEXIT_PAGE_FAULT);
}

/* Its timer is over: an interrupt, and the next one. */
static void setup_timer(void)
{
	setup_nmi(VEXIT_HANDLED);
	vcpus[0].apic.lvt_timer = VECTOR_A;
	vcpus[0].apic.timer_on = true;
	vcpus[0].requests.raw = VCPU_REQ_TIMER;
	want_vectors = 1;
}

/* The world was stopped, and goes on already. */
static void setup_was_stopped(void)
{
	setup_nmi(VEXIT_HANDLED);
	vcpus[0].requests.raw = VCPU_REQ_WORLD;
}

/* A vCPU in its guest leaves when the world is stopped. */
static struct thread auditor;

static void setup_world(void)
{
	setup_nmi(VEXIT_HANDLED);
}

static void run_auditor(void)
{
	struct hv_cpu *c = this_hv_cpu();

	auditor = (struct thread){.state = THREAD_RUNNING};
	a32_store(&auditor.cpu, c->id);
	c->idle = c->current = &auditor;
	world_stop();
	if (a32_load(&vcpus[0].mode) == VCPU_IN_GUEST)
		explorer_panic("a vCPU is in its guest while the world stands still");
	world_resume();
	vcpu_request(&vcpus[0], VCPU_REQ_NMI);
}

/* The VM ends by itself while another stops it, and then is taken down. */
static void setup_end(void)
{
	reset(1, VEXIT_HANDLED);
}

static void setup_end_of_two(void)
{
	reset(2, VEXIT_HANDLED);
}

/* As who finds no memory does: one that is no vCPU of this VM. */
static void run_stopper(void)
{
	vm_stop(vm, VM_STOPPED, "out of memory");
}

/* Leaves for another reason than to be told. */
static void setup_stopped(void)
{
	setup_end();
	want_nmis = 1;
}

#define NMI_SCENE(what, set)                                                         \
	{                                                                            \
		.name = "an nmi, and " what, .setup = set,                           \
		.actor = {{"cpu", hv_cpu_run}, {"sender", run_nmi}}, .nr_actors = 2, \
		.max_preemptions = 2                                                 \
	}

static const struct explorer_scene scenes[] = {
        {.name = "two vectors are posted",
         .setup = setup_vectors,
         .actor = {{"cpu", hv_cpu_run}, {"poster", run_post_a}, {"poster2", run_post_b}},
         .nr_actors = 3,
         .max_preemptions = 2},
        NMI_SCENE("a halt", setup_hlt),
        NMI_SCENE("an interrupt window", setup_window),
        NMI_SCENE("a new priority class", setup_cr8),
        NMI_SCENE("a write to the APIC", setup_apic),
        NMI_SCENE("a page fault", setup_page_fault),
        NMI_SCENE("a timer", setup_timer),
        NMI_SCENE("the end of an audit", setup_was_stopped),
        {.name = "the world is stopped, a vCPU is inside",
         .setup = setup_world,
         .actor = {{"cpu", hv_cpu_run}, {"auditor", run_auditor}},
         .nr_actors = 2,
         .max_preemptions = 2},
        {.name = "a VM ends, and is stopped",
         .setup = setup_end,
         .actor = {{"cpu", hv_cpu_run}, {"stopper", run_stopper}, {"monitor", run_monitor}},
         .nr_actors = 3,
         .max_preemptions = 2},
        {.name = "a VM is stopped, one asks it something else",
         .setup = setup_stopped,
         .actor = {{"cpu", hv_cpu_run},
                   {"stopper", run_stopper},
                   {"sender", run_nmi},
                   {"monitor", run_monitor}},
         .nr_actors = 4,
         .max_preemptions = 1},
        {.name = "a VM of two vCPUs ends",
         .setup = setup_end_of_two,
         .actor = {{"cpu", hv_cpu_run}, {"cpu2", hv_cpu_run}, {"monitor", run_monitor}},
         .nr_actors = 3,
         .max_preemptions = 1},
};

int main(void)
{
	return explorer_main(scenes, ARRAY_SIZE(scenes));
}
