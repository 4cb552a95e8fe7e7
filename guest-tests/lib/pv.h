/*
 * What a guest that knows it is one tells the hypervisor about its memory, and asks (hv/pv_call.h). Only on Varve, and
 * only if the scenario says `pv = yes`: pv_init() FAILs the guest else. What is refused FAILs it, too.
 */
#pragma once

#include "guest-tests/lib/port_call.h"
#include "guest-tests/lib/types.h"
#include "hv/pv_call.h"

/* One call; PV_OK or why not. */
u32 pv_call(u32 command, u64 arg0, u64 arg1, struct port_regs *out);

/* Pages that the hypervisor says this guest has. */
u64 pv_init(void);

struct pv_balloon {
	u64 wanted, inside;
	bool urgent;
};
struct pv_balloon pv_balloon(void);
/* Any number of pages from an address on; how many came in, came out, had anything. */
u64 pv_give(const void *first, u64 pages);
u64 pv_return(const void *first, u64 pages);
u64 pv_report_free(const void *first, u64 pages);
void pv_state(u64 free_pages, u64 stall_permille);

/* The page at an address belongs behind that at another; false: there is no room for more hints. */
bool pv_together(const void *page, const void *next);
void pv_forget(void);

struct pv_working_set {
	u64 gen[4]; /* the youngest first */
	u64 packed, none, young_ms, old_ms;
};
struct pv_working_set pv_working_set(void);
