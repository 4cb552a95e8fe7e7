"""Lints that read what the compiler made of the sources."""

import os
import re

from tests.lib.report import run

from . import source
from .compilers import check_build

# Sources of mm/ that call what somebody registered: an MMU, the run loop, a callback. What is done with the pages
# and entries that such a call is about, in mm/ and in the MMUs, calls nothing by pointer.
INDIRECT = {f"mm/{name}.c" for name in ("age_flush", "ager", "audit", "epoch", "notifier", "notifier_age", "reclaim", "space", "swap", "trace", "walk")}


def indirect(dump):
    """{function: number of indirect branches} of objdump's text; a part that was split off counts as its function."""
    found, function = {}, "?"
    for line in dump.splitlines():
        head = re.match(r"[0-9a-f]+ <([^>]+)>:$", line)
        if head:
            function = head.group(1).split(".")[0]
        elif re.search(r"\b(?:call|jmp)q?\s+\*", line):
            found[function] = found.get(function, 0) + 1
    return found


def check_indirect(settings):
    """Of a release, in the folder that another check builds it in as well."""
    found, seen = check_build(settings, ["CC=gcc", "DEBUG=0"], "release"), set()
    if found:
        return found
    for path in source.files(("mm", "hv/mmu"), (".c",)):
        made = os.path.join(source.ROOT, settings.build, "release", "hv", path + ".o")
        status, dump, _ = run(["objdump", "-d", "--no-show-raw-insn", made], 60)
        if status != 0:
            return [dump]
        functions = indirect(dump)
        if functions and path in INDIRECT:
            seen.add(path)
        elif functions:
            found += [f"{path}: {n} indirect branches in {function}()" for function, n in functions.items()]
    # If the disassembly were misread, there would be none at all.
    return found + [f"{path}: calls nothing by pointer any more: strike it off" for path in sorted(INDIRECT - seen)]
