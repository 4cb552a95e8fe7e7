/*
 * The words of the command line that boot itself knows:
 *
 *	console=com1|e9|none      where the console goes (e9: to port 0xe9 as well)
 *	loglevel=error|warn|info|debug or 0..3
 *	maxcpus=N                 start at most N CPUs
 *	failcpu=APICID            test hook: this CPU is never told to start
 *	selftest=wx               test of the hypervisor's own page tables, see boot/selftest.h
 *
 * Everything else is left to hv.
 */
#pragma once

#include "lib/types.h"

struct boot_options {
	u32 max_cpus;
	bool has_fail_cpu;
	u32 fail_cpu; /* APIC ID */
	bool selftest_wx;
};

/* Sets console and log level at once; warns of bad values. */
void options_apply(const char *cmdline, struct boot_options *out);
