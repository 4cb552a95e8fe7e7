/*
 * The shadow MMU's sources with faults in them that can be switched on, for a test that wants to see whether it
 * notices. Part of one program, whose definitions then come before those of the archive: included once, instead of
 * "hv/mmu/shadow_core.h".
 *
 * Each fault takes away one thing that hv/mmu/shadow.h argues with.
 */
#pragma once

#include "arch/hal.h"
#include "hv/mmu/shadow_core.h"
#include "mm/epoch.h"
#include "mm/fault.h"
#include "mm/frame.h"
#include "mm/space.h"

/* X(name, what is missing) */
#define SHADOW_FAULTS(X)                                                            \
	X(SOUND, "nothing")                                                         \
	X(PROTECT, "W taken from a table that is now mirrored")                     \
	X(READY, "the flush before such a table is read")                           \
	X(FREE, "the flush before a shadow page's frame is free")                   \
	X(SETTLE, "the flush before a table counts as in sync again")               \
	X(INVALIDATE, "the look for an invalidation that has begun")                \
	X(MOVED, "the look whether what was found without the lock is still there") \
	X(CLEAN, "the copy in the store dropped before W is given")                 \
	X(SYNC, "stale entries taken away where the guest expects it")              \
	X(REFRESH, "an unsync page read again before another path leads there")     \
	X(ROOTS, "roots_gen raised when a root goes")                               \
	X(GUEST_DIRTY, "Dirty set in the guest's entry before W is given")          \
	X(GUEST_ACCESSED, "Accessed set in the guest's entry before it is used")    \
	X(ENTRY, "the look whether the root still is one, at an entry")             \
	X(SHOOTDOWN, "the wait for who is in the guest")                            \
	X(ENTRY_FLUSH, "the flush at an entry")

#define SHADOW_FAULT_ENUM(name, what) SHADOW_FAULT_##name,
enum shadow_fault_planted { SHADOW_FAULTS(SHADOW_FAULT_ENUM) SHADOW_FAULTS_NR };
#define SHADOW_FAULT_TEXT(name, what) what,
static const char *const shadow_fault_text[] = {SHADOW_FAULTS(SHADOW_FAULT_TEXT)};

static enum shadow_fault_planted shadow_planted;

static inline bool planted(enum shadow_fault_planted fault)
{
	return unlikely(shadow_planted == fault);
}

/* What the sources below call instead. */
static inline bool spoilt_flush_is_done(struct space *s, u64 gen, enum shadow_fault_planted fault)
{
	return planted(fault) || flush_is_done(s, gen);
}
static inline void spoilt_protect(struct shadow *sh, gfn_t g)
{
	if (!planted(SHADOW_FAULT_PROTECT))
		shadow_protect(sh, g);
}
static inline void spoilt_settle_wait(struct space *s, u64 gen)
{
	if (!planted(SHADOW_FAULT_SETTLE))
		flush_wait(s, gen);
}
static inline bool spoilt_retry(struct space *s, u64 seq, gfn_t g)
{
	return !planted(SHADOW_FAULT_INVALIDATE) && invalidate_retry(s, seq, g);
}
static inline bool spoilt_quiet(struct space *s, u64 seq)
{
	return planted(SHADOW_FAULT_MOVED) || invalidate_quiet(s, seq);
}
static inline bool spoilt_agrees(const struct shadow *sh, const struct shadow_want *want, u32 role,
                                 u64 spte)
{
	return planted(SHADOW_FAULT_SYNC) || shadow_agrees(sh, want, role, spte);
}
static inline void spoilt_refresh(struct shadow *sh, struct shadow_page *sp)
{
	if (!planted(SHADOW_FAULT_REFRESH))
		shadow_refresh(sh, sp);
}
/* Between the zap and what becomes of the page. */
#ifndef SHADOW_ZAPPED
#define SHADOW_ZAPPED() ((void)0)
#endif
static inline void spoilt_zap_end(void)
{
	epoch_exit();
	SHADOW_ZAPPED();
}
static inline void spoilt_count(a64 *counter, u64 by, bool of_roots)
{
	if (!of_roots || !planted(SHADOW_FAULT_ROOTS))
		a64_count(counter, by);
}
static const u64 frame_dirty = FRAME_DIRTY, entry_accessed = GWALK_ENTRY_A,
                 entry_dirty = GWALK_ENTRY_D;

#define flush_is_done(s, gen) spoilt_flush_is_done(s, gen, SHADOW_FAULT_FREE)
#define shadow_protect        spoilt_protect
#define a64_count(counter, by) \
	spoilt_count(counter, by, !__builtin_strcmp(#counter, "&sh->roots_gen"))
#include "hv/mmu/shadow_page.c"
#undef a64_count
#undef shadow_protect
#undef flush_is_done

#define flush_is_done(s, gen) spoilt_flush_is_done(s, gen, SHADOW_FAULT_SETTLE)
#define flush_wait            spoilt_settle_wait
#define shadow_agrees         spoilt_agrees
#include "hv/mmu/shadow_sync.c"
#undef shadow_agrees
#undef flush_wait
#undef flush_is_done

#define invalidate_retry spoilt_retry
#pragma push_macro("GWALK_ENTRY_A")
#pragma push_macro("GWALK_ENTRY_D")
#undef GWALK_ENTRY_A
#undef GWALK_ENTRY_D
#define GWALK_ENTRY_A (planted(SHADOW_FAULT_GUEST_ACCESSED) ? ~0ull : entry_accessed)
#define GWALK_ENTRY_D (planted(SHADOW_FAULT_GUEST_DIRTY) ? ~0ull : entry_dirty)
#include "hv/mmu/shadow_want.c"
#pragma pop_macro("GWALK_ENTRY_A")
#pragma pop_macro("GWALK_ENTRY_D")
#undef invalidate_retry

#define flush_is_done(s, gen) spoilt_flush_is_done(s, gen, SHADOW_FAULT_READY)
#define shadow_refresh        spoilt_refresh
#define invalidate_quiet      spoilt_quiet
#pragma push_macro("FRAME_DIRTY")
#undef FRAME_DIRTY
#define FRAME_DIRTY (planted(SHADOW_FAULT_CLEAN) ? 0 : frame_dirty)
#include "hv/mmu/shadow_fault.c"
#pragma pop_macro("FRAME_DIRTY")
#undef invalidate_quiet
#undef shadow_refresh
#undef flush_is_done

#define epoch_exit spoilt_zap_end
#include "hv/mmu/shadow_zap.c"
#undef epoch_exit
