#include "hv/vcpu.h"

#include "arch/hal.h"
#include "arch/x86/fpu.h"
#include "arch/x86/regs.h"
#include "arch/x86/vcpu_event.h"
#include "hv/msr.h"
#include "hv/run.h"
#include "hv/sched.h"
#include "hv/thread.h"
#include "hv/vm.h"
#include "hv/world.h"
#include "lib/fmt.h"

#define RFLAGS_IF BIT(9)
/* A shorter period than this would leave a guest no time for anything but its timer. */
#define APIC_TIMER_MIN_NS 50000ull
/* Long enough for the guest to get at an instruction between, on the slowest emulator. */
#define WINDOW_RETRY_NS 1000000ull

#define LEAF1_EDX_1G BIT(26)

static u16 next_id = 1;

static void apic_timer_over(struct timer *timer)
{
	vcpu_request(container_of(timer, struct vcpu, apic_timer), VCPU_REQ_TIMER);
}

static void look_for_window(struct timer *timer)
{
	vcpu_request(container_of(timer, struct vcpu, window_timer), VCPU_REQ_EVENT);
}

bool vcpu_create(struct vcpu *v, struct vm *vm, u32 index)
{
	*v = (struct vcpu){.vm = vm, .index = index, .last_cpu = -1};
	v->arch.id = next_id++;
	v->arch.xcr0 = fpu_xcr0(); /* ours until it sets its own: an entry then switches nothing */
	v->xcr0 = XCR0_X87;
	v->activity = index ? VCPU_WAIT_SIPI : VCPU_ACTIVE;
	timer_init(&v->apic_timer, apic_timer_over);
	timer_init(&v->window_timer, look_for_window);
	vlapic_reset(&v->apic, index);
	msr_reset(v);
	v->arch.shadow = vm_on_shadow(vm, index);
	if (!v->arch.shadow) {
		v->arch.root = vm->tdp.root;
		v->arch.ad = vm_uses_ad(vm->config);
	}
	if (v->arch.shadow && !shadow_vcpu_create(&v->shadow, &vm->shadow))
		return false;
	if (vendor->create(&v->arch))
		return true;
	if (v->arch.shadow)
		shadow_vcpu_destroy(&v->shadow);
	return false;
}

static void vcpu_thread(void *arg)
{
	struct vcpu *v = arg;
	struct vm *vm = v->vm;

	run_vcpu(v);
	timer_cancel(&v->apic_timer);
	timer_cancel(&v->window_timer);
	vcpu_destroy(v);
	vm_vcpu_left(vm);
}

bool vcpu_make_thread(struct vcpu *v)
{
	char name[THREAD_NAME_MAX];

	fmt_snprintf(name, sizeof(name), "%s/%u", v->vm->name, v->index);
	v->thread = thread_create(name, THREAD_ANY_CPU, v, false, vcpu_thread, v);
	return v->thread != NULL;
}

void vcpu_destroy(struct vcpu *v)
{
	sched_unload(v);
	thread_self()->vcpu = NULL;
	fpu_forget(v->arch.fpu);
	vendor->destroy(&v->arch);
	if (v->arch.shadow)
		shadow_vcpu_destroy(&v->shadow);
}

void vcpu_request(struct vcpu *v, u32 bits)
{
	a32_fetch_or(&v->requests, bits); /* ord F3: before the look at mode */
	if (a32_load(&v->mode) == VCPU_IN_GUEST)
		sched_kick(a32_load(&v->thread->cpu));
	else
		thread_wake(v->thread);
}

void vcpu_post(struct vcpu *v, u8 vector)
{
	if (vlapic_post(&v->apic, vector))
		vcpu_request(v, VCPU_REQ_EVENT);
}

static void send_to(struct vcpu *to, const struct vlapic_ipi *ipi)
{
	switch (ipi->delivery) {
	case VLAPIC_FIXED:
	case VLAPIC_LOWEST:
		vcpu_post(to, ipi->vector);
		break;
	case VLAPIC_NMI:
		vcpu_request(to, VCPU_REQ_NMI);
		break;
	case VLAPIC_INIT:
		vcpu_request(to, VCPU_REQ_INIT);
		break;
	case VLAPIC_STARTUP:
		to->sipi_vector = ipi->vector;
		vcpu_request(to, VCPU_REQ_SIPI);
		break;
	}
}

static void send_ipi(struct vcpu *v, const struct vlapic_ipi *ipi)
{
	struct vm *vm = v->vm;

	for (u32 i = 0; i < vm->nr_vcpus; i++) {
		if (!vlapic_is_dest(&vm->vcpu[i].apic, ipi, &v->apic))
			continue;
		send_to(&vm->vcpu[i], ipi);
		if (ipi->delivery == VLAPIC_LOWEST) /* one of them; we take the first */
			return;
	}
}

static void arm_timer(struct vcpu *v)
{
	u64 deadline = vlapic_timer_deadline(&v->apic);

	if (deadline == ~0ull)
		timer_cancel(&v->apic_timer);
	else
		timer_set(&v->apic_timer, deadline);
}

void vcpu_apic_effect(struct vcpu *v, const struct vlapic_effect *effect)
{
	v->arch.cr8 = v->cr8_seen = vlapic_cr8(&v->apic);
	if (effect->check)
		a32_fetch_or(&v->requests, VCPU_REQ_EVENT);
	if (effect->timer_changed)
		arm_timer(v);
	if (effect->send)
		send_ipi(v, &effect->ipi);
}

static void timer_request(struct vcpu *v)
{
	u64 now = hal_time_ns(), deadline;

	if (vlapic_timer_fire(&v->apic, now))
		a32_fetch_or(&v->requests, VCPU_REQ_EVENT);
	deadline = vlapic_timer_deadline(&v->apic);
	if (deadline != ~0ull)
		timer_set(&v->apic_timer, max_of(deadline, now + APIC_TIMER_MIN_NS));
}

/* INIT leaves it waiting for SIPI, which says where to begin (SDM vol. 3, section 9.4.4). */
static void init_request(struct vcpu *v)
{
	timer_cancel(&v->apic_timer);
	vlapic_reset(&v->apic, v->index);
	v->arch.cr8 = v->cr8_seen = 0;
	v->activity = VCPU_WAIT_SIPI;
}

static void sipi_request(struct vcpu *v)
{
	struct vreset how = {.mode = VRESET_SIPI, .sipi_vector = v->sipi_vector};

	if (v->activity != VCPU_WAIT_SIPI)
		return;
	vcpu_reset(v, &how);
	v->window = false;
	v->activity = VCPU_ACTIVE;
}

static void nmi_request(struct vcpu *v)
{
	struct vevent nmi = {.vector = 2, .type = 2, .valid = true};

	if (v->activity == VCPU_WAIT_SIPI)
		return;
	v->activity = VCPU_ACTIVE;
	vendor->inject(&v->arch, &nmi);
}

void vcpu_window(struct vcpu *v, bool on)
{
	if (!v->window && !on)
		return;
	v->window = vendor->irq_window(&v->arch, on) && on;
	if (on && !v->window)
		timer_set(&v->window_timer, hal_time_ns() + WINDOW_RETRY_NS);
}

/* Delivers the APIC's best vector now, or asks to be told when the guest can take it. */
static void event_request(struct vcpu *v)
{
	int vector = vlapic_pending(&v->apic);
	struct vevent irq = {.vector = (u8)vector, .valid = true};

	if (vector < 0 || v->activity == VCPU_WAIT_SIPI) {
		vcpu_window(v, false);
		return;
	}
	if (v->activity == VCPU_HALTED) {
		if (!(v->arch.rflags & RFLAGS_IF))
			return;
		v->activity = VCPU_ACTIVE;
	}
	if (!vendor->irq_ready(&v->arch)) {
		vcpu_window(v, true);
		return;
	}
	vcpu_window(v, false);
	vlapic_accept(&v->apic, (u8)vector);
	vendor->inject(&v->arch, &irq);
}

void vcpu_handle_requests(struct vcpu *v)
{
	u32 keep = VCPU_REQ_STOP | VCPU_REQ_WORLD;
	u32 requests = a32_fetch_and(&v->requests, keep); /* ord F3: before what they stand for */

	if (requests & VCPU_REQ_INIT)
		init_request(v);
	if (requests & VCPU_REQ_SIPI)
		sipi_request(v);
	if (requests & VCPU_REQ_NMI)
		nmi_request(v);
	if (requests & VCPU_REQ_TIMER) {
		timer_request(v);
		requests |= a32_fetch_and(&v->requests, ~(u32)VCPU_REQ_EVENT);
	}
	if (requests & VCPU_REQ_EVENT)
		event_request(v);
}

void vcpu_wait(struct vcpu *v)
{
	world_leave();
	while (!a32_load(&v->requests))
		thread_block();
	world_enter();
}

void vcpu_inject_exception(struct vcpu *v, u8 vector, bool has_error, u32 error)
{
	struct vevent event = {
	        .vector = vector, .type = 3, .valid = true, .has_error = has_error, .error = error};

	vendor->inject(&v->arch, &event);
}

void vcpu_paging_changed(struct vcpu *v)
{
	struct shadow_regs regs;

	vendor->flush(&v->arch);
	if (!v->arch.shadow)
		return;
	regs = (struct shadow_regs){
	        .cr0 = vendor->get(&v->arch, VREG_CR0),
	        .cr3 = vendor->get(&v->arch, VREG_CR3),
	        .cr4 = vendor->get(&v->arch, VREG_CR4),
	        .efer = vendor->get(&v->arch, VREG_EFER),
	        .phys_bits = (u8)v->vm->cpuid.ext[8].eax,
	        .page_1g = v->vm->cpuid.ext[1].edx & LEAF1_EDX_1G,
	};
	shadow_vcpu_set(&v->shadow, &regs);
}

void vcpu_reset(struct vcpu *v, const struct vreset *how)
{
	vendor->reset(&v->arch, how);
	vcpu_paging_changed(v);
}

/*
 * The delivery of an interrupt that meets a page fault is begun again behind the handler of the fault: it is
 * not known to have begun at all where the vendor offers it as a virtual one (arch/x86/svm/event.c).
 */
void vcpu_inject_page_fault(struct vcpu *v, gva_t at, u32 error)
{
	u32 event = v->arch.event;

	if ((event & EVENT_VALID) && !(event & EVENT_TYPE))
		vlapic_give_back(&v->apic, (u8)event);
	if (vcpu_event_page_fault(&v->arch, error) == VCPU_EVENT_TRIPLE) {
		vm_stop(v->vm, VM_STOPPED,
		        "triple fault on vCPU %u at rip 0x%llx (page fault at 0x%llx)", v->index,
		        (unsigned long long)v->arch.rip, (unsigned long long)at.v);
		return;
	}
	vendor->set(&v->arch, VREG_CR2, at.v);
	a32_fetch_or(&v->requests, VCPU_REQ_EVENT);
}
