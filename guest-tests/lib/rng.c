#include "guest-tests/lib/rng.h"

static u64 gcd(u64 a, u64 b)
{
	while (b) {
		u64 rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

void perm_init(struct perm *perm, enum order order, u64 n, u64 stride, u64 seed)
{
	unsigned bits = 1;

	perm->order = order;
	perm->n = n;
	perm->step = stride ? stride : 1;
	while (gcd(perm->step, n) != 1)
		perm->step++;
	while (bits < 63 && 1ull << bits < n)
		bits++;
	perm->mask = (1ull << bits) - 1;
	perm->shift = (bits + 1) / 2;
	perm->factor = rng_mix(seed) | 1;
	perm->add = rng_mix(seed + 1);
}

/* Each step is a bijection of 0 .. mask: addition, odd multiplication, shift-xor to the right. */
static u64 scramble(const struct perm *perm, u64 x)
{
	for (unsigned i = 0; i < 3; i++) {
		x = (x * perm->factor + perm->add) & perm->mask;
		x ^= x >> perm->shift;
	}
	return x;
}

u64 perm_at(const struct perm *perm, u64 pos)
{
	switch (perm->order) {
	case ORDER_STRIDE:
		return pos * perm->step % perm->n;
	case ORDER_RANDOM:
		/* Walk the cycle of the larger bijection until it comes back into 0 .. n - 1. */
		do
			pos = scramble(perm, pos);
		while (pos >= perm->n);
		return pos;
	default:
		return pos;
	}
}
