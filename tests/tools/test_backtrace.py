"""What tools/backtrace looks up for the lines of a report."""

import os
import shutil
import subprocess
import tempfile
import unittest

from tests.tools.load import load_tool

backtrace = load_tool("backtrace")

REPORT = """[  0.1] something
rip 0000000000105000 rflags 46 cs 8 ss 10
bt: 0x105000
bt: 0x101a43
VARVE: FAIL trap #UD invalid opcode at 0x105000""".splitlines()

SOURCE = """int inner(int x);
__attribute__((noinline)) int inner(int x) { return x * 3; }
int main(int argc, char **argv) { (void)argv; return inner(argc) - 3; }
"""


class BacktraceTest(unittest.TestCase):
    def test_return_addresses_are_looked_up_one_byte_before(self):
        looked_up = [look for _, _, look in backtrace.lookups(REPORT) if look is not None]
        self.assertEqual(looked_up, [0x105000, 0x101A42])

    def test_only_the_first_address_of_a_trap_is_exact(self):
        twice = REPORT[:3] + ["bt: 0x105000"]
        self.assertEqual([look for _, _, look in backtrace.lookups(twice) if look], [0x105000, 0x104FFF])

    def test_functions_of_a_real_program(self):
        compiler = shutil.which("gcc") or shutil.which("clang")
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "a.c")
            with open(path, "w", encoding="utf-8") as f:
                f.write(SOURCE)
            subprocess.run([compiler, "-g", "-O0", "-no-pie", "-o", os.path.join(d, "a"), path], check=True)
            symbols = subprocess.run(["nm", os.path.join(d, "a")], check=True, stdout=subprocess.PIPE, text=True).stdout
            address = next(int(line.split()[0], 16) for line in symbols.splitlines() if line.endswith(" T inner"))
            names = backtrace.resolve(os.path.join(d, "a"), [address])[address]
            self.assertTrue(names[0].startswith("inner at ") and names[0].endswith("a.c:2"), names)

    def test_a_log_without_addresses_is_an_error(self):
        with tempfile.NamedTemporaryFile("w", suffix=".log") as f:
            f.write("VARVE: PASS\n")
            f.flush()
            self.assertEqual(backtrace.main([f.name, "-e", "/nonexistent"]), 1)


if __name__ == "__main__":
    unittest.main()
