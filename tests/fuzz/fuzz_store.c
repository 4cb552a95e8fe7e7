/*
 * The store against an oracle that keeps the pages: the input is a program of puts, gets, drops and
 * damage. A page comes back as it was; once something was damaged it may also come back as STORE_BAD, but
 * never wrong.
 */
#include <stdlib.h>
#include <string.h>

#include "mm/frame.h"
#include "mm/store.h"
#include "tests/host/hal.h"

#define FRAMES 96u
#define PAGES  64u

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static struct {
	u8 copy[PAGE_SIZE];
	u64 word;
	bool kept;
} page[PAGES];
static u32 frame;

static void check(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct frame_extent e = {.nframes = FRAMES};
	void *ram = host_ram(FRAMES);

	(void)argc;
	(void)argv;
	check(ram != NULL);
	e.first = hal_ptr_pfn(ram);
	check(frame_init(&e, 1) && store_init());
	frame = frame_alloc(FRAME_FOR_FAULT);
	check(frame != FRAME_NONE);
	return 0;
}

/* A page that repeats `n` bytes of the input, its first `noisy` words replaced by noise. */
static void page_make(u8 *out, const u8 *from, size_t n, u16 noisy)
{
	u64 seed = noisy + 1u, word;

	memset(out, 0, PAGE_SIZE);
	for (size_t i = 0; n && i < PAGE_SIZE; i++)
		out[i] = from[i % n];
	for (unsigned i = 0; i < noisy % 513u; i++) {
		word = host_random(&seed);
		memcpy(out + 8 * i, &word, 8);
	}
}

static void page_put(unsigned i)
{
	enum store_result r;

	memcpy(frame_ptr(frame), page[i].copy, PAGE_SIZE);
	r = store_put(frame, &page[i].word);
	check(r != STORE_BAD);
	page[i].kept = r == STORE_OK;
}

static void page_get(unsigned i, bool damaged)
{
	enum store_result r = store_get(page[i].word, frame);

	if (r == STORE_OK)
		check(!memcmp(frame_ptr(frame), page[i].copy, PAGE_SIZE));
	else
		check(damaged && r == STORE_BAD);
}

/* One bit of one of the pool's frames. */
static bool damage(u16 where, u8 bit)
{
	u32 f = 1 + where % (FRAMES - 1);

	if (frame_use(a64_load(&frame_at(f)->state)) != FRAME_POOL)
		return false;
	((u8 *)frame_ptr(f))[where * 37u % PAGE_SIZE] ^= (u8)(1u << bit % 8);
	return true;
}

static void end(bool damaged)
{
	struct store_stats st;

	check(damaged || !store_audit());
	for (unsigned i = 0; i < PAGES; i++)
		if (page[i].kept) {
			page_get(i, damaged);
			store_drop(page[i].word);
			page[i].kept = false;
		}
	store_snapshot(&st);
	check(!st.objects && !st.compressed_bytes && !st.pool_frames && !store_audit());
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	bool damaged = false;
	u64 at = 0;

	for (; at + 4 <= size; at += 4) {
		u8 op = data[at] % 8;
		unsigned i = data[at + 1] % PAGES;
		u16 arg = (u16)(data[at + 2] | data[at + 3] << 8);

		if (op == 7) {
			damaged |= damage(arg, data[at + 1]);
		} else if (!page[i].kept) {
			u64 n = min_of((u64)op, size - at - 4);

			page_make(page[i].copy, data + at + 4, n, arg);
			page_put(i);
			at += n;
		} else if (op < 4) {
			page_get(i, damaged);
		} else {
			store_drop(page[i].word);
			page[i].kept = false;
		}
	}
	end(damaged);
	return 0;
}
