/*
 * A whole guest on the build machine: a space with a TDP, and vCPUs that access its memory through the
 * hardware walker, with the shootdown handshake of hv/run.c. A vCPU is used by one thread at a time,
 * which is the CPU host_cpu_set() made it.
 */
#pragma once

#include "hv/mmu/guest_mem.h"
#include "hv/mmu/tdp.h"
#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"
#include "mm/space.h"
#include "tests/host/walker.h"

#define HOST_VM_VCPUS 4u

/* The four ways to run, for tests that try them all. */
struct host_machine {
	const struct spte_format *format;
	enum walker_kind walker;
};
#define HOST_MACHINES 4u
extern const struct host_machine host_machines[HOST_MACHINES];

#define HOST_VM_LOG 3u /* entries: so few that the log is full now and then */

struct host_vcpu {
	struct walker walker;
	u64 log[HOST_VM_LOG]; /* what hardware writes down, if the space's dirty log wants it */
	a32 in_guest;
	a64 flushed; /* flush generation that this or the next stay has honoured */
	a32 kicked;  /* to leave: cleared at the next entry */
	u64 faults;
};

/* What can be left out on purpose, to see a test fail of it. */
enum host_vm_fault {
	HOST_VM_SOUND,
	HOST_VM_NO_SHOOTDOWN, /* nobody waits for who is in the guest */
	HOST_VM_NO_FLUSH,     /* nobody flushes at an entry */
	HOST_VM_NO_LOOK, /* nobody asks at an entry whether the root of shadow tables still is one */
	HOST_VM_LOG_LATE, /* a vCPU has left, as it says, before what hardware wrote down is taken */
};

struct host_vm {
	struct space *space;
	struct tdp tdp;
	struct guest_mem mem;
	unsigned nr_vcpus;
	struct host_vcpu vcpu[HOST_VM_VCPUS];
	a32 ran, ran_lately;
	a64 shootdowns;
	enum host_vm_fault fault;
	void (*drained)(
	        void); /* for more MMUs: they go when the space is empty; NULL: there are none */
};

/* Frames for all guests, once per test; and back. */
void host_frames_create(u64 nframes);
void host_frames_destroy(void);

/* A guest with one slot from gfn 0; m = NULL: without a TDP. Ends the program if it cannot be had. */
void host_vm_create(struct host_vm *vm, const struct host_machine *m, u64 npages,
                    unsigned nr_vcpus);
void host_vm_destroy(struct host_vm *vm);

/*
 * The handshake of an entry and of an exit by itself, for who stays inside over several accesses: whoever does looks
 * at `kicked` between them, and leaves when it is set.
 */
void host_vm_enter(struct host_vm *vm, unsigned vcpu);
void host_vm_leave(struct host_vm *vm, unsigned vcpu);
/*
 * One aligned 8-byte access of the guest, with the faults it takes until it succeeds. FAULT_FIXED, or
 * the result that stopped it.
 */
enum fault_result host_vm_read(struct host_vm *vm, unsigned vcpu, gpa_t a, u64 *value);
enum fault_result host_vm_write(struct host_vm *vm, unsigned vcpu, gpa_t a, u64 value);
enum fault_result host_vm_fetch(struct host_vm *vm, unsigned vcpu, gpa_t a, u64 *value);

/* Entry that maps the page now, 0 if none does. For looking, not for changing. */
u64 host_vm_spte(struct host_vm *vm, gfn_t g);
/* Evicts the page if it is resident and old: ages until it is, then asks the evictor. */
u64 host_vm_evict(struct host_vm *vm, u64 target);
/*
 * I6 over every table of the MMU, by the manuals' definition of "not present" and not by the code under
 * test: whether an entry that hardware takes for not present has one of our frames in it. Counts them.
 */
u64 host_vm_leaks(struct host_vm *vm);
