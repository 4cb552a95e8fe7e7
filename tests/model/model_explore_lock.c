/*
 * Every interleaving, within a bound on preemptions, of readers, a writer and one that tries either side, over the
 * real lib/lock.c: writers alone inside, readers never beside one, and everybody gets through.
 *
 * Then the test is tested: one at a time, the lock is spoilt, and the explorer has to find it. PHASE is
 * a fault it once had.
 */
#define UNTIMED        /* lib/lock.c, lib/profile.h */
#define ATOMIC_YIELD() explorer_yield()
#define hal_panic      explorer_panic
#define hal_pause      wait_for_change
#define hal_cpu_id     explorer_self

#include "tests/host/explorer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/atomic.h"
#include "lib/lock.h"

static void wait_for_change(void);

enum mutant {
	NONE,
	PHASE,          /* two writers in a row show the same bits */
	NO_WAIT_READER, /* a reader does not wait for a writer */
	NO_WAIT_WRITER, /* a writer does not wait for readers */
	NO_TURN,        /* writers do not wait for each other */
	TRY_STORE,      /* the try sets its bits with a plain store */
	TRY_BESIDE,     /* who tries to read comes in beside a writer */
	TRY_ONCE_SEEN,  /* ... that came after it had looked */
	MUTANTS,
};
static const char *const mutant_name[] = {"as it is",
                                          "the same phase twice",
                                          "readers do not wait",
                                          "writers do not wait for readers",
                                          "writers do not wait for writers",
                                          "plain store in the try",
                                          "the try to read does not look for a writer",
                                          "the try to read adds without a look"};
static enum mutant mutant;
static bool tries_to_read; /* the scene in which actor 0 does, and nothing else */
static struct rwlock rw;

/*
 * A turn of a waiting loop is over when the lock has changed: nothing else can end the wait, and two
 * waiting actors do not run for ever in place of the third.
 */
static bool has_changed(void *arg)
{
	return memcmp(arg, &rw, sizeof(rw)) != 0;
}

static void wait_for_change(void)
{
	static struct rwlock seen[EXPLORER_ACTORS];
	struct rwlock *mine = &seen[explorer_self()];

	memcpy(mine, &rw, sizeof(rw));
	explorer_wait(has_changed, mine);
}

static u32 mutable_fetch_and(a32 *a, u32 mask)
{
	return a32_fetch_and(a, mutant == PHASE ? mask & ~3u : mask);
}

static u32 mutable_load_acquire(const a32 *a)
{
	u32 v = a32_load_acquire(a);

	if (mutant == NO_WAIT_READER && a == &rw.rin)
		return 0;
	if (mutant == NO_WAIT_WRITER && a == &rw.rout)
		return a32_load(&rw.rin) & ~3u;
	if (mutant == NO_TURN && a == &rw.wout)
		return a32_load(&rw.win) - 1;
	return v;
}

static bool is_read_try(const a32 *a)
{
	return tries_to_read && a == &rw.rin && !explorer_self();
}

/* What who tries to read sees of writers. */
static u32 mutable_load(const a32 *a)
{
	u32 v = a32_load(a);

	return mutant == TRY_BESIDE && is_read_try(a) ? v & ~2u : v;
}

static bool mutable_cas(a32 *a, u32 *expected, u32 desired)
{
	if ((mutant == TRY_BESIDE || mutant == TRY_ONCE_SEEN) && is_read_try(a)) {
		(void)a32_fetch_add(a, desired - *expected);
		return true;
	}
	if (mutant != TRY_STORE || a != &rw.rin)
		return a32_cas(a, expected, desired);
	a32_store(a, desired);
	return true;
}

#define a32_fetch_and    mutable_fetch_and
#define a32_load_acquire mutable_load_acquire
#define a32_cas          mutable_cas
#define a32_load         mutable_load
#include "lib/lock.c"
#undef a32_fetch_and
#undef a32_load_acquire
#undef a32_cas
#undef a32_load

static unsigned readers, writers, done;

static void setup(void)
{
	rw_init(&rw, LOCK_MMU, "lock");
	memset(held_locks, 0, sizeof(held_locks));
	readers = writers = done = 0;
}

static void be_reader(void)
{
	readers++;
	if (writers)
		explorer_panic("a reader beside a writer");
	explorer_yield();
	if (writers)
		explorer_panic("a writer came in beside a reader");
	readers--;
}

static void be_writer(void)
{
	if (readers || writers)
		explorer_panic("a writer is not alone");
	writers++;
	explorer_yield();
	if (readers)
		explorer_panic("a reader came in beside a writer");
	writers--;
}

static void run_reader(void)
{
	for (int i = 0; i < 2; i++) {
		read_lock(&rw);
		be_reader();
		read_unlock(&rw);
	}
	done++;
}

static void run_writer(void)
{
	write_lock(&rw);
	be_writer();
	write_unlock(&rw);
	done++;
}

static void run_tryer(void)
{
	for (int i = 0; i < 2; i++) {
		if (write_trylock(&rw)) {
			be_writer();
			write_unlock(&rw);
		}
		write_lock(&rw);
		be_writer();
		write_unlock(&rw);
	}
	done++;
}

static void run_read_tryer(void)
{
	for (int i = 0; i < 2; i++) {
		if (!read_trylock(&rw))
			continue;
		be_reader();
		read_unlock(&rw);
	}
	done++;
}

static void check_free(void)
{
	if (done != 3 || (rw.rin.raw & 2) || (rw.rin.raw & ~3u) != rw.rout.raw ||
	    rw.win.raw != rw.wout.raw)
		explorer_panic("the lock is not free in the end");
}

static bool explore(bool try_to_read, unsigned preemptions, struct explorer_result *r)
{
	struct explorer_scene scene = {
	        .name = "lock",
	        .setup = setup,
	        .check = check_free,
	        .actor = {{"reader", run_reader}, {"tryer", run_tryer}, {"writer", run_writer}},
	        .nr_actors = 3,
	        .max_preemptions = preemptions,
	        .max_steps = 400,
	};

	if (try_to_read) {
		scene.actor[0] = (struct explorer_actor){"read-tryer", run_read_tryer};
		scene.actor[1] = (struct explorer_actor){"reader", run_reader};
	}
	tries_to_read = try_to_read;
	explorer_run(&scene, r);
	return !r->failed && r->exhausted;
}

static bool report(bool try_to_read, unsigned preemptions)
{
	struct explorer_result r;
	bool good = explore(try_to_read, preemptions, &r);

	printf("%llu schedules of up to %u steps, all with up to %u preemptions: %s %s\n",
	       (unsigned long long)r.schedules, r.longest, preemptions, good ? "none bad" : r.why,
	       good ? "" : r.trace);
	return good;
}

static bool explore_mutant(void)
{
	struct explorer_result r;

	for (unsigned turn = 0; turn < 8; turn++) {
		(void)!explore(turn % 2, turn / 2, &r);
		if (!r.failed)
			continue;
		printf("%s: found in schedule %llu with %u preemptions: %s (%s)\n",
		       mutant_name[mutant], (unsigned long long)r.schedules, turn / 2, r.why,
		       r.trace);
		return true;
	}
	printf("%s: NOT found\n", mutant_name[mutant]);
	return false;
}

int main(void)
{
	const char *bound = getenv("VARVE_PREEMPTIONS");
	unsigned preemptions = bound ? (unsigned)atoi(bound) : 2;
	bool good = true;

	for (unsigned scene = 0; scene < 2; scene++)
		good &= report(scene, preemptions);
	for (mutant = NONE + 1; !getenv("VARVE_AS_IS") && mutant < MUTANTS; mutant++)
		good &= explore_mutant();
	return good ? 0 : 1;
}
