/*
 * A page is put in: bit set, then dropped (its word becomes none). A first touch makes the word BUSY, then looks at the
 * bit. Each does the one before the other with a full barrier between (BA1, BA2), so at least one sees the other:
 *
 *   the touch sees the bit      it takes the page out of the balloon
 *   the drop sees the word      BUSY or resident: it waits, and drops what the touch brought in
 *
 * Either way no page is inside and has memory when both are done. The counter follows from who changed the bit.
 *
 * All else is hints: targets, times, what the guest says. Who reads them late asks for a little more or less.
 */
#include "mm/balloon.h"

#include "arch/hal.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/gfnmap.h"
#include "mm/page_set.h"
#include "mm/space.h"

/* Of what a guest has resident, so much is asked of it at a time when nothing else is left. */
#define NEED_PART 8u

/* The need that there is: since when balloons have not grown, how much they had, when it was last felt. */
static a64 need_since_ns, need_inside, need_last_ns;

bool balloon_enable(struct space *s)
{
	s->balloon.pages = page_set_create(s);
	return s->balloon.pages != NULL;
}

void balloon_free(struct space *s)
{
	page_set_destroy(s->balloon.pages);
	s->balloon.pages = NULL;
}

static bool covers(const struct space *s, gfn_t first, u64 npages)
{
	return s->balloon.pages && page_set_covers(s->balloon.pages, first, npages);
}

/* --- pages ------------------------------------------------------------------------------------------ */

bool balloon_give(struct space *s, gfn_t first, u64 npages, u64 *count)
{
	*count = 0;
	if (!covers(s, first, npages))
		return false;
	for (u64 i = 0; i < npages; i++)
		*count += page_set_add(s->balloon.pages, gfn_add(first, i));
	a64_count(&s->balloon.inside, *count);
	a64_count(&s->stats.balloon_given_total, *count);
	space_drop_range(s, first, npages);
	return true;
}

bool balloon_return(struct space *s, gfn_t first, u64 npages, u64 *count)
{
	*count = 0;
	if (!covers(s, first, npages))
		return false;
	for (u64 i = 0; i < npages; i++)
		*count += page_set_remove(s->balloon.pages, gfn_add(first, i));
	a64_count(&s->balloon.inside, -*count);
	a64_count(&s->stats.balloon_returned_total, *count);
	return true;
}

void balloon_touched(struct space *s, gfn_t g)
{
	/* ord BA2: behind the exchange that made the word BUSY; pairs with ord BA1 */
	if (likely(!s->balloon.pages) || !page_set_remove(s->balloon.pages, g))
		return;
	a64_count(&s->balloon.inside, -1ull);
	a64_count(&s->stats.balloon_touched_total, 1);
}

bool balloon_any(const struct space *s, gfn_t first, u64 npages)
{
	return s->balloon.pages && a64_load(&s->balloon.inside) &&
	       page_set_count(s->balloon.pages, first, npages);
}

static u64 pages_with_something(struct space *s, gfn_t first, u64 npages)
{
	u64 n = 0;

	epoch_enter();
	for (u64 i = 0; i < npages; i++) {
		const a64 *where = gfnmap_word(s, gfn_add(first, i));

		n += where && gfn_word_tag(a64_load(where)) != GFN_NONE;
	}
	epoch_exit();
	return n;
}

bool balloon_report_free(struct space *s, gfn_t first, u64 npages, u64 *count)
{
	*count = 0;
	if (!covers(s, first, npages))
		return false;
	*count = pages_with_something(s, first, npages);
	if (*count)
		space_drop_range(s, first, npages);
	a64_count(&s->stats.reported_free_total, *count);
	return true;
}

/* --- how many --------------------------------------------------------------------------------------- */

/* What it is promised stays out of the balloon. */
static u64 bounded(const struct space *s, u64 pages)
{
	u64 min = a64_load(&s->limits.min);

	return min_of(pages, s->pages > min ? s->pages - min : 0);
}

static bool need_is_felt(u64 now_ns)
{
	u64 last = a64_load(&need_last_ns);

	return last && now_ns - last < BALLOON_PATIENCE_NS;
}

u64 balloon_target(const struct space *s, bool *urgent)
{
	u64 asked = a64_load(&s->balloon.asked), target = a64_load(&s->balloon.target);

	*urgent = asked > a64_load(&s->balloon.inside) && need_is_felt(hal_time_ns());
	return bounded(s, max_of(asked, target));
}

void balloon_look(struct space *s)
{
	a64_store(&s->balloon.looked_ns, hal_time_ns());
}

void balloon_told(struct space *s, u64 free_pages, u64 stall_permille)
{
	a64_store(&s->balloon.guest_free, min_of(free_pages, s->pages));
	a64_store(&s->balloon.guest_stall, min_of(stall_permille, 1000ull));
}

void balloon_set_target(struct space *s, u64 pages)
{
	a64_store(&s->balloon.target, pages);
}

static bool listens(const struct space *s, u64 now_ns)
{
	u64 looked = a64_load(&s->balloon.looked_ns);

	return looked && now_ns - min_of(looked, now_ns) < BALLOON_LISTENS_NS;
}

/* Asks for `more` than is inside, unless more than that is asked for already. */
static void ask(struct space *s, u64 more, u64 now_ns)
{
	struct balloon *b = &s->balloon;
	u64 inside = a64_load(&b->inside), want = bounded(s, inside + more);

	if (a64_load(&b->asked) <= inside)
		a64_store(&b->asked_ns, now_ns);
	if (want > a64_load(&b->asked))
		a64_store(&b->asked, want);
}

u64 balloon_ask(struct space *s, u64 want, u64 now_ns)
{
	struct balloon *b = &s->balloon;
	u64 asked = a64_load(&b->asked), more = min_of(want, a64_load(&b->guest_free));

	if (!more || !listens(s, now_ns))
		return 0;
	if (asked > a64_load(&b->inside) && now_ns - a64_load(&b->asked_ns) > BALLOON_PATIENCE_NS)
		return 0;
	ask(s, more, now_ns);
	return more;
}

static u64 relax_one(struct space *s, u64 frames)
{
	u64 asked = a64_load(&s->balloon.asked), less = min_of(asked, frames);

	a64_store(&s->balloon.asked, asked - less);
	return less;
}

void balloon_relax(u64 frames, u64 now_ns)
{
	u64 last = a64_load(&need_last_ns);

	if (last && now_ns - min_of(last, now_ns) < BALLOON_CALM_NS)
		return;
	for (u16 id = 1; id <= SPACE_MAX && frames; id++) {
		struct space *s = space_get_id(id);

		if (!s)
			continue;
		frames -= relax_one(s, frames);
		space_put(s);
	}
}

/* --- before a VM has to go -------------------------------------------------------------------------- */

/*
 * A part of what it has, whatever it says is free: some of that may be worth less than a VM. When it has lent that, and
 * there still is need, the next.
 */
static void ask_in_need(struct space *s, u64 now_ns)
{
	struct balloon *b = &s->balloon;

	if (a64_load(&b->asked) <= a64_load(&b->inside))
		ask(s, a64_load(&s->resident) / NEED_PART, now_ns);
}

/* Asks all that listen; whether any does. *inside: what they have lent. */
static bool ask_all_in_need(u64 now_ns, u64 *inside)
{
	bool any = false;

	*inside = 0;
	for (u16 id = 1; id <= SPACE_MAX; id++) {
		struct space *s = space_get_id(id);

		if (!s)
			continue;
		if (listens(s, now_ns)) {
			any = true;
			ask_in_need(s, now_ns);
			*inside += a64_load(&s->balloon.inside);
		}
		space_put(s);
	}
	return any;
}

bool balloon_before_kill(void)
{
	u64 now = hal_time_ns(), inside;
	bool again = need_is_felt(now);

	if (!ask_all_in_need(now, &inside))
		return false;
	a64_store(&need_last_ns, now);
	if (!again || inside > a64_load(&need_inside))
		a64_store(&need_since_ns, now);
	a64_store(&need_inside, inside);
	return now - min_of(a64_load(&need_since_ns), now) < BALLOON_PATIENCE_NS;
}

enum balloon_turn balloon_turn(const struct space *s)
{
	u64 now;

	if (likely(!a64_load(&need_last_ns)))
		return BALLOON_ANY;
	now = hal_time_ns();
	if (!need_is_felt(now) ||
	    now - min_of(a64_load(&need_since_ns), now) >= BALLOON_PATIENCE_NS)
		return BALLOON_ANY;
	if (!listens(s, now))
		return BALLOON_LAST;
	return a64_load(&s->balloon.asked) > a64_load(&s->balloon.inside) ? BALLOON_FIRST
	                                                                  : BALLOON_ANY;
}
