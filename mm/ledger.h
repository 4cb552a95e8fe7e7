/*
 * Two consumers of one Accessed bit. The generations and the sampler (mm/sampler.h) both ask the MMUs with
 * NOTIFIER_CLEAR; whoever clears a bit that was set owes the other the news. The ledger is where that stands: a
 * bit for each page and consumer, "found young for you". A consumer's question is answered from the entries and
 * from what it is owed, and takes both. So to each of them it looks as if it had the bits for itself.
 *
 * There is a ledger only while a space has a second consumer; else a question costs a load and a branch more.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

struct space;
struct ledger;

enum ledger_reader { LEDGER_GENERATIONS, LEDGER_SAMPLER, LEDGER_READERS };

/*
 * From its return on every answer of the space's MMUs is shared, for the slots that it has now. False: no memory,
 * and nothing has changed. One caller at a time, for close as well; no lock held, not in an epoch section.
 */
bool ledger_open(struct space *s) must_check;
/*
 * Ends it: what the generations are still owed is promoted here and now. Waits for a grace period. Nothing
 * happens if there is none.
 */
void ledger_close(struct space *s);
/* For a space that nobody uses any more. */
void ledger_free(struct space *s);

/*
 * Settles an answer: `asked` are the pages that were asked for, `young` those that an MMU found; adds what the
 * asker (NOTIFIER_SAMPLER in `flags` or not) is owed of them, and with NOTIFIER_CLEAR takes that and notes what
 * the other is owed from now on. Returns NOTIFIER_* bits to be added to the result: what is owed was seen by a
 * fast MMU. Inside the epoch section in which the ledger was loaded.
 */
unsigned ledger_settle(struct ledger *l, gfn_t first, unsigned npages, const u64 *asked, u64 *young,
                       unsigned flags);
/*
 * Are the generations owed a page of the range, an aligned one of TABLE_PAGES or of TABLE_PAGES squared? What
 * is remembered for a table is forgotten with `clear`, if the range is one. Context as above.
 */
bool ledger_range(struct ledger *l, gfn_t first, u64 npages, bool clear);
/* Notes that a reader is owed pages. Context as above. */
void ledger_owe(struct ledger *l, enum ledger_reader to, gfn_t first, unsigned npages,
                const u64 *young);
