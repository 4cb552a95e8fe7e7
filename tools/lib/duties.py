"""What tests/bench/bench_duty.c prints: who writes memory again beside an ager, by the ager's lock and its duty."""

import re

from . import svg
from .comparisons import number


class Unreadable(Exception):
    """No line of a duty."""


def read(output):
    """[{ager, asked, duty, wall_ms, p50, ...}] of the lines that bench_duty prints."""
    rows = []
    for line in re.findall(r"^duty (ager=.*)$", output, re.M):
        row = dict(re.findall(r"(\w+)=([\w.-]+)", line))
        rows.append({k: v if k == "ager" else float(v) for k, v in row.items()})
    if not rows:
        raise Unreadable("bench_duty prints no line of a duty")
    return rows


def markdown(rows):
    lines = ["**A vCPU writes all memory again while another CPU ages for a share of its time** (`make bench BENCH=bench_duty`; native, "
             "two pinned CPUs; time that the vCPU's thread ran, waiting included)", "",
             "| ager | reads between faults | duty asked, % | had | wall, ms | fault p50, ns | p99 | p99.9 | longest, us | a pass, us | both waited for the lock, ms |",
             "|---|---|---|---|---|---|---|---|---|---|---|"]
    for r in rows:
        cells = [r["ager"]] + [number(r.get(k, 0.0)) for k in ("hot", "asked", "duty", "wall_ms", "p50", "p99", "p999", "max_us", "pass_us", "wait_ms")]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Seed 002 shows max_guest_memory_test on an arm64 server with 112 vCPUs: 600 s with the aging of 2024 under the lock, 50 s with "
              "none, 250 s with the old two lists: per-walk, lockless and per-page here. Two CPUs can show the shape (who waits for the ager waits for the share of time "
              "that it holds the lock), and for one who waits. They cannot carry the trend from 1 to 112 vCPUs: there each that waits for the lock makes the next wait "
              "longer, here nobody queues behind the one; nor the swap device, which makes evictions as dear as the lock there."]
    return lines


def draw(rows):
    series = {}
    for r in rows:
        if r["ager"] != "alone" and not r.get("hot"):
            alone = next(o["wall_ms"] for o in rows if o["ager"] == "alone" and o["asked"] == r["asked"] and not o.get("hot"))
            series.setdefault(r["ager"], []).append((r["asked"], r["wall_ms"] / alone))
    return svg.lines("all memory written again: time / without an ager", "duty of the ager, %", "times", series)
