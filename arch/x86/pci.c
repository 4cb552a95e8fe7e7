#include "arch/x86/pci.h"

#include "arch/x86/insn.h"

#define PORT_ADDRESS 0xcf8
#define PORT_DATA    0xcfc

#define BUSES        256u
#define DEVICES      32u
#define FUNCTIONS    8u
#define BARS         6u
#define REG_BAR      0x10u
#define REG_BUSES    0x18u
#define REG_CAPS     0x34u
#define STATUS_CAPS  BIT(20)
#define CAPS_MAX     48u /* of 4 bytes at least, behind a header of 64 */
#define HEADER_MULTI BIT(7)
#define BAR_IO       BIT(0)
#define BAR_TYPE     BITS(2, 1)
#define BAR_64       BIT(2)
#define BAR_FLAGS    BITS(3, 0)

static void select(struct pci_function f, u32 at)
{
	out32(PORT_ADDRESS, (u32)BIT(31) | (u32)f.bus << 16 | (u32)f.device << 11 |
	                            (u32)f.function << 8 | (at & 0xfc));
}

u32 pci_read32(struct pci_function f, u32 at)
{
	select(f, at);
	return in32(PORT_DATA);
}

void pci_write32(struct pci_function f, u32 at, u32 value)
{
	select(f, at);
	out32(PORT_DATA, value);
}

u8 pci_read8(struct pci_function f, u32 at)
{
	return (u8)(pci_read32(f, at) >> at % 4 * 8);
}

struct search {
	bool (*match)(u16 vendor, u16 device);
	u64 pending[BUSES / 64]; /* buses that a bridge leads to, and nobody has looked at */
	u64 seen[BUSES / 64];
};

static void bus_add(struct search *s, u8 bus)
{
	if (!(s->seen[bus / 64] >> bus % 64 & 1))
		s->pending[bus / 64] |= BIT(bus % 64);
}

/* False: there is nothing. `multi`: the device has further functions. */
static bool look(struct search *s, struct pci_function f, bool *multi, bool *found)
{
	u32 id = pci_read32(f, 0);
	u8 header;

	if ((u16)id == 0xffff)
		return false;
	header = (u8)(pci_read32(f, 0x0c) >> 16);
	if (f.function == 0)
		*multi = header & HEADER_MULTI;
	if ((header & ~HEADER_MULTI) == 1)
		bus_add(s, (u8)(pci_read32(f, REG_BUSES) >> 8));
	*found = s->match((u16)id, (u16)(id >> 16));
	return true;
}

static bool look_at_bus(struct search *s, u8 bus, struct pci_function *out)
{
	for (u8 device = 0; device < DEVICES; device++) {
		bool multi = false, found = false;

		for (u8 function = 0; function < FUNCTIONS; function++) {
			*out = (struct pci_function){bus, device, function};
			if (!look(s, *out, &multi, &found) && function == 0)
				break;
			if (found)
				return true;
			if (!multi)
				break;
		}
	}
	return false;
}

bool pci_find(bool (*match)(u16 vendor, u16 device), struct pci_function *out)
{
	struct search s = {.match = match, .pending = {1}};

	for (unsigned i = 0; i < BUSES; i++) {
		if (!(s.pending[i / 64] >> i % 64 & 1))
			continue;
		s.pending[i / 64] &= ~BIT(i % 64);
		s.seen[i / 64] |= BIT(i % 64);
		if (look_at_bus(&s, (u8)i, out))
			return true;
		i = ~0u; /* a bridge may lead to a lower number */
	}
	return false;
}

u32 pci_capability(struct pci_function f, u8 id, u32 at)
{
	if (!at && !(pci_read32(f, PCI_COMMAND) & STATUS_CAPS))
		return 0;
	at = pci_read8(f, at ? at + 1 : REG_CAPS) & 0xfc;
	for (unsigned n = 0; at >= 0x40 && n < CAPS_MAX; n++) {
		if (pci_read8(f, at) == id)
			return at;
		at = pci_read8(f, at + 1) & 0xfc;
	}
	return 0;
}

/* Its size is asked for by writing ones (PCI Local Bus Specification 3.0, 6.2.5.1), with decoding off. */
bool pci_bar(struct pci_function f, unsigned bar, hpa_t *base, u64 *bytes)
{
	u32 at = REG_BAR + 4 * bar, low, high = 0, command, low_mask, high_mask = ~0u;
	bool wide;

	if (bar >= BARS)
		return false;
	low = pci_read32(f, at);
	wide = (low & BAR_TYPE) == BAR_64;
	if (low & BAR_IO || (wide && bar + 1 == BARS))
		return false;
	command = pci_read32(f, PCI_COMMAND) & 0xffff;
	pci_write32(f, PCI_COMMAND, command & ~(u32)PCI_COMMAND_MEMORY);
	pci_write32(f, at, ~0u);
	low_mask = pci_read32(f, at);
	pci_write32(f, at, low);
	if (wide) {
		high = pci_read32(f, at + 4);
		pci_write32(f, at + 4, ~0u);
		high_mask = pci_read32(f, at + 4);
		pci_write32(f, at + 4, high);
	}
	pci_write32(f, PCI_COMMAND, command);
	*base = hpa((u64)high << 32 | (low & ~(u32)BAR_FLAGS));
	*bytes = ~((u64)high_mask << 32 | (low_mask & ~(u32)BAR_FLAGS)) + 1;
	return base->v && low_mask;
}
