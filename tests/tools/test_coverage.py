"""tools/coverage: reading a tracefile, and what the report says of it."""

import os
import re
import tempfile
import unittest

from tests.tools.load import load_tool

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
tool = load_tool("coverage")

INFO = """TN:
SF:/src/mm/a.c
FN:1,here
FN:9,never
FNDA:3,here
FNDA:0,never
DA:1,3
DA:2,3
DA:9,0
DA:10,0
DA:12,0
end_of_record
SF:/src/hv/mmu/b.c
FN:1,booted
FNDA:0,booted
DA:1,0
end_of_record
SF:/src/mm/a.c
DA:12,1
end_of_record
"""


class CoverageTest(unittest.TestCase):
    def setUp(self):
        self.files = tool.read_info(INFO, "/src")

    def test_counts_of_one_file_are_added(self):
        self.assertEqual(self.files["mm/a.c"].lines[12], 1)
        self.assertEqual(self.files["mm/a.c"].hit(), 3)
        self.assertEqual(self.files["mm/a.c"].reached(), {"here"})

    def test_report_names_what_nothing_reaches(self):
        self.files["hv/mmu/b.c"].booted.add("booted")
        text = tool.report_text(self.files, 1)
        self.assertIn("- `mm/a.c`: `never`", text)
        self.assertNotIn("`hv/mmu/b.c`: `booted`", text)
        self.assertIn("| `mm/a.c` | `never` | 9-10 | not explained", text)
        self.assertIn("| mm/ and hv/mmu/ | 6 | 50.0 % | 3 | 33.3 % | 66.7 % |", text)

    def test_what_is_not_reached_is_explained(self):
        with open(os.path.join(tool.ROOT, "docs", "coverage.md"), encoding="utf-8") as f:
            self.assertNotIn("not explained", f.read())
        for path, functions in tool.WHY.items():
            with open(os.path.join(tool.ROOT, path), encoding="utf-8") as f:
                text = f.read()
            self.assertEqual([n for n in functions if not re.search(rf"^[a-z].*\b{n}\(", text, re.M)], [], path)

    def test_folders(self):
        self.assertEqual([tool.folder_of(p) for p in ("mm/a.c", "hv/mmu/b.c", "hv/c.c", "arch/x86/vmx/d.c", "tests/e.c")],
                         ["mm", "hv/mmu", "hv", "arch/x86", ""])

    def test_blocks_of_a_boot(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "stats.jsonl"), "w", encoding="utf-8") as f:
                f.write('{"type":"vm"}\n{"type":"cover","cover":"10 2a"}\n{"type":"cover","cover":"2a ff"}\n')
            self.assertEqual(tool.read_boot(folder), {0x10, 0x2A, 0xFF})


if __name__ == "__main__":
    unittest.main()
