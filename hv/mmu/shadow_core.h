/* What the files of the shadow MMU share. Everything: MMU lock held for writing, in an epoch section. */
#pragma once

#include "hv/gwalk.h"
#include "hv/mmu/shadow.h"
#include "hv/mmu/shadow_vcpu.h"
#include "lib/types.h"
#include "lib/util.h"

#define SHADOW_TOP 4u /* highest level */

/* --- shadow pages: shadow_page.c --- */

/* The page with this key, or NULL. */
struct shadow_page *shadow_find(const struct shadow *sh, gfn_t g, u32 role);
/*
 * Makes it, from a frame of the cache, which has one; there is room (shadow_make_room). If it mirrors a table that
 * was not tracked, it is from now on, and `ready` says which flush that takes.
 */
struct shadow_page *shadow_make(struct shadow *sh, struct shadow_cache *cache, gfn_t g, u32 role);
/* The page goes, with all that it maps and all that leads to it. */
void shadow_kill(struct shadow *sh, struct shadow_page *sp);
/* Empties one entry of a page, leaf or table; nothing if it is empty. */
void shadow_drop(struct shadow *sh, struct shadow_page *sp, a64 *entry);
/* The child that an entry leads to. */
struct shadow_page *shadow_child(const struct shadow *sh, u64 spte);
/* Room for what a fault may make: recycles pages, and ends unsync ones. */
void shadow_make_room(struct shadow *sh);
/* Gives up to n pages back, the least used first; how many. */
u64 shadow_recycle(struct shadow *sh, u64 n);
/* No lock held: the same, and frees them after the flush that takes. */
u64 shadow_shrink_used(struct shadow *sh, u64 want);
/* Marks a page as used now. */
static inline void shadow_use(struct shadow_page *sp)
{
	sp->used = true;
}

static inline bool role_is_root(u32 role)
{
	return role_level(role) == (role_mode(role) == SHADOW_LONG ? 4 : 3);
}
/* Does the page mirror a table of the guest? */
static inline bool shadow_mirrors(const struct shadow_page *sp)
{
	return !role_direct(sp->role);
}
#define shadow_for_each_of(sh, sp, g)                                                           \
	for (struct shadow_page *sp = (sh)->hash[shadow_bucket(sh, g)]; sp; sp = sp->hash_next) \
		if (sp->gfn.v == (g).v)
static inline u64 shadow_bucket(const struct shadow *sh, gfn_t g)
{
	return (g.v * 0x9e3779b97f4a7c15ull) >> (64 - sh->hash_bits);
}

/*
 * Frames of dead pages whose flush is done, linked, or FRAME_NONE; requests the flush for others. To be given to
 * shadow_free_dead() once the lock is dropped.
 */
u32 shadow_take_dead(struct shadow *sh);
void shadow_free_dead(struct shadow *sh, u32 frames);
/* No lock, no epoch section: waits for the flush and gives the frames of all that is dead to the epoch. */
void shadow_reap(struct shadow *sh);

/* --- tracking and synchronising: shadow_sync.c --- */

/* Takes W from every translation of the page; a flush is due if one had it. */
void shadow_protect(struct shadow *sh, gfn_t g);
/* The flush that covers all that went away up to now; requested if it was not yet. */
u64 shadow_stale_flush(struct shadow *sh);
/* The guest's table may be written from now on. */
void shadow_unsync(struct shadow *sh, gfn_t g);
/*
 * A path of the guest is about to lead to this page that did not before. What was stale there could be cached for
 * others, but not for it: reads again what the page leads to. Its table is resident.
 */
void shadow_refresh(struct shadow *sh, struct shadow_page *sp);
/* `sp` is no longer among the unsync ones. */
void shadow_unsync_remove(struct shadow *sh, struct shadow_page *sp);

/* --- what the guest's tables say: shadow_want.c --- */

enum shadow_kind { SHADOW_NOTHING, SHADOW_TABLE, SHADOW_LEAF };

/* What an entry of a shadow page is to be. */
struct shadow_want {
	enum shadow_kind kind;
	gfn_t gfn; /* of the page mapped, or key of the child */
	u32 role;  /* of the child */
	u32 access; /* leaf: ROLE_W, ROLE_U, ROLE_X as the guest's tables say; W only with Dirty set */
	bool kernel_writes; /* leaf: supervisor mode may write though W is not there (CR0.WP = 0) */
};
/* For entry `i` of a page that mirrors a table, when the guest's entry is `entry`. */
struct shadow_want shadow_want(const struct shadow *sh, const struct shadow_page *sp, unsigned i,
                               u64 entry);
/* ... of a direct page. */
struct shadow_want shadow_want_direct(const struct shadow_page *sp, unsigned i);
/* Does entry `i` depend on an entry of the guest? Then on the one at this address, of so many bytes. */
bool shadow_guest_entry(const struct shadow_page *sp, unsigned i, gpa_t *at, unsigned *bytes);
/* Is what stands in an entry of a page with that role allowed by what the guest's tables say? Less is. */
bool shadow_agrees(const struct shadow *sh, const struct shadow_want *want, u32 role, u64 spte);
/* Rights for a leaf, SPTE_*: the plain form, and the one in which supervisor mode may write a read-only page. */
u64 shadow_rights(const struct shadow_want *want, u32 role, bool kernel_form);

/*
 * The frame of a resident page that stays where it is until the MMU lock is dropped; FRAME_NONE if it is not
 * resident, or about to go.
 */
u32 shadow_resident(struct shadow *sh, gfn_t g);
/* In an epoch section, no lock: the same but for the staying. Its frame does not become another's within the section. */
u32 shadow_resident_now(struct shadow *sh, gfn_t g);
/* Does any slot have the page? */
bool shadow_has(struct shadow *sh, gfn_t g);
/* Reads an entry of a guest's table in place; false: not resident. */
bool shadow_read_entry(struct shadow *sh, gpa_t at, unsigned bytes, u64 *entry);

/* --- a vCPU's: shadow_vcpu.c --- */

/* Fills what a fault may use up. No lock held. False: no memory. */
bool shadow_cache_fill(struct shadow *sh, struct shadow_cache *cache) must_check;
/* The root page of the vCPU's present registers; found, or made. There is room. */
struct shadow_page *shadow_root_page(struct shadow_vcpu *v);
/* The same if it is there, else NULL. */
struct shadow_page *shadow_root_find(const struct shadow_vcpu *v);
/* `hardware` and the four entries below 4 GiB follow the root page. */
void shadow_load_root(struct shadow_vcpu *v, struct shadow_page *root);
