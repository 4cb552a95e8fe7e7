#include "guest-tests/lib/pv.h"

#include "guest-tests/lib/mem.h"
#include "guest-tests/lib/verdict.h"

u32 pv_call(u32 command, u64 arg0, u64 arg1, struct port_regs *out)
{
	return port_call(PV_PORT, command, arg0, arg1, out);
}

static struct port_regs must(u32 command, u64 arg0, u64 arg1)
{
	struct port_regs out;
	u32 status = pv_call(command, arg0, arg1, &out);

	VERDICT_CHECK(status == PV_OK, "call %u (0x%lx, 0x%lx) is refused: %u", command, arg0, arg1,
	              status);
	return out;
}

u64 pv_init(void)
{
	struct port_regs out;
	u32 status = pv_call(PV_HELLO, 0, 0, &out);

	VERDICT_CHECK(status == PV_OK && out.rbx == PV_VERSION,
	              "nobody listens at the port: the scenario needs pv = yes");
	return out.rsi;
}

struct pv_balloon pv_balloon(void)
{
	struct port_regs r = must(PV_BALLOON, 0, 0);

	return (struct pv_balloon){r.rbx, r.rcx, r.rsi};
}

/* Adds result 0. */
static u64 on_range(u32 command, const void *first, u64 pages)
{
	u64 sum = 0, gfn = (u64)first / PAGE_SIZE;

	for (u64 n; pages; gfn += n, pages -= n) {
		n = pages < PV_PAGES_MAX ? pages : PV_PAGES_MAX;
		sum += must(command, gfn, n).rbx;
	}
	return sum;
}

u64 pv_give(const void *first, u64 pages)
{
	return on_range(PV_GIVE, first, pages);
}

u64 pv_return(const void *first, u64 pages)
{
	return on_range(PV_RETURN, first, pages);
}

u64 pv_report_free(const void *first, u64 pages)
{
	return on_range(PV_REPORT_FREE, first, pages);
}

void pv_state(u64 free_pages, u64 stall_permille)
{
	(void)must(PV_STATE, free_pages, stall_permille);
}

struct pv_working_set pv_working_set(void)
{
	struct port_regs r = must(PV_WORKING_SET, 0, 0);

	return (struct pv_working_set){{r.rbx, r.rcx, r.rsi, r.rdi}, r.r8, r.r9, r.r10, r.r11};
}

bool pv_together(const void *page, const void *next)
{
	u64 g = (u64)page / PAGE_SIZE, behind = (u64)next / PAGE_SIZE;
	struct port_regs out;
	u32 status = pv_call(PV_TOGETHER, g, behind, &out);

	VERDICT_CHECK(status == PV_OK || status == PV_FULL,
	              "that 0x%lx belongs behind 0x%lx is refused: %u", behind, g, status);
	return status == PV_OK;
}

void pv_forget(void)
{
	(void)must(PV_FORGET, 0, 0);
}
