#include "tests/host/shrink.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arch/hal.h"

static void silence(void)
{
	int nowhere = open("/dev/null", O_WRONLY);

	dup2(nowhere, 1);
	dup2(nowhere, 2);
}

int shrink_status(void (*run)(void *arg), void *arg, bool quiet, unsigned seconds)
{
	int status = 1;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (!child) {
		/* Whoever ends the test ends what it has begun. */
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (quiet)
			silence();
		alarm(seconds);
		run(arg);
		fflush(NULL);
		_exit(0);
	}
	ASSERT(child > 0 && waitpid(child, &status, 0) == child);
	return status;
}

bool shrink_fails(void (*run)(void *arg), void *arg, bool quiet, unsigned seconds)
{
	return shrink_status(run, arg, quiet, seconds) != 0;
}

struct attempt {
	void (*run)(const void *list, unsigned n);
	const void *list;
	unsigned n;
};

static void attempt_run(void *arg)
{
	const struct attempt *a = arg;

	a->run(a->list, a->n);
}

/* The list without `chunk` elements from `at` on. */
static unsigned without(u8 *to, const u8 *list, size_t bytes, unsigned n, unsigned at,
                        unsigned chunk)
{
	unsigned end = min_of(at + chunk, n);

	memcpy(to, list, at * bytes);
	memcpy(to + at * bytes, list + end * bytes, (n - end) * bytes);
	return n - (end - at);
}

unsigned shrink_list(void *list, size_t bytes, unsigned n,
                     void (*run)(const void *list, unsigned n))
{
	u8 *rest = malloc(n * bytes + 1);

	ASSERT(rest);
	for (unsigned chunk = max_of(n / 2, 1u); n; chunk = max_of(chunk / 2, 1u)) {
		bool progress = false;

		for (unsigned at = 0; at < n;) {
			struct attempt a = {run, rest, without(rest, list, bytes, n, at, chunk)};

			if (shrink_fails(attempt_run, &a, true, SHRINK_SECONDS)) {
				memcpy(list, rest, a.n * bytes);
				n = a.n;
				progress = true;
			} else {
				at += chunk;
			}
		}
		if (chunk == 1 && !progress)
			break;
	}
	free(rest);
	return n;
}
