/*
 * A virtual CPU: the machine half (arch/x86/vcpu.h), its local APIC, what others ask of it, and
 * where it stands between guest and hypervisor.
 *
 * All of it belongs to the vCPU's own thread but `requests`, `mode`, `flushed_gen` and the APIC's
 * pending vectors, which any CPU may look at or add to.
 */
#pragma once

#include "arch/x86/vcpu.h"
#include "arch/x86/vendor.h"
#include "hv/mmu/shadow_vcpu.h"
#include "hv/timer.h"
#include "hv/vlapic.h"
#include "lib/atomic.h"
#include "lib/types.h"

struct vm;
struct thread;

enum vcpu_mode { VCPU_OUTSIDE, VCPU_IN_GUEST };

/* Bits of `requests`; set by vcpu_request(), looked at before every guest entry (ord F3). */
#define VCPU_REQ_EVENT BIT(0) /* look at the APIC: something may be deliverable */
#define VCPU_REQ_NMI   BIT(1)
#define VCPU_REQ_INIT  BIT(2)
#define VCPU_REQ_SIPI  BIT(3)
#define VCPU_REQ_TIMER BIT(4) /* the APIC timer's deadline passed */
#define VCPU_REQ_STOP  BIT(5) /* the VM has ended */
#define VCPU_REQ_WORLD BIT(6) /* somebody stops the world */

enum vcpu_activity {
	VCPU_ACTIVE,
	VCPU_HALTED,    /* HLT: an interrupt or NMI wakes it */
	VCPU_WAIT_SIPI, /* after INIT */
};

/* Values of MSRs that are kept, not given to the vendor. */
struct vcpu_msrs {
	u64 apic_base;
	u64 tsc_adjust;
};

struct vcpu {
	struct arch_vcpu arch;
	struct shadow_vcpu shadow; /* if arch.shadow */
	a32 requests;
	a32 mode;        /* enum vcpu_mode; ord F1 */
	a64 flushed_gen; /* flush generation that the next or present stay in the guest has honoured */
	s32 last_cpu;    /* where it was in the guest last, -1: nowhere */
	u8 cr8_seen;
	u8 sipi_vector;
	enum vcpu_activity activity;
	bool window; /* vendor->irq_window() is on */
	struct vm *vm;
	u32 index;
	struct thread *thread;
	struct vlapic apic;
	struct timer apic_timer;
	struct timer window_timer; /* to look again for a window that could not be asked for */
	struct vcpu_msrs msr;
	u64 xcr0; /* as the guest set it */
	struct vexit exit;
	/* Where the last instruction without a length from hardware was, and how long it is. */
	u64 skip_rip, skip_cr3;
	u8 skip_length;
	u8 skip_kind;
	u64 exits_total;
	u64 faults_total;
};

/* Control block and reset state, no thread yet. False: no memory, nothing kept. */
bool vcpu_create(struct vcpu *v, struct vm *vm, u32 index) must_check;
/* Makes its thread; thread_wake(v->thread) starts it. False: no memory. */
bool vcpu_make_thread(struct vcpu *v) must_check;
/* Asks something of a vCPU: wakes it, or makes it leave the guest. Any CPU, no lock. */
void vcpu_request(struct vcpu *v, u32 bits);
/* A fixed interrupt for its APIC. Any CPU. */
void vcpu_post(struct vcpu *v, u8 vector);

/* The rest: on the vCPU's own thread. */
/* Carries out what a register write of the APIC asked for. */
void vcpu_apic_effect(struct vcpu *v, const struct vlapic_effect *effect);
/* Deals with all requests but STOP and WORLD. */
void vcpu_handle_requests(struct vcpu *v);
/* Asks to be told, by VEXIT_IRQ_WINDOW, when the guest can take an interrupt; or no longer. */
void vcpu_window(struct vcpu *v, bool on);
/* Sleeps until an event makes it active, or somebody asks for it. */
void vcpu_wait(struct vcpu *v);
/* Could it run guest code? (not halted, not waiting for SIPI) */
static inline bool vcpu_active(const struct vcpu *v)
{
	return v->activity == VCPU_ACTIVE;
}
/* Registers as `how` says. */
void vcpu_reset(struct vcpu *v, const struct vreset *how);
/* CR0, CR3, CR4 or EFER was written: what was cached of its translations is dropped. */
void vcpu_paging_changed(struct vcpu *v);
void vcpu_inject_exception(struct vcpu *v, u8 vector, bool has_error, u32 error);
/*
 * A page fault of its own for a vCPU on shadow tables, with what it becomes while another exception is being
 * delivered; may stop the VM.
 */
void vcpu_inject_page_fault(struct vcpu *v, gva_t at, u32 error);
static inline void vcpu_inject_gp(struct vcpu *v)
{
	vcpu_inject_exception(v, 13, true, 0);
}
static inline void vcpu_inject_ud(struct vcpu *v)
{
	vcpu_inject_exception(v, 6, false, 0);
}
/* Gives the control block back; last act of its thread. */
void vcpu_destroy(struct vcpu *v);
