/*
 *	thread going in				stopper
 *	in_world = 1		(full, ord W1)	world_closed = 1	(full, ord W1)
 *	world_closed?				in_world of each thread?
 *
 * Each writes before it reads, so at least one sees the other: either the thread finds the world
 * closed and goes out again, or the stopper finds it inside and waits. A thread that finds it open
 * again comes behind all that was looked at while it was closed (ord W3).
 */
#include "hv/world.h"

#include "arch/hal.h"
#include "hv/thread.h"
#include "hv/vm.h"

a32 world_closed;

void world_enter(void)
{
	struct thread *t = thread_self();

	for (;;) {
		a32_store_full(&t->in_world, 1);      /* ord W1 */
		if (!a32_load_acquire(&world_closed)) /* ord W3 */
			return;
		a32_store(&t->in_world, 0); /* nothing was done inside */
		thread_block();
	}
}

void world_leave(void)
{
	a32_store_release(&thread_self()->in_world, 0); /* ord W2: what it did inside is done */
}

static void count_inside(struct thread *t, void *arg)
{
	unsigned *inside = arg;

	if (a32_load_acquire(&t->in_world)) /* ord W2 */
		++*inside;
}

static void wake_one(struct thread *t, void *arg)
{
	(void)arg;
	thread_wake(t);
}

static unsigned threads_inside(void)
{
	unsigned inside = 0;

	thread_for_each(count_inside, &inside);
	return inside;
}

void world_stop(void)
{
	a32_store_full(&world_closed, 1); /* ord W1 */
	for (unsigned i = 0; i < vm_count; i++)
		for (unsigned k = 0; k < vms[i].nr_vcpus; k++)
			if (a32_load(&vms[i].live))
				vcpu_request(&vms[i].vcpu[k], VCPU_REQ_WORLD);
	while (threads_inside()) {
		thread_yield();
		hal_pause();
	}
}

void world_resume(void)
{
	a32_store_release(&world_closed, 0); /* ord W3: what was looked at is done with */
	thread_for_each(wake_one, NULL);     /* a wake-up too many harms nobody */
}
