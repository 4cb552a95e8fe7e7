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
 *
 *   bench workload work=NAME ops=N cpus=N pages=N ns=N ops_per_s=N   all CPUs; ns: of the slowest
 *   bench workload refaults=N refaults_permille=N recent=N evictions=N rescued=N lookarounds=N looked_up=N   of the
 *                  measured part; refaults of a thousand touches
 *   bench workload passes=N aging_ns=N visited=N young=N density_permille=N tables=N skipped_nonleaf=N
 *                  skipped_bloom=N given_up=N promoted=N   the same of aging
 *   bench workload hot pages=N young=N old=N away=N   at the end: the hot ones, or the tenth that is touched most
 *   hot_percent=P  so many percent of these must be there at the end (default 0)
 *
 * What a page holds depends on its number and is checked by every touch.
 */
#include "guest-tests/lib/guest.h"
#include "guest-tests/lib/zipf.h"

enum work { WORK_DENSE, WORK_STRIDE, WORK_ZIPF, WORK_SCAN, WORK_PHASE, WORKS };

static const char *const names[WORKS] = {"dense", "stride", "zipf", "scan", "phase"};

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

static enum work work;
static u64 *base;
static u64 pages, hot, ops, warm, seed, step, every, phases, pass_every, write_every;
static struct zipf zipf;
static u64 report_percent, reported;
static bool hint;
static struct perm order; /* of the phase that is on: which page has which rank */
static u64 took_ns[CPU_MAX];

static void touch(u64 i, u64 op)
{
	volatile u64 *word = base + i * PAGE_WORDS + i % PAGE_WORDS;
	u64 value = rng_mix(i + 1), found = *word;

	if (!found && report_percent)
		*word = found = value;
	VERDICT_CHECK(found == value, "page %lu expected 0x%lx found 0x%lx", i, value, found);
	if (op % write_every == 0)
		*word = value;
}

static void fill(void *arg)
{
	u64 id = cpu_self()->id;

	(void)arg;
	for (u64 i = pages * id / smp_count(); i < pages * (id + 1) / smp_count(); i++)
		base[i * PAGE_WORDS + i % PAGE_WORDS] = rng_mix(i + 1);
}

/* CPUs begin at different places. */
static u64 page_of(u64 op, struct rng *rng)
{
	u64 at = op + pages * cpu_self()->id / smp_count();

	switch (work) {
	case WORK_DENSE:
		return at % pages;
	case WORK_STRIDE:
		return at * step % pages / step * step;
	case WORK_SCAN:
		if (op % every == 0)
			return (op / every + pages * cpu_self()->id / smp_count()) % pages;
		break;
	default:
		break;
	}
	return perm_at(&order, hot ? rng_below(rng, hot) : zipf_next(&zipf, rng));
}

struct phase {
	u64 number;    /* what is drawn follows from it */
	u64 from, ops; /* touches of each CPU */
};

static void run_phase(void *arg)
{
	const struct phase *p = arg;
	u64 id = cpu_self()->id, start;
	struct rng rng = {rng_mix(seed * CPU_MAX + id + p->number * 1000)};
	struct port_regs out;

	smp_barrier();
	start = time_ns();
	for (u64 op = p->from; op < p->from + p->ops; op++) {
		touch(page_of(op, &rng), op);
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
	u64 done = ops / phases * phases * smp_count(), ns = 0;

	for (unsigned i = 0; i < smp_count(); i++)
		ns = took_ns[i] > ns ? took_ns[i] : ns;
	console_printf("bench workload work=%s ops=%lu cpus=%u pages=%lu ns=%lu ops_per_s=%lu\n",
	               names[work], done, smp_count(), pages, ns, done * 1000000 / (ns / 1000 + 1));
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
}

/* The ages of the pages that the last phase touched most. */
static void report_hot(void)
{
	struct experiment_ages a = {.youngest = 0};
	u64 n = hot ? hot : pages / 10, here;

	for (u64 rank = 0; rank < n; rank++)
		experiment_ages_add(base + perm_at(&order, rank) * PAGE_WORDS, 1, &a);
	here = n - a.away - a.none;
	console_printf("bench workload hot pages=%lu young=%lu old=%lu away=%lu\n", n,
	               a.gen[0] + a.gen[1], a.gen[2] + a.gen[3], a.away);
	VERDICT_CHECK(here * 100 >= n * cmdline_u64("hot_percent", 0),
	              "of the %lu hottest pages only %lu are there", n, here);
}

/* What this phase hardly needs; CPU 0, the others wait. */
static void report_free(void)
{
	for (u64 rank = pages - pages * report_percent / 100; rank < pages; rank++)
		reported += pv_report_free(base + perm_at(&order, rank) * PAGE_WORDS, 1);
}

static void tell_order(void)
{
	u64 told = 0;

	pv_forget();
	for (u64 rank = 0; rank + 1 < pages; rank++)
		told += pv_together(base + perm_at(&order, rank) * PAGE_WORDS,
		                    base + perm_at(&order, rank + 1) * PAGE_WORDS);
	console_printf("bench workload told=%lu\n", told);
}

/* Loops go on where this ends. */
static void warm_up(void)
{
	struct phase p = {.number = phases, .ops = warm};

	perm_init(&order, ORDER_RANDOM, pages, 1, work == WORK_PHASE ? seed + phases : seed);
	smp_run(run_phase, &p);
	memset(took_ns, 0, sizeof(took_ns));
}

static void run_phases(void)
{
	struct phase p = {.from = warm, .ops = ops / phases};

	for (; p.number < phases; p.number++, p.from += p.ops) {
		perm_init(&order, ORDER_RANDOM, pages, 1, seed + p.number);
		if (hint)
			tell_order();
		if (report_percent && p.number)
			report_free();
		smp_run(run_phase, &p);
	}
}

static void read_arguments(void)
{
	const char *name = cmdline_text("work");

	while (name && work < WORKS && !string_equal(name, names[work]))
		work++;
	VERDICT_CHECK(work < WORKS, "argument work= is dense, stride, zipf, scan or phase");
	ops = cmdline_u64("ops", 200000);
	warm = cmdline_u64("warm", 0);
	seed = cmdline_u64("seed", 1);
	step = cmdline_u64("step", 64);
	every = cmdline_u64("every", 4);
	phases = work == WORK_PHASE ? cmdline_u64("phases", 4) : 1;
	pass_every = cmdline_u64("pass", 0);
	report_percent = cmdline_u64("report", 0);
	hint = cmdline_flag("hint");
	VERDICT_CHECK(report_percent <= 100 && (work == WORK_PHASE || !report_percent),
	              "argument report= is a percentage, and for work=phase");
	write_every = cmdline_u64("touch", 2);
	VERDICT_CHECK(step && every && phases && write_every && ops >= phases,
	              "step=, every=, phases=, touch= or ops= is 0");
	base = mem_largest_start();
	pages = mem_largest();
	hot = pages * cmdline_u64("hot", 0) / 100;
	VERDICT_CHECK(hot <= pages, "argument hot= is a percentage");
	zipf_init(&zipf, pages, cmdline_micro("zipf", 1200000));
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
	if (warm)
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
