/*
 * workload: touches its pages in one of several ways, and says what that cost and how well it was understood.
 * Needs `experiments = yes`.
 *
 *   work=dense     every page, again and again
 *   work=stride    every step-th page (default 64) of all of them
 *   work=zipf      random pages, zipf-distributed, hot and cold mixed over the memory
 *   work=scan      the same, and between them all pages once, one after the other: of `every` touches one is such
 *   work=phase     as zipf, and other pages are the hot ones after each of the `phases`
 *   ops=N          touches of each CPU, all phases together (default 200000)
 *   warm=N         before that so many that are not measured (default 0); work=phase: another phase
 *   zipf=T         exponent of the distribution (default 1.2);   seed=N   (default 1)
 *   hot=P          instead of zipf: uniform among so many percent of the pages, and the others never
 *   every=N        work=scan: default 4;        phases=N  work=phase: default 4
 *   pass=N         a pass after so many touches of CPU 0 (default 0: only those that the scenario makes). The
 *                  policy may have none (twolist): then there is none
 *   report=P       work=phase: before each phase but the first the P percent of the pages that are touched least in it are
 *                  reported free, which needs `pv = yes` (default 0: none); what is touched of them is written anew
 *   hint           says which pages belong together: those that follow each other in the distribution. Needs `pv = yes`
 *   bench workload reported=N          those that held anything
 *   touch=N        of so many touches of a page one writes (default 2)
 *   first=N        touches only the first N of its pages (default: all that it finds)
 *
 *   bench workload work=NAME ops=N cpus=N pages=N ns=N ops_per_s=N   all CPUs; ns: of the slowest
 *   bench workload refaults=N refaults_permille=N recent=N evictions=N rescued=N lookarounds=N looked_up=N   of the
 *                  measured part; refaults of a thousand touches
 *   bench workload passes=N aging_ns=N visited=N young=N density_permille=N tables=N skipped_nonleaf=N
 *                  skipped_bloom=N given_up=N promoted=N   the same of aging
 *   bench workload sum=N           of all touches, those not measured as well: touches_sum() of each CPU, added
 *   bench workload hot pages=N young=N old=N away=N   at the end: the hot ones, or the tenth that is touched most
 *   hot_percent=P  so many percent of these must be there at the end (default 0)
 *
 * What a page holds depends on its number and is checked by every touch.
 */
#include "guest-tests/lib/guest.h"
#include "guest-tests/workload/touches.h"

static const u32 counters[] = {
        EXPERIMENT_REFAULTS,      EXPERIMENT_REFAULTS_RECENT, EXPERIMENT_EVICTIONS,
        EXPERIMENT_REJECTED,      EXPERIMENT_LOOKAROUNDS,     EXPERIMENT_LOOKED_UP,
        EXPERIMENT_PASSES,        EXPERIMENT_AGING_NS,        EXPERIMENT_VISITED,
        EXPERIMENT_YOUNG,         EXPERIMENT_TABLES,          EXPERIMENT_SKIPPED_NONLEAF,
        EXPERIMENT_SKIPPED_BLOOM, EXPERIMENT_WALKS_GIVEN_UP,  EXPERIMENT_PROMOTED,
};
enum {
	REFAULTS,
	RECENT,
	EVICTIONS,
	REJECTED,
	LOOKAROUNDS,
	LOOKED_UP,
	PASSES,
	AGING_NS,
	VISITED,
	YOUNG,
	TABLES,
	NONLEAF,
	BLOOM,
	GIVEN_UP,
	PROMOTED
};

static struct touches touches;
static u64 *base;
static u64 pass_every;
static u64 report_percent, reported;
static bool hint;
static u64 took_ns[CPU_MAX], sums[CPU_MAX];

static u64 *page_at(u64 rank)
{
	return base + perm_at(&touches.order, rank) * PAGE_WORDS;
}

static void touch(u64 i, bool write)
{
	volatile u64 *word = base + i * PAGE_WORDS + i % PAGE_WORDS;
	u64 value = rng_mix(i + 1), found = *word;

	if (!found && report_percent)
		*word = found = value;
	VERDICT_CHECK(found == value, "page %lu expected 0x%lx found 0x%lx", i, value, found);
	if (write)
		*word = value;
}

static void fill(void *arg)
{
	u64 id = cpu_self()->id, pages = touches.pages;

	(void)arg;
	for (u64 i = pages * id / smp_count(); i < pages * (id + 1) / smp_count(); i++)
		base[i * PAGE_WORDS + i % PAGE_WORDS] = rng_mix(i + 1);
}

static void run_phase(void *arg)
{
	const struct touches_phase *p = arg;
	u64 id = cpu_self()->id, start;
	struct rng rng = touches_rng(&touches, p, id);
	struct port_regs out;

	smp_barrier();
	start = time_ns();
	for (u64 op = p->from; op < p->from + p->ops; op++) {
		u64 page = touches_page(&touches, op, id, &rng);
		bool write = touches_write(&touches, op);

		touch(page, write);
		sums[id] = touches_sum(sums[id], page, write);
		if (!id && pass_every && (op + 1) % pass_every == 0)
			(void)experiment_call(EXPERIMENT_AGE, 0, 0, &out);
	}
	took_ns[id] += time_ns() - start;
}

static void read_counters(u64 *to)
{
	for (unsigned i = 0; i < ARRAY_SIZE(counters); i++)
		to[i] = experiment_counter(counters[i]);
}

static void report(const u64 *n)
{
	u64 done = touches.ops / touches.phases * touches.phases * smp_count(), ns = 0, sum = 0;

	for (unsigned i = 0; i < smp_count(); i++) {
		ns = took_ns[i] > ns ? took_ns[i] : ns;
		sum += sums[i];
	}
	console_printf("bench workload work=%s ops=%lu cpus=%u pages=%lu ns=%lu ops_per_s=%lu\n",
	               touches_name(&touches), done, smp_count(), touches.pages, ns,
	               done * 1000000 / (ns / 1000 + 1));
	console_printf("bench workload refaults=%lu refaults_permille=%lu recent=%lu evictions=%lu "
	               "rescued=%lu lookarounds=%lu looked_up=%lu\n",
	               n[REFAULTS], n[REFAULTS] * 1000 / done, n[RECENT], n[EVICTIONS], n[REJECTED],
	               n[LOOKAROUNDS], n[LOOKED_UP]);
	console_printf("bench workload passes=%lu aging_ns=%lu visited=%lu young=%lu "
	               "density_permille=%lu tables=%lu skipped_nonleaf=%lu skipped_bloom=%lu "
	               "given_up=%lu promoted=%lu\n",
	               n[PASSES], n[AGING_NS], n[VISITED], n[YOUNG],
	               n[VISITED] ? n[YOUNG] * 1000 / n[VISITED] : 0, n[TABLES], n[NONLEAF],
	               n[BLOOM], n[GIVEN_UP], n[PROMOTED]);
	console_printf("bench workload sum=%lu\n", sum);
}

/* The ages of the pages that the last phase touched most. */
static void report_hot(void)
{
	struct experiment_ages a = {.youngest = 0};
	u64 n = touches.hot ? touches.hot : touches.pages / 10, here;

	for (u64 rank = 0; rank < n; rank++)
		experiment_ages_add(page_at(rank), 1, &a);
	here = n - a.away - a.none;
	console_printf("bench workload hot pages=%lu young=%lu old=%lu away=%lu\n", n,
	               a.gen[0] + a.gen[1], a.gen[2] + a.gen[3], a.away);
	VERDICT_CHECK(here * 100 >= n * cmdline_u64("hot_percent", 0),
	              "of the %lu hottest pages only %lu are there", n, here);
}

/* What this phase hardly needs; CPU 0, the others wait. */
static void report_free(void)
{
	u64 pages = touches.pages;

	for (u64 rank = pages - pages * report_percent / 100; rank < pages; rank++)
		reported += pv_report_free(page_at(rank), 1);
}

static void tell_order(void)
{
	u64 told = 0;

	pv_forget();
	for (u64 rank = 0; rank + 1 < touches.pages; rank++)
		told += pv_together(page_at(rank), page_at(rank + 1));
	console_printf("bench workload told=%lu\n", told);
}

static void warm_up(void)
{
	struct touches_phase p = touches_warm_up(&touches);

	smp_run(run_phase, &p);
	memset(took_ns, 0, sizeof(took_ns));
}

static void run_phases(void)
{
	for (u64 number = 0; number < touches.phases; number++) {
		struct touches_phase p = touches_phase(&touches, number);

		if (hint)
			tell_order();
		if (report_percent && number)
			report_free();
		smp_run(run_phase, &p);
	}
}

static void read_arguments(void)
{
	const char *wrong = touches_read(&touches, mem_largest(), smp_count());

	VERDICT_CHECK(!wrong, "%s", wrong);
	pass_every = cmdline_u64("pass", 0);
	report_percent = cmdline_u64("report", 0);
	hint = cmdline_flag("hint");
	VERDICT_CHECK(report_percent <= 100 && (touches.work == WORK_PHASE || !report_percent),
	              "argument report= is a percentage, and for work=phase");
	base = mem_largest_start();
}

void guest_main(void)
{
	u64 before[ARRAY_SIZE(counters)], now[ARRAY_SIZE(counters)];

	smp_start();
	experiment_init();
	read_arguments();
	if (report_percent || hint)
		(void)pv_init();
	smp_run(fill, NULL);
	if (touches.warm)
		warm_up();
	read_counters(before);
	run_phases();
	if (report_percent)
		console_printf("bench workload reported=%lu\n", reported);
	read_counters(now);
	for (unsigned i = 0; i < ARRAY_SIZE(counters); i++)
		now[i] -= before[i];
	report(now);
	report_hot();
}
