/*
 * Chunks of 2 MiB with 64 slots of 8 pages: a guard page, then the stack. The chunks that a machine
 * is expected to need are made before other CPUs run; one that is made later is covered by
 * paging_sync(), which every switch to another stack calls.
 */
#include "arch/x86/stack.h"

#include "arch/hal.h"
#include "arch/x86/paging.h"
#include "lib/atomic.h"
#include "lib/lock.h"

#define SLOT_BYTES  (STACK_BYTES + PAGE_SIZE)
#define CHUNK_SLOTS 64u
#define CHUNK_BYTES (CHUNK_SLOTS * SLOT_BYTES)
#define MAX_CHUNKS  64u
#define MAX_ADOPTED 2u

static struct chunk {
	u64 base;
	u64 used; /* bit for each slot */
	const char *name[CHUNK_SLOTS];
} chunks[MAX_CHUNKS];
static a32 nr_chunks;

static struct adopted {
	u64 low, high;
	const char *name;
} adopted[MAX_ADOPTED];
static unsigned nr_adopted;

static struct spinlock lock = SPINLOCK_INIT(LOCK_STACK, "stacks");

static bool chunk_add(void)
{
	u32 n = a32_load(&nr_chunks);
	u8 *base;

	if (n == MAX_CHUNKS)
		return false;
	base = hal_pages_alloc(CHUNK_BYTES / PAGE_SIZE);
	if (!base)
		return false;
	for (unsigned i = 0; i < CHUNK_SLOTS; i++)
		paging_unmap((u64)(uintptr_t)base + i * SLOT_BYTES, PAGE_SIZE);
	chunks[n] = (struct chunk){.base = (u64)(uintptr_t)base};
	/* ord X5: pairs with slot_of; a chunk that is counted is filled. */
	a32_store_release(&nr_chunks, n + 1);
	return true;
}

void stack_init(unsigned n)
{
	for (unsigned have = 0; have < n; have += CHUNK_SLOTS)
		if (!chunk_add())
			hal_panic("no memory for %u stacks", n);
}

void stack_adopt(u64 low, u64 high, const char *name)
{
	ASSERT(nr_adopted < MAX_ADOPTED);
	adopted[nr_adopted++] = (struct adopted){.low = low, .high = high, .name = name};
	paging_unmap(low - PAGE_SIZE, PAGE_SIZE);
}

static void *slot_take(struct chunk *c, const char *name)
{
	unsigned i;

	if (!~c->used)
		return NULL;
	i = (unsigned)__builtin_ctzll(~c->used);
	c->used |= BIT(i);
	c->name[i] = name;
	return (void *)(uintptr_t)(c->base + i * SLOT_BYTES + PAGE_SIZE);
}

void *stack_alloc(const char *name)
{
	void *low = NULL;

	spin_lock(&lock);
	for (u32 i = 0; !low && i < a32_load(&nr_chunks); i++)
		low = slot_take(&chunks[i], name);
	if (!low && chunk_add())
		low = slot_take(&chunks[a32_load(&nr_chunks) - 1], name);
	spin_unlock(&lock);
	return low;
}

static struct chunk *slot_of(u64 addr, unsigned *slot)
{
	/* ord X5: pairs with chunk_add. */
	u32 n = a32_load_acquire(&nr_chunks);

	for (u32 i = 0; i < n; i++) {
		if (addr < chunks[i].base || addr - chunks[i].base >= CHUNK_BYTES)
			continue;
		*slot = (unsigned)((addr - chunks[i].base) / SLOT_BYTES);
		return &chunks[i];
	}
	return NULL;
}

void stack_free(void *low)
{
	unsigned slot = 0;
	struct chunk *c;

	spin_lock(&lock);
	c = slot_of((u64)(uintptr_t)low, &slot);
	if (!c || !(c->used & BIT(slot)) ||
	    (u64)(uintptr_t)low != c->base + slot * SLOT_BYTES + PAGE_SIZE)
		hal_panic("stack_free: %p is no stack", low);
	c->used &= ~BIT(slot);
	c->name[slot] = NULL;
	spin_unlock(&lock);
}

bool stack_bounds(u64 addr, u64 *low, u64 *high)
{
	unsigned slot = 0;
	struct chunk *c = slot_of(addr, &slot);

	for (unsigned i = 0; i < nr_adopted; i++) {
		if (addr >= adopted[i].low && addr < adopted[i].high) {
			*low = adopted[i].low;
			*high = adopted[i].high;
			return true;
		}
	}
	if (!c || (addr - c->base) % SLOT_BYTES < PAGE_SIZE)
		return false;
	*low = c->base + slot * SLOT_BYTES + PAGE_SIZE;
	*high = *low + STACK_BYTES;
	return true;
}

const char *stack_guard_owner(u64 addr)
{
	unsigned slot = 0;
	struct chunk *c = slot_of(addr, &slot);

	for (unsigned i = 0; i < nr_adopted; i++)
		if (addr < adopted[i].low && addr >= adopted[i].low - PAGE_SIZE)
			return adopted[i].name;
	if (!c || (addr - c->base) % SLOT_BYTES >= PAGE_SIZE)
		return NULL;
	return c->name[slot] ? c->name[slot] : "a free stack";
}
