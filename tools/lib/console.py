"""The console of a running machine: shown live, kept in a file, and read for the verdict."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
import tty

VERDICT = re.compile(rb"^VARVE: (PASS|FAIL)\b ?(.*)$")
GUEST_LINE = re.compile(rb"^\[[\w.-]+\] ")
GRACE_S = 10  # how long an emulator may take to end after its verdict


class Console:
    """Collects lines; remembers the last verdict and the last line."""

    def __init__(self, log, show):
        self.log = log
        self.show = show
        self.partial = b""
        self.verdict = None  # (b"PASS" | b"FAIL", why)
        self.last_line = b""
        self.started = time.monotonic()
        self.first_guest_s = None  # from the start of the emulator to the first line of a guest

    def feed(self, data):
        data = data.replace(b"\r", b"")
        self.log.write(data)
        self.log.flush()
        if self.show:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        *lines, self.partial = (self.partial + data).split(b"\n")
        for line in lines:
            self._line(line)

    def close(self):
        if self.partial:
            self._line(self.partial)
            self.partial = b""

    def _line(self, line):
        if line.strip():
            self.last_line = line
        if self.first_guest_s is None and GUEST_LINE.match(line):
            self.first_guest_s = time.monotonic() - self.started
        m = VERDICT.match(line)
        if m:
            self.verdict = (m.group(1).decode(), m.group(2).decode(errors="replace"))


class Tail:
    """Reads what an emulator appends to a file."""

    def __init__(self, path):
        self.file = open(path, "rb")  # pylint: disable=consider-using-with

    def read(self):
        return self.file.read()


class Wire:
    """A serial line to an emulator that wants a terminal: what it writes is read as from a Tail."""

    def __init__(self):
        self.master, self.slave = pty.openpty()  # both stay open until we end
        tty.setraw(self.slave)
        os.set_blocking(self.master, False)
        self.name = os.ttyname(self.slave)

    def read(self):
        try:
            return os.read(self.master, 65536)
        except BlockingIOError:
            return b""

    def write(self, data):
        os.write(self.master, data)


class Typist:
    """Types commands, separated by semicolons, once a guest has written a line.

    A UART has room for 16 bytes, and nobody says when they are taken: a piece of a line is typed when the monitor
    has shown the piece before it.
    """

    PIECE = 8

    def __init__(self, lines):
        self.lines = [line.strip().encode() for line in lines.split(";") if line.strip()]
        self.at = 0  # how much of the first line is typed

    def keys(self, console):
        """What is to be typed now."""
        if not self.lines or console.first_guest_s is None:
            return b""
        line = self.lines[0]
        if self.at and console.partial != b"> " + line[:self.at]:
            return b""
        if self.at == len(line):
            self.lines.pop(0)
            self.at = 0
            return b"\r" + self._piece()
        return self._piece()

    def _piece(self):
        if not self.lines:
            return b""
        start, self.at = self.at, min(self.at + self.PIECE, len(self.lines[0]))
        return self.lines[0][start:self.at]


class RawTerminal:
    """Passes keys to the guest as they are typed, without an echo of ours; Ctrl-C still ends us."""

    def __init__(self, wanted):
        self.fd = sys.stdin.fileno() if wanted else -1
        self.saved = None

    def __enter__(self):
        if self.fd >= 0:
            self.saved = termios.tcgetattr(self.fd)
            tty.setcbreak(self.fd)
        return self

    def __exit__(self, *_):
        if self.saved:
            termios.tcsetattr(self.fd, termios.TCSADRAIN, self.saved)


def stop(process):
    """Ends an emulator that we started, with everything it started (it leads its own group)."""
    for sig, wait in ((signal.SIGTERM, 2), (signal.SIGKILL, 5)):
        if process.poll() is not None:
            return
        try:
            os.killpg(process.pid, sig)
            process.wait(wait)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass


def deadline_of(console, deadline, verdict_seen_at):
    """Once there is a verdict the emulator has only a moment left to end by itself."""
    if console.verdict and verdict_seen_at:
        return min(deadline, verdict_seen_at + GRACE_S)
    return deadline


def type_keys(fd, keys):
    """True if the emulator is still there to take them."""
    try:
        return not keys or os.write(fd, keys) > 0
    except BrokenPipeError:
        return False


def follow_pipe(process, console, timeout_s, interactive, typist):
    """Streams until the emulator ends; True if it was stopped because its time was up."""
    deadline, seen_at = time.monotonic() + timeout_s, None
    out = process.stdout.fileno()
    sources = [out] + ([sys.stdin.fileno()] if interactive else [])
    with RawTerminal(interactive):
        while True:
            left = deadline_of(console, deadline, seen_at) - time.monotonic()
            if left <= 0:
                return True
            ready, _, _ = select.select(sources, [], [], left)
            if out in ready:
                data = os.read(out, 65536)
                if not data:
                    return False
                console.feed(data)
                if console.verdict and not seen_at:
                    seen_at = time.monotonic()
                if typist.lines:
                    type_keys(process.stdin.fileno(), typist.keys(console))
            if interactive and sys.stdin.fileno() in ready:
                keys = os.read(sys.stdin.fileno(), 256)
                if not keys or not type_keys(process.stdin.fileno(), keys):
                    sources = [out]


def follow_file(process, console, timeout_s, tail, typist):
    """The same for an emulator that writes its serial port to a file (a Tail), or is on a Wire."""
    deadline, seen_at = time.monotonic() + timeout_s, None
    while True:
        ended = process.poll() is not None
        data = tail.read()
        if data:
            console.feed(data)
            if console.verdict and not seen_at:
                seen_at = time.monotonic()
        if typist.lines:
            tail.write(typist.keys(console))
        if ended and not data:
            return False
        if time.monotonic() > deadline_of(console, deadline, seen_at):
            return True
        if not ended and not data:
            time.sleep(0.05)
