#include "tests/host/cpu_walker.h"

#include "arch/hal.h"

#define P  BIT(0)
#define W  BIT(1)
#define U  BIT(2)
#define A  BIT(5)
#define D  BIT(6)
#define PS BIT(7)
#define NX BIT(63)

void cpu_flush(struct cpu_walker *w)
{
	for (unsigned i = 0; i < CPU_TLB; i++)
		w->tlb[i].valid = false;
	for (unsigned i = 0; i < CPU_UPPER; i++)
		w->upper[i].valid = false;
}

static struct cpu_upper *upper_slot(struct cpu_walker *w, u64 at)
{
	return &w->upper[(at >> (PAGE_SHIFT + 9)) % CPU_UPPER];
}

/* The table where the walk begins, and its level; *t: what the way there allows. */
static a64 *walk_from(struct cpu_walker *w, u64 at, struct cpu_tlb *t, unsigned *level)
{
	const struct cpu_upper *u = upper_slot(w, at);
	a64 *top = hal_frame_ptr(hpa_pfn(w->cr3));

	*t = (struct cpu_tlb){true, true, true, true, true, at >> PAGE_SHIFT, {0}};
	*level = w->long_mode ? 4 : 3;
	if (!u->valid || u->range != at >> (PAGE_SHIFT + 9))
		return top + w->cr3.v % PAGE_SIZE / 8;
	*level = 1;
	t->write = u->write;
	t->user = u->user;
	t->exec = u->exec;
	return u->table;
}

static void upper_keep(struct cpu_walker *w, u64 at, const struct cpu_tlb *t, a64 *table)
{
	*upper_slot(w, at) = (struct cpu_upper){
	        true, t->write, t->user, t->exec, at >> (PAGE_SHIFT + 9), table};
}

static bool allows(const struct cpu_walker *w, const struct cpu_tlb *t, unsigned access, bool ac)
{
	if (access & CPU_FETCH && !t->exec)
		return false;
	if (access & CPU_USER)
		return t->user && (t->write || !(access & CPU_WRITE));
	if (access & CPU_FETCH)
		return !(t->user && w->smep);
	if (t->user && w->smap && !ac)
		return false;
	return t->write || !(access & CPU_WRITE);
}

/* One attempt; false: an entry changed under the walk. *present: there is a translation. */
static bool walk_once(struct cpu_walker *w, u64 at, unsigned access, bool ac, struct cpu_tlb *t,
                      bool *present)
{
	unsigned level;
	a64 *entry = walk_from(w, at, t, &level);

	*present = false;
	for (;; level--) {
		bool bare = !w->long_mode && level == 3;
		u64 e, want;

		entry += (at >> (PAGE_SHIFT + 9 * (level - 1))) % TABLE_PAGES;
		e = a64_load_acquire(entry);
		if (w->reads)
			w->reads(entry);
		if (!(e & P))
			return true;
		ASSERT(!bare || !(e & (BITS(63, 52) | BITS(8, 5) | W | U)));
		ASSERT(w->long_mode || bare || !(e & BITS(62, 52)));
		ASSERT(level == 1 || !(e & PS));
		t->write &= bare || e & W;
		t->user &= bare || e & U;
		t->exec &= bare || !(e & NX);
		if (level == 1 && !allows(w, t, access, ac)) {
			*present = true;
			return true;
		}
		want = bare ? e : e | A | (level == 1 && access & CPU_WRITE ? D : 0);
		if (want != e && !a64_cas(entry, &e, want))
			return false;
		t->dirty = want & D;
		/* What was read: by now the entry may be gone, and the flush for it waits for us. */
		t->p = pfn((e & BITS(51, 12)) >> PAGE_SHIFT);
		if (level == 1)
			break;
		entry = hal_frame_ptr(t->p);
		if (level == 2)
			upper_keep(w, at, t, entry);
	}
	*present = true;
	return true;
}

bool cpu_translate(struct cpu_walker *w, gva_t at, unsigned access, bool ac, hpa_t *out, u32 *error)
{
	u64 address = w->long_mode ? at.v : (u32)at.v;
	struct cpu_tlb *hit = &w->tlb[(address >> PAGE_SHIFT) % CPU_TLB], t;
	bool present = true;

	t = *hit;
	if (!hit->valid || hit->page != address >> PAGE_SHIFT || !allows(w, hit, access, ac) ||
	    (access & CPU_WRITE && !hit->dirty)) {
		hit->valid = false;
		w->walks++;
		while (!walk_once(w, address, access, ac, &t, &present))
			;
		if (!present || !allows(w, &t, access, ac)) {
			/* A fault drops what was cached to translate it (SDM 3A 4.10.4.1). */
			upper_slot(w, address)->valid = false;
			*error = (present ? 1u : 0) | (access & CPU_WRITE ? 2u : 0) |
			         (access & CPU_USER ? 4u : 0) | (access & CPU_FETCH ? 16u : 0);
			return false;
		}
		*hit = t;
	}
	*out = hpa(pfn_hpa(t.p).v | (address % PAGE_SIZE));
	return true;
}
