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
#include "mm/space.h"
#include "mm/trace.h"

bool notifier_all_protect(const struct space *s)
{
	for (u32 i = 0; i < space_notifiers(s); i++)
		if (!s->notifier[i]->ops->protects)
			return false;
	return true;
}

bool notifier_may_add_slot(const struct space *s, gfn_t first, u64 npages)
{
	for (u32 i = 0; i < space_notifiers(s); i++) {
		struct notifier *n = s->notifier[i];

		if (!n->ops->late_slots ||
		    (n->ops->slot_fits && !n->ops->slot_fits(n, first, npages)))
			return false;
	}
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
	memset(bitmap, 0, notifier_words(npages) * sizeof(u64));
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
