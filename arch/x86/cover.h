/*
 * What a boot reached, for tools/coverage. In a build with COVERAGE=1 the compiler calls us in every basic block; in any
 * other there is nothing of this.
 */
#pragma once

#ifdef VARVE_COVERAGE
/* The blocks that were entered so far, as lines on the statistics channel. At the end of a boot. */
void cover_drain(void);
#else
static inline void cover_drain(void)
{
}
#endif
