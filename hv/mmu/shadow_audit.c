/*
 * The shadow MMU's share of the audit: every entry is in exactly one reverse map, that of the page it maps, and every
 * reverse map names entries that map its page; what leads to a shadow page is what its `parents` say; no entry that may
 * be written maps a table that is tracked, nor a page that counts as clean; I6; and the counters.
 */
#include "hv/mmu/shadow_core.h"

#include "arch/hal.h"
#include "hv/mmu/tdp_iter.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/space.h"

#define AUDIT_MAX_LINES 8u

struct shadow_count {
	struct shadow *sh;
	u64 pages, leaves, tracked, unsynced;
	u64 mapped; /* entries that reverse maps name */
	u64 faults;
};

static void audit_fault(struct shadow_count *c, gfn_t g, u64 value, const char *what)
{
	if (c->faults++ < AUDIT_MAX_LINES)
		hal_log(HAL_ERROR, "audit: %s: shadow: gfn %#llx, %#llx: %s",
		        c->sh->notifier.space->name, (unsigned long long)g.v,
		        (unsigned long long)value, what);
}

static unsigned times_in(const struct rmap *r, const a64 *entry)
{
	struct rmap_iter it;
	unsigned n = 0;

	rmap_for_each(&it, rmap_word(r), one)
	{
		n += one == entry;
	}
	return n;
}

/* --- shadow pages and their entries --- */

static void audit_writable(struct shadow_count *c, gfn_t g, u64 spte, u32 frame)
{
	if (!(a64_load(&frame_at(frame)->state) & FRAME_DIRTY))
		audit_fault(c, g, spte, "may be written, but its frame counts as clean");
	if (shadow_tracks(c->sh, g))
		audit_fault(c, g, spte, "may be written, but holds a table that is tracked");
}

static void audit_leaf(struct shadow_count *c, const a64 *entry, u64 spte)
{
	struct space *s = c->sh->notifier.space;
	const struct spte_format *f = c->sh->format;
	u32 frame = frame_of_pfn(spte_pfn(f, spte));
	struct rmap *r;
	a64 *where;
	gfn_t g;

	c->leaves++;
	if (frame == FRAME_NONE) {
		audit_fault(c, gfn(0), spte, "maps no frame of a guest");
		return;
	}
	g = frame_gfn(frame_at(frame));
	where = gfnmap_word(s, g);
	if (frame_space_id(frame_at(frame)) != s->id || !where ||
	    gfn_word_tag(a64_load(where)) != GFN_RESIDENT ||
	    gfn_word_frame(a64_load(where)) != frame)
		audit_fault(c, g, spte, "mapped, but not resident there");
	r = shadow_rmap(c->sh, g);
	if (!r || times_in(r, entry) != 1)
		audit_fault(c, g, spte, "not once in the reverse map of its page");
	if (spte_is_tracked(f, spte) &&
	    frame_of_pfn(pfn((spte & SPTE_ADDRESS) >> PAGE_SHIFT)) != FRAME_NONE)
		audit_fault(c, g, spte, "I6: not present, but names a frame");
	if (spte_saved_rights(f, spte) & SPTE_W)
		audit_writable(c, g, spte, frame);
}

static void audit_table(struct shadow_count *c, const struct shadow_page *sp, const a64 *entry,
                        u64 spte)
{
	u32 frame = frame_of_pfn(spte_pfn(c->sh->format, spte));
	const struct shadow_page *child = frame == FRAME_NONE ? NULL : frame_at(frame)->table;

	if (!child || child->frame != frame)
		audit_fault(c, sp->gfn, spte, "leads to what is no shadow page");
	else if (role_level(child->role) + 1 != role_level(sp->role))
		audit_fault(c, sp->gfn, spte, "leads to a shadow page of another level");
	else if (times_in(&child->parents, entry) != 1)
		audit_fault(c, sp->gfn, spte, "not once among the parents of what it leads to");
}

static void audit_entry(struct shadow_count *c, const struct shadow_page *sp, const a64 *entry)
{
	unsigned level = role_level(sp->role);
	u64 spte = a64_load(entry);

	if (spte_is_empty(spte)) {
		if (spte != SPTE_EMPTY)
			audit_fault(c, sp->gfn, spte, "I6: not present, but not empty");
	} else if (!spte_valid(c->sh->format, level, spte)) {
		audit_fault(c, sp->gfn, spte, "no valid encoding");
	} else if (spte_is_table(c->sh->format, level, spte)) {
		audit_table(c, sp, entry, spte);
	} else if (level > 1) {
		audit_fault(c, sp->gfn, spte, "a leaf above level 1");
	} else {
		audit_leaf(c, entry, spte);
	}
}

/* Each entry of `parents` leads here. */
static void audit_parents(struct shadow_count *c, const struct shadow_page *sp)
{
	struct rmap_iter it;

	rmap_for_each(&it, rmap_word(&sp->parents), entry)
	{
		u64 spte = a64_load(entry);

		if (spte_is_empty(spte) ||
		    spte_pfn(c->sh->format, spte).v != frame_pfn(sp->frame).v)
			audit_fault(c, sp->gfn, spte, "a parent that leads elsewhere");
	}
}

/* A TDP beside us must not let the table be written either. */
static void audit_tracked(struct shadow_count *c, const struct shadow_page *sp)
{
	const struct tdp *t = c->sh->tdp;
	struct tdp_entry e;

	if (!t || !tdp_reaches(sp->gfn) || !shadow_tracks(c->sh, sp->gfn))
		return;
	e = tdp_find(t, sp->gfn);
	if (spte_is_leaf(t->format, e.level, e.seen) &&
	    spte_saved_rights(t->format, e.seen) & SPTE_W)
		audit_fault(c, sp->gfn, e.seen, "the TDP lets a tracked table be written");
}

static void audit_page(struct shadow_count *c, const struct shadow_page *sp)
{
	c->pages++;
	c->tracked += shadow_mirrors(sp);
	c->unsynced += sp->unsync;
	if (frame_at(sp->frame)->table != sp)
		audit_fault(c, sp->gfn, sp->frame, "a shadow page whose frame does not know it");
	for (unsigned i = 0; i < TABLE_PAGES; i++)
		audit_entry(c, sp, &sp->entry[i]);
	audit_parents(c, sp);
	audit_tracked(c, sp);
}

/* --- reverse maps --- */

/* Each entry it names is one of a shadow page of level 1, and maps the page. */
static void audit_named(struct shadow_count *c, gfn_t g, const a64 *entry)
{
	u32 table = frame_of_pfn(hal_ptr_pfn(entry)), frame;
	const struct shadow_page *sp = table == FRAME_NONE ? NULL : frame_at(table)->table;
	u64 spte;

	c->mapped++;
	if (!sp || sp->frame != table || role_level(sp->role) != 1) {
		audit_fault(c, g, table, "the reverse map names what is no entry");
		return;
	}
	spte = a64_load(entry);
	frame = spte_is_empty(spte) ? FRAME_NONE : frame_of_pfn(spte_pfn(c->sh->format, spte));
	if (frame == FRAME_NONE || frame_gfn(frame_at(frame)).v != g.v)
		audit_fault(c, g, spte, "the reverse map names an entry that maps another page");
}

static void audit_mirrored(struct shadow_count *c, const struct shadow_slot *slot, u64 page)
{
	gfn_t g = gfn_add(slot->base, page);
	bool mirrored = false;

	shadow_for_each_of(c->sh, sp, g) mirrored |= shadow_mirrors(sp);
	if (mirrored != (shadow_mirrored(slot, page) & 1))
		audit_fault(c, g, mirrored,
		            "a mirrored table that evictors do not know of, or the reverse");
}

static void audit_slot(struct shadow_count *c, const struct shadow_slot *slot)
{
	struct rmap_iter it;

	for (u64 i = 0; i < slot->npages; i++) {
		audit_mirrored(c, slot, i);
		if (a64_load(&slot->rmap[i].word) & RMAP_LOCKED)
			audit_fault(c, gfn_add(slot->base, i), 0, "the reverse map is locked");
		rmap_for_each(&it, rmap_word(&slot->rmap[i]), entry)
		{
			audit_named(c, gfn_add(slot->base, i), entry);
		}
	}
}

static void audit_count(struct shadow_count *c, u64 found, u64 counted, const char *what)
{
	if (found != counted)
		audit_fault(c, gfn(found), counted, what);
}

u64 shadow_audit(struct notifier *n)
{
	struct shadow *sh = shadow_of(n);
	struct shadow_count c = {.sh = sh};

	epoch_enter();
	write_lock(&n->space->mmu_lock);
	for (u64 b = 0; b < 1ull << sh->hash_bits; b++)
		for (const struct shadow_page *sp = sh->hash[b]; sp; sp = sp->hash_next)
			audit_page(&c, sp);
	for (u32 i = 0; i < sh->nr_slots; i++)
		audit_slot(&c, &sh->slot[i]);
	write_unlock(&n->space->mmu_lock);
	epoch_exit();
	audit_count(&c, c.pages, a64_load(&sh->pages), "pages found and counted differ");
	audit_count(&c, c.leaves, a64_load(&sh->leaves), "leaves found and counted differ");
	audit_count(&c, c.mapped, c.leaves, "entries in reverse maps, and leaves, differ");
	audit_count(&c, c.tracked, a64_load(&sh->tracked), "tables mirrored and counted differ");
	audit_count(&c, c.unsynced, a64_load(&sh->unsynced), "unsync pages and counted differ");
	return c.faults;
}
