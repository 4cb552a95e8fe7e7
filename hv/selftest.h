/*
 * `selftest=` on the command line: wx audits the live page tables; nmi takes an NMI; trap, stack and
 * panic provoke what their names say, to show that it is reported and ends FAIL.
 */
#pragma once

/* Runs what `cmdline` asks for; an unknown name or a failed test ends the machine with FAIL. */
void selftest_run(const char *cmdline);
