/* Which VM has to go: the one with the most above its share. Everything read here changes meanwhile; it is a judgement. */
#include "mm/victim.h"

#include "lib/util.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/space.h"

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
