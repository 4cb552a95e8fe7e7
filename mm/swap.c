/*
 * Why what is read is what was written:
 *
 *   An object on its way to the disk is in frames, and is read from there. Its entry changes to the sectors in one
 *   section of LOCK_STORE, after the write has ended; so who finds sectors in an entry finds the bytes in them.
 *   Sectors are given back in the section of LOCK_STORE in which the handle goes, unless a transfer reads them: then
 *   when it ends. So while a handle is valid, nobody writes to its sectors.
 *   A transfer belongs to a handle from a section of LOCK_STORE in which the handle was valid until it is taken, or
 *   until the handle goes, which takes the name off the transfer. So a handle that is given out again never finds what
 *   was read for the one before.
 *
 * What was read and nobody came for (its VM was stopped; another handle's holder took it) is forgotten when a transfer is
 * wanted and none is free.
 */
#include "mm/swap.h"

#include "arch/hal.h"
#include "lib/atomic.h"
#include "lib/lock.h"
#include "lib/string.h"
#include "mm/disk.h"
#include "mm/frame.h"
#include "mm/pool.h"
#include "mm/pool_order.h"
#include "mm/sectors.h"

#define BATCH_OBJECTS 32u
#define BATCH_SECTORS 64u
#define BATCH_PAGES   (BATCH_SECTORS * DISK_SECTOR / PAGE_SIZE)
#define BATCH_TAG     SWAP_READS
#define OBJECT_MAX    (PAGE_SIZE / DISK_SECTOR)
#define FORGOTTEN_NS  1000000000ull
/* Less than this part of all frames in the pool, and moving that is no hope for anybody. */
#define HOPE_PART 16u
/* 64 GiB: more is not used. */
#define SECTORS_MAX BIT(27)

static_assert(BATCH_SECTORS <= SECTORS_RUN_MAX, "a batch is one run");
static_assert(POOL_MAX_BYTES <= OBJECT_MAX * DISK_SECTOR, "an object is read into a page");

typedef unsigned long long ull;

enum read_state { READ_FREE, READ_ASKED, READ_BEGUN, READ_DONE, READ_FAILED };

struct read {
	enum read_state state; /* asked: the disk has not taken it yet */
	u64 handle;            /* POOL_NONE: it was dropped */
	u64 sector;
	u32 bytes;
	u64 since_ns; /* it was asked for, then: over */
	void *page;
};

enum batch_state { BATCH_NONE, BATCH_ASKED, BATCH_BEGUN, BATCH_DONE, BATCH_FAILED };

struct batch {
	enum batch_state state; /* LOCK_SWAP; the rest is whose turn it is */
	unsigned n;
	u32 sectors;
	u64 first;
	u64 since_ns;
	struct {
		u64 handle;
		u32 at; /* sector within the batch */
		u32 bytes;
	} object[BATCH_OBJECTS];
	u8 *data;
};

static struct {
	struct spinlock lock;
	a32 state;  /* enum swap_state */
	a32 full;   /* the oldest object found no sectors, and none was given back since */
	a32 asleep; /* swap_turn() had nothing to do */
	a32 wanted; /* the pool found no frame */
	bool said_full;
	u64 pool_frames;
	void (*wake)(void);
	struct disk disk;
	struct sectors map;
	struct read read[SWAP_READS];
	struct batch batch;
	u64 next_look_ns;        /* at what takes too long */
	struct swap_stats total; /* what is counted */
	struct hist read_ns;
} swap = {.lock = SPINLOCK_INIT(LOCK_SWAP, "swap")};

const char *const swap_state_names[] = {"off", "on", "stuck", "gone", NULL};

enum swap_state swap_state(void)
{
	return (enum swap_state)a32_load(&swap.state);
}

u32 swap_sectors(u32 bytes)
{
	return (bytes + DISK_SECTOR - 1) / DISK_SECTOR;
}

/* --- transfers; lock held -------------------------------------------------------------------------- */

static void give_sectors(u64 first, u32 n)
{
	sectors_give(&swap.map, first, n);
	a32_store(&swap.full, 0);
}

static void read_forget(struct read *r)
{
	r->state = READ_FREE;
	r->handle = POOL_NONE;
}

static void read_end(struct read *r, bool ok)
{
	if (ok) {
		swap.total.reads_total++;
		hist_add(&swap.read_ns, hal_time_ns() - r->since_ns);
	} else {
		swap.total.errors_total++;
		hal_log(HAL_ERROR,
		        "swap: %s: reading %u sectors at %llu failed; the VM whose page is there "
		        "cannot go on",
		        swap.disk.name, swap_sectors(r->bytes), (ull)r->sector);
	}
	r->state = ok ? READ_DONE : READ_FAILED;
	r->since_ns = hal_time_ns();
	if (r->handle != POOL_NONE)
		return;
	give_sectors(r->sector, swap_sectors(r->bytes));
	read_forget(r);
}

static void batch_end(bool ok)
{
	swap.batch.state = ok ? BATCH_DONE : BATCH_FAILED;
	if (ok) {
		swap.total.writes_total++;
		return;
	}
	swap.total.errors_total++;
	if (swap_state() == SWAP_ON)
		a32_store(&swap.state, SWAP_STUCK);
	hal_log(HAL_ERROR,
	        "swap: %s: writing %u sectors at %llu failed; their pages stay in memory, and no "
	        "more are moved there: look after the disk",
	        swap.disk.name, swap.batch.sectors, (ull)swap.batch.first);
}

/* Whatever is under way has failed. */
static void give_up(const char *why)
{
	a32_store(&swap.state, SWAP_GONE);
	hal_log(HAL_ERROR,
	        "swap: %s %s: it is given up, and VMs that need pages from there will be stopped: "
	        "look after the disk",
	        swap.disk.name, why);
	swap.disk.ops->reset(swap.disk.dev);
	for (unsigned i = 0; i < SWAP_READS; i++)
		if (swap.read[i].state == READ_ASKED || swap.read[i].state == READ_BEGUN)
			read_end(&swap.read[i], false);
	if (swap.batch.state == BATCH_ASKED || swap.batch.state == BATCH_BEGUN)
		batch_end(false);
}

/* False: the disk names a transfer that is none. */
static bool transfer_end(u32 tag, bool ok)
{
	if (tag == BATCH_TAG && swap.batch.state == BATCH_BEGUN)
		batch_end(ok);
	else if (tag < SWAP_READS && swap.read[tag].state == READ_BEGUN)
		read_end(&swap.read[tag], ok);
	else
		return false;
	return true;
}

static bool read_submit(u32 tag)
{
	struct read *r = &swap.read[tag];
	struct disk_transfer t = {.tag = tag,
	                          .sector = r->sector,
	                          .sectors = swap_sectors(r->bytes),
	                          .data = r->page};

	if (!swap.disk.ops->submit(swap.disk.dev, &t))
		return false;
	r->state = READ_BEGUN;
	return true;
}

static bool batch_submit(void)
{
	struct batch *b = &swap.batch;
	struct disk_transfer t = {.tag = BATCH_TAG,
	                          .write = true,
	                          .sector = b->first,
	                          .sectors = b->sectors,
	                          .data = b->data};

	if (!swap.disk.ops->submit(swap.disk.dev, &t))
		return false;
	b->state = BATCH_BEGUN;
	return true;
}

/* What the disk had no room for: faults wait for reads, so those come first. */
static void submit_waiting(void)
{
	for (u32 i = 0; i < SWAP_READS; i++)
		if (swap.read[i].state == READ_ASKED && !read_submit(i))
			return;
	if (swap.batch.state == BATCH_ASKED)
		(void)batch_submit();
}

static void look_for_late_ones(void)
{
	u64 now = hal_time_ns(), oldest = now;

	if (now < swap.next_look_ns)
		return;
	swap.next_look_ns = now + SWAP_PATIENCE_NS / 10;
	for (unsigned i = 0; i < SWAP_READS; i++)
		if (swap.read[i].state == READ_ASKED || swap.read[i].state == READ_BEGUN)
			oldest = min_of(oldest, swap.read[i].since_ns);
	if (swap.batch.state == BATCH_ASKED || swap.batch.state == BATCH_BEGUN)
		oldest = min_of(oldest, swap.batch.since_ns);
	if (now - oldest > SWAP_PATIENCE_NS)
		give_up("does not answer");
}

static void poll(void)
{
	u32 tag;
	bool ok;

	if (swap_state() == SWAP_GONE)
		return;
	while (swap.disk.ops->reap(swap.disk.dev, &tag, &ok)) {
		if (transfer_end(tag, ok))
			continue;
		give_up("answers what it was not asked");
		return;
	}
	submit_waiting();
	look_for_late_ones();
}

/* --- reads ----------------------------------------------------------------------------------------- */

static struct read *read_find(u64 handle)
{
	for (unsigned i = 0; i < SWAP_READS; i++)
		if (swap.read[i].state != READ_FREE && swap.read[i].handle == handle)
			return &swap.read[i];
	return NULL;
}

/* One that is free, or was forgotten; NULL: all are wanted. */
static struct read *read_take(void)
{
	u64 now = hal_time_ns();
	struct read *r = NULL;

	for (unsigned i = 0; i < SWAP_READS; i++) {
		if (swap.read[i].state == READ_FREE)
			return &swap.read[i];
		if (swap.read[i].state >= READ_DONE && now - swap.read[i].since_ns > FORGOTTEN_NS)
			r = &swap.read[i];
	}
	return r;
}

static enum swap_read read_begin(u64 handle, u64 sector, u32 bytes)
{
	struct read *r;

	if (swap_state() == SWAP_GONE)
		return SWAP_READ_FAILED;
	r = read_take();
	if (!r)
		return SWAP_READ_WAIT;
	r->state = READ_ASKED;
	r->handle = handle;
	r->sector = sector;
	r->bytes = bytes;
	r->since_ns = hal_time_ns();
	(void)read_submit((u32)(r - swap.read));
	return SWAP_READ_WAIT;
}

static enum swap_read read_ask(struct read *r, void *to)
{
	enum swap_read result = r->state == READ_DONE ? SWAP_READ_OK : SWAP_READ_FAILED;

	if (r->state < READ_DONE)
		return SWAP_READ_WAIT;
	if (!to)
		return result;
	if (result == SWAP_READ_OK)
		memcpy(to, r->page, r->bytes);
	read_forget(r);
	return result;
}

enum swap_read swap_read(u64 handle, u64 sector, u32 bytes, void *to)
{
	enum swap_read result;
	struct read *r;

	spin_lock(&swap.lock);
	poll();
	r = read_find(handle);
	result = r ? read_ask(r, to) : read_begin(handle, sector, bytes);
	spin_unlock(&swap.lock);
	return result;
}

void swap_drop(u64 handle, u64 sector, u32 bytes)
{
	struct read *r;

	spin_lock(&swap.lock);
	r = read_find(handle);
	if (r && r->state == READ_BEGUN) {
		r->handle = POOL_NONE;
	} else {
		if (r)
			read_forget(r);
		give_sectors(sector, swap_sectors(bytes));
	}
	spin_unlock(&swap.lock);
}

/* --- the batch ------------------------------------------------------------------------------------- */

static bool pressed(void)
{
	return a32_load(&swap.wanted) || frame_pool_count() > swap.pool_frames;
}

/* The oldest objects, each from the beginning of a sector. */
static void collect(struct batch *b)
{
	b->n = b->sectors = 0;
	while (b->n < BATCH_OBJECTS && b->sectors + OBJECT_MAX <= BATCH_SECTORS) {
		u8 *to = b->data + (size_t)b->sectors * DISK_SECTOR;
		u64 handle;
		u32 bytes = pool_move_begin(to, &handle), sectors = swap_sectors(bytes);

		if (!bytes)
			break;
		memset(to + bytes, 0, (size_t)sectors * DISK_SECTOR - bytes);
		b->object[b->n].handle = handle;
		b->object[b->n].at = b->sectors;
		b->object[b->n].bytes = bytes;
		b->sectors += sectors;
		b->n++;
	}
}

/* All but the first `n` go back, so that the oldest is the oldest again. */
static void collect_less(struct batch *b, unsigned n)
{
	while (b->n > n) {
		b->n--;
		b->sectors = b->object[b->n].at;
		pool_move_cancel(b->object[b->n].handle);
	}
}

static bool take_sectors(struct batch *b)
{
	spin_lock(&swap.lock);
	b->first = sectors_take(&swap.map, b->sectors);
	if (b->first == SECTORS_NONE && b->n == 1)
		a32_store(&swap.full, 1);
	spin_unlock(&swap.lock);
	return b->first != SECTORS_NONE;
}

/* In a row, or what is left of the disk is in pieces: then one object at a time. */
static bool find_sectors(struct batch *b)
{
	if (take_sectors(b))
		return true;
	collect_less(b, 1);
	if (take_sectors(b))
		return true;
	collect_less(b, 0);
	if (!swap.said_full)
		hal_log(HAL_WARN, "swap: %s is full: the pool keeps what it has", swap.disk.name);
	swap.said_full = true;
	return false;
}

static enum swap_turn batch_begin(void)
{
	struct batch *b = &swap.batch;

	if (swap_state() != SWAP_ON || a32_load(&swap.full) || !pressed())
		return SWAP_IDLE;
	a32_store(&swap.wanted, 0);
	collect(b);
	if (!b->n || !find_sectors(b))
		return SWAP_IDLE;
	spin_lock(&swap.lock);
	b->since_ns = hal_time_ns();
	b->state = BATCH_ASKED;
	(void)batch_submit();
	spin_unlock(&swap.lock);
	return SWAP_WAITS;
}

/* Each object that still is one lies on the disk now. */
static enum swap_turn batch_commit(void)
{
	struct batch *b = &swap.batch;
	u64 objects = 0, bytes = 0;

	for (unsigned i = 0; i < b->n; i++) {
		u32 sectors = swap_sectors(b->object[i].bytes);
		u64 at = b->first + b->object[i].at;

		if (pool_move_end(b->object[i].handle, at)) {
			objects++;
			bytes += b->object[i].bytes;
			continue;
		}
		spin_lock(&swap.lock);
		give_sectors(at, sectors);
		spin_unlock(&swap.lock);
	}
	spin_lock(&swap.lock);
	swap.total.written_objects_total += objects;
	swap.total.written_bytes_total += bytes;
	b->state = BATCH_NONE;
	spin_unlock(&swap.lock);
	return SWAP_AGAIN;
}

static enum swap_turn batch_give_back(void)
{
	struct batch *b = &swap.batch;
	u32 sectors = b->sectors;

	collect_less(b, 0);
	spin_lock(&swap.lock);
	give_sectors(b->first, sectors);
	b->state = BATCH_NONE;
	spin_unlock(&swap.lock);
	return SWAP_IDLE;
}

enum swap_turn swap_turn(void)
{
	enum swap_turn turn = SWAP_WAITS;
	enum batch_state state;

	if (swap_state() == SWAP_OFF)
		return SWAP_IDLE;
	a32_store(&swap.asleep, 0);
	spin_lock(&swap.lock);
	poll();
	state = swap.batch.state;
	spin_unlock(&swap.lock);
	if (state == BATCH_NONE)
		turn = batch_begin();
	else if (state == BATCH_DONE)
		turn = batch_commit();
	else if (state == BATCH_FAILED)
		turn = batch_give_back();
	a32_store(&swap.asleep, turn == SWAP_IDLE);
	return turn;
}

void swap_after_put(bool full)
{
	if (swap_state() != SWAP_ON)
		return;
	if (full)
		a32_store(&swap.wanted, 1);
	if (pressed() && a32_load(&swap.asleep))
		swap.wake();
}

bool swap_makes_room(void)
{
	if (swap_state() != SWAP_ON || a32_load(&swap.full) || !pool_movable() ||
	    frame_pool_count() < frame_total() / HOPE_PART)
		return false;
	a32_store(&swap.wanted, 1);
	swap.wake();
	return true;
}

/* --- beginning and end ----------------------------------------------------------------------------- */

static void memory_free(void)
{
	for (unsigned i = 0; i < SWAP_READS; i++)
		if (swap.read[i].page)
			hal_pages_free(swap.read[i].page, 1);
	if (swap.batch.data)
		hal_pages_free(swap.batch.data, BATCH_PAGES);
	memset(swap.read, 0, sizeof(swap.read));
	swap.batch = (struct batch){0};
}

static bool memory_take(u64 sectors)
{
	bool all = true;

	for (unsigned i = 0; i < SWAP_READS && all; i++) {
		swap.read[i].handle = POOL_NONE;
		swap.read[i].page = hal_pages_alloc(1);
		all = swap.read[i].page != NULL;
	}
	swap.batch.data = all ? hal_pages_alloc(BATCH_PAGES) : NULL;
	if (swap.batch.data && sectors_create(&swap.map, sectors))
		return true;
	memory_free();
	return false;
}

bool swap_attach(const struct disk *disk, unsigned pool_percent, void (*wake)(void))
{
	ASSERT(swap_state() == SWAP_OFF);
	if (!memory_take(min_of(disk->sectors, SECTORS_MAX)))
		return false;
	swap.disk = *disk;
	swap.pool_frames = frame_total() * pool_percent / 100;
	swap.wake = wake;
	a32_store(&swap.asleep, 1);
	a32_store(&swap.state, SWAP_ON);
	return true;
}

void swap_snapshot(struct swap_stats *out)
{
	spin_lock(&swap.lock);
	*out = swap.total;
	out->state = swap_state();
	out->sectors = swap.map.total;
	out->sectors_used = swap.map.used;
	spin_unlock(&swap.lock);
	out->read_p50_ns = hist_percentile(&swap.read_ns, 500);
	out->read_p99_ns = hist_percentile(&swap.read_ns, 990);
	out->read_max_ns = a64_load(&swap.read_ns.max);
}

bool swap_has(u64 sector, u32 bytes)
{
	bool has;

	spin_lock(&swap.lock);
	has = sectors_taken(&swap.map, sector, swap_sectors(bytes));
	spin_unlock(&swap.lock);
	return has;
}

u64 swap_audit(u64 sectors_of_objects)
{
	u64 expected = sectors_of_objects, used;

	spin_lock(&swap.lock);
	for (unsigned i = 0; i < SWAP_READS; i++)
		if (swap.read[i].state == READ_BEGUN && swap.read[i].handle == POOL_NONE)
			expected += swap_sectors(swap.read[i].bytes);
	if (swap.batch.state != BATCH_NONE)
		expected += swap.batch.sectors;
	used = swap.map.used;
	spin_unlock(&swap.lock);
	if (used == expected)
		return 0;
	hal_log(HAL_ERROR, "swap: audit: sectors in use: found %llu, expected %llu", (ull)used,
	        (ull)expected);
	return 1;
}

#ifdef VARVE_HOST
void swap_detach(void)
{
	if (swap_state() == SWAP_OFF)
		return;
	memory_free();
	sectors_destroy(&swap.map);
	pool_order_clear();
	swap.said_full = false;
	a32_store(&swap.state, SWAP_OFF);
	a32_store(&swap.full, 0);
	a32_store(&swap.wanted, 0);
	swap.total = (struct swap_stats){0};
	swap.next_look_ns = 0;
	hist_clear(&swap.read_ns);
}
#endif
