/*
 * A guest on shadow tables on the build machine: a space with a shadow MMU, and vCPUs that access its memory through
 * the ordinary CPU's walker, with the shootdown handshake of hv/run.c. A vCPU is used by one thread at a time, which
 * is the CPU host_cpu_set() made it.
 */
#pragma once

#include "hv/mmu/guest_mem.h"
#include "hv/mmu/shadow_vcpu.h"
#include "mm/space.h"
#include "tests/host/cpu_walker.h"

#define SHADOW_VM_VCPUS 4u
/* Slots may come here later. */
#define SHADOW_VM_WINDOW       0x80000u
#define SHADOW_VM_WINDOW_PAGES 256u

struct shadow_vm_vcpu {
	struct shadow_vcpu shadow;
	struct shadow_regs regs;
	struct cpu_walker walker;
	bool ac;
	a32 in_guest;
	a32 kicked; /* to leave: cleared at the next entry */
	a64 flushed;
	u64 faults;
};

struct shadow_vm {
	struct space *space;
	struct shadow shadow;
	struct guest_mem mem;
	unsigned nr_vcpus;
	struct shadow_vm_vcpu vcpu[SHADOW_VM_VCPUS];
	a32 ran, ran_lately;
	a64 roots_gone; /* between the question for them and the entry: so often */
	/*
	 * vCPUs stay in the guest after an access, until the next that finds them kicked, or faults, or something of
	 * what is below. Whoever calls the hypervisor otherwise, waits, or ends: shadow_vm_leave() first.
	 */
	bool linger;
	/* Called after each access, still in the guest. NULL: nobody looks. */
	void (*looks)(struct shadow_vm *vm, struct shadow_vm_vcpu *v, gva_t at, hpa_t where);
};

/* One slot from gfn 0. Frames: host_frames_create(). Ends the program if it cannot be had. */
void shadow_vm_create(struct shadow_vm *vm, const struct spte_format *format, u64 npages,
                      unsigned nr_vcpus);
void shadow_vm_destroy(struct shadow_vm *vm);

/* Loads the control registers: as MOV CR3 and its like do, the vCPU's TLB is flushed. */
void shadow_vm_load(struct shadow_vm *vm, unsigned vcpu, const struct shadow_regs *regs);
/* CR3 with what it has. */
void shadow_vm_reload(struct shadow_vm *vm, unsigned vcpu);
void shadow_vm_invlpg(struct shadow_vm *vm, unsigned vcpu, gva_t at);

void shadow_vm_leave(struct shadow_vm *vm, unsigned vcpu);

struct shadow_vm_access {
	enum shadow_result result;
	struct shadow_outcome out;
	hpa_t where; /* for FIXED */
};
/*
 * One aligned access of 8 bytes (which must not cross a page), with the faults it takes until it succeeds or the guest
 * gets one; reads or writes *value.
 */
struct shadow_vm_access shadow_vm_access(struct shadow_vm *vm, unsigned vcpu, gva_t at,
                                         unsigned access, u64 *value);
