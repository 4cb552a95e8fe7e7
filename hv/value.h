/*
 * What people write for numbers, sizes, times and choices, in scenarios as at the monitor. Pure. Each
 * function takes the whole slice, without blanks around it; false: it is no such value, or out of
 * bounds, and *out is then unspecified.
 */
#pragma once

#include "hv/slice.h"
#include "lib/types.h"
#include "lib/util.h"

#define VALUE_MAX_TIME_NS (86400ull * 1000000000)

/* How much of a word of the user's goes into a message. Bytes that are no text are shown as '?'. */
#define VALUE_QUOTE_MAX 60u
struct value_quote {
	char text[VALUE_QUOTE_MAX + 4];
};
/* q->text */
const char *value_quote(struct slice t, struct value_quote *q);

/* What a controller keeps to. */
enum target_kind {
	TARGET_NONE,
	TARGET_FREE,     /* so many bytes free */
	TARGET_REFAULTS, /* as much given away as keeps refaults below a rate */
};
struct target {
	enum target_kind kind;
	u64 free_bytes; /* TARGET_FREE: a multiple of PAGE_SIZE; else 0 */
	u32 refaults_ppm; /* TARGET_REFAULTS: refaults a minute, of a million resident pages; else 0 */
};

#define TARGET_MAX_PPM 1000000u
#define ALLOWED_TARGET                                                                      \
	"none, free SIZE (as free 8M) or refaults P%/min (from 0.0001 to 100, as refaults " \
	"0.2%/min)"

/* The name of a VM: a-z 0-9 _ -, with its zero in out[size]. */
bool value_name(struct slice t, char *out, size_t size) must_check;
/* "17", "0x11". */
bool value_number(struct slice t, u64 min, u64 max, u64 *out) must_check;
/* "4096", "64K", "3M", "1G": a multiple of PAGE_SIZE from PAGE_SIZE to `max`. */
bool value_size(struct slice t, u64 max, u64 *out) must_check;
/* The same, or "none" for 0. */
bool value_size_or_none(struct slice t, u64 max, u64 *out) must_check;
/* "500ms", "2s", in ns. */
bool value_time(struct slice t, u64 min_ns, u64 max_ns, u64 *out) must_check;
/* The place of the value in a NULL-terminated list of words. */
bool value_word(struct slice t, const char *const *words, unsigned *out) must_check;
/* ALLOWED_TARGET, sizes up to `max`. */
bool value_target(struct slice t, u64 max, struct target *out) must_check;
