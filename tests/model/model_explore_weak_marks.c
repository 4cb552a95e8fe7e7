/*
 * Bits that several set and take (mm/page_set.c, mm/dirty_log.c, mm/ledger.c) and what is found through a pointer
 * (the ledger, mm/hint.c), under the weak memory of tests/host/weak.h: no bit of another page is lost, one of two takes
 * a bit, and who finds a bit or a pointer finds what was done before.
 */
#define UNTIMED        /* lib/lock.c, lib/profile.h */
#define ATOMIC_YIELD() explorer_yield()
#define hal_panic      explorer_panic
#define hal_pause      explorer_pause
#define hal_cpu_id     explorer_self

#include "tests/host/explorer.h"
#include "tests/host/weak.h"

#include <stdio.h>
#include <string.h>

#include "arch/hal.h"
#include "mm/age.h"
#include "mm/epoch.h"
#include "mm/gen.h"
#include "mm/gfnmap.h"
#include "mm/huge.h"
#include "mm/notifier.h"
#include "mm/policy.h"
#include "mm/space.h"
#include "mm/trace.h"

#define PAGES 2048u /* of the guest: four tables */
#define CHUNK 8u    /* pages of the hypervisor that one piece may have */

/* Fresh memory is plain data until somebody publishes it. */
static u8 memory[EXPLORER_ACTORS + 1][16][CHUNK * PAGE_SIZE] aligned_to(64);
static unsigned memory_used[EXPLORER_ACTORS + 1];

static void *chunk_alloc(u64 npages)
{
	unsigned self = explorer_self();
	u8 *chunk = memory[self][memory_used[self]++];

	if (npages > CHUNK || memory_used[self] > 16)
		explorer_panic("the scene needs more memory");
	memset(chunk, 0, npages * PAGE_SIZE);
	weak_write(chunk);
	return chunk;
}

#define hal_pages_alloc(n)   chunk_alloc(n)
#define hal_pages_free(p, n) ((void)(p), (void)(n))
#define epoch_active()       false
#define hal_log(...)         ((void)0)

#include "lib/lock.c"

#define piece    set_piece
#define piece_of set_piece_of
#define word_of  set_word_of
#include "mm/page_set.c"
#undef piece
#undef piece_of
#undef word_of

#include "mm/dirty_log.c"

#define piece    ledger_piece
#define piece_of ledger_piece_of
#include "mm/ledger.c"
#undef piece
#undef piece_of

/* Whoever uses a ledger has found it whole. */
#define ledger_settle(l, ...) (weak_read(l), (ledger_settle)(l, __VA_ARGS__))
#define ledger_range(l, ...)  (weak_read(l), (ledger_range)(l, __VA_ARGS__))
#include "mm/notifier_age.c"
#undef ledger_settle
#undef ledger_range

#define piece hint_piece
#include "mm/hint.c"
#undef piece

#include "tests/host/hal.h"
#include "tests/host/vm.h"

static struct space *space;
static struct page_set *set;
static u64 contents; /* stands for what a page, or its entry, says */
static unsigned taken, made;
static u64 found[2];

static a64 *noted(void)
{
	return ((struct slots *)space->slots.raw)->slot[0].noted;
}

static void setup(void)
{
	weak_reset(2);
	memset(held_locks, 0, sizeof(held_locks));
	memset(memory_used, 0, sizeof(memory_used));
	space->ledger.raw = NULL;
	space->hints.raw = 0;
	memset(&space->dirty_log, 0, sizeof(space->dirty_log));
	memset(noted(), 0, PAGES / 8);
	taken = made = 0;
	found[0] = found[1] = 0;
	set = page_set_create(space);
}

/* --- a set of pages --- */

static void setup_set(void)
{
	setup();
	(void)page_set_add(set, gfn(2));
}

static void run_add_first(void)
{
	made += page_set_add(set, gfn(0));
}

static void run_add_second(void)
{
	made += page_set_add(set, gfn(1));
	made += page_set_add(set, gfn(0));
}

static void run_remove(void)
{
	taken += page_set_remove(set, gfn(2));
}

static void check_set(void)
{
	if (set->set_piece[0].bits[0].raw != 3 || made != 2 || taken != 1)
		explorer_panic("members 0x%llx, %u added, %u taken",
		               (unsigned long long)set->set_piece[0].bits[0].raw, made, taken);
}

/* --- the dirty log: a bit says that the page was written, and whoever takes it sees what was --- */

static void run_mark(void)
{
	weak_write(&contents);
	dirty_log_mark(space, gfn(0));
}

static void run_mark_other(void)
{
	dirty_log_mark(space, gfn(1));
}

static void run_take(void)
{
	for (int i = 0; i < 2; i++) {
		if (!take_bit(space, gfn(0), true))
			continue;
		weak_read(&contents);
		taken++;
	}
}

static void check_log(void)
{
	u64 word = noted()[0].raw;

	if (!(word & 2) || (word & 1) + taken != 1)
		explorer_panic("noted 0x%llx, %u taken", (unsigned long long)word, taken);
}

static void run_log_user(void)
{
	acquire(space);
	weak_write(&contents);
	release(space);
}

/* --- the ledger --- */

static void run_open(void)
{
	if (!ledger_open(space))
		explorer_panic("no ledger");
}

static void run_ask_pages(void)
{
	(void)notifier_age_one(space, gfn(0), NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY);
}

static void run_ask_table(void)
{
	(void)notifier_range_young(space, gfn(0), TABLE_PAGES, NOTIFIER_CLEAR | NOTIFIER_FAST_ONLY);
}

static struct ledger *book(void)
{
	return space->ledger.raw;
}

static void owe(u64 page)
{
	u64 young = 1;

	ledger_owe(book(), LEDGER_GENERATIONS, gfn(page), 1, &young);
}

/* Pages 2 and 2 * 512 are owed from before. */
static void setup_book(void)
{
	setup();
	run_open();
	owe(2);
	owe(2 * TABLE_PAGES);
}

static void run_note_first(void)
{
	owe(0);
}

static void run_note_second(void)
{
	owe(1);
	owe(TABLE_PAGES);
}

static void run_settle(void)
{
	u64 asked = 1, young = 0;

	taken += ledger_settle(book(), gfn(2), 1, &asked, &young, NOTIFIER_CLEAR) != 0;
	taken += ledger_range(book(), gfn(2 * TABLE_PAGES), TABLE_PAGES, true);
}

static void check_book(void)
{
	const struct ledger_piece *p = &book()->ledger_piece[0];
	u64 owes = p->owed[LEDGER_GENERATIONS][0].raw, tables = p->tables[0].raw;

	if (owes != 3 || tables != 3 || taken != 2)
		explorer_panic("owed 0x%llx, in tables 0x%llx, %u taken", (unsigned long long)owes,
		               (unsigned long long)tables, taken);
}

/* --- hints --- */

static void run_find_hints(void)
{
	struct hints *h = hints_of(space);

	if (h)
		weak_read(h);
}

static void run_hint_first(void)
{
	struct hints *h = hints_get(space);

	found[0] = (u64)(uintptr_t)h;
	weak_read(h);
}

static void run_hint_second(void)
{
	struct hints *h = hints_get(space);

	found[1] = (u64)(uintptr_t)h;
	weak_read(h);
}

static void check_hints(void)
{
	if (!found[0] || found[0] != found[1] || found[0] != space->hints.raw)
		explorer_panic("two sets of hints");
}

static void setup_hints(void)
{
	setup();
	(void)hints_get(space);
}

static void run_begin_first(void)
{
	made += hint_together(space, gfn(0), gfn(1)) == HINT_OK;
}

static void run_begin_second(void)
{
	made += hint_together(space, gfn(2), gfn(3)) == HINT_OK;
}

static void setup_group(void)
{
	setup_hints();
	if (hint_together(space, gfn(0), gfn(0)) != HINT_OK)
		explorer_panic("no group");
}

static void run_join_first(void)
{
	made += hint_together(space, gfn(0), gfn(1)) == HINT_OK;
}

static void run_join_second(void)
{
	made += hint_together(space, gfn(0), gfn(2)) == HINT_OK;
}

/* Pages 0 .. n - 1 have a place each, and each place its page. */
static void check_places(u64 n)
{
	const struct hints *h = (const struct hints *)(uintptr_t)space->hints.raw;

	if (made != 2)
		explorer_panic("%u of two were told that it is done", made);
	for (u64 page = 0; page < n; page++) {
		u32 place = h->place_of[page].raw;

		if (!place || h->gfn_at[place - 1].raw != page + 1)
			explorer_panic("two pages got one place");
	}
}

static void check_groups(void)
{
	const struct hints *h = (const struct hints *)(uintptr_t)space->hints.raw;

	check_places(4);
	if ((h->place_of[0].raw - 1) / HINT_GROUP == (h->place_of[2].raw - 1) / HINT_GROUP)
		explorer_panic("two groups got one number");
}

static void check_group(void)
{
	check_places(3);
}

static const struct explorer_scene scenes[] = {
        {.name = "bits of a set",
         .setup = setup_set,
         .check = check_set,
         .actor = {{"first", run_add_first}, {"second", run_add_second}, {"remove", run_remove}},
         .nr_actors = 3,
         .max_preemptions = 2},
        {.name = "dirty log, marked and taken",
         .setup = setup,
         .check = check_log,
         .actor = {{"mark", run_mark}, {"other", run_mark_other}, {"take", run_take}},
         .nr_actors = 3,
         .max_preemptions = 2},
        {.name = "dirty log, one at a time",
         .setup = setup,
         .actor = {{"one", run_log_user}, {"two", run_log_user}},
         .nr_actors = 2,
         .max_preemptions = 3},
        {.name = "ledger opened, page asked for",
         .setup = setup,
         .actor = {{"open", run_open}, {"ask", run_ask_pages}},
         .nr_actors = 2,
         .max_preemptions = 2},
        {.name = "ledger opened, table asked for",
         .setup = setup,
         .actor = {{"open", run_open}, {"ask", run_ask_table}},
         .nr_actors = 2,
         .max_preemptions = 2},
        {.name = "notes in a ledger",
         .setup = setup_book,
         .check = check_book,
         .actor = {{"first", run_note_first}, {"second", run_note_second}, {"take", run_settle}},
         .nr_actors = 3,
         .max_preemptions = 2},
        {.name = "hints made, hints found",
         .setup = setup,
         .actor = {{"make", run_hint_first}, {"find", run_find_hints}},
         .nr_actors = 2,
         .max_preemptions = 2},
        {.name = "hints made by two",
         .setup = setup,
         .check = check_hints,
         .actor = {{"one", run_hint_first}, {"two", run_hint_second}},
         .nr_actors = 2,
         .max_preemptions = 2},
        {.name = "two groups begun",
         .setup = setup_hints,
         .check = check_groups,
         .actor = {{"one", run_begin_first}, {"two", run_begin_second}},
         .nr_actors = 2,
         .max_preemptions = 2},
        {.name = "two join a group",
         .setup = setup_group,
         .check = check_group,
         .actor = {{"one", run_join_first}, {"two", run_join_second}},
         .nr_actors = 2,
         .max_preemptions = 2},
};

static const struct space_ops no_ops;

int main(void)
{
	host_frames_create(1024);
	space = space_create("guest", &no_ops, NULL);
	if (!space || !gfnmap_add(space, gfn(0), PAGES))
		return 1;
	return explorer_main(scenes, ARRAY_SIZE(scenes));
}
