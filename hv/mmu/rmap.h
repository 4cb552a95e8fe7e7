/*
 * Reverse maps: from a page of the guest to the shadow entries that map it. One word for each page, and one
 * for each shadow page, whose entries are those that lead to it.
 *
 *	word	0			nothing maps it
 *		address			the one entry that does
 *		address of a chain | 1	descriptors with up to 14 entries each, and how many there are
 *		... | 2			locked
 *
 * Two locks, and who takes which:
 *
 *	who			MMU lock	lock in the word
 *	adds, removes		write side	yes
 *	walks, MMU lock held	either side	no: nobody changes anything
 *	walks without it	-		yes: rmap_lock_readonly(), rmap_trylock_readonly()
 *
 * So the lock in the word stands between those who change a map and the walkers that hold no MMU lock, and there
 * alone. It is held for a walk of one page's entries. It is no reader-writer lock: two walkers exclude each other.
 * A walker may not change the map, and lets go with the word that it found.
 *
 * An empty word is never locked. Only who holds the MMU lock's write side fills it, and a walker that finds it
 * empty has nothing to do: no lock, no store, a clean cache line. rmap_lock() of an empty word therefore returns
 * at once; what makes it not empty is one store (ord RM1).
 *
 * What the lock protects: the chain, its descriptors, and that the tables with the entries it names are still
 * tables of this MMU. An entry leaves its map before its table is unlinked and freed, which takes this lock; so
 * a walker that has the lock reads no freed memory, whatever it finds in the entry. Descriptors are used again
 * at once. What it does not protect: the entries. Hardware sets bits in them, a fault restores them, and a zap
 * empties an entry before it takes it out of the map; a walker may see one that is empty, and changes one by
 * a compare-exchange of what it read (hv/mmu/spte.h). The words themselves stand in an array that goes with
 * the slots: a walker is in an epoch section.
 *
 * Waiting: who holds the lock waits for nobody. Who only wants to know what is quick tries once and leaves
 * (rmap_trylock_readonly()).
 *
 * The maps of shadow pages (their parents) are the same thing, but used under the MMU lock only.
 */
#pragma once

#include "arch/hal.h"
#include "hv/mmu/rmap_pool.h"
#include "lib/atomic.h"
#include "lib/lock.h"
#include "lib/types.h"
#include "lib/util.h"

struct rmap {
	a64 word;
};

#define RMAP_CHAIN  1ull
#define RMAP_LOCKED 2ull

#define RMAP_LOCK_NAME "reverse map" /* for the checks of debug builds */

#define RMAP_DESC_ENTRIES 14u
/* Only the first of a chain may have room. */
struct rmap_desc {
	struct rmap_desc *next;
	u32 count; /* entries here */
	u32 total; /* ... and in all that follow */
	a64 *entry[RMAP_DESC_ENTRIES];
};
static_assert(sizeof(struct rmap_desc) == RMAP_DESC_BYTES, "whole cache lines");

/* --- MMU lock held for writing --- */

/*
 * Takes the lock; returns the word without it. 0: it is empty, and not locked; rmap_unlock() fills it or does
 * nothing all the same.
 */
u64 rmap_lock(struct rmap *r) must_check;
void rmap_unlock(struct rmap *r, u64 word);
/*
 * Adds an entry that the map does not have yet; takes and drops the lock. False, and nothing changed: a descriptor
 * is needed, and neither pool nor cache has one.
 */
bool rmap_add(struct rmap_pool *pool, struct rmap_cache *cache, struct rmap *r,
              a64 *entry) must_check;
/* Takes an entry out that the map has. The entry was emptied before. */
void rmap_remove(struct rmap_pool *pool, struct rmap *r, a64 *entry);
/* Gives the chain of a locked word back and leaves the map empty: after a walk that emptied every entry. */
void rmap_unlock_empty(struct rmap_pool *pool, struct rmap *r, u64 word);

/* --- no MMU lock; in an epoch section --- */

/* Waits for the lock; the word without it, or 0: empty, not locked. Else rmap_unlock_readonly() with the same word. */
u64 rmap_lock_readonly(struct rmap *r) must_check;
/* Tries once. False: somebody has it. True with *word = 0: as above. Here to be compiled into the loop of an ager. */
static inline bool must_check rmap_trylock_readonly(struct rmap *r, u64 *word)
{
	*word = a64_load(&r->word);
	if (!*word)
		return true;
	/* ord RM2: what the last holder did to the chain is seen (acquire half of the exchange). */
	if (*word & RMAP_LOCKED || !a64_cas(&r->word, word, *word | RMAP_LOCKED))
		return false;
	lock_taken(r, LOCK_RMAP, RMAP_LOCK_NAME);
	return true;
}
static inline void rmap_unlock_readonly(struct rmap *r, u64 word)
{
	DEBUG_ASSERT(a64_load(&r->word) == (word | RMAP_LOCKED));
	lock_released(r, RMAP_LOCK_NAME);
	/* ord RM1: what was read of the chain was read before; pairs with ord RM2. */
	a64_store_release(&r->word, word);
}

/* --- walking: the lock, or the MMU lock, held --- */

/* The word as it is, for who holds the MMU lock. */
static inline u64 rmap_word(const struct rmap *r)
{
	return a64_load(&r->word) & ~RMAP_LOCKED;
}
static inline struct rmap_desc *rmap_word_chain(u64 word)
{
	return (struct rmap_desc *)(uintptr_t)(word & ~RMAP_CHAIN);
}
/* How many entries; of a word without its lock. */
static inline u64 rmap_word_count(u64 word)
{
	return word & RMAP_CHAIN ? rmap_word_chain(word)->total : word != 0;
}
/* MMU lock held. */
static inline u64 rmap_count(const struct rmap *r)
{
	return rmap_word_count(rmap_word(r));
}

struct rmap_iter {
	const struct rmap_desc *desc;
	u32 at;
};
static inline a64 *rmap_next(struct rmap_iter *it)
{
	while (it->desc && it->at == it->desc->count)
		*it = (struct rmap_iter){.desc = it->desc->next};
	return it->desc ? it->desc->entry[it->at++] : NULL;
}
static inline a64 *rmap_first(struct rmap_iter *it, u64 word)
{
	*it = (struct rmap_iter){.desc = NULL};
	if (!(word & RMAP_CHAIN))
		return (a64 *)(uintptr_t)word;
	it->desc = rmap_word_chain(word);
	return rmap_next(it);
}
/* The map must not change meanwhile; the entries may. */
#define rmap_for_each(it, word, entry) \
	for (a64 *entry = rmap_first(it, word); entry; entry = rmap_next(it))

/* Does the map have the entry? For assertions and the audit. */
bool rmap_has(u64 word, const a64 *entry);
