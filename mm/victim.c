/* Which VM has to go: the one with the most above its share. Everything read here changes meanwhile; it is a judgement. */
#include "mm/victim.h"

#include "lib/util.h"
#include "mm/epoch.h"
#include "mm/fault.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "mm/space.h"

static a64 copy_cursor; /* frames that victim_copies_first() has looked at */

struct holding {
	u64 frames; /* resident, and its part of the pool */
	u64 pages;
	u64 pooled;
};

static struct holding holding_of(u16 id)
{
	struct holding h = {.frames = 0};
	struct space *s;

	epoch_enter();
	s = space_at(id);
	if (s && !a32_load(&s->dying))
		h = (struct holding){a64_load(&s->resident), s->pages, a64_load(&s->pooled)};
	epoch_exit();
	return h;
}

u16 victim_choose(u64 *share, u64 *held)
{
	u64 pages = 0, pooled = 0;
	s64 worst = INT64_MIN;
	u16 chosen = 0;

	for (u16 id = 1; id <= SPACE_MAX; id++) {
		struct holding h = holding_of(id);

		pages += h.pages;
		pooled += h.pooled;
	}
	for (u16 id = 1; id <= SPACE_MAX; id++) {
		struct holding h = holding_of(id);
		u64 part;

		if (!h.pages || !h.frames)
			continue;
		h.frames += pooled ? h.pooled * frame_pool_count() / pooled : 0;
		part = frame_total() * h.pages / pages;
		if ((s64)(h.frames - part) <= worst)
			continue;
		worst = (s64)(h.frames - part);
		chosen = id;
		*share = part;
		*held = h.frames;
	}
	return chosen;
}

/* False: there is none of this frame. */
static bool give_up_copy(u32 number)
{
	struct frame *f = frame_at(number);
	u64 state = a64_load(&f->state);
	struct space *s;

	if (frame_use(state) != FRAME_GUEST || state & (FRAME_DIRTY | FRAME_ISOLATED) ||
	    gfn_word_tag(a64_load(&f->copy)) != GFN_POOLED)
		return false;
	s = space_get_id(frame_space_id(f));
	if (!s)
		return false;
	/* If the frame became another page's meanwhile, that one loses its copy. */
	(void)fault_make_dirty(s, frame_gfn(f));
	space_put(s);
	return true;
}

bool victim_copies_first(void)
{
	u64 before = frame_pool_count(), total = frame_total();
	bool some = false;

	for (u64 i = 0; i < total && frame_pool_count() + GEN_BATCH > before; i++)
		some |= give_up_copy((u32)(a64_fetch_add(&copy_cursor, 1) % total));
	return some;
}
