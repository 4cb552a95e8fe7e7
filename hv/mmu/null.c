#include "hv/mmu/null.h"

#include "arch/hal.h"
#include "lib/profile.h"
#include "lib/string.h"
#include "lib/util.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/gfnmap.h"
#include "mm/space.h"

/* As in guest_mem.c: for a page that an evictor on another CPU has in hand. */
#define PATIENCE_NS 1000000000ull

static struct null_mmu *null_of(struct notifier *n)
{
	return container_of(n, struct null_mmu, notifier);
}

/* --- translations; lock held ----------------------------------------------------------------------- */

static struct null_entry *find_locked(struct null_mmu *n, gfn_t g)
{
	struct null_entry *e = &n->entry[g.v % NULL_ENTRIES];

	DEBUG_ASSERT(spin_held(&n->lock));
	return e->mapped && e->g.v == g.v ? e : NULL;
}

static void remove_locked(struct null_mmu *n, struct null_entry *e)
{
	e->mapped = false;
	a64_count(&n->mapped, -1ull);
}

static void install_locked(struct null_mmu *n, gfn_t g, u32 frame, bool writable)
{
	struct null_entry *e = &n->entry[g.v % NULL_ENTRIES];

	DEBUG_ASSERT(spin_held(&n->lock));
	if (!e->mapped)
		a64_count(&n->mapped, 1);
	writable |= e->mapped && e->g.v == g.v && e->writable;
	*e = (struct null_entry){.g = g, .frame = frame, .mapped = true, .writable = writable};
}

/* --- what mm asks ---------------------------------------------------------------------------------- */

static bool is_asked(const u64 *bitmap, unsigned i)
{
	return bitmap[i / 64] & BIT(i % 64);
}

/* Leaves in the bitmap what is mapped of it; with `take`, takes that away. Returns how many. */
static unsigned sweep(struct null_mmu *n, gfn_t first, unsigned npages, u64 *bitmap, bool take)
{
	unsigned found = 0;

	spin_lock(&n->lock);
	for (unsigned i = 0; i < npages; i++) {
		struct null_entry *e;

		if (!is_asked(bitmap, i))
			continue;
		e = find_locked(n, gfn_add(first, i));
		found += e != NULL;
		if (!e)
			bitmap[i / 64] &= ~BIT(i % 64);
		else if (take)
			remove_locked(n, e);
	}
	spin_unlock(&n->lock);
	return found;
}

/*
 * No Dirty is lost with a translation: what is mapped for writing counts as written since it was mapped.
 * The invalidation is begun only if there is something to take, and then it may find less.
 */
static unsigned null_age(struct notifier *notifier, gfn_t first, unsigned npages, u64 *bitmap,
                         unsigned flags, u64 *visited)
{
	struct null_mmu *n = null_of(notifier);
	struct space *s = notifier->space;
	gfn_t last = gfn_add(first, npages - 1);
	unsigned found;

	a64_count(&n->asked_total, 1);
	*visited += npages;
	found = sweep(n, first, npages, bitmap, false);
	if (found && flags & NOTIFIER_CLEAR) {
		unsigned taken;

		invalidate_begin(s, first, last);
		taken = sweep(n, first, npages, bitmap, true);
		invalidate_end(s, first, last);
		a64_count(&n->aged_total, taken);
		found = taken;
	}
	return found ? NOTIFIER_YOUNG : 0;
}

static void null_zap(struct notifier *notifier, gfn_t g, struct notifier_zap *result)
{
	struct null_mmu *n = null_of(notifier);
	struct null_entry *e;

	spin_lock(&n->lock);
	e = find_locked(n, g);
	if (e) {
		result->mapped = true;
		result->young = true;
		result->dirty |= e->writable;
		remove_locked(n, e);
	}
	spin_unlock(&n->lock);
}

static bool null_populated(struct notifier *notifier)
{
	return a64_load(&null_of(notifier)->mapped) != 0;
}

static bool entry_is_wrong(struct space *s, const struct null_entry *e)
{
	const a64 *where = gfnmap_word(s, e->g);
	u32 frame = e->frame;

	if (!where || a64_load(where) != gfn_word(GFN_RESIDENT, frame))
		return true;
	return e->writable && !(a64_load(&frame_at(frame)->state) & FRAME_DIRTY);
}

static u64 null_audit(struct notifier *notifier)
{
	struct null_mmu *n = null_of(notifier);
	u64 faults = 0, mapped = 0;

	epoch_enter();
	for (unsigned i = 0; i < NULL_ENTRIES; i++) {
		const struct null_entry *e = &n->entry[i];

		mapped += e->mapped;
		if (!e->mapped || !entry_is_wrong(notifier->space, e))
			continue;
		faults++;
		hal_log(HAL_ERROR, "%s: gfn %llx: the device's translation is not its frame's",
		        notifier->space->name, (unsigned long long)e->g.v);
	}
	epoch_exit();
	return faults + (mapped != a64_load(&n->mapped));
}

static const struct notifier_ops null_ops = {
        .name = "null",
        .profile = PROFILE_DEVICE,
        .has_fast_aging = false,
        .protects = true,
        .late_slots = true,
        .logs = true, /* guest_write() tells the log of what it writes through this */
        .age = null_age,
        .zap = null_zap,
        .populated = null_populated,
        .audit = null_audit,
};

void null_create(struct null_mmu *n, struct space *s)
{
	*n = (struct null_mmu){.notifier = {.ops = &null_ops, .space = s}};
	spin_init(&n->lock, LOCK_NULL, "null");
	space_add_notifier(s, &n->notifier);
}

/* --- the device ------------------------------------------------------------------------------------ */

enum fault_result null_map(struct null_mmu *n, gfn_t g, bool write)
{
	struct space *s = n->notifier.space;
	u64 seq = invalidate_seq(s);
	struct fault_page page;
	enum fault_result result = fault_bring_in(s, g, write, !write, &page);

	if (result != FAULT_FIXED)
		return result;
	read_lock(&s->mmu_lock);
	if (invalidate_retry(s, seq, g)) {
		result = FAULT_RETRY;
	} else {
		spin_lock(&n->lock);
		install_locked(n, g, page.frame, write);
		spin_unlock(&n->lock);
	}
	read_unlock(&s->mmu_lock);
	return result;
}

void null_unmap(struct null_mmu *n, gfn_t g)
{
	struct null_entry *e;

	spin_lock(&n->lock);
	e = find_locked(n, g);
	if (e)
		remove_locked(n, e);
	spin_unlock(&n->lock);
}

struct copy {
	void *data;
	u64 bytes; /* within one page */
	bool write;
};

/* False: the page is not mapped for this. */
static bool copy_try(struct null_mmu *n, gpa_t at, const struct copy *c)
{
	struct null_entry *e;

	spin_lock(&n->lock);
	e = find_locked(n, gpa_gfn(at));
	if (e && c->write && !e->writable)
		e = NULL;
	if (e) {
		u8 *page = (u8 *)frame_ptr(e->frame) + at.v % PAGE_SIZE;

		if (c->write)
			memcpy(page, c->data, c->bytes);
		else
			memcpy(c->data, page, c->bytes);
	}
	spin_unlock(&n->lock);
	return e != NULL;
}

static bool copy_page(struct null_mmu *n, gpa_t at, const struct copy *c)
{
	u64 start = 0;

	while (!copy_try(n, at, c)) {
		enum fault_result result = null_map(n, gpa_gfn(at), c->write);

		if (result == FAULT_FIXED)
			continue;
		/* The disk's end comes by itself: mm/swap.h. */
		if (!start || result == FAULT_WAIT)
			start = hal_time_ns();
		if ((result != FAULT_RETRY && result != FAULT_WAIT) ||
		    hal_time_ns() - start > PATIENCE_NS)
			return false;
		hal_pause();
	}
	return true;
}

static u64 copy_all(struct null_mmu *n, gpa_t at, u8 *data, u64 bytes, bool write)
{
	u64 done = 0;

	while (done < bytes) {
		gpa_t here = gpa(at.v + done);
		const struct copy c = {
		        .data = data + done,
		        .bytes = min_of(PAGE_SIZE - here.v % PAGE_SIZE, bytes - done),
		        .write = write,
		};

		if (!copy_page(n, here, &c))
			break;
		done += c.bytes;
	}
	return done;
}

u64 null_read(struct null_mmu *n, gpa_t from, void *to, u64 bytes)
{
	return copy_all(n, from, to, bytes, false);
}

u64 null_write(struct null_mmu *n, gpa_t to, const void *from, u64 bytes)
{
	return copy_all(n, to, (u8 *)(uintptr_t)from, bytes, true);
}
