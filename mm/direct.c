/*
 * Token buckets, each kept as a single time: until when what was taken is paid for. A bucket is empty while
 * that lies ahead, and full when it lies BURST_NS behind or further. One compare-exchange takes a token, and
 * nothing has to be filled up by anybody.
 *
 * The bucket of all runs at the whole rate, that of a space at its share. Who finds something in its own takes
 * it from both; the other may fall into debt by that. Who finds its own empty takes from the other
 * alone, so only what the others have left. As the shares come to the rate, the debt is never more than what all
 * buckets of spaces hold, a burst, and in any time no more is taken than the rate allows and two bursts.
 *
 * No order is needed: a token stands for nothing but itself.
 */
#include "mm/direct.h"

#include "arch/hal.h"
#include "mm/epoch.h"
#include "mm/policy.h"
#include "mm/space.h"

#define SECOND_NS 1000000000ull
#define BURST_NS  SECOND_NS

static struct direct_bucket all;

void direct_init(void)
{
	a64_store(&all.paid_ns, 0);
}

/*
 * What a bucket says at this time. `ahead`: as far as it can be, at this rate; further ahead it is because the rate was
 * slower when it was written, and nothing is owed for that.
 */
static u64 paid_until(u64 paid, u64 now, u64 ahead)
{
	u64 earliest = now > BURST_NS ? now - BURST_NS : 0;

	return paid > now + ahead ? now : max_of(paid, earliest);
}

/* One token, worth `interval`. */
static bool own_take(struct direct_bucket *b, u64 now, u64 interval)
{
	u64 was = a64_load(&b->paid_ns), paid;

	do {
		paid = paid_until(was, now, interval);
		if (paid > now)
			return false;
	} while (!a64_cas(&b->paid_ns, &was, paid + interval));
	return true;
}

/* The same from what all have; `owing`: also if it is empty. */
static bool all_take(u64 now, u64 interval, bool owing)
{
	u64 was = a64_load(&all.paid_ns), paid;

	do {
		paid = paid_until(was, now, 2 * BURST_NS + SPACE_MAX * interval);
		if (paid > now && !owing)
			return false;
	} while (!a64_cas(&all.paid_ns, &was, paid + interval));
	return true;
}

/* ns between two tokens of the space's own share. */
static u64 interval_of(const struct space *s, u32 rate)
{
	u32 weight = a32_load(&s->limits.weight);
	u64 weights = 0;

	epoch_enter();
	for (u16 id = 1; id <= SPACE_MAX; id++) {
		const struct space *other = space_at(id);

		if (other && !a32_load(&other->dying))
			weights += a32_load(&other->limits.weight);
	}
	epoch_exit();
	return SECOND_NS / rate * max_of(weights, (u64)weight) / weight;
}

bool direct_take(struct space *s)
{
	u32 rate = a32_load(&policy.direct_rate);
	u64 now;

	if (likely(!rate))
		return true;
	now = hal_time_ns();
	return all_take(now, SECOND_NS / rate, own_take(&s->direct, now, interval_of(s, rate)));
}

u64 direct_left(const struct space *s)
{
	u32 rate = a32_load(&policy.direct_rate);
	u64 now = hal_time_ns(), interval, paid;

	if (!rate)
		return DIRECT_RATE_MAX;
	interval = interval_of(s, rate);
	paid = paid_until(a64_load(&s->direct.paid_ns), now, interval);
	return paid > now ? 0 : (now - paid) / interval + 1;
}
