/*
 * The invalidate protocol, why it is right: a fault snapshots `seq`, reads the gfn map, and installs under
 * the MMU lock. An eviction zaps and changes the gfn word between begin and end.
 *
 *   fault installs before begin    -> the zap finds the translation
 *   ... between begin and end      -> it sees in_progress (both are under the lock): starts over
 *   ... after end                  -> it sees seq changed, unless it took seq after end; then it read the
 *                                     gfn map after end as well (N1) and found the page on its way out
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

static u64 words_for(unsigned npages)
{
	return (npages + 63) / 64;
}

/*
 * policy.locked: harvests as they were before they went without a lock, or as they would be beside readers, to
 * compare. A slow MMU takes the lock by itself in any case.
 */
enum harvest { HARVEST_LOCKLESS, HARVEST_WRITE, HARVEST_READ, HARVEST_LEAVE };

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

static enum harvest harvest_lock_as_told(struct notifier *n, u32 how, bool fast_only)
{
	if (how == POLICY_READ)
		return harvest_read_lock(n, fast_only);
	write_lock(&n->space->mmu_lock);
	return HARVEST_WRITE;
}

static enum harvest harvest_lock(struct notifier *n, bool fast_only)
{
	u32 how = a32_load(&policy.locked);

	if (likely(how == POLICY_LOCKLESS || !n->ops->has_fast_aging))
		return HARVEST_LOCKLESS;
	return harvest_lock_as_told(n, how, fast_only);
}

/* Who wants to write by now has waited for this harvest, and goes on waiting for it if it is read. */
static void harvest_unlock(struct notifier *n, enum harvest how)
{
	struct rwlock *lock = &n->space->mmu_lock;

	if (likely(how == HARVEST_LOCKLESS))
		return;
	if (rw_writers(lock) > (how == HARVEST_WRITE))
		a64_count(&n->space->stats.harvest_delays_total, 1);
	if (how == HARVEST_WRITE)
		write_unlock(lock);
	else
		read_unlock(lock);
}

/* Asks one MMU; its answer takes the place of the question. */
static unsigned age_ask(struct notifier *n, gfn_t first, unsigned npages, u64 *bitmap,
                        unsigned flags, u64 *visited)
{
	enum harvest how = harvest_lock(n, flags & NOTIFIER_FAST_ONLY);
	unsigned result;

	if (unlikely(how == HARVEST_LEAVE)) {
		memset(bitmap, 0, words_for(npages) * sizeof(u64));
		return 0;
	}
	profile_begin(n->ops->profile);
	result = n->ops->age(n, first, npages, bitmap, flags, visited);
	profile_end(n->ops->profile);
	harvest_unlock(n, how);
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

	for (unsigned i = 0; i < words_for(npages); i++)
		bitmap[i] = asked[i];
	result = age_ask(n, first, npages, bitmap, flags, visited);
	for (unsigned i = 0; i < words_for(npages); i++)
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
	memcpy(bitmap, young, words_for(npages) * sizeof(u64));
	return result;
}

/* The rule: its answer is the answer, and is copied nowhere. */
static unsigned age_only_mmu(struct notifier *n, gfn_t first, unsigned npages, u64 *bitmap,
                             unsigned flags, u64 *visited)
{
	if (likely(is_asked(n, 0, flags)))
		return age_ask(n, first, npages, bitmap, flags, visited);
	memset(bitmap, 0, words_for(npages) * sizeof(u64));
	return 0;
}

/* `young`: the bitmap of the pages that were. */
static void trace_age(const struct space *s, gfn_t first, unsigned npages, unsigned flags,
                      unsigned result, const u64 *young, u64 visited)
{
	u64 n = 0;

	for (unsigned w = 0; w < words_for(npages); w++)
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

	memcpy(asked, bitmap, words_for(npages) * sizeof(u64));
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
		memcpy(one, bitmap, words_for(npages) * sizeof(u64));
		n->ops->dirty(n, first, npages, one);
		for (unsigned w = 0; w < words_for(npages); w++)
			dirty[w] |= one[w];
	}
	epoch_exit();
	memcpy(bitmap, dirty, words_for(npages) * sizeof(u64));
}

static bool range_young_one(struct notifier *n, gfn_t first, u64 npages, unsigned flags)
{
	enum harvest how;
	bool young;

	if (!n->ops->range_young)
		return true;
	how = harvest_lock(n, flags & NOTIFIER_FAST_ONLY);
	if (unlikely(how == HARVEST_LEAVE))
		return true;
	young = n->ops->range_young(n, first, npages, flags & NOTIFIER_CLEAR);
	harvest_unlock(n, how);
	return young;
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

bool notifier_all_protect(const struct space *s)
{
	for (u32 i = 0; i < space_notifiers(s); i++)
		if (!s->notifier[i]->ops->protects)
			return false;
	return true;
}

bool notifier_all_late_slots(const struct space *s)
{
	for (u32 i = 0; i < space_notifiers(s); i++)
		if (!s->notifier[i]->ops->late_slots)
			return false;
	return true;
}

bool notifier_all_log(const struct space *s)
{
	for (u32 i = 0; i < space_notifiers(s); i++)
		if (!s->notifier[i]->ops->logs)
			return false;
	return true;
}

void notifier_log_protect(struct space *s, gfn_t first, unsigned npages, u64 *bitmap)
{
	memset(bitmap, 0, words_for(npages) * sizeof(u64));
	epoch_enter();
	for (u32 i = 0; i < space_notifiers(s); i++)
		if (s->notifier[i]->ops->log_protect)
			s->notifier[i]->ops->log_protect(s->notifier[i], first, npages, bitmap);
	epoch_exit();
}

bool notifier_log_clean(struct space *s, gfn_t g)
{
	bool was = false;

	for (u32 i = 0; i < space_notifiers(s); i++)
		if (s->notifier[i]->ops->log_clean)
			was |= s->notifier[i]->ops->log_clean(s->notifier[i], g);
	return was;
}

void notifier_zap(struct space *s, gfn_t g, struct notifier_zap *result)
{
	*result = (struct notifier_zap){.mapped = false};
	for (u32 i = 0; i < space_notifiers(s); i++) {
		struct notifier_zap one = {.mapped = false};

		profile_begin(s->notifier[i]->ops->profile);
		s->notifier[i]->ops->zap(s->notifier[i], g, &one);
		profile_end(s->notifier[i]->ops->profile);
		result->mapped |= one.mapped;
		result->dirty |= one.dirty;
		result->young |= one.young;
	}
}

void notifier_split(struct space *s, gfn_t g)
{
	for (u32 i = 0; i < space_notifiers(s); i++)
		if (s->notifier[i]->ops->split)
			s->notifier[i]->ops->split(s->notifier[i], g);
}

bool notifier_may_map_huge(const struct space *s)
{
	return space_notifiers(s) == 1 && s->notifier[0]->ops->map_huge;
}

bool notifier_map_huge(struct space *s, gfn_t first, pfn_t head, void **table)
{
	struct notifier *n = s->notifier[0];

	return notifier_may_map_huge(s) && n->ops->map_huge(n, first, head, table);
}

void notifier_free_table(struct space *s, void *table)
{
	s->notifier[0]->ops->free_table(s->notifier[0], table);
}

u64 notifier_shrink(struct space *s, u64 want)
{
	u64 done = 0;

	for (u32 i = 0; i < space_notifiers(s) && done < want; i++)
		if (s->notifier[i]->ops->shrink)
			done += s->notifier[i]->ops->shrink(s->notifier[i], want - done);
	return done;
}

bool notifiers_know_dirty(const struct space *s)
{
	for (u32 i = 0; i < space_notifiers(s); i++)
		if (!s->notifier[i]->knows_dirty)
			return false;
	return true;
}

void invalidate_begin(struct space *s, gfn_t first, gfn_t last)
{
	struct invalidate *inv = &s->inv;

	write_lock(&s->mmu_lock);
	if (!inv->in_progress++) {
		inv->first = first;
		inv->last = last;
	} else {
		inv->first = gfn(min_of(inv->first.v, first.v));
		inv->last = gfn(max_of(inv->last.v, last.v));
	}
	write_unlock(&s->mmu_lock);
}

void invalidate_end(struct space *s, gfn_t first, gfn_t last)
{
	struct invalidate *inv = &s->inv;

	write_lock(&s->mmu_lock);
	DEBUG_ASSERT(inv->in_progress && inv->first.v <= first.v && last.v <= inv->last.v);
	/* ord N2: the gfn words changed before; pairs with ord N1 */
	a64_store_release(&inv->seq, a64_load(&inv->seq) + 1);
	inv->in_progress--;
	write_unlock(&s->mmu_lock);
}

u64 invalidate_seq(const struct space *s)
{
	return a64_load_acquire(&s->inv.seq); /* ord N1: pairs with ord N2 */
}

bool invalidate_retry_range(const struct space *s, u64 seq, gfn_t first, gfn_t last)
{
	const struct invalidate *inv = &s->inv;

	if (inv->in_progress && inv->first.v <= last.v && first.v <= inv->last.v)
		return true;
	return a64_load(&inv->seq) != seq;
}

bool invalidate_retry(const struct space *s, u64 seq, gfn_t g)
{
	return invalidate_retry_range(s, seq, g, g);
}

bool invalidate_quiet(const struct space *s, u64 seq)
{
	return !s->inv.in_progress && a64_load(&s->inv.seq) == seq;
}

u64 flush_request(struct space *s)
{
	/* ord N3: the entries are gone before a vCPU can read this generation; pairs with hv's ord F1, the guest entry */
	return a64_fetch_add(&s->flush.wanted, 1) + 1;
}

void flush_wait(struct space *s, u64 gen)
{
	u64 done;

	lock_assert_none();
	if (flush_is_done(s, gen))
		return;
	profile_begin(PROFILE_FLUSH);
	s->ops->shootdown(s, gen);
	profile_end(PROFILE_FLUSH);
	done = a64_load(&s->flush.done);
	/* ord N4: every vCPU has let go before the generation counts as done; pairs with ord N5 */
	while (done < gen && !a64_cas(&s->flush.done, &done, gen))
		;
	trace_event(TRACE_FLUSH, s->id, gfn(0), gen, 0);
}

bool flush_is_done(const struct space *s, u64 gen)
{
	return a64_load_acquire(&s->flush.done) >= gen; /* ord N5: pairs with ord N4 */
}
