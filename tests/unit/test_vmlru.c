/* mm/vmlru: order, rounds and accounts, without anything being evicted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "mm/epoch.h"
#include "mm/gen.h"
#include "mm/space.h"
#include "mm/vmlru.h"
#include "tests/host/hal.h"

#define MANY 20u

static const struct space_ops no_ops;
static struct space *spaces[MANY];
static unsigned nr;

static struct space *start(u64 resident)
{
	struct space *s = space_create("one", &no_ops, NULL);

	assert_non_null(s);
	a64_store(&s->resident, resident);
	return spaces[nr++] = s;
}

static void end(struct space *s)
{
	a64_store(&s->resident, 0);
	space_drain(s);
	space_destroy(s);
}

static int setup(void **state)
{
	(void)state;
	nr = 0;
	vmlru_init();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	while (nr)
		if (spaces[--nr])
			end(spaces[nr]);
	return 0;
}

static unsigned index_of(const struct space *s)
{
	unsigned i = 0;

	while (spaces[i] != s)
		i++;
	return i;
}

static struct space *next(struct vmlru_walk *w)
{
	struct space *s = vmlru_walk_next(w);

	if (s)
		space_put(s);
	return s;
}

static struct space *first(void)
{
	struct vmlru_walk w;

	vmlru_walk_begin(&w);
	return next(&w);
}

static void test_vmlru_a_walk_meets_each_once(void **state)
{
	struct vmlru_walk w;
	unsigned met[MANY] = {0}, n = 0;
	struct space *s;

	(void)state;
	while (nr < MANY)
		(void)start(100);
	vmlru_walk_begin(&w);
	for (; (s = next(&w)) != NULL; n++)
		met[index_of(s)]++;
	assert_int_equal(n, MANY);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(met[i], 1);
}

/* Who has had its turn is not met again before all others have, in whatever walk. */
static void test_vmlru_young_ones_wait_for_the_round_to_end(void **state)
{
	u64 rounds = vmlru_rounds();
	unsigned met[MANY] = {0};

	(void)state;
	while (nr < MANY)
		(void)start(100);
	for (unsigned i = 0; i < 3 * MANY; i++) {
		struct space *s = first();

		assert_int_equal(met[index_of(s)], i / MANY);
		met[index_of(s)]++;
		vmlru_rotate(s, VMLRU_YOUNG);
	}
	assert_int_equal(vmlru_rounds(), rounds + 3);
}

static void test_vmlru_order_is_another_one_in_each_round(void **state)
{
	unsigned same = 0, before[MANY];

	(void)state;
	while (nr < MANY)
		(void)start(100);
	for (unsigned round = 0; round < 10; round++) {
		for (unsigned i = 0; i < MANY; i++) {
			struct space *s = first();

			same += round && before[i] == index_of(s);
			before[i] = index_of(s);
			vmlru_rotate(s, VMLRU_YOUNG);
		}
	}
	assert_in_range(same, 0, 9 * MANY / 2);
}

static void test_vmlru_head_comes_first_and_tail_last(void **state)
{
	struct vmlru_walk w;
	struct space *s, *last = NULL, *head, *tail;

	(void)state;
	while (nr < MANY)
		(void)start(100);
	head = spaces[7];
	tail = spaces[3];
	vmlru_rotate(head, VMLRU_YOUNG);
	vmlru_rotate(head, VMLRU_HEAD);
	vmlru_rotate(tail, VMLRU_TAIL);
	vmlru_walk_begin(&w);
	assert_ptr_equal(next(&w), head);
	while ((s = next(&w)) != NULL)
		last = s;
	assert_ptr_equal(last, tail);
}

static void test_vmlru_old_comes_back_into_the_round(void **state)
{
	(void)state;
	start(100);
	start(100);
	vmlru_rotate(spaces[0], VMLRU_YOUNG);
	assert_ptr_equal(first(), spaces[1]);
	vmlru_rotate(spaces[0], VMLRU_OLD);
	vmlru_rotate(spaces[1], VMLRU_YOUNG);
	assert_ptr_equal(first(), spaces[0]);
}

/* One that is dying, and is drained later, holds nobody up. */
static void test_vmlru_the_dying_do_not_end_the_round(void **state)
{
	(void)state;
	start(100);
	start(100);
	vmlru_rotate(spaces[1], VMLRU_YOUNG);
	a32_store(&spaces[0]->dying, 1);
	(void)first();
	assert_ptr_equal(first(), spaces[1]);
	end(spaces[0]);
	spaces[0] = NULL;
	assert_ptr_equal(first(), spaces[1]);
	end(spaces[1]);
	spaces[1] = NULL;
	assert_null(first());
}

/* --- accounts -------------------------------------------------------------------------------------- */

static void test_vmlru_a_turn_is_worth_its_budget(void **state)
{
	struct space *s = start(1000);
	u64 rounds;

	(void)state;
	start(1000);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(vmlru_turn(s, 0, 150), VMLRU_TAKE);
		vmlru_taken(s, 60, false);
		assert_int_equal(s->vmlru.young, i == 2);
	}
	/* 30 too many: the next turn is worth 120. */
	rounds = vmlru_rounds();
	vmlru_rotate(spaces[1], VMLRU_YOUNG);
	assert_int_equal(vmlru_rounds(), rounds + 1);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(vmlru_turn(s, 0, 150), VMLRU_TAKE);
		vmlru_taken(s, 60, false);
	}
	assert_true(s->vmlru.young);
}

static void test_vmlru_who_gave_too_much_waits(void **state)
{
	struct space *s = start(1000);

	(void)state;
	start(1000);
	assert_int_equal(vmlru_turn(s, 0, 10), VMLRU_TAKE);
	vmlru_taken(s, 64, false);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(vmlru_turn(s, 0, 10), VMLRU_WAIT);
	assert_true(s->vmlru.young);
	assert_int_equal(vmlru_turn(s, 0, 10), VMLRU_TAKE);
	vmlru_taken(s, 0, false);
	/* It had nothing: no debt is left, and no credit. */
	assert_int_equal(s->vmlru.account, 0);
}

static void test_vmlru_who_gave_nothing_is_tried_once_more(void **state)
{
	struct space *s = start(1000);

	(void)state;
	start(1000);
	assert_int_equal(vmlru_turn(s, 0, 10), VMLRU_TAKE);
	vmlru_taken(s, 0, false);
	assert_int_equal(s->vmlru.segment, VMLRU_SEG_TAIL);
	assert_false(s->vmlru.young);
	assert_int_equal(vmlru_turn(s, 0, 10), VMLRU_TAKE);
	vmlru_taken(s, 0, false);
	assert_true(s->vmlru.young);
	vmlru_rotate(s, VMLRU_OLD);
	assert_int_equal(vmlru_turn(s, 0, 10), VMLRU_TAKE);
	vmlru_taken(s, 0, true);
	assert_true(s->vmlru.young);
}

/* Two that take at the same time do not take it below its floor together. */
static void test_vmlru_a_floor_holds_for_all_reclaimers_together(void **state)
{
	struct space *s = start(500 + 2 * GEN_BATCH + 10);

	(void)state;
	assert_int_equal(vmlru_turn(s, 500, 1000), VMLRU_TAKE);
	assert_int_equal(vmlru_turn(s, 500, 1000), VMLRU_TAKE);
	assert_int_equal(vmlru_turn(s, 500, 1000), VMLRU_PROTECTED);
	a64_count(&s->resident, -(u64)GEN_BATCH);
	vmlru_taken(s, GEN_BATCH, false);
	assert_int_equal(vmlru_turn(s, 500, 1000), VMLRU_PROTECTED);
	vmlru_taken(s, 0, true);
	assert_int_equal(vmlru_turn(s, 500, 1000), VMLRU_TAKE);
	vmlru_taken(s, 0, true);
}

/*
 * Whatever happens to them: everybody that is there is met within two rounds, each walk meets nobody twice,
 * and shares follow the budgets.
 */
static void test_vmlru_random_walks(void **state)
{
	u64 steps = host_steps(20000), seed = 7, met_at[MANY], given[MANY] = {0};

	(void)state;
	while (nr < MANY)
		(void)start(100);
	for (unsigned i = 0; i < MANY; i++)
		met_at[i] = vmlru_rounds();
	for (u64 step = 0; step < steps; step++) {
		u64 budget, freed = host_random(&seed) % 65;
		struct space *s = first();
		unsigned i;

		assert_non_null(s);
		i = index_of(s);
		assert_in_range(vmlru_rounds() - met_at[i], 0, 2);
		met_at[i] = vmlru_rounds();
		budget = 10 + i * 10;
		if (vmlru_turn(s, 0, budget) != VMLRU_TAKE)
			continue;
		vmlru_taken(s, freed, false);
		given[i] += freed;
		if (!(host_random(&seed) % 50))
			vmlru_rotate(spaces[host_random(&seed) % MANY],
			             (enum vmlru_op)(host_random(&seed) % 4));
	}
	for (unsigned i = 1; i < MANY; i++)
		assert_true(given[i] * 10 > given[0] * (i + 1) * 5);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_vmlru_a_walk_meets_each_once),
	        T(test_vmlru_young_ones_wait_for_the_round_to_end),
	        T(test_vmlru_order_is_another_one_in_each_round),
	        T(test_vmlru_head_comes_first_and_tail_last),
	        T(test_vmlru_old_comes_back_into_the_round),
	        T(test_vmlru_the_dying_do_not_end_the_round),
	        T(test_vmlru_a_turn_is_worth_its_budget),
	        T(test_vmlru_who_gave_too_much_waits),
	        T(test_vmlru_who_gave_nothing_is_tried_once_more),
	        T(test_vmlru_a_floor_holds_for_all_reclaimers_together),
	        T(test_vmlru_random_walks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
