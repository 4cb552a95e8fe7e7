"""The lints find what they are there for."""

import os
import shutil
import tempfile
import unittest
from unittest import mock

from tests.lib import cmocka
from tests.lint import binary, compilers, docs, layers, locks, source, text
from tests.lint.run import Settings
from tests.system import badimages
from tests.system import run as system


class LayersTest(unittest.TestCase):
    def test_each_layer_keeps_to_its_own(self):
        bad = {
            "mm/x.c": "arch/x86/cpu.h",
            "mm/y.c": "hv/main.h",
            "lib/x.c": "mm/gen.h",
            "arch/x86/x.c": "mm/gen.h",
            "hv/mmu/x.c": "hv/bootinfo.h",
            "boot/x.c": "mm/gen.h",
        }
        for path, include in bad.items():
            found = layers.problems_of(path, f'#include "{include}"\n')
            self.assertTrue(any("must not know" in f for f in found), path)

    def test_good_includes_are_left_alone(self):
        self.assertEqual(layers.problems_of("mm/x.c", '#include "arch/hal.h"\n#include <stddef.h>\n'), [])
        self.assertEqual(layers.problems_of("hv/x.c", '/* #include "no/such.h" */\n#include "arch/hal.h"\n'), [])

    def test_hosted_headers_are_refused(self):
        self.assertIn("stdio.h", layers.problems_of("mm/x.c", "#include <stdio.h>\n")[0])


class TextTest(unittest.TestCase):
    def test_length_of_functions(self):
        body = "static int longish(int a)\n{\n" + "\ta++;\n" * 81 + "}\n\nint s(void)\n{\n}\n"
        self.assertEqual(text.functions(body), [("longish", 2, 81), ("s", 87, 0)])

    def test_comments_and_strings_are_no_code(self):
        stripped = source.strip_comments('a /* volatile\n */ "volatile" // volatile\nb')
        self.assertNotIn("volatile", stripped)
        self.assertEqual(stripped.count("\n"), 2)

    def test_else_after_what_leaves(self):
        for bad in ("if (a)\n\t\treturn 1;\n\telse\n\t\tb();\n", "if (a) {\n\t\treturn f(\n\t\t\tb);\n\t} else {\n",
                    "if (a) {\n\t\tgoto out; /* done */\n\t} else if (b)\n"):
            self.assertEqual(len(text.needless_else("void f(void)\n{\n\t" + bad)), 1, bad)
        for good in ("if (a)\n\t\tb();\n\telse\n\t\treturn 1;\n", "if (a)\n\t\treturn 1;\n\t/* else */\n", "return x;\n}\n\nint elsewhere;\n"):
            self.assertEqual(text.needless_else("void f(void)\n{\n\t" + good), [], good)

    def test_what_is_declared_stays(self):
        self.assertEqual(text.undeclared("static const struct notifier_ops ops = {\n\t.has_fast_aging = true,\n};\n"), [])
        self.assertEqual(text.undeclared("if (n->ops->has_fast_aging == true)\n"), [])
        self.assertEqual(len(text.undeclared("static struct notifier_ops ops = {\n\t.protects = true,\n};\n")), 1)
        self.assertEqual(len(text.undeclared("n->ops->has_fast_aging = false;\nops.protects = a;\n")), 2)


class LocksTest(unittest.TestCase):
    MAKE = "void make(struct space *s)\n{\n\trw_init(&s->mmu_lock, LOCK_MMU, 1);\n\tspin_init(&s->slots_lock, LOCK_SLOTS, 1);\n}\n\n"

    def found(self, *functions):
        return locks.check({"mm/planted.c": self.MAKE + "\n\n".join(functions) + "\n"})

    def test_planted_violations_are_found(self):
        inner = "void inner(struct space *s)\n{\n\tspin_lock(&s->slots_lock);\n\tspin_unlock(&s->slots_lock);\n}"
        between = "static bool between(struct space *s)\n{\n\treturn s && inner(s);\n}"
        waits = "void waits(struct space *s)\n{\n\tif (s)\n\t\tepoch_barrier();\n}"
        take = "static void take(struct space *s)\n{\n\twrite_lock(&s->mmu_lock);\n}"
        for bad in (["void f(struct space *s)\n{\n\twrite_lock(&s->mmu_lock);\n\tspin_lock(&s->slots_lock);\n}"],
                    ["void f(struct space *s)\n{\n\tread_lock(&s->mmu_lock);\n\twrite_lock(&s->mmu_lock);\n}"],
                    [inner, between, "void f(struct space *s)\n{\n\tread_lock(&s->mmu_lock);\n\tbetween(s);\n\tread_unlock(&s->mmu_lock);\n}"],
                    [waits, "void f(struct space *s)\n{\n\tspin_lock(&s->slots_lock);\n\twaits(s);\n}"],
                    [inner, take, "void f(struct space *s)\n{\n\ttake(s);\n\tinner(s);\n}"],
                    [inner, "void f(struct space *s)\n{\n\twrite_lock(&s->mmu_lock);\n\tif (!s) {\n\t\twrite_unlock(&s->mmu_lock);\n\t\treturn;\n\t}\n"
                     "\tinner(s);\n}"],
                    [inner, "void f(struct space *s)\n{\n\tif (!read_trylock(&s->mmu_lock))\n\t\treturn;\n\tinner(s);\n}"],
                    ["void f(struct thing *t)\n{\n\tspin_lock(&t->new_lock);\n}"]):
            self.assertEqual(len(self.found(*bad)), 1, bad)

    def test_what_is_right_is_left_alone(self):
        inner = "void inner(struct space *s)\n{\n\twrite_lock(&s->mmu_lock);\n\twrite_unlock(&s->mmu_lock);\n\tepoch_barrier();\n}"
        for good in (["void f(struct space *s)\n{\n\tspin_lock(&s->slots_lock);\n\twrite_lock(&s->mmu_lock);\n}"],
                     [inner, "void f(struct space *s)\n{\n\tspin_lock(&s->slots_lock);\n\tspin_unlock(&s->slots_lock);\n\tinner(s);\n}"],
                     [inner, "void f(struct space *s)\n{\n\tif (read_trylock(&s->mmu_lock))\n\t\treturn;\n\tinner(s);\n}"]):
            self.assertEqual(self.found(*good), [], good)

    def test_the_sources_are_read(self):
        """Nearly all of what takes a lock is understood: else the check would say nothing."""
        texts = locks.texts()
        program = locks.Program(texts)
        takes = sum(kind == "take" for steps, _, _ in program.functions.values() for kind, _, _ in steps)
        written = sum(text.count(f"{kind}_lock(&") for text in texts.values() for kind in ("spin", "read", "write"))
        self.assertGreater(written, 50)
        self.assertGreaterEqual(takes, written)


class BinaryTest(unittest.TestCase):
    def test_indirect_branches(self):
        dump = ("0000000000000000 <f>:\n   0:\tcall   5 <g>\n   5:\tcall   *0x10(%rax)\n\n0000000000000010 <f.cold>:\n"
                "  10:\tjmp    *%r8\n\n0000000000000020 <h>:\n  20:\tjmp    25 <h+0x5>\n")
        self.assertEqual(binary.indirect(dump), {"f": 2})


class DocsTest(unittest.TestCase):
    def test_braces(self):
        self.assertEqual(docs.expand("mm/gen.{c,h}"), ["mm/gen.c", "mm/gen.h"])
        self.assertEqual(docs.expand("mm/gen.c"), ["mm/gen.c"])

    def test_feature_rows(self):
        table = "| # | status | shown by |\n|---|---|---|\n| 1 | yes | `a` |\n\n| other |\n|---|\n| x |\n"
        self.assertEqual(docs.feature_rows(table), [(3, "yes", "`a`")])


class PlantedTest(unittest.TestCase):
    """A tree of a few files, in which one thing at a time is wrong."""

    TREE = {
        "mm/a.c": '/* ord E1: pairs with ord E2 */\n',
        "hv/b.c": '/* ord E2: pairs with ord E1 */\n',
        "docs/ordering.md": "| tag | what |\n|---|---|\n| E1 | a |\n| `E2` | b |\n",
        "docs/reading.md": "`mm/a.c`, then `hv/b.c`\n",
        "docs/features.md": "| # | status | shown by |\n|---|---|---|\n| 1 | yes | `test_it` |\n| 2 | no | |\n",
        "tests/unit/test_x.c": "static void test_it(void **state)\n",
    }
    REAL = source.ROOT

    def found(self, check, path=None, content=None):
        with tempfile.TemporaryDirectory() as root:
            for name, of in {**self.TREE, **({path: content} if path else {})}.items():
                os.makedirs(os.path.join(root, os.path.dirname(name)), exist_ok=True)
                with open(os.path.join(root, name), "w", encoding="utf-8") as f:
                    f.write(of)
            with mock.patch.object(source, "ROOT", root):
                return check()

    def plant(self, check, *planted):
        self.assertEqual(self.found(check), [])
        for path, content, said in planted:
            found = self.found(check, path, content)
            self.assertTrue(len(found) == 1 and said in found[0], f"{path}: {content}: {found}")

    def test_ordering_tags_come_in_pairs_and_are_tabled(self):
        table = self.TREE["docs/ordering.md"]
        self.plant(text.check_ordering,
                   ("hv/c.c", "/* ord E3 */\n/* ord E3 */\n", "E3 is not tabled"),
                   ("docs/ordering.md", table + "| E4 | c |\n", "E4 is in no source"))
        found = self.found(text.check_ordering, "hv/b.c", "/* ord E2 */\n")
        self.assertEqual(len(found), 1)
        self.assertIn("E1 has no partner", found[0])

    def test_reading_order_names_every_source_once(self):
        self.plant(docs.check_reading,
                   ("mm/new.c", "", "mm/new.c is missing"),
                   ("docs/reading.md", "`mm/a.c`, `hv/b.c`, `mm/a.c`\n", "mm/a.c stands there 2 times"),
                   ("docs/reading.md", "`mm/a.c`, `hv/b.c`, `mm/gone.c`\n", "mm/gone.c does not exist"))

    def test_feature_rows_name_what_there_is(self):
        head = "| # | status | shown by |\n|---|---|---|\n"
        self.plant(docs.check_features,
                   ("docs/features.md", head + "| 1 | yes | `test_gone` |\n", "test_gone is no test"),
                   ("docs/features.md", head + "| 1 | partly | looks good |\n", "nothing shows it"),
                   ("docs/features.md", head + "| 1 | soon | `test_it` |\n", "status 'soon'"),
                   ("docs/features.md", "no table\n", "has no table"))

    def compiled(self, check, path, content):
        """What a check finds that compiles with the flags of the project; only what was planted is looked at."""
        flags = [f"-I{self.REAL}", "-std=gnu17", "-ffreestanding", "-m64", "-Werror", "-DVARVE_DEBUG"]
        with mock.patch.object(compilers, "make_variable", lambda settings, name: flags):
            return [f for f in self.found(lambda: check(Settings("build")), path, content) if f]

    @unittest.skipUnless(shutil.which("sparse"), "needs sparse")
    def test_sparse_tells_numbers_of_pages_and_addresses_apart(self):
        text_of = '#include "lib/types.h"\npfn_t f(%s x);\npfn_t f(%s x)\n{\n\treturn %s;\n}\n'
        self.assertEqual(self.compiled(compilers.check_sparse, "mm/p.c", text_of % ("hpa_t", "hpa_t", "hpa_pfn(x)")), [])
        for mixed in (("gfn_t", "gfn_t", "x"), ("gpa_t", "gpa_t", "hpa_pfn(x)"), ("u64", "u64", "x")):
            self.assertTrue(self.compiled(compilers.check_sparse, "mm/p.c", text_of % mixed), mixed)

    def test_a_header_that_needs_another_is_found(self):
        self.assertEqual(self.compiled(compilers.check_headers, "mm/h.h", '#pragma once\n#include "lib/types.h"\nstruct s {\n\tu64 a;\n};\n'), [])
        self.assertIn("does not compile alone", self.compiled(compilers.check_headers, "mm/h.h", "#pragma once\nstruct s {\n\tu64 a;\n};\n")[0])


class SystemListTest(unittest.TestCase):
    def test_line(self):
        t = system.parse_line("a qemu-svm 2 30 smoke fail=no.image --append 'x y'")
        self.assertEqual((t.verdict, t.pattern, t.options, t.slots), ("fail", "no.image", ["--append", "x y"], 1))
        self.assertEqual((t.tries, system.parse_line("a qemu-svm 2 30 smoke pass --multi").tries), (1, 3))
        self.assertEqual(system.parse_line("a qemu-svm 2 30 smoke pass --multi").slots, 2)
        t = system.parse_line("a qemu-svm 2 30 smoke pass check=flame again")
        self.assertEqual((t.tries, t.options, t.check), (3, [], ["flame"]))
        self.assertEqual(system.parse_line("a qemu-svm 2 30 smoke pass build=o0").variant, "o0")
        for wrong in ("a qemu-svm 2 30 smoke", "a qemu-svm 2 30 smoke maybe", "a qemu-svm 2 30 smoke pass build=other"):
            with self.assertRaises(ValueError):
                system.parse_line(wrong)

    def test_every_line_is_understood_and_has_its_scenario(self):
        for t in system.read_list(system.LIST, system.BY_NAME):
            self.assertIsNotNone(system.scenario_path(t.scenario), t.name)

    def test_bad_images_differ_from_the_good_one(self):
        images = badimages.images()
        self.assertEqual(len(set(images.values())), len(images))


class CmockaTest(unittest.TestCase):
    def test_outcome_by_test(self):
        output = "[ RUN      ] a\n[       OK ] a\n[ RUN      ] b\n[  FAILED  ] b\n[ RUN      ] c\n[  SKIPPED ] c\n[ RUN      ] d\n"
        self.assertEqual(cmocka.outcome(output), {"a": "ok", "b": "failed", "c": "skipped", "d": "failed"})


if __name__ == "__main__":
    unittest.main()
