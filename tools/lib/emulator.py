"""Command lines of the emulators, and why one of them died."""

import os
import re
import shutil
import time

from . import machines

OVMF_CODE = "/usr/share/OVMF/OVMF_CODE_4M.fd"
OVMF_VARS = "/usr/share/OVMF/OVMF_VARS_4M.fd"
QEMU_PASS = 1  # isa-debug-exit: (0 << 1) | 1
QEMU_FAIL = 3

BOCHSRC = """\
plugin_ctrl: unmapped=1, biosdev=1, speaker=0, extfpuirq=1, parallel=0, serial=1, iodebug=0
config_interface: textconfig
display_library: sdl2
romimage: file=/usr/share/bochs/BIOS-bochs-latest, options=fastboot
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
memory: guest={mem}, host={mem}
cpu: model={model}, count={cpus}, ips=50000000, quantum=16, reset_on_triple_fault=0, ignore_bad_msrs=0
clock: sync=none, time0=1700000000, rtc_sync=0
pci: enabled=1, chipset=i440fx
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path={iso}, status=inserted
boot: cdrom
com1: enabled=1, mode={com1_mode}, dev={com1}
com2: enabled=1, mode=file, dev={com2}
port_e9_hack: enabled=1
magic_break: enabled=1
log: {log}
panic: action=fatal
error: action=report
info: action=report
debug: action=ignore
"""


def accelerator(machine, icount, multi):
    """(-accel value, further options)."""
    if machine.name == "qemu-kvm":
        return "kvm", []
    if icount:
        return "tcg", ["-icount", "shift=0"]
    return "tcg,thread=" + ("multi" if multi else "single"), []


def swap_bytes(text):
    """Bytes of a size like 64M."""
    m = re.fullmatch(r"(\d+)([KMG]?)", text)
    if not m or not int(m[1]):
        raise machines.Unavailable(f"--swap {text} is no size: wanted is a number with K, M or G, as 64M")
    return int(m[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[m[2]]


def swap_disk(options, out):
    """QEMU's options for the disk: a sparse file, made anew; with an error, what fails is between QEMU and the file."""
    path = os.path.join(out, "swap.img")
    with open(path, "wb") as f:
        f.truncate(swap_bytes(options.swap))
    drive = "if=none,id=swap,format=raw,cache=unsafe,"
    name = path.replace(",", ",,")
    if options.swap_error:
        drive += "file.driver=blkdebug,file.image.driver=file,file.image.filename=" + name
        drive += f",file.inject-error.0.event=none,file.inject-error.0.iotype={options.swap_error},file.inject-error.0.errno=5"
    else:
        drive += "file=" + name
    return ["-drive", drive, "-device", "virtio-blk-pci,drive=swap,werror=report,rerror=report"]


def qemu_command(machine, options, out, boot):
    """The QEMU command line. `boot` is ("kernel", path, words, initrd) or (firmware, iso)."""
    accel, more = accelerator(machine, options.icount, options.multi)
    command = [machines.program("qemu-system-x86_64"), "-M", "q35", "-accel", accel, *more]
    command += ["-cpu", machine.cpu, "-smp", str(options.cpus), "-m", f"{options.mem}m"]
    command += ["-nodefaults", "-display", "none", "-no-reboot"] + ["-name", "varve,debug-threads=on"] * options.pin
    command += ["-serial", "stdio", "-serial", "file:" + os.path.join(out, "stats.jsonl").replace(",", ",,")]
    command += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
    if options.swap:
        command += swap_disk(options, out)
    if boot[0] == "kernel":
        _, kernel, words, initrd = boot
        command += ["-kernel", kernel, "-initrd", initrd]
        if words:
            command += ["-append", words]
    else:
        if boot[0] == "iso-uefi":
            machines.need_file(OVMF_CODE, "ovmf")
            variables = os.path.join(out, "ovmf-vars.fd")
            shutil.copyfile(OVMF_VARS, variables)
            escaped = variables.replace(",", ",,")
            command += ["-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={OVMF_CODE}"]
            command += ["-drive", f"if=pflash,format=raw,unit=1,file={escaped}"]
        command += ["-cdrom", boot[1]]
    if options.gdb:
        command += ["-S", "-gdb", "tcp:localhost:1234"]
    return command


def vcpu_threads(pid, proc="/proc"):
    """{number: thread} of the CPUs of a QEMU whose threads have names (`pin` in qemu_command); those that there are by now."""
    found = {}
    tasks = os.path.join(proc, str(pid), "task")
    try:
        for task in os.listdir(tasks):
            with open(os.path.join(tasks, task, "comm"), encoding="utf-8", errors="replace") as f:
                m = re.match(r"CPU (\d+)/", f.read())
            if m:
                found[int(m.group(1))] = int(task)
    except OSError:  # the thread, or the emulator, is gone
        pass
    return found


def pin(process, cpus, patience=5.0):
    """Each CPU of the machine on a CPU of the host of its own, as far as there are any. Waits for the threads; false: they did not come."""
    until = time.monotonic() + patience
    while process.poll() is None and time.monotonic() < until:
        threads = vcpu_threads(process.pid)
        if len(threads) == cpus:
            hosts = sorted(os.sched_getaffinity(0))
            try:
                for number, thread in threads.items():
                    os.sched_setaffinity(thread, {hosts[number % len(hosts)]})
            except OSError:
                return False
            return True
        time.sleep(0.01)
    return False


def bochs_command(machine, options, out, iso, wire=None):
    """Writes Bochs's files into `out`; the command line. COM1 is the wire, if there is one, else a file. Debian's build starts in its debugger."""
    rc = BOCHSRC.format(mem=options.mem, model=machine.cpu, cpus=options.cpus, iso=iso,
                        com1_mode="term" if wire else "file", com1=wire.name if wire else os.path.join(out, "com1.txt"),
                        com2=os.path.join(out, "stats.jsonl"),
                        log=os.path.join(out, "bochs.log"))
    with open(os.path.join(out, "bochsrc"), "w", encoding="utf-8") as f:
        f.write(rc)
    with open(os.path.join(out, "dbg.rc"), "w", encoding="utf-8") as f:
        f.write("c\nq\n")
    for name in ("com1.txt", "stats.jsonl"):
        with open(os.path.join(out, name), "w", encoding="utf-8"):
            pass
    return [machines.program("bochs-bin"), "-q", "-f", "bochsrc", "-rc", "dbg.rc"]


def bochs_environment():
    """There is no Bochs without a display, but SDL has a display that shows nothing."""
    return dict(os.environ, SDL_VIDEODRIVER="dummy", SDL_AUDIODRIVER="dummy")


def bochs_death(log_text):
    """The sentence of Bochs's log that says why it ended, or None (the guest asked for it)."""
    why = None
    for line in log_text.splitlines():
        m = re.match(r"\d+[pe]\[(\w+)\s*\] (?:>>PANIC<< )?(.*)", line)
        if not m:
            continue
        text = m.group(2)
        if "Shutdown port: shutdown requested" in text:
            return None
        if ">>PANIC<<" in line or "triple fault" in text or "shutdown" in text.lower():
            why = f"Bochs ({m.group(1).lower()}): {text}"
    return why
