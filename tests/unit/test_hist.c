/* lib/hist: every value falls into a bucket whose bounds hold it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "lib/hist.h"
#include "tests/host/hal.h"

static struct hist hist;

static int setup(void **state)
{
	(void)state;
	memset(&hist, 0, sizeof(hist));
	return 0;
}

static void test_hist_empty_says_zero(void **state)
{
	(void)state;
	assert_int_equal(hist_count(&hist), 0);
	assert_int_equal(hist_percentile(&hist, 500), 0);
	assert_int_equal(hist_percentile(&hist, 1000), 0);
}

/* With one value in it every percentile is at or above it, by an eighth at most (max caps it exactly). */
static void test_hist_bucket_holds_its_value(void **state)
{
	(void)state;
	for (u64 value = 1; value < 1ull << 42; value += value / 7 + 1) {
		u64 upper;

		memset(&hist, 0, sizeof(hist));
		hist_add(&hist, value);
		hist_add(&hist, 1ull << 43);
		upper = hist_percentile(&hist, 500);
		assert_true(upper >= value);
		assert_true(upper <= value + value / 8);
	}
}

static void test_hist_percentiles_of_a_ramp(void **state)
{
	(void)state;
	for (u64 value = 1; value <= 1000; value++)
		hist_add(&hist, value);
	assert_int_equal(hist_count(&hist), 1000);
	assert_in_range(hist_percentile(&hist, 500), 500, 563);
	assert_in_range(hist_percentile(&hist, 990), 990, 1000);
	assert_int_equal(hist_percentile(&hist, 1000), 1000);
	assert_in_range(hist_percentile(&hist, 0), 1, 1);
	assert_int_equal(a64_load(&hist.max), 1000);
	assert_int_equal(a64_load(&hist.total), 500500);
}

static void test_hist_keeps_what_is_off_the_scale(void **state)
{
	(void)state;
	hist_add(&hist, ~0ull);
	hist_add(&hist, 0);
	assert_int_equal(hist_count(&hist), 2);
	assert_int_equal(hist_percentile(&hist, 1000), ~0ull);
	assert_int_equal(hist_percentile(&hist, 500), 0);
}

static void test_hist_begins_anew(void **state)
{
	(void)state;
	hist_add(&hist, 7);
	hist_add(&hist, 1ull << 43);
	hist_clear(&hist);
	test_hist_empty_says_zero(state);
	assert_int_equal(a64_load(&hist.max) + a64_load(&hist.total), 0);
	hist_add(&hist, 3);
	assert_int_equal(hist_percentile(&hist, 1000), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup(test_hist_begins_anew, setup),
	        cmocka_unit_test_setup(test_hist_empty_says_zero, setup),
	        cmocka_unit_test_setup(test_hist_bucket_holds_its_value, setup),
	        cmocka_unit_test_setup(test_hist_percentiles_of_a_ramp, setup),
	        cmocka_unit_test_setup(test_hist_keeps_what_is_off_the_scale, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
