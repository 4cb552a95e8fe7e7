/*
 * A CPU's tree has one writer. Others read it in profile_collect(): a node's place is written before the number of nodes
 * says that it is there, and does not change after; its counters only grow. A session is what lies between two times
 * that the profile was switched on: a CPU that finds its tree to be of an older one begins it anew, and whoever collects passes
 * such a tree over.
 *
 * The stack of open spans forgives: what was open when the profile was switched on is closed without having been opened
 * here, and what was open when it was switched off is never closed. The first finds another kind on top, or
 * nothing, and does nothing; the second is forgotten with its session.
 */
#include "lib/profile.h"

#include "arch/hal.h"

#define DEPTH 16u

const char *const profile_name[PROFILE_KINDS] = {
        [PROFILE_NONE] = "all",
        [PROFILE_DIRECT] = "direct",
        [PROFILE_BACKGROUND] = "background",
        [PROFILE_EVICT] = "evict",
        [PROFILE_AGE] = "age",
        [PROFILE_LISTS] = "lists",
        [PROFILE_CHECK] = "check",
        [PROFILE_AROUND] = "look-around",
        [PROFILE_ASK] = "notifier",
        [PROFILE_TABLES] = "tables",
        [PROFILE_RMAP] = "rmap",
        [PROFILE_DEVICE] = "device",
        [PROFILE_UNMAP] = "unmap",
        [PROFILE_LOCK] = "lock",
        [PROFILE_FLUSH] = "flush",
        [PROFILE_PACK] = "pack",
        [PROFILE_SHRINK] = "shrink",
};

struct node {
	a32 place; /* kind | parent << 8 */
	a64 ns, spans;
};

/* `at`: the node, PROFILE_NODES if there was no room for it. */
struct span {
	u8 kind, at;
	u64 start_ns;
};

static struct cpu_profile {
	a32 session; /* that the tree is of */
	a32 nr;      /* nodes; 0 is above the roots */
	struct node node[PROFILE_NODES];
	struct span open[DEPTH]; /* the owner's, outermost first */
	u32 depth;
} aligned_to(64) cpus[HAL_MAX_CPUS];

a32 profile_session; /* 0: off */
static u32 last_session;

static u8 kind_of(const struct node *n)
{
	return (u8)a32_load(&n->place);
}

static u8 parent_of(const struct node *n)
{
	return (u8)(a32_load(&n->place) >> 8);
}

/* Of the session before until the last step: who collects has asked for a later one, and passes the tree over. */
static void begin_anew(struct cpu_profile *c, u32 session)
{
	c->depth = 0;
	for (unsigned i = 0; i < PROFILE_NODES; i++) {
		a64_store(&c->node[i].ns, 0);
		a64_store(&c->node[i].spans, 0);
	}
	a32_store(&c->nr, 1);
	/* ord PF2: all zero before it is of the new session; pairs with tree_add() */
	a32_store_release(&c->session, session);
}

/* The child of that kind, made if need be; PROFILE_NODES: no room. */
static u8 child_of(struct cpu_profile *c, u8 parent, u8 kind)
{
	u32 nr = a32_load(&c->nr);

	if (parent == PROFILE_NODES)
		return PROFILE_NODES;
	for (u32 i = parent + 1; i < nr; i++)
		if (parent_of(&c->node[i]) == parent && kind_of(&c->node[i]) == kind)
			return (u8)i;
	if (nr == PROFILE_NODES)
		return PROFILE_NODES;
	a32_store(&c->node[nr].place, kind | (u32)parent << 8);
	/* ord PF1: the node's place before it can be found; pairs with tree_add() */
	a32_store_release(&c->nr, nr + 1);
	return (u8)nr;
}

void profile_enter(enum profile_kind kind)
{
	struct cpu_profile *c = &cpus[hal_cpu_id()];
	u32 session = a32_load(&profile_session);
	u8 parent;

	if (!session || kind == PROFILE_NONE)
		return;
	if (a32_load(&c->session) != session)
		begin_anew(c, session);
	if (c->depth == DEPTH || (!c->depth && !(BIT(kind) & PROFILE_ROOTS)))
		return;
	parent = c->depth ? c->open[c->depth - 1].at : 0;
	c->open[c->depth] = (struct span){(u8)kind, child_of(c, parent, (u8)kind), hal_time_ns()};
	c->depth++;
}

void profile_leave(enum profile_kind kind)
{
	struct cpu_profile *c = &cpus[hal_cpu_id()];
	const struct span *span;

	if (a32_load(&c->session) != a32_load(&profile_session) || !c->depth)
		return;
	span = &c->open[c->depth - 1];
	if (span->kind != kind)
		return;
	c->depth--;
	if (span->at == PROFILE_NODES)
		return;
	a64_count(&c->node[span->at].ns, hal_time_ns() - span->start_ns);
	a64_count(&c->node[span->at].spans, 1);
}

void profile_switch(bool on)
{
	if (on)
		last_session++;
	a32_store(&profile_session, on ? last_session : 0);
}

/* --- all CPUs together --------------------------------------------------------------------------- */

static u8 tree_child(struct profile_tree *t, u8 parent, u8 kind)
{
	for (u32 i = parent + 1u; i < t->nr; i++)
		if (t->node[i].parent == parent && t->node[i].kind == kind)
			return (u8)i;
	if (t->nr == PROFILE_NODES)
		return PROFILE_NODES;
	t->node[t->nr] = (struct profile_node){.kind = kind, .parent = parent};
	return (u8)t->nr++;
}

static void tree_add(struct profile_tree *t, const struct cpu_profile *c)
{
	u8 place[PROFILE_NODES] = {0};
	u32 nr;

	/* ord PF2: pairs with begin_anew() */
	if (a32_load_acquire(&c->session) != last_session)
		return;
	nr = a32_load_acquire(&c->nr); /* ord PF1: pairs with child_of() */
	for (u32 i = 1; i < nr; i++) {
		u8 parent = place[parent_of(&c->node[i])], at = PROFILE_NODES;

		if (parent != PROFILE_NODES)
			at = tree_child(t, parent, kind_of(&c->node[i]));
		place[i] = at;
		if (at == PROFILE_NODES)
			continue;
		t->node[at].ns += a64_load(&c->node[i].ns);
		t->node[at].spans += a64_load(&c->node[i].spans);
		if (!parent)
			t->node[0].ns += a64_load(&c->node[i].ns);
	}
}

void profile_collect(struct profile_tree *tree)
{
	*tree = (struct profile_tree){.nr = 1};
	for (unsigned i = 0; last_session && i < HAL_MAX_CPUS; i++)
		tree_add(tree, &cpus[i]);
}
