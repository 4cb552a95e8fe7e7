/* mm/pool: what was put comes back, whatever else is put and dropped, and nothing is wasted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "mm/frame.h"
#include "mm/pool.h"
#include "mm/pool_class.h"
#include "tests/host/hal.h"

#define FRAMES 16384u
#define MODEL  4000u

struct object {
	u64 handle; /* POOL_NONE: none */
	u32 bytes;
	u64 seed;
};

static u64 seed = 0x5eed;

static void object_fill(const struct object *o, u8 *out)
{
	u64 s = o->seed;

	for (u32 i = 0; i < o->bytes; i++)
		out[i] = (u8)(host_random(&s) >> 32);
}

static bool object_put(struct object *o, u32 bytes)
{
	u8 data[POOL_MAX_BYTES];

	o->bytes = bytes;
	o->seed = host_random(&seed) | 1;
	object_fill(o, data);
	o->handle = pool_put(data, bytes);
	return o->handle != POOL_NONE;
}

static void object_check(const struct object *o)
{
	u8 expected[POOL_MAX_BYTES], found[POOL_MAX_BYTES];

	object_fill(o, expected);
	assert_int_equal(pool_get(o->handle, found, sizeof(found)), o->bytes);
	assert_memory_equal(found, expected, o->bytes);
}

static void object_drop(struct object *o)
{
	pool_drop(o->handle);
	o->handle = POOL_NONE;
}

static void assert_empty(void)
{
	struct pool_stats st;

	pool_snapshot(&st);
	assert_int_equal(st.objects, 0);
	assert_int_equal(st.object_bytes, 0);
	assert_int_equal(st.frames, 0);
	assert_int_equal(frame_pool_count(), 0);
	assert_int_equal(pool_audit(), 0);
}

static void test_pool_classes_hold_their_sizes(void **state)
{
	(void)state;
	for (u32 n = 1; n <= POOL_CLASS_LAST_BYTES; n++) {
		unsigned c = pool_class_of(n);

		assert_true(c < POOL_CLASSES);
		assert_true(pool_class_bytes(c) >= n);
		assert_true(!c || pool_class_bytes(c - 1) < n);
		assert_int_equal(pool_class_bytes(c) % 16, 0);
	}
	assert_int_equal(pool_class_of(POOL_CLASS_LAST_BYTES), POOL_CLASSES - 1);
}

static void test_pool_every_size_comes_back(void **state)
{
	static struct object o[POOL_MAX_BYTES + 1];

	(void)state;
	for (u32 n = 1; n <= POOL_MAX_BYTES; n++)
		assert_true(object_put(&o[n], n));
	assert_int_equal(pool_audit(), 0);
	for (u32 n = 1; n <= POOL_MAX_BYTES; n++)
		object_check(&o[n]);
	for (u32 n = 1; n <= POOL_MAX_BYTES; n++)
		object_drop(&o[n]);
	assert_empty();
}

static void test_pool_get_is_bounded(void **state)
{
	struct object o;
	u8 out[64];

	(void)state;
	assert_true(object_put(&o, 1000));
	memset(out, 0xaa, sizeof(out));
	assert_int_equal(pool_get(o.handle, out, 16), 1000);
	for (unsigned i = 16; i < sizeof(out); i++)
		assert_int_equal(out[i], 0xaa);
	object_drop(&o);
	assert_int_equal(pool_get(o.handle, out, sizeof(out)), 0);
	assert_int_equal(pool_get(0, out, sizeof(out)), 0);
	assert_int_equal(pool_get(BITS(43, 0), out, sizeof(out)), 0);
}

static void test_pool_frames_come_and_go_at_the_end(void **state)
{
	struct object o[3];
	struct pool_stats st;

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		assert_true(object_put(&o[i], 2000));
	pool_snapshot(&st);
	assert_int_equal(st.frames, 2);
	object_drop(&o[0]); /* the third moves there */
	pool_snapshot(&st);
	assert_int_equal(st.frames, 1);
	object_check(&o[1]);
	object_check(&o[2]);
	object_drop(&o[2]);
	object_check(&o[1]);
	object_drop(&o[1]);
	assert_empty();
}

static void drop_it(void *arg)
{
	pool_drop(*(const u64 *)arg);
}

/* The last test: the panic leaves the pool locked. */
static void test_pool_second_drop_panics(void **state)
{
	struct object o, other;

	(void)state;
	assert_true(object_put(&o, 100));
	pool_drop(o.handle);
	assert_true(object_put(&other, 100)); /* takes the same place */
	assert_true(host_panics(drop_it, &o.handle));
}

/* The head of the only frame of a class is overwritten: the objects in it still move. */
static void test_pool_damaged_head_heals(void **state)
{
	struct object o[2];
	u64 lines = host_log_lines();

	(void)state;
	assert_true(object_put(&o[0], 500) && object_put(&o[1], 500));
	for (u32 f = 0; f < frame_total(); f++)
		if (frame_use(a64_load(&frame_at(f)->state)) == FRAME_POOL)
			memset((u8 *)frame_ptr(f) + 512, 0xff, 4);
	assert_int_equal(pool_audit(), 1);
	object_drop(&o[0]);
	assert_true(host_log_lines() > lines);
	object_check(&o[1]);
	assert_int_equal(pool_audit(), 0);
	object_drop(&o[1]);
	assert_empty();
}

static void test_pool_full_changes_nothing(void **state)
{
	static u32 taken[FRAMES];
	struct object o[3];
	u32 n = 0;

	(void)state;
	assert_true(object_put(&o[0], 3000));
	while ((taken[n] = frame_alloc(FRAME_FOR_POOL)) != FRAME_NONE)
		n++;
	assert_false(object_put(&o[1], 3000)); /* would straddle into a new frame */
	assert_false(object_put(&o[1], 1000)); /* a class of its own */
	frame_free(taken[--n]);
	assert_true(object_put(&o[1], 3000));
	assert_false(object_put(&o[2], 1000));
	while (n)
		frame_free(taken[--n]);
	object_check(&o[0]);
	object_check(&o[1]);
	object_drop(&o[1]);
	object_drop(&o[0]);
	assert_empty();
}

static void test_pool_no_memory_for_handles(void **state)
{
	static struct object o[2000];
	u32 n = 0;

	(void)state;
	host_pages_limit(0);
	while (n < ARRAY_SIZE(o) && object_put(&o[n], 40))
		n++;
	host_pages_limit(HOST_NO_LIMIT);
	assert_true(n < ARRAY_SIZE(o));
	assert_int_equal(pool_audit(), 0);
	while (n--) {
		object_check(&o[n]);
		object_drop(&o[n]);
	}
	assert_empty();
}

/* Sizes that a mix of uses makes: mostly middling, some tiny, few classes at a time. */
static u32 model_size(void)
{
	u64 r = host_random(&seed);

	if (r % 8 == 0)
		return (u32)(r >> 8) % 64 + 1;
	return (u32)(r >> 8) % POOL_MAX_BYTES + 1;
}

static u64 model_overhead(const struct object *o)
{
	struct pool_stats st;
	u64 bytes = 0, n = 0;

	for (u32 i = 0; i < MODEL; i++)
		if (o[i].handle != POOL_NONE) {
			bytes += o[i].bytes;
			n++;
		}
	pool_snapshot(&st);
	assert_int_equal(st.objects, n);
	assert_int_equal(st.object_bytes, bytes);
	assert_int_equal(st.frames, frame_pool_count());
	return st.frames * PAGE_SIZE - bytes;
}

static void test_pool_model_random_against_oracle(void **state)
{
	static struct object o[MODEL];
	u64 steps = host_steps(60000), load = MODEL / 2;

	(void)state;
	for (u32 i = 0; i < MODEL; i++)
		o[i].handle = POOL_NONE;
	for (u64 s = 0; s < steps; s++) {
		struct object *x = &o[host_random(&seed) % MODEL];

		if (s % 8192 == 0)
			load = host_random(&seed) % MODEL;
		if (x->handle == POOL_NONE) {
			if (host_random(&seed) % MODEL < load)
				assert_true(object_put(x, model_size()));
		} else if (host_random(&seed) % 4 == 0) {
			object_check(x);
		} else if (host_random(&seed) % MODEL >= load) {
			object_drop(x);
		}
		if (s % 4096 == 0) {
			assert_int_equal(pool_audit(), 0);
			/* Less than a frame a class, and half a step (at most 63 bytes) an object. */
			assert_true(model_overhead(o) < POOL_CLASSES * PAGE_SIZE + MODEL * 67ull);
		}
	}
	for (u32 i = 0; i < MODEL; i++)
		if (o[i].handle != POOL_NONE) {
			object_check(&o[i]);
			object_drop(&o[i]);
		}
	assert_empty();
}

static void test_pool_next_visits_each_once(void **state)
{
	struct object o[100];
	u64 cursor = 0, h, sum = 0, n = 0;

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		assert_true(object_put(&o[i], 10 + i));
		sum += o[i].handle;
	}
	while ((h = pool_next(&cursor)) != POOL_NONE) {
		sum -= h;
		n++;
	}
	assert_int_equal(n, 100);
	assert_int_equal(sum, 0);
	for (unsigned i = 0; i < 100; i++)
		object_drop(&o[i]);
	assert_empty();
}

static int setup(void **state)
{
	struct frame_extent e = {.nframes = FRAMES};
	void *ram = host_ram(FRAMES);

	(void)state;
	if (!ram)
		return -1;
	e.first = hal_ptr_pfn(ram);
	return frame_init(&e, 1) ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_pool_classes_hold_their_sizes),
	        cmocka_unit_test(test_pool_every_size_comes_back),
	        cmocka_unit_test(test_pool_get_is_bounded),
	        cmocka_unit_test(test_pool_frames_come_and_go_at_the_end),
	        cmocka_unit_test(test_pool_damaged_head_heals),
	        cmocka_unit_test(test_pool_full_changes_nothing),
	        cmocka_unit_test(test_pool_no_memory_for_handles),
	        cmocka_unit_test(test_pool_model_random_against_oracle),
	        cmocka_unit_test(test_pool_next_visits_each_once),
	        cmocka_unit_test(test_pool_second_drop_panics),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
