"""The seeds' figures beside ours: one table of what both have, ratios only, for the machines have nothing in common."""

import statistics

from .comparisons import number


def _figure(results, name):
    found = next((f for f in results["figures"] if f["name"].startswith(name)), None)
    return number(found["median"]) if found else None


def _ratio(results, comparison, value, label, base):
    """Median over orders of keys of a variant's value ÷ that of another."""
    result = next((c for c in results.get("comparisons", []) if c["name"] == comparison), None)
    rows = {r["label"]: r["values"][value] for r in result["rows"]} if result else {}
    if label not in rows or base not in rows:
        return None
    return number(statistics.median(a / b if b else 0.0 for a, b in zip(rows[label], rows[base])))


def _share(results, part):
    profiled = results.get("profile")
    return f"{profiled['groups'].get(part, 0.0) * 100:.1f} %" if profiled else None


ROWS = (
    ("002: max_guest_memory, run 2; aging under the lock ÷ aging without", "600 s / 50 s = 12", "a vCPU, an ager with 92 % (native)",
     lambda r: _figure(r, "all memory written again, lock held for each walk")),
    ("... old two lists ÷ aging without a lock", "250 s / 50 s = 5", "asked page by page under the lock (native)",
     lambda r: _figure(r, "all memory written again, asked page by page")),
    ("002: share of reclaim in the MMU's write lock", "19.3 %; two lists 9.9 and 19.0 %; without the lock 0", "one CPU, nobody to wait for",
     lambda r: _share(r, "waiting for locks and taking them")),
    ("003: key-value store, gets: operations, 64 entries a call ÷ 1", "1.046", "kv, gets (icount)", lambda r: _ratio(r, "kv-gets", "ops/s", "batch 64", "batch 1")),
    ("... p99", "1.05", "the same", lambda r: _ratio(r, "kv-gets", "p99", "batch 64", "batch 1")),
    ("... p99.9", "0.58", "the same", lambda r: _ratio(r, "kv-gets", "p99.9", "batch 64", "batch 1")),
    ("access_tracking -p, 2 vCPUs: with continuous aging ÷ without", "1.054; not optimised 1.074", "a fault's instructions (icount)",
     lambda r: _figure(r, "a fault beside an ager")),
    ("... 1 vCPU", "1.04; not optimised 1.07", "a vCPU, an ager with 95 % (native)", lambda r: _figure(r, "the same, lockless / without an ager")),
)


# vCPUs: (without aging, s; wall with aging and a pass, s: not optimised; optimised), of access_tracking_perf_test -p -l -b 1G, TDP.
AGING = {1: (0.879, (0.938, 0.00824), (0.912, 0.00731)), 2: (0.985, (1.058, 0.01799), (1.038, 0.01400)), 4: (1.265, (1.319, 0.05616), (1.315, 0.02931)),
         8: (1.474, (1.589, 0.22742), (1.498, 0.06386)), 16: (2.049, (2.399, 1.24714), (2.001, 0.12163)), 32: (3.316, (3.955, 4.34729), (3.355, 0.25089)),
         64: (6.499, (7.128, 9.81559), (6.443, 1.39291)), 112: (8.498, (10.214, 13.47382), (8.897, 2.29222))}
# Of seed 003: a bitmap of 64 entries a call, and one entry a call.
KV = (("seed 003, 64 entries a call", (1012802, 431437, 14965, 62.46, 47, 167, 4319, 39636)), ("seed 003, 1 entry a call", (968210, 412444, 14304, 65.17, 47, 159, 7423, 37891)))
KV_HEADS = ("ops/s", "hits/s", "misses/s", "average", "p50", "p99", "p99.9", "KB/s")


def _compared(results, name):
    """{label: {name of a value: median}} of a comparison; empty if it was not measured."""
    result = next((c for c in results.get("comparisons", []) if c["name"] == name), None)
    return {r["label"]: {k: statistics.median(v) for k, v in r["values"].items()} for r in result["rows"]} if result else {}


def table_of_aging(results):
    ours = _compared(results, "vcpus")
    if not ours:
        return []
    lines = ["| access_tracking -p, vCPUs | there, wall ÷ without aging: not optimised | optimised | a pass, ms | optimised | here, a fault ÷ without aging: locked | lockless | "
             "a pass, us: locked | lockless |", "|---|" + "---|" * 8]
    for n, (alone, before, after) in AGING.items():
        rows = [ours.get(f"{n}, {how}", {}) for how in ("locked per table", "lockless")]
        cells = [number(row[value]) if value in row else "–" for value in ("fault beside / alone", "a pass") for row in rows]
        there = [before[0] / alone, after[0] / alone, before[1] * 1000, after[1] * 1000]
        lines.append(f"| {' | '.join([str(n), *(number(v) for v in there), *cells])} |")
    return lines + ["", "Theirs is the wall time of the slowest vCPU; ours, by turns on one CPU, what a fault costs, in which nobody queues: it does not depend on the number, and theirs does."]


def table_of_kv(results):
    ours = _compared(results, "kv-gets")
    rows = [(f"here, {label}", [ours[label][name] for name in KV_HEADS]) for label in ("batch 64", "batch 1") if label in ours and set(KV_HEADS) <= set(ours[label])]
    if not rows:
        return []
    lines = [f"| kv, gets, times in us | {' | '.join(KV_HEADS)} |", "|---|" + "---|" * len(KV_HEADS)]
    return lines + [f"| {label} | {' | '.join(number(v) for v in values)} |" for label, values in (*KV, *rows)]


def markdown(results):
    """Empty if nothing of it was measured."""
    lines = ["**The seeds' figures beside ours**", "", "| what | there | how it is done here | here |", "|---|---|---|---|"]
    rows = [(what, there, how, value(results)) for what, there, how, value in ROWS]
    lines += [f"| {what} | {there} | {how} | {here or '–'} |" for what, there, how, here in rows]
    lines += ["", "The seeds' are those of servers with 64 and 112 vCPUs and a device to swap to. Ours are one or two CPUs and memory that is packed: only the direction, and "
              "what a lock costs one who waits for it, can be compared."]
    if not any(here for *_, here in rows):
        return []
    for table in filter(None, (table_of_kv(results), table_of_aging(results))):
        lines += ["", *table]
    return lines
