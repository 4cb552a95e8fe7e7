"""What a machine boots from: the images a scenario names, staged beside it, and GRUB images of them."""

import hashlib
import os
import re
import shutil
import subprocess

from . import machines

CACHE_KEEP = 24  # boot images kept; the oldest go first


def scenario_images(text, words=""):
    """Values of the `image =` lines, and of such overrides among the command line's words, each once,
    in order. The hypervisor does the real parsing."""
    named = re.findall(r"^[ \t]*image[ \t]*=[ \t]*\"?([^\"#;\s]+)", text, re.M)
    named += re.findall(r"(?:^|\s)vm\.[^.\s]+\.image=\"?([^\"\s]+)", words)
    return list(dict.fromkeys(named))


def find_image(name, scenario_path, build, overrides):
    """(path or None, places looked at)."""
    if name in overrides:
        return overrides[name], [overrides[name]]
    places = [
        os.path.join(os.path.dirname(os.path.abspath(scenario_path)), name),
        os.path.join(build, "guests", os.path.basename(name)),
    ]
    return next((p for p in places if os.path.isfile(p)), None), places


def stage(folder, scenario_path, images):
    """Puts the scenario and the images into `folder` under the names they are booted with.

    Names of modules are then free of the blanks that end a file name in QEMU's -initrd.
    """
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    names = [os.path.basename(scenario_path).replace(" ", "_")]
    shutil.copyfile(scenario_path, os.path.join(folder, names[0]))
    for name, path in images:
        base = os.path.basename(name)
        if base not in names:
            shutil.copyfile(path, os.path.join(folder, base))
            names.append(base)
    return names


def qemu_modules(names):
    """QEMU's -initrd for modules called `names` (a comma separates, so it is doubled in a name)."""
    return ",".join(n.replace(",", ",,") for n in names)


def grub_word(word):
    return "'" + word.replace("'", "'\\''") + "'"


def grub_config(names, words):
    lines = ["set timeout=0", "set default=0"]
    lines.append("multiboot2 /boot/varve.elf " + " ".join(grub_word(w) for w in words))
    lines += [f"module2 {grub_word('/boot/' + n)} {grub_word(n)}" for n in names]
    lines.append("boot")
    return "\n".join(lines) + "\n"


def iso_key(kernel, folder, names, words, firmware):
    digest = hashlib.sha256(repr((firmware, words, names)).encode())
    for path in [kernel] + [os.path.join(folder, n) for n in names]:
        with open(path, "rb") as f:
            digest.update(hashlib.sha256(f.read()).digest())
    return digest.hexdigest()[:24]


def write_iso(iso, kernel, folder, names, words, firmware):
    """A GRUB image for `firmware`: "bios", or "both" for BIOS and UEFI."""
    machines.program("grub-mkrescue")
    machines.program("xorriso")
    if firmware != "bios":
        machines.program("mformat")
        machines.need_file("/usr/lib/grub/x86_64-efi", "grub-efi-amd64-bin")
    machines.need_file("/usr/lib/grub/i386-pc", "grub-pc-bin")
    root = iso + ".root"
    shutil.rmtree(root, ignore_errors=True)
    os.makedirs(os.path.join(root, "boot", "grub"))
    shutil.copyfile(kernel, os.path.join(root, "boot", "varve.elf"))
    for n in names:
        shutil.copyfile(os.path.join(folder, n), os.path.join(root, "boot", n))
    with open(os.path.join(root, "boot", "grub", "grub.cfg"), "w", encoding="utf-8") as f:
        f.write(grub_config(names, words))
    command = ["grub-mkrescue", "-o", iso + ".new", "--fonts=", "--themes=", "--locales="]
    if firmware == "bios":
        command += ["--directory=/usr/lib/grub/i386-pc"]
        command += ["--install-modules=multiboot2 normal iso9660 part_msdos biosdisk"]
    env = dict(os.environ, SOURCE_DATE_EPOCH="0")
    done = subprocess.run(command + [root], env=env, capture_output=True, text=True, check=False)
    shutil.rmtree(root, ignore_errors=True)
    if done.returncode or not os.path.exists(iso + ".new"):
        raise machines.Unavailable("grub-mkrescue failed:\n" + done.stderr.strip())
    os.replace(iso + ".new", iso)


def cached_iso(build, kernel, folder, names, words, firmware):
    """A GRUB image of exactly this content, made at most once."""
    cache = os.path.join(build, "iso")
    os.makedirs(cache, exist_ok=True)
    iso = os.path.join(cache, iso_key(kernel, folder, names, words, firmware) + ".iso")
    if os.path.exists(iso):
        os.utime(iso)
        return iso
    temporary = f"{iso}.{os.getpid()}"
    write_iso(temporary, kernel, folder, names, words, firmware)
    os.replace(temporary, iso)
    kept = sorted((e for e in os.scandir(cache) if e.name.endswith(".iso")),
                  key=lambda e: e.stat().st_mtime, reverse=True)
    for old in kept[CACHE_KEEP:]:
        os.unlink(old.path)
    return iso
