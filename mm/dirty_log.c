#include "mm/dirty_log.h"

#include "arch/hal.h"
#include "mm/epoch.h"
#include "mm/fault.h"
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "mm/notifier.h"
#include "mm/space.h"

const char *const dirty_log_names[] = {"off", "protect", "bits", "hardware", NULL};

/* --- the bitmaps ------------------------------------------------------------------------------------ */

/* The word of the page's bit; NULL if no slot has it. Inside an epoch section. */
static a64 *word_of(struct space *s, gfn_t g, bool noted, u64 *bit)
{
	const struct slot *slot = gfnmap_slot(s, g);
	u64 i;

	if (!slot)
		return NULL;
	i = g.v - slot->base.v;
	*bit = BIT(i % 64);
	return (noted ? slot->noted : slot->dirty) + i / 64;
}

static void set_bit(struct space *s, gfn_t g, bool noted)
{
	a64 *word;
	u64 bit;

	epoch_enter();
	word = word_of(s, g, noted, &bit);
	/* What is set already says it: who clears it looks at the page, or its entry, afterwards. */
	if (word && !(a64_load(word) & bit))
		a64_fetch_or(word, bit); /* ord DL1: what is noted, before the bit */
	epoch_exit();
}

static bool take_bit(struct space *s, gfn_t g, bool noted)
{
	bool was = false;
	a64 *word;
	u64 bit;

	epoch_enter();
	word = word_of(s, g, noted, &bit);
	if (word && a64_load(word) & bit)
		was = a64_fetch_and(word, ~bit) &
		      bit; /* ord DL1: the bit, before the page is looked at */
	epoch_exit();
	return was;
}

void dirty_log_mark(struct space *s, gfn_t g)
{
	set_bit(s, g, true);
}

u64 dirty_log_take(struct space *s, gfn_t first, unsigned npages, u64 *bitmap)
{
	u64 n = 0;

	DEBUG_ASSERT(npages <= NOTIFIER_MAX_PAGES);
	for (unsigned i = 0; i < npages; i++) {
		bool was = take_bit(s, gfn_add(first, i), false);

		if (i % 64 == 0)
			bitmap[i / 64] = 0;
		bitmap[i / 64] |= (u64)was << i % 64;
		n += was;
	}
	a64_count(&s->dirty_log.reported_total, n);
	return n;
}

/* --- collecting ------------------------------------------------------------------------------------- */

static void set_bits(struct space *s, gfn_t first, const u64 *bitmap)
{
	for (unsigned w = 0; w < NOTIFIER_WORDS; w++)
		for (u64 left = bitmap[w]; left; left &= left - 1)
			set_bit(s, gfn_add(first, w * 64 + (unsigned)__builtin_ctzll(left)), false);
}

/*
 * Dirty of the page's entry goes to the frame's state, then to the bitmap. An evictor that has the page in hand
 * finds no Dirty after us, but the frame dirty; that has come before. What is not resident has no entry.
 */
static void clean_page(struct space *s, gfn_t g)
{
	u64 word;

	if (!gfnmap_busy_resident(s, g, &word))
		return;
	fault_make_dirty_busy(s, gfn_word_frame(word));
	if (notifier_log_clean(s, g))
		set_bit(s, g, false);
	gfnmap_busy_give(s, g, word);
}

static void collect_bits(struct space *s, gfn_t first, unsigned n)
{
	u64 bitmap[NOTIFIER_WORDS];

	for (unsigned w = 0; w < NOTIFIER_WORDS; w++)
		bitmap[w] = ~0ull;
	if (n % 64)
		bitmap[n / 64] = BIT(n % 64) - 1;
	notifier_dirty(s, first, n, bitmap);
	for (unsigned i = 0; i < n; i++)
		if (bitmap[i / 64] & BIT(i % 64))
			clean_page(s, gfn_add(first, i));
}

/* What was noted goes to the bitmap. Where hardware notes, Dirty is cleared first: it is the log of what comes. */
static void collect_noted(struct space *s, enum dirty_log_mode mode, gfn_t first, u64 npages)
{
	for (u64 i = 0; i < npages; i++) {
		gfn_t g = gfn_add(first, i);

		if (!take_bit(s, g, true))
			continue;
		if (mode == DIRTY_LOG_HARDWARE)
			clean_page(s, g);
		set_bit(s, g, false);
	}
}

/* What the entries of one aligned block say, as `mode` has it. */
static void collect(struct space *s, enum dirty_log_mode mode, gfn_t first, unsigned n)
{
	u64 bitmap[NOTIFIER_WORDS] = {0};

	switch (mode) {
	case DIRTY_LOG_PROTECT:
		notifier_log_protect(s, first, n, bitmap);
		set_bits(s, first, bitmap);
		break;
	case DIRTY_LOG_BITS:
		collect_bits(s, first, n);
		break;
	default:
		break;
	}
}

static void flush(struct space *s)
{
	flush_wait(s, flush_request(s));
}

/* Whoever holds the read side has finished: what a zap found is noted, what was installed is there. */
static void read_sections_over(struct space *s)
{
	write_lock(&s->mmu_lock);
	write_unlock(&s->mmu_lock);
}

static void collect_entries(struct space *s, enum dirty_log_mode mode, gfn_t first, u64 npages)
{
	while (npages) {
		u64 n = min_of(npages, (u64)NOTIFIER_MAX_PAGES - first.v % NOTIFIER_MAX_PAGES);

		collect(s, mode, first, (unsigned)n);
		first = gfn_add(first, n);
		npages -= n;
	}
}

static void sync(struct space *s, enum dirty_log_mode mode, gfn_t first, u64 npages)
{
	if (mode == DIRTY_LOG_HARDWARE)
		flush(s); /* vCPUs leave, and say what was written down for them (ord F4) */
	else
		collect_entries(s, mode, first, npages);
	read_sections_over(s);
	collect_noted(s, mode, first, npages);
	flush(s);
}

/* --- one at a time ---------------------------------------------------------------------------------- */

static void acquire(struct space *s)
{
	DEBUG_ASSERT(!epoch_active());
	/* ord DL2: what the last one did, before what this one does */
	while (a32_xchg(&s->dirty_log.taken, 1))
		hal_pause();
}

static void release(struct space *s)
{
	a32_store_release(&s->dirty_log.taken, 0); /* ord DL2 */
}

void dirty_log_sync(struct space *s, gfn_t first, u64 npages)
{
	acquire(s);
	if (dirty_log_mode(s) != DIRTY_LOG_OFF)
		sync(s, dirty_log_mode(s), first, npages);
	release(s);
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

/* Takes every bit of one of the bitmaps. */
static void clear_all(struct space *s, bool noted)
{
	gfn_t base;
	u64 npages;

	for (u32 i = 0; slot_bounds(s, i, &base, &npages); i++)
		for (u64 j = 0; j < npages; j++)
			(void)take_bit(s, gfn_add(base, j), noted);
}

/* Every entry says "not written" afterwards, and so does the bitmap. */
static void forget_all(struct space *s, enum dirty_log_mode mode)
{
	gfn_t base;
	u64 npages;

	for (u32 i = 0; slot_bounds(s, i, &base, &npages); i++) {
		for (u64 j = 0; j < npages; j += NOTIFIER_MAX_PAGES)
			notifier_split(s, gfn_add(base, j));
		if (mode == DIRTY_LOG_HARDWARE)
			collect_entries(s, DIRTY_LOG_BITS, base, npages);
		sync(s, mode, base, npages);
	}
	clear_all(s, false);
}

static bool possible(struct space *s, enum dirty_log_mode mode)
{
	if (mode == DIRTY_LOG_OFF || !notifier_all_log(s))
		return false;
	if (mode == DIRTY_LOG_PROTECT)
		return true;
	return notifiers_know_dirty(s) && (mode == DIRTY_LOG_BITS || s->logs_writes);
}

bool dirty_log_start(struct space *s, enum dirty_log_mode mode)
{
	bool done;

	acquire(s);
	done = dirty_log_mode(s) == DIRTY_LOG_OFF && possible(s, mode);
	if (done) {
		clear_all(s, true);
		/* Large leaves are made, W and Dirty installed, under the read side, which then asks for the mode. */
		a32_store(&s->dirty_log.mode, mode);
		read_sections_over(s);
		/* vCPUs that enter from here on have their writes written down. */
		if (mode == DIRTY_LOG_HARDWARE)
			flush(s);
		forget_all(s, mode);
	}
	release(s);
	return done;
}

/* Entries stay as they are: what is LOGGED has W back when it is written, and nobody asks for the rest. */
void dirty_log_stop(struct space *s)
{
	enum dirty_log_mode mode;

	acquire(s);
	mode = dirty_log_mode(s);
	a32_store(&s->dirty_log.mode, DIRTY_LOG_OFF);
	if (mode == DIRTY_LOG_HARDWARE)
		flush(s); /* nothing is written down any more, and nothing comes late */
	release(s);
}

void dirty_log_sync_all(struct space *s)
{
	gfn_t base;
	u64 npages;

	for (u32 i = 0; slot_bounds(s, i, &base, &npages); i++)
		dirty_log_sync(s, base, npages);
}

/* The first page of the slot from `at` on that was written, or its end. */
static u64 skip_unwritten(struct space *s, u64 at, u64 end)
{
	while (at < end && !take_bit(s, gfn(at), false))
		at++;
	return at;
}

u64 dirty_log_next(struct space *s, gfn_t *from)
{
	gfn_t base;
	u64 npages;

	for (u32 i = 0; slot_bounds(s, i, &base, &npages); i++) {
		u64 end = base.v + npages, at = skip_unwritten(s, max_of(from->v, base.v), end);
		u64 n = 1;

		if (at >= end)
			continue;
		while (at + n < end && take_bit(s, gfn(at + n), false))
			n++;
		*from = gfn(at);
		a64_count(&s->dirty_log.reported_total, n);
		return n;
	}
	return 0;
}

/* --- what hardware writes down ---------------------------------------------------------------------- */

/* Written a moment ago: it is as hot as a page can be, and its copy will not be needed. */
static void heat(struct space *s, gfn_t g, struct gen_batch *batch)
{
	const a64 *where;
	u64 word;

	epoch_enter();
	where = gfnmap_word(s, g);
	word = where ? a64_load_acquire(where) : 0; /* ord M5 */
	if (gfn_word_tag(word) == GFN_RESIDENT)
		(void)gen_promote(&s->lru, gfn_word_frame(word), s->id, batch);
	epoch_exit();
	/* If somebody has the word in hand, Dirty in the entry will tell. */
	(void)fault_make_dirty(s, g);
}

void dirty_log_hardware(struct space *s, const u64 *address, unsigned n)
{
	struct gen_batch batch = {.promoted = 0};

	for (unsigned i = 0; i < n; i++) {
		gfn_t g = gfn(address[i] >> PAGE_SHIFT);

		set_bit(s, g, true);
		heat(s, g, &batch);
	}
	a64_count(&s->dirty_log.hardware_total, n);
	a64_count(&s->stats.promoted_total, batch.promoted);
	gen_batch_flush(&s->lru, &batch);
}
