#include "tests/host/walker.h"

#include "arch/hal.h"

#define LEVELS 4u

static bool is_ept(const struct walker *w)
{
	return w->kind != WALKER_NPT;
}

static bool sets_accessed(const struct walker *w)
{
	return w->kind != WALKER_EPT;
}

static u64 accessed_bit(const struct walker *w)
{
	return is_ept(w) ? BIT(8) : BIT(5);
}

static u64 dirty_bit(const struct walker *w)
{
	return is_ept(w) ? BIT(9) : BIT(6);
}

static bool is_present(const struct walker *w, u64 entry)
{
	return entry & (is_ept(w) ? 7u : 1u);
}

static bool is_leaf(unsigned level, u64 entry)
{
	return level == 1 || (entry & BIT(7));
}

/* SDM 3C 28.3.3.1. */
static bool ept_misconfigured(unsigned level, u64 entry)
{
	u64 type = (entry >> 3) & 7;

	if ((entry & 3) == 2) /* write without read */
		return true;
	if (!is_leaf(level, entry))
		return (entry & BITS(7, 3)) != 0;
	if (type == 2 || type == 3 || type == 7)
		return true;
	return level > 3 || (level > 1 && (entry & BITS(((level - 1) * 9) + 11, 12)));
}

/* APM 2 5.3.3. */
static bool npt_reserved(unsigned level, u64 entry)
{
	if (level == 4 && (entry & BITS(8, 7)))
		return true;
	return level > 1 && (entry & BIT(7)) && (entry & BITS(((level - 1) * 9) + 11, 13));
}

static bool misconfigured(const struct walker *w, unsigned level, u64 entry)
{
	return is_ept(w) ? ept_misconfigured(level, entry) : npt_reserved(level, entry);
}

static bool allows(const struct walker *w, u64 entry, bool write, bool fetch)
{
	if (is_ept(w))
		return (entry & BIT(0)) && (!write || (entry & BIT(1))) &&
		       (!fetch || (entry & BIT(2)));
	return (entry & BIT(2)) && (!write || (entry & BIT(1))) && (!fetch || !(entry & BIT(63)));
}

/* Sets bits in an entry that is still what was read; false: start the walk again. */
static bool set_bits(a64 *at, u64 *entry, u64 bits)
{
	u64 want = *entry | bits;

	if (want == *entry)
		return true;
	if (!a64_cas(at, entry, want))
		return false;
	*entry = want;
	return true;
}

/* SDM 3C 28.3.6: with a full log no bit is set, and the access does not happen. */
static bool log_full(const struct walker *w, u64 entry, u64 bits)
{
	return w->log && w->logged == w->log_room && bits & ~entry;
}

static void log_write(struct walker *w, gpa_t a)
{
	if (w->log)
		w->log[w->logged++] = align_down(a.v, (u64)PAGE_SIZE);
}

struct access {
	gpa_t a;
	bool write, fetch;
};

static struct walker_tlb *small_slot(struct walker *w, gfn_t g)
{
	return &w->tlb[g.v % WALKER_TLB];
}

static struct walker_tlb *large_slot(struct walker *w, gfn_t g)
{
	return &w->large[g.v / TABLE_PAGES % WALKER_LARGE];
}

/* What the TLB has for the page; NULL: nothing. */
static struct walker_tlb *tlb_find(struct walker *w, gfn_t g)
{
	struct walker_tlb *small = small_slot(w, g), *large = large_slot(w, g);

	if (small->valid && small->g.v == g.v)
		return small;
	return large->valid && large->g.v == align_down(g.v, (u64)TABLE_PAGES) ? large : NULL;
}

/* Drops what was cached to translate the page. */
static void forget(struct walker *w, gfn_t g)
{
	small_slot(w, g)->valid = false;
	large_slot(w, g)->valid = false;
}

/* Every other 2 MiB leaf is cached in pieces, as when the guest's own page is smaller. */
static void tlb_fill(struct walker *w, const struct access *x, unsigned level, u64 entry)
{
	gfn_t g = gpa_gfn(x->a);
	bool whole = level == 2 && w->walks % 2;
	u64 below = (1ull << ((level - 1) * 9)) - 1;
	u64 inside = whole ? 0 : g.v & below;

	*(whole ? large_slot(w, g) : small_slot(w, g)) = (struct walker_tlb){
	        .valid = true,
	        .write = allows(w, entry, true, false),
	        .exec = allows(w, entry, false, true),
	        .dirty = !sets_accessed(w) || (entry & dirty_bit(w)),
	        .g = gfn(whole ? g.v & ~below : g.v),
	        .p = pfn((((entry & BITS(51, 12)) >> PAGE_SHIFT) & ~below) | inside),
	};
}

static struct walker_upper *upper_slot(struct walker *w, gpa_t a)
{
	return &w->upper[gpa_gfn(a).v / TABLE_PAGES % WALKER_UPPER];
}

/* Where the walk begins: at the root, or at the leaf table if the way there is cached. */
static a64 *walk_from(struct walker *w, gpa_t a, unsigned *level)
{
	const struct walker_upper *u = upper_slot(w, a);
	bool hit = u->valid && u->table == gpa_gfn(a).v / TABLE_PAGES;

	*level = hit ? 1 : LEVELS;
	return hit ? u->leaves : hal_frame_ptr(hpa_pfn(w->root));
}

/* One attempt; false: an entry changed under the walk. */
static bool walk_once(struct walker *w, const struct access *x, enum walker_result *result)
{
	u64 set = sets_accessed(w) ? accessed_bit(w) : 0;
	unsigned level;
	a64 *table = walk_from(w, x->a, &level);

	for (;; level--) {
		a64 *at = &table[(x->a.v >> (PAGE_SHIFT + (level - 1) * 9)) % TABLE_PAGES];
		u64 entry = a64_load_acquire(at);
		bool leaf = is_leaf(level, entry), becomes_dirty;

		*result = WALKER_FAULT;
		if (!is_present(w, entry))
			return true;
		*result = WALKER_MISCONFIG;
		if (misconfigured(w, level, entry))
			return true;
		*result = WALKER_FAULT;
		if (!allows(w, entry, x->write, x->fetch))
			return true;
		if (leaf && x->write && set)
			set |= dirty_bit(w);
		*result = WALKER_LOG_FULL;
		if (log_full(w, entry, set))
			return true;
		becomes_dirty = set & ~entry & dirty_bit(w);
		if (!set_bits(at, &entry, set))
			return false;
		if (becomes_dirty)
			log_write(w, x->a);
		if (leaf) {
			tlb_fill(w, x, level, entry);
			*result = WALKER_OK;
			return true;
		}
		table = hal_frame_ptr(pfn((entry & BITS(51, 12)) >> PAGE_SHIFT));
		if (level == 2)
			*upper_slot(w, x->a) = (struct walker_upper){
			        .valid = true,
			        .table = gpa_gfn(x->a).v / TABLE_PAGES,
			        .leaves = table,
			};
	}
}

void walker_init(struct walker *w, enum walker_kind kind, hpa_t root)
{
	*w = (struct walker){.kind = kind, .root = root};
}

void walker_flush(struct walker *w)
{
	for (unsigned i = 0; i < WALKER_TLB; i++)
		w->tlb[i].valid = false;
	for (unsigned i = 0; i < WALKER_LARGE; i++)
		w->large[i].valid = false;
	for (unsigned i = 0; i < WALKER_UPPER; i++)
		w->upper[i].valid = false;
}

/* Walks the tables; the translation is in the TLB then. */
static enum walker_result fill(struct walker *w, const struct access *x)
{
	enum walker_result result = WALKER_OK;

	forget(w, gpa_gfn(x->a));
	w->walks++;
	while (!walk_once(w, x, &result))
		;
	if (result != WALKER_OK)
		upper_slot(w, x->a)->valid = false;
	return result;
}

enum walker_result walker_translate(struct walker *w, gpa_t a, bool write, bool fetch, hpa_t *out)
{
	const struct access x = {.a = a, .write = write, .fetch = fetch};
	gfn_t g = gpa_gfn(a);
	struct walker_tlb *e = tlb_find(w, g);

	if (e && ((write && !e->write) || (fetch && !e->exec))) {
		/* A fault drops what was cached to translate it (SDM 3C 28.4.3.1). */
		forget(w, g);
		upper_slot(w, a)->valid = false;
		return WALKER_FAULT;
	}
	if (e && (!write || e->dirty)) {
		w->hits++;
	} else {
		enum walker_result result = fill(w, &x);

		if (result != WALKER_OK)
			return result;
		e = tlb_find(w, g);
	}
	*out = hpa(pfn_hpa(pfn(e->p.v + (g.v - e->g.v))).v | (a.v % PAGE_SIZE));
	return WALKER_OK;
}
