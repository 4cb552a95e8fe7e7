/*
 * What stands for aging in an image without it (make AGING=0): instead of mm/notifier_age.c, age.c, age_flush.c,
 * walk.c, walk_cost.c, bloom.c, promote.c and collapse.c. Nothing is harvested and no question reaches an MMU: the
 * answer is always "nothing young, and nobody fast". All else works without ages: a page moves towards the eviction
 * end as generations are made because an evictor needs one, so that pages leave in the order in which they came, but
 * for those that came back soon.
 *
 * The contracts are those of the headers; nobody who calls knows the difference.
 */
#include "lib/string.h"
#include "mm/age.h"
#include "mm/age_flush.h"
#include "mm/bloom.h"
#include "mm/collapse.h"
#include "mm/gen.h"
#include "mm/notifier.h"
#include "mm/space.h"

const bool age_built = false;

/* --- notifier_age.c -------------------------------------------------------------------------------- */

unsigned notifier_age(struct space *s, gfn_t first, unsigned npages, u64 *bitmap, unsigned flags,
                      u64 *visited)
{
	(void)s, (void)first, (void)flags, (void)visited;
	memset(bitmap, 0, notifier_words(npages) * sizeof(u64));
	return 0;
}

unsigned notifier_age_one(struct space *s, gfn_t g, unsigned flags)
{
	(void)s, (void)g, (void)flags;
	return 0;
}

bool notifier_range_young(struct space *s, gfn_t first, u64 npages, unsigned flags)
{
	(void)s, (void)first, (void)npages, (void)flags;
	return false;
}

/* What was written, the zap tells when it takes the page. */
void notifier_dirty(struct space *s, gfn_t first, unsigned npages, u64 *bitmap)
{
	(void)s, (void)first;
	memset(bitmap, 0, notifier_words(npages) * sizeof(u64));
}

bool notifier_any_fast(const struct space *s)
{
	(void)s;
	return false;
}

bool notifier_all_fast(const struct space *s)
{
	(void)s;
	return false;
}

/* --- age.c, walk.c and what they use ---------------------------------------------------------------- */

u64 age_block(struct space *s, gfn_t first, unsigned npages, struct gen_batch *batch, u64 *visited)
{
	(void)s, (void)first, (void)npages, (void)batch, (void)visited;
	return 0;
}

u64 age_harvest(struct space *s, gfn_t first, unsigned npages, unsigned flags,
                struct gen_batch *batch, u64 *visited)
{
	(void)flags;
	return age_block(s, first, npages, batch, visited);
}

u64 age_promote(struct space *s, gfn_t first, unsigned npages, const u64 *young,
                struct gen_batch *batch)
{
	(void)s, (void)first, (void)npages, (void)young, (void)batch;
	return 0;
}

void age_look_around(struct space *s, gfn_t g, unsigned young)
{
	(void)s, (void)g, (void)young;
}

/* The generation alone: evictors cannot do without new ones. */
struct age_result age_space(struct space *s, u64 max_seq, bool force)
{
	struct age_result result = {.produced = false};

	(void)force;
	result.produced = !a32_load(&s->dying) && gen_advance(&s->lru, max_seq);
	if (result.produced)
		a64_store(&s->walk_seq, max_seq);
	a64_count(&s->stats.passes_total, result.produced);
	return result;
}

void bloom_init(struct bloom *f)
{
	(void)f;
}

void bloom_destroy(struct bloom *f)
{
	(void)f;
}

/* --- age_flush.c: no Accessed bit is cleared ---------------------------------------------------------- */

void age_flush_init(struct age_flush *f)
{
	(void)f;
}

u64 age_flush_poll(u64 now_ns)
{
	(void)now_ns;
	return ~0ull;
}

unsigned age_false_old_permille(const struct space_stats *stats)
{
	(void)stats;
	return 0;
}

/* --- promote.c, collapse.c: nothing is found young ---------------------------------------------------- */

bool gen_promote(struct lruvec *l, u32 frame, u16 space_id, struct gen_batch *b)
{
	(void)l, (void)frame, (void)space_id, (void)b;
	return false;
}

void gen_batch_flush(struct lruvec *l, struct gen_batch *b)
{
	(void)l, (void)b;
}

void collapse_scan(void)
{
}
