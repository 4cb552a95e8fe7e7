/*
 * The gate between hypervisor and guest.
 *
 * What makes a shootdown right (I7):
 *
 *	vCPU, on its way in			somebody who unmapped a page
 *	1 mode = IN_GUEST   (full, ord F1)	a flush.wanted++       (full, ord F2)
 *	2 read flush.wanted			b read mode of each vCPU
 *	3 behind: flush, publish flushed_gen	c IN_GUEST and behind: kick, wait until either changes
 *	4 run the guest
 *	5 mode = OUTSIDE    (release)
 *
 * 1 before 2 and a before b, each with a full barrier between: if b reads OUTSIDE, then 1 had not
 * happened, so 2 comes after a and reads the new number: the vCPU flushes before it runs. If b reads
 * IN_GUEST, then c waits until the vCPU is OUTSIDE (what it could translate is not used any more; the
 * next entry flushes) or until it has published the number (it flushed after a). A vCPU that publishes
 * in 3 has not run since it was OUTSIDE, so nothing old is in use between 3 and the flush itself,
 * which the entry does. The wait needs no interrupts here and no lock: a CPU in the hypervisor has
 * nothing to acknowledge, it flushes at its next entry; so two that shoot at each other cannot block.
 *
 * A pass of the ager may ask for a flush as well (mm/age_flush.h). It waits for nobody: only c is left out
 * of the right column, and the kick in it may come later.
 *
 * A vCPU that comes to another CPU flushes as well: that CPU may hold translations of an earlier stay.
 */
#include "hv/run.h"

#include "arch/hal.h"
#include "arch/x86/fpu.h"
#include "arch/x86/insn.h"
#include "arch/x86/percpu.h"
#include "arch/x86/vendor.h"
#include "hv/chaos.h"
#include "hv/exit.h"
#include "hv/loader.h"
#include "hv/sched.h"
#include "hv/vcpu.h"
#include "hv/vm.h"
#include "hv/world.h"
#include "mm/dirty_log.h"
#include "mm/epoch.h"
#include "mm/space.h"

#define KICK_AGAIN_NS    1000000ull    /* a kick may fall into the gap before an entry */
#define KICK_COMPLAIN_NS 1000000000ull /* emulators take milliseconds; this is a bug of ours */

static bool must_leave(struct vcpu *v, u64 gen)
{
	return a32_load_acquire(&v->mode) == VCPU_IN_GUEST && /* ord F4 */
	       a64_load_acquire(&v->flushed_gen) < gen;
}

static void wait_until_out(struct vcpu *v, u64 gen)
{
	u64 start = hal_time_ns(), kicked = start;
	bool complained = false;

	while (must_leave(v, gen)) {
		u64 now = hal_time_ns();

		hal_pause();
		if (now - kicked < KICK_AGAIN_NS)
			continue;
		kicked = now;
		sched_kick(a32_load(&v->thread->cpu));
		if (!complained && now - start > KICK_COMPLAIN_NS) {
			complained = true;
			hal_log(HAL_ERROR, "%s/%u does not leave its guest for a TLB flush",
			        v->vm->name, v->index);
		}
	}
}

static bool run_nudge(struct space *s, u64 gen)
{
	struct vm *vm = s->priv;
	bool any = false;

	for (u32 i = 0; i < vm->nr_vcpus; i++) {
		if (!must_leave(&vm->vcpu[i], gen)) /* ord F2: flush.wanted was raised before */
			continue;
		any = true;
		sched_kick(a32_load(&vm->vcpu[i].thread->cpu));
	}
	return any;
}

static void run_shootdown(struct space *s, u64 gen)
{
	struct vm *vm = s->priv;

	(void)run_nudge(s, gen);
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		wait_until_out(&vm->vcpu[i], gen);
}

static bool run_since_last(struct space *s)
{
	struct vm *vm = s->priv;

	return a32_fetch_and(&vm->ran, ~VM_RAN_PASS) & VM_RAN_PASS;
}

static bool run_lately(struct space *s)
{
	struct vm *vm = s->priv;

	return a32_fetch_and(&vm->ran, ~VM_RAN_LATELY) & VM_RAN_LATELY;
}

const struct space_ops run_space_ops = {
        .shootdown = run_shootdown,
        .nudge = run_nudge,
        .ran = run_since_last,
        .ran_lately = run_lately,
};

/* Mode is IN_GUEST: honour the flush generation that is wanted now. */
static void flush_if_behind(struct vcpu *v, s32 cpu)
{
	/* ord F1: after mode. Acquire: who sees the generation walks tables without the entries (ord N3). */
	u64 wanted = a64_load_acquire(&v->vm->space->flush.wanted);

	if (likely(a64_load(&v->flushed_gen) == wanted && v->last_cpu == cpu))
		return;
	vendor->flush(&v->arch);
	v->last_cpu = cpu;
	a64_store_release(&v->flushed_gen, wanted); /* ord F4 */
}

static void enter_guest(struct vcpu *v)
{
	u64 host_xcr0 = fpu_xcr0();
	bool other_xcr0 = v->arch.xcr0 != host_xcr0;

	if (unlikely(this_cpu()->fpu_live != v->arch.fpu))
		fpu_load_guest(v->arch.fpu);
	if (unlikely(other_xcr0))
		xcr0_write(v->arch.xcr0);
	vendor->run(&v->arch, &v->exit);
	if (unlikely(other_xcr0))
		xcr0_write(host_xcr0);
}

/* Before the vCPU says that it has left (ord F4): who waits for that finds what it wrote in the log. */
static __attribute__((noinline)) void take_logged(struct vcpu *v)
{
	dirty_log_hardware(v->vm->space, v->arch.logged, v->arch.nr_logged);
	v->arch.nr_logged = 0;
}

/* One stay in the guest, unless something is to be done first. Never gives up the CPU. */
static __attribute__((noinline)) bool run_once(struct vcpu *v)
{
	struct hv_cpu *c = this_hv_cpu();
	bool wanted;

	lock_assert_none();
	DEBUG_ASSERT(!epoch_active());
	v->arch.deadline_ns = c->deadline_ns == TIMER_NEVER ? 0 : c->deadline_ns;
	a32_store_full(&v->mode, VCPU_IN_GUEST); /* ord F1 */
	wanted = a32_load(&c->attention) | a32_load(&v->requests);
	if (likely(!wanted)) {
		flush_if_behind(v, (s32)c->id);
		/* The flush generation first: a root that goes away raises it afterwards. */
		wanted = v->arch.shadow && !shadow_vcpu_root_valid(&v->shadow);
	}
	if (likely(!wanted)) {
		if (unlikely(a32_load(&v->vm->ran) != VM_RAN))
			a32_store(&v->vm->ran, VM_RAN);
		/* After the flush generation (ord F1): who switches the log asks for a flush, and waits for it. */
		v->arch.log_writes = dirty_log_mode(v->vm->space) == DIRTY_LOG_HARDWARE;
		enter_guest(v);
		if (unlikely(v->arch.nr_logged))
			take_logged(v);
	}
	a32_store_release(&v->mode, VCPU_OUTSIDE); /* ord F4 */
	return !wanted;
}

/* Requests that end the stay in the loop or in the world. False: the VM has ended. */
static bool serve_requests(struct vcpu *v)
{
	if (!vm_running(v->vm))
		return false;
	vcpu_handle_requests(v);
	a32_fetch_and(&v->requests, ~(u32)VCPU_REQ_WORLD);
	if (world_stopping()) {
		world_leave();
		world_enter();
	}
	return true;
}

static void run_loop(struct vcpu *v)
{
	for (;;) {
		if (unlikely(a32_load(&v->requests)) && !serve_requests(v))
			return;
		if (unlikely(!vcpu_active(v))) {
			vcpu_wait(v);
			continue;
		}
		if (unlikely(v->arch.shadow) && !exit_paging_root(v))
			continue;
		if (likely(run_once(v))) {
			exit_handle(v);
			chaos_exit(v->exit.kind == VEXIT_FAULT || v->exit.kind == VEXIT_PAGE_FAULT);
		} else {
			sched_check();
		}
	}
}

void run_vcpu(struct vcpu *v)
{
	world_enter();
	if (v->index || loader_load(v))
		run_loop(v);
	world_leave();
}
