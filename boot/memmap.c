#include "boot/memmap.h"

#define LOW_END   0x100000ull
#define LOW_FIRST 0x1000ull /* page 0 holds what real-mode firmware still uses */
#define LOW_LAST  0x9f000ull

struct edges {
	struct memmap_edge *e;
	u32 n;
};

/* Insertion from behind: firmware maps are nearly sorted. */
static void edge_insert(struct edges *s, struct memmap_edge edge)
{
	u32 i = s->n++;

	for (; i > 0 && s->e[i - 1].at > edge.at; i--)
		s->e[i] = s->e[i - 1];
	s->e[i] = edge;
}

static void add_ram(struct edges *s, u64 start, u64 end, u64 limit)
{
	/* Inwards: a page that is RAM in part is none. */
	start = start > limit ? limit : align_up(start, (u64)PAGE_SIZE);
	end = align_down(min_of(end, limit), (u64)PAGE_SIZE);
	if (start >= end)
		return;
	edge_insert(s, (struct memmap_edge){.at = start, .ram = 1});
	edge_insert(s, (struct memmap_edge){.at = end, .ram = -1});
}

static void add_other(struct edges *s, u64 start, u64 end, u64 limit)
{
	if (start >= end)
		return;
	/* Outwards. */
	start = align_down(start, (u64)PAGE_SIZE);
	end = end >= limit ? limit : align_up(end, (u64)PAGE_SIZE);
	if (start >= end)
		return;
	edge_insert(s, (struct memmap_edge){.at = start, .other = 1});
	edge_insert(s, (struct memmap_edge){.at = end, .other = -1});
}

/* Calls emit for every maximal stretch of RAM without anything that forbids it. */
static void sweep(const struct edges *s, struct memmap_output *out,
                  void (*emit)(struct memmap_output *out, u64 start, u64 end))
{
	s32 ram = 0, other = 0;
	u64 start = 0;
	bool inside = false;

	for (u32 i = 0; i < s->n; i++) {
		bool now;

		ram += s->e[i].ram;
		other += s->e[i].other;
		/* All edges of one address first. */
		if (i + 1 < s->n && s->e[i + 1].at == s->e[i].at)
			continue;
		now = ram > 0 && other == 0;
		if (now && !inside)
			start = s->e[i].at;
		if (!now && inside)
			emit(out, start, s->e[i].at);
		inside = now;
	}
}

static void emit_ram(struct memmap_output *out, u64 start, u64 end)
{
	/* As many stretches as RAM entries at most, since each begins or ends at one... */
	if (out->nr_ram == RAW_MAX_REGIONS)
		return;
	out->ram[out->nr_ram++] = (struct boot_range){hpa(start), hpa(end)};
	out->ram_bytes += end - start;
}

/* No room: the smallest one gives way. Keeps the order. */
static void drop_smallest(struct memmap_output *out)
{
	u32 small = 0;

	for (u32 i = 1; i < out->nr_ranges; i++)
		if (out->range[i].end.v - out->range[i].start.v <
		    out->range[small].end.v - out->range[small].start.v)
			small = i;
	out->lost_bytes += out->range[small].end.v - out->range[small].start.v;
	out->nr_ranges--;
	for (u32 i = small; i < out->nr_ranges; i++)
		out->range[i] = out->range[i + 1];
}

static void emit_range(struct memmap_output *out, u64 start, u64 end)
{
	/* The lowest page that will do; a SIPI can name those below 1 MiB only. */
	if (!out->low_page && start < LOW_LAST && end > LOW_FIRST)
		out->low_page = (u32)(max_of(start, LOW_FIRST) >> PAGE_SHIFT);
	if (start < LOW_END)
		start = LOW_END;
	if (start >= end)
		return;
	if (out->nr_ranges == BOOT_MAX_RANGES)
		drop_smallest(out);
	out->range[out->nr_ranges++] = (struct boot_range){hpa(start), hpa(end)};
}

bool memmap_build(const struct memmap_input *in, struct memmap_edge *edges,
                  struct memmap_output *out)
{
	struct edges s = {.e = edges};

	*out = (struct memmap_output){.nr_ram = 0};
	if (in->nr_regions > RAW_MAX_REGIONS || in->nr_cuts > RAW_MAX_CUTS)
		return false;
	for (u32 i = 0; i < in->nr_regions; i++) {
		const struct region *r = &in->region[i];

		if (r->type == REGION_RAM)
			add_ram(&s, r->start, r->end, in->limit);
		else
			add_other(&s, r->start, r->end, in->limit);
	}
	sweep(&s, out, emit_ram);
	for (u32 i = 0; i < in->nr_cuts; i++)
		add_other(&s, in->cut[i].start, in->cut[i].end, in->limit);
	sweep(&s, out, emit_range);
	return true;
}
