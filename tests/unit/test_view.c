/* hv/stats_ages and hv/monitor_view: what is told of single pages, over a guest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/host_vm.h"

#include "hv/monitor_say.h"
#include "hv/monitor_view.h"
#include "hv/stats.h"
#include "hv/stats_line.h"
#include "hv/vm.h"
#include "arch/x86/console.h"

#include "hv/monitor_view.c"
#include "hv/stats_ages.c"
#include "hv/stats_line.c"

#define PAGES 1500u /* two lines of ages */

struct vm vms[VM_MAX];
unsigned vm_count;
static struct host_vm guest;
static char said[4096];

const char *vm_state_name(const struct vm *vm)
{
	(void)vm;
	return "running";
}

void say(const char *fmt, ...)
{
	size_t len = strlen(said);
	va_list args;

	va_start(args, fmt);
	vsnprintf(said + len, sizeof(said) - len - 1, fmt, args);
	va_end(args);
	strcat(said, "\n");
}

void stats_write(const char *text, size_t len)
{
	strncat(said, text, len);
}

static struct vm *begin(void)
{
	host_vm_create(&guest, &host_machines[0], PAGES, 1);
	vms[0] = (struct vm){.name = "guest", .space = guest.space};
	vm_count = 1;
	said[0] = '\0';
	return &vms[0];
}

static void touch(u64 page)
{
	assert_int_equal(host_vm_write(&guest, 0, gpa(page << PAGE_SHIFT), 1), FAULT_FIXED);
}

static void test_ages_of_all_pages(void **state)
{
	struct vm *vm = begin();
	const char *first, *second;

	(void)state;
	touch(1);
	touch(STATS_AGES + 2);
	stats_ages(vm);
	first = strstr(said, "\"gfn\":0,\"ages\":\"");
	second = strstr(said, "\"gfn\":1024,\"ages\":\"");
	assert_non_null(first);
	assert_non_null(second);
	first = strstr(first, "ages\":\"") + 7;
	second = strstr(second, "ages\":\"") + 7;
	assert_int_equal(strspn(first, "."), 1);
	assert_int_equal(first[1], second[2]);
	assert_int_equal(first[2], '.');
	assert_in_range(second[2], '0', '0' + GEN_MAX - 1);
	assert_int_equal(strcspn(first, "\""), STATS_AGES);
	assert_int_equal(strspn(second, "."), 2);
	assert_int_equal(second[3], '.');
	assert_int_equal(strcspn(second, "\""), PAGES - STATS_AGES);
	host_vm_destroy(&guest);
}

static void test_one_page(void **state)
{
	struct vm *vm = begin();

	(void)state;
	touch(7);
	view_page(vm->space, gfn(7));
	assert_non_null(strstr(said, "resident\n"));
	assert_non_null(strstr(said, " younger)"));
	said[0] = '\0';
	view_page(vm->space, gfn(8));
	assert_non_null(strstr(said, "never touched\n"));
	said[0] = '\0';
	view_page(vm->space, gfn(PAGES));
	assert_non_null(strstr(said, "no memory there\n"));
	host_vm_destroy(&guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_ages_of_all_pages),
	        cmocka_unit_test(test_one_page),
	};

	return vm_group_run(tests, 4096);
}
