"""What tools/plot makes of the JSON lines."""

import json
import os
import tempfile
import unittest

from tests.tools.load import load_tool

plot = load_tool("plot")


def vm_record(second, gens):
    return {"type": "vm", "t_ns": second * 10**9, "vm": "kv", "gens": gens, "resident": 10, "zero": 1, "pooled": 2}


class PlotTest(unittest.TestCase):
    def test_half_a_line_is_left_out(self):
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as f:
            f.write(json.dumps(vm_record(1, [])) + '\n[1]\n{"type":"vm","t_')
            f.flush()
            self.assertEqual(len(plot.read_records(f.name)), 1)

    def test_series_keep_order(self):
        vms, host = plot.series_of([vm_record(1, []), {"type": "host", "t_ns": 1}, dict(vm_record(1, []), vm="a"), vm_record(2, [])])
        self.assertEqual(list(vms), ["kv", "a"])
        self.assertEqual([p["t_ns"] for p in vms["kv"]], [10**9, 2 * 10**9])
        self.assertEqual(len(host), 1)

    def test_layers_align_on_the_youngest(self):
        gens = [{"seq": 5, "clean": 1, "dirty": 2}, {"seq": 6, "clean": 0, "dirty": 7}]
        layers = plot.generation_layers([vm_record(1, gens), vm_record(2, [{"seq": 9, "clean": 4, "dirty": 0}])])
        self.assertEqual(layers, [[0, 0], [0, 0], [3, 0], [7, 4]])

    def test_same_input_same_bytes(self):
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            self.skipTest("no matplotlib for this Python")
        with tempfile.TemporaryDirectory() as d:
            vms = {"kv": [vm_record(t, [{"seq": t, "clean": t, "dirty": 3}]) for t in range(1, 4)]}
            paths = [os.path.join(d, n) for n in ("a.svg", "b.svg")]
            for p in paths:
                plot.draw(vms, [], p)
            with open(paths[0], "rb") as a, open(paths[1], "rb") as b:
                first = a.read()
                self.assertEqual(first, b.read())
                self.assertIn(b"<svg", first)


if __name__ == "__main__":
    unittest.main()
