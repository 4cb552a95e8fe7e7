"""Comparisons of settings, drawings, profiles and the gate of tools/bench."""

import json
import os
import tempfile
import unittest
import xml.etree.ElementTree

from tests.tools.load import load_tool
from tools.lib import comparisons, duties, policies, profile, seeds, svg

bench = load_tool("bench")

GRIND = """
events: Ir
fn=(1) pack'evict'reclaim_direct'fault
10 70
fn=(2) evict'reclaim_direct'fault
11 10
cfn=(1)
calls=1 10
11 70
12 5
fn=(3) spin_lock.part.0'reclaim_direct'fault
13 15
"""


class ComparisonsTest(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)

    def folder(self, name, ops, refaults):
        path = os.path.join(self.temporary.name, name)
        os.makedirs(path)
        with open(os.path.join(path, "console.log"), "w", encoding="utf-8") as f:
            f.write(f"[kv] kv: ops=9 sets=1 ops_per_s={ops} p50_ns=1000 p99_ns=2000 p99.9_ns=3000 max_ns=4\n")
        with open(os.path.join(path, "stats.jsonl"), "w", encoding="utf-8") as f:
            f.write(json.dumps({"type": "vm", "vm": "kv", "refaults_total": 1}) + "\n")
            f.write(json.dumps({"type": "vm", "vm": "kv", "refaults_total": refaults}) + "\nhalf a li")
        return path

    def test_variants_take_turns_and_are_compared_round_by_round(self):
        c = comparisons.Comparison("c", "title", "kv", "seed={seed}", "kv", (("base", ""), ("other", "host.batch=1")), ("ops/s", "refaults"), 2, "said")
        ops, booted = {"0-0": 100, "0-1": 50, "1-0": 200, "1-1": 300}, []

        def boot(_, words, number):
            booted.append(words)
            return self.folder(number, ops[number], 7)

        result = comparisons.measure(c, boot)
        self.assertEqual(booted, ['vm.kv.args="seed=1"', 'host.batch=1 vm.kv.args="seed=1"', 'vm.kv.args="seed=2"', 'host.batch=1 vm.kv.args="seed=2"'])
        self.assertEqual(comparisons.ratios(result, result["rows"][1], "ops/s"), [0.5, 1.5])
        self.assertEqual(result["rows"][0]["values"]["refaults"], [7, 7])
        self.assertIn("| other | 175 (50 to 300) | 7 | 1 (0.5 to 1.5) |", comparisons.markdown(result))

    def test_boots_at_a_time_change_nothing_but_the_time(self):
        c = comparisons.Comparison("c", "title", "kv", "seed={seed}", "kv", (("base", ""), ("other", "host.batch=1")), ("ops/s",), 3, "said")

        def boot(_, words, number):
            return self.folder(number, 100 * int(words[-2]) + ("batch" in words), 7)

        results = [comparisons.measure(c, boot)]
        self.temporary.cleanup()
        results.append(comparisons.measure(c, boot, jobs=3))
        self.assertEqual(results[0], results[1])
        self.assertEqual(results[0]["rows"][1]["values"]["ops/s"], [101, 201, 301])

    def test_runs_beside_an_ager_are_told_apart(self):
        path = self.folder("beside", 1, 1)
        with open(os.path.join(path, "console.log"), "w", encoding="utf-8") as f:
            for run, work in enumerate(("none", "none", "burn", "passes", "none", "burn", "passes"), 1):
                f.write(f"[max] bench max_memory_beside run={run} work={work} asked=92 had_permille={run}00 passes={run} pass_ns={run}000 faults=1 mean_ns=1 "
                        f"p50_ns=1000 p99_ns=2000 p999_ns=3000 max_ns=4000 lock_wait_ns=5000000 lock_waits=1\n[max] bench max_memory run={run} ns={run}000000 pages=1\n")
        read = {name: comparisons.VALUES[name][2](path) for name in ("alone", "beside", "duty had", "a pass", "p99.9 beside", "lock wait")}
        self.assertEqual(read, {"alone": 5, "beside": 7, "duty had": 70, "a pass": 7, "p99.9 beside": 3, "lock wait": 5})

    def test_boot_that_says_nothing_is_no_value(self):
        path = os.path.join(self.temporary.name, "empty")
        os.makedirs(path)
        for name in ("console.log", "stats.jsonl"):
            with open(os.path.join(path, name), "w", encoding="utf-8"):
                pass
        for name in ("ops/s", "refaults"):
            with self.assertRaises(comparisons.Unreadable):
                comparisons.VALUES[name][2](path)

    def test_every_comparison_changes_one_setting_and_names_known_values(self):
        names = [c.name for c in comparisons.COMPARISONS]
        self.assertEqual(len(names), len(set(names)))
        for c in comparisons.COMPARISONS:
            # The first may say what the others change.
            self.assertLessEqual(len(c.variants[0][1].split()), 1)
            # Each of the others says one thing more, or another, than some variant does.
            said = [set(words.split()) for _, words in c.variants]
            self.assertTrue(all(any(len(s - o) == 1 and len(o - s) <= 1 for o in said if o != s) for s in said[1:]), c.name)
            self.assertTrue(set(c.values) <= set(comparisons.VALUES))
            self.assertTrue(os.path.exists(os.path.join(bench.ROOT, "tools", "scenarios", c.scenario + ".cfg")))

    def compared(self, name, mglru, twolist):
        rows = [{"label": label, "values": {policies.REFAULTS: values}} for label, values in (("mglru", mglru), ("twolist", twolist))]
        return {"name": name, "title": "t", "said": "", "how": "icount", "rows": rows}

    def test_policies_are_figures_by_memory_and_the_least_of_all(self):
        results = [self.compared("policy-scan-50", [100, 200], [130, 240]), self.compared("policy-dense-25", [10], [9]), self.compared("other", [1], [1])]
        scan, least = policies.figures(results)
        self.assertEqual((scan["values"], scan["median"], scan["reach"], scan["reached"]), ([1.3, 1.2], 1.25, 1.2, True))
        self.assertEqual((least["values"], least["scenario"], least["reach"], least["reached"]), ([0.9], "policy-dense-25", 0.95, False))
        text = "\n".join(policies.markdown(results))
        self.assertIn("| – | 1.25 (1.20 to 1.30) [150] | – | – | 1.2 |", text)
        self.assertIn("| 0.90 [10] | – | – | – | 0.95 |", text)
        self.assertEqual(text.count("| touches"), 1)
        results[0]["rows"].append({"label": policies.VARIANTS[2][0], "values": {policies.REFAULTS: [65, 240]}})
        text = "\n".join(policies.markdown(results))
        self.assertIn(f"| touches (`{policies.VARIANTS[2][1]}`)", text)
        self.assertIn("| – | 1.50 (1.00 to 2.00) [152] | – | – | 1.2 |", text)
        results += [self.compared("policy-scan-25", [10], [10]), self.compared("policy-scan-75", [10], [20])]
        self.assertIn("| 1.00 [10] | 1.25 (1.20 to 1.30) [150] | 2.00 [10] | 1.36 | 1.2 |", "\n".join(policies.markdown(results)))
        xml.etree.ElementTree.fromstring(policies.draw(results))
        self.assertEqual((policies.figures([]), policies.markdown([]), policies.draw([])), ([], [], None))

    def test_policies_differ_in_the_policy_only(self):
        for c in policies.COMPARISONS.values():
            self.assertEqual(c.variants[:2], (("mglru", ""), ("twolist", "host.policy=twolist")))
            self.assertTrue(all(len(words.split()) == 1 for _, words in c.variants[1:]))
            self.assertTrue(set(c.values) <= set(comparisons.VALUES))
        self.assertEqual(len(policies.COMPARISONS), len(policies.WORKS) * len(policies.MEMORY))

    def test_rescues_are_told_by_round(self):
        c = next(c for c in comparisons.COMPARISONS if c.name == "sink")

        def boot(_, words, number):
            path = os.path.join(self.temporary.name, number)
            os.makedirs(path)
            rescued = 0 if "0xf" in words else 30
            with open(os.path.join(path, "console.log"), "w", encoding="utf-8") as f:
                f.write(f"[sink] bench sink round=1 gen0=0 rescued=0 evicted=0\n[sink] bench sink round=2 gen0=0 rescued={rescued} evicted=20\n"
                        "[sink] bench sink total hot=9 rescued=1 evicted=2 rescues_per_evicted_permille=500 refaults=0\n")
            with open(os.path.join(path, "stats.jsonl"), "w", encoding="utf-8") as f:
                f.write('{"type": "vm", "vm": "sink", "rejected_total": 1, "lookaround_promoted_total": 1, "aging_ns_total": 1}\n')
            return path

        result = comparisons.measure(c, boot)
        self.assertEqual(result["series"]["of"], {"walks": [(1, 0.0), (2, 0.0)], "no walks": [(1, 0.0), (2, 1.5)]})
        self.assertIn("| no walks | 0 | 1.5 |", comparisons.markdown(result))
        bench.draw({"comparisons": [result]}, self.temporary.name)
        xml.etree.ElementTree.parse(os.path.join(self.temporary.name, "sink-over-time.svg"))

    def test_shares_of_spans_count_the_outermost(self):
        def node(name, total, *children):
            return {"name": name, "total": total, "children": list(children)}

        tree = node("reclaim", 200, node("evict", 150, node("check", 50, node("notifier", 40, node("lock", 10)), node("around", 20)), node("lock", 10)))
        self.assertEqual([profile.share_of_spans(tree, names) for names in (("evict",), ("check", "around"), ("lock",), ("rmap",))], [75, 25, 10, 0])
        text = "\n".join(profile.beside_the_seed({"tree": tree, "others": [{"label": "two lists", "tree": tree}]}))
        self.assertIn("| 31.33 | 7.08 | 19.35 + 26.23 | 25.00 | 25.00 |", text)

    def test_tables_of_the_seeds_stand_beside_ours(self):
        def compared(name, labels, values):
            return {"name": name, "rows": [{"label": label, "values": {v: [1.5] for v in values}} for label in labels]}

        aging = compared("vcpus", ["2, lockless", "2, locked per table"], ["fault beside / alone", "a pass"])
        text = "\n".join(seeds.table_of_aging({"comparisons": [aging]}))
        self.assertIn("| 2 | 1.07 | 1.05 | 18 | 14 | 1.5 | 1.5 | 1.5 | 1.5 |", text)
        self.assertIn("| 112 | 1.2 | 1.05 | 13474 | 2292 | – | – | – | – |", text)
        text = "\n".join(seeds.table_of_kv({"comparisons": [compared("kv-gets", ["batch 64", "batch 1"], seeds.KV_HEADS)]}))
        self.assertIn("| seed 003, 1 entry a call | 968210 | 412444 | 14304 |", text)
        self.assertIn("| here, batch 1 | 1.5 | 1.5 |", text)
        self.assertEqual((seeds.table_of_aging({}), seeds.table_of_kv({})), ([], []))
        self.assertTrue(set(seeds.KV_HEADS) <= set(next(c for c in comparisons.COMPARISONS if c.name == "kv-gets").values))
        self.assertTrue({"fault beside / alone", "a pass"} <= set(next(c for c in comparisons.COMPARISONS if c.name == "vcpus").values))

    def test_seeds_stand_beside_what_was_measured(self):
        rows = [{"label": label, "values": {"ops/s": ops, "p99": [1, 1], "p99.9": [4, 4]}} for label, ops in (("batch 64", [12, 30]), ("batch 1", [10, 20]))]
        results = {"figures": [{"name": "a fault beside an ager that has 92 % ...", "median": 0.999}], "comparisons": [{"name": "kv-gets", "rows": rows}],
                   "profile": {"groups": {"waiting for locks and taking them": 0.004}}}
        text = "\n".join(seeds.markdown(results))
        for cell in ("| 1.046 | kv, gets (icount) | 1.35 |", "| 0.4 % |", "| a fault's instructions (icount) | 0.999 |", "(native) | – |"):
            self.assertIn(cell, text)
        self.assertEqual(seeds.markdown({"figures": []}), [])

    def test_the_seeds_rows_find_their_figures(self):
        results = {"figures": [{"name": f.name, "median": 1.0} for f in bench.FIGURES], "profile": {"groups": {}}}
        names = ("ops/s", "p99", "p99.9")
        variants = next(c for c in comparisons.COMPARISONS if c.name == "kv-gets").variants
        results["comparisons"] = [{"name": "kv-gets", "rows": [{"label": label, "values": dict.fromkeys(names, [1.0])} for label, _ in variants]}]
        self.assertEqual([what for what, _, _, value in seeds.ROWS if value(results) is None], [])

    def test_stalls_are_a_table(self):
        output = "stall ager=alone longest_us=9.0 worst_us=40.5 p50=500 p99=900 pass_us=0.0 young=0 during=3840\nduty ager=x asked=1\n"
        rows = duties.read(output, "stall")
        self.assertEqual(rows, [{"ager": "alone", "longest_us": 9, "worst_us": 40.5, "p50": 500, "p99": 900, "pass_us": 0, "young": 0, "during": 3840}])
        self.assertIn("| alone | 9 | 40.5 | 500 | 900 | 0 | 0 | 3840 |", duties.markdown_of_stalls(rows))
        with self.assertRaises(duties.Unreadable):
            duties.read("duty ager=x asked=1", "stall")

    def test_lines_of_the_seeds_guests_are_read(self):
        path = self.folder("seeds", 1, 1)
        with open(os.path.join(path, "console.log"), "w", encoding="utf-8") as f:
            f.write("[kv] bench kv type=gets ops=9 hits_per_s=1 misses_per_s=1 avg_ns=1 kb_per_s=1 cpus=2\n"
                    "[kv] bench kv type=totals ops=9 ops_per_s=5 hits_per_s=40 misses_per_s=2 avg_ns=43000 p50_ns=9 kb_per_s=80 cpus=2\n"
                    "[t] bench access_tracking_p_beside run=1 work=passes asked=92 pass_ns=7000 faults=9 mean_ns=2002 p50_ns=1 p99_ns=1 p999_ns=2030 max_ns=1\n"
                    "[t] bench access_tracking_p_beside run=1 work=none asked=0 pass_ns=0 faults=9 mean_ns=1 p50_ns=1 p99_ns=1 p999_ns=1 max_ns=1\n"
                    "[t] bench access_tracking_p total rounds=2 wall_ratio_permille=1500 fault_ratio_permille=999 cpus=2\n")
        names = ("hits/s", "misses/s", "average", "KB/s", "fault beside / alone", "a fault", "faults' p99.9", "a pass")
        self.assertEqual([comparisons.VALUES[n][2](path) for n in names], [40, 2, 43, 80, 0.999, 2002, 2030, 7])

    def test_profile_is_a_tree_of_own_costs(self):
        result = profile.judge(GRIND, "said")
        self.assertEqual(result["tree"]["total"], 100)
        evict, lock = result["tree"]["children"]
        self.assertEqual([evict["name"], evict["total"], lock["name"], lock["total"]], ["evict", 85, "spin_lock", 15])
        self.assertEqual([(c["name"], c["total"]) for c in evict["children"]], [("pack", 70)])
        self.assertAlmostEqual(result["groups"]["waiting for locks and taking them"], 0.15)
        with self.assertRaises(profile.Unreadable):
            profile.judge("events: Ir\n", "said")

    def test_spans_of_the_hypervisor_are_a_tree(self):
        lines = ['{"type":"profile","nodes":[["age",1,1]]}', "half a li", '{"type":"vm"}',
                 '{"type":"profile","nodes":[["direct",100,2],["direct/evict",80,2],["direct/evict/pack",90,9],["age",50,1]]}']
        nodes = profile.last_spans(lines)
        self.assertEqual(nodes["direct/evict/pack"], (90, 9))
        tree = profile.tree_of_spans(nodes)
        # evict is still open: it has not less than what is below it.
        self.assertEqual([(c["name"], c["total"]) for c in tree["children"]], [("direct", 100), ("age", 50)])
        self.assertEqual((tree["total"], tree["children"][0]["children"][0]["total"]), (150, 90))
        for bad in ([], ['{"type":"profile"}'], ['{"type":"profile","nodes":[["a",1]]}']):
            with self.assertRaises(profile.Unreadable):
                profile.last_spans(bad)

    def test_flame_wants_what_it_is_told(self):
        with open(os.path.join(self.temporary.name, "stats.jsonl"), "w", encoding="utf-8") as f:
            f.write('{"type":"profile","nodes":[["age",50,1],["age/lists",0,1]]}\n')
        flame = load_tool("flame")
        self.assertEqual(flame.main([self.temporary.name, "--need", "age"]), 0)
        self.assertEqual(flame.main([self.temporary.name, "--need", "age/lists"]), 1)
        self.assertEqual(flame.main([self.temporary.name + "/none"]), 1)
        xml.etree.ElementTree.parse(os.path.join(self.temporary.name, "reclaim-flame.svg"))

    def test_drawings_are_xml_and_repeat(self):
        def drawings():
            return [svg.lines("t", "x", "y", {"a": [(1, 0.0), (2, 3.0)]}, log=False), svg.bars("a < b", "1/s", [("base", 10, 9, 11), ("other", 20, 20, 20)]), svg.lines("t", "x", "y", {"a": [(10, 1.0), (95, 12.5)]}),
                    svg.flame("f", ("root", 100, [("a", 60, []), ("b", 40, [("c", 10, [])])]))]

        for text, again in zip(drawings(), drawings()):
            self.assertEqual(text, again)
            xml.etree.ElementTree.fromstring(text)

    def test_duties(self):
        rows = duties.read("duty ager=alone asked=50 duty=0.0 wall_ms=10.0 p50=1 p99=2 p999=3 max_us=4.0 pass_us=0.0 wait_ms=0.00 hot=0\n"
                                 "duty ager=per-walk asked=50 duty=49.0 wall_ms=20.0 p50=1 p99=2 p999=3 max_us=4.0 pass_us=5.0 wait_ms=6.00 hot=0\n")
        self.assertEqual(rows[1]["wall_ms"] / rows[0]["wall_ms"], 2)
        self.assertIn("| per-walk | 0 | 50 | 49 | 20 |", "\n".join(duties.markdown(rows)))
        xml.etree.ElementTree.fromstring(duties.draw(rows))
        with self.assertRaises(duties.Unreadable):
            duties.read("bench x value=1\n")


class GateTest(unittest.TestCase):
    def gate(self, recorded, measured, same_tools=True):
        names = [f.name for f in bench.gate_figures()]
        environment = bench.gate_environment() if same_tools else {"compiler": "another"}
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "recorded.json")
            with open(path, "w", encoding="utf-8") as f:
                json.dump({"environment": environment, "figures": {n: recorded for n in names}}, f)
            original = bench.measure_once
            bench.measure_once = lambda *_: measured
            try:
                return bench.gate(path, None)
            finally:
                bench.measure_once = original

    def test_five_percent_more_fail_and_less_does_not(self):
        self.assertEqual([self.gate(100, 104), self.gate(100, 106), self.gate(100, 50)], [0, 1, 0])

    def test_other_tools_are_no_verdict(self):
        self.assertEqual(self.gate(100, 200, same_tools=False), 0)


if __name__ == "__main__":
    unittest.main()
