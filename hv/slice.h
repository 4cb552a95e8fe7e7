/* Pieces of text that end nowhere in particular: for the parsers of words people write. Pure. */
#pragma once

#include "lib/string.h"
#include "lib/types.h"

struct slice {
	const char *p;
	size_t n;
};

static inline bool text_is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static inline bool text_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool text_is_text(char c)
{
	return (u8)c >= 0x20 && (u8)c < 0x7f;
}

static inline struct slice slice_trim(struct slice t)
{
	while (t.n && text_is_blank(t.p[0])) {
		t.p++;
		t.n--;
	}
	while (t.n && text_is_blank(t.p[t.n - 1]))
		t.n--;
	return t;
}

static inline bool slice_is(struct slice t, const char *text)
{
	return t.n == strlen(text) && !memcmp(t.p, text, t.n);
}

static inline bool slice_begins(struct slice t, const char *text)
{
	return t.n >= strlen(text) && !memcmp(t.p, text, strlen(text));
}

static inline struct slice slice_skip(struct slice t, size_t n)
{
	return (struct slice){t.p + n, t.n - n};
}

/* Position of c, or t.n. */
static inline size_t slice_find(struct slice t, char c)
{
	size_t i = 0;

	while (i < t.n && t.p[i] != c)
		i++;
	return i;
}

/* The next word of *t, which moves behind it and its blanks. */
static inline struct slice slice_word(struct slice *t)
{
	struct slice word = {t->p, 0};

	while (word.n < t->n && !text_is_blank(t->p[word.n]))
		word.n++;
	*t = slice_trim(slice_skip(*t, word.n));
	return word;
}

static inline bool slice_copy(struct slice t, char *out, size_t size)
{
	if (t.n >= size)
		return false;
	memcpy(out, t.p, t.n);
	out[t.n] = '\0';
	return true;
}
