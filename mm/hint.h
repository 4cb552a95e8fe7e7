/*
 * What a guest says about which of its pages belong together. Neighbours by guest frame number are neighbours in the
 * tables that are harvested, but programs have locality in their own addresses, and a guest hands its frames out as
 * they come: then a look-around by frame number sweeps strangers. A guest that knows better says so pair by pair
 * (PV_TOGETHER in hv/pv_call.h): "this page comes behind that one in somebody's addresses". Pairs make groups of up to
 * HINT_GROUP pages, and the look-around of a page that is in one sweeps its group instead of its window.
 *
 * All of it is a hint: a wrong one costs a sweep that finds nothing. Without a lock; readers check what they find.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"
#include "lib/util.h"

struct space;
struct hints;

#define HINT_GROUP 64u

/* For a space that nobody uses any more. */
void hint_free(struct space *s);

enum hint_result {
	HINT_OK,
	HINT_RANGE, /* a page is none of the guest's RAM */
	HINT_FULL, /* no memory for it, or as many groups as there may be: forget, and say it anew */
};
/*
 * `next` joins the group of `g` as its last, or both begin one if `g` is in none or in a full one. A page is in one
 * group: the last that it joined. No lock held, not in an epoch section; several callers at a time.
 */
enum hint_result hint_together(struct space *s, gfn_t g, gfn_t next) must_check;
/* Forgets all groups. */
void hint_forget(struct space *s);

/* The pages of the group that g is in, g among them, as they were told; 0: it is in none. Any context. */
unsigned hint_group(struct space *s, gfn_t g, gfn_t out[HINT_GROUP]);
