"""Lints that read the sources as text: sizes, volatile, assembly, marks of unfinished work, ordering tags."""

import re

from . import source

MAX_FUNCTION, MAX_FILE = 80, 600
TAG = re.compile(r"\bord ([A-Z]{1,3}[0-9]{1,3})\b")


def functions(text):
    """[(name, first line, number of lines)]: by the house style a body's braces stand in column 0."""
    found, start, name = [], 0, ""
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
            head = " ".join(lines[max(0, number - 4):number - 1])
            names = re.findall(r"(\w+)\s*\(", head)
            name = names[-1] if names else "?"
            for candidate in names:
                if candidate not in ("__attribute__", "printf_like", "section"):
                    name = candidate
        elif line.startswith("}") and start:
            found.append((name, start, number - start - 1))
            start = 0
    return found


def check_sizes():
    found = []
    for path in source.files(source.CODE_DIRS + ("guest-tests", "tests", "tools"), (".c", ".h", ".S", ".py")) + script_files():
        text = source.read(path)
        lines = text.count("\n")
        if lines > MAX_FILE:
            found.append(f"{path}: {lines} lines, at most {MAX_FILE}")
        if path.endswith((".c", ".h")):
            found += [f"{path}:{at}: {name}() has {n} lines, at most {MAX_FUNCTION}"
                      for name, at, n in functions(text) if n > MAX_FUNCTION]
    return found


def script_files():
    return [p for p in source.files(("tools",), ("",)) if "." not in p.split("/")[-1]]


def check_volatile():
    """Ordering has names (lib/atomic.h); a bare volatile says nothing about it."""
    found = []
    for path in source.files(("boot", "hv", "mm", "lib"), (".c", ".h")):
        text = source.strip_comments(source.read(path))
        for m in re.finditer(r"\bvolatile\b", text):
            found.append(f"{path}:{source.line_of(text, m.start())}: volatile outside arch/")
    return found


def check_assembly():
    found = []
    for path in source.files(("boot", "hv", "mm", "lib"), (".c", ".h")):
        text = source.strip_comments(source.read(path))
        for m in re.finditer(r"\b(?:__)?asm(?:__)?\b", text):
            found.append(f"{path}:{source.line_of(text, m.start())}: assembly outside arch/")
    return found


LEFT = re.compile(r"\b(?:return\b[^;{}]*|break|continue|goto \w+);\s*(?:\}\s*)?else\b")


def needless_else(text):
    """Lines of jumps behind which an `else` stands: whoever comes past them is in it anyway."""
    code = source.strip_comments(text)
    return [source.line_of(code, m.start()) for m in LEFT.finditer(code)]


def check_else():
    return [f"{path}:{at}: else after what leaves"
            for path in source.files(source.CODE_DIRS + ("guest-tests", "tests", "tools"), (".c", ".h"))
            for at in needless_else(source.read(path))]


def undeclared(text):
    """What an MMU says of itself is a constant: [(line, what else it is)]."""
    code, found = source.strip_comments(text), []
    for m in re.finditer(r"(?:->|\w\.)(?:has_fast_aging|protects|late_slots)\s*=[^=]", code):
        found.append((source.line_of(code, m.start()), "assigned, which makes it a state"))
    for m in re.finditer(r"^(.*)\bstruct notifier_ops\s+(\w+)\s*=", code, re.M):
        if "const" not in m.group(1):
            found.append((source.line_of(code, m.start()), f"{m.group(2)} is not const"))
    return found


def check_declared():
    found, tables = [], 0
    for path in source.files(("hv", "mm"), (".c", ".h")):
        text = source.read(path)
        tables += len(re.findall(r"\bstruct notifier_ops\s+\w+\s*=", text))
        found += [f"{path}:{at}: notifier_ops: {what}" for at, what in undeclared(text)]
    return found if tables else ["no notifier_ops in hv/"]


def check_marks():
    marks = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")
    found = []
    for path in source.files(source.CODE_DIRS + ("guest-tests", "tests", "tools"), (".c", ".h", ".S", ".py")):
        for number, line in enumerate(source.read(path).splitlines(), 1):
            if marks.search(line):
                found.append(f"{path}:{number}: unfinished: {line.strip()[:60]}")
    return found


def check_ordering():
    """Every `ord XN` stands at least twice in the sources (the pair) and once in docs/ordering.md."""
    places = {}
    for path in source.files(source.CODE_DIRS, (".c", ".h", ".S")):
        for number, line in enumerate(source.read(path).splitlines(), 1):
            for tag in TAG.findall(line):
                places.setdefault(tag, []).append(f"{path}:{number}")
    if not source.exists("docs/ordering.md"):
        return ["docs/ordering.md does not exist"]
    tabled = set(re.findall(r"^\|\s*`?(?:ord )?([A-Z]{1,3}[0-9]{1,3})`?\s*\|", source.read("docs/ordering.md"), re.M))
    found = [f"{where[0]}: ord {tag} has no partner" for tag, where in places.items() if len(where) < 2]
    found += [f"{where[0]}: ord {tag} is not tabled in docs/ordering.md" for tag, where in places.items() if tag not in tabled]
    found += [f"docs/ordering.md: {tag} is in no source" for tag in sorted(tabled - set(places))]
    if not places:
        found.append("no source carries an ordering tag")
    return found
