/* arch/x86/vcpu_event: what is delivered again after an exit, and what a page fault becomes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/vcpu_event.h"

#define EXCEPTION (EVENT_VALID | EVENT_TYPE_EXC)
#define NMI       (EVENT_VALID | EVENT_TYPE_NMI | 2)

static struct arch_vcpu v;

/* An exit at rip `at`, after `event` was offered at 0x1000 and hardware says it was delivering `info`. */
static void leave(u32 event, u64 at, u32 info)
{
	v = (struct arch_vcpu){.event = event, .event_rip = 0x1000, .rip = at};
	vcpu_event_interrupted(&v, info);
}

static void test_delivered(void **state)
{
	(void)state;
	leave(EXCEPTION | 14, 0x2000, 0);
	assert_int_equal(v.event, 0);
	assert_int_equal(v.vectoring, 0);
}

static void test_cut_short(void **state)
{
	(void)state;
	leave(EXCEPTION | EVENT_HAS_ERROR | 14, 0x1000, EXCEPTION | 14);
	assert_int_equal(v.event, EXCEPTION | EVENT_HAS_ERROR | 14);
}

/* The guest's own: it happens again by itself. */
static void test_another(void **state)
{
	(void)state;
	leave(EXCEPTION | 14, 0x1000, EXCEPTION | 13);
	assert_int_equal(v.event, 0);
	assert_int_equal(v.vectoring, EXCEPTION | 13);
}

/* Bochs reports for an INT n in the handler what came before. */
static void test_stale_report(void **state)
{
	(void)state;
	leave(EXCEPTION | 14, 0x2000, EXCEPTION | 14);
	assert_int_equal(v.event, 0);
	assert_int_equal(vcpu_event_page_fault(&v, 2), VCPU_EVENT_PAGE_FAULT);
}

/* Intel SDM vol. 3, table 6-5, the column of page faults. */
static void test_second_is_page_fault(void **state)
{
	static const struct {
		u32 first;
		enum vcpu_event_next next;
	} row[] = {
	        {0, VCPU_EVENT_PAGE_FAULT},
	        {EVENT_VALID | 0x41, VCPU_EVENT_PAGE_FAULT}, /* an interrupt */
	        {EXCEPTION | 1, VCPU_EVENT_PAGE_FAULT},      /* benign */
	        {EXCEPTION | 13, VCPU_EVENT_PAGE_FAULT},     /* contributory */
	        {EXCEPTION | 14, VCPU_EVENT_DOUBLE},
	        {EXCEPTION | 8, VCPU_EVENT_TRIPLE},
	        {EVENT_VALID | 14, VCPU_EVENT_PAGE_FAULT}, /* no exception, whatever the vector */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
		leave(row[i].first, 0x1000, row[i].first);
		assert_int_equal(vcpu_event_page_fault(&v, 6), row[i].next);
		if (row[i].next == VCPU_EVENT_TRIPLE)
			continue;
		assert_int_equal(v.event, EXCEPTION | EVENT_HAS_ERROR |
		                                  (row[i].next == VCPU_EVENT_DOUBLE ? 8 : 14));
		assert_int_equal(v.event_error, row[i].next == VCPU_EVENT_DOUBLE ? 0 : 6);
		assert_false(v.nmi_wanted);
	}
}

/* The CPU's own double fault, which was not injected. */
static void test_own_double_fault(void **state)
{
	(void)state;
	leave(0, 0x1000, EXCEPTION | EVENT_HAS_ERROR | 8);
	assert_int_equal(vcpu_event_page_fault(&v, 0), VCPU_EVENT_TRIPLE);
	assert_int_equal(v.event, 0);
}

static void test_nmi_comes_later(void **state)
{
	(void)state;
	leave(NMI, 0x1000, NMI);
	assert_int_equal(vcpu_event_page_fault(&v, 0), VCPU_EVENT_PAGE_FAULT);
	assert_true(v.nmi_wanted);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_delivered),
	        cmocka_unit_test(test_cut_short),
	        cmocka_unit_test(test_another),
	        cmocka_unit_test(test_stale_report),
	        cmocka_unit_test(test_second_is_page_fault),
	        cmocka_unit_test(test_own_double_fault),
	        cmocka_unit_test(test_nmi_comes_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
