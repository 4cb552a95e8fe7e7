#include "hv/swapper.h"

#include "arch/hal.h"
#include "arch/x86/virtio_blk.h"
#include "hv/thread.h"
#include "hv/world.h"
#include "mm/disk.h"
#include "mm/epoch.h"
#include "mm/store.h"
#include "mm/swap.h"

/* Nobody tells when a transfer is over; and a wake-up that fell between two chairs is made up for. */
#define POLL_NS 100000u
#define IDLE_NS 50000000u

typedef unsigned long long ull;

static struct thread *thread;

static bool submit(void *dev, const struct disk_transfer *t)
{
	const struct virtio_blk_transfer v = {.tag = t->tag,
	                                      .write = t->write,
	                                      .sector = t->sector,
	                                      .sectors = t->sectors,
	                                      .data = t->data};

	(void)dev;
	return virtio_blk_submit(&v);
}

static bool reap(void *dev, u32 *tag, bool *ok)
{
	(void)dev;
	return virtio_blk_reap(tag, ok);
}

static void reset(void *dev)
{
	(void)dev;
	if (!virtio_blk_reset())
		hal_log(HAL_ERROR, "swap: the virtio disk does not take a reset");
}

static const struct disk_ops ops = {.submit = submit, .reap = reap, .reset = reset};

static void wake(void)
{
	if (thread)
		thread_wake(thread);
}

static u64 usable_sectors(void)
{
	struct swap_stats st;

	swap_snapshot(&st);
	return st.sectors;
}

void swapper_open(unsigned pool_percent)
{
	struct disk disk = {.name = "the virtio disk", .ops = &ops};
	const char *why = virtio_blk_open();

	static_assert(DISK_SECTOR == 512, "what virtio counts in");
	if (!why) {
		disk.sectors = virtio_blk_sectors();
		if (!disk.sectors)
			why = "the virtio disk is empty";
		else if (!swap_attach(&disk, pool_percent, wake))
			why = "the machine has no memory left for its tables";
	}
	if (why)
		hal_log(HAL_WARN,
		        "swap: off: %s; pages stay in memory (a disk: tools/run --swap SIZE, or "
		        "swap = off)",
		        why);
	else
		hal_log(HAL_INFO, "swap: %s, %llu MiB of it, below a pool of %u %% of memory",
		        disk.name, (ull)usable_sectors() * DISK_SECTOR >> 20, pool_percent);
}

static void swapper(void *arg)
{
	(void)arg;
	for (;;) {
		enum swap_turn turn;

		world_enter();
		turn = swap_turn();
		world_leave();
		epoch_poll();
		if (turn == SWAP_AGAIN)
			thread_yield();
		else
			thread_sleep_until(hal_time_ns() +
			                   (turn == SWAP_WAITS ? POLL_NS : IDLE_NS));
	}
}

bool swapper_create(void)
{
	if (swap_state() == SWAP_OFF)
		return true;
	thread = thread_create("swapper", THREAD_ANY_CPU, NULL, true, swapper, NULL);
	if (thread)
		thread_wake(thread);
	return thread != NULL;
}

void swapper_report(void)
{
	struct swap_stats st;
	struct store_stats store;

	if (swap_state() == SWAP_OFF)
		return;
	swap_snapshot(&st);
	store_snapshot(&store);
	hal_log(HAL_INFO,
	        "swap: %s; %llu pages moved in %llu writes, %llu reads (p50 %llu us, p99 %llu us, "
	        "worst %llu us), %llu errors; now %llu pages in %llu of %llu sectors",
	        swap_state_names[st.state], (ull)st.written_objects_total, (ull)st.writes_total,
	        (ull)st.reads_total, (ull)st.read_p50_ns / 1000, (ull)st.read_p99_ns / 1000,
	        (ull)st.read_max_ns / 1000, (ull)st.errors_total, (ull)store.on_disk,
	        (ull)st.sectors_used, (ull)st.sectors);
}
