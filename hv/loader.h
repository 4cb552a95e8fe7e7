/* Puts a guest's image and the multiboot information into its memory. */
#pragma once

#include "hv/bootinfo.h"
#include "lib/types.h"
#include "lib/util.h"

struct scenario_vm;
struct vcpu;
struct vm;

/*
 * Parses the image of a VM whose memory is laid out into vm->elf. NULL, or what is wrong with it, to
 * be put behind the image's name; the text lives until the next call. Boot CPU, before any guest
 * starts.
 */
const char *loader_check(struct vm *vm) must_check;
/*
 * On the thread of vCPU 0: copies the segments through ordinary faults (so that an image may be
 * larger than the host's memory), writes the boot information and sets the registers. False: the VM
 * was stopped meanwhile, or here, with a line.
 */
bool loader_load(struct vcpu *v) must_check;
