"""How tools/bench reads figures and writes them down."""

import contextlib
import io
import json
import os
import subprocess
import tempfile
import unittest

from tests.tools.load import load_tool

bench = load_tool("bench")


class BenchTest(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.folder = self.temporary.name

    def write(self, records, run=None):
        with open(os.path.join(self.folder, "stats.jsonl"), "w", encoding="utf-8") as f:
            f.writelines(json.dumps(r) + "\n" for r in records)
        with open(os.path.join(self.folder, "run.json"), "w", encoding="utf-8") as f:
            json.dump(run or {}, f)

    def test_bench_line_by_whole_name(self):
        self.write([{"type": "bench", "vm": "b", "line": "bench cpuid2 value=9 unit=x"},
                    {"type": "bench", "vm": "b", "line": "bench cpuid value=731 unit=instructions"}])
        self.assertEqual(bench.read_bench_line(self.folder, "cpuid"), 731)
        with self.assertRaises(bench.Failed):
            bench.read_bench_line(self.folder, "fault")

    def test_make_bench_measures_all_unless_told_what(self):
        """The Makefile had a variable of that name, so that `make bench` asked for figures called like its own programs."""
        def command(*settings):
            done = subprocess.run(["make", "-n", "--no-print-directory", "bench", *settings], cwd=bench.ROOT, capture_output=True, text=True, check=True,
                                  env={k: v for k, v in os.environ.items() if k not in ("BENCH", "MAKEFLAGS", "MAKEOVERRIDES")})
            return next(line for line in done.stdout.splitlines() if line.startswith("tools/bench "))

        self.assertNotIn("--only", command())
        self.assertIn("--only 'kv-gets'", command("BENCH=kv-gets"))

    def test_memory_figures(self):
        self.write([{"type": "boot", "vms": [{"frames": 100}, {"frames": 300}]},
                    {"type": "host", "hv_bytes": 8000, "pool_frames": 0, "pool_bytes": 0, "pool_meta_bytes": 0},
                    {"type": "host", "hv_bytes": 20000, "pool_frames": 3, "pool_bytes": 12000, "pool_meta_bytes": 1200}])
        self.assertEqual(bench.read_bytes_per_frame(self.folder, ""), 50)
        self.assertAlmostEqual(bench.read_pool_overhead(self.folder, ""), 1.124)

    def test_aging_by_page_and_pass(self):
        def vm(passes, ns):
            return {"type": "vm", "passes_total": passes, "aging_ns_total": ns, "resident": 100}

        self.write([vm(1, 99000), vm(4, 100000), vm(6, 150000), {"type": "host"}, vm(9, 200000)])
        self.assertEqual(bench.read_aging(self.folder, ""), 200)
        self.write([vm(4, 100000), vm(6, 150000)])
        with self.assertRaises(bench.Failed):
            bench.read_aging(self.folder, "")

    def test_accuracy_is_the_worst_of_all_evictions(self):
        scenario = "at 1s + a max\nat 2s    - a max 60 100\nat 2500ms - a 3 60 10\n"
        self.assertEqual(bench.accuracy(scenario, "x - a 3: 90 frames freed\n- a 3: 22 frames freed\n"), 12)
        with self.assertRaises(bench.Failed):
            bench.accuracy(scenario, "- a 3: 90 frames freed\n")

    def test_boot_without_a_guest_line_is_no_figure(self):
        self.write([], {"first_guest_s": None})
        with self.assertRaises(bench.Failed):
            bench.read_first_guest(self.folder, "")

    def test_results_replace_only_their_own_part(self):
        path = os.path.join(self.folder, "results.md")
        with open(path, "w", encoding="utf-8") as f:
            f.write(f"# R\nbefore\n{bench.START}\nold\n{bench.END}\nafter\n")
        bench.write_results(path, "new\n")
        with open(path, encoding="utf-8") as f:
            self.assertEqual(f.read(), f"# R\nbefore\n{bench.START}\nnew\n{bench.END}\nafter\n")

    def test_callgrind_counts_by_page_and_pass(self):
        output = "bench_pass pages=1000 visited=0 passes=2\nbench pass-visited value=0.0000 unit=entries\n==1== Collected : 8000\n"
        self.assertEqual(bench.callgrind_value(output), 4)
        with self.assertRaises(bench.Failed):
            bench.callgrind_value("==1== Collected : 8000\n")

    def test_bounds_from_above_from_below_and_none(self):
        above = bench.native("n", "u", 1.5, "p", "bench_line:x")
        below = bench.native("n", "u", 1.5, "p", "bench_line:x", at_least=True)
        none = bench.native("n", "u", None, "p", "bench_line:x")
        self.assertEqual([above.reached([1, 1.5]), above.reached([1, 1.6])], [True, False])
        self.assertEqual([below.reached([1.5, 2]), below.reached([1.4, 2])], [True, False])
        self.assertIsNone(none.reached([9]))

    def test_report_says_what_was_to_be_reached(self):
        figure = {"name": "f", "unit": "u", "at_least": True, "linux": "", "scenario": "s", "how": "native", "values": [2.0],
                  "median": 2.0, "min": 2.0, "max": 2.0}
        text = bench.report({"environment": dict.fromkeys(("host", "machine", "emulator", "compiler", "build", "commit"), "x"),
                             "figures": [figure | {"reach": 1.85, "reached": True}, figure | {"reach": None, "reached": None}]})
        self.assertIn("| 1, native | at least 1.85 | yes | – |", text)
        self.assertIn("| 1, native | – | – | – |", text)

    def test_every_figure_has_its_scenario_and_reader(self):
        for figure in bench.FIGURES:
            if figure.native:
                program = figure.scenario.split()[0]
                self.assertTrue(os.path.exists(os.path.join(bench.ROOT, "tests", "bench", program + ".c")), program)
                continue
            self.assertTrue(os.path.exists(os.path.join(bench.ROOT, "tools", "scenarios", figure.scenario + ".cfg")), figure.scenario)
            self.assertIn(figure.value.split(":")[0], [*bench.READERS, "bare"])

    def test_ratio_of_faults_beside_an_ager(self):
        with open(os.path.join(self.folder, "console.log"), "w", encoding="utf-8") as f:
            f.write("[track] bench access_tracking_p total rounds=2 wall_ns=9 wall_ratio_permille=1500 fault_ratio_permille=999 cpus=2\n")
        self.assertEqual(bench.read_beside(self.folder, "fault_ratio_permille"), 0.999)
        with self.assertRaises(bench.Failed):
            bench.read_beside(self.folder, "other")

    def test_false_old_is_judged_by_the_oracle(self):
        def touched(start, end, bits):
            return [{"type": "bench", "t_ns": end, "line": f"bench oracle touched=1 first=0 bits={bits:x}"},
                    {"type": "bench", "t_ns": end, "line": f"bench oracle end=1 from={start} to={end} now={end}"}]

        records = [{"type": "bench", "t_ns": 0, "line": "bench oracle pages=4 first=0 bits=f"}]
        for dump in range(5):
            records += touched(dump * 10 + 1, dump * 10 + 9, 3) + [{"type": "ages", "vm": "o", "t_ns": dump * 10 + 10, "gfn": 0, "ages": "1233"}]
        self.write(records + touched(51, 59, 3))
        self.assertEqual(bench.read_false_old(self.folder, ""), 0.5)
        self.write(records[:3])
        with self.assertRaises(bench.Failed):
            bench.read_false_old(self.folder, "")

    def test_figures_of_comparisons_stand_behind_the_others_once(self):
        rows = [{"label": label, "values": {"refaults, measured part": [value]}} for label, value in (("mglru", 10), ("twolist", 13))]
        results = {"figures": [{"name": "f"}], "comparisons": [{"name": "policy-scan-50", "rows": rows}]}
        bench.add_policies(results)
        bench.add_policies(results)
        self.assertEqual([(f["name"][:8], f.get("median")) for f in results["figures"]], [("f", None), ("twolist ", 1.3), ("twolist ", 1.3)])

    def test_report_says_what_another_varve_was_measured_with(self):
        figures = [{"name": "f", "scenario": "old", "commit": "111"}, {"name": "g", "scenario": "new", "commit": "222"}, {"name": "h", "scenario": "unknown"}]
        results = {"environment": {"commit": "222"}, "figures": figures, "comparisons": [{"name": "kv", "commit": "111"}]}
        self.assertEqual(bench.measured_apart(results), " With Varve 111: `kv`, `old`.")

    def test_what_programs_print_is_kept(self):
        self.assertEqual(bench.keep_raw(self.folder, "bench-x-0", "raw\n"), "raw\n")
        with open(os.path.join(self.folder, "native", "bench-x-0.txt"), encoding="utf-8") as f:
            self.assertEqual(f.read(), "raw\n")

    def test_a_name_of_nothing_is_an_error(self):
        with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(bench.main(["--only", "no-such-name", "--out", self.folder]), 2)
        self.assertIn("no-such-name", said.getvalue())
        self.assertFalse(os.path.exists(os.path.join(self.folder, "results.json")))

    def test_figures_have_names_of_their_own(self):
        names = [f.name for f in bench.FIGURES]
        self.assertEqual(len(names), len(set(names)))


if __name__ == "__main__":
    unittest.main()
