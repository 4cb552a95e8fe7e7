#include "arch/x86/cpu.h"

#include "arch/hal.h"
#include "lib/fmt.h"
#include "lib/string.h"

struct cpu_features cpu_features;

static bool has_bit(u32 reg, unsigned bit)
{
	return (reg >> bit & 1) != 0;
}

static void detect_names(struct cpu_features *f)
{
	struct cpuid_regs r = cpuid(0, 0);
	u32 vendor[3] = {r.ebx, r.edx, r.ecx};

	f->max_leaf = r.eax;
	memcpy(f->vendor_name, vendor, sizeof(vendor));
	if (strcmp(f->vendor_name, "GenuineIntel") == 0)
		f->vendor = CPU_INTEL;
	else if (strcmp(f->vendor_name, "AuthenticAMD") == 0 ||
	         strcmp(f->vendor_name, "HygonGenuine") == 0)
		f->vendor = CPU_AMD;
	else
		f->vendor = CPU_OTHER;
	f->max_ext_leaf = cpuid(0x80000000, 0).eax;
	if (f->max_ext_leaf < 0x80000004)
		return;
	for (u32 i = 0; i < 3; i++) {
		r = cpuid(0x80000002 + i, 0);
		memcpy(f->model_name + 16 * i, &r.eax, 4);
		memcpy(f->model_name + 16 * i + 4, &r.ebx, 4);
		memcpy(f->model_name + 16 * i + 8, &r.ecx, 4);
		memcpy(f->model_name + 16 * i + 12, &r.edx, 4);
	}
}

static void detect_basic(struct cpu_features *f)
{
	struct cpuid_regs r = cpuid(1, 0);

	f->vmx = has_bit(r.ecx, 5);
	f->x2apic = has_bit(r.ecx, 21);
	f->tsc_deadline = has_bit(r.ecx, 24);
	f->xsave = has_bit(r.ecx, 26);
	f->avx = f->xsave && has_bit(r.ecx, 28);
	f->hypervisor = has_bit(r.ecx, 31);
	f->mce = has_bit(r.edx, 7);
	f->pge = has_bit(r.edx, 13);
	f->mca = has_bit(r.edx, 14);
	f->pat = has_bit(r.edx, 16);
	f->fxsr = has_bit(r.edx, 24);
	if (f->max_leaf >= 6)
		f->arat = has_bit(cpuid(6, 0).eax, 2);
	if (f->max_leaf < 7)
		return;
	r = cpuid(7, 0);
	f->tsc_adjust = has_bit(r.ebx, 1);
	f->smep = has_bit(r.ebx, 7);
	f->smap = has_bit(r.ebx, 20);
	f->pcid = has_bit(r.ebx, 10) && has_bit(cpuid(1, 0).ecx, 17);
	f->umip = has_bit(r.ecx, 2);
}

static void detect_extended(struct cpu_features *f)
{
	struct cpuid_regs r;

	f->phys_bits = 36;
	if (f->max_ext_leaf >= 0x80000001) {
		r = cpuid(0x80000001, 0);
		f->svm = has_bit(r.ecx, 2);
		f->nx = has_bit(r.edx, 20);
		f->gib_pages = has_bit(r.edx, 26);
		f->rdtscp = has_bit(r.edx, 27);
	}
	if (f->max_ext_leaf >= 0x80000007)
		f->tsc_invariant = has_bit(cpuid(0x80000007, 0).edx, 8);
	if (f->max_ext_leaf >= 0x80000008)
		f->phys_bits = cpuid(0x80000008, 0).eax & 0xff;
}

/* Some CPUs pad their name in front. */
static void trim_model_name(struct cpu_features *f)
{
	size_t skip = 0;

	while (f->model_name[skip] == ' ')
		skip++;
	memmove(f->model_name, f->model_name + skip, sizeof(f->model_name) - skip);
}

void cpu_detect(void)
{
	detect_names(&cpu_features);
	trim_model_name(&cpu_features);
	detect_basic(&cpu_features);
	detect_extended(&cpu_features);
}

void cpu_init_control(void)
{
	const struct cpu_features *f = &cpu_features;
	u64 cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;

	cr4 |= f->mce ? CR4_MCE : 0;
	cr4 |= f->smep ? CR4_SMEP : 0;
	cr4 |= f->smap ? CR4_SMAP : 0;
	cr4 |= f->umip ? CR4_UMIP : 0;
	cr4 |= f->xsave ? CR4_OSXSAVE : 0;
	cr4_write(cr4);
	cr0_write(CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE);
	msr_write(MSR_EFER, (msr_read(MSR_EFER) & (EFER_LME | EFER_LMA)) | EFER_NXE);
	if (f->pat)
		msr_write(MSR_PAT, PAT_DEFAULT);
}

u32 cpu_apic_id(void)
{
	struct cpuid_regs r;

	if (cpuid(0, 0).eax >= 0xb) {
		r = cpuid(0xb, 0);
		if (r.ebx) /* 0: the leaf is there but empty */
			return r.edx;
	}
	return cpuid(1, 0).ebx >> 24;
}

void cpu_feature_names(char *buf, size_t size)
{
	const struct cpu_features *f = &cpu_features;
	const struct {
		bool have;
		const char *name;
	} names[] = {
	        {f->vmx, "vmx"},       {f->svm, "svm"},
	        {f->nx, "nx"},         {f->gib_pages, "1g"},
	        {f->smep, "smep"},     {f->smap, "smap"},
	        {f->umip, "umip"},     {f->x2apic, "x2apic"},
	        {f->xsave, "xsave"},   {f->avx, "avx"},
	        {f->mca, "mca"},       {f->tsc_deadline, "tsc-deadline"},
	        {f->arat, "arat"},     {f->tsc_invariant, "tsc-invariant"},
	        {f->rdtscp, "rdtscp"}, {f->hypervisor, "hypervisor"},
	};
	size_t at = 0;

	if (size)
		buf[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (!names[i].have || at >= size)
			continue;
		at += (size_t)fmt_snprintf(buf + at, size - at, "%s%s", at ? " " : "",
		                           names[i].name);
	}
}
