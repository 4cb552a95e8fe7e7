"""
Lock order and waiting, where the text shows it: who takes which lock, by itself or by what it calls, while it holds another.
Calls by pointer are not followed, and a lock that is dropped in a branch counts as dropped behind it: debug builds check
at run time what is not seen here (lib/lock.h).
"""

import re

from . import source
from .text import functions

WAITS = {"flush_wait", "epoch_barrier", "space_drain", "space_drop_range", "thread_block", "thread_yield", "invalidate_begin"}
TAKE = re.compile(r"\b(spin|read|write)_(lock|trylock|unlock)\(\s*([^();]*(?:\([^()]*\))?[^();]*)\)"
                  r"|\block_(taken|released)\(\s*\w+\s*,[^()]*?(\w+)\)|\b(\w+)\s*\(")
BIT = re.compile(r"\block_taken\(\s*\w+\s*,\s*(LOCK_\w+)\s*,\s*(\w+)\)")
INIT = re.compile(r"\b(?:spin|rw)_init\(\s*&([\w.>-]+),\s*(LOCK_\w+)|\b(\w+)\s*=\s*SPINLOCK_INIT\((LOCK_\w+)")
# Fields of a name that more than one class has, where they are used outside of the file that sets them up.
ELSEWHERE = {"mm/": "LOCK_LRUVEC", "hv/": "LOCK_SCHED"}
# What a parameter stands for.
PARAMETERS = {("mm/notifier_age.c", "lock"): "LOCK_MMU"}
KEYWORDS = {"if", "for", "while", "switch", "return", "sizeof", "defined"}


def order():
    text = source.strip_comments(source.read("lib/lock.h"))
    return {m[1]: int(m[2]) for m in re.finditer(r"\b(LOCK_\w+)\s*=\s*(\d+)", text)}


def field_of(expression):
    return re.split(r"->|\.", expression.strip().lstrip("&").strip())[-1]


class Locks:
    """The class of each lock, by the field's name and the file that names it."""

    def __init__(self, of):
        self.found, self.bits = {}, {}
        for path, text in of.items():
            for m in INIT.finditer(text):
                self.found.setdefault(field_of(m[1] or m[3]), {})[path] = m[2] or m[4]
            for m in BIT.finditer(text):
                self.bits[m[2]] = m[1]

    def of(self, path, expression):
        if (path, expression) in PARAMETERS:
            return PARAMETERS[path, expression]
        by_file = self.found.get(field_of(expression), {})
        if path in by_file:
            return by_file[path]
        if len(set(by_file.values())) == 1:
            return next(iter(by_file.values()))
        return next((name for folder, name in ELSEWHERE.items() if by_file and path.startswith(folder)), None)


def bodies(text):
    """[(function, body, its first line)]."""
    lines = text.splitlines(keepends=True)
    return [(name, "".join(lines[first:first + n]), first + 1) for name, first, n in functions(text)]


def leaves_branch(body, at):
    """Is what stands there in a branch that ends with a return? What is behind the branch is as if it were not."""
    inner = body[body.rfind("\n", 0, at) + 1:].startswith("\t\t")
    return inner and re.match(r"[^{}]*?\breturn\b[^{}]*\}", body[at:]) is not None


def events(locks, path, body):
    """("take" | "hold" | "drop" | "call", what, offset) in the order of the text."""
    for m in TAKE.finditer(body):
        kind, how, what, named, cls, call = m.groups()
        if call:
            if call not in KEYWORDS:
                ends = re.search(r"\breturn\b[^;{}]*$", body[:m.start()])  # what is behind it is another branch
                yield "last" if ends else "call", call, m.start()
        elif (named == "released" or how == "unlock") and leaves_branch(body, m.end()):
            continue
        elif named:
            yield ("take" if named == "taken" else "drop"), locks.bits.get(cls), m.start()
        elif kind and (how != "trylock" or body[m.start() - 1] == "!"):  # else it is held in a branch only
            yield {"lock": "take", "trylock": "hold", "unlock": "drop"}[how], locks.of(path, what), m.start()


class Program:
    def __init__(self, of):
        self.locks, self.functions, self.by_name = Locks(of), {}, {}
        for path, text in of.items():
            for name, body, line in bodies(text):
                self.functions[path, name] = (list(events(self.locks, path, body)), body, line)
                self.by_name.setdefault(name, []).append(path)
        self.memo, self.left = {}, {}

    def effect(self, path, kind, what):
        """(locks held behind it, locks dropped by it) of one step."""
        if kind == "last":
            return [], []
        if kind != "call":
            return ([], [what]) if kind == "drop" else ([what], [])
        callee = self.resolve(path, what)
        return self.net(callee) if callee else ([], [])

    def net(self, key):
        """(locks held at the end, locks dropped that the caller took) of a function and all it calls."""
        if key not in self.left:
            held, dropped = self.left[key] = [], []
            for kind, what, _ in self.functions[key][0]:
                after, before = self.effect(key[0], kind, what)
                dropped += [b for b in before if b not in held and b not in dropped]
                held[:] = [h for h in held if h not in before] + after
        return self.left[key]

    def resolve(self, path, name):
        paths = self.by_name.get(name, [])
        return (path, name) if path in paths else (paths[0], name) if len(paths) == 1 else None

    def reaches(self, key, holds):
        """{class taken, or name of what waits: way there}, by the function and what it calls while the caller's lock is held."""
        if (key, holds) in self.memo:
            return self.memo[key, holds]
        found = self.memo[key, holds] = {}
        for kind, what, _ in self.functions[key][0]:
            for target, way in self.targets(key, kind, what, holds).items():
                found.setdefault(target, way)
            if holds in self.effect(key[0], kind, what)[1]:
                break
        return found

    def targets(self, key, kind, what, holds):
        """The same of one step."""
        if kind == "take" and what:
            return {what: key[1]}
        if kind not in ("call", "last"):
            return {}
        if what in WAITS:
            return {what: key[1]}
        callee = self.resolve(key[0], what)
        return {t: f"{key[1]} > {way}" for t, way in self.reaches(callee, holds).items()} if callee and callee != key else {}

    def problems(self, classes):
        for key, (steps, body, line) in self.functions.items():
            held = []
            for kind, what, at in steps:
                where = f"{key[0]}:{line + body.count(chr(10), 0, at)}"
                if what is None:
                    yield f"{where}: a lock of which no class is known"
                    continue
                for holds in held:
                    for target, way in self.targets(key, kind, what, holds).items():
                        if target in WAITS or classes[holds] >= classes[target]:
                            yield f"{where}: {target} under {holds}: {way}"
                after, before = self.effect(key[0], kind, what)
                held = [h for h in held if h not in before] + [h for h in after if h]


def texts():
    return {p: source.strip_comments(source.read(p)) for p in source.files(source.CODE_DIRS, (".c", ".h")) if not p.startswith("lib/lock.")}


def check(of=None):
    return sorted(set(Program(of or texts()).problems(order())))
