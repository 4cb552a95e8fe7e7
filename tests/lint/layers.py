"""Who may include whom. The rule is by folder: the longest one that matches a path decides."""

import os
import re

from . import source

# Folder of the file -> prefixes of what it may include.
RULES = {
    "boot/": ("boot/", "hv/", "arch/", "lib/"),
    "hv/": ("hv/", "mm/", "arch/", "lib/"),
    # A pure function of the guest's tables, which the shadow MMU mirrors.
    "hv/mmu/": ("hv/mmu/", "hv/gwalk.h", "mm/", "lib/", "arch/hal.h"),
    "mm/": ("mm/", "lib/", "arch/hal.h"),
    "lib/": ("lib/", "arch/hal.h"),
    "arch/": ("arch/", "lib/"),
    "arch/hal.h": ("lib/",),
    # ... and the numbers of the one interface that guests and hypervisor share.
    "guest-tests/": ("guest-tests/", "hv/experiment_call.h", "hv/pv_call.h"),
}
# What a freestanding compiler brings, and liblz4 for the store that uses it.
SYSTEM = {"stdarg.h", "stdbool.h", "stddef.h", "stdint.h", "limits.h", "stdatomic.h"}
SYSTEM_OF = {"mm/": SYSTEM | {"lz4.h"}}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>)', re.M)


def rule_for(path, rules):
    matching = [prefix for prefix in rules if path.startswith(prefix)]
    return rules[max(matching, key=len)] if matching else None


def problems_of(path, text):
    """["path:line: why"] of one file."""
    allowed = rule_for(path, RULES)
    system = rule_for(path, SYSTEM_OF) or SYSTEM
    found = []
    first = True
    for m in INCLUDE.finditer(source.strip_comments(text, strings=False)):
        where = f"{path}:{source.line_of(text, m.start())}"
        own, foreign = m.groups()
        if foreign and foreign not in system:
            found.append(f"{where}: <{foreign}> is no header of a freestanding compiler")
        if own and allowed is not None and not own.startswith(allowed):
            found.append(f"{where}: {path.split('/')[0]}/ must not know {own}")
        if own and not source.exists(own):
            found.append(f"{where}: {own} is no path from the root")
        header = os.path.splitext(path)[0] + ".h"
        if first and path.endswith(".c") and source.exists(header) and own != header:
            found.append(f"{where}: its own header, {header}, comes first")
        first = False
    if path.endswith(".h") and "#pragma once" not in text:
        found.append(f"{path}:1: no #pragma once")
    return found


def check():
    paths = source.files(source.CODE_DIRS + ("guest-tests",), (".c", ".h", ".S"))
    return [p for path in paths for p in problems_of(path, source.read(path))]
