#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets whose inputs nobody would write by hand.

decode: the encodings of the unit test. gwalk: each paging mode with each kind of tables and access.
store: programs that put, get, drop and damage pages. pool: the same of objects. emulate: each opcode. exit: machines, each with a program of exits and of what comes
between. The same files every time.
"""

import os
import random
import re
import struct
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

PE, WP, PG = 1 << 0, 1 << 16, 1 << 31
PSE, PAE, LA57, SMEP, SMAP = 1 << 4, 1 << 5, 1 << 12, 1 << 20, 1 << 21
LME, LMA, NXE = 1 << 8, 1 << 10, 1 << 11
WRITE, USER, FETCH = 1, 2, 4


def decode_seeds():
    with open(os.path.join(ROOT, "tests", "unit", "test_decode.c"), encoding="utf-8") as f:
        source = f.read()
    for text in re.findall(r'\bE\([^"]*"((?:\\x[0-9a-f]{2})+)"\)', source):
        encoding = bytes.fromhex(text.replace("\\x", ""))
        yield encoding.hex(), encoding
    yield "long-15", b"\x66" * 14 + b"\x90"
    yield "long-16", b"\x66" * 15 + b"\x90"


def gwalk_input(mode, at, access, kind, rng):
    """As struct input of fuzz_gwalk.c; the last byte of memory picks the kind of entries."""
    cr0, cr4, efer = mode
    head = struct.pack("<QQQQQBBBBxxxx", cr0, 0x123000, cr4, efer, at, 8, 3, access, 0)
    memory = rng.randbytes(96)
    return head + memory[:-9] + bytes([kind]) + rng.randbytes(7) + bytes([kind])


def gwalk_seeds():
    rng = random.Random(1)
    low, high = 0x00C0_FFEE, 0xFFFF_8000_1234_5678
    modes = {
        "off": ((PE, 0, 0), low),
        "32": ((PE | PG | WP, 0, 0), 0xC012_3456),
        "pse": ((PE | PG, PSE, 0), 0x8012_3456),
        "pae": ((PE | PG | WP, PAE, 0), 0xC012_3456),
        "pae-nx": ((PE | PG | WP, PAE | SMEP, NXE), low),
        "long": ((PE | PG | WP, PAE, LME | LMA | NXE), high),
        "long-smap": ((PE | PG | WP, PAE | SMEP | SMAP, LME | LMA | NXE), low),
        "long-57": ((PE | PG | WP, PAE | LA57, LME | LMA), 0x00FF_8000_1234_5678),
    }
    for name, (mode, at) in modes.items():
        for kind in range(4):
            access = (0, WRITE, USER | WRITE, FETCH)[kind]
            yield f"{name}-{kind}", gwalk_input(mode, at, access, kind, rng)
    yield "noncanonical", gwalk_input(modes["long"][0], 0x0000_8000_0000_0000, 0, 1, rng)
    yield "user-fetch", gwalk_input(modes["long"][0], low, USER | FETCH, 2, rng)


def put(page, noisy=0, pattern=b""):
    """A page that repeats `pattern` (at most 6 bytes here), its first words noise."""
    return bytes([len(pattern), page]) + struct.pack("<H", noisy) + pattern


def get(page):
    return bytes([1, page, 0, 0])


def drop(page):
    return bytes([5, page, 0, 0])


def damage(where, bit):
    return bytes([7, bit]) + struct.pack("<H", where)


def store_seeds():
    rng = random.Random(2)
    # Noise from none (zero and filled pages) over each size of compressed page to what is refused.
    for noisy in (0, 1, 8, 16, 32, 48, 64, 96, 128, 160, 192, 256, 320, 384, 448, 512):
        yield f"noise-{noisy}", put(1, noisy, b"ab") + get(1) + get(1) + drop(1) + put(1, noisy) + get(1)
    for n in range(7):
        yield f"pattern-{n}", put(2, 0, b"varve!"[:n]) + get(2) + drop(2)
    full = b"".join(put(i, 40 + 7 * i, b"x") for i in range(64))
    yield "full", full + b"".join(get(i) for i in range(64))
    yield "full-incompressible", b"".join(put(i, 480) for i in range(64)) + get(0)
    yield "holes", full + b"".join(drop(i) for i in range(0, 64, 2)) + b"".join(put(i, 90, b"yz") for i in range(0, 64, 2))
    yield "classes", b"".join(put(i, 20 * (i % 20), b"c") + (drop(i - 5) if i >= 5 else b"") for i in range(64))
    yield "last-first", full + b"".join(drop(i) for i in reversed(range(64)))
    for bit in range(8):
        yield f"damage-{bit}", full + b"".join(damage(rng.randrange(96), bit) for _ in range(8)) + b"".join(get(i) for i in range(64))
    for i in range(8):
        steps = [rng.choice((put(p, rng.randrange(513), b"pq"), get(p), drop(p))) for p in (rng.randrange(64) for _ in range(120))]
        yield f"mixed-{i}", b"".join(steps)


# fuzz_exit.c: the machine's bits, the VM's, and the steps by number; the vCPU is in bits 7:5 of each.
EXIT_HARDWARE = {"svm": 0x00DA, "svm-plain": 0x0002, "tcg": 0x002A, "vmx": 0x05FF, "vmx-plain": 0x0101, "vmx-shadow": 0x007F}
EXIT_VM = {"tdp": 0x0862, "shadow": 0x0066, "both": 0x00EB, "no-ad": 0x0070, "limit": 0x0F60}
EXIT_INSNS = 29
RAW, INSN, ACCESS, MODE, REGISTERS, SEGMENT, MEMORY, ENTRY, REQUEST, RECLAIM, LOG, APIC, CALL = 0, 3, 9, 16, 18, 21, 22, 23, 24, 26, 29, 30, 31


def exit_place(rng):
    """take_place(): three bytes within memory, two low ones, or the local APIC."""
    kind = rng.choice((0x10, 0x50, 0x90, 0xB0, 0xD0))
    return bytes([kind]) + rng.randbytes(2 if kind < 0x40 or kind >= 0xC0 else 3)


def exit_step(rng, vcpus):
    op = rng.choice((INSN, INSN, INSN, ACCESS, ACCESS, ACCESS, RAW, MODE, REGISTERS, REGISTERS, SEGMENT, MEMORY, ENTRY,
                     REQUEST, REQUEST, RECLAIM, RECLAIM, LOG, APIC, APIC, CALL))
    head = bytes([op | rng.randrange(vcpus) << 5])
    if op == RAW:
        return head + bytes([rng.randrange(250), rng.randrange(64)]) + exit_place(rng) + bytes([rng.randrange(256), 0])
    if op == INSN:
        which = rng.choice((rng.randrange(EXIT_INSNS), rng.randrange(176, 224), 6, rng.randrange(224, 256)))
        tail = bytes([rng.randrange(0xE0), 0xFF]) if which >= 224 else exit_place(rng) + bytes([0, 0]) + rng.randbytes(4)
        return head + bytes([which]) + tail
    if op == LOG:
        return head + bytes([rng.choice((8, 8, 4, 0, 1, 2, 3))])
    if op == APIC:
        return head + bytes([rng.randrange(16) | rng.choice((0, 0, 0, 0x80)), rng.randrange(0xC0)])
    if op == CALL:
        return head + bytes([rng.randrange(256)]) + rng.randbytes(4)
    if op == ACCESS:
        return head + exit_place(rng) + bytes([rng.choice((0x18, 0x19, 0x1C, 0x1B, 0x11))])
    if op == MODE:
        return head + bytes([rng.randrange(8) | rng.choice((0, 0x80))]) + exit_place(rng)
    if op == REGISTERS:
        return head + bytes([rng.choice((rng.randrange(16), rng.randrange(0x20, 0x30), 0x80 + rng.randrange(0x60)))]) + exit_place(rng)
    if op == SEGMENT:
        return head + bytes([rng.randrange(4)]) + exit_place(rng) + b"\xff\x03"
    if op == MEMORY:
        return head + exit_place(rng) + bytes([7]) + rng.randbytes(8)
    if op == ENTRY:
        return head + rng.randbytes(2) + exit_place(rng) + bytes([rng.choice((0x67, 0x65, 0x06, 0xE7)), 0])
    return head + rng.randbytes(1)


def exit_interrupt():
    """The local APIC on, an interrupt while IF = 0, IF set; then STI's shadow at an access to a page that is not there, and MOV SS'."""
    steps = bytes([APIC, 5, 0, REQUEST, 0x34, REGISTERS, 0x80, 0x80, 0x00, 0x02])
    return steps + b"".join(bytes([ACCESS, 0x50, 0, page, 0x12, shadow | 0x18]) for page, shadow in ((0x00, 0x40), (0x10, 0x80), (0x20, 0)))


def exit_seeds():
    rng = random.Random(3)
    for machine, hardware in EXIT_HARDWARE.items():
        for name, vm in EXIT_VM.items():
            vcpus = 1 + (vm & 3) % 3
            yield f"{machine}-{name}", struct.pack("<HH", hardware, vm) + b"".join(exit_step(rng, vcpus) for _ in range(96))
    for machine, hardware in EXIT_HARDWARE.items():
        yield f"{machine}-interrupt", struct.pack("<HH", hardware, EXIT_VM["tdp"] & ~3) + exit_interrupt()
    for i in range(4):
        steps = b"".join(bytes([INSN | 0, rng.randrange(28), rng.randrange(16)]) + rng.randbytes(3) for _ in range(64))
        yield f"neutral-{i}", struct.pack("<HH", 0x0012, 0x7060 | i * 4) + steps


def pool_step(op, number, how):
    """As step() of fuzz_pool.c takes it."""
    return struct.pack("<BBH", op, number & 0xFF, how & 0xFFFF)


POOL_CHECK, POOL_LIMIT, POOL_GET, POOL_DROP, POOL_PUT = 0, 1, 2, 3, 5


def pool_seeds():
    rng = random.Random(4)
    # 48 frames, two of these in each: the last ones find no room.
    fill = b"".join(pool_step(POOL_PUT, i, 1500 + i) for i in range(100))
    yield "full", fill + pool_step(POOL_CHECK, 0, 0)
    holes = b"".join(pool_step(POOL_DROP, i, 0) for i in range(0, 100, 4))
    yield "holes", fill + holes + b"".join(pool_step(POOL_PUT, i, 700 + i) for i in range(0, 100, 3)) + pool_step(POOL_CHECK, 0, 0)
    yield "short", b"".join(pool_step(POOL_LIMIT, 0, 4 * (i % 3) + i % 2) + pool_step(POOL_PUT, i, rng.randrange(4028)) for i in range(40))
    yield "mixed", b"".join(pool_step(rng.choice((POOL_PUT, POOL_PUT, POOL_GET, POOL_DROP)), rng.randrange(20), rng.getrandbits(16)) for _ in range(80))


EMULATE_OPCODES, EMULATE_GROUPS = 59, (33, 34, 35, 44, 45, 46, 47, 48, 49, 54)  # numbers in the lists of fuzz_emulate.c; the middle of ModRM says which


def emulate_seeds():
    rng = random.Random(5)
    for at in range(EMULATE_OPCODES):
        for reg in range(8) if at in EMULATE_GROUPS else (rng.randrange(8),):
            # [rbx + disp32], in a size that is drawn.
            size, rex = rng.choice(((0, 0), (1, 0), (0, 0x88)))
            yield f"{at:02}-{reg}", struct.pack("<IBBBB", rng.getrandbits(32), size, rex, at, 0x83 | reg << 3) + rng.randbytes(9) + bytes(3)


def write_all(folder):
    targets = (("decode", decode_seeds), ("gwalk", gwalk_seeds), ("store", store_seeds), ("pool", pool_seeds), ("emulate", emulate_seeds),
               ("exit", exit_seeds))
    for target, seeds in targets:
        os.makedirs(os.path.join(folder, target), exist_ok=True)
        for name, data in seeds():
            with open(os.path.join(folder, target, name), "wb") as f:
                f.write(data)


if __name__ == "__main__":
    write_all(sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "tests", "fuzz", "corpus"))
