#!/usr/bin/env python3
"""`make check`: everything about the sources that can be said without running them."""

import argparse
import os
import sys
from dataclasses import dataclass

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[0] = ROOT
sys.dont_write_bytecode = True

from tests.lib.report import Report  # noqa: E402
from tests.lint import binary, compilers, docs, layers, locks, semantic, text  # noqa: E402


@dataclass
class Settings:
    build: str
    make: str = "make"
    jobs: str = "2"


CHECKS = {
    "layers": lambda s: layers.check(),
    "sizes": lambda s: text.check_sizes(),
    "volatile": lambda s: text.check_volatile(),
    "assembly": lambda s: text.check_assembly(),
    "else": lambda s: text.check_else(),
    "declared": lambda s: text.check_declared(),
    "marks": lambda s: text.check_marks(),
    "locks": lambda s: locks.check(),
    "ordering": lambda s: text.check_ordering(),
    "reading": lambda s: docs.check_reading(),
    "features": lambda s: docs.check_features(),
    "format": compilers.check_format,
    "headers": compilers.check_headers,
    "semantic": lambda s: semantic.check(),
    "sparse": compilers.check_sparse,
    "gcc": lambda s: compilers.check_build(s, ["CC=gcc"], "gcc"),
    "gcc-release": lambda s: compilers.check_build(s, ["CC=gcc", "DEBUG=0"], "release"),
    "indirect": binary.check_indirect,
    "clang": lambda s: compilers.check_build(s, ["CC=clang"], "clang"),
    "clang-host": compilers.check_clang_host,
    "variants": compilers.check_variants,
    "reproducible": compilers.check_reproducible,
}


def run_all(report, settings, names=None):
    for name in names or CHECKS:
        try:
            problems = CHECKS[name](settings)
        except Exception as e:  # a check that cannot run has found nothing out
            problems = [f"{type(e).__name__}: {e}"]
        if problems:
            report.fail(f"check/{name}", f"{len(problems)} problems", "\n".join(problems))
        else:
            report.ok(f"check/{name}")


def main(argv):
    p = argparse.ArgumentParser(prog="tests/lint/run.py", description=__doc__)
    p.add_argument("--build", default="build")
    p.add_argument("--make", default="make")
    p.add_argument("--jobs", default="2")
    p.add_argument("names", nargs="*", help=f"of {' '.join(CHECKS)}")
    options = p.parse_args(argv)
    unknown = set(options.names) - set(CHECKS)
    if unknown:
        p.error(f"no check called {' '.join(sorted(unknown))}")
    report = Report()
    run_all(report, Settings(options.build, options.make, options.jobs), options.names)
    return report.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
