/*
 * All but the report belongs to the one thread that calls sampler_step(); so nothing of it needs a lock, and
 * questions are asked with none held.
 *
 * A sample takes two questions: the one that chooses a page clears what it was before, the one an interval
 * later says whether it was touched. Both are of one page, and what they clear the generations are told
 * (mm/ledger.c). Only where one Accessed bit stands for 512 pages are all of them asked for: to ask for one of
 * them would take the news of the others away, from the generations as from another region's sample.
 *
 * A translation that a TLB keeps does not set the bit again: then a hot page is missed, as aging misses it.
 */
#include "mm/sampler.h"

#include "arch/hal.h"
#include "lib/string.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/gfnmap.h"
#include "mm/huge.h"
#include "mm/ledger.h"
#include "mm/notifier.h"
#include "mm/space.h"
#include "mm/trace.h"

#define LIKE (SAMPLER_SAMPLES / 10) /* counts that differ by no more are alike */
#define ASK  (NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY | NOTIFIER_SAMPLER)

struct region {
	u64 first, npages;
	u64 chosen; /* page whose touches the next interval asks for */
	u32 accesses, last, age;
};

struct sampler {
	u64 random;
	u64 largest; /* pages of a region that may still be joined with others */
	u32 samples; /* intervals seen of this report */
	u32 nr;
	struct region region[SAMPLER_MAX_REGIONS];
	struct sampler_report report;
};

static u64 sampler_pages(void)
{
	return align_up(sizeof(struct sampler), (size_t)PAGE_SIZE) >> PAGE_SHIFT;
}

static u64 random_next(struct sampler *sp)
{
	u64 x = sp->random;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return sp->random = x;
}

/* --- questions -------------------------------------------------------------------------------------- */

/* The part of a page's 2 MiB that its slot has; 0: no slot has it any more. Inside an epoch section. */
static unsigned block_of(struct space *s, gfn_t g, gfn_t *first)
{
	const struct slot *slot = gfnmap_slot(s, g);
	u64 start = huge_first(g).v, end = start + TABLE_PAGES;

	if (!slot)
		return 0;
	*first = gfn(max_of(start, slot->base.v));
	return (unsigned)(min_of(end, slot->base.v + slot->npages) - first->v);
}

/* Asks for all that one bit may stand for; the rest of what it says is kept for the samples it may belong to. */
static bool ask_block(struct space *s, gfn_t g)
{
	u64 young[NOTIFIER_WORDS], visited = 0, one;
	struct ledger *l;
	unsigned n, at;
	bool result;
	gfn_t first;

	n = block_of(s, g, &first);
	l = aptr_load_acquire(&s->ledger); /* ord LG2: pairs with ord LG1 */
	if (!n || !l)
		return false;
	memset(young, 0xff, sizeof(young));
	(void)notifier_age(s, first, n, young, ASK, &visited);
	at = (unsigned)(g.v - first.v);
	one = BIT(at % 64);
	result = young[at / 64] & one;
	young[at / 64] &= ~one;
	ledger_owe(l, LEDGER_SAMPLER, first, n, young);
	return result;
}

static bool ask(struct space *s, u64 page)
{
	bool young;

	if (!a32_load(&s->wants_huge))
		return notifier_age_one(s, gfn(page), ASK) & NOTIFIER_YOUNG;
	epoch_enter();
	young = ask_block(s, gfn(page));
	epoch_exit();
	return young;
}

static void sample(struct space *s, struct sampler *sp)
{
	u64 young = 0;

	for (u32 i = 0; i < sp->nr; i++) {
		bool touched = ask(s, sp->region[i].chosen);

		sp->region[i].accesses += touched;
		young += touched;
	}
	a64_count(&s->stats.sampled_total, sp->nr);
	a64_count(&s->stats.sampled_young_total, young);
}

static void choose(struct space *s, struct sampler *sp)
{
	for (u32 i = 0; i < sp->nr; i++) {
		struct region *r = &sp->region[i];

		r->chosen = r->first + random_next(sp) % r->npages;
		(void)ask(s, r->chosen);
	}
}

/* --- regions ---------------------------------------------------------------------------------------- */

static bool alike(u32 a, u32 b)
{
	return (a > b ? a - b : b - a) <= LIKE;
}

static void grow_older(struct sampler *sp)
{
	for (u32 i = 0; i < sp->nr; i++) {
		struct region *r = &sp->region[i];

		r->age = alike(r->accesses, r->last) ? r->age + 1 : 0;
		r->last = r->accesses;
	}
}

/* Counts and ages become means, by pages. */
static void join(struct region *a, const struct region *b)
{
	u64 n = a->npages + b->npages;

	a->accesses = (u32)((a->accesses * a->npages + b->accesses * b->npages + n / 2) / n);
	a->age = (u32)((a->age * a->npages + b->age * b->npages) / n);
	a->last = a->accesses;
	a->npages = n;
}

static void merge(struct sampler *sp)
{
	u32 kept = 0;

	for (u32 i = 1; i < sp->nr; i++) {
		struct region *a = &sp->region[kept], *b = &sp->region[i];

		if (a->first + a->npages == b->first && alike(a->accesses, b->accesses) &&
		    a->npages + b->npages <= sp->largest)
			join(a, b);
		else
			sp->region[++kept] = *b;
	}
	sp->nr = kept + 1;
}

/* Each in two, as long as there is room for all of them. */
static void split(struct sampler *sp)
{
	u32 nr = sp->nr, to = 2 * nr;

	if (to > SAMPLER_MAX_REGIONS)
		return;
	for (u32 i = nr; i--;) {
		struct region r = sp->region[i], *a = &sp->region[to - 2], *b = &sp->region[to - 1];
		u64 cut;

		to -= 2;
		*a = *b = r;
		if (r.npages < 2) {
			b->npages = 0;
			continue;
		}
		cut = 1 + random_next(sp) % (r.npages - 1);
		a->npages = cut;
		b->first = r.first + cut;
		b->npages = r.npages - cut;
	}
	sp->nr = 0;
	for (u32 i = 0; i < 2 * nr; i++)
		if (sp->region[i].npages)
			sp->region[sp->nr++] = sp->region[i];
}

static void publish(struct space *s, struct sampler *sp)
{
	spin_lock(&s->sampler.lock);
	sp->report.nr = sp->nr;
	sp->report.nr_reports++;
	for (u32 i = 0; i < sp->nr; i++)
		sp->report.region[i] = (struct sampler_region){
		        gfn(sp->region[i].first), sp->region[i].npages, sp->region[i].accesses,
		        sp->region[i].age};
	spin_unlock(&s->sampler.lock);
	for (u32 i = 0; i < sp->nr; i++)
		trace_event(TRACE_REGION, s->id, gfn(sp->region[i].first), sp->region[i].npages,
		            sp->region[i].accesses | (u64)sp->region[i].age << TRACE_REGION_AGE);
}

static void make_report(struct space *s, struct sampler *sp)
{
	grow_older(sp);
	merge(sp);
	publish(s, sp);
	split(sp);
	for (u32 i = 0; i < sp->nr; i++)
		sp->region[i].accesses = 0;
	sp->samples = 0;
}

/* --- on and off ------------------------------------------------------------------------------------- */

static void cut_slot(struct sampler *sp, const struct slot *slot)
{
	u64 pieces = (slot->npages + sp->largest - 1) / sp->largest;

	for (u64 i = 0; i < pieces && sp->nr < SAMPLER_MAX_REGIONS; i++) {
		u64 from = slot->npages * i / pieces, to = slot->npages * (i + 1) / pieces;

		sp->region[sp->nr++] = (struct region){.first = slot->base.v + from,
		                                       .npages = to - from};
	}
}

/* Slots that come later are not sampled. */
static void cut_regions(struct space *s, struct sampler *sp)
{
	const struct slots *slots;
	u64 pages = 0;

	epoch_enter();
	slots = gfnmap_slots(s);
	for (u32 i = 0; i < slots->nr; i++)
		pages += slots->slot[i].npages;
	sp->largest = max_of(pages / SAMPLER_MIN_REGIONS, 1ull);
	for (u32 i = 0; i < slots->nr; i++)
		cut_slot(sp, &slots->slot[i]);
	epoch_exit();
}

static void link_set(struct space *s, struct sampler *sp)
{
	spin_lock(&s->sampler.lock);
	s->sampler.sampler = sp;
	spin_unlock(&s->sampler.lock);
}

static bool begin(struct space *s)
{
	struct sampler *sp = hal_pages_alloc(sampler_pages());

	if (!sp)
		return false;
	if (!ledger_open(s)) {
		hal_pages_free(sp, sampler_pages());
		return false;
	}
	sp->random = hal_time_ns() << 8 | s->id;
	cut_regions(s, sp);
	link_set(s, sp);
	choose(s, sp);
	return true;
}

static void end(struct space *s, struct sampler *sp)
{
	link_set(s, NULL);
	hal_pages_free(sp, sampler_pages());
	ledger_close(s);
}

void sampler_step(struct space *s)
{
	struct sampler *sp = s->sampler.sampler;
	bool wanted = sampler_wanted(&s->sampler);

	if (!wanted && sp) {
		end(s, sp);
	} else if (wanted && !sp && !begin(s)) {
		a32_store(&s->sampler.wanted, 0);
		hal_log(HAL_WARN, "vm %s: no memory left to sample it", s->name);
	} else if (sp) {
		sample(s, sp);
		if (++sp->samples == SAMPLER_SAMPLES)
			make_report(s, sp);
		choose(s, sp);
	}
}

bool sampler_run(void)
{
	bool more = false;

	for (u16 id = 1; id <= SPACE_MAX; id++) {
		struct space *s = space_get_id(id);

		if (!s)
			continue;
		sampler_step(s);
		more |= sampler_wanted(&s->sampler);
		space_put(s);
	}
	return more;
}

void sampler_init(struct sampler_link *link)
{
	spin_init(&link->lock, LOCK_SAMPLER, "sampler");
}

void sampler_free(struct space *s)
{
	if (s->sampler.sampler)
		hal_pages_free(s->sampler.sampler, sampler_pages());
	ledger_free(s);
}

void sampler_switch(struct space *s, bool on)
{
	a32_store(&s->sampler.wanted, on);
}

/* --- for people ------------------------------------------------------------------------------------- */

bool sampler_report(struct space *s, struct sampler_report *out)
{
	struct sampler *sp;

	*out = (struct sampler_report){.nr = 0};
	spin_lock(&s->sampler.lock);
	sp = s->sampler.sampler;
	if (sp)
		*out = sp->report;
	spin_unlock(&s->sampler.lock);
	return out->nr != 0;
}

void sampler_extent(struct space *s, u64 *reports, u64 *regions)
{
	spin_lock(&s->sampler.lock);
	*reports = s->sampler.sampler ? s->sampler.sampler->report.nr_reports : 0;
	*regions = s->sampler.sampler ? s->sampler.sampler->report.nr : 0;
	spin_unlock(&s->sampler.lock);
}

static bool region_find(const struct sampler_report *report, gfn_t g, struct sampler_region *out)
{
	for (u32 i = 0; i < report->nr; i++) {
		*out = report->region[i];
		if (g.v - out->first.v < out->npages)
			return true;
	}
	return false;
}

bool sampler_region_of(struct space *s, gfn_t g, struct sampler_region *out)
{
	bool found;

	spin_lock(&s->sampler.lock);
	found = s->sampler.sampler && region_find(&s->sampler.sampler->report, g, out);
	spin_unlock(&s->sampler.lock);
	return found;
}
