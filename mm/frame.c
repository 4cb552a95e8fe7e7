/*
 * Owns the array of struct frame, the free list and the marks. A frame that is free, held or the pool's
 * has one owner by construction; a guest's frame is named by the gfn word of its owner (I1).
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
};

struct frame_marks frame_marks;

static struct extent extents[FRAME_MAX_EXTENTS];
static unsigned nr_extents;
static struct frame *frames;
static u64 nr_frames;
static struct spinlock frame_lock = SPINLOCK_INIT(LOCK_FRAME, "frame");
static u32 free_head = FRAME_NONE; /* linked through next; frame_lock */
static a64 nr_free, nr_pool;       /* changed under frame_lock */
static a64 unpackable;             /* frames with FRAME_UNPACKABLE */

static u64 array_pages(u64 n)
{
	return align_up(n * sizeof(struct frame), (u64)PAGE_SIZE) >> PAGE_SHIFT;
}

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

bool frame_init(const struct frame_extent *extent, unsigned n)
{
	u64 total = 0;

	ASSERT(!frames && n <= FRAME_MAX_EXTENTS);
	for (unsigned i = 0; i < n; i++) {
		extents[i] = (struct extent){extent[i].first, extent[i].nframes, total};
		total += extent[i].nframes;
	}
	if (!total || total >= FRAME_NONE)
		return false;
	frames = hal_pages_alloc(array_pages(total));
	if (!frames)
		return false;
	nr_extents = n;
	nr_frames = total;
	frame_marks = marks_for(total);
	/* Backwards, so that frames are handed out in ascending order at first. */
	for (u64 i = total; i-- > 0;) {
		frames[i].prev = FRAME_NONE;
		frames[i].next = free_head;
		free_head = (u32)i;
	}
	a64_store(&nr_free, total);
	return true;
}

#ifdef VARVE_HOST
void frame_exit(void)
{
	hal_pages_free(frames, array_pages(nr_frames));
	frames = NULL;
	nr_frames = 0;
	free_head = FRAME_NONE;
	a64_store(&nr_free, 0);
	a64_store(&nr_pool, 0);
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
	unsigned i = 0;

	DEBUG_ASSERT(frame < nr_frames);
	while (frame - extents[i].number >= extents[i].nframes)
		i++;
	return pfn(extents[i].first.v + (frame - extents[i].number));
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

u32 frame_alloc(enum frame_class class)
{
	u64 floor = floor_for(class);
	struct frame *f;
	u32 frame;

	if (a64_load(&nr_free) <= floor)
		return FRAME_NONE;
	spin_lock(&frame_lock);
	if (a64_load(&nr_free) <= floor) {
		spin_unlock(&frame_lock);
		return FRAME_NONE;
	}
	frame = free_head;
	f = &frames[frame];
	free_head = f->next;
	a64_count(&nr_free, -1ull);
	spin_unlock(&frame_lock);

	f->next = FRAME_NONE;
	/* Nobody else changes the state of a frame that is not a guest's. */
	a64_store(&f->state,
	          (a64_load(&f->state) & FRAME_STAMP) | (u64)FRAME_HELD << FRAME_USE_SHIFT);
	return frame;
}

void frame_free(u32 frame)
{
	struct frame *f = frame_at(frame);
	u64 state = a64_load(&f->state);
	enum frame_use use = frame_use(state);

	ASSERT(use != FRAME_FREE);
	ASSERT(!(state & (FRAME_GEN | FRAME_PINS)) && !a64_load(&f->rmap));
	/* I7: a guest's frame comes through frame_retire() only. */
	ASSERT(use != FRAME_GUEST && (!(state & FRAME_LOCKED) || epoch_in_callback()));
#ifdef VARVE_DEBUG
	memset(frame_ptr(frame), POISON, PAGE_SIZE);
#endif
	f->owner = 0;
	f->prev = FRAME_NONE;
	a64_store(&f->copy, 0);
	a64_store(&f->state, (state & FRAME_STAMP) | (u64)FRAME_FREE << FRAME_USE_SHIFT);
	frame_count_unpackable(state, 0);
	spin_lock(&frame_lock);
	f->next = free_head;
	free_head = frame;
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
	DEBUG_ASSERT(!(a64_load(&frame_at(frame)->state) & (FRAME_GEN | FRAME_PINS)));
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

u64 frame_packable_count(void)
{
	u64 others = frame_free_count() + frame_pool_count() + a64_load(&unpackable);

	return frame_total() > others ? frame_total() - others : 0;
}

void frame_give(u32 frame, enum frame_use use, u16 space_id, gfn_t g)
{
	struct frame *f = frame_at(frame);
	u64 state = a64_load(&f->state);

	ASSERT(frame_use(state) == FRAME_HELD && (use == FRAME_GUEST || use == FRAME_POOL));
	f->owner = (u64)space_id << 48 | g.v;
	f->next = FRAME_NONE;
	f->prev = FRAME_NONE;
	a64_store(&f->copy, 0);
	a64_store(&f->state, (state & FRAME_STAMP) | (u64)use << FRAME_USE_SHIFT);
	if (use == FRAME_POOL)
		a64_count(&nr_pool, 1);
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
