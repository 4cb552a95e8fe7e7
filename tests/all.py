#!/usr/bin/env python3
"""Every test of the project, ring by ring; the last line counts single tests."""

import argparse
import os
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[0] = ROOT
sys.dont_write_bytecode = True

from tests.lib import cmocka  # noqa: E402
from tests.lib.report import Report, run  # noqa: E402
from tests.lint import run as lint  # noqa: E402
from tests.system import run as system  # noqa: E402

RINGS = ("build", "unit", "model", "torture", "tools", "mutants", "fuzz", "check", "system", "figures")
UNIT_S, TORTURE_S, TOOLS_S, BUILD_S, MUTANTS_S, FIGURES_S = 180, 400, 400, 900, 600, 300
MUTANTS_PICKED = 12
# Of the faults that a fuzz target can plant, from VARVE_PLANTED=1 on: what has to be said of each.
REFUSED = "the CPU refuses to enter: "
FUZZ_PLANTED = {"exit": (REFUSED + "an interrupt without RFLAGS.IF", REFUSED + ".*PE", "fuzz_exit: the audit", "use-after-poison",
                         "fuzz_exit: stopped without a reason", REFUSED + "an interrupt in a shadow")}
# What the models of one run have to come to, all together.
STEPS_MIN, SCHEDULES_MIN, SCENES_MIN = 5_000_000, 200_000, 10
# Executions of a fuzz target below which it has shown nothing; a busy machine comes to several times as many.
FUZZ_LONG_S, FUZZ_LONG = 60, {"decode": 10_000_000}
FUZZ_MIN_ANY, FUZZ_MIN, DECODE_ALL_MIN = 5_000, {"pool": 1_000, "store": 1_000, "exit": 300, "emulate": 50_000, "decode": 50_000}, 5_000_000


def parse_arguments(argv):
    p = argparse.ArgumentParser(prog="tests/all.py", description=__doc__)
    p.add_argument("--build", default="build")
    p.add_argument("--make", default="make")
    p.add_argument("--jobs", default="2")
    p.add_argument("--only", help=f"rings to run, of {','.join(RINGS)}")
    p.add_argument("--fuzz-seconds", type=int, default=10, help="per target")
    options = p.parse_args(argv)
    options.rings = options.only.split(",") if options.only else list(RINGS)
    unknown = set(options.rings) - set(RINGS)
    if unknown:
        p.error(f"no ring called {' '.join(sorted(unknown))}")
    return options


def make(options, *goals):
    """(success, output) of building `goals`."""
    command = options.make.split() + ["--no-print-directory", f"-j{options.jobs}", f"O={options.build}", *goals]
    status, output, _ = run(command, BUILD_S, cwd=ROOT)
    return status == 0, output


def programs(options, variant, folder, prefix=""):
    """[(name, path of the program)] of the C files in tests/`folder`."""
    where = os.path.join(ROOT, "tests", folder)
    names = sorted(f[:-2] for f in os.listdir(where) if f.endswith(".c") and f.startswith(prefix))
    return [(n, os.path.join(options.build, "host", variant, n)) for n in names]


def built(report, options, found, ring):
    """The programs of a ring that could be built; each of the others is a failure."""
    good = []
    for name, path in found:
        done, output = make(options, path)
        if done:
            good.append((name, path))
        else:
            report.fail(f"{ring}/{name}", "does not build", output)
    return good


def side_by_side(options, work, items):
    """What `work` returns for each of `items`, in their order; as many at a time as there are jobs."""
    with ThreadPoolExecutor(max_workers=int(options.jobs)) as pool:
        return list(pool.map(work, items))


def ring_build(report, options):
    done, output = make(options, "all")
    if done:
        report.ok("build")
    else:
        report.fail("build", "make all", output)
    # All host programs at once, for speed; what fails is found again, and named, by its ring.
    make(options, "-k", "host-tests", "fuzzers")


def run_cmocka(report, label, path):
    status, output, _ = run([path], UNIT_S, cwd=ROOT)
    tests = cmocka.outcome(output)
    for name, how in tests.items():
        if how == "ok":
            report.ok(f"{label}/{name}")
        elif how == "skipped":
            report.skip(f"{label}/{name}", "the test says so")
        else:
            report.fail(f"{label}/{name}", "see the output of its program", output)
    if not tests:
        report.fail(label, "no test ran", output)
    elif status != 0 and "failed" not in tests.values():
        report.fail(label, f"ends with {'no status: its time was up' if status is None else status}", output)


def ring_unit(report, options):
    for variant in ("asan", "plain"):
        found = built(report, options, programs(options, variant, "unit", "test_"), "unit")
        side_by_side(options, lambda one, v=variant: run_cmocka(report, f"unit/{v}/{one[0]}", one[1]), found)


def run_whole(report, label, path, timeout_s):
    """A program that is one test: its exit status is its verdict."""
    status, output, seconds = run([path], timeout_s, cwd=ROOT)
    if status == 0:
        report.ok(label, f"{seconds:.1f} s")
    else:
        report.fail(label, "its time was up" if status is None else f"exit status {status}", output)
    return output


def model_variant(name):
    """As in the Makefile: explorers of interleavings run without sanitizers, the machine yields at its atomics."""
    return "plain" if "explore" in name else "cpus" if "machine" in name else "asan"


def count_models(report, output):
    """What all models did together is a figure of its own."""
    steps = sum(int(n) for n in re.findall(r"(?<!up to )\b(\d+) steps", output))
    scenes = [int(n) for n in re.findall(r"^(?:.*: )?(\d+) schedules.*: none bad", output, re.M)]
    for name, found, least in (("steps", steps, STEPS_MIN), ("schedules", sum(scenes), SCHEDULES_MIN), ("scenes", len(scenes), SCENES_MIN)):
        if found >= least:
            report.ok(f"model/count-{name}", f"{found} {name}, all good")
        else:
            report.fail(f"model/count-{name}", f"{found} {name}, at least {least} wanted", "")


def ring_model(report, options):
    found = [(n, p.replace("/any/", f"/{model_variant(n)}/")) for n, p in programs(options, "any", "model")]
    found = built(report, options, found, "model")
    count_models(report, "".join(side_by_side(options, lambda one: run_whole(report, f"model/{one[0]}", one[1], TORTURE_S), found)))


def ring_torture(report, options):
    for name, path in built(report, options, programs(options, "tsan", "torture"), "torture"):
        run_whole(report, f"torture/{name}", path, TORTURE_S)


def ring_tools(report, options):
    # The distribution's Python is the one that has the distribution's matplotlib.
    python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
    command = [python, "-B", "-m", "unittest", "discover", "-v", "-b", "-t", ".", "-s", "tests/tools"]
    status, output, _ = run(command, TOOLS_S, cwd=ROOT, env={**os.environ, "VARVE_BUILD": options.build})
    single = re.findall(r"^(\w+) \(([\w.]+)\)(?:\n.*)? \.\.\. (ok|FAIL|ERROR|skipped.*)$", output, re.M)
    for name, where, how in single:
        label = f"tools/{where.split('.')[0] if '.' not in where else where.split('.')[-2]}/{name}"
        if how == "ok":
            report.ok(label)
        elif how.startswith("skipped"):
            report.skip(label, how)
        else:
            report.fail(label, how, output)
    ran = re.search(r"^Ran (\d+) test", output, re.M)
    if not ran or int(ran.group(1)) != len(single) or (status != 0 and not any(h in ("FAIL", "ERROR") for *_, h in single)):
        report.fail("tools", f"unittest ended with {status}", output)


def ring_mutants(report, options):
    """A part of them, another every day; `make mutants` runs all."""
    command = [sys.executable, "-B", "tools/mutants", "--build", options.build, "--make", options.make, "--jobs", options.jobs,
               "--known", "--trust", "--alone", "--pick", str(MUTANTS_PICKED)]
    status, output, _ = run(command, MUTANTS_S, cwd=ROOT)
    print("".join(re.findall(r"^\d+ of \d+ mutants.*\n", output, re.M)), end="", flush=True)
    waiting = output.count("not judged yet: ")
    if waiting:
        report.skip("mutants/new", f"{waiting} are not judged yet: `make mutants`")
    rows = re.findall(r"^(killed|survived|broken) +[\d.]+ s  (\S.*?)  (\S+): (.*)$", output, re.M)
    for verdict, name, by, why in rows:
        label = "mutants/" + name.replace(" ", "-")
        if verdict == "killed" or by == "explained":
            report.ok(label, f"{verdict}, {by}")
        else:
            report.fail(label, f"{verdict}; `tools/mutants --only '{name}'`", why)
    if not rows or (status != 0 and all(v == "killed" or by == "explained" for v, _, by, _ in rows)):
        report.fail("mutants", f"tools/mutants ended with {status}", output)


def fuzz_length(options, short):
    """(libFuzzer's flags, least executions, seconds at most): by time, but where `make fuzz` owes a number."""
    if options.fuzz_seconds >= FUZZ_LONG_S and short in FUZZ_LONG:
        return [f"-runs={FUZZ_LONG[short]}"], FUZZ_LONG[short], 3600
    return [f"-max_total_time={options.fuzz_seconds}"], FUZZ_MIN.get(short, FUZZ_MIN_ANY), options.fuzz_seconds * 2 + 60


def fuzz_run(command, limit):
    """(status, output, seconds, inputs) of a run of a fuzz target."""
    status, output, seconds = run(command, limit, cwd=ROOT)
    runs = re.search(r"stat::number_of_executed_units: (\d+)", output)
    return status, output, seconds, int(runs.group(1)) if runs else 0


def run_fuzzer(report, options, name, path):
    short = name[len("fuzz_"):]
    work = os.path.join(ROOT, "out", "fuzz", short)
    os.makedirs(os.path.join(work, "corpus"), exist_ok=True)
    length, least, limit = fuzz_length(options, short)
    command = [os.path.abspath(path), *length, "-timeout=10", "-print_final_stats=1",
               f"-artifact_prefix={work}/", os.path.join(work, "corpus")]
    seeds = os.path.join(ROOT, "tests", "fuzz", "corpus", short)
    if os.path.isdir(seeds):
        command.append(seeds)
    status, output, seconds, done = fuzz_run(command, limit)
    if status == 0 and done < least:
        # A slow machine: the same by number.
        status, output, seconds, done = fuzz_run([command[0], f"-runs={least}", *command[2:]], TORTURE_S)
    if status == 0 and done >= least:
        report.ok(f"fuzz/{short}", f"{done} inputs in {seconds:.0f} s")
    elif status == 0:
        report.fail(f"fuzz/{short}", f"{done} inputs, at least {least} wanted", output)
    else:
        report.fail(f"fuzz/{short}", f"exit status {status}; the input is in {work}", output)
    if short == "decode":
        decode_all(report, path)
    for number, said in enumerate(FUZZ_PLANTED.get(short, ()), 1):
        planted(report, path, short, number, said)


def ring_fuzz(report, options):
    found = built(report, options, programs(options, "fuzz", "fuzz", "fuzz_"), "fuzz")
    side_by_side(options, lambda one: run_fuzzer(report, options, *one), found)


def planted(report, path, short, number, said):
    """A fault planted in the target (VARVE_PLANTED) has to be found by the seeds alone, and to be taken for what it is."""
    command = [os.path.abspath(path), "-runs=0", "-timeout=10", f"-artifact_prefix={os.path.join(ROOT, 'out', 'fuzz', short)}/planted-",
               os.path.join(ROOT, "tests", "fuzz", "corpus", short)]
    status, output, _ = run(command, 120, cwd=ROOT, env=dict(os.environ, VARVE_PLANTED=str(number)))
    if status != 0 and re.search(said, output):
        report.ok(f"fuzz/{short}-planted-{number}", f"found: {said}")
    else:
        report.fail(f"fuzz/{short}-planted-{number}", f"not found, or for something else: exit status {status}, {said} wanted", output)


def decode_all(report, path):
    """Every opcode of one and two bytes behind a list of prefixes."""
    status, output, seconds = run([os.path.abspath(path)], TORTURE_S, cwd=ROOT, env=dict(os.environ, VARVE_EXHAUSTIVE="1"))
    tried = re.search(r"^(\d+) instructions, no difference", output, re.M)
    if status == 0 and tried and int(tried.group(1)) >= DECODE_ALL_MIN:
        report.ok("fuzz/decode-exhaustive", f"{tried.group(1)} instructions in {seconds:.0f} s")
    else:
        report.fail("fuzz/decode-exhaustive", f"exit status {status}", output)


def ring_check(report, options):
    lint.run_all(report, lint.Settings(options.build, options.make, options.jobs))


def ring_system(report, options):
    shutil.rmtree(os.path.join(ROOT, "out", "test"), ignore_errors=True)
    system.run_all(report, options.build, system.read_list())


def ring_figures(report, options):
    """Those that repeat to the digit, of a release, against what was recorded: none may have grown by 5 %."""
    release = os.path.join(options.build, "release")
    command = options.make.split() + ["--no-print-directory", f"-j{options.jobs}", f"O={release}", "DEBUG=0", "all"]
    status, output, _ = run(command, BUILD_S, cwd=ROOT)
    if status != 0:
        report.fail("figures", "the release does not build", output)
        return
    command = [sys.executable, "-B", "tools/bench", "--build", release, "--out", "out/figures", "--gate", "tests/bench/recorded.json"]
    status, output, _ = run(command, FIGURES_S, cwd=ROOT)
    rows = re.findall(r"^gate (ok|FAILED|skipped) (.*?): (.*)$", output, re.M)
    for how, name, said in rows:
        label = "figures/" + re.sub(r"[^a-z0-9]+", "-", name.lower())
        if how == "ok":
            report.ok(label, said)
        elif how == "skipped":
            report.skip(label, said)
        else:
            report.fail(label, said)
    if not rows or (status != 0 and all(how != "FAILED" for how, _, _ in rows)):
        report.fail("figures", f"tools/bench ended with {status}", output)


def main(argv):
    options = parse_arguments(argv)
    report = Report()
    for ring in RINGS:
        if ring in options.rings:
            report.section(ring)
            globals()["ring_" + ring](report, options)
    return report.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
