/*
 * The shadow MMU as a vCPU sees it: its control registers, its roots, its page faults.
 *
 * One struct for each vCPU that runs on shadow tables. All calls are made on the vCPU's own thread, no lock held.
 * None of them touches the CPU: after shadow_vcpu_set(), shadow_invlpg() and shadow_flush_all() the caller has its
 * vCPU's TLB flushed before it enters the guest again (vendor->flush()). Faults need no flush: they add, and what
 * they take away is flushed through the space's flush generation.
 */
#pragma once

#include "hv/mmu/shadow.h"
#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"

/* The guest's. Checked before: combinations that MOV CR or WRMSR refuse do not get here. */
struct shadow_regs {
	u64 cr0, cr3, cr4, efer;
	u8 phys_bits; /* as CPUID tells the guest */
	bool page_1g; /* likewise */
};

#define SHADOW_ROOTS 4u
struct shadow_root {
	u64 cr3; /* the bits that say where the table is */
	u32 role;
	struct shadow_page *page; /* NULL: none */
};

/* Table frames that one fault can use up: the way down, and a large page's direct pages. */
#define SHADOW_CACHE_FRAMES 5u
struct shadow_cache {
	u32 frame[SHADOW_CACHE_FRAMES];
	u32 nr;
	struct rmap_cache descs;
};

struct shadow_vcpu {
	struct shadow *sh;
	struct shadow_regs regs;
	u32 role;                              /* of the root */
	struct shadow_root root[SHADOW_ROOTS]; /* the first is the present one */
	u64 roots_gen;                         /* of the MMU, when `root` was right */
	bool ready;                            /* `hardware` leads to what root[0] says */
	a64 *pdpt; /* below 4 GiB: what hardware's CR3 points to unless the guest is in long mode */
	hpa_t hardware;
	struct shadow_cache cache;
};

/* False: no memory (below 4 GiB), nothing kept. Starts without paging. */
bool shadow_vcpu_create(struct shadow_vcpu *v, struct shadow *sh) must_check;
void shadow_vcpu_destroy(struct shadow_vcpu *v);
/*
 * CR0, CR3, CR4 or EFER changed, or was loaded with what it had: does what the guest may expect of that (a load of CR3
 * forgets translations). Then: vendor->flush().
 */
void shadow_vcpu_set(struct shadow_vcpu *v, const struct shadow_regs *regs);

enum shadow_result {
	SHADOW_FIXED,        /* enter the guest again */
	SHADOW_RETRY,        /* raced somebody: likewise, after a pause */
	SHADOW_NO_MEMORY,    /* yield and enter again */
	SHADOW_NO_SLOT,      /* outcome.gpa is no RAM: emulate */
	SHADOW_PROTECTED,    /* a write to outcome.gpa, which space_write_protected() forbids */
	SHADOW_NO_TABLE,     /* the guest's page table at outcome.gpa is not in RAM */
	SHADOW_GUEST_FAULT,  /* inject #PF with outcome.error, CR2 = the address */
	SHADOW_NONCANONICAL, /* inject #GP(0) */
	SHADOW_BAD_PAGE,     /* the stored copy of outcome.gpa is damaged: stop the VM */
	SHADOW_STOP_VM,      /* its memory is being taken away: yield */
};
struct shadow_outcome {
	gpa_t gpa;
	u32 error;
};

/*
 * Before every entry: what CR3 is to be in the guest. FIXED, or NO_MEMORY: yield. Cheap when nothing changed.
 */
enum shadow_result shadow_vcpu_root(struct shadow_vcpu *v, hpa_t *root) must_check;
/*
 * Is that still a root? To be asked again between mode = IN_GUEST and the entry, at least whenever the flush
 * generation has changed; if not, leave and begin again with shadow_vcpu_root().
 */
static inline bool shadow_vcpu_root_valid(const struct shadow_vcpu *v)
{
	/* Behind the flush generation (ord F1), which was raised after roots_gen: that orders it. */
	return v->ready && v->roots_gen == a64_load(&v->sh->roots_gen);
}

/*
 * A #PF that the guest's instruction caused on the shadow tables. `error`: hardware's. `ac`: RFLAGS.AC. An access
 * by the CPU itself to a descriptor table or TSS is one of supervisor mode, as hardware's error code says.
 */
enum shadow_result shadow_fault(struct shadow_vcpu *v, gva_t at, u32 error, bool ac,
                                struct shadow_outcome *out);
/* INVLPG, INVPCID of one address. Then: vendor->flush(). */
void shadow_invlpg(struct shadow_vcpu *v, gva_t at);
/* All translations of the vCPU: INVPCID of more than one. Then: vendor->flush(). */
void shadow_flush_all(struct shadow_vcpu *v);
