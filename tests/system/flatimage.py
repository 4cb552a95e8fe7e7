#!/usr/bin/env python3
"""A guest as a flat image: no ELF file, but a multiboot header that says where it is loaded.

The header with its address fields (bit 16) is 20 bytes longer than the one at the front of every guest
and would lie on its first instructions. So those are kept, with a few instructions that put them back, in
the padding between code and data, and the image is entered there.
"""

import os
import struct
import sys

MAGIC, FLAGS = 0x1BADB002, 0x10003
HEADER_BYTES = 32


def segments(elf):
    """[(address, contents, size in memory)] of an ELF32 file."""
    entry, phoff = struct.unpack_from("<II", elf, 24)
    count = struct.unpack_from("<H", elf, 44)[0]
    out = []
    for i in range(count):
        kind, offset, _, at, filesz, memsz = struct.unpack_from("<IIIIII", elf, phoff + 32 * i)
        if kind == 1 and memsz:
            out.append((at, elf[offset:offset + filesz], memsz))
    return entry, sorted(out)


def header(at, load_end, bss_end, entry):
    checksum = -(MAGIC + FLAGS) & 0xFFFFFFFF
    return struct.pack("<IIIIIIII", MAGIC, FLAGS, checksum, at, at, load_end, bss_end, entry)


def restorer(at, kept_at, entry, stub_at):
    """mov $kept, %esi; mov $at, %edi; mov $32, %ecx; cld; rep movsb; jmp entry"""
    code = b"\xbe" + struct.pack("<I", kept_at) + b"\xbf" + struct.pack("<I", at)
    code += b"\xb9" + struct.pack("<I", HEADER_BYTES) + b"\xfc\xf3\xa4"
    return code + b"\xe9" + struct.pack("<i", entry - (stub_at + len(code) + 5))


def flat(elf):
    entry, parts = segments(elf)
    base, (last_at, last, last_mem) = parts[0][0], parts[-1]
    image = bytearray(last_at + len(last) - base)
    for at, contents, _ in parts:
        image[at - base:at - base + len(contents)] = contents
    kept_at = base + len(parts[0][1])
    stub_at = kept_at + HEADER_BYTES
    stub = bytes(image[:HEADER_BYTES]) + restorer(base, kept_at, entry, stub_at)
    if kept_at + len(stub) > parts[1][0]:
        raise ValueError("the guest has no room between code and data")
    image[kept_at - base:kept_at - base + len(stub)] = stub
    image[:HEADER_BYTES] = header(base, base + len(image), last_at + last_mem, stub_at)
    return bytes(image)


def write(folder, guest="hello"):
    with open(os.path.join(folder, guest + ".elf"), "rb") as f:
        image = flat(f.read())
    with open(os.path.join(folder, f"flat-{guest}.bin"), "wb") as f:
        f.write(image)


if __name__ == "__main__":
    write(sys.argv[1] if len(sys.argv) > 1 else "build/guests")
