/*
 * Second-level faults. RAM is brought in; the local APIC is emulated; what is neither reads as all
 * ones and takes writes without effect, like a bus with nobody on it. Code cannot lie there.
 */
#include "arch/hal.h"
#include "arch/x86/vendor.h"
#include "hv/emulate.h"
#include "hv/emulate_string.h"
#include "hv/exit.h"
#include "hv/fetch.h"
#include "hv/mmu/tdp.h"
#include "hv/vcpu.h"
#include "hv/vm.h"
#include "lib/fmt.h"

typedef unsigned long long ull;

void exit_stop_insn(struct vcpu *v, const char *what, const u8 *bytes, unsigned n)
{
	char text[3 * DECODE_MAX_BYTES + 1] = "";

	for (unsigned i = 0; i < n && i < DECODE_MAX_BYTES; i++)
		fmt_snprintf(text + 3 * i, 4, " %02x", bytes[i]);
	vm_stop(v->vm, VM_STOPPED, "%s on vCPU %u at rip 0x%llx:%s", what, v->index,
	        (ull)v->arch.rip, text);
}

bool exit_fetch(struct vcpu *v, u8 bytes[DECODE_MAX_BYTES], unsigned *n, struct insn *insn,
                const char *what)
{
	switch (fetch_insn(v, bytes, n, insn)) {
	case FETCH_OK:
		return true;
	case FETCH_AGAIN:
		exit_yield(v);
		return false;
	default:
		exit_stop_insn(v, what, bytes, *n);
		return false;
	}
}

static bool is_apic(gpa_t at)
{
	return (at.v & PAGE_MASK) == VLAPIC_BASE;
}

/* SDM vol. 3, section 11.4.1: 32-bit accesses on 16-byte boundaries; others are undefined. */
static bool device_read(void *ctx, gpa_t at, unsigned bytes, u64 *value)
{
	struct vcpu *v = ctx;
	unsigned shift = (unsigned)(at.v & 3) * 8;
	u64 ones = bytes == 8 ? ~0ull : BIT(8 * bytes) - 1;

	*value = ones;
	if (is_apic(at) && !(at.v & 0xc))
		*value = (vlapic_read(&v->apic, (u32)(at.v & 0xff0), hal_time_ns()) >> shift) &
		         ones;
	return true;
}

static bool device_write(void *ctx, gpa_t at, unsigned bytes, u64 value)
{
	struct vcpu *v = ctx;
	struct vlapic_effect effect;

	if (!is_apic(at) || (at.v & 0xf) || bytes != 4)
		return true;
	vlapic_write(&v->apic, (u32)(at.v & 0xff0), (u32)value, hal_time_ns(), &effect);
	vcpu_apic_effect(v, &effect);
	return true;
}

static u64 get_reg(void *ctx, unsigned reg)
{
	return ((struct vcpu *)ctx)->arch.gpr[reg];
}
static void set_reg(void *ctx, unsigned reg, u64 value)
{
	((struct vcpu *)ctx)->arch.gpr[reg] = value;
}
static u64 get_flags(void *ctx)
{
	return ((struct vcpu *)ctx)->arch.rflags;
}
static void set_flags(void *ctx, u64 value)
{
	((struct vcpu *)ctx)->arch.rflags = value;
}

static const struct emulate_ops device_ops = {
        .read = device_read,
        .write = device_write,
        .get_reg = get_reg,
        .set_reg = set_reg,
        .get_flags = get_flags,
        .set_flags = set_flags,
};

static void emulate_access(struct vcpu *v, gpa_t at)
{
	u8 bytes[DECODE_MAX_BYTES];
	enum emulate_result result;
	struct insn insn;
	bool again = false;
	unsigned n;

	switch (fetch_insn(v, bytes, &n, &insn)) {
	case FETCH_OK:
		break;
	case FETCH_AGAIN:
		exit_yield(v);
		return;
	default:
		exit_stop_insn(v, "an access to a device cannot be decoded", bytes, n);
		return;
	}
	result = emulate(&insn, at, &device_ops, v);
	if (result == EMULATE_UNSUPPORTED)
		result = emulate_string(&insn, bytes[insn.length - 1], at, &device_ops, v, &again);
	if (result != EMULATE_DONE)
		exit_stop_insn(v, "an access to a device is not supported", bytes, n);
	else if (!again)
		vendor->advance(&v->arch, insn.length);
}

void exit_no_memory(struct vcpu *v, gpa_t at, bool fetch)
{
	struct vm *vm = v->vm;

	if (fetch) {
		vm_stop(vm, VM_STOPPED,
		        "vCPU %u executes at 0x%llx (rip 0x%llx) where there is no memory",
		        v->index, (ull)at.v, (ull)v->arch.rip);
		return;
	}
	if (!is_apic(at) && !a32_load(&vm->said_hole) && !a32_xchg(&vm->said_hole, 1))
		hal_log(HAL_DEBUG, "[%s] access to 0x%llx and maybe others: no memory there",
		        vm->name, (ull)at.v);
	emulate_access(v, at);
}

static void no_memory_there(struct vcpu *v, const struct vexit_fault *fault)
{
	if (fault->walk)
		vm_stop(v->vm, VM_STOPPED,
		        "vCPU %u has a page table at 0x%llx where there is no memory", v->index,
		        (ull)fault->gpa.v);
	else
		exit_no_memory(v, fault->gpa, fault->fetch);
}

void exit_write_caught(struct vcpu *v)
{
	v->exit.length = 0; /* hardware tells none with a fault: to be decoded */
	if (exit_step(v))
		a64_count(&v->vm->space->protect.caught_total, 1);
}

/* True if that was it. */
static bool caught(struct vcpu *v, const struct vexit_fault *fault)
{
	struct vm *vm = v->vm;

	if (likely(!fault->write || !space_write_protected(vm->space, gpa_gfn(fault->gpa))))
		return false;
	if (fault->walk)
		vm_stop(vm, VM_STOPPED, "vCPU %u has a page table at 0x%llx, which it protects",
		        v->index, (ull)fault->gpa.v);
	else
		exit_write_caught(v);
	return true;
}

void exit_fault(struct vcpu *v, const struct vexit_fault *fault)
{
	struct tdp_access access = {
	        .gpa = fault->gpa, .write = fault->write, .fetch = fault->fetch};

	v->faults_total++;
	if (unlikely(fault->misconfig)) {
		vm_stop(v->vm, VM_STOPPED, "impossible second-level entry for 0x%llx (code 0x%llx)",
		        (ull)fault->gpa.v, (ull)v->exit.code);
		return;
	}
	if (caught(v, fault))
		return;
	switch (tdp_fault(&v->vm->tdp, &access)) {
	case FAULT_FIXED:
		break;
	case FAULT_RETRY:
		hal_pause();
		break;
	case FAULT_WAIT:      /* for the disk, because memory was short */
	case FAULT_NO_MEMORY: /* the reclaimer, or the end of somebody, makes room */
		exit_wait_memory(v);
		break;
	case FAULT_NO_SLOT:
		no_memory_there(v, fault);
		break;
	case FAULT_BAD_PAGE:
		vm_stop(v->vm, VM_STOPPED,
		        "the stored copy of page 0x%llx is damaged or cannot be read",
		        (ull)fault->gpa.v & PAGE_MASK);
		break;
	case FAULT_STOP_VM: /* whoever takes its memory away is about to stop it, with a reason */
		exit_yield(v);
		break;
	}
}
