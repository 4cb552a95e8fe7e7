"""The log of the soak: what a run comes to, and what all of them do."""

import json
import os
import stat
import tempfile
import unittest

from tests.tools.load import load_tool

soak = load_tool("soak")

CONSOLE = """audit: 0 faults in 8192 frames
[ 66.1] chaos: 4711 strikes, 12 spared; 4000 pages evicted, 3 rescued, 5 kept, 703 of nothing
[ 66.2] memory saved: 61 MiB at most; worst fault: 9 us; audit: 7 passes over 57344 frames, 0 faults
"""


def vm(name, t_ns, faults, evictions, refaults):
    return json.dumps({"type": "vm", "t_ns": t_ns, "vm": name, "faults_total": faults, "evictions_total": evictions,
                       "refaults_total": refaults})


STATS = [vm("kv", 10**9, 1, 1, 1), vm("touch", 10**9, 2, 2, 2), vm("kv", 3 * 10**9, 100, 50, 40),
         vm("touch", 3 * 10**9, 200, 70, 60), json.dumps({"type": "verdict", "t_ns": 66 * 10**9 + 1}), '{"type":"vm","t_n']
WORDS = {"version": "abc-dirty", "machine": "qemu-svm", "cpus": 2, "verdict": "PASS"}


class SoakTest(unittest.TestCase):
    def test_a_run_is_what_its_last_lines_say(self):
        self.assertEqual(soak.summary(CONSOLE, STATS),
                         {"seconds": 66, "page_faults": 300, "evictions": 120, "refaults": 100, "strikes": 4711, "evicted": 4000,
                          "audits": 7, "audit_frames": 57344, "audit_faults": 0})

    def test_a_run_that_died_at_once_is_a_line_too(self):
        got = soak.summary("", [])
        self.assertEqual(set(got.values()), {0})
        self.assertEqual(soak.read_line(soak.log_line(WORDS, got))["seconds"], 0)

    def test_a_line_is_read_as_it_was_written(self):
        got = soak.summary(CONSOLE, STATS)
        line = soak.log_line(WORDS, got)
        self.assertEqual(line.count("\n"), 0)
        self.assertEqual(soak.read_line(line), {**WORDS, "cpus": "2", **got})
        self.assertIsNone(soak.read_line(line.replace("seconds=66", "seconds=x")))
        self.assertIsNone(soak.read_line("version=1"))

    def test_report_adds_up_and_names_what_failed(self):
        got = soak.summary(CONSOLE, STATS)
        good = soak.log_line(WORDS, got)
        bad = soak.log_line({**WORDS, "version": "def", "verdict": "FAIL"}, {**got, "seconds": 5, "audit_faults": 2})
        lines = soak.report([good, "", bad, good, "nonsense"])
        self.assertEqual(lines[0], "3 runs of 2 versions, 1 failed")
        for sum_of in ("137 seconds", "900 page faults", "300 refaults", "14133 strikes", "21 audits", "2 audit faults"):
            self.assertIn(sum_of, lines)
        self.assertIn("failed: version def on qemu-svm after 5 s, 2 audit faults", lines)
        self.assertEqual(lines[-1], "1 lines are no runs")

    def test_runs_accumulate(self):
        """With a stand-in for tools/run: two runs, of which the second fails, are two lines."""
        with tempfile.TemporaryDirectory() as root:
            os.makedirs(os.path.join(root, "tools"))
            run = os.path.join(root, "tools", "run")
            log = os.path.join(root, "out", "soak.log")
            out = os.path.join(root, "out", "soak")
            was, soak.ROOT = soak.ROOT, root
            try:
                for status in (0, 1):
                    with open(run, "w", encoding="utf-8") as f:
                        f.write(f"#!/bin/sh\nmkdir -p {out}\nexit {status}\n")
                    os.chmod(run, stat.S_IRWXU)
                    self.assertEqual(soak.main(["--out", out, "--log", log, "--seconds", "1"]), status)
            finally:
                soak.ROOT = was
            with open(log, encoding="utf-8") as f:
                self.assertEqual([soak.read_line(line)["verdict"] for line in f], ["PASS", "FAIL"])


if __name__ == "__main__":
    unittest.main()
