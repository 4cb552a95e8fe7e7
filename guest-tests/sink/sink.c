/*
 * sink: pages that are used all the time, through second-level tables only. Without walks nobody sees it: they
 * sink to the oldest generation, and are rescued when the evictor asks. Needs `experiments = yes`, and no other
 * passes than those it asks for (aging = 3600s).
 *
 *   expect=sink     (the walk is off) after as many passes as there are generations all are in the oldest one, and
 *                   the evictor finds many young: at least one rescued for ten pages evicted
 *   expect=stay     (the walk is on) they are young all the time: at most one for a hundred
 *   expect=nothing  (default) only reports
 *   hot=P           percent of the pages that are used all the time (default 25); the others once, to begin with
 *   chaos           somebody takes any page at any time (host.chaos), and what comes back is young: hot pages may be
 *                   away; those that are there and walked are young; nobody has to sink, or to be rescued
 *   rounds=N        of touching, a pass, and reclaiming (default 12)
 *   reclaim=N       pages to take in each round behind the fourth (default 64)
 *
 *   bench sink round=N gen0=N gen1=N gen2=N gen3=N away=N rescued=N evicted=N   ages of the hot pages after the
 *              pass; what reclaim found young (itself, or looking around), and took, since the beginning
 *   bench sink total hot=N rescued=N evicted=N rescues_per_evicted_permille=N refaults=N
 */
#include "guest-tests/lib/guest.h"

enum expect { EXPECT_NOTHING, EXPECT_SINK, EXPECT_STAY, EXPECTS };

static const char *const names[EXPECTS] = {"nothing", "sink", "stay"};
static enum expect expect;
static bool chaos;
static u64 *base;
static u64 pages, hot;
static u64 rescued, evicted;

static void touch_hot(void)
{
	for (u64 i = 0; i < hot; i++)
		++*(volatile u64 *)(base + i * PAGE_WORDS);
}

/* Found young by the evictor, or beside such a page when it looked around. */
static u64 rescues(void)
{
	return experiment_counter(EXPERIMENT_REJECTED) + experiment_counter(EXPERIMENT_LOOKED_UP);
}

static void check_round(u64 round, const struct experiment_ages *a)
{
	u64 gone = chaos ? a->away + a->unlisted : 0;

	VERDICT_CHECK(!a->none, "round %lu: %lu hot pages were never there", round, a->none);
	if (round < EXPERIMENT_GENS || expect == EXPECT_NOTHING)
		return;
	if (expect == EXPECT_STAY)
		VERDICT_CHECK(a->gen[0] + a->gen[1] + gone == hot,
		              "round %lu: of %lu hot pages %lu are young", round, hot,
		              a->gen[0] + a->gen[1]);
	else if (round == EXPERIMENT_GENS && !chaos)
		VERDICT_CHECK(a->gen[3] == hot, "round %lu: of %lu hot pages %lu have sunk", round,
		              hot, a->gen[3]);
}

static void run_round(u64 round, u64 reclaim)
{
	u64 evictions = experiment_counter(EXPERIMENT_EVICTIONS);
	u64 before = rescues();
	struct experiment_ages ages;

	touch_hot();
	(void)experiment_age(true);
	ages = experiment_ages_of(base, hot);
	check_round(round, &ages);
	touch_hot();
	if (round > EXPERIMENT_GENS && reclaim)
		(void)experiment_reclaim(reclaim);
	evicted += experiment_counter(EXPERIMENT_EVICTIONS) - evictions;
	rescued += rescues() - before;
	console_printf("bench sink round=%lu gen0=%lu gen1=%lu gen2=%lu gen3=%lu away=%lu "
	               "rescued=%lu evicted=%lu\n",
	               round, ages.gen[0], ages.gen[1], ages.gen[2], ages.gen[3], ages.away,
	               rescued, evicted);
}

static void check_total(void)
{
	if (expect == EXPECT_NOTHING)
		return;
	VERDICT_CHECK(evicted, "nothing was evicted");
	if (chaos)
		return;
	if (expect == EXPECT_SINK)
		VERDICT_CHECK(rescued * 10 >= evicted, "%lu rescued of %lu evicted: few", rescued,
		              evicted);
	else
		VERDICT_CHECK(rescued * 100 <= evicted, "%lu rescued of %lu evicted: many", rescued,
		              evicted);
}

void guest_main(void)
{
	u64 rounds = cmdline_u64("rounds", 12), refaults, reclaim = cmdline_u64("reclaim", 64);
	const char *name = cmdline_text("expect");

	while (name && expect < EXPECTS && !string_equal(name, names[expect]))
		expect++;
	VERDICT_CHECK(expect < EXPECTS, "argument expect= is sink, stay or nothing");
	chaos = cmdline_flag("chaos");
	experiment_init();
	base = mem_largest_start();
	pages = mem_largest();
	hot = pages * cmdline_u64("hot", 25) / 100;
	VERDICT_CHECK(hot && hot <= pages, "argument hot= is a percentage");
	for (u64 i = 0; i < pages; i++)
		base[i * PAGE_WORDS] = 0;
	refaults = experiment_counter(EXPERIMENT_REFAULTS);
	for (u64 round = 1; round <= rounds; round++)
		run_round(round, reclaim);
	check_total();
	console_printf("bench sink total hot=%lu rescued=%lu evicted=%lu "
	               "rescues_per_evicted_permille=%lu refaults=%lu\n",
	               hot, rescued, evicted, evicted ? rescued * 1000 / evicted : 0,
	               experiment_counter(EXPERIMENT_REFAULTS) - refaults);
	for (u64 i = 0; i < pages; i++)
		VERDICT_CHECK(base[i * PAGE_WORDS] == (i < hot ? 2 * rounds : 0),
		              "page %lu found 0x%lx", i, base[i * PAGE_WORDS]);
}
