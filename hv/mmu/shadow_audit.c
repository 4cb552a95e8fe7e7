/* The shadow MMU's share of the audit: reverse maps against entries, entries against the gfn map, the counts. */
#include "hv/mmu/shadow.h"

#include "arch/hal.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/space.h"

#define AUDIT_MAX_LINES 8u

struct shadow_count {
	struct shadow *sh;
	u64 faults, pages, leaves, mapped;
};

static void audit_fault(struct shadow_count *c, u64 page, u64 spte, const char *what)
{
	if (c->faults++ < AUDIT_MAX_LINES)
		hal_log(HAL_ERROR, "audit: %s: shadow: gfn %#llx, entry %#llx: %s",
		        c->sh->notifier.space->name, (unsigned long long)page,
		        (unsigned long long)spte, what);
}

/* Leaves by page of the guest. */
static void audit_rmaps(struct shadow_count *c, const struct shadow_slot *slot)
{
	const struct spte_format *f = c->sh->format;

	for (u64 i = 0; i < slot->npages; i++) {
		u64 g = slot->base.v + i, word = gfnmap_word(c->sh->notifier.space, gfn(g))->raw;
		struct rmap_iter it;

		rmap_for_each(&it, rmap_word(&slot->rmap[i]), entry)
		{
			u64 spte = a64_load(entry);

			c->mapped++;
			if (!spte_is_leaf(f, 1, spte))
				audit_fault(c, g, spte, "a reverse map leads to no leaf");
			else if (gfn_word_tag(word) != GFN_RESIDENT ||
			         frame_pfn(gfn_word_frame(word)).v != spte_pfn(f, spte).v)
				audit_fault(c, g, spte, "mapped, but not to the page's frame");
			else if (spte_saved_rights(f, spte) & SPTE_W &&
			         shadow_tracks(c->sh, gfn(g)))
				audit_fault(c, g, spte, "a tracked table may be written");
		}
	}
}

static void audit_page(struct shadow_count *c, const struct shadow_page *sp)
{
	unsigned level = role_level(sp->role);

	c->pages++;
	if (!(a64_load(&frame_at(sp->frame)->state) & FRAME_TABLE) ||
	    frame_at(sp->frame)->table != sp)
		audit_fault(c, sp->gfn.v, sp->frame, "a shadow page in a frame that is no table's");
	for (unsigned i = 0; i < TABLE_PAGES; i++) {
		u64 spte = a64_load(&sp->entry[i]);

		if (!spte_valid(c->sh->format, level, spte))
			audit_fault(c, sp->gfn.v, spte, "no valid encoding");
		else if (!spte_is_empty(spte) && level == 1)
			c->leaves++;
		else if (!spte_is_empty(spte) &&
		         !rmap_has(rmap_word(&shadow_page_of(
		                                      hal_frame_ptr(spte_pfn(c->sh->format, spte)))
		                                      ->parents),
		                   &sp->entry[i]))
			audit_fault(c, sp->gfn.v, spte, "a child that does not know its parent");
	}
}

u64 shadow_audit(struct notifier *n)
{
	struct shadow_count c = {.sh = shadow_of(n)};

	epoch_enter();
	write_lock(&n->space->mmu_lock);
	for (u32 i = 0; i < c.sh->nr_slots; i++)
		audit_rmaps(&c, &c.sh->slot[i]);
	for (const struct shadow_page *sp = c.sh->oldest; sp; sp = sp->newer)
		audit_page(&c, sp);
	write_unlock(&n->space->mmu_lock);
	epoch_exit();
	if (c.leaves != c.mapped || c.leaves != a64_load(&c.sh->leaves))
		audit_fault(&c, c.leaves, c.mapped, "leaves found, mapped and counted differ");
	if (c.pages != a64_load(&c.sh->pages))
		audit_fault(&c, c.pages, a64_load(&c.sh->pages), "pages found and counted differ");
	return c.faults;
}
