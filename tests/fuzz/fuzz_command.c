/*
 * The monitor on any bytes: typed into the line editor, and each line that comes out, as each line of the
 * input itself, read as a command. What is accepted keeps every bound; what is refused has a reason.
 */
#include <stdlib.h>
#include <string.h>

#include "hv/command.h"
#include "hv/line_edit.h"
#include "hv/scenario.h"
#include "mm/policy.h"
#include "mm/space.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

static bool size_ok(u64 bytes)
{
	return bytes <= SCENARIO_MAX_MEMORY_BYTES && bytes % PAGE_SIZE == 0;
}

static void check_target(const struct target *t)
{
	check(t->kind == TARGET_NONE || t->kind == TARGET_FREE || t->kind == TARGET_REFAULTS);
	check((t->kind == TARGET_FREE) == (t->free_bytes != 0) && size_ok(t->free_bytes));
	check((t->kind == TARGET_REFAULTS) == (t->refaults_ppm != 0));
	check(t->refaults_ppm <= TARGET_MAX_PPM);
}

/* The largest value of a setting. */
static u64 value_max(enum command_kind kind)
{
	switch (kind) {
	case COMMAND_CAPS:
		return POLICY_CAPS;
	case COMMAND_TWO_TOUCH:
	case COMMAND_FAULT_TOUCH:
	case COMMAND_SAMPLER:
	case COMMAND_STATS:
		return 1;
	case COMMAND_LOCKED:
	case COMMAND_LOOKAROUND:
	case COMMAND_FLUSH:
	case COMMAND_TRACE:
	case COMMAND_PROFILE:
		return 2;
	case COMMAND_WALK:
		return 3;
	case COMMAND_CHUNK:
		return POLICY_CHUNK_MAX;
	case COMMAND_BATCH:
		return TABLE_PAGES;
	case COMMAND_SWAPPINESS:
		return POLICY_SWAPPINESS_MAX;
	case COMMAND_DIRECT_RATE:
		return DIRECT_RATE_MAX;
	case COMMAND_WEIGHT:
		return SPACE_WEIGHT_MAX;
	case COMMAND_CHAOS:
		return SCENARIO_MAX_CHAOS;
	case COMMAND_DIRTY:
		return COMMAND_DIRTY_READ;
	case COMMAND_PAGE:
	case COMMAND_PAGEMAP:
		return (1ull << 40) - 1;
	case COMMAND_MIN_TTL:
	case COMMAND_WSS:
		return SCENARIO_MAX_TIME_NS;
	case COMMAND_MIN:
	case COMMAND_LOW:
	case COMMAND_LIMIT:
	case COMMAND_BALLOON:
	case COMMAND_RECLAIM:
		return SCENARIO_MAX_MEMORY_BYTES;
	case COMMAND_AGE:
	case COMMAND_EVICT:
		return COMMAND_SEQ_MAX;
	default:
		return 0;
	}
}

static void check_command(const struct command *c)
{
	check(c->kind <= COMMAND_QUIT && c->value <= value_max(c->kind));
	check(memchr(c->vm, 0, sizeof(c->vm)) != NULL);
	check(c->swappiness <= POLICY_SWAPPINESS_MAX || c->swappiness == COMMAND_SWAPPINESS_RULE);
	check(c->nr && (c->nr == ~0ull || c->nr <= 0xffffffff));
	check(c->kind != COMMAND_PAGEMAP || c->nr <= COMMAND_PAGEMAP_MAX);
	check_target(&c->target);
	if (c->kind == COMMAND_MIN || c->kind == COMMAND_LOW || c->kind == COMMAND_LIMIT ||
	    c->kind == COMMAND_BALLOON)
		check(c->vm[0] && size_ok(c->value));
	if (c->kind == COMMAND_RECLAIM)
		check(c->vm[0] && size_ok(c->value) && c->value);
	if (c->kind == COMMAND_BATCH && c->set)
		check(policy_batch_valid((u32)c->value));
	if (c->kind == COMMAND_AGE || c->kind == COMMAND_EVICT)
		check(c->vm[0]);
}

/* From a copy that ends where the line does, so that a read behind it is seen. */
static void read_line(const char *text, size_t n)
{
	struct command_error error;
	struct command c;
	char *copy = malloc(n ? n : 1);
	bool ok;

	check(copy != NULL);
	if (n)
		memcpy(copy, text, n);
	ok = command_parse((struct slice){copy, n}, &c, &error);
	free(copy);
	check(memchr(error.text, 0, sizeof(error.text)) != NULL);
	check(ok == !error.text[0]);
	for (const char *p = error.text; *p; p++)
		check(*p >= 0x20 && *p < 0x7f);
	if (ok)
		check_command(&c);
}

static void check_edit(const struct line_edit *e)
{
	check(e->len < COMMAND_LINE_MAX && strlen(e->text) == e->len);
	check(e->nr <= LINE_EDIT_HISTORY && e->at <= e->nr);
	for (size_t i = 0; i < e->len; i++)
		check(e->text[i] >= 0x20 && e->text[i] < 0x7f);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct line_edit e = {0};
	size_t start = 0;

	for (size_t i = 0; i < size; i++) {
		if (line_edit_key(&e, (char)data[i]) == LINE_DONE)
			read_line(e.text, e.len);
		check_edit(&e);
		if (data[i] != '\n')
			continue;
		read_line((const char *)data + start, i - start);
		start = i + 1;
	}
	if (size)
		read_line((const char *)data + start, size - start);
	return 0;
}
