"""The project's files, and C text without what is not code."""

import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CODE_DIRS = ("boot", "arch", "hv", "mm", "lib")
SKIP = {"build", "out", ".git", "__pycache__"}


def files(folders, suffixes):
    """Paths from the root, sorted."""
    found = []
    for folder in folders:
        for where, dirs, names in os.walk(os.path.join(ROOT, folder)):
            dirs[:] = [d for d in dirs if d not in SKIP]
            found += [os.path.relpath(os.path.join(where, n), ROOT) for n in names if n.endswith(suffixes)]
    return sorted(found)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as f:
        return f.read()


def exists(path):
    return os.path.exists(os.path.join(ROOT, path))


def _blank(match):
    return re.sub(r"[^\n]", " ", match.group(0))


def strip_comments(text, strings=True):
    """`text` with comments (and string literals) blanked; line numbers stay."""
    keep = r'"(?:\\.|[^"\\\n])*"' + r"|'(?:\\.|[^'\\\n])*'"
    pattern = re.compile(keep + r"|/\*.*?\*/|//[^\n]*", re.S)

    def replace(m):
        literal = m.group(0)[0] in "\"'"
        if literal and not strings:
            return m.group(0)
        return _blank(m) if not literal else '"' + " " * (len(m.group(0)) - 2) + '"'

    return pattern.sub(replace, text)


def line_of(text, position):
    return text.count("\n", 0, position) + 1
