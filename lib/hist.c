#include "lib/hist.h"

#include "lib/util.h"

#define STEP_BITS 3u
#define STEPS     (1u << STEP_BITS)

/* Values below STEPS have a bucket each; above, the three bits below the leading one choose. */
static unsigned hist_bucket(u64 value)
{
	unsigned top, bucket;

	if (value < STEPS)
		return (unsigned)value;
	top = 63 - (unsigned)__builtin_clzll(value);
	bucket = (top - STEP_BITS + 1) * STEPS +
	         ((unsigned)(value >> (top - STEP_BITS)) & (STEPS - 1));
	return min_of(bucket, HIST_BUCKETS - 1);
}

/* Largest value that falls into the bucket. */
static u64 hist_upper(unsigned bucket)
{
	unsigned shift;

	if (bucket < STEPS)
		return bucket;
	shift = bucket / STEPS - 1;
	return ((u64)(STEPS + bucket % STEPS + 1) << shift) - 1;
}

void hist_add(struct hist *h, u64 value)
{
	u64 max = a64_load(&h->max);

	a64_count(&h->count[hist_bucket(value)], 1);
	a64_count(&h->total, value);
	while (value > max && !a64_cas(&h->max, &max, value))
		;
}

void hist_clear(struct hist *h)
{
	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		a64_store(&h->count[i], 0);
	a64_store(&h->max, 0);
	a64_store(&h->total, 0);
}

u64 hist_count(const struct hist *h)
{
	u64 n = 0;

	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		n += a64_load(&h->count[i]);
	return n;
}

u64 hist_percentile(const struct hist *h, unsigned per_mille)
{
	u64 n = hist_count(h), seen = 0;
	/* The smallest value that at least this many do not exceed. */
	u64 wanted = max_of((n * per_mille + 999) / 1000, 1ull);

	if (!n)
		return 0;
	for (unsigned i = 0; i < HIST_BUCKETS - 1; i++) {
		seen += a64_load(&h->count[i]);
		if (seen >= wanted)
			return min_of(hist_upper(i), a64_load(&h->max));
	}
	return a64_load(&h->max);
}
