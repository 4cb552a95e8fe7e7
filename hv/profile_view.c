/*
 * The profile of reclaim as the monitor shows it: a tree of shares on the console for people, and on COM2 the same
 * tree as paths for tools/flame.
 */
#include "hv/profile_view.h"

#include "arch/hal.h"
#include "arch/x86/console.h"
#include "hv/monitor_say.h"
#include "hv/stats_line.h"
#include "lib/profile.h"

#define PATH_MAX_KINDS 16u

typedef unsigned long long ull;

/* Deeper than this nothing is: lib/profile.c keeps so many open. */
static unsigned depth_of(const struct profile_tree *t, unsigned at)
{
	unsigned depth = 0;

	for (; at; at = t->node[at].parent)
		depth++;
	return depth;
}

static void say_node(const struct profile_tree *t, unsigned at)
{
	const struct profile_node *n = &t->node[at];
	u64 share = n->ns * 10000 / max_of(t->node[0].ns, 1ull);

	say("profile: %3llu.%02llu %% %*s%-12s %10llu us %9llu times %8llu ns each",
	    (ull)share / 100, (ull)share % 100, (int)(2 * depth_of(t, at)) - 2, "",
	    profile_name[n->kind], (ull)n->ns / 1000, (ull)n->spans,
	    (ull)n->ns / max_of(n->spans, 1ull));
}

/* The child of `parent` with most time that was not shown yet, 0: none. */
static unsigned next_child(const struct profile_tree *t, unsigned parent, const bool *shown)
{
	unsigned best = 0;

	for (unsigned i = 1; i < t->nr; i++)
		if (t->node[i].parent == parent && !shown[i] &&
		    (!best || t->node[i].ns > t->node[best].ns))
			best = i;
	return best;
}

/* From the top down, the costly ones first, without recursion: up when a node has no child left. */
static void say_tree(const struct profile_tree *t)
{
	bool shown[PROFILE_NODES] = {false};
	unsigned at = 0;

	say("profile: of %llu us in reclaim", (ull)t->node[0].ns / 1000);
	for (;;) {
		unsigned child = next_child(t, at, shown);

		if (child) {
			shown[child] = true;
			say_node(t, child);
			at = child;
		} else if (at) {
			at = t->node[at].parent;
		} else {
			break;
		}
	}
}

static void line_path(struct stats_line *l, const struct profile_tree *t, unsigned at)
{
	u8 kinds[PATH_MAX_KINDS];
	unsigned n = 0;

	for (; at && n < PATH_MAX_KINDS; at = t->node[at].parent)
		kinds[n++] = t->node[at].kind;
	while (n-- > 0)
		line_add(l, "%s%s", profile_name[kinds[n]], n ? "/" : "");
}

static void send_tree(const struct profile_tree *t)
{
	struct stats_line l = {0};

	line_begin(&l, "profile", hal_time_ns());
	line_add(&l, ",\"nodes\":[");
	for (unsigned i = 1; i < t->nr; i++) {
		line_add(&l, "%s[\"", i > 1 ? "," : "");
		line_path(&l, t, i);
		line_add(&l, "\",%llu,%llu]", (ull)t->node[i].ns, (ull)t->node[i].spans);
	}
	line_add(&l, "]");
	line_send(&l, stats_write);
}

void profile_view(void)
{
	static struct profile_tree tree; /* the monitor thread's: it would be much on a stack */

	profile_collect(&tree);
	say_tree(&tree);
	send_tree(&tree);
}
