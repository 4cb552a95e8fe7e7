/*
 * A transfer on its way to the device and back (arch/x86/virtio_blk.c), the device as another CPU that keeps to the
 * rules of virtio: it reads the index before what it counts, and writes it last. Under the weak memory of tests/host/weak.h.
 */
#define UNTIMED        /* lib/lock.c, lib/profile.h */
#define ATOMIC_YIELD() explorer_yield()
#define hal_panic      explorer_panic
#define hal_pause      explorer_pause

#include "tests/host/explorer.h"
#include "tests/host/weak.h"

#include <stdio.h>
#include <string.h>

#include "arch/hal.h"
#include "arch/x86/pci.h"

/* Nothing of a device but its queue. */
#define mmio_read8(at)      ((void)(at), (u8)0)
#define mmio_read16(at)     ((void)(at), (u16)0)
#define mmio_read32(at)     ((void)(at), 0u)
#define mmio_write8(at, v)  ((void)(at), (void)(v))
#define mmio_write16(at, v) ((void)(at), (void)(v))
#define mmio_write32(at, v) ((void)(at), (void)(v))
#include "arch/x86/virtio_blk.c"

#define TAG 7u

/* --- for virtio_blk_init(), which nobody calls --- */

bool pci_find(bool (*match)(u16 vendor, u16 device), struct pci_function *out)
{
	(void)match;
	(void)out;
	return false;
}

u32 pci_read32(struct pci_function f, u32 at)
{
	(void)f;
	return at;
}

u8 pci_read8(struct pci_function f, u32 at)
{
	(void)f;
	return (u8)at;
}

void pci_write32(struct pci_function f, u32 at, u32 value)
{
	(void)f;
	(void)at;
	(void)value;
}

u32 pci_capability(struct pci_function f, u8 id, u32 at)
{
	(void)f;
	(void)id;
	return at;
}

bool pci_bar(struct pci_function f, unsigned bar, hpa_t *base, u64 *bytes)
{
	(void)f;
	(void)bar;
	(void)base;
	(void)bytes;
	return false;
}

void *map_mmio(hpa_t base, u64 bytes)
{
	(void)base;
	(void)bytes;
	return NULL;
}

/* --- one transfer --- */

static struct shared queue;
static u64 sent;     /* stands for chain, request and ring as the driver fills them in */
static u64 answered; /* for the used ring's entry, the answer and the data of a read */

static void setup(void)
{
	weak_reset(2);
	memset(&queue, 0, sizeof(queue));
	memset(&blk, 0, sizeof(blk));
	blk.shared = &queue;
	blk.size = 4;
	blk.nr_requests = 1;
}

static void run_driver(void)
{
	const struct virtio_blk_transfer t = {.sectors = 8, .tag = TAG};
	bool ok;
	u32 tag;

	weak_write(&sent);
	if (!virtio_blk_submit(&t))
		explorer_panic("no room for the first transfer");
	for (int i = 0; i < 3; i++) {
		if (!virtio_blk_reap(&tag, &ok))
			continue;
		weak_read(&answered);
		if (tag != TAG || !ok)
			explorer_panic("another answer than the device gave");
		return;
	}
}

static void run_device(void)
{
	u32 head = 0;

	for (int i = 0; i < 3 && !(head >> 16); i++)
		head = a32_load_acquire(&queue.avail.head);
	if (!(head >> 16))
		return;
	weak_read(&sent);
	weak_write(&answered);
	queue.request[queue.avail.ring[0] / 3].answer = BLK_OK;
	queue.used.ring[0].id = queue.avail.ring[0];
	queue.used.ring[0].bytes = 8 * SECTOR_BYTES + 1;
	a32_store_release(&queue.used.head, 1u << 16);
}

static const struct explorer_scene scenes[] = {
        {.name = "transfer, device",
         .setup = setup,
         .actor = {{"driver", run_driver}, {"device", run_device}},
         .nr_actors = 2,
         .max_preemptions = 3},
};

int main(void)
{
	return explorer_main(scenes, ARRAY_SIZE(scenes));
}
