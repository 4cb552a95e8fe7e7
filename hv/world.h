/*
 * Stopping the world: every vCPU out of its guest and every thread but the caller's outside of what
 * touches guests' memory, so that the auditor may look at everything at once.
 *
 * A thread is inside between world_enter() and world_leave(); it leaves before it sleeps and when
 * world_stopping() says that somebody waits.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"

extern a32 world_closed;

static inline bool world_stopping(void)
{
	return a32_load(&world_closed) != 0;
}
/* Waits while the world is stopped. No lock held, not in an epoch section. */
void world_enter(void);
void world_leave(void);
/* One thread at a time, itself outside. Returns when nobody is inside. */
void world_stop(void);
void world_resume(void);
