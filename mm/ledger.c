/*
 * Why no touch is lost to either consumer. A touch sets Accessed in an entry. Somebody's question clears it by
 * compare-exchange, and
 *
 *   - it is the consumer's own: it has the touch in its answer;
 *   - it is the other's: that one's next step, in the same epoch section and before it answers, is to note the
 *     page here. From then on it is in the consumer's answer until the consumer takes it.
 *
 * Between the exchange and the note the touch is in the other's hands: a harvest that comes just then does not find
 * it, and the next one does. It is as if the touch had come a little later, which the bits themselves do as well.
 * When both find the bit set at once, one exchange fails, which means young to its owner too (hv/mmu/spte.h); each
 * notes it for the other. So a touch may count once more in the interval after its own, never less.
 *
 * The walk passes tables over whose upper entry was not accessed. The sampler clears leaves only, so the
 * upper bit stands until a pass clears it; but that pass may come between the exchange and the note, and the
 * next one would find the upper bit clear. So a bit for each table stands beside the notes and is asked like an
 * Accessed bit of the upper entry: it is set after the note, and cleared before the notes are read. A note that
 * is not found has its table's bit set afterwards: the next pass goes there.
 *
 * At the end of a ledger its notes are paid in: promoted at once, where a pass might have passed their table
 * over. A page that is touched before the end and again after it, within one pass's interval, counts twice in it.
 *
 * A note outlives its page: the page may be evicted or dropped meanwhile. The page that comes in its place
 * is young by the fault that brings it, which is what the note says.
 */
#include "mm/ledger.h"

#include "arch/hal.h"
#include "lib/string.h"
#include "mm/age.h"
#include "mm/epoch.h"
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "mm/notifier.h"
#include "mm/space.h"

/* A slot, widened to whole words and tables. */
struct piece {
	u64 base, npages;            /* the slot */
	a64 *owed[LEDGER_READERS];   /* bit per page, from the aligned start on */
	a64 *tables;                 /* bit per TABLE_PAGES: the generations are owed one of them */
	u64 owed_pages, table_pages; /* of the hypervisor, for each of these */
};

struct ledger {
	struct epoch_node node;
	u32 nr;
	struct piece piece[SLOTS_MAX];
};
_Static_assert(sizeof(struct ledger) <= PAGE_SIZE, "is given a page");

static u64 table_of(u64 page)
{
	return page / TABLE_PAGES;
}

/* Number of the first bit of `owed`: aligned so that tables and words begin together. */
static u64 start_of(const struct piece *p)
{
	return align_down(p->base, (u64)TABLE_PAGES);
}

/* --- making one ------------------------------------------------------------------------------------ */

static u64 pages_for_bits(u64 bits)
{
	return align_up(bits, (u64)PAGE_SIZE * 8) / (PAGE_SIZE * 8);
}

static void piece_free(struct piece *p)
{
	for (unsigned i = 0; i < LEDGER_READERS; i++)
		if (p->owed[i])
			hal_pages_free(p->owed[i], p->owed_pages);
	if (p->tables)
		hal_pages_free(p->tables, p->table_pages);
}

static bool piece_make(struct piece *p, u64 base, u64 npages)
{
	u64 tables;

	*p = (struct piece){.base = base, .npages = npages};
	tables = table_of(base + npages - 1) - table_of(base) + 1;
	p->owed_pages = pages_for_bits(tables * TABLE_PAGES);
	p->table_pages = pages_for_bits(tables);
	for (unsigned i = 0; i < LEDGER_READERS; i++)
		p->owed[i] = hal_pages_alloc(p->owed_pages);
	p->tables = hal_pages_alloc(p->table_pages);
	return p->owed[LEDGER_GENERATIONS] && p->owed[LEDGER_SAMPLER] && p->tables;
}

static void ledger_destroy(struct ledger *l)
{
	for (u32 i = 0; i < l->nr; i++)
		piece_free(&l->piece[i]);
	hal_pages_free(l, 1);
}

static u32 slots_now(struct space *s, struct slot *slot)
{
	const struct slots *slots;
	u32 nr;

	epoch_enter();
	slots = gfnmap_slots(s);
	nr = slots->nr;
	memcpy(slot, slots->slot, nr * sizeof(*slot));
	epoch_exit();
	return nr;
}

bool ledger_open(struct space *s)
{
	struct slot slot[SLOTS_MAX];
	u32 nr = slots_now(s, slot);
	struct ledger *l = hal_pages_alloc(1);
	bool made = l != NULL;

	for (u32 i = 0; made && i < nr; i++, l->nr = i)
		made = piece_make(&l->piece[i], slot[i].base.v, slot[i].npages);
	if (l && !made)
		ledger_destroy(l);
	/* ord LG1: all zero before anybody notes in it; pairs with ord LG2 */
	if (made)
		aptr_store_release(&s->ledger, l);
	return made;
}

/* --- notes ------------------------------------------------------------------------------------------ */

static struct piece *piece_of(struct ledger *l, u64 page)
{
	for (u32 i = 0; i < l->nr; i++)
		if (page - l->piece[i].base < l->piece[i].npages)
			return &l->piece[i];
	return NULL;
}

/* Bits that stand in one word of the ledger and in one of a bitmap. */
struct run {
	struct piece *piece;
	u64 word;       /* of the ledger */
	unsigned shift; /* in it */
	unsigned at, n; /* bits of the bitmap */
	u64 mask;       /* n ones */
};

/* The run that begins at bit `at` of a bitmap whose bit 0 is page `first`; piece NULL: not in the ledger. */
static struct run run_at(struct ledger *l, u64 first, unsigned at, unsigned npages)
{
	u64 page = first + at, from, end;
	struct run r = {.piece = piece_of(l, page), .at = at, .n = 1, .mask = 1};

	if (!r.piece)
		return r;
	from = page - start_of(r.piece);
	end = r.piece->base + r.piece->npages;
	r.word = from / 64;
	r.shift = (unsigned)(from % 64);
	r.n = min_of(64 - r.shift, 64 - at % 64);
	r.n = min_of(r.n, npages - at);
	r.n = (unsigned)min_of((u64)r.n, end - page);
	r.mask = r.n == 64 ? ~0ull : BIT(r.n) - 1;
	return r;
}

static u64 run_bits(const struct run *r, const u64 *bitmap)
{
	return bitmap[r->at / 64] >> r->at % 64 & r->mask;
}

/* ord LG3: the table's bit after the note; pairs with ord LG4: the notes are read after it was cleared */
static void note(const struct run *r, enum ledger_reader to, u64 bits)
{
	u64 table = r->word * 64 / TABLE_PAGES;

	if (!bits)
		return;
	a64_fetch_or(&r->piece->owed[to][r->word], bits << r->shift);
	if (to == LEDGER_GENERATIONS)
		a64_fetch_or(&r->piece->tables[table / 64], BIT(table % 64));
}

/* What of `asked` is owed; forgotten with `take`. A look first: most of the time there is nothing. */
static u64 owed(const struct run *r, enum ledger_reader to, u64 asked, bool take)
{
	a64 *where = &r->piece->owed[to][r->word];
	u64 found = a64_load(where) & asked << r->shift;

	if (found && take)
		found &= a64_fetch_and(where, ~found);
	return found >> r->shift;
}

void ledger_owe(struct ledger *l, enum ledger_reader to, gfn_t first, unsigned npages,
                const u64 *young)
{
	struct run r;

	for (unsigned at = 0; at < npages; at += r.n) {
		r = run_at(l, first.v, at, npages);
		if (r.piece)
			note(&r, to, run_bits(&r, young));
	}
}

unsigned ledger_settle(struct ledger *l, gfn_t first, unsigned npages, const u64 *asked, u64 *young,
                       unsigned flags)
{
	enum ledger_reader me = flags & NOTIFIER_SAMPLER ? LEDGER_SAMPLER : LEDGER_GENERATIONS;
	bool take = flags & NOTIFIER_CLEAR;
	unsigned result = 0;
	struct run r;

	for (unsigned at = 0; at < npages; at += r.n) {
		u64 mine;

		r = run_at(l, first.v, at, npages);
		if (!r.piece)
			continue;
		mine = owed(&r, me, run_bits(&r, asked), take);
		if (take)
			note(&r, me == LEDGER_SAMPLER ? LEDGER_GENERATIONS : LEDGER_SAMPLER,
			     run_bits(&r, young));
		young[at / 64] |= mine << at % 64;
		if (mine)
			result = NOTIFIER_YOUNG | NOTIFIER_WAS_FAST;
	}
	return result;
}

/* Bits first .. first + n - 1; forgotten with `clear`. ord LG4: before the notes are read; pairs with ord LG3 */
static bool tables_any(struct piece *p, u64 first, u64 n, bool clear)
{
	for (u64 i = first; i < first + n; i++) {
		if (!(a64_load(&p->tables[i / 64]) & BIT(i % 64)))
			continue;
		if (clear)
			a64_fetch_and(&p->tables[i / 64], ~BIT(i % 64));
		return true;
	}
	return false;
}

bool ledger_range(struct ledger *l, gfn_t first, u64 npages, bool clear)
{
	struct piece *p = piece_of(l, first.v);

	if (!p)
		return false;
	return tables_any(p, table_of(first.v) - table_of(p->base), npages / TABLE_PAGES,
	                  clear && npages == TABLE_PAGES);
}

/* --- the end of one --------------------------------------------------------------------------------- */

/* A page that was touched again since is left to the harvest that finds its bit: it counts once. */
static void pay_page(struct space *s, gfn_t g, struct gen_batch *batch)
{
	u64 one[NOTIFIER_WORDS] = {1};

	if (notifier_age_one(s, g, NOTIFIER_TEST) & NOTIFIER_YOUNG)
		return;
	epoch_enter();
	age_promote(s, g, 1, one, batch);
	epoch_exit();
}

/* Pays the generations what stands in one word. */
static void pay_word(struct space *s, const struct piece *p, u64 word, struct gen_batch *batch)
{
	u64 young = a64_load(&p->owed[LEDGER_GENERATIONS][word]), from = start_of(p) + word * 64;

	for (; young; young &= young - 1)
		pay_page(s, gfn(from + (unsigned)__builtin_ctzll(young)), batch);
}

static void pay(struct space *s, const struct piece *p)
{
	struct gen_batch batch = {.promoted = 0};
	u64 words = (p->base + p->npages - start_of(p) + 63) / 64;

	for (u64 word = 0; word < words; word++)
		pay_word(s, p, word, &batch);
	a64_count(&s->stats.promoted_total, batch.promoted);
	gen_batch_flush(&s->lru, &batch);
}

static void grace_over(struct epoch_node *node)
{
	(void)node;
}

/*
 * Whoever loaded the ledger before it went has left after the grace period, and so have its notes come here.
 * Since then the generations have the bits for themselves.
 */
void ledger_close(struct space *s)
{
	struct ledger *l = aptr_load_acquire(&s->ledger); /* ord LG2 */

	if (!l)
		return;
	aptr_store_release(&s->ledger, NULL); /* ord LG1 */
	epoch_defer(&l->node, grace_over);
	epoch_barrier();
	for (u32 i = 0; i < l->nr; i++)
		pay(s, &l->piece[i]);
	ledger_destroy(l);
}

void ledger_free(struct space *s)
{
	struct ledger *l = aptr_load_acquire(&s->ledger); /* ord LG2 */

	if (l)
		ledger_destroy(l);
	aptr_store_release(&s->ledger, NULL); /* ord LG1 */
}
