/*
 * Whether a walk pays. What it saves is work of the evictor, who takes a young page off its list, asks about
 * it and puts it back: several hundred instructions. What it costs are entries read, a few instructions each.
 *
 * The rule, for each space:
 *   - A walk that read more than WALK_POOR entries for each young page it found was poor. One that read none
 *     says nothing, nor does a forced one.
 *   - After WALK_POOR_ROW poor walks in a row the next pass is made without one; if the walk after that is
 *     poor again, the next 2, 4, and then each time 8. A walk that is not poor starts all over.
 *   - WALK_REJECTED young pages met by the evictor since the walks were given up say that they are needed:
 *     the next pass walks, as if nothing had been.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"

struct space;

#define WALK_POOR     128u /* four young pages in a table */
#define WALK_POOR_ROW 2u
#define WALK_SPAN_MAX 8u
#define WALK_REJECTED 64u

/* Used by who opens a pass. Two of them may overlap: then a walk more or less is all that it costs. */
struct walk_cost {
	a64 visited, young, rejected; /* the space's counters when they were last looked at */
	a32 walked;                   /* a walk began then, and has not been judged */
	a32 poor;                     /* poor walks in a row */
	a32 span;                     /* passes left out the last time */
	a32 left;                     /* passes still to be left out */
};

/*
 * For who opens a pass: is it to be walked? Judges the last walk; counts walks_given_up_total. Lockless. True
 * if forced.
 */
bool walk_cost_pays(struct space *s, bool force);
