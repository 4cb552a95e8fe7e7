/*
 * The two ways to run a guest (AMD SVM, Intel VMX) behind one constant table of operations, chosen
 * once at boot. Everything that differs between the vendors ends here: hv/ sees struct vexit only.
 *
 * Context of every operation: interrupts off, on the CPU that owns the vCPU's thread, no lock held
 * unless said. vcpu_* operations but create/destroy need the vCPU loaded on this CPU.
 */
#pragma once

#include "arch/x86/vcpu.h"
#include "lib/types.h"
#include "lib/util.h"

enum vexit_kind {
	VEXIT_HANDLED, /* the vendor dealt with it (control register, re-injection): enter again */
	VEXIT_IRQ,     /* a host interrupt is pending: open the interrupt window */
	VEXIT_NMI,     /* a kick (or a real NMI, already counted) */
	VEXIT_TIMER,   /* deadline_ns passed */
	VEXIT_IRQ_WINDOW, /* the guest can take an interrupt now */
	VEXIT_HLT,
	VEXIT_PAUSE,
	VEXIT_CPUID,
	VEXIT_IO,
	VEXIT_RDMSR,
	VEXIT_WRMSR,
	VEXIT_FAULT, /* second-level fault: EPT violation/misconfiguration or nested page fault */
	VEXIT_XSETBV,
	VEXIT_CR, /* an access to a control register (MOV, LMSW, SMSW, CLTS): check, carry out */
	VEXIT_PAGE_FAULT, /* shadow: #PF, the guest's own or for our tables; CR2 is as it was */
	VEXIT_INVLPG,     /* shadow */
	VEXIT_INVPCID,    /* shadow; fetch and decode */
	/* Real mode where the CPU cannot run it: */
	VEXIT_REAL_GP,    /* #GP: an instruction to emulate, or the guest's own fault */
	VEXIT_REAL_EVENT, /* deliver `vector` through the guest's vector table */
	VEXIT_REAL_UNFIT, /* a segment that cannot be expressed */
	VEXIT_HYPERCALL,
	VEXIT_UNDEFINED,  /* an instruction this VM does not have: inject #UD */
	VEXIT_PRIVILEGED, /* not allowed here: inject #GP(0) */
	VEXIT_WBINVD,     /* nothing to do but step over */
	VEXIT_TRIPLE,
	VEXIT_INVALID, /* the CPU refused the guest state: stop the VM; `code` says more */
	VEXIT_UNKNOWN, /* not intercepted by us: stop the VM; `code` is the vendor's number */
};

struct vexit_io {
	u16 port;
	u8 size; /* 1, 2, 4 */
	bool in;
	bool string; /* INS/OUTS: not supported, hv injects #GP */
	bool rep;
};

struct vexit_fault {
	gpa_t gpa;
	gva_t gva; /* valid if gva_valid: data address of the access */
	bool gva_valid;
	bool write, fetch; /* neither: a read */
	bool present;      /* the entry was present, permissions forbade it */
	bool walk;         /* the access was the guest's own page walk */
	bool misconfig;    /* reserved or impossible entry (EPT misconfiguration, RSVD) */
};

/* What of a VEXIT_CR hardware told; CR_DECODE: nothing, fetch and decode. */
struct vexit_cr {
	enum { CR_DECODE, CR_WRITE, CR_READ } what;
	u8 number;
	u8 gpr; /* in encoding order */
};

struct vexit_page_fault {
	gva_t gva;
	u32 error; /* as hardware would push it for the real tables */
};

struct vexit_invlpg {
	bool known; /* else fetch and decode */
	gva_t gva;
};

struct vexit {
	enum vexit_kind kind;
	u8 length; /* of the instruction, 0 = unknown: fetch and decode */
	u64 code;  /* raw reason, for messages */
	u64 info;
	union {
		struct vexit_io io;
		struct vexit_fault fault;
		struct vexit_cr cr;
		struct vexit_page_fault page_fault;
		struct vexit_invlpg invlpg;
		u8 vector;
	};
};

/* Where a vCPU starts. */
struct vreset {
	enum { VRESET_FLAT32, VRESET_SIPI } mode;
	u32 rip; /* FLAT32: entry point, EAX/EBX given; protected mode, paging off, flat segments */
	u32 eax, ebx;
	u8 sipi_vector; /* SIPI: real mode at vector << 12 */
};

enum vendor_state {
	VENDOR_OK,
	VENDOR_ABSENT, /* the CPU has none */
	VENDOR_LOCKED, /* firmware locked it off */
	VENDOR_LACKS,  /* there, but lacks something we need: `why` says what */
};

/* One optional feature: its name, whether this machine has it, what is done without it. */
struct vendor_cap {
	const char *name;
	bool have;
	const char *fallback; /* NULL: none needed */
};

#define VENDOR_MAX_CAPS 24u

struct vendor_caps {
	struct vendor_cap cap[VENDOR_MAX_CAPS];
	u32 nr_caps;
	const char *why;   /* for anything but VENDOR_OK: one sentence with what to do */
	bool second_level; /* EPT or NPT, and what it needs; else guests run on shadow tables only */
	bool ept;          /* format of the second level: EPT, else NPT */
	bool ad;           /* Accessed and Dirty bits in it */
	bool page_2m, page_1g;
	bool exec_only;
	bool unrestricted; /* real mode and unpaged guests run natively */
	bool preemption_timer;
	bool decode_len;   /* instruction length comes with the exit */
	bool invpcid;      /* INVPCID does in a guest what it should: guests may have PCIDs */
	bool logs_writes;  /* the CPU writes down which pages a guest writes, where `ad` is used */
	bool xsetbv_exits; /* XSETBV leaves the guest: a VM may be offered XSAVE. Final after the
			      boot CPU's enable() */
	u32 nr_tags;       /* ASIDs or VPIDs, 0 none */
};

struct vendor_ops {
	const char *name; /* "svm", "vmx" */
	/*
	 * A kick needs an NMI beside the fixed IPI: Bochs 2.7 keeps interrupts from a guest that is
	 * entered with IF = 0, on VMX and SVM.
	 */
	bool kick_by_nmi;

	/* Reads CPUID and MSRs only; may run before enable(). */
	enum vendor_state (*probe)(struct vendor_caps *caps);
	/* Per CPU. enable: false with a logged sentence if the CPU refuses. */
	bool (*enable)(void);
	void (*disable)(void);

	/* create: allocates the control block and FPU area; false when memory is short (nothing kept). */
	bool (*create)(struct arch_vcpu *v) must_check;
	void (*destroy)(struct arch_vcpu *v);
	void (*reset)(struct arch_vcpu *v, const struct vreset *how);
	/* Make the control block current here / write it back so that another CPU may load it. */
	void (*load)(struct arch_vcpu *v);
	void (*put)(struct arch_vcpu *v);

	/*
	 * Enters the guest once. The caller has interrupts off and has done its entry checks; an
	 * interrupt that became pending since makes the guest leave at once. Re-injects an event whose
	 * delivery the last exit interrupted, unless inject() replaced it.
	 */
	void (*run)(struct arch_vcpu *v, struct vexit *exit);

	u64 (*get)(struct arch_vcpu *v, enum vreg reg);
	/* set: keeps derived state (LMA, entry controls, fixed bits) consistent; the value was checked. */
	void (*set)(struct arch_vcpu *v, enum vreg reg, u64 value);
	void (*get_seg)(struct arch_vcpu *v, enum seg seg, struct seg_state *out);
	void (*set_seg)(struct arch_vcpu *v, enum seg seg, const struct seg_state *in);

	/* Step over an instruction of `length` bytes: rip and interrupt shadow. */
	void (*advance)(struct arch_vcpu *v, unsigned length);
	void (*inject)(struct arch_vcpu *v, const struct vevent *event);
	/* Could an external interrupt be injected now (IF, no shadow, nothing to re-inject)? */
	bool (*irq_ready)(struct arch_vcpu *v);
	/*
	 * Leave with VEXIT_IRQ_WINDOW as soon as irq_ready() would hold. False: it cannot be asked for at
	 * the instruction the guest is at; look again soon, or at the next exit.
	 */
	bool (*irq_window)(struct arch_vcpu *v, bool on);

	/* Before the next guest instruction, drop every cached translation of this vCPU on this CPU. */
	void (*flush)(struct arch_vcpu *v);

	/* NMI context, any NMI of this CPU: see vendor_nmi(). NULL: not needed. */
	void (*nmi)(void);
};

/* The vendor of this machine, NULL until vendor_init() found one. Constant afterwards. */
extern const struct vendor_ops *vendor;
extern struct vendor_caps vendor_caps;
extern const struct vendor_ops svm_ops, vmx_ops;

/*
 * For the NMI handler, on every NMI: a kick that arrives between the caller's last look at its
 * requests and the entry must not be lost, so the guest that is about to be entered leaves again
 * with VEXIT_NMI. NMI context; a no-op without vendor.
 */
void vendor_nmi(void);
/* Adds a line to caps; for the vendors' probe(). */
void vendor_cap_add(struct vendor_caps *caps, const char *name, bool have, const char *fallback);

/*
 * Chooses the vendor by probing. On anything but VENDOR_OK, *why is one sentence that says which and
 * what to do. Boot CPU, once.
 */
enum vendor_state vendor_init(const char **why);
