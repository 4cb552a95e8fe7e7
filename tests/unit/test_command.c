/* hv/command and hv/line_edit: what a line says, a sentence for everything that it must not say, and typing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "hv/command.h"
#include "hv/line_edit.h"
#include "mm/policy.h"

#define MIB (1ull << 20)

static struct command c;
static struct command_error error;

static bool parse(const char *line)
{
	memset(&c, 0xa5, sizeof(c));
	memset(&error, 0xa5, sizeof(error));
	return command_parse((struct slice){line, strlen(line)}, &c, &error);
}

static void takes(const char *line, enum command_kind kind)
{
	if (!parse(line))
		fail_msg("'%s' refused: %s", line, error.text);
	assert_string_equal(error.text, "");
	assert_int_equal(c.kind, kind);
}

/* Refused with a message that has all the words, which are separated by '|'. */
static void refuses(const char *line, const char *words)
{
	char copy[256];

	if (parse(line))
		fail_msg("accepted: %s", line);
	assert_true(strlen(error.text) < sizeof(error.text));
	snprintf(copy, sizeof(copy), "%s", words);
	for (char *w = strtok(copy, "|"); w; w = strtok(NULL, "|"))
		if (!strstr(error.text, w))
			fail_msg("'%s' does not say '%s'", error.text, w);
}

static void test_command_nothing(void **state)
{
	(void)state;
	takes("", COMMAND_NOTHING);
	takes(" \t ", COMMAND_NOTHING);
	takes("# a comment", COMMAND_NOTHING);
	refuses("help # me", "help: # me is too much");
}

static void test_command_lists(void **state)
{
	(void)state;
	takes("help", COMMAND_HELP);
	takes("  vms\t", COMMAND_VMS);
	takes("gens", COMMAND_GENS);
	assert_string_equal(c.vm, "");
	takes("gens kv", COMMAND_GENS);
	assert_string_equal(c.vm, "kv");
	takes("full", COMMAND_FULL);
	takes("full 0123456789012345678901234567890", COMMAND_FULL);
	assert_int_equal(strlen(c.vm), 31);
	takes("audit", COMMAND_AUDIT);
	takes("quit", COMMAND_QUIT);
	takes("stats json", COMMAND_STATS);
	assert_int_equal(c.value, COMMAND_STATS_JSON);
	takes("stats prom", COMMAND_STATS);
	assert_int_equal(c.value, COMMAND_STATS_PROM);
	takes("trace on", COMMAND_TRACE);
	assert_int_equal(c.value, COMMAND_TRACE_ON);
	takes("trace off", COMMAND_TRACE);
	assert_int_equal(c.value, COMMAND_TRACE_OFF);
	takes("trace drain", COMMAND_TRACE);
	assert_int_equal(c.value, COMMAND_TRACE_DRAIN);
}

static void test_command_plus(void **state)
{
	(void)state;
	takes("+ kv 3", COMMAND_AGE);
	assert_string_equal(c.vm, "kv");
	assert_int_equal(c.value, 3);
	assert_int_equal(c.swappiness, COMMAND_SWAPPINESS_RULE);
	assert_false(c.force);
	takes("+ kv 0x10 200 1", COMMAND_AGE);
	assert_int_equal(c.value, 16);
	assert_int_equal(c.swappiness, 200);
	assert_true(c.force);
	takes("+ kv max max 0", COMMAND_AGE);
	assert_true(c.value == COMMAND_SEQ_MAX);
	assert_int_equal(c.swappiness, POLICY_SWAPPINESS_MAX);
	assert_false(c.force);
	refuses("+", "+: VM is missing|+ VM MAX_GEN");
	refuses("+ kv", "MAX_GEN is missing");
	refuses("+ kv -1", "MAX_GEN -1|number of a generation");
	refuses("+ kv 18446744073709551616", "MAX_GEN 18446744073709551616");
	refuses("+ kv 3 201", "SWAPPINESS 201|0 to 200");
	refuses("+ kv 3 60 2", "FORCE 2|0 or 1");
	refuses("+ kv 3 60 1 1", "1 is too much|+ VM MAX_GEN [SWAPPINESS [FORCE]]");
	refuses("+kv 3", "+kv: no such command");
}

static void test_command_minus(void **state)
{
	(void)state;
	takes("- kv 1", COMMAND_EVICT);
	assert_int_equal(c.value, 1);
	assert_true(c.nr == ~0ull);
	takes("- kv 1 0 64", COMMAND_EVICT);
	assert_int_equal(c.swappiness, 0);
	assert_int_equal(c.nr, 64);
	refuses("- kv", "MIN_GEN is missing");
	refuses("- kv 1 0 0", "NR 0|from 1");
	refuses("- kv 1 0 0x100000000", "NR 0x100000000|0xffffffff");
	takes("reclaim kv 4M", COMMAND_RECLAIM);
	assert_int_equal(c.value, 4 * MIB);
	refuses("reclaim kv none", "SIZE none|multiple of 4K");
	refuses("reclaim kv 5", "SIZE 5|multiple of 4K");
}

/* A setting without its value is a question. */
static void test_command_settings(void **state)
{
	static const struct {
		const char *word, *value;
		enum command_kind kind;
		u64 want;
	} settings[] = {
	        {"caps", "0xb", COMMAND_CAPS, 11},
	        {"locked", "yes", COMMAND_LOCKED, POLICY_LOCKED},
	        {"locked", "read", COMMAND_LOCKED, POLICY_READ},
	        {"lookaround", "all", COMMAND_LOOKAROUND, POLICY_LOOK_ALL},
	        {"flush", "per-pass", COMMAND_FLUSH, POLICY_FLUSH_PER_PASS},
	        {"batch", "64", COMMAND_BATCH, 64},
	        {"two_touch", "no", COMMAND_TWO_TOUCH, 0},
	        {"fault_touch", "yes", COMMAND_FAULT_TOUCH, 1},
	        {"demote", "no", COMMAND_DEMOTE, 0},
	        {"probation", "yes", COMMAND_PROBATION, 1},
	        {"guard", "yes", COMMAND_GUARD, 1},
	        {"chunk", "64", COMMAND_CHUNK, 64},
	        {"swappiness", "200", COMMAND_SWAPPINESS, 200},
	        {"direct_rate", "1000000", COMMAND_DIRECT_RATE, 1000000},
	        {"chaos", "1", COMMAND_CHAOS, 1},
	};
	char line[64];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(settings); i++) {
		takes(settings[i].word, settings[i].kind);
		assert_false(c.set);
		snprintf(line, sizeof(line), "%s %s", settings[i].word, settings[i].value);
		takes(line, settings[i].kind);
		assert_true(c.set);
		assert_int_equal(c.value, settings[i].want);
		snprintf(line, sizeof(line), "%s perhaps", settings[i].word);
		refuses(line, "perhaps: allowed is");
	}
	refuses("caps 16", "MASK 16|0xf");
	refuses("batch 32", "1|64|512 32");
	refuses("swappiness 201", "N 201|0 to 200");
	refuses("chaos 1000001", "1000000");
}

static void test_command_promises(void **state)
{
	static const struct {
		const char *word;
		enum command_kind kind;
	} promises[] = {
	        {"min", COMMAND_MIN},
	        {"low", COMMAND_LOW},
	        {"limit", COMMAND_LIMIT},
	};
	char line[64];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(promises); i++) {
		snprintf(line, sizeof(line), "%s kv", promises[i].word);
		takes(line, promises[i].kind);
		assert_false(c.set);
		snprintf(line, sizeof(line), "%s kv 32M", promises[i].word);
		takes(line, promises[i].kind);
		assert_true(c.set);
		assert_int_equal(c.value, 32 * MIB);
		assert_string_equal(c.vm, "kv");
		snprintf(line, sizeof(line), "%s kv none", promises[i].word);
		takes(line, promises[i].kind);
		assert_true(c.set);
		assert_int_equal(c.value, 0);
		snprintf(line, sizeof(line), "%s kv 0", promises[i].word);
		refuses(line, "SIZE 0|none, or");
		refuses(promises[i].word, "VM is missing");
	}
	takes("weight kv 1000", COMMAND_WEIGHT);
	assert_int_equal(c.value, 1000);
	refuses("weight kv 0", "N 0|1 to 1000");
	takes("policy twolist", COMMAND_POLICY);
	assert_int_equal(c.value, 1);
	takes("policy", COMMAND_POLICY);
	assert_false(c.set);
	refuses("policy fifo", "fifo|mglru or twolist");
	takes("walk kv all", COMMAND_WALK);
	assert_true(c.set);
	assert_int_equal(c.value, WALK_ALL);
	takes("walk kv", COMMAND_WALK);
	assert_false(c.set);
	refuses("walk kv slow", "slow|off, fast, all or accurate");
	refuses("walk", "VM is missing");
}

/* Of the host, or of a VM that may have any name. */
static void test_command_of_host_or_vm(void **state)
{
	(void)state;
	takes("min_ttl", COMMAND_MIN_TTL);
	assert_false(c.set);
	takes("min_ttl 1500", COMMAND_MIN_TTL);
	assert_string_equal(c.vm, "");
	assert_true(c.set);
	assert_int_equal(c.value, 1500000000ull);
	takes("min_ttl kv", COMMAND_MIN_TTL);
	assert_string_equal(c.vm, "kv");
	assert_false(c.set);
	takes("min_ttl 7 1500", COMMAND_MIN_TTL);
	assert_string_equal(c.vm, "7");
	assert_int_equal(c.value, 1500000000ull);
	refuses("min_ttl kv 1s", "MS 1s|milliseconds");
	takes("target free 8M", COMMAND_TARGET);
	assert_string_equal(c.vm, "");
	assert_int_equal(c.target.kind, TARGET_FREE);
	assert_int_equal(c.target.free_bytes, 8 * MIB);
	takes("target free none", COMMAND_TARGET);
	assert_string_equal(c.vm, "free");
	assert_int_equal(c.target.kind, TARGET_NONE);
	takes("target kv refaults  0.2%/min", COMMAND_TARGET);
	assert_string_equal(c.vm, "kv");
	assert_int_equal(c.target.refaults_ppm, 2000);
	takes("target kv", COMMAND_TARGET);
	assert_false(c.set);
	refuses("target kv 5", "TARGET 5|refaults P%/min");
}

static void test_command_questions(void **state)
{
	(void)state;
	takes("wss kv 1000", COMMAND_WSS);
	assert_int_equal(c.value, 1000000000ull);
	refuses("wss kv", "MS is missing|wss VM MS");
	takes("page kv 0x1f", COMMAND_PAGE);
	assert_int_equal(c.value, 31);
	refuses("page kv 0x10000000000", "GFN 0x10000000000");
	takes("pagemap kv 0x1f 512", COMMAND_PAGEMAP);
	assert_int_equal(c.value, 31);
	assert_int_equal(c.nr, 512);
	refuses("pagemap kv 0x1f", "N is missing|pagemap VM GFN N");
	refuses("pagemap kv 0x1f 0", "N 0|a number of pages from 1 to 512");
	refuses("pagemap kv 0x1f 513", "N 513");
	takes("clear_refs kv", COMMAND_CLEAR_REFS);
	takes("dirty kv", COMMAND_DIRTY);
	assert_false(c.set);
	takes("dirty kv pml", COMMAND_DIRTY);
	assert_int_equal(c.value, DIRTY_LOG_HARDWARE);
	takes("dirty kv read", COMMAND_DIRTY);
	assert_int_equal(c.value, COMMAND_DIRTY_READ);
	refuses("dirty kv protect", "on|bits|pml|off|read");
	refuses("clear_refs", "VM is missing");
	takes("balloon kv", COMMAND_BALLOON);
	assert_false(c.set);
	takes("balloon kv 4M", COMMAND_BALLOON);
	assert_true(c.set);
	assert_int_equal(c.value, 4 * MIB);
	takes("balloon kv none", COMMAND_BALLOON);
	assert_int_equal(c.value, 0);
	refuses("balloon", "VM is missing");
	refuses("balloon kv 5", "SIZE 5|multiple of 4K");
	takes("sampler kv", COMMAND_SAMPLER);
	assert_false(c.set);
	takes("sampler kv on", COMMAND_SAMPLER);
	assert_true(c.set);
	assert_int_equal(c.value, 1);
	takes("sampler kv off", COMMAND_SAMPLER);
	assert_int_equal(c.value, 0);
	refuses("sampler", "VM is missing");
	refuses("sampler kv yes", "on|off yes|on or off");
	takes("ages kv", COMMAND_AGES);
	refuses("ages", "VM is missing");
}

static void test_command_refused(void **state)
{
	char line[200];

	(void)state;
	refuses("frobnicate", "frobnicate: no such command|help");
	refuses("HELP", "HELP: no such command");
	refuses("gens a b", "gens: b is too much|gens [VM]");
	refuses("gens 01234567890123456789012345678901", "VM|1 to 31");
	refuses("gens A", "VM A|a-z");
	refuses("trace maybe", "on|off|drain maybe");
	refuses("stats", "json|prom is missing");
	refuses("\x01\xff", "??: no such command");
	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\0';
	refuses(line, "xxx...: no such command");
}

static void test_command_help_has_all(void **state)
{
	unsigned n = 0;

	(void)state;
	for (const struct command_form *f; (f = command_form_at(n)) != NULL; n++) {
		assert_true(command_usage(f)[0] && command_help(f)[0]);
		assert_true(strlen(command_usage(f)) < 48);
	}
	assert_int_equal(n, COMMAND_QUIT); /* all kinds but nothing */
}

/* --- typing ----------------------------------------------------------------------------------- */

static struct line_edit e;

static enum line_event type(const char *keys)
{
	enum line_event last = LINE_NOTHING;

	for (; *keys; keys++)
		last = line_edit_key(&e, *keys);
	return last;
}

static void types(const char *keys, enum line_event last, const char *text)
{
	assert_int_equal(type(keys), last);
	assert_string_equal(e.text, text);
	assert_int_equal(e.len, strlen(text));
}

#define UP   "\x1b[A"
#define DOWN "\x1b[B"

static void test_line_keys(void **state)
{
	(void)state;
	e = (struct line_edit){0};
	types("vms\r", LINE_DONE, "vms");
	types("\n", LINE_NOTHING, "vms");
	types("\n", LINE_DONE, "");
	types("gens kvx\x7f", LINE_CHANGED, "gens kv");
	types("\b\b", LINE_CHANGED, "gens ");
	types("\x17", LINE_CHANGED, "");
	types("\b", LINE_NOTHING, "");
	types("min kv\x15", LINE_CHANGED, "");
	types("help\n", LINE_DONE, "help");
	types("quit\x03", LINE_CANCELLED, "quit");
	types("a\t\x01\xc3\xa9"
	      "b",
	      LINE_CHANGED, "ab");
}

static void test_line_history(void **state)
{
	(void)state;
	e = (struct line_edit){0};
	types(UP, LINE_NOTHING, "");
	type("one\rtwo\rtwo\r\r");
	types("dra" UP, LINE_CHANGED, "two");
	types(UP, LINE_CHANGED, "one");
	types(UP, LINE_NOTHING, "one");
	types(DOWN DOWN, LINE_CHANGED, "dra");
	types(DOWN, LINE_NOTHING, "dra");
	types("\x1bOA\b\r", LINE_DONE, "tw");
	types(UP UP UP, LINE_CHANGED, "one");
	/* Keys that are none of ours, and a sequence that is broken off. */
	types("\x1b[1;5C\x1b[3~\x1b[\x03\x1bx", LINE_NOTHING, "one");
	types("\x03", LINE_CANCELLED, "one");
	type("1\r2\r3\r4\r5\r6\r7\r8\r9\r");
	for (unsigned i = 0; i < 2 * LINE_EDIT_HISTORY; i++)
		type(UP);
	types("", LINE_NOTHING, "2");
}

/* What does not fit is not carried out by halves. */
static void test_line_too_long(void **state)
{
	(void)state;
	e = (struct line_edit){0};
	for (unsigned i = 0; i < COMMAND_LINE_MAX - 1; i++)
		assert_int_equal(line_edit_key(&e, 'x'), LINE_CHANGED);
	assert_int_equal(line_edit_key(&e, 'y'), LINE_NOTHING);
	assert_int_equal(strlen(e.text), COMMAND_LINE_MAX - 1);
	assert_int_equal(type("\r"), LINE_TOO_LONG);
	types("\r", LINE_DONE, "");
	types(UP, LINE_NOTHING, "");
	for (unsigned i = 0; i < COMMAND_LINE_MAX; i++)
		type("x");
	assert_int_equal(type("\b"), LINE_CHANGED);
	assert_int_equal(e.len, COMMAND_LINE_MAX - 1);
	assert_int_equal(type("\r"), LINE_DONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_command_nothing),
	        cmocka_unit_test(test_command_lists),
	        cmocka_unit_test(test_command_plus),
	        cmocka_unit_test(test_command_minus),
	        cmocka_unit_test(test_command_settings),
	        cmocka_unit_test(test_command_promises),
	        cmocka_unit_test(test_command_of_host_or_vm),
	        cmocka_unit_test(test_command_questions),
	        cmocka_unit_test(test_command_refused),
	        cmocka_unit_test(test_command_help_has_all),
	        cmocka_unit_test(test_line_keys),
	        cmocka_unit_test(test_line_history),
	        cmocka_unit_test(test_line_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
