#include "tests/host/machine_tables.h"

#include <string.h>

struct machine_guest machine_guest;

/* --- at the start ---------------------------------------------------------------------------------- */

static void poke(u64 page, unsigned i, u64 entry)
{
	if (guest_write(&machine.vm.mem, gpa(gfn_gpa(page_gfn(page)).v + 8ull * i), &entry, 8) != 8)
		machine_fail("no tables", page, 8, 0);
}

static void make_space(unsigned space)
{
	u64 all = ENTRY_W | ENTRY_U, directory = space_table(space, DIRECTORY);

	memset(&machine_guest.choice[space], 0, sizeof(machine_guest.choice[space]));
	poke(space_table(space, PML4), 1, to_page(space_table(space, PDPT), all));
	poke(space_table(space, PDPT), 1, to_page(directory, all));
	poke(space_table(space, PDPT_PAE), PAE_QUADRANT / 8 + 1, to_page(directory, 0));
	poke(directory, ENTRY_DIRECT, to_page(table_page(DIRECT_TABLE), all));
	poke(directory, ENTRY_LARGE, ENTRY_P | all | ENTRY_PS);
	remember(&machine_guest.choice[space], to_page(table_page(WINDOWS_1 + space), all), false);
	poke(directory, ENTRY_WINDOWS, latest(&machine_guest.choice[space]));
}

void machine_make_tables(void)
{
	for (u64 page = 0; page < pages_all(); page++)
		poke(table_page(DIRECT_TABLE), (unsigned)page + 1,
		     to_page(page, ENTRY_W | ENTRY_U));
	for (unsigned t = 0; t < 2; t++)
		for (unsigned i = 0; i < SHADOW_WINDOWS; i++) {
			machine_guest.window[t][i].nr = 0;
			remember(&machine_guest.window[t][i], to_page(t * 4 + i, ENTRY_W | ENTRY_U),
			         false);
			poke(table_page(WINDOWS_1 + t), i + 1, latest(&machine_guest.window[t][i]));
		}
	for (unsigned space = 0; space < SHADOW_SPACES; space++)
		make_space(space);
}

struct history *machine_history_at(u64 page, unsigned word)
{
	unsigned i = word - 1;

	for (unsigned t = 0; t < 2; t++)
		if (page == table_page(WINDOWS_1 + t) && i < SHADOW_WINDOWS)
			return &machine_guest.window[t][i];
	for (unsigned space = 0; space < SHADOW_SPACES; space++)
		if (page == space_table(space, DIRECTORY) && word == ENTRY_WINDOWS)
			return &machine_guest.choice[space];
	return NULL;
}

/* --- what is in the tables' pages ------------------------------------------------------------------ */

/* An entry that never changes, but for Accessed and Dirty; 0: none. */
static u64 constant_at(u64 page, unsigned word)
{
	u64 all = ENTRY_W | ENTRY_U;

	if (page == table_page(DIRECT_TABLE) && word - 1 < pages_all())
		return to_page(word - 1, all);
	for (unsigned space = 0; space < SHADOW_SPACES; space++) {
		u64 directory = space_table(space, DIRECTORY);

		if (page == space_table(space, PML4) && word == 1)
			return to_page(space_table(space, PDPT), all);
		if (page == space_table(space, PDPT) && word == 1)
			return to_page(directory, all);
		if (page == space_table(space, PDPT_PAE) && word == PAE_QUADRANT / 8 + 1)
			return to_page(directory, 0);
		if (page == directory && word == ENTRY_DIRECT)
			return to_page(table_page(DIRECT_TABLE), all);
		if (page == directory && word == ENTRY_LARGE)
			return ENTRY_P | all | ENTRY_PS;
	}
	return 0;
}

bool machine_table_word(u64 page, unsigned word, u64 found)
{
	const struct history *h;
	u64 least = 0, most = ENTRY_AD;

	if (machine.plan.mmu == MACHINE_TDP || page < table_page(0) || page >= pages_first())
		return found == 0;
	h = machine_history_at(page, word);
	if (!h)
		return (found & ~(u64)ENTRY_AD) == constant_at(page, word) &&
		       (found == 0 || constant_at(page, word));
	least = (latest(h) & ENTRY_AD) | (h->must_a ? ENTRY_A : 0) | (h->must_d ? ENTRY_D : 0);
	most = latest(h) & ENTRY_P ? ENTRY_A | (h->may_d ? ENTRY_D : 0) : 0;
	return (found & ~(u64)ENTRY_AD) == (latest(h) & ~(u64)ENTRY_AD) && !(least & ~found) &&
	       !(found & ENTRY_AD & ~(most | latest(h)));
}

bool machine_is_table(u64 page)
{
	return machine.plan.mmu != MACHINE_TDP && page >= table_page(0) && page < pages_first();
}
