#include "arch/hal.h"
#include "arch/x86/cpu.h"
#include "arch/x86/svm/control.h"

#define SVM_LEAF       0x8000000au
#define VM_CR_LOCK     BIT(3)
#define VM_CR_SVMDIS   BIT(4)
#define SVM_NPT        BIT(0)
#define SVM_NRIP       BIT(3)
#define SVM_CLEAN      BIT(5)
#define SVM_FLUSH_ASID BIT(6)
#define SVM_DECODE     BIT(7)
#define SVM_PAUSE_FILT BIT(10)
#define SVM_VGIF       BIT(16)

struct svm_caps svm_caps;

static void caps_read(struct vendor_caps *caps, u32 features, u32 nr_asids)
{
	bool gib = cpu_features.gib_pages;

	svm_caps.nr_asids = nr_asids;
	svm_caps.nrip = features & SVM_NRIP;
	svm_caps.flush_asid = features & SVM_FLUSH_ASID;
	svm_caps.clean_bits = features & SVM_CLEAN;
	svm_caps.pause_filter = features & SVM_PAUSE_FILT;
	svm_caps.decode = features & SVM_DECODE;

	caps->second_level = features & SVM_NPT;
	caps->ad = caps->second_level;
	caps->page_2m = true;
	caps->page_1g = gib;
	caps->unrestricted = true;
	caps->decode_len = svm_caps.nrip;
	caps->nr_tags = nr_asids;
	vendor_cap_add(caps, "npt", caps->second_level, NULL);
	vendor_cap_add(caps, "ad-bits", caps->ad, NULL);
	vendor_cap_add(caps, "asids", nr_asids > 1, NULL);
	vendor_cap_add(caps, "flush-by-asid", svm_caps.flush_asid, "flushes drop every ASID");
	vendor_cap_add(caps, "unrestricted", true, NULL);
	vendor_cap_add(caps, "preemption-timer", false, "the local APIC's timer ends time slices");
	vendor_cap_add(caps, "nrip-save", svm_caps.nrip, "instruction lengths are decoded");
	vendor_cap_add(caps, "decode-assists", svm_caps.decode, "instructions are fetched");
	vendor_cap_add(caps, "pages-2m", true, NULL);
	vendor_cap_add(caps, "pages-1g", gib, "2 MiB pages");
	vendor_cap_add(caps, "msr-bitmap", true, NULL);
	vendor_cap_add(caps, "io-bitmap", true, NULL);
	vendor_cap_add(caps, "xsave", cpu_features.xsave, "FXSAVE");
	vendor_cap_add(caps, "vgif", features & SVM_VGIF, "not needed without nesting");
	vendor_cap_add(caps, "clean-bits", svm_caps.clean_bits, "the whole VMCB is loaded");
	vendor_cap_add(caps, "exec-only", false, "executable pages are readable");
	vendor_cap_add(caps, "pml", false, "Dirty bits are harvested from the tables");
	vendor_cap_add(caps, "pause-filter", svm_caps.pause_filter, "time slices end spinning");
}

/* VM_CR: APM vol. 2, section 15.30.1. A CPU without the register cannot have SVM locked off. */
static enum vendor_state caps_lock(struct vendor_caps *caps)
{
	u64 vm_cr;

	if (!msr_read_safe(MSR_AMD_VM_CR, &vm_cr) || !(vm_cr & VM_CR_SVMDIS))
		return VENDOR_OK;
	svm_caps.unlock = !(vm_cr & VM_CR_LOCK);
	if (svm_caps.unlock)
		return VENDOR_OK;
	caps->why = "the firmware has locked SVM off (VM_CR.SVMDIS): enable SVM or virtualization "
	            "in the firmware setup";
	return VENDOR_LOCKED;
}

enum vendor_state svm_probe(struct vendor_caps *caps)
{
	struct cpuid_regs leaf;
	enum vendor_state state;

	if (!cpu_features.svm || cpu_features.max_ext_leaf < SVM_LEAF)
		return VENDOR_ABSENT;
	leaf = cpuid(SVM_LEAF, 0);
	caps_read(caps, leaf.edx, leaf.ebx);
	state = caps_lock(caps);
	if (state != VENDOR_OK)
		return state;
	if (!caps->second_level) {
		caps->why = "SVM without nested paging: shadow paging is not there yet, use a CPU "
		            "with NPT";
		return VENDOR_LACKS;
	}
	if (leaf.ebx < 2) {
		caps->why = "SVM without an address space identifier for guests: use another CPU";
		return VENDOR_LACKS;
	}
	return VENDOR_OK;
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
		msr_write(MSR_AMD_VM_CR, vm_cr & ~VM_CR_SVMDIS);
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
