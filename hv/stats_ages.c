#include "hv/stats.h"

#include "arch/hal.h"
#include "arch/x86/console.h"
#include "hv/stats_line.h"
#include "hv/vm.h"
#include "lib/string.h"
#include "mm/epoch.h"
#include "mm/gen_view.h"
#include "mm/gfnmap.h"

struct piece {
	gfn_t base;
	u64 npages;
};

static unsigned pieces_of(struct space *s, struct piece *piece)
{
	const struct slots *slots;
	unsigned n;

	epoch_enter();
	slots = gfnmap_slots(s);
	for (n = 0; n < slots->nr; n++)
		piece[n] = (struct piece){slots->slot[n].base, slots->slot[n].npages};
	epoch_exit();
	return n;
}

/* Inside an epoch section. */
static char age_of(const struct lruvec *l, const a64 *where)
{
	u64 word = where ? a64_load(where)
	                 : 0; /* a look: its frame may be somebody's else already */
	int steps;

	if (gfn_word_away(word))
		return 'z';
	if (gfn_word_tag(word) == GFN_NONE)
		return '.';
	steps = gfn_word_tag(word) == GFN_RESIDENT ? gen_frame_steps(l, gfn_word_frame(word)) : -1;
	return steps < 0 ? 'e' : (char)('0' + steps);
}

static void ages_line(const struct vm *vm, gfn_t first, u64 n)
{
	struct space *s = vm->space;
	struct stats_line l = {0};
	char ages[STATS_AGES + 1];
	u64 max_seq;

	epoch_enter();
	max_seq = a64_load(&s->lru.max_seq);
	for (u64 i = 0; i < n; i++)
		ages[i] = age_of(&s->lru, gfnmap_word(s, gfn_add(first, i)));
	epoch_exit();
	ages[n] = '\0';
	line_begin(&l, "ages", hal_time_ns());
	line_vm(&l, vm);
	line_count(&l, "max_seq", max_seq);
	line_count(&l, "gfn", first.v);
	line_add(&l, ",\"ages\":\"%s\"", ages);
	line_send(&l, stats_write);
}

void stats_ages(const struct vm *vm)
{
	struct piece piece[SLOTS_MAX];
	unsigned pieces = pieces_of(vm->space, piece);

	for (unsigned i = 0; i < pieces; i++)
		for (u64 at = 0; at < piece[i].npages; at += STATS_AGES)
			ages_line(vm, gfn_add(piece[i].base, at),
			          min_of(piece[i].npages - at, (u64)STATS_AGES));
}
