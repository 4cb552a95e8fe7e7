/*
 * One entry and the exit that ends it.
 *
 * A kick must not get lost between the caller's last look at its requests and the entry. Interrupts
 * wait (IF is 0) and make the guest leave at once; but a kick that is an NMI is handled here. So
 * every NMI sets nmi_seen, and once the preemption timer is armed (`entering`) zeroes the timer:
 *
 *	before nmi_seen is looked at	nothing is entered
 *	after that			the guest leaves before its first instruction
 *	in the guest			an exit for the NMI itself
 *
 * The NMI runs on this CPU, so the order of the program is all that counts: compiler fences do.
 */
#include "arch/hal.h"
#include "arch/x86/insn.h"
#include "arch/x86/percpu.h"
#include "arch/x86/time.h"
#include "arch/x86/vcpu_state.h"
#include "arch/x86/vmx/control.h"
#include "arch/x86/vmx/insn.h"
#include "arch/x86/vmx/pml.h"

#define EPTP_WB     6ull
#define EPTP_WALK_4 (3ull << 3)
#define EPTP_AD     BIT(6)
#define ENTRY_FAIL  BIT(31)

static u64 eptp_of(const struct arch_vcpu *v)
{
	return v->root.v | EPTP_WB | EPTP_WALK_4 | (v->ad && vmx_caps.ad ? EPTP_AD : 0);
}

/*
 * With EPT every cached translation is tagged with the root table, those of linear addresses too
 * (SDM vol. 3, section 29.4.2), so that INVEPT reaches all of them.
 */
void vmx_flush(struct arch_vcpu *v)
{
	if (v->shadow) {
		if (vmx_caps.vpid) /* else every entry and exit drops everything (29.4.3.1) */
			invvpid(vmx_caps.invvpid_single ? INVVPID_SINGLE : INVVPID_ALL, v->id);
		return;
	}
	invept(vmx_caps.invept_single ? INVEPT_SINGLE : INVEPT_ALL, eptp_of(v));
}

void vmx_nmi(void)
{
	struct vmx_cpu *cpu = this_cpu()->vendor;

	if (!cpu)
		return;
	a32_store(&cpu->nmi_seen, 1);
	if (a32_load(&cpu->entering) && vmx_caps.timer)
		vmwrite(VMCS_PREEMPTION_TIMER, 0);
}

/* False: the deadline is over. A timer too short for it just means an early exit. */
static bool run_arm_timer(const struct arch_vcpu *v, struct vmx_vcpu *c)
{
	u64 now, left;

	if (!vmx_caps.timer)
		return true;
	if (c->deadline_ns != v->deadline_ns) {
		c->deadline_ns = v->deadline_ns;
		c->deadline_tsc = v->deadline_ns ? time_to_tsc(v->deadline_ns) : ~0ull;
	}
	now = tsc_read();
	if (now >= c->deadline_tsc)
		return false;
	left = (c->deadline_tsc - now) >> vmx_caps.timer_shift;
	vmwrite(VMCS_PREEMPTION_TIMER, min_of(left, 0xffffffffull));
	return true;
}

/* Writes what changed since the last exit. */
static void run_prepare(struct arch_vcpu *v, struct vmx_vcpu *c)
{
	u64 rflags = v->rflags | 2;
	u64 root_ad = v->root.v | (v->ad && !v->shadow);

	if (v->rip != c->rip)
		vmwrite(VMCS_GUEST_RIP, c->rip = v->rip);
	if (v->gpr[GPR_RSP] != c->rsp)
		vmwrite(VMCS_GUEST_RSP, c->rsp = v->gpr[GPR_RSP]);
	if (unlikely(c->vm86))
		rflags = (rflags & ~RFLAGS_IOPL) | RFLAGS_VM | RFLAGS_IOPL;
	if (rflags != c->rflags)
		vmwrite(VMCS_GUEST_RFLAGS, c->rflags = rflags);
	if (unlikely(root_ad != c->root_ad)) {
		vmwrite(v->shadow ? VMCS_GUEST_CR3 : VMCS_EPTP, v->shadow ? v->root.v : eptp_of(v));
		c->root_ad = root_ad;
		vmx_flush(v);
	}
	if (cr2_read() != c->cr2)
		cr2_write(c->cr2);
	if (unlikely(v->log_writes != c->logs))
		vmx_pml_switch(v, c);
	vmx_event_enter(v);
}

static void run_left(struct arch_vcpu *v, struct vmx_vcpu *c, struct vexit *exit)
{
	u32 reason = vmread32(VMCS_EXIT_REASON);

	exit->code = reason;
	if (unlikely(reason & ENTRY_FAIL)) {
		exit->kind = VEXIT_INVALID;
		exit->info = vmread(VMCS_QUALIFICATION);
		return;
	}
	c->launched = true;
	if (unlikely(c->logs))
		vmx_pml_drain(v, c);
	c->cr2 = cr2_read();
	c->rip = v->rip = vmread(VMCS_GUEST_RIP);
	c->rsp = v->gpr[GPR_RSP] = vmread(VMCS_GUEST_RSP);
	c->rflags = v->rflags = vmread(VMCS_GUEST_RFLAGS);
	if (unlikely(c->vm86))
		v->rflags = (v->rflags & ~(RFLAGS_VM | RFLAGS_IOPL)) | (u64)c->iopl << 12;
	vmx_event_exit(v);
	vmx_exit_decode(v, exit, reason);
}

void vmx_run(struct arch_vcpu *v, struct vexit *exit)
{
	struct vmx_vcpu *c = vmx_of(v);
	struct vmx_cpu *cpu = this_cpu()->vendor;
	bool entered;

	DEBUG_ASSERT(cpu->loaded == v);
	*exit = (struct vexit){.kind = VEXIT_TIMER};
	if (unlikely(c->vm86) && vmx_vm86_event(v, exit))
		return;
	run_prepare(v, c);
	if (!run_arm_timer(v, c))
		return;
	a32_store(&cpu->entering, 1);
	fence_compiler();
	if (unlikely(a32_load(&cpu->nmi_seen))) {
		a32_store(&cpu->entering, 0);
		a32_store(&cpu->nmi_seen, 0);
		exit->kind = VEXIT_NMI;
		return;
	}
	entered = vmx_enter(v, &c->host_rsp, c->launched);
	a32_store(&cpu->entering, 0);
	fence_compiler();
	if (likely(entered))
		run_left(v, c, exit);
	else
		*exit = (struct vexit){.kind = VEXIT_INVALID, .code = vmread(VMCS_INSN_ERROR)};
}
