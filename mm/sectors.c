/* Searches go from run to run: from a taken bit to the next free one, a word at a time where all 64 are taken. */
#include "mm/sectors.h"

#include "arch/hal.h"

static u64 pages_for(u64 total)
{
	return (total / 8 + PAGE_SIZE) / PAGE_SIZE;
}

bool sectors_create(struct sectors *s, u64 total)
{
	*s = (struct sectors){.bits = hal_pages_alloc(pages_for(total)), .total = total};
	return s->bits != NULL;
}

void sectors_destroy(struct sectors *s)
{
	hal_pages_free(s->bits, pages_for(s->total));
	*s = (struct sectors){0};
}

static bool is_taken(const struct sectors *s, u64 at)
{
	return s->bits[at / 64] >> at % 64 & 1;
}

/* The first free sector in [at, end), or end. */
static u64 skip_taken(const struct sectors *s, u64 at, u64 end)
{
	while (at < end && is_taken(s, at))
		at += at % 64 == 0 && s->bits[at / 64] == ~0ull ? 64 : 1;
	return min_of(at, end);
}

/* n free ones in a row that begin in [at, end). */
static u64 find_run(const struct sectors *s, u64 at, u64 end, u32 n)
{
	while ((at = skip_taken(s, at, end)) < end) {
		u64 stop = at;

		while (stop < s->total && stop < at + n && !is_taken(s, stop))
			stop++;
		if (stop == at + n)
			return at;
		at = stop;
	}
	return SECTORS_NONE;
}

u64 sectors_take(struct sectors *s, u32 n)
{
	u64 at;

	ASSERT(n >= 1 && n <= SECTORS_RUN_MAX);
	if (s->total - s->used < n)
		return SECTORS_NONE;
	at = find_run(s, s->next, s->total, n);
	if (at == SECTORS_NONE)
		at = find_run(s, 0, s->next, n);
	if (at == SECTORS_NONE)
		return SECTORS_NONE;
	for (u64 i = at; i < at + n; i++)
		s->bits[i / 64] |= BIT(i % 64);
	s->used += n;
	s->next = at + n == s->total ? 0 : at + n;
	return at;
}

void sectors_give(struct sectors *s, u64 first, u32 n)
{
	ASSERT(sectors_taken(s, first, n));
	for (u64 i = first; i < first + n; i++)
		s->bits[i / 64] &= ~BIT(i % 64);
	s->used -= n;
}

bool sectors_taken(const struct sectors *s, u64 first, u32 n)
{
	if (first > s->total || n > s->total - first)
		return false;
	for (u64 i = first; i < first + n; i++)
		if (!is_taken(s, i))
			return false;
	return true;
}
