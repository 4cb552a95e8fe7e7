"""Generations against two lists: refaults of seven ways to touch pages, with memory for a quarter, half and three quarters of them.

Both have the same defaults and the same evictor, chunks and accurate question at eviction; generations are made when eviction asks for
them, and once a second besides, as in scenarios that say nothing of it: no pass is made for the measurement. A pass every 3000 touches
changed the ratios by three hundredths at most, but on the loop at 75 % (1.3 to 1.5). Each boot touches a while before it measures.
"""

import statistics
from dataclasses import dataclass

from . import svg
from .comparisons import Comparison, number
from .figures import measured

MEMORY = ((25, "6M"), (50, "12M"), (75, "18M"))  # percent of the guest's 24 MiB
WARM, MEASURED = 60000, 120000  # touches
VALUES = ("refaults, measured part", "hot ones away", "ops/s", "evictions", "passes", "aging", "pages", "resident", "sum of touches")
REFAULTS = VALUES[0]


@dataclass(frozen=True)
class Work:
    name: str
    title: str
    args: str  # of the guest; `{hot}` is a percentage, somewhat less than that of memory
    reach: float | None  # twolist / mglru, at least
    seeds: int = 3  # orders of pages; a loop has one


WORKS = (
    Work("zipf", "random pages, zipf 1.2", "work=zipf", None),
    Work("scan", "zipf 1.2, and every fourth touch walks through all memory", "work=scan", 1.2),
    Work("scan-hot", "two pages of five, uniform, and every fourth touch walks through all memory", "work=scan hot=40", 1.2),
    Work("phase", "zipf 1.2, other pages are the hot ones after each of four phases", "work=phase", 1.2),
    Work("phase-hot", "a quarter of the pages, uniform, another quarter in each of eight phases", "work=phase hot=25 phases=8", 1.2),
    Work("phase-fit", "pages that just fit, uniform, others in each of eight phases", "work=phase hot={hot} phases=8", 1.2),
    Work("dense", "every page in turn, again and again", "work=dense", None, 1),
)
HOT = {25: 22, 50: 45, 75: 70}  # what else the guest and the hypervisor hold takes a percent or two of memory
FLOOR = 0.95  # of twolist / mglru, on any of them
TWOLIST = "twolist"
# The first has the defaults, of which the figures are: pages of one use first, and the guard.
VARIANTS = (("mglru", ""), (TWOLIST, "host.policy=twolist"), ("mglru, no guard", "host.guard=no"), ("mglru, age alone", "host.probation=no"))


def words_of(work, percent):
    """What the guest is told to do where memory is for so many percent of its pages."""
    return work.args.format(hot=HOT[percent])


def trace_name(work, percent):
    """Of the same touches in the laboratory (tools/lab/guest.c)."""
    return f"guest-{work.name}{f'-{percent}' if words_of(work, percent) != work.args else ''}"


def comparison(work, percent, memory):
    return Comparison(f"policy-{work.name}-{percent}", f"{work.title}; memory for {percent} %", "workload",
                      f"{words_of(work, percent)} warm={WARM} ops={MEASURED} seed={{seed}}", "work",
                      VARIANTS, VALUES, work.seeds, "", words=f"host.memory={memory} host.aging=1s")


COMPARISONS = {(work.name, percent): comparison(work, percent, memory) for work in WORKS for percent, memory in MEMORY}


def is_one(result):
    return result["name"] in {c.name for c in COMPARISONS.values()}


def refaults(result, label):
    """Of each order of pages; empty if that was not measured."""
    return next((row["values"][REFAULTS] for row in result["rows"] if row["label"] == label), [])


def ratios(result, label=VARIANTS[0][0]):
    """Refaults of two lists ÷ those of generations, for each order of pages."""
    return [b / a if a else 0.0 for a, b in zip(refaults(result, label), refaults(result, TWOLIST))]


def figures(results):
    """As tools/bench has them, of the comparisons that were measured."""
    by_name = {r["name"]: r for r in results}
    found, least = [], {}
    for work in WORKS:
        for percent, _ in MEMORY:
            name = COMPARISONS[work.name, percent].name
            if name not in by_name:
                continue
            values = ratios(by_name[name])
            least[name] = min(values)
            if work.reach:
                found.append(measured(f"twolist / mglru, refaults: {work.title}; memory for {percent} %", "ratio", values, work.reach, name, "icount"))
    if least:
        found.append(measured(f"twolist / mglru, refaults: the least of {len(least)} ways and sizes", "ratio", [min(least.values())], FLOOR,
                              min(least, key=least.get), "icount"))
    return found


def _cell(values):
    middle = f"{statistics.median(values):.2f}"
    return middle if min(values) == max(values) else f"{middle} ({min(values):.2f} to {max(values):.2f})"


def title(work):
    return f"{work.title} (`{work.args.format(hot='/'.join(map(str, HOT.values())))}`)"


def _table(by_name, label, words):
    lines = [f"| touches{f' ({chr(96)}{words}{chr(96)})' if words else ''} | {' | '.join(f'{percent} %' for percent, _ in MEMORY)} | together | to reach |",
             "|---|" + "---|" * (len(MEMORY) + 2)]
    rows = 0
    for work in WORKS:
        cells, middles = [], []
        for percent, _ in MEMORY:
            result = by_name.get(COMPARISONS[work.name, percent].name)
            values = ratios(result, label) if result else []
            middles += [statistics.median(values)] if values else []
            cells.append(f"{_cell(values)} [{number(statistics.median(refaults(result, label)))}]" if values else "–")
        rows += any(c != "–" for c in cells)
        together = f"{statistics.geometric_mean(middles):.2f}" if len(middles) == len(MEMORY) and all(middles) else "–"
        lines.append(f"| {title(work)} | {' | '.join(cells)} | {together} | {work.reach or FLOOR} |")
    return lines if rows else []


def markdown(results):
    """A table of all for each kind of generations; empty if none was measured."""
    by_name = {r["name"]: r for r in results}
    tables = [_table(by_name, label, words) for label, words in VARIANTS if label != TWOLIST]
    if not any(tables):
        return []
    lines = ["**Two lists against generations: refaults of two lists ÷ those of generations, by memory for so many of the pages** "
             f"(`make bench BENCH=policy-`; icount; {MEASURED} touches after {WARM} that are not measured; medians over orders of pages, least and most; "
             "refaults of generations in brackets; together: the geometric mean of the sizes; the figures are those of the first table, the defaults)"]
    for table in filter(None, tables):
        lines += ["", *table]
    return lines


def draw(results):
    by_name = {r["name"]: r for r in results}
    rows = []
    for (name, percent), c in COMPARISONS.items():
        if c.name in by_name:
            values = ratios(by_name[c.name])
            rows.append((f"{name}, {percent} %", statistics.median(values), min(values), max(values)))
    return svg.bars("refaults of two lists / of generations, by memory for so many of the pages", "ratio", rows) if rows else None
