/*
 * One byte for every few bytes of the program's text: set when a basic block there is entered. A plain store each, so
 * that it works anywhere, also where a guest is about to run or an NMI came: CPUs that set the same byte
 * write the same value.
 */
#include "arch/x86/cover.h"

#ifdef VARVE_COVERAGE

#include "arch/x86/console.h"
#include "lib/fmt.h"
#include "lib/types.h"
#include "lib/util.h"

#define GRAIN    4u /* a call is longer: no two return addresses share a byte */
#define TEXT_MAX 0x200000u
#define LINE     64u

extern u8 image_text_start[], image_text_end[];
void __sanitizer_cov_trace_pc(void);

static u8 seen[TEXT_MAX / GRAIN];

void __sanitizer_cov_trace_pc(void)
{
	u64 at = (u64)__builtin_return_address(0) - (u64)image_text_start;

	if (at < TEXT_MAX)
		seen[at / GRAIN] = 1;
}

/* The addresses from `at` on, LINE of them at most; where to go on. */
static u64 drain_line(u64 at, u64 end)
{
	char text[LINE * 9 + 64];
	size_t len = (size_t)fmt_snprintf(text, sizeof(text), "{\"type\":\"cover\",\"cover\":\"");
	unsigned n = 0;

	for (; at < end && n < LINE; at++) {
		if (!seen[at])
			continue;
		len += (size_t)fmt_snprintf(
		        text + len, sizeof(text) - len, "%s%llx", n ? " " : "",
		        (unsigned long long)((u64)image_text_start + at * GRAIN));
		n++;
	}
	len += (size_t)fmt_snprintf(text + len, sizeof(text) - len, "\"}\n");
	if (n)
		stats_write(text, len);
	return at;
}

void cover_drain(void)
{
	u64 end = min_of((u64)(image_text_end - image_text_start), (u64)TEXT_MAX) / GRAIN;

	for (u64 at = 0; at < end;)
		at = drain_line(at, end);
}

#endif
