/* mm/share and what the store makes of it: equal pages are kept once, and each of them comes and goes by itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "arch/hal.h"
#include "mm/audit.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/share.h"
#include "mm/store.h"
#include "tests/host/hal.h"
#include "tests/unit/host_vm.h"

#define FRAMES   8192u
#define WORDS    (PAGE_SIZE / 8)
#define KINDS    40u
#define PAGES    600u
#define VM_PAGES 512u

static u32 in, out;

/* A page of each kind: packs, and none is like another. */
static void make(void *page, u64 kind)
{
	u64 of = kind + 1, *p = page;

	for (unsigned i = 0; i < WORDS; i++)
		p[i] = i % 4 ? 0x1000000 + i / 16 : host_random(&of);
	p[WORDS - 1] = kind;
}

static enum store_result put(u64 kind, bool shared, u64 *word, u32 *saved)
{
	make(frame_ptr(in), kind);
	*saved = 0;
	return shared ? store_put_shared(in, word, saved) : store_put(in, word);
}

static void assert_is(u64 word, u64 kind)
{
	u64 page[WORDS];

	make(page, kind);
	memset(frame_ptr(out), 0xcc, PAGE_SIZE);
	assert_int_equal(store_get(word, out), STORE_OK);
	assert_memory_equal(frame_ptr(out), page, PAGE_SIZE);
}

static struct store_stats now(void)
{
	struct store_stats st;

	store_snapshot(&st);
	return st;
}

static u64 pages_before;

static int setup(void **state)
{
	(void)state;
	in = frame_alloc(FRAME_FOR_FAULT);
	out = frame_alloc(FRAME_FOR_FAULT);
	share_test_sum_bits = ~0u;
	pages_before = hal_pages_used();
	return 0;
}

/* Nothing is left over, of objects or of the index; a page or two of handles stay for the next time. */
static int teardown(void **state)
{
	struct store_stats st = now();

	(void)state;
	host_pages_limit(HOST_NO_LIMIT);
	assert_int_equal(st.objects + st.shared_pages + st.shared_bytes, 0);
	assert_int_equal(store_audit(), 0);
	assert_in_range(hal_pages_used(), 0, pages_before + 2);
	frame_free(in);
	frame_free(out);
	return 0;
}

/* What is kept, against a model that remembers it. */
static struct {
	u64 word, kind;
	bool kept, shared;
} page[PAGES];

/* Objects that there must be: one for each kind that is shared, one for each page that is not. */
static u64 expected_objects(u64 *extra)
{
	u64 holders[KINDS] = {0}, objects = 0;

	*extra = 0;
	for (unsigned i = 0; i < PAGES; i++) {
		if (page[i].kept && page[i].shared)
			holders[page[i].kind]++;
		objects += page[i].kept && !page[i].shared;
	}
	for (unsigned k = 0; k < KINDS; k++) {
		objects += holders[k] != 0;
		*extra += holders[k] ? holders[k] - 1 : 0;
	}
	return objects;
}

static void check_model(void)
{
	struct store_stats st = now();
	u64 extra;

	assert_int_equal(st.objects, expected_objects(&extra));
	assert_int_equal(st.shared_pages, extra);
	assert_int_equal(store_audit(), 0);
}

static void step(unsigned i, u64 r)
{
	u32 saved;

	if (page[i].kept) {
		assert_is(page[i].word, page[i].kind);
		if (r % 3)
			store_drop(page[i].word);
		page[i].kept = r % 3 == 0;
		return;
	}
	page[i].kind = r / 4 % KINDS;
	page[i].shared = r % 4 != 0;
	assert_int_equal(put(page[i].kind, page[i].shared, &page[i].word, &saved), STORE_OK);
	page[i].kept = true;
	for (unsigned j = 0; j < PAGES; j++)
		if (j != i && page[j].kept)
			assert_int_equal(page[j].word == page[i].word,
			                 page[i].shared && page[j].shared &&
			                         page[j].kind == page[i].kind);
}

static void random_steps(u64 seed)
{
	memset(page, 0, sizeof(page));
	for (unsigned n = 0; n < 4000; n++) {
		u64 r = host_random(&seed);

		step((unsigned)(r >> 32) % PAGES, r & 0xffffffff);
		if (n % 200 == 0)
			check_model();
	}
	check_model();
	for (unsigned i = 0; i < PAGES; i++)
		if (page[i].kept)
			store_drop(page[i].word);
}

static void test_share_counts_holders(void **state)
{
	(void)state;
	random_steps(1);
}

/* All checksums are the same: only the bytes tell. */
static void test_share_believes_no_checksum(void **state)
{
	(void)state;
	share_test_sum_bits = 0;
	random_steps(2);
	share_test_sum_bits = 7;
	random_steps(3);
}

static void test_share_saves_all_but_the_first(void **state)
{
	u64 word[10];
	struct store_stats one, ten;
	u32 saved, first = 0;

	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(put(5, true, &word[i], &saved), STORE_OK);
		if (i)
			assert_int_equal(saved, first);
		else
			assert_int_equal(saved, 0);
		if (!i) {
			one = now();
			first = (u32)one.compressed_bytes + 4; /* with its checksum */
		}
		assert_int_equal(word[i], word[0]);
	}
	ten = now();
	assert_int_equal(ten.compressed_bytes, one.compressed_bytes);
	assert_int_equal(ten.pool_frames, one.pool_frames);
	assert_int_equal(ten.shared_pages, 9);
	assert_int_equal(ten.shared_bytes, 9 * (u64)first);
	/* The first to come is the first to go: the others keep the object. */
	for (unsigned i = 0; i < 10; i++) {
		assert_is(word[i], 5);
		store_drop(word[i]);
	}
}

/* Without memory for its index nothing is shared, and nothing is lost. */
static void test_share_without_memory(void **state)
{
	u64 word[8], a, b;
	u32 saved;

	(void)state;
	assert_int_equal(put(1, false, &a, &saved), STORE_OK); /* a page of handles */
	for (u64 limit = 0; limit < 4; limit++) {
		host_pages_limit(limit);
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(put(i / 2, true, &word[i], &saved), STORE_OK);
		/* Two tables and a page of nodes: then it works. */
		assert_int_equal(now().shared_pages, limit < 3 ? 0 : 4);
		for (unsigned i = 0; i < 8; i++) {
			assert_is(word[i], i / 2);
			store_drop(word[i]);
		}
		assert_int_equal(store_audit(), 0);
	}
	host_pages_limit(HOST_NO_LIMIT);
	/* Put past the index: nobody's twin. */
	assert_int_equal(put(1, true, &b, &saved), STORE_OK);
	assert_true(a != b);
	store_drop(a);
	assert_is(b, 1);
	store_drop(b);
}

static void test_share_full_pool(void **state)
{
	static u32 taken[FRAMES];
	u64 a, b, c = 77;
	u32 saved, n = 0;

	(void)state;
	assert_int_equal(put(1, true, &a, &saved), STORE_OK);
	while ((taken[n] = frame_alloc(FRAME_FOR_POOL)) != FRAME_NONE)
		n++;
	/* What is there already needs no room. */
	assert_int_equal(put(1, true, &b, &saved), STORE_OK);
	assert_int_equal(a, b);
	for (u64 kind = 2; kind < 8 && put(kind, true, &c, &saved) == STORE_OK; kind++)
		store_drop(c);
	assert_int_equal(put(1, true, &c, &saved), STORE_OK);
	store_drop(c);
	while (n)
		frame_free(taken[--n]);
	store_drop(b);
	assert_is(a, 1);
	store_drop(a);
}

/* --- two guests ------------------------------------------------------------------------------------- */

static struct host_vm twin[2];

static void write_all(unsigned which, u64 salt)
{
	for (u64 g = 0; g < VM_PAGES; g++)
		for (u64 w = 0; w < 64; w++)
			assert_int_equal(
			        host_vm_write(&twin[which], 0, gpa(g << PAGE_SHIFT | w * 64),
			                      (g + 1) * 0x9e3779b97f4a7c15ull * (w + 1) + salt),
			        FAULT_FIXED);
}

static void check_all(unsigned which, u64 salt)
{
	u64 value;

	for (u64 g = 0; g < VM_PAGES; g++)
		for (u64 w = 0; w < 64; w += 9) {
			assert_int_equal(host_vm_read(&twin[which], 0,
			                              gpa(g << PAGE_SHIFT | w * 64), &value),
			                 FAULT_FIXED);
			assert_int_equal(value, (g + 1) * 0x9e3779b97f4a7c15ull * (w + 1) + salt);
		}
}

static void evict_all(unsigned which)
{
	for (u64 g = 0; g < VM_PAGES; g++)
		assert_int_equal(evict_page(twin[which].space, gfn(g)), EVICT_PAGE_DONE);
}

/* Bytes in the pool with both guests away, and back. */
static u64 bytes_away(const struct host_machine *m, bool left, bool right)
{
	u64 bytes, value;

	for (unsigned i = 0; i < 2; i++) {
		host_vm_create(&twin[i], m, VM_PAGES, 1);
		twin[i].space->shares = i ? right : left;
		write_all(i, 0);
		evict_all(i);
	}
	bytes = now().compressed_bytes;
	assert_int_equal(a64_load(&twin[0].space->stats.shared_total), 0);
	assert_int_equal(a64_load(&twin[1].space->stats.shared_total),
	                 left && right ? VM_PAGES : 0);
	assert_int_equal(now().shared_bytes, a64_load(&twin[1].space->stats.shared_bytes_total));
	/* One writes what it had in common; that is nothing to the other, in memory or away. */
	check_all(0, 0);
	write_all(0, 7);
	evict_all(0);
	assert_int_equal(audit_all(NULL), 0);
	check_all(1, 0);
	check_all(0, 7);
	/* Copies that are kept with clean pages count like pages that are away. */
	assert_int_equal(audit_all(NULL), 0);
	assert_int_equal(host_vm_read(&twin[1], 0, gpa(0), &value), FAULT_FIXED);
	host_vm_destroy(&twin[0]);
	check_all(1, 0);
	host_vm_destroy(&twin[1]);
	assert_int_equal(now().objects, 0);
	return bytes;
}

static void test_share_two_guests_with_the_same_data(void **state)
{
	(void)state;
	/* The audit asks whose every frame is. */
	frame_free(in);
	frame_free(out);
	for_each_machine(m)
	{
		u64 apart = bytes_away(m, false, false);

		assert_int_equal(bytes_away(m, true, true), apart / 2);
		/* Who does not share is not compared with, nor with others. */
		assert_int_equal(bytes_away(m, true, false), apart);
		assert_int_equal(bytes_away(m, false, true), apart);
	}
	in = frame_alloc(FRAME_FOR_FAULT);
	out = frame_alloc(FRAME_FOR_FAULT);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_share_counts_holders),
	        T(test_share_believes_no_checksum),
	        T(test_share_saves_all_but_the_first),
	        T(test_share_without_memory),
	        T(test_share_full_pool),
	        T(test_share_two_guests_with_the_same_data),
	};

	return vm_group_run(tests, FRAMES);
}
