/*
 * The paging modes under test as data: how many levels, which entries of a table the test uses ("hot" ones),
 * where tables map themselves. Sources: Intel SDM vol. 3, chapter 4; AMD APM vol. 2, chapter 5.
 */
#pragma once

#include "guest-tests/lib/types.h"

#define BIT(n) (1ull << (n))

#define ENTRY_P     BIT(0)
#define ENTRY_W     BIT(1)
#define ENTRY_U     BIT(2)
#define ENTRY_A     BIT(5)
#define ENTRY_D     BIT(6)
#define ENTRY_PS    BIT(7)
#define ENTRY_G     BIT(8)
#define ENTRY_NX    BIT(63)
#define ENTRY_ADDR8 0x000ffffffffff000ull
#define ENTRY_ADDR4 0xfffff000ull
#define ENTRY_RSVD8 BIT(51) /* reserved wherever the width of an address is less than 52 bits */
#define ENTRY_RSVD4 BIT(21) /* in a 4 MiB page */

#define CR0_PE BIT(0)
#define CR0_NE BIT(5)
#define CR0_WP BIT(16)
#define CR0_PG BIT(31)

#define CR4_PSE  BIT(4)
#define CR4_PAE  BIT(5)
#define CR4_SMEP BIT(20)
#define CR4_SMAP BIT(21)

#define EFER_LME BIT(8)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)

#define ERROR_P    1u
#define ERROR_W    2u
#define ERROR_U    4u
#define ERROR_RSVD 8u
#define ERROR_I    16u

#define LEVELS_MAX 4
#define HOT_MAX    8

struct mode {
	const char *name;
	unsigned levels; /* 0: no paging */
	unsigned bits;   /* of the address that a level translates */
	unsigned bytes;  /* of an entry */
	bool long_mode;
	u64 cr4;
	u16 hot[LEVELS_MAX + 1][HOT_MAX]; /* by level */
	u8 hot_count[LEVELS_MAX + 1];
	u16 self; /* entry of the top level that maps the table itself; PAE: of the last PD */
};

/* What the CPU offers to the guest. */
struct features {
	bool nx, smep, smap, page_1g;
};

extern const struct features *features;

/* NULL: no such mode. `area`: address of the large pages, which decides some hot entries. */
struct mode *mode_find(const char *name, u64 area);

static inline unsigned mode_shift(const struct mode *m, unsigned level)
{
	return 12 + m->bits * (level - 1);
}

static inline unsigned mode_index(const struct mode *m, u64 at, unsigned level)
{
	u64 mask = m->levels == 3 && level == 3 ? 3 : (1u << m->bits) - 1;

	return (unsigned)(at >> mode_shift(m, level) & mask);
}

/* The four entries on top of PAE have no rights. */
static inline bool mode_is_pdpte(const struct mode *m, unsigned level)
{
	return m->levels == 3 && level == 3;
}

/* An entry of this level that has PS set is a page. */
static inline bool mode_large(const struct mode *m, unsigned level)
{
	if (level == 3)
		return m->levels == 4 && features->page_1g;
	return level == 2 && (m->bytes == 8 || m->cr4 & CR4_PSE);
}

/* The address with this index at each level, [level]; sign-extended in long mode. */
u64 mode_address(const struct mode *m, const unsigned index[LEVELS_MAX + 1], u64 offset);
/* The address at which the entry index[level] of the table on the path index[] appears through the table
 * that maps itself. */
u64 mode_window(const struct mode *m, const unsigned index[LEVELS_MAX + 1], unsigned level);
