#include "boot/selftest.h"

#include "arch/hal.h"
#include "arch/x86/insn.h"
#include "arch/x86/paging.h"
#include "arch/x86/stack.h"

extern u8 image_text_start[], image_rodata_start[], image_data_start[];
extern u8 boot_stack_guard[];

const char *selftest_mappings(void)
{
	struct paging_audit a = paging_audit(NULL);

	if (a.mappings == 0)
		return "the page tables are empty";
	if (a.write_exec)
		return "pages are both writable and executable";
	if (a.exec_outside)
		return "pages outside of .text are executable";
	if (a.image_wrong)
		return "pages of the image have not the rights of their section";
	if (a.user)
		return "pages are open to user mode";
	if (a.null_mapped)
		return "page 0 is mapped";
	if (a.protect_off)
		return "CR0.WP or EFER.NXE is off";
	return NULL;
}

static bool write_faults(u8 *at)
{
	return !arch_probe_write64(at, 0);
}

static bool read_faults(const u8 *at)
{
	u64 v;

	return !arch_probe_read64(at, &v);
}

/* Does the audit see a page with rights that it must not have? */
static bool audit_sees(u8 *page, u32 flags)
{
	bool seen;

	paging_map((u64)(uintptr_t)page, PAGE_SIZE, flags);
	seen = selftest_mappings() != NULL;
	paging_map((u64)(uintptr_t)page, PAGE_SIZE, PAGING_WRITE);
	return seen;
}

const char *selftest_wx(void)
{
	const char *why = NULL;
	u8 *page = hal_pages_alloc(1);
	u8 *stack = stack_alloc("the self test");

	if (!page || !stack)
		why = "no memory";
	else if (!write_faults(image_text_start))
		why = "a write to .text went through";
	else if (!write_faults(image_rodata_start))
		why = "a write to .rodata went through";
	else if (write_faults(page))
		why = "a write to plain memory faulted";
	else if (!read_faults(NULL))
		why = "page 0 can be read";
	else if (!read_faults(boot_stack_guard))
		why = "the guard page of the boot stack can be read";
	else if (!read_faults(stack - sizeof(u64)) || read_faults(stack))
		why = "the guard page of a stack is not where it should be";
	else if (!audit_sees(page, PAGING_WRITE | PAGING_EXEC))
		why = "the audit overlooked a writable and executable page";
	else if (!audit_sees(page, PAGING_EXEC))
		why = "the audit overlooked an executable page outside of .text";
	else
		why = selftest_mappings();
	hal_pages_free(page, 1);
	if (stack)
		stack_free(stack);
	return why;
}
