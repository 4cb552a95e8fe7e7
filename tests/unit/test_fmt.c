/* lib/fmt against the C library's printf, which is the oracle for all that both know. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "lib/fmt.h"

/* The same call to both; text and length must agree, also where the buffer is too small. */
#define SAME(...)                                                                   \
	do {                                                                        \
		char ours[128], theirs[128];                                        \
		int n = snprintf(theirs, sizeof(theirs), __VA_ARGS__);              \
		assert_int_equal(fmt_snprintf(ours, sizeof(ours), __VA_ARGS__), n); \
		assert_string_equal(ours, theirs);                                  \
		for (size_t size = 1; size <= (size_t)n + 1; size++) {              \
			memset(ours, 'x', sizeof(ours));                            \
			assert_int_equal(fmt_snprintf(ours, size, __VA_ARGS__), n); \
			assert_int_equal(strlen(ours), size - 1);                   \
			assert_memory_equal(ours, theirs, size - 1);                \
			assert_int_equal(ours[size], 'x');                          \
		}                                                                   \
	} while (0)

static void test_fmt_integers(void **state)
{
	static const long long values[] = {
	        0,         1,        -1, 7, -42, 999, 2147483647, -2147483648ll, 4294967295ll,
	        INT64_MAX, INT64_MIN};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		long long v = values[i];

		SAME("%d|%5d|%-5d|%05d|%+d", (int)v, (int)v, (int)v, (int)v, (int)v);
		SAME("%u|%x|%X|%#x|%08x", (unsigned)v, (unsigned)v, (unsigned)v, (unsigned)v,
		     (unsigned)v);
		SAME("%lld|%24lld|%-24lld|", v, v, v);
		SAME("%llu|%llx|%#018llx", (unsigned long long)v, (unsigned long long)v,
		     (unsigned long long)v);
		SAME("%ld %lu %zu", (long)v, (unsigned long)v, (size_t)v);
		SAME("%*d|%-*d|%*d", 9, (int)v, 9, (int)v, -9, (int)v);
	}
}

static void test_fmt_text(void **state)
{
	(void)state;
	SAME("plain");
	SAME("%s", "text");
	SAME("%8s|%-8s|%.2s|%8.2s|%-8.2s|%.0s", "text", "text", "text", "text", "text", "text");
	SAME("%.*s", 3, &"not terminated"[4]);
	SAME("%c%c%3c|%-3c|", 'a', 'b', 'c', 'd');
	SAME("100%%");
	SAME("%p", (void *)0x1234abcd);
}

static void test_fmt_reads_no_further_than_precision(void **state)
{
	char three[3] = {'a', 'b', 'c'}, out[8];

	(void)state;
	assert_int_equal(fmt_snprintf(out, sizeof(out), "%.3s", three), 3);
	assert_string_equal(out, "abc");
}

static void test_fmt_null_and_unknown(void **state)
{
	const char *volatile nothing = NULL;
	const char *bad = "%y|%";
	char out[32];

	(void)state;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
	assert_int_equal(fmt_snprintf(out, sizeof(out), "%s", nothing), 6);
	assert_string_equal(out, "(null)");
	assert_int_equal(fmt_snprintf(out, sizeof(out), bad), 4);
#pragma GCC diagnostic pop
	assert_string_equal(out, "%y|%");
}

static void test_fmt_no_room(void **state)
{
	char c = 'x';

	(void)state;
	assert_int_equal(fmt_snprintf(&c, 0, "%d", 12345), 5);
	assert_int_equal(c, 'x');
	assert_int_equal(fmt_snprintf(NULL, 0, "%s", "abc"), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_fmt_integers),
	        cmocka_unit_test(test_fmt_text),
	        cmocka_unit_test(test_fmt_reads_no_further_than_precision),
	        cmocka_unit_test(test_fmt_null_and_unknown),
	        cmocka_unit_test(test_fmt_no_room),
	};

	return cmocka_run_group_tests_name("fmt", tests, NULL, NULL);
}
