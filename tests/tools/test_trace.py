"""tools/trace: what the hypervisor wrote comes out again, whole; what it did not write is refused by name."""

import csv
import io
import json
import os
import random
import re
import tempfile
import unittest

from tests.tools.load import ROOT, load_tool

trace = load_tool("trace")

BOOT = {"type": "boot", "version": 1, "vms": [{"vm": "kv", "space": 1}, {"vm": "idle", "space": 2}]}


def random_event(rng):
    wide = rng.choice((8, 64))
    return trace.Event(
        rng.getrandbits(64),
        rng.randrange(256),
        rng.randrange(256),
        rng.randrange(256),
        rng.getrandbits(rng.choice((4, 40))),
        rng.getrandbits(wide),
        rng.getrandbits(wide),
    )


def line_of(events, lost=0, version=trace.VERSION):
    data = b"".join(e.pack() for e in events).hex()
    return json.dumps({"type": "trace", "version": version, "cpu": 0, "lost": lost, "records": data})


def event(time_ms, name, gfn, a=0, space=1):
    return trace.Event(time_ms * 10**6, trace.NUMBERS[name], 0, space, gfn, a, 0)


class TraceTest(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.dir.name, "stats.jsonl")

    def tearDown(self):
        self.dir.cleanup()

    def write(self, *lines, end="\n"):
        with open(self.path, "w", encoding="utf-8") as f:
            f.write("\n".join(lines) + end)

    def read(self, *lines, end="\n"):
        self.write(*lines, end=end)
        return trace.read_trace(self.path)

    def run_tool(self, *options):
        out = io.StringIO()
        status = trace.main([self.path, *options], out)
        return status, out.getvalue()

    def test_layout_is_that_of_the_header(self):
        with open(os.path.join(ROOT, "mm", "trace.h"), encoding="utf-8") as f:
            header = f.read()
        self.assertEqual(int(re.search(r"#define TRACE_VERSION (\d+)", header)[1]), trace.VERSION)
        events = {int(n): name.lower() for name, n in re.findall(r"\bTRACE_(\w+) = (\d+),", header)}
        self.assertEqual(events, trace.EVENTS)
        e = trace.Event(1, 2, 3, 4, 5, 6, 7)
        self.assertEqual(e.pack().hex(), "0100000000000000" "0203040500000000" "0600000000000000" "0700000000000000")

    def test_round_trip(self):
        rng = random.Random(1)
        for _ in range(200):
            events = [random_event(rng) for _ in range(rng.randrange(30))]
            self.assertEqual(trace.unpack(b"".join(e.pack() for e in events)), events)

    def test_lines_are_put_together_in_order_of_time(self):
        rng = random.Random(2)
        for _ in range(50):
            events = [random_event(rng) for _ in range(rng.randrange(1, 60))]
            lines, at = [json.dumps(BOOT)], 0
            while at < len(events):
                n = rng.randrange(1, 25)
                lines.append(line_of(events[at : at + n], lost=n))
                at += n
            got = self.read(*lines)
            self.assertEqual(got.events, sorted(events, key=lambda e: e.time_ns))
            self.assertGreaterEqual(got.lost, len(lines) - 1)

    def test_every_event_can_be_described(self):
        rng = random.Random(3)
        events = [random_event(rng) for _ in range(3000)]
        self.write(json.dumps(BOOT), line_of(events))
        for options in (["--table"], ["--csv", "-"], []):
            status, text = self.run_tool(*options)
            self.assertEqual(status, 0)
            self.assertGreater(len(text.splitlines()), 30)

    def test_truncated_line_loses_only_itself(self):
        rng = random.Random(4)
        whole = [random_event(rng) for _ in range(5)]
        last = line_of([random_event(rng)])
        for cut in range(1, len(last)):
            got = self.read(json.dumps(BOOT), line_of(whole), last[:cut], end="")
            self.assertEqual(got.events, sorted(whole, key=lambda e: e.time_ns))
            self.assertEqual(got.broken, 1)

    def test_unknown_version_is_refused_by_name(self):
        for version in (0, 2, "1", None):
            self.write(line_of([], version=version))
            with self.assertRaisesRegex(trace.Unreadable, f"stats.jsonl:1: trace version {version} is not known.*version 1"):
                trace.read_trace(self.path)
        self.assertEqual(self.run_tool()[0], 1)

    def test_records_that_are_none_are_refused(self):
        for records in ("0", "zz", "00" * 31, "00" * 33, None, 7):
            self.write(json.dumps({"type": "trace", "version": 1, "records": records}))
            with self.assertRaisesRegex(trace.Unreadable, "stats.jsonl:1: "):
                trace.read_trace(self.path)

    def test_history_of_one_page(self):
        events = [event(1, "fault", 5), event(2, "fault", 6), event(3, "fault", 5, space=2), event(4, "evict", 5), event(5, "pass", 0)]
        self.write(json.dumps(BOOT), line_of(events))
        status, text = self.run_tool("--table", "--vm", "kv", "--gfn", "0x5")
        self.assertEqual(status, 0)
        self.assertEqual([line.split()[5] for line in text.splitlines()], ["fault", "evict"])
        self.assertEqual(len(self.run_tool("--table", "--gfn", "0")[1]), 0)  # a pass has no page
        self.assertEqual(len(self.run_tool("--table", "--event", "fault")[1].splitlines()), 3)
        self.assertEqual(self.run_tool("--vm", "nobody")[0], 1)

    def test_history_has_what_happened_to_many_pages_at_once(self):
        events = [event(1, "fault", 512, a=3), event(2, "split", 512), event(3, "age", 600, a=64), event(4, "evict", 663)]
        self.write(json.dumps(BOOT), line_of(events))
        for gfn, names in ((511, []), (512, ["fault", "split"]), (663, ["fault", "split", "age", "evict"]), (1023, ["fault", "split"]), (1024, [])):
            text = self.run_tool("--table", "--gfn", str(gfn))[1]
            self.assertEqual([line.split()[5] for line in text.splitlines()], names)

    def test_csv_has_every_event(self):
        self.write(json.dumps(BOOT), line_of([event(1, "evict", 7, a=5 | 16), event(2, "pass", 0, space=2)]))
        rows = list(csv.reader(io.StringIO(self.run_tool("--csv", "-")[1])))
        self.assertEqual(rows[1][:5], ["1000000", "0", "kv", "0x7", "evict"])
        self.assertIn("copy still valid", rows[1][-1])
        self.assertEqual(rows[2][2:5], ["idle", "-", "pass"])

    def test_share_that_came_back(self):
        events = [event(0, "evict", n) for n in range(10)]
        events += [event(5, "refault", n, a=n << 32) for n in range(4)] + [event(500, "refault", 4, a=9 << 32)]
        events += [event(600, "refault", 99)]  # evicted before the trace began
        self.write(json.dumps(BOOT), line_of(events))
        text = self.run_tool("--within", "10", "--within", "1000")[1]
        self.assertIn("10 evictions, 5 came back (50.0 %)", text)
        self.assertIn("within 10 ms: 4 (40.0 % of the evictions)", text)
        self.assertIn("within 1000 ms: 5 (50.0 % of the evictions)", text)
        self.assertIn("p50 5.000 ms, p90 500.000 ms", text)
        self.assertRegex(text, r"9: +1 +100.0 % so far +\(not recent\)")

    def test_evicted_again_counts_from_the_last_time(self):
        rng = random.Random(5)
        for _ in range(100):
            now, expected, events = 0, [], []
            for _ in range(rng.randrange(1, 8)):
                start = now = now + rng.randrange(1, 100)
                events.append(event(start, "evict", 3))
                if rng.random() < 0.5:
                    now += rng.randrange(1, 100)
                    events.append(event(now, "refault", 3))
                    expected.append((now - start) * 10**6)
            evictions, times = trace.round_trips(events)
            self.assertEqual(evictions, sum(e.name == "evict" for e in events))
            self.assertEqual(times, sorted(expected))

    def test_percentile(self):
        self.assertEqual([trace.percentile(list(range(1, 101)), p) for p in (1, 50, 99, 100)], [1, 50, 99, 100])
        self.assertEqual(trace.percentile([7], 1), 7)

    def test_nothing_traced(self):
        self.write(json.dumps(BOOT), '{"type":"host"}', "[1]")
        self.assertEqual(self.run_tool()[1].splitlines()[0], "0 events, 0 lost")


if __name__ == "__main__":
    unittest.main()
