#!/usr/bin/env python3
"""Guest images that must be refused with a line, never believed. Each is wrong in one way."""

import os
import struct
import sys

MIB = 1 << 20
MULTIBOOT = struct.pack("<III", 0x1BADB002, 3, (-(0x1BADB002 + 3)) & 0xFFFFFFFF)
CODE = MULTIBOOT + b"\xfa\xf4\xeb\xfd"  # header; cli; hlt; jmp back
AT = MIB


def elf32(segments, entry=AT + 12, machine=3, body=CODE, phoff=52):
    """An ELF32 file of `segments`: (paddr, filesz, memsz) each, all over one body."""
    header = struct.pack("<4sBBBB8xHHIIIIIHHHHHH", b"\x7fELF", 1, 1, 1, 0, 2, machine, 1, entry, phoff, 0, 0,
                         52, 32, len(segments), 40, 0, 0)
    offset = 52 + 32 * len(segments)
    table = b"".join(struct.pack("<IIIIIIII", 1, offset, at & 0xFFFFFFFF, at & 0xFFFFFFFF, filesz, memsz, 7, 4)
                     for at, filesz, memsz in segments)
    return header + table + body


def elf64(segments, entry, body=CODE):
    header = struct.pack("<4sBBBB8xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 2, 62, 1, entry, 64, 0, 0,
                         64, 56, len(segments), 64, 0, 0)
    offset = 64 + 56 * len(segments)
    table = b"".join(struct.pack("<IIQQQQQQ", 1, 7, offset, at, at, filesz, memsz, 4)
                     for at, filesz, memsz in segments)
    return header + table + body


def images():
    n = len(CODE)
    whole = elf32([(AT, n, 4096)])
    return {
        "bad-empty.elf": b"",
        "bad-text.elf": b"This is no program.\n" * 300,
        "bad-short-header.elf": whole[:40],
        "bad-short-table.elf": whole[:60],
        "bad-short-body.elf": whole[:-2],
        "bad-table-far.elf": elf32([(AT, n, 4096)], phoff=0xFFFFFFF0),
        "bad-machine.elf": elf32([(AT, n, 4096)], machine=8),
        "bad-no-segment.elf": elf32([]),
        "bad-file-larger.elf": elf32([(AT, n, n - 4)]),
        "bad-beyond.elf": elf32([(AT, n, 4096), (1024 * MIB, n, 4096)]),
        "bad-wraps.elf": elf32([(AT, n, 4096), (0xFFFFF000, n, 0x2000)]),
        "bad-huge-bss.elf": elf32([(AT, n, 0xF0000000)]),
        "bad-entry.elf": elf32([(AT, n, 4096)], entry=512 * MIB),
        "bad-entry-gap.elf": elf32([(AT, n, 4096)], entry=AT + 3 * 4096),
        "bad-overlap.elf": elf32([(AT, n, 8192), (AT + 4096, n, 4096)]),
        "bad-low.elf": elf32([(AT, n, 4096), (0, n, 4096)]),
        "bad-entry64.elf": elf64([(AT, n, 4096)], entry=0x4000_0000_0000),
        "bad-wraps64.elf": elf64([(AT, n, 4096), (0xFFFF_FFFF_FFFF_F000, n, 0x2000)], entry=AT + 12),
        "bad-no-header.elf": elf32([(AT, n, 4096)], body=b"\xf4" * n),
    }


def write_all(folder):
    os.makedirs(folder, exist_ok=True)
    for name, data in images().items():
        with open(os.path.join(folder, name), "wb") as f:
            f.write(data)


if __name__ == "__main__":
    write_all(sys.argv[1] if len(sys.argv) > 1 else "build/guests")
