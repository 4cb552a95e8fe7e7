/*
 * Walkers of a pass take blocks from one cursor, so that two of them cost one walk. A block is what a slot
 * has of one second-level table. They take WALK_TAKE at a time, because a table without a young page is
 * harvested in the time that a cache line takes from CPU to CPU, and walk what they took to the end: so
 * the cursor still says which blocks are or will be walked. The pass a cursor belongs to stands in its upper half, so that a late
 * walker of an old pass takes nothing from the new one.
 *
 *   walk_cursor   63:24 max_seq that the pass supersedes   23 doubt   22:0 next block
 *
 * Whoever finds no block left advances the generation, even if another walker still works on its last
 * block: what that one promotes goes to the newest generation all the same.
 *
 * Skipping what was not touched. Hardware that has Accessed bits sets them in every entry that it walks
 * through, so the entry above a table says whether anything below was walked to since that bit was cleared.
 * The walk asks the entry above 512 tables (1 GiB), then the one above the table (2 MiB), clearing both, and
 * goes on below only if they were set. Two rules make the answer good:
 *
 *   - The upper bit is cleared before what is below it is harvested. An access in between sets both again
 *     and is found by the next pass; the other way round it would be harvested nowhere.
 *   - An entry is asked only if all that it covers is this slot's: otherwise the walk of one slot would
 *     clear what the other's depends on. And a clear bit of 1 GiB is believed only if the pass before this
 *     one came to its end: a pass cut short has cleared the bit and left tables under it unharvested. That
 *     is the doubt in the cursor, found by who opens a pass: the cursor of the last one says how far it came.
 *     The filter (below) of such a pass is not believed either: tables it did not come to are missing.
 *
 * Skipping what is not worth it. A table that was harvested and had less than one young page in eight (age_dense)
 * costs more to read than it is good for: the evictor finds its few young pages one by one. So each pass
 * leaves a Bloom filter to the next (mm/bloom.h), with the tables that it found dense or did not look at
 * because nothing was touched; the evictor's look-around puts those back that became dense. With a false
 * positive a table is read for nothing, and that is all.
 *
 * What remains are translations and upper entries that hardware still has cached and walks through without
 * setting anything: see docs/decisions.md, 18.
 */
#include "mm/walk.h"

#include "arch/hal.h"
#include "mm/age.h"
#include "mm/bloom.h"
#include "mm/epoch.h"
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "mm/notifier.h"
#include "mm/policy.h"
#include "mm/space.h"

#define CURSOR_BITS  24
#define CURSOR_DOUBT BIT(23)
#define BLOCK_MASK   BITS(22, 0)
#define BLOCK_END    BIT(22)

#define GIB_PAGES ((u64)TABLE_PAGES * TABLE_PAGES)

struct walk {
	struct space *space;
	u64 max_seq;
	bool force;
	bool doubt;     /* the pass before was cut short: it has left more than it says */
	unsigned flags; /* for notifier_age() and notifier_range_young() */
	u64 next, end;  /* blocks taken and not yet walked */
	struct gen_batch batch;
	struct age_result *result;
};

struct block {
	u64 nr;
	gfn_t first;
	unsigned npages;
	u64 left; /* pages from `first` to the end of the slot */
};

/* --- who takes what -------------------------------------------------------------------------------- */

static u64 slot_blocks(const struct slot *slot)
{
	u64 end = slot->base.v + slot->npages;

	return (end + TABLE_PAGES - 1) / TABLE_PAGES - slot->base.v / TABLE_PAGES;
}

/* Bounds of the n-th block of the space: a table's worth of pages, cut to its slot. */
static bool block_bounds(struct space *s, u64 n, struct block *b)
{
	const struct slots *slots = gfnmap_slots(s);

	b->nr = n;
	for (u32 i = 0; i < slots->nr; i++) {
		u64 start = slots->slot[i].base.v, end = start + slots->slot[i].npages;
		u64 table = start / TABLE_PAGES + n;

		if (n >= slot_blocks(&slots->slot[i])) {
			n -= slot_blocks(&slots->slot[i]);
			continue;
		}
		start = max_of(start, table * TABLE_PAGES);
		b->first = gfn(start);
		b->npages = (unsigned)(min_of(end, (table + 1) * TABLE_PAGES) - start);
		b->left = end - start;
		return true;
	}
	return false;
}

/* Have all blocks of the pass been taken that the cursor tells of? */
static bool pass_complete(struct space *s, u64 cursor)
{
	const struct slots *slots = gfnmap_slots(s);
	u64 blocks = 0;

	for (u32 i = 0; i < slots->nr; i++)
		blocks += slot_blocks(&slots->slot[i]);
	return (cursor & BLOCK_MASK) >= blocks;
}

/* The next blocks of the pass that nobody took yet; false when the pass is history. */
static bool blocks_take(struct walk *w)
{
	struct space *s = w->space;
	u64 cursor = a64_load(&s->walk_cursor), next;

	do {
		u64 pass = cursor >> CURSOR_BITS;

		if (pass > w->max_seq)
			return false;
		next = pass == w->max_seq ? cursor : w->max_seq << CURSOR_BITS;
		/* A cursor of zero is from before the first pass: nothing has been cleared. */
		if (pass != w->max_seq && cursor && !pass_complete(s, cursor))
			next |= CURSOR_DOUBT;
		/* All of them have been taken: it goes no further, or it might reach the doubt. */
		if (next & BLOCK_END)
			return false;
		next += WALK_TAKE;
	} while (!a64_cas(&s->walk_cursor, &cursor, next));
	w->end = next & BLOCK_MASK;
	w->next = w->end - WALK_TAKE;
	w->doubt = next & CURSOR_DOUBT;
	return true;
}

/* One block of those, taking more if there is none. */
static bool block_take(struct walk *w, u64 *block)
{
	if (w->next == w->end && !blocks_take(w))
		return false;
	*block = w->next++;
	return true;
}

/* Leaves nothing to take before block `to` in this pass, for its other walkers as well. */
static void blocks_skip(struct walk *w, u64 to)
{
	a64 *where = &w->space->walk_cursor;
	u64 cursor = a64_load(where);

	while (cursor >> CURSOR_BITS == w->max_seq && (cursor & BLOCK_MASK) < to &&
	       !a64_cas(where, &cursor, (cursor & ~BLOCK_MASK) | to))
		;
	if (w->next < to)
		w->next = min_of(to, w->end);
}

/* --- what is worth while --------------------------------------------------------------------------- */

static u64 table_key(gfn_t g)
{
	return g.v / TABLE_PAGES;
}

/* Not looked at is not the same as found sparse: the next pass may look. */
static void tables_unjudged(struct walk *w, gfn_t first, unsigned tables)
{
	for (unsigned i = 0; i < tables; i++)
		(void)bloom_add(&w->space->bloom, w->max_seq + 1, table_key(first) + i);
}

/* The entry above 512 tables, asked by who takes the first of them; leaves them all out if it says no. */
static bool gib_untouched(struct walk *w, const struct block *b)
{
	if (b->first.v % GIB_PAGES || b->left < GIB_PAGES)
		return false;
	w->result->upper++;
	if (notifier_range_young(w->space, b->first, GIB_PAGES, w->flags) || w->force || w->doubt)
		return false;
	w->result->skipped_nonleaf += TABLE_PAGES;
	tables_unjudged(w, b->first, TABLE_PAGES);
	blocks_skip(w, b->nr + TABLE_PAGES);
	return true;
}

static bool table_untouched(struct walk *w, const struct block *b)
{
	w->result->upper++;
	if (notifier_range_young(w->space, b->first, TABLE_PAGES, w->flags) || w->force)
		return false;
	w->result->skipped_nonleaf++;
	tables_unjudged(w, b->first, 1);
	return true;
}

/* Found sparse, and nobody has found it dense since. Its upper bit stays: nothing was harvested. */
static bool table_sparse(struct walk *w, const struct block *b)
{
	if (w->force || w->doubt || bloom_test(&w->space->bloom, w->max_seq, table_key(b->first)))
		return false;
	w->result->skipped_bloom++;
	return true;
}

static void harvest(struct walk *w, const struct block *b)
{
	unsigned batch = a32_load(&policy.batch), piece = min_of(batch ? batch : 1, b->npages);
	struct age_result *r = w->result;
	u64 young = 0;

	for (unsigned done = 0; done < b->npages; done += piece)
		young += age_harvest(w->space, gfn_add(b->first, done),
		                     min_of(piece, b->npages - done), w->flags, &w->batch,
		                     &r->visited);
	r->tables++;
	r->young += young;
	if (age_dense(young, b->npages))
		(void)bloom_add(&w->space->bloom, w->max_seq + 1, table_key(b->first));
}

static void walk_block(struct walk *w, const struct block *b)
{
	bool ask = b->npages == TABLE_PAGES && policy_has(POLICY_NONLEAF);

	if (ask && gib_untouched(w, b))
		return;
	if (table_sparse(w, b))
		return;
	if (ask && table_untouched(w, b))
		return;
	harvest(w, b);
}

/* --- the walk -------------------------------------------------------------------------------------- */

/*
 * What the walker that takes the first block does for all of them; false: nothing is to be walked. Then the
 * next pass has no filter, and walks what it likes.
 */
static bool pass_open(struct walk *w)
{
	struct space *s = w->space;

	if (!walk_cost_pays(s, w->force))
		return false;
	/* Asked once: the answer is good for one pass. */
	if (!s->ops->ran(s) && !w->force)
		return false;
	bloom_reset(&s->bloom, w->max_seq + 1);
	return true;
}

/* One block; false when there is none left. */
static bool walk_next(struct walk *w)
{
	struct space *s = w->space;
	struct block b;
	u64 nr;

	if (!block_take(w, &nr))
		return false;
	if (!nr && !pass_open(w)) {
		blocks_skip(w, BLOCK_END);
		return false;
	}
	if (!block_bounds(s, nr, &b))
		return false;
	walk_block(w, &b);
	return true;
}

static void walk_flush(struct walk *w)
{
	if (!w->batch.promoted)
		return;
	w->result->promoted += w->batch.promoted;
	gen_batch_flush(&w->space->lru, &w->batch);
}

bool walk_wanted(const struct space *s)
{
	u32 mode = a32_load(&s->walk);

	if (!policy_has(POLICY_WALK) || mode == WALK_OFF)
		return false;
	return mode != WALK_FAST || notifier_any_fast(s);
}

void walk_settle(struct space *s)
{
	if (unlikely(a32_load(&s->walk) == WALK_ACCURATE))
		flush_wait(s, flush_request(s));
}

static unsigned walk_flags(u32 mode)
{
	if (unlikely(mode != WALK_FAST))
		return NOTIFIER_CLEAR;
	return NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY |
	       (policy_has(POLICY_SECONDARY) ? 0 : NOTIFIER_FIRST_MMU);
}

void walk_space(struct space *s, u64 max_seq, bool force, struct age_result *result)
{
	u32 mode = a32_load(&s->walk);
	struct walk w = {
	        .space = s,
	        .max_seq = max_seq,
	        .force = force || mode == WALK_ACCURATE,
	        .flags = walk_flags(mode),
	        .result = result,
	};
	bool more = true;

	while (more && (w.next < w.end || a64_load(&s->lru.max_seq) == max_seq) &&
	       !a32_load(&s->dying)) {
		epoch_enter();
		more = walk_next(&w);
		epoch_exit();
		if (!more || w.batch.promoted >= GEN_MAX_BATCH)
			walk_flush(&w);
	}
	walk_flush(&w);
}
