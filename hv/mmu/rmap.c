#include "hv/mmu/rmap.h"

#include "arch/hal.h"

/* Waits until it is not locked, reading only, and takes it then; 0: it is empty. */
static u64 word_lock(struct rmap *r)
{
	u64 word = a64_load(&r->word);

	lock_check(r, LOCK_RMAP, RMAP_LOCK_NAME);
	while (word) {
		if (word & RMAP_LOCKED) {
			hal_pause();
			word = a64_load(&r->word);
			continue;
		}
		/* ord RM2: what the last holder did to the chain is seen (acquire half of the exchange). */
		if (a64_cas(&r->word, &word, word | RMAP_LOCKED)) {
			lock_taken(r, LOCK_RMAP, RMAP_LOCK_NAME);
			break;
		}
	}
	return word;
}

/* `was_locked`: not if it was found empty. */
static void word_unlock(struct rmap *r, u64 word, bool was_locked)
{
	DEBUG_ASSERT(!(word & RMAP_LOCKED));
	DEBUG_ASSERT(was_locked == !!(a64_load(&r->word) & RMAP_LOCKED));
	if (was_locked)
		lock_released(r, RMAP_LOCK_NAME);
	/* ord RM1: the chain, and the table that the entry is in, before the word. Pairs with ord RM2. */
	a64_store_release(&r->word, word);
}

u64 rmap_lock(struct rmap *r)
{
	return word_lock(r);
}

void rmap_unlock(struct rmap *r, u64 word)
{
	word_unlock(r, word, a64_load(&r->word) & RMAP_LOCKED);
}

u64 rmap_lock_readonly(struct rmap *r)
{
	return word_lock(r);
}

static u64 chain_word(struct rmap_desc *head)
{
	return (u64)(uintptr_t)head | RMAP_CHAIN;
}

bool rmap_has(u64 word, const a64 *entry)
{
	struct rmap_iter it;

	rmap_for_each(&it, word, one)
	{
		if (one == entry)
			return true;
	}
	return false;
}

/* Does one more entry take a descriptor? */
static bool needs_desc(u64 word)
{
	if (!word)
		return false;
	return !(word & RMAP_CHAIN) || rmap_word_chain(word)->count == RMAP_DESC_ENTRIES;
}

/* The word with one entry more; the lock held. `fresh`: a descriptor, if needs_desc(). */
static u64 word_add(u64 word, struct rmap_desc *fresh, a64 *entry)
{
	struct rmap_desc *head = word & RMAP_CHAIN ? rmap_word_chain(word) : NULL;

	if (!word)
		return (u64)(uintptr_t)entry;
	if (!head) {
		fresh->entry[0] = (a64 *)(uintptr_t)word;
		fresh->count = fresh->total = 1;
		head = fresh;
	} else if (fresh) {
		fresh->next = head;
		fresh->total = head->total;
		head = fresh;
	}
	head->entry[head->count++] = entry;
	head->total++;
	return chain_word(head);
}

bool rmap_add(struct rmap_pool *pool, struct rmap_cache *cache, struct rmap *r, a64 *entry)
{
	struct rmap_desc *fresh = NULL;
	u64 word = rmap_word(r);

	DEBUG_ASSERT(!((uintptr_t)entry & (RMAP_CHAIN | RMAP_LOCKED)) && entry);
	DEBUG_ASSERT(!rmap_has(word, entry));
	if (needs_desc(word)) {
		fresh = rmap_pool_take(pool, cache);
		if (!fresh)
			return false;
	}
	word = rmap_lock(r);
	rmap_unlock(r, word_add(word, fresh, entry));
	return true;
}

/* Where the entry stands in the chain; the map has it. */
static a64 **chain_find(struct rmap_desc *desc, const a64 *entry)
{
	for (; desc; desc = desc->next)
		for (u32 i = 0; i < desc->count; i++)
			if (desc->entry[i] == entry)
				return &desc->entry[i];
	hal_panic("entry %p is not in its reverse map", (const void *)entry);
}

/*
 * The word with one entry less; the lock held. The first descriptor's last entry fills the hole, so that all others stay
 * full. *spare: a descriptor that is not needed any more.
 */
static u64 word_remove(u64 word, const a64 *entry, struct rmap_desc **spare)
{
	struct rmap_desc *head = rmap_word_chain(word);
	a64 **hole;

	if (!(word & RMAP_CHAIN)) {
		ASSERT((a64 *)(uintptr_t)word == entry);
		return 0;
	}
	hole = chain_find(head, entry);
	*hole = head->entry[--head->count];
	head->total--;
	if (head->total > 1 && head->count)
		return word;
	*spare = head;
	return head->total > 1 ? chain_word(head->next) : (u64)(uintptr_t)head->entry[0];
}

void rmap_remove(struct rmap_pool *pool, struct rmap *r, a64 *entry)
{
	struct rmap_desc *spare = NULL;
	u64 word = rmap_lock(r);

	rmap_unlock(r, word_remove(word, entry, &spare));
	if (spare)
		rmap_pool_give(pool, spare);
}

void rmap_unlock_empty(struct rmap_pool *pool, struct rmap *r, u64 word)
{
	struct rmap_desc *desc = word & RMAP_CHAIN ? rmap_word_chain(word) : NULL;

	if (!word)
		return;
	rmap_unlock(r, 0);
	while (desc) {
		struct rmap_desc *next = desc->next;

		rmap_pool_give(pool, desc);
		desc = next;
	}
}
