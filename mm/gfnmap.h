/*
 * The gfn map: the authority on where every guest page is. One 64-bit word per guest frame; an SPTE
 * is only a cache of it.
 *
 *   none --first touch--> resident --coldest generation--> evicting --> zero | filled | pooled | disk
 *                           ^  ^                              |                     |
 *                           |  +---- rescue: touched ---------+                     |
 *                           +---------------- refault ------------------------------+
 *
 * Word:   2:0 tag   3 clean   4 busy   5 workingset   7:6 tier   19:8 seq (low 12 bits of min_seq at
 *         eviction)   63:20 payload: frame number, pool handle, 32-bit fill pattern or disk slot
 *
 * Bits 3 and 19:5 are the refault shadow (clean: the type it was evicted from) and mean something only
 * in an away word (zero, filled, pooled, disk).
 *
 * Transitions are compare-exchanges of the whole word:
 *   - any word but evicting may be made BUSY by one CPU, which then alone may change it (bring-in of
 *     an away page, first touch, drop). Others see BUSY and retry; the holder neither sleeps nor
 *     waits for another CPU.
 *   - resident -> evicting by the evictor that isolated the frame, after it zapped the SPTEs.
 *   - evicting -> resident by any fault (rescue), or -> away by the evictor, whoever comes first (I5).
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"
#include "mm/epoch.h"

enum gfn_tag { GFN_NONE, GFN_RESIDENT, GFN_EVICTING, GFN_ZERO, GFN_FILLED, GFN_POOLED, GFN_DISK };

#define GFN_TAG           BITS(2, 0)
#define GFN_CLEAN         BIT(3)
#define GFN_BUSY          BIT(4)
#define GFN_WORKINGSET    BIT(5)
#define GFN_TIER_SHIFT    6
#define GFN_TIER          BITS(7, 6)
#define GFN_SEQ_SHIFT     8
#define GFN_SEQ           BITS(19, 8)
#define GFN_SEQ_MASK      (GFN_SEQ >> GFN_SEQ_SHIFT)
#define GFN_PAYLOAD_SHIFT 20
#define GFN_PAYLOAD_BITS  44
#define GFN_SHADOW        (GFN_CLEAN | GFN_WORKINGSET | GFN_TIER | GFN_SEQ)

static inline enum gfn_tag gfn_word_tag(u64 word)
{
	return (enum gfn_tag)(word & GFN_TAG);
}
/* What the shadow of an away word says of the generation: the low bits, GFN_SEQ_MASK. */
static inline u64 gfn_word_seq(u64 word)
{
	return (word & GFN_SEQ) >> GFN_SEQ_SHIFT;
}

static inline u64 gfn_word_payload(u64 word)
{
	return word >> GFN_PAYLOAD_SHIFT;
}
static inline u64 gfn_word(enum gfn_tag tag, u64 payload)
{
	return (payload << GFN_PAYLOAD_SHIFT) | tag;
}
static inline bool gfn_word_away(u64 word)
{
	return gfn_word_tag(word) >= GFN_ZERO;
}
/* Frame number of a resident or evicting word. */
static inline u32 gfn_word_frame(u64 word)
{
	return (u32)gfn_word_payload(word);
}

struct space;

/* A contiguous piece of guest-physical memory with its words; never moves while it is published. */
struct slot {
	gfn_t base;
	u64 npages;
	a64 *word; /* npages of them, from hal_pages */
	/* Behind them, bits for each page (mm/dirty_log.h): to be reported, and to be collected. */
	a64 *dirty, *noted;
	bool closed; /* nothing is brought in any more: gfnmap_close() */
};

#define SLOTS_MAX 8u
/* Published as a whole, replaced as a whole, freed through the epoch. */
struct slots {
	struct epoch_node node;
	u32 nr;
	struct slot slot[SLOTS_MAX]; /* ascending, disjoint */
};

/* All slots, never NULL. Inside an epoch section, or with LOCK_SLOTS held. */
const struct slots *gfnmap_slots(struct space *s);
/* The slot that has the gfn, or NULL. Inside an epoch section, or with LOCK_SLOTS held. */
const struct slot *gfnmap_slot(struct space *s, gfn_t g);
/* The word of a gfn, or NULL when no slot has it. Same context; the word outlives the slot only so. */
a64 *gfnmap_word(struct space *s, gfn_t g);

/*
 * A resident page of the space, found from the one that `random` falls on onwards; false if there is none. It
 * may be gone by the time the caller looks. Enters the epoch by itself.
 */
bool gfnmap_pick_resident(struct space *s, u64 random, gfn_t *out) must_check;

/*
 * Publishes a slots array with the piece added / removed. add: false when it overlaps, there are
 * SLOTS_MAX already, or memory is short (nothing changed). remove: pages must be gone already
 * (space_drop_range). May wait for a grace period; no lock held.
 */
bool gfnmap_add(struct space *s, gfn_t base, u64 npages) must_check;
void gfnmap_remove(struct space *s, gfn_t base);
/*
 * From its return on faults find no memory in the slot that begins at `base`: with its vCPUs running, a slot is
 * closed, then dropped (space_drop_range), then removed. False: there is no such slot, somebody else closed it,
 * or memory is short. Waits for a grace period; no lock held.
 */
bool gfnmap_close(struct space *s, gfn_t base) must_check;
/* Frees all that space_destroy() finds left. Nobody reads it any more. */
void gfnmap_destroy(struct space *s);

/* Takes / drops BUSY. take: false if somebody has it or the word changed from *word (updated). */
bool gfnmap_busy_try(a64 *where, u64 *word) must_check;
/* Publishes the new word (without BUSY). Only by the one that has BUSY. */
void gfnmap_busy_end(a64 *where, u64 word);
/*
 * Takes BUSY of a page's word, which it waits for, and gives it back; false if the page is not resident. Until then
 * it stays so, in the same frame. Not in an epoch section, no word BUSY: who has one waits for nobody who does.
 */
bool gfnmap_busy_resident(struct space *s, gfn_t g, u64 *word) must_check;
void gfnmap_busy_give(struct space *s, gfn_t g, u64 word);
