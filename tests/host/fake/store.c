/*
 * Keeps pages as they are, for tests that want to say when a store is full, slow or bad. Included by a
 * test, whose definitions then come before those of mm/store.c.
 */
#include "tests/host/fake/store.h"

#include <stdlib.h>
#include <string.h>

#include "arch/hal.h"
#include "lib/lock.h"
#include "mm/frame.h"
#include "mm/gfnmap.h"

#define FAKE_OBJECTS 65536u

struct fake_store fake_store;

static struct spinlock fake_lock = SPINLOCK_INIT(LOCK_STORE, "fake store");
static void *fake_object[FAKE_OBJECTS];
static u32 fake_next;

void fake_store_reset(void)
{
	for (u32 i = 0; i < FAKE_OBJECTS; i++) {
		free(fake_object[i]);
		fake_object[i] = NULL;
	}
	fake_next = 0;
	fake_store = (struct fake_store){.capacity = FAKE_OBJECTS};
}

bool store_init(void)
{
	fake_store_reset();
	return true;
}

static bool is_zero(const u64 *words)
{
	for (unsigned i = 0; i < PAGE_SIZE / 8; i++)
		if (words[i])
			return false;
	return true;
}

/* A free handle for a copy of the page. */
static u32 fake_keep(const void *page)
{
	void *copy = malloc(PAGE_SIZE);

	ASSERT(copy);
	memcpy(copy, page, PAGE_SIZE);
	spin_lock(&fake_lock);
	do
		fake_next = (fake_next + 1) % FAKE_OBJECTS;
	while (fake_object[fake_next]);
	fake_object[fake_next] = copy;
	fake_store.objects++;
	fake_store.puts++;
	spin_unlock(&fake_lock);
	return fake_next;
}

enum store_result store_put(u32 frame, u64 *word)
{
	if (fake_store.on_put)
		fake_store.on_put(frame);
	if (fake_store.put != STORE_OK)
		return fake_store.put;
	if (is_zero(frame_ptr(frame))) {
		*word = gfn_word(GFN_ZERO, 0);
		return STORE_OK;
	}
	if (fake_store.objects >= fake_store.capacity)
		return STORE_FULL;
	*word = gfn_word(GFN_POOLED, fake_keep(frame_ptr(frame)));
	return STORE_OK;
}

/* Everybody keeps his own. */
enum store_result store_put_shared(u32 frame, u64 *word, u32 *saved)
{
	*saved = 0;
	return store_put(frame, word);
}

enum store_result store_get(u64 word, u32 frame)
{
	u64 handle = gfn_word_payload(word);

	ASSERT(!(word & (GFN_SHADOW | GFN_BUSY)));
	if (fake_store.on_get)
		fake_store.on_get(word);
	if (fake_store.get_waits) {
		fake_store.get_waits--;
		return STORE_WAIT;
	}
	fake_store.gets++;
	if (fake_store.damaged)
		return STORE_BAD;
	if (gfn_word_tag(word) == GFN_ZERO) {
		memset(frame_ptr(frame), 0, PAGE_SIZE);
		return STORE_OK;
	}
	ASSERT(gfn_word_tag(word) == GFN_POOLED && handle < FAKE_OBJECTS && fake_object[handle]);
	memcpy(frame_ptr(frame), fake_object[handle], PAGE_SIZE);
	return STORE_OK;
}

bool store_ready(u64 word)
{
	ASSERT(!(word & (GFN_SHADOW | GFN_BUSY)));
	if (!fake_store.not_ready)
		return true;
	fake_store.not_ready--;
	return false;
}

bool store_takes_frames(u64 word)
{
	return gfn_word_tag(word) == GFN_POOLED && !fake_store.on_disk;
}

void store_drop(u64 word)
{
	u64 handle = gfn_word_payload(word);

	ASSERT(!(word & (GFN_SHADOW | GFN_BUSY)));
	if (fake_store.on_drop)
		fake_store.on_drop(word);
	if (gfn_word_tag(word) != GFN_POOLED)
		return;
	spin_lock(&fake_lock);
	ASSERT(handle < FAKE_OBJECTS && fake_object[handle]);
	free(fake_object[handle]);
	fake_object[handle] = NULL;
	fake_store.objects--;
	fake_store.drops++;
	spin_unlock(&fake_lock);
}

void store_snapshot(struct store_stats *out)
{
	*out = (struct store_stats){.objects = fake_store.objects};
}

u64 store_audit(void)
{
	u64 n = 0;

	for (u32 i = 0; i < FAKE_OBJECTS; i++)
		n += fake_object[i] != NULL;
	return n != fake_store.objects;
}
