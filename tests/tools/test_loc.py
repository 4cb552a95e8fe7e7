"""How long everything is."""

import subprocess
import sys
import unittest

from tests.lint import source
from tests.tools.load import ROOT, load_tool

loc = load_tool("loc")


class LocTest(unittest.TestCase):
    def test_code_is_what_is_left(self):
        text = "/* says\n * what */\n\nint a; /* of it */\n// no\nint b;\n"
        self.assertEqual(loc.code_lines("mm/x.c", text), 2)
        self.assertEqual(loc.code_lines("tools/x", "#!/bin/sh\n\n# no\nexit\n"), 1)

    def test_parts(self):
        texts = {"mm/notifier.h": "int a;\n", "mm/walk.c": "\nint a;\n", "mm/pool.c": "int a;\nint b;\n", "hv/mmu/x.c": "a\n", "hv/x.c": "a\n"}
        sums = loc.count(texts, texts.get)
        self.assertEqual([sums[part] for part in ("interface", "aging", "mm", "tables", "hypervisor")],
                         [[1, 1, 1], [1, 2, 1], [1, 2, 2], [1, 1, 1], [1, 1, 1]])

    def test_whole_tree_is_counted_once(self):
        paths = loc.tree()
        self.assertEqual([p for p in paths if not loc.part_of(p)], [])
        self.assertEqual(len(paths), len(set(paths)))
        ran = subprocess.run([sys.executable, "tools/loc"], cwd=ROOT, capture_output=True, text=True, check=True)
        lines = sum(source.read(p).count("\n") for p in paths)
        self.assertEqual(ran.stdout.splitlines()[-1].split()[:3], ["all", str(len(paths)), str(lines)])


if __name__ == "__main__":
    unittest.main()
