"""tools/mutants finds what can be spoilt, and tells a mutant that a test kills from one that none does."""

import os
import shutil
import tempfile
import textwrap
import types
import unittest

from tests.tools.load import ROOT, load_tool
from tools.lib import mutation, together

tool = load_tool("mutants")

TOY = """\
#include "mm/toy.h"

static a64 word;
static a64 other;

u64 toy_add(u64 n)
{
	/* ord Z1: pairs with toy_get. */
	return a64_fetch_add(&word, n);
}

u64 toy_get(void)
{
	u64 value = a64_load_acquire(&word); /* ord Z1 */

	a64_store_release(&other, value);
	return value;
}
"""
TOY_H = '#pragma once\n#include "lib/atomic.h"\nu64 toy_add(u64 n);\nu64 toy_get(void);\n'
# The other actor comes exactly between load and store of whatever is torn.
TEST = """\
extern int gap_calls;
#include "mm/toy.h"
int sched_yield(void)
{
	gap_calls++;
	return 0;
}
int gap_calls;
int main(void)
{
	for (int i = 0; i < 64; i++)
		toy_add(1);
	return gap_calls || toy_get() != 64;
}
"""
MAKEFILE = """\
.SECONDARY:
HOSTCC := gcc
HOST_SRC := mm/toy.c
HOST_LIBS := -lpthread
HOST_CFLAGS_plain := -std=gnu17 -O1 -I.
print-%:
	@printf '%s\\n' '$($*)'
$(O)/host/plain/obj/%.c.o: %.c
	@mkdir -p $(@D)
	$(HOSTCC) $(HOST_CFLAGS_plain) -MMD -MP -MF $(@:.o=.d) -MT $@ -c $< -o $@
$(O)/host/plain/libvarve.a: $(O)/host/plain/obj/mm/toy.c.o
	ar rcsD $@ $^
$(O)/host/plain/%: $(O)/host/plain/obj/tests/model/%.c.o $(O)/host/plain/libvarve.a
	$(HOSTCC) $(HOST_CFLAGS_plain) -o $@ $^
"""


class FindTest(unittest.TestCase):
    def setUp(self):
        self.mutants = {m.name: m for m in mutation.mutants_of("mm/toy.c", TOY)}

    def test_each_operation_and_each_way(self):
        self.assertEqual(sorted(self.mutants), [
            "mm/toy.c:toy_add:fetch_add:relaxed", "mm/toy.c:toy_add:fetch_add:torn",
            "mm/toy.c:toy_get:load_acquire:relaxed", "mm/toy.c:toy_get:store_release:relaxed"])
        self.assertEqual(self.mutants["mm/toy.c:toy_add:fetch_add:torn"].tags, ["Z1"])

    def test_names_survive_new_lines(self):
        moved = mutation.mutants_of("mm/toy.c", "/* A comment. */\n\n" + TOY)
        self.assertEqual({m.name for m in moved}, set(self.mutants))

    def test_one_thing_is_changed(self):
        text = self.mutants["mm/toy.c:toy_get:load_acquire:relaxed"].text
        self.assertIn(TOY.replace("a64_load_acquire(&word)", "a64_load(&word)"), text)

    def test_brackets_and_flushes(self):
        code = ("void f(struct space *s)\n{\n\tepoch_enter();\n\tinvalidate_begin(s, g, h(g));\n\tepoch_exit();\n"
                "\tflush_wait(s, flush_request(s));\n\t/* flush_wait(s, 1) */\n}\n")
        found = {m.name.split(":", 2)[2]: m.text for m in mutation.mutants_of("mm/x.c", code)}
        self.assertEqual(sorted(found), ["epoch:dropped", "flush_request:dropped", "flush_wait:dropped",
                                         "invalidate_begin:dropped"])
        self.assertNotIn("epoch_", found["epoch:dropped"])
        self.assertIn("a64_load(&(s)->flush.wanted)", found["flush_request:dropped"])

    def test_all_of_a_file_together(self):
        code = ("void f(struct space *s)\n{\n\tepoch_enter();\n\ta64_store_release(&s->x,\n\t\ta64_load_acquire(&s->y));\n"
                "\tepoch_exit();\n}\n")
        names = [m.name for m in mutation.mutants_of("mm/x.c", code)]
        text = mutation.spoilt_together("mm/x.c", code, {n: i for i, n in enumerate(sorted(names), 1)})
        body = " ".join(text.split("#line 1\n")[1].split())
        inner = "(MUTANT_IS(2) ? a64_load(&s->y) : a64_load_acquire(&s->y))"
        outer = f"(MUTANT_IS(3) ? a64_store(&s->x, {inner}) : a64_store_release(&s->x, {inner}));"
        self.assertIn("(MUTANT_IS(1) ? ((void)0) : epoch_enter()); " + outer + " (MUTANT_IS(1) ? ((void)0) : epoch_exit());", body)
        self.assertEqual(text.split("#line 1\n")[1].count("\n"), code.count("\n"))

    def test_numbers_are_of_the_name(self):
        some = together.numbers_of(["a", "b", "c"])
        self.assertEqual(some["b"], together.numbers_of(["b"])["b"])
        self.assertEqual(len(set(some.values())), 3)
        self.assertNotIn(0, some.values())

    def test_places_are_looked_for(self):
        with self.assertRaises(ValueError):
            mutation.mutant_of_place(ROOT, ["mm/epoch.c", "x", "no such text", "y", ""])
        with self.assertRaises(ValueError):
            mutation.read_places("mm/epoch.c | too few\n")

    def test_every_place_of_the_project_is_found_and_no_name_comes_twice(self):
        names = [m.name for m in tool.find_mutants(ROOT)]
        self.assertEqual(len(names), len(set(names)))
        self.assertGreater(len(names), 150)

    def test_lists_have_a_test_or_a_reason_each(self):
        programs = {p.name for p in tool.Project(ROOT, "build", "make").programs}
        killers = tool.read_list(os.path.join(ROOT, "tests", "mutants", "killers"))
        survivors = tool.read_list(os.path.join(ROOT, "tests", "mutants", "survivors"))
        self.assertEqual([n for n, by in killers if by not in programs], [])
        self.assertEqual({n for n, _ in survivors}, set(tool.explanations(ROOT)), "no row of docs/ordering.md that names it")
        self.assertEqual(len(survivors), len({n for n, _ in survivors}))
        self.assertEqual({n for n, _ in killers} & {n for n, _ in survivors}, set())

    def test_a_proof_is_of_mutants_that_there_are_and_that_survive(self):
        proven = [n for names, _ in tool.read_proofs(ROOT).values() for n in names]
        self.assertEqual(sorted(proven), sorted(tool.explanations(ROOT)))
        self.assertEqual(set(proven) - {m.name for m in tool.find_mutants(ROOT)}, set())


class JudgeTest(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.root)
        for path, text in {"mm/toy.c": TOY, "mm/toy.h": TOY_H, "tests/model/model_explore_toy.c": TEST, "Makefile": MAKEFILE}.items():
            self.write(path, text)
        for path in ("lib/atomic.h", "lib/types.h", "tests/mutants/mutant.h"):
            with open(os.path.join(ROOT, path), encoding="utf-8") as f:
                self.write(path, f.read())

    def write(self, path, text):
        where = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(where), exist_ok=True)
        with open(where, "w", encoding="utf-8") as f:
            f.write(textwrap.dedent(text))

    def rows(self, trust=False, keep=False, alone=False):
        options = types.SimpleNamespace(root=self.root, out="out", make="make", tests="", jobs=1, trust=trust, keep=keep, alone=alone)
        project, known = tool.Project(self.root, "build", "make"), tool.find_mutants(self.root)
        return {r["name"]: r for r in tool.run_all(project, known, known, options, say=lambda _: None)}

    def test_killed_and_survived_together(self):
        self.judged(self.rows())
        # Nothing has changed: nothing is asked again, and the answer is the same.
        self.judged(self.rows())

    def test_killed_and_survived_alone(self):
        self.judged(self.rows(alone=True))

    def judged(self, rows):
        torn = rows["mm/toy.c:toy_add:fetch_add:torn"]
        self.assertEqual((torn["verdict"], torn["by"]), ("killed", "model_explore_toy"), torn)
        weak = rows["mm/toy.c:toy_get:load_acquire:relaxed"]
        self.assertEqual((weak["verdict"], weak["explained"]), ("survived", ""))
        self.assertFalse(tool.is_good(weak))
        with open(os.path.join(self.root, "out", "report.md"), encoding="utf-8") as f:
            report = f.read()
        self.assertIn("| `mm/toy.c:toy_get:load_acquire:relaxed` | Z1 |", report)
        self.assertIn("1 killed, 3 survived", report)

    def test_what_was_judged_is_not_new(self):
        self.write("tests/mutants/killers", "")
        known = tool.find_mutants(self.root)
        rows = self.rows(keep=True)
        killed = {n for n, r in rows.items() if r["verdict"] == "killed"}
        new = tool.only_new(known, types.SimpleNamespace(root=self.root))
        self.assertTrue(killed)
        self.assertEqual({m.name for m in new}, {m.name for m in known} - killed)

    def explain(self, row, mutant, proof, section=tool.PROOFS):
        self.write("tests/mutants/survivors", "mm/toy.c:toy_get:load_acquire:relaxed: toy\n")
        self.write("docs/ordering.md", f"# Ordering\n\n{section}\n\n| proof | at | mutants | why |\n|---|---|---|---|\n"
                   f"| {row} | Z1 | `{mutant}` | {proof} |\n")

    def test_a_proof_makes_a_survivor_good(self):
        self.explain("toy", "mm/toy.c:toy_get:load_acquire:relaxed", "nobody reads it")
        for trust in (False, True):
            row = self.rows(trust)["mm/toy.c:toy_get:load_acquire:relaxed"]
            self.assertEqual(row["explained"], "toy: nobody reads it")
            self.assertTrue(tool.is_good(row))

    def test_a_reason_that_is_nowhere_proven_is_none(self):
        name = "mm/toy.c:toy_get:load_acquire:relaxed"
        self.explain("toy", name, "nobody reads it")
        self.assertIn(name, tool.explanations(self.root))
        for wrong in (("another", name, "nobody reads it"), ("toy", "mm/toy.c:toy_add:fetch_add:torn", "nobody reads it"),
                      ("toy", name, ""), ("toy", name, "nobody reads it", "## Elsewhere")):
            self.explain(*wrong)
            self.assertEqual(tool.explanations(self.root), {}, wrong)
        self.assertFalse(tool.is_good(self.rows(trust=True)[name]))

    def test_a_test_that_fails_by_itself_kills_nothing(self):
        self.write("tests/model/model_explore_toy.c", TEST.replace("!= 64", "== 64"))
        for alone in (False, True):
            with self.assertRaises(SystemExit):
                self.rows(alone=alone)

    def test_a_program_that_does_not_reach_the_place_is_not_run(self):
        self.write("tests/model/model_explore_toy.c", TEST.replace("toy_add(1)", "toy_get()").replace("!= 64", "!= 0"))
        rows = self.rows()
        torn = rows["mm/toy.c:toy_add:fetch_add:torn"]
        self.assertEqual((torn["verdict"], torn["why"]), ("survived", "no test that could see it reaches its place"))
        self.assertEqual(rows["mm/toy.c:toy_get:load_acquire:relaxed"]["why"], "")

    def test_a_file_that_does_not_compile_together_is_judged_alone(self):
        tree = together.Tree(self.root, os.path.join(self.root, "out", "tree"), ("mm",))
        mutants = tool.find_mutants(self.root)
        self.write("mm/toy.c", TOY.replace("a64_fetch_add(&word, n)", "a64_fetch_add(nothing, n)"))
        tree.write(mutants)
        self.assertEqual(tree.alone, {"mm/toy.c"})
        self.assertFalse(any(tree.has(m) for m in mutants))


if __name__ == "__main__":
    unittest.main()
