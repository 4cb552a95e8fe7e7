#include "mm/space.h"

#include "arch/hal.h"
#include "lib/string.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/hint.h"
#include "mm/policy.h"
#include "mm/reclaim.h"
#include "mm/store.h"
#include "mm/twolist.h"
#include "mm/zap.h"

#define DROP_BATCH 64u

static struct spinlock list_lock = SPINLOCK_INIT(LOCK_VM_LIST, "space list");
static aptr spaces[SPACE_MAX + 1]; /* by id; changed under list_lock, read inside the epoch */

static u64 space_struct_pages(void)
{
	return align_up(sizeof(struct space), (size_t)PAGE_SIZE) >> PAGE_SHIFT;
}

static void name_copy(char *to, const char *from)
{
	size_t n = min_of(strlen(from), (size_t)(SPACE_NAME_MAX - 1));

	memcpy(to, from, n);
	to[n] = '\0';
}

/* Puts the space where space_at() finds it; false if all ids are taken. */
static bool space_register(struct space *s)
{
	spin_lock(&list_lock);
	for (u16 id = 1; id <= SPACE_MAX; id++) {
		if (aptr_load_acquire(&spaces[id])) /* ord SP3 */
			continue;
		s->id = id;
		/* ord SP4: complete before anybody finds it; pairs with ord SP3 */
		aptr_store_release(&spaces[id], s);
		spin_unlock(&list_lock);
		return true;
	}
	spin_unlock(&list_lock);
	return false;
}

struct space *space_create(const char *name, const struct space_ops *ops, void *priv)
{
	struct space *s = hal_pages_alloc(space_struct_pages());

	if (!s)
		return NULL;
	name_copy(s->name, name);
	s->ops = ops;
	s->priv = priv;
	spin_init(&s->slots_lock, LOCK_SLOTS, "slots");
	rw_init(&s->mmu_lock, LOCK_MMU, "mmu");
	a32_store(&s->limits.weight, SPACE_WEIGHT);
	a32_store(&s->walk, WALK_FAST);
	gen_init(&s->lru);
	twolist_set_memory(&s->lru, frame_total());
	age_flush_init(&s->age_flush);
	bloom_init(&s->bloom);
	sampler_init(&s->sampler);
	if (!space_register(s)) {
		bloom_destroy(&s->bloom);
		hal_pages_free(s, space_struct_pages());
		return NULL;
	}
	vmlru_add(s);
	return s;
}

bool space_idle(struct space *s)
{
	u64 now = hal_time_ns();

	if (s->ops->ran_lately(s))
		a64_store(&s->ran_ns, now);
	return now - a64_load(&s->ran_ns) >= SPACE_IDLE_NS;
}

void space_add_notifier(struct space *s, struct notifier *n)
{
	u32 nr = space_notifiers(s);

	ASSERT(nr < SPACE_MAX_NOTIFIERS);
	n->space = s;
	s->notifier[nr] = n;
	/* ord SP6: the MMU is complete before an ager asks it; pairs with ord SP7 */
	a32_store_release(&s->nr_notifiers, nr + 1);
}

struct space *space_at(u16 id)
{
	DEBUG_ASSERT(epoch_active());
	/* ord SP3: pairs with ord SP4 */
	return id && id <= SPACE_MAX ? aptr_load_acquire(&spaces[id]) : NULL;
}

bool space_get(struct space *s)
{
	DEBUG_ASSERT(epoch_active());
	/* ord SP2: counted before dying is read; pairs with ord SP1: one of the two sees the other */
	a32_fetch_add(&s->users, 1);
	if (!a32_load(&s->dying))
		return true;
	a32_fetch_add(&s->users, -1u);
	return false;
}

struct space *space_get_id(u16 id)
{
	struct space *s;

	epoch_enter();
	s = space_at(id);
	if (s && !space_get(s))
		s = NULL;
	epoch_exit();
	return s;
}

void space_put(struct space *s)
{
	/* ord SP5: all work in the space is done; pairs with the drain's load */
	a32_fetch_add(&s->users, -1u);
}

a64 *space_counter(struct space *s, u64 word)
{
	switch (gfn_word_tag(word)) {
	case GFN_RESIDENT:
	case GFN_EVICTING:
		return &s->resident;
	case GFN_ZERO:
		return &s->zero;
	case GFN_FILLED:
		return &s->filled;
	case GFN_POOLED:
		return &s->pooled;
	case GFN_NONE:
	case GFN_DISK:
		break;
	}
	return NULL;
}

/* --- giving pages back ----------------------------------------------------------------------------- */

/*
 * Takes the frame of a page whose word the caller has BUSY out of everybody's hands. An evictor that
 * isolated it before fails to make the word evicting and lists it again; who pinned it lets go soon.
 */
static void frame_claim(struct space *s, u32 frame)
{
	struct frame *f = frame_at(frame);
	u64 state;

	while (!gen_remove(&s->lru, frame))
		hal_pause();
	state = a64_load(&f->state);
	/* ord L1: who pinned it and let go has used it before (ord FR2) */
	while (state & FRAME_PINS || !a64_cas(&f->state, &state, state | FRAME_ISOLATED)) {
		hal_pause();
		state = a64_load(&f->state);
	}
}

/* The page reads as zero from now on: that counts as a write. */
static void log_drop(struct space *s, gfn_t g)
{
	if (unlikely(dirty_log_mode(s) != DIRTY_LOG_OFF))
		dirty_log_mark(s, g);
}

enum drop { DROP_NOTHING, DROP_FRAME, DROP_WAIT };

/* Makes one word none, or, when it has a frame, takes it BUSY and leaves the rest to the caller. */
static enum drop drop_word(struct space *s, gfn_t g, u32 *frame)
{
	enum drop result = DROP_NOTHING;
	a64 *where;
	u64 word;

	epoch_enter();
	where = gfnmap_word(s, g);
	/* Ordered by the exchange that makes it BUSY (ord M3). */
	word = where ? a64_load(where) : 0;
	if (word == 0) {
		result = DROP_NOTHING;
	} else if (!gfnmap_busy_try(where, &word)) {
		result = DROP_WAIT;
	} else if (gfn_word_away(word)) {
		guard_dropped(&s->lru, word);
		store_drop(word & ~GFN_SHADOW);
		if (space_counter(s, word))
			a64_count(space_counter(s, word), -1ull);
		gfnmap_busy_end(where, 0);
		log_drop(s, g);
	} else {
		*frame = gfn_word_frame(word);
		result = DROP_FRAME;
	}
	epoch_exit();
	return result;
}

static void zap_and_clear(struct space *s, u32 frame)
{
	gfn_t g = frame_gfn(frame_at(frame));
	struct notifier_zap zap;

	notifier_zap(s, g, &zap);
	epoch_enter();
	gfnmap_busy_end(gfnmap_word(s, g), 0);
	epoch_exit();
	a64_count(&s->resident, -1ull);
	log_drop(s, g);
}

static void drop_frames(struct space *s, const u32 *frame, unsigned n)
{
	gfn_t first = frame_gfn(frame_at(frame[0])), last = frame_gfn(frame_at(frame[n - 1]));

	for (unsigned i = 0; i < n; i++)
		frame_claim(s, frame[i]);
	invalidate_begin(s, first, last);
	for (unsigned i = 0; i < n; i++)
		zap_and_clear(s, frame[i]);
	invalidate_end(s, first, last);
	flush_wait(s, flush_request(s));
	for (unsigned i = 0; i < n; i++) {
		u64 copy = a64_load(&frame_at(frame[i])->copy);

		if (copy)
			store_drop(copy);
		frame_retire(frame[i]);
	}
	epoch_poll();
}

/*
 * A fault that installs the right to write does so in a read section of the MMU lock and looks at the range
 * there. If that comes before the write section of zap_range()'s begin, the zap takes it away; if after, it
 * sees the range, which was stored before.
 */
void space_set_protect(struct space *s, gfn_t first, u64 npages)
{
	DEBUG_ASSERT(!a32_load(&s->wants_huge));
	a64_store(&s->protect.pages, 0);
	a64_store(&s->protect.first, first.v);
	a64_store(&s->protect.pages, npages);
	zap_range(s, first, npages);
}

void space_drop_range(struct space *s, gfn_t first, u64 npages)
{
	u32 frame[DROP_BATCH];
	unsigned n = 0;

	for (u64 i = 0; i < npages; i++) {
		enum drop result;

		while ((result = drop_word(s, gfn_add(first, i), &frame[n])) == DROP_WAIT)
			hal_pause();
		if (result == DROP_FRAME)
			n++;
		if (n == DROP_BATCH) {
			drop_frames(s, frame, n);
			n = 0;
		}
	}
	if (n)
		drop_frames(s, frame, n);
}

/* Base and size of a slot; false past the last. */
static bool slot_bounds(struct space *s, u32 i, gfn_t *base, u64 *npages)
{
	const struct slots *slots;
	bool found;

	epoch_enter();
	slots = gfnmap_slots(s);
	found = i < slots->nr;
	if (found) {
		*base = slots->slot[i].base;
		*npages = slots->slot[i].npages;
	}
	epoch_exit();
	return found;
}

/* Nobody gets in any more, and who was in has left. */
static void space_close(struct space *s)
{
	/* ord SP1: nobody comes in after this who is not counted; pairs with ord SP2 */
	a32_xchg(&s->dying, 1);
	while (a32_load_acquire(&s->users)) /* ord SP5 */
		hal_pause();
}

void space_drain(struct space *s)
{
	gfn_t base;
	u64 npages;

	space_close(s);
	for (u32 i = 0; slot_bounds(s, i, &base, &npages); i++)
		space_drop_range(s, base, npages);
	vmlru_remove(s);
	epoch_barrier();
	reclaim_drained(s);
}

static void space_free(struct epoch_node *node)
{
	struct space *s = container_of(node, struct space, node);

	gfnmap_destroy(s);
	bloom_destroy(&s->bloom);
	sampler_free(s);
	balloon_free(s);
	hint_free(s);
	hal_pages_free(s, space_struct_pages());
}

void space_destroy(struct space *s)
{
	ASSERT(a32_load(&s->dying) && !a64_load(&s->resident));
	spin_lock(&list_lock);
	aptr_store_release(&spaces[s->id], NULL); /* ord SP4: found by nobody from here on */
	spin_unlock(&list_lock);
	epoch_defer(&s->node, space_free);
	epoch_barrier();
}
