"""Semantic patches (coccinelle): what a search for words cannot see. Each is a rule that finds, and changes nothing."""

import os
import re
import subprocess

from . import source

FOLDER = "tests/lint/semantic"
SPATCH_S = 120
# Rule: folders, and files that are the place where it may be done.
RULES = {
    "spte_store": (("hv/mmu",), ("hv/mmu/spte.c",)),
    "epoch_alloc": (("mm", "hv/mmu"), ()),
    "lock_wait": (("mm", "hv/mmu"), ()),
    # The allocator itself; the pool's frames are never mapped.
    "frame_free": (("mm", "hv/mmu"), ("mm/frame.c", "mm/pool.c")),
}


def rule_path(name):
    return os.path.join(source.ROOT, FOLDER, name + ".cocci")


def places(output, paths):
    """Lines that a rule marks: `-` in the diffs that spatch prints."""
    found, path = [], ""
    for line in output.splitlines():
        if line.startswith("--- "):
            path = line.split()[1]
        elif line.startswith("-"):
            found.append(f"{os.path.relpath(path, source.ROOT) if os.path.isabs(path) else path}: {line[1:].strip()}")
    return found


def spatch(arguments):
    command = ["spatch", "--no-includes", "--macro-file", os.path.join(source.ROOT, FOLDER, "macros.h"), *arguments]
    return subprocess.run(command, cwd=source.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=SPATCH_S, check=False)


def find(name, paths):
    done = spatch(["--very-quiet", "--sp-file", rule_path(name), *paths])
    if done.returncode:
        return [f"{FOLDER}/{name}.cocci: {done.stderr.strip()}"]
    return places(done.stdout, paths)


def paths_of(name):
    folders, own = RULES[name]
    return [p for folder in folders for p in source.files((folder,), (".c",)) if p not in own]


def not_parsed(paths=None):
    """A function that spatch does not understand is passed over in silence: how many there are."""
    done = spatch(["--parse-c", *(paths or sorted({p for name in RULES for p in paths_of(name)}))])
    text = done.stdout + done.stderr
    if not re.search(r"NB total files = [1-9]", text):
        return ["spatch --parse-c says nothing"]
    # What it could not parse, it prints behind `bad:`; a function has its brace in column 0.
    parts = re.findall(r"(?:^(?:bad|BAD)[^\n]*\n)+", text, re.M)
    return ["spatch does not parse: " + " ".join(part.split())[:200] for part in parts if re.search(r"^(?:bad: |BAD:!+ )\{$", part, re.M)]


def check():
    found = not_parsed()
    for name in RULES:
        found += [f"{name}: {f}" for f in find(name, paths_of(name))]
    return found
