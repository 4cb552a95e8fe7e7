"""The figures that tools/bench measures one by one, and what is to be reached."""

import statistics
from dataclasses import dataclass

DUTIES_OF_FIGURES = "bench_duty 92 95"
DUTY_OF_WORKERS = "bench_duty hot=512 92"
STALL = "bench_stall"


@dataclass(frozen=True)
class Figure:
    name: str
    unit: str
    reach: float | None  # at most; None: reported only
    linux: str  # the same of Linux 7.2 KVM on the same emulated machine
    scenario: str  # or, of a native figure, the program in tests/bench with its arguments
    runs: int
    icount: bool
    value: str  # name of the function below that reads it from a run's folder
    mem_mib: int = 512  # of the machine
    at_least: bool = False  # `reach` is a lower bound
    native: bool = False
    args: str = ""  # words for the hypervisor's command line

    def reached(self, values):
        if self.reach is None:
            return None
        return min(values) >= self.reach if self.at_least else max(values) <= self.reach


def measured(name, unit, values, reach, scenario, how, linux="", at_least=True):
    """A figure that was measured, as results have it: `values` of its runs."""
    figure = Figure(name, unit, reach, linux, scenario, len(values), False, "", at_least=at_least)
    return {"name": name, "unit": unit, "reach": reach, "at_least": at_least, "linux": linux, "scenario": scenario, "how": how, "values": values,
            "median": statistics.median(values), "min": min(values), "max": max(values), "reached": figure.reached(values)}


def native(name, unit, reach, program, value, linux="", runs=3, at_least=False):
    return Figure(name, unit, reach, linux, program, runs, False, value, at_least=at_least, native=True)


LOCKED = (("lockless harvests", "harvest"), ("harvests under the write side", "harvest-locked"), ("harvests under the read side", "harvest-read"))
FIGURES = (
    Figure("handled CPUID exit, round trip", "instructions", 800, "1830 to 4800", "bench-cpuid", 3, True, "bench_line:cpuid"),
    Figure("first touch of a page", "instructions", 3000, "12 800", "bench-fault", 3, True, "bench_line:fault"),
    Figure("first touch of a page on shadow tables", "instructions", 3500, "15 400", "bench-fault", 3, True, "bench_line:fault",
           args="vm.bench.mmu=shadow"),
    Figure("image to the first line of a guest", "s wall", 1.0, "3 to 4", "smoke", 7, False, "first_guest"),
    Figure("hypervisor memory per frame of a 512 MiB guest at rest", "bytes", 96, "", "bench-rest", 3, False, "bytes_per_frame", 768),
    Figure("pool bytes with all overhead / compressed bytes", "ratio", 1.10, "", "bench-pool", 3, False, "pool_overhead"),
    Figure("a pass per resident page, all young, list work included", "instructions", 40, "1040 to 1340", "bench-aging", 1, True, "aging"),
    Figure("a pass per resident page, all old, list work included", "instructions", 8, "", "bench-aging", 1, True, "aging",
           args='vm.sparse.args="what=none seconds=2"'),
    Figure("a pass on shadow tables per resident page, all young, list work included", "instructions", 120, "770 to 885", "bench-aging", 1, True, "aging",
           args="vm.sparse.mmu=shadow"),
    Figure("a pass, 1/64 of the 2 MiB blocks touched / all", "ratio", 0.05, "1", "bench-aging-blocks", 1, True, "aging:bench-aging"),
    Figure("`- VM GEN SWAPPINESS NR`: frames freed minus NR, at worst", "frames", 64, "", "accuracy", 3, False, "accuracy"),
    Figure("false-old rate with `flush = per-pass`: touched pages that a pass declares cold", "share", 0, "", "oracle", 1, False, "false_old",
           args='host.flush=per-pass vm.oracle.args="seconds=16 interval=500"'),
    native("harvest / floor, none young", "ratio", 1.25, "bench_harvest", "bench_line:harvest/floor-0"),
    native("harvest / floor, 10 % young", "ratio", 1.25, "bench_harvest", "bench_line:harvest/floor-10"),
    native("harvest / floor, 50 % young", "ratio", 1.25, "bench_harvest", "bench_line:harvest/floor-50", "naive loop: up to 2.9"),
    native("harvest / floor, all young", "ratio", 1.25, "bench_harvest", "bench_line:harvest/floor-100"),
    native("harvest, one CPU / two CPUs, none young", "times", 1.85, "bench_scale", "bench_line:two-cpus-0", at_least=True),
    native("harvest, one CPU / two CPUs, half young", "times", 1.85, "bench_scale", "bench_line:two-cpus-50", at_least=True),
    native("harvest, one CPU / two CPUs, all young", "times", 1.85, "bench_scale", "bench_line:two-cpus-100", at_least=True),
    native("fault p99, tables harvested without a pause / not", "ratio", 1.10, "bench_fault", "bench_line:fault-p99-harvest",
           "locked per table: 4.2 to 4.9"),
    native("the same under the MMU lock", "ratio", None, "bench_fault", "bench_line:fault-p99-harvest-locked"),
    native("the same under its read side", "ratio", None, "bench_fault", "bench_line:fault-p99-harvest-read"),
    *(native(f"an eviction's begin and end, median, beside {how}", "ns", None, "bench_fault", f"bench_line:writer-p500-aged-{name}") for how, name in LOCKED),
    *(native(f"a table, {how}, beside a CPU that only invalidates", "ns", None, "bench_fault", f"bench_line:reader-table-written-{name}") for how, name in LOCKED),
    native("the same with whole passes, nothing evicted", "ratio", None, "bench_fault", "bench_line:fault-p99-pass"),
    Figure("a fault beside an ager that has 92 % of the time / alone (access_tracking -p, two vCPUs)", "ratio", 1.05, "1.054 to 1.074", "access-tracking-p", 1,
           True, "beside:fault_ratio_permille", args='vm.track.vcpus=2 vm.track.args="mode=p duty=92 rounds=2"'),
    Figure("CPUID on the bare emulated machine, the same loop", "instructions", None, "", "bench-cpuid", 1, True, "bare:cpuid"),
    Figure("first touch of a page on the bare emulated machine, the same loop", "instructions", None, "", "bench-fault", 1, True, "bare:fault"),
    Figure("a CPUID exit with nothing around it: enter, leave, step over it (SVM on the bare emulated machine)", "instructions", None, "", "bench-cpuid", 1, True,
           "bare:floor-cpuid"),
    Figure("a first touch with nothing around it: nested fault, page cleared, entry written (the same)", "instructions", None, "", "bench-fault", 1, True,
           "bare:floor-fault"),
    native("all memory written again, lock held for each walk / lockless, duty 92 %", "times", None, DUTIES_OF_FIGURES, "bench_line:duty-92-wall-per-walk"),
    native("the same, duty 95 %", "times", 9, DUTIES_OF_FIGURES, "bench_line:duty-95-wall-per-walk", "seed 002, 64 vCPUs: 600 s / 50 s", at_least=True),
    native("the same, lockless / without an ager, duty 95 %", "times", 1.05, DUTIES_OF_FIGURES, "bench_line:duty-95-wall-lockless", "1.054 to 1.074"),
    native("longest fault while a walk is on, 256 MiB touched since the last; lock held for the walk / lockless", "times", 100, STALL,
           "bench_line:walk-longest-per-walk", at_least=True),
    native("longest fault, no walk / a lockless one", "times", None, STALL, "bench_line:walk-longest-alone"),
    native("fault p99 while such a walk is on, lock held for the harvest of each table / lockless", "times", 4, STALL, "bench_line:walk-p99-per-table",
           "lock per table: 4.2 to 4.9", at_least=True),
    native("the same, lock held for all work on a table", "times", None, STALL, "bench_line:walk-p99-per-block"),
    native("fault p99, no walk / a lockless one", "times", None, STALL, "bench_line:walk-p99-alone"),
    native("longest fault beside an ager with a duty of 92 %, lock held for each walk / lockless", "times", None, DUTIES_OF_FIGURES,
           "bench_line:duty-92-stall-per-walk"),
    native("fault p99 there, lock held for all work on a table / lockless, a guest that reads 512 pages between faults", "times", None, DUTY_OF_WORKERS,
           "bench_line:hot-92-p99-per-block", runs=1),
    native("the same, lock held for the harvest of a table only", "times", None, DUTY_OF_WORKERS, "bench_line:hot-92-p99-per-table", runs=1),
    native("the same, a guest that does nothing but fault", "times", None, DUTIES_OF_FIGURES, "bench_line:duty-92-p99-per-table"),
    native("all memory written again, asked page by page under the lock / lockless, duty 92 %", "times", None, DUTIES_OF_FIGURES, "bench_line:duty-92-wall-per-page",
           "seed 002, two lists: 250 s / 50 s"),
    native("a pass per resident page, all young", "instructions", 40, "bench_pass young 6", "callgrind", "1040 to 1340", 1),
    native("a pass per resident page, all old", "instructions", 8, "bench_pass old 6", "callgrind", "", 1),
    native("a pass with a shadow MMU that has no page / TDP only, all young", "ratio", 1.02, "bench_pass both 6", "callgrind:bench_pass young 6", "", 1),
    native("a pass through reverse maps per resident page, all young", "instructions", 120, "bench_shadow young 6", "callgrind", "770 to 885", 1),
    native("a pass through reverse maps per resident page, all old", "instructions", None, "bench_shadow old 6", "callgrind", "", 1),
    native("a pass, 1/64 of the tables touched / all", "ratio", 0.05, "bench_pass sparse 6", "callgrind:bench_pass young 6", "1", 1),
)
