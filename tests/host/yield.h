/*
 * Included before everything else in the variant `cpus` of the host build: every atomic operation of every source, of
 * the hardware walker too, may let another simulated CPU go on.
 */
#pragma once

void cpus_yield(void);

#define ATOMIC_YIELD() cpus_yield()
