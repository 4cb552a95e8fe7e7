/*
 * What the swap tier (mm/swap.h) wants of a disk: transfers of whole sectors that are begun, and asked for later.
 * Nothing here waits, and nothing interrupts. mm/swap.c serialises all calls (LOCK_SWAP).
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

#define DISK_SECTOR 512u

struct disk_transfer {
	u32 tag; /* the caller's, below SWAP_TRANSFERS; no other transfer has it until this one was reaped */
	bool write;
	u64 sector;
	u32 sectors;
	void *data; /* contiguous in the machine's memory; the disk's own until reaped */
};

struct disk_ops {
	/* False: no room for another transfer now; begin it again later. */
	bool (*submit)(void *dev, const struct disk_transfer *t);
	/*
	 * A transfer that has ended: its tag, and whether all of it was done; in any order. False: there is none.
	 * A tag that was not given out means that the disk is broken.
	 */
	bool (*reap)(void *dev, u32 *tag, bool *ok);
	/* Ends what is under way, for good: the disk is not used any more. */
	void (*reset)(void *dev);
};

struct disk {
	const char *name; /* for people */
	const struct disk_ops *ops;
	void *dev;
	u64 sectors;
};
