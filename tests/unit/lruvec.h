/* One lruvec with frames of a space, for the unit tests of mm/gen and what decides for it. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/policy.h"
#include "tests/host/hal.h"

#define FRAMES 12000u
#define SPACE  3u
/* Both types count the same. */
#define NEUTRAL (POLICY_SWAPPINESS_MAX / 2)

static struct lruvec l;

static int setup(void **state)
{
	const struct frame_extent extent = {hal_ptr_pfn(host_ram(FRAMES)), FRAMES};

	(void)state;
	memset(&l, 0, sizeof(l));
	policy_init();
	a32_store(&policy.probation, 0); /* what is tested here goes by age alone */
	host_time_set(1000);
	gen_init(&l);
	return !frame_init(&extent, 1);
}

static int teardown(void **state)
{
	(void)state;
	policy_init();
	host_time_set(HOST_TIME_REAL);
	frame_exit();
	return 0;
}

/* A guest's frame with these bits of its state (FRAME_DIRTY, ...), listed. */
static inline u32 frame_listed(u64 bits, enum gen_entry how)
{
	u32 frame = frame_alloc(FRAME_FOR_POOL);

	assert_int_not_equal(frame, FRAME_NONE);
	frame_give(frame, FRAME_GUEST, SPACE, gfn(frame));
	frame_state_change(frame, 0, bits);
	gen_insert(&l, frame, how);
	return frame;
}

static inline u64 state_of(u32 frame)
{
	return a64_load(&frame_at(frame)->state);
}

static inline u64 max_seq(void)
{
	return a64_load(&l.max_seq);
}

static inline u64 seq_of(u32 frame)
{
	assert_true(state_of(frame) & FRAME_LISTED);
	return gen_seq_locked(&l, state_of(frame));
}

static inline void advance(void)
{
	assert_true(gen_advance(&l, max_seq()));
}

static inline bool promote(u32 frame)
{
	struct gen_batch batch = {.promoted = 0};
	bool done = gen_promote(&l, frame, SPACE, &batch);

	gen_batch_flush(&l, &batch);
	return done;
}

static inline struct gen_chunk isolate(unsigned swappiness)
{
	struct gen_chunk chunk;

	gen_isolate(&l, swappiness, EVICT_ANY_SEQ, GEN_BATCH, &chunk);
	return chunk;
}
