/*
 * The hypervisor's own access to guest memory.
 *
 * Nothing keeps a page where it is after fault_bring_in() but a pin, and the pin is taken on a
 * frame, which may have gone to somebody else meanwhile. So: bring in, pin, look again whether the
 * gfn still has that frame. From then on it stays (eviction and draining leave pinned frames alone)
 * until the pin is dropped.
 *
 * A VM with a null MMU (scenario: null = yes) has its accesses go through that instead, which needs no pin.
 *
 * A write happens behind the MMU's back: no Dirty bit tells of it later. So the kept copy is
 * dropped while the pin is held; done before, the page could have been evicted and brought back in
 * between, clean again, with a copy that would be taken for valid.
 */
#include "hv/mmu/guest_mem.h"

#include "arch/hal.h"
#include "hv/mmu/null.h"
#include "hv/mmu/shadow.h"
#include "lib/string.h"
#include "mm/dirty_log.h"
#include "mm/epoch.h"
#include "mm/frame.h"
#include "mm/space.h"

/*
 * How long to wait for a page that an evictor on another CPU has in hand. It finishes its chunk
 * without waiting for us (a CPU in the hypervisor is out of the guest), so this is never reached.
 */
#define PATIENCE_NS 1000000000ull

static bool has_frame(struct space *s, gfn_t g, u32 frame)
{
	a64 *where = gfnmap_word(s, g);

	return where && a64_load(where) == gfn_word(GFN_RESIDENT, frame);
}

/*
 * In the epoch section that saw the frame at its gfn, it cannot go back to the allocator under the pin.
 * The second look needs no order of its own: the pin is an exchange (full barrier), so a frame that
 * changed hands before it shows in the word, and afterwards it changes hands no more.
 */
static bool guest_frame_pin_try(struct space *s, gfn_t g, u32 frame)
{
	bool pinned;

	epoch_enter();
	pinned = has_frame(s, g, frame) && frame_pin_try(frame);
	if (pinned && !has_frame(s, g, frame)) {
		frame_unpin(frame);
		pinned = false;
	}
	epoch_exit();
	return pinned;
}

static enum fault_result guest_page_pin_try(struct space *s, gfn_t g, bool write, u32 *frame)
{
	struct fault_page page;
	enum fault_result result = fault_bring_in(s, g, write, !write, &page);

	if (result != FAULT_FIXED)
		return result;
	if (!guest_frame_pin_try(s, g, page.frame))
		return FAULT_RETRY;
	if (write)
		result = fault_make_dirty(s, g);
	if (result != FAULT_FIXED)
		frame_unpin(page.frame);
	*frame = page.frame;
	return result;
}

/* The frame of a resident page, pinned and, for a write, dirty for good; FRAME_NONE if it has none. */
static u32 guest_page_pin(struct space *s, gfn_t g, bool write)
{
	u64 start = 0;

	for (;;) {
		u32 frame;
		enum fault_result result = guest_page_pin_try(s, g, write, &frame);

		if (result == FAULT_FIXED)
			return frame;
		/* The disk's end comes by itself: mm/swap.h. */
		if (!start || result == FAULT_WAIT)
			start = hal_time_ns();
		if ((result != FAULT_RETRY && result != FAULT_WAIT) ||
		    hal_time_ns() - start > PATIENCE_NS)
			return FRAME_NONE;
		hal_pause();
	}
}

static void guest_page_unpin(u32 frame)
{
	frame_mark_accessed(frame);
	frame_unpin(frame);
}

/* Bytes of an access that lie in the page of `at`. */
static u64 piece_of(gpa_t at, u64 bytes)
{
	return min_of(PAGE_SIZE - at.v % PAGE_SIZE, bytes);
}

u64 guest_read(const struct guest_mem *m, gpa_t from, void *to, u64 bytes)
{
	u64 done = 0;

	if (m->device)
		return null_read(m->device, from, to, bytes);
	while (done < bytes) {
		gpa_t at = gpa(from.v + done);
		u64 piece = piece_of(at, bytes - done);
		u32 frame = guest_page_pin(m->space, gpa_gfn(at), false);

		if (frame == FRAME_NONE)
			break;
		memcpy((u8 *)to + done, (u8 *)frame_ptr(frame) + at.v % PAGE_SIZE, piece);
		guest_page_unpin(frame);
		done += piece;
	}
	return done;
}

/* Writes all it can. */
static u64 write_pages(const struct guest_mem *m, gpa_t to, const void *from, u64 bytes)
{
	u64 done = 0;

	if (m->device)
		return null_write(m->device, to, from, bytes);
	while (done < bytes) {
		gpa_t at = gpa(to.v + done);
		u64 piece = piece_of(at, bytes - done);
		u32 frame = guest_page_pin(m->space, gpa_gfn(at), true);

		if (frame == FRAME_NONE)
			break;
		memcpy((u8 *)frame_ptr(frame) + at.v % PAGE_SIZE, (const u8 *)from + done, piece);
		guest_page_unpin(frame);
		done += piece;
	}
	return done;
}

u64 guest_write(const struct guest_mem *m, gpa_t to, const void *from, u64 bytes)
{
	u64 done = write_pages(m, to, from, bytes);

	/* The last unpin, or unlock, is a full barrier: the contents are written before the mode is read. */
	if (unlikely(dirty_log_mode(m->space) != DIRTY_LOG_OFF))
		for (u64 at = 0; at < done; at += piece_of(gpa(to.v + at), done - at))
			dirty_log_mark(m->space, gpa_gfn(gpa(to.v + at)));
	if (m->shadow)
		shadow_written(m->shadow, to, done);
	return done;
}
