/* What the machine is asked to prove about itself before guests run. */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

/*
 * Walks the live page tables: NULL if nothing is writable and executable, user accessible, or mapped
 * with other rights than its section has; else what is wrong. Every boot; boot CPU.
 */
const char *selftest_mappings(void) must_check;
/*
 * `selftest=wx`: tries what must fault (writes to text and constants, page 0, a guard page), and
 * spoils a mapping to see that selftest_mappings() notices. NULL, or what did not hold.
 */
const char *selftest_wx(void) must_check;
