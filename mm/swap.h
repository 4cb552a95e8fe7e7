/*
 * The tier below the compressed pool: what has lain longest in the pool moves to a disk, as it is, and is read back
 * when a fault wants it. A handle of the pool stays what it is; its entry says sectors instead of a place in frames.
 *
 * Two things are under way with the disk at a time, and nobody waits for either with a lock held:
 *
 *   the batch     some of the oldest objects, copied, on their way to the disk (swap_turn()). Until the write has ended
 *                 well the pool's frames have them: an object that is dropped meanwhile is simply not moved, and a
 *                 write that fails loses nothing
 *   a transfer    for each object that a fault has asked for (swap_read()). The first question begins it, later ones
 *                 ask whether it is over; an object that is dropped meanwhile keeps its sectors until it is
 *
 * A disk that fails a write, is never written again. One that does not answer for SWAP_PATIENCE_NS is given up; who
 * wants what is there is told so.
 */
#pragma once

#include "lib/hist.h"
#include "lib/types.h"
#include "lib/util.h"

struct disk;

#define SWAP_READS       64u               /* at a time */
#define SWAP_TRANSFERS   (SWAP_READS + 1u) /* and the batch */
#define SWAP_PATIENCE_NS 10000000000ull
#define SWAP_POOL        50u /* see swap_attach() */

enum swap_state {
	SWAP_OFF, /* there is no disk */
	SWAP_ON,
	SWAP_STUCK, /* a write failed: what is there can be read, nothing more comes */
	SWAP_GONE,  /* given up: nothing can be read */
};

/*
 * From now on the pool keeps at most `pool_percent` of all frames, as far as the disk has room, and what is in it when
 * frames for it run out goes there, too. `wake`: wakes the thread that calls swap_turn(); any context under LOCK_SCHED.
 * Once, behind frame_init(), while the pool is empty. False, and nothing changed: no memory.
 */
bool swap_attach(const struct disk *disk, unsigned pool_percent, void (*wake)(void)) must_check;
enum swap_state swap_state(void);

enum swap_turn {
	SWAP_IDLE,  /* nothing to do: come back when woken, or after a while */
	SWAP_WAITS, /* a batch is on its way: come back soon */
	SWAP_AGAIN, /* come back at once, unless others have something to do */
};
/* What there is to do now for who moves objects. One thread at a time; no lock held, not in an epoch section. */
enum swap_turn swap_turn(void);

/* Has somebody to be patient, for there will be room in the pool? Wakes who makes it. No lock held. */
bool swap_makes_room(void);

enum swap_read {
	SWAP_READ_OK,
	SWAP_READ_WAIT,   /* on its way; ask again */
	SWAP_READ_FAILED, /* it cannot be had */
};
/*
 * For the pool. LOCK_STORE is held. read: the bytes of an object at `sector` to `to`, which ends the transfer; NULL:
 * only to know whether they are there. drop: its sectors are free now, or as soon as a transfer of them is over.
 */
enum swap_read swap_read(u64 handle, u64 sector, u32 bytes, void *to) must_check;
void swap_drop(u64 handle, u64 sector, u32 bytes);
/* Behind each put; `full`: it found no frame. No lock held. */
void swap_after_put(bool full);
/* Whole sectors of an object. */
u32 swap_sectors(u32 bytes);

struct swap_stats {
	enum swap_state state;
	u64 sectors, sectors_used;
	u64 reads_total, writes_total; /* transfers that have ended well */
	u64 written_objects_total, written_bytes_total;
	u64 errors_total;
	u64 read_p50_ns, read_p99_ns,
	        read_max_ns; /* from the first question until the end is seen */
};
void swap_snapshot(struct swap_stats *out);
/*
 * Whether the sectors of an object are taken; LOCK_STORE is held. And whether no more are than those of all objects
 * and of what is under way: the number of faults, a line each.
 */
bool swap_has(u64 sector, u32 bytes);
u64 swap_audit(u64 sectors_of_objects);

extern const char *const swap_state_names[];

#ifdef VARVE_HOST
/* Gives everything back, whatever is on the disk. */
void swap_detach(void);
#endif
