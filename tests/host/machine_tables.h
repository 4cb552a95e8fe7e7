/*
 * The guest's own tables in the machine's model of shadow tables. They are in its pages, among data words:
 *
 *	PML4[1] > PDPT[1] > directory[DIRECT]	all pages, one after the other: page p is entry p + 1
 *	                    directory[LARGE]	the same pages again, by one page of 2 MiB
 *	                    directory[WINDOWS]	one of two tables; entry i + 1 is window i
 *
 * There are two such spaces with a top and a directory each; the tables below are common. PAE has a PDPT of its own.
 * Every vCPU writes every entry of the windows, through whatever leads to the table's page. With paging off, or on a
 * TDP, a vCPU reaches pages by their numbers.
 *
 * The oracle keeps all that was ever in an entry of the windows, and from when to when. What a vCPU reaches by a window
 * must have been there at some time since it last executed INVLPG for it or loaded CR3; a fault of the guest's must be
 * justified by what was there while the access lasted. In entries that nobody changed since, Accessed and Dirty are
 * set after an access; Dirty is nowhere that nobody tried to write.
 */
#pragma once

#include "tests/host/machine.h"

#define VERSIONS 160u

#define ENTRY_P  BIT(0)
#define ENTRY_W  BIT(1)
#define ENTRY_U  BIT(2)
#define ENTRY_A  BIT(5)
#define ENTRY_D  BIT(6)
#define ENTRY_PS BIT(7)
#define ENTRY_AD (ENTRY_A | ENTRY_D)

/* The last pages of the first slot. */
enum { DIRECT_TABLE, WINDOWS_1, WINDOWS_2, PML4, PDPT, PDPT_PAE, DIRECTORY, PER_SPACE = 4 };
#define TABLE_PAGES_NR (PML4 + SHADOW_SPACES * PER_SPACE)

enum { ENTRY_DIRECT = 1, ENTRY_LARGE, ENTRY_WINDOWS };
#define PAE_QUADRANT 32u /* of the page: the first words are data's */
/* Entry 1 of each table; PAE paging has the lower half of it. */
#define BASE(mode)   ((mode) == GUEST_LONG ? 1ull << 39 | 1ull << 30 : 1ull << 30)
#define REGION(m, n) (BASE(m) + (n) * (1ull << 21))

enum guest_mode { GUEST_LONG, GUEST_PAE, GUEST_UNPAGED, GUEST_MODES };

/* An entry that changes. */
struct history {
	unsigned nr;
	struct {
		u64 entry, from;
	} version[VERSIONS];
	bool must_a, must_d, may_d;
};

struct guest_cpu {
	bool on_shadow;
	enum guest_mode mode;
	unsigned space;
	u64 since[SHADOW_WINDOWS]; /* no older translation of it is used */
	u64 page_seen;
	/* What the store that is under way does beside storing. */
	struct history *storing;
	u64 store_at, store_value;
};

struct machine_guest {
	u64 now; /* counts stores to entries */
	struct history window[2][SHADOW_WINDOWS];
	struct history choice[SHADOW_SPACES]; /* directory[WINDOWS] */
	unsigned writers[SHADOW_WINDOWS];     /* accesses that write, under way */
	struct guest_cpu cpu[MACHINE_VCPUS];
};
extern struct machine_guest machine_guest;

static inline u64 table_page(unsigned which)
{
	return MACHINE_SMALL - TABLE_PAGES_NR + which;
}

static inline u64 space_table(unsigned space, unsigned which)
{
	return table_page(which + space * PER_SPACE);
}

static inline u64 to_page(u64 page, u64 bits)
{
	return page_gfn(page).v << PAGE_SHIFT | ENTRY_P | bits;
}

static inline u64 latest(const struct history *h)
{
	return h->version[h->nr - 1].entry;
}

static inline void remember(struct history *h, u64 entry, bool may_d)
{
	h->version[h->nr].entry = entry;
	h->version[h->nr++].from = ++machine_guest.now;
	h->must_a = h->must_d = false;
	h->may_d = may_d || entry & ENTRY_D;
}

/* Everything is made, and nothing was changed. */
void machine_make_tables(void);
/* What is kept about an entry that changes; NULL: that is none. */
struct history *machine_history_at(u64 page, unsigned word);
bool machine_is_table(u64 page);
/* May that stand in a word of the page that is no data? */
bool machine_table_word(u64 page, unsigned word, u64 found);
