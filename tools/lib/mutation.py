"""Finds the places of the sources where one ordering, flush or bracket can be left out: one mutant each.

A mutant has a name that does not depend on line numbers: file:function:operation, `#2` for the second of its
kind in the function, and what was done to it.
"""

import os
import re
from dataclasses import dataclass, field

TAG = re.compile(r"\bord ([A-Z]{1,3}[0-9]{1,3})\b")
OPERATION = re.compile(r"\b(?:(a32|a64|aptr)_(load_acquire|store_release|store_full|xchg|fetch_add|fetch_or|fetch_and|cas)"
                       r"|(fence_full))\(")
# Statements that may be left out, and calls for which something weaker stands.
CALLS = {
    "invalidate_begin": "((void)0)",
    "invalidate_end": "((void)0)",
    "flush_wait": "((void)0)",
    "flush_request": "a64_load(&({0})->flush.wanted)",
    "epoch_defer": "({1})({0})",
    "frame_retire": "frame_free({0})",
}
CALL = re.compile(r"\b(" + "|".join(CALLS) + r")\(")
EPOCH = re.compile(r"\bepoch_(?:enter|exit)\(\)")
NUMBERS = 1 << 16  # of mutants in one build
TAG_REACH = 6  # lines from a tag in a comment to the operation it is about


@dataclass
class Mutant:
    file: str
    function: str
    operation: str
    how: str
    line: int
    before: str  # the source as it is, around the change
    after: str
    text: str  # the whole spoilt file
    tags: list = field(default_factory=list)
    tests: list = field(default_factory=list)  # named for it, first of all
    name: str = ""


def strip(text):
    """Comments and strings as blanks, with every offset as it was."""
    blank = lambda m: re.sub(r"[^\n]", " ", m.group(0))  # noqa: E731
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.S)


def closing(text, at):
    """Offset of the parenthesis that closes the one at `at`."""
    depth = 0
    for i in range(at, len(text)):
        depth += {"(": 1, ")": -1}.get(text[i], 0)
        if not depth:
            return i
    return -1


def arguments(text):
    """The pieces of a list of arguments, at the commas that stand in no parenthesis."""
    pieces, depth, start = [], 0, 0
    for i, c in enumerate(text):
        depth += (c in "([{") - (c in ")]}")
        if c == "," and not depth:
            pieces.append(text[start:i].strip())
            start = i + 1
    return pieces + [text[start:].strip()]


def functions(code):
    """[(name, offset of the body, of its end)]: braces of a body stand in column 0."""
    found = []
    for m in re.finditer(r"^\{$", code, re.M):
        end = code.find("\n}", m.start())
        head = code[max(0, code.rfind("\n\n", 0, m.start())):m.start()]
        names = [n for n in re.findall(r"(\w+)\s*\(", head) if n not in ("__attribute__", "printf_like", "section")]
        if end > 0 and names:
            found.append((names[0] if len(names) == 1 else next_name(head, names), m.start(), end))
    return found


def next_name(head, names):
    """Of several names before a body, the one whose arguments end the head."""
    for name in names:
        for m in re.finditer(re.escape(name) + r"\s*\(", head):
            if not head[closing(head, m.end() - 1) + 1:].strip():
                return name
    return names[-1]


def function_at(found, offset):
    for name, start, end in found:
        if start <= offset <= end:
            return name
    return ""


def tags_near(text, offset, end):
    """Tags that an operation carries: on its own lines, or in the comment right above it."""
    lines = text.split("\n")
    first, last = text.count("\n", 0, offset), text.count("\n", 0, end)
    found = TAG.findall("\n".join(lines[first:last + 1]))
    for up in range(first - 1, max(-1, first - 1 - TAG_REACH), -1):
        line = lines[up].strip()
        if not line or line == "{" or line == "}":
            break
        found += TAG.findall(line)
        if found and not line.startswith("*"):
            break
    return sorted(set(found))


def weaker(kind, name, args):
    """[(how, replacement)] for one operation."""
    first, rest = args[0] if args else "", ", ".join(args[1:])
    if name == "fence_full":
        return [("removed", "((void)0)")]
    if kind == "aptr":
        return [("relaxed", f"MUTANT_RELAXED_aptr_{name.split('_')[0]}({', '.join(args)})")]
    if name == "load_acquire":
        return [("relaxed", f"{kind}_load({first})")]
    if name == "store_release":
        return [("relaxed", f"{kind}_store({first}, {rest})")]
    if name == "store_full":
        return [("no fence", f"{kind}_store_release({first}, {rest})")]
    listed = ", ".join([kind] + args)
    return [("torn", f"MUTANT_TORN_{name}({listed})"), ("relaxed", f"MUTANT_RELAXED_{name}({listed})")]


def spoil(text, start, end, replacement):
    """The file with one piece replaced; as many lines as before, and the macros of tests/mutants at hand."""
    lost = text.count("\n", start, end) - replacement.count("\n")
    return ('#include "tests/mutants/mutant.h"\n#line 1\n' + text[:start] + replacement + "\n" * max(0, lost) + text[end:])


class File:
    """One source file and the mutants in it."""

    def __init__(self, path, text):
        self.path, self.text, self.code = path, text, strip(text)
        self.functions = functions(self.code)
        self.mutants, self.seen, self.pieces = [], {}, []

    def add(self, operation, start, end, changes, tags):
        function = function_at(self.functions, start)
        if not function:
            return
        key = (function, operation)
        self.seen[key] = self.seen.get(key, 0) + 1
        count = self.seen[key]
        for how, replacement in changes:
            name = f"{self.path}:{function}:{operation}{'' if count == 1 else f'#{count}'}:{how}"
            self.mutants.append(Mutant(self.path, function, operation, how, self.text.count("\n", 0, start) + 1,
                                       " ".join(self.text[start:end].split()), " ".join(replacement.split()),
                                       spoil(self.text, start, end, replacement), tags, [], name))
            self.pieces.append((start, end, name, replacement))

    def find_operations(self):
        for m in OPERATION.finditer(self.code):
            end = closing(self.code, m.end() - 1) + 1
            args = [a for a in arguments(self.code[m.end():end - 1]) if a]
            kind, name = m.group(1), m.group(2) or m.group(3)
            tags = tags_near(self.text, m.start(), end)
            changes = weaker(kind, name, args)
            # Without a tag an exchange is there to be one operation, and claims no order.
            if not tags and len(changes) > 1:
                changes = [c for c in changes if c[0] != "relaxed"]
            self.add(name, m.start(), end, changes, tags)

    def find_calls(self):
        for m in CALL.finditer(self.code):
            end = closing(self.code, m.end() - 1) + 1
            args = arguments(self.code[m.end():end - 1])
            self.add(m.group(1), m.start(), end, [("dropped", CALLS[m.group(1)].format(*args))], [])

    def find_epochs(self):
        """Brackets go together, or the count of nested ones would tell at once."""
        for name, start, end in self.functions:
            body = self.text[start:end]
            if EPOCH.search(self.code[start:end]) and len(EPOCH.findall(self.code[start:end])) > 1:
                self.add("epoch", start, end, [("dropped", EPOCH.sub("((void)0)", body))], [])
                self.mutants[-1].before, self.mutants[-1].after = f"{name}() inside an epoch section", "outside"
                # The calls alone, not the whole body: others may be spoilt in it.
                mutant = self.pieces.pop()[2]
                self.pieces += [(start + m.start(), start + m.end(), mutant, "((void)0)")
                                for m in EPOCH.finditer(self.code[start:end])]

    def together(self, number):
        """The file with all its mutants in it, each behind the question whether it is the one."""
        return f'#define MUTANT_NUMBERS {NUMBERS}\n#include "tests/mutants/mutant.h"\n#line 1\n' + self.choices(0, len(self.text), number)

    def spans(self, start, end):
        """The pieces that lie within, but in no other that does."""
        within = sorted({p[:2] for p in self.pieces if start <= p[0] and p[1] <= end and p[:2] != (start, end)},
                        key=lambda p: (p[0], -p[1]))
        found = []
        for span in within:
            if not found or span[0] >= found[-1][1]:
                found.append(span)
        return found

    def choices(self, start, end, number):
        """text[start:end] with a choice at each piece inside; `number` of a mutant's name."""
        out, at = [], start
        for first, last in self.spans(start, end):
            out += [self.text[at:first], self.choice(first, last, number)]
            at = last
        return "".join(out) + self.text[at:end]

    def choice(self, first, last, number):
        """One piece, good and spoilt, as an expression."""
        spoilt = ""
        for _, _, name, replacement in (p for p in self.pieces if p[:2] == (first, last)):
            for a, b in self.spans(first, last):
                replacement = replacement.replace(self.text[a:b], self.choice(a, b, number))
            spoilt += f"MUTANT_IS({number[name]}) ? {' '.join(replacement.split())} : "
        return f"({spoilt}{self.choices(first, last, number)})"


def look(path, text):
    found = File(path, text)
    found.find_operations()
    found.find_calls()
    found.find_epochs()
    return found


def mutants_of(path, text):
    return look(path, text).mutants


def spoilt_together(path, text, number):
    """The file with all its mutants in it; `number` of each name, which MUTANT_IS() compares with the chosen one."""
    return look(path, text).together(number)


def read_places(text):
    """Places that no pattern finds: `file | how | before | after | tests`, a line each."""
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = [c.strip() for c in line.split(" | ")]
        if len(cells) != 5:
            raise ValueError(f"line {number}: five cells, separated by ' | '")
        rows.append(cells)
    return rows


def mutant_of_place(root, cells):
    path, how, before, after, tests = cells
    with open(os.path.join(root, path), encoding="utf-8") as f:
        text = f.read()
    if text.count(before) != 1:
        raise ValueError(f"{path}: {before!r} stands there {text.count(before)} times")
    at = text.index(before)
    function = function_at(functions(strip(text)), at) or "-"
    return Mutant(path, function, "place", how, text.count("\n", 0, at) + 1, before, after,
                  spoil(text, at, at + len(before), after), [], tests.split(), f"{path}:{function}:{how}")
