/*
 * From whom: the VM-LRU says whose turn it is. A pass wants so many frames; what a turn is worth is fixed
 * when the pass begins, from what everybody holds above what is promised to it. It takes visit by visit, of
 * at most GEN_BATCH frames, and looks after each whether it may stop. In order:
 *
 *   1 spaces that are idle stand first, and give without regard to their account
 *   2 spaces that hold more than their low
 *   3 only when that brought nothing: those that hold more than their min
 *
 * What does not pack at all may be met before what does. A call of the evictor ends when it has packed so much in
 * vain (EVICT_DECLINED_MAX), and then it is not known yet what the space has: it is *searched*. Nothing follows
 * from its having given nothing: no page of those below their low goes, no idle space is passed over the next
 * time, no VM is named that has to go. A vCPU that helps itself leaves the space to its next try, for nobody
 * else has a turn on its CPU; who lets others run goes on with it.
 *
 * That ends. Only pages count that were not marked (FRAME_UNPACKABLE), of which each time that a space is found
 * searched leaves EVICT_DECLINED_MAX fewer, unless the guest writes to others. If it does so for ever, the space is searched
 * until as many were declined as it has: what one call without the bound looked at. From then on it
 * counts as one that gave nothing, until it gives a frame or a try declines none; the latter is a try that
 * counts. So between two that do, a pass finds each space searched a bounded number of times, and ends. Where none
 * rewrites what does not pack, it finds a bounded number for ever, so hope ends too; where some do, the time
 * without a frame after which a VM is named stands still for no more pages than there are. A full pool (STORE_FULL)
 * marks nothing and is no search.
 *
 * A space that gives nothing is aged, tried again at the end of the round, and as often as it takes for what
 * was young at the beginning to be cold. Generations younger than min_ttl are not touched: that is policy
 * and no sign that nothing is left, so before a VM is named that has to go, the pool is let go to the disk if there is
 * one, and the copies are given up that the pool keeps of pages that are resident as well.
 */
#include "mm/reclaim.h"

#include "arch/hal.h"
#include "lib/fmt.h"
#include "lib/profile.h"
#include "lib/string.h"
#include "mm/age.h"
#include "mm/balloon.h"
#include "mm/direct.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/fault.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/limits.h"
#include "mm/notifier.h"
#include "mm/policy.h"
#include "mm/space.h"
#include "mm/store.h"
#include "mm/swap.h"
#include "mm/twolist.h"
#include "mm/victim.h"
#include "mm/vmlru.h"

#define ROUNDS            (GEN_MAX + 1u) /* agings after which what was young at the start is cold */
#define CLOSED_WALKS      3u
#define OOM_PATIENCE      8u
#define OOM_FRUITLESS_NS  2000000000u /* no frame for so long: young pages are no excuse any more */
#define OOM_PACKABLE_PART 16u /* of all frames: fewer that can be packed are too few to live on */
#define QUIET_NS          10000000u /* pause of the background thread after a round in vain */

static const struct reclaim_ops *ops;
static a32 failures; /* direct reclaims in a row that found nothing to hope for */
static a32 victim;   /* id of the space that is being stopped, 0 = none */
static a64 quiet_until_ns;
static a64 fruitless_since_ns; /* direct reclaim frees nothing since then; 0: it does */
static a64 fruitless_declined; /* pages that it packed in vain since then */
static a32 ttl_kept;     /* the last pass that freed nothing met pages younger than min_ttl only */
static a32 writers_wait; /* a faulting vCPU met a chunk of dirty pages only */

void reclaim_init(const struct reclaim_ops *reclaim_ops)
{
	ops = reclaim_ops;
	a32_store(&failures, 0);
	a32_store(&victim, 0);
	direct_init();
	a64_store(&quiet_until_ns, 0);
	a64_store(&fruitless_since_ns, 0);
	a64_store(&fruitless_declined, 0);
	a32_store(&ttl_kept, 0);
	a32_store(&writers_wait, 0);
}

void reclaim_yield(void)
{
	if (ops && ops->yield)
		ops->yield();
}

bool reclaim_needed(void)
{
	u64 free = frame_free_count();

	return free < frame_marks.low || (free < frame_marks.high && a32_load(&writers_wait));
}

void reclaim_wake(void)
{
	if (ops && hal_time_ns() >= a64_load(&quiet_until_ns))
		ops->wake();
}

/* --- a pass over the VM-LRU ------------------------------------------------------------------------ */

struct pass {
	u64 target, freed;
	int swappiness;
	bool background; /* others may run between visits; ends when free memory is well above the mark */
	bool asked;  /* the former only */
	bool last;   /* nobody has anything above its low */
	bool lows;   /* somebody has a low above its min */
	bool open;   /* somebody met in this walk may still give something */
	bool waited; /* ... and somebody only waits for its turn: ahead of those who gave nothing */
	bool hope;   /* something moved: it may be worth trying again */
	bool ttl;    /* min_ttl kept something */
	bool search; /* somebody is searched, who may have what packs behind what does not */
	bool all_dirty; /* a chunk was packed of which no page had a copy */
	u64 declined;   /* pages packed in vain */
	u64 in_vain;    /* ... since somebody was found searched */
	u64 size;       /* frames that spaces hold above their floors */
	u8 tried[SPACE_MAX];
};

/* Idle, as long as that has not proved to be of no use. */
static bool gives_first(struct space *s)
{
	if (space_idle(s))
		return !a32_load(&s->barren);
	if (a32_load(&s->barren))
		a32_store(&s->barren, 0);
	return false;
}

/* Frames above the floors, all spaces; idle ones go where they are met first. */
static void pass_measure(struct pass *p)
{
	p->size = 0;
	epoch_enter();
	for (u16 id = 1; id <= SPACE_MAX; id++) {
		struct space *s = space_at(id);
		u64 resident = s && !a32_load(&s->dying) ? a64_load(&s->resident) : 0;
		u64 floor = s ? limits_floor(s, p->last) : 0;

		p->size += resident > floor ? resident - floor : 0;
		p->lows |= resident && floor > limits_floor(s, true);
		if (resident && gives_first(s))
			vmlru_rotate(s, VMLRU_HEAD);
	}
	epoch_exit();
}

static bool pass_done(const struct pass *p)
{
	return p->freed >= p->target ||
	       (p->background && frame_free_count() >= frame_marks.high + GEN_BATCH);
}

/* What a try at a space brought. */
struct taken {
	u64 freed;
	u64 declined;
	bool aged; /* a chunk gave nothing before it was */
	bool searched;
};

/* May it have what packs, behind what was declined until now? */
static bool is_searched(struct space *s, u64 declined, struct pass *p)
{
	p->declined += declined;
	p->in_vain += declined;
	if (!declined || p->in_vain < EVICT_DECLINED_MAX)
		return false;
	p->in_vain = 0;
	return a64_load(&s->declined) <= gen_total(&s->lru);
}

/* After a try: how much may be declined before it counts as one that gave nothing? As much as there is once more. */
static void settle(struct space *s, const struct taken *t)
{
	if ((t->freed || (!t->declined && !t->searched)) && a64_load(&s->declined))
		a64_store(&s->declined, 0);
}

/* Returns whether the space needs aging. */
static bool evict_once(struct space *s, u64 last_seq, struct pass *p, struct taken *t)
{
	/* Target 1: returns after the first chunk that frees anything. */
	const struct evict_request request = {1, p->swappiness, last_seq,
	                                      GEN_BATCH - (unsigned)t->freed};
	struct evict_result r = evict_space(s, request);

	t->freed += r.freed;
	t->declined += r.declined;
	a64_count(&s->declined, r.declined);
	t->searched = !r.freed && is_searched(s, r.declined, p);
	p->search |= t->searched;
	p->hope |= r.freed || r.rejected || r.sorted || r.protected_ || t->searched;
	p->all_dirty |= r.dirty_chunks != 0;
	return r.need_aging;
}

/*
 * At most GEN_BATCH frames, which is what vmlru_turn() counts on; where a chunk gives nothing, once more after an
 * aging. Chunks are small where memory is (mm/evict.c): if each were a visit of its own, those that have nothing
 * to give would be aged several times while others give. Without a pass: the first chunk that frees anything.
 */
static struct taken evict_visit(struct space *s, u64 last_seq, struct pass *p)
{
	struct taken t = {.freed = 0};

	for (;;) {
		u64 max_seq = a64_load(&s->lru.max_seq), before = t.freed;
		bool need_aging = evict_once(s, last_seq, p, &t);

		if (t.freed > before) {
			if (t.freed >= GEN_BATCH || p->freed + t.freed >= p->target)
				return t;
			continue;
		}
		if (!need_aging || t.aged || t.searched)
			return t;
		t.aged = true;
		p->hope |= age_space(s, max_seq, false).promoted != 0;
	}
}

/*
 * Frames with tables are the space's too, and can be made again from what the guest has: they go before its
 * pages do, in the share that they have of what it holds. Which of them, the MMU knows.
 */
static u64 shrink_tables(struct space *s)
{
	u64 tables = a64_load(&s->tables), all = tables + a64_load(&s->resident), given;

	if (!tables)
		return 0;
	profile_begin(PROFILE_SHRINK);
	given = notifier_shrink(s, max_of(tables * GEN_BATCH / all, 1ull));
	profile_end(PROFILE_SHRINK);
	return given;
}

/*
 * Aging an idle space costs no walk, and there is nothing to wait for: its pages are made as old as it
 * takes. Accessed bits from before it went to sleep are still there: the evictor rejects each page once.
 */
static struct taken evict_idle(struct space *s, u64 last_seq, struct pass *p)
{
	struct taken t = {.freed = 0};

	for (unsigned i = 0; i < 2 * ROUNDS && !t.freed && !t.searched; i++)
		t = evict_visit(s, last_seq, p);
	if (!t.freed && !t.searched)
		a32_store(&s->barren, 1);
	t.aged = true;
	return t;
}

/* How often it was tried, after one more time that brought this. */
static u8 tries_after(const struct pass *p, u8 tried, const struct taken *t)
{
	if (t->freed)
		return 0;
	if (t->searched)
		return p->background || p->asked ? tried : ROUNDS;
	return (u8)(tried + 1);
}

static void visit(struct space *s, u64 floor, bool idle, struct pass *p)
{
	u64 budget = idle ? 0 : limits_budget(s, floor, p->size, p->target);
	u8 *tried = &p->tried[s->id - 1];
	u64 last_seq, tables;
	struct taken t;

	switch (vmlru_turn(s, floor, budget)) {
	case VMLRU_PROTECTED:
		return;
	case VMLRU_WAIT:
		p->open = p->waited = true;
		return;
	case VMLRU_TAKE:
		break;
	}
	if (!limits_last_seq(s, hal_time_ns(), &last_seq)) {
		p->ttl = true;
		*tried = ROUNDS;
		vmlru_taken(s, 0, true);
		return;
	}
	tables = shrink_tables(s);
	t = idle ? evict_idle(s, last_seq, p) : evict_visit(s, last_seq, p);
	t.freed += tables;
	vmlru_taken(s, t.freed, t.aged);
	p->freed += t.freed;
	settle(s, &t);
	*tried = tries_after(p, *tried, &t);
	p->open = true;
}

/* `behind`: in the walk before, others were only waiting for their turn. */
static void meet(struct space *s, bool behind, struct pass *p)
{
	u64 floor = limits_floor(s, p->last);
	u8 tried = p->tried[s->id - 1];

	if (tried >= ROUNDS || (tried && behind)) {
		p->open |= tried < ROUNDS;
		vmlru_rotate(s, VMLRU_YOUNG);
		return;
	}
	visit(s, floor, gives_first(s), p);
}

static void walk_once(struct pass *p)
{
	struct vmlru_walk walk;
	bool behind = p->waited;
	enum profile_kind who = p->background || p->asked ? PROFILE_BACKGROUND : PROFILE_DIRECT;

	p->open = p->waited = false;
	vmlru_walk_begin(&walk);
	while (!pass_done(p)) {
		struct space *s = vmlru_walk_next(&walk);

		if (!s)
			break;
		/* A root: it ends before others may run here. */
		profile_begin(who);
		meet(s, behind, p);
		space_put(s);
		epoch_poll();
		profile_end(who);
		/* Nothing is pinned here: who drains a space may wait for what we pin on this very CPU. */
		if (p->background || p->asked)
			reclaim_yield();
	}
}

/* Until the target is met, or nobody met may give anything any more. */
static void walk_until_done(struct pass *p)
{
	unsigned closed = 0;

	pass_measure(p);
	/* Who gave nothing at the end of a round keeps the others from being met in one more walk. */
	while (!pass_done(p) && closed < CLOSED_WALKS) {
		walk_once(p);
		closed = p->open ? 0 : closed + 1;
	}
}

static void run_pass(struct pass *p)
{
	walk_until_done(p);
	if (!p->freed && p->lows && !p->search) {
		p->last = true;
		memset(p->tried, 0, sizeof(p->tried));
		walk_until_done(p);
	}
	epoch_poll();
	a32_store(&ttl_kept, !p->freed && p->ttl);
}

/* Keeps the books that reclaim_out_of_memory() judges by. */
static void count_progress(const struct pass *p)
{
	u64 none = 0;

	/* What is protected today will be older tomorrow. */
	if (p->hope || p->ttl)
		a32_store(&failures, 0);
	else
		a32_count(&failures, 1);
	if (p->freed) {
		a64_store(&fruitless_since_ns, 0);
		a64_store(&fruitless_declined, 0);
		return;
	}
	a64_count(&fruitless_declined, p->declined);
	if (p->search && a64_load(&fruitless_declined) <= frame_total())
		a64_store(&fruitless_since_ns, hal_time_ns());
	else
		a64_cas(&fruitless_since_ns, &none, hal_time_ns());
}

bool reclaim_nothing_packable(void)
{
	return frame_free_count() < frame_marks.min &&
	       frame_packable_count() < frame_total() / OOM_PACKABLE_PART;
}

/*
 * Nothing that could be packed was found several times in a row; or there was hope, for pages were young,
 * but it did not come true for long: pages that are used all the time and pack badly look like that.
 */
static bool exhausted(void)
{
	u64 since = a64_load(&fruitless_since_ns);

	return a32_load(&failures) >= OOM_PATIENCE || reclaim_nothing_packable() ||
	       (since && hal_time_ns() - since > OOM_FRUITLESS_NS);
}

u64 reclaim_direct(struct space *for_whom)
{
	struct pass p = {.target = GEN_BATCH, .swappiness = EVICT_SWAPPINESS_POLICY};

	run_pass(&p);
	a64_count(&for_whom->stats.direct_reclaims_total, 1);
	count_progress(&p);
	/* Each of its pages had to be packed first: let somebody else do that before the next fault. */
	if (p.all_dirty) {
		a64_count(&for_whom->stats.dirty_chunks_total, 1);
		a32_store(&writers_wait, 1);
		if (ops)
			ops->wake();
	}
	return p.freed;
}

bool reclaim_background(void)
{
	u64 free;

	a32_store(&writers_wait, 0);
	while ((free = frame_free_count()) < frame_marks.high) {
		struct pass p = {.target = frame_marks.high - free,
		                 .swappiness = EVICT_SWAPPINESS_POLICY,
		                 .background = true};

		run_pass(&p);
		if (!p.hope)
			a64_store(&quiet_until_ns, hal_time_ns() + QUIET_NS);
		if (!p.freed)
			return p.hope;
	}
	return false;
}

u64 reclaim_asked(u64 frames, int swappiness)
{
	struct pass p = {.target = frames, .swappiness = swappiness, .asked = true};

	run_pass(&p);
	return p.freed;
}

/* --- limits ---------------------------------------------------------------------------------------- */

bool reclaim_self(struct space *s, int swappiness, u64 *freed)
{
	struct pass p = {.swappiness = swappiness};
	struct taken t = {.freed = 0};

	*freed = shrink_tables(s);
	for (unsigned round = 0; round < ROUNDS && !*freed && !t.searched; round++) {
		t = evict_visit(s, EVICT_ANY_SEQ, &p);
		*freed += t.freed;
	}
	settle(s, &t);
	epoch_poll();
	return *freed || t.searched;
}

void reclaim_at_limit(struct space *s)
{
	u64 freed;

	a64_count(&s->stats.limit_reclaims_total, 1);
	(void)reclaim_self(s, EVICT_SWAPPINESS_POLICY, &freed);
	if (!freed)
		a64_count(&s->stats.over_limit_total, 1);
}

/* One chunk of what the space has above its limit; false: there is nothing, or nothing to be had. */
static bool reduce_to_limit(u16 id)
{
	struct space *s = space_get_id(id);
	bool more = false;
	u64 freed;

	if (!s)
		return false;
	if (limits_over(s))
		more = reclaim_self(s, EVICT_SWAPPINESS_POLICY, &freed);
	space_put(s);
	return more;
}

void reclaim_limits(void)
{
	for (u16 id = 1; id <= SPACE_MAX; id++)
		while (reduce_to_limit(id))
			reclaim_yield();
}

void reclaim_age_periodic(u64 now_ns, u64 period_ns)
{
	if (!policy_has(POLICY_CORE) || twolist_on())
		return;
	for (u16 id = 1; id <= SPACE_MAX; id++) {
		struct space *s = space_get_id(id);
		u64 max_seq, born;

		if (!s)
			continue;
		/* Noticed before anybody needs its memory. */
		(void)gives_first(s);
		spin_lock(&s->lru.lock);
		max_seq = a64_load(&s->lru.max_seq);
		born = s->lru.birth_ns[gen_index(max_seq)];
		spin_unlock(&s->lru.lock);
		if (now_ns >= born + period_ns)
			age_space(s, max_seq, false);
		space_put(s);
	}
	epoch_poll();
}

/* --- who has to go --------------------------------------------------------------------------------- */

bool reclaim_out_of_memory(void)
{
	u64 share = 0, held = 0;
	struct space *s;
	char why[128];
	u32 none = 0;
	u16 id;

	if (a32_load(&victim) || !exhausted())
		return false;
	if (swap_makes_room() || victim_copies_first()) {
		a32_store(&failures, 0);
		a64_store(&fruitless_since_ns, 0);
		return false;
	}
	if (balloon_before_kill())
		return false;
	id = victim_choose(&share, &held);
	s = id ? space_get_id(id) : NULL;
	if (!s)
		return false;
	/* ord R1: one victim at a time; what is read next is no older than the drain of the last; pairs with ord R2 */
	if (!a32_cas(&victim, &none, id)) {
		space_put(s);
		return false;
	}
	/* One may have come and gone since we looked: then there are frames. */
	if (!exhausted()) {
		reclaim_drained(s);
		space_put(s);
		return false;
	}
	a32_store(&failures, 0);
	a64_store(&fruitless_since_ns, 0);
	fmt_snprintf(why, sizeof(why), "%s; it holds %llu frames, its share is %llu",
	             a32_load(&ttl_kept) ? "min_ttl protects all that could be packed"
	                                 : "nothing more can be packed",
	             (unsigned long long)held, (unsigned long long)share);
	/* No order: who reads it late finds no frame once more. The drain has its own (ord SP1). */
	a32_store(&s->dying, 1);
	if (ops)
		ops->out_of_memory(s, why);
	space_put(s);
	return true;
}

void reclaim_drained(const struct space *s)
{
	/*
	 * While it is the victim nobody else changes the word: the drain waits for who judged it. ord R2: its frames
	 * are free before another is judged; pairs with ord R1.
	 */
	if (a32_load(&victim) == s->id)
		a32_store_release(&victim, 0);
}
