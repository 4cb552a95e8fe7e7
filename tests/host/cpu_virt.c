#include "tests/host/cpu_virt.h"

#include "arch/hal.h"
#include "arch/x86/cpu.h"
#include "arch/x86/fpu.h"
#include "tests/host/cpu_regs.h"
#include "tests/host/hal.h"

#include <string.h>

struct cpu_virt cpu_virt;
cpu_virt_guest cpu_virt_run;
struct cpu_features cpu_features;
static unsigned cpus;

static void each_cpu(bool on)
{
	for (unsigned i = 0; i < cpus; i++) {
		host_cpu_set(i);
		if (on)
			ASSERT(vendor->enable());
		else
			vendor->disable();
	}
	host_cpu_set(0);
}

void cpu_virt_create(const struct cpu_virt *what, unsigned ncpus, cpu_virt_guest guest)
{
	cpu_virt = *what;
	cpu_virt_run = guest;
	cpus = ncpus;
	cpu_features = (struct cpu_features){
	        .phys_bits = 40,
	        .nx = true,
	        .gib_pages = true,
	        .smep = true,
	        .smap = true,
	        .pat = true,
	        .fxsr = true,
	        .xsave = true,
	        .avx = true,
	        .pcid = what->invpcid,
	        .vmx = what->vmx,
	        .svm = !what->vmx,
	};
	vendor_caps = (struct vendor_caps){0};
	cpu_regs_reset();
	if (what->vmx)
		cpu_vmx_judge();
	else
		cpu_svm_judge();
	vendor = what->vmx ? &vmx_ops : &svm_ops;
	each_cpu(true);
}

void cpu_virt_destroy(void)
{
	each_cpu(false);
	vendor = NULL;
}

bool cpu_virt_is_vmx(void)
{
	return cpu_virt.vmx;
}

/* --- the FPU: which state is live is all that counts here (arch/x86/fpu.c) --- */

u64 fpu_xcr0(void)
{
	return 7;
}
void fpu_init_area(struct fpu_area *area)
{
	memset(area, 0, sizeof(*area));
}
void fpu_load_guest(struct fpu_area *area)
{
	this_cpu()->fpu_live = area;
}
void fpu_put(struct fpu_area *area)
{
	if (this_cpu()->fpu_live == area)
		this_cpu()->fpu_live = NULL;
}
void fpu_forget(const struct fpu_area *area)
{
	if (this_cpu()->fpu_live == area)
		this_cpu()->fpu_live = NULL;
}
