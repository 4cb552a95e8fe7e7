/*
 * A guest whose second-level MMU is one array of entries, for tests of mm alone. What matters is there: an
 * Accessed and, if wanted, a Dirty bit that the "hardware" sets; a TLB for each vCPU that keeps what it
 * has until it is told to flush, and writes through it without asking; the shootdown handshake; and the
 * invalidate protocol in its fault path.
 *
 * One thread (CPU) uses a vCPU at a time. A test of one thread puts its other actors into `hook`, which
 * runs at the seams where another CPU could come in between.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"
#include "mm/fault.h"
#include "mm/notifier.h"
#include "mm/space.h"

#define FAKE_MMUS  2u
#define FAKE_VCPUS 4u

enum fake_seam {
	FAKE_AGE,       /* inside ops->age, in the caller's epoch section */
	FAKE_ZAP,       /* about to zap a page; inside the invalidation */
	FAKE_ZAPPED,    /* zapped, entry gone, TLBs not flushed */
	FAKE_SHOOTDOWN, /* flush asked for, no vCPU has honoured it */
	FAKE_FAULT,     /* a fault has its frame, and has not installed it */
	FAKE_FLUSHED,   /* every vCPU has; nothing stored yet */
	FAKE_SEAMS,
};

struct fake_guest;

struct fake_mmu {
	struct notifier notifier;
	struct notifier_ops ops;
	struct fake_guest *guest;
	a64 *entry; /* per page: FAKE_P | FAKE_W | FAKE_A | FAKE_D | frame << 12 */
	a64 *upper; /* per table, from the one that has the first page: FAKE_A, set by walks */
	a64 mapped;
};
#define FAKE_P BIT(0)
#define FAKE_W BIT(1)
#define FAKE_A BIT(5)
#define FAKE_D BIT(6)

struct fake_vcpu {
	u64 *tlb; /* per page, as the entry was; 0 = not there */
	a32 in_guest;
	a64 flushed; /* flush generation its TLB has honoured */
	bool stays;  /* between accesses it stays in the guest, until it is kicked */
	u64 kicks;
};

struct fake_guest {
	struct space *space;
	u64 npages;
	bool has_dirty; /* the entries have Dirty bits */
	unsigned nr_mmus;
	struct fake_mmu mmu[FAKE_MMUS]; /* vCPU i uses mmu[i % nr_mmus] */
	unsigned nr_vcpus;
	struct fake_vcpu vcpu[FAKE_VCPUS];
	a32 ran, ran_lately;
	void (*hook)(struct fake_guest *g, enum fake_seam seam, gfn_t at);
};

struct fake_config {
	const char *name;
	u64 npages; /* one slot, from gfn `base` */
	u64 base;
	unsigned nr_vcpus, nr_mmus; /* 0: one */
	bool no_dirty;
	bool second_is_slow; /* the second MMU has no fast aging */
	bool upper_bits;     /* the MMUs answer range_young; otherwise that is unknown */
};

/* Frames for all guests, once per test; and back. */
void fake_frames_create(u64 nframes);
void fake_frames_destroy(void);

void fake_guest_create(struct fake_guest *g, const struct fake_config *c);
/* Drains and destroys it, and checks that every frame came back. */
void fake_guest_destroy(struct fake_guest *g);

/*
 * The vCPU accesses a page: fn(its contents) runs as if in the guest. Takes what faults are needed.
 * FAULT_FIXED, or what stopped it; FAULT_RETRY or FAULT_WAIT after `patience` of either.
 */
enum fault_result fake_access(struct fake_guest *g, unsigned vcpu, u64 page, bool write,
                              unsigned patience, void (*fn)(u64 *words, void *arg), void *arg);
/*
 * The same for a vCPU that is still in the guest since before the flush was asked for: only through its
 * TLB, false when that does not hold the page with this right.
 */
bool fake_access_stale(struct fake_guest *g, unsigned vcpu, u64 page, bool write,
                       void (*fn)(u64 *words, void *arg), void *arg);

/* One word, patiently; ends the program when the access fails. */
u64 fake_read(struct fake_guest *g, unsigned vcpu, u64 page, unsigned word);
void fake_write(struct fake_guest *g, unsigned vcpu, u64 page, unsigned word, u64 value);

/* The page's gfn-map word, and its frame's state word (0 if it has no frame). */
u64 fake_word(struct fake_guest *g, u64 page);
u64 fake_state(struct fake_guest *g, u64 page);
/* Takes the Accessed bits away and ages until nothing of the guest is young any more. */
void fake_make_cold(struct fake_guest *g);
