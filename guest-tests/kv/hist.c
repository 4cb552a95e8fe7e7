#include "guest-tests/kv/hist.h"

static unsigned slot_of(u64 value)
{
	unsigned msb;

	if (value < HIST_STEPS)
		return (unsigned)value;
	msb = 63 - (unsigned)__builtin_clzll(value);
	return (msb - 3) * HIST_STEPS + (unsigned)(value >> (msb - 4) & (HIST_STEPS - 1));
}

static u64 slot_start(unsigned slot)
{
	unsigned msb = slot / HIST_STEPS + 3;

	if (slot < HIST_STEPS)
		return slot;
	return 1ull << msb | (u64)(slot % HIST_STEPS) << (msb - 4);
}

void hist_add(struct hist *hist, u64 value)
{
	hist->slots[slot_of(value)]++;
	hist->count++;
	hist->sum += value;
	if (value > hist->max)
		hist->max = value;
}

void hist_merge(struct hist *hist, const struct hist *from)
{
	for (unsigned i = 0; i < HIST_SLOTS; i++)
		hist->slots[i] += from->slots[i];
	hist->count += from->count;
	hist->sum += from->sum;
	if (from->max > hist->max)
		hist->max = from->max;
}

u64 hist_quantile(const struct hist *hist, u64 per_mille)
{
	u64 below = 0, want = hist->count * per_mille / 1000;

	if (per_mille >= 1000)
		return hist->max;
	for (unsigned i = 0; i < HIST_SLOTS; i++) {
		below += hist->slots[i];
		if (below > want)
			return slot_start(i);
	}
	return hist->max;
}
