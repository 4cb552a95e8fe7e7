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


def markdown(results):
    """Empty if nothing of it was measured."""
    lines = ["**The seeds' figures beside ours**", "", "| what | there | how it is done here | here |", "|---|---|---|---|"]
    rows = [(what, there, how, value(results)) for what, there, how, value in ROWS]
    lines += [f"| {what} | {there} | {how} | {here or '–'} |" for what, there, how, here in rows]
    lines += ["", "The seeds' are those of servers with 64 and 112 vCPUs and a device to swap to. Ours are one or two CPUs and memory that is packed: only the direction, and "
              "what a lock costs one who waits for it, can be compared."]
    return lines if any(here for *_, here in rows) else []
