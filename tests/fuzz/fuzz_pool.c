/*
 * The pool against an oracle that keeps the bytes: the input is a program of puts, gets and drops, in a machine where
 * frames, and now and then the hypervisor's own memory, run out. What was put comes back, and what could not
 * be put has changed nothing; handles are enumerated each once; the recount agrees; in the end nothing is left.
 */
#include <stdlib.h>
#include <string.h>

#include "arch/hal.h"
#include "mm/frame.h"
#include "mm/pool.h"
#include "tests/host/hal.h"

#define FRAMES  48u
#define OBJECTS 256u

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static struct object {
	u64 handle; /* POOL_NONE: none */
	u32 bytes;
	u8 salt;
} object[OBJECTS];
static u64 objects, bytes_kept;

static void check(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct frame_extent e = {.nframes = FRAMES};
	void *ram = host_ram(FRAMES);

	(void)argc;
	(void)argv;
	check(ram != NULL);
	e.first = hal_ptr_pfn(ram);
	check(frame_init(&e, 1));
	for (unsigned i = 0; i < OBJECTS; i++)
		object[i].handle = POOL_NONE;
	return 0;
}

static void contents(const struct object *o, u8 *out)
{
	u64 seed = o->bytes * 256ull + o->salt + 1;

	for (u32 i = 0; i < o->bytes; i++)
		out[i] = (u8)(i % 16 ? out[i - 1] * 5 + i : host_random(&seed));
}

static void put(struct object *o, u32 bytes, u8 salt)
{
	u8 data[POOL_MAX_BYTES];
	struct pool_stats before, after;

	o->bytes = bytes;
	o->salt = salt;
	contents(o, data);
	pool_snapshot(&before);
	o->handle = pool_put(data, bytes);
	pool_snapshot(&after);
	if (o->handle == POOL_NONE) {
		check(after.objects == before.objects &&
		      after.object_bytes == before.object_bytes && after.frames == before.frames);
		return;
	}
	check(!(o->handle >> POOL_HANDLE_BITS) && after.frames <= before.frames + 1);
	objects++;
	bytes_kept += bytes;
}

/* `max` bounds the copy, and what is behind stays as it was. */
static void get(const struct object *o, u32 max)
{
	u8 expected[POOL_MAX_BYTES], found[POOL_MAX_BYTES + 1];
	u32 n = min_of(max, o->bytes);

	contents(o, expected);
	memset(found, 0xa5, sizeof(found));
	check(pool_get(o->handle, found, max) == o->bytes);
	check(!memcmp(found, expected, n) && found[n] == 0xa5);
}

static void drop(struct object *o)
{
	pool_drop(o->handle);
	o->handle = POOL_NONE;
	objects--;
	bytes_kept -= o->bytes;
}

static int by_handle(const void *a, const void *b)
{
	const u64 *one = a, *two = b;

	return *one < *two ? -1 : *one > *two;
}

/* Each once, and no others. */
static void check_handles(void)
{
	u64 ours[OBJECTS], theirs[OBJECTS], cursor = 0, n = 0, handle;

	while ((handle = pool_next(&cursor)) != POOL_NONE) {
		check(n < objects);
		theirs[n++] = handle;
	}
	check(n == objects);
	n = 0;
	for (unsigned i = 0; i < OBJECTS; i++)
		if (object[i].handle != POOL_NONE)
			ours[n++] = object[i].handle;
	qsort(ours, n, sizeof(ours[0]), by_handle);
	qsort(theirs, n, sizeof(theirs[0]), by_handle);
	check(n == objects && !memcmp(ours, theirs, n * sizeof(ours[0])));
}

static void check_all(void)
{
	struct pool_stats s;

	pool_snapshot(&s);
	check(s.objects == objects && s.object_bytes == bytes_kept);
	check(s.frames == frame_pool_count() && s.frames + frame_free_count() == FRAMES);
	check(!pool_audit());
	check_handles();
}

/* Four bytes an operation: which, on which object, and two that say how. */
static void step(const u8 *op)
{
	struct object *o = &object[op[1]];
	u32 how = op[2] | (u32)op[3] << 8;

	switch (op[0] % 8) {
	case 0:
		check_all();
		break;
	case 1:
		host_pages_limit(how % 4 ? HOST_NO_LIMIT : how / 4 % 3);
		break;
	case 2:
		if (o->handle != POOL_NONE)
			get(o, how % (POOL_MAX_BYTES + 1));
		break;
	case 3:
	case 4:
		if (o->handle != POOL_NONE)
			drop(o);
		break;
	default:
		if (o->handle == POOL_NONE)
			put(o, 1 + how % POOL_MAX_BYTES, op[0]);
		else
			get(o, POOL_MAX_BYTES);
		break;
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	for (size_t i = 0; i + 4 <= size; i += 4)
		step(data + i);
	host_pages_limit(HOST_NO_LIMIT);
	check_all();
	for (unsigned i = 0; i < OBJECTS; i++) {
		if (object[i].handle == POOL_NONE)
			continue;
		get(&object[i], POOL_MAX_BYTES);
		drop(&object[i]);
	}
	check_all();
	check(!frame_pool_count());
	return 0;
}
