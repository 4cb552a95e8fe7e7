/*
 * What is checked, with everything at rest:
 *
 *   frames   each is free, the pool's, or a guest's; the counts agree; a guest's frame is the one that the
 *            gfn word of its owner names (I1), on a list (I3), clean only with a copy (I8); as many are
 *            heads of large leaves as the MMUs have of those, which check that each of theirs is one
 *   words    none is busy or evicting (I2); the counters of the space agree; what is resident is a frame
 *            that says so too, so that words and frames are one to one (I1)
 *   lists    links are sound; what hangs on the list of a generation is of that generation or younger, and
 *            inside the window (I4); sizes agree with the state words; all that is listed is all that is
 *            resident (I3)
 *   gone     pages that are away are as many, by label, as the guard has counted (mm/guard.h)
 *   stores   their own recount; objects agree with the words and copies that name them
 *   balloon  its pages have neither frame nor copy, and are as many as it says
 *   MMUs     their own audit: entries against the gfn map, I6
 */
#include "mm/audit.h"

#include "arch/hal.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "mm/page_set.h"
#include "mm/space.h"
#include "mm/store.h"

#define MAX_LINES 20u

struct audit {
	u64 faults;
	u64 nr_free, nr_pool, nr_guest; /* frames by use */
	u64 nr_retired;                 /* waiting for a CPU that did not poll since */
	u64 nr_tables;                  /* of shadow MMUs */
	u64 nr_huge, huge_mappings; /* heads of large leaves, as frames and as MMUs count them */
	u64 nr_objects;             /* pool objects that words and copies name */
};

/* What the words and lists of one space add up to. */
struct tally {
	u64 tag[GFN_TAG + 1];
	u64 listed, probation;
	s64 size[GEN_MAX][GEN_TYPES];
	s64 gone[GUARD_LABELS + 1]; /* by guard_index_locked() */
};

static void fault(struct audit *a, const char *what, u64 where, u64 found, u64 expected)
{
	if (a->faults++ < MAX_LINES)
		hal_log(HAL_ERROR, "audit: %s: at %llu found %llx expected %llx", what,
		        (unsigned long long)where, (unsigned long long)found,
		        (unsigned long long)expected);
}

static void expect(struct audit *a, const char *what, u64 where, u64 found, u64 expected)
{
	if (found != expected)
		fault(a, what, where, found, expected);
}

/* --- frames ---------------------------------------------------------------------------------------- */

static void audit_guest_frame(struct audit *a, u32 frame, u64 state)
{
	const struct frame *f = frame_at(frame);
	u64 copy = a64_load(&f->copy);
	struct space *s = space_at(frame_space_id(f));
	a64 *where = s ? gfnmap_word(s, frame_gfn(f)) : NULL;

	a->nr_guest++;
	if (!where)
		fault(a, "frame of no page (I1)", frame, f->owner, 0);
	else
		expect(a, "frame that its owner's word does not name (I1)", frame, a64_load(where),
		       gfn_word(GFN_RESIDENT, frame));
	if (!(state & FRAME_LISTED))
		fault(a, "guest frame on no list (I3)", frame, state, 0);
	if (state & (FRAME_ISOLATED | FRAME_LOCKED | FRAME_PINS))
		fault(a, "frame in somebody's hands", frame, state, 0);
	if (state & FRAME_HUGE) {
		a->nr_huge++;
		expect(a, "huge, but no head", frame, frame_huge_head(frame), frame);
	}
	if (!(state & FRAME_DIRTY) && !gfn_word_away(copy))
		fault(a, "clean frame without a copy (I8)", frame, copy, 0);
	if (copy & (GFN_SHADOW | GFN_BUSY))
		fault(a, "copy with a shadow", frame, copy, 0);
	a->nr_objects += gfn_word_tag(copy) == GFN_POOLED;
}

/* What is in it is its MMU's to check. */
static void audit_table_frame(struct audit *a, u32 frame, u64 state)
{
	const struct frame *f = frame_at(frame);

	a->nr_tables++;
	if (state & ~(FRAME_USE | FRAME_TABLE))
		fault(a, "state of a table's frame", frame, state, 0);
	if (!f->table || !space_at(frame_space_id(f)))
		fault(a, "table of nobody", frame, f->owner, 0);
}

static void audit_frames(struct audit *a)
{
	for (u32 frame = 0; frame < frame_total(); frame++) {
		u64 state = a64_load(&frame_at(frame)->state);

		switch (frame_use(state)) {
		case FRAME_FREE:
			a->nr_free++;
			if (state & ~FRAME_USE)
				fault(a, "state of a free frame", frame, state, 0);
			break;
		case FRAME_POOL:
			a->nr_pool++;
			break;
		case FRAME_GUEST:
			audit_guest_frame(a, frame, state);
			break;
		case FRAME_HELD:
			if (state & FRAME_TABLE) {
				audit_table_frame(a, frame, state);
				break;
			}
			if (state & FRAME_LOCKED && a->nr_retired++ < epoch_pending())
				break;
			fault(a, "frame that somebody forgot", frame, state, 0);
			break;
		}
	}
	expect(a, "free frames", 0, frame_free_count(), a->nr_free);
	expect(a, "frames of the pool", 0, frame_pool_count(), a->nr_pool);
	expect(a, "frames with tables", 0, frame_table_count(), a->nr_tables);
}

/* --- words ----------------------------------------------------------------------------------------- */

static void audit_resident(struct audit *a, const struct space *s, gfn_t g, u64 word)
{
	u32 frame = gfn_word_frame(word);
	const struct frame *f;

	if (frame >= frame_total()) {
		fault(a, "word of a frame that is not there (I1)", g.v, word, 0);
		return;
	}
	f = frame_at(frame);
	expect(a, "use of a resident page's frame (I1)", g.v, frame_use(a64_load(&f->state)),
	       FRAME_GUEST);
	expect(a, "owner of a resident page's frame (I1)", g.v, f->owner, (u64)s->id << 48 | g.v);
}

static void audit_word(struct audit *a, const struct space *s, gfn_t g, u64 word, struct tally *t)
{
	t->tag[gfn_word_tag(word)]++;
	if (word & GFN_BUSY)
		fault(a, "word left busy (I2)", g.v, word, 0);
	if (gfn_word_tag(word) == GFN_EVICTING || gfn_word_tag(word) > GFN_DISK)
		fault(a, "word in a state of transition (I2, I5)", g.v, word, 0);
	if (gfn_word_tag(word) == GFN_RESIDENT)
		audit_resident(a, s, g, word);
	if (!gfn_word_away(word) && word & GFN_SHADOW)
		fault(a, "shadow of a page that is here", g.v, word, 0);
	a->nr_objects += gfn_word_tag(word) == GFN_POOLED;
	if (gfn_word_away(word))
		t->gone[guard_index_locked(&s->lru, gfn_word_seq(word))]++;
}

static void audit_words(struct audit *a, struct space *s, struct tally *t)
{
	const struct slots *slots = gfnmap_slots(s);
	u64 pages = 0;

	for (u32 i = 0; i < slots->nr; i++) {
		const struct slot *slot = &slots->slot[i];

		for (u64 p = 0; p < slot->npages; p++)
			audit_word(a, s, gfn_add(slot->base, p), a64_load(&slot->word[p]), t);
		pages += slot->npages;
	}
	expect(a, "pages of the space", s->id, s->pages, pages);
	expect(a, "resident counter", s->id, a64_load(&s->resident), t->tag[GFN_RESIDENT]);
	expect(a, "zero counter", s->id, a64_load(&s->zero), t->tag[GFN_ZERO]);
	expect(a, "filled counter", s->id, a64_load(&s->filled), t->tag[GFN_FILLED]);
	expect(a, "pooled counter", s->id, a64_load(&s->pooled), t->tag[GFN_POOLED]);
}

/* --- lists ----------------------------------------------------------------------------------------- */

static void audit_listed(struct audit *a, const struct space *s, u32 frame, u64 seq,
                         enum gen_type type, struct tally *t)
{
	const struct frame *f = frame_at(frame);
	u64 state = a64_load(&f->state), label, own;

	t->listed++;
	if (!(state & FRAME_LISTED) || frame_use(state) != FRAME_GUEST) {
		fault(a, "listed frame without a generation (I3)", frame, state, 0);
		return;
	}
	label = gen_label_seq(state, a64_load(&s->lru.max_seq));
	own = gen_seq_locked(&s->lru, state);
	if (label > a64_load(&s->lru.max_seq))
		fault(a, "frame of a generation to come (I4)", frame, label, seq);
	if (label < s->lru.oldest_label[type])
		fault(a, "label older than any (I4)", frame, label, s->lru.oldest_label[type]);
	if (own < seq)
		fault(a, "frame older than its list (I4)", frame, own, seq);
	expect(a, "type of a listed frame", frame, !!(state & FRAME_DIRTY), type);
	expect(a, "space of a listed frame (I1)", frame, frame_space_id(f), s->id);
	t->size[gen_index(own)][state & FRAME_DIRTY ? GEN_DIRTY : GEN_CLEAN]++;
}

/* Of a generation; or, with the oldest one, that of pages on probation. */
static void audit_list(struct audit *a, const struct space *s, const struct frame_list *list,
                       u64 seq, enum gen_type type, struct tally *t)
{
	bool outside = seq < s->lru.min_seq[type], probation = list == &s->lru.probation[type];
	u32 prev = FRAME_NONE, frame = list->head;

	if (outside && frame != FRAME_NONE)
		fault(a, "list outside the window (I4)", s->id, seq, s->lru.min_seq[type]);
	for (u64 n = 0; frame != FRAME_NONE; n++) {
		/* A link out of bounds, or a ring: nothing behind it can be believed. */
		if (frame >= frame_total() || n > frame_total()) {
			fault(a, "broken list (I3)", s->id, frame, seq);
			return;
		}
		expect(a, "back link (I3)", frame, frame_at(frame)->prev, prev);
		audit_listed(a, s, frame, seq, type, t);
		expect(a, "on probation, or not", frame,
		       !!(a64_load(&frame_at(frame)->state) & FRAME_PROBATION), probation);
		t->probation += probation;
		prev = frame;
		frame = frame_at(frame)->next;
	}
	expect(a, "end of a list (I3)", s->id, list->tail, prev);
}

static void audit_window(struct audit *a, const struct space *s)
{
	u64 max = a64_load(&s->lru.max_seq);

	for (unsigned type = 0; type < GEN_TYPES; type++) {
		u64 n = max - s->lru.min_seq[type] + 1;

		if (n < GEN_MIN || n > GEN_MAX)
			fault(a, "number of generations (I4)", s->id, n, GEN_MIN);
	}
}

static void audit_lists(struct audit *a, struct space *s, struct tally *t)
{
	u64 max = a64_load(&s->lru.max_seq);

	audit_window(a, s);
	for (u64 seq = max - (GEN_MAX - 1); seq <= max; seq++) {
		for (unsigned type = 0; type < GEN_TYPES; type++)
			audit_list(a, s, &s->lru.list[gen_index(seq)][type], seq,
			           (enum gen_type)type, t);
	}
	for (unsigned type = 0; type < GEN_TYPES; type++)
		audit_list(a, s, &s->lru.probation[type], s->lru.min_seq[type], (enum gen_type)type,
		           t);
	expect(a, "pages on probation", s->id, s->lru.on_probation, t->probation);
	for (unsigned g = 0; g < GEN_MAX; g++)
		for (unsigned type = 0; type < GEN_TYPES; type++)
			expect(a, "size of a generation", s->id, a64_load(&s->lru.size[g][type]),
			       (u64)t->size[g][type]);
	expect(a, "listed frames (I3)", s->id, t->listed, t->tag[GFN_RESIDENT]);
	for (unsigned i = 0; i < GUARD_LABELS && !s->lru.guard.inexact; i++)
		expect(a, "pages that are gone, by label", i, (u64)s->lru.guard.gone[i],
		       (u64)t->gone[i]);
}

static void audit_balloon(struct audit *a, struct space *s)
{
	const struct slots *slots = gfnmap_slots(s);
	u64 inside = 0;

	for (u32 i = 0; s->balloon.pages && i < slots->nr; i++) {
		const struct slot *slot = &slots->slot[i];

		for (u64 p = 0; p < slot->npages; p++) {
			if (!page_set_has(s->balloon.pages, gfn_add(slot->base, p)))
				continue;
			inside++;
			expect(a, "memory of a page in the balloon", slot->base.v + p,
			       a64_load(&slot->word[p]), 0);
		}
	}
	expect(a, "pages in the balloon", s->id, a64_load(&s->balloon.inside), inside);
}

static u64 audit_space(struct audit *a, struct space *s)
{
	struct tally t = {.listed = 0};

	audit_words(a, s, &t);
	spin_lock(&s->lru.lock);
	audit_lists(a, s, &t);
	spin_unlock(&s->lru.lock);
	a->huge_mappings += a64_load(&s->huge_mappings);
	expect(a, "invalidation left open", s->id, s->inv.in_progress, 0);
	audit_balloon(a, s);
	return t.tag[GFN_RESIDENT];
}

/* The MMUs take locks of their own; their space cannot go away, for nothing is at work. */
static u64 audit_mmus(struct space *s)
{
	u64 faults = 0;

	for (u32 i = 0; i < space_notifiers(s); i++)
		faults += s->notifier[i]->ops->audit(s->notifier[i]);
	return faults;
}

u64 audit_all(u64 *frames_checked)
{
	struct audit a = {.faults = 0};
	struct store_stats store;
	u64 resident = 0, mmu_faults = 0;

	epoch_barrier(); /* what is on its way to the allocator on this CPU arrives first */
	for (u16 id = 1; id <= SPACE_MAX; id++) {
		struct space *s;

		epoch_enter();
		s = space_at(id);
		if (s)
			resident += audit_space(&a, s);
		epoch_exit();
		if (s)
			mmu_faults += audit_mmus(s);
	}
	epoch_enter();
	audit_frames(&a);
	epoch_exit();
	expect(&a, "guest frames against resident pages (I1)", 0, a.nr_guest, resident);
	expect(&a, "frames that say huge", 0, a.nr_huge, a.huge_mappings);
	store_snapshot(&store);
	expect(&a, "pages in the pool", 0, store.objects + store.shared_pages, a.nr_objects);
	if (frames_checked)
		*frames_checked = frame_total();
	return a.faults + mmu_faults + store_audit();
}
