/* arch/x86/vmx/pml: how much of a log page was written, for every index that a CPU can leave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "arch/x86/vmx/pml.h"

/* A CPU that logs n writes as SDM vol. 3, 28.3.6 says, or as many as there is room for. */
static u16 log_writes(u64 *page, unsigned n)
{
	u16 index = VMX_LOG_ENTRIES - 1;

	for (unsigned i = 0; i < n && index < VMX_LOG_ENTRIES; i++)
		page[index--] = (u64)(i + 1) << PAGE_SHIFT;
	return index;
}

static void test_vmx_log_has_all_entries_and_no_more(void **state)
{
	(void)state;
	for (unsigned n = 0; n <= VMX_LOG_ENTRIES + 3; n++) {
		u64 page[VMX_LOG_ENTRIES] = {0}, sum = 0;
		u16 index = log_writes(page, n);
		unsigned used = vmx_log_used(index), kept = min_of(n, VMX_LOG_ENTRIES);

		assert_int_equal(used, kept);
		for (unsigned i = 0; i < used; i++)
			sum += page[VMX_LOG_ENTRIES - used + i] >> PAGE_SHIFT;
		assert_int_equal(sum, (u64)kept * (kept + 1) / 2);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_vmx_log_has_all_entries_and_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
