/* hv/exit and hv/vcpu over both vendors, on simulated CPUs: what an exit does to the guest that made it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/percpu.h"
#include "arch/x86/regs.h"
#include "arch/x86/svm/control.h"
#include "arch/x86/vcpu_event.h"
#include "arch/x86/vmx/insn.h"
#include "mm/frame.h"
#include "mm/gfnmap.h"
#include "tests/host/cpu_vmcs.h"
#include "tests/host/guest_modes.h"
#include "tests/host/hal.h"
#include "tests/host/hyper.h"
#include "tests/unit/host_vm.h"

#define TURNS  64u
#define FRAMES 1024u
#define ADDED  0x10000000ull /* no RAM of the guest */

static const struct cpu_virt svm = {.ad = true}, vmx = {.vmx = true,
                                                        .ept = true,
                                                        .unrestricted = true,
                                                        .vpid = true,
                                                        .virtual_nmi = true,
                                                        .efer = true,
                                                        .pat = true,
                                                        .ad = true};
static const struct cpu_virt *const both[] = {&svm, &vmx};
static struct scenario_vm config;

/* The next exit: numbers of both vendors, and what goes with them. */
static struct {
	u64 svm, vmx;
	u64 info, at;
	u32 interruption;
	u8 length;
} next;

static bool guest(struct arch_vcpu *v)
{
	hyper_stay();
	if (cpu_virt_is_vmx()) {
		cpu_vmcs_set(VMCS_EXIT_REASON, next.vmx);
		cpu_vmcs_set(VMCS_INSN_LENGTH, next.length);
		cpu_vmcs_set(VMCS_QUALIFICATION, next.info);
		cpu_vmcs_set(VMCS_EXIT_INTERRUPT, next.interruption);
		cpu_vmcs_set(VMCS_GUEST_PHYS, next.at);
	} else {
		struct vmcb *vmcb = &svm_of(v)->vmcb;

		vmcb->control.exit_code = next.svm;
		vmcb->control.exit_info1 = next.info;
		vmcb->control.exit_info2 = next.at;
	}
	return true;
}

static struct vcpu *begin(const struct cpu_virt *hardware)
{
	config = (struct scenario_vm){.name = "guest",
	                              .image = "image",
	                              .memory_bytes = 2u << 20,
	                              .vcpus = 1,
	                              .experiments = true,
	                              .pv = true};
	assert_true(hyper_create(hardware, &config, guest));
	assert_int_equal(hyper_resume(0), HYPER_GUEST);
	return hyper_vcpu(0);
}

static void end(void)
{
	assert_true(hyper_end(TURNS));
	hyper_destroy();
}

/* The bytes at the entry point, and the exit that they make. */
static void leave_with(struct vcpu *v, const void *code, u8 length, u64 on_svm, u64 on_vmx,
                       u64 info)
{
	assert_int_equal(guest_write(&v->vm->mem, gpa(HYPER_ENTRY), code, length), length);
	next.svm = on_svm;
	next.vmx = on_vmx;
	next.info = info;
	next.length = length;
	hyper_resume(0);
}

static void test_begins_as_a_loader_promises(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(both); i++) {
		struct vcpu *v = begin(both[i]);

		assert_int_equal(v->arch.rip, HYPER_ENTRY);
		assert_int_equal(v->arch.gpr[GPR_RAX], 0x2badb002);
		hyper_visit(0);
		assert_int_equal(vendor->get(&v->arch, VREG_CR0), CR0_PE | CR0_ET);
		hyper_visit(HYPER_VCPUS);
		end();
	}
}

static void test_cpuid(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(both); i++) {
		struct vcpu *v = begin(both[i]);

		v->arch.gpr[GPR_RAX] = 0x40000000;
		leave_with(v, "\x0f\xa2", 2, 0x72, 10, 0);
		assert_int_equal(v->arch.rip, HYPER_ENTRY + 2);
		assert_memory_equal(&v->arch.gpr[GPR_RBX], "Varv", 4);
		end();
	}
}

static void test_hlt_sleeps_until_stopped(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(both); i++) {
		struct vcpu *v = begin(both[i]);

		leave_with(v, "\xf4", 1, 0x78, 12, 0);
		assert_int_equal(v->arch.rip, HYPER_ENTRY + 1);
		assert_int_equal(hyper_where(0), HYPER_ASLEEP);
		vm_stop(v->vm, VM_FAILED, "enough");
		assert_int_equal(hyper_resume(0), HYPER_ENDED);
		end();
	}
}

/* Of 16 bytes a register has the first four (SDM vol. 3, section 11.4.1); what is read beside them is all ones. */
static void test_local_apic_between_its_registers(void **state)
{
	static const struct {
		u32 at;
		u64 value;
	} cases[] = {{0x30, 0x00050014}, {0x34, 0xffffffff}, {0x3c, 0xffffffff}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(both) * ARRAY_SIZE(cases); i++) {
		struct vcpu *v = begin(both[i % ARRAY_SIZE(both)]);

		next.at = v->arch.gpr[GPR_RAX] = VLAPIC_BASE + cases[i / ARRAY_SIZE(both)].at;
		leave_with(v, "\x8b\x08", 2, 0x400, 48,
		           cpu_virt_is_vmx() ? 0x181 : 0); /* MOV ECX, [EAX] */
		assert_int_equal(v->arch.rip, HYPER_ENTRY + 2);
		assert_int_equal(v->arch.gpr[GPR_RCX], cases[i / ARRAY_SIZE(both)].value);
		end();
	}
}

/* Code is fetched where hardware does not tell how long an instruction is: from RAM, or what was added to it. */
static void test_code_is_fetched_again_when_memory_is_short(void **state)
{
	static const u64 places[] = {0x150000, ADDED};
	u32 frames[FRAMES + 1];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		struct vcpu *v = begin(&svm);
		unsigned n = 0;

		assert_true(gfnmap_add(v->vm->space, gpa_gfn(gpa(ADDED)), 1));
		while ((frames[n] = frame_alloc(FRAME_FOR_POOL)) != FRAME_NONE)
			n++;
		v->arch.rip = places[i];
		next.svm = 0x72;
		hyper_resume(0);
		assert_int_equal(hyper_where(0), HYPER_YIELDED);
		assert_int_equal(a32_load(&v->vm->state), VM_RUNNING);
		assert_int_equal(v->arch.rip, places[i]);
		while (n--)
			frame_free(frames[n]);
		assert_int_equal(guest_write(&v->vm->mem, gpa(places[i]), "\x0f\xa2", 2), 2);
		assert_int_equal(hyper_resume(0), HYPER_GUEST);
		hyper_resume(0);
		assert_int_equal(v->arch.rip, places[i] + 2);
		end();
	}
}

static void test_code_from_nowhere_stops_the_vm(void **state)
{
	struct vcpu *v = begin(&svm);

	(void)state;
	v->arch.rip = ADDED;
	next.svm = 0x72;
	hyper_resume(0);
	assert_int_equal(a32_load(&v->vm->state), VM_STOPPED);
	assert_non_null(strstr(v->vm->why, "where there is no memory"));
	end();
}

/* Real mode without EPT: the hypervisor delivers interrupts, through vectors and a stack that may be nowhere. */
static const struct cpu_virt no_ept = {.vmx = true, .virtual_nmi = true, .efer = true};

static struct vcpu *begin_real(u64 idt, u32 limit, u32 stack)
{
	struct vcpu *v = begin(&no_ept);
	struct seg_state table = {.base = idt, .limit = limit}, ss;

	hyper_visit(0);
	guest_mode_set(v, GUEST_REAL, false, HYPER_IMAGE >> 4);
	vendor->get_seg(&v->arch, SEG_SS, &ss);
	ss.selector = (u16)(stack >> 4);
	ss.base = stack;
	vendor->set_seg(&v->arch, SEG_SS, &ss);
	vendor->set_seg(&v->arch, SEG_IDTR, &table);
	hyper_visit(HYPER_VCPUS);
	v->arch.gpr[GPR_RSP] = 0x100;
	v->arch.rip = HYPER_ENTRY & 0xff;
	return v;
}

static void leave_real(struct vcpu *v, const char *code, u8 length)
{
	struct seg_state cs;

	hyper_visit(0);
	vendor->get_seg(&v->arch, SEG_CS, &cs);
	hyper_visit(HYPER_VCPUS);
	assert_int_equal(guest_write(&v->vm->mem, gpa(cs.base + v->arch.rip), code, length),
	                 length);
	next.vmx = 0;
	next.interruption = EVENT_VALID | EVENT_TYPE_EXC | 13;
	next.length = length;
	hyper_resume(0);
}

static void test_real_mode_interrupt(void **state)
{
	const u32 target = 0x12340056;
	struct vcpu *v = begin_real(0, 4 * 0x10 + 3, 0x2000);

	(void)state;
	assert_int_equal(guest_write(&v->vm->mem, gpa(4 * 0x10), &target, 4), 4);
	leave_real(v, "\xcd\x10", 2);
	assert_int_equal(v->arch.rip, 0x56);
	assert_int_equal(v->arch.gpr[GPR_RSP], 0x100 - 6);
	end();
}

static void test_real_mode_interrupt_that_can_never_be_delivered_stops_the_vm(void **state)
{
	static const struct {
		u64 idt;
		u32 stack, limit;
		const char *code, *what;
	} cases[] = {
	        {0xa0000, 0x2000, 0x3ff, "\xcd\x10", "its vectors"},
	        {0, 0xb0000, 0x3ff, "\xcd\x10", "its stack"},
	        {0, 0x2000, 4 * 0x10 + 2, "\xcd\x10", "behind its table"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vcpu *v = begin_real(cases[i].idt, cases[i].limit, cases[i].stack);

		leave_real(v, cases[i].code, 2);
		assert_int_equal(a32_load(&v->vm->state), VM_STOPPED);
		assert_non_null(strstr(v->vm->why, cases[i].what));
		end();
	}
}

/* LIDT DS:[bx]: a base of 16 times a selector, here 0xa0000. */
static void test_real_mode_table_from_nowhere_stops_the_vm(void **state)
{
	struct vcpu *v = begin_real(0, 0x3ff, 0x2000);
	struct seg_state ds;

	(void)state;
	hyper_visit(0);
	vendor->get_seg(&v->arch, SEG_DS, &ds);
	ds.selector = 0xa000;
	ds.base = 0xa0000;
	vendor->set_seg(&v->arch, SEG_DS, &ds);
	hyper_visit(HYPER_VCPUS);
	v->arch.gpr[GPR_RBX] = 0x100;
	leave_real(v, "\x0f\x01\x1f", 3);
	assert_int_equal(a32_load(&v->vm->state), VM_STOPPED);
	assert_non_null(strstr(v->vm->why, "LIDT"));
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_begins_as_a_loader_promises),
	        cmocka_unit_test(test_cpuid),
	        cmocka_unit_test(test_hlt_sleeps_until_stopped),
	        cmocka_unit_test(test_local_apic_between_its_registers),
	        cmocka_unit_test(test_code_is_fetched_again_when_memory_is_short),
	        cmocka_unit_test(test_code_from_nowhere_stops_the_vm),
	        cmocka_unit_test(test_real_mode_interrupt),
	        cmocka_unit_test(test_real_mode_interrupt_that_can_never_be_delivered_stops_the_vm),
	        cmocka_unit_test(test_real_mode_table_from_nowhere_stops_the_vm),
	};

	return vm_group_run(tests, FRAMES);
}
