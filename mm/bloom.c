/*
 * Two hashes are cut from one mixed key. With n tables in a filter of m = 2^15 bits, a table that is not
 * in it passes with a probability of (1 - e^(-2n/m))^2: one in five at 10 000 tables, one in two at 20 000
 * (20 and 40 GiB of guest).
 *
 * No lock and no order. A walker may reset a filter while others, late or early, test and add; what can go
 * wrong is that
 *
 *   - a table passes that should not: its owner's number is not there yet or changed under our eyes, or a
 *     bit of the past is. It costs the visit of a table;
 *   - a table does not pass that should: its bits were added and then emptied by a reset that was not
 *     finished, or are not visible yet. It is not walked in one generation. Its young pages keep their
 *     Accessed bits meanwhile, so that the evictor finds them young when their turn comes, looks around,
 *     and puts the table back.
 *
 * Neither is wrong, and both are rare: a reset belongs to the walker that opens a pass. So everything here
 * is relaxed, but for fetch_or, of which only the atomicity is needed: two adders of one word must not
 * lose each other's bit for good.
 */
#include "mm/bloom.h"

#include "arch/hal.h"

#define NOBODY (~0ull)

void bloom_init(struct bloom *f)
{
	_Static_assert(BLOOM_WORDS * sizeof(a64) == PAGE_SIZE, "a filter is a page");
	f->words = hal_pages_alloc(BLOOM_FILTERS);
	for (unsigned i = 0; i < BLOOM_FILTERS; i++)
		a64_store(&f->seq[i], NOBODY);
}

void bloom_destroy(struct bloom *f)
{
	if (f->words)
		hal_pages_free(f->words, BLOOM_FILTERS);
	f->words = NULL;
}

static unsigned filter_index(u64 seq)
{
	return (unsigned)(seq % BLOOM_FILTERS);
}

/* The filter of a generation, NULL if none is for it. */
static a64 *filter_of(const struct bloom *f, u64 seq)
{
	unsigned i = filter_index(seq);

	if (!f->words || a64_load(&f->seq[i]) != seq)
		return NULL;
	return f->words + i * BLOOM_WORDS;
}

/* Table numbers are neighbours of each other: every bit of the key has to reach every bit of the hash. */
static u64 mix(u64 key)
{
	key = (key ^ key >> 31) * 0xd6e8feb86659fd93ull;
	key = (key ^ key >> 29) * 0xa0761d6478bd642full;
	return key ^ key >> 32;
}

void bloom_reset(struct bloom *f, u64 seq)
{
	unsigned i = filter_index(seq);

	if (!f->words)
		return;
	a64_store(&f->seq[i], NOBODY);
	for (unsigned w = 0; w < BLOOM_WORDS; w++)
		a64_store(&f->words[i * BLOOM_WORDS + w], 0);
	a64_store(&f->seq[i], seq);
}

static bool has(const a64 *filter, u64 bit)
{
	return a64_load(&filter[bit / 64]) & BIT(bit % 64);
}

bool bloom_test(const struct bloom *f, u64 seq, u64 key)
{
	const a64 *filter = filter_of(f, seq);
	u64 hash = mix(key);

	return !filter || (has(filter, hash & BITS(BLOOM_BITS - 1, 0)) &&
	                   has(filter, hash >> BLOOM_BITS & BITS(BLOOM_BITS - 1, 0)));
}

/* Whether the bit is new. Mostly it is not, and then nobody's cache line is taken away. */
static bool set(a64 *filter, u64 bit)
{
	if (has(filter, bit))
		return false;
	a64_fetch_or(&filter[bit / 64], BIT(bit % 64));
	return true;
}

bool bloom_add(struct bloom *f, u64 seq, u64 key)
{
	a64 *filter = filter_of(f, seq);
	u64 hash = mix(key);
	bool fresh;

	if (!filter)
		return false;
	fresh = set(filter, hash & BITS(BLOOM_BITS - 1, 0));
	return set(filter, hash >> BLOOM_BITS & BITS(BLOOM_BITS - 1, 0)) || fresh;
}
