/* hv/vlapic: priorities, IPIs, the timer, and what registers keep. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/vlapic.h"

static struct vlapic a;
static struct vlapic_effect effect;

static void wr(u32 offset, u32 value)
{
	vlapic_write(&a, offset, value, 0, &effect);
}
static u32 rd(u32 offset)
{
	return vlapic_read(&a, offset, 0);
}

static int setup(void **state)
{
	(void)state;
	vlapic_reset(&a, 3);
	wr(VLAPIC_SVR, 0x1ff);
	return 0;
}

static void test_vlapic_reset(void **state)
{
	(void)state;
	vlapic_reset(&a, 3);
	assert_int_equal(rd(VLAPIC_ID), 3u << 24);
	assert_int_equal(rd(VLAPIC_VER), VLAPIC_VERSION);
	assert_int_equal(rd(VLAPIC_SVR), 0xff);
	assert_int_equal(rd(VLAPIC_DFR), ~0u);
	for (u32 lvt = VLAPIC_LVT_TIMER; lvt <= VLAPIC_LVT_ERROR; lvt += 16)
		assert_int_equal(rd(lvt), VLAPIC_LVT_MASKED);
	/* Disabled by software: nothing is delivered, LVT entries stay masked. */
	assert_true(vlapic_post(&a, 0x40));
	assert_int_equal(vlapic_pending(&a), -1);
	wr(VLAPIC_LVT_TIMER, 0x50);
	assert_int_equal(rd(VLAPIC_LVT_TIMER), 0x50 | VLAPIC_LVT_MASKED);
	wr(VLAPIC_SVR, 0x1ff);
	assert_true(effect.check);
	assert_int_equal(vlapic_pending(&a), 0x40);
}

static void test_vlapic_priority(void **state)
{
	(void)state;
	assert_true(vlapic_post(&a, 0x41));
	assert_false(vlapic_post(&a, 0x41)); /* one bit, however often */
	assert_true(vlapic_post(&a, 0x93));
	assert_int_equal(rd(VLAPIC_IRR + 0x20), 1u << 1);
	assert_int_equal(vlapic_pending(&a), 0x93);
	vlapic_accept(&a, 0x93);
	assert_int_equal(rd(VLAPIC_ISR + 0x40), 1u << 19);
	assert_int_equal(rd(VLAPIC_PPR), 0x90);
	assert_int_equal(vlapic_pending(&a), -1); /* lower class waits */
	vlapic_post(&a, 0x98);
	assert_int_equal(vlapic_pending(&a), -1); /* so does the same class */
	vlapic_post(&a, 0xa0);
	assert_int_equal(vlapic_pending(&a), 0xa0); /* a higher one interrupts */
	vlapic_accept(&a, 0xa0);
	wr(VLAPIC_EOI, 0);
	assert_true(effect.check);
	assert_int_equal(rd(VLAPIC_PPR), 0x90); /* the highest in service ended */
	wr(VLAPIC_EOI, 0);
	assert_int_equal(vlapic_pending(&a), 0x98);
	vlapic_accept(&a, 0x98);
	wr(VLAPIC_EOI, 0);
	assert_int_equal(vlapic_pending(&a), 0x41);
	wr(VLAPIC_TPR, 0x4f);
	assert_int_equal(vlapic_pending(&a), -1);
	assert_int_equal(rd(VLAPIC_PPR), 0x4f);
	assert_int_equal(vlapic_cr8(&a), 4);
	vlapic_set_cr8(&a, 3);
	assert_int_equal(vlapic_pending(&a), 0x41);
	assert_int_equal(rd(VLAPIC_TPR), 0x30);
}

static void test_vlapic_bad_vectors(void **state)
{
	(void)state;
	assert_false(vlapic_post(&a, 15));
	wr(VLAPIC_ICR, 0x0f);
	assert_false(effect.send);
	assert_int_equal(rd(VLAPIC_ESR), 0); /* shown by a write only */
	wr(VLAPIC_ESR, 0);
	assert_int_equal(rd(VLAPIC_ESR), VLAPIC_ESR_SEND_BAD);
	wr(VLAPIC_ESR, 0);
	assert_int_equal(rd(VLAPIC_ESR), 0);
	rd(0x3f0);
	wr(0x10, 0);
	wr(VLAPIC_ESR, 0);
	assert_int_equal(rd(VLAPIC_ESR), VLAPIC_ESR_ILLEGAL);
}

static void test_vlapic_icr(void **state)
{
	static const struct {
		u32 low;
		bool send;
		int delivery, shorthand;
		bool logical;
	} cases[] = {
	        {0x00040, true, VLAPIC_FIXED, VLAPIC_TO_DEST, false},
	        {0x00940, true, VLAPIC_LOWEST, VLAPIC_TO_DEST, true},
	        {0x40040, true, VLAPIC_FIXED, VLAPIC_TO_SELF, false},
	        {0x80440, true, VLAPIC_NMI, VLAPIC_TO_ALL, false},
	        {0xc4500, true, VLAPIC_INIT, VLAPIC_TO_OTHERS, false},
	        {0x00500, true, VLAPIC_INIT, VLAPIC_TO_DEST, false},
	        {0x08500, false, 0, 0, false}, /* level, deassert */
	        {0x0c500, true, VLAPIC_INIT, VLAPIC_TO_DEST, false},
	        {0x00608, true, VLAPIC_STARTUP, VLAPIC_TO_DEST, false},
	        {0x00240, false, 0, 0, false}, /* SMI */
	        {0x00340, false, 0, 0, false},
	        {0x00740, false, 0, 0, false},
	};

	(void)state;
	wr(VLAPIC_ICR_HIGH, 0x05ffffff);
	assert_int_equal(rd(VLAPIC_ICR_HIGH), 0x05000000);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		wr(VLAPIC_ICR, cases[i].low | 0x1000); /* delivery status is read-only */
		assert_int_equal(effect.send, cases[i].send);
		assert_int_equal(rd(VLAPIC_ICR), cases[i].low);
		if (!cases[i].send)
			continue;
		assert_int_equal(effect.ipi.delivery, cases[i].delivery);
		assert_int_equal(effect.ipi.shorthand, cases[i].shorthand);
		assert_int_equal(effect.ipi.logical, cases[i].logical);
		assert_int_equal(effect.ipi.vector, cases[i].low & 0xff);
		assert_int_equal(effect.ipi.dest, 5);
	}
}

static bool meant(bool logical, u8 dest)
{
	struct vlapic_ipi ipi = {.logical = logical, .dest = dest};

	return vlapic_is_dest(&a, &ipi, NULL);
}

static void test_vlapic_destinations(void **state)
{
	struct vlapic other;
	struct vlapic_ipi ipi = {.shorthand = VLAPIC_TO_OTHERS};

	(void)state;
	assert_true(meant(false, 3));
	assert_true(meant(false, 0xff));
	assert_false(meant(false, 2));
	wr(VLAPIC_LDR, 0x08ffffff);
	assert_int_equal(rd(VLAPIC_LDR), 0x08000000);
	assert_true(meant(true, 0x0c));
	assert_false(meant(true, 0x04));
	assert_true(meant(true, 0xff));
	wr(VLAPIC_DFR, 0); /* clusters */
	wr(VLAPIC_LDR, 0x24000000);
	assert_true(meant(true, 0x26));
	assert_false(meant(true, 0x22));
	assert_false(meant(true, 0x14));
	assert_true(vlapic_is_dest(&a, &ipi, &other));
	assert_false(vlapic_is_dest(&a, &ipi, &a));
	ipi.shorthand = VLAPIC_TO_SELF;
	assert_true(vlapic_is_dest(&a, &ipi, &a));
	ipi.shorthand = VLAPIC_TO_ALL;
	assert_true(vlapic_is_dest(&a, &ipi, &a));
}

static void test_vlapic_one_shot(void **state)
{
	(void)state;
	wr(VLAPIC_LVT_TIMER, 0x60);
	wr(VLAPIC_TIMER_DIVIDE, 0xb); /* by 1 */
	vlapic_write(&a, VLAPIC_TIMER_INITIAL, 1000, 5000, &effect);
	assert_true(effect.timer_changed);
	assert_true(vlapic_timer_deadline(&a) == 6000);
	assert_int_equal(vlapic_read(&a, VLAPIC_TIMER_CURRENT, 5400), 600);
	assert_int_equal(vlapic_read(&a, VLAPIC_TIMER_CURRENT, 7000), 0);
	assert_false(vlapic_timer_fire(&a, 5999));
	assert_true(vlapic_timer_fire(&a, 6000));
	assert_int_equal(vlapic_pending(&a), 0x60);
	assert_true(vlapic_timer_deadline(&a) == ~0ull);
	assert_false(vlapic_timer_fire(&a, 9000));
	vlapic_write(&a, VLAPIC_TIMER_INITIAL, 0, 9000, &effect); /* stops it */
	assert_true(effect.timer_changed);
	assert_true(vlapic_timer_deadline(&a) == ~0ull);
}

static void test_vlapic_periodic(void **state)
{
	(void)state;
	wr(VLAPIC_LVT_TIMER, VLAPIC_LVT_PERIODIC | 0x61);
	wr(VLAPIC_TIMER_DIVIDE, 0x0); /* by 2 */
	vlapic_write(&a, VLAPIC_TIMER_INITIAL, 500, 0, &effect);
	assert_true(vlapic_timer_deadline(&a) == 1000);
	assert_true(vlapic_timer_fire(&a, 1001));
	assert_true(vlapic_timer_deadline(&a) == 2000); /* no drift */
	assert_false(vlapic_timer_fire(&a, 5500));      /* still pending: it is one bit */
	assert_true(vlapic_timer_deadline(&a) == 6000); /* missed periods are not made up for */
	assert_int_equal(vlapic_read(&a, VLAPIC_TIMER_CURRENT, 5600), 200);
	vlapic_accept(&a, 0x61);
	wr(VLAPIC_LVT_TIMER, VLAPIC_LVT_MASKED | VLAPIC_LVT_PERIODIC | 0x61);
	assert_false(vlapic_timer_fire(&a, 6000));
	assert_true(vlapic_timer_deadline(&a) == 7000); /* masked, it runs on */
}

/* Each code of the divide register; a change keeps what is left of the count. */
static void test_vlapic_divide(void **state)
{
	static const u8 codes[] = {0xb, 0x0, 0x1, 0x2, 0x3, 0x8, 0x9, 0xa};

	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		wr(VLAPIC_TIMER_DIVIDE, codes[i]);
		wr(VLAPIC_TIMER_INITIAL, 100);
		assert_true(vlapic_timer_deadline(&a) == 100ull << i);
	}
	wr(VLAPIC_TIMER_DIVIDE, 0xb);
	wr(VLAPIC_TIMER_INITIAL, 100);
	vlapic_write(&a, VLAPIC_TIMER_DIVIDE, 0x1, 60, &effect); /* by 4: 40 ticks left */
	assert_true(vlapic_timer_deadline(&a) == 60 + 160);
	assert_int_equal(vlapic_read(&a, VLAPIC_TIMER_CURRENT, 60), 40);
	assert_int_equal(vlapic_read(&a, VLAPIC_TIMER_CURRENT, 140), 20);
}

/* Accepted, but its delivery came to nothing: pending again, and no longer in service. */
static void test_vlapic_give_back(void **state)
{
	(void)state;
	vlapic_post(&a, 0x41);
	vlapic_accept(&a, 0x41);
	assert_int_equal(vlapic_pending(&a), -1);
	vlapic_give_back(&a, 0x41);
	assert_int_equal(vlapic_pending(&a), 0x41);
	vlapic_accept(&a, 0x41);
	wr(VLAPIC_EOI, 0);
	assert_int_equal(vlapic_pending(&a), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup(test_vlapic_reset, setup),
	        cmocka_unit_test_setup(test_vlapic_give_back, setup),
	        cmocka_unit_test_setup(test_vlapic_priority, setup),
	        cmocka_unit_test_setup(test_vlapic_bad_vectors, setup),
	        cmocka_unit_test_setup(test_vlapic_icr, setup),
	        cmocka_unit_test_setup(test_vlapic_destinations, setup),
	        cmocka_unit_test_setup(test_vlapic_one_shot, setup),
	        cmocka_unit_test_setup(test_vlapic_periodic, setup),
	        cmocka_unit_test_setup(test_vlapic_divide, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
