/*
 * The fields of the virtual machine control structure by their encodings (Intel SDM vol. 3,
 * appendix B), the controls we use (chapter 25), and what we keep beside the VMCS for each vCPU and
 * each CPU.
 */
#pragma once

#include "arch/x86/fpu.h"
#include "arch/x86/vcpu.h"
#include "arch/x86/vendor.h"
#include "arch/x86/vmx/judge.h"
#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"

/* Section 25.11.2: width 14:13 (16, 64, 32 bits, natural), type 11:10, index 9:1. */
#define VMCS_FIELD(width, type, index) ((width) << 13 | (type) << 10 | (index) << 1)
enum { W16, W64, W32, WNAT };
enum { CONTROL, READ_ONLY, GUEST, HOST };

enum vmcs_field {
	VMCS_VPID = VMCS_FIELD(W16, CONTROL, 0),
	VMCS_GUEST_SELECTOR = VMCS_FIELD(W16, GUEST, 0), /* + 2 * enum seg, ES .. TR */
	VMCS_LOG_INDEX = VMCS_FIELD(W16, GUEST, 9),
	VMCS_HOST_ES = VMCS_FIELD(W16, HOST, 0),
	VMCS_HOST_CS = VMCS_FIELD(W16, HOST, 1),
	VMCS_HOST_SS = VMCS_FIELD(W16, HOST, 2),
	VMCS_HOST_DS = VMCS_FIELD(W16, HOST, 3),
	VMCS_HOST_FS = VMCS_FIELD(W16, HOST, 4),
	VMCS_HOST_GS = VMCS_FIELD(W16, HOST, 5),
	VMCS_HOST_TR = VMCS_FIELD(W16, HOST, 6),

	VMCS_MSR_BITMAP = VMCS_FIELD(W64, CONTROL, 2),
	VMCS_LOG_ADDRESS = VMCS_FIELD(W64, CONTROL, 7),
	VMCS_TSC_OFFSET = VMCS_FIELD(W64, CONTROL, 8),
	VMCS_EPTP = VMCS_FIELD(W64, CONTROL, 13),
	VMCS_GUEST_PHYS = VMCS_FIELD(W64, READ_ONLY, 0),
	VMCS_LINK = VMCS_FIELD(W64, GUEST, 0),
	VMCS_GUEST_DEBUGCTL = VMCS_FIELD(W64, GUEST, 1),
	VMCS_GUEST_PAT = VMCS_FIELD(W64, GUEST, 2),
	VMCS_GUEST_EFER = VMCS_FIELD(W64, GUEST, 3),
	VMCS_HOST_PAT = VMCS_FIELD(W64, HOST, 0),
	VMCS_HOST_EFER = VMCS_FIELD(W64, HOST, 1),

	VMCS_PIN_CONTROLS = VMCS_FIELD(W32, CONTROL, 0),
	VMCS_PROC_CONTROLS = VMCS_FIELD(W32, CONTROL, 1),
	VMCS_EXCEPTIONS = VMCS_FIELD(W32, CONTROL, 2),
	VMCS_PF_MASK = VMCS_FIELD(W32, CONTROL, 3),
	VMCS_PF_MATCH = VMCS_FIELD(W32, CONTROL, 4),
	VMCS_CR3_TARGETS = VMCS_FIELD(W32, CONTROL, 5),
	VMCS_EXIT_CONTROLS = VMCS_FIELD(W32, CONTROL, 6),
	VMCS_EXIT_MSR_STORES = VMCS_FIELD(W32, CONTROL, 7),
	VMCS_EXIT_MSR_LOADS = VMCS_FIELD(W32, CONTROL, 8),
	VMCS_ENTRY_CONTROLS = VMCS_FIELD(W32, CONTROL, 9),
	VMCS_ENTRY_MSR_LOADS = VMCS_FIELD(W32, CONTROL, 10),
	VMCS_ENTRY_EVENT = VMCS_FIELD(W32, CONTROL, 11),
	VMCS_ENTRY_ERROR = VMCS_FIELD(W32, CONTROL, 12),
	VMCS_PROC2_CONTROLS = VMCS_FIELD(W32, CONTROL, 15),
	VMCS_PLE_GAP = VMCS_FIELD(W32, CONTROL, 16),
	VMCS_PLE_WINDOW = VMCS_FIELD(W32, CONTROL, 17),
	VMCS_INSN_ERROR = VMCS_FIELD(W32, READ_ONLY, 0),
	VMCS_EXIT_REASON = VMCS_FIELD(W32, READ_ONLY, 1),
	VMCS_EXIT_INTERRUPT = VMCS_FIELD(W32, READ_ONLY, 2),
	VMCS_EXIT_ERROR = VMCS_FIELD(W32, READ_ONLY, 3),
	VMCS_VECTORING = VMCS_FIELD(W32, READ_ONLY, 4),
	VMCS_INSN_LENGTH = VMCS_FIELD(W32, READ_ONLY, 6),
	VMCS_GUEST_LIMIT = VMCS_FIELD(W32, GUEST, 0),   /* + 2 * enum seg, ES .. IDTR */
	VMCS_GUEST_ACCESS = VMCS_FIELD(W32, GUEST, 10), /* + 2 * enum seg, ES .. TR */
	VMCS_GUEST_SHADOW = VMCS_FIELD(W32, GUEST, 18), /* interruptibility */
	VMCS_GUEST_ACTIVITY = VMCS_FIELD(W32, GUEST, 19),
	VMCS_GUEST_SYSENTER_CS = VMCS_FIELD(W32, GUEST, 21),
	VMCS_PREEMPTION_TIMER = VMCS_FIELD(W32, GUEST, 23),
	VMCS_HOST_SYSENTER_CS = VMCS_FIELD(W32, HOST, 0),

	VMCS_CR0_MASK = VMCS_FIELD(WNAT, CONTROL, 0),
	VMCS_CR4_MASK = VMCS_FIELD(WNAT, CONTROL, 1),
	VMCS_CR0_SHADOW = VMCS_FIELD(WNAT, CONTROL, 2),
	VMCS_CR4_SHADOW = VMCS_FIELD(WNAT, CONTROL, 3),
	VMCS_QUALIFICATION = VMCS_FIELD(WNAT, READ_ONLY, 0),
	VMCS_GUEST_LINEAR = VMCS_FIELD(WNAT, READ_ONLY, 5),
	VMCS_GUEST_CR0 = VMCS_FIELD(WNAT, GUEST, 0),
	VMCS_GUEST_CR3 = VMCS_FIELD(WNAT, GUEST, 1),
	VMCS_GUEST_CR4 = VMCS_FIELD(WNAT, GUEST, 2),
	VMCS_GUEST_BASE = VMCS_FIELD(WNAT, GUEST, 3), /* + 2 * enum seg, ES .. IDTR */
	VMCS_GUEST_DR7 = VMCS_FIELD(WNAT, GUEST, 13),
	VMCS_GUEST_RSP = VMCS_FIELD(WNAT, GUEST, 14),
	VMCS_GUEST_RIP = VMCS_FIELD(WNAT, GUEST, 15),
	VMCS_GUEST_RFLAGS = VMCS_FIELD(WNAT, GUEST, 16),
	VMCS_GUEST_PENDING_DB = VMCS_FIELD(WNAT, GUEST, 17),
	VMCS_GUEST_SYSENTER_ESP = VMCS_FIELD(WNAT, GUEST, 18),
	VMCS_GUEST_SYSENTER_EIP = VMCS_FIELD(WNAT, GUEST, 19),
	VMCS_HOST_CR0 = VMCS_FIELD(WNAT, HOST, 0),
	VMCS_HOST_CR3 = VMCS_FIELD(WNAT, HOST, 1),
	VMCS_HOST_CR4 = VMCS_FIELD(WNAT, HOST, 2),
	VMCS_HOST_FS_BASE = VMCS_FIELD(WNAT, HOST, 3),
	VMCS_HOST_GS_BASE = VMCS_FIELD(WNAT, HOST, 4),
	VMCS_HOST_TR_BASE = VMCS_FIELD(WNAT, HOST, 5),
	VMCS_HOST_GDTR_BASE = VMCS_FIELD(WNAT, HOST, 6),
	VMCS_HOST_IDTR_BASE = VMCS_FIELD(WNAT, HOST, 7),
	VMCS_HOST_SYSENTER_ESP = VMCS_FIELD(WNAT, HOST, 8),
	VMCS_HOST_SYSENTER_EIP = VMCS_FIELD(WNAT, HOST, 9),
	VMCS_HOST_RSP = VMCS_FIELD(WNAT, HOST, 10),
	VMCS_HOST_RIP = VMCS_FIELD(WNAT, HOST, 11),
};
static_assert(VMCS_GUEST_SELECTOR == 0x0800, "SDM B.1.3");
static_assert(VMCS_HOST_TR == 0x0c0c, "SDM B.1.4");
static_assert(VMCS_LOG_INDEX == 0x0812, "SDM B.1.2");
static_assert(VMCS_LOG_ADDRESS == 0x200e, "SDM B.2.1");
static_assert(VMCS_EPTP == 0x201a, "SDM B.2.1");
static_assert(VMCS_GUEST_PHYS == 0x2400, "SDM B.2.2");
static_assert(VMCS_GUEST_EFER == 0x2806, "SDM B.2.3");
static_assert(VMCS_HOST_EFER == 0x2c02, "SDM B.2.4");
static_assert(VMCS_PROC2_CONTROLS == 0x401e, "SDM B.3.1");
static_assert(VMCS_INSN_LENGTH == 0x440c, "SDM B.3.2");
static_assert(VMCS_GUEST_ACCESS == 0x4814, "SDM B.3.3");
static_assert(VMCS_PREEMPTION_TIMER == 0x482e, "SDM B.3.3");
static_assert(VMCS_HOST_SYSENTER_CS == 0x4c00, "SDM B.3.4");
static_assert(VMCS_CR4_SHADOW == 0x6006, "SDM B.4.1");
static_assert(VMCS_GUEST_LINEAR == 0x640a, "SDM B.4.2");
static_assert(VMCS_GUEST_BASE == 0x6806, "SDM B.4.3");
static_assert(VMCS_GUEST_RIP == 0x681e, "SDM B.4.3");
static_assert(VMCS_HOST_RIP == 0x6c16, "SDM B.4.4");

/* Pin-based, section 25.6.1. */
#define PIN_INTR        (1u << 0)
#define PIN_NMI         (1u << 3)
#define PIN_VIRTUAL_NMI (1u << 5)
#define PIN_TIMER       (1u << 6)
/* Primary processor-based, section 25.6.2. */
#define PROC_IRQ_WINDOW (1u << 2)
#define PROC_TSC_OFFSET (1u << 3)
#define PROC_HLT        (1u << 7)
#define PROC_INVLPG     (1u << 9)
#define PROC_MWAIT      (1u << 10)
#define PROC_RDPMC      (1u << 11)
#define PROC_CR3_LOAD   (1u << 15)
#define PROC_CR3_STORE  (1u << 16)
#define PROC_CR8_LOAD   (1u << 19)
#define PROC_CR8_STORE  (1u << 20)
#define PROC_NMI_WINDOW (1u << 22)
#define PROC_IO         (1u << 24)
#define PROC_MSR_BITMAP (1u << 28)
#define PROC_MONITOR    (1u << 29)
#define PROC_PROC2      (1u << 31)
/* Secondary, section 25.6.2. */
#define PROC2_EPT          (1u << 1)
#define PROC2_VPID         (1u << 5)
#define PROC2_WBINVD       (1u << 6)
#define PROC2_UNRESTRICTED (1u << 7)
#define PROC2_PLE          (1u << 10)
#define PROC2_INVPCID      (1u << 12)
#define PROC2_PML          (1u << 17)
/* Exit, section 25.7.1; entry, section 25.8.1. */
#define EXIT_HOST_64     (1u << 9)
#define EXIT_SAVE_DEBUG  (1u << 2)
#define EXIT_SAVE_PAT    (1u << 18)
#define EXIT_LOAD_PAT    (1u << 19)
#define EXIT_SAVE_EFER   (1u << 20)
#define EXIT_LOAD_EFER   (1u << 21)
#define ENTRY_LOAD_DEBUG (1u << 2)
#define ENTRY_GUEST_64   (1u << 9)
#define ENTRY_LOAD_PAT   (1u << 14)
#define ENTRY_LOAD_EFER  (1u << 15)

/*
 * What we set as far as the CPU has it. Ports: unconditional exits do without the two pages of an I/O
 * bitmap. CR8 exits rather than reach the machine's own APIC. Some are needed: see judge.c.
 */
#define PIN_WANTED (PIN_INTR | PIN_NMI | PIN_VIRTUAL_NMI | PIN_TIMER)
#define PROC_WANTED                                                                              \
	(PROC_TSC_OFFSET | PROC_HLT | PROC_MWAIT | PROC_RDPMC | PROC_CR8_LOAD | PROC_CR8_STORE | \
	 PROC_IO | PROC_MSR_BITMAP | PROC_MONITOR | PROC_PROC2)
/* With shadow tables besides, and what then cannot be. */
#define PROC_SHADOW (PROC_CR3_LOAD | PROC_CR3_STORE | PROC_INVLPG)
#define PROC2_TDP   (PROC2_EPT | PROC2_UNRESTRICTED)
#define PROC2_WANTED \
	(PROC2_EPT | PROC2_VPID | PROC2_WBINVD | PROC2_UNRESTRICTED | PROC2_PLE | PROC2_INVPCID)
#define EXIT_WANTED                                                                         \
	(EXIT_HOST_64 | EXIT_SAVE_DEBUG | EXIT_SAVE_EFER | EXIT_LOAD_EFER | EXIT_SAVE_PAT | \
	 EXIT_LOAD_PAT)
#define ENTRY_WANTED (ENTRY_LOAD_DEBUG | ENTRY_LOAD_EFER | ENTRY_LOAD_PAT)

/* Interruptibility, section 25.4.2. */
#define SHADOW_STI    (1u << 0)
#define SHADOW_MOV_SS (1u << 1)
#define SHADOW_NMI    (1u << 3)

/* Behind arch_vcpu.control. The VMCS's physical address is that of the whole. */
struct vmx_vcpu {
	u32 revision; /* the VMCS: the rest of the page is the CPU's */
	u8 vmcs[PAGE_SIZE - 4];
	struct fpu_area fpu;
	u64 rip, rsp, rflags; /* as the VMCS has them */
	u64 host_rsp;         /* likewise; run.S */
	u64 cr2;
	u64 root_ad;      /* the root table and the A/D bit that EPTP was made of; shadow: CR3 */
	bool nmi_blocked; /* by one that we injected, as far as the exits have told */
	bool vm86;        /* shadow: real mode, run in virtual-8086 mode */
	bool vm86_unfit;  /* it cannot express a segment */
	u8 iopl;          /* vm86: the guest's, where the real one is 3 */
	struct seg_state kept[SEG_COUNT]; /* vm86: as they were in protected mode, or set since */
	u64 pat;                          /* the guest's, where the CPU does not switch it */
	u64 star, lstar, cstar, sfmask, kernel_gs_base; /* while not loaded */
	u64 deadline_ns, deadline_tsc;
	u32 proc2;        /* secondary, likewise */
	u64 *log;         /* page that the CPU logs writes in; NULL where it cannot */
	bool logs;        /* as the VMCS has it */
	u32 proc;         /* primary processor-based controls in the VMCS */
	s32 last_cpu;     /* whose host state the VMCS has, -1 none */
	bool initialised; /* controls are in the VMCS */
	bool launched;
	bool irq_window; /* asked for by irq_window(), not by an NMI that waits */
} aligned_to(4096);
static_assert(offsetof(struct vmx_vcpu, fpu) == PAGE_SIZE, "SDM 25.2");

/* this_cpu()->vendor */
struct vmx_cpu {
	u8 vmxon[PAGE_SIZE] aligned_to(4096); /* the CPU's own */
	struct arch_vcpu *loaded;             /* whose VMCS is current */
	a32 nmi_seen; /* an NMI came since the last exit for it was reported */
	a32 entering; /* the VMCS is current and its timer armed: vmx_nmi() may end it */
};

extern struct vmx_caps vmx_caps;

static inline struct vmx_vcpu *vmx_of(struct arch_vcpu *v)
{
	return v->control;
}

/* caps.c */
enum vendor_state vmx_probe(struct vendor_caps *caps);
bool vmx_enable(void);
void vmx_disable(void);
/* control.c: the MSR bitmap (once, boot CPU); the VMCS's constant half; what depends on the CPU. */
void vmx_control_maps_init(void);
void vmx_control_init(struct arch_vcpu *v);
void vmx_control_host(struct vmx_vcpu *c);
/* The exception bitmap. */
u32 vmx_exceptions(const struct arch_vcpu *v);
/* run.S: everything but RSP from and to v->gpr. False if the CPU refused to enter. */
bool vmx_enter(struct arch_vcpu *v, u64 *host_rsp, bool launched);
void vmx_exit_landing(void); /* HOST_RIP */
/* run.c */
void vmx_run(struct arch_vcpu *v, struct vexit *exit);
void vmx_flush(struct arch_vcpu *v);
void vmx_nmi(void);
/* exit.c */
void vmx_exit_decode(struct arch_vcpu *v, struct vexit *exit, u32 reason);
/* cr.c: exits for control registers. */
void vmx_cr_decode(struct arch_vcpu *v, struct vexit *exit);
u64 vmx_cr0_owned(const struct arch_vcpu *v);
u64 vmx_cr4_owned(const struct arch_vcpu *v);
/* event.c: before an entry, after an exit, and the operations of the same names. */
void vmx_event_enter(struct arch_vcpu *v);
void vmx_event_exit(struct arch_vcpu *v);
void vmx_event_iret_undone(struct arch_vcpu *v);
/* What blocks events now, as the VMCS has it, SHADOW_NMI checked. Loaded here. */
u64 vmx_event_shadow(const struct vmx_vcpu *c);
void vmx_proc_set(struct vmx_vcpu *c, u32 control, bool on);
bool vmx_irq_ready(struct arch_vcpu *v);
bool vmx_irq_window(struct arch_vcpu *v, bool on);
/* state.c */
u64 vmx_get(struct arch_vcpu *v, enum vreg reg);
void vmx_set(struct arch_vcpu *v, enum vreg reg, u64 value);
void vmx_get_seg(struct arch_vcpu *v, enum seg seg, struct seg_state *out);
void vmx_set_seg(struct arch_vcpu *v, enum seg seg, const struct seg_state *in);
/* As the VMCS has it. */
void vmx_seg_read(enum seg seg, struct seg_state *out);
void vmx_seg_write(enum seg seg, const struct seg_state *in);
void vmx_advance(struct arch_vcpu *v, unsigned length);
/* The registers that no VMCS field switches: to and from the CPU. */
void vmx_msrs_load(const struct arch_vcpu *v);
void vmx_msrs_save(struct arch_vcpu *v);
/* vm86.c: real mode without unrestricted guest. */
void vmx_vm86_enter(struct arch_vcpu *v);
void vmx_vm86_leave(struct arch_vcpu *v);
void vmx_vm86_get_seg(struct arch_vcpu *v, enum seg seg, struct seg_state *out);
void vmx_vm86_set_seg(struct arch_vcpu *v, enum seg seg, const struct seg_state *in);
bool vmx_vm86_exception(struct arch_vcpu *v, struct vexit *exit, u32 info);
bool vmx_vm86_event(struct arch_vcpu *v, struct vexit *exit);
