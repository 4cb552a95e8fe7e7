#include "tests/host/disk.h"

#include <stdlib.h>
#include <string.h>

#include "lib/atomic.h"
#include "mm/swap.h"
#include "tests/host/hal.h"

struct host_disk host_disk;

static struct disk_transfer transfer[SWAP_TRANSFERS];
static a64 wakes;

static bool submit(void *dev, const struct disk_transfer *t)
{
	struct host_disk *d = dev;

	ASSERT(t->sectors && t->sector < d->sectors && t->sectors <= d->sectors - t->sector);
	if (d->under_way == d->room)
		return false;
	for (unsigned i = 0; i < d->under_way; i++)
		ASSERT(transfer[i].tag != t->tag);
	transfer[d->under_way++] = *t;
	return true;
}

/* Now, and not when it was begun: the memory has to be the disk's until then. */
static bool carry_out(struct host_disk *d, const struct disk_transfer *t)
{
	unsigned *bad = t->write ? &d->bad_writes : &d->bad_reads;
	size_t bytes = (size_t)t->sectors * DISK_SECTOR;
	u8 *at = d->data + t->sector * DISK_SECTOR;
	bool ok = !*bad;

	if (!ok) {
		--*bad;
		bytes /= 2;
	}
	if (t->write)
		memcpy(at, t->data, bytes);
	else
		memcpy(t->data, at, bytes);
	d->writes += t->write;
	d->reads += !t->write;
	return ok;
}

static bool reap(void *dev, u32 *tag, bool *ok)
{
	struct host_disk *d = dev;
	unsigned i;

	if (d->nonsense) {
		d->nonsense = false;
		*tag = ~0u;
		*ok = true;
		return true;
	}
	if (!d->under_way || d->silent || (d->late && host_random(&d->seed) % (d->late + 1)))
		return false;
	i = (unsigned)(host_random(&d->seed) % d->under_way);
	*tag = transfer[i].tag;
	*ok = carry_out(d, &transfer[i]);
	transfer[i] = transfer[--d->under_way];
	return true;
}

static void reset(void *dev)
{
	struct host_disk *d = dev;

	d->under_way = 0;
	d->resets++;
}

static const struct disk_ops ops = {.submit = submit, .reap = reap, .reset = reset};

struct disk host_disk_create(u64 sectors)
{
	host_disk = (struct host_disk){.data = calloc(sectors, DISK_SECTOR),
	                               .sectors = sectors,
	                               .room = SWAP_TRANSFERS,
	                               .seed = 0xd15c};
	ASSERT(host_disk.data);
	return (struct disk){
	        .name = "the test's disk", .ops = &ops, .dev = &host_disk, .sectors = sectors};
}

void host_disk_destroy(void)
{
	free(host_disk.data);
	host_disk.data = NULL;
}

static void wake(void)
{
	a64_count(&wakes, 1);
}

void host_swap_create(u64 sectors, unsigned pool_percent)
{
	struct disk disk = host_disk_create(sectors);
	bool attached = swap_attach(&disk, pool_percent, wake);

	ASSERT(attached);
	a64_store(&wakes, 0);
}

void host_swap_destroy(void)
{
	swap_detach();
	host_disk_destroy();
}

u64 host_swap_wakes(void)
{
	return a64_load(&wakes);
}

void host_swap_settle(void)
{
	while (swap_turn() != SWAP_IDLE)
		;
}
