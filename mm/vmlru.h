/*
 * The VM-LRU: from whom to take when everybody needs memory. Spaces stand in two generations, old and
 * young, of eight bins each; who has had its turn goes to a random bin of the young one, and when nobody is
 * left in the old one, the young one is the old one. So all are met in turn, in an order that is another
 * one each time, and to find the next costs no search through those that had theirs.
 *
 * In a generation, who stands in the head segment comes first, who stands in the tail segment last.
 *
 * How much a turn is worth, an account says (deficit round robin): a turn puts a budget on it, what was
 * taken is debited. Taking goes by chunks that are larger than many a budget; the account then is below
 * zero and the space is passed over until its turns have made up for it. What a space has given is thus
 * never further from its share than one chunk, whoever asked for how much.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

#define VMLRU_GENS 2u
#define VMLRU_BINS 8u

struct space;

enum vmlru_op {
	VMLRU_HEAD,  /* first of the old generation: has what nobody uses */
	VMLRU_TAIL,  /* last of its generation: gave nothing, is tried once more */
	VMLRU_YOUNG, /* its turn is over */
	VMLRU_OLD,   /* to the old generation: what it is promised has changed, judge it anew */
};
enum vmlru_segment { VMLRU_SEG_HEAD, VMLRU_SEG_MIDDLE, VMLRU_SEG_TAIL, VMLRU_SEGMENTS };

/* Of a space; all under the VM-LRU's lock. */
struct vmlru_node {
	struct space *next, *prev;
	bool listed, young;
	bool in_turn; /* its budget for this turn is on the account */
	u8 bin, segment;
	s64 account; /* frames it has still to give in its turn; below zero: gave more */
	u64 taking;  /* frames that reclaimers at work in it may take yet */
};

/* Empties it and starts the sequence of bins anew. No space exists. */
void vmlru_init(void);
/* A space comes, to the old generation, or goes. Takes LOCK_VM_LRU. */
void vmlru_add(struct space *s);
void vmlru_remove(struct space *s);
/* Takes LOCK_VM_LRU. Does nothing for a space that is not listed. */
void vmlru_rotate(struct space *s, enum vmlru_op op);
/* How often the young generation has become the old one. Racy by nature. */
u64 vmlru_rounds(void);

/* A walk meets those of the old generation, each once; rounds may end meanwhile. */
struct vmlru_walk {
	u64 met; /* by id - 1 */
	unsigned start_bin;
};
void vmlru_walk_begin(struct vmlru_walk *w);
/*
 * The next one, pinned (space_put()), or NULL when all of the old generation were met. Whoever is met has
 * to be rotated, now or after some more turns: else the others wait for ever. Takes LOCK_VM_LRU; not in an
 * epoch section.
 */
struct space *vmlru_walk_next(struct vmlru_walk *w) must_check;

enum vmlru_turn {
	VMLRU_TAKE,      /* take up to GEN_BATCH frames, then vmlru_taken() */
	VMLRU_WAIT,      /* it gave enough before; went to the young generation */
	VMLRU_PROTECTED, /* it holds too little above `floor`; the same */
};
/*
 * Its turn, or the next chunk of it: may a chunk be taken? With a floor, the chunk is reserved, so that all
 * reclaimers at work together leave `floor` frames resident. `budget`: frames that a turn is worth; 0: the
 * account is not asked.
 */
enum vmlru_turn vmlru_turn(struct space *s, u64 floor, u64 budget) must_check;
/*
 * What came of VMLRU_TAKE. When the budget is used up the turn is over. Without a frame the account is
 * closed, for it owes nothing that it does not have; the space is tried once more at the end of its
 * generation before it goes to the young one, but not if it was aged: others are to give before what was
 * young a moment ago is taken.
 */
void vmlru_taken(struct space *s, u64 frames, bool aged);
