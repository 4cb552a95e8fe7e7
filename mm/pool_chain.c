#include "mm/pool_chain.h"

#include "lib/string.h"
#include "mm/frame.h"

u8 *place_ptr(struct place at)
{
	return (u8 *)frame_ptr(at.frame) + at.offset;
}

struct place place_add(struct place at, u32 bytes)
{
	at.offset += bytes;
	if (at.offset >= PAGE_SIZE) {
		at.offset -= PAGE_SIZE;
		at.frame = frame_at(at.frame)->next;
	}
	return at;
}

void chain_read(struct place at, u8 *to, u32 bytes)
{
	while (bytes) {
		u32 n = min_of(bytes, PAGE_SIZE - at.offset);

		memcpy(to, place_ptr(at), n);
		to += n;
		bytes -= n;
		if (bytes)
			at = place_add(at, n);
	}
}

void chain_write(struct place at, const u8 *from, u32 bytes)
{
	while (bytes) {
		u32 n = min_of(bytes, PAGE_SIZE - at.offset);

		memcpy(place_ptr(at), from, n);
		from += n;
		bytes -= n;
		if (bytes)
			at = place_add(at, n);
	}
}

bool chain_equal(struct place at, const u8 *with, u32 bytes)
{
	while (bytes) {
		u32 n = min_of(bytes, PAGE_SIZE - at.offset);

		if (memcmp(place_ptr(at), with, n))
			return false;
		with += n;
		bytes -= n;
		if (bytes)
			at = place_add(at, n);
	}
	return true;
}

void chain_copy(struct place to, struct place from, u32 bytes)
{
	while (bytes) {
		u32 further = max_of(from.offset, to.offset);
		u32 n = min_of(bytes, PAGE_SIZE - further);

		memcpy(place_ptr(to), place_ptr(from), n);
		bytes -= n;
		if (bytes) {
			from = place_add(from, n);
			to = place_add(to, n);
		}
	}
}
