/*
 * Random schedules of everything mm does, against an oracle that remembers every word of every page.
 *
 * One thread plays all CPUs. At the seams of an eviction (about to zap, zapped but not flushed, flushed but
 * not stored, storing, bringing in) other CPUs come in between: they access the very pages that are on
 * their way out, rescue them, write them through stale TLB entries, reclaim by themselves. What a guest
 * reads must be what it last wrote, whatever happened.
 *
 * VARVE_STEPS: steps altogether; VARVE_SEED: one seed only. model_mm_store.c is the same with the real store,
 * model_mm_swap.c with a disk below it, that is late, fails now and then, and ends a guest thereby.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mm/age.h"
#include "mm/audit.h"
#include "mm/epoch.h"
#include "mm/evict.h"
#include "mm/frame.h"
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "mm/reclaim.h"
#include "mm/store.h"
#include "tests/host/fake_mmu.h"
#include "tests/host/hal.h"
#include "tests/model/disk.h"
#include "tests/model/steps.h"
#ifndef MODEL_REAL_STORE
#include "tests/host/fake/store.c"
#endif

#define GUESTS    3u
#define PAGES     200u
#define FRAMES    300u
#define WORDS     (PAGE_SIZE / 8)
#define SEEDS     8u
#define SEED_NEAR 2u /* looked at after each step */
#define DEPTH_MAX 3u
#define AUDIT     200u /* steps between two looks at everything, for which all comes to rest */
#define PINS      6u
#define FUEL      12u
#define STEP_NS   400000u /* a step takes so long at most */

struct guest {
	struct fake_guest fake;
	u64 *oracle; /* PAGES * WORDS */
};

static struct guest guests[GUESTS];
static u64 rnd, this_seed, step;
static unsigned depth; /* CPUs that have come in between */
static unsigned fuel;  /* times that others may come in between in this step */
static bool calm;      /* nobody comes in between */

/* In memory that children share. */
static struct {
	u64 seams_used, stale_writes, accesses, abandoned, victims, verified;
	u64 pages_evicted, pages_not_evicted;
	struct disk_totals disk;
} * totals;

static u64 random_below(u64 n)
{
	return (host_random(&rnd) >> 11) % n;
}

static bool chance(unsigned percent)
{
	return random_below(100) < percent;
}

noreturn_fn static void fail(const char *what, const struct guest *g, u64 page, u64 word)
{
	fprintf(stderr, "seed %llu step %llu: %s: guest %u page %llu word %llu\n",
	        (unsigned long long)this_seed, (unsigned long long)step, what,
	        (unsigned)(g - guests), (unsigned long long)page, (unsigned long long)word);
	abort();
}

/* --- what a guest does ----------------------------------------------------------------------------- */

enum deed { READ_SOME, READ_ALL, WRITE_WORD, WRITE_NOISE, WRITE_PLAIN, WRITE_ZERO, DEEDS };

struct access {
	struct guest *g;
	u64 page;
	enum deed deed;
};

static void verify(const struct access *a, const u64 *words, u64 first, u64 step_words)
{
	const u64 *expected = &a->g->oracle[a->page * WORDS];

	for (u64 i = first; i < WORDS; i += step_words)
		if (words[i] != expected[i])
			fail("lost or wrong contents", a->g, a->page, i);
	totals->verified++;
}

/* Runs as the guest, with the page mapped: checks what is there, then changes page and oracle alike. */
static void act(u64 *words, void *arg)
{
	const struct access *a = arg;
	u64 *expected = &a->g->oracle[a->page * WORDS];
	u64 at = random_below(WORDS), seed = host_random(&rnd) | 1;

	verify(a, words, a->deed == READ_ALL ? 0 : at % 61, a->deed == READ_ALL ? 1 : 61);
	switch (a->deed) {
	case WRITE_WORD:
		words[at] = expected[at] = seed;
		break;
	case WRITE_NOISE:
		for (unsigned i = 0; i < WORDS; i++)
			words[i] = expected[i] = host_random(&seed);
		break;
	case WRITE_PLAIN:
		for (unsigned i = 0; i < WORDS; i++)
			words[i] = expected[i] = seed + i / 32;
		break;
	case WRITE_ZERO:
		memset(words, 0, PAGE_SIZE);
		memset(expected, 0, PAGE_SIZE);
		break;
	default:
		break;
	}
}

static enum deed random_deed(void)
{
	static const enum deed deeds[] = {READ_SOME,   READ_SOME,   READ_SOME,  READ_SOME,
	                                  READ_ALL,    WRITE_WORD,  WRITE_WORD, WRITE_WORD,
	                                  WRITE_NOISE, WRITE_PLAIN, WRITE_ZERO};

	return deeds[random_below(ARRAY_SIZE(deeds))];
}

/* A few pages are hot. */
static u64 random_page(void)
{
	return chance(60) ? random_below(PAGES / 10) : random_below(PAGES);
}

static struct access random_access(struct guest *g, u64 page)
{
	return (struct access){.g = g, .page = page, .deed = random_deed()};
}

static bool deed_writes(enum deed d)
{
	return d >= WRITE_WORD;
}

static void access_page(struct guest *g, u64 page, unsigned patience)
{
	struct access a = random_access(g, page);
	unsigned vcpu = (unsigned)random_below(g->fake.nr_vcpus);
	enum fault_result result = fake_access(&g->fake, vcpu, page, deed_writes(a.deed), patience,
	                                       act, &a);

	totals->accesses++;
	if ((result == FAULT_BAD_PAGE || result == FAULT_NO_SLOT) &&
	    !disk_is_why(g->fake.space, result, &totals->disk))
		fail("fault result", g, page, result);
	totals->abandoned += result != FAULT_FIXED;
}

/*
 * Device emulation: through pins, past all MMUs. A pin may be held for long, over evictions that others
 * began before; each is written when it is taken, and again when it is let go.
 */
struct pin {
	struct guest *g;
	u64 page;
	u32 frame;
	bool write;
};
static struct pin pins[PINS];
static unsigned nr_pins;

static void pin_use(const struct pin *pin)
{
	struct access a = {
	        .g = pin->g, .page = pin->page, .deed = pin->write ? WRITE_WORD : READ_ALL};

	act(frame_ptr(pin->frame), &a);
	frame_mark_accessed(pin->frame);
}

static bool pin_is_good(const struct pin *pin)
{
	return fake_word(&pin->g->fake, pin->page) == gfn_word(GFN_RESIDENT, pin->frame);
}

static void pin_take(struct guest *g, u64 page)
{
	struct space *s = g->fake.space;
	struct pin pin = {.g = g, .page = page, .write = chance(60)};
	struct fault_page found;
	bool pinned;

	if (nr_pins == PINS ||
	    fault_bring_in(s, gfn(page), pin.write, false, &found) != FAULT_FIXED)
		return;
	pin.frame = found.frame;
	epoch_enter();
	pinned = pin_is_good(&pin) && frame_pin_try(pin.frame);
	epoch_exit();
	if (!pinned)
		return;
	if (!pin_is_good(&pin) || (pin.write && fault_make_dirty(s, gfn(page)) != FAULT_FIXED)) {
		frame_unpin(pin.frame);
		return;
	}
	pin_use(&pin);
	pins[nr_pins++] = pin;
}

static void pin_release(unsigned i)
{
	struct pin pin = pins[i];

	pins[i] = pins[--nr_pins];
	if (!pin_is_good(&pin))
		fail("page went away under a pin", pin.g, pin.page, 0);
	pin_use(&pin);
	frame_unpin(pin.frame);
}

/* All of a guest, or of everybody (NULL). */
static void pins_release(const struct guest *g)
{
	for (unsigned i = nr_pins; i-- > 0;)
		if (!g || pins[i].g == g)
			pin_release(i);
}

/* --- other CPUs come in between -------------------------------------------------------------------- */

static void act_stale(struct guest *g, u64 page)
{
	struct access a = random_access(g, page);
	unsigned vcpu = (unsigned)random_below(g->fake.nr_vcpus);

	if (fake_access_stale(&g->fake, vcpu, page, deed_writes(a.deed), act, &a))
		totals->stale_writes += deed_writes(a.deed);
}

/* One page, whatever its age. Somebody's pin, or another evictor, keeps it. */
static void evict_at(struct guest *g, u64 page)
{
	u64 before = a64_load(&g->fake.space->stats.evictions_total);
	enum evict_page_result result = evict_page(g->fake.space, gfn(page));

	if (result == EVICT_PAGE_DONE && a64_load(&g->fake.space->stats.evictions_total) == before)
		fail("evicted, but nothing left", g, page, 0);
	totals->pages_evicted += result == EVICT_PAGE_DONE;
	totals->pages_not_evicted += result != EVICT_PAGE_DONE;
}

static void meddle(struct guest *g, u64 page)
{
	unsigned cpu = hal_cpu_id();

	if (!calm)
		disk_work(&rnd);
	/* What comes in between is come in between itself: without a bound that explodes. */
	if (calm || depth == DEPTH_MAX || !fuel || !chance(depth ? 5 : 20))
		return;
	fuel--;
	depth++;
	totals->seams_used++;
	host_cpu_set(cpu + 1);
	for (unsigned n = 1 + (unsigned)random_below(3); n; n--) {
		u64 at = chance(70) ? page : random_page();

		if (chance(40))
			act_stale(g, at);
		else if (chance(20) && nr_pins < PINS / 2)
			pin_take(g, at);
		else if (chance(80))
			access_page(chance(80) ? g : &guests[random_below(GUESTS)], at,
			            (unsigned)random_below(3));
		else if (chance(30))
			evict_at(g, at);
		else if (chance(60))
			(void)evict_space(g->fake.space, evict_any(1 + random_below(PAGES)));
		else
			(void)age_space(g->fake.space, a64_load(&g->fake.space->lru.max_seq),
			                false);
	}
	host_cpu_set(cpu);
	depth--;
}

static void on_seam(struct fake_guest *fake, enum fake_seam seam, gfn_t at)
{
	static u64 last; /* the page zapped last: the one to look for in the later seams */
	struct guest *g = container_of(fake, struct guest, fake);

	if (seam == FAKE_ZAP || seam == FAKE_AGE || seam == FAKE_FAULT)
		last = at.v % PAGES;
	if (a32_load(&fake->space->dying))
		return;
	meddle(g, chance(70) ? last : random_page());
}

static void on_store(u32 frame)
{
	struct guest *g = &guests[random_below(GUESTS)];
	const struct frame *f = frame_at(frame);

	for (unsigned i = 0; i < GUESTS; i++)
		if (guests[i].fake.space->id == frame_space_id(f))
			g = &guests[i];
	meddle(g, frame_gfn(f).v);
}

#ifdef MODEL_REAL_STORE
static void on_fpu(void)
{
	on_store((u32)random_below(FRAMES));
}

static void store_hooks(bool on)
{
	host_on_fpu(on ? on_fpu : NULL);
}

static void store_mood(void)
{
}
#else
/* The page whose word names this: it is being brought in, or its copy dropped. */
static void meddle_with(u64 word)
{
	struct guest *g = &guests[random_below(GUESTS)];
	u64 page = random_page();

	if (calm)
		return;
	for (u64 i = 0; i < PAGES && gfn_word_tag(word) == GFN_POOLED; i++)
		if ((fake_word(&g->fake, i) & ~(GFN_SHADOW | GFN_BUSY)) == word)
			page = i;
	meddle(g, page);
}

static void store_hooks(bool on)
{
	fake_store.on_put = on ? on_store : NULL;
	fake_store.on_get = on ? meddle_with : NULL;
	fake_store.on_drop = on ? meddle_with : NULL;
}

/* Now and then the store is full, or takes nothing; not for so long that guests have to go often. */
static void store_mood(void)
{
	static const enum store_result moods[] = {STORE_OK, STORE_OK, STORE_OK, STORE_FULL,
	                                          STORE_INCOMPRESSIBLE};

	fake_store.put = moods[random_below(ARRAY_SIZE(moods))];
	fake_store.capacity = chance(20) ? fake_store.objects + random_below(50) : FAKE_OBJECTS;
}
#endif

/* --- the course of things -------------------------------------------------------------------------- */

static void guest_create(unsigned i)
{
	static const struct fake_config configs[GUESTS] = {
	        {.name = "dirty", .npages = PAGES, .nr_vcpus = 3},
	        {.name = "nodirty", .npages = PAGES, .nr_vcpus = 2, .no_dirty = true},
	        {.name = "both",
	         .npages = PAGES,
	         .nr_vcpus = 4,
	         .nr_mmus = 2,
	         .second_is_slow = true},
	};

	guests[i].oracle = calloc(PAGES * WORDS, sizeof(u64));
	fake_guest_create(&guests[i].fake, &configs[i]);
	guests[i].fake.hook = on_seam;
}

static void guest_destroy(unsigned i)
{
	pins_release(&guests[i]);
	calm = true;
	fake_guest_destroy(&guests[i].fake);
	calm = false;
	free(guests[i].oracle);
}

static void no_wake(void)
{
}

static void on_oom(struct space *victim, const char *why)
{
	(void)why;
	ASSERT(a32_load(&victim->dying));
	totals->victims++;
}

static void drop_some(struct guest *g)
{
	u64 first = random_below(PAGES), n = min_of(1 + random_below(20), PAGES - first);

	pins_release(g);
	calm = true;
	space_drop_range(g->fake.space, gfn(first), n);
	calm = false;
	memset(&g->oracle[first * WORDS], 0, n * PAGE_SIZE);
}

static void check_all(void)
{
	pins_release(NULL);
	calm = true;
	for (unsigned cpu = 0; cpu <= DEPTH_MAX; cpu++) {
		host_cpu_set(cpu);
		epoch_barrier();
	}
	host_cpu_set(0);
	if (audit_all(NULL)) {
		fprintf(stderr, "%s\n", host_log_last());
		fail("audit", &guests[0], 0, 0);
	}
	calm = false;
}

/* Whoever was chosen goes; another takes its place. */
static void replace_victims(void)
{
	for (unsigned i = 0; i < GUESTS; i++) {
		if (!a32_load(&guests[i].fake.space->dying))
			continue;
		guest_destroy(i);
		guest_create(i);
	}
}

static void manage(struct guest *g)
{
	struct space *s = g->fake.space;

	switch (random_below(8)) {
	case 0:
	case 1:
		(void)age_space(s, a64_load(&s->lru.max_seq), false);
		break;
	case 2:
	case 3:
	case 4:
		(void)evict_space(s, evict_any(1 + random_below(100)));
		break;
	case 5:
		(void)reclaim_direct(s);
		break;
	case 6:
		(void)reclaim_background();
		break;
	default:
		reclaim_age_periodic(hal_time_ns(), 0);
		break;
	}
}

static void one_step(void)
{
	unsigned which = (unsigned)random_below(GUESTS);
	struct guest *g = &guests[which];
	u64 dice = random_below(1000);

	fuel = FUEL;
	host_time_add(random_below(STEP_NS));
	disk_work(&rnd);
	if (nr_pins && chance(20))
		pin_release((unsigned)random_below(nr_pins));
	if (dice < 880)
		access_page(g, random_page(), 20);
	else if (dice < 930)
		pin_take(g, random_page());
	else if (dice < 960)
		manage(g);
	else if (dice < 980)
		evict_at(g, random_page());
	else if (dice < 985)
		store_mood();
	else if (dice < 990)
		disk_mood(&rnd);
	else if (dice < 999)
		drop_some(g);
	else if (chance(20))
		a32_store(&g->fake.space->dying, 1);
	replace_victims();
}

static void final_check(void)
{
	calm = true;
	store_mood();
	check_all();
	calm = true;
	for (unsigned i = 0; i < GUESTS; i++)
		for (u64 page = 0; page < PAGES; page++) {
			struct access a = {.g = &guests[i], .page = page, .deed = READ_ALL};

			/* What is not brought in for want of memory was checked whenever it was. */
			(void)fake_access(&guests[i].fake, 0, page, false, 100, act, &a);
		}
	calm = false;
}

static void run_seed(const u32 *list, unsigned n)
{
	static const struct reclaim_ops ops = {.wake = no_wake, .out_of_memory = on_oom};

	unsigned every = steps_seed == SEED_NEAR ? 1 : AUDIT;

	this_seed = steps_seed;
	rnd = steps_seed * 0x9e3779b97f4a7c15ull + 1;
	/* A run is the same each time: what depends on the clock as well. */
	host_time_set(STEP_NS);
	fake_frames_create(FRAMES);
	disk_begin(&rnd);
	reclaim_init(&ops);
	store_hooks(true);
	for (unsigned i = 0; i < GUESTS; i++)
		guest_create(i);
	for (unsigned i = 0; i < n; i++) {
		step = list[i];
		rnd = steps_random(list[i]);
		one_step();
		if (step % every == every - 1)
			check_all();
	}
	final_check();
	for (unsigned i = 0; i < GUESTS; i++)
		guest_destroy(i);
	store_hooks(false);
	disk_end(&totals->disk);
	fake_frames_destroy();
}

/* What came of a seed is the same each time: else one that fails could not be run again, nor be made short. */
static bool replays(u64 seed, unsigned n)
{
	u64 accesses[2], checks[2];
	unsigned needed;

	for (unsigned i = 0; i < 2; i++) {
		accesses[i] = totals->accesses;
		checks[i] = totals->verified;
		if (!steps_pass(run_seed, seed, n, false, &needed))
			return false;
		accesses[i] = totals->accesses - accesses[i];
		checks[i] = totals->verified - checks[i];
	}
	if (accesses[0] == accesses[1] && checks[0] == checks[1])
		return true;
	printf("seed %llu is not the same twice: %llu and %llu accesses, %llu and %llu checks\n",
	       (unsigned long long)seed, (unsigned long long)accesses[0],
	       (unsigned long long)accesses[1], (unsigned long long)checks[0],
	       (unsigned long long)checks[1]);
	return false;
}

int main(void)
{
	u64 steps = host_steps(SEEDS * 10000), nseeds = SEEDS;
	const char *only = getenv("VARVE_SEED");

	bool good = true;
	unsigned needed;

	totals = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT(totals != MAP_FAILED);
	host_cpu_count_set(DEPTH_MAX + 1);
	ASSERT(store_init());
	for (u64 i = 1; i <= nseeds; i++)
		if (!only || strtoull(only, NULL, 0) == i)
			good &= steps_pass(run_seed, i, (unsigned)(only ? steps : steps / nseeds),
			                   false, &needed);
	if (!only)
		good &= replays(1, (unsigned)(steps / nseeds));
	printf("%llu steps, %llu accesses (%llu abandoned), %llu seams used, %llu stale writes, "
	       "%llu victims, %llu checks\n",
	       (unsigned long long)steps, (unsigned long long)totals->accesses,
	       (unsigned long long)totals->abandoned, (unsigned long long)totals->seams_used,
	       (unsigned long long)totals->stale_writes, (unsigned long long)totals->victims,
	       (unsigned long long)totals->verified);
	/* A model whose interesting cases do not happen shows nothing. */
	return good && disk_was_used(&totals->disk) && totals->seams_used && totals->stale_writes &&
	                       totals->pages_evicted && totals->pages_not_evicted &&
	                       totals->abandoned < totals->accesses / 2
	               ? 0
	               : 1;
}
