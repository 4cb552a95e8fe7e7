"""Images other than the usual one: what `make` is told for each, and where it puts them."""

import os

from tests.lib.report import run

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD_S = 900

# Those with flags of their own are built in a folder of their own; the others are linked from the usual objects.
FLAGS = {
    "locked": ["LOCKLESS=0"],
    "o0": ["OPT=-O0"],
    "cpus-1": ["MAX_CPUS=1"],
}
LINKED = {
    "no-aging": ["AGING=0", "IMAGE=varve-no-aging"],
}
NAMES = [*FLAGS, *LINKED]


def image(build, name, suffix=".elf"):
    """Path of a variant's image in the folder `build`; suffix "32.elf": the one that QEMU's -kernel takes."""
    if name in FLAGS:
        return os.path.join(build, "variants", name, "varve" + suffix)
    return os.path.join(build, "varve-" + name + suffix)


def make(build, name, command="make", jobs=2, more=()):
    """Builds a variant into the folder `build`. None, or what make said."""
    words = [*command.split(), "--no-print-directory", f"-j{jobs}", "O=" + os.path.dirname(image(build, name))]
    status, output, _ = run([*words, *FLAGS.get(name, []), *LINKED.get(name, []), *more, "hv"], BUILD_S, cwd=ROOT)
    return None if status == 0 else output
