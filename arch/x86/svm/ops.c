#include "arch/hal.h"
#include "arch/x86/regs.h"
#include "arch/x86/svm/control.h"
#include "arch/x86/vcpu_event.h"
#include "arch/x86/vcpu_state.h"

#define SVM_VCPU_PAGES ((sizeof(struct svm_vcpu) + PAGE_SIZE - 1) / PAGE_SIZE)
#define DR6_INIT       0xffff0ff0u

static bool svm_create(struct arch_vcpu *v)
{
	struct svm_vcpu *c = hal_pages_alloc(SVM_VCPU_PAGES);

	if (!c)
		return false;
	svm_control_init(&c->vmcb);
	if (v->shadow)
		svm_control_shadow(&c->vmcb);
	c->vmcb.save.efer = EFER_SVME;
	c->last_cpu = -1;
	c->dirty = SVM_DIRTY_ALL;
	fpu_init_area(&c->fpu);
	v->fpu = &c->fpu;
	v->control = c;
	v->loaded_cpu = -1;
	return true;
}

static void svm_destroy(struct arch_vcpu *v)
{
	ASSERT(v->loaded_cpu == -1);
	hal_pages_free(v->control, SVM_VCPU_PAGES);
	v->control = NULL;
	v->fpu = NULL;
}

static void svm_reset(struct arch_vcpu *v, const struct vreset *how)
{
	struct svm_vcpu *c = svm_of(v);

	svm_irq_window(v, false);
	svm_event_iret(v);
	c->vmcb.control.int_state = 0;
	c->vmcb.save.dr6 = DR6_INIT;
	svm_touch(c, SVM_DIRTY_DR);
	vcpu_state_reset(&svm_ops, v, how);
}

/* What another CPU may keep of the VMCB or the TLB is not known there: start afresh. */
static void svm_load(struct arch_vcpu *v)
{
	struct svm_vcpu *c = svm_of(v);
	s32 cpu = (s32)hal_cpu_id();

	DEBUG_ASSERT(v->loaded_cpu == -1);
	if (c->last_cpu != cpu) {
		c->last_cpu = cpu;
		c->asid_generation = 0;
		c->dirty = SVM_DIRTY_ALL;
	}
	v->loaded_cpu = cpu;
	vcpu_debug_load(v);
}

static void svm_put(struct arch_vcpu *v)
{
	vcpu_debug_save(v);
	v->loaded_cpu = -1;
}

const struct vendor_ops svm_ops = {
        .name = "svm",
        .kick_by_nmi = true,
        .probe = svm_probe,
        .enable = svm_enable,
        .disable = svm_disable,
        .create = svm_create,
        .destroy = svm_destroy,
        .reset = svm_reset,
        .load = svm_load,
        .put = svm_put,
        .run = svm_run,
        .get = svm_get,
        .set = svm_set,
        .get_seg = svm_get_seg,
        .set_seg = svm_set_seg,
        .advance = svm_advance,
        .inject = vcpu_event_inject,
        .irq_ready = svm_irq_ready,
        .irq_window = svm_irq_window,
        .flush = svm_flush,
        .nmi = svm_nmi,
};
