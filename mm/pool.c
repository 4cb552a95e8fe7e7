/*
 * One span a class:
 *
 *   frames      [.......f0.......][.......f1.......][.......f2.......]    chained by struct frame
 *   slots       |  0  |  1  |  2  |  3  |  4  |  5  |  6  |               `next` and `prev`
 *                                                       ^-- put here, drop takes from here
 *
 *   slot        handle index (4 bytes), the bytes, unused rest of the class's size
 *   handle      (mm/handle) -> entry: frame and offset where the slot begins, size of the bytes
 *
 * Slot sizes and offsets are multiples of 16, so the four bytes at the head of a slot lie in one
 * frame, and a slot is smaller than a frame, so a put needs one new frame at most and a slot
 * touches two.
 *
 * What lies in the frames is never trusted with anything but itself: the index at the head of a
 * slot is checked against its entry when the slot has to move, and is looked for in the table if it
 * was damaged. A damaged object therefore costs its owner only.
 */
#include "mm/pool.h"

#include "arch/hal.h"
#include "lib/lock.h"
#include "lib/string.h"
#include "mm/frame.h"
#include "mm/handle.h"
#include "mm/pool_chain.h"
#include "mm/pool_class.h"
#include "mm/pool_order.h"
#include "mm/swap.h"

/* At the head of a slot: the index of its object's handle. */
#define HEAD_BYTES 4u

static_assert(POOL_CLASS_LAST_BYTES == POOL_MAX_BYTES + HEAD_BYTES, "last class");
static_assert(POOL_OVERHEAD == HEAD_BYTES + sizeof(u64), "an entry and a head");
static_assert(HANDLE_BITS <= POOL_HANDLE_BITS, "handles fit the gfn word");

/*
 * Entry of a handle: frame 31:0, offset in units of 16 bytes 39:32; or, of an object that lies on the disk, its first
 * sector 39:0. Size in bytes 51:40.
 */
#define ENTRY_OFFSET_SHIFT 32
#define ENTRY_SIZE_SHIFT   40
#define ENTRY_SIZE         BITS(51, 40)
#define ENTRY_ON_DISK      BIT(52)
#define ENTRY_SECTOR       BITS(39, 0)
static_assert(POOL_MAX_BYTES < BIT(52 - ENTRY_SIZE_SHIFT), "size fits its field");
static_assert((ENTRY_ON_DISK & ~HANDLE_VALUE) == 0, "an entry fits a handle's value");

struct class
{
	u64 objects;
	u32 last; /* frame; meaningless while there are no objects */
};

static struct {
	struct spinlock lock;
	struct handles handles;
	u64 object_bytes; /* in frames, like the next two */
	u64 frames;
	struct class class[POOL_CLASSES];
	u64 on_disk, disk_bytes; /* objects there, and what they are together */
	u64 moving
	        [POOL_MOVES]; /* handles of objects on their way there; POOL_NONE: dropped meanwhile */
	unsigned nr_moving;
} pool = {.lock = SPINLOCK_INIT(LOCK_STORE, "pool")};

static u64 class_frames(unsigned c, u64 objects)
{
	return (objects * pool_class_bytes(c) + PAGE_SIZE - 1) >> PAGE_SHIFT;
}

static u64 entry_make(struct place at, u32 bytes)
{
	return at.frame | (u64)(at.offset / 16) << ENTRY_OFFSET_SHIFT |
	       (u64)bytes << ENTRY_SIZE_SHIFT;
}

static struct place entry_place(u64 entry)
{
	return (struct place){(u32)entry, (u32)(entry >> ENTRY_OFFSET_SHIFT & 0xff) * 16};
}

static u32 entry_bytes(u64 entry)
{
	return (u32)((entry & ENTRY_SIZE) >> ENTRY_SIZE_SHIFT);
}

static bool entry_is_at(u64 entry, struct place at)
{
	return !(entry & ENTRY_ON_DISK) && place_same(entry_place(entry), at);
}

/* The last slot. */
static struct place class_last(unsigned c, const struct class *k)
{
	u64 start = (k->objects - 1) * pool_class_bytes(c);
	u64 end = start + pool_class_bytes(c) - 1;
	u32 frame = k->last;

	if (start >> PAGE_SHIFT != end >> PAGE_SHIFT)
		frame = frame_at(frame)->prev;
	return (struct place){frame, (u32)(start & (PAGE_SIZE - 1))};
}

/* One slot more at the end. False, and nothing changed, when that takes a frame and there is none.
 */
static bool class_grow(unsigned c)
{
	struct class *k = &pool.class[c];
	u32 frame;

	if (class_frames(c, k->objects + 1) > class_frames(c, k->objects)) {
		frame = frame_alloc(FRAME_FOR_POOL);
		if (frame == FRAME_NONE)
			return false;
		frame_give(frame, FRAME_POOL, 0, gfn(c));
		frame_at(frame)->next = FRAME_NONE;
		frame_at(frame)->prev = k->objects ? k->last : FRAME_NONE;
		if (k->objects)
			frame_at(k->last)->next = frame;
		k->last = frame;
		pool.frames++;
	}
	k->objects++;
	return true;
}

/* One slot less. The frame that becomes free goes back at once. */
static void class_shrink(unsigned c)
{
	struct class *k = &pool.class[c];
	u32 gone = k->last;

	k->objects--;
	if (class_frames(c, k->objects) == class_frames(c, k->objects + 1))
		return;
	k->last = frame_at(gone)->prev;
	if (k->objects)
		frame_at(k->last)->next = FRAME_NONE;
	frame_at(gone)->prev = FRAME_NONE;
	frame_free(gone);
	pool.frames--;
}

static u32 head_read(struct place at)
{
	u32 index;

	memcpy(&index, place_ptr(at), HEAD_BYTES);
	return index;
}

/* Slow path of slot_entry(): the head of a slot was overwritten. */
static u64 *slot_search(struct place at)
{
	u64 cursor = 0, h;

	while ((h = handle_next(&pool.handles, &cursor)) != HANDLE_NONE) {
		u64 *entry = handle_entry(&pool.handles, h);

		if (entry_is_at(*entry, at)) {
			u32 index = (u32)h;

			memcpy(place_ptr(at), &index, HEAD_BYTES);
			return entry;
		}
	}
	return NULL;
}

/* The entry of the object that lies there. */
static u64 *slot_entry(struct place at)
{
	u64 *entry = handle_entry_at(&pool.handles, head_read(at));

	if (entry && entry_is_at(*entry, at))
		return entry;
	hal_log(HAL_ERROR, "pool: damaged head in frame %u at %u", at.frame, at.offset);
	return slot_search(at);
}

static u64 put_locked(const void *data, u32 bytes)
{
	unsigned c = pool_class_of(bytes + HEAD_BYTES);
	struct place at;
	u64 handle;
	u32 index;

	handle = handle_alloc(&pool.handles, 0);
	if (handle == HANDLE_NONE)
		return POOL_NONE;
	if (!class_grow(c)) {
		handle_free(&pool.handles, handle);
		return POOL_NONE;
	}
	at = class_last(c, &pool.class[c]);
	index = (u32)handle;
	handle_set(handle_entry_at(&pool.handles, index), entry_make(at, bytes));
	memcpy(place_ptr(at), &index, HEAD_BYTES);
	chain_write(place_add(at, HEAD_BYTES), data, bytes);
	pool.object_bytes += bytes;
	if (swap_state() != SWAP_OFF)
		pool_order_add(index);
	return handle;
}

u64 pool_put(const void *data, u32 bytes)
{
	u64 handle;

	ASSERT(bytes >= 1 && bytes <= POOL_MAX_BYTES);
	spin_lock(&pool.lock);
	handle = put_locked(data, bytes);
	spin_unlock(&pool.lock);
	swap_after_put(handle == POOL_NONE);
	return handle;
}

/* `data` NULL: only whether it is there. */
static u32 get_from_disk(u64 handle, u64 entry, void *data)
{
	u32 bytes = entry_bytes(entry);

	switch (swap_read(handle, entry & ENTRY_SECTOR, bytes, data)) {
	case SWAP_READ_OK:
		return bytes;
	case SWAP_READ_WAIT:
		return POOL_WAIT;
	default:
		return 0;
	}
}

u32 pool_get(u64 handle, void *data, u32 max)
{
	u32 bytes = 0;
	const u64 *entry;

	spin_lock(&pool.lock);
	entry = handle_entry(&pool.handles, handle);
	if (entry && *entry & ENTRY_ON_DISK && max >= entry_bytes(*entry)) {
		bytes = get_from_disk(handle, *entry, data);
	} else if (entry) {
		bytes = entry_bytes(*entry);
		if (!(*entry & ENTRY_ON_DISK))
			chain_read(place_add(entry_place(*entry), HEAD_BYTES), data,
			           min_of(bytes, max));
	}
	spin_unlock(&pool.lock);
	return bytes;
}

bool pool_ready(u64 handle)
{
	bool ready = true;
	const u64 *entry;

	spin_lock(&pool.lock);
	entry = handle_entry(&pool.handles, handle);
	if (entry && *entry & ENTRY_ON_DISK)
		ready = get_from_disk(handle, *entry, NULL) != POOL_WAIT;
	spin_unlock(&pool.lock);
	return ready;
}

bool pool_on_disk(u64 handle)
{
	const u64 *entry;
	bool on_disk;

	spin_lock(&pool.lock);
	entry = handle_entry(&pool.handles, handle);
	on_disk = entry && *entry & ENTRY_ON_DISK;
	spin_unlock(&pool.lock);
	return on_disk;
}

bool pool_equal(u64 handle, const void *data, u32 bytes)
{
	const u64 *entry;
	bool equal;

	spin_lock(&pool.lock);
	entry = handle_entry(&pool.handles, handle);
	equal = entry && entry_bytes(*entry) == bytes && !(*entry & ENTRY_ON_DISK) &&
	        chain_equal(place_add(entry_place(*entry), HEAD_BYTES), data, bytes);
	spin_unlock(&pool.lock);
	return equal;
}

/* The object's place in frames becomes free; whoever lies at the end of its class moves there. */
static void slot_release(u64 entry)
{
	unsigned c = pool_class_of(entry_bytes(entry) + HEAD_BYTES);
	struct place hole = entry_place(entry), last = class_last(c, &pool.class[c]);

	if (!place_same(hole, last)) {
		u64 *moved = slot_entry(last);

		ASSERT(moved);
		chain_copy(hole, last, HEAD_BYTES + entry_bytes(*moved));
		handle_set(moved, entry_make(hole, entry_bytes(*moved)));
	}
	class_shrink(c);
	pool.object_bytes -= entry_bytes(entry);
}

/* Takes the handle off the list of those that are on their way; was it there? */
static bool moving_end(u64 handle)
{
	for (unsigned i = 0; i < pool.nr_moving; i++) {
		if (pool.moving[i] != handle)
			continue;
		pool.moving[i] = pool.moving[--pool.nr_moving];
		return true;
	}
	return false;
}

void pool_drop(u64 handle)
{
	const u64 *at;
	u64 entry;

	spin_lock(&pool.lock);
	at = handle_entry(&pool.handles, handle);
	ASSERT(at);
	entry = *at;
	pool_order_remove((u32)handle);
	(void)moving_end(handle);
	handle_free(&pool.handles, handle);
	if (entry & ENTRY_ON_DISK) {
		pool.on_disk--;
		pool.disk_bytes -= entry_bytes(entry);
		swap_drop(handle, entry & ENTRY_SECTOR, entry_bytes(entry));
	} else {
		slot_release(entry);
	}
	spin_unlock(&pool.lock);
}

/* --- to the disk ----------------------------------------------------------------------------------- */

u32 pool_move_begin(void *to, u64 *handle)
{
	u32 index, bytes = 0;
	const u64 *entry;

	spin_lock(&pool.lock);
	index = pool_order_oldest();
	if (index && pool.nr_moving < POOL_MOVES) {
		pool_order_remove(index);
		entry = handle_entry_at(&pool.handles, index);
		ASSERT(entry);
		*handle = handle_of_entry(index, *entry);
		bytes = entry_bytes(*entry);
		chain_read(place_add(entry_place(*entry), HEAD_BYTES), to, bytes);
		pool.moving[pool.nr_moving++] = *handle;
	}
	spin_unlock(&pool.lock);
	return bytes;
}

bool pool_move_end(u64 handle, u64 sector)
{
	u64 *at, entry;
	bool moved;

	spin_lock(&pool.lock);
	moved = moving_end(handle);
	if (moved) {
		at = handle_entry(&pool.handles, handle);
		ASSERT(at);
		entry = *at;
		handle_set(at, (entry & ENTRY_SIZE) | ENTRY_ON_DISK | sector);
		slot_release(entry);
		pool.on_disk++;
		pool.disk_bytes += entry_bytes(entry);
	}
	spin_unlock(&pool.lock);
	return moved;
}

void pool_move_cancel(u64 handle)
{
	spin_lock(&pool.lock);
	if (moving_end(handle))
		pool_order_put_back((u32)handle);
	spin_unlock(&pool.lock);
}

u64 pool_movable(void)
{
	u64 n;

	spin_lock(&pool.lock);
	n = pool_order_listed();
	spin_unlock(&pool.lock);
	return n;
}

u64 pool_next(u64 *cursor)
{
	u64 handle;

	static_assert(POOL_NONE == HANDLE_NONE, "same end");
	spin_lock(&pool.lock);
	do
		handle = handle_next(&pool.handles, cursor);
	while (handle != HANDLE_NONE && *handle_entry(&pool.handles, handle) & ENTRY_ON_DISK);
	spin_unlock(&pool.lock);
	return handle;
}

void pool_snapshot(struct pool_stats *out)
{
	spin_lock(&pool.lock);
	out->objects = pool.handles.used;
	out->object_bytes = pool.object_bytes;
	out->frames = pool.frames;
	out->meta_bytes = handle_bytes(&pool.handles) + pool_order_bytes();
	out->on_disk = pool.on_disk;
	out->disk_bytes = pool.disk_bytes;
	spin_unlock(&pool.lock);
}

static u64 audit_fault(const char *what, u64 found, u64 expected)
{
	hal_log(HAL_ERROR, "pool: audit: %s: found %llu, expected %llu", what,
	        (unsigned long long)found, (unsigned long long)expected);
	return 1;
}

/* The chain from its end to its beginning: links, use, owner. */
static u64 audit_chain(unsigned c, u64 *frames)
{
	u64 expected = class_frames(c, pool.class[c].objects), n, faults = 0;
	u32 frame = pool.class[c].last, next = FRAME_NONE;

	for (n = 0; n < expected; n++) {
		const struct frame *f;

		if (frame >= frame_total())
			return faults + audit_fault("frames in a chain", n, expected);
		f = frame_at(frame);
		if (frame_use(a64_load(&f->state)) != FRAME_POOL)
			faults += audit_fault("use of a frame", frame_use(a64_load(&f->state)),
			                      FRAME_POOL);
		if (frame_gfn(f).v != c)
			faults += audit_fault("class of a frame", frame_gfn(f).v, c);
		if (f->next != next)
			faults += audit_fault("link to the next frame", f->next, next);
		next = frame;
		frame = f->prev;
	}
	*frames += n;
	return faults;
}

/* Every slot, from the last on, belongs to the entry that names its place. */
static u64 audit_slots(unsigned c, u64 *bytes)
{
	struct class k = pool.class[c];
	u64 faults = 0;

	for (; k.objects; k.objects--) {
		struct place at = class_last(c, &k);
		const u64 *entry = handle_entry_at(&pool.handles, head_read(at));

		if (!entry || !entry_is_at(*entry, at))
			faults += audit_fault("head of a slot", head_read(at), k.objects - 1);
		else if (pool_class_of(entry_bytes(*entry) + HEAD_BYTES) != c)
			faults += audit_fault("size of an object", entry_bytes(*entry), c);
		else
			*bytes += entry_bytes(*entry);
		k.last = at.offset ? at.frame : frame_at(at.frame)->prev;
	}
	return faults;
}

/* Every object on the disk has its sectors, and no sector is without one. */
static u64 audit_disk(void)
{
	u64 cursor = 0, faults = 0, objects = 0, bytes = 0, sectors = 0, h;

	while ((h = handle_next(&pool.handles, &cursor)) != HANDLE_NONE) {
		u64 entry = *handle_entry(&pool.handles, h);

		if (!(entry & ENTRY_ON_DISK))
			continue;
		objects++;
		bytes += entry_bytes(entry);
		sectors += swap_sectors(entry_bytes(entry));
		if (!swap_has(entry & ENTRY_SECTOR, entry_bytes(entry)))
			faults += audit_fault("sectors of an object", entry & ENTRY_SECTOR, h);
	}
	if (objects != pool.on_disk)
		faults += audit_fault("objects on the disk", objects, pool.on_disk);
	if (bytes != pool.disk_bytes)
		faults += audit_fault("bytes on the disk", bytes, pool.disk_bytes);
	return faults + swap_audit(sectors);
}

u64 pool_audit(void)
{
	u64 faults = 0, frames = 0, bytes = 0, objects = 0;
	unsigned c;

	spin_lock(&pool.lock);
	for (c = 0; c < POOL_CLASSES; c++) {
		u64 bad = audit_chain(c, &frames);

		/* A broken chain is not followed twice. */
		faults += bad ? bad : audit_slots(c, &bytes);
		objects += pool.class[c].objects;
	}
	faults += audit_disk();
	objects += pool.on_disk;
	if (objects != pool.handles.used)
		faults += audit_fault("objects", objects, pool.handles.used);
	if (frames != pool.frames)
		faults += audit_fault("frames", frames, pool.frames);
	if (!faults && bytes != pool.object_bytes)
		faults += audit_fault("bytes", bytes, pool.object_bytes);
	spin_unlock(&pool.lock);
	return faults;
}
