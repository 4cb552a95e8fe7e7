/*
 * arch/x86/virtio_blk against a device that is memory: its registers stand still, and the test plays what it does with
 * the queue. Honest, wrong, and malicious.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lib/types.h"

/* What the build machine has instead of registers (tests/host/machine has none that are mapped): the device's memory. */
#define MMIO(U, n)                                      \
	static inline U mmio_read##n(const void *at)    \
	{                                               \
		return *(const volatile U *)at;         \
	}                                               \
	static inline void mmio_write##n(void *at, U v) \
	{                                               \
		*(volatile U *)at = v;                  \
	}
MMIO(u8, 8)
MMIO(u16, 16)
MMIO(u32, 32)

#include "arch/x86/virtio_blk.c"

#define BAR_BYTES 0x4000u
#define CAPS      0x40u

/* The configuration space, and what the device's one BAR leads to: the structures a page apart. */
static struct {
	bool there;
	u16 id;
	u8 space[256];
	u64 bar_bytes;
	u8 bar[BAR_BYTES] aligned_to(4096);
} dev;

bool pci_find(bool (*match)(u16 vendor, u16 device), struct pci_function *out)
{
	*out = (struct pci_function){0};
	return dev.there && match(VENDOR, dev.id);
}

u32 pci_read32(struct pci_function f, u32 at)
{
	u32 v;

	(void)f;
	memcpy(&v, &dev.space[at & 0xfc], 4);
	return v;
}

void pci_write32(struct pci_function f, u32 at, u32 value)
{
	(void)f;
	memcpy(&dev.space[at & 0xfc], &value, 4);
}

u8 pci_read8(struct pci_function f, u32 at)
{
	(void)f;
	return dev.space[at];
}

/* A capability every 32 bytes, from CAPS on. */
u32 pci_capability(struct pci_function f, u8 id, u32 at)
{
	(void)f;
	at = at ? at + 32 : CAPS;
	return at < sizeof(dev.space) && dev.space[at] == id ? at : 0;
}

bool pci_bar(struct pci_function f, unsigned bar, hpa_t *base, u64 *bytes)
{
	(void)f;
	*base = hpa((u64)(uintptr_t)dev.bar);
	*bytes = dev.bar_bytes;
	return bar == 4;
}

void *map_mmio(hpa_t base, u64 bytes)
{
	assert_true(base.v + bytes <= (u64)(uintptr_t)dev.bar + BAR_BYTES);
	return (void *)(uintptr_t)base.v;
}

/* --- a device ---------------------------------------------------------------------------------------- */

static void put32(u8 *at, u32 v)
{
	memcpy(at, &v, 4);
}

static void put_capability(unsigned nr, u8 type, u32 offset, u32 bytes)
{
	u8 *cap = &dev.space[CAPS + 32 * nr];

	cap[0] = CAP_VENDOR;
	cap[CAP_TYPE] = type;
	cap[CAP_BAR] = 4;
	put32(cap + CAP_OFFSET, offset);
	put32(cap + CAP_LENGTH, bytes);
	put32(cap + CAP_MULTIPLIER, 4);
}

static int destroy(void **state)
{
	(void)state;
	if (blk.shared)
		hal_pages_free(blk.shared, SHARED_PAGES);
	blk.shared = NULL;
	return 0;
}

/*
 * Its features are the same word for either half: bit 0 of the upper is "version 1". What the driver writes to the
 * status reads back, and so does the queue's size.
 */
static int create(void **state)
{
	destroy(state);
	memset(&dev, 0, sizeof(dev));
	memset(&blk, 0, sizeof(blk));
	dev.there = true;
	dev.id = DEVICE_TRANSITIONAL;
	dev.bar_bytes = BAR_BYTES;
	put_capability(0, TYPE_COMMON, 0, COMMON_BYTES);
	put_capability(1, 3, 0x1000, 4); /* interrupts: nobody's concern */
	put_capability(2, TYPE_NOTIFY, 0x2000, 0x100);
	put_capability(3, TYPE_DEVICE, 0x3000, 0x40);
	put32(dev.bar + COMMON_DEVICE, 1);
	put32(dev.bar + COMMON_QUEUE_SIZE, 128);
	dev.bar[COMMON_QUEUE_NOTIFY] = 3;
	put32(dev.bar + 0x3000, 5000);
	put32(dev.bar + 0x3004, 1);
	return 0;
}

static struct shared *shared(void)
{
	u64 at;

	memcpy(&at, dev.bar + COMMON_QUEUE_DESC, 8);
	return (struct shared *)(uintptr_t)at;
}

static void open_disk(void)
{
	assert_null(virtio_blk_open());
}

static struct virtio_blk_transfer a_transfer(u32 tag, bool write, void *data)
{
	return (struct virtio_blk_transfer){
	        .tag = tag, .write = write, .sector = 1000 + tag, .sectors = 8, .data = data};
}

/* The device puts an element into the used ring. */
static void answer(u32 id, u32 bytes)
{
	struct used *used = &shared()->used;
	u32 head = a32_load(&used->head), at = head >> 16;

	used->ring[at % 128].id = id;
	used->ring[at % 128].bytes = bytes;
	a32_store(&used->head, (at + 1) << 16);
}

static void assert_reaped(u32 tag, bool ok)
{
	u32 got;
	bool was_ok;

	assert_true(virtio_blk_reap(&got, &was_ok));
	assert_int_equal(got, tag);
	assert_int_equal(was_ok, ok);
}

static void assert_nothing(void)
{
	u32 tag;
	bool ok;

	assert_false(virtio_blk_reap(&tag, &ok));
}

/* --- finding and starting it ------------------------------------------------------------------------- */

static void test_virtio_blk_starts(void **state)
{
	(void)state;
	open_disk();
	assert_int_equal(virtio_blk_sectors(), (1ull << 32) + 5000);
	assert_int_equal(dev.bar[COMMON_STATUS], STATUS_ACKNOWLEDGE | STATUS_DRIVER |
	                                                 STATUS_FEATURES_OK | STATUS_DRIVER_OK);
	assert_int_equal(dev.bar[COMMON_QUEUE_ENABLE], 1);
	assert_int_equal(dev.bar[COMMON_DRIVER], 1); /* of the upper half, written last */
	assert_int_equal(pci_read32((struct pci_function){0}, PCI_COMMAND) & 0x406, 0x406);
	create(NULL);
	dev.id = DEVICE_MODERN;
	open_disk();
}

static void assert_refused(const char *because)
{
	const char *why = virtio_blk_open();

	assert_non_null(why);
	assert_non_null(strstr(why, because));
}

static void test_virtio_blk_refuses_what_it_cannot_use(void **state)
{
	(void)state;
	dev.there = false;
	assert_refused("no virtio disk");
	create(NULL);
	dev.id = 0x1000; /* a network card */
	assert_refused("no virtio disk");
	for (unsigned nr = 0; nr < 4; nr++) {
		create(NULL);
		dev.space[CAPS + 32 * nr + CAP_TYPE] = 9;
		if (nr != 1)
			assert_refused("registers");
		create(NULL);
		put32(&dev.space[CAPS + 32 * nr + CAP_LENGTH], 1); /* too short */
		if (nr != 1)
			assert_refused("registers");
		create(NULL);
		put32(&dev.space[CAPS + 32 * nr + CAP_OFFSET], ~0u); /* outside of its BAR */
		if (nr != 1)
			assert_refused("registers");
		create(NULL);
		dev.space[CAPS + 32 * nr + CAP_BAR] = 2;
		if (nr != 1)
			assert_refused("registers");
	}
	create(NULL);
	put32(dev.bar + COMMON_DEVICE, 0);
	assert_refused("version 1");
	create(NULL);
	put32(dev.bar + COMMON_DEVICE, 1 | (u32)FEATURE_READ_ONLY);
	assert_refused("read only");
	assert_int_equal(dev.bar[COMMON_STATUS], 0); /* and stopped again */
	create(NULL);
	put32(dev.bar + COMMON_QUEUE_SIZE, 3);
	assert_refused("too short");
	create(NULL);
	dev.bar[COMMON_QUEUE_NOTIFY] = 64; /* times 4 is behind the structure */
	assert_refused("no register");
}

/* --- transfers --------------------------------------------------------------------------------------- */

static void test_virtio_blk_a_read_and_a_write(void **state)
{
	struct virtio_blk_transfer t;
	static u8 page[PAGE_SIZE];
	const struct desc *d;
	struct request *r;
	u32 head;

	(void)state;
	open_disk();
	t = a_transfer(7, false, page);
	assert_true(virtio_blk_submit(&t));
	head = a32_load(&shared()->avail.head);
	assert_int_equal(head >> 16, 1);
	assert_int_equal(head & 0xffff, NO_INTERRUPT);
	assert_int_equal(shared()->avail.ring[0], 0);
	d = shared()->desc;
	r = (struct request *)(uintptr_t)d[0].address;
	assert_int_equal(r->type, BLK_IN);
	assert_int_equal(r->sector, 1007);
	assert_int_equal(d[0].bytes, 16);
	assert_int_equal(d[0].flags, DESC_NEXT);
	assert_int_equal(d[1].address, (u64)(uintptr_t)page);
	assert_int_equal(d[1].bytes, 4096);
	assert_int_equal(d[1].flags, DESC_NEXT | DESC_WRITE);
	assert_int_equal(d[2].address, (u64)(uintptr_t)&r->answer);
	assert_int_equal(d[2].flags, DESC_WRITE);
	assert_nothing();
	r->answer = BLK_OK;
	answer(0, 4097);
	assert_reaped(7, true);
	assert_nothing();
	t = a_transfer(9, true, page);
	assert_true(virtio_blk_submit(&t));
	assert_int_equal(r->type, BLK_OUT);
	assert_int_equal(d[1].flags, DESC_NEXT);
	r->answer = BLK_OK;
	answer(0, 1);
	assert_reaped(9, true);
}

static void test_virtio_blk_errors_are_the_transfers(void **state)
{
	static const struct {
		u8 answer;
		u32 bytes;
	} bad[] = {{1, 4097}, {2, 4097}, {NO_ANSWER, 4097}, {BLK_OK, 4096}, {BLK_OK, 0}};
	static u8 page[PAGE_SIZE];

	(void)state;
	open_disk();
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct virtio_blk_transfer t = a_transfer(i, false, page);

		assert_true(virtio_blk_submit(&t));
		shared()->request[0].answer = bad[i].answer;
		answer(0, bad[i].bytes);
		assert_reaped(i, false);
	}
}

/* As many at a time as have their three descriptors, answered in another order; the indices go around. */
static void test_virtio_blk_many_in_any_order(void **state)
{
	static u8 page[PAGE_SIZE];
	u32 tag = 0;

	(void)state;
	open_disk();
	assert_int_equal(blk.nr_requests, 128 / 3);
	for (unsigned round = 0; round < 2000; round++) {
		struct virtio_blk_transfer t;
		u32 first = tag;

		for (unsigned i = 0; i < blk.nr_requests; i++) {
			t = a_transfer(tag++, i % 2, page);
			assert_true(virtio_blk_submit(&t));
		}
		t = a_transfer(tag, false, page);
		assert_false(virtio_blk_submit(&t));
		for (u32 i = blk.nr_requests; i-- > 0;) {
			shared()->request[i].answer = BLK_OK;
			answer(3 * i, 4097);
			assert_reaped(first + i, true);
		}
		assert_nothing();
	}
	assert_true(tag > 65536);
}

static void test_virtio_blk_nonsense_is_noticed(void **state)
{
	static const u32 ids[] = {1, 2, 3, 126, 127, 128, 384, ~0u, 0x80000000u};
	static u8 page[PAGE_SIZE];
	struct virtio_blk_transfer t = a_transfer(5, false, page);

	(void)state;
	open_disk();
	answer(0, 1); /* nobody asked */
	assert_reaped(~0u, false);
	assert_true(virtio_blk_submit(&t));
	for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
		answer(ids[i], 4097);
		assert_reaped(~0u, false);
	}
	shared()->request[0].answer = BLK_OK;
	answer(0, 4097);
	assert_reaped(5, true);
	answer(0, 4097); /* twice */
	assert_reaped(~0u, false);
}

#define with_device(test) cmocka_unit_test_setup_teardown(test, create, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        with_device(test_virtio_blk_starts),
	        with_device(test_virtio_blk_refuses_what_it_cannot_use),
	        with_device(test_virtio_blk_a_read_and_a_write),
	        with_device(test_virtio_blk_errors_are_the_transfers),
	        with_device(test_virtio_blk_many_in_any_order),
	        with_device(test_virtio_blk_nonsense_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
