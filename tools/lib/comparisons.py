"""What is compared with what: boots of one scenario that differ in one setting.

Those that do not say `multi` run under `-icount shift=0` on one CPU: a virtual nanosecond is an instruction, each boot repeats to the
digit, and what else the machine does cannot be seen in them. The spread is that over several orders of keys (`seed`).
What they cannot show: caches, TLBs that outlive an access, waiting for another CPU. That is measured natively, and, with
QEMU's two threads for two CPUs (`multi`), in wall-clock time, which is that of the emulator.
"""

import json
import os
import re
import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Comparison:
    name: str
    title: str
    scenario: str
    args: str  # of the scenario's guest, `{seed}` is the number of the round
    vm: str
    variants: tuple  # (label, words for the hypervisor's command line); the first is what the others differ from
    values: tuple  # names of VALUES
    rounds: int
    said: str  # what the seeds say of it
    mem_mib: int = 512
    words: str = ""  # for all variants
    multi: bool = False  # two CPUs at once and wall-clock time, not icount on one
    series: tuple = ()  # what is shown over time: (name of x, name of y, how a folder says [(x, y)])


class Unreadable(Exception):
    """A boot that does not say what is asked for."""


def _console(folder, pattern, kind=float):
    with open(os.path.join(folder, "console.log"), encoding="utf-8", errors="replace") as f:
        found = re.findall(pattern, f.read())
    if not found:
        raise Unreadable(f"{folder}: nothing like {pattern}")
    return kind(found[-1])


def _last(folder, key):
    """Of all VMs together, in their last records."""
    last = {}
    with open(os.path.join(folder, "stats.jsonl"), encoding="utf-8", errors="replace") as f:
        for line in f:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if record.get("type") == "vm":
                last[record["vm"]] = record
    if not last:
        raise Unreadable(f"{folder}: no record of a VM")
    return sum(r[key] for r in last.values())


def _rescues(folder):
    """[(round, rescued so far ÷ evicted so far)] that the guest sink tells."""
    with open(os.path.join(folder, "console.log"), encoding="utf-8", errors="replace") as f:
        found = re.findall(r"\bbench sink round=(\d+) .*\brescued=(\d+) evicted=(\d+)", f.read())
    if not found:
        raise Unreadable(f"{folder}: no round of sink")
    return [(int(number), _share(int(rescued), int(evicted))) for number, rescued, evicted in found]


def _share(part, whole):
    return part / whole if whole else 0.0


# name: (unit, more is better: True, less: False, neither: None, how it is read)
VALUES = {
    "ops/s": ("1/s", True, lambda d: _console(d, r"\bops_per_s=(\d+)")),
    "p50": ("us", False, lambda d: _console(d, r"\bp50_ns=(\d+)") / 1000),
    "p99": ("us", False, lambda d: _console(d, r"\bp99_ns=(\d+)") / 1000),
    "p99.9": ("us", False, lambda d: _console(d, r"\bp99.9_ns=(\d+)") / 1000),
    "refaults, measured part": ("", False, lambda d: _console(d, r"\bbench workload refaults=(\d+)")),
    "hot ones away": ("", False, lambda d: _console(d, r"\bbench workload hot .*\baway=(\d+)")),
    "pages": ("", None, lambda d: _console(d, r"\bbench workload work=.*\bpages=(\d+)")),
    "sum of touches": ("", None, lambda d: _console(d, r"\bbench workload sum=(\d+)", int)),
    "resident": ("", None, lambda d: _last(d, "resident")),
    "refaults": ("", False, lambda d: _last(d, "refaults_total")),
    "evictions": ("", None, lambda d: _last(d, "evictions_total")),
    "rejected": ("", None, lambda d: _last(d, "rejected_total")),
    "rejected / evicted": ("", False, lambda d: _share(_last(d, "rejected_total"), _last(d, "evictions_total"))),
    "looked around": ("", None, lambda d: _last(d, "lookarounds_total")),
    "promoted so": ("", None, lambda d: _last(d, "lookaround_promoted_total")),
    "tables read": ("", None, lambda d: _last(d, "tables_visited_total")),
    "aging": ("ms", False, lambda d: _last(d, "aging_ns_total") / 1e6),
    "passes": ("", None, lambda d: _last(d, "passes_total")),
    "fault p99": ("us", False, lambda d: _last(d, "fault_p99_ns") / 1000),
    # What the seeds' guests say themselves, of the part that they measure.
    "run 2": ("ms", False, lambda d: _console(d, r"\bmax_memory run=2 ns=(\d+)") / 1e6),
    "run 1": ("ms", False, lambda d: _console(d, r"\bmax_memory run=1 ns=(\d+)") / 1e6),
    "reset": ("ms", False, lambda d: _console(d, r"\bmax_memory reset ns=(\d+)") / 1e6),
    # The stages of mmu_stress, and the writes that were caught.
    **{name: ("ms", False, lambda d, stage=stage: _console(d, rf"\bmmu_stress stage={stage} ns=(\d+)") / 1e6)
       for name, stage in (("write", "run1"), ("zap", "zap"), ("write again", "run2"), ("read", "read"), ("write in vain", "ro"), ("write until it works", "rw"),
                           ("slots", "slots"))},
    "caught": ("", None, lambda d: _console(d, r"\bmmu_stress caught=(\d+)")),
    "rescued / evicted": ("", False, lambda d: _console(d, r"\brescues_per_evicted_permille=(\d+)") / 1000),
    # Runs of max_memory beside the hypervisor's own ager (guest-tests/max_memory): the last of each kind.
    "alone": ("ms", False, lambda d: _console(d, r"\bmax_memory_beside run=(?:\d+) work=none (?s:.)*?max_memory run=(?!1 )\d+ ns=(\d+)") / 1e6),
    "beside": ("ms", False, lambda d: _console(d, r"\bmax_memory_beside run=(?:\d+) work=passes (?s:.)*?max_memory run=\d+ ns=(\d+)") / 1e6),
    "duty had": ("%", None, lambda d: _console(d, r"\bwork=passes asked=\d+ had_permille=(\d+)") / 10),
    "a pass": ("us", False, lambda d: _console(d, r"\bwork=passes .*\bpass_ns=(\d+)") / 1000),
    "p50 beside": ("us", False, lambda d: _console(d, r"\bwork=passes .*\bp50_ns=(\d+)") / 1000),
    "p99 beside": ("us", False, lambda d: _console(d, r"\bwork=passes .*\bp99_ns=(\d+)") / 1000),
    "p99.9 beside": ("us", False, lambda d: _console(d, r"\bwork=passes .*\bp999_ns=(\d+)") / 1000),
    "longest": ("us", False, lambda d: _console(d, r"\bwork=passes .*\bmax_ns=(\d+)") / 1000),
    "lock wait": ("ms", False, lambda d: _console(d, r"\bwork=passes .*\block_wait_ns=(\d+)") / 1e6),
    # access_tracking -p: the last round beside the ager, and all of them.
    "fault beside / alone": ("", False, lambda d: _console(d, r"\baccess_tracking_p total .*\bfault_ratio_permille=(\d+)") / 1000),
    "passes beside": ("", None, lambda d: _console(d, r"\baccess_tracking_p_beside .*\bwork=passes .*\bpasses=(\d+)")),
    "a fault": ("ns", False, lambda d: _console(d, r"\baccess_tracking_p_beside .*\bwork=passes .*\bmean_ns=(\d+)")),
    "faults' p99.9": ("ns", False, lambda d: _console(d, r"\baccess_tracking_p_beside .*\bwork=passes .*\bp999_ns=(\d+)")),
    # The line of totals of kv, as the seed has it.
    **{name: (unit, more, lambda d, word=word, scale=scale: _console(d, rf"\bbench kv type=totals .*\b{word}=(\d+)") / scale)
       for name, unit, more, word, scale in (("hits/s", "1/s", True, "hits_per_s", 1), ("misses/s", "1/s", None, "misses_per_s", 1),
                                             ("average", "us", False, "avg_ns", 1000), ("KB/s", "", True, "kb_per_s", 1))},
    "worst fault": ("us", False, lambda d: _last(d, "fault_max_ns") / 1000),
}

POLICIES = (
    ("as it is", ""),
    ("batch 64", "host.batch=64"),
    ("batch 1", "host.batch=1"),
    ("look-around off", "host.lookaround=off"),
    ("look-around all", "host.lookaround=all"),
    ("one touch promotes", "host.two_touch=no"),
    ("no walks", "host.caps=0x9"),
    ("no non-leaf bits", "host.caps=0xb"),
    ("flush per-pass", "host.flush=per-pass"),
    ("flush sampled", "host.flush=sampled"),
    ("locked per table", "host.reclaim=locked"),
    ("the fault is a touch", "host.fault_touch=yes"),
    ("twolist", "host.policy=twolist"),
)
PAIR = (POLICIES[0], POLICIES[6], POLICIES[5], POLICIES[-1])
KV_VALUES = ("ops/s", "p50", "p99", "p99.9", "refaults", "rejected / evicted", "promoted so", "tables read", "aging")

SEED_VALUES = ("ops/s", "hits/s", "misses/s", "average", "p50", "p99", "p99.9", "KB/s")

MMUS = (
    ("TDP", "vm.kv.mmu=tdp"),
    ("shadow", "vm.kv.mmu=shadow"),
    ("both, a vCPU on each", "vm.kv.mmu=both"),
    ("TDP, access-tracked", "vm.kv.mmu=tdp vm.kv.ad=off"),
    ("shadow, access-tracked", "vm.kv.mmu=shadow vm.kv.ad=off"),
)
STAGES = ("write again", "write", "zap", "read", "write in vain", "caught", "write until it works", "slots")
VCPUS = tuple((f"{n}, lockless", f"vm.track.vcpus={n}") for n in (1, 2, 4, 8)) + tuple(
    (f"{n}, locked per table", f"vm.track.vcpus={n} host.reclaim=locked") for n in (1, 2, 4, 8))
MMU_VALUES = ("ops/s", "p99", "p99.9", "fault p99", "worst fault", "refaults", "evictions", "aging")

WORK_POLICIES = (
    ("mglru", ""),
    ("twolist", "host.policy=twolist"),
    ("mglru, look-around off", "host.lookaround=off"),
    ("mglru, one touch promotes", "host.two_touch=no"),
    ("mglru, the fault is a touch", "host.fault_touch=yes"),
    ("mglru, no walks", "host.caps=0x9"),
    ("mglru, flush sampled", "host.flush=sampled"),
    ("mglru, flush per-pass", "host.flush=per-pass"),
    ("mglru, access-tracked", "vm.work.ad=off"),
    ("mglru, shadow tables", "vm.work.mmu=shadow"),
    ("mglru, TDP and shadow", "vm.work.mmu=both"),
)


def workload(work, title, said=""):
    return Comparison(f"work-{work}", title, "workload", f"work={work} warm=30000 ops=60000 seed={{seed}}", "work", WORK_POLICIES,
                      ("refaults, measured part", "hot ones away", "ops/s", "evictions", "aging"), 3, said, words="host.aging=1s")


COMPARISONS = (
    workload("zipf", "random touches, zipf 1.2, twice as much as fits"),
    workload("scan", "the same, and every fourth touch walks through all memory"),
    workload("phase", "zipf, and other pages are the hot ones after each of four phases"),
    workload("dense", "every page in turn, again and again: the worst case of every policy of recency"),
    Comparison("kv-zipf", "kv, zipf 0.99, values of 2 KiB, twice as much as fits", "kv", "value=2048 zipf=0.99 ops=15000 seed={seed}", "kv",
               POLICIES, KV_VALUES, 3,
               "Seed 003, Altra Max, memcached in a VM: batches of 64 against 1 gave +4.6 % operations/s (1 012 802 against 968 210), p99.9 4.319 "
               "against 7.423 ms, p99 0.167 against 0.159 ms."),
    Comparison("kv-uniform", "the same, keys uniform: there is nothing to find", "kv", "value=2048 zipf=0 ops=8000 seed={seed}", "kv",
               POLICIES[:4] + POLICIES[5:7] + POLICIES[-1:], KV_VALUES, 3, ""),
    Comparison("kv-gets", "kv as the seed has it: gets only, one of 30 misses; zipf 0.99", "kv", "value=2048 zipf=0.99 sets=0 absent=3 ops=15000 seed={seed}", "kv",
               POLICIES[:3] + POLICIES[-1:], SEED_VALUES, 3,
               "Seed 003 (Altra Max, swap on Optane), a bitmap of 64 entries a call: 1 012 802 ops/s, 431 437 hits/s, 14 965 misses/s, average 62 us, p50 47 us, p99 "
               "167 us, p99.9 4319 us, 39 636 KB/s; one entry a call: 968 210, 412 444, 14 304, 65 us, 47 us, 159 us, 7423 us, 37 891."),
    Comparison("kv-mmu", "kv as above, by what translates for the guest, and how it is aged", "kv", "value=2048 zipf=0.99 ops=15000 seed={seed}", "kv",
               MMUS, MMU_VALUES, 3, "Without Accessed bits a look at a page costs the guest a fault."),
    Comparison("look-around", "kv as above, beside an MMU that can only unmap: of two MMUs one is fast", "kv", "value=2048 zipf=0.99 ops=8000 seed={seed}", "kv",
               (POLICIES[0], POLICIES[3], POLICIES[4]), ("promoted so", "looked around", "ops/s", "p99", "refaults", "rejected / evicted", "aging"), 3,
               "Seeds 001 and 003: look around where any MMU that answers fast saw the page young, which is the rule as it is, or only where all are fast. Where all are "
               "(the tables above), the two are one; beside one that is not, `all` is as good as off.", words="vm.kv.null=yes"),
    Comparison("max-memory", "every page of twice the memory written again by two vCPUs", "max-memory", "zap", "max",
               (PAIR[0], PAIR[1], POLICIES[10], PAIR[3]), ("run 2", "run 1", "reset", "refaults", "rejected / evicted", "aging"), 1,
               "Seed 002, 64 vCPUs: 50 s against 600 s with the lock and 250 s with two lists. One CPU has nobody to wait for: here the lock "
               "costs its instructions."),
    Comparison("mmu-stress", "mmu_stress: what happens to an MMU, stage by stage, with ager and evictor at work", "mmu-stress", "all rounds=2", "stress",
               tuple((label, words.replace("vm.kv.", "vm.stress.")) for label, words in MMUS), STAGES, 1,
               "Seed 000 names the test and that it was run with TDP and without, and no figures."),
    Comparison("vcpus", "access_tracking -p: memory faulted in for the first time by so many vCPUs, beside the hypervisor's own ager (92 % asked)",
               "access-tracking-p", "mode=p duty=92 rounds=2", "track", VCPUS, ("fault beside / alone", "a fault", "faults' p99.9", "a pass", "passes beside", "duty had"), 1,
               "The reference, TDP, wall time with aging ÷ without, and a pass, before and after its optimisation: 1 vCPU 1.07 and 1.04, 8.2 and 7.3 ms; 2: 1.07 and "
               "1.05, 18 and 14 ms; 8: 1.08 and 1.02, 227 and 64 ms; 32: 1.19 and 1.01, 4.3 and 0.25 s; 112: 1.20 and 1.05, 13 and 2.3 s. One CPU runs the vCPUs by turns "
               "here, and under icount: what a fault and a pass cost in instructions is all that can be shown, and it does not depend on the number. That vCPUs queue for a "
               "lock, which is what the reference's table is about, takes CPUs."),
    Comparison("own-ager", "all memory written again, by one vCPU, beside the hypervisor's own ager with 92 % of the other CPU", "max-memory",
               "zap runs=7 duty=92 region=3000", "max", (("lockless", "host.reclaim=lockless"), ("locked per table", "host.reclaim=locked"), ("under the read side", "host.reclaim=read")),
               ("beside", "alone", "duty had", "a pass", "p50 beside", "p99 beside", "p99.9 beside", "longest", "lock wait"), 3,
               "Two threads of QEMU are the two CPUs, and share two CPUs with the rest of the machine: a CPU that is not run while it holds the lock makes the "
               "others wait, so that the longest and p99.9 are the emulator's, `had` is less than what was asked for, and the ratios are none of Varve's. "
               "What counts natively is the table by duty.", words="vm.max.vcpus=1", multi=True),
    Comparison("sink", "a quarter of the pages used all the time, through second-level tables only", "sink", "rounds=12", "sink",
               (("walks", "host.caps=0xf"), ("no walks", "host.caps=0xd")), ("rescued / evicted", "rejected", "promoted so", "aging"), 1,
               "Seed 003: pages of VMs always sink to the oldest generation, where the evictor rescues them.",
               series=("round", "rescued / evicted so far", _rescues)),
)


@dataclass
class Measured:
    label: str
    values: dict = field(default_factory=dict)  # name of a value: [of each round]


def words_for(comparison, words, seed):
    """The hypervisor's command line for one boot."""
    args = comparison.args.format(seed=seed)
    return " ".join(filter(None, [comparison.words, words, f'vm.{comparison.vm}.args="{args}"']))


def measure(comparison, boot, rounds=None, jobs=1):
    """
    Boots every variant in every round, A B C A B C; `boot(comparison, words, number)` returns a folder. As many boots at a time as
    `jobs`, unless their time is that of the wall.
    """
    table = [Measured(label) for label, _ in comparison.variants]
    turns = [(row, words, number, f"{number}-{variant}") for number in range(rounds or comparison.rounds)
             for variant, (row, (_, words)) in enumerate(zip(table, comparison.variants))]
    with ThreadPoolExecutor(1 if comparison.multi else jobs) as pool:
        folders = list(pool.map(lambda t: boot(comparison, words_for(comparison, t[1], t[2] + 1), t[3]), turns))
    for (row, *_), folder in zip(turns, folders):
        for name in comparison.values:
            row.values.setdefault(name, []).append(VALUES[name][2](folder))
    result = {"name": comparison.name, "title": comparison.title, "said": comparison.said, "how": "multi" if comparison.multi else "icount",
              "rows": [{"label": row.label, "values": row.values} for row in table]}
    if comparison.series:
        x_name, y_name, read = comparison.series
        result["series"] = {"x": x_name, "y": y_name, "of": {row.label: read(folder) for row, folder in zip(table, folders)}}
    return result


def ratios(result, row, name):
    """Of a variant to the first one, round by round."""
    base = result["rows"][0]["values"][name]
    return [value / other if other else 0.0 for value, other in zip(row["values"][name], base)]


def number(value):
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _cell(values):
    middle = number(statistics.median(values))
    return middle if len(values) < 2 or min(values) == max(values) else f"{middle} ({number(min(values))} to {number(max(values))})"


def _over_time(series):
    """Of the first round of boots."""
    xs = sorted({x for points in series["of"].values() for x, _ in points})
    lines = [f"| {series['y']}, by {series['x']} | {' | '.join(map(str, xs))} |", "|---|" + "---|" * len(xs)]
    for label, points in series["of"].items():
        at = dict(map(tuple, points))
        lines.append(f"| {label} | {' | '.join(number(at[x]) if x in at else '–' for x in xs)} |")
    return lines


def markdown(result):
    names = list(result["rows"][0]["values"])
    first = names[0]
    heads = [f"{n}{', ' + VALUES[n][0] if VALUES[n][0] else ''}" for n in names]
    rounds = len(result["rows"][0]["values"][first])
    samples = "boots" if result["how"] == "multi" else "orders of keys"
    spread = f"{rounds} {samples}: median, least and most" if rounds > 1 else f"one of several {samples}"
    how = "two threads for two CPUs, wall-clock time" if result["how"] == "multi" else "icount"
    lines = [f"**{result['title']}** (`make bench BENCH={result['name']}`; {how}; {spread})",
             "", f"| variant | {' | '.join(heads)} | {first} / first row |", "|---|" + "---|" * (len(names) + 1)]
    for row in result["rows"]:
        cells = [_cell(row["values"][n]) for n in names]
        lines.append(f"| {row['label']} | {' | '.join(cells)} | {_cell(ratios(result, row, first))} |")
    if result["said"]:
        lines += ["", result["said"]]
    if result.get("series"):
        lines += ["", *_over_time(result["series"])]
    return "\n".join(lines) + "\n"
