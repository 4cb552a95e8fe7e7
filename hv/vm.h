/*
 * A virtual machine: its space, its second-level tables, its vCPUs and devices, and how it ends.
 *
 * All VMs are made before the first guest starts and the array does not change afterwards. A VM that
 * ends gives its memory back (the monitor thread does it) and keeps its name, counters and verdict.
 */
#pragma once

#include "hv/cpuid.h"
#include "hv/elf.h"
#include "hv/mmu/guest_mem.h"
#include "hv/mmu/null.h"
#include "hv/mmu/shadow.h"
#include "hv/mmu/tdp.h"
#include "hv/scenario.h"
#include "hv/vcpu.h"
#include "hv/vuart.h"
#include "lib/atomic.h"
#include "lib/lock.h"
#include "lib/types.h"
#include "lib/util.h"
#include "mm/space.h"

#define VM_MAX     SPACE_MAX
#define VM_WHY_MAX 200u

enum vm_state {
	VM_RUNNING,
	VM_ENDING,  /* somebody is writing down why */
	VM_PASSED,  /* the guest said PASS at its exit port */
	VM_FAILED,  /* the guest said anything else there, or time was over */
	VM_STOPPED, /* by us: `why` says for what */
};

/* Counters of the space as they were when it was taken down, and of the VM itself. */
struct vm_final {
	u64 peak_pages; /* most pages that were resident or away when somebody looked */
};

struct boot_module;

#define VM_MAX_RAM 3u
/* Below 640 KiB, from 1 MiB to the devices, and what does not fit there from 4 GiB on. */
struct vm_ram {
	u64 start, end; /* guest-physical, bytes */
};

/* For whom it is noted that a VM ran: the aging pass, and who asks whether it is idle. */
#define VM_RAN_PASS   1u
#define VM_RAN_LATELY 2u
#define VM_RAN        (VM_RAN_PASS | VM_RAN_LATELY)

struct vm {
	char name[SPACE_NAME_MAX];
	unsigned index;
	const struct scenario_vm *config;
	const struct boot_module *image;
	struct space *space;   /* NULL once taken down; the monitor thread's from the start on */
	enum scenario_mmu mmu; /* what there really is: without EPT and NPT, shadow */
	struct tdp tdp;        /* unless mmu is shadow */
	struct shadow shadow;  /* unless mmu is tdp */
	struct null_mmu null;  /* behind it, if the scenario says so */
	struct guest_mem mem;
	u64 bytes; /* what the scenario says; the hole below 1 MiB is part of it */
	unsigned nr_ram;
	struct vm_ram ram[VM_MAX_RAM];
	struct elf_image elf;
	u32 nr_vcpus;
	struct vcpu *vcpu; /* array */
	struct cpuid_table cpuid;
	a32 state; /* enum vm_state; ord V2 */
	char why[VM_WHY_MAX];
	a32 live;                    /* vCPU threads that have not ended */
	a32 ran;                     /* a vCPU was in the guest since each of two looked last */
	struct spinlock device_lock; /* LOCK_DEVICE: the UART, and odd_msr */
	struct vuart uart;
	a32 said_port, said_hole; /* one line each for what a guest does that leads nowhere */
	u32 nr_odd_msrs;          /* unknown MSRs that were reported already */
	u32 odd_msr[16];
	struct vm_final final;
	struct space_stats *stats; /* copy of the space's once it is taken down */
	u64 started_ns, ended_ns;  /* first guest instruction, and the last; 0: not yet */
};

extern struct vm vms[VM_MAX];
extern unsigned vm_count;

/*
 * Space, slots, tables, vCPUs of the next entry of vms[]. NULL, or why it cannot be made, to be put
 * behind the VM's name; the machine then ends. Boot CPU.
 */
const char *vm_create(const struct scenario_vm *config, const struct boot_module *image) must_check;
/* Lets its vCPUs run: the first loads the image, the others wait for SIPI. False: no memory. */
bool vm_start(struct vm *vm) must_check;
/*
 * Ends a VM, if it still runs: the first call wins. Returns at once; its vCPUs leave soon. Any CPU,
 * no lock above LOCK_VM_LIST.
 */
void vm_stop(struct vm *vm, enum vm_state how, const char *fmt, ...) printf_like(3, 4);
static inline bool vm_running(const struct vm *vm)
{
	return a32_load(&vm->state) == VM_RUNNING;
}
/* It has ended, `why` is written, its vCPU threads are gone, and all that they did is seen. Any CPU. */
bool vm_is_left(const struct vm *vm);
/* Does this vCPU run on shadow tables? With `mmu = both`, those with odd numbers do. */
bool vm_on_shadow(const struct vm *vm, u32 index);
/* Accessed and Dirty bits of the second level: there, and wanted. */
bool vm_uses_ad(const struct scenario_vm *config);
/* "running", "passed", "failed", "stopped". */
const char *vm_state_name(const struct vm *vm);
/* Its vCPU threads have ended: keeps the counters, gives memory and tables back. Monitor thread. */
void vm_take_down(struct vm *vm);
/* Called by each vCPU thread as its last act for the VM. */
void vm_vcpu_left(struct vm *vm);
/* The space's counters, or the copy kept of them. Monitor thread. */
const struct space_stats *vm_stats(const struct vm *vm);
/* Pages that the guest has and that are not "none", now; keeps the peak. Monitor thread. */
u64 vm_pages_in_use(struct vm *vm);
/* Does the VM have RAM at all of [at, at + bytes)? Any context. */
bool vm_has_ram(const struct vm *vm, gpa_t at, u64 bytes);
/* A line that the guest wrote, onto the console behind its name. */
void vm_guest_line(struct vm *vm, const char *line);
/* An MSR nobody knows: true the first time. */
bool vm_odd_msr(struct vm *vm, u32 msr);
