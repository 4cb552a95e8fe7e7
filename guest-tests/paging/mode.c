#include "guest-tests/paging/mode.h"

#include "guest-tests/lib/guest.h"

static struct features found;
const struct features *features = &found;

static struct mode modes[] = {
        {.name = "none"},
        {.name = "32",
         .levels = 2,
         .bits = 10,
         .bytes = 4,
         .hot = {[1] = {0, 1, 255, 511, 512, 513, 767, 1023}, [2] = {0x100, 0x2ff, 0x37e}},
         .hot_count = {[1] = 8, [2] = 3},
         .self = 0x3ff},
        {.name = "pse",
         .levels = 2,
         .bits = 10,
         .bytes = 4,
         .cr4 = CR4_PSE,
         .hot = {[1] = {0, 1, 255, 511, 512, 513, 767, 1023}, [2] = {0x100, 0x2ff, 0x37e}},
         .hot_count = {[1] = 8, [2] = 3},
         .self = 0x3ff},
        {.name = "pae",
         .levels = 3,
         .bits = 9,
         .bytes = 8,
         .cr4 = CR4_PAE,
         .hot = {[1] = {0, 1, 255, 511}, [3] = {1, 2}},
         .hot_count = {[1] = 4, [2] = 2, [3] = 2},
         .self = 0x1ff},
        {.name = "long",
         .levels = 4,
         .bits = 9,
         .bytes = 8,
         .long_mode = true,
         .cr4 = CR4_PAE,
         .hot = {[1] = {0, 1, 255, 511}, [3] = {0, 5, 511}, [4] = {1, 0x81, 0x1fe}},
         .hot_count = {[1] = 4, [2] = 2, [3] = 3, [4] = 3},
         .self = 0x1f0},
};

static void find_features(void)
{
	u32 max = cpuid(0, 0).eax, b7 = max >= 7 ? cpuid(7, 0).ebx : 0;
	u32 x1 = cpuid(0x80000001, 0).edx;

	found = (struct features){.nx = x1 >> 20 & 1,
	                          .page_1g = x1 >> 26 & 1,
	                          .smep = b7 >> 7 & 1,
	                          .smap = b7 >> 20 & 1};
}

/* With 8-byte entries the hot ones of level 2 are those through which a 1 GiB page at 0 shows the area. */
struct mode *mode_find(const char *name, u64 area)
{
	find_features();
	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		struct mode *m = &modes[i];

		if (!string_equal(m->name, name))
			continue;
		if (m->bytes == 8) {
			m->hot[2][0] = (u16)(area >> 21);
			m->hot[2][1] = (u16)((area >> 21) + 1);
		}
		return m;
	}
	return NULL;
}

u64 mode_address(const struct mode *m, const unsigned index[LEVELS_MAX + 1], u64 offset)
{
	u64 at = offset;

	for (unsigned level = 1; level <= m->levels; level++)
		at |= (u64)index[level] << mode_shift(m, level);
	if (m->long_mode && at >> 47 & 1)
		at |= ~(BIT(48) - 1);
	return at;
}

/* Each turn through the table itself moves the path one level down. PAE does it in two steps: the last PD
 * holds the PDs as its tables, in its last four entries. */
u64 mode_window(const struct mode *m, const unsigned index[LEVELS_MAX + 1], unsigned level)
{
	unsigned path[LEVELS_MAX + 1] = {0};
	u64 offset = (u64)index[level] * m->bytes;

	if (m->levels == 3) {
		path[3] = 3;
		path[2] = level == 1 ? 508 + index[3] : m->self;
		path[1] = level == 1 ? index[2] : 508 + index[3];
		return mode_address(m, path, offset);
	}
	for (unsigned l = m->levels; l > 0; l--)
		path[l] = l + level > m->levels ? m->self : index[l + level];
	return mode_address(m, path, offset);
}
