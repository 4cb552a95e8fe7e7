#include "hv/cpuid.h"

#include "arch/x86/regs.h"
#include "lib/string.h"

/* Leaf 1 (Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix E). */
#define L1C_ALWAYS                                                                              \
	(BIT(0) | BIT(1) | BIT(9) | BIT(13) | BIT(19) | BIT(20) | BIT(22) | BIT(23) | BIT(25) | \
	 BIT(30))
#define L1C_AVX        (BIT(12) | BIT(28) | BIT(29)) /* FMA, AVX, F16C */
#define L1C_PCID       BIT(17)
#define L1C_XSAVE      BIT(26)
#define L1C_OSXSAVE    BIT(27)
#define L1C_HYPERVISOR BIT(31)
#define L1D_ALLOWED                                                                                \
	(BIT(0) | BIT(1) | BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(8) | BIT(9) |          \
	 BIT(11) | BIT(12) | BIT(13) | BIT(15) | BIT(16) | BIT(17) | BIT(19) | BIT(23) | BIT(24) | \
	 BIT(25) | BIT(26))
#define L1D_HTT BIT(28)
/* Leaf 7.0: FSGSBASE, BMI1, SMEP, BMI2, ERMS, RDSEED, ADX, SMAP, CLFLUSHOPT, CLWB, SHA. */
#define L7B_ALWAYS                                                                            \
	(BIT(0) | BIT(3) | BIT(7) | BIT(8) | BIT(9) | BIT(18) | BIT(19) | BIT(20) | BIT(23) | \
	 BIT(24) | BIT(29))
#define L7B_AVX    BIT(5)
#define L7B_PCID   BIT(10)            /* INVPCID */
#define L7C_ALWAYS BIT(2)             /* UMIP */
#define L7C_AVX    (BIT(9) | BIT(10)) /* VAES, VPCLMULQDQ */
#define L7D_ALWAYS BIT(4)             /* fast short REP MOV */
/* Leaf 0x80000001. */
#define X1C_ALLOWED (BIT(0) | BIT(5) | BIT(6) | BIT(7) | BIT(8)) /* LAHF, LZCNT, SSE4A, ... */
#define X1D_AMD     0x0183f3ffu                                  /* the copies of leaf 1 */
#define X1D_ALLOWED \
	(BIT(11) | BIT(20) | BIT(22) | BIT(26) | BIT(29)) /* SYSCALL, NX, MMX+, 1G, LM */
#define X7D_INVARIANT_TSC BIT(8)

#define XSAVE_LEGACY_BYTES 576u /* legacy region and header */

static void build_leaf1(struct cpuid_table *t, struct cpuid_regs r)
{
	const struct cpuid_config *c = &t->config;

	r.ebx = (r.ebx & 0xff00u) | (c->vcpus & 0xff) << 16;
	r.ecx &= (u32)(L1C_ALWAYS | (c->pcid ? L1C_PCID : 0) | (c->xcr0 ? L1C_XSAVE : 0) |
	               (c->xcr0 & XCR0_AVX ? L1C_AVX : 0));
	r.ecx |= (u32)L1C_HYPERVISOR;
	r.edx &= (u32)L1D_ALLOWED;
	if (c->vcpus > 1)
		r.edx |= (u32)L1D_HTT;
	t->basic[1] = r;
}

static void build_leaf7(struct cpuid_table *t, struct cpuid_regs r)
{
	bool avx = t->config.xcr0 & XCR0_AVX;

	t->basic[7] = (struct cpuid_regs){
	        .ebx = r.ebx &
	               (u32)(L7B_ALWAYS | (avx ? L7B_AVX : 0) | (t->config.pcid ? L7B_PCID : 0)),
	        .ecx = r.ecx & (u32)(L7C_ALWAYS | (avx ? L7C_AVX : 0)),
	        .edx = r.edx & (u32)L7D_ALWAYS,
	};
}

static u32 xsave_bytes(const struct cpuid_table *t, u64 xcr0)
{
	u32 avx_end = t->xsave[2].eax + t->xsave[2].ebx;

	return xcr0 & XCR0_AVX ? max_of(avx_end, XSAVE_LEGACY_BYTES) : XSAVE_LEGACY_BYTES;
}

static void build_xsave(struct cpuid_table *t, struct cpuid_regs (*host)(u32, u32))
{
	u64 xcr0 = t->config.xcr0;

	if (!xcr0)
		return;
	if (xcr0 & XCR0_AVX)
		t->xsave[2] = host(0xd, 2);
	t->xsave[0].eax = (u32)xcr0;
	t->xsave[0].ecx = xsave_bytes(t, xcr0);
}

/* Level 0: one thread in a core; level 1: the VM's vCPUs are the cores of one package. */
static void build_topology(struct cpuid_table *t)
{
	u32 bits = 0;

	while (1u << bits < t->config.vcpus)
		bits++;
	t->deterministic = (struct cpuid_regs){.eax = bits, .ebx = t->config.vcpus, .ecx = 0x201};
}

static void build_ext(struct cpuid_table *t, struct cpuid_regs (*host)(u32, u32))
{
	u32 max = host(0x80000000u, 0).eax;
	bool amd = t->basic[0].ecx == 0x444d4163u; /* "cAMD" */
	u32 phys;

	if (max < 0x80000000u || max > 0x8000ffffu)
		max = 0x80000000u;
	max = min_of(max, 0x80000000u + CPUID_EXT_LEAVES - 1);
	for (u32 i = 0; i <= max - 0x80000000u; i++)
		t->ext[i] = host(0x80000000u + i, 0);
	t->ext[0] = (struct cpuid_regs){max, t->basic[0].ebx, t->basic[0].ecx, t->basic[0].edx};
	if (!amd)
		t->ext[0].ebx = t->ext[0].ecx = t->ext[0].edx = 0;
	t->ext[1].ebx = 0;
	t->ext[1].ecx &= (u32)X1C_ALLOWED;
	t->ext[1].edx &= (u32)X1D_ALLOWED | (amd ? X1D_AMD & t->basic[1].edx : 0);
	t->ext[7] = (struct cpuid_regs){.edx = t->ext[7].edx & (u32)X7D_INVARIANT_TSC};
	phys = min_of(t->ext[8].eax & 0xff, t->config.phys_bits);
	t->ext[8] = (struct cpuid_regs){
	        .eax = (t->ext[8].eax & 0xff00u) | phys,
	        .ecx = amd ? t->config.vcpus - 1 : 0,
	};
}

void cpuid_build(struct cpuid_table *t, const struct cpuid_config *config,
                 struct cpuid_regs (*host)(u32 leaf, u32 subleaf))
{
	struct cpuid_regs top = host(0, 0);

	memset(t, 0, sizeof(*t));
	t->config = *config;
	t->max_basic = config->xcr0 ? 0xdu : 0xbu;
	top.eax = t->max_basic;
	t->basic[0] = top;
	build_leaf1(t, host(1, 0));
	if (host(0, 0).eax >= 7)
		build_leaf7(t, host(7, 0));
	build_xsave(t, host);
	build_topology(t);
	build_ext(t, host);
}

static void answer_hypervisor(const struct cpuid_table *t, u32 leaf, struct cpuid_regs *out)
{
	*out = (struct cpuid_regs){0};
	if (leaf == CPUID_HV_BASE) /* "VarveVarveVa" */
		*out = (struct cpuid_regs){CPUID_HV_MAX, 0x76726156, 0x72615665, 0x61566576};
	else if (leaf == CPUID_HV_BASE + 1)
		out->eax = t->config.vcpus;
	else if (leaf == CPUID_HV_MAX)
		*out = (struct cpuid_regs){.eax = t->config.tsc_khz, .ebx = t->config.apic_khz};
}

static void answer_topology(const struct cpuid_table *t, const struct cpuid_vcpu *v, u32 subleaf,
                            struct cpuid_regs *out)
{
	if (subleaf == 0)
		*out = (struct cpuid_regs){.ebx = 1, .ecx = 0x100};
	else if (subleaf == 1)
		*out = t->deterministic;
	else
		*out = (struct cpuid_regs){.ecx = subleaf & 0xff};
	out->edx = v->apic_id;
}

static void answer_xsave(const struct cpuid_table *t, const struct cpuid_vcpu *v, u32 subleaf,
                         struct cpuid_regs *out)
{
	if (subleaf >= ARRAY_SIZE(t->xsave) || !t->config.xcr0) {
		*out = (struct cpuid_regs){0};
		return;
	}
	*out = t->xsave[subleaf];
	if (subleaf == 0)
		out->ebx = xsave_bytes(t, v->xcr0);
}

void cpuid_answer(const struct cpuid_table *t, const struct cpuid_vcpu *v, u32 leaf, u32 subleaf,
                  struct cpuid_regs *out)
{
	if (leaf <= t->max_basic) {
		*out = t->basic[leaf];
		if (leaf == 1) {
			out->ebx |= v->apic_id << 24;
			if (v->osxsave && t->config.xcr0)
				out->ecx |= (u32)L1C_OSXSAVE;
		} else if (leaf == 7 && subleaf) {
			*out = (struct cpuid_regs){0};
		} else if (leaf == 0xb) {
			answer_topology(t, v, subleaf, out);
		} else if (leaf == 0xd) {
			answer_xsave(t, v, subleaf, out);
		}
		return;
	}
	if (leaf - 0x80000000u < CPUID_EXT_LEAVES)
		*out = t->ext[leaf - 0x80000000u];
	else
		answer_hypervisor(t, leaf, out);
}

/* A CR4 bit may be set only where CPUID shows what it enables (SDM vol. 3, section 2.5). */
u64 cpuid_cr4_allowed(const struct cpuid_table *t)
{
	u32 c1 = t->basic[1].ecx, d1 = t->basic[1].edx, b7 = t->basic[7].ebx, c7 = t->basic[7].ecx;
	u64 bits = BIT(0) | BIT(1) | BIT(2) | CR4_PSE | CR4_PAE | BIT(3) | BIT(8) | CR4_MCE;

	bits |= d1 & BIT(13) ? CR4_PGE : 0;
	bits |= d1 & BIT(24) ? CR4_OSFXSR : 0;
	bits |= d1 & BIT(25) ? CR4_OSXMMEXCPT : 0;
	bits |= c7 & BIT(2) ? CR4_UMIP : 0;
	bits |= b7 & BIT(0) ? CR4_FSGSBASE : 0;
	bits |= c1 & L1C_XSAVE ? CR4_OSXSAVE : 0;
	bits |= c1 & L1C_PCID ? CR4_PCIDE : 0;
	bits |= b7 & BIT(7) ? CR4_SMEP : 0;
	bits |= b7 & BIT(20) ? CR4_SMAP : 0;
	return bits;
}

u64 cpuid_efer_allowed(const struct cpuid_table *t)
{
	u32 d = t->ext[1].edx;
	u64 bits = d & BIT(11) ? EFER_SCE : 0;

	bits |= d & BIT(20) ? EFER_NXE : 0;
	bits |= d & BIT(29) ? EFER_LME | EFER_LMA : 0;
	return bits;
}
