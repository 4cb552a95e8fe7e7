/*
 * The virtual machine control block as the hardware has it (AMD APM vol. 2, appendix B), and what we
 * keep beside it for each vCPU and each CPU.
 */
#pragma once

#include "arch/x86/fpu.h"
#include "arch/x86/svm/judge.h"
#include "arch/x86/vcpu.h"
#include "arch/x86/vendor.h"
#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"

struct vmcb_seg {
	u16 selector;
	u16 attr; /* bits 55:52 and 47:40 of a descriptor */
	u32 limit;
	u64 base;
};

/* Table B-1, control area. */
struct vmcb_control {
	u16 cr_reads, cr_writes;
	u16 dr_reads, dr_writes;
	u32 exceptions;
	u32 intercept1, intercept2, intercept3;
	u8 reserved1[0x24];
	u16 pause_threshold, pause_count;
	u64 iopm, msrpm;
	u64 tsc_offset;
	u32 asid;
	u8 tlb_control;
	u8 reserved2[3];
	u32 int_control;
	u32 int_vector;
	u64 int_state;
	u64 exit_code, exit_info1, exit_info2, exit_int_info;
	u64 nested_control;
	u8 reserved3[0x10];
	u64 event_inject;
	u64 nested_cr3;
	u64 lbr_control;
	u32 clean;
	u32 reserved4;
	u64 next_rip;
	u8 nr_bytes;
	u8 bytes[15];
	u8 reserved5[0x320];
};
static_assert(offsetof(struct vmcb_control, pause_threshold) == 0x3c, "APM B-1");
static_assert(offsetof(struct vmcb_control, iopm) == 0x40, "APM B-1");
static_assert(offsetof(struct vmcb_control, asid) == 0x58, "APM B-1");
static_assert(offsetof(struct vmcb_control, int_control) == 0x60, "APM B-1");
static_assert(offsetof(struct vmcb_control, int_state) == 0x68, "APM B-1");
static_assert(offsetof(struct vmcb_control, exit_code) == 0x70, "APM B-1");
static_assert(offsetof(struct vmcb_control, nested_control) == 0x90, "APM B-1");
static_assert(offsetof(struct vmcb_control, event_inject) == 0xa8, "APM B-1");
static_assert(offsetof(struct vmcb_control, clean) == 0xc0, "APM B-1");
static_assert(offsetof(struct vmcb_control, next_rip) == 0xc8, "APM B-1");
static_assert(offsetof(struct vmcb_control, bytes) == 0xd1, "APM B-1");
static_assert(sizeof(struct vmcb_control) == 0x400, "APM B-1");

/* Table B-2, state save area. */
struct vmcb_save {
	struct vmcb_seg es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
	u8 reserved1[0x2b];
	u8 cpl;
	u32 reserved2;
	u64 efer;
	u8 reserved3[0x70];
	u64 cr4, cr3, cr0, dr7, dr6, rflags, rip;
	u8 reserved4[0x58];
	u64 rsp;
	u8 reserved5[0x18];
	u64 rax;
	u64 star, lstar, cstar, sfmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u64 cr2;
	u8 reserved6[0x20];
	u64 pat;
	u8 reserved7[0x990];
};
static_assert(offsetof(struct vmcb_save, cpl) == 0xcb, "APM B-2");
static_assert(offsetof(struct vmcb_save, efer) == 0xd0, "APM B-2");
static_assert(offsetof(struct vmcb_save, cr4) == 0x148, "APM B-2");
static_assert(offsetof(struct vmcb_save, rip) == 0x178, "APM B-2");
static_assert(offsetof(struct vmcb_save, rsp) == 0x1d8, "APM B-2");
static_assert(offsetof(struct vmcb_save, rax) == 0x1f8, "APM B-2");
static_assert(offsetof(struct vmcb_save, sysenter_cs) == 0x228, "APM B-2");
static_assert(offsetof(struct vmcb_save, cr2) == 0x240, "APM B-2");
static_assert(offsetof(struct vmcb_save, pat) == 0x268, "APM B-2");
static_assert(sizeof(struct vmcb_save) == 0xc00, "APM B-2");

struct vmcb {
	struct vmcb_control control;
	struct vmcb_save save;
} aligned_to(4096);
static_assert(sizeof(struct vmcb) == PAGE_SIZE, "APM 15.5");

/* intercept1 */
#define SVM_INTR     BIT(0)
#define SVM_NMI      BIT(1)
#define SVM_VINTR    BIT(4)
#define SVM_RDPMC    BIT(15)
#define SVM_CPUID    BIT(18)
#define SVM_RSM      BIT(19)
#define SVM_IRET     BIT(20)
#define SVM_INVD     BIT(22)
#define SVM_PAUSE    BIT(23)
#define SVM_HLT      BIT(24)
#define SVM_INVLPG   BIT(25)
#define SVM_INVLPGA  BIT(26)
#define SVM_IOIO     BIT(27)
#define SVM_MSR      BIT(28)
#define SVM_TASK     BIT(29)
#define SVM_SHUTDOWN BIT(31)
/* intercept2 */
#define SVM_VMRUN   BIT(0)
#define SVM_VMMCALL BIT(1)
#define SVM_VMLOAD  BIT(2)
#define SVM_VMSAVE  BIT(3)
#define SVM_STGI    BIT(4)
#define SVM_CLGI    BIT(5)
#define SVM_SKINIT  BIT(6)
#define SVM_RDTSCP  BIT(7)
#define SVM_WBINVD  BIT(9)
#define SVM_MONITOR BIT(10)
#define SVM_MWAIT   BIT(11)
#define SVM_MWAIT_C BIT(12)
#define SVM_XSETBV  BIT(13)
#define SVM_RDPRU   BIT(14)
/* intercept3 */
#define SVM_INVPCID BIT(2)

/* int_control */
#define SVM_V_TPR     0xfu
#define SVM_V_IRQ     (1u << 8)
#define SVM_V_PRIO    (0xfu << 16)
#define SVM_V_IGN_TPR (1u << 20)
#define SVM_V_MASKING (1u << 24)
#define SVM_VIRQ_ALL  (SVM_V_IRQ | SVM_V_IGN_TPR | SVM_V_PRIO)

#define SVM_SHADOW 1u /* int_state */

#define SVM_TLB_KEEP 0u
#define SVM_TLB_ALL  1u /* every ASID; the only one that every CPU has */
#define SVM_TLB_ASID 3u /* needs FlushByASID */

/* Groups of fields that the CPU may keep while their clean bit is set (APM vol. 2, 15.15.3). */
#define SVM_DIRTY_INTERCEPTS BIT(0) /* and the TSC offset */
#define SVM_DIRTY_ASID       BIT(2)
#define SVM_DIRTY_INT        BIT(3)
#define SVM_DIRTY_NESTED     BIT(4) /* and the PAT */
#define SVM_DIRTY_CR         BIT(5)
#define SVM_DIRTY_DR         BIT(6)
#define SVM_DIRTY_TABLES     BIT(7)
#define SVM_DIRTY_SEGS       BIT(8)
#define SVM_DIRTY_CR2        BIT(9)
#define SVM_DIRTY_ALL        0xffffffffu
#define SVM_CLEAN_KNOWN      0x3ffu /* what we keep track of; newer groups are loaded every time */

/* Behind arch_vcpu.control. The VMCB's physical address is that of the whole. */
struct svm_vcpu {
	struct vmcb vmcb;
	struct fpu_area fpu;
	u64 asid_generation; /* the asid is ours while this is the CPU's */
	s32 last_cpu;        /* that has run it, -1 none */
	u32 dirty;           /* SVM_DIRTY_* since the last entry */
	bool flush;          /* before the next entry */
	bool virq;           /* this entry offers v->event as the virtual interrupt */
	bool nmi_blocked;    /* an NMI was injected and no IRET seen since */
	bool irq_window;     /* hv asked for one */
	u8 shadow_kept;      /* exits in a row at shadow_rip */
	u64 shadow_rip;      /* where this entry was in an interrupt shadow, 0: it was in none */
};

/* this_cpu()->vendor */
struct svm_cpu {
	u8 hsave[PAGE_SIZE] aligned_to(4096); /* for the CPU's own use during VMRUN */
	struct vmcb host; /* our FS, GS, TR, LDTR and SYSCALL state, for VMLOAD */
	u64 asid_generation;
	u32 asid_next;
	a32 nmi_seen; /* an NMI came since the last exit for it was reported */
};

extern struct svm_caps svm_caps;

static inline struct svm_vcpu *svm_of(struct arch_vcpu *v)
{
	return v->control;
}
static inline void svm_touch(struct svm_vcpu *c, u64 groups)
{
	c->dirty |= (u32)groups;
}

/* caps.c */
enum vendor_state svm_probe(struct vendor_caps *caps);
bool svm_enable(void);
void svm_disable(void);
/* control.c: the shared permission maps (once, boot CPU); a VMCB's constant half. */
void svm_control_maps_init(void);
void svm_control_init(struct vmcb *vmcb);
/* Another thing for a guest without nested paging: what concerns its tables leaves it. */
void svm_control_shadow(struct vmcb *vmcb);
/* run.S: GPRs but RAX and RSP from and to v->gpr. GIF is clear before, set after; IF clear after. */
void svm_enter(struct arch_vcpu *v, hpa_t vmcb, hpa_t host_vmcb);
/* run.c */
void svm_run(struct arch_vcpu *v, struct vexit *exit);
void svm_flush(struct arch_vcpu *v);
void svm_nmi(void);
/* exit.c */
void svm_exit_decode(struct arch_vcpu *v, struct vexit *exit);
/* event.c: before an entry, after an exit, and the operations of the same names. */
void svm_event_enter(struct arch_vcpu *v);
void svm_event_exit(struct arch_vcpu *v);
void svm_event_iret(struct arch_vcpu *v);
bool svm_irq_ready(struct arch_vcpu *v);
bool svm_irq_window(struct arch_vcpu *v, bool on);
/* state.c */
u64 svm_get(struct arch_vcpu *v, enum vreg reg);
void svm_set(struct arch_vcpu *v, enum vreg reg, u64 value);
void svm_get_seg(struct arch_vcpu *v, enum seg seg, struct seg_state *out);
void svm_set_seg(struct arch_vcpu *v, enum seg seg, const struct seg_state *in);
void svm_advance(struct arch_vcpu *v, unsigned length);
/* xsetbv.c: does this CPU leave the guest for XSETBV? SVM enabled, CR4.OSXSAVE set. */
bool svm_xsetbv_exits(void);
