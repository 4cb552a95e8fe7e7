/*
 * Spin locks and a fair reader-writer lock, with the project's lock order checked at run time in
 * debug builds (docs/locks.md has a paragraph for each class).
 *
 * Waiters run with interrupts off and execute `pause`. Nothing may wait for another CPU's guest to
 * exit while it holds a lock that a vCPU takes on its way back to the guest, but for the two uses
 * that docs/locks.md argues.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"

/* Outer to inner: a CPU may take a lock only of a higher class than all it holds. */
enum lock_class {
	LOCK_NONE = 0,
	LOCK_VM_LIST = 10,
	LOCK_SLOTS = 20,
	LOCK_MMU = 30,
	LOCK_TDP_HUGE = 35,
	LOCK_SHADOW_HASH = 40,
	LOCK_RMAP = 50,
	LOCK_NULL = 55, /* the software device's translations */
	LOCK_LRUVEC = 60,
	LOCK_SAMPLER = 65, /* the report of a space's regions */
	LOCK_VM_LRU = 70,
	LOCK_SHARE = 75, /* which objects of the store are shared */
	LOCK_STORE = 80,
	LOCK_SWAP = 85, /* what is under way with the disk, and which of its sectors are taken */
	LOCK_FRAME = 90,
	LOCK_SCHED =
	        100, /* run queues and wait queues: wake-ups may come from under any of the above */
	LOCK_TIMER = 110,
	LOCK_STACK = 112,
	LOCK_PAGING = 115, /* the hypervisor's own page tables; allocates */
	LOCK_HOSTMEM = 120,
	LOCK_DEVICE = 125, /* emulated devices of one VM; what they print takes the console */
	LOCK_CONSOLE = 130,
};

struct spinlock {
	a32 next;  /* ticket to be drawn */
	a32 owner; /* ticket that is served */
	u32 class; /* enum lock_class */
	const char *name;
};

#define SPINLOCK_INIT(cls, nm)               \
	{                                    \
		.class = (cls), .name = (nm) \
	}
void spin_init(struct spinlock *lock, enum lock_class class, const char *name);
void spin_lock(struct spinlock *lock);
bool spin_trylock(struct spinlock *lock) must_check;
void spin_unlock(struct spinlock *lock);
/* Debug builds: does this CPU hold it? Always true in release builds. */
bool spin_held(const struct spinlock *lock);

/*
 * Reader-writer lock, phase fair: a writer waits only for the readers that were there before it,
 * and a reader only for the writers that were. Readers must not nest.
 */
struct rwlock {
	a32 rin, rout; /* readers that came, that left (units of 0x100), writer bits below */
	a32 win, wout; /* writer tickets */
	/* How often it was found taken: by a reader; by a writer because of readers; because of a writer. */
	a32 reader_waits, writer_waits_readers, writer_waits_writer;
	a64 wait_ns; /* for so long, all of them together */
	u32 class;
	const char *name;
};

void rw_init(struct rwlock *lock, enum lock_class class, const char *name);
void read_lock(struct rwlock *lock);
/* False, without waiting and without effect, if a writer is inside or waits for the readers to leave. */
bool read_trylock(struct rwlock *lock) must_check;
void read_unlock(struct rwlock *lock);
void write_lock(struct rwlock *lock);
bool write_trylock(struct rwlock *lock) must_check;
void write_unlock(struct rwlock *lock);
/* How often read_lock() or write_lock() had to wait for somebody, since rw_init(); once for each call and cause. */
static inline u32 rw_waits(const struct rwlock *lock)
{
	return a32_load(&lock->reader_waits) + a32_load(&lock->writer_waits_readers) +
	       a32_load(&lock->writer_waits_writer);
}
/* How many writers are inside (one at most) or want to be, at some moment just past. */
static inline u32 rw_writers(const struct rwlock *lock)
{
	u32 left = a32_load(&lock->wout);

	return a32_load(&lock->win) - left;
}
static inline u64 rw_wait_ns(const struct rwlock *lock)
{
	return a64_load(&lock->wait_ns);
}

/*
 * For locks that are a bit of a word and cannot name themselves: what the functions above tell the checks of
 * debug builds. Before waiting, when it is had, and before it is dropped.
 */
#ifdef VARVE_DEBUG
void lock_check(const void *lock, u32 class, const char *name);
void lock_taken(const void *lock, u32 class, const char *name);
void lock_released(const void *lock, const char *name);
#else
static inline void lock_check(const void *lock, u32 class, const char *name)
{
	(void)lock;
	(void)class;
	(void)name;
}
static inline void lock_taken(const void *lock, u32 class, const char *name)
{
	lock_check(lock, class, name);
}
static inline void lock_released(const void *lock, const char *name)
{
	lock_check(lock, 0, name);
}
#endif

/* Names of the locks this CPU holds, outermost first, for a panic report. Returns how many. */
unsigned lock_held_names(unsigned cpu, const char **names, unsigned max);
/* Panics (debug builds) if this CPU holds any lock: at guest entry, schedule and idle. */
void lock_assert_none(void);
