/*
 * Owns the slots of a space. Readers are inside the epoch and see one published array or the next, never a
 * mixture; words stay where they are as long as a reader that found their slot is inside.
 */
#include "mm/gfnmap.h"

#include "arch/hal.h"
#include "lib/lock.h"
#include "mm/epoch.h"
#include "mm/space.h"

static_assert(sizeof(struct slots) <= PAGE_SIZE, "an array of slots is one page");

/* Words of a bitmap with a bit for each page. */
static u64 bitmap_words(u64 npages)
{
	return align_up(npages, 64ull) / 64;
}

static u64 word_pages(u64 npages)
{
	return align_up((npages + 2 * bitmap_words(npages)) * sizeof(a64), (u64)PAGE_SIZE) >>
	       PAGE_SHIFT;
}

const struct slots *gfnmap_slots(struct space *s)
{
	static const struct slots none;
	/* ord M1: the array is complete; pairs with ord M2 */
	const struct slots *slots = aptr_load_acquire(&s->slots);

	DEBUG_ASSERT(epoch_active() || spin_held(&s->slots_lock));
	return slots ? slots : &none;
}

const struct slot *gfnmap_slot(struct space *s, gfn_t g)
{
	const struct slots *slots = gfnmap_slots(s);

	/* From the last, for that is where most of the memory is. */
	for (u32 i = slots->nr; i-- > 0;)
		if (likely(g.v - slots->slot[i].base.v < slots->slot[i].npages))
			return &slots->slot[i];
	return NULL;
}

a64 *gfnmap_word(struct space *s, gfn_t g)
{
	const struct slot *slot = gfnmap_slot(s, g);

	return slot ? &slot->word[g.v - slot->base.v] : NULL;
}

/* The first resident page at or behind the n-th of the slots, up to the end of them. */
static bool resident_from(const struct slots *slots, u64 n, gfn_t *out)
{
	for (u32 i = 0; i < slots->nr; i++) {
		const struct slot *slot = &slots->slot[i];

		for (; n < slot->npages; n++) {
			if (gfn_word_tag(a64_load(&slot->word[n])) != GFN_RESIDENT)
				continue;
			*out = gfn_add(slot->base, n);
			return true;
		}
		n -= slot->npages;
	}
	return false;
}

bool gfnmap_pick_resident(struct space *s, u64 random, gfn_t *out)
{
	const struct slots *slots;
	u64 pages = 0;
	bool found;

	epoch_enter();
	slots = gfnmap_slots(s);
	for (u32 i = 0; i < slots->nr; i++)
		pages += slots->slot[i].npages;
	found = pages &&
	        (resident_from(slots, random % pages, out) || resident_from(slots, 0, out));
	epoch_exit();
	return found;
}

static void slots_free(struct epoch_node *node)
{
	hal_pages_free(container_of(node, struct slots, node), 1);
}

/* Replaces the published array. slots_lock held. */
static void slots_publish(struct space *s, struct slots *next)
{
	struct slots *old = aptr_load_acquire(&s->slots); /* ord M1 */

	/* ord M2: words and array are filled in before anybody finds them; pairs with ord M1 */
	aptr_store_release(&s->slots, next);
	if (old)
		epoch_defer(&old->node, slots_free);
}

/* A copy of `from` with the piece in its place; false if it overlaps or there are too many. */
static bool slots_with(const struct slots *from, const struct slot *piece, struct slots *to)
{
	u32 n = 0;
	bool placed = false;

	if (from->nr == SLOTS_MAX)
		return false;
	for (u32 i = 0; i < from->nr; i++) {
		const struct slot *have = &from->slot[i];

		if (have->base.v < piece->base.v + piece->npages &&
		    piece->base.v < have->base.v + have->npages)
			return false;
		if (!placed && piece->base.v < have->base.v) {
			to->slot[n++] = *piece;
			placed = true;
		}
		to->slot[n++] = *have;
	}
	if (!placed)
		to->slot[n++] = *piece;
	to->nr = n;
	return true;
}

bool gfnmap_add(struct space *s, gfn_t base, u64 npages)
{
	struct slot piece = {.base = base, .npages = npages};
	struct slots *next;
	bool added = false;

	if (!npages || base.v + npages < base.v || base.v + npages > 1ull << GFN_PAYLOAD_BITS)
		return false;
	next = hal_pages_alloc(1);
	piece.word = hal_pages_alloc(word_pages(npages));
	if (next && piece.word) {
		piece.dirty = piece.word + npages;
		piece.noted = piece.dirty + bitmap_words(npages);
		spin_lock(&s->slots_lock);
		added = slots_with(gfnmap_slots(s), &piece, next);
		if (added) {
			slots_publish(s, next);
			s->pages += npages;
		}
		spin_unlock(&s->slots_lock);
	}
	if (!added) {
		if (next)
			hal_pages_free(next, 1);
		if (piece.word)
			hal_pages_free(piece.word, word_pages(npages));
	}
	epoch_poll();
	return added;
}

bool gfnmap_close(struct space *s, gfn_t base)
{
	struct slots *next = hal_pages_alloc(1);
	const struct slots *old;
	bool closed = false;

	if (!next)
		return false;
	spin_lock(&s->slots_lock);
	old = gfnmap_slots(s);
	next->nr = old->nr;
	for (u32 i = 0; i < old->nr; i++) {
		bool it = old->slot[i].base.v == base.v && !old->slot[i].closed;

		next->slot[i] = old->slot[i];
		next->slot[i].closed |= it;
		closed |= it;
	}
	if (closed)
		slots_publish(s, next);
	spin_unlock(&s->slots_lock);
	if (closed)
		epoch_barrier(); /* who found it open has brought its page in */
	else
		hal_pages_free(next, 1);
	return closed;
}

void gfnmap_remove(struct space *s, gfn_t base)
{
	struct slots *next = hal_pages_alloc(1);
	const struct slots *old;
	struct slot gone = {.word = NULL};

	/* Without memory for another array the slot simply stays, empty. */
	if (!next)
		return;
	spin_lock(&s->slots_lock);
	old = gfnmap_slots(s);
	for (u32 i = 0; i < old->nr; i++) {
		if (old->slot[i].base.v == base.v)
			gone = old->slot[i];
		else
			next->slot[next->nr++] = old->slot[i];
	}
	ASSERT(gone.word);
	slots_publish(s, next);
	s->pages -= gone.npages;
	spin_unlock(&s->slots_lock);
	epoch_barrier(); /* the old array is deferred: readers of its words are gone after it */
	hal_pages_free(gone.word, word_pages(gone.npages));
}

void gfnmap_destroy(struct space *s)
{
	struct slots *slots = aptr_load_acquire(&s->slots); /* ord M1 */

	if (!slots)
		return;
	for (u32 i = 0; i < slots->nr; i++)
		hal_pages_free(slots->slot[i].word, word_pages(slots->slot[i].npages));
	hal_pages_free(slots, 1);
}

bool gfnmap_busy_try(a64 *where, u64 *word)
{
	if (*word & GFN_BUSY || gfn_word_tag(*word) == GFN_EVICTING)
		return false;
	/* ord M3: what the last holder did is seen; pairs with ord M4 */
	return a64_cas(where, word, *word | GFN_BUSY);
}

void gfnmap_busy_end(a64 *where, u64 word)
{
	DEBUG_ASSERT(!(word & GFN_BUSY) && a64_load(where) & GFN_BUSY);
	/* ord M4: contents of the frame and its owner come before the word that names it; pairs with ord M3, ord M5 */
	a64_store_release(where, word);
}

bool gfnmap_busy_resident(struct space *s, gfn_t g, u64 *word)
{
	DEBUG_ASSERT(!epoch_active());
	for (;; hal_pause()) {
		bool resident, taken = false;
		a64 *where;

		epoch_enter();
		where = gfnmap_word(s, g);
		*word = where ? a64_load(where) : 0; /* ordered by the exchange (ord M3) */
		resident = gfn_word_tag(*word) == GFN_RESIDENT;
		if (resident)
			taken = gfnmap_busy_try(where, word);
		epoch_exit();
		if (!resident || taken)
			return taken;
	}
}

/* The slot stays as long as a word of it is BUSY. */
void gfnmap_busy_give(struct space *s, gfn_t g, u64 word)
{
	epoch_enter();
	gfnmap_busy_end(gfnmap_word(s, g), word);
	epoch_exit();
}
