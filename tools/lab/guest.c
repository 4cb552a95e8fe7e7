#include "tools/lab/guest.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "guest-tests/lib/cmdline.h"
#include "guest-tests/lib/string.h"
#include "guest-tests/lib/verdict.h"
#include "guest-tests/workload/touches.h"

const struct guest_work guest_works[] = {
        {"guest-zipf", "Zipf 1.2, scattered", "work=zipf"},
        {"guest-scan", "... and every fourth touch walks through all memory", "work=scan"},
        {"guest-scan-hot", "two pages of five, and such a walk", "work=scan hot=40"},
        {"guest-phase", "Zipf 1.2, what is popular changes four times", "work=phase"},
        {"guest-phase-hot", "a quarter, another one eight times", "work=phase hot=25 phases=8"},
        {"guest-phase-fit-25", "a set that just fits 25 %, another one eight times",
         "work=phase hot=22 phases=8"},
        {"guest-phase-fit-50", "... 50 %", "work=phase hot=45 phases=8"},
        {"guest-phase-fit-75", "... 75 %", "work=phase hot=70 phases=8"},
        {"guest-dense", "every page in turn", "work=dense"},
};
const unsigned guest_nr_works = ARRAY_SIZE(guest_works);

/* --- what the guest's sources want of its library, and the laboratory has otherwise ---------------- */

_Noreturn void verdict_fail(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fputs("lab: the guest says: ", stderr);
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	va_end(args);
	exit(2);
}

bool string_equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

/* --- what the guest does, on one CPU --------------------------------------------------------------- */

static void draw_phase(const struct touches *t, const struct touches_phase *p,
                       struct guest_sink *sink)
{
	struct rng rng = touches_rng(t, p, 0);

	for (u64 op = p->from; op < p->from + p->ops; op++) {
		u64 page = touches_page(t, op, 0, &rng);
		bool write = touches_write(t, op);

		sink->touch(sink->arg, (u32)page, write);
		sink->sum = touches_sum(sink->sum, page, write);
	}
}

void guest_draw(const char *args, uint64_t seed, struct guest_sink *sink)
{
	struct touches *t = calloc(1, sizeof(*t));
	struct touches_phase p;
	char line[256];
	const char *wrong;

	/* The last word of a name wins. */
	if (snprintf(line, sizeof(line), "seed=%lu %s", seed, args) >= (int)sizeof(line) || !t)
		verdict_fail("no room for its arguments");
	cmdline_init(line);
	wrong = touches_read(t, cmdline_u64("first", GUEST_PAGES), 1);
	if (wrong)
		verdict_fail("%s", wrong);
	sink->pages = (u32)t->pages;
	sink->from = (u32)(t->pages + t->warm);
	sink->sum = 0;
	for (u64 i = 0; i < t->pages; i++)
		sink->touch(sink->arg, (u32)i, true);
	p = touches_warm_up(t);
	draw_phase(t, &p, sink);
	for (u64 number = 0; number < t->phases; number++) {
		p = touches_phase(t, number);
		draw_phase(t, &p, sink);
	}
	free(t);
}
