"""What VMs gave of the memory they held."""

import unittest

from tests.tools.load import load_tool

shares = load_tool("shares")


def at(t, state="running", **vms):
    return [{"type": "vm", "t_ns": t, "vm": name, "state": state, "resident": held, "evictions_total": gave} for name, (held, gave) in vms.items()]


class SharesTest(unittest.TestCase):
    def test_second_half_of_the_time_together_counts(self):
        records = at(1, a=(9, 0)) + at(2, a=(5, 0), b=(5, 9)) + at(3, a=(5, 1), b=(5, 10)) + at(4, a=(100, 10), b=(200, 20)) + at(5, a=(300, 50), b=(200, 60))
        self.assertEqual(shares.given(records, {}), {"a": 0.2, "b": 0.2})
        self.assertEqual(shares.given(records, {"b": 2}), {"a": 0.2, "b": 0.4})

    def test_who_has_ended_is_not_compared(self):
        records = at(1, a=(10, 0), b=(10, 0)) + at(2, a=(10, 5), b=(10, 5)) + at(3, "passed", a=(10, 9), b=(0, 5))
        self.assertEqual(shares.given(records, {}), {})
        self.assertEqual(shares.given([], {}), {})


if __name__ == "__main__":
    unittest.main()
