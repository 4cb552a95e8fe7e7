/*
 * PCI functions by configuration mechanism 1 (ports 0xcf8 and 0xcfc): to find one, to read what it says of itself, to
 * turn it on. Boot CPU, before others run.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

struct pci_function {
	u8 bus, device, function;
};

#define PCI_COMMAND         0x04u
#define PCI_COMMAND_MEMORY  BIT(1)
#define PCI_COMMAND_MASTER  BIT(2)
#define PCI_COMMAND_NO_INTX BIT(10)

/* A register of configuration space, by its offset, a multiple of 4 below 256. */
u32 pci_read32(struct pci_function f, u32 at);
void pci_write32(struct pci_function f, u32 at, u32 value);
/* Any byte of it. */
u8 pci_read8(struct pci_function f, u32 at);

/* The first function for which match() says yes, behind bridges as well; false: there is none. */
bool pci_find(bool (*match)(u16 vendor, u16 device), struct pci_function *out) must_check;
/*
 * Goes through the capabilities: the offset of the first with this id behind `at` (0: from the beginning), or 0. Lists that
 * run in circles end.
 */
u32 pci_capability(struct pci_function f, u8 id, u32 at);
/* Where a memory BAR lies, and how many bytes long it is; false: it is none, or nobody gave it an address. */
bool pci_bar(struct pci_function f, unsigned bar, hpa_t *base, u64 *bytes) must_check;
