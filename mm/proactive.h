/*
 * Reclaim that somebody asks for, without pressure: the commands of the lru_gen interface and a request for
 * bytes. The rules and their errors are those of the reference (design, A.12).
 *
 * All of them may take long and let others run between chunks (reclaim_yield()): called by a thread, with
 * no lock held and outside epoch sections; a space was pinned with space_get_id(), by the thread that
 * drains spaces: if another one did, that one would wait for the pin, perhaps on the same CPU.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

struct space;

enum proactive_result {
	PROACTIVE_DONE,
	PROACTIVE_INVALID, /* a generation that is not there, or may not be used; a swappiness that is none */
	PROACTIVE_EXISTS, /* somebody else made that generation */
	PROACTIVE_AGAIN,  /* less than what was asked could be had, now */
};

/*
 * `+`: makes a new generation if `max_gen` is the youngest one. INVALID if it is in the future, EXISTS if
 * it is not the youngest any more, before the walk or after it. INVALID with policy.twolist. `force`: walks all tables, also of a guest
 * that did not run. `swappiness` (0 .. POLICY_SWAPPINESS_MAX) is checked and means nothing else here:
 * walking a table ages pages of both types.
 */
enum proactive_result proactive_age(struct space *s, u64 max_gen, u32 swappiness,
                                    bool force) must_check;
/*
 * `-`: evicts from generations <= min_gen until `nr` frames went back to the allocator, those generations
 * have none left, or a whole round over the space has been looked at. INVALID unless min_gen + GEN_MIN <=
 * the youngest. *freed: frames freed, in any case; at most GEN_BATCH - 1 more than `nr`, because it
 * stops after the chunk that reaches it. DONE also if it is less. What the space is promised (min, low,
 * min_ttl) does not count: it was asked for by name.
 */
enum proactive_result proactive_evict(struct space *s, u64 min_gen, u32 swappiness, u64 nr,
                                      u64 *freed) must_check;
/*
 * Clears the Accessed bits of all pages, those of slow MMUs too, without making a generation, and flushes: from
 * its return on an Accessed bit that is set, which notifier_age() tells with NOTIFIER_TEST until a pass or an evictor
 * harvests it, means a touch since. Nothing is taken from the generations: pages that had been touched are
 * promoted as by a pass. *young: how many those are. INVALID with policy.twolist. Waits for guests to leave.
 */
enum proactive_result proactive_clear_references(struct space *s, u64 *young) must_check;
/*
 * Frees bytes (rounded up to frames), from one space or, with NULL, from all of them, ages where that is
 * needed. AGAIN if it was less: nothing came of it for several generations in a row. From all: nobody
 * is taken below its min. *freed in frames, at most GEN_BATCH - 1 more than asked.
 */
enum proactive_result proactive_reclaim(struct space *s, u64 bytes, u32 swappiness,
                                        u64 *freed) must_check;
