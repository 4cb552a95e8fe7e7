/*
 * Why behind the handling of an exit is a good place: the vCPU is outside of its guest, so the shootdown
 * finds it where it does not have to wait for it; its thread holds no lock and is in no epoch section, as
 * run_once() asserts a moment later; it is in the world, so the auditor waits for it; and the exit is dealt
 * with, so no page that the handling relied on can go before it is used. It is where a fault reclaims by
 * itself, too, when memory is short: nothing here can happen that could not happen without chaos.
 *
 * The choice is a function of the number of the strike alone, so that one CPU without timers makes the same
 * choices at each run.
 */
#include "hv/chaos.h"

#include "arch/hal.h"
#include "hv/vm.h"
#include "mm/evict.h"
#include "mm/gfnmap.h"
#include "mm/space.h"

#define GOLDEN 0x9e3779b97f4a7c15ull

typedef unsigned long long ull;

a32 chaos_period;
static a64 exits, strikes, spared;
static a64 results[EVICT_PAGE_RESULTS];

void chaos_set(u32 every)
{
	a32_store(&chaos_period, every);
}

/* The n-th number of a sequence without visible order: a counter, well mixed (as in SplitMix64). */
static u64 random_number(u64 n)
{
	u64 x = n * GOLDEN;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

/* The first space from a random one on with that many resident pages, pinned; or NULL. */
static struct space *choose_space(u64 random, u64 floor)
{
	for (unsigned i = 0; i < vm_count; i++) {
		struct space *s = space_get_id((u16)((random + i) % vm_count + 1));

		if (!s)
			continue;
		if (a64_load(&s->resident) >= floor)
			return s;
		space_put(s);
	}
	return NULL;
}

void chaos_strike(bool faulted)
{
	u32 every = a32_load(&chaos_period);
	u64 random;
	struct space *s;
	gfn_t page;

	if (!every || (a64_fetch_add(&exits, 1) + 1) % every)
		return;
	random = random_number(a64_fetch_add(&strikes, 1) + 1);
	s = choose_space(random >> 48, faulted ? CHAOS_FLOOR : 1);
	if (!s) {
		a64_count(&spared, 1);
		return;
	}
	if (gfnmap_pick_resident(s, random & BITS(47, 0), &page))
		a64_count(&results[evict_page(s, page)], 1);
	space_put(s);
}

void chaos_report(void)
{
	if (!a64_load(&strikes))
		return;
	hal_log(HAL_INFO,
	        "chaos: %llu strikes, %llu spared; %llu pages evicted, %llu rescued, %llu kept, "
	        "%llu "
	        "in use, %llu gone",
	        (ull)a64_load(&strikes), (ull)a64_load(&spared),
	        (ull)a64_load(&results[EVICT_PAGE_DONE]),
	        (ull)a64_load(&results[EVICT_PAGE_RESCUED]),
	        (ull)a64_load(&results[EVICT_PAGE_KEPT]),
	        (ull)a64_load(&results[EVICT_PAGE_IN_USE]),
	        (ull)a64_load(&results[EVICT_PAGE_NOT_RESIDENT]));
}
