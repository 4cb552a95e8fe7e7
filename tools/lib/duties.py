"""What tests/bench/bench_duty.c and bench_stall.c print: faults beside an ager, by its lock, and by its duty or for one walk."""

import re

from . import svg
from .comparisons import number


class Unreadable(Exception):
    """No line of a duty."""


def read(output, kind="duty"):
    """[{ager, asked, duty, wall_ms, p50, ...}] of the lines `duty ...` of bench_duty, or `stall ...` of bench_stall."""
    rows = []
    for line in re.findall(rf"^{kind} (ager=.*)$", output, re.M):
        row = dict(re.findall(r"(\w+)=([\w.-]+)", line))
        rows.append({k: v if k == "ager" else float(v) for k, v in row.items()})
    if not rows:
        raise Unreadable(f"bench_{kind} prints no line `{kind}`")
    return rows


def markdown(rows):
    lines = ["**A vCPU writes all memory again while another CPU ages for a share of its time** (`make bench BENCH=bench_duty`; native, "
             "two pinned CPUs; time that the vCPU's thread ran, waiting included)", "",
             "| ager | reads between faults | duty asked, % | had | wall, ms | fault p50, ns | p99 | p99.9 | longest, us | a pass, us | both waited for the lock, ms |",
             "|---|---|---|---|---|---|---|---|---|---|---|"]
    for r in rows:
        cells = [r["ager"]] + [number(r.get(k, 0.0)) for k in ("hot", "asked", "duty", "wall_ms", "p50", "p99", "p999", "max_us", "pass_us", "wait_ms")]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Seed 002 shows max_guest_memory_test on a workstation with 64 CPUs and as many vCPUs: 600 s where the accessed bit is asked for under the lock, 50 s "
              "where it is not, 250 s with the old two lists: per-walk, lockless and per-page here. Two CPUs can show the shape (who waits for the ager waits for the share of time "
              "that it holds the lock), and for one who waits. They cannot carry the trend to 64 vCPUs, or 112: there each that waits for the lock makes the next wait "
              "longer, here nobody queues behind the one; nor the swap device, which makes evictions as dear as the lock there."]
    return lines


def markdown_of_stalls(rows):
    lines = ["**One walk over 256 MiB that were touched since the last one, and the faults that come while it is on** (`make bench BENCH=bench_stall`; native, two "
             "pinned CPUs; medians over rounds; alone: no walk, as long as a lockless one takes)", "",
             "| ager | longest fault, us | longest of all rounds | p50, ns | p99 | the walk, us | pages found young | faults meanwhile |", "|---|---|---|---|---|---|---|---|"]
    for r in rows:
        cells = [r["ager"]] + [number(r[k]) for k in ("longest_us", "worst_us", "p50", "p99", "pass_us", "young", "during")]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "The longest of all rounds is the machine's own, which shows without a walk as well. Where the lock is held for the walk, one fault waits for it all, "
              "and p50 and p99 are that one. Who asks page by page does not count what it finds."]
    return lines


def draw(rows):
    series = {}
    for r in rows:
        if r["ager"] != "alone" and not r.get("hot"):
            alone = next(o["wall_ms"] for o in rows if o["ager"] == "alone" and o["asked"] == r["asked"] and not o.get("hot"))
            series.setdefault(r["ager"], []).append((r["asked"], r["wall_ms"] / alone))
    return svg.lines("all memory written again: time / without an ager", "duty of the ager, %", "times", series)
