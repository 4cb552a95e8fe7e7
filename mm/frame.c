/*
 * Owns the array of struct frame, the free lists and the marks. A frame that is free, held or the pool's
 * has one owner by construction; a guest's frame is named by the gfn word of its owner (I1).
 *
 * Free frames hang on the list of their block, the 512 that one 2 MiB translation could map:
 *
 *   part ---> block ---> block        some of their frames are free
 *               | head
 *               +-> frame -> frame
 *   whole --> block ---> block        all 512 are free
 *
 * Single frames are taken from a block that is in part already, so that whole ones stay whole; every step
 * is a handful of instructions, whatever the size of memory. A block at the end of an extent that is not
 * aligned has fewer than 512 frames and is never whole. 16 bytes for each 2 MiB.
 */
#include "mm/frame.h"

#include "arch/hal.h"
#include "lib/lock.h"
#include "lib/string.h"

#define POISON 0xdb

struct extent {
	pfn_t first;
	u64 nframes;
	u64 number; /* of its first frame */
	u32 block;  /* of its first frame */
};

#define BLOCK_NONE 0xffffffffu

struct block {
	u32 next, prev; /* on one of the two lists, if it has a free frame */
	u32 head;       /* its free frames, linked through next */
	u32 nr_free;
};

struct block_list {
	u32 head;
};

struct frame_marks frame_marks;

static struct extent extents[FRAME_MAX_EXTENTS];
static unsigned nr_extents;
static struct frame *frames;
static u64 nr_frames;
static struct spinlock frame_lock = SPINLOCK_INIT(LOCK_FRAME, "frame");
static struct block *blocks; /* and their lists: frame_lock */
static u32 nr_blocks;
static struct block_list part = {BLOCK_NONE}, whole = {BLOCK_NONE};
static a64 nr_free, nr_pool; /* changed under frame_lock */
static a64 nr_tables;        /* frames with FRAME_TABLE */
static a64 unpackable;       /* frames with FRAME_UNPACKABLE */

static u64 array_pages(u64 n)
{
	return align_up(n * sizeof(struct frame), (u64)PAGE_SIZE) >> PAGE_SHIFT;
}

static u64 block_pages(u64 n)
{
	return align_up(n * sizeof(struct block), (u64)PAGE_SIZE) >> PAGE_SHIFT;
}

/* --- blocks; frame_lock held ----------------------------------------------------------------------- */

static void block_push(struct block_list *list, u32 nr)
{
	blocks[nr].prev = BLOCK_NONE;
	blocks[nr].next = list->head;
	if (list->head != BLOCK_NONE)
		blocks[list->head].prev = nr;
	list->head = nr;
}

static void block_remove(struct block_list *list, u32 nr)
{
	const struct block *b = &blocks[nr];

	if (b->prev != BLOCK_NONE)
		blocks[b->prev].next = b->next;
	else
		list->head = b->next;
	if (b->next != BLOCK_NONE)
		blocks[b->next].prev = b->prev;
}

static const struct extent *extent_of(u32 frame)
{
	const struct extent *e = extents;

	while (frame - e->number >= e->nframes)
		e++;
	return e;
}

static u32 block_of(u32 frame)
{
	const struct extent *e = extent_of(frame);
	u64 at = e->first.v % TABLE_PAGES + (frame - e->number);

	return e->block + (u32)(at / TABLE_PAGES);
}

static void block_put(u32 frame)
{
	u32 nr = block_of(frame);
	struct block *b = &blocks[nr];

	frames[frame].next = b->head;
	b->head = frame;
	if (!b->nr_free++)
		block_push(&part, nr);
	if (b->nr_free == TABLE_PAGES) {
		block_remove(&part, nr);
		block_push(&whole, nr);
	}
}

/* There is a free frame. */
static u32 block_take(void)
{
	u32 nr = part.head, frame;
	struct block *b;

	if (nr == BLOCK_NONE) {
		nr = whole.head;
		block_remove(&whole, nr);
		block_push(&part, nr);
	}
	b = &blocks[nr];
	frame = b->head;
	b->head = frames[frame].next;
	if (!--b->nr_free)
		block_remove(&part, nr);
	return frame;
}

/* --- setting up ------------------------------------------------------------------------------------ */

static u64 clamp(u64 value, u64 low, u64 high)
{
	return value < low ? low : value > high ? high : value;
}

/*
 * The distance from reserve to min is what faults may use up while direct reclaim cannot keep up; from
 * min to low what they may while the background thread wakes up; from low to high what that thread
 * makes room for in one go. 1/128 each, 1/64 for the last but one, within bounds that suit 4 MiB as
 * well as many GiB.
 */
static struct frame_marks marks_for(u64 total)
{
	struct frame_marks m;

	m.reserve = clamp(total / 128, 8, 256);
	m.min = m.reserve + clamp(total / 128, 8, 1024);
	m.low = m.min + clamp(total / 64, 16, 2048);
	m.high = m.low + clamp(total / 128, 16, 2048);
	return m;
}

/* Numbers frames and blocks of all extents; returns the frames. */
static u64 number_extents(const struct frame_extent *extent, unsigned n)
{
	u64 total = 0;

	nr_blocks = 0;
	for (unsigned i = 0; i < n; i++) {
		u64 at = extent[i].first.v % TABLE_PAGES;

		extents[i] = (struct extent){extent[i].first, extent[i].nframes, total, nr_blocks};
		total += extent[i].nframes;
		nr_blocks += (u32)((at + extent[i].nframes + TABLE_PAGES - 1) / TABLE_PAGES);
	}
	return total;
}

bool frame_init(const struct frame_extent *extent, unsigned n)
{
	u64 total;

	ASSERT(!frames && n <= FRAME_MAX_EXTENTS);
	total = number_extents(extent, n);
	if (!total || total >= FRAME_NONE)
		return false;
	blocks = hal_pages_alloc(block_pages(nr_blocks));
	frames = blocks ? hal_pages_alloc(array_pages(total)) : NULL;
	if (!frames) {
		if (blocks)
			hal_pages_free(blocks, block_pages(nr_blocks));
		return false;
	}
	nr_extents = n;
	nr_frames = total;
	frame_marks = marks_for(total);
	for (u32 i = 0; i < nr_blocks; i++)
		blocks[i].head = FRAME_NONE;
	/* Backwards, so that frames are handed out in ascending order at first. */
	for (u64 i = total; i-- > 0;) {
		frames[i].prev = FRAME_NONE;
		block_put((u32)i);
	}
	a64_store(&nr_free, total);
	return true;
}

#ifdef VARVE_HOST
void frame_exit(void)
{
	hal_pages_free(frames, array_pages(nr_frames));
	hal_pages_free(blocks, block_pages(nr_blocks));
	frames = NULL;
	blocks = NULL;
	nr_frames = 0;
	part.head = BLOCK_NONE;
	whole.head = BLOCK_NONE;
	a64_store(&nr_free, 0);
	a64_store(&nr_pool, 0);
	a64_store(&nr_tables, 0);
	a64_store(&unpackable, 0);
}
#endif

u64 frame_total(void)
{
	return nr_frames;
}

u64 frame_free_count(void)
{
	return a64_load(&nr_free);
}

u64 frame_pool_count(void)
{
	return a64_load(&nr_pool);
}

struct frame *frame_at(u32 frame)
{
	DEBUG_ASSERT(frame < nr_frames);
	return &frames[frame];
}

u32 frame_number(const struct frame *f)
{
	return (u32)(f - frames);
}

pfn_t frame_pfn(u32 frame)
{
	const struct extent *e;

	DEBUG_ASSERT(frame < nr_frames);
	e = extent_of(frame);
	return pfn(e->first.v + (frame - e->number));
}

u32 frame_of_pfn(pfn_t p)
{
	for (unsigned i = 0; i < nr_extents; i++)
		if (p.v - extents[i].first.v < extents[i].nframes)
			return (u32)(extents[i].number + (p.v - extents[i].first.v));
	return FRAME_NONE;
}

void *frame_ptr(u32 frame)
{
	return hal_frame_ptr(frame_pfn(frame));
}

/* Frames that this class has to leave alone. */
static u64 floor_for(enum frame_class class)
{
	switch (class) {
	case FRAME_FOR_CACHE:
		return frame_marks.low;
	case FRAME_FOR_FAULT:
		return frame_marks.reserve;
	case FRAME_FOR_POOL:
		break;
	}
	return 0;
}

/* Nobody else changes the state of a frame that is not a guest's. */
static void frame_hold(u32 frame)
{
	struct frame *f = &frames[frame];

	f->next = FRAME_NONE;
	a64_store(&f->state, (u64)FRAME_HELD << FRAME_USE_SHIFT);
}

u32 frame_alloc(enum frame_class class)
{
	u64 floor = floor_for(class);
	u32 frame;

	if (a64_load(&nr_free) <= floor)
		return FRAME_NONE;
	spin_lock(&frame_lock);
	if (a64_load(&nr_free) <= floor) {
		spin_unlock(&frame_lock);
		return FRAME_NONE;
	}
	frame = block_take();
	a64_count(&nr_free, -1ull);
	spin_unlock(&frame_lock);
	frame_hold(frame);
	return frame;
}

u32 frame_alloc_huge(void)
{
	u32 first = FRAME_NONE;

	spin_lock(&frame_lock);
	if (whole.head != BLOCK_NONE && a64_load(&nr_free) >= frame_marks.high + 2 * TABLE_PAGES) {
		struct block *b = &blocks[whole.head];

		first = frame_huge_head(b->head);
		block_remove(&whole, whole.head);
		b->head = FRAME_NONE;
		b->nr_free = 0;
		a64_count(&nr_free, -(u64)TABLE_PAGES);
	}
	spin_unlock(&frame_lock);
	for (u32 i = 0; first != FRAME_NONE && i < TABLE_PAGES; i++)
		frame_hold(first + i);
	return first;
}

u32 frame_huge_head(u32 frame)
{
	const struct extent *e = extent_of(frame);
	u64 at = frame - e->number, inside = (e->first.v + at) % TABLE_PAGES;

	if (at < inside || at - inside + TABLE_PAGES > e->nframes)
		return FRAME_NONE;
	return frame - (u32)inside;
}

bool frame_is_huge(u32 frame)
{
	u32 head = frame_huge_head(frame);

	return head != FRAME_NONE && a64_load(&frame_at(head)->state) & FRAME_HUGE;
}

void frame_free(u32 frame)
{
	struct frame *f = frame_at(frame);
	u64 state = a64_load(&f->state);
	enum frame_use use = frame_use(state);

	ASSERT(use != FRAME_FREE);
	ASSERT(!(state & (FRAME_LISTED | FRAME_PINS | FRAME_HUGE)) && !f->table);
	/* I7: a guest's frame comes through frame_retire() only. */
	ASSERT(use != FRAME_GUEST && (!(state & FRAME_LOCKED) || epoch_in_callback()));
#ifdef VARVE_DEBUG
	memset(frame_ptr(frame), POISON, PAGE_SIZE);
#endif
	f->owner = 0;
	f->prev = FRAME_NONE;
	a64_store(&f->copy, 0);
	a64_store(&f->state, (u64)FRAME_FREE << FRAME_USE_SHIFT);
	frame_count_unpackable(state, 0);
	spin_lock(&frame_lock);
	block_put(frame);
	a64_count(&nr_free, 1);
	if (use == FRAME_POOL)
		a64_count(&nr_pool, -1ull);
	spin_unlock(&frame_lock);
}

static void frame_release(struct epoch_node *node)
{
	frame_free(frame_number(container_of(node, struct frame, node)));
}

void frame_retire(u32 frame)
{
	DEBUG_ASSERT(!(a64_load(&frame_at(frame)->state) & (FRAME_LISTED | FRAME_PINS)));
	frame_state_change(frame, FRAME_USE, FRAME_LOCKED | (u64)FRAME_HELD << FRAME_USE_SHIFT);
	epoch_defer(&frame_at(frame)->node, frame_release);
}

void frame_state_change(u32 frame, u64 clear, u64 set)
{
	struct frame *f = frame_at(frame);
	u64 state = a64_load(&f->state);

	/* ord FR3: in order with what the caller does to the gfn word; pairs with ord M6 */
	while (!a64_cas(&f->state, &state, (state & ~clear) | set))
		;
	frame_count_unpackable(state, (state & ~clear) | set);
}

void frame_count_unpackable(u64 from, u64 to)
{
	a64_count(&unpackable,
	          ((to & FRAME_UNPACKABLE) != 0) - (u64)((from & FRAME_UNPACKABLE) != 0));
}

u64 frame_table_count(void)
{
	return a64_load(&nr_tables);
}

u64 frame_packable_count(void)
{
	u64 others = frame_free_count() + frame_pool_count() + frame_table_count() +
	             a64_load(&unpackable);

	return frame_total() > others ? frame_total() - others : 0;
}

void frame_give(u32 frame, enum frame_use use, u16 space_id, gfn_t g)
{
	struct frame *f = frame_at(frame);

	ASSERT(frame_use(a64_load(&f->state)) == FRAME_HELD &&
	       (use == FRAME_GUEST || use == FRAME_POOL));
	f->owner = (u64)space_id << 48 | g.v;
	f->next = FRAME_NONE;
	f->prev = FRAME_NONE;
	a64_store(&f->copy, 0);
	a64_store(&f->state, (u64)use << FRAME_USE_SHIFT);
	if (use == FRAME_POOL)
		a64_count(&nr_pool, 1);
}

void frame_make_table(u32 frame, u16 space_id, void *about)
{
	struct frame *f = frame_at(frame);

	ASSERT(a64_load(&f->state) == (u64)FRAME_HELD << FRAME_USE_SHIFT && about);
	f->owner = (u64)space_id << 48;
	f->next = FRAME_NONE;
	f->table = about;
	a64_store(&f->state, (u64)FRAME_HELD << FRAME_USE_SHIFT | FRAME_TABLE);
	a64_count(&nr_tables, 1);
}

void frame_unmake_table(u32 frame)
{
	struct frame *f = frame_at(frame);

	ASSERT(a64_load(&f->state) & FRAME_TABLE);
	f->table = NULL;
	frame_hold(frame);
	a64_count(&nr_tables, -1ull);
}

bool frame_pin_try(u32 frame)
{
	struct frame *f = frame_at(frame);
	u64 state = a64_load(&f->state);

	do {
		if (frame_use(state) != FRAME_GUEST || state & FRAME_ISOLATED)
			return false;
		if ((state & FRAME_PINS) == FRAME_PINS)
			return false;
		/* ord FR1: contents are used only once it is pinned; pairs with ord FR2, ord L2 */
	} while (!a64_cas(&f->state, &state, state + FRAME_PIN_ONE));
	return true;
}

void frame_unpin(u32 frame)
{
	struct frame *f = frame_at(frame);
	u64 state = a64_load(&f->state);

	do {
		ASSERT(state & FRAME_PINS);
		/* ord FR2: contents were used before; pairs with the isolating exchange (ord L1) */
	} while (!a64_cas(&f->state, &state, state - FRAME_PIN_ONE));
}

void frame_mark_accessed(u32 frame)
{
	struct frame *f = frame_at(frame);
	u64 state = a64_load(&f->state), next;

	do {
		if (frame_use(state) != FRAME_GUEST)
			return;
		next = state | FRAME_REFERENCED;
		if (state & FRAME_REFERENCED && (state & FRAME_REFS) != FRAME_REFS)
			next = state + (1u << FRAME_REFS_SHIFT);
	} while (next != state && !a64_cas(&f->state, &state, next));
}
