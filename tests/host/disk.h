/*
 * A disk for mm/swap.h: memory that answers late, in any order, with errors, with nonsense, or not at all. Serialised by
 * its user, as the real one; what a test changes here it changes while nothing is at work.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"
#include "mm/disk.h"

struct host_disk {
	u8 *data;
	u64 sectors;
	unsigned room;      /* transfers that it takes at a time */
	unsigned late;      /* answers are there after so many questions in vain, on average */
	bool silent;        /* there are none */
	unsigned bad_reads; /* so many of the next reads (writes) fail: half done, with an error */
	unsigned bad_writes;
	bool nonsense; /* the next answer is to something that nobody asked */
	unsigned under_way;
	u64 reads, writes; /* that it has answered */
	unsigned resets;
	u64 seed;
};
extern struct host_disk host_disk;

/* An empty disk that answers at once, as what mm attaches. */
struct disk host_disk_create(u64 sectors);
void host_disk_destroy(void);

/* Attaches one, with a pool of so many percent; ends the program if that cannot be. And takes it away. */
void host_swap_create(u64 sectors, unsigned pool_percent);
void host_swap_destroy(void);
/* Wake-ups of the thread that moves pages. */
u64 host_swap_wakes(void);
/* Lets it work until it has nothing to do. */
void host_swap_settle(void);
