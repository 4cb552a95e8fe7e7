/*
 * Hazard: what pages of a kind did at an age says what this one will do.
 *
 * A page's kind is how long it stayed unused the last time and the time before; its age, how long it has been unused
 * now. For each kind and age the hazard is learned: uses, divided by pages that were of this kind and age for a
 * tick. Pages that are gone count as well, for a refault tells their age exactly. So nothing depends on what
 * eviction chose before. From the hazards comes what each page is worth:
 *
 *   rank(kind, age) = the greatest, over all horizons, of P(used until then) / E(time in memory until used or then)
 *
 * (Gittins' index). Who has the lowest goes. In a loop the oldest page is the next to be used, and the youngest goes;
 * where popularity differs, kinds with short spans stay; where all kinds are alike and hazards fall with age, it is LRU.
 *
 * Time passes in ticks: TICKS in each interval of harvests, where those between two harvests come as faults pass the
 * parts of their number in the interval before. Ages are one tick apart at first, and then in logarithmic steps.
 *
 * Guard: LRU would hold the youngest pages, there or gone, as many as memory has. So it is known without a simulation
 * which refaults LRU would not have had, and which of the hits. With too many of the first, LRU rules for a while.
 */
#include "tools/lab/lab.h"

#include <math.h>
#include <stdlib.h>

#include "tools/lab/list.h"

#define TICKS   4u
#define SPANS   5u /* spans a page stayed unused: up to 1, 2, 4, 8 intervals, and more */
#define KINDS   (1 + SPANS + SPANS * SPANS) /* never used again; one span is known; two are */
#define LINEAR  16u                         /* ages of one tick */
#define OCTAVE  4u                          /* steps of age for each doubling, from there on */
#define AGES    (LINEAR + 13 * OCTAVE)
#define LISTS   (KINDS * AGES) /* of pages that are there; as many more of those that are gone */
#define FOREVER 10000u         /* ticks that the last age lasts */

#define HALF_LIFE  2.0  /* of what was learned: faults, in memories */
#define PRIOR      0.01 /* pages whose hazard is a guess, for each page of memory */
#define RERANK     50u  /* ranks are computed anew after 1/50 memory of faults, */
#define RERANK_MIN 8u   /* ... and not more often than that */
#define SLACK      0.2  /* excess of refaults that alarms, in memories; less while wary */
#define WARY       4u   /* at first */
#define WARY_MAX   8u
#define LRU_ROUNDS 2u /* memories of faults that LRU rules, the first time */

struct ranked {
	double rank;
	u32 list;
};

struct hazard {
	struct lab_env *e;
	struct lists l; /* kind * AGES + age, of those that are gone LISTS further */
	u32 *last;      /* tick of the last use that is known of, per page */
	u8 *kind;
	u32 start[AGES + 1]; /* in ticks, of each age */
	u32 tick, harvests;
	u64 faults, faults_before; /* since the harvest; in the interval before */
	u64 faults_total, faults_at_tick;

	double now[KINDS][AGES]; /* uses since the tick */
	double used[KINDS][AGES], exposed[KINDS][AGES];

	struct ranked order[LISTS]; /* lowest first */
	u32 place[LISTS];           /* of a list in it */
	u32 first;                  /* no page is on a list before that one */
	u64 ranked_at;              /* of faults_total */
	bool stale, by_lru;

	double cut; /* ages that LRU would hold, the last one in part */
	double loss, gain;
	u32 wary, rounds;
	u64 lru_until, calm_since; /* of faults_total */
};

static void *hazard_create(struct lab_env *e)
{
	struct hazard *p = lab_alloc(1, sizeof(*p));

	p->e = e;
	p->last = lab_alloc(e->pages, sizeof(u32));
	p->kind = lab_alloc(e->pages, 1);
	for (u32 a = 0; a < AGES; a++)
		p->start[a + 1] = a < LINEAR ? a + 1
		                             : p->start[a] +
		                                       (LINEAR / OCTAVE << (a - LINEAR) / OCTAVE);
	lists_create(&p->l, e->pages, 2 * LISTS);
	p->faults_before = e->capacity;
	p->stale = true;
	p->wary = WARY;
	p->rounds = LRU_ROUNDS;
	return p;
}

static void hazard_destroy(void *arg)
{
	struct hazard *p = arg;

	lists_destroy(&p->l);
	free(p->last);
	free(p->kind);
	free(p);
}

static u32 pages_of(const struct hazard *p, u32 kind, u32 age)
{
	u32 list = kind * AGES + age;

	return p->l.size[list] + p->l.size[LISTS + list];
}

/* --- the guard ------------------------------------------------------------------------------------- */

static bool lru_rules(const struct hazard *p)
{
	return p->faults_total < p->lru_until;
}

static void find_cut(struct hazard *p)
{
	double left = p->e->capacity;

	for (u32 a = 0; a < AGES; a++) {
		u32 n = 0;

		for (u32 k = 0; k < KINDS; k++)
			n += pages_of(p, k, a);
		if (n > left) {
			p->cut = a + left / n;
			return;
		}
		left -= n;
	}
	p->cut = AGES;
}

/* A use, at this age, of a page that was there, or was not. */
static void judge(struct hazard *p, u32 age, bool there)
{
	double lru = p->cut - age; /* has it: at 1 and more, all of that age */

	lru = lru < 0 ? 0 : lru > 1 ? 1 : lru;
	if (lru_rules(p))
		return;
	if (there)
		p->gain += 1 - lru;
	else
		p->loss += lru;
}

/* Trust comes with two memories of faults without an alarm, and is lost again with one. */
static void guard(struct hazard *p)
{
	u32 memory = p->e->capacity;

	if (lru_rules(p))
		return;
	if (p->loss > p->gain + SLACK * memory / p->wary) {
		p->lru_until = p->faults_total + (u64)p->rounds * memory;
		p->calm_since = p->lru_until;
		p->wary = min_of(p->wary * 2, WARY_MAX);
		p->rounds = min_of(p->rounds * 2, WARY_MAX);
		p->loss = p->gain = 0;
	} else if (p->faults_total - p->calm_since > 2 * memory) {
		p->wary = p->rounds = 1;
	}
}

/* --- ranks ----------------------------------------------------------------------------------------- */

/* A stretch of ages: probability of a use in it, time spent in it, and probability of neither. */
struct stretch {
	double used, time, left;
};

static struct stretch stretch_of(double hazard, u32 ticks)
{
	double left = 1, power = 1 - hazard;

	for (u32 k = ticks; k; k >>= 1, power *= power)
		if (k & 1)
			left *= power;
	return (struct stretch){1 - left, (1 - left) / hazard, left};
}

/* From the last age on: a stretch is joined with those behind it as long as they are better. */
static void rank_kind(struct hazard *p, u32 kind, const double *hazard)
{
	struct stretch stack[AGES];
	u32 n = 0;

	for (u32 a = AGES; a-- > 0;) {
		u32 ticks = a + 1 == AGES ? FOREVER : p->start[a + 1] - p->start[a];
		struct stretch s = stretch_of(hazard[a], ticks);

		while (n && stack[n - 1].used * s.time > s.used * stack[n - 1].time) {
			const struct stretch *next = &stack[--n];

			s.used += s.left * next->used;
			s.time += s.left * next->time;
			s.left *= next->left;
		}
		stack[n++] = s;
		p->order[kind * AGES + a] = (struct ranked){s.used / s.time, kind * AGES + a};
	}
}

/* What little is known of a kind is filled up from all, and that by a guess that falls with age. */
static void rank_all(struct hazard *p)
{
	double prior = PRIOR * p->e->capacity + 1, all[AGES], hazard[AGES];

	for (u32 a = 0; a < AGES; a++) {
		double used = prior * 0.5 / (p->start[a] + 1), exposed = prior;

		for (u32 k = 0; k < KINDS; k++) {
			used += p->used[k][a];
			exposed += p->exposed[k][a];
		}
		all[a] = used / exposed;
	}
	for (u32 k = 0; k < KINDS; k++) {
		for (u32 a = 0; a < AGES; a++) {
			double h = (p->used[k][a] + prior * all[a]) / (p->exposed[k][a] + prior);

			hazard[a] = h > 0.99 ? 0.99 : h;
		}
		rank_kind(p, k, hazard);
	}
}

static int compare(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;

	if (x->rank < y->rank || x->rank > y->rank)
		return x->rank < y->rank ? -1 : 1;
	return x->list > y->list ? -1 : 1;
}

static void sort_lists(struct hazard *p)
{
	p->by_lru = lru_rules(p);
	if (p->by_lru)
		for (u32 i = 0; i < LISTS; i++)
			p->order[i] = (struct ranked){-(double)(i % AGES), i};
	else
		rank_all(p);
	qsort(p->order, LISTS, sizeof(p->order[0]), compare);
	for (u32 i = 0; i < LISTS; i++)
		p->place[p->order[i].list] = i;
	p->first = 0;
	p->stale = false;
	p->ranked_at = p->faults_total;
}

/* --- time ------------------------------------------------------------------------------------------ */

static void learn(struct hazard *p, double keep)
{
	for (u32 k = 0; k < KINDS; k++)
		for (u32 a = 0; a < AGES; a++) {
			p->used[k][a] = p->used[k][a] * keep + p->now[k][a];
			p->exposed[k][a] = p->exposed[k][a] * keep + p->now[k][a] +
			                   pages_of(p, k, a);
			p->now[k][a] = 0;
		}
}

/* Lists are in the order of the last use. */
static void move_older(struct hazard *p, u32 list, u32 end)
{
	u32 page;

	while ((page = list_tail(&p->l, list)) != LAB_NEVER && p->tick - p->last[page] >= end)
		list_move(&p->l, list + 1, page);
}

static void grow_older(struct hazard *p)
{
	for (u32 list = 0; list < 2 * LISTS; list += AGES)
		for (u32 a = 0; a + 1 < AGES; a++)
			move_older(p, list + a, p->start[a + 1]);
}

static void tick(struct hazard *p)
{
	double memories = (double)(p->faults_total - p->faults_at_tick) / p->e->capacity;
	double keep = exp2(-memories);

	p->faults_at_tick = p->faults_total;
	p->loss *= keep;
	p->gain *= keep;
	learn(p, exp2(-memories / HALF_LIFE));
	p->tick++;
	grow_older(p);
	p->first = 0;
	p->stale = true;
	find_cut(p);
	guard(p);
}

/* --- pages ----------------------------------------------------------------------------------------- */

static u32 next_kind(u32 kind, u32 unused)
{
	u32 span = 0;

	while (span + 1 < SPANS && unused > TICKS << span)
		span++;
	if (!kind)
		return 1 + span;
	return 1 + SPANS + SPANS * span + (kind <= SPANS ? kind - 1 : (kind - 1 - SPANS) / SPANS);
}

/* Used at some time within the last `within` ticks, any of which is as likely. */
static void count_use(struct hazard *p, u32 kind, u32 age, u32 within)
{
	if (age >= LINEAR)
		within = 1;
	within = min_of(within, age + 1);
	for (u32 i = 0; i < within; i++)
		p->now[kind][age - i] += 1.0 / within;
}

static void use(struct hazard *p, u32 page, u32 within)
{
	u32 list = p->l.on[page], kind = p->kind[page];

	if (list != LAB_NEVER) {
		count_use(p, kind, list % AGES, within);
		judge(p, list % AGES, list < LISTS);
		p->kind[page] = (u8)next_kind(kind, p->tick - p->last[page]);
		list_remove(&p->l, page);
	}
	list = p->kind[page] * AGES;
	p->last[page] = p->tick;
	list_push(&p->l, list, page);
	p->first = min_of(p->first, p->place[list]);
}

static void hazard_hit(void *arg, u32 page)
{
	use(arg, page, TICKS);
}

static void hazard_harvest(void *arg)
{
	struct hazard *p = arg;

	p->harvests++;
	while (p->tick < p->harvests * TICKS)
		tick(p);
	p->faults_before = p->faults;
	p->faults = 0;
}

static void count_fault(struct hazard *p)
{
	u64 part = ++p->faults * TICKS / (p->faults_before + 1);

	p->faults_total++;
	while (p->tick < p->harvests * TICKS + min_of(part, TICKS - 1ull))
		tick(p);
}

static void evict_one(struct hazard *p)
{
	u32 list, page;

	while ((page = list_tail(&p->l, list = p->order[p->first].list)) == LAB_NEVER)
		p->first++;
	p->e->scanned++;
	if (lab_young(p->e, page)) {
		use(p, page, p->tick - p->harvests * TICKS + 1);
		return;
	}
	list_move(&p->l, LISTS + list, page);
	lab_evict(p->e, page);
}

static void hazard_miss(void *arg, u32 page)
{
	struct hazard *p = arg;

	count_fault(p);
	if (lab_full(p->e)) {
		if (p->by_lru != lru_rules(p) ||
		    (p->stale &&
		     p->faults_total - p->ranked_at >= max_of(p->e->capacity / RERANK, RERANK_MIN)))
			sort_lists(p);
		while (lab_full(p->e))
			evict_one(p);
	}
	use(p, page, 1);
	lab_bring_in(p->e, page);
}

const struct lab_policy lab_hazard = {
        .name = "hazard",
        .about = "by hazards that are learned, kind by kind",
        .create = hazard_create,
        .destroy = hazard_destroy,
        .miss = hazard_miss,
        .hit = hazard_hit,
        .harvest = hazard_harvest,
        .bits_only = true,
};
