#!/usr/bin/env python3
"""Boots what tests/system/list names, and compares each boot with what the list expects.

A boot is judged by its verdict, by a pattern on its console, and by its JSON lines: every one must
parse, and the last must agree with the console.
"""

import argparse
import json
import os
import re
import shlex
import sys
import threading
from dataclasses import dataclass, field

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[0] = ROOT
sys.dont_write_bytecode = True

from tests.lib import variants  # noqa: E402
from tests.lib.report import Report, run  # noqa: E402
from tests.system import badimages, flatimage  # noqa: E402
from tests.tools.load import load_tool  # noqa: E402
from tools.lib import machines  # noqa: E402

LIST = os.path.join(ROOT, "tests", "system", "list")
BY_NAME = os.path.join(ROOT, "tests", "system", "list-by-name")  # run only when they are named
SCENARIO_PLACES = ("tools/scenarios", "tests/system", "tests/system/bad")
trace = load_tool("trace")
SLOTS = 2  # emulator threads that run at a time
TRIES = 3
CHECK = "check="
VARIANT = "build="
AGAIN = "again"
CHECK_S = 60


@dataclass
class Test:
    name: str
    machine: str
    cpus: int
    timeout_s: int
    scenario: str
    verdict: str  # pass or fail
    pattern: str = ""
    options: list = field(default_factory=list)
    check: list = field(default_factory=list)  # a program of tools/ with arguments, to be asked about the boot's folder
    variant: str = ""  # an image of tests/lib/variants.py instead of the usual one
    again: bool = False  # what is expected takes an emulator that is not held up

    @property
    def multi(self):
        return "--multi" in self.options

    @property
    def slots(self):
        return SLOTS if self.multi else 1

    @property
    def tries(self):
        """QEMU with a thread for each CPU breaks guests by itself now and then (docs/decisions.md, 17); `again`: see the list."""
        return TRIES if self.multi or self.again else 1


def parse_line(line):
    words = shlex.split(line, comments=False)
    if len(words) < 6:
        raise ValueError("six columns wanted")
    verdict, _, pattern = words[5].partition("=")
    if verdict not in ("pass", "fail"):
        raise ValueError(f"expectation '{verdict}' is neither pass nor fail")
    re.compile(pattern)
    checks = [w[len(CHECK):].split() for w in words[6:] if w.startswith(CHECK)]
    variant = [w[len(VARIANT):] for w in words[6:] if w.startswith(VARIANT)]
    if [v for v in variant if v not in variants.NAMES] or len(variant) > 1:
        raise ValueError(f"{' '.join(variant)}: allowed is one of {' '.join(variants.NAMES)}")
    options = [w for w in words[6:] if not w.startswith((CHECK, VARIANT)) and w != AGAIN]
    return Test(words[0], words[1], int(words[2]), int(words[3]), words[4], verdict, pattern, options, sum(checks, []), "".join(variant),
                AGAIN in words[6:])


def read_list(*paths):
    """The boots of these lists; of tests/system/list if none is named."""
    tests = []
    for path in paths or [LIST]:
        with open(path, encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                if not line.strip() or line.startswith("#"):
                    continue
                try:
                    tests.append(parse_line(line))
                except ValueError as e:
                    raise SystemExit(f"{path}:{number}: {e}") from e
    names = [t.name for t in tests]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise SystemExit(f"{' '.join(paths) or LIST}: names stand twice: {' '.join(twice)}")
    return tests


def scenario_path(name):
    for place in SCENARIO_PLACES:
        path = os.path.join(ROOT, place, name + ".cfg")
        if os.path.exists(path):
            return path
    return None


def stats_problem(path, verdict):
    """What is wrong with the JSON lines of a boot that ended with `verdict`, or None.

    A boot that fails may have died in the middle of a line, and before the verdict's record.
    """
    lines = machines.read_text(path).splitlines()
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
            if records[-1].get("type") == "trace":
                trace.events_of(records[-1], f"stats.jsonl:{number}")
        except trace.Unreadable as e:
            return str(e)
        except ValueError:
            if verdict == "pass" or number < len(lines):
                return f"stats.jsonl:{number} is no JSON: {line[:60]}"
    if verdict == "pass" and not records:
        return "stats.jsonl is empty"
    if verdict == "pass" and (records[-1].get("type"), records[-1].get("verdict")) != ("verdict", "PASS"):
        return "the last JSON line is no verdict PASS"
    return None


def judge(test, status, output, out):
    """Why the boot is not what was expected, or None. `output` is what tools/run said."""
    console = machines.read_text(os.path.join(out, "console.log"))
    lines = [line for line in console.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    if status is None:
        return "tools/run did not end"
    if status not in (0, 1) or not last.startswith("VARVE: "):
        return output.strip().splitlines()[-1] if output.strip() else f"exit status {status}"
    if (status == 0) != (test.verdict == "pass") or not last.startswith(f"VARVE: {test.verdict.upper()}"):
        return f"expected {test.verdict}, got: {last}"
    if test.verdict == "fail" and "run:" in output:
        return output[output.index("run:"):].splitlines()[0]
    if test.pattern and not re.search(test.pattern, console + output, re.M):
        return f"nothing on the console, or behind it, matches /{test.pattern}/"
    return stats_problem(os.path.join(out, "stats.jsonl"), test.verdict)


def check(test, out):
    """What the row's own program does not like about the boot, or None."""
    if not test.check:
        return None
    program, *arguments = test.check
    status, output, _ = run([sys.executable, "-B", os.path.join(ROOT, "tools", program), *arguments, out], CHECK_S, cwd=ROOT)
    said = output.strip().splitlines()
    return None if status == 0 else said[-1] if said else f"{program} ends with {status}"


def boot(test, command, out):
    """(why the boot is not what was expected, or None; seconds it took)."""
    status, output, seconds = run(command, test.timeout_s + 30, cwd=ROOT)
    with open(os.path.join(out, "run.log"), "w", encoding="utf-8") as f:
        f.write(f"{shlex.join(command)}\n{output}")
    output = "\n".join(line for line in output.splitlines() if not line.startswith("run: warning:"))
    return judge(test, status, output, out) or check(test, out), seconds


def run_one(report, build, test):
    label = f"system/{test.name}"
    if test.machine in machines.MACHINES and machines.problem(machines.MACHINES[test.machine]):
        report.skip(label, machines.problem(machines.MACHINES[test.machine]))
        return
    scenario = scenario_path(test.scenario)
    if not scenario:
        report.fail(label, f"there is no scenario {test.scenario}.cfg")
        return
    out = os.path.join(ROOT, "out", "test", test.name)
    os.makedirs(out, exist_ok=True)
    command = [sys.executable, "-B", os.path.join(ROOT, "tools", "run"), "--quiet", "--build", build]
    command += ["--machine", test.machine, "--cpus", str(test.cpus), "--timeout", str(test.timeout_s)]
    command += ["--scenario", scenario, "--out", out, *test.options]
    if test.variant:
        kernel = test.machine in machines.MACHINES and machines.MACHINES[test.machine].emulator == "qemu"
        command += ["--kernel", variants.image(build, test.variant, "32.elf" if kernel else ".elf")]
    notes = []
    for _ in range(test.tries):
        why, seconds = boot(test, command, out)
        if not why:
            report.ok(label, "; ".join([f"{seconds:.1f} s", *notes]))
            return
        notes.append(f"a try before: {why}")
    report.fail(label, why, machines.read_text(os.path.join(out, "console.log")), tail=8)


class Slots:
    """Hands out emulated CPUs, so that two small boots run at a time, or a large one alone."""

    def __init__(self, total):
        self.free = total
        self.changed = threading.Condition()

    def take(self, n):
        with self.changed:
            self.changed.wait_for(lambda: self.free >= n)
            self.free -= n

    def give(self, n):
        with self.changed:
            self.free += n
            self.changed.notify_all()


def run_all(report, build, tests):
    build = os.path.abspath(build)
    badimages.write_all(os.path.join(build, "guests"))
    flatimage.write(os.path.join(build, "guests"))
    slots = Slots(SLOTS)
    broken = {v: variants.make(build, v) for v in sorted({t.variant for t in tests if t.variant})}

    def work(test):
        try:
            if broken.get(test.variant):
                report.fail(f"system/{test.name}", f"the variant {test.variant} does not build", broken[test.variant])
            else:
                run_one(report, build, test)
        except Exception as e:  # a broken test must not look like one that was never there
            report.fail(f"system/{test.name}", f"{type(e).__name__}: {e}")
        finally:
            slots.give(test.slots)

    threads = []
    for test in sorted(tests, key=lambda t: -t.slots):
        slots.take(test.slots)
        threads.append(threading.Thread(target=work, args=(test,)))
        threads[-1].start()
    for thread in threads:
        thread.join()


def main(argv):
    p = argparse.ArgumentParser(prog="tests/system/run.py", description=__doc__.splitlines()[0])
    p.add_argument("--build", default=os.path.join(ROOT, "build"))
    p.add_argument("--machine", help="only boots on this machine")
    p.add_argument("names", nargs="*", help="only these (a trailing * matches the rest)")
    options = p.parse_args(argv)
    lists = [LIST, BY_NAME] if options.names else [LIST]
    tests = [t for t in read_list(*lists) if not options.machine or t.machine == options.machine]
    if options.names:
        patterns = [re.compile(re.escape(n).replace(r"\*", ".*") + "$") for n in options.names]
        tests = [t for t in tests if any(p.match(t.name) for p in patterns)]
    report = Report()
    run_all(report, options.build, tests)
    return report.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
