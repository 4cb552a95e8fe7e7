/*
 * A transfer is a chain of three descriptors: what is wanted, the data, and a byte that the device answers in. Chain and
 * descriptors are fixed: request i has those from 3i on.
 *
 * What the device writes (the used ring, the answers) is checked before it is used for anything.
 */
#include "arch/x86/virtio_blk.h"

#include "arch/hal.h"
#include "arch/x86/insn.h"
#include "arch/x86/paging.h"
#include "arch/x86/pci.h"
#include "lib/atomic.h"

#define VENDOR              0x1af4
#define DEVICE_MODERN       0x1042
#define DEVICE_TRANSITIONAL 0x1001

/* Capabilities of the vendor's kind, section 4.1.4. */
#define CAP_VENDOR      0x09
#define CAP_TYPE        3
#define CAP_BAR         4
#define CAP_OFFSET      8
#define CAP_LENGTH      12
#define CAP_MULTIPLIER  16
#define TYPE_COMMON     1
#define TYPE_NOTIFY     2
#define TYPE_DEVICE     4
#define COMMON_BYTES    0x38u
#define DEVICE_CAPACITY 0u

/* The common structure, section 4.1.4.3. */
#define COMMON_DEVICE_SELECT 0x00
#define COMMON_DEVICE        0x04
#define COMMON_DRIVER_SELECT 0x08
#define COMMON_DRIVER        0x0c
#define COMMON_STATUS        0x14
#define COMMON_QUEUE         0x16
#define COMMON_QUEUE_SIZE    0x18
#define COMMON_QUEUE_ENABLE  0x1c
#define COMMON_QUEUE_NOTIFY  0x1e
#define COMMON_QUEUE_DESC    0x20
#define COMMON_QUEUE_DRIVER  0x28
#define COMMON_QUEUE_DEVICE  0x30

#define STATUS_ACKNOWLEDGE 1
#define STATUS_DRIVER      2
#define STATUS_DRIVER_OK   4
#define STATUS_FEATURES_OK 8
#define FEATURE_READ_ONLY  BIT(5)
#define FEATURE_VERSION_1  BIT(32)
#define RESET_NS           100000000ull

#define QUEUE_MAX    256u
#define REQUESTS_MAX (QUEUE_MAX / 3)
#define DESC_NEXT    1
#define DESC_WRITE   2 /* by the device */
#define NO_INTERRUPT 1u
#define BLK_IN       0u
#define BLK_OUT      1u
#define BLK_OK       0u
#define NO_ANSWER    0xffu
#define SECTOR_BYTES 512u

struct desc {
	u64 address;
	u32 bytes;
	u16 flags;
	u16 next;
};

/* flags 15:0, index 31:16: one word, so that it is stored as the last. ord VQ1: the device reads it before the rest. */
struct avail {
	a32 head;
	u16 ring[QUEUE_MAX];
};

/* ord VQ2: the device writes the index as the last. */
struct used {
	a32 head;
	struct {
		u32 id, bytes;
	} ring[QUEUE_MAX];
};

struct request {
	u32 type, reserved;
	u64 sector;
	u8 answer;
};

/* What the device reads and writes. */
struct shared {
	struct desc desc[QUEUE_MAX];
	struct avail avail;
	struct used used aligned_to(4);
	struct request request[REQUESTS_MAX] aligned_to(16);
};
#define SHARED_PAGES ((sizeof(struct shared) + PAGE_SIZE - 1) / PAGE_SIZE)
static_assert(sizeof(struct desc) == 16 && sizeof(struct request) == 24, "as the device has them");

static struct {
	u8 *common, *config, *notify;
	u32 notify_bytes, notify_multiplier;
	struct shared *shared;
	u16 size;        /* of the queue */
	u16 nr_requests; /* that it has room for */
	u16 avail, used; /* indices: what we gave, what we took */
	u64 sectors;
	u32 tag[REQUESTS_MAX];
	u32 want[REQUESTS_MAX]; /* bytes that the device has to write */
	bool busy[REQUESTS_MAX];
} blk;

/* --- the device -------------------------------------------------------------------------------------- */

static bool is_disk(u16 vendor, u16 device)
{
	return vendor == VENDOR && (device == DEVICE_MODERN || device == DEVICE_TRANSITIONAL);
}

/* The structure of a type, reachable; NULL: the device has none of at least so many bytes. */
static u8 *find_structure(struct pci_function f, u8 type, u32 min_bytes)
{
	for (u32 at = pci_capability(f, CAP_VENDOR, 0); at;
	     at = pci_capability(f, CAP_VENDOR, at)) {
		u32 offset = pci_read32(f, at + CAP_OFFSET), bytes = pci_read32(f, at + CAP_LENGTH);
		hpa_t base;
		u64 room;

		if (pci_read8(f, at + CAP_TYPE) != type || bytes < min_bytes ||
		    !pci_bar(f, pci_read8(f, at + CAP_BAR), &base, &room) ||
		    (u64)offset + bytes > room)
			continue;
		if (type == TYPE_NOTIFY) {
			blk.notify_multiplier = pci_read32(f, at + CAP_MULTIPLIER);
			blk.notify_bytes = bytes;
		}
		return map_mmio(hpa(base.v + offset), bytes);
	}
	return NULL;
}

bool virtio_blk_reset(void)
{
	u64 until = hal_time_ns() + RESET_NS;

	mmio_write8(blk.common + COMMON_STATUS, 0);
	while (mmio_read8(blk.common + COMMON_STATUS)) {
		if (hal_time_ns() > until)
			return false;
		hal_pause();
	}
	return true;
}

static void add_status(u8 bits)
{
	mmio_write8(blk.common + COMMON_STATUS, mmio_read8(blk.common + COMMON_STATUS) | bits);
}

static u64 offered(void)
{
	u64 low, high;

	mmio_write32(blk.common + COMMON_DEVICE_SELECT, 0);
	low = mmio_read32(blk.common + COMMON_DEVICE);
	mmio_write32(blk.common + COMMON_DEVICE_SELECT, 1);
	high = mmio_read32(blk.common + COMMON_DEVICE);
	return high << 32 | low;
}

static void accept(u64 features)
{
	mmio_write32(blk.common + COMMON_DRIVER_SELECT, 0);
	mmio_write32(blk.common + COMMON_DRIVER, (u32)features);
	mmio_write32(blk.common + COMMON_DRIVER_SELECT, 1);
	mmio_write32(blk.common + COMMON_DRIVER, (u32)(features >> 32));
}

static void set_address(unsigned field, const void *to)
{
	u64 at = (u64)(uintptr_t)to; /* what we have lies at its own address */

	mmio_write32(blk.common + field, (u32)at);
	mmio_write32(blk.common + field + 4, (u32)(at >> 32));
}

static void chain(u16 i)
{
	struct desc *d = &blk.shared->desc[3 * i];
	struct request *r = &blk.shared->request[i];

	d[0] = (struct desc){(u64)(uintptr_t)r, offsetof(struct request, answer), DESC_NEXT,
	                     (u16)(3 * i + 1)};
	d[1] = (struct desc){.flags = DESC_NEXT, .next = (u16)(3 * i + 2)};
	d[2] = (struct desc){(u64)(uintptr_t)&r->answer, 1, DESC_WRITE, 0};
}

static const char *start_queue(void)
{
	u64 notify;
	u16 size;

	mmio_write16(blk.common + COMMON_QUEUE, 0);
	size = mmio_read16(blk.common + COMMON_QUEUE_SIZE);
	if (size < 4)
		return "its queue is too short";
	notify = (u64)mmio_read16(blk.common + COMMON_QUEUE_NOTIFY) * blk.notify_multiplier;
	if (notify + 2 > blk.notify_bytes)
		return "it wants to be told of transfers where it has no register";
	blk.size = 4;
	while (2u * blk.size <= min_of((u32)size, QUEUE_MAX))
		blk.size = (u16)(2 * blk.size);
	blk.nr_requests = blk.size / 3;
	blk.shared = hal_pages_alloc(SHARED_PAGES);
	if (!blk.shared)
		return "the machine has no memory left for its queue";
	a32_store(&blk.shared->avail.head, NO_INTERRUPT);
	for (u16 i = 0; i < blk.nr_requests; i++)
		chain(i);
	mmio_write16(blk.common + COMMON_QUEUE_SIZE, blk.size);
	set_address(COMMON_QUEUE_DESC, blk.shared->desc);
	set_address(COMMON_QUEUE_DRIVER, &blk.shared->avail);
	set_address(COMMON_QUEUE_DEVICE, &blk.shared->used);
	blk.notify += notify;
	mmio_write16(blk.common + COMMON_QUEUE_ENABLE, 1);
	return NULL;
}

/* Section 3.1.1. */
static const char *start(void)
{
	const char *why;
	u64 features;

	if (!virtio_blk_reset())
		return "it does not take a reset";
	add_status(STATUS_ACKNOWLEDGE);
	add_status(STATUS_DRIVER);
	features = offered();
	if (!(features & FEATURE_VERSION_1))
		return "it is of before version 1 of the standard";
	if (features & FEATURE_READ_ONLY)
		return "it is read only";
	accept(FEATURE_VERSION_1);
	add_status(STATUS_FEATURES_OK);
	if (!(mmio_read8(blk.common + COMMON_STATUS) & STATUS_FEATURES_OK))
		return "it does not do without features that we do not know";
	why = start_queue();
	if (why)
		return why;
	blk.sectors = mmio_read32(blk.config + DEVICE_CAPACITY) |
	              (u64)mmio_read32(blk.config + DEVICE_CAPACITY + 4) << 32;
	add_status(STATUS_DRIVER_OK);
	return NULL;
}

const char *virtio_blk_open(void)
{
	struct pci_function f;
	const char *why;

	if (!pci_find(is_disk, &f))
		return "the machine has no virtio disk";
	blk.common = find_structure(f, TYPE_COMMON, COMMON_BYTES);
	blk.notify = find_structure(f, TYPE_NOTIFY, 2);
	blk.config = find_structure(f, TYPE_DEVICE, 8);
	if (!blk.common || !blk.notify || !blk.config)
		return "the virtio disk has not the registers of version 1";
	pci_write32(f, PCI_COMMAND,
	            (pci_read32(f, PCI_COMMAND) & 0xffff) |
	                    (u32)(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_NO_INTX));
	why = start();
	if (why)
		(void)virtio_blk_reset();
	return why;
}

u64 virtio_blk_sectors(void)
{
	return blk.sectors;
}

/* --- transfers --------------------------------------------------------------------------------------- */

static u16 free_request(void)
{
	u16 i = 0;

	while (i < blk.nr_requests && blk.busy[i])
		i++;
	return i;
}

bool virtio_blk_submit(const struct virtio_blk_transfer *t)
{
	u32 bytes = t->sectors * SECTOR_BYTES;
	u16 i = free_request();
	struct request *r;
	struct desc *d;

	if (i == blk.nr_requests)
		return false;
	r = &blk.shared->request[i];
	*r = (struct request){
	        .type = t->write ? BLK_OUT : BLK_IN, .sector = t->sector, .answer = NO_ANSWER};
	d = &blk.shared->desc[3 * i + 1];
	d->address = (u64)(uintptr_t)t->data;
	d->bytes = bytes;
	d->flags = t->write ? DESC_NEXT : DESC_NEXT | DESC_WRITE;
	blk.busy[i] = true;
	blk.tag[i] = t->tag;
	blk.want[i] = t->write ? 1 : bytes + 1;
	blk.shared->avail.ring[blk.avail % blk.size] = (u16)(3 * i);
	blk.avail++;
	/* ord VQ1: chain and ring before the index; its partner is the device */
	a32_store_release(&blk.shared->avail.head, NO_INTERRUPT | (u32)blk.avail << 16);
	mmio_write16(blk.notify, 0);
	return true;
}

bool virtio_blk_reap(u32 *tag, bool *ok)
{
	/* ord VQ2: the index before what it says is there; its partner is the device */
	u32 head = a32_load_acquire(&blk.shared->used.head);
	u32 id, bytes, i;

	*tag = ~0u;
	*ok = false;
	if ((u16)(head >> 16) == blk.used)
		return false;
	id = blk.shared->used.ring[blk.used % blk.size].id;
	bytes = blk.shared->used.ring[blk.used % blk.size].bytes;
	blk.used++;
	i = id / 3;
	if (id % 3 || i >= blk.nr_requests || !blk.busy[i])
		return true;
	blk.busy[i] = false;
	*tag = blk.tag[i];
	*ok = blk.shared->request[i].answer == BLK_OK && bytes >= blk.want[i];
	return true;
}
