/*
 * A machine of four CPUs by turns in one thread: three run a guest's vCPUs and whatever a hypervisor does, the fourth
 * only the latter. They change places at atomic operations of the real code and of the hardware walker, as a seed
 * decides (tests/host/cpus.h), so translations are made, aged, split, zapped and flushed while others walk. TLBs and
 * paging-structure caches keep what they have, across exits too, until they are told to flush; a vCPU may stay in its guest
 * over several accesses, and honours a kick late.
 *
 * An oracle remembers every word that was written: each CPU writes words of its own in every page, so that what it
 * reads is known whatever the others do. Checked are
 *
 *   at each access    what is read (I8, I9); that the frame belongs to that page and to nobody else, though the
 *                     translation may be as old as the last flush (I7, I1)
 *   at each step      that a fast-only question did not wait (I11), that a fault succeeds in the end (I10)
 *   after each round  (at most MACHINE_ROUND steps) the audit of everything (I1-I5), no frame number in an entry
 *                     that is not present (I6), the contents of every page that is resident
 *   now and then      exact ages: young is what a walk touched since the bits were taken away, page by page, and
 *                     with a flush after the pass that is whatever was touched at all
 *
 * A check that fails prints a line and ends the process. For the variant `cpus` of the host build.
 */
#pragma once

#include "hv/mmu/shadow_vcpu.h"
#include "lib/types.h"
#include "lib/util.h"
#include "tests/host/cpu_walker.h"
#include "tests/host/cpus.h"
#include "tests/host/vm.h"

#define MACHINE_CPUS    4u
#define MACHINE_VCPUS   3u
#define MACHINE_ROUND   20u /* steps of a round, at most */
#define MACHINE_ROUNDS  100u
#define MACHINE_ACTIONS (MACHINE_ROUND * MACHINE_ROUNDS)
#define MACHINE_SMALL   88u   /* pages of the first slot, */
#define MACHINE_LARGE   1024u /* with large leaves */
#define MACHINE_PLUGGED 24u   /* pages of the slot that comes and goes */
#define MACHINE_PAGES   (MACHINE_LARGE + MACHINE_PLUGGED)
#define MACHINE_SALTS   4u /* schedules tried with a list that was shortened */

#define SHADOW_SPACES  2u  /* of a guest with tables of its own */
#define SHADOW_WINDOWS 12u /* addresses whose entries it changes */
#define SHADOW_LIMIT   24u /* shadow pages */

/* The second-level MMUs: all vCPUs on the TDP, all on shadow tables, or the last on the TDP and the others not. */
enum machine_mmu { MACHINE_TDP, MACHINE_SHADOW, MACHINE_BOTH, MACHINE_MMUS };

/* X(name, how often on the TDP; on shadow tables; where guests are hardly disturbed there); first what a guest does */
#define OPERATIONS(X)                  \
	X(READ, 500, 400, 300)         \
	X(WRITE, 400, 300, 250)        \
	X(FETCH, 20, 10, 5)            \
	X(PREFETCH, 30, 20, 20)        \
	X(MAP, 0, 110, 150)            \
	X(MAP_TABLE, 0, 10, 20)        \
	X(INVLPG, 0, 130, 150)         \
	X(LOAD, 0, 60, 70)             \
	X(DEVICE_READ, 20, 10, 2)      \
	X(DEVICE_WRITE, 20, 15, 4)     \
	X(AGE_FAST, 25, 15, 4)         \
	X(AGE_ACCURATE, 10, 10, 2)     \
	X(PASS, 12, 8, 1)              \
	X(EVICT, 16, 10, 1)            \
	X(EVICT_PAGE, 25, 25, 40)      \
	X(RECLAIM, 6, 4, 1)            \
	X(DROP_TRANSLATION, 20, 10, 2) \
	X(FLUSH, 8, 6, 4)              \
	X(PIN, 10, 5, 1)               \
	X(SLOT, 4, 0, 0)               \
	X(LIMIT, 1, 1, 0)              \
	X(EXACT, 1, 1, 1)              \
	X(SPLIT, 6, 0, 0)              \
	X(COLLAPSE, 8, 0, 0)           \
	X(SHRINK_TABLES, 0, 20, 15)

#define OP_ENUM(name, weight, shadow, calm) OP_##name,
enum operation { OPERATIONS(OP_ENUM) OPERATIONS_NR };

enum op_mix { OP_MIX_TDP, OP_MIX_SHADOW, OP_MIX_CALM, OP_MIXES };
extern const unsigned op_weights[OP_MIXES][OPERATIONS_NR];

/* Of an action's `arg`: which window, and which table. */
#define MACHINE_WINDOW BITS(31, 28)
#define MACHINE_PLACE  BITS(32, 28)

struct action {
	u16 round;
	u8 cpu, op;
	u32 page;
	u64 arg;
};

/* One run: everything that happens follows from this, and from the salt of the schedule. */
struct plan {
	u64 seed, salt;
	enum host_vm_fault fault;
	const struct host_machine *machine;
	bool huge;
	enum machine_mmu mmu;
	enum op_mix mix;
	bool track; /* shadow tables without Accessed and Dirty */
	u32 flush, locked, caps, batch;
	unsigned nr;
	struct action action[MACHINE_ACTIONS];
};

/* What came of all runs, in memory that children share. */
struct machine_totals {
	u64 steps, runs, rounds, exact, exact_flushed, switches, walks, hits;
	u64 evictions, rescues, refaults, splits, collapses, plugged, shootdowns, no_slot;
	u64 shadow_walks, shadow_made, unsync, stale, settled, guest_faults, stores;
};

enum plug { PLUG_HERE, PLUG_CHANGING, PLUG_GONE };

/* A vCPU as the shadow MMU has it; what the TDP's have as well is in the host_vm. */
struct machine_svcpu {
	struct shadow_vcpu shadow;
	struct cpu_walker walker;
};

/* The machine while a plan runs. */
struct machine {
	struct plan plan;
	struct host_vm vm;
	struct shadow shadow;
	struct machine_svcpu svcpu[MACHINE_VCPUS];
	u64 oracle[MACHINE_PAGES][MACHINE_CPUS];
	bool dropping[MACHINE_PAGES];
	bool stays[MACHINE_VCPUS];          /* the vCPU is in its guest */
	u64 walked[MACHINE_PAGES / 64 + 1]; /* pages touched by a walk; cleared by who asks */
	enum plug plug;                     /* the second slot */
	unsigned plug_users, collapsing;
	u64 exact_wanted; /* ages are to be checked after this round */
	u64 now_ns;
	const struct action *doing[MACHINE_CPUS];
	struct machine_totals *totals;
};
extern struct machine machine;

/* Once: memory, CPUs, the store. */
bool machine_init(void) must_check;
/* Runs machine.plan from the beginning. */
void machine_run(void);

/* --- between its parts ----------------------------------------------------------------------------- */

/* Pages are numbered through both slots. */
static inline u64 pages_first(void)
{
	return machine.plan.huge ? MACHINE_LARGE : MACHINE_SMALL;
}
static inline u64 pages_all(void)
{
	return pages_first() + MACHINE_PLUGGED;
}
/* The second slot stands in a table of its own. */
static inline u64 plug_base(void)
{
	return machine.plan.huge ? 4 * TABLE_PAGES : 2 * TABLE_PAGES;
}
static inline gfn_t page_gfn(u64 page)
{
	return page < pages_first() ? gfn(page) : gfn(plug_base() + page - pages_first());
}
static inline bool action_is_guests(const struct action *a)
{
	return a->op <= OP_LOAD;
}

void machine_print(const struct action *a);
noreturn_fn void machine_fail(const char *what, u64 page, u64 expected, u64 found);
/* One action, on its CPU. */
void machine_act(const struct action *a);
/* In the guest: what is read is what was written. Everybody else stands still. */
void machine_touch(const struct action *a, hpa_t where);
/* A guest's access; `there`: a slot has the page. */
void machine_access(const struct action *a, bool there);
void machine_leave(unsigned cpu);
/* Everybody out, every grace period over. */
void machine_settle(void);
/* Everything that can be seen with everybody out. */
void machine_check(u64 round);
/* Takes all ages away, touches some pages, compares. */
void machine_check_ages(void);
