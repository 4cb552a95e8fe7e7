#include "lib/cmdline.h"

#include "lib/string.h"

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

bool cmdline_next(const char **pos, struct cmdline_word *word)
{
	const char *p = *pos;
	size_t len = 0, key_len;

	while (is_space(*p))
		p++;
	while (p[len] && !is_space(p[len]))
		len++;
	*pos = p + len;
	if (len == 0)
		return false;
	for (key_len = 0; key_len < len && p[key_len] != '=';)
		key_len++;
	*word = (struct cmdline_word){.text = p, .len = len, .key_len = key_len};
	if (key_len < len) {
		word->value = p + key_len + 1;
		word->value_len = len - key_len - 1;
	}
	return true;
}

bool cmdline_key_is(const struct cmdline_word *word, const char *key)
{
	return strlen(key) == word->key_len && memcmp(word->text, key, word->key_len) == 0;
}

bool cmdline_get(const char *cmdline, const char *key, char *out, size_t size)
{
	struct cmdline_word word;
	bool found = false;

	if (size == 0)
		return false;
	out[0] = '\0';
	while (cmdline_next(&cmdline, &word)) {
		if (!cmdline_key_is(&word, key))
			continue;
		found = word.value_len < size;
		if (found && word.value_len)
			memcpy(out, word.value, word.value_len);
		out[found ? word.value_len : 0] = '\0';
	}
	return found;
}

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 16;
}

bool cmdline_get_u64(const char *cmdline, const char *key, u64 *out)
{
	char text[24];
	const char *p = text;
	u64 base = 10, v = 0;

	if (!cmdline_get(cmdline, key, text, sizeof(text)))
		return false;
	if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X')) {
		base = 16;
		p += 2;
	}
	if (!*p)
		return false;
	for (; *p; p++) {
		u64 d = (u64)digit_value(*p);

		if (d >= base || v > (UINT64_MAX - d) / base)
			return false;
		v = v * base + d;
	}
	*out = v;
	return true;
}
