/*
 * State: `runs`, the free memory that was never handed out or came back in runs, ascending and
 * disjoint; `single`, a list of free pages linked through their first word, in constant time; and two
 * bits for each page, "handed out" and "first of what was handed out", against which every free is
 * checked.
 */
#include "arch/x86/hostmem.h"

#include "arch/hal.h"
#include "lib/lock.h"
#include "lib/string.h"

#define MAX_RUNS 1024u

static struct hostmem_extent runs[MAX_RUNS];
static unsigned nr_runs;
static struct single {
	struct single *next;
} * singles;

static u64 *map_used, *map_head;
static u64 map_frames; /* pages the maps cover, from frame 0 */
static u64 free_frames, used_frames, carved_frames;
static u64 reach_frame = UINT64_MAX; /* frames from here on must not be touched yet */
static struct spinlock lock = SPINLOCK_INIT(LOCK_HOSTMEM, "hostmem");

static bool bit_get(const u64 *map, u64 i)
{
	return (map[i / 64] >> (i % 64) & 1) != 0;
}

static void bit_set(u64 *map, u64 i)
{
	map[i / 64] |= BIT(i % 64);
}

static void bit_clear(u64 *map, u64 i)
{
	map[i / 64] &= ~BIT(i % 64);
}

static u64 run_end(unsigned i)
{
	return runs[i].first.v + runs[i].frames;
}

static void run_remove(unsigned i)
{
	nr_runs--;
	memmove(&runs[i], &runs[i + 1], (nr_runs - i) * sizeof(runs[0]));
}

/* Index of the first run that starts behind `frame`. */
static unsigned run_behind(u64 frame)
{
	unsigned low = 0, high = nr_runs;

	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (runs[mid].first.v > frame)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

/* Puts free memory back, joined with its neighbours. False if the table is full. */
static bool run_insert(u64 first, u64 frames)
{
	unsigned i = run_behind(first);
	bool joins_low = i > 0 && run_end(i - 1) == first;
	bool joins_high = i < nr_runs && first + frames == runs[i].first.v;

	if (joins_low) {
		runs[i - 1].frames += frames;
		if (joins_high) {
			runs[i - 1].frames += runs[i].frames;
			run_remove(i);
		}
	} else if (joins_high) {
		runs[i].first = pfn(first);
		runs[i].frames += frames;
	} else {
		if (nr_runs == MAX_RUNS)
			return false;
		memmove(&runs[i + 1], &runs[i], (nr_runs - i) * sizeof(runs[0]));
		runs[i] = (struct hostmem_extent){.first = pfn(first), .frames = frames};
		nr_runs++;
	}
	return true;
}

static void single_push(u64 frame)
{
	struct single *s = hal_frame_ptr(pfn(frame));

	s->next = singles;
	singles = s;
}

static void give_back(u64 first, u64 frames)
{
	if (frames > 1 && run_insert(first, frames))
		return;
	for (u64 i = 0; i < frames; i++)
		single_push(first + i);
}

/* The single pages become runs again, as far as the table holds them. */
static void singles_fold(void)
{
	struct single *s = singles, *next;

	singles = NULL;
	for (; s; s = next) {
		u64 frame = hal_ptr_pfn(s).v;

		next = s->next;
		if (!run_insert(frame, 1))
			single_push(frame);
	}
}

/* First fit below the reach; takes from the low end, so that what is needed early lies low. */
static bool run_take(u64 frames, u64 *first)
{
	for (unsigned i = 0; i < nr_runs; i++) {
		if (runs[i].first.v + frames > reach_frame)
			return false;
		if (runs[i].frames < frames)
			continue;
		*first = runs[i].first.v;
		runs[i].first.v += frames;
		runs[i].frames -= frames;
		if (runs[i].frames == 0)
			run_remove(i);
		return true;
	}
	return false;
}

void hostmem_init(const struct hostmem_extent *extents, unsigned n, hpa_t reach)
{
	u64 words, first;

	ASSERT(n <= MAX_RUNS && nr_runs == 0);
	for (unsigned i = 0; i < n; i++) {
		ASSERT(extents[i].frames && (i == 0 || extents[i].first.v >= run_end(i - 1)));
		runs[nr_runs++] = extents[i];
		free_frames += extents[i].frames;
		map_frames = run_end(i);
	}
	reach_frame = hpa_pfn(reach).v;
	words = (map_frames + 63) / 64;
	u64 pages = (2 * words * sizeof(u64) + PAGE_SIZE - 1) / PAGE_SIZE;
	if (!run_take(pages, &first))
		hal_panic("no room for the maps of %llu page frames",
		          (unsigned long long)map_frames);
	map_used = hal_frame_ptr(pfn(first));
	map_head = map_used + words;
	memset(map_used, 0, pages * PAGE_SIZE);
	/* Not counted as used: these pages never come back. */
	free_frames -= pages;
}

void hostmem_reach_all(void)
{
	reach_frame = UINT64_MAX;
}

void hostmem_add(struct hostmem_extent extent)
{
	/* The maps were sized by the highest RAM; what lies behind them stays unused. */
	u64 end = min_of(extent.first.v + extent.frames, map_frames);

	if (end <= extent.first.v)
		return;
	spin_lock(&lock);
	give_back(extent.first.v, end - extent.first.v);
	free_frames += end - extent.first.v;
	spin_unlock(&lock);
}

static unsigned biggest_run(void)
{
	unsigned best = 0;

	for (unsigned i = 1; i < nr_runs; i++)
		if (runs[i].frames > runs[best].frames)
			best = i;
	return best;
}

u64 hostmem_carve(u64 nframes, struct hostmem_extent *out, unsigned max)
{
	u64 got = 0;

	memset(out, 0, max * sizeof(*out));
	spin_lock(&lock);
	singles_fold();
	for (unsigned n = 0; n < max && got < nframes && nr_runs; n++) {
		unsigned i = biggest_run();
		u64 take = min_of(runs[i].frames, nframes - got);

		/* The high end: low memory is the scarcer. */
		runs[i].frames -= take;
		out[n] = (struct hostmem_extent){.first = pfn(run_end(i)), .frames = take};
		if (runs[i].frames == 0)
			run_remove(i);
		got += take;
	}
	free_frames -= got;
	carved_frames += got;
	spin_unlock(&lock);
	return got;
}

static bool take_locked(u64 npages, u64 *first)
{
	if (npages == 1 && singles) {
		*first = hal_ptr_pfn(singles).v;
		singles = singles->next;
		return true;
	}
	if (run_take(npages, first))
		return true;
	if (!singles || npages == 1)
		return false;
	singles_fold();
	return run_take(npages, first);
}

void *hal_pages_alloc(u64 npages)
{
	u64 first;
	void *ptr;

	if (npages == 0)
		return NULL;
	spin_lock(&lock);
	if (!take_locked(npages, &first)) {
		spin_unlock(&lock);
		return NULL;
	}
	for (u64 i = 0; i < npages; i++)
		bit_set(map_used, first + i);
	bit_set(map_head, first);
	free_frames -= npages;
	used_frames += npages;
	spin_unlock(&lock);
	ptr = hal_frame_ptr(pfn(first));
	memset(ptr, 0, npages * PAGE_SIZE);
	return ptr;
}

/* Is this exactly one allocation? */
static bool is_allocation(u64 first, u64 npages)
{
	if (first >= map_frames || npages > map_frames - first || !bit_get(map_head, first))
		return false;
	for (u64 i = 0; i < npages; i++)
		if (!bit_get(map_used, first + i) || (i && bit_get(map_head, first + i)))
			return false;
	return first + npages == map_frames || !bit_get(map_used, first + npages) ||
	       bit_get(map_head, first + npages);
}

void hal_pages_free(void *ptr, u64 npages)
{
	u64 first = hal_ptr_pfn(ptr).v;

	if (!ptr)
		return;
	spin_lock(&lock);
	if ((u64)(uintptr_t)ptr % PAGE_SIZE || npages == 0 || !is_allocation(first, npages))
		hal_panic("hal_pages_free: %p, %llu pages, is nothing that was handed out", ptr,
		          (unsigned long long)npages);
	for (u64 i = 0; i < npages; i++)
		bit_clear(map_used, first + i);
	bit_clear(map_head, first);
	give_back(first, npages);
	free_frames += npages;
	used_frames -= npages;
	spin_unlock(&lock);
}

u64 hal_pages_used(void)
{
	return hostmem_used_frames();
}

/* Statistics: a torn moment between two counters does not matter, the words themselves are whole. */
u64 hostmem_free_frames(void)
{
	return __atomic_load_n(&free_frames, __ATOMIC_RELAXED);
}

u64 hostmem_used_frames(void)
{
	return __atomic_load_n(&used_frames, __ATOMIC_RELAXED);
}

u64 hostmem_carved_frames(void)
{
	return __atomic_load_n(&carved_frames, __ATOMIC_RELAXED);
}
