/*
 * Ticket lock, and the phase-fair ticket lock of Brandenburg and Anderson ("Reader-writer
 * synchronization for shared-memory multiprocessor real-time systems", 2009).
 *
 * rwlock: `rin` counts readers that came in units of READER, `rout` those that left; the low bits of
 * rin say whether a writer is present and in which phase. A reader that finds a writer waits until
 * those bits change: the writer left, or the next one is there already, before which this reader then
 * goes. A writer draws a ticket (win), waits for its turn (wout), sets the bits, and waits until as
 * many readers left as had come before it.
 *
 * The phase alternates from one writer that was inside to the next, and is kept in rin between them. It
 * must not be taken from the ticket: an attempt that fails uses one up, two writers that follow each
 * other would show the same bits, and a reader that missed the moment between them would wait for the
 * second while that one waits for the reader.
 */
#include "lib/lock.h"

#include "arch/hal.h"
#include "lib/profile.h"

#define READER         0x100u
#define WRITER_PRESENT 2u
#define WRITER_PHASE   1u
#define WRITER_BITS    (WRITER_PRESENT | WRITER_PHASE)
#define MAX_HELD       16u

#ifdef VARVE_DEBUG

struct held {
	const void *lock;
	const char *name;
	u32 class;
};

/* Each CPU writes its own; others read it for a panic report only. */
static struct held_locks {
	struct held held[MAX_HELD];
	u32 n;
} aligned_to(64) held_locks[HAL_MAX_CPUS];

static struct held_locks *held_here(void)
{
	return &held_locks[hal_cpu_id()];
}

static bool held_find(const struct held_locks *h, const void *lock)
{
	for (u32 i = 0; i < h->n; i++)
		if (h->held[i].lock == lock)
			return true;
	return false;
}

/* Before waiting: a wait against the order, or for oneself, may never end. */
void lock_check(const void *lock, u32 class, const char *name)
{
	const struct held_locks *h = held_here();

	for (u32 i = 0; i < h->n; i++) {
		if (h->held[i].lock == lock)
			hal_panic("lock %s taken twice", name);
		if (h->held[i].class >= class)
			hal_panic("lock %s (class %u) taken under %s (class %u)", name, class,
			          h->held[i].name, h->held[i].class);
	}
}

void lock_taken(const void *lock, u32 class, const char *name)
{
	struct held_locks *h = held_here();

	if (h->n == MAX_HELD)
		hal_panic("lock %s: more than %u locks held", name, MAX_HELD);
	h->held[h->n] = (struct held){.lock = lock, .name = name, .class = class};
	h->n++;
}

void lock_released(const void *lock, const char *name)
{
	struct held_locks *h = held_here();

	for (u32 i = h->n; i-- > 0;) {
		if (h->held[i].lock != lock)
			continue;
		for (h->n--; i < h->n; i++)
			h->held[i] = h->held[i + 1];
		return;
	}
	hal_panic("lock %s released by a CPU that does not hold it", name);
}

unsigned lock_held_names(unsigned cpu, const char **names, unsigned max)
{
	const struct held_locks *h = &held_locks[cpu % HAL_MAX_CPUS];
	unsigned n = min_of(h->n, max);

	for (unsigned i = 0; i < n; i++)
		names[i] = h->held[i].name;
	return n;
}

void lock_assert_none(void)
{
	const struct held_locks *h = held_here();

	if (h->n)
		hal_panic("lock %s is held where none may be", h->held[h->n - 1].name);
}

bool spin_held(const struct spinlock *lock)
{
	return held_find(held_here(), lock);
}

#else

unsigned lock_held_names(unsigned cpu, const char **names, unsigned max)
{
	(void)cpu;
	(void)names;
	(void)max;
	return 0;
}

void lock_assert_none(void)
{
}

bool spin_held(const struct spinlock *lock)
{
	(void)lock;
	return true;
}

#endif

/* --- waiting: nothing of this is done by who does not have to ------------------------------------- */

/* Models of the order of memory have no clock. */
#ifdef UNTIMED
#define wait_begin()    0
#define wait_end(start) ((void)(start), 0)
#else
static u64 wait_begin(void)
{
	profile_begin(PROFILE_LOCK);
	return hal_time_ns();
}

static u64 wait_end(u64 start)
{
	profile_end(PROFILE_LOCK);
	return hal_time_ns() - start;
}
#endif

static void rw_waited(struct rwlock *lock, a32 *waits, u64 start)
{
	a32_count(waits, 1);
	a64_count(&lock->wait_ns, wait_end(start));
}

void spin_init(struct spinlock *lock, enum lock_class class, const char *name)
{
	*lock = (struct spinlock)SPINLOCK_INIT(class, name);
}

static noinline_fn void spin_wait(struct spinlock *lock, u32 ticket)
{
	u64 start = wait_begin();

	do
		hal_pause();
	while (a32_load_acquire(&lock->owner) != ticket); /* ord K1: as in spin_lock */
	(void)wait_end(start);
}

void spin_lock(struct spinlock *lock)
{
	u32 ticket;

	lock_check(lock, lock->class, lock->name);
	ticket = a32_fetch_add(&lock->next, 1);
	/* ord K1: pairs with spin_unlock; what the holder before wrote is seen. */
	if (a32_load_acquire(&lock->owner) != ticket)
		spin_wait(lock, ticket);
	lock_taken(lock, lock->class, lock->name);
}

bool spin_trylock(struct spinlock *lock)
{
	/* ord K1: pairs with spin_unlock, as in spin_lock. */
	u32 ticket = a32_load_acquire(&lock->owner);

	if (!a32_cas(&lock->next, &ticket, ticket + 1))
		return false;
	lock_taken(lock, lock->class, lock->name);
	return true;
}

void spin_unlock(struct spinlock *lock)
{
	lock_released(lock, lock->name);
	/* ord K1: pairs with spin_lock. Only the holder writes `owner`. */
	a32_store_release(&lock->owner, a32_load(&lock->owner) + 1);
}

void rw_init(struct rwlock *lock, enum lock_class class, const char *name)
{
	*lock = (struct rwlock){.class = class, .name = name};
}

/*
 * What to add to rin so that a writer is present, in the other phase. Only the writer whose turn it is
 * changes these bits, so that they stand still between its load and its addition.
 */
static u32 writer_step(u32 rin)
{
	return rin & WRITER_PHASE ? WRITER_PRESENT - WRITER_PHASE : WRITER_PRESENT + WRITER_PHASE;
}

static noinline_fn void wait_for_writer(struct rwlock *lock, u32 writer)
{
	u64 start = wait_begin();

	/* ord K3: pairs with write_unlock; what the writer wrote is seen. */
	while (writer == (a32_load_acquire(&lock->rin) & WRITER_BITS))
		hal_pause();
	rw_waited(lock, &lock->reader_waits, start);
}

void read_lock(struct rwlock *lock)
{
	u32 writer;

	lock_check(lock, lock->class, lock->name);
	/* ord K2: full; a writer that set its bits before this is seen here, and one that sets them
	 * later counts this reader. */
	writer = a32_fetch_add(&lock->rin, READER) & WRITER_BITS;
	if (unlikely(writer & WRITER_PRESENT))
		wait_for_writer(lock, writer);
	lock_taken(lock, lock->class, lock->name);
}

/* Fails again only if another reader came in between, or a writer did. */
bool read_trylock(struct rwlock *lock)
{
	u32 rin = a32_load(&lock->rin);

	do {
		if (rin & WRITER_PRESENT)
			return false;
		/* ord K2: full; see read_lock. ord K3: what the writer before wrote is seen. */
	} while (!a32_cas(&lock->rin, &rin, rin + READER));
	lock_taken(lock, lock->class, lock->name);
	return true;
}

void read_unlock(struct rwlock *lock)
{
	lock_released(lock, lock->name);
	/* ord K4: pairs with the wait of write_lock; this reader's loads are over. */
	a32_fetch_add(&lock->rout, READER);
}

static noinline_fn void wait_for_turn(struct rwlock *lock, u32 ticket)
{
	u64 start = wait_begin();

	/* ord K5: pairs with write_unlock of the writer before. */
	while (a32_load_acquire(&lock->wout) != ticket)
		hal_pause();
	rw_waited(lock, &lock->writer_waits_writer, start);
}

static noinline_fn void wait_for_readers(struct rwlock *lock, u32 came)
{
	u64 start = wait_begin();

	/* ord K4: pairs with read_unlock. */
	while (a32_load_acquire(&lock->rout) != came)
		hal_pause();
	rw_waited(lock, &lock->writer_waits_readers, start);
}

void write_lock(struct rwlock *lock)
{
	u32 ticket, came;

	lock_check(lock, lock->class, lock->name);
	ticket = a32_fetch_add(&lock->win, 1);
	/* ord K5: pairs with write_unlock of the writer before. */
	if (unlikely(a32_load_acquire(&lock->wout) != ticket))
		wait_for_turn(lock, ticket);
	/* ord K2: full; see read_lock. */
	came = a32_fetch_add(&lock->rin, writer_step(a32_load(&lock->rin))) & ~WRITER_BITS;
	/* ord K4: pairs with read_unlock. */
	if (unlikely(a32_load_acquire(&lock->rout) != came))
		wait_for_readers(lock, came);
	lock_taken(lock, lock->class, lock->name);
}

bool write_trylock(struct rwlock *lock)
{
	/* ord K5: pairs with write_unlock of the writer before. */
	u32 ticket = a32_load_acquire(&lock->wout);
	u32 expected = ticket, came;

	if (!a32_cas(&lock->win, &expected, ticket + 1))
		return false;
	/* No other writer now. Nobody inside, and nobody comes before the bits are set? */
	came = a32_load(&lock->rin);
	/* ord K4: pairs with read_unlock. */
	if (a32_load_acquire(&lock->rout) != (came & ~WRITER_BITS) ||
	    !a32_cas(&lock->rin, &came, came + writer_step(came))) {
		/* ord K5: hands the turn on. */
		a32_store_release(&lock->wout, ticket + 1);
		return false;
	}
	lock_taken(lock, lock->class, lock->name);
	return true;
}

void write_unlock(struct rwlock *lock)
{
	lock_released(lock, lock->name);
	/* ord K3: pairs with read_lock; lets the readers of this phase in. */
	a32_fetch_and(&lock->rin, ~WRITER_PRESENT);
	/* ord K5: pairs with write_lock; only the holder writes `wout`. */
	a32_store_release(&lock->wout, a32_load(&lock->wout) + 1);
}
