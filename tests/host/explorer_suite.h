/*
 * The main loop of a program of scenes that is tested itself: all are explored as they are, none may fail; then the
 * code is spoilt, in one way at a time, and some scene has to find that.
 *
 * VARVE_PREEMPTIONS: the bound, if not 2. VARVE_AS_IS: nothing is spoilt (tools/mutants does that by itself).
 */
#pragma once

#include "tests/host/explorer.h"

#define EXPLORER_NAME 128u

struct explorer_suite {
	/*
	 * Prepares scene `number`, and writes its name. What is explored has as many preemptions as are asked for, and no
	 * more than it says itself, if it does. NULL: there is no such scene, or it is of no use for *mutant.
	 */
	const struct explorer_scene *(*choose)(unsigned number, char name[EXPLORER_NAME]);
	unsigned nr_scenes;
	/* Ways to spoil the code; number 0 is none. The program looks at *mutant. */
	const char *const *mutant_name;
	unsigned nr_mutants;
	unsigned *mutant;
	unsigned mutant_preemptions; /* so many are enough to find each */
};

/* The exit status of the program. */
int explorer_suite_main(const struct explorer_suite *suite);
