/*
 * A chunk is one page: two words of header and 510 entries, so that the number splits into chunk
 * (31:9) and entry (8:0) without a division. A free entry holds the number of the next free one of
 * its chunk; HANDLE_USED is clear in it.
 *
 * Header: word 0: 15:0 entries in use, 31:16 first free entry (0: none)
 *         word 1: 31:0 next, 63:32 previous chunk with a free entry, plus one
 *
 * A chunk without entries is given back, but for one, lest a number that comes and goes makes a
 * page come and go.
 */
#include "mm/handle.h"

#include "arch/hal.h"
#include "lib/string.h"

#define CHUNK_SHIFT  9
#define CHUNK_WORDS  (PAGE_SIZE / 8)
#define CHUNK_FIRST  2u
#define DIR_PER_PAGE (PAGE_SIZE / sizeof(u64 *))
#define MAX_CHUNKS   (1u << (32 - CHUNK_SHIFT))

static u32 chunk_used(const u64 *c)
{
	return (u32)(c[0] & BITS(15, 0));
}

static u32 chunk_free_head(const u64 *c)
{
	return (u32)(c[0] >> 16) & 0xffff;
}

static void chunk_set(u64 *c, u32 used, u32 free_head)
{
	c[0] = used | (u64)free_head << 16;
}

static u32 chunk_link_next(const u64 *c)
{
	return (u32)c[1];
}

static u32 chunk_link_prev(const u64 *c)
{
	return (u32)(c[1] >> 32);
}

static void chunk_link(u64 *c, u32 next, u32 prev)
{
	c[1] = next | (u64)prev << 32;
}

static void partial_add(struct handles *t, u32 nr)
{
	u32 old = t->partial;

	chunk_link(t->chunk[nr], old, 0);
	if (old)
		chunk_link(t->chunk[old - 1], chunk_link_next(t->chunk[old - 1]), nr + 1);
	t->partial = nr + 1;
}

static void partial_remove(struct handles *t, u32 nr)
{
	u32 next = chunk_link_next(t->chunk[nr]), prev = chunk_link_prev(t->chunk[nr]);

	if (next)
		chunk_link(t->chunk[next - 1], chunk_link_next(t->chunk[next - 1]), prev);
	if (prev)
		chunk_link(t->chunk[prev - 1], next, chunk_link_prev(t->chunk[prev - 1]));
	else
		t->partial = next;
}

/* Room for twice as many chunks. */
static bool dir_grow(struct handles *t)
{
	u32 n = t->max_chunks ? t->max_chunks * 2 : (u32)DIR_PER_PAGE;
	u64 **dir;

	if (n > MAX_CHUNKS)
		return false;
	dir = hal_pages_alloc(n / DIR_PER_PAGE);
	if (!dir)
		return false;
	if (t->chunk) {
		memcpy(dir, t->chunk, t->max_chunks * sizeof(*dir));
		hal_pages_free(t->chunk, t->max_chunks / DIR_PER_PAGE);
	}
	t->chunk = dir;
	t->max_chunks = n;
	return true;
}

static bool chunk_new(struct handles *t)
{
	u32 nr = t->hint, i;
	u64 *c;

	while (nr < t->max_chunks && t->chunk[nr])
		nr++;
	t->hint = nr;
	if (nr == t->max_chunks && !dir_grow(t))
		return false;
	c = hal_pages_alloc(1);
	if (!c)
		return false;
	for (i = CHUNK_FIRST; i < CHUNK_WORDS - 1; i++)
		c[i] = i + 1;
	c[i] = 0;
	chunk_set(c, 0, CHUNK_FIRST);
	t->chunk[nr] = c;
	t->nr_chunks++;
	t->hint = nr + 1;
	partial_add(t, nr);
	return true;
}

static void chunk_release(struct handles *t, u32 nr)
{
	partial_remove(t, nr);
	hal_pages_free(t->chunk[nr], 1);
	t->chunk[nr] = NULL;
	t->nr_chunks--;
	t->hint = min_of(t->hint, nr);
}

u64 handle_alloc(struct handles *t, u64 value)
{
	u32 nr, i;
	u64 *c, gen;

	if (!t->partial && !chunk_new(t))
		return HANDLE_NONE;
	nr = t->partial - 1;
	c = t->chunk[nr];
	i = chunk_free_head(c);
	gen = ((c[i] >> HANDLE_GEN_SHIFT) + 1) & (HANDLE_GEN >> HANDLE_GEN_SHIFT);
	chunk_set(c, chunk_used(c) + 1, (u32)(c[i] & 0xffff));
	if (!chunk_free_head(c))
		partial_remove(t, nr);
	c[i] = HANDLE_USED | gen << HANDLE_GEN_SHIFT | (value & HANDLE_VALUE);
	t->used++;
	return gen << 32 | nr << CHUNK_SHIFT | i;
}

u64 *handle_entry_at(const struct handles *t, u32 index)
{
	u32 nr = index >> CHUNK_SHIFT, i = index & (CHUNK_WORDS - 1);

	if (nr >= t->max_chunks || i < CHUNK_FIRST || !t->chunk[nr])
		return NULL;
	return t->chunk[nr][i] & HANDLE_USED ? &t->chunk[nr][i] : NULL;
}

u64 *handle_entry(const struct handles *t, u64 handle)
{
	u64 *e = handle_entry_at(t, (u32)handle);

	/* Bits above the generation never match. */
	return e && (*e & HANDLE_GEN) >> HANDLE_GEN_SHIFT == handle >> 32 ? e : NULL;
}

void handle_free(struct handles *t, u64 handle)
{
	u64 *e = handle_entry(t, handle), *c;
	u32 nr = (u32)handle >> CHUNK_SHIFT, i = (u32)handle & (CHUNK_WORDS - 1);

	ASSERT(e);
	c = t->chunk[nr];
	if (!chunk_free_head(c))
		partial_add(t, nr);
	*e = (*e & HANDLE_GEN) | chunk_free_head(c);
	chunk_set(c, chunk_used(c) - 1, i);
	t->used--;
	/* The only chunk with room stays. */
	if (!chunk_used(c) && (chunk_link_next(c) || chunk_link_prev(c)))
		chunk_release(t, nr);
}

u64 handle_next(const struct handles *t, u64 *cursor)
{
	u64 at;

	for (at = *cursor; at >> CHUNK_SHIFT < t->max_chunks; at++) {
		const u64 *c = t->chunk[at >> CHUNK_SHIFT];
		u64 i = at & (CHUNK_WORDS - 1);

		if (!c) {
			at |= CHUNK_WORDS - 1;
			continue;
		}
		if (i < CHUNK_FIRST || !(c[i] & HANDLE_USED))
			continue;
		*cursor = at + 1;
		return (c[i] & HANDLE_GEN) >> HANDLE_GEN_SHIFT << 32 | at;
	}
	*cursor = at;
	return HANDLE_NONE;
}

u64 handle_bytes(const struct handles *t)
{
	return t->nr_chunks * (u64)PAGE_SIZE + t->max_chunks * sizeof(u64 *);
}
