#include "hv/mmu/shadow.h"

#include "arch/hal.h"
#include "hv/mmu/shadow_core.h"
#include "hv/mmu/tdp.h"
#include "lib/profile.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/space.h"

static u64 pages_for(u64 n, u64 bytes)
{
	return (n * bytes + PAGE_SIZE - 1) / PAGE_SIZE;
}

static bool shadow_populated(struct notifier *n)
{
	return a64_load(&shadow_of(n)->leaves) != 0;
}

static bool shadow_slot_fits(struct notifier *n, gfn_t first, u64 npages)
{
	const struct shadow_window *w = &shadow_of(n)->window;
	u64 at = first.v - w->first.v;

	return at < w->npages && npages <= w->npages - at;
}

/* Aging is fast where entries have Accessed bits that hardware sets; else it costs the guest a fault for each page. */
#define SHADOW_OPS(fast)                                                                    \
	{                                                                                   \
		.name = "shadow", .profile = PROFILE_RMAP, .has_fast_aging = (fast),        \
		.protects = true, .late_slots = true, .age = shadow_age, .zap = shadow_zap, \
		.shrink = shadow_shrink, .populated = shadow_populated,                     \
		.slot_fits = shadow_slot_fits, .audit = shadow_audit,                       \
	}
static const struct notifier_ops ops_ad = SHADOW_OPS(true);
static const struct notifier_ops ops_track = SHADOW_OPS(false);

static u64 mirrored_pages(const struct shadow_slot *slot)
{
	return pages_for(SHADOW_SLOT_WORDS(slot->npages), sizeof(*slot->mirrored));
}

static void add_slot(struct shadow *sh, gfn_t base, u64 npages)
{
	sh->slot[sh->nr_slots++] = (struct shadow_slot){.base = base, .npages = npages};
}

static bool make_slots(struct shadow *sh, struct space *s)
{
	const struct slots *slots;

	if (sh->window.npages)
		add_slot(sh, sh->window.first, sh->window.npages);
	epoch_enter();
	slots = gfnmap_slots(s);
	for (u32 i = 0; i < slots->nr; i++)
		add_slot(sh, slots->slot[i].base, slots->slot[i].npages);
	epoch_exit();
	for (u32 i = 0; i < sh->nr_slots; i++) {
		struct shadow_slot *slot = &sh->slot[i];

		slot->rmap = hal_pages_alloc(pages_for(slot->npages, sizeof(*slot->rmap)));
		slot->mirrored = hal_pages_alloc(mirrored_pages(slot));
		if (!slot->rmap || !slot->mirrored)
			return false;
	}
	return true;
}

static bool make_pages(struct shadow *sh)
{
	for (sh->hash_bits = 6; (1ull << sh->hash_bits) < sh->limit; sh->hash_bits++)
		;
	sh->hash = hal_pages_alloc(pages_for(1ull << sh->hash_bits, sizeof(*sh->hash)));
	sh->structs = hal_pages_alloc(pages_for(sh->limit, sizeof(*sh->structs)));
	if (!sh->hash || !sh->structs)
		return false;
	for (u64 i = sh->limit; i-- > 0;) {
		sh->structs[i].older = sh->unused;
		sh->unused = &sh->structs[i];
	}
	return true;
}

static void free_all(struct shadow *sh)
{
	for (u32 i = 0; i < sh->nr_slots; i++) {
		struct shadow_slot *slot = &sh->slot[i];

		if (slot->rmap)
			hal_pages_free(slot->rmap, pages_for(slot->npages, sizeof(*slot->rmap)));
		if (slot->mirrored)
			hal_pages_free(slot->mirrored, mirrored_pages(slot));
	}
	if (sh->hash)
		hal_pages_free(sh->hash, pages_for(1ull << sh->hash_bits, sizeof(*sh->hash)));
	if (sh->structs)
		hal_pages_free(sh->structs, pages_for(sh->limit, sizeof(*sh->structs)));
	sh->nr_slots = 0;
	sh->hash = NULL;
	sh->structs = NULL;
}

bool shadow_create(struct shadow *sh, struct space *s, const struct spte_format *format,
                   struct tdp *tdp, struct shadow_window window)
{
	*sh = (struct shadow){
	        .notifier = {.ops = spte_has_dirty(format) ? &ops_ad : &ops_track, .space = s},
	        .format = format,
	        .tdp = tdp,
	        .window = window,
	        .limit = max_of(s->pages / SHADOW_PAGES_PART, (u64)SHADOW_PAGES_MIN),
	        .dead = FRAME_NONE,
	        .leaving = FRAME_NONE,
	        .roots_gen = {1},
	};
	if (!make_slots(sh, s) || !make_pages(sh)) {
		free_all(sh);
		return false;
	}
	if (tdp)
		tdp->shadow = sh;
	space_add_notifier(s, &sh->notifier);
	return true;
}

void shadow_destroy(struct shadow *sh)
{
	struct space *s = sh->notifier.space;

	DEBUG_ASSERT(!a64_load(&sh->leaves));
	write_lock(&s->mmu_lock);
	while (sh->oldest)
		shadow_kill(sh, sh->oldest);
	write_unlock(&s->mmu_lock);
	shadow_reap(sh);
	rmap_pool_destroy(&sh->pool);
	epoch_barrier();
	free_all(sh);
}
