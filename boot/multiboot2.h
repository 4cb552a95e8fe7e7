/* Multiboot 2 information, as GRUB's `multiboot2` leaves it under BIOS and UEFI. Pure. */
#pragma once

#include "boot/raw.h"

#define MULTIBOOT2_MAGIC 0x36d76289u

/* Reads the information at `info`. NULL, or what is wrong with it (raw is then incomplete). */
const char *multiboot2_parse(const struct bootmem *mem, u64 info, struct boot_raw *raw) must_check;
