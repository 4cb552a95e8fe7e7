/* mm/gen with mm/refault: what is evicted first, what is protected, what the settings change. */
#include "tests/unit/lruvec.h"

#include "mm/refault.h"

#define REFS(n) ((u64)(n) << FRAME_REFS_SHIFT)

static void figures(enum gen_type type, unsigned tier, u64 total, u64 refaulted)
{
	a64_store(&l.evicted[type][tier], total);
	a64_store(&l.refaulted[type][tier], refaulted);
}

static unsigned tier_limit(enum gen_type type)
{
	unsigned limit;

	spin_lock(&l.lock);
	limit = refault_tier_limit_locked(&l, type);
	spin_unlock(&l.lock);
	return limit;
}

static void fold(enum gen_type type)
{
	spin_lock(&l.lock);
	refault_fold_locked(&l, type);
	spin_unlock(&l.lock);
}

/* --- two touches ----------------------------------------------------------------------------------- */

static void test_gen_one_touch_promotes_if_policy_says_so(void **state)
{
	u32 frame = frame_listed(FRAME_DIRTY, GEN_ENTER_UNPACKABLE);

	(void)state;
	a32_store(&policy.fault_touch, 1);
	assert_true(promote(frame));
	assert_int_equal(seq_of(frame), max_seq() - 1);
	a32_store(&policy.two_touch, 0);
	frame = frame_listed(FRAME_DIRTY, GEN_ENTER_UNPACKABLE);
	assert_true(promote(frame));
	assert_int_equal(seq_of(frame), max_seq());
	assert_true(state_of(frame) & FRAME_WORKINGSET);
	assert_int_equal(a64_load(&l.size[gen_index(max_seq())][GEN_DIRTY]), 1);
	/* The evictor's sighting counts the same. */
	frame = frame_listed(FRAME_DIRTY, GEN_ENTER_REJECTED);
	assert_int_equal(seq_of(frame), max_seq());
}

/* What is used once only is seen twice otherwise: as a fault, and as the access retried after it. */
static void test_gen_fault_is_no_touch_if_policy_says_so(void **state)
{
	u32 fresh, back, hot;

	(void)state;
	a32_store(&policy.fault_touch, 0);
	fresh = frame_listed(FRAME_DIRTY, GEN_ENTER_FRESH);
	back = frame_listed(FRAME_DIRTY, GEN_ENTER_REFAULT);
	hot = frame_listed(FRAME_DIRTY, GEN_ENTER_REFAULT_HOT);
	assert_false(state_of(fresh) & (FRAME_REFERENCED | FRAME_WORKINGSET));
	assert_false(state_of(back) & (FRAME_REFERENCED | FRAME_WORKINGSET));
	assert_true(state_of(hot) & FRAME_WORKINGSET);
	/* The retried access says how old the page is, and no more. */
	assert_true(promote(fresh));
	assert_int_equal(seq_of(fresh), max_seq());
	assert_int_equal(a64_load(&l.size[gen_index(max_seq())][GEN_DIRTY]), 2);
	assert_true(state_of(fresh) & FRAME_REFERENCED);
	assert_false(state_of(fresh) & FRAME_WORKINGSET);
	assert_true(promote(fresh));
	assert_int_equal(seq_of(fresh), max_seq());
	assert_true(state_of(fresh) & FRAME_WORKINGSET);
	a32_store(&policy.fault_touch, 1);
	fresh = frame_listed(FRAME_DIRTY, GEN_ENTER_FRESH);
	assert_true(promote(fresh));
	assert_int_equal(seq_of(fresh), max_seq());
	assert_true(state_of(fresh) & FRAME_WORKINGSET);
}

/* --- another turn ---------------------------------------------------------------------------------- */

/* Used twice, and old: it goes like a page that was used once, one turn later. */
static void test_gen_promoted_page_has_another_turn(void **state)
{
	u32 once = frame_listed(FRAME_DIRTY, GEN_ENTER_REFAULT);
	u32 hot = frame_listed(FRAME_DIRTY | FRAME_WORKINGSET, GEN_ENTER_REFAULT);
	struct gen_chunk chunk = isolate(NEUTRAL);

	(void)state;
	assert_int_equal(chunk.n, 1);
	assert_int_equal(chunk.frame[0], once);
	assert_int_equal(chunk.demoted, 1);
	assert_int_equal(chunk.scanned, 2);
	assert_int_equal(seq_of(hot), max_seq());
	assert_true(state_of(hot) & FRAME_REFERENCED);
	assert_false(state_of(hot) & FRAME_WORKINGSET);
	advance();
	advance();
	chunk = isolate(NEUTRAL);
	assert_int_equal(chunk.n, 1);
	assert_int_equal(chunk.frame[0], hot);
	assert_int_equal(chunk.demoted, 0);
	assert_int_equal(gen_total(&l), 0);
}

/* Seen once in that turn, it is promoted again, and has the next. */
static void test_gen_demoted_page_is_promoted_by_one_touch(void **state)
{
	u32 hot = frame_listed(FRAME_DIRTY | FRAME_WORKINGSET, GEN_ENTER_REFAULT);

	(void)state;
	for (unsigned turn = 0; turn < 5; turn++) {
		assert_int_equal(isolate(NEUTRAL).demoted, 1);
		assert_true(promote(hot));
		assert_true(state_of(hot) & FRAME_WORKINGSET);
		assert_int_equal(seq_of(hot), max_seq());
		advance();
		advance();
	}
	assert_int_equal(gen_total(&l), 1);
}

/* Where all pages are hot, one goes all the same, after as many were spared as are allowed. */
static void test_gen_all_hot_still_gives(void **state)
{
	struct gen_chunk chunk;
	u32 due = 0;

	(void)state;
	for (unsigned i = 0; i < 2 * GEN_DEMOTE_MAX; i++) {
		u32 frame = frame_listed(FRAME_DIRTY | FRAME_WORKINGSET, GEN_ENTER_REFAULT);

		if (i == GEN_DEMOTE_MAX)
			due = frame;
	}
	a32_store(&policy.chunk, 1);
	chunk = isolate(NEUTRAL);
	assert_int_equal(chunk.n, 1);
	assert_int_equal(chunk.demoted, GEN_DEMOTE_MAX);
	assert_int_equal(chunk.frame[0], due);
	chunk = isolate(NEUTRAL);
	assert_int_equal(chunk.n, 0);
	assert_int_equal(chunk.demoted, GEN_DEMOTE_MAX - 1);
}

/* Not where a generation is asked for, not what is pinned, and not if the policy says no. */
static void test_gen_promoted_page_goes_where_it_is_asked_for(void **state)
{
	u32 hot = frame_listed(FRAME_DIRTY | FRAME_WORKINGSET, GEN_ENTER_REFAULT);
	struct gen_chunk chunk;

	(void)state;
	assert_true(frame_pin_try(hot));
	chunk = isolate(NEUTRAL);
	assert_int_equal(chunk.n + chunk.demoted, 0);
	assert_int_equal(chunk.rotated, 1);
	assert_true(state_of(hot) & FRAME_WORKINGSET);
	frame_unpin(hot);
	advance();
	gen_isolate(&l, NEUTRAL, max_seq() - GEN_MIN, GEN_BATCH, &chunk);
	assert_int_equal(chunk.n, 1);
	a32_store(&policy.demote, 0);
	(void)frame_listed(FRAME_DIRTY | FRAME_WORKINGSET, GEN_ENTER_REFAULT);
	advance();
	chunk = isolate(NEUTRAL);
	assert_int_equal(chunk.n, 1);
	assert_int_equal(chunk.demoted, 0);
}

/* --- chunks ---------------------------------------------------------------------------------------- */

static void test_gen_isolate_takes_what_policy_calls_a_chunk(void **state)
{
	const u32 chunks[] = {1, 5, GEN_BATCH, 1000, POLICY_CHUNK_AUTO};
	struct gen_chunk chunk;

	(void)state;
	for (unsigned i = 0; i < 4 * GEN_BATCH; i++)
		(void)frame_listed(FRAME_DIRTY, GEN_ENTER_REFAULT);
	for (unsigned i = 0; i < ARRAY_SIZE(chunks); i++) {
		a32_store(&policy.chunk, chunks[i]);
		gen_isolate(&l, NEUTRAL, EVICT_ANY_SEQ, GEN_BATCH, &chunk);
		assert_int_equal(chunk.n, chunks[i] ? min_of(chunks[i], GEN_BATCH) : GEN_BATCH);
		assert_int_equal(chunk.scanned, chunk.n);
	}
	/* Left open, it is the space's. */
	a32_store(&l.chunk, 7);
	gen_isolate(&l, NEUTRAL, EVICT_ANY_SEQ, GEN_BATCH, &chunk);
	assert_int_equal(chunk.n, 7);
	a32_store(&policy.chunk, 2);
	gen_isolate(&l, NEUTRAL, EVICT_ANY_SEQ, GEN_BATCH, &chunk);
	assert_int_equal(chunk.n, 2);
	/* Who has taken some already takes no more than the rest. */
	a32_store(&policy.chunk, GEN_BATCH);
	gen_isolate(&l, NEUTRAL, EVICT_ANY_SEQ, 3, &chunk);
	assert_int_equal(chunk.n, 3);
}

/* --- tiers ----------------------------------------------------------------------------------------- */

/* Tier t is spared if it comes back more than half as often again as tier 0: gains 2 and 3. */
static void test_gen_tier_limit_follows_refaults(void **state)
{
	(void)state;
	assert_int_equal(tier_limit(GEN_DIRTY), 2);
	figures(GEN_DIRTY, 0, 1000, 100);
	figures(GEN_DIRTY, 1, 1000, 142); /* 142 * 1064 * 2 <= 101 * 1000 * 3 */
	assert_int_equal(tier_limit(GEN_DIRTY), 2);
	figures(GEN_DIRTY, 1, 1000, 143);
	assert_int_equal(tier_limit(GEN_DIRTY), 0);
	figures(GEN_DIRTY, 1, 1000, 100);
	figures(GEN_DIRTY, 2, 1000, 500);
	assert_int_equal(tier_limit(GEN_DIRTY), 1);
	assert_int_equal(tier_limit(GEN_CLEAN), 2);
}

/* Protected pages have no refaults: they are part of the total, or the rate would look worse than it is. */
static void test_gen_tier_limit_counts_the_protected(void **state)
{
	(void)state;
	figures(GEN_DIRTY, 0, 1000, 100);
	figures(GEN_DIRTY, 1, 500, 143);
	assert_int_equal(tier_limit(GEN_DIRTY), 0);
	l.protected_[GEN_DIRTY][1] = 600;
	assert_int_equal(tier_limit(GEN_DIRTY), 2);
}

static void test_gen_few_refaults_prove_nothing(void **state)
{
	(void)state;
	figures(GEN_DIRTY, 1, 64, 63);
	assert_int_equal(tier_limit(GEN_DIRTY), 2);
	figures(GEN_DIRTY, 1, 64, 64);
	assert_int_equal(tier_limit(GEN_DIRTY), 0);
}

/* What was weighs half of what is, a quarter after the next generation. */
static void test_gen_tier_limit_remembers_by_halves(void **state)
{
	(void)state;
	figures(GEN_DIRTY, 1, 400, 300);
	fold(GEN_DIRTY);
	assert_int_equal(l.avg_refaulted[GEN_DIRTY][1], 150);
	assert_int_equal(tier_limit(GEN_DIRTY), 0);
	fold(GEN_DIRTY);
	assert_int_equal(l.avg_refaulted[GEN_DIRTY][1], 75);
	assert_int_equal(tier_limit(GEN_DIRTY), 0);
	fold(GEN_DIRTY);
	assert_int_equal(tier_limit(GEN_DIRTY), 2); /* 37 */
}

static void test_gen_protected_tier_stays_for_a_generation(void **state)
{
	u32 plain = frame_listed(FRAME_DIRTY, GEN_ENTER_REFAULT);
	u32 used = frame_listed(FRAME_DIRTY | REFS(1), GEN_ENTER_REFAULT);
	struct gen_chunk chunk;

	(void)state;
	figures(GEN_DIRTY, 1, 200, 150);
	chunk = isolate(NEUTRAL);
	assert_int_equal(chunk.n, 1);
	assert_int_equal(chunk.frame[0], plain);
	assert_int_equal(chunk.protected_, 1);
	assert_int_equal(chunk.scanned, 2);
	assert_int_equal(chunk.rotated + chunk.sorted, 0);
	assert_int_equal(seq_of(used), 2);
	assert_int_equal(a64_load(&l.size[2][GEN_DIRTY]), 1);
	/* Generation 0 was empty, 1 was used up: their figures are history by now. */
	assert_int_equal(l.avg_total[GEN_DIRTY][1], (200 / 2 + 1) / 2);
	/* The accesses are spent, and it goes next time. */
	assert_false(state_of(used) & (FRAME_REFS | FRAME_REFERENCED));
	advance();
	chunk = isolate(NEUTRAL);
	assert_int_equal(chunk.n, 1);
	assert_int_equal(chunk.frame[0], used);
}

/* Saturated and workingset: no controller is asked. Without workingset it is. */
static void test_gen_last_tier_is_always_protected(void **state)
{
	u32 hot = frame_listed(FRAME_DIRTY | REFS(3) | FRAME_WORKINGSET, GEN_ENTER_REFAULT);
	u32 used = frame_listed(FRAME_DIRTY | REFS(3), GEN_ENTER_REFAULT);
	struct gen_chunk chunk;

	(void)state;
	a32_store(&policy.demote, 0);
	chunk = isolate(NEUTRAL);
	assert_int_equal(chunk.n, 1);
	assert_int_equal(chunk.frame[0], used);
	assert_int_equal(chunk.protected_, 1);
	assert_int_equal(seq_of(hot), 2);
	assert_true(state_of(hot) & FRAME_WORKINGSET);
}

static void test_gen_software_accesses_make_the_tier(void **state)
{
	u32 frame = frame_listed(FRAME_DIRTY, GEN_ENTER_UNPACKABLE);

	(void)state;
	assert_int_equal(refault_tier(state_of(frame)), 0);
	frame_mark_accessed(frame);
	assert_int_equal(refault_tier(state_of(frame)), 0); /* the first is the reference */
	frame_mark_accessed(frame);
	assert_int_equal(refault_tier(state_of(frame)), 1);
	frame_mark_accessed(frame);
	assert_int_equal(refault_tier(state_of(frame)), 2);
	/* An Accessed bit on top: promoted, and the accesses have done their work. */
	assert_true(promote(frame));
	assert_int_equal(seq_of(frame), max_seq());
	assert_int_equal(refault_tier(state_of(frame)), 0);
}

static void test_gen_pinned_is_rotated_and_keeps_its_accesses(void **state)
{
	u32 frame = frame_listed(FRAME_DIRTY | REFS(2), GEN_ENTER_REFAULT);
	struct gen_chunk chunk;

	(void)state;
	assert_true(frame_pin_try(frame));
	chunk = isolate(NEUTRAL);
	assert_int_equal(chunk.n, 0);
	assert_int_equal(chunk.rotated, 1);
	assert_int_equal(chunk.protected_, 0);
	assert_int_equal(state_of(frame) & FRAME_REFS, REFS(2));
	frame_unpin(frame);
}

/* --- types ----------------------------------------------------------------------------------------- */

static void list_one_of_each(void)
{
	(void)frame_listed(FRAME_DIRTY, GEN_ENTER_REFAULT);
	(void)frame_listed(0, GEN_ENTER_REFAULT);
}

static enum gen_type choice(unsigned swappiness)
{
	enum gen_type type;

	spin_lock(&l.lock);
	type = refault_choose_type_locked(&l, swappiness);
	spin_unlock(&l.lock);
	return type;
}

static void test_gen_swappiness_zero_takes_clean_only(void **state)
{
	struct gen_chunk chunk;

	(void)state;
	list_one_of_each();
	figures(GEN_CLEAN, 0, 100, 100);
	chunk = isolate(0);
	assert_int_equal(chunk.n, 1);
	assert_int_equal(chunk.type, GEN_CLEAN);
	assert_true(chunk.need_aging);
	chunk = isolate(0);
	assert_int_equal(chunk.n, 0);
	assert_int_equal(chunk.scanned, 0);
	assert_true(chunk.need_aging);
	chunk = isolate(1);
	assert_int_equal(chunk.n, 1);
	assert_int_equal(chunk.type, GEN_DIRTY);
}

static void test_gen_swappiness_full_takes_dirty_first(void **state)
{
	struct gen_chunk chunk;

	(void)state;
	list_one_of_each();
	figures(GEN_DIRTY, 0, 100, 100);
	chunk = isolate(POLICY_SWAPPINESS_MAX);
	assert_int_equal(chunk.n, 1);
	assert_int_equal(chunk.type, GEN_DIRTY);
	/* There are no others. */
	chunk = isolate(POLICY_SWAPPINESS_MAX);
	assert_int_equal(chunk.n, 1);
	assert_int_equal(chunk.type, GEN_CLEAN);
}

static void test_gen_swappiness_weighs_the_refaults(void **state)
{
	(void)state;
	assert_int_equal(choice(NEUTRAL), GEN_CLEAN);
	/* Clean ones come back four times as often. */
	l.avg_refaulted[GEN_CLEAN][0] = 400;
	l.avg_total[GEN_CLEAN][0] = 1000;
	l.avg_refaulted[GEN_DIRTY][0] = 99;
	l.avg_total[GEN_DIRTY][0] = 1000 - 64;
	assert_int_equal(choice(NEUTRAL), GEN_DIRTY);
	/* 400 * 1000 * s <= 100 * 1000 * (200 - s): up to 40. */
	assert_int_equal(choice(40), GEN_CLEAN);
	assert_int_equal(choice(41), GEN_DIRTY);
}

/* All tiers of a type count together. */
static void test_gen_swappiness_sums_the_tiers(void **state)
{
	(void)state;
	for (unsigned tier = 0; tier < GEN_TIERS; tier++) {
		l.avg_refaulted[GEN_CLEAN][tier] = 40;
		l.avg_total[GEN_CLEAN][tier] = 100;
	}
	assert_int_equal(choice(NEUTRAL), GEN_DIRTY);
	l.avg_refaulted[GEN_CLEAN][0] = l.avg_refaulted[GEN_CLEAN][1] = 0;
	l.avg_refaulted[GEN_CLEAN][2] = 23; /* 63 */
	assert_int_equal(choice(NEUTRAL), GEN_CLEAN);
}

/* As long as refaults prove nothing: what is cheap to evict is not evicted before what is older. */
static void test_gen_older_type_goes_without_evidence(void **state)
{
	(void)state;
	(void)frame_listed(FRAME_DIRTY, GEN_ENTER_REFAULT);
	advance();
	(void)frame_listed(0, GEN_ENTER_REFAULT);
	spin_lock(&l.lock);
	gen_trim_locked(&l, GEN_CLEAN);
	gen_trim_locked(&l, GEN_DIRTY);
	spin_unlock(&l.lock);
	assert_int_equal(choice(NEUTRAL), GEN_DIRTY);
	figures(GEN_CLEAN, 0, 1000, 63);
	assert_int_equal(choice(NEUTRAL), GEN_DIRTY);
	figures(GEN_CLEAN, 0, 100000, 64);
	assert_int_equal(choice(NEUTRAL), GEN_CLEAN);
	figures(GEN_CLEAN, 0, 1000, 0);
	(void)frame_listed(FRAME_DIRTY, GEN_ENTER_DEACTIVATED);
	assert_int_equal(choice(NEUTRAL), GEN_DIRTY);
}

/* The other type only when nothing at all was looked at: else the choice would be undone. */
static void test_gen_other_type_only_when_there_was_nothing(void **state)
{
	u32 clean = frame_listed(0, GEN_ENTER_REFAULT);
	struct gen_chunk chunk;

	(void)state;
	(void)frame_listed(FRAME_DIRTY, GEN_ENTER_REFAULT);
	figures(GEN_CLEAN, 0, 1000000, 1000);
	assert_true(promote(clean));
	chunk = isolate(NEUTRAL);
	assert_int_equal(chunk.n, 0);
	assert_int_equal(chunk.sorted, 1);
	assert_false(chunk.need_aging);
	chunk = isolate(NEUTRAL);
	assert_int_equal(chunk.n, 1);
	assert_int_equal(chunk.type, GEN_DIRTY);
}

static void test_gen_isolate_leaves_what_is_younger_than_asked(void **state)
{
	struct gen_chunk chunk;

	(void)state;
	(void)frame_listed(FRAME_DIRTY, GEN_ENTER_FRESH); /* 2 */
	(void)frame_listed(0, GEN_ENTER_REFAULT);         /* 1 */
	advance();
	gen_isolate(&l, NEUTRAL, 0, GEN_BATCH, &chunk);
	assert_int_equal(chunk.scanned, 0);
	gen_isolate(&l, POLICY_SWAPPINESS_MAX, 1, GEN_BATCH, &chunk);
	assert_int_equal(chunk.n, 1);
	assert_int_equal(chunk.seq, 1);
	gen_isolate(&l, NEUTRAL, 1, GEN_BATCH, &chunk);
	assert_int_equal(chunk.scanned, 0);
	assert_false(chunk.need_aging);
	gen_isolate(&l, NEUTRAL, 2, GEN_BATCH, &chunk);
	assert_int_equal(chunk.n, 1);
	assert_int_equal(chunk.seq, 2);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_gen_one_touch_promotes_if_policy_says_so),
	        T(test_gen_fault_is_no_touch_if_policy_says_so),
	        T(test_gen_promoted_page_has_another_turn),
	        T(test_gen_demoted_page_is_promoted_by_one_touch),
	        T(test_gen_promoted_page_goes_where_it_is_asked_for),
	        T(test_gen_all_hot_still_gives),
	        T(test_gen_older_type_goes_without_evidence),
	        T(test_gen_isolate_takes_what_policy_calls_a_chunk),
	        T(test_gen_tier_limit_follows_refaults),
	        T(test_gen_tier_limit_counts_the_protected),
	        T(test_gen_few_refaults_prove_nothing),
	        T(test_gen_tier_limit_remembers_by_halves),
	        T(test_gen_protected_tier_stays_for_a_generation),
	        T(test_gen_last_tier_is_always_protected),
	        T(test_gen_software_accesses_make_the_tier),
	        T(test_gen_pinned_is_rotated_and_keeps_its_accesses),
	        T(test_gen_swappiness_zero_takes_clean_only),
	        T(test_gen_swappiness_full_takes_dirty_first),
	        T(test_gen_swappiness_weighs_the_refaults),
	        T(test_gen_swappiness_sums_the_tiers),
	        T(test_gen_other_type_only_when_there_was_nothing),
	        T(test_gen_isolate_leaves_what_is_younger_than_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
