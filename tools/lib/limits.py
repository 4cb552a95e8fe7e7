"""What was to be had where two lists are compared with generations: the same touches in the laboratory (tools/lab).

Each boot of a comparison of tools/lib/policies.py says how many pages its guest used, how many frames it had at the end, and the sum of
its touches. The laboratory draws the touches again, by the guest's own sources, and replays them with as many frames; what is counted
begins after the warm-up, as in the guest. Nothing of it depends on time: the same boots give the same figures.
"""

import csv
import io
import re
import statistics
import subprocess

from . import policies
from .comparisons import Unreadable

OPT, LRU, TWOLIST = "opt, order", "lru, order", "two-list, bits"
BITS = tuple(f"{name}, bits" for name in ("lru", "clock", "2q", "arc", "lirs", "clock-pro", "s3-fifo", "sieve", "hazard"))
NAMES = tuple(dict.fromkeys(label.split(",")[0] for label in (OPT, LRU, TWOLIST, *BITS)))
KEY = "laboratory"


def run(lab, *arguments):
    done = subprocess.run([lab, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise Unreadable(f"lab {' '.join(map(str, arguments))}: {done.stderr.strip()}")
    return done.stdout


def replay(lab, args, frames):
    """{"policy, mode": refaults of the measured part}. Passes of aging as in the boots: when eviction asks for them."""
    rows = csv.DictReader(io.StringIO(run(lab, "matrix", args, "--frames", frames, "--policies", ",".join(NAMES), "--set", "age=0")))
    return {f"{r['policy']}, {r['mode']}": int(r["refaults"]) for r in rows}


def measure(result, work, percent, lab):
    """Puts into a comparison, for each order of pages, what policies had in the laboratory; fails if its touches are not those of the boots."""
    boots = next(row["values"] for row in result["rows"] if row["label"] == policies.TWOLIST)
    result[KEY] = []
    for order, (pages, frames, total) in enumerate(zip(boots["pages"], boots["resident"], boots["sum of touches"])):
        args = f"{policies.words_of(work, percent)} warm={policies.WARM} ops={policies.MEASURED} seed={order + 1} first={int(pages)}"
        found = re.search(r" sum=(\d+)", run(lab, "info", args))
        if not found or int(found.group(1)) != total:
            raise Unreadable(f"{args}: the laboratory draws other touches than the guest")
        result[KEY].append(replay(lab, args, int(frames)))


def ratios(result, label):
    """Refaults of the guest's two lists ÷ those of somebody in the laboratory, for each order of pages: what the guest's ratio would be with that."""
    return [boot / order[label] if order[label] else 0.0 for order, boot in zip(result[KEY], policies.refaults(result, policies.TWOLIST))]


def best(result):
    """The label of who has the fewest refaults, Accessed bits given."""
    return max(BITS, key=lambda label: statistics.median(ratios(result, label)))


def reachable(result, reach):
    return statistics.median(ratios(result, best(result))) >= reach


def _cell(result, reach):
    if not result or not result.get(KEY):
        return "–"
    label = best(result)
    lru, somebody, opt = (f"{statistics.median(ratios(result, who)):.2f}" for who in (LRU, label, OPT))
    mark = "**" if reach and reachable(result, reach) else ""
    return f"{lru} / {mark}{somebody}{mark} {label.split(',')[0]} / {opt}"


def fidelity(results):
    """Least and most of refaults of two lists in the laboratory ÷ in the guests."""
    shares = [order[TWOLIST] / boot for r in results for order, boot in zip(r[KEY], policies.refaults(r, policies.TWOLIST)) if boot]
    return (min(shares), max(shares)) if shares else None


def _said(by_name):
    measured = [(work, by_name[c.name]) for work in policies.WORKS for percent, _ in policies.MEMORY
                for c in [policies.COMPARISONS[work.name, percent]] if by_name.get(c.name, {}).get(KEY)]
    asked = [reachable(result, work.reach) for work, result in measured if work.reach]
    near = fidelity([result for _, result in measured])
    lines = []
    if asked:
        lines.append(f"Of {len(asked)} cells that ask for more than {policies.FLOOR}, {sum(asked)} have somebody who reaches it without knowing the future (bold); in the other "
                     f"{len(asked) - sum(asked)}, none of the {len(BITS)} does, though the best of them is picked afterwards for each cell.")
    if near:
        lines.append(f"Two lists have {near[0]:.2f} to {near[1]:.2f} times as many refaults in the laboratory as in the guests, by cell and order.")
    return " ".join(lines)


def markdown(results):
    """Empty if nothing of it was measured."""
    by_name = {r["name"]: r for r in results}
    rows = []
    for work in policies.WORKS:
        cells = [_cell(by_name.get(policies.COMPARISONS[work.name, percent].name), work.reach) for percent, _ in policies.MEMORY]
        if set(cells) != {"–"}:
            rows.append(f"| {policies.title(work)} | {' | '.join(cells)} | {work.reach or policies.FLOOR} |")
    if not rows:
        return []
    return ["**What was to be had there: refaults of the guests' two lists ÷ those of LRU, which sees every touch / of the best of "
            f"{len(BITS)} policies, with Accessed bits / of one that knows the future** (the same touches with the frames that the guests had, replayed by "
            "[the laboratory](../tools/lab/README.md); medians over the same orders; known policies, and learned hazards)", "", _said(by_name), "",
            f"| touches | {' | '.join(f'{percent} %' for percent, _ in policies.MEMORY)} | to reach |", "|---|" + "---|" * (len(policies.MEMORY) + 1), *rows]
