/* The AMD half of tests/host/cpu_virt.h: what arch/x86/svm/caps.c and run.S have to do with the machine. */
#include "arch/hal.h"
#include "arch/x86/percpu.h"
#include "arch/x86/svm/control.h"
#include "tests/host/cpu_tlb.h"
#include "tests/host/cpu_virt.h"

#define PAGES_OF(type) (align_up(sizeof(type), PAGE_SIZE) / PAGE_SIZE)

struct svm_caps svm_caps;

static u32 feature(bool on, unsigned bit)
{
	return on ? 1u << bit : 0;
}

/* APM vol. 3, appendix E: leaf 0x8000000a. */
void cpu_svm_judge(void)
{
	const struct cpu_virt *w = &cpu_virt;
	const struct svm_raw raw = {
	        .svm = true,
	        .gib_pages = true,
	        .xsave = true,
	        .tcg = w->tcg,
	        .max_ext_leaf = 0x8000001f,
	        .nr_asids = 16,
	        .features = 1u | feature(w->nrip, 3) | feature(w->clean_bits, 5) |
	                    feature(w->flush_asid, 6) | feature(w->decode, 7) |
	                    feature(w->pause_filter, 10),
	};

	ASSERT(svm_judge(&raw, &svm_caps, &vendor_caps) == VENDOR_OK);
	vendor_caps.xsetbv_exits = true;
}

enum vendor_state svm_probe(struct vendor_caps *caps)
{
	(void)caps;
	return VENDOR_ABSENT;
}

bool svm_enable(void)
{
	struct svm_cpu *cpu = hal_pages_alloc(PAGES_OF(*cpu));

	if (!cpu)
		return false;
	cpu->asid_generation = 1;
	cpu->asid_next = svm_caps.nr_asids;
	this_cpu()->vendor = cpu;
	svm_control_maps_init();
	return true;
}

void svm_disable(void)
{
	struct svm_cpu *cpu = this_cpu()->vendor;

	this_cpu()->vendor = NULL;
	hal_pages_free(cpu, PAGES_OF(*cpu));
}

/* EVENTINJ has no valid bit any more after the exit; GIF is set again by run.S. */
void svm_enter(struct arch_vcpu *v, hpa_t vmcb, hpa_t host)
{
	struct vmcb *b = (struct vmcb *)(uintptr_t)vmcb.v;

	ASSERT(host.v && vmcb.v == (u64)v->control);
	cpu_tlb_enter(v);
	cpu_virt_run(v);
	b->save.rax = v->gpr[GPR_RAX];
	b->save.rsp = v->gpr[GPR_RSP];
	b->save.rip = v->rip;
	b->save.rflags = v->rflags;
	b->control.event_inject &= ~(u64)0x80000000u;
	if (b->control.tlb_control)
		b->control.tlb_control = 0;
	gif_set();
}
