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

static a64
        need_last_ns; /* when a VM was last about to be stopped, and guests were waited for instead */
static a32 giving;    /* calls that drop pages just now */

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

/* Takes its time where evictors have the same pages in hand; whoever waits for frames waits for this. */
static void drop(struct space *s, gfn_t first, u64 npages)
{
	a32_fetch_add(&giving, 1); /* a hint */
	space_drop_range(s, first, npages);
	a32_fetch_add(&giving, -1u);
}

bool balloon_give(struct space *s, gfn_t first, u64 npages, u64 *count)
{
	*count = 0;
	if (!covers(s, first, npages))
		return false;
	for (u64 i = 0; i < npages; i++)
		*count += page_set_add(s->balloon.pages, gfn_add(first, i));
	a64_count(&s->balloon.inside, *count);
	a64_count(&s->stats.balloon_given_total, *count);
	a64_store(&s->balloon.asked_looks, a64_load(&s->balloon.looks));
	drop(s, first, npages);
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
		drop(s, first, npages);
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

	return last && now_ns - min_of(last, now_ns) < BALLOON_NEED_NS;
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
	a64_count(&s->balloon.looks, 1);
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

static bool stalled(const struct space *s)
{
	return a64_load(&s->balloon.guest_stall) >= BALLOON_STALLED;
}

/* Was it asked for more than it has lent, and has not looked often enough since? Looks are its own time: how long a
 * guest takes for one depends on what else the machine does. */
static bool follows(const struct space *s)
{
	const struct balloon *b = &s->balloon;

	return a64_load(&b->asked) > a64_load(&b->inside) &&
	       a64_load(&b->looks) - a64_load(&b->asked_looks) < BALLOON_LOOKS;
}

/* Asks for `more` than is inside, unless as much is asked for already: false. */
static bool ask(struct space *s, u64 more)
{
	struct balloon *b = &s->balloon;
	u64 want = bounded(s, a64_load(&b->inside) + more);

	if (want <= a64_load(&b->asked))
		return false;
	if (a64_load(&b->asked) <= a64_load(&b->inside))
		a64_store(&b->asked_looks, a64_load(&b->looks));
	a64_store(&b->asked, want);
	return true;
}

u64 balloon_ask(struct space *s, u64 want, u64 now_ns)
{
	struct balloon *b = &s->balloon;
	u64 more = min_of(want, a64_load(&b->guest_free));

	if (!more || !listens(s, now_ns) || stalled(s))
		return 0;
	if (a64_load(&b->asked) > a64_load(&b->inside) && !follows(s))
		return 0;
	(void)ask(s, more);
	return more;
}

static u64 relax_one(struct space *s, u64 frames)
{
	u64 asked = a64_load(&s->balloon.asked), less = min_of(asked, frames);

	a64_store(&s->balloon.asked, asked - less);
	return less;
}

/* One round over those that are stalled, or those that are not; returns what is left. */
static u64 relax_round(u64 frames, bool of_stalled)
{
	for (u16 id = 1; id <= SPACE_MAX && frames; id++) {
		struct space *s = space_get_id(id);

		if (!s)
			continue;
		if (stalled(s) == of_stalled)
			frames -= relax_one(s, frames);
		space_put(s);
	}
	return frames;
}

void balloon_relax(u64 frames, u64 now_ns)
{
	u64 last = a64_load(&need_last_ns);

	if (last && now_ns - min_of(last, now_ns) < BALLOON_CALM_NS)
		return;
	relax_round(relax_round(frames, true), false);
}

/* --- before a VM has to go -------------------------------------------------------------------------- */

/*
 * A part of what it has, whatever it says is free: some of that may be worth less than a VM. When it has lent that, and
 * there still is need, the next. Whether there is something to wait for.
 */
static bool ask_in_need(struct space *s)
{
	struct balloon *b = &s->balloon;

	if (a64_load(&b->asked) <= a64_load(&b->inside))
		(void)ask(s, a64_load(&s->resident) / NEED_PART);
	return follows(s);
}

bool balloon_before_kill(void)
{
	u64 now = hal_time_ns();
	bool wait = a32_load(&giving) != 0;

	for (u16 id = 1; id <= SPACE_MAX; id++) {
		struct space *s = space_get_id(id);

		if (!s)
			continue;
		if (listens(s, now))
			wait |= ask_in_need(s);
		space_put(s);
	}
	if (wait)
		a64_store(&need_last_ns, now);
	return wait;
}

enum balloon_turn balloon_turn(const struct space *s)
{
	u64 now;

	if (likely(!a64_load(&need_last_ns)))
		return BALLOON_ANY;
	now = hal_time_ns();
	if (!need_is_felt(now))
		return BALLOON_ANY;
	if (!listens(s, now))
		return BALLOON_LAST;
	return a64_load(&s->balloon.asked) > a64_load(&s->balloon.inside) ? BALLOON_FIRST
	                                                                  : BALLOON_ANY;
}
