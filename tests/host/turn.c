#include "tests/host/turn.h"

#include <sched.h>
#include <time.h>

#include "lib/types.h"

#define LONG_NS 300000
#define SLEEPS  64u

static s64 since(const struct timespec *before)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - before->tv_sec) * 1000000000L + now.tv_nsec - before->tv_nsec;
}

void host_turn(void)
{
	static _Thread_local unsigned sleeps;
	struct timespec before;

	if (sleeps) {
		sleeps--;
		nanosleep(&(struct timespec){.tv_nsec = 1}, NULL);
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &before);
	sched_yield();
	if (since(&before) > LONG_NS)
		sleeps = SLEEPS;
}
