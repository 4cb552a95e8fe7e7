"""One line per test, and the counts that close a run."""

import subprocess
import threading
import time

TAIL_LINES = 25


class Report:
    """Counts single tests. Safe to use from several threads."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures = []
        self.lock = threading.Lock()

    def ok(self, name, note=""):
        with self.lock:
            self.passed += 1
            print(f"ok    {name}{'  ' + note if note else ''}", flush=True)

    def fail(self, name, why, log="", tail=TAIL_LINES):
        with self.lock:
            self.failed += 1
            self.failures.append(name)
            print(f"FAIL  {name}: {why}", flush=True)
            for line in log.splitlines()[-tail:]:
                print(f"      | {line[:240]}", flush=True)

    def skip(self, name, why):
        with self.lock:
            self.skipped += 1
            print(f"skip  {name}: {why}", flush=True)

    def section(self, title):
        print(f"--- {title}", flush=True)

    def close(self):
        """The last line of every run; the exit status."""
        if self.failures:
            print("failed: " + " ".join(self.failures), flush=True)
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped", flush=True)
        return 1 if self.failed or not self.passed else 0


def run(command, timeout_s, **kwargs):
    """(exit status or None when the time was up, output of both streams, seconds)."""
    start = time.monotonic()
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout_s,
                              stdin=subprocess.DEVNULL, check=False, **kwargs)
        status, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired as e:
        status, output = None, (e.stdout or b"") + f"\n(no end within {timeout_s} s)".encode()
    return status, output.decode(errors="replace"), time.monotonic() - start
