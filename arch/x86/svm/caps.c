#include "arch/hal.h"
#include "arch/x86/cpu.h"
#include "arch/x86/svm/control.h"

struct svm_caps svm_caps;

#define HYPERVISOR_LEAF 0x40000000u
#define TCG_EBX         0x54474354u /* "TCGTCGTCGTCG" */
#define TCG_ECX         0x43544743u
#define TCG_EDX         0x47435447u

/* QEMU says so where its own translator and no host CPU runs the machine. */
static bool is_tcg(void)
{
	struct cpuid_regs leaf;

	if (!cpu_features.hypervisor)
		return false;
	leaf = cpuid(HYPERVISOR_LEAF, 0);
	return leaf.ebx == TCG_EBX && leaf.ecx == TCG_ECX && leaf.edx == TCG_EDX;
}

static void raw_read(struct svm_raw *raw)
{
	struct cpuid_regs leaf;

	*raw = (struct svm_raw){
	        .svm = cpu_features.svm,
	        .gib_pages = cpu_features.gib_pages,
	        .xsave = cpu_features.xsave,
	        .tcg = is_tcg(),
	        .max_ext_leaf = cpu_features.max_ext_leaf,
	};
	if (!raw->svm || raw->max_ext_leaf < SVM_LEAF)
		return;
	leaf = cpuid(SVM_LEAF, 0);
	raw->features = leaf.edx;
	raw->nr_asids = leaf.ebx;
	if (!msr_read_safe(MSR_AMD_VM_CR, &raw->vm_cr))
		raw->vm_cr = 0;
}

enum vendor_state svm_probe(struct vendor_caps *caps)
{
	struct svm_raw raw;

	raw_read(&raw);
	return svm_judge(&raw, &svm_caps, caps);
}

/* FS base, TR and the SYSCALL registers do not change any more after this. */
static void host_state_save(const struct svm_cpu *cpu)
{
	__asm__ volatile("vmsave %%rax" ::"a"(&cpu->host) : "memory");
}

bool svm_enable(void)
{
	struct svm_cpu *cpu = hal_pages_alloc(align_up(sizeof(*cpu), PAGE_SIZE) / PAGE_SIZE);
	u64 vm_cr;

	if (!cpu) {
		hal_log(HAL_ERROR, "svm: no memory for CPU %u", hal_cpu_id());
		return false;
	}
	if (svm_caps.unlock && msr_read_safe(MSR_AMD_VM_CR, &vm_cr))
		msr_write(MSR_AMD_VM_CR, svm_vm_cr_enabled(vm_cr));
	if (!msr_write_safe(MSR_EFER, msr_read(MSR_EFER) | EFER_SVME)) {
		hal_log(HAL_ERROR, "svm: CPU %u refuses EFER.SVME", hal_cpu_id());
		hal_pages_free(cpu, align_up(sizeof(*cpu), PAGE_SIZE) / PAGE_SIZE);
		return false;
	}
	msr_write(MSR_AMD_VM_HSAVE_PA, (u64)cpu->hsave);
	cpu->asid_generation = 1;
	cpu->asid_next = svm_caps.nr_asids; /* so that the first vCPU flushes all of them */
	this_cpu()->vendor = cpu;
	host_state_save(cpu);
	if (hal_cpu_id() == 0) {
		svm_control_maps_init();
		vendor_caps.xsetbv_exits = svm_xsetbv_exits();
		vendor_cap_add(&vendor_caps, "xsetbv-exit", vendor_caps.xsetbv_exits,
		               "no XSAVE in guests");
	}
	return true;
}

void svm_disable(void)
{
	struct svm_cpu *cpu = this_cpu()->vendor;

	if (!cpu)
		return;
	this_cpu()->vendor = NULL;
	msr_write(MSR_AMD_VM_HSAVE_PA, 0);
	msr_write(MSR_EFER, msr_read(MSR_EFER) & ~EFER_SVME);
	hal_pages_free(cpu, align_up(sizeof(*cpu), PAGE_SIZE) / PAGE_SIZE);
}
