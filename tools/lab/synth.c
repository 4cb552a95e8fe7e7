#include "tools/lab/synth.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/host/hal.h"

static double uniform(u64 *seed)
{
	return (double)(host_random(seed) >> 11) / 9007199254740992.0;
}

static u32 below(u64 *seed, u32 n)
{
	return (u32)(uniform(seed) * n);
}

static bool chance(u64 *seed, double p)
{
	return uniform(seed) < p;
}

static void add(struct lab_trace *t, u32 page, bool write)
{
	t->access[t->n++] = page << 1 | write;
}

/* --- Zipf's law ------------------------------------------------------------------------------------ */

struct zipf {
	u32 n;
	double *sum; /* cumulated probability by rank */
	u32 *page;   /* by rank */
};

/* `run`: pages of equal rank side by side; 1 scatters them all. */
static void zipf_create(struct zipf *z, u32 n, double s, u32 run, u64 *seed)
{
	u32 runs = n / run;
	double sum = 0;

	*z = (struct zipf){.n = n};
	z->sum = lab_alloc(n, sizeof(double));
	z->page = lab_alloc(n, sizeof(u32));
	for (u32 i = 0; i < n; i++)
		z->page[i] = i;
	for (u32 i = runs; i-- > 1;) {
		u32 j = below(seed, i + 1), swap = z->page[i];

		z->page[i] = z->page[j];
		z->page[j] = swap;
	}
	for (u32 i = 0; i < n; i++) {
		sum += pow(i + 1, -s);
		z->sum[i] = sum;
	}
	for (u32 i = 0; i < n; i++)
		z->sum[i] /= sum;
	/* By run from the last on, so that each run is read before it is written over. */
	for (u32 i = runs; run > 1 && i-- > 0;) {
		u32 first = z->page[i] * run;

		for (u32 j = 0; j < run; j++)
			z->page[i * run + j] = first + j;
	}
}

static void zipf_destroy(struct zipf *z)
{
	free(z->sum);
	free(z->page);
}

static u32 zipf_draw(const struct zipf *z, u64 *seed)
{
	double u = uniform(seed);
	u32 low = 0, high = z->n - 1;

	while (low < high) {
		u32 middle = (low + high) / 2;

		if (z->sum[middle] < u)
			low = middle + 1;
		else
			high = middle;
	}
	return z->page[low];
}

static void make_zipf(struct lab_trace *t, u64 *seed, u32 n, double s, u32 run)
{
	struct zipf z;

	zipf_create(&z, t->pages, s, run, seed);
	while (t->n < n)
		add(t, zipf_draw(&z, seed), false);
	zipf_destroy(&z);
}

#define ZIPF(name, n, s, run)                            \
	static void name(struct lab_trace *t, u64 *seed) \
	{                                                \
		make_zipf(t, seed, n, s, run);           \
	}
ZIPF(zipf_099, 600000, 0.99, 1)
ZIPF(zipf_080, 600000, 0.8, 1)
ZIPF(zipf_120, 600000, 1.2, 1)
ZIPF(zipf_runs, 600000, 0.99, 16)

/* A popular half, and now and then a sweep over the other one. */
static void zipf_scan(struct lab_trace *t, u64 *seed)
{
	u32 half = t->pages / 2;
	struct zipf z;

	zipf_create(&z, half, 0.99, 1, seed);
	while (t->n < 500000) {
		for (u32 i = 0; i < 45000; i++)
			add(t, zipf_draw(&z, seed), false);
		for (u32 i = 0; i < half; i++)
			add(t, half + i, false);
	}
	zipf_destroy(&z);
}

/* Popularity stays what it is, but what is popular changes five times. */
static void zipf_shift(struct lab_trace *t, u64 *seed)
{
	for (u32 phase = 1; phase <= 5; phase++) {
		struct zipf z;

		zipf_create(&z, t->pages, 0.99, 1, seed);
		while (t->n < phase * 100000)
			add(t, zipf_draw(&z, seed), false);
		zipf_destroy(&z);
	}
}

/* --- loops ----------------------------------------------------------------------------------------- */

static void loop(struct lab_trace *t, u64 *seed)
{
	(void)seed;
	while (t->n < 300000)
		add(t, t->n % t->pages, false);
}

/* Two of different length, by turns of a random number of steps. */
static void loop_two(struct lab_trace *t, u64 *seed)
{
	u32 small = t->pages / 5, large = t->pages - small, a = 0, b = 0;

	while (t->n < 300000) {
		for (u32 i = below(seed, 100); i; i--)
			add(t, a++ % small, false);
		for (u32 i = below(seed, 100); i; i--)
			add(t, small + b++ % large, false);
	}
}

static void loop_zipf(struct lab_trace *t, u64 *seed)
{
	u32 half = t->pages / 2, at = 0;
	struct zipf z;

	zipf_create(&z, half, 0.99, 1, seed);
	while (t->n < 400000)
		if (chance(seed, 0.3))
			add(t, half + at++ % half, false);
		else
			add(t, zipf_draw(&z, seed), false);
	zipf_destroy(&z);
}

/* A matrix stored by rows and read by columns: each step is 40 pages further, each page is met 8 times. */
static void stride(struct lab_trace *t, u64 *seed)
{
	u32 step = 40, rows = t->pages / step;

	(void)seed;
	while (t->n < 300000)
		for (u32 column = 0; column < step; column++)
			for (u32 turn = 0; turn < 8; turn++)
				for (u32 row = 0; row < rows; row++)
					add(t, row * step + column, false);
	t->n = 300000;
}

/* A grid swept again and again: the line itself and its two neighbours are read, another grid is written. */
static void stencil(struct lab_trace *t, u64 *seed)
{
	u32 half = t->pages / 2;

	(void)seed;
	for (u32 at = 1; t->n < 400000; at = at + 20 < half ? at + 1 : 1) {
		add(t, at - 1, false);
		add(t, at, false);
		add(t, at + 19, false);
		add(t, half + at, true);
	}
	t->n = 400000;
}

/* --- sets that move -------------------------------------------------------------------------------- */

/* A working set of a quarter, touched at random; every 30 000 accesses another one. */
static void phase(struct lab_trace *t, u64 *seed)
{
	u32 set = t->pages / 4;

	while (t->n < 450000) {
		u32 base = below(seed, t->pages - set);

		for (u32 i = 0; i < 30000; i++)
			add(t, base + below(seed, set), false);
	}
}

/* Near a point that wanders. */
static void drift(struct lab_trace *t, u64 *seed)
{
	double at = t->pages / 2.0;

	while (t->n < 400000) {
		double near = 0;

		at += (uniform(seed) - 0.5) * 20;
		for (unsigned i = 0; i < 4; i++)
			near += uniform(seed) - 0.5;
		add(t, (u32)((u64)(at + near * 500 + t->pages * 1000.0) % t->pages), false);
	}
}

/* A stack pointer that goes up and down: calls and returns, deep ones now and then. */
static void stack(struct lab_trace *t, u64 *seed)
{
	u32 top = 0, left = 0;
	bool up = true;

	while (t->n < 400000) {
		if (!left) {
			up = chance(seed, top < t->pages / 8 ? 0.6 : 0.45);
			left = 1 + below(seed, chance(seed, 0.02) ? t->pages / 2 : 40);
		}
		left--;
		if (up)
			top = min_of(top + 1, t->pages - 1);
		else
			top -= top != 0;
		add(t, top, up);
	}
}

static void uniform_all(struct lab_trace *t, u64 *seed)
{
	while (t->n < 400000)
		add(t, below(seed, t->pages), false);
}

static void hot_cold(struct lab_trace *t, u64 *seed)
{
	u32 hot = t->pages / 10;

	while (t->n < 400000)
		add(t, chance(seed, 0.9) ? below(seed, hot) : hot + below(seed, t->pages - hot),
		    false);
}

/* --- programs, in outline -------------------------------------------------------------------------- */

/* Root, one of 64 inner pages, leaf: keys are popular by Zipf's law. */
static void tree_lookup(struct lab_trace *t, const struct zipf *z, u64 *seed)
{
	u32 leaf = zipf_draw(z, seed);

	add(t, 0, false);
	add(t, 1 + leaf * 64 / z->n, false);
	add(t, 65 + leaf, chance(seed, 0.2));
}

static void tree(struct lab_trace *t, u64 *seed)
{
	struct zipf z;

	zipf_create(&z, t->pages - 65, 0.7, 1, seed);
	while (t->n < 400000)
		tree_lookup(t, &z, seed);
	zipf_destroy(&z);
}

/* Lookups in a tree, and reports that read a table of half the pages from front to back. */
static void database(struct lab_trace *t, u64 *seed)
{
	u32 table = t->pages / 2;
	struct zipf z;

	zipf_create(&z, t->pages - table - 65, 0.9, 1, seed);
	for (u32 i = 0; t->n < 450000; i++) {
		tree_lookup(t, &z, seed);
		/* A tenth of the accesses is the report's. */
		if (i % 3 == 0)
			add(t, t->pages - table + i / 3 % table, false);
	}
	zipf_destroy(&z);
}

/* Eight runs are merged into one, which is a run of the next round. */
static void merge(struct lab_trace *t, u64 *seed)
{
	u32 half = t->pages / 2, run = 8;

	for (u32 from = 0; t->n < 400000; from = half - from, run = run * 8 < half ? run * 8 : 8) {
		u32 at[8];

		for (u32 base = 0; base + 8 * run <= half; base += 8 * run) {
			memset(at, 0, sizeof(at));
			for (u32 i = 0; i < 8 * run;) {
				u32 k = below(seed, 8);

				if (at[k] == run)
					continue;
				add(t, from + base + k * run + at[k]++, false);
				add(t, half - from + base + i++, true);
			}
		}
	}
}

/* A program with Zipf's law in a heap that it fills from below, and a collector that reads all that is live. */
static void collector(struct lab_trace *t, u64 *seed)
{
	struct zipf z;

	zipf_create(&z, t->pages / 2, 0.9, 4, seed);
	for (u32 turn = 0; t->n < 450000; turn++) {
		u32 live = t->pages / 2;

		for (u32 i = 0; i < 30000; i++) {
			add(t, zipf_draw(&z, seed), false);
			if (i % 8 == 0)
				add(t, live + i / 8 % (t->pages - live), true);
		}
		for (u32 i = 0; i < live; i++)
			add(t, (u32)((u64)i * 1237 % live), false);
	}
	zipf_destroy(&z);
}

/* --- the table ------------------------------------------------------------------------------------- */

#define MAX_ACCESSES 700000u

const struct lab_synth lab_synths[] = {
        {"zipf-0.99", "Zipf 0.99, scattered", 4096, zipf_099},
        {"zipf-0.8", "Zipf 0.8, scattered", 4096, zipf_080},
        {"zipf-1.2", "Zipf 1.2, scattered", 4096, zipf_120},
        {"zipf-runs", "Zipf 0.99, runs of 16 pages of equal rank", 4096, zipf_runs},
        {"zipf-scan", "Zipf 0.99 on one half, sweeps over the other", 10000, zipf_scan},
        {"zipf-shift", "Zipf 0.99, what is popular changes five times", 10000, zipf_shift},
        {"loop", "a pure loop", 10000, loop},
        {"loop-two", "two loops, 1 : 4, by turns", 10000, loop_two},
        {"loop-zipf", "30 % a loop over one half, 70 % Zipf 0.99 on the other", 10000, loop_zipf},
        {"stride", "a matrix by columns", 10000, stride},
        {"stencil", "a grid, line by line, again and again", 10000, stencil},
        {"phase", "working set of a quarter, another one fifteen times", 10000, phase},
        {"drift", "near a point that wanders", 10000, drift},
        {"stack", "a stack pointer", 4000, stack},
        {"uniform", "uniform", 10000, uniform_all},
        {"hot-cold", "90 % to a tenth of the pages", 10000, hot_cold},
        {"tree", "lookups in a tree, keys by Zipf 0.7", 10000, tree},
        {"database", "lookups in a tree, and a table read from front to back", 10000, database},
        {"merge", "merging runs, eight into one", 10000, merge},
        {"collector", "a heap by Zipf 0.9, and a collector", 10000, collector},
};
const unsigned lab_nr_synths = ARRAY_SIZE(lab_synths);

bool lab_synth_make(const char *name, u64 seed, struct lab_trace *t)
{
	for (unsigned i = 0; i < lab_nr_synths; i++) {
		const struct lab_synth *s = &lab_synths[i];

		if (strcmp(s->name, name))
			continue;
		seed = (seed ? seed : 1) * 0x9e3779b97f4a7c15ull;
		*t = (struct lab_trace){.pages = s->pages};
		snprintf(t->name, sizeof(t->name), "%s", name);
		t->access = lab_alloc(MAX_ACCESSES, sizeof(u32));
		s->make(t, &seed);
		return true;
	}
	return false;
}
