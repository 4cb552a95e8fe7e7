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
#include "tests/host/cpu_vmcs.h"
#include "tests/host/hal.h"
#include "tests/host/hyper.h"
#include "tests/unit/host_vm.h"

#define TURNS 64u

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
	u64 info;
	u8 length;
} next;

static bool guest(struct arch_vcpu *v)
{
	hyper_stay();
	if (cpu_virt_is_vmx()) {
		cpu_vmcs_set(VMCS_EXIT_REASON, next.vmx);
		cpu_vmcs_set(VMCS_INSN_LENGTH, next.length);
		cpu_vmcs_set(VMCS_QUALIFICATION, next.info);
	} else {
		struct vmcb *vmcb = &svm_of(v)->vmcb;

		vmcb->control.exit_code = next.svm;
		vmcb->control.exit_info1 = next.info;
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

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_begins_as_a_loader_promises),
	        cmocka_unit_test(test_cpuid),
	        cmocka_unit_test(test_hlt_sleeps_until_stopped),
	};

	return vm_group_run(tests, 1024);
}
