"""Reads the output of a cmocka program test by test."""

import re

LINE = re.compile(r"^\[\s*(RUN|OK|FAILED|SKIPPED)\s*\] (\w+)\s*$", re.M)


def outcome(output):
    """({name: "ok" | "failed" | "skipped"}); a test that never ended (a crash) is failed."""
    tests = {}
    for what, name in LINE.findall(output):
        if what == "RUN":
            tests.setdefault(name, "failed")
        elif name in tests:
            tests[name] = what.lower()
    return tests
