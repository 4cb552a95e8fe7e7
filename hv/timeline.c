#include "hv/timeline.h"

#include "lib/fmt.h"
#include "lib/string.h"

static bool printf_like(2, 3) refuse(struct command_error *error, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fmt_vsnprintf(error->text, COMMAND_ERROR_MAX, fmt, args);
	va_end(args);
	return false;
}

static bool take_when(struct timeline_entry *e, struct slice *t, struct command_error *error)
{
	struct slice how = slice_word(t), when = slice_word(t);
	struct value_quote q;

	if (slice_is(how, "at")) {
		if (value_time(when, 0, VALUE_MAX_TIME_NS, &e->at_ns))
			return true;
		return refuse(error, "at %s: allowed is a time from 0ms to 86400s, as 500ms or 2s",
		              value_quote(when, &q));
	}
	if (!slice_is(how, "every"))
		return refuse(error, "%s: allowed are at TIME COMMAND and every TIME COMMAND",
		              value_quote(how, &q));
	if (!value_time(when, TIMELINE_MIN_PERIOD_NS, VALUE_MAX_TIME_NS, &e->every_ns))
		return refuse(error, "every %s: allowed is a time from 10ms to 86400s",
		              value_quote(when, &q));
	e->at_ns = e->every_ns;
	return true;
}

bool timeline_add(struct timeline *t, u32 line, struct slice text, struct command_error *error)
{
	struct timeline_entry e = {.line = line};
	u32 at = t->nr;

	text = slice_trim(text);
	if (!take_when(&e, &text, error))
		return false;
	if (!slice_copy(text, e.text, sizeof(e.text)))
		return refuse(error, "a command has at most %u characters", COMMAND_LINE_MAX - 1);
	if (!command_parse(text, &e.command, error))
		return false;
	if (e.command.kind == COMMAND_NOTHING)
		return refuse(error, "the command is missing behind the time");
	if (t->nr == TIMELINE_MAX)
		return refuse(error, "a timeline has at most %u lines", TIMELINE_MAX);
	for (; at && t->entry[at - 1].at_ns > e.at_ns; at--)
		t->entry[at] = t->entry[at - 1];
	t->entry[at] = e;
	t->nr++;
	return true;
}

void timeline_start(struct timeline_run *run, const struct timeline *t)
{
	run->timeline = t;
	for (u32 i = 0; i < t->nr; i++)
		run->due[i] = t->entry[i].at_ns;
}

/* Which is due next; nr if none ever is. */
static u32 first_due(const struct timeline_run *run)
{
	u32 nr = run->timeline->nr, first = nr;
	u64 due = TIMELINE_NEVER;

	for (u32 i = 0; i < nr; i++) {
		if (run->due[i] >= due)
			continue;
		due = run->due[i];
		first = i;
	}
	return first;
}

u64 timeline_due(const struct timeline_run *run)
{
	u32 i = first_due(run);

	return i < run->timeline->nr ? run->due[i] : TIMELINE_NEVER;
}

const struct timeline_entry *timeline_take(struct timeline_run *run, u64 now)
{
	u32 i = first_due(run);
	const struct timeline_entry *e;

	if (i == run->timeline->nr || run->due[i] > now)
		return NULL;
	e = &run->timeline->entry[i];
	if (e->every_ns)
		run->due[i] += ((now - run->due[i]) / e->every_ns + 1) * e->every_ns;
	else
		run->due[i] = TIMELINE_NEVER;
	return e;
}
