"""The machines that Varve runs on: what they are, what they need, how their emulator is started."""

import glob
import os
import shutil
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    name: str
    emulator: str  # "qemu" or "bochs"
    cpu: str  # QEMU's -cpu, Bochs's cpu model
    what: str
    cpus: int = 1
    mem_mib: int = 512


MACHINES = {
    m.name: m
    for m in (
        Machine("qemu-kvm", "qemu", "host", "VMX or SVM of this host, nested under KVM", cpus=2),
        Machine("qemu-svm", "qemu", "max,+svm,+npt", "emulated SVM with nested paging", cpus=2),
        Machine("qemu-svm-nonpt", "qemu", "max,+svm,-npt", "emulated SVM, shadow paging", cpus=2),
        Machine("qemu-none", "qemu", "max,-svm", "no virtualization at all", cpus=1),
        Machine("bochs-haswell", "bochs", "corei7_haswell_4770", "VMX, EPT with A/D bits"),
        Machine("bochs-skylake", "bochs", "corei7_skylake_x", "VMX, EPT with A/D bits, PML"),
        Machine("bochs-arrandale", "bochs", "corei5_arrandale_m520", "VMX, EPT without A/D bits"),
        Machine("bochs-ivybridge", "bochs", "corei7_ivy_bridge_3770k", "VMX, EPT without A/D bits"),
        Machine("bochs-penryn", "bochs", "core2_penryn_t9600", "VMX without EPT: shadow paging"),
        Machine("bochs-ryzen", "bochs", "ryzen", "SVM with nested paging, NRIP save"),
        Machine("bochs-turion", "bochs", "turion64_tyler", "SVM without nested paging"),
    )
}

# Program -> the Debian package that brings it, for messages.
PACKAGES = {
    "qemu-system-x86_64": "qemu-system-x86",
    "bochs-bin": "bochs and bochs-sdl",
    "grub-mkrescue": "grub-common",
    "xorriso": "xorriso",
    "mformat": "mtools",
}


class Unavailable(Exception):
    """This host cannot run what was asked for; the message says what is missing."""


def program(name):
    path = shutil.which(name)
    if not path:
        raise Unavailable(f"{name} is not installed (package {PACKAGES.get(name, name)})")
    return path


def need_file(path, package):
    if not os.path.exists(path):
        raise Unavailable(f"{path} is missing (package {package})")
    return path


def read_text(path):
    try:
        with open(path, encoding="ascii", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def kvm_problem(cpuinfo=None, nested=None, device="/dev/kvm"):
    """Why qemu-kvm cannot run here, or None. A /dev/kvm that opens proves nothing about nesting."""
    cpuinfo = read_text("/proc/cpuinfo") if cpuinfo is None else cpuinfo
    flags = {w for line in cpuinfo.splitlines() if line.startswith("flags") for w in line.split()}
    if not flags & {"vmx", "svm"}:
        return "this host's CPU shows neither vmx nor svm"
    if nested is None:
        nested = [read_text(p).strip() for p in glob.glob("/sys/module/kvm_*/parameters/nested")]
    if not any(n in ("Y", "1") for n in nested):
        return "nesting is off (parameter `nested` of kvm_intel or kvm_amd)"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"{device} cannot be opened by this user"
    return None


def problem(machine):
    """Why this host cannot run `machine`, or None."""
    try:
        if machine.emulator == "bochs":
            program("bochs-bin")
            program("grub-mkrescue")
            program("xorriso")
            need_file("/usr/share/bochs/BIOS-bochs-latest", "bochsbios")
            need_file("/usr/share/bochs/VGABIOS-lgpl-latest", "vgabios")
            need_file("/usr/lib/grub/i386-pc", "grub-pc-bin")
        else:
            program("qemu-system-x86_64")
    except Unavailable as e:
        return str(e)
    return kvm_problem() if machine.name == "qemu-kvm" else None


def choose(name):
    """The machine called `name`; `auto` is qemu-kvm where the host can nest, else qemu-svm."""
    if name == "auto":
        name = "qemu-svm" if problem(MACHINES["qemu-kvm"]) else "qemu-kvm"
    if name not in MACHINES:
        raise Unavailable(f"no machine '{name}'; there are: auto {' '.join(MACHINES)}")
    machine = MACHINES[name]
    why = problem(machine)
    if why:
        raise Unavailable(f"{name}: {why}")
    return machine


def listing():
    lines = []
    for m in MACHINES.values():
        why = problem(m)
        lines.append(f"{m.name:16} {m.what:44} {'ready' if not why else 'no: ' + why}")
    chosen = "qemu-svm" if problem(MACHINES["qemu-kvm"]) else "qemu-kvm"
    lines.append(f"{'auto':16} {'the best of these':44} {chosen}")
    return "\n".join(lines)
