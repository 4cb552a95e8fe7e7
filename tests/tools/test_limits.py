"""What was to be had where two lists are compared with generations: replays in the laboratory, and their table."""

import os
import subprocess
import unittest
from unittest import mock

from tests.tools.load import ROOT
from tools.lib import comparisons, limits, policies

BUILD = os.environ.get("VARVE_BUILD", "build")
LAB = os.path.join(ROOT, BUILD, "host", "plain", "lab")
WORK = {work.name: work for work in policies.WORKS}


def compared(name, values, percent=50):
    rows = [{"label": label, "values": dict(values)} for label in ("mglru", policies.TWOLIST)]
    return {"name": f"policy-{name}-{percent}", "rows": rows}


def order(two, exact, opt, **others):
    """Refaults of one order; who is not named has as many as two lists."""
    return {**dict.fromkeys(limits.BITS, two), limits.TWOLIST: two, limits.LRU: exact, limits.OPT: opt, **{f"{k}, bits": v for k, v in others.items()}}


class Replays(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        subprocess.run(["make", "--no-print-directory", "-j2", f"O={BUILD}", os.path.relpath(LAB, ROOT)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

    def setUp(self):
        for name, value in (("WARM", 2000), ("MEASURED", 4000)):
            patch = mock.patch.object(policies, name, value)
            patch.start()
            self.addCleanup(patch.stop)

    def boots(self, seeds, total=None):
        sums = [int(limits.run(LAB, "info", f"work=phase hot=25 phases=8 warm=2000 ops=4000 first=400 seed={s}").split("sum=")[1]) for s in seeds]
        return compared("phase-hot", {policies.REFAULTS: [9] * len(sums), "pages": [400.0] * len(sums), "resident": [150.0] * len(sums), "sum of touches": total or sums})

    def test_the_orders_of_the_boots_are_replayed_with_their_frames(self):
        result = self.boots((1, 2))
        limits.measure(result, WORK["phase-hot"], 50, LAB)
        self.assertEqual(result[limits.KEY], [limits.replay(LAB, f"work=phase hot=25 phases=8 warm=2000 ops=4000 first=400 seed={s}", 150) for s in (1, 2)])
        self.assertNotEqual(*result[limits.KEY])
        for found in result[limits.KEY]:
            self.assertEqual(set(found), {limits.OPT, limits.LRU, *(f"{n}, order" for n in limits.NAMES if n not in ("hazard", "two-list")), limits.TWOLIST, *limits.BITS})
            self.assertGreater(found[limits.OPT], 0)
            self.assertLessEqual(found[limits.OPT], min(found.values()))

    def test_other_touches_than_the_guests_are_noticed(self):
        for result in (self.boots((2,)), self.boots((1,), [5])):
            with self.assertRaises(comparisons.Unreadable):
                limits.measure(result, WORK["phase-hot"], 50, LAB)

    def test_a_laboratory_that_refuses_is_no_figure(self):
        with self.assertRaises(comparisons.Unreadable):
            limits.replay(LAB, "work=zipf first=10", 11)


class Table(unittest.TestCase):
    def test_who_is_best_is_picked_for_each_cell_and_bold_where_it_is_enough(self):
        won, lost = compared("scan", {policies.REFAULTS: [120, 120, 130]}), compared("phase", {policies.REFAULTS: [119]})
        won[limits.KEY] = [order(144, 130, 30, arc=100, sieve=20), order(120, 110, 60, arc=96, sieve=200), order(130, 130, 65, arc=100, sieve=260)]
        lost[limits.KEY] = [order(125, 100, 70, arc=100)]
        floor = compared("zipf", {policies.REFAULTS: [100]})
        floor[limits.KEY] = [order(100, 50, 25, lru=50)]
        text = "\n".join(limits.markdown([won, lost, floor, {"name": "other", "rows": []}]))
        self.assertIn("| – | 1.00 / **1.25** arc / 2.00 | – | 1.2 |", text)
        self.assertIn("| – | 1.19 / 1.19 arc / 1.70 | – | 1.2 |", text)
        self.assertIn("| – | 2.00 / 2.00 lru / 4.00 | – | 0.95 |", text)
        self.assertIn("Of 2 cells that ask for more than 0.95, 1 have", text)
        self.assertIn("1.00 to 1.20 times", text)
        self.assertEqual(text.count("| – |"), 6)

    def test_nothing_measured_is_no_table(self):
        self.assertEqual(limits.markdown([]), [])
        self.assertEqual(limits.markdown([compared("scan", {policies.REFAULTS: [1]})]), [])


if __name__ == "__main__":
    unittest.main()
