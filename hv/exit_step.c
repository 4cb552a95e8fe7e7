#include "arch/hal.h"
#include "arch/x86/vendor.h"
#include "hv/exit.h"
#include "hv/fetch.h"
#include "hv/thread.h"
#include "hv/vcpu.h"
#include "hv/vm.h"
#include "hv/world.h"
#include "mm/epoch.h"
#include "mm/stall.h"

void exit_yield(struct vcpu *v)
{
	(void)v;
	world_leave();
	epoch_poll();
	thread_yield();
	world_enter();
}

void exit_wait_memory(struct vcpu *v)
{
	u64 began = stall_begin(v->vm->space);

	exit_yield(v);
	stall_end(v->vm->space, began);
}

/* Fetches and decodes the instruction at rip; 0: not now, or never (then the VM was stopped). */
static unsigned find_length(struct vcpu *v)
{
	u8 bytes[DECODE_MAX_BYTES];
	struct insn insn;
	unsigned n;

	switch (fetch_insn(v, bytes, &n, &insn)) {
	case FETCH_OK:
		return insn.length;
	case FETCH_AGAIN: /* nothing has happened yet: the guest executes it once more */
		exit_yield(v);
		return 0;
	case FETCH_OUTSIDE:
		vm_stop(v->vm, VM_STOPPED,
		        "vCPU %u executes at rip 0x%llx where there is no memory", v->index,
		        (unsigned long long)v->arch.rip);
		return 0;
	case FETCH_INVALID:
		break;
	}
	exit_stop_insn(v, "the instruction cannot be decoded", bytes, n);
	return 0;
}

/*
 * An instruction that leaves the guest again and again, on a CPU that does not tell lengths, is not
 * fetched each time. What could be wrong is only that the guest put other, useless prefixes before
 * the same instruction at the same place, without any other such exit between; it would then be off
 * by that many bytes, which hurts nobody else.
 */
static unsigned remembered_length(struct vcpu *v)
{
	u64 cr3 = vendor->get(&v->arch, VREG_CR3);

	if (v->skip_rip == v->arch.rip && v->skip_cr3 == cr3 && v->skip_kind == v->exit.kind)
		return v->skip_length;
	v->skip_length = (u8)find_length(v);
	v->skip_rip = v->arch.rip;
	v->skip_cr3 = cr3;
	v->skip_kind = v->skip_length ? (u8)v->exit.kind : VEXIT_HANDLED;
	return v->skip_length;
}

unsigned exit_length(struct vcpu *v)
{
	return likely(v->exit.length) ? v->exit.length : remembered_length(v);
}

bool exit_step(struct vcpu *v)
{
	unsigned length = exit_length(v);

	if (unlikely(!length))
		return false;
	vendor->advance(&v->arch, length);
	return true;
}
