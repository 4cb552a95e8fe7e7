/* The image parser on any bytes: what it accepts keeps every promise of hv/elf.h. */
#include <stdlib.h>

#include "hv/elf.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void check_segment(const struct elf_image *image, u32 i, size_t size)
{
	const struct elf_segment *s = &image->segment[i];

	check(s->bytes && s->file_bytes <= s->bytes);
	check(s->file_offset <= size && s->file_bytes <= size - s->file_offset);
	check(s->gpa >= PAGE_SIZE && s->gpa + s->bytes > s->gpa && s->gpa + s->bytes <= image->end);
	for (u32 k = 0; k < i; k++) {
		const struct elf_segment *o = &image->segment[k];

		check(s->gpa >= o->gpa + o->bytes || o->gpa >= s->gpa + s->bytes);
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct elf_image image;
	bool entry = false;

	if (elf_parse(data, size, &image))
		return 0;
	check(image.nr_segments && image.nr_segments <= ELF_MAX_SEGMENTS);
	for (u32 i = 0; i < image.nr_segments; i++) {
		const struct elf_segment *s = &image.segment[i];

		check_segment(&image, i, size);
		entry |= image.entry >= s->gpa && image.entry < s->gpa + s->file_bytes;
	}
	check(entry);
	return 0;
}
