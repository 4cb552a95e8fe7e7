"""Checks that run a compiler or another tool over the sources."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

from tests.lib import variants
from tests.lib.report import run

from . import source

# Objects that the hypervisor's flags do not fit are looked at with the guests' or the build machine's.
FLAGS_OF = {"guest-tests/": "GUEST_CFLAGS", "tests/": "HOST_BASE"}


def make_variable(settings, name):
    status, output, _ = run(settings.make.split() + ["--no-print-directory", f"print-{name}"], 60, cwd=source.ROOT)
    if status != 0:
        raise RuntimeError(output)
    return output.split()


def missing(tool, package):
    return None if shutil.which(tool) else [f"{tool} is not installed (package {package})"]


def each(paths, job, settings):
    """Runs job(path) -> [problem] over all paths, as many at a time as there are jobs."""
    with ThreadPoolExecutor(int(settings.jobs)) as pool:
        return [problem for found in pool.map(job, paths) for problem in found]


def check_format(settings):
    gone = missing("clang-format", "clang-format")
    if gone:
        return gone
    paths = source.files(source.CODE_DIRS + ("guest-tests", "tests"), (".c", ".h"))
    status, output, _ = run(["clang-format", "--dry-run", "-Werror", *paths], 120, cwd=source.ROOT)
    wrong = sorted({line.split(":")[0] for line in output.splitlines() if "error:" in line})
    return [] if status == 0 else [f"{path}: clang-format -i would change it" for path in wrong] or [output]


def check_headers(settings):
    flags = {name: make_variable(settings, name) for name in ("HV_CFLAGS", *FLAGS_OF.values())}

    def compile_alone(path):
        which = next((v for prefix, v in FLAGS_OF.items() if path.startswith(prefix)), "HV_CFLAGS")
        command = ["gcc", *flags[which], "-fsyntax-only", "-include", path, "-x", "c", os.devnull]
        status, output, _ = run(command, 60, cwd=source.ROOT)
        return [] if status == 0 else [f"{path} does not compile alone:\n{output}"]

    return each(source.files(source.CODE_DIRS + ("guest-tests", "tests"), (".h",)), compile_alone, settings)


def check_sparse(settings):
    """sparse sees mixed-up address types; mm and the MMUs are where they would hurt."""
    gone = missing("sparse", "sparse")
    if gone:
        return gone
    # sparse knows fewer options than gcc; what it does not know it must not be given.
    keep = ("-D", "-I", "-std", "-ffreestanding", "-m64")
    flags = [f for f in make_variable(settings, "HV_CFLAGS") if f.startswith(keep)]

    def look(path):
        status, output, _ = run(["sparse", *flags, "-Wbitwise", "-Wno-decl", "-Wsparse-error", path], 60, cwd=source.ROOT)
        return [] if status == 0 and not output.strip() else output.strip().splitlines() or [f"{path}: status {status}"]

    return each(source.files(("mm", "hv/mmu"), (".c",)), look, settings)


def check_clang_host(settings):
    """What runs on the build machine, with its warnings by clang: the library below it is what the fuzzers are built of."""
    gone = missing("clang", "clang")
    if gone:
        return gone
    flags = make_variable(settings, "HOST_BASE")

    def look(path):
        status, output, _ = run(["clang", *flags, "-O1", "-fsyntax-only", path], 60, cwd=source.ROOT)
        return [] if status == 0 else output.strip().splitlines() or [f"{path}: status {status}"]

    paths = [p for name in ("UNIT", "MODEL", "TORTURE", "BENCH", "LAB") for p in make_variable(settings, name + "_SRC")]
    return each(paths, look, settings)


def check_build(settings, variables, folder):
    """A whole build with other variables, in a folder of its own."""
    command = settings.make.split() + ["--no-print-directory", f"-j{settings.jobs}", *variables,
                                       "O=" + os.path.join(settings.build, folder), "all"]
    status, output, _ = run(command, 900, cwd=source.ROOT)
    return [] if status == 0 else output.splitlines()


# Functions that must not be in an image without aging, and are in any other.
HARVEST = {"walk_space", "walk_cost_pays", "bloom_add", "gen_promote_block", "collapse_range", "age_flush_after", "word_young"}


def harvest_of(build, name):
    """(functions of HARVEST in an image, bytes of its objects' code)."""
    image = variants.image(build, name) if name else os.path.join(build, "varve.elf")
    with open(image[:-len(".elf")] + ".list", encoding="utf-8") as f:
        objects = f.read().split()
    _, symbols, _ = run(["nm", image], 60, cwd=source.ROOT)
    status, sizes, _ = run(["size", "-t", *objects], 60, cwd=source.ROOT)
    if status != 0:
        raise RuntimeError(sizes)
    return {s.split()[-1] for s in symbols.splitlines()} & HARVEST, int(sizes.splitlines()[-1].split()[0])


def check_variants(settings):
    """Every variant with gcc, and with clang where other sources are compiled. Beside the usual build with gcc."""
    found = check_build(settings, ["CC=gcc"], "gcc")
    build, clang = os.path.join(settings.build, "gcc"), os.path.join(settings.build, "clang")
    for name in variants.NAMES:
        found += (variants.make(build, name, settings.make, settings.jobs, ["CC=gcc"]) or "").splitlines()
    for name in ("locked", *variants.LINKED):
        found += (variants.make(clang, name, settings.make, settings.jobs, ["CC=clang"]) or "").splitlines()
    if found:
        return found
    usual, with_aging = harvest_of(build, None)
    rest, without = harvest_of(build, "no-aging")
    print(f"  code and constants: {with_aging} bytes, without aging {without}: {with_aging - without} less", flush=True)
    found += [f"{name}() is in no image: strike it off" for name in sorted(HARVEST - usual)]
    found += [f"{name}() is in the image without aging" for name in sorted(rest)]
    return found + ([] if without < with_aging else ["leaving aging out makes the image no smaller"])


def check_reproducible(settings):
    """The same sources in another folder give the same bytes. Compares with what check_build left in `gcc`."""
    first = os.path.join(source.ROOT, settings.build, "gcc")
    copy = os.path.join(source.ROOT, settings.build, "copy")
    shutil.rmtree(copy, ignore_errors=True)
    for folder in source.CODE_DIRS + ("guest-tests", "tests/host"):
        shutil.copytree(os.path.join(source.ROOT, folder), os.path.join(copy, folder))
    for name in ("Makefile", "linker.ld"):
        shutil.copy(os.path.join(source.ROOT, name), copy)
    command = settings.make.split() + ["--no-print-directory", f"-j{settings.jobs}", "CC=gcc", "O=other", "all"]
    status, output, _ = run(command, 900, cwd=copy)
    if status != 0:
        return output.splitlines()
    found = []
    for name in ["varve.elf", "varve32.elf"] + ["guests/" + n for n in os.listdir(os.path.join(copy, "other", "guests"))]:
        with open(os.path.join(first, name), "rb") as a, open(os.path.join(copy, "other", name), "rb") as b:
            if a.read() != b.read():
                found.append(f"{name} differs between two folders")
    shutil.rmtree(copy)
    return found
