"""Lints of documents that name sources and tests: what they name must exist."""

import os
import re

from . import source


def expand(text):
    """`mm/gen.{c,h}` -> both paths."""
    m = re.match(r"(.*)\{([^}]*)\}(.*)$", text)
    return [m.group(1) + part.strip() + m.group(3) for part in m.group(2).split(",")] if m else [text]


def check_reading():
    """docs/reading.md is the order in which to read: every source file stands in it once."""
    if not source.exists("docs/reading.md"):
        return ["docs/reading.md does not exist"]
    wanted = set(source.files(source.CODE_DIRS, (".c", ".h", ".S")))
    named = [p for quoted in re.findall(r"`([^`\s]+(?:, [^`\s]+)*)`", source.read("docs/reading.md")) for p in expand(quoted)]
    found = [f"docs/reading.md: {p} is missing" for p in sorted(wanted - set(named))]
    found += [f"docs/reading.md: {p} stands there {named.count(p)} times" for p in sorted(wanted) if named.count(p) > 1]
    found += [f"docs/reading.md: {p} does not exist" for p in sorted(set(named))
              if p.startswith(tuple(d + "/" for d in source.CODE_DIRS)) and not source.exists(p)]
    return found


def known_names():
    """Everything a feature row may point at besides a path."""
    names = set()
    lists = [path for path in ("tests/system/list", "tests/system/list-by-name") if source.exists(path)]
    for line in "\n".join(source.read(path) for path in lists).splitlines():
        if line.strip() and not line.startswith("#"):
            names.add(line.split()[0])
    for path in source.files(("tools/scenarios", "tests/system"), (".cfg",)):
        names.add(os.path.splitext(os.path.basename(path))[0])
    for path in source.files(("tests",), (".c", ".py")):
        names.add(os.path.splitext(os.path.basename(path))[0])
        names.update(re.findall(r"\b((?:test|fuzz|torture|model)_\w+)", source.read(path)))
    return names


def cells_of(line):
    return [c.strip() for c in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def feature_rows(text):
    """[(line number, status, shown by)] of every table that has both columns."""
    rows, columns = [], None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith("|"):
            columns = None
            continue
        cells = cells_of(line)
        lowered = [c.lower() for c in cells]
        if "status" in lowered and "shown by" in lowered:
            columns = lowered.index("status"), lowered.index("shown by")
        elif columns and not set(line) <= set("|-: "):
            status, shown = (cells[i] if i < len(cells) else "" for i in columns)
            rows.append((number, status.lower(), shown))
    return rows


def check_features():
    """A row that claims something names what shows it, and that exists."""
    if not source.exists("docs/features.md"):
        return ["docs/features.md does not exist"]
    names, found = known_names(), []
    rows = feature_rows(source.read("docs/features.md"))
    for number, status, shown in rows:
        where = f"docs/features.md:{number}"
        word = re.match(r"[`*]*(yes|partly|no|n/a)\b", status)
        if not word:
            found.append(f"{where}: status '{status}' is none of yes, partly, no, n/a")
        elif word.group(1) in ("yes", "partly"):
            quoted = re.findall(r"`([^`]+)`", shown)
            found += [f"{where}: {q} is no test, scenario or path" for q in quoted
                      if q not in names and not source.exists(q)]
            if not quoted:
                found.append(f"{where}: {word.group(1)}, but nothing shows it")
    if not rows:
        found.append("docs/features.md has no table with the columns status and shown by")
    return found
