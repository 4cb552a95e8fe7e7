/*
 * Words of a command line: `key=value` or `key`, separated by white space, no quoting. Pure; any
 * context. A key that stands more than once counts with its last value.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

struct cmdline_word {
	const char *text; /* the whole word, not terminated */
	size_t len;
	size_t key_len;    /* up to '=' or the end */
	const char *value; /* behind '=', NULL if the word has none */
	size_t value_len;
};

/* The word at or behind *pos; moves *pos behind it. False at the end of the text. */
bool cmdline_next(const char **pos, struct cmdline_word *word) must_check;
bool cmdline_key_is(const struct cmdline_word *word, const char *key);
/*
 * Copies the value of `key` (empty for a bare `key`) to out, always terminated. False if the key is
 * not there or the value does not fit; out is then empty.
 */
bool cmdline_get(const char *cmdline, const char *key, char *out, size_t size) must_check;
/* As cmdline_get() for a decimal or 0x number; false also if the value is none. */
bool cmdline_get_u64(const char *cmdline, const char *key, u64 *out) must_check;
