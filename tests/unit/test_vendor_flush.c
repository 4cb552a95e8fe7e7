/* arch/x86/{svm,vmx}: what the TLB of a CPU has kept is used by no vCPU that it is not true for any more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/regs.h"
#include "arch/x86/svm/control.h"
#include "arch/x86/vmx/insn.h"
#include "tests/host/cpu_tlb.h"
#include "tests/host/cpu_virt.h"
#include "tests/host/cpu_vmcs.h"
#include "tests/host/hal.h"
#include "tests/host/hyper.h"
#include "tests/unit/host_vm.h"

#define CPUS         2u
#define MANY         20u /* vCPUs: more than there are ASIDs */
#define EXIT_SVM_HLT 0x78u
#define EXIT_VMX_HLT 12u
#define SOME_ROOT    0x5000u

/* `keeps`: the CPU keeps something for the vCPU from one stay to the next. */
static const struct machine {
	struct cpu_virt virt;
	bool shadow, keeps;
} machines[] = {
        {.virt = {.ad = true}, .keeps = true},
        {.virt = {.ad = true, .flush_asid = true, .clean_bits = true}, .keeps = true},
        {.virt = {.flush_asid = true}, .shadow = true, .keeps = true},
        {.virt = {.vmx = true, .ept = true, .unrestricted = true, .ad = true}, .keeps = true},
        {.virt = {.vmx = true, .ept = true, .unrestricted = true, .vpid = true}, .keeps = true},
        {.virt = {.vmx = true, .vpid = true}, .shadow = true, .keeps = true},
        {.virt = {.vmx = true}, .shadow = true},
};
#define for_each(m) \
	for (const struct machine *m = machines; m < machines + ARRAY_SIZE(machines); m++)

static struct arch_vcpu vcpus[MANY];
static u64 memory, seen;

static bool guest(struct arch_vcpu *v)
{
	seen = cpu_tlb_look(v, memory);
	if (cpu_virt_is_vmx()) {
		cpu_vmcs_set(VMCS_EXIT_REASON, EXIT_VMX_HLT);
		cpu_vmcs_set(VMCS_INSN_LENGTH, 1);
	} else {
		svm_of(v)->vmcb.control.exit_code = EXIT_SVM_HLT;
	}
	return true;
}

static void begin(const struct machine *m)
{
	cpu_tlb_reset();
	cpu_virt_create(&m->virt, CPUS, guest);
}

static void end(void)
{
	host_cpu_set(0);
	cpu_virt_destroy();
}

static struct arch_vcpu *make(const struct machine *m, unsigned i, u16 id, u64 root)
{
	const struct vreset how = {.mode = VRESET_FLAT32};
	struct arch_vcpu *v = &vcpus[i];

	*v = (struct arch_vcpu){
	        .id = id, .root = hpa(root), .ad = m->virt.ad, .shadow = m->shadow, .xcr0 = 7};
	assert_true(vendor->create(v));
	vendor->load(v);
	vendor->reset(v, &how);
	return v;
}

static void give_back(struct arch_vcpu *v)
{
	vendor->put(v);
	vendor->destroy(v);
}

/* What the guest finds while memory has `value`. */
static u64 look(struct arch_vcpu *v, u64 value)
{
	struct vexit exit;

	memory = value;
	vendor->run(v, &exit);
	assert_int_equal(exit.kind, VEXIT_HLT);
	return seen;
}

static void test_flush_drops_what_is_cached(void **state)
{
	(void)state;
	for_each(m)
	{
		struct arch_vcpu *v;

		begin(m);
		v = make(m, 0, 1, SOME_ROOT);
		assert_int_equal(look(v, 1), 1);
		assert_int_equal(look(v, 2), m->keeps ? 1 : 2);
		vendor->flush(v);
		assert_int_equal(look(v, 3), 3);
		assert_int_equal(look(v, 4), m->keeps ? 3 : 4);
		give_back(v);
		end();
	}
}

/* There and back again: nothing is used of what was kept before, neither there nor here. */
static void assert_starts_afresh(void (*go)(struct arch_vcpu *v, bool back))
{
	for_each(m)
	{
		struct arch_vcpu *v;

		begin(m);
		v = make(m, 0, 1, SOME_ROOT);
		assert_int_equal(look(v, 1), 1);
		go(v, false);
		assert_int_equal(look(v, 2), 2);
		go(v, true);
		assert_int_equal(look(v, 3), 3);
		give_back(v);
		end();
	}
}

/* The page of the first may have been another's meanwhile. */
static void go_to_root(struct arch_vcpu *v, bool back)
{
	v->root = hpa(back ? SOME_ROOT : 2 * SOME_ROOT);
}

static void go_to_cpu(struct arch_vcpu *v, bool back)
{
	vendor->put(v);
	host_cpu_set(back ? 0 : 1);
	vendor->load(v);
}

static void test_another_root_is_another_world(void **state)
{
	(void)state;
	assert_starts_afresh(go_to_root);
}

static void test_back_on_a_cpu_starts_afresh(void **state)
{
	(void)state;
	assert_starts_afresh(go_to_cpu);
}

static void test_number_and_root_may_have_been_anothers(void **state)
{
	(void)state;
	for_each(m)
	{
		begin(m);
		make(m, 0, 1, SOME_ROOT);
		assert_int_equal(look(&vcpus[0], 1), 1);
		give_back(&vcpus[0]);
		make(m, 0, 1, SOME_ROOT);
		assert_int_equal(look(&vcpus[0], 2), 2);
		give_back(&vcpus[0]);
		end();
	}
}

/* Each finds its own memory, as it is or as it was. */
static void test_more_vcpus_than_tags(void **state)
{
	(void)state;
	for_each(m)
	{
		begin(m);
		for (unsigned i = 0; i < MANY; i++) {
			make(m, i, (u16)(i + 1), SOME_ROOT + PAGE_SIZE * i);
			assert_int_equal(look(&vcpus[i], i), i);
			vendor->put(&vcpus[i]);
		}
		for (unsigned turn = 0; turn < 3 * MANY; turn++) {
			unsigned i = turn * 7 % MANY;

			vendor->load(&vcpus[i]);
			assert_int_equal(look(&vcpus[i], i + MANY * turn) % MANY, i);
			vendor->put(&vcpus[i]);
		}
		for (unsigned i = 0; i < MANY; i++)
			vendor->destroy(&vcpus[i]);
		end();
	}
}

/* --- what the guest does to its own translations --- */

static struct {
	u64 svm, vmx, info;
	u8 length;
} next;

static bool whole_guest(struct arch_vcpu *v)
{
	hyper_stay();
	seen = cpu_tlb_look(v, memory);
	if (cpu_virt_is_vmx()) {
		cpu_vmcs_set(VMCS_EXIT_REASON, next.vmx);
		cpu_vmcs_set(VMCS_INSN_LENGTH, next.length);
		cpu_vmcs_set(VMCS_QUALIFICATION, next.info);
	} else {
		svm_of(v)->vmcb.control.exit_code = next.svm;
		svm_of(v)->vmcb.control.exit_info1 = next.info;
	}
	return true;
}

/* What the guest finds before it executes the instruction, which exits. */
static u64 find_and_leave(struct vcpu *v, u64 value, const char *code, u8 length, u64 svm, u64 vmx,
                          u64 info)
{
	assert_int_equal(guest_write(&v->vm->mem, gpa(v->arch.rip), code, length), length);
	next.svm = svm;
	next.vmx = vmx;
	next.info = info;
	next.length = length;
	memory = value;
	assert_int_equal(hyper_resume(0), HYPER_GUEST);
	return seen;
}

static void test_a_write_of_efer_drops_what_is_cached(void **state)
{
	struct scenario_vm config = {
	        .name = "guest", .image = "image", .memory_bytes = 2u << 20, .vcpus = 1};

	(void)state;
	for (const struct machine *m = machines; m < machines + ARRAY_SIZE(machines); m++) {
		struct vcpu *v;

		if (m->shadow)
			continue;
		cpu_tlb_reset();
		assert_true(hyper_create(&m->virt, &config, whole_guest));
		assert_int_equal(hyper_resume(0), HYPER_GUEST);
		v = hyper_vcpu(0);
		assert_int_equal(find_and_leave(v, 1, "\x0f\xa2", 2, 0x72, 10, 0), 1);
		v->arch.gpr[GPR_RCX] = MSR_EFER;
		v->arch.gpr[GPR_RAX] = EFER_SCE;
		v->arch.gpr[GPR_RDX] = 0;
		assert_int_equal(find_and_leave(v, 2, "\x0f\x30", 2, 0x7c, 32, 1), 1);
		assert_int_equal(find_and_leave(v, 3, "\x0f\xa2", 2, 0x72, 10, 0), 3);
		assert_true(hyper_end(64));
		hyper_destroy();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_flush_drops_what_is_cached),
	        cmocka_unit_test(test_another_root_is_another_world),
	        cmocka_unit_test(test_back_on_a_cpu_starts_afresh),
	        cmocka_unit_test(test_number_and_root_may_have_been_anothers),
	        cmocka_unit_test(test_more_vcpus_than_tags),
	        cmocka_unit_test(test_a_write_of_efer_drops_what_is_cached),
	};

	return vm_group_run(tests, 2048);
}
