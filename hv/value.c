#include "hv/value.h"

#include "lib/string.h"

const char *value_quote(struct slice t, struct value_quote *q)
{
	size_t n = min_of(t.n, (size_t)VALUE_QUOTE_MAX), i;

	for (i = 0; i < n; i++)
		q->text[i] = text_is_text(t.p[i]) ? t.p[i] : '?';
	memcpy(q->text + n, t.n > n ? "..." : "", t.n > n ? 4 : 1);
	return q->text;
}

static unsigned digit_value(char c)
{
	if (text_is_digit(c))
		return (unsigned)(c - '0');
	if (c >= 'a' && c <= 'f')
		return (unsigned)(c - 'a') + 10;
	if (c >= 'A' && c <= 'F')
		return (unsigned)(c - 'A') + 10;
	return 99;
}

/* Digits at the beginning of *t, which moves behind them. False: none, or too many. */
static bool take_number(struct slice *t, unsigned base, u64 *out)
{
	u64 v = 0;
	size_t i = 0;

	for (; i < t->n && digit_value(t->p[i]) < base; i++)
		if (__builtin_mul_overflow(v, (u64)base, &v) ||
		    __builtin_add_overflow(v, (u64)digit_value(t->p[i]), &v))
			return false;
	*t = slice_skip(*t, i);
	*out = v;
	return i > 0;
}

bool value_name(struct slice t, char *out, size_t size)
{
	for (size_t i = 0; i < t.n; i++)
		if (!(t.p[i] >= 'a' && t.p[i] <= 'z') && !text_is_digit(t.p[i]) && t.p[i] != '_' &&
		    t.p[i] != '-')
			return false;
	return t.n && slice_copy(t, out, size);
}

bool value_number(struct slice t, u64 min, u64 max, u64 *out)
{
	bool hex = slice_begins(t, "0x");

	if (hex)
		t = slice_skip(t, 2);
	return take_number(&t, hex ? 16 : 10, out) && !t.n && *out >= min && *out <= max;
}

bool value_size(struct slice t, u64 max, u64 *out)
{
	u64 unit = 1;

	if (!take_number(&t, 10, out))
		return false;
	if (slice_is(t, "K"))
		unit = 1ull << 10;
	else if (slice_is(t, "M"))
		unit = 1ull << 20;
	else if (slice_is(t, "G"))
		unit = 1ull << 30;
	else if (t.n)
		return false;
	return !__builtin_mul_overflow(*out, unit, out) && *out && *out <= max &&
	       !(*out & (PAGE_SIZE - 1));
}

bool value_size_or_none(struct slice t, u64 max, u64 *out)
{
	*out = 0;
	return slice_is(t, "none") || value_size(t, max, out);
}

bool value_time(struct slice t, u64 min_ns, u64 max_ns, u64 *out)
{
	u64 unit;

	if (!take_number(&t, 10, out))
		return false;
	if (slice_is(t, "ms"))
		unit = 1000000;
	else if (slice_is(t, "s"))
		unit = 1000000000;
	else
		return false;
	return !__builtin_mul_overflow(*out, unit, out) && *out >= min_ns && *out <= max_ns;
}

bool value_word(struct slice t, const char *const *words, unsigned *out)
{
	for (*out = 0; words[*out]; ++*out)
		if (slice_is(t, words[*out]))
			return true;
	return false;
}

/* "0.2", "3", "12.0625": percent, in millionths of the whole. At most four digits behind the point. */
static bool take_percent(struct slice *t, u64 *ppm)
{
	u64 fraction = 0;
	size_t before;

	if (!take_number(t, 10, ppm) || *ppm > 100)
		return false;
	*ppm *= 10000;
	if (!slice_begins(*t, "."))
		return true;
	*t = slice_skip(*t, 1);
	before = t->n;
	if (!take_number(t, 10, &fraction) || before - t->n > 4)
		return false;
	for (size_t digits = before - t->n; digits < 4; digits++)
		fraction *= 10;
	*ppm += fraction;
	return true;
}

static bool target_refaults(struct slice t, struct target *out)
{
	u64 ppm;

	if (!take_percent(&t, &ppm) || !slice_is(t, "%/min") || !ppm || ppm > TARGET_MAX_PPM)
		return false;
	*out = (struct target){.kind = TARGET_REFAULTS, .refaults_ppm = (u32)ppm};
	return true;
}

bool value_target(struct slice t, u64 max, struct target *out)
{
	size_t blank = slice_find(t, ' ');
	struct slice word = {t.p, blank}, rest = slice_trim(slice_skip(t, blank));

	*out = (struct target){.kind = TARGET_NONE};
	if (slice_is(t, "none"))
		return true;
	if (slice_is(word, "refaults"))
		return target_refaults(rest, out);
	out->kind = TARGET_FREE;
	return slice_is(word, "free") && value_size(rest, max, &out->free_bytes);
}
