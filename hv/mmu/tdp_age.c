/*
 * Harvesting Accessed bits, without a lock.
 *
 * Why none is needed: aging neither makes nor removes a translation. Tables do not go away inside
 * the caller's epoch section, and an entry is changed by a single compare-exchange of the value that
 * was judged (hv/mmu/spte.h). So this never waits, nor makes a fault or a zap wait for more than a
 * cache line: FAST_ONLY and accurate are the same here.
 *
 * How it stays cheap: one descent for each leaf table; then eight entries at a time, which is a
 * cache line, are reduced to a mask of Accessed bits without a branch. Accessed is zero in every
 * entry that is not a present leaf, so that bit is the whole test. Only bits that are set lead to
 * an exchange.
 *
 * A translation that a TLB holds is not flushed: the page looks old until the entry leaves the TLB.
 */
#include "hv/mmu/tdp_ops.h"

#include "arch/hal.h"
#include "hv/mmu/tdp_iter.h"
#include "mm/epoch.h"

#define LINE_ENTRIES 8u

/* A bitmap of up to NOTIFIER_MAX_PAGES, addressed in pieces of up to LINE_ENTRIES bits. */
static u64 bits_get(const u64 *map, unsigned at, unsigned n)
{
	unsigned shift = at % 64;
	u64 bits = map[at / 64] >> shift;

	if (shift + n > 64)
		bits |= map[at / 64 + 1] << (64 - shift);
	return bits & (BIT(n) - 1);
}

static void bits_put(u64 *map, unsigned at, unsigned n, u64 bits)
{
	unsigned shift = at % 64;
	u64 mask = BIT(n) - 1;

	map[at / 64] = (map[at / 64] & ~(mask << shift)) | (bits << shift);
	if (shift + n > 64)
		map[at / 64 + 1] = (map[at / 64 + 1] & ~(mask >> (64 - shift))) |
		                   (bits >> (64 - shift));
}

struct age_walk {
	const struct spte_format *format;
	u64 accessed;   /* the format's bit ... */
	unsigned shift; /* ... and its place */
	u64 *bitmap;
	bool clear;
	bool young; /* at least one was */
	u64 visited;
};

/*
 * The mask of those of n entries that have Accessed set: each entry's bit comes to stand one place beside its
 * neighbour's, and all of them in the right place at the end. The bit is a parameter and not read from the
 * walk, which is in memory: that would be a second load for each entry.
 */
static inline u64 line_young(const a64 *entry, unsigned n, u64 accessed, unsigned shift)
{
	u64 young = 0;

#pragma GCC unroll 8
	for (unsigned i = n; i-- > 0;)
		young = young * 2 + (a64_load(&entry[i]) & accessed);
	return young >> shift;
}

/* All 64 were young: the rule in a table that is in use, and a loop without a search. */
static void age_all(const struct age_walk *w, a64 *entry)
{
#pragma GCC unroll 8
	for (unsigned i = 0; i < 64; i++)
		spte_age_bit(w->format, &entry[i], a64_load(&entry[i]));
}

/* Access tracking: each entry becomes another. */
static void track_young(const struct age_walk *w, a64 *entry, u64 young)
{
	for (; young; young &= young - 1) {
		a64 *at = &entry[__builtin_ctzll(young)];
		u64 seen = a64_load(at);

		/* Gone or aged by another meanwhile: it was young. */
		if (likely(seen & w->accessed))
			spte_age(w->format, 1, at, seen);
	}
}

/* Ages those entries of up to 64 that were seen young. Read again, they are in the cache. */
static inline void age_young(const struct age_walk *w, a64 *entry, u64 young)
{
	if (unlikely(!spte_has_dirty(w->format))) {
		track_young(w, entry, young);
		return;
	}
	if (young == ~0ull) {
		age_all(w, entry);
		return;
	}
	for (; young; young &= young - 1) {
		a64 *at = &entry[__builtin_ctzll(young)];

		spte_age_bit(w->format, at, a64_load(at));
	}
}

/* Part of a line, or a line whose bits are in two words. */
static void age_piece(struct age_walk *w, a64 *entry, unsigned bit, unsigned n)
{
	u64 asked = bits_get(w->bitmap, bit, n), young;

	if (!asked)
		return;
	young = asked & line_young(entry, n, w->accessed, w->shift);
	w->visited += n;
	bits_put(w->bitmap, bit, n, young);
	w->young |= young != 0;
	if (w->clear)
		age_young(w, entry, young);
}

/*
 * The young of eight lines. Not inlined: the loop has all registers to itself here, and costs a third more
 * where it has not.
 */
static u64 word_young(const a64 *entry, u64 accessed, unsigned shift) __attribute__((noinline));
static u64 word_young(const a64 *entry, u64 accessed, unsigned shift)
{
	u64 young = 0;

	for (unsigned i = 0; i < 64; i += LINE_ENTRIES)
		young |= line_young(&entry[i], LINE_ENTRIES, accessed, shift) << i;
	return young;
}

/* The young of those of eight lines in which any of 64 entries is asked for. */
static u64 lines_young(struct age_walk *w, const a64 *entry, u64 asked)
{
	u64 young = 0;

	for (unsigned i = 0; i < 64; i += LINE_ENTRIES) {
		if (!(asked >> i & (BIT(LINE_ENTRIES) - 1)))
			continue;
		young |= line_young(&entry[i], LINE_ENTRIES, w->accessed, w->shift) << i;
		w->visited += LINE_ENTRIES;
	}
	return young & asked;
}

/* Eight lines, whose bits are a whole word: the rule, when tables are walked. */
static void age_word(struct age_walk *w, a64 *entry, u64 *word)
{
	u64 asked = *word, young;

	if (likely(asked == ~0ull)) {
		young = word_young(entry, w->accessed, w->shift);
		w->visited += 64;
	} else {
		young = lines_young(w, entry, asked);
	}
	*word = young;
	w->young |= young != 0;
	age_young(w, entry, young);
}

/* Stops after a line with a young page if only asked to test; returns the pages dealt with. */
static unsigned age_table(struct age_walk *w, a64 *entry, unsigned bit, unsigned n)
{
	unsigned done = 0;

	while (done < n && (w->clear || !w->young)) {
		a64 *at = &entry[done];
		/* Whole lines of the table, but for the first and the last. */
		unsigned line = (unsigned)((uintptr_t)at / sizeof(*at)) % LINE_ENTRIES;
		unsigned piece = min_of(LINE_ENTRIES - line, n - done);

		if (w->clear && n - done >= 64 && !line && (bit + done) % 64 == 0) {
			age_word(w, at, &w->bitmap[(bit + done) / 64]);
			piece = 64;
		} else {
			age_piece(w, at, bit + done, piece);
		}
		done += piece;
	}
	return done;
}

static void bits_clear(u64 *map, unsigned at, unsigned n)
{
	for (unsigned i = 0; i < n; i += LINE_ENTRIES)
		bits_put(map, at + i, min_of(LINE_ENTRIES, n - i), 0);
}

static bool bits_any(const u64 *map, unsigned at, unsigned n)
{
	u64 any = 0;

	for (unsigned i = 0; i < n; i += LINE_ENTRIES)
		any |= bits_get(map, at + i, min_of(LINE_ENTRIES, n - i));
	return any;
}

/* One entry for all n pages: nothing there, or a large leaf. */
static void age_large(struct age_walk *w, const struct tdp_entry *e, unsigned bit, unsigned n)
{
	bool young = spte_is_leaf(w->format, e->level, e->seen) && spte_young(w->format, e->seen) &&
	             bits_any(w->bitmap, bit, n);

	if (!young)
		bits_clear(w->bitmap, bit, n);
	w->visited++;
	w->young |= young;
	if (young && w->clear)
		spte_age(w->format, e->level, e->at, e->seen);
}

unsigned tdp_age(struct notifier *notifier, gfn_t first, unsigned npages, u64 *bitmap,
                 unsigned flags, u64 *visited)
{
	struct tdp *t = tdp_of(notifier);
	struct age_walk w = {
	        .format = t->format,
	        .accessed = t->format->accessed,
	        .shift = (unsigned)__builtin_ctzll(t->format->accessed),
	        .bitmap = bitmap,
	        .clear = flags & NOTIFIER_CLEAR,
	};
	unsigned done = 0;

	DEBUG_ASSERT(epoch_active());
	DEBUG_ASSERT(npages && npages <= NOTIFIER_MAX_PAGES);
	DEBUG_ASSERT(!(flags & NOTIFIER_TEST) == !!(flags & NOTIFIER_CLEAR));
	while (done < npages && (w.clear || !w.young)) {
		gfn_t g = gfn_add(first, done);
		unsigned n = min_of(TABLE_PAGES - tdp_index(g, 1), npages - done);
		struct tdp_entry e;

		if (!tdp_reaches(g))
			break;
		e = tdp_find(t, g);
		if (e.level == 1) {
			done += age_table(&w, e.at, done, n);
		} else {
			age_large(&w, &e, done, n);
			done += n;
		}
	}
	bits_clear(bitmap, done, npages - done);
	*visited += w.visited;
	return w.young ? NOTIFIER_YOUNG | NOTIFIER_WAS_FAST : 0;
}

/*
 * Formats without the bit have none to tell of: there a page that has a copy is mapped read-only, and the
 * fault of its first write has made the frame dirty.
 */
void tdp_dirty(struct notifier *notifier, gfn_t first, unsigned npages, u64 *bitmap)
{
	struct tdp *t = tdp_of(notifier);
	const struct spte_format *f = t->format;
	struct tdp_entry e;

	DEBUG_ASSERT(epoch_active());
	DEBUG_ASSERT(tdp_index(first, 1) + npages <= TABLE_PAGES);
	if (!spte_has_dirty(f) || !tdp_reaches(first)) {
		bits_clear(bitmap, 0, npages);
		return;
	}
	e = tdp_find(t, first);
	for (unsigned i = 0; i < npages; i++) {
		u64 spte = e.level > 1 ? e.seen : a64_load(&e.at[i]);

		if (!spte_is_leaf(f, e.level, spte) || !spte_dirty(f, spte))
			bitmap[i / 64] &= ~BIT(i % 64);
	}
}

/*
 * A table's entry loses its Accessed bit here, and becomes a large leaf when its pages are collapsed. If the
 * exchange fails, that happened, or hardware set the bit again, or somebody else cleared it: what the answer
 * is worth then is decided by the value that was read, as with leaves. EPT: SDM 3C 28.3.5; NPT: APM 2 15.25.
 */
bool tdp_range_young(struct notifier *notifier, gfn_t first, u64 npages, bool clear)
{
	struct tdp *t = tdp_of(notifier);
	const struct spte_format *f = t->format;
	unsigned level = npages > TABLE_PAGES ? 3 : 2;
	struct tdp_entry e;

	DEBUG_ASSERT(epoch_active());
	DEBUG_ASSERT(npages == tdp_span(level) && !(first.v % npages));
	/* Access tracking takes no notice of how the leaf was reached. */
	if (!spte_has_dirty(f))
		return true;
	if (!tdp_reaches(first))
		return false;
	e = tdp_find_level(t, first, level);
	if (spte_is_empty(e.seen))
		return false;
	if (e.level != level || !spte_is_table(f, level, e.seen))
		return spte_young(f, e.seen); /* a large leaf, and age() clears those */
	if (!spte_young(f, e.seen))
		return false;
	if (clear)
		spte_age(f, level, e.at, e.seen);
	return true;
}
