/* lib/cmdline: words, keys, values, numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "lib/cmdline.h"

static void test_cmdline_words(void **state)
{
	const char *pos = "  a=1\tbb  =c d= \n e=f=g";
	static const struct {
		const char *text;
		size_t key_len;
		const char *value;
	} want[] = {{"a=1", 1, "1"},
	            {"bb", 2, NULL},
	            {"=c", 0, "c"},
	            {"d=", 1, ""},
	            {"e=f=g", 1, "f=g"}};
	struct cmdline_word w;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		assert_true(cmdline_next(&pos, &w));
		assert_int_equal(w.len, strlen(want[i].text));
		assert_memory_equal(w.text, want[i].text, w.len);
		assert_int_equal(w.key_len, want[i].key_len);
		assert_int_equal(w.value != NULL, want[i].value != NULL);
		if (!want[i].value)
			continue;
		assert_int_equal(w.value_len, strlen(want[i].value));
		assert_memory_equal(w.value, want[i].value, w.value_len);
	}
	assert_false(cmdline_next(&pos, &w));
	assert_false(cmdline_next(&pos, &w));
	pos = "";
	assert_false(cmdline_next(&pos, &w));
}

static void test_cmdline_values(void **state)
{
	char out[5];

	(void)state;
	assert_true(cmdline_get("x=1 key=ab y=2", "key", out, sizeof(out)));
	assert_string_equal(out, "ab");
	assert_true(cmdline_get("key=ab key=cd", "key", out, sizeof(out)));
	assert_string_equal(out, "cd");
	assert_true(cmdline_get("key", "key", out, sizeof(out)));
	assert_string_equal(out, "");
	assert_false(cmdline_get("keys=1 ke=2 =key", "key", out, sizeof(out)));
	assert_string_equal(out, "");
	assert_true(cmdline_get("key=1234", "key", out, sizeof(out)));
	assert_string_equal(out, "1234");
}

static void test_cmdline_value_that_does_not_fit(void **state)
{
	char out[5] = "old";

	(void)state;
	assert_false(cmdline_get("key=12345", "key", out, sizeof(out)));
	assert_string_equal(out, "");
	/* The last one counts, even where an earlier one would have fitted. */
	assert_false(cmdline_get("key=1 key=12345", "key", out, sizeof(out)));
	assert_string_equal(out, "");
	assert_false(cmdline_get("key=1", "key", out, 0));
}

static void test_cmdline_numbers(void **state)
{
	u64 v = 77;

	(void)state;
	assert_true(cmdline_get_u64("n=0", "n", &v));
	assert_int_equal(v, 0);
	assert_true(cmdline_get_u64("n=0xFfa9", "n", &v));
	assert_int_equal(v, 0xffa9);
	assert_true(cmdline_get_u64("n=18446744073709551615", "n", &v));
	assert_true(v == UINT64_MAX);
	assert_true(cmdline_get_u64("n=0xffffffffffffffff", "n", &v));
	assert_true(v == UINT64_MAX);
	v = 77;
	assert_false(cmdline_get_u64("n=18446744073709551616", "n", &v));
	assert_false(cmdline_get_u64("n=0x10000000000000000", "n", &v));
	assert_false(cmdline_get_u64("n=", "n", &v));
	assert_false(cmdline_get_u64("n", "n", &v));
	assert_false(cmdline_get_u64("n=0x", "n", &v));
	assert_false(cmdline_get_u64("n=12a", "n", &v));
	assert_false(cmdline_get_u64("n=-1", "n", &v));
	assert_false(cmdline_get_u64("m=1", "n", &v));
	assert_int_equal(v, 77);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_cmdline_words),
	        cmocka_unit_test(test_cmdline_values),
	        cmocka_unit_test(test_cmdline_value_that_does_not_fit),
	        cmocka_unit_test(test_cmdline_numbers),
	};

	return cmocka_run_group_tests_name("cmdline", tests, NULL, NULL);
}
