#include "guest-tests/lib/cmdline.h"

#include "guest-tests/lib/string.h"
#include "guest-tests/lib/verdict.h"

#define CMDLINE_MAX 512

static char cmdline[CMDLINE_MAX];

void cmdline_init(const char *text)
{
	size_t n = 0;

	for (; text && text[n] && n < CMDLINE_MAX - 1; n++)
		cmdline[n] = text[n];
	cmdline[n] = 0;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n';
}

/* The text behind the last word that begins with key, or NULL. The last one wins. */
static const char *find(const char *key)
{
	const char *found = NULL;

	for (const char *word = cmdline; *word;) {
		const char *w = word, *k = key;

		while (*k && *w == *k)
			w++, k++;
		if (!*k && (*w == '=' || !*w || is_blank(*w)))
			found = w;
		while (*word && !is_blank(*word))
			word++;
		while (is_blank(*word))
			word++;
	}
	return found;
}

const char *cmdline_text(const char *key)
{
	static char text[CMDLINE_MAX];
	const char *from = find(key);
	size_t n = 0;

	if (!from || *from != '=')
		return NULL;
	for (from++; from[n] && !is_blank(from[n]); n++)
		text[n] = from[n];
	text[n] = 0;
	return text;
}

static unsigned digit(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10) : 99;
}

static unsigned suffix_shift(char c)
{
	switch (c) {
	case 'K':
	case 'k':
		return 10;
	case 'M':
	case 'm':
		return 20;
	case 'G':
	case 'g':
		return 30;
	default:
		return 0;
	}
}

u64 cmdline_u64(const char *key, u64 fallback)
{
	const char *s = cmdline_text(key);
	unsigned base = 10, shift;
	u64 value = 0;

	if (!s)
		return fallback;
	VERDICT_CHECK(*s, "argument %s= has no value", key);
	if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X')) {
		base = 16;
		s += 2;
	}
	for (; digit(*s) < base; s++)
		value = value * base + digit(*s);
	shift = suffix_shift(*s);
	VERDICT_CHECK(!s[shift != 0], "argument %s= is not a number: %s", key, cmdline_text(key));
	return value << shift;
}

u64 cmdline_micro(const char *key, u64 fallback)
{
	const char *s = cmdline_text(key);
	u64 value = 0, scale = 1000000;

	if (!s)
		return fallback;
	for (; digit(*s) < 10; s++)
		value = value * 10 + digit(*s);
	value *= scale;
	if (*s == '.')
		for (s++; digit(*s) < 10; s++)
			value += digit(*s) * (scale /= 10);
	VERDICT_CHECK(!*s, "argument %s= is not a decimal fraction", key);
	return value;
}

bool cmdline_flag(const char *key)
{
	const char *from = find(key);

	return from && (*from != '=' || cmdline_u64(key, 0));
}
