/*
 * access_tracking: do pages that are touched move to a younger generation, and those that are not stay? After
 * the reference's access_tracking_perf_test. Needs `experiments = yes`, and no other passes than those it asks
 * for (aging = 3600s).
 *
 *   mode=test     (default) populate; throw-away pass; re-populate; then a pass after nothing, after writing and
 *                 reading (control), after writing idle memory, after nothing, after reading idle memory, after
 *                 touching every other 64 pages
 *   mode=p        CPU 0 ages all the time while the others fault their parts in for the first time, and does not
 *                 age in every second round (needs 2 CPUs)
 *   duty=N        mode=p: all CPUs fault, and the hypervisor's own ager has N percent of the machine's last CPU, or that
 *                 share is only burnt, or nobody is beside them: a third of the rounds each
 *   percent=P     of the touched pages must be young (default 90; 100 with flush = per-pass). Of the untouched
 *                 ones none may be, always
 *   chaos         somebody takes any page at any time (host.chaos): pages that are away are allowed, and what is
 *                 there must still be as young as it was touched, and hold what was written
 *   overlap       every CPU touches all pages, not its own part
 *   region=N      so many pages (default: the largest piece of memory)
 *   rounds=N      mode=p: so many with aging and as many without (default 3)
 *
 *   bench access_tracking step=NAME ns=N pages=N cpus=N       time of the slowest CPU
 *   bench access_tracking step=mark_idle ns=N visited=N ...   time of the pass itself, in the hypervisor
 *   bench access_tracking_p aging=0|1 wall_ns=N passes=N pass_ns=N aging_ns=N pages=N cpus=N
 *                 a round: slowest CPU, number of passes, mean time of one, time in all of them
 *   bench access_tracking_p total ... wall_ratio_permille=N: mean wall time with aging / without
 *   bench access_tracking_p_beside run=N ...   with duty=, of each: see guest-tests/lib/experiment.h
 *   bench access_tracking_p total rounds=N wall_ns=N wall_burn_ns=N wall_none_ns=N wall_ratio_permille=N
 *                 fault_ratio_permille=N   mean wall time with aging / without, and mean time of a fault in the
 *                 hypervisor: on a machine of one CPU nobody else runs within a fault, and there it is the cost of one
 *
 * Young is the generation that a pass promotes to: the youngest but one after it, or younger.
 */
#include "guest-tests/lib/guest.h"

#define BLOCK 64u

enum touch { TOUCH_WRITE, TOUCH_READ, TOUCH_HALF };

static u64 *base;
static u64 pages, percent;
static bool overlap, chaos;
static enum touch how;
static u64 took_ns[CPU_MAX];
static u64 writes; /* rounds of writing that every page has seen */

static u64 *page_at(u64 i)
{
	return base + i * PAGE_WORDS;
}

static u64 part_start(unsigned part, unsigned parts)
{
	return pages * part / parts;
}

static void touch_one(u64 i, u64 value)
{
	volatile u64 *word = page_at(i);
	u64 found;

	if (how == TOUCH_WRITE) {
		*word = rng_mix(i) + value;
		return;
	}
	found = *word;
	VERDICT_CHECK(found == rng_mix(i) + value, "page %lu expected 0x%lx found 0x%lx", i,
	              rng_mix(i) + value, found);
}

static void touch_part(void *arg)
{
	unsigned id = cpu_self()->id;
	u64 i = overlap ? 0 : part_start(id, smp_count());
	u64 end = overlap ? pages : part_start(id + 1, smp_count()), start = time_ns();

	(void)arg;
	for (; i < end; i++)
		if (how != TOUCH_HALF || i / BLOCK % 2 == 0)
			touch_one(i, writes);
	took_ns[id] = time_ns() - start;
}

static u64 slowest(void)
{
	u64 ns = 0;

	for (unsigned i = 0; i < smp_count(); i++)
		ns = took_ns[i] > ns ? took_ns[i] : ns;
	return ns;
}

static void touch(const char *step, enum touch what)
{
	how = what;
	writes += what == TOUCH_WRITE;
	smp_run(touch_part, NULL);
	console_printf("bench access_tracking step=%s ns=%lu pages=%lu cpus=%u\n", step, slowest(),
	               pages, smp_count());
}

static void mark_idle(void)
{
	struct experiment_pass p = experiment_age(true);

	console_printf("bench access_tracking step=mark_idle ns=%lu visited=%lu young=%lu "
	               "tables=%lu\n",
	               p.ns, p.visited, p.young, p.tables);
}

static u64 young_of(const struct experiment_ages *a)
{
	return a->gen[0] + a->gen[1];
}

static void check(const char *after, const struct experiment_ages *a, u64 touched)
{
	u64 young = young_of(a), listed = young + a->gen[2] + a->gen[3];
	u64 gone = chaos ? a->away + a->unlisted : 0;

	console_printf("access_tracking: after %s: young %lu of %lu touched, generations %lu %lu "
	               "%lu %lu\n",
	               after, young, touched, a->gen[0], a->gen[1], a->gen[2], a->gen[3]);
	VERDICT_CHECK(!a->none && (chaos || (!a->away && !a->unlisted)) && listed + gone,
	              "after %s: %lu pages in generations, %lu in none, %lu away, %lu untouched",
	              after, listed, a->unlisted, a->away, a->none);
	VERDICT_CHECK(young <= touched, "after %s: %lu pages young, %lu touched", after, young,
	              touched);
	VERDICT_CHECK((young + gone) * 100 >= touched * percent,
	              "after %s: of %lu pages only %lu young", after, touched, young);
}

static void pass_and_check(const char *after, bool touched)
{
	struct experiment_ages ages;

	mark_idle();
	ages = experiment_ages_of(base, pages);
	check(after, &ages, touched ? pages : 0);
}

static void check_halves(void)
{
	struct experiment_ages hot = {.youngest = 0}, cold = hot;

	mark_idle();
	for (u64 i = 0; i < pages; i += BLOCK)
		experiment_ages_add(page_at(i), pages - i < BLOCK ? pages - i : BLOCK,
		                    i / BLOCK % 2 ? &cold : &hot);
	check("every other block, those", &hot,
	      hot.gen[0] + hot.gen[1] + hot.gen[2] + hot.gen[3] + hot.away + hot.unlisted);
	check("every other block, the others", &cold, 0);
}

static void run_test(void)
{
	touch("populate", TOUCH_WRITE);
	(void)experiment_age(true);
	touch("repopulate", TOUCH_WRITE);
	pass_and_check("re-populating", true);
	pass_and_check("nothing", false);
	touch("control_write", TOUCH_WRITE);
	touch("control_read", TOUCH_READ);
	pass_and_check("the control", true);
	touch("idle_write", TOUCH_WRITE);
	pass_and_check("writing idle memory", true);
	pass_and_check("nothing", false);
	touch("idle_read", TOUCH_READ);
	pass_and_check("reading idle memory", true);
	pass_and_check("nothing", false);
	touch("half", TOUCH_HALF);
	check_halves();
}

/* --- mode=p ---------------------------------------------------------------------------------------- */

static bool aging;
static u32 faulting; /* CPUs that are not done */
static u64 passes, pass_ns;

static void age_until_done(void)
{
	while (__atomic_load_n(&faulting, __ATOMIC_ACQUIRE)) {
		struct experiment_pass p = experiment_age(false);

		passes++;
		pass_ns += p.ns;
	}
}

static u64 duty;

static void fault_part(unsigned id, unsigned part, unsigned parts)
{
	u64 start = time_ns();

	for (u64 i = part_start(part, parts); i < part_start(part + 1, parts); i++)
		*(volatile u64 *)page_at(i) = rng_mix(i) + 1;
	took_ns[id] = time_ns() - start;
}

/* CPU 0 in rounds without aging waits in the barrier, dozing. */
static void fault_or_age(void *arg)
{
	unsigned id = cpu_self()->id, parts = smp_count() - 1;

	(void)arg;
	took_ns[id] = 0;
	smp_barrier();
	if (!id && aging)
		age_until_done();
	if (id) {
		fault_part(id, id - 1, parts);
		__atomic_sub_fetch(&faulting, 1, __ATOMIC_RELEASE);
	}
	smp_barrier();
}

static void check_all_there(void)
{
	struct experiment_ages ages = experiment_ages_of(base, pages);

	VERDICT_CHECK(!ages.none, "%lu pages are not there", ages.none);
	for (u64 i = 0; i < pages; i++)
		VERDICT_CHECK(*page_at(i) == rng_mix(i) + 1, "page %lu found 0x%lx", i,
		              *page_at(i));
}

static u64 run_round(bool with)
{
	experiment_unmap(base, pages);
	aging = with;
	passes = pass_ns = 0;
	faulting = smp_count() - 1;
	smp_run(fault_or_age, NULL);
	check_all_there();
	VERDICT_CHECK(!with || passes, "no pass was made");
	console_printf("bench access_tracking_p aging=%u wall_ns=%lu passes=%lu pass_ns=%lu "
	               "aging_ns=%lu pages=%lu cpus=%u\n",
	               with, slowest(), passes, passes ? pass_ns / passes : 0, pass_ns, pages,
	               smp_count() - 1);
	return slowest();
}

static void run_p(void)
{
	u64 rounds = cmdline_u64("rounds", 3), with = 0, without = 0, all = 0, in_passes = 0;

	VERDICT_CHECK(smp_count() > 1, "mode=p needs 2 CPUs");
	VERDICT_CHECK(rounds, "argument rounds= is 0");
	for (u64 i = 0; i < rounds; i++) {
		with += run_round(true);
		all += passes;
		in_passes += pass_ns;
		without += run_round(false);
	}
	console_printf("bench access_tracking_p total rounds=%lu wall_ns=%lu wall_none_ns=%lu "
	               "wall_ratio_permille=%lu passes=%lu pass_ns=%lu aging_permille=%lu\n",
	               rounds, with / rounds, without / rounds, with * 1000 / (without + 1), all,
	               in_passes / all, in_passes * 1000 / (with + 1));
}

static void fault_beside(void *arg)
{
	unsigned id = cpu_self()->id;

	(void)arg;
	smp_barrier();
	fault_part(id, id, smp_count());
}

/* Wall time of a round; adds the mean time of a fault to *fault_ns. */
static u64 run_beside(enum experiment_ager ager, u64 round, u64 *fault_ns)
{
	experiment_unmap(base, pages);
	experiment_beside_begin(ager, (unsigned)duty);
	smp_run(fault_beside, NULL);
	*fault_ns += experiment_beside_end("access_tracking_p", round);
	check_all_there();
	return slowest();
}

static void run_p_beside(void)
{
	u64 rounds = cmdline_u64("rounds", 3), sum[3] = {0}, fault[3] = {0};

	VERDICT_CHECK(rounds, "argument rounds= is 0");
	for (u64 round = 1; round <= rounds; round++)
		for (unsigned i = 0; i < ARRAY_SIZE(sum); i++) {
			unsigned ager = (unsigned)(round + i) % ARRAY_SIZE(sum);

			sum[ager] += run_beside((enum experiment_ager)ager, round, &fault[ager]);
		}
	console_printf(
	        "bench access_tracking_p total rounds=%lu wall_ns=%lu wall_burn_ns=%lu "
	        "wall_none_ns=%lu wall_ratio_permille=%lu fault_ratio_permille=%lu cpus=%u\n",
	        rounds, sum[EXPERIMENT_AGER] / rounds, sum[EXPERIMENT_BURN] / rounds,
	        sum[EXPERIMENT_ALONE] / rounds,
	        sum[EXPERIMENT_AGER] * 1000 / (sum[EXPERIMENT_ALONE] + 1),
	        fault[EXPERIMENT_AGER] * 1000 / (fault[EXPERIMENT_ALONE] + 1), smp_count());
}

void guest_main(void)
{
	const char *mode = cmdline_text("mode");
	bool p = mode && string_equal(mode, "p");

	VERDICT_CHECK(!mode || p || string_equal(mode, "test"), "argument mode= is test or p");
	smp_start();
	experiment_init();
	base = mem_largest_start();
	pages = mem_largest();
	percent = cmdline_u64("percent", 90);
	overlap = cmdline_flag("overlap");
	chaos = cmdline_flag("chaos");
	if (cmdline_u64("region", pages) < pages)
		pages = cmdline_u64("region", pages);
	duty = cmdline_u64("duty", 0);
	VERDICT_CHECK(duty <= 100, "argument duty= is at most 100");
	if (p && duty)
		run_p_beside();
	else if (p)
		run_p();
	else
		run_test();
}
