"""All mutants in one build: a copy of the sources in which each waits behind a number that the environment chooses.

So every test program is compiled and linked once, and judging a mutant is only running those programs that reach its
place. Which those are, and how long each runs, is asked once of the unspoilt program (no number chosen).
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor

from tools.lib import mutation

NOT_LINKED = ("out", "build", ".git")


def numbers_of(names):
    """A number for each name, which does not depend on the other names unless two meet."""
    number, taken = {}, {0}
    for name in sorted(names):
        n = zlib.crc32(name.encode()) % mutation.NUMBERS
        while n in taken:
            n = (n + 1) % mutation.NUMBERS
        taken.add(n)
        number[name] = n
    return number


def write_if_new(path, text):
    if os.path.islink(path):
        os.remove(path)
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            if f.read() == text:
                return False
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return True


class Tree:
    """The copy, at `path`: spoilt sources, and links to all the rest."""

    def __init__(self, root, path, folders):
        self.root, self.path = root, path
        # Folders of their own here; what stands in between as well.
        self.folders = sorted({"/".join(f.split("/")[:n + 1]) for f in folders for n in range(f.count("/") + 1)})
        self.number, self.changed = {}, []
        self.alone = set()  # files of which one mutant or another does not compile

    def write(self, mutants):
        """`mutants`: all there are. Those of patterns get a number."""
        wanted = [m for m in mutants if m.operation != "place"]
        self.number = numbers_of([m.name for m in wanted])
        files = {m.file for m in wanted}
        self.link_rest()
        for folder in self.folders:
            self.write_folder(folder, files)
        for file, text in [(f, t) for f, t in self.changed if not self.compiles(f)]:
            self.alone.add(file)
            write_if_new(os.path.join(self.path, file), text)

    def link_rest(self):
        os.makedirs(self.path, exist_ok=True)
        tops = {f.split("/")[0] for f in self.folders}
        for name in os.listdir(self.root):
            link = os.path.join(self.path, name)
            if name in tops or name.startswith(NOT_LINKED) or os.path.lexists(link):
                continue
            os.symlink(os.path.join(os.path.abspath(self.root), name), link)

    def write_folder(self, folder, files):
        here = os.path.join(self.path, folder)
        os.makedirs(here, exist_ok=True)
        known = set(os.listdir(os.path.join(self.root, folder))) if os.path.isdir(os.path.join(self.root, folder)) else set()
        for name in set(os.listdir(here)) - known:
            path = os.path.join(here, name)
            shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.remove(path)
        for name in known:
            file, source = os.path.join(folder, name), os.path.join(self.root, folder, name)
            if os.path.isdir(source):
                if file not in self.folders and not os.path.lexists(os.path.join(here, name)):
                    os.symlink(os.path.abspath(source), os.path.join(here, name))
                continue
            with open(source, encoding="utf-8") as f:
                text = f.read()
            spoilt = mutation.spoilt_together(file, text, self.number) if file in files else text
            if write_if_new(os.path.join(here, name), spoilt) and file in files:
                self.changed.append((file, text))

    def compiles(self, file):
        """Whether the spoilt file does, as the hypervisor's or the host's; a header does if its users do."""
        if not file.endswith(".c"):
            return True
        command = ["gcc", "-std=gnu17", "-w", "-I.", "-DVARVE_HOST", "-DVARVE_DEBUG", "-fsyntax-only", file]
        return any(subprocess.run(command[:5] + extra + command[5:], cwd=self.path, stderr=subprocess.DEVNULL, check=False).returncode == 0
                   for extra in ([], ["-UVARVE_HOST", "-ffreestanding", "-mgeneral-regs-only"]))

    def has(self, mutant):
        return mutant.name in self.number and mutant.file not in self.alone


class Survey:
    """Of the unspoilt programs: seconds of CPU, and the numbers of the mutants that each reaches."""

    def __init__(self, path):
        self.path = path
        self.known = {}
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                self.known = json.load(f)
        self.of = {}

    @staticmethod
    def stamp(program):
        with open(program, "rb") as f:
            return hashlib.sha256(f.read()).hexdigest()

    def ask(self, name, path, cwd):
        row, stamp = self.known.get(name), self.stamp(os.path.join(cwd, path))
        if not row or row["stamp"] != stamp:
            row = dict(self.run(path, cwd), stamp=stamp)
        self.known[name] = row
        self.of[name] = (row["seconds"], frozenset(row["reached"]))

    @staticmethod
    def run(path, cwd):
        """Has to succeed: a test that fails on the good sources is no judge."""
        with tempfile.NamedTemporaryFile() as reached, tempfile.TemporaryFile() as said:
            reached.write(bytes(mutation.NUMBERS))
            reached.flush()
            env = dict(os.environ, VARVE_AS_IS="1", VARVE_REACHED=reached.name)
            program = subprocess.Popen([path], cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
            _, status, used = os.wait4(program.pid, 0)
            program.returncode = os.waitstatus_to_exitcode(status)
            if status:
                said.seek(0)
                raise SystemExit(said.read().decode(errors="replace") + f"\ntools/mutants: {path} fails on the good sources")
            reached.seek(0)
            return {"seconds": round(used.ru_utime + used.ru_stime, 2), "reached": [i for i, b in enumerate(reached.read()) if b]}

    def ask_all(self, programs, cwd, jobs):
        """`programs`: {name: path}. What was found is kept, whatever comes."""
        try:
            with ThreadPoolExecutor(jobs) as pool:
                for done in [pool.submit(self.ask, name, path, cwd) for name, path in programs.items()]:
                    done.result()
        finally:
            with open(self.path, "w", encoding="utf-8") as f:
                json.dump(self.known, f)
