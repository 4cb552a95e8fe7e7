#include "tests/host/exits.h"

#include <string.h>

#include "arch/hal.h"
#include "arch/x86/percpu.h"
#include "arch/x86/regs.h"
#include "arch/x86/svm/control.h"
#include "arch/x86/vcpu_event.h"
#include "arch/x86/vmx/control.h"
#include "hv/vm.h"
#include "mm/frame.h"
#include "tests/host/cpu_vmcs.h"
#include "tests/host/cpu_walker.h"
#include "tests/host/entry_check.h"
#include "tests/host/hyper.h"
#include "tests/host/walker.h"

static struct exit_plan plans[HYPER_VCPUS];

struct exit_plan *exits_plan(unsigned i)
{
	return &plans[i];
}

static void check(bool ok, const char *what)
{
	if (!ok)
		hal_panic("%s", what);
}

static struct vcpu *vcpu_of(struct arch_vcpu *v)
{
	return container_of(v, struct vcpu, arch);
}

/* Where a translation leads has to be the guest's own page. */
static void check_frame(struct vm *vm, hpa_t where, bool is_tdp, gpa_t at)
{
	u32 frame = frame_of_pfn(hpa_pfn(where));

	check(frame != FRAME_NONE, "a translation leads out of all frames");
	check(frame_use(a64_load(&frame_at(frame)->state)) == FRAME_GUEST &&
	              frame_space_id(frame_at(frame)) == vm->space->id,
	      "a translation leads out of the guest");
	check(!is_tdp || frame_gfn(frame_at(frame)).v == gpa_gfn(at).v,
	      "a translation leads to another page");
}

/* What the guest stores is what it finds there, so that pages are compressible and none is alike. */
static void store(hpa_t where, u64 value)
{
	a64_store((a64 *)(uintptr_t)(where.v & ~7ull), value);
}

static bool is_vmx(void)
{
	return cpu_virt_is_vmx();
}

/* The guest's doing, or the hypervisor's. */
static bool is_vm86(const struct arch_vcpu *v)
{
	return v->rflags & BIT(17) || (is_vmx() && ((const struct vmx_vcpu *)v->control)->vm86);
}

static void svm_exit(struct arch_vcpu *v, u32 code, u64 info1, u64 info2)
{
	struct vmcb_control *c = &svm_of(v)->vmcb.control;

	c->exit_code = code;
	c->exit_info1 = info1;
	c->exit_info2 = info2;
}

static void vmx_exit(u32 reason, u64 qualification, u32 interruption)
{
	cpu_vmcs_set(VMCS_EXIT_REASON, reason);
	cpu_vmcs_set(VMCS_QUALIFICATION, qualification);
	cpu_vmcs_set(VMCS_EXIT_INTERRUPT, interruption);
}

/* An NMI, or an interrupt of the machine's. */
static void leave_interrupted(struct arch_vcpu *v, bool nmi)
{
	if (!is_vmx())
		svm_exit(v, nmi ? 0x61 : 0x60, 0, 0);
	else if (nmi)
		vmx_exit(0, 0, EVENT_VALID | 2u << 8 | 2);
	else
		vmx_exit(1, 0, 0);
}

/* The CPU writes down that it set a Dirty bit (SDM vol. 3, section 28.3.6); only once for each touch here. */
static void log_write(struct arch_vcpu *v, gpa_t at)
{
	u64 index;

	if (!is_vmx() || !vmx_of(v)->logs)
		return;
	index = cpu_vmcs_get(VMCS_LOG_INDEX);
	if (index >= 512)
		return;
	vmx_of(v)->log[index] = at.v & PAGE_MASK;
	cpu_vmcs_set(VMCS_LOG_INDEX, index - 1);
}

static enum walker_kind walker_kind(const struct arch_vcpu *v)
{
	if (!is_vmx())
		return WALKER_NPT;
	return v->ad && vmx_caps.ad ? WALKER_EPT_AD : WALKER_EPT;
}

/* An access to guest-physical memory, with the exit that it takes. */
static void touch_tdp(struct arch_vcpu *v, gpa_t at, unsigned access)
{
	struct vm *vm = vcpu_of(v)->vm;
	bool write = access & CPU_WRITE, fetch = access & CPU_FETCH;
	enum walker_result result;
	struct walker w;
	hpa_t where;

	walker_init(&w, walker_kind(v), v->root);
	result = walker_translate(&w, at, write, fetch && !write, &where);
	check(result != WALKER_MISCONFIG, "an impossible second-level entry");
	if (result == WALKER_OK) {
		check_frame(vm, where, true, at);
		if (write) {
			store(where, at.v);
			log_write(v, at);
		}
		leave_interrupted(v, false);
	} else if (is_vmx()) {
		vmx_exit(48, (write ? 2u : fetch ? 4u : 1u) | (u64)(access >> 3 & 3) << 7, 0);
		cpu_vmcs_set(VMCS_GUEST_PHYS, at.v);
	} else {
		svm_exit(v, 0x400, (write ? 2u : 0) | (fetch && !write ? 16u : 0), at.v);
	}
}

static void touch_shadow(struct arch_vcpu *v, gva_t at, unsigned access)
{
	u64 cr4 = vendor->get(v, VREG_CR4), paging = vendor->get(v, VREG_CR0) & CR0_PG;
	struct cpu_walker w = {
	        .cr3 = v->root,
	        .long_mode = vendor->get(v, VREG_EFER) & EFER_LMA,
	        .smep = paging && (cr4 & CR4_SMEP),
	        .smap = paging && (cr4 & CR4_SMAP),
	};
	hpa_t where;
	u32 error;

	if (!w.long_mode)
		at = gva((u32)at.v);
	if (cpu_translate(&w, at, access & 7, v->rflags & BIT(18), &where, &error)) {
		check_frame(vcpu_of(v)->vm, where, false, gpa(0));
		if (access & CPU_WRITE)
			store(where, at.v);
		leave_interrupted(v, false);
	} else if (is_vmx()) {
		vmx_exit(0, at.v, EVENT_VALID | BIT(11) | 3u << 8 | 14);
		cpu_vmcs_set(VMCS_EXIT_ERROR, error);
	} else {
		svm_exit(v, 0x4e, error, at.v);
	}
}

/* Interruptibility is what the guest's last instruction made of it: STI's shadow only with IF. */
static void set_shadow(struct arch_vcpu *v, u8 shadow)
{
	bool sti = (shadow & 1) && (v->rflags & BIT(9));
	bool mov_ss = (shadow & 2) && !sti;

	if (!is_vmx()) {
		svm_of(v)->vmcb.control.int_state = sti || mov_ss;
		return;
	}
	if (v->rflags & BIT(8)) /* a step would be pending: it is the CPU that notes it */
		sti = mov_ss = false;
	cpu_vmcs_set(VMCS_GUEST_SHADOW,
	             (cpu_vmcs_get(VMCS_GUEST_SHADOW) & 8) | (mov_ss ? 2 : 0) | (sti ? 1 : 0));
}

static void leave_raw(struct arch_vcpu *v, const struct exit_plan *p)
{
	if (is_vmx()) {
		vmx_exit(p->code, p->info1, p->interruption);
		cpu_vmcs_set(VMCS_GUEST_PHYS, p->info2 & BITS(39, 0));
		cpu_vmcs_set(VMCS_GUEST_LINEAR, p->info2);
		cpu_vmcs_set(VMCS_EXIT_ERROR, p->error);
	} else {
		svm_exit(v, p->code, p->info1, p->info2);
	}
}

/* An interrupt whose delivery was cut short had not cleared IF yet. */
static u32 vectoring_of(const struct arch_vcpu *v, const struct exit_plan *p)
{
	bool interrupt = !(p->vectoring & EVENT_TYPE);

	return interrupt && !(v->rflags & BIT(9)) ? 0 : p->vectoring;
}

static void leave_as_planned(struct arch_vcpu *v, const struct exit_plan *p)
{
	u32 vectoring = vectoring_of(v, p);

	if (is_vmx()) {
		cpu_vmcs_set(VMCS_VECTORING, vectoring);
		cpu_vmcs_set(VMCS_INSN_LENGTH, p->length);
	} else {
		svm_of(v)->vmcb.control.exit_int_info = vectoring;
		svm_of(v)->vmcb.control.next_rip = svm_caps.nrip ? v->rip + p->length : 0;
	}
	set_shadow(v,
	           p->vectoring ? 0 : p->shadow); /* whose delivery has begun is behind no shadow */
	if (p->how == EXIT_BY_RAW)
		leave_raw(v, p);
	else if (p->how == EXIT_BY_ACCESS && v->shadow)
		touch_shadow(v, p->at, p->access);
	else if (p->how == EXIT_BY_ACCESS)
		touch_tdp(v, gpa(p->at.v & BITS(39, 0)), p->access);
	else
		leave_interrupted(v, p->length & 1);
}

/* The guest, for both vendors: what has been prepared is looked at; then the program says how it leaves. */
bool exits_guest(struct arch_vcpu *v)
{
	unsigned i = hyper_index(v);
	const char *refused = entry_check(v);
	bool valid_root = v->shadow || v->root.v == hyper_vm()->tdp.root.v;

	if (refused)
		hal_panic("the CPU refuses to enter: %s", refused);
	check(valid_root, "another root table");
	hyper_stay();
	if (hyper_kicked(i))
		plans[i] = (struct exit_plan){.length = 1};
	leave_as_planned(v, &plans[i]);
	plans[i] = (struct exit_plan){0};
	return true;
}

/* In place of the vendor's run(): neutral exits. What was to be injected has been. */
void exits_neutral_run(struct arch_vcpu *v, struct vexit *exit)
{
	unsigned i = hyper_index(v);
	bool kicked;

	v->event = 0;
	hyper_stay();
	kicked = hyper_kicked(i);
	*exit = plans[i].how == EXIT_BY_NEUTRAL && !kicked ? plans[i].exit
	                                                   : (struct vexit){.kind = VEXIT_NMI};
	plans[i] = (struct exit_plan){0};
}

/* Exits of instructions that virtual-8086 mode does not allow, and refuses with #GP first. */
static bool not_in_vm86(u32 code)
{
	static const u8 reasons[] = {12, 13, 14, 28, 31, 32, 54, 55, 58};
	static const u8 codes[] = {0x76, 0x78, 0x79, 0x7a, 0x7c, 0x89, 0x8d, 0xa2};

	if (!is_vmx())
		return code < 0x20 || memchr(codes, (int)code, code < 256 ? sizeof(codes) : 0);
	return memchr(reasons, (int)code, code < 256 ? sizeof(reasons) : 0);
}

/* What is intercepted of exceptions, and of accesses to control registers by a guest on a second level. */
static bool is_asked_for(const struct arch_vcpu *v, const struct exit_plan *p)
{
	u32 vector = is_vmx() ? p->interruption & 0xff : p->code - 0x40;
	bool ours = vector == 1 || vector == 17 || vector == 18 || (vector == 14 && v->shadow);

	if (is_vmx() && !p->code)
		return (p->interruption >> 8 & 7) == 2 || is_vm86(v) || ours;
	if (is_vmx() && p->code == 28 && (p->info1 & 0xf) == 3)
		return v->shadow;
	if (is_vmx())
		return p->code != 28 || v->shadow || !(p->info1 & 0x30) ||
		       (p->info1 & 0x3f) == 0x18;
	return p->code < 0x40 || p->code > 0x5f || ours;
}

bool exits_possible(const struct arch_vcpu *v, const struct exit_plan *p)
{
	bool own = is_vmx() ? p->code == 14 || p->code == 58 : p->code == 0x79;
	bool second = is_vmx() ? p->code == 48 || p->code == 49 || p->code == 62 : p->code == 0x400;

	if (p->how == EXIT_BY_NEUTRAL)
		return !v->shadow || p->exit.kind != VEXIT_FAULT;
	if (p->how != EXIT_BY_RAW)
		return true;
	if (is_vm86(v) && not_in_vm86(p->code))
		return false;
	return is_asked_for(v, p) && !(v->shadow ? second : own);
}
