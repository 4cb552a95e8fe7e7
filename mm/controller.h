/*
 * The controller: gives memory back before anybody needs it, as long as a promise holds.
 *
 *   refaults R   so many refaults a minute, of a million resident pages. Once in a period the space gives
 *                `step` pages of its old generations. What R allows is paid into an account, each refault
 *                is debited: more of them than allowed in a period halve the step, and nothing is taken
 *                while the account is overdrawn; else the step grows by a constant part. So the step finds
 *                the rate at which giving more would break the promise, whatever the working set is, and
 *                follows it when it changes.
 *   free N       as many frames as N lacks of the free ones
 *
 * Space by space; a space without a target of its own has that of the host. Only pages that are old by
 * themselves are taken: no generation is made for it, and min, low and min_ttl are kept.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"

struct space;

enum controller_kind { CONTROLLER_INHERIT, CONTROLLER_OFF, CONTROLLER_FREE, CONTROLLER_REFAULTS };

/* A target in one word, so that it can be changed at any time: kind 63:60, value 59:0. */
struct controller_target {
	enum controller_kind kind;
	u64 value; /* frames, or refaults a minute of a million resident pages */
};
#define CONTROLLER_MAX_PPM 1000000u

/* Sets the target of a space, or, with NULL, of all that have none (INHERIT counts as OFF there). */
void controller_set(struct space *s, struct controller_target target);
/* What counts for a space; with NULL, the host's. Never INHERIT. */
struct controller_target controller_get(const struct space *s);

/* What a space's controller remembers from step to step; zero at the start. */
struct controller {
	u64 step;     /* pages that it takes in a period */
	u64 due;      /* ... that have not made a chunk yet */
	s64 credit;   /* refaults that may still come, in millionths */
	u64 refaults; /* counter and time at the last step */
	u64 at_ns;    /* 0: there was none */
};
struct controller_input {
	u64 free_frames;
	u64 resident; /* of the space, frames */
	u64 refaults; /* of the space: a counter that only grows */
	u64 now_ns;
};
/* Pages to give now: for a rate of refaults, whole chunks of GEN_BATCH. Pure but for *c. */
u64 controller_step(struct controller *c, struct controller_target target,
                    const struct controller_input *in) must_check;

/* One period: a step for every space, and what follows from it. Background thread; lets others run. */
void controller_run(u64 now_ns);
