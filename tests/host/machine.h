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

#include "lib/types.h"
#include "lib/util.h"
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

/* X(name, how often) */
#define OPERATIONS(X)           \
	X(READ, 500)            \
	X(WRITE, 400)           \
	X(FETCH, 20)            \
	X(PREFETCH, 30)         \
	X(DEVICE_READ, 20)      \
	X(DEVICE_WRITE, 20)     \
	X(AGE_FAST, 25)         \
	X(AGE_ACCURATE, 10)     \
	X(PASS, 12)             \
	X(EVICT, 16)            \
	X(EVICT_PAGE, 25)       \
	X(RECLAIM, 6)           \
	X(DROP_TRANSLATION, 20) \
	X(FLUSH, 8)             \
	X(PIN, 10)              \
	X(SLOT, 4)              \
	X(LIMIT, 1)             \
	X(EXACT, 1)             \
	X(SPLIT, 6)             \
	X(COLLAPSE, 8)

#define OP_ENUM(name, weight) OP_##name,
enum operation { OPERATIONS(OP_ENUM) OPERATIONS_NR };

extern const unsigned op_weights[OPERATIONS_NR];

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
	u32 flush, locked, caps, batch;
	unsigned nr;
	struct action action[MACHINE_ACTIONS];
};

/* What came of all runs, in memory that children share. */
struct machine_totals {
	u64 steps, runs, rounds, exact, exact_flushed, switches, walks, hits;
	u64 evictions, rescues, refaults, splits, collapses, plugged, shootdowns, no_slot;
};

enum plug { PLUG_HERE, PLUG_CHANGING, PLUG_GONE };

/* The machine while a plan runs. */
struct machine {
	struct plan plan;
	struct host_vm vm;
	u64 oracle[MACHINE_PAGES][MACHINE_CPUS];
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
	return a->op <= OP_PREFETCH;
}

void machine_print(const struct action *a);
noreturn_fn void machine_fail(const char *what, u64 page, u64 expected, u64 found);
/* One action, on its CPU. */
void machine_act(const struct action *a);
/* A guest's access; `there`: a slot has the page. */
void machine_access(const struct action *a, bool there);
void machine_leave(unsigned cpu);
/* Everybody out, every grace period over. */
void machine_settle(void);
/* Everything that can be seen with everybody out. */
void machine_check(u64 round);
/* Takes all ages away, touches some pages, compares. */
void machine_check_ages(void);
