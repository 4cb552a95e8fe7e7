/*
 * Collapse: 512 resident pages with leaves of their own get one large leaf, if that is worth it.
 *
 *   worth it     at least COLLAPSE_YOUNG of the 512 were accessed since the last aging pass. The MMUs are
 *                asked to look (TEST) and never to clear: who ages next finds every bit where it was.
 *   never        a page that is pinned, away, in somebody's hands; a space that does not want huge mappings;
 *                an MMU that cannot answer without waiting (FAST_ONLY)
 *   in place     if the frames lie one behind the other from a multiple of 2 MiB on, as they do when a large
 *                leaf was split and nothing was evicted; else they are copied to 512 that do
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

struct space;

#define COLLAPSE_YOUNG  256u /* of 512 */
#define COLLAPSE_RANGES 16u  /* looked at in one call */
#define COLLAPSE_MAX    2u   /* collapsed in one call */

enum collapse_result {
	COLLAPSE_DONE,
	COLLAPSE_UNFIT,  /* not 512 resident pages in one slot, or mapped by a large leaf already */
	COLLAPSE_COLD,   /* not enough of them are young */
	COLLAPSE_PINNED, /* somebody holds one of them */
	COLLAPSE_RACED,  /* changed under our hands; as it was, perhaps unmapped */
	COLLAPSE_NO_MEMORY, /* no 512 frames in one piece, or no page for a table */
};

/*
 * Tries one aligned range. No lock held, not in an epoch section; the caller pinned the space. Waits for a
 * shootdown and a grace period if it goes through.
 */
enum collapse_result collapse_range(struct space *s, gfn_t first);
/*
 * Looks at the next few ranges of every space that wants huge mappings. Once per aging period, before the
 * pass that clears the bits. Context as above, but pins the spaces by itself.
 */
void collapse_scan(void);
