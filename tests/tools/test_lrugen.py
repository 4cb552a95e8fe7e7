"""tools/lrugen reads what hv/monitor_view.c writes: properties over random dumps, in the format strings of the source."""

import os
import random
import re
import subprocess
import sys
import unittest

from tests.tools.load import ROOT, load_tool

lrugen = load_tool("lrugen")

ROUNDS = 200
NOISE = (
    "[  1.069854] timeline: gens kv",
    "[kv] 12 13 14 15",
    "[kv] vm other:          seq     age_ms     clean     dirty",
    "  1s  kv    running      3977        0        0        0         0 |     0          0       0",
    "      tier 0:         0 R         0 T         0 r         0 e         0 p",
    "host: 16384 frames, 12000 free, 0 of the pool",
    "",
)


def formats(function):
    """The format strings of say() in a function of the hypervisor, for Python's %."""
    with open(os.path.join(ROOT, "hv", "monitor_view.c"), encoding="utf-8") as source:
        text = source.read()
    body = re.search(rf"^[^\n]*\b{function}\(.*?^}}", text, re.M | re.S)[0]
    calls = re.findall(r'say\(((?:\s*"[^"]*")+)', body)
    return [re.sub(r"ll([ux])", r"\1", "".join(re.findall(r'"([^"]*)"', call))) for call in calls]


HEADER, ROW = formats("gen_lines")
PAGEMAP, AWAY = formats("view_pagemap")
(ENTRY,) = formats("pagemap_resident")
FRAME = formats("view_frame")[0]
NOWHERE, PAGE = formats("view_page")


def random_generations(rng):
    seq, ages = rng.randrange(1 << rng.randrange(1, 40)), sorted((rng.randrange(1 << 30) for _ in range(4)), reverse=True)
    return [
        lrugen.Generation(seq + i, ages[i], rng.randrange(1 << 22), rng.choice((0, rng.randrange(1 << 22))))
        for i in range(rng.randint(2, 4))
    ]


def written(vm, generations):
    rows = [ROW % (g.seq, g.age_ms, g.clean, g.dirty) for g in generations]
    return [HEADER % (vm, "seq", "age_ms", "clean", "dirty"), *rows]


def noisy(rng, lines):
    """Others write between the lines, and a terminal ends them in its own way."""
    out = []
    for line in lines:
        out += rng.choices(NOISE, k=rng.randint(0, 2)) + [line]
    return [line + rng.choice(("", "\n", "\r\n")) for line in out]


class DumpTest(unittest.TestCase):
    def test_all_that_was_written_is_read(self):
        for seed in range(ROUNDS):
            rng = random.Random(seed)
            sent = [(rng.choice(("kv", "web-1")), random_generations(rng)) for _ in range(rng.randint(0, 4))]
            lines = [line for vm, generations in sent for line in written(vm, generations)]
            got = [(d.vm, d.generations) for d in lrugen.dumps(noisy(rng, lines))]
            self.assertEqual(got, sent, f"seed {seed}")

    def test_found_generation_is_the_oldest_that_has_enough(self):
        for seed in range(ROUNDS):
            rng = random.Random(seed)
            generations = random_generations(rng)
            (dump,) = lrugen.dumps(written("kv", generations))
            wanted = rng.choice((0, rng.randrange(1 << 23), rng.choice(generations).pages))
            found = lrugen.find_generation(dump, wanted)
            older = [g for g in generations if found is None or g.seq < found.seq]
            self.assertTrue(all(g.pages < wanted for g in older), f"seed {seed}")
            self.assertTrue(found is None or found.pages >= wanted, f"seed {seed}")

    def test_rubbish_is_no_dump(self):
        lines = written("kv", [lrugen.Generation(3, 20, 1, 2), lrugen.Generation(4, 10, 5, 6)])
        self.assertEqual(lrugen.dumps(lines[1:]), [])
        self.assertEqual(lrugen.dumps(lines[:1]), [])
        (dump,) = lrugen.dumps(lines + [ROW % (9, 0, 1, 1), ROW % (5, 11, 1, 1)])
        self.assertEqual([g.seq for g in dump.generations], [3, 4])
        for cut in range(len(lines[0])):
            self.assertEqual(lrugen.dumps([lines[0][:cut], *lines[1:]]), [])


class PageTest(unittest.TestCase):
    def random_entry(self, rng, vm):
        gfn = rng.randrange(1 << 40)
        if rng.random() < 0.4:
            state = rng.choice(("never touched", "zero", "filled", "compressed", "on disk", "no memory"))
            return AWAY % (gfn, state, ""), lrugen.Sighting(vm, gfn, state, None)
        seq = rng.choice((None, rng.randrange(1 << 40)))
        flags = tuple(f for f in ("accessed", "dirty", "workingset", "copy") if rng.random() < 0.5)
        text = [f" {f}" for f in flags]
        line = ENTRY % (gfn, "resident", "-" if seq is None else seq, "".join(text), "", "")
        return line, lrugen.Sighting(vm, gfn, "resident", seq, flags)

    def random_page(self, rng, vm):
        gfn, seq = rng.randrange(1 << 40), rng.randrange(1 << 40)
        if rng.random() < 0.3:
            return [PAGE % (vm, gfn, "on disk", "")], lrugen.Sighting(vm, gfn, "on disk", None)
        lines = [PAGE % (vm, gfn, "resident", rng.choice(("", ", being changed"))), FRAME % (77, seq, 2, 120, "clean", 1, "")]
        return lines, lrugen.Sighting(vm, gfn, "resident", seq)

    def test_all_that_was_said_of_pages_is_read(self):
        for seed in range(ROUNDS):
            rng = random.Random(seed)
            lines, sent = [], []
            for _ in range(rng.randint(1, 3)):
                vm = rng.choice(("kv", "web-1"))
                entries = [self.random_entry(rng, vm) for _ in range(rng.randint(1, 20))]
                lines += [PAGEMAP % (vm, len(entries), entries[0][1].gfn), *(line for line, _ in entries)]
                sent += [sighting for _, sighting in entries]
                said, sighting = self.random_page(rng, vm)
                # Twice the same page: each has its own frame.
                lines += said * 2
                sent += [sighting] * 2
            self.assertEqual(lrugen.sightings(noisy(rng, lines)), sent, f"seed {seed}")

    def test_a_page_that_is_nowhere_was_not_seen(self):
        self.assertEqual(lrugen.sightings([NOWHERE % ("kv", 5), FRAME % (7, 3, 2, 120, "clean", 1, "")]), [])


class ProgramTest(unittest.TestCase):
    LINES = written("kv", [lrugen.Generation(3, 20, 1, 2), lrugen.Generation(4, 10, 5, 6)])

    def run_it(self, *args, lines=None):
        program = [sys.executable, os.path.join(ROOT, "tools", "lrugen"), *args]
        text = "\n".join(self.LINES if lines is None else lines)
        ran = subprocess.run(program, input=text, text=True, capture_output=True, check=False)
        return ran.stdout.split(), ran.returncode

    def test_prints_what_it_found(self):
        self.assertEqual(self.run_it(), (["0,kv,3,20,1,2", "0,kv,4,10,5,6"], 0))
        self.assertEqual(self.run_it("--at-least", "4"), (["0,kv,4,10,5,6"], 0))
        page = [PAGE % ("kv", 0x801, "resident", ""), FRAME % (7, 3, 2, 120, "clean", 1, "")]
        self.assertEqual(self.run_it("--page", "0x801", lines=page), (["kv,0x801,resident,3,"], 0))

    def test_says_that_there_was_nothing(self):
        self.assertEqual(self.run_it("--vm", "web"), ([], 1))
        self.assertEqual(self.run_it("--at-least", "12"), ([], 1))
        self.assertEqual(self.run_it("--page", "7"), ([], 1))


if __name__ == "__main__":
    unittest.main()
