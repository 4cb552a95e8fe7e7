#include "guest-tests/lib/zipf.h"

#include "guest-tests/lib/verdict.h"

#define FRACTION_BITS 31
#define ONE           (1ull << FRACTION_BITS)
#define WEIGHT_BITS   36 /* weight of rank 1; the sum of 2^27 of them fits 64 bits */

static u64 root_of_two[FRACTION_BITS + 1]; /* 2^(2^-k), k from 1 */

static u64 square_root(u64 x)
{
	u64 root = 0;

	for (u64 bit = 1ull << 31; bit; bit >>= 1)
		if ((root + bit) * (root + bit) <= x)
			root += bit;
	return root;
}

/* log2(x), FRACTION_BITS after the point: squaring the mantissa yields one bit at a time. */
static u64 log2_fixed(u64 x)
{
	unsigned whole = 63 - (unsigned)__builtin_clzll(x);
	u64 m = whole > FRACTION_BITS ? x >> (whole - FRACTION_BITS) : x << (FRACTION_BITS - whole);
	u64 log = whole;

	for (unsigned i = 0; i < FRACTION_BITS; i++) {
		m = m * m >> FRACTION_BITS;
		log <<= 1;
		if (m >= 2 * ONE) {
			log |= 1;
			m >>= 1;
		}
	}
	return log;
}

/* 2^-x with WEIGHT_BITS after the point, x with FRACTION_BITS. */
static u64 exp2_negative(u64 x)
{
	u64 whole = x >> FRACTION_BITS, fraction = x & (ONE - 1), value = ONE;

	if (fraction) { /* 2^-(w + f) = 2^(1 - f) / 2^(w + 1) */
		whole++;
		fraction = ONE - fraction;
	}
	for (unsigned k = 1; k <= FRACTION_BITS; k++)
		if (fraction >> (FRACTION_BITS - k) & 1)
			value = value * root_of_two[k] >> FRACTION_BITS;
	return whole > 63 ? 0 : value << (WEIGHT_BITS - FRACTION_BITS) >> whole;
}

void zipf_init(struct zipf *zipf, u64 n, u64 theta_micro)
{
	u64 root = 2 * ONE;

	for (unsigned k = 1; k <= FRACTION_BITS; k++)
		root_of_two[k] = root = square_root(root << FRACTION_BITS);
	zipf->groups = 0;
	zipf->total = 0;
	for (u64 rank = 1; rank <= n;) {
		u64 width = rank <= 32 ? 1 : 1ull << (59 - __builtin_clzll(rank)); /* msb - 4 */
		u64 weight, log;

		width = width < n + 1 - rank ? width : n + 1 - rank;
		/* The middle lies at rank + (width - 1) / 2, which may be a half. */
		log = log2_fixed(2 * rank + width - 1) - ONE;
		weight = exp2_negative(log * theta_micro / 1000000);
		VERDICT_CHECK(zipf->groups < ZIPF_GROUPS, "too many keys for the zipf table");
		zipf->first[zipf->groups] = rank - 1;
		zipf->below[zipf->groups++] = zipf->total;
		zipf->total += weight * width;
		rank += width;
	}
	zipf->first[zipf->groups] = n;
}

u64 zipf_next(const struct zipf *zipf, struct rng *rng)
{
	u64 dice = rng_below(rng, zipf->total), width;
	unsigned low = 0, high = zipf->groups;

	while (high - low > 1) {
		unsigned middle = (low + high) / 2;

		if (zipf->below[middle] <= dice)
			low = middle;
		else
			high = middle;
	}
	width = zipf->first[low + 1] - zipf->first[low];
	return zipf->first[low] + (width > 1 ? rng_below(rng, width) : 0);
}
