#include "mm/ager.h"

#include "arch/hal.h"
#include "lib/atomic.h"
#include "mm/age.h"
#include "mm/space.h"

/* As long as a pass over some hundred tables takes. */
#define BURN_NS 100000u

/* What is asked for, in one word, so that nobody sees the duty of one and the space of another. */
#define WORD_DUTY_SHIFT 8
#define WORD_WORK_SHIFT 16

static a64 wanted;          /* 7:0 id of the space, 0: off   15:8 duty   23:16 enum ager_work */
static a64 busy_ns, passes; /* ever */
static a64 since_ns, old_busy_ns, old_passes; /* at the last ager_set() */
static void (*wake_ager)(void);

static u64 word_of(const struct space *s, unsigned duty, enum ager_work work)
{
	return s->id | (u64)duty << WORD_DUTY_SHIFT | (u64)work << WORD_WORK_SHIFT;
}

void ager_on_set(void (*wake)(void))
{
	wake_ager = wake;
}

void ager_set(const struct space *s, unsigned duty, enum ager_work work)
{
	DEBUG_ASSERT(duty && duty <= 100 && work < AGER_WORKS);
	a64_store(&since_ns, hal_time_ns());
	a64_store(&old_busy_ns, a64_load(&busy_ns));
	a64_store(&old_passes, a64_load(&passes));
	a64_store(&wanted, word_of(s, duty, work));
	if (wake_ager)
		wake_ager();
}

struct ager_result ager_stop(const struct space *s)
{
	u64 word = a64_load(&wanted);

	if ((u8)word != s->id || !a64_cas(&wanted, &word, 0))
		return (struct ager_result){.busy_ns = 0};
	return (struct ager_result){
	        .busy_ns = a64_load(&busy_ns) - a64_load(&old_busy_ns),
	        .whole_ns = hal_time_ns() - a64_load(&since_ns),
	        .passes = a64_load(&passes) - a64_load(&old_passes),
	};
}

/* False: the space is gone. A pass that somebody else ends is none of ours, but took its time. */
static bool one_pass(u16 id)
{
	struct space *s = space_get_id(id);

	if (!s)
		return false;
	a64_count(&passes, age_space(s, a64_load(&s->lru.max_seq), true).produced);
	space_put(s);
	return true;
}

/* Does not pause: an emulator would let another CPU have the rest of the turn. */
static void burn(u64 until_ns)
{
	while (hal_time_ns() < until_ns)
		;
}

u64 ager_turn(void)
{
	u64 word = a64_load(&wanted), start = hal_time_ns(), end,
	    duty = (u8)(word >> WORD_DUTY_SHIFT);

	if (!word)
		return AGER_OFF;
	if ((enum ager_work)(u8)(word >> WORD_WORK_SHIFT) == AGER_BURNS)
		burn(start + BURN_NS);
	else if (!one_pass((u8)word) && a64_cas(&wanted, &word, 0))
		return AGER_OFF;
	end = hal_time_ns();
	a64_count(&busy_ns, end - start);
	return end + (end - start) * (100 - duty) / duty;
}
