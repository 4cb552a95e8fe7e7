/* Hashes, a random generator and permutations that need no memory. */
#pragma once

#include "guest-tests/lib/types.h"

/* Bijective mix of 64 bits. */
static inline u64 rng_mix(u64 x)
{
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	x ^= x >> 29;
	x *= 0x9e3779b97f4a7c15ull;
	x ^= x >> 32;
	return x;
}

struct rng {
	u64 state;
};

static inline u64 rng_next(struct rng *rng)
{
	rng->state += 0x9e3779b97f4a7c15ull;
	return rng_mix(rng->state);
}

/* Uniform in 0 .. n - 1, n > 0. */
static inline u64 rng_below(struct rng *rng, u64 n)
{
	return (u64)(((u128)rng_next(rng) * n) >> 64);
}

enum order { ORDER_SEQ, ORDER_STRIDE, ORDER_RANDOM, ORDER_COUNT };

/* A permutation of 0 .. n - 1. */
struct perm {
	enum order order;
	u64 n;
	u64 step;   /* ORDER_STRIDE: coprime to n */
	u64 mask;   /* ORDER_RANDOM: 2^k - 1 >= n - 1 */
	u64 factor; /* ORDER_RANDOM: odd */
	u64 add;
	unsigned shift;
};

/* stride: wished distance of successive places, raised until it is coprime to n. n > 0. */
void perm_init(struct perm *perm, enum order order, u64 n, u64 stride, u64 seed);
/* The place that comes at position pos < n. */
u64 perm_at(const struct perm *perm, u64 pos);
