/* Multiboot 1 information, as QEMU's -kernel and GRUB's `multiboot` leave it. Pure. */
#pragma once

#include "boot/raw.h"

#define MULTIBOOT1_MAGIC 0x2badb002u

/* Reads the information at `info`. NULL, or what is wrong with it (raw is then incomplete). */
const char *multiboot1_parse(const struct bootmem *mem, u64 info, struct boot_raw *raw) must_check;
