/* hv/mmu/guest_mem: the hypervisor's own access to guest memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/refault.h"
#include "mm/store.h"
#include "tests/host/hal.h"
#include "tests/unit/host_vm.h"

#define PAGES  600u
#define FRAMES 1024u

static struct host_vm vm;

static void start(const struct host_machine *m)
{
	host_vm_create(&vm, m, PAGES, 1);
}

static void stop(void)
{
	for (u32 f = 0; f < FRAMES; f++)
		assert_int_equal(a64_load(&frame_at(f)->state) & FRAME_PINS, 0);
	assert_int_equal(vm.tdp.notifier.ops->audit(&vm.tdp.notifier), 0);
	host_vm_destroy(&vm);
}

static u64 guest_reads(u64 address)
{
	u64 value;

	assert_int_equal(host_vm_read(&vm, 0, gpa(address), &value), FAULT_FIXED);
	return value;
}

static void guest_writes(u64 address, u64 value)
{
	assert_int_equal(host_vm_write(&vm, 0, gpa(address), value), FAULT_FIXED);
}

static u64 frame_state(u64 g)
{
	u64 word;

	epoch_enter();
	word = a64_load(gfnmap_word(vm.space, gfn(g)));
	epoch_exit();
	return a64_load(&frame_at(gfn_word_frame(word))->state);
}

static void test_guest_mem_untouched_reads_as_zero(void **state)
{
	u8 buffer[100];

	(void)state;
	start(&host_machines[0]);
	memset(buffer, 0xaa, sizeof(buffer));
	assert_int_equal(guest_read(&vm.mem, gpa(5000), buffer, sizeof(buffer)), sizeof(buffer));
	for (unsigned i = 0; i < sizeof(buffer); i++)
		assert_int_equal(buffer[i], 0);
	stop();
}

static void test_guest_mem_both_see_the_same(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 value = 0;

		start(m);
		guest_writes(0x3008, 77);
		assert_int_equal(guest_read(&vm.mem, gpa(0x3008), &value, 8), 8);
		assert_int_equal(value, 77);
		value = 78;
		assert_int_equal(guest_write(&vm.mem, gpa(0x3008), &value, 8), 8);
		assert_int_equal(guest_reads(0x3008), 78);
		stop();
	}
}

static void test_guest_mem_across_pages(void **state)
{
	static u8 out[5 * PAGE_SIZE], in[5 * PAGE_SIZE];
	u64 seed = 0x9e;

	(void)state;
	for (unsigned i = 0; i < sizeof(out); i++)
		out[i] = (u8)host_random(&seed);
	start(&host_machines[1]);
	for (unsigned i = 0; i < 200; i++) {
		u64 at = host_random(&seed) % (20 * PAGE_SIZE);
		u64 n = host_random(&seed) % sizeof(out);

		assert_int_equal(guest_write(&vm.mem, gpa(at), out, n), n);
		assert_int_equal(guest_read(&vm.mem, gpa(at), in, n), n);
		assert_memory_equal(out, in, n);
	}
	stop();
}

static void test_guest_mem_short_at_the_end_of_memory(void **state)
{
	u8 buffer[2 * PAGE_SIZE] = {1};

	(void)state;
	start(&host_machines[0]);
	assert_int_equal(guest_read(&vm.mem, gpa(PAGES * PAGE_SIZE - 10), buffer, 100), 10);
	assert_int_equal(guest_write(&vm.mem, gpa((PAGES - 1) * PAGE_SIZE), buffer, sizeof(buffer)),
	                 PAGE_SIZE);
	assert_int_equal(guest_read(&vm.mem, gpa(PAGES * PAGE_SIZE), buffer, 1), 0);
	assert_int_equal(guest_read(&vm.mem, gpa(~0ull - 3), buffer, 16), 0);
	assert_int_equal(guest_read(&vm.mem, gpa(0), buffer, 0), 0);
	stop();
}

static u32 frame_number_of(u64 g)
{
	u64 word;

	epoch_enter();
	word = a64_load(gfnmap_word(vm.space, gfn(g)));
	epoch_exit();
	return gfn_word_frame(word);
}

static void access_from_outside(u64 g, bool write)
{
	u8 byte = 1;

	if (write)
		assert_int_equal(guest_write(&vm.mem, gpa(g * PAGE_SIZE), &byte, 1), 1);
	else
		assert_int_equal(guest_read(&vm.mem, gpa(g * PAGE_SIZE), &byte, 1), 1);
}

/*
 * The page is there, aged, and its Accessed bit is none of our business: an access of the hypervisor marks it
 * referenced, and each further one lifts its tier, up to the last that accesses alone can reach. Neighbours
 * of the bytes are left alone.
 */
static void test_guest_mem_dma_ref_feeds_the_tier(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		for (unsigned write = 0; write < 2; write++) {
			start(m);
			for (u64 g = 4; g < 8; g++) {
				guest_writes(g * PAGE_SIZE, g);
				frame_state_change(frame_number_of(g),
				                   FRAME_REFERENCED | FRAME_REFS, 0);
			}
			for (unsigned n = 0; n < 6; n++) {
				access_from_outside(5, write);
				assert_true(frame_state(5) & FRAME_REFERENCED);
				assert_int_equal(refault_tier(frame_state(5)),
				                 min_of(n, GEN_TIERS - 2));
			}
			assert_false(frame_state(4) & (FRAME_REFERENCED | FRAME_REFS));
			assert_false(frame_state(6) & (FRAME_REFERENCED | FRAME_REFS));
			stop();
		}
	}
}

/* A copy over a border is an access to both pages. */
static void test_guest_mem_dma_ref_of_every_page_of_a_copy(void **state)
{
	u8 bytes[2 * PAGE_SIZE] = {0};

	(void)state;
	start(&host_machines[0]);
	for (u64 g = 0; g < 5; g++) {
		guest_writes(g * PAGE_SIZE, g);
		frame_state_change(frame_number_of(g), FRAME_REFERENCED, 0);
	}
	assert_int_equal(guest_read(&vm.mem, gpa(2 * PAGE_SIZE - 1), bytes, PAGE_SIZE + 2),
	                 PAGE_SIZE + 2);
	for (u64 g = 0; g < 5; g++)
		assert_int_equal(!!(frame_state(g) & FRAME_REFERENCED), g >= 1 && g <= 3);
	stop();
}

static void test_guest_mem_brings_evicted_pages_in(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		u64 value;

		start(m);
		for (u64 g = 0; g < 64; g++)
			guest_writes(g * PAGE_SIZE, g + 1);
		assert_true(host_vm_evict(&vm, 64) > 32);
		for (u64 g = 0; g < 64; g++) {
			assert_int_equal(guest_read(&vm.mem, gpa(g * PAGE_SIZE), &value, 8), 8);
			assert_int_equal(value, g + 1);
		}
		stop();
	}
}

/*
 * Brought back and mapped clean, Dirty clear, its copy valid: a write past the MMU leaves no trace in the
 * entry, and must yet not be lost to the old copy at the next eviction.
 */
static void test_guest_mem_write_to_clean_page_is_not_lost(void **state)
{
	(void)state;
	for_each_machine(m)
	{
		start(m);
		for (u64 g = 0; g < 64; g++)
			guest_writes(g * PAGE_SIZE, g + 1);
		assert_true(host_vm_evict(&vm, 64) > 32);
		for (u64 g = 0; g < 64; g++) {
			u64 value = g + 1000;

			assert_int_equal(guest_reads(g * PAGE_SIZE), g + 1);
			assert_int_equal(guest_write(&vm.mem, gpa(g * PAGE_SIZE), &value, 8), 8);
			assert_true(frame_state(g) & FRAME_DIRTY);
		}
		assert_true(host_vm_evict(&vm, 64) > 32);
		for (u64 g = 0; g < 64; g++)
			assert_int_equal(guest_reads(g * PAGE_SIZE), g + 1000);
		stop();
	}
}

static void test_guest_mem_of_a_dying_space(void **state)
{
	u8 byte;

	(void)state;
	start(&host_machines[0]);
	a32_store(&vm.space->dying, 1);
	assert_int_equal(guest_read(&vm.mem, gpa(0), &byte, 1), 0);
	stop();
}

/* An evictor has the frame in its hands: wait for it, and get the page. */
static u32 held;
static void let_go(void *arg)
{
	(void)arg;
	a64_store(&frame_at(held)->state, a64_load(&frame_at(held)->state) & ~FRAME_ISOLATED);
}

static void test_guest_mem_waits_for_an_isolated_frame(void **state)
{
	u64 value = 5, word;

	(void)state;
	start(&host_machines[0]);
	guest_writes(0x7000, 1);
	epoch_enter();
	word = a64_load(gfnmap_word(vm.space, gfn(7)));
	epoch_exit();
	held = gfn_word_frame(word);
	a64_store(&frame_at(held)->state, a64_load(&frame_at(held)->state) | FRAME_ISOLATED);
	host_on_pause(let_go, NULL);
	assert_int_equal(guest_write(&vm.mem, gpa(0x7000), &value, 8), 8);
	host_on_pause(NULL, NULL);
	assert_int_equal(guest_reads(0x7000), 5);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_guest_mem_untouched_reads_as_zero),
	        cmocka_unit_test(test_guest_mem_both_see_the_same),
	        cmocka_unit_test(test_guest_mem_across_pages),
	        cmocka_unit_test(test_guest_mem_short_at_the_end_of_memory),
	        cmocka_unit_test(test_guest_mem_dma_ref_feeds_the_tier),
	        cmocka_unit_test(test_guest_mem_dma_ref_of_every_page_of_a_copy),
	        cmocka_unit_test(test_guest_mem_brings_evicted_pages_in),
	        cmocka_unit_test(test_guest_mem_write_to_clean_page_is_not_lost),
	        cmocka_unit_test(test_guest_mem_of_a_dying_space),
	        cmocka_unit_test(test_guest_mem_waits_for_an_isolated_frame),
	};

	return vm_group_run(tests, FRAMES);
}
