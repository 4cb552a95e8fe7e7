/*
 * A page on its way out is first compared with its own first word (most pages differ in the first
 * few words, so this costs next to nothing unless it pays), then compressed by liblz4 into the
 * scratch of this CPU, without a lock, and only the result is copied into the pool under the pool's
 * lock. On the way back likewise: out of the pool under its lock, checked and unpacked without.
 *
 * The checksum stands in front of the packed bytes and covers them, not the page: it is what was
 * kept that can be damaged, it is shorter, and a page is not unpacked before it is known to be
 * whole.
 */
#include "mm/store.h"

#include "arch/hal.h"
#include "lib/atomic.h"
#include "lib/string.h"
#include "mm/frame.h"
#include "mm/gfnmap.h"
#include "mm/pool.h"
#include "mm/share.h"
#include "mm/swap.h"

#include <lz4.h>

#define LZ4_STATE_BYTES sizeof(LZ4_stream_t)
#define WORDS           (PAGE_SIZE / 8)

/* What the pool keeps of a page. */
struct packed_page {
	u32 sum;
	u8 data[STORE_MAX_BYTES];
};
#define PACKED_HEAD offsetof(struct packed_page, data)
static_assert(sizeof(struct packed_page) <= POOL_MAX_BYTES, "any packed page fits the pool");
static_assert(sizeof(struct packed_page) >= PACKED_HEAD + STORE_MAX_BYTES, "and is got as a whole");

struct scratch {
	u8 lz4[LZ4_STATE_BYTES] aligned_to(16);
	struct packed_page page aligned_to(8);
	a32 taken;
};
#define SCRATCH_PAGES ((sizeof(struct scratch) + PAGE_SIZE - 1) / PAGE_SIZE)

static struct {
	aptr scratch[HAL_MAX_CPUS];
	a64 puts, gets, drops, full, incompressible, zero, filled, bad;
} store;

/* The scratch of this CPU, allocated on first use; NULL without memory. */
static struct scratch *scratch_own(void)
{
	aptr *at = &store.scratch[hal_cpu_id()];
	struct scratch *s = aptr_load_acquire(at);

	if (!s) {
		s = hal_pages_alloc(SCRATCH_PAGES);
		/* ord P1: pairs with scratch_take(); who sees the pointer sees `taken` zeroed */
		if (s)
			aptr_store_release(at, s);
	}
	return s;
}

/*
 * A scratch for this CPU alone: its own or, should memory have been short when it wanted one,
 * anybody's (that of the boot CPU always exists). Who holds one waits for nothing but LOCK_STORE
 * inside it and is not preempted, so the wait is short.
 */
static struct scratch *scratch_take(void)
{
	struct scratch *s = scratch_own();
	unsigned cpu;

	for (;;) {
		/* ord P2: pairs with scratch_put() */
		if (likely(s && !a32_xchg(&s->taken, 1)))
			return s;
		for (cpu = 0; cpu < HAL_MAX_CPUS; cpu++) {
			s = aptr_load_acquire(&store.scratch[cpu]); /* ord P1 */
			if (s && !a32_xchg(&s->taken, 1))
				return s;
		}
		hal_pause();
		s = scratch_own();
	}
}

static void scratch_put(struct scratch *s)
{
	/* ord P2: pairs with scratch_take(); our use is over before the next one's begins */
	a32_store_release(&s->taken, 0);
}

/*
 * Each step is a bijection of the state for a given word and of the word for a given state, so
 * damage within one word always changes the 64 bits; the fold then misses one in 2^32. `bytes`
 * enters first.
 */
static u32 checksum(const u8 *data, u32 bytes)
{
	u64 h = 0x9e3779b97f4a7c15ull ^ bytes, word;

	for (; bytes >= 8; bytes -= 8, data += 8) {
		memcpy(&word, data, 8);
		h = (h ^ word) * 0xd6e8feb86659fd93ull;
		h ^= h >> 29;
	}
	word = 0;
	memcpy(&word, data, bytes);
	h = (h ^ word) * 0xd6e8feb86659fd93ull;
	return (u32)(h ^ h >> 32);
}

/* One OR for a word, a decision for eight. */
static bool page_is_zero(const u64 *p)
{
	unsigned i;

	for (i = 0; i < WORDS; i += 8)
		if (p[i] | p[i + 1] | p[i + 2] | p[i + 3] | p[i + 4] | p[i + 5] | p[i + 6] |
		    p[i + 7])
			return false;
	return true;
}

static bool page_is_filled(const u64 *p, u64 with)
{
	unsigned i;

	for (i = 0; i < WORDS; i += 4)
		if ((p[i] ^ with) | (p[i + 1] ^ with) | (p[i + 2] ^ with) | (p[i + 3] ^ with))
			return false;
	return true;
}

static void page_fill(u64 *p, u32 pattern)
{
	u64 with = (u64)pattern << 32 | pattern;
	unsigned i;

	for (i = 0; i < WORDS; i += 4)
		p[i] = p[i + 1] = p[i + 2] = p[i + 3] = with;
}

/* Is the page one that needs no room? Then *word. */
static bool put_same(const u64 *p, u64 *word)
{
	u32 pattern = (u32)p[0];

	if (!p[0]) {
		if (!page_is_zero(p))
			return false;
		*word = gfn_word(GFN_ZERO, 0);
		a64_count(&store.zero, 1);
		return true;
	}
	if (pattern != p[0] >> 32 || !page_is_filled(p, p[0]))
		return false;
	*word = gfn_word(GFN_FILLED, pattern);
	a64_count(&store.filled, 1);
	return true;
}

/* The packed page in the scratch; the same page always packs to the same bytes, for each begins anew. */
static u64 keep_packed(const struct scratch *s, u32 bytes, u32 *saved)
{
	bool found;
	u64 handle;

	if (!saved)
		return pool_put(&s->page, bytes);
	handle = share_put(&s->page, bytes, s->page.sum, &found);
	*saved = handle != POOL_NONE && found ? bytes : 0;
	return handle;
}

/* `saved`: NULL if it is to be kept by itself. */
static enum store_result put_packed(const void *page, struct scratch *s, u64 *word, u32 *saved)
{
	u64 handle;
	int bytes;

	hal_fpu_begin();
	bytes = LZ4_compress_fast_extState(s->lz4, page, (char *)s->page.data, PAGE_SIZE,
	                                   STORE_MAX_BYTES, 1);
	hal_fpu_end();
	if (bytes <= 0) {
		a64_count(&store.incompressible, 1);
		return STORE_INCOMPRESSIBLE;
	}
	s->page.sum = checksum(s->page.data, (u32)bytes);
	handle = keep_packed(s, (u32)(PACKED_HEAD + (u32)bytes), saved);
	if (handle == POOL_NONE) {
		a64_count(&store.full, 1);
		return STORE_FULL;
	}
	*word = gfn_word(GFN_POOLED, handle);
	return STORE_OK;
}

/* A whole packed page in the scratch: its packed bytes, 0 if it is none, POOL_WAIT if the disk has it. */
static u32 get_checked(u64 handle, struct scratch *s)
{
	u32 bytes = pool_get(handle, &s->page, sizeof(s->page));

	if (bytes == POOL_WAIT)
		return bytes;
	if (bytes <= PACKED_HEAD || bytes > sizeof(s->page))
		return 0;
	bytes -= (u32)PACKED_HEAD;
	return s->page.sum == checksum(s->page.data, bytes) ? bytes : 0;
}

static enum store_result get_packed(u64 handle, struct scratch *s, void *page)
{
	u32 bytes = get_checked(handle, s);
	int n;

	if (bytes == POOL_WAIT)
		return STORE_WAIT;
	if (!bytes)
		return STORE_BAD;
	hal_fpu_begin();
	n = LZ4_decompress_safe((const char *)s->page.data, page, (int)bytes, PAGE_SIZE);
	hal_fpu_end();
	return n == (int)PAGE_SIZE ? STORE_OK : STORE_BAD;
}

bool store_init(void)
{
	return scratch_own() != NULL;
}

static enum store_result put(u32 frame, u64 *word, u32 *saved)
{
	const void *page = frame_ptr(frame);
	enum store_result result;
	struct scratch *s;

	a64_count(&store.puts, 1);
	if (put_same(page, word))
		return STORE_OK;
	s = scratch_take();
	result = put_packed(page, s, word, saved);
	scratch_put(s);
	return result;
}

enum store_result store_put(u32 frame, u64 *word)
{
	return put(frame, word, NULL);
}

enum store_result store_put_shared(u32 frame, u64 *word, u32 *saved)
{
	*saved = 0;
	return put(frame, word, saved);
}

enum store_result store_get(u64 word, u32 frame)
{
	enum store_result result = STORE_BAD;
	void *page = frame_ptr(frame);
	struct scratch *s;

	a64_count(&store.gets, 1);
	switch (gfn_word_tag(word)) {
	case GFN_ZERO:
		memset(page, 0, PAGE_SIZE);
		return STORE_OK;
	case GFN_FILLED:
		page_fill(page, (u32)gfn_word_payload(word));
		return STORE_OK;
	case GFN_POOLED:
		s = scratch_take();
		result = get_packed(gfn_word_payload(word), s, page);
		scratch_put(s);
		break;
	default:
		break;
	}
	if (result == STORE_BAD) {
		a64_count(&store.bad, 1);
		hal_log(HAL_ERROR, "store: word %llx has no sound contents",
		        (unsigned long long)word);
	}
	return result;
}

bool store_ready(u64 word)
{
	return gfn_word_tag(word) != GFN_POOLED || swap_state() == SWAP_OFF ||
	       pool_ready(gfn_word_payload(word));
}

bool store_takes_frames(u64 word)
{
	return gfn_word_tag(word) == GFN_POOLED &&
	       (swap_state() == SWAP_OFF || !pool_on_disk(gfn_word_payload(word)));
}

void store_drop(u64 word)
{
	a64_count(&store.drops, 1);
	if (gfn_word_tag(word) == GFN_POOLED)
		share_drop(gfn_word_payload(word));
}

void store_snapshot(struct store_stats *out)
{
	struct pool_stats pool;
	struct share_stats share;

	pool_snapshot(&pool);
	share_snapshot(&share);
	out->objects = pool.objects;
	out->on_disk = pool.on_disk;
	out->disk_bytes = pool.disk_bytes - pool.on_disk * PACKED_HEAD;
	out->compressed_bytes = pool.object_bytes - (pool.objects - pool.on_disk) * PACKED_HEAD;
	out->pool_frames = pool.frames;
	out->meta_bytes = pool.meta_bytes + share.meta_bytes;
	out->shared_pages = share.extra;
	out->shared_bytes = share.extra_bytes;
	out->shared_total = share.found_total;
	out->puts_total = a64_load(&store.puts);
	out->gets_total = a64_load(&store.gets);
	out->drops_total = a64_load(&store.drops);
	out->full_total = a64_load(&store.full);
	out->incompressible_total = a64_load(&store.incompressible);
	out->zero_total = a64_load(&store.zero);
	out->filled_total = a64_load(&store.filled);
	out->bad_total = a64_load(&store.bad);
}

u64 store_audit(void)
{
	u64 faults = pool_audit() + share_audit(), cursor = 0, handle;
	struct scratch *s = scratch_take();

	while ((handle = pool_next(&cursor)) != POOL_NONE) {
		if (get_checked(handle, s))
			continue;
		hal_log(HAL_ERROR, "store: audit: object %llx is damaged",
		        (unsigned long long)handle);
		faults++;
	}
	scratch_put(s);
	return faults;
}
