/* What the guest's tables say about an entry of a shadow page, and reading them where they are. */
#include "hv/mmu/shadow_core.h"

#include "arch/hal.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/space.h"

#define CR0_PG   BIT(31)
#define CR4_PSE  BIT(4)
#define CR4_PAE  BIT(5)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)

/* The guest's state again, as far as the meaning of an entry depends on it. */
static struct gwalk_state state_of(const struct shadow *sh, u32 role)
{
	enum shadow_mode mode = role_mode(role);
	u32 limits = a32_load(&sh->limits);

	return (struct gwalk_state){
	        .cr0 = CR0_PG,
	        .cr4 = (mode == SHADOW_32BIT ? 0 : CR4_PAE) | (role & ROLE_PSE ? CR4_PSE : 0),
	        .efer = (mode == SHADOW_LONG ? EFER_LMA : 0) | (role & ROLE_NXE ? EFER_NXE : 0),
	        .phys_bits = (u8)limits,
	        .page_1g = limits & SHADOW_PAGE_1G,
	};
}

/* What the entry allows of what those above it do. */
static u32 access_of(u32 role, u64 entry)
{
	u32 access = role & ROLE_ACCESS;

	if (!(entry & GWALK_ENTRY_W))
		access &= ~(u32)ROLE_W;
	if (!(entry & GWALK_ENTRY_U))
		access &= ~(u32)ROLE_U;
	if (role & ROLE_NXE && entry & GWALK_ENTRY_NX)
		access &= ~(u32)ROLE_X;
	return access;
}

static u32 child_role(u32 role, u32 access)
{
	return (role_level(role) - 1) | (role & (ROLE_MODE | ROLE_SWITCHES)) | access;
}

static struct shadow_want want_table(const struct shadow_page *sp, unsigned i, u64 table,
                                     u32 access)
{
	u32 part = role_mode(sp->role) == SHADOW_32BIT ? i % 2 : 0;

	return (struct shadow_want){
	        .kind = SHADOW_TABLE,
	        .gfn = gpa_gfn(gpa(table)),
	        .role = child_role(sp->role, access) | part << ROLE_QUADRANT_SHIFT,
	};
}

/* A page of more than 4 KiB: by direct pages. One of 4 MiB is two of 2 MiB. */
static struct shadow_want want_large(const struct shadow_page *sp, unsigned i, u64 page, u64 entry,
                                     u32 access)
{
	u64 half = role_mode(sp->role) == SHADOW_32BIT ? i % 2 * TABLE_PAGES : 0;
	u64 dirty = entry & GWALK_ENTRY_D ? ROLE_DIRTY : 0;

	return (struct shadow_want){
	        .kind = SHADOW_TABLE,
	        .gfn = gfn(gpa_gfn(gpa(page)).v + half),
	        .role = child_role(sp->role, access) | (u32)(ROLE_DIRECT | dirty),
	};
}

/* Without CR0.WP, supervisor mode writes its own pages whatever W says, and users' pages in a form of their own. */
static struct shadow_want want_leaf(gfn_t g, u32 role, u32 access, bool dirty)
{
	bool free = dirty && !(role & ROLE_WP);

	if (free && !(access & ROLE_U))
		access |= ROLE_W;
	return (struct shadow_want){
	        .kind = SHADOW_LEAF,
	        .gfn = g,
	        .access = dirty ? access : access & ~(u32)ROLE_W,
	        .kernel_writes = free && !(access & ROLE_W),
	};
}

/* 32-bit paging has no table at level 3: the four quarters of the one at level 2 stand in ours. */
static bool is_top_of_32bit(u32 role)
{
	return role_mode(role) == SHADOW_32BIT && role_level(role) == 3;
}

static struct shadow_want want_quarter(const struct shadow_page *sp, unsigned i)
{
	return (struct shadow_want){
	        .kind = i < 4 ? SHADOW_TABLE : SHADOW_NOTHING,
	        .gfn = sp->gfn,
	        .role = child_role(sp->role, sp->role & ROLE_ACCESS) | i << ROLE_QUADRANT_SHIFT,
	};
}

struct shadow_want shadow_want(const struct shadow *sh, const struct shadow_page *sp, unsigned i,
                               u64 entry)
{
	const struct gwalk_state state = state_of(sh, sp->role);
	unsigned level = role_level(sp->role);
	bool bare = role_mode(sp->role) == SHADOW_PAE && level == 3;
	u32 access = bare ? sp->role & ROLE_ACCESS : access_of(sp->role, entry);
	u64 address;

	if (is_top_of_32bit(sp->role))
		return want_quarter(sp, i);
	if (!bare && !(entry & GWALK_ENTRY_A)) /* to be set by the access that makes it ours */
		return (struct shadow_want){.kind = SHADOW_NOTHING};
	switch (gwalk_entry(&state, level, entry, &address)) {
	case GWALK_TABLE:
		return want_table(sp, i, address, access);
	case GWALK_PAGE:
		if (level > 1)
			return want_large(sp, i, address, entry, access);
		return want_leaf(gpa_gfn(gpa(address)), sp->role, access, entry & GWALK_ENTRY_D);
	default:
		return (struct shadow_want){.kind = SHADOW_NOTHING};
	}
}

struct shadow_want shadow_want_direct(const struct shadow_page *sp, unsigned i)
{
	unsigned level = role_level(sp->role);
	gfn_t g = gfn_add(sp->gfn, (u64)i << 9 * (level - 1));

	if (level == 1)
		return want_leaf(g, sp->role, sp->role & ROLE_ACCESS, sp->role & ROLE_DIRTY);
	return (struct shadow_want){
	        .kind = SHADOW_TABLE,
	        .gfn = g,
	        .role = child_role(sp->role, sp->role & ROLE_ACCESS) |
	                (sp->role & (u32)(ROLE_DIRECT | ROLE_DIRTY)),
	};
}

bool shadow_guest_entry(const struct shadow_page *sp, unsigned i, gpa_t *at, unsigned *bytes)
{
	unsigned level = role_level(sp->role), quadrant = role_quadrant(sp->role);
	u64 table = gfn_gpa(sp->gfn).v;

	*bytes = 8;
	if (role_mode(sp->role) == SHADOW_32BIT) {
		*bytes = 4;
		*at = gpa(table + (level == 1 ? quadrant * TABLE_PAGES + i
		                              : quadrant * (TABLE_PAGES / 2) + i / 2) *
		                          4);
		return level < 3;
	}
	*at = gpa(table + i * 8);
	if (role_mode(sp->role) == SHADOW_PAE && level == 3)
		*at = gpa(table + quadrant * 32 + i * 8);
	return shadow_mirrors(sp);
}

u64 shadow_rights(const struct shadow_want *want, u32 role, bool kernel_form)
{
	u64 rights = SPTE_R;

	if (want->access & ROLE_X)
		rights |= SPTE_X;
	if (kernel_form) /* no user: so SMEP no longer forbids supervisor mode to execute it */
		return (rights | SPTE_W) & ~(role & ROLE_SMEP ? SPTE_X : 0ull);
	if (want->access & ROLE_W)
		rights |= SPTE_W;
	return rights | (want->access & ROLE_U ? SPTE_U : 0);
}

bool shadow_agrees(const struct shadow *sh, const struct shadow_want *want, u32 role, u64 spte)
{
	const struct spte_format *f = sh->format;
	const struct shadow_page *child;
	u64 has, may;

	if (want->kind == SHADOW_TABLE) {
		child = shadow_child(sh, spte);
		return child->gfn.v == want->gfn.v && child->role == want->role;
	}
	if (want->kind != SHADOW_LEAF ||
	    frame_gfn(frame_at(frame_of_pfn(spte_pfn(f, spte)))).v != want->gfn.v)
		return false;
	has = spte_saved_rights(f, spte);
	may = shadow_rights(want, role, false);
	/* Fewer rights will do, for a fault adds them; but without U, SMAP and SMEP allow what they forbid with it. */
	if (!(has & ~may) && !((has ^ may) & SPTE_U))
		return true;
	return want->kernel_writes && !(has & ~shadow_rights(want, role, true));
}

/* --- guest memory, in place ------------------------------------------------------------------------ */

bool shadow_has(struct shadow *sh, gfn_t g)
{
	return gfnmap_word(sh->notifier.space, g) != NULL;
}

/* In nobody's hands. */
u32 shadow_resident_now(struct shadow *sh, gfn_t g)
{
	const a64 *where = gfnmap_word(sh->notifier.space, g);
	u64 word = where ? a64_load_acquire(where) : 0; /* ord M5: pairs with ord M4 */

	if (gfn_word_tag(word) != GFN_RESIDENT || word & GFN_BUSY)
		return FRAME_NONE;
	return gfn_word_frame(word);
}

/* No invalidation has begun: who wants to take it away has to begin one, and takes the MMU lock for it. */
u32 shadow_resident(struct shadow *sh, gfn_t g)
{
	struct space *s = sh->notifier.space;

	if (unlikely(invalidate_retry(s, a64_load(&s->inv.seq), g)))
		return FRAME_NONE;
	return shadow_resident_now(sh, g);
}

/* The guest's other vCPUs may write it at any time: one load. */
bool shadow_read_entry(struct shadow *sh, gpa_t at, unsigned bytes, u64 *entry)
{
	u32 frame = shadow_resident(sh, gpa_gfn(at));
	u8 *p;

	*entry = 0;
	if (frame == FRAME_NONE)
		return false;
	p = (u8 *)frame_ptr(frame) + at.v % PAGE_SIZE;
	*entry = bytes == 8 ? a64_load((a64 *)(void *)p) : a32_load((a32 *)(void *)p);
	return true;
}
