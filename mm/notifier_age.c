/*
 * The questions: how young a page is, and whether it was written. All else of the contract is in mm/notifier.c. An
 * image without aging has mm/no_aging.c in the place of this file.
 */
#include "mm/notifier.h"

#include "arch/hal.h"
#include "lib/profile.h"
#include "lib/string.h"
#include "mm/epoch.h"
#include "mm/ledger.h"
#include "mm/policy.h"
#include "mm/space.h"
#include "mm/trace.h"

/*
 * policy.locked: harvests as they were before they went without a lock, or as they would be beside readers, to
 * compare. A slow MMU takes the lock by itself in any case.
 */
enum harvest { HARVEST_WRITE, HARVEST_READ, HARVEST_LEAVE };

/*
 * The read side, so that a harvest has no part in the lock's order of arrival unless it must: a reader that
 * queues behind a writer is one that the next writer waits for. Tries with pauses of 1, 2, 4, ... and then
 * leaves, or queues after all.
 */
static enum harvest harvest_read_lock(struct notifier *n, bool fast_only)
{
	struct space_stats *stats = &n->space->stats;
	struct rwlock *lock = &n->space->mmu_lock;

	if (likely(read_trylock(lock)))
		return HARVEST_READ;
	a64_count(&stats->harvest_waits_total, 1);
	for (unsigned i = 0; i < NOTIFIER_READ_TRIES; i++) {
		for (unsigned pauses = 1u << i; pauses; pauses--)
			hal_pause();
		if (read_trylock(lock))
			return HARVEST_READ;
	}
	if (fast_only) {
		a64_count(&stats->harvest_left_total, 1);
		return HARVEST_LEAVE;
	}
	read_lock(lock);
	return HARVEST_READ;
}

/* Does a harvest of this MMU need no lock of ours? The rule, and meant to cost nothing. */
static inline bool is_lockless(const struct notifier *n)
{
	return likely(policy_ager() == POLICY_LOCKLESS) || !n->ops->has_fast_aging;
}

static enum harvest harvest_lock(struct notifier *n, bool fast_only)
{
	if (policy_ager() == POLICY_READ)
		return harvest_read_lock(n, fast_only);
	write_lock(&n->space->mmu_lock);
	return HARVEST_WRITE;
}

/* Who wants to write by now has waited for this harvest, and goes on waiting for it if it is read. */
static void harvest_unlock(struct notifier *n, enum harvest how)
{
	struct rwlock *lock = &n->space->mmu_lock;

	if (rw_writers(lock) > (how == HARVEST_WRITE))
		a64_count(&n->space->stats.harvest_delays_total, 1);
	if (how == HARVEST_WRITE)
		write_unlock(lock);
	else
		read_unlock(lock);
}

static inline unsigned age_answer(struct notifier *n, gfn_t first, unsigned npages, u64 *bitmap,
                                  unsigned flags, u64 *visited)
{
	unsigned result;

	profile_begin(n->ops->profile);
	result = n->ops->age(n, first, npages, bitmap, flags, visited);
	profile_end(n->ops->profile);
	return result;
}

/* Not inlined: or what is always done would save the registers that only this needs. */
static unsigned age_ask_locked(struct notifier *n, gfn_t first, unsigned npages, u64 *bitmap,
                               unsigned flags, u64 *visited) __attribute__((noinline));
static unsigned age_ask_locked(struct notifier *n, gfn_t first, unsigned npages, u64 *bitmap,
                               unsigned flags, u64 *visited)
{
	enum harvest how = harvest_lock(n, flags & NOTIFIER_FAST_ONLY);
	unsigned result;

	if (how == HARVEST_LEAVE) {
		memset(bitmap, 0, notifier_words(npages) * sizeof(u64));
		return 0;
	}
	result = age_answer(n, first, npages, bitmap, flags, visited);
	harvest_unlock(n, how);
	return result;
}

/* Asks one MMU; its answer takes the place of the question. */
static unsigned age_ask(struct notifier *n, gfn_t first, unsigned npages, u64 *bitmap,
                        unsigned flags, u64 *visited)
{
	unsigned result;

	if (is_lockless(n))
		result = age_answer(n, first, npages, bitmap, flags, visited);
	else
		result = age_ask_locked(n, first, npages, bitmap, flags, visited);
	if (!(result & NOTIFIER_YOUNG))
		return 0;
	return NOTIFIER_YOUNG | (n->ops->has_fast_aging ? NOTIFIER_WAS_FAST : 0);
}

/* The i-th MMU of the space: is it meant? */
static bool is_asked(struct notifier *n, u32 i, unsigned flags)
{
	if (flags & NOTIFIER_FIRST_MMU && i)
		return false;
	if (flags & NOTIFIER_FAST_ONLY && !n->ops->has_fast_aging)
		return false;
	return n->ops->populated(n);
}

/* One MMU of several, with a bitmap of its own: each is to see all that was asked. */
static unsigned age_one_mmu(struct notifier *n, gfn_t first, unsigned npages, const u64 *asked,
                            u64 *young, unsigned flags, u64 *visited)
{
	u64 bitmap[NOTIFIER_WORDS];
	unsigned result;

	for (unsigned i = 0; i < notifier_words(npages); i++)
		bitmap[i] = asked[i];
	result = age_ask(n, first, npages, bitmap, flags, visited);
	for (unsigned i = 0; i < notifier_words(npages); i++)
		young[i] |= bitmap[i];
	return result;
}

static unsigned age_all_mmus(struct space *s, gfn_t first, unsigned npages, u64 *bitmap,
                             unsigned flags, u64 *visited)
{
	u64 young[NOTIFIER_WORDS] = {0};
	unsigned result = 0;

	for (u32 i = 0; i < space_notifiers(s); i++) {
		struct notifier *n = s->notifier[i];

		if (!is_asked(n, i, flags))
			continue;
		result |= age_one_mmu(n, first, npages, bitmap, young, flags, visited);
		if (flags & NOTIFIER_TEST && result & NOTIFIER_YOUNG)
			break;
	}
	memcpy(bitmap, young, notifier_words(npages) * sizeof(u64));
	return result;
}

/* The rule: its answer is the answer, and is copied nowhere. */
static unsigned age_only_mmu(struct notifier *n, gfn_t first, unsigned npages, u64 *bitmap,
                             unsigned flags, u64 *visited)
{
	if (likely(is_asked(n, 0, flags)))
		return age_ask(n, first, npages, bitmap, flags, visited);
	memset(bitmap, 0, notifier_words(npages) * sizeof(u64));
	return 0;
}

/* `young`: the bitmap of the pages that were. */
static void trace_age(const struct space *s, gfn_t first, unsigned npages, unsigned flags,
                      unsigned result, const u64 *young, u64 visited)
{
	u64 n = 0;

	for (unsigned w = 0; w < notifier_words(npages); w++)
		for (u64 left = young[w]; left; left &= left - 1)
			n++;
	trace_event(TRACE_AGE, s->id, first,
	            npages | (u64)flags << TRACE_AGE_FLAGS | (u64)result << TRACE_AGE_RESULT,
	            n | visited << TRACE_AGE_VISITED);
}

static unsigned age_mmus(struct space *s, gfn_t first, unsigned npages, u64 *bitmap, unsigned flags,
                         u64 *visited)
{
	if (likely(space_notifiers(s) == 1))
		return age_only_mmu(s->notifier[0], first, npages, bitmap, flags, visited);
	return age_all_mmus(s, first, npages, bitmap, flags, visited);
}

/* For one of two consumers: what the other has found for it is part of the answer. */
static unsigned age_shared(struct space *s, struct ledger *l, gfn_t first, unsigned npages,
                           u64 *bitmap, unsigned flags, u64 *visited)
{
	u64 asked[NOTIFIER_WORDS];
	unsigned result;

	memcpy(asked, bitmap, notifier_words(npages) * sizeof(u64));
	result = age_mmus(s, first, npages, bitmap, flags, visited);
	return result | ledger_settle(l, first, npages, asked, bitmap, flags);
}

unsigned notifier_age(struct space *s, gfn_t first, unsigned npages, u64 *bitmap, unsigned flags,
                      u64 *visited)
{
	u64 before = *visited;
	struct ledger *ledger;
	unsigned result;

	profile_begin(PROFILE_ASK);
	DEBUG_ASSERT(npages && npages <= NOTIFIER_MAX_PAGES);
	DEBUG_ASSERT(!(flags & NOTIFIER_TEST) != !(flags & NOTIFIER_CLEAR));
	epoch_enter();
	ledger = aptr_load_acquire(&s->ledger); /* ord LG2: pairs with ord LG1 */
	if (likely(!ledger))
		result = age_mmus(s, first, npages, bitmap, flags, visited);
	else
		result = age_shared(s, ledger, first, npages, bitmap, flags, visited);
	epoch_exit();
	profile_end(PROFILE_ASK);
	if (trace_on())
		trace_age(s, first, npages, flags, result, bitmap, *visited - before);
	return result;
}

unsigned notifier_age_one(struct space *s, gfn_t g, unsigned flags)
{
	u64 bitmap[NOTIFIER_WORDS] = {1}, visited = 0;

	return notifier_age(s, g, 1, bitmap, flags, &visited);
}

void notifier_dirty(struct space *s, gfn_t first, unsigned npages, u64 *bitmap)
{
	u64 dirty[NOTIFIER_WORDS] = {0}, one[NOTIFIER_WORDS];

	DEBUG_ASSERT(npages && npages <= NOTIFIER_MAX_PAGES);
	epoch_enter();
	for (u32 i = 0; i < space_notifiers(s); i++) {
		struct notifier *n = s->notifier[i];

		if (!n->ops->dirty)
			continue;
		memcpy(one, bitmap, notifier_words(npages) * sizeof(u64));
		n->ops->dirty(n, first, npages, one);
		for (unsigned w = 0; w < notifier_words(npages); w++)
			dirty[w] |= one[w];
	}
	epoch_exit();
	memcpy(bitmap, dirty, notifier_words(npages) * sizeof(u64));
}

static bool range_young_locked(struct notifier *n, gfn_t first, u64 npages, unsigned flags)
        __attribute__((noinline));
static bool range_young_locked(struct notifier *n, gfn_t first, u64 npages, unsigned flags)
{
	enum harvest how = harvest_lock(n, flags & NOTIFIER_FAST_ONLY);
	bool young;

	if (how == HARVEST_LEAVE)
		return true;
	young = n->ops->range_young(n, first, npages, flags & NOTIFIER_CLEAR);
	harvest_unlock(n, how);
	return young;
}

static bool range_young_one(struct notifier *n, gfn_t first, u64 npages, unsigned flags)
{
	if (!n->ops->range_young)
		return true;
	if (is_lockless(n))
		return n->ops->range_young(n, first, npages, flags & NOTIFIER_CLEAR);
	return range_young_locked(n, first, npages, flags);
}

bool notifier_range_young(struct space *s, gfn_t first, u64 npages, unsigned flags)
{
	struct ledger *ledger;
	bool young;

	epoch_enter();
	ledger = aptr_load_acquire(&s->ledger); /* ord LG2: pairs with ord LG1 */
	young = ledger && ledger_range(ledger, first, npages, flags & NOTIFIER_CLEAR);
	for (u32 i = 0; i < space_notifiers(s); i++) {
		struct notifier *n = s->notifier[i];

		if (!is_asked(n, i, flags))
			continue;
		young |= range_young_one(n, first, npages, flags);
	}
	epoch_exit();
	return young;
}

bool notifier_any_fast(const struct space *s)
{
	for (u32 i = 0; i < space_notifiers(s); i++)
		if (s->notifier[i]->ops->has_fast_aging)
			return true;
	return false;
}

bool notifier_all_fast(const struct space *s)
{
	for (u32 i = 0; i < space_notifiers(s); i++)
		if (!s->notifier[i]->ops->has_fast_aging)
			return false;
	return true;
}
