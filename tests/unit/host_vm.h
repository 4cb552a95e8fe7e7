/* What unit tests over a whole guest (tests/host/vm.h) have in common. After cmocka.h. */
#pragma once

#include "mm/age.h"
#include "mm/store.h"
#include "tests/host/vm.h"

#define for_each_machine(m) \
	for (const struct host_machine *m = host_machines; m < host_machines + HOST_MACHINES; m++)

/* Makes every vCPU forget its translations: the next access sets Accessed again. */
static inline void vm_flush(struct space *s)
{
	flush_wait(s, flush_request(s));
}

/* A pass, unless somebody else makes it. */
static inline struct age_result vm_age(struct space *s, bool force)
{
	return age_space(s, a64_load(&s->lru.max_seq), force);
}

static u64 vm_group_frames;

static inline int vm_group_setup(void **state)
{
	(void)state;
	host_frames_create(vm_group_frames);
	return store_init() ? 0 : -1;
}

static inline int vm_group_teardown(void **state)
{
	(void)state;
	host_frames_destroy();
	return 0;
}

/* The tests of one program, in a machine of so many frames. */
#define vm_group_run(tests, frames)  \
	(vm_group_frames = (frames), \
	 cmocka_run_group_tests(tests, vm_group_setup, vm_group_teardown))
