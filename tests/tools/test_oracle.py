"""How tools/oracle compares touches with ages."""

import types
import unittest

from tests.tools.load import load_tool

oracle = load_tool("oracle")
S = 1000000000


def bits(pages):
    return f"{sum(1 << p for p in pages):x}"


def guest_line(t, text):
    return {"type": "bench", "t_ns": t, "vm": "oracle", "line": f"bench oracle {text}"}


def interval(number, start, end, pages, late=0):
    """The two lines of an interval, of a guest whose clock began 3 s after the hypervisor's."""
    sent = end + 1000
    return [guest_line(sent + 3 * S, f"touched={number} first=0 bits={bits(pages)}"),
            guest_line(sent + 3 * S + late, f"end={number} from={start} to={end} now={sent}")]


def dump(t, ages):
    """Two lines, for a dump is longer than a line."""
    return [{"type": "ages", "t_ns": t + i, "vm": "oracle", "max_seq": 9, "gfn": i, "ages": part}
            for i, part in ((0, ages[:3]), (3, ages[3:]))]


class OracleTest(unittest.TestCase):
    PAGES = 8

    def records(self, ages, touched):
        """Passes every 2 s of the hypervisor's clock, and an interval of 1 s in the middle between two of them."""
        found = [guest_line(3 * S, f"pages={self.PAGES} first=0 bits={bits(range(self.PAGES))}")]
        for i, text in enumerate(ages):
            found += interval(i, 2 * i * S + S // 2, 2 * i * S + 3 * S // 2, touched, late=i)
            found += dump(3 * S + 2 * (i + 1) * S, text)
        return found + interval(99, 2 * len(ages) * S + S // 2, 2 * len(ages) * S + S, touched)

    def score(self, ages, touched):
        return oracle.judge(oracle.observe(self.records(ages, touched)))

    def test_all_right(self):
        score = self.score(["00112222"] * 6, {0, 1, 2, 3})
        self.assertEqual((score.precision, score.recall, score.false_old, score.dumps), (1, 1, 0, 3))

    def test_hot_page_that_looks_old(self):
        score = self.score(["00132222"] * 6, {0, 1, 2, 3})
        self.assertEqual((score.precision, score.recall, score.false_old), (4 / 5, 1, 1 / 4))

    def test_cold_page_that_looks_young_or_is_away(self):
        score = self.score(["00110ze3"] * 6, {0, 1, 2, 3})
        self.assertEqual((score.precision, score.recall, score.false_old), (1, 3 / 4, 0))

    def test_what_is_away_was_taken_rightly_or_not(self):
        score = self.score(["00z12zze"] * 6, {0, 1, 2, 3})
        self.assertEqual((score.hot_away, score.cold_away, score.evicted), (3, 6, 2 / 3))
        self.assertIsNone(self.score(["00112222"] * 6, {0}).evicted)

    def test_pages_never_touched_and_others_pages_do_not_count(self):
        score = self.score(["0011222.33333"] * 6, {0, 1, 2, 3})
        self.assertEqual((score.cold_declared, score.cold_missed, score.hot), (9, 0, 12))

    def test_interval_across_a_dump_proves_nothing(self):
        records = self.records(["22222222"] * 6, set())
        at = next(i for i, r in enumerate(records) if r["type"] == "ages" and r["t_ns"] == 11 * S)
        records[at:at] = interval(50, 15 * S // 2, 17 * S // 2, {7})
        score = oracle.judge(oracle.observe(records))
        self.assertEqual((score.hot, score.cold_declared), (0, 8 + 7 + 7))

    def test_what_comes_after_the_last_interval_is_not_judged(self):
        records = self.records(["22222222"] * 5, set()) + dump(99 * S, "22222222")
        self.assertEqual(oracle.judge(oracle.observe(records)).dumps, 2)

    def test_too_little_is_no_score(self):
        with self.assertRaises(oracle.Unusable):
            self.score(["2" * 8] * 3, set())
        with self.assertRaises(oracle.Unusable):
            oracle.judge(oracle.observe([]))

    def test_limits(self):
        score = self.score(["00132222"] * 6, {0, 1, 2, 3})
        wanted = types.SimpleNamespace(at_least=["precision=0.8", "recall=1"], at_most=["false_old=0.25"])
        self.assertEqual(oracle.problems(score, wanted), [])
        wanted = types.SimpleNamespace(at_least=["precision=0.81"], at_most=["false_old=0.2"])
        self.assertEqual(len(oracle.problems(score, wanted)), 2)
        nothing = oracle.Score()
        self.assertEqual(len(oracle.problems(nothing, types.SimpleNamespace(at_least=["recall=0"], at_most=[]))), 1)


if __name__ == "__main__":
    unittest.main()
