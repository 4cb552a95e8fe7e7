#include "hv/mmu/shadow_vcpu.h"

#include "arch/hal.h"
#include "hv/mmu/shadow_core.h"
#include "lib/string.h"
#include "mm/epoch.h"
#include "mm/fault.h"
#include "mm/frame.h"
#include "mm/space.h"

#define CR0_WP   BIT(16)
#define CR0_PG   BIT(31)
#define CR4_PSE  BIT(4)
#define CR4_PAE  BIT(5)
#define CR4_SMEP BIT(20)
#define CR4_SMAP BIT(21)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)

#define PDPTES       4u
#define SHRINK_PAGES 8u /* that go when there is no frame for a table */

static u32 switches_of(const struct shadow_regs *r)
{
	u64 role = r->cr0 & CR0_WP ? ROLE_WP : 0;

	if (r->cr4 & CR4_PAE)
		role |= r->efer & EFER_NXE ? ROLE_NXE : 0;
	else
		role |= r->cr4 & CR4_PSE ? ROLE_PSE : 0;
	/* Only the form of a leaf that CR0.WP = 0 brings about depends on them. */
	if (!(r->cr0 & CR0_WP))
		role |= (r->cr4 & CR4_SMEP ? ROLE_SMEP : 0) | (r->cr4 & CR4_SMAP ? ROLE_SMAP : 0);
	return (u32)role;
}

/* Key of the root page; the bits of CR3 that count. */
static u32 root_role(const struct shadow_regs *r, u64 *cr3)
{
	u32 all = ROLE_ACCESS;

	*cr3 = 0;
	if (!(r->cr0 & CR0_PG))
		return 3 | SHADOW_UNPAGED << ROLE_MODE_SHIFT | all |
		       (u32)(ROLE_DIRECT | ROLE_DIRTY | ROLE_WP);
	all |= switches_of(r);
	if (r->efer & EFER_LMA) {
		*cr3 = r->cr3 & BITS(51, 12);
		return 4 | SHADOW_LONG << ROLE_MODE_SHIFT | all;
	}
	if (r->cr4 & CR4_PAE) {
		*cr3 = r->cr3 & BITS(31, 5);
		return 3 | SHADOW_PAE << ROLE_MODE_SHIFT | all |
		       (u32)(*cr3 >> 5 & 0x7f) << ROLE_QUADRANT_SHIFT;
	}
	*cr3 = r->cr3 & BITS(31, 12);
	return 3 | SHADOW_32BIT << ROLE_MODE_SHIFT | all;
}

/* --- what a fault uses up -------------------------------------------------------------------------- */

static u32 cache_frame(struct shadow *sh)
{
	u32 frame = frame_alloc(FRAME_FOR_FAULT);

	/*
	 * Not for the VM's limit: to evict a chunk for each table would take from a small VM what its fault has just
	 * brought in, for ever. The page that the tables are for makes room for them too (reclaim_before_fault()).
	 */
	if (frame == FRAME_NONE)
		frame = fault_frame(sh->notifier.space);
	/* Tables in use are worth more than pages, but nothing else is left. */
	if (frame == FRAME_NONE && shadow_shrink_used(sh, SHRINK_PAGES))
		frame = frame_alloc(FRAME_FOR_FAULT);
	return frame;
}

bool shadow_cache_fill(struct shadow *sh, struct shadow_cache *cache)
{
	while (cache->nr < SHADOW_CACHE_FRAMES) {
		u32 frame = cache_frame(sh);

		if (frame == FRAME_NONE)
			return false;
		memset(frame_ptr(frame), 0, PAGE_SIZE);
		frame_make_table(frame, sh->notifier.space->id, cache);
		cache->frame[cache->nr++] = frame;
		a64_count(&sh->notifier.space->tables, 1);
	}
	return rmap_cache_fill(&cache->descs);
}

/* No CPU ever knew of it. */
static void free_new(struct shadow *sh, u32 frame)
{
	frame_unmake_table(frame);
	frame_free(frame);
	a64_count(&sh->notifier.space->tables, -1ull);
}

static void cache_empty(struct shadow *sh, struct shadow_cache *cache)
{
	while (cache->nr)
		free_new(sh, cache->frame[--cache->nr]);
	rmap_cache_empty(&cache->descs);
}

/* --- roots ----------------------------------------------------------------------------------------- */

static bool roots_current(const struct shadow_vcpu *v)
{
	return v->roots_gen == a64_load(&v->sh->roots_gen);
}

struct shadow_page *shadow_root_find(const struct shadow_vcpu *v)
{
	return shadow_find(v->sh, gpa_gfn(gpa(v->root[0].cr3)), v->root[0].role);
}

struct shadow_page *shadow_root_page(struct shadow_vcpu *v)
{
	struct shadow *sh = v->sh;
	struct shadow_root *root = &v->root[0];

	if (roots_current(v) && root->page)
		return root->page;
	for (unsigned i = 0; i < SHADOW_ROOTS && !roots_current(v); i++)
		v->root[i].page = NULL;
	v->roots_gen = a64_load(&sh->roots_gen);
	root->page = shadow_root_find(v);
	if (!root->page)
		root->page = shadow_make(sh, &v->cache, gpa_gfn(gpa(root->cr3)), root->role);
	return root->page;
}

/* Outside long mode hardware walks three levels, and of the first it takes address and presence only. */
void shadow_load_root(struct shadow_vcpu *v, struct shadow_page *root)
{
	v->ready = true;
	if (role_mode(root->role) == SHADOW_LONG) {
		v->hardware = pfn_hpa(frame_pfn(root->frame));
		return;
	}
	for (unsigned i = 0; i < PDPTES; i++) {
		u64 spte = a64_load(&root->entry[i]);

		a64_store(v->pdpt + i, spte_is_empty(spte) ? 0 : (spte & SPTE_ADDRESS) | BIT(0));
	}
	v->hardware = pfn_hpa(hal_ptr_pfn(v->pdpt));
}

enum shadow_result shadow_vcpu_root(struct shadow_vcpu *v, hpa_t *root)
{
	struct space *s = v->sh->notifier.space;

	if (unlikely(!shadow_vcpu_root_valid(v))) {
		if (!shadow_cache_fill(v->sh, &v->cache))
			return SHADOW_NO_MEMORY;
		epoch_enter();
		write_lock(&s->mmu_lock);
		shadow_make_room(v->sh);
		shadow_load_root(v, shadow_root_page(v));
		write_unlock(&s->mmu_lock);
		epoch_exit();
	}
	*root = v->hardware;
	return SHADOW_FIXED;
}

/* Makes the cached root with this key the first, or a new one in place of the last. */
static void choose_root(struct shadow_vcpu *v, u64 cr3, u32 role)
{
	struct shadow_root found = {.cr3 = cr3, .role = role};
	unsigned i = 0;

	while (i < SHADOW_ROOTS - 1 && (v->root[i].cr3 != cr3 || v->root[i].role != role))
		i++;
	if (v->root[i].cr3 == cr3 && v->root[i].role == role)
		found = v->root[i];
	for (; i > 0; i--)
		v->root[i] = v->root[i - 1];
	v->root[0] = found;
	v->ready = false;
	/* No table to copy from: no lock. */
	if (role_mode(role) == SHADOW_LONG && found.page && roots_current(v))
		shadow_load_root(v, found.page);
}

void shadow_vcpu_set(struct shadow_vcpu *v, const struct shadow_regs *regs)
{
	u32 role, limits = regs->phys_bits | (regs->page_1g ? (u32)SHADOW_PAGE_1G : 0);
	u64 cr3;

	v->regs = *regs;
	/* Others may read it meanwhile, under the MMU lock; all vCPUs say the same. */
	if (a32_load(&v->sh->limits) != limits)
		a32_store(&v->sh->limits, limits);
	role = root_role(regs, &cr3);
	if (v->root[0].cr3 != cr3 || v->root[0].role != role)
		choose_root(v, cr3, role);
	if (!role_direct(role))
		shadow_flush_all(v);
}

bool shadow_vcpu_create(struct shadow_vcpu *v, struct shadow *sh)
{
	*v = (struct shadow_vcpu){.sh = sh, .pdpt = hal_pages_alloc(1)};
	if (!v->pdpt)
		return false;
	v->root[0].role = root_role(&v->regs, &v->root[0].cr3);
#ifndef VARVE_HOST
	/* CR3 has 32 bits outside long mode. */
	if (pfn_hpa(hal_ptr_pfn(v->pdpt)).v >> 32) {
		hal_log(HAL_ERROR, "no memory below 4 GiB for a vCPU's top table");
		hal_pages_free(v->pdpt, 1);
		return false;
	}
#endif
	return true;
}

void shadow_vcpu_destroy(struct shadow_vcpu *v)
{
	cache_empty(v->sh, &v->cache);
	hal_pages_free(v->pdpt, 1);
	v->pdpt = NULL;
}
