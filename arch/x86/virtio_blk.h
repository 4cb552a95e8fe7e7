/*
 * The first virtio disk on the PCI bus (Virtual I/O Device 1.1, sections 2.6, 4.1 and 5.2): one queue, no interrupts,
 * for whoever asks often enough. The user serialises everything.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

/* Finds and starts it. NULL, or a sentence that says why there is none to be had. Boot CPU, before others run. */
const char *virtio_blk_open(void);
/* Of 512 bytes. */
u64 virtio_blk_sectors(void);

struct virtio_blk_transfer {
	u32 tag; /* comes back with the answer */
	bool write;
	u64 sector;
	u32 sectors;
	void *data; /* contiguous */
};
/* Begins a transfer. False: as many are under way as there is room for. */
bool virtio_blk_submit(const struct virtio_blk_transfer *t) must_check;
/* One that has ended, and whether it did all of it. A tag of ~0: the device answered nonsense. */
bool virtio_blk_reap(u32 *tag, bool *ok) must_check;
/* Stops the device. False: it does not say that it stopped, and may still read or write what it was given. */
bool virtio_blk_reset(void);
