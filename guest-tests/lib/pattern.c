#include "guest-tests/lib/pattern.h"

#include "guest-tests/lib/cmdline.h"
#include "guest-tests/lib/rng.h"
#include "guest-tests/lib/smp.h"
#include "guest-tests/lib/verdict.h"

#define LINE_WORDS 8

enum kind { KIND_ZERO, KIND_SAME, KIND_LINES };

/* A page, ready to compute its words one after the other. */
struct content {
	enum kind kind;
	u64 key;
	unsigned noise_from, noise_to;
	u64 line[LINE_WORDS];
};

static u64 percent(const char *key, u64 fallback)
{
	u64 value = cmdline_u64(key, fallback);

	VERDICT_CHECK(value <= 100, "argument %s= is a percentage", key);
	return value;
}

void pattern_init(struct pattern *pattern, u64 noise, u64 zero, u64 same)
{
	pattern->seed = rng_mix(cmdline_u64("seed", 1));
	pattern->noise_words = (unsigned)(percent("noise", percent("share", noise)) * PAGE_WORDS /
	                                  100);
	pattern->zero = (unsigned)percent("zero", zero);
	pattern->same = (unsigned)percent("same", same);
	VERDICT_CHECK(pattern->zero + pattern->same <= 100, "zero= and same= exceed 100 percent");
}

static void content_of(const struct pattern *pattern, struct content *c, const u64 *page, u64 round)
{
	u64 dice;

	c->key = rng_mix((u64)page ^ rng_mix(pattern->seed + round));
	dice = (c->key >> 40) % 100;
	c->kind = dice < pattern->zero                   ? KIND_ZERO
	          : dice < pattern->zero + pattern->same ? KIND_SAME
	                                                 : KIND_LINES;
	c->noise_from = (unsigned)(c->key % (PAGE_WORDS + 1 - pattern->noise_words));
	c->noise_to = c->noise_from + pattern->noise_words;
	for (unsigned i = 0; i < LINE_WORDS; i++)
		c->line[i] = rng_mix(c->key + i);
}

bool pattern_is_zero(const struct pattern *pattern, const u64 *page, u64 round)
{
	struct content c;

	content_of(pattern, &c, page, round);
	return c.kind == KIND_ZERO;
}

static inline u64 noise_word(const struct content *c, unsigned i)
{
	u64 x = (c->key + i) * 0x9e3779b97f4a7c15ull;

	x ^= x >> 32;
	return x * 0xd6e8feb86659fd93ull;
}

static inline u64 line_word(const struct content *c, unsigned i)
{
	return c->line[i % LINE_WORDS] + (i % LINE_WORDS ? 0 : i / LINE_WORDS);
}

static inline u64 word(const struct content *c, unsigned i)
{
	return i >= c->noise_from && i < c->noise_to ? noise_word(c, i) : line_word(c, i);
}

void pattern_fill(const struct pattern *pattern, u64 *page, u64 round)
{
	struct content c;
	unsigned i;

	content_of(pattern, &c, page, round);
	if (c.kind != KIND_LINES) {
		for (i = 0; i < PAGE_WORDS; i++)
			page[i] = c.kind == KIND_ZERO ? 0 : c.key;
		return;
	}
	for (i = 0; i < c.noise_from; i++)
		page[i] = line_word(&c, i);
	for (; i < c.noise_to; i++)
		page[i] = noise_word(&c, i);
	for (; i < PAGE_WORDS; i++)
		page[i] = line_word(&c, i);
}

_Noreturn static void wrong(const u64 *at, u64 expected, u64 found, u64 round)
{
	verdict_fail("wrong word at 0x%lx expected 0x%lx found 0x%lx cpu %u round %lu", (u64)at,
	             expected, found, cpu_self()->id, round);
}

void pattern_check(const struct pattern *pattern, const u64 *page, u64 round)
{
	const volatile u64 *words = page; /* each word is read once */
	struct content c;

	content_of(pattern, &c, page, round);
	for (unsigned i = 0; i < PAGE_WORDS; i++) {
		u64 expected = c.kind == KIND_ZERO ? 0 : c.kind == KIND_SAME ? c.key : word(&c, i);
		u64 found = words[i];

		if (found != expected)
			wrong(page + i, expected, found, round);
	}
}
