#include "tests/host/fake_mmu.h"

#include <stdlib.h>

#include "arch/hal.h"
#include "mm/age.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "tests/host/hal.h"

#define PATIENCE    1000000u
#define ENTRY_SHIFT 12

static u64 nr_frames;

static void seam(struct fake_guest *g, enum fake_seam at, u64 gfn_value)
{
	if (g->hook)
		g->hook(g, at, gfn(gfn_value));
}

static struct fake_mmu *mmu_of(struct notifier *n)
{
	return container_of(n, struct fake_mmu, notifier);
}

static u64 base_of(const struct fake_guest *g)
{
	const struct slots *slots;
	u64 base;

	epoch_enter();
	slots = gfnmap_slots(g->space);
	base = slots->slot[0].base.v;
	epoch_exit();
	return base;
}

/* --- what mm asks ---------------------------------------------------------------------------------- */

static unsigned fake_age(struct notifier *n, gfn_t first, unsigned npages, u64 *bitmap,
                         unsigned flags, u64 *visited)
{
	struct fake_mmu *m = mmu_of(n);
	u64 base = base_of(m->guest);
	unsigned result = 0;

	ASSERT(epoch_active());
	seam(m->guest, FAKE_AGE, first.v);
	for (unsigned i = 0; i < npages; i++) {
		u64 page = first.v + i - base, entry = 0;
		bool asked = bitmap[i / 64] & BIT(i % 64);

		bitmap[i / 64] &= ~BIT(i % 64);
		if (!asked || page >= m->guest->npages)
			continue;
		++*visited;
		entry = a64_load(&m->entry[page]);
		if (!(entry & FAKE_A))
			continue;
		if (flags & NOTIFIER_CLEAR)
			(void)a64_cas(&m->entry[page], &entry, entry & ~FAKE_A);
		bitmap[i / 64] |= BIT(i % 64);
		result = NOTIFIER_YOUNG;
	}
	return result;
}

/* The upper entry of the table that has this page. */
static a64 *upper_of(struct fake_mmu *m, u64 page)
{
	u64 base = base_of(m->guest);

	return &m->upper[(base + page) / TABLE_PAGES - base / TABLE_PAGES];
}

static bool fake_range_young(struct notifier *n, gfn_t first, u64 npages, bool clear)
{
	struct fake_mmu *m = mmu_of(n);
	a64 *upper = upper_of(m, first.v - base_of(m->guest));
	bool young;

	ASSERT(epoch_active() && npages == TABLE_PAGES && !(first.v % npages));
	young = a64_load(upper) & FAKE_A;
	if (clear)
		a64_fetch_and(upper, ~FAKE_A);
	return young;
}

static void fake_zap(struct notifier *n, gfn_t at, struct notifier_zap *result)
{
	struct fake_mmu *m = mmu_of(n);
	u64 page = at.v - base_of(m->guest), was;

	seam(m->guest, FAKE_ZAP, at.v);
	read_lock(&n->space->mmu_lock);
	was = a64_xchg(&m->entry[page], 0);
	if (was & FAKE_P) {
		a64_count(&m->mapped, -1ull);
		result->mapped = true;
		result->young = was & FAKE_A;
		result->dirty = was & (m->guest->has_dirty ? FAKE_D : FAKE_W);
	}
	read_unlock(&n->space->mmu_lock);
	seam(m->guest, FAKE_ZAPPED, at.v);
}

static bool fake_populated(struct notifier *n)
{
	return a64_load(&mmu_of(n)->mapped) != 0;
}

static u64 fake_audit(struct notifier *n)
{
	struct fake_mmu *m = mmu_of(n);
	u64 faults = 0;

	for (u64 page = 0; page < m->guest->npages; page++) {
		u64 entry = a64_load(&m->entry[page]);

		if (entry & FAKE_P &&
		    fake_word(m->guest, page) != gfn_word(GFN_RESIDENT, entry >> ENTRY_SHIFT))
			faults++;
		if (!(entry & FAKE_P) && entry)
			faults++;
	}
	return faults;
}

static void tlb_flush(struct fake_guest *g, struct fake_vcpu *v)
{
	for (u64 page = 0; page < g->npages; page++)
		v->tlb[page] = 0;
}

static bool fake_nudge(struct space *s, u64 gen)
{
	struct fake_guest *g = s->priv;
	bool any = false;

	for (unsigned i = 0; i < g->nr_vcpus; i++) {
		struct fake_vcpu *v = &g->vcpu[i];

		if (!a32_load_acquire(&v->in_guest) || a64_load_acquire(&v->flushed) >= gen)
			continue;
		any = true;
		if (!v->stays)
			continue;
		v->kicks++;
		a32_store_release(&v->in_guest, 0);
	}
	return any;
}

static void fake_shootdown(struct space *s, u64 gen)
{
	struct fake_guest *g = s->priv;

	seam(g, FAKE_SHOOTDOWN, 0);
	(void)fake_nudge(s, gen);
	for (unsigned i = 0; i < g->nr_vcpus; i++)
		while (a32_load_acquire(&g->vcpu[i].in_guest) &&
		       a64_load_acquire(&g->vcpu[i].flushed) < gen)
			hal_pause();
	/* In a test of one thread a vCPU may be in the guest all the time: it is kicked out here. */
	for (unsigned i = 0; g->hook && i < g->nr_vcpus; i++)
		tlb_flush(g, &g->vcpu[i]);
	seam(g, FAKE_FLUSHED, 0);
}

static bool fake_ran(struct space *s)
{
	return a32_xchg(&((struct fake_guest *)s->priv)->ran, 0);
}

static bool fake_ran_lately(struct space *s)
{
	return a32_xchg(&((struct fake_guest *)s->priv)->ran_lately, 0);
}

static const struct space_ops fake_ops = {
        .shootdown = fake_shootdown,
        .nudge = fake_nudge,
        .ran = fake_ran,
        .ran_lately = fake_ran_lately,
};

/* --- the guest ------------------------------------------------------------------------------------- */

void fake_frames_create(u64 nframes)
{
	const struct frame_extent extent = {hal_ptr_pfn(host_ram(nframes)), nframes};

	ASSERT(frame_init(&extent, 1));
	nr_frames = nframes;
}

void fake_frames_destroy(void)
{
	ASSERT(frame_free_count() == nr_frames);
	frame_exit();
}

static void mmu_create(struct fake_guest *g, struct fake_mmu *m, bool fast, bool upper_bits)
{
	m->guest = g;
	m->entry = calloc(g->npages, sizeof(*m->entry));
	m->upper = calloc(g->npages / TABLE_PAGES + 2, sizeof(*m->upper));
	m->ops = (struct notifier_ops){
	        .name = "fake",
	        .has_fast_aging = fast,
	        .age = fake_age,
	        .range_young = upper_bits ? fake_range_young : NULL,
	        .zap = fake_zap,
	        .populated = fake_populated,
	        .audit = fake_audit,
	};
	m->notifier.ops = &m->ops;
	ASSERT(m->entry && m->upper);
	space_add_notifier(g->space, &m->notifier);
}

void fake_guest_create(struct fake_guest *g, const struct fake_config *c)
{
	*g = (struct fake_guest){
	        .npages = c->npages,
	        .has_dirty = !c->no_dirty,
	        .nr_mmus = c->nr_mmus ? c->nr_mmus : 1,
	        .nr_vcpus = c->nr_vcpus ? c->nr_vcpus : 1,
	};
	g->space = space_create(c->name, &fake_ops, g);
	ASSERT(g->space && gfnmap_add(g->space, gfn(c->base), c->npages));
	for (unsigned i = 0; i < g->nr_mmus; i++)
		mmu_create(g, &g->mmu[i], !i || !c->second_is_slow, c->upper_bits);
	for (unsigned i = 0; i < g->nr_vcpus; i++) {
		g->vcpu[i].tlb = calloc(g->npages, sizeof(u64));
		ASSERT(g->vcpu[i].tlb);
	}
}

void fake_guest_destroy(struct fake_guest *g)
{
	space_drain(g->space);
	for (unsigned i = 0; i < g->nr_mmus; i++) {
		ASSERT(!a64_load(&g->mmu[i].mapped));
		free(g->mmu[i].entry);
		free(g->mmu[i].upper);
	}
	for (unsigned i = 0; i < g->nr_vcpus; i++)
		free(g->vcpu[i].tlb);
	space_destroy(g->space);
}

/* As the run loop does it: who is in is seen by a shootdown, or sees that it has to flush. */
static void guest_enter(struct fake_guest *g, struct fake_vcpu *v)
{
	u64 wanted;

	a32_store(&g->ran, 1);
	a32_store(&g->ran_lately, 1);
	if (v->stays && a32_load(&v->in_guest))
		return;
	a32_store_full(&v->in_guest, 1);
	wanted = a64_load_acquire(&g->space->flush.wanted);
	if (a64_load(&v->flushed) < wanted) {
		tlb_flush(g, v);
		a64_store_release(&v->flushed, wanted);
	}
}

static void guest_exit(struct fake_vcpu *v, bool faulted)
{
	if (v->stays && !faulted)
		return;
	a32_store_release(&v->in_guest, 0);
}

static bool allows(u64 entry, bool write)
{
	u64 need = FAKE_P | (write ? FAKE_W : 0);

	return (entry & need) == need;
}

/* The page's entry as this vCPU's hardware sees it, with Accessed and Dirty set; 0: a fault. */
static u64 translate(struct fake_guest *g, unsigned vcpu, u64 page, bool write)
{
	u64 *cached = &g->vcpu[vcpu].tlb[page];
	a64 *at = &g->mmu[vcpu % g->nr_mmus].entry[page];
	u64 entry, next;

	/* A write through a TLB entry that does not know the Dirty bit set has to walk. */
	if (allows(*cached, write) && (!write || !g->has_dirty || *cached & FAKE_D))
		return *cached;
	entry = a64_load_acquire(at);
	do {
		if (!allows(entry, write))
			return 0;
		next = entry | FAKE_A | (write && g->has_dirty ? FAKE_D : 0);
	} while (!a64_cas(at, &entry, next));
	a64_fetch_or(upper_of(&g->mmu[vcpu % g->nr_mmus], page), FAKE_A);
	*cached = next;
	return next;
}

static enum fault_result install(struct fake_guest *g, struct fake_mmu *m, u64 page, u64 seq,
                                 u64 want)
{
	struct space *s = g->space;
	u64 entry;

	read_lock(&s->mmu_lock);
	if (invalidate_retry(s, seq, gfn(base_of(g) + page))) {
		read_unlock(&s->mmu_lock);
		return FAULT_RETRY;
	}
	entry = a64_load(&m->entry[page]);
	do {
		ASSERT(!(entry & FAKE_P) || entry >> ENTRY_SHIFT == want >> ENTRY_SHIFT);
	} while (!a64_cas(&m->entry[page], &entry, entry | want));
	if (!(entry & FAKE_P))
		a64_count(&m->mapped, 1);
	read_unlock(&s->mmu_lock);
	return FAULT_FIXED;
}

static enum fault_result fake_fault(struct fake_guest *g, unsigned vcpu, u64 page, bool write)
{
	struct space *s = g->space;
	u64 start = hal_time_ns(), seq = invalidate_seq(s), want = FAKE_P | FAKE_A;
	struct fault_page found;
	enum fault_result result;

	result = fault_bring_in(s, gfn(base_of(g) + page), write, g->has_dirty, &found);
	if (result != FAULT_FIXED)
		return result;
	if (write || !found.clean || g->has_dirty)
		want |= FAKE_W;
	if (write && g->has_dirty)
		want |= FAKE_D;
	want |= (u64)found.frame << ENTRY_SHIFT;
	seam(g, FAKE_FAULT, base_of(g) + page);
	result = install(g, &g->mmu[vcpu % g->nr_mmus], page, seq, want);
	a64_count(&s->stats.faults_total, result == FAULT_FIXED);
	hist_add(&s->stats.fault_ns, hal_time_ns() - start);
	return result;
}

enum fault_result fake_access(struct fake_guest *g, unsigned vcpu, u64 page, bool write,
                              unsigned patience, void (*fn)(u64 *words, void *arg), void *arg)
{
	struct fake_vcpu *v = &g->vcpu[vcpu];

	for (;;) {
		enum fault_result result;
		u64 entry;

		guest_enter(g, v);
		entry = translate(g, vcpu, page, write);
		if (entry)
			fn(frame_ptr((u32)(entry >> ENTRY_SHIFT)), arg);
		guest_exit(v, !entry);
		if (entry)
			return FAULT_FIXED;
		result = fake_fault(g, vcpu, page, write);
		if (result == FAULT_FIXED)
			continue;
		if ((result != FAULT_RETRY && result != FAULT_WAIT) || !patience--)
			return result;
		hal_pause();
	}
}

bool fake_access_stale(struct fake_guest *g, unsigned vcpu, u64 page, bool write,
                       void (*fn)(u64 *words, void *arg), void *arg)
{
	u64 entry = g->vcpu[vcpu].tlb[page];

	if (!allows(entry, write) || (write && g->has_dirty && !(entry & FAKE_D)))
		return false;
	fn(frame_ptr((u32)(entry >> ENTRY_SHIFT)), arg);
	return true;
}

struct one_word {
	unsigned word;
	u64 value;
};

static void read_word(u64 *words, void *arg)
{
	struct one_word *w = arg;

	w->value = words[w->word];
}

static void write_word(u64 *words, void *arg)
{
	const struct one_word *w = arg;

	words[w->word] = w->value;
}

u64 fake_read(struct fake_guest *g, unsigned vcpu, u64 page, unsigned word)
{
	struct one_word w = {.word = word};

	ASSERT(fake_access(g, vcpu, page, false, PATIENCE, read_word, &w) == FAULT_FIXED);
	return w.value;
}

void fake_write(struct fake_guest *g, unsigned vcpu, u64 page, unsigned word, u64 value)
{
	struct one_word w = {.word = word, .value = value};

	ASSERT(fake_access(g, vcpu, page, true, PATIENCE, write_word, &w) == FAULT_FIXED);
}

/* --- looking --------------------------------------------------------------------------------------- */

u64 fake_word(struct fake_guest *g, u64 page)
{
	u64 word;

	epoch_enter();
	word = a64_load_acquire(gfnmap_word(g->space, gfn(base_of(g) + page)));
	epoch_exit();
	return word;
}

u64 fake_state(struct fake_guest *g, u64 page)
{
	u64 word = fake_word(g, page);

	if (gfn_word_tag(word) != GFN_RESIDENT && gfn_word_tag(word) != GFN_EVICTING)
		return 0;
	return a64_load(&frame_at(gfn_word_frame(word))->state);
}

void fake_make_cold(struct fake_guest *g)
{
	for (unsigned i = 0; i < GEN_MAX; i++) {
		for (unsigned m = 0; m < g->nr_mmus; m++)
			for (u64 page = 0; page < g->npages; page++)
				a64_fetch_and(&g->mmu[m].entry[page], ~FAKE_A);
		(void)gen_advance(&g->space->lru, a64_load(&g->space->lru.max_seq));
	}
}
